//! Sessions of WebTransport: how they begin, what belongs to them, how they end.

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderValue, Request, Response};
use ntproto_core::time::Instant;

use super::stream::{Kind, Stream};
use super::{Connection, Fault};
use crate::capsule::{Capsule, CapsuleReader};
use crate::config::{EARLY_TIME, MAX_EARLY, MAX_EARLY_BYTES};
use crate::frame::whole;
use crate::table::{DRAFT02_ANSWER, DRAFT02_REQUEST, frame};
use crate::{Code, Dir, Event, Role, SessionEnd, SessionId, StreamId, varint};

/// How far a session has come.
#[derive(Debug)]
pub(super) enum State {
    /// A client asked before its settings came (server).
    Held(Box<Request<()>>),
    /// The application is asked (server).
    Asked,
    /// The section that asks, until the server's settings came (client).
    Queued(Vec<u8>),
    /// The server is asked (client).
    Waiting,
    /// It is up.
    Up,
}

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) state: State,
    capsules: CapsuleReader,
    /// The client is one of draft 02, and wants to hear so.
    draft02: bool,
}

impl Session {
    pub(super) fn new(state: State) -> Self {
        Self { state, capsules: CapsuleReader::default(), draft02: false }
    }

    /// Whether the application knows of it.
    const fn is_told(&self) -> bool {
        !matches!(self.state, State::Held(_))
    }
}

impl Connection {
    /// A client asks for a session.
    //= spec: http3-18
    pub(super) fn on_session_request(
        &mut self,
        id: SessionId,
        state: &mut Stream,
        head: Request<()>,
    ) -> Result<(), Fault> {
        if head.uri().scheme() != Some(&Scheme::HTTPS) {
            return Err(Fault::Stream(Code::MESSAGE_ERROR));
        }
        if self.sessions.len() >= self.config.limits.sessions {
            return Err(Fault::Stream(Code::REQUEST_REJECTED));
        }
        let mut session = Session::new(State::Asked);
        session.draft02 = head.headers().contains_key(DRAFT02_REQUEST);
        match self.peer {
            // The stream's deadline stays: the settings are due by then.
            None => session.state = State::Held(Box::new(head)),
            Some(peer) if !peer.datagrams => return Err(Fault::Stream(Code::MESSAGE_ERROR)),
            Some(_) => {
                self.set_deadline(id.0, state, None);
                self.event(Event::Session { session: id, head });
            }
        }
        self.sessions.insert(id, session);
        Ok(())
    }

