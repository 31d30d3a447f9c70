//! Answers and pushes that make no sense, and refusals of what the client asks by itself.

use super::*;

/// Tells the client nonsense; it must end this connection and try again.
fn breaks_off(w: &mut World) {
    assert!(w.took(|e| matches!(e, ClientEvent::Offline { .. })), "{:?}", w.events);
    w.events.clear();
    w.later(60_000);
    assert!(w.client.machine().is_online(), "it comes back");
}

#[test]
fn nonsense_ends_the_connection_and_not_the_client() {
    let mut w = World::online();
    w.tell(Channel::Message, PacketId::NOTIFY, Kind::Push, b"\xff".to_vec());
    breaks_off(&mut w);
    let empty = v2::Notify { position: 1, previous: 0, packet: None }.encode_to_vec();
    w.tell(Channel::Message, PacketId::NOTIFY, Kind::Push, empty);
    breaks_off(&mut w);
    w.send(1, None);
    w.answer(PacketId::SEND, b"\xff".to_vec());
    breaks_off(&mut w);
    assert_eq!(w.client.machine().outbox_len(), 1, "nothing was said about the message");
    for page in [
        b"\xff".to_vec(),
        // No epoch, a place that is passed, a delta without a packet, a next page that never ends.
        v2::SyncResponse::default().encode_to_vec(),
        sync(&[v2::Delta { position: 0, packet: Some(from_friend(1)) }], 0, false),
        sync(&[v2::Delta { position: 1, packet: None }], 1, false),
        sync(&[], 0, true),
    ] {
        w.cut();
        w.events.clear();
        w.later(60_000);
        w.answer(PacketId::SYNC, page);
        breaks_off(&mut w);
    }
}

fn sync(deltas: &[v2::Delta], next: u64, has_more: bool) -> Vec<u8> {
    let epoch = Bytes::copy_from_slice(&EPOCH);
    v2::SyncResponse { epoch, deltas: deltas.to_vec(), next, has_more, too_long: false }.encode_to_vec()
}

//= proof: packets-4, packets-9
#[test]
fn what_the_server_asks_is_answered_and_what_it_pushes_is_passed_on() {
    let mut w = World::online();
    w.tell(Channel::Message, PacketId(0x7777), Kind::Request(9), Vec::new());
    let (_, answer) = w.take(PacketId(0x7777));
    assert_eq!(answer.kind, Kind::Error(9));
    let error = v2::Error::decode(answer.body).unwrap();
    assert_eq!(ErrorCode::from_wire(error.code), Some(ErrorCode::UnknownPacket));
    w.tell(Channel::Message, PacketId(0x8001), Kind::Push, b"news".to_vec());
    assert!(w.took(|e| matches!(e, ClientEvent::Push(packet) if &packet.body[..] == b"news")));
    // Answers to nothing are dropped.
    for kind in [Kind::Response(4_000), Kind::Error(4_000)] {
        w.tell(Channel::Message, PacketId::SEND, kind, Vec::new());
    }
    assert!(w.client.machine().is_online());
}

#[test]
fn pages_and_receipts_that_are_refused_are_asked_for_again() {
    let mut w = World::with(Saved::default());
    w.call(Command::Start).unwrap();
    w.refuse(PacketId::SYNC, ErrorCode::Unavailable, 0);
    assert!(w.asked_sync().is_none());
    w.later(1_000);
    w.answer_sync(&[(1, from_friend(1))], 1, false);
    w.refuse(PacketId::DELIVERED, ErrorCode::RetryAfter, 300);
    w.later(299);
    assert!(!w.asked.iter().any(|(_, p)| p.id == PacketId::DELIVERED));
    w.later(1);
    w.answer(PacketId::DELIVERED, Vec::new());
    assert!(w.written.iter().any(|txn| matches!(txn, ClientTxn::ReceiptsSent(_))));
    // One that will never be taken is not told again.
    w.push(2, 1, from_friend(2));
    w.written.clear();
    w.refuse(PacketId::DELIVERED, ErrorCode::Forbidden, 0);
    let sent = ClientTxn::ReceiptsSent(Vec::from([(talk(), Owed { delivered: 2, read: 0 })]));
    assert!(w.written.contains(&sent), "nor after a restart: the disk knows");
    w.later(10_000);
    assert!(!w.asked.iter().any(|(_, p)| p.id == PacketId::DELIVERED));
    // An application's request is told why.
    let request = w
        .call(Command::Request { trace: None, packet: PacketId::DEVICES, body: Bytes::new(), deadline: None })
        .unwrap();
    w.refuse(PacketId::DEVICES, ErrorCode::Forbidden, 0);
    assert!(w.took(|e| matches!(
        e,
        ClientEvent::Response { request: r, result: Err(Failure::Refused(Some(ErrorCode::Forbidden), _)) }
            if *r == request
    )));
}

