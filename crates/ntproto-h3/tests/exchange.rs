//! Requests and answers.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::*;
use http::{Method, Response, StatusCode, Version};
use ntproto_h3::config::{HEAD_TIME, MAX_FIELD_SECTION, RECEIVE_WINDOW, SEND_QUEUE};
use ntproto_h3::table::{frame as frames, setting};
use ntproto_h3::{Code, Config, Event, Input, Misuse, StreamId, frame};
use proptest::prelude::*;

fn world(seed: u64) -> World {
    World::new(seed, Config::default(), Config::default())
}

#[test]
fn a_request_and_its_answer() {
    let mut world = world(1);
    let mut head = get("/v2/handshake?app_id=10001&version=2.4.1");
    head.headers_mut().insert("authorization", "Bearer secret".parse().unwrap());
    let stream = world.sides[CLIENT].conn.request(&head, true).unwrap();
    world.run();
    let events = world.take_events(SERVER);
    let request = events.iter().find_map(|event| match event {
        Event::Request { stream, head, .. } => Some((stream, head)),
        _ => None,
    });
    let (at, head) = request.unwrap();
    assert_eq!(*at, stream);
    assert_eq!((head.method(), head.version()), (&Method::GET, Version::HTTP_3));
    assert_eq!(head.uri(), "https://a.example/v2/handshake?app_id=10001&version=2.4.1");
    assert_eq!(head.headers()["authorization"], "Bearer secret");
    assert!(!format!("{head:?}").contains("secret"), "what is secret is not shown");
    assert!(world.sides[SERVER].ended.contains(&stream));

    let answer = Response::builder().header("content-type", "application/json").body(()).unwrap();
    world.sides[SERVER].conn.respond(stream, &answer, false).unwrap();
    world.send_all(SERVER, stream, Bytes::from_static(b"{}"));
    let events = world.take_events(CLIENT);
    assert!(events.iter().any(|event| matches!(event, Event::Response { head, end: false, .. }
        if head.status() == StatusCode::OK && head.headers()["content-type"] == "application/json")));
    assert_eq!(world.sides[CLIENT].bodies[&stream], b"{}");
    assert!(world.sides[CLIENT].ended.contains(&stream));
    assert!(world.sides.iter().all(|side| side.conn.is_idle()), "nothing is left behind");
}

#[test]
fn a_body_waits_for_its_reader() {
    // The server's application consumes nothing: the window fills, and the rest stays where it is.
    let mut server = Alone::server();
    server.feed(REQUEST, &headers(&POST));
    let mut fed = 0;
    let mut head = Vec::new();
    frame::put_head(frames::DATA, 10 * RECEIVE_WINDOW, &mut head);
    server.feed(REQUEST, &head);
    while server.conn.room(REQUEST) > 0 {
        let len = server.conn.room(REQUEST).min(10_000);
        server.feed(REQUEST, &vec![7; len]);
        fed += len;
    }
    assert_eq!(fed, RECEIVE_WINDOW);
    assert!(server.reads.is_empty());
    server.conn.consume(REQUEST, 1000);
    server.drain();
    assert_eq!((server.conn.room(REQUEST), &server.reads[..]), (1000, &[REQUEST][..]));
    server.conn.consume(REQUEST, 1000);
    server.drain();
    assert_eq!(server.reads.len(), 1, "told once");
}

#[test]
fn small_frames_are_told_together() {
    let mut server = Alone::server();
    let mut bytes = headers(&POST);
    let mut body = Vec::new();
    for i in 0..5000 {
        let piece = vec![i as u8; if i % 1000 == 999 { 2000 } else { 1 }];
        bytes.extend(data(&piece));
        body.extend(piece);
    }
    server.end(REQUEST, &bytes);
    let events = server.take_events();
    assert!(events.len() < 20, "{}", events.len());
    let told: Vec<u8> = events
        .iter()
        .flat_map(|event| match event {
            Event::Data { data, .. } => data.to_vec(),
            _ => Vec::new(),
        })
        .collect();
    assert_eq!(told, body);
    assert!(matches!(events.last(), Some(Event::End { .. })));
}

