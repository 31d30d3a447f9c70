//! What an operator does to a server's data while no server runs on it: invitations, and putting a backup in the
//! place of the store. The store's lock keeps a server away meanwhile.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use ntproto_core::crypto::CryptoProvider as _;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::rng::Rng;
use ntproto_core::text::EnrolCode;
use ntproto_core::time::UnixMillis;
use ntproto_hub::store::txn::Boot;
use ntproto_hub::store::{Outcome, Store as _, StoreError, Txn};
use ntproto_tokio::Clock;

use crate::keys::{self, KeyError};
use crate::run::STORE_FILE;
use crate::store::OpenError;
use crate::store::beside::BesideError;
use crate::store::redb::{DEFAULT_CACHE, RedbStore};

/// An invitation by the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// Accounts that can be made with it.
    pub uses: u32,
    /// How long it is good for.
    pub lifetime: std::time::Duration,
    /// Those accounts may invite others.
    pub may_invite: bool,
    /// Their devices are administrators'.
    pub admin: bool,
}

/// A store that was put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Records in it, all of them read and compared.
    pub records: u64,
    /// All numbers given out from now on are above this one.
    pub above: u64,
    /// Where the store that was there is now, if there was one.
    pub before: Option<PathBuf>,
}

/// Why it was not done. The data is as it was.
#[derive(Debug)]
#[non_exhaustive]
pub enum OfflineError {
    /// The store, or the backup, can't be opened.
    Open(OpenError),
    /// It was opened and did not work.
    Store(StoreError),
    /// The backup could not be read through.
    Read(BesideError),
    /// Records of the backup contradict each other: how many it has, and the first faults.
    Faults(u64, Vec<String>),
    /// The keys can't be had.
    Keys(KeyError),
    /// A file can't be read, written or renamed.
    File(PathBuf, io::Error),
    /// The system gives no randomness.
    Entropy(String),
}

impl fmt::Display for OfflineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(e) => e.fmt(f),
            Self::Store(e) => write!(f, "the store can't be used: {e}"),
            Self::Read(e) => e.fmt(f),
            Self::Faults(_, faults) => write!(f, "the backup has {} faults: take another", faults.len()),
            Self::Keys(e) => e.fmt(f),
            Self::File(path, e) => write!(f, "{}: {e}", path.display()),
            Self::Entropy(e) => write!(f, "the system gives no randomness: {e}"),
        }
    }
}

impl std::error::Error for OfflineError {}

impl From<OpenError> for OfflineError {
    fn from(e: OpenError) -> Self {
        Self::Open(e)
    }
}

impl From<KeyError> for OfflineError {
    fn from(e: KeyError) -> Self {
        Self::Keys(e)
    }
}

/// Makes an invitation on the store in a data directory, which is made if need be.
///
/// # Errors
/// See [`OfflineError`]. While a server runs the store is locked.
pub fn invite(dir: &Path, invitation: Invitation) -> Result<EnrolCode, OfflineError> {
    keys::make_folder(dir).map_err(|e| OfflineError::Keys(e.into()))?;
    let mut rng = rng()?;
    let mut store = RedbStore::open(&dir.join(STORE_FILE), DEFAULT_CACHE)?;
    let clock = boot(&mut store, &mut rng)?;
    let code: [u8; 16] = rng.array();
    let Invitation { uses, lifetime, may_invite, admin } = invitation;
    let invitation = Txn::CreateInvitation {
        by: None,
        code_hash: RUSTCRYPTO.sha256(&[&code]),
        uses,
        expires: clock + lifetime,
        may_invite,
        admin,
        account: None,
        audit: None,
    };
    commit(&mut store, invitation)?;
    Ok(EnrolCode::Invitation(code))
}

