//! A server and its clients on a virtual network: the real hub, QUIC and TLS, one clock, faults from a seed.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use async_channel::{Receiver, TryRecvError};
use bytes::Bytes;
use ntproto_core::client::{self, ClientConfig, ClientEvent, Inbound, Misuse, RequestId};
use ntproto_core::code::ErrorCode;
use ntproto_core::crypto::CryptoProvider as _;
use ntproto_core::crypto::identity::{Certificate, DeviceKeys, ServerKey, ServerKeys};
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::dispatch::Outcome as Answer;
use ntproto_core::ids::{ConversationId, DeviceId, Uin};
use ntproto_core::rng::Rng;
use ntproto_core::session::ticket::{TicketKey, TicketSealer};
use ntproto_core::time::{Instant, Now, UnixMillis};
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::{Channel, ChannelSet};
use ntproto_hub::store::memory::MemoryStore as ServerStore;
use ntproto_hub::store::txn::{EnrolVia, NewDevice};
use ntproto_hub::store::{Outcome, Store as _, Txn};
use ntproto_hub::{Hub, HubConfig, HubKeys};
use ntproto_net::{Machine, Step};
use ntproto_quic::tls::default_provider;
use ntproto_quic::{
    ALPN, ConnId, Endpoint, EndpointConfig, Event, Input, Output, Pin, Received, ServerTls, TX_LIMIT,
};
use ntproto_sdk::driver::{CallId, Command, Driver, Effect, Server, Transports};
use ntproto_sdk::store::{ClientStore, MemoryStore};
use ntproto_sdk::{Client, ConnectString, Credential, Desk, Learned, Options, Parts, Whereabouts, assemble};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// 2026-06-01.
pub const UNIX: u64 = 1_780_272_000_000;
pub const CODE: [u8; 16] = [7; 16];
const SERVER_ADDR: &str = "10.0.0.1:4433";

/// What a server keeps for all its life.
pub struct Identity {
    tls: ServerTls,
    pub pin: Pin,
    operator: DeviceKeys,
    seed: [u8; 32],
}

/// Made once: TLS keys come from the system.
pub fn identity() -> &'static Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let key = rcgen::KeyPair::generate().unwrap();
        let cert =
            rcgen::CertificateParams::new(vec!["server.test".into()]).unwrap().self_signed(&key).unwrap();
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let tls = ServerTls::new(default_provider(), vec![cert.der().clone()], der, &[ALPN]).unwrap();
        let operator = DeviceKeys::generate(&mut Rng::new([1; 32]), &RUSTCRYPTO);
        Identity { tls, pin: Pin::of(cert.der()).unwrap(), operator, seed: [2; 32] }
    })
}

impl Identity {
    fn key(&self) -> ServerKey {
        ServerKey::generate(&mut Rng::new(self.seed), &RUSTCRYPTO, 1)
    }

    pub fn connect_string(&self, host: &str) -> ConnectString {
        let certificate = Certificate {
            static_key: *self.key().public(),
            key_id: 1,
            not_before: UnixMillis(UNIX - 1_000_000),
            not_after: UnixMillis(UNIX + 86_400_000),
            tls_pins: vec![],
        };
        ConnectString {
            host: host.into(),
            port: 4433,
            operator_key: *self.operator.signing_public(),
            tls_pin: self.pin.0,
            certificate: certificate.sign(&RUSTCRYPTO, self.operator.signing_secret()),
        }
    }
}

/// A small server: QUIC, the hub, a store that answers at once.
pub struct Node {
    quic: Endpoint,
    hub: Hub,
    store: ServerStore,
    left: BTreeMap<(ConnId, Channel), Vec<u8>>,
    tx: TxBuf,
    wake: Option<Instant>,
    /// Whether the store answers.
    pub stalled: bool,
    waiting: Vec<(ntproto_hub::store::OpId, Txn)>,
}

impl Node {
    fn new(
        mut store: ServerStore,
        base: std::time::Instant,
        rng: &mut Rng,
        now: Now,
        config: HubConfig,
    ) -> Self {
        let booted = store.commit(&[Txn::Boot { wall: now.unix, epoch: rng.array() }]).pop();
        let Some(Ok(Outcome::Booted(boot))) = booted else { panic!("{booted:?}") };
        let keys = HubKeys {
            provider: &RUSTCRYPTO,
            server: Arc::new(ServerKeys::new(identity().key(), None)),
            tickets: TicketSealer::new(&RUSTCRYPTO, TicketKey::generate(rng, 1, now.unix), None),
        };
        Self {
            quic: Endpoint::new(EndpointConfig::server(identity().tls.clone()), base, rng.array()),
            hub: Hub::new(config, &boot, keys, rng.array(), now),
            store,
            left: BTreeMap::new(),
            tx: TxBuf::new(64 * 1024),
            wake: None,
            stalled: false,
            waiting: Vec::new(),
        }
    }

