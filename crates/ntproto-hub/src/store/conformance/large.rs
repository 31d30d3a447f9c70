//! Groups with more members than get a pointer each.

use alloc::vec;
use alloc::vec::Vec;

use ntproto_core::ids::{ConversationId, GroupId, Uin};
use ntproto_proto::v2;

use super::super::execute::{FANOUT, PULL_GROUP};
use super::super::txn::DeviceInfo;
use super::super::{Act, Outcome, StoreError, Txn};
use super::groups::{invite, one};
use super::{Bench, EPOCH, PLENTY, Packet, message, packet, sync};

/// A group that became large by its last member, and three of its members.
fn large(bench: &mut Bench) -> (u64, Vec<DeviceInfo>) {
    let crowd = bench.crowd(FANOUT + 1);
    let all: Vec<&DeviceInfo> = crowd.iter().collect();
    let group = bench.group(&all[..FANOUT as usize]);
    let talk = ConversationId::of_group(GroupId(group));
    // While it is not large, everybody has the message at once.
    let (_, entries) = bench.sends(message(&crowd[0], talk, 1, b"small"));
    assert_eq!(entries.len(), FANOUT as usize);
    let acted = bench.act(&crowd[0], invite(group, &all[FANOUT as usize..]));
    assert_eq!((acted.places.len(), acted.delta), (1, None));
    (group, crowd)
}

/// An inbox after `cursor`, once what is new in large groups is in it.
fn pulled(bench: &mut Bench, uin: Uin, cursor: u64) -> Vec<(u64, Packet)> {
    let mut all = Vec::new();
    let mut cursor = cursor;
    loop {
        match bench.ok(sync(uin, Some(EPOCH), cursor, 1_000, PLENTY)) {
            Outcome::Page { deltas, next, has_more, .. } => {
                all.extend(deltas.into_iter().map(|delta| (delta.position, packet(delta))));
                cursor = next;
                if !has_more {
                    return all;
                }
            }
            other => panic!("no page: {other:?}"),
        }
    }
}

fn seqs(inbox: &[(u64, Packet)]) -> Vec<u64> {
    inbox.iter().map(|(_, packet)| packet.seq()).collect()
}

//= proof: messages-21
pub(super) fn pull(bench: &mut Bench) {
    let (group, crowd) = large(bench);
    let talk = ConversationId::of_group(GroupId(group));
    let (a, b, late) = (&crowd[0], &crowd[1], &crowd[FANOUT as usize]);
    match bench.ok(Txn::Append(message(b, talk, 1, b"large"))) {
        Outcome::Appended { conv_seq: 2, entries, dirty: true, .. } => assert_eq!(entries.len(), 1),
        other => panic!("not stored for those who pull: {other:?}"),
    }
    bench.reopen();
    // Reading alone puts nothing there; with `place` it stands there from then on, once.
    let read = Txn::SyncPage {
        uin: a.uin,
        epoch: Some(EPOCH),
        cursor: 2,
        limit: 10,
        max_bytes: PLENTY,
        max_lag: 10,
        place: false,
    };
    assert!(matches!(bench.ok(read), Outcome::Page { deltas, .. } if deltas.is_empty()));
    assert_eq!(seqs(&pulled(bench, a.uin, 2)), [2]);
    assert_eq!(seqs(&pulled(bench, a.uin, 2)), [2]);
    assert_eq!(seqs(&pulled(bench, late.uin, 1)), [2]);
    // The sender has its own, and what came before it stands before it.
    assert_eq!(seqs(&pulled(bench, b.uin, 2)), [2]);
    bench.sends(message(a, talk, 2, b"from a"));
    let (seq, entries) = bench.sends(message(b, talk, 2, b"from b"));
    assert_eq!((seq, entries[0].position), (4, 5));
    assert_eq!(seqs(&pulled(bench, b.uin, 2)), [2, 3, 4]);
    assert_eq!(seqs(&pulled(bench, a.uin, 2)), [2, 3, 4]);
    // Watermarks are kept, and told to nobody else.
    let watermarks = vec![super::Watermark { conversation: talk, delivered: 4, read: 2 }];
    match bench.ok(Txn::Delivered { uin: a.uin, watermarks }) {
        Outcome::Delivered { receipts } => {
            let told: Vec<_> = receipts.iter().map(|receipt| receipt.place.uin).collect();
            assert_eq!(told, [a.uin]);
        }
        other => panic!("no receipts: {other:?}"),
    }
}

