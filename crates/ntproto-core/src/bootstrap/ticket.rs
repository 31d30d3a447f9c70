//! The bootstrap ticket (specification, "Bootstrap"): that somebody asked this server over HTTPS a short while ago, for
//! this application, from this address. It names nobody and lets nobody in by itself.
//!
//! ```text
//! u32 key id · BootstrapTicketBody · HMAC-SHA256[32]
//! ```
//! The key is derived from the one session tickets are sealed with at the time, so it changes with it, and neither kind
//! can be taken for the other. Nothing in it is secret, so it is not encrypted: there is no nonce, and any number of
//! places may make tickets with one key.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use bytes::Bytes;
use ntproto_proto::Hidden;
use ntproto_proto::v2::BootstrapTicketBody;
use prost::Message as _;

use crate::crypto::CryptoProvider;
use crate::crypto::secret::Secret;
use crate::rng::Rng;
use crate::session::handshake::MAX_CLOCK_SKEW_MS;
use crate::session::ticket::{TicketKey, TicketSealer};
use crate::time::UnixMillis;

/// The largest bootstrap ticket: ours has about 120 bytes, and fields may be added.
pub const MAX_BOOTSTRAP: usize = 192;

const CONTEXT: &[u8] = b"ntproto bootstrap v1";
const COOKIE_CONTEXT: &[u8] = b"ntproto bootstrap cookie v1";
const MAC_LEN: usize = 32;
const COOKIE_LEN: usize = 16;

/// A bootstrap ticket, as a client keeps it.
#[derive(Clone, PartialEq, Eq)]
pub struct BootstrapTicket {
    /// What is shown in AUTH_REQ.
    pub sealed: Bytes,
    /// When it ends, by the server's clock.
    pub expires: UnixMillis,
}

impl fmt::Debug for BootstrapTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BootstrapTicket")
            .field("sealed", &Hidden(&self.sealed))
            .field("expires", &self.expires)
            .finish()
    }
}

/// To whom a ticket is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given<'a> {
    /// The application.
    pub app_id: u32,
    /// The version chosen.
    pub version: &'a str,
    /// The address that asked.
    pub from: IpAddr,
}

/// The keys bootstrap tickets are made and checked with.
pub struct BootstrapKeys {
    provider: &'static dyn CryptoProvider,
    current: (u32, Secret<32>),
    previous: Option<(u32, Secret<32>)>,
}

impl BootstrapKeys {
    /// The keys that go with these of session tickets.
    #[must_use]
    pub fn derive(
        provider: &'static dyn CryptoProvider,
        current: &TicketKey,
        previous: Option<&TicketKey>,
    ) -> Self {
        let derive = |key: &TicketKey| {
            let mut secret = Secret::zero();
            provider.hkdf_expand(key.secret(), &[CONTEXT], secret.expose_mut());
            (key.id(), secret)
        };
        Self { provider, current: derive(current), previous: previous.map(derive) }
    }

    /// The keys that go with a sealer's, as they are now.
    #[must_use]
    pub fn of(provider: &'static dyn CryptoProvider, sealer: &TicketSealer) -> Self {
        Self::derive(provider, sealer.current(), sealer.previous())
    }

    /// Makes a ticket, good for `lifetime` from the server's time `now`.
    #[must_use]
    pub fn issue(
        &self,
        rng: &mut Rng,
        to: Given<'_>,
        now: UnixMillis,
        lifetime: Duration,
    ) -> BootstrapTicket {
        let (key_id, key) = &self.current;
        let id: [u8; 16] = rng.array();
        let expires = now + lifetime;
        let body = BootstrapTicketBody {
            app_id: to.app_id,
            version: String::from(to.version),
            issued_ms: now.0,
            expires_ms: expires.0,
            id: Bytes::copy_from_slice(&id),
            cookie: Bytes::copy_from_slice(&self.cookie(key, &id, to.from)),
        };
        let mut sealed = Vec::with_capacity(4 + body.encoded_len() + MAC_LEN);
        sealed.extend_from_slice(&key_id.to_be_bytes());
        body.encode(&mut sealed).expect("a Vec grows as needed");
        let mac = self.provider.hmac_sha256(key.expose(), &[CONTEXT, &sealed]);
        sealed.extend_from_slice(mac.expose());
        BootstrapTicket { sealed: sealed.into(), expires }
    }

