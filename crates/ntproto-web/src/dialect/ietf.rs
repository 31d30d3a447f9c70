//! IETF resumable uploads (draft-ietf-httpbis-resumable-upload), interop versions 5 to 8, without 104.
//!
//! | version | drafts | what is new in it |
//! | --- | --- | --- |
//! | 5 | 03 | |
//! | 6 | 04, 05 | a type for what is appended, `Upload-Limit` (`expires`), `Upload-Length`, two problem types |
//! | 7 | 06 to 08 | fields have types, `max-age`, a third problem type, an append is answered with `Upload-Complete` |
//! | 8 | 09 to 12 | limits are told with every 413; an upload that gets too long ends |

use core::time::Duration;

use http::{HeaderMap, StatusCode, header};

use super::count;
use crate::config::WebConfig;
use crate::plan::{Append, one};
use crate::problem::{Code, Problem};

const MEDIA_TYPE: &str = "application/partial-upload";
const OFFSET: &str = "https://iana.org/assignments/http-problem-types#mismatching-upload-offset";
const COMPLETED: &str = "https://iana.org/assignments/http-problem-types#completed-upload";
const LENGTH: &str = "https://iana.org/assignments/http-problem-types#inconsistent-upload-length";
/// A creation, or an append since version 7, without it.
pub(super) const NOT_SAID: Problem = Problem::new(Code::BadRequest).detail("Upload-Complete is ?0 or ?1");

/// An interop version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    V5,
    V6,
    V7,
    V8,
}

impl Version {
    pub(super) const LATEST: Self = Self::V8;

    pub(super) fn read(text: &str) -> Option<Self> {
        [Self::V5, Self::V6, Self::V7, Self::V8].into_iter().find(|version| version.text() == text)
    }

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::V5 => "5",
            Self::V6 => "6",
            Self::V7 => "7",
            Self::V8 => "8",
        }
    }

    /// The status of an append that was taken.
    pub(super) const fn taken(self, complete: bool) -> StatusCode {
        match self {
            Self::V5 | Self::V6 => StatusCode::CREATED,
            Self::V7 | Self::V8 if complete => StatusCode::OK,
            Self::V7 | Self::V8 => StatusCode::NO_CONTENT,
        }
    }

    /// `Upload-Limit`, with the time that is left.
    pub(super) fn limits(self, config: &WebConfig, left: Option<Duration>) -> Option<String> {
        let name = match self {
            Self::V5 => return None,
            Self::V6 => "expires",
            Self::V7 | Self::V8 => "max-age",
        };
        let age = left.map_or_else(String::new, |left| format!(", {name}={}", left.as_secs()));
        Some(format!("max-size={}{age}", config.max_file))
    }

    pub(super) fn gives_up(self) -> bool {
        self >= Self::V8
    }

    /// Whether a request that is no append may not say this.
    pub(super) fn forbids(self, headers: &HeaderMap) -> bool {
        let said = |name| headers.contains_key(name);
        self < Self::V7 && (said("upload-offset") || said("upload-complete"))
    }

    /// `Upload-Length`.
    pub(super) fn length(self, headers: &HeaderMap) -> Result<Option<u64>, Problem> {
        match count(headers, "upload-length") {
            // A field of another type is to be ignored.
            Err(_) if self >= Self::V7 => Ok(None),
            other => other,
        }
    }

    /// A refusal as this draft says it.
    pub(super) fn problem(self, problem: Problem) -> Problem {
        // All of them know one status for lengths that do not fit.
        let code = if problem.code == Code::BeyondLength { Code::LengthMismatch } else { problem.code };
        let (kind, since) = match code {
            Code::OffsetBehind | Code::OffsetAhead => (OFFSET, Self::V6),
            Code::Completed => (COMPLETED, Self::V6),
            Code::LengthMismatch => (LENGTH, Self::V7),
            _ => return problem,
        };
        let kind = if self >= since { kind } else { problem.kind };
        Problem { code, kind, ..problem }
    }

    /// What is told with a refusal.
    pub(super) fn told_of(self, problem: &Problem, config: &WebConfig) -> Vec<(&'static str, String)> {
        let mut told = Vec::new();
        if let Some(complete) = problem.complete
            && self >= Self::V7
        {
            told.push(("upload-complete", if complete { "?1" } else { "?0" }.to_owned()));
        }
        if problem.code == Code::TooLarge
            && let Some(limits) = self.limits(config, Some(config.upload_lifetime))
        {
            told.push(("upload-limit", limits));
        }
        told
    }
}

/// `Upload-Complete`, if it is there.
pub(super) fn complete(headers: &HeaderMap) -> Result<Option<bool>, Problem> {
    let value = one(headers, "upload-complete").map_err(|()| Code::BadRequest)?;
    match value.and_then(|value| value.split(';').next()).map(str::trim_end) {
        Some("?1") => Ok(Some(true)),
        Some("?0") => Ok(Some(false)),
        Some(_) => Err(NOT_SAID),
        None => Ok(None),
    }
}

pub(super) fn append(
    append: Append,
    version: Version,
    headers: &HeaderMap,
    length: Option<u64>,
) -> Result<Append, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()?.split(';').next());
    let typed = kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case(MEDIA_TYPE));
    if version >= Version::V6 && !typed {
        return Err(Code::MediaType.into());
    }
    let start = count(headers, "upload-offset")?.ok_or(Code::BadRequest)?;
    let end = match length {
        Some(length) => Some(start.checked_add(length).ok_or(Code::BadRequest)?),
        None => None,
    };
    let last = match complete(headers)? {
        Some(last) => last,
        // The older drafts have examples without it.
        None if version < Version::V7 => false,
        None => return Err(NOT_SAID),
    };
    let said = version.length(headers)?;
    if let (true, Some(end), Some(said)) = (last, end, said)
        && end != said
    {
        return Err(Code::LengthMismatch.into());
    }
    Ok(Append { start, end, last, length: said, ..append })
}
