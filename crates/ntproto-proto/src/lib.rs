//! Protobuf types of the ntproto wire and store, generated from `proto/`.
//!
//! `cargo xtask codegen` makes them again; CI fails when they are stale. The schema
//! files are the documentation of every field.
//!
//! ```
//! use ntproto_proto::v2::SyncRequest;
//! use prost::Message;
//!
//! let request = SyncRequest { cursor: 7, limit: 50, ..Default::default() };
//! let bytes = request.encode_to_vec();
//! assert_eq!(SyncRequest::decode(&bytes[..]).unwrap(), request);
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod redact;

pub use redact::Hidden;

/// What travels between client and server.
#[allow(missing_docs, clippy::all)]
pub mod v2 {
    include!("generated/ntproto.v2.rs");
}

/// What the server keeps on disk.
#[allow(missing_docs, clippy::all)]
pub mod store {
    include!("generated/ntproto.store.v1.rs");
}
