//! The node and whole clients, in virtual time.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod early;
mod web;
mod world;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use ntproto_core::client::{ClientEvent, Stopped};
use ntproto_core::code::ErrorCode;
use ntproto_core::endpoint::Closed;
use ntproto_core::rng::Rng;
use ntproto_core::time::Instant;
use ntproto_core::wire::packet::PacketId;
use ntproto_hub::store::{StoreError, Txn};
use ntproto_hub::{HubConfig, HubEvent};
use ntproto_net::{Machine as _, Step};
use ntproto_proto::v2;
use ntproto_server::node::Command;

use world::World;

/// Two accounts that are online and caught up.
fn couple(seed: u8) -> (World, usize, usize) {
    let mut world = World::new(seed);
    let (a, b) = (world.invitation(1), world.invitation(2));
    let (a, b) = (world.add(Some(a)), world.add(Some(b)));
    world.online(a);
    world.run_until("both online", |w| {
        [a, b].iter().all(|no| w.peers[*no].events.iter().any(|e| matches!(e, ClientEvent::CaughtUp)))
    });
    (world, a, b)
}

#[test]
fn registered_by_invitation_they_talk() {
    let (mut world, a, b) = couple(1);
    world.send(a, b, b"hello");
    world.send(b, a, b"hello yourself");
    world.run_until("both delivered", |w| w.bodies(a).len() == 1 && w.bodies(b).len() == 1);
    world.run_until("both told of delivery", |w| {
        [a, b].iter().all(|no| w.peers[*no].events.iter().any(|e| matches!(e, ClientEvent::Receipt(_))))
    });
    assert_eq!((world.sent(a), world.sent(b)), (1, 1));
    assert_eq!(world.server.opened, 2);
    let let_in = world.server.events.iter().filter(|e| matches!(e, HubEvent::In { enrolled: true, .. }));
    assert_eq!(let_in.count(), 2);
}

#[test]
fn nobody_comes_in_uninvited() {
    let mut world = World::new(2);
    let stranger = world.add(Some(ntproto_core::client::Credential::Invitation([7; 16])));
    let open = world.add(Some(ntproto_core::client::Credential::Open));
    for no in [stranger, open] {
        world.run_until("stopped", |w| {
            w.peers[no].events.iter().any(|e| matches!(e, ClientEvent::Stopped(Stopped::Refused(_))))
        });
    }
    let mut refusals: Vec<_> = world.refusals().into();
    refusals.sort_unstable();
    assert_eq!(refusals, [ErrorCode::BadCredential, ErrorCode::RegistrationClosed]);
}

//= proof: messages-4
#[test]
fn what_was_acknowledged_survives_a_power_cut() {
    let (mut world, a, b) = couple(3);
    world.loss = 5;
    let mut expected = Vec::new();
    for round in 0..10u8 {
        for i in 0..20u8 {
            world.send(a, b, &[round, i]);
            expected.push(Bytes::copy_from_slice(&[round, i]));
        }
        // Somewhere in the middle of it, between write and fsync as often as not.
        world.run_for(Duration::from_micros(5_000 + 7_300 * u64::from(round)));
        world.kill_server();
        world.run_for(Duration::from_millis(300));
        world.start_server();
    }
    world.run_until("all delivered", |w| w.bodies(b).len() >= expected.len() && w.sent(a) == expected.len());
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.bodies(b), expected, "each once, in order");
    assert_eq!(world.sent(a), expected.len());
    assert!(world.server.commits < 500, "they were committed together: {}", world.server.commits);
}

#[test]
fn an_answer_that_a_kill_swallowed_is_missed_soon() {
    let (mut world, a, b) = couple(16);
    world.server.hold = true;
    world.send(a, b, b"taken by QUIC, lost by the server");
    // Long enough that nothing of the client's is unacknowledged.
    world.run_for(Duration::from_millis(300));
    world.kill_server();
    world.server.hold = false;
    world.start_server();
    let killed = world.at;
    world.run_until("stored after all", |w| w.sent(a) == 1);
    assert!(world.at - killed < 3_000_000, "{} us", world.at - killed);
}

