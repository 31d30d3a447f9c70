//! A file as it is uploaded: read where it is needed, sealed on the way. Nothing is copied to the disk.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use bytes::Bytes;
use ntproto_core::crypto::CryptoProvider;
use ntproto_core::crypto::file::{FileCipher, FileKey, SEALED_SEGMENT};

use super::TransferError;

/// Bytes read and sealed at once: four segments, an errand worth a thread.
pub const PART: usize = 4 * SEALED_SEGMENT;

/// By what a file is known again. Sealed twice under one key, two contents would give away what they have in common: so a file that
/// changed is never gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Bytes.
    pub len: u64,
    /// When it was changed last; `None`: the system does not tell.
    pub changed: Option<SystemTime>,
    /// Device and number of the file, where there are such.
    pub place: Option<(u64, u64)>,
    /// When anything of it was changed last, in nanoseconds: who sets the time of the last change back, does not set this one.
    pub touched_ns: Option<i64>,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let (place, touched_ns) = {
            use std::os::unix::fs::MetadataExt as _;
            let nanos = metadata.ctime().saturating_mul(1_000_000_000).saturating_add(metadata.ctime_nsec());
            (Some((metadata.dev(), metadata.ino())), Some(nanos))
        };
        #[cfg(not(unix))]
        let (place, touched_ns) = (None, None);
        Self { len: metadata.len(), changed: metadata.modified().ok(), place, touched_ns }
    }
}

/// A file that is read, and sealed if there is a key.
pub struct Source {
    file: File,
    stamp: Stamp,
    cipher: Option<FileCipher>,
}

impl Source {
    /// Opens a file. With a key, what is read of it is sealed.
    ///
    /// # Errors
    /// It can't be opened, is no file, or is too large to be sealed.
    pub fn open(path: &Path, provider: &dyn CryptoProvider, key: Option<&FileKey>) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
        }
        let stamp = Stamp::of(&metadata);
        let cipher = key.map(|key| FileCipher::new(provider, key, stamp.len)).transpose();
        Ok(Self { file, stamp, cipher: cipher.map_err(io::Error::other)? })
    }

    /// By what it is known again.
    #[must_use]
    pub const fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Bytes as they are uploaded.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.cipher.as_ref().map_or(self.stamp.len, FileCipher::sealed)
    }

    /// The SHA-256 of what is uploaded. Reads all of it, and blocks.
    ///
    /// # Errors
    /// It can't be read, or was changed.
    pub fn hash(&self, provider: &dyn CryptoProvider) -> Result<[u8; 32], TransferError> {
        let (mut hash, mut at) = (provider.sha256_stream(), 0);
        while at < self.size() {
            let part = self.part(at, self.size())?;
            hash.update(&part);
            at += part.len() as u64;
        }
        Ok(hash.finish())
    }

    /// What is uploaded from `at` on: at most [`PART`] bytes, and not beyond `end`. Blocks.
    ///
    /// # Errors
    /// It can't be read, or was changed.
    pub fn part(&self, at: u64, end: u64) -> Result<Bytes, TransferError> {
        let len = usize::try_from(end.saturating_sub(at)).map_or(PART, |len| len.min(PART));
        let mut part = Vec::with_capacity(len);
        match &self.cipher {
            None => {
                part.resize(len, 0);
                self.read(at, &mut part)?;
            }
            Some(cipher) => {
                while part.len() < len {
                    let more = cipher.sealed_from(at + part.len() as u64, |at, out| self.read(at, out))?;
                    if more.is_empty() {
                        break;
                    }
                    part.extend_from_slice(&more);
                }
                part.truncate(len);
            }
        }
        // Looked at behind the reading: what was changed meanwhile does not leave.
        if Stamp::of(&self.file.metadata()?) != self.stamp {
            return Err(TransferError::Changed);
        }
        Ok(part.into())
    }

    fn read(&self, at: u64, out: &mut [u8]) -> Result<(), TransferError> {
        read_at(&self.file, at, out).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => TransferError::Changed,
            _ => error.into(),
        })
    }
}

#[cfg(unix)]
fn read_at(file: &File, at: u64, out: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, at)
}

#[cfg(windows)]
fn read_at(file: &File, mut at: u64, mut out: &mut [u8]) -> io::Result<()> {
    while !out.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, out, at)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => (at, out) = (at + n as u64, &mut out[n..]),
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write as _;

    use ntproto_core::crypto::file::{Opening, SEGMENT};
    use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
    use ntproto_core::rng::Rng;

    use super::*;

    #[test]
    fn parts_are_those_of_the_sealed_file_and_a_change_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let plain: Vec<u8> = (0..5 * SEGMENT + 100).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &plain).unwrap();
        let key = FileKey::random(&mut Rng::new([1; 32]));
        let source = Source::open(&path, &RUSTCRYPTO, Some(&key)).unwrap();
        let mut sealed = Vec::new();
        while (sealed.len() as u64) < source.size() {
            sealed.extend_from_slice(&source.part(sealed.len() as u64, source.size()).unwrap());
        }
        let cipher = FileCipher::of_sealed(&RUSTCRYPTO, &key, source.size()).unwrap();
        let (mut opening, mut opened) = (Opening::new(&cipher, 0), Vec::new());
        opening.push(&sealed, &mut opened).unwrap();
        assert!(opened == plain);
        assert_eq!(source.hash(&RUSTCRYPTO).unwrap(), RUSTCRYPTO.sha256(&[&sealed]));
        for (at, end) in [(0, 1), (65_551, 65_553), (7, 300_000), (source.size() - 1, source.size())] {
            let part = source.part(at, end).unwrap();
            assert_eq!(part.len() as u64, (end - at).min(PART as u64));
            assert!(part == sealed[at as usize..][..part.len()]);
        }
        let bare = Source::open(&path, &RUSTCRYPTO, None).unwrap();
        assert!(bare.part(3, 10).unwrap() == plain[3..10]);
        assert!(Source::open(dir.path(), &RUSTCRYPTO, None).is_err(), "a folder");

        File::options().append(true).open(&path).unwrap().write_all(b"x").unwrap();
        assert!(matches!(source.part(0, 1), Err(TransferError::Changed)));
        File::options().write(true).open(&path).unwrap().set_len(10).unwrap();
        assert!(matches!(source.hash(&RUSTCRYPTO), Err(TransferError::Changed)));
    }
}
