//! Real TLS whose every random byte comes from a run's seed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::crypto::secret::Secret;
use ntproto_core::crypto::{AgreementKey, CryptoProvider as _};
use ntproto_core::rng::Rng;
use ntproto_quic::tls::default_provider;
use ntproto_quic::{ALPN, ClientSessions, ClientTls, Pin, ServerTls, SessionMemory, Trust};
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret, SupportedKxGroup,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::StoresServerSessions;
use rustls::{Error, NamedGroup, PeerMisbehaved};

use crate::ledger::Check;

/// The server's certificate: Ed25519, self-signed, good for a hundred years.
const LEAF: &[u8] = include_bytes!("leaf.der");
/// PKCS #8 around the seed of an Ed25519 key.
const KEY_HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
/// The certificate's key. It guards nothing.
const KEY_SEED: &[u8; 32] = b"the simulator trusts this key!!!";

/// Randomness of a simulator. It lives as long as the program, because rustls holds it for that long.
struct Seeded(Mutex<Rng>);

impl Seeded {
    fn rng(&self) -> MutexGuard<'_, Rng> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Seeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seeded")
    }
}

impl SecureRandom for Seeded {
    fn fill(&self, buf: &mut [u8]) -> Result<(), GetRandomFailed> {
        self.rng().fill(buf);
        Ok(())
    }
}

/// X25519 with secrets from the seed: ring takes its own from the operating system.
#[derive(Debug)]
struct X25519(&'static Seeded);

impl SupportedKxGroup for X25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let key = RUSTCRYPTO.x25519(&Secret::new(self.0.rng().array()));
        Ok(Box::new(Exchange { public: key.public(), key }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

struct Exchange {
    key: Box<dyn AgreementKey>,
    public: [u8; 32],
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let wrong = || Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare);
        let peer = peer.try_into().map_err(|_| wrong())?;
        let shared = self.key.agree(peer).map_err(|_| wrong())?;
        Ok(SharedSecret::from(&shared.expose()[..]))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

/// TLS sessions that a server gives out as often as it is asked, and does not forget when it is started anew: the
/// worst there can be for early data.
#[derive(Debug, Default)]
struct NeverForgets(Mutex<BTreeMap<Vec<u8>, Vec<u8>>>);

impl NeverForgets {
    fn sessions(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoresServerSessions for NeverForgets {
    fn put(&self, id: Vec<u8>, session: Vec<u8>) -> bool {
        self.sessions().insert(id, session);
        true
    }

    fn get(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.sessions().get(id).cloned()
    }

    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.get(id)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// What a run's servers remember of TLS sessions.
pub(crate) enum Sessions {
    /// Each server its own.
    Own,
    /// All of them the same, for ever.
    Forever(Arc<dyn StoresServerSessions>),
}

impl Sessions {
    /// Forever in every second seed.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        if rng.below(2) == 0 { Self::Own } else { Self::Forever(Arc::new(NeverForgets::default())) }
    }
}

/// Both sides of TLS, and the randomness they share.
#[derive(Clone)]
pub(crate) struct Tls {
    random: &'static Seeded,
    client: ClientTls,
    server: ServerTls,
}

impl Tls {
    /// Keeps a few hundred bytes for as long as the program runs.
    pub(crate) fn leak() -> Check<Self> {
        let random: &'static Seeded = Box::leak(Box::new(Seeded(Mutex::new(Rng::new([0; 32])))));
        let group: &'static X25519 = Box::leak(Box::new(X25519(random)));
        let ring = default_provider();
        let provider = Arc::new(CryptoProvider {
            cipher_suites: ring.cipher_suites.clone(),
            kx_groups: vec![group],
            signature_verification_algorithms: ring.signature_verification_algorithms,
            secure_random: random,
            key_provider: ring.key_provider,
        });
        let leaf = CertificateDer::from(LEAF);
        let key = PrivatePkcs8KeyDer::from([&KEY_HEAD[..], KEY_SEED].concat());
        let pin = Pin::of(&leaf).map_err(|e| e.to_string())?;
        let client = ClientTls::new(Arc::clone(&provider), Trust::Pinned(vec![pin]), &[ALPN]);
        let server = ServerTls::new(provider, vec![leaf], PrivateKeyDer::Pkcs8(key), &[ALPN]);
        Ok(Self {
            random,
            client: client.map_err(|e| e.to_string())?,
            server: server.map_err(|e| e.to_string())?,
        })
    }

    /// A device's side, with a memory of its own.
    pub(crate) fn of_device(&self) -> ClientTls {
        let tls = self.client.with_sessions(Arc::new(ClientSessions::default()));
        tls.unwrap_or_else(|_| self.client.clone())
    }

    /// A server's side.
    pub(crate) fn of_server(&self, sessions: &Sessions) -> ServerTls {
        let tls = self.server.with_sessions(match sessions {
            Sessions::Own => Arc::new(SessionMemory::default()),
            Sessions::Forever(sessions) => Arc::clone(sessions),
        });
        tls.unwrap_or_else(|_| self.server.clone())
    }

    /// From now on it is the randomness of this seed.
    pub(crate) fn reset(&self, rng: Rng) {
        *self.random.rng() = rng;
    }
}
