//! Presence: the swap, leases that connections carry, and who is told.

use std::time::Duration;

use ntproto_core::code::ErrorCode;
use ntproto_core::presence::LEASE;
use ntproto_core::wire::channel::{Channel, ChannelSet};
use ntproto_core::wire::packet::PacketId;
use ntproto_hub::config::{LEASE_MARGIN, PRESENCE_DEBOUNCE};
use ntproto_hub::store::{StoreError, Txn};
use ntproto_hub::{Command, ConnId, Input};
use ntproto_proto::v2::{self, OnlineStatus};
use prost::Message;

use crate::bench::{Bench, config, uin};
use crate::people::{befriend, refused};

const ONLINE: OnlineStatus = OnlineStatus::Online;
const AWAY: OnlineStatus = OnlineStatus::Away;
const OFFLINE: OnlineStatus = OnlineStatus::Offline;

fn set(bench: &mut Bench, conn: ConnId, status: OnlineStatus, version: u64) -> v2::PresenceSetResponse {
    let request = v2::PresenceSetRequest { status: status.into(), version };
    bench.call(conn, PacketId::PRESENCE_SET, &request).unwrap()
}

fn subscribe(bench: &mut Bench, conn: ConnId, add: &[u64]) -> Result<Vec<OnlineStatus>, ErrorCode> {
    let request = v2::PresenceSubscribeRequest { add: add.to_vec(), remove: Vec::new() };
    let answer: v2::PresenceSubscribeResponse = bench.call(conn, PacketId::PRESENCE_SUBSCRIBE, &request)?;
    Ok(answer.states.iter().map(v2::Presence::status).collect())
}

/// What a connection was told, push by push.
fn told(bench: &mut Bench, conn: ConnId) -> Vec<Vec<OnlineStatus>> {
    let pushes = bench.told(conn, PacketId::PRESENCE);
    let states =
        |body| v2::PresencePush::decode(body).unwrap().states.iter().map(v2::Presence::status).collect();
    pushes.into_iter().map(states).collect()
}

fn gone(bench: &mut Bench, conn: ConnId) {
    bench.hub.handle(bench.now, Input::Closed { conn });
    bench.peers.remove(&conn);
    bench.run();
}

/// A lease runs out, and it is told.
fn lapse(bench: &mut Bench) {
    bench.pass(LEASE + 2 * LEASE_MARGIN);
    bench.advance(PRESENCE_DEBOUNCE);
}

struct Two {
    bench: Bench,
    keys: ntproto_core::crypto::identity::DeviceKeys,
    a: ConnId,
    uin_a: u64,
    b: ConnId,
    uin_b: u64,
}

/// Two friends; the second watches the first.
fn two() -> Two {
    let mut bench = Bench::new(config());
    let (keys, a, grant_a) = bench.account();
    let (_, b, grant_b) = bench.account();
    let (uin_a, uin_b) = (uin(&grant_a).0, uin(&grant_b).0);
    befriend(&mut bench, (a, uin_a), (b, uin_b));
    assert_eq!(subscribe(&mut bench, b, &[uin_a]), Ok(vec![OFFLINE]));
    Two { bench, keys, a, uin_a, b, uin_b }
}

//= proof: presence-1
#[test]
fn a_stale_swap_changes_nothing_and_is_told_the_record() {
    let Two { mut bench, a, b, .. } = two();
    let first = set(&mut bench, a, ONLINE, 0);
    assert_eq!((first.stale, first.record.as_ref().unwrap().version), (false, 1));
    let lost = set(&mut bench, a, AWAY, 0);
    assert_eq!((lost.stale, lost.record), (true, first.record));
    bench.advance(PRESENCE_DEBOUNCE);
    assert_eq!(told(&mut bench, b), [[ONLINE]]);
    let request = v2::PresenceSetRequest { status: 9, version: 1 };
    assert_eq!(refused(&mut bench, a, PacketId::PRESENCE_SET, &request), ErrorCode::BadRequest);
}

#[test]
fn subscribers_are_told_the_last_state_only_and_not_too_often() {
    let Two { mut bench, a, b, .. } = two();
    set(&mut bench, a, ONLINE, 0);
    set(&mut bench, a, AWAY, 1);
    assert!(told(&mut bench, b).is_empty(), "not at once");
    bench.advance(PRESENCE_DEBOUNCE);
    assert_eq!(told(&mut bench, b), [[AWAY]]);
    // There and back is nothing new.
    set(&mut bench, a, ONLINE, 2);
    set(&mut bench, a, AWAY, 4);
    bench.advance(PRESENCE_DEBOUNCE);
    assert!(told(&mut bench, b).is_empty());
    set(&mut bench, a, OFFLINE, 5);
    bench.advance(PRESENCE_DEBOUNCE);
    assert_eq!(told(&mut bench, b), [[OFFLINE]]);
}

