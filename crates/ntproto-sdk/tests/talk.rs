//! Clients talk through a server, over a virtual network.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{Link, World, identity};
use ntproto_core::bootstrap::{BootstrapTicket, Endpoints};
use ntproto_core::client::{self, ClientEvent, Down, Failure, Stopped, StoreError};
use ntproto_core::code::ErrorCode;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::ids::{ConversationId, Uin};
use ntproto_core::time::UnixMillis;
use ntproto_core::wire::packet::PacketId;
use ntproto_proto::v2;
use ntproto_sdk::driver::Command;
use ntproto_sdk::store::ClientStore as _;
use ntproto_sdk::{Bootstrap, ConnectString, Learned};
use prost::Message as _;

fn pair(seed: u8, link: Link) -> World {
    let mut world = World::new(seed, link);
    world.add();
    world.add();
    world.online();
    world
}

#[test]
fn two_devices_talk() {
    let mut world = pair(1, Link::default());
    let (a, b) = (world.uin(0), world.uin(1));
    assert_ne!(a, b);
    for n in 0..50 {
        world.send(0, b, format!("ping {n}"));
    }
    assert!(world.run_until(|w| w.devices[1].messages().len() == 50));
    for n in 0..50 {
        world.send(1, a, format!("pong {n}"));
    }
    assert!(world.run_until(|w| w.devices[0].messages().len() == 50 && w.devices[1].sent() == 50));
    let expected: Vec<_> = (0..50).map(|n| format!("pong {n}")).collect();
    assert_eq!(world.devices[0].bodies(), expected);
    // Positions rise, and the sender hears that the other has it.
    assert!(world.devices[0].messages().is_sorted_by(|x, y| x.position < y.position));
    world.run_for(Duration::from_secs(2));
    let talk = ConversationId::direct(a, b);
    let marks = world.devices[0].store.marks(talk).unwrap();
    assert!(marks.iter().any(|mark| mark.member == b && mark.delivered_seq >= 50), "{marks:?}");
    // Both disks hold the same conversation.
    let history = |no: usize| world.devices[no].store.clone().history(talk, None, 1000).unwrap();
    assert_eq!(history(0), history(1));
    assert_eq!(history(0).len(), 100);
}

#[test]
fn an_idle_client_sleeps() {
    let mut world = pair(2, Link::default());
    world.run_for(Duration::from_secs(5));
    let (polls, datagrams) = (world.devices[0].polls, world.datagrams);
    world.run_for(Duration::from_secs(600));
    let polls = world.devices[0].polls - polls;
    // A heartbeat each way every 30 s, a ticket now and then, and what QUIC does about them.
    assert!(polls < 1000, "{polls} polls in ten minutes");
    assert!(world.datagrams - datagrams < 600, "{} datagrams", world.datagrams - datagrams);
    assert_eq!(world.devices[0].count(|e| matches!(e, ClientEvent::Offline { .. })), 0);
}

#[test]
fn a_server_restart_shows_as_reconnect_and_nothing_is_missing() {
    let mut world = pair(3, Link::default());
    let b = world.uin(1);
    for round in 0..5 {
        for n in 0..20 {
            world.send(0, b, format!("{round}.{n}"));
        }
        // In the middle of it.
        world.run_for(Duration::from_millis(15 + round * 7));
        world.kill_node();
        world.run_for(Duration::from_secs(3));
        world.start_node();
    }
    assert!(world.run_until(|w| w.devices[1].messages().len() >= 100 && w.devices[0].sent() >= 100));
    let expected: Vec<_> = (0..5).flat_map(|r| (0..20).map(move |n| format!("{r}.{n}"))).collect();
    assert_eq!(world.devices[1].bodies(), expected);
    assert_eq!(world.devices[0].sent(), 100);
    assert!(world.devices[0].count(|e| matches!(e, ClientEvent::Offline { .. })) >= 1);
}

#[test]
fn a_client_resumes_where_it_stopped() {
    let mut world = pair(4, Link::default());
    let (a, b) = (world.uin(0), world.uin(1));
    world.send(0, b, "before");
    assert!(world.run_until(|w| w.devices[1].messages().len() == 1));
    world.command(1, Command::Confirm(world.devices[1].messages()[0].position));
    world.send(0, b, "unconfirmed");
    assert!(world.run_until(|w| w.devices[1].messages().len() == 2));
    world.kill(1);
    world.send(0, b, "meanwhile");
    // The sender dies too, with messages that never left: they are on its disk.
    world.run_for(Duration::from_secs(1));
    world.up = false;
    world.send(0, b, "from the disk");
    world.drain_all();
    world.kill(0);
    world.up = true;
    for no in 0..2 {
        world.devices[no].events.clear();
        world.start(no, "10.0.0.1");
    }
    assert!(world.run_until(|w| w.devices[1].messages().len() == 3 && w.devices[0].sent() == 1));
    assert_eq!(world.devices[1].bodies(), ["unconfirmed", "meanwhile", "from the disk"]);
    assert_eq!((world.uin(0), world.uin(1)), (a, b), "still the same accounts");
}

