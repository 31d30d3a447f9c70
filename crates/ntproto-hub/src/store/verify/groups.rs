//! Groups and their members.

use super::*;

pub(super) fn exists(kv: &dyn Kv, id: GroupId) -> Result<bool, Wrong> {
    has(kv, Table::Groups, &keys::group(id))
}

fn group_of(kv: &dyn Kv, id: GroupId) -> Result<record::Group, Wrong> {
    read(kv, Table::Groups, &keys::group(id))?.ok_or(Wrong::Fault("is of a group that is not there"))
}

fn member_at(kv: &dyn Kv, id: GroupId, uin: Uin) -> Result<record::Member, Wrong> {
    read(kv, Table::Members, &keys::member(id, uin))?.ok_or(Wrong::Fault("names who is no member"))
}

pub(super) fn group(kv: &dyn Kv, tally: &mut Tally, key: &[u8], value: &[u8]) -> Check {
    let (id, group) = (GroupId(number(key, 0)?), decode::<record::Group>(value)?);
    let next = kv.get(Table::Meta, keys::NEXT_GROUP)?.as_deref().and_then(keys::number);
    ensure(next.is_some_and(|next| id.0 < next), "has a number that was not given out")?;
    ensure(group.profile_version <= group.version, "has changed in the future")?;
    let all = (keys::change(id, 0), keys::change(id, u64::MAX));
    let newest = kv.last_key(Table::GroupChanges, &all.0, &all.1)?;
    let newest = newest.as_deref().and_then(keys::trailing_u64);
    ensure(newest == Some(group.version), "has another version than its last change")?;
    if group.dissolved {
        return ensure(group.members == 0, "was dissolved, and counts members");
    }
    tally.groups += 1;
    let (mut members, mut owners) = (0_u32, 0_u32);
    let all = (keys::member(id, Uin(0)), keys::member(id, Uin(u64::MAX)));
    kv.scan(Table::Members, &all.0, &all.1, &mut |_, value| {
        let member: record::Member = decode(value).unwrap_or_default();
        members += 1;
        owners += u32::from(member.role == v2::Role::Owner as u32);
        true
    })?;
    ensure(members == group.members, "does not count its members right")?;
    //= spec: groups-1
    ensure(owners == 1, "does not have one owner")?;
    let owner = member_at(kv, id, Uin(group.owner))?;
    ensure(owner.role == v2::Role::Owner as u32, "names an owner who is none")?;
    ensure(group.members <= FANOUT || group.pull_from != 0, "is large, and nobody pulls")?;
    // Each slot names a member, each member a slot: as many slots as members are dense if none is beyond the last.
    let beyond = (keys::slot(id, group.members), keys::slot(id, u32::MAX));
    ensure(kv.last_key(Table::MemberSlots, &beyond.0, &beyond.1)?.is_none(), "has slots beyond its members")
}

pub(super) fn member(kv: &dyn Kv, key: &[u8], value: &[u8]) -> Check {
    let (id, uin) = (GroupId(number(key, 0)?), Uin(number(key, 8)?));
    let member: record::Member = decode(value)?;
    group_of(kv, id)?;
    ensure(super::exists(kv, uin)?, "is an account that is not there")?;
    let conversation = ConversationId::of_group(id);
    ensure(has(kv, Table::MemberOf, &keys::member_of(uin, id))?, "does not know of its membership")?;
    let listed = has(kv, Table::Conversations, &keys::conversation_of(uin, conversation))?;
    ensure(listed, "lacks the conversation in its list")?;
    let slot = kv.get(Table::MemberSlots, &keys::slot(id, member.slot))?.as_deref().and_then(keys::number);
    ensure(slot == Some(uin.0), "is not in its slot")
}

pub(super) fn slot(kv: &dyn Kv, key: &[u8], value: &[u8]) -> Check {
    let (id, slot) = (GroupId(number(key, 0)?), u32::from_be_bytes(field(key, 8)?));
    let member = member_at(kv, id, Uin(number(value, 0)?))?;
    ensure(member.slot == slot, "names a member of another slot")
}

pub(super) fn member_of(kv: &dyn Kv, key: &[u8]) -> Check {
    member_at(kv, GroupId(number(key, 8)?), Uin(number(key, 0)?)).map(drop)
}

pub(super) fn change(kv: &dyn Kv, key: &[u8], value: &[u8]) -> Check {
    let (id, version) = (GroupId(number(key, 0)?), number(key, 8)?);
    let change: v2::GroupChange = decode(value)?;
    ensure(change.version == version, "has another version than its place")?;
    ensure(version <= group_of(kv, id)?.version, "is of the future")
}
