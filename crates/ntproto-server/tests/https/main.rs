//! A server's connections, asked by hyper's own client over real sockets and TLS.
#![allow(clippy::unwrap_used)]

mod common;
mod h3;
#[cfg(feature = "s3")]
#[path = "../files/moto.rs"]
mod moto;
mod raw;
#[cfg(feature = "s3")]
mod s3;
mod web;

use std::time::Duration;

use bytes::Bytes;
use common::{Host, Peer, Sent, collect, within};
use http::{Method, Request, Response, StatusCode};
use ntproto_http::server::{Answer, Came, H2, HTTP1, Limits};
use ntproto_quic::config::{H3_CONNECTION_WINDOW, H3_WAITING, STREAM_WINDOW};
use ntproto_web::config::MAX_WAITING;
use raw::apart;

fn get(path: &str) -> Request<Sent> {
    Request::builder().uri(format!("https://localhost{path}")).body(Sent::none()).unwrap()
}

#[tokio::test]
async fn a_request_is_told_and_its_answer_comes_back_whole() {
    for alpn in [H2, HTTP1] {
        let host = Host::start(Limits::default()).await;
        let mut peer = Peer::connect(&host, alpn).await;
        let (sender, body) = Sent::channel();
        let request =
            Request::builder().method(Method::PATCH).uri("https://localhost/v2/files/x?y=1").body(body);
        let asked = peer.ask(request.unwrap());
        let Came::Head { exchange, request, end, line, .. } = host.came().await else { panic!("no head") };
        assert_eq!((request.method(), request.uri().path(), end), (&Method::PATCH, "/v2/files/x", false));
        for part in ["one", "two"] {
            sender.send(Bytes::from(part)).await.unwrap();
            let Came::Data { exchange: of, data } = host.came().await else { panic!("no data") };
            assert_eq!((of, &data[..]), (exchange, part.as_bytes()));
            line.send(Answer::Consumed(data.len())).unwrap();
        }
        drop(sender);
        assert!(matches!(host.came().await, Came::End { exchange: of } if of == exchange));
        let head =
            Response::builder().status(StatusCode::CREATED).header("upload-offset", 6).body(()).unwrap();
        line.send(Answer::Head(head, false)).unwrap();
        line.send(Answer::Data("thr".into(), false)).unwrap();
        let answer = within(asked).await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        assert_eq!(answer.headers()["upload-offset"], "6");
        let body = tokio::spawn(collect(answer.into_body()));
        assert!(matches!(host.came().await, Came::Room { exchange: of } if of == exchange));
        line.send(Answer::Data("ee".into(), false)).unwrap();
        line.send(Answer::Data(Bytes::new(), true)).unwrap();
        assert_eq!(within(body).await.unwrap().unwrap(), "three");
        // The connection is good for more; an answer without a body.
        let asked = peer.ask(get("/healthz"));
        let Came::Head { end: true, line, exchange: other, .. } = host.came().await else {
            panic!("no head")
        };
        assert_ne!(other, exchange);
        line.send(Answer::Head(Response::new(()), true)).unwrap();
        let answer = within(asked).await.unwrap();
        assert_eq!(collect(answer.into_body()).await.unwrap(), "");
        host.finish().await;
    }
}

