//! Bytes and ends of streams: what each stream turns out to be, and who gets what comes on it.

use bytes::Bytes;
use ntproto_core::time::Instant;

use super::control::ControlReader;
use super::exchange::Exchange;
use super::stream::{Kind, Stream};
use super::{Connection, Fault};
use crate::config::HEAD_TIME;
use crate::table::{frame, stream as types};
use crate::varint::Partial;
use crate::{Code, Dir, Event, Role, SessionEnd, SessionId, StreamId};

impl Connection {
    /// The state of a stream, taken out of the map: `None` if there is nothing more to know of it.
    fn take(&mut self, now: Instant, id: StreamId) -> Result<Option<Stream>, Fault> {
        if let Some(state) = self.streams.remove(&id) {
            return Ok(Some(state));
        }
        let uni = id.dir() == Dir::Uni;
        if id.opener() == self.role || !self.seen[usize::from(uni)].see(id.0 >> 2)? {
            return Ok(None);
        }
        let kind = if uni { Kind::Uni(Partial::default()) } else { Kind::Fresh(Partial::default()) };
        // Without WebTransport a server opens no bidirectional streams.
        //= spec: http3-3
        if !uni && self.role == Role::Client && !self.config.webtransport {
            return Err(Fault::connection(
                Code::STREAM_CREATION_ERROR,
                "a bidirectional stream of the server",
            ));
        }
        let mut state = Stream::new(kind, true, !uni, false);
        self.set_deadline(id, &mut state, Some(now + HEAD_TIME));
        Ok(Some(state))
    }

    pub(super) fn on_stream(
        &mut self,
        now: Instant,
        id: StreamId,
        data: Bytes,
        fin: bool,
    ) -> Result<(), Fault> {
        let Some(mut state) = self.take(now, id)? else { return Ok(()) };
        if state.reading {
            match self.advance(now, id, &mut state, data, fin) {
                Ok(()) => state.reading &= !fin,
                Err(Fault::Stream(code)) => self.fail_for_peer(now, id, &mut state, code)?,
                Err(fault) => return Err(fault),
            }
        }
        self.put_back(id, state);
        Ok(())
    }

    /// Takes bytes for what the stream is, or becomes by them.
    fn advance(
        &mut self,
        now: Instant,
        id: StreamId,
        state: &mut Stream,
        mut data: Bytes,
        fin: bool,
    ) -> Result<(), Fault> {
        loop {
            match &mut state.kind {
                Kind::Uni(partial) => {
                    // One that ends before it says what it is has no meaning, and does no harm.
                    let Some(kind) = partial.read(&mut data) else { return Ok(()) };
                    state.kind = self.uni_kind(kind)?;
                    if !matches!(state.kind, Kind::Unnamed(_)) {
                        self.set_deadline(id, state, None);
                    }
                    if matches!(state.kind, Kind::Ignored) {
                        self.stop_half(id, state, Code::STREAM_CREATION_ERROR);
                    }
                }
                Kind::Fresh(partial) => {
                    let Some(kind) = partial.read(&mut data) else {
                        return match (fin, partial.is_cut()) {
                            (false, _) => Ok(()),
                            (true, true) => Err(Fault::connection(Code::FRAME_ERROR, "a frame is cut")),
                            (true, false) => Err(Fault::Stream(Code::REQUEST_INCOMPLETE)),
                        };
                    };
                    state.kind = if kind == frame::WEBTRANSPORT_STREAM && self.config.webtransport {
                        Kind::Unnamed(Partial::default())
                    } else if self.role == Role::Client {
                        return Err(Fault::connection(
                            Code::STREAM_CREATION_ERROR,
                            "a request of the server",
                        ));
                    } else if state.send.is_done() {
                        // The answer is not wanted.
                        return Err(Fault::Stream(Code::REQUEST_CANCELLED));
                    } else {
                        self.admit_request(id)?;
                        Kind::Exchange(Box::new(Exchange::of_peer(kind)))
                    };
                }
                Kind::Unnamed(partial) => {
                    let Some(session) = partial.read(&mut data) else {
                        return if fin { Err(Fault::Stream(Code::GENERAL_PROTOCOL_ERROR)) } else { Ok(()) };
                    };
                    //= spec: http3-17
                    if !StreamId(session).is_request() {
                        return Err(Fault::connection(Code::ID_ERROR, "no session can have this number"));
                    }
                    self.set_deadline(id, state, None);
                    self.name_stream(now, id, state, SessionId(StreamId(session)))?;
                }
                Kind::Early { data: held, fin: ended, .. } => {
                    held.extend_from_slice(&data);
                    *ended |= fin;
                    return Ok(());
                }
                Kind::Web(_) => {
                    self.tell_data(id, state, data);
                    if fin {
                        self.event(Event::End { stream: id });
                    }
                    return Ok(());
                }
                Kind::Exchange(_) => return self.on_exchange(id, state, data, fin),
                Kind::Control(reader) => {
                    self.on_control(reader, &mut data)?;
                    return critical_goes_on(fin);
                }
                Kind::Encoder(reader) => {
                    let broken = |_| Fault::connection(Code::QPACK_ENCODER_STREAM_ERROR, "there is no table");
                    reader.read(&mut data).map_err(broken)?;
                    return critical_goes_on(fin);
                }
                Kind::Decoder(reader) => {
                    let broken = |_| Fault::connection(Code::QPACK_DECODER_STREAM_ERROR, "there is no table");
                    reader.read(&mut data).map_err(broken)?;
                    return critical_goes_on(fin);
                }
                Kind::Ignored | Kind::Own => return Ok(()),
            }
        }
    }

