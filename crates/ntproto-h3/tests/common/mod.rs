//! What the tests share: one connection fed by hand, and two that talk through a pipe which cuts, delays and mixes
//! what they say as QUIC may.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test uses a part")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use http::{Request, Response};
use ntproto_core::time::Instant;
use ntproto_h3::qpack::{Field, section};
use ntproto_h3::table::{frame as frames, setting, stream as streams};
use ntproto_h3::{
    Code, Config, Connection, Dir, Event, Input, Output, Role, SessionEnd, SessionId, StreamId, frame, varint,
};

pub const START: Instant = Instant::ORIGIN;

/// A client's streams: requests, and its control stream and two of QPACK.
pub const REQUEST: StreamId = StreamId(0);
pub const CONTROL: StreamId = StreamId(2);
pub const ENCODER: StreamId = StreamId(6);
pub const DECODER: StreamId = StreamId(10);
/// A server's.
pub const SERVER_CONTROL: StreamId = StreamId(3);

pub fn number(value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint::put(value, &mut out);
    out
}

pub fn numbers(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| number(*value)).collect()
}

pub fn section(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    section::begin(&mut out);
    for (name, value) in fields {
        let (name, value) = (name.as_bytes(), value.as_bytes());
        section::encode(Field { name, value, never_indexed: false }, &mut out);
    }
    out
}

pub fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    frame::whole(frames::HEADERS, &section(fields))
}

pub fn data(bytes: &[u8]) -> Vec<u8> {
    frame::whole(frames::DATA, bytes)
}

pub const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/")];

pub const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "https"), (":authority", "a.example"), (":path", "/")];

pub const CONNECT: [(&str, &str); 6] = [
    (":method", "CONNECT"),
    (":protocol", "webtransport"),
    (":scheme", "https"),
    (":authority", "a.example"),
    (":path", "/v2/session"),
    ("origin", "https://a.example"),
];

/// A control stream that begins with these settings.
pub fn control(settings: &[(u64, u64)]) -> Vec<u8> {
    let payload: Vec<u8> = settings.iter().flat_map(|(id, value)| numbers(&[*id, *value])).collect();
    [number(streams::CONTROL), frame::whole(frames::SETTINGS, &payload)].concat()
}

/// The settings of a peer that speaks WebTransport.
pub const WEBTRANSPORT: [(u64, u64); 4] = [
    (setting::ENABLE_CONNECT_PROTOCOL, 1),
    (setting::H3_DATAGRAM, 1),
    (setting::ENABLE_WEBTRANSPORT_DRAFT02, 1),
    (setting::WEBTRANSPORT_MAX_SESSIONS_DRAFT07, 4),
];

/// One connection, whose peer is the test. QUIC opens streams and takes bytes at once.
pub struct Alone {
    pub conn: Connection,
    pub now: Instant,
    pub events: Vec<Event>,
    pub written: BTreeMap<StreamId, Vec<u8>>,
    pub ended: BTreeSet<StreamId>,
    pub resets: BTreeMap<StreamId, Code>,
    pub stops: BTreeMap<StreamId, Code>,
    pub reads: Vec<StreamId>,
    pub datagrams: Vec<Bytes>,
    pub closed: Option<Code>,
    pub deadline: Option<Instant>,
}

impl Alone {
    pub fn new(conn: Connection) -> Self {
        let mut this = Self {
            conn,
            now: START,
            events: Vec::new(),
            written: BTreeMap::new(),
            ended: BTreeSet::new(),
            resets: BTreeMap::new(),
            stops: BTreeMap::new(),
            reads: Vec::new(),
            datagrams: Vec::new(),
            closed: None,
            deadline: None,
        };
        this.drain();
        this
    }

    pub fn server() -> Self {
        Self::new(Connection::server(Config::default()))
    }

    pub fn client() -> Self {
        Self::new(Connection::client(Config::default()))
    }

    /// A server whose client speaks WebTransport.
    pub fn web_server() -> Self {
        let mut this = Self::server();
        this.feed(CONTROL, &control(&WEBTRANSPORT));
        this
    }

    pub fn input(&mut self, input: Input) -> &mut Self {
        self.conn.handle(self.now, input);
        self.drain();
        self
    }

