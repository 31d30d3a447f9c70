//! A server process under load: durable messages end to end, and the memory of idle sessions, each beside a peer.
//!
//! `cargo bench -p ntproto-tests --bench load [-- durable|resident [DIR]]`; DIR is where the store's files go. The
//! load comes from this machine too and takes its share of the processors.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod appends;
mod load_sides;

use std::path::Path;

use load_sides::{durable, quinn_idle, resident, served};

fn main() {
    if served() || quinn_idle::served() {
        return;
    }
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let all = args.is_empty();
    if all || args[0] == "resident" {
        resident::run();
    }
    if all || args[0] == "durable" {
        durable::run(args.get(1).map(Path::new));
    }
}
