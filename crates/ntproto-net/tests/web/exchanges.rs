//! Requests and their answers.

use http::{Method, StatusCode};
use ntproto_h3::config::RECEIVE_WINDOW;
use ntproto_h3::{Code, Event as H3};
use ntproto_net::http::MAX_ANSWER;
use ntproto_net::{Event, HttpAnswer, HttpEvent, WebConfig};
use ntproto_quic::Closed;

use crate::world::{World, pattern};

#[test]
fn a_request_is_answered() {
    let mut w = World::connected(WebConfig::default());
    let (stream, exchange, request) = w.ask("GET", "/v2/handshake?app_id=10001", true);
    assert_eq!((request.method(), request.uri().path()), (&Method::GET, "/v2/handshake"));
    w.respond(exchange, StatusCode::OK, false);
    w.answer(exchange, HttpAnswer::Data { data: "hello".into(), end: true });
    w.run(50);
    let Some(H3::Response { head, end: false, .. }) = w.at_client.pop_front() else {
        panic!("{:?}", w.at_client)
    };
    assert_eq!(head.status(), StatusCode::OK);
    assert_eq!(w.bodies()[&stream], (b"hello".to_vec(), true));
    // It is over: what is said to it is said to nobody.
    assert!(w.at_server.is_empty(), "{:?}", w.at_server);
    w.answer(exchange, HttpAnswer::Data { data: "more".into(), end: true });
    w.answer(exchange, HttpAnswer::Reset);
    w.run(50);
    assert!(w.at_client.is_empty() && w.lost.is_none());

    // Without a body, in one.
    let (_, exchange, _) = w.ask("GET", "/", true);
    w.respond(exchange, StatusCode::NOT_FOUND, true);
    w.run(50);
    assert!(matches!(w.at_client.pop_front(), Some(H3::Response { end: true, .. })));
}

#[test]
fn an_upload_that_is_not_read_stops_and_goes_on() {
    let mut w = World::connected(WebConfig::default());
    let (stream, exchange, _) = w.ask("PATCH", "/v2/files/1", false);
    let body = pattern(4 << 20);
    assert!(!w.send(stream, body.clone(), true), "nobody reads it");
    let mut got = Vec::new();
    let mut take = |w: &mut World| {
        let (mut bytes, mut end) = (0, false);
        while let Some(event) = w.at_server.pop_front() {
            match event {
                Event::Http(from, HttpEvent::Data(data)) => {
                    assert_eq!(from, exchange);
                    bytes += data.len();
                    got.extend_from_slice(&data);
                }
                Event::Http(_, HttpEvent::End) => end = true,
                other => panic!("{other:?}"),
            }
        }
        (bytes, end)
    };
    let (held, _) = take(&mut w);
    assert!(held <= RECEIVE_WINDOW + 16 * 1024, "{held}");
    // As it is consumed it goes on.
    let (mut sent, mut consume) = (0, held);
    for _ in 0..2000 {
        w.answer(exchange, HttpAnswer::Consumed(consume));
        w.run(10);
        let (bytes, end) = take(&mut w);
        consume = bytes;
        sent += bytes;
        if end || bytes == 0 {
            break;
        }
    }
    assert!(sent > 0);
    // All that left the client has come, in order.
    assert_eq!(got[..], body[..got.len()]);
    w.respond(exchange, StatusCode::NO_CONTENT, true);
    w.answer(exchange, HttpAnswer::Enough);
    w.run(50);
    assert!(w.at_client.iter().any(|e| matches!(e, H3::Response { .. })));
    assert!(w.at_client.iter().any(|e| matches!(e, H3::Stopped { code: Code::NO_ERROR, .. })));
}

