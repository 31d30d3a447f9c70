//! Every planted bug is found, soon.
#![cfg(feature = "planted")]

use ntproto_sim::plant::Plant;
use ntproto_sim::{Options, Plan, Simulator};

/// A planted bug must be found within so many seeds.
const WITHIN: u64 = 2_000;

#[test]
fn every_planted_bug_is_found() {
    let mut table = String::new();
    let mut missed = Vec::new();
    for plant in Plant::ALL.iter().copied() {
        let options = Options { plant: Some(plant), ..Options::new(Plan::Streams) };
        let mut simulator = Simulator::new();
        let found = (1..=WITHIN).find_map(|seed| Some((seed, simulator.run(seed, &options).violation?)));
        match found {
            Some((seed, violation)) => table += &format!("{plant:<26} seed {seed:>4} {violation}\n"),
            None => missed.push(plant),
        }
    }
    println!("{table}");
    assert!(missed.is_empty(), "not found within {WITHIN} seeds: {missed:?}");
}
