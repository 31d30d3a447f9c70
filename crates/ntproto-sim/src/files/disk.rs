//! The server's disk of files: what was synced survives a power cut, of the rest whatever the disk had time for.

use std::collections::BTreeMap;

use bytes::Bytes;
use ntproto_core::crypto::CryptoProvider as _;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::ids::FileId;
use ntproto_core::rng::Rng;
use ntproto_web::{ContentId, FileError, FileOp, FileOutcome};

use crate::draw::Draw;
use crate::ledger::Check;

/// What is written at once, or not.
const SECTOR: usize = 4_096;

/// A partial file.
#[derive(Default)]
struct Part {
    /// As it reads now.
    bytes: Vec<u8>,
    /// As it is on the disk.
    durable: Vec<u8>,
    /// Ranges written since the last sync.
    dirty: Vec<(usize, usize)>,
    /// Whether the folder knows of it.
    listed: bool,
}

impl Part {
    fn sync(&mut self) {
        for (from, to) in self.dirty.drain(..) {
            self.durable.resize(self.durable.len().max(to), 0);
            self.durable[from..to].copy_from_slice(&self.bytes[from..to]);
        }
        self.listed = true;
    }

    /// What lies behind is no more, durably.
    fn cut_behind(&mut self, length: usize) {
        self.bytes.truncate(length);
        self.durable.truncate(length);
        self.dirty.retain_mut(|(from, to)| {
            *to = (*to).min(length);
            from < to
        });
    }

    /// The power fails: sectors of what was not synced are there or not, each by itself.
    fn cut(&mut self, rng: &mut Rng) {
        for (from, to) in self.dirty.drain(..) {
            for start in (from..to).step_by(SECTOR) {
                let end = (start + SECTOR).min(to);
                if rng.chance(50) {
                    self.durable.resize(self.durable.len().max(end), 0);
                    self.durable[start..end].copy_from_slice(&self.bytes[start..end]);
                }
            }
        }
        self.bytes.clone_from(&self.durable);
    }
}

/// The disk.
#[derive(Default)]
pub(super) struct FileDisk {
    parts: BTreeMap<FileId, Part>,
    contents: BTreeMap<ContentId, Bytes>,
    /// No room.
    pub(super) full: bool,
    /// The next sync fails, and takes what it was to sync with it.
    pub(super) fail_next_sync: bool,
    #[cfg(feature = "planted")]
    pub(super) plant: Option<crate::plant::Plant>,
}

impl FileDisk {
    /// Does what is asked.
    pub(super) fn run(&mut self, rng: &mut Rng, op: FileOp) -> Result<FileOutcome, FileError> {
        #[cfg(feature = "planted")]
        let op = match self.planted(rng, op) {
            Ok(op) => op,
            Err(lie) => return lie,
        };
        match op {
            FileOp::Write { file, offset, data } => {
                let mut at = offset as usize;
                let part = self.parts.entry(file).or_default();
                for piece in data {
                    // Some of it may be there when the disk is found to be full.
                    if self.full && rng.chance(50) {
                        return Err(FileError::Full);
                    }
                    let end = at + piece.len();
                    part.bytes.resize(part.bytes.len().max(end), 0);
                    part.bytes[at..end].copy_from_slice(&piece);
                    part.dirty.push((at, end));
                    at = end;
                }
                if self.full { Err(FileError::Full) } else { Ok(FileOutcome::Done) }
            }
            FileOp::Sync { file } => {
                let part = self.parts.entry(file).or_default();
                if std::mem::take(&mut self.fail_next_sync) {
                    part.cut(rng);
                    return Err(FileError::Io);
                }
                part.sync();
                Ok(FileOutcome::Done)
            }
            FileOp::Hash { file, length } => {
                let bytes = self.parts.get(&file).map_or(&[][..], |part| &part.bytes);
                let bytes = bytes.get(..length as usize).ok_or(FileError::NotFound)?;
                Ok(FileOutcome::Hashed(RUSTCRYPTO.sha256(&[bytes])))
            }
            FileOp::Keep { file, content, length } => {
                if self.contents.contains_key(&content) {
                    return Ok(FileOutcome::Done);
                }
                let bytes = self.parts.get(&file).map_or(&[][..], |part| &part.bytes);
                let bytes = bytes.get(..length as usize).ok_or(FileError::NotFound)?;
                if self.full {
                    return Err(FileError::Full);
                }
                self.contents.insert(content, Bytes::copy_from_slice(bytes));
                Ok(FileOutcome::Done)
            }
            FileOp::Read { content, offset, length } => {
                let bytes = self.contents.get(&content).ok_or(FileError::NotFound)?;
                let from = offset as usize;
                let Some(to) = from.checked_add(length).filter(|to| *to <= bytes.len()) else {
                    return Err(FileError::NotFound);
                };
                Ok(FileOutcome::Data(bytes.slice(from..to)))
            }
            FileOp::Cut { file, length } => {
                if let Some(part) = self.parts.get_mut(&file) {
                    part.cut_behind(length as usize);
                }
                Ok(FileOutcome::Done)
            }
            FileOp::Discard { file } => {
                self.parts.remove(&file);
                Ok(FileOutcome::Done)
            }
            FileOp::Delete { content } => {
                self.contents.remove(&content);
                Ok(FileOutcome::Done)
            }
        }
    }

