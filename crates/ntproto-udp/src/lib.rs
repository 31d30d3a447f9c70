//! What an adapter needs of the operating system: a batched UDP socket and a clock. No runtime, no threads.
//!
//! [`Socket`] sends and receives many datagrams a call where the kernel can (GSO, GRO, `recvmmsg`), and counts
//! what the network refuses as lost, which QUIC repairs. [`Clock`] gives core its time and counts the time a
//! device sleeps.
#![forbid(unsafe_code)]

mod clock;
mod socket;

pub use clock::Clock;
pub use socket::{Blocked, RecvBatch, Socket};
