//! Messages, inboxes, receipts, batches.

use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;
use ntproto_core::ids::{ClientMsgId, ConversationId, DeviceId, GroupId, Uin};
use ntproto_proto::v2;

use super::super::txn::{Append, DeviceKey, Watermark};
use super::super::{Act, Outcome, StoreError, Txn};
use super::{
    Bench, EPOCH, LATER, NOW, PLENTY, Packet, enrol, enrolled, invited, link, mark, message, place, sync,
};

pub(super) fn order(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    let c = bench.account(3);
    let other = ConversationId::direct(c.uin, b.uin);
    for n in 1..=5_u64 {
        let appended = Outcome::Appended {
            conv_seq: n,
            stored: NOW,
            duplicate: false,
            entries: vec![place(a.uin, n), place(b.uin, 2 * n - 1)],
            target_seq: 0,
            dirty: false,
        };
        assert_eq!(bench.ok(Txn::Append(message(&a, conversation, n as u8, b"from a"))), appended);
        let appended = Outcome::Appended {
            conv_seq: n,
            stored: NOW,
            duplicate: false,
            entries: vec![place(c.uin, n), place(b.uin, 2 * n)],
            target_seq: 0,
            dirty: false,
        };
        assert_eq!(bench.ok(Txn::Append(message(&c, other, n as u8, b"from c"))), appended);
    }
    let inbox = bench.inbox(b.uin, 0);
    let seqs: Vec<(u64, u64)> = inbox.iter().map(|(position, packet)| (*position, packet.seq())).collect();
    let expected: Vec<(u64, u64)> = (1..=10_u64).map(|position| (position, position.div_ceil(2))).collect();
    assert_eq!(seqs, expected);
    let first = v2::StoredMessage {
        conversation: Bytes::copy_from_slice(&conversation.0),
        conv_seq: 1,
        sender: a.uin.0,
        sender_device: Bytes::copy_from_slice(&a.id.0),
        client_msg_id: Bytes::from_static(&[1; 16]),
        stored_ms: NOW.0,
        body: Bytes::from_static(b"from a"),
        ..Default::default()
    };
    assert_eq!(inbox[0].1, Packet::Message(first));
}

pub(super) fn idempotency(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    let second = enrolled(bench.ok(enrol(link(&a, 1, LATER), 3)));
    bench.ok(Txn::Append(message(&b, conversation, 9, b"before")));
    let send = message(&a, conversation, 1, b"hello");
    bench.ok(Txn::Append(send.clone()));
    bench.ok(Txn::Append(message(&a, conversation, 2, b"after")));
    bench.reopen();
    let again = Outcome::Appended {
        conv_seq: 2,
        stored: NOW,
        duplicate: true,
        entries: vec![place(a.uin, 2)],
        target_seq: 0,
        dirty: false,
    };
    assert_eq!(bench.ok(Txn::Append(Append { now: LATER, ..send.clone() })), again);
    let resolve = Append { resolve_only: true, body: Bytes::new(), body_hash: [0; 32], ..send.clone() };
    assert_eq!(bench.ok(Txn::Append(resolve)), again);
    bench.refused(Txn::Append(message(&a, conversation, 1, b"another")), StoreError::Conflict);
    let elsewhere = Append { conversation: ConversationId::direct(a.uin, Uin(99)), ..send };
    bench.refused(Txn::Append(elsewhere), StoreError::Conflict);
    match bench.ok(Txn::Append(message(&second, conversation, 1, b"another"))) {
        Outcome::Appended { conv_seq: 4, duplicate: false, .. } => {}
        other => panic!("another device's key is another message: {other:?}"),
    }
    assert_eq!(bench.inbox(b.uin, 0).len(), 4);
}

//= proof: messages-12
pub(super) fn overtaking(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    let first = message(&a, conversation, 1, b"first");
    let second = Append { after: Some(first.client_msg_id), ..message(&a, conversation, 2, b"second") };
    bench.refused(Txn::Append(second.clone()), StoreError::OutOfOrder);
    assert_eq!(bench.inbox(b.uin, 0), vec![]);
    bench.ok(Txn::Append(first.clone()));
    bench.ok(Txn::Append(second.clone()));
    // What is stored is answered, whatever it was to come after.
    bench.ok(Txn::Append(Append { after: Some(ClientMsgId([9; 16])), ..second }));
    // One that was given up holds nobody back.
    let third = message(&a, conversation, 3, b"third");
    bench.ok(Txn::Append(Append { resolve_only: true, ..third.clone() }));
    let fourth = message(&a, conversation, 4, b"fourth");
    bench.ok(Txn::Append(Append { after: Some(third.client_msg_id), ..fourth }));
    assert_eq!(bench.inbox(b.uin, 0).len(), 3);
}

