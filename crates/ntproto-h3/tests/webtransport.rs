//! Sessions of WebTransport.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::*;
use http::StatusCode;
use ntproto_h3::config::{EARLY_TIME, FIRST_BYTES, HEAD_TIME, MAX_EARLY, MAX_SESSION_STREAMS, MAX_SESSIONS};
use ntproto_h3::table::{capsule as capsules, frame as frames, setting, stream as streams};
use ntproto_h3::{
    Code, Config, Connection, Dir, Event, Input, Misuse, Output, Role, SessionEnd, SessionId, StreamId,
    capsule, frame,
};
use proptest::prelude::*;

const SESSION: SessionId = SessionId(REQUEST);

fn world(seed: u64) -> World {
    World::new(seed, Config::default(), Config::default())
}

/// A server with a session that is up.
fn up() -> Alone {
    let mut server = Alone::web_server();
    server.feed(REQUEST, &headers(&CONNECT));
    assert!(matches!(server.take_events()[..], [Event::Settings { .. }, Event::Session { .. }]));
    server.conn.accept(SESSION, &status(200)).unwrap();
    server.drain();
    assert_eq!(server.frames(REQUEST), [(frames::HEADERS, section(&[(":status", "200")]))]);
    server
}

fn session_stream(session: u64, rest: &[u8]) -> Vec<u8> {
    [&numbers(&[frames::WEBTRANSPORT_STREAM, session])[..], rest].concat()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    /// Streams of both kinds, from both sides, in any order.
    #[test]
    fn streams_and_datagrams_of_both_sides(seed in 1..u64::MAX, len in 0..100_000_usize) {
        let mut world = world(seed);
        let session = world.session();
        let payload = |no: usize| -> Bytes { (0..len).map(|at| (at + no) as u8).collect::<Vec<u8>>().into() };
        let mut sent = Vec::new();
        for (no, dir) in [(CLIENT, Dir::Bi), (CLIENT, Dir::Uni), (SERVER, Dir::Bi), (SERVER, Dir::Uni)] {
            let stream = world.sides[no].conn.open(session, dir).unwrap();
            sent.push((no, dir, stream, payload(sent.len())));
        }
        for (no, _, stream, data) in &sent {
            world.send_all(*no, *stream, data.clone());
            world.sides[*no].conn.send_datagram(session, &stream.0.to_be_bytes()).unwrap();
        }
        world.run();
        for (no, dir, stream, data) in &sent {
            let other = &world.sides[1 - no];
            prop_assert_eq!(other.bodies.get(stream).map_or(&[][..], |body| body), &data[..]);
            prop_assert!(other.ended.contains(stream));
            let told = |e: &Event| matches!(e, Event::SessionStream { session: s, stream: at, dir: d }
                if *s == session && at == stream && d == dir);
            prop_assert!(other.events.iter().any(told));
            let got = |e: &Event| matches!(e, Event::SessionDatagram { session: s, data }
                if *s == session && data[..] == stream.0.to_be_bytes());
            prop_assert!(other.events.iter().any(got));
        }
        // The other way on those that have one.
        for (no, dir, stream, data) in &sent {
            if *dir == Dir::Bi {
                world.send_all(1 - no, *stream, data.clone());
                prop_assert_eq!(world.sides[*no].bodies.get(stream).map_or(&[][..], |b| b), &data[..]);
            } else {
                let refused = world.sides[1 - no].conn.send(*stream, Bytes::new(), true);
                prop_assert!(refused.is_err());
            }
        }
        // The session outlives its streams, and its end is told once to each.
        world.sides[CLIENT].conn.close_session(session, 7, "done").unwrap();
        world.run();
        prop_assert_eq!(closed(&world.sides[CLIENT].events), [(session, SessionEnd::Local)]);
        let reason = SessionEnd::Peer { code: 7, reason: "done".into() };
        prop_assert_eq!(closed(&world.sides[SERVER].events), [(session, reason)]);
        prop_assert!(world.sides.iter().all(|side| side.conn.is_idle() && side.closed.is_none()));
    }
}

