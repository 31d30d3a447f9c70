//! What the application asks for.

use bytes::Bytes;
use http::{Method, Request, Response};

use super::Connection;
use super::exchange::Exchange;
use super::session::{Session, State};
use super::stream::{Kind, Stream};
use crate::frame::{of_number, put_head, whole};
use crate::table::{WEBTRANSPORT_PROTOCOLS, frame, stream as types};
use crate::{Code, Dir, Misuse, Output, Role, SessionEnd, SessionId, StreamId};
use crate::{capsule, head, varint};

impl Connection {
    /// Sends a request (client). With `end` it has no body; else [`send`](Self::send) gives it one.
    ///
    /// # Errors
    /// `State` on a server, `Refused` when the server is going away, `Full`, `Head`, `TooLarge`, `Closed`.
    pub fn request(&mut self, head: &Request<()>, end: bool) -> Result<StreamId, Misuse> {
        self.may_ask()?;
        if head.method() == Method::CONNECT {
            return Err(Misuse::Head);
        }
        let section = head::write_request(head, None, self.section_limit())?;
        let stream =
            self.open_stream(Dir::Bi, Kind::Exchange(Box::new(Exchange::ours(head.method(), false))));
        self.push(stream, whole(frame::HEADERS, &section).into());
        self.end_if(stream, end);
        Ok(stream)
    }

    /// Asks for a session of WebTransport (client): the request's address says where. It is sent when the server's
    /// settings are known; [`Event::SessionUp`](crate::Event::SessionUp) or [`Event::SessionClosed`](crate::Event::SessionClosed) follows.
    ///
    /// # Errors
    /// As for [`request`](Self::request), and `Refused` when the server does not speak WebTransport.
    pub fn connect_session(&mut self, head: &Request<()>) -> Result<SessionId, Misuse> {
        self.may_ask()?;
        let spoken = |p: &crate::settings::Settings| p.webtransport && p.datagrams && p.connect_protocol;
        if !self.config.webtransport || self.peer.is_some_and(|peer| !spoken(&peer)) {
            return Err(Misuse::Refused);
        }
        if self.sessions.len() >= self.config.limits.sessions {
            return Err(Misuse::Full);
        }
        let mut connect = Request::new(());
        *connect.method_mut() = Method::CONNECT;
        *connect.uri_mut() = head.uri().clone();
        *connect.headers_mut() = head.headers().clone();
        let section = head::write_request(&connect, Some(WEBTRANSPORT_PROTOCOLS[0]), self.section_limit())?;
        let stream =
            self.open_stream(Dir::Bi, Kind::Exchange(Box::new(Exchange::ours(&Method::CONNECT, true))));
        let id = SessionId(stream);
        //= spec: http3-18
        let state = if self.peer.is_some() {
            self.push(stream, whole(frame::HEADERS, &section).into());
            State::Waiting
        } else {
            State::Queued(section)
        };
        self.sessions.insert(id, Session::new(state));
        Ok(id)
    }

    fn may_ask(&self) -> Result<(), Misuse> {
        if self.closed {
            return Err(Misuse::Closed);
        }
        if self.role == Role::Server {
            return Err(Misuse::State);
        }
        //= spec: http3-15
        if self.goaway_received.is_some() {
            return Err(Misuse::Refused);
        }
        let open = self.streams.values().filter(|s| matches!(s.kind, Kind::Exchange(_))).count();
        if open >= self.config.limits.requests { Err(Misuse::Full) } else { Ok(()) }
    }

    fn section_limit(&self) -> Option<u64> {
        self.peer.and_then(|peer| peer.max_field_section)
    }

    fn end_if(&mut self, stream: StreamId, end: bool) {
        if end && let Some(state) = self.streams.get_mut(&stream) {
            state.send.end();
            self.get_in_line(stream);
        }
    }

