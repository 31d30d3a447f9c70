//! `cargo xtask msrv`: nothing in the tree asks for a newer Rust than the workspace states.

use std::path::Path;

use crate::metadata::Metadata;

/// The edition of every crate here.
const EDITION: &str = "2024";

/// Fails with every package that asks for more.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let metadata = Metadata::read(root)?;
    let mut wrong = Vec::new();
    let mut stated = None;
    for package in metadata.own() {
        if package.edition != EDITION {
            wrong.push(format!("{}: edition {}, should be {EDITION}", package.name, package.edition));
        }
        match (&package.rust_version, &stated) {
            (None, _) => wrong.push(format!("{}: add rust-version.workspace = true", package.name)),
            (Some(v), None) => stated = Some(v.clone()),
            (Some(v), Some(s)) if v != s => wrong.push(format!("{}: {v} is not {s}", package.name)),
            _ => {}
        }
    }
    let ours = stated.ok_or("no crate states a rust-version")?;
    for package in metadata.packages.values() {
        if package.rust_version.as_deref().is_some_and(|theirs| number(theirs) > number(&ours)) {
            let theirs = package.rust_version.as_deref().unwrap_or_default();
            wrong
                .push(format!("{} {} asks for Rust {theirs}, ours is {ours}", package.name, package.version));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// "1.95" and "1.95.0" alike.
fn number(version: &str) -> [u64; 3] {
    let mut parts = version.split('.').map(|p| p.parse().unwrap_or(0));
    [(); 3].map(|()| parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn versions_compare_by_number() {
        assert!(number("1.100") > number("1.95.1"));
        assert_eq!(number("1.95"), number("1.95.0"));
    }
}