//= proof: http3-18
#[test]
fn a_session_waits_for_settings() {
    // At the server: the client may be of a draft that nobody knows.
    let mut server = Alone::server();
    server.feed(REQUEST, &headers(&CONNECT));
    assert!(server.events.is_empty());
    assert_eq!(server.conn.accept(SESSION, &status(200)), Err(Misuse::State));
    server.feed(CONTROL, &control(&WEBTRANSPORT));
    assert!(matches!(
        server.take_events()[..],
        [Event::Settings { webtransport: true, .. }, Event::Session { .. }]
    ));
    assert_eq!(server.deadline, None);

    // Not for ever.
    let mut server = Alone::server();
    server.feed(REQUEST, &headers(&CONNECT)).later(HEAD_TIME);
    assert_eq!(server.resets[&REQUEST], Code::REQUEST_INCOMPLETE);
    assert!(server.events.is_empty() && server.conn.is_idle());

    // At the client: nothing is asked before the server said that it may be.
    let mut client = Alone::client();
    let session = client.conn.connect_session(&get("/")).unwrap();
    client.drain();
    assert!(!client.written.contains_key(&session.0));
    client.feed(SERVER_CONTROL, &control(&WEBTRANSPORT));
    assert_eq!(client.frames(session.0).len(), 1);
}

//= proof: http3-18
#[test]
fn without_datagrams_there_is_no_session() {
    let mut server = Alone::server();
    server.feed(CONTROL, &control(&[])).feed(REQUEST, &headers(&CONNECT));
    assert_eq!(server.resets[&REQUEST], Code::MESSAGE_ERROR);
    let mut server = Alone::server();
    server.feed(REQUEST, &headers(&CONNECT)).feed(CONTROL, &control(&[]));
    assert_eq!(server.resets[&REQUEST], Code::MESSAGE_ERROR);
    assert!(closed(&server.events).is_empty() && server.conn.is_idle());

    for settings in
        [&[][..], &[(setting::ENABLE_CONNECT_PROTOCOL, 1), (setting::H3_DATAGRAM, 1)], &WEBTRANSPORT[..2]]
    {
        let mut client = Alone::client();
        let session = client.conn.connect_session(&get("/")).unwrap();
        client.drain();
        client.feed(SERVER_CONTROL, &control(settings));
        assert_eq!(closed(&client.events), [(session, SessionEnd::Unsupported)]);
        assert_eq!(client.conn.connect_session(&get("/")), Err(Misuse::Refused));
    }
}

//= proof: http3-18
#[test]
fn requests_for_a_session_that_may_not_be() {
    let mut server = Alone::web_server();
    let plain: Vec<_> =
        CONNECT.into_iter().map(|(n, v)| (n, if n == ":scheme" { "http" } else { v })).collect();
    server.feed(REQUEST, &headers(&plain));
    assert_eq!(server.resets[&REQUEST], Code::MESSAGE_ERROR);
    // Another protocol is not known, which is no fault.
    let other: Vec<_> =
        CONNECT.into_iter().map(|(n, v)| (n, if n == ":protocol" { "websocket" } else { v })).collect();
    server.feed(StreamId(4), &headers(&other));
    assert_eq!(server.frames(StreamId(4)), [(frames::HEADERS, section(&[(":status", "501")]))]);
    assert!(server.ended.contains(&StreamId(4)) && server.conn.is_idle());

    // Where it was not offered, it may not be asked for.
    let mut server = Alone::new(Connection::server(Config { webtransport: false, ..Config::default() }));
    server.feed(CONTROL, &control(&WEBTRANSPORT)).feed(REQUEST, &headers(&CONNECT));
    assert_eq!(server.resets[&REQUEST], Code::MESSAGE_ERROR);
}

#[test]
fn a_session_is_refused() {
    let mut world = world(11);
    let session = world.sides[CLIENT].conn.connect_session(&get("/v2/session")).unwrap();
    world.run();
    assert_eq!(world.sides[SERVER].conn.refuse(session, &status(200)), Err(Misuse::Head));
    world.sides[SERVER].conn.refuse(session, &status(403)).unwrap();
    world.run();
    let refused = SessionEnd::Refused(StatusCode::FORBIDDEN);
    assert_eq!(closed(&world.sides[CLIENT].events), [(session, refused)]);
    assert_eq!(closed(&world.sides[SERVER].events), [(session, SessionEnd::Local)]);
    assert_eq!(world.sides[SERVER].conn.accept(session, &status(200)), Err(Misuse::Gone));
    assert!(world.sides.iter().all(|side| side.conn.is_idle()));
}

