//! `cargo xtask sim`: the simulator, optimised and with every check on.

use std::path::Path;

use crate::process::cargo;

/// Passes `--seeds N` and whatever follows `--` on to the simulator.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), String> {
    let passed = args.iter().filter(|a| *a != "--").cloned();
    let line = ["run", "--profile", "sim", "--package", "ntproto-sim", "--"].map(str::to_owned);
    cargo(root, line.into_iter().chain(passed)).done()
}

/// So many seeds.
pub(crate) fn seeds(root: &Path, count: u64) -> Result<(), String> {
    run(root, &["--seeds".to_owned(), count.to_string()])
}
