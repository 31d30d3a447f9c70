//! A request under way.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use ntproto_core::dispatch::{Outcome, Refusal};

type Work = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// A request under way: a future of its [`Outcome`]. The host runs it wherever it runs futures, and drops it when
/// nobody waits for the answer any more. The handler is called at its first poll.
///
/// A panic of the handler, now or when it is dropped, goes no further; it is told as [`Outcome::Panicked`], and
/// the panic hook hears of it as of any other. Built with `panic = "abort"`, there is nothing to contain.
#[must_use = "a request is worked on when this is polled"]
pub struct Answering(State);

enum State {
    Settled(Refusal),
    Working(Work),
    Over,
}

impl Answering {
    pub(super) const fn refused(refusal: Refusal) -> Self {
        Self(State::Settled(refusal))
    }

    pub(super) fn working(work: impl Future<Output = Outcome> + Send + 'static) -> Self {
        Self(State::Working(Box::pin(work)))
    }
}

impl Future for Answering {
    type Output = Outcome;

    /// # Panics
    /// Polled after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        if let State::Working(work) = &mut self.0 {
            // Nothing of a handler that panicked is looked at again: it is dropped.
            let outcome = match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(outcome)) => outcome,
                Err(_) => Outcome::Panicked,
            };
            self.end();
            return Poll::Ready(outcome);
        }
        match std::mem::replace(&mut self.0, State::Over) {
            State::Settled(refusal) => Poll::Ready(Outcome::Refused(refusal)),
            _ => panic!("a request is answered once"),
        }
    }
}

impl Answering {
    fn end(&mut self) {
        if let State::Working(work) = std::mem::replace(&mut self.0, State::Over) {
            // One that panics when it is dropped has been told about by the panic hook.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(work)));
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.end();
    }
}
