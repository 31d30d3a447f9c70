//! HTTP/3, over QUIC over a UDP socket of its own.
//!
//! ```text
//!  exchange() ── Ask ──▶ ┌──────┐ ◀─▶ Carrier (HTTP/3) ◀─▶ QUIC ◀─▶ datagrams
//!  Response   ◀── head ─ │ Line │
//!  Body       ◀─ parts ─ └──────┘   a task of the runtime, driven as every machine of ours
//! ```
//!
//! A request's body is asked for as the connection takes it, and an answer's is let come as it is read: the windows of QUIC hold either
//! side back, and nothing else does.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_channel::Sender;
use http::{Request, Response};
use ntproto_drive::{Runtime, Sockets, client_socket, drive};
use ntproto_quic::{ClientTls, Closed, Endpoint, EndpointConfig, Misuse};
use ntproto_udp::Clock;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::{Http, HttpError, Incoming, Outgoing, Pending};

mod exchange;
mod line;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use exchange::Body;
use exchange::{Ask, Command, Guard, Ticket};
use line::Line;

/// What ALPN calls it.
pub use ntproto_quic::H3 as ALPN;

/// How long UDP has to answer before a network counts as one that drops it: a handshake whose first packet was lost, and the one sent
/// for it a second later.
pub const UDP_TIME: Duration = Duration::from_secs(3);
/// A server that something is expected of, and that says nothing, is asked after this whether it is there.
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// And given up after this: a path that broke is noticed as over HTTP/2.
const IDLE: Duration = Duration::from_secs(20);

/// A connection. Its requests share it; dropped, it closes when they are through.
pub struct H3 {
    commands: Sender<Command>,
}

impl fmt::Debug for H3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("H3").field("open", &self.is_open()).finish()
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    /// Nothing came over UDP in this time.
    NoAnswer,
    /// What answers does not speak HTTP/3.
    NotSpoken,
    /// What answers is not whom it should be.
    Distrusted(String),
    /// The connection came to its end before it was up.
    Closed(Closed),
    /// It can't be begun: the address or the name is none.
    Misuse(Misuse),
    /// There is no UDP socket, or no randomness.
    Io(io::Error),
}

impl ConnectError {
    fn of(closed: Closed) -> Self {
        match closed {
            Closed::HandshakeTimeout | Closed::TimedOut => Self::NoAnswer,
            Closed::Tls { by_peer: false, text, .. } => Self::Distrusted(text),
            // no_application_protocol (RFC 7301).
            Closed::Tls { alert: 120, by_peer: true, .. } => Self::NotSpoken,
            closed => Self::Closed(closed),
        }
    }

    /// Whether HTTP/2 may get through where this did not. Whoever is not to be trusted is not asked by another way.
    #[must_use]
    pub const fn may_fall_back(&self) -> bool {
        !matches!(self, Self::Distrusted(_))
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer => f.write_str("nothing answers over UDP"),
            Self::NotSpoken => f.write_str("the server does not speak HTTP/3"),
            Self::Distrusted(text) => write!(f, "what answers is not the server: {text}"),
            Self::Closed(closed) => closed.fmt(f),
            Self::Misuse(misuse) => misuse.fmt(f),
            Self::Io(error) => write!(f, "no UDP here: {error}"),
        }
    }
}

impl std::error::Error for ConnectError {}

impl From<ConnectError> for HttpError {
    fn from(error: ConnectError) -> Self {
        Self::of(&error)
    }
}

/// What is said of a connection that is over and does not say why.
fn gone() -> HttpError {
    HttpError("the connection is gone".into())
}

/// Connects to `remote`, which is to prove that it is `name`, in at most this time.
///
/// ```no_run
/// use std::sync::Arc;
/// use ntproto_http::client::{h3, trust::Trust};
/// use ntproto_quic::tls::default_provider;
///
/// async fn reach(runtime: impl ntproto_drive::Runtime, tls_pin: [u8; 32]) -> Option<h3::H3> {
///     let tls = Trust::Keys(vec![tls_pin]).quic(default_provider(), &[h3::ALPN]).ok()?;
///     let remote = "192.0.2.1:7424".parse().ok()?;
///     h3::connect(&runtime, remote, "chat.example.org", &tls, h3::UDP_TIME).await.ok()
/// }
/// ```
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect<R: Runtime>(
    runtime: &R,
    remote: SocketAddr,
    name: &str,
    tls: &ClientTls,
    patience: Duration,
) -> Result<H3, ConnectError> {
    let socket = client_socket().map_err(ConnectError::Io)?;
    let mut config = EndpointConfig::client();
    config.mtu_discovery &= !socket.may_fragment();
    (config.limits.handshake_timeout, config.limits.idle_timeout) = (patience, IDLE);
    let mut seed = [0; 32];
    let no_randomness = |_| ConnectError::Io(io::Error::other("the system gives no randomness"));
    SystemRandom::new().fill(&mut seed).map_err(no_randomness)?;
    let clock = Clock::start();
    let now = clock.now();
    let mut quic = Endpoint::new(config, clock.base(), seed);
    let conn = quic.connect(now, tls, remote, name).map_err(ConnectError::Misuse)?;
    let (ready, readied) = async_channel::bounded(1);
    // Unbounded, and bounded by what is asked: see `Command`.
    let (commands, commanded) = async_channel::unbounded();
    let mut line = Line::new(now, quic, conn, ready);
    let host = runtime.clone();
    runtime.spawn(async move {
        let sockets = Sockets::from(&socket);
        // Whatever ends it, the exchanges see their channels close.
        let _ = drive(host, &mut line, sockets, &clock, commanded, |effect| match effect {}).await;
    });
    match readied.recv().await {
        Ok(connected) => connected.map(|()| H3 { commands }),
        Err(_) => Err(ConnectError::Io(io::Error::other("the socket failed, or the runtime shuts down"))),
    }
}

impl Http for H3 {
    fn exchange(
        &self,
        request: Request<Outgoing>,
    ) -> Pending<'static, Result<Response<Incoming>, HttpError>> {
        let (head, headed) = async_channel::bounded(1);
        let (parts, parted) = async_channel::unbounded();
        let ticket = Ticket::new(self.commands.clone());
        let ask = Ask { request, ticket: Arc::clone(&ticket), head, parts };
        // It is in the connection's queue from here on, polled or not. One that is over drops it, and with it the sender of its head.
        drop(self.commands.try_send(Command::Ask(Box::new(ask))));
        let guard = Guard(ticket);
        Box::pin(async move {
            let head = headed.recv().await.unwrap_or_else(|_| Err(gone()))?;
            Ok(head.map(|()| Incoming::H3(Body { parts: parted, guard, ended: false })))
        })
    }

    fn is_open(&self) -> bool {
        !self.commands.is_closed()
    }

    fn protocol(&self) -> &'static str {
        "h3"
    }
}
