//! Append: what stands in a conversation's log, and the pointers to it.

use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;
use ntproto_core::ids::{ConversationId, GroupId, Uin};
use ntproto_core::model::permission::{Action, allowed};
use ntproto_core::time::UnixMillis;
use ntproto_proto::store as record;
use ntproto_proto::store::inbox_entry::Entry;

use super::super::keys;
use super::super::kv::{Kv, Table};
use super::super::txn::{Append, Change, InboxPlace, Outcome, StoreError};
use super::packets::{bytes_of, trace_bytes};
use super::{accounts, changes, friends, inbox, pull, read, restored, roster, rules, write};

/// Members of a group up to which a message gets a pointer in every inbox at once. Beyond it, they pull.
pub const FANOUT: u32 = 500;

/// Where a message goes.
enum Audience {
    /// Everybody, the sender first.
    Few(Vec<Uin>),
    /// A large group: whoever asks.
    Many(GroupId, record::Group, record::Member),
}

pub(super) fn append(kv: &mut dyn Kv, append: &Append) -> Result<Outcome, StoreError> {
    accounts::live_device(kv, append.sender, append.device)?;
    let sent_key = keys::sent(append.device, append.client_msg_id);
    if let Some(sent) = read(kv, Table::Sent, &sent_key)? {
        return answer_again(kv, append, &sent);
    }
    if append.resolve_only {
        let sent = record::Sent {
            conversation: bytes_of(append.conversation),
            cancelled: true,
            ..Default::default()
        };
        write(kv, Table::Sent, &sent_key, &sent)?;
        return Ok(Outcome::Cancelled);
    }

    //= spec: messages-12
    if let Some(before) = append.after
        && kv.get(Table::Sent, &keys::sent(append.device, before))?.is_none()
    {
        return Err(StoreError::OutOfOrder);
    }
    let (audience, target) = match append.conversation.group() {
        Some(group) => to_group(kv, append, group)?,
        None => to_one(kv, append)?,
    };
    let conv_seq = next_seq(kv, append.conversation)?;
    let mut entry = record::LogEntry {
        sender: append.sender.0,
        sender_device: Bytes::copy_from_slice(&append.device.0),
        client_msg_id: Bytes::copy_from_slice(&append.client_msg_id.0),
        stored_ms: append.now.0,
        body: append.body.clone(),
        trace: trace_bytes(append.trace),
        ..Default::default()
    };
    let target_seq = target.as_ref().map_or(0, |target| target.seq);
    if let Some(target) = target {
        changes::apply(kv, append, conv_seq, target, &mut entry)?;
    }
    write(kv, Table::Log, &keys::log(append.conversation, conv_seq), &entry)?;
    let (entries, dirty) = point(kv, append, conv_seq, audience)?;
    let own = entries.first().ok_or(StoreError::Corrupt)?;
    let sent = record::Sent {
        body_hash: Bytes::copy_from_slice(&append.body_hash),
        conv_seq,
        stored_ms: append.now.0,
        position: own.position,
        previous: own.previous,
        conversation: bytes_of(append.conversation),
        cancelled: false,
    };
    write(kv, Table::Sent, &sent_key, &sent)?;
    Ok(Outcome::Appended { conv_seq, stored: append.now, duplicate: false, entries, target_seq, dirty })
}

/// The answer to an idempotency key that was seen before.
fn answer_again(kv: &dyn Kv, append: &Append, sent: &record::Sent) -> Result<Outcome, StoreError> {
    if sent.cancelled {
        //= spec: messages-6
        return if append.resolve_only { Ok(Outcome::Cancelled) } else { Err(StoreError::Cancelled) };
    }
    //= spec: packets-13
    let same = sent.body_hash == append.body_hash[..] && sent.conversation == append.conversation.0[..];
    if !same && !append.resolve_only {
        return Err(StoreError::Conflict);
    }
    let conversation = ConversationId(super::fixed(&sent.conversation)?);
    let stored: record::LogEntry =
        read(kv, Table::Log, &keys::log(conversation, sent.conv_seq))?.ok_or(StoreError::Corrupt)?;
    Ok(Outcome::Appended {
        conv_seq: sent.conv_seq,
        stored: UnixMillis(sent.stored_ms),
        duplicate: true,
        entries: vec![InboxPlace { uin: append.sender, position: sent.position, previous: sent.previous }],
        target_seq: stored.target_seq,
        dirty: false,
    })
}

