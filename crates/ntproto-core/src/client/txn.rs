//! What the client keeps on the local disk, as whole transactions.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;
use ntproto_proto::v2;

use super::Failure;
use crate::ids::{ClientMsgId, ConversationId, DeviceId, Uin};
use crate::time::UnixMillis;
use crate::trace::TraceContext;

/// One transaction. The host runs each whole or not at all, in order, and answers when it is durable.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientTxn {
    /// A message to be sent. With the order of one that waits: it takes that one's place.
    Enqueue(OutboxEntry),
    /// Changes of the inbox, settled messages, and the cursor behind them.
    Apply(Apply),
    /// The application is done with the inbox up to this position.
    Confirm(u64),
    /// The server knows this of these: it is owed no more.
    ReceiptsSent(Vec<(ConversationId, Owed)>),
    /// The user has read these conversations up to here: own read marks, owed to the server.
    Read(Vec<(ConversationId, u64)>),
    /// Who this device is.
    SaveIdentity(Uin, DeviceId),
    /// The ticket to come back with; `None`: it is of no use any more.
    SaveTicket(Option<v2::Ticket>),
}

/// A message on its way out.
#[derive(Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Rises with every message of this device: the order of sending.
    pub order: u64,
    /// The idempotency key.
    pub client_msg_id: ClientMsgId,
    /// Where to.
    pub conversation: ConversationId,
    /// What.
    pub body: Bytes,
    /// Give up after this. [`CANCELLED`](Self::CANCELLED): it was given up.
    pub expires: Option<UnixMillis>,
    /// What it does.
    pub action: SendAction,
    /// The trace it belongs to.
    pub trace: Option<TraceContext>,
}

/// What an entry of a conversation does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SendAction {
    /// It is a message.
    #[default]
    Message,
    /// It gives an earlier message of the sender's another body.
    Edit(Target),
    /// It takes an earlier message back.
    Recall(Target),
}

impl SendAction {
    /// What it is about.
    #[must_use]
    pub const fn target(self) -> Option<Target> {
        match self {
            Self::Message => None,
            Self::Edit(target) | Self::Recall(target) => Some(target),
        }
    }

    /// As the wire has it.
    #[must_use]
    pub const fn to_wire(self) -> v2::Action {
        match self {
            Self::Message => v2::Action::Message,
            Self::Edit(_) => v2::Action::Edit,
            Self::Recall(_) => v2::Action::Recall,
        }
    }
}

/// Which message an edit or a recall is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The one with this number in its conversation.
    Number(u64),
    /// The one that this device sent with this key. It may still be in the outbox: then this waits for it, and fails
    /// when it fails.
    Id(ClientMsgId),
}

/// What the server has not been told of a conversation. Zero is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owed {
    /// It is on this device's disk up to here.
    pub delivered: u64,
    /// Its user has read it up to here.
    pub read: u64,
}

impl Owed {
    /// Takes out what was told.
    pub const fn settle(&mut self, told: Self) {
        if self.delivered <= told.delivered {
            self.delivered = 0;
        }
        if self.read <= told.read {
            self.read = 0;
        }
    }

    /// Whether all was told.
    #[must_use]
    pub const fn is_nothing(self) -> bool {
        self.delivered == 0 && self.read == 0
    }
}

impl OutboxEntry {
    /// What [`expires`](Self::expires) says of a message that the application gave up: no deadline is that early.
    pub const CANCELLED: UnixMillis = UnixMillis(0);
}

impl Inbound {
    /// The trace it belongs to, caused by the span in which the server stored it; `None` when its sender keeps none.
    #[must_use]
    pub fn trace(&self) -> Option<TraceContext> {
        TraceContext::from_bytes(&self.message.trace)
    }
}