/// Puts a backup in the place of the store in a data directory. The backup is copied, and every record of the copy read and
/// compared, before anything is changed. The store that was there is kept under another name. Numbers go on above all
/// that can have been given out since the backup was made, and tickets are void: the server is started as always.
/// `progress` hears how many records were read, and ends it with `false`.
///
/// # Errors
/// See [`OfflineError`].
pub fn restore(
    backup: &Path,
    dir: &Path,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Restored, OfflineError> {
    keys::make_folder(dir).map_err(|e| OfflineError::Keys(e.into()))?;
    let mut rng = rng()?;
    let store = dir.join(STORE_FILE);
    let copy = dir.join(format!("{STORE_FILE}.restoring"));
    let restored = prepare(backup, &copy, &mut rng, progress);
    let (records, above, now) = match restored {
        Ok(restored) => restored,
        Err(e) => {
            // What is left is emptied by the next one.
            let _ = std::fs::remove_file(&copy);
            return Err(e);
        }
    };
    let before = match File::options().read(true).write(true).open(&store) {
        Ok(file) => Some((file, dir.join(format!("{STORE_FILE}.before-{}", now.0)))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(OfflineError::File(store, e)),
    };
    if let Some((file, name)) = &before {
        // It may be damaged beyond being opened; that nobody uses it is all that counts.
        file.try_lock().map_err(|_| OpenError::Locked(store.clone()))?;
        // Before the backup is in place: it must never be there with tickets that are alive.
        keys::void_tickets(dir, &mut rng, now)?;
        // One file under two names until the backup takes one of them: a server that starts meanwhile finds a store,
        // and makes no empty one. Not every file system can.
        if std::fs::hard_link(&store, name).is_err() {
            rename(&store, name)?;
        }
    } else {
        keys::void_tickets(dir, &mut rng, now)?;
    }
    rename(&copy, &store)?;
    sync(dir)?;
    Ok(Restored { records, above, before: before.map(|(_, name)| name) })
}

/// Copies a backup, reads it through and raises its numbers. Returns how many records it has, what the numbers are
/// above, and its clock.
fn prepare(
    backup: &Path,
    copy: &Path,
    rng: &mut Rng,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<(u64, u64, UnixMillis), OfflineError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |e| OfflineError::File(path, e)
    };
    let mut from = File::open(backup).map_err(failed(backup))?;
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    // Messages and keys are nobody else's business.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut to = options.open(copy).map_err(failed(copy))?;
    io::copy(&mut from, &mut to).and_then(|_| to.sync_all()).map_err(failed(copy))?;
    drop(to);
    let mut store = RedbStore::open(copy, DEFAULT_CACHE)?;
    let verified = store.beside().verify(progress).map_err(OfflineError::Read)?;
    if !verified.faults.is_empty() {
        let faults = verified.faults.iter().map(ToString::to_string).collect();
        return Err(OfflineError::Faults(verified.records, faults));
    }
    let now = boot(&mut store, rng)?;
    match commit(&mut store, Txn::Restored { wall: now })? {
        Outcome::Restored { above } => Ok((verified.records, above, now)),
        _ => Err(OfflineError::Store(StoreError::Corrupt)),
    }
}

fn rng() -> Result<Rng, OfflineError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|e| OfflineError::Entropy(e.to_string()))?;
    Ok(Rng::new(seed))
}

fn boot(store: &mut RedbStore, rng: &mut Rng) -> Result<UnixMillis, OfflineError> {
    match commit(store, Txn::Boot { wall: Clock::start().now().unix, epoch: rng.array() })? {
        Outcome::Booted(Boot { clock, .. }) => Ok(clock),
        _ => Err(OfflineError::Store(StoreError::Corrupt)),
    }
}

fn commit(store: &mut RedbStore, txn: Txn) -> Result<Outcome, OfflineError> {
    let done = store.commit(std::slice::from_ref(&txn)).pop();
    done.unwrap_or(Err(StoreError::Unavailable)).map_err(OfflineError::Store)
}

fn rename(from: &Path, to: &Path) -> Result<(), OfflineError> {
    std::fs::rename(from, to).map_err(|e| OfflineError::File(from.to_owned(), e))
}

/// Makes renames durable. Only Unix lets a folder be synced; elsewhere a rename itself is journalled.
fn sync(dir: &Path) -> Result<(), OfflineError> {
    #[cfg(unix)]
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| OfflineError::File(dir.to_owned(), e))?;
    let _ = dir;
    Ok(())
}