    /// What a unidirectional stream of this type is.
    //= spec: http3-2, http3-3
    fn uni_kind(&mut self, kind: u64) -> Result<Kind, Fault> {
        let (which, kind) = match kind {
            types::CONTROL => (0, Kind::Control(ControlReader::default())),
            types::QPACK_ENCODER => (1, Kind::Encoder(Default::default())),
            types::QPACK_DECODER => (2, Kind::Decoder(Default::default())),
            types::PUSH if self.role == Role::Server => {
                return Err(Fault::connection(Code::STREAM_CREATION_ERROR, "a push from a client"));
            }
            types::PUSH => return Err(Fault::connection(Code::ID_ERROR, "a push that was not allowed")),
            types::WEBTRANSPORT if self.config.webtransport => return Ok(Kind::Unnamed(Partial::default())),
            _ => return Ok(Kind::Ignored),
        };
        if std::mem::replace(&mut self.critical[which], true) {
            return Err(Fault::connection(Code::STREAM_CREATION_ERROR, "a second stream of its type"));
        }
        Ok(kind)
    }

    /// Counts a request of the peer, or refuses it.
    fn admit_request(&mut self, id: StreamId) -> Result<(), Fault> {
        let late = self.goaway_sent.is_some_and(|first| id.0 >= first);
        if late || self.requests >= self.config.limits.requests {
            return Err(Fault::Stream(Code::REQUEST_REJECTED));
        }
        self.requests += 1;
        Ok(())
    }

    /// Hands bytes to the application.
    pub(super) fn tell_data(&mut self, stream: StreamId, state: &mut Stream, data: Bytes) {
        if !data.is_empty() {
            state.unread += data.len();
            self.event(Event::Data { stream, data });
        }
    }

    pub(super) fn on_reset(&mut self, now: Instant, id: StreamId, code: Code) -> Result<(), Fault> {
        let Some(mut state) = self.take(now, id)? else { return Ok(()) };
        let result = self.peer_reset(now, id, &mut state, code);
        if result.is_ok() {
            self.put_back(id, state);
        }
        result
    }

