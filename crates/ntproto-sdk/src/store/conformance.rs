//! What any [`ClientStore`] must do.
//!
//! Each check starts from an empty disk and opens it again and again, after dropping the store without a word:
//! what was committed must be there.

mod search;

use std::collections::BTreeMap;

use bytes::Bytes;
use ntproto_core::client::{
    Apply, ClientTxn, Failure, Inbound, OutboxEntry, Owed, Saved, SendAction, SendOutcome, Settled,
    StoreError, Target,
};
use ntproto_core::code::ErrorCode;
use ntproto_core::ids::{ClientMsgId, ConversationId, DeviceId, GroupId, Uin};
use ntproto_core::time::UnixMillis;
use ntproto_core::trace::TraceContext;
use ntproto_proto::v2;

use super::{ClientStore, Fetched, Gap, Mark, Place};

/// A disk: gives the store on it, as a process that starts does.
pub type Disk<'d> = dyn FnMut() -> Box<dyn ClientStore> + 'd;

const ME: Uin = Uin(10001);
const OTHER: Uin = Uin(10002);
const DEVICE: DeviceId = DeviceId([1; 16]);

/// Runs every check; `fresh` gives an empty disk.
///
/// # Panics
/// When the store does not do what it must.
pub fn run<D: FnMut() -> Box<dyn ClientStore>>(mut fresh: impl FnMut() -> D) {
    let checks: [fn(&mut Disk<'_>); 18] = [
        an_empty_store_knows_nothing,
        who_and_ticket_are_kept,
        the_outbox_keeps_order_and_numbers,
        settled_messages_become_history,
        the_inbox_moves_as_one,
        confirmed_messages_are_not_told_again,
        watermarks_only_rise,
        history_goes_back_page_by_page,
        search::what_was_said_is_found,
        search::a_search_does_a_bounded_amount_of_work,
        search::unread_is_what_others_sent_since,
        search::unread_counts_no_more_than_it_can_read,
        an_edit_shows_in_the_place_of_its_message,
        a_recall_erases_what_was_said,
        own_edits_and_recalls_do_the_same,
        read_marks_are_owed_until_they_are_told,
        people_are_kept_as_they_are_now,
        gaps_are_closed_by_what_is_fetched,
    ];
    for check in checks {
        check(&mut fresh());
    }
}

fn conversation(n: u64) -> ConversationId {
    ConversationId::direct(ME, Uin(n))
}

fn entry(order: u64) -> OutboxEntry {
    OutboxEntry {
        trace: TraceContext::from_bytes(&[order as u8; 25]),
        order,
        client_msg_id: ClientMsgId([order as u8; 16]),
        conversation: conversation(OTHER.0),
        body: Bytes::from(vec![order as u8; order as usize % 50]),
        expires: order.is_multiple_of(2).then_some(UnixMillis(order)),
        action: SendAction::Message,
    }
}

fn message(conversation: ConversationId, conv_seq: u64, sender: Uin) -> v2::StoredMessage {
    v2::StoredMessage {
        conversation: Bytes::copy_from_slice(&conversation.0),
        conv_seq,
        sender: sender.0,
        sender_device: Bytes::from_static(&[2; 16]),
        client_msg_id: Bytes::from_static(&[3; 16]),
        stored_ms: 1000 + conv_seq,
        body: Bytes::from(format!("number {conv_seq}")),
        ..Default::default()
    }
}

fn inbound(position: u64, conversation: ConversationId, conv_seq: u64, sender: Uin) -> Inbound {
    Inbound { position, conversation, message: message(conversation, conv_seq, sender) }
}

fn commit(store: &mut dyn ClientStore, batch: &[ClientTxn]) {
    assert_eq!(store.commit(batch), Ok(()));
}

/// Who this device is comes before anything else a server says.
fn enrolled(disk: &mut Disk<'_>) -> Box<dyn ClientStore> {
    let mut store = disk();
    commit(&mut *store, &[ClientTxn::SaveIdentity(ME, DEVICE)]);
    store
}

fn settled(order: u64, outcome: SendOutcome) -> Settled {
    Settled { order, client_msg_id: ClientMsgId([order as u8; 16]), outcome }
}

fn an_empty_store_knows_nothing(disk: &mut Disk<'_>) {
    for _ in 0..2 {
        let mut store = disk();
        assert_eq!(store.load_all(), Ok(Saved::default()));
        assert_eq!(store.generation(), Ok(0));
        assert_eq!(store.unconfirmed(Place::START, 10), Ok(vec![]));
        assert_eq!(store.history(conversation(5), None, 10), Ok(vec![]));
        assert_eq!(store.conversations(), Ok(vec![]));
        assert_eq!(store.marks(conversation(5)), Ok(vec![]));
        assert_eq!(store.outbox(), Ok(vec![]));
        assert_eq!(store.outcome(ClientMsgId([0; 16])), Ok(None));
        commit(&mut *store, &[]);
    }
}

fn who_and_ticket_are_kept(disk: &mut Disk<'_>) {
    let ticket = v2::Ticket { sealed: Bytes::from_static(b"sealed"), issued_ms: 1, expires_ms: 2 };
    let mut store = enrolled(disk);
    commit(&mut *store, &[ClientTxn::SaveTicket(Some(ticket.clone()))]);
    drop(store);
    let mut store = disk();
    let saved = store.load();
    assert_eq!(saved, Ok(Saved { identity: Some((ME, DEVICE)), ticket: Some(ticket), ..Saved::default() }));
    commit(&mut *store, &[ClientTxn::SaveTicket(None)]);
    drop(store);
    assert_eq!(disk().load().map(|saved| saved.ticket), Ok(None));
}

fn the_outbox_keeps_order_and_numbers(disk: &mut Disk<'_>) {
    let mut store = enrolled(disk);
    for order in [3, 1, 7, 300] {
        commit(&mut *store, &[ClientTxn::Enqueue(entry(order))]);
    }
    drop(store);
    let mut store = disk();
    // One that is written again takes its own place: it was given up.
    let given_up = OutboxEntry { expires: Some(OutboxEntry::CANCELLED), ..entry(3) };
    commit(&mut *store, &[ClientTxn::Enqueue(given_up.clone())]);
    assert_eq!(store.outbox(), Ok(vec![entry(1), given_up, entry(7), entry(300)]));
    let failed = SendOutcome::Failed(Failure::DeadlineExceeded);
    let all = [1, 3, 7, 300].map(|order| settled(order, failed.clone())).to_vec();
    commit(&mut *store, &[ClientTxn::Apply(Apply { settled: all, ..Apply::default() })]);
    drop(store);
    let saved = disk().load();
    // A number is never used twice, even when nothing is left that has it.
    assert_eq!(saved.map(|s| (s.outbox, s.last_order)), Ok((vec![], 300)));
}

fn settled_messages_become_history(disk: &mut Disk<'_>) {
    let mut store = enrolled(disk);
    let to = conversation(OTHER.0);
    let stored = SendOutcome::Stored { conversation: to, conv_seq: 4, stored_ms: 99 };
    let refusal = Failure::Refused(Some(ErrorCode::Forbidden), "no".into());
    let outcomes = [
        stored,
        SendOutcome::Failed(refusal),
        SendOutcome::Failed(Failure::Refused(None, String::new())),
        SendOutcome::Failed(Failure::DeadlineExceeded),
        SendOutcome::Failed(Failure::Cancelled),
        SendOutcome::Failed(Failure::Disconnected),
        SendOutcome::Failed(Failure::Store(StoreError::Full)),
        SendOutcome::Failed(Failure::Store(StoreError::Failed)),
        SendOutcome::Failed(Failure::Store(StoreError::Damaged)),
    ];
    for (order, outcome) in (1..).zip(outcomes.iter().cloned()) {
        let apply = Apply { settled: vec![settled(order, outcome)], ..Apply::default() };
        // Told twice, as after a lost completion: the second time changes nothing.
        let batch =
            [ClientTxn::Enqueue(entry(order)), ClientTxn::Apply(apply.clone()), ClientTxn::Apply(apply)];
        commit(&mut *store, &batch);
    }
    drop(store);
    let mut store = disk();
    for (order, outcome) in (1u8..).zip(outcomes) {
        assert_eq!(store.outcome(ClientMsgId([order; 16])), Ok(Some(outcome)));
    }
    let history = store.history(to, None, 10).unwrap_or_default();
    assert_eq!(history.len(), 1, "only what was stored is history");
    let only = &history[0];
    assert_eq!((only.conv_seq, only.sender, only.sender_device, only.stored_ms), (4, ME, DEVICE, 99));
    assert_eq!(only.body, entry(1).body);
    let saved = store.load_all();
    // One's own message is neither told nor owed a receipt, and says nothing of what came from others before it.
    let nothing = (vec![], BTreeMap::new(), BTreeMap::new());
    assert_eq!(saved.map(|s| (s.unconfirmed, s.heads, s.owed)), Ok(nothing));
}

fn the_inbox_moves_as_one(disk: &mut Disk<'_>) {
    let mut store = enrolled(disk);
    let (a, b) = (conversation(2), conversation(3));
    let messages = vec![
        inbound(5, a, 1, Uin(2)),
        inbound(6, b, 8, ME),
        inbound(9, a, 2, Uin(2)),
        inbound(10, b, 9, Uin(3)),
    ];
    let later = v2::SyncPacket { event_type: 4242, payload: Bytes::from_static(b"\xff later") };
    let others = vec![(7, later.clone())];
    let apply = Apply {
        epoch: Some([7; 16]),
        cursor: Some(10),
        messages: messages.clone(),
        others,
        ..Apply::default()
    };
    commit(&mut *store, &[ClientTxn::Apply(apply)]);
    drop(store);
    let mut store = disk();
    let saved = store.load_all().unwrap_or_default();
    assert_eq!((saved.epoch, saved.cursor), (Some([7; 16]), 10));
    assert_eq!(saved.unconfirmed, messages);
    assert_eq!(saved.heads, BTreeMap::from([(a, 2), (b, 9)]));
    let owed = |delivered, read| Owed { delivered, read };
    assert_eq!(saved.owed, BTreeMap::from([(a, owed(2, 0)), (b, owed(9, 0))]));
    assert_eq!(store.generation(), Ok(1));
    // What this version does not know is there for one that does, byte for byte.
    assert_eq!(store.others(Place::START, 10), Ok(vec![(Place { generation: 1, position: 7 }, later)]));
    assert_eq!(store.others(Place { generation: 1, position: 7 }, 10), Ok(vec![]));
    // What the server was told is owed no more; what came since is.
    commit(&mut *store, &[ClientTxn::ReceiptsSent(vec![(a, owed(1, 0)), (b, owed(9, 0))])]);
    drop(store);
    let mut store = disk();
    assert_eq!(store.load().map(|s| s.owed), Ok(BTreeMap::from([(a, owed(2, 0))])));
    // A cursor may move alone.
    commit(&mut *store, &[ClientTxn::Apply(Apply { cursor: Some(12), ..Apply::default() })]);
    drop(store);
    let saved = disk().load().unwrap_or_default();
    assert_eq!((saved.cursor, saved.epoch), (12, Some([7; 16])));
}

fn confirmed_messages_are_not_told_again(disk: &mut Disk<'_>) {
    let mut store = enrolled(disk);
    let talk = conversation(2);
    let page = |positions: std::ops::RangeInclusive<u64>, first: u64| -> Vec<Inbound> {
        (first..).zip(positions).map(|(seq, position)| inbound(position, talk, seq, Uin(2))).collect()
    };
    let apply =
        |epoch, messages| ClientTxn::Apply(Apply { epoch: Some([epoch; 16]), messages, ..Apply::default() });
    commit(&mut *store, &[apply(1, page(100..=109, 1))]);
    commit(&mut *store, &[ClientTxn::Confirm(104)]);
    let places = |store: &mut dyn ClientStore, after, limit| -> Vec<(u32, u64)> {
        let found = store.unconfirmed(after, limit).unwrap_or_default();
        assert!(found.iter().all(|(place, inbound)| place.position == inbound.position));
        found.into_iter().map(|(place, _)| (place.generation, place.position)).collect()
    };
    assert_eq!(places(&mut *store, Place::START, 2), [(1, 105), (1, 106)]);
    let after = Place { generation: 1, position: 106 };
    assert_eq!(places(&mut *store, after, 10), [(1, 107), (1, 108), (1, 109)]);
    assert_eq!(places(&mut *store, after, 0), []);
    // The server starts over: what it says now comes after what it said before, whatever the numbers.
    commit(&mut *store, &[apply(2, page(1..=3, 11))]);
    drop(store);
    let mut store = disk();
    let after = Place { generation: 1, position: 108 };
    assert_eq!(places(&mut *store, after, 10), [(1, 109), (2, 1), (2, 2), (2, 3)]);
    commit(&mut *store, &[ClientTxn::Confirm(2), ClientTxn::Confirm(1)]);
    drop(store);
    let mut store = disk();
    assert_eq!(places(&mut *store, Place::START, 10), [(2, 3)]);
    assert_eq!(store.history(talk, None, 100).map(|all| all.len()), Ok(13), "history stays");
}

fn watermarks_only_rise(disk: &mut Disk<'_>) {
    let mut store = enrolled(disk);
    let talk = conversation(OTHER.0);
    let receipt = |member: Uin, delivered_seq, read_seq| v2::Receipt {
        conversation: Bytes::copy_from_slice(&talk.0),
        member: member.0,
        delivered_seq,
        read_seq,
    };
    let broken = v2::Receipt { conversation: Bytes::from_static(b"none"), ..receipt(OTHER, 9, 9) };
    let receipts =
        vec![receipt(OTHER, 5, 0), receipt(OTHER, 4, 2), receipt(ME, 1, 3), receipt(OTHER, 5, 1), broken];
    commit(&mut *store, &[ClientTxn::Apply(Apply { receipts, ..Apply::default() })]);
    drop(store);
    let marks = disk().marks(talk);
    let mine = Mark { member: ME, delivered_seq: 3, read_seq: 3 };
    let theirs = Mark { member: OTHER, delivered_seq: 5, read_seq: 2 };
    assert_eq!(marks, Ok(vec![mine, theirs]));
}

fn history_goes_back_page_by_page(disk: &mut Disk<'_>) {
    let mut store = enrolled(disk);
    let (a, b) = (conversation(2), conversation(3));
    let mut messages: Vec<_> = (1..=20).map(|n| inbound(n, a, n, Uin(2))).collect();
    messages.push(inbound(21, b, 500, Uin(3)));
    commit(&mut *store, &[ClientTxn::Apply(Apply { messages, ..Apply::default() })]);
    drop(store);
    let mut store = disk();
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = store.history(a, before, 6).unwrap_or_default();
        let Some(last) = page.last() else { break };
        before = Some(last.conv_seq);
        assert!(page.len() <= 6 && page.iter().all(|m| m.body == format!("number {}", m.conv_seq)));
        seen.extend(page.into_iter().map(|m| m.conv_seq));
    }
    assert_eq!(seen, (1..=20).rev().collect::<Vec<_>>());
    assert_eq!(store.history(a, None, 0), Ok(vec![]));
    assert_eq!(store.conversations(), Ok(vec![(a, 20), (b, 500)]));
}

