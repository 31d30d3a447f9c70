//! What was found in a frame, and how it is shown.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::output::Style;

/// Bytes shown beside a line; the rest is an ellipsis.
const SHOWN_BYTES: usize = 8;

/// What kind of line it is: decides its colour, and whether the report is sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// A heading.
    Title,
    /// A field.
    Field,
    /// A field that was checked and is right.
    Good,
    /// Something that is wrong.
    Bad,
    /// A remark.
    Note,
}

impl Mark {
    const fn name(self) -> &'static str {
        match self {
            Self::Title => "title",
            Self::Field => "field",
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Note => "note",
        }
    }
}

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// How deep it stands.
    pub(crate) depth: usize,
    /// Where its bytes begin; an opened plaintext stands where its ciphertext stood.
    pub(crate) offset: usize,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// What it is.
    pub(crate) name: String,
    /// What it says.
    pub(crate) value: String,
    /// Its kind.
    pub(crate) mark: Mark,
}

/// All lines of an input.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) lines: Vec<Line>,
    depth: usize,
}

impl Report {
    /// Adds a heading and indents what follows; [`leave`](Self::leave) ends it.
    pub(crate) fn enter(&mut self, offset: usize, name: impl Into<String>, value: impl Into<String>) {
        self.push(offset, &[], name, value, Mark::Title);
        self.depth += 1;
    }

    /// Ends the innermost heading.
    pub(crate) fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// Adds a field.
    pub(crate) fn field(&mut self, offset: usize, bytes: &[u8], name: &str, value: impl Into<String>) {
        self.push(offset, bytes, name, value, Mark::Field);
    }

    /// Adds a line of any kind.
    pub(crate) fn push(
        &mut self,
        offset: usize,
        bytes: &[u8],
        name: impl Into<String>,
        value: impl Into<String>,
        mark: Mark,
    ) {
        let (name, value) = (name.into(), value.into());
        self.lines.push(Line { depth: self.depth, offset, bytes: bytes.to_vec(), name, value, mark });
    }

    /// Adds what is wrong, with the place where it is.
    pub(crate) fn bad(&mut self, offset: usize, what: impl Into<String>) {
        self.push(offset, &[], "error", format!("at byte {offset}: {}", what.into()), Mark::Bad);
    }

    /// How many things are wrong.
    pub(crate) fn problems(&self) -> usize {
        self.lines.iter().filter(|l| l.mark == Mark::Bad).count()
    }

    /// The report as text.
    pub(crate) fn text(&self, style: Style) -> String {
        let mut out = String::new();
        for line in &self.lines {
            let indent = "  ".repeat(line.depth);
            let value = crate::text::harmless(&line.value);
            let shown = match line.mark {
                Mark::Title => style.bold(&format!("{}{value}", pad(&line.name, &value))),
                Mark::Field => format!("{:<16} {value}", line.name),
                Mark::Good => format!("{:<16} {}", line.name, style.green(&value)),
                Mark::Bad => style.red(&format!("{:<16} {value}", line.name)),
                Mark::Note => style.dim(&format!("{:<16} {value}", line.name)),
            };
            let offset = style.dim(&format!("{:04x}", line.offset));
            let bytes = style.cyan(&format!("{:<17}", hex(&line.bytes)));
            let text = format!("{offset}  {bytes}  {indent}{shown}");
            let _ = writeln!(out, "{}", text.trim_end());
        }
        out
    }

    /// The report as JSON.
    pub(crate) fn json(&self) -> Value {
        let lines: Vec<Value> = self
            .lines
            .iter()
            .map(|l| {
                json!({
                    "offset": l.offset, "depth": l.depth, "kind": l.mark.name(),
                    "name": l.name, "value": l.value, "hex": crate::output::hex(&l.bytes),
                })
            })
            .collect();
        json!({ "sound": self.problems() == 0, "lines": lines })
    }
}

fn pad(name: &str, value: &str) -> String {
    if value.is_empty() { name.to_owned() } else { format!("{name}: ") }
}

fn hex(bytes: &[u8]) -> String {
    let shown = if bytes.len() > SHOWN_BYTES { SHOWN_BYTES } else { bytes.len() };
    let mut out = crate::output::hex(&bytes[..shown]);
    if shown < bytes.len() {
        out.push('…');
    }
    out
}
