//! A connection of HTTP/3, of either side, whose peer sends what it likes and whose application does what it likes:
//! no panic, nothing after the close, ends told once, memory within the limits, and nothing left behind when all ends.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use http::{Request, Response};
use libfuzzer_sys::fuzz_target;
use ntproto_core::time::Instant;
use ntproto_h3::config::{MAX_SESSIONS, RECEIVE_WINDOW};
use ntproto_h3::qpack::{Field, section};
use ntproto_h3::table::{frame as frames, setting, stream as streams};
use ntproto_h3::{Code, Config, Connection, Dir, Event, Input, Output, SessionId, StreamId, frame, varint};

#[derive(Arbitrary)]
enum Op<'a> {
    Bytes {
        stream: u8,
        what: What<'a>,
        fin: bool,
    },
    Reset(u8, u32),
    Stopped(u8, u32),
    Datagram(&'a [u8]),
    Later(u16),
    Writable(u8),
    /// QUIC takes so many bytes of a write from now on.
    Grain(u8),
    App(App<'a>),
}

#[derive(Arbitrary)]
enum What<'a> {
    Raw(&'a [u8]),
    Control(Vec<(u8, u8)>),
    Uni(u8),
    Get,
    Post,
    Connect,
    Status(u8),
    Head(Vec<(&'a [u8], &'a [u8])>),
    Frame(u8, &'a [u8]),
    Lie(u8, u32),
    Session(u8),
    SessionUni(u8),
}

#[derive(Arbitrary)]
enum App<'a> {
    Request(bool),
    Connect,
    Respond(u8, bool),
    Send(u8, u16, bool),
    Consume(u8, u16),
    Reset(u8),
    Stop(u8),
    Cancel(u8),
    Accept(u8),
    Refuse(u8),
    Open(u8, bool),
    Datagram(u8, &'a [u8]),
    Close(u8),
    Goaway,
}

const SETTINGS: [u64; 8] = [
    setting::MAX_FIELD_SECTION_SIZE,
    setting::ENABLE_CONNECT_PROTOCOL,
    setting::H3_DATAGRAM,
    setting::ENABLE_WEBTRANSPORT_DRAFT02,
    setting::WEBTRANSPORT_MAX_SESSIONS_DRAFT07,
    setting::QPACK_MAX_TABLE_CAPACITY,
    0x21,
    0x02,
];

const KINDS: [u64; 10] = [
    frames::DATA,
    frames::HEADERS,
    frames::CANCEL_PUSH,
    frames::SETTINGS,
    frames::PUSH_PROMISE,
    frames::GOAWAY,
    frames::MAX_PUSH_ID,
    frames::WEBTRANSPORT_STREAM,
    0x21,
    0x06,
];

fn numbers(values: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    values.iter().for_each(|value| varint::put(*value, &mut out));
    out
}

fn head<'a>(fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Vec<u8> {
    let mut out = Vec::new();
    section::begin(&mut out);
    for (name, value) in fields {
        section::encode(Field { name, value, never_indexed: false }, &mut out);
    }
    frame::whole(frames::HEADERS, &out)
}

fn request(method: &'static [u8], protocol: bool) -> Vec<u8> {
    let mut fields: Vec<(&[u8], &[u8])> =
        vec![(b":method", method), (b":scheme", b"https"), (b":authority", b"a.example"), (b":path", b"/")];
    if protocol {
        fields.push((b":protocol", b"webtransport"));
    }
    head(fields)
}

impl What<'_> {
    fn bytes(&self) -> Vec<u8> {
        let kind = |kind: &u8| KINDS[usize::from(*kind) % KINDS.len()];
        match self {
            What::Raw(bytes) => bytes.to_vec(),
            What::Control(settings) => {
                let pairs = settings.iter().flat_map(|(id, value)| {
                    let id = SETTINGS[usize::from(*id) % SETTINGS.len()];
                    numbers(&[id, u64::from(*value) % 3])
                });
                let payload: Vec<u8> = pairs.collect();
                [numbers(&[streams::CONTROL]), frame::whole(frames::SETTINGS, &payload)].concat()
            }
            What::Uni(kind) => numbers(&[u64::from(*kind % 8)]),
            What::Get => request(b"GET", false),
            What::Post => request(b"POST", false),
            What::Connect => request(b"CONNECT", true),
            What::Status(status) => {
                let text = (u32::from(*status) * 3).to_string();
                head([(&b":status"[..], text.as_bytes())])
            }
            What::Head(fields) => head(fields.iter().copied()),
            What::Frame(no, payload) => frame::whole(kind(no), payload),
            What::Lie(no, len) => numbers(&[kind(no), (*len).into()]),
            What::Session(session) => numbers(&[frames::WEBTRANSPORT_STREAM, u64::from(*session % 24)]),
            What::SessionUni(session) => numbers(&[streams::WEBTRANSPORT, u64::from(*session % 24)]),
        }
    }
}

