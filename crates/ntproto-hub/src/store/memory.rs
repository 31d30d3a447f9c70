//! A store in memory, with the faults of a disk on demand: power cuts between write and fsync, a
//! failed fsync, a full disk.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Bound;

use bytes::Bytes;

use super::Store;
use super::execute::execute_batch;
use super::kv::{Kv, Table, Visit};
use super::migrate::migrate;
use super::txn::{Outcome, StoreError, Txn};

/// The tables themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables([BTreeMap<Vec<u8>, Bytes>; Table::ALL.len()]);

impl Tables {
    fn of(&self, table: Table) -> &BTreeMap<Vec<u8>, Bytes> {
        &self.0[table.index()]
    }

    /// Sets or removes a key; answers what stood there.
    fn set(&mut self, table: Table, key: &[u8], value: Option<Bytes>) -> Option<Bytes> {
        let entries = &mut self.0[table.index()];
        match value {
            Some(value) => entries.insert(key.to_vec(), value),
            None => entries.remove(key),
        }
    }
}

impl Kv for Tables {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.of(table).get(key).cloned())
    }

    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.set(table, key, Some(Bytes::copy_from_slice(value)));
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.set(table, key, None);
        Ok(())
    }

    fn scan(&self, table: Table, after: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        if after < to {
            let range = (Bound::Excluded(after), Bound::Included(to));
            let _ended = self.of(table).range::<[u8], _>(range).all(|(key, value)| visit(key, value));
        }
        Ok(())
    }

    fn last_key(&self, table: Table, from: &[u8], to: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if from > to {
            return Ok(None);
        }
        let range = (Bound::Included(from), Bound::Included(to));
        Ok(self.of(table).range::<[u8], _>(range).next_back().map(|(key, _)| key.clone()))
    }
}

/// One change, and what stood there before.
struct Undo {
    table: Table,
    key: Vec<u8>,
    before: Option<Bytes>,
}

/// The tables of a store during a transaction: every change is recorded, and the disk may be full.
struct Recorded<'s> {
    tables: &'s mut Tables,
    undo: &'s mut Vec<Undo>,
    used: &'s mut usize,
    capacity: usize,
}

/// What an entry takes.
fn size(key: &[u8], value: Option<&Bytes>) -> usize {
    value.map_or(0, |value| key.len() + value.len())
}

impl Recorded<'_> {
    fn set(&mut self, table: Table, key: &[u8], value: Option<Bytes>) -> Result<(), StoreError> {
        let grown = *self.used + size(key, value.as_ref());
        let used = grown - size(key, self.tables.of(table).get(key));
        if used > *self.used && used > self.capacity {
            return Err(StoreError::Full);
        }
        *self.used = used;
        let before = self.tables.set(table, key, value);
        self.undo.push(Undo { table, key: key.to_vec(), before });
        Ok(())
    }
}

impl Kv for Recorded<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.tables.get(table, key)
    }

    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.set(table, key, Some(Bytes::copy_from_slice(value)))
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.set(table, key, None)
    }

    fn scan(&self, table: Table, after: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.tables.scan(table, after, to, visit)
    }

    fn last_key(&self, table: Table, from: &[u8], to: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.tables.last_key(table, from, to)
    }
}

/// A store in memory. [`commit`](Store::commit) is [`write`](Self::write) then [`sync`](Self::sync);
/// a simulator calls the two itself and puts a [`crash`](Self::crash) between them.
pub struct MemoryStore {
    tables: Tables,
    /// What was written since the last sync, in order.
    unsynced: Vec<Undo>,
    used: usize,
    capacity: usize,
    fail_next_sync: bool,
    poisoned: bool,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store of our format, durable.
    #[must_use]
    pub fn new() -> Self {
        let mut tables = Tables::default();
        migrate(&mut tables).expect("an empty store in memory has no reason to refuse");
        let used = Table::ALL
            .iter()
            .flat_map(|&table| tables.of(table))
            .map(|(key, value)| size(key, Some(value)))
            .sum();
        Self {
            tables,
            unsynced: Vec::new(),
            used,
            capacity: usize::MAX,
            fail_next_sync: false,
            poisoned: false,
        }
    }

    /// Runs a batch without making it durable. Its answers must be withheld until [`sync`](Self::sync)
    /// has succeeded.
    pub fn write(&mut self, batch: &[Txn]) -> Vec<Result<Outcome, StoreError>> {
        if self.poisoned {
            return vec![Err(StoreError::Unavailable); batch.len()];
        }
        let before = self.unsynced.len();
        let mut recorded = Recorded {
            tables: &mut self.tables,
            undo: &mut self.unsynced,
            used: &mut self.used,
            capacity: self.capacity,
        };
        match execute_batch(batch, &mut recorded) {
            Ok(answers) => answers,
            Err(error) => {
                self.undo_to(before);
                vec![Err(error); batch.len()]
            }
        }
    }

    /// Makes everything written durable.
    ///
    /// # Errors
    /// The fsync failed: from now on everything is refused until [`crash`](Self::crash).
    pub fn sync(&mut self) -> Result<(), StoreError> {
        if self.poisoned || core::mem::take(&mut self.fail_next_sync) {
            self.poisoned = true;
            return Err(StoreError::Unavailable);
        }
        self.unsynced.clear();
        Ok(())
    }

    /// Whether something was written and not synced.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// Cuts the power and opens the store again. What was not synced is gone as one, or
    /// (`keep_unsynced`) all of it reached the disk although nobody was told.
    pub fn crash(&mut self, keep_unsynced: bool) {
        if keep_unsynced {
            self.unsynced.clear();
        } else {
            self.undo_to(0);
        }
        self.fail_next_sync = false;
        self.poisoned = false;
    }

    /// What it holds, written or not synced yet.
    #[must_use]
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The next sync fails.
    pub fn fail_next_sync(&mut self) {
        self.fail_next_sync = true;
    }

    /// How many bytes of keys and values fit; `usize::MAX` for no limit.
    pub fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// Whether these bytes stand in any value: for whoever makes sure that something is gone.
    #[must_use]
    pub fn holds(&self, bytes: &[u8]) -> bool {
        let within = |value: &Bytes| value.windows(bytes.len().max(1)).any(|window| window == bytes);
        Table::ALL.iter().any(|table| self.tables.of(*table).values().any(within))
    }

    /// Bytes of keys and values held.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used
    }

    fn undo_to(&mut self, mark: usize) {
        for Undo { table, key, before } in self.unsynced.drain(mark..).rev() {
            self.used += size(&key, before.as_ref());
            let undone = self.tables.set(table, &key, before);
            self.used -= size(&key, undone.as_ref());
        }
    }
}

impl Store for MemoryStore {
    fn commit(&mut self, batch: &[Txn]) -> Vec<Result<Outcome, StoreError>> {
        let answers = self.write(batch);
        if self.is_dirty()
            && let Err(error) = self.sync()
        {
            return vec![Err(error); batch.len()];
        }
        answers
    }
}
