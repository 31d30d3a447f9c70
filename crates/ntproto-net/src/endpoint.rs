//! Both transports behind one face.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use ntproto_core::time::{Instant, Now, earliest};
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::Channel;
use ntproto_quic::{ClientTls, EndpointConfig, EndpointStats, Misuse, Received, Transmit};

use crate::tcp::Tcp;
use crate::tcp::gate::TcpLimits;
use crate::tcp::stream::Stream;
use crate::{ConnId, Event, ExchangeId, HttpAnswer, StreamId, StreamInput, StreamStep};

/// QUIC and TCP connections.
pub struct Endpoint {
    quic: ntproto_quic::Endpoint,
    tcp: Tcp,
    /// Whose turn it is to say something, when both have.
    tcp_next: bool,
}

/// What an endpoint has to say.
#[derive(Debug)]
#[must_use]
pub enum Output {
    /// Send what is in the transmit buffer, then poll again.
    Transmit(Transmit),
    /// Do this with a TCP connection, then poll again.
    Stream(StreamId, StreamStep),
    /// Something happened, poll again.
    Event(Event),
    /// Nothing more until then, or until the next input. It is "now" while datagrams wait for a buffer.
    Wait(Option<Instant>),
}

impl Endpoint {
    /// An endpoint without connections. `base` is the instant that core instant 0 stands for, `seed` comes from the
    /// operating system.
    #[must_use]
    pub fn new(quic: EndpointConfig, tcp: TcpLimits, base: std::time::Instant, seed: [u8; 32]) -> Self {
        Self { quic: ntproto_quic::Endpoint::new(quic, base, seed), tcp: Tcp::new(tcp), tcp_next: false }
    }

    /// Datagrams came in.
    pub fn datagram(&mut self, now: Now, received: Received<'_>) {
        self.quic.handle(now, ntproto_quic::Input::Datagram(received));
    }

    /// Somebody connected over TCP. `None`: there is no room; drop the connection.
    pub fn accept(&mut self, now: Now, remote: SocketAddr) -> Option<StreamId> {
        self.tcp.accept(now, remote)
    }

    /// Something happened to a TCP connection.
    pub fn stream(&mut self, stream: StreamId, input: StreamInput) {
        self.tcp.input(stream, input);
    }

    /// A TCP connection begins as TLS does: see [`Machine::hand_over`](crate::Machine::hand_over).
    pub fn hand_over(&mut self, stream: StreamId) -> bool {
        self.tcp.hand_over(stream)
    }

    /// What the host says to an HTTP exchange.
    pub fn http(&mut self, now: Now, exchange: ExchangeId, answer: HttpAnswer) {
        let _ = (now, exchange, answer);
    }

    /// A deadline may have come.
    pub fn timeout(&mut self, now: Now) {
        self.quic.handle(now, ntproto_quic::Input::Timeout);
        self.tcp.timeout(now.mono);
    }

    /// Begins a QUIC connection.
    ///
    /// # Errors
    /// See [`Misuse`].
    pub fn connect_quic(
        &mut self,
        now: Now,
        tls: &ClientTls,
        remote: SocketAddr,
        server_name: &str,
    ) -> Result<ConnId, Misuse> {
        self.quic.connect(now, tls, remote, server_name).map(ConnId::from)
    }

    /// Begins a TCP connection.
    pub fn connect_tcp(&mut self, now: Now, remote: SocketAddr) -> ConnId {
        self.tcp.dial(now, remote)
    }

    /// Visits a connection; `None` if it is over. Whatever the visit changed is taken care of.
    pub fn with<R>(
        &mut self,
        now: Now,
        conn: ConnId,
        visit: impl FnOnce(&mut Conn<'_, '_>) -> R,
    ) -> Option<R> {
        match (conn.quic(), conn.stream()) {
            (Some(conn), _) => self.quic.with(now, conn, |conn| visit(&mut Conn::Quic(conn))),
            (None, Some(stream)) => self.tcp.with(stream, |stream| visit(&mut Conn::Tcp(stream))),
            (None, None) => None,
        }
    }

    /// Closes every connection, as [`Conn::close`] does.
    pub fn close_all(&mut self, now: Now, code: u32, reason: &[u8]) {
        self.quic.close_all(now, code, reason);
        self.tcp.close_all(code);
    }

    /// What to do next. With `tx: None` (the UDP socket is full) everything but datagrams still flows.
    pub fn poll_output(&mut self, now: Now, tx: Option<&mut TxBuf>) -> Output {
        if let Some(event) = self.tcp.events.pop_front() {
            return Output::Event(event);
        }
        // By turns, so that a busy QUIC leaves room for TCP.
        if std::mem::take(&mut self.tcp_next)
            && let Some((stream, step)) = self.tcp.next_step()
        {
            return Output::Stream(stream, step);
        }
        let at = match self.quic.poll_output(now, tx) {
            ntproto_quic::Output::Event(event) => match Event::native(event) {
                Some(event) => return Output::Event(event),
                // Its connection speaks another protocol, and nobody here understands it.
                None => return Output::Wait(Some(now.mono)),
            },
            ntproto_quic::Output::Transmit(transmit) => {
                self.tcp_next = true;
                return Output::Transmit(transmit);
            }
            ntproto_quic::Output::Wait { at, .. } => at,
        };
        match self.tcp.next_step() {
            Some((stream, step)) => Output::Stream(stream, step),
            None => Output::Wait(earliest(at, self.tcp.deadline())),
        }
    }

