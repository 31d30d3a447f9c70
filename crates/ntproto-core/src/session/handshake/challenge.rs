//! Handshake B: the server speaks first, and shows a certificate. The draft's TCP flow.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;
use ntproto_proto::v2::AuthRequest;

use super::claims::check;
use super::{AuthClaims, Carriage, HandshakeError, MAX_AUTH_PAYLOAD, VERSIONS, choose_version, fresh};
use crate::binding::TransportId;
use crate::crypto::identity::{Certificate, CertificateError, DeviceKeys, ServerKeys};
use crate::crypto::noise::ix::{ANSWER_OVERHEAD, Initiator, ResponderStart};
use crate::crypto::schedule::NoiseSplit;
use crate::crypto::{AgreementKey, CryptoProvider};
use crate::rng::Rng;
use crate::session::records::{self, Challenge as Offer};
use crate::time::UnixMillis;
use crate::wire::nthd;

const AUTH_CONTEXT: &[u8] = b"ntproto tcp-auth v1";

/// What the device's signature covers.
fn auth_message(h: &[u8; 32]) -> Vec<u8> {
    [AUTH_CONTEXT, h].concat()
}

/// What a challenge is made of, drawn for it alone. Made ahead, so that a flood of hellos costs no key
/// generation in a hurry.
pub struct Ephemeral {
    key: Box<dyn AgreementKey>,
    token: [u8; 32],
}

/// Nothing of what is inside.
impl fmt::Debug for Ephemeral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ephemeral")
    }
}

impl Ephemeral {
    /// A fresh one.
    #[must_use]
    pub fn generate(provider: &dyn CryptoProvider, rng: &mut Rng) -> Self {
        Self { key: provider.x25519(&fresh(rng)), token: rng.array() }
    }
}

/// The server, waiting for the answer to its challenge.
pub struct Challenge {
    noise: Initiator,
}

impl Challenge {
    /// Makes the challenge: the answer to a hello, which is an NTHD header of length 0.
    ///
    /// # Errors
    /// [`HandshakeError::NoCertificate`] when the keys have none.
    pub fn start(
        provider: &'static dyn CryptoProvider,
        keys: &ServerKeys,
        ephemeral: Ephemeral,
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        let certificate = keys.certificate().ok_or(HandshakeError::NoCertificate)?.clone();
        let payload = records::write_challenge(&Offer {
            token: ephemeral.token,
            certificate,
            versions: VERSIONS.iter().map(|v| String::from(*v)).collect(),
            transports: [TransportId::Quic, TransportId::Tcp].map(|t| t.name().into()).into(),
        })?;
        //= spec: tcp-7
        let prologue = nthd::header(0);
        let (message, noise) =
            Initiator::start(provider, &prologue, keys.current().public(), ephemeral.key, &payload);
        Ok((Self { noise }, message))
    }

    /// Reads the client's answer and verifies the device's signature.
    ///
    /// # Errors
    /// When it is too large, answers another challenge, breaks a rule, or is not signed.
    pub fn receive(
        self,
        provider: &'static dyn CryptoProvider,
        keys: &ServerKeys,
        answer: &[u8],
    ) -> Result<(AuthClaims, NoiseSplit), HandshakeError> {
        if answer.len() > MAX_AUTH_PAYLOAD {
            return Err(HandshakeError::TooLarge);
        }
        let noise = self.noise.read(keys.current().agreement(), answer)?;
        let (h, static_key, ephemeral) = (*noise.hash(), *noise.responder(), *noise.responder_ephemeral());
        let (payload, split) = noise.finish()?;
        let request = Carriage::Nthd.read_request(payload)?;
        //= spec: tcp-9
        let claims = AuthClaims::verify(provider, request, |_| auth_message(&h), static_key, ephemeral)?;
        Ok((claims, split))
    }
}

/// The client's side of handshake B: what it knows beside the device.
pub struct Answerer {
    /// The operator's key, which signs server certificates.
    pub operator: [u8; 32],
    /// When the certificate that is known already begins: one from before it is not believed. 0 if none is.
    pub since: UnixMillis,
    /// The client's clock, by which the certificate is judged.
    pub now: UnixMillis,
}

/// What a client has once it has answered.
pub struct Answered {
    /// The answer, to be sent.
    pub message: Vec<u8>,
    /// The root of the session's keys.
    pub split: NoiseSplit,
    /// The server's static key. That it holds the key is proven by its first sealed frame.
    pub server_static: [u8; 32],
    /// When its certificate begins.
    pub since: UnixMillis,
    /// The versions offered, of which the grant names one.
    pub offered: Vec<String>,
}

impl Answerer {
    /// Answers a challenge. `request` comes without signing key and signature: both are filled in here.
    ///
    /// # Errors
    /// When the challenge can't be read, its certificate is not good, it offers no version spoken here, or the
    /// server would refuse the request.
    pub fn answer(
        &self,
        provider: &'static dyn CryptoProvider,
        rng: &mut Rng,
        device: &DeviceKeys,
        challenge: &[u8],
        mut request: AuthRequest,
    ) -> Result<Answered, HandshakeError> {
        if challenge.len() > MAX_AUTH_PAYLOAD {
            return Err(HandshakeError::TooLarge);
        }
        let (payload, noise) = ResponderStart::read(provider, &nthd::header(0), challenge)?;
        let offer = records::read_challenge(payload)?;
        //= spec: tcp-8
        let certificate = Certificate::verify(provider, &self.operator, &offer.certificate, self.now)
            .map_err(HandshakeError::Certificate)?;
        //= spec: tcp-14
        if certificate.not_before < self.since {
            return Err(HandshakeError::Certificate(CertificateError::Older));
        }
        //= spec: tcp-8
        if certificate.static_key != *noise.initiator() {
            return Err(HandshakeError::Malformed("the certificate is another key's"));
        }
        choose_version(&offer.versions).ok_or(HandshakeError::Version)?;
        let (server_static, since) = (certificate.static_key, certificate.not_before);
        let ephemeral = provider.x25519(&fresh(rng));
        let noise = noise.write(&device.static_key(), device.static_public(), ephemeral)?;
        let signature = provider.ed25519_sign(device.signing_secret(), &auth_message(noise.hash()));
        request.signing_key = Bytes::copy_from_slice(device.signing_public());
        request.signature = Bytes::copy_from_slice(&signature);
        check(&request)?;
        let payload = Carriage::Nthd.write_request(&request)?;
        if payload.len() + ANSWER_OVERHEAD > MAX_AUTH_PAYLOAD {
            return Err(HandshakeError::TooLarge);
        }
        let (message, split) = noise.finish(&payload);
        Ok(Answered { message, split, server_static, since, offered: request.versions })
    }
}