/// An entry that is about an earlier one.
fn about(position: u64, talk: ConversationId, seq: u64, action: v2::Action, target_seq: u64) -> Inbound {
    let mut inbound = inbound(position, talk, seq, OTHER);
    inbound.message.set_action(action);
    inbound.message.target_seq = target_seq;
    if action == v2::Action::Recall {
        inbound.message.body = Bytes::new();
    }
    inbound
}

fn shown(store: &mut dyn ClientStore, talk: ConversationId) -> Vec<(u64, Bytes, Option<u64>, Option<u64>)> {
    let history = store.history(talk, None, 100).unwrap_or_default();
    history.into_iter().map(|m| (m.conv_seq, m.body, m.edited, m.recalled)).collect()
}

fn an_edit_shows_in_the_place_of_its_message(disk: &mut Disk<'_>) {
    let mut store = enrolled(disk);
    let talk = conversation(OTHER.0);
    let edit = |n, target| about(n, talk, n, v2::Action::Edit, target);
    let messages = vec![inbound(1, talk, 1, OTHER), inbound(2, talk, 2, OTHER), edit(3, 1), edit(4, 1)];
    commit(&mut *store, &[ClientTxn::Apply(Apply { messages: messages.clone(), ..Apply::default() })]);
    // Somebody else's edit of it, and an edit of an edit, change nothing.
    let mut foreign = edit(5, 1);
    foreign.message.sender = 10_003;
    let more = vec![foreign, edit(6, 3)];
    commit(&mut *store, &[ClientTxn::Apply(Apply { messages: more, ..Apply::default() })]);
    drop(store);
    let mut store = disk();
    let first = (1, Bytes::from_static(b"number 4"), Some(4), None);
    let second = (2, Bytes::from_static(b"number 2"), None, None);
    assert_eq!(shown(&mut *store, talk), [second, first.clone()]);
    let one = store.message(talk, 1).unwrap_or_default();
    assert_eq!(one.map(|m| (m.conv_seq, m.body, m.edited, m.recalled)), Some(first));
    assert_eq!(store.message(talk, 3), Ok(None), "an edit is no message");
    // Each is told to the application all the same.
    let told = store.unconfirmed(Place::START, 10).unwrap_or_default();
    assert_eq!(
        told.iter().map(|(_, inbound)| inbound.message.conv_seq).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5, 6]
    );
    assert_eq!(store.load().map(|s| s.heads), Ok(BTreeMap::from([(talk, 6)])));
    // An edit that comes before its message waits for it.
    let other = conversation(3);
    let mut edit = about(7, other, 9, v2::Action::Edit, 4);
    edit.message.conversation = Bytes::copy_from_slice(&other.0);
    commit(&mut *store, &[ClientTxn::Apply(Apply { messages: vec![edit], ..Apply::default() })]);
    assert_eq!(shown(&mut *store, other), []);
    let late = message(other, 4, OTHER);
    let fetched = || Fetched { messages: vec![late.clone()], ..Fetched::default() };
    assert_eq!((store.keep(&fetched()), store.keep(&fetched())), (Ok(()), Ok(())));
    drop(store);
    assert_eq!(shown(&mut *disk(), other), [(4, Bytes::from_static(b"number 9"), Some(9), None)]);
}

