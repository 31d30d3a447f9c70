//! What goes into the machine and what comes out of it.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use crate::handshake::Bootstrap;
use bytes::Bytes;
use http::{Request, Response};
use ntproto_core::ids::FileId;
use ntproto_core::session::bearer::Bearer;
use ntproto_core::time::Instant;
use ntproto_hub::Who;
use ntproto_hub::store::{OpId, Outcome, StoreError, Txn};

/// One request and its answer, as the host numbers them. A number is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId(pub u64);

/// The HTTP connection a request came on. What came on one, came from one client; a number is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CarrierId(pub u64);

/// What a file holds, by its SHA-256: the same bytes are stored once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId(pub [u8; 32]);

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentId({self})")
    }
}

/// What the host brings.
#[derive(Debug)]
pub enum Input {
    /// A request begins.
    Head {
        /// Its number.
        exchange: ExchangeId,
        /// The connection it came on.
        carrier: CarrierId,
        /// Where that comes from.
        remote: SocketAddr,
        /// Its head. The URI is the target as it came: path and query.
        request: Request<()>,
        /// It has no body.
        end: bool,
    },
    /// A piece of its body. The host brings no more than [`WINDOW`](crate::config::WINDOW) bytes beyond those that
    /// [`Output::Consumed`] gave back.
    Data {
        /// The exchange.
        exchange: ExchangeId,
        /// The bytes.
        data: Bytes,
    },
    /// Its body is whole.
    End {
        /// The exchange.
        exchange: ExchangeId,
    },
    /// Its client is gone, or reads no answer. None comes after the end of the answer or [`Output::Reset`].
    Gone {
        /// The exchange.
        exchange: ExchangeId,
    },
    /// What [`Output::Body`] gave has left: there is room for the next piece.
    Room {
        /// The exchange.
        exchange: ExchangeId,
    },
    /// A transaction has ended, and is durable. They end in the order they were asked for.
    StoreDone {
        /// Its number.
        op: OpId,
        /// How.
        result: Result<Outcome, StoreError>,
    },
    /// A work on files has ended.
    FileDone {
        /// Its number.
        op: OpId,
        /// How.
        result: Result<FileOutcome, FileError>,
    },
    /// Whom a request acts for.
    Bearer {
        /// The question's number.
        op: OpId,
        /// Nobody, if the session is not there.
        result: Option<Who>,
    },
    /// What clients are told of the server, from now on. Until it comes they are told to come again.
    Bootstrap(Box<Bootstrap>),
    /// Whether the server can do its work: what `/readyz` says. It can't before this comes.
    Ready(bool),
    /// The deadline of the last [`Output::Wait`] passed.
    Timeout,
}

/// What the machine wants next.
#[derive(Debug)]
#[must_use]
pub enum Output {
    /// The answer begins.
    Respond {
        /// The exchange.
        exchange: ExchangeId,
        /// Its head.
        head: Response<()>,
        /// It has no body.
        end: bool,
    },
    /// A piece of the answer's body. The next comes after [`Input::Room`].
    Body {
        /// The exchange.
        exchange: ExchangeId,
        /// The bytes.
        data: Bytes,
        /// It is the last.
        end: bool,
    },
    /// The request's body is wanted, and its client waits to hear so (`Expect: 100-continue`). A request that is refused is
    /// answered without this.
    Continue {
        /// The exchange.
        exchange: ExchangeId,
    },
    /// So many bytes of the request's body are done with.
    Consumed {
        /// The exchange.
        exchange: ExchangeId,
        /// How many.
        bytes: usize,
    },
    /// Break it off: what is left of the request is not wanted (an answer that ended before this still goes out whole), or the
    /// answer can't be finished.
    Reset {
        /// The exchange.
        exchange: ExchangeId,
    },
    /// Run this on the store; answer with [`Input::StoreDone`].
    Store {
        /// Its number.
        op: OpId,
        /// The transaction.
        txn: Txn,
    },
    /// Do this with files; answer with [`Input::FileDone`]. Several may be under way, in any order; for one file
    /// never two writes.
    File {
        /// Its number.
        op: OpId,
        /// What.
        what: FileOp,
    },
    /// Whom does this act for? Answer with [`Input::Bearer`].
    Bearer {
        /// The question's number.
        op: OpId,
        /// What the request showed.
        shown: Bearer,
    },
    /// Something for logs and counters.
    Event(WebEvent),
    /// Nothing before `at`, unless an input comes.
    Wait {
        /// The instant to call again; `None`: no timer runs.
        at: Option<Instant>,
    },
}

