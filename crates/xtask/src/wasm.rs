//! `cargo xtask wasm`: the package for JavaScript, its size, and its tests in Node.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::cross::{WASM, build, check_size, left_out, server, target_folder};
use crate::process::{cargo, program};
use crate::source::files;

const CRATE: &str = "crates/ntproto-wasm";
/// Each host has the package in its folder `pkg`.
const HOSTS: [&str; 2] = ["node", "web"];

/// Builds the package and runs the tests in Node. Those with a server need one that was built.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    package(root)?;
    let node = root.join(CRATE).join("node");
    size(root, &node.join("pkg"))?;
    let tests = files(&node.join("test"), "mjs")?;
    let args = ["--test", "--test-reporter=spec"].into_iter().map(OsStr::new);
    let mut line = program(root, "node", args.chain(tests.iter().map(|path| path.as_os_str())));
    match server(root) {
        Some(ntp) => line = line.env("NTP", &ntp.to_string_lossy()),
        None => left_out("the tests with a server: build one with `cargo build --release`")?,
    }
    line.done()
}

/// Builds the package, and answers the folder of the host for pages.
pub(crate) fn package(root: &Path) -> Result<PathBuf, String> {
    let (build, folder) = build(root, &WASM, &["-p", "ntproto-wasm", "--lib", "--profile", "wasm"])?;
    build.done()?;
    let module = folder.join("wasm/ntproto_wasm.wasm");
    let manifest = format!("{CRATE}/bindgen/Cargo.toml");
    for host in HOSTS {
        let package = root.join(CRATE).join(host).join("pkg");
        let (module, to) = (module.to_string_lossy(), package.to_string_lossy());
        cargo(root, ["run", "--quiet", "--locked", "--manifest-path", &manifest, "--", &module, &to])
            .env("CARGO_TARGET_DIR", &target_folder(root).to_string_lossy())
            .done()?;
    }
    Ok(root.join(CRATE).join("web"))
}

/// What a page loads, without compression.
fn size(root: &Path, package: &Path) -> Result<(), String> {
    for (row, name) in [("WebAssembly module", "ntproto_bg.wasm"), ("its JavaScript", "ntproto.js")] {
        let path = package.join(name);
        let bytes = std::fs::metadata(&path).map_err(|e| format!("{}: {e}", path.display()))?.len();
        check_size(root, row, bytes)?;
    }
    Ok(())
}
