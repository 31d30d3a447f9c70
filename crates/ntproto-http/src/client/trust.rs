//! Whom a client's TLS trusts.

use std::sync::Arc;

use ntproto_quic::tls::{Known, verifier};
use ntproto_quic::{self as quic, ClientTls, Pin, TlsError};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::version::TLS13;
use rustls::{ClientConfig, Error, RootCertStore, SignatureScheme};

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
        let pinned = match self.pinned() {
            Ok(pinned) => pinned,
            Err(roots) => {
                let config = builder.with_root_certificates(roots).with_no_client_auth();
                return Ok(offering(config, alpn));
            }
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier(pinned, provider));
        Ok(offering(builder.with_no_client_auth(), alpn))
    }

    /// The same over QUIC, where the dates of a certificate are judged by the clock of the call that connects.
    ///
    /// # Errors
    /// The provider lacks what QUIC needs, or there are no roots.
    pub fn quic(self, provider: Arc<CryptoProvider>, alpn: &[&[u8]]) -> Result<ClientTls, TlsError> {
        let trust = match self.pinned() {
            Ok(pinned) => quic::Trust::Judged(verifier(pinned, Arc::clone(&provider))),
            Err(roots) => quic::Trust::Roots(roots),
        };
        ClientTls::new(provider, trust, alpn)
    }

    /// What is pinned; else the roots.
    fn pinned(self) -> Result<Pinned, Arc<RootCertStore>> {
        match self {
            Self::Roots(roots) => Err(roots),
            Self::Keys(pins) => Ok(Pinned::Keys(pins.into_iter().map(Pin).collect())),
            Self::Certificates(pins) => Ok(Pinned::Certificates(pins)),
            Self::Anybody => Ok(Pinned::Anybody),
        }
    }
}

fn offering(mut config: ClientConfig, alpn: &[&[u8]]) -> ClientConfig {
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

/// What is pinned.
#[derive(Debug)]
enum Pinned {
    Keys(Vec<Pin>),
    Certificates(Vec<[u8; 32]>),
    Anybody,
}

impl Known for Pinned {
    fn knows(&self, certificate: &CertificateDer<'_>) -> Result<bool, Error> {
        match self {
            Self::Keys(pins) => pins.knows(certificate),
            Self::Certificates(pins) => {
                let shown = ring::digest::digest(&ring::digest::SHA256, certificate);
                // What is compared is public: a certificate that anybody can ask for.
                Ok(pins.iter().any(|pin| pin == shown.as_ref()))
            }
            Self::Anybody => Ok(true),
        }
    }

    fn schemes(&self, all: Vec<SignatureScheme>) -> Vec<SignatureScheme> {
        match self {
            Self::Keys(_) => vec![SignatureScheme::ED25519],
            _ => all,
        }
    }
}
