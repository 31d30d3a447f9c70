//! A topic for each type.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Closed, Delivery, Handling, Limits, Subscriber, Topic, Verdict};

type Closing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A topic of any type.
trait AnyTopic: Any + Send + Sync {
    fn another(&self) -> Box<dyn AnyTopic>;
    fn close(&self) -> Closing;
}

impl<T: Send + Sync + 'static> AnyTopic for Topic<T> {
    fn another(&self) -> Box<dyn AnyTopic> {
        Box::new(self.clone())
    }

    fn close(&self) -> Closing {
        Box::pin(Self::close(self))
    }
}

#[derive(Default)]
struct Topics {
    by_type: BTreeMap<TypeId, Box<dyn AnyTopic>>,
    closed: bool,
}

/// Topics by the type of their events, made when first asked for. Clones share them. Two topics of one type are two
/// types: wrap one.
#[derive(Clone, Default)]
pub struct Bus(Arc<Mutex<Topics>>);

impl Bus {
    /// A bus without topics.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Topics> {
        // The table is whole after every statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The topic of a type. Whoever publishes often keeps it.
    #[must_use]
    pub fn topic<T: Send + Sync + 'static>(&self) -> Topic<T> {
        let mut topics = self.lock();
        let closed = topics.closed;
        let topic = topics.by_type.entry(TypeId::of::<T>()).or_insert_with(|| {
            let topic = Topic::<T>::new();
            if closed {
                // It has no subscriber yet that could be waited for.
                drop(topic.close());
            }
            Box::new(topic)
        });
        let topic: &dyn Any = &**topic;
        topic.downcast_ref::<Topic<T>>().expect("a topic stands under its own type").clone()
    }

    /// [`Topic::publish`] on the topic of its type.
    ///
    /// # Errors
    /// The bus or the topic is closed.
    pub fn publish<T: Send + Sync + 'static>(&self, event: T) -> Result<usize, Closed<T>> {
        self.topic().publish(event)
    }

    /// [`Topic::subscribe`] on the topic of a type.
    #[must_use = "dropped, it is unsubscribed"]
    pub fn subscribe<T: Send + Sync + 'static>(&self, limits: Limits) -> Subscriber<T> {
        self.topic().subscribe(limits)
    }

    /// [`Topic::handle`] on the topic of a type.
    #[must_use = "events are handled when this is polled"]
    pub fn handle<T, H, F>(&self, limits: Limits, handler: H) -> Handling<T, H, F>
    where
        T: Send + Sync + 'static,
        H: FnMut(Delivery<T>) -> F,
        F: Future<Output: Verdict>,
    {
        self.topic().handle(limits, handler)
    }

    /// Closes every topic at once, and those that are asked for later; the future waits for all their handlers. See
    /// [`Topic::close`].
    pub fn close(&self) -> impl Future<Output = ()> + Send + use<> {
        let topics: Vec<_> = {
            let mut topics = self.lock();
            topics.closed = true;
            topics.by_type.values().map(|topic| topic.another()).collect()
        };
        // Without the lock: closing wakes subscribers, and what they do is not ours.
        let closing: Vec<_> = topics.iter().map(|topic| topic.close()).collect();
        async move {
            for topic in closing {
                topic.await;
            }
        }
    }
}
