//! Whatever requests come, break off and cross, and whenever the server dies: offsets are true and only rise, what is
//! whole is what was sent, memory is bounded, nothing is left over.

use std::time::Duration;

use ntproto_web::ExchangeId;
use proptest::prelude::*;

use crate::bench::{Bench, bytes, range};

const LENGTH: usize = 2_500_000;
const CARRIERS: u64 = 3;

#[derive(Clone, Debug)]
enum Step {
    /// A chunk from about the offset on, of a length in sixteenths of the whole.
    Chunk {
        carrier: u64,
        skew: i64,
        sixteenths: usize,
        dialect: u8,
    },
    /// A chunk behind the last one of its carrier.
    Next {
        carrier: u64,
        sixteenths: usize,
    },
    /// So much of the body of one of the exchanges, in sixteenths of what is left of it.
    Data {
        exchange: usize,
        sixteenths: usize,
    },
    End {
        exchange: usize,
    },
    Gone {
        exchange: usize,
    },
    Head,
    /// The disk works, so many times; it is held from here on.
    Work(usize),
    /// It does one piece, and is slow to say so.
    Late,
    /// The disk keeps up again.
    Release,
    Crash,
    Full(bool),
    FailSync,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let small = prop_oneof![6 => Just(0_i64), 1 => -300_000..300_000_i64];
    prop_oneof![
        4 => (0..CARRIERS, small, 1..17_usize, 0..3_u8)
            .prop_map(|(carrier, skew, sixteenths, dialect)| Step::Chunk { carrier, skew, sixteenths, dialect }),
        4 => (0..CARRIERS, 1..9_usize).prop_map(|(carrier, sixteenths)| Step::Next { carrier, sixteenths }),
        10 => (0..8_usize, 1..17_usize).prop_map(|(exchange, sixteenths)| Step::Data { exchange, sixteenths }),
        4 => (0..8_usize).prop_map(|exchange| Step::End { exchange }),
        1 => (0..8_usize).prop_map(|exchange| Step::Gone { exchange }),
        1 => Just(Step::Head),
        2 => (0..6_usize).prop_map(Step::Work),
        3 => Just(Step::Late),
        2 => Just(Step::Release),
        1 => Just(Step::Crash),
        1 => any::<bool>().prop_map(Step::Full),
        1 => Just(Step::FailSync),
        1 => (1..40_u64).prop_map(Step::Pass),
    ]
}

/// A request that is under way.
struct Open {
    exchange: ExchangeId,
    carrier: u64,
    from: usize,
    to: usize,
    sent: usize,
}

