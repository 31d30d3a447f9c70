//! Sealing and opening the frames of one channel in one direction (specification, "Sealed payload").
//!
//! ```text
//! header │ u64 msg_seq │ nonce[12] │ ciphertext … │ tag[16] │ CRC32C
//! └────── AAD ─────────┘
//! ```
//!
//! The nonce on the wire must equal `iv XOR (0³² ‖ msg_seq)`: it is verified, never trusted, so it
//! can't repeat under one key. Nothing changes in an opener until the tag has been verified.

mod open;
mod seal;
mod window;

pub use open::{DatagramOpener, Opener, Refused};
pub use seal::{KeyLimit, Sealer};
pub use window::ReplayWindow;

use core::time::Duration;

use crate::wire::frame::{HEADER_LEN, TRAILER_LEN};

/// Bytes of `msg_seq`.
const SEQ_LEN: usize = 8;
/// Bytes of the nonce.
const NONCE_LEN: usize = 12;
/// Bytes of the tag.
const TAG_LEN: usize = 16;
/// Bytes of the additional data: the frame header and `msg_seq`.
const AAD_LEN: usize = HEADER_LEN + SEQ_LEN;
/// Bytes of a sealed frame before its ciphertext.
pub const HEADROOM: usize = AAD_LEN + NONCE_LEN;
/// Bytes of a sealed payload beside its ciphertext.
pub const PAYLOAD_OVERHEAD: usize = SEQ_LEN + NONCE_LEN + TAG_LEN;
/// Bytes of a sealed frame beside its plaintext.
pub const FRAME_OVERHEAD: usize = HEADER_LEN + PAYLOAD_OVERHEAD + TRAILER_LEN;

/// Frames under one key before the sender moves on: far below AES-GCM's bound of 2³² messages.
pub const MAX_FRAMES_PER_KEY: u64 = 1 << 24;
/// AES blocks under one key before the sender moves on: keeps the distinguishing advantage under 2⁻⁶⁰.
pub const MAX_BLOCKS_PER_KEY: u64 = 1 << 34;
/// Age of a key before the sender moves on: bounds what a stolen key opens.
pub const MAX_KEY_AGE: Duration = Duration::from_secs(3600);
/// A receiver tolerates this many times the sender's limits, then closes.
const RECEIVER_SLACK: u64 = 2;

/// The nonce that belongs to a sequence number.
fn nonce(iv: &[u8; NONCE_LEN], seq: u64) -> [u8; NONCE_LEN] {
    let mut nonce = *iv;
    for (n, s) in nonce[4..].iter_mut().zip(seq.to_be_bytes()) {
        *n ^= s;
    }
    nonce
}

/// What one key has done.
#[derive(Clone, Copy, Default)]
struct Usage {
    frames: u64,
    blocks: u64,
}

impl Usage {
    /// The blocks of a frame. The additional data counts too: it runs through GHASH.
    const fn blocks_of(bytes: usize) -> u64 {
        (bytes + AAD_LEN).div_ceil(16) as u64 + 1
    }

    const fn count(&mut self, bytes: usize) {
        self.frames += 1;
        self.blocks += Self::blocks_of(bytes);
    }

    /// Whether a sender may seal this much more.
    const fn has_room(self, bytes: usize) -> bool {
        self.frames < MAX_FRAMES_PER_KEY && self.blocks + Self::blocks_of(bytes) <= MAX_BLOCKS_PER_KEY
    }

    /// Whether a receiver has taken so many times what a sender may seal.
    const fn reached(self, times: u64) -> bool {
        self.frames >= MAX_FRAMES_PER_KEY * times || self.blocks >= MAX_BLOCKS_PER_KEY * times
    }
}

#[cfg(test)]
mod tests;