fn a_recall_erases_what_was_said(disk: &mut Disk<'_>) {
    let mut store = enrolled(disk);
    let talk = conversation(OTHER.0);
    let messages = vec![
        inbound(1, talk, 1, OTHER),
        about(2, talk, 2, v2::Action::Edit, 1),
        about(3, talk, 3, v2::Action::Recall, 1),
        // One that is too late.
        about(4, talk, 4, v2::Action::Edit, 1),
        about(5, talk, 6, v2::Action::Recall, 5),
    ];
    commit(&mut *store, &[ClientTxn::Apply(Apply { messages, ..Apply::default() })]);
    // Its message comes by another way, from a server that had not heard of the recall.
    let late =
        Fetched { messages: vec![message(talk, 5, OTHER), message(talk, 1, OTHER)], ..Fetched::default() };
    assert_eq!(store.keep(&late), Ok(()));
    drop(store);
    let mut store = disk();
    let gone = |seq, edited, recalled| (seq, Bytes::new(), edited, Some(recalled));
    assert_eq!(shown(&mut *store, talk), [gone(5, None, 6), gone(1, Some(4), 3)]);
    let told = store.unconfirmed(Place::START, 10).unwrap_or_default();
    assert!(told.len() == 5 && told.iter().all(|(_, inbound)| inbound.message.body.is_empty()));
}

