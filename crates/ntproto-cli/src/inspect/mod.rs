//! `ntp inspect`: a frame taken apart, layer by layer.
//!
//! ```text
//! input ──▶ frame ──▶ handshake | sealed ──(key)──▶ control | packets ──▶ proto
//!                                   every layer writes lines into a report
//! ```

mod frame;
pub(crate) mod input;
mod proto;
mod report;
mod schema;
#[cfg(test)]
mod tests;

pub(crate) use frame::{Keys, explain};
