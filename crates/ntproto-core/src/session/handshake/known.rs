//! Handshake A: the client knows the server's static key.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use ntproto_proto::v2::auth_request::Credential as WireCredential;
use ntproto_proto::v2::auth_response::Answer as WireAnswer;
use ntproto_proto::v2::{AuthRequest, AuthResponse};

use super::claims::check;
use super::{Answer, AuthClaims, Carriage, HandshakeError, MAX_AUTH_PAYLOAD, fresh};
use crate::crypto::CryptoProvider;
use crate::crypto::identity::{DeviceKeys, ServerKey, ServerKeys};
use crate::crypto::noise::ik::{InitiatorStart, InitiatorWait, REQUEST_OVERHEAD, RESPONSE_OVERHEAD};
use crate::crypto::noise::ik::{ResponderReply, ResponderStart};
use crate::crypto::schedule::NoiseSplit;
use crate::rng::Rng;

const POP_CONTEXT: &[u8] = b"ntproto ticket-pop v1";

/// What the device's signature covers.
fn pop_message(provider: &dyn CryptoProvider, request: &AuthRequest, h: &[u8; 32]) -> Vec<u8> {
    let bytes: &[u8] = match &request.credential {
        Some(WireCredential::Ticket(bytes) | WireCredential::Invitation(bytes)) => bytes,
        Some(WireCredential::Link(link)) => &link.body,
        Some(WireCredential::KnownDevice(_) | WireCredential::OpenRegistration(_)) | None => &[],
    };
    let credential = provider.sha256(&[bytes]);
    if request.bootstrap.is_empty() {
        return [POP_CONTEXT, &credential, h].concat();
    }
    //= spec: handshake-23
    [POP_CONTEXT, &credential, &provider.sha256(&[&request.bootstrap]), h].concat()
}

/// The client, waiting for AUTH_RESP.
pub struct Initiator {
    noise: InitiatorWait,
    offered: Vec<String>,
    carriage: Carriage,
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
        carriage: Carriage,
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        request.signing_key = Bytes::copy_from_slice(device.signing_public());
        // In its place already: the prologue may name the length.
        request.signature = Bytes::from_static(&[0; 64]);
        check(&request)?;
        let len = carriage.write_request(&request)?.len() + REQUEST_OVERHEAD;
        if len > MAX_AUTH_PAYLOAD {
            return Err(HandshakeError::TooLarge);
        }
        let noise = InitiatorStart::new(
            provider,
            &carriage.prologue(len),
            device.static_key(),
            device.static_public(),
            server_static,
            &fresh(rng),
        )?;
        let message = pop_message(provider, &request, noise.hash());
        let signature = provider.ed25519_sign(device.signing_secret(), &message);
        request.signature = Bytes::copy_from_slice(&signature);
        let (bytes, noise) = noise.finish(&carriage.write_request(&request)?);
        Ok((Self { noise, offered: request.versions, carriage }, bytes))
    }

    /// Reads AUTH_RESP: the answer, and the root of the session's keys if it is a grant.
    ///
    /// # Errors
    /// When it does not come from the server the request was made for, or makes no sense.
    pub fn finish(self, auth_resp: &[u8]) -> Result<(Answer, NoiseSplit), HandshakeError> {
        if auth_resp.len() > MAX_AUTH_PAYLOAD {
            return Err(HandshakeError::TooLarge);
        }
        let (payload, split) = self.noise.read(auth_resp)?;
        let response = self.carriage.read_response(payload)?;
        Ok((Answer::read(response, &self.offered)?, split))
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
        carriage: Carriage,
    ) -> Result<Pending, HandshakeError> {
        if auth_req.len() > MAX_AUTH_PAYLOAD {
            return Err(HandshakeError::TooLarge);
        }
        let prologue = carriage.prologue(auth_req.len());
        let read = |key: &ServerKey| {
            ResponderStart::read(provider, &prologue, key.agreement(), key.public(), auth_req)
        };
        // The message does not say which key it was made for: only the right one opens it.
        let noise = read(keys.current()).or_else(|e| keys.previous().map_or(Err(e), read))?;
        let h = *noise.hash();
        let (payload, noise) = noise.finish()?;
        let request = carriage.read_request(payload)?;
        let signed = |request: &AuthRequest| pop_message(provider, request, &h);
        let ephemeral = *noise.initiator_ephemeral();
        let claims = AuthClaims::verify(provider, request, signed, *noise.initiator(), ephemeral)?;
        Ok(Pending { claims, noise, carriage })
    }
}

/// The server, about to answer.
pub struct Pending {
    /// What the client proved and claims.
    pub claims: AuthClaims,
    noise: ResponderReply,
    carriage: Carriage,
}

impl Pending {
    /// Parts the claims, for whoever decides, from the answer, for whoever sends it.
    #[must_use]
    pub fn into_parts(self) -> (AuthClaims, Reply) {
        (self.claims, Reply { noise: self.noise, carriage: self.carriage })
    }
}

/// The answer that is still to be made.
pub struct Reply {
    noise: ResponderReply,
    carriage: Carriage,
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
        let payload = self.carriage.write_response(&response)?;
        if payload.len() + RESPONSE_OVERHEAD > MAX_AUTH_PAYLOAD {
            return Err(HandshakeError::TooLarge);
        }
        let (bytes, split) = self.noise.write(&fresh(rng), &payload)?;
        Ok((bytes, granted.then_some(split)))
    }
}
