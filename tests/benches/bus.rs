//! One publisher and many subscribers: our topic beside `tokio::sync::broadcast`, in one run.
//!
//! `cargo bench -p ntproto-tests --bench bus [-- ROUNDS]`. The sides take short turns, and each keeps its fastest. Timing
//! is no test.
//!
//! Three ways: "taken" publishes some and lets each subscriber take them, all on one thread, so that nothing but the two
//! is measured; "woken" runs the subscribers as tasks that sleep in between; "unread" has subscribers that never read, so
//! every event pushes an older one out.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ntproto_sdk::bus::{Delivery, Limits, Subscriber, Topic};
use tokio::runtime::Builder;
use tokio::sync::broadcast;

/// Subscribers.
const COUNTS: [usize; 3] = [1, 8, 64];
/// Events that wait at most.
const BOUND: usize = 1024;
/// Events published together.
const BATCH: usize = 64;
/// How long a turn is.
const TURN: Duration = Duration::from_millis(20);
/// Turns each side gets, unless said otherwise.
const ROUNDS: usize = 25;

/// As large as a small message: events are shared, not copied, on both sides.
type Event = [u64; 8];

/// Publishes a batch, and lets those who read take it.
type Step = Box<dyn FnMut()>;

fn limits() -> Limits {
    Limits::lossy(NonZeroUsize::new(BOUND).unwrap())
}

fn event(n: usize) -> Event {
    [n as u64; 8]
}

fn ours_taken(count: usize) -> Step {
    let topic = Topic::new();
    let mut subscribers: Vec<Subscriber<Event>> = (0..count).map(|_| topic.subscribe(limits())).collect();
    Box::new(move || {
        (0..BATCH).for_each(|n| {
            topic.publish(event(n)).unwrap();
        });
        for subscriber in &mut subscribers {
            for _ in 0..BATCH {
                let Ok(Delivery::Event(event)) = subscriber.try_recv() else { panic!("it is there") };
                black_box(event[0]);
            }
        }
    })
}

fn tokio_taken(count: usize) -> Step {
    let (publish, _) = broadcast::channel::<Arc<Event>>(BOUND);
    let mut subscribers: Vec<_> = (0..count).map(|_| publish.subscribe()).collect();
    Box::new(move || {
        (0..BATCH).for_each(|n| {
            publish.send(Arc::new(event(n))).unwrap();
        });
        for subscriber in &mut subscribers {
            for _ in 0..BATCH {
                black_box(subscriber.try_recv().unwrap()[0]);
            }
        }
    })
}

fn ours_unread(count: usize) -> Step {
    let topic = Topic::new();
    let subscribers: Vec<Subscriber<Event>> = (0..count).map(|_| topic.subscribe(limits())).collect();
    Box::new(move || {
        (0..BATCH).for_each(|n| {
            topic.publish(event(n)).unwrap();
        });
        black_box(&subscribers);
    })
}

fn tokio_unread(count: usize) -> Step {
    let (publish, _) = broadcast::channel::<Arc<Event>>(BOUND);
    let subscribers: Vec<_> = (0..count).map(|_| publish.subscribe()).collect();
    Box::new(move || {
        (0..BATCH).for_each(|n| {
            publish.send(Arc::new(event(n))).unwrap();
        });
        black_box(&subscribers);
    })
}

/// Publishes a batch and yields, until it is told to stop.
fn woken(publish: impl Fn(usize), spawn: impl Fn(&tokio::task::LocalSet)) -> f64 {
    let runtime = Builder::new_current_thread().build().unwrap();
    let tasks = tokio::task::LocalSet::new();
    spawn(&tasks);
    tasks.block_on(&runtime, async {
        // Everybody sleeps.
        tokio::task::yield_now().await;
        let (start, mut published) = (Instant::now(), 0);
        while start.elapsed() < TURN {
            (0..BATCH).for_each(&publish);
            published += BATCH;
            tokio::task::yield_now().await;
        }
        published as f64 / start.elapsed().as_secs_f64()
    })
}

fn ours_woken(count: usize) -> f64 {
    let topic = Topic::new();
    let inside = topic.clone();
    woken(
        move |n| {
            topic.publish(event(n)).unwrap();
        },
        move |tasks| {
            for _ in 0..count {
                let mut subscriber = inside.subscribe(limits());
                tasks.spawn_local(async move {
                    while let Some(delivery) = subscriber.recv().await {
                        black_box(&delivery);
                    }
                });
            }
        },
    )
}

fn tokio_woken(count: usize) -> f64 {
    let (publish, _) = broadcast::channel::<Arc<Event>>(BOUND);
    let inside = publish.clone();
    woken(
        move |n| {
            publish.send(Arc::new(event(n))).unwrap();
        },
        move |tasks| {
            for _ in 0..count {
                let mut subscriber = inside.subscribe();
                tasks.spawn_local(async move {
                    while let Ok(event) = subscriber.recv().await {
                        black_box(&event);
                    }
                });
            }
        },
    )
}

/// Events published a second in one turn.
fn turn(step: &mut Step) -> f64 {
    let (start, mut published) = (Instant::now(), 0);
    while start.elapsed() < TURN {
        step();
        published += BATCH;
    }
    published as f64 / start.elapsed().as_secs_f64()
}

fn compare(way: &str, count: usize, rounds: usize, mut sides: [Box<dyn FnMut() -> f64>; 2]) {
    let mut best = [0f64; 2];
    for _ in 0..rounds {
        for (best, side) in best.iter_mut().zip(&mut sides) {
            *best = best.max(side());
        }
    }
    let ns = best.map(|rate| 1e9 / rate);
    println!("{way:<8} {count:>11} {:>12.0} {:>12.0} {:>9.2}", ns[0], ns[1], ns[0] / ns[1]);
}

fn main() {
    let rounds: usize = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(ROUNDS);
    println!("ns an event, published and taken by all; {BATCH} at a time");
    println!("{:<8} {:>11} {:>12} {:>12} {:>9}", "way", "subscribers", "Topic", "broadcast", "ratio");
    for count in COUNTS {
        let (mut ours, mut theirs) = (ours_taken(count), tokio_taken(count));
        compare(
            "taken",
            count,
            rounds,
            [Box::new(move || turn(&mut ours)), Box::new(move || turn(&mut theirs))],
        );
    }
    for count in COUNTS {
        compare(
            "woken",
            count,
            rounds,
            [Box::new(move || ours_woken(count)), Box::new(move || tokio_woken(count))],
        );
    }
    for count in COUNTS {
        let (mut ours, mut theirs) = (ours_unread(count), tokio_unread(count));
        compare(
            "unread",
            count,
            rounds,
            [Box::new(move || turn(&mut ours)), Box::new(move || turn(&mut theirs))],
        );
    }
}
