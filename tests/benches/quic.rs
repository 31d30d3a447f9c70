//! Our QUIC transport against plain quinn over loopback, side by side in one run: raw bytes on one stream, and
//! the same messages authenticated and sealed, which quinn does not do.
//!
//! `cargo bench -p ntproto-tests --bench quic [-- ROUNDS [CASE]]`; CASE is a part of a case's name. Each side has a thread and a current-thread runtime of
//! its own. Rounds alternate, so that a noisy moment hits both; the median of the rounds' ratios is what counts.
//! Pin it to one processor (`taskset -c 0`) for latencies free of the cost of waking another.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod quic_sides;

use std::time::Duration;

use quic_sides::{Load, Outcome, ours, quinn_peer, sealed};

/// The size of a message.
pub const MESSAGE: usize = 256;

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn percentile(sorted: &[Duration], p: usize) -> f64 {
    sorted[(sorted.len() - 1) * p / 100].as_secs_f64() * 1e6
}

/// One figure of a load: messages a second, or microseconds.
type Figure = fn(&Outcome) -> f64;

/// A name, what to send, and what to print of it.
type Case = (&'static str, Load, Vec<(&'static str, Figure)>);

fn main() {
    let rounds: usize = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(7);
    let rate: Figure = |o| o.messages as f64 / o.elapsed.as_secs_f64() / 1e3;
    let p50: Figure = |o| percentile(&o.round_trips, 50);
    let p99: Figure = |o| percentile(&o.round_trips, 99);
    let cases: [Case; 4] = [
        ("one way, 32 a write", Load::OneWay { messages: 1_000_000, a_write: 32 }, vec![("k/s", rate)]),
        ("one way, 1 a write", Load::OneWay { messages: 200_000, a_write: 1 }, vec![("k/s", rate)]),
        ("echo, window 256", Load::Echo { messages: 400_000, window: 256 }, vec![("k/s", rate)]),
        ("ping-pong", Load::Echo { messages: 5_000, window: 1 }, vec![("p50 µs", p50), ("p99 µs", p99)]),
    ];
    println!(
        "{:<22} {:>8} {:>9} {:>9} {:>6} {:>9} {:>6}",
        "256 B messages", "", "quinn", "raw", "ratio", "sealed", "ratio"
    );
    let wanted = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).nth(1).unwrap_or_default();
    for (name, load, figures) in cases.into_iter().filter(|(name, ..)| name.contains(&wanted)) {
        let mut outcomes: Vec<[Outcome; 3]> = Vec::new();
        for round in 0..rounds {
            // Who goes first alternates too.
            let outcome = if round % 2 == 0 {
                let theirs = quinn_peer::run(load);
                let raw = ours::run(load);
                [theirs, raw, sealed::run(load)]
            } else {
                let sealed = sealed::run(load);
                let raw = ours::run(load);
                [quinn_peer::run(load), raw, sealed]
            };
            outcomes.push(outcome);
        }
        for (unit, figure) in figures {
            let values = |side: usize| outcomes.iter().map(move |o| figure(&o[side])).collect::<Vec<f64>>();
            let ratio = |side: usize| {
                median(&mut outcomes.iter().map(|o| figure(&o[side]) / figure(&o[0])).collect::<Vec<f64>>())
            };
            println!(
                "{name:<22} {unit:>8} {:>9.1} {:>9.1} {:>6.2} {:>9.1} {:>6.2}",
                median(&mut values(0)),
                median(&mut values(1)),
                ratio(1),
                median(&mut values(2)),
                ratio(2)
            );
        }
    }
}
