//! Friends, groups, edits, gaps, what was skipped, read marks: what comes besides messages, and what is told of it.

use super::*;

fn change(event_type: EventType, payload: &impl prost::Message) -> v2::SyncPacket {
    v2::SyncPacket { event_type: event_type as u32, payload: payload.encode_to_vec().into() }
}

fn group(version: u64) -> v2::GroupState {
    v2::GroupState { group: Some(v2::Group { group: 7, version, ..Default::default() }), me: None }
}

fn applied(w: &World) -> Vec<&Apply> {
    w.written
        .iter()
        .filter_map(|txn| if let ClientTxn::Apply(apply) = txn { Some(apply) } else { None })
        .collect()
}

#[test]
fn each_change_is_stored_and_then_told() {
    let friend = v2::Friend { uin: FRIEND.0, remark: "the tall one".into(), ..Default::default() };
    let profile = v2::User { uin: ME.0, nick: "me".into(), ..Default::default() };
    let gap = v2::Gap { conversation: Bytes::copy_from_slice(&talk().0), from_seq: 3, to_seq: 5 };
    let mut w = World::online();
    w.slow_disk = true;
    w.push(1, 0, change(EventType::Friend, &friend));
    w.push(2, 1, change(EventType::Group, &group(4)));
    w.push(3, 2, change(EventType::Profile, &profile));
    w.push(4, 3, change(EventType::Gap, &gap));
    assert!(w.events.is_empty());
    for _ in 0..3 {
        w.complete();
        w.run();
    }
    assert!(w.took(|e| matches!(e, ClientEvent::Friend(f) if *f == friend)));
    assert!(w.took(|e| matches!(e, ClientEvent::Group(g) if *g == group(4))));
    assert!(w.took(|e| matches!(e, ClientEvent::Profile(p) if *p == profile)));
    assert!(w.took(|e| matches!(e, ClientEvent::Gap(g) if *g == gap)));
    assert_eq!(applied(&w).last().unwrap().cursor, Some(4));
    let kept: Vec<_> = applied(&w).iter().flat_map(|a| a.friends.clone()).collect();
    assert_eq!(kept, [friend]);
}

#[test]
fn edits_and_recalls_come_exactly_once_like_messages() {
    let edit = |seq: u64, kind: EventType| {
        let mut packet = from_friend(seq);
        packet.event_type = kind as u32;
        packet
    };
    let mut w = World::online();
    w.push(1, 0, from_friend(1));
    w.push(2, 1, edit(2, EventType::Edit));
    w.push(2, 1, edit(2, EventType::Edit));
    w.push(3, 2, edit(3, EventType::Recall));
    assert_eq!(w.messages(), [1, 2, 3]);
    let actions: Vec<_> = w
        .events
        .iter()
        .filter_map(|e| if let ClientEvent::Message(m) = e { Some(m.message.action()) } else { None })
        .collect();
    assert_eq!(actions, [v2::Action::Message, v2::Action::Edit, v2::Action::Recall]);
}

#[test]
fn a_dirty_mark_makes_it_read_on() {
    let mut w = World::online();
    w.tell(Channel::Message, PacketId::DIRTY, Kind::Push, Vec::new());
    assert_eq!(w.asked_sync().unwrap().cursor, 0);
    // One that comes while it reads means one more page.
    w.tell(Channel::Message, PacketId::DIRTY, Kind::Push, Vec::new());
    w.answer_sync(&[(1, from_friend(1))], 1, false);
    assert_eq!(w.asked_sync().unwrap().cursor, 1);
    w.answer_sync(&[], 1, false);
    assert!(w.asked_sync().is_none());
    assert_eq!(w.messages(), [1]);
}

fn too_long(w: &mut World, next: u64) {
    let epoch = Bytes::copy_from_slice(&EPOCH);
    let page = v2::SyncResponse { epoch, next, too_long: true, ..Default::default() };
    w.answer(PacketId::SYNC, page.encode_to_vec());
}

fn state(conversation: ConversationId, head_seq: u64, read_seq: u64) -> v2::ConversationState {
    let conversation = Bytes::copy_from_slice(&conversation.0);
    v2::ConversationState { conversation, head_seq, delivered_seq: read_seq, read_seq }
}

