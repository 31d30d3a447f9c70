//! IETF resumable uploads (draft-ietf-httpbis-resumable-upload), interop versions 5 to 8, without 104.

use http::{HeaderMap, header};

use super::count;
use crate::config::WebConfig;
use crate::plan::{Append, one};
use crate::problem::{Code, Problem};

/// From here on a body that goes on has a type of its own.
const TYPED_FROM: u8 = 6;
const MEDIA_TYPE: &str = "application/partial-upload";

pub(super) fn version(text: &str) -> Option<u8> {
    ["5", "6", "7", "8"].iter().position(|version| *version == text).map(|at| at as u8 + 5)
}

/// What the drafts call a refusal.
pub(super) const fn kind(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::OffsetBehind | Code::OffsetAhead => {
            "https://iana.org/assignments/http-problem-types#mismatching-upload-offset"
        }
        Code::Completed => "https://iana.org/assignments/http-problem-types#completed-upload",
        Code::LengthMismatch | Code::BeyondLength => {
            "https://iana.org/assignments/http-problem-types#inconsistent-upload-length"
        }
        _ => return None,
    })
}

pub(super) fn limits(config: &WebConfig) -> String {
    format!("max-size={}, max-age={}", config.max_file, config.upload_lifetime.as_secs())
}

/// `Upload-Complete`.
pub(super) fn complete(headers: &HeaderMap) -> Result<bool, Problem> {
    let value = one(headers, "upload-complete").map_err(|()| Code::BadRequest)?;
    match value.and_then(|value| value.split(';').next()).map(str::trim_end) {
        Some("?1") => Ok(true),
        Some("?0") => Ok(false),
        _ => Err(Problem::new(Code::BadRequest).detail("Upload-Complete is ?0 or ?1")),
    }
}

pub(super) fn append(
    append: Append,
    version: u8,
    headers: &HeaderMap,
    length: Option<u64>,
) -> Result<Append, Problem> {
    let kind = headers.get(header::CONTENT_TYPE);
    let typed = kind.is_some_and(|kind| kind.as_bytes().eq_ignore_ascii_case(MEDIA_TYPE.as_bytes()));
    if version >= TYPED_FROM && !typed {
        return Err(Code::MediaType.into());
    }
    let start = count(headers, "upload-offset")?.ok_or(Code::BadRequest)?;
    let end = match length {
        Some(length) => Some(start.checked_add(length).ok_or(Code::BadRequest)?),
        None => None,
    };
    let last = complete(headers)?;
    let said = count(headers, "upload-length")?;
    if let (true, Some(end), Some(said)) = (last, end, said)
        && end != said
    {
        return Err(Code::LengthMismatch.into());
    }
    Ok(Append { start, end, last, length: said, ..append })
}
