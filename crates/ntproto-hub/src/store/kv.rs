//! The ordered key-value view of a store that the semantics are written against.

use alloc::vec::Vec;

use bytes::Bytes;

use super::txn::StoreError;

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// A table. Keys sort by their bytes; `keys` builds them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Table {
            $($(#[$doc])* $name,)*
        }

        impl Table {
            /// Every table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name on disk. Never changed: a new meaning gets a new name and a migration.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

tables! {
    /// Name → the store's format, epoch, clock floor and counters.
    Meta = "meta";
    /// Account → `Account`.
    Accounts = "accounts";
    /// Device id → `Device`.
    Devices = "devices";
    /// X25519 public key → device id.
    DeviceKeys = "device_keys";
    /// Ed25519 public key → device id.
    SigningKeys = "signing_keys";
    /// Account, device id → nothing.
    AccountDevices = "account_devices";
    /// SHA-256 of the code → `Invitation`.
    Invitations = "invitations";
    /// Expiry, account, nonce of a device link that was used → nothing.
    UsedLinks = "used_links";
    /// Conversation, sequence number → `LogEntry`.
    Log = "log";
    /// Device id, client message id → `Sent`.
    Sent = "sent";
    /// Account, position → `InboxEntry`. The newest entry of an inbox is never deleted: it holds the
    /// last position that was given out.
    Inbox = "inbox";
    /// Conversation, member → `Marks`.
    Marks = "marks";
    /// Of format 1, empty since: account, conversation, member → position of that member's receipt in the account's inbox.
    ReceiptAt = "receipt_at";
    /// Account, event type, key → position of what stands once in the account's inbox: a receipt, a friend record, a
    /// group, the profile.
    Latest = "latest";
    /// Account, conversation → nothing: where the account has messages.
    Conversations = "conversations";
    /// Account, other account → `Friend`.
    Friends = "friends";
    /// Group → `Group`.
    Groups = "groups";
    /// Group, account → `Member`.
    Members = "members";
    /// Group, slot → account. Slots are dense.
    MemberSlots = "member_slots";
    /// Account, group → nothing.
    MemberOf = "member_of";
    /// Group, account → the end of the mute of somebody who left with one.
    Mutes = "mutes";
    /// Group, version → `GroupChange`. The newest are kept.
    GroupChanges = "group_changes";
    /// Account, request → the group it made.
    GroupRequests = "group_requests";
    /// Account → `PresenceRecord`.
    Presence = "presence";
    /// Number → `AuditEntry`.
    Audit = "audit";
    /// File → `Upload`, as long as it is not whole.
    Uploads = "uploads";
    /// Account, the account's name for an upload → file.
    UploadIds = "upload_ids";
    /// End, file → nothing: uploads in the order they end in.
    UploadEnds = "upload_ends";
    /// File → `File`.
    Files = "files";
    /// SHA-256 → `StoredContent`.
    Contents = "contents";
    /// Account → `FileUsage`.
    FileUsage = "file_usage";
    /// 1, file or 2, SHA-256 → nothing: bytes on the disk that are to be removed.
    Doomed = "doomed";
}

impl Table {
    /// Its place in an array of all tables.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// What a scan calls with each key and value; `false` ends the scan.
pub type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> bool + 'v;

/// Tables of bytes, ordered by key, within one transaction: a read sees every write before it.
pub trait Kv {
    /// The value of `key`.
    ///
    /// # Errors
    /// The store failed.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Sets the value of `key`.
    ///
    /// # Errors
    /// The store failed, or this is a transaction that only reads.
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError>;

    /// Takes `key` out, if it is there.
    ///
    /// # Errors
    /// The store failed, or this is a transaction that only reads.
    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError>;

    /// Visits the entries with `after < key ≤ to`, in order, until `visit` answers `false`.
    ///
    /// # Errors
    /// The store failed.
    fn scan(&self, table: Table, after: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError>;

    /// The greatest key with `from ≤ key ≤ to`.
    ///
    /// # Errors
    /// The store failed.
    fn last_key(&self, table: Table, from: &[u8], to: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
}
