//! A whole server and whole clients over QUIC and TCP, with networks that carry only one of them.
#![allow(clippy::unwrap_used)]

mod proxy;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use ntproto_core::binding::TransportId;
use ntproto_core::code::ErrorCode;
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::rng::Rng;
use ntproto_core::wire::frame::{Decoded, FrameType, decode};
use ntproto_core::wire::nthd;
use ntproto_sdk::driver::{Server as ServerAt, Transports};
use ntproto_sdk::store::MemoryStore;
use ntproto_sdk::{Client, ConnectString, EnrolCode, Event, Events, Options, State, Uin};
use ntproto_server::config::{Overrides, ServerConfig};
use ntproto_server::run::{Running, Server};
use ntproto_tokio::{Clock, connect};
use proxy::Proxy;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

fn config(dir: &Path) -> ServerConfig {
    let mut flags = Overrides::default();
    flags.set("listen", Some("127.0.0.1:0"));
    flags.set("data_dir", dir.to_str());
    ServerConfig::load(&flags, |_| None).unwrap()
}

/// Who connects how.
struct Wish<'a> {
    connect: &'a ConnectString,
    code: Option<EnrolCode>,
    seed: u8,
    transports: Transports,
    speaks_first: bool,
}

async fn client(wish: Wish<'_>) -> Client {
    let keys = DeviceKeys::generate(&mut Rng::new([wish.seed; 32]), &RUSTCRYPTO);
    let mut server = ServerAt::new(wish.connect, Clock::start().now().unix).unwrap();
    server.transports = wish.transports;
    server.speaks_first = wish.speaks_first;
    let mut options = Options::new(server, keys, Box::new(MemoryStore::new()));
    options.enrol = wish.code.map(Into::into);
    connect(options).await.unwrap()
}

/// The first to come, through a network.
async fn first_through(network: &Proxy, server: &Running, transports: Transports) -> Client {
    let connect = network.connect_string(&server.connect_string);
    let code = server.invitation.clone();
    client(Wish { connect: &connect, code, seed: 1, transports, speaks_first: false }).await
}

/// A server and two people on it, the first by `transports`, the second by QUIC, straight.
struct World {
    server: Running,
    alice: Client,
    bob: Client,
    to_bob: Uin,
    bob_hears: Events,
    _dir: tempfile::TempDir,
}

async fn world(
    route: impl FnOnce(&ConnectString) -> ConnectString,
    transports: Transports,
    first: bool,
) -> World {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(config(dir.path())).await.unwrap();
    let straight = server.connect_string.clone();
    let code = server.invitation.clone();
    let connect = route(&straight);
    let alice = client(Wish { connect: &connect, code, seed: 1, transports, speaks_first: first }).await;
    timeout(PATIENCE, alice.online()).await.unwrap().unwrap();
    let (code, _) = alice.invite(1, Duration::from_secs(60), false).await.unwrap();
    let quic = Transports::RequireQuic;
    let wish = Wish { connect: &straight, code: Some(code), seed: 2, transports: quic, speaks_first: false };
    let bob = client(wish).await;
    let to_bob = timeout(PATIENCE, bob.online()).await.unwrap().unwrap().uin;
    let bob_hears = bob.events().unwrap();
    World { server, alice, bob, to_bob, bob_hears, _dir: dir }
}

fn transport(client: &Client) -> TransportId {
    match client.state() {
        State::Online { transport, .. } => transport,
        other => panic!("{other:?}"),
    }
}

async fn online_over(events: &mut Events, wanted: TransportId) {
    let seen = async {
        loop {
            if let Event::Online { transport, .. } = events.next().await.expect("the client lives")
                && transport == wanted
            {
                return;
            }
        }
    };
    timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("never online over {wanted:?}"));
}

