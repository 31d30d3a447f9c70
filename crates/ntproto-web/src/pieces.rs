//! Pieces of a body that wait. Very small ones are joined: each would cost more to keep than it holds.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Two neighbours hold more than this, so that no window holds more than a few hundred pieces.
const SMALL: usize = 2 * 1024;

/// Adds a piece behind the others.
pub(crate) fn join(pieces: &mut VecDeque<Bytes>, data: Bytes) {
    if let Some(last) = pieces.back_mut()
        && last.len() + data.len() <= SMALL
    {
        let joint = std::mem::take(last).try_into_mut();
        let mut joint = match joint {
            // In place, but for the first of them: that may be a slice of something larger.
            Ok(own) if own.capacity() <= SMALL => own,
            other => {
                let before = other.map_or_else(|shared| shared, BytesMut::freeze);
                let mut own = BytesMut::with_capacity(SMALL);
                own.extend_from_slice(&before);
                own
            }
        };
        joint.extend_from_slice(&data);
        *last = joint.freeze();
    } else {
        pieces.push_back(data);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_joined_is_what_came_in_few_pieces(
            lens in proptest::collection::vec(prop_oneof![1_usize..4, 1_usize..5_000], 0..400),
        ) {
            let (mut pieces, mut all) = (VecDeque::new(), Vec::new());
            let mut n = 0_u8;
            for len in lens {
                let data: Bytes = (0..len).map(|_| { n = n.wrapping_add(1); n }).collect();
                all.extend_from_slice(&data);
                join(&mut pieces, data);
            }
            prop_assert!(pieces.len() <= 2 * all.len() / SMALL + 1, "{} pieces", pieces.len());
            prop_assert_eq!(pieces.iter().flatten().copied().collect::<Vec<u8>>(), all);
        }
    }
}
