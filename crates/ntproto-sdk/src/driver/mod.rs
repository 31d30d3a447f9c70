//! A client without I/O: the core's client over one endpoint, QUIC and TCP.
//!
//! ```text
//!  Command ─▶ ┌────────────────┐ Connect, bytes ┌────────────────┐ ─▶ datagrams
//!             │ client::Client │ ◀────────────▶ │  net::Endpoint │ ◀▶ streams
//!  Effect  ◀─ └────────────────┘  channels      └────────────────┘ ◀─ datagrams
//! ```
//!
//! A host runs the [`Machine`](ntproto_net::Machine) it is: it sends and receives datagrams and streams, keeps the deadline, runs
//! [`Effect::Store`] on a [`ClientStore`](crate::store::ClientStore), looks up names for [`Effect::Resolve`] and
//! passes on [`Effect::Event`]. `examples/std_loop.rs` is such a host in one thread, with no async runtime;
//! [`Client`](crate::Client) is what adapters put before it.

mod dial;
mod machine;
mod pipe;
mod probe;
mod scout;

use std::net::SocketAddr;
use std::sync::Arc;

use ntproto_core::binding::TransportId;
use ntproto_core::bootstrap::{Address, Endpoints, Learned};
use ntproto_core::client::{self, ClientEvent, ClientTxn, Misuse, OpId, RequestId, StoreError};
use ntproto_core::crypto::identity::CertificateError;
use ntproto_core::crypto::{CryptoProvider, rustcrypto::RUSTCRYPTO};
use ntproto_core::session::bearer::Bearer;
use ntproto_core::time::UnixMillis;
use ntproto_net::Closed;
use ntproto_quic::tls::default_provider;
use ntproto_quic::{ALPN, ClientSessions, ClientTls, EndpointConfig, Pin, TlsError, Trust};

pub use machine::Driver;

use crate::ConnectString;
use crate::client::Whereabouts;

/// Which transports a client may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transports {
    /// QUIC; TCP where QUIC does not get through. The same guarantees hold on both, and
    /// [`Online`](ClientEvent::Online) tells which it is.
    #[default]
    Any,
    /// QUIC and nothing else: a network that drops UDP keeps the client offline.
    RequireQuic,
    /// TCP and nothing else.
    RequireTcp,
}

impl Transports {
    /// What the server is told, best first.
    #[must_use]
    pub fn offered(self) -> Vec<TransportId> {
        match self {
            Self::Any => vec![TransportId::Quic, TransportId::Tcp],
            Self::RequireQuic => vec![TransportId::Quic],
            Self::RequireTcp => vec![TransportId::Tcp],
        }
    }
}

/// Which server, and how to know it.
#[derive(Clone)]
pub struct Server {
    /// A DNS name or an IP address, without brackets.
    pub host: String,
    /// The port, of UDP, and of TCP unless that is elsewhere.
    pub port: u16,
    /// Where it takes TCP, if that is elsewhere, as a bootstrap may tell.
    pub tcp: Option<Address>,
    /// Where to find it, when no name need be looked up.
    pub addresses: Vec<SocketAddr>,
    /// Whom TLS trusts.
    pub tls: ClientTls,
    /// The pins `tls` was made of. With some, a bootstrap that tells others makes `tls` anew; without, `tls` is the
    /// host's and is left alone.
    pub pins: Vec<[u8; 32]>,
    /// The server's static key, out of a verified certificate.
    pub static_key: [u8; 32],
    /// When that certificate begins: one from before it is not believed any more. 0: nobody knows.
    pub since: UnixMillis,
    /// The operator's key. Over TCP a client learns a static key that was changed by it.
    pub operator_key: [u8; 32],
    /// Which transports may be used.
    pub transports: Transports,
    /// Over TCP, always let the server speak first and show its certificate, though its key is known.
    pub speaks_first: bool,
    /// How the QUIC endpoint behaves.
    pub quic: EndpointConfig,
}

impl Server {
    /// The server of a connect string, whose certificate is verified here, at the time `now`. A client that comes
    /// back signs in by early data, in one round trip: TLS sessions are remembered for as long as this value, or a
    /// copy of it, lives. So it is for one account: the server could tell that two belong together.
    ///
    /// # Errors
    /// The operator does not vouch for the server's key now, or TLS can't be set up.
    pub fn new(connect: &ConnectString, now: UnixMillis) -> Result<Self, ServerError> {
        let pins = connect.tls_pins(&RUSTCRYPTO);
        let tls = pinned(&pins).map_err(ServerError::Tls)?;
        let server = Self::with_tls(&RUSTCRYPTO, tls, connect, now)?;
        Ok(Self { pins, ..server })
    }

    /// What a bootstrap has told is true from now on, if it was this operator's.
    pub fn renew(&mut self, learned: &Learned) {
        let connect = &learned.connect;
        if connect.operator_key != self.operator_key {
            return;
        }
        if (&connect.host, connect.port) != (&self.host, self.port) {
            self.host.clone_from(&connect.host);
            self.port = connect.port;
            // They were another's.
            self.addresses.clear();
        }
        self.tcp = elsewhere(connect, &learned.endpoints);
        (self.static_key, self.since) = (learned.bootstrap.server_static, learned.bootstrap.since);
        //= spec: bootstrap-13
        let pins = connect.tls_pins(&RUSTCRYPTO);
        if !self.pins.is_empty()
            && self.pins != pins
            && let Ok(tls) = pinned(&pins)
        {
            (self.tls, self.pins) = (tls, pins);
        }
    }

