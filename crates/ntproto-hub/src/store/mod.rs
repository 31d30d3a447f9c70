//! What the hub keeps, and what it asks of whoever keeps it.
//!
//! ```text
//! hub ── Txn ──▶ Store::commit ── execute ──▶ Kv (redb, memory)
//!     ◀─ Outcome | StoreError ──
//! ```
//!
//! | module | is |
//! | --- | --- |
//! | [`txn`], `error` | the closed list of transactions and their answers |
//! | [`file`](mod@file) | those of them that are about files |
//! | [`act`] | those of them that are requests of accounts |
//! | [`mod@execute`] | what each of them means, written once |
//! | [`kv`], `keys` | the ordered tables they are written against |
//! | [`migrate`] | the format of a store and how an older one is brought forward |
//! | [`verify`](mod@verify) | every record, and what they say of each other |
//! | [`memory`] | a store in memory that can crash, for tests and the simulator |
//! | `conformance` | (feature `conformance`) the suite every store must pass |

use alloc::vec::Vec;

pub mod act;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
pub mod execute;
pub mod file;
mod keys;
pub mod kv;
pub mod memory;
pub mod migrate;
pub mod txn;
pub mod verify;

pub use act::{Act, Acted, Actor, Placed};
pub use txn::{OpId, Outcome, StoreError, Txn};

/// Keeps what the hub must not lose.
///
/// [`commit`](Self::commit) runs a batch as one durable transaction: when it returns, everything it
/// answered with `Ok` survives a power cut. The transactions of a batch run in order, each sees those
/// before it, and a refused one leaves no trace and does not disturb the others. A batch that only
/// reads needs no fsync.
///
/// When the store fails, every transaction of the batch is answered with the failure, and after a
/// failed fsync nothing more is taken until the store is opened again: what the disk then holds is
/// unknown.
pub trait Store: Send {
    /// Runs a batch; the answers stand in its order.
    fn commit(&mut self, batch: &[Txn]) -> Vec<Result<Outcome, StoreError>>;
}