#[test]
fn a_bad_network_loses_and_doubles_nothing() {
    for seed in 10..16 {
        let link = Link {
            delay: Duration::from_millis(20),
            jitter: Duration::from_millis(40),
            loss: u64::from(seed - 10) * 3,
        };
        let mut world = pair(seed, link);
        let (a, b) = (world.uin(0), world.uin(1));
        for n in 0..60 {
            world.send(0, b, format!("a{n}"));
            world.send(1, a, format!("b{n}"));
            world.run_for(Duration::from_millis(30));
            match n {
                20 => world.up = false,
                25 => world.run_for(Duration::from_secs(90)),
                30 => world.up = true,
                40 => world.rebind(0),
                _ => {}
            }
        }
        let done = |w: &mut World| w.devices.iter().all(|d| d.messages().len() >= 60 && d.sent() >= 60);
        assert!(world.run_until(done), "seed {seed}");
        world.run_for(Duration::from_secs(30));
        for (no, letter) in [(0, 'b'), (1, 'a')] {
            let expected: Vec<_> = (0..60).map(|n| format!("{letter}{n}")).collect();
            assert_eq!(world.devices[no].bodies(), expected, "seed {seed}");
        }
    }
}

#[test]
fn a_long_backlog_and_large_bodies_come_whole() {
    let mut world = pair(20, Link::default());
    let b = world.uin(1);
    world.kill(1);
    let large = vec![7; client::MAX_BODY];
    for n in 0..600u32 {
        let body = if n % 100 == 50 { large.clone() } else { n.to_string().into_bytes() };
        world.send(0, b, body);
        if n % 50 == 0 {
            world.run_for(Duration::from_millis(200));
        }
    }
    assert!(world.run_until(|w| w.devices[0].sent() == 600));
    world.devices[1].events.clear();
    world.start(1, "10.0.0.1");
    assert!(world.run_until(|w| w.devices[1].messages().len() == 600));
    let sizes = world.devices[1].messages().iter().filter(|m| m.message.body.len() == large.len()).count();
    assert_eq!(sizes, 6);
    let caught_up = world.run_until(|w| w.devices[1].count(|e| matches!(e, ClientEvent::CaughtUp)) == 1);
    assert!(caught_up);
}

#[test]
fn a_full_socket_delays_and_nothing_else() {
    let mut world = pair(21, Link::default());
    let b = world.uin(1);
    world.devices[0].full = true;
    world.send(0, b, "patience");
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.devices[1].messages().len(), 0);
    // It is on the disk all the same: effects flow while the socket is full.
    assert_eq!(world.devices[0].count(|e| matches!(e, ClientEvent::Queued { .. })), 1);
    world.devices[0].full = false;
    assert!(world.run_until(|w| w.devices[1].messages().len() == 1));
}

#[test]
fn a_host_name_is_looked_up_and_every_address_tried() {
    let mut world = World::new(22, Link::default());
    let no = world.add();
    world.kill(no);
    world.devices[no].events.clear();
    world.start(no, "server.test");
    world.drain_all();
    let (id, host, port) = world.devices[no].lookups.pop().unwrap();
    assert_eq!((host.as_str(), port), ("server.test", 4433));
    // A stale answer does nothing; the right one has dead addresses first.
    world.command(no, Command::Resolved(id + 7, vec!["10.0.0.1:4433".parse().unwrap()]));
    let dead = ["10.9.9.9:4433", "[2001:db8::1]:4433", "10.0.0.1:4433"].map(|a| a.parse().unwrap());
    world.command(no, Command::Resolved(id, dead.to_vec()));
    let before = world.at;
    world.online();
    assert!(world.at - before < 1_000_000, "took {} µs", world.at - before);
}

#[test]
fn a_host_that_is_not_found_is_looked_up_again() {
    let mut world = World::new(23, Link::default());
    let no = world.add();
    world.kill(no);
    world.devices[no].events.clear();
    world.start(no, "server.test");
    for _ in 0..3 {
        assert!(world.run_until(|w| !w.devices[no].lookups.is_empty()));
        let (id, ..) = world.devices[no].lookups.pop().unwrap();
        world.command(no, Command::Resolved(id, vec![]));
        world.drain_all();
    }
    let unreachable = |e: &ClientEvent| matches!(e, ClientEvent::Offline { why: Down::Unreachable, .. });
    assert_eq!(world.devices[no].count(unreachable), 3);
    // A lookup that never ends is given up too.
    assert!(world.run_until(|w| w.devices[no].count(unreachable) == 4));
}

