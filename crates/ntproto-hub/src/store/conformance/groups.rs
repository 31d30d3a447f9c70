//! Groups up to the size at which every member gets a pointer at once.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;
use ntproto_core::ids::{ConversationId, GroupId, Uin};
use ntproto_core::model::permission::{MAX_MUTE, Permissions};
use ntproto_core::time::UnixMillis;
use ntproto_proto::v2;
use ntproto_proto::v2::{GroupChangeKind, JoinPolicy, Role};

use super::super::execute::{KEPT_CHANGES, MAX_INVITES};
use super::super::txn::{Append, DeviceInfo, Rules};
use super::super::{Act, Outcome, StoreError, Txn};
use super::{Bench, LATER, NOW, Packet, message, place};

pub(super) fn one(group: u64) -> v2::GroupRequest {
    v2::GroupRequest { group }
}

pub(super) fn invite(group: u64, whom: &[&DeviceInfo]) -> Act {
    let uins = whom.iter().map(|device| device.uin.0).collect();
    Act::GroupInvite(v2::GroupInviteRequest { group, uins })
}

fn remove(group: u64, whom: &DeviceInfo) -> Act {
    Act::GroupRemove(v2::GroupRemoveRequest { group, uin: whom.uin.0 })
}

fn role(group: u64, whom: &DeviceInfo, role: Role) -> Act {
    Act::GroupRole(v2::GroupRoleRequest { group, uin: whom.uin.0, role: role as i32 })
}

fn mute_until(group: u64, whom: &DeviceInfo, until: UnixMillis) -> Act {
    Act::GroupMute(v2::GroupMuteRequest { group, uin: whom.uin.0, until_ms: until.0 })
}

fn update_of(group: u64) -> v2::GroupUpdateRequest {
    v2::GroupUpdateRequest { group, ..Default::default() }
}

/// A group of which somebody was told, and what they are in it.
fn told(places: &[(Uin, Packet)]) -> Vec<(Uin, Option<Role>)> {
    let of = |(uin, packet): &(Uin, Packet)| match packet {
        Packet::Group(state) => (*uin, state.me.as_ref().map(v2::Member::role)),
        other => panic!("no group: {other:?}"),
    };
    places.iter().map(of).collect()
}

fn state_of(bench: &mut Bench, by: &DeviceInfo, group: u64) -> Option<v2::GroupState> {
    let get = Act::GroupGet(v2::GroupGetRequest { groups: vec![group, 999] });
    bench.ask::<v2::GroupGetResponse>(by, get).0.groups.pop()
}

fn version(bench: &mut Bench, by: &DeviceInfo, group: u64) -> u64 {
    state_of(bench, by, group).and_then(|state| state.group).expect("a group").version
}

