//! What a hub has done since it was made, as plain numbers that only rise.

use ntproto_core::code::ErrorCode;
use ntproto_core::ids::ConversationId;

/// What a hub has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages stored, edits and recalls among them, of two accounts.
    pub direct: u64,
    /// The same of groups.
    pub group: u64,
    /// Messages that came again and were answered again.
    pub duplicates: u64,
    /// Pushes of inbox changes handed to connections.
    pub pushed: u64,
    /// Requests answered.
    pub answered: u64,
    /// Requests told to come again later.
    pub deferred: u64,
    /// Requests refused otherwise.
    pub refused: u64,
}

/// How much there is to do now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Connections.
    pub connections: usize,
    /// Of these, sessions that have proven that they hold their keys.
    pub sessions: usize,
    /// Transactions in the store.
    pub in_store: usize,
    /// Their bytes.
    pub in_store_bytes: usize,
    /// Connections that are not read, for want of room.
    pub paused: usize,
    /// Bytes that wait for devices to read them.
    pub waiting_bytes: usize,
}

impl Counts {
    pub(crate) fn message(&mut self, conversation: ConversationId, duplicate: bool) {
        let count = match (duplicate, conversation.group()) {
            (true, _) => &mut self.duplicates,
            (false, Some(_)) => &mut self.group,
            (false, None) => &mut self.direct,
        };
        *count += 1;
    }

    pub(crate) const fn answer(&mut self, refused: Option<ErrorCode>) {
        let count = match refused {
            None => &mut self.answered,
            Some(ErrorCode::RetryAfter | ErrorCode::Unavailable) => &mut self.deferred,
            Some(_) => &mut self.refused,
        };
        *count += 1;
    }
}
