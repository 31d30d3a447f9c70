//! Long-lived keys and what is signed with them (specification, "Identities").
//!
//! ```text
//! operator key ── signs ──▶ server certificate {static key, id, validity} ── pinned by ──▶ clients
//! device keys  ── sign  ──▶ device link {account, device, nonce, expiry}  ── adds one ──▶ device
//! ```

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;
use ntproto_proto::v2::{DeviceLink, DeviceLinkBody, ServerCertificate, ServerCertificateBody};
use prost::Message as _;

use super::secret::Secret;
use super::{AgreementKey, CryptoProvider};
use crate::ids::{DeviceId, Uin};
use crate::rng::Rng;
use crate::time::UnixMillis;

const CERTIFICATE_CONTEXT: &[u8] = b"ntproto server-cert v1";
const LINK_CONTEXT: &[u8] = b"ntproto device-link v1";

/// The keys that are a device: Ed25519 for signing, X25519 for the handshake.
pub struct DeviceKeys {
    signing: Secret<32>,
    agreement: Secret<32>,
    prepared: Arc<dyn AgreementKey>,
    signing_public: [u8; 32],
    static_public: [u8; 32],
}

impl DeviceKeys {
    /// New random keys.
    #[must_use]
    pub fn generate(rng: &mut Rng, provider: &dyn CryptoProvider) -> Self {
        let mut signing = Secret::zero();
        rng.fill(signing.expose_mut());
        let mut agreement = Secret::zero();
        rng.fill(agreement.expose_mut());
        Self::from_secrets(provider, signing, agreement)
    }

    /// Keys from storage: the Ed25519 seed and the X25519 static secret.
    #[must_use]
    pub fn from_secrets(
        provider: &dyn CryptoProvider,
        signing: Secret<32>,
        static_secret: Secret<32>,
    ) -> Self {
        let prepared: Arc<dyn AgreementKey> = provider.x25519(&static_secret).into();
        Self {
            signing_public: provider.ed25519_public(&signing),
            static_public: prepared.public(),
            prepared,
            signing,
            agreement: static_secret,
        }
    }

    /// The Ed25519 public key.
    #[must_use]
    pub fn signing_public(&self) -> &[u8; 32] {
        &self.signing_public
    }

    /// The X25519 public key.
    #[must_use]
    pub fn static_public(&self) -> &[u8; 32] {
        &self.static_public
    }

    /// The Ed25519 seed, for storage.
    #[must_use]
    pub fn signing_secret(&self) -> &Secret<32> {
        &self.signing
    }

    /// The X25519 static secret, for storage.
    #[must_use]
    pub fn static_secret(&self) -> &Secret<32> {
        &self.agreement
    }

    /// The X25519 static key, for the handshake.
    #[must_use]
    pub fn static_key(&self) -> Arc<dyn AgreementKey> {
        self.prepared.clone()
    }

    /// A second copy. Not `Clone`, so that no copy is made unnoticed.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self {
            signing: self.signing.duplicate(),
            agreement: self.agreement.duplicate(),
            prepared: self.prepared.clone(),
            signing_public: self.signing_public,
            static_public: self.static_public,
        }
    }

    /// What tickets name this device by.
    #[must_use]
    pub fn key_hash(&self, provider: &dyn CryptoProvider) -> [u8; 32] {
        device_key_hash(provider, &self.signing_public, &self.static_public)
    }
}

/// SHA-256 of a device's signing key and static key: what tickets name it by.
#[must_use]
pub fn device_key_hash(
    provider: &dyn CryptoProvider,
    signing_key: &[u8; 32],
    static_key: &[u8; 32],
) -> [u8; 32] {
    provider.sha256(&[signing_key, static_key])
}

/// One static key of a server.
pub struct ServerKey {
    secret: Secret<32>,
    prepared: Box<dyn AgreementKey>,
    public: [u8; 32],
    id: u32,
}

impl ServerKey {
    /// A new random key.
    #[must_use]
    pub fn generate(rng: &mut Rng, provider: &dyn CryptoProvider, id: u32) -> Self {
        let mut secret = Secret::zero();
        rng.fill(secret.expose_mut());
        Self::from_secret(provider, secret, id)
    }

