//! Two endpoints over a virtual network: handshake, channels, faults, backpressure, closing.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Link, World};
use ntproto_core::binding::TransportId;
use ntproto_core::wire::channel::Channel;
use ntproto_quic::config::{CONTROL_RESERVE, MAX_SEGMENTS, SEND_WINDOW, STREAM_WINDOW};
use ntproto_quic::{Closed, ConnId, EarlyData, EndpointConfig, Event, Output, WaitReason};

fn pattern(len: usize, salt: u8) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8 ^ salt).collect()
}

/// Sends `data` on every stream channel from the client, the server echoes; true when all came back.
fn echo(world: &mut World, server: ConnId, client: ConnId, len: usize) -> bool {
    let data: Vec<Vec<u8>> = (0..3).map(|i| pattern(len, i)).collect();
    let (mut sent, mut back) = ([0; 3], vec![Vec::new(); 3]);
    let mut held: Vec<Vec<u8>> = vec![Vec::new(); 3];
    world.run_until(|w| {
        for (i, channel) in Channel::STREAMS.into_iter().enumerate() {
            sent[i] += w.write(1, client, channel, &data[i][sent[i]..]);
            let more = w.read(0, server, channel);
            held[i].extend_from_slice(&more);
            let taken = w.write(0, server, channel, &held[i]);
            held[i].drain(..taken);
            back[i].extend(w.read(1, client, channel));
        }
        w.peers.iter_mut().for_each(|p| p.events.clear());
        back.iter().all(|b| b.len() >= len)
    }) && back == data
}

#[test]
fn a_handshake_binds_both_sides_alike() {
    let mut world = World::pair(1, Link::default());
    let client = world.connect(1, 0, &common::client_tls(), common::NAME);
    world.run_for(Duration::from_secs(1));
    let hello = |world: &mut World, peer: usize| match world.peers[peer].events.pop_front() {
        Some(Event::Connected { conn, alpn, binding, remote, early: EarlyData::Unused }) => {
            (conn, alpn, binding, remote)
        }
        other => panic!("{other:?}"),
    };
    let (conn, alpn, bound, remote) = hello(&mut world, 1);
    assert_eq!((conn, alpn.as_slice(), remote), (client, b"ntp/2".as_slice(), world.peers[0].addr));
    assert_eq!(bound.transport, TransportId::Quic);
    assert_ne!(bound.exporter, [0; 32]);
    let (_, _, binding, remote) = hello(&mut world, 0);
    assert_eq!((binding, remote), (bound, world.peers[1].addr));
    assert_eq!(world.peers[0].endpoint.stats().completed, 1);
    assert_eq!(world.peers[0].endpoint.stats().half_open, 0);
}

#[test]
fn three_channels_echo() {
    let mut world = World::pair(2, Link::default());
    let (server, client) = world.connected();
    assert!(echo(&mut world, server, client, 200_000));
    assert!((2..=MAX_SEGMENTS).contains(&world.largest_batch), "{}", world.largest_batch);
}

#[test]
fn channels_survive_loss_duplication_and_reordering() {
    for seed in 0..12 {
        let link = Link {
            delay: Duration::from_millis(20),
            jitter: Duration::from_millis(30),
            loss: u64::from(seed) * 2,
            duplicate: 10,
        };
        let mut world = World::pair(seed, link);
        let (server, client) = world.connected();
        assert!(echo(&mut world, server, client, 40_000), "seed {seed}");
    }
}

#[test]
fn the_server_may_speak_first_on_any_channel() {
    for channel in Channel::STREAMS {
        let mut world = World::pair(3, Link::default());
        let (server, client) = world.connected();
        assert_eq!(world.write(0, server, channel, b"welcome"), 7);
        world.run_for(Duration::from_millis(100));
        assert!(matches!(
            world.peers[1].events.pop_front(),
            Some(Event::Readable { conn, channel: c }) if conn == client && c == channel
        ));
        assert_eq!(world.read(1, client, channel), b"welcome");
        assert_eq!(world.write(1, client, channel, b"thanks"), 6);
        world.run_for(Duration::from_millis(100));
        assert_eq!(world.read(0, server, channel), b"thanks");
    }
}

