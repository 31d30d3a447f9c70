//! What a client asks, as HTTP says it: from the chapters, not from the client.

use http::{HeaderName, Method, Request, Response, StatusCode, header};
use ntproto_core::crypto::CryptoProvider as _;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::ids::FileId;
use ntproto_core::session::bearer::Bearer;
use ntproto_core::transfer::{Answer, Ask, Fault, upload};
use ntproto_web::text;
use std::time::Duration;

const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

fn path(file: FileId) -> String {
    format!("/v2/files/{}", text::base64url(&file.0))
}

/// One upload in three says its length with its last bytes only, and of each chunk its digest. Two devices do it alike.
fn is_open(plan: &upload::Plan) -> bool {
    plan.size > 0 && plan.upload_id.0[0].is_multiple_of(3)
}

/// What a client that has this plan says of a chunk, instead of its range alone: `wrong`, another digest than that of its bytes.
pub(super) fn checked(
    mut request: Request<()>,
    ask: &Ask,
    plan: Option<&upload::Plan>,
    source: &[u8],
    wrong: bool,
) -> Request<()> {
    let (Ask::Chunk { offset, len, .. }, Some(plan)) = (ask, plan.filter(|plan| is_open(plan))) else {
        return request;
    };
    let end = offset + len;
    let total = if end == plan.size { end.to_string() } else { "*".to_owned() };
    let mut digest = RUSTCRYPTO.sha256(&[&source[*offset as usize..end as usize]]);
    digest[0] ^= u8::from(wrong);
    let digest = format!("sha-256=:{}:", text::base64(&digest));
    let range = format!("bytes {offset}-{}/{total}", end - 1);
    for (name, value) in [(header::CONTENT_RANGE, range), (CONTENT_DIGEST, digest)] {
        request.headers_mut().insert(name, value.parse().expect("it is ASCII"));
    }
    request
}

/// The head of a request.
pub(super) fn request(ask: &Ask, plan: Option<&upload::Plan>, bearer: Option<&Bearer>) -> Request<()> {
    let (method, target) = match (ask, plan) {
        (Ask::Create, Some(plan)) => {
            let (conversation, id) = (&plan.conversation.0, &plan.upload_id.0);
            let (conversation, id) = (text::base64url(conversation), text::base64url(id));
            (Method::POST, format!("/v2/files?conversation={conversation}&upload_id={id}"))
        }
        (Ask::Offset(file), _) => (Method::HEAD, path(*file)),
        (Ask::Chunk { file, .. }, _) => (Method::PATCH, path(*file)),
        (Ask::Delete(file), _) => (Method::DELETE, path(*file)),
        (Ask::Range { file, .. }, _) => (Method::GET, path(*file)),
        (Ask::Create | Ask::Verify, _) => (Method::GET, "/".into()),
    };
    let mut request = Request::builder().method(method).uri(target);
    if let Some(bearer) = bearer {
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", *bearer.text()));
    }
    request = match (ask, plan) {
        (Ask::Create, Some(plan)) => match is_open(plan) {
            true => request,
            false => request.header(UPLOAD_LENGTH, plan.size),
        }
        .header(REPR_DIGEST, format!("sha-256=:{}:", text::base64(&plan.sha256))),
        (Ask::Chunk { offset, len, .. }, _) => request
            .header(header::CONTENT_LENGTH, *len)
            .header(header::CONTENT_RANGE, format!("bytes {offset}-{}/*", offset + len - 1)),
        (Ask::Range { offset, len, etag, .. }, _) => {
            let request = request.header(header::RANGE, format!("bytes={offset}-{}", offset + len - 1));
            match etag {
                Some(etag) => request.header(header::IF_RANGE, etag),
                None => request,
            }
        }
        _ => request,
    };
    request.body(()).expect("all of it is ASCII")
}

fn number(head: &Response<()>, name: &HeaderName) -> Option<u64> {
    head.headers().get(name)?.to_str().ok()?.parse().ok()
}

/// The file a request is about.
pub(super) fn file(ask: &Ask) -> Option<FileId> {
    match ask {
        Ask::Offset(file) | Ask::Chunk { file, .. } | Ask::Delete(file) | Ask::Range { file, .. } => {
            Some(*file)
        }
        Ask::Create | Ask::Verify => None,
    }
}

/// What an answer tells of an upload: its number, if it is new, and how much is stored.
pub(super) fn told(head: &Response<()>) -> Option<(Option<FileId>, u64)> {
    let created = head.headers().get(header::LOCATION);
    let created = created.and_then(|at| text::id(at.to_str().ok()?.rsplit('/').next()?)).map(FileId);
    Some((created, number(head, &UPLOAD_OFFSET)?))
}

/// What it means to a transfer.
pub(super) fn answer(ask: &Ask, head: &Response<()>) -> Answer {
    let fault = |fault| Answer::Fault(fault);
    let done = || {
        let digest = head.headers().get(&REPR_DIGEST)?.to_str().ok()?;
        let digest = digest.strip_prefix("sha-256=:")?.strip_suffix(':')?;
        text::from_base64(digest)?.try_into().ok()
    };
    let status = head.status();
    if !status.is_success() {
        return match status {
            StatusCode::UNAUTHORIZED => fault(Fault::Unauthorized),
            StatusCode::CONFLICT => fault(Fault::Conflict),
            // What was taken for unfinished is whole.
            StatusCode::BAD_REQUEST if number(head, &UPLOAD_OFFSET).is_some() => fault(Fault::Conflict),
            StatusCode::NOT_FOUND | StatusCode::GONE => fault(Fault::Gone),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                fault(Fault::Busy(Duration::from_secs(number(head, &header::RETRY_AFTER).unwrap_or(1))))
            }
            StatusCode::INSUFFICIENT_STORAGE => fault(Fault::Busy(Duration::from_secs(1))),
            StatusCode::REQUEST_TIMEOUT | StatusCode::INTERNAL_SERVER_ERROR => fault(Fault::Lost),
            other => fault(Fault::Refused(other.to_string())),
        };
    }
    match ask {
        Ask::Create => match told(head) {
            Some((Some(file), offset)) => Answer::Created { file, offset, done: done() },
            _ => fault(Fault::Lost),
        },
        Ask::Offset(_) | Ask::Chunk { .. } => match told(head) {
            Some((_, offset)) => Answer::Stored { offset, done: done() },
            None => fault(Fault::Lost),
        },
        Ask::Delete(_) => Answer::Deleted,
        Ask::Range { .. } | Ask::Verify => range(head).unwrap_or(fault(Fault::Lost)),
    }
}

fn range(head: &Response<()>) -> Option<Answer> {
    let range = head.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = range.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    let etag = head.headers().get(header::ETAG)?.to_str().ok()?.to_owned();
    Some(Answer::Range { offset: first.parse().ok()?, total: total.parse().ok()?, etag })
}
