//! What QUIC does, written down: one qlog file a start, of all its connections, each event with its connection's id.
//!
//! Sizes, numbers and losses of packets are in it, nothing of what they carry.

use std::fs::{self, File};
use std::io::{self, Write};
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
/// Bytes that are written at once.
const BUFFER: usize = 16 * 1024;
/// The last byte of a record of JSON-SEQ; no other of it is one, for JSON is written without line breaks.
const END: u8 = b'\n';
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
    let writer = Records::new(File::create(&path)?, MAX_BYTES);
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

/// Where records go.
trait Sink: Write {
    /// Forgets what is beyond `len`.
    fn cut(&mut self, len: u64) -> io::Result<()>;
}

impl Sink for File {
    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}

/// A file of whole records. One that is full, or that the disk takes no more of, ends with a whole one; that is said once, and
/// what comes after is forgotten: what is asked is not told of it, or it would say so for each packet.
struct Records<S: Sink> {
    sink: S,
    most: u64,
    /// Bytes of it, all of whole records.
    kept: u64,
    /// What is not written yet, and how much of that is whole records.
    pending: Vec<u8>,
    whole: usize,
    over: bool,
}

impl<S: Sink> Records<S> {
    fn new(sink: S, most: u64) -> Self {
        Self { sink, most, kept: 0, pending: Vec::new(), whole: 0, over: false }
    }

    /// Writes what is whole.
    fn push(&mut self) {
        if self.over || self.whole == 0 {
            return;
        }
        match self.sink.write_all(&self.pending[..self.whole]).and_then(|()| self.sink.flush()) {
            Ok(()) => {
                self.kept += self.whole as u64;
                self.pending.drain(..self.whole);
                self.whole = 0;
            }
            Err(error) => {
                tracing::error!(%error, "the qlog can't be written: it ends here");
                self.end();
                // What cannot be cut either is as the disk has it.
                let _ = self.sink.cut(self.kept);
            }
        }
    }

    fn end(&mut self) {
        self.over = true;
        (self.pending, self.whole) = (Vec::new(), 0);
    }
}

impl<S: Sink> Write for Records<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.over {
            return Ok(bytes.len());
        }
        if self.kept + (self.pending.len() + bytes.len()) as u64 > self.most {
            self.push();
            if !self.over {
                tracing::info!(bytes = self.kept, "the qlog is full: it ends here");
                self.end();
            }
            return Ok(bytes.len());
        }
        let before = self.pending.len();
        self.pending.extend_from_slice(bytes);
        if let Some(last) = bytes.iter().rposition(|byte| *byte == END) {
            self.whole = before + last + 1;
        }
        if self.whole >= BUFFER {
            self.push();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.push();
        Ok(())
    }
}

impl<S: Sink> Drop for Records<S> {
    fn drop(&mut self) {
        self.push();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

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

    /// A disk with so much room.
    #[derive(Default)]
    struct Disk {
        bytes: Vec<u8>,
        room: usize,
        refusals: usize,
    }

    impl Write for &mut Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.room - self.bytes.len());
            if taken == 0 {
                self.refusals += 1;
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.bytes.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink for &mut Disk {
        fn cut(&mut self, len: u64) -> io::Result<()> {
            self.bytes.truncate(len as usize);
            Ok(())
        }
    }

    /// Counts what is logged.
    #[derive(Clone, Default)]
    struct Logged(Arc<AtomicUsize>);

    impl tracing::Subscriber for Logged {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }

        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

        fn event(&self, _: &tracing::Event<'_>) {
            self.0.fetch_add(1, Relaxed);
        }

        fn enter(&self, _: &tracing::span::Id) {}

        fn exit(&self, _: &tracing::span::Id) {}
    }

    /// Writes as the JSON writer does: a few bytes at a time. Gives how many lines were logged.
    fn write(disk: &mut Disk, most: u64) -> usize {
        let logged = Logged::default();
        tracing::subscriber::with_default(logged.clone(), || {
            let mut records = Records::new(disk, most);
            for n in 0..2_000 {
                let record = format!("\u{1e}{{\"time\":{n},\"name\":\"transport:packet_sent\"}}\n");
                for piece in record.as_bytes().chunks(7) {
                    records.write_all(piece).unwrap();
                }
            }
            records.flush().unwrap();
        });
        logged.0.load(Relaxed)
    }

    /// How many records there are, all of them whole and in order.
    fn whole(disk: &Disk) -> usize {
        let text = std::str::from_utf8(&disk.bytes).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        let lines = text.lines().enumerate();
        lines
            .map(|(n, line)| {
                assert!(line.starts_with(&format!("\u{1e}{{\"time\":{n},")) && line.ends_with('}'))
            })
            .count()
    }

    #[test]
    fn all_is_written_where_there_is_room() {
        let mut disk = Disk { room: usize::MAX, ..Disk::default() };
        assert_eq!((write(&mut disk, MAX_BYTES), whole(&disk)), (0, 2_000));
    }

    #[test]
    fn a_full_disk_ends_the_file_at_a_whole_record_and_is_said_once() {
        for room in [0, 1, 20_000, 40_001, 70_000] {
            let mut disk = Disk { room, ..Disk::default() };
            assert_eq!(write(&mut disk, MAX_BYTES), 1, "{room}");
            assert_eq!(disk.refusals, 1, "{room}: it is not asked again");
            assert!(disk.bytes.len() + 2 * BUFFER > room);
            assert!(whole(&disk) < 2_000);
        }
    }

    #[test]
    fn a_file_takes_so_much_and_then_forgets() {
        for most in [0, 1, 100, 50_000] {
            let mut disk = Disk { room: usize::MAX, ..Disk::default() };
            assert_eq!(write(&mut disk, most), 1, "{most}");
            let (len, records) = (disk.bytes.len() as u64, whole(&disk));
            assert!(len <= most && most - len < 100, "{len} of {most} in {records} records");
        }
    }
}
