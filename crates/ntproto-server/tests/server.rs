//! A whole server on real sockets, with whole clients.
#![allow(clippy::unwrap_used)]

use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::rng::Rng;
use ntproto_sdk::driver::Server as ServerAt;
use ntproto_sdk::store::MemoryStore;
use ntproto_sdk::{Client, ConnectString, Ended, EnrolCode, Event, Events, Options};
use ntproto_server::config::{Overrides, ServerConfig};
use ntproto_server::run::{Running, Server, StartError};
use ntproto_tokio::{Clock, connect};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

fn config(dir: &Path) -> ServerConfig {
    let mut flags = Overrides::default();
    flags.set("listen", Some("127.0.0.1:0"));
    flags.set("data_dir", dir.to_str());
    ServerConfig::load(&flags, |_| None).unwrap()
}

async fn start(dir: &Path) -> Running {
    Server::start(config(dir)).await.unwrap()
}

async fn refused(config: ServerConfig) -> String {
    let text = Server::start(config).await.err().unwrap().to_string();
    assert!(!text.contains('\n'), "one line: {text}");
    text
}

async fn client(server: &ConnectString, code: Option<EnrolCode>, seed: u8) -> Client {
    let keys = DeviceKeys::generate(&mut Rng::new([seed; 32]), &RUSTCRYPTO);
    let server = ServerAt::new(server, Clock::start().now().unix).unwrap();
    let mut options = Options::new(server, keys, Box::new(MemoryStore::new()));
    options.enrol = code.map(Into::into);
    connect(options).await.unwrap()
}

/// Makes a store that a later version wrote.
fn set_format(file: &Path, format: u32) {
    let database = redb::Database::open(file).unwrap();
    let txn = database.begin_write().unwrap();
    let meta = redb::TableDefinition::<&[u8], &[u8]>::new("meta");
    txn.open_table(meta).unwrap().insert(&b"format"[..], &format.to_be_bytes()[..]).unwrap();
    txn.commit().unwrap();
}

async fn next_message(events: &mut Events) -> Vec<u8> {
    let next = async {
        loop {
            if let Event::Message(message) = events.next().await.expect("the client lives") {
                return message.stored.body.to_vec();
            }
        }
    };
    timeout(PATIENCE, next).await.expect("a message comes")
}

#[tokio::test]
async fn two_people_talk_across_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("data");
    let server = start(&dir).await;
    let port = server.local_addr.port();
    let connect_string: ConnectString = server.connect_string.to_string().parse().unwrap();
    assert_eq!((connect_string.host.as_str(), connect_string.port), ("127.0.0.1", port));
    let code = server.invitation.clone().unwrap();
    let alice = client(&connect_string, Some(code.clone()), 1).await;
    timeout(PATIENCE, alice.online()).await.unwrap().unwrap();
    let (code_of_bob, _) = alice.invite(1, Duration::from_secs(60), false).await.unwrap();
    let bob = client(&connect_string, Some(code_of_bob), 2).await;
    let to_bob = timeout(PATIENCE, bob.online()).await.unwrap().unwrap().uin;
    let mut hears = bob.events().unwrap();
    let sent = timeout(PATIENCE, alice.send(to_bob, "one")).await.unwrap().unwrap();
    assert_eq!(sent.conv_seq, 1);
    assert_eq!(next_message(&mut hears).await, b"one");

    // The invitation was for one account.
    let third = client(&connect_string, Some(code), 3).await;
    let ended = timeout(PATIENCE, third.online()).await.unwrap().unwrap_err();
    assert!(matches!(ended, Ended::Stopped(_)), "{ended:?}");

    let stats = server.stats();
    assert_eq!((stats.connections >= 2, stats.let_in, stats.enrolled, stats.refused), (true, 2, 2, 1));
    assert!(stats.transactions > 0 && stats.batches > 0);
    timeout(PATIENCE, server.shutdown()).await.unwrap().unwrap();

    // On the same port, with the same keys: the clients find it again by themselves.
    alice.enqueue(to_bob, "two").await.unwrap();
    let again = ServerConfig { listen: ([127, 0, 0, 1], port).into(), ..config(&dir) };
    let server = Server::start(again).await.unwrap();
    assert_eq!(server.connect_string, connect_string);
    assert!(server.invitation.is_none(), "there are accounts");
    assert_eq!(next_message(&mut hears).await, b"two");
    alice.close().await;
    bob.close().await;
    timeout(PATIENCE, server.shutdown()).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_invitation_is_made_until_somebody_has_come() {
    let dir = tempfile::tempdir().unwrap();
    let first = start(dir.path()).await;
    let code = first.invitation.clone().unwrap();
    first.shutdown().await.unwrap();
    let second = start(dir.path()).await;
    assert!(second.invitation.clone().is_some_and(|other| other != code));
    // The first one, which may have been passed on already, is as good.
    let alice = client(&second.connect_string, Some(code), 1).await;
    timeout(PATIENCE, alice.online()).await.unwrap().unwrap();
    second.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_said_in_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let data_dir = dir.path().join("data");
    let text = refused(ServerConfig { listen, ..config(&data_dir) }).await;
    assert_eq!(
        text,
        format!("port {} is taken: stop what uses it, or set listen to another port", listen.port())
    );
    assert!(!data_dir.exists(), "nothing was made");
    let listen = "192.0.2.1:7424".parse().unwrap();
    let text = refused(ServerConfig { listen, ..config(&data_dir) }).await;
    assert_eq!(text, "192.0.2.1 is not an address of this machine: correct listen");
}

#[tokio::test]
async fn a_store_that_cannot_be_used_is_said_in_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let running = start(&data).await;
    let text = refused(config(&data)).await;
    assert!(text.ends_with("is in use: is another server running on it?"), "{text}");
    running.shutdown().await.unwrap();

    let file = data.join("store.redb");
    let good = std::fs::read(&file).unwrap();
    std::fs::write(&file, b"not a database at all, but long enough to look at").unwrap();
    let text = refused(config(&data)).await;
    assert!(text.contains("is not a store: name another file"), "{text}");
    assert_eq!(std::fs::read(&file).unwrap().len(), 49, "left as it was");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let text = refused(config(&data)).await;
    assert!(text.contains("is not a store"), "{text}");
    std::fs::remove_dir(&file).unwrap();
    std::fs::write(&file, &good).unwrap();
    set_format(&file, 99);
    let text = refused(config(&data)).await;
    assert!(text.contains("format 99") && text.ends_with("run the version that wrote it"), "{text}");
    std::fs::write(&file, &good).unwrap();
    start(&data).await.shutdown().await.unwrap();
}

#[tokio::test]
async fn keys_that_are_damaged_are_said_in_a_line() {
    let dir = tempfile::tempdir().unwrap();
    start(dir.path()).await.shutdown().await.unwrap();
    std::fs::write(dir.path().join("server.keys"), "nonsense").unwrap();
    let text = refused(config(dir.path())).await;
    assert!(text.ends_with("server.keys is damaged: restore it from a backup"), "{text}");
    let file = dir.path().join("a file");
    std::fs::write(&file, "").unwrap();
    let text = refused(config(&file)).await;
    assert!(text.ends_with("is not a folder: name another as data_dir"), "{text}");
    assert!(matches!(Server::start(config(&file)).await, Err(StartError::Keys(_))));
}
