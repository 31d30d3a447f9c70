//! Sessions that begin in early data: what they are told at once, and what a replay of them does.

use std::time::Duration;

use bytes::Bytes;
use ntproto_core::binding::Binding;
use ntproto_core::code::ErrorCode;
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::endpoint::{AUTH_TIMEOUT, Closed};
use ntproto_core::ids::ConversationId;
use ntproto_core::wire::channel::Channel;
use ntproto_hub::config::MAX_UNCONFIRMED;
use ntproto_hub::store::Txn;
use ntproto_hub::{ConnId, HubConfig, HubEvent, Input, Stage};
use ntproto_proto::v2;
use ntproto_proto::v2::auth_request::Credential;
use prost::Message as _;

use crate::bench::{Bench, config, uin};

/// The number of the first page's request.
const FIRST: u32 = 1;

fn early(bench: &Bench, credential: Credential, cursor: u64) -> v2::AuthRequest {
    let epoch = if cursor == 0 { Bytes::new() } else { Bytes::from_static(&[0xe1; 16]) };
    let sync = Some(v2::SyncRequest { epoch, cursor, limit: 100 });
    v2::AuthRequest { early: Some(v2::EarlyStart { sync, request_id: FIRST }), ..bench.request(credential) }
}

/// Comes back in early data.
fn come_back(bench: &mut Bench, device: &DeviceKeys, cursor: u64) -> ConnId {
    let request = early(bench, Credential::KnownDevice(v2::KnownDevice {}), cursor);
    let conn = bench.transport_bound_by(Binding::EARLY);
    bench.greet(conn, device, request);
    conn
}

fn first_page(bench: &mut Bench, conn: ConnId) -> Option<v2::SyncResponse> {
    let body = bench.answer(conn, FIRST)?.expect("a page");
    Some(v2::SyncResponse::decode(body).unwrap())
}

/// What was captured of a client, sent again by somebody who holds no key.
fn replay(bench: &mut Bench, bytes: &[u8]) -> ConnId {
    let conn = bench.transport_bound_by(Binding::EARLY);
    bench.hub.handle(bench.now, Input::Bytes { conn, channel: Channel::Control, data: bytes });
    bench.run();
    conn
}

/// A device with two messages waiting, away; the friend who sent them, connected.
fn two_wait(bench: &mut Bench) -> (DeviceKeys, ConnId, ConversationId) {
    let (device, conn, own) = bench.account();
    let (_, friend, other) = bench.account();
    let to = ConversationId::direct(uin(&own), uin(&other));
    bench.hub.handle(bench.now, Input::Closed { conn });
    bench.peers.remove(&conn);
    bench.send(friend, to, 1, b"one");
    bench.send(friend, to, 2, b"two");
    (device, friend, to)
}

#[test]
fn the_first_page_comes_with_the_grant() {
    let mut bench = Bench::new(config());
    let (device, friend, to) = two_wait(&mut bench);
    let conn = come_back(&mut bench, &device, 1);
    bench.granted(conn);
    let page = first_page(&mut bench, conn).expect("in the first flight");
    assert_eq!((page.deltas.len(), page.next, page.has_more), (1, 2, false));
    // Nobody is online by it: what is sent meanwhile is not pushed, and found when the device asks again.
    assert_eq!(bench.hub.stage(conn), Some(Stage::Granted));
    bench.send(friend, to, 3, b"three");
    bench.bound(conn);
    assert!(bench.notified(conn).is_empty());
    assert_eq!(bench.sync(conn, 2).deltas.len(), 1);
    assert_eq!(bench.hub.stage(conn), Some(Stage::Confirmed));
    bench.send(friend, to, 4, b"four");
    assert_eq!(bench.notified(conn).len(), 1);
}

#[test]
fn a_first_page_that_can_not_be_had_is_refused_like_any_other() {
    let mut bench = Bench::new(HubConfig { max_op_bytes: 0, ..config() });
    let mut other = Bench::new(config());
    let (device, _, _) = two_wait(&mut other);
    let request = v2::AuthRequest {
        early: Some(v2::EarlyStart {
            sync: Some(v2::SyncRequest { epoch: Bytes::from_static(b"short"), ..Default::default() }),
            request_id: FIRST,
        }),
        ..other.request(Credential::KnownDevice(v2::KnownDevice {}))
    };
    let conn = other.transport_bound_by(Binding::EARLY);
    other.greet(conn, &device, request);
    let code = other.answer(conn, FIRST).unwrap().unwrap_err().code;
    assert_eq!(code, ErrorCode::BadRequest as u32);
    // A store without room lets nobody in, early or not.
    let device = bench.device();
    let conn = come_back(&mut bench, &device, 0);
    assert_eq!(bench.refused(conn), ErrorCode::RetryAfter);
}

