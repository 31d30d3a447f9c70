//! Clients and the server over real sockets: the tokio adapter, and the example without any runtime.
#![allow(clippy::unwrap_used)]

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::rng::Rng;
use ntproto_sdk::{Client, ConnectString, EnrolCode, Event, Events, Profile, State};
use ntproto_server::config::ServerConfig;
use ntproto_server::run::{Running, Server};
use ntproto_tokio::{Clock, connect};

#[path = "../../crates/ntproto-sdk/examples/std_loop.rs"]
#[allow(dead_code)]
mod std_loop;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn server(dir: &Path, listen: SocketAddr) -> Running {
    let config = ServerConfig { listen, data_dir: dir.into(), ..ServerConfig::default() };
    Server::start(config).await.unwrap()
}

fn anywhere() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn profile(dir: &Path, connect: &ConnectString, enrol: &EnrolCode) -> Profile {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).unwrap();
    let keys = DeviceKeys::generate(&mut Rng::new(seed), &RUSTCRYPTO);
    Profile::create(dir, connect.clone(), keys, Some(enrol.clone())).unwrap()
}

async fn start(profile: &Profile) -> Client {
    connect(profile.options(Clock::start().now().unix).unwrap()).await.unwrap()
}

async fn next_message(events: &mut Events) -> (u64, String) {
    loop {
        if let Event::Message(message) = events.next().await.unwrap() {
            return (message.position, String::from_utf8_lossy(&message.stored.body).into_owned());
        }
    }
}

async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("within a minute")
}

#[test]
fn two_clients_talk_and_survive_a_restart_of_everything() {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    runtime().block_on(in_time(async {
        let running = server(&at("server"), anywhere()).await;
        let invitation = running.invitation.clone().unwrap();
        let (here, connect_string) = (running.local_addr, running.connect_string.clone());
        let alice = profile(&at("alice"), &connect_string, &invitation);
        let a = start(&alice).await;
        let me = a.online().await.unwrap();
        let (code, _) = a.invite(1, Duration::from_secs(60), false).await.unwrap();
        let bob = profile(&at("bob"), &connect_string, &code);
        let b = start(&bob).await;
        let other = b.online().await.unwrap();

        let mut events = b.events().unwrap();
        for n in 0..100 {
            a.send(other.uin, format!("message {n}")).await.unwrap();
        }
        for n in 0..100 {
            let (position, body) = next_message(&mut events).await;
            assert_eq!(body, format!("message {n}"));
            b.confirm(position).await;
        }

        // The server goes away while both go on.
        running.shutdown().await.unwrap();
        let waiting = a.enqueue(other.uin, "while it was away").await.unwrap();
        let running = server(&at("server"), here).await;
        assert!(running.invitation.is_none());
        assert_eq!(next_message(&mut events).await.1, "while it was away");
        assert!(a.outbox().await.unwrap().is_empty() || a.outcome(waiting).await.unwrap().is_none());

        // The receiver goes away; what it did not confirm comes again, and what came meanwhile.
        drop(events);
        b.close().await;
        a.send(other.uin, "while you were away").await.unwrap();
        let b = start(&bob).await;
        let mut events = b.events().unwrap();
        assert_eq!(next_message(&mut events).await.1, "while it was away");
        assert_eq!(next_message(&mut events).await.1, "while you were away");
        assert_eq!(b.identity(), Some(other));
        b.send(me.uin, "thank you").await.unwrap();
        for client in [a, b] {
            client.close().await;
            assert!(matches!(client.state(), State::Ended(_)));
        }
        running.shutdown().await.unwrap();
    }));
}

/// Lines, as they are written.
struct Lines(Vec<u8>, Sender<String>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        while let Some(end) = self.0.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.0.drain(..=end).collect();
            let _ = self.1.send(String::from_utf8_lossy(&line[..end]).into_owned());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn run_example(args: &[&str]) -> (std::thread::JoinHandle<Result<(), String>>, Receiver<String>) {
    let (lines, heard) = mpsc::channel();
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let thread = std::thread::spawn(move || {
        std_loop::client(&args, &mut Lines(Vec::new(), lines)).map_err(|e| e.to_string())
    });
    (thread, heard)
}

#[test]
fn the_example_without_a_runtime_talks_to_the_server() {
    let temp = tempfile::tempdir().unwrap();
    let (ready, started) = mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let dir = temp.path().join("server");
    let serving = std::thread::spawn(move || {
        runtime().block_on(async {
            let config = ServerConfig {
                listen: anywhere(),
                data_dir: dir,
                open_registration: true,
                ..Default::default()
            };
            let running = Server::start(config).await.unwrap();
            ready.send((running.connect_string.to_string(), running.invitation.clone())).unwrap();
            let _ = stopped.await;
            running.shutdown().await.unwrap();
        });
    });
    let (connect, invitation) = started.recv().unwrap();
    let (listener, heard) = run_example(&[&connect, &invitation.unwrap().to_string(), "listen", "1"]);
    let online = heard.recv_timeout(Duration::from_secs(30)).unwrap();
    let uin = online.strip_prefix("online as ").expect("the first line");
    let (sender, said) = run_example(&[&connect, "open", "send", uin, "no runtime at all"]);
    assert_eq!(sender.join().unwrap(), Ok(()));
    assert!(said.iter().any(|line| line == "stored as number 1"));
    let line = heard.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(line.ends_with(": no runtime at all"), "{line}");
    assert_eq!(listener.join().unwrap(), Ok(()));
    stop.send(()).unwrap();
    serving.join().unwrap();
}
