//! Messages and requests of the application: order, retries, deadlines, refusals.

use super::*;

#[test]
fn a_message_is_stored_sent_and_settled() {
    let mut w = World::online();
    w.slow_disk = true;
    let request = w.send(1, None);
    assert!(w.asked_send().is_none(), "nothing leaves before it is on the disk");
    w.complete();
    w.run();
    let sent = w.asked_send().unwrap();
    assert_eq!((&sent.body[..], sent.resolve_only), (&b"hi"[..], false));
    w.answer_send(1, 1, 0, false);
    assert!(!w.took(|e| matches!(e, ClientEvent::Sent { .. })), "told only when the outbox is settled");
    w.complete();
    w.run();
    assert!(w.took(|e| matches!(e, ClientEvent::Sent { request: r, conv_seq: 1, .. } if *r == request)));
    assert_eq!(w.client.machine().outbox_len(), 0);
    let moved = w
        .written
        .iter()
        .any(|t| matches!(t, ClientTxn::Apply(a) if a.cursor == Some(1) && a.settled.len() == 1));
    assert!(moved, "cursor and outbox move together");
}

//= proof: messages-5
#[test]
fn what_was_in_flight_goes_out_again_in_order_with_the_same_ids() {
    let mut w = World::online();
    for n in 1..=3 {
        w.send(n, None);
    }
    w.answer_send(1, 1, 0, false);
    w.cut();
    w.later(1_000);
    let again: Vec<_> = w
        .asked
        .iter()
        .filter(|(_, p)| p.id == PacketId::SEND)
        .map(|(_, p)| v2::SendRequest::decode(p.body.clone()).unwrap().client_msg_id[0])
        .collect();
    assert_eq!(again, [2, 3]);
    // The answer of 2 was lost, not the message: the inbox tells.
    w.answer_sync(&[(2, stored(2, ME, DEVICE.0, [2; 16]))], 2, false);
    assert!(w.took(
        |e| matches!(e, ClientEvent::Sent { client_msg_id, conv_seq: 2, .. } if client_msg_id.0 == [2; 16])
    ));
    w.answer_send(2, 2, 1, true);
    w.answer_send(3, 3, 2, false);
    let sent = w.events.iter().filter(|e| matches!(e, ClientEvent::Sent { .. })).count();
    assert_eq!((sent, w.client.machine().outbox_len(), w.messages()), (3, 0, Vec::new()));
}

#[test]
fn a_deadline_before_sending_fails_at_once() {
    let mut w = World::online();
    w.cut();
    w.send(1, Some(Duration::from_millis(500)));
    w.later(500);
    assert!(w.took(|e| matches!(e, ClientEvent::SendFailed { why: Failure::DeadlineExceeded, .. })));
    assert_eq!(w.client.machine().outbox_len(), 0);
    w.later(1_000);
    assert!(w.asked_send().is_none());
}

//= proof: packets-5
#[test]
fn a_deadline_in_flight_is_found_out() {
    for stored in [false, true] {
        let mut w = World::online();
        w.send(1, Some(Duration::from_millis(500)));
        assert_eq!(w.asked.back().unwrap().1.deadline_ms, Some(500));
        w.later(500);
        assert!(w.took(|e| matches!(e, ClientEvent::SendExpired { .. })));
        w.cut();
        w.later(1_000);
        let asked = w.asked_send().unwrap();
        assert!(asked.resolve_only && asked.body.is_empty());
        if stored {
            w.answer_send(1, 1, 0, true);
            assert!(w.took(|e| matches!(e, ClientEvent::Sent { .. })));
        } else {
            w.refuse(PacketId::SEND, ErrorCode::Cancelled, 0);
            assert!(w.took(|e| matches!(e, ClientEvent::SendFailed { why: Failure::DeadlineExceeded, .. })));
        }
        assert_eq!(w.client.machine().outbox_len(), 0);
    }
}

