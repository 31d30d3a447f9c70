//! One event to many subscribers, without a runtime.
//!
//! ```text
//!   publish ─▶ one ring of events ─▶ Subscriber: Stream, recv, try_recv, iter, each at its own place
//!              as long as the        Handling: a future that calls a handler for each
//!              largest bound
//! ```
//!
//! A [`Topic`] carries events of one type; a [`Bus`] holds a topic for each type. Publishing puts the event into the
//! ring and wakes who sleeps: it takes the same time whatever the subscribers do, and waits for none. A subscriber
//! that is further behind than its bound loses the oldest events and is told how many, or is disconnected, as it
//! chose ([`Overflow`]). So a topic never holds more events than the largest bound, and an event that all have taken
//! is dropped at once.
//!
//! Subscribers come and go while events flow, also out of a handler. [`Topic::close`] ends it: nothing more is
//! published, every subscriber takes what is there, and the future it returns waits for the handlers.
//!
//! ```
//! use std::num::NonZeroUsize;
//! use ntproto_sdk::bus::{Bus, Delivery, Limits};
//!
//! #[derive(Debug, PartialEq)]
//! struct Renamed(u64);
//!
//! let bus = Bus::new();
//! let mut names = bus.subscribe::<Renamed>(Limits::lossy(NonZeroUsize::new(100).unwrap()));
//! bus.publish(Renamed(10001)).unwrap();
//! let told = names.recv_blocking();
//! assert!(matches!(told, Some(Delivery::Event(event)) if *event == Renamed(10001)));
//! ```

mod handling;
mod registry;
mod ring;
mod subscriber;
#[cfg(test)]
mod tests;
mod topic;

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

pub use handling::{Handled, Handling, Verdict};
pub use registry::Bus;
pub use subscriber::{Iter, Subscriber, Subscription, TryRecvError};
pub use topic::Topic;

/// What a subscriber gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Delivery<T> {
    /// An event, shared with the other subscribers.
    Event(Arc<T>),
    /// It was too slow: so many events were left out here.
    Lagged(u64),
}

impl<T> Clone for Delivery<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Event(event) => Self::Event(Arc::clone(event)),
            Self::Lagged(missed) => Self::Lagged(*missed),
        }
    }
}

/// What becomes of a subscriber that is further behind than its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest events are dropped, and [`Delivery::Lagged`] says how many.
    DropOldest,
    /// It is over: what it had not taken is dropped, and [`End::TooSlow`] says why.
    Disconnect,
}

/// How far behind a subscriber may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Events that may wait for it.
    pub bound: NonZeroUsize,
    /// What happens when there are more.
    pub overflow: Overflow,
}

impl Limits {
    /// So many events; more drop the oldest.
    #[must_use]
    pub const fn lossy(bound: NonZeroUsize) -> Self {
        Self { bound, overflow: Overflow::DropOldest }
    }

    /// So many events; more end the subscription.
    #[must_use]
    pub const fn strict(bound: NonZeroUsize) -> Self {
        Self { bound, overflow: Overflow::Disconnect }
    }
}

/// Why a subscriber gets nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The topic was closed, or the last that could publish is gone; everything was taken.
    Closed,
    /// It was further behind than its bound, with [`Overflow::Disconnect`].
    TooSlow,
    /// It was unsubscribed.
    Unsubscribed,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the topic was closed",
            Self::TooSlow => "the subscriber was too slow",
            Self::Unsubscribed => "the subscriber was unsubscribed",
        })
    }
}

/// The topic is closed; the event comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Closed<T>(pub T);

impl<T> fmt::Debug for Closed<T> {
    /// Without the event, which may hold what people wrote.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Closed(..)")
    }
}

impl<T> fmt::Display for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the topic is closed")
    }
}

impl<T> std::error::Error for Closed<T> {}
