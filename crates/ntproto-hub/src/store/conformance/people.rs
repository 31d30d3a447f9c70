//! Profiles, friends, blocks.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;
use ntproto_core::ids::Uin;
use ntproto_proto::v2;
use ntproto_proto::v2::FriendState;

use super::super::execute::{MAX_EXTRA, MAX_PROFILES, MAX_WANTED};
use super::super::txn::{DeviceInfo, Rules};
use super::super::{Act, StoreError, Txn};
use super::{Bench, Packet, message};

pub(super) fn request(to: &DeviceInfo) -> Act {
    Act::FriendRequest(v2::FriendRequestRequest { uin: to.uin.0, message: "hello".into() })
}

pub(super) fn reply(to: &DeviceInfo, accept: bool) -> Act {
    Act::FriendAnswer(v2::FriendAnswerRequest { uin: to.uin.0, accept })
}

pub(super) fn block(whom: &DeviceInfo, blocked: bool) -> Act {
    let blocked = Some(blocked);
    Act::FriendUpdate(v2::FriendUpdateRequest { uin: whom.uin.0, blocked, ..Default::default() })
}

pub(super) fn befriend(bench: &mut Bench, a: &DeviceInfo, b: &DeviceInfo) {
    bench.act(a, request(b));
    bench.act(b, reply(a, true));
}

/// Who was told, and the state of which record.
fn told(places: &[(Uin, Packet)]) -> Vec<(Uin, u64, FriendState)> {
    let of = |(uin, packet): &(Uin, Packet)| match packet {
        Packet::Friend(friend) => (*uin, friend.uin, friend.state()),
        other => panic!("no friend: {other:?}"),
    };
    places.iter().map(of).collect()
}

//= proof: people-1, people-2
pub(super) fn profiles(bench: &mut Bench) {
    let (a, b, _) = bench.two();
    let profile = v2::ProfileSetRequest {
        nick: " Zoë ".into(),
        avatar: "sha256:1".into(),
        bio: "two\nlines".into(),
        extra: "{\"k\": 1".into(),
        ..Default::default()
    };
    let (set, places) = bench.ask::<v2::ProfileSetResponse>(&a, Act::ProfileSet(profile.clone()));
    let user = set.user.expect("a profile");
    assert_eq!((&user.nick[..], &user.extra[..], user.version), ("Zoë", "{\"k\": 1", 1));
    assert_eq!(places, [(a.uin, Packet::Profile(user.clone()))]);
    // Again the same is no change; an older client's field counts when the new one is empty.
    assert!(bench.act(&a, Act::ProfileSet(profile.clone())).places.is_empty());
    #[expect(deprecated, reason = "older clients write it")]
    let old = v2::ProfileSetRequest { nickname: "Zed".into(), nick: String::new(), ..profile.clone() };
    bench.act(&a, Act::ProfileSet(old));
    bench.reopen();
    let uins = vec![b.uin.0, 77, a.uin.0];
    let (read, _) = bench.ask::<v2::ProfilesResponse>(&b, Act::Profiles(v2::ProfilesRequest { uins }));
    let seen: Vec<_> = read.users.iter().map(|user| (user.uin, &user.nick[..], user.version)).collect();
    assert_eq!(seen, [(b.uin.0, "", 0), (a.uin.0, "Zed", 2)]);
    assert_eq!(bench.inbox(a.uin, 0).len(), 1);

    for nick in ["", "\u{202E}nimda", "a\u{7}b", &"x".repeat(10 << 20)] {
        let bad = v2::ProfileSetRequest { nick: nick.into(), ..profile.clone() };
        bench.no(&a, Act::ProfileSet(bad), StoreError::BadName);
    }
    let extra = v2::ProfileSetRequest { extra: "x".repeat(MAX_EXTRA + 1), ..profile.clone() };
    bench.no(&a, Act::ProfileSet(extra), StoreError::BadRequest);
    let avatar = v2::ProfileSetRequest { avatar: "a\nb".into(), ..profile };
    bench.no(&a, Act::ProfileSet(avatar), StoreError::BadRequest);
    let uins = vec![a.uin.0; MAX_PROFILES + 1];
    bench.no(&b, Act::Profiles(v2::ProfilesRequest { uins }), StoreError::TooMany);
}

