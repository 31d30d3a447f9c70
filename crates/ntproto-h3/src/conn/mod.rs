//! One connection of HTTP/3.
//!
//! | module | is |
//! | --- | --- |
//! | `stream` | what is known of one stream |
//! | `incoming` | bytes of streams, and what they turn out to be |
//! | `control` | the peer's control stream |
//! | `exchange` | a request and its answer |
//! | `session` | sessions of WebTransport: their streams, datagrams, ends |
//! | `calls` | what the application asks for |
//!
//! ```text
//!  peer's uni    Uni ──type──▶ Control · Encoder · Decoder · Ignored
//!                  └─0x54─▶ Unnamed ──session──▶ Web, or Early until the session is up
//!  peer's bidi   Fresh ─0x41─▶ Unnamed
//!                  └─frame─▶ Exchange: Head ─HEADERS─▶ Body ─HEADERS─▶ Trailers
//! ```

mod calls;
mod control;
mod exchange;
mod incoming;
mod session;
mod stream;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use ntproto_core::time::Instant;

use crate::config::{FIRST_BYTES, MAX_DATAGRAMS, RESET_BURST, RESETS_PER_SECOND};
use crate::settings::Settings;
use crate::table;
use crate::{Code, Config, Dir, Event, Input, Output, Role, SessionId, StreamId, frame, varint};
use session::Session;
use stream::{Kind, Stream};

/// Streams that a peer may leave out when it opens one with a higher number: more than any QUIC allows at a time.
const MAX_GAP: u64 = 4096;

/// What the peer did.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// The connection can't go on.
    Connection(Code, &'static str),
    /// The stream can't.
    Stream(Code),
}

impl Fault {
    pub(crate) const fn connection(code: Code, reason: &'static str) -> Self {
        Self::Connection(code, reason)
    }
}

/// Streams of the peer, of one kind: which were seen, and which are yet to come.
#[derive(Debug, Default)]
struct Seen {
    /// The first that was not opened yet.
    next: u64,
    /// Below that, but nothing came on them yet.
    missing: BTreeSet<u64>,
}

impl Seen {
    /// Whether something may still come on this stream for the first time.
    fn is_ahead(&self, index: u64) -> bool {
        index >= self.next || self.missing.contains(&index)
    }

    /// Something came on it: whether that is the first time.
    fn see(&mut self, index: u64) -> Result<bool, Fault> {
        if index < self.next {
            return Ok(self.missing.remove(&index));
        }
        if index - self.next + self.missing.len() as u64 > MAX_GAP {
            return Err(Fault::connection(Code::EXCESSIVE_LOAD, "streams out of all order"));
        }
        self.missing.extend(self.next..index);
        self.next = index + 1;
        Ok(true)
    }
}

/// How often something may happen: so many at once, and so many more each second.
#[derive(Debug)]
struct Bucket {
    left: u32,
    since: Option<Instant>,
}

impl Bucket {
    fn take(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let micros = now.saturating_since(since).as_micros();
        let more = micros * u128::from(RESETS_PER_SECOND) / 1_000_000;
        if more > 0 {
            self.left = RESET_BURST.min(self.left.saturating_add(u32::try_from(more).unwrap_or(u32::MAX)));
            self.since = Some(now);
        }
        let taken = self.left > 0;
        self.left = self.left.saturating_sub(1);
        taken
    }
}

/// A connection of HTTP/3, of either side.
///
/// ```
/// use bytes::Bytes;
/// use ntproto_core::time::Instant;
/// use ntproto_h3::{Config, Connection, Dir, Output, Role, StreamId};
///
/// let mut connection = Connection::server(Config::default());
/// // The first thing it wants is a stream of its own, for SETTINGS.
/// let Output::Open(stream) = connection.poll_output(Instant::ORIGIN) else { panic!() };
/// assert_eq!(stream, StreamId::new(Role::Server, Dir::Uni, 0));
/// ```
#[derive(Debug)]
pub struct Connection {
    role: Role,
    config: Config,
    peer: Option<Settings>,
    streams: BTreeMap<StreamId, Stream>,
    sessions: BTreeMap<SessionId, Session>,
    /// What was said of the peer's streams, bidirectional and unidirectional.
    seen: [Seen; 2],
    /// How many streams this side opened, bidirectional and unidirectional.
    opened: [u64; 2],
    /// The peer's control stream and its two of QPACK: whether they are there.
    critical: [bool; 3],
    /// Requests that are not over.
    requests: usize,
    outputs: VecDeque<Output>,
    /// Streams with something to write, first come first served.
    line: VecDeque<StreamId>,
    datagrams: VecDeque<Bytes>,
    early_datagrams: VecDeque<(SessionId, Bytes)>,
    deadlines: BTreeSet<(Instant, StreamId)>,
    resets: Bucket,
    goaway_sent: Option<u64>,
    goaway_received: Option<u64>,
    max_push_id: Option<u64>,
    closed: bool,
}

