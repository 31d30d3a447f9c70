//! Looking handlers up while they are exchanged: two threads look up, batch after batch, and a third replaces a
//! handler each millisecond. Beside an array that never changes, `dashmap` and `RwLock<HashMap>`.
//!
//! `cargo bench -p ntproto-tests --bench routing [-- ROUNDS]`. The sides take short turns, and each keeps its fastest.
//! Timing is no test.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use ntproto_sdk::dispatch::{PacketId, Routes};

/// Threads that look up.
const READERS: usize = 2;
/// Look-ups that come together: packets of one datagram or two.
const BATCH: usize = 64;
/// Handlers there are.
const HANDLERS: u16 = 200;
/// A handler is replaced so often.
const WRITE_EVERY: Duration = Duration::from_millis(1);
/// How long a turn is.
const TURN: Duration = Duration::from_millis(30);
/// Turns each side gets, unless said otherwise.
const ROUNDS: usize = 60;

/// What stands for a handler: as large as an `Arc` of one.
type Handler = usize;

/// Looks one batch up.
type Look = Box<dyn FnMut(&[PacketId]) -> usize + Send>;

struct Side {
    name: &'static str,
    reader: Box<dyn Fn() -> Look>,
    write: Box<dyn Fn(PacketId, Handler)>,
}

fn id(n: u16) -> PacketId {
    PacketId(0x8000 + n * 7)
}

fn ids() -> impl Iterator<Item = (PacketId, Handler)> {
    (0..HANDLERS).map(|n| (id(n), usize::from(n)))
}

fn array() -> Side {
    let mut array: Vec<Option<Handler>> = vec![None; 1 << 16];
    ids().for_each(|(id, handler)| array[usize::from(id.0)] = Some(handler));
    let array: Arc<[Option<Handler>; 1 << 16]> = Arc::new(array.try_into().unwrap());
    let reader = move || {
        let array = Arc::clone(&array);
        let look = move |batch: &[PacketId]| batch.iter().filter_map(|id| array[usize::from(id.0)]).sum();
        Box::new(look) as Look
    };
    Side { name: "array that never changes", reader: Box::new(reader), write: Box::new(|_, _| ()) }
}

fn routes() -> Arc<Routes<Handler>> {
    let routes = Routes::new();
    ids().for_each(|(id, handler)| routes.register(id, handler).unwrap());
    Arc::new(routes)
}

fn ours() -> Side {
    let routes = routes();
    let writes = Arc::clone(&routes);
    let reader = move || {
        let mut reader = Routes::reader(&routes);
        let look = move |batch: &[PacketId]| {
            let snapshot = reader.snapshot();
            batch.iter().filter_map(|id| snapshot.get(*id)).sum()
        };
        Box::new(look) as Look
    };
    let write = move |id, handler| {
        writes.replace(id, handler);
    };
    Side { name: "Reader, a snapshot a batch", reader: Box::new(reader), write: Box::new(write) }
}

fn ours_without_reader() -> Side {
    let routes = routes();
    let writes = Arc::clone(&routes);
    let reader = move || {
        let routes = Arc::clone(&routes);
        let look = move |batch: &[PacketId]| {
            let snapshot = routes.snapshot();
            batch.iter().filter_map(|id| snapshot.get(*id)).sum()
        };
        Box::new(look) as Look
    };
    let write = move |id, handler| {
        writes.replace(id, handler);
    };
    Side { name: "Routes::snapshot a batch", reader: Box::new(reader), write: Box::new(write) }
}

fn dashmap() -> Side {
    let map: Arc<DashMap<u16, Handler>> = Arc::new(ids().map(|(id, handler)| (id.0, handler)).collect());
    let writes = Arc::clone(&map);
    let reader = move || {
        let map = Arc::clone(&map);
        let look = move |batch: &[PacketId]| batch.iter().filter_map(|id| map.get(&id.0).map(|h| *h)).sum();
        Box::new(look) as Look
    };
    let write = move |id: PacketId, handler| {
        writes.insert(id.0, handler);
    };
    Side { name: "dashmap", reader: Box::new(reader), write: Box::new(write) }
}

fn locked(name: &'static str, a_batch: bool) -> Side {
    let map: HashMap<u16, Handler> = ids().map(|(id, handler)| (id.0, handler)).collect();
    let map = Arc::new(RwLock::new(map));
    let writes = Arc::clone(&map);
    let reader = move || {
        let map = Arc::clone(&map);
        let look = move |batch: &[PacketId]| {
            if a_batch {
                let map = map.read().unwrap();
                return batch.iter().filter_map(|id| map.get(&id.0)).sum();
            }
            batch.iter().filter_map(|id| map.read().unwrap().get(&id.0).copied()).sum()
        };
        Box::new(look) as Look
    };
    let write = move |id: PacketId, handler| {
        writes.write().unwrap().insert(id.0, handler);
    };
    Side { name, reader: Box::new(reader), write: Box::new(write) }
}

/// Millions of look-ups a second, of all readers, in one turn.
fn turn(side: &Side) -> f64 {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|seed| {
                let (mut look, stop) = ((side.reader)(), &stop);
                scope.spawn(move || {
                    // No two batches alike, and no division between them.
                    let batches: Vec<PacketId> = (0..16 * BATCH)
                        .map(|n| id(((n * 2_654_435_761 + seed * 97) >> 7) as u16 % HANDLERS))
                        .collect();
                    let (mut looked, mut sum) = (0usize, 0usize);
                    let start = Instant::now();
                    while !stop.load(Ordering::Relaxed) {
                        for batch in batches.chunks_exact(BATCH) {
                            sum = sum.wrapping_add(look(black_box(batch)));
                        }
                        looked += batches.len();
                    }
                    black_box(sum);
                    looked as f64 / start.elapsed().as_secs_f64() / 1e6
                })
            })
            .collect();
        let start = Instant::now();
        for n in 0.. {
            if start.elapsed() >= TURN {
                break;
            }
            (side.write)(id(n % HANDLERS), n.into());
            thread::sleep(WRITE_EVERY);
        }
        stop.store(true, Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().unwrap()).sum()
    })
}

fn main() {
    let rounds: usize = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(ROUNDS);
    let sides = [
        array(),
        ours(),
        ours_without_reader(),
        locked("RwLock<HashMap>, locked a batch", true),
        dashmap(),
        locked("RwLock<HashMap>, locked a look-up", false),
    ];
    let mut best = [0f64; 6];
    for _ in 0..rounds {
        for (best, side) in best.iter_mut().zip(&sides) {
            *best = best.max(turn(side));
        }
    }
    println!("{READERS} threads that look up in batches of {BATCH}, one write a millisecond");
    println!("{:<34} {:>10} {:>7}  bar", "", "M/s", "ratio");
    for (n, side) in sides.iter().enumerate() {
        let (rate, ratio) = (best[n], best[n] / best[0]);
        let bar = match n {
            1 if ratio < 0.8 => ">= 0.80  missed",
            1 => ">= 0.80",
            _ => "-",
        };
        println!("{:<34} {rate:>10.0} {ratio:>7.3}  {bar}", side.name);
    }
}
