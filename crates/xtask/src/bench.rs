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

/// Runs every benchmark and prints the table.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    cargo(root, ["bench", "--package", "ntproto-tests"]).done()?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    println!("\n{:<58} {:>10} {:>10} {:>7} {:>6}", "ours / theirs", "ours ns", "theirs ns", "ratio", "bar");
    for Bar { what, ours, theirs, batch, bar } in BARS {
        let ours = median(&target.join("criterion"), ours)? / batch;
        let theirs = median(&target.join("criterion"), theirs)?;
        let ratio = ours / theirs;
        let verdict = if ratio <= bar { "" } else { "  missed" };
        println!("{what:<58} {ours:>10.1} {theirs:>10.1} {ratio:>7.2} {bar:>6.2}{verdict}");
    }
    Ok(())
}

/// Criterion's median of a benchmark, in nanoseconds.
fn median(criterion: &Path, id: &str) -> Result<f64, String> {
    let path = criterion.join(id).join("new/estimates.json");
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|e| format!("{id}: {e}"))?;
    json["median"]["point_estimate"].as_f64().ok_or_else(|| format!("{id}: no median"))
}
