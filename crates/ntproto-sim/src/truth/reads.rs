//! What is read: answers that must say what is so.

use std::collections::{BTreeMap, BTreeSet};

use ntproto_core::ids::{ConversationId, Uin};
use ntproto_hub::store::act::{Acted, Actor};
use ntproto_hub::store::{Act, StoreError};
use ntproto_proto::v2;

use super::logs::{Entry, Logs};
use super::people::State;
use super::{Against, Answer, Truth, acted, decode, same};
use crate::ledger::Check;

pub(super) fn judge(truth: &Truth, by: &Actor, act: &Act, answer: &Answer) -> Check {
    let mut against = Against::default();
    match act {
        Act::History(r) => conversation(truth, &mut against, by.uin, &r.conversation),
        Act::Marks(r) => conversation(truth, &mut against, by.uin, &r.conversation),
        Act::GroupMembers(r) => {
            group(truth, &mut against, by.uin, r.group);
            against.when(!(1..=1_000).contains(&r.size), StoreError::BadRequest);
        }
        Act::GroupChanges(r) => group(truth, &mut against, by.uin, r.group),
        Act::PresenceSubscribe(r) => {
            let blind = r.add.iter().any(|uin| !truth.people.sees(by.uin, Uin(*uin)));
            against.when(blind, StoreError::Forbidden);
        }
        // Nobody here is an administrator.
        _ if act.packet().0 >> 8 == 0x04 => {
            against.when(true, StoreError::Forbidden);
        }
        _ => {}
    }
    let Some(outcome) = against.judge("it", answer)? else { return Ok(()) };
    let acted = acted(outcome)?;
    match act {
        Act::Friends(r) => friends(truth, by.uin, r, &decode(acted)?),
        Act::Profiles(r) => {
            let told: v2::ProfilesResponse = decode(acted)?;
            let asked: BTreeSet<u64> =
                r.uins.iter().copied().filter(|u| truth.people.exists(Uin(*u))).collect();
            same("whose profiles", &told.users.iter().map(|u| u.uin).collect(), &asked)?;
            told.users.iter().try_for_each(|user| truth.people.is_user(user))
        }
        Act::GroupGet(r) => {
            let told: v2::GroupGetResponse = decode(acted)?;
            let known = |id: &u64| truth.groups.all.contains_key(id);
            for state in &told.groups {
                let id = state.group.as_ref().map_or(0, |g| g.group);
                if !r.groups.contains(&id) || !known(&id) {
                    return Err(format!("group {id} was told of and not asked for"));
                }
                if state.me.is_some() {
                    truth.groups.is(by.uin, state)?;
                }
            }
            Ok(())
        }
        Act::Groups(r) => {
            let told: v2::GroupsResponse = decode(acted)?;
            told.groups.iter().try_for_each(|state| truth.groups.is(by.uin, state))?;
            let ids: Vec<u64> = told.groups.iter().filter_map(|s| Some(s.group.as_ref()?.group)).collect();
            let due = truth.groups.with(by.uin).map(|(id, _)| *id).filter(|id| *id > r.after);
            same("which groups", &ids, &due.take(ids.len()).collect())?;
            let more = truth.groups.with(by.uin).filter(|(id, _)| **id > r.after).count() > ids.len();
            same("whether there are more", &told.has_more, &more)
        }
        Act::GroupMembers(r) => members(truth, r, &decode(acted)?),
        Act::GroupChanges(r) => changes(truth, r, acted),
        Act::History(r) => history(truth, by.uin, r, &decode(acted)?),
        Act::Snapshot(r) => snapshot(truth, by.uin, r, &decode(acted)?),
        Act::Marks(r) => {
            let told: v2::MarksResponse = decode(acted)?;
            let id = ConversationId::from_slice(&r.conversation).ok_or("no conversation")?;
            told.marks.iter().try_for_each(|m| {
                same("a watermark", &(m.delivered_seq, m.read_seq), &truth.logs.marks(id, Uin(m.member)))
            })
        }
        Act::PresenceSubscribe(r) => {
            let told: v2::PresenceSubscribeResponse = decode(acted)?;
            let asked: BTreeSet<u64> = r.add.iter().copied().collect();
            same("whose presence", &told.states.iter().map(|p| p.uin).collect(), &asked)
        }
        _ => Ok(()),
    }
}

