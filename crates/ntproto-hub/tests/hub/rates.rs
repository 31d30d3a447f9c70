//! How often an address, a device and a conversation may: what is too much, and when there is more.

use std::time::Duration;

use bytes::Bytes;
use ntproto_core::binding::Binding;
use ntproto_core::code::ErrorCode;
use ntproto_core::endpoint::Closed;
use ntproto_core::endpoint::client::Event;
use ntproto_core::ids::{ConversationId, GroupId};
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::packet::PacketId;
use ntproto_hub::config::{GROUP_RATE, RETRY_AFTER};
use ntproto_hub::{ConnId, HubConfig, HubEvent, Input, Rate, Stage};
use ntproto_proto::v2;
use ntproto_proto::v2::auth_request::Credential;
use prost::Message;

use crate::bench::{Bench, config, message, uin};

fn two(bench: &mut Bench) -> (ConnId, ConnId, ConversationId) {
    let (_, a, grant_a) = bench.account();
    let (_, b, grant_b) = bench.account();
    (a, b, ConversationId::direct(uin(&grant_a), uin(&grant_b)))
}

/// `Ok`, or after how many milliseconds to come again.
fn send(bench: &mut Bench, conn: ConnId, to: ConversationId, id: u8) -> Result<(), u32> {
    let body = message(to, id, b"x").encode_to_vec().into();
    let number = bench.ask(conn, Channel::Message, PacketId::SEND, body, None);
    bench.run();
    outcome(bench, conn, number)
}

fn outcome(bench: &mut Bench, conn: ConnId, number: u32) -> Result<(), u32> {
    match bench.answer(conn, number).unwrap() {
        Ok(_) => Ok(()),
        Err(error) => {
            assert_eq!(ErrorCode::from_wire(error.code), Some(ErrorCode::RetryAfter), "{error:?}");
            Err(error.retry_after_ms)
        }
    }
}

fn devices(bench: &mut Bench, conn: ConnId) -> Result<(), u32> {
    let number = bench.ask(conn, Channel::Message, PacketId::DEVICES, Bytes::new(), None);
    bench.run();
    outcome(bench, conn, number)
}

//= proof: limits-1
#[test]
fn a_device_that_writes_too_much_is_told_the_very_millisecond_and_loses_no_order() {
    let rate = Some(Rate::per_second(2, 4));
    let mut bench = Bench::new(HubConfig { device_messages: rate, ..config() });
    let (a, b, to) = two(&mut bench);
    assert_eq!([1, 2].map(|id| send(&mut bench, a, to, id)), [Ok(()), Ok(())]);
    assert_eq!(send(&mut bench, a, to, 3), Err(250));
    // One behind it comes no earlier, and draws nothing.
    assert_eq!(send(&mut bench, a, to, 4), Err(250));
    bench.advance(Duration::from_millis(249));
    assert_eq!(send(&mut bench, a, to, 3), Err(1));
    bench.advance(Duration::from_millis(1));
    // Its turn it keeps, whoever comes first.
    assert_eq!(send(&mut bench, a, to, 4), Err(RETRY_AFTER.as_millis() as u32));
    assert_eq!(send(&mut bench, a, to, 3), Ok(()));
    assert_eq!(send(&mut bench, a, to, 4), Err(250));
    assert_eq!(send(&mut bench, b, to, 5), Ok(()), "another device");
    // What became of a message is no message.
    let resolve = v2::SendRequest { resolve_only: true, ..message(to, 3, b"") };
    let number = bench.ask(a, Channel::Message, PacketId::SEND, resolve.encode_to_vec().into(), None);
    bench.run();
    assert_eq!(outcome(&mut bench, a, number), Ok(()));
    assert_eq!(devices(&mut bench, a), Ok(()), "nor is anything else");
    bench.advance(Duration::from_millis(250));
    assert_eq!(send(&mut bench, a, to, 4), Ok(()));
    let order: Vec<u8> = bench.notified(b).iter().map(|n| crate::bench::pushed(n).client_msg_id[0]).collect();
    assert_eq!(order, [1, 2, 3, 4]);
}

