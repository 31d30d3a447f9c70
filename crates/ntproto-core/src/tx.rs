//! The buffer outgoing bytes are built in. The host owns it and uses it again.

use alloc::vec::Vec;

/// A byte buffer with a limit, filled by `poll_output`.
pub struct TxBuf {
    bytes: Vec<u8>,
    limit: usize,
}

impl TxBuf {
    /// An empty buffer that takes `limit` bytes. Memory is taken as it fills.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit }
    }

    /// How many more bytes fit.
    #[must_use]
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.bytes.len())
    }

    /// The limit.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// What was written.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// The bytes themselves. A writer must keep within [`room`](Self::room).
    pub fn as_mut_vec(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_shrinks_and_comes_back() {
        let mut tx = TxBuf::new(10);
        tx.as_mut_vec().extend_from_slice(&[7; 4]);
        assert_eq!((tx.room(), tx.limit(), tx.as_slice()), (6, 10, &[7; 4][..]));
        // A frame larger than the buffer is written whole: no room is left, and none owed.
        tx.as_mut_vec().extend_from_slice(&[7; 20]);
        assert_eq!(tx.room(), 0);
        tx.clear();
        assert_eq!((tx.room(), tx.as_slice().len()), (10, 0));
    }
}
