//! The memory store: conformance, faults, and a comparison with a naive model.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use ntproto_core::time::UnixMillis;
use ntproto_hub::store::conformance::{self, Disk};
use ntproto_hub::store::memory::MemoryStore;
use ntproto_hub::store::verify::verify;
use ntproto_hub::store::{Outcome, Store, StoreError, Txn};

/// A memory store that outlives its handles; opening it again is a power cut.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<MemoryStore>>);

impl Store for Shared {
    /// Looks at the whole store as well: what was refused, or only reads, left no trace, and its records fit each other.
    fn commit(&mut self, batch: &[Txn]) -> Vec<Result<Outcome, StoreError>> {
        let mut store = self.0.lock().unwrap();
        let small = store.used() < 1 << 20;
        let before = small.then(|| store.tables().clone());
        let answers = store.commit(batch);
        let unchanged = batch.iter().zip(&answers).all(|(txn, answer)| txn.is_read() || answer.is_err());
        if let Some(before) = before {
            assert!(!unchanged || *store.tables() == before, "{batch:?} left a trace");
            let verified = verify(store.tables(), &mut |_| true).unwrap();
            assert!(verified.complete);
            assert_eq!(verified.faults, [], "after {batch:?}");
        }
        answers
    }
}

impl Disk for Shared {
    fn open(&mut self) -> Box<dyn Store> {
        self.0.lock().unwrap().crash(false);
        Box::new(self.clone())
    }
}

#[test]
fn the_memory_store_conforms() {
    conformance::run(&mut || Box::new(Shared::default()));
}

fn floor(at: u64) -> Txn {
    Txn::SetClockFloor { at: UnixMillis(at) }
}

fn floor_of(store: &mut MemoryStore) -> u64 {
    match store.commit(&[floor(0)]).pop() {
        Some(Ok(Outcome::ClockFloor { floor })) => floor.0,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_power_cut_keeps_what_was_synced_and_all_or_nothing_of_the_rest() {
    for keep in [false, true] {
        let mut store = MemoryStore::new();
        store.commit(&[floor(1)]);
        let used = store.used();
        store.write(&[floor(2), floor(3)]);
        store.write(&[floor(4)]);
        assert!(store.is_dirty());
        store.crash(keep);
        assert!(!store.is_dirty());
        assert_eq!(store.used(), used);
        assert_eq!(floor_of(&mut store), if keep { 4 } else { 1 });
    }
}

#[test]
fn after_a_failed_fsync_everything_is_refused_until_reopened() {
    for keep in [false, true] {
        let mut store = MemoryStore::new();
        store.commit(&[floor(1)]);
        store.fail_next_sync();
        assert_eq!(store.commit(&[floor(2), floor(3)]), vec![Err(StoreError::Unavailable); 2]);
        assert_eq!(store.commit(&[floor(4)]), [Err(StoreError::Unavailable)]);
        assert_eq!(store.sync(), Err(StoreError::Unavailable));
        store.crash(keep);
        assert_eq!(floor_of(&mut store), if keep { 3 } else { 1 });
    }
}

#[test]
fn a_full_disk_refuses_the_batch_whole_and_works_again_with_room() {
    let mut store = MemoryStore::new();
    store.commit(&[floor(1)]);
    store.set_capacity(store.used());
    let boot = Txn::Boot { wall: UnixMillis(9), epoch: [1; 16] };
    assert_eq!(store.commit(&[floor(2), boot.clone()]), vec![Err(StoreError::Full); 2]);
    assert_eq!(floor_of(&mut store), 1);
    store.set_capacity(usize::MAX);
    assert!(store.commit(&[boot]).iter().all(Result::is_ok));
}
