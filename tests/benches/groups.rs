//! A direct chat beside a group of a hundred thousand members.
//!
//! `cargo bench -p ntproto-tests --bench groups [-- DIR]`; DIR is where the store's files go. The load comes from this
//! machine too and takes its share of the processors.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]
#![allow(dead_code, reason = "the other sides are run by another benchmark")]

mod appends;
mod groups_sides;
mod load_sides;

use std::path::Path;

use groups_sides::large;
use load_sides::served;

fn main() {
    if served() {
        return;
    }
    let dir = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    large::run(dir.as_deref().map(Path::new));
}
