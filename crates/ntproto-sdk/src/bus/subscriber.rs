//! Who gets the events.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use futures_core::Stream;

use super::ring::{Key, Taken};
use super::topic::Shared;
use super::{Delivery, End};

/// A subscriber: a `Stream` of [`Delivery`], or [`recv_blocking`](Self::recv_blocking) and [`iter`](Self::iter)
/// without async. Dropped, it is unsubscribed.
pub struct Subscriber<T> {
    shared: Arc<Shared<T>>,
    key: Key,
}

/// There is no event now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// One may come.
    Empty,
    /// None will come: [`Subscriber::why_ended`] knows why.
    Ended,
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "there is no event",
            Self::Ended => "the subscription is over",
        })
    }
}

impl std::error::Error for TryRecvError {}

impl<T> Subscriber<T> {
    pub(super) fn new(shared: Arc<Shared<T>>, key: Key) -> Self {
        Self { shared, key }
    }

    pub(super) fn shared(&self) -> &Shared<T> {
        &self.shared
    }

    /// The next event, if there is one.
    ///
    /// # Errors
    /// See [`TryRecvError`].
    pub fn try_recv(&mut self) -> Result<Delivery<T>, TryRecvError> {
        match self.shared.change(|ring, aside| ring.take(self.key, aside)) {
            Taken::Delivery(delivery) => Ok(delivery),
            Taken::Nothing => Err(TryRecvError::Empty),
            Taken::End => Err(TryRecvError::Ended),
        }
    }

    /// The next event; `None` at the end.
    pub async fn recv(&mut self) -> Option<Delivery<T>> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The next event, for a thread that has nothing else to do; `None` at the end.
    pub fn recv_blocking(&mut self) -> Option<Delivery<T>> {
        match self.try_recv() {
            Ok(delivery) => Some(delivery),
            Err(TryRecvError::Ended) => None,
            Err(TryRecvError::Empty) => block_on(self.recv()),
        }
    }

    /// The events, for a thread that has nothing else to do.
    pub const fn iter(&mut self) -> Iter<'_, T> {
        Iter(self)
    }

    /// Why it is over, once it is.
    #[must_use]
    pub fn why_ended(&self) -> Option<End> {
        self.shared.change(|ring, _| ring.end_of(self.key))
    }

    /// A way to end it from elsewhere.
    #[must_use]
    pub fn subscription(&self) -> Subscription<T> {
        Subscription { shared: Arc::downgrade(&self.shared), key: self.key }
    }

    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Delivery<T>>> {
        loop {
            match self.try_recv() {
                Ok(delivery) => return Poll::Ready(Some(delivery)),
                Err(TryRecvError::Ended) => return Poll::Ready(None),
                Err(TryRecvError::Empty) => {}
            }
            // Cloned without the lock, as what wakers do is not ours.
            let waker = cx.waker().clone();
            if self.shared.change(|ring, aside| ring.sleep(self.key, waker, aside)) {
                return Poll::Pending;
            }
        }
    }
}

impl<T> Stream for Subscriber<T> {
    type Item = Delivery<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Delivery<T>>> {
        self.get_mut().poll_recv(cx)
    }
}

impl<T> Drop for Subscriber<T> {
    fn drop(&mut self) {
        self.shared.change(|ring, aside| ring.leave(self.key, aside));
    }
}

/// Events as an iterator that blocks; see [`Subscriber::iter`].
pub struct Iter<'s, T>(&'s mut Subscriber<T>);

impl<T> Iterator for Iter<'_, T> {
    type Item = Delivery<T>;

    fn next(&mut self) -> Option<Delivery<T>> {
        self.0.recv_blocking()
    }
}

/// Ends a subscriber from elsewhere, also from its own handler.
pub struct Subscription<T> {
    shared: Weak<Shared<T>>,
    key: Key,
}

impl<T> Subscription<T> {
    /// Ends it: it gets nothing more, not even what waits for it. What it has begun it finishes.
    pub fn unsubscribe(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.change(|ring, aside| ring.unsubscribe(self.key, aside));
        }
    }
}

impl<T> Clone for Subscription<T> {
    fn clone(&self) -> Self {
        Self { shared: Weak::clone(&self.shared), key: self.key }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        thread::park();
    }
}
