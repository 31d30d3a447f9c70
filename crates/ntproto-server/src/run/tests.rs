#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_sdk::driver::Server as ServerAt;
use ntproto_sdk::store::MemoryStore;
use ntproto_sdk::{Client, Credential, Event, Options};

use ntproto_hub::store::{Outcome, StoreError};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn without_ipv6_everywhere_is_ipv4() {
    use io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied, Unsupported};
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    // What systems say without IPv6: EAFNOSUPPORT (97 on Linux), EADDRNOTAVAIL.
    let no_family = io::Error::from_raw_os_error(97).kind();
    for kind in [no_family, Unsupported, AddrNotAvailable] {
        assert_eq!(instead(at("[::]:7424"), kind), Some(at("0.0.0.0:7424")));
        assert_eq!(instead(at("[::1]:7424"), kind), None, "an address that was meant");
        assert_eq!(instead(at("0.0.0.0:7424"), kind), None);
    }
    for kind in [AddrInUse, PermissionDenied] {
        assert_eq!(instead(at("[::]:7424"), kind), None, "IPv4 would not help");
    }
}

/// A store whose disk hangs while `hangs` is set.
struct Hanging {
    store: RedbStore,
    hangs: Arc<AtomicBool>,
}

impl Store for Hanging {
    fn commit(&mut self, batch: &[Txn]) -> Vec<Result<Outcome, StoreError>> {
        while self.hangs.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.store.commit(batch)
    }
}

async fn client(server: &ConnectString, seed: u8) -> Client {
    let keys = DeviceKeys::generate(&mut Rng::new([seed; 32]), &RUSTCRYPTO);
    let server = ServerAt::new(server, Clock::start().now().unix).unwrap();
    let mut options = Options::new(server, keys, Box::new(MemoryStore::new()));
    options.enrol = Some(Credential::Open);
    let client = ntproto_tokio::connect(options).await.unwrap();
    tokio::time::timeout(PATIENCE, client.online()).await.unwrap().unwrap();
    client
}

#[tokio::test]
async fn a_disk_that_hangs_does_not_hold_a_drain_up() {
    let dir = tempfile::tempdir().unwrap();
    let config = ServerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        data_dir: dir.path().join("data"),
        open_registration: true,
        drain_timeout: Duration::from_secs(1),
        ..ServerConfig::default()
    };
    let hangs = Arc::new(AtomicBool::new(false));
    let hanging = Arc::clone(&hangs);
    let on = move |store| Box::new(Hanging { store, hangs: hanging }) as Box<dyn Store>;
    let server =
        start_over(Tokio, config.clone(), StartOptions::default(), on, Duration::from_millis(300)).unwrap();
    let (alice, bob) = (client(&server.connect_string, 1).await, client(&server.connect_string, 2).await);
    let to = bob.identity().unwrap().uin;
    tokio::time::timeout(PATIENCE, alice.send(to, "acknowledged")).await.unwrap().unwrap();

    hangs.store(true, Ordering::SeqCst);
    let hung = tokio::spawn({
        let alice = alice.clone();
        async move { alice.send(to, "hung").await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (listen, began) = (server.local_addr, Instant::now());
    let ended = tokio::time::timeout(PATIENCE, server.shutdown()).await.unwrap();
    // The drain's second, the last words, the store's 0.3 s.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(matches!(ended, Err(RunError::Stuck)), "{ended:?}");
    assert!(!hung.is_finished(), "nothing was acknowledged");

    // The disk comes back, and so does the server: both messages are there, once.
    hangs.store(false, Ordering::SeqCst);
    let config = ServerConfig { listen, ..config };
    let server = loop {
        match Server::start(config.clone()).await {
            Ok(server) => break server,
            // The old store is let go when its thread has ended.
            Err(StartError::Store(e)) if began.elapsed() < PATIENCE => drop(e),
            Err(e) => panic!("{e}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    alice.network_changed().await;
    bob.network_changed().await;
    tokio::time::timeout(PATIENCE, hung).await.unwrap().unwrap().unwrap();
    let mut events = bob.events().unwrap();
    let mut bodies = Vec::new();
    while bodies.len() < 2 {
        if let Event::Message(message) = tokio::time::timeout(PATIENCE, events.next()).await.unwrap().unwrap()
        {
            bodies.push(message.stored.body);
        }
    }
    assert_eq!(bodies, ["acknowledged", "hung"]);
    server.shutdown().await.unwrap();
}