#[test]
fn a_client_of_draft_02_sees_its_draft() {
    let mut server = Alone::web_server();
    let all: Vec<_> = CONNECT.into_iter().chain([("sec-webtransport-http3-draft02", "1")]).collect();
    server.feed(REQUEST, &headers(&all));
    server.conn.accept(SESSION, &status(200)).unwrap();
    server.drain();
    let head = section(&[(":status", "200"), ("sec-webtransport-http3-draft", "draft02")]);
    assert_eq!(server.frames(REQUEST), [(frames::HEADERS, head)]);
}

//= proof: http3-18
#[test]
fn more_sessions_than_may_be() {
    let mut server = Alone::web_server();
    for i in 0..=MAX_SESSIONS as u64 {
        server.feed(StreamId(4 * i), &headers(&CONNECT));
    }
    assert_eq!(server.resets[&StreamId(4 * MAX_SESSIONS as u64)], Code::REQUEST_REJECTED);
    assert_eq!((server.resets.len(), server.closed), (1, None));
}

//= proof: http3-17
#[test]
fn streams_of_what_can_be_no_session() {
    for session in [1, 2, 3, 5] {
        let mut server = up();
        server.feed(StreamId(4), &session_stream(session, b""));
        assert_eq!(server.closed, Some(Code::ID_ERROR), "{session}");
        let mut server = up();
        server.feed(StreamId(6), &numbers(&[streams::WEBTRANSPORT, session]));
        assert_eq!(server.closed, Some(Code::ID_ERROR), "{session}");
    }
}

