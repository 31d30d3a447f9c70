//! The heartbeat of one direction.

use core::time::Duration;

use crate::time::Instant;

/// Between two heartbeats.
pub const INTERVAL: Duration = Duration::from_secs(30);
/// The shortest interval a server may set: a device that sends more often than this never sleeps.
pub const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// The longest: with the answer's time it stays below what a transport may take for silence (60 s on QUIC).
pub const LONGEST_INTERVAL: Duration = Duration::from_secs(45);
/// An answer later than this means the link is dead.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// A request that has been met with silence for so long brings the heartbeat forward: whoever waits for an
/// answer shall know within [`ANSWER_WITHIN`] of it that there is nobody.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulse {
    /// Nothing before the deadline.
    Quiet,
    /// Send a HEARTBEAT with this number.
    Send(u64),
    /// The answer did not come.
    Dead,
}

/// Asks every [`INTERVAL`], expects the echo within [`ANSWER_WITHIN`]. Echoes that come twice, late
/// or from nowhere change nothing.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    interval: Duration,
    number: u64,
    due: Instant,
    awaiting: bool,
    /// When the silence after a request has lasted too long.
    impatient: Option<Instant>,
}

impl Heartbeat {
    /// Starts counting at `now`.
    #[must_use]
    pub fn new(now: Instant, interval: Duration) -> Self {
        Self { interval, number: 0, due: now + interval, awaiting: false, impatient: None }
    }

    /// The next instant something is due.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        match self.impatient {
            Some(early) if !self.awaiting => early.min(self.due),
            _ => self.due,
        }
    }

    /// A request went out: something should be heard soon.
    pub fn asked(&mut self, now: Instant) {
        self.impatient.get_or_insert(now + PATIENCE);
    }

    /// Something was heard, whatever it is.
    pub const fn heard(&mut self) {
        self.impatient = None;
    }

    /// Whether an answer is outstanding.
    #[must_use]
    pub const fn awaiting(&self) -> bool {
        self.awaiting
    }

    /// Asks what is due. Each heartbeat is named once.
    pub fn poll(&mut self, now: Instant) -> Pulse {
        if now < self.deadline() {
            return Pulse::Quiet;
        }
        if self.awaiting {
            return Pulse::Dead;
        }
        self.number += 1;
        self.awaiting = true;
        self.impatient = None;
        self.due = now + ANSWER_WITHIN;
        Pulse::Send(self.number)
    }

    /// The peer echoed `number`. Returns whether it was the one awaited.
    pub fn acked(&mut self, now: Instant, number: u64) -> bool {
        //= spec: liveness-2
        let ours = self.awaiting && number == self.number;
        if ours {
            self.awaiting = false;
            self.due = now + self.interval;
        }
        ours
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(n: u64) -> Instant {
        Instant::from_micros(n * 1_000_000)
    }

    //= proof: liveness-2
    #[test]
    fn beats_and_dies() {
        let mut h = Heartbeat::new(s(1), INTERVAL);
        assert_eq!(h.poll(s(30)), Pulse::Quiet);
        assert_eq!(h.poll(s(31)), Pulse::Send(1));
        assert_eq!(h.poll(s(32)), Pulse::Quiet);
        assert!(!h.acked(s(32), 7), "an echo of something else");
        assert!(h.acked(s(33), 1));
        assert!(!h.acked(s(33), 1), "idempotent");
        assert_eq!(h.deadline(), s(63));
        assert_eq!(h.poll(s(63)), Pulse::Send(2));
        assert_eq!(h.poll(s(72)), Pulse::Quiet);
        assert_eq!(h.poll(s(73)), Pulse::Dead);
    }

    #[test]
    fn silence_after_a_request_brings_it_forward() {
        let mut h = Heartbeat::new(s(1), INTERVAL);
        h.asked(s(2));
        h.asked(s(4));
        assert_eq!(h.deadline(), s(7), "the first that was not answered counts");
        h.heard();
        assert_eq!(h.deadline(), s(31));
        h.asked(s(8));
        assert_eq!(h.poll(s(12)), Pulse::Quiet);
        assert_eq!(h.poll(s(13)), Pulse::Send(1));
        h.asked(s(14));
        assert_eq!(h.poll(s(22)), Pulse::Quiet, "the answer still has its time");
        assert_eq!(h.poll(s(23)), Pulse::Dead);
        let mut h = Heartbeat::new(s(1), INTERVAL);
        h.asked(s(30));
        assert_eq!(h.deadline(), s(31), "never put off");
    }
}
