//! What an application embeds: a [`Client`] handle over a sans-IO [`driver`], with a durable [`store`].
//!
//! | module | is |
//! | --- | --- |
//! | [`Client`], [`Events`] | the handle and its event stream, for any async runtime |
//! | [`bus`] | one event to many subscribers, bounded, never in the way of the publisher |
//! | [`dispatch`] | packet ids to typed handlers, exchanged while traffic flows |
//! | [`driver`] | the core's client over a QUIC endpoint, without I/O: datagrams in, datagrams out |
//! | [`store`] | the local disk: outbox, inbox, history, cursor; in one redb file or in memory |
//! | [`profile`] | a directory with a device's keys, its server and its store |
//! | [`trace`] | spans of traces that somebody keeps, as `tracing` spans |
//! | [`ConnectString`], [`EnrolCode`] | what people paste |
//!
//! An adapter such as `ntproto-tokio` runs the driver and gives out the [`Client`]. Without any runtime a host
//! drives the [`driver`] itself: see `examples/std_loop.rs`.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod bus;
mod client;
pub mod dispatch;
pub mod driver;
pub mod model;
pub mod profile;
pub mod store;
pub mod trace;

pub use client::{
    Admin, AdminInvitation, Appearance, BootstrapSource, Client, Desk, Ended, Errand, Event, Events,
    EventsTaken, Friends, Group, GroupEvent, GroupUpdate, GroupWatch, Groups, HistoryPage, Identity,
    Lifecycle, Lookup, MembersError, Message, MessageAction, NewGroup, NewProfile, Options, OwnPresence,
    Parts, Presence, QueryError, Recipient, Renewal, RequestError, SendError, SendOptions, Sent, StartError,
    State, Whereabouts, assemble,
};
pub use ntproto_core::bootstrap::{Bootstrap, Learned};
pub use ntproto_core::client::{
    Credential, Down, Failure, Misuse, SendAction, SendOutcome, Stopped, StoreError, Target,
};
pub use ntproto_core::code::ErrorCode;
pub use ntproto_core::ids::{ClientMsgId, ConversationId, DeviceId, GroupId, SessionId, Uin};
pub use ntproto_core::presence::State as PresenceState;
pub use ntproto_core::text::{ConnectString, ConnectStringError, EnrolCode, EnrolCodeError};
pub use ntproto_net::Closed as TransportFailure;
pub use ntproto_quic::Closed as QuicFailure;
pub use profile::Profile;

/// What the book shows of this crate compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/embedding.md")]
struct TheBook;
