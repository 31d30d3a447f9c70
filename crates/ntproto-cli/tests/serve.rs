//! `ntp serve` as a process: how signals end it.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod common;

use common::{PATIENCE, Server, client, hurry};
use ntproto_sdk::{Client, Event};

#[tokio::test]
async fn a_signal_drains_and_ends_with_zero() {
    let dir = tempfile::tempdir().unwrap();
    for signal in ["TERM", "INT"] {
        let mut server = Server::open(dir.path());
        let (alice, bob) = couple(&server).await;
        let mut events = bob.events().unwrap();
        alice.send(bob.identity().unwrap().uin, signal).await.unwrap();
        server.signal(signal);
        let waiting = tokio::task::spawn_blocking(move || (server.wait(PATIENCE), server.log()));
        let heard = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Event::Offline { why, .. } = events.next().await.unwrap() {
                    return why.to_string();
                }
            }
        });
        assert_eq!(heard.await.unwrap(), "closed by the peer: GOING_AWAY");
        let (status, log) = waiting.await.unwrap();
        assert_eq!((status.code(), log.as_str()), (Some(0), ""), "SIG{signal}");
    }
    // What was acknowledged is there.
    let server = Server::open(dir.path());
    let (_alice, bob) = couple(&server).await;
    let mut events = bob.events().unwrap();
    let mut bodies = Vec::new();
    while bodies.len() < 2 {
        let event = tokio::time::timeout(PATIENCE, events.next()).await.expect("both come");
        if let Event::Message(message) = event.unwrap() {
            bodies.push(message.stored.body);
        }
    }
    assert_eq!(bodies, ["TERM", "INT"]);
}

/// When the keys of the first account are lost, the operator can still let somebody in.
#[test]
fn a_new_invitation_is_made_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    server.register(dir.path(), "lost", None);
    for asked in [false, true] {
        assert_eq!(server.terminate(), Some(0));
        let more: &[&str] = if asked { &["--new-invitation"] } else { &[] };
        server = Server::launch(dir.path(), "127.0.0.1:0", more);
        assert_eq!(server.invitation.is_some(), asked);
    }
    server.register(dir.path(), "alice", None);
    server.register(dir.path(), "bob", Some("alice"));
}

/// The same two devices each time, with nothing on their disks.
async fn couple(server: &Server) -> (Client, Client) {
    let couple = [client(server, [1; 32]).await, client(server, [2; 32]).await];
    hurry(&couple).await;
    couple.into()
}
