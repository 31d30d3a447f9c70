//! [`Store`] on a redb file: two-phase commits, so that a crash at any write leaves the last commit
//! whole without trusting a checksum that strangers' bytes could forge, and quick repair, so that
//! opening after a crash does not read the whole file.

use std::cell::{OnceCell, RefCell};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ntproto_hub::store::execute::execute_batch;
use ntproto_hub::store::kv::{Kv, Table, Visit};
use ntproto_hub::store::migrate::{MigrateError, migrate};
use ntproto_hub::store::{Outcome, Store, StoreError, Txn};
use ntproto_sdk::store::watched::{Watched, is_full};
use redb::backends::FileBackend;
use redb::{
    Builder, Database, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable,
    StorageBackend, TableDefinition, WriteTransaction,
};

use super::backend::{OpenError, leave_nursery, nursery, open_file, open_nursery};
use super::beside::Beside;

/// What redb may hold in memory of the file. Its own default of 1 GiB is more than a small host has.
pub const DEFAULT_CACHE: usize = 128 << 20;

/// A disk that is still full is mentioned again after so long.
const SAY_AGAIN: Duration = Duration::from_secs(60);

pub(super) type Raw = &'static [u8];
type Answers = Vec<Result<Outcome, StoreError>>;
/// Opens the file again, telling the flag of a failed fsync.
type Opener = Box<dyn Fn(Arc<AtomicBool>) -> Result<Database, OpenError> + Send>;

pub(super) fn definition(table: Table) -> TableDefinition<'static, Raw, Raw> {
    TableDefinition::new(table.name())
}

/// The database while it is open: of the store, and of those who read it beside the store.
#[derive(Default)]
pub(super) struct Shared {
    database: RwLock<Option<Database>>,
    /// It is about to be closed: whoever reads it leaves it.
    leaving: AtomicBool,
}

impl Shared {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Option<Database>> {
        // What a panic left behind is a whole value: it is only ever replaced.
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    fn replace(&self, database: Option<Database>) {
        self.leaving.store(true, Ordering::Release);
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = database;
        self.leaving.store(false, Ordering::Release);
    }
}

enum State {
    Open,
    /// There was no room. The next batch opens the file again: maybe there is now.
    Full,
    /// Something failed that only a restart may answer.
    Failed,
}

/// A store in one redb file.
pub struct RedbStore {
    opener: Opener,
    shared: Arc<Shared>,
    state: State,
    sync_failed: Arc<AtomicBool>,
    /// When the log was told that the disk is full: it need not hear it from each of many attempts.
    full_said: Option<Instant>,
}

impl RedbStore {
    /// Opens the store at `path`, or makes it, readable by its owner only. `cache` is the memory redb
    /// may use.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path, cache: usize) -> Result<Self, OpenError> {
        if !path.try_exists().unwrap_or(true) {
            let file = open_nursery(path)?;
            let database = open_on(&nursery(path), cache, Arc::default(), file_backend(path, file)?)?;
            drop(database);
            leave_nursery(path)?;
        }
        let owned = path.to_owned();
        let opener = move |sync_failed| {
            let file = open_file(&owned)?;
            open_on(&owned, cache, sync_failed, file_backend(&owned, file)?)
        };
        Self::by(Box::new(opener))
    }

    /// Opens a store on storage of the caller's: `open` gives it, first now and again after the disk was
    /// full.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn on_backend<B: StorageBackend>(
        open: impl Fn() -> B + Send + 'static,
        cache: usize,
    ) -> Result<Self, OpenError> {
        Self::by(Box::new(move |sync_failed| open_on(Path::new("(backend)"), cache, sync_failed, open())))
    }

    fn by(opener: Opener) -> Result<Self, OpenError> {
        let sync_failed = Arc::default();
        let database = opener(Arc::clone(&sync_failed))?;
        let shared = Arc::new(Shared::default());
        shared.replace(Some(database));
        Ok(Self { opener, shared, state: State::Open, sync_failed, full_said: None })
    }

    /// What is done with the store beside its own work. It outlives the store, and then finds nothing.
    #[must_use]
    pub fn beside(&self) -> Beside {
        Beside::new(Arc::clone(&self.shared))
    }

    /// Runs a batch on the open database.
    fn run(&mut self, batch: &[Txn]) -> Result<Answers, StoreError> {
        if let State::Full = self.state {
            self.state = self.reopened()?;
        }
        let result = match self.shared.read().as_ref() {
            None => return Err(StoreError::Unavailable),
            Some(database) if batch.iter().all(Txn::is_read) => read_batch(database, batch),
            Some(database) => write_batch(database, batch),
        };
        result.map_err(|error| self.failed(&error))
    }

    /// Opens the file again after the disk was full. Only if it still is there is something to wait for.
    fn reopened(&mut self) -> Result<State, StoreError> {
        let opened = (self.opener)(Arc::clone(&self.sync_failed));
        // One that failed just now, or when the database was left, is a failed fsync like any other.
        let error = match (opened, self.sync_failed.load(Ordering::Acquire)) {
            (Ok(database), false) => {
                self.shared.replace(Some(database));
                return Ok(State::Open);
            }
            (Err(error @ OpenError::Full(_)), false) => {
                tracing::debug!(%error, "the store can't be opened again yet");
                return Err(StoreError::Full);
            }
            (Ok(_), true) => "an fsync failed".to_owned(),
            (Err(error), _) => error.to_string(),
        };
        tracing::error!(%error, "the store can't be opened again: it takes nothing until the server is restarted");
        self.state = State::Failed;
        Err(StoreError::Unavailable)
    }

    /// What a failure means for everything that follows.
    fn failed(&mut self, error: &redb::Error) -> StoreError {
        let full = matches!(error, redb::Error::Io(error) if is_full(error));
        self.shared.replace(None);
        // An fsync that failed for lack of room is a failed fsync.
        if full && !self.sync_failed.load(Ordering::Acquire) {
            if self.full_said.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
                self.full_said = Some(Instant::now());
                tracing::error!(%error, "the disk of the store is full: free some space");
            }
            self.state = State::Full;
            StoreError::Full
        } else {
            tracing::error!(%error, "the store failed: it takes nothing more until the server is restarted");
            self.state = State::Failed;
            StoreError::Unavailable
        }
    }
}

