//! The store's format: every store says which one it has, and is brought to ours when it is opened.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;
use ntproto_core::ids::{ConversationId, Uin};
use ntproto_proto::store as record;
use ntproto_proto::store::inbox_entry::Entry;
use prost::Message;

use super::keys;
use super::kv::{Kv, Table};
use super::txn::StoreError;

/// Brings a store from one format to the next. It runs in the transaction that also writes the new
/// number, so a crash leaves the old format or the new one.
pub type Migration = fn(&mut dyn Kv) -> Result<(), StoreError>;

/// Migration `i` leads from format `i` to `i + 1`; format 0 is an empty store.
pub const MIGRATIONS: &[Migration] = &[create, one_of_each, files];

/// The format this version writes.
pub const FORMAT: u32 = MIGRATIONS.len() as u32;

/// 0 → 1: the tables of `kv::Table`, empty. They come into being when first written.
fn create(_: &mut dyn Kv) -> Result<(), StoreError> {
    Ok(())
}

/// 1 → 2: what stands once in an inbox is found by what it is, not only receipts; accounts have a list of their conversations, and
/// are counted.
fn one_of_each(kv: &mut dyn Kv) -> Result<(), StoreError> {
    let mut after = Vec::new();
    while let Some((key, at)) = next(kv, Table::ReceiptAt, &after)? {
        let (owner, rest) = key.split_first_chunk().ok_or(StoreError::Corrupt)?;
        let (conversation, member) = rest.split_first_chunk().ok_or(StoreError::Corrupt)?;
        let member = keys::number(member).ok_or(StoreError::Corrupt)?;
        let owner = Uin(u64::from_be_bytes(*owner));
        let new = keys::latest_receipt(owner, ConversationId(*conversation), Uin(member));
        kv.put(Table::Latest, &new, &at)?;
        kv.delete(Table::ReceiptAt, &key)?;
        after = key;
    }
    let mut after = Vec::new();
    while let Some((key, value)) = next(kv, Table::Inbox, &after)? {
        let line = record::InboxEntry::decode(value).map_err(|_| StoreError::Corrupt)?;
        if let Some(Entry::Message(pointer)) = line.entry {
            let owner = key.first_chunk().ok_or(StoreError::Corrupt)?;
            let conversation =
                ConversationId::from_slice(&pointer.conversation).ok_or(StoreError::Corrupt)?;
            let of = keys::conversation_of(Uin(u64::from_be_bytes(*owner)), conversation);
            kv.put(Table::Conversations, &of, &[])?;
        }
        after = key;
    }
    let mut accounts = 0_u64;
    kv.scan(Table::Accounts, &[], &[0xff; LONGEST_KEY], &mut |_, _| {
        accounts += 1;
        true
    })?;
    kv.put(Table::Meta, keys::ACCOUNTS, &accounts.to_be_bytes())
}

/// 2 → 3: files. Their tables come into being when first written.
fn files(_: &mut dyn Kv) -> Result<(), StoreError> {
    Ok(())
}

/// The first entry after a key: a table is walked while it is changed.
fn next(kv: &dyn Kv, table: Table, after: &[u8]) -> Result<Option<(Vec<u8>, Bytes)>, StoreError> {
    let mut found = None;
    kv.scan(table, after, &[0xff; LONGEST_KEY], &mut |key, value| {
        found = Some((keys::owned(key), Bytes::copy_from_slice(value)));
        false
    })?;
    Ok(found)
}

/// Why a store could not be brought to our format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrateError {
    /// A newer version wrote it: use that version. Nothing was changed.
    Newer {
        /// The store's format.
        found: u32,
        /// The newest one this version knows.
        supported: u32,
    },
    /// It holds data but does not say in which format: it is no store of ours.
    Foreign,
    /// Reading or writing failed.
    Store(StoreError),
}

