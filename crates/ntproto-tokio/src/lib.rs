//! Drives ntproto over tokio: one loop of a socket, a timer and a queue of commands.
//!
//! [`drive`] runs any [`DatagramMachine`](ntproto_quic::DatagramMachine): the client's and the server's alike. It
//! decides nothing about the protocol. [`connect`] starts a client on it.
//!
//! ```text
//!      ┌──▶ drain the machine: datagrams out, effects out
//!      │    look at the clock, arm the timer if it must ring earlier
//!      │    sleep until the socket, the queue or the timer stirs
//!      └─── receive a bounded batch, take a bounded batch of commands
//! ```
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod client;
mod drive;

pub use client::{ConnectError, connect};
pub use drive::drive;
pub use ntproto_udp::{Clock, Socket};

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
