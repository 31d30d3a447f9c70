//! Works on files: a bounded number of threads at a time, the others in line.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ntproto_drive::Runtime;
use ntproto_hub::store::OpId;
use ntproto_web::{FileError, FileOp};

use super::{Post, Posts};
use crate::files::{FileStore, MAX_WORKING};

/// Those under way, and those in line. The machine bounds them: it admits no exchange while too many are waited for
/// ([`TASKS_PER_EXCHANGE`](ntproto_web::config::TASKS_PER_EXCHANGE)).
pub(super) struct Files<R> {
    runtime: R,
    store: Arc<dyn FileStore>,
    posts: Posts,
    working: usize,
    waiting: VecDeque<(OpId, FileOp)>,
}

impl<R: Runtime> Files<R> {
    pub(super) const fn new(runtime: R, store: Arc<dyn FileStore>, posts: Posts) -> Self {
        Self { runtime, store, posts, working: 0, waiting: VecDeque::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.working == 0
    }

    /// Does it, or puts it in line.
    pub(super) fn start(&mut self, op: OpId, what: FileOp) {
        self.waiting.push_back((op, what));
        self.go_on();
    }

    /// One has ended.
    pub(super) fn done(&mut self) {
        self.working = self.working.saturating_sub(1);
        self.go_on();
    }

    fn go_on(&mut self) {
        while self.working < MAX_WORKING
            && let Some((op, what)) = self.waiting.pop_front()
        {
            self.working += 1;
            let (runtime, store, posts) = (self.runtime.clone(), Arc::clone(&self.store), self.posts.clone());
            self.runtime.spawn(async move {
                let work = move || {
                    // A store that panics has failed: what it did is in doubt.
                    catch_unwind(AssertUnwindSafe(|| store.perform(what))).unwrap_or_else(|_| {
                        tracing::error!("the store of files panicked");
                        Err(FileError::Io)
                    })
                };
                let result = runtime.unblock(work).await.unwrap_or(Err(FileError::Io));
                posts.send(Post::Filed(op, result));
            });
        }
    }
}
