//! The ntproto protocol as pure state machines.
//!
//! Bytes, events and the time go in; frames, timers and events come out. There is no socket,
//! clock, thread, file, `async` or hidden randomness here: the same seed and the same inputs give
//! the same outputs, byte for byte.
//!
//! Read the folders from the bottom up:
//!
//! | module | is |
//! | --- | --- |
//! | [`time`], [`rng`], [`ids`], [`code`], [`tx`] | the words everything else uses |
//! | [`trace`] | which trace a packet belongs to |
//! | [`wire`] | pure codecs |
//! | [`crypto`] | primitives behind one trait, the handshake pattern, the key schedule |
//! | [`session`] | the handshake of either side, tickets |
//! | [`channel`] | sealing and opening frames |
//! | [`liveness`] | heartbeat and backoff |
//! | [`dispatch`] | packet id → handler |
//! | [`endpoint`] | one authenticated connection over any transport |
//! | [`text`] | what people paste |
//! | [`bootstrap`] | what one GET over HTTPS tells a client of a server |
//! | [`model`] | what client and server agree on about people and groups |
//! | [`presence`] | who is there |
//! | [`transfer`] | files on their way, over whatever breaks |
//! | [`client`] | endpoint, reconnect, outbox, inbox: what an application embeds |
//! | `journal` | (debug builds only) a run written down, and its exact replay |
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod binding;
pub mod bootstrap;
pub mod channel;
pub mod client;
pub mod code;
pub mod crypto;
pub mod dispatch;
pub mod endpoint;
pub mod ids;
#[cfg(debug_assertions)]
pub mod journal;
pub mod liveness;
pub mod model;
pub mod presence;
pub mod rng;
pub mod session;
pub mod text;
pub mod time;
pub mod trace;
pub mod transfer;
pub mod tx;
pub mod wire;
