//! The table that is swapped while it is read.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use ntproto_core::dispatch::{Occupied, Table};
use ntproto_core::wire::packet::PacketId;

/// Handlers by packet id, registered, replaced and removed while others look them up.
///
/// A writer copies the page it changes and swaps a pointer; it waits for other writers, never for readers. A
/// [`Reader`] notices a change by one atomic load.
///
/// ```
/// use std::sync::Arc;
/// use ntproto_sdk::dispatch::{PacketId, Routes};
///
/// let routes = Arc::new(Routes::new());
/// let mut reader = Routes::reader(&routes);
/// routes.register(PacketId(0x8001), "one")?;
/// assert!(routes.register(PacketId(0x8001), "two").is_err());
/// assert_eq!(reader.snapshot().get(PacketId(0x8001)), Some(&"one"));
/// # Ok::<(), ntproto_sdk::dispatch::Occupied>(())
/// ```
pub struct Routes<H> {
    /// Locked for as long as a pointer is copied or swapped.
    current: RwLock<Snapshot<H>>,
    /// Counts the swaps, each under the lock of `current`.
    version: AtomicU64,
    /// Held by the one who writes.
    writing: Mutex<()>,
}

/// The handlers at one moment. It never changes; clones share it.
pub struct Snapshot<H>(Arc<Table<H>>);

impl<H> Clone for Snapshot<H> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<H> Deref for Snapshot<H> {
    type Target = Table<H>;

    fn deref(&self) -> &Table<H> {
        &self.0
    }
}

impl<H> Default for Routes<H> {
    fn default() -> Self {
        Self {
            current: RwLock::new(Snapshot(Arc::default())),
            version: AtomicU64::new(0),
            writing: Mutex::new(()),
        }
    }
}

impl<H> Routes<H> {
    /// No handlers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The handlers as they are now. To look up often, take a [`reader`](Self::reader).
    #[must_use]
    pub fn snapshot(&self) -> Snapshot<H> {
        // Whoever panics with a lock held leaves a whole table.
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A reader of one's own, for a loop that looks up batch after batch.
    #[must_use]
    pub fn reader(routes: &Arc<Self>) -> Reader<H> {
        let (snapshot, version) = routes.latest();
        Reader { routes: Arc::clone(routes), snapshot, version }
    }

    fn latest(&self) -> (Snapshot<H>, u64) {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        (current.clone(), self.version.load(Ordering::Acquire))
    }
}

impl<H: Clone> Routes<H> {
    /// Adds a handler. When this returns, every snapshot taken from then on has it.
    ///
    /// # Errors
    /// [`Occupied`] when there is one; nothing has changed.
    pub fn register(&self, id: PacketId, handler: H) -> Result<(), Occupied> {
        self.change(|table| {
            // A copy: what is refused is dropped by its owner, who holds no lock.
            let done = table.register(id, handler.clone());
            (done, done.is_ok())
        })
    }

    /// Sets the handler of an id; the former one, which may still be at work on what it began.
    pub fn replace(&self, id: PacketId, handler: H) -> Option<H> {
        self.change(|table| (table.replace(id, handler.clone()), true))
    }

    /// Takes a handler out; it may still be at work on what it began.
    pub fn remove(&self, id: PacketId) -> Option<H> {
        self.change(|table| {
            let handler = table.remove(id);
            let changed = handler.is_some();
            (handler, changed)
        })
    }

    /// Copies the table, which copies no page, changes it, which copies one, and swaps it in if it changed.
    fn change<R>(&self, change: impl FnOnce(&mut Table<H>) -> (R, bool)) -> R {
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = Table::clone(&self.snapshot());
        let (result, changed) = change(&mut table);
        let mut other = Snapshot(Arc::new(table));
        if changed {
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut *current, &mut other);
            self.version.fetch_add(1, Ordering::Release);
        }
        // A handler that goes with the old table may do anything when it is dropped, use this one too.
        drop(writing);
        drop(other);
        result
    }
}

/// Looks handlers up, batch after batch: keeps its snapshot until there is a newer one.
///
/// A handler that was removed lives on in readers that take no snapshot.
pub struct Reader<H> {
    routes: Arc<Routes<H>>,
    snapshot: Snapshot<H>,
    version: u64,
}

impl<H> Reader<H> {
    /// The handlers as they are now: one atomic load, unless they have changed.
    pub fn snapshot(&mut self) -> &Snapshot<H> {
        if self.routes.version.load(Ordering::Acquire) != self.version {
            (self.snapshot, self.version) = self.routes.latest();
        }
        &self.snapshot
    }
}