/// Eight chunks of an upload wait, unread, for the one before them, which has to get on.
#[test]
fn requests_that_wait_leave_room_for_the_one_before_them() {
    let mut w = World::connected(WebConfig::default());
    let (first, writer, _) = w.ask("PATCH", "/v2/files/1", false);
    let waiting: Vec<_> = (0..8).map(|_| w.ask("PATCH", "/v2/files/1", false).0).collect();
    let body = pattern(2 << 20);
    for stream in waiting {
        assert!(!w.send(stream, body.clone(), true), "nobody reads it");
    }
    let (mut left, mut got, mut ended) = (body.clone(), 0, false);
    for _ in 0..1_000 {
        if !left.is_empty() {
            let taken = w.client.machine().send(first, left.clone(), true).unwrap();
            drop(left.split_to(taken));
        }
        w.run(10);
        while let Some(event) = w.at_server.pop_front() {
            match event {
                Event::Http(from, HttpEvent::Data(data)) if from == writer => {
                    got += data.len();
                    w.answer(writer, HttpAnswer::Consumed(data.len()));
                }
                Event::Http(from, HttpEvent::End) => ended |= from == writer,
                Event::Http(_, HttpEvent::Data(_)) => {}
                other => panic!("{other:?}"),
            }
        }
        if ended {
            break;
        }
    }
    assert_eq!((got, ended), (body.len(), true));
}

#[test]
fn a_whole_upload_arrives_as_it_is_consumed() {
    let mut w = World::connected(WebConfig::default());
    let (stream, exchange, _) = w.ask("PATCH", "/v2/files/1", false);
    let body = pattern(3 << 20);
    let (mut left, mut got, mut ended) = (body.clone(), Vec::new(), false);
    for _ in 0..5000 {
        if !left.is_empty() {
            let taken = w.client.machine().send(stream, left.clone(), true).unwrap();
            drop(left.split_to(taken));
        }
        w.run(5);
        while let Some(event) = w.at_server.pop_front() {
            match event {
                Event::Http(_, HttpEvent::Data(data)) => {
                    got.extend_from_slice(&data);
                    w.answer(exchange, HttpAnswer::Consumed(data.len()));
                }
                Event::Http(_, HttpEvent::End) => ended = true,
                other => panic!("{other:?}"),
            }
        }
        if ended {
            break;
        }
    }
    assert!(ended && got[..] == body[..], "{} bytes", got.len());
    w.respond(exchange, StatusCode::NO_CONTENT, true);
    w.run(50);
    assert!(matches!(w.at_client.pop_back(), Some(H3::Response { end: true, .. })));
}

#[test]
fn a_slow_reader_stops_the_answer_and_room_says_when_to_go_on() {
    let mut w = World::connected(WebConfig::default());
    let (stream, exchange, _) = w.ask("GET", "/v2/files/1", true);
    let piece = pattern(64 * 1024);
    w.respond(exchange, StatusCode::OK, false);
    w.at_server.clear();
    // The client consumes nothing: room ends.
    let mut given = 0;
    loop {
        w.answer(exchange, HttpAnswer::Data { data: piece.clone(), end: false });
        given += 1;
        w.run(200);
        match w.at_server.pop_front() {
            Some(Event::Http(_, HttpEvent::Room)) => {}
            None => break,
            other => panic!("{other:?}"),
        }
        assert!(given < 100, "a client that reads nothing takes everything");
    }
    assert!(w.at_server.is_empty(), "once for each piece");
    // It reads, and the rest comes.
    let mut got = Vec::new();
    let mut done = false;
    for _ in 0..500 {
        if let Some((data, end)) = w.bodies().remove(&stream) {
            got.extend(data);
            done |= end;
        }
        w.run(10);
        if let Some(Event::Http(_, HttpEvent::Room)) = w.at_server.pop_front() {
            given += 1;
            w.answer(exchange, HttpAnswer::Data { data: piece.clone(), end: true });
        }
        if done {
            break;
        }
    }
    assert!(done);
    assert_eq!(got.len(), given * piece.len());
    assert!(got.chunks(piece.len()).all(|chunk| chunk == piece));
}

