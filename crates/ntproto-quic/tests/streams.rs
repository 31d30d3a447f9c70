//! Another protocol beside ours, by its name: raw streams, a certificate of its own, limits of its own.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use common::{Link, NAME, World, client_tls, identity, self_signed};
use ntproto_core::wire::channel::Channel;
use ntproto_quic::config::{H3_BIDI_STREAMS, H3_CONNECTION_WINDOW, H3_SEND_WINDOW, STREAM_WINDOW};
use ntproto_quic::tls::default_provider;
use ntproto_quic::{
    ALPN, ClientTls, Closed, ConnId, Dir, EndpointConfig, Event, H3, Pin, Read, ServerTls, SessionMemory,
    StreamEvent, StreamNo, Trust, Unwritable, WebCertificate,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// What strangers are shown.
fn web() -> &'static (WebCertificate, Pin) {
    static WEB: OnceLock<(WebCertificate, Pin)> = OnceLock::new();
    WEB.get_or_init(|| {
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = rcgen::CertificateParams::new(vec![NAME.into()]).unwrap().self_signed(&key).unwrap();
        let pin = Pin::of(cert.der()).unwrap();
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        (WebCertificate::new(&default_provider(), vec![cert.der().clone()], der).unwrap(), pin)
    })
}

fn server_tls() -> ServerTls {
    let tls = identity().tls(&[ALPN]).with_web(web().0.clone()).unwrap();
    tls.with_sessions(Arc::new(SessionMemory::default())).unwrap()
}

fn h3_tls(pin: Pin, alpn: &[&[u8]]) -> ClientTls {
    ClientTls::new(default_provider(), Trust::Pinned(vec![pin]), alpn).unwrap()
}

fn world(seed: u8) -> World {
    let mut world = World::new(seed, Link::default());
    world.add(EndpointConfig::server(server_tls()));
    world.add(EndpointConfig::client());
    world
}