fn own_edits_and_recalls_do_the_same(disk: &mut Disk<'_>) {
    let mut store = enrolled(disk);
    let to = conversation(OTHER.0);
    let stored = |conv_seq| SendOutcome::Stored { conversation: to, conv_seq, stored_ms: 99 };
    let first = ClientMsgId([1; 16]);
    let entries = [
        OutboxEntry { action: SendAction::Message, ..entry(1) },
        OutboxEntry { action: SendAction::Edit(Target::Id(first)), ..entry(2) },
        OutboxEntry { action: SendAction::Message, ..entry(3) },
        OutboxEntry { action: SendAction::Recall(Target::Number(12)), ..entry(4) },
        // Of one that nobody knows.
        OutboxEntry { action: SendAction::Recall(Target::Id(ClientMsgId([77; 16]))), ..entry(5) },
    ];
    for entry in &entries {
        commit(&mut *store, &[ClientTxn::Enqueue(entry.clone())]);
    }
    drop(store);
    let mut store = disk();
    assert_eq!(store.outbox(), Ok(entries.to_vec()));
    let all = (1..=5).map(|order| settled(order, stored(order + 9))).collect();
    commit(&mut *store, &[ClientTxn::Apply(Apply { settled: all, ..Apply::default() })]);
    drop(store);
    let edited = (10, entry(2).body, Some(11), None);
    assert_eq!(shown(&mut *disk(), to), [(12, Bytes::new(), None, Some(13)), edited]);
}

