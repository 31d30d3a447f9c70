//! The certificate that browsers and other strangers are shown, beside the one that native clients pin.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::SignatureScheme;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::{ALPN, ServerTls, TlsError};

/// A certificate that may be exchanged while connections come in: each handshake shows the one of that moment. Clones
/// share it. It serves HTTPS over TCP as well: it is a [`ResolvesServerCert`].
#[derive(Clone)]
pub struct WebCertificate {
    shown: Arc<Mutex<Arc<CertifiedKey>>>,
    native: Option<Arc<dyn ResolvesServerCert>>,
}

impl fmt::Debug for WebCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebCertificate").finish_non_exhaustive()
    }
}

impl WebCertificate {
    /// Shows `chain` (leaf first) and proves `key`.
    ///
    /// # Errors
    /// The key is not the certificate's or of an unknown kind.
    pub fn new(
        provider: &CryptoProvider,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, TlsError> {
        let key = Arc::new(CertifiedKey::from_der(chain, key, provider)?);
        Ok(Self { shown: Arc::new(Mutex::new(key)), native: None })
    }

    /// Shows the certificate of `native`, which native clients pin, to those of them that ask by HTTPS: they check nothing but Ed25519,
    /// which no browser does.
    #[must_use]
    pub fn beside(self, native: &ServerTls) -> Self {
        Self { native: Some(native.resolver()), ..self }
    }

    /// Shows another one from here on. Connections that are up do not notice.
    ///
    /// # Errors
    /// As [`new`](Self::new); the one before it stays.
    pub fn replace(
        &self,
        provider: &CryptoProvider,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<(), TlsError> {
        let key = Arc::new(CertifiedKey::from_der(chain, key, provider)?);
        *self.lock() = key;
        Ok(())
    }

    /// SHA-256 of the certificate that is shown now: what a page gives as `serverCertificateHashes`.
    #[must_use]
    pub fn hash(&self) -> Option<[u8; 32]> {
        let key = Arc::clone(&self.lock());
        let digest = ring::digest::digest(&ring::digest::SHA256, key.cert.first()?.as_ref());
        digest.as_ref().try_into().ok()
    }

    fn lock(&self) -> MutexGuard<'_, Arc<CertifiedKey>> {
        // Poisoned means a panic elsewhere; every change here is a single step.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for WebCertificate {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match &self.native {
            Some(native) if pins(&hello) => native.resolve(hello),
            _ => Some(Arc::clone(&self.lock())),
        }
    }
}

/// Whether it is a native client that pins our key: it checks Ed25519 and nothing else.
fn pins(hello: &ClientHello<'_>) -> bool {
    matches!(hello.signature_schemes(), [SignatureScheme::ED25519])
}

/// Whoever offers our protocol gets it, and with it the pinned certificate, and so does who can check no other; everybody else gets the other one.
#[derive(Debug)]
pub(crate) struct ByProtocol {
    pub(crate) native: Arc<dyn ResolvesServerCert>,
    pub(crate) web: WebCertificate,
}

impl ResolvesServerCert for ByProtocol {
    //= spec: quic-11
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let native = hello.alpn().is_some_and(|mut offered| offered.any(|name| name == ALPN));
        if native || pins(&hello) { self.native.resolve(hello) } else { self.web.resolve(hello) }
    }
}
