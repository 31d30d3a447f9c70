//! Groups: who is told what, and who may do what.

use bytes::Bytes;
use ntproto_core::code::ErrorCode;
use ntproto_core::ids::{ConversationId, GroupId};
use ntproto_core::wire::event::EventType;
use ntproto_core::wire::packet::PacketId;
use ntproto_hub::ConnId;
use ntproto_proto::v2;
use prost::Message;

use crate::bench::{Bench, config, message, pushed, uin};
use crate::people::refused;

/// A group of the first with the others in it; its id.
pub(crate) fn group(bench: &mut Bench, owner: ConnId, members: &[u64]) -> u64 {
    let request = v2::GroupCreateRequest {
        name: "bees".into(),
        members: members.to_vec(),
        request: Bytes::copy_from_slice(&[owner.0 as u8; 16]),
        ..Default::default()
    };
    let made: v2::GroupResponse = bench.call(owner, PacketId::GROUP_CREATE, &request).unwrap();
    made.state.unwrap().group.unwrap().group
}

fn state(notify: &v2::Notify) -> v2::GroupState {
    let packet = notify.packet.as_ref().unwrap();
    assert_eq!(packet.event_type, EventType::Group as u32);
    v2::GroupState::decode(packet.payload.clone()).unwrap()
}

fn deltas(bench: &mut Bench, conn: ConnId) -> Vec<v2::GroupDelta> {
    bench
        .told(conn, PacketId::GROUP_DELTA)
        .into_iter()
        .map(|body| v2::GroupDelta::decode(body).unwrap())
        .collect()
}

#[test]
fn members_hear_of_changes_and_who_has_left_does_not() {
    let mut bench = Bench::new(config());
    let (_, a, _) = bench.account();
    let (_, b, grant_b) = bench.account();
    let (_, c, grant_c) = bench.account();
    let id = group(&mut bench, a, &[uin(&grant_b).0]);
    assert!(state(&bench.notified(a)[0]).me.is_some_and(|me| me.role() == v2::Role::Owner));
    assert!(state(&bench.notified(b)[0]).me.is_some());
    assert!(bench.notified(c).is_empty());

    let invite = v2::GroupInviteRequest { group: id, uins: vec![uin(&grant_c).0] };
    let _: v2::GroupResponse = bench.call(b, PacketId::GROUP_INVITE, &invite).unwrap();
    assert_eq!(bench.notified(c).len(), 1);
    for conn in [a, b, c] {
        let heard = deltas(&mut bench, conn);
        let change = heard.last().unwrap();
        assert_eq!(change.changes.last().unwrap().kind(), v2::GroupChangeKind::Add, "{conn}");
        assert!(change.from_version < change.version);
    }

    // A message reaches everybody's inbox at once.
    let talk = ConversationId::of_group(GroupId(id));
    bench.send(a, talk, 1, b"hello all");
    for conn in [b, c] {
        assert_eq!(&pushed(&bench.notified(conn)[0]).body[..], b"hello all");
    }

    let remove = v2::GroupRemoveRequest { group: id, uin: uin(&grant_c).0 };
    let _: v2::GroupResponse = bench.call(a, PacketId::GROUP_REMOVE, &remove).unwrap();
    assert!(state(&bench.notified(c)[0]).me.is_none());
    assert!(deltas(&mut bench, c).is_empty(), "who is out hears nothing");
    assert_eq!(deltas(&mut bench, b).len(), 1);
    bench.send(a, talk, 2, b"without c");
    assert!(bench.notified(c).is_empty());
    let late = bench.call::<v2::SendResponse>(c, PacketId::SEND, &message(talk, 9, b"and I?"));
    assert_eq!(late, Err(ErrorCode::Forbidden));
}

