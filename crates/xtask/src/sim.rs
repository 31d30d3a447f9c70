//! `cargo xtask sim`: the simulator, optimised and with every check on.

use std::path::Path;

use crate::process::cargo;

/// Passes `--seeds N` and whatever follows `--` on to the simulator.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), String> {
    let passed = args.iter().filter(|a| *a != "--").cloned();
    let line = ["run", "--profile", "sim", "--package", "ntproto-sim", "--"].map(str::to_owned);
    cargo(root, line.into_iter().chain(passed)).done()
}

/// How many seeds of each plan.
pub(crate) struct Seeds {
    /// Messages over byte streams.
    pub(crate) streams: u64,
    /// Messages over QUIC and TCP.
    pub(crate) quic: u64,
    /// Uploads and downloads.
    pub(crate) files: u64,
}

/// Runs them.
pub(crate) fn seeds(root: &Path, seeds: &Seeds) -> Result<(), String> {
    for (plan, count) in [("streams", seeds.streams), ("quic", seeds.quic), ("files", seeds.files)] {
        run(root, &["--plan", plan, "--seeds", &count.to_string()].map(str::to_owned))?;
    }
    Ok(())
}

/// Every planted bug must be found; a table says by which seed.
pub(crate) fn planted(root: &Path) -> Result<(), String> {
    let test = ["test", "--profile", "sim", "--package", "ntproto-sim", "--features", "planted"];
    cargo(root, test.into_iter().chain(["--test", "planted", "--", "--nocapture"])).done()
}
