//! A message, a frame and a handshake in memory, as ratios against the peers and their bars.
//!
//! `cargo bench -p ntproto-tests --bench ratios`. The sides take short turns, and each
//! keeps its fastest turn: what else the machine does hits all of them, and the fastest turn least. Timing is
//! no test: a missed bar is reported, not an error.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod core_sides;

use std::hint::black_box;
use std::time::{Duration, Instant};

use core_sides::message;
use core_sides::ours::{Handshake, Sealed, frame_codec};
use core_sides::peers::{Snow, Tls, TokioUtil, snow_handshake, snow_pair, tls_configs};
use ntproto_core::crypto::aws_lc::AWS_LC;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use rustls::crypto::aws_lc_rs;

/// Turns each side gets.
const TURNS: usize = 1500;
/// About how long a turn is.
const TURN: Duration = Duration::from_micros(200);

/// One side: a name, what it does, and how many messages that is.
struct Side<'a> {
    name: &'static str,
    run: Box<dyn FnMut() + 'a>,
    messages: f64,
    calls: u32,
    best: Duration,
}

fn side<'a, R: 'a>(name: &'static str, messages: u32, mut run: impl FnMut() -> R + 'a) -> Side<'a> {
    let mut run: Box<dyn FnMut() + 'a> = Box::new(move || {
        black_box(run());
    });
    let start = Instant::now();
    let mut calls = 0;
    while start.elapsed() < TURN {
        run();
        calls += 1;
    }
    Side { name, run, messages: messages.into(), calls, best: Duration::MAX }
}

/// Lets the sides take turns; gives nanoseconds a message by name.
fn race<'a>(mut sides: Vec<Side<'a>>) -> impl Fn(&str) -> f64 {
    for _ in 0..TURNS {
        for side in &mut sides {
            let start = Instant::now();
            for _ in 0..side.calls {
                (side.run)();
            }
            side.best = side.best.min(start.elapsed() / side.calls);
        }
    }
    let best: Vec<_> = sides.iter().map(|s| (s.name, s.best.as_nanos() as f64 / s.messages)).collect();
    move |name| best.iter().find(|(n, _)| *n == name).unwrap().1
}

/// One line: ours, theirs, their ratio, and the bar where there is one.
fn line(what: &str, ours: f64, theirs: f64, bar: Option<f64>) {
    let ratio = ours / theirs;
    let bar = match bar {
        Some(bar) if ratio <= bar => format!("{bar:.2}"),
        Some(bar) => format!("{bar:.2}  missed"),
        None => "-".into(),
    };
    println!("{what:<66} {ours:>9.0} {theirs:>9.0} {ratio:>6.2}  {bar}");
}

fn messages(size: usize, bars: [Option<f64>; 3]) {
    let (body, message) = (vec![7; size], message(size));
    let configs = tls_configs(aws_lc_rs::default_provider());
    let (mut one, mut many, mut pure, mut proto, mut proto_many) = (
        Sealed::new(&AWS_LC),
        Sealed::new(&AWS_LC),
        Sealed::new(&RUSTCRYPTO),
        Sealed::new(&AWS_LC),
        Sealed::new(&AWS_LC),
    );
    let (mut tls, mut tls_proto) = (Tls::handshake(&configs), Tls::handshake(&configs));
    let (mut snow, mut snow_proto) = (Snow::new(), Snow::new());
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let ns = race(vec![
        side("one", 1, || one.bytes(black_box(&body), 1)),
        side("many", 16, || many.bytes(black_box(&body), 16)),
        side("pure", 1, || pure.bytes(black_box(&body), 1)),
        side("tls", 1, || tls.bytes(black_box(&body))),
        side("snow", 1, || snow.bytes(black_box(&body))),
        side("proto", 1, || proto.protobuf(black_box(&message), 1)),
        side("proto many", 16, || proto_many.protobuf(black_box(&message), 16)),
        side("tls proto", 1, || tls_proto.protobuf(black_box(&message), &mut a)),
        side("snow proto", 1, || snow_proto.protobuf(black_box(&message), &mut b)),
    ]);
    let what = |text: &str| format!("{size} B, {text}");
    line(&what("sealed, aws-lc / rustls buffered, aws-lc"), ns("one"), ns("tls"), bars[0]);
    line(&what("sealed, aws-lc / snow (ring) and prost"), ns("one"), ns("snow proto"), bars[1]);
    line(&what("16 sealed together, each / rustls buffered"), ns("many"), ns("tls"), bars[2]);
    line(&what("sealed, aws-lc / snow (ring)"), ns("one"), ns("snow"), None);
    line(&what("sealed, RustCrypto / rustls buffered, aws-lc"), ns("pure"), ns("tls"), None);
    line(&what("with protobuf, aws-lc / rustls with protobuf"), ns("proto"), ns("tls proto"), None);
    line(&what("with protobuf, aws-lc / snow (ring) and prost"), ns("proto"), ns("snow proto"), None);
    line(&what("with protobuf, 16 together / rustls with protobuf"), ns("proto many"), ns("tls proto"), None);
}

fn codec(size: usize, bar: f64) {
    let payload = vec![7; size];
    let mut out = Vec::new();
    let mut theirs = TokioUtil::new(&payload);
    let ns =
        race(vec![side("ours", 1, || frame_codec(&payload, &mut out)), side("theirs", 1, || theirs.frame())]);
    line(&format!("frame codec, {size} B / tokio-util"), ns("ours"), ns("theirs"), Some(bar));
}

fn handshakes() {
    let (mut ours, mut pure) = (Handshake::new(&AWS_LC), Handshake::new(&RUSTCRYPTO));
    let configs = tls_configs(aws_lc_rs::default_provider());
    let ns = race(vec![
        side("ours", 1, || ours.run()),
        side("pure", 1, || pure.run()),
        side("tls", 1, || Tls::handshake(black_box(&configs))),
        side("snow", 1, || snow_handshake(snow_pair())),
    ]);
    line("handshake, both sides, aws-lc / rustls full, aws-lc", ns("ours"), ns("tls"), Some(1.3));
    line("handshake, both sides, RustCrypto / snow IK with its key pairs", ns("pure"), ns("snow"), None);
}

fn main() {
    println!("{:<66} {:>9} {:>9} {:>6}  bar", "ours / theirs", "ours ns", "theirs ns", "ratio");
    messages(64, [None; 3]);
    messages(256, [Some(0.7), Some(0.8), Some(0.25)]);
    messages(1024, [None; 3]);
    codec(64, 0.3);
    codec(1024, 0.5);
    handshakes();
}
