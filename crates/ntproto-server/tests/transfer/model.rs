//! A server of files, in memory.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http::{Method, Request, Response};
use ntproto_core::crypto::CryptoProvider as _;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::ids::FileId;
use ntproto_drive::Runtime as _;
use ntproto_drive::https::{Place, Visitor};
use ntproto_drive::runtime::Listener as _;
use ntproto_http::client::trust::Trust;
use ntproto_http::client::{Http, HttpError, Pending, h2};
use ntproto_http::files::Host;
use ntproto_http::server::{Answer, Came, CarrierId, ExchangeId, H2, Limits, Line, Server};
use ntproto_quic::tls::default_provider;
use ntproto_quic::{ALPN, ServerTls, WebCertificate};
use ntproto_tokio::Tokio;
use rustls::pki_types::PrivateKeyDer;
use zeroize::Zeroizing;

/// What goes wrong once so many bytes have come, or gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Everything under way breaks off.
    Cut,
    /// And what was not synced is gone.
    Kill,
    /// The token is good no more.
    NewSession,
}

/// Bytes synced at a time.
const SYNC: usize = 1 << 20;
/// Bytes of a piece of an answer.
const PIECE: usize = 64 * 1024;

#[derive(Default)]
struct State {
    files: BTreeMap<FileId, File>,
    by_upload: BTreeMap<String, FileId>,
    troubles: VecDeque<(u64, Trouble)>,
    session: u32,
    received: u64,
    served: u64,
    moved: u64,
    connections: usize,
    /// How often the host was told that its token is no good.
    refusals: usize,
    most: usize,
    /// The first connection reaches somebody whom no token is good enough for.
    usurped: bool,
    usurper: Option<CarrierId>,
}

#[derive(Default)]
struct File {
    bytes: Vec<u8>,
    total: usize,
}

/// A request that writes.
struct Writer {
    file: FileId,
    carrier: CarrierId,
    line: Line,
    /// Where it goes on, and ends.
    at: usize,
    end: usize,
    held: VecDeque<Bytes>,
    whole: bool,
}

pub(crate) struct Model {
    state: Arc<Mutex<State>>,
    at: SocketAddr,
    pin: [u8; 32],
    /// Of the certificate that others are shown.
    pub(crate) web_hash: [u8; 32],
}

pub(crate) struct Reach {
    state: Arc<Mutex<State>>,
    at: SocketAddr,
    pub(crate) trust: Trust,
}

impl Host for Reach {
    fn base(&self) -> String {
        "https://localhost".into()
    }

    fn connect(&self) -> Pending<'_, Result<Arc<dyn Http>, HttpError>> {
        Box::pin(async {
            let config = self.trust.clone().config(default_provider(), &[h2::ALPN]).unwrap();
            let name = "localhost".try_into().unwrap();
            let connection = h2::connect(&Tokio, self.at, name, Arc::new(config)).await?;
            self.state.lock().unwrap().connections += 1;
            Ok(Arc::new(connection) as Arc<dyn Http>)
        })
    }

    fn token(&self) -> Pending<'_, Option<Zeroizing<String>>> {
        let session = self.state.lock().unwrap().session;
        Box::pin(async move { Some(Zeroizing::new(format!("token-{session}"))) })
    }

    fn refused(&self) -> Pending<'_, ()> {
        let mut state = self.state.lock().unwrap();
        state.refusals += 1;
        // A session that looks at itself finds out that there is another one.
        state.session += u32::from(state.usurper.is_some());
        Box::pin(async {})
    }
}