    /// What is done instead, or answered at once.
    #[cfg(feature = "planted")]
    fn planted(&mut self, rng: &mut Rng, op: FileOp) -> Result<FileOp, Result<FileOutcome, FileError>> {
        use crate::plant::Plant;
        match (self.plant, op) {
            (Some(Plant::FileSyncLies), FileOp::Sync { .. })
            | (Some(Plant::FileNeverDiscarded), FileOp::Discard { .. }) => Err(Ok(FileOutcome::Done)),
            (Some(Plant::FileSyncErrorIgnored), op @ FileOp::Sync { .. }) if self.fail_next_sync => {
                let mut honest = Self { plant: None, ..std::mem::take(self) };
                let _ = honest.run(rng, op);
                *self = Self { plant: Some(Plant::FileSyncErrorIgnored), ..honest };
                Err(Ok(FileOutcome::Done))
            }
            (Some(Plant::FileWriteMisplaced), FileOp::Write { file, offset, data }) if rng.chance(10) => {
                Ok(FileOp::Write { file, offset: offset + 1, data })
            }
            (Some(Plant::FileReadShifted), FileOp::Read { content, offset, length }) if offset > 0 => {
                Ok(FileOp::Read { content, offset: offset - 1, length })
            }
            (_, op) => Ok(op),
        }
    }

    /// Cuts the power.
    pub(super) fn crash(&mut self, rng: &mut Rng) {
        self.fail_next_sync = false;
        for part in self.parts.values_mut() {
            part.cut(rng);
        }
        // A file whose folder was not synced is there or not.
        self.parts.retain(|_, part| part.listed || rng.chance(50));
    }

    /// What was told to be there is on the disk, and is the source's.
    pub(super) fn holds(&self, file: FileId, source: &[u8], offset: u64) -> Check {
        let Some(due) = source.get(..offset as usize) else {
            return Err(format!("{file}: an offset of {offset} in {} bytes", source.len()));
        };
        let whole = || self.contents.values().any(|content| content[..] == *source);
        let part = self.parts.get(&file).is_some_and(|part| part.durable.starts_with(due));
        if part || due.is_empty() || whole() {
            Ok(())
        } else {
            Err(format!("{file}: {offset} bytes were confirmed and are not on the disk"))
        }
    }

    /// Bytes of a partial file.
    pub(super) fn len(&self, file: FileId) -> u64 {
        self.parts.get(&file).map_or(0, |part| part.bytes.len().max(part.durable.len()) as u64)
    }

    /// What there is: of partial files, of contents.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.parts.len(), self.contents.len())
    }
}
