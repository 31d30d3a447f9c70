//! Which datagrams were seen: the newest and the 127 before it.

/// A sliding window over 128 sequence numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayWindow {
    newest: u64,
    /// Bit n: `newest - n` was seen.
    seen: u128,
}

impl ReplayWindow {
    /// How far back a late datagram may come.
    pub const SIZE: u64 = 128;

    /// Whether `seq` is neither seen nor too old. Numbers start at 1.
    #[must_use]
    pub const fn is_fresh(&self, seq: u64) -> bool {
        if seq == 0 {
            return false;
        }
        if seq > self.newest {
            return true;
        }
        let back = self.newest - seq;
        back < Self::SIZE && self.seen & (1 << back) == 0
    }

    /// Marks `seq` as seen. Only after its tag was verified.
    pub const fn mark(&mut self, seq: u64) {
        if seq > self.newest {
            let forward = seq - self.newest;
            self.seen = if forward < Self::SIZE { self.seen << forward } else { 0 } | 1;
            self.newest = seq;
        } else if self.newest - seq < Self::SIZE {
            self.seen |= 1 << (self.newest - seq);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn behaves_like_a_set(seqs in prop::collection::vec(0..600u64, 0..400)) {
            let mut window = ReplayWindow::default();
            let mut seen = BTreeSet::new();
            for seq in seqs {
                let newest = seen.last().copied().unwrap_or(0);
                let fresh = seq > 0 && !seen.contains(&seq) && seq + ReplayWindow::SIZE > newest;
                prop_assert_eq!(window.is_fresh(seq), fresh);
                if fresh {
                    window.mark(seq);
                    seen.insert(seq);
                }
            }
        }
    }

    #[test]
    fn the_far_end_does_not_overflow() {
        let mut w = ReplayWindow::default();
        w.mark(u64::MAX);
        assert!(!w.is_fresh(u64::MAX));
        assert!(w.is_fresh(u64::MAX - 127));
        assert!(!w.is_fresh(u64::MAX - 128));
    }
}
