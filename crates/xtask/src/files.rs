//! `cargo xtask files`: a file is one concept and can be read in one sitting.

use std::path::Path;

use crate::source::{is_test_file, read, rust_files, without_tests};

/// Lines of a source file without its tests.
const FILE_LINES: usize = 600;

/// Lines of all of an adapter without its tests: it is one loop and decides nothing.
const ADAPTER_LINES: usize = 500;

/// The crates that are adapters.
const ADAPTERS: [&str; 1] = ["crates/ntproto-tokio"];

/// Fails with every file and adapter that is too long.
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
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}
