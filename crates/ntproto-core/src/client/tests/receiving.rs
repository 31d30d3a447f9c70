//! Syncing, pushes, gaps and restarts: each message is shown once, in order.

use super::*;

//= proof: messages-16
#[test]
fn messages_are_shown_once_they_are_on_the_disk() {
    let mut w = World::online();
    w.slow_disk = true;
    w.push(1, 0, from_friend(1));
    assert!(w.messages().is_empty());
    w.push(2, 1, from_friend(2));
    w.complete();
    w.run();
    w.complete();
    w.run();
    assert_eq!(w.messages(), [1, 2]);
    w.push(2, 1, from_friend(2));
    assert_eq!(w.messages(), [1, 2], "a push that comes twice is one");
    let told = v2::DeliveredRequest::decode(w.take(PacketId::DELIVERED).1.body).unwrap();
    assert_eq!(told.watermarks[0].delivered_seq, 1);
}

//= proof: messages-9, messages-10
#[test]
fn pushes_before_the_sync_are_held_and_a_gap_is_repaired() {
    let mut w = World::with(Saved::default());
    w.call(Command::Start).unwrap();
    w.push(3, 2, from_friend(3));
    assert!(w.messages().is_empty());
    w.answer_sync(&[(1, from_friend(1))], 1, true);
    assert_eq!(w.asked_sync().unwrap().cursor, 1);
    w.answer_sync(&[(2, from_friend(2))], 2, false);
    assert_eq!(w.messages(), [1, 2, 3]);
    w.push(6, 5, from_friend(6));
    assert_eq!(w.messages(), [1, 2, 3], "something is missing before it");
    assert_eq!(w.asked_sync().unwrap().cursor, 3);
    let rest: Vec<_> = (4..=6).map(|n| (n, from_friend(n))).collect();
    w.answer_sync(&rest, 6, false);
    assert_eq!(w.messages(), [1, 2, 3, 4, 5, 6]);
}

//= proof: messages-15
#[test]
fn another_epoch_is_read_from_its_start_without_repeating() {
    let mut saved =
        Saved { identity: Some((ME, DEVICE)), epoch: Some([1; 16]), cursor: 40, ..Default::default() };
    saved.heads.insert(talk(), 2);
    let mut w = World::with(saved);
    w.call(Command::Start).unwrap();
    let too_long =
        v2::SyncResponse { epoch: Bytes::from_static(&EPOCH), too_long: true, ..Default::default() };
    w.answer(PacketId::SYNC, too_long.encode_to_vec());
    let asked = w.asked_sync().unwrap();
    assert_eq!((asked.cursor, &asked.epoch[..]), (0, &EPOCH[..]));
    let all: Vec<_> = (1..=3).map(|n| (n, from_friend(n))).collect();
    w.answer_sync(&all, 3, false);
    assert_eq!(w.messages(), [3]);
}

#[test]
fn a_restart_tells_what_was_not_confirmed_and_sends_what_was_not_answered() {
    let inbound = Inbound {
        position: 4,
        conversation: talk(),
        message: v2::StoredMessage { conv_seq: 4, ..Default::default() },
    };
    let entry = OutboxEntry {
        trace: None,
        order: 7,
        client_msg_id: ClientMsgId([7; 16]),
        conversation: talk(),
        body: Bytes::from_static(b"old"),
        expires: None,
        action: SendAction::Message,
    };
    let mut w = World::with(Saved {
        identity: Some((ME, DEVICE)),
        outbox: Vec::from([entry]),
        last_order: 7,
        unconfirmed: Vec::from([inbound]),
        ..Default::default()
    });
    w.call(Command::Start).unwrap();
    assert_eq!(w.messages(), [4]);
    assert_eq!(&w.asked_send().unwrap().body[..], b"old");
    assert!(w.send(8, None).0 > 7, "numbers never come twice");
}

//= proof: messages-7, messages-8
#[test]
fn a_change_of_an_unknown_type_is_kept_as_it_is_and_passed() {
    let change = v2::SyncPacket { event_type: 999, payload: Bytes::from_static(b"\xff later") };
    let broken = v2::SyncPacket { event_type: 1, payload: Bytes::from_static(b"\xff no message") };
    let mut w = World::online();
    w.written.clear();
    w.push(1, 0, change.clone());
    w.push(2, 1, broken.clone());
    let applied: Vec<_> = w
        .written
        .iter()
        .filter_map(|txn| if let ClientTxn::Apply(apply) = txn { Some(apply) } else { None })
        .collect();
    let kept: Vec<_> = applied.iter().flat_map(|apply| apply.others.clone()).collect();
    assert_eq!(kept, [(1, change.clone()), (2, broken)]);
    assert_eq!(applied.last().unwrap().cursor, Some(2));
    assert!(w.took(|e| matches!(e, ClientEvent::Other(packet) if *packet == change)));
    w.push(3, 2, from_friend(1));
    assert_eq!(w.messages(), [1], "what comes after it comes");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Any pushes in any order with any gaps and cuts: what is shown is 1, 2, 3 … without a hole.
    #[test]
    fn never_a_hole_never_twice(steps in prop::collection::vec((0..4u8, 1..12u64), 1..40)) {
        let mut w = World::with(Saved::default());
        w.call(Command::Start).unwrap();
        let mut head = 0;
        for (step, n) in steps {
            match step {
                0 => { head += n; }
                1 if w.server.is_some() && w.client.machine().is_online() && n <= head => w.push(n, n - 1, from_friend(n)),
                2 => { w.cut(); w.later(120_000); }
                _ => {}
            }
            if let Some(asked) = w.asked_sync() {
                let page: Vec<_> = (asked.cursor + 1..=head).take(5).map(|n| (n, from_friend(n))).collect();
                let next = page.last().map_or(asked.cursor, |(n, _)| *n);
                w.answer_sync(&page, next, next < head);
            }
            w.asked.retain(|(_, p)| p.id != PacketId::DELIVERED);
        }
        let shown = w.messages();
        let whole: Vec<_> = (1..=shown.len() as u64).collect();
        prop_assert_eq!(shown, whole);
    }
}