impl Connection {
    /// The side that answers.
    #[must_use]
    pub fn server(config: Config) -> Self {
        Self::new(Role::Server, config)
    }

    /// The side that asks.
    #[must_use]
    pub fn client(config: Config) -> Self {
        Self::new(Role::Client, config)
    }

    fn new(role: Role, config: Config) -> Self {
        let mut this = Self {
            role,
            peer: None,
            streams: BTreeMap::new(),
            sessions: BTreeMap::new(),
            seen: [Seen::default(), Seen::default()],
            opened: [0; 2],
            critical: [false; 3],
            requests: 0,
            outputs: VecDeque::new(),
            line: VecDeque::new(),
            datagrams: VecDeque::new(),
            early_datagrams: VecDeque::new(),
            deadlines: BTreeSet::new(),
            resets: Bucket { left: RESET_BURST, since: None },
            goaway_sent: None,
            goaway_received: None,
            max_push_id: None,
            closed: false,
            config,
        };
        //= spec: http3-4
        let control = this.open_stream(Dir::Uni, Kind::Own);
        let mut begin = Vec::new();
        varint::put(table::stream::CONTROL, &mut begin);
        begin.extend(frame::whole(table::frame::SETTINGS, &Settings::encode(role, &this.config)));
        this.push(control, begin.into());
        this
    }

