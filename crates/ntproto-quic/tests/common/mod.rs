//! Endpoints on a virtual network: one clock, one ordered queue of datagrams, faults from a seed.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ntproto_core::rng::Rng;
use ntproto_core::time::{Instant, Now, UnixMillis};
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::Channel;
use ntproto_quic::tls::default_provider;
use ntproto_quic::{
    ALPN, ClientTls, ConnId, Endpoint, EndpointConfig, Event, Input, Limits, Output, Received, ServerTls,
    TX_LIMIT, Trust,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// 2026-06-01, inside the validity of the certificates made here.
pub const UNIX: u64 = 1_780_272_000_000;
pub const NAME: &str = "server.test";

pub struct Pki {
    pub root: CertificateDer<'static>,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

pub struct Identity {
    pub cert: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Identity {
    pub fn tls(&self, alpn: &[&[u8]]) -> ServerTls {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        ServerTls::new(default_provider(), vec![self.cert.clone()], key, alpn).unwrap()
    }
}

pub fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(|| {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "the test's root");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Pki { root: issuer.der().clone(), issuer }
    })
}

impl Pki {
    /// A certificate for `name`, valid in these years.
    pub fn issue(&self, name: &str, from: i32, to: i32) -> Identity {
        let mut params = CertificateParams::new(vec![name.into()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Identity { cert: cert.der().clone(), key: key.serialize_der() }
    }

    pub fn trust(&self) -> Trust {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        Trust::Roots(Arc::new(roots))
    }
}

pub fn self_signed(name: &str) -> Identity {
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec![name.into()]).unwrap().self_signed(&key).unwrap();
    Identity { cert: cert.der().clone(), key: key.serialize_der() }
}

pub fn identity() -> &'static Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY.get_or_init(|| pki().issue(NAME, 2020, 2040))
}

pub fn client_tls() -> ClientTls {
    static TLS: OnceLock<ClientTls> = OnceLock::new();
    TLS.get_or_init(|| ClientTls::new(default_provider(), pki().trust(), &[ALPN]).unwrap()).clone()
}

pub fn server_config() -> EndpointConfig {
    static TLS: OnceLock<ServerTls> = OnceLock::new();
    EndpointConfig::server(TLS.get_or_init(|| identity().tls(&[ALPN])).clone())
}

/// What the network does to a datagram.
#[derive(Clone, Copy)]
pub struct Link {
    pub delay: Duration,
    pub jitter: Duration,
    /// Of 100 datagrams.
    pub loss: u64,
    pub duplicate: u64,
}

impl Default for Link {
    fn default() -> Self {
        Self { delay: Duration::from_millis(10), jitter: Duration::ZERO, loss: 0, duplicate: 0 }
    }
}

pub struct Peer {
    pub endpoint: Endpoint,
    pub addr: SocketAddr,
    pub tx: TxBuf,
    pub events: VecDeque<Event>,
    /// Whether its socket is full.
    pub full: bool,
    pub wake: Option<Instant>,
}

pub type Filter = Box<dyn FnMut(usize, &[u8]) -> bool>;

pub struct World {
    pub base: std::time::Instant,
    pub at: u64,
    pub peers: Vec<Peer>,
    pub link: Link,
    pub rng: Rng,
    queue: BTreeMap<(u64, u64), (usize, SocketAddr, Vec<u8>)>,
    sent: u64,
    /// Decides whether a datagram from this peer passes.
    pub filter: Option<Filter>,
    pub datagrams: u64,
    pub largest_batch: usize,
}

impl World {
    pub fn new(seed: u8, link: Link) -> Self {
        Self {
            base: std::time::Instant::now(),
            at: 1_000_000,
            peers: Vec::new(),
            link,
            rng: Rng::new([seed; 32]),
            queue: BTreeMap::new(),
            sent: 0,
            filter: None,
            datagrams: 0,
            largest_batch: 0,
        }
    }

    /// A server at 0 and a client at 1.
    pub fn pair(seed: u8, link: Link) -> Self {
        let mut world = Self::new(seed, link);
        world.add(server_config());
        world.add(EndpointConfig::client());
        world
    }

    pub fn add(&mut self, config: EndpointConfig) -> usize {
        let no = self.peers.len();
        let addr = SocketAddr::from(([10, 0, (no >> 8) as u8, no as u8], 4433));
        let endpoint = Endpoint::new(config, self.base, self.rng.array());
        let tx = TxBuf::new(TX_LIMIT);
        self.peers.push(Peer { endpoint, addr, tx, events: VecDeque::new(), full: false, wake: None });
        no
    }

    pub fn now(&self) -> Now {
        Now { mono: Instant::from_micros(self.at), unix: UnixMillis(UNIX + self.at / 1000) }
    }

    pub fn connect(&mut self, from: usize, to: usize, tls: &ClientTls, name: &str) -> ConnId {
        let (now, remote) = (self.now(), self.peers[to].addr);
        self.peers[from].endpoint.connect(now, tls, remote, name).unwrap()
    }

    /// Connects the pair and gives (server's, client's) connection.
    pub fn connected(&mut self) -> (ConnId, ConnId) {
        let client = self.connect(1, 0, &client_tls(), NAME);
        assert!(self.run_until(|w| w.has_connected(0) && w.has_connected(1)), "no connection");
        let server = self.take_connected(0);
        assert_eq!(self.take_connected(1), client);
        (server, client)
    }

    pub fn has_connected(&self, peer: usize) -> bool {
        self.peers[peer].events.iter().any(|e| matches!(e, Event::Connected { .. }))
    }

    pub fn take_connected(&mut self, peer: usize) -> ConnId {
        match self.peers[peer].events.pop_front() {
            Some(Event::Connected { conn, alpn, .. }) => {
                assert_eq!(alpn, ALPN);
                conn
            }
            other => panic!("no Connected but {other:?}"),
        }
    }

    pub fn closed(&self, peer: usize) -> Vec<&Event> {
        self.peers[peer].events.iter().filter(|e| matches!(e, Event::Closed { .. })).collect()
    }

    pub fn send(&mut self, from: usize, to: SocketAddr, data: &[u8]) {
        self.datagrams += 1;
        if self.filter.as_mut().is_some_and(|pass| !pass(from, data)) {
            return;
        }
        let copies = u64::from(self.rng.below(100) < self.link.duplicate) + 1;
        for _ in 0..copies {
            if self.rng.below(100) < self.link.loss {
                continue;
            }
            let jitter = self.rng.below(self.link.jitter.as_micros() as u64 + 1);
            let at = self.at + self.link.delay.as_micros() as u64 + jitter;
            let Some(peer) = self.peers.iter().position(|p| p.addr == to) else { continue };
            self.sent += 1;
            self.queue.insert((at, self.sent), (peer, self.peers[from].addr, data.to_vec()));
        }
    }

    /// Polls one peer until it waits.
    pub fn drain(&mut self, no: usize) {
        let now = self.now();
        loop {
            let peer = &mut self.peers[no];
            let tx = if peer.full { None } else { Some(&mut peer.tx) };
            match peer.endpoint.poll_output(now, tx) {
                Output::Transmit(t) => {
                    let bytes = peer.tx.as_slice().to_vec();
                    assert_eq!(bytes.len(), t.len);
                    let chunks: Vec<&[u8]> = bytes.chunks(t.segment_size.unwrap_or(t.len)).collect();
                    self.largest_batch = self.largest_batch.max(chunks.len());
                    for chunk in chunks {
                        self.send(no, t.remote, chunk);
                    }
                }
                Output::Event(event) => peer.events.push_back(event),
                Output::Wait { at, .. } => {
                    peer.wake = if peer.full { at.filter(|at| *at > now.mono) } else { at };
                    break;
                }
            }
        }
    }

    pub fn drain_all(&mut self) {
        (0..self.peers.len()).for_each(|no| self.drain(no));
    }

    /// Goes on to the next datagram or deadline; `false` when there is none before `until`.
    pub fn step(&mut self, until: u64) -> bool {
        let wake = self.peers.iter().filter_map(|p| p.wake).map(Instant::as_micros).min();
        let next = self.queue.keys().next().map(|(at, _)| *at).into_iter().chain(wake).min();
        let Some(next) = next.filter(|next| *next <= until) else {
            self.at = until;
            return false;
        };
        self.at = self.at.max(next);
        let now = self.now();
        let mut touched = Vec::new();
        while let Some(entry) = self.queue.first_entry().filter(|e| e.key().0 <= self.at) {
            let (no, remote, data) = entry.remove();
            self.peers[no].endpoint.handle(now, Input::Datagram(Received::one(remote, &data)));
            touched.push(no);
        }
        for (no, peer) in self.peers.iter_mut().enumerate() {
            if peer.wake.is_some_and(|at| at <= now.mono) {
                peer.endpoint.handle(now, Input::Timeout);
                touched.push(no);
            }
        }
        touched.sort_unstable();
        touched.dedup();
        touched.into_iter().for_each(|no| self.drain(no));
        true
    }

    /// Runs for so long.
    pub fn run_for(&mut self, time: Duration) {
        let until = self.at + time.as_micros() as u64;
        self.drain_all();
        while self.step(until) {}
    }

    /// Runs until `done`, at most 120 virtual seconds.
    pub fn run_until(&mut self, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let until = self.at + 120_000_000;
        self.drain_all();
        loop {
            if done(self) {
                return true;
            }
            self.drain_all();
            if !self.step(until) {
                return done(self);
            }
        }
    }

    pub fn write(&mut self, peer: usize, conn: ConnId, channel: Channel, data: &[u8]) -> usize {
        let now = self.now();
        self.peers[peer].endpoint.with(now, conn, |c| c.write(channel, data)).unwrap_or(0)
    }

    pub fn read(&mut self, peer: usize, conn: ConnId, channel: Channel) -> Vec<u8> {
        let now = self.now();
        let mut out = Vec::new();
        self.peers[peer].endpoint.with(now, conn, |c| {
            while let Some(bytes) = c.read(channel, 4096) {
                out.extend_from_slice(&bytes);
            }
        });
        out
    }

    pub fn close(&mut self, peer: usize, conn: ConnId, code: u32) {
        let now = self.now();
        self.peers[peer].endpoint.with(now, conn, |c| c.close(code, b"bye")).unwrap();
    }
}

pub fn small_limits() -> Limits {
    Limits { retry_above: 4, max_half_open: 8, max_connections: 16, ..Limits::default() }
}
