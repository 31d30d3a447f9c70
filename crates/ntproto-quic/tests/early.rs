//! Early data: what resumes a session, what it saves, and what a replay of it does.
#![allow(clippy::unwrap_used)]

mod common;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Link, NAME, World, client_tls, identity};
use ntproto_core::code::ErrorCode;
use ntproto_core::wire::channel::Channel;
use ntproto_quic::config::{HANDSHAKE_TIMEOUT, MAX_EARLY_BYTES};
use ntproto_quic::tls::default_provider;
use ntproto_quic::{
    ALPN, ClientSessions, ClientTls, Closed, ConnId, EarlyData, Endpoint, EndpointConfig, Event, Input,
    Limits, Pin, Received, SessionMemory, Trust,
};
use rustls::server::StoresServerSessions;

/// The worst memory there can be: it gives a session out as often as it is asked.
#[derive(Debug, Default)]
struct NeverForgets(Mutex<BTreeMap<Vec<u8>, Vec<u8>>>);

impl StoresServerSessions for NeverForgets {
    fn put(&self, id: Vec<u8>, session: Vec<u8>) -> bool {
        self.0.lock().unwrap().insert(id, session);
        true
    }

    fn get(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.0.lock().unwrap().get(id).cloned()
    }

    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.get(id)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

fn server(sessions: Arc<dyn StoresServerSessions>) -> EndpointConfig {
    EndpointConfig::server(identity().tls(&[ALPN]).with_sessions(sessions).unwrap())
}

fn resuming() -> ClientTls {
    client_tls().with_sessions(Arc::new(ClientSessions::default())).unwrap()
}

/// A server at 0, and a client at 1 that was connected once.
fn world(seed: u8, sessions: Arc<dyn StoresServerSessions>) -> (World, ClientTls) {
    let mut world = World::new(seed, Link::default());
    world.add(server(sessions));
    world.add(EndpointConfig::client());
    let tls = resuming();
    visit(&mut world, &tls);
    (world, tls)
}

/// Connects, and goes away when the session to come back with has arrived.
fn visit(world: &mut World, tls: &ClientTls) {
    let client = world.connect(1, 0, tls, NAME);
    world.run_for(Duration::from_millis(200));
    assert_eq!(connected(world, 1), EarlyData::Unused);
    world.close(1, client, 0);
    world.run_for(Duration::from_secs(10));
    world.peers.iter_mut().for_each(|peer| peer.events.clear());
}

fn connected(world: &World, peer: usize) -> EarlyData {
    let said = |event: &Event| if let Event::Connected { early, .. } = event { Some(*early) } else { None };
    world.peers[peer].events.iter().find_map(said).unwrap()
}

fn is_early(event: &Event) -> bool {
    matches!(event, Event::Early { .. })
}

/// Comes back with `data` as early data.
fn come_back(world: &mut World, tls: &ClientTls, data: &[u8]) -> ConnId {
    let client = world.connect(1, 0, tls, NAME);
    world.drain(1);
    let first = world.peers[1].events.pop_front();
    assert!(matches!(first, Some(Event::Early { conn, .. }) if conn == client), "{first:?}");
    assert_eq!(world.write(1, client, Channel::Control, data), data.len());
    client
}

/// Keeps what the client sends.
fn tap(world: &mut World) -> Rc<RefCell<Vec<Vec<u8>>>> {
    let tapped = Rc::new(RefCell::new(Vec::new()));
    let tap = Rc::clone(&tapped);
    world.filter = Some(Box::new(move |from, data| {
        if from == 1 {
            tap.borrow_mut().push(data.to_vec());
        }
        true
    }));
    tapped
}

/// Sends datagrams to the server from somewhere.
fn replay(world: &mut World, from: SocketAddr, datagrams: &[Vec<u8>]) {
    let now = world.now();
    for data in datagrams {
        world.peers[0].endpoint.handle(now, Input::Datagram(Received::one(from, data)));
        world.drain(0);
    }
}

fn stranger(n: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, n], 4444))
}

