//! Handlers: panics, unsubscribing, closing.

use std::ops::ControlFlow;
use std::sync::Mutex;

use super::*;

type Seen = Arc<Mutex<Vec<u64>>>;

/// Goes on when it is let.
fn gate() -> (async_channel::Sender<()>, async_channel::Receiver<()>) {
    async_channel::unbounded()
}

#[test]
fn a_panic_costs_its_event_only() {
    let topic = Topic::new();
    let seen = Seen::default();
    let keep = Arc::clone(&seen);
    /// An executor takes it to another thread.
    fn may_be_spawned<T: Send + 'static>(task: T) -> T {
        task
    }
    let handling = topic.handle(lossy(10), move |delivery| {
        let Delivery::Event(n) = delivery else { panic!("nothing was lost") };
        assert!(*n != 1, "when it is called");
        let keep = Arc::clone(&keep);
        async move {
            assert!(*n != 2, "when it is polled");
            keep.lock().unwrap().push(*n);
        }
    });
    (0..5).for_each(|n| assert!(topic.publish(n).is_ok()));
    drop(topic.close());
    assert_eq!(may_be_spawned(handling).run_blocking(), Handled { end: End::Closed, panics: 2 });
    assert_eq!(*seen.lock().unwrap(), [0, 3, 4]);
}

/// What a handler holds may panic when it is dropped, in the middle and at the end.
#[test]
fn a_panic_while_dropping_goes_no_further() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let topic = Topic::new();
    let mut handling = topic.handle(lossy(10), |_| {
        let bad = Bad;
        async move {
            std::future::pending::<()>().await;
            std::mem::forget(bad);
        }
    });
    topic.publish(0).unwrap();
    assert!(poll_once(&mut handling).is_pending());
    drop(handling);
    assert!(poll_once(&mut pin!(topic.close())).is_ready());
}

#[test]
fn a_handler_ends_itself_and_begins_others() {
    let topic = Topic::new();
    let seen = Seen::default();
    let (keep, inside) = (Arc::clone(&seen), topic.clone());
    let mut others = Vec::new();
    let handling = topic.handle(lossy(10), move |delivery| {
        let Delivery::Event(n) = delivery else { unreachable!() };
        keep.lock().unwrap().push(*n);
        others.push(inside.subscribe(lossy(1)));
        // Nor does publishing wait for the one that does it.
        inside.publish(*n + 10).unwrap();
        async move { if *n < 2 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) } }
    });
    (0..5).for_each(|n| assert!(topic.publish(n).is_ok()));
    assert_eq!(handling.run_blocking(), Handled { end: End::Unsubscribed, panics: 0 });
    assert_eq!((&seen.lock().unwrap()[..], topic.subscribers()), (&[0, 1, 2][..], 0));
}

#[test]
fn unsubscribing_lets_what_was_begun_finish() {
    let topic = Topic::new();
    let (open, gate) = gate();
    let seen = Seen::default();
    let keep = Arc::clone(&seen);
    let mut handling = topic.handle(lossy(10), move |delivery| {
        let (gate, keep) = (gate.clone(), Arc::clone(&keep));
        async move {
            gate.recv().await.unwrap();
            if let Delivery::Event(n) = delivery {
                keep.lock().unwrap().push(*n);
            }
        }
    });
    (0..3).for_each(|n| assert!(topic.publish(n).is_ok()));
    assert!(poll_once(&mut handling).is_pending());
    handling.subscription().unwrap().unsubscribe();
    assert!(poll_once(&mut handling).is_pending());
    open.try_send(()).unwrap();
    assert_eq!(poll_once(&mut handling), Poll::Ready(Handled { end: End::Unsubscribed, panics: 0 }));
    assert_eq!(*seen.lock().unwrap(), [0]);
    assert!(handling.subscription().is_none());
}

#[test]
fn closing_waits_for_handlers_and_lets_all_take_what_they_have() {
    let topic = Topic::new();
    let (open, gate) = gate();
    let mut handling = topic.handle(lossy(10), move |_| {
        let gate = gate.clone();
        async move { gate.recv().await.unwrap() }
    });
    let mut reader = topic.subscribe(lossy(10));
    (0..3).for_each(|n| assert!(topic.publish(n).is_ok()));
    assert!(poll_once(&mut handling).is_pending());
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut closing = pin!(topic.close());
    assert_eq!(topic.publish(9), Err(Closed(9)));
    for _ in 0..3 {
        assert!(closing.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert!(poll_once(&mut handling).is_pending());
        open.try_send(()).unwrap();
    }
    assert_eq!(woken.times(), 0);
    assert!(poll_once(&mut handling).is_ready());
    assert_eq!(woken.times(), 1);
    assert!(closing.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
    // A subscriber that is no handler is not waited for, and still gets what was there.
    assert_eq!(reader.iter().count(), 3);
}

#[test]
fn closing_waits_for_no_handler_that_was_dropped() {
    let topic = Topic::new();
    let (_open, gate) = gate();
    let mut handling = topic.handle(lossy(10), move |_| {
        let gate = gate.clone();
        async move { gate.recv().await.unwrap() }
    });
    topic.publish(0).unwrap();
    assert!(poll_once(&mut handling).is_pending());
    let mut closing = pin!(topic.close());
    assert!(poll_once(&mut closing).is_pending());
    drop(handling);
    assert!(poll_once(&mut closing).is_ready());
}

#[test]
fn a_busy_handler_lets_others_run() {
    let topic = Topic::new();
    let inside = topic.clone();
    let mut handling = topic.handle(lossy(10), move |_| {
        // For ever.
        inside.publish(0).unwrap();
        async {}
    });
    topic.publish(0).unwrap();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let polled = std::pin::Pin::new(&mut handling).poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    assert_eq!(woken.times(), 1);
}
