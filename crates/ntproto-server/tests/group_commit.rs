//! Group commit: what arrives together is committed together, in order, and all of it is answered.
#![allow(clippy::unwrap_used)]

use std::sync::mpsc::{Receiver, Sender, channel};

use ntproto_core::ids::Uin;
use ntproto_core::time::UnixMillis;
use ntproto_hub::store::{OpId, Outcome, Store, StoreError, Txn};
use ntproto_server::store::group::{Completion, Done, GroupCommit, Limits};

/// A store that waits at each commit for a word from the test, and tells how large the batch was.
struct Held {
    go: Receiver<bool>,
    sizes: Sender<usize>,
}

impl Store for Held {
    fn commit(&mut self, batch: &[Txn]) -> Vec<Result<Outcome, StoreError>> {
        self.sizes.send(batch.len()).unwrap();
        assert!(self.go.recv().unwrap(), "the test says panic");
        batch.iter().map(|_| Ok(Outcome::Done)).collect()
    }
}

struct Bench {
    group: GroupCommit,
    go: Sender<bool>,
    sizes: Receiver<usize>,
    done: Receiver<Vec<Completion>>,
}

fn bench(limits: Limits) -> Bench {
    let (go, go_in) = channel();
    let (sizes_out, sizes) = channel();
    let (done_out, done) = channel();
    let tell: Done = Box::new(move |completions| done_out.send(completions).unwrap());
    let store = Box::new(Held { go: go_in, sizes: sizes_out });
    Bench { group: GroupCommit::start(store, limits, tell).unwrap(), go, sizes, done }
}

fn txn() -> Txn {
    Txn::SetClockFloor { at: UnixMillis(1) }
}

impl Bench {
    fn submit(&self, ops: std::ops::RangeInclusive<u64>) {
        for op in ops {
            self.group.submit(OpId(op), txn(), None).unwrap();
        }
    }
}

fn ops(completions: &[Completion]) -> Vec<u64> {
    completions.iter().map(|(op, _)| op.0).collect()
}

#[test]
fn what_arrives_during_a_commit_goes_into_the_next() {
    let bench = bench(Limits::default());
    bench.submit(1..=1);
    assert_eq!(bench.sizes.recv().unwrap(), 1);
    bench.submit(2..=50);
    bench.go.send(true).unwrap();
    assert_eq!(bench.sizes.recv().unwrap(), 49);
    bench.go.send(true).unwrap();
    assert_eq!(ops(&bench.done.recv().unwrap()), [1]);
    assert_eq!(ops(&bench.done.recv().unwrap()), (2..=50).collect::<Vec<_>>());
}

#[test]
fn queue_and_batch_are_bounded() {
    let limits = Limits { queue: 5, batch: 2, ..Limits::default() };
    let bench = bench(limits);
    bench.submit(1..=1);
    bench.sizes.recv().unwrap();
    bench.submit(2..=6);
    let rejected = bench.group.submit(OpId(7), txn(), None).unwrap_err();
    assert_eq!((rejected.op, rejected.why), (OpId(7), StoreError::Unavailable));
    for size in [2, 2, 1] {
        bench.go.send(true).unwrap();
        assert_eq!(bench.sizes.recv().unwrap(), size);
    }
    bench.go.send(true).unwrap();

    let weight = txn().weight();
    let limits = Limits { queue_bytes: 3 * weight, batch_bytes: weight, ..Limits::default() };
    let by_bytes = self::bench(limits);
    by_bytes.submit(1..=1);
    by_bytes.sizes.recv().unwrap();
    by_bytes.submit(2..=4);
    assert!(by_bytes.group.submit(OpId(5), txn(), None).is_err());
    for _ in 0..3 {
        by_bytes.go.send(true).unwrap();
        assert_eq!(by_bytes.sizes.recv().unwrap(), 1);
    }
    by_bytes.go.send(true).unwrap();
}

#[test]
fn closing_commits_what_waits() {
    let bench = bench(Limits::default());
    bench.submit(1..=3);
    for _ in 0..3 {
        bench.go.send(true).unwrap();
    }
    bench.group.close();
    let told: Vec<u64> = bench.done.try_iter().flat_map(|batch| ops(&batch)).collect();
    assert_eq!(told, [1, 2, 3]);
}

#[test]
fn a_store_that_panics_is_a_store_that_failed() {
    let bench = bench(Limits::default());
    bench.submit(1..=1);
    bench.go.send(false).unwrap();
    assert_eq!(bench.done.recv().unwrap(), [(OpId(1), Err(StoreError::Unavailable))]);
    bench.group.submit(OpId(2), Txn::Devices { uin: Uin(1) }, None).unwrap();
    assert_eq!(bench.done.recv().unwrap(), [(OpId(2), Err(StoreError::Unavailable))]);
}

#[test]
fn what_is_too_late_is_not_run() {
    let bench = bench(Limits::default());
    bench.submit(1..=1);
    bench.sizes.recv().unwrap();
    let now = std::time::Instant::now();
    bench.group.submit(OpId(2), txn(), Some(now)).unwrap();
    bench.group.submit(OpId(3), txn(), Some(now + std::time::Duration::from_secs(3_600))).unwrap();
    bench.go.send(true).unwrap();
    assert_eq!(ops(&bench.done.recv().unwrap()), [1]);
    assert_eq!(bench.done.recv().unwrap(), [(OpId(2), Err(StoreError::Expired))]);
    assert_eq!(bench.sizes.recv().unwrap(), 1);
    bench.go.send(true).unwrap();
    assert_eq!(ops(&bench.done.recv().unwrap()), [3]);
}
