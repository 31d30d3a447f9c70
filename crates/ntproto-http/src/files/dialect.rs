//! Requests and answers of the specification's chapter "Files", in this protocol's own dialect.

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue};
use http::{Method, Request, Response, StatusCode};
use ntproto_core::ids::FileId;
use ntproto_core::transfer::upload::Plan;
use ntproto_core::transfer::{Answer, Fault};
use zeroize::Zeroizing;

use crate::client::{Incoming, Outgoing};

/// Bytes of a refusal that are read: a server's own have a few hundred.
const MAX_PROBLEM: usize = 16 * 1024;
/// How long to wait when a server that has too much to do does not say.
const BUSY: Duration = Duration::from_secs(1);

/// What stands before a token.
const SCHEME: &str = "Bearer ";

const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
const UPLOAD_COMPLETE: HeaderName = HeaderName::from_static("upload-complete");
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

fn base64(bytes: &[u8], url: bool) -> String {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let letter = |six: u32| match (six, url) {
        (62, true) => '-',
        (63, true) => '_',
        (62, false) => '+',
        (63, false) => '/',
        (six, _) => char::from(LETTERS[six as usize]),
    };
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let mut all = [0; 4];
        all[1..=three.len()].copy_from_slice(three);
        let all = u32::from_be_bytes(all);
        text.extend((0..=three.len()).map(|n| letter(all >> (18 - 6 * n) & 63)));
    }
    while !url && !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// 16 bytes out of 22 letters of base64 for URLs.
fn id(text: &str) -> Option<[u8; 16]> {
    if text.len() != 22 {
        return None;
    }
    let mut bits = 0_u128;
    let (most, last) = text.as_bytes().split_at(21);
    let six = |letter: &u8| {
        Some(match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        })
    };
    for letter in most {
        bits = bits << 6 | u128::from(six(letter)?);
    }
    let last = six(&last[0])?;
    (last & 15 == 0).then(|| (bits << 2 | u128::from(last >> 4)).to_be_bytes())
}

fn request(base: &str, method: Method, path: &str, token: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(format!("{base}/v2/files{path}"))
        .header(header::AUTHORIZATION, Bearer(token))
}

/// A token as a request shows it.
struct Bearer<'a>(&'a str);

