//! The loop that drives ntproto's machines: a UDP socket, TCP connections, a timer and a queue of commands. It
//! decides nothing about the protocol, and does not know its runtime: an adapter implements [`Runtime`], some
//! hundred lines, and has [`drive`] and [`connect`].
//!
//! ```text
//!      ┌──▶ drain the machine: datagrams out, streams written, effects out
//!      │    look at the clock, arm the timer if it must ring earlier
//!      │    sleep until the socket, a stream, the queue or the timer stirs
//!      └─── receive a bounded batch of each
//!
//!    loop ◀── bytes came, written, closed ──  one task a TCP connection
//!         ── read, write, close ────────────▶
//! ```
//!
//! | module | is |
//! | --- | --- |
//! | [`runtime`] | what a runtime must have |
//! | `drive` | the loop |
//! | `udp` | the UDP socket as the loop sees it |
//! | `streams` | the TCP connections: a task each |
//! | [`https`] | connections that begin as TLS does, for somebody else |
//! | `client` | a client started on a runtime |
//! | [`task`] | a task that can be waited for and taken back |
//! | `bind` | a server's sockets, and a client's |
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod bind;
mod client;
mod drive;
pub mod https;
mod queue;
pub mod runtime;
mod streams;
pub mod task;
mod udp;

pub use bind::{bind, client_socket};
pub use client::{ConnectError, connect};
pub use drive::{Sockets, drive};
pub use runtime::Runtime;
