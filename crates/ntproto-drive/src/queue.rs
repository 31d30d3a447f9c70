//! A queue the loop takes from, a bounded batch a turn.

use std::pin::Pin;
use std::task::{Context, Poll};

use async_channel::{Receiver, TryRecvError};
use futures_core::Stream as _;

/// What the sleeper heard from a queue, if it was the queue that woke it.
pub(crate) type Woken<C> = Option<Option<C>>;

/// A queue.
pub(crate) struct Queue<'a, C> {
    receiver: Pin<&'a mut Receiver<C>>,
    open: bool,
}

impl<'a, C> Queue<'a, C> {
    pub(crate) const fn new(receiver: Pin<&'a mut Receiver<C>>) -> Self {
        Self { receiver, open: true }
    }

    /// Ready with what came, or, once, with `None`: nothing will come any more.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<C>> {
        if !self.open {
            return Poll::Pending;
        }
        let next = self.receiver.as_mut().poll_next(cx);
        self.open = !matches!(next, Poll::Ready(None));
        next
    }

    /// Whoever brings more is told that it is for nobody.
    pub(crate) fn close(&self) {
        self.receiver.close();
    }

    /// Gives what woke the loop and what waits behind it, up to a bound. `None` is the end of the queue.
    pub(crate) fn take(&mut self, first: Woken<C>, bound: usize, mut give: impl FnMut(Option<C>)) {
        if let Some(first) = first {
            give(first);
        }
        for _ in 0..bound {
            if !self.open {
                return;
            }
            match self.receiver.try_recv() {
                Ok(command) => give(Some(command)),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Closed) => {
                    self.open = false;
                    give(None);
                }
            }
        }
    }
}