fn answer_snapshot(w: &mut World, conversations: Vec<v2::ConversationState>, has_more: bool) {
    let page = v2::SnapshotResponse { conversations, has_more };
    w.answer(PacketId::SNAPSHOT, page.encode_to_vec());
}

/// Out of the last request for a snapshot's page.
fn asked_after(w: &World) -> Bytes {
    let (_, packet) = w.asked.iter().find(|(_, p)| p.id == PacketId::SNAPSHOT).unwrap();
    v2::SnapshotRequest::decode(packet.body.clone()).unwrap().after
}

//= proof: messages-22
#[test]
fn what_is_too_far_behind_is_skipped_and_made_up_for() {
    let mut saved =
        Saved { identity: Some((ME, DEVICE)), epoch: Some(EPOCH), cursor: 40, ..Default::default() };
    saved.heads.insert(talk(), 2);
    let mut w = World::with(saved);
    w.call(Command::Start).unwrap();
    too_long(&mut w, 20_000);
    assert!(w.took(|e| matches!(e, ClientEvent::Skipped)));
    assert!(w.asked_sync().is_none(), "what was missed is known before anything new comes");
    let skipped = applied(&w).into_iter().find(|apply| apply.skipped).unwrap();
    assert_eq!(skipped.cursor, Some(20_000));
    // A cut in between begins the snapshot anew.
    let other = ConversationId::direct(ME, Uin(10005));
    answer_snapshot(&mut w, Vec::from([state(talk(), 900, 1)]), true);
    assert_eq!(asked_after(&w), &talk().0[..]);
    w.cut();
    w.later(1_000);
    w.events.clear();
    answer_snapshot(&mut w, Vec::from([state(other, 3, 0)]), false);
    let gaps: Vec<_> = w
        .events
        .iter()
        .filter_map(|e| if let ClientEvent::Gap(g) = e { Some((g.from_seq, g.to_seq)) } else { None })
        .collect();
    assert_eq!(gaps, [(1, 3)]);
    // Friends and groups, too, in pages.
    let friend = |uin| v2::Friend { uin, ..Default::default() };
    let page = |uin, has_more| v2::FriendsResponse { friends: Vec::from([friend(uin)]), has_more };
    let (channel, _) = w.asked.iter().find(|(_, p)| p.id == PacketId::FRIENDS).unwrap();
    assert_eq!(*channel, Channel::Message, "on the channel of the packet, or it is refused for ever");
    w.answer(PacketId::FRIENDS, page(4, true).encode_to_vec());
    w.answer(PacketId::FRIENDS, page(9, false).encode_to_vec());
    assert!(!applied(&w).iter().any(|apply| apply.snapshot));
    let groups = v2::GroupsResponse { groups: Vec::from([group(3)]), has_more: false };
    w.answer(PacketId::GROUPS, groups.encode_to_vec());
    assert!(w.took(|e| matches!(e, ClientEvent::Friend(f) if f.uin == 9)));
    assert!(w.took(|e| matches!(e, ClientEvent::Group(g) if *g == group(3))));
    assert!(applied(&w).iter().any(|apply| apply.snapshot));
    let all: Vec<_> = applied(&w).iter().flat_map(|apply| apply.gaps.clone()).collect();
    assert!(all.iter().any(|gap| (gap.from_seq, gap.to_seq) == (3, 900)), "from what was known");
    // And on from there.
    assert_eq!(w.asked_sync().unwrap().cursor, 20_000);
    w.answer_sync(&[(20_001, from_friend(901))], 20_001, false);
    assert_eq!(w.messages(), [901]);
}

#[test]
fn a_snapshot_that_is_owed_is_fetched_after_a_restart() {
    let saved = Saved {
        identity: Some((ME, DEVICE)),
        epoch: Some(EPOCH),
        cursor: 40,
        owes_snapshot: true,
        ..Default::default()
    };
    let mut w = World::with(saved);
    w.call(Command::Start).unwrap();
    assert!(w.asked_sync().is_none());
    answer_snapshot(&mut w, Vec::new(), false);
    w.answer(PacketId::FRIENDS, Vec::new());
    w.answer(PacketId::GROUPS, Vec::new());
    assert_eq!(w.asked_sync().unwrap().cursor, 40);
}

