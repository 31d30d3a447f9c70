//! The files of a worker: lines that are only ever added. A process that is killed may leave half a line,
//! which is cut off before the next one is added; power is not cut in a demo, so nothing is synced.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::str::FromStr;

/// A line of the sender's ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Is about to be handed to the client: its number, and when (microseconds since 1970).
    Started(u64, u64),
    /// Was acknowledged: its number, and when.
    Acked(u64, u64),
}

/// A line of the receiver's ledger: a message and its place, together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// The place in the inbox.
    pub(crate) position: u64,
    /// Whose message.
    pub(crate) sender: usize,
    /// Which of theirs.
    pub(crate) number: u64,
    /// Its place in the conversation.
    pub(crate) conv_seq: u64,
    /// Of its body.
    pub(crate) fingerprint: u64,
}

/// A line.
pub(crate) trait Line: Sized {
    /// As it is written.
    fn write(&self) -> String;
    /// As it is read.
    fn read(text: &str) -> Option<Self>;
}

impl Line for Sent {
    fn write(&self) -> String {
        match self {
            Self::Started(number, at) => format!("s {number} {at}"),
            Self::Acked(number, at) => format!("a {number} {at}"),
        }
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let kind = words.next()?;
        let (number, at) = (next(&mut words)?, next(&mut words)?);
        match kind {
            "s" => Some(Self::Started(number, at)),
            "a" => Some(Self::Acked(number, at)),
            _ => None,
        }
    }
}

impl Line for Received {
    fn write(&self) -> String {
        let Self { position, sender, number, conv_seq, fingerprint } = self;
        format!("{position} {sender} {number} {conv_seq} {fingerprint}")
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        Some(Self {
            position: next(&mut words)?,
            sender: next(&mut words)?,
            number: next(&mut words)?,
            conv_seq: next(&mut words)?,
            fingerprint: next(&mut words)?,
        })
    }
}

fn next<T: FromStr>(words: &mut std::str::Split<'_, char>) -> Option<T> {
    words.next()?.parse().ok()
}

/// A ledger that lines are added to.
pub(crate) struct Ledger {
    file: File,
}

impl Ledger {
    /// Opens a ledger, made if need be, and returns its lines.
    pub(crate) fn open<L: Line>(path: &Path) -> io::Result<(Self, Vec<L>)> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let (lines, whole) = parse(&text)?;
        file.set_len(whole as u64)?;
        file.seek(SeekFrom::End(0))?;
        Ok((Self { file }, lines))
    }

    /// Adds a line, in one write.
    pub(crate) fn add(&mut self, line: &impl Line) -> io::Result<()> {
        self.file.write_all(format!("{}\n", line.write()).as_bytes())
    }
}

/// The lines of a ledger; none if it was never begun.
pub(crate) fn read<L: Line>(path: &Path) -> io::Result<Vec<L>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(parse(&text)?.0),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

/// The whole lines, and how many bytes they take. Half a line at the end is left out.
fn parse<L: Line>(text: &str) -> io::Result<(Vec<L>, usize)> {
    let whole = text.rfind('\n').map_or(0, |at| at + 1);
    let lines: Option<Vec<L>> = text[..whole].lines().map(L::read).collect();
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a ledger holds a line that makes no sense");
    Ok((lines.ok_or_else(damaged)?, whole))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn half_a_line_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sent.log");
        let (mut ledger, lines) = Ledger::open::<Sent>(&path).unwrap();
        assert!(lines.is_empty());
        ledger.add(&Sent::Started(1, 100)).unwrap();
        ledger.add(&Sent::Acked(1, 250)).unwrap();
        ledger.file.write_all(b"s 2 3").unwrap();
        drop(ledger);
        let want = [Sent::Started(1, 100), Sent::Acked(1, 250)];
        assert_eq!(read::<Sent>(&path).unwrap(), want);
        let (mut ledger, lines) = Ledger::open::<Sent>(&path).unwrap();
        assert_eq!(lines, want);
        ledger.add(&Sent::Started(2, 300)).unwrap();
        assert_eq!(read::<Sent>(&path).unwrap(), [want[0], want[1], Sent::Started(2, 300)]);
    }

    #[test]
    fn lines_survive() {
        let line = Received { position: 2, sender: 3, number: 4, conv_seq: 5, fingerprint: u64::MAX };
        assert_eq!(Received::read(&line.write()), Some(line));
        assert_eq!(Sent::read("x 1 2"), None);
        assert_eq!(Sent::read("s 1"), None);
    }
}