    fn pump(&mut self, now: Now) {
        loop {
            while let Output::Event(event) = self.quic.poll_output(now, None) {
                self.event(now, event);
            }
            if !self.stalled {
                for (op, txn) in std::mem::take(&mut self.waiting) {
                    let result = self.store.commit(&[txn]).remove(0);
                    self.hub.handle(now, ntproto_hub::Input::StoreDone { op, result });
                }
            }
            self.tx.clear();
            match self.hub.poll_output(now, Some(&mut self.tx)) {
                ntproto_hub::Output::Transmit { conn, channel } => {
                    let id = ConnId(conn.0);
                    let left = self.left.entry((id, channel)).or_default();
                    left.extend_from_slice(self.tx.as_slice());
                    let done = self.quic.with(now, id, |c| c.write(channel, left)).unwrap_or(left.len());
                    left.drain(..done);
                    self.writable(now, id);
                }
                ntproto_hub::Output::Store { op, txn, .. } => self.waiting.push((op, txn)),
                ntproto_hub::Output::Close { conn, code } => {
                    self.quic.with(now, ConnId(conn.0), |c| c.close(code as u32, b""));
                }
                ntproto_hub::Output::Resume { conn } => {
                    Channel::STREAMS.into_iter().for_each(|channel| self.read(now, ConnId(conn.0), channel));
                }
                ntproto_hub::Output::Ask(ask) => {
                    let answer = Answer::Refused(ErrorCode::UnknownPacket.into());
                    self.hub.handle(now, ntproto_hub::Input::Answered { ask: ask.id, answer });
                }
                ntproto_hub::Output::Host(ask) => {
                    let answer = Answer::Refused(ErrorCode::Unavailable.into());
                    self.hub.handle(now, ntproto_hub::Input::HostAnswered { ask: ask.id, answer });
                }
                ntproto_hub::Output::Event(_) | ntproto_hub::Output::Abandoned { .. } => {}
                ntproto_hub::Output::Wait { at, .. } => {
                    self.wake = at;
                    break;
                }
            }
        }
    }

    fn writable(&mut self, now: Now, id: ConnId) {
        let channels = Channel::STREAMS.into_iter().fold(ChannelSet::ALL, |set, channel| {
            let blocked = self.left.get(&(id, channel)).is_some_and(|left| !left.is_empty());
            if blocked { set.without(channel) } else { set }
        });
        self.hub.handle(now, ntproto_hub::Input::Writable { conn: ntproto_hub::ConnId(id.0), channels });
    }

    fn read(&mut self, now: Now, id: ConnId, channel: Channel) {
        let (hub, conn) = (&mut self.hub, ntproto_hub::ConnId(id.0));
        if !hub.accepts(conn, channel) {
            return;
        }
        self.quic.with(now, id, |c| {
            c.read_chunks(channel, usize::MAX, |data| {
                hub.handle(now, ntproto_hub::Input::Bytes { conn, channel, data: &data });
                hub.accepts(conn, channel)
            })
        });
    }

    fn event(&mut self, now: Now, event: Event) {
        match event {
            Event::Connected { conn, binding, remote, .. } => {
                let conn = ntproto_hub::ConnId(conn.0);
                self.hub.handle(now, ntproto_hub::Input::Opened { conn, binding, remote });
            }
            Event::Readable { conn, channel } => self.read(now, conn, channel),
            Event::Writable { conn, channel } => {
                let left = self.left.entry((conn, channel)).or_default();
                let done = self.quic.with(now, conn, |c| c.write(channel, left)).unwrap_or(left.len());
                left.drain(..done);
                self.writable(now, conn);
            }
            Event::Early { .. } | Event::Datagram { .. } | Event::Streams { .. } => {}
            Event::Closed { conn, .. } => {
                self.left.retain(|(id, _), _| *id != conn);
                self.hub.handle(now, ntproto_hub::Input::Closed { conn: ntproto_hub::ConnId(conn.0) });
            }
        }
    }
}