/// Nobody prints it, and no table of a connection keeps it. Its bytes are wiped when the last request that has it is gone.
impl TryFrom<Bearer<'_>> for HeaderValue {
    type Error = InvalidHeaderValue;

    fn try_from(Bearer(token): Bearer<'_>) -> Result<Self, InvalidHeaderValue> {
        // As long as it becomes: one that grew would leave a copy.
        let mut shown = Zeroizing::new(Vec::with_capacity(SCHEME.len() + token.len()));
        shown.extend_from_slice(SCHEME.as_bytes());
        shown.extend_from_slice(token.as_bytes());
        let mut value = Self::from_maybe_shared(Bytes::from_owner(shown))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

fn path(file: FileId) -> String {
    format!("/{}", base64(&file.0, true))
}

pub(super) fn create(base: &str, token: &str, plan: &Plan) -> http::Result<Request<Outgoing>> {
    let (conversation, upload) = (base64(&plan.conversation.0, true), base64(&plan.upload_id.0, true));
    request(base, Method::POST, &format!("?conversation={conversation}&upload_id={upload}"), token)
        .header(UPLOAD_LENGTH, plan.size)
        .header(REPR_DIGEST, format!("sha-256=:{}:", base64(&plan.sha256, false)))
        .header(header::CONTENT_LENGTH, 0)
        .body(Outgoing::Empty)
}

pub(super) fn offset(base: &str, token: &str, file: FileId) -> http::Result<Request<Outgoing>> {
    request(base, Method::HEAD, &path(file), token).body(Outgoing::Empty)
}

pub(super) fn delete(base: &str, token: &str, file: FileId) -> http::Result<Request<Outgoing>> {
    request(base, Method::DELETE, &path(file), token).body(Outgoing::Empty)
}

/// A chunk of at least one byte.
pub(super) fn chunk(
    base: &str,
    token: &str,
    file: FileId,
    (offset, total): (u64, u64),
    body: Outgoing,
) -> http::Result<Request<Outgoing>> {
    let last = offset + body.len().saturating_sub(1);
    request(base, Method::PATCH, &path(file), token)
        .header(header::CONTENT_RANGE, format!("bytes {offset}-{last}/{total}"))
        .header(header::CONTENT_LENGTH, body.len())
        .body(body)
}

/// A range of at least one byte.
pub(super) fn range(
    base: &str,
    token: &str,
    file: FileId,
    (offset, len): (u64, u64),
    etag: Option<&str>,
) -> http::Result<Request<Outgoing>> {
    let mut request = request(base, Method::GET, &path(file), token)
        .header(header::RANGE, format!("bytes={offset}-{}", offset + len.saturating_sub(1)));
    if let Some(etag) = etag {
        request = request.header(header::IF_RANGE, etag);
    }
    request.body(Outgoing::Empty)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

/// The SHA-256 that an ETag is.
fn sha256(etag: &str) -> Option<[u8; 32]> {
    let digits = etag.strip_prefix('"')?.strip_suffix('"')?.as_bytes();
    let mut hash = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, two) in hash.iter_mut().zip(digits.chunks(2)) {
        let digit = |d: u8| char::from(d).to_digit(16);
        *byte = (digit(two[0])? << 4 | digit(two[1])?) as u8;
    }
    Some(hash)
}

/// How far the upload is, as every answer about one says; and its hash, when it is whole.
fn stored(headers: &HeaderMap) -> Option<(u64, Option<[u8; 32]>)> {
    let whole = text(headers, &UPLOAD_COMPLETE) == Some("?1");
    let done = text(headers, &header::ETAG).and_then(sha256);
    match number(headers, &UPLOAD_OFFSET) {
        Some(offset) => Some((offset, done.filter(|_| whole))),
        // It is a file already, and answered as one.
        None => Some((number(headers, &header::CONTENT_LENGTH)?, Some(done?))),
    }
}

/// What an answer to a creation, a look or a chunk says.
pub(super) async fn uploaded(response: Response<Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    if !head.status.is_success() {
        return Answer::Fault(fault(head.status, &head.headers, body).await);
    }
    let Some((offset, done)) = stored(&head.headers) else { return Answer::Fault(Fault::Lost) };
    let created = text(&head.headers, &header::LOCATION).and_then(|to| id(to.rsplit('/').next()?));
    match created {
        Some(file) => Answer::Created { file: FileId(file), offset, done },
        None => Answer::Stored { offset, done },
    }
}

/// What an answer to a range says. `conditional`: only of the file that was known.
pub(super) async fn begun(
    response: Response<Incoming>,
    offset: u64,
    conditional: bool,
) -> Result<(Answer, Incoming), Fault> {
    let (head, body) = response.into_parts();
    let etag = text(&head.headers, &header::ETAG).unwrap_or_default().to_owned();
    let answer = match head.status {
        StatusCode::PARTIAL_CONTENT => {
            let range = text(&head.headers, &header::CONTENT_RANGE).and_then(content_range);
            let (offset, total) = range.ok_or(Fault::Lost)?;
            Answer::Range { offset, total, etag }
        }
        // All of it: the file is another one, or the server takes no ranges.
        StatusCode::OK if conditional => return Err(Fault::Mismatch),
        StatusCode::OK if offset == 0 => {
            let total = number(&head.headers, &header::CONTENT_LENGTH).ok_or(Fault::Lost)?;
            Answer::Range { offset: 0, total, etag }
        }
        StatusCode::OK => return Err(Fault::Refused("no ranges".into())),
        StatusCode::RANGE_NOT_SATISFIABLE => return Err(Fault::Mismatch),
        status => return Err(fault(status, &head.headers, body).await),
    };
    Ok((answer, body))
}

/// `bytes 0-99/1000`: where it begins, and of how many.
fn content_range(value: &str) -> Option<(u64, u64)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()?))
}

/// What a refusal means for a transfer.
pub(super) async fn fault(status: StatusCode, headers: &HeaderMap, body: Incoming) -> Fault {
    let problem = body.whole(MAX_PROBLEM).await.unwrap_or_default();
    let code = code(&problem).unwrap_or_default();
    let asked = number(headers, &header::RETRY_AFTER).map(Duration::from_secs);
    match (status.as_u16(), code.as_str()) {
        (_, "digest_mismatch") => Fault::Mismatch,
        (_, "quota_exceeded") => Fault::Quota,
        (_, "upload_id_used" | "too_large") => Fault::Refused(code),
        // It is whole: the next look says so.
        (400, "completed_upload") | (409 | 416, _) => Fault::Conflict,
        (401, _) => Fault::Unauthorized,
        (404 | 410, _) => Fault::Gone,
        (412, _) => Fault::Mismatch,
        (408 | 429 | 503, _) | (507, "disk_full") => Fault::Busy(asked.unwrap_or(BUSY)),
        (507, _) => Fault::Quota,
        (500..=599, _) => asked.map_or(Fault::Lost, Fault::Busy),
        (status, "") => Fault::Refused(status.to_string()),
        (..) => Fault::Refused(code),
    }
}