/// Rule 8: a disk that hangs keeps messages waiting, and disconnects nobody.
#[test]
fn heartbeats_never_queue_behind_data() {
    let (mut world, a, b) = couple(17);
    // A few messages are enough: the hub reads no more packets of this connection.
    world.config = HubConfig { max_requests: 16, ..HubConfig::default() };
    world.kill_server();
    world.start_server();
    // Both are back.
    world.run_for(Duration::from_secs(10));
    world.server.hold = true;
    let window = 16_usize;
    (0..window).for_each(|n| world.send(a, b, &n.to_be_bytes()));
    world.run_for(Duration::from_secs(1));
    let (opened, events) = (world.server.opened, world.server.events.len());
    world.run_for(Duration::from_secs(120));
    assert_eq!((world.server.opened, world.server.down), (opened, 0), "{:?}", &world.server.events[events..]);
    world.server.hold = false;
    world.run_until("all sent", |w| w.sent(a) == window);
}

#[test]
fn a_client_resumes_where_it_stopped() {
    let (mut world, a, b) = couple(4);
    world.send(a, b, b"one");
    world.run_until("delivered", |w| w.bodies(b).len() == 1);
    world.peers[b].driver = None;
    world.peers[b].events.clear();
    world.send(a, b, b"two");
    world.run_until("sent", |w| w.sent(a) == 2);
    world.start_peer(b);
    // Not confirmed, so told again; then what came meanwhile.
    world.run_until("caught up", |w| w.bodies(b) == ["one", "two"]);
}

#[test]
fn a_second_connection_of_a_device_supersedes_the_first() {
    let (mut world, a, b) = couple(5);
    let twin = world.twin(a);
    world.online(twin);
    world.run_until("the first is stopped", |w| {
        w.peers[a].events.iter().any(|e| matches!(e, ClientEvent::Stopped(Stopped::Superseded)))
    });
    world.send(b, twin, b"still here?");
    world.run_until("delivered", |w| w.bodies(twin).contains(&Bytes::from_static(b"still here?")));
    assert!(world.peers[a].driver.is_none(), "one that is superseded does not fight");
}

#[test]
fn a_revoked_device_is_out_at_once_and_stays_out() {
    let (mut world, a, b) = couple(6);
    let me = world.peers[a].driver.as_ref().unwrap().identity().unwrap().1;
    let request = v2::RevokeDeviceRequest { device_id: Bytes::copy_from_slice(&me.0) };
    world.request(a, PacketId::REVOKE_DEVICE, request);
    world.run_until("stopped", |w| {
        w.peers[a]
            .events
            .iter()
            .any(|e| matches!(e, ClientEvent::Stopped(Stopped::Refused(ErrorCode::Revoked))))
    });
    world.peers[a].driver = None;
    world.peers[a].events.clear();
    world.start_peer(a);
    world.run_until("stopped again", |w| {
        w.peers[a]
            .events
            .iter()
            .any(|e| matches!(e, ClientEvent::Stopped(Stopped::Refused(ErrorCode::Revoked))))
    });
    assert!(world.peers[b].driver.is_some());
}

#[test]
fn noise_harms_nobody() {
    let (mut world, a, b) = couple(7);
    let mut rng = Rng::new([7; 32]);
    for i in 0..2_000u64 {
        let mut noise = vec![0; rng.below(1_400) as usize];
        rng.fill(&mut noise);
        let from = match i % 3 {
            // From a peer's own address, and from elsewhere.
            0 => SocketAddr::from(([10, 0, 1, 0], 4000)),
            _ => SocketAddr::from(([192, 0, 2, (i % 250) as u8], 9)),
        };
        world.inject(from, noise);
    }
    world.send(a, b, b"through the noise");
    world.run_until("delivered", |w| w.bodies(b).len() == 1 && w.sent(a) == 1);
    world.run_for(Duration::from_secs(30));
    let closed = world.server.events.iter().any(|e| matches!(e, HubEvent::Closed { .. }));
    assert!(!closed, "{:?}", world.server.events);
    assert_eq!(world.server.opened, 2);
}

