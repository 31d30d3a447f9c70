//! A file as it is downloaded: opened on the way, written where it belongs.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ntproto_core::crypto::CryptoProvider;
use ntproto_core::crypto::file::{FileCipher, FileKey, Opening, SEALED_SEGMENT, SEGMENT};

use super::{Source, TransferError};

/// Bytes gathered before they are opened and written: an errand worth a thread.
pub const GATHER: usize = 256 * 1024;

/// A file that is written as it comes, and has no name that anybody would take for a whole one.
pub struct Sink {
    path: PathBuf,
    file: File,
    provider: &'static dyn CryptoProvider,
    sealed: Option<(FileKey, Arc<FileCipher>)>,
    size: u64,
}

impl Sink {
    /// Opens or makes the file at `path`, for what the server keeps in `size` bytes. With a key it is opened as it comes.
    ///
    /// # Errors
    /// It can't be opened; no sealed file has this size.
    pub fn open(
        path: &Path,
        provider: &'static dyn CryptoProvider,
        key: Option<FileKey>,
        size: u64,
    ) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let sealed = match key {
            None => None,
            Some(key) => {
                let cipher = FileCipher::of_sealed(provider, &key, size).map_err(io::Error::other)?;
                Some((key, Arc::new(cipher)))
            }
        };
        Ok(Self { path: path.to_owned(), file, provider, sealed, size })
    }

    /// Bytes of the file when it is whole.
    #[must_use]
    pub fn plain(&self) -> u64 {
        self.sealed.as_ref().map_or(self.size, |(_, cipher)| cipher.plain())
    }

    /// Ranges begin at multiples of it.
    #[must_use]
    pub const fn unit(&self) -> u32 {
        if self.sealed.is_some() { SEALED_SEGMENT as u32 } else { 1 }
    }

    /// Whether the file is long enough to hold this many bytes of what the server keeps.
    ///
    /// # Errors
    /// The system can't tell.
    pub fn holds(&self, written: u64) -> io::Result<bool> {
        let plain = match &self.sealed {
            None => written,
            Some((_, cipher)) if written == cipher.sealed() => cipher.plain(),
            Some(_) => written / SEALED_SEGMENT as u64 * SEGMENT as u64,
        };
        Ok(self.file.metadata()?.len() >= plain)
    }

    /// Brings what was written to the disk. Blocks.
    ///
    /// # Errors
    /// The disk fails.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Brings all of it to the disk, reads it back, and hashes it as the server keeps it. Blocks.
    ///
    /// # Errors
    /// The disk fails.
    pub fn hash(&self) -> Result<[u8; 32], TransferError> {
        self.file.set_len(self.plain())?;
        self.file.sync_all()?;
        let key = self.sealed.as_ref().map(|(key, _)| key);
        Source::open(&self.path, self.provider, key)?.hash(self.provider)
    }

    /// Writes what comes from this byte on, a [multiple of the unit](Self::unit).
    pub(super) fn writing(self: &Arc<Self>, offset: u64) -> Writing {
        let opening = self
            .sealed
            .as_ref()
            .map(|(_, cipher)| Opening::new(Arc::clone(cipher), offset / SEALED_SEGMENT as u64));
        let at = if opening.is_some() { offset / SEALED_SEGMENT as u64 * SEGMENT as u64 } else { offset };
        Writing { sink: Arc::clone(self), opening, at }
    }
}

/// A range on its way to the disk.
pub(super) struct Writing {
    sink: Arc<Sink>,
    opening: Option<Opening<Arc<FileCipher>>>,
    at: u64,
}

/// Why it was not written.
pub(super) enum NotWritten {
    /// It is not what was sealed.
    Damaged,
    Io(io::Error),
}

impl Writing {
    /// Opens and writes; says how many bytes of what came so far are written now. Blocks.
    pub(super) fn write(&mut self, sealed: &[u8]) -> Result<u64, NotWritten> {
        let mut opened = Vec::new();
        let (bytes, moved) = match &mut self.opening {
            None => (sealed, sealed.len()),
            Some(opening) => {
                let before = opening.held();
                opening.push(sealed, &mut opened).map_err(|_| NotWritten::Damaged)?;
                (opened.as_slice(), before + sealed.len() - opening.held())
            }
        };
        write_at(&self.sink.file, self.at, bytes).map_err(NotWritten::Io)?;
        self.at += bytes.len() as u64;
        Ok(moved as u64)
    }
}

#[cfg(unix)]
fn write_at(file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

#[cfg(windows)]
fn write_at(file: &File, mut at: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_write(file, bytes, at)?;
        (at, bytes) = (at + n as u64, &bytes[n..]);
    }
    Ok(())
}
