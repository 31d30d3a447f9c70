//! `ntp serve` as a process: signals, and the lines it ends with when it can't start.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Server, anywhere, client, command, folder, hurry};
use ntproto_sdk::{Client, Event};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_signal_drains_and_ends_with_zero() {
    let (_dir, dir) = folder();
    for signal in ["TERM", "INT"] {
        let mut server = Server::start(&dir, anywhere());
        let (alice, bob) = couple(&server).await;
        let mut events = bob.events().unwrap();
        alice.send(bob.identity().unwrap().uin, signal).await.unwrap();
        server.signal(signal);
        let waiting = tokio::task::spawn_blocking(move || server.wait(PATIENCE));
        let heard = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Event::Offline { why, .. } = events.next().await.unwrap() {
                    return why.to_string();
                }
            }
        });
        assert_eq!(heard.await.unwrap(), "closed by the peer: GOING_AWAY");
        let (status, error) = waiting.await.unwrap();
        assert_eq!((status.code(), error.as_str()), (Some(0), ""), "SIG{signal}");
    }
    // What was acknowledged is there.
    let server = Server::start(&dir, anywhere());
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

/// The same two devices each time, with nothing on their disks.
async fn couple(server: &Server) -> (Client, Client) {
    let couple = [client(&server.connect, [1; 32]).await, client(&server.connect, [2; 32]).await];
    hurry(&couple).await;
    couple.into()
}

#[test]
fn what_keeps_it_from_starting_is_one_line_and_a_code() {
    let (_dir, dir) = folder();
    let server = Server::start(&dir, anywhere());
    let (_other, other) = folder();
    let said = |command: &mut std::process::Command| {
        let output = command.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(output.stdout.is_empty());
        (output.status.code().unwrap(), error.trim_end().to_owned())
    };
    let port = server.listening.port();
    let taken = format!("ntp: UDP port {port} is taken: stop what uses it, or set listen to another port");
    assert_eq!(said(&mut command(&other, server.listening)), (1, taken));
    let (code, error) = said(&mut command(&dir, anywhere()));
    assert_eq!(code, 1);
    assert!(error.ends_with("store.redb is in use: is another server running on it?"), "{error}");
    let (code, error) = said(command(&other, anywhere()).args(["--max-message", "0"]));
    assert_eq!(code, 2);
    assert_eq!(error, "ntp: --max-message = \"0\": write a number of bytes from 1 to 262144");
    let (code, error) = said(command(&other, anywhere()).env("NTP_HEARTBEAT", "soon"));
    assert_eq!(
        (code, error.as_str()),
        (2, "ntp: NTP_HEARTBEAT = \"soon\": write a number of seconds from 1 to 45")
    );
}
