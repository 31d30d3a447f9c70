//! Requests about uploads that come, cross and break off, while the disk is slow, fails and gets full, and the server dies.
//! Offsets only rise, memory is bounded, records fit each other, and in the end nothing is left over.
#![no_main]
#![allow(dead_code)]

use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ntproto_web::{ExchangeId, WebConfig};

#[path = "../../crates/ntproto-web/tests/files/bench.rs"]
mod bench;

use bench::{Bench, range};

/// Steps of one run.
const MAX: usize = 60;
/// Requests that are under way at once.
const OPEN: usize = 12;
const LENGTH: usize = 1_500_000;

#[derive(Arbitrary, Debug)]
enum Step {
    /// Bytes from here to there, in the hundredths of the whole: of whom, on which connection, in which dialect.
    Chunk {
        who: u8,
        carrier: u8,
        dialect: u8,
        from: u8,
        to: u8,
        digest: bool,
    },
    /// The same from where the upload is.
    Resume {
        who: u8,
        carrier: u8,
        dialect: u8,
        to: u8,
    },
    Create {
        who: u8,
        name: u8,
        hundredths: Option<u8>,
        dialect: u8,
        body: bool,
    },
    Ask {
        who: u8,
        method: u8,
        file: u8,
    },
    Data {
        exchange: u8,
        hundredths: u8,
        byte: u8,
    },
    End(u8),
    Gone(u8),
    Hold,
    Work(u8),
    Late,
    Release,
    Full(bool),
    FailSync,
    Crash,
    Pass(u8),
}

struct Run {
    bench: Bench,
    open: Vec<ExchangeId>,
    /// Uploads and files that were made, and the offsets that were told of them.
    made: Vec<(String, u64)>,
}

impl Run {
    fn exchange(&self, n: u8) -> Option<ExchangeId> {
        let len = self.open.len();
        (len > 0).then(|| self.open[usize::from(n) % len])
    }

    fn begin(
        &mut self,
        (who, carrier): (u8, u8),
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        end: bool,
    ) {
        if self.open.len() < OPEN {
            let (who, carrier) = (usize::from(who % 4), u64::from(carrier % 3));
            let exchange = self.bench.head(who, carrier, method, target, headers, end);
            self.open.push(exchange);
        }
    }

    fn chunk(&mut self, who: (u8, u8), dialect: u8, (from, to): (usize, usize), digest: bool) {
        let target = self.made[0].0.clone();
        let (from, to) = (from.min(LENGTH - 1), to.clamp(from.min(LENGTH - 1) + 1, LENGTH));
        let (text, range) = (from.to_string(), range(from, to, None));
        let mut headers: Vec<(&str, &str)> = match dialect % 3 {
            0 => vec![("content-range", &range)],
            1 => vec![
                ("tus-resumable", "1.0.0"),
                ("content-type", "application/offset+octet-stream"),
                ("upload-offset", &text),
            ],
            _ => vec![
                ("upload-draft-interop-version", "7"),
                ("content-type", "application/partial-upload"),
                ("upload-offset", &text),
                ("upload-complete", if to == LENGTH { "?1" } else { "?0" }),
            ],
        };
        if digest {
            headers.push(("content-digest", "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"));
        }
        self.begin(who, "PATCH", &target, &headers, false);
    }

