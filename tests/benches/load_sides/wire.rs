//! Many sessions over one QUIC endpoint from one thread, without an SDK around them, so that a load costs as little as
//! it can. What they do, a [`Load`] says.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ntproto_core::binding::Binding;
use ntproto_core::crypto::aws_lc::AWS_LC;
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::endpoint::client::{
    ClientEndpoint, Command, Config, Event as SessionEvent, ServerIdentity,
};
use ntproto_core::endpoint::{Input as SessionInput, Output as SessionOutput};
use ntproto_core::ids::ConversationId;
use ntproto_core::rng::Rng;
use ntproto_core::time::Now;
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::packet::{Kind, Packet, PacketId};
use ntproto_net::{Machine, Step};
use ntproto_proto::v2;
use ntproto_proto::v2::auth_request::Credential;
use ntproto_quic::tls::default_provider;
use ntproto_quic::{
    ALPN, ClientTls, ConnId, Endpoint, EndpointConfig, Event, Input, Output, Pin, Received, Trust,
};
use ntproto_sdk::ConnectString;
use ntproto_tokio::{Clock, Socket, drive};
use prost::Message as _;

/// Sessions that authenticate at the same time: below the server's threshold for address validation.
const WAVE: usize = 16;
const HEARTBEAT: Duration = Duration::from_secs(30);
const BUFFER: usize = 64 * 1024;
/// Nothing here is to be given up.
const DEADLINE_MS: u32 = 20_000;

/// What sessions do. They are named by their connections, and come in the order of their seats.
pub trait Load {
    /// The keys of the next device.
    fn keys(&mut self, seat: usize, rng: &mut Rng) -> &DeviceKeys;

    /// What entitles it.
    fn credential(&self) -> Credential;

    /// The server let the device of this seat in.
    fn granted(&mut self, wire: &mut Wire<'_>, now: Now, conn: ConnId, seat: usize, grant: &v2::Grant);

    /// A packet came: an answer, or something the server tells. Errors don't come here: they end the benchmark.
    fn packet(&mut self, wire: &mut Wire<'_>, now: Now, conn: ConnId, packet: &Packet);

    /// When it wants to be called, whatever comes.
    fn wakes(&self) -> Option<Instant>;

    /// That time may have come.
    fn woken(&mut self, wire: &mut Wire<'_>, now: Now);
}

struct Session {
    seat: usize,
    end: ClientEndpoint,
    tx: TxBuf,
    /// The channel that the buffer is for, and how much of it is written.
    at: Option<(Channel, usize)>,
    requests: u32,
}

/// The sessions, as a load sees them.
pub struct Wire<'a> {
    quic: Endpoint,
    connect: &'a ConnectString,
    server_static: [u8; 32],
    tls: ClientTls,
    pub rng: Rng,
    want: usize,
    asked: usize,
    ready: usize,
    sessions: BTreeMap<ConnId, Session>,
    /// Sessions that have something to say.
    stirred: Vec<ConnId>,
    done: bool,
}

/// Opens `want` sessions, does with them what the load says, until it ends them.
pub fn run(connect: &ConnectString, want: usize, load: &mut impl Load) {
    let clock = Clock::start();
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).unwrap();
    let body = v2::ServerCertificateBody::decode(&connect.certificate.body[..]).unwrap();
    let pins = vec![Pin(connect.tls_pin)];
    let mut wire = Wire {
        quic: Endpoint::new(EndpointConfig::client(), clock.base(), seed),
        connect,
        server_static: body.static_key[..].try_into().unwrap(),
        tls: ClientTls::new(default_provider(), Trust::Pinned(pins), &[ALPN]).unwrap(),
        rng: Rng::new(seed),
        want,
        asked: 0,
        ready: 0,
        sessions: BTreeMap::new(),
        stirred: Vec::new(),
        done: false,
    };
    let socket = Socket::bind(([127, 0, 0, 1], 0).into()).unwrap();
    wire.dial(clock.now());
    let (_keep, commands) = async_channel::bounded(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(drive(&mut Driven { wire, load }, &socket, &clock, commands, |()| {})).unwrap();
}

impl Wire<'_> {
    /// Connects as many as may be on their way at once.
    fn dial(&mut self, now: Now) {
        let remote = (std::net::Ipv4Addr::LOCALHOST, self.connect.port).into();
        while self.asked < self.want && self.asked < self.ready + WAVE {
            self.quic.connect(now, &self.tls, remote, "localhost").unwrap();
            self.asked += 1;
        }
    }

    /// A session is where its load wants it, and another may be opened. Answers whether it was the last one.
    pub fn ready(&mut self, now: Now) -> bool {
        self.ready += 1;
        self.dial(now);
        self.ready == self.want
    }

    /// Asks for something; its answer has this number.
    pub fn request(&mut self, now: Now, conn: ConnId, channel: Channel, id: PacketId, body: Bytes) -> u32 {
        let session = self.sessions.get_mut(&conn).unwrap();
        session.requests += 1;
        let kind = Kind::Request(session.requests);
        let packet = Packet { id, kind, deadline_ms: Some(DEADLINE_MS), trace: None, body };
        session.end.call(now, Command::Send(channel, packet)).unwrap();
        self.stirred.push(conn);
        session.requests
    }

    /// Sends a message of so many bytes.
    pub fn send(&mut self, now: Now, conn: ConnId, to: ConversationId, bytes: usize) -> u32 {
        let request = v2::SendRequest {
            conversation: Bytes::copy_from_slice(&to.0),
            client_msg_id: Bytes::copy_from_slice(&self.rng.array::<16>()),
            body: vec![7; bytes].into(),
            ..Default::default()
        };
        self.request(now, conn, Channel::Message, PacketId::SEND, request.encode_to_vec().into())
    }

    /// Whether it was ended.
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// Closes all sessions.
    pub fn end(&mut self, now: Now) {
        self.done = true;
        for conn in std::mem::take(&mut self.sessions).into_keys() {
            self.quic.with(now, conn, |c| c.close(0, b""));
        }
    }

    fn read(&mut self, now: Now, conn: ConnId, channel: Channel) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        self.quic.with(now, conn, |c| {
            c.read_chunks(channel, usize::MAX, |data| {
                session.end.handle(now, SessionInput::Bytes { channel, data: &data });
                true
            })
        });
        self.stirred.push(conn);
    }

