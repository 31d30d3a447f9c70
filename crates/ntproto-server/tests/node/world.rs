//! A node and its clients on a virtual network: one clock, one ordered queue, no sockets, no threads.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use ntproto_core::client::{ClientConfig, ClientEvent, Command as Call, Credential, RequestId, SendAction};
use ntproto_core::code::ErrorCode;
use ntproto_core::crypto::CryptoProvider as _;
use ntproto_core::crypto::identity::{DeviceKeys, ServerKey, ServerKeys};
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::ids::{ConversationId, Uin};
use ntproto_core::rng::Rng;
use ntproto_core::session::ticket::{TicketKey, TicketSealer};
use ntproto_core::time::{Instant, Now, UnixMillis};
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::packet::PacketId;
use ntproto_hub::store::memory::MemoryStore as ServerStore;
use ntproto_hub::store::{OpId, Outcome, Store as _, StoreError, Txn};
use ntproto_hub::{Hub, HubConfig, HubEvent, HubKeys};
use ntproto_net::tcp::gate::TcpLimits;
use ntproto_net::{Endpoint, Machine, Step, WebConfig};
use ntproto_quic::tls::default_provider;
use ntproto_quic::{
    ALPN, ClientSessions, ClientTls, EndpointConfig, H3, Pin, Received, ResetKey, ServerTls, SessionMemory,
    TX_LIMIT, Trust, WebCertificate,
};
use ntproto_sdk::driver::{self, CallId, Driver, Server, Transports};
use ntproto_sdk::store::{ClientStore as _, MemoryStore};
use ntproto_server::node::{self, Effect, Node, NodeEvent};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::StoresServerSessions;

use crate::web::Page;

/// 2026-06-01.
const UNIX: u64 = 1_780_272_000_000;
pub const DELAY: u64 = 5_000;
/// What an fsync takes.
pub const COMMIT: u64 = 2_000;

struct Tls {
    cert: CertificateDer<'static>,
    key: Vec<u8>,
}

fn tls() -> &'static Tls {
    static TLS: OnceLock<Tls> = OnceLock::new();
    TLS.get_or_init(|| {
        let key = rcgen::KeyPair::generate().unwrap();
        let cert =
            rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
        Tls { cert: cert.der().clone(), key: key.serialize_der() }
    })
}

/// A client's TLS, with a memory of its own.
fn client_tls() -> ClientTls {
    let trust = Trust::Pinned(vec![Pin::of(&tls().cert).unwrap()]);
    let tls = ClientTls::new(default_provider(), trust, &[ALPN]).unwrap();
    tls.with_sessions(Arc::new(ClientSessions::default())).unwrap()
}

/// The certificate of pages.
fn web() -> &'static (WebCertificate, Pin) {
    static WEB: OnceLock<(WebCertificate, Pin)> = OnceLock::new();
    WEB.get_or_init(|| {
        let key = rcgen::KeyPair::generate().unwrap();
        let cert =
            rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let web = WebCertificate::new(&default_provider(), vec![cert.der().clone()], der).unwrap();
        (web, Pin::of(cert.der()).unwrap())
    })
}

/// A page's number among the peers of the network.
const PAGES: usize = 1000;

enum Job {
    /// To a peer (0 is the server), from an address.
    Datagram(usize, SocketAddr, Vec<u8>),
    Commit,
}

pub struct ServerSide {
    pub node: Option<Node>,
    pub store: ServerStore,
    pub ended: bool,
    pub events: Vec<HubEvent>,
    pub opened: usize,
    pub down: usize,
    pub in_store: Vec<(OpId, Txn)>,
    /// Transactions are kept waiting.
    pub hold: bool,
    pub tickets: Option<(TicketKey, Option<TicketKey>)>,
    pub commits: usize,
    wake: Option<Instant>,
    committing: bool,
    addr: SocketAddr,
    starts: u8,
}

pub struct Peer {
    pub driver: Option<Driver>,
    pub store: MemoryStore,
    pub events: Vec<ClientEvent>,
    pub calls: BTreeMap<u64, RequestId>,
    keys: DeviceKeys,
    enrol: Option<Credential>,
    wake: Option<Instant>,
    pub addr: SocketAddr,
    last_call: u64,
    uin: Option<Uin>,
    /// It outlives the process, so that a client that is started again resumes its TLS session.
    pub tls: ClientTls,
}