pub(super) fn friends(bench: &mut Bench) {
    let (a, b, _) = bench.two();
    let c = bench.account(3);
    let (asked, places) = bench.ask::<v2::FriendResponse>(&a, request(&b));
    assert_eq!(asked.friend.expect("a record").state(), FriendState::Asked);
    assert_eq!(told(&places), [(a.uin, b.uin.0, FriendState::Asked), (b.uin, a.uin.0, FriendState::Wanted)]);
    // Asking twice, and answering what was not asked.
    assert!(bench.act(&a, request(&b)).places.is_empty());
    bench.no(&a, reply(&b, true), StoreError::NotFound);
    bench.no(&c, reply(&a, true), StoreError::NotFound);
    bench.reopen();
    let (_, places) = bench.ask::<v2::FriendResponse>(&b, reply(&a, true));
    assert_eq!(told(&places), [(b.uin, a.uin.0, FriendState::Friend), (a.uin, b.uin.0, FriendState::Friend)]);
    bench.no(&b, reply(&a, true), StoreError::NotFound);
    // Two who ask each other are friends.
    bench.act(&c, request(&a));
    let (crossed, _) = bench.ask::<v2::FriendResponse>(&a, request(&c));
    assert_eq!(crossed.friend.expect("a record").state(), FriendState::Friend);

    // What one calls the other is nobody else's business.
    let update = v2::FriendUpdateRequest {
        uin: b.uin.0,
        remark: Some("Bee".into()),
        extra: Some("[1]".into()),
        ..Default::default()
    };
    let (_, places) = bench.ask::<v2::FriendResponse>(&a, Act::FriendUpdate(update));
    assert_eq!(told(&places), [(a.uin, b.uin.0, FriendState::Friend)]);
    let list = |after, limit| Act::Friends(v2::FriendsRequest { after, limit });
    let (page, _) = bench.ask::<v2::FriendsResponse>(&a, list(0, 1));
    assert_eq!((&page.friends[0].remark[..], page.has_more), ("Bee", true));
    let (page, _) = bench.ask::<v2::FriendsResponse>(&a, list(b.uin.0, 1));
    assert_eq!((page.friends[0].uin, page.has_more), (c.uin.0, false));
    let (page, _) = bench.ask::<v2::FriendsResponse>(&b, list(0, 10));
    assert_eq!((page.friends.len(), &page.friends[0].remark[..]), (1, ""));

    let delete = |whom: &DeviceInfo| Act::FriendDelete(v2::FriendDeleteRequest { uin: whom.uin.0 });
    let acted = bench.act(&b, delete(&a));
    assert_eq!((acted.places.len(), acted.hidden.len()), (2, 2));
    assert!(bench.act(&b, delete(&a)).places.is_empty());
    // The remark stays; a record that says nothing goes, and comes back newer.
    let (page, _) = bench.ask::<v2::FriendsResponse>(&a, list(0, 10));
    assert_eq!((page.friends[0].state(), &page.friends[0].remark[..]), (FriendState::None, "Bee"));
    let (page, _) = bench.ask::<v2::FriendsResponse>(&b, list(0, 10));
    assert!(page.friends.is_empty());
    let version = |inbox: Vec<(u64, Packet)>| match inbox.last() {
        Some((_, Packet::Friend(friend))) => friend.version,
        other => panic!("no friend at the end: {other:?}"),
    };
    let before = version(bench.inbox(b.uin, 0));
    bench.act(&b, request(&a));
    assert!(version(bench.inbox(b.uin, 0)) > before);
    bench.act(&a, reply(&b, false));
    bench.no(&a, reply(&b, false), StoreError::NotFound);

    for (act, why) in [
        (request(&a), StoreError::BadRequest),
        (Act::FriendRequest(v2::FriendRequestRequest { uin: 1, ..Default::default() }), StoreError::NotFound),
        (Act::FriendDelete(v2::FriendDeleteRequest { uin: 1 }), StoreError::NotFound),
        (Act::FriendUpdate(v2::FriendUpdateRequest { uin: 1, ..Default::default() }), StoreError::NotFound),
        (
            Act::FriendRequest(v2::FriendRequestRequest { uin: b.uin.0, message: "a\u{202E}".into() }),
            StoreError::BadName,
        ),
    ] {
        bench.no(&a, act, why);
    }
}

