//! Clients that mean no good, played by hand on raw streams: each gets its code, and what they may make the server
//! hold is bounded.

use bytes::Bytes;
use ntproto_h3::Code;
use ntproto_net::{Event, HttpAnswer, HttpEvent};
use ntproto_quic::config::{H3_CONNECTION_WINDOW, H3_SEND_WINDOW};
use ntproto_quic::{Closed, Dir, Read, StreamNo};

use crate::world::World;

/// A HEADERS frame: `GET https://ntp.example/`, from the static table but for the authority.
const GET: &[u8] = b"\x01\x12\x00\x00\xd1\xd7\xc1\x50\x0bntp.example";

fn open(w: &mut World, dir: Dir) -> Option<StreamNo> {
    let now = w.now();
    w.quic.with(now, w.conn, |c| c.open_stream(dir)).flatten()
}

/// Writes what is taken; gives how much, or nothing if the stream or the connection is over.
fn write(w: &mut World, stream: StreamNo, data: &[u8]) -> Option<usize> {
    let (now, mut data) = (w.now(), Bytes::copy_from_slice(data));
    w.quic.with(now, w.conn, |c| c.write_stream(stream, &mut data).ok()).flatten()
}

fn finish(w: &mut World, stream: StreamNo) {
    let now = w.now();
    w.quic.with(now, w.conn, |c| c.finish_stream(stream));
}

fn reset(w: &mut World, stream: StreamNo, code: u64) {
    let now = w.now();
    w.quic.with(now, w.conn, |c| c.reset_stream(stream, code));
}

fn read(w: &mut World, stream: StreamNo) -> Read {
    let now = w.now();
    w.quic.with(now, w.conn, |c| c.read_stream(stream, usize::MAX)).unwrap_or(Read::Empty)
}

/// The code the server closed the connection with, if it did.
fn closed(w: &World) -> Option<Code> {
    match &w.lost {
        Some(Closed::Peer { code, .. }) => Some(Code((*code).into())),
        None => None,
        other => panic!("{other:?}"),
    }
}

/// The server still answers: on this connection, if it is there, and on another.
fn goes_on(w: &mut World) {
    w.at_server.clear();
    let here = closed(w).is_none().then_some(w.conn);
    for again in [here.is_none(), true] {
        if again {
            w.reconnect();
        }
        let stream = open(w, Dir::Bi).unwrap();
        write(w, stream, GET);
        finish(w, stream);
        w.run(50);
        let (exchange, _) = w.head(true);
        w.respond(exchange, http::StatusCode::OK, true);
        w.run(50);
        assert_eq!(status(w, stream), b"\x01\x03\x00\x00\xd9", "200, from the static table");
    }
}

/// All that came on a stream, to its end.
fn status(w: &mut World, stream: StreamNo) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        match read(w, stream) {
            Read::Data(data) => all.extend_from_slice(&data),
            Read::End => return all,
            other => panic!("{other:?} after {all:?}"),
        }
    }
}

fn requests(w: &mut World) -> usize {
    let heads = w.at_server.iter().filter(|e| matches!(e, Event::Http(_, HttpEvent::Head { .. }))).count();
    w.at_server.clear();
    heads
}

#[test]
fn the_frame_of_these_tests_is_a_request() {
    let mut w = World::hostile();
    let stream = open(&mut w, Dir::Bi).unwrap();
    write(&mut w, stream, GET);
    finish(&mut w, stream);
    w.run(50);
    let (_, request) = w.head(true);
    assert_eq!(
        (request.method().as_str(), request.uri().to_string().as_str()),
        ("GET", "https://ntp.example/")
    );
}

