//! Edits and recalls.

use bytes::Bytes;
use ntproto_core::ids::{ClientMsgId, ConversationId, GroupId};
use ntproto_core::time::UnixMillis;
use ntproto_proto::v2;

use super::super::execute::{EDIT_WINDOW, MAX_EDITS, RECALL_WINDOW};
use super::super::txn::{Append, Change, DeviceInfo, Target};
use super::super::{Act, Outcome, StoreError, Txn};
use super::{Bench, NOW, Packet, message};

/// An edit or a recall; its key is made of `id`.
fn change(from: &DeviceInfo, conversation: ConversationId, id: u8, action: Change) -> Append {
    let body: &[u8] = if matches!(action, Change::Edit(_)) { b"better" } else { b"" };
    Append { action, ..message(from, conversation, id, b"") }.with(body)
}

impl Append {
    fn with(self, body: &'static [u8]) -> Self {
        Self { body: Bytes::from_static(body), ..self }
    }
}

fn edit(seq: u64) -> Change {
    Change::Edit(Target::Seq(seq))
}

fn recall(seq: u64) -> Change {
    Change::Recall(Target::Seq(seq))
}

fn stored(packet: &Packet) -> &v2::StoredMessage {
    match packet {
        Packet::Message(message) => message,
        other => panic!("no message: {other:?}"),
    }
}

//= proof: messages-18
pub(super) fn edits(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    bench.sends(message(&a, conversation, 1, b"draft"));
    let first = change(&a, conversation, 2, Change::Edit(Target::Sent(ClientMsgId([1; 16]))));
    match bench.ok(Txn::Append(first.clone())) {
        Outcome::Appended { conv_seq: 2, target_seq: 1, duplicate: false, .. } => {}
        other => panic!("not edited: {other:?}"),
    }
    bench.reopen();
    match bench.ok(Txn::Append(first)) {
        Outcome::Appended { conv_seq: 2, target_seq: 1, duplicate: true, .. } => {}
        other => panic!("not the first answer: {other:?}"),
    }
    bench.sends(change(&a, conversation, 3, edit(1)));
    let inbox = bench.inbox(b.uin, 0);
    let shape = |p: &(u64, Packet)| {
        let m = stored(&p.1);
        (m.conv_seq, m.action(), m.target_seq, m.edited_seq, m.body.clone())
    };
    let (draft, better) = (Bytes::from_static(b"draft"), Bytes::from_static(b"better"));
    assert_eq!(
        inbox.iter().map(shape).collect::<alloc::vec::Vec<_>>(),
        [
            (1, v2::Action::Message, 0, 3, draft),
            (2, v2::Action::Edit, 1, 0, better.clone()),
            (3, v2::Action::Edit, 1, 0, better)
        ]
    );
    bench.refused(Txn::Append(change(&b, conversation, 4, edit(1))), StoreError::Forbidden);
    let late = UnixMillis(NOW.0 + EDIT_WINDOW.as_millis() as u64);
    bench.ok(Txn::Append(Append { now: late, ..change(&a, conversation, 5, edit(1)) }));
    let too_late = Append { now: UnixMillis(late.0 + 1), ..change(&a, conversation, 6, edit(1)) };
    bench.refused(Txn::Append(too_late), StoreError::TooLate);
    for n in 3..MAX_EDITS as u8 {
        bench.sends(change(&a, conversation, 100 + n, edit(1)));
    }
    bench.refused(Txn::Append(change(&a, conversation, 7, edit(1))), StoreError::TooMany);
    bench.sends(change(&a, conversation, 8, recall(1)));
}

//= proof: messages-19
pub(super) fn recalls(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    bench.sends(message(&a, conversation, 1, b"secret"));
    bench.sends(message(&a, conversation, 2, b"kept"));
    bench.sends(change(&a, conversation, 3, edit(1)));
    bench.sends(change(&a, conversation, 4, edit(2)));
    bench.sends(change(&a, conversation, 5, edit(1)));
    let wordy = change(&a, conversation, 6, recall(1)).with(b"because");
    bench.refused(Txn::Append(wordy), StoreError::BadRequest);
    bench.refused(Txn::Append(change(&b, conversation, 6, recall(1))), StoreError::Forbidden);
    let late = UnixMillis(NOW.0 + RECALL_WINDOW.as_millis() as u64 + 1);
    let too_late = Append { now: late, ..change(&a, conversation, 6, recall(1)) };
    bench.refused(Txn::Append(too_late), StoreError::TooLate);
    bench.sends(change(&a, conversation, 6, recall(1)));
    bench.refused(Txn::Append(change(&a, conversation, 7, recall(1))), StoreError::Gone);
    bench.refused(Txn::Append(change(&a, conversation, 7, edit(1))), StoreError::Gone);
    bench.reopen();
    let inbox = bench.inbox(b.uin, 0);
    let left: alloc::vec::Vec<_> =
        inbox.iter().map(|(_, p)| (stored(p).body.is_empty(), stored(p).recalled_seq)).collect();
    assert_eq!(left, [(true, 6), (false, 0), (true, 6), (false, 0), (true, 6), (true, 0)]);

    // In a group, whoever keeps order recalls what those below said.
    let c = bench.account(3);
    let group = bench.group(&[&c, &a, &b]);
    let talk = ConversationId::of_group(GroupId(group));
    bench.sends(message(&a, talk, 20, b"rude"));
    bench.sends(message(&c, talk, 20, b"owner's"));
    bench.refused(Txn::Append(change(&b, talk, 21, recall(1))), StoreError::Forbidden);
    bench.refused(Txn::Append(change(&a, talk, 21, recall(2))), StoreError::Forbidden);
    bench.refused(Txn::Append(change(&c, talk, 21, edit(1))), StoreError::Forbidden);
    let leave = Act::GroupLeave(v2::GroupRequest { group });
    bench.act(&a, leave);
    bench.sends(change(&c, talk, 22, recall(1)));
    bench.refused(Txn::Append(change(&a, talk, 23, recall(1))), StoreError::Forbidden);
}

pub(super) fn targets(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    let c = bench.account(3);
    let elsewhere = ConversationId::direct(a.uin, c.uin);
    bench.sends(message(&a, elsewhere, 9, b"elsewhere"));
    bench.ok(Txn::Append(Append { resolve_only: true, ..message(&a, conversation, 8, b"") }));
    bench.sends(message(&b, conversation, 1, b"theirs"));
    bench.sends(message(&a, conversation, 1, b"mine"));
    bench.sends(change(&a, conversation, 2, edit(2)));
    for (n, target) in [
        Target::Seq(0),
        Target::Seq(3),
        Target::Seq(99),
        Target::Seq(u64::MAX),
        Target::Sent(ClientMsgId([9; 16])),
        Target::Sent(ClientMsgId([8; 16])),
        Target::Sent(ClientMsgId([77; 16])),
        Target::Sent(ClientMsgId([2; 16])),
    ]
    .into_iter()
    .enumerate()
    {
        for action in [Change::Edit(target), Change::Recall(target)] {
            bench.refused(Txn::Append(change(&a, conversation, 50 + n as u8, action)), StoreError::NotFound);
        }
    }
    // A key used for another change is another message.
    let other = Append { body_hash: [99; 32], ..change(&a, conversation, 2, edit(2)) };
    bench.refused(Txn::Append(other), StoreError::Conflict);
}