//= proof: handshake-14
#[test]
fn a_replay_changes_nothing_before_a_restart_and_after() {
    let mut bench = Bench::new(config());
    let (device, _, _) = two_wait(&mut bench);
    let conn = come_back(&mut bench, &device, 0);
    let (_, auth_req) = bench.peers[&conn].sent[0].clone();
    bench.bound(conn);
    bench.sync(conn, 2);

    // Seen before, so not answered with a session.
    let replayed = replay(&mut bench, &auth_req);
    let refused = |e: &HubEvent| matches!(e, HubEvent::Refused { conn, code: ErrorCode::Replay, .. } if *conn == replayed);
    assert!(bench.events.iter().any(refused));
    assert_eq!(bench.closed(conn), None);

    // A server that forgot grants a session and reads a page: it writes nothing, tells nobody, and ends it.
    bench.restart(config());
    let conn = bench.known(&device);
    bench.sync(conn, 2);
    bench.hold = true;
    let replayed = replay(&mut bench, &auth_req);
    let mut asked = Vec::new();
    while let Some((op, txn, _)) = bench.held.pop_front() {
        asked.push(format!("{txn:?}").split([' ', '{']).next().unwrap_or_default().to_owned());
        bench.execute(op, txn);
        bench.run();
    }
    assert_eq!(asked, ["LookupDevice", "SyncPage"]);
    bench.release();
    assert_eq!(bench.hub.stage(replayed), Some(Stage::Granted));
    assert_eq!(bench.hub.stage(conn), Some(Stage::Confirmed));
    // It is remembered now; and without its transport it does not even live until a heartbeat.
    let again = replay(&mut bench, &auth_req);
    assert_ne!(bench.hub.stage(again), Some(Stage::Granted));
    bench.advance(AUTH_TIMEOUT);
    assert_eq!(bench.hub.stage(replayed), None);
    assert_eq!(bench.closed(conn), None);
    // The device's session goes on; its inbox is as it was.
    assert_eq!(bench.sync(conn, 0).deltas.len(), 2);
}

//= proof: handshake-20
#[test]
fn nobody_is_enrolled_by_early_data() {
    let mut bench = Bench::new(config());
    let device = bench.device();
    bench.hold = true;
    let request = early(&bench, Credential::OpenRegistration(v2::OpenRegistration {}), 0);
    let conn = bench.transport_bound_by(Binding::EARLY);
    bench.greet(conn, &device, request);
    let (op, txn, _) = bench.held.pop_back().unwrap();
    assert!(matches!(txn, Txn::LookupDevice { .. }));
    bench.execute(op, txn);
    bench.run();
    assert!(!bench.held.iter().any(|(_, txn, _)| matches!(txn, Txn::Enrol { .. })));
    assert_eq!(bench.hub.stage(conn), Some(Stage::Parked));
    bench.bound(conn);
    bench.release();
    bench.granted(conn);
    assert!(first_page(&mut bench, conn).is_some());
}

//= proof: handshake-21
#[test]
fn with_a_full_memory_early_data_waits_for_its_transport() {
    let mut bench = Bench::new(HubConfig { max_remembered: 1, ..config() });
    let (device, _, _) = two_wait(&mut bench);
    let conn = come_back(&mut bench, &device, 0);
    assert_eq!(bench.hub.stage(conn), Some(Stage::Parked));
    assert!(bench.peers[&conn].events.is_empty());
    bench.bound(conn);
    bench.granted(conn);
    assert_eq!(first_page(&mut bench, conn).map(|page| page.deltas.len()), Some(2));
    // One that never comes up is forgotten in time.
    let conn = come_back(&mut bench, &device, 0);
    bench.advance(AUTH_TIMEOUT);
    assert_eq!(bench.hub.stage(conn), None);
}

/// Replays that are not recognized do not push the device's own session out.
#[test]
fn sessions_without_a_transport_go_first() {
    let mut bench = Bench::new(config());
    let (device, _, _) = two_wait(&mut bench);
    let own = bench.known(&device);
    let early: Vec<ConnId> = (0..MAX_UNCONFIRMED).map(|_| come_back(&mut bench, &device, 0)).collect();
    assert_eq!(bench.closed(own), None);
    assert_eq!(bench.closed(early[0]), Some(Closed::Peer(Some(ErrorCode::RetryAfter))));
    assert_eq!(bench.closed(early[1]), None);
    bench.sync(own, 0);
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.hub.stage(own), Some(Stage::Confirmed));
}

#[test]
fn anything_else_in_early_data_is_too_early() {
    let mut bench = Bench::new(config());
    let (device, _, _) = two_wait(&mut bench);
    for channel in Channel::STREAMS {
        let conn = come_back(&mut bench, &device, 0);
        bench.hub.handle(bench.now, Input::Bytes { conn, channel, data: b"x" });
        bench.run();
        assert!(bench.closes.contains(&(conn, ErrorCode::TooEarly)), "{channel:?}");
    }
}
