//! A few seeds, and every seed that ever failed.
#![allow(clippy::unwrap_used)]

use ntproto_sim::{Options, Plan, Simulator};

/// Seeds of one test run: some seconds without optimisation. CI runs thousands.
const SEEDS: u64 = 12;
const QUIC_SEEDS: u64 = 4;

fn clean(simulator: &mut Simulator, plan: Plan, seed: u64) {
    let run = simulator.run(seed, &Options::new(plan));
    let replay = format!("cargo run --profile sim -p ntproto-sim -- --plan {plan} --seed {seed} --trace");
    assert_eq!(run.violation, None, "replay: {replay}");
}

#[test]
fn seeds_hold() {
    let mut simulator = Simulator::new();
    (1..=SEEDS).for_each(|seed| clean(&mut simulator, Plan::Streams, seed));
    (1..=QUIC_SEEDS).for_each(|seed| clean(&mut simulator, Plan::Quic, seed));
}

#[test]
fn the_same_seed_is_the_same_run() {
    for (plan, seed) in [(Plan::Streams, 3), (Plan::Streams, 5), (Plan::Quic, 3), (Plan::Quic, 5)] {
        let options = Options::new(plan);
        let run = Simulator::new().run(seed, &options);
        assert_eq!(Simulator::new().run(seed, &options), run);
        assert_ne!(Simulator::new().run(seed + 1, &options).hash, run.hash);
    }
}

#[test]
fn what_failed_once_holds() {
    let mut simulator = Simulator::new();
    for line in include_str!("regressions.txt").lines() {
        let words: Vec<_> = line.split('#').next().unwrap().split_whitespace().collect();
        match words[..] {
            ["streams", seed] => clean(&mut simulator, Plan::Streams, seed.parse().unwrap()),
            ["quic", seed] => clean(&mut simulator, Plan::Quic, seed.parse().unwrap()),
            [] => {}
            _ => panic!("what is {line:?}?"),
        }
    }
}
