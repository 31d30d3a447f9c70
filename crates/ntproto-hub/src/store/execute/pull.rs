//! Large groups: their messages are in the log only, and a member's inbox gets its pointers when the member asks.

use alloc::vec::Vec;

use ntproto_core::ids::{ConversationId, GroupId, Uin};
use ntproto_proto::store as record;
use ntproto_proto::store::inbox_entry::Entry;

use super::super::keys;
use super::super::kv::{Kv, Table};
use super::super::txn::{InboxPlace, StoreError};
use super::{groups, inbox, messages, packets, read, roster, rules, write};

/// New messages of one group that get a pointer; of the older ones a gap tells. What is further back than so many messages, people
/// read on demand if at all.
pub const PULL_GROUP: u64 = 1_000;
/// Entries one transaction writes: more would keep the store from everybody else.
pub const PULL_PAGE: usize = 4_000;

/// Puts what is new in an account's large groups into its inbox. Answers whether there is more.
pub(super) fn all(kv: &mut dyn Kv, uin: Uin) -> Result<bool, StoreError> {
    let mut room = PULL_PAGE;
    for id in groups::groups_of(kv, uin)? {
        let group: record::Group = read(kv, Table::Groups, &keys::group(id))?.ok_or(StoreError::Corrupt)?;
        if group.pull_from == 0 {
            continue;
        }
        if room == 0 {
            return Ok(true);
        }
        if group.dissolved {
            roster::vacate(kv, id, uin)?;
            inbox::put(kv, uin, &Entry::Group(id.0))?;
            room -= 1;
            continue;
        }
        let member = roster::member(kv, id, uin)?.ok_or(StoreError::Corrupt)?;
        let mut now = member.clone();
        if group.profile_version > member.pulled_version {
            inbox::put(kv, uin, &Entry::Group(id.0))?;
            now.pulled_version = group.profile_version;
            room -= 1;
        }
        messages_of(kv, uin, id, &group, &mut now, &mut room)?;
        if now != member {
            write(kv, Table::Members, &keys::member(id, uin), &now)?;
        }
        if room == 0 && now.pulled_seq < messages::head(kv, ConversationId::of_group(id))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Puts the new messages of one large group into a member's inbox, as many as there is room for. Answers the last place.
pub(super) fn messages_of(
    kv: &mut dyn Kv,
    uin: Uin,
    id: GroupId,
    group: &record::Group,
    member: &mut record::Member,
    room: &mut usize,
) -> Result<Option<InboxPlace>, StoreError> {
    let conversation = ConversationId::of_group(id);
    let head = messages::head(kv, conversation)?;
    let pulled = pulled(group, member);
    if head <= pulled || *room == 0 {
        return Ok(None);
    }
    let first = (pulled + 1).max((head + 1).saturating_sub(rules::current(kv)?.pull_group));
    let older = keys::log(conversation, pulled + 1)..=keys::log(conversation, first - 1);
    if first > pulled + 1 && kv.last_key(Table::Log, older.start(), older.end())?.is_some() {
        let gap = record::GapEntry {
            conversation: packets::bytes_of(conversation),
            from_seq: pulled + 1,
            to_seq: first - 1,
        };
        inbox::put(kv, uin, &Entry::Gap(gap))?;
        *room -= 1;
    }
    let mut seqs = Vec::new();
    let (after, to) = (keys::log(conversation, first - 1), keys::log(conversation, head));
    kv.scan(Table::Log, &after, &to, &mut |key, _| {
        if seqs.len() == *room {
            return false;
        }
        seqs.push(keys::trailing_u64(key));
        true
    })?;
    *room -= seqs.len();
    member.pulled_seq = first - 1;
    let mut last = None;
    for seq in seqs {
        let conv_seq = seq.ok_or(StoreError::Corrupt)?;
        last = Some(inbox::put(kv, uin, &messages::pointer(conversation, conv_seq))?);
        member.pulled_seq = conv_seq;
    }
    Ok(last)
}

/// Messages up to here stand in the member's inbox: it pulled them, or they came when the group was not large, or before the member.
fn pulled(group: &record::Group, member: &record::Member) -> u64 {
    member.pulled_seq.max(group.pull_from.saturating_sub(1)).max(member.joined_seq.saturating_sub(1))
}