#[test]
fn a_drain_finishes_and_ends() {
    let (mut world, a, b) = couple(8);
    world.server.hold = true;
    world.send(a, b, b"in the store");
    world.run_until("asked to store", |w| !w.server.in_store.is_empty());
    let now = world.now();
    world.server.node.as_mut().unwrap().command(now, Command::Drain);
    world.run_for(Duration::from_millis(200));
    assert!(!world.server.ended, "it waits for the store");
    world.server.hold = false;
    let drained_at = world.at;
    world.run_until("ended", |w| w.server.ended);
    assert!(world.at - drained_at < 3_000_000, "{} us", world.at - drained_at);
    assert_eq!(world.server.events.last(), Some(&HubEvent::Drained));
    world.run_until("told", |w| {
        let going = |e: &ClientEvent| {
            matches!(
                e,
                ClientEvent::Offline {
                    why: ntproto_core::client::Down::Closed(Closed::Peer(Some(ErrorCode::GoingAway))),
                    ..
                }
            )
        };
        w.peers[b].events.iter().any(going) && w.peers[a].events.iter().any(going)
    });
    world.start_server();
    world.run_until("delivered", |w| w.bodies(b) == ["in the store"] && w.sent(a) == 1);
}

#[test]
fn a_drain_lets_the_last_answers_and_pushes_through() {
    for (seed, loss) in [(17, 0), (18, 2)] {
        let (mut world, a, b) = couple(seed);
        world.server.hold = true;
        for i in 0..40u8 {
            world.send(a, b, &vec![i; 2_000]);
            world.send(b, a, &vec![i; 2_000]);
        }
        world.run_for(Duration::from_millis(500));
        let in_store = world.server.in_store.iter().filter(|(_, txn)| matches!(txn, Txn::Append(_))).count();
        assert!(in_store > 40, "{in_store}");
        let now = world.now();
        world.server.node.as_mut().unwrap().command(now, Command::Drain);
        world.server.hold = false;
        world.loss = loss;
        world.run_until("ended", |w| w.server.ended);
        world.run_for(Duration::from_millis(20));
        let answered = world.sent(a) + world.sent(b);
        if loss == 0 {
            assert_eq!(answered, in_store, "every answer came before the end");
        }
        world.loss = 0;
        world.start_server();
        world.run_until("all there", |w| {
            [a, b].iter().all(|no| w.sent(*no) == 40 && w.bodies(*no).len() == 40)
        });
    }
}

#[test]
fn a_page_hears_that_the_server_goes_whatever_is_lost() {
    for seed in 40..46 {
        let mut world = World::new(seed);
        let enrol = world.invitation(1);
        let page = world.page(enrol);
        world
            .run_until("online", |w| w.pages[page].events.iter().any(|e| matches!(e, ClientEvent::CaughtUp)));
        let now = world.now();
        world.server.node.as_mut().unwrap().command(now, Command::Drain);
        world.loss = 30;
        world.run_until("ended", |w| w.server.ended);
        world.run_for(Duration::from_millis(20));
        let going = |e: &ClientEvent| {
            let why = ntproto_core::client::Down::Closed(Closed::Peer(Some(ErrorCode::GoingAway)));
            matches!(e, ClientEvent::Offline { why: w, .. } if *w == why)
        };
        assert!(world.pages[page].events.iter().any(going), "{seed}: {:?}", world.pages[page].events);
    }
}

#[test]
fn an_idle_server_drains_at_once() {
    let mut world = World::new(9);
    let now = world.now();
    world.server.node.as_mut().unwrap().command(now, Command::Drain);
    // As long as it takes to keep the time on the disk.
    world.run_for(Duration::from_millis(5));
    assert!(world.server.ended);
}

//= proof: messages-4
#[test]
fn a_failed_fsync_acknowledges_nothing_and_ends_the_server() {
    let (mut world, a, b) = couple(10);
    world.send(a, b, b"never synced");
    world.run_until("asked to store", |w| !w.server.in_store.is_empty());
    world.server.store.fail_next_sync();
    world.run_until("ended", |w| w.server.ended);
    assert!(world.server.events.contains(&HubEvent::StoreFailed(StoreError::Unavailable)));
    assert_eq!((world.sent(a), world.bodies(b).len()), (0, 0));
    // Started again on what the disk holds, it stores the message that the client still has.
    world.server.store.crash(false);
    world.start_server();
    world.run_until("delivered", |w| w.bodies(b) == ["never synced"] && w.sent(a) == 1);
}

