//! Handshake A (specification, "Handshake"): Noise IK whose payloads are AuthRequest and AuthResponse.
//!
//! Each step consumes the one before, so none can be repeated or left out:
//!
//! ```text
//! client  DeviceKeys ──start──▶ Initiator ──finish(AUTH_RESP)──▶ Answer::Granted(grant, k1 k2 h)
//!                         │          │                         └▶ Answer::Refused(refusal)
//!                     AUTH_REQ       └─ HandshakeError: over
//!                         ▼
//! server  Responder ──receive──▶ Pending ──into_parts──▶ AuthClaims   for whoever decides
//!             └─ HandshakeError: over                  └▶ Reply ──answer──▶ AUTH_RESP, k1 k2 h if granted
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

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;
use ntproto_proto::v2::auth_request::Credential as WireCredential;
use ntproto_proto::v2::auth_response::Answer as WireAnswer;
use ntproto_proto::v2::{AuthRequest, AuthResponse, DeviceLink, Grant, Refusal};
use prost::Message as _;

use crate::crypto::identity::{DeviceKeys, ServerKeys, device_key_hash};
use crate::crypto::noise::ik::{InitiatorStart, InitiatorWait, REQUEST_OVERHEAD, RESPONSE_OVERHEAD};
use crate::crypto::noise::ik::{ResponderReply, ResponderStart};
use crate::crypto::schedule::NoiseSplit;
use crate::crypto::secret::Secret;
use crate::crypto::{CryptoError, CryptoProvider};
use crate::rng::Rng;
use crate::time::UnixMillis;
use crate::wire::frame::MAX_PAYLOAD_CLEAR;

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

const POP_CONTEXT: &[u8] = b"ntproto ticket-pop v1";

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
    /// The device did not sign this credential in this handshake.
    Signature,
    /// The server chose a version that was not offered.
    Version,
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
            Self::Signature => f.write_str("the device's signature does not verify"),
            Self::Version => f.write_str("the server chose a version that was not offered"),
        }
    }
}

impl core::error::Error for HandshakeError {}

/// The best version of `offered`, in the client's order, that is spoken here.
#[must_use]
pub fn choose_version(offered: &[String]) -> Option<&'static str> {
    offered.iter().find_map(|offer| VERSIONS.iter().copied().find(|version| version == offer))
}

/// What the device's signature covers.
fn pop_message(provider: &dyn CryptoProvider, credential: &WireCredential, h: &[u8; 32]) -> Vec<u8> {
    let bytes: &[u8] = match credential {
        WireCredential::Ticket(bytes) | WireCredential::Invitation(bytes) => bytes,
        WireCredential::Link(link) => &link.body,
        WireCredential::KnownDevice(_) | WireCredential::OpenRegistration(_) => &[],
    };
    [POP_CONTEXT, &provider.sha256(&[bytes]), h].concat()
}

fn fresh(rng: &mut Rng) -> Secret<32> {
    let mut secret = Secret::zero();
    rng.fill(secret.expose_mut());
    secret
}

/// The client, waiting for AUTH_RESP.
pub struct Initiator {
    noise: InitiatorWait,
    offered: Vec<String>,
}

/// The server's answer, authenticated whichever it is.
#[expect(clippy::large_enum_variant, reason = "taken apart at once, never stored")]
pub enum Answer {
    /// Welcome; the split is the root of the session's keys.
    Granted(Grant, NoiseSplit),
    /// No, and why.
    Refused(Refusal),
}

impl Initiator {
    /// Makes AUTH_REQ. `request` comes without signing key and signature: both are filled in here.
    ///
    /// # Errors
    /// [`HandshakeError::Unreadable`] when `server_static` is no usable key,
    /// [`HandshakeError::Malformed`] or [`HandshakeError::TooLarge`] when the server would refuse
    /// the request.
    pub fn start(
        provider: &'static dyn CryptoProvider,
        rng: &mut Rng,
        device: &DeviceKeys,
        server_static: &[u8; 32],
        mut request: AuthRequest,
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        let noise = InitiatorStart::new(
            provider,
            PROLOGUE,
            device.static_key(),
            device.static_public(),
            server_static,
            &fresh(rng),
        )?;
        let credential = request.credential.as_ref().ok_or(HandshakeError::Malformed("no credential"))?;
        let message = pop_message(provider, credential, noise.hash());
        let signature = provider.ed25519_sign(device.signing_secret(), &message);
        request.signing_key = Bytes::copy_from_slice(device.signing_public());
        request.signature = Bytes::copy_from_slice(&signature);
        check(&request)?;
        if request.encoded_len() + REQUEST_OVERHEAD > MAX_AUTH_PAYLOAD {
            return Err(HandshakeError::TooLarge);
        }
        let (bytes, noise) = noise.finish(&request.encode_to_vec());
        Ok((Self { noise, offered: request.versions }, bytes))
    }

