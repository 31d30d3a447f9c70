//! What a peer may not do, and the code it gets for it: a test for each.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::*;
use ntproto_h3::config::{MAX_SETTINGS, RESET_BURST};
use ntproto_h3::table::{frame as frames, stream as streams};
use ntproto_h3::{Code, Config, Connection, Event, StreamId, frame};
use proptest::prelude::*;

/// The code that a server closes with, after these bytes of its client.
fn server_closes(inputs: &[(StreamId, &[u8], bool)]) -> Option<Code> {
    let whole = {
        let mut server = Alone::server();
        inputs.iter().for_each(|(stream, bytes, fin)| {
            server.bytes(*stream, bytes, *fin);
        });
        server.closed
    };
    // It makes no difference how they come.
    let mut server = Alone::server();
    for (stream, bytes, fin) in inputs {
        server.drip(*stream, bytes);
        if *fin {
            server.end(*stream, &[]);
        }
    }
    assert_eq!(server.closed, whole);
    whole
}

fn client_closes(inputs: &[(StreamId, &[u8], bool)]) -> Option<Code> {
    let mut client = Alone::client();
    client.conn.request(&get("/"), true).unwrap();
    client.drain();
    inputs.iter().for_each(|(stream, bytes, fin)| {
        client.bytes(*stream, bytes, *fin);
    });
    client.closed
}

/// The code that a request is reset with, and that the application hears of it only if it knew of it.
fn request_fails(bytes: &[u8], fin: bool) -> Option<Code> {
    let mut server = Alone::server();
    server.bytes(REQUEST, bytes, fin);
    assert_eq!(server.closed, None);
    let code = server.resets.get(&REQUEST).copied();
    let told = server.events.iter().any(|event| matches!(event, Event::Request { .. }));
    let reset = server.events.iter().any(|event| matches!(event, Event::Reset { by_peer: false, .. }));
    assert_eq!(reset, told && code.is_some());
    if code.is_some() {
        assert!(server.conn.is_idle());
    }
    code
}

fn uni(kind: u64, rest: &[u8]) -> Vec<u8> {
    [&number(kind)[..], rest].concat()
}

//= proof: http3-2
#[test]
fn critical_streams_come_once() {
    for (kind, begin) in [
        (streams::CONTROL, control(&[])),
        (streams::QPACK_ENCODER, number(streams::QPACK_ENCODER)),
        (streams::QPACK_DECODER, number(streams::QPACK_DECODER)),
    ] {
        let again = number(kind);
        let twice: [(StreamId, &[u8], bool); 2] = [(CONTROL, &begin, false), (ENCODER, &again, false)];
        assert_eq!(server_closes(&twice), Some(Code::STREAM_CREATION_ERROR), "{kind}");
    }
}

//= proof: http3-2
#[test]
fn critical_streams_do_not_end() {
    for begin in [control(&[]), number(streams::QPACK_ENCODER), number(streams::QPACK_DECODER)] {
        assert_eq!(server_closes(&[(CONTROL, &begin, true)]), Some(Code::CLOSED_CRITICAL_STREAM));
        let mut server = Alone::server();
        server.feed(CONTROL, &begin).reset(CONTROL, Code::NO_ERROR);
        assert_eq!(server.closed, Some(Code::CLOSED_CRITICAL_STREAM));
    }
    // Nor ours, at the peer's wish.
    let mut server = Alone::server();
    server.stopped(SERVER_CONTROL, Code::NO_ERROR);
    assert_eq!(server.closed, Some(Code::CLOSED_CRITICAL_STREAM));
}

//= proof: http3-3
#[test]
fn streams_of_unknown_type_do_no_harm() {
    let mut server = Alone::server();
    server.feed(CONTROL, &uni(0x21, b"anything"));
    server.feed(ENCODER, &uni(0x1f * 1000 + 0x21, b"")).reset(ENCODER, Code::NO_ERROR);
    assert_eq!((server.closed, server.stops[&CONTROL]), (None, Code::STREAM_CREATION_ERROR));
    // One that ends before it says what it is.
    server.end(DECODER, &[0x40]);
    assert_eq!(server.closed, None);
}