pub struct World {
    base: std::time::Instant,
    pub at: u64,
    pub server: ServerSide,
    pub peers: Vec<Peer>,
    pub pages: Vec<Page>,
    pub config: HubConfig,
    /// Of 100 datagrams.
    pub loss: u64,
    pub cut: bool,
    /// TLS sessions that outlive the server's process; else each has its own.
    pub sessions: Option<Arc<dyn StoresServerSessions>>,
    /// What clients sent, by where from, while it is set.
    pub tap: Option<Vec<(SocketAddr, Vec<u8>)>>,
    rng: Rng,
    jobs: BTreeMap<(u64, u64), Job>,
    count: u64,
    tx: TxBuf,
    server_secret: [u8; 32],
}

impl World {
    pub fn new(seed: u8) -> Self {
        let mut rng = Rng::new([seed; 32]);
        let addr = SocketAddr::from(([10, 0, 0, 0], 7424));
        let server_secret = rng.array();
        let mut world = Self {
            base: std::time::Instant::now(),
            at: 1_000_000,
            server: ServerSide {
                node: None,
                store: ServerStore::new(),
                ended: false,
                events: Vec::new(),
                opened: 0,
                down: 0,
                in_store: Vec::new(),
                hold: false,
                tickets: None,
                commits: 0,
                wake: None,
                committing: false,
                addr,
                starts: 0,
            },
            peers: Vec::new(),
            pages: Vec::new(),
            config: HubConfig::default(),
            loss: 0,
            cut: false,
            sessions: None,
            tap: None,
            rng,
            jobs: BTreeMap::new(),
            count: 0,
            tx: TxBuf::new(TX_LIMIT),
            server_secret,
        };
        world.start_server();
        world
    }

    pub fn now(&self) -> Now {
        Now { mono: Instant::from_micros(self.at), unix: UnixMillis(UNIX + self.at / 1000) }
    }

    fn server_key(&self) -> ServerKey {
        ServerKey::from_secret(&RUSTCRYPTO, ntproto_core::crypto::secret::Secret::new(self.server_secret), 1)
    }

