//! What goes into a connection and what comes out.

use std::fmt;

use bytes::Bytes;
use http::{Request, Response};
use ntproto_core::time::Instant;

use crate::Code;

/// Which side of a connection an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It opened the connection and asks.
    Client,
    /// It answers.
    Server,
}

/// Whether one side of a stream may send, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dir {
    /// Both.
    Bi,
    /// Who opened it.
    Uni,
}

/// A QUIC stream's number (RFC 9000, section 2.1): its two lowest bits say who opened it and whether both may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

impl StreamId {
    /// The number of the stream that is the `index`th of its kind, counted from 0.
    ///
    /// ```
    /// use ntproto_h3::{Dir, Role, StreamId};
    /// assert_eq!(StreamId::new(Role::Client, Dir::Bi, 2), StreamId(8));
    /// assert_eq!(StreamId::new(Role::Server, Dir::Uni, 0), StreamId(3));
    /// ```
    #[must_use]
    pub const fn new(opener: Role, dir: Dir, index: u64) -> Self {
        let opener = match opener {
            Role::Client => 0,
            Role::Server => 1,
        };
        let dir = match dir {
            Dir::Bi => 0,
            Dir::Uni => 2,
        };
        Self(index << 2 | dir | opener)
    }

    /// Who opened it.
    #[must_use]
    pub const fn opener(self) -> Role {
        if self.0 & 1 == 0 { Role::Client } else { Role::Server }
    }

    /// Whether both may send.
    #[must_use]
    pub const fn dir(self) -> Dir {
        if self.0 & 2 == 0 { Dir::Bi } else { Dir::Uni }
    }

    /// Whether it may carry a request, or a session.
    #[must_use]
    pub const fn is_request(self) -> bool {
        self.0 & 3 == 0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stream {}", self.0)
    }
}

/// A session of WebTransport: the stream of its CONNECT request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub StreamId);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session {}", self.0.0)
    }
}

/// From QUIC, or from the clock.
#[derive(Clone, Debug)]
pub enum Input {
    /// Bytes of a stream, in order. Hand in no more than [`room`](crate::Connection::room) allows: the rest is
    /// left in QUIC, whose flow control then holds the peer back.
    Stream {
        /// The stream.
        stream: StreamId,
        /// Its next bytes.
        data: Bytes,
        /// Whether they are its last.
        fin: bool,
    },
    /// The peer reset its half of a stream.
    Reset {
        /// The stream.
        stream: StreamId,
        /// Why.
        code: Code,
    },
    /// The peer asks that nothing more be sent on a stream.
    Stopped {
        /// The stream.
        stream: StreamId,
        /// Why.
        code: Code,
    },
    /// The stream that [`Output::Open`] asked for is open.
    Opened(StreamId),
    /// So many bytes of the last [`Output::Write`] for this stream were taken by QUIC: all of them, and the end of
    /// the stream if it was asked for; or fewer, and the rest is offered again after [`Input::Writable`].
    Written {
        /// The stream.
        stream: StreamId,
        /// How many bytes.
        len: usize,
    },
    /// A stream that did not take all bytes takes some again.
    Writable(StreamId),
    /// A QUIC datagram came.
    Datagram(Bytes),
    /// The deadline of the last `Wait` has come. Calling early or twice does no harm.
    Timeout,
}

/// What a connection wants.
#[derive(Debug)]
#[must_use]
pub enum Output {
    /// Open the next stream of this kind; QUIC numbers streams in order, so it will have this number. If there is
    /// none to be had now, open it when there is. Then say [`Input::Opened`].
    Open(StreamId),
    /// Write these bytes, as many as QUIC takes, and if all were taken and `fin` is set, finish the stream. Then
    /// say [`Input::Written`]: until then nothing more is offered for this stream.
    Write {
        /// The stream.
        stream: StreamId,
        /// The bytes; none when only the end is to be written.
        data: Bytes,
        /// Whether the stream ends with them.
        fin: bool,
    },
    /// Reset this side's half of a stream.
    Reset {
        /// The stream.
        stream: StreamId,
        /// Why.
        code: Code,
    },
    /// Ask the peer to send nothing more on a stream, and forget what it sent.
    Stop {
        /// The stream.
        stream: StreamId,
        /// Why.
        code: Code,
    },
    /// A stream that had no [`room`](crate::Connection::room) has some again: read on.
    Read(StreamId),
    /// Send a QUIC datagram, or drop it.
    Datagram(Bytes),
    /// Close the QUIC connection. Comes once, and nothing after it but `Wait` without a deadline.
    Close {
        /// With this code.
        code: Code,
        /// And these words, for people.
        reason: &'static str,
    },
    /// Something for the application.
    Event(Event),
    /// Nothing more until then, or until the next input or call.
    Wait {
        /// When to call with [`Input::Timeout`]; never if `None`.
        at: Option<Instant>,
    },
}