#[test]
fn media_travels_in_datagrams() {
    let mut world = World::pair(4, Link::default());
    let (server, client) = world.connected();
    let now = world.now();
    let sent = world.peers[1].endpoint.with(now, client, |c| {
        assert!(c.max_datagram().unwrap() > 1000);
        assert!(c.send_datagram(vec![0; 2000].into()).is_err());
        c.send_datagram(b"frame".as_slice().into())
    });
    assert_eq!(sent, Some(Ok(())));
    world.run_for(Duration::from_millis(100));
    assert!(matches!(world.peers[0].events.pop_front(), Some(Event::Datagram { conn }) if conn == server));
    let now = world.now();
    let got = world.peers[0].endpoint.with(now, server, |c| (c.recv_datagram(), c.recv_datagram())).unwrap();
    assert_eq!(got, (Some(b"frame".as_slice().into()), None));
}

//= proof: quic-5
#[test]
fn a_full_channel_says_when_it_has_room() {
    let mut world = World::pair(5, Link::default());
    let (server, client) = world.connected();
    let chunk = pattern(64 * 1024, 0);
    let mut total = 0;
    // The server does not read: first the windows fill, then write takes nothing.
    world.run_until(|w| {
        let taken = w.write(1, client, Channel::Message, &chunk);
        total += taken;
        w.at += 50_000;
        taken == 0 && total >= STREAM_WINDOW as usize
    });
    assert!(total <= STREAM_WINDOW as usize + SEND_WINDOW as usize, "{total}");
    world.run_for(Duration::from_secs(5));
    world.peers[1].events.clear();
    assert_eq!(world.write(1, client, Channel::Message, &chunk), 0);
    world.run_for(Duration::from_secs(5));
    assert!(world.peers[1].events.is_empty(), "{:?}", world.peers[1].events);

    // CONTROL is not held back, in either direction.
    assert_eq!(world.write(1, client, Channel::Control, b"heartbeat"), 9);
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.read(0, server, Channel::Control), b"heartbeat");

    // Reading makes room, and the writer hears of it.
    let mut got = world.read(0, server, Channel::Message);
    world.run_for(Duration::from_millis(200));
    assert!(
        world.peers[1]
            .events
            .iter()
            .any(|e| matches!(e, Event::Writable { conn, channel: Channel::Message } if *conn == client))
    );
    assert!(world.write(1, client, Channel::Message, &chunk) > 0);
    world.run_for(Duration::from_secs(1));
    got.extend(world.read(0, server, Channel::Message));
    assert!(got.len() > STREAM_WINDOW as usize);
}

//= proof: channels-2
#[test]
fn control_has_room_of_its_own_when_nothing_is_acknowledged() {
    let mut world = World::pair(6, Link::default());
    let (_, client) = world.connected();
    world.filter = Some(Box::new(|_, _| false));
    let filled: usize = (0..40).map(|_| world.write(1, client, Channel::Sync, &[0; 50_000])).sum();
    assert_eq!(filled as u64, SEND_WINDOW);
    assert_eq!(world.write(1, client, Channel::Message, b"x"), 0);
    assert_eq!(world.write(1, client, Channel::Control, b"close"), 5);
    let more = world.write(1, client, Channel::Control, &vec![0; 2 * CONTROL_RESERVE as usize]);
    assert_eq!(more as u64, CONTROL_RESERVE - 5);
}

#[test]
fn lost_messages_never_delay_control() {
    let mut world = World::pair(7, Link::default());
    let (server, client) = world.connected();
    // One batch of MESSAGE bytes is lost whole, and so is every retransmission for a while.
    let large = std::rc::Rc::new(std::cell::Cell::new(true));
    let drop_large = std::rc::Rc::clone(&large);
    world.filter = Some(Box::new(move |from, data| from == 0 || data.len() < 600 || !drop_large.get()));
    assert_eq!(world.write(1, client, Channel::Message, &pattern(4000, 9)), 4000);
    world.drain(1);
    let start = world.at;
    assert_eq!(world.write(1, client, Channel::Control, b"now"), 3);
    let mut got = Vec::new();
    assert!(world.run_until(|w| {
        got.extend(w.read(0, server, Channel::Control));
        got == b"now"
    }));
    assert!(world.at - start <= 15_000, "CONTROL took {} µs on a 10 ms path", world.at - start);
    assert!(world.read(0, server, Channel::Message).len() < 4000);
    large.set(false);
    let mut message = Vec::new();
    assert!(world.run_until(|w| {
        message.extend(w.read(0, server, Channel::Message));
        message.len() >= 4000
    }));
}

