//! Every planted bug is found, soon.
#![cfg(feature = "planted")]

use ntproto_sim::plant::Plant;
use ntproto_sim::{Options, Plan, Simulator};

/// A planted bug must be found within so many seeds.
const WITHIN: u64 = 2_000;

/// Byte streams there are not TCP's.
const NOT_IN_STREAMS: [Plant; 1] = [Plant::StreamLosesBytes];
/// Over QUIC and TCP: a run takes longer, and nobody forges frames or steals credentials there.
const WITHIN_QUIC: u64 = 1_000;
const NOT_IN_QUIC: [Plant; 2] = [Plant::TagIgnored, Plant::RevocationForgotten];

/// Transfers are few and long.
const WITHIN_FILES: u64 = 200;

/// What messages are hunted for.
fn of_messages(but: &[Plant]) -> Vec<Plant> {
    let theirs = |plant: &Plant| !but.contains(plant) && !Plant::OF_FILES.contains(plant);
    Plant::ALL.iter().copied().filter(theirs).collect()
}

fn hunt(plan: Plan, within: u64, plants: &[Plant]) {
    let mut missed = Vec::new();
    for plant in plants.iter().copied() {
        let options = Options { plant: Some(plant), ..Options::new(plan) };
        let mut simulator = Simulator::new();
        let found = (1..=within).find_map(|seed| Some((seed, simulator.run(seed, &options).violation?)));
        match found {
            Some((seed, violation)) => println!("{plan:<7} {plant:<26} seed {seed:>4} {violation}"),
            None => missed.push(plant),
        }
    }
    assert!(missed.is_empty(), "{plan}: not found within {within} seeds: {missed:?}");
}

#[test]
fn every_planted_bug_is_found() {
    hunt(Plan::Streams, WITHIN, &of_messages(&NOT_IN_STREAMS));
    hunt(Plan::Quic, WITHIN_QUIC, &of_messages(&NOT_IN_QUIC));
}

#[test]
fn every_planted_bug_of_files_is_found() {
    hunt(Plan::Files, WITHIN_FILES, &Plant::OF_FILES);
}