#[test]
fn a_sender_waits_for_room() {
    let mut world = world(3);
    let conn = &mut world.sides[CLIENT].conn;
    let stream = conn.request(&post("/"), false).unwrap();
    let data = Bytes::from(vec![1; 2 * SEND_QUEUE]);
    let taken = conn.send(stream, data.clone(), true).unwrap();
    assert!(taken < SEND_QUEUE && taken > SEND_QUEUE - 200, "the head takes some room: {taken}");
    // Frames of a body take a few bytes too: there is none now.
    assert_eq!(conn.send(stream, data.slice(taken..), true), Ok(0));
    assert_eq!(conn.send_room(stream), 0);
    world.run();
    assert!(
        world
            .take_events(CLIENT)
            .iter()
            .any(|e| matches!(e, Event::Writable { stream: at } if *at == stream))
    );
    world.send_all(CLIENT, stream, data.slice(taken..));
    assert_eq!(world.sides[SERVER].bodies[&stream], data);
    assert!(world.sides[SERVER].ended.contains(&stream));
    assert_eq!(world.sides[CLIENT].conn.send(stream, data, false), Err(Misuse::Gone), "it ended");
}

/// Everything arrives as it was sent, however streams are cut and mixed.
fn bodies_arrive(seed: u64, count: usize, len: usize) {
    let mut world = world(seed);
    let pattern =
        |no: usize| -> Bytes { (0..len + no).map(|at| (at * 7 + no) as u8).collect::<Vec<u8>>().into() };
    let streams: Vec<StreamId> =
        (0..count).map(|_| world.sides[CLIENT].conn.request(&post("/up"), false).unwrap()).collect();
    for (no, stream) in streams.iter().enumerate() {
        world.send_all(CLIENT, *stream, pattern(no));
    }
    world.run();
    for (no, stream) in streams.iter().enumerate() {
        assert_eq!(world.sides[SERVER].bodies.get(stream).map_or(&[][..], |body| body), pattern(no));
        assert!(world.sides[SERVER].ended.contains(stream));
        world.sides[SERVER].conn.respond(*stream, &status(200), false).unwrap();
        world.send_all(SERVER, *stream, pattern(no));
    }
    world.run();
    for (no, stream) in streams.iter().enumerate() {
        assert_eq!(world.sides[CLIENT].bodies.get(stream).map_or(&[][..], |body| body), pattern(no));
        assert!(world.sides[CLIENT].ended.contains(stream));
    }
    assert!(world.sides.iter().all(|side| side.conn.is_idle() && side.closed.is_none()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn bodies_arrive_whole(seed in 1..u64::MAX, count in 1..6_usize, len in 0..200_000_usize) {
        bodies_arrive(seed, count, len);
    }
}

#[test]
fn what_a_server_may_not_say() {
    let mut server = Alone::server();
    server.feed(REQUEST, &headers(&POST));
    let conn = &mut server.conn;
    assert_eq!(conn.send(REQUEST, Bytes::new(), true), Err(Misuse::State), "no head yet");
    assert_eq!(conn.respond(REQUEST, &status(100), false), Err(Misuse::Head));
    let te = Response::builder().header("transfer-encoding", "chunked").body(()).unwrap();
    assert_eq!(conn.respond(REQUEST, &te, false), Err(Misuse::Head));
    assert_eq!(conn.respond(StreamId(4), &status(200), false), Err(Misuse::Gone));
    assert_eq!(conn.request(&get("/"), true), Err(Misuse::State));
    assert_eq!(conn.respond(REQUEST, &status(200), true), Ok(()));
    assert_eq!(conn.respond(REQUEST, &status(200), true), Err(Misuse::State));
    assert_eq!(conn.send(REQUEST, Bytes::from_static(b"x"), false), Err(Misuse::State));
}

#[test]
fn what_a_client_may_not_say() {
    let mut client = Alone::client();
    let mut bad = get("/");
    bad.headers_mut().insert("connection", "close".parse().unwrap());
    assert_eq!(client.conn.request(&bad, true), Err(Misuse::Head));
    let relative = http::Request::get("/relative").body(()).unwrap();
    assert_eq!(client.conn.request(&relative, true), Err(Misuse::Head));
    let user = http::Request::get("https://me@a.example/").body(()).unwrap();
    assert_eq!(client.conn.request(&user, true), Err(Misuse::Head));
    client.feed(SERVER_CONTROL, &control(&[(setting::MAX_FIELD_SECTION_SIZE, 200)]));
    let mut long = get("/");
    long.headers_mut().insert("x-long", "x".repeat(100).parse().unwrap());
    assert_eq!(client.conn.request(&long, true), Err(Misuse::TooLarge));
    assert!(client.conn.request(&get("/"), true).is_ok());
    for _ in 1..100 {
        client.conn.request(&get("/"), true).unwrap();
    }
    assert_eq!(client.conn.request(&get("/"), true), Err(Misuse::Full));
}

//= proof: http3-11
#[test]
fn forty_thousand_fields_are_told_so() {
    let mut server = Alone::server();
    let fields: Vec<(String, String)> = (0..40_000).map(|i| (format!("x-{i}"), String::new())).collect();
    let all: Vec<(&str, &str)> =
        GET.into_iter().chain(fields.iter().map(|(n, v)| (&n[..], &v[..]))).collect();
    let bytes = headers(&all);
    for chunk in bytes.chunks(1200) {
        server.feed(REQUEST, chunk);
    }
    too_large(&mut server);
    // A count beyond the limit, in few bytes.
    let mut server = Alone::server();
    let few: Vec<(&str, &str)> = GET.into_iter().chain([("accept", "*/*"); 125]).collect();
    assert!(headers(&few).len() < 200);
    server.end(REQUEST, &headers(&few));
    too_large(&mut server);
    // As many as may be.
    let mut server = Alone::server();
    server.end(REQUEST, &headers(&few[..128]));
    assert!(matches!(server.events[..], [Event::Request { .. }]));
}

//= proof: http3-11
#[test]
fn a_gibibyte_of_headers_is_told_so_at_once() {
    let mut server = Alone::server();
    let mut head = Vec::new();
    frame::put_head(frames::HEADERS, 1 << 30, &mut head);
    server.feed(REQUEST, &head);
    too_large(&mut server);
    // Nothing of it is kept, should it come all the same.
    for _ in 0..1000 {
        server.feed(REQUEST, &[0; 1 << 16]);
    }
    assert!(server.conn.is_idle() && server.closed.is_none());
}

fn too_large(server: &mut Alone) {
    let frames = server.frames(REQUEST);
    assert_eq!(frames, [(1, section(&[(":status", "431")]))]);
    assert!(server.ended.contains(&REQUEST) && server.events.is_empty());
    assert!(server.stops.get(&REQUEST).is_none_or(|code| *code == Code::NO_ERROR));
    assert_eq!(server.closed, None);
    // The connection lives on.
    server.end(StreamId(4), &headers(&GET));
    assert!(matches!(server.take_events()[..], [Event::Request { end: true, .. }]));
    server.conn.respond(StreamId(4), &status(200), true).unwrap();
    server.drain();
}

#[test]
fn a_client_takes_no_endless_head() {
    let mut client = Alone::client();
    let stream = client.conn.request(&get("/"), true).unwrap();
    client.drain();
    let mut head = Vec::new();
    frame::put_head(frames::HEADERS, MAX_FIELD_SECTION + 1, &mut head);
    client.feed(stream, &head);
    assert_eq!(client.stops[&stream], Code::EXCESSIVE_LOAD);
    assert!(matches!(client.events[..], [Event::Reset { code: Code::EXCESSIVE_LOAD, by_peer: false, .. }]));
    assert!(client.conn.is_idle());
}

#[test]
fn informational_answers_are_passed_over() {
    let mut client = Alone::client();
    let stream = client.conn.request(&get("/"), true).unwrap();
    client.drain();
    for _ in 0..16 {
        client.feed(stream, &headers(&[(":status", "103"), ("link", "</a>")]));
    }
    client.end(stream, &headers(&[(":status", "204")]));
    let events = client.take_events();
    assert!(
        matches!(&events[..], [Event::Response { head, end: true, .. }] if head.status() == 204),
        "{events:?}"
    );

    let mut client = Alone::client();
    let stream = client.conn.request(&get("/"), true).unwrap();
    client.drain();
    for _ in 0..17 {
        client.feed(stream, &headers(&[(":status", "103")]));
    }
    assert_eq!(client.stops[&stream], Code::EXCESSIVE_LOAD);
}

#[test]
fn trailers_are_looked_at_and_dropped() {
    let mut server = Alone::server();
    let bytes = [headers(&POST), data(b"body"), headers(&[("x-sum", "1")])].concat();
    server.drip(REQUEST, &bytes).end(REQUEST, &[]);
    let events = server.take_events();
    assert!(matches!(events.first(), Some(Event::Request { end: false, .. })));
    assert!(matches!(events.last(), Some(Event::End { .. })));
    let mut server = Alone::server();
    server.feed(REQUEST, &[headers(&POST), headers(&[(":path", "/")])].concat());
    assert_eq!(server.resets[&REQUEST], Code::MESSAGE_ERROR);
}

#[test]
fn pieces_of_a_cookie_are_one() {
    let mut server = Alone::server();
    let fields: Vec<(&str, &str)> = GET.into_iter().chain([("cookie", "a=1"), ("cookie", "b=2")]).collect();
    server.end(REQUEST, &headers(&fields));
    let [Event::Request { head, .. }] = &server.events[..] else { panic!() };
    assert_eq!(head.headers()["cookie"], "a=1; b=2");
}

#[test]
fn an_early_answer_stops_the_body() {
    let mut world = world(9);
    let stream = world.sides[CLIENT].conn.request(&post("/"), false).unwrap();
    world.run();
    world.sides[SERVER].conn.respond(stream, &status(413), true).unwrap();
    world.sides[SERVER].conn.stop(stream, Code::NO_ERROR).unwrap();
    world.run();
    let events = world.take_events(CLIENT);
    assert!(events.iter().any(|e| matches!(e, Event::Stopped { code: Code::NO_ERROR, .. })), "{events:?}");
    assert!(events.iter().any(|e| matches!(e, Event::Response { head, .. } if head.status() == 413)));
    assert!(!events.iter().any(|e| matches!(e, Event::Reset { .. })));
    assert_eq!(world.sides[CLIENT].conn.send(stream, Bytes::new(), true).unwrap_err(), Misuse::Gone);
    assert!(world.sides.iter().all(|side| side.conn.is_idle()));
}

#[test]
fn a_client_gives_up() {
    for seed in 1..30 {
        let mut world = world(seed);
        let stream = world.sides[CLIENT].conn.request(&post("/"), false).unwrap();
        world.run();
        world.sides[SERVER].conn.respond(stream, &status(200), false).unwrap();
        world.sides[CLIENT].conn.cancel(stream, Code::REQUEST_CANCELLED).unwrap();
        world.run();
        let resets = world.take_events(SERVER);
        let resets = resets
            .iter()
            .filter(|e| matches!(e, Event::Reset { code: Code::REQUEST_CANCELLED, by_peer: true, .. }));
        assert_eq!(resets.count(), 1, "the server hears it once");
        assert_eq!(world.sides[SERVER].conn.send(stream, Bytes::new(), true), Err(Misuse::Gone));
        assert!(world.sides.iter().all(|side| side.conn.is_idle()));
        assert!(!world.take_events(CLIENT).iter().any(|e| matches!(e, Event::Reset { .. })));
    }
}

#[test]
fn an_answer_that_is_complete_survives_the_clients_reset() {
    let mut server = Alone::server();
    server.feed(REQUEST, &headers(&POST));
    server.conn.respond(REQUEST, &status(413), true).unwrap();
    // QUIC has not taken it yet.
    server.reset(REQUEST, Code::NO_ERROR);
    assert!(server.ended.contains(&REQUEST) && server.resets.is_empty());
    assert!(server.conn.is_idle());
}

//= proof: http3-15
#[test]
fn a_server_goes_away() {
    let mut world = world(5);
    let first = world.sides[CLIENT].conn.request(&get("/1"), true).unwrap();
    world.run();
    world.sides[SERVER].conn.goaway();
    // On its way before the client knew.
    let second = world.sides[CLIENT].conn.request(&get("/2"), true).unwrap();
    world.run();
    let events = world.take_events(CLIENT);
    assert!(events.iter().any(|e| matches!(e, Event::Goaway)));
    let lost: Vec<_> = events
        .iter()
        .filter_map(|e| match e {
            Event::Reset { stream, code, by_peer: true } => Some((*stream, *code)),
            _ => None,
        })
        .collect();
    assert_eq!(lost, [(second, Code::REQUEST_REJECTED)]);
    assert_eq!(world.sides[CLIENT].conn.request(&get("/3"), true), Err(Misuse::Refused));
    world.sides[SERVER].conn.respond(first, &status(200), true).unwrap();
    world.run();
    assert!(
        world.take_events(CLIENT).iter().any(|e| matches!(e, Event::Response { .. })),
        "what came is answered"
    );
    let requests = world.take_events(SERVER).iter().filter(|e| matches!(e, Event::Request { .. })).count();
    assert_eq!(requests, 1);
    assert!(world.sides.iter().all(|side| side.conn.is_idle() && side.closed.is_none()));
}

#[test]
fn a_client_goes_away() {
    let mut world = world(6);
    world.sides[CLIENT].conn.goaway();
    world.sides[CLIENT].conn.goaway();
    world.run();
    assert_eq!(world.take_events(SERVER).iter().filter(|e| matches!(e, Event::Goaway)).count(), 1);
}

#[test]
fn more_requests_than_may_be_are_rejected() {
    let mut server = Alone::server();
    for i in 0..=100 {
        server.end(StreamId(4 * i), &headers(&GET));
    }
    assert_eq!(server.events.len(), 100);
    assert_eq!(server.resets[&StreamId(400)], Code::REQUEST_REJECTED);
    // One that is over makes room.
    server.conn.respond(REQUEST, &status(200), true).unwrap();
    server.drain();
    server.end(StreamId(404), &headers(&GET));
    assert_eq!(server.events.len(), 101);
}

#[test]
fn a_head_that_does_not_come() {
    let mut server = Alone::server();
    server.feed(REQUEST, &headers(&GET)[..3]);
    assert_eq!(server.deadline, Some(START + HEAD_TIME));
    server.later(HEAD_TIME);
    assert_eq!(
        (server.resets[&REQUEST], server.stops[&REQUEST]),
        (Code::REQUEST_INCOMPLETE, Code::REQUEST_INCOMPLETE)
    );
    assert_eq!((server.deadline, server.closed), (None, None));
    // One that is known may take its time.
    let mut server = Alone::server();
    server.feed(REQUEST, &headers(&POST));
    assert_eq!(server.deadline, None);
}

#[test]
fn streams_that_are_not_open_yet_are_reset_when_they_are() {
    let mut client = ntproto_h3::Connection::client(Config::default());
    let stream = client.request(&post("/"), false).unwrap();
    client.cancel(stream, Code::REQUEST_CANCELLED).unwrap();
    let mut seen = Vec::new();
    loop {
        match client.poll_output(START) {
            ntproto_h3::Output::Wait { .. } => break,
            output => seen.push(format!("{output:?}")),
        }
    }
    assert_eq!(seen.len(), 2, "two streams to open: {seen:?}");
    client.handle(START, Input::Opened(stream));
    assert!(matches!(client.poll_output(START), ntproto_h3::Output::Stop { .. }));
    assert!(matches!(client.poll_output(START), ntproto_h3::Output::Reset { .. }));
    assert!(client.is_idle());
}