    /// Reads AUTH_RESP.
    ///
    /// # Errors
    /// When it does not come from the server the request was made for, or makes no sense.
    pub fn finish(self, auth_resp: &[u8]) -> Result<Answer, HandshakeError> {
        if auth_resp.len() > MAX_AUTH_PAYLOAD {
            return Err(HandshakeError::TooLarge);
        }
        let (payload, split) = self.noise.read(auth_resp)?;
        let response = AuthResponse::decode(Bytes::from(payload))
            .map_err(|_| HandshakeError::Malformed("not an AuthResponse"))?;
        match response.answer.ok_or(HandshakeError::Malformed("no answer"))? {
            WireAnswer::Grant(grant) => {
                //= spec: handshake-11
                if grant.session_id.len() != 16 {
                    return Err(HandshakeError::Malformed("session id"));
                }
                if grant.device_id.len() != 16 {
                    return Err(HandshakeError::Malformed("device id"));
                }
                //= spec: handshake-11
                if !self.offered.contains(&grant.version) {
                    return Err(HandshakeError::Version);
                }
                Ok(Answer::Granted(grant, split))
            }
            WireAnswer::Refusal(refusal) => Ok(Answer::Refused(refusal)),
        }
    }
}

/// What entitles a device to a session.
pub enum Credential {
    /// A sealed session ticket.
    Ticket(Bytes),
    /// The code of an invitation.
    Invitation([u8; 16]),
    /// Permission by another device; its signature is not verified yet.
    Link(DeviceLink),
    /// The device's own keys.
    KnownDevice,
    /// The operator's permission for everybody.
    OpenRegistration,
}

/// What a client proved and claims. It holds both of the device's secret keys, and made this very
/// request with them; whether it may in is for the server to decide.
pub struct AuthClaims {
    /// The request as it came; its lengths and texts are within the limits.
    pub request: AuthRequest,
    /// Its credential.
    pub credential: Credential,
    /// The device's Ed25519 key.
    pub signing_key: [u8; 32],
    /// The device's X25519 key.
    pub static_key: [u8; 32],
    /// SHA-256 of both keys.
    pub device_key_hash: [u8; 32],
    /// The client's ephemeral key: the same one again is a replay.
    pub ephemeral: [u8; 32],
    /// The version to speak, when one of the offered is spoken here.
    pub version: Option<&'static str>,
}

impl AuthClaims {
    /// Whether the client's clock is too far from the server's time.
    #[must_use]
    pub fn clock_is_off(&self, server_time: UnixMillis) -> bool {
        //= spec: handshake-12
        self.request.timestamp_ms.abs_diff(server_time.0) > MAX_CLOCK_SKEW_MS
    }
}

/// The server's side.
pub struct Responder;

