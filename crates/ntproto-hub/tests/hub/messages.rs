//! Requests and what they bring about.

use std::time::Duration;

use bytes::Bytes;
use ntproto_core::code::ErrorCode;
use ntproto_core::ids::{ConversationId, Uin};
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::packet::{Kind, Packet, PacketId};
use ntproto_hub::config::{HOLD_ORDER, UNAVAILABLE_RETRY};
use ntproto_hub::store::{StoreError, Txn};
use ntproto_hub::{ConnId, Input};
use ntproto_proto::v2;
use prost::Message;

use crate::bench::{Bench, config, message, pushed, uin};

fn two(bench: &mut Bench) -> (ConnId, ConnId, ConversationId) {
    let (_, a, grant_a) = bench.account();
    let (_, b, grant_b) = bench.account();
    (a, b, ConversationId::direct(uin(&grant_a), uin(&grant_b)))
}

//= proof: messages-1
#[test]
fn a_message_is_answered_stored_and_pushed() {
    let mut bench = Bench::new(config());
    let (a, b, to) = two(&mut bench);
    for n in 1..=3 {
        let sent = bench.send(a, to, n, b"hello");
        let n = u64::from(n);
        assert_eq!((sent.conv_seq, sent.position, sent.previous), (n, n, n - 1));
        assert!(!sent.duplicate);
    }
    let pushes = bench.notified(b);
    let places: Vec<_> = pushes.iter().map(|push| (push.position, push.previous)).collect();
    assert_eq!(places, [(1, 0), (2, 1), (3, 2)]);
    let last = pushed(&pushes[2]);
    assert_eq!((last.conv_seq, &last.body[..], last.sender), (3, &b"hello"[..], 10_001));
    assert!(bench.notified(a).is_empty(), "the sender has it by the answer");
    let page = bench.sync(b, 0);
    assert_eq!((page.deltas.len(), page.next, page.has_more), (3, 3, false));
    assert_eq!(page.deltas[2].packet, pushes[2].packet);

    let again = bench.send(a, to, 2, b"hello");
    assert!(again.duplicate);
    assert_eq!(again.conv_seq, 2);
    assert!(bench.notified(b).is_empty());
    let conflict = bench.call::<v2::SendResponse>(a, PacketId::SEND, &message(to, 2, b"other"));
    assert_eq!(conflict, Err(ErrorCode::Conflict));
}

//= proof: messages-6
#[test]
fn a_resolved_id_stays_cancelled() {
    let mut bench = Bench::new(config());
    let (a, b, to) = two(&mut bench);
    let resolve = v2::SendRequest { resolve_only: true, body: Bytes::new(), ..message(to, 1, b"") };
    for request in [resolve, message(to, 1, b"late")] {
        let answer = bench.call::<v2::SendResponse>(a, PacketId::SEND, &request);
        assert_eq!(answer, Err(ErrorCode::Cancelled));
    }
    assert!(bench.notified(b).is_empty());
}

#[test]
fn who_reconnects_while_the_message_is_stored_is_told_of_it() {
    let mut bench = Bench::new(config());
    let (device, a, grant_a) = bench.account();
    let (_, b, grant_b) = bench.account();
    let to = ConversationId::direct(uin(&grant_a), uin(&grant_b));
    bench.hold = true;
    bench.ask(a, Channel::Message, PacketId::SEND, message(to, 1, b"x").encode_to_vec().into(), None);
    bench.run();
    let (op, txn, _) = bench.held.pop_front().unwrap();
    bench.hold = false;
    bench.hub.handle(bench.now, Input::Closed { conn: a });
    let new = bench.known(&device);
    bench.sync(new, 0);
    bench.execute(op, txn);
    bench.run();
    assert_eq!(bench.notified(new).len(), 1);
    assert_eq!(bench.notified(b).len(), 1);
}

