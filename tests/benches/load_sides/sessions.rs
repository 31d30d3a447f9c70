//! Authenticated sessions without an SDK around them: the core's endpoints over one QUIC endpoint, so that the
//! load costs as little as it can.

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
use ntproto_core::ids::{ConversationId, Uin};
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

/// What the sessions shall do once all of them are open.
#[derive(Clone, Copy)]
pub enum Plan {
    /// Nothing, for so long.
    Rest(Duration),
    /// One message in flight each, for so long.
    Send { body: usize, warm_up: Duration, measure: Duration },
}

/// What came of it.
#[derive(Default)]
pub struct Result {
    pub messages: u64,
    pub elapsed: Duration,
    /// From the call to the durable acknowledgement; sorted.
    pub latencies: Vec<Duration>,
}

struct Session {
    end: ClientEndpoint,
    uin: Uin,
    tx: TxBuf,
    at: Option<(Channel, usize)>,
    sent: Option<Instant>,
    count: u32,
}

/// The machine of all sessions.
pub struct Sessions<'a> {
    quic: Endpoint,
    connect: &'a ConnectString,
    server_static: [u8; 32],
    tls: ClientTls,
    rng: Rng,
    want: usize,
    asked: usize,
    sessions: BTreeMap<ConnId, Session>,
    members: Vec<(ConnId, Uin)>,
    plan: Plan,
    began: Option<Instant>,
    /// Called when all are open and when the plan is over.
    mark: Box<dyn FnMut() + 'a>,
    result: Result,
    done: bool,
}

impl<'a> Sessions<'a> {
    /// Opens `want` sessions of new accounts, runs the plan, and closes.
    pub fn run(connect: &'a ConnectString, want: usize, plan: Plan, mark: impl FnMut() + 'a) -> Result {
        let clock = Clock::start();
        let pin = Pin(connect.tls_pin);
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).unwrap();
        let body = v2::ServerCertificateBody::decode(&connect.certificate.body[..]).unwrap();
        let mut machine = Sessions {
            quic: Endpoint::new(EndpointConfig::client(), clock.base(), seed),
            connect,
            server_static: body.static_key[..].try_into().unwrap(),
            tls: ClientTls::new(default_provider(), Trust::Pinned(vec![pin]), &[ALPN]).unwrap(),
            rng: Rng::new(seed),
            want,
            asked: 0,
            sessions: BTreeMap::new(),
            members: Vec::new(),
            plan,
            began: None,
            mark: Box::new(mark),
            result: Result::default(),
            done: false,
        };
        let socket = Socket::bind(([127, 0, 0, 1], 0).into()).unwrap();
        machine.ask(clock.now());
        let (_keep, commands) = async_channel::bounded(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(drive(&mut machine, &socket, &clock, commands, |()| {})).unwrap();
        machine.result.latencies.sort();
        machine.result
    }

    /// Connects as many as may be on their way at once.
    fn ask(&mut self, now: Now) {
        let remote = (std::net::Ipv4Addr::LOCALHOST, self.connect.port).into();
        while self.asked < self.want && self.asked < self.members.len() + WAVE {
            self.quic.connect(now, &self.tls, remote, "localhost").unwrap();
            self.asked += 1;
        }
    }

    fn connected(&mut self, now: Now, conn: ConnId, binding: Binding) {
        let device = DeviceKeys::generate(&mut self.rng, &AWS_LC);
        let config = Config {
            provider: &AWS_LC,
            server: ServerIdentity::Known(self.server_static),
            binding,
            heartbeat: HEARTBEAT,
        };
        let request = v2::AuthRequest {
            credential: Some(v2::auth_request::Credential::OpenRegistration(v2::OpenRegistration {})),
            fingerprint_hash: Bytes::from_static(&[0; 32]),
            timestamp_ms: now.unix.0,
            versions: vec!["2.4.1".into()],
            transports: vec!["quic".into()],
            app_id: 10001,
            device_name: "bench".into(),
            ..Default::default()
        };
        let end = ClientEndpoint::new(now, config, &device, request, &mut self.rng).unwrap();
        let session = Session { end, uin: Uin(0), tx: TxBuf::new(BUFFER), at: None, sent: None, count: 0 };
        self.sessions.insert(conn, session);
        self.step(now, conn);
    }

    fn opened(&mut self, now: Now, conn: ConnId, uin: Uin) {
        self.sessions.get_mut(&conn).unwrap().uin = uin;
        self.members.push((conn, uin));
        self.ask(now);
        if self.members.len() < self.want {
            return;
        }
        (self.mark)();
        self.began = Some(Instant::now());
        if matches!(self.plan, Plan::Send { .. }) {
            for n in 0..self.members.len() {
                self.send(now, n);
            }
        }
    }

    /// The next message of member `n`, to the one after it.
    fn send(&mut self, now: Now, n: usize) {
        let Plan::Send { body, .. } = self.plan else { return };
        let (conn, from) = self.members[n];
        let (_, to) = self.members[(n + 1) % self.members.len()];
        let request = v2::SendRequest {
            conversation: Bytes::copy_from_slice(&ConversationId::direct(from, to).0),
            client_msg_id: Bytes::copy_from_slice(&self.rng.array::<16>()),
            body: vec![7; body].into(),
            resolve_only: false,
            ..Default::default()
        };
        let session = self.sessions.get_mut(&conn).unwrap();
        session.count += 1;
        let packet = Packet {
            id: PacketId::SEND,
            kind: Kind::Request(session.count),
            deadline_ms: Some(5_000),
            trace: None,
            body: request.encode_to_vec().into(),
        };
        session.sent = Some(Instant::now());
        session.end.call(now, Command::Send(Channel::Message, packet)).unwrap();
        self.step(now, conn);
    }

    fn packet(&mut self, now: Now, conn: ConnId, packet: &Packet) {
        let session = self.sessions.get_mut(&conn).unwrap();
        match packet.kind {
            Kind::Response(n) if n == session.count => {}
            Kind::Error(_) => panic!("refused: {:?}", v2::Error::decode(packet.body.clone())),
            _ => return,
        }
        let took = session.sent.take().unwrap().elapsed();
        let Plan::Send { warm_up, measure, .. } = self.plan else { return };
        let since = self.began.unwrap().elapsed();
        if since >= warm_up {
            if self.result.messages == 0 {
                (self.mark)();
            }
            self.result.messages += 1;
            self.result.latencies.push(took);
            self.result.elapsed = since - warm_up;
        }
        if since < warm_up + measure {
            let n = self.members.iter().position(|(c, _)| *c == conn).unwrap();
            self.send(now, n);
        } else {
            self.end(now);
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

    /// Lets a session take, decide and write until it wants nothing more.
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
                SessionOutput::Event(SessionEvent::Granted(grant)) => self.opened(now, conn, Uin(grant.uin)),
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

impl Machine for Sessions<'_> {
    type Command = ();
    type Effect = ();

    fn datagram(&mut self, now: Now, received: Received<'_>) {
        self.quic.handle(now, Input::Datagram(received));
    }

    fn timeout(&mut self, now: Now) {
        self.quic.handle(now, Input::Timeout);
        if let (Plan::Rest(rest), Some(began)) = (self.plan, self.began)
            && began.elapsed() >= rest
        {
            self.end(now);
        }
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
                    let rest = match (self.plan, self.began) {
                        (Plan::Rest(rest), Some(began)) if !self.done => {
                            Some(now.mono + rest.saturating_sub(began.elapsed()))
                        }
                        _ => None,
                    };
                    return Step::Wait([at, rest].into_iter().flatten().min());
                }
            }
        }
    }
}
