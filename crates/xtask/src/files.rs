//! `cargo xtask files`: a file is one concept and can be read in one sitting.

use std::path::Path;

use crate::source::{is_test_file, read, rust_files, without_tests};

/// Lines of a source file without its tests.
const FILE_LINES: usize = 600;

/// Lines of all of an adapter without its tests: it is one loop and decides nothing.
const ADAPTER_LINES: usize = 500;

/// The crates that are adapters.
const ADAPTERS: [&str; 1] = ["crates/ntproto-tokio"];

/// The guide that states how long its examples are.
const GUIDE: &str = "docs/porting.md";

/// Fails with every file and adapter that is too long, and every length that is not as stated.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let mut wrong = Vec::new();
    for folder in ["crates", "tests", "fuzz"] {
        for path in rust_files(&root.join(folder))? {
            let shown = path.strip_prefix(root).unwrap_or(&path);
            if shown.components().any(|c| c.as_os_str() == "generated") {
                continue;
            }
            let lines = without_tests(&read(&path)?).len();
            if lines > FILE_LINES && !is_test_file(shown) {
                wrong.push(format!("{}: {lines} lines before tests, at most {FILE_LINES}", shown.display()));
            }
        }
    }
    for adapter in ADAPTERS {
        let mut lines = 0;
        for path in rust_files(&root.join(adapter).join("src"))? {
            if !is_test_file(&path) {
                lines += without_tests(&read(&path)?).len();
            }
        }
        if lines >= ADAPTER_LINES {
            wrong.push(format!("{adapter}: {lines} lines, an adapter has less than {ADAPTER_LINES}"));
        }
    }
    stated(root, &mut wrong)?;
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// Holds the rows `| … [name](path.rs) … | lines | …` of the guide against the files.
fn stated(root: &Path, wrong: &mut Vec<String>) -> Result<(), String> {
    let guide = root.join(GUIDE);
    for row in read(&guide)?.lines().filter(|line| line.starts_with('|')) {
        let mut cells = row.split('|').skip(1).map(str::trim);
        let (Some(name), Some(lines)) = (cells.next(), cells.next()) else { continue };
        let Some((_, link)) = name.split_once("](") else { continue };
        let path = link.split(')').next().unwrap_or_default();
        let file = guide.parent().unwrap_or(root).join(path);
        let counted = read(&file)?.lines().count();
        if lines.parse() != Ok(counted) {
            wrong.push(format!("{GUIDE} says that {path} has {lines} lines: it has {counted}"));
        }
    }
    Ok(())
}