/// The `code` of a problem (RFC 9457), if it is a short word.
fn code(problem: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(problem).ok()?;
    let (_, behind) = text.split_once("\"code\"")?;
    let value = behind.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    let (code, _) = value.split_once('"')?;
    let word = code.len() <= 64 && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    word.then(|| code.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ntproto_core::ids::{ConversationId, UploadId};

    use super::*;

    #[test]
    fn requests_are_as_the_chapter_has_them() {
        let plan = Plan {
            upload_id: UploadId([0xFF; 16]),
            conversation: ConversationId([0; 16]),
            size: 10,
            sha256: [0xFF; 32],
        };
        let made = create("https://h:1", "T", &plan).unwrap();
        let uri = "https://h:1/v2/files?conversation=AAAAAAAAAAAAAAAAAAAAAA&upload_id=_____________________w";
        assert_eq!(made.uri().to_string(), uri);
        assert_eq!(made.headers()["repr-digest"], format!("sha-256=:{}8=:", "/".repeat(42)));
        assert_eq!(
            (&made.headers()["upload-length"], made.headers()["authorization"].as_bytes()),
            (&10.into(), &b"Bearer T"[..])
        );
        assert!(made.headers()["authorization"].is_sensitive() && !format!("{made:?}").contains("Bearer T"));
        let file = FileId([7; 16]);
        assert_eq!(id(&path(file)[1..]), Some(file.0));
        let sent = chunk("", "", file, (5, 10), Outgoing::Whole(vec![0; 3].into())).unwrap();
        assert_eq!(sent.headers()["content-range"], "bytes 5-7/10");
        let asked = range("", "", file, (5, 3), Some("\"e\"")).unwrap();
        assert_eq!(
            (&asked.headers()["range"], &asked.headers()["if-range"]),
            (&"bytes=5-7".parse().unwrap(), &"\"e\"".parse().unwrap())
        );
        for wrong in ["", "AAAAAAAAAAAAAAAAAAAAAB", "AAAAAAAAAAAAAAAAAAAAA=", "AAAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(id(wrong), None);
        }
    }

    fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Response<Incoming> {
        let (send, parts) = async_channel::bounded(1);
        send.try_send(Ok(body.to_owned().into())).unwrap();
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        response.body(Incoming::Parts(parts)).unwrap()
    }

    fn now<T>(future: impl Future<Output = T>) -> T {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let std::task::Poll::Ready(value) = std::pin::pin!(future).poll(&mut cx) else { panic!() };
        value
    }

    #[test]
    fn answers_say_how_far_it_is() {
        let hash = format!("\"{}\"", "07".repeat(32));
        let place = "/v2/files/BwcHBwcHBwcHBwcHBwcHBw";
        let created = response(201, &[("location", place), ("upload-offset", "3")], "");
        assert_eq!(now(uploaded(created)), Answer::Created { file: FileId([7; 16]), offset: 3, done: None });
        let whole = [("upload-offset", "9"), ("upload-complete", "?1"), ("etag", &hash)];
        assert_eq!(
            now(uploaded(response(204, &whole, ""))),
            Answer::Stored { offset: 9, done: Some([7; 32]) }
        );
        let file = [("content-length", "9"), ("etag", &hash)];
        assert_eq!(
            now(uploaded(response(200, &file, ""))),
            Answer::Stored { offset: 9, done: Some([7; 32]) }
        );
        assert_eq!(now(uploaded(response(204, &[], ""))), Answer::Fault(Fault::Lost));
    }

    #[test]
    fn refusals_are_told_apart() {
        let of = |status, code: &str| {
            let problem = format!("{{\"status\":1, \"code\" : \"{code}\"}}");
            now(uploaded(response(status, &[], &problem)))
        };
        for (status, code, fault) in [
            (400, "digest_mismatch", Fault::Mismatch),
            (400, "completed_upload", Fault::Conflict),
            (400, "bad_range", Fault::Refused("bad_range".into())),
            (401, "unauthorized", Fault::Unauthorized),
            (404, "not_found", Fault::Gone),
            (409, "offset_ahead", Fault::Conflict),
            (409, "superseded", Fault::Conflict),
            (409, "upload_id_used", Fault::Refused("upload_id_used".into())),
            (413, "too_large", Fault::Refused("too_large".into())),
            (429, "too_many_uploads", Fault::Busy(BUSY)),
            (503, "unavailable", Fault::Busy(BUSY)),
            (507, "disk_full", Fault::Busy(BUSY)),
            (507, "quota_exceeded", Fault::Quota),
            (500, "internal", Fault::Lost),
            (403, "NOT A WORD", Fault::Refused("403".into())),
        ] {
            assert_eq!(of(status, code), Answer::Fault(fault), "{status} {code}");
        }
        let later = response(503, &[("retry-after", "7")], "");
        assert_eq!(now(uploaded(later)), Answer::Fault(Fault::Busy(Duration::from_secs(7))));
    }

    #[test]
    fn ranges_are_of_the_file_that_is_known() {
        let part = [("content-range", "bytes 5-9/10"), ("etag", "\"e\"")];
        let (answer, _) = now(begun(response(206, &part, ""), 5, true)).unwrap();
        assert_eq!(answer, Answer::Range { offset: 5, total: 10, etag: "\"e\"".into() });
        assert_eq!(now(begun(response(200, &[], ""), 5, true)).err(), Some(Fault::Mismatch));
        assert_eq!(now(begun(response(416, &[], ""), 5, false)).err(), Some(Fault::Mismatch));
        let all = [("content-length", "10"), ("etag", "\"e\"")];
        assert!(now(begun(response(200, &all, ""), 0, false)).is_ok());
        assert!(now(begun(response(200, &all, ""), 5, false)).is_err());
        assert_eq!(
            now(begun(response(206, &[("content-range", "bytes */10")], ""), 5, true)).err(),
            Some(Fault::Lost)
        );
    }
}
