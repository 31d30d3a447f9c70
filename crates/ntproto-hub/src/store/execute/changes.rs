//! Edits and recalls: entries of a log that change an earlier one.

use core::time::Duration;

use bytes::Bytes;
use ntproto_core::time::UnixMillis;
use ntproto_proto::store as record;
use ntproto_proto::v2;

use super::super::keys;
use super::super::kv::{Kv, Table};
use super::super::txn::{self, Append, Change, StoreError};
use super::{packets, read, write};

/// A message may be edited for so long: time for second thoughts, and not for another past.
pub const EDIT_WINDOW: Duration = Duration::from_secs(48 * 3_600);
/// A message may be recalled for so long.
pub const RECALL_WINDOW: Duration = Duration::from_secs(24 * 3_600);
/// Edits of one message: a recall erases them all in one transaction.
pub const MAX_EDITS: u32 = 64;

/// The message that an edit or a recall is about.
pub(super) struct Target {
    pub(super) seq: u64,
    pub(super) entry: record::LogEntry,
}

/// Finds the target; `None` for a message, which has none.
pub(super) fn target(kv: &dyn Kv, append: &Append) -> Result<Option<Target>, StoreError> {
    let seq = match append.action {
        Change::Message => return Ok(None),
        Change::Edit(txn::Target::Seq(seq)) | Change::Recall(txn::Target::Seq(seq)) => seq,
        Change::Edit(txn::Target::Sent(id)) | Change::Recall(txn::Target::Sent(id)) => {
            let sent: Option<record::Sent> = read(kv, Table::Sent, &keys::sent(append.device, id))?;
            sent.filter(|sent| !sent.cancelled && sent.conversation == append.conversation.0[..])
                .ok_or(StoreError::NotFound)?
                .conv_seq
        }
    };
    //= spec: messages-18
    let entry: record::LogEntry =
        read(kv, Table::Log, &keys::log(append.conversation, seq))?.ok_or(StoreError::NotFound)?;
    if packets::action(&entry)? != v2::Action::Message {
        return Err(StoreError::NotFound);
    }
    Ok(Some(Target { seq, entry }))
}

/// Whether the target can be changed still.
pub(super) fn check(append: &Append, target: &Target) -> Result<(), StoreError> {
    if target.entry.recalled_seq != 0 {
        return Err(StoreError::Gone);
    }
    let edit = matches!(append.action, Change::Edit(_));
    if !edit && !append.body.is_empty() {
        return Err(StoreError::BadRequest);
    }
    let window = if edit { EDIT_WINDOW } else { RECALL_WINDOW };
    if append.now > UnixMillis(target.entry.stored_ms) + window {
        return Err(StoreError::TooLate);
    }
    if edit && target.entry.edits >= MAX_EDITS {
        return Err(StoreError::TooMany);
    }
    Ok(())
}

/// Makes `entry` the edit or recall numbered `conv_seq`, and writes what it changes.
pub(super) fn apply(
    kv: &mut dyn Kv,
    append: &Append,
    conv_seq: u64,
    target: Target,
    entry: &mut record::LogEntry,
) -> Result<(), StoreError> {
    let Target { seq, entry: mut message } = target;
    entry.target_seq = seq;
    if matches!(append.action, Change::Edit(_)) {
        entry.action = v2::Action::Edit as u32;
        entry.edited_seq = message.edited_seq;
        message.edited_seq = conv_seq;
        message.edits += 1;
    } else {
        entry.action = v2::Action::Recall as u32;
        //= spec: messages-19
        erase(&mut message, conv_seq);
        let mut edit = message.edited_seq;
        while edit != 0 {
            let key = keys::log(append.conversation, edit);
            let mut edited: record::LogEntry = read(kv, Table::Log, &key)?.ok_or(StoreError::Corrupt)?;
            erase(&mut edited, conv_seq);
            write(kv, Table::Log, &key, &edited)?;
            // The chain goes back: it ends, whatever the disk says.
            edit =
                if edited.edited_seq < edit { edited.edited_seq } else { return Err(StoreError::Corrupt) };
        }
    }
    write(kv, Table::Log, &keys::log(append.conversation, seq), &message)
}

fn erase(entry: &mut record::LogEntry, by: u64) {
    entry.body = Bytes::new();
    entry.recalled_seq = by;
}