pub(super) fn create(bench: &mut Bench) {
    let (a, b, _) = bench.two();
    let c = bench.account(3);
    let new = v2::GroupCreateRequest {
        name: "together".into(),
        members: vec![b.uin.0, a.uin.0, c.uin.0, b.uin.0],
        extra: "{}".into(),
        request: Bytes::from_static(&[1; 16]),
        ..Default::default()
    };
    let (made, places) = bench.ask::<v2::GroupResponse>(&a, Act::GroupCreate(new.clone()));
    let group = made.state.clone().and_then(|state| state.group).expect("a group");
    assert_eq!((group.group, group.members, group.owner, group.version), (1, 3, a.uin.0, 4));
    let member = Some(Role::Member);
    assert_eq!(told(&places), [(a.uin, Some(Role::Owner)), (b.uin, member), (c.uin, member)]);
    bench.reopen();
    // The answer was lost, and the name changed meanwhile.
    let again = v2::GroupCreateRequest { name: "again".into(), ..new.clone() };
    let (again, places) = bench.ask::<v2::GroupResponse>(&a, Act::GroupCreate(again));
    assert_eq!((again, places), (made, vec![]));
    let second = v2::GroupCreateRequest { request: Bytes::from_static(&[2; 16]), ..new.clone() };
    bench.act(&a, Act::GroupCreate(second));
    let groups = |after, limit| Act::Groups(v2::GroupsRequest { after, limit });
    let (page, _) = bench.ask::<v2::GroupsResponse>(&b, groups(0, 1));
    assert_eq!((page.groups.len(), page.has_more), (1, true));
    let (page, _) = bench.ask::<v2::GroupsResponse>(&b, groups(1, 1));
    assert_eq!((page.groups.len(), page.has_more), (1, false));
    assert_eq!(bench.ok(Txn::GroupsOf { uin: c.uin }), Outcome::Groups(vec![GroupId(1), GroupId(2)]));

    let bad = |change: fn(&mut v2::GroupCreateRequest)| {
        let mut bad = v2::GroupCreateRequest { request: Bytes::from_static(&[3; 16]), ..new.clone() };
        change(&mut bad);
        Act::GroupCreate(bad)
    };
    bench.no(&a, bad(|new| new.name = " ".into()), StoreError::BadName);
    bench.no(&a, bad(|new| new.request = Bytes::new()), StoreError::BadRequest);
    bench.no(&a, bad(|new| new.join = 7), StoreError::BadRequest);
    bench.no(&a, bad(|new| new.members = vec![1]), StoreError::NotFound);
    bench.no(&a, bad(|new| new.members = (1..=MAX_INVITES as u64 + 1).collect()), StoreError::TooMany);
    bench.ok(Txn::SetRules(Rules { max_group_members: 2, ..Rules::default() }));
    bench.no(&a, bad(|_| ()), StoreError::TooMany);
    // After a restore, numbers that others may know are not given again.
    bench.ok(Txn::Restored { wall: NOW });
    assert!(bench.group(&[&a]) > 1_000_000);
}

pub(super) fn coming(bench: &mut Bench) {
    let (a, b, _) = bench.two();
    let (c, d) = (bench.account(3), bench.account(4));
    let group = bench.group(&[&a, &b]);
    let before = version(bench, &a, group);
    // Members may invite unless the policy says otherwise; who is in it stays as they are.
    let acted = bench.act(&b, invite(group, &[&a, &c, &c]));
    let delta = acted.delta.expect("a delta");
    assert_eq!((delta.from_version, delta.version, delta.changes.len()), (before, before + 1, 1));
    assert_eq!(delta.changes[0].kind(), GroupChangeKind::Add);
    assert_eq!((acted.places.len(), acted.places[0].place.uin), (1, c.uin));
    assert!(bench.act(&b, invite(group, &[&a, &c])).delta.is_none());
    bench.no(&d, invite(group, &[&d]), StoreError::Forbidden);
    bench.no(&a, Act::GroupInvite(v2::GroupInviteRequest { group, uins: vec![1] }), StoreError::NotFound);
    bench.no(&a, invite(99, &[&d]), StoreError::NotFound);
    let policy = v2::GroupUpdateRequest { permissions: Some(u32::MAX), ..update_of(group) };
    bench.act(&a, Act::GroupUpdate(v2::GroupUpdateRequest { permissions: Some(1), ..policy.clone() }));
    bench.no(&b, invite(group, &[&d]), StoreError::Forbidden);
    let grantable = Permissions::GRANTABLE.to_wire();
    bench.act(&a, Act::GroupUpdate(policy));
    let state = state_of(bench, &a, group).and_then(|state| state.group).expect("a group");
    assert_eq!(state.permissions, grantable);

    bench.no(&d, Act::GroupJoin(one(group)), StoreError::Forbidden);
    assert_eq!(state_of(bench, &d, group), None);
    let open = Some(JoinPolicy::Open as i32);
    bench.act(&a, Act::GroupUpdate(v2::GroupUpdateRequest { join: open, ..update_of(group) }));
    let seen = state_of(bench, &d, group).expect("it is open");
    assert_eq!(seen.me, None);
    let talk = ConversationId::of_group(GroupId(group));
    bench.sends(message(&a, talk, 1, b"before d"));
    let (joined, _) = bench.ask::<v2::GroupResponse>(&d, Act::GroupJoin(one(group)));
    assert_eq!(joined.state.and_then(|state| state.me).expect("in it").joined_seq, 2);
    assert!(bench.act(&d, Act::GroupJoin(one(group))).places.is_empty());
    bench.no(&d, Act::GroupJoin(one(98)), StoreError::NotFound);
}

