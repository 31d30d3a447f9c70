//! `cargo xtask coverage`: which lines of ntproto-core its own tests run.
//!
//! Wants llvm-cov and llvm-profdata of the LLVM that rustc was built with: rustup's component `llvm-tools`, or a
//! distribution's, named by `LLVM_COV` and `LLVM_PROFDATA`.

use std::path::Path;

use crate::process::cargo;

/// Per cent of the lines of ntproto-core, measured and rounded down: it may only rise.
const LINES: &str = "97";

/// Prints a table by file; fails under the bar.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    if !cargo(root, ["llvm-cov", "--version"]).works() {
        cargo(root, ["install", "--locked", "cargo-llvm-cov"]).done()?;
    }
    cargo(root, ["llvm-cov", "--package", "ntproto-core", "--summary-only", "--fail-under-lines", LINES])
        .done()
}
