//! The frame: what stands on every channel (specification, "Frames").
//!
//! ```text
//!  0       1       2       3       4               8                              16
//! ┌───────┬───────┬───────┬───────┬───────────────┬──────────────────────────────┐
//! │ ver=2 │ type  │ flags │channel│ payload length│ frame sequence               │
//! ├───────┴───────┴───────┴───────┴───────────────┴──────────────────────────────┤
//! │ payload …                                                                    │
//! ├───────────────┬──────────────────────────────────────────────────────────────┘
//! │ CRC32C        │  over header and payload, big-endian like every number here
//! └───────────────┘
//! ```
//!
//! The checksum rejects line noise cheaply. It authenticates nothing.

use alloc::vec::Vec;
use core::fmt;

use crate::wire::channel::Channel;
use crate::wire::crc::crc32c;

/// The version byte.
pub const VERSION: u8 = 2;
/// Bytes before the payload.
pub const HEADER_LEN: usize = 16;
/// Bytes after the payload.
pub const TRAILER_LEN: usize = 4;
/// The largest payload of an authenticated connection: a mebibyte bounds what a peer can make us hold.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// The largest payload before authentication: a handshake message needs under 1 KiB.
pub const MAX_PAYLOAD_CLEAR: usize = 4096;

/// What a frame is. The number is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FrameType {
    /// First handshake message, client to server, in the clear.
    AuthReq = 1,
    /// Second handshake message, server to client, in the clear.
    AuthResp = 2,
    /// "Are you there?" with a number to echo.
    Heartbeat = 3,
    /// The echo.
    HeartbeatAck = 4,
    /// The client wants a new ticket.
    TicketRefresh = 5,
    /// A new ticket.
    TicketIssue = 6,
    /// The sender moved to new keys and may ask the peer to do so.
    KeyUpdate = 7,
    /// Packets on the message channel.
    MsgEncryptedV2 = 16,
    /// Packets on the sync channel.
    SyncDelta = 17,
    /// A fatal error; the sender closes.
    Error = 32,
    /// An orderly end.
    Close = 33,
}

impl FrameType {
    /// Every type, in order of its number.
    pub const ALL: [Self; 11] = [
        Self::AuthReq,
        Self::AuthResp,
        Self::Heartbeat,
        Self::HeartbeatAck,
        Self::TicketRefresh,
        Self::TicketIssue,
        Self::KeyUpdate,
        Self::MsgEncryptedV2,
        Self::SyncDelta,
        Self::Error,
        Self::Close,
    ];

    /// The type with this number.
    #[must_use]
    pub const fn from_wire(n: u8) -> Option<Self> {
        Some(match n {
            1 => Self::AuthReq,
            2 => Self::AuthResp,
            3 => Self::Heartbeat,
            4 => Self::HeartbeatAck,
            5 => Self::TicketRefresh,
            6 => Self::TicketIssue,
            7 => Self::KeyUpdate,
            16 => Self::MsgEncryptedV2,
            17 => Self::SyncDelta,
            32 => Self::Error,
            33 => Self::Close,
            _ => return None,
        })
    }

    /// Its name in the specification.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AuthReq => "AUTH_REQ",
            Self::AuthResp => "AUTH_RESP",
            Self::Heartbeat => "HEARTBEAT",
            Self::HeartbeatAck => "HEARTBEAT_ACK",
            Self::TicketRefresh => "TICKET_REFRESH",
            Self::TicketIssue => "TICKET_ISSUE",
            Self::KeyUpdate => "KEY_UPDATE",
            Self::MsgEncryptedV2 => "MSG_ENCRYPTED_V2",
            Self::SyncDelta => "SYNC_DELTA",
            Self::Error => "ERROR",
            Self::Close => "CLOSE",
        }
    }
}