//= proof: groups-1, groups-6
pub(super) fn going(bench: &mut Bench) {
    let (a, b, _) = bench.two();
    let (c, d) = (bench.account(3), bench.account(4));
    let group = bench.group(&[&a, &b, &c]);
    bench.no(&a, Act::GroupLeave(one(group)), StoreError::LastOwner);
    bench.no(&d, Act::GroupLeave(one(group)), StoreError::Forbidden);
    bench.no(&b, remove(group, &c), StoreError::Forbidden);
    bench.no(&a, remove(group, &d), StoreError::NotFound);
    bench.no(&a, remove(group, &a), StoreError::Forbidden);
    let acted = bench.act(&b, Act::GroupLeave(one(group)));
    // The last slot's member moved into the free one: a change too.
    let kinds: Vec<_> = acted.delta.expect("a delta").changes.iter().map(|change| change.kind()).collect();
    assert_eq!(kinds, [GroupChangeKind::Remove, GroupChangeKind::Update]);
    assert_eq!(acted.places.len(), 1);
    bench.reopen();
    match bench.inbox(b.uin, 0).pop() {
        Some((_, Packet::Group(state))) => {
            assert_eq!(state.me, None);
            // And no more of it than what it is called, however often it is read again.
            let seen = state.group.expect("a group");
            assert!(!seen.name.is_empty());
            assert_eq!((seen.owner, seen.members, seen.permissions, seen.created_ms), (0, 0, 0, 0));
        }
        other => panic!("no group at the end: {other:?}"),
    }
    assert_eq!(bench.ok(Txn::GroupsOf { uin: b.uin }), Outcome::Groups(vec![]));
    let talk = ConversationId::of_group(GroupId(group));
    bench.refused(Txn::Append(message(&b, talk, 1, b"x")), StoreError::Forbidden);
    bench.sends(message(&a, talk, 1, b"without b"));
    bench.act(&a, remove(group, &c));
    assert_eq!(bench.inbox(b.uin, 0).len(), 1);
    // Who comes back sees what comes from then on.
    bench.act(&a, invite(group, &[&b]));
    let history = Act::History(v2::HistoryRequest {
        conversation: Bytes::copy_from_slice(&talk.0),
        limit: 10,
        ..Default::default()
    });
    assert!(bench.ask::<v2::HistoryResponse>(&b, history.clone()).0.messages.is_empty());
    bench.no(&c, history, StoreError::Forbidden);
}

//= proof: groups-2
pub(super) fn roles(bench: &mut Bench) {
    let (a, b, _) = bench.two();
    let (c, d) = (bench.account(3), bench.account(4));
    let group = bench.group(&[&a, &b, &c]);
    bench.no(&b, role(group, &c, Role::Admin), StoreError::Forbidden);
    bench.no(&b, role(group, &b, Role::Owner), StoreError::Forbidden);
    bench.no(&a, role(group, &d, Role::Admin), StoreError::NotFound);
    bench.no(&a, role(group, &a, Role::Member), StoreError::Forbidden);
    let nonsense = v2::GroupRoleRequest { group, uin: b.uin.0, role: 3 };
    bench.no(&a, Act::GroupRole(nonsense), StoreError::BadRequest);
    let (_, places) = bench.ask::<v2::GroupResponse>(&a, role(group, &b, Role::Admin));
    assert_eq!(told(&places), [(b.uin, Some(Role::Admin))]);
    assert!(bench.act(&a, role(group, &b, Role::Admin)).delta.is_none());
    bench.no(&b, role(group, &c, Role::Admin), StoreError::Forbidden);
    bench.no(&b, remove(group, &a), StoreError::Forbidden);
    // Handing over: one owner before and after, and both are told.
    let (_, places) = bench.ask::<v2::GroupResponse>(&a, role(group, &b, Role::Owner));
    let mut told = told(&places);
    told.sort();
    assert_eq!(told, [(a.uin, Some(Role::Admin)), (b.uin, Some(Role::Owner)), (c.uin, Some(Role::Member))]);
    bench.reopen();
    let state = state_of(bench, &c, group).and_then(|state| state.group).expect("a group");
    assert_eq!(state.owner, b.uin.0);
    bench.no(&b, Act::GroupLeave(one(group)), StoreError::LastOwner);
    bench.no(&a, Act::GroupDissolve(one(group)), StoreError::Forbidden);
    bench.act(&a, Act::GroupLeave(one(group)));
    bench.act(&b, remove(group, &c));
}