#[test]
fn a_full_disk_holds_messages_back_until_there_is_room() {
    let (mut world, a, b) = couple(11);
    let used = world.server.store.used();
    world.server.store.set_capacity(used);
    world.send(a, b, b"no room");
    world.run_for(Duration::from_secs(3));
    assert!(world.server.events.contains(&HubEvent::StoreFailed(StoreError::Full)));
    assert!(world.server.node.is_some() && world.sent(a) == 0);
    world.server.store.set_capacity(usize::MAX);
    world.run_until("delivered", |w| w.bodies(b) == ["no room"]);
}

#[test]
fn large_messages_pass_and_a_slow_store_holds_the_sender_back() {
    let (mut world, a, b) = couple(12);
    world.server.hold = true;
    for i in 0..60u8 {
        world.send(a, b, &vec![i; 200_000]);
    }
    world.run_for(Duration::from_secs(5));
    let held: usize = world.server.in_store.iter().map(|(_, txn)| txn.weight()).sum();
    assert!(held < 6 << 20, "{held} bytes in the store's queue: the rest waits at the sender");
    assert!(held > 200_000);
    world.server.hold = false;
    world.run_until("all there", |w| w.bodies(b).len() == 60 && w.sent(a) == 60);
    assert!(world.bodies(b).iter().enumerate().all(|(i, body)| body[..] == vec![i as u8; 200_000]));
}

#[test]
fn a_peer_that_vanishes_is_let_go() {
    let (mut world, a, _) = couple(13);
    world.peers[a].driver = None;
    world.run_until("let go", |w| w.server.events.iter().any(|e| matches!(e, HubEvent::Closed { .. })));
    let silent = world.server.events.iter().find_map(|e| match e {
        HubEvent::Closed { why, .. } => Some(*why),
        _ => None,
    });
    assert_eq!(silent, Some(Closed::Silent));
    assert_eq!(world.server.down, 1);
}

#[test]
fn an_idle_poll_says_when_to_come_back() {
    let (mut world, ..) = couple(14);
    world.run_for(Duration::from_secs(10));
    let now = world.now();
    let node = world.server.node.as_mut().unwrap();
    for _ in 0..1000 {
        let Step::Wait(Some(at)) = node.poll(now, None) else { panic!() };
        assert!(at > now.mono && at < now.mono + Duration::from_secs(61));
    }
    let mut empty = World::new(15);
    let node = empty.server.node.as_mut().unwrap();
    assert!(matches!(node.poll(now, None), Step::Wait(None)));
    assert!(now.mono > Instant::ORIGIN);
}

#[test]
fn a_page_and_a_native_client_talk() {
    let mut world = World::new(40);
    let (a, b) = (world.invitation(1), world.invitation(2));
    let (native, page) = (world.add(Some(a)), world.page(b));
    world.online(native);
    world.run_until("the page is online", |w| {
        w.pages[page].events.iter().any(|e| matches!(e, ClientEvent::CaughtUp))
    });
    let now = world.now();
    let uin = world.uin(native);
    world.pages[page].send(now, uin, b"from a page");
    world.run_until("it arrives", |w| w.bodies(native) == [&b"from a page"[..]]);
    let to = world.pages[page].uin.unwrap();
    world.send_to(native, to, b"to a page");
    world.run_until("and the answer", |w| w.pages[page].bodies() == [&b"to a page"[..]]);
    assert_eq!(world.server.opened, 2);

    // The server goes: the page is told on CONTROL and by the code of its session.
    let now = world.now();
    world.server.node.as_mut().unwrap().command(now, Command::Drain);
    world.run_until("the server has ended", |w| w.server.ended);
    world.run_for(Duration::from_millis(200));
    let offline = world.pages[page].events.iter().any(|e| matches!(e, ClientEvent::Offline { .. }));
    assert!(offline, "{:?}", world.pages[page].ends);

    // It comes back, and so does the page: by its ticket.
    world.start_server();
    let seen = world.pages[page].events.len();
    world.run_until("the page is back", |w| {
        w.pages[page].events[seen..].iter().any(|e| matches!(e, ClientEvent::Online { .. }))
    });
    let now = world.now();
    world.pages[page].send(now, uin, b"again");
    world.run_until("it arrives too", |w| w.bodies(native).len() == 2);
}
