//! The receiving side of a channel.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use super::{AAD_LEN, NONCE_LEN, RECEIVER_SLACK, ReplayWindow, SEQ_LEN, TAG_LEN, Usage, nonce};
use crate::crypto::secret::Secret;
use crate::crypto::{AeadKey, CryptoProvider, schedule};
use crate::wire::channel::Channel;
use crate::wire::frame::{Flags, HEADER_LEN, Header};

/// A frame was not opened. It does not say why: a forger learns nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the frame is not authentic")
    }
}

impl core::error::Error for Refused {}

/// A key and what it opened.
struct Key {
    secret: Secret<32>,
    aead: Box<dyn AeadKey>,
    usage: Usage,
}

impl Key {
    fn new(provider: &'static dyn CryptoProvider, secret: Secret<32>) -> Self {
        Self { aead: provider.aes256gcm(&secret), secret, usage: Usage::default() }
    }

    fn next(&self, provider: &'static dyn CryptoProvider) -> Self {
        Self::new(provider, schedule::rekey(provider, &self.secret))
    }

    fn bound(&self, provider: &'static dyn CryptoProvider, exporter: &[u8; 32]) -> Self {
        Self::new(provider, schedule::bind(provider, &self.secret, exporter))
    }
}

/// Where the ciphertext stands in a sealed payload.
const BODY: usize = SEQ_LEN + NONCE_LEN;

/// What stands around the ciphertext of a sealed payload. The sequence number is read, not believed.
struct Envelope {
    seq: u64,
    nonce: [u8; NONCE_LEN],
    aad: [u8; AAD_LEN],
    tag: [u8; TAG_LEN],
}

impl Envelope {
    /// Takes a payload apart and checks what can be checked without a key.
    fn read(
        channel: Channel,
        iv: &[u8; NONCE_LEN],
        header: &Header,
        payload: &[u8],
    ) -> Result<Self, Refused> {
        if header.channel != channel || payload.len() != header.len as usize {
            return Err(Refused);
        }
        //= spec: sealed-5
        let (seq, rest) = payload.split_first_chunk::<SEQ_LEN>().ok_or(Refused)?;
        let (wire_nonce, rest) = rest.split_first_chunk::<NONCE_LEN>().ok_or(Refused)?;
        let tag = *rest.last_chunk::<TAG_LEN>().ok_or(Refused)?;
        let mut aad = [0; AAD_LEN];
        aad[..HEADER_LEN].copy_from_slice(&header.encode());
        aad[HEADER_LEN..].copy_from_slice(seq);
        let seq = u64::from_be_bytes(*seq);
        let nonce = nonce(iv, seq);
        //= spec: sealed-2
        if nonce != *wire_nonce {
            return Err(Refused);
        }
        Ok(Self { seq, nonce, aad, tag })
    }
}

/// Opens the frames of one ordered channel in one direction. Exactly the next sequence number is
/// accepted: a gap would let an attacker delete frames.
pub struct Opener {
    provider: &'static dyn CryptoProvider,
    channel: Channel,
    key: Key,
    iv: [u8; NONCE_LEN],
    epoch: bool,
    early: Option<Early>,
    msg_seq: u64,
    frame_seq: u64,
}

/// What an opener of a session made in early data knows, until its first key is behind it.
struct Early {
    /// Whether a frame under the first key opens: a server's may, a client never sends one.
    first_opens: bool,
    exporter: Option<[u8; 32]>,
}

impl Opener {
    /// An opener under `key` and `iv`, after `frames_before` frames in the clear.
    #[must_use]
    pub fn new(
        provider: &'static dyn CryptoProvider,
        channel: Channel,
        (key, iv): (Secret<32>, [u8; NONCE_LEN]),
        frames_before: u64,
    ) -> Self {
        Self {
            provider,
            channel,
            key: Key::new(provider, key),
            iv,
            epoch: false,
            early: None,
            msg_seq: 0,
            frame_seq: frames_before,
        }
    }

    /// That of a session made in early data. `first_opens`: whether the peer may use the first key.
    #[must_use]
    pub fn early(self, first_opens: bool) -> Self {
        Self { early: Some(Early { first_opens, exporter: None }), ..self }
    }

    /// The TLS handshake is complete: the first update mixes its exporter in. Does nothing in any other session.
    pub const fn bind(&mut self, exporter: &[u8; 32]) {
        if let Some(early) = &mut self.early {
            early.exporter = Some(*exporter);
        }
    }

    /// The key of a frame with this epoch bit: `None` is the one in use.
    fn key_of(&self, epoch: bool) -> Result<Option<Key>, Refused> {
        match (&self.early, epoch == self.epoch) {
            //= spec: keys-3
            (Some(Early { first_opens: false, .. }), true) => Err(Refused),
            (_, true) => Ok(None),
            (None, false) => Ok(Some(self.key.next(self.provider))),
            //= spec: keys-2
            (Some(early), false) => {
                let exporter = early.exporter.as_ref().ok_or(Refused)?;
                Ok(Some(self.key.bound(self.provider, exporter)))
            }
        }
    }

