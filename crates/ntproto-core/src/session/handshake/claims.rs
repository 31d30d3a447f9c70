//! What a client proved and claims, and what it is answered.

use bytes::Bytes;
use ntproto_proto::v2::auth_request::Credential as WireCredential;
use ntproto_proto::v2::auth_response::Answer as WireAnswer;
use ntproto_proto::v2::{AuthRequest, AuthResponse, DeviceLink, Grant, Refusal};

use super::{HandshakeError, MAX_CLOCK_SKEW_MS, MAX_DEVICE_NAME, MAX_OFFER_LEN, MAX_OFFERS, choose_version};
use crate::bootstrap::MAX_BOOTSTRAP;
use crate::crypto::CryptoProvider;
use crate::crypto::identity::device_key_hash;
use crate::time::UnixMillis;

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
    /// The claims of a request whose signature, over `signed`, is verified here.
    pub(super) fn verify(
        provider: &dyn CryptoProvider,
        request: AuthRequest,
        signed: impl FnOnce(&AuthRequest) -> alloc::vec::Vec<u8>,
        static_key: [u8; 32],
        ephemeral: [u8; 32],
    ) -> Result<Self, HandshakeError> {
        let Checked { signing_key, signature, credential } = check(&request)?;
        provider
            .ed25519_verify(&signing_key, &signed(&request), &signature)
            .map_err(|_| HandshakeError::Signature)?;
        Ok(Self {
            credential,
            signing_key,
            static_key,
            device_key_hash: device_key_hash(provider, &signing_key, &static_key),
            ephemeral,
            version: choose_version(&request.versions),
            request,
        })
    }

    /// Whether the client's clock is too far from the server's time.
    #[must_use]
    pub fn clock_is_off(&self, server_time: UnixMillis) -> bool {
        //= spec: handshake-12
        self.request.timestamp_ms.abs_diff(server_time.0) > MAX_CLOCK_SKEW_MS
    }
}

/// The fields of a request that were checked, in their own types.
pub(super) struct Checked {
    pub(super) signing_key: [u8; 32],
    pub(super) signature: [u8; 64],
    pub(super) credential: Credential,
}

/// The rules of AuthRequest. Both sides run it, so a client learns of its mistake before sending.
pub(super) fn check(request: &AuthRequest) -> Result<Checked, HandshakeError> {
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
    if request.early.as_ref().is_some_and(|early| early.sync.is_some() && early.request_id == 0) {
        return Err(Malformed("request id of the first page"));
    }
    if request.bootstrap.len() > MAX_BOOTSTRAP {
        return Err(Malformed("bootstrap ticket"));
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

/// The server's answer, authenticated whichever it is.
pub enum Answer {
    /// Welcome.
    Granted(Grant),
    /// No, and why.
    Refused(Refusal),
}

impl Answer {
    /// The answer to a client that offered these versions.
    ///
    /// # Errors
    /// It is none, or one that a server would not give.
    pub fn read(response: AuthResponse, offered: &[alloc::string::String]) -> Result<Self, HandshakeError> {
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
                if !offered.contains(&grant.version) {
                    return Err(HandshakeError::Version);
                }
                Ok(Self::Granted(grant))
            }
            WireAnswer::Refusal(refusal) => Ok(Self::Refused(refusal)),
        }
    }
}