#[test]
fn a_snapshot_that_is_refused_is_left_out_and_one_that_is_told_to_wait_comes_later() {
    let mut w = World::with(Saved { owes_snapshot: true, ..Default::default() });
    w.call(Command::Start).unwrap();
    w.refuse(PacketId::SNAPSHOT, ErrorCode::RetryAfter, 2_000);
    w.later(1_999);
    assert!(w.asked.is_empty());
    w.later(1);
    w.refuse(PacketId::SNAPSHOT, ErrorCode::Unavailable, 2_000);
    w.later(2_000);
    w.refuse(PacketId::SNAPSHOT, ErrorCode::UnknownPacket, 0);
    w.refuse(PacketId::FRIENDS, ErrorCode::UnknownPacket, 0);
    w.refuse(PacketId::GROUPS, ErrorCode::UnknownPacket, 0);
    assert!(applied(&w).iter().any(|apply| apply.snapshot));
    assert!(w.asked_sync().is_some());
}

#[test]
fn pages_that_make_no_sense_end_the_connection() {
    let wrong: [fn(&mut World); 5] = [
        |w| too_long(w, 40),
        |w| {
            too_long(w, 50);
            answer_snapshot(w, Vec::new(), true);
        },
        |w| {
            too_long(w, 50);
            let twice = Vec::from([state(talk(), 1, 1), state(talk(), 2, 1)]);
            answer_snapshot(w, twice, false);
        },
        |w| {
            too_long(w, 50);
            answer_snapshot(w, Vec::new(), false);
            let friends = Vec::from([v2::Friend::default()]);
            w.answer(PacketId::FRIENDS, v2::FriendsResponse { friends, has_more: false }.encode_to_vec());
        },
        |w| {
            too_long(w, 50);
            answer_snapshot(w, Vec::new(), false);
            w.answer(PacketId::FRIENDS, Vec::new());
            w.answer(
                PacketId::GROUPS,
                v2::GroupsResponse { has_more: true, ..Default::default() }.encode_to_vec(),
            );
        },
    ];
    for wrong in wrong {
        let saved =
            Saved { identity: Some((ME, DEVICE)), epoch: Some(EPOCH), cursor: 40, ..Default::default() };
        let mut w = World::with(saved);
        w.call(Command::Start).unwrap();
        wrong(&mut w);
        assert!(!w.client.machine().is_online());
    }
}

#[test]
fn what_is_told_once_and_never_stored_has_its_own_events() {
    let conversation = Bytes::copy_from_slice(&talk().0);
    let typing = v2::TypingPush { conversation, uin: FRIEND.0, active: true };
    let presence = v2::Presence { uin: FRIEND.0, status: 1, version: 3 };
    let delta = v2::GroupDelta { group: 7, from_version: 1, version: 2, changes: Vec::new() };
    let mut w = World::online();
    let mut push = |id, body| w.tell(Channel::Message, id, Kind::Push, body);
    push(PacketId::TYPING, typing.encode_to_vec());
    push(PacketId::PRESENCE, v2::PresencePush { states: Vec::from([presence]) }.encode_to_vec());
    push(PacketId::GROUP_DELTA, delta.encode_to_vec());
    push(PacketId::GROUP_DELTA, b"\xff".to_vec());
    assert!(w.took(|e| matches!(e, ClientEvent::Typing(t) if *t == typing)));
    assert!(w.took(|e| matches!(e, ClientEvent::Presence(p) if *p == [presence])));
    assert!(w.took(|e| matches!(e, ClientEvent::GroupDelta(d) if *d == delta)));
    assert!(w.took(|e| matches!(e, ClientEvent::Push(p) if p.id == PacketId::GROUP_DELTA)));
    assert!(applied(&w).iter().all(|apply| apply.others.is_empty()));
}

fn read(w: &mut World, seq: u64) {
    w.call(Command::Read { conversation: talk(), seq }).unwrap();
}

fn told(w: &mut World) -> Vec<(u64, u64)> {
    let request = v2::DeliveredRequest::decode(w.take(PacketId::DELIVERED).1.body).unwrap();
    request.watermarks.iter().map(|mark| (mark.delivered_seq, mark.read_seq)).collect()
}