/// Only members read a conversation.
fn conversation(truth: &Truth, against: &mut Against, by: Uin, id: &[u8]) {
    let Some(id) = ConversationId::from_slice(id) else {
        against.when(true, StoreError::BadRequest);
        return;
    };
    let is_in = Logs::members(&truth.groups, id).contains(&by);
    against.when(!is_in, StoreError::Forbidden);
    if let Some(group) = id.group() {
        let group = truth.groups.all.get(&group.0);
        against.when(group.is_none(), StoreError::NotFound);
        against.when(group.is_some_and(|g| g.state.dissolved), StoreError::Gone);
    } else if let Some((a, b)) = id.members() {
        let known = truth.people.exists(a) && truth.people.exists(b);
        against.perhaps(!known, StoreError::NotFound);
    } else {
        against.when(true, StoreError::NotFound).when(true, StoreError::BadRequest);
    }
}

fn group(truth: &Truth, against: &mut Against, by: Uin, id: u64) {
    let group = truth.groups.all.get(&id);
    against.when(group.is_none(), StoreError::NotFound);
    against.when(group.is_some_and(|g| g.state.dissolved), StoreError::Gone);
    against.when(!group.is_some_and(|g| g.members.contains_key(&by)), StoreError::Forbidden);
}

fn friends(truth: &Truth, by: Uin, r: &v2::FriendsRequest, told: &v2::FriendsResponse) -> Check {
    told.friends.iter().try_for_each(|friend| truth.people.is(by, friend))?;
    let listed: BTreeSet<u64> = told.friends.iter().map(|f| f.uin).collect();
    let last = if told.has_more { listed.last().copied().unwrap_or(0) } else { u64::MAX };
    for (other, record) in truth.people.records(by) {
        let due = other.0 > r.after && other.0 <= last && record.state != State::Nothing;
        if due && !listed.contains(&other.0) {
            return Err(format!("{other} is a friend, or is to be, and is not listed"));
        }
    }
    Ok(())
}

fn members(truth: &Truth, r: &v2::GroupMembersRequest, told: &v2::GroupMembersResponse) -> Check {
    let group = &truth.groups.all[&r.group];
    same("how many members", &(told.count as usize), &group.members.len())?;
    same("a group's version", &told.version, &group.state.version)?;
    let from = u64::from(r.page) * u64::from(r.size);
    let due = u64::from(told.count).saturating_sub(from).min(u64::from(r.size));
    same("members of a page", &(told.members.len() as u64), &due)?;
    told.members.iter().try_for_each(|m| same("a member", &Some(m), &group.members.get(&Uin(m.uin))))
}

fn changes(truth: &Truth, r: &v2::GroupChangesRequest, acted: &Acted) -> Check {
    let told: v2::GroupChangesResponse = decode(acted)?;
    let group = &truth.groups.all[&r.group];
    same("a group's version", &told.version, &group.state.version)?;
    if told.too_old {
        return if r.since > group.state.version { Ok(()) } else { Err("a young change is too old".into()) };
    }
    let versions: Vec<u64> = told.changes.iter().map(|c| c.version).collect();
    let due = (r.since + 1..=group.state.version).take(versions.len()).collect();
    same("the versions of changes", &versions, &due)?;
    let last = versions.last().copied().unwrap_or(r.since);
    same("whether there are more", &told.has_more, &(last < group.state.version))?;
    // The last change of each member leads to what that one is now.
    let mut latest = BTreeMap::new();
    for change in told.changes.iter().filter(|_| !told.has_more) {
        if let Some(member) = &change.member {
            latest.insert(Uin(member.uin), (change.kind() != v2::GroupChangeKind::Remove).then_some(member));
        }
    }
    latest.iter().try_for_each(|(uin, member)| same("a member", member, &group.members.get(uin)))
}

