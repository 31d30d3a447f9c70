//! The thread a store runs on.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use ntproto_core::client::{ClientTxn, OpId, StoreError};

use super::ClientStore;

/// Transactions in one durable step: more would make the first wait long for the last.
const MAX_BATCH: usize = 1024;
/// Questions that may wait. An application asks for a screen at a time.
const MAX_READS: usize = 256;

/// A question to the store.
type Read = Box<dyn FnOnce(&mut dyn ClientStore) + Send>;

enum Job {
    Txn(OpId, Box<ClientTxn>),
    Read(Read),
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    reads: usize,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    stirred: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The queue is whole after every statement that holds it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().closed = true;
        self.stirred.notify_one();
    }
}

/// A store on a thread of its own. Transactions that come while one step is under way are made durable together
/// by the next. When it is dropped the thread finishes what waits, closes the store and ends.
pub struct StoreThread(Arc<Shared>);

impl StoreThread {
    /// Starts the thread. `done` hears of the transactions of each step, in order; `closed` that the store is closed.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn spawn(
        store: Box<dyn ClientStore>,
        done: impl FnMut(Vec<OpId>, Result<(), StoreError>) + Send + 'static,
        closed: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let inside = Arc::clone(&shared);
        std::thread::Builder::new().name("ntproto-store".into()).spawn(move || {
            let _end = End { shared: Arc::clone(&inside), closed: Some(closed) };
            run(&inside, store, done);
        })?;
        Ok(Self(shared))
    }

    /// Runs a transaction. How many may wait is bounded by the machine that asks: it has a full outbox and one
    /// transaction of each other kind under way at most.
    pub fn submit(&self, op: OpId, txn: ClientTxn) {
        self.0.lock().jobs.push_back(Job::Txn(op, Box::new(txn)));
        self.0.stirred.notify_one();
    }

    /// A way to ask the store something.
    #[must_use]
    pub fn reader(&self) -> StoreReader {
        StoreReader(Arc::clone(&self.0))
    }
}

impl Drop for StoreThread {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Asks the store, behind every transaction submitted before.
#[derive(Clone)]
pub struct StoreReader(Arc<Shared>);

impl StoreReader {
    /// Runs `read` on the store's thread. It is dropped unrun when the store is closed or too much waits.
    pub fn read(&self, read: impl FnOnce(&mut dyn ClientStore) + Send + 'static) {
        self.push(Box::new(read), MAX_READS);
    }

    /// [`read`](Self::read) however much waits: for one who asks one thing at a time.
    pub(crate) fn read_always(&self, read: impl FnOnce(&mut dyn ClientStore) + Send + 'static) {
        self.push(Box::new(read), usize::MAX);
    }

    fn push(&self, read: Read, limit: usize) {
        let mut queue = self.0.lock();
        if !queue.closed && queue.reads < limit {
            queue.reads += 1;
            queue.jobs.push_back(Job::Read(read));
            self.0.stirred.notify_one();
        } else {
            // What the question holds may itself want the lock when it is dropped.
            drop(queue);
        }
    }
}

/// The thread's end, be it by a panic: nobody waits for it in vain.
struct End<F: FnOnce()> {
    shared: Arc<Shared>,
    closed: Option<F>,
}

impl<F: FnOnce()> Drop for End<F> {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.closed = true;
        let left = std::mem::take(&mut queue.jobs);
        // What a question holds may itself want the lock.
        drop(queue);
        drop(left);
        if let Some(closed) = self.closed.take() {
            closed();
        }
    }
}

fn run(
    shared: &Shared,
    mut store: Box<dyn ClientStore>,
    mut done: impl FnMut(Vec<OpId>, Result<(), StoreError>),
) {
    let (mut ops, mut batch) = (Vec::new(), Vec::new());
    loop {
        let mut read = None;
        {
            let mut queue = shared.lock();
            while queue.jobs.is_empty() {
                if queue.closed {
                    return;
                }
                queue = shared.stirred.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            while batch.len() < MAX_BATCH && read.is_none() {
                match queue.jobs.pop_front() {
                    Some(Job::Txn(op, txn)) => {
                        ops.push(op);
                        batch.push(*txn);
                    }
                    Some(Job::Read(question)) => {
                        queue.reads -= 1;
                        read = Some(question);
                    }
                    None => break,
                }
            }
        }
        if !batch.is_empty() {
            let result = store.commit(&batch);
            batch.clear();
            done(std::mem::take(&mut ops), result);
        }
        if let Some(read) = read {
            read(&mut *store);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::MemoryStore;
    use super::*;
    use std::sync::mpsc;

    fn confirm(n: u64) -> ClientTxn {
        ClientTxn::Confirm(n)
    }

    #[test]
    fn completions_come_in_order_and_reads_see_what_was_before_them() {
        let (done, heard) = mpsc::channel();
        let (closed, is_closed) = mpsc::channel();
        let thread = StoreThread::spawn(
            Box::new(MemoryStore::new()),
            move |ops, result| ops.into_iter().for_each(|op| done.send((op, result)).unwrap()),
            move || closed.send(()).unwrap(),
        )
        .unwrap();
        for n in 1..=3000 {
            thread.submit(OpId(n), confirm(n));
        }
        let (answer, answered) = mpsc::channel();
        thread.reader().read(move |store| answer.send(store.generation()).unwrap());
        assert_eq!(answered.recv().unwrap(), Ok(0));
        for n in 1..=3000 {
            assert_eq!(heard.try_recv().unwrap(), (OpId(n), Ok(())));
        }
        thread.submit(OpId(9999), confirm(1));
        let reader = thread.reader();
        drop(thread);
        assert_eq!(heard.recv().unwrap().0, OpId(9999), "what waits is finished");
        is_closed.recv().unwrap();
        let (answer, answered) = mpsc::channel::<()>();
        reader.read(move |_| answer.send(()).unwrap());
        assert!(answered.recv().is_err(), "a closed store answers nothing");
    }

    #[test]
    fn a_failure_is_told_to_each() {
        let store = MemoryStore::new();
        store.set_failure(Some(StoreError::Full));
        let (done, heard) = mpsc::channel();
        let thread =
            StoreThread::spawn(Box::new(store), move |ops, r| done.send((ops, r)).unwrap(), || ()).unwrap();
        thread.submit(OpId(1), confirm(1));
        assert_eq!(heard.recv().unwrap(), (vec![OpId(1)], Err(StoreError::Full)));
    }
}
