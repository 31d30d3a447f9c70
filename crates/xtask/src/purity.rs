//! `cargo xtask purity`: the pure crates have no way to the outside.
//!
//! Three nets: what they may depend on, what their sources may name, and clippy's `disallowed-methods`
//! (`clippy.toml` in each crate). And every crate forbids `unsafe`, but for the ones named here.

use std::path::Path;

use crate::metadata::Metadata;
use crate::source::{code_of, is_test_file, read, rust_files, without_tests};

/// The pure crates and all that each may depend on directly.
const PURE: [(&str, &[&str]); 8] = [
    ("ntproto-proto", &["bytes", "prost"]),
    (
        "ntproto-core",
        &[
            "aes-gcm",
            "aws-lc-rs",
            "bytes",
            "crc32c",
            "ed25519-dalek",
            "hkdf",
            "hmac",
            "ntproto-proto",
            "prost",
            "rand_chacha",
            "rand_core",
            "serde",
            "serde_json",
            "sha2",
            "subtle",
            "x25519-dalek",
            "zeroize",
        ],
    ),
    ("ntproto-hub", &["bytes", "ntproto-core", "ntproto-proto", "prost"]),
    ("ntproto-h3", &["bytes", "http", "ntproto-core"]),
    ("ntproto-web", &["bytes", "http", "ntproto-core", "ntproto-hub", "ntproto-proto", "sha1", "sha2"]),
    ("ntproto-net", &["bytes", "http", "ntproto-core", "ntproto-h3", "ntproto-quic"]),
    (
        "ntproto-wasm",
        &["bytes", "js-sys", "ntproto-core", "ntproto-proto", "prost", "wasm-bindgen", "zeroize"],
    ),
    ("ntproto-quic", &["bytes", "ntproto-core", "quinn-proto", "ring", "rustls", "subtle", "zeroize"]),
];

/// Nothing with a runtime, a socket, a thread pool or a file in it, at any depth.
const NOWHERE: [&str; 16] = [
    "async-io",
    "async-std",
    "calloop",
    "crossbeam-channel",
    "crossbeam-deque",
    "glommio",
    "mio",
    "parking_lot",
    "polling",
    "quinn",
    "quinn-udp",
    "rayon",
    "redb",
    "smol",
    "socket2",
    "tokio",
];

/// Not below core: the clock and the entropy come in. (TLS brings both along below quic, where the
/// source scan keeps our own code from calling them.)
const NOT_BELOW_CORE: [&str; 5] = ["chrono", "getrandom", "log", "time", "tracing"];

/// Words that pure code does not say. (Addresses are values: `SocketAddr` is fine.)
const WORDS: [(&str, &str); 23] = [
    ("UdpSocket", "sockets are the host's"),
    ("TcpStream", "sockets are the host's"),
    ("TcpListener", "sockets are the host's"),
    ("ToSocketAddrs", "asking for names is the host's"),
    ("std::fs", "files are the host's"),
    ("std::thread", "threads are the host's"),
    ("std::process", "processes are the host's"),
    ("std::env", "settings come in as values"),
    ("std::os", "the platform is the host's"),
    ("std::io", "I/O is the host's"),
    ("Instant::now", "the time comes in"),
    ("SystemTime::now", "the time comes in"),
    (".elapsed()", "reads the clock: the time comes in"),
    ("thread_local!", "no state outside the machine"),
    ("static mut", "no state outside the machine"),
    ("OsRng", "randomness comes from the seed"),
    ("SysRng", "randomness comes from the seed"),
    ("getrandom", "randomness comes from the seed"),
    ("thread_rng", "randomness comes from the seed"),
    ("HashMap", "its order differs from run to run: BTreeMap"),
    ("HashSet", "its order differs from run to run: BTreeSet"),
    ("RandomState", "its hashes differ from run to run"),
    ("async fn", "no async in a core"),
];

/// Crates that may contain `unsafe`, and why. Each denies `unsafe_op_in_unsafe_fn` and documents every block.
const UNSAFE: [(&str, &str); 0] = [];

/// Fails with everything that breaks a rule.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let metadata = Metadata::read(root)?;
    let mut wrong = Vec::new();
    for package in metadata.own() {
        let name = package.name.as_str();
        if let Some((_, allowed)) = PURE.iter().find(|(n, _)| *n == name) {
            for dep in package.dependencies.iter().filter(|d| !d.dev) {
                if !allowed.contains(&dep.name.as_str()) {
                    wrong.push(format!("{name} may not depend on {}: see PURE in purity.rs", dep.name));
                }
            }
            let below_core = ["ntproto-proto", "ntproto-core", "ntproto-hub"].contains(&name);
            for dep in metadata.closure(name) {
                if NOWHERE.contains(&dep) || (below_core && NOT_BELOW_CORE.contains(&dep)) {
                    wrong.push(format!("{name} reaches {dep}: see `cargo tree -p {name} -i {dep}`"));
                }
            }
            scan(root, &package.folder.join("src"), &mut wrong)?;
        }
        if !UNSAFE.iter().any(|(n, _)| *n == name) {
            forbids_unsafe(root, &package.folder, &mut wrong)?;
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// Adds each forbidden word outside tests and comments.
fn scan(root: &Path, folder: &Path, wrong: &mut Vec<String>) -> Result<(), String> {
    for path in rust_files(folder)?.iter().filter(|p| !is_test_file(p)) {
        let shown = path.strip_prefix(root).unwrap_or(path).display();
        for (number, line) in without_tests(&read(path)?) {
            let code = code_of(line);
            for (word, why) in WORDS.iter().filter(|(w, _)| code.contains(w)) {
                wrong.push(format!("{shown}:{number}: `{word}`: {why}"));
            }
        }
    }
    Ok(())
}

/// Adds each crate root that does not forbid `unsafe`: the library, and every binary.
fn forbids_unsafe(root: &Path, folder: &Path, wrong: &mut Vec<String>) -> Result<(), String> {
    let src = folder.join("src");
    let mut roots = vec![src.join("lib.rs"), src.join("main.rs")];
    if src.join("bin").is_dir() {
        roots.extend(rust_files(&src.join("bin"))?);
    }
    for path in roots.iter().filter(|p| p.is_file()) {
        if !read(path)?.lines().any(|l| l == "#![forbid(unsafe_code)]") {
            let shown = path.strip_prefix(root).unwrap_or(path).display();
            wrong.push(format!("{shown} lacks #![forbid(unsafe_code)]"));
        }
    }
    Ok(())
}