    fn peer_reset(
        &mut self,
        now: Instant,
        id: StreamId,
        state: &mut Stream,
        code: Code,
    ) -> Result<(), Fault> {
        if state.kind.is_critical() {
            return Err(critical_ended());
        }
        if !std::mem::replace(&mut state.reading, false) {
            return Ok(());
        }
        self.set_deadline(id, state, None);
        match &state.kind {
            Kind::Web(_) => self.event(Event::Reset { stream: id, code, by_peer: true }),
            Kind::Exchange(_) => return self.peer_gave_up(now, id, state, code),
            // What it would have become is not known: nobody else hears of it.
            _ => {
                self.count_reset(now)?;
                self.reset_half(id, state, Code::REQUEST_CANCELLED);
                state.kind = Kind::Ignored;
            }
        }
        Ok(())
    }

    pub(super) fn on_stopped(&mut self, now: Instant, id: StreamId, code: Code) -> Result<(), Fault> {
        let Some(mut state) = self.take(now, id)? else { return Ok(()) };
        if state.kind.is_critical() {
            return Err(critical_ended());
        }
        let mut result = Ok(());
        match &state.kind {
            Kind::Exchange(_) => result = self.peer_stopped(now, id, &mut state, code),
            Kind::Web(_) => {
                let told = state.send.is_open();
                self.reset_half(id, &mut state, code);
                if told {
                    self.event(Event::Stopped { stream: id, code });
                }
            }
            _ => self.reset_half(id, &mut state, code),
        }
        if result.is_ok() {
            self.put_back(id, state);
        }
        result
    }

    /// Counts what the peer began and gave up.
    //= spec: http3-16
    pub(super) fn count_reset(&mut self, now: Instant) -> Result<(), Fault> {
        if self.resets.take(now) {
            Ok(())
        } else {
            Err(Fault::connection(Code::EXCESSIVE_LOAD, "requests given up too fast"))
        }
    }

    /// [`fail`](Self::fail), where the peer could do it again and again: a request that is lost by its own body costs the
    /// application as much as one that is given up, and counts as one.
    //= spec: http3-16
    pub(super) fn fail_for_peer(
        &mut self,
        now: Instant,
        id: StreamId,
        state: &mut Stream,
        code: Code,
    ) -> Result<(), Fault> {
        // Those that are turned away cost nothing, and after GOAWAY an honest client may have sent many.
        let counts = matches!(state.kind, Kind::Exchange(_))
            && self.role == Role::Server
            && state.send.is_open()
            && code != Code::REQUEST_REJECTED;
        self.fail(id, state, code);
        if counts { self.count_reset(now) } else { Ok(()) }
    }

    /// Both halves of a stream end, for what the peer did on it.
    pub(super) fn fail(&mut self, id: StreamId, state: &mut Stream, code: Code) {
        self.set_deadline(id, state, None);
        self.stop_half(id, state, code);
        self.reset_half(id, state, code);
        if let Kind::Early { .. } = state.kind {
            state.kind = Kind::Ignored;
        }
        if let Kind::Exchange(exchange) = &state.kind {
            if exchange.is_session() {
                self.forget_session(SessionId(id), SessionEnd::Reset(code));
            } else if exchange.is_told() {
                self.event(Event::Reset { stream: id, code, by_peer: false });
            }
        }
    }

    /// Streams that did not become anything in time.
    pub(super) fn on_timeout(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.deadlines.first()
            && at <= now
        {
            self.deadlines.pop_first();
            let Some(mut state) = self.streams.remove(&id) else { continue };
            state.deadline = None;
            let code = match state.kind {
                Kind::Early { .. } => Code::WEBTRANSPORT_BUFFERED_STREAM_REJECTED,
                _ => Code::REQUEST_INCOMPLETE,
            };
            self.fail(id, &mut state, code);
            self.put_back(id, state);
        }
    }
}

/// A critical stream has no end.
fn critical_goes_on(fin: bool) -> Result<(), Fault> {
    if fin { Err(critical_ended()) } else { Ok(()) }
}

const fn critical_ended() -> Fault {
    Fault::connection(Code::CLOSED_CRITICAL_STREAM, "a stream that may not end ended")
}
