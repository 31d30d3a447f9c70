//! Virtual time and what happens in it.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fmt;
use std::time::Duration;

use ntproto_core::time::{Instant, Now, UnixMillis};

/// Microseconds since a run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(pub(crate) u64);

impl Time {
    pub(crate) const fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by.as_micros() as u64))
    }

    pub(crate) const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0 + ms * 1000)
    }

    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// What happens at an instant. Of two at the same one, the one put in first comes first.
struct Entry<E> {
    at: Time,
    number: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl<E> Eq for Entry<E> {}
impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<E> Ord for Entry<E> {
    /// The heap gives its greatest first, so the earliest is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// The one ordered heap of events.
pub(crate) struct Schedule<E> {
    heap: BinaryHeap<Entry<E>>,
    number: u64,
    now: Time,
}

impl<E> Schedule<E> {
    pub(crate) fn new() -> Self {
        Self { heap: BinaryHeap::new(), number: 0, now: Time(0) }
    }

    pub(crate) const fn now(&self) -> Time {
        self.now
    }

    /// Lets `event` happen at `at`, or now when that has passed.
    pub(crate) fn at(&mut self, at: Time, event: E) {
        self.number += 1;
        self.heap.push(Entry { at: at.max(self.now), number: self.number, event });
    }

    /// The next event; time moves to it.
    pub(crate) fn next(&mut self) -> Option<E> {
        let entry = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }
}

/// The wall clock when a run begins: 2026-01-01.
pub(crate) const WALL_START_MS: u64 = 1_767_225_600_000;

/// The clocks of one process: a monotonic one that starts somewhere at every start, and a wall clock
/// that may be wrong.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    origin: Time,
    start: u64,
    pub(crate) wall_offset_ms: i64,
}

impl Clock {
    /// `start`: what the monotonic clock shows now.
    pub(crate) const fn new(now: Time, start: u64, wall_offset_ms: i64) -> Self {
        Self { origin: now, start, wall_offset_ms }
    }

    pub(crate) fn now(&self, time: Time) -> Now {
        Now {
            mono: Instant::from_micros(self.start + (time.0 - self.origin.0)),
            unix: UnixMillis((WALL_START_MS + time.0 / 1000).saturating_add_signed(self.wall_offset_ms)),
        }
    }

    /// When the monotonic clock shows `at`.
    pub(crate) fn when(&self, at: Instant) -> Time {
        Time(at.as_micros().saturating_sub(self.start).saturating_add(self.origin.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_order_of_time_then_of_asking() {
        let mut schedule = Schedule::new();
        for (at, name) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b')] {
            schedule.at(Time(at), name);
        }
        let order: Vec<_> = std::iter::from_fn(|| schedule.next()).collect();
        assert_eq!(order, ['a', 'b', 'c', 'd']);
        assert_eq!(schedule.now(), Time(5));
    }

    #[test]
    fn a_clock_translates_both_ways() {
        let clock = Clock::new(Time(500), 70, -3);
        let now = clock.now(Time(1700));
        assert_eq!(now.mono.as_micros(), 1270);
        assert_eq!(now.unix.0, WALL_START_MS - 2);
        assert_eq!(clock.when(now.mono), Time(1700));
    }
}
