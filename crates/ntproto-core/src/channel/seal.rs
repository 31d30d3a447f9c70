//! The sending side of a channel.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use super::{AAD_LEN, HEADROOM, MAX_KEY_AGE, NONCE_LEN, SEQ_LEN, TAG_LEN, Usage, nonce};
use crate::crypto::secret::Secret;
use crate::crypto::{AeadKey, CryptoProvider, schedule};
use crate::time::Instant;
use crate::wire::channel::Channel;
use crate::wire::frame::{Flags, FrameType, HEADER_LEN, Header, append_checksum};

/// The sequence numbers of this session are used up; only a new session helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyLimit;

impl fmt::Display for KeyLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the sequence numbers of this session are used up")
    }
}

impl core::error::Error for KeyLimit {}

/// Seals the frames of one channel in one direction. Allocates nothing but room in the output.
pub struct Sealer {
    provider: &'static dyn CryptoProvider,
    channel: Channel,
    key: Secret<32>,
    aead: Box<dyn AeadKey>,
    iv: [u8; NONCE_LEN],
    epoch: bool,
    /// Made in early data: [`bind`](Self::bind) is the first update.
    early: bool,
    usage: Usage,
    since: Instant,
    /// The last one used: 0 before the first.
    msg_seq: u64,
    /// The last one used by any frame of this channel and direction.
    frame_seq: u64,
}

impl Sealer {
    /// A sealer under `key` and `iv`. `frames_before` frames of this channel and direction went out
    /// in the clear (the handshake's, on CONTROL).
    #[must_use]
    pub fn new(
        provider: &'static dyn CryptoProvider,
        channel: Channel,
        (key, iv): (Secret<32>, [u8; NONCE_LEN]),
        frames_before: u64,
        now: Instant,
    ) -> Self {
        Self {
            provider,
            channel,
            aead: provider.aes256gcm(&key),
            key,
            iv,
            epoch: false,
            early: false,
            usage: Usage::default(),
            since: now,
            msg_seq: 0,
            frame_seq: frames_before,
        }
    }

    /// That of a session made in early data: no key but the first, until [`bind`](Self::bind).
    #[must_use]
    pub fn early(self) -> Self {
        Self { early: true, ..self }
    }

    /// The TLS handshake is complete: the next key mixes its exporter in. Whether a frame went out under the first
    /// one makes no difference: the receiver knows that this update comes. Does nothing in any other session.
    pub fn bind(&mut self, now: Instant, exporter: &[u8; 32]) {
        if core::mem::take(&mut self.early) {
            let key = schedule::bind(self.provider, &self.key, exporter);
            self.move_to(now, key);
        }
    }

    /// Makes room for a frame's head at the end of `out`; the plaintext is appended after it.
    /// Returns what [`finish`](Self::finish) wants as `start`.
    pub fn begin(out: &mut Vec<u8>) -> usize {
        let start = out.len();
        out.extend_from_slice(&[0; HEADROOM]);
        start
    }

    /// Seals what stands behind [`begin`](Self::begin)'s head, in place. Moves to the next key first
    /// when this one has done enough.
    ///
    /// # Errors
    /// [`KeyLimit`]: the frame is taken out of `out` again and the session must end.
    pub fn finish(
        &mut self,
        now: Instant,
        kind: FrameType,
        flags: Flags,
        out: &mut Vec<u8>,
        start: usize,
    ) -> Result<(), KeyLimit> {
        //= spec: sealed-11
        let (Some(msg_seq), Some(frame_seq)) = (self.msg_seq.checked_add(1), self.frame_seq.checked_add(1))
        else {
            out.truncate(start);
            return Err(KeyLimit);
        };
        let plain_len = out.len() - start - HEADROOM;
        //= spec: sealed-6
        if !self.usage.has_room(plain_len) || now.saturating_since(self.since) >= MAX_KEY_AGE {
            if self.early {
                out.truncate(start);
                return Err(KeyLimit);
            }
            self.update(now);
        }
        let header = Header {
            kind: kind as u8,
            flags: flags.set(Flags::KEY_EPOCH, self.epoch),
            channel: self.channel,
            len: (SEQ_LEN + NONCE_LEN + plain_len + TAG_LEN) as u32,
            seq: frame_seq,
        };
        //= spec: sealed-1
        let nonce = nonce(&self.iv, msg_seq);
        let (aad, rest) = out[start..].split_at_mut(AAD_LEN);
        aad[..HEADER_LEN].copy_from_slice(&header.encode());
        aad[HEADER_LEN..].copy_from_slice(&msg_seq.to_be_bytes());
        let (wire_nonce, plain) = rest.split_at_mut(NONCE_LEN);
        wire_nonce.copy_from_slice(&nonce);
        let tag = self.aead.seal_in_place(&nonce, aad, plain);
        out.extend_from_slice(&tag);
        append_checksum(out, start);

        self.msg_seq = msg_seq;
        self.frame_seq = frame_seq;
        self.usage.count(plain_len);
        Ok(())
    }

    /// Moves to the next key. Does nothing when no frame went out under this one: the receiver sees
    /// an update by the parity of the epoch, so each epoch needs a frame.
    pub fn update(&mut self, now: Instant) {
        //= spec: sealed-7, keys-4
        if self.usage.frames == 0 || self.early {
            return;
        }
        let key = schedule::rekey(self.provider, &self.key);
        self.move_to(now, key);
    }

    fn move_to(&mut self, now: Instant, key: Secret<32>) {
        //= spec: keys-1
        self.key = key;
        self.aead = self.provider.aes256gcm(&self.key);
        self.epoch = !self.epoch;
        self.usage = Usage::default();
        self.since = now;
    }

    /// The last sequence number used.
    #[must_use]
    pub const fn msg_seq(&self) -> u64 {
        self.msg_seq
    }

    #[cfg(test)]
    pub(crate) const fn jump(&mut self, msg_seq: u64, frames: u64) {
        self.msg_seq = msg_seq;
        self.usage.frames = frames;
    }

    #[cfg(test)]
    pub(super) const fn use_up(&mut self, blocks: u64) {
        self.usage = Usage { frames: 1, blocks };
    }
}