//= proof: http3-3
#[test]
fn streams_that_may_not_be() {
    let push = number(streams::PUSH);
    assert_eq!(server_closes(&[(CONTROL, &push, false)]), Some(Code::STREAM_CREATION_ERROR));
    assert_eq!(client_closes(&[(SERVER_CONTROL, &push, false)]), Some(Code::ID_ERROR));
    // A server that asks.
    assert_eq!(client_closes(&[(StreamId(1), &headers(&GET), false)]), Some(Code::STREAM_CREATION_ERROR));
    let mut client = Alone::new(Connection::client(Config { webtransport: false, ..Config::default() }));
    client.feed(StreamId(1), &[]);
    assert_eq!(client.closed, Some(Code::STREAM_CREATION_ERROR));
}

//= proof: http3-4
#[test]
fn the_first_thing_said_is_settings() {
    for alone in [Alone::server(), Alone::client()] {
        let control = alone.written.values().next().unwrap();
        assert_eq!(control[0], streams::CONTROL as u8);
        let frames = split(&control[1..]);
        assert!(matches!(&frames[..], [(frames::SETTINGS, payload)] if !payload.is_empty()));
        assert!(alone.ended.is_empty());
    }
}

//= proof: http3-5
#[test]
fn settings_come_first_and_once() {
    let late = uni(streams::CONTROL, &frame::of_number(frames::GOAWAY, 0));
    assert_eq!(server_closes(&[(CONTROL, &late, false)]), Some(Code::MISSING_SETTINGS));
    // Even a frame that means nothing may not come before.
    let grease = uni(streams::CONTROL, &frame::whole(0x21, b"x"));
    assert_eq!(server_closes(&[(CONTROL, &grease, false)]), Some(Code::MISSING_SETTINGS));
    let twice = [control(&[]), frame::whole(frames::SETTINGS, &[])].concat();
    assert_eq!(server_closes(&[(CONTROL, &twice, false)]), Some(Code::FRAME_UNEXPECTED));
}

//= proof: http3-6
#[test]
fn settings_that_are_wrong() {
    for settings in [&[(0x02, 1)][..], &[(0x33, 2)], &[(0x08, 5)], &[(0x2a, 1), (0x2a, 1)]] {
        assert_eq!(server_closes(&[(CONTROL, &control(settings), false)]), Some(Code::SETTINGS_ERROR));
    }
    let cut = uni(streams::CONTROL, &frame::whole(frames::SETTINGS, &[0x40]));
    assert_eq!(server_closes(&[(CONTROL, &cut, false)]), Some(Code::FRAME_ERROR));
    let mut long = number(streams::CONTROL);
    frame::put_head(frames::SETTINGS, MAX_SETTINGS + 1, &mut long);
    assert_eq!(server_closes(&[(CONTROL, &long, false)]), Some(Code::EXCESSIVE_LOAD));
}

//= proof: http3-5
#[test]
fn frames_that_may_not_be_on_the_control_stream() {
    let mut kinds = vec![frames::DATA, frames::HEADERS, frames::PUSH_PROMISE];
    kinds.extend(frames::OF_HTTP2);
    for kind in kinds {
        let bytes = [control(&[]), frame::whole(kind, &[0])].concat();
        assert_eq!(server_closes(&[(CONTROL, &bytes, false)]), Some(Code::FRAME_UNEXPECTED), "{kind}");
    }
    let bytes = [control(&[]), number(frames::WEBTRANSPORT_STREAM), number(0)].concat();
    assert_eq!(server_closes(&[(CONTROL, &bytes, false)]), Some(Code::FRAME_ERROR));
    // Unknown ones may, however long: PRIORITY_UPDATE, which browsers send, among them.
    let bytes = [control(&[]), frame::whole(0xf0700, &vec![7; 70_000]), frame::whole(0x21, b"")].concat();
    let mut server = Alone::server();
    server.feed(CONTROL, &bytes).feed(CONTROL, &frame::of_number(frames::GOAWAY, 0));
    assert!(matches!(server.events[..], [Event::Settings { .. }, Event::Goaway]));
}

