//! Which pages of browsers may read answers (CORS, the Fetch standard). No cookies are used here, so what is kept from
//! other pages is not theirs to ask for in anybody's name: they lack the token.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};

use crate::answer::Answer;

/// How long a browser may remember that it may ask: Chromium takes no more.
const MAX_AGE: &str = "7200";
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
/// What requests of the dialects carry.
const ASKED: &str = "authorization, content-type, content-range, content-digest, repr-digest, range, if-match, \
    if-none-match, if-range, traceparent, tracestate, tus-resumable, upload-checksum, upload-complete, upload-defer-length, \
    upload-draft-interop-version, upload-id, upload-length, upload-metadata, upload-offset, want-repr-digest, \
    x-http-method-override";
/// What a page may read of answers beside what it always may.
const TOLD: &str = "accept-ranges, content-digest, content-range, etag, location, repr-digest, retry-after, \
    tus-checksum-algorithm, tus-extension, tus-max-size, tus-resumable, tus-version, upload-complete, \
    upload-draft-interop-version, upload-expires, upload-length, upload-limit, upload-offset";

/// The longest origin: a scheme, the longest name, a port.
const MAX_ORIGIN: usize = 8 + 253 + 6;
/// Origins that may be named: an operator has a page or two.
const MAX_ORIGINS: usize = 64;

/// The pages that may read answers.
///
/// ```
/// use ntproto_web::Origins;
///
/// let origins: Origins = "https://chat.example.org, http://127.0.0.1:8080".parse()?;
/// assert!(origins.allow("https://chat.example.org"));
/// assert!(!origins.allow("https://chat.example.org.evil.example") && !origins.allow("null"));
/// # Ok::<(), ntproto_web::cors::BadOrigin>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    any: bool,
    named: Vec<String>,
}

impl Origins {
    /// Whether pages of this origin may.
    #[must_use]
    pub fn allow(&self, origin: &str) -> bool {
        self.any || self.named.iter().any(|named| named == origin)
    }

    /// The origin of a request, if it may read the answer.
    pub(crate) fn of(&self, request: &Request<()>) -> Option<HeaderValue> {
        let origin = request.headers().get(header::ORIGIN)?;
        //= spec: bootstrap-11
        origin.to_str().is_ok_and(|text| self.allow(text)).then(|| origin.clone())
    }
}

/// A list with commas: `https://host`, `http://host:port`, or `*` for all.
impl core::str::FromStr for Origins {
    type Err = BadOrigin;

    fn from_str(text: &str) -> Result<Self, BadOrigin> {
        let mut origins = Self::default();
        for one in text.split(',').map(str::trim).filter(|one| !one.is_empty()) {
            match one {
                "*" => origins.any = true,
                one if is_origin(one) && origins.named.len() < MAX_ORIGINS => origins.named.push(one.into()),
                _ => return Err(BadOrigin),
            }
        }
        Ok(origins)
    }
}

/// As browsers write it: in small letters, no path, no port that the scheme implies.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let implied = if scheme == "https" { ":443" } else { ":80" };
    let written = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._:[]".contains(&b);
    matches!(scheme, "http" | "https")
        && text.len() <= MAX_ORIGIN
        && !host.is_empty()
        && host.bytes().all(written)
        && !host.ends_with(implied)
}

/// A text is no list of origins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadOrigin;

impl core::fmt::Display for BadOrigin {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("an origin is written https://host or http://host:port, in small letters, without a path")
    }
}

impl core::error::Error for BadOrigin {}

/// The answer to a browser that asks before it asks.
pub(crate) fn preflight(request: &Request<()>) -> Option<Answer> {
    let asks = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    (asks && request.method() == Method::OPTIONS).then(|| {
        Answer::new(StatusCode::NO_CONTENT)
            .set(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS)
            .set(header::ACCESS_CONTROL_ALLOW_HEADERS, ASKED)
            .set(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE)
    })
}

/// Lets pages of this origin read an answer.
pub(crate) fn grant(head: &mut Response<()>, origin: &HeaderValue) {
    let headers: &mut HeaderMap = head.headers_mut();
    let mut put = |name: HeaderName, value: HeaderValue| headers.append(name, value);
    put(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    put(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(TOLD));
    put(header::VARY, HeaderValue::from_static("origin"));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_written_as_browsers_write_them() {
        for good in [
            "",
            "*",
            "https://a.example",
            "http://localhost:8080, https://[::1]:8443,",
            "http://a.example:443",
        ] {
            assert!(good.parse::<Origins>().is_ok(), "{good}");
        }
        for bad in [
            "a.example",
            "https://",
            "https://a.example/",
            "https://A.example",
            "https://a.example:443",
            "http://a.example:80",
            "ftp://a.example",
            "https://a.example b",
            "null",
        ] {
            assert_eq!(bad.parse::<Origins>(), Err(BadOrigin), "{bad}");
        }
        let many = "http://a.example,".repeat(MAX_ORIGINS + 1);
        assert_eq!(many.parse::<Origins>(), Err(BadOrigin));
        assert!("*".parse::<Origins>().unwrap().allow("https://anybody.example"));
        assert!(!Origins::default().allow("https://anybody.example"));
    }
}