    /// Which side this is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Whether the connection was closed, by [`Output::Close`].
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether there is no request and no session: after [`goaway`](Self::goaway), the host may close the connection, once
    /// QUIC's peer has what was written. A session that was closed is none, by whichever side, even if its client
    /// never ends its stream.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let under_way = |stream: &Stream| match &stream.kind {
            Kind::Exchange(exchange) => !(exchange.is_session() && stream.send.is_done()),
            _ => false,
        };
        self.sessions.is_empty() && !self.streams.values().any(under_way)
    }

    /// How many bytes of a stream may be handed in now. At 0, go on after [`Output::Read`]: until then the bytes stay
    /// in QUIC, which holds the peer back.
    #[must_use]
    pub fn room(&self, stream: StreamId) -> usize {
        let window = self.config.limits.receive_window;
        match self.streams.get(&stream) {
            Some(Stream { kind: Kind::Early { .. }, .. }) => 0,
            Some(Stream { kind: Kind::Fresh(_) | Kind::Unnamed(_) | Kind::Uni(_), .. }) | None => {
                window.min(FIRST_BYTES)
            }
            Some(stream) => window.saturating_sub(stream.unread),
        }
    }

    /// Something came from QUIC, or a deadline passed. Never fails: a peer that breaks a rule loses the stream or the
    /// connection.
    pub fn handle(&mut self, now: Instant, input: Input) {
        if self.closed {
            return;
        }
        let result = match input {
            Input::Stream { stream, data, fin } => self.on_stream(now, stream, data, fin),
            Input::Reset { stream, code } => self.on_reset(now, stream, code),
            Input::Stopped { stream, code } => self.on_stopped(now, stream, code),
            Input::Opened(stream) => {
                self.on_opened(stream);
                Ok(())
            }
            Input::Written { stream, len } => {
                self.on_written(stream, len);
                Ok(())
            }
            Input::Writable(stream) => {
                if let Some(state) = self.streams.get_mut(&stream) {
                    state.send.unblock();
                }
                self.get_in_line(stream);
                Ok(())
            }
            Input::Datagram(data) => self.on_datagram(now, data),
            Input::Timeout => {
                self.on_timeout(now);
                Ok(())
            }
        };
        if let Err(fault) = result {
            self.close(fault);
        }
    }

    /// What the connection wants next. Call until it waits. Deadlines that have passed are kept by this too.
    pub fn poll_output(&mut self, now: Instant) -> Output {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return output;
            }
            if let Some(data) = self.datagrams.pop_front() {
                return Output::Datagram(data);
            }
            while let Some(stream) = self.line.pop_front() {
                let Some(state) = self.streams.get_mut(&stream) else { continue };
                state.in_line = false;
                if state.send.is_ready() && !state.unopened {
                    let (data, fin) = state.send.offer();
                    return Output::Write { stream, data, fin };
                }
            }
            match self.deadlines.first() {
                Some((at, _)) if *at <= now => self.on_timeout(now),
                first => return Output::Wait { at: first.map(|(at, _)| *at) },
            }
        }
    }

    /// The connection is over: events that wait are still told, and then how to close it.
    fn close(&mut self, fault: Fault) {
        let (code, reason) = match fault {
            Fault::Connection(code, reason) => (code, reason),
            Fault::Stream(code) => (code, "a stream that may not fail"),
        };
        let sessions: Vec<SessionId> = self.sessions.keys().copied().collect();
        for session in sessions {
            self.forget_session(session, crate::SessionEnd::Reset(code));
        }
        self.closed = true;
        self.outputs.retain(|output| matches!(output, Output::Event(_)));
        self.outputs.push_back(Output::Close { code, reason });
        self.streams.clear();
        self.line.clear();
        self.datagrams.clear();
        self.early_datagrams.clear();
        self.deadlines.clear();
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// A stream of ours: asked for now, named already.
    fn open_stream(&mut self, dir: Dir, kind: Kind) -> StreamId {
        let opened = &mut self.opened[usize::from(dir == Dir::Uni)];
        let stream = StreamId::new(self.role, dir, *opened);
        *opened += 1;
        self.streams.insert(stream, Stream::new(kind, dir == Dir::Bi, true, true));
        self.outputs.push_back(Output::Open(stream));
        stream
    }

    fn on_opened(&mut self, stream: StreamId) {
        if let Some(state) = self.streams.get_mut(&stream) {
            state.unopened = false;
            self.outputs.extend(state.held.drain(..));
            self.get_in_line(stream);
            self.settle(stream);
        }
    }

    fn on_written(&mut self, stream: StreamId, len: usize) {
        let Some(state) = self.streams.get_mut(&stream) else { return };
        if state.send.written(len, self.config.limits.send_queue) {
            self.event(Event::Writable { stream });
        }
        self.get_in_line(stream);
        self.settle(stream);
    }

    /// Queues bytes as they are.
    fn push(&mut self, stream: StreamId, data: Bytes) {
        if let Some(state) = self.streams.get_mut(&stream) {
            state.send.push(data);
            self.get_in_line(stream);
        }
    }

    /// Puts a stream into the line of writers, if it has something to write.
    fn get_in_line(&mut self, stream: StreamId) {
        if let Some(state) = self.streams.get_mut(&stream)
            && state.send.is_ready()
            && !state.unopened
            && !std::mem::replace(&mut state.in_line, true)
        {
            self.line.push_back(stream);
        }
    }

    /// Resets this side's half, if there is one that is not done.
    fn reset_half(&mut self, stream: StreamId, state: &mut Stream, code: Code) {
        if !state.send.is_done() {
            state.send.drop_all();
            self.act(state, Output::Reset { stream, code });
        }
    }

    /// Stops reading, if that is not done.
    fn stop_half(&mut self, stream: StreamId, state: &mut Stream, code: Code) {
        if std::mem::replace(&mut state.reading, false) {
            self.act(state, Output::Stop { stream, code });
        }
    }

    /// Does something to a stream, or as soon as it is open.
    fn act(&mut self, state: &mut Stream, output: Output) {
        if state.unopened {
            state.held.push(output);
        } else {
            self.outputs.push_back(output);
        }
    }

    /// Sets, changes or clears a stream's deadline.
    fn set_deadline(&mut self, stream: StreamId, state: &mut Stream, at: Option<Instant>) {
        if let Some(before) = std::mem::replace(&mut state.deadline, at) {
            self.deadlines.remove(&(before, stream));
        }
        if let Some(at) = at {
            self.deadlines.insert((at, stream));
        }
    }

    /// Puts a stream back that was taken out, unless it is over.
    fn put_back(&mut self, stream: StreamId, mut state: Stream) {
        if self.closed {
            return;
        }
        if state.is_over() {
            self.set_deadline(stream, &mut state, None);
            if matches!(state.kind, Kind::Exchange(_)) && stream.opener() != self.role {
                self.requests -= 1;
            }
        } else {
            self.streams.insert(stream, state);
            self.get_in_line(stream);
        }
    }

    /// Forgets a stream that is over.
    fn settle(&mut self, stream: StreamId) {
        if self.streams.get(&stream).is_some_and(Stream::is_over)
            && let Some(state) = self.streams.remove(&stream)
        {
            self.put_back(stream, state);
        }
    }

    /// Queues a datagram; the oldest goes when there are too many.
    fn queue_datagram(&mut self, data: Bytes) {
        if self.datagrams.len() == MAX_DATAGRAMS {
            self.datagrams.pop_front();
        }
        self.datagrams.push_back(data);
    }
}
