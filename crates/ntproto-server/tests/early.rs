//! A whole server on real sockets, a client that comes back by early data, and somebody who repeats it.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::rng::Rng;
use ntproto_sdk::driver::{Server as ServerAt, Transports};
use ntproto_sdk::store::MemoryStore;
use ntproto_sdk::{Client, ConversationId, EnrolCode, Event, Events, Options, State};
use ntproto_server::config::{Overrides, ServerConfig};
use ntproto_server::run::{Running, Server, Stats};
use ntproto_tokio::{Clock, connect};
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(30);
/// How long a replay is given to do something.
const AFTER: Duration = Duration::from_secs(1);

async fn start(dir: &Path, listen: SocketAddr) -> Running {
    let mut flags = Overrides::default();
    flags.set("listen", Some(&listen.to_string()));
    flags.set("data_dir", dir.to_str());
    Server::start(ServerConfig::load(&flags, |_| None).unwrap()).await.unwrap()
}

async fn client(server: &ServerAt, code: Option<EnrolCode>, seed: u8, store: &MemoryStore) -> Client {
    let keys = DeviceKeys::generate(&mut Rng::new([seed; 32]), &RUSTCRYPTO);
    let mut options = Options::new(server.clone(), keys, Box::new(store.clone()));
    options.enrol = code.map(Into::into);
    connect(options).await.unwrap()
}

/// Forwards the datagrams of one client, and keeps what it sent.
#[derive(Default)]
struct Wire {
    sent: Mutex<Vec<Vec<u8>>>,
    /// While set, nothing of the client passes once the server has answered.
    one_flight: AtomicBool,
    answered: AtomicBool,
}

impl Wire {
    /// Ends with the test's process.
    fn start(server: SocketAddr) -> (Arc<Self>, SocketAddr) {
        let wire = Arc::new(Self::default());
        let bind = || Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let (front, back) = (bind(), bind());
        back.connect(server).unwrap();
        let address = front.local_addr().unwrap();
        let client = Arc::new(Mutex::new(None));
        let (up, down) = (Arc::clone(&wire), Arc::clone(&wire));
        let (up_front, up_back, up_client) = (Arc::clone(&front), Arc::clone(&back), Arc::clone(&client));
        std::thread::spawn(move || {
            let mut data = vec![0; 65_536];
            while let Ok((len, from)) = up_front.recv_from(&mut data) {
                *up_client.lock().unwrap() = Some(from);
                up.sent.lock().unwrap().push(data[..len].to_vec());
                if !(up.one_flight.load(SeqCst) && up.answered.load(SeqCst)) {
                    let _ = up_back.send(&data[..len]);
                }
            }
        });
        std::thread::spawn(move || {
            let mut data = vec![0; 65_536];
            loop {
                // An ICMP report of a server that is down is no end.
                let Ok(len) = back.recv(&mut data) else { continue };
                down.answered.store(true, SeqCst);
                if let Some(client) = *client.lock().unwrap() {
                    let _ = front.send_to(&data[..len], client);
                }
            }
        });
        (wire, address)
    }
}

/// The bodies of the next messages.
async fn hear(events: &mut Events, client: &Client, count: usize) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    let all = async {
        while bodies.len() < count {
            if let Event::Message(message) = events.next().await.expect("the client lives") {
                client.confirm(message.position).await;
                bodies.push(message.stored.body.to_vec());
            }
        }
    };
    timeout(PATIENCE, all).await.expect("messages come");
    bodies
}

async fn online(client: &Client) {
    let up = async {
        while !matches!(client.state(), State::Online { .. }) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, up).await.expect("online");
}

/// Somebody without a key sends these datagrams to the server.
fn replay(server: SocketAddr, datagrams: &[Vec<u8>]) {
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for data in datagrams {
        stranger.send_to(data, server).unwrap();
    }
}

#[tokio::test]
async fn early_data_brings_messages_in_one_flight_and_nothing_when_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = start(dir.path(), ([127, 0, 0, 1], 0).into()).await;
    let address = server.local_addr;
    let straight = || ServerAt::new(&server.connect_string, Clock::start().now().unix).unwrap();
    let alice_at = straight();
    let (wire, proxied) = Wire::start(address);
    let bob_at = ServerAt { addresses: vec![proxied], transports: Transports::RequireQuic, ..straight() };
    let (alices, bobs) = (MemoryStore::new(), MemoryStore::new());

    let alice = client(&alice_at, server.invitation.clone(), 1, &alices).await;
    let from_alice = timeout(PATIENCE, alice.online()).await.unwrap().unwrap().uin;
    let (code, _) = alice.invite(1, Duration::from_secs(60), false).await.unwrap();
    let bob = client(&bob_at, Some(code), 2, &bobs).await;
    let to_bob = timeout(PATIENCE, bob.online()).await.unwrap().unwrap().uin;
    // When these are answered, the TLS session to come back with has arrived.
    bob.devices().await.unwrap();
    bob.devices().await.unwrap();
    bob.close().await;
    alice.send(to_bob, "one").await.unwrap();
    alice.send(to_bob, "two").await.unwrap();

    // The first flight is all that passes, and its answer brings both.
    wire.sent.lock().unwrap().clear();
    wire.answered.store(false, SeqCst);
    wire.one_flight.store(true, SeqCst);
    let bob = client(&bob_at, None, 2, &bobs).await;
    let mut events = bob.events().unwrap();
    assert_eq!(hear(&mut events, &bob, 2).await, [b"one", b"two"]);
    wire.one_flight.store(false, SeqCst);
    assert_eq!(bob.devices().await.unwrap().len(), 1);
    let captured = std::mem::take(&mut *wire.sent.lock().unwrap());

    let conversation = ConversationId::direct(from_alice, to_bob);
    for text in ["three", "four"] {
        // What was told of delivery is told for good before anybody interferes.
        sleep(AFTER).await;
        let marks = alice.marks(conversation).await.unwrap();
        let Stats { let_in, opened, .. } = server.stats();
        replay(address, &captured);
        sleep(AFTER).await;
        assert_eq!((server.stats().let_in, server.stats().opened), (let_in, opened));
        assert_eq!(alice.marks(conversation).await.unwrap(), marks, "no watermark moved");
        assert!(matches!(bob.state(), State::Online { .. }), "no session was superseded");
        alice.send(to_bob, text).await.unwrap();
        assert_eq!(hear(&mut events, &bob, 1).await, [text.as_bytes()], "once, and nothing before it");

        // Once more to a server that was started anew.
        timeout(PATIENCE, server.shutdown()).await.unwrap().unwrap();
        server = start(dir.path(), address).await;
        sleep(Duration::from_millis(100)).await;
        online(&alice).await;
        online(&bob).await;
        bob.devices().await.unwrap();
    }
    alice.close().await;
    bob.close().await;
    timeout(PATIENCE, server.shutdown()).await.unwrap().unwrap();
}