//= proof: people-3, people-4
pub(super) fn blocks(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    bench.sends(message(&a, conversation, 1, b"before"));
    bench.act(&a, request(&b));
    // A block ends what was asked. The other learns of that, and not of the block.
    let (_, places) = bench.ask::<v2::FriendResponse>(&b, block(&a, true));
    assert_eq!(told(&places), [(b.uin, a.uin.0, FriendState::None), (a.uin, b.uin.0, FriendState::None)]);
    match bench.inbox(a.uin, 0).last() {
        Some((_, Packet::Friend(friend))) => assert!(!friend.blocked),
        other => panic!("no friend at the end: {other:?}"),
    }
    bench.refused(Txn::Append(message(&a, conversation, 2, b"x")), StoreError::Forbidden);
    // What was stored before the block is answered as it was.
    bench.ok(Txn::Append(message(&a, conversation, 1, b"before")));
    bench.no(&a, request(&b), StoreError::Forbidden);
    bench.no(&b, request(&a), StoreError::Forbidden);
    let create = Act::GroupCreate(v2::GroupCreateRequest {
        name: "trap".into(),
        members: vec![b.uin.0],
        request: Bytes::from_static(&[1; 16]),
        ..Default::default()
    });
    bench.no(&a, create, StoreError::Forbidden);
    let group = bench.group(&[&a]);
    let uins = vec![b.uin.0];
    bench.no(&a, Act::GroupInvite(v2::GroupInviteRequest { group, uins }), StoreError::Forbidden);
    // The one who blocks may still write.
    bench.sends(message(&b, conversation, 1, b"y"));
    bench.act(&b, block(&a, false));
    bench.sends(message(&a, conversation, 2, b"x"));
    // A friend who is blocked is a friend still, and hears nothing.
    befriend(bench, &a, &b);
    let acted = bench.act(&a, block(&b, true));
    assert_eq!((acted.places.len(), &acted.hidden[..]), (1, &[(a.uin, b.uin)][..]));
    bench.refused(Txn::Append(message(&b, conversation, 3, b"x")), StoreError::Forbidden);
}

pub(super) fn limits(bench: &mut Bench) {
    let all = bench.crowd(MAX_WANTED + 2);
    let (star, fans) = all.split_first().expect("a crowd");
    let asks = |fan: &DeviceInfo| super::acting(fan, super::NOW, request(star));
    let batch: Vec<Txn> = fans[..MAX_WANTED as usize].iter().map(asks).collect();
    assert!(bench.batch(&batch).iter().all(Result::is_ok));
    let last = &fans[MAX_WANTED as usize];
    bench.no(last, request(star), StoreError::TooMany);
    bench.act(star, reply(&fans[0], false));
    bench.act(last, request(star));
}

pub(super) fn friends_only(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    bench.ok(Txn::SetRules(Rules { friends_only: true, ..Rules::default() }));
    bench.refused(Txn::Append(message(&a, conversation, 1, b"x")), StoreError::Forbidden);
    befriend(bench, &a, &b);
    bench.sends(message(&a, conversation, 1, b"x"));
    bench.reopen();
    bench.act(&b, Act::FriendDelete(v2::FriendDeleteRequest { uin: a.uin.0 }));
    bench.refused(Txn::Append(message(&a, conversation, 2, b"x")), StoreError::Forbidden);
    bench.ok(Txn::SetRules(Rules::default()));
    bench.sends(message(&a, conversation, 2, b"x"));
}
