//! Sessions of accounts that exist: two who chat, one who writes to a large group, and its members, who sync when
//! they are told to.

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
const BODY: usize = 100;
/// Who chats takes so long to go on: a device may send so many messages a second for long.
const PAUSE: Duration = Duration::from_millis(5);

/// What somebody does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// One message after the other to the other one, and the time of each is measured.
    Chats,
    /// Receives those.
    Listens,
    /// Writes to the large group.
    Writes,
    /// Is a member of it.
    Member,
}

/// A device that is known to the server.
pub struct Seat {
    pub keys: DeviceKeys,
    pub part: Part,
}

/// What is done, when all are in.
#[derive(Clone, Copy)]
pub struct Plan {
    pub direct: ConversationId,
    pub group: ConversationId,
    /// Before either measurement.
    pub warm_up: Duration,
    /// How long each measurement takes.
    pub measure: Duration,
    /// Between two messages to the group.
    pub every: Duration,
}

/// What came of it.
#[derive(Default)]
pub struct Report {
    /// From the call to the durable acknowledgement, sorted: before anybody writes to the group, and while.
    pub idle: Vec<Duration>,
    pub beside: Vec<Duration>,
    /// Messages to the group, pushes that said that there are some, syncs, and messages found by these.
    pub written: u64,
    pub told: u64,
    pub syncs: u64,
    pub found: u64,
}

struct Session {
    seat: usize,
    end: ClientEndpoint,
    tx: TxBuf,
    at: Option<(Channel, usize)>,
    count: u32,
    sent: Option<(u32, Instant)>,
    cursor: u64,
    epoch: Bytes,
    syncing: Option<u32>,
    /// Was told to sync while it did.
    again: bool,
}

/// The machine of all sessions.
pub struct Crowd<'a> {
    quic: Endpoint,
    connect: &'a ConnectString,
    server_static: [u8; 32],
    tls: ClientTls,
    rng: Rng,
    seats: &'a [Seat],
    plan: Plan,
    asked: usize,
    ready: usize,
    sessions: BTreeMap<ConnId, Session>,
    began: Option<Instant>,
    next_chat: Option<Instant>,
    next_write: Option<Instant>,
    /// Called when all are in, and at the end.
    mark: Box<dyn FnMut() + 'a>,
    report: Report,
    done: bool,
}

impl<'a> Crowd<'a> {
    /// Lets all in, runs the plan, and closes.
    pub fn run(connect: &'a ConnectString, seats: &'a [Seat], plan: Plan, mark: impl FnMut() + 'a) -> Report {
        let clock = Clock::start();
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).unwrap();
        let body = v2::ServerCertificateBody::decode(&connect.certificate.body[..]).unwrap();
        let pins = vec![Pin(connect.tls_pin)];
        let mut machine = Crowd {
            quic: Endpoint::new(EndpointConfig::client(), clock.base(), seed),
            connect,
            server_static: body.static_key[..].try_into().unwrap(),
            tls: ClientTls::new(default_provider(), Trust::Pinned(pins), &[ALPN]).unwrap(),
            rng: Rng::new(seed),
            seats,
            plan,
            asked: 0,
            ready: 0,
            sessions: BTreeMap::new(),
            began: None,
            next_chat: None,
            next_write: None,
            mark: Box::new(mark),
            report: Report::default(),
            done: false,
        };
        let socket = Socket::bind(([127, 0, 0, 1], 0).into()).unwrap();
        machine.ask(clock.now());
        let (_keep, commands) = async_channel::bounded(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(drive(&mut machine, &socket, &clock, commands, |()| {})).unwrap();
        machine.report.idle.sort();
        machine.report.beside.sort();
        machine.report
    }

    fn ask(&mut self, now: Now) {
        let remote = (std::net::Ipv4Addr::LOCALHOST, self.connect.port).into();
        while self.asked < self.seats.len() && self.asked < self.ready + WAVE {
            self.quic.connect(now, &self.tls, remote, "localhost").unwrap();
            self.asked += 1;
        }
    }

