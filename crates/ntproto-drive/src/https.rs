//! TCP connections that begin as TLS does: they go to somebody else, and keep their place among the others.

use std::fmt;
use std::net::SocketAddr;

use async_channel::Sender;
use ntproto_net::{StreamId, StreamInput};

/// The first byte of a TLS connection: a handshake record (RFC 8446, section 5.1). No unit of ours begins so.
pub const TLS: u8 = 0x16;

/// Takes connections that speak TLS, and serves them in tasks of its own. It must not block. It decides what they may
/// cost once they are its own; how many there are is bounded by the machine's gate.
pub type Https<S> = Box<dyn FnMut(Visitor<S>) + Send>;

/// A connection whose first byte has come and was not read.
pub struct Visitor<S> {
    /// The connection.
    pub stream: S,
    /// Who it is with.
    pub remote: SocketAddr,
    /// Held for as long as it is served.
    pub place: Place,
}

impl<S> fmt::Debug for Visitor<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visitor").field("remote", &self.remote).finish_non_exhaustive()
    }
}

/// A place among the TCP connections of a machine. Dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    id: StreamId,
    tell: Sender<(StreamId, StreamInput)>,
}

impl Place {
    pub(crate) const fn new(id: StreamId, tell: Sender<(StreamId, StreamInput)>) -> Self {
        Self { id, tell }
    }

    /// A place among nobody's connections, for whoever accepts them without a machine.
    #[must_use]
    pub fn nowhere() -> Self {
        Self::new(StreamId(0), async_channel::bounded(1).0)
    }

    /// The peer has done what it has to (a TLS handshake and a whole request, say): its connection no longer counts as
    /// half-open.
    pub fn settle(&self) {
        self.say(StreamInput::Settled);
    }

    fn say(&self, input: StreamInput) {
        // When the loop has ended there are no places.
        let _ = self.tell.try_send((self.id, input));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.say(StreamInput::Closed);
    }
}
