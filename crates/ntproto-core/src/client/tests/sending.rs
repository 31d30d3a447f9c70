//! Messages and requests of the application: order, retries, deadlines, refusals.

use super::*;
use crate::trace::TraceContext;

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
    let ask =
        || Command::Request { trace: None, packet: PacketId::DEVICES, body: Bytes::new(), deadline: None };
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
        trace: None,
        conversation,
        client_msg_id: Some(ClientMsgId([id; 16])),
        body: Bytes::from(alloc::vec![0; size]),
        deadline: None,
        action: SendAction::Message,
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
            trace: None,
            conversation: talk(),
            client_msg_id: Some(ClientMsgId(id)),
            body: Bytes::from(alloc::vec![0; MAX_BODY]),
            deadline: None,
            action: SendAction::Message,
        };
        if let Err(e) = w.call(command) {
            break e;
        }
    };
    assert_eq!((full, n as usize), (Misuse::OutboxFull, MAX_OUTBOX_BYTES / MAX_BODY));
}

fn send_to(w: &mut World, n: u8, to: ConversationId) {
    let client_msg_id = Some(ClientMsgId([n; 16]));
    let body = Bytes::from_static(b"hi");
    w.call(Command::Send {
        trace: None,
        conversation: to,
        client_msg_id,
        body,
        deadline: None,
        action: SendAction::Message,
    })
    .unwrap();
}

fn sent_ids(w: &World) -> Vec<u8> {
    w.asked
        .iter()
        .filter(|(_, p)| p.id == PacketId::SEND)
        .map(|(_, p)| v2::SendRequest::decode(p.body.clone()).unwrap().client_msg_id[0])
        .collect()
}

//= proof: messages-13
#[test]
fn a_conversation_told_to_wait_holds_back_only_itself() {
    let mut w = World::online();
    let other = ConversationId::direct(ME, Uin(10_003));
    w.send(1, None);
    w.send(2, None);
    w.refuse(PacketId::SEND, ErrorCode::RetryAfter, 3_000);
    // The second is told less, and waits as long as the first.
    w.refuse(PacketId::SEND, ErrorCode::RetryAfter, 200);
    w.send(3, None);
    send_to(&mut w, 4, other);
    assert_eq!(sent_ids(&w), [4]);
    w.later(2_999);
    assert_eq!(sent_ids(&w), [4]);
    w.later(1);
    assert_eq!(sent_ids(&w), [4, 1, 2, 3]);
    // A server that can't store anything is asked nothing.
    w.refuse(PacketId::SEND, ErrorCode::Unavailable, 1_000);
    send_to(&mut w, 5, other);
    assert_eq!(sent_ids(&w), [1, 2, 3]);
    w.later(1_000);
    assert_eq!(sent_ids(&w), [1, 2, 3, 4, 5]);
}

/// What waits for the server's sake keeps its time, and nothing else waits with it.
#[test]
fn a_page_and_receipts_are_asked_for_again_when_the_server_said() {
    let mut w = World::online();
    w.push(1, 0, from_friend(1));
    w.refuse(PacketId::DELIVERED, ErrorCode::RetryAfter, 2_000);
    // A gap asks for a page.
    w.push(5, 4, from_friend(2));
    w.refuse(PacketId::SYNC, ErrorCode::RetryAfter, 1_000);
    w.send(1, None);
    assert_eq!(sent_ids(&w), [1]);
    let asked = |w: &World, id| w.asked.iter().filter(|(_, p)| p.id == id).count();
    w.later(999);
    assert_eq!(asked(&w, PacketId::SYNC), 0);
    w.later(1);
    assert_eq!((asked(&w, PacketId::SYNC), asked(&w, PacketId::DELIVERED)), (1, 0));
    w.later(1_000);
    assert_eq!((asked(&w, PacketId::SYNC), asked(&w, PacketId::DELIVERED)), (1, 1));
}

