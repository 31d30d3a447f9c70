//! The HTTP client under the exporter: HTTP/1.1 over one TCP connection a batch, with TLS or without, blocking, on the
//! exporter's own thread. It takes no more of an answer than it needs.

use std::fmt;
use std::io;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ntproto_quic::tls::default_provider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// The port of OTLP over HTTP.
const PORT: u16 = 4318;
/// Of HTTPS: collectors that are far away are behind whatever else is.
const TLS_PORT: u16 = 443;
/// How long a collector may take to be reached, and then from the first byte of a batch to the last of the answer's head.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of the head of an answer, and of those that only say that it comes.
const MAX_HEAD: usize = 64 * 1024;
/// Bytes that are read at a time: most heads have fewer.
const PIECE: usize = 1024;
/// What a head ends with.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// `http://host[:port][/path]`, or `https://…`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url<'a> {
    is_tls: bool,
    authority: &'a str,
    path: &'a str,
}

impl<'a> Url<'a> {
    pub(super) fn parse(url: &'a str) -> Option<Self> {
        let (is_tls, rest) = match url.strip_prefix("https://") {
            Some(rest) => (true, rest),
            None => (false, url.strip_prefix("http://")?),
        };
        let rest = rest.trim_end_matches('/');
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let plain = |c: u8| c.is_ascii_graphic() && !matches!(c, b'@' | b'?' | b'#' | b'"' | b'\\');
        let url = Self { is_tls, authority, path };
        let (host, _) = url.host()?;
        (!host.is_empty() && authority.bytes().all(plain) && path.bytes().all(plain)).then_some(url)
    }

    /// The host, without brackets, and the port.
    fn host(&self) -> Option<(&'a str, u16)> {
        let (host, port) = match self.authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (self.authority, if self.is_tls { TLS_PORT } else { PORT }),
        };
        Some((host.trim_start_matches('[').trim_end_matches(']'), port))
    }

    /// As it was written, without a slash at the end.
    pub(super) fn text(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority, self.path)
    }
}

/// The client.
pub(super) struct Client {
    /// Whom it trusts, where the collector is asked by HTTPS.
    tls: Option<Arc<ClientConfig>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("is_tls", &self.tls.is_some()).finish()
    }
}

impl Client {
    /// For this collector. `roots` are looked for when it takes some.
    pub(super) fn new(
        url: &Url<'_>,
        roots: impl FnOnce() -> Result<RootCertStore, String>,
    ) -> Result<Self, String> {
        if !url.is_tls {
            return Ok(Self { tls: None });
        }
        let mut config = ClientConfig::builder_with_provider(default_provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots()?)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { tls: Some(Arc::new(config)) })
    }

    fn post(&self, request: &Request<Bytes>) -> io::Result<Response<Bytes>> {
        let url = request.uri().to_string();
        let url = Url::parse(&url).ok_or(io::ErrorKind::InvalidInput)?;
        let (host, port) = url.host().ok_or(io::ErrorKind::InvalidInput)?;
        let stream = Timed { stream: reach(host, port)?, until: Instant::now() + PATIENCE };
        let status = match &self.tls {
            // Never in the clear where TLS was asked for, whatever the request says.
            None if url.is_tls => return Err(io::ErrorKind::InvalidInput.into()),
            None => exchange(stream, &url, request)?,
            Some(config) => {
                let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
                let tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
                exchange(StreamOwned::new(tls, stream), &url, request)?
            }
        };
        Response::builder().status(status).body(Bytes::new()).map_err(|_| io::ErrorKind::InvalidData.into())
    }
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        Ok(self.post(&request)?)
    }
}

/// Whom this machine trusts.
pub(super) fn system_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(|e| format!(" ({e})")).unwrap_or_default();
        return Err(format!("this system trusts no authority{why}: install ca-certificates"));
    }
    Ok(roots)
}

fn reach(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A connection that is read and written until an instant, whatever comes in pieces before it.
struct Timed {
    stream: TcpStream,
    until: Instant,
}

impl Timed {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl io::Read for Timed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buf)
    }
}

