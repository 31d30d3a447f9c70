//! Server time: what the store said at boot plus the monotonic time since, and never beyond a floor
//! that is on the disk. After a crash it goes on from the floor, so it never goes back, whatever the
//! wall clock does.

use core::time::Duration;

use ntproto_core::time::{Instant, Now, UnixMillis};

use crate::config::FLOOR_RETRY;
use crate::hub::{Hub, Op};
use crate::store::execute::{BOOT_LEAD, CLOCK_LEAD};
use crate::store::txn::Boot;
use crate::store::{Outcome, StoreError, Txn};

/// The server's clock.
pub(crate) struct ServerClock {
    origin: Instant,
    start: UnixMillis,
    floor: UnixMillis,
    /// How far the floor was ahead when it was asked for. It is moved when half of that is left.
    lead: Duration,
    asked: bool,
    retry_at: Option<Instant>,
}

impl ServerClock {
    pub(crate) const fn new(now: Instant, boot: &Boot) -> Self {
        Self {
            origin: now,
            start: boot.clock,
            floor: boot.floor,
            lead: BOOT_LEAD,
            asked: false,
            retry_at: None,
        }
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
            && self.elapsed(now) + self.lead / 2 >= self.floor;
        wanted.then(|| {
            self.asked = true;
            // No further than it has been up: what a crash leaves unused is what server time gets ahead by.
            self.lead = now.saturating_since(self.origin).clamp(BOOT_LEAD, CLOCK_LEAD);
            self.elapsed(now) + self.lead
        })
    }

    /// When to ask next; `None` while an answer is awaited.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.asked {
            return None;
        }
        let until =
            (self.floor.0.saturating_sub(self.start.0)).saturating_sub(self.lead.as_millis() as u64 / 2);
        let due = self.origin + Duration::from_millis(until);
        Some(self.retry_at.map_or(due, |at| at.max(due)))
    }

    /// Time stands still from now on; the instant at which it does.
    pub(crate) fn stop(&mut self, now: Instant) -> UnixMillis {
        self.floor = self.now(now);
        self.asked = true;
        self.floor
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

impl Hub {
    /// Asks for a new clock floor when it is time.
    pub(crate) fn keep_clock(&mut self, now: Now) {
        if let Some(at) = self.clock.ask(now.mono) {
            self.submit(Op::ClockFloor, Txn::SetClockFloor { at }, None);
        }
    }

    /// The store has moved the floor, or could not.
    pub(crate) fn floor_moved(&mut self, now: Now, result: Result<Outcome, StoreError>) {
        let moved = match result {
            Ok(Outcome::ClockFloor { floor }) => {
                self.clock.moved(floor);
                true
            }
            _ => {
                self.clock.failed(now.mono);
                false
            }
        };
        for conn in core::mem::take(&mut self.parked) {
            self.unpark(now, conn, moved);
        }
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
        let boot = Boot { epoch: [0; 16], clock: UnixMillis(1_000), floor: UnixMillis(1_100) };
        let mut clock = ServerClock::new(at(100), &boot);
        assert_eq!(clock.now(at(100)), UnixMillis(1_000));
        assert_eq!(clock.deadline(), Some(at(150)));
        assert_eq!(clock.ask(at(149)), None);
        assert_eq!(clock.ask(at(150)), Some(UnixMillis(1_150)));
        assert_eq!((clock.ask(at(170)), clock.deadline()), (None, None));
        assert_eq!(clock.now(at(60_000)), UnixMillis(1_100));
        assert!(!clock.is_current(at(60_000)));
        clock.failed(at(60_000));
        assert_eq!(clock.deadline(), Some(at(61_000)));
        assert_eq!(clock.ask(at(60_500)), None);
        assert_eq!(clock.ask(at(61_000)), Some(UnixMillis(66_900)));
        clock.moved(UnixMillis(66_900));
        assert_eq!(clock.now(at(61_000)), UnixMillis(61_900));
        assert!(clock.is_current(at(61_000)));
        assert_eq!(clock.stop(at(62_000)), UnixMillis(62_900));
        assert_eq!((clock.now(at(90_000)), clock.deadline()), (UnixMillis(62_900), None));
    }

    #[test]
    fn the_floor_is_never_further_ahead_than_the_server_has_been_up() {
        let boot = Boot { epoch: [0; 16], clock: UnixMillis(0), floor: UnixMillis(100) };
        let mut clock = ServerClock::new(at(1_000), &boot);
        let (mut moves, mut ms) = (0, 0);
        while ms < 60_000 {
            let due = clock.deadline().unwrap();
            ms = due.as_micros() / 1_000 - 1_000;
            let floor = clock.ask(due).unwrap();
            assert!(floor.0 - ms <= ms.clamp(100, 5_000), "{floor:?} at {ms}");
            clock.moved(floor);
            moves += 1;
        }
        assert!(moves < 40, "{moves} writes in a minute");
    }
}
