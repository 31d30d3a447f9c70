#![allow(clippy::unwrap_used)]
mod handlers;
mod model;
mod threads;

use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::*;

fn lossy(bound: usize) -> Limits {
    Limits::lossy(NonZeroUsize::new(bound).unwrap())
}

fn strict(bound: usize) -> Limits {
    Limits::strict(NonZeroUsize::new(bound).unwrap())
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Woken {
    fn times(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn event(n: u64) -> Option<Delivery<u64>> {
    Some(Delivery::Event(Arc::new(n)))
}

#[test]
fn every_subscriber_gets_every_event_in_order() {
    let topic = Topic::new();
    let mut subscribers: Vec<_> = (0..5).map(|_| topic.subscribe(lossy(10))).collect();
    for n in 0..10 {
        assert_eq!(topic.publish(n), Ok(5));
    }
    drop(topic);
    for subscriber in &mut subscribers {
        let got: Vec<_> = subscriber.iter().collect();
        assert_eq!(got, (0..10).map(|n| event(n).unwrap()).collect::<Vec<_>>());
        assert_eq!(subscriber.why_ended(), Some(End::Closed));
    }
}

#[test]
fn who_lags_is_told_how_much_or_is_disconnected() {
    let topic = Topic::new();
    let (mut lossy, mut strict, mut quick) =
        (topic.subscribe(lossy(2)), topic.subscribe(strict(2)), topic.subscribe(strict(5)));
    for n in 0..5 {
        topic.publish(n).unwrap();
    }
    assert_eq!(lossy.try_recv(), Ok(Delivery::Lagged(3)));
    assert_eq!(lossy.try_recv().ok(), event(3));
    assert_eq!(strict.try_recv(), Err(TryRecvError::Ended));
    assert_eq!(strict.why_ended(), Some(End::TooSlow));
    assert_eq!(quick.iter().take(5).count(), 5);
    assert_eq!((topic.subscribers(), quick.why_ended()), (2, None));
}

#[test]
fn what_all_have_taken_is_dropped_at_once() {
    let topic = Topic::new();
    let (mut a, mut b) = (topic.subscribe(lossy(10)), topic.subscribe(lossy(10)));
    let watched = Arc::new(());
    for _ in 0..3 {
        topic.publish(Arc::clone(&watched)).unwrap();
    }
    assert_eq!((topic.held(), Arc::strong_count(&watched)), (3, 4));
    drop(a.try_recv());
    assert_eq!((topic.held(), Arc::strong_count(&watched)), (3, 4));
    drop(b.try_recv());
    assert_eq!((topic.held(), Arc::strong_count(&watched)), (2, 3));
    drop(a);
    drop(b.try_recv());
    assert_eq!((topic.held(), Arc::strong_count(&watched)), (1, 2));
    drop(b);
    assert_eq!((topic.held(), Arc::strong_count(&watched)), (0, 1));
    topic.publish(Arc::clone(&watched)).unwrap();
    assert_eq!(Arc::strong_count(&watched), 1, "nobody is there to take it");
}

/// An event that publishes when it is dropped, and a waker that does when it is woken: neither meets a lock.
#[test]
fn what_is_dropped_or_woken_may_use_the_topic() {
    struct Nosy(Option<Topic<Nosy>>);
    impl Drop for Nosy {
        fn drop(&mut self) {
            if let Some(topic) = &self.0 {
                let _ = topic.publish(Self(None));
                drop(topic.subscribe(lossy(1)));
            }
        }
    }
    impl Wake for Nosy {
        fn wake(self: Arc<Self>) {
            let topic = self.0.as_ref().unwrap();
            assert!(topic.held() <= 2);
        }
    }
    let topic = Topic::new();
    let mut subscriber = topic.subscribe(lossy(2));
    let waker = Waker::from(Arc::new(Nosy(Some(topic.clone()))));
    for _ in 0..10 {
        while subscriber.poll_recv(&mut Context::from_waker(&waker)).is_ready() {}
        for _ in 0..5 {
            topic.publish(Nosy(Some(topic.clone()))).unwrap();
        }
    }
    drop(topic.close());
    drop(subscriber);
}

#[test]
fn a_subscriber_that_never_reads_is_woken_once_and_leaves_its_waker_when_it_goes() {
    let topic = Topic::new();
    let mut subscriber = topic.subscribe(lossy(4));
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    for _ in 0..3 {
        assert!(subscriber.poll_recv(&mut Context::from_waker(&waker)).is_pending());
    }
    for n in 0..100 {
        topic.publish(n).unwrap();
    }
    assert_eq!((woken.times(), topic.held()), (1, 4));
    assert_eq!(subscriber.iter().take(5).count(), 5);
    assert!(subscriber.poll_recv(&mut Context::from_waker(&waker)).is_pending());
    drop(subscriber);
    drop(waker);
    // A thousand that come, sleep and go leave nothing behind.
    for _ in 0..1000 {
        let mut brief = topic.subscribe(lossy(4));
        let waker = Waker::from(Arc::clone(&woken));
        assert!(brief.poll_recv(&mut Context::from_waker(&waker)).is_pending());
    }
    assert_eq!(Arc::strong_count(&woken), 1);
    let times = woken.times();
    topic.publish(0).unwrap();
    assert_eq!(woken.times(), times);
}

#[test]
fn unsubscribed_from_elsewhere_it_wakes_and_ends() {
    let topic = Topic::new();
    let mut subscriber = topic.subscribe(lossy(4));
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    assert!(subscriber.poll_recv(&mut Context::from_waker(&waker)).is_pending());
    let subscription = subscriber.subscription();
    subscription.unsubscribe();
    subscription.unsubscribe();
    assert_eq!((woken.times(), topic.subscribers()), (1, 0));
    topic.publish(1).unwrap();
    assert_eq!(subscriber.recv_blocking(), None);
    assert_eq!(subscriber.why_ended(), Some(End::Unsubscribed));
    drop(subscriber);
    // The next one at its place is another.
    let mut next = topic.subscribe(lossy(4));
    subscription.unsubscribe();
    topic.publish(2).unwrap();
    assert_eq!(next.try_recv().ok(), event(2));
}

#[test]
fn a_bus_has_a_topic_for_each_type() {
    let bus = Bus::new();
    let mut numbers = bus.subscribe::<u64>(lossy(4));
    let mut texts = bus.clone().subscribe::<String>(lossy(4));
    bus.publish(5u64).unwrap();
    bus.publish("five".to_owned()).unwrap();
    assert_eq!(numbers.try_recv().ok(), event(5));
    assert!(matches!(texts.try_recv(), Ok(Delivery::Event(text)) if *text == "five"));
    assert!(matches!(poll_once(&mut pin!(bus.close())), Poll::Ready(())));
    assert_eq!(bus.publish(6u64), Err(Closed(6)));
    assert_eq!(bus.publish(6u8), Err(Closed(6)), "nor does a topic nobody had asked for take any");
    assert_eq!(numbers.recv_blocking(), None);
}
