//! `cargo xtask tools`: the tools that ci uses.

use std::path::Path;

use crate::cross;
use crate::process::cargo;

/// Subcommand and package.
const TOOLS: [(&str, &str); 2] = [("deny", "cargo-deny"), ("fuzz", "cargo-fuzz")];

/// Installs what is missing. Building takes some minutes the first time.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    for (command, package) in TOOLS {
        if !cargo(root, [command, "--version"]).works() {
            println!("installing {package}");
            cargo(root, ["install", "--locked", package]).done()?;
        }
    }
    cross::install(root)
}

/// Installs mdbook, which only the nightly run needs.
pub(crate) fn mdbook(root: &Path) -> Result<(), String> {
    let found =
        std::process::Command::new("mdbook").arg("--version").output().is_ok_and(|o| o.status.success());
    if found { Ok(()) } else { cargo(root, ["install", "--locked", "mdbook"]).done() }
}