#[test]
fn a_server_with_another_key_is_not_believed() {
    let mut world = World::new(31, Link::default());
    let no = world.add();
    world.kill(no);
    world.devices[no].lost.clear();
    let mut connect = common::identity().connect_string("10.0.0.1");
    connect.tls_pin[31] ^= 1;
    world.start_at(no, &connect);
    world.run_for(Duration::from_secs(5));
    let lost = &world.devices[no].lost;
    assert!(
        matches!(&lost[0], ntproto_net::Closed::Quic(ntproto_quic::Closed::Tls { by_peer: false, .. })),
        "{lost:?}"
    );
    let down = world.devices[no].count(|e| matches!(e, ClientEvent::Offline { why: Down::Unreachable, .. }));
    assert!((1..6).contains(&down), "it tries again, ever more slowly: {down}");
    assert_eq!(world.devices[no].count(|e| matches!(e, ClientEvent::Online { .. })), 0);
}

#[test]
fn requests_are_answered() {
    let mut world = pair(24, Link::default());
    let body = v2::DevicesRequest {}.encode_to_vec();
    let call = client::Command::Request {
        trace: None,
        packet: PacketId::DEVICES,
        body: body.into(),
        deadline: None,
    };
    let devices = world.call(0, call);
    let unknown = client::Command::Request {
        trace: None,
        packet: PacketId(0x9999),
        body: Bytes::new(),
        deadline: None,
    };
    world.call(0, unknown);
    let unanswered = |w: &mut World| w.devices[0].count(|e| matches!(e, ClientEvent::Response { .. })) < 2;
    assert!(world.run_until(|w| !unanswered(w)));
    // Each in its own time: an answer does not wait for another's.
    for event in &world.devices[0].events {
        match event {
            ClientEvent::Response { request, result }
                if world.devices[0].called[&devices] == Ok(*request) =>
            {
                let devices = v2::DevicesResponse::decode(result.clone().unwrap()).unwrap().devices;
                assert_eq!((devices.len(), devices[0].current), (1, true));
            }
            ClientEvent::Response { result, .. } => {
                assert!(matches!(result, Err(Failure::Refused(Some(ErrorCode::UnknownPacket), _))));
            }
            _ => {}
        }
    }
}

#[test]
fn close_says_goodbye_and_ends() {
    let mut world = pair(25, Link::default());
    world.call(0, client::Command::Close);
    world.run_for(Duration::from_millis(100));
    assert!(world.devices[0].done);
    let stopped = world.devices[0].events.last();
    assert!(matches!(stopped, Some(ClientEvent::Stopped(Stopped::Closed))), "{stopped:?}");
    assert_eq!(world.devices[0].count(|e| matches!(e, ClientEvent::Stopped(_))), 1);
}

#[test]
fn a_client_that_never_got_through_closes_too() {
    let mut world = World::new(26, Link::default());
    world.up = false;
    let no = world.add();
    world.run_for(Duration::from_secs(40));
    let now = world.now();
    use ntproto_net::Machine as _;
    world.devices[no].driver.as_mut().unwrap().commands_closed(now);
    world.run_for(Duration::from_secs(2));
    assert!(world.devices[no].done);
}

#[test]
fn a_bad_invitation_stops_the_client() {
    let mut world = World::new(27, Link::default());
    let no = world.add_with(Some(ntproto_sdk::Credential::Invitation([0; 16])));
    world.run_for(Duration::from_secs(5));
    let refused = Stopped::Refused(ErrorCode::BadCredential);
    let stopped = world.devices[no].events.last();
    assert!(matches!(stopped, Some(ClientEvent::Stopped(why)) if *why == refused), "{stopped:?}");
    assert!(world.devices[no].done);
}

#[test]
fn a_full_disk_fails_the_message_and_not_the_client() {
    let mut world = pair(28, Link::default());
    // What comes at the start is on the disk.
    world.run_for(Duration::from_secs(1));
    world.devices[0].store.set_failure(Some(StoreError::Full));
    let b = world.uin(1);
    world.send(0, b, "no room");
    world.run_for(Duration::from_secs(1));
    let failed =
        |e: &ClientEvent| matches!(e, ClientEvent::SendFailed { why: Failure::Store(StoreError::Full), .. });
    assert_eq!(world.devices[0].count(failed), 1);
    assert_eq!(world.devices[1].messages().len(), 0);
    // What came in could not be kept: the client stops rather than lose it.
    world.devices[1].store.set_failure(Some(StoreError::Full));
    world.devices[0].store.set_failure(None);
    world.send(0, b, "for a full disk");
    world.run_for(Duration::from_secs(2));
    assert!(matches!(
        world.devices[1].events.last(),
        Some(ClientEvent::Stopped(Stopped::Store(StoreError::Full)))
    ));
    // With room again it is all there.
    world.devices[1].store.set_failure(None);
    world.devices[1].events.clear();
    world.start(1, "10.0.0.1");
    assert!(world.run_until(|w| w.devices[1].bodies() == ["for a full disk"]));
}

