//! Files sealed by the client (specification, "Files, sealed"): segments of 64 KiB, each of which opens alone, so that ranges and
//! resuming go on working although the server holds nothing but ciphertext.
//!
//! ```text
//! plaintext   │ 64 KiB      │ 64 KiB      │ rest     │
//! sealed      │ 64 KiB  tag │ 64 KiB  tag │ rest tag │     nonce = last? ‖ 000 ‖ number of the segment
//! ```
//!
//! ```
//! use ntproto_core::crypto::file::{FileCipher, FileKey, Opening, sealed_len};
//! use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
//! use ntproto_core::rng::Rng;
//!
//! let key = FileKey::random(&mut Rng::new([7; 32])); // a seed of the operating system, in earnest
//! let cipher = FileCipher::new(&RUSTCRYPTO, &key, 5).unwrap();
//! let mut sealed = b"hello".to_vec();
//! cipher.seal(0, &mut sealed);
//! assert_eq!(sealed.len() as u64, sealed_len(5));
//!
//! let (mut opening, mut plain) = (Opening::new(&cipher, 0), Vec::new());
//! opening.push(&sealed, &mut plain).unwrap();
//! assert_eq!(plain, b"hello");
//! ```

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;

use super::secret::Secret;
use super::{AeadKey, CryptoError, CryptoProvider, NONCE_LEN, TAG_LEN};
use crate::rng::Rng;

/// Bytes of a segment before it is sealed: what one has to fetch and hold to read one byte, at 0.02 % for tags.
pub const SEGMENT: usize = 64 * 1024;
/// Bytes of a sealed segment.
pub const SEALED_SEGMENT: usize = SEGMENT + TAG_LEN;
/// Bytes of the largest file: 2^32 segments, from which on AES-GCM under one key is not what it promises.
pub const MAX_FILE: u64 = (SEGMENT as u64) << 32;
/// Says which format a segment is of; a later one has another.
const AAD: &[u8] = b"ntproto file 1";

/// The key of one file, and of no other: random, told to who may read the file, in the body of a message.
pub struct FileKey(Secret<32>);

impl FileKey {
    /// A new key. The generator's seed must come from the operating system.
    //= spec: file-encryption-1
    #[must_use]
    pub fn random(rng: &mut Rng) -> Self {
        let mut key = Secret::zero();
        rng.fill(key.expose_mut());
        Self(key)
    }

    /// From 32 bytes, as an attachment carries them.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Secret::from_slice(bytes).map(Self)
    }

    /// The bytes, for who writes the attachment.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

/// How long a file of `plain` bytes is when it is sealed. An empty one has a segment too: its tag says that it is empty.
#[must_use]
pub const fn sealed_len(plain: u64) -> u64 {
    plain + segments(plain) * TAG_LEN as u64
}

/// How long a file is whose sealed form has this length. `None`: no file has, or it is over [`MAX_FILE`].
#[must_use]
pub const fn plain_len(sealed: u64) -> Option<u64> {
    let segments = sealed.div_ceil(SEALED_SEGMENT as u64);
    let Some(plain) = sealed.checked_sub(segments * TAG_LEN as u64) else { return None };
    if sealed == 0 || plain > MAX_FILE || sealed_len(plain) != sealed {
        return None;
    }
    Some(plain)
}

const fn segments(plain: u64) -> u64 {
    if plain == 0 { 1 } else { plain.div_ceil(SEGMENT as u64) }
}

/// Why there is no cipher for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadLength {
    /// Over [`MAX_FILE`].
    TooLarge,
    /// No sealed file has this length: it was cut.
    Cut,
}

impl fmt::Display for BadLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the file is too large to be sealed",
            Self::Cut => "no sealed file has this length",
        })
    }
}

impl core::error::Error for BadLength {}

/// Seals and opens the segments of one file.
pub struct FileCipher {
    key: Box<dyn AeadKey>,
    plain: u64,
}

impl FileCipher {
    /// For a file of `plain` bytes.
    ///
    /// # Errors
    /// [`BadLength::TooLarge`].
    pub fn new(provider: &dyn CryptoProvider, key: &FileKey, plain: u64) -> Result<Self, BadLength> {
        if plain > MAX_FILE {
            return Err(BadLength::TooLarge);
        }
        Ok(Self { key: provider.aes256gcm(&key.0), plain })
    }

