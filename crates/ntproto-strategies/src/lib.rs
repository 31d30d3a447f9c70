//! [proptest] strategies for whoever embeds ntproto: what may come over the wire, how it may be cut, what a client
//! may be told and what it may ask for.
//!
//! | module | gives |
//! | --- | --- |
//! | [`ids`] | accounts, devices, conversations, times: from few, so that they meet again |
//! | [`packets`] | packets and the plaintext of a frame |
//! | [`frames`] | frames, whole and damaged |
//! | [`cuts`] | a stream in pieces of any size |
//! | [`entities`] | people and groups, as they stand on the wire |
//! | [`client`] | inputs, commands, transactions and events of the core's client |
//!
//! Every strategy shrinks towards the small and the usual. The guide `docs/property-testing.md` shows an embedding that
//! is tested with them.
//!
//! ```
//! use ntproto_core::wire::packet::Packet;
//! use proptest::prelude::*;
//!
//! proptest! {
//!     # fn decodes_what_was_encoded(packet in ntproto_strategies::packets::packet()) {
//!         let mut bytes = Vec::new();
//!         packet.encode(&mut bytes);
//!         prop_assert_eq!(Packet::decode(&mut bytes.into()), Ok(packet));
//!     # }
//! }
//! # decodes_what_was_encoded();
//! ```
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod client;
pub mod cuts;
pub mod entities;
pub mod frames;
pub mod ids;
pub mod packets;
