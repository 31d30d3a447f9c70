//! Every run can be written down and replayed exactly; a difference is told with its place.

use std::time::Duration;

use bytes::Bytes;
use ntproto_core::code::ErrorCode;
use ntproto_core::dispatch::{Outcome, Refusal};
use ntproto_core::ids::ConversationId;
use ntproto_core::journal::{Journal, JournalError, replay};
use ntproto_core::wire::channel::{Channel, ChannelSet};
use ntproto_core::wire::packet::PacketId;
use ntproto_hub::{Command, HubConfig, Input, Push};
use ntproto_proto::v2;
use ntproto_proto::v2::auth_request::Credential;
use proptest::prelude::*;

use crate::bench::{Bench, SEED, config, device_id, message, ticket, uin};

/// A run with every kind of input, command and outcome in it.
fn a_long_run() -> Bench {
    let mut bench = Bench::new(HubConfig { max_requests: 8, ..config() });
    let (_, a, first) = bench.account();
    let (device, b, second) = bench.account();
    let talk = ConversationId::direct(uin(&first), uin(&second));
    bench.send(a, talk, 1, b"one");
    bench.send(b, talk, 2, b"two");
    let mark = v2::Watermark {
        conversation: Bytes::copy_from_slice(&talk.0),
        delivered_seq: 1,
        ..Default::default()
    };
    let _: v2::DeliveredResponse =
        bench.call(b, PacketId::DELIVERED, &v2::DeliveredRequest { watermarks: vec![mark] }).unwrap();
    let never = v2::SendRequest { resolve_only: true, body: Bytes::new(), ..message(talk, 9, b"") };
    assert_eq!(bench.call::<v2::SendResponse>(a, PacketId::SEND, &never), Err(ErrorCode::Cancelled));
    let other_epoch = v2::SyncRequest { epoch: Bytes::from_static(&[1; 16]), cursor: 9, limit: 1 };
    let page: v2::SyncResponse = bench.call(a, PacketId::SYNC, &other_epoch).unwrap();
    assert!(page.too_long);
    assert_eq!(bench.sync(a, 1).deltas.len(), 2);
    let devices: v2::DevicesResponse = bench.call(a, PacketId::DEVICES, &v2::DevicesRequest {}).unwrap();
    assert_eq!(devices.devices.len(), 1);
    assert_eq!(bench.raw(a, Channel::Message, PacketId(0x7777), Bytes::new()), Err(ErrorCode::UnknownPacket));

    for answer in [
        Outcome::Answered(Bytes::from_static(b"echo")),
        Outcome::Panicked,
        Outcome::Refused(Refusal::new(ErrorCode::NotFound, "no")),
    ] {
        bench.ask(a, Channel::Message, PacketId::APPLICATION, Bytes::from_static(b"echo"), Some(700));
        bench.run();
        let ask = bench.asked.pop().unwrap().id;
        bench.hub.handle(bench.now, Input::Answered { ask, answer });
    }
    bench.ask(a, Channel::Message, PacketId::APPLICATION, Bytes::new(), Some(700));
    bench.run();
    let push = Push { to: uin(&first), packet: PacketId::APPLICATION, body: Bytes::from_static(b"news") };
    bench.hub.handle(bench.now, Input::Push(push));
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.abandoned.len(), 1);

    // People, a group, presence, and what the host does for an administrator.
    crate::people::befriend(&mut bench, (a, first.uin), (b, second.uin));
    let subscribe = v2::PresenceSubscribeRequest { add: vec![first.uin], remove: Vec::new() };
    let _: v2::PresenceSubscribeResponse = bench.call(b, PacketId::PRESENCE_SUBSCRIBE, &subscribe).unwrap();
    let online = v2::PresenceSetRequest { status: v2::OnlineStatus::Online.into(), version: 0 };
    let _: v2::PresenceSetResponse = bench.call(a, PacketId::PRESENCE_SET, &online).unwrap();
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.told(b, PacketId::PRESENCE).len(), 1);
    let group = crate::groups::group(&mut bench, a, &[second.uin]);
    let gone = v2::GroupRequest { group };
    let _: v2::GroupResponse = bench.call(b, PacketId::GROUP_LEAVE, &gone).unwrap();
    let block = v2::FriendUpdateRequest { uin: second.uin, blocked: Some(true), ..Default::default() };
    let _: v2::FriendResponse = bench.call(a, PacketId::FRIEND_UPDATE, &block).unwrap();
    let (_, boss, _) = crate::admin::admin(&mut bench);
    bench.ask(boss, Channel::Message, PacketId::ADMIN_VERIFY, Bytes::new(), None);
    bench.run();
    let ask = bench.host.pop().unwrap().id;
    let answer = Outcome::Answered(Bytes::new());
    bench.hub.handle(bench.now, Input::HostAnswered { ask, answer });
    bench.hub.handle(bench.now, Input::Closed { conn: boss });
    bench.peers.remove(&boss);
    bench.run();

    // Not read for a while: the answer of `accepts` decides what comes out.
    bench.hold = true;
    for id in 10..16 {
        bench.ask(
            a,
            Channel::Message,
            PacketId::SEND,
            prost::Message::encode_to_vec(&message(talk, id, &[id; 9])).into(),
            None,
        );
    }
    bench.run();
    assert!(!bench.accepts(a));
    bench.release();
    assert_eq!(bench.resumed, [a]);

    bench.writable(b, ChannelSet::NONE);
    bench.send(a, talk, 20, b"not read");
    bench.hub.call(bench.now, Command::UpdateKeys(b)).unwrap();
    assert!(bench.hub.call(bench.now, Command::UpdateKeys(ntproto_hub::ConnId(99))).is_err());
    bench.writable(b, ChannelSet::ALL);
    bench.advance(Duration::from_secs(31));
    let again = bench.connect(&device, ticket(&second));
    bench.sync(again, 0);
    let revoke = v2::RevokeDeviceRequest { device_id: Bytes::copy_from_slice(&device_id(&second).0) };
    let body = Bytes::from(prost::Message::encode_to_vec(&revoke));
    bench.ask(again, Channel::Message, PacketId::REVOKE_DEVICE, body, None);
    bench.run();
    bench.connect(&device, Credential::KnownDevice(v2::KnownDevice {}));
    let noise = bench.transport();
    bench.hub.handle(bench.now, Input::Bytes { conn: noise, channel: Channel::Control, data: &[7; 40] });
    let gone = bench.transport();
    bench.hub.handle(bench.now, Input::Closed { conn: gone });
    let closed = bench.transport();
    bench.hub.call(bench.now, Command::Close(closed, ErrorCode::GoingAway)).unwrap();
    bench.hub.handle(bench.now, Input::Timeout);
    bench.hub.call(bench.now, Command::Drain).unwrap();
    bench.run();
    bench.advance(Duration::from_secs(10));
    bench
}