/// Bob hears exactly these, in this order.
async fn hears(events: &mut Events, wanted: &[String]) {
    let all = async {
        let mut got: Vec<String> = Vec::new();
        while got.len() < wanted.len() {
            if let Event::Message(message) = events.next().await.expect("the client lives") {
                got.push(String::from_utf8(message.stored.body.to_vec()).unwrap());
            }
        }
        got
    };
    assert_eq!(timeout(PATIENCE, all).await.expect("they come"), wanted);
}

async fn ends(world: World) {
    let World { server, alice, bob, .. } = world;
    timeout(PATIENCE, alice.close()).await.unwrap();
    timeout(PATIENCE, bob.close()).await.unwrap();
    timeout(PATIENCE, server.shutdown()).await.unwrap().unwrap();
}

#[tokio::test]
async fn two_people_talk_over_tcp_by_either_handshake() {
    for first in [false, true] {
        let mut w = world(Clone::clone, Transports::RequireTcp, first).await;
        assert_eq!(transport(&w.alice), TransportId::Tcp);
        assert_eq!(transport(&w.bob), TransportId::Quic);
        let texts: Vec<String> = (0..20).map(|n| format!("{n}: {}", "x".repeat(n * 5_000))).collect();
        for text in &texts {
            w.alice.send(w.to_bob, text.clone()).await.unwrap();
        }
        hears(&mut w.bob_hears, &texts).await;
        ends(w).await;
    }
}

#[tokio::test]
async fn where_udp_is_dropped_a_client_comes_in_by_tcp() {
    let mut proxy = None;
    let mut w = world(
        |straight| {
            let p = Proxy::start(straight);
            p.drop_udp(true);
            let connect = p.connect_string(straight);
            proxy = Some(p);
            connect
        },
        Transports::Any,
        false,
    )
    .await;
    assert_eq!(transport(&w.alice), TransportId::Tcp);
    w.alice.send(w.to_bob, "hello").await.unwrap();
    hears(&mut w.bob_hears, &["hello".into()]).await;
    ends(w).await;
}

//= proof: liveness-5
#[tokio::test]
async fn a_client_that_requires_quic_stays_away_then() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(config(dir.path())).await.unwrap();
    let proxy = Proxy::start(&server.connect_string);
    proxy.drop_udp(true);
    let alice = first_through(&proxy, &server, Transports::RequireQuic).await;
    assert!(timeout(Duration::from_secs(4), alice.online()).await.is_err());
    assert_eq!(proxy.tcp_connections(), 0, "it did not even try");
    proxy.drop_udp(false);
    timeout(PATIENCE, alice.online()).await.unwrap().unwrap();
    assert_eq!(transport(&alice), TransportId::Quic);
    alice.close().await;
    server.shutdown().await.unwrap();
}

/// A network that accepts any TCP connection, and whose UDP is slow to come: TCP is always up first, and never works.
#[tokio::test]
async fn a_network_that_accepts_any_tcp_does_not_keep_a_client_from_quic() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(config(dir.path())).await.unwrap();
    let proxy = Proxy::start(&server.connect_string);
    proxy.drop_udp(true);
    proxy.hollow_tcp();
    let alice = first_through(&proxy, &server, Transports::Any).await;
    while proxy.tcp_connections() == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    proxy.drop_udp(false);
    timeout(PATIENCE, alice.online()).await.unwrap().unwrap();
    assert_eq!(transport(&alice), TransportId::Quic);
    alice.close().await;
    server.shutdown().await.unwrap();
}