/// Who gets a message of a direct conversation, once it is clear that the sender may send it.
fn to_one(kv: &dyn Kv, append: &Append) -> Result<(Audience, Option<changes::Target>), StoreError> {
    let members = members(append.conversation, append.sender)?;
    for member in members {
        accounts::account(kv, member)?.ok_or(StoreError::NotFound)?;
    }
    let [sender, other] = members;
    //= spec: people-4
    if friends::is_blocked_by(kv, sender, other)?
        || (rules::current(kv)?.friends_only && !friends::are_friends(kv, sender, other)?)
    {
        return Err(StoreError::Forbidden);
    }
    let target = changes::target(kv, append)?;
    if let Some(target) = &target {
        //= spec: messages-18
        if target.entry.sender != sender.0 {
            return Err(StoreError::Forbidden);
        }
        changes::check(append, target)?;
    }
    Ok((Audience::Few(members.to_vec()), target))
}

/// The same for a group.
fn to_group(
    kv: &dyn Kv,
    append: &Append,
    id: GroupId,
) -> Result<(Audience, Option<changes::Target>), StoreError> {
    //= spec: messages-2
    let (group, member) = roster::joined(kv, id, append.sender)?;
    let may = |action, other: Option<&record::Member>| -> Result<(), StoreError> {
        let (me, other) = (roster::standing(&member)?, other.map(roster::standing).transpose()?);
        allowed(&roster::policy(&group), Some(&me), action, other.as_ref(), append.now)
            .map_err(roster::denied)
    };
    let target = changes::target(kv, append)?;
    match &target {
        None => may(Action::Send, None)?,
        Some(target) => {
            let own = target.entry.sender == append.sender.0;
            match append.action {
                Change::Recall(_) if own => may(Action::RecallOwn, None)?,
                Change::Recall(_) => {
                    let sender = roster::member(kv, id, Uin(target.entry.sender))?;
                    may(Action::RecallOther, sender.as_ref())?;
                }
                //= spec: messages-18
                _ if !own => return Err(StoreError::Forbidden),
                _ => may(Action::EditOwn, None)?,
            }
            changes::check(append, target)?;
        }
    }
    if group.pull_from != 0 {
        return Ok((Audience::Many(id, group, member), target));
    }
    let mut all = vec![append.sender];
    all.extend(roster::uins(kv, id)?.into_iter().filter(|uin| *uin != append.sender));
    Ok((Audience::Few(all), target))
}

/// Puts the pointers to a message into inboxes, the sender's first. Answers also whether members must be told to pull.
fn point(
    kv: &mut dyn Kv,
    append: &Append,
    conv_seq: u64,
    audience: Audience,
) -> Result<(Vec<InboxPlace>, bool), StoreError> {
    let pointer = pointer(append.conversation, conv_seq);
    match audience {
        Audience::Few(members) => {
            let mut places = Vec::with_capacity(members.len());
            for member in members {
                places.push(inbox::put(kv, member, &pointer)?);
                if append.conversation.group().is_none() {
                    let key = keys::conversation_of(member, append.conversation);
                    if kv.get(Table::Conversations, &key)?.is_none() {
                        kv.put(Table::Conversations, &key, &[])?;
                    }
                }
            }
            Ok((places, false))
        }
        Audience::Many(id, group, mut member) => {
            // What came before it stands before it in the sender's inbox too. The message itself is the last of these.
            let mut room = pull::PULL_PAGE;
            let last = pull::messages_of(kv, append.sender, id, &group, &mut member, &mut room)?;
            let last = last.ok_or(StoreError::Corrupt)?;
            write(kv, Table::Members, &keys::member(id, append.sender), &member)?;
            Ok((vec![last], true))
        }
    }
}

pub(super) fn pointer(conversation: ConversationId, conv_seq: u64) -> Entry {
    Entry::Message(record::Pointer { conversation: bytes_of(conversation), conv_seq })
}

/// The members of a direct conversation, `first` (who must be one) first.
pub(super) fn members(conversation: ConversationId, first: Uin) -> Result<[Uin; 2], StoreError> {
    match conversation.members().ok_or(StoreError::NotFound)? {
        (low, high) if low == first => Ok([low, high]),
        (low, high) if high == first => Ok([high, low]),
        //= spec: messages-2
        _ => Err(StoreError::Forbidden),
    }
}

/// The last sequence number of a conversation; zero when it has no message.
pub(super) fn head(kv: &dyn Kv, conversation: ConversationId) -> Result<u64, StoreError> {
    let last = kv.last_key(Table::Log, &keys::log(conversation, 0), &keys::log(conversation, u64::MAX))?;
    last.map_or(Ok(0), |key| keys::trailing_u64(&key).ok_or(StoreError::Corrupt))
}

/// The number its next message gets.
pub(super) fn next_seq(kv: &dyn Kv, conversation: ConversationId) -> Result<u64, StoreError> {
    head(kv, conversation)?.max(restored::base(kv)?).checked_add(1).ok_or(StoreError::Corrupt)
}
