//! The ntproto server: the hub over QUIC with an embedded store.
//!
//! | module | is |
//! | --- | --- |
//! | [`store`] | redb under the hub, and group commit |
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod store;
