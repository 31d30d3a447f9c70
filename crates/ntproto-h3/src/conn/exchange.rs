//! A request and its answer, as they come (RFC 9114, section 4).

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use ntproto_core::time::Instant;

use super::stream::{Kind, Stream};
use super::{Connection, Fault};
use crate::config::{EARLY_TIME, MAX_INFORMATIONAL};
use crate::frame::{FrameReader, Piece, whole};
use crate::head::{self, HeadError, Protocol};
use crate::table::{WEBTRANSPORT_PROTOCOLS, frame};
use crate::{Code, Event, Role, SessionEnd, SessionId, StreamId};

/// Pieces of a body below this are copied together, those above are handed on as they are.
const SMALL: usize = 1024;

/// How far the peer's half has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Its head is yet to come.
    Head,
    /// Its body comes.
    Body,
    /// Trailers came: nothing may follow.
    Over,
}

/// The peer's half of an exchange.
#[derive(Debug)]
pub(crate) struct Exchange {
    frames: FrameReader,
    /// The frame being read.
    frame: u64,
    /// What came of a HEADERS frame.
    section: Vec<u8>,
    phase: Phase,
    /// The body's length, as the head says, and as it came.
    announced: Option<u64>,
    received: u64,
    /// The answer to HEAD has no body, whatever its length says.
    to_head: bool,
    informational: usize,
    /// Whether it carries a session; whether this side closed that, and reads on for its end only.
    session: bool,
    pub(super) closed_here: bool,
    /// Whether the application knows of it.
    told: bool,
    /// Whether the application knows that it ended with its head.
    end_told: bool,
    /// Whether a head was sent.
    pub(super) answered: bool,
}

impl Exchange {
    /// A request of the peer whose first frame has this type.
    pub(super) fn of_peer(kind: u64) -> Self {
        Self {
            frames: FrameReader::after_kind(kind),
            frame: kind,
            section: Vec::new(),
            phase: Phase::Head,
            announced: None,
            received: 0,
            to_head: false,
            informational: 0,
            session: false,
            closed_here: false,
            told: false,
            end_told: false,
            answered: false,
        }
    }

    /// A request of ours.
    pub(super) fn ours(method: &Method, session: bool) -> Self {
        Self {
            frames: FrameReader::default(),
            to_head: method == Method::HEAD,
            session,
            told: true,
            answered: true,
            ..Self::of_peer(frame::DATA)
        }
    }

    pub(super) const fn is_session(&self) -> bool {
        self.session
    }

    pub(super) const fn is_told(&self) -> bool {
        self.told
    }

    /// Whether what came of the body fits what was announced.
    //= spec: http3-12
    fn is_length(&self, ended: bool) -> bool {
        match self.announced {
            None => true,
            Some(announced) if ended => self.received == announced || (self.to_head && self.received == 0),
            Some(announced) => self.received <= announced,
        }
    }
}

const fn unexpected(reason: &'static str) -> Fault {
    Fault::connection(Code::FRAME_UNEXPECTED, reason)
}

impl Connection {
    /// Bytes of a request or an answer, or of the stream of a session.
    pub(super) fn on_exchange(
        &mut self,
        id: StreamId,
        state: &mut Stream,
        mut data: Bytes,
        fin: bool,
    ) -> Result<(), Fault> {
        // Small frames are told together: an event costs more than the two bytes of a frame's head.
        let mut small = Vec::new();
        loop {
            let Kind::Exchange(exchange) = &mut state.kind else { return Ok(()) };
            let Some(piece) = exchange.frames.next(&mut data) else { break };
            match piece {
                Piece::Start { kind, len } => {
                    self.frame_begins(id, state, kind, len)?;
                    if !state.reading {
                        return Ok(());
                    }
                }
                Piece::Data(bytes) => match exchange.frame {
                    frame::HEADERS => exchange.section.extend_from_slice(&bytes),
                    frame::DATA if exchange.closed_here => {}
                    frame::DATA if exchange.session => self.on_session_bytes(SessionId(id), state, bytes)?,
                    frame::DATA => {
                        exchange.received += bytes.len() as u64;
                        if !exchange.is_length(false) {
                            return Err(Fault::Stream(Code::MESSAGE_ERROR));
                        }
                        if bytes.len() < SMALL {
                            small.extend_from_slice(&bytes);
                        } else {
                            self.tell_data(id, state, std::mem::take(&mut small).into());
                            self.tell_data(id, state, bytes);
                        }
                    }
                    _ => {}
                },
                Piece::End if exchange.frame == frame::HEADERS => {
                    let section = std::mem::take(&mut exchange.section);
                    let end = fin && data.is_empty();
                    self.on_section(id, state, &section, end)?;
                    if !state.reading {
                        return Ok(());
                    }
                }
                Piece::End => {}
            }
        }
        self.tell_data(id, state, small.into());
        if fin { self.on_end(id, state) } else { Ok(()) }
    }

