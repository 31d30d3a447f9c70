//! Whom a client's TLS trusts.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, PeerIncompatible, RootCertStore,
    SignatureScheme,
};

/// Whom to trust.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Certificates that chain to one of these roots, are valid now and carry the server's name.
    Roots(Arc<RootCertStore>),
    /// A server that holds one of these keys: SHA-256 of the SubjectPublicKeyInfo, as a connect string has it. The key is an Ed25519 key, and the
    /// client says that it checks no other: the server then shows the certificate that it also shows under `ntp/2`, not the one for browsers.
    Keys(Vec<[u8; 32]>),
    /// Whoever it is: what comes of the connection proves itself otherwise, as a bootstrap's answer does to whom knows the operator.
    Anybody,
    /// A server that shows one of these certificates: SHA-256 of the whole of it, as a bootstrap answer has it.
    Certificates(Vec<[u8; 32]>),
}

impl Trust {
    /// A configuration that offers these protocols. TLS 1.3 only, as everywhere.
    ///
    /// # Errors
    /// The provider lacks TLS 1.3, or there are no roots.
    pub fn config(self, provider: Arc<CryptoProvider>, alpn: &[&[u8]]) -> Result<ClientConfig, Error> {
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[&TLS13])?;
        let builder = match self {
            Self::Roots(roots) => builder.with_root_certificates(roots),
            trust => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Pinned { trust, provider }))
            }
        };
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }
}

/// Accepts the holder of what is pinned. That it holds the key is proven by the handshake's signature, as always.
struct Pinned {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned").field("trust", &self.trust).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let sha256 = |bytes: &[u8]| ring::digest::digest(&ring::digest::SHA256, bytes);
        let (pins, shown) = match &self.trust {
            Trust::Keys(pins) => {
                (pins.as_slice(), sha256(&ParsedCertificate::try_from(end_entity)?.subject_public_key_info()))
            }
            Trust::Certificates(pins) => (pins.as_slice(), sha256(end_entity)),
            Trust::Anybody => return Ok(ServerCertVerified::assertion()),
            Trust::Roots(_) => return Err(Error::General("roots are not pins".into())),
        };
        // What is compared is public: a certificate that anybody can ask for.
        if pins.iter().any(|pin| pin == shown.as_ref()) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // TLS 1.3 only: never asked.
        Err(Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        match &self.trust {
            Trust::Keys(_) => vec![SignatureScheme::ED25519],
            _ => self.provider.signature_verification_algorithms.supported_schemes(),
        }
    }
}
