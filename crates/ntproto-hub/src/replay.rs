//! AUTH_REQs seen lately. Within the window in which a request's timestamp is good, the same one
//! again is refused.

use alloc::collections::{BTreeMap, BTreeSet};

use ntproto_core::session::handshake::MAX_CLOCK_SKEW_MS;
use ntproto_core::time::UnixMillis;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is new, and remembered from now on.
    New,
    /// It was here before.
    Before,
    /// It may be new, but nothing more can be remembered.
    Full,
}

/// A bounded memory of client ephemerals.
pub(crate) struct ReplayMemory {
    until: BTreeMap<[u8; 32], UnixMillis>,
    order: BTreeSet<(UnixMillis, [u8; 32])>,
    limit: usize,
}

impl ReplayMemory {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { until: BTreeMap::new(), order: BTreeSet::new(), limit }
    }

    /// Whether it was here before; it is not remembered by this.
    pub(crate) fn contains(&self, ephemeral: &[u8; 32]) -> bool {
        self.until.contains_key(ephemeral)
    }

    /// Remembers a request until its timestamp is too old to pass.
    pub(crate) fn remember(&mut self, now: UnixMillis, ephemeral: [u8; 32], timestamp: UnixMillis) -> Seen {
        while let Some(&(until, old)) = self.order.first()
            && until < now
        {
            self.order.pop_first();
            self.until.remove(&old);
        }
        if self.until.contains_key(&ephemeral) {
            return Seen::Before;
        }
        if self.until.len() >= self.limit {
            return Seen::Full;
        }
        let until = UnixMillis(timestamp.0.saturating_add(MAX_CLOCK_SKEW_MS));
        self.until.insert(ephemeral, until);
        self.order.insert((until, ephemeral));
        Seen::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    //= proof: handshake-13
    #[test]
    fn a_request_is_remembered_as_long_as_its_timestamp_is_good() {
        let mut memory = ReplayMemory::new(2);
        let ahead = UnixMillis(200_000);
        assert_eq!(memory.remember(UnixMillis(100_000), [1; 32], ahead), Seen::New);
        assert_eq!(memory.remember(UnixMillis(320_000), [1; 32], ahead), Seen::Before);
        assert!(memory.contains(&[1; 32]));
        assert_eq!(memory.remember(UnixMillis(320_000), [2; 32], ahead), Seen::New);
        assert_eq!(memory.remember(UnixMillis(320_000), [3; 32], ahead), Seen::Full);
        assert_eq!(memory.remember(UnixMillis(320_001), [3; 32], UnixMillis(320_001)), Seen::New);
        assert!(!memory.contains(&[1; 32]));
    }
}