/// Eight chunks of an upload wait, unread, for the one before them, which has to get on.
#[tokio::test]
async fn requests_that_wait_leave_room_for_the_one_before_them() {
    let limits = Limits::default();
    let host = Host::start(limits).await;
    let mut peer = Peer::connect(&host, H2).await;
    let body = Bytes::from(vec![7; 4 << 20]);
    let mut asked = Vec::new();
    let mut begin = async |asked: &mut Vec<_>| {
        let (sender, body) = Sent::channel();
        let request = Request::builder().method(Method::PATCH).uri("https://localhost/v2/files/x").body(body);
        let answer = peer.ask(request.unwrap());
        let Came::Head { exchange, line, .. } = host.came().await else { panic!("no head") };
        asked.push((sender, answer, line));
        exchange
    };
    let writer = begin(&mut asked).await;
    let mut told = std::collections::BTreeMap::new();
    for _ in 0..MAX_WAITING {
        told.insert(begin(&mut asked).await, 0);
    }
    for (sender, ..) in &asked[1..] {
        sender.send(body.clone()).await.unwrap();
    }
    // As much as is told of each; what comes beyond that waits in the windows.
    while told.values().any(|bytes| *bytes < limits.credit) {
        let Came::Data { exchange, data } = host.came().await else { panic!("no data") };
        *told.get_mut(&exchange).unwrap() += data.len();
    }
    asked[0].0.send(body.clone()).await.unwrap();
    asked[0].0.close();
    let mut got = 0;
    loop {
        match host.came().await {
            Came::Data { exchange, data } => {
                assert_eq!(exchange, writer);
                got += data.len();
                asked[0].2.send(Answer::Consumed(data.len())).unwrap();
            }
            Came::End { exchange } => break assert_eq!(exchange, writer),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(got, body.len());
    drop(asked);
    host.finish().await;
}

/// Both ways to the server: those that wait take less than the window of all.
#[test]
fn the_windows_of_connections_hold_those_of_all_that_wait() {
    let limits = Limits::default();
    assert!(u64::from(limits.window) >= (MAX_WAITING as u64 + 1) * u64::from(limits.stream_window));
    assert_eq!(H3_WAITING as usize, MAX_WAITING);
    // There credit comes back in eighths.
    let left = H3_CONNECTION_WINDOW - H3_CONNECTION_WINDOW / 8;
    assert!(u64::from(left) > MAX_WAITING as u64 * u64::from(STREAM_WINDOW));
}

#[tokio::test]
async fn an_upload_that_nobody_reads_stops_its_peer() {
    for alpn in [H2, HTTP1] {
        let host = Host::start(Limits::default()).await;
        let mut peer = Peer::connect(&host, alpn).await;
        let (sender, body) = Sent::channel();
        let asked = peer.ask(Request::post("https://localhost/").body(body).unwrap());
        let Came::Head { line, .. } = host.came().await else { panic!("no head") };
        // It would send for ever.
        let pump =
            tokio::spawn(async move { while sender.send(Bytes::from(vec![7; 16 << 10])).await.is_ok() {} });
        let (mut told, mut parts) = (0, 0);
        while let Ok(came) = tokio::time::timeout(Duration::from_millis(300), host.came()).await {
            let Came::Data { data, .. } = came else { panic!("{came:?}") };
            (told, parts) = (told + data.len(), parts + 1);
        }
        let limits = Limits::default();
        assert!(told < limits.credit + 16 * 1024 && parts <= limits.parts, "{told} bytes in {parts}");
        assert!(told > 0);
        // What is consumed makes room for as much.
        line.send(Answer::Consumed(told)).unwrap();
        assert!(matches!(host.came().await, Came::Data { .. }));
        drop(line);
        assert!(within(asked).await.is_err() || alpn == HTTP1);
        pump.abort();
        host.finish().await;
    }
}

#[tokio::test]
async fn a_peer_that_leaves_is_told_once() {
    for alpn in [H2, HTTP1] {
        let host = Host::start(Limits::default()).await;
        let mut peer = Peer::connect(&host, alpn).await;
        let asked = peer.ask(get("/"));
        let Came::Head { line, exchange, .. } = host.came().await else { panic!("no head") };
        drop((asked, peer));
        assert!(matches!(host.came().await, Came::Gone { exchange: of } if of == exchange));
        within(async {
            while line.send(Answer::Consumed(0)).is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        host.finish().await;
    }
}

#[tokio::test]
async fn too_much_of_a_head_is_refused_before_anybody_hears_of_it() {
    for alpn in [H2, HTTP1] {
        let host = Host::start(Limits::default()).await;
        let mut peer = Peer::connect(&host, alpn).await;
        let mut many = get("/");
        for n in 0..1_000 {
            many.headers_mut().append("x", n.into());
        }
        let answer = within(peer.ask(many)).await;
        // HTTP/2's client may be told in advance, and not even ask.
        if let Ok(answer) = answer {
            assert_eq!(answer.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        }
        let mut peer = Peer::connect(&host, alpn).await;
        let mut long = get("/");
        long.headers_mut().insert("x", "y".repeat(40_000).parse().unwrap());
        if let Ok(answer) = within(peer.ask(long)).await {
            assert_eq!(answer.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        }
        assert!(host.silent().await);
        host.finish().await;
    }
}

#[tokio::test]
async fn what_is_under_way_is_finished_by_a_drain_and_nothing_else_is_begun() {
    for alpn in [H2, HTTP1] {
        let host = Host::start(Limits::default()).await;
        let mut peer = Peer::connect(&host, alpn).await;
        let asked = peer.ask(get("/"));
        let Came::Head { line, .. } = host.came().await else { panic!("no head") };
        host.drain();
        assert!(Peer::try_connect(&host, alpn).await.is_none());
        line.send(Answer::Head(Response::new(()), false)).unwrap();
        line.send(Answer::Data("bye".into(), true)).unwrap();
        let answer = within(asked).await.unwrap();
        assert_eq!(collect(answer.into_body()).await.unwrap(), "bye");
        host.finish().await;
    }
}

#[tokio::test]
async fn an_end_waits_for_connections_and_not_for_whoever_else_could_accept() {
    let host = Host::start(Limits::default()).await;
    let others = host.accepting();
    within(host.finish_within(Duration::from_secs(600))).await;
    drop(others);
}

#[tokio::test]
async fn a_peer_that_takes_nothing_of_its_answer_is_let_go() {
    let limits = Limits { stall: Duration::from_millis(200), ..Limits::default() };
    for alpn in [H2, HTTP1] {
        let host = Host::start(limits).await;
        let mut peer = Peer::connect(&host, alpn).await;
        let asked = peer.ask(get("/"));
        let Came::Head { line, .. } = host.came().await else { panic!("no head") };
        line.send(Answer::Head(Response::new(()), false)).unwrap();
        let answer = within(asked).await.unwrap();
        // One part at a time, until the windows and buffers between us are full.
        let mut sent = 0;
        while line.send(Answer::Data(Bytes::from(vec![7; 256 << 10]), false)).is_ok() {
            sent += 1;
            match host.came().await {
                Came::Room { .. } => {}
                Came::Gone { .. } => break,
                other => panic!("{other:?}"),
            }
        }
        assert!(sent < 200, "{sent} parts of 256 KiB");
        drop(answer);
        host.finish().await;
    }
}

/// All of the answer is with hyper, and its peer does not take it, but is there.
#[tokio::test]
async fn a_peer_that_takes_nothing_of_the_end_of_its_answer_is_let_go() {
    let short = Duration::from_millis(300);
    for (drains, limits) in [
        (false, Limits { idle: short, last: short, ..Limits::default() }),
        (true, Limits { last: short, ..Limits::default() }),
    ] {
        for alpn in [H2, HTTP1] {
            let host = Host::start(limits).await;
            let (stay, until) = std::sync::mpsc::channel();
            let peer = host.raw(alpn).await;
            let peer = tokio::task::spawn_blocking(move || peer.ask_and_stay(alpn, until));
            let Came::Head { line, .. } = host.came().await else { panic!("no head") };
            line.send(Answer::Head(Response::new(()), false)).unwrap();
            // More than any buffer between us.
            line.send(Answer::Data(Bytes::from(vec![7; 32 << 20]), true)).unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(host.accepting().connections(), 1);
            if drains {
                host.drain();
            }
            within(async {
                while host.accepting().connections() > 0 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            })
            .await;
            drop(stay);
            within(peer).await.unwrap();
            host.finish().await;
        }
    }
}

#[tokio::test]
async fn whoever_asks_before_it_sends_hears_whether_its_body_is_wanted() {
    let head = b"PATCH / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\nexpect: 100-Continue\r\n\r\n";
    let host = Host::start(Limits::default()).await;
    // It is not.
    let mut peer = host.raw(HTTP1).await;
    let mut peer = apart(move || {
        peer.write(head);
        peer
    })
    .await;
    let Came::Head { line, end: false, .. } = host.came().await else { panic!("no head") };
    let (mut peer, silent) = apart(move || {
        let silent = peer.silent();
        (peer, silent)
    })
    .await;
    assert!(silent, "nobody said that it is wanted");
    let refusal = Response::builder().status(StatusCode::PAYLOAD_TOO_LARGE).body(()).unwrap();
    line.send(Answer::Head(refusal, true)).unwrap();
    let answer = apart(move || peer.head()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // It is.
    let mut peer = host.raw(HTTP1).await;
    let asked = tokio::task::spawn_blocking(move || {
        peer.write(head);
        let first = peer.head();
        peer.write(b"hello");
        (first, peer.head())
    });
    let Came::Head { line, end: false, .. } = host.came().await else { panic!("no head") };
    assert!(host.silent().await);
    line.send(Answer::Continue).unwrap();
    let mut body = Vec::new();
    while body.len() < 5 {
        let Came::Data { data, .. } = host.came().await else { panic!("no data") };
        line.send(Answer::Consumed(data.len())).unwrap();
        body.extend_from_slice(&data);
    }
    assert_eq!(body, b"hello");
    assert!(matches!(host.came().await, Came::End { .. }));
    line.send(Answer::Head(Response::new(()), true)).unwrap();
    let (first, answer) = within(asked).await.unwrap();
    assert_eq!(first, "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    host.finish().await;
}

#[tokio::test]
async fn a_stranger_to_tls_and_one_who_says_nothing_are_let_go() {
    let limits = Limits { handshake: Duration::from_millis(200), ..Limits::default() };
    let host = Host::start(limits).await;
    let mut silent = tokio::net::TcpStream::connect(host.at).await.unwrap();
    let mut noisy = tokio::net::TcpStream::connect(host.at).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut noisy, &[0x16; 4_000]).await.unwrap();
    for stream in [&mut silent, &mut noisy] {
        let mut all = Vec::new();
        let _ = within(tokio::io::AsyncReadExt::read_to_end(stream, &mut all)).await;
    }
    assert!(host.silent().await);
    host.finish().await;
}
