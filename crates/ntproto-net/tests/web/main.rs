//! HTTP/3 in memory, over real QUIC: a server's endpoint, and clients that are honest or hostile.
#![allow(clippy::unwrap_used)]

mod exchanges;
mod hostile;
mod leaving;
mod sessions;
mod world;
