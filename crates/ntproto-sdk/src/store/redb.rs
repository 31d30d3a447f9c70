//! The store in one redb file.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use ntproto_core::client::{ClientTxn, Inbound, OutboxEntry, Saved, SendOutcome, StoreError};
use ntproto_core::ids::{ClientMsgId, ConversationId};
use redb::backends::FileBackend;
use redb::{
    CommitError, Database, DatabaseError, ReadOnlyTable, ReadableDatabase as _, ReadableTable,
    StorageBackend, StorageError, TableDefinition, TableError, TransactionError, WriteTransaction,
};

use super::kv::{Kv, MIGRATIONS, Table, Visit, migrate};
use super::watched::{Watched, is_full};
use super::{ClientStore, Mark, OpenError, Place, Stored, execute, query};

/// Pages kept in memory. A client reads what it just wrote, and a screen of history.
const CACHE_SIZE: usize = 8 * 1024 * 1024;

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

const fn definition(table: Table) -> Definition {
    TableDefinition::new(table.name())
}

/// A client's store in one file. Commits in two phases: what is in it comes from strangers, and one phase would
/// trust a checksum that they can forge.
pub struct RedbStore {
    database: Database,
    /// An fsync failed: what was written before it may be on the disk, whatever it failed for.
    sync_failed: Arc<AtomicBool>,
    /// Once it failed nothing is written any more: what the disk holds is what was promised.
    failed: Option<StoreError>,
}

impl RedbStore {
    /// Opens the store in `path`, or makes one that only its owner can read.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).map_err(OpenError::Io)?;
        Self::over(FileBackend::new(file).map_err(open_error)?)
    }

    /// A store over anything that stores bytes.
    pub(super) fn over(backend: impl StorageBackend) -> Result<Self, OpenError> {
        let mut builder = Database::builder();
        let sync_failed = Arc::<AtomicBool>::default();
        let backend = Watched::new(backend, Arc::clone(&sync_failed));
        let database = builder.set_cache_size(CACHE_SIZE).create_with_backend(backend).map_err(open_error)?;
        let txn = begin(&database).map_err(damaged)?;
        migrate(&mut Writer::new(&txn).map_err(damaged)?, MIGRATIONS)?;
        txn.commit().map_err(|e| damaged(e.into()))?;
        Ok(Self { database, sync_failed, failed: None })
    }

    fn read<R>(&self, query: impl FnOnce(&dyn Kv) -> Result<R, StoreError>) -> Result<R, StoreError> {
        let txn = self.database.begin_read().map_err(Fault::from)?;
        let mut tables = Vec::with_capacity(Table::ALL.len());
        for table in Table::ALL {
            tables.push(txn.open_table(definition(*table)).map_err(Fault::from)?);
        }
        query(&Reader(tables))
    }
}

fn open_error(error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse,
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
            OpenError::Foreign
        }
        DatabaseError::Storage(StorageError::Io(error)) => OpenError::Io(error),
        other => OpenError::Damaged(other.to_string()),
    }
}

fn damaged(fault: Fault) -> OpenError {
    OpenError::Damaged(fault.text)
}

fn begin(database: &Database) -> Result<WriteTransaction, Fault> {
    let mut txn = database.begin_write()?;
    txn.set_two_phase_commit(true);
    // Opening after a crash takes no walk through the file.
    txn.set_quick_repair(true);
    Ok(txn)
}

fn commit(database: &Database, batch: &[ClientTxn]) -> Result<(), StoreError> {
    let txn = begin(database)?;
    {
        let mut writer = Writer::new(&txn)?;
        batch.iter().try_for_each(|one| execute::execute(&mut writer, one))?;
    }
    txn.commit().map_err(Fault::from)?;
    Ok(())
}

impl ClientStore for RedbStore {
    fn load(&mut self) -> Result<Saved, StoreError> {
        self.read(query::load)
    }