impl Responder {
    /// Reads AUTH_REQ and verifies the device's signature.
    ///
    /// # Errors
    /// When it is too large, was not made for this server, breaks a rule, or is not signed.
    pub fn receive(
        provider: &'static dyn CryptoProvider,
        keys: &ServerKeys,
        auth_req: &[u8],
    ) -> Result<Pending, HandshakeError> {
        if auth_req.len() > MAX_AUTH_PAYLOAD {
            return Err(HandshakeError::TooLarge);
        }
        let read = |key: &crate::crypto::identity::ServerKey| {
            ResponderStart::read(provider, PROLOGUE, key.agreement(), key.public(), auth_req)
        };
        // The message does not say which key it was made for: only the right one opens it.
        let noise = read(keys.current()).or_else(|e| keys.previous().map_or(Err(e), read))?;
        let h = *noise.hash();
        let (payload, noise) = noise.finish()?;
        //= spec: spec-1, spec-2
        let request = AuthRequest::decode(Bytes::from(payload))
            .map_err(|_| HandshakeError::Malformed("not an AuthRequest"))?;
        let Checked { signing_key, signature, credential } = check(&request)?;
        let wire_credential = request.credential.as_ref().expect("checked: there is a credential");
        provider
            .ed25519_verify(&signing_key, &pop_message(provider, wire_credential, &h), &signature)
            .map_err(|_| HandshakeError::Signature)?;
        let static_key = *noise.initiator();
        let claims = AuthClaims {
            credential,
            signing_key,
            static_key,
            device_key_hash: device_key_hash(provider, &signing_key, &static_key),
            ephemeral: *noise.initiator_ephemeral(),
            version: choose_version(&request.versions),
            request,
        };
        Ok(Pending { claims, noise })
    }
}

/// The server, about to answer.
pub struct Pending {
    /// What the client proved and claims.
    pub claims: AuthClaims,
    noise: ResponderReply,
}

impl Pending {
    /// Parts the claims, for whoever decides, from the answer, for whoever sends it.
    #[must_use]
    pub fn into_parts(self) -> (AuthClaims, Reply) {
        (self.claims, Reply { noise: self.noise })
    }
}

/// The answer that is still to be made.
pub struct Reply {
    noise: ResponderReply,
}

impl Reply {
    /// Makes AUTH_RESP; for a grant also the root of the session's keys.
    ///
    /// # Errors
    /// [`HandshakeError::TooLarge`] when the response does not fit, [`HandshakeError::Malformed`]
    /// when it holds no answer: mistakes of the caller, not of the client.
    pub fn answer(
        self,
        rng: &mut Rng,
        response: AuthResponse,
    ) -> Result<(Vec<u8>, Option<NoiseSplit>), HandshakeError> {
        let granted = match response.answer {
            Some(WireAnswer::Grant(_)) => true,
            Some(WireAnswer::Refusal(_)) => false,
            None => return Err(HandshakeError::Malformed("no answer")),
        };
        if response.encoded_len() + RESPONSE_OVERHEAD > MAX_AUTH_PAYLOAD {
            return Err(HandshakeError::TooLarge);
        }
        let (bytes, split) = self.noise.write(&fresh(rng), &response.encode_to_vec())?;
        Ok((bytes, granted.then_some(split)))
    }
}

/// The fields of a request that were checked, in their own types.
struct Checked {
    signing_key: [u8; 32],
    signature: [u8; 64],
    credential: Credential,
}

/// The rules of AuthRequest. Both sides run it, so a client learns of its mistake before sending.
fn check(request: &AuthRequest) -> Result<Checked, HandshakeError> {
    use HandshakeError::Malformed;
    let signing_key = request.signing_key[..].try_into().map_err(|_| Malformed("signing key"))?;
    let signature = request.signature[..].try_into().map_err(|_| Malformed("signature length"))?;
    if request.fingerprint_hash.len() != 32 {
        return Err(Malformed("fingerprint hash"));
    }
    for offers in [&request.versions, &request.transports] {
        if offers.len() > MAX_OFFERS || offers.iter().any(|offer| offer.len() > MAX_OFFER_LEN) {
            return Err(Malformed("offers"));
        }
    }
    let name = &request.device_name;
    if name.len() > MAX_DEVICE_NAME || name.chars().any(char::is_control) {
        return Err(Malformed("device name"));
    }
    let credential = match request.credential.as_ref().ok_or(Malformed("no credential"))? {
        WireCredential::Ticket(sealed) => Credential::Ticket(sealed.clone()),
        WireCredential::Invitation(code) => {
            Credential::Invitation(code[..].try_into().map_err(|_| Malformed("invitation code"))?)
        }
        WireCredential::Link(link) => Credential::Link(link.clone()),
        WireCredential::KnownDevice(_) => Credential::KnownDevice,
        WireCredential::OpenRegistration(_) => Credential::OpenRegistration,
    };
    Ok(Checked { signing_key, signature, credential })
}
