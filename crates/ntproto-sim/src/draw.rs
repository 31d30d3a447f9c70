//! Drawing numbers for a simulation.

use ntproto_core::rng::Rng;

/// What a simulation draws.
pub(crate) trait Draw {
    /// A number in `low..=high`.
    fn between(&mut self, low: u64, high: u64) -> u64;
    /// True in `percent` of a hundred.
    fn chance(&mut self, percent: u64) -> bool;
    /// One of `items`, which is not empty.
    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T;
    /// Mostly near `low`, now and then up to `high`: the shape of delays.
    fn skewed(&mut self, low: u64, high: u64) -> u64;
}

impl Draw for Rng {
    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    fn skewed(&mut self, low: u64, high: u64) -> u64 {
        let top = low + (high - low) / [1, 4, 16, 64][self.below(4) as usize];
        self.between(low, top)
    }
}

/// A generator for one purpose of one seed: adding a purpose does not disturb the others.
pub(crate) fn rng(seed: u64, purpose: &str) -> Rng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    for (n, byte) in purpose.bytes().enumerate() {
        bytes[8 + n % 24] = bytes[8 + n % 24].rotate_left(3) ^ byte;
    }
    Rng::new(bytes)
}
