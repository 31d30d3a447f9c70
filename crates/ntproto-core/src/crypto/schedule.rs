//! The key schedule (specification, "Key schedule"): from Noise's split to every key of a session.
//!
//! ```text
//! h' = SHA-256(h ‖ exporter ‖ transport id)
//! ms = HKDF-Extract("QQNT-KEY-2024", k1 ‖ k2)
//! KDF(label, n) = HKDF-Expand(ms, "ntproto/2.4.1 " ‖ label ‖ 0x00 ‖ h', n)
//!
//! next key                   k' = HKDF-Expand(k, "ntproto/2.4.1 rekey", 32)
//! the first, in early data   k' = HKDF-Expand(HKDF-Extract(exporter, k), "ntproto/2.4.1 bind", 32)
//! ```

use zeroize::Zeroize as _;

use super::secret::Secret;
use super::{CryptoProvider, NONCE_LEN};
use crate::binding::Binding;
use crate::wire::channel::Channel;

/// The salt of the session's HKDF-Extract.
pub const SALT: &[u8] = b"QQNT-KEY-2024";
/// What every label begins with.
const LABEL_PREFIX: &[u8] = b"ntproto/2.4.1 ";
/// The whole info string of a key update.
const REKEY_INFO: &[u8] = b"ntproto/2.4.1 rekey";

/// The whole info string of the key update that binds a session made in early data.
const BIND_INFO: &[u8] = b"ntproto/2.4.1 bind";

/// Which way a channel's frames travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the client to the server.
    ClientToServer,
    /// From the server to the client.
    ServerToClient,
}

impl Direction {
    /// The other way.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::ClientToServer => Self::ServerToClient,
            Self::ServerToClient => Self::ClientToServer,
        }
    }
}

/// What a finished Noise handshake leaves: Noise's Split() and the handshake hash.
pub struct NoiseSplit {
    /// The first key of the split.
    pub k1: Secret<32>,
    /// The second key of the split.
    pub k2: Secret<32>,
    /// The handshake hash; not a secret.
    pub h: [u8; 32],
}

/// Derives the keys of one session.
pub struct KeySchedule {
    provider: &'static dyn CryptoProvider,
    ms: Secret<32>,
    bound_hash: [u8; 32],
}

impl KeySchedule {
    /// The schedule of a handshake over the transport that `binding` names.
    #[must_use]
    pub fn new(provider: &'static dyn CryptoProvider, split: &NoiseSplit, binding: &Binding) -> Self {
        let mut ikm = [0; 64];
        ikm[..32].copy_from_slice(split.k1.expose());
        ikm[32..].copy_from_slice(split.k2.expose());
        let ms = provider.hkdf_extract(SALT, &ikm);
        //= spec: keys-1
        ikm.zeroize();
        let bound_hash = provider.sha256(&[&split.h, &binding.exporter, &[binding.transport as u8]]);
        Self { provider, ms, bound_hash }
    }

    /// The first key and the IV of a channel in one direction.
    #[must_use]
    pub fn channel_key(&self, direction: Direction, channel: Channel) -> (Secret<32>, [u8; NONCE_LEN]) {
        let (key_label, iv_label): (&[u8], &[u8]) = match direction {
            Direction::ClientToServer => (b"c2s key", b"c2s iv"),
            Direction::ServerToClient => (b"s2c key", b"s2c iv"),
        };
        let number = [channel as u8];
        let mut key = Secret::zero();
        self.expand(key_label, &number, key.expose_mut());
        let mut iv = [0; NONCE_LEN];
        self.expand(iv_label, &number, &mut iv);
        (key, iv)
    }

    /// The draft's long-term SessionKey: never sent, the root of media keys and upload tokens.
    #[must_use]
    pub fn session_key(&self) -> Secret<32> {
        self.secret(b"session key")
    }

    /// A secret both sides can use to bind something else to this session.
    #[must_use]
    pub fn exporter(&self) -> Secret<32> {
        self.secret(b"exporter")
    }

    /// What the client's HTTP requests show to act for this session (see [`bearer`](crate::session::bearer)).
    #[must_use]
    pub fn http_token(&self) -> Secret<32> {
        self.secret(b"http token")
    }

    fn secret(&self, label: &[u8]) -> Secret<32> {
        let mut out = Secret::zero();
        self.expand(label, &[], out.expose_mut());
        out
    }

    fn expand(&self, label: &[u8], suffix: &[u8], out: &mut [u8]) {
        self.provider.hkdf_expand(&self.ms, &[LABEL_PREFIX, label, suffix, &[0], &self.bound_hash], out);
    }
}

/// The key after `key` (specification, "Key update"). The old one can't be had from it.
#[must_use]
pub fn rekey(provider: &dyn CryptoProvider, key: &Secret<32>) -> Secret<32> {
    let mut next = Secret::zero();
    provider.hkdf_expand(key, &[REKEY_INFO], next.expose_mut());
    next
}

/// The key after the first of a session made in early data: it mixes the TLS exporter in (specification, "Early
/// sessions").
///
/// ```
/// use ntproto_core::crypto::{rustcrypto::RUSTCRYPTO, schedule::{bind, rekey}, secret::Secret};
/// let first = Secret::new([1; 32]);
/// let bound = bind(&RUSTCRYPTO, &first, &[2; 32]);
/// assert_ne!(bound.expose(), bind(&RUSTCRYPTO, &first, &[3; 32]).expose());
/// assert_ne!(bound.expose(), rekey(&RUSTCRYPTO, &first).expose());
/// ```
#[must_use]
pub fn bind(provider: &dyn CryptoProvider, key: &Secret<32>, exporter: &[u8; 32]) -> Secret<32> {
    let prk = provider.hkdf_extract(exporter, key.expose());
    let mut next = Secret::zero();
    provider.hkdf_expand(&prk, &[BIND_INFO], next.expose_mut());
    next
}
