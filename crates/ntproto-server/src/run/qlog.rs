//! What QUIC does, written down: one qlog file a start, of all its connections, each event with its connection's id.
//!
//! Sizes, numbers and losses of packets are in it, nothing of what they carry.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use ntproto_core::time::UnixMillis;
use ntproto_quic::{QlogConfig, QlogStream};
use ntproto_tokio::Clock;

use super::StartError;
use crate::config::ServerConfig;

/// Files that are kept: the last starts.
const MAX_FILES: usize = 8;
/// Bytes of a file. What comes after is not written: the beginning is what one asks for, and the disk is the store's.
const MAX_BYTES: u64 = 256 << 20;
const PREFIX: &str = "ntproto-";
const SUFFIX: &str = ".sqlog";

/// The file that the settings ask for.
pub(super) fn of(config: &ServerConfig, clock: &Clock) -> Result<Option<QlogStream>, StartError> {
    let Some(dir) = &config.qlog_dir else { return Ok(None) };
    open(dir, clock.now().unix, clock.base()).map_err(StartError::Qlog)
}

/// A new file in `dir`, which is made if it is not there. The oldest are removed.
fn open(dir: &Path, now: UnixMillis, base: Instant) -> io::Result<Option<QlogStream>> {
    fs::create_dir_all(dir)?;
    for old in surplus(dir)? {
        fs::remove_file(old)?;
    }
    let path = dir.join(format!("{PREFIX}{:013}{SUFFIX}", now.0));
    let writer = Bounded { file: BufWriter::new(File::create(&path)?), left: MAX_BYTES };
    let mut config = QlogConfig::default();
    config.writer(Box::new(writer)).title(Some("ntproto".into())).start_time(base);
    tracing::info!(file = %path.display(), "what QUIC does is written down");
    Ok(config.into_stream())
}

/// The oldest files, but for so many that with another there are [`MAX_FILES`].
fn surplus(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
            files.push(path);
        }
    }
    // The time in their names has so many digits that they stand in its order.
    files.sort();
    files.truncate((files.len() + 1).saturating_sub(MAX_FILES));
    Ok(files)
}

/// A file that takes so much and then forgets. An event is written whole or not at all.
struct Bounded<W> {
    file: W,
    left: u64,
}

impl<W: Write> Write for Bounded<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.left.checked_sub(bytes.len() as u64) {
            Some(left) => {
                self.left = left;
                self.file.write_all(bytes)?;
            }
            None => self.left = 0,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_files_go_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("made");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("mine.txt"), "x").unwrap();
        for start in 1..=12 {
            open(&dir, UnixMillis(start), Instant::now()).unwrap().unwrap();
        }
        let mut names: Vec<_> =
            fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!((names.len(), &names[0][..]), (MAX_FILES + 1, "mine.txt"));
        assert!(names[1].contains("0000000000005") && names[8].contains("0000000000012"), "{names:?}");
    }

    #[test]
    fn a_file_takes_so_much_and_then_forgets() {
        let mut file = Bounded { file: Vec::new(), left: 5 };
        for piece in [&b"abc"[..], b"defg", b"h"] {
            file.write_all(piece).unwrap();
        }
        assert_eq!(file.file, b"abc");
    }
}
