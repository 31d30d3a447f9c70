//! Strangers and liars: floods, garbage, peers that break the rules of the channels.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Link, NAME, World, client_tls, server_config, small_limits};
use ntproto_core::wire::channel::Channel;
use ntproto_quic::config::MAX_RESPONSES;
use ntproto_quic::{Closed, EndpointConfig, Event, Input, Output, Received};
use proptest::prelude::*;

#[test]
fn a_flood_of_handshakes_is_asked_to_prove_its_address() {
    let mut world = World::new(1, Link::default());
    world.add(EndpointConfig { limits: small_limits(), ..server_config() });
    // Ten clients that never hear an answer hold handshakes open: four are accepted, the rest get Retry.
    for _ in 0..10 {
        let no = world.add(EndpointConfig::client());
        world.connect(no, 0, &client_tls(), NAME);
    }
    let honest = world.add(EndpointConfig::client());
    let silent = world.peers[0].addr;
    world.filter = Some(Box::new(|from, _| from != 0));
    world.run_for(Duration::from_millis(500));
    let stats = world.peers[0].endpoint.stats();
    assert_eq!(stats.half_open, 4);
    assert!(stats.retries >= 6, "{stats:?}");
    // An honest client proves its address and gets in while the flood lasts.
    world.filter = None;
    let id = world.connect(honest, 0, &client_tls(), NAME);
    world.run_for(Duration::from_secs(2));
    assert!(matches!(
        world.peers[honest].events.pop_front(),
        Some(Event::Connected { conn, remote, .. }) if conn == id && remote == silent
    ));
}

#[test]
fn a_full_server_refuses() {
    let mut world = World::new(2, Link::default());
    let limits = ntproto_quic::Limits { max_connections: 2, ..small_limits() };
    world.add(EndpointConfig { limits, ..server_config() });
    let clients: Vec<usize> = (0..3).map(|_| world.add(EndpointConfig::client())).collect();
    for no in &clients {
        world.connect(*no, 0, &client_tls(), NAME);
        world.run_for(Duration::from_secs(1));
    }
    assert!(world.has_connected(clients[0]) && world.has_connected(clients[1]));
    assert!(matches!(
        world.peers[clients[2]].events.pop_front(),
        Some(Event::Closed { reason: Closed::Refused, .. })
    ));
    assert_eq!(world.peers[0].endpoint.stats().refused, 1);
    // A place that becomes free is given again.
    let gone = world.take_connected(clients[0]);
    world.close(clients[0], gone, 0);
    world.run_for(Duration::from_secs(10));
    world.connect(clients[2], 0, &client_tls(), NAME);
    world.run_for(Duration::from_secs(1));
    assert!(world.has_connected(clients[2]));
}

#[test]
fn answers_to_strangers_are_bounded() {
    let mut world = World::pair(3, Link::default());
    let now = world.now();
    let mut stranger = vec![0u8; 1200];
    stranger[0] = 0xc0;
    stranger[1..5].copy_from_slice(&0x0bad_0badu32.to_be_bytes());
    stranger[5] = 8;
    stranger[14] = 8;
    for port in 1..2000u16 {
        let remote = std::net::SocketAddr::from(([192, 0, 2, 1], port));
        world.peers[0].endpoint.handle(now, Input::Datagram(Received::one(remote, &stranger)));
    }
    let stats = world.peers[0].endpoint.stats();
    assert_eq!(stats.dropped, 1999 - MAX_RESPONSES as u64, "{stats:?}");
    let mut answers = 0;
    let peer = &mut world.peers[0];
    while let Output::Transmit(t) = peer.endpoint.poll_output(now, Some(&mut peer.tx)) {
        assert!(t.len < stranger.len(), "no amplification");
        answers += 1;
    }
    assert_eq!(answers, MAX_RESPONSES);
}

#[test]
fn random_datagrams_harm_nobody() {
    let mut world = World::pair(4, Link::default());
    let (server, client) = world.connected();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let first = prop_oneof![Just(0x40u8), Just(0xc0), Just(0xe0), Just(0xf0), any::<u8>()];
    let garbage = (first, proptest::collection::vec(any::<u8>(), 0..1500), any::<u16>(), any::<bool>());
    for _ in 0..2000 {
        let tree = garbage.new_tree(&mut runner).unwrap();
        let (first, mut data, port, version) = proptest::strategy::ValueTree::current(&tree);
        if let Some(byte) = data.first_mut() {
            *byte = first;
        }
        if version && data.len() > 5 {
            data[1..5].copy_from_slice(&1u32.to_be_bytes());
        }
        let now = world.now();
        // From strangers, and as if from each other.
        let stranger = std::net::SocketAddr::from(([192, 0, 2, 1], port));
        let addresses = [world.peers[1].addr, world.peers[0].addr];
        for (peer, remote) in [(0, stranger), (0, addresses[0]), (1, stranger), (1, addresses[1])] {
            let received = Received { stride: usize::from(port) % 700, ..Received::one(remote, &data) };
            world.peers[peer].endpoint.handle(now, Input::Datagram(received));
        }
        world.at += 1000;
    }
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.write(1, client, Channel::Message, b"still here"), 10);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.read(0, server, Channel::Message), b"still here");
    assert!(world.closed(0).is_empty() && world.closed(1).is_empty());
}

#[test]
fn flipped_bits_harm_nobody() {
    // Datagrams of a live connection, each delivered once more with bits flipped.
    let mut world = World::pair(5, Link::default());
    let (server, client) = world.connected();
    let tapped = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let tap = std::rc::Rc::clone(&tapped);
    world.filter = Some(Box::new(move |from, data| {
        tap.borrow_mut().push((from, data.to_vec()));
        true
    }));
    let mut got = Vec::new();
    for round in 0..200u32 {
        world.write(1, client, Channel::Message, &round.to_be_bytes());
        world.run_for(Duration::from_millis(25));
        let taps: Vec<_> = tapped.borrow_mut().drain(..).collect();
        for (from, mut data) in taps {
            let at = world.rng.below(data.len() as u64) as usize;
            data[at] ^= 1 << world.rng.below(8);
            let (now, remote) = (world.now(), world.peers[from].addr);
            world.peers[1 - from].endpoint.handle(now, Input::Datagram(Received::one(remote, &data)));
        }
        got.extend(world.read(0, server, Channel::Message));
    }
    world.run_for(Duration::from_secs(1));
    got.extend(world.read(0, server, Channel::Message));
    let expected: Vec<u8> = (0..200u32).flat_map(u32::to_be_bytes).collect();
    assert_eq!(got, expected);
    assert!(world.closed(0).is_empty() && world.closed(1).is_empty());
}
