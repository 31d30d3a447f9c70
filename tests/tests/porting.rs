//! The porting examples talk to real servers: see `docs/porting.md`.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::rng::Rng;
use ntproto_sdk::driver::{Server as ServerAt, Transports};
use ntproto_sdk::store::MemoryStore;
use ntproto_sdk::{Client, ConnectString, Credential, Event, Events, Options, Uin};
use ntproto_server::config::ServerConfig;
use ntproto_server::run::{Running, Server};
use ntproto_tokio::{Clock, connect};

#[path = "../examples/blocking_client.rs"]
#[allow(dead_code)]
mod blocking_client;
#[path = "../examples/compio_client.rs"]
#[allow(dead_code)]
mod compio_client;
#[path = "../examples/device/main.rs"]
#[allow(dead_code)]
mod desk;
#[path = "../examples/poll_server.rs"]
#[allow(dead_code)]
mod poll_server;

const PATIENCE: Duration = Duration::from_secs(60);

async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("within a minute")
}

/// Runs what blocks on a thread of its own: what it returns.
async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    in_time(tokio::task::spawn_blocking(work)).await.unwrap()
}

/// A whole server, where anybody may register.
async fn server() -> (tempfile::TempDir, Running) {
    let dir = tempfile::tempdir().unwrap();
    let config = ServerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        data_dir: dir.path().join("data"),
        open_registration: true,
        ..ServerConfig::default()
    };
    (dir, Server::start(config).await.unwrap())
}

fn options(connect: &ConnectString, seed: u8, transports: Transports) -> Options {
    let keys = DeviceKeys::generate(&mut Rng::new([seed; 32]), &RUSTCRYPTO);
    let mut server = ServerAt::new(connect, Clock::start().now().unix).unwrap();
    server.transports = transports;
    let mut options = Options::new(server, keys, Box::new(MemoryStore::new()));
    options.enrol = Some(Credential::Open);
    options
}

/// A client on tokio to talk to.
async fn peer(at: &ConnectString, seed: u8, transports: Transports) -> (Client, Events, Uin) {
    let client = connect(options(at, seed, transports)).await.unwrap();
    let uin = in_time(client.online()).await.unwrap().uin;
    let events = client.events().unwrap();
    (client, events, uin)
}

async fn next_message(events: &mut Events) -> (Uin, String) {
    let next = async {
        loop {
            if let Event::Message(message) = events.next().await.expect("the client lives") {
                let text = String::from_utf8_lossy(&message.stored.body).into_owned();
                return (message.stored.sender, text);
            }
        }
    };
    in_time(next).await
}