    fn step(&mut self, step: &Step) {
        let hundredths = |n: u8| usize::from(n % 101) * LENGTH / 100;
        match *step {
            Step::Chunk { who, carrier, dialect, from, to, digest } => {
                self.chunk((who, carrier), dialect, (hundredths(from), hundredths(to)), digest);
            }
            Step::Resume { who, carrier, dialect, to } => {
                let from = usize::try_from(self.made[0].1).expect("small");
                self.chunk((who, carrier), dialect, (from, hundredths(to)), false);
            }
            Step::Create { who, name, hundredths: length, dialect, body } => {
                let conversation = ntproto_web::text::base64url(&self.bench.conversation().0);
                let target = format!("/v2/files?conversation={conversation}&upload_id={}", name % 8);
                let length = length.map(|n| hundredths(n).to_string());
                let mut headers: Vec<(&str, &str)> = Vec::new();
                match dialect % 3 {
                    0 => {}
                    1 => headers.extend([
                        ("tus-resumable", "1.0.0"),
                        ("content-type", "application/offset+octet-stream"),
                    ]),
                    _ => headers.extend([("upload-draft-interop-version", "8"), ("upload-complete", "?0")]),
                }
                match &length {
                    Some(length) => headers.push(("upload-length", length)),
                    None => headers.push(("upload-defer-length", "1")),
                }
                self.begin((who, 9), "POST", &target, &headers, !body);
            }
            Step::Ask { who, method, file } => {
                let method = ["HEAD", "GET", "DELETE", "OPTIONS"][usize::from(method) % 4];
                let at = &self.made[usize::from(file) % self.made.len()].0;
                let at = at.clone();
                // The first upload stays: it is what most steps are about.
                if method != "DELETE" || at != self.made[0].0 {
                    self.begin((who, 9), method, &at, &[], true);
                }
            }
            Step::Data { exchange, hundredths: n, byte } => {
                if let Some(exchange) = self.exchange(exchange) {
                    self.bench.data(exchange, &vec![byte; hundredths(n)]);
                }
            }
            Step::End(n) => {
                if let Some(exchange) = self.exchange(n) {
                    self.bench.end(exchange);
                }
            }
            Step::Gone(n) => {
                if let Some(exchange) = self.exchange(n) {
                    self.bench.gone(exchange);
                    self.open.retain(|one| *one != exchange);
                }
            }
            Step::Hold => self.bench.hold = true,
            Step::Work(times) => {
                for _ in 0..times % 8 {
                    self.bench.release_one();
                }
            }
            Step::Late => {
                self.bench.hold = true;
                self.bench.release_late();
            }
            Step::Release => self.bench.release(),
            Step::Full(full) => self.bench.disk.capacity = full.then_some(LENGTH),
            Step::FailSync => self.bench.disk.fail_sync = true,
            Step::Crash => {
                self.bench.hold = false;
                self.bench.crash();
                self.open.clear();
            }
            Step::Pass(seconds) => self.bench.pass(Duration::from_secs(seconds.into())),
        }
        self.hear();
    }

    /// What was answered is noted; what was told of the first upload only rises.
    fn hear(&mut self) {
        for exchange in self.open.clone() {
            let got = &self.bench.got[&exchange];
            if got.head.is_some()
                && let Some(at) = got.header("location")
                && self.made.len() < 20
                && !self.made.iter().any(|(made, _)| made == at)
            {
                self.made.push((at.to_owned(), 0));
            }
            if got.head.is_some() || got.reset {
                self.open.retain(|one| *one != exchange);
            }
        }
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let mut bench = Bench::new();
    let at = bench.upload(LENGTH);
    let mut run = Run { bench, open: Vec::new(), made: vec![(at.clone(), 0)] };
    for step in steps.iter().take(MAX) {
        run.step(step);
        if matches!(step, Step::Release | Step::Crash) {
            let offset = run.bench.offset(&at);
            assert!(offset >= run.made[0].1, "it only rises");
            run.made[0].1 = offset;
        }
    }
    run.bench.release();
    for exchange in run.open.clone() {
        run.bench.gone(exchange);
    }
    let offset = run.bench.offset(&at);
    assert!(offset >= run.made[0].1 && offset <= LENGTH as u64);
    run.bench.pass(Duration::from_secs(300));
    assert_eq!((run.bench.web.exchanges(), run.bench.web.uploads(), run.bench.web.held_bytes()), (0, 0, 0));
    run.bench.check();
    // A day later nothing is there but files.
    run.bench.pass(WebConfig::default().upload_lifetime);
    run.bench.sweep();
    assert_eq!(run.bench.disk.partials(), 0);
    run.bench.check();
});
