//! Server time: what the store said at boot plus the monotonic time since, and never beyond a floor
//! that is on the disk. After a crash it goes on from the floor, so it never goes back, whatever the
//! wall clock does.

use core::time::Duration;

use ntproto_core::time::{Instant, UnixMillis};

use crate::config::FLOOR_RETRY;
use crate::store::execute::CLOCK_LEAD;
use crate::store::txn::Boot;

/// The floor is moved when less than this is left of it.
const MARGIN: Duration = CLOCK_LEAD.checked_div(2).expect("two is not zero");

/// The server's clock.
pub(crate) struct ServerClock {
    origin: Instant,
    start: UnixMillis,
    floor: UnixMillis,
    asked: bool,
    retry_at: Option<Instant>,
}

impl ServerClock {
    pub(crate) const fn new(now: Instant, boot: &Boot) -> Self {
        Self { origin: now, start: boot.clock, floor: boot.floor, asked: false, retry_at: None }
    }

    fn elapsed(&self, now: Instant) -> UnixMillis {
        self.start + now.saturating_since(self.origin)
    }

    /// Server time, as far as the floor lets it.
    pub(crate) fn now(&self, now: Instant) -> UnixMillis {
        //= spec: tickets-2
        self.elapsed(now).min(self.floor)
    }

    /// Whether it is the full time: nothing holds it back.
    pub(crate) fn is_current(&self, now: Instant) -> bool {
        self.elapsed(now) <= self.floor
    }

    /// The floor to ask the store for, if it is time to.
    pub(crate) fn ask(&mut self, now: Instant) -> Option<UnixMillis> {
        let wanted = !self.asked
            && self.retry_at.is_none_or(|at| now >= at)
            && self.elapsed(now) + MARGIN >= self.floor;
        wanted.then(|| {
            self.asked = true;
            self.elapsed(now) + CLOCK_LEAD
        })
    }

    /// When to ask next; `None` while an answer is awaited.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.asked {
            return None;
        }
        let until = (self.floor.0.saturating_sub(self.start.0)).saturating_sub(MARGIN.as_millis() as u64);
        let due = self.origin + Duration::from_millis(until);
        Some(self.retry_at.map_or(due, |at| at.max(due)))
    }

    /// The store moved the floor.
    pub(crate) fn moved(&mut self, floor: UnixMillis) {
        self.floor = self.floor.max(floor);
        self.asked = false;
        self.retry_at = None;
    }

    /// The store could not.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.asked = false;
        self.retry_at = Some(now + FLOOR_RETRY);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    //= proof: tickets-2
    #[test]
    fn time_stands_still_at_the_floor_until_it_is_moved() {
        let boot = Boot { epoch: [0; 16], clock: UnixMillis(1_000), floor: UnixMillis(6_000) };
        let mut clock = ServerClock::new(at(100), &boot);
        assert_eq!(clock.now(at(100)), UnixMillis(1_000));
        assert_eq!(clock.deadline(), Some(at(2_600)));
        assert_eq!(clock.ask(at(2_599)), None);
        assert_eq!(clock.ask(at(2_600)), Some(UnixMillis(8_500)));
        assert_eq!((clock.ask(at(2_700)), clock.deadline()), (None, None));
        assert_eq!(clock.now(at(60_000)), UnixMillis(6_000));
        assert!(!clock.is_current(at(60_000)));
        clock.failed(at(60_000));
        assert_eq!(clock.deadline(), Some(at(61_000)));
        assert_eq!(clock.ask(at(60_500)), None);
        assert_eq!(clock.ask(at(61_000)), Some(UnixMillis(66_900)));
        clock.moved(UnixMillis(66_900));
        assert_eq!(clock.now(at(61_000)), UnixMillis(61_900));
        assert!(clock.is_current(at(61_000)));
    }
}
