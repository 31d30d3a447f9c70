//! A directory that is a device: its keys, its server, its store.
//!
//! ```text
//! connect      the connect string
//! bootstrap    where its server can be asked for a new connect string, if that is known
//! enrol        the code to come in with, until enrolled (secret)
//! keys         the device's secret keys
//! lock         held while the profile is in use
//! transfers    how far uploads and downloads are (secret)
//! store.redb   outbox, inbox, history; sealed under a key that comes from `keys`
//! ```

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::crypto::secret::Secret;
use ntproto_core::crypto::{CryptoProvider, rustcrypto::RUSTCRYPTO};
use ntproto_core::time::UnixMillis;
use zeroize::Zeroizing;

use crate::EnrolCode;
use crate::Options;
use crate::driver::{Server, ServerError};
use crate::store::{DeviceKeystore, OpenError, RedbStore};
use crate::{ConnectString, ConnectStringError};

const CONNECT: &str = "connect";
const BOOTSTRAP: &str = "bootstrap";
const ENROL: &str = "enrol";
const KEYS: &str = "keys";
const LOCK: &str = "lock";
const STORE: &str = "store.redb";
const TRANSFERS: &str = "transfers";

/// What a file of keys begins with; the digit is its format.
const KEYS_MAGIC: &[u8; 8] = b"ntpkeys1";
/// Bytes of the check sum behind the keys: finds a damaged file, proves nothing.
const CHECK_LEN: usize = 8;
/// Magic, signing seed, static secret, check sum.
const KEYS_LEN: usize = 8 + 32 + 32 + CHECK_LEN;
/// The longest text file read: a connect string has about 400 bytes.
const MAX_TEXT: u64 = 4096;

/// A profile in use. Nobody else can open it until it is dropped.
pub struct Profile {
    dir: PathBuf,
    connect: ConnectString,
    bootstrap: Option<String>,
    enrol: Option<EnrolCode>,
    keys: DeviceKeys,
    _lock: File,
}

/// Writes new connect strings into a profile that is in use. The profile must outlive it: its lock keeps others out.
#[derive(Clone, Debug)]
pub struct ConnectKeeper(PathBuf);

impl ConnectKeeper {
    /// Replaces the connect string on the disk: the next start begins with it.
    ///
    /// # Errors
    /// It can't be written.
    pub fn keep(&self, connect: &ConnectString) -> Result<(), ProfileError> {
        write(&self.0, CONNECT, connect.to_string().as_bytes())
    }
}

impl Profile {
    /// Makes a profile. The directory is made if need be; a profile that is there is never overwritten.
    ///
    /// # Errors
    /// See [`ProfileError`].
    pub fn create(
        dir: &Path,
        connect: ConnectString,
        keys: DeviceKeys,
        enrol: Option<EnrolCode>,
    ) -> Result<Self, ProfileError> {
        make_dir(dir).map_err(|e| ProfileError::Io(dir.into(), e))?;
        let lock = lock(dir)?;
        if dir.join(KEYS).exists() {
            return Err(ProfileError::Exists(dir.into()));
        }
        write(dir, CONNECT, connect.to_string().as_bytes())?;
        if let Some(code) = &enrol {
            write(dir, ENROL, code.to_string().as_bytes())?;
        }
        // Last: a directory with keys is a whole profile.
        write(dir, KEYS, &*encode_keys(&RUSTCRYPTO, &keys))?;
        Ok(Self { dir: dir.into(), connect, bootstrap: None, enrol, keys, _lock: lock })
    }

