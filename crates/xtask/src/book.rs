//! `cargo xtask book`: every link and include of `docs/` leads somewhere.
//!
//! mdBook itself takes minutes to compile, so ci checks with this file alone; `--build` runs mdBook.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::source::{files, read};
use crate::tools;

/// Pages outside `docs/` whose links are checked too.
const TOP: [&str; 4] = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"];

/// Checks, and builds the book when asked to.
pub(crate) fn run(root: &Path, build: bool) -> Result<(), String> {
    let docs = root.join("docs");
    let mut wrong = Vec::new();
    let mut pages = files(&docs, "md")?;
    pages.extend(TOP.iter().map(|p| root.join(p)));
    for page in &pages {
        let text = read(page)?;
        check(root, page, &text, &mut wrong)?;
    }
    let listed = summary(&docs)?;
    for page in files(&docs, "md")?.iter().filter(|p| !p.ends_with("SUMMARY.md")) {
        if !listed.contains(page) {
            wrong.push(format!("{} is not in docs/SUMMARY.md", shown(root, page)));
        }
    }
    if !wrong.is_empty() {
        return Err(wrong.join("\n"));
    }
    if build {
        tools::mdbook(root)?;
        let status =
            Command::new("mdbook").arg("build").arg(&docs).status().map_err(|e| format!("mdbook: {e}"))?;
        if !status.success() {
            return Err("mdbook failed".to_owned());
        }
    }
    Ok(())
}

fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

/// The pages the summary lists.
fn summary(docs: &Path) -> Result<BTreeSet<PathBuf>, String> {
    let text = read(&docs.join("SUMMARY.md"))?;
    Ok(links(&text).into_iter().map(|(_, target)| docs.join(target)).collect())
}

/// Adds every link and include of one page that leads nowhere.
fn check(root: &Path, page: &Path, text: &str, wrong: &mut Vec<String>) -> Result<(), String> {
    let folder = page.parent().unwrap_or(root);
    for (line, target) in links(text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (file, anchor) = target.split_once('#').map_or((target, None), |(f, a)| (f, Some(a)));
        let path = if file.is_empty() { page.to_path_buf() } else { folder.join(file) };
        if !path.exists() {
            wrong.push(format!("{}:{line}: no {target}", shown(root, page)));
        } else if let Some(anchor) = anchor
            && path.extension().is_some_and(|e| e == "md")
            && !anchors(&read(&path)?).contains(anchor)
        {
            wrong.push(format!("{}:{line}: no heading for #{anchor}", shown(root, page)));
        }
    }
    for (line, include) in includes(text) {
        let mut parts = include.splitn(2, ':');
        let path = folder.join(parts.next().unwrap_or_default());
        let Ok(code) = read(&path) else {
            wrong.push(format!("{}:{line}: nothing to include at {include}", shown(root, page)));
            continue;
        };
        let anchor = parts.next().filter(|a| a.chars().any(char::is_alphabetic));
        if anchor.is_some_and(|a| !code.contains(&format!("ANCHOR: {a}"))) {
            wrong.push(format!("{}:{line}: no anchor for {include}", shown(root, page)));
        }
    }
    Ok(())
}

/// `[text](target)` outside code, with line numbers.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (i, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        // Every second piece between backticks is code.
        for piece in line.split('`').step_by(2) {
            let mut rest = piece;
            while let Some(at) = rest.find("](") {
                rest = &rest[at + 2..];
                let end = rest.find(')').unwrap_or(rest.len());
                found.push((i + 1, rest[..end].trim()));
                rest = &rest[end..];
            }
        }
    }
    found
}

/// `{{#include path:anchor}}` and `{{#rustdoc_include …}}`, with line numbers.
fn includes(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (i, line) in text.lines().enumerate() {
        for word in ["{{#include ", "{{#rustdoc_include "] {
            if let Some((_, rest)) = line.split_once(word)
                && let Some((target, _)) = rest.split_once("}}")
            {
                found.push((i + 1, target.trim()));
            }
        }
    }
    found
}

/// The ids that mdBook gives the headings of a page.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if !fenced && line.starts_with('#') {
            let title = line.trim_start_matches('#').trim();
            found.insert(
                title
                    .chars()
                    .filter_map(|c| match c {
                        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
                        c if c.is_whitespace() => Some('-'),
                        _ => None,
                    })
                    .collect(),
            );
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_in_code_do_not_count() {
        let text = "a [b](c.md#d) `[x](y)`\n```\n[n](o)\n```\n[p](q)";
        assert_eq!(links(text), [(1, "c.md#d"), (5, "q")]);
    }

    #[test]
    fn headings_become_anchors() {
        assert!(anchors("## Frames, and `more`").contains("frames-and-more"));
    }
}
