//! All transports behind one face.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use ntproto_core::time::{Instant, Now, earliest};
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::Channel;
use ntproto_quic::{ClientTls, EndpointConfig, EndpointStats, H3, Misuse, Received, Transmit};

use crate::tcp::Tcp;
use crate::tcp::gate::TcpLimits;
use crate::tcp::stream::Stream;
use crate::web::{Web, WebConfig, WebSession};
use crate::{ConnId, Event, ExchangeId, HttpAnswer, StreamId, StreamInput, StreamStep};

/// QUIC and TCP connections, and what HTTP/3 carries.
pub struct Endpoint {
    quic: ntproto_quic::Endpoint,
    tcp: Tcp,
    web: Web,
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
        Self {
            quic: ntproto_quic::Endpoint::new(quic, base, seed),
            tcp: Tcp::new(tcp),
            web: Web::default(),
            tcp_next: false,
        }
    }

    /// Serves HTTP/3 to those who ask for it by its name: [`Event::Http`], and sessions over WebTransport. Without this
    /// they are connections like any other, with a protocol of another name.
    pub fn serve_web(&mut self, config: WebConfig) {
        self.web.serve(config);
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
        self.web.http(now, &mut self.quic, exchange, answer);
    }

    /// A deadline may have come.
    pub fn timeout(&mut self, now: Now) {
        self.quic.handle(now, ntproto_quic::Input::Timeout);
        self.tcp.timeout(now.mono);
        self.web.timeout(now, &mut self.quic);
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
            (None, None) => {
                self.web.with(now, &mut self.quic, conn, |session| visit(&mut Conn::Web(session)))
            }
        }
    }

    /// No new sessions or requests are taken over HTTP/3; those that are there are finished, and each connection is closed
    /// once it has none and its peer has all that was answered: see [`is_web_over`](Self::is_web_over).
    pub fn goaway(&mut self, now: Now) {
        self.web.goaway(now, &mut self.quic);
    }

    /// Whether there is no connection of HTTP/3. After [`goaway`](Self::goaway) there is none when the last request and the last
    /// session are over.
    #[must_use]
    pub fn is_web_over(&self) -> bool {
        self.web.is_over()
    }

    /// Closes every connection at once, as [`Conn::close`] does; what is under way over HTTP/3 is cut, its sessions lose
    /// their farewell.
    pub fn close_all(&mut self, now: Now, code: u32, reason: &[u8]) {
        self.web.close_all(now, &mut self.quic, code, reason);
        self.quic.close_all(now, code, reason);
        self.tcp.close_all(code);
    }

    /// What QUIC says, as far as it is not for HTTP/3.
    fn heard(&mut self, now: Now, event: ntproto_quic::Event) -> Option<Event> {
        use ntproto_quic::Event as Quic;
        match event {
            //= spec: web-1
            Quic::Connected { conn, ref alpn, remote, .. } if alpn == H3 && self.web.is_on() => {
                self.web.opened(now, &mut self.quic, conn, remote);
            }
            Quic::Streams { conn } => self.web.stir(now, &mut self.quic, conn),
            Quic::Datagram { conn } if self.web.has(conn) => self.web.stir(now, &mut self.quic, conn),
            Quic::Closed { conn, ref reason } if self.web.has(conn) => self.web.closed(conn, reason),
            event => return Event::native(event),
        }
        None
    }

    fn waiting_event(&mut self) -> Option<Event> {
        self.tcp.events.pop_front().or_else(|| self.web.events.pop_front())
    }

    /// What to do next. With `tx: None` (the UDP socket is full) everything but datagrams still flows.
    pub fn poll_output(&mut self, now: Now, mut tx: Option<&mut TxBuf>) -> Output {
        loop {
            if let Some(event) = self.waiting_event() {
                return Output::Event(event);
            }
            // By turns, so that a busy QUIC leaves room for TCP.
            if std::mem::take(&mut self.tcp_next)
                && let Some((stream, step)) = self.tcp.next_step()
            {
                return Output::Stream(stream, step);
            }
            let at = match self.quic.poll_output(now, tx.as_deref_mut()) {
                ntproto_quic::Output::Event(event) => match self.heard(now, event) {
                    Some(event) => return Output::Event(event),
                    None => continue,
                },
                ntproto_quic::Output::Transmit(transmit) => {
                    self.tcp_next = true;
                    return Output::Transmit(transmit);
                }
                ntproto_quic::Output::Wait { at, .. } => at,
            };
            return match self.tcp.next_step() {
                Some((stream, step)) => Output::Stream(stream, step),
                None => Output::Wait(earliest(earliest(at, self.tcp.deadline()), self.web.deadline())),
            };
        }
    }

    /// The next event, leaving datagrams and streams for [`poll_output`](Self::poll_output).
    pub fn next_event(&mut self, now: Now) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting_event() {
                return Some(event);
            }
            match self.quic.poll_output(now, None) {
                ntproto_quic::Output::Event(event) => {
                    if let Some(event) = self.heard(now, event) {
                        return Some(event);
                    }
                }
                _ => return None,
            }
        }
    }

    /// Whether nothing waits to be sent: after [`close_all`](Self::close_all), whether the farewells are out.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.quic.is_flushed() && self.tcp.is_flushed()
    }

    /// QUIC's counts, with the connections of all.
    #[must_use]
    pub fn stats(&self) -> EndpointStats {
        let stats = self.quic.stats();
        EndpointStats { connections: stats.connections + self.tcp.len() + self.web.len(), ..stats }
    }
}

