//! HTTP exchanges over HTTP/3, as a server's host sees them.
//!
//! ```text
//!   Head, Data …, End ──▶ host ──▶ Head, Data …            Room after each Data, once it has left
//!                         host ──▶ Consumed                 so much of the request is done with: the peer may send on
//! ```
//!
//! Backpressure runs both ways. Of a request no more is told than [`RECEIVE_WINDOW`](ntproto_h3::config::RECEIVE_WINDOW)
//! bytes that the host has not said to be done with; QUIC's flow control holds the peer back. Of an answer a host gives
//! the next piece when there is room again.

use std::fmt;

use bytes::Bytes;
use http::{Request, Response};
use std::net::SocketAddr;

use crate::ConnId;

/// Bytes of an answer that may wait for the peer: four of the pieces files are read in. A host that waits for
/// [`HttpEvent::Room`] never comes near it; an exchange whose host does not is given up.
pub const MAX_ANSWER: usize = 1024 * 1024;

/// A request and its answer. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId {
    /// The connection it came on: what carries several of them in order of nothing.
    pub conn: ConnId,
    /// Its stream there.
    pub stream: u64,
}

impl fmt::Display for ExchangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.conn, self.stream)
    }
}

/// What came of an exchange.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a head is handed on twice, and a box each would cost more")]
pub enum HttpEvent {
    /// It begins.
    Head {
        /// The request. Fields that hold secrets are marked as sensitive.
        request: Request<()>,
        /// Whether it has no body.
        end: bool,
        /// Who asks.
        remote: SocketAddr,
    },
    /// Bytes of its body. Say [`HttpAnswer::Consumed`] when they are done with.
    Data(Bytes),
    /// Its body is complete.
    End,
    /// What was last given of the answer has left: the next piece may come.
    Room,
    /// The peer gave it up, or its connection is gone. Nothing follows, and nothing need be answered.
    Gone,
}

/// What a host says to an exchange. What is said to one that is over is dropped.
#[derive(Debug)]
pub enum HttpAnswer {
    /// The answer begins. Without `end`, its body follows.
    Head {
        /// Status and fields.
        response: Response<()>,
        /// Whether there is no body.
        end: bool,
    },
    /// Bytes of the answer's body. Unless they are the last, [`HttpEvent::Room`] follows.
    Data {
        /// The bytes.
        data: Bytes,
        /// Whether they are the last.
        end: bool,
    },
    /// So many bytes of the request are done with.
    Consumed(usize),
    /// The rest of the request is not wanted, whatever the answer says. Nothing more of it is told.
    Enough,
    /// The exchange is given up. Nothing more is told of it.
    Reset,
}
