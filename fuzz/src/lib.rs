//! What the targets share: cryptography that is none, and a peer that speaks with it, a TLS certificate.
//!
//! With [`STUB`] every tag and signature is right, so the fuzzer gets behind authentication and the code
//! there meets every content a broken or hostile but authenticated peer could send.
#![forbid(unsafe_code)]

pub mod peer;
pub mod tls;

use ntproto_core::crypto::secret::Secret;
use ntproto_core::crypto::{AeadKey, AgreementKey, CryptoError, CryptoProvider};

/// Cryptography that accepts everything. Keys, IVs and tags are zeros; hashes are not collision-free.
pub static STUB: Stub = Stub;

/// See [`STUB`].
pub struct Stub;

/// The cipher of [`Stub`]: the plaintext as it is.
struct Open;

/// The agreement of [`Stub`].
struct Sum([u8; 32]);

impl AeadKey for Open {
    fn seal_in_place(&self, _: &[u8; 12], _: &[u8], _: &mut [u8]) -> [u8; 16] {
        [0; 16]
    }

    fn open_in_place(&self, _: &[u8; 12], _: &[u8], _: &mut [u8], _: &[u8; 16]) -> Result<(), CryptoError> {
        Ok(())
    }
}

/// FNV-1a in four lanes: spreads its input, and costs nothing.
fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut lanes = [0xcbf2_9ce4_8422_2325_u64, 1, 2, 3];
    for (n, byte) in parts.iter().flat_map(|part| part.iter()).enumerate() {
        let lane = &mut lanes[n % 4];
        *lane = (*lane ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let mut out = [0; 32];
    for (chunk, lane) in out.chunks_exact_mut(8).zip(lanes) {
        chunk.copy_from_slice(&lane.to_be_bytes());
    }
    out
}

/// Its own public key. Agreement commutes, as it must, and keeps the one refusal there is.
impl AgreementKey for Sum {
    fn public(&self) -> [u8; 32] {
        self.0
    }

    fn agree(&self, peer: &[u8; 32]) -> Result<Secret<32>, CryptoError> {
        let shared: [u8; 32] = std::array::from_fn(|i| self.0[i] ^ peer[i]);
        if shared == [0; 32] { Err(CryptoError) } else { Ok(Secret::new(shared)) }
    }
}

impl CryptoProvider for Stub {
    fn x25519(&self, secret: &Secret<32>) -> Box<dyn AgreementKey> {
        Box::new(Sum(*secret.expose()))
    }

    fn ed25519_public(&self, seed: &Secret<32>) -> [u8; 32] {
        *seed.expose()
    }

    fn ed25519_sign(&self, _: &Secret<32>, _: &[u8]) -> [u8; 64] {
        [0; 64]
    }

    fn ed25519_verify(&self, _: &[u8; 32], _: &[u8], _: &[u8; 64]) -> Result<(), CryptoError> {
        Ok(())
    }

    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        hash(parts)
    }

    fn hmac_sha256(&self, key: &[u8], parts: &[&[u8]]) -> Secret<32> {
        Secret::new(hash(&[key, &hash(parts)]))
    }

    fn hkdf_extract(&self, salt: &[u8], ikm: &[u8]) -> Secret<32> {
        Secret::new(hash(&[salt, ikm]))
    }

    /// Zeros, so that a peer knows every IV.
    fn hkdf_expand(&self, _: &Secret<32>, _: &[&[u8]], out: &mut [u8]) {
        out.fill(0);
    }

    fn aes256gcm(&self, _: &Secret<32>) -> Box<dyn AeadKey> {
        Box::new(Open)
    }
}
