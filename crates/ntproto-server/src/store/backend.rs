//! The file under the database: created whole or not at all, opened with errors that say what to do.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use ntproto_hub::store::migrate::MigrateError;
use ntproto_sdk::store::watched::is_full;
use redb::{DatabaseError, StorageError};

/// Why the store could not be opened. The text says what to do about it.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has it open.
    Locked(PathBuf),
    /// The file is no database.
    NotADatabase(PathBuf),
    /// A newer version of ntproto wrote it.
    Newer(PathBuf, MigrateError),
    /// A version of the database library that this one can't read wrote it.
    OldFile(PathBuf, u8),
    /// The file may not be read or written.
    Permission(PathBuf),
    /// There is no such folder.
    NoFolder(PathBuf),
    /// No space is left.
    Full(PathBuf),
    /// It is damaged.
    Damaged(PathBuf, String),
    /// Something else went wrong.
    Io(PathBuf, io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |path: &PathBuf| path.display().to_string();
        match self {
            Self::Locked(path) => {
                write!(f, "the store {} is in use: is another server running on it?", at(path))
            }
            Self::NotADatabase(path) => {
                write!(f, "{} is not a store: name another file, or move this one away", at(path))
            }
            Self::Newer(path, error) => write!(f, "can't open the store {}: {error}", at(path)),
            Self::OldFile(path, version) => write!(
                f,
                "the store {} has the old database format {version}: restore a backup or upgrade it",
                at(path)
            ),
            Self::Permission(path) => {
                write!(f, "no permission for the store {}: run as its owner, or fix its mode", at(path))
            }
            Self::NoFolder(path) => write!(f, "the folder of the store {} does not exist", at(path)),
            Self::Full(path) => {
                write!(f, "the disk of the store {} is full: free some space", at(path))
            }
            Self::Damaged(path, detail) => {
                write!(f, "the store {} is damaged: restore a backup ({detail})", at(path))
            }
            Self::Io(path, error) => write!(f, "can't open the store {}: {error}; check its disk", at(path)),
        }
    }
}

impl std::error::Error for OpenError {}

impl OpenError {
    fn io(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Permission(path),
            io::ErrorKind::NotFound => Self::NoFolder(path),
            io::ErrorKind::InvalidData | io::ErrorKind::IsADirectory => Self::NotADatabase(path),
            io::ErrorKind::UnexpectedEof => Self::Damaged(path, "it is cut short".into()),
            _ if is_full(&error) => Self::Full(path),
            _ => Self::Io(path, error),
        }
    }

    /// What redb said when it opened the file at `path`.
    pub(super) fn database(path: &Path, error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
                Self::Locked(path.to_owned())
            }
            DatabaseError::UpgradeRequired(version) => Self::OldFile(path.to_owned(), version),
            DatabaseError::Storage(error) => Self::storage(path, error),
            other => Self::Damaged(path.to_owned(), other.to_string()),
        }
    }

    /// What redb said when it read or wrote the file at `path`.
    pub(super) fn storage(path: &Path, error: StorageError) -> Self {
        match error {
            StorageError::Io(error) => Self::io(path, error),
            other => Self::Damaged(path.to_owned(), other.to_string()),
        }
    }
}

/// The file a database is first written to. It gets its name once it is a whole database, so a crash
/// in between leaves nothing that can't be opened.
pub(super) fn nursery(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

/// Opens an existing file.
pub(super) fn open_file(path: &Path) -> Result<File, OpenError> {
    let failed = |error| OpenError::io(path, error);
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
    // redb would make a new database of it. Ours get their name when they are whole.
    if file.metadata().map_err(failed)?.len() == 0 {
        return Err(OpenError::Damaged(path.to_owned(), "the file is empty".into()));
    }
    Ok(file)
}

/// Opens the nursery, empty whatever an earlier crash left in it.
pub(super) fn open_nursery(path: &Path) -> Result<File, OpenError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    // Messages and keys are nobody else's business.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(nursery(path)).map_err(|error| OpenError::io(path, error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::Locked(path.to_owned())),
        Err(TryLockError::Error(error)) => return Err(OpenError::io(path, error)),
    }
    let emptied = file.set_len(0).and_then(|()| file.unlock());
    emptied.map_err(|error| OpenError::io(path, error))?;
    Ok(file)
}

/// Gives the nursery its name, durably.
pub(super) fn leave_nursery(path: &Path) -> Result<(), OpenError> {
    let renamed = std::fs::rename(nursery(path), path).and_then(|()| {
        // Only Unix lets a folder be synced; elsewhere the rename itself is journalled.
        #[cfg(unix)]
        {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Ok(())
    });
    renamed.map_err(|error| OpenError::io(path, error))
}
