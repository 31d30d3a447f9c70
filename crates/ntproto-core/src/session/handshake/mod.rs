//! The handshakes (specification, "Handshake"): a device and a server prove who they are and agree on keys.
//!
//! | module | is |
//! | --- | --- |
//! | `known` | handshake A, Noise IK: the client knows the server's key. [`Initiator`], [`Responder`] |
//! | `challenge` | handshake B, Noise IX: the server speaks first. [`Challenge`], [`Answerer`] |
//! | `carriage` | how their payloads are written: protobuf in frames, TLV3 in NTHD messages |
//! | `claims` | what a client proved and claims, and what it is answered |
//!
//! Each step consumes the one before, so none can be repeated or left out:
//!
//! ```text
//! A  client  DeviceKeys ──start──▶ Initiator ──finish(AUTH_RESP)──▶ Answer::Granted(grant), k1 k2 h
//!                            │          │                         └▶ Answer::Refused(refusal)
//!                        AUTH_REQ       └─ HandshakeError: over
//!                            ▼
//!    server  Responder ──receive──▶ Pending ──into_parts──▶ AuthClaims   for whoever decides
//!                └─ HandshakeError: over                  └▶ Reply ──answer──▶ AUTH_RESP, k1 k2 h if granted
//!
//! B  server  ServerKeys ──start──▶ Challenge ──receive(answer)──▶ AuthClaims, k1 k2 h
//!                            │         └─ HandshakeError: over
//!                        challenge
//!                            ▼
//!    client  Answerer ──answer──▶ answer, k1 k2 h     the grant comes sealed
//! ```
//! What was consumed can't be used again; the compiler says so:
//!
//! ```compile_fail,E0382
//! # use ntproto_core::session::handshake::{Initiator, Reply};
//! fn twice(initiator: Initiator) {
//!     let _ = initiator.finish(b"one AUTH_RESP");
//!     let _ = initiator.finish(b"another");
//! }
//! ```
//! ```compile_fail,E0382
//! # use ntproto_core::{rng::Rng, session::handshake::Reply};
//! # use ntproto_proto::v2::AuthResponse;
//! fn twice(reply: Reply, rng: &mut Rng, yes: AuthResponse, no: AuthResponse) {
//!     let _ = reply.answer(rng, yes);
//!     let _ = reply.answer(rng, no);
//! }
//! ```

mod carriage;
mod challenge;
mod claims;
mod known;

use alloc::string::String;
use core::fmt;

use crate::crypto::CryptoError;
use crate::crypto::identity::CertificateError;
use crate::crypto::secret::Secret;
use crate::rng::Rng;
use crate::wire::frame::MAX_PAYLOAD_CLEAR;
use crate::wire::tlv3::schema::RecordError;

pub use carriage::Carriage;
pub use challenge::{Answered, Answerer, Challenge, Ephemeral};
pub use claims::{Answer, AuthClaims, Credential};
pub use known::{Initiator, Pending, Reply, Responder};

/// The prologue: both sides speak this version, or the handshake fails.
pub const PROLOGUE: &[u8] = b"ntproto/2.4.1";
/// The versions spoken here, best first.
pub const VERSIONS: &[&str] = &["2.4.1"];
/// The largest AUTH_REQ or AUTH_RESP: whoever sends it has proven nothing yet.
pub const MAX_AUTH_PAYLOAD: usize = MAX_PAYLOAD_CLEAR;
/// How far a client's clock may be off, either way.
pub const MAX_CLOCK_SKEW_MS: u64 = 120_000;
/// How many versions, and how many transports, a request may offer: more is no honest offer.
pub const MAX_OFFERS: usize = 8;
/// The longest name of a version or transport, in bytes.
pub const MAX_OFFER_LEN: usize = 16;
/// The longest device name, in bytes: it is shown in a list.
pub const MAX_DEVICE_NAME: usize = 64;

/// What was wrong with the peer's half of a handshake. It ends the connection; the peer is not told what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// Longer than [`MAX_AUTH_PAYLOAD`].
    TooLarge,
    /// Truncated, altered, or made for another key.
    Unreadable,
    /// Readable, but breaks a rule; the text names it.
    Malformed(&'static str),
    /// Its records are not those of such a message.
    Records(RecordError),
    /// The device did not sign this credential in this handshake.
    Signature,
    /// The server chose a version that was not offered, or offers none that is spoken here.
    Version,
    /// The operator does not vouch for the server's key, or not now.
    Certificate(CertificateError),
    /// The server has no certificate to show.
    NoCertificate,
}

impl From<RecordError> for HandshakeError {
    fn from(error: RecordError) -> Self {
        Self::Records(error)
    }
}

impl From<CryptoError> for HandshakeError {
    fn from(_: CryptoError) -> Self {
        Self::Unreadable
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "the handshake message exceeds {MAX_AUTH_PAYLOAD} bytes"),
            Self::Unreadable => {
                f.write_str("the handshake message can't be read: altered, or for another key")
            }
            Self::Malformed(rule) => write!(f, "the handshake message breaks a rule: {rule}"),
            Self::Records(error) => write!(f, "the handshake message breaks a rule: {error}"),
            Self::Signature => f.write_str("the device's signature does not verify"),
            Self::Version => f.write_str("no version that both sides offered"),
            Self::Certificate(error) => write!(f, "the server's certificate is not good: {error}"),
            Self::NoCertificate => f.write_str("the server has no certificate to show"),
        }
    }
}

impl core::error::Error for HandshakeError {}

/// The best version of `offered`, in the client's order, that is spoken here.
#[must_use]
pub fn choose_version(offered: &[String]) -> Option<&'static str> {
    offered.iter().find_map(|offer| VERSIONS.iter().copied().find(|version| version == offer))
}

fn fresh(rng: &mut Rng) -> Secret<32> {
    let mut secret = Secret::zero();
    rng.fill(secret.expose_mut());
    secret
}