#[test]
fn frames_of_one_number_hold_one() {
    for kind in [frames::GOAWAY, frames::MAX_PUSH_ID, frames::CANCEL_PUSH] {
        for payload in [&[][..], &[0x40], &[0, 0], &[0; 9]] {
            let bytes = [control(&[]), frame::whole(kind, payload)].concat();
            assert_eq!(server_closes(&[(CONTROL, &bytes, false)]), Some(Code::FRAME_ERROR), "{kind}");
        }
    }
}

//= proof: http3-7
#[test]
fn pushes_that_never_were() {
    let on_control = |kind, value| [control(&[]), frame::of_number(kind, value)].concat();
    let cancel = on_control(frames::CANCEL_PUSH, 0);
    assert_eq!(server_closes(&[(CONTROL, &cancel, false)]), Some(Code::ID_ERROR));
    assert_eq!(client_closes(&[(SERVER_CONTROL, &cancel, false)]), Some(Code::ID_ERROR));
    let less = [on_control(frames::MAX_PUSH_ID, 7), frame::of_number(frames::MAX_PUSH_ID, 6)].concat();
    assert_eq!(server_closes(&[(CONTROL, &less, false)]), Some(Code::ID_ERROR));
    let same = [on_control(frames::MAX_PUSH_ID, 7), frame::of_number(frames::MAX_PUSH_ID, 7)].concat();
    assert_eq!(server_closes(&[(CONTROL, &same, false)]), None);
    let max = on_control(frames::MAX_PUSH_ID, 7);
    assert_eq!(client_closes(&[(SERVER_CONTROL, &max, false)]), Some(Code::FRAME_UNEXPECTED));
    let promise = frame::whole(frames::PUSH_PROMISE, &[0]);
    assert_eq!(client_closes(&[(REQUEST, &promise, false)]), Some(Code::ID_ERROR));
    assert_eq!(server_closes(&[(REQUEST, &promise, false)]), Some(Code::FRAME_UNEXPECTED));
}

//= proof: http3-15
#[test]
fn numbers_of_goaway() {
    let goaway = |ids: &[u64]| {
        let frames = ids.iter().flat_map(|id| frame::of_number(frames::GOAWAY, *id));
        control(&[]).into_iter().chain(frames).collect::<Vec<u8>>()
    };
    for (ids, fault) in [(&[8, 4][..], false), (&[4, 8], true), (&[2], true), (&[1], true)] {
        let code = client_closes(&[(SERVER_CONTROL, &goaway(ids), false)]);
        assert_eq!(code, fault.then_some(Code::ID_ERROR), "{ids:?}");
    }
    // A client counts pushes.
    assert_eq!(server_closes(&[(CONTROL, &goaway(&[2, 1]), false)]), None);
    assert_eq!(server_closes(&[(CONTROL, &goaway(&[1, 2]), false)]), Some(Code::ID_ERROR));
}

//= proof: http3-8
#[test]
fn frames_out_of_place_in_a_request() {
    let get = headers(&GET);
    let trailers = headers(&[("x-sum", "1")]);
    for bytes in [
        data(b"body first"),
        [&get[..], &trailers, &data(b"x")].concat(),
        [&get[..], &trailers, &trailers].concat(),
        [&get[..], &frame::whole(frames::SETTINGS, &[])].concat(),
        frame::of_number(frames::GOAWAY, 0),
        frame::of_number(frames::MAX_PUSH_ID, 0),
        frame::of_number(frames::CANCEL_PUSH, 0),
        frame::whole(0x02, &[0; 5]),
        [&get[..], &frame::whole(0x06, &[0; 8])].concat(),
        frame::whole(0x08, &[0; 4]),
        frame::whole(0x09, &[]),
    ] {
        assert_eq!(server_closes(&[(REQUEST, &bytes, false)]), Some(Code::FRAME_UNEXPECTED), "{bytes:x?}");
    }
    // What means nothing may stand anywhere.
    let grease = frame::whole(0x1f * 3 + 0x21, &[9; 5000]);
    let bytes = [&grease[..], &get, &grease, &data(b"x"), &grease, &trailers, &grease].concat();
    assert_eq!(server_closes(&[(REQUEST, &bytes, true)]), None);
    let bytes = [&get[..], &number(frames::WEBTRANSPORT_STREAM), &number(0)].concat();
    assert_eq!(server_closes(&[(REQUEST, &bytes, false)]), Some(Code::FRAME_ERROR));
}

