//! How long to wait before the next connection.

use core::time::Duration;

use crate::rng::Rng;

/// The longest wait: a minute is the most a user should sit in front of a network that came back.
pub const MAX_BACKOFF: Duration = Duration::from_secs(60);
const BASE: Duration = Duration::from_secs(1);

/// What is done with the ceiling of a wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Jitter {
    /// Anywhere between nothing and the ceiling: a server that restarts is not hit by all at once.
    #[default]
    Full,
    /// The ceiling itself: 1 s, 2 s, 4 s … 60 s.
    None,
}

/// `min(60 s, 2^retry × 1 s)`, jittered.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    retry: u32,
    jitter: Jitter,
}

impl Backoff {
    /// From retry 0.
    #[must_use]
    pub const fn new(jitter: Jitter) -> Self {
        Self { retry: 0, jitter }
    }

    /// The next wait; each call counts one more retry.
    pub fn next(&mut self, rng: &mut Rng) -> Duration {
        let ceiling = self.ceiling();
        self.retry = self.retry.saturating_add(1);
        match self.jitter {
            Jitter::None => ceiling,
            Jitter::Full => Duration::from_micros(rng.below(ceiling.as_micros() as u64 + 1)),
        }
    }

    /// The ceiling of the next wait.
    #[must_use]
    pub fn ceiling(&self) -> Duration {
        // 2^6 s is over the maximum already; the cap keeps the shift in range.
        (BASE * (1 << self.retry.min(6))).min(MAX_BACKOFF)
    }

    /// How often it was asked since the last reset.
    #[must_use]
    pub const fn retries(&self) -> u32 {
        self.retry
    }

    /// A session held: start over from retry 0.
    pub fn reset(&mut self) {
        self.retry = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn the_drafts_schedule() {
        let mut rng = Rng::new([0; 32]);
        let mut b = Backoff::new(Jitter::None);
        let waits: Vec<u64> = (0..9).map(|_| b.next(&mut rng).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        b.reset();
        assert_eq!(b.next(&mut rng).as_secs(), 1);
    }

    #[test]
    fn jitter_stays_under_the_ceiling_and_spreads() {
        let mut rng = Rng::new([7; 32]);
        let mut b = Backoff::new(Jitter::Full);
        let mut low = 0;
        for _ in 0..10_000 {
            let ceiling = b.ceiling();
            let wait = b.next(&mut rng);
            assert!(wait <= ceiling);
            low += u32::from(wait < ceiling / 2);
        }
        assert!((4_000..6_000).contains(&low), "{low}");
        assert_eq!(b.retries(), 10_000);
    }
}