//= proof: limits-1
#[test]
fn a_conversation_that_is_written_to_too_much_holds_back_only_itself() {
    let rate = Some(Rate::per_second(3, 1));
    let mut bench = Bench::new(HubConfig { conversation_messages: rate, ..config() });
    let (a, b, to) = two(&mut bench);
    let (_, c, grant) = bench.account();
    let other = ConversationId::direct(to.members().unwrap().0, uin(&grant));
    assert_eq!([send(&mut bench, a, to, 1), send(&mut bench, b, to, 1)], [Ok(()), Ok(())]);
    assert_eq!([send(&mut bench, a, to, 2), send(&mut bench, b, to, 2)], [Ok(()), Err(1_000)]);
    assert_eq!(send(&mut bench, a, to, 3), Err(1_000), "whoever writes");
    assert_eq!([send(&mut bench, a, other, 4), send(&mut bench, c, other, 4)], [Ok(()), Ok(())]);
    bench.advance(Duration::from_secs(1));
    assert_eq!([send(&mut bench, b, to, 2), send(&mut bench, a, to, 3)], [Ok(()), Err(1_000)]);
}

//= proof: limits-1
#[test]
fn strangers_do_not_use_up_what_a_group_may_write() {
    let rate = Some(Rate::per_second(2, 1));
    let mut bench = Bench::new(HubConfig { conversation_messages: rate, ..config() });
    let (member, stranger, _) = two(&mut bench);
    let group = ConversationId::of_group(GroupId(crate::groups::group(&mut bench, member, &[])));
    for id in 1..10 {
        let body = message(group, id, b"x").encode_to_vec().into();
        let number = bench.ask(stranger, Channel::Message, PacketId::SEND, body, None);
        bench.run();
        let refused = bench.answer(stranger, number).unwrap().unwrap_err();
        assert_eq!(ErrorCode::from_wire(refused.code), Some(ErrorCode::Forbidden));
    }
    assert_eq!([1, 2].map(|id| send(&mut bench, member, group, id)), [Ok(()), Ok(())]);
    assert_eq!(send(&mut bench, member, group, 3), Err(1_000));
}

#[test]
fn asking_what_became_of_a_message_is_a_request_like_any_other() {
    // The first of them was its SYNC.
    let rate = Some(Rate::per_second(3, 1));
    let mut bench = Bench::new(HubConfig { device_requests: rate, ..config() });
    let (a, _, to) = two(&mut bench);
    let mut resolve = |id| {
        let body = v2::SendRequest { resolve_only: true, body: Bytes::new(), ..message(to, id, b"") };
        let number = bench.ask(a, Channel::Message, PacketId::SEND, body.encode_to_vec().into(), None);
        bench.run();
        ErrorCode::from_wire(bench.answer(a, number).unwrap().unwrap_err().code)
    };
    let told = [1, 2, 3].map(&mut resolve);
    assert_eq!(told, [ErrorCode::Cancelled, ErrorCode::Cancelled, ErrorCode::RetryAfter].map(Some));
}

#[test]
fn changes_of_a_group_are_few() {
    let mut bench = Bench::new(config());
    let (a, _, _) = two(&mut bench);
    let group = crate::groups::group(&mut bench, a, &[]);
    let mut taken = 0;
    let mut update = |muted| {
        let request = v2::GroupUpdateRequest { group, muted: Some(muted), ..Default::default() };
        bench.call::<v2::GroupResponse>(a, PacketId::GROUP_UPDATE, &request)
    };
    while update(taken % 2 == 0).is_ok() {
        taken += 1;
    }
    assert_eq!(taken, GROUP_RATE.burst());
}