#[test]
fn who_was_here_before_is_answered_after_one_round_trip() {
    let (mut world, tls) = world(1, Arc::new(SessionMemory::default()));
    let start = world.at;
    let client = come_back(&mut world, &tls, b"hello");
    let mut server = None;
    assert!(world.run_until(|w| {
        while let Some(event) = w.peers[0].events.pop_front() {
            match event {
                Event::Early { conn, remote } => {
                    assert_eq!(remote, w.peers[1].addr);
                    server = Some(conn);
                }
                Event::Readable { conn, channel: Channel::Control } => {
                    assert_eq!(w.read(0, conn, Channel::Control), b"hello");
                    assert_eq!(w.peers[0].endpoint.stats().half_open, 1);
                    assert_eq!(w.write(0, conn, Channel::Control, b"welcome"), 7);
                    assert_eq!(w.write(0, conn, Channel::Sync, b"news"), 4);
                }
                other => panic!("{other:?}"),
            }
        }
        w.has_connected(1)
    }));
    // 10 ms there and 10 ms back: a full handshake needs as much again before anything is said.
    assert_eq!(world.at - start, 20_000);
    assert_eq!(connected(&world, 1), EarlyData::Accepted);
    assert_eq!(world.read(1, client, Channel::Control), b"welcome");
    assert_eq!(world.read(1, client, Channel::Sync), b"news");
    // When the handshake is complete both have the same binding, and the channels go on.
    world.write(1, client, Channel::Control, b"more");
    world.run_for(Duration::from_millis(50));
    let binding = |peer: usize, world: &World| {
        let said = |e: &Event| if let Event::Connected { binding, .. } = e { Some(*binding) } else { None };
        world.peers[peer].events.iter().find_map(said).unwrap()
    };
    assert_eq!(binding(0, &world), binding(1, &world));
    assert_eq!(connected(&world, 0), EarlyData::Accepted);
    assert_eq!(world.read(0, server.unwrap(), Channel::Control), b"more");
    assert_eq!(world.peers[0].endpoint.stats().half_open, 0);
    // A session is there for the next time too.
    world.close(1, client, 0);
    world.run_for(Duration::from_secs(10));
    world.peers.iter_mut().for_each(|peer| peer.events.clear());
    come_back(&mut world, &tls, b"again");
}

/// A server that is asked much wants an address proven first: early data is sent once more, with the proof.
#[test]
fn early_data_survives_a_retry() {
    let (mut world, tls) = (World::new(8, Link::default()), resuming());
    let limits = Limits { retry_above: 0, ..Limits::default() };
    world.add(EndpointConfig { limits, ..server(Arc::new(SessionMemory::default())) });
    world.add(EndpointConfig::client());
    visit(&mut world, &tls);
    let client = come_back(&mut world, &tls, b"hello");
    assert!(world.run_until(|w| w.has_connected(0) && w.has_connected(1)));
    assert_eq!(connected(&world, 1), EarlyData::Accepted);
    assert_eq!(world.peers[0].endpoint.stats().retries, 2);
    let Some(Event::Early { conn, .. }) = world.peers[0].events.pop_front() else { panic!() };
    assert_eq!(world.read(0, conn, Channel::Control), b"hello");
    assert!(world.closed(1).is_empty(), "{client}");
}

/// A session rests on the certificate of the connection it came from: who trusts something else has no use for it.
#[test]
fn a_session_is_of_use_only_under_its_trust() {
    let sessions = Arc::new(ClientSessions::default());
    let (mut world, _) = world(9, Arc::new(SessionMemory::default()));
    visit(&mut world, &client_tls().with_sessions(Arc::clone(&sessions) as _).unwrap());
    let pinned = Trust::Pinned(vec![Pin::of(&identity().cert).unwrap()]);
    let other = ClientTls::new(default_provider(), pinned, &[ALPN]).unwrap();
    visit(&mut world, &other.with_sessions(Arc::clone(&sessions) as _).unwrap());
}

#[test]
fn early_data_survives_loss() {
    for seed in 0..8 {
        let (mut world, tls) = world(seed, Arc::new(SessionMemory::default()));
        world.link = Link { loss: 30, jitter: Duration::from_millis(20), ..Link::default() };
        let client = come_back(&mut world, &tls, b"hello");
        let mut got = Vec::new();
        assert!(
            world.run_until(|w| {
                let server = w.peers[0].events.iter().find_map(|e| match e {
                    Event::Early { conn, .. } | Event::Connected { conn, .. } => Some(*conn),
                    _ => None,
                });
                if let Some(server) = server {
                    got.extend(w.read(0, server, Channel::Control));
                }
                got == b"hello" && w.has_connected(0) && w.has_connected(1)
            }),
            "seed {seed}"
        );
        assert_eq!(connected(&world, 1), EarlyData::Accepted, "seed {seed}");
        assert!(world.closed(1).is_empty(), "{client}");
    }
}

//= proof: quic-8
#[test]
fn without_a_session_nothing_is_early() {
    let mut world = World::new(3, Link::default());
    world.add(server(Arc::new(SessionMemory::default())));
    world.add(EndpointConfig::client());
    let (tls, other) = (resuming(), resuming());
    visit(&mut world, &tls);
    // Each memory is its own, a client without one has none, and another name is another server.
    visit(&mut world, &other.with_sessions(Arc::new(ClientSessions::default())).unwrap());
    visit(&mut world, &client_tls());
    world.connect(1, 0, &tls, "other.test");
    world.run_for(Duration::from_secs(1));
    assert!(!world.peers.iter().any(|peer| peer.events.iter().any(is_early)));
}