#[test]
fn each_side_hears_closed_once() {
    for closer in [0, 1] {
        let mut world = World::pair(8, Link::default());
        let ids = <[ConnId; 2]>::from(world.connected());
        world.write(closer, ids[closer], Channel::Control, b"farewell frame");
        world.close(closer, ids[closer], 8);
        let now = world.now();
        world.run_for(Duration::from_millis(50));
        // What was written before the close is there before its end is told.
        let other = 1 - closer;
        assert!(matches!(
            world.peers[other].events.pop_front(),
            Some(Event::Readable { channel: Channel::Control, .. })
        ));
        assert!(matches!(
            world.peers[other].events.pop_front(),
            Some(Event::Closed { conn, reason: Closed::Peer { code: 8, reason } })
                if conn == ids[other] && reason == b"bye"
        ));
        assert!(matches!(
            world.peers[closer].events.pop_front(),
            Some(Event::Closed { conn, reason: Closed::Local { code: 8 } }) if conn == ids[closer]
        ));
        world.run_for(Duration::from_secs(200));
        for peer in &mut world.peers {
            assert!(peer.events.is_empty());
            assert_eq!(peer.endpoint.stats().connections, 0, "drained connections are freed");
            assert_eq!(peer.wake, None);
            assert!(ids.iter().all(|id| peer.endpoint.with(now, *id, |_| ()).is_none()));
        }
    }
}

#[test]
fn both_closing_at_once_still_tell_once() {
    let mut world = World::pair(9, Link::default());
    let (server, client) = world.connected();
    world.close(0, server, 1);
    world.close(1, client, 2);
    let now = world.now();
    // Between the close and its event the connection takes nothing, and closing twice is one close.
    world.peers[1].endpoint.with(now, client, |c| {
        assert_eq!(c.write(Channel::Message, b"late"), 0);
        c.close(3, b"");
    });
    world.run_for(Duration::from_secs(100));
    for (peer, code) in [(0, 1), (1, 2)] {
        let closed = world.closed(peer);
        assert_eq!(closed.len(), 1);
        assert!(matches!(closed[0], Event::Closed { reason: Closed::Local { code: c }, .. } if *c == code));
    }
}

#[test]
fn silence_ends_both_sides() {
    let mut world = World::pair(10, Link::default());
    let (server, client) = world.connected();
    world.filter = Some(Box::new(|_, _| false));
    world.run_for(Duration::from_secs(70));
    for (peer, id) in [(0, server), (1, client)] {
        let events: Vec<_> = world.peers[peer].events.drain(..).collect();
        assert!(
            matches!(events.as_slice(), [Event::Closed { conn, reason: Closed::TimedOut }] if *conn == id),
            "{events:?}"
        );
        assert_eq!(world.peers[peer].endpoint.stats().connections, 0);
    }
}

#[test]
fn a_server_that_never_answers_ends_the_attempt() {
    let mut world = World::pair(11, Link::default());
    let id = world.connect(1, 0, &common::client_tls(), common::NAME);
    world.filter = Some(Box::new(|_, _| false));
    world.run_for(Duration::from_secs(90));
    let events: Vec<_> = world.peers[1].events.drain(..).collect();
    assert!(
        matches!(events.as_slice(), [Event::Closed { conn, reason: Closed::HandshakeTimeout }] if *conn == id),
        "{events:?}"
    );
    assert_eq!(world.peers[1].endpoint.stats().connections, 0);
}

#[test]
fn half_open_connections_are_forgotten() {
    let mut world = World::pair(12, Link::default());
    world.connect(1, 0, &common::client_tls(), common::NAME);
    world.filter = Some(Box::new(|from, _| from == 1));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.peers[0].endpoint.stats().half_open, 1);
    world.run_for(Duration::from_secs(200));
    let stats = world.peers[0].endpoint.stats();
    assert_eq!((stats.half_open, stats.connections), (0, 0));
    assert!(world.peers[0].events.is_empty(), "the host never heard of it");
}

