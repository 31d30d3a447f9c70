//! People: profiles and friends, as the devices of both sides see them.

use bytes::Bytes;
use ntproto_core::code::ErrorCode;
use ntproto_core::ids::ConversationId;
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::event::EventType;
use ntproto_core::wire::packet::{Kind, Packet, PacketId};
use ntproto_hub::ConnId;
use ntproto_proto::v2;
use prost::Message;

use crate::bench::{Bench, config, message, uin};

/// The friend record in a push.
fn friend(notify: &v2::Notify) -> v2::Friend {
    let packet = notify.packet.as_ref().unwrap();
    assert_eq!(packet.event_type, EventType::Friend as u32);
    v2::Friend::decode(packet.payload.clone()).unwrap()
}

/// Makes two accounts friends.
pub(crate) fn befriend(bench: &mut Bench, (a, uin_a): (ConnId, u64), (b, uin_b): (ConnId, u64)) {
    let ask = v2::FriendRequestRequest { uin: uin_b, message: String::new() };
    let _: v2::FriendResponse = bench.call(a, PacketId::FRIEND_REQUEST, &ask).unwrap();
    let accept = v2::FriendAnswerRequest { uin: uin_a, accept: true };
    let answer: v2::FriendResponse = bench.call(b, PacketId::FRIEND_ANSWER, &accept).unwrap();
    assert_eq!(answer.friend.unwrap().state(), v2::FriendState::Friend);
    bench.notified(a);
    bench.notified(b);
}

/// Asks for something that is refused before the store hears of it.
#[track_caller]
pub(crate) fn refused(bench: &mut Bench, conn: ConnId, id: PacketId, body: &impl Message) -> ErrorCode {
    bench.hold = true;
    let on_sync = [PacketId::SYNC, PacketId::HISTORY, PacketId::SNAPSHOT].contains(&id);
    let channel = if on_sync { Channel::Sync } else { Channel::Message };
    let number = bench.ask(conn, channel, id, body.encode_to_vec().into(), None);
    bench.run();
    bench.hold = false;
    assert!(bench.held.is_empty(), "the store was asked");
    let error = bench.answer(conn, number).expect("an answer").expect_err("a refusal");
    ErrorCode::from_wire(error.code).unwrap()
}

#[test]
fn two_become_friends_and_every_device_of_both_hears_of_it() {
    let mut bench = Bench::new(config());
    let (keys, a, grant_a) = bench.account();
    let (_, b, grant_b) = bench.account();
    let ask = v2::FriendRequestRequest { uin: uin(&grant_b).0, message: "  we met on Monday ".into() };
    let answer: v2::FriendResponse = bench.call(a, PacketId::FRIEND_REQUEST, &ask).unwrap();
    assert_eq!(answer.friend.unwrap().state(), v2::FriendState::Asked);
    // The asker's own device learns its place like everybody.
    let own = bench.notified(a);
    assert_eq!((own.len(), friend(&own[0]).state()), (1, v2::FriendState::Asked));
    let wanted = bench.notified(b);
    let seen = friend(&wanted[0]);
    assert_eq!(
        (seen.state(), seen.message.as_str(), seen.uin),
        (v2::FriendState::Wanted, "we met on Monday", 10_001)
    );

    let accept = v2::FriendAnswerRequest { uin: uin(&grant_a).0, accept: true };
    let _: v2::FriendResponse = bench.call(b, PacketId::FRIEND_ANSWER, &accept).unwrap();
    assert_eq!(friend(&bench.notified(a)[0]).state(), v2::FriendState::Friend);
    assert_eq!(friend(&bench.notified(b)[0]).state(), v2::FriendState::Friend);

    // A remark is its owner's business.
    let remark =
        v2::FriendUpdateRequest { uin: uin(&grant_b).0, remark: Some("Bee".into()), ..Default::default() };
    let _: v2::FriendResponse = bench.call(a, PacketId::FRIEND_UPDATE, &remark).unwrap();
    assert_eq!(friend(&bench.notified(a)[0]).remark, "Bee");
    assert!(bench.notified(b).is_empty());
    let list: v2::FriendsResponse = bench.call(b, PacketId::FRIENDS, &v2::FriendsRequest::default()).unwrap();
    assert_eq!((list.friends.len(), list.friends[0].remark.as_str()), (1, ""));

    // Who was away finds it all in the inbox, each thing once, as it is now.
    let again = bench.known(&keys);
    let page = bench.sync(again, 0);
    let friends: Vec<_> =
        page.deltas.iter().filter(|delta| delta.packet.as_ref().unwrap().event_type == 3).collect();
    assert_eq!(friends.len(), 1);
}

//= proof: people-4
#[test]
fn a_block_refuses_and_says_no_more_than_any_refusal() {
    let mut bench = Bench::new(config());
    let (_, a, grant_a) = bench.account();
    let (_, b, grant_b) = bench.account();
    befriend(&mut bench, (a, uin(&grant_a).0), (b, uin(&grant_b).0));
    let block = v2::FriendUpdateRequest { uin: uin(&grant_a).0, blocked: Some(true), ..Default::default() };
    let _: v2::FriendResponse = bench.call(b, PacketId::FRIEND_UPDATE, &block).unwrap();
    assert!(bench.notified(a).is_empty(), "nobody is told of being blocked");
    let to = ConversationId::direct(uin(&grant_a), uin(&grant_b));
    let sent = bench.call::<v2::SendResponse>(a, PacketId::SEND, &message(to, 1, b"hello?"));
    assert_eq!(sent, Err(ErrorCode::Forbidden));
    // Typing is answered as ever, and told to nobody.
    let typing = v2::TypingRequest { conversation: Bytes::copy_from_slice(&to.0), active: true };
    let _: v2::TypingResponse = bench.call(a, PacketId::TYPING, &typing).unwrap();
    assert!(bench.told(b, PacketId::TYPING).is_empty());
    let _: v2::TypingResponse = bench.call(b, PacketId::TYPING, &typing).unwrap();
    assert_eq!(bench.told(a, PacketId::TYPING).len(), 1);
}

