//! Heads of requests and responses (RFC 9114, section 4.3): what may stand in them, and the types of the `http`
//! crate.

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderName, PROXY_AUTHORIZATION, SET_COOKIE, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};

use crate::config::Limits;
use crate::qpack::section::{self, FIELD_OVERHEAD};
use crate::qpack::{Budget, Field, SectionError};
use crate::{Code, Misuse};

/// `:protocol` of an extended CONNECT (RFC 9220): an extension of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol(pub String);

/// A head that breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// A rule of QPACK: the connection is lost.
    Section,
    /// More than is taken.
    TooLarge,
    /// A rule of HTTP: the message is lost.
    Malformed,
}

impl HeadError {
    /// The code that says so.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Section => Code::QPACK_DECOMPRESSION_FAILED,
            Self::TooLarge => Code::EXCESSIVE_LOAD,
            Self::Malformed => Code::MESSAGE_ERROR,
        }
    }
}

/// A head, read.
#[derive(Debug)]
pub struct Read<T> {
    /// It.
    pub head: T,
    /// What it says of the length of the body.
    pub length: Option<u64>,
}

/// Pseudo-header fields, by their place in [`PSEUDO`].
const PSEUDO: [&[u8]; 6] = [b":method", b":scheme", b":authority", b":path", b":protocol", b":status"];

/// A section, taken apart.
#[derive(Default)]
struct Section {
    pseudo: [Option<Bytes>; 6],
    fields: HeaderMap,
    regular: bool,
    malformed: bool,
}

