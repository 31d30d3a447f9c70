//! Append and delivered: what changes a conversation and the inboxes of its members.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bytes::Bytes;
use ntproto_core::ids::{ConversationId, Uin};
use ntproto_core::time::UnixMillis;
use ntproto_proto::store as record;
use ntproto_proto::store::inbox_entry::Entry;
use ntproto_proto::v2;

use super::super::keys;
use super::super::kv::{Kv, Table};
use super::super::txn::{Append, InboxPlace, Outcome, ReceiptPlaced, StoreError};
use super::{accounts, inbox, read, restored, write};

pub(super) fn append(kv: &mut dyn Kv, append: &Append) -> Result<Outcome, StoreError> {
    let device = accounts::device(kv, append.device)?.ok_or(StoreError::NotFound)?;
    if device.uin != append.sender.0 {
        return Err(StoreError::Forbidden);
    }
    if device.revoked_ms != 0 {
        return Err(StoreError::Revoked);
    }
    let sent_key = keys::sent(append.device, append.client_msg_id);
    if let Some(sent) = read(kv, Table::Sent, &sent_key)? {
        return answer_again(append, &sent);
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
    let members = members(append.conversation, append.sender)?;
    for member in members {
        accounts::account(kv, member)?.ok_or(StoreError::NotFound)?;
    }
    let last = head(kv, append.conversation)?.max(restored::base(kv)?);
    let conv_seq = last.checked_add(1).ok_or(StoreError::Corrupt)?;
    let places = [inbox::next_place(kv, members[0])?, inbox::next_place(kv, members[1])?];

    let entry = record::LogEntry {
        sender: append.sender.0,
        sender_device: Bytes::copy_from_slice(&append.device.0),
        client_msg_id: Bytes::copy_from_slice(&append.client_msg_id.0),
        stored_ms: append.now.0,
        body: append.body.clone(),
        ..Default::default()
    };
    write(kv, Table::Log, &keys::log(append.conversation, conv_seq), &entry)?;
    let pointer = record::Pointer { conversation: bytes_of(append.conversation), conv_seq };
    for place in &places {
        inbox::put(kv, place, Entry::Message(pointer.clone()))?;
    }
    let [own, _] = places;
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
    Ok(Outcome::Appended {
        conv_seq,
        stored: append.now,
        duplicate: false,
        entries: places.to_vec(),
        target_seq: 0,
        dirty: false,
    })
}

/// The answer to an idempotency key that was seen before.
fn answer_again(append: &Append, sent: &record::Sent) -> Result<Outcome, StoreError> {
    if sent.cancelled {
        //= spec: messages-6
        return if append.resolve_only { Ok(Outcome::Cancelled) } else { Err(StoreError::Cancelled) };
    }
    let same = sent.body_hash == append.body_hash[..] && sent.conversation == append.conversation.0[..];
    if !same && !append.resolve_only {
        return Err(StoreError::Conflict);
    }
    Ok(Outcome::Appended {
        conv_seq: sent.conv_seq,
        stored: UnixMillis(sent.stored_ms),
        duplicate: true,
        entries: [InboxPlace { uin: append.sender, position: sent.position, previous: sent.previous }]
            .to_vec(),
        target_seq: 0,
        dirty: false,
    })
}

/// The members of a conversation, `first` (who must be one) first.
fn members(conversation: ConversationId, first: Uin) -> Result<[Uin; 2], StoreError> {
    match conversation.members().ok_or(StoreError::NotFound)? {
        (low, high) if low == first => Ok([low, high]),
        (low, high) if high == first => Ok([high, low]),
        //= spec: messages-2
        _ => Err(StoreError::Forbidden),
    }
}

/// The last sequence number of a conversation; zero when it has no message.
fn head(kv: &dyn Kv, conversation: ConversationId) -> Result<u64, StoreError> {
    let last = kv.last_key(Table::Log, &keys::log(conversation, 0), &keys::log(conversation, u64::MAX))?;
    last.map_or(Ok(0), |key| keys::trailing_u64(&key).ok_or(StoreError::Corrupt))
}

pub(super) fn delivered(
    kv: &mut dyn Kv,
    uin: Uin,
    watermarks: &[(ConversationId, u64)],
) -> Result<Outcome, StoreError> {
    let mut highest = BTreeMap::new();
    for &(conversation, seq) in watermarks {
        let entry: &mut u64 = highest.entry(conversation).or_default();
        *entry = seq.max(*entry);
    }
    let mut risen = Vec::new();
    for (conversation, seq) in highest {
        let [_, other] = members(conversation, uin)?;
        let seq = seq.min(head(kv, conversation)?);
        let marks: record::Marks =
            read(kv, Table::Marks, &keys::marks(conversation, uin))?.unwrap_or_default();
        if seq > marks.delivered_seq {
            let old = kv.get(Table::ReceiptAt, &keys::receipt_at(other, conversation, uin))?;
            let old = old.map(|old| keys::number(&old).ok_or(StoreError::Corrupt)).transpose()?;
            // Each conversation has another second member: no two of these share an inbox.
            let place = inbox::next_place(kv, other)?;
            risen.push((conversation, record::Marks { delivered_seq: seq, ..marks }, old, place));
        }
    }
    let mut receipts = Vec::with_capacity(risen.len());
    for (conversation, marks, old, place) in risen {
        write(kv, Table::Marks, &keys::marks(conversation, uin), &marks)?;
        place_receipt(kv, conversation, uin, old, &place)?;
        receipts.push(ReceiptPlaced { place, receipt: receipt(conversation, uin, marks) });
    }
    Ok(Outcome::Delivered { receipts })
}

/// Moves the receipt of `member` to `place`: one entry in an inbox, however often it rises.
fn place_receipt(
    kv: &mut dyn Kv,
    conversation: ConversationId,
    member: Uin,
    old: Option<u64>,
    place: &InboxPlace,
) -> Result<(), StoreError> {
    let entry = record::ReceiptEntry { conversation: bytes_of(conversation), member: member.0 };
    inbox::put(kv, place, Entry::Receipt(entry))?;
    let at = keys::receipt_at(place.uin, conversation, member);
    kv.put(Table::ReceiptAt, &at, &place.position.to_be_bytes())?;
    match old {
        // The new entry stands: the newest one of an inbox is never deleted.
        Some(old) => kv.delete(Table::Inbox, &keys::inbox(place.uin, old)),
        None => Ok(()),
    }
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

fn bytes_of(conversation: ConversationId) -> Bytes {
    Bytes::copy_from_slice(&conversation.0)
}