#[test]
fn read_marks_are_durable_then_told_and_several_are_one() {
    let mut w = World::online();
    w.slow_disk = true;
    read(&mut w, 1);
    read(&mut w, 3);
    read(&mut w, 2);
    assert!(w.asked.is_empty(), "not before it is on the disk");
    for _ in 0..3 {
        w.complete();
        w.run();
    }
    let reads: Vec<_> = w.written.iter().filter(|txn| matches!(txn, ClientTxn::Read(_))).collect();
    assert_eq!(reads.len(), 2, "the second waits for the first, and both that follow are one");
    assert_eq!(told(&mut w), [(0, 1)]);
    w.slow_disk = false;
    w.cut();
    w.later(1_000);
    assert_eq!(told(&mut w), [(0, 3)], "what was not answered is told again, as it stands now");
    let other = ConversationId::direct(FRIEND, Uin(10009));
    assert_eq!(w.call(Command::Read { conversation: other, seq: 1 }), Err(Misuse::NotMember));
}

#[test]
fn what_another_device_has_read_is_not_told_again() {
    let conversation = Bytes::copy_from_slice(&talk().0);
    let receipt = v2::Receipt { conversation, member: ME.0, delivered_seq: 5, read_seq: 5 };
    let mut w = World::online();
    w.push(1, 0, change(EventType::Receipt, &receipt));
    read(&mut w, 5);
    assert!(!w.written.iter().any(|txn| matches!(txn, ClientTxn::Read(_))));
    read(&mut w, 6);
    assert_eq!(told(&mut w), [(0, 6)]);
}

#[test]
fn owed_read_marks_survive_a_restart() {
    let mut saved = Saved { identity: Some((ME, DEVICE)), ..Default::default() };
    saved.owed.insert(talk(), Owed { delivered: 4, read: 2 });
    let mut w = World::with(saved);
    w.call(Command::Start).unwrap();
    assert_eq!(told(&mut w), [(4, 2)]);
}

#[test]
fn one_refused_receipt_does_not_take_others_with_it() {
    let mut saved = Saved { identity: Some((ME, DEVICE)), ..Default::default() };
    let left = ConversationId::of_group(crate::ids::GroupId(9));
    saved.owed.insert(talk(), Owed { delivered: 4, read: 0 });
    saved.owed.insert(left, Owed { delivered: 7, read: 0 });
    let mut w = World::with(saved);
    w.call(Command::Start).unwrap();
    w.refuse(PacketId::DELIVERED, ErrorCode::Forbidden, 0);
    // A group's id comes first.
    w.refuse(PacketId::DELIVERED, ErrorCode::Forbidden, 0);
    assert_eq!(told(&mut w), [(4, 0)]);
    let sent: Vec<_> = w
        .written
        .iter()
        .filter_map(|txn| if let ClientTxn::ReceiptsSent(s) = txn { Some(s) } else { None })
        .collect();
    assert_eq!(sent, [&[(left, Owed { delivered: 7, read: 0 })]]);
}

fn act(w: &mut World, n: u8, action: SendAction) -> RequestId {
    w.call(Command::Send {
        trace: None,
        conversation: talk(),
        client_msg_id: Some(ClientMsgId([n; 16])),
        body: Bytes::from_static(b"better"),
        deadline: None,
        action,
    })
    .unwrap()
}

#[test]
fn an_edit_waits_for_its_message_and_what_follows_waits_for_it() {
    let mut w = World::online();
    w.send(1, None);
    let target = Target::Id(ClientMsgId([1; 16]));
    act(&mut w, 2, SendAction::Edit(target));
    w.send(3, None);
    assert_eq!(w.asked.len(), 1, "whether there is anything to edit is not known yet");
    // Told to come again, nothing changes.
    w.refuse(PacketId::SEND, ErrorCode::RetryAfter, 100);
    w.later(100);
    assert_eq!(w.asked.len(), 1);
    w.answer_send(1, 1, 0, false);
    let asked = w.asked_send().unwrap();
    assert_eq!((asked.action(), asked.target_seq, &asked.target_id[..]), (v2::Action::Edit, 0, &[1; 16][..]));
    assert_eq!(w.asked.len(), 2);
    act(&mut w, 4, SendAction::Recall(Target::Number(1)));
    let last = w.asked.back().unwrap().1.body.clone();
    let last = v2::SendRequest::decode(last).unwrap();
    assert_eq!((last.action(), last.target_seq, last.body.len()), (v2::Action::Recall, 1, 0));
}

