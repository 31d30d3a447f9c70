//! Group commit: one thread owns the store and commits together whatever waits for it. What arrives
//! while an fsync runs goes into the next one.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use ntproto_hub::store::{OpId, Outcome, Store, StoreError, Txn};

/// The completion of one transaction.
pub type Completion = (OpId, Result<Outcome, StoreError>);
/// Called on the store's thread with the completions of a batch, in the order of submission but for
/// those that expired, which come first.
pub type Done = Box<dyn FnMut(Vec<Completion>) + Send>;

/// What a queue and a batch may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Transactions that may wait.
    pub queue: usize,
    /// Bytes that may wait (see [`Txn::weight`]).
    pub queue_bytes: usize,
    /// Transactions in one commit: it bounds how long the last one waits.
    pub batch: usize,
    /// Bytes in one commit, though never less than one transaction.
    pub batch_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        // More than the hub keeps in flight; a batch of a thousand is where redb stops gaining.
        Self { queue: 16_384, queue_bytes: 64 << 20, batch: 1_024, batch_bytes: 8 << 20 }
    }
}

/// The queue takes nothing more now; here is the transaction back.
#[derive(Debug)]
pub struct Rejected {
    /// Its name.
    pub op: OpId,
    /// It.
    pub txn: Txn,
    /// [`StoreError::Unavailable`]: the queue is full, or the store's thread is gone.
    pub why: StoreError,
}

struct Waiting {
    op: OpId,
    txn: Txn,
    deadline: Option<Instant>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
    limits: Limits,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it holds the lock, and the queue is whole between statements.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for work and takes a batch of it; `None` once the queue is closed and empty.
    fn take(&self) -> Option<Batch> {
        let mut queue = self.lock();
        while queue.waiting.is_empty() {
            if queue.closed {
                return None;
            }
            queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let now = Instant::now();
        let mut batch = Batch::default();
        while batch.ops.len() < self.limits.batch
            && let Some(next) = queue.waiting.front()
            && (batch.ops.is_empty() || batch.bytes + next.txn.weight() <= self.limits.batch_bytes)
            && let Some(Waiting { op, txn, deadline }) = queue.waiting.pop_front()
        {
            queue.bytes -= txn.weight();
            if deadline.is_some_and(|deadline| deadline <= now) {
                batch.expired.push((op, Err(StoreError::Expired)));
            } else {
                batch.bytes += txn.weight();
                batch.ops.push(op);
                batch.txns.push(txn);
            }
        }
        Some(batch)
    }
}

/// What one commit does.
#[derive(Default)]
struct Batch {
    ops: Vec<OpId>,
    txns: Vec<Txn>,
    bytes: usize,
    /// What came too late: nobody waits for it any more.
    expired: Vec<Completion>,
}

/// The handle of the store's thread. Dropping it commits what waits, then ends the thread.
pub struct GroupCommit {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl GroupCommit {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(store: Box<dyn Store>, limits: Limits, done: Done) -> io::Result<Self> {
        let shared = Arc::new(Shared { queue: Mutex::default(), arrived: Condvar::new(), limits });
        let worker = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("ntproto-store".into())
            .spawn(move || run(&worker, store, done))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Queues a transaction. Never blocks. When its turn comes after `deadline`, it is not run but
    /// answered [`StoreError::Expired`].
    ///
    /// # Errors
    /// The queue is full.
    pub fn submit(&self, op: OpId, txn: Txn, deadline: Option<Instant>) -> Result<(), Box<Rejected>> {
        submit(&self.shared, op, txn, deadline)
    }

    /// Another way into the same queue. It is of no use once this is closed.
    #[must_use]
    pub fn entrance(&self) -> Entrance {
        Entrance(Arc::clone(&self.shared))
    }

    /// Takes nothing more, commits what waits, and returns when its completions were told.
    pub fn close(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        self.shared.lock().closed = true;
        self.shared.arrived.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's thread panicked while it told completions");
        }
    }
}

/// A way into the queue for somebody else who has transactions: see [`GroupCommit::entrance`].
#[derive(Clone)]
pub struct Entrance(Arc<Shared>);

impl Entrance {
    /// As [`GroupCommit::submit`].
    ///
    /// # Errors
    /// The queue is full, or closed.
    pub fn submit(&self, op: OpId, txn: Txn, deadline: Option<Instant>) -> Result<(), Box<Rejected>> {
        submit(&self.0, op, txn, deadline)
    }
}

fn submit(shared: &Shared, op: OpId, txn: Txn, deadline: Option<Instant>) -> Result<(), Box<Rejected>> {
    let mut queue = shared.lock();
    let bytes = queue.bytes + txn.weight();
    let full = queue.waiting.len() >= shared.limits.queue || bytes > shared.limits.queue_bytes;
    if queue.closed || full {
        return Err(Box::new(Rejected { op, txn, why: StoreError::Unavailable }));
    }
    queue.bytes = bytes;
    queue.waiting.push_back(Waiting { op, txn, deadline });
    drop(queue);
    shared.arrived.notify_one();
    Ok(())
}

impl Drop for GroupCommit {
    fn drop(&mut self) {
        self.finish();
    }
}

fn run(shared: &Shared, store: Box<dyn Store>, mut done: Done) {
    let mut store = Some(store);
    while let Some(Batch { ops, txns, mut expired, .. }) = shared.take() {
        if !expired.is_empty() {
            done(std::mem::take(&mut expired));
        }
        if !ops.is_empty() {
            let answers = commit(&mut store, &txns);
            // The batch is freed before the completions run: its bodies are not held twice.
            drop(txns);
            done(ops.into_iter().zip(answers).collect());
        }
    }
}

/// Commits a batch. A store that panics is a store that failed: nothing was promised, and nothing more
/// is asked of it.
fn commit(store: &mut Option<Box<dyn Store>>, batch: &[Txn]) -> Vec<Result<Outcome, StoreError>> {
    if let Some(open) = store {
        match catch_unwind(AssertUnwindSafe(|| open.commit(batch))) {
            Ok(answers) if answers.len() == batch.len() => return answers,
            Ok(_) => tracing::error!("the store did not answer every transaction"),
            Err(_) => tracing::error!("the store panicked: it takes nothing more until a restart"),
        }
        // Its destructor may panic as well.
        let broken = store.take();
        if catch_unwind(AssertUnwindSafe(|| drop(broken))).is_err() {
            tracing::error!("the store panicked again while it was closed");
        }
    }
    batch.iter().map(|_| Err(StoreError::Unavailable)).collect()
}
