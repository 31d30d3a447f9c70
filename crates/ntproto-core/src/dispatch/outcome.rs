//! What comes of a request.

use alloc::string::String;
use core::fmt;

use bytes::Bytes;
use ntproto_proto::Hidden;

use crate::code::ErrorCode;

/// Why a handler does not do what it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code of the error response.
    pub code: ErrorCode,
    /// A word about it for the asker, cut off at [`MAX_DETAIL`](crate::endpoint::MAX_DETAIL) bytes.
    pub detail: String,
}

impl Refusal {
    /// A refusal with a word about it.
    ///
    /// ```
    /// use ntproto_core::{code::ErrorCode, dispatch::Refusal};
    /// let refusal = Refusal::new(ErrorCode::NotFound, "no such room");
    /// assert_eq!(refusal.to_string(), "NOT_FOUND (no such room)");
    /// ```
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self { code, detail: String::new() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail.as_str() {
            "" => self.code.fmt(f),
            detail => write!(f, "{} ({detail})", self.code),
        }
    }
}

impl core::error::Error for Refusal {}

/// What came of a request.
#[derive(Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The body of the response.
    Answered(Bytes),
    /// It was not done.
    Refused(Refusal),
    /// The handler panicked. The asker learns `INTERNAL` and no more.
    Panicked,
}

impl Outcome {
    /// What the asker is told: a body, or a refusal.
    ///
    /// # Errors
    /// The refusal.
    ///
    /// ```
    /// use ntproto_core::{code::ErrorCode, dispatch::Outcome};
    /// assert_eq!(Outcome::Panicked.into_answer(), Err(ErrorCode::Internal.into()));
    /// ```
    pub fn into_answer(self) -> Result<Bytes, Refusal> {
        match self {
            Self::Answered(body) => Ok(body),
            Self::Refused(refusal) => Err(refusal),
            Self::Panicked => Err(ErrorCode::Internal.into()),
        }
    }
}

impl fmt::Debug for Outcome {
    /// Without the body, which may hold what somebody wrote.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(body) => f.debug_tuple("Answered").field(&Hidden(body)).finish(),
            Self::Refused(refusal) => f.debug_tuple("Refused").field(refusal).finish(),
            Self::Panicked => f.write_str("Panicked"),
        }
    }
}