/// The flags byte. Unknown bits are kept and ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// A receiver that does not know the type skips the frame instead of closing.
    pub const IGNORABLE: Self = Self(1);
    /// The parity of the key epoch this frame is sealed under.
    pub const KEY_EPOCH: Self = Self(2);

    /// Whether every bit of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// With the bits of `other` set when `on`.
    #[must_use]
    pub const fn set(self, other: Self, on: bool) -> Self {
        Self(if on { self.0 | other.0 } else { self.0 & !other.0 })
    }
}

/// A frame's header. The type is a plain number here: whether it is known is decided later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The number of the [`FrameType`].
    pub kind: u8,
    /// Flags.
    pub flags: Flags,
    /// The channel it belongs to.
    pub channel: Channel,
    /// Bytes of payload.
    pub len: u32,
    /// Rises by one per direction and channel, from 1.
    pub seq: u64,
}

impl Header {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0] = VERSION;
        out[1] = self.kind;
        out[2] = self.flags.0;
        out[3] = self.channel as u8;
        out[4..8].copy_from_slice(&self.len.to_be_bytes());
        out[8..].copy_from_slice(&self.seq.to_be_bytes());
        out
    }

    /// Reads a header.
    ///
    /// # Errors
    /// [`FrameError::Version`], [`FrameError::Channel`].
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, FrameError> {
        let [version, kind, flags, channel, l0, l1, l2, l3, seq @ ..] = *bytes;
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        Ok(Self {
            kind,
            //= spec: frames-4
            flags: Flags(flags),
            channel: Channel::from_wire(channel).ok_or(FrameError::Channel(channel))?,
            len: u32::from_be_bytes([l0, l1, l2, l3]),
            seq: u64::from_be_bytes(seq),
        })
    }
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The version byte is not [`VERSION`].
    Version(u8),
    /// No such channel.
    Channel(u8),
    /// The declared length exceeds what this state allows.
    TooLarge(u32),
    /// The checksum does not match.
    Checksum,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(v) => write!(f, "frame version {v}; this side speaks {VERSION}"),
            Self::Channel(c) => write!(f, "no channel {c}"),
            Self::TooLarge(n) => write!(f, "a payload of {n} bytes is over the limit"),
            Self::Checksum => f.write_str("checksum mismatch"),
        }
    }
}

impl core::error::Error for FrameError {}

/// The result of looking for a frame at the start of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A whole frame with a good checksum.
    Frame {
        /// Its header.
        header: Header,
        /// Its payload.
        payload: &'a [u8],
        /// Bytes it took.
        consumed: usize,
    },
    /// This many bytes in all are needed to go on.
    NeedMore(usize),
}

/// Looks for a frame at the start of `input`. The length is checked against `max_payload` before
/// anything is taken from it.
///
/// # Errors
/// [`FrameError`]; the connection can't go on.
///
/// ```
/// use ntproto_core::wire::{channel::Channel, frame::*};
/// let mut bytes = Vec::new();
/// encode(FrameType::Heartbeat as u8, Flags::default(), Channel::Control, 1, b"12345678", &mut bytes);
/// let Ok(Decoded::Frame { header, payload, consumed }) = decode(&bytes, MAX_PAYLOAD) else { panic!() };
/// assert_eq!((header.seq, payload, consumed), (1, &b"12345678"[..], bytes.len()));
/// assert_eq!(decode(&bytes[..10], MAX_PAYLOAD), Ok(Decoded::NeedMore(HEADER_LEN)));
/// ```
#[inline]
pub fn decode(input: &[u8], max_payload: usize) -> Result<Decoded<'_>, FrameError> {
    let Some((head, rest)) = input.split_first_chunk::<HEADER_LEN>() else {
        // A wrong version shows in the first byte: no need to wait for more of it.
        return match input.first() {
            Some(&v) if v != VERSION => Err(FrameError::Version(v)),
            _ => Ok(Decoded::NeedMore(HEADER_LEN)),
        };
    };
    let header = Header::decode(head)?;
    let len = header.len as usize;
    //= spec: frames-1
    if len > max_payload {
        return Err(FrameError::TooLarge(header.len));
    }
    let total = HEADER_LEN + len + TRAILER_LEN;
    let (Some(payload), Some(crc)) = (rest.get(..len), rest.get(len..len + TRAILER_LEN)) else {
        return Ok(Decoded::NeedMore(total));
    };
    if crc32c(&input[..HEADER_LEN + len]).to_be_bytes() != *crc {
        return Err(FrameError::Checksum);
    }
    Ok(Decoded::Frame { header, payload, consumed: total })
}

