//! The server's decisions as a machine that does no I/O: bytes, completions and the time go in;
//! bytes, store transactions and a next deadline come out.
//!
//! | module | is |
//! | --- | --- |
//! | [`store`] | what the hub keeps: transactions, their meaning, what a store must promise |
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod store;
