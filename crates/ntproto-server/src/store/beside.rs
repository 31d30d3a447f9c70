//! What is done with a store while it is in use: a copy of it as it is at one moment, and a look at every record. Both read a snapshot
//! and never wait for the store's thread, nor it for them. While one is read, what is written makes the file larger: its pages are
//! free again afterwards.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ntproto_hub::store::StoreError;
use ntproto_hub::store::kv::{Kv as _, Table};
use ntproto_hub::store::verify::{self, Verified};
use ntproto_proto::store as record;
use ntproto_web::{ContentId, FileId};
use prost::Message as _;
use redb::{Builder, Database, ReadTransaction, ReadableDatabase};
use sha2::{Digest, Sha256};

use super::backend::{OpenError, leave_nursery, nursery, open_nursery};
use crate::files::sweep::Records;

use super::redb::{ReadKv, Shared, begin_write, definition, file_backend};

/// Bytes of a copy that are written in one transaction of it: they stand in memory until then.
const CHUNK: usize = 16 << 20;
/// What redb may hold in memory of the copy.
const CACHE: usize = 16 << 20;
/// Records between two looks at whether to go on.
const STEP: u64 = 1_024;
/// Bytes of the copy that are read at a time for its hash.
const BLOCK: usize = 1 << 16;
/// No key of a file or a content is above it.
const LAST: [u8; 33] = [0xff; 33];

/// A store that somebody else writes. It outlives it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ntproto_server::store::redb::RedbStore;
/// # let folder = tempfile::tempdir()?;
/// # let (path, copy) = (folder.path().join("store.redb"), folder.path().join("copy.redb"));
///
/// let store = RedbStore::open(&path, 1 << 20)?;
/// let beside = store.beside();
/// let backup = beside.backup(&copy, &mut |records| { println!("{records} records"); true })?;
/// assert!(beside.verify(&mut |_| true)?.faults.is_empty());
/// assert_eq!(std::fs::metadata(&copy)?.len(), backup.bytes);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Beside {
    shared: Arc<Shared>,
}

/// A copy that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Records in it.
    pub records: u64,
    /// Bytes of its file.
    pub bytes: u64,
    /// SHA-256 of its file.
    pub sha256: [u8; 32],
}

/// Why it was not done. Nothing is left behind.
#[derive(Debug)]
pub enum BesideError {
    /// The store is closed, or was closed meanwhile.
    Closed,
    /// The caller ended it.
    Ended,
    /// There is a file of that name.
    Exists(PathBuf),
    /// The copy could not be made.
    Copy(OpenError),
    /// Reading the store, or writing the copy, failed.
    Failed(String),
}

impl fmt::Display for BesideError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the store is closed"),
            Self::Ended => f.write_str("it was ended"),
            Self::Exists(path) => {
                write!(f, "there is a file {} already: choose another name", path.display())
            }
            Self::Copy(error) => error.fmt(f),
            Self::Failed(detail) => {
                write!(f, "the store could not be read, or the copy not written: {detail}")
            }
        }
    }
}

impl std::error::Error for BesideError {}

