//! An upload while requests work on it: one writer, those that wait behind it, and what is under way for it.
//!
//! ```text
//! First
//!    ▼
//! Claiming ─▶ Open: body ─▶ queue ─▶ Write ─▶ written ─▶ Sync ─▶ Progress ─▶ confirmed
//!    ▲          │ the writer is done, or something ended it
//!    │          ▼
//!    │        settled: written = confirmed ── whole? ─▶ Completing: Hash, Seal, Keep, Complete
//!    └─ a newer writer ◀──┴──▶ the next that waits, HEAD, DELETE
//! ```
//! | file | is |
//! | --- | --- |
//! | this one | what is known of an upload |
//! | `arrive` | requests that come, and how they end |
//! | `write` | a body on its way to the disk |
//! | `complete` | from the last byte to a file |

use std::collections::VecDeque;

use bytes::Bytes;
use ntproto_core::ids::FileId;
use ntproto_core::time::UnixMillis;
use ntproto_hub::Who;
use ntproto_hub::store::file::{FileState, UploadState};

use crate::api::{CarrierId, ContentId, ExchangeId};
use crate::dialect::Standing;
use crate::digest::Check;
use crate::plan::{Append, Plan};
use crate::problem::{Code, Problem};

mod arrive;
mod complete;
mod write;

pub(crate) use arrive::refused;

/// What happens with an upload.
pub(crate) enum Step {
    /// The store is told of a new writer.
    Claiming(ExchangeId, Box<Append>),
    /// It is written, or nothing happens.
    Open,
    /// It is whole, and becomes a file. The exchange is the one that brought the last bytes.
    Completing { exchange: Option<ExchangeId>, sealed: Option<ContentId>, kept: bool },
    /// The store is told of its end.
    Deleting,
}

/// An upload that nobody works on is claimed by somebody, who may be anybody: whose it is the store will say. Until then it is kept
/// for each account apart, so that nobody stands in another's way.
pub(crate) struct First {
    pub(crate) exchange: ExchangeId,
    pub(crate) append: Box<Append>,
    pub(crate) who: Who,
    pub(crate) carrier: CarrierId,
    /// What the account asked meanwhile.
    pub(crate) later: Vec<(ExchangeId, Who, Plan)>,
}

/// What is done once nobody writes.
pub(crate) enum After {
    Status(ExchangeId),
    Delete(ExchangeId),
    Write(ExchangeId, Box<Append>),
}

impl After {
    pub(crate) const fn exchange(&self) -> ExchangeId {
        match self {
            Self::Status(id) | Self::Delete(id) | Self::Write(id, _) => *id,
        }
    }
}

/// Who writes.
pub(crate) struct Writer {
    pub(crate) exchange: ExchangeId,
    pub(crate) append: Box<Append>,
    /// What came, and is not on its way to the disk.
    pub(crate) queue: VecDeque<Bytes>,
    /// Where the next byte of the body goes.
    pub(crate) position: u64,
    /// The body is whole.
    pub(crate) ended: bool,
    /// The body compared with its digest. As long as it may turn out wrong, nothing of it counts.
    pub(crate) check: Option<Check>,
    /// Why it is over.
    pub(crate) fate: Option<Fate>,
    /// Bytes that came since its deadline was set.
    pub(crate) fresh: u64,
}

/// Why a writer is over before its body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The client is gone.
    Gone,
    /// It is answered with this. What came is kept.
    Kept(Code),
    /// It is answered with this. What came and is not written is dropped.
    Dropped(Code),
}

impl Fate {
    pub(crate) const fn keeps(self) -> bool {
        matches!(self, Self::Gone | Self::Kept(_))
    }
}

/// An upload in memory.
pub(crate) struct Upload {
    pub(crate) file: FileId,
    pub(crate) who: Who,
    /// Requests that wait for the writer's all came on one connection.
    pub(crate) carrier: CarrierId,
    pub(crate) step: Step,
    pub(crate) epoch: u64,
    pub(crate) length: Option<u64>,
    /// The length as the store knows it.
    pub(crate) stored_length: Option<u64>,
    pub(crate) digest: Option<[u8; 32]>,
    pub(crate) sealed: Option<[u8; 32]>,
    pub(crate) expires: UnixMillis,
    /// Bytes up to here are durable, and the store knows.
    pub(crate) confirmed: u64,
    /// Bytes up to here are written.
    pub(crate) written: u64,
    /// Bytes up to here may be on the disk, whether they count or not.
    pub(crate) reached: u64,
    /// Bytes up to here are charged to the account, where the length is not known.
    pub(crate) reserved: u64,
    pub(crate) writer: Option<Writer>,
    /// What the writer's digest of the whole, or that of one before it, must be.
    pub(crate) whole: Option<[u8; 32]>,
    /// Whoever wrote last has no more to say: with all its bytes it is complete.
    pub(crate) completes: bool,
    pub(crate) waiting: Vec<(ExchangeId, Box<Append>)>,
    pub(crate) after: VecDeque<After>,
    /// A write is under way.
    pub(crate) writing: bool,
    /// A sync, or the transaction after it, is under way.
    pub(crate) syncing: bool,
    /// It became a file.
    pub(crate) became: Option<FileState>,
}

impl Upload {
    pub(crate) fn new(file: FileId, who: Who, carrier: CarrierId, step: Step) -> Self {
        Self {
            file,
            who,
            carrier,
            step,
            epoch: 0,
            length: None,
            stored_length: None,
            digest: None,
            sealed: None,
            expires: UnixMillis(0),
            confirmed: 0,
            written: 0,
            reached: 0,
            reserved: 0,
            writer: None,
            whole: None,
            completes: false,
            waiting: Vec::new(),
            after: VecDeque::new(),
            writing: false,
            syncing: false,
            became: None,
        }
    }

    /// What the store says of it.
    pub(crate) fn learn(&mut self, state: &UploadState) {
        self.epoch = state.epoch;
        self.stored_length = state.length;
        self.length = state.length.or(self.length);
        self.digest = state.digest;
        self.sealed = state.content;
        self.expires = state.expires;
        self.confirmed = state.offset;
        self.reserved = state.reserved;
        // What was reserved was written, maybe, before the server ended.
        self.reached = self.reached.max(state.offset).max(state.reserved);
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.length == Some(self.confirmed)
    }

    pub(crate) fn standing(&self) -> Standing {
        Standing {
            file: self.file,
            offset: self.confirmed,
            length: self.length,
            expires: Some(self.expires),
            content: self.became.map(|file| file.content),
        }
    }

    /// A refusal that tells the offset.
    pub(crate) fn problem(&self, code: Code) -> Problem {
        Problem { complete: Some(self.became.is_some()), ..Problem::new(code).offset(self.confirmed) }
    }

    /// Where the last of those ends who write or wait, if that is known.
    pub(crate) fn chain_end(&self) -> Option<u64> {
        let first = match (&self.step, &self.writer) {
            (Step::Claiming(_, append), _) => append,
            (Step::Open, Some(writer)) if writer.fate.is_none() => &writer.append,
            _ => return None,
        };
        let ends = self.waiting.iter().map(|(_, append)| append.end);
        ends.fold(first.end, |last, end| Some(last?.max(end?)))
    }

    /// Whether nothing is under way for it on the disk or in the store.
    pub(crate) const fn is_quiet(&self) -> bool {
        !self.writing && !self.syncing
    }

    /// What is told of a file.
    pub(crate) fn of_file(file: &FileState) -> Standing {
        Standing {
            file: file.file,
            offset: file.size,
            length: Some(file.size),
            expires: None,
            content: Some(file.content),
        }
    }
}
