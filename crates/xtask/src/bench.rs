//! `cargo xtask bench`: every benchmark beside its peers. Each prints its own ratios and bars, which
//! `docs/performance.md` records. Timing is no test: a missed bar is reported, not an error.

use std::path::Path;

use crate::process::cargo;

/// Package and benchmark, the quick ones first.
const BENCHES: [(&str, &str); 6] = [
    ("ntproto-tests", "ratios"),
    ("ntproto-tests", "idle"),
    ("ntproto-tests", "quic"),
    ("ntproto-tests", "load"),
    ("ntproto-server", "store"),
    ("ntproto-tests", "core"),
];

/// Runs them one after the other: two at a time would measure each other.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    for (package, bench) in BENCHES {
        println!("\n==> {bench}");
        cargo(root, ["bench", "--locked", "--package", package, "--bench", bench]).done()?;
    }
    Ok(())
}
