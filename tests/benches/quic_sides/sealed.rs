//! The same adapter with the core's endpoints on it: authenticated, each message a packet, sealed a second time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ntproto_core::binding::Binding;
use ntproto_core::crypto::aws_lc::AWS_LC;
use ntproto_core::crypto::identity::{DeviceKeys, ServerKey, ServerKeys};
use ntproto_core::endpoint::client::{self, ClientEndpoint, ServerIdentity};
use ntproto_core::endpoint::server::{self, ServerEndpoint};
use ntproto_core::endpoint::{Input, Misuse, Output};
use ntproto_core::rng::Rng;
use ntproto_core::time::Now;
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::packet::{Kind, Packet, PacketId};
use ntproto_net::Step;
use ntproto_proto::v2;
use ntproto_quic::tls::default_provider;
use ntproto_quic::{
    ALPN, ClientTls, ConnId, Endpoint, EndpointConfig, Event, Pin, Received, ServerTls, Trust,
};
use ntproto_tokio::{Clock, Socket, drive};

use super::{Load, Outcome, identity, runtime};
use crate::MESSAGE;

/// Room for a few frames: what is sealed is written at once.
const BUFFER: usize = 64 * 1024;
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Either end of a session.
enum End {
    Client(ClientEndpoint),
    Server(ServerEndpoint),
}

/// What an end wants.
enum Want {
    Transmit(Channel),
    Packet(Bytes),
    Open,
    Admit,
    Nothing,
}

impl End {
    fn bytes(&mut self, now: Now, channel: Channel, data: &[u8]) {
        match self {
            Self::Client(end) => end.handle(now, Input::Bytes { channel, data }),
            Self::Server(end) => end.handle(now, Input::Bytes { channel, data }),
        }
    }

    /// Whether the queue took it.
    fn send(&mut self, now: Now, rng: &mut Rng, body: Bytes) -> bool {
        let packet = Packet { id: PacketId::NOTIFY, kind: Kind::Push, deadline_ms: None, trace: None, body };
        let sent = match self {
            Self::Client(end) => end.call(now, client::Command::Send(Channel::Message, packet)),
            Self::Server(end) => end.call(now, rng, server::Command::Send(Channel::Message, packet)),
        };
        assert!(matches!(sent, Ok(()) | Err(Misuse::QueueFull)), "{sent:?}");
        sent.is_ok()
    }

    fn poll(&mut self, now: Now, tx: Option<&mut TxBuf>) -> Want {
        match self {
            Self::Client(end) => match end.poll_output(now, tx) {
                Output::Transmit { channel } => Want::Transmit(channel),
                Output::Event(client::Event::Packet(_, packet)) => Want::Packet(packet.body),
                Output::Event(client::Event::Granted(_)) => Want::Open,
                Output::Event(event) => panic!("{event:?}"),
                Output::Wait { .. } => Want::Nothing,
            },
            Self::Server(end) => match end.poll_output(now, tx) {
                Output::Transmit { channel } => Want::Transmit(channel),
                Output::Event(server::Event::Packet(_, packet)) => Want::Packet(packet.body),
                Output::Event(server::Event::AuthRequest(_)) => Want::Admit,
                // What the frame held comes next.
                Output::Event(server::Event::Confirmed) => self.poll(now, None),
                Output::Event(_) => panic!("the session ended"),
                Output::Wait { .. } => Want::Nothing,
            },
        }
    }
}

/// What either side knows of the server's key.
enum Keys {
    Client { device: Box<DeviceKeys>, server: [u8; 32] },
    Server(Arc<ServerKeys>),
}

struct Machine {
    quic: Endpoint,
    load: Load,
    keys: Keys,
    rng: Rng,
    session: Option<(ConnId, End)>,
    open: bool,
    /// Sealed bytes on their way to the channel, and how many it took.
    tx: TxBuf,
    at: Option<(Channel, usize)>,
    sent: usize,
    got: usize,
    back: VecDeque<Bytes>,
    body: Bytes,
    start: Option<Instant>,
    ping: Option<Instant>,
    round_trips: Vec<Duration>,
    outcome: Option<Outcome>,
    done: bool,
}

