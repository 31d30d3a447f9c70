//! QUIC for ntproto without I/O: datagrams in, datagrams out, one deadline.
//!
//! [`Endpoint`] wraps `quinn-proto` in the shape every ntproto machine has: inputs go in through
//! [`handle`](Endpoint::handle), [`connect`](Endpoint::connect) and [`with`](Endpoint::with), and everything
//! comes out of [`poll_output`](Endpoint::poll_output). It reads no clock and draws no randomness: the time
//! comes in with every call and everything random grows from one seed (TLS draws its own from the rustls
//! provider, which a simulator replaces).
//!
//! ```text
//!   datagrams ──▶ handle ──┐                       ┌──▶ Transmit   a batch of datagrams to send
//!   timer     ──▶ handle ──┤   slots · schedule    ├──▶ Event      Connected, Readable, … Closed
//!   host      ──▶ with   ──┘   quinn connections   └──▶ Wait       until this deadline
//! ```
//!
//! | module | is |
//! | --- | --- |
//! | [`config`] | limits and transport settings, each with its reason |
//! | [`tls`] | who is trusted, and a server's certificate |
//! | [`sessions`] | what resumption remembers |
//! | [`endpoint`] | the machine |
//! | [`conn`] | one connection, inside [`Endpoint::with`] |
//! | [`streams`] | the streams of a connection that speaks another protocol |
//! | [`web`] | the certificate of those |
//! | [`event`] | what goes in and comes out |
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod channels;
pub mod config;
pub mod conn;
pub mod endpoint;
pub mod event;
mod hello;
mod ids;
mod schedule;
pub mod sessions;
mod slots;
pub mod streams;
mod time;
pub mod tls;
pub mod web;

pub use config::{EndpointConfig, Limits, TX_LIMIT};
pub use conn::{Conn, ConnStats};
pub use endpoint::{Endpoint, EndpointStats, Misuse};
pub use event::{Closed, EarlyData, Event, Input, Output, Received, Transmit, WaitReason};
pub use ids::{ConnId, ResetKey};
#[cfg(feature = "qlog")]
pub use quinn_proto::{QlogConfig, QlogStream};
pub use sessions::{ClientSessions, SessionMemory};
pub use streams::{Dir, Read, StreamEvent, StreamNo, Unwritable};
pub use tls::{ClientTls, Pin, ServerTls, TlsError, Trust};
pub use web::WebCertificate;

/// The protocol name this crate maps channels for.
pub const ALPN: &[u8] = b"ntp/2";
/// HTTP/3. Its connections, as those of any other name, have no channels but raw [`streams`].
pub const H3: &[u8] = b"h3";
