//! The HTTP client under the exporter: HTTP/1.1 over one plain TCP connection a batch, blocking, on the exporter's own
//! thread. It takes no more of an answer than it needs.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};

/// The port of OTLP over HTTP.
const PORT: u16 = 4318;
/// How long a collector may take to be reached, and for each piece of its answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of an answer: a status, and perhaps which spans were refused.
const MAX_ANSWER: u64 = 64 * 1024;

/// `http://host[:port][/path]`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url<'a> {
    authority: &'a str,
    path: &'a str,
}

impl<'a> Url<'a> {
    pub(super) fn parse(url: &'a str) -> Option<Self> {
        let rest = url.strip_prefix("http://")?.trim_end_matches('/');
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let plain = |c: u8| c.is_ascii_graphic() && !matches!(c, b'@' | b'?' | b'#' | b'"' | b'\\');
        let url = Self { authority, path };
        let (host, _) = url.host()?;
        (!host.is_empty() && authority.bytes().all(plain) && path.bytes().all(plain)).then_some(url)
    }

    /// The host, without brackets, and the port.
    fn host(&self) -> Option<(&'a str, u16)> {
        let (host, port) = match self.authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (self.authority, PORT),
        };
        Some((host.trim_start_matches('[').trim_end_matches(']'), port))
    }

    /// As it was written, without a slash at the end.
    pub(super) fn text(&self) -> String {
        format!("http://{}{}", self.authority, self.path)
    }
}

/// The client.
pub(super) struct Plain;

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plain")
    }
}

#[async_trait::async_trait]
impl HttpClient for Plain {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        Ok(post(&request)?)
    }
}

fn post(request: &Request<Bytes>) -> io::Result<Response<Bytes>> {
    let url = request.uri().to_string();
    let url = Url::parse(&url).ok_or(io::ErrorKind::InvalidInput)?;
    let (host, port) = url.host().ok_or(io::ErrorKind::InvalidInput)?;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    let mut stream = None;
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(connected) => {
                stream = Some(connected);
                break;
            }
            Err(error) => last = error,
        }
    }
    let mut stream = stream.ok_or(last)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut head = format!("POST {} HTTP/1.1\r\nHost: {}\r\n", request.uri().path(), url.authority);
    for (name, value) in request.headers() {
        if let Ok(value) = value.to_str() {
            head += &format!("{name}: {value}\r\n");
        }
    }
    head += &format!("Content-Length: {}\r\nConnection: close\r\n\r\n", request.body().len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(request.body())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    let status = status(&answer).ok_or(io::ErrorKind::InvalidData)?;
    Response::builder().status(status).body(Bytes::new()).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// The status of an answer that has one.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "))?;
    rest.get(..3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_plain_http() {
        let host = |url| Url::parse(url).and_then(|url| url.host());
        assert_eq!(host("http://127.0.0.1:4318"), Some(("127.0.0.1", 4318)));
        assert_eq!(host("http://collector/"), Some(("collector", 4318)));
        assert_eq!(host("http://[::1]:99/otlp"), Some(("::1", 99)));
        assert_eq!(host("http://[::1]"), Some(("::1", 4318)));
        assert_eq!(Url::parse("http://a:1/b/").map(|url| url.text()), Some("http://a:1/b".into()));
        for bad in
            ["", "collector:4318", "https://collector", "http://", "http://a:x", "http://u@h", "http://a b"]
        {
            assert_eq!(Url::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_status_is_read_and_nothing_else_is_one() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\n\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 503\r\n"), Some(503));
        for bad in [&b""[..], b"HTTP/2 200", b"HTTP/1.1 2", b"\xff", b"HTTP/1.1 OK!"] {
            assert_eq!(status(bad), None);
        }
    }
}
