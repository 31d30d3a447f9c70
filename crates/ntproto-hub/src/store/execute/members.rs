//! Members of groups: in, out, muted, and read.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use ntproto_core::ids::{GroupId, Uin};
use ntproto_core::model::permission::{Action, Role, allowed};
use ntproto_core::time::UnixMillis;
use ntproto_proto::store as record;
use ntproto_proto::v2;

use super::super::act::{Acted, Actor};
use super::super::keys;
use super::super::kv::{Kv, Table};
use super::super::txn::StoreError;
use super::groups::{answer, may};
use super::roster::Changing;
use super::{accounts, acts, decode, friends, pages, roster};

/// Accounts one request brings into a group: one transaction writes some records for each.
pub const MAX_INVITES: usize = 500;
/// Members of a page: they fit an answer, were their names all of full length.
pub const MAX_MEMBERS_PAGE: u32 = 1_000;

/// Whether the asker may bring these accounts anywhere.
pub(super) fn may_bring(kv: &dyn Kv, by: &Actor, uins: &BTreeSet<Uin>) -> Result<(), StoreError> {
    if uins.len() > MAX_INVITES {
        return Err(StoreError::TooMany);
    }
    for uin in uins {
        accounts::account(kv, *uin)?.ok_or(StoreError::NotFound)?;
        //= spec: people-4
        if friends::is_blocked_by(kv, by.uin, *uin)? {
            return Err(StoreError::Forbidden);
        }
    }
    Ok(())
}

/// The member that the asker may do this to.
pub(super) fn act_on(
    kv: &dyn Kv,
    by: &Actor,
    id: GroupId,
    (group, me): (&record::Group, &record::Member),
    uin: Uin,
    action: Action,
) -> Result<record::Member, StoreError> {
    let target = roster::member(kv, id, uin)?;
    let theirs = target.as_ref().map(roster::standing).transpose()?;
    //= spec: groups-2
    allowed(&roster::policy(group), Some(&roster::standing(me)?), action, theirs.as_ref(), by.now)
        .map_err(roster::denied)?;
    target.ok_or(StoreError::NotFound)
}

/// GROUP_INVITE.
pub(super) fn invite(
    kv: &mut dyn Kv,
    by: &Actor,
    request: &v2::GroupInviteRequest,
) -> Result<Acted, StoreError> {
    let id = GroupId(request.group);
    let (group, me) = roster::joined(kv, id, by.uin)?;
    may(&group, &me, Action::Invite, by.now)?;
    if request.uins.len() > MAX_INVITES {
        return Err(StoreError::TooMany);
    }
    let mut uins = BTreeSet::new();
    for uin in request.uins.iter().copied().map(Uin) {
        if roster::member(kv, id, uin)?.is_none() {
            uins.insert(uin);
        }
    }
    may_bring(kv, by, &uins)?;
    bring(kv, by, Changing::new(id, group), &uins.into_iter().collect::<Vec<_>>())
}

/// GROUP_JOIN.
pub(super) fn join(kv: &mut dyn Kv, by: &Actor, request: &v2::GroupRequest) -> Result<Acted, StoreError> {
    let id = GroupId(request.group);
    let group = roster::live(kv, id)?;
    if roster::member(kv, id, by.uin)?.is_some() {
        return answer(kv, id, by);
    }
    allowed(&roster::policy(&group), None, Action::Join, None, by.now).map_err(roster::denied)?;
    bring(kv, by, Changing::new(id, group), &[by.uin])
}

fn bring(kv: &mut dyn Kv, by: &Actor, mut changing: Changing, uins: &[Uin]) -> Result<Acted, StoreError> {
    let id = changing.id;
    if uins.is_empty() {
        return answer(kv, id, by);
    }
    for uin in uins {
        changing.add(kv, *uin, Role::Member, by.now)?;
    }
    changing.save(kv)?;
    let places = changing.tell(kv, uins)?;
    Ok(Acted { places, delta: changing.delta(), ..answer(kv, id, by)? })
}

/// GROUP_LEAVE.
pub(super) fn leave(kv: &mut dyn Kv, by: &Actor, request: &v2::GroupRequest) -> Result<Acted, StoreError> {
    let id = GroupId(request.group);
    let (group, me) = roster::joined(kv, id, by.uin)?;
    may(&group, &me, Action::Leave, by.now)?;
    out(kv, by, Changing::new(id, group), by.uin, &me)
}