//= proof: http3-8
#[test]
fn a_request_that_ends_in_a_frame() {
    let get = headers(&GET);
    for cut in 1..get.len() {
        assert_eq!(server_closes(&[(REQUEST, &get[..cut], true)]), Some(Code::FRAME_ERROR), "{cut}");
    }
    let body = data(b"body");
    for cut in 1..body.len() {
        let bytes = [&get[..], &body[..cut]].concat();
        assert_eq!(server_closes(&[(REQUEST, &bytes, true)]), Some(Code::FRAME_ERROR), "{cut}");
    }
}

//= proof: http3-8
#[test]
fn a_request_that_ends_before_its_head() {
    assert_eq!(request_fails(&[], true), Some(Code::REQUEST_INCOMPLETE));
    assert_eq!(request_fails(&frame::whole(0x21, b"grease"), true), Some(Code::REQUEST_INCOMPLETE));
    // And an answer.
    let mut client = Alone::client();
    let stream = client.conn.request(&get("/"), true).unwrap();
    client.drain();
    client.end(stream, &headers(&[(":status", "100")]));
    assert!(matches!(client.events[..], [Event::Reset { code: Code::MESSAGE_ERROR, by_peer: false, .. }]));
}

//= proof: http3-9
#[test]
fn sections_that_can_not_be_read() {
    for section in [&[][..], &[2, 0, 0x80], &[0, 0, 0x80], &[0, 0, 0xff, 0xff], &[0, 0, 0x27]] {
        let bytes = frame::whole(frames::HEADERS, section);
        let code = server_closes(&[(REQUEST, &bytes, false)]);
        assert_eq!(code, Some(Code::QPACK_DECOMPRESSION_FAILED), "{section:x?}");
    }
    // In trailers as well.
    let bytes = [headers(&GET), frame::whole(frames::HEADERS, &[0])].concat();
    assert_eq!(server_closes(&[(REQUEST, &bytes, false)]), Some(Code::QPACK_DECOMPRESSION_FAILED));
}

//= proof: http3-10
#[test]
fn qpack_streams_that_speak_of_a_table() {
    let encoder = |bytes: &[u8]| server_closes(&[(ENCODER, &uni(streams::QPACK_ENCODER, bytes), false)]);
    assert_eq!(encoder(&[0x20]), None);
    assert_eq!(encoder(&[0x3f, 0xbd, 0x01]), Some(Code::QPACK_ENCODER_STREAM_ERROR));
    let decoder = |bytes: &[u8]| server_closes(&[(DECODER, &uni(streams::QPACK_DECODER, bytes), false)]);
    assert_eq!(decoder(&[0x44]), None);
    assert_eq!(decoder(&[0x84]), Some(Code::QPACK_DECODER_STREAM_ERROR));
}

