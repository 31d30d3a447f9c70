//! A state machine of one's own, around the core's client, against everything that can go wrong: the worked example of
//! `docs/fuzzing.md`. The machine and its world are those of the property test.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use ntproto_fuzz::STUB;

#[path = "../../tests/tests/embedding/tally.rs"]
mod tally;
#[path = "../../tests/tests/embedding/world.rs"]
mod world;

use world::{Op, World};

/// Operations of one input: more make it slow, not better.
const MAX_OPS: usize = 200;

/// One operation out of the fuzzer's bytes; `None` at their end.
fn op(u: &mut Unstructured<'_>) -> Option<Op> {
    if u.is_empty() {
        return None;
    }
    let who = u8::arbitrary(u).ok()?;
    let (a, b) = (u8::arbitrary(u).ok()?, u16::arbitrary(u).ok()?);
    Some(match who >> 1 & 7 {
        0 | 1 => Op::Deliver { who, pieces: a % 16, size: b },
        2 => Op::Disk { who, jobs: a % 8 },
        3 => Op::Send { who, len: b % 1_000 },
        4 => Op::Later { ms: b },
        5 => Op::Garble { who, up: a % 2 == 0, at: b, by: a | 1 },
        6 => Op::Cut { who },
        _ => Op::Crash { who },
    })
}

fuzz_target!(|data: &[u8]| {
    let mut u = Unstructured::new(data);
    let mut world = World::new(&STUB);
    for op in std::iter::from_fn(|| op(&mut u)).take(MAX_OPS) {
        world.op(&op);
    }
    world.finish();
});
