//! From packet ids to handlers, while traffic flows.
//!
//! ```text
//!  register, replace, remove ─▶ copy one page, swap a pointer ─┐
//!                                                              ▼
//!  a batch of packets ─▶ Reader::snapshot ─▶ two array accesses a packet ─▶ Answering ─▶ Outcome
//!                        (one atomic load)                                  a future the host runs
//! ```
//!
//! A [`Router`] holds typed handlers; [`Routes`] is the table below it, for handlers of any type. Whoever looks
//! up takes a [`Snapshot`], once for everything that came together: it never changes, and looking something up
//! in it takes no lock. A handler that is replaced finishes what it has begun.
//!
//! Nothing here spawns, sleeps or reads a clock: a request becomes an [`Answering`] future, which the host runs
//! where it likes and drops when nobody waits for it any more. `ntproto-server` does so for the requests of its
//! clients; a client hands [`Event::Push`](crate::Event::Push) to [`Router::push`].

mod answering;
mod router;
mod routes;

pub use answering::Answering;
pub use ntproto_core::dispatch::{Occupied, Outcome, Refusal};
pub use ntproto_core::wire::packet::PacketId;
pub use router::{Context, Handler, Router};
pub use routes::{Reader, Routes, Snapshot};
