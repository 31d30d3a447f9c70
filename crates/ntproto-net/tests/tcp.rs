//! TCP connections as channels, without a socket: the test is the host.
#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "tests may look at the clock")]

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use ntproto_core::binding::Binding;
use ntproto_core::time::{Instant, Now, UnixMillis};
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::frame::{Flags, FrameType, encode};
use ntproto_core::wire::nthd;
use ntproto_net::tcp::CONNECT_TIMEOUT;
use ntproto_net::tcp::gate::TcpLimits;
use ntproto_net::tcp::stream::WINDOW;
use ntproto_net::{Closed, ConnId, Endpoint, Event, Output, StreamId, StreamInput, StreamStep, TcpClosed};
use ntproto_quic::EndpointConfig;
use proptest::prelude::*;

fn at(ms: u64) -> Now {
    Now { mono: Instant::from_micros(1 + ms * 1000), unix: UnixMillis(ms) }
}

fn peer() -> SocketAddr {
    "192.0.2.7:4000".parse().unwrap()
}

fn endpoint(limits: TcpLimits) -> Endpoint {
    Endpoint::new(EndpointConfig::client(), limits, std::time::Instant::now(), [7; 32])
}

/// What an endpoint wants, until it waits.
fn drain(endpoint: &mut Endpoint, now: Now) -> (Vec<Event>, Vec<StreamStep>) {
    let (mut events, mut steps) = (Vec::new(), Vec::new());
    loop {
        match endpoint.poll_output(now, None) {
            Output::Event(event) => events.push(event),
            Output::Stream(_, step) => steps.push(step),
            Output::Transmit(_) => panic!("there is no QUIC here"),
            Output::Wait(_) => return (events, steps),
        }
    }
}