//= proof: http3-19
#[test]
fn streams_that_come_before_their_session() {
    let mut server = Alone::server();
    let uni = StreamId(14);
    server.feed(StreamId(4), &session_stream(0, b"early"));
    server.end(uni, &[&numbers(&[streams::WEBTRANSPORT, 0])[..], b"whole"].concat());
    server.datagram(b"\0gram");
    assert_eq!(server.conn.room(StreamId(4)), 0, "the rest waits in QUIC");
    assert!(server.events.is_empty());
    server.feed(REQUEST, &headers(&CONNECT)).feed(CONTROL, &control(&WEBTRANSPORT));
    assert!(
        !server.take_events().iter().any(|e| matches!(e, Event::SessionStream { .. })),
        "not before it is up"
    );
    server.conn.accept(SESSION, &status(200)).unwrap();
    server.drain();
    let events = server.take_events();
    let [
        Event::SessionStream { stream: StreamId(4), dir: Dir::Bi, .. },
        Event::Data { stream: StreamId(4), data: first },
        Event::SessionStream { stream: StreamId(14), dir: Dir::Uni, .. },
        Event::Data { stream: StreamId(14), data: second },
        Event::End { stream: StreamId(14) },
        Event::SessionDatagram { data: third, .. },
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((&first[..], &second[..], &third[..]), (&b"early"[..], &b"whole"[..], &b"gram"[..]));
    assert_eq!(server.reads, [StreamId(4)]);
    assert!(server.conn.room(StreamId(4)) > 0);
    assert_eq!(server.deadline, None);
}

//= proof: http3-19
#[test]
fn what_comes_early_is_bounded() {
    let mut server = Alone::server();
    for i in 1..=MAX_EARLY as u64 + 1 {
        assert_eq!(server.conn.room(StreamId(4 * i)), FIRST_BYTES);
        server.feed(StreamId(4 * i), &session_stream(0, b"x"));
    }
    let last = StreamId(4 * (MAX_EARLY as u64 + 1));
    assert_eq!(server.resets[&last], Code::WEBTRANSPORT_BUFFERED_STREAM_REJECTED);
    assert_eq!(server.stops[&last], Code::WEBTRANSPORT_BUFFERED_STREAM_REJECTED);
    assert_eq!(server.resets.len(), 1);
    // And in time.
    server.later(EARLY_TIME);
    assert_eq!(server.resets.len(), MAX_EARLY + 1);
    assert_eq!(server.closed, None);

    // Datagrams: the newest are kept.
    let mut server = Alone::server();
    for i in 0..100_u8 {
        server.datagram(&[0, i]);
    }
    server.feed(CONTROL, &control(&WEBTRANSPORT)).feed(REQUEST, &headers(&CONNECT));
    server.take_events();
    server.conn.accept(SESSION, &status(200)).unwrap();
    server.drain();
    let events = server.take_events();
    assert_eq!(events.len(), MAX_EARLY);
    assert!(matches!(&events[0], Event::SessionDatagram { data, .. } if data[..] == [100 - MAX_EARLY as u8]));
}

//= proof: http3-19
#[test]
fn streams_of_a_session_that_is_over_or_never_was() {
    let mut server = up();
    server.end(REQUEST, &[]);
    assert_eq!(
        closed(&server.take_events()),
        [(SESSION, SessionEnd::Peer { code: 0, reason: String::new() })]
    );
    server.feed(StreamId(4), &session_stream(0, b"late"));
    assert_eq!(server.resets[&StreamId(4)], Code::WEBTRANSPORT_SESSION_GONE);
    server.datagram(b"\0late");
    // A request that is none.
    server.feed(StreamId(8), &headers(&POST));
    server.feed(StreamId(12), &session_stream(8, b"x"));
    assert_eq!(server.resets[&StreamId(12)], Code::WEBTRANSPORT_SESSION_GONE);
    assert_eq!(server.closed, None);
}

//= proof: http3-20
#[test]
fn the_end_of_a_session_is_the_end_of_its_streams() {
    let ends: [fn(&mut Alone); 5] = [
        |server| server.conn.close_session(SESSION, 1, "bye").unwrap(),
        |server| {
            server.end(REQUEST, &data(&capsule::close(1, "bye")));
        },
        |server| {
            server.end(REQUEST, &[]);
        },
        |server| {
            server.reset(REQUEST, Code::REQUEST_CANCELLED);
        },
        |server| {
            server.stopped(REQUEST, Code::REQUEST_CANCELLED);
        },
    ];
    for (no, end) in ends.into_iter().enumerate() {
        let mut server = up();
        server.feed(StreamId(4), &session_stream(0, b"x"));
        server.feed(StreamId(14), &numbers(&[streams::WEBTRANSPORT, 0]));
        let mine = server.conn.open(SESSION, Dir::Bi).unwrap();
        let uni = server.conn.open(SESSION, Dir::Uni).unwrap();
        server.drain();
        server.take_events();
        end(&mut server);
        server.drain();
        let gone = Code::WEBTRANSPORT_SESSION_GONE;
        for stream in [StreamId(4), mine, uni] {
            assert_eq!(server.resets[&stream], gone, "{no}");
        }
        for stream in [StreamId(4), StreamId(14), mine] {
            assert_eq!(server.stops[&stream], gone, "{no}");
        }
        assert_eq!(closed(&server.take_events()).len(), 1, "{no}");
        // What was on its way is of no interest; then the client ends its half too.
        server.feed(REQUEST, &data(&capsule::drain())).end(REQUEST, &[]);
        assert!(server.conn.is_idle() && server.closed.is_none(), "{no}");
        assert_eq!(server.conn.open(SESSION, Dir::Bi), Err(Misuse::Gone));
        assert_eq!(server.conn.send_datagram(SESSION, b"x"), Err(Misuse::Gone));
        assert_eq!(server.conn.close_session(SESSION, 0, ""), Err(Misuse::Gone));
    }
}

//= proof: http3-21
#[test]
fn capsules_of_a_session() {
    let mut server = up();
    let bytes = [
        frame::whole(0x1234, b"unknown"),
        capsule::drain(),
        frame::whole(capsules::DATAGRAM, b"gram"),
        capsule::close(7, "bye"),
    ]
    .concat();
    // Capsules and frames are cut where they like.
    let (first, second) = bytes.split_at(11);
    server.drip(REQUEST, &[data(first), data(second)].concat());
    let events = server.take_events();
    let [
        Event::SessionDrain { .. },
        Event::SessionDatagram { data: gram, .. },
        Event::SessionClosed { reason, .. },
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(&gram[..], b"gram");
    assert_eq!(*reason, SessionEnd::Peer { code: 7, reason: "bye".into() });
    assert!(server.ended.contains(&REQUEST), "an end for an end");

    // Nothing may follow.
    server.feed(REQUEST, &data(b"x"));
    assert_eq!(server.stops[&REQUEST], Code::MESSAGE_ERROR);
}

//= proof: http3-21
#[test]
fn capsules_that_may_not_be() {
    for bytes in [
        data(&[0x68, 0x43, 1, 0]), // a close of one byte
        [data(&capsule::drain()), data(&[0x80, 0, 0x78, 0xae, 1])].concat(),
    ] {
        let mut server = up();
        server.feed(REQUEST, &bytes);
        assert_eq!(server.resets[&REQUEST], Code::MESSAGE_ERROR);
        assert_eq!(closed(&server.events), [(SESSION, SessionEnd::Reset(Code::MESSAGE_ERROR))]);
    }
    // One that is cut.
    let mut server = up();
    server.end(REQUEST, &data(&capsule::close(7, "bye")[..5]));
    assert_eq!(server.resets[&REQUEST], Code::MESSAGE_ERROR);
    // Trailers.
    let mut server = up();
    server.feed(REQUEST, &headers(&[("x", "y")]));
    assert_eq!(server.closed, Some(Code::FRAME_UNEXPECTED));
}

//= proof: http3-22
#[test]
fn datagrams_that_may_not_be() {
    for bytes in [&[][..], &[0x40], &[0xff; 8]] {
        let mut server = up();
        server.datagram(bytes);
        assert_eq!(server.closed, Some(Code::DATAGRAM_ERROR), "{bytes:x?}");
    }
    // For a request that knows nothing of them.
    let mut server = Alone::web_server();
    server.feed(REQUEST, &headers(&POST)).datagram(&[0, 1]);
    assert_eq!(server.resets[&REQUEST], Code::DATAGRAM_ERROR);
    assert_eq!(server.closed, None);
    // Of nothing at all: dropped.
    server.datagram(&[0, 1]);
    assert_eq!(server.closed, None);
}

//= proof: http3-22
#[test]
fn datagrams_go_out_with_a_quarter_of_the_number() {
    let mut server = Alone::web_server();
    server.feed(StreamId(400), &headers(&CONNECT));
    let session = SessionId(StreamId(400));
    assert_eq!(server.conn.send_datagram(session, b"x"), Err(Misuse::State));
    server.conn.accept(session, &status(200)).unwrap();
    server.conn.send_datagram(session, b"x").unwrap();
    server.drain();
    assert_eq!(server.datagrams, [Bytes::from_static(b"\x40\x64x")]);
    assert_eq!(Connection::datagram_overhead(session), 2);
}

//= proof: http3-23
#[test]
fn codes_of_applications_travel_both_ways() {
    let mut world = world(21);
    let session = world.session();
    let stream = world.sides[CLIENT].conn.open(session, Dir::Bi).unwrap();
    world.sides[CLIENT].conn.send(stream, Bytes::from_static(b"x"), false).unwrap();
    world.run();
    world.sides[CLIENT].conn.reset(stream, Code::application(40)).unwrap();
    world.sides[CLIENT].conn.stop(stream, Code::application(41)).unwrap();
    world.run();
    let codes: Vec<_> = world
        .take_events(SERVER)
        .iter()
        .filter_map(|event| match event {
            Event::Reset { code, by_peer: true, .. } | Event::Stopped { code, .. } => code.as_application(),
            _ => None,
        })
        .collect();
    assert!(codes.contains(&40) && codes.contains(&41), "{codes:?}");
}

#[test]
fn streams_of_a_session_are_bounded() {
    let mut server = up();
    for i in 1..=MAX_SESSION_STREAMS as u64 + 1 {
        server.feed(StreamId(4 * i), &session_stream(0, b""));
    }
    let last = StreamId(4 * (MAX_SESSION_STREAMS as u64 + 1));
    assert_eq!((server.resets.len(), server.resets[&last]), (1, Code::EXCESSIVE_LOAD));
    assert_eq!(server.conn.open(SESSION, Dir::Uni), Err(Misuse::Full));
    // One that is over makes room.
    server.end(StreamId(4), b"");
    server.conn.send(StreamId(4), Bytes::new(), true).unwrap();
    server.drain();
    assert!(server.conn.open(SESSION, Dir::Uni).is_ok());
}

#[test]
fn the_stream_of_a_session_is_not_for_bytes() {
    let mut server = up();
    assert_eq!(server.conn.send(REQUEST, Bytes::from_static(b"x"), false), Err(Misuse::State));
    assert_eq!(server.conn.reset(REQUEST, Code::NO_ERROR), Err(Misuse::State));
    assert_eq!(server.conn.respond(REQUEST, &status(200), true), Err(Misuse::State));
    server.conn.goaway();
    server.drain();
    assert_eq!(server.frames(REQUEST)[1], (frames::DATA, capsule::drain()), "a session is asked to end");
    assert!(server.conn.open(SESSION, Dir::Bi).is_ok(), "and goes on until it does");
}

#[test]
fn the_close_of_the_connection_closes_its_sessions() {
    let mut server = up();
    server.feed(CONTROL, &frame::whole(frames::SETTINGS, &[]));
    assert_eq!(server.closed, Some(Code::FRAME_UNEXPECTED));
    assert_eq!(closed(&server.events), [(SESSION, SessionEnd::Reset(Code::FRAME_UNEXPECTED))]);
}

#[test]
fn a_stop_that_overtakes_the_words_of_a_close() {
    let gone = Code::WEBTRANSPORT_SESSION_GONE;
    let mut server = up();
    server.stopped(REQUEST, gone);
    assert!(closed(&server.events).is_empty());
    server.end(REQUEST, &data(&capsule::close(7, "bye")));
    let reason = SessionEnd::Peer { code: 7, reason: "bye".into() };
    assert_eq!(closed(&server.events), [(SESSION, reason)]);
    assert!(server.conn.is_idle());
    // A refusal is overtaken as well.
    let mut client = Alone::client();
    client.feed(SERVER_CONTROL, &control(&WEBTRANSPORT));
    let session = client.conn.connect_session(&get("/")).unwrap();
    client.drain();
    client.stopped(session.0, Code::NO_ERROR).end(session.0, &headers(&[(":status", "403")]));
    assert_eq!(closed(&client.events), [(session, SessionEnd::Refused(StatusCode::FORBIDDEN))]);
    assert!(client.conn.is_idle() && client.deadline.is_none());
    // They do not come.
    let mut server = up();
    server.stopped(REQUEST, gone).later(EARLY_TIME);
    assert_eq!(closed(&server.events).len(), 1);
    assert!(server.conn.is_idle());
}

#[test]
fn a_session_that_waits_is_given_up() {
    // By the client, while its request waits for settings.
    let mut client = Alone::client();
    let session = client.conn.connect_session(&get("/")).unwrap();
    client.conn.close_session(session, 0, "").unwrap();
    client.drain();
    assert_eq!(closed(&client.events), [(session, SessionEnd::Local)]);
    assert_eq!(client.resets[&session.0], Code::REQUEST_CANCELLED);
    // By a server that goes away.
    let mut world = world(31);
    world.run();
    world.sides[SERVER].conn.goaway();
    let session = world.sides[CLIENT].conn.connect_session(&get("/")).unwrap();
    world.run();
    assert_eq!(closed(&world.sides[CLIENT].events), [(session, SessionEnd::Reset(Code::REQUEST_REJECTED))]);
    assert!(world.sides.iter().all(|side| side.conn.is_idle() && side.closed.is_none()));
    assert_eq!(new_id(Role::Client, Dir::Bi, 0), session.0);
}

#[test]
fn a_session_that_was_closed_here_keeps_nothing_busy() {
    let mut world = World::new(31, Config::default(), Config::default());
    let session = world.session();
    let server = &mut world.sides[SERVER].conn;
    assert!(!server.is_idle());
    server.close_session(session, 1, "").unwrap();
    assert!(!server.is_idle(), "the close has yet to leave");
    // QUIC takes it; its client never says its part.
    loop {
        match server.poll_output(START) {
            Output::Write { stream, data, .. } => {
                server.handle(START, Input::Written { stream, len: data.len() });
            }
            Output::Wait { .. } => break,
            _ => {}
        }
    }
    assert!(server.is_idle());
}

#[test]
fn a_session_whose_client_closed_it_without_an_end_keeps_nothing_busy() {
    let mut world = World::new(31, Config::default(), Config::default());
    let session = world.session();
    let server = &mut world.sides[SERVER].conn;
    // CLOSE_WEBTRANSPORT_SESSION in a frame of DATA.
    let data = Bytes::from_static(&[0x00, 7, 0x68, 0x43, 4, 0, 0, 0, 0]);
    server.handle(START, Input::Stream { stream: session.0, data, fin: false });
    assert!(!server.is_idle(), "the end has yet to leave");
    loop {
        match server.poll_output(START) {
            Output::Write { stream, data, .. } => {
                server.handle(START, Input::Written { stream, len: data.len() });
            }
            Output::Wait { .. } => break,
            _ => {}
        }
    }
    assert!(server.is_idle());
}
