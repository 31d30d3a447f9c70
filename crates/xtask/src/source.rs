//! Reading the workspace's own sources.

use std::fs;
use std::path::{Path, PathBuf};

/// Every `.rs` file below `dir`, sorted.
pub(crate) fn rust_files(dir: &Path) -> Result<Vec<PathBuf>, String> {
    files(dir, "rs")
}

/// Every file below `dir` with this extension, sorted; build output is passed over.
pub(crate) fn files(dir: &Path, extension: &str) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        for entry in entries {
            let path = entry.map_err(|e| format!("{}: {e}", folder.display()))?.path();
            if path.is_dir() {
                if !path.file_name().is_some_and(|n| n == "target" || n == "book") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Reads a file.
pub(crate) fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// Whether the whole file is test code: a `tests` module in a file or folder of its own.
pub(crate) fn is_test_file(path: &Path) -> bool {
    path.components().any(|c| {
        let c = c.as_os_str().to_string_lossy();
        c == "tests" || c == "tests.rs" || c.ends_with("_tests.rs") || c == "benches"
    })
}

/// The lines of a file that are not tests, with their numbers from 1: `#[cfg(test)]` items are left out.
///
/// Relies on rustfmt: an item ends at the first `}` that stands as deep as its attribute.
pub(crate) fn without_tests(text: &str) -> Vec<(usize, &str)> {
    let mut kept = Vec::new();
    let mut lines = text.lines().enumerate().map(|(i, l)| (i + 1, l));
    while let Some((number, line)) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            kept.push((number, line));
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let end = format!("{}}}", &line[..indent]);
        for (_, line) in lines.by_ref() {
            let deep = line.len() - line.trim_start().len() == indent;
            if line == end || (deep && line.trim_end().ends_with(';')) {
                break;
            }
        }
    }
    kept
}

/// A line without its comment and without the insides of its string literals. Multi-line strings are not followed.
pub(crate) fn code_of(line: &str) -> String {
    let mut out = String::new();
    let mut chars = line.chars().peekable();
    let mut in_string = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' if in_string => {
                chars.next();
            }
            '"' => {
                in_string = !in_string;
                out.push(c);
            }
            '/' if !in_string && chars.peek() == Some(&'/') => break,
            _ if in_string => {}
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_items_are_left_out() {
        let text =
            "a\n#[cfg(test)]\nmod tests;\nb\n#[cfg(test)]\nmod t {\n    x;\n    fn y() {\n    }\n}\nc\n";
        let kept: Vec<_> = without_tests(text).into_iter().map(|(n, l)| (n, l.to_owned())).collect();
        assert_eq!(kept, [(1, "a".to_owned()), (4, "b".to_owned()), (11, "c".to_owned())]);
    }

    #[test]
    fn comments_and_strings_are_blanked() {
        assert_eq!(code_of(r#"let a = "std::fs \" // x"; // std::net"#), r#"let a = ""; "#);
    }
}