#[test]
fn a_profile_is_kept_as_it_was_cleaned_and_older_clients_are_understood() {
    let mut bench = Bench::new(config());
    let (_, a, _) = bench.account();
    #[allow(deprecated)]
    let older = v2::ProfileSetRequest { nickname: " Zoë ".into(), ..Default::default() };
    let set: v2::ProfileSetResponse = bench.call(a, PacketId::PROFILE_SET, &older).unwrap();
    assert_eq!(set.user.unwrap().nick, "Zoë");
    let own = bench.notified(a);
    assert_eq!(own[0].packet.as_ref().unwrap().event_type, EventType::Profile as u32);
    let read: v2::ProfilesResponse =
        bench.call(a, PacketId::PROFILES, &v2::ProfilesRequest { uins: vec![10_001, 7] }).unwrap();
    assert_eq!((read.users.len(), read.users[0].nick.as_str()), (1, "Zoë"));
}

//= proof: people-1
#[test]
fn bad_input_has_its_code_and_the_store_hears_nothing_of_it() {
    let mut bench = Bench::new(config());
    let (_, a, grant) = bench.account();
    let own = uin(&grant).0;
    let nick = |nick: &str| v2::ProfileSetRequest { nick: nick.into(), ..Default::default() };
    for bad in
        ["", " ", "\u{202E}nimda", "two\nlines", "\u{7}", "\u{200B}", &"x".repeat(65), &"y".repeat(200_000)]
    {
        assert_eq!(
            refused(&mut bench, a, PacketId::PROFILE_SET, &nick(bad)),
            ErrorCode::BadName,
            "{bad:.20}"
        );
    }
    let extra = v2::ProfileSetRequest { nick: "a".into(), extra: "x".repeat(4_097), ..Default::default() };
    assert_eq!(refused(&mut bench, a, PacketId::PROFILE_SET, &extra), ErrorCode::BadRequest);
    let avatar = v2::ProfileSetRequest { nick: "a".into(), avatar: "\u{0}".into(), ..Default::default() };
    assert_eq!(refused(&mut bench, a, PacketId::PROFILE_SET, &avatar), ErrorCode::BadRequest);
    let many = v2::ProfilesRequest { uins: (1..=101).collect() };
    assert_eq!(refused(&mut bench, a, PacketId::PROFILES, &many), ErrorCode::TooMany);
    let greeting = v2::FriendRequestRequest { uin: own + 1, message: "x".repeat(201) };
    assert_eq!(refused(&mut bench, a, PacketId::FRIEND_REQUEST, &greeting), ErrorCode::BadName);
    let remark =
        v2::FriendUpdateRequest { uin: own + 1, remark: Some("\u{2066}".into()), ..Default::default() };
    assert_eq!(refused(&mut bench, a, PacketId::FRIEND_UPDATE, &remark), ErrorCode::BadName);
    // What only the store knows.
    let mut asked = |uin| {
        let request = v2::FriendRequestRequest { uin, message: String::new() };
        bench.call::<v2::FriendResponse>(a, PacketId::FRIEND_REQUEST, &request)
    };
    assert_eq!(asked(own), Err(ErrorCode::BadRequest));
    assert_eq!(asked(77), Err(ErrorCode::NotFound));
    let answer = v2::FriendAnswerRequest { uin: 77, accept: true };
    assert_eq!(
        bench.call::<v2::FriendResponse>(a, PacketId::FRIEND_ANSWER, &answer),
        Err(ErrorCode::NotFound)
    );
    assert!(bench.notified(a).is_empty());
}

#[test]
fn every_act_is_decoded_and_has_its_channel() {
    let mut bench = Bench::new(config());
    let (_, a, _) = bench.account();
    for &id in ntproto_hub::store::Act::PACKETS {
        let own = if [PacketId::HISTORY, PacketId::SNAPSHOT].contains(&id) {
            Channel::Sync
        } else {
            Channel::Message
        };
        let other = if own == Channel::Sync { Channel::Message } else { Channel::Sync };
        let noise = Bytes::from_static(&[0xff; 9]);
        let code = if id.is_admin() { ErrorCode::Forbidden } else { ErrorCode::BadRequest };
        assert_eq!(bench.raw(a, own, id, noise.clone()), Err(code), "{id:?}");
        assert_eq!(bench.raw(a, other, id, noise), Err(code), "{id:?}");
    }
    // A push of a client's means nothing.
    let push = Packet {
        id: PacketId::PROFILE_SET,
        kind: Kind::Push,
        deadline_ms: None,
        trace: None,
        body: v2::ProfileSetRequest { nick: "x".into(), ..Default::default() }.encode_to_vec().into(),
    };
    let now = bench.now;
    let send = ntproto_core::endpoint::client::Command::Send(Channel::Message, push);
    bench.peers.get_mut(&a).unwrap().endpoint.call(now, send).unwrap();
    bench.run();
    assert!(bench.notified(a).is_empty());
}
