//! Three ways to say the same: which one a request speaks, what it asks for, and how it is answered.

use core::time::Duration;

use http::header::{self, HeaderName};
use http::{HeaderMap, Method, Request, StatusCode};
use ntproto_core::ids::{ConversationId, FileId};
use ntproto_core::time::UnixMillis;

use crate::answer::Answer;
use crate::config::{MAX_METADATA, MAX_UPLOAD_ID, WebConfig};
use crate::digest::{Expected, name_key, repr_digest};
use crate::download::{Wanted, etag};
use crate::plan::{Append, Create, Plan, one};
use crate::problem::{Code, Problem};
use crate::routes::{FILES, Route};
use crate::text::{base64url, from_base64, http_date, id, number};

pub mod content_range;
mod ietf;
mod tus;

/// How a client speaks of uploads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `Content-Range`.
    ContentRange,
    /// tus 1.0.0.
    Tus,
    /// IETF resumable uploads, of this interop version.
    Ietf(ietf::Version),
}

/// Where an upload is, to be told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) file: FileId,
    pub(crate) offset: u64,
    pub(crate) length: Option<u64>,
    pub(crate) expires: Option<UnixMillis>,
    /// It is whole, and this is its SHA-256.
    pub(crate) content: Option<[u8; 32]>,
}

impl Standing {
    /// How long it is kept, if nothing more comes.
    fn left(&self, now: UnixMillis) -> Option<Duration> {
        let left = self.expires?.0.saturating_sub(now.0);
        self.content.is_none().then(|| Duration::from_millis(left))
    }
}

/// What a request that needs no answer of anybody is answered, or what is to be done for it.
pub(crate) type Asked = Result<Plan, Box<Answer>>;

impl Dialect {
    /// The one a request speaks.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        if headers.contains_key("tus-resumable") {
            return Ok(Self::Tus);
        }
        match one(headers, "upload-draft-interop-version") {
            Ok(None) => Ok(Self::ContentRange),
            Ok(Some(version)) => ietf::Version::read(version)
                .map(Self::Ietf)
                .ok_or(Problem::new(Code::BadRequest).detail("interop versions 5 to 8 are spoken")),
            Err(()) => Err(Code::BadRequest.into()),
        }
    }

    /// A refusal as this dialect says it.
    pub(crate) fn problem(self, problem: Problem, config: &WebConfig) -> Answer {
        let problem = match self {
            Self::Tus if problem.code == Code::DigestMismatch => Problem { code: Code::Checksum, ..problem },
            Self::Ietf(version) => version.problem(problem),
            Self::Tus | Self::ContentRange => problem,
        };
        let tus_version = problem.code == Code::TusVersion;
        let more =
            if let Self::Ietf(version) = self { version.told_of(&problem, config) } else { Vec::new() };
        let mut answer = self.dress(problem.into());
        for (name, value) in more {
            answer.put(HeaderName::from_static(name), &value);
        }
        if tus_version {
            answer.put(HeaderName::from_static("tus-version"), tus::VERSION);
        }
        answer
    }

    /// What all its answers have.
    pub(crate) fn dress(self, answer: Answer) -> Answer {
        match self {
            Self::Tus => answer.set(HeaderName::from_static("tus-resumable"), tus::VERSION),
            Self::Ietf(version) => {
                answer.set(HeaderName::from_static("upload-draft-interop-version"), version.text())
            }
            Self::ContentRange => answer,
        }
    }

    /// The answer that tells where an upload is.
    pub(crate) fn standing(
        self,
        status: StatusCode,
        at: &Standing,
        now: UnixMillis,
        config: &WebConfig,
    ) -> Answer {
        let mut answer = self.dress(Answer::new(status));
        answer.put(HeaderName::from_static("upload-offset"), &at.offset.to_string());
        match at.length {
            Some(length) => answer.put(HeaderName::from_static("upload-length"), &length.to_string()),
            None if self == Self::Tus => answer.put(HeaderName::from_static("upload-defer-length"), "1"),
            None => {}
        }
        if self != Self::Tus {
            let complete = if at.content.is_some() { "?1" } else { "?0" };
            answer.put(HeaderName::from_static("upload-complete"), complete);
        }
        if let Self::Ietf(version) = self
            && let Some(limits) = version.limits(config, at.left(now))
        {
            answer.put(HeaderName::from_static("upload-limit"), &limits);
        }
        if let Some(hash) = &at.content {
            answer.put(header::ETAG, &etag(hash));
            answer.put(HeaderName::from_static("repr-digest"), &repr_digest(hash));
        } else if let Some(expires) = at.expires {
            answer.put(HeaderName::from_static("upload-expires"), &http_date(expires));
        }
        answer
    }

    /// The status of a chunk that was taken.
    pub(crate) const fn taken(self, complete: bool) -> StatusCode {
        match self {
            Self::Ietf(version) => version.taken(complete),
            _ => StatusCode::NO_CONTENT,
        }
    }

    /// Whether its clients say when an upload is complete. In the others it is so when its last byte is there.
    pub(crate) const fn says_when(self) -> bool {
        matches!(self, Self::Ietf(_))
    }

    /// Whether a request that asks about an upload, or ends it, may not say this.
    fn forbids(self, headers: &HeaderMap) -> bool {
        matches!(self, Self::Ietf(version) if version.forbids(headers))
    }

    /// Whether an upload is no more once its client brings more than it had said.
    pub(crate) fn gives_up(self) -> bool {
        matches!(self, Self::Ietf(version) if version.gives_up())
    }

    /// The status of an answer to HEAD.
    pub(crate) const fn told(self) -> StatusCode {
        match self {
            Self::Ietf(_) => StatusCode::NO_CONTENT,
            _ => StatusCode::OK,
        }
    }
}

