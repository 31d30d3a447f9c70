//! Groups: made, read, changed, ended.

use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

use ntproto_core::ids::{GroupId, Uin};
use ntproto_core::model::permission::{Action, Permissions, Policy, Role, allowed};
use ntproto_core::model::text::Field;
use ntproto_core::time::UnixMillis;
use ntproto_proto::store as record;
use ntproto_proto::v2;

use super::super::act::{Acted, Actor, Placed};
use super::super::keys;
use super::super::kv::{Kv, Table};
use super::super::txn::StoreError;
use super::roster::{Changing, MAX_GROUPS_OF};
use super::{accounts, acts, fixed, members, pages, people, roster, write};

/// Groups read at once: as many as one answer holds, were they all of full length.
pub const MAX_GROUPS_GET: usize = 64;
/// The first group.
const FIRST_GROUP: u64 = 1;

pub(super) fn groups_of(kv: &dyn Kv, uin: Uin) -> Result<Vec<GroupId>, StoreError> {
    let mut groups = Vec::new();
    let to = keys::member_of(uin, GroupId(u64::MAX));
    kv.scan(Table::MemberOf, &keys::member_of(uin, GroupId(0)), &to, &mut |key, _| {
        groups.push(keys::trailing_u64(key).map(GroupId));
        groups.len() < MAX_GROUPS_OF as usize
    })?;
    groups.into_iter().map(|group| group.ok_or(StoreError::Corrupt)).collect()
}

/// Whether the account may do this to the group as a whole.
pub(super) fn may(
    group: &record::Group,
    me: &record::Member,
    action: Action,
    now: UnixMillis,
) -> Result<(), StoreError> {
    allowed(&roster::policy(group), Some(&roster::standing(me)?), action, None, now).map_err(roster::denied)
}

/// The answer to a request about a group.
pub(super) fn answer(kv: &dyn Kv, id: GroupId, by: &Actor) -> Result<Acted, StoreError> {
    let state = roster::state(kv, id, by.uin)?;
    Ok(acts::answered(&v2::GroupResponse { state }))
}

/// What the group itself has become: to all members of one that is not large at once. Those of a large one find it when they sync.
fn tell_all(kv: &mut dyn Kv, changing: &Changing) -> Result<(Vec<Placed>, Option<GroupId>), StoreError> {
    if changing.group.pull_from != 0 {
        return Ok((Vec::new(), Some(changing.id)));
    }
    let members = roster::uins(kv, changing.id)?;
    Ok((changing.tell(kv, &members)?, None))
}

fn join_policy(join: i32) -> Result<u32, StoreError> {
    v2::JoinPolicy::try_from(join).map(|join| join as u32).map_err(|_| StoreError::BadRequest)
}

/// GROUP_CREATE.
pub(super) fn create(
    kv: &mut dyn Kv,
    by: &Actor,
    request: &v2::GroupCreateRequest,
) -> Result<Acted, StoreError> {
    let asked: [u8; 16] = request.request[..].try_into().map_err(|_| StoreError::BadRequest)?;
    let asked = keys::group_request(by.uin, &asked);
    if let Some(made) = kv.get(Table::GroupRequests, &asked)? {
        return answer(kv, GroupId(u64::from_be_bytes(fixed(&made)?)), by);
    }
    let group = record::Group {
        name: people::text(Field::GroupName, &request.name)?,
        owner: by.uin.0,
        join: join_policy(request.join)?,
        permissions: Policy::default().members.to_wire(),
        extra: people::extra(&request.extra)?,
        created_ms: by.now.0,
        ..Default::default()
    };
    let named: BTreeSet<Uin> =
        request.members.iter().copied().map(Uin).filter(|uin| *uin != by.uin).collect();
    members::may_bring(kv, by, &named)?;

    let id = GroupId(accounts::meta_number(kv, keys::NEXT_GROUP)?.unwrap_or(FIRST_GROUP));
    kv.put(Table::Meta, keys::NEXT_GROUP, &id.0.saturating_add(1).to_be_bytes())?;
    accounts::count(kv, keys::GROUPS, 1)?;
    kv.put(Table::GroupRequests, &asked, &id.0.to_be_bytes())?;
    let mut changing = Changing::new(id, group);
    changing.profile(kv)?;
    changing.add(kv, by.uin, Role::Owner, by.now)?;
    for uin in &named {
        changing.add(kv, *uin, Role::Member, by.now)?;
    }
    changing.save(kv)?;
    let whom: Vec<Uin> = [by.uin].into_iter().chain(named).collect();
    let places = changing.tell(kv, &whom)?;
    Ok(Acted { places, ..answer(kv, id, by)? })
}

/// GROUP_GET. Whoever is not in a group sees it if anybody may join.
pub(super) fn get(kv: &dyn Kv, by: &Actor, request: &v2::GroupGetRequest) -> Result<Acted, StoreError> {
    if request.groups.len() > MAX_GROUPS_GET {
        return Err(StoreError::TooMany);
    }
    let mut groups = Vec::new();
    for id in request.groups.iter().copied().map(GroupId) {
        let Some(state) = roster::state(kv, id, by.uin)? else { continue };
        let open = state
            .group
            .as_ref()
            .is_some_and(|group| !group.dissolved && group.join == v2::JoinPolicy::Open as i32);
        if state.me.is_some() || open {
            groups.push(state);
        }
    }
    Ok(acts::answered(&v2::GroupGetResponse { groups }))
}