#[test]
fn a_head_of_a_gibibyte_is_not_waited_for() {
    let mut w = World::hostile();
    let stream = open(&mut w, Dir::Bi).unwrap();
    // HEADERS, and a length of 2^30.
    write(&mut w, stream, &[0x01, 0xc0, 0, 0, 0, 0x40, 0, 0, 0]);
    let mut taken = 0;
    for _ in 0..200 {
        let Some(n) = write(&mut w, stream, &[0x2a; 64 * 1024]) else { break };
        taken += n as u64;
        w.run(20);
    }
    assert!(taken <= H3_SEND_WINDOW, "{taken} bytes were taken");
    assert_eq!(write(&mut w, stream, b"x"), None, "the rest is not wanted");
    assert!(status(&mut w, stream).ends_with(b"431"));
    assert_eq!((requests(&mut w), closed(&w)), (0, None));
    goes_on(&mut w);
}

/// The window counts bodies only: heads of frames among its last bytes leave room in it that nothing announces.
#[test]
fn heads_of_frames_in_a_full_window_do_not_stop_the_stream() {
    let mut w = World::hostile();
    let stream = open(&mut w, Dir::Bi).unwrap();
    write(&mut w, stream, GET);
    w.run(50);
    let (exchange, _) = w.head(false);
    // DATA of 100 bytes each.
    let body = [&[0x00, 0x40, 100][..], &[7; 100]].concat().repeat(6_000);
    let (mut left, mut told, mut unread) = (&body[..], 0, 0);
    for _ in 0..2_000 {
        left = &left[write(&mut w, stream, left).unwrap()..];
        w.run(5);
        let before = told;
        while let Some(event) = w.at_server.pop_front() {
            let Event::Http(_, HttpEvent::Data(data)) = event else { panic!("{event:?}") };
            told += data.len();
        }
        unread += told - before;
        // Nothing is read before the window is full.
        if told == before {
            w.answer(exchange, HttpAnswer::Consumed(std::mem::take(&mut unread)));
        }
    }
    assert_eq!((told, closed(&w)), (600_000, None));
}

#[test]
fn forty_thousand_fields_are_refused() {
    let mut w = World::hostile();
    let stream = open(&mut w, Dir::Bi).unwrap();
    let mut section = GET[2..].to_vec();
    for _ in 0..40_000 {
        // A literal name "a" without a value.
        section.extend_from_slice(b"\x21a\x00");
    }
    let mut frame = vec![0x01, 0x80 | (section.len() >> 24) as u8, (section.len() >> 16) as u8];
    frame.extend([(section.len() >> 8) as u8, section.len() as u8]);
    frame.extend(section);
    write(&mut w, stream, &frame);
    w.run(100);
    assert_eq!(requests(&mut w), 0, "nobody is asked");
    assert!(status(&mut w, stream).ends_with(b"431"));
    assert_eq!(closed(&w), None);
    goes_on(&mut w);
}

#[test]
fn rapid_resets_end_the_connection() {
    let mut w = World::hostile();
    let mut asked = 0;
    for _ in 0..200 {
        while let Some(stream) = open(&mut w, Dir::Bi) {
            write(&mut w, stream, GET);
            reset(&mut w, stream, Code::REQUEST_CANCELLED.0);
            asked += 1;
        }
        w.run(20);
        w.at_server.clear();
        if closed(&w).is_some() {
            break;
        }
    }
    assert_eq!(closed(&w), Some(Code::EXCESSIVE_LOAD), "after {asked}");
    assert!(asked < 2000, "{asked}");
    goes_on(&mut w);
}

/// The server resets them, and for that it is its peer that counts ("MadeYouReset", CVE-2025-8671).
#[test]
fn requests_that_make_the_server_reset_them_end_the_connection() {
    let mut w = World::hostile();
    // GET with `content-length: 0`, and a byte of a body.
    let lie = [b"\x01\x13\x00\x00\xd1\xd7\xc1\x50\x0bntp.example\xc4", &b"\x00\x01x"[..]].concat();
    let mut asked = 0;
    for _ in 0..200 {
        while let Some(stream) = open(&mut w, Dir::Bi) {
            write(&mut w, stream, &lie);
            finish(&mut w, stream);
            asked += 1;
        }
        w.run(20);
        w.at_server.clear();
        if closed(&w).is_some() {
            break;
        }
    }
    assert_eq!(closed(&w), Some(Code::EXCESSIVE_LOAD), "after {asked}");
    assert!(asked < 2000, "{asked}");
    goes_on(&mut w);
}

