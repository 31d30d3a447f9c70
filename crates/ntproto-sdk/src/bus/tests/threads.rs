//! Real threads: publishers, subscribers of every kind, and those that come and go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;

use super::*;

const PUBLISHERS: u64 = 3;
const EVENTS: u64 = 20_000;

/// Who published it, and its number there.
type Numbered = (u64, u64);

/// What one subscriber saw: events of each publisher in order, and how many it missed.
#[derive(Default)]
struct Log {
    last: BTreeMap<u64, u64>,
    got: u64,
    missed: u64,
}

impl Log {
    fn take(&mut self, delivery: Delivery<Numbered>) {
        match delivery {
            Delivery::Event(event) => {
                let (publisher, n) = *event;
                let before = self.last.insert(publisher, n);
                assert!(before.is_none_or(|before| before < n), "in order and once");
                self.got += 1;
            }
            Delivery::Lagged(missed) => {
                assert!(missed > 0);
                self.missed += missed;
            }
        }
    }
}

fn drain(mut subscriber: Subscriber<Numbered>) -> (Log, Option<End>) {
    let mut log = Log::default();
    while let Some(delivery) = subscriber.recv_blocking() {
        log.take(delivery);
    }
    (log, subscriber.why_ended())
}

#[test]
fn nothing_is_lost_unsaid_or_doubled_and_nobody_sleeps_for_ever() {
    let topic = Topic::new();
    let (stop, handled) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let all = [1, 2, 7, 64, 1 << 20].map(|bound| topic.subscribe(lossy(bound)));
        let readers = all.map(|subscriber| scope.spawn(|| drain(subscriber)));
        let strict = topic.subscribe(strict(16));
        let strict = scope.spawn(|| drain(strict));
        let handling = topic.handle(lossy(1 << 20), |delivery| {
            assert!(matches!(delivery, Delivery::Event(_)));
            handled.fetch_add(1, Ordering::Relaxed);
            async {}
        });
        let handler = scope.spawn(|| handling.run_blocking());
        // Some come, take a little, and go; some are thrown out from elsewhere, asleep or not.
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let mut brief = topic.subscribe(lossy(3));
                let subscription = brief.subscription();
                let asleep = scope.spawn(move || while brief.recv_blocking().is_some() {});
                thread::yield_now();
                subscription.unsubscribe();
                asleep.join().unwrap();
            }
        });
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                let topic = topic.clone();
                scope.spawn(move || (0..EVENTS).for_each(|n| assert!(topic.publish((publisher, n)).is_ok())))
            })
            .collect();
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
        stop.store(true, Ordering::Relaxed);
        let closing = topic.close();
        super::subscriber::block_on(closing);
        assert_eq!(handled.load(Ordering::Relaxed), PUBLISHERS * EVENTS, "closing waited for all of it");
        assert_eq!(handler.join().unwrap(), Handled { end: End::Closed, panics: 0 });
        for reader in readers {
            let (log, end) = reader.join().unwrap();
            assert_eq!((log.got + log.missed, end), (PUBLISHERS * EVENTS, Some(End::Closed)));
        }
        let (log, end) = strict.join().unwrap();
        assert!(log.missed == 0 && matches!(end, Some(End::Closed | End::TooSlow)));
        assert!(end != Some(End::Closed) || log.got == PUBLISHERS * EVENTS);
    });
    assert_eq!((topic.held(), topic.subscribers()), (0, 0));
}
