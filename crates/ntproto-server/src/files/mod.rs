//! Where files are kept: what the web machine asks of a store of files, done on threads that may block.
//!
//! | module | is |
//! | --- | --- |
//! | [`local`] | a folder |
#![cfg_attr(feature = "s3", doc = "| [`s3`] | an S3-compatible object store |")]
//! | [`sweep`] | what a crash left behind, removed at the start |
//!
//! Two kinds of things are kept: *partial files* by the number of their upload, and *contents* by the SHA-256 of what they hold. Neither
//! name comes from a client.

pub mod local;
#[cfg(feature = "s3")]
pub mod s3;
pub mod sweep;

use std::fmt;
use std::path::PathBuf;

use ntproto_web::{ContentId, FileError, FileId, FileOp, FileOutcome};

/// Works on files at once: disks gain little by more, and threads cost memory. Those of the runtime are for others too.
pub const MAX_WORKING: usize = 16;

/// A store of files. Its calls block, and may come from several threads at once; for one partial file there is never
/// more than one at once, but for a [`Write`](FileOp::Write) beside a [`Sync`](FileOp::Sync) of what was written before.
pub trait FileStore: Send + Sync + 'static {
    /// Does one work.
    ///
    /// # Errors
    /// See [`FileError`]. After [`FileError::Io`] what was written to that partial file since its last
    /// [`FileOp::Sync`] is in doubt.
    fn perform(&self, op: FileOp) -> Result<FileOutcome, FileError>;

    /// Names everything that is there, in any order, until `each` says `false`.
    ///
    /// # Errors
    /// It can't be listed.
    fn list(&self, each: &mut dyn FnMut(Kept) -> bool) -> Result<(), FileError>;
}

/// Something a store of files keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kept {
    /// A partial file.
    Partial(FileId),
    /// A content, and its bytes.
    Content(ContentId, u64),
}

/// When what is written to files is made durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before anybody is told that it is there: neither a crash of the server nor one of the machine loses what was
    /// confirmed.
    #[default]
    Always,
    /// When the system likes: a crash of the server loses nothing, one of the machine may.
    Never,
}

/// Why a store of files can't be opened. The text says what to do about it.
#[derive(Debug)]
#[non_exhaustive]
pub enum FilesError {
    /// A folder can't be made or read.
    Folder(PathBuf, std::io::Error),
    /// The settings name no store that could be used.
    Settings(String),
    /// It can't be reached, or refuses.
    Refused(String),
    /// The list of what is there and the store's records can't be compared.
    Sweep(String),
}

impl fmt::Display for FilesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path, e) => {
                write!(f, "the folder of files {}: {e}; correct files_dir or its mode", path.display())
            }
            Self::Settings(what) => write!(f, "{what}"),
            Self::Refused(why) => write!(f, "the store of files can't be used: {why}"),
            Self::Sweep(why) => write!(f, "files and the store can't be compared: {why}"),
        }
    }
}

impl std::error::Error for FilesError {}

/// The bytes of a name, if it is one.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let letters = text.as_bytes();
    // `from_str_radix` would take a sign.
    let ours =
        letters.len() == 2 * N && letters.iter().all(|letter| matches!(letter, b'0'..=b'9' | b'a'..=b'f'));
    if !ours {
        return None;
    }
    let mut bytes = [0; N];
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * n..2 * n + 2)?, 16).ok()?;
    }
    Some(bytes)
}
