//! One HTTP/3 connection of a server: its exchanges and its sessions.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use ntproto_core::binding::{Binding, TransportId};
use ntproto_core::code::ErrorCode;
use ntproto_core::time::{Instant, Now, earliest};
use ntproto_core::wire::channel::Channel;
use ntproto_h3::{Code, Dir, SessionEnd, SessionId, StreamId};
use ntproto_quic::config::MAX_CLOSE_REASON;
use ntproto_quic::{ALPN, Conn, EarlyData, StreamNo};

use super::carrier::Carrier;
use super::exchange::{Exchange, Next, give_up};
use super::session::{CLOSE_TIME, Came, Closing, Session, WebSession, fault};
use super::{SESSION_PATH, WebConfig};
use crate::event::{Closed, Event, WebClosed};
use crate::{ConnId, ExchangeId, HttpAnswer, HttpEvent};

/// How long a connection may be without a request or a session: as long as over HTTP/2. Its peer could keep it for ever
/// at the price of a ping now and then.
pub const IDLE_TIME: Duration = Duration::from_secs(120);
/// How long a connection that is to end may take nothing of what it was sent: as QUIC frees what was acknowledged in pieces
/// of up to 32 KiB, that is 3 KiB a second.
pub const STALL_TIME: Duration = Duration::from_secs(10);
/// Our control stream: the first of one direction that a server opens.
const CONTROL: StreamNo = StreamNo(3);

/// What all connections share.
pub(crate) struct Shared<'a> {
    pub(crate) config: &'a WebConfig,
    pub(crate) leaving: bool,
    pub(crate) sessions: &'a mut BTreeMap<ConnId, (ntproto_quic::ConnId, SessionId)>,
    pub(crate) count: &'a mut u64,
    pub(crate) events: &'a mut VecDeque<Event>,
}

/// A connection.
pub(crate) struct Http3 {
    id: ntproto_quic::ConnId,
    remote: SocketAddr,
    rtt: Duration,
    ping: bool,
    pub(crate) carrier: Carrier,
    pub(crate) exchanges: BTreeMap<StreamId, Exchange>,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    /// Streams of sessions.
    streams: BTreeMap<StreamId, SessionId>,
    /// What the host is to hear of exchanges, from its own calls.
    told: Vec<(StreamId, HttpEvent)>,
    /// Bytes of a stream that HTTP/3 holds at most.
    queue: usize,
    /// When it is let go for having nothing to do; `None` while it has.
    idle: Option<Instant>,
    /// GOAWAY was sent.
    leaving: bool,
    /// When it ends, unless its peer takes something until then.
    last: Option<Instant>,
    /// What its peer had not acknowledged when it was looked at last, since it has nothing to do.
    owed: Option<u64>,
    pub(crate) armed: Option<Instant>,
}