    fn commit(&mut self, batch: &[ClientTxn]) -> Result<(), StoreError> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        commit(&self.database, batch).map_err(|error| {
            let error = if self.sync_failed.load(Ordering::Acquire) { StoreError::Failed } else { error };
            *self.failed.insert(error)
        })
    }

    fn unconfirmed(&mut self, after: Place, limit: usize) -> Result<Vec<(Place, Inbound)>, StoreError> {
        self.read(|kv| query::unconfirmed(kv, after, limit))
    }

    fn generation(&mut self) -> Result<u32, StoreError> {
        self.read(execute::generation)
    }

    fn history(
        &mut self,
        conversation: ConversationId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Stored>, StoreError> {
        self.read(|kv| query::history(kv, conversation, before, limit))
    }

    fn outbox(&mut self) -> Result<Vec<OutboxEntry>, StoreError> {
        self.read(query::outbox)
    }

    fn conversations(&mut self) -> Result<Vec<(ConversationId, u64)>, StoreError> {
        self.read(query::conversations)
    }

    fn marks(&mut self, conversation: ConversationId) -> Result<Vec<Mark>, StoreError> {
        self.read(|kv| query::marks(kv, conversation))
    }

    fn outcome(&mut self, id: ClientMsgId) -> Result<Option<SendOutcome>, StoreError> {
        self.read(|kv| query::outcome(kv, id))
    }
}

/// What redb said.
struct Fault {
    full: bool,
    text: String,
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Self {
        let full = matches!(&error, StorageError::Io(e) if is_full(e));
        Self { full, text: error.to_string() }
    }
}

macro_rules! faults {
    ($($error:ident),*) => {
        $(impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                match error {
                    $error::Storage(error) => error.into(),
                    other => Self { full: false, text: other.to_string() },
                }
            }
        })*
    };
}

faults!(TableError, TransactionError, CommitError);

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        if fault.full { Self::Full } else { Self::Failed }
    }
}

/// A transaction that writes.
struct Writer<'t>(Vec<redb::Table<'t, &'static [u8], &'static [u8]>>);

impl<'t> Writer<'t> {
    fn new(txn: &'t WriteTransaction) -> Result<Self, Fault> {
        let open = |table: &Table| txn.open_table(definition(*table)).map_err(Fault::from);
        Table::ALL.iter().map(open).collect::<Result<_, _>>().map(Self)
    }
}

impl Kv for Writer<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        get(&self.0[table as usize], key)
    }

    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.0[table as usize].insert(key, value).map_err(Fault::from)?;
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.0[table as usize].remove(key).map_err(Fault::from)?;
        Ok(())
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        backwards: bool,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        scan(&self.0[table as usize], from, to, backwards, visit)
    }
}

/// A transaction that only reads.
struct Reader(Vec<ReadOnlyTable<&'static [u8], &'static [u8]>>);

impl Kv for Reader {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        get(&self.0[table as usize], key)
    }

    fn put(&mut self, _: Table, _: &[u8], _: &[u8]) -> Result<(), StoreError> {
        Err(StoreError::Failed)
    }

    fn delete(&mut self, _: Table, _: &[u8]) -> Result<(), StoreError> {
        Err(StoreError::Failed)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        backwards: bool,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        scan(&self.0[table as usize], from, to, backwards, visit)
    }
}

fn get(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &[u8],
) -> Result<Option<Bytes>, StoreError> {
    let value = table.get(key).map_err(Fault::from)?;
    Ok(value.map(|value| Bytes::copy_from_slice(value.value())))
}

fn scan(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    from: &[u8],
    to: &[u8],
    backwards: bool,
    visit: &mut Visit<'_>,
) -> Result<(), StoreError> {
    if from >= to {
        return Ok(());
    }
    let mut range = table.range(from..to).map_err(Fault::from)?;
    while let Some(entry) = if backwards { range.next_back() } else { range.next() } {
        let (key, value) = entry.map_err(Fault::from)?;
        if !visit(key.value(), value.value())? {
            break;
        }
    }
    Ok(())
}