impl Machine {
    fn new(quic: Endpoint, load: Load, keys: Keys) -> Self {
        Self {
            quic,
            load,
            keys,
            rng: Rng::new([3; 32]),
            session: None,
            open: false,
            tx: TxBuf::new(BUFFER),
            at: None,
            sent: 0,
            got: 0,
            back: VecDeque::new(),
            body: Bytes::from_static(&[7; MESSAGE]),
            start: None,
            ping: None,
            round_trips: Vec::new(),
            outcome: None,
            done: false,
        }
    }

    fn connected(&mut self, now: Now, conn: ConnId, binding: Binding) {
        let end = match &self.keys {
            Keys::Server(keys) => {
                End::Server(ServerEndpoint::new(now, &AWS_LC, keys.clone(), binding, HEARTBEAT))
            }
            Keys::Client { device, server } => {
                let config = client::Config {
                    provider: &AWS_LC,
                    server: ServerIdentity::Known(*server),
                    binding,
                    heartbeat: HEARTBEAT,
                };
                let request = v2::AuthRequest {
                    credential: Some(v2::auth_request::Credential::KnownDevice(v2::KnownDevice {})),
                    fingerprint_hash: Bytes::from_static(&[0; 32]),
                    versions: vec!["2.4.1".into()],
                    transports: vec!["quic".into()],
                    ..Default::default()
                };
                End::Client(ClientEndpoint::new(now, config, device, request, &mut self.rng).unwrap())
            }
        };
        self.session = Some((conn, end));
    }

    fn admit(&mut self, now: Now) {
        let Some((_, End::Server(end))) = &mut self.session else { panic!() };
        let grant = v2::Grant {
            session_id: Bytes::from_static(&[1; 16]),
            device_id: Bytes::from_static(&[2; 16]),
            version: "2.4.1".into(),
            ..Default::default()
        };
        end.call(now, &mut self.rng, server::Command::Grant(grant)).unwrap();
        self.open = true;
    }

    /// Queues what the load allows now; whether that was anything.
    fn queue(&mut self, now: Now) -> bool {
        let Some((_, end)) = self.session.as_mut().filter(|_| self.open) else { return false };
        let mut queued = false;
        if matches!(end, End::Server(_)) {
            while self.back.front().is_some_and(|body| end.send(now, &mut self.rng, body.clone())) {
                self.back.pop_front();
                queued = true;
            }
            return queued;
        }
        let goal = match self.load {
            // What was queued before went out: the next write.
            Load::OneWay { messages, a_write } => messages.min(self.sent + a_write),
            Load::Echo { messages, window } => messages.min(self.got + window),
        };
        while self.sent < goal {
            if matches!(self.load, Load::Echo { window: 1, .. }) {
                self.ping = Some(Instant::now());
            }
            if !end.send(now, &mut self.rng, self.body.clone()) {
                break;
            }
            self.sent += 1;
            queued = true;
        }
        queued
    }

