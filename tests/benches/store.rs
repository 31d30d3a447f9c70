//! The store on this machine's disk: messages appended by batch size, through the whole transaction, beside
//! one bare record each in redb under the same promise and under redb's weaker default; and pages read.
//!
//! `cargo bench -p ntproto-tests --bench store [-- DIR]`; DIR is where the files go.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod appends;

use std::path::Path;
use std::time::{Duration, Instant};

use appends::{BODY, append, devices};
use ntproto_hub::store::txn::DeviceInfo;
use ntproto_hub::store::{Outcome, Store, Txn};
use ntproto_server::store::redb::{DEFAULT_CACHE, RedbStore};
use redb::{Database, TableDefinition};

const ROUND: Duration = Duration::from_secs(2);
const ACCOUNTS: usize = 32;
const BARE: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("bare");

fn main() {
    let folder = match std::env::args().skip(1).find(|arg| !arg.starts_with('-')) {
        Some(folder) => tempfile::tempdir_in(folder).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    println!("{BODY} bytes a message, one writer, {} s a figure", ROUND.as_secs());
    println!("{:>8} {:>14} {:>16} {:>16}", "batch", "messages/s", "bare records/s", "one-phase, bare");
    for batch in [1, 16, 64, 256, 1_024] {
        let whole = appends(folder.path(), batch);
        let (two, one) = (bare(folder.path(), batch, true), bare(folder.path(), batch, false));
        println!("{batch:>8} {whole:>14.0} {two:>16.0} {one:>16.0}");
    }
    println!("pages of 50: {:.0} messages/s read", pages(folder.path()));
}

/// How often a second `step` runs, times `batch`.
fn rate(batch: usize, mut step: impl FnMut()) -> f64 {
    (0..3).for_each(|_| step());
    let (begin, mut steps) = (Instant::now(), 0);
    while begin.elapsed() < ROUND {
        step();
        steps += 1;
    }
    (steps * batch) as f64 / begin.elapsed().as_secs_f64()
}

fn open(folder: &Path, name: &str) -> (RedbStore, Vec<DeviceInfo>) {
    let mut store = RedbStore::open(&folder.join(name), DEFAULT_CACHE).unwrap();
    let devices = devices(&mut store, ACCOUNTS);
    (store, devices)
}

fn appends(folder: &Path, batch: usize) -> f64 {
    let (mut store, devices) = open(folder, &format!("appends-{batch}"));
    let mut n = 0;
    rate(batch, || {
        let txns: Vec<Txn> = (0..batch)
            .map(|_| {
                n += 1;
                append(&devices, n)
            })
            .collect();
        assert!(store.commit(&txns).iter().all(Result::is_ok));
    })
}

fn bare(folder: &Path, batch: usize, two_phase: bool) -> f64 {
    let database = Database::create(folder.join(format!("bare-{batch}-{two_phase}"))).unwrap();
    let mut n = 0_u64;
    rate(batch, || {
        let mut txn = database.begin_write().unwrap();
        txn.set_two_phase_commit(two_phase);
        txn.set_quick_repair(two_phase);
        let mut table = txn.open_table(BARE).unwrap();
        for _ in 0..batch {
            n += 1;
            table.insert(&n.to_be_bytes()[..], &[7; BODY][..]).unwrap();
        }
        drop(table);
        txn.commit().unwrap();
    })
}

fn pages(folder: &Path) -> f64 {
    let (mut store, devices) = open(folder, "pages");
    for first in (0..100_000).step_by(1_000) {
        let txns: Vec<Txn> = (first..first + 1_000).map(|n| append(&devices, n)).collect();
        store.commit(&txns);
    }
    let (mut cursor, mut turn) = (0, 0);
    rate(50, || {
        let uin = devices[turn % devices.len()].uin;
        let epoch = Some([0; 16]);
        let page = Txn::SyncPage {
            uin,
            epoch,
            cursor,
            limit: 50,
            max_bytes: 1 << 20,
            max_lag: u64::MAX,
            place: false,
        };
        match store.commit(&[page]).pop() {
            Some(Ok(Outcome::Page { next, has_more, .. })) => {
                cursor = if has_more { next } else { 0 };
                turn += usize::from(!has_more);
            }
            other => panic!("{other:?}"),
        }
    })
}
