//! The way from whoever answers to the task of an exchange: what waits is bounded, and sending never blocks.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use http::Response;

use super::body::Part;
use super::limits::MAX_PARTS;
use super::{Answer, Over};

/// Where the answers of one exchange go. Dropped before the answer's end, it resets the exchange.
pub struct Line(Arc<Shared>);

/// The other end.
pub(super) struct Answers(Arc<Shared>);

#[derive(Default)]
struct State {
    head: Option<(Response<()>, bool)>,
    parts: VecDeque<Part>,
    consumed: usize,
    go_on: bool,
    reset: bool,
    /// The exchange is over.
    over: bool,
    waker: Option<Waker>,
}

#[derive(Default)]
struct Shared(Mutex<State>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Both ends of a new one.
pub(super) fn line() -> (Line, Answers) {
    let shared = Arc::<Shared>::default();
    (Line(Arc::clone(&shared)), Answers(shared))
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line")
    }
}

impl Line {
    /// Sends an answer. Never blocks.
    ///
    /// # Errors
    /// The exchange is over; or [`MAX_PARTS`] parts wait already, which whoever heeds [`Came::Room`](super::Came::Room)
    /// never has: drop the line then.
    pub fn send(&self, answer: Answer) -> Result<(), Over> {
        let mut state = self.0.lock();
        if state.over {
            return Err(Over);
        }
        match answer {
            Answer::Head(head, end) => state.head = Some((head, end)),
            Answer::Data(_, _) if state.parts.len() >= MAX_PARTS => return Err(Over),
            Answer::Data(data, end) => state.parts.push_back((data, end)),
            Answer::Consumed(bytes) => state.consumed = state.consumed.saturating_add(bytes),
            Answer::Continue => state.go_on = true,
            Answer::Reset => state.reset = true,
        }
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = self.send(Answer::Reset);
    }
}

impl Answers {
    /// What came, in the order in which it is to be heeded: what was consumed, that the body is wanted, the head, its parts, a reset.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Answer> {
        let mut state = self.0.lock();
        if state.consumed > 0 {
            return Poll::Ready(Answer::Consumed(std::mem::take(&mut state.consumed)));
        }
        if std::mem::take(&mut state.go_on) {
            return Poll::Ready(Answer::Continue);
        }
        if let Some((head, end)) = state.head.take() {
            return Poll::Ready(Answer::Head(head, end));
        }
        if let Some((data, end)) = state.parts.pop_front() {
            return Poll::Ready(Answer::Data(data, end));
        }
        if state.reset {
            return Poll::Ready(Answer::Reset);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        *state = State { over: true, ..State::default() };
    }
}