    /// A key from storage.
    #[must_use]
    pub fn from_secret(provider: &dyn CryptoProvider, secret: Secret<32>, id: u32) -> Self {
        let prepared = provider.x25519(&secret);
        Self { public: prepared.public(), prepared, secret, id }
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The secret, for storage.
    #[must_use]
    pub fn secret(&self) -> &Secret<32> {
        &self.secret
    }

    /// The key, for the handshake.
    #[must_use]
    pub fn agreement(&self) -> &dyn AgreementKey {
        &*self.prepared
    }

    /// The key id its certificate carries.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }
}

/// A server's static keys: the current one and, during a rotation, the one before it. Two at most,
/// because a message for neither costs an attempt with each.
pub struct ServerKeys {
    current: ServerKey,
    previous: Option<ServerKey>,
    certificate: Option<ServerCertificate>,
}

impl ServerKeys {
    /// The keys a server answers to.
    #[must_use]
    pub fn new(current: ServerKey, previous: Option<ServerKey>) -> Self {
        Self { current, previous, certificate: None }
    }

    /// With the operator's certificate of the current key, which clients are shown that do not know the key.
    #[must_use]
    pub fn with_certificate(mut self, certificate: ServerCertificate) -> Self {
        self.certificate = Some(certificate);
        self
    }

    /// The certificate of the current key.
    #[must_use]
    pub const fn certificate(&self) -> Option<&ServerCertificate> {
        self.certificate.as_ref()
    }

    /// The key new clients are given.
    #[must_use]
    pub fn current(&self) -> &ServerKey {
        &self.current
    }

    /// The key of clients that hold an older certificate.
    #[must_use]
    pub fn previous(&self) -> Option<&ServerKey> {
        self.previous.as_ref()
    }

    /// Makes `next` the current key, which has no certificate yet. The present one stays valid, the one before it
    /// does not.
    pub fn rotate(&mut self, next: ServerKey) {
        self.certificate = None;
        self.previous = Some(core::mem::replace(&mut self.current, next));
    }

    /// Ends the overlap.
    pub fn forget_previous(&mut self) {
        self.previous = None;
    }
}

fn signed_message(context: &[u8], body: &[u8]) -> Vec<u8> {
    [context, body].concat()
}

/// Verifies a signature over `context ‖ body` that came in a protobuf field.
fn verify(
    provider: &dyn CryptoProvider,
    public: &[u8; 32],
    context: &[u8],
    body: &[u8],
    signature: &[u8],
) -> bool {
    <&[u8; 64]>::try_from(signature)
        .is_ok_and(|s| provider.ed25519_verify(public, &signed_message(context, body), s).is_ok())
}

/// Pins of one certificate: the present TLS key's and the next one's, and as many again. So it stays small enough for the
/// challenge of a handshake over TCP.
pub const MAX_TLS_PINS: usize = 4;

/// What a server certificate says. The operator key that signs it may stay offline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The server's X25519 static key.
    pub static_key: [u8; 32],
    /// Which of the server's keys it is.
    pub key_id: u32,
    /// The first instant it is valid. Issuers set it a day back: a client's clock may be behind.
    pub not_before: UnixMillis,
    /// The first instant it is not valid any more.
    pub not_after: UnixMillis,
    /// The keys the server may show in TLS: SHA-256 of the SubjectPublicKeyInfo of each, [`MAX_TLS_PINS`] at most. Certificates
    /// from before there was such a field name none.
    pub tls_pins: Vec<[u8; 32]>,
}

impl Certificate {
    /// Signs with the operator's Ed25519 seed.
    #[must_use]
    pub fn sign(&self, provider: &dyn CryptoProvider, operator: &Secret<32>) -> ServerCertificate {
        let body = ServerCertificateBody {
            static_key: Bytes::copy_from_slice(&self.static_key),
            key_id: self.key_id,
            not_before_ms: self.not_before.0,
            not_after_ms: self.not_after.0,
            tls_pins: self.tls_pins.iter().map(|pin| Bytes::copy_from_slice(pin)).collect(),
        }
        .encode_to_vec();
        let signature = provider.ed25519_sign(operator, &signed_message(CERTIFICATE_CONTEXT, &body));
        ServerCertificate { body: body.into(), signature: Bytes::copy_from_slice(&signature) }
    }

    /// Verifies a certificate against the pinned operator key, at the time `now`.
    ///
    /// # Errors
    /// When the operator did not sign it, it says nothing sensible, or `now` is outside its validity.
    pub fn verify(
        provider: &dyn CryptoProvider,
        operator_key: &[u8; 32],
        signed: &ServerCertificate,
        now: UnixMillis,
    ) -> Result<Self, CertificateError> {
        let certificate = Self::signed(provider, operator_key, signed)?;
        //= spec: handshake-1
        if now < certificate.not_before {
            Err(CertificateError::NotYetValid)
        } else if now >= certificate.not_after {
            Err(CertificateError::Expired)
        } else {
            Ok(certificate)
        }
    }