    /// The peer's settings came: sessions that waited for them go on, or not.
    pub(super) fn sessions_wait_no_more(&mut self) {
        let Some(peer) = self.peer else { return };
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            let (Some(session), Some(mut stream)) = (self.sessions.get_mut(&id), self.streams.remove(&id.0))
            else {
                continue;
            };
            match std::mem::replace(&mut session.state, State::Asked) {
                State::Held(head) if peer.datagrams => {
                    self.set_deadline(id.0, &mut stream, None);
                    self.event(Event::Session { session: id, head: *head });
                }
                State::Held(head) => {
                    session.state = State::Held(head);
                    self.fail(id.0, &mut stream, Code::MESSAGE_ERROR);
                }
                State::Queued(section) if peer.webtransport && peer.datagrams && peer.connect_protocol => {
                    session.state = State::Waiting;
                    stream.send.push(whole(frame::HEADERS, &section).into());
                }
                State::Queued(_) => {
                    self.stop_half(id.0, &mut stream, Code::REQUEST_CANCELLED);
                    self.reset_half(id.0, &mut stream, Code::REQUEST_CANCELLED);
                    self.forget_session(id, SessionEnd::Unsupported);
                }
                other => session.state = other,
            }
            self.put_back(id.0, stream);
        }
    }

    /// The server's answer (client).
    pub(super) fn on_session_answer(
        &mut self,
        id: SessionId,
        state: &mut Stream,
        head: Response<()>,
    ) -> Result<(), Fault> {
        let status = head.status();
        if !status.is_success() {
            state.send.end();
            self.stop_half(id.0, state, Code::NO_ERROR);
            self.forget_session(id, SessionEnd::Refused(status));
            return Ok(());
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.state = State::Up;
            self.event(Event::SessionUp { session: id, head });
            self.release_early(id);
        }
        Ok(())
    }

    /// The head of the answer that accepts a session, with what its client wants to see.
    pub(super) fn finish_answer(&self, id: SessionId, head: &Response<()>) -> Response<()> {
        let mut answer = Response::new(());
        *answer.status_mut() = head.status();
        *answer.headers_mut() = head.headers().clone();
        if self.sessions.get(&id).is_some_and(|session| session.draft02) {
            let (name, value) = DRAFT02_ANSWER;
            // Fails when there are tens of thousands of fields; then the peer refuses the head for that.
            let _ = answer.headers_mut().try_insert(name, HeaderValue::from_static(value));
        }
        answer
    }

    /// A stream says which session it belongs to.
    //= spec: http3-19
    pub(super) fn name_stream(
        &mut self,
        now: Instant,
        id: StreamId,
        state: &mut Stream,
        session: SessionId,
    ) -> Result<(), Fault> {
        let early = match self.sessions.get(&session).map(|session| &session.state) {
            Some(State::Up) => false,
            Some(_) => true,
            None if self.may_become_session(session.0) => true,
            None => return Err(Fault::Stream(Code::WEBTRANSPORT_SESSION_GONE)),
        };
        if !early {
            return self.join_session(id, state, session);
        }
        let held = self.streams.values().filter(|s| matches!(s.kind, Kind::Early { .. })).count();
        if held >= MAX_EARLY {
            return Err(Fault::Stream(Code::WEBTRANSPORT_BUFFERED_STREAM_REJECTED));
        }
        state.kind = Kind::Early { session, data: Vec::new(), fin: false };
        self.set_deadline(id, state, Some(now + EARLY_TIME));
        Ok(())
    }

    /// Whether a request on this stream is yet to come, or its head is.
    fn may_become_session(&self, stream: StreamId) -> bool {
        self.role == Role::Server
            && match self.streams.get(&stream).map(|stream| &stream.kind) {
                Some(Kind::Fresh(_)) => true,
                Some(Kind::Exchange(exchange)) => !exchange.is_told(),
                Some(_) => false,
                None => self.seen[0].is_ahead(stream.0 >> 2),
            }
    }

    /// A stream of the peer becomes one of a session that is up.
    fn join_session(&mut self, id: StreamId, state: &mut Stream, session: SessionId) -> Result<(), Fault> {
        if self.session_streams(session) >= self.config.limits.session_streams {
            return Err(Fault::Stream(Code::EXCESSIVE_LOAD));
        }
        state.kind = Kind::Web(session);
        let dir = id.dir();
        self.event(Event::SessionStream { session, stream: id, dir });
        if dir == Dir::Bi && state.send.is_done() {
            self.event(Event::Stopped { stream: id, code: Code::application(0) });
        }
        Ok(())
    }

    /// How many streams a session has.
    pub(super) fn session_streams(&self, session: SessionId) -> usize {
        self.streams.values().filter(|s| matches!(s.kind, Kind::Web(of) if of == session)).count()
    }

    /// Streams and datagrams that came before the session was up come now.
    pub(super) fn release_early(&mut self, session: SessionId) {
        for id in self.streams_where(|kind| matches!(kind, Kind::Early { session: of, .. } if *of == session))
        {
            let Some(mut state) = self.streams.remove(&id) else { continue };
            self.set_deadline(id, &mut state, None);
            let Kind::Early { data, fin, .. } = std::mem::replace(&mut state.kind, Kind::Ignored) else {
                continue;
            };
            match self.join_session(id, &mut state, session) {
                Ok(()) => {
                    self.tell_data(id, &mut state, data.into());
                    if fin {
                        self.event(Event::End { stream: id });
                    } else if state.reading {
                        self.outputs.push_back(crate::Output::Read(id));
                    }
                }
                Err(_) => self.fail(id, &mut state, Code::EXCESSIVE_LOAD),
            }
            self.put_back(id, state);
        }
        for (of, data) in std::mem::take(&mut self.early_datagrams) {
            if of == session {
                self.event(Event::SessionDatagram { session, data });
            } else {
                self.early_datagrams.push_back((of, data));
            }
        }
    }

    fn streams_where(&self, choose: impl Fn(&Kind) -> bool) -> Vec<StreamId> {
        self.streams.iter().filter(|(_, state)| choose(&state.kind)).map(|(id, _)| *id).collect()
    }

    /// Capsules on the stream of a session.
    //= spec: http3-21
    pub(super) fn on_session_bytes(
        &mut self,
        id: SessionId,
        state: &mut Stream,
        mut bytes: Bytes,
    ) -> Result<(), Fault> {
        loop {
            // After the close nothing may come.
            let Some(session) = self.sessions.get_mut(&id) else {
                return if bytes.is_empty() { Ok(()) } else { Err(Fault::Stream(Code::MESSAGE_ERROR)) };
            };
            let capsule =
                session.capsules.next(&mut bytes).map_err(|_| Fault::Stream(Code::MESSAGE_ERROR))?;
            let up = matches!(session.state, State::Up);
            match capsule {
                None => return Ok(()),
                Some(Capsule::Datagram(data)) if up => {
                    self.event(Event::SessionDatagram { session: id, data })
                }
                Some(Capsule::Drain) if up => self.event(Event::SessionDrain { session: id }),
                Some(Capsule::Datagram(_) | Capsule::Drain) => {}
                Some(Capsule::Close { code, reason }) => {
                    self.answer_end(id, state);
                    self.forget_session(id, SessionEnd::Peer { code, reason });
                }
            }
        }
    }

    /// The peer's half of the stream of a session ended.
    pub(super) fn on_session_end(&mut self, id: SessionId, state: &mut Stream) -> Result<(), Fault> {
        let Some(session) = self.sessions.get(&id) else { return Ok(()) };
        if !session.capsules.is_between() {
            return Err(Fault::Stream(Code::MESSAGE_ERROR));
        }
        self.answer_end(id, state);
        self.forget_session(id, SessionEnd::Peer { code: 0, reason: String::new() });
        Ok(())
    }

    /// This side's half ends because the peer's did. Without a head before it, it can't just end.
    fn answer_end(&mut self, id: SessionId, state: &mut Stream) {
        let answered = matches!(&state.kind, Kind::Exchange(exchange) if exchange.answered);
        if answered {
            state.send.end();
        } else {
            self.reset_half(id.0, state, Code::REQUEST_CANCELLED);
        }
    }

    /// A session is over, whoever ended it: its streams go with it.
    //= spec: http3-20
    pub(super) fn forget_session(&mut self, id: SessionId, reason: SessionEnd) {
        let Some(session) = self.sessions.remove(&id) else { return };
        let of_it = |kind: &Kind| match kind {
            Kind::Web(of) => *of == id,
            Kind::Early { session, .. } => *session == id,
            _ => false,
        };
        for stream in self.streams_where(of_it) {
            let Some(mut state) = self.streams.remove(&stream) else { continue };
            self.fail(stream, &mut state, Code::WEBTRANSPORT_SESSION_GONE);
            self.put_back(stream, state);
        }
        self.early_datagrams.retain(|(of, _)| *of != id);
        if session.is_told() {
            self.event(Event::SessionClosed { session: id, reason });
        }
    }

    /// A QUIC datagram: a quarter of the number of the session's stream, then the session's bytes.
    //= spec: http3-22
    pub(super) fn on_datagram(&mut self, now: Instant, mut data: Bytes) -> Result<(), Fault> {
        if !self.config.webtransport {
            return Ok(());
        }
        let broken = Fault::connection(Code::DATAGRAM_ERROR, "a datagram of no stream");
        let quarter = varint::take(&mut data).filter(|quarter| *quarter <= varint::MAX >> 2).ok_or(broken)?;
        let id = SessionId(StreamId(quarter << 2));
        match self.sessions.get(&id).map(|session| &session.state) {
            Some(State::Up) => {
                self.event(Event::SessionDatagram { session: id, data });
                return Ok(());
            }
            Some(_) => {}
            None if self.may_become_session(id.0) => {}
            None => {
                // A request that knows nothing of datagrams is lost by one.
                let told = self.streams.get(&id.0).is_some_and(
                    |s| matches!(&s.kind, Kind::Exchange(exchange) if exchange.is_told() && !exchange.is_session()),
                );
                if told && let Some(mut state) = self.streams.remove(&id.0) {
                    self.fail_for_peer(now, id.0, &mut state, Code::DATAGRAM_ERROR)?;
                    self.put_back(id.0, state);
                }
                return Ok(());
            }
        }
        self.early_datagrams.push_back((id, data));
        let size = |held: &(SessionId, Bytes)| held.1.len();
        while self.early_datagrams.len() > MAX_EARLY
            || self.early_datagrams.iter().map(size).sum::<usize>() > MAX_EARLY_BYTES
        {
            self.early_datagrams.pop_front();
        }
        Ok(())
    }
}
