//! Files of a session, uploaded and downloaded over any connection ([`Http`]) on any runtime.
//!
//! The machines of [`ntproto_core::transfer`] decide; here files are read and written, sealed and opened on the way, and requests sent.
//!
//! ```text
//! Source ── sealed parts ──▶ request bodies ──┐                 ┌──▶ responses ── opened parts ──▶ Sink
//!   (pread)                                   ├── Http, Host ───┤                               (pwrite)
//! Upload  ◀── answers ──── run ── asks ───────┘                 └── Download
//! ```
//!
//! | file | is |
//! | --- | --- |
//! | [`Host`], [`Watch`] | what an application brings: connections, tokens, a place for the state |
//! | [`reach`] | a `Host`: the server of a session |
//! | [`place()`] | how a whole file gets its name |
//! | [`source`] | a file as it is uploaded |
//! | [`sink`] | a file as it is downloaded |
//! | `dialect` | requests and answers of the specification's chapter "Files" |
//! | `run` | asks become tasks, their answers inputs |

use std::fmt;
use std::io;
use std::sync::Arc;

use ntproto_core::transfer::{Event, Failure, Progress};
use zeroize::Zeroizing;

use crate::client::{Http, HttpError, Pending};

mod dialect;
mod download;
pub mod place;
pub mod reach;
mod run;
pub mod sink;
pub mod source;
#[cfg(test)]
mod still;
mod upload;

pub use download::download;
pub use place::{PlaceError, place};
pub use reach::Reach;
pub use sink::Sink;
pub use source::Source;
pub use upload::upload;

/// What reaches the server.
pub trait Host: Send + Sync + 'static {
    /// Where requests go: `https://example.com:4433`, without a path.
    fn base(&self) -> String;

    /// A new connection.
    fn connect(&self) -> Pending<'_, Result<Arc<dyn Http>, HttpError>>;

    /// The last connection is over. `carried`: bytes of the file got safe while it was there; else it broke, or fell silent, before any
    /// did. Who chooses among ways leaves one that carries nothing.
    fn over(&self, carried: bool) {
        let _ = carried;
    }

    /// What stands behind `Authorization: Bearer ` now; `None`: there is no session at the moment.
    fn token(&self) -> Pending<'_, Option<Zeroizing<String>>>;

    /// The last token was refused: its session may have ended without having noticed, and is to look. Another token is asked for then.
    fn refused(&self) -> Pending<'_, ()> {
        Box::pin(async {})
    }
}

/// Who looks on, and keeps the state `S`.
pub trait Watch<S> {
    /// Keeps the state where it survives a restart: on disk, synced, when it returns.
    ///
    /// # Errors
    /// It could not be kept; the transfer ends.
    fn save(&mut self, state: &S) -> io::Result<()>;

    /// How far it is. Comes often.
    fn progress(&mut self, progress: Progress) {
        let _ = progress;
    }

    /// Something happened.
    fn event(&mut self, event: &Event) {
        let _ = event;
    }
}

/// Why a transfer ended without its file.
#[derive(Debug)]
pub enum TransferError {
    /// What the server said, or did not say.
    Failed(Failure),
    /// The file here can't be read or written, or the state can't be kept.
    Io(io::Error),
    /// The file was changed while it was uploaded: it is another one, and needs another key and another upload.
    Changed,
    /// The runtime shuts down.
    Runtime,
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => failure.fmt(f),
            Self::Io(error) => error.fmt(f),
            Self::Changed => f.write_str("the file was changed while it was uploaded"),
            Self::Runtime => f.write_str("the runtime shuts down"),
        }
    }
}

impl std::error::Error for TransferError {}

impl From<io::Error> for TransferError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