/// What one transaction changes together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Apply {
    /// The server's epoch, when it changed: the cursor belongs to it.
    pub epoch: Option<[u8; 16]>,
    /// The inbox is known up to here; `None` leaves it where it is.
    pub cursor: Option<u64>,
    /// The inbox was too far behind and is skipped up to the cursor: a snapshot is owed.
    pub skipped: bool,
    /// The snapshot has been taken over: it is owed no more.
    pub snapshot: bool,
    /// New messages, edits and recalls. For each of another account a delivered receipt is owed.
    pub messages: Vec<Inbound>,
    /// Watermarks of members.
    pub receipts: Vec<v2::Receipt>,
    /// Records of friends.
    pub friends: Vec<v2::Friend>,
    /// Groups as they stand for this account.
    pub groups: Vec<v2::GroupState>,
    /// This account's own profile.
    pub profile: Option<Box<v2::User>>,
    /// What is not in this inbox and has to be read by HISTORY.
    pub gaps: Vec<v2::Gap>,
    /// Changes of a type this version does not know, kept as they are.
    pub others: Vec<(u64, v2::SyncPacket)>,
    /// Messages that leave the outbox.
    pub settled: Vec<Settled>,
}

impl Apply {
    pub(super) fn is_empty(&self) -> bool {
        self.epoch.is_none()
            && self.cursor.is_none()
            && !self.skipped
            && !self.snapshot
            && self.profile.is_none()
            && self.len() == 0
    }

    /// Changes in it, for bounding it.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
            + self.receipts.len()
            + self.friends.len()
            + self.groups.len()
            + self.gaps.len()
            + self.others.len()
            + self.settled.len()
    }
}

/// A message of the inbox, or an edit or recall of one: its `action` says which.
#[derive(Clone, Debug, PartialEq)]
pub struct Inbound {
    /// Its place in the inbox; only rises, also when the server is put back from a backup. In another epoch, which a
    /// server has with another store only, positions start over, but a message that was known before is not told again.
    pub position: u64,
    /// The conversation.
    pub conversation: ConversationId,
    /// The message.
    pub message: v2::StoredMessage,
}

/// A message that left the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Its place in the outbox.
    pub order: u64,
    /// Its key.
    pub client_msg_id: ClientMsgId,
    /// What became of it.
    pub outcome: SendOutcome,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// The server stored it.
    Stored {
        /// Its conversation.
        conversation: ConversationId,
        /// Its place there.
        conv_seq: u64,
        /// When, by the server's clock.
        stored_ms: u64,
    },
    /// It was not and will not be stored.
    Failed(Failure),
}

/// What the disk holds when the client starts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Saved {
    /// Who this device is, once enrolled.
    pub identity: Option<(Uin, DeviceId)>,
    /// The ticket of the last session.
    pub ticket: Option<v2::Ticket>,
    /// Messages not settled yet, in any order.
    pub outbox: Vec<OutboxEntry>,
    /// The highest `order` ever used.
    pub last_order: u64,
    /// The server's epoch.
    pub epoch: Option<[u8; 16]>,
    /// The inbox is known up to here.
    pub cursor: u64,
    /// Messages the application has not confirmed, by position.
    pub unconfirmed: Vec<Inbound>,
    /// The highest message known in each conversation.
    pub heads: BTreeMap<ConversationId, u64>,
    /// Receipts the server has not been told.
    pub owed: BTreeMap<ConversationId, Owed>,
    /// Changes were skipped, and the snapshot that makes up for them is not here yet.
    pub owes_snapshot: bool,
}

/// The local disk failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// No room left: the transaction is not on the disk, and never will be.
    Full,
    /// Anything else; whether the transaction is on the disk shows when it is opened again, and until
    /// then the store is not written to.
    Failed,
    /// What the disk holds is not what was written there.
    Damaged,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the disk is full: make room and start again",
            Self::Failed => "the disk failed: check it and start again",
            Self::Damaged => "the local store is damaged: put it back from a copy, or register anew",
        })
    }
}

impl core::error::Error for StoreError {}
