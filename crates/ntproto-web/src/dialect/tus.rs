//! tus 1.0.0.

use http::{HeaderMap, header};

use super::count;
use crate::plan::{Append, one};
use crate::problem::{Code, Problem};

pub(super) const VERSION: &str = "1.0.0";
pub(super) const EXTENSIONS: &str =
    "creation,creation-with-upload,creation-defer-length,checksum,expiration,termination";
pub(super) const ALGORITHMS: &str = "sha1,sha256";
const MEDIA_TYPE: &str = "application/offset+octet-stream";

/// Whether the body is of the type that tus has bodies of.
fn typed(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().eq_ignore_ascii_case(MEDIA_TYPE.as_bytes()))
}

pub(super) fn append(append: Append, headers: &HeaderMap, length: Option<u64>) -> Result<Append, Problem> {
    if !typed(headers) {
        return Err(Code::MediaType.into());
    }
    let start = count(headers, "upload-offset")?.ok_or(Code::BadRequest)?;
    let end = match length {
        Some(length) => Some(start.checked_add(length).ok_or(Code::BadRequest)?),
        None => None,
    };
    // The length, where the creation left it open.
    let length = count(headers, "upload-length")?;
    Ok(Append { start, end, length, ..append })
}

/// What a creation must say.
pub(super) fn created(headers: &HeaderMap, length: Option<u64>, end: bool) -> Result<(), Problem> {
    let deferred = match one(headers, "upload-defer-length") {
        Ok(None) => false,
        Ok(Some("1")) => true,
        _ => return Err(Code::BadRequest.into()),
    };
    if length.is_some() == deferred {
        return Err(Problem::new(Code::BadRequest).detail("Upload-Length, or Upload-Defer-Length: 1"));
    }
    if headers.contains_key("upload-concat") {
        return Err(Problem::new(Code::BadRequest).detail("concatenation is not spoken"));
    }
    if !end && !typed(headers) {
        return Err(Code::MediaType.into());
    }
    Ok(())
}