#[test]
fn what_is_about_a_message_fails_with_it() {
    let mut w = World::online();
    w.send(1, None);
    // A long chain of edits of edits: none of it is left, and the stack is not asked for it.
    let first = act(&mut w, 2, SendAction::Edit(Target::Id(ClientMsgId([1; 16]))));
    for n in 3..200 {
        act(&mut w, n, SendAction::Edit(Target::Id(ClientMsgId([n - 1; 16]))));
    }
    w.refuse(PacketId::SEND, ErrorCode::Forbidden, 0);
    assert!(w.took(|e| matches!(e, ClientEvent::SendFailed { request, .. } if *request == first)));
    let failed = w.events.iter().filter(|e| matches!(e, ClientEvent::SendFailed { .. })).count();
    assert_eq!((failed, w.client.machine().outbox_len(), w.asked.len()), (199, 0, 0));
}

#[test]
fn an_edit_of_a_message_that_is_stored_goes_out_after_a_restart() {
    let entry = |order, action| OutboxEntry {
        trace: None,
        order,
        client_msg_id: ClientMsgId([order as u8; 16]),
        conversation: talk(),
        body: Bytes::from_static(b"text"),
        expires: None,
        action,
    };
    let edit = SendAction::Edit(Target::Id(ClientMsgId([1; 16])));
    for outbox in [Vec::from([entry(2, edit)]), Vec::from([entry(1, SendAction::Message), entry(2, edit)])] {
        let waits = outbox.len() == 2;
        let mut w =
            World::with(Saved { identity: Some((ME, DEVICE)), outbox, last_order: 2, ..Default::default() });
        w.call(Command::Start).unwrap();
        if waits {
            assert_eq!(w.asked_send().unwrap().action(), v2::Action::Message);
            w.answer_send(1, 1, 0, true);
        }
        assert_eq!(w.asked_send().unwrap().action(), v2::Action::Edit);
        w.answer_send(2, 2, 0, true);
        assert_eq!(w.client.machine().outbox_len(), 0);
    }
}

#[test]
fn what_an_application_asks_travels_on_the_channel_of_its_packet() {
    let mut w = World::with(Saved { identity: Some((ME, DEVICE)), ..Default::default() });
    w.call(Command::Start).unwrap();
    for packet in [PacketId::HISTORY, PacketId::SNAPSHOT, PacketId::FRIENDS, PacketId(0x8001)] {
        w.call(Command::Request { trace: None, packet, body: Bytes::new(), deadline: None }).unwrap();
        let (channel, _) = w.asked.iter().find(|(_, p)| p.id == packet).unwrap();
        assert_eq!(*channel, packet.channel());
    }
}

/// An edit of what this device sent is settled after that: whoever keeps both looks for its number.
#[test]
fn own_messages_met_on_a_page_are_settled_in_their_order() {
    let entry = |order: u64, action| OutboxEntry {
        trace: None,
        order,
        client_msg_id: ClientMsgId([order as u8; 16]),
        conversation: talk(),
        body: Bytes::from_static(b"text"),
        expires: None,
        action,
    };
    let edit = SendAction::Edit(Target::Id(ClientMsgId([1; 16])));
    let outbox = Vec::from([entry(1, SendAction::Message), entry(2, edit)]);
    let mut w =
        World::with(Saved { identity: Some((ME, DEVICE)), outbox, last_order: 2, ..Default::default() });
    w.call(Command::Start).unwrap();
    let own = |seq: u64| (seq, stored(seq, ME, DEVICE.0, [seq as u8; 16]));
    w.answer_sync(&[own(1), own(2)], 2, false);
    let settled: Vec<u64> = applied(&w).iter().flat_map(|apply| &apply.settled).map(|s| s.order).collect();
    assert_eq!(settled, [1, 2]);
}
