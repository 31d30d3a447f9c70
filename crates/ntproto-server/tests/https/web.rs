//! Files of a whole server, by HTTPS: every dialect, both versions of HTTP, across a restart.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::ids::ConversationId;
use ntproto_core::rng::Rng;
use ntproto_http::server::{H2, HTTP1};
use ntproto_sdk::driver::Server as ServerAt;
use ntproto_sdk::store::MemoryStore;
use ntproto_sdk::{Client, Credential, Options};
use ntproto_server::config::ServerConfig;
use ntproto_server::run::{Running, Server};
use ntproto_tokio::Clock;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::common::{Peer, Sent, collect, within};
use crate::h3;
use crate::raw::{Raw, apart};

const PATCH: Method = Method::PATCH;

struct World {
    dir: tempfile::TempDir,
    server: Running,
}

pub(crate) fn config(dir: &Path, listen: &str) -> ServerConfig {
    ServerConfig {
        listen: listen.parse().unwrap(),
        data_dir: dir.join("data"),
        open_registration: true,
        drain_timeout: Duration::from_secs(1),
        ..ServerConfig::default()
    }
}

/// An answer, with its body.
pub(crate) type Got = (Response<()>, Bytes);

impl World {
    async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    async fn start_with(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path(), "127.0.0.1:0");
        change(&mut config);
        let server = Server::start(config).await.unwrap();
        Self { dir, server }
    }

    async fn h3(&self) -> h3::Client {
        h3::Client::connect(self.server.local_addr, &self.certificate()).await
    }

    /// Two clients, and where one may write what the other may read.
    async fn pair(&self) -> (Client, Client, String) {
        let (alice, bob) = (self.client(1).await, self.client(2).await);
        let pair = ConversationId::direct(alice.identity().unwrap().uin, bob.identity().unwrap().uin);
        (alice, bob, base64url(&pair.0))
    }

    /// An upload that somebody has begun.
    async fn upload(&self, to: &str, token: &str, length: usize) -> String {
        let (create, length) = (format!("/v2/files?conversation={to}"), length.to_string());
        let mut peer = self.peer(H2).await;
        let got = ask(&mut peer, Method::POST, &create, token, &[("upload-length", &length)], "").await;
        assert_eq!(got.0.status(), StatusCode::CREATED, "{got:?}");
        header(&got, "location").to_owned()
    }

    async fn restart(self) -> Self {
        let Self { dir, server } = self;
        let at = server.local_addr.to_string();
        within(server.shutdown()).await.unwrap();
        let server = Server::start(config(dir.path(), &at)).await.unwrap();
        Self { dir, server }
    }

    async fn client(&self, seed: u8) -> Client {
        let keys = DeviceKeys::generate(&mut Rng::new([seed; 32]), &RUSTCRYPTO);
        let server = ServerAt::new(&self.server.connect_string, Clock::start().now().unix).unwrap();
        let mut options = Options::new(server, keys, Box::new(MemoryStore::new()));
        options.enrol = Some(Credential::Open);
        let client = ntproto_tokio::connect(options).await.unwrap();
        within(client.online()).await.unwrap();
        client
    }

    fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.dir.path().join("data/web.pem")).unwrap()
    }

    async fn peer(&self, alpn: &[u8]) -> Peer {
        Peer::to(self.server.local_addr, &self.certificate(), alpn).await.unwrap()
    }
}