impl Drop for RedbStore {
    /// Whoever reads beside it leaves, and the file is closed.
    fn drop(&mut self) {
        self.shared.replace(None);
    }
}

impl Store for RedbStore {
    fn commit(&mut self, batch: &[Txn]) -> Answers {
        self.run(batch).unwrap_or_else(|error| batch.iter().map(|_| Err(error)).collect())
    }
}

pub(super) fn file_backend(path: &Path, file: std::fs::File) -> Result<FileBackend, OpenError> {
    FileBackend::new(file).map_err(|error| OpenError::database(path, error))
}

/// Opens the database, brings it to our format and makes sure that every table is there.
fn open_on(
    path: &Path,
    cache: usize,
    sync_failed: Arc<AtomicBool>,
    backend: impl StorageBackend,
) -> Result<Database, OpenError> {
    // redb answers most damage with an error, and some with a panic.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let database = Builder::new()
            .set_cache_size(cache)
            .create_with_backend(Watched::new(backend, sync_failed))
            .map_err(|error| OpenError::database(path, error))?;
        prepare(path, &database)?;
        Ok(database)
    }));
    opened.unwrap_or_else(|_| Err(OpenError::Damaged(path.to_owned(), "redb panicked".into())))
}

fn prepare(path: &Path, database: &Database) -> Result<(), OpenError> {
    let failed = |error: redb::Error| match error {
        redb::Error::Io(error) => OpenError::storage(path, redb::StorageError::Io(error)),
        other => OpenError::Damaged(path.to_owned(), other.to_string()),
    };
    let txn = begin_write(database).map_err(failed)?;
    let mut kv = WriteKv::new(&txn);
    match migrate(&mut kv) {
        Ok(_) => {}
        Err(error @ MigrateError::Newer { .. }) => return Err(OpenError::Newer(path.to_owned(), error)),
        Err(MigrateError::Foreign) => return Err(OpenError::NotADatabase(path.to_owned())),
        Err(MigrateError::Store(error)) => {
            return Err(match kv.failure.take() {
                Some(failure) => failed(failure),
                None => OpenError::Damaged(path.to_owned(), error.to_string()),
            });
        }
    }
    for &table in Table::ALL {
        kv.opened(table).map_err(failed)?;
    }
    drop(kv);
    txn.commit().map_err(|error| failed(error.into()))
}

pub(super) fn begin_write(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut txn = database.begin_write()?;
    txn.set_durability(Durability::Immediate)?;
    txn.set_two_phase_commit(true);
    txn.set_quick_repair(true);
    Ok(txn)
}

fn write_batch(database: &Database, batch: &[Txn]) -> Result<Answers, redb::Error> {
    let txn = begin_write(database)?;
    let mut kv = WriteKv::new(&txn);
    let answers = execute_batch(batch, &mut kv);
    let (dirty, failure) = (kv.dirty, kv.failure.take());
    drop(kv);
    match (answers, failure) {
        (Ok(answers), None) => {
            // Refusals and repetitions change nothing: there is nothing to sync.
            if dirty {
                txn.commit()?
            } else {
                txn.abort()?
            }
            Ok(answers)
        }
        (_, Some(error)) => {
            // The transaction is undone by dropping it, whatever abort answers.
            let _undone = txn.abort();
            Err(error)
        }
        (Err(_), None) => {
            txn.abort()?;
            Err(redb::Error::Corrupted("a transaction failed without a reason".into()))
        }
    }
}

fn read_batch(database: &Database, batch: &[Txn]) -> Result<Answers, redb::Error> {
    let mut kv = ReadKv::new(database.begin_read()?);
    let answers = execute_batch(batch, &mut kv);
    match (answers, kv.failure.into_inner()) {
        (Ok(answers), None) => Ok(answers),
        (_, Some(error)) => Err(error),
        (Err(_), None) => Err(redb::Error::Corrupted("a batch that only reads tried to write".into())),
    }
}

