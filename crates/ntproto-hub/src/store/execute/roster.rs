//! A group's records: who is in it, where, and one numbered change after another.

use alloc::vec::Vec;

use ntproto_core::ids::{ConversationId, GroupId, Uin};
use ntproto_core::model::permission::{Denied, Permissions, Policy, Role, Standing};
use ntproto_core::time::UnixMillis;
use ntproto_proto::store as record;
use ntproto_proto::store::inbox_entry::Entry;
use ntproto_proto::v2;
use ntproto_proto::v2::GroupChangeKind;

use super::super::act::Placed;
use super::super::keys;
use super::super::kv::{Kv, Table};
use super::super::txn::StoreError;
use super::messages::{FANOUT, next_seq};
use super::{accounts, inbox, read, restored, rules, write};

/// Members of a group at most.
pub const MAX_GROUP_MEMBERS: u32 = 100_000;
/// Groups of an account: a sync looks at each of them.
pub const MAX_GROUPS_OF: u32 = 1_000;
/// Changes of a group that are kept.
pub const KEPT_CHANGES: u64 = 4_096;
/// Old changes that one new one takes away, so that a list that is too long gets short.
const PRUNE_CHANGES: usize = 2;

/// A group that is not dissolved.
pub(super) fn live(kv: &dyn Kv, id: GroupId) -> Result<record::Group, StoreError> {
    let group: record::Group = read(kv, Table::Groups, &keys::group(id))?.ok_or(StoreError::NotFound)?;
    if group.dissolved { Err(StoreError::Gone) } else { Ok(group) }
}

pub(super) fn member(kv: &dyn Kv, id: GroupId, uin: Uin) -> Result<Option<record::Member>, StoreError> {
    read(kv, Table::Members, &keys::member(id, uin))
}

/// A group, and what the account is in it.
pub(super) fn joined(
    kv: &dyn Kv,
    id: GroupId,
    uin: Uin,
) -> Result<(record::Group, record::Member), StoreError> {
    let group = live(kv, id)?;
    let member = member(kv, id, uin)?.ok_or(StoreError::Forbidden)?;
    Ok((group, member))
}

/// The members of a group that is not large.
pub(super) fn uins(kv: &dyn Kv, id: GroupId) -> Result<Vec<Uin>, StoreError> {
    let mut uins = Vec::new();
    let to = keys::member(id, Uin(u64::MAX));
    kv.scan(Table::Members, &keys::member(id, Uin(0)), &to, &mut |key, _| {
        uins.push(keys::trailing_u64(key).map(Uin));
        uins.len() < FANOUT as usize
    })?;
    uins.into_iter().map(|uin| uin.ok_or(StoreError::Corrupt)).collect()
}

pub(super) fn policy(group: &record::Group) -> Policy {
    Policy {
        members: Permissions::from_wire(group.permissions),
        all_muted: group.muted,
        open: group.join == v2::JoinPolicy::Open as u32,
    }
}

pub(super) fn standing(member: &record::Member) -> Result<Standing, StoreError> {
    let role = Role::from_wire(member.role).ok_or(StoreError::Corrupt)?;
    Ok(Standing { role, muted_until: UnixMillis(member.muted_until_ms) })
}

/// Why somebody may not, as the store says it.
pub(super) fn denied(why: Denied) -> StoreError {
    match why {
        Denied::NotMember | Denied::NotInvited | Denied::Permission | Denied::Rank => StoreError::Forbidden,
        Denied::Member => StoreError::Conflict,
        Denied::NoTarget => StoreError::NotFound,
        Denied::Muted(_) => StoreError::Muted,
        Denied::MuteTooLong => StoreError::BadRequest,
        Denied::LastOwner => StoreError::LastOwner,
    }
}

pub(super) fn shown(id: GroupId, group: &record::Group) -> v2::Group {
    v2::Group {
        group: id.0,
        name: group.name.clone(),
        notice: group.notice.clone(),
        owner: group.owner,
        members: group.members,
        join: i32::try_from(group.join).unwrap_or_default(),
        muted: group.muted,
        permissions: group.permissions,
        extra: group.extra.clone(),
        created_ms: group.created_ms,
        version: group.version,
        dissolved: group.dissolved,
    }
}

pub(super) fn shown_member(uin: Uin, member: &record::Member) -> v2::Member {
    v2::Member {
        uin: uin.0,
        role: i32::try_from(member.role).unwrap_or_default(),
        nick: member.nick.clone(),
        joined_ms: member.joined_ms,
        joined_seq: member.joined_seq,
        muted_until_ms: member.muted_until_ms,
    }
}