#[test]
fn receipts_reach_the_other_member() {
    let mut bench = Bench::new(config());
    let (a, b, to) = two(&mut bench);
    for n in 1..=3 {
        bench.send(a, to, n, b"x");
    }
    let deliver = |bench: &mut Bench, delivered_seq| {
        let conversation = Bytes::copy_from_slice(&to.0);
        let watermarks = vec![v2::Watermark { conversation, delivered_seq, ..Default::default() }];
        let _: v2::DeliveredResponse =
            bench.call(b, PacketId::DELIVERED, &v2::DeliveredRequest { watermarks }).unwrap();
        bench.notified(a)
    };
    let pushes = deliver(&mut bench, 2);
    assert_eq!((pushes[0].position, pushes[0].previous), (4, 3));
    let receipt = v2::Receipt::decode(pushes[0].packet.clone().unwrap().payload).unwrap();
    assert_eq!((receipt.member, receipt.delivered_seq), (10_002, 2));
    assert!(deliver(&mut bench, 1).is_empty());
    assert_eq!(deliver(&mut bench, 9).len(), 1);
}

#[test]
fn an_account_that_may_invite_invites() {
    let mut bench = Bench::new(config());
    let code = [9; 16];
    let code_hash =
        ntproto_core::crypto::CryptoProvider::sha256(&ntproto_core::crypto::rustcrypto::RUSTCRYPTO, &[&code]);
    let expires = ntproto_core::time::UnixMillis(u64::MAX);
    let txn = Txn::CreateInvitation {
        by: None,
        code_hash,
        uses: 1,
        expires,
        may_invite: true,
        admin: false,
        account: None,
        audit: None,
    };
    bench.execute(ntproto_hub::store::OpId(u64::MAX), txn);
    let device = bench.device();
    let invitation = v2::auth_request::Credential::Invitation(Bytes::copy_from_slice(&code));
    let admin = bench.connect(&device, invitation);
    let invite = v2::InviteRequest { uses: 1, lifetime_ms: 0, may_invite: false };
    let invitation: v2::InviteResponse = bench.call(admin, PacketId::INVITE, &invite).unwrap();
    let guest = bench.device();
    let guest = bench.connect(&guest, v2::auth_request::Credential::Invitation(invitation.code));
    bench.granted(guest);
    let refused = bench.call::<v2::InviteResponse>(guest, PacketId::INVITE, &invite);
    assert_eq!(refused, Err(ErrorCode::Forbidden));
    for bad in [
        v2::InviteRequest { uses: 0, ..invite },
        v2::InviteRequest { uses: 1_001, ..invite },
        v2::InviteRequest { lifetime_ms: u64::MAX, ..invite },
    ] {
        let refused = bench.call::<v2::InviteResponse>(admin, PacketId::INVITE, &bad);
        assert_eq!(refused, Err(ErrorCode::BadRequest));
    }
}

//= proof: spec-1, spec-2
#[test]
fn fields_come_in_any_order_and_unknown_ones_are_ignored() {
    let mut bench = Bench::new(config());
    let (a, b, to) = two(&mut bench);
    let one = |request: v2::SendRequest| request.encode_to_vec();
    let good = message(to, 1, b"hello");
    let body = one(v2::SendRequest { body: good.body.clone(), ..Default::default() });
    let id = one(v2::SendRequest { client_msg_id: good.client_msg_id.clone(), ..Default::default() });
    let conversation = one(v2::SendRequest { conversation: good.conversation.clone(), ..Default::default() });
    // Field 100, a varint; field 101, bytes.
    let unknown = [&[0xa0, 0x06, 0x07][..], &[0xaa, 0x06, 0x02, 1, 2]];
    let request = [&body[..], unknown[0], &id, unknown[1], &conversation].concat();
    bench.raw(a, Channel::Message, PacketId::SEND, request.into()).unwrap();
    assert_eq!(&pushed(&bench.notified(b)[0]).body[..], b"hello");
}

//= proof: messages-3
#[test]
fn bodies_are_opaque() {
    let mut bench = Bench::new(config());
    let (a, b, to) = two(&mut bench);
    let all: Vec<u8> = (0..=255).collect();
    let nested = message(to, 9, b"a message in a message").encode_to_vec();
    let bodies: [&[u8]; 6] = [b"", b"\0", b"\r\n\x1b[2J", &all, &nested, &[0xff; 1000]];
    for (n, body) in (1..).zip(bodies) {
        assert_eq!(bench.send(a, to, n, body).conv_seq, u64::from(n));
    }
    let got: Vec<Bytes> = bench.notified(b).iter().map(|push| pushed(push).body).collect();
    assert_eq!(got, bodies);
}

