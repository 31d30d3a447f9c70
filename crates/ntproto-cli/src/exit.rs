//! How a command ends: the exit codes scripts rely on, and the one line people read.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// An exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    /// Done.
    Ok = 0,
    /// Something local failed.
    Failed = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// The server said no.
    Refused = 3,
    /// The server could not be reached.
    Unreachable = 4,
    /// A promise was broken, or a store has faults.
    Broken = 5,
    /// A deadline passed.
    Expired = 6,
    /// Ctrl-C, as shells number it: 128 and the signal.
    Interrupted = 130,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub(crate) struct Failure {
    /// How the process ends.
    pub(crate) code: Code,
    message: String,
}

impl Failure {
    /// A failure with the line that is printed.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Something local failed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Code::Failed, message)
    }

    /// Wrong usage.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<io::Error> for Failure {
    /// For errors of standard input and output; files are named where they are opened. A reader that
    /// went away (`ntp recv | head -1`) has what it wanted.
    fn from(e: io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Code::Ok, ""),
            _ => Self::failed(format!("input or output failed: {e}")),
        }
    }
}

/// What every command returns.
pub(crate) type Outcome = Result<Code, Failure>;
