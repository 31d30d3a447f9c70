//! Sessions over WebTransport, as connections.

use bytes::Bytes;
use http::{Request, StatusCode};
use ntproto_core::binding::{Binding, TransportId};
use ntproto_core::code::ErrorCode;
use ntproto_core::wire::channel::Channel;
use ntproto_h3::{Code, Dir, Event as H3, SessionEnd, SessionId, StreamId};
use ntproto_net::web::{CLOSE_TIME, SESSION_PATH};
use ntproto_net::{Closed, ConnId, Event, WebClosed, WebConfig};
use ntproto_quic::EarlyData;

use crate::world::{NAME, World, client_addr, native_tls, origins, pattern};

fn connect(w: &mut World, path: &str, origin: Option<&str>) -> SessionId {
    let mut request = Request::builder().uri(format!("https://{NAME}:7424{path}"));
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    let session = w.client.machine().connect_session(&request.body(()).unwrap()).unwrap();
    w.run(50);
    session
}

/// A session that is up on both sides, with its three channels' streams.
pub(crate) fn up(w: &mut World) -> (ConnId, SessionId, [StreamId; 3]) {
    let id = connect(w, SESSION_PATH, None);
    assert!(matches!(w.at_client.pop_front(), Some(H3::SessionUp { session, .. }) if session == id));
    let Some(Event::Connected { conn, alpn, binding, remote, early }) = w.at_server.pop_front() else {
        panic!("{:?}", w.at_server)
    };
    assert_eq!(binding, Binding { transport: TransportId::Web, exporter: [0; 32] });
    assert_eq!((alpn.as_slice(), remote, early), (&b"ntp/2"[..], client_addr(), EarlyData::Unused));
    assert_eq!(conn.transport(), TransportId::Web);
    let streams = Channel::STREAMS.map(|channel| {
        let stream = w.client.machine().open(id, Dir::Bi).unwrap();
        assert!(w.send(stream, Bytes::copy_from_slice(&[channel.index() as u8]), false));
        stream
    });
    w.run(50);
    assert!(w.at_server.is_empty(), "the name alone is nothing to read: {:?}", w.at_server);
    (conn, id, streams)
}

fn read(w: &mut World, conn: ConnId, channel: Channel) -> Vec<u8> {
    let (now, mut got) = (w.now(), Vec::new());
    w.server.with(now, conn, |c| {
        c.read_chunks(channel, usize::MAX, |chunk| {
            got.extend_from_slice(&chunk);
            true
        })
    });
    got
}

fn write(w: &mut World, conn: ConnId, channel: Channel, data: &[u8]) -> usize {
    let now = w.now();
    w.server.with(now, conn, |c| c.write(channel, data)).unwrap()
}

fn closed(w: &mut World, conn: ConnId) -> Closed {
    match w.at_server.pop_front() {
        Some(Event::Closed { conn: c, reason }) if c == conn => reason,
        other => panic!("{other:?}"),
    }
}

//= proof: web-3
//= proof: web-5
#[test]
fn channels_flow_both_ways() {
    let mut w = World::connected(WebConfig::default());
    let (conn, _, streams) = up(&mut w);
    for (channel, stream) in Channel::STREAMS.into_iter().zip(streams) {
        assert!(w.send(stream, "frame".into(), false));
        w.run(50);
        assert!(matches!(
            w.at_server.pop_front(),
            Some(Event::Readable { conn: c, channel: on }) if c == conn && on == channel
        ));
        assert_eq!(read(&mut w, conn, channel), b"frame");
        assert_eq!(write(&mut w, conn, channel, b"answer"), 6);
        w.run(50);
        assert_eq!(w.bodies()[&stream].0, b"answer");
    }
    let now = w.now();
    let seen = w.server.with(now, conn, |c| (c.remote(), c.rtt().is_some())).unwrap();
    assert_eq!(seen, (client_addr(), true));
}