impl Model {
    pub(crate) async fn start(troubles: &[(u64, Trouble)]) -> Self {
        let made = |kind| {
            let key = rcgen::KeyPair::generate_for(kind).unwrap();
            let made = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            let made = made.self_signed(&key).unwrap().der().clone();
            (made, PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        };
        // As a server has them: one for native clients, one for all others.
        let (native, native_key) = made(&rcgen::PKCS_ED25519);
        let (web, web_key) = made(&rcgen::PKCS_ECDSA_P256_SHA256);
        let pin = Self::pin_of(&native);
        let native = ServerTls::new(default_provider(), vec![native], native_key, &[ALPN]).unwrap();
        let web = WebCertificate::new(&default_provider(), vec![web], web_key).unwrap().beside(&native);
        let web_hash = web.hash().unwrap();
        let mut tls = rustls::ServerConfig::builder_with_provider(default_provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(web));
        tls.alpn_protocols = vec![H2.to_vec()];
        let (server, came) = Server::new(Tokio, Arc::new(tls), Limits::default());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let at = listener.local_addr().unwrap();
        let listener = Tokio.listener(listener).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, remote)) = listener.accept().await {
                server.accept(Visitor { stream, remote, place: Place::nowhere() });
            }
        });
        let state =
            Arc::new(Mutex::new(State { troubles: troubles.iter().copied().collect(), ..State::default() }));
        let mut serving =
            Serving { state: Arc::clone(&state), writers: BTreeMap::new(), readers: BTreeMap::new() };
        tokio::spawn(async move {
            while let Ok(came) = came.recv().await {
                serving.came(came);
            }
        });
        Self { state, at, pin, web_hash }
    }

    fn pin_of(certificate: &rustls::pki_types::CertificateDer<'_>) -> [u8; 32] {
        let parsed = rustls::server::ParsedCertificate::try_from(certificate).unwrap();
        RUSTCRYPTO.sha256(&[&parsed.subject_public_key_info()])
    }

    pub(crate) fn host(&self) -> Reach {
        Reach { state: Arc::clone(&self.state), at: self.at, trust: Trust::Keys(vec![self.pin]) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn stored(&self, file: FileId) -> Vec<u8> {
        self.lock().files[&file].bytes.clone()
    }

    pub(crate) fn spoil(&self, file: FileId) {
        self.lock().files.get_mut(&file).unwrap().bytes[70_000] ^= 1;
    }

    pub(crate) fn received(&self) -> u64 {
        self.lock().received
    }

    pub(crate) fn served(&self) -> u64 {
        self.lock().served
    }

    pub(crate) fn connections(&self) -> usize {
        self.lock().connections
    }

    pub(crate) fn refusals(&self) -> usize {
        self.lock().refusals
    }

    /// From now on whoever is reached first refuses every token.
    pub(crate) fn usurp(&self) {
        self.lock().usurped = true;
    }

    pub(crate) fn most_under_way(&self) -> usize {
        self.lock().most
    }

    pub(crate) fn trouble(&self, troubles: &[(u64, Trouble)]) {
        let mut state = self.lock();
        state.moved = 0;
        state.troubles = troubles.iter().copied().collect();
    }
}

struct Serving {
    state: Arc<Mutex<State>>,
    writers: BTreeMap<ExchangeId, Writer>,
    readers: BTreeMap<ExchangeId, (Line, VecDeque<Bytes>)>,
}

fn letters(file: FileId) -> String {
    // The number is one byte 16 times; its letters are looked up by what they decode to.
    const ALL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bits = u128::from_be_bytes(file.0);
    let last = (bits & 3) as usize;
    bits >>= 2;
    let mut text = vec![ALL[last << 4]];
    for _ in 0..21 {
        text.push(ALL[(bits & 63) as usize]);
        bits >>= 6;
    }
    text.reverse();
    String::from_utf8(text).unwrap()
}

fn answer(line: &Line, status: u16, headers: &[(&str, String)]) {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, value);
    }
    // Whoever is gone is not answered.
    let _ = line.send(Answer::Head(response.body(()).unwrap(), true));
}

impl File {
    fn etag(&self) -> String {
        let hash = RUSTCRYPTO.sha256(&[&self.bytes]);
        format!("\"{}\"", hash.iter().map(|b| format!("{b:02x}")).collect::<String>())
    }

    fn about(&self) -> Vec<(&'static str, String)> {
        let mut about = vec![("upload-offset", self.bytes.len().to_string())];
        if self.bytes.len() == self.total {
            about.extend([("upload-complete", "?1".into()), ("etag", self.etag())]);
        }
        about
    }
}

impl Serving {
    fn came(&mut self, came: Came) {
        match came {
            Came::Head { exchange, carrier, request, line, .. } => {
                self.head(exchange, carrier, &request, line)
            }
            Came::Data { exchange, data } => {
                if let Some(writer) = self.writers.get_mut(&exchange) {
                    writer.held.push_back(data);
                }
            }
            Came::End { exchange } => {
                if let Some(writer) = self.writers.get_mut(&exchange) {
                    writer.whole = true;
                }
            }
            Came::Room { exchange } => self.serve(exchange),
            Came::Gone { exchange } => {
                self.writers.remove(&exchange);
                self.readers.remove(&exchange);
            }
        }
        self.write();
        let due = {
            let mut state = self.state.lock().unwrap();
            let due = state.troubles.front().is_some_and(|(at, _)| state.moved >= *at);
            if due { state.troubles.pop_front() } else { None }
        };
        if let Some((_, trouble)) = due {
            self.strike(trouble);
        }
    }

    fn strike(&mut self, trouble: Trouble) {
        if trouble == Trouble::NewSession {
            self.state.lock().unwrap().session += 1;
            for writer in std::mem::take(&mut self.writers).into_values() {
                answer(&writer.line, 401, &[]);
            }
            return;
        }
        // Dropped lines reset their exchanges.
        self.writers.clear();
        self.readers.clear();
        if trouble == Trouble::Kill {
            for file in self.state.lock().unwrap().files.values_mut() {
                let synced = file.bytes.len() / SYNC * SYNC;
                file.bytes.truncate(synced);
            }
        }
    }

