//! What a server says over HTTP, as a machine that does no I/O: heads and bodies, completions and the time go in;
//! answers, store transactions, work on files and a next deadline come out. Which version of HTTP it was, the machine
//! does not know.
//!
//! ```text
//!  HTTP/1.1, 2 (hyper) ──┐          ┌─ Store(txn) ─▶ the hub's store
//!  HTTP/3 (the node)  ───┴─▶ Web ───┼─ File(op) ──▶ a store of files
//!                    ◀── answers    └─ Bearer ────▶ the hub: whose session is it?
//! ```
//!
//! ```
//! use http::Request;
//! use ntproto_core::time::{Instant, Now, UnixMillis};
//! use ntproto_web::{CarrierId, ExchangeId, Input, Output, Web, WebConfig};
//!
//! let now = Now { mono: Instant::from_micros(1), unix: UnixMillis(1_700_000_000_000) };
//! let mut web = Web::new(WebConfig::default(), [7; 32]);
//! let request = Request::builder().uri("/healthz").body(()).expect("a request");
//! let (exchange, carrier) = (ExchangeId(1), CarrierId(1));
//! let remote = "192.0.2.1:4711".parse().expect("an address");
//! web.handle(now, Input::Head { exchange, carrier, remote, request, end: true });
//! let Output::Respond { head, .. } = web.poll_output(now) else { panic!("an answer") };
//! assert_eq!(head.status(), 200);
//! ```
//!
//! | module | is |
//! | --- | --- |
//! | `web`, `api`, [`config`] | the machine, what goes in and out, its limits |
//! | [`routes`] | which request is about what |
//! | [`handshake`] | what a client is told of the server |
//! | [`cors`] | which pages of browsers may read answers |
//! | [`problem`] | refusals as problem+json |
//! | [`dialect`], `plan` | what a request about files asks for, in three ways to say it |
//! | `upload` | uploads: who writes, what counts, from the last byte to a file |
//! | `download` | files, whole or in part |
//! | `sweep` | what nobody needs any more |
//! | [`digest`] | digests of bodies |
//! | `tasks` | what the machine waits for |
//! | `pieces` | what waits of a body |
//! | `exchange`, `answer` | one request, and what it is answered |
//! | [`text`] | bytes and numbers in headers |
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod answer;
mod api;
pub mod config;
pub mod cors;
pub mod dialect;
pub mod digest;
mod download;
mod exchange;
pub mod handshake;
mod pieces;
mod plan;
pub mod problem;
pub mod routes;
mod sweep;
mod tasks;
pub mod text;
mod upload;
mod web;

pub use api::{CarrierId, ContentId, ExchangeId, FileError, FileOp, FileOutcome, Input, Output, WebEvent};
pub use config::WebConfig;
pub use cors::Origins;
pub use exchange::asks_first;
pub use handshake::Bootstrap;
pub use ntproto_core::ids::FileId;
pub use ntproto_hub::Who;
pub use ntproto_hub::store::OpId;
pub use web::Web;
