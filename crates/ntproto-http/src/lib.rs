//! HTTP on any [`Runtime`](ntproto_drive::Runtime): hyper and rustls over the streams, timers and tasks that the
//! runtime brings. The server's half knows HTTP's framing and nothing of what is served; the client's moves files.
//!
//! | module | is |
//! | --- | --- |
//! | [`tls`] | a TLS connection over a stream of the runtime |
//! | [`rt`] | the runtime as hyper sees it: tasks, timers |
//! | [`bootstrap`] | one GET that tells a client all it needs to sign in |
//! | [`client`] | a client's connections, and whom they trust |
//! | [`files`] | uploads and downloads over them |
//! | [`server`] | HTTPS connections of a server: HTTP/2 and HTTP/1.1, their requests told to one queue |
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod bootstrap;
pub mod client;
pub mod files;
pub mod rt;
pub mod server;
pub mod tls;
