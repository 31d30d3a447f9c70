//! The default provider: RustCrypto and dalek, pure Rust, no_std.

use alloc::boxed::Box;

use aes_gcm::aead::AeadInOut as _;
use aes_gcm::{Aes256Gcm, KeyInit as _};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use hkdf::{Hkdf, HkdfExtract};
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use x25519_dalek::{PublicKey, StaticSecret};

use super::secret::Secret;
use super::{AeadKey, AgreementKey, CryptoError, CryptoProvider, NONCE_LEN, Sha256Stream, TAG_LEN};

/// The provider to hand around.
pub static RUSTCRYPTO: RustCrypto = RustCrypto;

/// The pure Rust provider.
#[derive(Clone, Copy, Debug, Default)]
pub struct RustCrypto;

struct GcmKey(Aes256Gcm);

impl AeadKey for GcmKey {
    fn seal_in_place(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], data: &mut [u8]) -> [u8; TAG_LEN] {
        self.0
            .encrypt_inout_detached(nonce.into(), aad, data.into())
            .expect("the caller keeps within AES-GCM's 64 GiB")
            .into()
    }

    fn open_in_place(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), CryptoError> {
        self.0.decrypt_inout_detached(nonce.into(), aad, data.into(), tag.into()).map_err(|_| CryptoError)
    }
}

/// A hash under way.
#[derive(Default)]
pub(super) struct Stream(Sha256);

impl Sha256Stream for Stream {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finish(self: Box<Self>) -> [u8; 32] {
        self.0.finalize().into()
    }
}

impl AgreementKey for StaticSecret {
    fn public(&self) -> [u8; 32] {
        PublicKey::from(self).to_bytes()
    }

    fn agree(&self, peer: &[u8; 32]) -> Result<Secret<32>, CryptoError> {
        let shared = self.diffie_hellman(&PublicKey::from(*peer));
        //= spec: handshake-3
        if shared.was_contributory() { Ok(Secret::new(shared.to_bytes())) } else { Err(CryptoError) }
    }
}

impl CryptoProvider for RustCrypto {
    fn x25519(&self, secret: &Secret<32>) -> Box<dyn AgreementKey> {
        Box::new(StaticSecret::from(*secret.expose()))
    }

    fn ed25519_public(&self, seed: &Secret<32>) -> [u8; 32] {
        SigningKey::from_bytes(seed.expose()).verifying_key().to_bytes()
    }

    fn ed25519_sign(&self, seed: &Secret<32>, message: &[u8]) -> [u8; 64] {
        SigningKey::from_bytes(seed.expose()).sign(message).to_bytes()
    }

    fn ed25519_verify(
        &self,
        public: &[u8; 32],
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<(), CryptoError> {
        let key = VerifyingKey::from_bytes(public).map_err(|_| CryptoError)?;
        //= spec: handshake-2
        key.verify_strict(message, &Signature::from_bytes(signature)).map_err(|_| CryptoError)
    }

    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part);
        }
        hash.finalize().into()
    }

    fn hmac_sha256(&self, key: &[u8], parts: &[&[u8]]) -> Secret<32> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
        for part in parts {
            mac.update(part);
        }
        Secret::new(mac.finalize().into_bytes().into())
    }

    fn hkdf_extract(&self, salt: &[u8], ikm: &[u8]) -> Secret<32> {
        let mut extract = HkdfExtract::<Sha256>::new(Some(salt));
        extract.input_ikm(ikm);
        Secret::new(extract.finalize().0.into())
    }

    fn hkdf_expand(&self, prk: &Secret<32>, info: &[&[u8]], out: &mut [u8]) {
        Hkdf::<Sha256>::from_prk(prk.expose())
            .expect("32 bytes are a SHA-256 output")
            .expand_multi_info(info, out)
            .expect("the caller keeps within HKDF_MAX_LEN");
    }

    fn aes256gcm(&self, key: &Secret<32>) -> Box<dyn AeadKey> {
        Box::new(GcmKey(Aes256Gcm::new(key.expose().into())))
    }
}