    pub fn start_server(&mut self) {
        let now = self.now();
        self.server.starts += 1;
        let boot = match self.commit_one(Txn::Boot { wall: now.unix, epoch: [self.server.starts; 16] }) {
            Ok(Outcome::Booted(boot)) => boot,
            other => panic!("{other:?}"),
        };
        let (current, previous) = match &self.server.tickets {
            Some((current, previous)) => (copy(current), previous.as_ref().map(copy)),
            None => (
                TicketKey::from_parts(1, boot.clock, ntproto_core::crypto::secret::Secret::new([3; 32])),
                None,
            ),
        };
        let keys = HubKeys {
            provider: &RUSTCRYPTO,
            server: Arc::new(ServerKeys::new(self.server_key(), None)),
            tickets: TicketSealer::new(&RUSTCRYPTO, current, previous),
        };
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(tls().key.clone()));
        let server_tls = ServerTls::new(default_provider(), vec![tls().cert.clone()], der, &[ALPN]).unwrap();
        let sessions = self.sessions.clone().unwrap_or_else(|| Arc::new(SessionMemory::default()));
        let server_tls = server_tls.with_web(web().0.clone()).unwrap().with_sessions(sessions).unwrap();
        let config =
            EndpointConfig { reset_key: Some(ResetKey::new(&[9; 32])), ..EndpointConfig::server(server_tls) };
        let hub = Hub::new(self.config, &boot, keys, self.rng.array(), now);
        let mut net = Endpoint::new(config, TcpLimits::default(), self.base, self.rng.array());
        net.serve_web(WebConfig { hosts: vec!["localhost".into()], ..WebConfig::default() });
        let node = Node::new(net, hub);
        self.server.node = Some(node);
        self.server.ended = false;
    }

    /// The power goes: what was not committed is gone.
    pub fn kill_server(&mut self) {
        self.server.node = None;
        self.server.in_store.clear();
        self.server.committing = false;
        self.server.store.crash(false);
        self.jobs.retain(|_, job| matches!(job, Job::Datagram(..)));
    }

    fn commit_one(&mut self, txn: Txn) -> Result<Outcome, StoreError> {
        self.server.store.commit(&[txn]).pop().unwrap()
    }

    /// An invitation by the operator.
    pub fn invitation(&mut self, code: u8) -> Credential {
        let code = [code; 16];
        let expires = UnixMillis(self.now().unix.0 + 3_600_000);
        let code_hash = RUSTCRYPTO.sha256(&[&code]);
        self.commit_one(Txn::CreateInvitation {
            by: None,
            code_hash,
            uses: 1,
            expires,
            may_invite: true,
            admin: false,
            account: None,
            audit: None,
        })
        .unwrap();
        Credential::Invitation(code)
    }

    pub fn add(&mut self, enrol: Option<Credential>) -> usize {
        let keys = DeviceKeys::generate(&mut self.rng, &RUSTCRYPTO);
        let addr = SocketAddr::from(([10, 0, 1, self.peers.len() as u8], 4000));
        self.peers.push(Peer {
            driver: None,
            store: MemoryStore::new(),
            events: Vec::new(),
            calls: BTreeMap::new(),
            keys,
            enrol,
            wake: None,
            addr,
            last_call: 0,
            uin: None,
            tls: client_tls(),
        });
        let no = self.peers.len() - 1;
        self.start_peer(no);
        no
    }

    /// A browser opens a page.
    pub fn page(&mut self, enrol: Credential) -> usize {
        let tls = ClientTls::new(default_provider(), Trust::Pinned(vec![web().1]), &[H3]).unwrap();
        let addr = SocketAddr::from(([10, 0, 2, self.pages.len() as u8], 4000));
        let (now, to, key) = (self.now(), self.server.addr, *self.server_key().public());
        self.pages.push(Page::new(now, self.base, &mut self.rng, (addr, to), (tls, key), enrol));
        self.pages.len() - 1
    }

    /// Starts a client on what its store holds.
    pub fn start_peer(&mut self, no: usize) {
        let now = self.now();
        let server = Server {
            host: "10.0.0.0".into(),
            port: 7424,
            tcp: None,
            addresses: vec![self.server.addr],
            tls: self.peers[no].tls.clone(),
            pins: Vec::new(),
            static_key: *self.server_key().public(),
            since: UnixMillis(0),
            operator_key: [0; 32],
            transports: Transports::RequireQuic,
            speaks_first: false,
            quic: EndpointConfig::client(),
        };
        let (base, seed) = (self.base, self.rng.array());
        let peer = &mut self.peers[no];
        let mut config = ClientConfig::new(&RUSTCRYPTO, server.static_key, peer.keys.duplicate());
        config.enrol = peer.enrol.clone();
        let saved = peer.store.load_all().unwrap();
        peer.driver = Some(Driver::new(config, server, saved, base, seed, now));
        self.call(no, Call::Start);
    }

    /// A second client with the same device, as if its folder was copied.
    pub fn twin(&mut self, of: usize) -> usize {
        let no = self.add(None);
        self.peers[no].keys = self.peers[of].keys.duplicate();
        self.peers[no].store = self.peers[of].store.clone();
        self.start_peer(no);
        no
    }

    pub fn call(&mut self, no: usize, call: Call) -> u64 {
        let now = self.now();
        let peer = &mut self.peers[no];
        peer.last_call += 1;
        let id = peer.last_call;
        if let Some(driver) = &mut peer.driver {
            driver.command(now, driver::Command::Call(CallId(id), call));
        }
        id
    }

    pub fn uin(&self, no: usize) -> Uin {
        self.peers[no].uin.unwrap()
    }

    pub fn send(&mut self, from: usize, to: usize, body: &[u8]) {
        let conversation = ConversationId::direct(self.uin(from), self.uin(to));
        let body = Bytes::copy_from_slice(body);
        self.call(
            from,
            Call::Send {
                trace: None,
                conversation,
                client_msg_id: None,
                body,
                deadline: None,
                action: SendAction::Message,
            },
        );
    }

    pub fn send_to(&mut self, from: usize, to: Uin, body: &'static [u8]) {
        let conversation = ConversationId::direct(self.uin(from), to);
        let (body, action) = (Bytes::from_static(body), SendAction::Message);
        self.call(
            from,
            Call::Send { trace: None, conversation, client_msg_id: None, body, deadline: None, action },
        );
    }

    pub fn request(&mut self, from: usize, packet: PacketId, body: impl prost::Message) {
        self.call(
            from,
            Call::Request { packet, body: body.encode_to_vec().into(), deadline: None, trace: None },
        );
    }

    /// Hostile bytes from somewhere.
    pub fn inject(&mut self, from: SocketAddr, data: Vec<u8>) {
        self.put(DELAY, Job::Datagram(0, from, data));
    }

    fn put(&mut self, after: u64, job: Job) {
        self.count += 1;
        self.jobs.insert((self.at + after, self.count), job);
    }

    fn network(&mut self, from: SocketAddr, to: SocketAddr, data: &[u8]) {
        if self.cut || self.rng.below(100) < self.loss {
            return;
        }
        if let Some(tap) = self.tap.as_mut().filter(|_| to == self.server.addr) {
            tap.push((from, data.to_vec()));
        }
        let peer = match self.peers.iter().position(|p| p.addr == to) {
            Some(no) => no + 1,
            None if to == self.server.addr => 0,
            None => match self.pages.iter().position(|p| p.addr == to) {
                Some(no) => PAGES + no,
                None => return,
            },
        };
        self.put(DELAY, Job::Datagram(peer, from, data.to_vec()));
    }

    fn drain_server(&mut self) {
        let now = self.now();
        let from = self.server.addr;
        while let Some(node) = &mut self.server.node {
            match node.poll(now, Some(&mut self.tx)) {
                Step::Transmit(t) => self.transmit(from, t),
                Step::Stream(..) => panic!("nobody here speaks TCP"),
                Step::Effect(Effect::Store { op, txn, .. }) => {
                    self.server.in_store.push((op, txn));
                    if !self.server.committing {
                        self.server.committing = true;
                        self.put(COMMIT, Job::Commit);
                    }
                }
                Step::Effect(Effect::TicketKeys { current, previous }) => {
                    self.server.tickets = Some((current, previous));
                }
                Step::Effect(
                    Effect::Asks(_)
                    | Effect::Host(_)
                    | Effect::Abandoned(_)
                    | Effect::Bearer { .. }
                    | Effect::Http(..),
                ) => {
                    panic!("nothing here asks for this")
                }
                Step::Effect(Effect::Counted(_) | Effect::Event(NodeEvent::Rtt(_))) => {}
                Step::Effect(Effect::Event(NodeEvent::Hub(event))) => self.server.events.push(event),
                Step::Effect(Effect::Event(NodeEvent::Opened { .. })) => self.server.opened += 1,
                Step::Effect(Effect::Event(NodeEvent::Down { .. })) => self.server.down += 1,
                Step::Wait(at) => {
                    self.server.wake = at;
                    return;
                }
                Step::Done => {
                    self.server.ended = true;
                    self.server.node = None;
                }
            }
        }
    }

    fn drain_peer(&mut self, no: usize) {
        let now = self.now();
        loop {
            let peer = &mut self.peers[no];
            let Some(driver) = &mut peer.driver else { return };
            let from = peer.addr;
            match driver.poll(now, Some(&mut self.tx)) {
                Step::Transmit(t) => self.transmit(from, t),
                Step::Stream(..) => panic!("nobody here speaks TCP"),
                Step::Effect(driver::Effect::Called(id, result)) => {
                    peer.calls.insert(id.0, result.unwrap());
                }
                Step::Effect(driver::Effect::Store(op, txn)) => {
                    let result = peer.store.commit(&[txn]);
                    driver.command(now, driver::Command::StoreDone(vec![op], result));
                }
                Step::Effect(driver::Effect::Resolve { .. }) => panic!("the address is known"),
                Step::Effect(driver::Effect::Bootstrap(_)) => panic!("nobody said that it can"),
                Step::Effect(
                    driver::Effect::Reached
                    | driver::Effect::HttpToken(..)
                    | driver::Effect::Learned(_)
                    | driver::Effect::Lost(_),
                ) => {}
                Step::Effect(driver::Effect::Event(event)) => {
                    if let ClientEvent::Online { uin, .. } = event {
                        peer.uin = Some(uin);
                    }
                    peer.events.push(event);
                }
                Step::Wait(at) => {
                    peer.wake = at;
                    return;
                }
                Step::Done => peer.driver = None,
            }
        }
    }

    fn transmit(&mut self, from: SocketAddr, t: ntproto_quic::Transmit) {
        let bytes = self.tx.as_slice()[..t.len].to_vec();
        for datagram in bytes.chunks(t.segment_size.unwrap_or(t.len)) {
            self.network(from, t.remote, datagram);
        }
    }

    fn drain_all(&mut self) {
        self.drain_server();
        (0..self.peers.len()).for_each(|no| self.drain_peer(no));
        for no in 0..self.pages.len() {
            let (now, to) = (self.now(), self.server.addr);
            let (from, datagrams) = (self.pages[no].addr, self.pages[no].drain(now));
            datagrams.iter().for_each(|data| self.network(from, to, data));
        }
    }

    fn commit(&mut self) {
        if self.server.hold {
            self.put(COMMIT, Job::Commit);
            return;
        }
        self.server.committing = false;
        let (ops, txns): (Vec<_>, Vec<_>) = self.server.in_store.drain(..).unzip();
        let answers = self.server.store.commit(&txns);
        self.server.commits += 1;
        let done = ops.into_iter().zip(answers).collect();
        let now = self.now();
        if let Some(node) = &mut self.server.node {
            node.command(now, node::Command::StoreDone(done));
        }
    }

    fn step(&mut self, until: u64) -> bool {
        let server = self.server.wake.filter(|_| self.server.node.is_some());
        let wakes = self.peers.iter().filter(|p| p.driver.is_some()).filter_map(|p| p.wake).chain(server);
        let wakes = wakes.chain(self.pages.iter().filter_map(|p| p.wake));
        let next = wakes.map(Instant::as_micros).min();
        let next = self.jobs.keys().next().map(|(at, _)| *at).into_iter().chain(next).min();
        let Some(next) = next.filter(|next| *next <= until) else {
            self.at = until;
            return false;
        };
        self.at = self.at.max(next);
        let now = self.now();
        while let Some(entry) = self.jobs.first_entry().filter(|e| e.key().0 <= self.at) {
            match entry.remove() {
                Job::Commit => self.commit(),
                Job::Datagram(0, from, data) => {
                    if let Some(node) = &mut self.server.node {
                        node.datagram(now, Received::one(from, &data));
                    }
                }
                Job::Datagram(no, from, data) if no >= PAGES => {
                    let received = ntproto_quic::Input::Datagram(Received::one(from, &data));
                    self.pages[no - PAGES].quic.handle(now, received);
                }
                Job::Datagram(no, from, data) => {
                    if let Some(driver) = &mut self.peers[no - 1].driver {
                        driver.datagram(now, Received::one(from, &data));
                    }
                }
            }
        }
        let due = |wake: Option<Instant>| wake.is_some_and(|at| at <= now.mono);
        if let Some(node) = self.server.node.as_mut().filter(|_| due(self.server.wake)) {
            node.timeout(now);
        }
        for peer in &mut self.peers {
            if let Some(driver) = peer.driver.as_mut().filter(|_| due(peer.wake)) {
                driver.timeout(now);
            }
        }
        for page in self.pages.iter_mut().filter(|page| due(page.wake)) {
            page.timeout(now);
        }
        self.drain_all();
        true
    }

    pub fn run_for(&mut self, time: Duration) {
        let until = self.at + time.as_micros() as u64;
        self.drain_all();
        while self.step(until) {}
    }

    /// Runs until `done`, at most 120 virtual seconds.
    #[track_caller]
    pub fn run_until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let until = self.at + 120_000_000;
        self.drain_all();
        while !done(self) {
            if !self.step(until) && !done(self) {
                let events: Vec<_> = self.peers.iter().map(|p| p.events.iter().rev().take(5).rev()).collect();
                panic!("never: {what}; {:?}; {events:?}", self.server.events);
            }
        }
    }

    #[track_caller]
    pub fn online(&mut self, no: usize) {
        let seen = self.peers[no].events.len();
        self.run_until("online", |w| {
            w.peers[no].events[seen..].iter().any(|e| matches!(e, ClientEvent::Online { .. }))
        });
    }

    /// The bodies this client was told of, in order.
    pub fn bodies(&self, no: usize) -> Vec<Bytes> {
        let body = |e: &ClientEvent| match e {
            ClientEvent::Message(inbound) => Some(inbound.message.body.clone()),
            _ => None,
        };
        self.peers[no].events.iter().filter_map(body).collect()
    }

    pub fn sent(&self, no: usize) -> usize {
        self.peers[no].events.iter().filter(|e| matches!(e, ClientEvent::Sent { .. })).count()
    }

    /// How often the hub let somebody in.
    pub fn let_in(&self) -> usize {
        self.server.events.iter().filter(|e| matches!(e, HubEvent::In { .. })).count()
    }

    /// A client's TLS sessions are gone.
    pub fn forget_sessions(&mut self, no: usize) {
        self.peers[no].tls = client_tls();
    }

    pub fn refusals(&self) -> VecDeque<ErrorCode> {
        let refused = |e: &HubEvent| match e {
            HubEvent::Refused { code, .. } => Some(*code),
            _ => None,
        };
        self.server.events.iter().filter_map(refused).collect()
    }
}

fn copy(key: &TicketKey) -> TicketKey {
    TicketKey::from_parts(key.id(), key.created(), key.secret().duplicate())
}