/// Appends a whole frame in the clear to `out`.
pub fn encode(kind: u8, flags: Flags, channel: Channel, seq: u64, payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let header = Header { kind, flags, channel, len: payload.len() as u32, seq };
    out.reserve(HEADER_LEN + payload.len() + TRAILER_LEN);
    out.extend_from_slice(&header.encode());
    out.extend_from_slice(payload);
    append_checksum(out, start);
}

/// Appends the checksum of everything from `start` on.
pub fn append_checksum(out: &mut Vec<u8>, start: usize) {
    let crc = crc32c(&out[start..]);
    out.extend_from_slice(&crc.to_be_bytes());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn any_header() -> impl Strategy<Value = Header> {
        (any::<u8>(), any::<u8>(), 0..4u8, any::<u64>()).prop_map(|(kind, flags, channel, seq)| Header {
            kind,
            flags: Flags(flags),
            channel: Channel::from_wire(channel).unwrap(),
            len: 0,
            seq,
        })
    }

    proptest! {
        #[test]
        fn round_trip(h in any_header(), payload in prop::collection::vec(any::<u8>(), 0..2000), tail in any::<[u8; 7]>()) {
            let mut bytes = Vec::new();
            encode(h.kind, h.flags, h.channel, h.seq, &payload, &mut bytes);
            let len = bytes.len();
            bytes.extend_from_slice(&tail);
            let Ok(Decoded::Frame { header, payload: got, consumed }) = decode(&bytes, MAX_PAYLOAD) else { panic!() };
            prop_assert_eq!(header, Header { len: payload.len() as u32, ..h });
            prop_assert_eq!(got, &payload[..]);
            prop_assert_eq!(consumed, len);
            for cut in 0..len {
                let need = match decode(&bytes[..cut], MAX_PAYLOAD) { Ok(Decoded::NeedMore(n)) => n, other => panic!("{other:?}") };
                prop_assert!(need > cut && need <= len);
            }
        }

        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), max in 0..300usize) {
            let _ = decode(&bytes, max);
        }

        #[test]
        fn a_flipped_bit_is_seen(payload in prop::collection::vec(any::<u8>(), 0..64), bit in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            encode(3, Flags::default(), Channel::Control, 9, &payload, &mut bytes);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            // A longer length may ask for more; nothing may be taken for a frame.
            let accepted = matches!(decode(&bytes, MAX_PAYLOAD), Ok(Decoded::Frame { .. }));
            prop_assert!(!accepted);
        }
    }

    #[test]
    fn the_length_is_refused_before_the_payload_arrives() {
        let header = Header { kind: 16, flags: Flags(0), channel: Channel::Message, len: u32::MAX, seq: 1 };
        assert_eq!(decode(&header.encode(), MAX_PAYLOAD), Err(FrameError::TooLarge(u32::MAX)));
        let header = Header { len: 4097, ..header };
        assert_eq!(decode(&header.encode(), MAX_PAYLOAD_CLEAR), Err(FrameError::TooLarge(4097)));
    }

    #[test]
    fn types_survive_the_wire() {
        let known = (0..=255u8).filter_map(FrameType::from_wire).collect::<Vec<_>>();
        assert_eq!(known, FrameType::ALL);
        for kind in known {
            assert_eq!(FrameType::from_wire(kind as u8), Some(kind));
        }
    }
}