    /// Opens a profile.
    ///
    /// # Errors
    /// See [`ProfileError`].
    pub fn open(dir: &Path) -> Result<Self, ProfileError> {
        if !dir.join(KEYS).exists() {
            return Err(ProfileError::Missing(dir.into()));
        }
        let lock = lock(dir)?;
        let keys = decode_keys(&RUSTCRYPTO, &*read_keys(&dir.join(KEYS))?)
            .ok_or_else(|| ProfileError::Keys(dir.join(KEYS)))?;
        let connect = text(dir, CONNECT)?
            .ok_or_else(|| ProfileError::Missing(dir.into()))?
            .parse()
            .map_err(|e| ProfileError::Connect(dir.join(CONNECT), e))?;
        let enrol = match text(dir, ENROL)? {
            Some(code) => Some(code.parse().map_err(|_| ProfileError::Enrol(dir.join(ENROL)))?),
            None => None,
        };
        let bootstrap = text(dir, BOOTSTRAP)?.map(|url| url.trim().to_owned());
        Ok(Self { dir: dir.into(), connect, bootstrap, enrol, keys, _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its server.
    #[must_use]
    pub fn connect(&self) -> &ConnectString {
        &self.connect
    }

    /// Where its server can be asked for a new connect string: `https://host:port`.
    #[must_use]
    pub fn bootstrap(&self) -> Option<&str> {
        self.bootstrap.as_deref()
    }

    /// Sets it.
    ///
    /// # Errors
    /// It can't be written.
    pub fn set_bootstrap(&mut self, url: &str) -> Result<(), ProfileError> {
        write(&self.dir, BOOTSTRAP, url.as_bytes())?;
        self.bootstrap = Some(url.to_owned());
        Ok(())
    }

    /// Who keeps what a running client learns of its server.
    #[must_use]
    pub fn keeper(&self) -> ConnectKeeper {
        ConnectKeeper(self.dir.clone())
    }

    /// The device's keys.
    #[must_use]
    pub fn keys(&self) -> &DeviceKeys {
        &self.keys
    }

    /// Replaces the connect string: the server moved, or has another certificate.
    ///
    /// # Errors
    /// It can't be written.
    pub fn set_connect(&mut self, connect: ConnectString) -> Result<(), ProfileError> {
        write(&self.dir, CONNECT, connect.to_string().as_bytes())?;
        self.connect = connect;
        Ok(())
    }

    /// Forgets the code it came in with: once enrolled it is of no more use.
    ///
    /// # Errors
    /// It can't be removed.
    pub fn forget_enrol(&mut self) -> Result<(), ProfileError> {
        if self.enrol.take().is_some() {
            let path = self.dir.join(ENROL);
            fs::remove_file(&path).map_err(|e| ProfileError::Io(path, e))?;
        }
        Ok(())
    }

    /// What a client is made of, with the store opened. The profile must outlive the client.
    ///
    /// # Errors
    /// The store can't be opened, or the server's certificate is not good now.
    pub fn options(&self, now: UnixMillis) -> Result<Options, ProfileError> {
        let server = Server::new(&self.connect, now).map_err(ProfileError::Server)?;
        let path = self.dir.join(STORE);
        let keystore = DeviceKeystore::new(&self.keys, &RUSTCRYPTO);
        let store = RedbStore::open(&path, &keystore).map_err(|e| ProfileError::Store(path, e))?;
        let mut options = Options::new(server, self.keys.duplicate(), Box::new(store));
        options.enrol = self.enrol.clone().map(Into::into);
        Ok(options)
    }
}

fn make_dir(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

fn lock(dir: &Path) -> Result<File, ProfileError> {
    let path = dir.join(LOCK);
    let file = private(OpenOptions::new().write(true).create(true).truncate(false))
        .open(&path)
        .map_err(|e| ProfileError::Io(path.clone(), e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ProfileError::InUse(dir.into())),
        Err(TryLockError::Error(e)) => Err(ProfileError::Io(path, e)),
    }
}

/// Writes a file whole or not at all.
fn write(dir: &Path, name: &str, content: &[u8]) -> Result<(), ProfileError> {
    let (path, new) = (dir.join(name), dir.join(format!("{name}.new")));
    let go = || {
        // One left by a crash may have another mode.
        match fs::remove_file(&new) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = private(OpenOptions::new().write(true).create_new(true)).open(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        // The rename is durable once the directory is; Windows can't open one.
        #[cfg(unix)]
        File::open(dir)?.sync_all()?;
        Ok(())
    };
    go().map_err(|e| ProfileError::Io(path.clone(), e))
}

/// A small text file; `None` if there is none.
fn text(dir: &Path, name: &str) -> Result<Option<String>, ProfileError> {
    let path = dir.join(name);
    let file = match File::open(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|e| ProfileError::Io(path.clone(), e))?,
    };
    let mut text = String::new();
    file.take(MAX_TEXT).read_to_string(&mut text).map_err(|e| ProfileError::Io(path, e))?;
    Ok(Some(text))
}

fn read_keys(path: &Path) -> Result<Zeroizing<[u8; KEYS_LEN]>, ProfileError> {
    let io = |e| ProfileError::Io(path.into(), e);
    let mut file = File::open(path).map_err(io)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = file.metadata().map_err(io)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(ProfileError::Exposed(path.into()));
        }
    }
    let mut bytes = Zeroizing::new([0; KEYS_LEN]);
    file.read_exact(&mut *bytes).map_err(|_| ProfileError::Keys(path.into()))?;
    Ok(bytes)
}

fn encode_keys(provider: &dyn CryptoProvider, keys: &DeviceKeys) -> Zeroizing<[u8; KEYS_LEN]> {
    let mut bytes = Zeroizing::new([0; KEYS_LEN]);
    bytes[..8].copy_from_slice(KEYS_MAGIC);
    bytes[8..40].copy_from_slice(keys.signing_secret().expose());
    bytes[40..72].copy_from_slice(keys.static_secret().expose());
    let check = provider.sha256(&[&bytes[..72]]);
    bytes[72..].copy_from_slice(&check[..CHECK_LEN]);
    bytes
}

fn decode_keys(provider: &dyn CryptoProvider, bytes: &[u8; KEYS_LEN]) -> Option<DeviceKeys> {
    let check = provider.sha256(&[&bytes[..72]]);
    if bytes[..8] != *KEYS_MAGIC || bytes[72..] != check[..CHECK_LEN] {
        return None;
    }
    let (signing, agreement) = (Secret::from_slice(&bytes[8..40])?, Secret::from_slice(&bytes[40..72])?);
    Some(DeviceKeys::from_secrets(provider, signing, agreement))
}

/// Why a profile can't be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProfileError {
    /// There is none in this directory.
    Missing(PathBuf),
    /// There is one already.
    Exists(PathBuf),
    /// Another process uses it.
    InUse(PathBuf),
    /// Others than its owner can read the keys.
    Exposed(PathBuf),
    /// This file of keys is damaged, or of another version.
    Keys(PathBuf),
    /// This file holds no connect string.
    Connect(PathBuf, ConnectStringError),
    /// This file holds no code.
    Enrol(PathBuf),
    /// The store can't be opened.
    Store(PathBuf, OpenError),
    /// The server can't be used.
    Server(ServerError),
    /// This file can't be read or written.
    Io(PathBuf, io::Error),
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(dir) => write!(f, "there is no profile in {}: register first", dir.display()),
            Self::Exists(dir) => {
                write!(f, "there is a profile in {} already: choose another directory", dir.display())
            }
            Self::InUse(dir) => {
                write!(f, "the profile in {} is in use by another process: end it first", dir.display())
            }
            Self::Exposed(path) => {
                let path = path.display();
                write!(f, "others can read the secret keys in {path}: run chmod 600 {path}")
            }
            Self::Keys(path) => {
                write!(f, "the keys in {} are damaged or of another version", path.display())
            }
            Self::Connect(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Enrol(path) => write!(f, "{} holds no invitation or link", path.display()),
            Self::Store(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Server(error) => error.fmt(f),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for ProfileError {}

mod kept;

#[cfg(test)]
mod tests;