    fn packet(&mut self, now: Now, body: Bytes) {
        self.got += 1;
        let server = matches!(self.keys, Keys::Server(_));
        match self.load {
            Load::OneWay { messages, .. } if server && self.got == messages => {
                self.back.push_back(Bytes::from_static(&[1]));
            }
            Load::Echo { .. } if server => self.back.push_back(body),
            Load::OneWay { .. } if !server => self.finish(now),
            Load::Echo { messages, .. } if !server => {
                self.round_trips.extend(self.ping.take().map(|sent| sent.elapsed()));
                if self.got == messages {
                    self.finish(now);
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, now: Now) {
        let mut round_trips = std::mem::take(&mut self.round_trips);
        round_trips.sort();
        let elapsed = self.start.unwrap().elapsed();
        self.outcome = Some(Outcome { messages: self.load.messages(), elapsed, round_trips });
        if let Some((conn, _)) = self.session.take() {
            self.quic.with(now, conn, |c| c.close(0, b""));
        }
    }

    /// Lets the session take, decide and write until it wants nothing more.
    fn step(&mut self, now: Now) {
        loop {
            let Some((conn, end)) = &mut self.session else { return };
            if let Some((channel, at)) = &mut self.at {
                let rest = &self.tx.as_slice()[*at..];
                *at += self.quic.with(now, *conn, |c| c.write(*channel, rest)).unwrap_or(0);
                if *at < self.tx.as_slice().len() {
                    return;
                }
                self.at = None;
            }
            self.tx.clear();
            match end.poll(now, Some(&mut self.tx)) {
                Want::Transmit(channel) => self.at = Some((channel, 0)),
                Want::Packet(body) => self.packet(now, body),
                Want::Open => {
                    self.open = true;
                    self.start = Some(Instant::now());
                }
                Want::Admit => self.admit(now),
                Want::Nothing if self.queue(now) => {}
                Want::Nothing => return,
            }
        }
    }

    fn read(&mut self, now: Now, channel: Channel) {
        let Some((conn, end)) = &mut self.session else { return };
        self.quic.with(now, *conn, |c| {
            c.read_chunks(channel, usize::MAX, |bytes| {
                end.bytes(now, channel, &bytes);
                true
            })
        });
    }
}

impl ntproto_net::Machine for Machine {
    type Command = ();
    type Effect = ();

    fn datagram(&mut self, now: Now, received: Received<'_>) {
        self.quic.handle(now, ntproto_quic::Input::Datagram(received));
    }

    fn timeout(&mut self, now: Now) {
        self.quic.handle(now, ntproto_quic::Input::Timeout);
    }

    fn command(&mut self, _: Now, (): ()) {}

    fn commands_closed(&mut self, _: Now) {}

    fn poll(&mut self, now: Now, mut tx: Option<&mut TxBuf>) -> Step<()> {
        loop {
            match self.quic.poll_output(now, tx.as_deref_mut()) {
                ntproto_quic::Output::Transmit(transmit) => return Step::Transmit(transmit),
                ntproto_quic::Output::Event(event) => match event {
                    Event::Connected { conn, binding, .. } => self.connected(now, conn, binding),
                    Event::Readable { channel, .. } => self.read(now, channel),
                    Event::Closed { .. } => self.done = true,
                    Event::Early { .. }
                    | Event::Writable { .. }
                    | Event::Datagram { .. }
                    | Event::Streams { .. } => {}
                },
                ntproto_quic::Output::Wait { .. } if self.done && self.quic.is_flushed() => {
                    return Step::Done;
                }
                ntproto_quic::Output::Wait { at, .. } => return Step::Wait(at),
            }
            self.step(now);
        }
    }
}

fn host(machine: &mut Machine, socket: &Socket, clock: &Clock) {
    let (_keep, commands) = async_channel::bounded(1);
    runtime().block_on(drive(machine, socket, clock, commands, |()| {})).unwrap();
}

pub fn run(load: Load) -> Outcome {
    let (cert, key) = identity();
    let pin = Pin::of(&cert).unwrap();
    let tls = ServerTls::new(default_provider(), vec![cert], key, &[ALPN]).unwrap();
    let mut rng = Rng::new([4; 32]);
    let keys = Arc::new(ServerKeys::new(ServerKey::generate(&mut rng, &AWS_LC, 1), None));
    let device = Box::new(DeviceKeys::generate(&mut rng, &AWS_LC));
    let ours = Keys::Client { device, server: *keys.current().public() };
    let socket = || Socket::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let (server_socket, client_socket) = (socket(), socket());
    let remote = server_socket.local_addr();
    let server = thread::spawn(move || {
        let clock = Clock::start();
        let quic = Endpoint::new(EndpointConfig::server(tls), clock.base(), [1; 32]);
        host(&mut Machine::new(quic, load, Keys::Server(keys)), &server_socket, &clock);
    });
    let clock = Clock::start();
    let mut quic = Endpoint::new(EndpointConfig::client(), clock.base(), [2; 32]);
    let tls = ClientTls::new(default_provider(), Trust::Pinned(vec![pin]), &[ALPN]).unwrap();
    quic.connect(clock.now(), &tls, remote, "localhost").unwrap();
    let mut client = Machine::new(quic, load, ours);
    host(&mut client, &client_socket, &clock);
    server.join().unwrap();
    client.outcome.unwrap()
}
