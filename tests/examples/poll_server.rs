//! A server in one thread: `mio`'s poll, the server's node over UDP and TCP, a store in memory.
//!
//! ```text
//! poll_server <listen address> <folder for its keys>     prints its connect string and serves whoever comes
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Token, Waker};
use ntproto_core::code::ErrorCode;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::dispatch::Outcome as Answer;
use ntproto_core::rng::Rng;
use ntproto_core::session::ticket::TicketSealer;
use ntproto_core::time::Instant;
use ntproto_core::tx::TxBuf;
use ntproto_hub::store::memory::MemoryStore;
use ntproto_hub::store::{Outcome, Store as _, Txn};
use ntproto_hub::{Hub, HubConfig, HubKeys};
use ntproto_net::tcp::gate::TcpLimits;
use ntproto_net::{Endpoint, Machine as _, Step, StreamId, StreamInput, StreamStep};
use ntproto_quic::{EndpointConfig, TX_LIMIT, Transmit};
use ntproto_sdk::ConnectString;
use ntproto_server::keys::{KeyOptions, load_or_create};
use ntproto_server::node::{Command, Effect, Node};
use ntproto_udp::{Clock, RecvBatch, Socket};

const UDP: Token = Token(0);
const LISTENER: Token = Token(1);
const WAKER: Token = Token(2);
/// Streams come after these.
const FIRST: usize = 3;
/// Read at once.
const READ: usize = 32 * 1024;

/// How long the last bytes of a connection may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// One TCP connection.
struct Stream {
    io: TcpStream,
    /// The node asked for bytes.
    reading: bool,
    out: Bytes,
    /// It asked for an end, once `out` has left.
    closing: bool,
}

/// The server.
pub struct Server {
    node: Node,
    store: MemoryStore,
    clock: Clock,
    poll: Poll,
    udp: Socket,
    /// What mio watches of it: another descriptor of the same socket.
    _watched: UdpSocket,
    tcp: TcpListener,
    streams: BTreeMap<StreamId, Stream>,
    tx: TxBuf,
    /// A batch in `tx` that the socket did not take, and how much of it went out.
    pending: Option<(Transmit, usize)>,
    stop: Arc<AtomicBool>,
    /// Wakes the loop, from another thread too.
    pub waker: Arc<Waker>,
    /// What clients find and know it by.
    pub connect_string: ConnectString,
}

impl Server {
    /// A server with its keys in `dir`, where anybody may register. It ends after `stop` was set and it was woken.
    pub fn bind(listen: SocketAddr, dir: &Path, stop: Arc<AtomicBool>) -> Result<Self, Box<dyn Error>> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let (mut rng, clock) = (Rng::new(seed), Clock::start());
        let now = clock.now();
        let names = [listen.ip().to_string()];
        let options =
            KeyOptions { dir, names: &names, operator_public: None, certificate: None, restored: false };
        let identity = load_or_create(options, &RUSTCRYPTO, &mut rng, now.unix)?;

        let mut store = MemoryStore::new();
        let Some(Ok(Outcome::Booted(boot))) =
            store.commit(&[Txn::Boot { wall: now.unix, epoch: rng.array() }]).pop()
        else {
            return Err("the store does not boot".into());
        };
        let keys = HubKeys {
            provider: &RUSTCRYPTO,
            server: Arc::new(identity.server_keys),
            tickets: TicketSealer::new(&RUSTCRYPTO, identity.tickets.0, identity.tickets.1),
        };
        let config = HubConfig { open_registration: true, ..HubConfig::default() };
        let hub = Hub::new(config, &boot, keys, rng.array(), now);

        let udp = Socket::bind(listen)?;
        let at = udp.local_addr();
        let quic = EndpointConfig {
            mtu_discovery: !udp.may_fragment(),
            reset_key: Some(identity.reset),
            ..EndpointConfig::server(identity.tls)
        };
        let endpoint = Endpoint::new(quic, TcpLimits::default(), clock.base(), rng.array());
        let connect_string = ConnectString {
            host: at.ip().to_string(),
            port: at.port(),
            operator_key: identity.operator,
            tls_pin: identity.pin.0,
            certificate: identity.certificate,
        };

        let poll = Poll::new()?;
        let mut watched = UdpSocket::from_std(udp.as_std().try_clone()?);
        let mut tcp = TcpListener::bind(at)?;
        poll.registry().register(&mut watched, UDP, Interest::READABLE | Interest::WRITABLE)?;
        poll.registry().register(&mut tcp, LISTENER, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        Ok(Self {
            node: Node::new(endpoint, hub),
            store,
            clock,
            poll,
            udp,
            _watched: watched,
            tcp,
            streams: BTreeMap::new(),
            tx: TxBuf::new(TX_LIMIT),
            pending: None,
            stop,
            waker,
            connect_string,
        })
    }

