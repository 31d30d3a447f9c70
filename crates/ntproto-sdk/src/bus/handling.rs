//! A handler at work.

use std::future::Future;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::subscriber::block_on;
use super::{Delivery, End, Subscriber, Subscription};

/// Events handled in one poll: then whatever else runs beside it has its turn.
const TURN: usize = 64;

/// What a handler says of how it goes on.
pub trait Verdict {
    /// Whether it wants more events.
    fn goes_on(self) -> bool;
}

impl Verdict for () {
    fn goes_on(self) -> bool {
        true
    }
}

/// `Break` unsubscribes.
impl Verdict for ControlFlow<()> {
    fn goes_on(self) -> bool {
        self.is_continue()
    }
}

/// How a handler ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handled {
    /// Why.
    pub end: End,
    /// Events that were lost to a panic.
    pub panics: u64,
}

/// A handler and its events: a future to be run wherever futures are run, or [`run_blocking`](Self::run_blocking) on
/// a thread of its own. Dropped, the handler is unsubscribed and what it was at is dropped with it.
///
/// A panic of the handler goes no further: that event is lost, the next comes, [`Handled`] counts it, and the panic
/// hook hears of it as of any other. Built with `panic = "abort"`, there is nothing to contain.
///
/// ```
/// use std::num::NonZeroUsize;
/// use std::sync::mpsc;
/// use ntproto_sdk::bus::{Delivery, End, Limits, Topic};
///
/// let topic = Topic::new();
/// let (tell, told) = mpsc::channel();
/// let handling = topic.handle(Limits::lossy(NonZeroUsize::new(8).unwrap()), move |delivery| {
///     if let Delivery::Event(number) = delivery {
///         tell.send(*number).unwrap();
///     }
///     async {}
/// });
/// topic.publish(7).unwrap();
/// drop(topic);
/// assert_eq!(handling.run_blocking().end, End::Closed);
/// assert_eq!(told.recv(), Ok(7));
/// ```
#[must_use = "events are handled when this is polled"]
pub struct Handling<T, H, F> {
    // Dropped in this order: what is under way, the handler, and only then it counts as over.
    work: Pin<Box<Option<F>>>,
    handler: H,
    subscriber: Option<Counted<T>>,
    panics: u64,
}

/// A subscriber that closing a topic waits for.
struct Counted<T>(Subscriber<T>);

impl<T> Drop for Counted<T> {
    fn drop(&mut self) {
        self.0.shared().handler_ends();
    }
}

impl<T, H, F> Unpin for Handling<T, H, F> {}

impl<T, H, F> Handling<T, H, F>
where
    H: FnMut(Delivery<T>) -> F,
    F: Future<Output: Verdict>,
{
    pub(super) fn new(subscriber: Subscriber<T>, handler: H) -> Self {
        subscriber.shared().handler_begins();
        Self { work: Box::pin(None), handler, subscriber: Some(Counted(subscriber)), panics: 0 }
    }

    /// A way to end it from elsewhere; `None` once it is over.
    #[must_use]
    pub fn subscription(&self) -> Option<Subscription<T>> {
        self.subscriber.as_ref().map(|counted| counted.0.subscription())
    }

    /// Handles events on this thread until the end.
    pub fn run_blocking(self) -> Handled {
        block_on(self)
    }

    /// Goes on with what is under way; `None` while it waits.
    fn work(&mut self, cx: &mut Context<'_>) -> Option<ControlFlow<()>> {
        let Some(work) = self.work.as_mut().as_pin_mut() else { return Some(ControlFlow::Continue(())) };
        // Nothing of a future that panicked is looked at again: it is dropped.
        let goes_on = match catch_unwind(AssertUnwindSafe(|| work.poll(cx).map(Verdict::goes_on))) {
            Ok(Poll::Pending) => return None,
            Ok(Poll::Ready(goes_on)) => goes_on,
            Err(_) => {
                self.panics += 1;
                true
            }
        };
        self.forget();
        Some(if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    }

    fn begin(&mut self, delivery: Delivery<T>) {
        match catch_unwind(AssertUnwindSafe(|| (self.handler)(delivery))) {
            Ok(work) => self.work.set(Some(work)),
            Err(_) => self.panics += 1,
        }
    }
}

impl<T, H, F> Handling<T, H, F> {
    fn forget(&mut self) {
        // One that panics when it is dropped has been told about by the panic hook.
        let _ = catch_unwind(AssertUnwindSafe(|| self.work.set(None)));
    }
}

impl<T, H, F> Future for Handling<T, H, F>
where
    H: FnMut(Delivery<T>) -> F,
    F: Future<Output: Verdict>,
{
    type Output = Handled;

    /// # Panics
    /// Polled after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Handled> {
        for _ in 0..TURN {
            let Some(flow) = self.work(cx) else { return Poll::Pending };
            let subscriber = &mut self.subscriber.as_mut().expect("a handler ends once").0;
            if flow.is_break() {
                subscriber.subscription().unsubscribe();
            }
            match subscriber.poll_recv(cx) {
                Poll::Ready(Some(delivery)) => self.begin(delivery),
                Poll::Ready(None) => {
                    let end = subscriber.why_ended().unwrap_or(End::Closed);
                    self.subscriber = None;
                    return Poll::Ready(Handled { end, panics: self.panics });
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<T, H, F> Drop for Handling<T, H, F> {
    fn drop(&mut self) {
        self.forget();
    }
}