    /// Opens a payload in place and returns its plaintext. Allocates nothing, unless the key changes.
    ///
    /// # Errors
    /// [`Refused`], and nothing has changed but the payload's bytes.
    pub fn open<'a>(&mut self, header: &Header, payload: &'a mut [u8]) -> Result<&'a mut [u8], Refused> {
        let envelope = Envelope::read(self.channel, &self.iv, header, payload)?;
        let body_end = payload.len() - TAG_LEN;
        let body = &mut payload[BODY..body_end];
        self.decrypt(header, &envelope, body)?;
        Ok(body)
    }

    /// Opens a payload into memory of its own, exactly as large as the plaintext.
    ///
    /// # Errors
    /// [`Refused`], and nothing has changed.
    pub fn open_copy(&mut self, header: &Header, payload: &[u8]) -> Result<Vec<u8>, Refused> {
        let envelope = Envelope::read(self.channel, &self.iv, header, payload)?;
        let mut body = payload[BODY..payload.len() - TAG_LEN].to_vec();
        self.decrypt(header, &envelope, &mut body)?;
        Ok(body)
    }

    fn decrypt(&mut self, header: &Header, envelope: &Envelope, body: &mut [u8]) -> Result<(), Refused> {
        //= spec: sealed-3
        let in_order = self.msg_seq.checked_add(1) == Some(envelope.seq)
            && self.frame_seq.checked_add(1) == Some(header.seq);
        let epoch = header.flags.contains(Flags::KEY_EPOCH);
        // An updated key replaces the old one only when it opened something.
        let mut updated = self.key_of(epoch)?;
        let key = updated.as_mut().unwrap_or(&mut self.key);
        //= spec: sealed-10
        if !in_order || key.usage.reached(RECEIVER_SLACK) {
            return Err(Refused);
        }
        key.aead.open_in_place(&envelope.nonce, &envelope.aad, body, &envelope.tag).map_err(|_| Refused)?;

        key.usage.count(body.len());
        //= spec: sealed-4
        self.msg_seq = envelope.seq;
        self.frame_seq = header.seq;
        //= spec: sealed-8
        if let Some(key) = updated {
            self.key = key;
            self.epoch = epoch;
            self.early = None;
        }
        Ok(())
    }

    /// The last sequence number accepted.
    #[must_use]
    pub const fn msg_seq(&self) -> u64 {
        self.msg_seq
    }

    #[cfg(test)]
    pub(super) const fn jump(&mut self, msg_seq: u64) {
        self.msg_seq = msg_seq;
    }

    #[cfg(test)]
    pub(super) const fn use_up(&mut self, frames: u64, blocks: u64) {
        self.key.usage = Usage { frames, blocks };
    }
}

/// Opens datagrams: any order within a window of 128, each once. After a key update the former key
/// opens what was still on its way, for one window.
pub struct DatagramOpener {
    provider: &'static dyn CryptoProvider,
    channel: Channel,
    iv: [u8; NONCE_LEN],
    epoch: bool,
    key: Key,
    former: Option<(Key, u64)>,
    window: ReplayWindow,
}

impl DatagramOpener {
    /// An opener under `key` and `iv`.
    #[must_use]
    pub fn new(
        provider: &'static dyn CryptoProvider,
        channel: Channel,
        (key, iv): (Secret<32>, [u8; NONCE_LEN]),
    ) -> Self {
        Self {
            provider,
            channel,
            iv,
            epoch: false,
            key: Key::new(provider, key),
            former: None,
            window: ReplayWindow::default(),
        }
    }

    /// Opens a payload in place and returns its plaintext.
    ///
    /// # Errors
    /// [`Refused`]: forged, seen or too old. Nothing has changed; the datagram is dropped.
    pub fn open<'a>(&mut self, header: &Header, payload: &'a mut [u8]) -> Result<&'a mut [u8], Refused> {
        let envelope = Envelope::read(self.channel, &self.iv, header, payload)?;
        let body_end = payload.len() - TAG_LEN;
        let body = &mut payload[BODY..body_end];
        if !self.window.is_fresh(envelope.seq) {
            return Err(Refused);
        }
        let epoch = header.flags.contains(Flags::KEY_EPOCH);
        let mut updated = None;
        let key = match (&mut self.former, epoch == self.epoch) {
            (_, true) => &mut self.key,
            (Some((former, until)), false) if envelope.seq <= *until => former,
            _ => updated.insert(self.key.next(self.provider)),
        };
        if key.usage.reached(RECEIVER_SLACK) {
            return Err(Refused);
        }
        key.aead.open_in_place(&envelope.nonce, &envelope.aad, body, &envelope.tag).map_err(|_| Refused)?;

        key.usage.count(body.len());
        self.window.mark(envelope.seq);
        if let Some(key) = updated {
            let former = core::mem::replace(&mut self.key, key);
            self.former = Some((former, envelope.seq.saturating_sub(1)));
            self.epoch = epoch;
        } else if self.former.as_ref().is_some_and(|(_, until)| envelope.seq > until + ReplayWindow::SIZE) {
            self.former = None;
        }
        Ok(body)
    }
}