    /// Serves until it is told to stop and everybody was sent away.
    pub fn run(&mut self) -> io::Result<()> {
        let (mut events, mut batch) = (Events::with_capacity(256), RecvBatch::new());
        while let Some(wait) = self.drain() {
            let wait = wait.map(|at| at.saturating_since(self.clock.mono()));
            match self.poll.poll(&mut events, wait) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                result => result?,
            }
            for event in &events {
                match event.token() {
                    // Edges, not levels: whatever is ready is emptied.
                    UDP => self.receive(&mut batch)?,
                    LISTENER => self.accept(),
                    WAKER if self.stop.load(Ordering::SeqCst) => {
                        self.node.command(self.clock.now(), Command::Drain);
                    }
                    WAKER => {}
                    Token(n) => self.progress(StreamId((n - FIRST) as u64)),
                }
            }
            self.node.timeout(self.clock.now());
        }
        // What was written last leaves first.
        let until = self.clock.mono() + FAREWELL;
        while self.streams.values().any(|stream| !stream.out.is_empty()) && self.clock.mono() < until {
            self.poll.poll(&mut events, Some(until.saturating_since(self.clock.mono())))?;
            self.streams.keys().copied().collect::<Vec<_>>().into_iter().for_each(|id| self.progress(id));
        }
        Ok(())
    }

    /// Does what the node wants, until it waits; `None`: it has ended.
    fn drain(&mut self) -> Option<Option<Instant>> {
        self.flush();
        loop {
            let now = self.clock.now();
            let tx = if self.pending.is_none() { Some(&mut self.tx) } else { None };
            match self.node.poll(now, tx) {
                Step::Transmit(transmit) => {
                    self.pending = Some((transmit, 0));
                    self.flush();
                }
                Step::Stream(id, step) => self.step(id, step),
                Step::Effect(Effect::Store { op, txn, .. }) => {
                    let result = self.store.commit(&[txn]).remove(0);
                    self.node.command(now, Command::StoreDone(vec![(op, result)]));
                }
                Step::Effect(Effect::Asks(asks)) => {
                    let unknown =
                        |ask: ntproto_hub::Ask| (ask.id, Answer::Refused(ErrorCode::UnknownPacket.into()));
                    self.node.command(now, Command::Answered(asks.into_iter().map(unknown).collect()));
                }
                Step::Effect(Effect::Host(ask)) => {
                    let refusal = Answer::Refused(ErrorCode::Unavailable.into());
                    self.node.command(now, Command::HostAnswered(ask.id, refusal));
                }
                // Nothing is asked twice, no HTTP is served, new ticket keys are gone with the process, nobody reads a log.
                Step::Effect(
                    Effect::Abandoned(_)
                    | Effect::Bearer { .. }
                    | Effect::Counted(_)
                    | Effect::Http(..)
                    | Effect::TicketKeys { .. }
                    | Effect::Event(_),
                ) => {}
                Step::Wait(at) => return Some(at),
                Step::Done => return None,
            }
        }
    }

    // ── UDP ─────────────────────────────────────────────────────────────────────────────────────

    fn flush(&mut self) {
        if let Some((transmit, sent)) = &mut self.pending {
            match self.udp.try_send(transmit, &self.tx.as_slice()[*sent..transmit.len]) {
                Ok(()) => self.pending = None,
                Err(blocked) => *sent += blocked.sent,
            }
        }
    }

    fn receive(&mut self, batch: &mut RecvBatch) -> io::Result<()> {
        loop {
            batch.clear();
            match self.udp.try_recv(batch) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                result => result?,
            }
            let now = self.clock.now();
            batch.iter().for_each(|received| self.node.datagram(now, received));
        }
    }

    // ── TCP ─────────────────────────────────────────────────────────────────────────────────────

    fn accept(&mut self) {
        loop {
            let (mut io, remote) = match self.tcp.accept() {
                Ok(accepted) => accepted,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                // It was gone before it was taken, or there are too many: the next one wakes us again.
                Err(_) => return,
            };
            let Some(id) = self.node.accept(self.clock.now(), remote) else { continue };
            let _ = io.set_nodelay(true);
            let interest = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(&mut io, Token(FIRST + id.0 as usize), interest).is_ok() {
                let stream = Stream { io, reading: false, out: Bytes::new(), closing: false };
                self.streams.insert(id, stream);
            } else {
                self.node.stream(self.clock.now(), id, StreamInput::Closed);
            }
        }
    }

    fn step(&mut self, id: StreamId, step: StreamStep) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        match step {
            StreamStep::Read => stream.reading = true,
            StreamStep::Write(bytes) => stream.out = bytes,
            StreamStep::Close => stream.closing = true,
            StreamStep::Dial(_) => unreachable!("a server dials nobody"),
        }
        self.progress(id);
    }

    /// Writes and reads what a stream takes and has. The node is told, and may ask for more at its next poll.
    fn progress(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let now = self.clock.now();
        let writing = !stream.out.is_empty();
        while !stream.out.is_empty() {
            match stream.io.write(&stream.out) {
                Ok(len) => drop(stream.out.split_to(len)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.over(id),
            }
        }
        if stream.closing {
            if stream.out.is_empty() {
                let _ = stream.io.shutdown(Shutdown::Write);
                self.streams.remove(&id);
            }
            return;
        }
        if writing && stream.out.is_empty() {
            self.node.stream(now, id, StreamInput::Written);
        }
        let mut buffer = [0; READ];
        while stream.reading {
            match stream.io.read(&mut buffer) {
                Ok(len) if len > 0 => {
                    stream.reading = false;
                    let bytes = Bytes::copy_from_slice(&buffer[..len]);
                    self.node.stream(now, id, StreamInput::Bytes(bytes));
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                _ => return self.over(id),
            }
        }
    }

    fn over(&mut self, id: StreamId) {
        let closing = self.streams.remove(&id).is_some_and(|stream| stream.closing);
        if !closing {
            self.node.stream(self.clock.now(), id, StreamInput::Closed);
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [listen, dir] = &args[..] else { return Err("usage: poll_server <address> <folder>".into()) };
    let mut server = Server::bind(listen.parse()?, Path::new(dir), Arc::default())?;
    println!("{}", server.connect_string);
    Ok(server.run()?)
}