/// What a store of files does. It keeps two kinds: *partial files* by the number of their upload, and *contents* by
/// their hash.
#[derive(Clone, PartialEq, Eq)]
pub enum FileOp {
    /// Writes these pieces one behind the other from an offset on, which may lie anywhere. Makes the partial file if need be.
    /// [`FileOutcome::Done`].
    Write {
        /// The partial file.
        file: FileId,
        /// Where the first piece begins.
        offset: u64,
        /// The bytes.
        data: Vec<Bytes>,
    },
    /// Makes durable what was written before, and that the file is there. [`FileOutcome::Done`].
    Sync {
        /// The partial file.
        file: FileId,
    },
    /// SHA-256 of the first `length` bytes. [`FileOutcome::Hashed`]. With length 0 the file need not be there.
    Hash {
        /// The partial file.
        file: FileId,
        /// How many bytes.
        length: u64,
    },
    /// Makes the first `length` bytes of a partial file a content, durably. The partial file stays. A content that
    /// is there already is left as it is. [`FileOutcome::Done`].
    Keep {
        /// The partial file.
        file: FileId,
        /// The content.
        content: ContentId,
        /// How many bytes.
        length: u64,
    },
    /// Reads a part of a content, no less than asked for. [`FileOutcome::Data`].
    Read {
        /// The content.
        content: ContentId,
        /// From here on.
        offset: u64,
        /// So many bytes.
        length: usize,
    },
    /// Removes what lies behind the first `length` bytes of a partial file, if there is any of it, durably. [`FileOutcome::Done`].
    Cut {
        /// The partial file.
        file: FileId,
        /// How many bytes stay.
        length: u64,
    },
    /// Removes a partial file, if it is there. [`FileOutcome::Done`].
    Discard {
        /// The partial file.
        file: FileId,
    },
    /// Removes a content, if it is there. [`FileOutcome::Done`].
    Delete {
        /// The content.
        content: ContentId,
    },
}

impl fmt::Debug for FileOp {
    /// Without what is written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { file, offset, data } => {
                let bytes: usize = data.iter().map(Bytes::len).sum();
                write!(f, "Write({file}, {offset}, {bytes} bytes)")
            }
            Self::Sync { file } => write!(f, "Sync({file})"),
            Self::Hash { file, length } => write!(f, "Hash({file}, {length})"),
            Self::Keep { file, content, length } => write!(f, "Keep({file}, {content}, {length})"),
            Self::Read { content, offset, length } => write!(f, "Read({content}, {offset}, {length})"),
            Self::Cut { file, length } => write!(f, "Cut({file}, {length})"),
            Self::Discard { file } => write!(f, "Discard({file})"),
            Self::Delete { content } => write!(f, "Delete({content})"),
        }
    }
}

/// What came of a [`FileOp`].
#[derive(Clone, PartialEq, Eq)]
pub enum FileOutcome {
    /// It is so.
    Done,
    /// To [`FileOp::Hash`].
    Hashed([u8; 32]),
    /// To [`FileOp::Read`].
    Data(Bytes),
}

impl fmt::Debug for FileOutcome {
    /// Without what was read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("Done"),
            Self::Hashed(_) => f.write_str("Hashed"),
            Self::Data(data) => write!(f, "Data({} bytes)", data.len()),
        }
    }
}

/// Why a [`FileOp`] failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileError {
    /// There is no room. Of a write, nothing is counted.
    Full,
    /// The store of files is slower than what comes, and holds as much as it may. Of a write, nothing is counted.
    Busy,
    /// There is no such file, or it is shorter than that.
    NotFound,
    /// The store of files failed: what was written since the last [`FileOp::Sync`] may be lost.
    Io,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "there is no room for files",
            Self::Busy => "the store of files is slower than what comes",
            Self::NotFound => "no such file",
            Self::Io => "the store of files failed",
        })
    }
}

impl core::error::Error for FileError {}

/// What happened, for logs and counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebEvent {
    /// An exchange is over. Comes once for each.
    Done {
        /// Its number.
        exchange: ExchangeId,
        /// What it was about: one of [`Route::ALL`](crate::routes::Route::ALL)'s names.
        route: &'static str,
        /// Its method, or `other`.
        method: &'static str,
        /// The answer's status; 499: the client was gone before it.
        status: u16,
        /// From the first to the last of it.
        took: Duration,
        /// Bytes of the request's body that came.
        received: u64,
        /// Bytes of the answer's body that were given out.
        sent: u64,
    },
    /// An upload is whole.
    Uploaded {
        /// The file.
        file: FileId,
        /// Its bytes.
        bytes: u64,
    },
    /// An upload or a file, and what it held, was removed.
    Removed {
        /// How many files and contents.
        count: usize,
    },
    /// The store of files failed.
    FilesFailed(FileError),
    /// The store failed.
    StoreFailed(StoreError),
}