//= proof: packets-10
#[test]
fn a_request_is_asked_again_while_its_deadline_allows() {
    let mut w = World::online();
    let deadline = Some(Duration::from_secs(3));
    let ask = || Command::Request {
        trace: None,
        packet: PacketId::DEVICES,
        body: Bytes::from_static(b"which"),
        deadline,
    };
    let again = |w: &World| w.asked.iter().find(|(_, p)| p.id == PacketId::DEVICES).map(|(_, p)| p.clone());
    let request = w.call(ask()).unwrap();
    w.refuse(PacketId::DEVICES, ErrorCode::RetryAfter, 1_000);
    w.later(999);
    assert!(again(&w).is_none() && !w.took(|e| matches!(e, ClientEvent::Response { .. })));
    assert!(w.took(|e| matches!(e, ClientEvent::Deferred { request: r } if *r == request)));
    w.later(1);
    let packet = again(&w).unwrap();
    assert_eq!((&packet.body[..], packet.deadline_ms), (&b"which"[..], Some(2_000)), "with what is left");
    w.refuse(PacketId::DEVICES, ErrorCode::RetryAfter, 1_999);
    w.later(1_999);
    // Too late for another: the refusal is the outcome, at once.
    w.refuse(PacketId::DEVICES, ErrorCode::RetryAfter, 1);
    let refused = Some(ErrorCode::RetryAfter);
    assert!(w.took(|e| matches!(e, ClientEvent::Response { request: r, result: Err(Failure::Refused(code, _)) } if *r == request && *code == refused)));
    // One that waits ends with its connection, and an answer in time is an answer.
    w.events.clear();
    let lost = w.call(ask()).unwrap();
    w.refuse(PacketId::DEVICES, ErrorCode::RetryAfter, 1_000);
    w.cut();
    assert!(w.took(|e| matches!(e, ClientEvent::Response { request: r, result: Err(Failure::Disconnected) } if *r == lost)));
    w.later(1_000);
    w.answer_sync(&[], 0, false);
    assert!(again(&w).is_none());
    let request = w.call(ask()).unwrap();
    w.refuse(PacketId::DEVICES, ErrorCode::RetryAfter, 10);
    w.later(10);
    w.answer(PacketId::DEVICES, b"list".to_vec());
    assert!(w.took(|e| matches!(e, ClientEvent::Response { request: r, result: Ok(b) } if *r == request && &b[..] == b"list")));
}

#[test]
fn the_bytes_of_requests_are_bounded() {
    let mut w = World::online();
    w.full = true;
    let body = Bytes::from(alloc::vec![0; MAX_BODY]);
    let mut asked = 0;
    let refused = loop {
        let ask =
            Command::Request { trace: None, packet: PacketId(0x8001), body: body.clone(), deadline: None };
        match w.call(ask) {
            Ok(_) => asked += 1,
            Err(why) => break why,
        }
        // The server has taken it and does not answer.
        w.full = false;
        w.run();
        w.full = true;
    };
    assert_eq!((refused, asked), (Misuse::TooManyRequests, MAX_REQUEST_BYTES / MAX_BODY));
}

#[test]
fn a_trace_waits_in_the_outbox_and_goes_out_again_with_its_message() {
    let mut w = World::online();
    let context = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let trace = |w: &World| {
        let (_, packet) = w.asked.iter().find(|(_, p)| p.id == PacketId::SEND).unwrap();
        packet.trace.and_then(|bytes| TraceContext::from_bytes(&bytes))
    };
    w.call(Command::Send {
        conversation: talk(),
        client_msg_id: None,
        body: Bytes::from_static(b"hi"),
        deadline: None,
        action: SendAction::Message,
        trace: context,
    })
    .unwrap();
    assert!(w.written.iter().any(|t| matches!(t, ClientTxn::Enqueue(e) if e.trace == context)));
    assert_eq!(trace(&w), context);
    w.cut();
    w.later(1_000);
    assert_eq!(trace(&w), context);
    let ask =
        Command::Request { packet: PacketId::DEVICES, body: Bytes::new(), deadline: None, trace: context };
    w.call(ask).unwrap();
    let (_, asked) = w.asked.iter().find(|(_, p)| p.id == PacketId::DEVICES).unwrap();
    assert_eq!(asked.trace, context.map(TraceContext::to_bytes));
}
