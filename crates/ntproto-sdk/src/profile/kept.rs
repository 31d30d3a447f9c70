//! Small secret records beside the profile: how far its transfers are.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::{Profile, ProfileError, TRANSFERS, make_dir, write};

/// Bytes of the longest record: it names a file, its key and some hashes.
const MAX_RECORD: u64 = 64 * 1024;

impl Profile {
    /// Keeps a record under a name of letters and digits, in place of the one that is there: it is on the disk when this returns.
    ///
    /// ```no_run
    /// # fn f(profile: &ntproto_sdk::Profile) -> Result<(), ntproto_sdk::profile::ProfileError> {
    /// profile.keep("up1", b"state")?;
    /// assert_eq!(profile.kept("up1")?.as_deref().map(Vec::as_slice), Some(&b"state"[..]));
    /// profile.forget("up1")
    /// # }
    /// ```
    ///
    /// # Errors
    /// It can't be written, or the name is none.
    pub fn keep(&self, name: &str, record: &[u8]) -> Result<(), ProfileError> {
        let path = self.record(name)?;
        let dir = self.dir.join(TRANSFERS);
        make_dir(&dir).map_err(|e| ProfileError::Io(path, e))?;
        write(&dir, name, record)
    }

    /// The record of this name, if there is one.
    ///
    /// # Errors
    /// It can't be read, or the name is none.
    pub fn kept(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, ProfileError> {
        let path = self.record(name)?;
        let file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|e| ProfileError::Io(path.clone(), e))?,
        };
        // As much at once as there may be: a buffer that grows leaves copies behind.
        let mut record = Zeroizing::new(Vec::with_capacity(MAX_RECORD as usize));
        file.take(MAX_RECORD).read_to_end(&mut record).map_err(|e| ProfileError::Io(path, e))?;
        Ok(Some(record))
    }

    /// Removes the record of this name, if there is one.
    ///
    /// # Errors
    /// It can't be removed, or the name is none.
    pub fn forget(&self, name: &str) -> Result<(), ProfileError> {
        let path = self.record(name)?;
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(ProfileError::Io(path, e)),
            _ => Ok(()),
        }
    }

    fn record(&self, name: &str) -> Result<PathBuf, ProfileError> {
        let path = self.dir.join(TRANSFERS).join(name);
        let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric());
        if plain { Ok(path) } else { Err(ProfileError::Io(path, io::ErrorKind::InvalidInput.into())) }
    }
}