    fn connected(&mut self, now: Now, conn: ConnId, binding: Binding) {
        let seat = self.sessions.len();
        let config = Config {
            provider: &AWS_LC,
            server: ServerIdentity::Known(self.server_static),
            binding,
            heartbeat: HEARTBEAT,
        };
        let request = v2::AuthRequest {
            credential: Some(v2::auth_request::Credential::KnownDevice(v2::KnownDevice {})),
            fingerprint_hash: Bytes::from_static(&[0; 32]),
            timestamp_ms: now.unix.0,
            versions: vec!["2.4.1".into()],
            transports: vec!["quic".into()],
            app_id: 10001,
            device_name: "bench".into(),
            ..Default::default()
        };
        let end = ClientEndpoint::new(now, config, &self.seats[seat].keys, request, &mut self.rng).unwrap();
        let session = Session {
            seat,
            end,
            tx: TxBuf::new(BUFFER),
            at: None,
            count: 0,
            sent: None,
            cursor: 0,
            epoch: Bytes::new(),
            syncing: None,
            again: false,
        };
        self.sessions.insert(conn, session);
        self.step(now, conn);
    }

    fn request(&mut self, now: Now, conn: ConnId, channel: Channel, id: PacketId, body: Bytes) -> u32 {
        let session = self.sessions.get_mut(&conn).unwrap();
        session.count += 1;
        let kind = Kind::Request(session.count);
        let packet = Packet { id, kind, deadline_ms: Some(20_000), trace: None, body };
        session.end.call(now, Command::Send(channel, packet)).unwrap();
        session.count
    }

    fn sync(&mut self, now: Now, conn: ConnId) {
        let session = &self.sessions[&conn];
        let request = v2::SyncRequest { epoch: session.epoch.clone(), cursor: session.cursor, limit: 256 };
        let number = self.request(now, conn, Channel::Sync, PacketId::SYNC, request.encode_to_vec().into());
        let session = self.sessions.get_mut(&conn).unwrap();
        (session.syncing, session.again) = (Some(number), false);
    }

    fn send(&mut self, now: Now, conn: ConnId, to: ConversationId) {
        let request = v2::SendRequest {
            conversation: Bytes::copy_from_slice(&to.0),
            client_msg_id: Bytes::copy_from_slice(&self.rng.array::<16>()),
            body: vec![7; BODY].into(),
            ..Default::default()
        };
        let sent = Instant::now();
        let body = request.encode_to_vec().into();
        let number = self.request(now, conn, Channel::Message, PacketId::SEND, body);
        self.sessions.get_mut(&conn).unwrap().sent = Some((number, sent));
        self.step(now, conn);
    }

    fn seat(&self, part: Part) -> ConnId {
        let of = |session: &Session| self.seats[session.seat].part == part;
        self.sessions.iter().find(|(_, session)| of(session)).map(|(conn, _)| *conn).unwrap()
    }

    fn packet(&mut self, now: Now, conn: ConnId, packet: &Packet) {
        if let Kind::Error(_) = packet.kind {
            panic!("refused: {:?}", v2::Error::decode(packet.body.clone()));
        }
        if packet.id == PacketId::DIRTY {
            self.report.told += 1;
            let session = self.sessions.get_mut(&conn).unwrap();
            session.again = true;
            if session.syncing.is_none() {
                self.sync(now, conn);
            }
            return;
        }
        let Kind::Response(number) = packet.kind else { return };
        let session = self.sessions.get_mut(&conn).unwrap();
        if session.syncing == Some(number) {
            let page = v2::SyncResponse::decode(packet.body.clone()).unwrap();
            let first = session.epoch.is_empty();
            (session.epoch, session.cursor, session.syncing) = (page.epoch, page.next, None);
            if self.began.is_some() {
                self.report.syncs += 1;
                self.report.found += page.deltas.len() as u64;
            }
            if page.has_more || session.again {
                self.sync(now, conn);
            } else if first {
                self.ready(now);
            }
        } else if let Some((_, at)) = session.sent.take_if(|(sent, _)| *sent == number) {
            let took = at.elapsed();
            if self.seats[self.sessions[&conn].seat].part == Part::Chats {
                self.took(now, took);
            }
        }
    }

    fn ready(&mut self, now: Now) {
        self.ready += 1;
        self.ask(now);
        if self.ready == self.seats.len() && self.began.is_none() {
            (self.mark)();
            self.began = Some(Instant::now());
            self.next_chat = Some(Instant::now());
        }
    }