/// UDP is cut in the middle of a conversation, then TCP is: every message arrives once, in order.
#[tokio::test]
async fn a_conversation_survives_the_loss_of_udp() {
    let mut proxy = None;
    let mut w = world(
        |straight| {
            let p = Proxy::start(straight);
            let connect = p.connect_string(straight);
            proxy = Some(p);
            connect
        },
        Transports::Any,
        false,
    )
    .await;
    let proxy = proxy.unwrap();
    assert_eq!(transport(&w.alice), TransportId::Quic);
    let mut alice_hears = w.alice.events().unwrap();
    let texts: Vec<String> = (0..60).map(|n| format!("message {n}")).collect();
    for (n, text) in texts.iter().enumerate() {
        if n == 20 {
            proxy.drop_udp(true);
        }
        w.alice.enqueue(w.to_bob, text.clone()).await.unwrap();
    }
    online_over(&mut alice_hears, TransportId::Tcp).await;
    hears(&mut w.bob_hears, &texts).await;
    // And the way back, when TCP goes and UDP works again.
    proxy.drop_udp(false);
    proxy.cut_tcp();
    let more: Vec<String> = (60..80).map(|n| format!("message {n}")).collect();
    for text in &more {
        w.alice.enqueue(w.to_bob, text.clone()).await.unwrap();
    }
    hears(&mut w.bob_hears, &more).await;
    let seen: BTreeSet<&String> = texts.iter().chain(&more).collect();
    assert_eq!(seen.len(), 80);
    ends(w).await;
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// What the server's TCP port answers to bytes of a stranger.
fn answer(server: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    got
}

#[tokio::test]
async fn strangers_on_the_port_get_an_error_frame_and_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(config(dir.path())).await.unwrap();
    let address = server.local_addr;
    let cases: [(&'static [u8], ErrorCode); 3] = [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", ErrorCode::Protocol),
        (b"NTHD\x02\0\0\0\0\0\0\0", ErrorCode::Version),
        (b"NTHD\x01\0\0\0\xff\xff\xff\xff", ErrorCode::TooLarge),
    ];
    for (bytes, code) in cases {
        let got = blocking(move || answer(address, bytes)).await;
        let Ok(Decoded::Frame { header, payload, consumed }) = decode(&got, 4096) else {
            panic!("{got:02x?}")
        };
        assert_eq!((header.kind, consumed), (FrameType::Error as u8, got.len()));
        let error = <ntproto_proto::v2::Error as prost::Message>::decode(payload).unwrap();
        assert_eq!(error.code, code as u32);
    }
    // What begins as TLS does is told so by TLS: an alert, or the end.
    let got = blocking(move || answer(address, &[0x16, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff])).await;
    assert!(got.is_empty() || got[0] == 0x15, "{got:02x?}");
    // The draft's own client: twelve bytes, and a challenge comes.
    blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&[0x4e, 0x54, 0x48, 0x44, 1, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        let len = u32::from_be_bytes(head[8..].try_into().unwrap());
        assert_eq!(head, nthd::header(len));
        let mut challenge = vec![0; len as usize];
        stream.read_exact(&mut challenge).unwrap();
    })
    .await;
    server.shutdown().await.unwrap();
}

/// A stranger that sends half a header and waits is told that its time is over.
#[tokio::test]
async fn half_a_header_and_silence_end() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(config(dir.path())).await.unwrap();
    let address = server.local_addr;
    let got = blocking(move || answer(address, b"NTHD\x01\0")).await;
    let Ok(Decoded::Frame { payload, .. }) = decode(&got, 4096) else { panic!("{got:02x?}") };
    let error = <ntproto_proto::v2::Error as prost::Message>::decode(payload).unwrap();
    assert_eq!(error.code, ErrorCode::Timeout as u32);
    server.shutdown().await.unwrap();
}

/// One network may open so many connections at once; one more is dropped without a word.
#[tokio::test]
async fn a_flood_of_connections_is_dropped_at_the_door() {
    let dir = tempfile::tempdir().unwrap();
    let server =
        Server::start(ServerConfig { tcp_burst: 5, tcp_rate: 1, ..config(dir.path()) }).await.unwrap();
    let address = server.local_addr;
    let served = blocking(move || {
        let streams: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
        let greeted = streams.into_iter().filter_map(|mut stream| {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(&nthd::header(0)).ok()?;
            stream.read_exact(&mut [0; 12]).ok()
        });
        greeted.count()
    })
    .await;
    assert!((5..10).contains(&served), "{served}");
    server.shutdown().await.unwrap();
}
