//! A provider over AWS-LC, behind the feature `aws-lc-rs`: faster, needs std and a C compiler.

use alloc::boxed::Box;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, ParsedPublicKey};
use aws_lc_rs::{digest, hkdf, hmac};

use super::secret::Secret;
use super::{AeadKey, AgreementKey, CryptoError, CryptoProvider, NONCE_LEN, Sha256Stream, TAG_LEN};

/// The provider to hand around.
pub static AWS_LC: AwsLc = AwsLc;

/// The AWS-LC provider.
#[derive(Clone, Copy, Debug, Default)]
pub struct AwsLc;

struct GcmKey(LessSafeKey);

impl AeadKey for GcmKey {
    fn seal_in_place(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], data: &mut [u8]) -> [u8; TAG_LEN] {
        self.0
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(*nonce), Aad::from(aad), data)
            .expect("the caller keeps within AES-GCM's 64 GiB")
            .as_ref()
            .try_into()
            .expect("AES-GCM's tag is 16 bytes")
    }

    fn open_in_place(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), CryptoError> {
        self.0
            .open_in_place_separate_tag(Nonce::assume_unique_for_key(*nonce), Aad::from(aad), tag, data)
            .map(|_| ())
            .map_err(|_| CryptoError)
    }
}

/// How many bytes HKDF shall give.
struct Len(usize);

impl hkdf::KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

/// y coordinates of the points of small order, little-endian, sign bit cleared. The last two are
/// encodings of 0 and 1 beyond p: AWS-LC refuses them on x86-64, but does not promise to everywhere.
const SMALL_ORDER: [[u8; 32]; 7] = {
    const fn near_p(low: u8) -> [u8; 32] {
        let mut y = [0xff; 32];
        y[0] = low;
        y[31] = 0x7f;
        y
    }
    const ONE: [u8; 32] = {
        let mut y = [0; 32];
        y[0] = 1;
        y
    };
    [
        [0; 32],
        ONE,
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
            0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
            0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
        near_p(0xec),
        near_p(0xed),
        near_p(0xee),
    ]
};

fn has_small_order(point: &[u8]) -> bool {
    let mut y: [u8; 32] = point.try_into().expect("an encoded point is 32 bytes");
    y[31] &= 0x7f;
    SMALL_ORDER.contains(&y)
}

impl Sha256Stream for digest::Context {
    fn update(&mut self, data: &[u8]) {
        Self::update(self, data);
    }

    fn finish(self: Box<Self>) -> [u8; 32] {
        Self::finish(*self).as_ref().try_into().expect("SHA-256 is 32 bytes")
    }
}

impl AgreementKey for PrivateKey {
    fn public(&self) -> [u8; 32] {
        self.compute_public_key()
            .expect("an X25519 secret has a public key")
            .as_ref()
            .try_into()
            .expect("an X25519 public key is 32 bytes")
    }

    fn agree(&self, peer: &[u8; 32]) -> Result<Secret<32>, CryptoError> {
        // AWS-LC refuses an all-zero result by itself; Wycheproof's 31 cases hold it to that.
        let peer = UnparsedPublicKey::new(&X25519, peer);
        //= spec: handshake-3
        agree(self, peer, CryptoError, |shared| Secret::from_slice(shared).ok_or(CryptoError))
    }
}

fn key_pair(seed: &Secret<32>) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(seed.expose()).expect("any 32 bytes are an Ed25519 seed")
}

impl CryptoProvider for AwsLc {
    fn x25519(&self, secret: &Secret<32>) -> Box<dyn AgreementKey> {
        let key = PrivateKey::from_private_key(&X25519, secret.expose());
        Box::new(key.expect("any 32 bytes are an X25519 secret"))
    }

    fn ed25519_public(&self, seed: &Secret<32>) -> [u8; 32] {
        key_pair(seed).public_key().as_ref().try_into().expect("an Ed25519 public key is 32 bytes")
    }

    fn ed25519_sign(&self, seed: &Secret<32>, message: &[u8]) -> [u8; 64] {
        key_pair(seed).sign(message).as_ref().try_into().expect("an Ed25519 signature is 64 bytes")
    }

    fn ed25519_verify(
        &self,
        public: &[u8; 32],
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<(), CryptoError> {
        //= spec: handshake-2
        if has_small_order(public) || has_small_order(&signature[..32]) {
            return Err(CryptoError);
        }
        let key = ParsedPublicKey::new(&ED25519, public).map_err(|_| CryptoError)?;
        key.verify_sig(message, signature).map_err(|_| CryptoError)
    }

    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut hash = digest::Context::new(&digest::SHA256);
        for part in parts {
            hash.update(part);
        }
        hash.finish().as_ref().try_into().expect("SHA-256 gives 32 bytes")
    }

    fn sha256_stream(&self) -> Box<dyn Sha256Stream> {
        Box::new(digest::Context::new(&digest::SHA256))
    }

    fn hmac_sha256(&self, key: &[u8], parts: &[&[u8]]) -> Secret<32> {
        let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
        for part in parts {
            mac.update(part);
        }
        Secret::from_slice(mac.sign().as_ref()).expect("HMAC-SHA256 gives 32 bytes")
    }

    fn hkdf_extract(&self, salt: &[u8], ikm: &[u8]) -> Secret<32> {
        // RFC 5869: extraction is HMAC; AWS-LC's own keeps the result to itself.
        self.hmac_sha256(salt, &[ikm])
    }

    fn hkdf_expand(&self, prk: &Secret<32>, info: &[&[u8]], out: &mut [u8]) {
        hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, prk.expose())
            .expand(info, Len(out.len()))
            .and_then(|okm| okm.fill(out))
            .expect("the caller keeps within HKDF_MAX_LEN");
    }

    fn aes256gcm(&self, key: &Secret<32>) -> Box<dyn AeadKey> {
        let key = UnboundKey::new(&AES_256_GCM, key.expose()).expect("32 bytes are an AES-256 key");
        Box::new(GcmKey(LessSafeKey::new(key)))
    }
}
