//! What is wrong with a configuration, and what was probably meant.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The configuration file.
    File(PathBuf),
    /// A variable.
    Environment,
    /// A flag.
    Flag,
}

/// What is wrong with the configuration, in one line.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file can't be read.
    Unreadable(PathBuf, std::io::Error),
    /// The file is no TOML.
    Syntax(PathBuf, String),
    /// No setting has this name.
    Unknown {
        /// The name.
        key: String,
        /// Where it was given.
        source: Source,
    },
    /// The value is not of the kind or in the range.
    Value {
        /// The setting.
        key: &'static str,
        /// The value.
        value: String,
        /// Where it was given.
        source: Source,
        /// What it should be.
        expected: &'static str,
    },
    /// Two settings contradict each other.
    Conflict(&'static str),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, e) => {
                write!(
                    f,
                    "can't read the configuration {}: {e}; correct the path or its mode",
                    path.display()
                )
            }
            Self::Syntax(path, text) => write!(f, "{} is not TOML: {text}", path.display()),
            Self::Unknown { key, source } => {
                let name = named(key, source);
                match nearest(key) {
                    Some(near) => write!(f, "{name}: no such setting; did you mean {near}?"),
                    None => write!(f, "{name}: no such setting; remove it"),
                }
            }
            Self::Value { key, value, source, expected } => {
                write!(f, "{} = {value:?}: write {expected}", named(key, source))
            }
            Self::Conflict(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for ConfigError {}

/// A setting as its source writes it.
fn named(key: &str, source: &Source) -> String {
    match source {
        Source::File(path) => format!("{}: {key}", path.display()),
        Source::Environment => variable(key),
        Source::Flag => format!("--{}", key.replace('_', "-")),
    }
}

pub(super) fn variable(key: &str) -> String {
    format!("NTP_{}", key.to_ascii_uppercase())
}

/// The known setting that was probably meant.
fn nearest(key: &str) -> Option<&'static str> {
    let far = |known: &str| distance(known.as_bytes(), key.as_bytes());
    let nearest = super::settings().map(|s| s.key).min_by_key(|known| far(known))?;
    (far(nearest) <= 1 + key.len() / 4).then_some(nearest)
}

/// The edits between two words.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = changed.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
