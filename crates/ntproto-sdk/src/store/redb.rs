//! The store in one redb file.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use ntproto_core::client::{ClientTxn, Inbound, OutboxEntry, Saved, SendOutcome, StoreError};
use ntproto_core::crypto::CryptoProvider;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::ids::{ClientMsgId, ConversationId, GroupId, Uin};
use ntproto_proto::v2;
use redb::backends::FileBackend;
use redb::{
    CommitError, Database, DatabaseError, ReadOnlyTable, ReadableDatabase as _, ReadableTable,
    StorageBackend, StorageError, TableDefinition, TableError, TransactionError, WriteTransaction,
};

use super::keystore::Keystore;
use super::kv::{Kv, Table, Visit};
use super::seal::{self, Sealed, Vault};
use super::watched::{Watched, is_full};
use super::{
    ClientStore, Fetched, Gap, Mark, OpenError, Place, SearchPage, SearchQuery, Stored, Unread, execute,
    gaps, people, query, search,
};

/// Pages kept in memory. A client reads what it just wrote, and a screen of history.
const CACHE_SIZE: usize = 8 * 1024 * 1024;

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

const fn definition(table: Table) -> Definition {
    TableDefinition::new(table.name())
}

/// A client's store in one file, its values sealed. Commits in two phases: what is in it comes from strangers, and one
/// phase would trust a checksum that they can forge.
pub struct RedbStore {
    database: Database,
    vault: Vault,
    /// An fsync failed: what was written before it may be on the disk, whatever it failed for.
    sync_failed: Arc<AtomicBool>,
    /// Once it failed nothing is written any more: what the disk holds is what was promised.
    failed: Option<StoreError>,
}

impl RedbStore {
    /// Opens the store in `path`, or makes one that only its owner can read. One that was written before values were
    /// sealed is sealed and moves to a file of its own, as the old one may still hold them open.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path, keystore: &dyn Keystore) -> Result<Self, OpenError> {
        Self::open_with(path, keystore, &RUSTCRYPTO)
    }

    /// [`open`](Self::open) with primitives of one's own.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_with(
        path: &Path,
        keystore: &dyn Keystore,
        provider: &'static dyn CryptoProvider,
    ) -> Result<Self, OpenError> {
        let store = Self::over(FileBackend::new(file(path)?).map_err(open_error)?, keystore, provider)?;
        if !store.read_raw(seal::is_stale).map_err(kv_damaged)? {
            return Ok(store);
        }
        store.move_to_new_file(path)?;
        Self::over(FileBackend::new(file(path)?).map_err(open_error)?, keystore, provider)
    }

    /// A store over anything that stores bytes.
    pub(super) fn over(
        backend: impl StorageBackend,
        keystore: &dyn Keystore,
        provider: &'static dyn CryptoProvider,
    ) -> Result<Self, OpenError> {
        let sync_failed = Arc::<AtomicBool>::default();
        let database = database(Watched::new(backend, Arc::clone(&sync_failed)))?;
        let txn = begin(&database).map_err(damaged)?;
        let mut writer = Writer::new(&txn).map_err(damaged)?;
        let vault = seal::unlock(&mut writer, keystore, provider, seed()?)?;
        drop(writer);
        txn.commit().map_err(|e| damaged(e.into()))?;
        Ok(Self { database, vault, sync_failed, failed: None })
    }

    /// Copies what is in it to a new file, which then takes its place: all of it or nothing, whatever happens.
    fn move_to_new_file(self, path: &Path) -> Result<(), OpenError> {
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(OpenError::Io(error)),
            _ => {}
        }
        let copy = database(FileBackend::new(file(&new)?).map_err(open_error)?)?;
        let txn = begin(&copy).map_err(damaged)?;
        let mut writer = Writer::new(&txn).map_err(damaged)?;
        self.read_raw(|kv| seal::copy_all(kv, &mut writer)).map_err(kv_damaged)?;
        drop(writer);
        txn.commit().map_err(|e| damaged(e.into()))?;
        drop((copy, self));
        fs::rename(&new, path).map_err(OpenError::Io)?;
        // The rename is durable once the directory is; Windows can't open one.
        #[cfg(unix)]
        if let Some(dir) = path.parent() {
            let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(OpenError::Io)?;
        }
        Ok(())
    }

    fn write(
        &mut self,
        change: impl FnOnce(&mut dyn Kv) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        commit(&self.database, &self.vault, change).map_err(|error| {
            let error = if self.sync_failed.load(Ordering::Acquire) { StoreError::Failed } else { error };
            *self.failed.insert(error)
        })
    }

    fn read<R>(&self, query: impl FnOnce(&dyn Kv) -> Result<R, StoreError>) -> Result<R, StoreError> {
        self.read_raw(|kv| query(&Sealed::reading(kv, &self.vault)))
    }

    /// Values as they lie on the disk.
    fn read_raw<R>(&self, query: impl FnOnce(&dyn Kv) -> Result<R, StoreError>) -> Result<R, StoreError> {
        let txn = self.database.begin_read().map_err(Fault::from)?;
        let mut tables = Vec::with_capacity(Table::ALL.len());
        for table in Table::ALL {
            tables.push(txn.open_table(definition(*table)).map_err(Fault::from)?);
        }
        query(&Reader(tables))
    }
}