impl Http3 {
    pub(crate) fn new(id: ntproto_quic::ConnId, remote: SocketAddr, config: ntproto_h3::Config) -> Self {
        Self {
            id,
            remote,
            rtt: Duration::ZERO,
            ping: false,
            queue: config.limits.send_queue,
            carrier: Carrier::server(config),
            exchanges: BTreeMap::new(),
            sessions: BTreeMap::new(),
            streams: BTreeMap::new(),
            told: Vec::new(),
            idle: None,
            leaving: false,
            last: None,
            owed: None,
            armed: None,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let closing = self.sessions.values().filter_map(|session| session.closed.as_ref()?.until).min();
        [closing, self.last.or(self.idle)].into_iter().fold(self.carrier.deadline(), earliest)
    }

    /// Nobody new is let in: what is there is finished, then it ends.
    pub(crate) fn leave(&mut self) {
        self.carrier.machine().goaway();
        self.leaving = true;
    }

    /// What a visitor may ask for.
    pub(crate) fn look(&mut self, conn: &Conn<'_>) {
        self.remote = conn.remote();
        self.rtt = conn.stats().rtt;
    }

    pub(crate) fn with<R>(
        &mut self,
        session: SessionId,
        visit: impl FnOnce(&mut WebSession<'_>) -> R,
    ) -> Option<R> {
        let session = self.sessions.get_mut(&session).filter(|session| session.closed.is_none())?;
        session.remote = self.remote;
        let mut visited = WebSession { session, carrier: &mut self.carrier, rtt: self.rtt, ping: false };
        let result = visit(&mut visited);
        self.ping |= visited.ping;
        Some(result)
    }

    /// Moves everything that can move, and tells what came of it.
    pub(crate) fn pump(&mut self, now: Now, conn: &mut Conn<'_>, shared: &mut Shared<'_>) {
        if std::mem::take(&mut self.ping) {
            conn.ping();
        }
        self.begin_closing(now, shared);
        loop {
            for (stream, event) in std::mem::take(&mut self.told) {
                self.tell(shared, stream, event);
            }
            self.carrier.pump(now, conn);
            if self.end_closing(now, conn) {
                continue;
            }
            let Some(event) = self.carrier.next_event() else {
                if self.see_to_end(now, conn) {
                    continue;
                }
                break;
            };
            self.on_event(event, shared);
            while let Some(event) = self.carrier.next_event() {
                self.on_event(event, shared);
            }
        }
    }

    /// Lets go of a connection that has nothing to do, or has done all when the server goes away. `true`: there is more to say.
    fn see_to_end(&mut self, now: Now, conn: &mut Conn<'_>) -> bool {
        if !self.exchanges.is_empty() || !self.sessions.is_empty() {
            (self.idle, self.last) = (None, None);
            return false;
        }
        if self.idle.is_none() {
            (self.idle, self.owed) = (Some(now.mono + (IDLE_TIME - STALL_TIME)), None);
        }
        if self.last.is_none() && self.idle.is_some_and(|idle| idle <= now.mono) {
            if self.owed.is_none() | self.takes(conn) {
                self.idle = Some(now.mono + STALL_TIME);
            } else {
                // Whatever HTTP/3 still holds, its peer had long enough to take it.
                self.last = Some(now.mono + STALL_TIME);
                if !self.leaving {
                    self.leave();
                    return true;
                }
            }
        }
        if !self.leaving {
            return false;
        }
        let done = self.carrier.machine().is_idle();
        if done && self.last.is_none() {
            self.last = Some(now.mono + STALL_TIME);
            self.owed = Some(self.left(conn));
        }
        if self.last.is_some_and(|last| last <= now.mono) {
            if self.takes(conn) {
                self.last = Some(now.mono + STALL_TIME);
            } else {
                conn.close(Code::NO_ERROR.0 as u32, b"");
                return false;
            }
        }
        // Asked last: what it waits for is told by the window that it leaves behind.
        if done && conn.all_delivered(CONTROL) {
            conn.close(Code::NO_ERROR.0 as u32, b"");
        }
        false
    }

    /// Bytes that the peer was to be sent and has not acknowledged.
    fn left(&mut self, conn: &mut Conn<'_>) -> u64 {
        self.carrier.machine().queued() as u64 + conn.unacknowledged(CONTROL)
    }

    /// Whether the peer took something since it was looked at before.
    fn takes(&mut self, conn: &mut Conn<'_>) -> bool {
        let left = self.left(conn);
        self.owed.replace(left).is_some_and(|before| left < before)
    }

    /// Tells the end of sessions that the host has just closed.
    fn begin_closing(&mut self, now: Now, shared: &mut Shared<'_>) {
        for session in self.sessions.values_mut() {
            if let Some(closing) = session.closed.as_mut().filter(|closing| closing.until.is_none()) {
                closing.until = Some(now.mono + CLOSE_TIME);
                let reason = Closed::Web(WebClosed::Local { code: closing.code });
                shared.sessions.remove(&session.conn);
                shared.events.push_back(Event::Closed { conn: session.conn, reason });
            }
        }
    }

    //= spec: web-6
    /// Ends those whose peer has everything, or was given long enough. `true` if there was one.
    fn end_closing(&mut self, now: Now, conn: &mut Conn<'_>) -> bool {
        let mut ended = false;
        for session in self.sessions.values() {
            let Some(Closing { code, reason, until }) = &session.closed else { continue };
            let arrived = session.is_written(&mut self.carrier, self.queue)
                && conn.all_arrived(StreamNo(session.id.0.0));
            if arrived || until.is_some_and(|until| until <= now.mono) {
                ended |= self.carrier.machine().close_session(session.id, *code, reason).is_ok();
            }
        }
        ended
    }

    fn tell(&self, shared: &mut Shared<'_>, stream: StreamId, event: HttpEvent) {
        let exchange = ExchangeId { conn: self.id.into(), stream: stream.0 };
        shared.events.push_back(Event::Http(exchange, event));
    }

    fn on_event(&mut self, event: ntproto_h3::Event, shared: &mut Shared<'_>) {
        use ntproto_h3::Event as H3;
        match event {
            H3::Request { stream, head, end } => {
                self.exchanges.insert(stream, Exchange::new(end));
                let remote = self.remote;
                self.tell(shared, stream, HttpEvent::Head { request: head, end, remote });
            }
            H3::Data { stream, data } => self.data(stream, data, shared),
            H3::End { stream } => {
                if let Some(exchange) = self.exchanges.get_mut(&stream) {
                    let next = exchange.heard();
                    self.tell(shared, stream, HttpEvent::End);
                    self.next(stream, next);
                } else {
                    self.broken(stream);
                }
            }
            H3::Reset { stream, .. } | H3::Stopped { stream, .. } => {
                if self.exchanges.remove(&stream).is_some() {
                    give_up(&mut self.carrier, stream, Code::REQUEST_CANCELLED);
                    self.tell(shared, stream, HttpEvent::Gone);
                } else {
                    self.broken(stream);
                }
            }
            H3::Writable { stream } => {
                if let Some(exchange) = self.exchanges.get_mut(&stream) {
                    let next = exchange.flush(&mut self.carrier, stream);
                    self.next(stream, next);
                } else if let Some(session) = self.session_of(stream).filter(|known| known.closed.is_none())
                    && let Some(channel) = session.writable(stream)
                {
                    let conn = session.conn;
                    shared.events.push_back(Event::Writable { conn, channel });
                }
            }
            H3::Session { session, head } => self.asked(session, &head, shared),
            H3::SessionStream { session, stream, dir } => {
                let Some(known) = self.sessions.get_mut(&session) else { return };
                self.streams.insert(stream, session);
                //= spec: web-4
                if dir != Dir::Bi || !known.opened(stream) {
                    fault(&mut self.carrier, known, "a stream that is no channel");
                }
            }
            H3::SessionDatagram { session, data } => {
                if let Some(session) = self.sessions.get_mut(&session).filter(|known| known.closed.is_none())
                    && session.datagram(&data)
                {
                    shared.events.push_back(Event::Datagram { conn: session.conn });
                }
            }
            H3::SessionClosed { session, reason } => self.closed(session, reason, shared),
            // A client's, or of no matter: a session ends when its client is told to go by CONTROL.
            H3::Settings { .. }
            | H3::Response { .. }
            | H3::SessionUp { .. }
            | H3::SessionDrain { .. }
            | H3::Goaway => {}
        }
    }

    fn session_of(&mut self, stream: StreamId) -> Option<&mut Session> {
        self.sessions.get_mut(self.streams.get(&stream)?)
    }

    fn data(&mut self, stream: StreamId, data: Bytes, shared: &mut Shared<'_>) {
        if self.exchanges.contains_key(&stream) {
            return self.tell(shared, stream, HttpEvent::Data(data));
        }
        let session = self.streams.get(&stream).and_then(|session| self.sessions.get_mut(session));
        let Some(session) = session else {
            // Nobody waits for it; what it took of the window is given back.
            self.carrier.machine().consume(stream, data.len());
            return;
        };
        if session.closed.is_some() {
            self.carrier.machine().consume(stream, data.len());
            return;
        }
        let conn = session.conn;
        let readable = |channel: Channel| Event::Readable { conn, channel };
        match session.data(&mut self.carrier, stream, data) {
            Came::Nothing => {}
            Came::Readable(channel) => shared.events.push_back(readable(channel)),
            Came::Named { channel, readable: has, writable } => {
                shared.events.extend(has.then(|| readable(channel)));
                shared.events.extend(writable.then_some(Event::Writable { conn, channel }));
            }
            Came::Fault(text) => fault(&mut self.carrier, session, text),
        }
    }

    //= spec: web-4
    /// The peer ended a stream of a session: channels live as long as it does.
    fn broken(&mut self, stream: StreamId) {
        let session = self.streams.get(&stream).and_then(|session| self.sessions.get_mut(session));
        if let Some(session) = session {
            fault(&mut self.carrier, session, "a channel was ended");
        }
    }

    /// Somebody asks for a session.
    fn asked(&mut self, id: SessionId, head: &Request<()>, shared: &mut Shared<'_>) {
        let status = if head.uri().path() != SESSION_PATH {
            StatusCode::NOT_FOUND
        } else if !shared.config.lets_in(head.uri(), head.headers()) {
            StatusCode::FORBIDDEN
        } else if shared.leaving {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::OK
        };
        let mut response = Response::new(());
        *response.status_mut() = status;
        if status != StatusCode::OK {
            // Gone already, then.
            let _ = self.carrier.machine().refuse(id, &response);
            return;
        }
        if self.carrier.machine().accept(id, &response).is_err() {
            return;
        }
        *shared.count += 1;
        let conn = ConnId::web(*shared.count);
        let remote = self.remote;
        self.sessions.insert(id, Session::new(conn, id, remote));
        shared.sessions.insert(conn, (self.id, id));
        //= spec: web-5
        let binding = Binding { transport: TransportId::Web, exporter: [0; 32] };
        let (alpn, early) = (ALPN.to_vec(), EarlyData::Unused);
        shared.events.push_back(Event::Connected { conn, alpn, binding, remote, early });
    }

    fn closed(&mut self, id: SessionId, reason: SessionEnd, shared: &mut Shared<'_>) {
        let Some(session) = self.sessions.remove(&id) else { return };
        self.streams.retain(|_, owner| *owner != id);
        if session.closed.is_some() {
            return;
        }
        shared.sessions.remove(&session.conn);
        let reason = match reason {
            SessionEnd::Peer { code, mut reason } => {
                reason.truncate(reason.floor_char_boundary(MAX_CLOSE_REASON));
                WebClosed::Peer { code, reason }
            }
            SessionEnd::Reset(code) => WebClosed::Reset { code: code.0 },
            // This side refuses only what was never a session: it ended this one for what the peer did.
            _ => WebClosed::Local { code: ErrorCode::Protocol as u32 },
        };
        shared.events.push_back(Event::Closed { conn: session.conn, reason: Closed::Web(reason) });
    }

    /// What the host says to an exchange.
    pub(crate) fn answer(&mut self, stream: StreamId, answer: HttpAnswer) {
        if let Some(exchange) = self.exchanges.get_mut(&stream) {
            let next = exchange.answer(&mut self.carrier, stream, answer);
            self.next(stream, next);
        } else if let HttpAnswer::Consumed(bytes) = answer {
            // What was told of it before it was over.
            self.carrier.machine().consume(stream, bytes);
        }
    }

    fn next(&mut self, stream: StreamId, next: Next) {
        match next {
            Next::On => {}
            Next::Room => self.told.push((stream, HttpEvent::Room)),
            Next::Done => drop(self.exchanges.remove(&stream)),
            Next::Broken => {
                self.exchanges.remove(&stream);
                self.told.push((stream, HttpEvent::Gone));
            }
        }
    }
}