#[tokio::test]
async fn a_blocking_client_talks() {
    let (_dir, server) = server().await;
    let (peer, mut events, to) = peer(&server.connect_string, 1, Transports::Any).await;
    let at = server.connect_string.clone();
    let (tell, told) = mpsc::channel();
    let client = thread::spawn(move || {
        let mut client = blocking_client::Client::connect(&at, Credential::Open).unwrap();
        tell.send(client.uin()).unwrap();
        let numbers = ["one", "two", "three"].map(|text| client.send(to, text).unwrap());
        let heard = [client.receive().unwrap(), client.receive().unwrap()];
        client.close().unwrap();
        (numbers, heard)
    });
    let uin = on_a_thread(move || told.recv().unwrap()).await;
    for text in ["one", "two", "three"] {
        assert_eq!(next_message(&mut events).await, (uin, text.into()));
    }
    for text in ["four", "five"] {
        in_time(peer.send(uin, text)).await.unwrap();
    }
    let (numbers, heard) = on_a_thread(move || client.join().unwrap()).await;
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(heard, [(to, "four".into()), (to, "five".into())]);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_device_talks_and_keeps_its_timers() {
    let (_dir, server) = server().await;
    let (peer, mut events, to) = peer(&server.connect_string, 1, Transports::Any).await;
    let at = server.connect_string.clone();
    let (tell, told) = mpsc::channel();
    let device = thread::spawn(move || {
        let mut device = desk::device(&at).unwrap();
        let (start, mut sent, mut heard) = (Instant::now(), 0, Vec::new());
        while (heard.len() < 2 || device.stored < 3 || device.board.blinks < 2) && start.elapsed() < PATIENCE
        {
            let wait = device.step().clamp(1, 5);
            if sent < 3 && device.send(to, format!("reading {sent}").as_bytes()).is_ok() {
                sent += 1;
                // Heard once.
                let _ = tell.send(device.uin().unwrap());
            }
            if let Some(received) = device.take() {
                heard.push(String::from_utf8_lossy(&received.body).into_owned());
            }
            thread::sleep(Duration::from_millis(wait));
        }
        (heard, device.stored, device.board.blinks)
    });
    let uin = on_a_thread(move || told.recv().unwrap()).await;
    for n in 0..3 {
        assert_eq!(next_message(&mut events).await, (uin, format!("reading {n}")));
    }
    for text in ["lamp on", "lamp off"] {
        in_time(peer.send(uin, text)).await.unwrap();
    }
    let (heard, stored, blinks) = on_a_thread(move || device.join().unwrap()).await;
    assert_eq!((heard, stored), (vec!["lamp on".into(), "lamp off".into()], 3));
    assert!(blinks >= 2);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn compio_drives_a_client_over_either_transport() {
    let (_dir, server) = server().await;
    for (seed, transports) in [(10, Transports::RequireQuic), (20, Transports::RequireTcp)] {
        let (peer, mut events, to) = peer(&server.connect_string, seed, Transports::Any).await;
        let options = options(&server.connect_string, seed + 1, transports);
        let client = thread::spawn(move || {
            compio::runtime::Runtime::new().unwrap().block_on(async {
                let client = compio_client::connect(options).await.unwrap();
                client.online().await.unwrap();
                client.send(to, "from compio").await.unwrap();
                let mut events = client.events().unwrap();
                let answer = loop {
                    if let Event::Message(message) = events.next().await.unwrap() {
                        break String::from_utf8_lossy(&message.stored.body).into_owned();
                    }
                };
                client.close().await;
                answer
            })
        });
        let (uin, text) = next_message(&mut events).await;
        assert_eq!(text, "from compio");
        in_time(peer.send(uin, "to compio")).await.unwrap();
        assert_eq!(on_a_thread(move || client.join().unwrap()).await, "to compio");
    }
    server.shutdown().await.unwrap();
}

/// Many at once over both transports, each to the next one round the ring.
#[tokio::test]
async fn a_poll_loop_serves_many() {
    let dir = tempfile::tempdir().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let listen = "127.0.0.1:0".parse().unwrap();
    let mut server = poll_server::Server::bind(listen, &dir.path().join("keys"), Arc::clone(&stop)).unwrap();
    let (at, waker) = (server.connect_string.clone(), Arc::clone(&server.waker));
    let server = thread::spawn(move || server.run().unwrap());
    let mut peers = Vec::new();
    for n in 0..12 {
        let transports = if n % 2 == 0 { Transports::RequireQuic } else { Transports::RequireTcp };
        peers.push(peer(&at, n + 1, transports).await);
    }
    for n in 0..peers.len() {
        let to = peers[(n + 1) % peers.len()].2;
        for k in 0..5 {
            in_time(peers[n].0.send(to, format!("{n} {k}"))).await.unwrap();
        }
        // As large as messages get: over a socket's buffer, so writing goes on in pieces.
        in_time(peers[n].0.send(to, vec![b'x'; 200_000])).await.unwrap();
    }
    for n in 0..peers.len() {
        let from = (n + peers.len() - 1) % peers.len();
        let (sender, events) = (peers[from].2, &mut peers[n].1);
        for k in 0..5 {
            assert_eq!(next_message(events).await, (sender, format!("{from} {k}")));
        }
        assert_eq!(next_message(events).await.1.len(), 200_000);
    }
    stop.store(true, Ordering::SeqCst);
    waker.wake().unwrap();
    on_a_thread(move || server.join().unwrap()).await;
}
