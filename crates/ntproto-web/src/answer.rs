//! An answer before it goes out.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};

use crate::problem::Problem;

/// A head, and a body that is known whole.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn new(status: StatusCode) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Self { status, headers, body: Bytes::new() }
    }

    pub(crate) fn set(mut self, name: HeaderName, value: &str) -> Self {
        self.put(name, value);
        self
    }

    /// Sets a header. Every value is of our own making, and legal.
    pub(crate) fn put(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
    }

    pub(crate) fn text(mut self, kind: &'static str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        self
    }

    /// The head with its body's length. `None`: the length is in the headers, or there is no body by the status.
    pub(crate) fn head(&self) -> Response<()> {
        let mut head = Response::new(());
        *head.status_mut() = self.status;
        *head.headers_mut() = self.headers.clone();
        let bodiless = matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if !bodiless && !self.headers.contains_key(header::CONTENT_LENGTH) {
            head.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        }
        head
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        let mut answer =
            Self::new(problem.status()).text("application/problem+json", problem.json().into_bytes());
        if let Some(offset) = problem.offset {
            answer.put(HeaderName::from_static("upload-offset"), &offset.to_string());
        }
        match answer.status {
            StatusCode::SERVICE_UNAVAILABLE => answer.put(header::RETRY_AFTER, "1"),
            StatusCode::UNAUTHORIZED => answer.put(header::WWW_AUTHENTICATE, "Bearer"),
            _ => {}
        }
        answer
    }
}
