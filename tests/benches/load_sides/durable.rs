//! End to end with durable acknowledgement: 256 senders with one message in flight each, a server process with
//! its store on this machine's disk, beside the same transactions fed straight to the store at the same batch size.

use std::path::Path;
use std::time::{Duration, Instant};

use ntproto_hub::store::{Store, Txn};
use ntproto_server::store::redb::{DEFAULT_CACHE, RedbStore};

use super::sessions::{Plan, Sessions};
use super::{Counts, ServerProcess};
use crate::appends::{BODY, append, devices};

const SENDERS: usize = 256;
const ROUNDS: usize = 3;
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURE: Duration = Duration::from_secs(5);

/// Messages a second, the messages of a commit, and the latency of a message in commits.
struct EndToEnd {
    rate: f64,
    batch: f64,
    p50: Duration,
    p99: Duration,
    commit: Duration,
}

fn end_to_end(dir: &Path) -> EndToEnd {
    let mut server = ServerProcess::start(dir);
    let connect = server.connect.clone();
    let mut marks: Vec<Counts> = Vec::new();
    let plan = Plan::Send { body: BODY, warm_up: WARM_UP, measure: MEASURE };
    let result = Sessions::run(&connect, SENDERS, plan, || marks.push(server.counts()));
    let [_, begin, end] = marks[..] else { panic!("{} marks", marks.len()) };
    let batches = (end.batches - begin.batches) as f64;
    let at = |p: usize| result.latencies[(result.latencies.len() - 1) * p / 100];
    EndToEnd {
        rate: result.messages as f64 / result.elapsed.as_secs_f64(),
        batch: (end.transactions - begin.transactions) as f64 / batches,
        p50: at(50),
        p99: at(99),
        commit: result.elapsed.div_f64(batches),
    }
}

/// The same appends, `batch` a commit, with nothing before the store.
fn straight(dir: &Path, batch: usize) -> f64 {
    let mut store = RedbStore::open(&dir.join("straight.redb"), DEFAULT_CACHE).unwrap();
    let devices = devices(&mut store, SENDERS);
    let mut n = 0;
    let mut one = || {
        n += 1;
        append(&devices, n)
    };
    let (mut begin, mut count) = (Instant::now(), 0);
    let mut warm = false;
    loop {
        let txns: Vec<Txn> = (0..batch).map(|_| one()).collect();
        assert!(store.commit(&txns).iter().all(std::result::Result::is_ok));
        count += batch;
        if !warm && begin.elapsed() >= WARM_UP {
            (warm, count, begin) = (true, 0, Instant::now());
        } else if warm && begin.elapsed() >= MEASURE {
            return count as f64 / begin.elapsed().as_secs_f64();
        }
    }
}

/// Runs the rounds with their files below `parent`, and prints them.
pub fn run(parent: Option<&Path>) {
    println!("{SENDERS} senders, one message of {BODY} B in flight each");
    println!(
        "{:>10} {:>8} {:>11} {:>6} {:>9} {:>9} {:>10} {:>12}",
        "messages/s", "a commit", "straight/s", "ratio", "p50 ms", "p99 ms", "commit ms", "p99, commits"
    );
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let temp = match parent {
            Some(parent) => tempfile::tempdir_in(parent).unwrap(),
            None => tempfile::tempdir().unwrap(),
        };
        let ours = end_to_end(&temp.path().join("server"));
        let theirs = straight(temp.path(), ours.batch.round() as usize);
        ratios.push(ours.rate / theirs);
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        println!(
            "{:>10.0} {:>8.0} {:>11.0} {:>6.2} {:>9.2} {:>9.2} {:>10.2} {:>12.1}",
            ours.rate,
            ours.batch,
            theirs,
            ours.rate / theirs,
            ms(ours.p50),
            ms(ours.p99),
            ms(ours.commit),
            ours.p99.as_secs_f64() / ours.commit.as_secs_f64()
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2}; the bar is 0.8, and p99 within 3 commits", ratios[ratios.len() / 2]);
}