/// Where a file is.
pub(crate) fn location(file: FileId) -> String {
    format!("{FILES}/{}", base64url(&file.0))
}

/// The method a request means.
fn method(request: &Request<()>, route: Route) -> Result<&str, Code> {
    let method = request.method();
    if *method == Method::POST
        && matches!(route, Route::File(_))
        && let Some(other) =
            one(request.headers(), "x-http-method-override").map_err(|()| Code::BadRequest)?
    {
        return Ok(other);
    }
    Ok(method.as_str())
}

/// What a request about files asks for.
pub(crate) fn ask(
    route: Route,
    dialect: Dialect,
    request: &Request<()>,
    end: bool,
    config: &WebConfig,
) -> Asked {
    let refused = |problem: Problem| Box::new(dialect.problem(problem, config));
    let headers = request.headers();
    let method = method(request, route).map_err(|code| refused(code.into()))?;
    if dialect == Dialect::Tus
        && method != "OPTIONS"
        && one(headers, "tus-resumable") != Ok(Some(tus::VERSION))
    {
        return Err(refused(Code::TusVersion.into()));
    }
    match (route, method) {
        (Route::Files | Route::File(_), "OPTIONS") => Err(Box::new(options(route, dialect, config))),
        (Route::Files, "POST") => create(dialect, request, end, config).map(Plan::Create).map_err(refused),
        (Route::File(file), "PATCH") => {
            append(dialect, file, headers, end).map(|append| Plan::Append(Box::new(append))).map_err(refused)
        }
        (Route::File(_), "HEAD" | "DELETE") if dialect.forbids(headers) => {
            Err(refused(Problem::new(Code::BadRequest).detail("such a request says nothing of the upload")))
        }
        (Route::File(file), "HEAD") => Ok(Plan::Status(file, Box::new(Wanted::read(headers)))),
        (Route::File(file), "GET") => Ok(Plan::Get(file, Box::new(Wanted::read(headers)))),
        (Route::File(file), "DELETE") => Ok(Plan::Delete(file)),
        _ => Err(Box::new(dialect.problem(Code::Method.into(), config).set(header::ALLOW, route.allow()))),
    }
}

fn options(route: Route, dialect: Dialect, config: &WebConfig) -> Answer {
    let answer = Answer::new(StatusCode::NO_CONTENT)
        .set(header::ALLOW, route.allow())
        .set(
            HeaderName::from_static("accept-patch"),
            "application/offset+octet-stream, application/partial-upload",
        )
        .set(HeaderName::from_static("tus-version"), tus::VERSION)
        .set(HeaderName::from_static("tus-extension"), tus::EXTENSIONS)
        .set(HeaderName::from_static("tus-checksum-algorithm"), tus::ALGORITHMS)
        .set(HeaderName::from_static("tus-max-size"), &config.max_file.to_string());
    // Who names no version is told what the latest one says.
    let version = if let Dialect::Ietf(version) = dialect { version } else { ietf::Version::LATEST };
    let answer = match version.limits(config, Some(config.upload_lifetime)) {
        Some(limits) => answer.set(HeaderName::from_static("upload-limit"), &limits),
        None => answer,
    };
    dialect.dress(answer)
}

/// A header that is a number.
fn count(headers: &HeaderMap, name: &str) -> Result<Option<u64>, Problem> {
    let value = one(headers, name).map_err(|()| Code::BadRequest)?;
    // Structured fields may have parameters, which say nothing here.
    let bare = |value: &str| number(value.split(';').next().unwrap_or_default().trim_end());
    value.map(|value| bare(value).ok_or(Problem::new(Code::BadRequest))).transpose()
}

/// How long the body says it is.
fn content_length(headers: &HeaderMap, end: bool) -> Result<Option<u64>, Problem> {
    let said = count(headers, "content-length")?;
    if end && said.is_some_and(|length| length > 0) {
        return Err(Code::LengthMismatch.into());
    }
    Ok(if end { Some(0) } else { said })
}