/// Connects by the other name; (server's, client's) connection.
fn connected(world: &mut World) -> (ConnId, ConnId) {
    let client = world.connect(1, 0, &h3_tls(web().1, &[H3]), NAME);
    assert!(world.run_until(|w| w.has_connected(0) && w.has_connected(1)), "no connection");
    let mut take = |peer: usize| match world.peers[peer].events.pop_front() {
        Some(Event::Connected { conn, alpn, .. }) => {
            assert_eq!(alpn, H3);
            conn
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(take(1), client);
    let server = take(0);
    world.run_for(Duration::from_millis(100));
    (server, client)
}

fn open(world: &mut World, peer: usize, conn: ConnId, dir: Dir) -> Option<StreamNo> {
    let now = world.now();
    world.peers[peer].endpoint.with(now, conn, |c| c.open_stream(dir)).unwrap()
}

fn write(world: &mut World, peer: usize, conn: ConnId, stream: StreamNo, data: &[u8]) -> usize {
    let (now, mut data) = (world.now(), Bytes::copy_from_slice(data));
    world.peers[peer].endpoint.with(now, conn, |c| c.write_stream(stream, &mut data)).unwrap().unwrap()
}

fn read(world: &mut World, peer: usize, conn: ConnId, stream: StreamNo) -> Read {
    let now = world.now();
    world.peers[peer].endpoint.with(now, conn, |c| c.read_stream(stream, usize::MAX)).unwrap()
}

fn stirred(world: &mut World, peer: usize, conn: ConnId) -> Vec<StreamEvent> {
    let now = world.now();
    world.peers[peer].events.clear();
    world.peers[peer]
        .endpoint
        .with(now, conn, |c| std::iter::from_fn(|| c.next_stream_event()).collect())
        .unwrap()
}

#[test]
fn streams_open_carry_end_reset_and_stop() {
    let mut w = world(1);
    let (server, client) = connected(&mut w);
    let request = open(&mut w, 1, client, Dir::Bi).unwrap();
    assert_eq!(write(&mut w, 1, client, request, b"get"), 3);
    let now = w.now();
    w.peers[1].endpoint.with(now, client, |c| c.finish_stream(request));
    let control = open(&mut w, 0, server, Dir::Uni).unwrap();
    assert_eq!((request, control), (StreamNo(0), StreamNo(3)));
    write(&mut w, 0, server, control, b"settings");
    w.run_for(Duration::from_millis(100));
    assert!(matches!(w.peers[0].events.front(), Some(Event::Streams { conn }) if *conn == server));
    assert_eq!(stirred(&mut w, 0, server), [StreamEvent::Readable(request)]);
    assert_eq!(read(&mut w, 0, server, request), Read::Data("get".into()));
    assert_eq!(read(&mut w, 0, server, request), Read::End);
    assert!(stirred(&mut w, 1, client).contains(&StreamEvent::Readable(control)));
    assert_eq!(read(&mut w, 1, client, control), Read::Data("settings".into()));
    assert_eq!(read(&mut w, 1, client, control), Read::Empty);

    // The client has enough of the answer; then the server gives up its own stream.
    let now = w.now();
    w.peers[1].endpoint.with(now, client, |c| c.stop_stream(request, 0x10c));
    w.run_for(Duration::from_millis(100));
    assert_eq!(stirred(&mut w, 0, server), [StreamEvent::Stopped { stream: request, code: 0x10c }]);
    let (now, mut more) = (w.now(), Bytes::from_static(b"answer"));
    let refused = w.peers[0].endpoint.with(now, server, |c| c.write_stream(request, &mut more)).unwrap();
    assert_eq!((refused, more.len()), (Err(Unwritable::Stopped(0x10c)), 6));
    w.peers[0].endpoint.with(now, server, |c| {
        c.reset_stream(request, 0x10c);
        c.reset_stream(control, 0x104);
    });
    w.run_for(Duration::from_millis(100));
    assert_eq!(read(&mut w, 1, client, control), Read::Reset(0x104));
    assert_eq!(read(&mut w, 1, client, control), Read::Empty, "it is over");

    // Channels there are none, and a close has the protocol's own code.
    assert_eq!(w.write(1, client, Channel::Control, b"hello"), 0);
    assert_eq!(w.read(0, server, Channel::Control), b"");
    w.close(0, server, 0x100);
    w.run_for(Duration::from_secs(1));
    let closed = w.closed(1);
    assert!(
        matches!(&closed[..], [Event::Closed { reason: Closed::Peer { code: 0x100, .. }, .. }]),
        "{closed:?}"
    );
}

#[test]
fn there_are_many_streams_and_room_comes_back() {
    let mut w = world(2);
    let (server, client) = connected(&mut w);
    for round in 0..3 {
        let streams: Vec<StreamNo> = std::iter::from_fn(|| open(&mut w, 1, client, Dir::Bi)).collect();
        assert_eq!(streams.len(), H3_BIDI_STREAMS as usize, "round {round}");
        for stream in &streams {
            write(&mut w, 1, client, *stream, b"x");
            let now = w.now();
            w.peers[1].endpoint.with(now, client, |c| c.finish_stream(*stream));
        }
        w.run_for(Duration::from_millis(200));
        assert_eq!(stirred(&mut w, 0, server).len(), streams.len());
        for stream in &streams {
            assert_eq!(read(&mut w, 0, server, *stream), Read::Data("x".into()));
            assert_eq!(read(&mut w, 0, server, *stream), Read::End);
            let now = w.now();
            w.peers[0].endpoint.with(now, server, |c| c.finish_stream(*stream));
        }
        w.run_for(Duration::from_millis(300));
        for stream in &streams {
            assert_eq!(read(&mut w, 1, client, *stream), Read::End);
        }
        w.run_for(Duration::from_millis(300));
        assert!(stirred(&mut w, 1, client).contains(&StreamEvent::Available(Dir::Bi)));
    }
    assert_eq!(std::iter::from_fn(|| open(&mut w, 1, client, Dir::Uni)).count(), 16);
}

#[test]
fn what_is_not_read_holds_the_peer_back() {
    let mut w = world(3);
    let (server, client) = connected(&mut w);
    let streams: Vec<StreamNo> = (0..16).map(|_| open(&mut w, 1, client, Dir::Bi).unwrap()).collect();
    let (piece, mut sent) = (vec![7; 64 * 1024], [0_usize; 16]);
    w.run_until(|w| {
        let before = sent;
        for (stream, sent) in streams.iter().zip(&mut sent) {
            *sent += write(w, 1, client, *stream, &piece);
        }
        w.at += 50_000;
        sent == before && sent.iter().sum::<usize>() >= H3_CONNECTION_WINDOW as usize
    });
    let total: usize = sent.iter().sum();
    assert!(total <= H3_CONNECTION_WINDOW as usize + H3_SEND_WINDOW as usize, "{total}");
    // As they are read they go on: credit comes back in eighths of the window.
    w.peers[1].events.clear();
    for stream in &streams[..4] {
        let mut got = 0;
        while let Read::Data(data) = read(&mut w, 0, server, *stream) {
            got += data.len();
        }
        assert!(got > 0 && got <= STREAM_WINDOW as usize);
    }
    w.run_for(Duration::from_millis(500));
    assert!(stirred(&mut w, 1, client).iter().any(|e| matches!(e, StreamEvent::Writable(_))));
}

//= proof: quic-11
#[test]
fn what_was_not_acknowledged_is_counted_on_all_streams() {
    let mut world = world(9);
    let (server, client) = connected(&mut world);
    let [control, one, two] =
        [Dir::Uni, Dir::Bi, Dir::Bi].map(|dir| open(&mut world, 0, server, dir).unwrap());
    let count = |world: &mut World| {
        let now = world.now();
        world.peers[0].endpoint.with(now, server, |c| c.unacknowledged(control)).unwrap()
    };
    assert_eq!(count(&mut world), 0);
    let mut total = 0;
    for (stream, len) in [(one, 1), (two, 1_000), (control, 7), (one, 20_000)] {
        assert_eq!(write(&mut world, 0, server, stream, &vec![7; len]), len);
        total += len as u64;
        assert_eq!(count(&mut world), total);
    }
    world.run_for(Duration::from_secs(1));
    assert_eq!(count(&mut world), 0, "though nobody has read it");
    // It left the window as it was.
    assert_eq!(write(&mut world, 0, server, two, &[7; 20_000]), 20_000);
    world.run_for(Duration::from_secs(1));
    assert!(matches!(read(&mut world, 1, client, two), Read::Data(_)));
}

#[test]
fn each_protocol_has_its_certificate() {
    let native = Pin::of(&identity().cert).unwrap();
    // By its own name, either is shown its own; a client of both gets ours.
    for (pin, alpn, good) in [
        (native, &[ALPN][..], true),
        (web().1, &[H3][..], true),
        (native, &[H3][..], false),
        (web().1, &[ALPN][..], false),
        (native, &[H3, ALPN][..], true),
    ] {
        let mut w = world(4);
        w.connect(1, 0, &h3_tls(pin, alpn), NAME);
        w.run_for(Duration::from_secs(2));
        assert_eq!(w.has_connected(1), good, "{alpn:?}");
        if let Some(Event::Connected { alpn: chosen, .. }) = w.peers[1].events.front() {
            assert_eq!(chosen.as_slice(), if alpn.contains(&ALPN) { ALPN } else { H3 });
        }
    }
}

#[test]
fn a_certificate_is_exchanged_without_a_restart() {
    let key = rcgen::KeyPair::generate().unwrap();
    let make = |name: &str| {
        let params = rcgen::CertificateParams::new(vec![name.into()]).unwrap();
        params.self_signed(&key).unwrap().der().clone()
    };
    let der = || PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let (one, two) = (make("one.test"), make("two.test"));
    let shown = WebCertificate::new(&default_provider(), vec![one.clone()], der()).unwrap();
    let before = shown.hash().unwrap();
    shown.replace(&default_provider(), vec![two], der()).unwrap();
    assert_ne!(shown.hash().unwrap(), before);
    // Somebody else's key is refused, and what was shown stays.
    let (other, after) = (self_signed(NAME), shown.hash());
    shown.replace(&default_provider(), vec![other.cert], der()).unwrap_err();
    assert_eq!(shown.hash(), after);
}

//= proof: quic-10
#[test]
fn a_native_client_has_three_streams_where_others_have_more() {
    let mut w = world(5);
    let client = w.connect(1, 0, &client_tls(), NAME);
    assert!(w.run_until(|w| w.has_connected(0) && w.has_connected(1)));
    let server = w.take_connected(0);
    w.take_connected(1);
    assert_eq!(w.write(1, client, Channel::Sync, b"frame"), 5);
    w.run_for(Duration::from_millis(100));
    assert_eq!(w.read(0, server, Channel::Sync), b"frame");
    // Raw streams are not for it.
    assert_eq!(open(&mut w, 1, client, Dir::Bi), None);
    assert_eq!(open(&mut w, 1, client, Dir::Uni), None);
    assert_eq!(stirred(&mut w, 0, server), []);
    assert_eq!(read(&mut w, 0, server, StreamNo(8)), Read::Empty);
}