/// A client, its disk and what it said.
pub struct Device {
    pub driver: Option<Driver>,
    pub store: MemoryStore,
    pub keys: DeviceKeys,
    pub enrol: Option<Credential>,
    pub events: Vec<ClientEvent>,
    pub called: BTreeMap<CallId, Result<RequestId, Misuse>>,
    pub lookups: Vec<(u64, String, u16)>,
    /// What it told of a bootstrap.
    pub found: Option<Whereabouts>,
    /// Bootstraps that were asked for, and what the next one tells.
    pub bootstraps: usize,
    pub learns: Option<Learned>,
    pub lost: Vec<ntproto_net::Closed>,
    pub done: bool,
    /// How many effects a poll gave; how often it was polled without giving anything.
    pub polls: u64,
    next_call: u64,
    /// With a handle: who takes effects, and what is asked.
    pub desk: Option<(Desk, Receiver<Command>)>,
    /// Store operations the desk's thread has not answered.
    in_store: usize,
    addr: SocketAddr,
    tx: TxBuf,
    wake: Option<Instant>,
    /// Whether its socket is full.
    pub full: bool,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[derive(Clone, Copy)]
pub struct Link {
    pub delay: Duration,
    pub jitter: Duration,
    /// Of 100 datagrams.
    pub loss: u64,
}

impl Default for Link {
    fn default() -> Self {
        Self { delay: Duration::from_millis(10), jitter: Duration::ZERO, loss: 0 }
    }
}

pub struct World {
    pub base: std::time::Instant,
    pub at: u64,
    pub node: Option<Node>,
    pub devices: Vec<Device>,
    pub link: Link,
    pub rng: Rng,
    /// Whether datagrams get through.
    pub up: bool,
    pub datagrams: u64,
    pub config: HubConfig,
    /// Whether handles that are started appear online by themselves.
    pub appear_online: bool,
    queue: BTreeMap<(u64, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    sent: u64,
    disk: Option<ServerStore>,
}

fn server_addr() -> SocketAddr {
    SERVER_ADDR.parse().unwrap()
}

impl World {
    pub fn new(seed: u8, link: Link) -> Self {
        let mut world = Self {
            base: std::time::Instant::now(),
            at: 1_000_000,
            node: None,
            devices: Vec::new(),
            link,
            rng: Rng::new([seed; 32]),
            up: true,
            datagrams: 0,
            config: HubConfig::default(),
            appear_online: false,
            queue: BTreeMap::new(),
            sent: 0,
            disk: None,
        };
        let mut store = ServerStore::new();
        let invitation = Txn::CreateInvitation {
            by: None,
            code_hash: RUSTCRYPTO.sha256(&[&CODE]),
            uses: 100,
            expires: UnixMillis(UNIX + 86_400_000),
            may_invite: true,
            admin: false,
            account: None,
            audit: None,
        };
        store.commit(&[Txn::Boot { wall: UnixMillis(UNIX), epoch: [9; 16] }, invitation]);
        world.disk = Some(store);
        world.start_node();
        world
    }

    pub fn now(&self) -> Now {
        Now { mono: Instant::from_micros(self.at), unix: UnixMillis(UNIX + self.at / 1000) }
    }

    /// The server dies; what was committed stays.
    pub fn kill_node(&mut self) {
        self.disk = self.node.take().map(|node| node.store);
    }

    pub fn start_node(&mut self) {
        let (now, store) = (self.now(), self.disk.take().unwrap());
        self.node = Some(Node::new(store, self.base, &mut self.rng, now, self.config));
    }

    /// Accounts that never connect.
    pub fn add_silent(&mut self, count: u32) -> Vec<Uin> {
        let now = self.now().unix;
        let store = &mut self.node.as_mut().unwrap().store;
        let enrol = |n: u32| {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&n.to_be_bytes());
            let mut static_key = key;
            static_key[31] = 1;
            let id = DeviceId(key[..16].try_into().unwrap());
            let device = NewDevice { id, signing_key: key, static_key, name: String::new() };
            Txn::Enrol { via: EnrolVia::Open, device, now }
        };
        let all: Vec<_> = (1..=count).map(enrol).collect();
        let uin = |outcome| match outcome {
            Ok(Outcome::Enrolled(device)) => device.uin,
            other => panic!("{other:?}"),
        };
        store.commit(&all).into_iter().map(uin).collect()
    }

    /// A device with an invitation, started.
    pub fn add(&mut self) -> usize {
        self.add_with(Some(Credential::Invitation(CODE)))
    }