impl fmt::Display for MigrateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newer { found, supported } => write!(
                f,
                "the store has format {found}, this version knows up to {supported}: run the version that wrote it"
            ),
            Self::Foreign => f.write_str("the store does not say its format: it was not written by ntproto"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for MigrateError {}

impl From<StoreError> for MigrateError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Brings a store to [`FORMAT`], inside one transaction of it. Answers the format it had.
///
/// # Errors
/// The store is newer or none of ours, or it failed; the transaction must then be undone.
pub fn migrate(kv: &mut dyn Kv) -> Result<u32, MigrateError> {
    migrate_by(kv, MIGRATIONS)
}

/// [`migrate`] along another list.
fn migrate_by(kv: &mut dyn Kv, migrations: &[Migration]) -> Result<u32, MigrateError> {
    let supported = u32::try_from(migrations.len()).expect("the list is short");
    let found = match kv.get(Table::Meta, keys::FORMAT)? {
        Some(value) => u32::from_be_bytes(value[..].try_into().map_err(|_| MigrateError::Foreign)?),
        None if is_empty(kv)? => 0,
        None => return Err(MigrateError::Foreign),
    };
    let Some(ahead) = migrations.get(found as usize..) else {
        return Err(MigrateError::Newer { found, supported });
    };
    for migration in ahead {
        migration(kv)?;
    }
    if found != supported {
        kv.put(Table::Meta, keys::FORMAT, &supported.to_be_bytes())?;
    }
    Ok(found)
}

/// The longest key of any table.
pub(super) const LONGEST_KEY: usize = 33;

fn is_empty(kv: &dyn Kv) -> Result<bool, StoreError> {
    for &table in Table::ALL {
        if kv.last_key(table, &[], &[0xff; LONGEST_KEY])?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::memory::Tables;
    use super::*;

    /// A later version that renames a Meta entry.
    const LATER: &[Migration] = &[create, one_of_each, files, |kv| {
        let value = kv.get(Table::Meta, b"epoch")?.unwrap_or_default();
        kv.put(Table::Meta, b"history", &value)?;
        kv.delete(Table::Meta, b"epoch")
    }];

    #[test]
    fn a_new_store_gets_our_format() {
        let mut kv = Tables::default();
        assert_eq!(migrate(&mut kv), Ok(0));
        assert_eq!(migrate(&mut kv), Ok(FORMAT));
    }

    #[test]
    fn an_older_store_is_brought_forward_step_by_step() {
        let mut kv = Tables::default();
        migrate(&mut kv).unwrap();
        kv.put(Table::Meta, b"epoch", b"x").unwrap();
        assert_eq!(migrate_by(&mut kv, LATER), Ok(3));
        assert_eq!(kv.get(Table::Meta, b"history").unwrap().unwrap(), &b"x"[..]);
        assert_eq!(kv.get(Table::Meta, b"epoch").unwrap(), None);
        assert_eq!(migrate_by(&mut kv, LATER), Ok(4));
    }

    #[test]
    fn receipts_and_conversations_of_format_1_are_found_in_format_2() {
        let mut kv = Tables::default();
        migrate_by(&mut kv, &MIGRATIONS[..1]).unwrap();
        let (a, b) = (Uin(10_001), Uin(10_002));
        let conversation = ConversationId::direct(a, b);
        let id = Bytes::copy_from_slice(&conversation.0);
        for uin in [a, b] {
            kv.put(Table::Accounts, &keys::account(uin), &[]).unwrap();
            let pointer = record::Pointer { conversation: id.clone(), conv_seq: 1 };
            let line = record::InboxEntry { entry: Some(Entry::Message(pointer)) };
            kv.put(Table::Inbox, &keys::inbox(uin, 1), &line.encode_to_vec()).unwrap();
        }
        let receipt = record::ReceiptEntry { conversation: id, member: b.0 };
        let line = record::InboxEntry { entry: Some(Entry::Receipt(receipt)) };
        kv.put(Table::Inbox, &keys::inbox(a, 2), &line.encode_to_vec()).unwrap();
        kv.put(Table::ReceiptAt, &keys::receipt_at(a, conversation, b), &2_u64.to_be_bytes()).unwrap();

        assert_eq!(migrate(&mut kv), Ok(1));
        let at = kv.get(Table::Latest, &keys::latest_receipt(a, conversation, b)).unwrap().unwrap();
        assert_eq!(keys::number(&at), Some(2));
        assert_eq!(next(&kv, Table::ReceiptAt, &[]).unwrap(), None);
        for uin in [a, b] {
            let key = keys::conversation_of(uin, conversation);
            assert!(kv.get(Table::Conversations, &key).unwrap().is_some());
        }
        assert_eq!(kv.get(Table::Meta, keys::ACCOUNTS).unwrap().as_deref(), Some(&2_u64.to_be_bytes()[..]));
    }

    #[test]
    fn a_newer_store_is_refused_untouched() {
        let mut kv = Tables::default();
        migrate_by(&mut kv, LATER).unwrap();
        let before = kv.clone();
        assert_eq!(migrate(&mut kv), Err(MigrateError::Newer { found: 4, supported: 3 }));
        assert!(kv == before);
    }

    #[test]
    fn a_foreign_store_is_refused() {
        let mut kv = Tables::default();
        kv.put(Table::Log, b"something", b"").unwrap();
        assert_eq!(migrate(&mut kv), Err(MigrateError::Foreign));
        let mut kv = Tables::default();
        kv.put(Table::Meta, keys::FORMAT, b"one").unwrap();
        assert_eq!(migrate(&mut kv), Err(MigrateError::Foreign));
    }
}
