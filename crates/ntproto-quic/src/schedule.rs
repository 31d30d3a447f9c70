//! Who is ready and who wakes next: both known without looking at every connection.

use std::collections::{BTreeSet, VecDeque};

use ntproto_core::time::Instant;

/// Slots in the order they became ready, each at most once.
#[derive(Default)]
pub(crate) struct ReadyQueue(VecDeque<u32>);

impl ReadyQueue {
    /// Adds `slot` unless `queued` says that it is in.
    pub(crate) fn push(&mut self, slot: u32, queued: &mut bool) {
        if !std::mem::replace(queued, true) {
            self.0.push_back(slot);
        }
    }

    pub(crate) fn front(&self) -> Option<u32> {
        self.0.front().copied()
    }

    /// Takes the front out; its `queued` flag is the caller's to clear.
    pub(crate) fn pop(&mut self) {
        self.0.pop_front();
    }

    /// Lets the next one go first.
    pub(crate) fn rotate(&mut self) {
        if self.0.len() > 1 {
            self.0.rotate_left(1);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Deadlines of all connections, soonest first.
#[derive(Default)]
pub(crate) struct Timers {
    set: BTreeSet<(Instant, u32)>,
    /// The first of them, so that an idle poll walks no tree.
    next: Option<(Instant, u32)>,
}

impl Timers {
    /// Moves `slot` from the deadline in `armed` to `at`.
    pub(crate) fn arm(&mut self, slot: u32, armed: &mut Option<Instant>, at: Option<Instant>) {
        if *armed == at {
            return;
        }
        if let Some(old) = *armed {
            self.set.remove(&(old, slot));
        }
        if let Some(new) = at {
            self.set.insert((new, slot));
        }
        *armed = at;
        self.next = self.set.first().copied();
    }

    /// The soonest deadline and whose it is.
    pub(crate) fn next(&self) -> Option<(Instant, u32)> {
        self.next
    }

    /// Collects the slots whose deadline is not after `now`. They stay armed.
    pub(crate) fn due(&self, now: Instant, out: &mut Vec<u32>) {
        out.extend(self.set.iter().take_while(|(at, _)| *at <= now).map(|(_, slot)| *slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_know_the_soonest() {
        let (mut timers, mut a, mut b) = (Timers::default(), None, None);
        let at = |us| Some(Instant::from_micros(us));
        let soonest = |timers: &Timers| timers.next().map(|(at, slot)| (at.as_micros(), slot));
        timers.arm(0, &mut a, at(50));
        timers.arm(1, &mut b, at(20));
        assert_eq!(soonest(&timers), Some((20, 1)));
        timers.arm(1, &mut b, at(90));
        assert_eq!(soonest(&timers), Some((50, 0)));
        let mut due = Vec::new();
        timers.due(Instant::from_micros(60), &mut due);
        assert_eq!(due, [0]);
        timers.arm(0, &mut a, None);
        timers.arm(1, &mut b, None);
        assert_eq!(soonest(&timers), None);
    }

    #[test]
    fn a_slot_is_queued_once() {
        let (mut queue, mut flag) = (ReadyQueue::default(), false);
        queue.push(3, &mut flag);
        queue.push(3, &mut flag);
        queue.pop();
        assert!(queue.is_empty() && flag);
    }
}