//= proof: messages-6
pub(super) fn resolve_only(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    let send = message(&a, conversation, 1, b"late");
    let resolve = Append { resolve_only: true, ..send.clone() };
    assert_eq!(bench.ok(Txn::Append(resolve.clone())), Outcome::Cancelled);
    bench.reopen();
    assert_eq!(bench.ok(Txn::Append(resolve)), Outcome::Cancelled);
    bench.refused(Txn::Append(send), StoreError::Cancelled);
    assert_eq!(bench.inbox(b.uin, 0), vec![]);
}

//= proof: messages-2
pub(super) fn append_refusals(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    let c = bench.account(3);
    bench.refused(Txn::Append(message(&c, conversation, 1, b"x")), StoreError::Forbidden);
    let nobody = ConversationId::direct(a.uin, Uin(99));
    bench.refused(Txn::Append(message(&a, nobody, 1, b"x")), StoreError::NotFound);
    let group = ConversationId([0; 16]);
    bench.refused(Txn::Append(message(&a, group, 1, b"x")), StoreError::NotFound);
    let forged = Append { sender: b.uin, ..message(&a, conversation, 1, b"x") };
    bench.refused(Txn::Append(forged), StoreError::Forbidden);
    let unknown = Append { device: DeviceId([0; 16]), ..message(&a, conversation, 1, b"x") };
    bench.refused(Txn::Append(unknown), StoreError::NotFound);
    match bench.ok(Txn::Append(message(&a, conversation, 1, b"x"))) {
        Outcome::Appended { conv_seq: 1, duplicate: false, .. } => {}
        other => panic!("the refusals left a trace: {other:?}"),
    }
}

pub(super) fn pages(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    for id in 1..=7 {
        bench.ok(Txn::Append(message(&a, conversation, id, b"0123456789")));
    }
    let mut cursor = 0;
    for (count, more) in [(3, true), (3, true), (1, false), (0, false)] {
        let (deltas, next, has_more) = bench.page(b.uin, cursor, 3);
        assert_eq!((deltas.len(), has_more), (count, more));
        assert_eq!(next, cursor + count as u64);
        cursor = next;
    }
    // One delta at least, however small the room; zero deltas asked for is one.
    for (limit, max_bytes, expected) in [(7, 1, 1), (0, PLENTY, 1), (7, PLENTY, 7), (u32::MAX, 200, 2)] {
        match bench.ok(sync(b.uin, Some(EPOCH), 0, limit, max_bytes)) {
            Outcome::Page { deltas, has_more, next, .. } => {
                assert_eq!(deltas.len(), expected, "limit {limit}, {max_bytes} bytes");
                assert_eq!(has_more, expected < 7);
                assert_eq!(next, expected as u64);
            }
            other => panic!("no page: {other:?}"),
        }
    }
}

pub(super) fn too_long(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    bench.ok(Txn::Append(message(&a, conversation, 1, b"x")));
    let first = Outcome::TooLong { epoch: EPOCH, next: 0 };
    assert_eq!(bench.ok(sync(b.uin, Some([1; 16]), 1, 10, PLENTY)), first);
    assert_eq!(bench.ok(sync(b.uin, Some(EPOCH), 2, 10, PLENTY)), first);
    assert_eq!(bench.ok(sync(b.uin, None, 1, 10, PLENTY)), first);
    assert!(matches!(bench.ok(sync(b.uin, None, 0, 10, PLENTY)), Outcome::Page { .. }));

    // However long a device was away, nothing is skipped.
    let batch: Vec<Txn> = (2..=10_002u64)
        .map(|n| {
            let mut append = message(&a, conversation, 0, b"x");
            append.client_msg_id.0[..8].copy_from_slice(&n.to_be_bytes());
            Txn::Append(append)
        })
        .collect();
    assert!(bench.batch(&batch).iter().all(Result::is_ok));
    assert_eq!(bench.page(b.uin, 0, 1).0.len(), 1);
}