    /// What a session has to say next, once what it wrote is with the transport.
    fn poll(&mut self, now: Now, conn: ConnId) -> Option<SessionEvent> {
        let session = self.sessions.get_mut(&conn)?;
        loop {
            if let Some((channel, at)) = &mut session.at {
                let rest = &session.tx.as_slice()[*at..];
                *at += self.quic.with(now, conn, |c| c.write(*channel, rest)).unwrap_or(0);
                if *at < session.tx.as_slice().len() {
                    return None;
                }
                session.at = None;
            }
            session.tx.clear();
            match session.end.poll_output(now, Some(&mut session.tx)) {
                SessionOutput::Transmit { channel } => session.at = Some((channel, 0)),
                SessionOutput::Event(event) => return Some(event),
                SessionOutput::Wait { .. } => return None,
            }
        }
    }
}

/// A load on its wire.
struct Driven<'a, 'l, L> {
    wire: Wire<'a>,
    load: &'l mut L,
}

impl<L: Load> Driven<'_, '_, L> {
    fn connected(&mut self, now: Now, conn: ConnId, binding: Binding) {
        let wire = &mut self.wire;
        let config = Config {
            provider: &AWS_LC,
            server: ServerIdentity::Known(wire.server_static),
            binding,
            heartbeat: HEARTBEAT,
        };
        let request = v2::AuthRequest {
            credential: Some(self.load.credential()),
            fingerprint_hash: Bytes::from_static(&[0; 32]),
            timestamp_ms: now.unix.0,
            versions: vec!["2.4.1".into()],
            transports: vec!["quic".into()],
            app_id: 10001,
            device_name: "bench".into(),
            ..Default::default()
        };
        let seat = wire.sessions.len();
        let keys = self.load.keys(seat, &mut wire.rng);
        let end = ClientEndpoint::new(now, config, keys, request, &mut wire.rng).unwrap();
        wire.sessions.insert(conn, Session { seat, end, tx: TxBuf::new(BUFFER), at: None, requests: 0 });
        wire.stirred.push(conn);
    }

    /// Lets every session that stirred take, decide and write until none wants anything more.
    fn settle(&mut self, now: Now) {
        while let Some(conn) = self.wire.stirred.pop() {
            while let Some(event) = self.wire.poll(now, conn) {
                match event {
                    SessionEvent::Packet(_, packet) => {
                        if let Kind::Error(_) = packet.kind {
                            panic!("refused: {:?}", v2::Error::decode(packet.body));
                        }
                        self.load.packet(&mut self.wire, now, conn, &packet);
                    }
                    SessionEvent::Granted(grant) => {
                        let seat = self.wire.sessions[&conn].seat;
                        self.load.granted(&mut self.wire, now, conn, seat, &grant);
                    }
                    SessionEvent::Ticket(_) => {}
                    event => panic!("{event:?}"),
                }
            }
        }
    }
}

impl<L: Load> Machine for Driven<'_, '_, L> {
    type Command = ();
    type Effect = ();

    fn datagram(&mut self, now: Now, received: Received<'_>) {
        self.wire.quic.handle(now, Input::Datagram(received));
    }

    fn timeout(&mut self, now: Now) {
        self.wire.quic.handle(now, Input::Timeout);
        if !self.wire.done {
            self.load.woken(&mut self.wire, now);
            self.settle(now);
        }
    }

    fn command(&mut self, _: Now, (): ()) {}

    fn commands_closed(&mut self, _: Now) {}

    fn poll(&mut self, now: Now, mut tx: Option<&mut TxBuf>) -> Step<()> {
        loop {
            match self.wire.quic.poll_output(now, tx.as_deref_mut()) {
                Output::Transmit(transmit) => return Step::Transmit(transmit),
                Output::Event(event) => match event {
                    Event::Connected { conn, binding, .. } => self.connected(now, conn, binding),
                    Event::Readable { conn, channel } => self.wire.read(now, conn, channel),
                    Event::Writable { conn, .. } => self.wire.stirred.push(conn),
                    Event::Closed { reason, .. } => assert!(self.wire.done, "closed: {reason:?}"),
                    _ => {}
                },
                Output::Wait { .. } if self.wire.done && self.wire.quic.is_flushed() => return Step::Done,
                Output::Wait { at, .. } => {
                    let own = self.load.wakes().filter(|_| !self.wire.done);
                    let own = own.map(|at| now.mono + at.saturating_duration_since(Instant::now()));
                    return Step::Wait([at, own].into_iter().flatten().min());
                }
            }
            self.settle(now);
        }
    }
}