    //= spec: http3-8, http3-11
    fn frame_begins(&mut self, id: StreamId, state: &mut Stream, kind: u64, len: u64) -> Result<(), Fault> {
        let Kind::Exchange(exchange) = &mut state.kind else { return Ok(()) };
        exchange.frame = kind;
        match (kind, exchange.phase) {
            (frame::DATA, Phase::Body) => Ok(()),
            (frame::DATA, _) => Err(unexpected("DATA out of place")),
            (frame::HEADERS, Phase::Over) => Err(unexpected("HEADERS after trailers")),
            (frame::HEADERS, Phase::Body) if exchange.session => Err(unexpected("HEADERS in a session")),
            // What is longer than it may be when decoded is not even read.
            (frame::HEADERS, _) if len > self.config.limits.field_section as u64 => self.too_large(id, state),
            (frame::HEADERS, _) => Ok(()),
            (frame::PUSH_PROMISE, _) if self.role == Role::Client => {
                Err(Fault::connection(Code::ID_ERROR, "a push that was not allowed"))
            }
            (frame::WEBTRANSPORT_STREAM, _) if self.config.webtransport => {
                Err(Fault::connection(Code::FRAME_ERROR, "WebTransport in the middle of a stream"))
            }
            (
                frame::PUSH_PROMISE
                | frame::CANCEL_PUSH
                | frame::SETTINGS
                | frame::GOAWAY
                | frame::MAX_PUSH_ID,
                _,
            ) => Err(unexpected("a frame of the control stream")),
            (kind, _) if frame::OF_HTTP2.contains(&kind) => Err(unexpected("a frame of HTTP/2")),
            // In a session nothing but DATA has a meaning, and what is unknown is skipped as everywhere.
            _ => Ok(()),
        }
    }

    /// The peer's head or trailers are larger than is taken. A server says so in its answer, if none has begun.
    //= spec: http3-11
    fn too_large(&mut self, id: StreamId, state: &mut Stream) -> Result<(), Fault> {
        let Kind::Exchange(exchange) = &mut state.kind else { return Ok(()) };
        if exchange.phase != Phase::Head || self.role == Role::Client {
            return Err(Fault::Stream(Code::EXCESSIVE_LOAD));
        }
        exchange.answered = true;
        let mut head = Response::new(());
        *head.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        // A head that can't be written has a field that can't be: this one has none.
        let section = head::write_response(&head, None).unwrap_or_default();
        state.send.push(whole(frame::HEADERS, &section).into());
        state.send.end();
        self.set_deadline(id, state, None);
        self.stop_half(id, state, Code::NO_ERROR);
        Ok(())
    }

    fn on_section(
        &mut self,
        id: StreamId,
        state: &mut Stream,
        section: &[u8],
        end: bool,
    ) -> Result<(), Fault> {
        let Kind::Exchange(exchange) = &mut state.kind else { return Ok(()) };
        let limits = &self.config.limits;
        let error = match (exchange.phase, self.role) {
            (Phase::Head, Role::Server) => match head::read_request(section, limits) {
                Ok(read) => {
                    exchange.phase = Phase::Body;
                    exchange.announced = read.length;
                    exchange.told = true;
                    exchange.end_told = end;
                    return self.on_request(id, state, read.head, end);
                }
                Err(error) => error,
            },
            (Phase::Head, Role::Client) => match head::read_response(section, limits) {
                Ok(read) if read.head.status().is_informational() => {
                    exchange.informational += 1;
                    let many = exchange.informational > MAX_INFORMATIONAL;
                    return if many { Err(Fault::Stream(Code::EXCESSIVE_LOAD)) } else { Ok(()) };
                }
                Ok(read) => {
                    let status = read.head.status();
                    exchange.phase = Phase::Body;
                    exchange.to_head |=
                        status == StatusCode::NOT_MODIFIED || status == StatusCode::NO_CONTENT;
                    exchange.announced = read.length;
                    exchange.end_told = end;
                    if exchange.session {
                        return self.on_session_answer(SessionId(id), state, read.head);
                    }
                    self.event(Event::Response { stream: id, head: read.head, end });
                    return Ok(());
                }
                Err(error) => error,
            },
            (Phase::Body | Phase::Over, _) => {
                exchange.phase = Phase::Over;
                match head::check_trailers(section, limits) {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                }
            }
        };
        match error {
            HeadError::Section => {
                Err(Fault::connection(Code::QPACK_DECOMPRESSION_FAILED, "a field section can't be read"))
            }
            HeadError::TooLarge => self.too_large(id, state),
            HeadError::Malformed => Err(Fault::Stream(Code::MESSAGE_ERROR)),
        }
    }