#[test]
fn a_server_that_forgot_makes_the_client_begin_anew() {
    let (mut world, tls) = world(4, Arc::new(SessionMemory::default()));
    let config = server(Arc::new(SessionMemory::default()));
    world.peers[0].endpoint = Endpoint::new(config, world.base, [9; 32]);
    let client = come_back(&mut world, &tls, b"lost");
    assert!(world.run_until(|w| w.has_connected(0) && w.has_connected(1)));
    assert_eq!(connected(&world, 1), EarlyData::Refused);
    assert_eq!(connected(&world, 0), EarlyData::Unused);
    assert!(!world.peers[0].events.iter().any(is_early));
    let server = world.take_connected(0);
    assert_eq!(world.write(1, client, Channel::Control, b"anew"), 4);
    assert_eq!(world.write(1, client, Channel::Sync, b"sync"), 4);
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.read(0, server, Channel::Control), b"anew");
    assert_eq!(world.read(0, server, Channel::Sync), b"sync");
}

//= proof: quic-6
#[test]
fn datagrams_replayed_are_not_read() {
    let sessions = Arc::new(SessionMemory::default());
    let (mut world, tls) = world(5, Arc::clone(&sessions) as _);
    let tapped = tap(&mut world);
    let client = come_back(&mut world, &tls, b"hello");
    world.drain(1);
    let flight = tapped.borrow().clone();
    assert!(world.run_until(|w| w.has_connected(0) && w.has_connected(1)));
    world.close(1, client, 0);
    world.run_for(Duration::from_secs(10));
    world.peers.iter_mut().for_each(|peer| peer.events.clear());
    // To the server that has seen them, and to one that was started anew and kept its sessions.
    for n in 0..2 {
        replay(&mut world, stranger(n), &flight);
        world.run_for(Duration::from_secs(30));
        assert!(world.peers[0].events.is_empty(), "{:?}", world.peers[0].events);
        assert_eq!(world.peers[0].endpoint.stats().connections, 0);
        let config = server(Arc::clone(&sessions) as _);
        world.peers[0].endpoint = Endpoint::new(config, world.base, [n; 32]);
    }
}

#[test]
fn a_replay_that_is_read_never_completes_its_handshake() {
    let sessions = Arc::new(NeverForgets::default());
    let (mut world, tls) = world(6, Arc::clone(&sessions) as _);
    let tapped = tap(&mut world);
    let client = come_back(&mut world, &tls, b"hello");
    world.drain(1);
    let flight = tapped.borrow().clone();
    assert!(world.run_until(|w| w.has_connected(0) && w.has_connected(1)));
    world.close(1, client, 0);
    world.run_for(Duration::from_secs(10));
    for n in 0..2 {
        world.peers.iter_mut().for_each(|peer| peer.events.clear());
        replay(&mut world, stranger(n), &flight);
        let early = world.peers[0].events.pop_front();
        let Some(Event::Early { conn, remote }) = early else { panic!("{early:?}") };
        assert_eq!(remote, stranger(n));
        assert_eq!(world.read(0, conn, Channel::Control), b"hello");
        // Three times what came, whatever is written: nobody is flooded in somebody else's name.
        let (before, received) = (world.datagrams, flight.iter().map(Vec::len).sum::<usize>());
        let sent = Rc::new(RefCell::new(0));
        let count = Rc::clone(&sent);
        world.filter = Some(Box::new(move |from, data| {
            *count.borrow_mut() += if from == 0 { data.len() } else { 0 };
            true
        }));
        world.write(0, conn, Channel::Sync, &[7; 100_000]);
        world.run_for(HANDSHAKE_TIMEOUT + Duration::from_secs(5));
        assert!(world.datagrams > before);
        assert!(*sent.borrow() <= 3 * received, "{} for {received}", sent.borrow());
        let last = world.peers[0].events.pop_back();
        assert!(matches!(last, Some(Event::Closed { reason: Closed::HandshakeTimeout, .. })), "{last:?}");
        assert!(!world.has_connected(0));
        assert_eq!(world.peers[0].endpoint.stats().half_open, 0);
        world.peers[0].endpoint = Endpoint::new(server(Arc::clone(&sessions) as _), world.base, [n; 32]);
    }
}

//= proof: quic-9
#[test]
fn early_data_is_bounded() {
    let (mut world, tls) = world(7, Arc::new(SessionMemory::default()));
    let tapped = tap(&mut world);
    come_back(&mut world, &tls, b"hello");
    world.drain(1);
    let flight = tapped.borrow().clone();
    let len = flight.iter().map(|data| data.len() as u64).sum::<u64>();
    let client = world.peers[1].addr;
    // What opens a connection is not counted.
    for n in 0..=MAX_EARLY_BYTES / len + 1 {
        assert!(world.closed(0).is_empty(), "after {n} flights");
        replay(&mut world, client, &flight);
    }
    assert!(matches!(
        world.closed(0)[..],
        [Event::Closed { reason: Closed::Transport { code, by_peer: false, .. }, .. }]
            if *code == u64::from(ErrorCode::TooEarly as u32)
    ));
}