//= proof: http3-13, http3-14
#[test]
fn heads_that_may_not_be() {
    let e = Some(Code::MESSAGE_ERROR);
    let with = |fields: &[(&str, &str)]| {
        let all: Vec<(&str, &str)> = GET.into_iter().chain(fields.iter().copied()).collect();
        request_fails(&headers(&all), false)
    };
    assert_eq!(with(&[("accept", "*/*"), ("te", "trailers"), ("x-empty", "")]), None);
    for field in [
        ("Accept", "*/*"),
        ("connection", "close"),
        ("keep-alive", "1"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("x-line", "a\r\nb: c"),
        ("x-nul", "a\0"),
        ("x-space", " a"),
        ("x-space", "a\t"),
        ("x name", "a"),
        ("", "a"),
        (":path", "/again"),
        (":status", "200"),
        (":unknown", "x"),
        ("content-length", "x"),
        ("content-length", "-1"),
        ("content-length", "+1"),
        ("content-length", "18446744073709551616"),
        ("host", "other.example"),
        (":protocol", "webtransport"),
    ] {
        assert_eq!(with(&[field]), e, "{field:?}");
    }
    assert_eq!(with(&[("content-length", "5"), ("content-length", "6")]), e);
    assert_eq!(with(&[("host", "a.example"), ("host", "a.example")]), e);
    assert_eq!(with(&[("content-length", "5"), ("content-length", "5"), ("host", "a.example")]), None);

    let only = |fields: &[(&str, &str)]| request_fails(&headers(fields), false);
    for missing in GET {
        let fields: Vec<_> = GET.into_iter().filter(|field| *field != missing).collect();
        assert_eq!(only(&fields), e, "without {missing:?}");
    }
    let (m, s, a, p) = (GET[0], GET[1], GET[2], GET[3]);
    assert_eq!(only(&[m, s, p, ("host", "a.example")]), None, "the old way to say where");
    assert_eq!(only(&[m, s, p, ("x-first", "1"), a]), e, "pseudo-header fields come first");
    assert_eq!(only(&[m, s, a, (":path", "")]), e);
    assert_eq!(only(&[m, s, a, (":path", "*")]), e);
    assert_eq!(only(&[m, s, a, (":path", "no-slash")]), e);
    assert_eq!(only(&[(":method", "OPTIONS"), s, a, (":path", "*")]), None);
    assert_eq!(only(&[(":method", "a b"), s, a, p]), e);
    assert_eq!(only(&[m, s, (":authority", ""), p]), e);
    assert_eq!(only(&[m, s, (":authority", "me@a.example"), p]), e);
    assert_eq!(only(&[m, (":scheme", ""), a, p]), e);
    assert_eq!(only(&[(":method", "CONNECT"), (":authority", "a.example:443")]), None);
    assert_eq!(only(&[(":method", "CONNECT"), (":authority", "a.example:443"), p]), e);
    assert_eq!(only(&[(":method", "CONNECT"), s, (":authority", "a.example:443")]), e);
    assert_eq!(only(&[(":method", "CONNECT")]), e);
}

//= proof: http3-14
#[test]
fn answers_that_may_not_be() {
    let answer = |fields: &[(&str, &str)]| {
        let mut client = Alone::client();
        let stream = client.conn.request(&get("/"), true).unwrap();
        client.drain();
        client.feed(stream, &headers(fields));
        assert_eq!(client.closed, None);
        client.stops.get(&stream).copied()
    };
    assert_eq!(answer(&[(":status", "200")]), None);
    for fields in [
        &[][..],
        &[("server", "x")],
        &[(":status", "20")],
        &[(":status", "2000")],
        &[(":status", "abc")],
        &[(":status", "101")],
        &[(":status", "200"), (":status", "200")],
        &[(":status", "200"), (":path", "/")],
        &[("server", "x"), (":status", "200")],
        &[(":status", "200"), ("connection", "close")],
        &[(":status", "200"), ("content-length", "1, 2")],
    ] {
        assert_eq!(answer(fields), Some(Code::MESSAGE_ERROR), "{fields:?}");
    }
}

//= proof: http3-12
#[test]
fn lengths_that_lie() {
    let with = |length: &str, body: &[&[u8]], fin: bool| {
        let all: Vec<(&str, &str)> = POST.into_iter().chain([("content-length", length)]).collect();
        let mut bytes = headers(&all);
        body.iter().for_each(|piece| bytes.extend(data(piece)));
        request_fails(&bytes, fin)
    };
    assert_eq!(with("5", &[b"he", b"", b"llo"], true), None);
    assert_eq!(with("0", &[], true), None);
    assert_eq!(with("5", &[b"hell"], true), Some(Code::MESSAGE_ERROR), "too little");
    assert_eq!(with("5", &[b"hell"], false), None, "not yet");
    assert_eq!(with("5", &[b"hello", b"!"], false), Some(Code::MESSAGE_ERROR), "too much");
    assert_eq!(with("5", &[], true), Some(Code::MESSAGE_ERROR));

    // The answer to HEAD says how long the other would be; so do 304 and 204.
    for (method, status, body, fine) in [
        (http::Method::HEAD, "200", &b""[..], true),
        (http::Method::HEAD, "200", b"hello", true),
        (http::Method::HEAD, "200", b"hel", false),
        (http::Method::GET, "304", b"", true),
        (http::Method::GET, "200", b"", false),
    ] {
        let mut client = Alone::client();
        let mut head = get("/");
        *head.method_mut() = method.clone();
        let stream = client.conn.request(&head, true).unwrap();
        client.drain();
        client.feed(stream, &headers(&[(":status", status), ("content-length", "5")]));
        client.end(stream, &if body.is_empty() { vec![] } else { data(body) });
        assert_eq!(client.stops.is_empty() && client.events.len() > 1, fine, "{method} {status}");
    }
}

/// It is the server that resets them, and its client that made it do so.
//= proof: http3-16
#[test]
fn requests_lost_by_their_own_body_count_as_given_up() {
    type Sin = fn(&mut Alone, StreamId);
    let lies: [(&str, Sin); 5] = [
        ("a body longer than announced", |server, stream| {
            server.feed(stream, &headers(&[&POST[..], &[("content-length", "1")]].concat()));
            server.feed(stream, &data(b"xx"));
        }),
        ("a body shorter than announced", |server, stream| {
            server.end(stream, &headers(&[&POST[..], &[("content-length", "1")]].concat()));
        }),
        ("trailers that are none", |server, stream| {
            server.feed(stream, &[headers(&POST), headers(&[(":path", "/")])].concat());
        }),
        ("trailers that are too large", |server, stream| {
            server.feed(stream, &headers(&POST));
            server.feed(stream, &numbers(&[frames::HEADERS, 1 << 20]));
        }),
        ("a datagram of a request", |server, stream| {
            server.feed(stream, &headers(&POST)).datagram(&number(stream.0 >> 2));
        }),
    ];
    for (name, lie) in lies {
        let mut server = Alone::web_server();
        for i in 0..u64::from(RESET_BURST) {
            lie(&mut server, StreamId(4 * i));
            assert!(server.resets.contains_key(&StreamId(4 * i)), "{name}");
        }
        assert_eq!(server.closed, None, "{name}");
        lie(&mut server, StreamId(4 * u64::from(RESET_BURST)));
        assert_eq!(server.closed, Some(Code::EXCESSIVE_LOAD), "{name}");
    }

    // Those that are turned away at the door don't count: an honest client may have sent many before it knew.
    let mut server = Alone::server();
    server.conn.goaway();
    for i in 0..2 * u64::from(RESET_BURST) {
        server.end(StreamId(4 * i), &headers(&GET));
        assert_eq!(server.resets[&StreamId(4 * i)], Code::REQUEST_REJECTED);
    }
    assert_eq!(server.closed, None);
}

//= proof: http3-16
#[test]
fn rapid_resets_are_bounded() {
    let mut server = Alone::server();
    for i in 0..u64::from(RESET_BURST) {
        server.feed(StreamId(4 * i), &headers(&GET)).reset(StreamId(4 * i), Code::REQUEST_CANCELLED);
    }
    assert_eq!(server.closed, None);
    let next = StreamId(4 * u64::from(RESET_BURST));
    server.feed(next, &headers(&GET)).reset(next, Code::REQUEST_CANCELLED);
    assert_eq!(server.closed, Some(Code::EXCESSIVE_LOAD));

    // The other way to give up, and streams that never became a request.
    for mixed in [false, true] {
        let mut server = Alone::server();
        for i in 0..=u64::from(RESET_BURST) {
            if mixed && i % 2 == 0 {
                server.reset(StreamId(4 * i), Code::REQUEST_CANCELLED);
            } else {
                server.end(StreamId(4 * i), &headers(&GET)).stopped(StreamId(4 * i), Code::REQUEST_CANCELLED);
            }
        }
        assert_eq!(server.closed, Some(Code::EXCESSIVE_LOAD));
    }

    // In their own time they may be as many as they like; and answered ones don't count.
    let mut server = Alone::server();
    for i in 0..1000 {
        server.later(Duration::from_millis(40));
        server.end(StreamId(8 * i), &headers(&GET)).stopped(StreamId(8 * i), Code::REQUEST_CANCELLED);
        let answered = StreamId(8 * i + 4);
        server.feed(answered, &headers(&POST));
        server.conn.respond(answered, &status(413), true).unwrap();
        server.reset(answered, Code::NO_ERROR);
    }
    assert_eq!(server.closed, None);
    assert!(server.conn.is_idle());
}

#[test]
fn streams_out_of_all_order() {
    let mut server = Alone::server();
    server.end(StreamId(400), &headers(&GET)).end(StreamId(0), &headers(&GET));
    assert_eq!(server.events.len(), 2, "late, but not lost");
    server.feed(StreamId(1 << 60), &[]);
    assert_eq!(server.closed, Some(Code::EXCESSIVE_LOAD));
}

#[test]
fn after_the_close_nothing_happens() {
    let mut server = Alone::server();
    server.feed(REQUEST, &headers(&GET));
    server.feed(StreamId(4), &data(b"x"));
    assert_eq!(server.closed, Some(Code::FRAME_UNEXPECTED));
    server.feed(StreamId(8), &headers(&GET)).datagram(&[0]).later(Duration::from_secs(60));
    assert_eq!(server.conn.respond(REQUEST, &status(200), true), Err(ntproto_h3::Misuse::Closed));
    assert_eq!((server.events.len(), server.deadline), (1, None));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]
    /// Whatever comes: no panic, one close at most, and it waits in the end. (`Alone` asserts the rest.)
    #[test]
    fn anything_may_come(
        inputs in proptest::collection::vec((0..16_u64, any::<Vec<u8>>(), any::<bool>(), 0..12_u8), 0..40),
        client: bool,
    ) {
        let mut alone = if client { Alone::client() } else { Alone::server() };
        if client {
            alone.conn.request(&get("/"), false).unwrap();
            alone.conn.connect_session(&get("/")).unwrap();
            alone.drain();
        }
        for (stream, bytes, fin, what) in inputs {
            let stream = StreamId(stream);
            match what {
                0 => alone.reset(stream, Code(bytes.len() as u64)),
                1 => alone.stopped(stream, Code::NO_ERROR),
                2 => alone.datagram(&bytes),
                3 => alone.later(Duration::from_secs(1)),
                4 => alone.bytes(CONTROL, &control(&WEBTRANSPORT), fin),
                5 => alone.bytes(stream, &headers(&POST), fin),
                6 => alone.bytes(stream, &headers(&CONNECT), fin),
                7 => alone.bytes(stream, &data(&bytes), fin),
                8 => alone.bytes(stream, &numbers(&[frames::WEBTRANSPORT_STREAM, 0]), fin),
                _ => alone.bytes(stream, &bytes, fin),
            };
            let sessions: Vec<_> = alone.take_events().into_iter().filter_map(|event| match event {
                Event::Session { session, .. } => Some(session),
                _ => None,
            }).collect();
            for session in sessions {
                // Refused when it is over already.
                let _ = alone.conn.accept(session, &status(200));
                alone.drain();
            }
        }
    }
}
