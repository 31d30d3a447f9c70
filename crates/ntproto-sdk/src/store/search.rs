//! Finding messages on the local disk, a bounded piece at a time.

use std::borrow::Cow;

use bytes::Bytes;
use ntproto_core::client::StoreError;
use ntproto_core::ids::ConversationId;
use ntproto_core::model::content::{self, Body};
use ntproto_proto::v2;

use super::execute::{identity, number};
use super::kv::{END, Kv, Table};
use super::{Stored, gaps, people, record};

/// Messages one call looks at: a few milliseconds, so that whatever else the disk has to do is not held up.
pub const MAX_SEARCHED: usize = 2_000;
/// Bytes of bodies one call looks at, for the same reason.
pub const MAX_SEARCHED_BYTES: usize = 4 * 1024 * 1024;
/// Unread messages counted one by one; beyond it nobody looks at the number.
pub const MAX_UNREAD_COUNTED: u64 = 1_000;

/// Which messages to find. The usual one finds all, newest first.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SearchQuery {
    /// In this conversation only.
    pub conversation: Option<ConversationId>,
    /// With this in their text, in upper or lower case.
    pub text: Option<String>,
    /// Stored at or after this, by the server's clock, in milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Stored before this.
    pub until_ms: Option<u64>,
    /// Where an earlier page ended.
    pub before: Option<SearchCursor>,
    /// Messages on a page; there may be fewer although more follow.
    pub limit: usize,
}

/// Where a page ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchCursor {
    conversation: ConversationId,
    conv_seq: u64,
}

/// A message that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its conversation.
    pub conversation: ConversationId,
    /// The message.
    pub stored: Stored,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchPage {
    /// Conversation by conversation, newest first in each. May be empty although more follows.
    pub found: Vec<Found>,
    /// Where to go on; `None` when everything was looked at.
    pub next: Option<SearchCursor>,
}

/// How many messages of others were not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// So many.
    pub messages: u64,
    /// There may be more: [`MAX_UNREAD_COUNTED`] and [`MAX_SEARCHED_BYTES`] are where counting ends.
    pub at_least: bool,
}

pub(super) fn search(kv: &dyn Kv, query: &SearchQuery) -> Result<SearchPage, StoreError> {
    let mut page = SearchPage { found: Vec::new(), next: query.before };
    if query.limit == 0 {
        return Ok(page);
    }
    let (from, end) = match query.conversation {
        Some(only) => {
            (record::in_conversation(only, 0).to_vec(), record::in_conversation(only, u64::MAX).to_vec())
        }
        None => (Vec::new(), END.to_vec()),
    };
    let to = match query.before {
        Some(SearchCursor { conversation, conv_seq }) => {
            end.min(record::in_conversation(conversation, conv_seq).to_vec())
        }
        None => end,
    };
    let wanted = query.text.as_deref().map(str::to_lowercase);
    let (mut looked, mut bytes) = (0, 0);
    let mut whole = true;
    kv.scan(Table::Messages, &from, &to, true, &mut |key, value| {
        if page.found.len() == query.limit || looked == MAX_SEARCHED || bytes >= MAX_SEARCHED_BYTES {
            whole = false;
            return Ok(false);
        }
        looked += 1;
        bytes += value.len();
        let (conversation, conv_seq) = record::split(key)?;
        page.next = Some(SearchCursor { conversation, conv_seq });
        let message: v2::StoredMessage = record::decode(Bytes::copy_from_slice(value))?;
        let at = message.stored_ms;
        // What was edited is found where it stands, by what it says now.
        if message.action() == v2::Action::Message
            && query.since_ms.is_none_or(|since| since <= at)
            && query.until_ms.is_none_or(|until| at < until)
            && wanted.as_deref().is_none_or(|wanted| contains(&message.body, wanted))
        {
            page.found.push(Found { conversation, stored: message.into() });
        }
        Ok(true)
    })?;
    if whole {
        page.next = None;
    }
    Ok(page)
}