#[test]
fn a_connection_carries_its_lease_and_its_end_is_seen() {
    let Two { mut bench, keys, a, uin_a, b, .. } = two();
    set(&mut bench, a, ONLINE, 0);
    bench.advance(PRESENCE_DEBOUNCE);
    told(&mut bench, b);
    // It goes on for as long as it is connected.
    bench.pass(5 * LEASE);
    assert!(told(&mut bench, b).is_empty());
    gone(&mut bench, a);
    bench.advance(PRESENCE_DEBOUNCE);
    assert_eq!(told(&mut bench, b), [[AWAY]]);
    lapse(&mut bench);
    assert_eq!(told(&mut bench, b), [[OFFLINE]]);

    // A device that changes networks is never gone.
    let a = bench.known(&keys);
    bench.sync(a, 0);
    let version = set(&mut bench, a, ONLINE, 0).record.unwrap().version;
    assert!(!set(&mut bench, a, ONLINE, version).stale);
    bench.advance(PRESENCE_DEBOUNCE);
    assert_eq!(told(&mut bench, b), [[ONLINE]]);
    let new = bench.known(&keys);
    bench.sync(new, 0);
    bench.pass(2 * LEASE);
    assert!(told(&mut bench, b).is_empty(), "superseded is not gone");
    assert_eq!(subscribe(&mut bench, b, &[uin_a]), Ok(vec![ONLINE]));
}

/// It said so and went before it was stored.
#[test]
fn who_goes_while_it_is_stored_is_away_all_the_same() {
    let Two { mut bench, a, b, .. } = two();
    bench.hold = true;
    let body = v2::PresenceSetRequest { status: ONLINE.into(), version: 0 }.encode_to_vec().into();
    bench.ask(a, Channel::Message, PacketId::PRESENCE_SET, body, None);
    bench.run();
    gone(&mut bench, a);
    bench.release();
    bench.advance(PRESENCE_DEBOUNCE);
    assert_eq!(told(&mut bench, b), [[AWAY]]);
}

#[test]
fn a_store_that_fails_is_told_again() {
    let Two { mut bench, a, b, .. } = two();
    set(&mut bench, a, ONLINE, 0);
    bench.advance(PRESENCE_DEBOUNCE);
    told(&mut bench, b);
    bench.hold = true;
    gone(&mut bench, a);
    let (op, txn, _) = bench.held.pop_front().unwrap();
    assert!(matches!(txn, Txn::Presence { ref left, .. } if left.len() == 1), "{txn:?}");
    bench.done(op, Err(StoreError::Full));
    bench.run();
    assert!(bench.held.is_empty(), "not at once");
    bench.release();
    bench.advance(Duration::from_secs(1));
    bench.advance(PRESENCE_DEBOUNCE);
    assert_eq!(told(&mut bench, b), [[AWAY]]);
}

/// What a server that crashed left behind runs out, and whoever looks is told.
#[test]
fn leases_of_before_a_restart_run_out() {
    let mut bench = Bench::new(config());
    let (_, a, grant_a) = bench.account();
    let (keys, b, grant_b) = bench.account();
    let uin_a = uin(&grant_a).0;
    befriend(&mut bench, (a, uin_a), (b, uin(&grant_b).0));
    set(&mut bench, a, ONLINE, 0);
    bench.restart(config());
    let b = bench.known(&keys);
    bench.sync(b, 0);
    assert_eq!(subscribe(&mut bench, b, &[uin_a]), Ok(vec![ONLINE]));
    lapse(&mut bench);
    assert_eq!(told(&mut bench, b), [[AWAY]]);
    lapse(&mut bench);
    assert_eq!(told(&mut bench, b), [[OFFLINE]]);
}

/// Whom a drain sends away is Away before the store rests; one that fails is asked once.
#[test]
fn a_drain_tells_the_store_who_left() {
    for fails in [false, true] {
        let mut bench = Bench::new(config());
        let (_, a, _) = bench.account();
        set(&mut bench, a, ONLINE, 0);
        bench.hold = true;
        bench.hub.call(bench.now, Command::Drain).unwrap();
        bench.run();
        let (op, txn, _) = bench.held.pop_front().unwrap();
        assert!(
            matches!(&txn, Txn::Presence { left, renew, .. } if left.len() == 1 && renew.is_empty()),
            "{txn:?}"
        );
        if fails {
            bench.done(op, Err(StoreError::Full));
        } else {
            bench.execute(op, txn);
        }
        bench.run();
        assert!(matches!(bench.held.pop_front(), Some((_, Txn::Rest { .. }, _))));
        assert!(bench.held.is_empty());
    }
}

