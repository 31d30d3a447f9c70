//! A few seeds, and every seed that ever failed.
#![allow(clippy::unwrap_used)]

use ntproto_sim::{FaultSet, Options, Plan, Simulator};

/// Seeds of one test run: some seconds without optimisation. CI runs thousands.
const SEEDS: u64 = 12;
const QUIC_SEEDS: u64 = 4;
const FILES_SEEDS: u64 = 20;

fn clean(simulator: &mut Simulator, plan: Plan, seed: u64, without: FaultSet) {
    let run = simulator.run(seed, &Options { without, ..Options::new(plan) });
    let what = format!("--plan {plan} --seed {seed} --without {without} --trace");
    assert_eq!(run.violation, None, "replay: cargo run --profile sim -p ntproto-sim -- {what}");
}

#[test]
fn seeds_hold() {
    let mut simulator = Simulator::new();
    (1..=SEEDS).for_each(|seed| clean(&mut simulator, Plan::Streams, seed, FaultSet::NONE));
    (1..=QUIC_SEEDS).for_each(|seed| clean(&mut simulator, Plan::Quic, seed, FaultSet::NONE));
    (1..=FILES_SEEDS).for_each(|seed| clean(&mut simulator, Plan::Files, seed, FaultSet::NONE));
}

#[test]
fn the_same_seed_is_the_same_run() {
    for (plan, seed) in
        [(Plan::Streams, 3), (Plan::Streams, 5), (Plan::Quic, 3), (Plan::Quic, 5), (Plan::Files, 3)]
    {
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
        let (plan, seed, without) = match words[..] {
            [plan, seed] => (plan, seed, ""),
            [plan, seed, "without", without] => (plan, seed, without),
            [] => continue,
            _ => panic!("what is {line:?}?"),
        };
        let plan = Plan::parse(plan).unwrap();
        clean(&mut simulator, plan, seed.parse().unwrap(), FaultSet::parse(without).unwrap());
    }
}