#[test]
fn retry_after_is_honoured_and_final_refusals_are_final() {
    let mut w = World::online();
    w.send(1, None);
    w.refuse(PacketId::SEND, ErrorCode::RetryAfter, 5_000);
    w.later(4_999);
    assert!(w.asked_send().is_none());
    w.later(1);
    assert!(w.asked_send().is_some());
    w.refuse(PacketId::SEND, ErrorCode::Forbidden, 0);
    assert!(w.took(|e| matches!(
        e,
        ClientEvent::SendFailed { why: Failure::Refused(Some(ErrorCode::Forbidden), _), .. }
    )));
}

//= proof: messages-13
#[test]
fn what_is_to_be_repeated_goes_first_and_in_order() {
    let mut w = World::online();
    w.send(1, None);
    w.send(2, None);
    w.refuse(PacketId::SEND, ErrorCode::RetryAfter, 1_000);
    w.refuse(PacketId::SEND, ErrorCode::RetryAfter, 1_000);
    w.send(3, None);
    assert!(w.asked_send().is_none(), "nothing newer overtakes");
    w.later(1_000);
    let order: Vec<_> = w
        .asked
        .iter()
        .filter(|(_, p)| p.id == PacketId::SEND)
        .map(|(_, p)| v2::SendRequest::decode(p.body.clone()).unwrap().client_msg_id[0])
        .collect();
    assert_eq!(order, [1, 2, 3]);
}

//= proof: errors-1
#[test]
fn an_unknown_code_fails_what_it_answers_and_nothing_else() {
    let mut w = World::online();
    w.send(1, None);
    let (channel, packet) = w.take(PacketId::SEND);
    let Kind::Request(n) = packet.kind else { panic!() };
    let body = v2::Error { code: 9_999, ..Default::default() }.encode_to_vec();
    w.tell(channel, PacketId::SEND, Kind::Error(n), body);
    assert!(w.took(|e| matches!(e, ClientEvent::SendFailed { why: Failure::Refused(None, _), .. })));
    assert!(w.client.machine().is_online());
}

#[test]
fn requests_are_answered_expire_or_end_with_the_connection() {
    let mut w = World::online();
    let ask = || Command::Request { packet: PacketId::DEVICES, body: Bytes::new(), deadline: None };
    let a = w.call(ask()).unwrap();
    w.answer(PacketId::DEVICES, b"list".to_vec());
    assert!(w.took(|e| matches!(e, ClientEvent::Response { request, result: Ok(b) } if *request == a && &b[..] == b"list")));
    let b = w.call(ask()).unwrap();
    w.later(DEFAULT_DEADLINE.as_millis() as u64);
    assert!(w.took(|e| matches!(e, ClientEvent::Response { request, result: Err(Failure::DeadlineExceeded) } if *request == b)));
    w.answer(PacketId::DEVICES, b"late".to_vec());
    let c = w.call(ask()).unwrap();
    w.cut();
    assert!(w.took(|e| matches!(e, ClientEvent::Response { request, result: Err(Failure::Disconnected) } if *request == c)));
    assert_eq!(w.call(ask()), Err(Misuse::State));
}

#[test]
fn misuse_changes_nothing() {
    let mut w = World::online();
    let send = |id: u8, size: usize, conversation| Command::Send {
        conversation,
        client_msg_id: Some(ClientMsgId([id; 16])),
        body: Bytes::from(alloc::vec![0; size]),
        deadline: None,
    };
    assert_eq!(w.call(send(1, MAX_BODY + 1, talk())), Err(Misuse::TooLarge));
    assert_eq!(w.call(send(1, 1, ConversationId::direct(FRIEND, Uin(3)))), Err(Misuse::NotMember));
    assert!(w.call(send(1, 1, talk())).is_ok());
    assert_eq!(w.call(send(1, 1, talk())), Err(Misuse::DuplicateId));
    assert_eq!(w.call(Command::Start), Err(Misuse::State));
    w.cut();
    let mut n: u32 = 0;
    let full = loop {
        n += 1;
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        let command = Command::Send {
            conversation: talk(),
            client_msg_id: Some(ClientMsgId(id)),
            body: Bytes::from(alloc::vec![0; MAX_BODY]),
            deadline: None,
        };
        if let Err(e) = w.call(command) {
            break e;
        }
    };
    assert_eq!((full, n as usize), (Misuse::OutboxFull, MAX_OUTBOX_BYTES / MAX_BODY));
}
