//! What `cargo metadata` says, as far as the checks need it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::process::cargo;

/// The manifests that are workspaces of their own.
pub(crate) const OTHERS: [&str; 4] = [
    "fuzz/Cargo.toml",
    "tests/no_std/Cargo.toml",
    "tests/embedded/Cargo.toml",
    "crates/ntproto-wasm/bindgen/Cargo.toml",
];

/// The dependency graph of the workspace.
pub(crate) struct Metadata {
    /// Every package, by id.
    pub(crate) packages: BTreeMap<String, Package>,
    /// Ids of the workspace's own packages.
    pub(crate) members: BTreeSet<String>,
    /// Resolved edges that are not only for tests or build scripts: id → ids.
    normal: BTreeMap<String, BTreeSet<String>>,
}

/// One package.
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) edition: String,
    pub(crate) rust_version: Option<String>,
    pub(crate) folder: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
}

/// A dependency as a manifest declares it.
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// Inside this workspace.
    pub(crate) local: bool,
    /// Only for tests, examples and benchmarks.
    pub(crate) dev: bool,
}

impl Metadata {
    /// Asks cargo about the workspace.
    pub(crate) fn read(root: &Path) -> Result<Self, String> {
        Self::of(root, "Cargo.toml")
    }

    /// Asks cargo about this manifest.
    pub(crate) fn of(root: &Path, manifest: &str) -> Result<Self, String> {
        let args = ["metadata", "--format-version", "1", "--locked", "--manifest-path", manifest];
        let raw = cargo(root, args).stdout()?;
        let json: Value = serde_json::from_slice(&raw).map_err(|e| format!("cargo metadata: {e}"))?;
        Self::parse(&json).ok_or_else(|| "cargo metadata: its format changed".to_owned())
    }

    fn parse(json: &Value) -> Option<Self> {
        let mut packages = BTreeMap::new();
        for p in json.get("packages")?.as_array()? {
            packages.insert(text(p, "id")?, Package::parse(p)?);
        }
        let members = json.get("workspace_members")?.as_array()?.iter().filter_map(Value::as_str);
        let mut normal = BTreeMap::new();
        for node in json.get("resolve")?.get("nodes")?.as_array()? {
            let mut edges = BTreeSet::new();
            for dep in node.get("deps")?.as_array()? {
                if dep.get("dep_kinds")?.as_array()?.iter().any(|k| k.get("kind").is_none_or(Value::is_null))
                {
                    edges.insert(text(dep, "pkg")?);
                }
            }
            normal.insert(text(node, "id")?, edges);
        }
        Some(Self { packages, members: members.map(str::to_owned).collect(), normal })
    }

    /// The workspace's own packages.
    pub(crate) fn own(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|(id, _)| self.members.contains(*id)).map(|(_, p)| p)
    }

    /// Names of everything that ends up in a build of `name`, itself left out.
    pub(crate) fn closure(&self, name: &str) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        let mut todo: Vec<&String> =
            self.packages.iter().filter(|(_, p)| p.name == name).map(|(id, _)| id).collect();
        while let Some(id) = todo.pop() {
            for next in self.normal.get(id).into_iter().flatten() {
                if found.insert(next) {
                    todo.push(next);
                }
            }
        }
        found.iter().filter_map(|id| self.packages.get(*id)).map(|p| p.name.as_str()).collect()
    }
}

impl Package {
    fn parse(p: &Value) -> Option<Self> {
        let manifest = PathBuf::from(text(p, "manifest_path")?);
        let dependencies = p
            .get("dependencies")?
            .as_array()?
            .iter()
            .map(|d| {
                Some(Dependency {
                    name: text(d, "name")?,
                    local: d.get("path").is_some_and(Value::is_string),
                    dev: d.get("kind")?.as_str() == Some("dev"),
                })
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Self {
            name: text(p, "name")?,
            version: text(p, "version")?,
            edition: text(p, "edition")?,
            rust_version: p.get("rust_version")?.as_str().map(str::to_owned),
            folder: manifest.parent()?.to_path_buf(),
            dependencies,
        })
    }
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(str::to_owned)
}
