//! Primitives behind one trait, and what ntproto derives from them.
//!
//! | module | is |
//! | --- | --- |
//! | [`secret`] | bytes that are wiped, never printed, compared in constant time |
//! | [`CryptoProvider`] | the primitives; a host may bring its own |
//! | [`rustcrypto`] | the default provider, pure Rust |
//! | `aws_lc` | a provider over AWS-LC, behind the feature `aws-lc-rs` |
//! | [`noise`] | Noise_IK_25519_AESGCM_SHA256 |
//! | [`schedule`] | from Noise's split to the keys of each channel |
//! | [`identity`] | long-lived keys, server certificates, device links |
//! | [`file`](mod@file) | files, sealed in segments that open alone |
//!
//! ```text
//! identity ──▶ noise ── split k1, k2, h ──▶ schedule ── key, iv ──▶ channels
//!      └──────────────┴── CryptoProvider ──────┘
//! ```

use alloc::boxed::Box;
use core::fmt;

#[cfg(feature = "aws-lc-rs")]
pub mod aws_lc;
pub mod file;
pub mod identity;
pub mod noise;
pub mod rustcrypto;
pub mod schedule;
pub mod secret;

use secret::Secret;

/// Length of an AES-GCM nonce.
pub const NONCE_LEN: usize = 12;
/// Length of an AES-GCM tag.
pub const TAG_LEN: usize = 16;
/// The longest output of HKDF-SHA256 (RFC 5869: 255 blocks).
pub const HKDF_MAX_LEN: usize = 255 * 32;

/// A primitive refused its input: a wrong tag, signature or public key. It says no more, because
/// a peer could learn from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CryptoError;

impl fmt::Display for CryptoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a cryptographic check failed")
    }
}

impl core::error::Error for CryptoError {}

/// An AES-256-GCM key, expanded once and used for many frames. Sealing and opening take no memory.
pub trait AeadKey: Send + Sync {
    /// Encrypts `data` where it lies and returns the tag.
    ///
    /// # Panics
    /// When `data` is longer than AES-GCM allows (64 GiB).
    #[must_use]
    fn seal_in_place(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], data: &mut [u8]) -> [u8; TAG_LEN];

    /// Decrypts `data` where it lies.
    ///
    /// # Errors
    /// When the tag does not match; what `data` holds then must not be used.
    fn open_in_place(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), CryptoError>;
}

/// An X25519 secret key, prepared once and used for several agreements.
pub trait AgreementKey: Send + Sync {
    /// Its public key.
    fn public(&self) -> [u8; 32];

    /// The secret shared with the holder of `peer` (RFC 7748).
    ///
    /// # Errors
    /// When it is all zeros, which only a low-order public key gives.
    fn agree(&self, peer: &[u8; 32]) -> Result<Secret<32>, CryptoError>;
}

/// SHA-256 of what comes bit by bit.
pub trait Sha256Stream: Send {
    /// More of it.
    fn update(&mut self, data: &[u8]);

    /// The hash of all that came.
    fn finish(self: Box<Self>) -> [u8; 32];
}

/// The primitives of the suite. All of ntproto's cryptography goes through it, so a host can put
/// its own implementation in; it must pass the vectors in `tests/crypto`.
pub trait CryptoProvider: Send + Sync + 'static {
    /// Prepares an X25519 key.
    fn x25519(&self, secret: &Secret<32>) -> Box<dyn AgreementKey>;

    /// The Ed25519 public key of `seed`.
    fn ed25519_public(&self, seed: &Secret<32>) -> [u8; 32];

    /// Signs with Ed25519 (RFC 8032).
    fn ed25519_sign(&self, seed: &Secret<32>, message: &[u8]) -> [u8; 64];

    /// Verifies an Ed25519 signature strictly: canonical `s`, no public key or `R` of small order.
    ///
    /// # Errors
    /// When the signature is not valid.
    fn ed25519_verify(
        &self,
        public: &[u8; 32],
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<(), CryptoError>;

    /// SHA-256 of the parts, one after the other.
    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32];

    /// SHA-256 of what is too long to be held whole: a file. The default is pure Rust.
    fn sha256_stream(&self) -> Box<dyn Sha256Stream> {
        Box::new(rustcrypto::Stream::default())
    }

    /// HMAC-SHA256 of the parts, one after the other.
    fn hmac_sha256(&self, key: &[u8], parts: &[&[u8]]) -> Secret<32>;

    /// HKDF-Extract with SHA-256 (RFC 5869).
    fn hkdf_extract(&self, salt: &[u8], ikm: &[u8]) -> Secret<32>;

    /// HKDF-Expand with SHA-256: fills `out`. `info` is taken as the parts, one after the other.
    ///
    /// # Panics
    /// When `out` is longer than [`HKDF_MAX_LEN`].
    fn hkdf_expand(&self, prk: &Secret<32>, info: &[&[u8]], out: &mut [u8]);

    /// Prepares an AES-256-GCM key.
    fn aes256gcm(&self, key: &Secret<32>) -> Box<dyn AeadKey>;
}