/// GROUP_REMOVE.
pub(super) fn remove(
    kv: &mut dyn Kv,
    by: &Actor,
    request: &v2::GroupRemoveRequest,
) -> Result<Acted, StoreError> {
    let (id, uin) = (GroupId(request.group), Uin(request.uin));
    let (group, me) = roster::joined(kv, id, by.uin)?;
    let target = act_on(kv, by, id, (&group, &me), uin, Action::Remove)?;
    out(kv, by, Changing::new(id, group), uin, &target)
}

fn out(
    kv: &mut dyn Kv,
    by: &Actor,
    mut changing: Changing,
    uin: Uin,
    member: &record::Member,
) -> Result<Acted, StoreError> {
    let id = changing.id;
    changing.remove(kv, uin, member)?;
    changing.save(kv)?;
    let places = changing.tell(kv, &[uin])?;
    Ok(Acted { places, delta: changing.delta(), ..answer(kv, id, by)? })
}

/// GROUP_MUTE.
pub(super) fn mute(kv: &mut dyn Kv, by: &Actor, request: &v2::GroupMuteRequest) -> Result<Acted, StoreError> {
    let (id, uin) = (GroupId(request.group), Uin(request.uin));
    let (group, me) = roster::joined(kv, id, by.uin)?;
    let until = UnixMillis(request.until_ms);
    let mut target = act_on(kv, by, id, (&group, &me), uin, Action::Mute(until))?;
    if target.muted_until_ms == request.until_ms {
        return answer(kv, id, by);
    }
    target.muted_until_ms = request.until_ms;
    let mut changing = Changing::new(id, group);
    changing.update(kv, uin, &target)?;
    changing.save(kv)?;
    let places = changing.tell(kv, &[uin])?;
    Ok(Acted { places, delta: changing.delta(), ..answer(kv, id, by)? })
}

/// GROUP_MEMBERS.
pub(super) fn page(kv: &dyn Kv, by: &Actor, request: &v2::GroupMembersRequest) -> Result<Acted, StoreError> {
    let id = GroupId(request.group);
    let (group, _) = roster::joined(kv, id, by.uin)?;
    // Another size than the one asked for would leave members out between pages.
    if request.size == 0 || request.size > MAX_MEMBERS_PAGE {
        return Err(StoreError::BadRequest);
    }
    let first = request.page.saturating_mul(request.size);
    let mut members = Vec::new();
    for slot in first..first.saturating_add(request.size).min(group.members) {
        let uin = kv.get(Table::MemberSlots, &keys::slot(id, slot))?.ok_or(StoreError::Corrupt)?;
        let uin = Uin(keys::number(&uin).ok_or(StoreError::Corrupt)?);
        let member = roster::member(kv, id, uin)?.ok_or(StoreError::Corrupt)?;
        members.push(roster::shown_member(uin, &member));
    }
    let answer = v2::GroupMembersResponse { members, version: group.version, count: group.members };
    Ok(acts::answered(&answer))
}

/// GROUP_CHANGES.
pub(super) fn changes(
    kv: &dyn Kv,
    by: &Actor,
    request: &v2::GroupChangesRequest,
) -> Result<Acted, StoreError> {
    let id = GroupId(request.group);
    let (group, _) = roster::joined(kv, id, by.uin)?;
    let (since, version) = (request.since, group.version);
    let (after, to) = (keys::change(id, since), keys::change(id, version));
    let (mut changes, mut has_more): (Vec<v2::GroupChange>, bool) =
        pages::rows(kv, Table::GroupChanges, (&after, &to), request.limit, |_, value| {
            decode(value).map(Some)
        })?;
    // Changes are told as long as each follows the one before it: after a restore their numbers jump.
    let follow = (since.saturating_add(1)..).zip(&changes).take_while(|(due, c)| c.version == *due).count();
    has_more |= follow < changes.len();
    changes.truncate(follow);
    //= spec: groups-7
    if since != version && changes.is_empty() {
        let answer = v2::GroupChangesResponse { version, too_old: true, ..Default::default() };
        return Ok(acts::answered(&answer));
    }
    Ok(acts::answered(&v2::GroupChangesResponse { changes, version, has_more, too_old: false }))
}