/// Every way to ask wrongly, and its answer. The connection lives on.
//= proof: messages-2, packets-4
#[test]
fn bad_requests() {
    use ErrorCode::{BadRequest, Forbidden, NotFound, TooLarge, UnknownPacket};
    let mut bench = Bench::new(config());
    let (a, _, to) = two(&mut bench);
    let good = message(to, 1, b"x");
    let foreign = ConversationId::direct(Uin(1), Uin(2));
    let nobody = ConversationId::direct(Uin(10_001), Uin(99_999));
    let mark = |conversation: &[u8]| v2::DeliveredRequest {
        watermarks: vec![v2::Watermark {
            conversation: Bytes::copy_from_slice(conversation),
            delivered_seq: 1,
            ..Default::default()
        }],
    };
    let many = v2::DeliveredRequest { watermarks: vec![mark(&to.0).watermarks[0].clone(); 257] };
    let send = |request: v2::SendRequest| (PacketId::SEND, request.encode_to_vec());
    let marks = |request: v2::DeliveredRequest| (PacketId::DELIVERED, request.encode_to_vec());
    let table = [
        ("no packet of ours", (PacketId(0x7777), Vec::new()), UnknownPacket),
        ("the last before those of applications", (PacketId(0x7fff), vec![1, 2, 3]), UnknownPacket),
        ("a push as a request", (PacketId::NOTIFY, vec![]), UnknownPacket),
        ("no protobuf", (PacketId::SEND, vec![0xff; 9]), BadRequest),
        ("an empty body", (PacketId::SEND, vec![]), BadRequest),
        (
            "a short conversation",
            send(v2::SendRequest { conversation: Bytes::from_static(b"x"), ..good.clone() }),
            BadRequest,
        ),
        (
            "a short id",
            send(v2::SendRequest { client_msg_id: Bytes::from_static(b"x"), ..good.clone() }),
            BadRequest,
        ),
        (
            "a long id",
            send(v2::SendRequest { client_msg_id: Bytes::from_static(&[1; 17]), ..good.clone() }),
            BadRequest,
        ),
        ("not a member", send(message(foreign, 1, b"x")), Forbidden),
        ("a group", send(message(ConversationId([0; 16]), 1, b"x")), NotFound),
        ("with oneself", send(message(ConversationId::direct(Uin(10_001), Uin(10_001)), 1, b"x")), NotFound),
        ("no such member", send(message(nobody, 1, b"x")), NotFound),
        ("a large body", send(message(to, 1, &vec![0; 256 * 1024 + 1])), TooLarge),
        ("a foreign receipt", marks(mark(&foreign.0)), Forbidden),
        ("a receipt for nothing", marks(mark(b"")), BadRequest),
        ("many receipts", marks(many), TooLarge),
        (
            "a short device id",
            (PacketId::REVOKE_DEVICE, v2::RevokeDeviceRequest::default().encode_to_vec()),
            BadRequest,
        ),
        (
            "a foreign device",
            (
                PacketId::REVOKE_DEVICE,
                v2::RevokeDeviceRequest { device_id: Bytes::from_static(&[3; 16]) }.encode_to_vec(),
            ),
            NotFound,
        ),
        ("sync on MESSAGE", (PacketId::SYNC, vec![]), BadRequest),
        ("devices with junk", (PacketId::DEVICES, vec![0xff]), BadRequest),
    ];
    for (name, (id, body), code) in table {
        assert_eq!(bench.raw(a, Channel::Message, id, body.into()), Err(code), "{name}");
    }
    let wrong_channel = bench.raw(a, Channel::Sync, PacketId::SEND, good.encode_to_vec().into());
    assert_eq!(wrong_channel, Err(BadRequest));
    let short_epoch = v2::SyncRequest { epoch: Bytes::from_static(b"x"), ..Default::default() };
    assert_eq!(
        bench.raw(a, Channel::Sync, PacketId::SYNC, short_epoch.encode_to_vec().into()),
        Err(BadRequest)
    );
    assert_eq!(bench.send(a, to, 1, b"x").conv_seq, 1);
}

#[test]
fn pushes_and_answers_of_a_client_mean_nothing() {
    let mut bench = Bench::new(config());
    let (a, _, to) = two(&mut bench);
    for kind in [Kind::Push, Kind::Response(5), Kind::Error(5)] {
        let packet = Packet { id: PacketId::SEND, kind, deadline_ms: None, trace: None, body: Bytes::new() };
        let now = bench.now;
        let command = ntproto_core::endpoint::client::Command::Send(Channel::Message, packet);
        bench.peers.get_mut(&a).unwrap().endpoint.call(now, command).unwrap();
        bench.run();
    }
    assert_eq!(bench.send(a, to, 1, b"x").conv_seq, 1);
}

