//! The SDK's driver between QUIC and TCP, under a host that does as it likes: streams that come up, hang and break in
//! any order, datagrams of noise or of a real QUIC server, lookups and disks that answer late or never. Behind the
//! handshake stands a server that says anything.
//!
//! It never panics, asks nothing twice at once, and ends when it is closed.
#![no_main]

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ntproto_core::client::{self, ClientConfig, OpId, Saved, StoreError};
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::ids::{ConversationId, Uin};
use ntproto_core::rng::Rng;
use ntproto_core::session::records::write_auth_response;
use ntproto_core::time::{Instant, Now, UnixMillis};
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::nthd;
use ntproto_fuzz::STUB;
use ntproto_fuzz::peer::{self, Change, Content, HOUR_MS, Peer, Sent, noise_challenge, noise_response};
use ntproto_fuzz::tls::tls;
use ntproto_net::{Machine as _, Step, StreamId, StreamInput, StreamStep};
use ntproto_proto::v2;
use ntproto_quic::{ClientSessions, EndpointConfig, Received, SessionMemory, TX_LIMIT};
use ntproto_sdk::driver::{CallId, Command, Driver, Effect, Server, Transports};
use prost::Message as _;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    transports: u8,
    speaks_first: bool,
    /// Where the server may be; none: its name is looked up.
    addresses: u8,
    ops: Vec<Op<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Op<'a> {
    /// So much time passes; a deadline may be told.
    Later {
        ms: u16,
        told: bool,
    },
    /// The next datagrams arrive, either way; or are lost.
    Datagrams {
        to_server: bool,
        count: u8,
        lost: bool,
    },
    Noise(u8, &'a [u8]),
    /// A datagram to the client, changed.
    Damaged(Change<'a>),
    /// What a host may tell of a stream that was asked for.
    Stream {
        n: u8,
        told: Told,
    },
    /// What no host should tell, of any stream.
    Wild {
        n: u8,
        told: Told,
        bytes: &'a [u8],
    },
    /// The server writes to a stream.
    Tcp {
        n: u8,
        said: Said<'a>,
    },
    /// The server writes to the newest QUIC connection.
    Quic {
        sent: Sent<'a>,
    },
    Resolved {
        n: u8,
        addresses: u8,
    },
    Store {
        count: u8,
        how: u8,
    },
    NetworkChanged,
    Call(Call),
    /// The socket is full for a while.
    Full,
}

#[derive(Arbitrary, Debug)]
enum Told {
    Connected,
    Bytes(u16),
    Written,
    Closed,
}

#[derive(Arbitrary, Debug)]
enum Said<'a> {
    Bytes(&'a [u8]),
    /// The answer of handshake A.
    Answer(Content<'a>),
    Challenge(peer::Challenge<'a>),
    Frame(Sent<'a>),
}

#[derive(Arbitrary, Debug)]
enum Call {
    Send(u16),
    Confirm(u8),
    RefreshTicket,
    UpdateKeys,
    Close,
}

/// The server's static key under the stub.
const SERVER: [u8; 32] = [0x51; 32];
/// Operations of one input: more make it slow, not better.
const MAX_OPS: usize = 120;
/// Datagrams under way.
const MAX_UNDER_WAY: usize = 256;
/// A driver that wants more at once never rests.
const MAX_STEPS: usize = 20_000;
/// A driver that was closed needs no more timers than this: every stage of its end has its deadline.
const MAX_TIMERS: usize = 500;
/// A client's clock at the start.
const UNIX_MS: u64 = 100 * HOUR_MS;

fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 443))
}

/// What was asked of a stream, and what the server writes to it.
#[derive(Default)]
struct Tcp {
    dialling: bool,
    reading: bool,
    writing: bool,
    over: bool,
    incoming: VecDeque<u8>,
    peer: Peer,
}

struct World {
    driver: Driver,
    /// The QUIC server at the first address, and its connections.
    server: ntproto_quic::Endpoint,
    conns: Vec<(ntproto_quic::ConnId, Peer)>,
    micros: u64,
    tx: TxBuf,
    to_server: VecDeque<Vec<u8>>,
    to_client: VecDeque<Vec<u8>>,
    streams: BTreeMap<StreamId, Tcp>,
    store: VecDeque<OpId>,
    lookups: Vec<u64>,
    calls: u64,
    answered: u64,
    wait: Option<Instant>,
    done: bool,
}

impl World {
    fn new(input: &Input<'_>) -> Self {
        static BASE: OnceLock<std::time::Instant> = OnceLock::new();
        let base = *BASE.get_or_init(std::time::Instant::now);
        let mut rng = Rng::new([7; 32]);
        let transports = match input.transports % 4 {
            0 => Transports::RequireQuic,
            1 => Transports::RequireTcp,
            _ => Transports::Any,
        };
        let mut config = ClientConfig::new(&STUB, SERVER, DeviceKeys::generate(&mut rng, &STUB));
        config.enrol = Some(client::Credential::Open);
        config.operator = Some([9; 32]);
        config.server_speaks_first = input.speaks_first;
        config.transports = transports.offered();
        let server = Server {
            host: "fuzz.test".into(),
            port: 443,
            tcp: None,
            addresses: (1..=input.addresses % 4).map(address).collect(),
            tls: tls().client.with_sessions(Arc::new(ClientSessions::default())).expect("a client"),
            pins: Vec::new(),
            static_key: SERVER,
            since: UnixMillis(0),
            operator_key: [9; 32],
            transports,
            speaks_first: input.speaks_first,
            quic: EndpointConfig::client(),
        };
        let quic = tls().server.with_sessions(Arc::new(SessionMemory::default())).expect("a server");
        let mut world = Self {
            driver: Driver::new(config, server, Saved::default(), base, [1; 32], now(1_000_000)),
            server: ntproto_quic::Endpoint::new(EndpointConfig::server(quic), base, [2; 32]),
            conns: Vec::new(),
            micros: 1_000_000,
            tx: TxBuf::new(TX_LIMIT),
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            streams: BTreeMap::new(),
            store: VecDeque::new(),
            lookups: Vec::new(),
            calls: 0,
            answered: 0,
            wait: None,
            done: false,
        };
        world.call(client::Command::Start);
        world.drain(false);
        world
    }

    fn now(&self) -> Now {
        now(self.micros)
    }

    fn call(&mut self, command: client::Command) {
        self.calls += 1;
        self.driver.command(now(self.micros), Command::Call(CallId(self.calls), command));
    }

    fn op(&mut self, op: &Op<'_>) {
        let now = self.now();
        match op {
            Op::Later { ms, told } => {
                self.micros += u64::from(*ms) * 1000;
                let now = self.now();
                self.server.handle(now, ntproto_quic::Input::Timeout);
                if *told {
                    self.driver.timeout(now);
                }
            }
            Op::Datagrams { to_server, count, lost } => {
                for _ in 0..=*count {
                    let queue = if *to_server { &mut self.to_server } else { &mut self.to_client };
                    let Some(data) = queue.pop_front().filter(|_| !lost) else { break };
                    self.datagram(*to_server, &data);
                }
            }
            Op::Noise(from, bytes) => {
                self.driver.datagram(now, Received::one(address(from % 4), bytes));
            }
            Op::Damaged(change) => {
                if let Some(data) = self.to_client.pop_front() {
                    self.datagram(false, &change.apply(&data));
                }
            }
            Op::Stream { n, told } => self.stream(*n, told),
            Op::Wild { n, told, bytes } => {
                let id = StreamId(u64::from(n % 8));
                let input = match told {
                    Told::Connected => StreamInput::Connected,
                    Told::Bytes(_) if bytes.is_empty() => return,
                    Told::Bytes(_) => StreamInput::Bytes(Bytes::copy_from_slice(bytes)),
                    Told::Written => StreamInput::Written,
                    Told::Closed => StreamInput::Closed,
                };
                self.tell(id, input);
            }
            Op::Tcp { n, said } => self.say(*n, said),
            Op::Quic { sent } => {
                if let Some((conn, peer)) = self.conns.last_mut() {
                    let (channel, bytes) = peer.bytes(sent, true);
                    // What is not taken is lost: this server is as bad as any.
                    self.server.with(now, *conn, |c| c.write(channel, &bytes));
                }
            }
            Op::Resolved { n, addresses } => {
                let id = self.lookups.get(usize::from(*n)).copied().unwrap_or(u64::from(*n));
                let found = (1..=addresses % 16).map(address).collect();
                self.driver.command(now, Command::Resolved(id, found));
            }
            Op::Store { count, how } => {
                let ops: Vec<OpId> = self.store.drain(..self.store.len().min(usize::from(*count))).collect();
                let result = match how % 8 {
                    0 => Err(StoreError::Failed),
                    1 => Err(StoreError::Full),
                    _ => Ok(()),
                };
                self.driver.command(now, Command::StoreDone(ops, result));
            }
            Op::NetworkChanged => self.driver.command(now, Command::NetworkChanged),
            Op::Call(call) => self.ask(call),
            Op::Full => self.drain(true),
        }
        self.serve();
        self.drain(false);
    }

    fn ask(&mut self, call: &Call) {
        let command = match call {
            Call::Send(len) => client::Command::Send {
                trace: None,
                conversation: ConversationId::direct(Uin(10001), Uin(10002)),
                client_msg_id: None,
                body: vec![b'x'; usize::from(*len)].into(),
                deadline: None,
                action: ntproto_core::client::SendAction::Message,
            },
            Call::Confirm(position) => {
                return self.driver.command(now(self.micros), Command::Confirm((*position).into()));
            }
            Call::RefreshTicket => client::Command::RefreshTicket,
            Call::UpdateKeys => client::Command::UpdateKeys,
            Call::Close => client::Command::Close,
        };
        self.call(command);
    }

    fn datagram(&mut self, to_server: bool, data: &[u8]) {
        let now = self.now();
        if to_server {
            let client = SocketAddr::from(([10, 0, 1, 1], 5000));
            self.server.handle(now, ntproto_quic::Input::Datagram(Received::one(client, data)));
        } else {
            self.driver.datagram(now, Received::one(address(1), data));
        }
    }

    /// What is true of a stream, told to the driver.
    fn stream(&mut self, n: u8, told: &Told) {
        let open: Vec<StreamId> = self.streams.iter().filter(|(_, s)| !s.over).map(|(id, _)| *id).collect();
        let Some(&id) = open.get(usize::from(n) % open.len().max(1)) else { return };
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let input = match told {
            Told::Connected if stream.dialling => StreamInput::Connected,
            Told::Bytes(most) if stream.reading && !stream.incoming.is_empty() => {
                let size = stream.incoming.len().min(usize::from(*most).max(1));
                StreamInput::Bytes(stream.incoming.drain(..size).collect())
            }
            Told::Written if stream.writing => StreamInput::Written,
            Told::Closed => StreamInput::Closed,
            _ => return,
        };
        self.tell(id, input);
    }

    fn tell(&mut self, id: StreamId, input: StreamInput) {
        if let Some(stream) = self.streams.get_mut(&id) {
            match input {
                StreamInput::Connected => stream.dialling = false,
                StreamInput::Bytes(_) => stream.reading = false,
                StreamInput::Written => stream.writing = false,
                StreamInput::Closed => stream.over = true,
                // Of connections that a server hands over.
                StreamInput::Settled => {}
            }
        }
        self.driver.stream(now(self.micros), id, input);
    }

    /// The server writes to a stream.
    fn say(&mut self, n: u8, said: &Said<'_>) {
        let count = self.streams.len().max(1);
        let Some(stream) = self.streams.values_mut().nth(usize::from(n) % count) else { return };
        let message = |message: Vec<u8>| [&nthd::header(message.len() as u32)[..], &message].concat();
        let bytes = match said {
            Said::Bytes(bytes) => bytes.to_vec(),
            Said::Answer(content) => {
                let plain = content.encode();
                let records = v2::AuthResponse::decode(&plain[..]).ok().map(|r| write_auth_response(&r));
                message(noise_response(&records.and_then(Result::ok).unwrap_or(plain)))
            }
            Said::Challenge(challenge) => message(noise_challenge(&SERVER, &challenge.encode(&SERVER))),
            Said::Frame(sent) => stream.peer.bytes(sent, true).1,
        };
        stream.incoming.extend(bytes);
    }

    /// Does what the QUIC server wants.
    fn serve(&mut self) {
        let now = self.now();
        for _ in 0..MAX_STEPS {
            match self.server.poll_output(now, Some(&mut self.tx)) {
                ntproto_quic::Output::Transmit(t) => {
                    for one in self.tx.as_slice().chunks(t.segment_size.unwrap_or(t.len)) {
                        if self.to_client.len() < MAX_UNDER_WAY {
                            self.to_client.push_back(one.to_vec());
                        }
                    }
                }
                ntproto_quic::Output::Event(event) => match event {
                    ntproto_quic::Event::Connected { conn, .. } | ntproto_quic::Event::Early { conn, .. }
                        if self.conns.iter().all(|(known, _)| *known != conn) =>
                    {
                        self.conns.push((conn, Peer::default()));
                    }
                    ntproto_quic::Event::Readable { conn, channel } => {
                        self.server.with(now, conn, |c| c.read_chunks(channel, usize::MAX, |_| true));
                    }
                    _ => {}
                },
                ntproto_quic::Output::Wait { .. } => return,
            }
        }
        panic!("the server never waits");
    }

    /// Does what the driver wants until it waits.
    fn drain(&mut self, full: bool) {
        let now = self.now();
        for _ in 0..MAX_STEPS {
            if self.done {
                return;
            }
            match self.driver.poll(now, (!full).then_some(&mut self.tx)) {
                Step::Transmit(t) => {
                    assert!(!full && t.len == self.tx.as_slice().len() && t.len > 0);
                    for one in self.tx.as_slice().chunks(t.segment_size.unwrap_or(t.len)) {
                        if t.remote == address(1) && self.to_server.len() < MAX_UNDER_WAY {
                            self.to_server.push_back(one.to_vec());
                        }
                    }
                }
                Step::Stream(id, step) => self.step(id, step),
                Step::Effect(effect) => match effect {
                    Effect::Store(op, _) => self.store.push_back(op),
                    Effect::Resolve { id, .. } => self.lookups.push(id),
                    Effect::Bootstrap(_) | Effect::Learned(_) => panic!("nobody said that it can"),
                    Effect::Called(CallId(id), _) => {
                        self.answered += 1;
                        assert!(
                            id <= self.calls && self.answered <= self.calls,
                            "each call is answered once"
                        );
                    }
                    Effect::HttpToken(..) => panic!("nobody asked for it"),
                    Effect::Event(_) | Effect::Reached | Effect::Lost(_) => {}
                },
                Step::Wait(Some(at)) if at <= now.mono => {
                    if full {
                        return;
                    }
                    self.driver.timeout(now);
                }
                Step::Wait(at) => {
                    self.wait = at;
                    return;
                }
                Step::Done => self.done = true,
            }
        }
        panic!("the driver never waits");
    }

    fn step(&mut self, id: StreamId, step: StreamStep) {
        let known = self.streams.contains_key(&id);
        let stream = self.streams.entry(id).or_default();
        assert!(!stream.over, "{id} is over, and asked to {step:?}");
        assert!(
            known || matches!(step, StreamStep::Dial(_)),
            "{id} was never dialled, and asked to {step:?}"
        );
        match step {
            StreamStep::Dial(_) => {
                assert!(!known, "a name is used once");
                stream.dialling = true;
            }
            StreamStep::Read => {
                assert!(
                    !stream.dialling && !std::mem::replace(&mut stream.reading, true),
                    "two reads at once"
                );
            }
            StreamStep::Write(bytes) => {
                assert!(
                    !stream.dialling && !std::mem::replace(&mut stream.writing, true),
                    "two writes at once"
                );
                assert!(!bytes.is_empty());
            }
            StreamStep::Close => stream.over = true,
        }
    }

    /// Nobody wants it any more: it says what it has to say, and ends.
    fn finish(mut self) {
        self.driver.commands_closed(self.now());
        for _ in 0..MAX_TIMERS {
            self.drain(false);
            if self.done {
                return;
            }
            let Some(at) = self.wait else { break };
            self.micros = self.micros.max(at.as_micros());
            self.driver.timeout(self.now());
        }
        panic!("it never ends");
    }
}

fn now(micros: u64) -> Now {
    Now { mono: Instant::from_micros(micros), unix: UnixMillis(UNIX_MS + micros / 1000) }
}

fuzz_target!(|data: &[u8]| {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let mut world = World::new(&input);
    for op in input.ops.iter().take(MAX_OPS) {
        if world.done {
            return;
        }
        world.op(op);
    }
    if !world.done {
        world.finish();
    }
});