fn read_marks_are_owed_until_they_are_told(disk: &mut Disk<'_>) {
    let mut store = enrolled(disk);
    let talk = conversation(OTHER.0);
    let messages = vec![inbound(1, talk, 7, OTHER)];
    let batch = [
        ClientTxn::Read(vec![(talk, 5)]),
        ClientTxn::Apply(Apply { messages, ..Apply::default() }),
        ClientTxn::Read(vec![(talk, 3)]),
    ];
    commit(&mut *store, &batch);
    drop(store);
    let mut store = disk();
    let owed = |delivered, read| Ok(BTreeMap::from([(talk, Owed { delivered, read })]));
    assert_eq!(store.load().map(|s| s.owed), owed(7, 5));
    let mine = Mark { member: ME, delivered_seq: 5, read_seq: 5 };
    assert_eq!(store.marks(talk), Ok(vec![mine]), "known here before the server is told");
    commit(&mut *store, &[ClientTxn::ReceiptsSent(vec![(talk, Owed { delivered: 7, read: 4 })])]);
    drop(store);
    let mut store = disk();
    assert_eq!(store.load().map(|s| s.owed), owed(0, 5));
    commit(&mut *store, &[ClientTxn::ReceiptsSent(vec![(talk, Owed { delivered: 0, read: 5 })])]);
    drop(store);
    assert_eq!(disk().load().map(|s| s.owed), Ok(BTreeMap::new()));
}