#[test]
fn a_deadline_is_kept_on_the_way_to_the_store() {
    let mut bench = Bench::new(config());
    let (a, b, to) = two(&mut bench);
    let body: Bytes = message(to, 1, b"x").encode_to_vec().into();
    let over = bench.ask(a, Channel::Message, PacketId::SEND, body.clone(), Some(0));
    bench.hold = true;
    let late = bench.ask(a, Channel::Message, PacketId::SEND, body, Some(250));
    bench.run();
    let code =
        |answer: Option<Result<Bytes, v2::Error>>| ErrorCode::from_wire(answer.unwrap().unwrap_err().code);
    assert_eq!(code(bench.answer(a, over)), Some(ErrorCode::DeadlineExceeded));
    let (op, _, deadline) = bench.held.pop_front().unwrap();
    assert_eq!(deadline, Some(bench.now.mono + Duration::from_millis(250)));
    bench.done(op, Err(StoreError::Expired));
    bench.run();
    assert_eq!(code(bench.answer(a, late)), Some(ErrorCode::DeadlineExceeded));
    assert!(bench.notified(b).is_empty());
}

#[test]
fn a_failing_store_is_unavailable_with_a_time_to_try_again() {
    let mut bench = Bench::new(config());
    let (a, b, to) = two(&mut bench);
    bench.hold = true;
    let number =
        bench.ask(a, Channel::Message, PacketId::SEND, message(to, 1, b"x").encode_to_vec().into(), None);
    bench.run();
    let (op, _, _) = bench.held.pop_front().unwrap();
    bench.done(op, Err(StoreError::Full));
    bench.run();
    let error = bench.answer(a, number).unwrap().unwrap_err();
    assert_eq!(ErrorCode::from_wire(error.code), Some(ErrorCode::Unavailable));
    assert_eq!(error.retry_after_ms, 1_000);
    assert_eq!(error.detail, "the store failed");
    bench.hold = false;
    assert_eq!(bench.send(a, to, 1, b"x").conv_seq, 1);
    assert_eq!(bench.notified(b).len(), 1);
}

//= proof: messages-12
#[test]
fn a_message_told_to_come_again_is_not_overtaken() {
    let mut bench = Bench::new(config());
    let (a, b, to) = two(&mut bench);
    bench.hold = true;
    let ask = |bench: &mut Bench, id| {
        bench.ask(a, Channel::Message, PacketId::SEND, message(to, id, b"x").encode_to_vec().into(), None)
    };
    let first = ask(&mut bench, 1);
    bench.run();
    let (op, _, _) = bench.held.pop_front().unwrap();
    bench.done(op, Err(StoreError::Full));
    bench.hold = false;
    let second = ask(&mut bench, 2);
    bench.run();
    for number in [first, second] {
        assert!(bench.answer(a, number).unwrap().is_err());
    }
    assert_eq!(bench.send(a, to, 1, b"x").conv_seq, 1);
    assert_eq!(bench.send(a, to, 2, b"x").conv_seq, 2);
    // Nor by those that were in the store behind it when it failed.
    bench.hold = true;
    let numbers: Vec<u32> = (10..13).map(|id| ask(&mut bench, id)).collect();
    bench.run();
    let (op, _, _) = bench.held.pop_front().unwrap();
    bench.done(op, Err(StoreError::Unavailable));
    bench.release();
    for number in numbers {
        let error = bench.answer(a, number).unwrap().unwrap_err();
        assert!(error.retry_after_ms > 0, "{error:?}");
    }
    for id in 10..13 {
        assert_eq!(bench.send(a, to, id, b"x").conv_seq, u64::from(id) - 7);
    }
    // One that never comes again does not hold the others for ever.
    bench.hold = true;
    ask(&mut bench, 3);
    bench.run();
    let (op, _, _) = bench.held.pop_front().unwrap();
    bench.done(op, Err(StoreError::Full));
    bench.hold = false;
    bench.advance(UNAVAILABLE_RETRY + HOLD_ORDER);
    assert_eq!(bench.send(a, to, 4, b"x").conv_seq, 6);
    assert_eq!(bench.notified(b).len(), 6);
}
