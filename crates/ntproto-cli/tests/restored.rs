//! The real server, put back from a copy of its data directory: clients that know more than the copy miss nothing.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::time::Duration;

use ntproto_sdk::{Client, Event, Events, Uin};
use tokio::time::timeout;

use common::{PATIENCE, Server, client, hurry};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    std::fs::set_permissions(to, std::fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

async fn send(from: &Client, to: Uin, body: &str) -> u64 {
    timeout(PATIENCE, from.send(to, body.to_owned())).await.unwrap().unwrap().conv_seq
}

/// The next `count` messages: position, number, body.
async fn hear(client: &Client, events: &mut Events, count: usize) -> Vec<(u64, u64, String)> {
    let mut heard = Vec::new();
    while heard.len() < count {
        if let Event::Message(message) = timeout(PATIENCE, events.next()).await.unwrap().unwrap() {
            client.confirm(message.position).await;
            let body = String::from_utf8(message.stored.body.to_vec()).unwrap();
            heard.push((message.position, message.stored.conv_seq, body));
        }
    }
    heard
}

#[tokio::test]
async fn a_restored_server_is_heard() {
    let dir = tempfile::tempdir().unwrap();
    let (data, backup) = (dir.path().join("server"), dir.path().join("backup"));
    let open = ["--open-registration", "true"];
    let mut server = Server::open(dir.path());
    let at = server.listening.to_string();
    let alice = client(&server, [1; 32]).await;
    let bob = client(&server, [2; 32]).await;
    hurry(&[alice.clone(), bob.clone()]).await;
    let (to_alice, to_bob) = (alice.identity().unwrap().uin, bob.identity().unwrap().uin);
    let mut hears = bob.events().unwrap();
    let mut alice_hears = alice.events().unwrap();
    let mut heard = Vec::new();
    send(&alice, to_bob, "one").await;
    send(&alice, to_bob, "two").await;
    heard.extend(hear(&bob, &mut hears, 2).await);

    assert_eq!(server.terminate(), Some(0));
    copy(&data, &backup);
    server = Server::launch(dir.path(), &at, &open);
    hurry(&[alice.clone(), bob.clone()]).await;
    for n in 0..5 {
        send(&alice, to_bob, &format!("lost {n}")).await;
    }
    send(&bob, to_alice, "lost too").await;
    heard.extend(hear(&bob, &mut hears, 5).await);
    hear(&alice, &mut alice_hears, 1).await;

    assert_eq!(server.terminate(), Some(0));
    std::fs::remove_dir_all(&data).unwrap();
    copy(&backup, &data);
    let server =
        Server::launch(dir.path(), &at, &[&open[..], &["--restored", "--log-level", "info"]].concat());
    hurry(&[alice.clone(), bob.clone()]).await;
    for n in 0..3 {
        send(&alice, to_bob, &format!("new {n}")).await;
        send(&bob, to_alice, &format!("answer {n}")).await;
    }
    heard.extend(hear(&bob, &mut hears, 3).await);
    let answers = hear(&alice, &mut alice_hears, 3).await;
    assert_eq!(
        answers.iter().map(|(_, _, body)| body).collect::<Vec<_>>(),
        ["answer 0", "answer 1", "answer 2"]
    );

    // What should not come has time to come.
    let more = async {
        loop {
            if let Some(Event::Message(message)) = hears.next().await {
                break message;
            }
        }
    };
    assert!(timeout(Duration::from_millis(500), more).await.is_err(), "something was shown twice");
    let bodies: Vec<&str> = heard.iter().map(|(_, _, body)| body.as_str()).collect();
    let expected =
        ["one", "two", "lost 0", "lost 1", "lost 2", "lost 3", "lost 4", "new 0", "new 1", "new 2"];
    assert_eq!(bodies, expected);
    assert!(heard.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1), "{heard:?}");
    assert!(server.log().contains("restored from a backup"), "{}", server.log());
}
