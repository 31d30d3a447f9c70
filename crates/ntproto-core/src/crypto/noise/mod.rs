//! The Noise patterns of the handshakes, revision 34 of the Noise specification, over the provider.
//!
//! | module | is |
//! | --- | --- |
//! | [`ik`] | handshake A: the client knows the server's static key |
//! | [`ix`] | handshake B: the server speaks first |
//!
//! Each step consumes the one before. A message that does not verify leaves nothing to go on with.

pub mod ik;
pub mod ix;

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::schedule::NoiseSplit;
use super::secret::Secret;
use super::{AeadKey, CryptoError, CryptoProvider, NONCE_LEN, TAG_LEN};

/// A protocol name; 28 bytes, so Noise pads it to the first hash instead of hashing it.
type ProtocolName = [u8; 28];
/// Length of a public key.
const DH_LEN: usize = 32;
/// An encrypted static key.
const SEALED_STATIC_LEN: usize = DH_LEN + TAG_LEN;

/// The nonce of every seal. Noise counts per key, from zero; here a key seals once, because a MixKey
/// stands between any two seals of IK and of IX. [`SymmetricState`] gives its key up at each use.
const NONCE: [u8; NONCE_LEN] = [0; NONCE_LEN];

/// Noise's SymmetricState.
struct SymmetricState {
    provider: &'static dyn CryptoProvider,
    key: Option<Box<dyn AeadKey>>,
    ck: Secret<32>,
    h: [u8; 32],
}

/// A SymmetricState before its first MixKey: it can only hash.
struct Unkeyed {
    provider: &'static dyn CryptoProvider,
    name: &'static ProtocolName,
    h: [u8; 32],
}

impl Unkeyed {
    fn new(provider: &'static dyn CryptoProvider, name: &'static ProtocolName, prologue: &[u8]) -> Self {
        let mut h = [0; 32];
        h[..name.len()].copy_from_slice(name);
        let mut state = Self { provider, name, h };
        state.mix_hash(prologue);
        state
    }

    fn mix_hash(&mut self, data: &[u8]) {
        self.h = self.provider.sha256(&[&self.h, data]);
    }

    /// The first MixKey. The chaining key starts as the padded protocol name.
    fn mix_key(self, dh: &Secret<32>) -> SymmetricState {
        let mut ck = Secret::zero();
        ck.expose_mut()[..self.name.len()].copy_from_slice(self.name);
        let mut state = SymmetricState { provider: self.provider, key: None, ck, h: self.h };
        state.mix_key(dh);
        state
    }
}

/// Noise's HKDF with two outputs.
fn hkdf2(provider: &dyn CryptoProvider, ck: &Secret<32>, ikm: &[u8]) -> (Secret<32>, Secret<32>) {
    let prk = provider.hkdf_extract(ck.expose(), ikm);
    let mut both = Secret::<64>::zero();
    provider.hkdf_expand(&prk, &[], both.expose_mut());
    let (a, b) = both.expose().split_at(32);
    let half = |bytes| Secret::from_slice(bytes).expect("half of 64 bytes is 32");
    (half(a), half(b))
}

impl SymmetricState {
    fn mix_hash(&mut self, data: &[u8]) {
        self.h = self.provider.sha256(&[&self.h, data]);
    }

    fn mix_key(&mut self, dh: &Secret<32>) {
        let (ck, key) = hkdf2(self.provider, &self.ck, dh.expose());
        self.ck = ck;
        self.key = Some(self.provider.aes256gcm(&key));
    }

    fn take_key(&mut self) -> Box<dyn AeadKey> {
        self.key.take().expect("both patterns mix a new key in before each seal")
    }

    /// EncryptAndHash, appended to `out`.
    fn seal_into(&mut self, plaintext: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(plaintext);
        let tag = self.take_key().seal_in_place(&NONCE, &self.h, &mut out[start..]);
        out.extend_from_slice(&tag);
        self.mix_hash(&out[start..]);
    }

    /// DecryptAndHash.
    fn open(&mut self, sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let (ciphertext, tag) = sealed.split_last_chunk::<TAG_LEN>().ok_or(CryptoError)?;
        let mut data = ciphertext.to_vec();
        self.take_key().open_in_place(&NONCE, &self.h, &mut data, tag)?;
        self.mix_hash(sealed);
        Ok(data)
    }

    fn split(self) -> NoiseSplit {
        let (k1, k2) = hkdf2(self.provider, &self.ck, &[]);
        NoiseSplit { k1, k2, h: self.h }
    }
}
