//! Presence, checked whole: four devices of one account against a compare-and-swap, in every order of their steps. What is run
//! is the real record of `ntproto_core::presence`.
//!
//! `cargo test -p ntproto-tests --test presence -- --nocapture` tells what was checked; `docs/presence.md` shows it.
#![allow(clippy::unwrap_used, missing_docs)]

mod world;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use stateright::{Checker as _, HasDiscoveries, Model as _};
use world::{LOSERS_LEARN, ONE_ONLINE, Presence, Store, World};

#[test]
fn in_every_order_of_steps() {
    let model = Presence { store: Store::Swaps };
    let checker = model.clone().checker().symmetry_fn(World::canonical).spawn_dfs().join();
    let mut report = String::new();
    let (states, ways) = (checker.unique_state_count(), checker.state_count());
    writeln!(
        report,
        "{states} states, {ways} steps into them, the longest way has {}\n",
        checker.max_depth()
    )
    .unwrap();
    let mut all = true;
    for property in model.properties() {
        let found = checker.discovery(property.name).is_some();
        let holds = found != property.expectation.discovery_is_failure();
        let kind = format!("{:?}", property.expectation).to_lowercase();
        writeln!(report, "{kind:<9} {:<52} {}", property.name, if holds { "holds" } else { "BROKEN" })
            .unwrap();
        all &= holds;
    }
    println!("{report}");
    assert!(all, "{report}");
    insta::assert_snapshot!("report", report);
}

/// The shortest way to what a store breaks: one more step at a time is allowed until there is one.
fn counterexample(store: Store, property: &'static str) -> String {
    let deeper = (2..20).find_map(|depth| {
        let wanted = HasDiscoveries::AllOf(BTreeSet::from([property]));
        let checker = Presence { store }.checker().finish_when(wanted).target_max_depth(depth);
        checker.spawn_bfs().join().discovery(property)
    });
    let path = deeper.expect("the checker finds it");
    let mut trace = format!("broken: {property}\n");
    for (state, step) in path.into_vec() {
        writeln!(trace, "    {state}").unwrap();
        if let Some(step) = step {
            writeln!(trace, "{step}").unwrap();
        }
    }
    println!("{trace}");
    trace
}

/// The same with what the compare is for left out: the checker must find it.
#[test]
fn a_store_that_does_not_compare_is_found_out() {
    insta::assert_snapshot!("does_not_compare", counterexample(Store::DoesNotCompare, ONE_ONLINE));
}

/// And one that compares, but keeps the outcome to itself.
#[test]
fn a_store_that_tells_no_loser_is_found_out() {
    insta::assert_snapshot!("tells_nobody", counterexample(Store::TellsNobody, LOSERS_LEARN));
}
