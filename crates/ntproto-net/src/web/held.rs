//! Bytes of a stream that wait for their reader, in buffers of their own: as they come they are slices of the packets
//! that brought them, and a single byte would hold all of its packet.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Bytes of a buffer, or as many as came at once: few enough that one that is begun wastes little.
const BUFFER: usize = 4 * 1024;

/// Bytes that wait.
#[derive(Default)]
pub(crate) struct Held {
    full: VecDeque<Bytes>,
    filling: BytesMut,
}

impl Held {
    /// Adds a copy of these.
    pub(crate) fn push(&mut self, data: &[u8]) {
        self.filling.extend_from_slice(data);
        if self.filling.len() >= BUFFER {
            self.full.push_back(std::mem::take(&mut self.filling).freeze());
        }
    }

    /// Takes the oldest, `max` at most; none if there are none.
    pub(crate) fn pop(&mut self, max: usize) -> Option<Bytes> {
        let mut first = match self.full.pop_front() {
            Some(first) => first,
            None if self.filling.is_empty() => return None,
            None => std::mem::take(&mut self.filling).freeze(),
        };
        if first.len() > max {
            self.full.push_front(first.split_off(max));
        }
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_taken_is_what_was_added_in_its_order(
            steps in proptest::collection::vec((any::<bool>(), 1_usize..6_000), 0..60),
        ) {
            let (mut held, mut added, mut taken) = (Held::default(), Vec::new(), Vec::new());
            let mut n = 0_u8;
            for (add, len) in steps {
                if add {
                    let data: Vec<u8> = (0..len).map(|_| { n = n.wrapping_add(1); n }).collect();
                    held.push(&data);
                    added.extend(data);
                } else if let Some(data) = held.pop(len) {
                    prop_assert!((1..=len).contains(&data.len()));
                    taken.extend_from_slice(&data);
                } else {
                    prop_assert_eq!(&taken, &added);
                }
            }
            while let Some(data) = held.pop(usize::MAX) {
                taken.extend_from_slice(&data);
            }
            prop_assert_eq!(taken, added);
        }
    }

    #[test]
    fn small_pieces_are_joined() {
        let mut held = Held::default();
        for _ in 0..3 * BUFFER + 5 {
            held.push(b"x");
        }
        let pieces: Vec<usize> = std::iter::from_fn(|| held.pop(usize::MAX)).map(|data| data.len()).collect();
        assert_eq!(pieces, [BUFFER, BUFFER, BUFFER, 5]);
    }
}
