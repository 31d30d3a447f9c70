//! Moving a file to a server, or from it, over whatever breaks on the way.
//!
//! A machine says what to ask the server next ([`Ask`]) and takes the answers in any order; how they travel is its host's business. It
//! decides how much is asked for at once, what is asked again after a break, and when the file is whole.
//!
//! ```text
//!            ┌──────── broke, conflict ────────┐          ┌── 404, 410: the same upload_id, from the start
//!            ▼                                 │          ▼
//! Upload   Create ──▶ Offset ──▶ Chunk Chunk Chunk ──▶ all there, hash equal ──▶ Ended(Ok)
//! Download             Range Range Range ──▶ Verify ──▶ hash equal ─────────────▶ Ended(Ok)
//! ```
//!
//! | file | is |
//! | --- | --- |
//! | [`upload`] | to the server |
//! | [`download`] | from it |
//! | `pace` | how large the next chunk is |
//! | `patience` | how long to wait after a fault, and when to give up |

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use crate::ids::FileId;
use crate::time::Instant;

pub mod download;
mod pace;
mod patience;
pub mod upload;

pub use pace::{MAX_CHUNK, MAX_FLIGHTS, MIN_CHUNK};
pub use patience::MAX_TRIES;

/// How long nothing may come of what was asked before it counts as lost: longer than a server drains or syncs, shorter than a user waits.
pub const QUIET: Duration = Duration::from_secs(30);
/// How long a server may take to answer that a file is whole: it may have to hash all of it.
const SETTLE: Duration = Duration::from_secs(1);
/// How often a transfer begins again because the server has lost the file or its hash is another. A second time it is no accident.
const MAX_RESTARTS: u32 = 1;

/// Names what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);

/// What to ask the server, or to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Make the upload, or find it again by its `upload_id`. Answered by [`Answer::Created`].
    Create,
    /// How much of the file does the server have? Answered by [`Answer::Stored`].
    Offset(FileId),
    /// Send this part of the file. Answered by [`Answer::Stored`].
    Chunk {
        /// Whose.
        file: FileId,
        /// Where it begins.
        offset: u64,
        /// Its bytes.
        len: u64,
    },
    /// Let the server forget the upload. Answered by [`Answer::Deleted`].
    Delete(FileId),
    /// Fetch this part of the file. Answered by [`Answer::Range`], then [`Input::Moved`] as it is written.
    Range {
        /// Whose.
        file: FileId,
        /// Where it begins: a multiple of the unit.
        offset: u64,
        /// Its bytes.
        len: u64,
        /// What the server said the bytes belong to: they are wanted of nothing else.
        etag: Option<String>,
    },
    /// Bring what was written to the disk, then hash what is there, as the server keeps it. Answered by [`Answer::Hash`].
    Verify,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The upload is there.
    Created {
        /// What the server calls it.
        file: FileId,
        /// Bytes it has.
        offset: u64,
        /// The SHA-256 of all bytes, once they are all there and checked.
        done: Option<[u8; 32]>,
    },
    /// So much is there.
    Stored {
        /// Bytes it has.
        offset: u64,
        /// The SHA-256 of all bytes, once they are all there and checked.
        done: Option<[u8; 32]>,
    },
    /// It is forgotten.
    Deleted,
    /// The part begins to come.
    Range {
        /// Where it begins.
        offset: u64,
        /// Bytes of the whole file.
        total: u64,
        /// What the bytes belong to.
        etag: String,
    },
    /// What is on disk has this SHA-256.
    Hash([u8; 32]),
    /// Nothing came of it.
    Fault(Fault),
}

/// Why nothing came of what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No answer: the connection broke, the server did not take it or answered with its own trouble; or what came was damaged.
    Lost,
    /// The token is not good, or not any more.
    Unauthorized,
    /// The server has another offset than was thought.
    Conflict,
    /// There is no such file, or not any more.
    Gone,
    /// It is not the file that was announced, or that is known.
    Mismatch,
    /// Come again later.
    Busy(Duration),
    /// There is no room for it.
    Quota,
    /// The server will not, whatever is tried: its own code, or the status.
    Refused(String),
}

/// Why a transfer ended without its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The server has no such file.
    Gone,
    /// What arrived is not what was announced, twice.
    Mismatch,
    /// The account's room is used up, or the server's.
    Quota,
    /// New tokens are not good either.
    Unauthorized,
    /// Tried [`MAX_TRIES`] times, without a byte of progress.
    Unreachable,
    /// The server refused: its code.
    Refused(String),
    /// The application gave up.
    Cancelled,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the server has no such file"),
            Self::Mismatch => f.write_str("what arrived is not the file that was announced"),
            Self::Quota => f.write_str("there is no room for the file on the server"),
            Self::Unauthorized => f.write_str("the server does not take the session's token"),
            Self::Unreachable => write!(f, "the server was not reached in {MAX_TRIES} tries"),
            Self::Refused(code) => write!(f, "the server refused: {code}"),
            Self::Cancelled => f.write_str("cancelled"),
        }
    }
}

impl core::error::Error for Failure {}

/// What a host tells a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// What came of an ask.
    Answer(AskId, Answer),
    /// More bytes of a chunk were taken by the transport, or of a range were written. What is not reported for [`QUIET`] counts as lost.
    Moved(AskId, u64),
    /// There is a token to go on with, after [`Output::Token`].
    Token,
    /// It is time.
    Timeout,
}

/// What a machine wants.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Output {
    /// Ask this. At most [`MAX_FLIGHTS`] and one are under way at once, and chunks are to be sent in the order in which they are asked, on one connection.
    Ask(AskId, Ask),
    /// Stop this ask; what may come of it is not looked at.
    Drop(AskId),
    /// Find a token that is good, then say [`Input::Token`].
    Token,
    /// Keep the machine's state where it survives a restart; of a download, after what was written is on disk.
    Save,
    /// Something happened.
    Event(Event),
    /// Nothing more until an input comes, or it is this time; never without either.
    Wait(Option<Instant>, WaitReason),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This much is safe.
    Progress(Progress),
    /// It goes on from here after a break.
    Resumed {
        /// Bytes that were there.
        offset: u64,
    },
    /// It is tried again after a while.
    Waiting {
        /// Why.
        fault: Fault,
        /// How long.
        wait: Duration,
    },
    /// It is over. Comes once, last.
    Ended(Result<(), Failure>),
}

/// How far a transfer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are safe: stored by the server, or written here from the beginning on.
    pub confirmed: u64,
    /// Bytes that are on their way beyond that.
    pub moving: u64,
    /// Bytes there are.
    pub total: u64,
    /// Bytes that were moved more than once.
    pub again: u64,
}

/// What a machine waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// Answers, and until when they are not lost.
    Answers,
    /// A token.
    Token,
    /// The end of a pause after a fault.
    Pause,
    /// Nothing: it is over.
    Over,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