fn again(bench: &Bench, bytes: &[u8], seed: [u8; 32]) -> Result<(), JournalError> {
    replay(&Journal(bytes.to_vec()), |now| bench.hub_again(now, seed))
}

#[test]
fn a_run_replays_byte_for_byte() {
    let bench = a_long_run();
    let Journal(bytes) = bench.hub.journal();
    assert_eq!(again(&bench, &bytes, SEED), Ok(()));
    // The same world makes the same journal.
    assert!(a_long_run().hub.journal() == bench.hub.journal());
}

#[test]
fn a_difference_is_told_with_its_place() {
    let bench = a_long_run();
    let Journal(bytes) = bench.hub.journal();
    // Another seed shows in the first output made with it, and not before.
    let Err(JournalError::Diverged { at, entry }) = again(&bench, &bytes, [9; 32]) else {
        panic!("no difference seen")
    };
    assert!(entry > 0 && at < bytes.len());
    assert_eq!(again(&bench, &bytes[..at], [9; 32]), Ok(()));
    // A wrong mark at the end, and an entry that is cut off.
    let last = bytes.len() - 1;
    let mut changed = bytes.clone();
    changed[last] ^= 1;
    let Err(JournalError::Diverged { at, .. }) = again(&bench, &changed, SEED) else {
        panic!("no difference seen")
    };
    let Err(JournalError::Malformed { at: cut, .. }) = again(&bench, &bytes[..last], SEED) else {
        panic!("not seen to be cut")
    };
    assert_eq!(at, cut);
    assert!(at + 40 > last, "the last entry is a poll");
    assert_eq!(again(&bench, &[], SEED), Err(JournalError::Malformed { entry: 0, at: 0 }));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is changed, the replay ends with an answer, and says nothing of what came before the change.
    #[test]
    fn damage_is_told_at_or_after_its_place(at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let bench = a_long_run();
        let Journal(mut bytes) = bench.hub.journal();
        let place = at.index(bytes.len());
        bytes[place] ^= 1 << bit;
        match again(&bench, &bytes, SEED) {
            // The wall clock, and the time of an input that nothing came of, decide nothing.
            Ok(()) => {}
            Err(JournalError::Diverged { at, .. } | JournalError::Malformed { at, .. }) => {
                // An entry holds at most what a transport brings at once.
                prop_assert!(at + 70_000 > place, "told at {at}, changed at {place}");
            }
        }
    }
}