/// A connection, as seen inside [`Endpoint::with`]. Whatever is done here is noticed when the visit ends; nothing
/// need be polled by hand.
pub enum Conn<'a, 'b> {
    /// Over QUIC.
    Quic(&'a mut ntproto_quic::Conn<'b>),
    /// Over TCP.
    Tcp(&'a mut Stream),
    /// A session over WebTransport.
    Web(&'a mut WebSession<'b>),
}

impl Conn<'_, '_> {
    /// Where the peer is now: over QUIC it may move.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        match self {
            Self::Quic(conn) => conn.remote(),
            Self::Tcp(stream) => stream.remote(),
            Self::Web(session) => session.remote(),
        }
    }

    /// Offers bytes to a channel and says how many were taken. When fewer than offered were, `Writable` follows
    /// once there is room.
    pub fn write(&mut self, channel: Channel, data: &[u8]) -> usize {
        match self {
            Self::Quic(conn) => conn.write(channel, data),
            Self::Tcp(stream) => stream.write(channel, Bytes::copy_from_slice(data)),
            Self::Web(session) => session.write(channel, Bytes::copy_from_slice(data)),
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
            Self::Web(session) => {
                let taken = session.write(channel, data.clone());
                data.advance(taken);
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
            Self::Web(session) => session.read_chunks(channel, max, take),
        }
    }

    /// From now on CONTROL takes bytes only when the peer has all that was written before, on every channel. On TCP
    /// it always has: there is one stream.
    pub fn control_last(&mut self) {
        match self {
            Self::Quic(conn) => conn.control_last(),
            Self::Tcp(_) => {}
            Self::Web(session) => session.control_last(),
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
            Self::Web(session) => session.recv_datagram(),
        }
    }

    /// Ends the connection. What was written before goes out, over QUIC as far as congestion allows, then the
    /// close: TCP has no room for `code` and `reason`, which its frames have told. `Closed` follows at once.
    pub fn close(&mut self, code: u32, reason: &[u8]) {
        match self {
            Self::Quic(conn) => conn.close(code, reason),
            Self::Tcp(stream) => stream.close(code),
            Self::Web(session) => session.close(code, reason),
        }
    }

    /// Over QUIC, or what is carried by it: sends a packet that the peer acknowledges.
    pub fn ping(&mut self) {
        match self {
            Self::Quic(conn) => conn.ping(),
            Self::Tcp(_) => {}
            Self::Web(session) => session.ping = true,
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
            // The browser moves its connections itself.
            Self::Web(_) => true,
        }
    }

    /// The smoothed round-trip time, where it is known: over QUIC and what is carried by it.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        match self {
            Self::Quic(conn) => Some(conn.stats().rtt),
            Self::Tcp(_) => None,
            Self::Web(session) => Some(session.rtt),
        }
    }
}