    /// Whether a ticket was made here and is shown now, by the application and from the address it was given to, with
    /// its version.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, sealed: &[u8], by: Given<'_>, now: UnixMillis) -> Result<(), BootstrapError> {
        if sealed.len() > MAX_BOOTSTRAP {
            return Err(BootstrapError::Invalid);
        }
        let (signed, mac) = sealed.split_last_chunk::<MAC_LEN>().ok_or(BootstrapError::Invalid)?;
        let (id, body) = signed.split_first_chunk::<4>().ok_or(BootstrapError::Invalid)?;
        let id = u32::from_be_bytes(*id);
        let (_, key) = [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
            .find(|(known, _)| *known == id)
            .ok_or(BootstrapError::Expired)?;
        //= spec: tickets-4
        if !self.provider.hmac_sha256(key.expose(), &[CONTEXT, signed]).ct_eq(&Secret::new(*mac)) {
            return Err(BootstrapError::Invalid);
        }
        let body = BootstrapTicketBody::decode(body).map_err(|_| BootstrapError::Invalid)?;
        //= spec: tickets-4
        if body.issued_ms > now.0.saturating_add(MAX_CLOCK_SKEW_MS) || now.0 >= body.expires_ms {
            return Err(BootstrapError::Expired);
        }
        if body.app_id != by.app_id || body.version != by.version {
            return Err(BootstrapError::OtherApp);
        }
        if self.cookie(key, &body.id, by.from)[..] != body.cookie[..] {
            return Err(BootstrapError::OtherAddress);
        }
        Ok(())
    }

    /// What only this server can say of an address: as far as its owner can't choose it, which is all of IPv4, and
    /// the 64 bits of IPv6 that one household has at the least.
    fn cookie(&self, key: &Secret<32>, id: &[u8], from: IpAddr) -> [u8; COOKIE_LEN] {
        let mac = match from.to_canonical() {
            IpAddr::V4(ip) => self.provider.hmac_sha256(key.expose(), &[COOKIE_CONTEXT, id, &ip.octets()]),
            IpAddr::V6(ip) => {
                self.provider.hmac_sha256(key.expose(), &[COOKIE_CONTEXT, id, &ip.octets()[..8]])
            }
        };
        let mut cookie = [0; COOKIE_LEN];
        cookie.copy_from_slice(&mac.expose()[..COOKIE_LEN]);
        cookie
    }
}

/// Why a bootstrap ticket is not accepted. The client is told one code for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootstrapError {
    /// There is none, and the server asks for one.
    Missing,
    /// Not a bootstrap ticket of this server.
    Invalid,
    /// Its time is over, or its key gone, or it comes from the future.
    Expired,
    /// It was given to another application, or for another version.
    OtherApp,
    /// It was given to another address.
    OtherAddress,
}

impl BootstrapError {
    /// What it is, in words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Missing => "this server asks for a bootstrap ticket",
            Self::Invalid => "not a bootstrap ticket of this server",
            Self::Expired => "the bootstrap ticket has expired",
            Self::OtherApp => "the bootstrap ticket was given to another application or version",
            Self::OtherAddress => "the bootstrap ticket was given to another address",
        }
    }
}

impl fmt::Display for BootstrapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for BootstrapError {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::crypto::rustcrypto::RUSTCRYPTO;
    use crate::rng::Rng;
    use proptest::prelude::*;

    const NOW: UnixMillis = UnixMillis(1_750_000_000_000);
    const LIFETIME: Duration = Duration::from_secs(600);

    fn key(seed: u8, id: u32) -> TicketKey {
        TicketKey::generate(&mut Rng::new([seed; 32]), id, NOW)
    }

    fn keys(seed: u8, id: u32) -> BootstrapKeys {
        BootstrapKeys::derive(&RUSTCRYPTO, &key(seed, id), None)
    }

