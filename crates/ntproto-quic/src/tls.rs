//! Who is trusted: certificates by default, or a pinned key.
//!
//! TLS 1.3 only. Every handshake is a full one, unless [`ClientTls::with_sessions`] and [`ServerTls::with_sessions`]
//! say otherwise: resumption and early data are decided there and nowhere else.

use std::fmt;
use std::sync::Arc;

use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionStore, Resumption, Tls12Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, ResolvesServerCert, StoresServerSessions};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, PeerIncompatible, RootCertStore,
    ServerConfig, SignatureScheme,
};
use subtle::ConstantTimeEq;

use crate::sessions::TICKETS;
use crate::time::CallClock;
use crate::web::{ByProtocol, WebCertificate};
use crate::{ALPN, H3};

/// What QUIC wants a server to announce that takes early data (RFC 9001, section 4.6.1). How much it takes is up to
/// the layers above.
const EARLY_DATA: u32 = u32::MAX;

/// SHA-256 of a certificate's SubjectPublicKeyInfo: names a key, whatever certificate it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin(pub [u8; 32]);

impl Pin {
    /// The pin of a DER certificate.
    ///
    /// # Errors
    /// The bytes are no certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, TlsError> {
        Self::parse(certificate).map_err(TlsError)
    }

    fn parse(certificate: &CertificateDer<'_>) -> Result<Self, Error> {
        let spki = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
        let digest = ring::digest::digest(&ring::digest::SHA256, spki.as_ref());
        let mut pin = [0; 32];
        pin.copy_from_slice(digest.as_ref());
        Ok(Self(pin))
    }
}

/// Whom a client trusts.
#[derive(Clone)]
pub enum Trust {
    /// Certificates that chain to one of these roots, are valid now and carry the server's name.
    Roots(Arc<RootCertStore>),
    /// A server that holds one of these keys. The pin stands in for chain, name and dates; that the server
    /// holds the key is proven by the handshake's signature, as always.
    Pinned(Vec<Pin>),
    /// Whomever the host's own judge lets pass.
    Judged(Arc<dyn ServerCertVerifier>),
}

/// A configuration that TLS can't work with.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsError(Error);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TLS: {}", self.0)
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

impl From<Error> for TlsError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

fn no_initial_suite<E>(_: E) -> TlsError {
    TlsError(Error::General("the provider lacks TLS13_AES_128_GCM_SHA256, which QUIC starts with".into()))
}

/// The provider used unless the host brings another: ring.
#[must_use]
pub fn default_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A client's side of TLS. Cheap to clone.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    pub(crate) crypto: Arc<QuicClientConfig>,
    pub(crate) clock: CallClock,
}

impl ClientTls {
    /// Trusts `trust` and speaks one of `alpn`, the first the server likes. Dates are judged by the wall clock
    /// of the call that connects.
    ///
    /// # Errors
    /// The provider lacks TLS 1.3 or AES-128-GCM, or there are no roots.
    pub fn new(provider: Arc<CryptoProvider>, trust: Trust, alpn: &[&[u8]]) -> Result<Self, TlsError> {
        let clock = CallClock::default();
        let verifier: Arc<dyn ServerCertVerifier> = match trust {
            //= spec: quic-3
            Trust::Roots(roots) => WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                .build()
                .map_err(|e| TlsError(Error::General(e.to_string())))?,
            Trust::Pinned(pins) => verifier(pins, Arc::clone(&provider)),
            Trust::Judged(judge) => judge,
        };
        let mut config = ClientConfig::builder_with_details(provider, Arc::new(clock.clone()))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        Self::build(config, clock)
    }

    /// Whether it speaks our protocol and no other.
    pub(crate) fn is_native(&self) -> bool {
        self.config.alpn_protocols.iter().map(Vec::as_slice).eq([ALPN])
    }

    /// The same trust, with a memory of sessions: a server that is known from an earlier connection is sent early
    /// data ([`Event::Early`](crate::Event::Early)). What resumes a session rests on the certificate of the
    /// connection it came from. Whoever shares the memory can be told to be the same client: one per account.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use ntproto_quic::{ALPN, ClientSessions, ClientTls, Pin, Trust, tls::default_provider};
    ///
    /// let tls = ClientTls::new(default_provider(), Trust::Pinned(vec![Pin([7; 32])]), &[ALPN])?;
    /// let tls = tls.with_sessions(Arc::new(ClientSessions::default()))?;
    /// # Ok::<(), ntproto_quic::TlsError>(())
    /// ```
    ///
    /// # Errors
    /// The provider lacks AES-128-GCM.
    pub fn with_sessions(&self, sessions: Arc<dyn ClientSessionStore>) -> Result<Self, TlsError> {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::store(sessions).tls12_resumption(Tls12Resumption::Disabled);
        // Early data is written on ntproto's channels, before the server has said which protocol it speaks.
        config.enable_early_data = self.is_native();
        Self::build(config, self.clock.clone())
    }

