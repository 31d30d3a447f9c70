//! Randomness from a seed the host drew: same seed, same run.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng};

/// A ChaCha20 generator. Hosts seed it from the operating system; tests from a number.
pub struct Rng(ChaCha20Rng);

impl Rng {
    /// A generator for this seed. A production seed must come from the operating system.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha20Rng::from_seed(seed))
    }

    /// Fills `out`.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.0.fill_bytes(out);
    }

    /// `N` random bytes.
    #[must_use]
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }

    /// A random 64-bit number.
    #[must_use]
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound` (0 when `bound` is 0). The bias is under 2⁻³² for the bounds used here:
    /// it serves jitter and simulations, never keys.
    #[must_use]
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.u64()) * u128::from(bound)) >> 64) as u64
    }

    /// An independent generator, seeded by this one.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::new(self.array())
    }
}
