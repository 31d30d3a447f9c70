//! Where events are published.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_listener::Event as Stirred;

use super::ring::{Aside, Ring};
use super::{Closed, Delivery, Handling, Limits, Subscriber, Verdict};

/// What publishers and subscribers share.
pub(super) struct Shared<T> {
    ring: Mutex<Ring<T>>,
    publishers: AtomicUsize,
    /// Handlers that are not over.
    handlers: AtomicUsize,
    idle: Stirred,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Ring<T>> {
        // Nothing that is not ours runs with the lock held, so nothing panics half-way.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the ring; wakes and drops what came of it without the lock.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut Ring<T>, &mut Aside<T>) -> R) -> R {
        let mut aside = Aside::default();
        let result = change(&mut self.lock(), &mut aside);
        aside.settle();
        result
    }

    pub(super) fn handler_begins(&self) {
        self.handlers.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn handler_ends(&self) {
        self.handlers.fetch_sub(1, Ordering::AcqRel);
        self.idle.notify(usize::MAX);
    }

    async fn until_idle(&self) {
        loop {
            let listener = self.idle.listen();
            if self.handlers.load(Ordering::Acquire) == 0 {
                return;
            }
            listener.await;
        }
    }
}

/// Events of one type, from any number of publishers to any number of subscribers. Clones publish to the same; when
/// the last is dropped the topic is closed.
pub struct Topic<T>(Arc<Shared<T>>);

impl<T> Topic<T> {
    /// A topic without subscribers.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            ring: Mutex::default(),
            publishers: AtomicUsize::new(1),
            handlers: AtomicUsize::new(0),
            idle: Stirred::new(),
        }))
    }

    /// Gives the event to every subscriber there is now; never waits for one. Returns how many there are: with
    /// none, the event is dropped.
    ///
    /// # Errors
    /// The topic is closed.
    pub fn publish(&self, event: T) -> Result<usize, Closed<T>> {
        // Made before the lock: making room takes longer than what happens under it.
        let event = Arc::new(event);
        let refused = self.0.change(|ring, aside| {
            if ring.is_closed() {
                return Err(event);
            }
            Ok(ring.push(event, aside))
        });
        refused.map_err(|event| Closed(Arc::into_inner(event).expect("nobody else was given it")))
    }

    /// A subscriber that gets every event from now on. After [`close`](Self::close) there are none.
    #[must_use = "dropped, it is unsubscribed"]
    pub fn subscribe(&self, limits: Limits) -> Subscriber<T> {
        let key = self.0.change(|ring, _| ring.join(limits));
        Subscriber::new(Arc::clone(&self.0), key)
    }

    /// Calls `handler` for every event from now on, one after the other, wherever the future is run. An `async`
    /// handler may wait: events wait with it, up to the bound. One that panics costs that event, nothing else.
    #[must_use = "events are handled when this is polled"]
    pub fn handle<H, F>(&self, limits: Limits, handler: H) -> Handling<T, H, F>
    where
        H: FnMut(Delivery<T>) -> F,
        F: Future<Output: Verdict>,
    {
        Handling::new(self.subscribe(limits), handler)
    }

    /// Subscribers that are not over.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.0.lock().live()
    }

    /// Events in memory.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.lock().len()
    }

    /// Closes the topic at once: nothing more can be published, and subscribers end when they have taken what is
    /// there. The future waits until every [`Handling`] has done so, or was dropped; need not be awaited; and waits
    /// in vain in a handler of the same topic, which would wait for itself.
    pub fn close(&self) -> impl Future<Output = ()> + use<T> {
        self.0.change(Ring::close);
        let shared = Arc::clone(&self.0);
        async move { shared.until_idle().await }
    }

    /// Whether it is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.lock().is_closed()
    }
}

impl<T> Default for Topic<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Topic<T> {
    fn clone(&self) -> Self {
        self.0.publishers.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Topic<T> {
    fn drop(&mut self) {
        if self.0.publishers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.change(Ring::close);
        }
    }
}