/// What every body may say of its digests.
fn digests(dialect: Dialect, headers: &HeaderMap) -> Result<(Expected, Option<[u8; 32]>), Problem> {
    let mut expected = Expected::read(headers, "content-digest")?;
    if dialect == Dialect::Tus
        && let Some(checksum) = one(headers, "upload-checksum").map_err(|()| Code::BadRequest)?
    {
        let other = Expected::read_checksum(checksum)?;
        expected.sha1 = other.sha1;
        expected.sha256 = other.sha256.or(expected.sha256);
    }
    let whole = Expected::read(headers, "repr-digest")?.sha256;
    Ok((expected, whole))
}

fn append(dialect: Dialect, file: FileId, headers: &HeaderMap, end: bool) -> Result<Append, Problem> {
    let length = content_length(headers, end)?;
    let (expected, whole) = digests(dialect, headers)?;
    let append = Append {
        file,
        start: 0,
        end: None,
        length: None,
        last: false,
        chains: false,
        expected,
        whole,
        dialect,
    };
    match dialect {
        Dialect::ContentRange => content_range::append(append, headers, length),
        Dialect::Tus => tus::append(append, headers, length),
        Dialect::Ietf(version) => ietf::append(append, version, headers, length),
    }
}

fn create(
    dialect: Dialect,
    request: &Request<()>,
    end: bool,
    config: &WebConfig,
) -> Result<Box<Create>, Problem> {
    let headers = request.headers();
    let body = content_length(headers, end)?;
    let (expected, whole) = digests(dialect, headers)?;
    let mut names = Names::of_query(request.uri().query().unwrap_or_default())?;
    let mut length = match dialect {
        Dialect::Ietf(version) => version.length(headers)?,
        _ => count(headers, "upload-length")?,
    };
    let mut last = false;
    match dialect {
        Dialect::ContentRange => {
            if length.is_none() && !end {
                (last, length) = (true, body);
            }
        }
        Dialect::Tus => {
            tus::created(headers, length, end)?;
            if let Some(metadata) = one(headers, "upload-metadata").map_err(|()| Code::BadRequest)? {
                names.of_metadata(metadata)?;
            }
        }
        Dialect::Ietf(_) => {
            last = ietf::complete(headers)?.ok_or(ietf::NOT_SAID)?;
            if last && length.is_none() {
                length = body;
            }
        }
    }
    if length.is_some_and(|length| length > config.max_file) {
        return Err(Code::TooLarge.into());
    }
    if let (Some(body), Some(length)) = (body, length)
        && (body > length || (last && body != length))
    {
        return Err(Code::LengthMismatch.into());
    }
    let conversation =
        names.conversation.ok_or(Problem::new(Code::BadRequest).detail("which conversation is it for?"))?;
    // Whoever says that nothing is all of it has said it, too.
    let body = (!end || last).then_some(Append {
        file: FileId([0; 16]),
        start: 0,
        end: body,
        length: None,
        last,
        chains: false,
        expected,
        whole,
        dialect,
    });
    Ok(Box::new(Create { upload_id: names.upload_id, conversation, length, digest: whole, body }))
}

/// What a creation says of where the file belongs.
#[derive(Debug, Default)]
struct Names {
    conversation: Option<ConversationId>,
    upload_id: Option<[u8; 16]>,
}

impl Names {
    fn of_query(query: &str) -> Result<Self, Problem> {
        let mut names = Self::default();
        for pair in query.split('&') {
            if let Some((key, value)) = pair.split_once('=') {
                names.set(key, value)?;
            }
        }
        Ok(names)
    }

    /// `Upload-Metadata`: pairs of a name and base64, with commas between.
    fn of_metadata(&mut self, metadata: &str) -> Result<(), Problem> {
        if metadata.len() > MAX_METADATA {
            return Err(Problem::new(Code::BadRequest).detail("too much Upload-Metadata"));
        }
        for pair in metadata.split(',') {
            if let Some((key @ ("conversation" | "upload_id"), value)) = pair.trim().split_once(' ') {
                let value = from_base64(value).and_then(|value| String::from_utf8(value).ok());
                self.set(key, &value.ok_or(Code::BadRequest)?)?;
            }
        }
        Ok(())
    }

    /// Said twice, it must be the same.
    fn set(&mut self, key: &str, value: &str) -> Result<(), Problem> {
        match key {
            "conversation" => {
                let read = id(value).map(ConversationId);
                let read = read.ok_or(
                    Problem::new(Code::BadRequest).detail("a conversation is 22 letters of base64url"),
                )?;
                if self.conversation.replace(read).is_some_and(|before| before != read) {
                    return Err(Problem::new(Code::BadRequest).detail("which conversation is it for?"));
                }
            }
            "upload_id" => {
                let legal = value.bytes().all(|byte| byte.is_ascii_graphic());
                if value.is_empty() || value.len() > MAX_UPLOAD_ID || !legal {
                    return Err(
                        Problem::new(Code::BadRequest).detail("an upload_id is 1 to 128 visible letters")
                    );
                }
                let read = name_key(value);
                if self.upload_id.replace(read).is_some_and(|before| before != read) {
                    return Err(Problem::new(Code::BadRequest).detail("two upload_ids"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
