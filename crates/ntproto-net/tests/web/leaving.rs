//! How HTTP/3 connections end: when the server goes away, and when nobody asks anything.

use bytes::Bytes;
use http::StatusCode;
use ntproto_core::code::ErrorCode;
use ntproto_core::wire::channel::Channel;
use ntproto_h3::{Event as H3, SessionEnd};
use ntproto_net::web::{CLOSE_TIME, IDLE_TIME, STALL_TIME};
use ntproto_net::{Event, HttpAnswer, HttpEvent, WebConfig};
use ntproto_quic::{Closed, StreamNo};

use crate::sessions::up;
use crate::world::{World, pattern};

const IDLE: u64 = IDLE_TIME.as_secs();

/// The connection was closed with HTTP/3's code for "nothing is wrong".
fn let_go(w: &World) -> bool {
    match &w.lost {
        Some(Closed::Peer { code: 0x100, .. }) => true,
        None => false,
        other => panic!("{other:?}"),
    }
}

fn goaway(w: &mut World) {
    let now = w.now();
    w.server.goaway(now);
}

#[test]
fn a_connection_without_requests_goes_when_the_server_does() {
    let mut w = World::connected(WebConfig::default());
    goaway(&mut w);
    assert!(!w.server.is_web_over(), "it is told first");
    w.run(100);
    assert!(matches!(w.at_client.pop_front(), Some(H3::Goaway)));
    assert!(let_go(&w) && w.server.is_web_over());
    // One that comes too late is told the same.
    w.reconnect();
    w.run(100);
    assert!(w.at_client.iter().any(|event| matches!(event, H3::Goaway)));
    assert!(let_go(&w) && w.server.is_web_over());
}

#[test]
fn what_is_under_way_is_finished_before_the_connection_goes() {
    let mut w = World::connected(WebConfig::default());
    let (stream, exchange, _) = w.ask("PATCH", "/v2/files/1", false);
    goaway(&mut w);
    // However long it takes: how long that may be is for whoever goes away to say.
    for _ in 0..10 {
        w.run(1000);
        assert!(w.send(stream, pattern(10_000), false));
    }
    assert!(w.send(stream, Bytes::new(), true));
    w.run(50);
    assert!(matches!(w.at_server.back(), Some(Event::Http(e, HttpEvent::End)) if *e == exchange));
    assert!(!w.server.is_web_over());
    w.respond(exchange, StatusCode::OK, false);
    w.answer(exchange, HttpAnswer::Data { data: pattern(100_000), end: true });
    w.run(1000);
    assert!(
        w.at_client.iter().any(|e| matches!(e, H3::Response { head, .. } if head.status() == StatusCode::OK))
    );
    assert_eq!(w.bodies()[&stream], (pattern(100_000).to_vec(), true));
    assert!(let_go(&w) && w.server.is_web_over());
}

#[test]
fn a_session_hears_its_farewell_before_the_connection_goes() {
    let mut w = World::connected(WebConfig::default());
    let (conn, id, [control, ..]) = up(&mut w);
    goaway(&mut w);
    w.run(100);
    assert!(w.lost.is_none(), "it is there as long as its session is");
    let (now, code) = (w.now(), ErrorCode::GoingAway as u32);
    w.server.with(now, conn, |c| {
        c.write(Channel::Control, &pattern(20_000));
        c.close(code, b"GOING_AWAY");
    });
    assert!(!w.server.is_web_over());
    w.run(300);
    assert_eq!(w.bodies()[&control].0.len(), 20_000);
    let end = SessionEnd::Peer { code, reason: "GOING_AWAY".into() };
    assert!(
        w.at_client
            .iter()
            .any(|e| matches!(e, H3::SessionClosed { session, reason } if (*session, reason) == (id, &end)))
    );
    assert!(let_go(&w) && w.server.is_web_over());
}

#[test]
fn a_client_that_is_gone_does_not_hold_the_server_up() {
    let mut w = World::connected(WebConfig::default());
    let (conn, ..) = up(&mut w);
    w.cut = true;
    goaway(&mut w);
    let now = w.now();
    w.server.with(now, conn, |c| c.close(ErrorCode::GoingAway as u32, b""));
    w.run((CLOSE_TIME + STALL_TIME).as_millis() as u64 + 100);
    assert!(w.server.is_web_over());
}

