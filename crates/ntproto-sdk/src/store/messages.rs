//! Messages, and what edits and recalls make of them.
//!
//! An edit or recall is kept at its own number, as it is told to the application from there, and in an index under the
//! message it is about. Whichever of the two comes first waits for the other: the message shows the body of its last
//! edit, and one that was taken back shows none, nor do its edits.

use bytes::Bytes;
use ntproto_core::client::{OutboxEntry, SendAction, SendOutcome, StoreError, Target};
use ntproto_core::ids::{ClientMsgId, ConversationId, DeviceId, Uin};
use ntproto_proto::v2;
use prost::Message as _;

use super::kv::{Kv, Table};
use super::query;
use super::record::{self, CORRUPT};

/// Keeps an entry of a conversation, wherever it came from.
pub(super) fn put(
    kv: &mut dyn Kv,
    conversation: ConversationId,
    mut message: v2::StoredMessage,
) -> Result<(), StoreError> {
    let seq = message.conv_seq;
    if message.action() == v2::Action::Message {
        if let Some(known) = get(kv, conversation, seq)?
            && known.action() == v2::Action::Message
        {
            // What was learnt of it since stays.
            message.recalled_seq = message.recalled_seq.max(known.recalled_seq);
        }
        let edits = edits(kv, conversation, seq)?;
        return settle(kv, conversation, message, &edits);
    }
    let target = message.target_seq;
    kv.put(Table::Edits, &record::edit(conversation, target, seq), &[])?;
    write(kv, conversation, &message)?;
    let edits = edits(kv, conversation, target)?;
    match get(kv, conversation, target)? {
        Some(known) if known.action() == v2::Action::Message => settle(kv, conversation, known, &edits),
        // An edit of an edit changes nothing.
        Some(_) => Ok(()),
        None if edits.iter().any(|edit| edit.action() == v2::Action::Recall) => {
            erase(kv, conversation, &edits)
        }
        None => Ok(()),
    }
}

/// One message of a conversation, or one of its edits and recalls.
pub(super) fn get(
    kv: &dyn Kv,
    conversation: ConversationId,
    seq: u64,
) -> Result<Option<v2::StoredMessage>, StoreError> {
    kv.get(Table::Messages, &record::in_conversation(conversation, seq))?.map(record::decode).transpose()
}

/// An own message as the log has it, out of the outbox. What an edit by key is about is known by what became of the
/// message with that key.
pub(super) fn sent(
    kv: &dyn Kv,
    (uin, device): (Uin, DeviceId),
    entry: OutboxEntry,
    conversation: ConversationId,
    conv_seq: u64,
    stored_ms: u64,
) -> Result<v2::StoredMessage, StoreError> {
    let target_seq = match entry.action {
        SendAction::Message => 0,
        SendAction::Edit(target) | SendAction::Recall(target) => match target {
            Target::Number(seq) => seq,
            Target::Id(id) => number_of(kv, conversation, id)?,
        },
    };
    Ok(v2::StoredMessage {
        conversation: Bytes::copy_from_slice(&conversation.0),
        conv_seq,
        sender: uin.0,
        sender_device: Bytes::copy_from_slice(&device.0),
        client_msg_id: Bytes::copy_from_slice(&entry.client_msg_id.0),
        stored_ms,
        body: entry.body,
        action: entry.action.to_wire().into(),
        target_seq,
        ..Default::default()
    })
}

/// The number of an own message; 0 when it is not known.
fn number_of(kv: &dyn Kv, conversation: ConversationId, id: ClientMsgId) -> Result<u64, StoreError> {
    Ok(match query::outcome(kv, id)? {
        Some(SendOutcome::Stored { conversation: of, conv_seq, .. }) if of == conversation => conv_seq,
        _ => 0,
    })
}

/// The edits and recalls of a message that are known, in their order.
fn edits(
    kv: &dyn Kv,
    conversation: ConversationId,
    target: u64,
) -> Result<Vec<v2::StoredMessage>, StoreError> {
    let (from, to) = (record::edit(conversation, target, 0), record::edit(conversation, target, u64::MAX));
    let mut numbers = Vec::new();
    kv.scan(Table::Edits, &from, &to, false, &mut |key, _| {
        numbers.push(record::number(key.get(24..).ok_or(CORRUPT)?)?);
        Ok(true)
    })?;
    numbers.into_iter().map(|seq| get(kv, conversation, seq)?.ok_or(CORRUPT)).collect()
}

/// Writes a message as its edits and recalls leave it.
fn settle(
    kv: &mut dyn Kv,
    conversation: ConversationId,
    mut message: v2::StoredMessage,
    edits: &[v2::StoredMessage],
) -> Result<(), StoreError> {
    let recall = edits.iter().rev().find(|edit| edit.action() == v2::Action::Recall);
    message.recalled_seq = message.recalled_seq.max(recall.map_or(0, |recall| recall.conv_seq));
    if message.recalled_seq != 0 {
        //= spec: messages-20
        message.body = Bytes::new();
        erase(kv, conversation, edits)?;
    }
    // Only the sender's own count: a server that lets others pass is not helped.
    let edit = edits
        .iter()
        .rev()
        .find(|edit| edit.action() == v2::Action::Edit && edit.sender == message.sender)
        .filter(|edit| edit.conv_seq >= message.edited_seq);
    if let Some(edit) = edit {
        message.edited_seq = edit.conv_seq;
        if message.recalled_seq == 0 {
            message.body = edit.body.clone();
        }
    }
    write(kv, conversation, &message)
}

/// What was taken back is nowhere any more.
fn erase(
    kv: &mut dyn Kv,
    conversation: ConversationId,
    edits: &[v2::StoredMessage],
) -> Result<(), StoreError> {
    for edit in edits.iter().filter(|edit| !edit.body.is_empty()) {
        write(kv, conversation, &v2::StoredMessage { body: Bytes::new(), ..edit.clone() })?;
    }
    Ok(())
}

fn write(
    kv: &mut dyn Kv,
    conversation: ConversationId,
    message: &v2::StoredMessage,
) -> Result<(), StoreError> {
    let key = record::in_conversation(conversation, message.conv_seq);
    kv.put(Table::Messages, &key, &message.encode_to_vec())
}