//= proof: messages-17
pub(super) fn restored(bench: &mut Bench) {
    /// What a client may have reached before the store was put back.
    const SEEN: u64 = 1_000_000;
    let (a, b, conversation) = bench.two();
    bench.ok(Txn::Append(message(&a, conversation, 1, b"kept")));
    bench.ok(Txn::Append(message(&a, conversation, 2, b"kept")));
    let raise = |bench: &mut Bench| match bench.ok(Txn::Restored { wall: NOW }) {
        Outcome::Restored { above } => above,
        other => panic!("not restored: {other:?}"),
    };
    let above = raise(bench);
    assert!(above >= 1 << 32);
    bench.reopen();

    // Whatever a cursor had reached, it is served, moves to the end, and asks no more.
    assert_eq!(bench.page(b.uin, SEEN, 10), (vec![], above, false));
    assert_eq!(bench.page(b.uin, above, 10), (vec![], above, false));
    assert_eq!(
        bench.ok(sync(b.uin, Some(EPOCH), above + 1, 10, PLENTY)),
        Outcome::TooLong { epoch: EPOCH, next: 0 }
    );
    let (deltas, next, has_more) = bench.page(b.uin, 0, 2);
    assert_eq!((deltas.len(), next, has_more), (2, 2, true));
    assert_eq!(bench.page(b.uin, 2, 2), (vec![], above, false));

    // What was delivered and lost with the disk counts as the end of the log.
    match bench.ok(Txn::Delivered { uin: b.uin, watermarks: vec![mark(conversation, SEEN)] }) {
        Outcome::Delivered { receipts } => {
            assert_eq!(receipts[0].receipt.delivered_seq, 2);
            assert_eq!(receipts[0].place, place(a.uin, above + 1));
        }
        other => panic!("no receipts: {other:?}"),
    }
    let appended = Outcome::Appended {
        conv_seq: above + 1,
        stored: NOW,
        duplicate: false,
        entries: vec![place(a.uin, above + 2), place(b.uin, above + 1)],
        target_seq: 0,
        dirty: false,
    };
    assert_eq!(bench.ok(Txn::Append(message(&a, conversation, 3, b"new"))), appended);
    let inbox = bench.inbox(b.uin, SEEN);
    assert_eq!(
        inbox.iter().map(|(at, packet)| (*at, packet.seq())).collect::<Vec<_>>(),
        [(above + 1, above + 1)]
    );
    assert_eq!(bench.inbox(b.uin, 0).len(), 3);
    // Bytes cut a page as short as the limit does.
    match bench.ok(sync(b.uin, Some(EPOCH), 0, 10, 1)) {
        Outcome::Page { deltas, next: 1, has_more: true, .. } => assert_eq!(deltas.len(), 1),
        other => panic!("not the first alone: {other:?}"),
    }

    let again = raise(bench);
    assert!(again > above + 2);
    match bench.ok(Txn::Append(message(&b, conversation, 1, b"newer"))) {
        Outcome::Appended { conv_seq, entries, .. } => {
            assert_eq!(
                (conv_seq, &entries[..]),
                (again + 1, &[place(b.uin, again + 1), place(a.uin, again + 1)][..])
            );
        }
        other => panic!("not appended: {other:?}"),
    }
    // The accounts made since the backup keep their numbers to themselves.
    assert!(bench.account(3).uin.0 >= b.uin.0 + 2_000_000);
}

pub(super) fn receipts(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    let c = bench.account(3);
    for id in 1..=4 {
        bench.ok(Txn::Append(message(&a, conversation, id, b"x")));
    }
    let delivered = |uin, seq| Txn::Delivered { uin, watermarks: vec![mark(conversation, seq)] };
    let none = Outcome::Delivered { receipts: vec![] };
    let rose = |bench: &mut Bench, seq, at| match bench.ok(delivered(b.uin, seq)) {
        Outcome::Delivered { receipts } => {
            assert_eq!(receipts.len(), 1);
            assert_eq!(receipts[0].place, place(a.uin, at));
            assert_eq!(receipts[0].receipt.delivered_seq, seq.min(4));
            assert_eq!(receipts[0].receipt.member, b.uin.0);
        }
        other => panic!("no receipts: {other:?}"),
    };
    rose(bench, 2, 5);
    assert_eq!(bench.ok(delivered(b.uin, 2)), none);
    assert_eq!(bench.ok(delivered(b.uin, 1)), none);
    rose(bench, 3, 6);
    bench.reopen();
    bench.ok(Txn::Append(message(&b, conversation, 1, b"between")));
    bench.ok(Txn::Append(message(&b, conversation, 2, b"between")));
    rose(bench, 4, 9);
    bench.refused(delivered(c.uin, 1), StoreError::Forbidden);
    let half = vec![mark(conversation, 6), mark(ConversationId::direct(a.uin, c.uin), 1)];
    bench.refused(Txn::Delivered { uin: b.uin, watermarks: half }, StoreError::Forbidden);

    let inbox = bench.inbox(a.uin, 4);
    assert_eq!(inbox.iter().map(|(position, _)| *position).collect::<Vec<_>>(), [7, 8, 9]);
    assert_eq!(inbox[2].1.seq(), 4);
    // Beyond the head counts as the head, and named twice counts once.
    let twice = vec![mark(conversation, 5), mark(conversation, u64::MAX), mark(conversation, 3)];
    match bench.ok(Txn::Delivered { uin: b.uin, watermarks: twice }) {
        Outcome::Delivered { receipts } => {
            assert_eq!(receipts.len(), 1);
            assert_eq!(receipts[0].receipt.delivered_seq, 6);
        }
        other => panic!("no receipts: {other:?}"),
    }
    let empty = ConversationId::direct(b.uin, c.uin);
    assert_eq!(bench.ok(Txn::Delivered { uin: b.uin, watermarks: vec![mark(empty, 1)] }), none);
    assert_eq!(bench.inbox(a.uin, 9).len(), 1);
}