    /// Answers a request (server), with a final status. With `end` the answer has no body; else
    /// [`send`](Self::send) gives it one.
    ///
    /// # Errors
    /// `Gone` when the client gave up, `State` when it was answered already, `Head`, `TooLarge`, `Closed`.
    pub fn respond(&mut self, stream: StreamId, head: &Response<()>, end: bool) -> Result<(), Misuse> {
        let limit = self.section_limit();
        let server = self.role == Role::Server;
        let state = self.state(stream)?;
        let Kind::Exchange(exchange) = &mut state.kind else { return Err(Misuse::State) };
        if !server || exchange.is_session() || exchange.answered || !exchange.is_told() {
            return Err(Misuse::State);
        }
        if state.send.is_done() {
            return Err(Misuse::Gone);
        }
        let section = head::write_response(head, limit)?;
        exchange.answered = true;
        self.push(stream, whole(frame::HEADERS, &section).into());
        self.end_if(stream, end);
        Ok(())
    }

    fn state(&mut self, stream: StreamId) -> Result<&mut Stream, Misuse> {
        if self.closed {
            return Err(Misuse::Closed);
        }
        self.streams.get_mut(&stream).ok_or(Misuse::Gone)
    }

    /// Sends bytes: of a body, or on a stream of a session. Takes as many as there is room for and says how many;
    /// after fewer than all, [`Event::Writable`](crate::Event::Writable) follows. With `end` the stream ends with them, if all were taken.
    ///
    /// # Errors
    /// `Gone` when the peer wants no more or the stream is over; `State` before [`respond`](Self::respond), after
    /// the end, or on a stream that only the peer sends on; `Closed`.
    pub fn send(&mut self, stream: StreamId, mut data: Bytes, end: bool) -> Result<usize, Misuse> {
        let limit = self.config.limits.send_queue;
        let state = self.state(stream)?;
        let framed = match &state.kind {
            Kind::Exchange(exchange) if exchange.answered && !exchange.is_session() => true,
            Kind::Web(_) => false,
            _ => return Err(Misuse::State),
        };
        if state.send.is_done() {
            return Err(Misuse::Gone);
        }
        if !state.send.is_open() {
            return Err(Misuse::State);
        }
        let taken = data.len().min(limit.saturating_sub(state.send.queued()));
        let all = taken == data.len();
        if !all {
            state.send.want_room();
            data.truncate(taken);
        }
        if framed && taken > 0 {
            let mut begin = Vec::with_capacity(2 * varint::MAX_LEN);
            put_head(frame::DATA, taken, &mut begin);
            state.send.push(begin.into());
        }
        state.send.push(data);
        if all && end {
            state.send.end();
        }
        self.get_in_line(stream);
        Ok(taken)
    }

    /// How many bytes [`send`](Self::send) would take now.
    #[must_use]
    pub fn send_room(&self, stream: StreamId) -> usize {
        let open = self.streams.get(&stream).map(|state| &state.send).filter(|send| send.is_open());
        open.map_or(0, |send| self.config.limits.send_queue.saturating_sub(send.queued()))
    }