#[test]
fn requests_of_a_device_are_counted_over_its_connections() {
    let mut bench = Bench::new(HubConfig { device_requests: Some(Rate::per_second(3, 1)), ..config() });
    let (device, a, _) = bench.account();
    // Its first page was one.
    assert_eq!([(); 3].map(|()| devices(&mut bench, a)), [Ok(()), Ok(()), Err(1_000)]);
    let again = bench.known(&device);
    bench.granted(again);
    assert_eq!(devices(&mut bench, again), Err(1_000), "a new connection is no new device");
    // Those of the application's are requests too.
    let number = bench.ask(again, Channel::Message, PacketId(0x8001), Bytes::new(), None);
    bench.run();
    assert_eq!(outcome(&mut bench, again, number), Err(1_000));
    assert!(bench.asked.is_empty());
    bench.advance(Duration::from_secs(1));
    assert_eq!(devices(&mut bench, again), Ok(()));
}

fn knock(bench: &mut Bench) -> ConnId {
    let device = bench.device();
    bench.connect(&device, Credential::OpenRegistration(v2::OpenRegistration {}))
}

//= proof: limits-1
#[test]
fn an_address_that_knocks_too_often_is_told_when_to_come_again() {
    let mut bench = Bench::new(HubConfig { auth_rate: Some(Rate::per_second(2, 2)), ..config() });
    for _ in 0..2 {
        let conn = knock(&mut bench);
        bench.granted(conn);
    }
    let third = knock(&mut bench);
    assert_eq!(bench.closed(third), Some(Closed::Peer(Some(ErrorCode::RetryAfter))));
    let wait = bench.peers[&third].endpoint.wait_asked();
    assert_eq!(wait, Some(Duration::from_millis(500)));
    let refused = |e: &HubEvent| matches!(e, HubEvent::Refused { conn, code: ErrorCode::RetryAfter, .. } if *conn == third);
    assert!(bench.events.iter().any(refused));
    assert!(
        bench.peers[&third].events.iter().all(|e| !matches!(e, Event::Refused(_))),
        "before its words are read"
    );
    bench.advance(Duration::from_millis(500));
    let conn = knock(&mut bench);
    bench.granted(conn);
    // Whatever they say: bytes that are nothing are counted too.
    bench.advance(Duration::from_secs(10));
    for _ in 0..2 {
        let conn = bench.transport();
        let (channel, data) = (Channel::Control, &b"GET / HTTP/1.1\r\n"[..]);
        bench.hub.handle(bench.now, Input::Bytes { conn, channel, data });
    }
    let conn = knock(&mut bench);
    assert_eq!(bench.closed(conn), Some(Closed::Peer(Some(ErrorCode::RetryAfter))));
}

/// Early data proves no address: a stranger who lies about his draws nothing from another's bucket, but whose
/// transport comes up was there.
#[test]
fn early_data_is_counted_when_its_address_is_proven() {
    let mut bench = Bench::new(HubConfig { auth_rate: Some(Rate::per_second(3, 1)), ..config() });
    let (device, _, _) = bench.account();
    let mut early = Vec::new();
    for n in 0..4 {
        let conn = bench.transport_bound_by(Binding::EARLY);
        let request = v2::AuthRequest {
            early: Some(v2::EarlyStart { sync: Some(v2::SyncRequest::default()), request_id: 1 + n }),
            ..bench.request(Credential::KnownDevice(v2::KnownDevice {}))
        };
        bench.greet(conn, &device, request);
        bench.granted(conn);
        early.push(conn);
    }
    let conn = bench.known(&device);
    bench.granted(conn);
    // One token is left.
    bench.bound(early[2]);
    assert_eq!(bench.closed(early[2]), None);
    bench.bound(early[3]);
    assert_eq!(bench.closed(early[3]), Some(Closed::Peer(Some(ErrorCode::RetryAfter))));
    assert_eq!(bench.peers[&early[3]].endpoint.wait_asked(), Some(Duration::from_secs(1)));
    assert_ne!(bench.hub.stage(early[3]), Some(Stage::Confirmed));
}
