//! An inbox: positions that only rise, and pages of what stands there.

use alloc::vec::Vec;

use bytes::Bytes;
use ntproto_core::ids::{ConversationId, Uin};
use ntproto_core::wire::event::EventType;
use ntproto_proto::store as record;
use ntproto_proto::store::inbox_entry::Entry;
use ntproto_proto::v2;
use prost::Message;

use super::super::keys;
use super::super::kv::{Kv, Table};
use super::super::txn::{InboxPlace, Outcome, StoreError};
use super::{decode, fixed, messages, read, restored, write};

/// Deltas in one page at most. The pointers of a page are held in memory while its bodies are read.
pub const MAX_PAGE: u32 = 1_000;
/// The tag and the length in front of a delta in its page: a length under 2^28 takes four bytes.
const DELTA_FRAMING: usize = 5;

/// The last position given out, or that must be taken for given out after a restore; zero when there is neither.
fn head(kv: &dyn Kv, uin: Uin) -> Result<u64, StoreError> {
    let last = kv.last_key(Table::Inbox, &keys::inbox(uin, 0), &keys::inbox(uin, u64::MAX))?;
    let last = last.map_or(Ok(0), |key| keys::trailing_u64(&key).ok_or(StoreError::Corrupt))?;
    Ok(last.max(restored::base(kv)?))
}

/// The place the next entry of an inbox gets.
pub(super) fn next_place(kv: &dyn Kv, uin: Uin) -> Result<InboxPlace, StoreError> {
    let previous = head(kv, uin)?;
    let position = previous.checked_add(1).ok_or(StoreError::Corrupt)?;
    Ok(InboxPlace { uin, position, previous })
}

pub(super) fn put(kv: &mut dyn Kv, place: &InboxPlace, entry: Entry) -> Result<(), StoreError> {
    let entry = record::InboxEntry { entry: Some(entry) };
    write(kv, Table::Inbox, &keys::inbox(place.uin, place.position), &entry)
}

pub(super) fn sync_page(
    kv: &dyn Kv,
    uin: Uin,
    asked: Option<&[u8; 16]>,
    cursor: u64,
    limit: u32,
    max_bytes: u32,
) -> Result<Outcome, StoreError> {
    // A store that was never booted has no epoch; no cursor belongs to it.
    let epoch = kv.get(Table::Meta, keys::EPOCH)?.map_or(Ok([0; 16]), |epoch| fixed(&epoch))?;
    let head = head(kv, uin)?;
    // However far behind a cursor of this history is, it is served page by page (decision 0011).
    let known = asked.map_or(cursor == 0, |asked| *asked == epoch);
    if !known || cursor > head {
        return Ok(Outcome::TooLong { epoch, next: 0 });
    }

    let limit = limit.clamp(1, MAX_PAGE) as usize;
    let mut lines = Vec::new();
    kv.scan(Table::Inbox, &keys::inbox(uin, cursor), &keys::inbox(uin, u64::MAX), &mut |key, value| {
        lines.push((keys::trailing_u64(key), Bytes::copy_from_slice(value)));
        lines.len() < limit
    })?;

    let mut whole = lines.len() < limit;
    let mut deltas: Vec<v2::Delta> = Vec::with_capacity(lines.len());
    let mut size = 0;
    for (position, line) in lines {
        let position = position.ok_or(StoreError::Corrupt)?;
        let delta = v2::Delta { position, packet: Some(packet(kv, decode(line)?)?) };
        size += delta.encoded_len() + DELTA_FRAMING;
        if !deltas.is_empty() && size > max_bytes as usize {
            whole = false;
            break;
        }
        deltas.push(delta);
    }
    // After a restore the end is above the last change.
    let next = if whole { head } else { deltas.last().map_or(cursor, |delta| delta.position) };
    Ok(Outcome::Page { epoch, deltas, next, has_more: next < head })
}

/// What an inbox line points to, as it travels.
fn packet(kv: &dyn Kv, line: record::InboxEntry) -> Result<v2::SyncPacket, StoreError> {
    match line.entry.ok_or(StoreError::Corrupt)? {
        Entry::Message(pointer) => {
            let conversation = ConversationId(fixed(&pointer.conversation)?);
            let key = keys::log(conversation, pointer.conv_seq);
            let entry: record::LogEntry = read(kv, Table::Log, &key)?.ok_or(StoreError::Corrupt)?;
            let message = v2::StoredMessage {
                conversation: pointer.conversation,
                conv_seq: pointer.conv_seq,
                sender: entry.sender,
                sender_device: entry.sender_device,
                client_msg_id: entry.client_msg_id,
                stored_ms: entry.stored_ms,
                body: entry.body,
                ..Default::default()
            };
            Ok(sync_packet(EventType::Message, &message))
        }
        Entry::Receipt(entry) => {
            let conversation = ConversationId(fixed(&entry.conversation)?);
            let member = Uin(entry.member);
            let marks = read(kv, Table::Marks, &keys::marks(conversation, member))?.unwrap_or_default();
            Ok(sync_packet(EventType::Receipt, &messages::receipt(conversation, member, marks)))
        }
        Entry::Friend(_) | Entry::Group(_) | Entry::Gap(_) | Entry::Profile(_) => Err(StoreError::Corrupt),
    }
}

fn sync_packet(event: EventType, body: &impl Message) -> v2::SyncPacket {
    v2::SyncPacket { event_type: event as u32, payload: body.encode_to_vec().into() }
}