fn people_are_kept_as_they_are_now(disk: &mut Disk<'_>) {
    let mut store = enrolled(disk);
    let friend =
        |uin, version| v2::Friend { uin, version, remark: format!("{version}"), ..Default::default() };
    let group = |group, version| {
        let group = v2::Group { group, version, ..Default::default() };
        v2::GroupState { group: Some(group), me: None }
    };
    let user = |uin, version| v2::User { uin, version, extra: format!("{version}"), ..Default::default() };
    let apply = Apply {
        friends: vec![friend(7, 2), friend(3, 1), friend(0, 9)],
        groups: vec![group(5, 4), v2::GroupState::default()],
        profile: Some(Box::new(user(ME.0, 3))),
        ..Apply::default()
    };
    commit(&mut *store, &[ClientTxn::Apply(apply)]);
    // What a request brought may be older than what is known.
    let fetched = Fetched {
        friends: vec![friend(7, 1), friend(3, 2)],
        groups: vec![group(5, 3), group(1, 1)],
        profiles: vec![user(ME.0, 2), user(9, 1)],
        ..Fetched::default()
    };
    assert_eq!(store.keep(&fetched), Ok(()));
    drop(store);
    let mut store = disk();
    assert_eq!(store.friends(), Ok(vec![friend(3, 2), friend(7, 2)]));
    assert_eq!(store.groups(), Ok(vec![group(1, 1), group(5, 4)]));
    assert_eq!(store.group(GroupId(5)), Ok(Some(group(5, 4))));
    assert_eq!(store.group(GroupId(6)), Ok(None));
    assert_eq!(store.profile(ME), Ok(Some(user(ME.0, 3))));
    assert_eq!(store.profile(Uin(9)), Ok(Some(user(9, 1))));
    // The inbox has the last word: a server that was put back may count anew.
    commit(&mut *store, &[ClientTxn::Apply(Apply { friends: vec![friend(7, 1)], ..Apply::default() })]);
    assert_eq!(store.friends(), Ok(vec![friend(3, 2), friend(7, 1)]));
    // After a skip, and with another epoch, only what is told again is still so.
    let skip = Apply { skipped: true, friends: vec![friend(7, 4)], ..Apply::default() };
    commit(&mut *store, &[ClientTxn::Apply(skip)]);
    assert_eq!((store.friends(), store.groups()), (Ok(vec![friend(7, 4)]), Ok(vec![])));
    assert_eq!(store.profile(ME), Ok(Some(user(ME.0, 3))), "who one is stays");
    commit(&mut *store, &[ClientTxn::Apply(Apply { epoch: Some([5; 16]), ..Apply::default() })]);
    assert_eq!(store.friends(), Ok(vec![]));
}

