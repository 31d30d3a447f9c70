//! What a request about files asks for, before anybody is asked about it.

use http::HeaderMap;
use ntproto_core::ids::{ConversationId, FileId};

use crate::dialect::Dialect;
use crate::digest::Expected;
use crate::download::Wanted;
use crate::problem::Code;

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Plan {
    Create(Box<Create>),
    Append(Box<Append>),
    Status(FileId, Box<Wanted>),
    Delete(FileId),
    Get(FileId, Box<Wanted>),
}

/// An upload to begin.
#[derive(Debug)]
pub(crate) struct Create {
    /// The client's name for it, as the store knows it.
    pub(crate) upload_id: Option<[u8; 16]>,
    pub(crate) conversation: ConversationId,
    pub(crate) length: Option<u64>,
    pub(crate) digest: Option<[u8; 32]>,
    /// Its first bytes come along.
    pub(crate) body: Option<Append>,
}

/// Bytes to write.
#[derive(Debug)]
pub(crate) struct Append {
    /// The upload; of a creation, not known yet.
    pub(crate) file: FileId,
    /// Where they begin.
    pub(crate) start: u64,
    /// Where they end, if that was said.
    pub(crate) end: Option<u64>,
    /// The length of the whole, if that was said.
    pub(crate) length: Option<u64>,
    /// The whole ends where they do.
    pub(crate) last: bool,
    /// It may wait for those before it.
    pub(crate) chains: bool,
    pub(crate) expected: Expected,
    /// SHA-256 of the whole, if that was said.
    pub(crate) whole: Option<[u8; 32]>,
    pub(crate) dialect: Dialect,
}

impl Append {
    /// Whether an upload that has all its bytes with these is complete.
    pub(crate) const fn completes(&self) -> bool {
        self.last || !self.dialect.says_when()
    }

    /// What it is refused with when the upload is complete: if it brings bytes, and if it turns out to bring none.
    pub(crate) fn after_the_end(&self) -> (Code, Code) {
        // The draft: bytes contradict the length, and only nothing at all is one word too many.
        let bytes = match self.end {
            Some(end) if end == self.start => Code::Completed,
            _ if self.dialect.gives_up() => Code::LengthMismatch,
            _ => Code::Completed,
        };
        (bytes, if self.end.is_none() { Code::Completed } else { bytes })
    }
}

/// The one value of a header. `Err`: it is there twice, or can't be read.
pub(crate) fn one<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, ()> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            value.to_str().map(|text| Some(text.trim_matches([' ', '\t']))).map_err(|_| ())
        }
        (Some(_), Some(_)) => Err(()),
    }
}
