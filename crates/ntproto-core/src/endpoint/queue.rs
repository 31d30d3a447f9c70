//! Packets waiting to be sealed, encoded already, back to back.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::{FRAME_TARGET, KEPT_BUFFER, MAX_PACKETS_PER_FRAME};
use crate::wire::packet::Packet;

/// Bytes a channel may have waiting before it takes no more packets. One packet of any legal size
/// always fits an empty queue.
pub const QUEUE_LIMIT: usize = 256 * 1024;

/// A queue of encoded packets.
#[derive(Default)]
pub(super) struct PacketQueue {
    bytes: Vec<u8>,
    /// Where the first waiting packet begins in `bytes`.
    head: usize,
    lens: VecDeque<u32>,
}

impl PacketQueue {
    /// Whether another packet is taken.
    pub(super) fn has_room(&self) -> bool {
        self.waiting() < QUEUE_LIMIT
    }

    /// Bytes waiting.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len() - self.head
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lens.is_empty()
    }

    /// Adds a packet. The caller asked [`has_room`](Self::has_room).
    pub(super) fn push(&mut self, packet: &Packet) {
        let before = self.bytes.len();
        packet.encode(&mut self.bytes);
        self.lens.push_back((self.bytes.len() - before) as u32);
    }

    /// Gives back memory that is not used now.
    pub(super) fn rest(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// Takes the packets of one frame: as many as fit the target, at least one.
    pub(super) fn take_frame(&mut self, out: &mut Vec<u8>) {
        let mut len = 0;
        let mut count = 0;
        while let Some(&next) = self.lens.front() {
            let next = next as usize;
            if count > 0 && (len + next > FRAME_TARGET || count == MAX_PACKETS_PER_FRAME) {
                break;
            }
            len += next;
            count += 1;
            self.lens.pop_front();
        }
        out.extend_from_slice(&self.bytes[self.head..self.head + len]);
        self.head += len;
        if self.lens.is_empty() {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_BUFFER);
            self.head = 0;
        } else if self.head > QUEUE_LIMIT {
            self.bytes.drain(..self.head);
            self.head = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::wire::packet::{Kind, PacketId};
    use bytes::Bytes;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out(sizes in prop::collection::vec(0..9000usize, 1..60)) {
            let mut q = PacketQueue::default();
            let packets: Vec<_> = sizes.iter().enumerate().map(|(n, &size)| Packet {
                id: PacketId(n as u16), kind: Kind::Push, deadline_ms: None, trace: None, body: vec_of(size),
            }).collect();
            let mut got = Vec::new();
            for chunk in packets.chunks(7) {
                for p in chunk { q.push(p); }
                let mut frame = Vec::new();
                q.take_frame(&mut frame);
                decode_all(frame, &mut got);
            }
            while !q.is_empty() {
                let mut frame = Vec::new();
                q.take_frame(&mut frame);
                prop_assert!(frame.len() <= FRAME_TARGET.max(9012));
                decode_all(frame, &mut got);
            }
            prop_assert_eq!(got, packets);
            prop_assert_eq!(q.waiting(), 0);
        }
    }

    fn vec_of(size: usize) -> Bytes {
        Bytes::from(alloc::vec![7; size])
    }

    fn decode_all(frame: Vec<u8>, got: &mut Vec<Packet>) {
        let mut plain = Bytes::from(frame);
        while !plain.is_empty() {
            got.push(Packet::decode(&mut plain).unwrap());
        }
    }
}
