//! The systems under test.

pub mod ours;
pub mod quinn_peer;
pub mod sealed;

use std::time::Duration;

/// What to send.
#[derive(Clone, Copy)]
pub enum Load {
    /// Messages in one direction, some a write; the receiver counts.
    OneWay { messages: usize, a_write: usize },
    /// Messages that come back, so many on their way at once.
    Echo { messages: usize, window: usize },
}

impl Load {
    pub fn messages(self) -> usize {
        match self {
            Self::OneWay { messages, .. } | Self::Echo { messages, .. } => messages,
        }
    }
}

/// What came of it.
pub struct Outcome {
    pub messages: usize,
    pub elapsed: Duration,
    /// Sorted; of a ping-pong alone.
    pub round_trips: Vec<Duration>,
}

/// A certificate and its key, the same kind for both.
pub fn identity() -> (rustls::pki_types::CertificateDer<'static>, rustls::pki_types::PrivateKeyDer<'static>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
    let der = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    (cert.der().clone(), der.into())
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