#[test]
fn groups_of_who_comes_back_are_known_again() {
    let mut bench = Bench::new(config());
    let (_, a, _) = bench.account();
    let (keys, b, grant_b) = bench.account();
    let id = group(&mut bench, a, &[uin(&grant_b).0]);
    bench.hub.handle(bench.now, ntproto_hub::Input::Closed { conn: b });
    bench.peers.remove(&b);
    let update = v2::GroupUpdateRequest { group: id, name: Some("wasps".into()), ..Default::default() };
    let _: v2::GroupResponse = bench.call(a, PacketId::GROUP_UPDATE, &update).unwrap();
    let b = bench.known(&keys);
    bench.sync(b, 0);
    let update = v2::GroupUpdateRequest { group: id, name: Some("ants".into()), ..Default::default() };
    let _: v2::GroupResponse = bench.call(a, PacketId::GROUP_UPDATE, &update).unwrap();
    assert_eq!(deltas(&mut bench, b).len(), 1);
}

/// The store can't say now: it is asked again, and until then the inbox tells.
#[test]
fn groups_that_could_not_be_read_are_read_later() {
    let mut bench = Bench::new(config());
    let (_, a, _) = bench.account();
    let (keys, b, grant_b) = bench.account();
    let id = group(&mut bench, a, &[uin(&grant_b).0]);
    bench.hub.handle(bench.now, ntproto_hub::Input::Closed { conn: b });
    bench.peers.remove(&b);
    let b = bench.known(&keys);
    bench.hold = true;
    let body = v2::SyncRequest { limit: 9, ..Default::default() }.encode_to_vec().into();
    bench.ask(b, ntproto_core::wire::channel::Channel::Sync, PacketId::SYNC, body, None);
    bench.run();
    let (op, txn, _) = bench.held.pop_front().unwrap();
    assert!(matches!(txn, ntproto_hub::store::Txn::GroupsOf { .. }), "{txn:?}");
    bench.done(op, Err(ntproto_hub::store::StoreError::Full));
    bench.release();
    let rename = |bench: &mut Bench, name: &str| {
        let update = v2::GroupUpdateRequest { group: id, name: Some(name.into()), ..Default::default() };
        let _: v2::GroupResponse = bench.call(a, PacketId::GROUP_UPDATE, &update).unwrap();
        deltas(bench, b).len()
    };
    assert_eq!(rename(&mut bench, "wasps"), 0);
    bench.advance(ntproto_hub::config::UNAVAILABLE_RETRY);
    assert_eq!(rename(&mut bench, "ants"), 1);
}