/// An endpoint with one accepted connection.
fn accepted() -> (Endpoint, StreamId, ConnId) {
    let mut endpoint = endpoint(TcpLimits::default());
    let stream = endpoint.accept(at(0), peer()).unwrap();
    let (events, steps) = drain(&mut endpoint, at(0));
    let [Event::Connected { conn, binding, remote, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((*binding, *remote), (Binding::TCP, peer()));
    assert_eq!(steps, [StreamStep::Read]);
    (endpoint, stream, *conn)
}

fn read(endpoint: &mut Endpoint, conn: ConnId, channel: Channel) -> Vec<u8> {
    let mut got = Vec::new();
    let done = endpoint.with(at(0), conn, |c| {
        c.read_chunks(channel, usize::MAX, |chunk| {
            got.extend_from_slice(&chunk);
            true
        })
    });
    assert_eq!(done, Some(got.len()));
    got
}

fn frame(channel: Channel, len: usize) -> Vec<u8> {
    let mut out = Vec::new();
    encode(FrameType::MsgEncryptedV2 as u8, Flags(0), channel, 1, &vec![9; len], &mut out);
    out
}

#[test]
fn units_come_out_on_their_channels() {
    let (mut endpoint, stream, conn) = accepted();
    let hello = nthd::header(0);
    let (message, sync) = (frame(Channel::Message, 100), frame(Channel::Sync, 50));
    let all = [&hello[..], &message, &sync, &message].concat();
    for byte in &all {
        endpoint.stream(stream, StreamInput::Bytes(Bytes::copy_from_slice(&[*byte])));
    }
    let (events, steps) = drain(&mut endpoint, at(0));
    assert!(events.iter().all(|e| matches!(e, Event::Readable { .. })));
    assert_eq!(steps, [StreamStep::Read]);
    assert_eq!(read(&mut endpoint, conn, Channel::Control), hello);
    assert_eq!(read(&mut endpoint, conn, Channel::Message), [&message[..], &message].concat());
    assert_eq!(read(&mut endpoint, conn, Channel::Sync), sync);
}

#[test]
fn a_channel_nobody_reads_holds_the_stream_back_only_beyond_the_window() {
    let (mut endpoint, stream, conn) = accepted();
    let message = frame(Channel::Message, 64 * 1024);
    let mut sent = 0;
    loop {
        endpoint.stream(stream, StreamInput::Bytes(Bytes::from(message.clone())));
        sent += message.len();
        // CONTROL passes all the while.
        let control = frame(Channel::Control, 8);
        if drain(&mut endpoint, at(0)).1.is_empty() {
            break;
        }
        endpoint.stream(stream, StreamInput::Bytes(Bytes::from(control.clone())));
        assert_eq!(read(&mut endpoint, conn, Channel::Control), control);
        assert_eq!(drain(&mut endpoint, at(0)).1, [StreamStep::Read]);
    }
    assert!((WINDOW - 1024..WINDOW + message.len() + 1).contains(&sent), "{sent}");
    assert_eq!(read(&mut endpoint, conn, Channel::Message).len(), sent);
    assert_eq!(drain(&mut endpoint, at(0)).1, [StreamStep::Read], "and on it goes");
}

#[test]
fn one_buffer_is_in_flight_and_the_refused_are_told_control_first() {
    let (mut endpoint, stream, conn) = accepted();
    let write = |endpoint: &mut Endpoint, channel, data: &[u8]| {
        endpoint.with(at(0), conn, |c| c.write(channel, data)).unwrap()
    };
    assert_eq!(write(&mut endpoint, Channel::Message, b"first"), 5);
    assert_eq!(write(&mut endpoint, Channel::Message, b"second"), 0);
    assert_eq!(write(&mut endpoint, Channel::Control, b"urgent"), 0);
    let (events, steps) = drain(&mut endpoint, at(0));
    assert!(events.is_empty());
    assert_eq!(steps, [StreamStep::Write(Bytes::from_static(b"first"))]);
    assert_eq!(write(&mut endpoint, Channel::Control, b"urgent"), 0, "the host is still at it");
    endpoint.stream(stream, StreamInput::Written);
    let (events, _) = drain(&mut endpoint, at(0));
    assert!(matches!(
        events[..],
        [
            Event::Writable { channel: Channel::Control, .. },
            Event::Writable { channel: Channel::Message, .. }
        ]
    ));
    assert_eq!(write(&mut endpoint, Channel::Control, b"urgent"), 6);
}

#[test]
fn a_close_lets_what_was_written_leave_first() {
    let (mut endpoint, stream, conn) = accepted();
    endpoint.with(at(0), conn, |c| {
        assert_eq!(c.write(Channel::Control, b"farewell"), 8);
        c.close(3, b"");
        assert_eq!(c.write(Channel::Control, b"more"), 0);
    });
    assert!(!endpoint.is_flushed());
    let (events, steps) = drain(&mut endpoint, at(0));
    assert!(matches!(events[..], [Event::Closed { reason: Closed::Tcp(TcpClosed::Local { code: 3 }), .. }]));
    assert_eq!(steps, [StreamStep::Write(Bytes::from_static(b"farewell")), StreamStep::Close]);
    assert!(endpoint.is_flushed());
    assert!(endpoint.with(at(0), conn, |_| ()).is_none());
    // What the host had to tell still is of no consequence.
    for input in [StreamInput::Written, StreamInput::Bytes(Bytes::from_static(b"x")), StreamInput::Closed] {
        endpoint.stream(stream, input);
    }
    assert!(drain(&mut endpoint, at(0)).0.is_empty());
    assert_eq!(endpoint.stats().connections, 0);
}

#[test]
fn a_dial_succeeds_fails_or_runs_out_of_time() {
    let dialled = || {
        let mut endpoint = endpoint(TcpLimits::default());
        let conn = endpoint.connect_tcp(at(0), peer());
        let Output::Stream(stream, StreamStep::Dial(remote)) = endpoint.poll_output(at(0), None) else {
            panic!()
        };
        assert_eq!(remote, peer());
        assert!(matches!(endpoint.poll_output(at(0), None), Output::Wait(Some(_))));
        (endpoint, stream, conn)
    };
    let (mut endpoint, stream, conn) = dialled();
    endpoint.stream(stream, StreamInput::Connected);
    let (events, steps) = drain(&mut endpoint, at(0));
    assert!(matches!(events[..], [Event::Connected { conn: up, .. }] if up == conn));
    assert_eq!(steps, [StreamStep::Read]);

    let (mut endpoint, stream, _) = dialled();
    endpoint.stream(stream, StreamInput::Closed);
    let (events, steps) = drain(&mut endpoint, at(0));
    assert!(matches!(events[..], [Event::Closed { reason: Closed::Tcp(TcpClosed::Unreachable), .. }]));
    assert!(steps.is_empty());

    let (mut endpoint, stream, _) = dialled();
    let late = at(CONNECT_TIMEOUT.as_millis() as u64);
    endpoint.timeout(late);
    let (events, steps) = drain(&mut endpoint, late);
    assert!(matches!(events[..], [Event::Closed { reason: Closed::Tcp(TcpClosed::Unreachable), .. }]));
    assert_eq!(steps, [StreamStep::Close], "the host gives up too");
    endpoint.stream(stream, StreamInput::Connected);
    assert!(drain(&mut endpoint, late).0.is_empty());
}

#[test]
fn a_dial_that_was_not_asked_for_yet_leaves_nothing_behind() {
    let mut endpoint = endpoint(TcpLimits::default());
    let conn = endpoint.connect_tcp(at(0), peer());
    endpoint.with(at(0), conn, |c| c.close(0, b""));
    let (events, steps) = drain(&mut endpoint, at(0));
    assert!(matches!(&events[..], [Event::Closed { reason: Closed::Tcp(TcpClosed::Local { .. }), .. }]));
    assert_eq!(steps, [], "the host never heard of it");
    assert!(endpoint.is_flushed());
}

#[test]
fn the_gate_counts_a_connection_until_it_settles_or_ends() {
    let limits = TcpLimits { max_half_open: 2, ..TcpLimits::default() };
    let mut endpoint = endpoint(limits);
    let first = endpoint.accept(at(0), peer()).unwrap();
    let second = endpoint.accept(at(0), peer()).unwrap();
    assert!(endpoint.accept(at(0), peer()).is_none());
    endpoint.with(at(0), first.into(), |c| c.settle());
    endpoint.with(at(0), first.into(), |c| c.settle());
    let third = endpoint.accept(at(0), peer()).unwrap();
    assert!(endpoint.accept(at(0), peer()).is_none(), "one settled once");
    endpoint.stream(second, StreamInput::Closed);
    endpoint.with(at(0), third.into(), |c| c.close(0, b""));
    assert!(endpoint.accept(at(0), peer()).is_some());
    assert!(endpoint.accept(at(0), peer()).is_some());
    assert!(endpoint.accept(at(0), peer()).is_none());
    endpoint.stream(first, StreamInput::Closed);
    assert!(endpoint.accept(at(0), peer()).is_none(), "it was not counted any more");
}

/// Small frames of a channel nobody reads, between large ones of another: what is held is about what is counted.
#[test]
fn small_frames_do_not_keep_large_reads_alive() {
    let (mut endpoint, stream, conn) = accepted();
    let (large, small) = (frame(Channel::Control, 30_000), frame(Channel::Message, 0));
    let mut reads = Vec::new();
    while drain(&mut endpoint, at(0)).1 == [StreamStep::Read] || reads.is_empty() {
        let bytes = Bytes::from([&large[..], &small].concat());
        endpoint.stream(stream, StreamInput::Bytes(bytes.clone()));
        assert_eq!(read(&mut endpoint, conn, Channel::Control), large);
        reads.push(bytes);
    }
    assert!(
        reads.len() > 5_000 && reads.len() < WINDOW / 64 + 2,
        "each costs more than its bytes: {}",
        reads.len()
    );
    assert!(reads.iter_mut().all(|bytes| bytes.is_unique()), "none of the reads is still held");
    assert_eq!(read(&mut endpoint, conn, Channel::Message).len(), reads.len() * small.len());
    assert_eq!(drain(&mut endpoint, at(0)).1, [StreamStep::Read], "all of its cost is given back");
}

#[derive(Clone, Debug)]
enum Do {
    Accept,
    Input(usize, u8, Vec<u8>),
    Write(usize, u8, usize),
    Read(usize, u8, usize),
    Close(usize),
    Settle(usize),
    Dial,
    Pass(u64),
}

fn anything() -> impl Strategy<Value = Do> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..60),
        (0..4u8, 0..40usize).prop_map(|(c, len)| frame(Channel::from_wire(c).unwrap(), len)),
        Just(nthd::header(0).to_vec()),
    ];
    prop_oneof![
        Just(Do::Accept),
        (0..6usize, 0..4u8, bytes).prop_map(|(n, k, b)| Do::Input(n, k, b)),
        (0..6usize, 0..4u8, 0..99usize).prop_map(|(n, c, len)| Do::Write(n, c, len)),
        (0..6usize, 0..4u8, 0..99usize).prop_map(|(n, c, len)| Do::Read(n, c, len)),
        (0..6usize).prop_map(Do::Close),
        (0..6usize).prop_map(Do::Settle),
        Just(Do::Dial),
        (0..20_000u64).prop_map(Do::Pass),
    ]
}