    pub fn bytes(&mut self, stream: StreamId, bytes: &[u8], fin: bool) -> &mut Self {
        self.input(Input::Stream { stream, data: Bytes::copy_from_slice(bytes), fin })
    }

    /// Bytes, one at a time.
    pub fn drip(&mut self, stream: StreamId, bytes: &[u8]) -> &mut Self {
        bytes.iter().for_each(|byte| {
            self.bytes(stream, &[*byte], false);
        });
        self
    }

    pub fn feed(&mut self, stream: StreamId, bytes: &[u8]) -> &mut Self {
        self.bytes(stream, bytes, false)
    }

    pub fn end(&mut self, stream: StreamId, bytes: &[u8]) -> &mut Self {
        self.bytes(stream, bytes, true)
    }

    pub fn reset(&mut self, stream: StreamId, code: Code) -> &mut Self {
        self.input(Input::Reset { stream, code })
    }

    pub fn stopped(&mut self, stream: StreamId, code: Code) -> &mut Self {
        self.input(Input::Stopped { stream, code })
    }

    pub fn datagram(&mut self, bytes: &[u8]) -> &mut Self {
        self.input(Input::Datagram(Bytes::copy_from_slice(bytes)))
    }

    /// So much later.
    pub fn later(&mut self, wait: std::time::Duration) -> &mut Self {
        self.now = self.now + wait;
        self.input(Input::Timeout)
    }

    pub fn drain(&mut self) {
        for _ in 0..100_000 {
            match self.conn.poll_output(self.now) {
                Output::Open(stream) => self.conn.handle(self.now, Input::Opened(stream)),
                Output::Write { stream, data, fin } => {
                    assert!(!self.ended.contains(&stream), "nothing after the end of {stream}");
                    self.written.entry(stream).or_default().extend_from_slice(&data);
                    if fin {
                        self.ended.insert(stream);
                    }
                    self.conn.handle(self.now, Input::Written { stream, len: data.len() });
                }
                Output::Reset { stream, code } => {
                    assert_eq!(self.resets.insert(stream, code), None, "one reset of {stream}");
                }
                Output::Stop { stream, code } => {
                    assert_eq!(self.stops.insert(stream, code), None, "one stop of {stream}");
                }
                Output::Read(stream) => self.reads.push(stream),
                Output::Datagram(data) => self.datagrams.push(data),
                Output::Close { code, .. } => assert_eq!(self.closed.replace(code), None, "one close"),
                Output::Event(event) => {
                    assert_eq!(self.closed, None, "nothing after the close");
                    self.events.push(event);
                }
                Output::Wait { at } => {
                    self.deadline = at;
                    return;
                }
            }
        }
        panic!("it never waits");
    }

    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The frames that were written to a stream of requests.
    pub fn frames(&self, stream: StreamId) -> Vec<(u64, Vec<u8>)> {
        split(self.written.get(&stream).map_or(&[], Vec::as_slice))
    }
}

/// Whole frames.
pub fn split(bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut reader = frame::FrameReader::default();
    let mut bytes = Bytes::copy_from_slice(bytes);
    let mut found: Vec<(u64, Vec<u8>)> = Vec::new();
    while let Some(piece) = reader.next(&mut bytes) {
        match piece {
            frame::Piece::Start { kind, .. } => found.push((kind, Vec::new())),
            frame::Piece::Data(data) => found.last_mut().unwrap().1.extend_from_slice(&data),
            frame::Piece::End => {}
        }
    }
    found
}

pub fn get(path: &str) -> Request<()> {
    Request::get(format!("https://a.example{path}")).body(()).unwrap()
}

pub fn post(path: &str) -> Request<()> {
    Request::post(format!("https://a.example{path}")).body(()).unwrap()
}

pub fn status(code: u16) -> Response<()> {
    Response::builder().status(code).body(()).unwrap()
}

/// Random numbers that come again.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 16) as usize) % limit.max(1)
    }
}

/// What is under way on one stream.
#[derive(Default)]
struct Flight {
    data: VecDeque<u8>,
    fin: bool,
    reset: Option<Code>,
    stop: Option<Code>,
    done: bool,
    opened: bool,
}