pub(super) fn update(bench: &mut Bench) {
    let (a, b, _) = bench.two();
    let c = bench.account(3);
    let group = bench.group(&[&a, &b]);
    let named = v2::GroupUpdateRequest { name: Some("friends".into()), ..update_of(group) };
    bench.no(&b, Act::GroupUpdate(named.clone()), StoreError::Forbidden);
    bench.no(&c, Act::GroupUpdate(named.clone()), StoreError::Forbidden);
    let bad = v2::GroupUpdateRequest { name: Some("\u{200E}".into()), ..update_of(group) };
    bench.no(&a, Act::GroupUpdate(bad), StoreError::BadName);
    let (_, places) = bench.ask::<v2::GroupResponse>(&a, Act::GroupUpdate(named.clone()));
    assert_eq!(told(&places), [(a.uin, Some(Role::Owner)), (b.uin, Some(Role::Member))]);
    let before = version(bench, &a, group);
    let acted = bench.act(&a, Act::GroupUpdate(named));
    assert!(acted.places.is_empty() && acted.delta.is_none());
    // One's own name in it is one's own, and both at once is both or neither.
    let card = v2::GroupUpdateRequest { nick: Some("Bee".into()), ..update_of(group) };
    let (_, places) = bench.ask::<v2::GroupResponse>(&b, Act::GroupUpdate(card.clone()));
    assert_eq!(told(&places), [(b.uin, Some(Role::Member))]);
    let both = v2::GroupUpdateRequest { notice: Some("mine now".into()), nick: Some("X".into()), ..card };
    bench.no(&b, Act::GroupUpdate(both.clone()), StoreError::Forbidden);
    bench.act(&a, Act::GroupUpdate(both));
    assert_eq!(version(bench, &a, group), before + 3);
}

//= proof: groups-5
pub(super) fn mute(bench: &mut Bench) {
    let (a, b, _) = bench.two();
    let c = bench.account(3);
    let group = bench.group(&[&a, &b, &c]);
    let talk = ConversationId::of_group(GroupId(group));
    bench.sends(message(&b, talk, 1, b"loud"));
    bench.no(&b, mute_until(group, &c, LATER), StoreError::Forbidden);
    let long = UnixMillis((NOW + MAX_MUTE).0 + 1);
    bench.no(&a, mute_until(group, &b, long), StoreError::BadRequest);
    let (_, places) = bench.ask::<v2::GroupResponse>(&a, mute_until(group, &b, LATER));
    assert_eq!(told(&places), [(b.uin, Some(Role::Member))]);
    bench.refused(Txn::Append(message(&b, talk, 2, b"x")), StoreError::Muted);
    bench.ok(Txn::Append(Append { now: LATER, ..message(&b, talk, 2, b"x") }));
    bench.act(&a, mute_until(group, &b, UnixMillis(0)));
    bench.sends(message(&b, talk, 3, b"x"));
    let all = v2::GroupUpdateRequest { muted: Some(true), ..update_of(group) };
    bench.act(&a, Act::GroupUpdate(all));
    bench.refused(Txn::Append(message(&c, talk, 1, b"x")), StoreError::Muted);
    bench.sends(message(&a, talk, 1, b"x"));
    // Leaving and coming back ends no mute; its time does.
    let open = v2::GroupUpdateRequest { muted: Some(false), join: Some(1), ..update_of(group) };
    bench.act(&a, Act::GroupUpdate(open));
    for (until, id) in [(LATER, 4), (NOW, 5)] {
        bench.act(&a, mute_until(group, &b, until));
        bench.act(&b, Act::GroupLeave(v2::GroupRequest { group }));
        bench.act(&b, Act::GroupJoin(v2::GroupRequest { group }));
        let again = message(&b, talk, id, b"x");
        if until > NOW {
            bench.refused(Txn::Append(again.clone()), StoreError::Muted);
            bench.act(&a, mute_until(group, &b, UnixMillis(0)));
        }
        bench.sends(again);
    }
}