//= proof: groups-1
//= proof: groups-2
#[test]
fn bad_input_has_its_code_and_nothing_changes() {
    let mut bench = Bench::new(config());
    let (_, a, grant_a) = bench.account();
    let (_, b, grant_b) = bench.account();
    let (_, c, grant_c) = bench.account();
    let id = group(&mut bench, a, &[uin(&grant_b).0]);
    bench.notified(a);
    bench.notified(b);
    deltas(&mut bench, a);
    let one = v2::GroupRequest { group: id };
    let answer = |bench: &mut Bench, conn, packet, body: Vec<u8>| {
        bench.raw(conn, ntproto_core::wire::channel::Channel::Message, packet, body.into()).unwrap_err()
    };
    let cases: Vec<(ConnId, PacketId, Vec<u8>, ErrorCode)> = vec![
        (a, PacketId::GROUP_LEAVE, one.encode_to_vec(), ErrorCode::LastOwner),
        (b, PacketId::GROUP_DISSOLVE, one.encode_to_vec(), ErrorCode::Forbidden),
        (c, PacketId::GROUP_LEAVE, one.encode_to_vec(), ErrorCode::Forbidden),
        (c, PacketId::GROUP_JOIN, one.encode_to_vec(), ErrorCode::Forbidden),
        (c, PacketId::GROUP_JOIN, v2::GroupRequest { group: 77 }.encode_to_vec(), ErrorCode::NotFound),
        (
            b,
            PacketId::GROUP_ROLE,
            v2::GroupRoleRequest { group: id, uin: uin(&grant_a).0, role: 0 }.encode_to_vec(),
            ErrorCode::Forbidden,
        ),
        (
            b,
            PacketId::GROUP_REMOVE,
            v2::GroupRemoveRequest { group: id, uin: uin(&grant_a).0 }.encode_to_vec(),
            ErrorCode::Forbidden,
        ),
        (
            a,
            PacketId::GROUP_ROLE,
            v2::GroupRoleRequest { group: id, uin: uin(&grant_b).0, role: 9 }.encode_to_vec(),
            ErrorCode::BadRequest,
        ),
        (
            a,
            PacketId::GROUP_MEMBERS,
            v2::GroupMembersRequest { group: id, page: 0, size: 0 }.encode_to_vec(),
            ErrorCode::BadRequest,
        ),
        (
            a,
            PacketId::GROUP_MEMBERS,
            v2::GroupMembersRequest { group: id, page: 0, size: 1_001 }.encode_to_vec(),
            ErrorCode::BadRequest,
        ),
        (
            c,
            PacketId::GROUP_MEMBERS,
            v2::GroupMembersRequest { group: id, page: 0, size: 10 }.encode_to_vec(),
            ErrorCode::Forbidden,
        ),
    ];
    for (conn, packet, body, code) in cases {
        assert_eq!(answer(&mut bench, conn, packet, body), code, "{packet:?}");
    }
    let name = |name: &str| v2::GroupCreateRequest {
        name: name.into(),
        request: Bytes::from_static(&[9; 16]),
        ..Default::default()
    };
    assert_eq!(refused(&mut bench, a, PacketId::GROUP_CREATE, &name("\u{202E}x")), ErrorCode::BadName);
    let unnumbered = v2::GroupCreateRequest { request: Bytes::new(), ..name("x") };
    assert_eq!(refused(&mut bench, a, PacketId::GROUP_CREATE, &unnumbered), ErrorCode::BadRequest);
    let crowd = v2::GroupInviteRequest { group: id, uins: (0..501).collect() };
    assert_eq!(refused(&mut bench, a, PacketId::GROUP_INVITE, &crowd), ErrorCode::TooMany);
    let many = v2::GroupGetRequest { groups: (1..=65).collect() };
    assert_eq!(refused(&mut bench, a, PacketId::GROUP_GET, &many), ErrorCode::TooMany);
    let policy = v2::GroupUpdateRequest { group: id, join: Some(7), ..Default::default() };
    assert_eq!(refused(&mut bench, a, PacketId::GROUP_UPDATE, &policy), ErrorCode::BadRequest);
    let notice = v2::GroupUpdateRequest { group: id, notice: Some("\u{200E}".into()), ..Default::default() };
    assert_eq!(refused(&mut bench, a, PacketId::GROUP_UPDATE, &notice), ErrorCode::BadName);
    // Nothing of all this changed anything, and nobody was told anything.
    for conn in [a, b, c] {
        assert!(bench.notified(conn).is_empty() && deltas(&mut bench, conn).is_empty());
    }
    let read: v2::GroupGetResponse =
        bench.call(a, PacketId::GROUP_GET, &v2::GroupGetRequest { groups: vec![id] }).unwrap();
    let left = read.groups[0].group.as_ref().unwrap();
    assert_eq!((left.members, left.owner), (2, uin(&grant_a).0));
    let _ = grant_c;

    // Dissolved, it is gone.
    let _: v2::GroupResponse = bench.call(a, PacketId::GROUP_DISSOLVE, &one).unwrap();
    assert!(state(&bench.notified(b)[0]).group.unwrap().dissolved);
    assert_eq!(answer(&mut bench, b, PacketId::GROUP_JOIN, one.encode_to_vec()), ErrorCode::Gone);
    let talk = ConversationId::of_group(GroupId(id));
    let sent = bench.call::<v2::SendResponse>(b, PacketId::SEND, &message(talk, 1, b"anybody?"));
    assert_eq!(sent, Err(ErrorCode::Gone));
}