#[test]
fn requests_beyond_the_limit_wait_in_quic() {
    let mut w = World::hostile();
    let mut streams = Vec::new();
    for _ in 0..50 {
        while let Some(stream) = open(&mut w, Dir::Bi) {
            write(&mut w, stream, GET);
            streams.push(stream);
        }
        w.run(50);
    }
    // Nobody answers: no more are to be had.
    assert_eq!(streams.len(), 100);
    assert_eq!(requests(&mut w), 100);
    assert_eq!(closed(&w), None);
    // And an upload on each of them is bounded by the window of all.
    let mut taken = 0;
    for _ in 0..100 {
        let mut some = 0;
        for stream in &streams {
            // DATA, of 64 KiB at a time.
            let mut frame = vec![0x00, 0x80, 0x01, 0x00, 0x00];
            frame.resize(5 + 65_536, 7);
            some += write(&mut w, *stream, &frame).unwrap_or(0);
        }
        taken += some;
        w.run(20);
        if some == 0 {
            break;
        }
    }
    let held: usize = w
        .at_server
        .iter()
        .map(|event| match event {
            Event::Http(_, HttpEvent::Data(data)) => data.len(),
            _ => 0,
        })
        .sum();
    assert!(held <= 100 * ntproto_h3::config::RECEIVE_WINDOW, "{held}");
    assert!(taken <= held + H3_CONNECTION_WINDOW as usize + H3_SEND_WINDOW as usize, "{taken} for {held}");
    assert!(held > 0, "some of it came");
    // Those who ask on another connection are answered meanwhile.
    w.reconnect();
    goes_on(&mut w);
}

#[test]
fn streams_that_mean_nothing_are_put_aside() {
    let mut w = World::hostile();
    let mut opened = 0;
    for _ in 0..300 {
        while let Some(stream) = open(&mut w, Dir::Uni) {
            // A reserved type, and some of what nobody wants.
            write(&mut w, stream, &[0x21, 1, 2, 3]);
            finish(&mut w, stream);
            opened += 1;
        }
        w.run(20);
        if closed(&w).is_some() {
            break;
        }
    }
    assert!(opened > 100, "{opened}");
    assert_eq!((requests(&mut w), closed(&w)), (0, None));
    goes_on(&mut w);
}

#[test]
fn a_second_control_stream_ends_the_connection() {
    let mut w = World::hostile();
    for _ in 0..2 {
        let control = open(&mut w, Dir::Uni).unwrap();
        write(&mut w, control, &[0x00, 0x04, 0x00]);
    }
    w.run(50);
    assert_eq!(closed(&w), Some(Code::STREAM_CREATION_ERROR));
    goes_on(&mut w);
}

#[test]
fn answers_to_nobody_are_nothing() {
    let mut w = World::hostile();
    let stream = open(&mut w, Dir::Bi).unwrap();
    write(&mut w, stream, GET);
    w.run(50);
    let (exchange, _) = w.head(false);
    reset(&mut w, stream, Code::REQUEST_CANCELLED.0);
    w.run(50);
    for answer in [
        HttpAnswer::Consumed(1 << 40),
        HttpAnswer::Data { data: Bytes::from_static(b"x"), end: false },
        HttpAnswer::Enough,
        HttpAnswer::Reset,
    ] {
        w.answer(exchange, answer);
    }
    w.respond(exchange, http::StatusCode::OK, true);
    w.run(50);
    assert_eq!(closed(&w), None);
    assert_eq!(read(&mut w, stream), Read::Reset(Code::REQUEST_CANCELLED.0), "nothing was said");
    goes_on(&mut w);
}