proptest! {
    /// Whatever host and visitors do: every connection is told up once at most and over once, nothing panics, and
    /// one step of each kind is out at a time.
    #[test]
    fn any_order_of_things(doings in prop::collection::vec(anything(), 1..80)) {
        let mut endpoint = endpoint(TcpLimits { max_streams: 8, ..TcpLimits::default() });
        let mut streams: Vec<StreamId> = Vec::new();
        let (mut up, mut over, mut known) = (Vec::new(), Vec::new(), Vec::new());
        let mut now = at(0);
        for doing in doings {
            let pick = |n: usize| streams.get(n % streams.len().max(1)).copied();
            match doing {
                Do::Accept => streams.extend(endpoint.accept(now, peer()).inspect(|s| known.push(ConnId::from(*s)))),
                Do::Dial => known.push(endpoint.connect_tcp(now, peer())),
                Do::Input(n, kind, bytes) => if let Some(stream) = pick(n) {
                    endpoint.stream(stream, match kind {
                        0 => StreamInput::Connected,
                        1 => StreamInput::Bytes(bytes.into()),
                        2 => StreamInput::Written,
                        _ => StreamInput::Closed,
                    });
                },
                Do::Write(n, c, len) => if let Some(stream) = pick(n) {
                    let channel = Channel::from_wire(c).unwrap();
                    let taken = endpoint.with(now, stream.into(), |c| c.write(channel, &vec![0; len]));
                    prop_assert!(taken.is_none_or(|taken| taken == 0 || taken == len));
                },
                Do::Read(n, c, max) => if let Some(stream) = pick(n) {
                    let channel = Channel::from_wire(c).unwrap();
                    let mut got = 0;
                    let done = endpoint.with(now, stream.into(), |c| c.read_chunks(channel, max, |b| { got += b.len(); true }));
                    prop_assert!(done.is_none_or(|done| done == got && got <= max));
                },
                Do::Close(n) => if let Some(stream) = pick(n) {
                    endpoint.with(now, stream.into(), |c| c.close(1, b""));
                },
                Do::Settle(n) => if let Some(stream) = pick(n) {
                    endpoint.with(now, stream.into(), |c| c.settle());
                },
                Do::Pass(ms) => {
                    now.mono = now.mono + Duration::from_millis(ms);
                    endpoint.timeout(now);
                }
            }
            loop {
                match endpoint.poll_output(now, None) {
                    Output::Event(Event::Connected { conn, .. }) => up.push(conn),
                    Output::Event(Event::Closed { conn, .. }) => over.push(conn),
                    Output::Event(event) => {
                        let (Event::Readable { conn, .. } | Event::Writable { conn, .. }) = event else { panic!() };
                        prop_assert!(up.contains(&conn) && !over.contains(&conn));
                    }
                    Output::Stream(stream, StreamStep::Dial(_)) => streams.push(stream),
                    Output::Stream(..) => {}
                    Output::Transmit(_) => panic!(),
                    Output::Wait(at) => {
                        prop_assert!(at.is_none_or(|at| at > now.mono), "work is left");
                        break;
                    }
                }
            }
        }
        for list in [&up, &over] {
            let mut once = list.clone();
            once.sort();
            once.dedup();
            prop_assert_eq!(once.len(), list.len());
        }
        prop_assert!(over.iter().all(|conn| known.contains(conn)));
        endpoint.close_all(now, 0, b"");
        while let Output::Event(event) = endpoint.poll_output(now, None) {
            if let Event::Closed { conn, .. } = event { over.push(conn) }
        }
        prop_assert_eq!(over.len(), known.len(), "everybody is told over in the end");
    }
}