    fn given() -> Given<'static> {
        Given { app_id: 10001, version: "2.4.1", from: [192, 0, 2, 7].into() }
    }

    //= proof: tickets-4
    #[test]
    fn it_is_good_for_a_time_an_application_and_an_address() {
        let mut rng = Rng::new([3; 32]);
        let keys = keys(1, 7);
        let ticket = keys.issue(&mut rng, given(), NOW, LIFETIME);
        assert!(ticket.sealed.len() <= 130 && ticket.expires == NOW + LIFETIME);
        let check = |by, now| keys.check(&ticket.sealed, by, now);
        assert_eq!(check(given(), NOW), Ok(()));
        assert_eq!(check(given(), UnixMillis(ticket.expires.0 - 1)), Ok(()));
        assert_eq!(check(given(), ticket.expires), Err(BootstrapError::Expired));
        assert_eq!(check(given(), UnixMillis(NOW.0 - MAX_CLOCK_SKEW_MS - 1)), Err(BootstrapError::Expired));
        assert_eq!(check(Given { app_id: 10002, ..given() }, NOW), Err(BootstrapError::OtherApp));
        assert_eq!(check(Given { version: "2.4.2", ..given() }, NOW), Err(BootstrapError::OtherApp));
        let from = [192, 0, 2, 8].into();
        assert_eq!(check(Given { from, ..given() }, NOW), Err(BootstrapError::OtherAddress));
        let mapped = "::ffff:192.0.2.7".parse().unwrap();
        assert_eq!(check(Given { from: mapped, ..given() }, NOW), Ok(()));
    }

    #[test]
    fn a_household_is_one_address() {
        let at = |ip: &str| Given { from: ip.parse().unwrap(), ..given() };
        let keys = keys(1, 7);
        let ticket = keys.issue(&mut Rng::new([3; 32]), at("2001:db8:1:2::1"), NOW, LIFETIME);
        assert_eq!(keys.check(&ticket.sealed, at("2001:db8:1:2:3::"), NOW), Ok(()));
        assert_eq!(keys.check(&ticket.sealed, at("2001:db8:1:3::1"), NOW), Err(BootstrapError::OtherAddress));
    }

    //= proof: tickets-4
    #[test]
    fn other_servers_and_other_tickets_are_foreign() {
        let mut rng = Rng::new([4; 32]);
        let ticket = keys(1, 7).issue(&mut rng, given(), NOW, LIFETIME);
        assert_eq!(keys(2, 7).check(&ticket.sealed, given(), NOW), Err(BootstrapError::Invalid));
        assert_eq!(keys(1, 8).check(&ticket.sealed, given(), NOW), Err(BootstrapError::Expired));
        let rotated = BootstrapKeys::derive(&RUSTCRYPTO, &key(2, 8), Some(&key(1, 7)));
        assert_eq!(rotated.check(&ticket.sealed, given(), NOW), Ok(()));
        // A session ticket is none, and the other way round.
        let mut sealer = TicketSealer::new(&RUSTCRYPTO, key(1, 7), None);
        let session = sealer.seal(&mut rng, &ntproto_proto::v2::TicketBody::default());
        let keys = BootstrapKeys::of(&RUSTCRYPTO, &sealer);
        assert_eq!(keys.check(&session, given(), NOW), Err(BootstrapError::Invalid));
        assert!(sealer.open(&ticket.sealed).is_err());
    }

    proptest! {
        #[test]
        fn noise_is_no_ticket(noise: Vec<u8>, at in 0..130_usize, bit in 0..8u8) {
            let keys = keys(1, 7);
            prop_assert!(keys.check(&noise, given(), NOW).is_err());
            let mut sealed = keys.issue(&mut Rng::new([5; 32]), given(), NOW, LIFETIME).sealed.to_vec();
            let at = at % sealed.len();
            sealed[at] ^= 1 << bit;
            prop_assert!(keys.check(&sealed, given(), NOW).is_err());
            sealed.truncate(at);
            prop_assert!(keys.check(&sealed, given(), NOW).is_err());
        }
    }
}
