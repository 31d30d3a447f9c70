//! A server and two people on it, all on one runtime: what they send and see.

use std::path::Path;
use std::time::Duration;

use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::rng::Rng;
use ntproto_drive::connect;
use ntproto_sdk::driver::{Server as ServerAt, Transports};
use ntproto_sdk::store::MemoryStore;
use ntproto_sdk::{Client, ConnectString, EnrolCode, Event, Events, Options, SendOptions};
use ntproto_server::config::ServerConfig;
use ntproto_server::run::{Running, Server, StartOptions};
use ntproto_udp::Clock;

use crate::{Host, in_time};

/// Messages each of them sends.
const MESSAGES: u64 = 12;

async fn server(host: &impl Host, dir: &Path, port: u16) -> Running {
    let listen = ([127, 0, 0, 1], port).into();
    let config = ServerConfig { listen, data_dir: dir.into(), ..ServerConfig::default() };
    Server::start_on(host.clone(), config, StartOptions::default()).await.unwrap()
}

async fn client(
    host: &impl Host,
    server: &ConnectString,
    code: Option<EnrolCode>,
    keys: u8,
    transports: Transports,
) -> Client {
    let keys = DeviceKeys::generate(&mut Rng::new([keys; 32]), &RUSTCRYPTO);
    let mut server = ServerAt::new(server, Clock::start().now().unix).unwrap();
    server.transports = transports;
    let mut options = Options::new(server, keys, Box::new(MemoryStore::new()));
    options.enrol = code.map(Into::into);
    connect(host.clone(), options).await.unwrap()
}

/// The next message, written down with its places.
async fn message(who: &str, events: &mut Events) -> String {
    loop {
        if let Event::Message(message) = events.next().await.unwrap() {
            let stored = &message.stored;
            return format!(
                "{who}: position {}, number {}, {} bytes from {}, {:02x?}",
                message.position,
                stored.conv_seq,
                stored.body.len(),
                stored.sender.0,
                stored.body.first_chunk::<8>()
            );
        }
    }
}

/// A conversation of two, as a seed decides.
pub(crate) async fn run(host: impl Host, seed: u8, transports: Transports) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let talk = async {
        let running = server(&host, dir.path(), 0).await;
        let to = running.connect_string.clone();
        let alice = client(&host, &to, running.invitation.clone(), 1, transports).await;
        let me = alice.online().await.unwrap().uin;
        let (code, _) = alice.invite(1, Duration::from_secs(60), false).await.unwrap();
        let bob = client(&host, &to, Some(code), 2, transports).await;
        let him = bob.online().await.unwrap().uin;
        let (mut alice_hears, mut bob_hears) = (alice.events().unwrap(), bob.events().unwrap());
        let mut rng = Rng::new([seed; 32]);
        let mut lines = vec![format!("alice is {}, bob is {}", me.0, him.0)];
        for n in 0..MESSAGES {
            let mut body = vec![0; 8 + rng.below(60_000) as usize];
            rng.fill(&mut body);
            let sent = alice.send(him, body).await.unwrap();
            lines.push(format!("alice sent number {}", sent.conv_seq));
            lines.push(message("bob", &mut bob_hears).await);
            let sent = bob.send(me, format!("answer {n} of a few bytes")).await.unwrap();
            lines.push(format!("bob sent number {}", sent.conv_seq));
            lines.push(message("alice", &mut alice_hears).await);
        }
        alice.close().await;
        bob.close().await;
        running.shutdown().await.unwrap();
        lines
    };
    in_time(&host, talk).await
}

/// A server that ends and starts again on the same port, both ways reachable.
pub(crate) async fn restarted(host: impl Host) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let twice = async {
        let first = server(&host, dir.path(), 0).await;
        let (to, code) = (first.connect_string.clone(), first.invitation.clone());
        let alice = client(&host, &to, code, 1, Transports::RequireTcp).await;
        alice.online().await.unwrap();
        let (code, _) = alice.invite(1, Duration::from_secs(60), false).await.unwrap();
        let bob = client(&host, &to, Some(code), 2, Transports::RequireTcp).await;
        let him = bob.online().await.unwrap().uin;
        bob.close().await;
        first.shutdown().await.unwrap();
        let second = server(&host, dir.path(), to.port).await;
        let sent = alice.send_with(him, "are you there?", SendOptions::default()).await.unwrap();
        alice.close().await;
        second.shutdown().await.unwrap();
        vec![format!("the second server stored number {}", sent.conv_seq)]
    };
    in_time(&host, twice).await
}