#[test]
fn a_full_socket_holds_datagrams_back_but_not_events() {
    let mut world = World::pair(13, Link::default());
    let (server, client) = world.connected();
    world.write(0, server, Channel::Message, b"push");
    world.run_for(Duration::from_millis(30));
    world.peers[1].full = true;
    world.peers[1].events.clear();
    assert_eq!(world.write(1, client, Channel::Message, b"waits"), 5);
    world.close(1, client, 0);
    let now = world.now();
    let first = world.peers[1].endpoint.poll_output(now, None);
    assert!(matches!(first, Output::Event(Event::Closed { .. })), "{first:?}");
    // Work is pending: "now" is the answer, and the reason says what for.
    let wait = world.peers[1].endpoint.poll_output(now, None);
    assert!(
        matches!(wait, Output::Wait { at: Some(at), reason: WaitReason::Transmit } if at <= now.mono),
        "{wait:?}"
    );
    world.peers[1].full = false;
    world.drain(1);
    assert!(world.peers[1].endpoint.is_flushed());
    world.run_for(Duration::from_millis(30));
    let events: Vec<_> = world.peers[0].events.drain(..).collect();
    assert!(
        matches!(
            events.as_slice(),
            [.., Event::Readable { channel: Channel::Message, .. }, Event::Closed { conn, .. }] if *conn == server
        ),
        "{events:?}"
    );
}

#[test]
fn a_client_may_move() {
    let mut world = World::pair(14, Link::default());
    let (server, client) = world.connected();
    let old = world.peers[1].addr;
    world.peers[1].addr = "10.9.9.9:1".parse().unwrap();
    let now = world.now();
    world.peers[1].endpoint.with(now, client, |c| c.path_changed());
    world.run_for(Duration::from_secs(1));
    let now = world.now();
    let remote = world.peers[0].endpoint.with(now, server, |c| c.remote()).unwrap();
    assert_eq!(remote, world.peers[1].addr);
    assert_ne!(remote, old);
    assert!(echo(&mut world, server, client, 10_000));
}

#[test]
fn a_restarted_server_resets_its_old_clients() {
    let mut world = World::pair(15, Link::default());
    let key = ntproto_quic::ResetKey::new(&[7; 32]);
    let config = || EndpointConfig { reset_key: Some(key.clone()), ..common::server_config() };
    let fresh = world.add(config());
    world.peers.swap(0, fresh);
    world.peers[0].addr = world.peers[fresh].addr;
    world.peers[fresh].addr = "10.8.8.8:1".parse().unwrap();
    let (_, client) = world.connected();
    world.run_for(Duration::from_secs(1));
    // The process dies; another with the same key takes its port.
    world.peers[0].endpoint = ntproto_quic::Endpoint::new(config(), world.base, [99; 32]);
    world.peers[0].wake = None;
    world.write(1, client, Channel::Message, &[1; 500]);
    world.run_for(Duration::from_millis(100));
    assert!(
        matches!(world.peers[1].events.back(), Some(Event::Closed { reason: Closed::Reset, .. })),
        "{:?}",
        world.peers[1].events
    );
}

#[test]
fn the_same_seed_sends_the_same_ids() {
    let first = || {
        let mut world = World::pair(16, Link::default());
        world.connect(1, 0, &common::client_tls(), common::NAME);
        let now = world.now();
        let peer = &mut world.peers[1];
        let Output::Transmit(_) = peer.endpoint.poll_output(now, Some(&mut peer.tx)) else { panic!() };
        // Version, destination and source ids of the Initial: past them TLS's own randomness begins.
        peer.tx.as_slice()[1..6 + 20 + 1 + 8].to_vec()
    };
    assert_eq!(first(), first());
}

#[test]
fn a_clock_that_steps_back_does_no_harm() {
    let mut world = World::pair(17, Link::default());
    let (server, client) = world.connected();
    world.write(1, client, Channel::Message, b"one");
    world.at -= 900_000;
    world.write(1, client, Channel::Message, b"two");
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.read(0, server, Channel::Message), b"onetwo");
}