//= proof: tcp-13
#[test]
fn a_connection_that_speaks_tls_goes_to_somebody_else_and_keeps_its_place() {
    let limits = TcpLimits { max_half_open: 1, ..TcpLimits::default() };
    let mut endpoint = endpoint(limits);
    let stream = endpoint.accept(at(0), peer()).unwrap();
    drain(&mut endpoint, at(0));
    assert!(endpoint.hand_over(stream) && !endpoint.hand_over(stream), "once");
    let (events, steps) = drain(&mut endpoint, at(0));
    assert!(
        matches!(events[..], [Event::Closed { reason: Closed::Tcp(TcpClosed::Https), .. }]),
        "{events:?}"
    );
    assert_eq!(steps, [], "it is not ours to read");
    assert_eq!(endpoint.with(at(0), stream.into(), |_| ()), None);
    assert_eq!((endpoint.stats().connections, endpoint.is_flushed()), (1, true));

    // It is half-open until whoever serves it says otherwise.
    assert_eq!(endpoint.accept(at(0), peer()), None);
    endpoint.stream(stream, StreamInput::Settled);
    endpoint.stream(stream, StreamInput::Settled);
    let other = endpoint.accept(at(0), peer()).unwrap();
    assert_eq!(endpoint.accept(at(0), peer()), None);
    endpoint.stream(stream, StreamInput::Closed);
    endpoint.stream(other, StreamInput::Closed);
    drain(&mut endpoint, at(0));
    assert_eq!(endpoint.stats().connections, 0);
    assert!(endpoint.accept(at(0), peer()).is_some());
    assert!(!endpoint.hand_over(stream), "it is over");
}
