//! The real server under load, killed with SIGKILL twenty times at random instants: no acknowledged message is
//! lost, none is delivered twice, order holds.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ntproto_core::rng::Rng;
use ntproto_sdk::{Client, Event, Events, SendOptions, Uin};
use tokio::task::JoinHandle;

use common::{Server, client, hurry};

const KILLS: u64 = 20;
const CLIENTS: usize = 4;
/// Messages that each client has under way at a time.
const WINDOW: usize = 8;
/// The server runs for so long between two kills, in milliseconds.
const LIFE: std::ops::Range<u64> = 50..900;
const PATIENCE: Duration = Duration::from_secs(60);

/// Bodies are told apart: who, which sender of theirs, the how-manieth.
type Body = Vec<u8>;

/// What was acknowledged, by the place the server gave it.
#[derive(Default)]
struct Ledger {
    /// Receiver, place in the conversation → body.
    acknowledged: BTreeMap<(usize, u64), Body>,
    /// What each receiver was told of, in order.
    delivered: BTreeMap<usize, Vec<(u64, Body)>>,
}

type Shared = Arc<Mutex<Ledger>>;

struct Load {
    ledger: Shared,
    stop: AtomicBool,
    under_way: AtomicUsize,
}

async fn send_on(load: Arc<Load>, from: Client, to: (usize, Uin), name: [u8; 2]) {
    for n in 0u32.. {
        if load.stop.load(Relaxed) {
            return;
        }
        let body = [&name[..], &n.to_be_bytes()].concat();
        let options = SendOptions::default();
        load.under_way.fetch_add(1, Relaxed);
        let sent = from.send_with(to.1, body.clone(), options).await.unwrap();
        load.under_way.fetch_sub(1, Relaxed);
        let before = load.ledger.lock().unwrap().acknowledged.insert((to.0, sent.conv_seq), body);
        assert_eq!(before, None, "two messages at one place");
    }
}

async fn receive(ledger: Shared, client: Client, me: usize, mut events: Events) {
    while let Some(event) = events.next().await {
        if let Event::Message(message) = event {
            let stored = &message.stored;
            let entry = (stored.conv_seq, stored.body.to_vec());
            ledger.lock().unwrap().delivered.entry(me).or_default().push(entry);
            client.confirm(message.position).await;
        }
    }
}

/// How the clients stand, for when something does not come.
async fn standing(clients: &[Client]) -> String {
    let mut text = String::new();
    for (no, client) in clients.iter().enumerate() {
        let waiting = client.outbox().await.map(|outbox| outbox.len());
        text += &format!("\n  client {no}: {:?}, outbox {waiting:?}", client.state());
    }
    text
}

#[tokio::test]
async fn twenty_kills_lose_and_double_nothing() {
    let seed = std::env::var("KILL_NINE_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| {
        u64::from(std::process::id()) ^ std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64
    });
    println!("seed {seed} (KILL_NINE_SEED={seed} repeats its choices)");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let mut rng = Rng::new(bytes);
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::open(dir.path());

    // In a ring: each sends to the next, so every conversation has one sender.
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(client(&server, rng.array()).await);
    }
    hurry(&clients).await;
    let load = Arc::new(Load {
        ledger: Shared::default(),
        stop: AtomicBool::new(false),
        under_way: AtomicUsize::new(0),
    });
    let mut senders: Vec<JoinHandle<()>> = Vec::new();
    for (no, client) in clients.iter().enumerate() {
        let to = (no + 1) % CLIENTS;
        let uin = clients[to].identity().unwrap().uin;
        tokio::spawn(receive(Arc::clone(&load.ledger), client.clone(), no, client.events().unwrap()));
        for lane in 0..WINDOW {
            let name = [no as u8, lane as u8];
            senders.push(tokio::spawn(send_on(Arc::clone(&load), client.clone(), (to, uin), name)));
        }
    }

    let start = Instant::now();
    let (mut loaded, mut answered) = (0, 0);
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(LIFE.start + rng.below(LIFE.end - LIFE.start))).await;
        loaded += usize::from(load.under_way.load(Relaxed) > 0);
        let before = load.ledger.lock().unwrap().acknowledged.len();
        server.kill();
        server.restart();
        hurry(&clients).await;
        answered = before;
    }
    load.stop.store(true, Relaxed);
    for sender in senders {
        match tokio::time::timeout(PATIENCE, sender).await {
            Ok(ended) => ended.unwrap(),
            Err(_) => panic!("not acknowledged:{}", standing(&clients).await),
        }
    }
    let until = Instant::now() + PATIENCE;
    let count = |ledger: &Ledger| ledger.delivered.values().map(Vec::len).sum::<usize>();
    while {
        let ledger = load.ledger.lock().unwrap();
        count(&ledger) < ledger.acknowledged.len()
    } {
        assert!(Instant::now() < until, "not delivered:{}", standing(&clients).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What should not come has time to come.
    tokio::time::sleep(Duration::from_millis(500)).await;

    let ledger = load.ledger.lock().unwrap();
    let mut delivered = BTreeMap::new();
    for (receiver, messages) in &ledger.delivered {
        assert!(messages.is_sorted_by(|a, b| a.0 < b.0), "in order at {receiver}");
        for (place, body) in messages {
            assert_eq!(delivered.insert((*receiver, *place), body.clone()), None);
        }
    }
    let bodies: BTreeSet<&Body> = delivered.values().collect();
    assert_eq!(bodies.len(), delivered.len(), "no message has two places");
    assert!(ledger.acknowledged == delivered, "what was acknowledged is what was delivered");
    println!(
        "{KILLS} kills, {loaded} of them with messages under way: {} acknowledged, {} delivered, 0 lost, \
         0 doubled, in {:.1} s",
        ledger.acknowledged.len(),
        delivered.len(),
        start.elapsed().as_secs_f64()
    );
    assert!(loaded > KILLS as usize / 2 && answered > 100, "the kills came under load");
}
