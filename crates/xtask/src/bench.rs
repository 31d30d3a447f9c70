//! `cargo xtask bench`: the benchmarks beside their peers, as ratios against the bars of
//! `docs/performance.md`. Timing is no test: a missed bar is reported, not an error.

use std::fs;
use std::path::Path;

use crate::process::cargo;

/// One comparison: ours over theirs, by criterion's median.
struct Bar {
    what: &'static str,
    ours: &'static str,
    theirs: &'static str,
    /// Messages in one iteration of ours.
    batch: f64,
    /// The ratio to stay under.
    bar: f64,
}

const fn bar(what: &'static str, ours: &'static str, theirs: &'static str, batch: f64, bar: f64) -> Bar {
    Bar { what, ours, theirs, batch, bar }
}

const BARS: [Bar; 7] = [
    bar(
        "seal+frame+open 256 B / rustls buffered, both aws-lc",
        "message/ntproto-awslc/256",
        "message/rustls-awslc/256",
        1.0,
        0.7,
    ),
    bar(
        "seal+frame+open 256 B / snow (ring) + prost",
        "message/ntproto-awslc/256",
        "message/snow-prost/256",
        1.0,
        0.8,
    ),
    bar(
        "16 together 256 B, each / rustls buffered",
        "message/ntproto-awslc-16-together/256",
        "message/rustls-awslc/256",
        16.0,
        0.25,
    ),
    bar(
        "seal+frame+open 1 KiB / rustls buffered, both aws-lc",
        "message/ntproto-awslc/1024",
        "message/rustls-awslc/1024",
        1.0,
        0.7,
    ),
    bar("frame codec 64 B / tokio-util", "codec/ntproto-frame/64", "codec/tokio-util/64", 1.0, 0.3),
    bar("frame codec 1 KiB / tokio-util", "codec/ntproto-frame/1024", "codec/tokio-util/1024", 1.0, 0.5),
    bar(
        "handshake, both sides / rustls full, both aws-lc",
        "handshake/ntproto-awslc",
        "handshake/rustls-awslc",
        1.0,
        1.3,
    ),
];