/// A group as it stands for an account; `None`: it never was.
pub(super) fn state(kv: &dyn Kv, id: GroupId, uin: Uin) -> Result<Option<v2::GroupState>, StoreError> {
    let Some(group) = read::<record::Group>(kv, Table::Groups, &keys::group(id))? else { return Ok(None) };
    let me = if group.dissolved { None } else { member(kv, id, uin)? };
    let me = me.map(|me| shown_member(uin, &me));
    let open = group.join == v2::JoinPolicy::Open as u32 && !group.dissolved;
    let mut shown = shown(id, &group);
    //= spec: groups-6
    if me.is_none() && !open {
        let v2::Group { group, name, version, dissolved, .. } = shown;
        shown = v2::Group { group, name, version, dissolved, ..Default::default() };
    }
    Ok(Some(v2::GroupState { group: Some(shown), me }))
}

/// Takes out what ties an account to a group, but for its slot. Its watermarks stay: others' inboxes point to them, and they only
/// rise, should it come back.
pub(super) fn forget(kv: &mut dyn Kv, id: GroupId, uin: Uin) -> Result<(), StoreError> {
    let conversation = ConversationId::of_group(id);
    kv.delete(Table::Members, &keys::member(id, uin))?;
    kv.delete(Table::MemberOf, &keys::member_of(uin, id))?;
    kv.delete(Table::Conversations, &keys::conversation_of(uin, conversation))?;
    let mut account = accounts::account(kv, uin)?.ok_or(StoreError::Corrupt)?;
    account.groups = account.groups.checked_sub(1).ok_or(StoreError::Corrupt)?;
    accounts::save(kv, uin, &account)
}

/// Takes a member out of a group that is dissolved: slots need not be dense any more.
pub(super) fn vacate(kv: &mut dyn Kv, id: GroupId, uin: Uin) -> Result<(), StoreError> {
    let member = member(kv, id, uin)?.ok_or(StoreError::Corrupt)?;
    kv.delete(Table::MemberSlots, &keys::slot(id, member.slot))?;
    forget(kv, id, uin)
}

/// A group in one transaction's hands: every change gets the next version.
pub(super) struct Changing {
    pub(super) id: GroupId,
    pub(super) group: record::Group,
    from: u64,
    changes: Vec<v2::GroupChange>,
}

impl Changing {
    pub(super) fn new(id: GroupId, group: record::Group) -> Self {
        Self { id, from: group.version, group, changes: Vec::new() }
    }

    fn log(&mut self, kv: &mut dyn Kv, mut change: v2::GroupChange) -> Result<(), StoreError> {
        let version = restored::next_version(kv, self.group.version)?;
        self.group.version = version;
        change.version = version;
        if change.kind() == GroupChangeKind::Group {
            self.group.profile_version = version;
            change.group = Some(shown(self.id, &self.group));
        }
        write(kv, Table::GroupChanges, &keys::change(self.id, version), &change)?;
        self.changes.push(change);
        let mut old = Vec::new();
        let oldest = keys::change(self.id, version.saturating_sub(KEPT_CHANGES));
        kv.scan(Table::GroupChanges, &keys::change(self.id, 0), &oldest, &mut |key, _| {
            old.push(keys::owned(key));
            old.len() < PRUNE_CHANGES
        })?;
        old.iter().try_for_each(|key| kv.delete(Table::GroupChanges, key))
    }

    fn log_member(
        &mut self,
        kv: &mut dyn Kv,
        kind: GroupChangeKind,
        member: v2::Member,
    ) -> Result<(), StoreError> {
        let change = v2::GroupChange { kind: kind as i32, member: Some(member), ..Default::default() };
        self.log(kv, change)
    }

    /// The group itself has changed.
    pub(super) fn profile(&mut self, kv: &mut dyn Kv) -> Result<(), StoreError> {
        self.log(kv, v2::GroupChange { kind: GroupChangeKind::Group as i32, ..Default::default() })
    }