/// Fields that speak of a connection of HTTP/1.1, which there is none of (RFC 9114, section 4.2).
fn is_of_connection(name: &HeaderName) -> bool {
    [CONNECTION, TRANSFER_ENCODING, UPGRADE].contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// Fields whose values are nobody else's business, marked or not.
fn is_secret(name: &HeaderName) -> bool {
    [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, SET_COOKIE].contains(name)
}

impl Section {
    fn read(bytes: &[u8], limits: &Limits) -> Result<Self, HeadError> {
        let mut section = Self::default();
        let budget = Budget { fields: limits.fields, bytes: limits.field_section };
        section::decode(bytes, budget, |field| {
            if !section.malformed {
                section.malformed = section.add(field).is_none();
            }
        })
        .map_err(|error| match error {
            SectionError::Malformed => HeadError::Section,
            SectionError::TooLarge => HeadError::TooLarge,
        })?;
        if section.malformed { Err(HeadError::Malformed) } else { Ok(section) }
    }

    /// Takes one field; `None` if it may not be.
    //= spec: http3-13
    fn add(&mut self, field: Field<'_>) -> Option<()> {
        if field.name.first() == Some(&b':') {
            let slot = &mut self.pseudo[PSEUDO.iter().position(|name| *name == field.name)?];
            if self.regular || slot.is_some() {
                return None;
            }
            *slot = Some(Bytes::copy_from_slice(field.value));
            return Some(());
        }
        self.regular = true;
        // Names in capitals are refused, not made small.
        let name = HeaderName::from_lowercase(field.name).ok()?;
        let edge = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        if is_of_connection(&name)
            || (name == TE && field.value != b"trailers")
            || edge(field.value.first())
            || edge(field.value.last())
        {
            return None;
        }
        let mut value = HeaderValue::from_bytes(field.value).ok()?;
        value.set_sensitive(field.never_indexed || is_secret(&name));
        self.fields.try_append(name, value).ok()?;
        Some(())
    }

    fn take(&mut self, index: usize) -> Option<Bytes> {
        self.pseudo[index].take()
    }

    /// Pieces of a cookie are one cookie (RFC 9114, section 4.2.1).
    fn join_cookies(&mut self) -> Option<()> {
        if self.fields.get_all(COOKIE).iter().nth(1).is_some() {
            let pieces: Vec<&[u8]> = self.fields.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
            let mut whole = HeaderValue::from_bytes(&pieces.join(&b"; "[..])).ok()?;
            whole.set_sensitive(true);
            self.fields.insert(COOKIE, whole);
        }
        Some(())
    }

    /// The length that is announced; `Err` if it is none, or if there are two.
    fn length(&self) -> Option<Option<u64>> {
        let mut length = None;
        for value in self.fields.get_all(CONTENT_LENGTH) {
            let text = value.to_str().ok()?;
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let this = text.parse().ok()?;
            if length.is_some_and(|other: u64| other != this) {
                return None;
            }
            length = Some(this);
        }
        Some(length)
    }

    //= spec: http3-14
    fn request(mut self) -> Option<Read<Request<()>>> {
        self.join_cookies()?;
        let length = self.length()?;
        let method = Method::from_bytes(&self.take(0)?).ok()?;
        let (scheme, authority, path) = (self.take(1), self.take(2), self.take(3));
        let protocol = self.take(4);
        if self.take(5).is_some() || (protocol.is_some() && method != Method::CONNECT) {
            return None;
        }
        let mut hosts = self.fields.get_all(HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (host, None) => host.map(|host| Bytes::copy_from_slice(host.as_bytes())),
            _ => return None,
        };
        if host.is_some() && authority.is_some() && host != authority {
            return None;
        }
        let mut uri = Uri::builder();
        if method == Method::CONNECT && protocol.is_none() {
            if scheme.is_some() || path.is_some() {
                return None;
            }
            uri = uri.authority(authority_of(authority?)?);
        } else {
            let scheme = scheme.filter(|scheme| !scheme.is_empty())?;
            let scheme = Scheme::try_from(scheme.as_ref()).ok()?;
            let web = scheme == Scheme::HTTPS || scheme == Scheme::HTTP;
            let path = path?;
            let whole = path.first() == Some(&b'/') || (path[..] == b"*"[..] && method == Method::OPTIONS);
            if web && !whole {
                return None;
            }
            uri = uri.scheme(scheme).authority(authority_of(authority.or(host)?)?);
            uri = uri.path_and_query(PathAndQuery::from_maybe_shared(path).ok()?);
        }
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = uri.build().ok()?;
        *request.version_mut() = Version::HTTP_3;
        *request.headers_mut() = self.fields;
        if let Some(protocol) = protocol {
            let protocol = std::str::from_utf8(&protocol).ok()?;
            request.extensions_mut().insert(Protocol(protocol.to_owned()));
        }
        Some(Read { head: request, length })
    }

    fn response(mut self) -> Option<Read<Response<()>>> {
        let length = self.length()?;
        let status = StatusCode::from_bytes(&self.take(5)?).ok()?;
        // Pseudo-header fields of requests have no place here; nor has a switch of protocols.
        if self.pseudo.iter().any(Option::is_some) || status == StatusCode::SWITCHING_PROTOCOLS {
            return None;
        }
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.version_mut() = Version::HTTP_3;
        *response.headers_mut() = self.fields;
        Some(Read { head: response, length })
    }
}

/// A host, and maybe a port; no user.
fn authority_of(bytes: Bytes) -> Option<Authority> {
    if bytes.is_empty() || bytes.contains(&b'@') {
        return None;
    }
    Authority::from_maybe_shared(bytes).ok()
}

/// Reads the head of a request.
///
/// # Errors
/// What is wrong with it.
pub fn read_request(bytes: &[u8], limits: &Limits) -> Result<Read<Request<()>>, HeadError> {
    Section::read(bytes, limits)?.request().ok_or(HeadError::Malformed)
}

/// Reads the head of a response.
///
/// # Errors
/// What is wrong with it.
pub fn read_response(bytes: &[u8], limits: &Limits) -> Result<Read<Response<()>>, HeadError> {
    Section::read(bytes, limits)?.response().ok_or(HeadError::Malformed)
}

/// Looks at trailers, and forgets them: nothing here wants any.
///
/// # Errors
/// What is wrong with them.
pub fn check_trailers(bytes: &[u8], limits: &Limits) -> Result<(), HeadError> {
    let section = Section::read(bytes, limits)?;
    if section.pseudo.iter().any(Option::is_some) { Err(HeadError::Malformed) } else { Ok(()) }
}

/// A section being written, and its size as the peer counts it.
struct Writer {
    out: Vec<u8>,
    size: u64,
}

impl Writer {
    fn new() -> Self {
        let mut out = Vec::new();
        section::begin(&mut out);
        Self { out, size: 0 }
    }

    fn put(&mut self, name: &[u8], value: &[u8], never_indexed: bool) {
        self.size += (name.len() + value.len() + FIELD_OVERHEAD) as u64;
        section::encode(Field { name, value, never_indexed }, &mut self.out);
    }

    fn fields(&mut self, fields: &HeaderMap) -> Result<(), Misuse> {
        for (name, value) in fields {
            if is_of_connection(name) || (name == TE && value != "trailers") {
                return Err(Misuse::Head);
            }
            if name != HOST {
                let secret = value.is_sensitive() || is_secret(name);
                self.put(name.as_str().as_bytes(), value.as_bytes().trim_ascii(), secret);
            }
        }
        Ok(())
    }

    fn done(self, limit: Option<u64>) -> Result<Vec<u8>, Misuse> {
        if limit.is_some_and(|limit| self.size > limit) { Err(Misuse::TooLarge) } else { Ok(self.out) }
    }
}

/// Writes the head of a request as a section; `limit` is what the peer takes. A `host` field is left out: the
/// authority of the address says it.
///
/// # Errors
/// A head that HTTP/3 can't say, or that is too long.
pub fn write_request(
    head: &Request<()>,
    protocol: Option<&str>,
    limit: Option<u64>,
) -> Result<Vec<u8>, Misuse> {
    let (method, uri) = (head.method(), head.uri());
    let authority = uri.authority().ok_or(Misuse::Head)?.as_str();
    if authority.contains('@') || (protocol.is_some() && method != Method::CONNECT) {
        return Err(Misuse::Head);
    }
    let mut writer = Writer::new();
    writer.put(PSEUDO[0], method.as_str().as_bytes(), false);
    if method != Method::CONNECT || protocol.is_some() {
        let scheme = uri.scheme_str().ok_or(Misuse::Head)?;
        writer.put(PSEUDO[1], scheme.as_bytes(), false);
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let path = if path.is_empty() { "/" } else { path };
        writer.put(PSEUDO[3], path.as_bytes(), false);
    }
    writer.put(PSEUDO[2], authority.as_bytes(), false);
    if let Some(protocol) = protocol {
        writer.put(PSEUDO[4], protocol.as_bytes(), false);
    }
    writer.fields(head.headers())?;
    writer.done(limit)
}

/// Writes the head of a response as a section; `limit` is what the peer takes.
///
/// # Errors
/// A head that HTTP/3 can't say, or that is too long.
pub fn write_response(head: &Response<()>, limit: Option<u64>) -> Result<Vec<u8>, Misuse> {
    if head.status().is_informational() {
        return Err(Misuse::Head);
    }
    let mut writer = Writer::new();
    writer.put(PSEUDO[5], head.status().as_str().as_bytes(), false);
    writer.fields(head.headers())?;
    writer.done(limit)
}
