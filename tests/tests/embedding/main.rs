//! A state machine of one's own, held against everything that can go wrong: see `docs/property-testing.md`.
#![allow(clippy::unwrap_used, unreachable_pub, missing_docs)]

mod tally;
mod world;

use ntproto_core::client::{ClientConfig, Saved};
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::rng::Rng;
use ntproto_core::time::{Instant, Now, UnixMillis};
use ntproto_strategies::client::{inbound, input};
use proptest::prelude::*;
use tally::{Machine, Output, Tally};
use world::{Op, World};

fn op() -> impl Strategy<Value = Op> {
    let who = || 0..2u8;
    prop_oneof![
        4 => (who(), 0..600u16).prop_map(|(who, len)| Op::Send { who, len }),
        6 => (who(), 0..8u8, prop_oneof![Just(u16::MAX), 1..400u16])
            .prop_map(|(who, pieces, size)| Op::Deliver { who, pieces, size }),
        4 => (who(), 0..6u8).prop_map(|(who, jobs)| Op::Disk { who, jobs }),
        2 => (0..3_000u16).prop_map(|ms| Op::Later { ms }),
        1 => (who(), any::<bool>(), any::<u16>(), 1..=u8::MAX)
            .prop_map(|(who, up, at, by)| Op::Garble { who, up, at, by }),
        1 => who().prop_map(|who| Op::Cut { who }),
        2 => who().prop_map(|who| Op::Crash { who }),
    ]
}

/// The application alone: no client is needed to hold it against whatever it may be told.
#[test]
fn a_position_counts_once() {
    proptest!(|(told in prop::collection::vec(inbound(), 0..40))| {
        let (mut tally, mut model, mut highest) = (Tally::default(), 0, 0);
        for inbound in &told {
            tally.count(inbound);
            model += u64::from(inbound.position > highest);
            highest = highest.max(inbound.position);
        }
        prop_assert_eq!(tally.counts.values().sum::<u64>(), model);
    });
}

/// The machine alone: a host that says nonsense gets no panic out of it, and no end of outputs.
#[test]
fn nonsense_is_absorbed() {
    let keys = DeviceKeys::generate(&mut Rng::new([1; 32]), &RUSTCRYPTO);
    proptest!(|(inputs in prop::collection::vec((input(), 0..60_000u64), 0..30))| {
        let mut now = Now { mono: Instant::from_micros(1), unix: UnixMillis(1) };
        let config = ClientConfig::new(&RUSTCRYPTO, [9; 32], keys.duplicate());
        let mut machine = Machine::new(config, Saved::default(), Tally::default(), [2; 32], now);
        for (input, ms) in &inputs {
            now.mono = now.mono + std::time::Duration::from_millis(*ms);
            machine.handle(now, input.borrow());
            let waits = (0..100).any(|_| matches!(machine.poll_output(now, None), Output::Wait(_)));
            prop_assert!(waits);
        }
    });
}

// ANCHOR: property
proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Streams in pieces, bytes that change, connections that break, disks that lag, processes that die: every message
    /// that was stored is counted once.
    #[test]
    fn every_message_is_counted_once(ops in prop::collection::vec(op(), 0..150)) {
        let mut world = World::new(&RUSTCRYPTO);
        for op in &ops {
            world.op(op);
        }
        world.finish();
    }
}
// ANCHOR_END: property
