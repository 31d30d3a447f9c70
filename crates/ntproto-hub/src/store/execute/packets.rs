//! What an inbox line points to, as it travels: rendered from what is stored now.

use bytes::Bytes;
use ntproto_core::ids::{ConversationId, GroupId, Uin};
use ntproto_core::trace::TraceContext;
use ntproto_core::wire::event::EventType;
use ntproto_proto::store as record;
use ntproto_proto::store::inbox_entry::Entry;
use ntproto_proto::v2;
use prost::Message;

use super::super::keys;
use super::super::kv::{Kv, Table};
use super::super::txn::StoreError;
use super::{accounts, fixed, friends, people, read, roster};

/// The packet for a line of `owner`'s inbox.
pub(super) fn packet(kv: &dyn Kv, owner: Uin, entry: &Entry) -> Result<v2::SyncPacket, StoreError> {
    match entry {
        Entry::Message(pointer) => {
            let conversation = ConversationId(fixed(&pointer.conversation)?);
            let key = keys::log(conversation, pointer.conv_seq);
            let entry: record::LogEntry = read(kv, Table::Log, &key)?.ok_or(StoreError::Corrupt)?;
            let event = event(&entry)?;
            Ok(sync_packet(event, &stored(conversation, pointer.conv_seq, entry)?))
        }
        Entry::Receipt(entry) => {
            let conversation = ConversationId(fixed(&entry.conversation)?);
            let member = Uin(entry.member);
            let marks = read(kv, Table::Marks, &keys::marks(conversation, member))?.unwrap_or_default();
            Ok(sync_packet(EventType::Receipt, &receipt(conversation, member, marks)))
        }
        Entry::Friend(other) => {
            let friend = friends::current(kv, owner, Uin(*other))?;
            Ok(sync_packet(EventType::Friend, &friend))
        }
        Entry::Group(group) => {
            let state = roster::state(kv, GroupId(*group), owner)?.ok_or(StoreError::Corrupt)?;
            Ok(sync_packet(EventType::Group, &state))
        }
        Entry::Gap(gap) => {
            let gap = v2::Gap {
                conversation: gap.conversation.clone(),
                from_seq: gap.from_seq,
                to_seq: gap.to_seq,
            };
            Ok(sync_packet(EventType::Gap, &gap))
        }
        Entry::Profile(_) => {
            let account = accounts::account(kv, owner)?.ok_or(StoreError::Corrupt)?;
            Ok(sync_packet(EventType::Profile, &people::user(owner, account)))
        }
    }
}

fn sync_packet(event: EventType, body: &impl Message) -> v2::SyncPacket {
    v2::SyncPacket { event_type: event as u32, payload: body.encode_to_vec().into() }
}

fn event(entry: &record::LogEntry) -> Result<EventType, StoreError> {
    match action(entry)? {
        v2::Action::Message => Ok(EventType::Message),
        v2::Action::Edit => Ok(EventType::Edit),
        v2::Action::Recall => Ok(EventType::Recall),
    }
}

/// What a log entry does.
pub(in super::super) fn action(entry: &record::LogEntry) -> Result<v2::Action, StoreError> {
    let number = i32::try_from(entry.action).map_err(|_| StoreError::Corrupt)?;
    v2::Action::try_from(number).map_err(|_| StoreError::Corrupt)
}

/// A log entry as it travels.
pub(super) fn stored(
    conversation: ConversationId,
    conv_seq: u64,
    entry: record::LogEntry,
) -> Result<v2::StoredMessage, StoreError> {
    let action = action(&entry)?;
    Ok(v2::StoredMessage {
        conversation: bytes_of(conversation),
        conv_seq,
        sender: entry.sender,
        sender_device: entry.sender_device,
        client_msg_id: entry.client_msg_id,
        stored_ms: entry.stored_ms,
        body: entry.body,
        action: action as i32,
        target_seq: entry.target_seq,
        // The edit before an edit is the server's business.
        edited_seq: if action == v2::Action::Message { entry.edited_seq } else { 0 },
        recalled_seq: entry.recalled_seq,
        trace: entry.trace,
    })
}

/// A receipt as it travels.
pub(super) fn receipt(conversation: ConversationId, member: Uin, marks: record::Marks) -> v2::Receipt {
    v2::Receipt {
        conversation: bytes_of(conversation),
        member: member.0,
        delivered_seq: marks.delivered_seq,
        read_seq: marks.read_seq,
    }
}

/// A trace context as records and messages carry it.
pub(crate) fn trace_bytes(trace: Option<TraceContext>) -> Bytes {
    trace.map_or_else(Bytes::new, |trace| Bytes::copy_from_slice(&trace.to_bytes()))
}

pub(super) fn bytes_of(conversation: ConversationId) -> Bytes {
    Bytes::copy_from_slice(&conversation.0)
}