    /// A request is known.
    fn on_request(
        &mut self,
        id: StreamId,
        state: &mut Stream,
        head: http::Request<()>,
        end: bool,
    ) -> Result<(), Fault> {
        let Kind::Exchange(exchange) = &mut state.kind else { return Ok(()) };
        match head.extensions().get::<Protocol>().map(|protocol| protocol.0.as_str()) {
            None => {
                self.set_deadline(id, state, None);
                self.event(Event::Request { stream: id, head, end });
            }
            // Extended CONNECT was not offered.
            Some(_) if !self.config.webtransport => return Err(Fault::Stream(Code::MESSAGE_ERROR)),
            Some(protocol) if WEBTRANSPORT_PROTOCOLS.contains(&protocol) => {
                exchange.session = true;
                return self.on_session_request(SessionId(id), state, head);
            }
            // Some other protocol (RFC 9220, section 3).
            Some(_) => {
                exchange.told = false;
                exchange.answered = true;
                let mut head = Response::new(());
                *head.status_mut() = StatusCode::NOT_IMPLEMENTED;
                let section = head::write_response(&head, None).unwrap_or_default();
                state.send.push(whole(frame::HEADERS, &section).into());
                state.send.end();
                self.set_deadline(id, state, None);
                self.stop_half(id, state, Code::NO_ERROR);
            }
        }
        Ok(())
    }

    /// The peer's half ends.
    fn on_end(&mut self, id: StreamId, state: &mut Stream) -> Result<(), Fault> {
        let Kind::Exchange(exchange) = &state.kind else { return Ok(()) };
        if !exchange.frames.is_between() {
            return Err(Fault::connection(Code::FRAME_ERROR, "a frame is cut"));
        }
        if exchange.phase == Phase::Head {
            let code = match self.role {
                Role::Server => Code::REQUEST_INCOMPLETE,
                Role::Client => Code::MESSAGE_ERROR,
            };
            return Err(Fault::Stream(code));
        }
        if exchange.session {
            return self.on_session_end(SessionId(id), state);
        }
        if !exchange.is_length(true) {
            return Err(Fault::Stream(Code::MESSAGE_ERROR));
        }
        if !exchange.end_told {
            self.event(Event::End { stream: id });
        }
        Ok(())
    }

    /// The peer reset its half.
    pub(super) fn peer_gave_up(
        &mut self,
        now: Instant,
        id: StreamId,
        state: &mut Stream,
        code: Code,
    ) -> Result<(), Fault> {
        let Kind::Exchange(exchange) = &state.kind else { return Ok(()) };
        let (session, told, early) = (exchange.session, exchange.told, state.send.is_open());
        // An answer that is complete already is still sent: the client may have stopped for it.
        if early || session {
            self.reset_half(id, state, Code::REQUEST_CANCELLED);
        }
        if session {
            self.forget_session(SessionId(id), SessionEnd::Reset(code));
        } else if told {
            self.event(Event::Reset { stream: id, code, by_peer: true });
        }
        if early && self.role == Role::Server { self.count_reset(now) } else { Ok(()) }
    }

    /// The peer wants no more of this side's half.
    pub(super) fn peer_stopped(
        &mut self,
        now: Instant,
        id: StreamId,
        state: &mut Stream,
        code: Code,
    ) -> Result<(), Fault> {
        let Kind::Exchange(exchange) = &state.kind else { return Ok(()) };
        let (session, told, open) = (exchange.session, exchange.told, state.send.is_open());
        let alive = !state.send.is_done();
        self.reset_half(id, state, code);
        if session {
            let beside = matches!(code, Code::WEBTRANSPORT_SESSION_GONE | Code::NO_ERROR);
            if alive && state.reading && beside {
                // Sent beside the words of a close, or beside a refusal, which it may overtake: they get some time.
                self.set_deadline(id, state, Some(now + EARLY_TIME));
            } else if alive {
                self.stop_half(id, state, Code::WEBTRANSPORT_SESSION_GONE);
                self.forget_session(SessionId(id), SessionEnd::Reset(code));
            }
        } else if self.role == Role::Client {
            if open {
                self.event(Event::Stopped { stream: id, code });
            }
        } else if alive {
            // A client that does not want the answer has no request.
            self.stop_half(id, state, Code::REQUEST_CANCELLED);
            self.set_deadline(id, state, None);
            if told {
                self.event(Event::Reset { stream: id, code, by_peer: true });
            }
            if open {
                return self.count_reset(now);
            }
        }
        Ok(())
    }

    /// The server will not look at these requests.
    pub(super) fn give_up_requests(&mut self, first: StreamId) {
        let late: Vec<StreamId> = self.streams.range(first..).map(|(id, _)| *id).collect();
        for id in late {
            if !id.is_request() {
                continue;
            }
            let Some(mut state) = self.streams.remove(&id) else { continue };
            if let Kind::Exchange(exchange) = &state.kind {
                let session = exchange.session;
                self.stop_half(id, &mut state, Code::REQUEST_CANCELLED);
                self.reset_half(id, &mut state, Code::REQUEST_CANCELLED);
                if session {
                    self.forget_session(SessionId(id), SessionEnd::Reset(Code::REQUEST_REJECTED));
                } else {
                    self.event(Event::Reset { stream: id, code: Code::REQUEST_REJECTED, by_peer: true });
                }
            }
            self.put_back(id, state);
        }
    }
}