#[test]
fn a_channel_is_written_once_the_client_has_opened_it() {
    let mut w = World::connected(WebConfig::default());
    let id = connect(&mut w, SESSION_PATH, None);
    let Some(Event::Connected { conn, .. }) = w.at_server.pop_front() else { panic!() };
    assert_eq!(write(&mut w, conn, Channel::Control, b"early"), 0);
    let stream = w.client.machine().open(id, Dir::Bi).unwrap();
    assert!(w.send(stream, Bytes::from_static(&[0, b'h', b'i']), false));
    let readable = matches!(w.at_server.pop_front(), Some(Event::Readable { channel: Channel::Control, .. }));
    let writable = matches!(w.at_server.pop_front(), Some(Event::Writable { channel: Channel::Control, .. }));
    assert!(readable && writable);
    assert_eq!(read(&mut w, conn, Channel::Control), b"hi");
    assert_eq!(write(&mut w, conn, Channel::Control, b"late"), 4);
}

#[test]
fn what_nobody_reads_holds_its_channel_back_and_no_other() {
    let mut w = World::connected(WebConfig::default());
    let (conn, _, [control, message, _]) = up(&mut w);
    assert!(!w.send(message, pattern(2 << 20), false), "nobody reads");
    assert!(w.send(control, "urgent".into(), false));
    w.run(50);
    assert_eq!(read(&mut w, conn, Channel::Control), b"urgent");
    let held = read(&mut w, conn, Channel::Message);
    assert!(held.len() <= 300 * 1024, "{}", held.len());
    w.run(200);
    assert!(!read(&mut w, conn, Channel::Message).is_empty(), "reading makes room");

    // The other way: a client that reads nothing.
    w.at_server.clear();
    let piece = pattern(64 * 1024);
    let mut taken = 0;
    loop {
        let n = write(&mut w, conn, Channel::Message, &piece);
        taken += n;
        w.run(20);
        w.at_server.clear();
        if n == 0 {
            break;
        }
        assert!(taken < 4 << 20);
    }
    w.run(500);
    assert!(!w.at_server.iter().any(|e| matches!(e, Event::Writable { .. })), "{:?}", w.at_server);
    assert_eq!(write(&mut w, conn, Channel::Control, b"still"), 5);
    let mut back = 0;
    for _ in 0..100 {
        back += w.bodies().get(&message).map_or(0, |(data, _)| data.len());
        w.run(20);
    }
    assert_eq!(back, taken);
    assert!(w.at_server.iter().any(|e| matches!(e, Event::Writable { channel: Channel::Message, .. })));
}

#[test]
fn the_reset_of_a_channel_that_nobody_reads_is_heard() {
    let mut w = World::connected(WebConfig::default());
    let (conn, _, [_, message, _]) = up(&mut w);
    assert!(!w.send(message, pattern(2 << 20), false), "nobody reads");
    w.client.machine().reset(message, Code::application(1)).unwrap();
    w.at_server.clear();
    w.run(100);
    let code = ErrorCode::Protocol as u32;
    assert_eq!(closed(&mut w, conn), Closed::Web(WebClosed::Local { code }));
}

#[test]
fn datagrams_are_bounded_and_the_newest_stay() {
    let mut w = World::connected(WebConfig::default());
    let (conn, id, _) = up(&mut w);
    for n in 0..200_u8 {
        w.client.machine().send_datagram(id, &[n; 1000]).unwrap();
        w.run(20);
    }
    assert!(matches!(w.at_server.pop_front(), Some(Event::Datagram { conn: c }) if c == conn));
    assert!(w.at_server.is_empty(), "said once");
    let now = w.now();
    let got: Vec<Bytes> =
        w.server.with(now, conn, |c| std::iter::from_fn(|| c.recv_datagram()).collect()).unwrap();
    assert!((60..=65).contains(&got.len()), "{}", got.len());
    assert_eq!(got.last().unwrap()[0], 199);
}