    pub fn add_with(&mut self, enrol: Option<Credential>) -> usize {
        let no = self.devices.len();
        self.devices.push(Device {
            driver: None,
            store: MemoryStore::new(),
            keys: DeviceKeys::generate(&mut self.rng, &RUSTCRYPTO),
            enrol,
            events: Vec::new(),
            called: BTreeMap::new(),
            lookups: Vec::new(),
            found: None,
            bootstraps: 0,
            learns: None,
            lost: Vec::new(),
            done: false,
            polls: 0,
            next_call: 0,
            desk: None,
            in_store: 0,
            addr: SocketAddr::from(([10, 0, 1, no as u8], 5000)),
            tx: TxBuf::new(TX_LIMIT),
            wake: None,
            full: false,
        });
        self.start(no, "10.0.0.1");
        no
    }

    /// A device with a handle, over this store.
    pub fn add_handle(&mut self, enrol: Option<Credential>, store: Box<dyn ClientStore>) -> (usize, Client) {
        let keys = DeviceKeys::generate(&mut self.rng, &RUSTCRYPTO);
        let no = self.add_with(enrol);
        self.kill(no);
        self.devices[no].keys = keys;
        let client = self.start_handle(no, store);
        (no, client)
    }

    /// Starts a device's client with a handle.
    pub fn start_handle(&mut self, no: usize, store: Box<dyn ClientStore>) -> Client {
        let now = self.now();
        let mut server = Server::new(&identity().connect_string("10.0.0.1"), now.unix).unwrap();
        server.transports = Transports::RequireQuic;
        let device = &mut self.devices[no];
        let mut options = Options::new(server, device.keys.duplicate(), store);
        options.enrol = device.enrol.clone();
        options.appear_online = self.appear_online;
        let Parts { client, driver, commands, desk } =
            assemble(options, self.base, self.rng.array(), now).unwrap();
        (device.driver, device.desk, device.done) = (Some(driver), Some((desk, commands)), false);
        device.in_store = 0;
        client
    }

