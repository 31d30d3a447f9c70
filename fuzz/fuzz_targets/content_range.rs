//! What stands in headers and targets of requests about files: ranges, digests, numbers, names. What is read is what was written, and a
//! whole head leads to one answer or one question.
#![no_main]

use arbitrary::Arbitrary;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use libfuzzer_sys::fuzz_target;
use ntproto_core::time::{Instant, Now, UnixMillis};
use ntproto_web::dialect::content_range::{ContentRange, read};
use ntproto_web::digest::{Expected, repr_digest};
use ntproto_web::routes::Route;
use ntproto_web::text;
use ntproto_web::{CarrierId, ExchangeId, Input, Output, Web, WebConfig};

const NAMES: [&str; 22] = [
    "authorization",
    "content-digest",
    "content-length",
    "content-range",
    "content-type",
    "expect",
    "if-match",
    "if-none-match",
    "if-range",
    "origin",
    "range",
    "repr-digest",
    "tus-resumable",
    "upload-checksum",
    "upload-complete",
    "upload-concat",
    "upload-defer-length",
    "upload-draft-interop-version",
    "upload-length",
    "upload-metadata",
    "upload-offset",
    "x-http-method-override",
];
const METHODS: [&str; 8] = ["POST", "PATCH", "HEAD", "GET", "DELETE", "OPTIONS", "PUT", "BREW"];

#[derive(Arbitrary, Debug)]
enum Line<'a> {
    Raw(u8, &'a [u8]),
    Number(u8, u64),
    Range(u64, u64, Option<u64>),
    Tus,
    Draft(u8),
    Typed(bool),
    Token,
}

#[derive(Arbitrary, Debug)]
struct Head<'a> {
    method: u8,
    target: &'a str,
    /// The number of a file instead of the target.
    file: Option<[u8; 16]>,
    conversation: Option<[u8; 16]>,
    end: bool,
    lines: Vec<Line<'a>>,
}

/// Numbers end where those of signed integers do.
const MOST: u64 = i64::MAX as u64;

fn values(value: &str) {
    if let Some(ContentRange { first, last, total }) = read(value) {
        assert!(first <= last && last <= MOST && total.is_none_or(|total| last < total && total <= MOST));
        let total = total.map_or("*".into(), |total| total.to_string());
        let again = format!("bytes {first}-{last}/{total}");
        assert_eq!(read(&again), read(value));
    }
    if let Some(number) = text::number(value) {
        assert!(
            number <= MOST && value.trim_start_matches('0') == number.to_string().trim_start_matches('0')
        );
    }
    if let Some(id) = text::id(value) {
        assert_eq!(text::base64url(&id), value);
    }
    if let Some(bytes) = text::from_base64(value) {
        assert_eq!(text::base64(&bytes).trim_end_matches('='), value.trim_end_matches('='));
    }
    let _ = Expected::read_checksum(value);
    if let Ok(value) = HeaderValue::from_str(value) {
        let mut headers = HeaderMap::new();
        headers.append("content-digest", value);
        if let Ok(expected) = Expected::read(&headers, "content-digest")
            && let Some(hash) = expected.sha256
        {
            let value = HeaderValue::from_str(&repr_digest(&hash)).expect("letters");
            headers.insert("content-digest", value);
            assert_eq!(Expected::read(&headers, "content-digest").expect("ours").sha256, Some(hash));
        }
    }
}

fn line(line: &Line<'_>) -> Option<(HeaderName, HeaderValue)> {
    let name = |n: &u8| HeaderName::from_static(NAMES[usize::from(*n) % NAMES.len()]);
    let (name, value) = match line {
        Line::Raw(n, value) => return Some((name(n), HeaderValue::from_bytes(value).ok()?)),
        Line::Number(n, number) => (name(n), number.to_string()),
        Line::Range(first, last, total) => {
            let total = total.map_or("*".into(), |total| total.to_string());
            (HeaderName::from_static("content-range"), format!("bytes {first}-{last}/{total}"))
        }
        Line::Tus => (HeaderName::from_static("tus-resumable"), "1.0.0".into()),
        Line::Draft(version) => {
            (HeaderName::from_static("upload-draft-interop-version"), version.to_string())
        }
        Line::Typed(tus) => {
            let kind = if *tus { "application/offset+octet-stream" } else { "application/partial-upload" };
            (HeaderName::from_static("content-type"), kind.into())
        }
        Line::Token => (HeaderName::from_static("authorization"), format!("Bearer {}", "A".repeat(64))),
    };
    Some((name, HeaderValue::from_str(&value).ok()?))
}

fuzz_target!(|head: Head<'_>| {
    for line in &head.lines {
        if let Line::Raw(_, value) = line
            && let Ok(value) = std::str::from_utf8(value)
        {
            values(value);
        }
    }
    values(head.target);
    let mut target = match head.file {
        Some(file) => format!("/v2/files/{}", text::base64url(&file)),
        None => format!("/v2/files{}", head.target),
    };
    if let Some(conversation) = head.conversation {
        target = format!("{target}?conversation={}", text::base64url(&conversation));
    }
    let method = METHODS[usize::from(head.method) % METHODS.len()];
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in head.lines.iter().take(100).filter_map(line) {
        request = request.header(name, value);
    }
    let Ok(request) = request.body(()) else { return };
    if let Ok(Route::File(file)) = Route::of(&request) {
        assert_eq!(text::base64url(&file.0), request.uri().path()["/v2/files/".len()..]);
    }
    let now = Now { mono: Instant::from_micros(1), unix: UnixMillis(1_700_000_000_000) };
    let mut web = Web::new(WebConfig::default(), [7; 32]);
    let (exchange, carrier) = (ExchangeId(1), CarrierId(1));
    let remote = ([192, 0, 2, 1], 4711).into();
    web.handle(now, Input::Head { exchange, carrier, remote, request, end: head.end });
    web.handle(now, Input::End { exchange });
    let (mut answers, mut questions) = (0, 0);
    loop {
        match web.poll_output(now) {
            Output::Wait { .. } => break,
            Output::Respond { .. } => answers += 1,
            Output::Bearer { op, .. } => {
                questions += 1;
                web.handle(now, Input::Bearer { op, result: None });
            }
            _ => {}
        }
    }
    assert!(answers == 1 && questions <= 1 && web.exchanges() == 0);
});
