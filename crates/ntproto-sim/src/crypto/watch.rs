//! A provider around another one that sees every key and nonce of a run, both ends of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::crypto::secret::Secret;
use ntproto_core::crypto::{AeadKey, AgreementKey, CryptoError, CryptoProvider, NONCE_LEN, TAG_LEN};

use super::stub::{Absorber, Stub};

/// A key, by a hash of it.
type KeyId = u64;

/// What was seen.
#[derive(Default)]
struct Seen {
    real: bool,
    /// A hash of what was sealed under each key and nonce.
    sealed: BTreeMap<(KeyId, [u8; NONCE_LEN]), u64>,
    wrong: Option<String>,
    #[cfg(feature = "planted")]
    gullible: bool,
    #[cfg(feature = "planted")]
    short_nonces: bool,
}

#[cfg(feature = "planted")]
impl Seen {
    fn cut(&self, nonce: &[u8; NONCE_LEN]) -> [u8; NONCE_LEN] {
        let mut cut = *nonce;
        if self.short_nonces {
            cut[..NONCE_LEN - 1].fill(0);
        }
        cut
    }
}

/// The provider of one simulator. It lives as long as the program, because machines hold providers
/// for that long; [`reset`](Self::reset) makes it fresh for the next seed.
pub(crate) struct Watch {
    seen: Arc<Mutex<Seen>>,
}

/// Locks what was seen. A run that panicked leaves nothing that the next reset does not clear.
fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    pub(crate) fn leak() -> &'static Self {
        Box::leak(Box::new(Self { seen: Arc::default() }))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    /// Forgets everything. `real`: with RustCrypto below.
    pub(crate) fn reset(&self, real: bool) {
        *self.seen() = Seen { real, ..Seen::default() };
    }

    /// From now on a frame whose tag does not match is taken: a planted bug.
    #[cfg(feature = "planted")]
    pub(crate) fn trust_everything(&self) {
        self.seen().gullible = true;
    }

    /// From now on only the last byte of a nonce counts: a planted bug.
    #[cfg(feature = "planted")]
    pub(crate) fn shorten_nonces(&self) {
        self.seen().short_nonces = true;
    }

    /// The first thing that was wrong.
    pub(crate) fn take_wrong(&self) -> Option<String> {
        self.seen().wrong.take()
    }

    /// How many times something was sealed.
    pub(crate) fn seals(&self) -> usize {
        self.seen().sealed.len()
    }

    fn inner(&self) -> &'static dyn CryptoProvider {
        if self.seen().real { &RUSTCRYPTO } else { &Stub }
    }
}

impl CryptoProvider for Watch {
    fn x25519(&self, secret: &Secret<32>) -> Box<dyn AgreementKey> {
        self.inner().x25519(secret)
    }

    fn ed25519_public(&self, seed: &Secret<32>) -> [u8; 32] {
        self.inner().ed25519_public(seed)
    }

    fn ed25519_sign(&self, seed: &Secret<32>, message: &[u8]) -> [u8; 64] {
        self.inner().ed25519_sign(seed, message)
    }

    fn ed25519_verify(
        &self,
        public: &[u8; 32],
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<(), CryptoError> {
        self.inner().ed25519_verify(public, message, signature)
    }

    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.inner().sha256(parts)
    }

    fn hmac_sha256(&self, key: &[u8], parts: &[&[u8]]) -> Secret<32> {
        self.inner().hmac_sha256(key, parts)
    }

    fn hkdf_extract(&self, salt: &[u8], ikm: &[u8]) -> Secret<32> {
        self.inner().hkdf_extract(salt, ikm)
    }

    fn hkdf_expand(&self, prk: &Secret<32>, info: &[&[u8]], out: &mut [u8]) {
        self.inner().hkdf_expand(prk, info, out);
    }

    fn aes256gcm(&self, key: &Secret<32>) -> Box<dyn AeadKey> {
        let mut absorber = Absorber::new(20);
        absorber.push(key.expose());
        Box::new(Watched {
            id: absorber.short(),
            inner: self.inner().aes256gcm(key),
            seen: Arc::clone(&self.seen),
        })
    }
}

struct Watched {
    id: KeyId,
    inner: Box<dyn AeadKey>,
    seen: Arc<Mutex<Seen>>,
}

/// What a seal vouches for.
fn digest(aad: &[u8], plain: &[u8]) -> u64 {
    let mut absorber = Absorber::new(21);
    absorber.push(&(aad.len() as u64).to_le_bytes());
    absorber.push(aad);
    absorber.push(plain);
    absorber.short()
}

impl AeadKey for Watched {
    fn seal_in_place(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], data: &mut [u8]) -> [u8; TAG_LEN] {
        let mut seen = lock(&self.seen);
        #[cfg(feature = "planted")]
        let nonce = &seen.cut(nonce);
        if seen.sealed.insert((self.id, *nonce), digest(aad, data)).is_some() {
            seen.wrong.get_or_insert_with(|| format!("a key and the nonce {nonce:02x?} were used twice"));
        }
        drop(seen);
        self.inner.seal_in_place(nonce, aad, data)
    }

    fn open_in_place(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), CryptoError> {
        #[cfg(feature = "planted")]
        let nonce = &lock(&self.seen).cut(nonce);
        let opened = self.inner.open_in_place(nonce, aad, data, tag);
        let mut seen = lock(&self.seen);
        #[cfg(feature = "planted")]
        let opened = if seen.gullible { Ok(()) } else { opened };
        if opened.is_ok() {
            let wrong = match seen.sealed.get(&(self.id, *nonce)) {
                Some(sealed) if *sealed == digest(aad, data) => None,
                Some(_) => Some("a frame was opened that is not what was sealed"),
                None => Some("a frame was opened that nobody sealed"),
            };
            if let Some(wrong) = wrong {
                seen.wrong.get_or_insert_with(|| wrong.into());
            }
        }
        opened
    }
}
