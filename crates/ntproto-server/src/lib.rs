//! The ntproto server: the hub over QUIC with an embedded store.
//!
//! | module | is |
//! | --- | --- |
//! | [`node`] | QUIC and hub as one machine without I/O; all that a simulator needs |
//! | [`run`] | the node on tokio: started, drained, told of signals |
//! | [`store`] | redb under the hub, and group commit |
//! | [`keys`] | the server's keys, made at the first start |
//! | [`files`] | where files are kept |
//! | `http` | the web loop: HTTPS and HTTP/3 exchanges, the web machine, works on files |
//! | [`config`] | settings and where they come from |
//! | [`offline`] | what is done to its data while it is stopped |
//! | [`metrics`] | what it counts, for Prometheus |
//! | `otlp` | its spans to a collector (feature `otlp`) |
//! | [`bucket`] | how often something may come, as a setting |
//!
//! All but [`node`] is behind the feature `runtime`, which is on by default.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

#[cfg(feature = "runtime")]
pub mod bucket;
#[cfg(feature = "runtime")]
pub mod config;
#[cfg(feature = "runtime")]
pub mod files;
#[cfg(feature = "runtime")]
mod http;
#[cfg(feature = "runtime")]
pub mod keys;
#[cfg(feature = "runtime")]
pub mod metrics;
pub mod node;
#[cfg(feature = "runtime")]
pub mod offline;
#[cfg(feature = "otlp")]
pub mod otlp;
#[cfg(feature = "runtime")]
pub mod run;
#[cfg(feature = "runtime")]
pub mod store;