pub struct Side {
    pub conn: Connection,
    /// What comes to it, by stream.
    inbox: BTreeMap<StreamId, Flight>,
    datagrams: VecDeque<Bytes>,
    /// Streams that did not take everything.
    blocked: BTreeSet<StreamId>,
    /// Streams that QUIC has yet to open.
    opening: VecDeque<StreamId>,
    pub events: Vec<Event>,
    /// What came on each stream; whether it ended.
    pub bodies: BTreeMap<StreamId, Vec<u8>>,
    pub ended: BTreeSet<StreamId>,
    unread: BTreeMap<StreamId, usize>,
    pub closed: Option<Code>,
}

/// Two connections, and the network between them.
pub struct World {
    pub sides: [Side; 2],
    pub dice: Dice,
    pub now: Instant,
    /// Bytes that QUIC takes at a time.
    pub grain: usize,
}

pub const SERVER: usize = 0;
pub const CLIENT: usize = 1;

impl World {
    pub fn new(seed: u64, server: Config, client: Config) -> Self {
        let side = |conn| Side {
            conn,
            inbox: BTreeMap::new(),
            datagrams: VecDeque::new(),
            blocked: BTreeSet::new(),
            opening: VecDeque::new(),
            events: Vec::new(),
            bodies: BTreeMap::new(),
            ended: BTreeSet::new(),
            unread: BTreeMap::new(),
            closed: None,
        };
        Self {
            sides: [side(Connection::server(server)), side(Connection::client(client))],
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            now: START,
            grain: 1 + (seed as usize % 3000 * 37) % 3000,
        }
    }

    /// Everything one side has to say.
    fn drain(&mut self, no: usize) {
        let Self { sides: [a, b], dice, now, grain } = self;
        let (side, other) = if no == 0 { (a, b) } else { (b, a) };
        loop {
            match side.conn.poll_output(*now) {
                Output::Open(stream) => side.opening.push_back(stream),
                Output::Write { stream, data, fin } => {
                    let flight = other.inbox.entry(stream).or_default();
                    let len =
                        if dice.below(3) == 0 { dice.below(data.len() + 1) } else { data.len().min(*grain) };
                    flight.data.extend(&data[..len]);
                    flight.fin |= fin && len == data.len();
                    flight.opened = true;
                    if len < data.len() {
                        side.blocked.insert(stream);
                    }
                    side.conn.handle(*now, Input::Written { stream, len });
                }
                Output::Reset { stream, code } => {
                    let flight = other.inbox.entry(stream).or_default();
                    flight.reset = Some(code);
                    flight.opened = true;
                }
                Output::Stop { stream, code } => {
                    side.inbox.entry(stream).or_default().done = true;
                    other.inbox.entry(stream).or_default().stop = Some(code);
                }
                Output::Read(_) => {}
                Output::Datagram(data) => other.datagrams.push_back(data),
                Output::Close { code, .. } => side.closed = Some(code),
                Output::Event(event) => {
                    match &event {
                        Event::Data { stream, data } => {
                            side.bodies.entry(*stream).or_default().extend_from_slice(data);
                            *side.unread.entry(*stream).or_default() += data.len();
                        }
                        Event::End { stream } => {
                            assert!(side.ended.insert(*stream), "one end");
                        }
                        Event::Request { stream, end: true, .. }
                        | Event::Response { stream, end: true, .. } => {
                            assert!(side.ended.insert(*stream), "one end");
                        }
                        _ => {}
                    }
                    side.events.push(event);
                }
                Output::Wait { .. } => return,
            }
        }
    }

    /// One thing happens at one side; whether there was one.
    fn step(&mut self) -> bool {
        self.drain(SERVER);
        self.drain(CLIENT);
        let first = self.dice.below(2);
        [first, 1 - first].into_iter().any(|no| self.step_of(no))
    }