/// What is refused is refused: the answers matter to nobody here.
fn ignore<T>(_: T) {}

struct Host {
    conn: Connection,
    now: Instant,
    grain: usize,
    opened: BTreeSet<StreamId>,
    sessions: BTreeSet<SessionId>,
    over: BTreeSet<SessionId>,
    unread: BTreeMap<StreamId, usize>,
    told: BTreeSet<StreamId>,
    ended: BTreeSet<StreamId>,
    reset: BTreeSet<StreamId>,
    finished: BTreeSet<StreamId>,
    closed: bool,
}

impl Host {
    fn input(&mut self, input: Input) {
        self.conn.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        for _ in 0..10_000 {
            match self.conn.poll_output(self.now) {
                Output::Open(stream) => {
                    assert!(stream.opener() == self.conn.role() && self.opened.insert(stream));
                    self.conn.handle(self.now, Input::Opened(stream));
                }
                Output::Write { stream, data, fin } => {
                    assert!(self.opened.contains(&stream) || stream.opener() != self.conn.role());
                    assert!(!self.finished.contains(&stream), "nothing after the end");
                    let len = data.len().min(self.grain);
                    if fin && len == data.len() {
                        self.finished.insert(stream);
                    }
                    self.conn.handle(self.now, Input::Written { stream, len });
                }
                Output::Reset { stream, .. } => {
                    assert!(self.finished.insert(stream), "one end of what is sent")
                }
                Output::Stop { stream, .. } | Output::Read(stream) => {
                    assert!(self.opened.contains(&stream) || stream.opener() != self.conn.role());
                }
                Output::Datagram(data) => assert!(!data.is_empty()),
                Output::Close { .. } => {
                    assert!(!self.closed, "one close");
                    self.closed = true;
                }
                Output::Event(event) => {
                    assert!(!self.closed, "nothing after the close");
                    self.event(event);
                }
                Output::Wait { at } => {
                    assert!(!self.closed || at.is_none());
                    return;
                }
            }
        }
        panic!("it never waits");
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Data { stream, data } => {
                assert!(!data.is_empty() && !self.ended.contains(&stream));
                *self.unread.entry(stream).or_default() += data.len();
            }
            Event::End { stream } => assert!(self.ended.insert(stream), "one end of {stream}"),
            Event::Reset { stream, .. } => {
                // A request that came whole may still be given up.
                self.ended.insert(stream);
                assert!(self.reset.insert(stream), "one reset of {stream}");
            }
            Event::Request { stream, .. } | Event::Response { stream, .. } => {
                assert!(self.told.insert(stream), "one head");
            }
            Event::Session { session, .. } => assert!(self.sessions.insert(session)),
            Event::SessionStream { session, .. } => {
                assert!(self.sessions.contains(&session) && !self.over.contains(&session));
            }
            Event::SessionUp { session, .. }
            | Event::SessionDatagram { session, .. }
            | Event::SessionDrain { session } => {
                assert!(self.sessions.contains(&session) && !self.over.contains(&session));
            }
            Event::SessionClosed { session, .. } => {
                assert!(self.sessions.contains(&session) && self.over.insert(session));
            }
            Event::Settings { .. } | Event::Stopped { .. } | Event::Writable { .. } | Event::Goaway => {}
        }
        assert!(self.sessions.len() - self.over.len() <= MAX_SESSIONS);
    }

    fn app(&mut self, op: &App<'_>) {
        let address = Request::get("https://a.example/").body(()).expect("an address");
        let status = |code| Response::builder().status(code).body(()).expect("a status");
        let stream = |no: &u8| StreamId((*no % 32).into());
        let session = |no: &u8| SessionId(StreamId(4 * u64::from(*no % 8)));
        match op {
            App::Request(end) => ignore(self.conn.request(&address, *end)),
            App::Connect => {
                if let Ok(session) = self.conn.connect_session(&address) {
                    self.sessions.insert(session);
                }
            }
            App::Respond(no, end) => ignore(self.conn.respond(stream(no), &status(200), *end)),
            App::Send(no, len, end) => {
                if let Ok(taken) = self.conn.send(stream(no), vec![0; (*len).into()].into(), *end) {
                    assert!(taken <= (*len).into());
                }
            }
            App::Consume(no, len) => {
                let unread = self.unread.entry(stream(no)).or_default();
                let len = (*unread).min((*len).into());
                *unread -= len;
                self.conn.consume(stream(no), len);
            }
            App::Reset(no) => ignore(self.conn.reset(stream(no), Code::application(1))),
            App::Stop(no) => ignore(self.conn.stop(stream(no), Code::application(1))),
            App::Cancel(no) => ignore(self.conn.cancel(stream(no), Code::REQUEST_CANCELLED)),
            App::Accept(no) => ignore(self.conn.accept(session(no), &status(200))),
            App::Refuse(no) => ignore(self.conn.refuse(session(no), &status(403))),
            App::Open(no, bi) => {
                ignore(self.conn.open(session(no), if *bi { Dir::Bi } else { Dir::Uni }));
            }
            App::Datagram(no, data) => ignore(self.conn.send_datagram(session(no), data)),
            App::Close(no) => ignore(self.conn.close_session(session(no), 7, "fuzzed")),
            App::Goaway => self.conn.goaway(),
        }
        self.drain();
    }

    fn op(&mut self, op: &Op<'_>) {
        let id = |no: &u8| StreamId((*no % 32).into());
        match op {
            Op::Bytes { stream, what, fin } => {
                let stream = id(stream);
                let mut data = Bytes::from(what.bytes());
                let room = self.conn.room(stream);
                assert!(room <= RECEIVE_WINDOW);
                let whole = data.len() <= room;
                data.truncate(room);
                self.input(Input::Stream { stream, data, fin: *fin && whole });
            }
            Op::Reset(stream, code) => {
                self.input(Input::Reset { stream: id(stream), code: Code((*code).into()) })
            }
            Op::Stopped(stream, code) => {
                self.input(Input::Stopped { stream: id(stream), code: Code((*code).into()) });
            }
            Op::Datagram(data) => self.input(Input::Datagram(Bytes::copy_from_slice(data))),
            Op::Later(ms) => {
                self.now = self.now + Duration::from_millis((*ms).into());
                self.input(Input::Timeout);
            }
            Op::Writable(stream) => self.input(Input::Writable(id(stream))),
            Op::Grain(grain) => self.grain = (*grain).into(),
            Op::App(op) => self.app(op),
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok((client, ops)) = <(bool, Vec<Op<'_>>)>::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    let config = Config::default();
    let conn = if client { Connection::client(config) } else { Connection::server(config) };
    let mut host = Host {
        conn,
        now: Instant::ORIGIN,
        grain: usize::MAX,
        opened: BTreeSet::new(),
        sessions: BTreeSet::new(),
        over: BTreeSet::new(),
        unread: BTreeMap::new(),
        told: BTreeSet::new(),
        ended: BTreeSet::new(),
        reset: BTreeSet::new(),
        finished: BTreeSet::new(),
        closed: false,
    };
    host.drain();
    for op in ops.iter().take(200) {
        host.op(op);
    }
    // Everything ends: the peer gives every stream up, the application too, and time passes.
    host.grain = usize::MAX;
    for no in 0..=255 {
        let stream = StreamId(no);
        // Its own control stream ends the connection.
        if stream.dir() == Dir::Uni {
            continue;
        }
        host.now = host.now + Duration::from_secs(1);
        for input in [
            Input::Writable(stream),
            Input::Reset { stream, code: Code::REQUEST_CANCELLED },
            Input::Stopped { stream, code: Code::REQUEST_CANCELLED },
        ] {
            host.input(input);
        }
        ignore(host.conn.cancel(stream, Code::REQUEST_CANCELLED));
        ignore(host.conn.close_session(SessionId(stream), 0, ""));
        host.drain();
    }
    host.now = host.now + Duration::from_secs(60);
    host.input(Input::Timeout);
    assert!(host.closed || host.conn.is_idle(), "nothing is left behind");
    assert_eq!(host.over, host.sessions, "the end of every session is told");
});