/// GROUPS.
pub(super) fn list(kv: &dyn Kv, by: &Actor, request: &v2::GroupsRequest) -> Result<Acted, StoreError> {
    let after = keys::member_of(by.uin, GroupId(request.after));
    let to = keys::member_of(by.uin, GroupId(u64::MAX));
    let (groups, has_more) = pages::rows(kv, Table::MemberOf, (&after, &to), request.limit, |key, _| {
        let id = GroupId(keys::trailing_u64(key).ok_or(StoreError::Corrupt)?);
        let state = roster::state(kv, id, by.uin)?.ok_or(StoreError::Corrupt)?;
        // One that was dissolved, and is large, is in the list until the account syncs.
        Ok(state.me.is_some().then_some(state))
    })?;
    Ok(acts::answered(&v2::GroupsResponse { groups, has_more }))
}

/// GROUP_UPDATE.
pub(super) fn update(
    kv: &mut dyn Kv,
    by: &Actor,
    request: &v2::GroupUpdateRequest,
) -> Result<Acted, StoreError> {
    let id = GroupId(request.group);
    let (group, mut me) = roster::joined(kv, id, by.uin)?;
    let before = (group.clone(), me.clone());
    let mut now = group;
    let v2::GroupUpdateRequest { name, notice, join, muted, permissions, extra, nick, .. } = request;
    if name.is_some() || notice.is_some() || extra.is_some() {
        may(&before.0, &me, Action::EditProfile, by.now)?;
    }
    if join.is_some() || muted.is_some() || permissions.is_some() {
        may(&before.0, &me, Action::EditPolicy, by.now)?;
    }
    if let Some(name) = name {
        now.name = people::text(Field::GroupName, name)?;
    }
    if let Some(notice) = notice {
        now.notice = people::text(Field::Notice, notice)?;
    }
    if let Some(extra) = extra {
        now.extra = people::extra(extra)?;
    }
    if let Some(join) = join {
        now.join = join_policy(*join)?;
    }
    now.muted = muted.unwrap_or(now.muted);
    if let Some(permissions) = permissions {
        // What a policy can't give, and what this server does not know, it does not give.
        now.permissions = (Permissions::from_wire(*permissions) & Permissions::GRANTABLE).to_wire();
    }
    if let Some(nick) = nick {
        may(&before.0, &me, Action::EditCard, by.now)?;
        // Without one a member is called what they call themselves.
        me.nick = if nick.is_empty() { nick.clone() } else { people::text(Field::Nick, nick)? };
    }
    let profile = now != before.0;
    let mut changing = Changing::new(id, now);
    let (mut places, mut dirty) = (Vec::new(), None);
    if me != before.1 {
        changing.update(kv, by.uin, &me)?;
    }
    if profile {
        changing.profile(kv)?;
    }
    if profile || me != before.1 {
        changing.save(kv)?;
    }
    if profile {
        (places, dirty) = tell_all(kv, &changing)?;
    } else if me != before.1 {
        places = changing.tell(kv, &[by.uin])?;
    }
    Ok(Acted { places, dirty, delta: changing.delta(), ..answer(kv, id, by)? })
}

/// GROUP_ROLE.
pub(super) fn role(kv: &mut dyn Kv, by: &Actor, request: &v2::GroupRoleRequest) -> Result<Acted, StoreError> {
    let (id, uin) = (GroupId(request.group), Uin(request.uin));
    let role = u32::try_from(request.role).ok().and_then(Role::from_wire).ok_or(StoreError::BadRequest)?;
    let (group, mut me) = roster::joined(kv, id, by.uin)?;
    let mut target = members::act_on(kv, by, id, (&group, &me), uin, Action::SetRole(role))?;
    if target.role == role as u32 {
        return answer(kv, id, by);
    }
    let mut changing = Changing::new(id, group);
    target.role = role as u32;
    changing.update(kv, uin, &target)?;
    let (places, dirty) = if role == Role::Owner {
        //= spec: groups-1
        me.role = Role::Admin as u32;
        changing.update(kv, by.uin, &me)?;
        changing.group.owner = uin.0;
        changing.profile(kv)?;
        changing.save(kv)?;
        match tell_all(kv, &changing)? {
            (_, Some(dirty)) => (changing.tell(kv, &[uin, by.uin])?, Some(dirty)),
            told => told,
        }
    } else {
        changing.save(kv)?;
        (changing.tell(kv, &[uin])?, None)
    };
    Ok(Acted { places, dirty, delta: changing.delta(), ..answer(kv, id, by)? })
}

/// GROUP_DISSOLVE. The members of a large group leave one by one, each when it syncs.
pub(super) fn dissolve(kv: &mut dyn Kv, by: &Actor, request: &v2::GroupRequest) -> Result<Acted, StoreError> {
    let id = GroupId(request.group);
    let (group, me) = roster::joined(kv, id, by.uin)?;
    may(&group, &me, Action::Dissolve, by.now)?;
    let large = group.pull_from != 0;
    let leave = if large { vec![by.uin] } else { roster::uins(kv, id)? };
    for uin in &leave {
        roster::vacate(kv, id, *uin)?;
    }
    let mut changing = Changing::new(id, group);
    changing.group.dissolved = true;
    changing.group.members = 0;
    changing.profile(kv)?;
    write(kv, Table::Groups, &keys::group(id), &changing.group)?;
    accounts::count(kv, keys::GROUPS, -1)?;
    let places = changing.tell(kv, &leave)?;
    let dirty = large.then_some(id);
    Ok(Acted { places, dirty, ..answer(kv, id, by)? })
}
