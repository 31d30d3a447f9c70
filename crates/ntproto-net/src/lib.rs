//! Any transport as ntproto's channels, without I/O: datagrams and streams in, datagrams and streams out, one
//! deadline.
//!
//! [`Endpoint`] holds QUIC connections (from `ntproto-quic`), TCP connections and sessions over WebTransport side by
//! side; a server's also tells of HTTP exchanges over HTTP/3. A connection has the same face whichever it is: ordered channels to [`read`](Conn::read_chunks) and [`write`](Conn::write), one event
//! when it is up, one when it is over.
//!
//! ```text
//!   datagrams ──▶ ┌──────────┬─────────┐ ──▶ Event     Connected, Readable, Writable, Closed
//!   streams   ──▶ │   QUIC   │   TCP   │ ──▶ Transmit  a batch of datagrams
//!   timer     ──▶ │ (quinn)  │ (demux) │ ──▶ Stream    dial, read, write, close
//!                 └──────────┴─────────┘ ──▶ Wait      until this deadline
//! ```
//!
//! | module | is |
//! | --- | --- |
//! | [`machine`] | the interface adapters drive: datagrams, streams, a timer, commands |
//! | [`endpoint`] | both transports behind one face |
//! | [`tcp`] | TCP connections: channels out of a stream, and who may come in |
//! | [`http`] | HTTP exchanges over HTTP/3 |
//! | [`web`] | HTTP/3 connections: HTTP exchanges, and sessions over WebTransport |
//! | [`event`] | names and events of any transport |
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod endpoint;
pub mod event;
pub mod http;
pub mod machine;
pub mod tcp;
pub mod web;

pub use endpoint::{Conn, Endpoint, Output};
pub use event::{Closed, ConnId, Event, TcpClosed, WebClosed};
pub use http::{ExchangeId, HttpAnswer, HttpEvent};
pub use machine::{Machine, Step, StreamId, StreamInput, StreamStep};
pub use web::WebConfig;
