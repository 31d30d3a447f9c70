//! The ntproto server: the hub over QUIC with an embedded store.
//!
//! | module | is |
//! | --- | --- |
//! | [`config`] | settings and where they come from |
//! | [`keys`] | the server's keys, made at the first start |
//! | [`store`] | redb under the hub, and group commit |
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod config;
pub mod keys;
pub mod store;
