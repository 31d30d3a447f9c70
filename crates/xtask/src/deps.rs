//! `cargo xtask deps`: `docs/dependencies.md` names every direct dependency, who uses it and why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::metadata::{Metadata, OTHERS};
use crate::source::read;

const PAGE: &str = "docs/dependencies.md";

/// A row of the table: what it says of who uses the crate, and why.
struct Row<'a> {
    used_by: &'a str,
    reason: &'a str,
}

/// Compares; with `write`, corrects the "used by" column and drops rows nobody needs.
pub(crate) fn run(root: &Path, write: bool) -> Result<(), String> {
    let workspaces = ["Cargo.toml"].into_iter().chain(OTHERS).map(|manifest| Metadata::of(root, manifest));
    let workspaces = workspaces.collect::<Result<Vec<_>, _>>()?;
    let mut used: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for package in workspaces.iter().flat_map(Metadata::own) {
        let user = package.name.trim_start_matches("ntproto-");
        for dep in package.dependencies.iter().filter(|d| !d.local) {
            used.entry(&dep.name).or_default().insert(user.to_owned());
        }
    }
    let expected: BTreeMap<&str, String> = used
        .into_iter()
        .map(|(name, users)| (name, users.into_iter().collect::<Vec<_>>().join(", ")))
        .collect();

    let page = read(&root.join(PAGE))?;
    let rows = rows(&page)?;
    let mut wrong = Vec::new();
    for (name, users) in &expected {
        match rows.get(name) {
            None => {
                wrong.push(format!("no row for {name}: add `| {name} | {users} | why it is worth having |`"));
            }
            Some(row) if row.reason.is_empty() => wrong.push(format!("{name}: no reason given")),
            Some(row) if row.used_by != users && !write => {
                wrong.push(format!("{name}: used by is `{}`, should be `{users}`", row.used_by));
            }
            Some(_) => {}
        }
    }
    for name in rows.keys().filter(|n| !expected.contains_key(*n) && !write) {
        wrong.push(format!("{name}: nobody depends on it; remove its row"));
    }
    if write {
        let fresh = rewrite(&page, &rows, &expected);
        std::fs::write(root.join(PAGE), fresh).map_err(|e| format!("{PAGE}: {e}"))?;
    }
    if !wrong.is_empty() {
        let mends =
            if write { "these are yours" } else { "`cargo xtask deps --write` mends all but reasons" };
        return Err(format!("{PAGE}:\n{}\n{mends}", wrong.join("\n")));
    }
    Ok(())
}

/// The rows of the page's tables, by crate.
fn rows(page: &str) -> Result<BTreeMap<&str, Row<'_>>, String> {
    let mut rows = BTreeMap::new();
    for line in page.lines() {
        if let Some((name, row)) = row(line)
            && rows.insert(name, row).is_some()
        {
            return Err(format!("{PAGE}: two rows for {name}"));
        }
    }
    Ok(rows)
}

/// The crate and its row, if this line is one: three cells that are no heading.
fn row(line: &str) -> Option<(&str, Row<'_>)> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    let mut cells = inner.splitn(3, '|').map(str::trim);
    let (name, used_by, reason) = (cells.next()?, cells.next()?, cells.next()?);
    let heading = name == "crate" || name.starts_with('-');
    (!heading).then_some((name, Row { used_by, reason }))
}

fn rewrite(page: &str, rows: &BTreeMap<&str, Row<'_>>, expected: &BTreeMap<&str, String>) -> String {
    let mut out = String::new();
    for line in page.lines() {
        let kept = match row(line) {
            None => line.to_owned(),
            Some((name, _)) => match (expected.get(name), rows.get(name)) {
                (Some(users), Some(row)) => format!("| {name} | {users} | {} |", row.reason),
                _ => continue,
            },
        };
        out.push_str(&kept);
        out.push('\n');
    }
    out
}