#[test]
fn confirmations_coalesce() {
    let mut world = pair(29, Link::default());
    let b = world.uin(1);
    for n in 0..30 {
        world.send(0, b, n.to_string());
    }
    assert!(world.run_until(|w| w.devices[1].messages().len() == 30));
    let positions: Vec<_> = world.devices[1].messages().iter().map(|m| m.position).collect();
    for position in &positions[..29] {
        world.command(1, Command::Confirm(*position));
    }
    world.drain_all();
    assert_eq!(world.devices[1].store.load_all().unwrap().unconfirmed.len(), 1);
}

/// Confirmations wait for each other, and the last of them for none when the client is closed.
#[test]
fn what_was_confirmed_before_the_end_is_on_the_disk() {
    let mut world = pair(31, Link::default());
    let b = world.uin(1);
    for n in 0..30 {
        world.send(0, b, n.to_string());
    }
    assert!(world.run_until(|w| w.devices[1].messages().len() == 30));
    let positions: Vec<_> = world.devices[1].messages().iter().map(|m| m.position).collect();
    for position in &positions {
        world.command(1, Command::Confirm(*position));
    }
    world.call(1, client::Command::Close);
    assert!(world.run_until(|w| w.devices[1].count(|e| matches!(e, ClientEvent::Stopped(_))) == 1));
    world.drain_all();
    assert!(world.devices[1].store.load_all().unwrap().unconfirmed.is_empty());
}

#[test]
fn nobody_writes_where_he_does_not_belong() {
    let mut world = pair(30, Link::default());
    let conversation = ConversationId::direct(Uin(1), Uin(2));
    let call = client::Command::Send {
        trace: None,
        conversation,
        client_msg_id: None,
        body: Bytes::new(),
        deadline: None,
        action: ntproto_core::client::SendAction::Message,
    };
    let id = world.call(0, call);
    world.drain_all();
    assert_eq!(world.devices[0].called[&id], Err(client::Misuse::NotMember));
}

/// What a bootstrap would tell of the server now.
fn learned(connect: ConnectString) -> Learned {
    let certificate = connect.certificate(&RUSTCRYPTO, UnixMillis(common::UNIX)).unwrap();
    let (server_static, since) = (certificate.static_key, certificate.not_before);
    let ticket = BootstrapTicket { sealed: Bytes::new(), expires: UnixMillis(0) };
    Learned {
        bootstrap: Bootstrap { server_static, since, ticket, clock_offset_ms: Some(0) },
        endpoints: Endpoints::default(),
        version: "2.4.1".into(),
        connect,
    }
}

/// A server that changed its key is found again by a bootstrap: over QUIC alone nothing else helps.
#[test]
fn a_changed_server_key_is_learnt_by_a_bootstrap() {
    let mut world = World::new(21, Link::default());
    world.add_that_bootstraps([9; 32], identity().pin.0);
    world.run_for(Duration::from_secs(20));
    assert!(world.devices[0].bootstraps > 0 && !world.devices[0].is_online());
    // Another operator's answer is another server's.
    let stranger = ConnectString { operator_key: [9; 32], ..identity().connect_string("10.0.0.1") };
    let good = learned(identity().connect_string("10.0.0.1"));
    world.devices[0].learns = Some(Learned { connect: stranger, ..good.clone() });
    world.run_for(Duration::from_secs(120));
    assert!(world.devices[0].learns.is_none() && !world.devices[0].is_online());
    assert!(world.devices[0].found.is_none(), "nobody is told of what is not believed");
    world.devices[0].learns = Some(good);
    assert!(world.run_until(|w| w.devices[0].is_online()));
}

/// So is one whose TLS certificate changed, and one that moved.
#[test]
fn a_changed_certificate_and_a_new_place_are_learnt_by_a_bootstrap() {
    for host in ["10.0.0.1", "10.0.0.99"] {
        let mut world = World::new(22, Link::default());
        let pin = if host == "10.0.0.1" { [9; 32] } else { identity().pin.0 };
        world.add_that_bootstraps_at(host, pin);
        world.devices[0].learns = Some(learned(identity().connect_string("10.0.0.1")));
        assert!(world.run_until(|w| w.devices[0].is_online()), "{host}");
        assert!(world.devices[0].learns.is_none());
        let found = world.devices[0].found.take().unwrap();
        assert_eq!(found.connect, identity().connect_string("10.0.0.1"));
    }
}
