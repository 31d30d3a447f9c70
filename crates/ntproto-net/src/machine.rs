//! The interface between a machine that speaks over datagrams and streams, and the loop that drives it.
//!
//! The client's driver and the server's node both have it, so one loop serves both.

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;
use ntproto_core::time::{Instant, Now};
use ntproto_core::tx::TxBuf;
use ntproto_quic::{Received, Transmit};

/// A TCP connection, between a machine and its host. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t#{}", self.0)
    }
}

/// A machine that speaks over one UDP socket and any number of TCP connections.
///
/// A host calls [`poll`](Self::poll) until it says `Wait` or `Done`, after every other call.
pub trait Machine {
    /// What the application or another thread asks for: requests, completions of effects.
    type Command;
    /// What the host must do or pass on: store operations, events.
    type Effect;

    /// Datagrams came in.
    fn datagram(&mut self, now: Now, received: Received<'_>);

    /// Somebody connected over TCP. `None`: drop the connection, without a word.
    fn accept(&mut self, now: Now, remote: SocketAddr) -> Option<StreamId> {
        let _ = (now, remote);
        None
    }

    /// Something happened to a TCP connection.
    fn stream(&mut self, now: Now, stream: StreamId, input: StreamInput) {
        let _ = (now, stream, input);
    }

    /// An accepted connection begins as TLS does: somebody else serves it, if this says so, and its place stays taken
    /// until [`StreamInput::Closed`]. `false`: drop the connection.
    fn hand_over(&mut self, now: Now, stream: StreamId) -> bool {
        let _ = (now, stream);
        false
    }

    /// The deadline came.
    fn timeout(&mut self, now: Now);

    /// The application asks for something.
    fn command(&mut self, now: Now, command: Self::Command);

    /// Nobody can send a command any more. A client closes; a server may go on.
    fn commands_closed(&mut self, now: Now);

    /// What to do next. `tx: None` says that the UDP socket is full: effects, streams and timers still flow.
    /// The buffer is emptied first; it must take [`TX_LIMIT`](ntproto_quic::TX_LIMIT) bytes.
    fn poll(&mut self, now: Now, tx: Option<&mut TxBuf>) -> Step<Self::Effect>;
}

/// What a host tells of a TCP connection. After [`Closed`](Self::Closed) it tells nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamInput {
    /// The connection that was dialled is up.
    Connected,
    /// Bytes came: the answer to [`StreamStep::Read`]. Never empty.
    Bytes(Bytes),
    /// All of the last [`StreamStep::Write`] is with the system.
    Written,
    /// Whoever serves it instead of us has found it good: it no longer counts as half-open.
    Settled,
    /// The peer ended it, or it broke, or could not be had.
    Closed,
}

/// What a machine wants of a TCP connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamStep {
    /// Connect; answer with `Connected` or `Closed`.
    Dial(SocketAddr),
    /// Read once, what there is up to some bound; answer with `Bytes` or `Closed`. One at a time.
    Read,
    /// Write all of it; answer with `Written`. One at a time.
    Write(Bytes),
    /// Write what is still to be written, then end it. Nothing more is told of it, or asked.
    Close,
}

/// What a machine wants.
#[derive(Debug)]
#[must_use]
pub enum Step<E> {
    /// Send what is in the buffer, then poll again.
    Transmit(Transmit),
    /// Do this with a TCP connection, then poll again.
    Stream(StreamId, StreamStep),
    /// Do this, then poll again.
    Effect(E),
    /// Wait for datagrams, streams, commands, or this deadline. A deadline that has passed means that work is
    /// pending.
    Wait(Option<Instant>),
    /// It has ended, farewells included: the loop may return once what was written has left.
    Done,
}
