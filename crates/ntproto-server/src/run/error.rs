//! What can go wrong, in one line that says what to do.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use ntproto_hub::store::StoreError;

use crate::files::FilesError;
use crate::keys::KeyError;
use crate::store::OpenError;

/// Why a server did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// It can't listen there.
    Bind(SocketAddr, io::Error),
    /// The system gives no randomness.
    Entropy(String),
    /// The store can't be opened.
    Store(OpenError),
    /// The store was opened and did not work.
    Boot(StoreError),
    /// The keys can't be had.
    Keys(KeyError),
    /// The store of files can't be used.
    Files(FilesError),
    /// The system gives no thread.
    Thread(io::Error),
    /// No file for qlog can be made, or this program can't write any.
    Qlog(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(address, e) => match e.kind() {
                io::ErrorKind::AddrInUse => write!(
                    f,
                    "port {} is taken: stop what uses it, or set listen to another port",
                    address.port()
                ),
                io::ErrorKind::AddrNotAvailable => {
                    write!(f, "{} is not an address of this machine: correct listen", address.ip())
                }
                io::ErrorKind::PermissionDenied => write!(
                    f,
                    "no permission for port {}: set listen to a port from 1024 up, or allow it",
                    address.port()
                ),
                _ => write!(f, "can't listen on {address}: {e}; correct listen"),
            },
            Self::Entropy(e) => write!(f, "the system gives no randomness: {e}"),
            Self::Store(e) => e.fmt(f),
            Self::Boot(e) => write!(f, "the store can't be used: {e}"),
            Self::Keys(e) => e.fmt(f),
            Self::Files(e) => e.fmt(f),
            Self::Thread(e) => write!(f, "the system gives no thread: {e}; raise its limits"),
            Self::Qlog(e) if e.kind() == io::ErrorKind::Unsupported => {
                f.write_str("qlog_dir: this program was built without the feature qlog")
            }
            Self::Qlog(e) => write!(f, "no file can be made in qlog_dir: {e}; name another folder"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<KeyError> for StartError {
    fn from(e: KeyError) -> Self {
        Self::Keys(e)
    }
}

/// Why a server ended otherwise than it was asked to.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// The socket is of no more use.
    Socket(io::Error),
    /// The store failed, and what the disk holds is only known after another start.
    Store,
    /// The store did not end in time: its disk hangs.
    Stuck,
    /// A second signal came during the drain.
    Interrupted,
    /// The system takes no signal handlers.
    Signals(io::Error),
    /// A bug.
    Panicked(String),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(e) => write!(f, "the socket failed: {e}; start the server again"),
            Self::Store => f.write_str(
                "the store failed: check its disk and start again; no acknowledged message is lost",
            ),
            Self::Stuck => {
                f.write_str("the store did not end in time: check its disk; no acknowledged message is lost")
            }
            Self::Interrupted => f.write_str("interrupted while draining; no acknowledged message is lost"),
            Self::Signals(e) => write!(f, "the system takes no signal handlers: {e}"),
            Self::Panicked(e) => write!(f, "a bug in ntproto: {e}"),
        }
    }
}

impl std::error::Error for RunError {}