    /// For a file of `sealed` bytes as the server has it.
    ///
    /// # Errors
    /// [`BadLength::Cut`].
    pub fn of_sealed(provider: &dyn CryptoProvider, key: &FileKey, sealed: u64) -> Result<Self, BadLength> {
        Self::new(provider, key, plain_len(sealed).ok_or(BadLength::Cut)?)
    }

    /// Bytes of the file.
    #[must_use]
    pub const fn plain(&self) -> u64 {
        self.plain
    }

    /// Bytes of the sealed file.
    #[must_use]
    pub const fn sealed(&self) -> u64 {
        sealed_len(self.plain)
    }

    /// Bytes of a segment before it is sealed; none beyond the last.
    #[must_use]
    pub fn segment(&self, index: u64) -> usize {
        let left = self.plain.saturating_sub(index.saturating_mul(SEGMENT as u64));
        usize::try_from(left).map_or(SEGMENT, |left| left.min(SEGMENT))
    }

    /// Seals the segment, which gets its tag behind it.
    ///
    /// # Panics
    /// When it does not have the length of this [segment](Self::segment).
    pub fn seal(&self, index: u64, segment: &mut Vec<u8>) {
        assert_eq!(segment.len(), self.segment(index), "the segment's length follows from the file's");
        let tag = self.key.seal_in_place(&self.nonce(index), AAD, segment);
        segment.extend_from_slice(&tag);
    }

    /// Opens the segment where it lies; what comes back is without its tag.
    ///
    /// # Errors
    /// It is not this segment of this file, as it was sealed: changed, cut, out of its place, or of another file. What it holds then must not be used.
    pub fn open<'a>(&self, index: u64, sealed: &'a mut [u8]) -> Result<&'a [u8], CryptoError> {
        //= spec: file-encryption-3
        if index >= segments(self.plain) || sealed.len() != self.segment(index) + TAG_LEN {
            return Err(CryptoError);
        }
        let (data, tag) = sealed.split_last_chunk_mut::<TAG_LEN>().ok_or(CryptoError)?;
        self.key.open_in_place(&self.nonce(index), AAD, data, tag)?;
        Ok(data)
    }

    /// The sealed bytes from `at` to the end of their segment: `read(offset, buffer)` fills in the file's own. Nothing at the end of the file.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn sealed_from<E>(
        &self,
        at: u64,
        read: impl FnOnce(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<Vec<u8>, E> {
        if at >= self.sealed() {
            return Ok(Vec::new());
        }
        let index = at / SEALED_SEGMENT as u64;
        let len = self.segment(index);
        let mut segment = Vec::with_capacity(len + TAG_LEN);
        segment.resize(len, 0);
        read(index * SEGMENT as u64, &mut segment)?;
        self.seal(index, &mut segment);
        segment.drain(..(at - index * SEALED_SEGMENT as u64) as usize);
        Ok(segment)
    }

    //= spec: file-encryption-2
    fn nonce(&self, index: u64) -> [u8; NONCE_LEN] {
        let mut nonce = [0; NONCE_LEN];
        nonce[0] = u8::from(index + 1 == segments(self.plain));
        nonce[4..].copy_from_slice(&index.to_be_bytes());
        nonce
    }
}

/// Opens sealed bytes as they come, from the beginning of a segment on. Holds one segment at most. `C` is a reference to the cipher, or shares it.
pub struct Opening<C> {
    cipher: C,
    index: u64,
    held: Vec<u8>,
}

impl<C: Deref<Target = FileCipher>> Opening<C> {
    /// From this segment on.
    #[must_use]
    pub const fn new(cipher: C, index: u64) -> Self {
        Self { cipher, index, held: Vec::new() }
    }

    /// Takes the next bytes, and writes behind `out` what they complete.
    ///
    /// # Errors
    /// See [`FileCipher::open`]. Of what is wrong, nothing is written.
    pub fn push(&mut self, mut sealed: &[u8], out: &mut Vec<u8>) -> Result<(), CryptoError> {
        while !sealed.is_empty() {
            if self.index >= segments(self.cipher.plain) {
                return Err(CryptoError);
            }
            let whole = self.cipher.segment(self.index) + TAG_LEN;
            let (now, later) = sealed.split_at(sealed.len().min(whole - self.held.len()));
            self.held.extend_from_slice(now);
            sealed = later;
            if self.held.len() == whole {
                out.extend_from_slice(self.cipher.open(self.index, &mut self.held)?);
                self.held.clear();
                self.index += 1;
            }
        }
        Ok(())
    }

    /// Bytes that came and wait for the rest of their segment.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