impl io::Write for Timed {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// The status of what the collector answers: its head is enough, and the connection may stay open behind it.
fn exchange(
    mut stream: impl io::Read + io::Write,
    url: &Url<'_>,
    request: &Request<Bytes>,
) -> io::Result<u16> {
    let mut head = format!("POST {} HTTP/1.1\r\nHost: {}\r\n", request.uri().path(), url.authority);
    for (name, value) in request.headers() {
        if let Ok(value) = value.to_str() {
            head += &format!("{name}: {value}\r\n");
        }
    }
    head += &format!("Content-Length: {}\r\nConnection: close\r\n\r\n", request.body().len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(request.body())?;
    stream.flush()?;
    let (mut answer, mut piece) = (Vec::new(), [0; PIECE]);
    while answer.len() < MAX_HEAD {
        match stream.read(&mut piece) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => answer.extend_from_slice(&piece[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        let mut rest = &answer[..];
        while let Some(end) = rest.windows(HEAD_END.len()).position(|at| at == HEAD_END) {
            match status(rest).ok_or(io::ErrorKind::InvalidData)? {
                // It only says that the answer comes.
                100..=199 => rest = &rest[end + HEAD_END.len()..],
                status => return Ok(status),
            }
        }
    }
    Err(io::ErrorKind::InvalidData.into())
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
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn endpoints_are_http_with_tls_or_without() {
        let host = |url| Url::parse(url).and_then(|url| url.host());
        assert_eq!(host("http://127.0.0.1:4318"), Some(("127.0.0.1", 4318)));
        assert_eq!(host("http://collector/"), Some(("collector", 4318)));
        assert_eq!(host("http://[::1]:99/otlp"), Some(("::1", 99)));
        assert_eq!(host("http://[::1]"), Some(("::1", 4318)));
        assert_eq!(host("https://collector"), Some(("collector", 443)));
        assert_eq!(host("https://[::1]:4318/otlp"), Some(("::1", 4318)));
        assert_eq!(Url::parse("https://a/b/").map(|url| url.text()), Some("https://a/b".into()));
        assert_eq!(Url::parse("http://a:1/b/").map(|url| url.text()), Some("http://a:1/b".into()));
        for bad in [
            "",
            "collector:4318",
            "ftp://collector",
            "https://",
            "http://",
            "http://a:x",
            "http://u@h",
            "http://a b",
        ] {
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

    /// A collector of one connection, which is told of when the request is there; its URL.
    fn answering(answer: impl FnOnce(TcpStream) + Send + 'static) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\nspan") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            answer(stream);
        });
        url
    }

    fn post(url: &str) -> io::Result<u16> {
        let client = Client::new(&Url::parse(url).unwrap(), || unreachable!("it needs no roots")).unwrap();
        let request = Request::post(format!("{url}/v1/traces")).body(Bytes::from_static(b"span")).unwrap();
        client.post(&request).map(|answer| answer.status().as_u16())
    }

    #[test]
    fn the_head_of_an_answer_is_enough() {
        // One that keeps the connection open, and one that says first that it has heard.
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        ] {
            let (done, open) = std::sync::mpsc::channel::<()>();
            let url = answering(move |mut stream| {
                stream.write_all(answer.as_bytes()).unwrap();
                // It stays open until the test is over.
                let _ = open.recv();
            });
            assert_eq!(post(&url).unwrap(), 200, "{answer}");
            drop(done);
        }
        for broken in
            ["", "HTTP/1.1 200 OK\r\nA: b\r\n", "HTTP/1.1 100 Continue\r\n\r\n", "ICY 200 OK\r\n\r\n"]
        {
            let url = answering(move |mut stream| stream.write_all(broken.as_bytes()).unwrap());
            assert!(post(&url).is_err(), "{broken}");
        }
    }

    /// Each piece comes in time, and the whole never does.
    #[test]
    fn a_collector_that_never_comes_to_an_end_is_left() {
        let url = answering(|mut stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nA: ").unwrap();
            while stream.write_all(b"b").is_ok() {
                std::thread::sleep(PATIENCE / 100);
            }
        });
        let error = post(&url).unwrap_err();
        assert!(matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock), "{error}");
    }

    /// A collector behind TLS, for `localhost`: its URL, the authority that vouches for it, and the first lines that come.
    fn collector() -> (String, RootCertStore, std::sync::mpsc::Receiver<String>) {
        use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let config = rustls::ServerConfig::builder_with_provider(default_provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (lines, came) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            use std::io::BufRead as _;
            for stream in listener.incoming() {
                let tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = io::BufReader::new(StreamOwned::new(tls, stream.unwrap()));
                let mut head = String::new();
                // Whoever does not trust it says nothing.
                while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).is_ok_and(|n| n > 0) {}
                if head.is_empty() {
                    continue;
                }
                let mut body = [0; 4];
                stream.read_exact(&mut body).unwrap();
                let line = head.lines().next().unwrap().to_owned();
                lines.send(line + " " + std::str::from_utf8(&body).unwrap()).unwrap();
                // It ends without a goodbye.
                let answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
                stream.get_mut().write_all(answer).unwrap();
                stream.get_mut().flush().unwrap();
            }
        });
        (format!("https://localhost:{port}/otlp"), roots, came)
    }

    #[test]
    fn spans_go_by_tls_to_a_collector_that_is_trusted_and_to_no_other() {
        let (url, roots, came) = collector();
        let client = |url: &str, roots| Client::new(&Url::parse(url).unwrap(), move || Ok(roots)).unwrap();
        let post = |client: &Client, url: &str| {
            let request =
                Request::post(format!("{url}/v1/traces")).body(Bytes::from_static(b"span")).unwrap();
            client.post(&request).map(|answer| answer.status().as_u16())
        };
        let trusting = client(&url, roots.clone());
        assert_eq!(post(&trusting, &url).unwrap(), 202);
        assert_eq!(came.recv().unwrap(), "POST /otlp/v1/traces HTTP/1.1 span");
        // Another authority, another name, and a client that has no TLS.
        let (_, others, _) = collector();
        assert!(post(&client(&url, others), &url).is_err());
        assert!(post(&trusting, &url.replace("localhost", "127.0.0.1")).is_err());
        assert!(post(&client("http://collector", RootCertStore::empty()), &url).is_err());
        assert!(came.try_recv().is_err(), "nothing was said to it");
    }
}
