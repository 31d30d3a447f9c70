//! How large the next chunk is: about what the path takes in a second.

use core::time::Duration;

use crate::time::Instant;

/// Bytes of the smallest chunk: below it requests cost more than what a break loses.
pub const MIN_CHUNK: u64 = 1_000_000;
/// Bytes of the largest chunk, and of all that is under way at once: a break costs no more than this.
pub const MAX_CHUNK: u64 = 5_000_000;
/// Chunks under way at once.
pub const MAX_FLIGHTS: usize = (MAX_CHUNK / MIN_CHUNK) as usize;
/// How long a chunk should take.
const TARGET: Duration = Duration::from_secs(1);
/// An answer that takes longer than this leaves the path idle for long enough to have a second chunk under way meanwhile.
const LAG: Duration = Duration::from_millis(50);

/// What was measured of the path.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    chunk: u64,
    /// Bytes a second, smoothed.
    rate: Option<u64>,
    lag: Duration,
    /// When the last chunk was answered.
    last: Option<Instant>,
    /// The path broke, and nothing got through since: on a slow one several chunks would share what one needs to get anywhere.
    alone: bool,
}

impl Pace {
    /// Begins with what an earlier run ended with; 0: nothing is known.
    pub(super) fn new(chunk: u64) -> Self {
        Self {
            chunk: chunk.clamp(MIN_CHUNK, MAX_CHUNK),
            rate: None,
            lag: Duration::ZERO,
            last: None,
            alone: false,
        }
    }

    /// Bytes of the next chunk.
    pub(super) const fn chunk(&self) -> u64 {
        self.chunk
    }

    /// Whether one more of `len` bytes may be under way beside `flights` of `bytes`.
    pub(super) const fn has_room(&self, flights: usize, bytes: u64, len: u64) -> bool {
        flights == 0 || (!self.alone && flights < MAX_FLIGHTS && bytes + len <= MAX_CHUNK)
    }

    /// A chunk of `len` bytes is through: asked for at `asked`, its last byte gone at `gone`.
    pub(super) fn through(&mut self, now: Instant, len: u64, asked: Instant, gone: Instant) {
        // Chunks stand in line: this one had the path from the one before it on.
        let began = self.last.map_or(asked, |last| last.max(asked));
        (self.last, self.alone) = (Some(now), false);
        let micros = now.saturating_since(began).as_micros().max(1) as u64;
        let rate = len.saturating_mul(1_000_000) / micros;
        // Half and half: a path that changed is believed after two or three chunks.
        self.rate = Some(self.rate.map_or(rate, |old| old / 2 + rate / 2));
        self.lag = (self.lag + now.saturating_since(gone)) / 2;
        let mut target = self.rate.unwrap_or(rate).saturating_mul(TARGET.as_secs());
        if self.lag > LAG {
            target = target.min(MAX_CHUNK / 2);
        }
        // Doubled at most: one quick answer proves little.
        self.chunk = target.min(self.chunk * 2).clamp(MIN_CHUNK, MAX_CHUNK);
    }

    /// The path broke: what it took before is not known of the next one.
    pub(super) fn broke(&mut self) {
        self.chunk = (self.chunk / 2).max(MIN_CHUNK);
        (self.rate, self.last, self.alone) = (None, None, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pace: &mut Pace, rate: u64, lag: Duration, chunks: u32) {
        let mut now = Instant::from_micros(1);
        for _ in 0..chunks {
            let asked = now;
            let gone = asked + Duration::from_micros(pace.chunk() * 1_000_000 / rate);
            now = gone + lag;
            pace.through(now, pace.chunk(), asked, gone);
        }
    }

    #[test]
    fn a_chunk_is_what_goes_in_a_second() {
        let lan = Duration::from_millis(1);
        let mut pace = Pace::new(0);
        assert_eq!(pace.chunk(), MIN_CHUNK);
        run(&mut pace, 100_000_000, lan, 5);
        assert_eq!(pace.chunk(), MAX_CHUNK);
        run(&mut pace, 3_000_000, lan, 10);
        assert!((2_900_000..3_100_000).contains(&pace.chunk()), "{}", pace.chunk());
        run(&mut pace, 10_000, lan, 10);
        assert_eq!(pace.chunk(), MIN_CHUNK);
        // Far away, two fit at once.
        run(&mut pace, 100_000_000, Duration::from_millis(300), 10);
        assert!(pace.chunk() > MIN_CHUNK && pace.has_room(1, pace.chunk(), pace.chunk()));
        pace.broke();
        assert_eq!(pace.chunk(), MAX_CHUNK / 4);
        // One at a time, until one is through.
        assert!(pace.has_room(0, 0, MIN_CHUNK) && !pace.has_room(1, MIN_CHUNK, MIN_CHUNK));
        run(&mut pace, 10_000, lan, 1);
        assert!(pace.has_room(1, MIN_CHUNK, MIN_CHUNK));
    }

    #[test]
    fn what_is_under_way_is_bounded() {
        let pace = Pace::new(0);
        assert!(pace.has_room(0, 0, MAX_CHUNK) && pace.has_room(4, 4 * MIN_CHUNK, MIN_CHUNK));
        assert!(!pace.has_room(1, MIN_CHUNK, MAX_CHUNK) && !pace.has_room(MAX_FLIGHTS, 5, 1));
    }
}