    /// Bytes that wait for QUIC, on all streams.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.streams.values().map(|state| state.send.queued()).sum()
    }

    /// The application is done with so many bytes of [`Event::Data`](crate::Event::Data): as many may come again.
    pub fn consume(&mut self, stream: StreamId, bytes: usize) {
        let window = self.config.limits.receive_window;
        let Some(state) = self.streams.get_mut(&stream) else { return };
        let full = state.unread >= window;
        state.unread = state.unread.saturating_sub(bytes);
        if full && state.unread < window && state.reading {
            self.outputs.push_back(Output::Read(stream));
        }
    }

    /// Resets this side's half of a stream: what waits is dropped. An application of WebTransport gives
    /// [`Code::application`].
    ///
    /// # Errors
    /// `Gone`; `State` for the stream of a session, which [`close_session`](Self::close_session) ends; `Closed`.
    pub fn reset(&mut self, stream: StreamId, code: Code) -> Result<(), Misuse> {
        self.part(stream, |this, state| this.reset_half(stream, state, code))
    }

    /// Wants no more of the peer's half of a stream. A server that answered already and needs no more of the body
    /// gives [`Code::NO_ERROR`].
    ///
    /// # Errors
    /// As for [`reset`](Self::reset).
    pub fn stop(&mut self, stream: StreamId, code: Code) -> Result<(), Misuse> {
        self.part(stream, |this, state| this.stop_half(stream, state, code))
    }

    /// Both [`reset`](Self::reset) and [`stop`](Self::stop): a client gives a request up with
    /// [`Code::REQUEST_CANCELLED`].
    ///
    /// # Errors
    /// As for [`reset`](Self::reset).
    pub fn cancel(&mut self, stream: StreamId, code: Code) -> Result<(), Misuse> {
        self.part(stream, |this, state| {
            this.stop_half(stream, state, code);
            this.reset_half(stream, state, code);
        })
    }

    fn part(&mut self, id: StreamId, act: impl FnOnce(&mut Self, &mut Stream)) -> Result<(), Misuse> {
        match &self.state(id)?.kind {
            Kind::Web(_) => {}
            Kind::Exchange(exchange) if !exchange.is_session() => {}
            _ => return Err(Misuse::State),
        }
        let mut state = self.streams.remove(&id).ok_or(Misuse::Gone)?;
        act(self, &mut state);
        self.put_back(id, state);
        Ok(())
    }

    /// Takes no more requests: those that came are answered, later ones are refused in a way that lets the client
    /// send them elsewhere. Sessions are asked to end.
    //= spec: http3-15
    pub fn goaway(&mut self) {
        if self.closed || self.goaway_sent.is_some() {
            return;
        }
        let first = match self.role {
            Role::Server => StreamId::new(Role::Client, Dir::Bi, self.seen[0].next).0,
            // No push is taken, and none ever was.
            Role::Client => 0,
        };
        self.goaway_sent = Some(first);
        let control = StreamId::new(self.role, Dir::Uni, 0);
        self.push(control, of_number(frame::GOAWAY, first).into());
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for session in ids {
            // Those that are not up yet are none to drain.
            let _ = self.drain_session(session);
        }
    }

    /// Accepts a session (server) with a head of status 2xx.
    ///
    /// # Errors
    /// `Gone`, `State` when it was answered already, `Head`, `TooLarge`, `Closed`.
    pub fn accept(&mut self, session: SessionId, head: &Response<()>) -> Result<(), Misuse> {
        if !head.status().is_success() {
            return Err(Misuse::Head);
        }
        self.answer_session(session, head)?;
        if let Some(state) = self.sessions.get_mut(&session) {
            state.state = State::Up;
        }
        self.release_early(session);
        Ok(())
    }

    /// Refuses a session (server) with a head of another status: 403 for a foreign origin, 404 for an unknown path.
    ///
    /// # Errors
    /// As for [`accept`](Self::accept).
    pub fn refuse(&mut self, session: SessionId, head: &Response<()>) -> Result<(), Misuse> {
        if head.status().is_success() {
            return Err(Misuse::Head);
        }
        self.answer_session(session, head)?;
        if let Some(mut state) = self.streams.remove(&session.0) {
            state.send.end();
            self.stop_half(session.0, &mut state, Code::NO_ERROR);
            self.put_back(session.0, state);
        }
        self.forget_session(session, SessionEnd::Local);
        Ok(())
    }

    fn answer_session(&mut self, session: SessionId, head: &Response<()>) -> Result<(), Misuse> {
        if self.closed {
            return Err(Misuse::Closed);
        }
        if !matches!(self.sessions.get(&session).ok_or(Misuse::Gone)?.state, State::Asked) {
            return Err(Misuse::State);
        }
        let section = head::write_response(&self.finish_answer(session, head), self.section_limit())?;
        if let Kind::Exchange(exchange) = &mut self.state(session.0)?.kind {
            exchange.answered = true;
        }
        self.push(session.0, whole(frame::HEADERS, &section).into());
        Ok(())
    }

    fn session_up(&self, session: SessionId) -> Result<(), Misuse> {
        if self.closed {
            return Err(Misuse::Closed);
        }
        match self.sessions.get(&session).ok_or(Misuse::Gone)?.state {
            State::Up => Ok(()),
            _ => Err(Misuse::State),
        }
    }

    /// Opens a stream of a session.
    ///
    /// # Errors
    /// `Gone`, `State` before the session is up, `Full`, `Closed`.
    pub fn open(&mut self, session: SessionId, dir: Dir) -> Result<StreamId, Misuse> {
        self.session_up(session)?;
        if self.session_streams(session) >= self.config.limits.session_streams {
            return Err(Misuse::Full);
        }
        let stream = self.open_stream(dir, Kind::Web(session));
        let mut begin = Vec::with_capacity(2 * varint::MAX_LEN);
        let kind = match dir {
            Dir::Bi => frame::WEBTRANSPORT_STREAM,
            Dir::Uni => types::WEBTRANSPORT,
        };
        varint::put(kind, &mut begin);
        varint::put(session.0.0, &mut begin);
        self.push(stream, begin.into());
        Ok(stream)
    }

    /// Sends a datagram of a session, if QUIC takes it: how much it holds is for the host to know, and
    /// [`datagram_overhead`](Self::datagram_overhead) of it is not the session's.
    ///
    /// # Errors
    /// `Gone`, `State` before the session is up, `Refused` when the peer takes none, `Closed`.
    pub fn send_datagram(&mut self, session: SessionId, data: &[u8]) -> Result<(), Misuse> {
        self.session_up(session)?;
        if !self.peer.is_some_and(|peer| peer.datagrams) {
            return Err(Misuse::Refused);
        }
        let mut out = Vec::with_capacity(varint::MAX_LEN + data.len());
        varint::put(session.0.0 >> 2, &mut out);
        out.extend_from_slice(data);
        self.queue_datagram(out.into());
        Ok(())
    }

    /// Bytes of a QUIC datagram that say whose it is.
    #[must_use]
    pub const fn datagram_overhead(session: SessionId) -> usize {
        varint::len(session.0.0 >> 2)
    }

    /// Closes a session, with a code and words for the peer's application (cut to 1,024 bytes); one that is not up
    /// yet is given up. [`Event::SessionClosed`](crate::Event::SessionClosed) follows.
    ///
    /// # Errors
    /// `Gone`, `Closed`.
    pub fn close_session(&mut self, session: SessionId, code: u32, reason: &str) -> Result<(), Misuse> {
        let up = match self.session_up(session) {
            Ok(()) => true,
            Err(Misuse::State) => false,
            Err(misuse) => return Err(misuse),
        };
        if let Some(mut state) = self.streams.remove(&session.0) {
            if up {
                state.send.push(whole(frame::DATA, &capsule::close(code, reason)).into());
                state.send.end();
                if let Kind::Exchange(exchange) = &mut state.kind {
                    exchange.closed_here = true;
                }
            } else {
                self.set_deadline(session.0, &mut state, None);
                self.stop_half(session.0, &mut state, Code::REQUEST_CANCELLED);
                self.reset_half(session.0, &mut state, Code::REQUEST_CANCELLED);
            }
            self.put_back(session.0, state);
        }
        self.forget_session(session, SessionEnd::Local);
        Ok(())
    }

    /// Asks the peer to bring a session to its end.
    ///
    /// # Errors
    /// `Gone`, `State` before the session is up, `Closed`.
    pub fn drain_session(&mut self, session: SessionId) -> Result<(), Misuse> {
        self.session_up(session)?;
        self.push(session.0, whole(frame::DATA, &capsule::drain()).into());
        Ok(())
    }
}