pub(super) fn gap(bench: &mut Bench) {
    let (group, crowd) = large(bench);
    let talk = ConversationId::of_group(GroupId(group));
    let count = PULL_GROUP + 7;
    let batch: Vec<Txn> = (0..count)
        .map(|n| {
            let mut append = message(&crowd[0], talk, 0, b"x");
            append.client_msg_id.0[..8].copy_from_slice(&(n + 1_000).to_be_bytes());
            Txn::Append(append)
        })
        .collect();
    assert!(bench.batch(&batch).iter().all(Result::is_ok));
    let inbox = pulled(bench, crowd[1].uin, 2);
    match &inbox[0].1 {
        Packet::Gap(gap) => assert_eq!((gap.from_seq, gap.to_seq), (2, 8)),
        other => panic!("no gap: {other:?}"),
    }
    assert_eq!(seqs(&inbox[1..]), (9..=count + 1).collect::<Vec<_>>());
    assert_eq!(pulled(bench, crowd[0].uin, 2).len() as u64, count);
    // In a page for which there is no room, nothing is lost.
    assert_eq!(pulled(bench, crowd[1].uin, 2).len() as u64, PULL_GROUP + 1);
}

pub(super) fn changes(bench: &mut Bench) {
    let (group, crowd) = large(bench);
    let (a, b, c) = (&crowd[0], &crowd[1], &crowd[2]);
    let named = v2::GroupUpdateRequest { group, name: Some("many".into()), ..Default::default() };
    let acted = bench.act(a, Act::GroupUpdate(named));
    assert!(acted.places.is_empty() && acted.delta.is_none());
    assert_eq!(acted.dirty, Some(GroupId(group)));
    let inbox = pulled(bench, b.uin, 2);
    match &inbox[..] {
        [(_, Packet::Group(state))] => {
            assert_eq!(state.group.as_ref().map(|group| &group.name[..]), Some("many"));
        }
        other => panic!("not the group: {other:?}"),
    }
    assert_eq!(pulled(bench, b.uin, inbox[0].0), []);
    // It stays one that is pulled when it is small again.
    bench.act(c, Act::GroupLeave(one(group)));
    bench.act(&crowd[3], Act::GroupLeave(one(group)));
    let talk = ConversationId::of_group(GroupId(group));
    assert_eq!(bench.sends(message(a, talk, 9, b"x")).1.len(), 1);
    assert_eq!(seqs(&pulled(bench, b.uin, inbox[0].0)), [2]);

    let acted = bench.act(a, Act::GroupDissolve(one(group)));
    assert_eq!((acted.places.len(), acted.dirty), (1, Some(GroupId(group))));
    bench.refused(Txn::Append(message(b, talk, 9, b"x")), StoreError::Gone);
    let listed: v2::SnapshotResponse = bench.ask(b, Act::Snapshot(v2::SnapshotRequest::default())).0;
    assert_eq!(listed.conversations, [], "none of its own, though it has not synced since");
    let last = pulled(bench, b.uin, 2).pop().expect("something");
    match last.1 {
        Packet::Group(state) => {
            assert!(state.me.is_none() && state.group.is_some_and(|group| group.dissolved));
        }
        other => panic!("not the group: {other:?}"),
    }
    assert_eq!(bench.ok(Txn::GroupsOf { uin: b.uin }), Outcome::Groups(vec![]));
    let groups = Act::Groups(v2::GroupsRequest { after: 0, limit: 10 });
    assert!(bench.ask::<v2::GroupsResponse>(&crowd[4], groups).0.groups.is_empty());
}