    /// Runs everything until the future is ready, at most ten virtual minutes. It is polled only when woken.
    pub fn block_on<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = std::pin::pin!(future);
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&flag));
        let until = self.at + 600_000_000;
        loop {
            if flag.0.swap(false, Ordering::SeqCst)
                && let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(&waker))
            {
                self.drain_all();
                return result;
            }
            self.drain_all();
            if flag.0.load(Ordering::SeqCst) || self.devices.iter().any(Device::is_asked) {
                continue;
            }
            // Stores run on threads of their own, in real time.
            std::thread::sleep(Duration::from_micros(100));
            let quiet = !self.devices.iter().any(|d| d.in_store > 0 || d.is_asked());
            if quiet && !flag.0.load(Ordering::SeqCst) {
                self.step(self.at + 1_000_000);
                assert!(self.at < until, "the future never got ready");
            }
        }
    }

    /// Starts a device's client from its disk.
    pub fn start(&mut self, no: usize, host: &str) {
        self.start_at(no, &identity().connect_string(host));
    }

    /// Starts it with another connect string.
    pub fn start_at(&mut self, no: usize, connect: &ConnectString) {
        let server = Server::new(connect, self.now().unix).unwrap();
        self.start_with(no, server, false);
    }

    /// A device that can bootstrap, and takes this for the server's static key.
    pub fn add_that_bootstraps(&mut self, static_key: [u8; 32], pin: [u8; 32]) {
        let connect = ConnectString { tls_pin: pin, ..identity().connect_string("10.0.0.1") };
        let server = Server { static_key, ..Server::new(&connect, self.now().unix).unwrap() };
        let no = self.add();
        self.kill(no);
        self.start_with(no, server, true);
    }

    /// A device that can bootstrap, and takes the server to be there and to show this pin.
    pub fn add_that_bootstraps_at(&mut self, host: &str, pin: [u8; 32]) {
        let connect = ConnectString { tls_pin: pin, ..identity().connect_string(host) };
        let server = Server::new(&connect, self.now().unix).unwrap();
        let no = self.add();
        self.kill(no);
        self.start_with(no, server, true);
    }

    fn start_with(&mut self, no: usize, mut server: Server, can_bootstrap: bool) {
        let now = self.now();
        server.transports = Transports::RequireQuic;
        let device = &mut self.devices[no];
        let config = ClientConfig {
            enrol: device.enrol.clone(),
            can_bootstrap,
            ..ClientConfig::new(&RUSTCRYPTO, server.static_key, device.keys.duplicate())
        };
        let saved = device.store.load_all().unwrap();
        let mut driver = Driver::new(config, server, saved, self.base, self.rng.array(), now);
        driver.command(now, Command::Call(CallId(0), client::Command::Start));
        device.driver = Some(driver);
        device.done = false;
    }

    /// The client's process dies.
    pub fn kill(&mut self, no: usize) {
        let device = &mut self.devices[no];
        (device.driver, device.desk, device.wake, device.in_store) = (None, None, None, 0);
    }

    /// Another address and port: a new network, or a NAT that forgot.
    pub fn rebind(&mut self, no: usize) {
        let port = self.devices[no].addr.port() + 1;
        self.devices[no].addr.set_port(port);
    }

    pub fn call(&mut self, no: usize, call: client::Command) -> CallId {
        let now = self.now();
        let device = &mut self.devices[no];
        device.next_call += 1;
        let id = CallId(device.next_call);
        device.driver.as_mut().unwrap().command(now, Command::Call(id, call));
        id
    }

    pub fn command(&mut self, no: usize, command: Command) {
        let now = self.now();
        self.devices[no].driver.as_mut().unwrap().command(now, command);
    }

    pub fn send(&mut self, from: usize, to: Uin, body: impl Into<Bytes>) -> CallId {
        let (me, _) = self.devices[from].driver.as_ref().unwrap().identity().unwrap();
        let conversation = ConversationId::direct(me, to);
        let call = client::Command::Send {
            trace: None,
            conversation,
            client_msg_id: None,
            body: body.into(),
            deadline: None,
            action: ntproto_core::client::SendAction::Message,
        };
        self.call(from, call)
    }

    pub fn uin(&self, no: usize) -> Uin {
        self.devices[no].driver.as_ref().unwrap().identity().unwrap().0
    }

    fn route(&mut self, from: SocketAddr, to: SocketAddr, data: &[u8]) {
        self.datagrams += 1;
        if !self.up || self.rng.below(100) < self.link.loss {
            return;
        }
        let jitter = self.rng.below(self.link.jitter.as_micros() as u64 + 1);
        let at = self.at + self.link.delay.as_micros() as u64 + jitter;
        self.sent += 1;
        self.queue.insert((at, self.sent), (from, to, data.to_vec()));
    }

    fn drain_node(&mut self) {
        let now = self.now();
        let mut out = Vec::new();
        let Some(node) = &mut self.node else { return };
        node.pump(now);
        let mut tx = TxBuf::new(TX_LIMIT);
        loop {
            match node.quic.poll_output(now, Some(&mut tx)) {
                Output::Transmit(t) => {
                    for chunk in tx.as_slice().chunks(t.segment_size.unwrap_or(t.len)) {
                        out.push((t.remote, chunk.to_vec()));
                    }
                }
                Output::Event(event) => {
                    node.event(now, event);
                    node.pump(now);
                }
                Output::Wait { at, .. } => {
                    node.wake = ntproto_core::time::earliest(node.wake, at);
                    break;
                }
            }
        }
        out.into_iter().for_each(|(to, data)| self.route(server_addr(), to, &data));
    }

    /// Polls a device's driver until it waits.
    pub fn drain(&mut self, no: usize) {
        let now = self.now();
        loop {
            let device = &mut self.devices[no];
            let Some(driver) = &mut device.driver else { return };
            if let Some((_, commands)) = &device.desk {
                loop {
                    match commands.try_recv() {
                        Ok(command) => {
                            if let Command::StoreDone(ops, _) = &command {
                                device.in_store -= ops.len();
                            }
                            driver.command(now, command);
                        }
                        Err(TryRecvError::Empty) => break,
                        Err(TryRecvError::Closed) => {
                            driver.commands_closed(now);
                            break;
                        }
                    }
                }
            }
            device.polls += 1;
            let tx = if device.full { None } else { Some(&mut device.tx) };
            match driver.poll(now, tx) {
                Step::Transmit(t) => {
                    let (from, bytes) = (device.addr, device.tx.as_slice().to_vec());
                    assert_eq!(bytes.len(), t.len);
                    for chunk in bytes.chunks(t.segment_size.unwrap_or(t.len)) {
                        self.route(from, t.remote, chunk);
                    }
                }
                Step::Stream(..) => panic!("TCP was ruled out"),
                Step::Effect(effect) if device.desk.is_some() => {
                    device.in_store += usize::from(matches!(effect, Effect::Store(..)));
                    let (desk, _) = device.desk.as_mut().unwrap();
                    assert!(desk.effect(effect).is_none());
                }
                Step::Effect(effect) => match effect {
                    Effect::Called(id, result) => {
                        device.called.insert(id, result);
                    }
                    Effect::Store(op, txn) => {
                        let result = device.store.commit(&[txn]);
                        driver.command(now, Command::StoreDone(vec![op], result));
                    }
                    Effect::Resolve { id, host, port } => device.lookups.push((id, host, port)),
                    Effect::Bootstrap(id) => {
                        device.bootstraps += 1;
                        driver.command(now, Command::Bootstrapped(id, device.learns.take().map(Box::new)));
                    }
                    Effect::Event(event) => device.events.push(event),
                    Effect::Learned(found) => device.found = Some(*found),
                    Effect::Reached | Effect::HttpToken(..) => {}
                    Effect::Lost(reason) => device.lost.push(reason),
                },
                Step::Wait(at) => {
                    device.wake = if device.full { at.filter(|at| *at > now.mono) } else { at };
                    return;
                }
                Step::Done => {
                    device.done = true;
                    device.driver = None;
                    device.wake = None;
                    device.desk = None;
                    device.in_store = 0;
                    return;
                }
            }
        }
    }

    pub fn drain_all(&mut self) {
        (0..self.devices.len()).for_each(|no| self.drain(no));
        self.drain_node();
    }

    fn step(&mut self, until: u64) -> bool {
        let wakes = self.devices.iter().filter_map(|d| d.wake).chain(self.node.as_ref().and_then(|n| n.wake));
        let next = wakes.map(Instant::as_micros).chain(self.queue.keys().next().map(|(at, _)| *at)).min();
        let Some(next) = next.filter(|next| *next <= until) else {
            self.at = until;
            return false;
        };
        self.at = self.at.max(next);
        let now = self.now();
        while let Some(entry) = self.queue.first_entry().filter(|e| e.key().0 <= self.at) {
            let (from, to, data) = entry.remove();
            let received = Received::one(from, &data);
            if to == server_addr() {
                if let Some(node) = &mut self.node {
                    node.quic.handle(now, Input::Datagram(received));
                }
            } else if let Some(driver) =
                self.devices.iter_mut().find(|d| d.addr == to).and_then(|d| d.driver.as_mut())
            {
                driver.datagram(now, received);
            }
        }
        for device in &mut self.devices {
            if device.wake.is_some_and(|at| at <= now.mono)
                && let Some(driver) = &mut device.driver
            {
                driver.timeout(now);
            }
        }
        if let Some(node) = &mut self.node
            && node.wake.is_some_and(|at| at <= now.mono)
        {
            node.quic.handle(now, Input::Timeout);
            node.hub.handle(now, ntproto_hub::Input::Timeout);
        }
        self.drain_all();
        true
    }

    pub fn run_for(&mut self, time: Duration) {
        let until = self.at + time.as_micros() as u64;
        self.drain_all();
        while self.step(until) {}
    }

    /// Runs until `done`, at most five virtual minutes.
    pub fn run_until(&mut self, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let until = self.at + 300_000_000;
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

    pub fn online(&mut self) {
        let all = |w: &mut Self| {
            w.devices.iter().all(|d| d.events.iter().any(|e| matches!(e, ClientEvent::Online { .. })))
        };
        assert!(self.run_until(all), "not everybody came online");
    }
}

impl Device {
    fn is_asked(&self) -> bool {
        self.driver.is_some() && self.desk.as_ref().is_some_and(|(_, commands)| !commands.is_empty())
    }

    pub fn is_online(&self) -> bool {
        self.driver.as_ref().is_some_and(|driver| driver.client().is_online())
    }

    pub fn messages(&self) -> Vec<&Inbound> {
        self.events
            .iter()
            .filter_map(|event| match event {
                ClientEvent::Message(inbound) => Some(inbound),
                _ => None,
            })
            .collect()
    }

    pub fn bodies(&self) -> Vec<String> {
        self.messages().iter().map(|m| String::from_utf8_lossy(&m.message.body).into_owned()).collect()
    }

    pub fn count(&self, what: impl Fn(&ClientEvent) -> bool) -> usize {
        self.events.iter().filter(|event| what(event)).count()
    }

    pub fn sent(&self) -> usize {
        self.count(|event| matches!(event, ClientEvent::Sent { .. }))
    }
}