/// Whether a body says this, which is in lower case.
fn contains(body: &[u8], wanted: &str) -> bool {
    text(body).is_some_and(|text| text.to_lowercase().contains(wanted))
}

/// What a body says to people.
fn text(body: &[u8]) -> Option<Cow<'_, str>> {
    match content::decode(body) {
        Body::Text(text) => Some(text.into()),
        Body::Content(content) => Some(content.text.into()),
        _ => None,
    }
}

/// Whether it is something to be read: no edit, no recall, no reaction, and not recalled.
fn is_to_be_read(message: &v2::StoredMessage) -> bool {
    message.action() == v2::Action::Message
        && message.recalled_seq == 0
        && !matches!(content::decode(&message.body), Body::Content(content) if content.reaction.is_some())
}

/// The highest number that is known to be given out.
fn head(kv: &dyn Kv, conversation: ConversationId) -> Result<u64, StoreError> {
    let mut head = number(kv, Table::Heads, &conversation.0)?.unwrap_or(0);
    // Of what was fetched, and of what can be.
    let (from, to) =
        (record::in_conversation(conversation, 0), record::in_conversation(conversation, u64::MAX));
    kv.scan(Table::Messages, &from, &to, true, &mut |key, _| {
        head = head.max(record::split(key)?.1);
        Ok(false)
    })?;
    kv.scan(Table::Gaps, &from, &to, true, &mut |_, value| {
        head = head.max(record::number(value)?);
        Ok(false)
    })?;
    Ok(head)
}

pub(super) fn unread(kv: &dyn Kv, conversation: ConversationId) -> Result<Unread, StoreError> {
    let head = head(kv, conversation)?;
    let me = identity(kv)?.map(|(uin, _)| uin.0);
    let mark = match me {
        Some(me) => kv.get(Table::Marks, &record::in_conversation(conversation, me))?,
        None => None,
    };
    let read = mark.map(|mark| record::split_pair(&mark)).transpose()?.map_or(0, |(_, read)| read);
    // What was said before one came is not there to be read.
    let joined = match conversation.group() {
        Some(group) => people::group(kv, group)?.and_then(|state| state.me).map_or(0, |me| me.joined_seq),
        None => 0,
    };
    let read = read.max(joined.saturating_sub(1));
    let (mut messages, mut looked_at, mut bytes, mut at_least) = (0, 0, 0, false);
    // Numbers may jump: only what is here, or known to be missing, was ever said.
    let (from, to) = (read.saturating_add(1), head.saturating_add(1));
    let (from, to) = (record::in_conversation(conversation, from), record::in_conversation(conversation, to));
    kv.scan(Table::Messages, &from, &to, true, &mut |_, value| {
        if looked_at >= MAX_UNREAD_COUNTED || bytes >= MAX_SEARCHED_BYTES {
            at_least = true;
            return Ok(false);
        }
        looked_at += 1;
        bytes += value.len();
        let message: v2::StoredMessage = record::decode(Bytes::copy_from_slice(value))?;
        messages += u64::from(Some(message.sender) != me && is_to_be_read(&message));
        Ok(true)
    })?;
    // What is missing was sent by others: one's own are kept when sent.
    for gap in gaps::list(kv, conversation)? {
        messages += gap.to.saturating_sub(read.max(gap.from - 1));
    }
    at_least |= messages > MAX_UNREAD_COUNTED;
    Ok(Unread { messages: messages.min(MAX_UNREAD_COUNTED), at_least })
}

impl std::fmt::Debug for SearchQuery {
    /// Without the text.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SearchQuery")
            .field("conversation", &self.conversation)
            .field("text", &self.text.as_ref().map(|text| ntproto_proto::Hidden(text.as_bytes())))
            .field("since_ms", &self.since_ms)
            .field("until_ms", &self.until_ms)
            .field("before", &self.before)
            .field("limit", &self.limit)
            .finish()
    }
}
