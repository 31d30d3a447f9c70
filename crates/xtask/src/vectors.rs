//! `cargo xtask vectors`: the test vectors of the specification, made by the code they describe.
//!
//! The generator is a test of `tests/` (this crate builds without the protocol, so that it can
//! regenerate the protocol's types): it compares, or writes when asked to.

use std::path::Path;

use crate::process::cargo;

/// Set to make the test write `docs/spec/vectors.json` in place of comparing.
const WRITE: &str = "NTPROTO_WRITE_VECTORS";

/// Writes the vectors; with `check`, compares them.
pub(crate) fn run(root: &Path, check: bool) -> Result<(), String> {
    let test = cargo(root, ["test", "--quiet", "--workspace", "--test", "vectors"]);
    if check { test.done() } else { test.env(WRITE, "1").done() }
}
