//! Groups whose messages are in no inbox: members are told to sync, once and a few at a time.

use bytes::Bytes;
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::ids::{ConversationId, DeviceId, GroupId};
use ntproto_core::wire::channel::{Channel, ChannelSet};
use ntproto_core::wire::packet::PacketId;
use ntproto_hub::config::{DIRTY_BATCH, DIRTY_PACE};
use ntproto_hub::store::txn::{EnrolVia, NewDevice};
use ntproto_hub::store::{Outcome, Txn};
use ntproto_hub::{ConnId, Input};
use ntproto_proto::v2;
use prost::Message;

use crate::bench::{Bench, config, pushed, uin};
use crate::groups::group;

/// Accounts that nobody signs in to.
fn sleepers(bench: &mut Bench, count: u64) -> Vec<u64> {
    let mut made = Vec::new();
    for n in 0..count {
        let mut key = [9; 32];
        key[..8].copy_from_slice(&n.to_be_bytes());
        let mut id = [9; 16];
        id[..8].copy_from_slice(&n.to_be_bytes());
        let device = NewDevice { id: DeviceId(id), signing_key: key, static_key: key, name: "sleeps".into() };
        match bench.beside(Txn::Enrol { via: EnrolVia::Open, device, now: bench.now.unix }) {
            Outcome::Enrolled(device) => made.push(device.uin.0),
            other => panic!("{other:?}"),
        }
    }
    made
}

struct Large {
    bench: Bench,
    talk: ConversationId,
    a: ConnId,
    b: ConnId,
    keys_b: DeviceKeys,
}

/// A group of more members than get a pointer each, two of whom are here.
fn large() -> Large {
    let mut bench = Bench::new(config());
    let (_, a, _) = bench.account();
    let (keys_b, b, grant_b) = bench.account();
    let others = sleepers(&mut bench, 500);
    let id = group(&mut bench, a, &[uin(&grant_b).0]);
    let invite = v2::GroupInviteRequest { group: id, uins: others };
    let _: v2::GroupResponse = bench.call(a, PacketId::GROUP_INVITE, &invite).unwrap();
    for conn in [a, b] {
        bench.notified(conn);
        bench.told(conn, PacketId::GROUP_DELTA);
        let cursor = bench.sync(conn, 0).next;
        assert!(bench.sync(conn, cursor).deltas.is_empty());
    }
    Large { bench, talk: ConversationId::of_group(GroupId(id)), a, b, keys_b }
}

fn dirty(bench: &mut Bench, conn: ConnId) -> usize {
    bench.told(conn, PacketId::DIRTY).len()
}

/// The bodies of what a sync finds.
fn bodies(page: &v2::SyncResponse) -> Vec<Vec<u8>> {
    let messages = page.deltas.iter().filter_map(|delta| delta.packet.as_ref()).filter(|p| p.event_type == 1);
    messages.map(|p| v2::StoredMessage::decode(p.payload.clone()).unwrap().body.to_vec()).collect()
}

//= proof: messages-21
#[test]
fn members_are_told_once_until_they_sync_and_find_it_then() {
    let Large { mut bench, talk, a, b, .. } = large();
    let head = bench.sync(b, 0).next;
    for id in 1..=3 {
        bench.send(a, talk, id, &[id]);
        bench.advance(DIRTY_PACE);
    }
    assert_eq!((dirty(&mut bench, b), bench.notified(b).len()), (1, 0));
    let page = bench.sync(b, head);
    assert_eq!(bodies(&page), [vec![1], vec![2], vec![3]]);
    assert!(bodies(&bench.sync(b, page.next)).is_empty(), "once");
    bench.send(a, talk, 4, &[4]);
    bench.advance(DIRTY_PACE);
    assert_eq!(dirty(&mut bench, b), 1, "again after it has synced");
    assert_eq!(bodies(&bench.sync(b, page.next)), [[4]]);
    // The sender has its places by the answers.
    assert_eq!(dirty(&mut bench, a), 0);
}

#[test]
fn a_first_sync_finds_what_was_said_meanwhile() {
    let Large { mut bench, talk, a, b, keys_b } = large();
    bench.hub.handle(bench.now, Input::Closed { conn: b });
    bench.peers.remove(&b);
    bench.send(a, talk, 1, b"you missed this");
    let b = bench.known(&keys_b);
    assert_eq!(bodies(&bench.sync(b, 0)), [b"you missed this"]);
    bench.advance(DIRTY_PACE);
    assert_eq!(dirty(&mut bench, b), 0);
}

/// Early data writes nothing, so what it asks for may lack something. A push says so.
#[test]
fn after_an_early_page_a_push_asks_for_another() {
    use ntproto_core::binding::Binding;
    use ntproto_proto::v2::auth_request::Credential;
    let Large { mut bench, talk, a, b, keys_b } = large();
    bench.hub.handle(bench.now, Input::Closed { conn: b });
    bench.peers.remove(&b);
    bench.send(a, talk, 1, b"you missed this");
    let early = Some(v2::EarlyStart { sync: Some(v2::SyncRequest::default()), request_id: 1 });
    let request = v2::AuthRequest { early, ..bench.request(Credential::KnownDevice(v2::KnownDevice {})) };
    let b = bench.transport_bound_by(Binding::EARLY);
    bench.greet(b, &keys_b, request);
    bench.bound(b);
    let first = v2::SyncResponse::decode(bench.answer(b, 1).unwrap().unwrap()).unwrap();
    assert!(bodies(&first).is_empty());
    // Its first sealed frame.
    let _: v2::DevicesResponse = bench.call(b, PacketId::DEVICES, &v2::DevicesRequest {}).unwrap();
    assert_eq!(dirty(&mut bench, b), 1);
    assert_eq!(bodies(&bench.sync(b, first.next)), [b"you missed this"]);
}

