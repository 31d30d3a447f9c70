//! Names and keys: everything here is random, and all of it grows from the endpoint's seed.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ntproto_core::rng::Rng;
use quinn_proto::crypto::{HandshakeTokenKey, HmacKey};
use quinn_proto::{ConnectionId, ConnectionIdGenerator};
use ring::{hkdf, hmac};

/// A connection's name inside one endpoint. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// Low bits that say where the connection lives; the rest counts connections: 2⁴⁰ of them, 17 years at 2,000/s.
const SLOT_BITS: u32 = 24;

impl ConnId {
    pub(crate) const MAX_SLOTS: usize = 1 << SLOT_BITS;

    pub(crate) fn new(count: u64, slot: u32) -> Self {
        Self(count << SLOT_BITS | u64::from(slot))
    }

    pub(crate) fn slot(self) -> u32 {
        (self.0 & ((1 << SLOT_BITS) - 1)) as u32
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0 >> SLOT_BITS)
    }
}

/// Length of the connection ids we choose. All endpoints of a server must agree on it, or the resets of a
/// restarted one are not understood.
const LOCAL_CID_LEN: usize = 8;
/// Length of the id a client makes up for the server's first packet: the longest, as nobody routes by it.
const INITIAL_CID_LEN: usize = 20;

/// QUIC connection ids from a seed.
struct SeededCids(Rng);

impl ConnectionIdGenerator for SeededCids {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&self.0.array::<LOCAL_CID_LEN>())
    }

    fn cid_len(&self) -> usize {
        LOCAL_CID_LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// The factory quinn-proto calls once an endpoint.
pub(crate) fn local_cids(
    rng: &mut Rng,
) -> impl Fn() -> Box<dyn ConnectionIdGenerator> + Send + Sync + 'static {
    let seed = rng.array::<32>();
    move || Box::new(SeededCids(Rng::new(seed)))
}

/// Makes up the id of a client's first packet.
pub(crate) fn initial_cids(rng: &mut Rng) -> Arc<dyn Fn() -> ConnectionId + Send + Sync> {
    let rng = Mutex::new(rng.fork());
    Arc::new(move || {
        // Poisoned means a panic elsewhere; the generator itself is never left half-way.
        let mut rng = rng.lock().unwrap_or_else(PoisonError::into_inner);
        ConnectionId::new(&rng.array::<INITIAL_CID_LEN>())
    })
}

/// Signs stateless resets.
#[derive(Clone)]
pub struct ResetKey(Arc<hmac::Key>);

impl ResetKey {
    /// The key from 32 secret bytes.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    pub(crate) fn from_rng(rng: &mut Rng) -> Self {
        Self::new(&rng.array())
    }

    pub(crate) fn into_inner(self) -> Arc<dyn HmacKey> {
        self.0
    }
}

/// Seals Retry tokens.
pub(crate) fn token_key(rng: &mut Rng) -> Arc<dyn HandshakeTokenKey> {
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]);
    Arc::new(salt.extract(&rng.array::<32>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conn_id_holds_its_slot() {
        let id = ConnId::new(7, 0x00ff_ffff);
        assert_eq!(id.slot(), 0x00ff_ffff);
        assert_eq!(id.to_string(), "#7");
        assert_ne!(id, ConnId::new(8, 0x00ff_ffff));
    }

    #[test]
    fn the_same_seed_gives_the_same_ids() {
        let ids = |seed| {
            let mut rng = Rng::new([seed; 32]);
            let mut local = local_cids(&mut rng)();
            (local.generate_cid(), local.generate_cid(), initial_cids(&mut rng)())
        };
        assert_eq!(ids(1), ids(1));
        assert_ne!(ids(1), ids(2));
    }
}