    /// The next event, leaving datagrams and streams for [`poll_output`](Self::poll_output).
    pub fn next_event(&mut self, now: Now) -> Option<Event> {
        if let Some(event) = self.tcp.events.pop_front() {
            return Some(event);
        }
        while let ntproto_quic::Output::Event(event) = self.quic.poll_output(now, None) {
            if let Some(event) = Event::native(event) {
                return Some(event);
            }
        }
        None
    }

    /// Whether nothing waits to be sent: after [`close_all`](Self::close_all), whether the farewells are out.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.quic.is_flushed() && self.tcp.is_flushed()
    }

    /// QUIC's counts, with the connections of both.
    #[must_use]
    pub fn stats(&self) -> EndpointStats {
        let stats = self.quic.stats();
        EndpointStats { connections: stats.connections + self.tcp.len(), ..stats }
    }
}

/// A connection, as seen inside [`Endpoint::with`]. Whatever is done here is noticed when the visit ends; nothing
/// need be polled by hand.
pub enum Conn<'a, 'b> {
    /// Over QUIC.
    Quic(&'a mut ntproto_quic::Conn<'b>),
    /// Over TCP.
    Tcp(&'a mut Stream),
}

impl Conn<'_, '_> {
    /// Where the peer is now: over QUIC it may move.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        match self {
            Self::Quic(conn) => conn.remote(),
            Self::Tcp(stream) => stream.remote(),
        }
    }

    /// Offers bytes to a channel and says how many were taken. When fewer than offered were, `Writable` follows
    /// once there is room.
    pub fn write(&mut self, channel: Channel, data: &[u8]) -> usize {
        match self {
            Self::Quic(conn) => conn.write(channel, data),
            Self::Tcp(stream) => stream.write(channel, Bytes::copy_from_slice(data)),
        }
    }

    /// Like [`write`](Self::write), but keeps `data` itself instead of copying it: for large bodies. What was
    /// not taken stays in `data`.
    pub fn write_bytes(&mut self, channel: Channel, data: &mut Bytes) -> usize {
        match self {
            Self::Quic(conn) => conn.write_bytes(channel, data),
            Self::Tcp(stream) => {
                let taken = stream.write(channel, data.clone());
                if taken > 0 {
                    *data = Bytes::new();
                }
                taken
            }
        }
    }

    /// Takes up to `max` bytes from a channel, piece by piece, while `take` asks for more; gives how many. Fewer
    /// than `max` without `take` having stopped it means that the channel is empty.
    pub fn read_chunks(&mut self, channel: Channel, max: usize, take: impl FnMut(Bytes) -> bool) -> usize {
        match self {
            Self::Quic(conn) => conn.read_chunks(channel, max, take),
            Self::Tcp(stream) => stream.read_chunks(channel, max, take),
        }
    }

    /// From now on CONTROL takes bytes only when the peer has all that was written before, on every channel. On TCP
    /// it always has: there is one stream.
    pub fn control_last(&mut self) {
        if let Self::Quic(conn) = self {
            conn.control_last();
        }
    }

    /// The peer has proven who it is.
    pub fn settle(&mut self) {
        if let Self::Tcp(stream) = self {
            stream.settle();
        }
    }

    /// Takes a received datagram.
    pub fn recv_datagram(&mut self) -> Option<Bytes> {
        match self {
            Self::Quic(conn) => conn.recv_datagram(),
            Self::Tcp(_) => None,
        }
    }

    /// Ends the connection. What was written before goes out, over QUIC as far as congestion allows, then the
    /// close: TCP has no room for `code` and `reason`, which its frames have told. `Closed` follows at once.
    pub fn close(&mut self, code: u32, reason: &[u8]) {
        match self {
            Self::Quic(conn) => conn.close(code, reason),
            Self::Tcp(stream) => stream.close(code),
        }
    }

    /// Over QUIC: sends a packet that the peer acknowledges.
    pub fn ping(&mut self) {
        if let Self::Quic(conn) = self {
            conn.ping();
        }
    }

    /// Over QUIC: the network changed, and the peer is shown the new address. A TCP connection does not survive
    /// that; `false` says so.
    pub fn path_changed(&mut self) -> bool {
        match self {
            Self::Quic(conn) => {
                conn.path_changed();
                true
            }
            Self::Tcp(_) => false,
        }
    }

    /// The smoothed round-trip time, where it is known: over QUIC.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        match self {
            Self::Quic(conn) => Some(conn.stats().rtt),
            Self::Tcp(_) => None,
        }
    }
}