#[test]
fn an_answer_that_knows_no_end_of_waiting_is_given_up() {
    let mut w = World::connected(WebConfig::default());
    let (stream, exchange, _) = w.ask("GET", "/", true);
    w.respond(exchange, StatusCode::OK, false);
    // The host does not wait for room.
    let piece = pattern(256 * 1024);
    // What QUIC takes does not count.
    for _ in 0..3 * MAX_ANSWER / piece.len() {
        w.answer(exchange, HttpAnswer::Data { data: piece.clone(), end: false });
    }
    w.run(100);
    assert!(matches!(w.at_server.pop_back(), Some(Event::Http(e, HttpEvent::Gone)) if e == exchange));
    assert!(
        w.at_client
            .iter()
            .any(|e| matches!(e, H3::Reset { stream: s, code: Code::INTERNAL_ERROR, .. } if *s == stream)),
        "{:?}",
        w.at_client
    );
}

#[test]
fn who_gives_up_is_heard_of() {
    let mut w = World::connected(WebConfig::default());
    let (stream, exchange, _) = w.ask("POST", "/", false);
    w.client.machine().cancel(stream, Code::REQUEST_CANCELLED).unwrap();
    w.run(50);
    let gone = |event: Option<Event>| matches!(event, Some(Event::Http(e, HttpEvent::Gone)) if e == exchange);
    assert!(gone(w.at_server.pop_front()));
    assert!(w.at_server.is_empty(), "{:?}", w.at_server);

    // The host gives up too.
    let (stream, exchange, _) = w.ask("POST", "/", false);
    w.answer(exchange, HttpAnswer::Reset);
    w.run(50);
    assert!(w.at_client.iter().any(|e| matches!(e, H3::Reset { stream: s, .. } if *s == stream)));

    // And a connection that is gone takes all with it.
    let (_, exchange, _) = w.ask("POST", "/", false);
    let now = w.now();
    w.quic.with(now, w.conn, |c| c.close(0x100, b"")).unwrap();
    w.run(50);
    assert!(matches!(w.at_server.pop_front(), Some(Event::Http(e, HttpEvent::Gone)) if e == exchange));
    assert!(w.at_server.is_empty());
}

#[test]
fn the_reset_of_an_upload_that_nobody_reads_is_heard() {
    let mut w = World::connected(WebConfig::default());
    let (stream, exchange, _) = w.ask("PATCH", "/v2/files/1", false);
    assert!(!w.send(stream, pattern(4 << 20), true), "nobody reads it");
    w.at_server.clear();
    w.client.machine().reset(stream, Code::REQUEST_CANCELLED).unwrap();
    w.run(50);
    assert!(matches!(w.at_server.pop_front(), Some(Event::Http(e, HttpEvent::Gone)) if e == exchange));
    // And the connection has its windows back.
    let (stream, exchange, _) = w.ask("PATCH", "/v2/files/1", false);
    assert!(w.send(stream, pattern(100_000), true));
    w.respond(exchange, StatusCode::OK, true);
    w.run(50);
    assert!(w.at_client.iter().any(|e| matches!(e, H3::Response { stream: s, .. } if *s == stream)));
}

#[test]
fn going_away_finishes_what_is_there() {
    let mut w = World::connected(WebConfig::default());
    let (_, exchange, _) = w.ask("GET", "/", true);
    let now = w.now();
    w.server.goaway(now);
    w.run(50);
    assert!(matches!(w.at_client.pop_front(), Some(H3::Goaway)));
    let more = http::Request::get("https://ntp.example/").body(()).unwrap();
    w.client.machine().request(&more, true).unwrap_err();
    w.respond(exchange, StatusCode::OK, true);
    w.run(50);
    assert!(matches!(w.at_client.pop_front(), Some(H3::Response { .. })));
    assert!(matches!(w.lost, Some(Closed::Peer { code: 0x100, .. })), "nothing is left to do: {:?}", w.lost);
}

#[test]
fn a_close_of_everything_waits_for_nothing() {
    let mut w = World::connected(WebConfig::default());
    w.ask("GET", "/", true);
    let now = w.now();
    w.server.close_all(now, 7, b"going");
    w.run(50);
    assert!(matches!(w.lost, Some(Closed::Peer { code: 0x100, .. })), "HTTP/3's code: {:?}", w.lost);
}