/// The file, made if need be, for its owner alone.
fn file(path: &Path) -> Result<File, OpenError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(OpenError::Io)
}

fn database(backend: impl StorageBackend) -> Result<Database, OpenError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_SIZE).create_with_backend(backend).map_err(open_error)
}

/// From the operating system: nonces and the store's name come of it.
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
fn seed() -> Result<[u8; 32], OpenError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| OpenError::Entropy(error.to_string()))?;
    Ok(seed)
}

/// Nothing here draws random numbers, and there are no files either.
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
fn seed() -> Result<[u8; 32], OpenError> {
    Err(OpenError::Entropy("this platform has none".into()))
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

fn kv_damaged(error: StoreError) -> OpenError {
    OpenError::Damaged(error.to_string())
}

fn begin(database: &Database) -> Result<WriteTransaction, Fault> {
    let mut txn = database.begin_write()?;
    txn.set_two_phase_commit(true);
    // Opening after a crash takes no walk through the file.
    txn.set_quick_repair(true);
    Ok(txn)
}

fn commit(
    database: &Database,
    vault: &Vault,
    change: impl FnOnce(&mut dyn Kv) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let txn = begin(database)?;
    {
        let mut writer = Writer::new(&txn)?;
        change(&mut Sealed::writing(&mut writer, vault))?;
        seal::keep_count(&mut writer, vault)?;
    }
    txn.commit().map_err(Fault::from)?;
    Ok(())
}

impl ClientStore for RedbStore {
    fn load(&mut self) -> Result<Saved, StoreError> {
        self.read(query::load)
    }

    fn commit(&mut self, batch: &[ClientTxn]) -> Result<(), StoreError> {
        self.write(|kv| batch.iter().try_for_each(|one| execute::execute(kv, one)))
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

    fn search(&mut self, query: &SearchQuery) -> Result<SearchPage, StoreError> {
        self.read(|kv| search::search(kv, query))
    }

    fn unread(&mut self, conversation: ConversationId) -> Result<Unread, StoreError> {
        self.read(|kv| search::unread(kv, conversation))
    }

    fn outcome(&mut self, id: ClientMsgId) -> Result<Option<SendOutcome>, StoreError> {
        self.read(|kv| query::outcome(kv, id))
    }

    fn message(&mut self, conversation: ConversationId, number: u64) -> Result<Option<Stored>, StoreError> {
        self.read(|kv| query::message(kv, conversation, number))
    }

    fn others(&mut self, after: Place, limit: usize) -> Result<Vec<(Place, v2::SyncPacket)>, StoreError> {
        self.read(|kv| query::others(kv, after, limit))
    }

    fn gaps(&mut self, conversation: ConversationId) -> Result<Vec<Gap>, StoreError> {
        self.read(|kv| gaps::list(kv, conversation))
    }

    fn friends(&mut self) -> Result<Vec<v2::Friend>, StoreError> {
        self.read(people::friends)
    }

    fn groups(&mut self) -> Result<Vec<v2::GroupState>, StoreError> {
        self.read(people::groups)
    }

    fn group(&mut self, group: GroupId) -> Result<Option<v2::GroupState>, StoreError> {
        self.read(|kv| people::group(kv, group))
    }

    fn profile(&mut self, uin: Uin) -> Result<Option<v2::User>, StoreError> {
        self.read(|kv| people::profile(kv, uin))
    }

    fn keep(&mut self, fetched: &Fetched) -> Result<(), StoreError> {
        self.write(|kv| execute::keep(kv, fetched))
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
