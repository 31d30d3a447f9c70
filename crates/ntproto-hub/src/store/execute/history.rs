//! A conversation read backwards, and the list of one's conversations.

use ntproto_core::ids::{ConversationId, Uin};
use ntproto_proto::store as record;
use ntproto_proto::v2;

use super::super::act::{Acted, Actor};
use super::super::keys;
use super::super::kv::{Kv, Table};
use super::super::txn::StoreError;
use super::pages::Page;
use super::{accounts, acts, messages, packets, pages, read, roster};

/// Entries of a page of history: some screens full.
pub const MAX_HISTORY: u32 = 200;

pub(super) fn conversation(id: &[u8]) -> Result<ConversationId, StoreError> {
    ConversationId::from_slice(id).ok_or(StoreError::BadRequest)
}

/// The first number of a conversation that an account may read.
pub(super) fn readable_from(kv: &dyn Kv, conversation: ConversationId, uin: Uin) -> Result<u64, StoreError> {
    //= spec: messages-23
    if let Some(group) = conversation.group() {
        return Ok(roster::joined(kv, group, uin)?.1.joined_seq.max(1));
    }
    let [_, other] = messages::members(conversation, uin)?;
    accounts::account(kv, other)?.ok_or(StoreError::NotFound)?;
    Ok(1)
}

/// HISTORY.
pub(super) fn history(kv: &dyn Kv, by: &Actor, request: &v2::HistoryRequest) -> Result<Acted, StoreError> {
    let conversation = conversation(&request.conversation)?;
    let mut first = readable_from(kv, conversation, by.uin)?.max(request.after_seq.saturating_add(1));
    let head = messages::head(kv, conversation)?;
    let mut last = match request.before_seq {
        0 => head,
        before => head.min(before - 1),
    };
    if request.since_ms != 0 {
        first = first.max(since(kv, conversation, request.since_ms, head)?);
    }
    if request.until_ms != 0 {
        last = last.min(since(kv, conversation, request.until_ms, head)?.saturating_sub(1));
    }
    let mut page = Page::new(request.limit, MAX_HISTORY);
    let mut has_more = false;
    while let Some((seq, entry)) = newest(kv, conversation, first, last)? {
        if !page.push(packets::stored(conversation, seq, entry)?) {
            has_more = true;
            break;
        }
        last = seq - 1;
    }
    Ok(acts::answered(&v2::HistoryResponse { messages: page.items, has_more, head_seq: head }))
}

/// The newest entry with a number from `first` to `last`.
fn newest(
    kv: &dyn Kv,
    conversation: ConversationId,
    first: u64,
    last: u64,
) -> Result<Option<(u64, record::LogEntry)>, StoreError> {
    if first > last {
        return Ok(None);
    }
    let key = kv.last_key(Table::Log, &keys::log(conversation, first), &keys::log(conversation, last))?;
    let Some(key) = key else { return Ok(None) };
    let seq = keys::trailing_u64(&key).ok_or(StoreError::Corrupt)?;
    let entry = read(kv, Table::Log, &key)?.ok_or(StoreError::Corrupt)?;
    Ok(Some((seq, entry)))
}

/// A number below which everything was stored before `at`, and nothing from it on. Server time never falls within a conversation, so
/// the log is searched in halves, however long it is.
fn since(kv: &dyn Kv, conversation: ConversationId, at: u64, head: u64) -> Result<u64, StoreError> {
    let (mut low, mut high) = (1, head + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        match newest(kv, conversation, low, middle)? {
            Some((seq, entry)) if entry.stored_ms >= at => high = seq,
            _ => low = middle + 1,
        }
    }
    Ok(low)
}

/// SNAPSHOT.
pub(super) fn snapshot(kv: &dyn Kv, by: &Actor, request: &v2::SnapshotRequest) -> Result<Acted, StoreError> {
    let after = match &request.after[..] {
        [] => ConversationId([0; 16]),
        after => conversation(after)?,
    };
    let after = keys::conversation_of(by.uin, after);
    let to = keys::conversation_of(by.uin, ConversationId([0xff; 16]));
    let table = Table::Conversations;
    let (conversations, has_more) = pages::rows(kv, table, (&after, &to), request.limit, |key, _| {
        let conversation = keys::trailing_conversation(key).ok_or(StoreError::Corrupt)?;
        // A large group that was dissolved is among the account's own until it syncs.
        if let Some(group) = conversation.group()
            && read::<record::Group>(kv, Table::Groups, &keys::group(group))?
                .ok_or(StoreError::Corrupt)?
                .dissolved
        {
            return Ok(None);
        }
        let marks: Option<record::Marks> = read(kv, Table::Marks, &keys::marks(conversation, by.uin))?;
        let marks = marks.unwrap_or_default();
        Ok(Some(v2::ConversationState {
            conversation: packets::bytes_of(conversation),
            head_seq: messages::head(kv, conversation)?,
            delivered_seq: marks.delivered_seq,
            read_seq: marks.read_seq,
        }))
    })?;
    Ok(acts::answered(&v2::SnapshotResponse { conversations, has_more }))
}
