//! Session tickets (specification, "Tickets"): sealed by the server for itself, opaque to everybody
//! else. They authorise and carry no keys.
//!
//! ```text
//! u32 key id · nonce[12] · AES-256-GCM(TicketBody) · tag[16]     AAD = "ntproto ticket v1" ‖ key id
//! ```

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use ntproto_proto::v2::TicketBody;
use prost::Message as _;

use super::handshake::MAX_CLOCK_SKEW_MS;
use crate::code::ErrorCode;
use crate::crypto::secret::Secret;
use crate::crypto::{AeadKey, CryptoProvider, NONCE_LEN, TAG_LEN};
use crate::rng::Rng;
use crate::time::UnixMillis;

/// How long tickets are sealed with one key. The key before it still opens them for as long again,
/// which is far beyond any ticket's lifetime.
pub const ROTATE_AFTER_MS: u64 = 24 * 3600 * 1000;
/// How many tickets one key seals. Nonces are random: at 2³¹ two are equal with a chance of 2⁻³⁵.
pub const MAX_SEALS: u64 = 1 << 31;
/// The largest sealed ticket: twice what a body takes, so that fields can be added.
pub const MAX_SEALED: usize = 320;

const CONTEXT: &[u8; 17] = b"ntproto ticket v1";
const AAD_LEN: usize = CONTEXT.len() + 4;

/// A key tickets are sealed with, as the host keeps it.
pub struct TicketKey {
    id: u32,
    created: UnixMillis,
    secret: Secret<32>,
}

impl TicketKey {
    /// A new random key.
    #[must_use]
    pub fn generate(rng: &mut Rng, id: u32, created: UnixMillis) -> Self {
        let mut secret = Secret::zero();
        rng.fill(secret.expose_mut());
        Self { id, created, secret }
    }

    /// A key from storage.
    #[must_use]
    pub const fn from_parts(id: u32, created: UnixMillis, secret: Secret<32>) -> Self {
        Self { id, created, secret }
    }

    /// Its number, which every ticket it sealed begins with.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// When it was made.
    #[must_use]
    pub const fn created(&self) -> UnixMillis {
        self.created
    }

    /// The secret, for storage.
    #[must_use]
    pub const fn secret(&self) -> &Secret<32> {
        &self.secret
    }
}

/// A key with its expanded form.
struct Ready {
    key: TicketKey,
    aead: Box<dyn AeadKey>,
}

impl Ready {
    fn new(provider: &dyn CryptoProvider, key: TicketKey) -> Self {
        let aead = provider.aes256gcm(&key.secret);
        Self { key, aead }
    }
}

/// Seals and opens tickets; changes its key by itself.
///
/// A host that wants tickets to survive a restart stores [`current`](Self::current) and
/// [`previous`](Self::previous) whenever the current id has changed. Losing them costs nothing but
/// a sign-in with the device's keys.
pub struct TicketSealer {
    provider: &'static dyn CryptoProvider,
    current: Ready,
    previous: Option<Ready>,
    seals: u64,
}

impl TicketSealer {
    /// A sealer with these keys.
    #[must_use]
    pub fn new(
        provider: &'static dyn CryptoProvider,
        current: TicketKey,
        previous: Option<TicketKey>,
    ) -> Self {
        Self {
            provider,
            current: Ready::new(provider, current),
            previous: previous.map(|key| Ready::new(provider, key)),
            seals: 0,
        }
    }

    /// The key that seals.
    #[must_use]
    pub fn current(&self) -> &TicketKey {
        &self.current.key
    }

    /// The key that only opens.
    #[must_use]
    pub fn previous(&self) -> Option<&TicketKey> {
        self.previous.as_ref().map(|ready| &ready.key)
    }

    /// Makes a new key the current one. Tickets of the present one stay valid, older ones do not.
    pub fn rotate(&mut self, rng: &mut Rng, now: UnixMillis) {
        let key = TicketKey::generate(rng, self.current.key.id.wrapping_add(1), now);
        self.previous = Some(core::mem::replace(&mut self.current, Ready::new(self.provider, key)));
        self.seals = 0;
    }