fn true_offset(bench: &mut Bench, at: &str, before: &mut u64) -> u64 {
    let offset = bench.offset(at);
    assert!(offset >= *before, "it only rises");
    *before = offset;
    offset
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_is_whole_is_what_was_sent(steps in prop::collection::vec(step(), 1..60), seed: u64) {
        let data = bytes(LENGTH, seed);
        let mut bench = Bench::new();
        let at = bench.upload(LENGTH);
        let mut open: Vec<Open> = Vec::new();
        let mut known = 0_u64;
        let mut guess = 0_usize;
        for step in steps {
            match step {
                Step::Chunk { carrier, skew, sixteenths, dialect } => {
                    let from = usize::try_from(guess as i64 + skew).unwrap_or(0).min(LENGTH - 1);
                    let to = (from + sixteenths * LENGTH / 16).min(LENGTH);
                    begin(&mut bench, &mut open, &at, (carrier, from, to), dialect);
                }
                Step::Next { carrier, sixteenths } => {
                    let last = open.iter().filter(|one| one.carrier == carrier).map(|one| one.to).max();
                    let from = last.unwrap_or(guess).min(LENGTH - 1);
                    let to = (from + sixteenths * LENGTH / 16).min(LENGTH);
                    begin(&mut bench, &mut open, &at, (carrier, from, to), 0);
                }
                Step::Data { exchange, sixteenths } => {
                    if let Some(one) = pick(&mut open, exchange) {
                        let to = one.from + one.sent + (one.to - one.from - one.sent) * sixteenths / 16;
                        one.sent += bench.data(one.exchange, &data[one.from + one.sent..to]);
                    }
                }
                Step::End { exchange } => {
                    // An honest client ends a body when all of it is out.
                    if let Some(one) = pick(&mut open, exchange)
                        && one.from + one.sent == one.to
                    {
                        bench.end(one.exchange);
                    }
                }
                Step::Gone { exchange } => {
                    if let Some(one) = pick(&mut open, exchange) {
                        let exchange = one.exchange;
                        bench.gone(exchange);
                        open.retain(|one| one.exchange != exchange);
                    }
                }
                Step::Head => {
                    bench.release();
                    guess = usize::try_from(true_offset(&mut bench, &at, &mut known)).unwrap();
                }
                Step::Work(times) => {
                    bench.hold = true;
                    for _ in 0..times {
                        bench.release_one();
                    }
                }
                Step::Late => {
                    bench.hold = true;
                    bench.release_late();
                }
                Step::Release => bench.release(),
                Step::Crash => {
                    bench.hold = false;
                    bench.crash();
                    open.clear();
                    guess = usize::try_from(true_offset(&mut bench, &at, &mut known)).unwrap();
                }
                Step::Full(full) => bench.disk.capacity = full.then_some(LENGTH / 2),
                Step::FailSync => bench.disk.fail_sync = true,
                Step::Pass(seconds) => bench.pass(Duration::from_secs(seconds)),
            }
            // What was answered with an offset is so, whatever comes.
            for one in &open {
                let got = &bench.got[&one.exchange];
                if let Some(offset) = got.header("upload-offset") {
                    known = known.max(offset.parse().unwrap());
                    guess = usize::try_from(known).unwrap();
                }
            }
            open.retain(|one| {
                let got = &bench.got[&one.exchange];
                got.head.is_none() && !got.reset
            });
        }
        // In peace, it becomes whole.
        bench.release();
        bench.disk.capacity = None;
        bench.disk.fail_sync = false;
        let offset = usize::try_from(true_offset(&mut bench, &at, &mut known)).unwrap();
        if offset < LENGTH {
            let rest = range(offset, LENGTH, Some(LENGTH));
            let got = bench.ask(0, "PATCH", &at, &[("content-range", &rest)], &data[offset..]);
            prop_assert_eq!((got.status(), got.header("upload-complete")), (204, Some("?1")));
        }
        let got = bench.ask(1, "GET", &at, &[], b"");
        prop_assert!(got.body == data);
        bench.sweep();
        bench.pass(Duration::from_secs(300));
        prop_assert_eq!((bench.web.exchanges(), bench.web.uploads(), bench.web.held_bytes()), (0, 0, 0));
        prop_assert_eq!((bench.disk.partials(), bench.disk.contents.len()), (0, 1));
        bench.check();
    }
}

fn pick(open: &mut [Open], n: usize) -> Option<&mut Open> {
    let len = open.len();
    if len == 0 { None } else { open.get_mut(n % len) }
}

fn begin(
    bench: &mut Bench,
    open: &mut Vec<Open>,
    at: &str,
    (carrier, from, to): (u64, usize, usize),
    dialect: u8,
) {
    if open.len() >= 8 || from >= to {
        return;
    }
    let (text, range) = (from.to_string(), range(from, to, None));
    let headers: &[(&str, &str)] = match dialect {
        0 => &[("content-range", &range)],
        1 => &[
            ("tus-resumable", "1.0.0"),
            ("content-type", "application/offset+octet-stream"),
            ("upload-offset", &text),
        ],
        _ => &[
            ("upload-draft-interop-version", "6"),
            ("content-type", "application/partial-upload"),
            ("upload-offset", &text),
            ("upload-complete", "?0"),
        ],
    };
    let exchange = bench.head(0, carrier, "PATCH", at, headers, false);
    open.push(Open { exchange, carrier, from, to, sent: 0 });
}