#[test]
fn every_command_and_input_is_written_down() {
    let mut w = World::online();
    for command in [
        Command::RefreshTicket,
        Command::UpdateKeys,
        Command::Confirm(3),
        Command::Request {
            trace: None,
            packet: PacketId::DEVICES,
            body: Bytes::from_static(b"x"),
            deadline: Some(Duration::MAX),
        },
        Command::Send {
            trace: None,
            conversation: talk(),
            client_msg_id: Some(ClientMsgId([3; 16])),
            body: Bytes::new(),
            deadline: None,
            action: SendAction::Message,
        },
        Command::Cancel(ClientMsgId([3; 16])),
    ] {
        w.call(command).unwrap();
    }
    for input in [
        Input::NetworkChanged,
        Input::Writable(ChannelSet::NONE.with(Channel::Sync)),
        Input::Writable(ChannelSet::ALL),
        Input::Timeout,
        Input::StoreDone(OpId(99_999), Err(StoreError::Full)),
        Input::StoreDone(OpId(99_999), Err(StoreError::Failed)),
        Input::StoreDone(OpId(99_999), Err(StoreError::Damaged)),
        Input::Connected(Binding { transport: TransportId::Tcp, exporter: [1; 32] }),
        Input::Connected(Binding { transport: TransportId::Web, exporter: [1; 32] }),
        Input::Disconnected,
    ] {
        w.client.handle(w.now(), input);
        w.run();
    }
    w.call(Command::Close).unwrap();
    let (saved, Journal(bytes)) = (w.saved.clone(), w.client.journal());
    let again = |bytes: &[u8]| {
        replay(&Journal(bytes.to_vec()), |now| Client::new(config(), saved.clone(), SEED, now))
    };
    assert_eq!(again(&bytes), Ok(()));
    assert_eq!(alloc::format!("{:?}", w.client.journal()), alloc::format!("Journal({} bytes)", bytes.len()));
    // Cut or damaged anywhere, it is refused with a place, and never more than that.
    for at in (0..bytes.len()).step_by(7) {
        let cut = again(&bytes[..at]);
        assert!(!matches!(cut, Err(JournalError::Diverged { .. })), "{at}: {cut:?}");
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x80;
        if let Err(e) = again(&damaged) {
            assert!(!alloc::format!("{e}").is_empty());
        }
    }
}

#[test]
fn debug_shows_no_body_and_no_code() {
    let body = || Bytes::from_static(b"a body");
    let link = v2::DeviceLink { body: body(), signature: Bytes::new() };
    let all = [
        alloc::format!(
            "{:?}",
            [Credential::Invitation(*b"an invitation 16"), Credential::Open, Credential::Link(link)]
        ),
        alloc::format!(
            "{:?}",
            [
                Command::Start,
                Command::Send {
                    trace: None,
                    conversation: talk(),
                    client_msg_id: None,
                    body: body(),
                    deadline: None,
                    action: SendAction::Message
                },
                Command::Request { trace: None, packet: PacketId::DEVICES, body: body(), deadline: None },
                Command::Cancel(ClientMsgId([7; 16])),
                Command::Confirm(7),
                Command::RefreshTicket,
                Command::UpdateKeys,
                Command::Close,
            ]
        ),
        alloc::format!("{:?}", ClientEvent::Response { request: RequestId(1), result: Ok(body()) }),
    ];
    for text in all {
        for hidden in ["a body", "an invitation", "97, 32", "[97, "] {
            assert!(!text.contains(hidden), "{text}");
        }
    }
}

#[test]
fn a_request_that_can_not_be_made_stops_it() {
    let mut bad = config();
    bad.server_static = [0; 32];
    let now = Now { mono: Instant::from_micros(1), unix: UnixMillis(T0) };
    let mut w = World::with(Saved::default());
    w.client = Recorder::new(Client::new(bad, Saved::default(), SEED, now), now);
    w.call(Command::Start).unwrap();
    assert!(w.took(|e| matches!(e, ClientEvent::Stopped(Stopped::Configuration))));
}

#[test]
fn a_receipt_is_told_and_one_that_can_not_be_read_is_kept() {
    let receipt = v2::Receipt {
        conversation: Bytes::copy_from_slice(&talk().0),
        member: FRIEND.0,
        delivered_seq: 3,
        ..Default::default()
    };
    let change =
        |payload: Vec<u8>| v2::SyncPacket { event_type: EventType::Receipt as u32, payload: payload.into() };
    let mut w = World::online();
    w.push(1, 0, change(receipt.encode_to_vec()));
    assert!(w.took(|e| matches!(e, ClientEvent::Receipt(r) if *r == receipt)));
    w.push(2, 1, change(b"\xff".to_vec()));
    assert!(w.took(|e| matches!(e, ClientEvent::Other(packet) if &packet.payload[..] == b"\xff")));
}
