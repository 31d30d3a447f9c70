//! Uploads and downloads: every dialect, whatever breaks.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod accounting;
mod bench;
mod dialects;
mod downloads;
mod ietf;
mod model;
mod refusals;
mod writers;
