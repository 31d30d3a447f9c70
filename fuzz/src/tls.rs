//! One certificate for all runs of a target: making one takes longer than a run.

use std::sync::OnceLock;

use ntproto_quic::tls::default_provider;
use ntproto_quic::{ALPN, ClientTls, Pin, ServerTls, Trust};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Both sides of it.
pub struct Tls {
    /// Who shows it.
    pub server: ServerTls,
    /// Who pins it.
    pub client: ClientTls,
}

/// The pair.
pub fn tls() -> &'static Tls {
    static TLS: OnceLock<Tls> = OnceLock::new();
    TLS.get_or_init(|| {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["fuzz.test".into()]).expect("a name");
        let cert = params.self_signed(&key).expect("a certificate").der().clone();
        let pin = Pin::of(&cert).expect("a pin");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let server = ServerTls::new(default_provider(), vec![cert], key, &[ALPN]).expect("a server");
        let client = ClientTls::new(default_provider(), Trust::Pinned(vec![pin]), &[ALPN]).expect("a client");
        Tls { server, client }
    })
}
