//! `cargo xtask layers`: a crate may depend only on crates below it.

use std::path::Path;

use crate::metadata::Metadata;

/// The floors, lowest first. A crate may use what stands on a lower floor, and nothing else of the workspace.
/// Crates of one floor do not know each other.
const FLOORS: &[&[&str]] = &[
    &["ntproto-proto"],
    &["ntproto-core"],
    &["ntproto-strategies"],
    &["ntproto-quic", "ntproto-hub"],
    &["ntproto-h3"],
    &["ntproto-net"],
    &["ntproto-web"],
    &["ntproto-sdk"],
    &["ntproto-udp", "ntproto-wasm"],
    &["ntproto-drive"],
    &["ntproto-http"],
    &["ntproto-tokio", "ntproto-smol"],
    &["ntproto-server"],
    &["ntproto-sim"],
    &["ntproto-cli"],
    &["ntproto-tests"],
    // Below nothing and above nothing: it must build when everything else is broken.
    &["xtask"],
];

/// Crates that use nothing of the workspace, whatever their floor.
const ALONE: [&str; 1] = ["xtask"];

fn floor(name: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&name))
}

/// Fails with every dependency that points up or sideways.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let metadata = Metadata::read(root)?;
    let mut wrong = Vec::new();
    for package in metadata.own() {
        let Some(here) = floor(&package.name) else {
            wrong.push(format!("{} has no floor in crates/xtask/src/layers.rs", package.name));
            continue;
        };
        for dep in package.dependencies.iter().filter(|d| d.local) {
            // A crate may use itself in its tests, to switch a feature on.
            if dep.name == package.name && dep.dev {
                continue;
            }
            let below = floor(&dep.name).is_some_and(|there| there < here);
            if !below || ALONE.contains(&package.name.as_str()) {
                wrong.push(format!("{} may not depend on {}", package.name, dep.name));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}
