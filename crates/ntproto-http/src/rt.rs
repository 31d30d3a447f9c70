//! The runtime as hyper sees it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt;
use ntproto_drive::Runtime;
use ntproto_drive::runtime::Timer;

/// Runs hyper's tasks on the runtime.
#[derive(Clone, Copy, Debug)]
pub struct Tasks<R>(pub R);

/// Nothing in it is ever pinned.
impl<R> Unpin for Tasks<R> {}

impl<R: Runtime, F: Future<Output = ()> + Send + 'static> rt::Executor<F> for Tasks<R> {
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

/// Makes hyper's timers of the runtime's.
#[derive(Clone, Copy, Debug)]
pub struct Timers<R>(pub R);

impl<R: Runtime> Timers<R> {
    fn after(&self, after: Duration) -> Pin<Box<dyn rt::Sleep>> {
        let mut timer = self.0.timer();
        timer.set(after);
        Box::pin(Sleep { timer: Mutex::new(timer), over: false })
    }
}

impl<R: Runtime> rt::Timer for Timers<R> {
    fn sleep(&self, after: Duration) -> Pin<Box<dyn rt::Sleep>> {
        self.after(after)
    }

    fn sleep_until(&self, at: Instant) -> Pin<Box<dyn rt::Sleep>> {
        self.after(at.saturating_duration_since(Instant::now()))
    }
}

/// One timer. The lock is for hyper's `Sync` alone: nobody else has it.
struct Sleep<T> {
    timer: Mutex<T>,
    over: bool,
}

impl<T> Unpin for Sleep<T> {}

impl<T: Timer> Future for Sleep<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.over {
            // A runtime's timer is not asked again once it has rung.
            self.over = self.timer.get_mut().unwrap_or_else(PoisonError::into_inner).poll(cx).is_ready();
        }
        if self.over { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<T: Timer + Send> rt::Sleep for Sleep<T> {}
