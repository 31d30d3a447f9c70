//! `ntp demo --scenario team`: what makes it a messenger, while the server is killed.
//!
//! ```text
//!        ntp demo ── orders, kills ──┬──▶ ntp serve (one store)
//!           ▲                        │        ▲
//!           │ what each device holds │        │ QUIC or TCP
//!           └────────────────────────┴──▶ ntp demo-team × workers, many devices each
//! ```
//!
//! Everybody's part follows from their number. Users become friends and make groups; then every device talks, edits,
//! takes back, reads, goes offline and comes again, while the server is killed. At the end each device says what it
//! holds, and all of it is compared with what was acknowledged.
//!
//! | module | is |
//! | --- | --- |
//! | [`plan`] | who does what |
//! | [`state`] | what a device says at the end, and what travels between the processes |
//! | [`asks`] | requests that are asked until they are answered |
//! | [`device`] | one device: its client, its part, what it saw |
//! | [`parts`] | what it does beside talking |
//! | [`worker`] | a process of many devices |
//! | [`check`] | the comparison |
//! | [`report`] | the table |
//! | [`run`] | the parent |

pub(crate) mod asks;
pub(crate) mod check;
pub(crate) mod device;
mod parts;
pub(crate) mod plan;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod state;
pub(crate) mod worker;