fn get(table: &impl ReadableTable<Raw, Raw>, key: &[u8]) -> Result<Option<Bytes>, redb::Error> {
    Ok(table.get(key)?.map(|value| Bytes::copy_from_slice(value.value())))
}

fn scan(
    table: &impl ReadableTable<Raw, Raw>,
    after: &[u8],
    to: &[u8],
    visit: &mut Visit<'_>,
) -> Result<(), redb::Error> {
    if after < to {
        for entry in table.range::<&[u8]>((Bound::Excluded(after), Bound::Included(to)))? {
            let (key, value) = entry?;
            if !visit(key.value(), value.value()) {
                break;
            }
        }
    }
    Ok(())
}

fn last_key(
    table: &impl ReadableTable<Raw, Raw>,
    from: &[u8],
    to: &[u8],
) -> Result<Option<Vec<u8>>, redb::Error> {
    if from > to {
        return Ok(None);
    }
    let last = table.range::<&[u8]>((Bound::Included(from), Bound::Included(to)))?.next_back();
    Ok(last.transpose()?.map(|(key, _)| key.value().to_vec()))
}

/// Keeps the first failure for the log; the semantics only hear that there was one.
fn note<T>(failure: &RefCell<Option<redb::Error>>, result: Result<T, redb::Error>) -> Result<T, StoreError> {
    result.map_err(|error| {
        failure.borrow_mut().get_or_insert(error);
        StoreError::Unavailable
    })
}

/// A write transaction; a table is opened when it is first used.
struct WriteKv<'t> {
    txn: &'t WriteTransaction,
    tables: [OnceCell<redb::Table<'t, Raw, Raw>>; Table::ALL.len()],
    dirty: bool,
    failure: RefCell<Option<redb::Error>>,
}

impl<'t> WriteKv<'t> {
    fn new(txn: &'t WriteTransaction) -> Self {
        Self { txn, tables: Default::default(), dirty: false, failure: RefCell::default() }
    }

    fn opened(&self, table: Table) -> Result<&redb::Table<'t, Raw, Raw>, redb::Error> {
        let cell = &self.tables[table.index()];
        if cell.get().is_none() {
            let opened = self.txn.open_table(definition(table))?;
            return Ok(cell.get_or_init(|| opened));
        }
        Ok(cell.get().expect("it was just seen to be there"))
    }

    fn opened_mut(&mut self, table: Table) -> Result<&mut redb::Table<'t, Raw, Raw>, redb::Error> {
        self.opened(table)?;
        Ok(self.tables[table.index()].get_mut().expect("it was just opened"))
    }

    fn change(&mut self, table: Table, key: &[u8], value: Option<&[u8]>) -> Result<(), redb::Error> {
        self.dirty = true;
        let table = self.opened_mut(table)?;
        match value {
            Some(value) => drop(table.insert(key, value)?),
            None => drop(table.remove(key)?),
        }
        Ok(())
    }
}

impl Kv for WriteKv<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        note(&self.failure, self.opened(table).and_then(|table| get(table, key)))
    }

    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let changed = self.change(table, key, Some(value));
        note(&self.failure, changed)
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        let changed = self.change(table, key, None);
        note(&self.failure, changed)
    }

    fn scan(&self, table: Table, after: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        note(&self.failure, self.opened(table).and_then(|table| scan(table, after, to, visit)))
    }

    fn last_key(&self, table: Table, from: &[u8], to: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        note(&self.failure, self.opened(table).and_then(|table| last_key(table, from, to)))
    }
}

/// A read transaction; it writes nothing.
pub(super) struct ReadKv {
    txn: ReadTransaction,
    tables: [OnceCell<ReadOnlyTable<Raw, Raw>>; Table::ALL.len()],
    failure: RefCell<Option<redb::Error>>,
}

impl ReadKv {
    pub(super) fn new(txn: ReadTransaction) -> Self {
        Self { txn, tables: Default::default(), failure: RefCell::default() }
    }

    /// What made it fail, if it did.
    pub(super) fn into_failure(self) -> Option<redb::Error> {
        self.failure.into_inner()
    }

    fn opened(&self, table: Table) -> Result<&ReadOnlyTable<Raw, Raw>, redb::Error> {
        let cell = &self.tables[table.index()];
        if cell.get().is_none() {
            let opened = self.txn.open_table(definition(table))?;
            return Ok(cell.get_or_init(|| opened));
        }
        Ok(cell.get().expect("it was just seen to be there"))
    }
}

impl Kv for ReadKv {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        note(&self.failure, self.opened(table).and_then(|table| get(table, key)))
    }

    fn put(&mut self, _: Table, _: &[u8], _: &[u8]) -> Result<(), StoreError> {
        Err(StoreError::Unavailable)
    }

    fn delete(&mut self, _: Table, _: &[u8]) -> Result<(), StoreError> {
        Err(StoreError::Unavailable)
    }

    fn scan(&self, table: Table, after: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        note(&self.failure, self.opened(table).and_then(|table| scan(table, after, to, visit)))
    }

    fn last_key(&self, table: Table, from: &[u8], to: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        note(&self.failure, self.opened(table).and_then(|table| last_key(table, from, to)))
    }
}
