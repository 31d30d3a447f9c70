//! What the store knows of files: uploads, files, the contents they hold, and what is to be removed. The bytes lie elsewhere.
//!
//! ```text
//! Create ─▶ upload ── Claim, Progress … ─▶ Seal ─▶ Complete ─▶ file ─▶ Delete
//!             └────────── Delete, Sweep ──────────────▶ doomed ◀───────┘
//! ```
//! Whatever holds bytes on the disk is named in the store as long as it does: by an upload, by a content, or by
//! what is doomed. So no crash leaves bytes that nobody knows of.

use alloc::vec::Vec;

use ntproto_core::ids::{ConversationId, FileId, Uin};
use ntproto_core::time::UnixMillis;

/// What an account asks about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileAsk {
    /// Begins an upload, or finds the one of this `upload_id`. Answers [`FileAnswer::Made`], [`FileAnswer::Upload`] or
    /// [`FileAnswer::File`].
    Create(NewUpload),
    /// A writer comes: writers before it are none any more. Answers [`FileAnswer::Upload`], or
    /// [`FileAnswer::File`] if it is whole.
    Claim {
        /// The upload, which is the account's.
        file: FileId,
    },
    /// Finds an upload of the account, or a file of a conversation it is in. Answers like [`Claim`](Self::Claim).
    Find {
        /// The file.
        file: FileId,
    },
    /// Ends an upload, or removes a file, which is the account's. Answers [`FileAnswer::Done`].
    Delete {
        /// The file.
        file: FileId,
    },
}

/// An upload about to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUpload {
    /// 16 random bytes.
    pub file: FileId,
    /// The account's name for it.
    pub upload_id: [u8; 16],
    /// Where the file belongs. The account must be in it.
    pub conversation: ConversationId,
    /// How long it will be, if that is known.
    pub length: Option<u64>,
    /// What the SHA-256 of the whole must be.
    pub digest: Option<[u8; 32]>,
    /// When it ends, if nothing comes.
    pub expires: UnixMillis,
    /// Bytes an account may have.
    pub quota: u64,
    /// Uploads an account may have.
    pub max_uploads: u32,
}

/// What the server does with uploads by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileWork {
    /// Bytes up to here are durable. Refused as [`Stale`](super::StoreError::Stale) unless `epoch` is the newest
    /// writer's; an offset that would go back stays. Answers [`FileAnswer::Upload`].
    Progress {
        /// The upload.
        file: FileId,
        /// The writer.
        epoch: u64,
        /// The offset.
        offset: u64,
        /// The length, if it was not known.
        length: Option<u64>,
        /// Without a length: bytes up to here are charged to the account, though they do not count; 0: none beyond the offset.
        reserve: u64,
        /// When the upload ends now, if nothing more comes.
        expires: UnixMillis,
        /// Bytes its account may have.
        quota: u64,
    },
    /// The upload is whole and this is its SHA-256: its content is about to be kept. Answers
    /// [`FileAnswer::Upload`].
    Seal {
        /// The upload.
        file: FileId,
        /// The writer.
        epoch: u64,
        /// Its content.
        content: [u8; 32],
    },
    /// The content of a sealed upload is durable: it is a file. Answers [`FileAnswer::File`].
    Complete {
        /// The upload.
        file: FileId,
        /// The writer.
        epoch: u64,
        /// Server time.
        now: UnixMillis,
    },
    /// Ends uploads whose time is over, and lists what is doomed. Answers [`FileAnswer::Doomed`].
    Sweep {
        /// Server time.
        now: UnixMillis,
        /// At most so many of each.
        limit: u32,
        /// What is doomed behind this one, in the order of lists before; `None`: from the first on.
        after: Option<Doomed>,
    },
    /// These were removed. Answers [`FileAnswer::Done`].
    Swept(Vec<Doomed>),
}

/// Bytes on the disk that nobody needs any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Doomed {
    /// What was written of an upload.
    Partial(FileId),
    /// A content that no file holds, by its SHA-256.
    Content([u8; 32]),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileAnswer {
    /// An upload that is new.
    Made(UploadState),
    /// An upload.
    Upload(UploadState),
    /// A file.
    File(FileState),
    /// It is so.
    Done,
    /// What is to be removed.
    Doomed {
        /// These.
        doomed: Vec<Doomed>,
        /// And more, or more uploads whose time is over.
        more: bool,
    },
}

/// An upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadState {
    /// Its number.
    pub file: FileId,
    /// Whose it is.
    pub uin: Uin,
    /// Where the file will belong.
    pub conversation: ConversationId,
    /// How long it will be.
    pub length: Option<u64>,
    /// Bytes up to here are durable.
    pub offset: u64,
    /// Bytes up to here may be on the disk.
    pub reserved: u64,
    /// Its newest writer.
    pub epoch: u64,
    /// When it ends.
    pub expires: UnixMillis,
    /// What the SHA-256 of the whole must be.
    pub digest: Option<[u8; 32]>,
    /// It is sealed, and this is its content.
    pub content: Option<[u8; 32]>,
}

/// A file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileState {
    /// Its number.
    pub file: FileId,
    /// Whose it is.
    pub uin: Uin,
    /// Where it belongs.
    pub conversation: ConversationId,
    /// SHA-256 of its bytes.
    pub content: [u8; 32],
    /// How many there are.
    pub size: u64,
    /// Since when.
    pub stored: UnixMillis,
}
