//! What a client keeps on its disk.
//!
//! ```text
//!   ClientTxn ─▶ execute (what each means, once) ─▶ Kv ─┬▶ Sealed ─▶ RedbStore    one file
//!                                                       └─────────▶ MemoryStore  gone with the process
//! ```
//!
//! A [`ClientStore`] runs whole transactions, many in one durable step, and answers what the application wants
//! to read back. [`StoreThread`] runs one beside the loop: transactions that come while the disk is busy are
//! committed together by the next step.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod execute;
mod gaps;
mod keystore;
mod kv;
mod memory;
mod messages;
mod people;
mod query;
mod record;
mod redb;
mod seal;
mod search;
mod thread;
pub mod watched;

use std::fmt;

use bytes::Bytes;
use ntproto_core::client::{ClientTxn, Inbound, OutboxEntry, Saved, SendOutcome, StoreError};
use ntproto_core::ids::{ClientMsgId, ConversationId, DeviceId, GroupId, Uin};
use ntproto_proto::{Hidden, v2};

pub use self::keystore::{DeviceKeystore, Keystore, KeystoreError, StoreId};
pub use self::memory::MemoryStore;
pub use self::redb::RedbStore;
pub use self::search::{
    Found, MAX_SEARCHED, MAX_SEARCHED_BYTES, MAX_UNREAD_COUNTED, SearchCursor, SearchPage, SearchQuery,
    Unread,
};
pub use self::thread::{StoreReader, StoreThread};

/// A client's local disk.
pub trait ClientStore: Send {
    /// What the core starts from. Messages the application has not confirmed are left out, as there may be many:
    /// see [`unconfirmed`](Self::unconfirmed) and [`load_all`](Self::load_all).
    ///
    /// # Errors
    /// The store failed.
    fn load(&mut self) -> Result<Saved, StoreError>;

    /// Runs all of these in order, durable when it returns. On an error none of them happened.
    ///
    /// # Errors
    /// [`StoreError::Full`] when there is no room; [`StoreError::Failed`] from then on when anything else
    /// happened.
    fn commit(&mut self, batch: &[ClientTxn]) -> Result<(), StoreError>;

    /// Messages the application has not confirmed, after `after`, oldest first; at most `limit`.
    ///
    /// # Errors
    /// The store failed.
    fn unconfirmed(&mut self, after: Place, limit: usize) -> Result<Vec<(Place, Inbound)>, StoreError>;

    /// How often the server's epoch changed: the first half of a [`Place`].
    ///
    /// # Errors
    /// The store failed.
    fn generation(&mut self) -> Result<u32, StoreError>;

    /// Stored messages of a conversation before `before` (from the end if `None`), newest first; at most `limit`.
    ///
    /// # Errors
    /// The store failed.
    fn history(
        &mut self,
        conversation: ConversationId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Stored>, StoreError>;

    /// Messages still on their way out, oldest first.
    ///
    /// # Errors
    /// The store failed.
    fn outbox(&mut self) -> Result<Vec<OutboxEntry>, StoreError>;

    /// Every conversation with a message, and the number of its newest.
    ///
    /// # Errors
    /// The store failed.
    fn conversations(&mut self) -> Result<Vec<(ConversationId, u64)>, StoreError>;

    /// How far each member of a conversation has it.
    ///
    /// # Errors
    /// The store failed.
    fn marks(&mut self, conversation: ConversationId) -> Result<Vec<Mark>, StoreError>;

    /// Messages a query finds. One call looks at [`MAX_SEARCHED`] messages at most; the page says where to go on.
    ///
    /// # Errors
    /// The store failed.
    fn search(&mut self, query: &SearchQuery) -> Result<SearchPage, StoreError>;

    /// How many messages of others in a conversation are above this account's own read mark.
    ///
    /// # Errors
    /// The store failed.
    fn unread(&mut self, conversation: ConversationId) -> Result<Unread, StoreError>;

    /// What became of a message that left the outbox.
    ///
    /// # Errors
    /// The store failed.
    fn outcome(&mut self, id: ClientMsgId) -> Result<Option<SendOutcome>, StoreError>;

    /// A message of a conversation, as its edits and recalls leave it.
    ///
    /// # Errors
    /// The store failed.
    fn message(&mut self, conversation: ConversationId, number: u64) -> Result<Option<Stored>, StoreError>;

    /// Changes of types that this version does not know, after `after`, as they came; at most `limit`.
    ///
    /// # Errors
    /// The store failed.
    fn others(&mut self, after: Place, limit: usize) -> Result<Vec<(Place, v2::SyncPacket)>, StoreError>;

    /// What of a conversation is not on this disk and can be had from the server, in order.
    ///
    /// # Errors
    /// The store failed.
    fn gaps(&mut self, conversation: ConversationId) -> Result<Vec<Gap>, StoreError>;

    /// The records of friends, of those who asked and of those who were asked, by uin.
    ///
    /// # Errors
    /// The store failed.
    fn friends(&mut self) -> Result<Vec<v2::Friend>, StoreError>;

    /// The groups this account is or was in, by id.
    ///
    /// # Errors
    /// The store failed.
    fn groups(&mut self) -> Result<Vec<v2::GroupState>, StoreError>;

    /// One of them.
    ///
    /// # Errors
    /// The store failed.
    fn group(&mut self, group: GroupId) -> Result<Option<v2::GroupState>, StoreError>;

    /// The profile of an account, as far as it is known.
    ///
    /// # Errors
    /// The store failed.
    fn profile(&mut self, uin: Uin) -> Result<Option<v2::User>, StoreError>;

    /// Keeps what a request brought, beside what comes by the inbox: durable when it returns.
    ///
    /// # Errors
    /// As with [`commit`](Self::commit).
    fn keep(&mut self, fetched: &Fetched) -> Result<(), StoreError>;

    /// [`load`](Self::load) with every unconfirmed message, for a host that drives the core by itself.
    ///
    /// # Errors
    /// The store failed.
    fn load_all(&mut self) -> Result<Saved, StoreError> {
        let mut saved = self.load()?;
        let unconfirmed = self.unconfirmed(Place::START, usize::MAX)?;
        saved.unconfirmed = unconfirmed.into_iter().map(|(_, inbound)| inbound).collect();
        Ok(saved)
    }
}

/// Where a message stands in this client's inbox, over all of the server's epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// How often the server's epoch had changed.
    pub generation: u32,
    /// The position within that epoch.
    pub position: u64,
}