pub(super) fn batch(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    let answers = bench.batch(&[
        Txn::Append(message(&a, conversation, 1, b"one")),
        Txn::Append(message(&a, conversation, 1, b"another")),
        Txn::Append(message(&a, conversation, 1, b"one")),
        enrol(invited(9), 9),
        sync(b.uin, Some(EPOCH), 0, 10, PLENTY),
        Txn::Append(message(&b, conversation, 1, b"two")),
    ]);
    let flags = |answer: &Result<Outcome, StoreError>| match answer {
        Ok(Outcome::Appended { conv_seq, duplicate, .. }) => (*conv_seq, *duplicate),
        other => panic!("not appended: {other:?}"),
    };
    assert_eq!(flags(&answers[0]), (1, false));
    assert_eq!(answers[1], Err(StoreError::Conflict));
    assert_eq!(flags(&answers[2]), (1, true));
    assert_eq!(answers[3], Err(StoreError::InvitationUnknown));
    assert!(matches!(&answers[4], Ok(Outcome::Page { deltas, .. }) if deltas.len() == 1));
    assert_eq!(flags(&answers[5]), (2, false));
    bench.reopen();
    assert_eq!(bench.inbox(b.uin, 0).len(), 2);
    assert_eq!(bench.account(9).uin.0, b.uin.0 + 1);
    assert_eq!(bench.batch(&[]), vec![]);
}