/// An entry as it was told is as it is.
pub(super) fn is_entry(told: &v2::StoredMessage, entry: &Entry) -> Check {
    let about = (entry.about.map_or(0, |(seq, _)| seq), entry.about.map_or(0, |(_, r)| 1 + i32::from(r)));
    same("what an entry is about", &(told.target_seq, told.action), &about)?;
    same("who sent an entry", &(told.sender, &told.client_msg_id[..]), &(entry.sender.0, &entry.id.0[..]))?;
    same("whose device sent it", &&told.sender_device[..], &&entry.device.0[..])?;
    if entry.is_message() {
        same("the recall of a message", &told.recalled_seq, &entry.recalled)?;
        same("the edit of a message", &told.edited_seq, &entry.edited)?;
    }
    let body = if entry.recalled != 0 { &b""[..] } else { &entry.body[..] };
    if told.body[..] == *body { Ok(()) } else { Err("an entry has another body".into()) }
}

fn history(truth: &Truth, by: Uin, r: &v2::HistoryRequest, told: &v2::HistoryResponse) -> Check {
    let id = ConversationId::from_slice(&r.conversation).ok_or("no conversation")?;
    let joined = truth.groups.of(id).and_then(|g| g.members.get(&by)).map_or(0, |m| m.joined_seq);
    same("the head", &told.head_seq, &truth.logs.head(id))?;
    let wanted = |(seq, entry): &(u64, &Entry)| {
        (r.before_seq == 0 || *seq < r.before_seq)
            && *seq > r.after_seq
            && *seq >= joined
            && entry.stored_ms >= r.since_ms
            && (r.until_ms == 0 || entry.stored_ms < r.until_ms)
    };
    let due: Vec<_> = (1..).zip(truth.logs.of(id)).filter(wanted).collect();
    let seqs: Vec<u64> = told.messages.iter().map(|m| m.conv_seq).collect();
    let newest: Vec<u64> = due.iter().rev().map(|(seq, _)| *seq).take(seqs.len()).collect();
    same("which entries", &seqs, &newest)?;
    if seqs.is_empty() && !due.is_empty() {
        return Err("a page without an entry".into());
    }
    same("whether there are more", &told.has_more, &(due.len() > seqs.len()))?;
    for message in &told.messages {
        let entry = truth.logs.entry(id, message.conv_seq).ok_or("no such entry")?;
        is_entry(message, entry).map_err(|e| format!("{} of {id}: {e}", message.conv_seq))?;
    }
    Ok(())
}

fn snapshot(truth: &Truth, by: Uin, r: &v2::SnapshotRequest, told: &v2::SnapshotResponse) -> Check {
    let mut listed = BTreeSet::new();
    for state in &told.conversations {
        let id = ConversationId::from_slice(&state.conversation).ok_or("no conversation")?;
        let marks = (state.head_seq, state.delivered_seq, state.read_seq);
        let (delivered, read) = truth.logs.marks(id, by);
        same("a conversation", &marks, &(truth.logs.head(id), delivered, read))?;
        if !Logs::members(&truth.groups, id).contains(&by) {
            return Err(format!("{id} is none of the account's conversations"));
        }
        listed.insert(id);
    }
    let after = ConversationId::from_slice(&r.after);
    let last = if told.has_more { listed.last().copied() } else { None };
    for (id, _) in truth.logs.all() {
        let due = after.is_none_or(|after| id > after)
            && last.is_none_or(|last| id <= last)
            && Logs::members(&truth.groups, id).contains(&by);
        if due && !listed.contains(&id) {
            return Err(format!("{id} is not listed"));
        }
    }
    Ok(())
}