pub(super) fn messages(bench: &mut Bench) {
    let (a, b, _) = bench.two();
    let (c, d) = (bench.account(3), bench.account(4));
    let group = bench.group(&[&a, &b, &c]);
    let talk = ConversationId::of_group(GroupId(group));
    // Everybody has the group in the inbox, then the message, the sender first.
    let (seq, entries) = bench.sends(message(&b, talk, 1, b"hello"));
    assert_eq!((seq, &entries[..]), (1, &[place(b.uin, 2), place(a.uin, 2), place(c.uin, 2)][..]));
    bench.refused(Txn::Append(message(&d, talk, 1, b"x")), StoreError::Forbidden);
    let nowhere = ConversationId::of_group(GroupId(99));
    bench.refused(Txn::Append(message(&a, nowhere, 1, b"x")), StoreError::NotFound);
    bench.reopen();
    for member in [&a, &b, &c] {
        assert_eq!(bench.inbox(member.uin, 1).pop().expect("a message").1.seq(), 1);
    }
    // Watermarks of a small group are told to all.
    let watermarks = vec![super::mark(talk, 1)];
    match bench.ok(Txn::Delivered { uin: a.uin, watermarks }) {
        Outcome::Delivered { receipts } => {
            let told: Vec<_> = receipts.iter().map(|receipt| receipt.place.uin).collect();
            assert_eq!(told, [b.uin, c.uin]);
        }
        other => panic!("no receipts: {other:?}"),
    }
}

pub(super) fn dissolve(bench: &mut Bench) {
    let (a, b, _) = bench.two();
    let group = bench.group(&[&a, &b]);
    let talk = ConversationId::of_group(GroupId(group));
    bench.sends(message(&b, talk, 1, b"x"));
    bench.no(&b, Act::GroupDissolve(one(group)), StoreError::Forbidden);
    let (_, places) = bench.ask::<v2::GroupResponse>(&a, Act::GroupDissolve(one(group)));
    assert_eq!(told(&places), [(a.uin, None), (b.uin, None)]);
    bench.reopen();
    bench.refused(Txn::Append(message(&b, talk, 2, b"x")), StoreError::Gone);
    // What was stored is answered still.
    bench.ok(Txn::Append(message(&b, talk, 1, b"x")));
    for act in [
        Act::GroupDissolve(one(group)),
        Act::GroupLeave(one(group)),
        Act::GroupJoin(one(group)),
        invite(group, &[&b]),
        remove(group, &b),
        role(group, &b, Role::Admin),
        mute_until(group, &b, LATER),
        Act::GroupUpdate(update_of(group)),
        Act::GroupMembers(v2::GroupMembersRequest { group, page: 0, size: 10 }),
        Act::GroupChanges(v2::GroupChangesRequest { group, since: 0, limit: 10 }),
    ] {
        bench.no(&a, act, StoreError::Gone);
    }
    for uin in [a.uin, b.uin] {
        assert_eq!(bench.ok(Txn::GroupsOf { uin }), Outcome::Groups(vec![]));
    }
    assert_eq!(state_of(bench, &a, group), None);
}

/// The members after changes, as a client keeps them.
fn apply(members: &mut BTreeMap<u64, v2::Member>, changes: Vec<v2::GroupChange>) {
    for change in changes {
        let kind = change.kind();
        match (kind, change.member) {
            (GroupChangeKind::Add | GroupChangeKind::Update, Some(member)) => {
                members.insert(member.uin, member);
            }
            (GroupChangeKind::Remove, Some(member)) => {
                members.remove(&member.uin);
            }
            _ => {}
        }
    }
}