    /// Seals a ticket, with a new key if the present one is due by `body.issued_ms`.
    #[must_use]
    pub fn seal(&mut self, rng: &mut Rng, body: &TicketBody) -> Vec<u8> {
        let age = body.issued_ms.saturating_sub(self.current.key.created.0);
        //= spec: tickets-3
        if age >= ROTATE_AFTER_MS || self.seals >= MAX_SEALS {
            self.rotate(rng, UnixMillis(body.issued_ms));
        }
        self.seals += 1;
        let id = self.current.key.id;
        let nonce: [u8; NONCE_LEN] = rng.array();
        let mut out = Vec::with_capacity(4 + NONCE_LEN + body.encoded_len() + TAG_LEN);
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&nonce);
        let start = out.len();
        body.encode(&mut out).expect("a Vec grows as needed");
        let tag = self.current.aead.seal_in_place(&nonce, &aad(id), &mut out[start..]);
        out.extend_from_slice(&tag);
        out
    }

    /// Opens a ticket. Whether it is still good, and this device's, is for [`check`] to say.
    ///
    /// # Errors
    /// When it was not sealed by one of the present keys.
    pub fn open(&self, sealed: &[u8]) -> Result<TicketBody, TicketError> {
        if sealed.len() > MAX_SEALED {
            return Err(TicketError::Invalid);
        }
        let (id, rest) = sealed.split_first_chunk::<4>().ok_or(TicketError::Invalid)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>().ok_or(TicketError::Invalid)?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or(TicketError::Invalid)?;
        let id = u32::from_be_bytes(*id);
        let key = [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
            .find(|ready| ready.key.id == id)
            .ok_or(TicketError::UnknownKey)?;
        let mut body = ciphertext.to_vec();
        key.aead.open_in_place(nonce, &aad(id), &mut body, tag).map_err(|_| TicketError::Invalid)?;
        TicketBody::decode(&body[..]).map_err(|_| TicketError::Invalid)
    }
}

fn aad(id: u32) -> [u8; AAD_LEN] {
    let mut aad = [0; AAD_LEN];
    aad[..CONTEXT.len()].copy_from_slice(CONTEXT);
    aad[CONTEXT.len()..].copy_from_slice(&id.to_be_bytes());
    aad
}

/// Whether an opened ticket lets the device with `device_key_hash` in at the server's time `now`,
/// `revocation_generation` being the device's present one.
///
/// # Errors
/// When it belongs to another device, was revoked, or is not valid now.
pub fn check(
    body: &TicketBody,
    now: UnixMillis,
    device_key_hash: &[u8; 32],
    revocation_generation: u64,
) -> Result<(), TicketError> {
    //= spec: tickets-1
    if body.device_key_hash[..] != device_key_hash[..] {
        return Err(TicketError::WrongDevice);
    }
    if body.revocation_generation != revocation_generation {
        return Err(TicketError::Revoked);
    }
    // The server's time never runs back; a ticket from the future comes from a clock that was wrong.
    if body.issued_ms > now.0.saturating_add(MAX_CLOCK_SKEW_MS) {
        return Err(TicketError::NotYetValid);
    }
    if now.0 >= body.expires_ms.min(body.cap_ms) { Err(TicketError::Expired) } else { Ok(()) }
}

/// Why a ticket is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketError {
    /// Not a ticket of this server.
    Invalid,
    /// Sealed with a key that is gone.
    UnknownKey,
    /// Issued to another device.
    WrongDevice,
    /// The device was revoked since.
    Revoked,
    /// Issued in the future.
    NotYetValid,
    /// Its time, or the time up to which it could be refreshed, is over.
    Expired,
}

impl TicketError {
    /// What the client is told. After `TICKET_EXPIRED` it signs in with its device keys.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Invalid | Self::WrongDevice => ErrorCode::BadCredential,
            Self::UnknownKey | Self::NotYetValid | Self::Expired => ErrorCode::TicketExpired,
            Self::Revoked => ErrorCode::Revoked,
        }
    }
}

impl fmt::Display for TicketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "not a ticket of this server",
            Self::UnknownKey => "the ticket's key is gone",
            Self::WrongDevice => "the ticket belongs to another device",
            Self::Revoked => "the device was revoked",
            Self::NotYetValid => "the ticket was issued in the future",
            Self::Expired => "the ticket has expired",
        })
    }
}

impl core::error::Error for TicketError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::rustcrypto::RUSTCRYPTO;

    //= proof: tickets-3
    #[test]
    fn a_key_seals_so_many_tickets_and_no_more() {
        let mut rng = Rng::new([1; 32]);
        let key = TicketKey::generate(&mut rng, 1, UnixMillis(0));
        let mut sealer = TicketSealer::new(&RUSTCRYPTO, key, None);
        sealer.seals = MAX_SEALS - 1;
        let last = sealer.seal(&mut rng, &TicketBody::default());
        assert_eq!((sealer.current().id(), sealer.seals), (1, MAX_SEALS));
        let next = sealer.seal(&mut rng, &TicketBody::default());
        assert_eq!((sealer.current().id(), sealer.seals), (2, 1));
        assert!(sealer.open(&last).is_ok() && sealer.open(&next).is_ok());
    }
}
