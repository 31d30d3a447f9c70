//! Settings and limits.

use core::time::Duration;

use ntproto_hub::Rate;

/// Bytes of a body that may come beyond those given back: one write, and the next one on its way.
pub const WINDOW: usize = 256 * 1024;
/// Bytes that are written to a file at once: large enough that a thread's errand is worth it.
pub const WRITE_BYTES: usize = 128 * 1024;
/// Bytes of a content that are read at once.
pub const READ_BYTES: usize = 128 * 1024;
/// Bytes written after which they are made durable and the offset is stored: what a crash of the server costs at most, beside
/// what is on its way.
pub const SYNC_BYTES: u64 = 1024 * 1024;
/// Bytes that may be written and not durable: a disk that takes long for one sync holds the client back.
pub const UNSYNCED_BYTES: u64 = 4 * SYNC_BYTES;
/// Of an upload whose length nobody knows, bytes of a body with a digest are charged to the account before they are written: so many
/// at once where the body's end is not known either. A transaction for each eighth of a second at a gigabit a second.
pub const RESERVE_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes of a body nobody wants that are read before the answer: clients that write before they read would report a broken
/// stream instead of the answer. More than a chunk.
pub const DRAIN_BYTES: u64 = 8 * 1024 * 1024;
/// How long reading them may take.
pub const DRAIN_TIME: Duration = Duration::from_secs(10);
/// Requests that wait for the one before them, of one upload and on one connection: chunks that are in flight. What is not read of
/// them takes of the connection's window, which is larger than all of theirs: the one before must get on.
pub const MAX_WAITING: usize = 8;
/// For each exchange that may be, things that the machine may wait for: its own, a write and a sync of an upload that its client
/// left, and one for sweeps. Above it new exchanges are answered 503, so what left clients leave behind is bounded.
pub const TASKS_PER_EXCHANGE: usize = 4;
/// How long a request waits for the one before it: the time of a large chunk on a slow line.
pub const WAIT_TIME: Duration = Duration::from_secs(120);
/// In each such time a body brings [`BODY_LEAST`] bytes, as far as they are taken; else its request is over. The default of
/// [`WebConfig::body_time`].
pub const BODY_TIME: Duration = Duration::from_secs(30);
/// About a thousand bits a second.
pub const BODY_LEAST: u64 = 4 * 1024;
/// How long a client may take to read a piece of an answer.
pub const READ_TIME: Duration = Duration::from_secs(60);
/// The longest path with its query: ours have less than 200 bytes.
pub const MAX_TARGET: usize = 2 * 1024;
/// Bytes of `Upload-Metadata`, which is read for two short values.
pub const MAX_METADATA: usize = 4 * 1024;
/// Letters of a client's `upload_id`.
pub const MAX_UPLOAD_ID: usize = 128;
/// Expired uploads and removed files that one transaction looks at.
pub const SWEEP_BATCH: u32 = 64;
/// Between two looks for them.
pub const SWEEP_TIME: Duration = Duration::from_secs(60);

/// Requests of strangers from one network: a company behind one address that comes back, all at once. Each costs less than
/// a tenth of a millisecond.
pub const STRANGERS: Rate = Rate::per_second(1_024, 128);

/// Settings of the HTTP surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebConfig {
    /// Exchanges at once; others are answered 503. Each holds at most [`WINDOW`] bytes of its body. So are exchanges beyond what
    /// [`TASKS_PER_EXCHANGE`] says, and those while as many bytes as all bodies may hold are on their way to the disk.
    pub max_exchanges: usize,
    /// Bytes of one file.
    pub max_file: u64,
    /// Bytes of an account: files that are whole, and what its uploads have reserved.
    pub quota: u64,
    /// Uploads that an account may have begun and not finished.
    pub max_uploads: u32,
    /// An upload that nothing came for this long is removed.
    pub upload_lifetime: Duration,
    /// In each such time a body brings [`BODY_LEAST`] bytes.
    pub body_time: Duration,
    /// How often requests without a token may come from one network; `None`: there is no limit.
    pub strangers: Option<Rate>,
}

impl Default for WebConfig {
    fn default() -> Self {
        Self {
            max_exchanges: 1_024,
            max_file: 4 << 30,
            quota: 16 << 30,
            max_uploads: 256,
            upload_lifetime: Duration::from_secs(24 * 60 * 60),
            body_time: BODY_TIME,
            strangers: Some(STRANGERS),
        }
    }
}