#[test]
fn a_device_that_does_not_read_is_told_when_it_does() {
    let Large { mut bench, talk, a, b, .. } = large();
    let direct = ConversationId::direct(uin(&bench.granted(a)), uin(&bench.granted(b)));
    bench.writable(b, ChannelSet::NONE);
    for id in 1..6 {
        bench.send(a, direct, id, &[id; 200_000]);
    }
    bench.send(a, talk, 10, b"x");
    bench.advance(DIRTY_PACE);
    assert_eq!(dirty(&mut bench, b), 0);
    bench.writable(b, ChannelSet::ALL);
    bench.run();
    assert_eq!(dirty(&mut bench, b), 1);
    assert!(bench.notified(b).iter().any(|push| pushed(push).body.len() == 200_000));
}

/// A sync that the store could not do is done by the next one.
#[test]
fn what_a_failed_sync_did_not_place_the_next_does() {
    let Large { mut bench, talk, a, b, .. } = large();
    let head = bench.sync(b, 0).next;
    bench.send(a, talk, 1, b"x");
    bench.advance(DIRTY_PACE);
    assert_eq!(dirty(&mut bench, b), 1);
    bench.hold = true;
    let body = v2::SyncRequest { epoch: Bytes::from_static(&[0xe1; 16]), cursor: head, limit: 9 };
    bench.ask(b, Channel::Sync, PacketId::SYNC, body.encode_to_vec().into(), None);
    bench.run();
    let (op, txn, _) = bench.held.pop_front().unwrap();
    assert!(matches!(txn, Txn::SyncPage { place: true, .. }));
    bench.done(op, Err(ntproto_hub::store::StoreError::Full));
    bench.release();
    assert_eq!(bodies(&bench.sync(b, head)), [b"x"]);
}

/// However many are here, a round tells a few, and all hear of it in their turn.
#[test]
fn the_crowd_is_told_round_by_round() {
    let mut bench = Bench::new(config());
    let (_, a, _) = bench.account();
    let crowd: Vec<(ConnId, u64)> = (0..DIRTY_BATCH * 2)
        .map(|_| {
            let (_, conn, grant) = bench.account();
            (conn, uin(&grant).0)
        })
        .collect();
    let id = group(&mut bench, a, &[]);
    let mut uins: Vec<u64> = crowd.iter().map(|(_, uin)| *uin).collect();
    uins.extend(sleepers(&mut bench, 500));
    for uins in uins.chunks(500) {
        let invite = v2::GroupInviteRequest { group: id, uins: uins.to_vec() };
        let _: v2::GroupResponse = bench.call(a, PacketId::GROUP_INVITE, &invite).unwrap();
    }
    for (conn, _) in &crowd {
        bench.sync(*conn, 0);
    }
    bench.advance(DIRTY_PACE * 10);
    crowd.iter().for_each(|(conn, _)| drop(bench.told(*conn, PacketId::DIRTY)));
    for (conn, _) in &crowd {
        bench.sync(*conn, 0);
    }
    bench.send(a, ConversationId::of_group(GroupId(id)), 1, b"all");
    let mut heard = 0;
    let mut rounds = 0;
    while heard < crowd.len() {
        let now: usize = crowd.iter().map(|(conn, _)| dirty(&mut bench, *conn)).sum();
        assert!(now <= DIRTY_BATCH, "{now} in one round");
        heard += now;
        rounds += 1;
        assert!(rounds < 10);
        bench.advance(DIRTY_PACE);
    }
    assert_eq!(heard, crowd.len());

    // While the store is at what the first ones brought, the others wait.
    crowd.iter().for_each(|(conn, _)| drop(bench.sync(*conn, 0)));
    bench.send(a, ConversationId::of_group(GroupId(id)), 2, b"again");
    bench.hold = true;
    for (conn, _) in &crowd {
        if dirty(&mut bench, *conn) > 0 {
            let body = v2::SyncRequest { limit: 9, ..Default::default() }.encode_to_vec().into();
            bench.ask(*conn, Channel::Sync, PacketId::SYNC, body, None);
        }
    }
    bench.run();
    assert_eq!(bench.held.len(), DIRTY_BATCH);
    bench.advance(DIRTY_PACE * 20);
    assert!(crowd.iter().all(|(conn, _)| dirty(&mut bench, *conn) == 0));
    bench.release();
    bench.advance(DIRTY_PACE);
    let others: usize = crowd.iter().map(|(conn, _)| dirty(&mut bench, *conn)).sum();
    assert_eq!(others, DIRTY_BATCH);
}