//= proof: groups-4
pub(super) fn pages(bench: &mut Bench) {
    let crowd = bench.crowd(23);
    let (owner, rest) = crowd.split_first().expect("a crowd");
    let group = bench.group(&crowd[..20].iter().collect::<Vec<_>>());
    let page = |page, size| Act::GroupMembers(v2::GroupMembersRequest { group, page, size });
    let mut members = BTreeMap::new();
    let mut lowest = u64::MAX;
    for n in 0..4 {
        let (answer, _) = bench.ask::<v2::GroupMembersResponse>(owner, page(n, 6));
        lowest = lowest.min(answer.version);
        members.extend(answer.members.into_iter().map(|member| (member.uin, member)));
        // Between the pages people come, go, and rise.
        bench.act(owner, remove(group, &rest[n as usize * 3]));
        bench.act(owner, role(group, &rest[n as usize * 3 + 1], Role::Admin));
        bench.act(owner, invite(group, &[&crowd[19 + n as usize]]));
    }
    let since = Act::GroupChanges(v2::GroupChangesRequest { group, since: lowest, limit: 100 });
    let (answer, _) = bench.ask::<v2::GroupChangesResponse>(owner, since);
    assert!(!answer.too_old && !answer.has_more);
    apply(&mut members, answer.changes);
    let mut now = BTreeMap::new();
    for n in 0..4 {
        let (answer, _) = bench.ask::<v2::GroupMembersResponse>(owner, page(n, 6));
        now.extend(answer.members.into_iter().map(|member| (member.uin, member)));
    }
    assert_eq!(members, now);
    bench.no(owner, page(0, 0), StoreError::BadRequest);
    bench.no(owner, page(0, 1_001), StoreError::BadRequest);
    bench.no(&rest[0], page(0, 6), StoreError::Forbidden);
    assert!(bench.ask::<v2::GroupMembersResponse>(owner, page(u32::MAX, 1_000)).0.members.is_empty());
}

//= proof: groups-7
pub(super) fn changes(bench: &mut Bench) {
    let (a, b, _) = bench.two();
    let group = bench.group(&[&a]);
    let batch: Vec<Txn> = (0..KEPT_CHANGES / 2 + 4)
        .flat_map(|_| [(&a, invite(group, &[&b])), (&b, Act::GroupLeave(one(group)))])
        .map(|(by, act)| super::acting(by, NOW, act))
        .collect();
    assert!(bench.batch(&batch).iter().all(Result::is_ok));
    let now = version(bench, &a, group);
    let since = |since, limit| Act::GroupChanges(v2::GroupChangesRequest { group, since, limit });
    for (from, too_old) in [
        (now, false),
        (now - 1, false),
        (now - KEPT_CHANGES, false),
        (now - KEPT_CHANGES - 1, true),
        (0, true),
    ] {
        let (answer, _) = bench.ask::<v2::GroupChangesResponse>(&a, since(from, 1));
        assert_eq!(answer.too_old, too_old, "since {from} of {now}");
        assert_eq!((answer.version, answer.changes.len()), (now, usize::from(!too_old && from != now)));
        assert_eq!(answer.has_more, !too_old && from + 1 < now);
    }
    // A version of the future, and one that was lost with the disk.
    assert!(bench.ask::<v2::GroupChangesResponse>(&a, since(now + 1, 1)).0.too_old);
    bench.ok(Txn::Restored { wall: NOW });
    bench.act(&a, invite(group, &[&b]));
    assert!(version(bench, &a, group) > now + 5);
    assert!(bench.ask::<v2::GroupChangesResponse>(&a, since(now + 5, 1)).0.too_old);
    // The numbers have jumped: what lies before the jump can be followed up to it, and no further.
    let (answer, _) = bench.ask::<v2::GroupChangesResponse>(&a, since(now - 1, 9));
    assert_eq!((answer.changes.len(), answer.has_more, answer.too_old), (1, true, false));
    assert!(bench.ask::<v2::GroupChangesResponse>(&a, since(now, 9)).0.too_old);
    bench.act(&b, Act::GroupLeave(one(group)));
    bench.no(&b, since(1, 1), StoreError::Forbidden);
}
