//! The ordered key-value view that the meaning of transactions is written against.

use bytes::Bytes;
use ntproto_core::client::StoreError;

use super::OpenError;

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// A table. Keys sort by their bytes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Table {
            $($(#[$doc])* $name,)*
        }

        impl Table {
            /// Every table.
            pub(super) const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name on disk. Never changed: a new meaning gets a new name and a migration.
            pub(super) const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

tables! {
    /// Name → format, identity, ticket, epoch, cursor, counters.
    Meta = "meta";
    /// Order → a message on its way out.
    Outbox = "outbox";
    /// Conversation, number → a stored message, sent or received.
    Messages = "messages";
    /// Generation, position → conversation and number of a message not yet confirmed.
    Unconfirmed = "unconfirmed";
    /// Conversation → the highest number received.
    Heads = "heads";
    /// Conversation → the numbers up to which delivered and read receipts are owed.
    Owed = "owed";
    /// Conversation, member → delivered and read numbers.
    Marks = "marks";
    /// Client message id → what became of the message.
    Outcomes = "outcomes";
    /// Generation, position → a change of a type this version does not know.
    Others = "others";
    /// Conversation, number of a message, number of an edit or recall of it → nothing.
    Edits = "edits";
    /// Uin → a friend's record.
    Friends = "friends";
    /// Group → it as it stands for this account.
    Groups = "groups";
    /// Uin → a profile.
    Profiles = "profiles";
    /// Conversation, first number → the last number of what is not here.
    Gaps = "gaps";
}

/// What a scan calls with each key and value; `false` ends the scan.
pub(super) type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> Result<bool, StoreError> + 'v;

/// Tables of bytes, ordered by key, within one transaction: a read sees every write before it.
pub(super) trait Kv {
    /// The value of `key`.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError>;
    /// Sets the value of `key`.
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError>;
    /// Takes `key` out, if it is there.
    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError>;
    /// Visits the entries with `from ≤ key < to`, from the first or from the last.
    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        backwards: bool,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError>;
}

/// The name of the format in [`Table::Meta`].
pub(super) const FORMAT_KEY: &[u8] = b"format";

/// Brings a store from one format to the next, in the transaction that also writes the new number.
pub(super) type Migration = fn(&mut dyn Kv) -> Result<(), StoreError>;

/// Migration `i` leads from format `i` to `i + 1`; format 0 is an empty store. From format 2 on the values in a file
/// are sealed: the file's store does that by itself, before any migration.
pub(super) const MIGRATIONS: &[Migration] = &[|_| Ok(()), |_| Ok(()), receipts_of_two_kinds];

/// What is owed had one number, and has two now: delivered and read. Tables that are new are empty.
fn receipts_of_two_kinds(kv: &mut dyn Kv) -> Result<(), StoreError> {
    let mut owed = Vec::new();
    kv.scan(Table::Owed, &[], END, false, &mut |key, value| {
        owed.push((key.to_vec(), [value, &[0; 8]].concat()));
        Ok(true)
    })?;
    owed.iter().try_for_each(|(key, value)| kv.put(Table::Owed, key, value))
}

/// After every key there is: the longest has 32 bytes.
pub(super) const END: &[u8] = &[0xff; 33];

/// The format of a store, if this version can read it.
pub(super) fn format(kv: &dyn Kv, supported: u32) -> Result<u32, OpenError> {
    let found = match kv.get(Table::Meta, FORMAT_KEY).map_err(unreadable)? {
        Some(value) => u32::from_be_bytes(value[..].try_into().map_err(|_| OpenError::Foreign)?),
        None => {
            let mut empty = true;
            for table in Table::ALL {
                let mut seen = |_: &[u8], _: &[u8]| {
                    empty = false;
                    Ok(false)
                };
                kv.scan(*table, &[], END, false, &mut seen).map_err(unreadable)?;
            }
            if !empty {
                return Err(OpenError::Foreign);
            }
            0
        }
    };
    if found > supported {
        return Err(OpenError::Newer { found, supported });
    }
    Ok(found)
}

/// Brings a store from the format it was found in to the newest, inside one transaction of it.
pub(super) fn migrate(kv: &mut dyn Kv, found: u32, migrations: &[Migration]) -> Result<(), OpenError> {
    let supported = migrations.len() as u32;
    for migration in &migrations[found as usize..] {
        migration(kv).map_err(unreadable)?;
    }
    if found != supported {
        kv.put(Table::Meta, FORMAT_KEY, &supported.to_be_bytes()).map_err(unreadable)?;
    }
    Ok(())
}

pub(super) fn unreadable(_: StoreError) -> OpenError {
    OpenError::Damaged("its tables can't be read".into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::memory::Tables;
    use super::*;

    const LATER: &[Migration] = &[
        |_| Ok(()),
        |kv| {
            let value = kv.get(Table::Meta, b"old")?.unwrap_or_default();
            kv.put(Table::Meta, b"new", &value)?;
            kv.delete(Table::Meta, b"old")
        },
    ];

    fn bring(kv: &mut Tables, migrations: &[Migration]) -> Result<(), OpenError> {
        let found = format(kv, migrations.len() as u32)?;
        migrate(kv, found, migrations)
    }

    #[test]
    fn an_older_store_is_brought_forward() {
        let mut kv = Tables::default();
        bring(&mut kv, &LATER[..1]).unwrap();
        bring(&mut kv, &LATER[..1]).unwrap();
        kv.put(Table::Meta, b"old", b"x").unwrap();
        bring(&mut kv, LATER).unwrap();
        assert_eq!(kv.get(Table::Meta, b"new").unwrap().unwrap(), &b"x"[..]);
        assert_eq!(kv.get(Table::Meta, b"old").unwrap(), None);
    }

    #[test]
    fn a_newer_or_foreign_store_is_refused() {
        let mut kv = Tables::default();
        bring(&mut kv, LATER).unwrap();
        let error = bring(&mut kv, &LATER[..1]);
        assert!(matches!(error, Err(OpenError::Newer { found: 2, supported: 1 })));
        let mut kv = Tables::default();
        kv.put(Table::Heads, b"x", b"y").unwrap();
        assert!(matches!(bring(&mut kv, MIGRATIONS), Err(OpenError::Foreign)));
    }
}
