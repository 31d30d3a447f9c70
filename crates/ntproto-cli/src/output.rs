//! What goes to standard output: colours on a terminal only, JSON lines, hexadecimal, times.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

/// Whether colours are used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    on: bool,
}

impl Style {
    /// No colours.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { on: false };
    /// Colours.
    #[cfg(test)]
    pub(crate) const COLOURS: Self = Self { on: true };

    /// Colours when standard output is a terminal, `NO_COLOR` is not set and the terminal is not dumb.
    pub(crate) fn of_stdout() -> Self {
        Self::of(io::stdout().is_terminal())
    }

    /// The same for standard error.
    pub(crate) fn of_stderr() -> Self {
        Self::of(io::stderr().is_terminal())
    }

    fn of(terminal: bool) -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
        let dumb = set("TERM").is_some_and(|t| t == "dumb");
        Self { on: terminal && set("NO_COLOR").is_none() && !dumb }
    }

    /// Whether there are colours.
    pub(crate) const fn is_on(self) -> bool {
        self.on
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A heading.
    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Something beside the point.
    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// Something that is right.
    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Something that is wrong.
    pub(crate) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// Raw bytes.
    pub(crate) fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

/// Milliseconds since 1970 as UTC; `None` beyond the calendar.
pub(crate) fn utc(unix_ms: u64) -> Option<String> {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(unix_ms).ok()?).ok()?;
    Some(at.strftime("%Y-%m-%d %H:%M:%S%.fZ").to_string())
}

/// The day of milliseconds since 1970, in UTC; nothing beyond the calendar.
pub(crate) fn day(unix_ms: u64) -> String {
    utc(unix_ms).map_or_else(String::new, |text| text.chars().take("2025-11-22".len()).collect())
}

/// Rows in columns as wide as they need. Cells that are numbers stand at the right.
pub(crate) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings; without any if all are empty.
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(|&h| h.to_owned()).collect(), rows: Vec::new() }
    }

    /// Adds a row, of texts that are harmless.
    pub(crate) fn row(&mut self, cells: &[&str]) {
        self.rows.push(cells.iter().map(|&c| c.to_owned()).collect());
    }

    /// As it is printed.
    pub(crate) fn show(&self, style: Style) -> String {
        let width = |at: usize| {
            let cells = self.rows.iter().chain([&self.head]).filter_map(|row| row.get(at));
            cells.map(|cell| cell.width()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let mut out = String::new();
        let number = |cell: &str| !cell.is_empty() && cell.chars().all(|c| c.is_ascii_digit() || c == ',');
        let numeric = |at: usize| self.rows.iter().all(|row| row.get(at).is_some_and(|cell| number(cell)));
        let mut write = |row: &[String], head: bool| {
            let mut line = String::new();
            for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let gap = " ".repeat(width - cell.width());
                let parts = if numeric(at) { [&gap, cell] } else { [cell, &gap] };
                line.extend([parts[0], parts[1], "  "]);
            }
            let line = line.trim_end();
            out.push_str(&if head { style.dim(line) } else { line.to_owned() });
            out.push('\n');
        };
        if self.head.iter().any(|cell| !cell.is_empty()) {
            write(&self.head, true);
        }
        self.rows.iter().for_each(|row| write(row, false));
        out
    }
}

/// Writes a line to standard output at once.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Writes a value as one line of JSON.
pub(crate) fn json_line(value: &impl Serialize) -> io::Result<()> {
    line(&json(value))
}

/// A value as one line of JSON, harmless on a terminal too: what a terminal could take for a command
/// or that turns text around is escaped.
pub(crate) fn json(value: &impl Serialize) -> String {
    let plain = serde_json::to_string(value).expect("our values have text keys and no failing parts");
    let mut out = String::with_capacity(plain.len());
    for c in plain.chars() {
        // Only strings can hold these; serde_json escaped everything below a blank.
        if crate::text::is_dangerous(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_harmless_and_still_json() {
        let text = "a\u{9b}31m\u{202e}b\u{7f}\u{e0041}\n";
        let out = json(&text);
        assert_eq!(out, r#""a\u009b31m\u202eb\u007f\udb40\udc41\n""#);
        assert_eq!(serde_json::from_str::<String>(&out).ok().as_deref(), Some(text));
    }

    #[test]
    fn tables_line_up_whatever_is_in_them() {
        let mut table = Table::new(&["UIN", "NICK", ""]);
        table.row(&["10001", "日本", "x"]);
        table.row(&["9", "somebody", ""]);
        let lines = ["  UIN  NICK", "10001  日本      x", "    9  somebody"];
        assert_eq!(table.show(Style::PLAIN).lines().collect::<Vec<_>>(), lines);
        assert_eq!(Table::new(&["", ""]).show(Style::PLAIN), "");
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(utc(0).as_deref(), Some("1970-01-01 00:00:00Z"));
        assert_eq!(utc(1_763_852_400_250).as_deref(), Some("2025-11-22 23:00:00.25Z"));
        assert_eq!(utc(u64::MAX), None);
    }
}