fn gaps_are_closed_by_what_is_fetched(disk: &mut Disk<'_>) {
    let mut store = enrolled(disk);
    let talk = conversation(OTHER.0);
    let conversation = Bytes::copy_from_slice(&talk.0);
    let gap = v2::Gap { conversation, from_seq: 4, to_seq: 20 };
    let broken = v2::Gap { conversation: Bytes::new(), ..gap.clone() };
    let apply = Apply { skipped: true, gaps: vec![gap, broken], ..Apply::default() };
    commit(&mut *store, &[ClientTxn::Apply(apply)]);
    drop(store);
    let mut store = disk();
    assert_eq!(store.load().map(|s| s.owes_snapshot), Ok(true));
    assert_eq!(store.gaps(talk), Ok(vec![Gap { from: 4, to: 20 }]));
    let messages = (10..=20).map(|n| message(talk, n, OTHER)).collect();
    let complete = Some((talk, Gap { from: 10, to: 20 }));
    assert_eq!(store.keep(&Fetched { messages, complete, ..Fetched::default() }), Ok(()));
    commit(&mut *store, &[ClientTxn::Apply(Apply { snapshot: true, ..Apply::default() })]);
    drop(store);
    let mut store = disk();
    assert_eq!(store.gaps(talk), Ok(vec![Gap { from: 4, to: 9 }]));
    assert_eq!(store.history(talk, None, 100).map(|all| all.len()), Ok(11));
    // What was fetched is not told: the application asked for it.
    assert_eq!(store.unconfirmed(Place::START, 100), Ok(vec![]));
    assert_eq!(store.load().map(|s| s.owes_snapshot), Ok(false));
}
