//! A task that can be waited for and taken back, on any runtime.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use async_channel::{Receiver, Sender};
use futures_core::Stream as _;

use crate::Runtime;

/// A task. Dropping this lets it run on.
#[derive(Debug)]
pub struct Task<T> {
    cancel: Sender<()>,
    ended: Receiver<Result<T, String>>,
}

/// Why a task gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoResult {
    /// It was cancelled, or its runtime is gone.
    Cancelled,
    /// It panicked, with these words.
    Panicked(String),
}

impl fmt::Display for NoResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("the task was cancelled"),
            Self::Panicked(words) => write!(f, "the task panicked: {words}"),
        }
    }
}

impl std::error::Error for NoResult {}

/// Runs `future` as a task of `runtime`.
pub fn spawn<T: Send + 'static>(
    runtime: &impl Runtime,
    future: impl Future<Output = T> + Send + 'static,
) -> Task<T> {
    let (cancel, cancelled) = async_channel::bounded(1);
    let (tell, ended) = async_channel::bounded(1);
    runtime.spawn(async move {
        let (mut future, mut cancelled) = (pin!(future), pin!(cancelled));
        let result = poll_fn(|cx| {
            if let Poll::Ready(Some(())) = cancelled.as_mut().poll_next(cx) {
                return Poll::Ready(None);
            }
            // What it has left half done is its own: nothing of it is looked at again.
            match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
                Ok(polled) => polled.map(|value| Some(Ok(value))),
                Err(payload) => Poll::Ready(Some(Err(words(&*payload)))),
            }
        });
        if let Some(result) = result.await {
            // Nobody waits for it: it was let go.
            let _ = tell.try_send(result);
        }
    });
    Task { cancel, ended }
}

fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no words".into())
}

impl<T> Task<T> {
    /// Drops what it is at, the next time it would go on.
    pub fn cancel(&self) {
        // Once is enough.
        let _ = self.cancel.try_send(());
    }

    /// Waits for what it gives. To be asked once.
    ///
    /// # Errors
    /// See [`NoResult`].
    pub async fn join(&self) -> Result<T, NoResult> {
        match self.ended.recv().await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(words)) => Err(NoResult::Panicked(words)),
            Err(_) => Err(NoResult::Cancelled),
        }
    }
}
