//! `cargo xtask nightly`: what takes too long for every change.

use std::path::Path;

use crate::process::cargo;
use crate::sim::Seeds;
use crate::{book, coverage, fuzz, sim, tools};

/// Seeds of the simulator.
const SEEDS: Seeds = Seeds { streams: 100_000, quic: 20_000, files: 10_000 };

/// Seconds a fuzz target.
const FUZZ_SECONDS: u64 = 600;

/// Everything, one after the other.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    tools::run(root)?;
    book::run(root, true)?;
    coverage::run(root)?;
    sim::seeds(root, &SEEDS)?;
    sim::planted(root)?;
    uploads(root)?;
    fuzz::for_seconds(root, &[], FUZZ_SECONDS)
}

/// A gigabyte that survives twenty kills of the server and twenty of the client, over HTTP/2 and then over HTTP/3.
fn uploads(root: &Path) -> Result<(), String> {
    let test = [
        "test",
        "-p",
        "ntproto-cli",
        "--release",
        "--test",
        "kill_upload",
        "--",
        "--nocapture",
        "--test-threads=1",
    ];
    cargo(root, test).env("NTPROTO_KILL_MIB", "1024").env("NTPROTO_KILLS", "20").done()
}