    /// What the operator signed, whenever it is valid.
    pub(crate) fn signed(
        provider: &dyn CryptoProvider,
        operator_key: &[u8; 32],
        signed: &ServerCertificate,
    ) -> Result<Self, CertificateError> {
        use CertificateError::Malformed;
        //= spec: handshake-1
        if !verify(provider, operator_key, CERTIFICATE_CONTEXT, &signed.body, &signed.signature) {
            return Err(CertificateError::Signature);
        }
        let body = ServerCertificateBody::decode(&signed.body[..]).map_err(|_| Malformed)?;
        if body.tls_pins.len() > MAX_TLS_PINS {
            return Err(Malformed);
        }
        let key = |bytes: &Bytes| <[u8; 32]>::try_from(&bytes[..]).map_err(|_| Malformed);
        Ok(Self {
            static_key: key(&body.static_key)?,
            key_id: body.key_id,
            not_before: UnixMillis(body.not_before_ms),
            not_after: UnixMillis(body.not_after_ms),
            tls_pins: body.tls_pins.iter().map(key).collect::<Result<_, _>>()?,
        })
    }
}

/// Why a server certificate is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateError {
    /// Not signed by the pinned operator key.
    Signature,
    /// Signed, but no certificate.
    Malformed,
    /// Its validity begins later, or the clock is behind.
    NotYetValid,
    /// Its validity is over, or the clock is ahead.
    Expired,
    /// It is from before the one that is known: its key may have been stolen since.
    Older,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signature => "the server certificate is not signed by the pinned operator key",
            Self::Malformed => "the server certificate can't be read",
            Self::NotYetValid => "the server certificate is not valid yet; check the clock",
            Self::Expired => "the server certificate has expired; check the clock",
            Self::Older => "the server certificate is older than the one that is known",
        })
    }
}

impl core::error::Error for CertificateError {}

/// What a device link says: permission for one further device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The account.
    pub uin: Uin,
    /// The device that signs.
    pub device_id: DeviceId,
    /// Random; the server takes each one once.
    pub nonce: [u8; 16],
    /// The first instant it is not valid any more.
    pub expires: UnixMillis,
}

impl Link {
    /// Signs with the keys of the existing device.
    #[must_use]
    pub fn sign(&self, provider: &dyn CryptoProvider, device: &DeviceKeys) -> DeviceLink {
        let body = DeviceLinkBody {
            uin: self.uin.0,
            device_id: Bytes::copy_from_slice(&self.device_id.0),
            nonce: Bytes::copy_from_slice(&self.nonce),
            expires_ms: self.expires.0,
        }
        .encode_to_vec();
        let signature = provider.ed25519_sign(&device.signing, &signed_message(LINK_CONTEXT, &body));
        DeviceLink { body: body.into(), signature: Bytes::copy_from_slice(&signature) }
    }

    /// Reads a link without believing it: which device's key is needed to verify it.
    ///
    /// # Errors
    /// When it is no link.
    pub fn peek(link: &DeviceLink) -> Result<Self, LinkError> {
        let body = DeviceLinkBody::decode(&link.body[..]).map_err(|_| LinkError::Malformed)?;
        let link = Self {
            uin: Uin(body.uin),
            device_id: DeviceId::from_slice(&body.device_id).ok_or(LinkError::Malformed)?,
            nonce: body.nonce[..].try_into().map_err(|_| LinkError::Malformed)?,
            expires: UnixMillis(body.expires_ms),
        };
        if link.uin.0 == 0 { Err(LinkError::Malformed) } else { Ok(link) }
    }

    /// Verifies a link with the signing key of the device it names, at the server's time `now`.
    /// Whether its nonce was used is for the store to say.
    ///
    /// # Errors
    /// When that device did not sign it, it is no link, or it expired.
    pub fn verify(
        provider: &dyn CryptoProvider,
        signing_key: &[u8; 32],
        link: &DeviceLink,
        now: UnixMillis,
    ) -> Result<Self, LinkError> {
        if !verify(provider, signing_key, LINK_CONTEXT, &link.body, &link.signature) {
            return Err(LinkError::Signature);
        }
        let link = Self::peek(link)?;
        if now >= link.expires { Err(LinkError::Expired) } else { Ok(link) }
    }
}

/// Why a device link is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkError {
    /// Not signed by the device it names.
    Signature,
    /// No link.
    Malformed,
    /// Too old.
    Expired,
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signature => "the device link is not signed by the device it names",
            Self::Malformed => "the device link can't be read",
            Self::Expired => "the device link has expired",
        })
    }
}

impl core::error::Error for LinkError {}