/// Something for the application.
#[derive(Debug)]
pub enum Event {
    /// The peer's settings are known.
    Settings {
        /// Whether it speaks WebTransport.
        webtransport: bool,
        /// Whether it takes datagrams.
        datagrams: bool,
    },
    /// A request (server). [`respond`](crate::Connection::respond) answers it. Field values that hold secrets
    /// (`authorization`, `cookie`, …) are marked as sensitive and show nothing in `Debug`.
    Request {
        /// The stream it came on.
        stream: StreamId,
        /// The head; its version is HTTP/3.
        head: Request<()>,
        /// Whether there is no body; else `Data` and `End` follow.
        end: bool,
    },
    /// The answer to a request (client). Informational ones are not told.
    Response {
        /// The stream of the request.
        stream: StreamId,
        /// The head.
        head: Response<()>,
        /// Whether there is no body; else `Data` and `End` follow.
        end: bool,
    },
    /// Bytes of a body, or of a session's stream. Say [`consume`](crate::Connection::consume) when they are done
    /// with.
    Data {
        /// The stream.
        stream: StreamId,
        /// The bytes.
        data: Bytes,
    },
    /// The body, or the peer's half of a session's stream, is complete.
    End {
        /// The stream.
        stream: StreamId,
    },
    /// The peer's half of a stream ended before its end: no `Data` and no `End` follow. Of an exchange that was
    /// malformed nothing can be sent either.
    Reset {
        /// The stream.
        stream: StreamId,
        /// Why.
        code: Code,
        /// Whether the peer did it, or broke a rule and this side did it.
        by_peer: bool,
    },
    /// The peer wants nothing more on a stream: what was still to be sent is dropped, and no more is taken.
    Stopped {
        /// The stream.
        stream: StreamId,
        /// Why. [`Code::NO_ERROR`] to a client says that the answer is on its way without the rest of the body.
        code: Code,
    },
    /// A stream that did not take all bytes of [`send`](crate::Connection::send) has room again.
    Writable {
        /// The stream.
        stream: StreamId,
    },
    /// A client asks for a session (server): [`accept`](crate::Connection::accept) or
    /// [`refuse`](crate::Connection::refuse) it. Whether its `origin` may is for the application to say, with
    /// [`Origins`](crate::origin::Origins).
    Session {
        /// The session.
        session: SessionId,
        /// The head of the request.
        head: Request<()>,
    },
    /// The server accepted the session (client).
    SessionUp {
        /// The session.
        session: SessionId,
        /// The head of its answer.
        head: Response<()>,
    },
    /// The peer opened a stream of a session. What comes on it comes as `Data`, `End` and `Reset`.
    SessionStream {
        /// The session.
        session: SessionId,
        /// The stream.
        stream: StreamId,
        /// Whether this side may send on it too.
        dir: Dir,
    },
    /// A datagram of a session.
    SessionDatagram {
        /// The session.
        session: SessionId,
        /// Its bytes.
        data: Bytes,
    },
    /// The peer asks that the session come to its end.
    SessionDrain {
        /// The session.
        session: SessionId,
    },
    /// The session is over: the last event of it and of its streams, exactly once, for every session that was
    /// asked for. Its streams are gone with it, and no event tells so for each.
    SessionClosed {
        /// The session.
        session: SessionId,
        /// Why.
        reason: SessionEnd,
    },
    /// The peer takes no more requests. Those of this side it will not look at got [`Event::Reset`] with
    /// [`Code::REQUEST_REJECTED`], and may be sent again elsewhere; the others are answered.
    Goaway,
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// This side closed it, or refused it.
    Local,
    /// The peer closed it.
    Peer {
        /// The application's code; 0 when it just ended.
        code: u32,
        /// What it said.
        reason: String,
    },
    /// The server refused it (client).
    Refused(http::StatusCode),
    /// The peer does not speak WebTransport.
    Unsupported,
    /// Its stream was reset: by the peer, or for what the peer did.
    Reset(Code),
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("closed here"),
            Self::Peer { code, reason } if reason.is_empty() => {
                write!(f, "closed by the peer with code {code}")
            }
            Self::Peer { code, reason } => write!(f, "closed by the peer with code {code}: {reason}"),
            Self::Refused(status) => write!(f, "refused with {status}"),
            Self::Unsupported => f.write_str("the server does not speak WebTransport"),
            Self::Reset(code) => write!(f, "reset: {code}"),
        }
    }
}

/// What the caller did that can't be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// There is no such stream or session, or not any more.
    Gone,
    /// Not now: already answered, already ended, not accepted yet, or on the wrong side.
    State,
    /// The head can't be said in HTTP/3: no authority, a forbidden field, a status that is not final.
    Head,
    /// The head is longer than the peer takes.
    TooLarge,
    /// As many as may be are open.
    Full,
    /// The peer does not take it: it is going away, or speaks no WebTransport or no datagrams.
    Refused,
    /// The connection is closed.
    Closed,
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "there is no such stream",
            Self::State => "not in this state",
            Self::Head => "the head can't be said in HTTP/3",
            Self::TooLarge => "the head is longer than the peer takes",
            Self::Full => "as many as may be are open",
            Self::Refused => "the peer does not take it",
            Self::Closed => "the connection is closed",
        })
    }
}

impl std::error::Error for Misuse {}