impl From<redb::Error> for BesideError {
    fn from(error: redb::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<OpenError> for BesideError {
    fn from(error: OpenError) -> Self {
        Self::Copy(error)
    }
}

impl Beside {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Writes a copy of the whole store, as it is now, to `path`, where there must be nothing. It gets its name when it is whole and
    /// on the disk. `progress` hears how many records it has, and ends it with `false`.
    ///
    /// # Errors
    /// See [`BesideError`].
    pub fn backup(&self, path: &Path, progress: &mut dyn FnMut(u64) -> bool) -> Result<Backup, BesideError> {
        if path.try_exists().unwrap_or(true) {
            return Err(BesideError::Exists(path.to_owned()));
        }
        let made = self.guarded(|database| self.copy(database, path, progress));
        if made.is_err() {
            // If it can't be removed, the next backup of this name empties it.
            let _ = std::fs::remove_file(nursery(path));
        }
        let records = made?;
        leave_nursery(path)?;
        let (bytes, sha256) = hash(path).map_err(|error| BesideError::Failed(error.to_string()))?;
        Ok(Backup { records, bytes, sha256 })
    }

    /// Reads every record, as they are now, and compares what they say of each other. `progress` hears how many were read, and ends it
    /// with `false`.
    ///
    /// # Errors
    /// See [`BesideError`]. That records are at fault is none of them.
    pub fn verify(&self, progress: &mut dyn FnMut(u64) -> bool) -> Result<Verified, BesideError> {
        self.guarded(|database| {
            let kv = ReadKv::new(database.begin_read().map_err(redb::Error::from)?);
            let verified = verify::verify(&kv, &mut |records| !self.shared.is_leaving() && progress(records));
            match (verified, kv.into_failure()) {
                (_, Some(error)) => Err(error.into()),
                (Err(error), None) => Err(BesideError::Failed(StoreError::to_string(&error))),
                (Ok(verified), None) if verified.complete => Ok(verified),
                (Ok(_), None) if self.shared.is_leaving() => Err(BesideError::Closed),
                (Ok(_), None) => Err(BesideError::Ended),
            }
        })
    }

    /// What the records say of files, as they are now.
    ///
    /// # Errors
    /// See [`BesideError`].
    pub fn files(&self) -> Result<Records, BesideError> {
        self.guarded(|database| {
            let kv = ReadKv::new(database.begin_read().map_err(redb::Error::from)?);
            let mut records = Records::default();
            let read = each(&kv, Table::Uploads, |key, value| {
                let upload = record::Upload::decode(value).ok()?;
                records.uploads.insert(FileId(key.try_into().ok()?), upload.offset);
                Some(())
            })
            .and_then(|()| {
                each(&kv, Table::Contents, |key, value| {
                    let content = record::StoredContent::decode(value).ok()?;
                    records.contents.insert(ContentId(key.try_into().ok()?), content.size);
                    Some(())
                })
            });
            match (read, kv.into_failure()) {
                (_, Some(error)) => Err(error.into()),
                (Err(error), None) => Err(BesideError::Failed(error.to_string())),
                (Ok(()), None) => Ok(records),
            }
        })
    }

    /// Runs something on the open database. redb answers most damage with an error, and some with a panic.
    fn guarded<T>(&self, run: impl FnOnce(&Database) -> Result<T, BesideError>) -> Result<T, BesideError> {
        let open = self.shared.read();
        let database = open.as_ref().ok_or(BesideError::Closed)?;
        catch_unwind(AssertUnwindSafe(|| run(database)))
            .unwrap_or_else(|_| Err(BesideError::Failed("redb panicked".into())))
    }

    fn copy(
        &self,
        from: &Database,
        path: &Path,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<u64, BesideError> {
        let snapshot = from.begin_read().map_err(redb::Error::from)?;
        let file = file_backend(path, open_nursery(path)?)?;
        let to = Builder::new()
            .set_cache_size(CACHE)
            .create_with_backend(file)
            .map_err(|error| OpenError::database(path, error))?;
        let mut records = 0;
        let mut go_on = |records: u64| match (self.shared.is_leaving(), progress(records)) {
            (true, _) => Err(BesideError::Closed),
            (false, false) => Err(BesideError::Ended),
            (false, true) => Ok(()),
        };
        for &table in Table::ALL {
            copy_table(&snapshot, &to, table, &mut records, &mut go_on)?;
        }
        go_on(records)?;
        Ok(records)
    }
}

/// Gives `take` every record of a table, until one can't be read.
fn each(
    kv: &ReadKv,
    table: Table,
    mut take: impl FnMut(&[u8], &[u8]) -> Option<()>,
) -> Result<(), StoreError> {
    let mut good = true;
    kv.scan(table, &[], &LAST, &mut |key, value| {
        good = take(key, value).is_some();
        good
    })?;
    if good { Ok(()) } else { Err(StoreError::Corrupt) }
}

fn copy_table(
    from: &ReadTransaction,
    to: &Database,
    table: Table,
    records: &mut u64,
    go_on: &mut dyn FnMut(u64) -> Result<(), BesideError>,
) -> Result<(), BesideError> {
    let source = from.open_table(definition(table)).map_err(redb::Error::from)?;
    let mut entries = source.range::<&[u8]>(..).map_err(redb::Error::from)?;
    loop {
        let txn = begin_write(to)?;
        let mut size = 0;
        let mut ended = true;
        {
            let mut target = txn.open_table(definition(table)).map_err(redb::Error::from)?;
            for entry in entries.by_ref() {
                let (key, value) = entry.map_err(redb::Error::from)?;
                target.insert(key.value(), value.value()).map_err(redb::Error::from)?;
                size += key.value().len() + value.value().len();
                *records += 1;
                if records.is_multiple_of(STEP) {
                    go_on(*records)?;
                }
                if size >= CHUNK {
                    ended = false;
                    break;
                }
            }
        }
        txn.commit().map_err(redb::Error::from)?;
        if ended {
            return Ok(());
        }
    }
}

/// The length and the SHA-256 of a file.
fn hash(path: &Path) -> io::Result<(u64, [u8; 32])> {
    let mut file = File::open(path)?;
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut block = vec![0; BLOCK];
    loop {
        match file.read(&mut block)? {
            0 => return Ok((bytes, hash.finalize().into())),
            read => {
                bytes += read as u64;
                hash.update(&block[..read]);
            }
        }
    }
}