#[test]
fn datagrams_without_bytes_are_bounded_too() {
    for data in [&b""[..], b"x"] {
        let mut w = World::connected(WebConfig::default());
        let (conn, id, _) = up(&mut w);
        for _ in 0..300 {
            for _ in 0..20 {
                w.client.machine().send_datagram(id, data).unwrap();
            }
            w.run(10);
        }
        let now = w.now();
        let got = w.server.with(now, conn, |c| std::iter::from_fn(|| c.recv_datagram()).count()).unwrap();
        assert!((500..=1024).contains(&got), "{got} of {} bytes", data.len());
    }
}

//= proof: web-6
#[test]
fn a_close_comes_after_what_was_written_and_has_its_code() {
    let mut w = World::connected(WebConfig::default());
    let (conn, id, [control, ..]) = up(&mut w);
    assert_eq!(write(&mut w, conn, Channel::Control, &pattern(20_000)), 20_000);
    let now = w.now();
    w.server.with(now, conn, |c| c.close(ErrorCode::GoingAway as u32, b"GOING_AWAY")).unwrap();
    assert_eq!(w.server.with(now, conn, |_| ()), None, "it is over at once");
    w.run(300);
    let code = ErrorCode::GoingAway as u32;
    assert_eq!(closed(&mut w, conn), Closed::Web(WebClosed::Local { code }));
    assert!(w.at_server.is_empty());
    assert_eq!(w.bodies()[&control].0.len(), 20_000, "first what was written");
    let Some(H3::SessionClosed { session, reason }) = w.at_client.pop_back() else { panic!() };
    assert_eq!((session, reason), (id, SessionEnd::Peer { code, reason: "GOING_AWAY".into() }));

    // The connection goes on, and carries another.
    let (other, ..) = up(&mut w);
    assert_ne!(other, conn);
}

#[test]
fn a_client_that_takes_nothing_does_not_hold_a_close_up() {
    let mut w = World::connected(WebConfig::default());
    let (conn, ..) = up(&mut w);
    w.deaf = true;
    for _ in 0..40 {
        write(&mut w, conn, Channel::Message, &pattern(60_000));
        w.run(20);
    }
    let now = w.now();
    w.server.with(now, conn, |c| c.close(3, b"")).unwrap();
    w.run(CLOSE_TIME.as_millis() as u64 + 100);
    w.deaf = false;
    w.run(100);
    assert!(
        w.at_client
            .iter()
            .any(|e| matches!(e, H3::SessionClosed { reason: SessionEnd::Peer { code: 3, .. }, .. })),
        "{:?}",
        w.at_client.len()
    );
}

#[test]
fn the_peer_ends_a_session() {
    let mut w = World::connected(WebConfig::default());
    let (conn, id, _) = up(&mut w);
    w.client.machine().close_session(id, 42, "bye").unwrap();
    w.run(50);
    let reason = WebClosed::Peer { code: 42, reason: "bye".into() };
    assert_eq!(closed(&mut w, conn), Closed::Web(reason));
    w.at_client.clear();

    let (conn, ..) = up(&mut w);
    let now = w.now();
    w.quic.with(now, w.conn, |c| c.close(0x100, b"")).unwrap();
    w.run(50);
    assert!(matches!(closed(&mut w, conn), Closed::Web(WebClosed::Connection(_))));
    assert_eq!(w.server.stats().connections, 1, "the closing one");
}

//= proof: web-2
#[test]
fn strangers_get_no_session() {
    for (path, origin, status) in [
        (SESSION_PATH, None, StatusCode::OK),
        (SESSION_PATH, Some("https://ntp.example"), StatusCode::OK),
        (SESSION_PATH, Some("https://chat.example"), StatusCode::OK),
        (SESSION_PATH, Some("https://evil.example"), StatusCode::FORBIDDEN),
        (SESSION_PATH, Some("null"), StatusCode::FORBIDDEN),
        ("/v2/other", None, StatusCode::NOT_FOUND),
    ] {
        let mut w = World::connected(origins(&["https://chat.example"]));
        let id = connect(&mut w, path, origin);
        match w.at_client.pop_front() {
            Some(H3::SessionUp { .. }) => assert_eq!(status, StatusCode::OK, "{path} {origin:?}"),
            Some(H3::SessionClosed { session, reason: SessionEnd::Refused(got) }) => {
                assert_eq!((session, got), (id, status), "{path} {origin:?}");
                assert!(w.at_server.is_empty(), "the hub does not hear of it");
            }
            other => panic!("{other:?}"),
        }
    }
}

