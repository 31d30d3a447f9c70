//! The server's decisions as a machine that does no I/O: bytes, completions and the time go in;
//! bytes, store transactions and a next deadline come out.
//!
//! ```text
//!  bytes ─▶ endpoint ─▶ auth, messages, sync, accounts ─▶ Store(txn) ─▶ host's store
//!                                    │                                       │
//!  bytes ◀─ endpoint ◀─ answers, pushes ◀──────────── StoreDone(outcome) ◀───┘
//! ```
//!
//! | module | is |
//! | --- | --- |
//! | [`store`] | what the hub keeps: transactions, their meaning, what a store must promise |
//! | [`config`] | settings and limits |
//! | `api`, `hub` | the machine itself: inputs, outputs, timers |
//! | `conn` | the table of connections |
//! | `auth` | credentials to sessions, tickets |
//! | `requests` | packets to transactions, outcomes to answers |
//! | `asks` | packets of the application's, which the host answers |
//! | `groups` | who is told of what happens in groups |
//! | `presence` | leases of connected devices, and who watches whom |
//! | `host` | what administrators ask of the host |
//! | `push` | what goes to devices unasked, and what happens when they do not read it |
//! | `line`, `limits` | the order of messages, and how often who may ask |
//! | `drain` | the orderly end |
//! | `counts` | what was done, and how much there is to do |
//! | `clock`, `replay` | server time, and the memory of AUTH_REQs |
//! | `journal` | (debug builds only) a run written down, and its exact replay |
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod api;
mod asks;
mod auth;
mod challenges;
mod clock;
pub mod config;
mod conn;
mod counts;
mod drain;
mod groups;
mod host;
mod hub;
#[cfg(debug_assertions)]
pub mod journal;
mod limits;
mod line;
mod presence;
mod push;
mod replay;
mod requests;
pub mod store;

pub use api::{
    Ask, AskId, Command, ConnId, HostAsk, HostTask, HubEvent, HubKeys, Input, Misuse, Output, Push, Served,
    Stage, Who,
};
pub use config::HubConfig;
pub use counts::{Counts, Load};
pub use hub::Hub;
pub use limits::{LONGEST_WAIT, Networks, Rate};