    fn build(config: ClientConfig, clock: CallClock) -> Result<Self, TlsError> {
        let config = Arc::new(config);
        let crypto = QuicClientConfig::try_from(Arc::clone(&config)).map_err(no_initial_suite)?;
        Ok(Self { config, crypto: Arc::new(crypto), clock })
    }
}

/// A server's side of TLS. Cheap to clone.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    pub(crate) crypto: Arc<QuicServerConfig>,
    pub(crate) clock: CallClock,
}

impl ServerTls {
    /// Shows `chain` (leaf first), proves `key`, and speaks one of `alpn`, the first of these the client offers.
    ///
    /// # Errors
    /// The key is not the certificate's or of an unknown kind, or the provider lacks TLS 1.3 or AES-128-GCM.
    pub fn new(
        provider: Arc<CryptoProvider>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        alpn: &[&[u8]],
    ) -> Result<Self, TlsError> {
        let clock = CallClock::default();
        let mut config = ServerConfig::builder_with_details(provider, Arc::new(clock.clone()))
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Self::build(config, clock)
    }

    /// Serves HTTP/3 beside our protocol, with a certificate of its own. A client that offers both gets ours.
    ///
    /// # Errors
    /// The provider lacks AES-128-GCM.
    pub fn with_web(&self, web: WebCertificate) -> Result<Self, TlsError> {
        let mut config = ServerConfig::clone(&self.config);
        let native = Arc::clone(&config.cert_resolver);
        config.cert_resolver = Arc::new(ByProtocol { native, web });
        config.alpn_protocols.push(H3.to_vec());
        Self::build(config, self.clock.clone())
    }

    pub(crate) fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::clone(&self.config.cert_resolver)
    }

    pub(crate) fn is_web(&self) -> bool {
        self.config.alpn_protocols.iter().any(|name| name != ALPN)
    }

    /// The same certificate, with a memory of sessions: clients may come back by them and send early data.
    ///
    /// `sessions` should be a [`SessionMemory`](crate::SessionMemory), which gives each session out once. A host may
    /// bring one of its own, for instance one that several processes share. rustls takes early data only for
    /// sessions that the server remembers, not for such as it seals into tickets (RFC 8446, section 8.1).
    ///
    /// # Errors
    /// The provider lacks AES-128-GCM.
    pub fn with_sessions(&self, sessions: Arc<dyn StoresServerSessions>) -> Result<Self, TlsError> {
        let mut config = ServerConfig::clone(&self.config);
        config.session_storage = sessions;
        config.send_tls13_tickets = TICKETS;
        config.max_early_data_size = EARLY_DATA;
        Self::build(config, self.clock.clone())
    }

    fn build(config: ServerConfig, clock: CallClock) -> Result<Self, TlsError> {
        let config = Arc::new(config);
        let crypto = QuicServerConfig::try_from(Arc::clone(&config)).map_err(no_initial_suite)?;
        Ok(Self { config, crypto: Arc::new(crypto), clock })
    }
}

/// By what a client knows its server, where neither name nor dates nor a chain say it.
pub trait Known: fmt::Debug + Send + Sync + 'static {
    /// Whether this is the certificate of one that is known. That whoever shows it holds its key is proven by the handshake's
    /// signature, as always.
    ///
    /// # Errors
    /// It can't be read.
    fn knows(&self, certificate: &CertificateDer<'_>) -> Result<bool, Error>;

    /// The signatures that the client says it checks, of those it could.
    fn schemes(&self, all: Vec<SignatureScheme>) -> Vec<SignatureScheme> {
        all
    }
}

/// Accepts whom `known` knows, over TLS 1.3.
pub fn verifier(known: impl Known, provider: Arc<CryptoProvider>) -> Arc<dyn ServerCertVerifier> {
    Arc::new(Verifier { known, provider })
}

impl Known for Vec<Pin> {
    fn knows(&self, certificate: &CertificateDer<'_>) -> Result<bool, Error> {
        let shown = Pin::parse(certificate)?;
        // Every pin is compared, in constant time.
        let known = self.iter().fold(subtle::Choice::from(0), |known, pin| known | pin.0.ct_eq(&shown.0));
        Ok(known.into())
    }
}

struct Verifier<K> {
    known: K,
    provider: Arc<CryptoProvider>,
}

impl<K: Known> fmt::Debug for Verifier<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("known", &self.known).finish_non_exhaustive()
    }
}

impl<K: Known> ServerCertVerifier for Verifier<K> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.known.knows(end_entity)? {
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
        let algorithms = &self.provider.signature_verification_algorithms;
        //= spec: quic-4
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.known.schemes(self.provider.signature_verification_algorithms.supported_schemes())
    }
}
