//! `ntp demo`: what the delivery promise is worth while processes are killed.
//!
//! ```text
//!           ntp demo ── starts, kills, restarts ──┐
//!              │                                  │
//!        ntp serve (one store)  ◀─ proxy ─▶  ntp demo-worker × N
//!                                             │        │
//!                                        sent.log   inbox.log     ledgers of their own
//!                                             └───┬────┘
//!                                          compared at the end
//! ```
//!
//! A worker writes a line before it hands a message to the client and one when the server acknowledged it; every
//! message has an id that follows from its number, so a worker that was killed in between hands it over again
//! and nothing is doubled. A receiver's line holds the message and its place in the inbox together: after a
//! restart it passes over what is at or before the place of its last line, as any application would.
//!
//! | module | is |
//! | --- | --- |
//! | [`plan`] | who sends what to whom |
//! | [`ledger`] | the two files of a worker |
//! | [`report`] | the comparison, and its table |
//! | [`back`] | the round trips of a client that comes back |
//! | [`process`] | child processes of this program |
//! | [`worker`] | a client process |
//! | [`proxy`] | the network between, where UDP can be cut |
//! | [`run`] | the parent: processes, kills, progress |
//! | [`team`] | the other scenario: people, groups, presence |

pub(crate) mod back;
pub(crate) mod ledger;
pub(crate) mod plan;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod team;
pub(crate) mod worker;