    /// The server that a bootstrap has told of, everywhere that it listens. Else as [`new`](Self::new).
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn learned(learned: &Learned, now: UnixMillis) -> Result<Self, ServerError> {
        let tcp = elsewhere(&learned.connect, &learned.endpoints);
        Ok(Self { tcp, ..Self::new(&learned.connect, now)? })
    }

    /// Where the other transport is, for whom `remote` answers by one. `None`: it would have to be looked up.
    pub(crate) fn beside(&self, remote: SocketAddr, transport: TransportId) -> Option<SocketAddr> {
        let Some(tcp) = &self.tcp else { return Some(remote) };
        let (host, port) = match transport {
            TransportId::Tcp => (&tcp.host, tcp.port),
            _ => (&self.host, self.port),
        };
        let ip = if tcp.host == self.host { Some(remote.ip()) } else { host.parse().ok() };
        Some(SocketAddr::new(ip?, port))
    }

    /// [`new`](Self::new) with the host's own cryptography and trust. Without a
    /// [memory of sessions](ClientTls::with_sessions) nothing is early.
    ///
    /// # Errors
    /// The operator does not vouch for the server's key now.
    pub fn with_tls(
        provider: &dyn CryptoProvider,
        tls: ClientTls,
        connect: &ConnectString,
        now: UnixMillis,
    ) -> Result<Self, ServerError> {
        let certificate = connect.certificate(provider, now).map_err(ServerError::Certificate)?;
        Ok(Self {
            host: connect.host.clone(),
            port: connect.port,
            tcp: None,
            addresses: Vec::new(),
            tls,
            pins: Vec::new(),
            static_key: certificate.static_key,
            since: certificate.not_before,
            operator_key: connect.operator_key,
            transports: Transports::Any,
            speaks_first: false,
            quic: EndpointConfig::client(),
        })
    }
}

/// Where TCP is, if not where the connect string says.
fn elsewhere(connect: &ConnectString, endpoints: &Endpoints) -> Option<Address> {
    endpoints.tcp.clone().filter(|tcp| (&tcp.host, tcp.port) != (&connect.host, connect.port))
}

/// TLS that trusts these keys, with a memory of sessions.
fn pinned(pins: &[[u8; 32]]) -> Result<ClientTls, TlsError> {
    let pins = pins.iter().map(|pin| Pin(*pin)).collect();
    let tls = ClientTls::new(default_provider(), Trust::Pinned(pins), &[ALPN])?;
    //= spec: quic-8
    tls.with_sessions(Arc::new(ClientSessions::default()))
}

/// Why a server can't be used.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerError {
    /// The operator does not vouch for its key now.
    Certificate(CertificateError),
    /// TLS can't be set up.
    Tls(TlsError),
}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Certificate(error) => error.fmt(f),
            Self::Tls(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ServerError {}

/// Names a call between [`Command::Call`] and [`Effect::Called`]. The caller chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// What a host asks of the driver.
#[derive(Debug)]
pub enum Command {
    /// The application asks for something; [`Effect::Called`] answers.
    Call(CallId, client::Command),
    /// The application is done with the inbox up to this position. Only the latest counts: no answer.
    Confirm(u64),
    /// Transactions ended, in the order they were asked for.
    StoreDone(Vec<OpId>, Result<(), StoreError>),
    /// Where the host of [`Effect::Resolve`] with this number is; nowhere if empty.
    Resolved(u64, Vec<SocketAddr>),
    /// What the bootstrap of [`Effect::Bootstrap`] with this number told; nothing if it could not be had.
    Bootstrapped(u64, Option<Box<Learned>>),
    /// The device has another network, or woke up.
    NetworkChanged,
    /// What do HTTP requests show to act for the present session? [`Effect::HttpToken`] answers.
    HttpToken(CallId),
}

/// What the driver wants done, or tells.
#[derive(Debug)]
pub enum Effect {
    /// A call was taken, or refused and nothing changed.
    Called(CallId, Result<RequestId, Misuse>),
    /// The token that was asked for; `None`: there is no session now, or it is not bound to its transport yet.
    HttpToken(CallId, Option<Bearer>),
    /// Run this on the local disk; answer with [`Command::StoreDone`].
    Store(OpId, ClientTxn),
    /// Look up a host; answer with [`Command::Resolved`].
    Resolve {
        /// Repeated in the answer.
        id: u64,
        /// A DNS name.
        host: String,
        /// The port to go with it.
        port: u16,
    },
    /// Bootstrap anew; answer with [`Command::Bootstrapped`]. Only with
    /// [`ClientConfig::can_bootstrap`](client::ClientConfig::can_bootstrap).
    Bootstrap(u64),
    /// A bootstrap was believed: this is where the server is and how to know it, from here on.
    Learned(Box<Whereabouts>),
    /// Tell the application.
    Event(ClientEvent),
    /// The transport came up: from here on the server may have been asked, whatever comes back.
    Reached,
    /// Why the transport failed, or could not be had: for logs, and for a person who wonders. What it means for
    /// the client follows as an event.
    Lost(Closed),
}
