//! `cargo xtask bench`: every benchmark beside its peers. Each prints its own ratios and bars, which
//! `docs/performance.md` records. Timing is no test: a missed bar is reported, not an error.

use std::path::Path;

use crate::process::cargo;

/// The benchmarks of the package `tests`, the quick ones first.
const BENCHES: [&str; 11] =
    ["ratios", "routing", "difference", "bus", "local", "idle", "quic", "load", "store", "members", "core"];

/// Runs them one after the other: two at a time would measure each other.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    for bench in BENCHES {
        println!("\n==> {bench}");
        cargo(root, ["bench", "--locked", "--package", "ntproto-tests", "--bench", bench]).done()?;
    }
    Ok(())
}