/// What shows whose request it is; a session is a moment old before it has it.
pub(crate) async fn token(client: &Client) -> String {
    within(async {
        loop {
            within(client.online()).await.unwrap();
            if let Some(bearer) = client.http_token().await.unwrap() {
                return format!("Bearer {}", *bearer.text());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

pub(crate) fn base64url(bytes: &[u8; 16]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let n = u128::from_be_bytes(*bytes);
    // 132 bits: four more than there are.
    (0..22).map(|i| char::from(LETTERS[((n << 4 >> (126 - 6 * i)) & 63) as usize])).collect::<String>()
}

pub(crate) async fn ask(
    peer: &mut Peer,
    method: Method,
    path: &str,
    token: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Got {
    let body: Bytes = body.into();
    let mut request = Request::builder().method(method).uri(format!("https://localhost{path}"));
    request = request.header("host", "localhost").header("authorization", token);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_empty() {
        Sent::none()
    } else {
        request = request.header("content-length", body.len());
        Sent::all(body)
    };
    within(peer.ready()).await;
    let (head, body) = within(peer.ask(request.body(body).unwrap())).await.unwrap().into_parts();
    (Response::from_parts(head, ()), collect(body).await.unwrap())
}

pub(crate) fn header<'a>(got: &'a Got, name: &str) -> &'a str {
    got.0.headers().get(name).unwrap_or_else(|| panic!("{name} of {got:?}")).to_str().unwrap()
}

pub(crate) fn bytes(len: usize) -> Bytes {
    (0..len).map(|n| (n % 251) as u8).collect::<Vec<_>>().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_up_in_every_dialect_and_down_in_ranges() {
    let world = World::start().await;
    let (alice, bob, carol) = (world.client(1).await, world.client(2).await, world.client(3).await);
    let pair = ConversationId::direct(alice.identity().unwrap().uin, bob.identity().unwrap().uin);
    let to = base64url(&pair.0);
    let (alices, bobs, carols) = (token(&alice).await, token(&bob).await, token(&carol).await);
    let file = bytes(3_000_000);
    let length = file.len().to_string();
    for alpn in [H2, HTTP1] {
        let mut peer = world.peer(alpn).await;
        let whose = String::from_utf8_lossy(alpn).into_owned();
        let mut whole = Vec::new();
        // Our own.
        let create = format!("/v2/files?conversation={to}&upload_id=own-{}", whose.len());
        let got = ask(&mut peer, Method::POST, &create, &alices, &[("upload-length", &length)], "").await;
        assert_eq!(got.0.status(), StatusCode::CREATED, "{got:?}");
        let at = header(&got, "location").to_owned();
        let again = ask(&mut peer, Method::POST, &create, &alices, &[("upload-length", &length)], "").await;
        assert_eq!((again.0.status(), header(&again, "location")), (StatusCode::OK, at.as_str()));
        for (first, last) in [(0, 999_999), (1_000_000, 2_999_999)] {
            let range = format!("bytes {first}-{last}/*");
            let part = file.slice(first..=last);
            let got = ask(&mut peer, PATCH, &at, &alices, &[("content-range", &range)], part).await;
            assert_eq!(got.0.status(), StatusCode::NO_CONTENT, "{got:?}");
            assert_eq!(header(&got, "upload-offset"), (last + 1).to_string());
        }
        whole.push(at);
        // tus.
        let tus = ("tus-resumable", "1.0.0");
        let create = format!("/v2/files?conversation={to}");
        let got =
            ask(&mut peer, Method::POST, &create, &alices, &[tus, ("upload-length", &length)], "").await;
        assert_eq!(got.0.status(), StatusCode::CREATED, "{got:?}");
        let at = header(&got, "location").to_owned();
        let kind = ("content-type", "application/offset+octet-stream");
        for (first, end) in [(0, 1_500_000), (1_500_000, 3_000_000)] {
            let offset = first.to_string();
            let headers = [tus, kind, ("upload-offset", offset.as_str())];
            let got = ask(&mut peer, PATCH, &at, &alices, &headers, file.slice(first..end)).await;
            assert_eq!(got.0.status(), StatusCode::NO_CONTENT, "{got:?}");
        }
        whole.push(at);
        // IETF, version 6.
        let draft = ("upload-draft-interop-version", "6");
        let headers = [draft, ("upload-complete", "?0")];
        let got = ask(&mut peer, Method::POST, &create, &alices, &headers, file.slice(..1_000)).await;
        assert_eq!(got.0.status(), StatusCode::CREATED, "{got:?}");
        let at = header(&got, "location").to_owned();
        let kind = ("content-type", "application/partial-upload");
        let headers = [draft, kind, ("upload-complete", "?1"), ("upload-offset", "1000")];
        let got = ask(&mut peer, PATCH, &at, &alices, &headers, file.slice(1_000..)).await;
        assert_eq!(got.0.status(), StatusCode::CREATED, "{got:?}");
        whole.push(at);

        for at in &whole {
            let got = ask(&mut peer, Method::GET, at, &bobs, &[], "").await;
            assert_eq!(got.0.status(), StatusCode::OK, "{:?}", got.0);
            assert!(got.1 == file);
            let etag = header(&got, "etag").to_owned();
            let range = ("range", "bytes=999990-1000009");
            let got = ask(&mut peer, Method::GET, at, &bobs, &[range, ("if-range", &etag)], "").await;
            assert_eq!(got.0.status(), StatusCode::PARTIAL_CONTENT);
            assert_eq!(header(&got, "content-range"), "bytes 999990-1000009/3000000");
            assert!(got.1 == file.slice(999_990..1_000_010));
            let got = ask(&mut peer, Method::HEAD, at, &bobs, &[], "").await;
            assert_eq!((header(&got, "content-length"), got.1.len()), ("3000000", 0));
            // Carol is not in the conversation; nobody is nobody.
            let got = ask(&mut peer, Method::GET, at, &carols, &[], "").await;
            assert_eq!(got.0.status(), StatusCode::NOT_FOUND);
            let got = ask(&mut peer, Method::GET, at, "Bearer x", &[], "").await;
            assert_eq!(got.0.status(), StatusCode::UNAUTHORIZED);
        }
    }
    // The same bytes six times are kept once.
    let kept = walk(&world.dir.path().join("data/files/content"));
    assert_eq!(kept, 1);
    // Whose session is over may nothing more.
    alice.close().await;
    let mut peer = world.peer(H2).await;
    within(async {
        loop {
            let path = format!("/v2/files/{}", base64url(&[7; 16]));
            let got = ask(&mut peer, Method::GET, &path, &alices, &[], "").await;
            if got.0.status() == StatusCode::UNAUTHORIZED {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    within(world.server.shutdown()).await.unwrap();
}

/// Files below a folder.
fn walk(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.map(|entry| if entry.file_type().unwrap().is_dir() { walk(&entry.path()) } else { 1 }).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_after_a_restart_and_what_nobody_knows_is_swept() {
    let world = World::start().await;
    let (alice, bob) = (world.client(1).await, world.client(2).await);
    let pair = ConversationId::direct(alice.identity().unwrap().uin, bob.identity().unwrap().uin);
    let file = bytes(2_000_000);
    let alices = token(&alice).await;
    let mut peer = world.peer(H2).await;
    let create = format!("/v2/files?conversation={}&upload_id=u", base64url(&pair.0));
    let got = ask(&mut peer, Method::POST, &create, &alices, &[("upload-length", "2000000")], "").await;
    let at = header(&got, "location").to_owned();
    // A connection that breaks in the middle of a chunk: what came of it stays.
    let (sender, body) = Sent::channel();
    let request = Request::builder().method(PATCH).uri(format!("https://localhost{at}"));
    let request = request.header("authorization", &alices).header("content-range", "bytes 0-1999999/*");
    let asked = peer.ask(request.body(body).unwrap());
    sender.send(file.slice(..700_000)).await.unwrap();
    within(async {
        // Taken by hyper, all of it, once there is room for more.
        sender.send(file.slice(700_000..700_001)).await.unwrap();
        while !sender.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop((asked, peer));

    let world = world.restart().await;
    alice.network_changed().await;
    let data = world.dir.path().join("data");
    let alices = token(&alice).await;
    let mut peer = world.peer(HTTP1).await;
    let got = ask(&mut peer, Method::HEAD, &at, &alices, &[], "").await;
    let offset: usize = header(&got, "upload-offset").parse().unwrap();
    assert!((1..=700_001).contains(&offset), "{offset}");
    let range = format!("bytes {offset}-1999999/*");
    let got = ask(&mut peer, PATCH, &at, &alices, &[("content-range", &range)], file.slice(offset..)).await;
    assert_eq!(got.0.status(), StatusCode::NO_CONTENT, "{got:?}");

    // Left over from a store that is no more.
    let stray = data.join("files/parts").join("0123456789abcdef".repeat(2));
    std::fs::write(&stray, "stray").unwrap();
    let world = world.restart().await;
    assert!(!stray.exists());
    bob.network_changed().await;
    let bobs = token(&bob).await;
    let got = ask(&mut world.peer(H2).await, Method::GET, &at, &bobs, &[], "").await;
    assert!(got.0.status() == StatusCode::OK && got.1 == file);
    within(world.server.shutdown()).await.unwrap();
}

/// What SIGTERM does.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_over_http3_that_is_under_way_is_finished_by_a_drain() {
    let world = World::start_with(|config| config.drain_timeout = Duration::from_secs(15)).await;
    let (alice, _bob, to) = world.pair().await;
    let alices = token(&alice).await;
    let file = bytes(600_000);
    let at = world.upload(&to, &alices, file.len()).await;
    let mut client = world.h3().await;
    let range = [("content-range", "bytes 0-599999/*")];
    let stream = client.begin(PATCH, &at, &alices, &range, false);
    client.send(stream, file.slice(..200_000), false).await;
    // Its head has been looked at.
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.server.drain();
    client.until(|c| c.events.iter().any(|event| matches!(event, ntproto_h3::Event::Goaway))).await;
    client.send(stream, file.slice(200_000..400_000), false).await;
    // Long enough for everybody else to be sent away.
    tokio::time::sleep(Duration::from_millis(700)).await;
    client.send(stream, file.slice(400_000..), true).await;
    client.until(|c| c.answered(stream).is_some() || c.lost.is_some()).await;
    let answer = client.answered(stream).unwrap();
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert_eq!(answer.headers()["upload-offset"], "600000");
    client.until(|c| c.lost.is_some()).await;
    assert!(matches!(client.lost, Some(ntproto_quic::Closed::Peer { code: 0x100, .. })), "{:?}", client.lost);
    within(world.server.wait()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_comes_without_the_body_having_been_sent() {
    let world = World::start().await;
    let (alice, _bob, to) = world.pair().await;
    let alices = token(&alice).await;
    let at = world.upload(&to, &alices, 100_000).await;
    let ask = |token: &str, range: &str, length: u64| {
        format!(
            "PATCH {at} HTTP/1.1\r\nhost: localhost\r\nauthorization: {token}\r\ncontent-range: {range}\r\n\
             content-length: {length}\r\nexpect: 100-continue\r\n\r\n"
        )
    };
    for (token, range, length, status) in [
        ("Bearer x", "bytes 0-99999/*", 100_000, "401"),
        (&alices, "bytes 0-99999999999/*", 100_000_000_000, "413"),
        (&alices, "bytes 5-99999/*", 99_995, "409"),
    ] {
        let (head, server) = (ask(token, range, length), world.server.local_addr);
        let certificate = world.certificate();
        let answer = apart(move || {
            let mut peer = Raw::connect(server, &certificate, HTTP1);
            peer.write(head.as_bytes());
            peer.head()
        })
        .await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    // And one that is taken is asked for its body.
    let (head, server) = (ask(&alices, "bytes 0-99999/*", 100_000), world.server.local_addr);
    let certificate = world.certificate();
    let (first, answer) = apart(move || {
        let mut peer = Raw::connect(server, &certificate, HTTP1);
        peer.write(head.as_bytes());
        let first = peer.head();
        peer.write(&bytes(100_000));
        (first, peer.head())
    })
    .await;
    assert_eq!(first, "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    within(world.server.shutdown()).await.unwrap();
}

/// A byte now and then: enough for every timer of a connection, too little for an upload. What came of it stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_dribbles_has_its_end_whatever_carries_it() {
    let world = World::start_with(|config| config.files.body_time = Duration::from_secs(1)).await;
    let (alice, _bob, to) = world.pair().await;
    let alices = token(&alice).await;
    let drip = || tokio::time::sleep(Duration::from_millis(100));
    let range = ("content-range", "bytes 0-999999/*");
    let slow = |answer: &Response<()>, body: &[u8]| {
        assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
        assert!(String::from_utf8_lossy(body).contains("too_slow"), "{body:?}");
        let offset: u64 = answer.headers()["upload-offset"].to_str().unwrap().parse().unwrap();
        assert!((1..4096).contains(&offset), "{offset}");
    };
    let (one, two) =
        (world.upload(&to, &alices, 1_000_000).await, world.upload(&to, &alices, 1_000_000).await);
    let over_tcp = |alpn: &'static [u8], at: String| {
        let (world, alices) = (&world, &alices);
        async move {
            let mut peer = world.peer(alpn).await;
            let (sender, body) = Sent::channel();
            let request = Request::builder().method(PATCH).uri(format!("https://localhost{at}"));
            let request = request.header("authorization", alices).header(range.0, range.1);
            let request = request.header("host", "localhost").body(body).unwrap();
            let dripping = tokio::spawn(async move {
                while sender.send(Bytes::from_static(b"x")).await.is_ok() {
                    drip().await;
                }
            });
            let (head, body) = within(peer.ask(request)).await.unwrap().into_parts();
            slow(&Response::from_parts(head, ()), &collect(body).await.unwrap());
            dripping.abort();
        }
    };
    let over_udp = async {
        let at = world.upload(&to, &alices, 1_000_000).await;
        let mut client = world.h3().await;
        let stream = client.begin(PATCH, &at, &alices, &[range], false);
        let ended = |c: &h3::Client| {
            c.events.iter().any(|e| matches!(e, ntproto_h3::Event::End { stream: of } if *of == stream))
        };
        within(async {
            while !ended(&client) {
                client.send(stream, Bytes::from_static(b"x"), false).await;
                drip().await;
                client.turn().await;
            }
        })
        .await;
        slow(client.answered(stream).unwrap(), &client.body(stream));
        assert!(client.lost.is_none(), "the connection is good for more");
    };
    tokio::join!(over_tcp(H2, one), over_tcp(HTTP1, two), over_udp);
    within(world.server.shutdown()).await.unwrap();
}