#[test]
fn a_connection_that_nobody_asks_on_is_let_go() {
    let mut w = World::connected(WebConfig::default());
    w.stay(IDLE - 2);
    assert!(w.lost.is_none());
    // A request gives it as long again.
    let (_, exchange, _) = w.ask("GET", "/", true);
    w.stay(IDLE + 10);
    assert!(w.lost.is_none(), "it waits for its answer");
    w.respond(exchange, StatusCode::OK, true);
    w.stay(IDLE - 2);
    assert!(w.lost.is_none());
    w.at_client.clear();
    w.stay(4);
    assert!(matches!(w.at_client.pop_front(), Some(H3::Goaway)), "it is told before");
    assert!(let_go(&w));
}

#[test]
fn a_connection_whose_only_session_has_ended_is_let_go() {
    for by_peer in [false, true] {
        let mut w = World::connected(WebConfig::default());
        let (conn, id, _) = up(&mut w);
        w.stay(IDLE + 10);
        assert!(w.lost.is_none(), "a session may be silent");
        if by_peer {
            w.client.machine().close_session(id, 0, "").unwrap();
        } else {
            let now = w.now();
            w.server.with(now, conn, |c| c.close(0, b""));
        }
        w.stay(IDLE - 2);
        assert!(w.lost.is_none(), "it may open another");
        w.stay(4);
        assert!(let_go(&w), "{by_peer}");
    }
}

/// QUIC takes all of an answer at once, and its peer has it much later.
#[test]
fn an_answer_that_arrives_slowly_is_not_cut() {
    let mut w = World::connected(WebConfig::default());
    let (stream, exchange, _) = w.ask("GET", "/", true);
    // About 20 kB a second.
    w.pace = 60_000;
    w.respond(exchange, StatusCode::OK, false);
    w.answer(exchange, HttpAnswer::Data { data: pattern(900_000), end: true });
    goaway(&mut w);
    let (mut came, mut ended) = (Vec::new(), false);
    for _ in 0..80 {
        w.run(1000);
        for (_, (data, end)) in w.bodies().into_iter().filter(|(of, _)| *of == stream) {
            came.extend(data);
            ended |= end;
        }
    }
    assert_eq!((came.len(), ended), (900_000, true));
    assert!(let_go(&w) && w.server.is_web_over());
}

/// What was due in the past would wake the host again and again.
#[test]
fn a_connection_that_was_told_to_go_wakes_nobody_before_its_end() {
    let mut w = World::connected(WebConfig::default());
    w.stay(IDLE - 2);
    // Nothing that comes or goes: only time.
    w.cut = true;
    for _ in 0..400 {
        w.run(10);
        assert!(w.due().is_none_or(|at| at > w.now().mono), "{:?} at {:?}", w.due(), w.now().mono);
    }
}

#[test]
fn a_session_whose_client_says_no_end_of_its_stream_holds_nothing_up() {
    let mut w = World::connected(WebConfig::default());
    let (_, id, _) = up(&mut w);
    // CLOSE_WEBTRANSPORT_SESSION in a frame of DATA, and no end of the stream.
    w.deaf = true;
    let capsule = Bytes::from_static(&[0x00, 7, 0x68, 0x43, 4, 0, 0, 0, 0]);
    let (now, conn) = (w.now(), w.conn);
    w.quic.with(now, conn, |c| c.write_stream(StreamNo(id.0.0), &mut capsule.clone()).unwrap());
    w.run(100);
    assert!(matches!(w.at_server.back(), Some(Event::Closed { .. })), "{:?}", w.at_server);
    goaway(&mut w);
    w.run(100);
    assert!(let_go(&w) && w.server.is_web_over());
}

/// HTTP/3 holds the end of an answer, its exchange is over, and the peer never takes it.
#[test]
fn an_answer_that_is_never_taken_does_not_keep_its_connection() {
    let begin = || {
        let mut w = World::connected(WebConfig::default());
        let (_, exchange, _) = w.ask("GET", "/", true);
        w.respond(exchange, StatusCode::OK, false);
        (w, exchange)
    };
    let piece = || pattern(4096);
    // How many pieces it takes until there is no more room.
    let (mut w, exchange) = begin();
    let mut pieces = 0;
    loop {
        w.at_server.clear();
        w.answer(exchange, HttpAnswer::Data { data: piece(), end: false });
        w.run(20);
        if !w.at_server.iter().any(|e| matches!(e, Event::Http(_, HttpEvent::Room))) {
            break;
        }
        pieces += 1;
        assert!(pieces < 2000);
    }
    // The last eight of them are with HTTP/3, and the client takes nothing.
    let (mut w, exchange) = begin();
    for n in 0..pieces {
        w.answer(exchange, HttpAnswer::Data { data: piece(), end: n + 1 == pieces });
        w.run(20);
    }
    w.stay(IDLE - 5);
    assert!(w.lost.is_none());
    w.stay(10 + STALL_TIME.as_secs());
    assert!(let_go(&w));
}