    /// Somebody comes in.
    pub(super) fn add(
        &mut self,
        kv: &mut dyn Kv,
        uin: Uin,
        role: Role,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let mut account = accounts::account(kv, uin)?.ok_or(StoreError::NotFound)?;
        if account.groups >= MAX_GROUPS_OF || self.group.members >= rules::current(kv)?.max_group_members {
            return Err(StoreError::TooMany);
        }
        account.groups += 1;
        accounts::save(kv, uin, &account)?;
        let conversation = ConversationId::of_group(self.id);
        let member = record::Member {
            role: role as u32,
            muted_until_ms: self.mute_kept(kv, uin, now)?,
            joined_ms: now.0,
            joined_seq: next_seq(kv, conversation)?,
            slot: self.group.members,
            pulled_version: self.group.profile_version,
            ..Default::default()
        };
        self.group.members += 1;
        write(kv, Table::Members, &keys::member(self.id, uin), &member)?;
        kv.put(Table::MemberSlots, &keys::slot(self.id, member.slot), &uin.0.to_be_bytes())?;
        kv.put(Table::MemberOf, &keys::member_of(uin, self.id), &[])?;
        kv.put(Table::Conversations, &keys::conversation_of(uin, conversation), &[])?;
        self.log_member(kv, GroupChangeKind::Add, shown_member(uin, &member))
    }

    /// The mute that somebody left with, if it is not over.
    //= spec: groups-5
    fn mute_kept(&self, kv: &mut dyn Kv, uin: Uin, now: UnixMillis) -> Result<u64, StoreError> {
        let key = keys::member(self.id, uin);
        let Some(kept) = kv.get(Table::Mutes, &key)? else { return Ok(0) };
        kv.delete(Table::Mutes, &key)?;
        let until = keys::number(&kept).ok_or(StoreError::Corrupt)?;
        Ok(if until > now.0 { until } else { 0 })
    }

    /// Somebody goes. The last slot's member moves into the free one, and that is a change too: whoever reads pages meanwhile might
    /// miss them otherwise.
    pub(super) fn remove(
        &mut self,
        kv: &mut dyn Kv,
        uin: Uin,
        member: &record::Member,
    ) -> Result<(), StoreError> {
        forget(kv, self.id, uin)?;
        if member.muted_until_ms != 0 {
            kv.put(Table::Mutes, &keys::member(self.id, uin), &member.muted_until_ms.to_be_bytes())?;
        }
        self.group.members = self.group.members.checked_sub(1).ok_or(StoreError::Corrupt)?;
        let gone = v2::Member { uin: uin.0, ..Default::default() };
        self.log_member(kv, GroupChangeKind::Remove, gone)?;
        //= spec: groups-4
        let last = keys::slot(self.id, self.group.members);
        if member.slot != self.group.members {
            let moved = kv.get(Table::MemberSlots, &last)?.ok_or(StoreError::Corrupt)?;
            let moved = Uin(keys::number(&moved).ok_or(StoreError::Corrupt)?);
            let mut their = self::member(kv, self.id, moved)?.ok_or(StoreError::Corrupt)?;
            their.slot = member.slot;
            kv.put(Table::MemberSlots, &keys::slot(self.id, member.slot), &moved.0.to_be_bytes())?;
            self.update(kv, moved, &their)?;
        }
        kv.delete(Table::MemberSlots, &last)
    }

    /// Somebody's record has changed.
    pub(super) fn update(
        &mut self,
        kv: &mut dyn Kv,
        uin: Uin,
        member: &record::Member,
    ) -> Result<(), StoreError> {
        write(kv, Table::Members, &keys::member(self.id, uin), member)?;
        self.log_member(kv, GroupChangeKind::Update, shown_member(uin, member))
    }

    /// Writes the group. From the moment it has more members than get a pointer each, its messages are pulled, and stay so when it
    /// gets small again: a member has one mark for all of them.
    pub(super) fn save(&mut self, kv: &mut dyn Kv) -> Result<(), StoreError> {
        if self.group.pull_from == 0 && self.group.members > rules::current(kv)?.fanout {
            self.group.pull_from = next_seq(kv, ConversationId::of_group(self.id))?;
        }
        write(kv, Table::Groups, &keys::group(self.id), &self.group)
    }

    /// What the members that are connected are told, unless they are too many.
    pub(super) fn delta(self) -> Option<v2::GroupDelta> {
        (self.group.members <= FANOUT && !self.changes.is_empty()).then_some(v2::GroupDelta {
            group: self.id.0,
            from_version: self.from,
            version: self.group.version,
            changes: self.changes,
        })
    }

    /// Puts the group into the inboxes of these accounts, as it stands for each. It is saved before.
    pub(super) fn tell(&self, kv: &mut dyn Kv, whom: &[Uin]) -> Result<Vec<Placed>, StoreError> {
        whom.iter().map(|uin| inbox::stand(kv, *uin, &Entry::Group(self.id.0))).collect()
    }
}
