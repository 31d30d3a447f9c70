//! The difference of two lists of members, by a walk over both, as a ratio against a difference by hash map.
//!
//! `cargo bench -p ntproto-tests --bench difference`. The sides take short turns, and each keeps its fastest.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use ntproto_core::ids::Uin;
use ntproto_core::model::members::{Change, apply, diff};
use ntproto_proto::v2::Member;

/// What most programs would write.
fn by_hash_map(old: &[Member], new: &[Member]) -> Vec<Change> {
    let mut before: HashMap<u64, &Member> = old.iter().map(|member| (member.uin, member)).collect();
    let mut changes = Vec::new();
    for member in new {
        match before.remove(&member.uin) {
            None => changes.push(Change::Add(member.clone())),
            Some(old) if old != member => changes.push(Change::Update(member.clone())),
            Some(_) => {}
        }
    }
    changes.extend(before.into_keys().map(|uin| Change::Remove(Uin(uin))));
    changes
}

fn list(count: u64) -> Vec<Member> {
    (0..count)
        .map(|n| Member {
            uin: 10_001 + n * 3,
            nick: format!("member {n}"),
            joined_ms: n,
            ..Default::default()
        })
        .collect()
}

/// One in so many is gone, one new, one another.
fn changed(old: &[Member], one_in: usize) -> Vec<Member> {
    let mut new = Vec::with_capacity(old.len());
    for (n, member) in old.iter().enumerate() {
        match n % one_in {
            0 => {}
            1 => new.push(Member { role: 1, ..member.clone() }),
            2 => new.extend([member.clone(), Member { uin: member.uin + 1, ..member.clone() }]),
            _ => new.push(member.clone()),
        }
    }
    new
}

/// The fastest of many turns of each side, in nanoseconds a call.
fn race<R, S>(mut ours: impl FnMut() -> R, mut theirs: impl FnMut() -> S) -> (f64, f64) {
    let mut best = [Duration::MAX; 2];
    let start = Instant::now();
    black_box((ours(), theirs()));
    let calls = (Duration::from_micros(200).as_nanos() / start.elapsed().as_nanos().max(1)).max(1) as u32;
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        let turn = Instant::now();
        for _ in 0..calls {
            black_box(ours());
        }
        best[0] = best[0].min(turn.elapsed() / calls);
        let turn = Instant::now();
        for _ in 0..calls {
            black_box(theirs());
        }
        best[1] = best[1].min(turn.elapsed() / calls);
    }
    (best[0].as_nanos() as f64, best[1].as_nanos() as f64)
}

fn main() {
    println!(
        "{:<12} {:<22} {:>14} {:>14} {:>6}",
        "members", "what differs", "diff, ns each", "hash map", "ratio"
    );
    for count in [10, 1_000, 100_000] {
        let old = list(count);
        for (what, new) in
            [("nothing", old.clone()), ("three in a hundred", changed(&old, 100)), ("all", list(0))]
        {
            let ours = diff(&old, &new);
            assert_eq!(apply(&old, ours.clone()), new);
            assert_eq!(by_hash_map(&old, &new).len(), ours.len());
            let (ours, theirs) = race(|| diff(&old, &new), || by_hash_map(&old, &new));
            let each = count as f64;
            println!(
                "{count:<12} {what:<22} {:>14.1} {:>14.1} {:>6.2}",
                ours / each,
                theirs / each,
                ours / theirs
            );
        }
    }
}
