//! One request and its answer: what is known of it, and how far it is.

use std::collections::VecDeque;
use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, header};
use ntproto_core::ids::FileId;
use ntproto_core::time::{Instant, Now};

use crate::answer::Answer;
use crate::api::CarrierId;
use crate::dialect::Dialect;
use crate::download::{Download, Wanted};
use crate::routes::{Route, method_name};

/// How far it is.
pub(crate) enum State {
    /// Its head is looked at.
    New,
    /// It has its place at an upload, and is not read.
    Waiting(FileId),
    /// Its body goes to an upload.
    Uploading(FileId),
    /// Its answer has a body that is read from the disk.
    Sending { status: u16, body: Box<Download> },
    /// Its answer waits for the rest of a body that nobody wants; another one for the end of a body that has nothing in it.
    Draining { answer: Box<Answer>, if_empty: Option<Box<Answer>>, drained: u64 },
}

pub(crate) struct Exchange {
    pub(crate) carrier: CarrierId,
    /// Where it comes from.
    pub(crate) from: IpAddr,
    pub(crate) route: Route,
    pub(crate) method: &'static str,
    /// The answer has no body, whatever its head says.
    pub(crate) head_only: bool,
    /// The page that may read the answer.
    pub(crate) origin: Option<HeaderValue>,
    /// The client waits for 100 before it sends the body, and sent nothing of it.
    pub(crate) asks_first: bool,
    pub(crate) started: Instant,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// Its body is whole.
    pub(crate) whole: bool,
    /// What came of the body and was given to nobody yet.
    pub(crate) held: VecDeque<Bytes>,
    pub(crate) held_bytes: usize,
    /// Bytes that the host brought and was not given back.
    pub(crate) owed: usize,
    pub(crate) dialect: Dialect,
    /// It creates an upload: which one it is, and whether that is new.
    pub(crate) created: Option<(FileId, bool)>,
    /// It asks about a file, if that is as it says.
    pub(crate) wanted: Option<Box<Wanted>>,
    pub(crate) state: State,
    pub(crate) deadline: Option<Instant>,
}

/// Whether the client waits for 100 before it sends the body (RFC 9110, section 10.1.1).
///
/// ```
/// use http::{HeaderMap, HeaderValue, header};
///
/// let mut headers = HeaderMap::new();
/// assert!(!ntproto_web::asks_first(&headers));
/// headers.insert(header::EXPECT, HeaderValue::from_static("100-Continue"));
/// assert!(ntproto_web::asks_first(&headers));
/// ```
#[must_use]
pub fn asks_first(headers: &HeaderMap) -> bool {
    let expect = headers.get(header::EXPECT);
    expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

impl Exchange {
    pub(crate) fn new(
        now: Now,
        carrier: CarrierId,
        from: IpAddr,
        route: Route,
        request: &Request<()>,
        whole: bool,
    ) -> Self {
        Self {
            carrier,
            from,
            route,
            method: method_name(request.method()),
            head_only: request.method() == Method::HEAD,
            origin: None,
            asks_first: asks_first(request.headers()),
            started: now.mono,
            received: 0,
            sent: 0,
            whole,
            held: VecDeque::new(),
            held_bytes: 0,
            owed: 0,
            dialect: Dialect::ContentRange,
            created: None,
            wanted: None,
            state: State::New,
            deadline: None,
        }
    }

    /// Bytes that were held, all of them.
    pub(crate) fn drop_held(&mut self) -> usize {
        self.held.clear();
        core::mem::take(&mut self.held_bytes)
    }
}