pub(super) fn read_batch(bench: &mut Bench) {
    let (a, _, _) = bench.two();
    let answers = bench.batch(&[
        Txn::LookupDevice { key: DeviceKey::Id(a.id) },
        sync(a.uin, Some(EPOCH), 0, 10, PLENTY),
        Txn::Devices { uin: a.uin },
        Txn::LookupDevice { key: DeviceKey::Id(DeviceId([0; 16])) },
    ]);
    assert!(answers[..3].iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(answers[3], Err(StoreError::NotFound));
}

pub(super) fn reopen(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    for id in 1..=20 {
        bench.ok(Txn::Append(message(&a, conversation, id, b"kept")));
        bench.reopen();
        assert_eq!(bench.inbox(b.uin, 0).len(), usize::from(id));
    }
    match bench.ok(Txn::Append(message(&b, conversation, 1, b"next"))) {
        Outcome::Appended { conv_seq: 21, .. } => {}
        other => panic!("numbers go on where they were: {other:?}"),
    }
    assert_eq!(bench.account(3).uin.0, b.uin.0 + 1);
}

//= proof: messages-24
pub(super) fn read_marks(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    for id in 1..=4 {
        bench.ok(Txn::Append(message(&a, conversation, id, b"x")));
    }
    let mut says = |uin, delivered, read| {
        let watermarks = vec![Watermark { conversation, delivered, read }];
        match bench.ok(Txn::Delivered { uin, watermarks }) {
            Outcome::Delivered { receipts } => receipts
                .into_iter()
                .map(|placed| (placed.place.uin, placed.receipt.delivered_seq, placed.receipt.read_seq))
                .collect::<Vec<_>>(),
            other => panic!("no receipts: {other:?}"),
        }
    };
    assert_eq!(says(b.uin, 3, 0), [(a.uin, 3, 0)]);
    // What is read is delivered, and one's own devices hear what was read.
    assert_eq!(says(b.uin, 0, 4), [(a.uin, 4, 4), (b.uin, 4, 4)]);
    assert_eq!(says(b.uin, 9, 9), []);
    assert_eq!(says(b.uin, 1, 2), []);
    assert_eq!(says(a.uin, 4, 2), [(b.uin, 4, 2), (a.uin, 4, 2)]);
    bench.reopen();
    let marks = Act::Marks(v2::MarksRequest {
        conversation: Bytes::copy_from_slice(&conversation.0),
        limit: 10,
        ..Default::default()
    });
    let (answer, _) = bench.ask::<v2::MarksResponse>(&a, marks.clone());
    let of = |r: &v2::Receipt| (r.member, r.delivered_seq, r.read_seq);
    assert_eq!(answer.marks.iter().map(of).collect::<Vec<_>>(), [(a.uin.0, 4, 2), (b.uin.0, 4, 4)]);
    let c = bench.account(3);
    bench.no(&c, marks, StoreError::Forbidden);
    // Of a group, those of its members.
    let group = bench.group(&[&a, &b, &c]);
    let talk = ConversationId::of_group(GroupId(group));
    bench.ok(Txn::Append(message(&c, talk, 9, b"x")));
    for uin in [a.uin, b.uin] {
        bench.ok(Txn::Delivered { uin, watermarks: vec![mark(talk, 1)] });
    }
    bench.act(&b, Act::GroupLeave(v2::GroupRequest { group }));
    let conversation_of_all = Bytes::copy_from_slice(&talk.0);
    let marks =
        Act::Marks(v2::MarksRequest { conversation: conversation_of_all, limit: 10, ..Default::default() });
    let (answer, _) = bench.ask::<v2::MarksResponse>(&c, marks.clone());
    assert_eq!(answer.marks.iter().map(of).collect::<Vec<_>>(), [(a.uin.0, 1, 0)]);
    bench.no(&b, marks, StoreError::Forbidden);
    // A row that says nothing does not end a page before its time: b's stands between the two.
    bench.ok(Txn::Delivered { uin: c.uin, watermarks: vec![mark(talk, 1)] });
    let mut seen = Vec::new();
    for after in [0, a.uin.0] {
        let conversation = Bytes::copy_from_slice(&talk.0);
        let one = Act::Marks(v2::MarksRequest { conversation, after, limit: 1 });
        let (answer, _) = bench.ask::<v2::MarksResponse>(&c, one);
        seen.extend(answer.marks.iter().map(|mark| (mark.member, answer.has_more)));
    }
    assert_eq!(seen, [(a.uin.0, true), (c.uin.0, false)]);
    // A watermark of a group that one is not in says nothing, and spoils nothing.
    let group = bench.group(&[&c]);
    let mine = Watermark { conversation, delivered: 4, read: 3 };
    let other = Watermark { conversation: ConversationId::of_group(GroupId(group)), ..mine };
    let nowhere = Watermark { conversation: ConversationId::of_group(GroupId(99)), ..mine };
    match bench.ok(Txn::Delivered { uin: a.uin, watermarks: vec![other, mine, nowhere] }) {
        Outcome::Delivered { receipts } => assert_eq!(receipts.len(), 2),
        other => panic!("no receipts: {other:?}"),
    }
}

pub(super) fn behind(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    for id in 1..=5 {
        bench.ok(Txn::Append(message(&a, conversation, id, b"x")));
    }
    let page = |max_lag, cursor| Txn::SyncPage {
        uin: b.uin,
        epoch: Some(EPOCH),
        cursor,
        limit: 10,
        max_bytes: PLENTY,
        max_lag,
        place: false,
    };
    assert_eq!(bench.ok(page(3, 1)), Outcome::TooLong { epoch: EPOCH, next: 5 });
    assert!(matches!(bench.ok(page(3, 2)), Outcome::Page { .. }));
    assert!(matches!(bench.ok(page(5, 0)), Outcome::Page { .. }));
    // Positions that say nothing any more are no changes to be behind of.
    for delivered in 1..=3 {
        let watermarks = vec![mark(conversation, delivered)];
        bench.ok(Txn::Delivered { uin: a.uin, watermarks });
    }
    match bench.ok(page(3, 3)) {
        Outcome::Page { deltas, next: 8, .. } => assert_eq!(deltas.len(), 3),
        other => panic!("it is three entries behind: {other:?}"),
    }
    bench.ok(Txn::Restored { wall: NOW });
    assert!(matches!(bench.ok(page(3, 5)), Outcome::Page { .. }));
}