impl Place {
    /// Before everything.
    pub const START: Self = Self { generation: 0, position: 0 };
}

/// A range of numbers of a conversation, both ends in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gap {
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
}

/// What a request brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fetched {
    /// Entries of conversations.
    pub messages: Vec<v2::StoredMessage>,
    /// Nothing more of this range can be had: it is no gap any more.
    pub complete: Option<(ConversationId, Gap)>,
    /// Records of friends.
    pub friends: Vec<v2::Friend>,
    /// Groups.
    pub groups: Vec<v2::GroupState>,
    /// Profiles.
    pub profiles: Vec<v2::User>,
    /// Watermarks of members.
    pub marks: Vec<v2::Receipt>,
}

/// A message of a conversation, sent or received.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its place in the conversation.
    pub conv_seq: u64,
    /// Who sent it.
    pub sender: Uin,
    /// From which device.
    pub sender_device: DeviceId,
    /// The sender's key for it.
    pub client_msg_id: ClientMsgId,
    /// When, by the server's clock, in milliseconds since 1970.
    pub stored_ms: u64,
    /// What: its last edit, and nothing when it was taken back.
    pub body: Bytes,
    /// The number of its last edit.
    pub edited: Option<u64>,
    /// The number of its recall.
    pub recalled: Option<u64>,
}

impl fmt::Debug for Stored {
    /// Without the body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored")
            .field("conv_seq", &self.conv_seq)
            .field("sender", &self.sender)
            .field("sender_device", &self.sender_device)
            .field("client_msg_id", &self.client_msg_id)
            .field("stored_ms", &self.stored_ms)
            .field("body", &Hidden(&self.body))
            .field("edited", &self.edited)
            .field("recalled", &self.recalled)
            .finish()
    }
}

impl From<v2::StoredMessage> for Stored {
    /// A sender without a proper id is shown without one: what a server stored is not ours to judge.
    fn from(message: v2::StoredMessage) -> Self {
        Self {
            conv_seq: message.conv_seq,
            sender: Uin(message.sender),
            sender_device: DeviceId::from_slice(&message.sender_device).unwrap_or(DeviceId([0; 16])),
            client_msg_id: ClientMsgId::from_slice(&message.client_msg_id).unwrap_or(ClientMsgId([0; 16])),
            stored_ms: message.stored_ms,
            body: message.body,
            edited: (message.edited_seq != 0).then_some(message.edited_seq),
            recalled: (message.recalled_seq != 0).then_some(message.recalled_seq),
        }
    }
}

/// How far a member has a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The member.
    pub member: Uin,
    /// Everything up to here reached a device of the member.
    pub delivered_seq: u64,
    /// Everything up to here was read.
    pub read_seq: u64,
}

/// Why a store could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has it open.
    InUse,
    /// A newer version wrote it. Nothing was changed.
    Newer {
        /// Its format.
        found: u32,
        /// The newest one this version knows.
        supported: u32,
    },
    /// It is no store of ours.
    Foreign,
    /// It can't be read or written.
    Io(std::io::Error),
    /// It is damaged.
    Damaged(String),
    /// It does not open with this key: it is another device's, or damaged.
    WrongKey,
    /// Its key can't be had.
    Keystore(KeystoreError),
    /// The system gives no random numbers.
    Entropy(String),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse => f.write_str("the store is in use by another process"),
            Self::Newer { found, supported } => write!(
                f,
                "the store has format {found}, this version knows up to {supported}: run the version that wrote it"
            ),
            Self::Foreign => f.write_str("the store was not written by ntproto"),
            Self::Io(error) => write!(f, "the store can't be opened: {error}"),
            Self::Damaged(what) => write!(f, "the store is damaged: {what}"),
            Self::WrongKey => f.write_str("the store is sealed with the key of another device, or damaged"),
            Self::Keystore(error) => error.fmt(f),
            Self::Entropy(why) => write!(f, "the system gives no random numbers: {why}"),
        }
    }
}

impl std::error::Error for OpenError {}

#[cfg(test)]
mod tests;