    fn step_of(&mut self, no: usize) -> bool {
        let now = self.now;
        let Self { sides, dice, grain, .. } = self;
        let side = &mut sides[no];
        if side.closed.is_some() {
            return false;
        }
        let mut choices: Vec<Input> = Vec::new();
        if let Some(stream) = side.opening.front() {
            choices.push(Input::Opened(*stream));
        }
        choices.extend(side.blocked.iter().map(|stream| Input::Writable(*stream)));
        choices.extend(side.datagrams.front().map(|data| Input::Datagram(data.clone())));
        for (stream, flight) in &side.inbox {
            if let Some(code) = flight.stop {
                choices.push(Input::Stopped { stream: *stream, code });
            }
            if flight.done || !flight.opened {
                continue;
            }
            // A reset may overtake what was sent before it.
            if let Some(code) = flight.reset {
                choices.push(Input::Reset { stream: *stream, code });
            }
            let len = flight.data.len().min(side.conn.room(*stream)).min(1 + dice.below(*grain));
            let fin = flight.fin && len == flight.data.len();
            if len > 0 || fin {
                let data = flight.data.iter().take(len).copied().collect::<Vec<u8>>().into();
                choices.push(Input::Stream { stream: *stream, data, fin });
            }
        }
        let unread: Vec<(StreamId, usize)> = side
            .unread
            .iter()
            .filter(|(_, unread)| **unread > 0)
            .map(|(stream, unread)| (*stream, *unread))
            .collect();
        let pick = dice.below(choices.len() + unread.len());
        if pick >= choices.len() {
            let Some((stream, unread)) = unread.get(pick - choices.len()).copied() else { return false };
            let read = 1 + dice.below(unread);
            *side.unread.entry(stream).or_default() -= read;
            side.conn.consume(stream, read);
            self.drain(no);
            return true;
        }
        let input = choices.swap_remove(pick);
        match &input {
            Input::Opened(_) => {
                side.opening.pop_front();
            }
            Input::Writable(stream) => {
                side.blocked.remove(stream);
            }
            Input::Datagram(_) => {
                side.datagrams.pop_front();
            }
            Input::Stopped { stream, .. } => side.inbox.entry(*stream).or_default().stop = None,
            Input::Reset { stream, .. } => side.inbox.entry(*stream).or_default().done = true,
            Input::Stream { stream, data, fin } => {
                let flight = side.inbox.entry(*stream).or_default();
                flight.data.drain(..data.len());
                flight.done |= fin;
            }
            _ => {}
        }
        side.conn.handle(now, input);
        self.drain(no);
        true
    }

    /// Until nothing happens any more.
    pub fn run(&mut self) {
        for _ in 0..2_000_000 {
            if !self.step() {
                return;
            }
        }
        panic!("it never ends");
    }

    pub fn take_events(&mut self, no: usize) -> Vec<Event> {
        std::mem::take(&mut self.sides[no].events)
    }

    /// A session that both sides have, up.
    pub fn session(&mut self) -> SessionId {
        let session = self.sides[CLIENT].conn.connect_session(&get("/v2/session")).unwrap();
        self.run();
        let asked = self.take_events(SERVER).into_iter().find_map(|event| match event {
            Event::Session { session, head } => Some((session, head)),
            _ => None,
        });
        let (asked, head) = asked.expect("a session is asked for");
        assert_eq!((asked, head.uri().path()), (session, "/v2/session"));
        self.sides[SERVER].conn.accept(session, &status(200)).unwrap();
        self.run();
        let up = |event: &Event| matches!(event, Event::SessionUp { session: up, .. } if *up == session);
        assert!(self.take_events(CLIENT).iter().any(up));
        session
    }

    /// Sends all of it, as room comes.
    pub fn send_all(&mut self, no: usize, stream: StreamId, mut data: Bytes) {
        for _ in 0..1_000_000 {
            let taken = self.sides[no].conn.send(stream, data.clone(), true).unwrap();
            let all = taken == data.len();
            data = data.slice(taken..);
            if all {
                return self.run();
            }
            self.step();
        }
        panic!("no room ever came");
    }
}

pub fn closed(events: &[Event]) -> Vec<(SessionId, SessionEnd)> {
    let ends = events.iter().filter_map(|event| match event {
        Event::SessionClosed { session, reason } => Some((*session, reason.clone())),
        _ => None,
    });
    ends.collect()
}

pub fn new_id(opener: Role, dir: Dir, index: u64) -> StreamId {
    StreamId::new(opener, dir, index)
}