    fn head(&mut self, exchange: ExchangeId, carrier: CarrierId, request: &Request<()>, line: Line) {
        let mut state = self.state.lock().unwrap();
        let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap());
        if std::mem::take(&mut state.usurped) {
            state.usurper = Some(carrier);
        }
        if state.usurper == Some(carrier) {
            return answer(&line, 401, &[]);
        }
        if header("authorization") != Some(&format!("Bearer token-{}", state.session)) {
            return answer(&line, 401, &[]);
        }
        if request.method() == Method::POST {
            let State { by_upload, files, .. } = &mut *state;
            let next = FileId([by_upload.len() as u8 + 1; 16]);
            let file = *by_upload.entry(request.uri().to_string()).or_insert(next);
            let total = header("upload-length").unwrap().parse().unwrap();
            let made = files.entry(file).or_insert(File { bytes: Vec::new(), total });
            let mut about = made.about();
            about.push(("location", format!("/v2/files/{}", letters(file))));
            return answer(&line, 201, &about);
        }
        let named = request.uri().path().strip_prefix("/v2/files/").unwrap().to_owned();
        let file = state.files.keys().copied().find(|file| letters(*file) == named);
        let Some(file) = file else { return answer(&line, 404, &[]) };
        match *request.method() {
            Method::HEAD => {
                // Whoever looks is the only writer from here on.
                self.writers.retain(|_, writer| writer.file != file);
                answer(&line, 200, &state.files[&file].about());
            }
            Method::PATCH => {
                let range = header("content-range").unwrap().strip_prefix("bytes ").unwrap();
                let (first, last) = range.split_once('/').unwrap().0.split_once('-').unwrap();
                let (at, end) = (first.parse().unwrap(), last.parse::<usize>().unwrap() + 1);
                let (held, whole) = (VecDeque::new(), false);
                self.writers.insert(exchange, Writer { file, carrier, line, at, end, held, whole });
                state.most = state.most.max(self.writers.len());
            }
            Method::GET => {
                let etag = state.files[&file].etag();
                let range = header("range").unwrap().strip_prefix("bytes=").unwrap();
                let (first, last) = range.split_once('-').unwrap();
                let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
                let bytes = &state.files[&file].bytes;
                let head = Response::builder().header("etag", &etag);
                let (head, part) = match header("if-range") {
                    Some(known) if known != etag => (head.status(200), &bytes[..]),
                    _ => {
                        let range = format!("bytes {first}-{last}/{}", bytes.len());
                        (head.status(206).header("content-range", range), &bytes[first..=last])
                    }
                };
                let pieces = part.chunks(PIECE).map(Bytes::copy_from_slice).collect();
                let _ = line.send(Answer::Head(head.body(()).unwrap(), false));
                self.readers.insert(exchange, (line, pieces));
                drop(state);
                self.serve(exchange);
            }
            _ => answer(&line, 405, &[]),
        }
    }

    fn serve(&mut self, exchange: ExchangeId) {
        let Some((line, pieces)) = self.readers.get_mut(&exchange) else { return };
        let Some(piece) = pieces.pop_front() else { return };
        {
            let mut state = self.state.lock().unwrap();
            state.served += piece.len() as u64;
            state.moved += piece.len() as u64;
        }
        let _ = line.send(Answer::Data(piece, pieces.is_empty()));
        if pieces.is_empty() {
            self.readers.remove(&exchange);
        }
    }

    /// Writes what stands at its file's offset; the others wait for it.
    fn write(&mut self) {
        let mut state = self.state.lock().unwrap();
        loop {
            let State { files, received, moved, .. } = &mut *state;
            let turn = self.writers.iter_mut().find(|(_, writer)| {
                writer.at == files[&writer.file].bytes.len()
                    && (!writer.held.is_empty() || writer.at == writer.end)
            });
            let Some((exchange, writer)) = turn else { break };
            let file = files.get_mut(&writer.file).unwrap();
            while let Some(data) = writer.held.pop_front() {
                file.bytes.extend_from_slice(&data);
                writer.at += data.len();
                *received += data.len() as u64;
                *moved += data.len() as u64;
                let _ = writer.line.send(Answer::Consumed(data.len()));
            }
            if writer.at < writer.end || !writer.whole {
                break;
            }
            answer(&writer.line, 204, &file.about());
            let exchange = *exchange;
            self.writers.remove(&exchange);
        }
        // One whose bytes nobody is about to bring is told so.
        let missing: Vec<_> = self
            .writers
            .iter()
            .filter(|(_, writer)| {
                let before = |other: &&Writer| other.carrier == writer.carrier && other.end == writer.at;
                writer.at != state.files[&writer.file].bytes.len()
                    && self.writers.values().find(before).is_none()
            })
            .map(|(exchange, _)| *exchange)
            .collect();
        for exchange in missing {
            let writer = self.writers.remove(&exchange).unwrap();
            answer(&writer.line, 409, &state.files[&writer.file].about());
        }
    }
}
