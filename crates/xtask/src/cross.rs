//! Building for machines that have no operating system: a microcontroller, WebAssembly.
//!
//! With rustup, `rustup target add TARGET` is all it takes. Where a target's library can't be had, Debian has a compiler
//! with the library's source: the library is built first, then ours.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Run, cargo, program};
use crate::source::read;

/// A machine to build for.
pub(crate) struct Target {
    /// As rustc names it.
    pub(crate) name: &'static str,
    /// What of the library is built where it can't be had.
    library: &'static str,
    /// Cargo's variable for the linker, and Debian's linker.
    linker: (&'static str, &'static str),
}

/// A Cortex-M4 with a floating-point unit.
pub(crate) const CORTEX_M4: Target = Target {
    name: "thumbv7em-none-eabihf",
    library: "core,alloc",
    linker: ("CARGO_TARGET_THUMBV7EM_NONE_EABIHF_LINKER", "ld.lld-19"),
};

/// WebAssembly without a system.
pub(crate) const WASM: Target = Target {
    name: "wasm32-unknown-unknown",
    library: "std,panic_abort",
    linker: ("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "wasm-ld-19"),
};

/// Debian's compiler, cargo, the library's source and the linkers.
const PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-19"];

/// The board that the firmware's test runs on.
const EMULATOR: &str = "qemu-system-arm";

/// `cargo build ARGS` for a target, in a folder of its own: the two compilers would throw out each other's work.
pub(crate) fn build(root: &Path, target: &Target, args: &[&str]) -> Result<(Run, PathBuf), String> {
    let folder = target_folder(root).join("cross");
    let common = ["build", "--locked", "--target", target.name];
    let build = if has_library(target) {
        cargo(root, common.iter().chain(args))
    } else if missing(&PACKAGES).is_empty() {
        let library = format!("-Zbuild-std={}", target.library);
        let args = common.iter().chain(args).copied().chain([library.as_str()]);
        program(root, "/usr/bin/cargo", args)
            .env("RUSTC", "/usr/bin/rustc")
            // What the flag above wants of a stable compiler.
            .env("RUSTC_BOOTSTRAP", "1")
            .env(target.linker.0, target.linker.1)
    } else {
        return Err(format!("run `rustup target add {}`, or install {}", target.name, PACKAGES.join(" ")));
    };
    let built = folder.join(target.name);
    Ok((build.env("CARGO_TARGET_DIR", &folder.to_string_lossy()), built))
}

/// Where cargo puts what it builds.
pub(crate) fn target_folder(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}

/// Installs Debian's packages when neither rustup's library nor they are there, and the emulator, if this may install. A machine
/// that is not Debian's is left as it is: building says what is missing.
pub(crate) fn install(root: &Path) -> Result<(), String> {
    let mut missing = missing(&[EMULATOR]);
    if ![CORTEX_M4, WASM].iter().all(has_library) {
        missing.extend(self::missing(&PACKAGES));
    }
    if missing.is_empty() || !may_install() {
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    program(root, "apt-get", ["update", "-qq"]).done()?;
    let install = ["install", "-y", "-qq", "--no-install-recommends"];
    program(root, "apt-get", install.iter().chain(&missing)).done()
}

/// Whether the compiler that builds everything else has the library of the target.
fn has_library(target: &Target) -> bool {
    let args = ["--print", "target-libdir", "--target", target.name];
    let output = Command::new("rustc").args(args).output();
    output.is_ok_and(|o| Path::new(String::from_utf8_lossy(&o.stdout).trim()).is_dir())
}

/// Which of Debian's packages are not installed.
fn missing(packages: &[&'static str]) -> Vec<&'static str> {
    let installed = |package: &&str| {
        let args = ["-W", "-f=${db:Status-Status}", *package];
        Command::new("dpkg-query").args(args).output().is_ok_and(|o| o.stdout == b"installed")
    };
    packages.iter().copied().filter(|package| !installed(package)).collect()
}

/// Whether this is root on a system with Debian's packages.
pub(crate) fn may_install() -> bool {
    let root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout.trim_ascii() == b"0");
    root && Command::new("apt-get").arg("--version").output().is_ok_and(|o| o.status.success())
}

/// The server's program, the released one before the other.
pub(crate) fn server(root: &Path) -> Option<PathBuf> {
    let folder = target_folder(root);
    ["release/ntp", "debug/ntp"].iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

/// Says that a test can't be run here. That is for people: a build server has all it takes.
pub(crate) fn left_out(what: &str) -> Result<(), String> {
    if std::env::var_os("CI").is_some() {
        return Err(what.to_owned());
    }
    println!("left out: {what}");
    Ok(())
}

/// The page that says how large things are.
const PAGE: &str = "docs/embedding.md";
/// How far the page may be off: compilers differ.
const TOLERANCE: f64 = 0.10;

/// Compares a size with what the page says: `| ROW | N KiB |`.
pub(crate) fn check_size(root: &Path, row: &str, bytes: u64) -> Result<(), String> {
    let kib = bytes as f64 / 1024.0;
    println!("{row}: {kib:.0} KiB");
    let page = read(&root.join(PAGE))?;
    let stated = stated(&page, row).ok_or_else(|| format!("{PAGE} has no row `| {row} | {kib:.0} KiB |`"))?;
    if (kib - stated).abs() <= stated * TOLERANCE {
        return Ok(());
    }
    Err(format!("{PAGE}: {row} is {kib:.0} KiB, not {stated}"))
}

fn stated(page: &str, row: &str) -> Option<f64> {
    let prefix = format!("| {row} | ");
    page.lines().find_map(|line| line.strip_prefix(&prefix)?.split(' ').next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::stated;

    #[test]
    fn the_page_is_read() {
        assert_eq!(stated("| where | size |\n| flash | 228 KiB |\n", "flash"), Some(228.0));
        assert_eq!(stated("nothing", "flash"), None);
    }
}