#[test]
fn subscriptions_are_for_friends_and_bounded() {
    let Two { mut bench, a, uin_a, b, uin_b, .. } = two();
    let (_, c, grant_c) = bench.account();
    assert_eq!(subscribe(&mut bench, c, &[uin_a]), Err(ErrorCode::Forbidden));
    assert_eq!(subscribe(&mut bench, c, &[77]), Err(ErrorCode::Forbidden));
    set(&mut bench, a, ONLINE, 0);
    bench.advance(PRESENCE_DEBOUNCE);
    assert!(told(&mut bench, c).is_empty());
    assert_eq!(told(&mut bench, b).len(), 1);
    let many = v2::PresenceSubscribeRequest { add: (1..=501).collect(), remove: Vec::new() };
    assert_eq!(refused(&mut bench, b, PacketId::PRESENCE_SUBSCRIBE, &many), ErrorCode::TooMany);
    // One that is there already counts once, and one that goes makes room.
    let more = v2::PresenceSubscribeRequest { add: (1..=500).collect(), remove: Vec::new() };
    assert_eq!(refused(&mut bench, b, PacketId::PRESENCE_SUBSCRIBE, &more), ErrorCode::TooMany);
    let twice = v2::PresenceSubscribeRequest { add: vec![uin_a; 400], remove: vec![] };
    let answer: v2::PresenceSubscribeResponse = bench.call(b, PacketId::PRESENCE_SUBSCRIBE, &twice).unwrap();
    assert_eq!(answer.states.len(), 1);
    // No more.
    let stop = v2::PresenceSubscribeRequest { add: Vec::new(), remove: vec![uin_a] };
    let _: v2::PresenceSubscribeResponse = bench.call(b, PacketId::PRESENCE_SUBSCRIBE, &stop).unwrap();
    set(&mut bench, a, AWAY, 1);
    bench.advance(PRESENCE_DEBOUNCE);
    assert!(told(&mut bench, b).is_empty());
    let _ = (uin_b, grant_c);
}

/// A million subscriptions in flight and after: the bound counts those on their way to the store.
#[test]
fn a_flood_of_subscriptions_stays_within_the_bound() {
    let Two { mut bench, b, uin_a, .. } = two();
    bench.hold = true;
    let mut numbers = Vec::new();
    for n in 0..200_u64 {
        let add = (n * 5_000..(n + 1) * 5_000).step_by(100).map(|n| 20_000 + n).chain([uin_a]).collect();
        let body = v2::PresenceSubscribeRequest { add, remove: Vec::new() }.encode_to_vec().into();
        numbers.push(bench.ask(b, Channel::Message, PacketId::PRESENCE_SUBSCRIBE, body, None));
    }
    bench.run();
    assert!(bench.held.len() <= 500 / 50, "{} on their way", bench.held.len());
    bench.release();
    let full = numbers.iter().filter(|n| {
        let answer = bench.answer(b, **n).unwrap();
        answer.is_err_and(|error| error.code == ErrorCode::TooMany as u32)
    });
    assert!(full.count() >= 190);
    // None of them was friends, so there is room again.
    assert_eq!(subscribe(&mut bench, b, &[uin_a]), Ok(vec![OFFLINE]));
}

//= proof: presence-3
#[test]
fn a_subscriber_that_does_not_read_is_told_the_newest_when_it_does() {
    let Two { mut bench, a, b, uin_a, .. } = two();
    // Its queue is full of what it does not read.
    bench.writable(b, ChannelSet::NONE);
    let talk = ntproto_core::ids::ConversationId::direct(
        ntproto_core::ids::Uin(uin_a),
        ntproto_core::ids::Uin(uin_a + 1),
    );
    for id in 0..5 {
        bench.send(a, talk, id, &[id; 200_000]);
    }
    for (status, version) in [(ONLINE, 0), (AWAY, 1), (ONLINE, 2), (AWAY, 4)] {
        set(&mut bench, a, status, version);
        bench.advance(PRESENCE_DEBOUNCE);
    }
    assert!(told(&mut bench, b).is_empty());
    bench.writable(b, ChannelSet::ALL);
    bench.run();
    assert_eq!(told(&mut bench, b), [[AWAY]]);
    assert!(!bench.notified(b).is_empty());
}

#[test]
fn who_is_no_friend_any_more_looks_like_nobody() {
    let Two { mut bench, a, b, uin_a, uin_b, .. } = two();
    set(&mut bench, a, ONLINE, 0);
    bench.advance(PRESENCE_DEBOUNCE);
    assert_eq!(told(&mut bench, b), [[ONLINE]]);
    let block = v2::FriendUpdateRequest { uin: uin_b, blocked: Some(true), ..Default::default() };
    let _: v2::FriendResponse = bench.call(a, PacketId::FRIEND_UPDATE, &block).unwrap();
    assert_eq!(told(&mut bench, b), [[OFFLINE]]);
    set(&mut bench, a, AWAY, 1);
    bench.advance(PRESENCE_DEBOUNCE);
    assert!(told(&mut bench, b).is_empty());
    assert_eq!(subscribe(&mut bench, b, &[uin_a]), Err(ErrorCode::Forbidden));
}