    /// A message of the chat was acknowledged: it is counted where it belongs, and the next one is sent.
    fn took(&mut self, now: Now, took: Duration) {
        let Plan { warm_up, measure, .. } = self.plan;
        let since = self.began.unwrap().elapsed();
        let first = warm_up + measure;
        if since < warm_up {
        } else if since < first {
            self.report.idle.push(took);
        } else if self.next_write.is_none() {
            self.next_write = Some(Instant::now());
        } else if since >= first + warm_up {
            self.report.beside.push(took);
        }
        if since < 2 * first {
            self.next_chat = Some(Instant::now() + PAUSE);
        } else {
            self.end(now);
        }
    }

    fn chat(&mut self, now: Now) {
        if !self.done && self.next_chat.take_if(|at| *at <= Instant::now()).is_some() {
            let chats = self.seat(Part::Chats);
            self.send(now, chats, self.plan.direct);
        }
    }

    fn write(&mut self, now: Now) {
        let Some(at) = self.next_write.filter(|at| *at <= Instant::now() && !self.done) else { return };
        self.next_write = Some(at + self.plan.every);
        let writes = self.seat(Part::Writes);
        if self.sessions[&writes].sent.is_none() {
            self.report.written += 1;
            self.send(now, writes, self.plan.group);
        }
    }

    fn end(&mut self, now: Now) {
        if !self.done {
            self.done = true;
            (self.mark)();
            for conn in std::mem::take(&mut self.sessions).into_keys() {
                self.quic.with(now, conn, |c| c.close(0, b""));
            }
        }
    }

    fn step(&mut self, now: Now, conn: ConnId) {
        while let Some(session) = self.sessions.get_mut(&conn) {
            if let Some((channel, at)) = &mut session.at {
                let rest = &session.tx.as_slice()[*at..];
                *at += self.quic.with(now, conn, |c| c.write(*channel, rest)).unwrap_or(0);
                if *at < session.tx.as_slice().len() {
                    return;
                }
                session.at = None;
            }
            session.tx.clear();
            match session.end.poll_output(now, Some(&mut session.tx)) {
                SessionOutput::Transmit { channel } => session.at = Some((channel, 0)),
                SessionOutput::Event(SessionEvent::Packet(_, packet)) => self.packet(now, conn, &packet),
                SessionOutput::Event(SessionEvent::Granted(_)) => self.sync(now, conn),
                SessionOutput::Event(SessionEvent::Ticket(_)) => {}
                SessionOutput::Event(event) => panic!("{event:?}"),
                SessionOutput::Wait { .. } => return,
            }
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
    }
}

impl Machine for Crowd<'_> {
    type Command = ();
    type Effect = ();

    fn datagram(&mut self, now: Now, received: Received<'_>) {
        self.quic.handle(now, Input::Datagram(received));
    }

    fn timeout(&mut self, now: Now) {
        self.quic.handle(now, Input::Timeout);
        self.chat(now);
        self.write(now);
    }

    fn command(&mut self, _: Now, (): ()) {}

    fn commands_closed(&mut self, _: Now) {}

    fn poll(&mut self, now: Now, mut tx: Option<&mut TxBuf>) -> Step<()> {
        loop {
            match self.quic.poll_output(now, tx.as_deref_mut()) {
                Output::Transmit(transmit) => return Step::Transmit(transmit),
                Output::Event(event) => match event {
                    Event::Connected { conn, binding, .. } => self.connected(now, conn, binding),
                    Event::Readable { conn, channel } => {
                        self.read(now, conn, channel);
                        self.step(now, conn);
                    }
                    Event::Writable { conn, .. } => self.step(now, conn),
                    Event::Closed { reason, .. } => assert!(self.done, "closed: {reason:?}"),
                    Event::Early { .. } | Event::Datagram { .. } => {}
                },
                Output::Wait { .. } if self.done && self.quic.is_flushed() => return Step::Done,
                Output::Wait { at, .. } => {
                    let own = [self.next_chat, self.next_write].into_iter().flatten().min();
                    let own = own.filter(|_| !self.done);
                    let own = own.map(|at| now.mono + at.saturating_duration_since(Instant::now()));
                    return Step::Wait([at, own].into_iter().flatten().min());
                }
            }
        }
    }
}