//= proof: web-4
#[test]
fn whoever_breaks_the_rules_of_the_channels_loses_the_session() {
    type Sin = fn(&mut World, SessionId, [StreamId; 3]);
    let sins: [(&str, Sin); 6] = [
        ("a channel that is none", |w, id, _| {
            let stream = w.client.machine().open(id, Dir::Bi).unwrap();
            w.send(stream, Bytes::from_static(&[9]), false);
        }),
        ("a fourth stream", |w, id, _| {
            let stream = w.client.machine().open(id, Dir::Bi).unwrap();
            w.send(stream, Bytes::from_static(&[0]), false);
        }),
        ("a stream of one direction", |w, id, _| {
            let stream = w.client.machine().open(id, Dir::Uni).unwrap();
            w.send(stream, Bytes::from_static(&[0]), false);
        }),
        ("the end of a channel", |w, _, [control, ..]| {
            w.send(control, Bytes::new(), true);
        }),
        ("the reset of a channel", |w, _, [_, message, _]| {
            w.client.machine().reset(message, Code::application(1)).unwrap();
        }),
        ("the stop of a channel", |w, _, [.., sync]| {
            w.client.machine().stop(sync, Code::application(1)).unwrap();
        }),
    ];
    for (name, sin) in sins {
        let mut w = World::connected(WebConfig::default());
        let (conn, id, streams) = up(&mut w);
        sin(&mut w, id, streams);
        w.run(100);
        let code = ErrorCode::Protocol as u32;
        assert_eq!(closed(&mut w, conn), Closed::Web(WebClosed::Local { code }), "{name}");
        assert!(
            w.at_client.iter().any(|e| matches!(
                e,
                H3::SessionClosed { session, reason: SessionEnd::Peer { code: 1, .. } } if *session == id
            )),
            "{name}: {:?}",
            w.at_client
        );
        assert!(w.lost.is_none(), "{name}: the connection goes on");
    }
}

//= proof: web-1
#[test]
fn a_native_client_stands_beside_it() {
    let mut w = World::connected(WebConfig::default());
    let now = w.now();
    let native = w.quic.connect(now, &native_tls(), ([10, 0, 0, 1], 7424).into(), NAME).unwrap();
    w.run(100);
    let Some(Event::Connected { conn, binding, .. }) = w.at_server.pop_front() else { panic!() };
    assert_eq!((conn.transport(), binding.transport), (TransportId::Quic, TransportId::Quic));
    let now = w.now();
    assert_eq!(w.quic.with(now, native, |c| c.write(Channel::Message, b"frame")), Some(5));
    w.run(50);
    assert_eq!(read(&mut w, conn, Channel::Message), b"frame");
    w.at_server.clear();
    let (web, ..) = up(&mut w);
    assert_eq!(web.transport(), TransportId::Web);
}

#[test]
fn a_server_that_leaves_takes_no_session() {
    let mut w = World::connected(WebConfig::default());
    let (conn, ..) = up(&mut w);
    let now = w.now();
    w.server.goaway(now);
    w.run(50);
    assert!(w.at_client.iter().any(|e| matches!(e, H3::Goaway)));
    // What is there goes on.
    assert_eq!(write(&mut w, conn, Channel::Message, b"answer"), 6);
    let now = w.now();
    w.server.with(now, conn, |c| c.control_last()).unwrap();
    write(&mut w, conn, Channel::Control, b"last");
    w.run(100);
    assert_eq!(w.bodies().len(), 2);
}
