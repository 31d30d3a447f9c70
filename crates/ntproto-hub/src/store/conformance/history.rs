//! History and snapshots.

use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;
use ntproto_core::ids::{ConversationId, GroupId};
use ntproto_core::time::UnixMillis;
use ntproto_proto::v2;

use super::super::txn::{Append, Watermark};
use super::super::{Act, StoreError, Txn};
use super::{Bench, NOW, message};

fn id(conversation: ConversationId) -> Bytes {
    Bytes::copy_from_slice(&conversation.0)
}

//= proof: messages-23
pub(super) fn history(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    let c = bench.account(3);
    for n in 1..=20_u8 {
        // Two of a kind at each time.
        let now = UnixMillis(NOW.0 + u64::from(n.div_ceil(2)) * 10);
        bench.ok(Txn::Append(Append { now, ..message(&a, conversation, n, b"x") }));
    }
    let all = v2::HistoryRequest { conversation: id(conversation), limit: 100, ..Default::default() };
    let mut read = |request: v2::HistoryRequest| {
        let (answer, _) = bench.ask::<v2::HistoryResponse>(&b, Act::History(request));
        assert_eq!(answer.head_seq, 20);
        let seqs: Vec<u64> = answer.messages.iter().map(|message| message.conv_seq).collect();
        (seqs, answer.has_more)
    };
    assert_eq!(read(all.clone()), ((1..=20).rev().collect(), false));
    assert_eq!(read(v2::HistoryRequest { limit: 3, ..all.clone() }), (vec![20, 19, 18], true));
    let middle = v2::HistoryRequest { before_seq: 8, after_seq: 5, ..all.clone() };
    assert_eq!(read(middle.clone()), (vec![7, 6], false));
    assert_eq!(read(v2::HistoryRequest { limit: 1, ..middle }), (vec![7], true));
    let at = |n: u64| NOW.0 + n * 10;
    let times = v2::HistoryRequest { since_ms: at(3), until_ms: at(5), ..all.clone() };
    assert_eq!(read(times.clone()), (vec![8, 7, 6, 5], false));
    assert_eq!(read(v2::HistoryRequest { before_seq: 7, ..times }), (vec![6, 5], false));
    let mut none = |change: fn(&mut v2::HistoryRequest)| {
        let mut request = all.clone();
        change(&mut request);
        assert_eq!(read(request), (vec![], false));
    };
    none(|request| request.since_ms = u64::MAX);
    none(|request| request.until_ms = 1);
    none(|request| request.after_seq = u64::MAX);
    none(|request| request.before_seq = 1);
    bench.no(&c, Act::History(all.clone()), StoreError::Forbidden);
    let bad = v2::HistoryRequest { conversation: Bytes::from_static(b"short"), ..all.clone() };
    bench.no(&a, Act::History(bad), StoreError::BadRequest);
    for nowhere in [ConversationId([0; 16]), ConversationId::of_group(GroupId(9))] {
        let nowhere = v2::HistoryRequest { conversation: id(nowhere), ..all.clone() };
        bench.no(&a, Act::History(nowhere), StoreError::NotFound);
    }
    // Across the jump that a restore makes, and by bytes.
    bench.ok(Txn::Restored { wall: NOW });
    let big = Append {
        body: vec![7; 100_000].into(),
        now: UnixMillis(at(50)),
        ..message(&a, conversation, 30, b"")
    };
    let second = Append { client_msg_id: ntproto_core::ids::ClientMsgId([31; 16]), ..big.clone() };
    bench.ok(Txn::Append(big));
    bench.ok(Txn::Append(second));
    let (answer, _) = bench.ask::<v2::HistoryResponse>(&b, Act::History(all.clone()));
    assert_eq!((answer.messages.len(), answer.has_more), (1, true));
    let below = v2::HistoryRequest { until_ms: at(50), limit: 1, ..all };
    let (answer, _) = bench.ask::<v2::HistoryResponse>(&b, Act::History(below));
    assert_eq!(answer.messages[0].conv_seq, 20);
}

pub(super) fn snapshot(bench: &mut Bench) {
    let (a, b, direct) = bench.two();
    let c = bench.account(3);
    let group = bench.group(&[&c, &a]);
    let (talk, other) = (ConversationId::of_group(GroupId(group)), ConversationId::direct(a.uin, c.uin));
    bench.sends(message(&b, direct, 1, b"x"));
    bench.sends(message(&c, other, 1, b"x"));
    bench.sends(message(&c, other, 2, b"x"));
    let watermarks = vec![Watermark { conversation: other, delivered: 2, read: 1 }];
    bench.ok(Txn::Delivered { uin: a.uin, watermarks });
    bench.reopen();
    let ask = |after, limit| Act::Snapshot(v2::SnapshotRequest { after, limit });
    let (page, _) = bench.ask::<v2::SnapshotResponse>(&a, ask(Bytes::new(), 2));
    let state = |s: &v2::ConversationState| (s.conversation.clone(), s.head_seq, s.delivered_seq, s.read_seq);
    let states: Vec<_> = page.conversations.iter().map(state).collect();
    assert_eq!((states, page.has_more), (vec![(id(talk), 0, 0, 0), (id(direct), 1, 0, 0)], true));
    let (page, _) = bench.ask::<v2::SnapshotResponse>(&a, ask(id(direct), 2));
    let states: Vec<_> = page.conversations.iter().map(state).collect();
    assert_eq!((states, page.has_more), (vec![(id(other), 2, 2, 1)], false));
    bench.no(&a, ask(Bytes::from_static(b"short"), 2), StoreError::BadRequest);
}
