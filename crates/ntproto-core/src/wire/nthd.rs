//! NTHD messages: what carries the handshake on TCP (specification, "TCP").
//!
//! ```text
//!  0       1       2       3       4       5       6       7       8              12
//! ┌───────┬───────┬───────┬───────┬───────┬───────────────────────┬───────────────┐
//! │ 4E 'N'│ 54 'T'│ 48 'H'│ 44 'D'│ ver=1 │ 00      00      00    │ payload length│ big-endian
//! ├───────┴───────┴───────┴───────┴───────┴───────────────────────┴───────────────┤
//! │ payload …                                                                     │
//! └───────────────────────────────────────────────────────────────────────────────┘
//! ```

use alloc::vec::Vec;
use core::fmt;

/// The first four bytes.
pub const MAGIC: [u8; 4] = *b"NTHD";
/// The version byte.
pub const VERSION: u8 = 1;
/// Bytes before the payload.
pub const HEADER_LEN: usize = 12;

/// Everything of a header but its length.
const FIXED: [u8; 8] = [MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3], VERSION, 0, 0, 0];

/// Why bytes are no NTHD message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NthdError {
    /// They do not begin with [`MAGIC`].
    BadMagic,
    /// The version byte is not [`VERSION`].
    Version(u8),
    /// A reserved byte is not zero.
    Reserved,
    /// The declared length exceeds what this state allows.
    TooLarge(u32),
}

impl fmt::Display for NthdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadMagic => f.write_str("no NTHD message: the magic is missing"),
            Self::Version(v) => write!(f, "NTHD version {v}; this side speaks {VERSION}"),
            Self::Reserved => f.write_str("a reserved byte of the NTHD header is not zero"),
            Self::TooLarge(n) => write!(f, "an NTHD payload of {n} bytes is over the limit"),
        }
    }
}

impl core::error::Error for NthdError {}

/// The result of looking for a message at the start of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A whole message.
    Message {
        /// Its payload.
        payload: &'a [u8],
        /// Bytes it took.
        consumed: usize,
    },
    /// This many bytes in all are needed to go on.
    NeedMore(usize),
}

/// The header of a message whose payload has `len` bytes.
///
/// ```
/// use ntproto_core::wire::nthd;
/// assert_eq!(nthd::header(0), *b"NTHD\x01\0\0\0\0\0\0\0");
/// ```
#[must_use]
pub const fn header(len: u32) -> [u8; HEADER_LEN] {
    let [m0, m1, m2, m3, version, r0, r1, r2] = FIXED;
    let [l0, l1, l2, l3] = len.to_be_bytes();
    [m0, m1, m2, m3, version, r0, r1, r2, l0, l1, l2, l3]
}

/// Checks as much of a header as is there. Only its length may be anything.
///
/// # Errors
/// [`NthdError::BadMagic`], [`NthdError::Version`], [`NthdError::Reserved`]: the first byte that is wrong.
pub fn check(start: &[u8]) -> Result<(), NthdError> {
    //= spec: tcp-2
    for (at, (&is, should)) in start.iter().zip(FIXED).enumerate() {
        if is != should {
            return Err(match at {
                0..4 => NthdError::BadMagic,
                4 => NthdError::Version(is),
                _ => NthdError::Reserved,
            });
        }
    }
    Ok(())
}

/// Looks for a message at the start of `input`. A wrong byte is refused as soon as it is there, and the length is checked
/// against `max_payload` before anything is taken from it.
///
/// # Errors
/// [`NthdError`]; the connection can't go on.
///
/// ```
/// use ntproto_core::wire::nthd::*;
/// let mut bytes = Vec::new();
/// encode(b"hello", &mut bytes);
/// assert_eq!(decode(&bytes, 4096), Ok(Decoded::Message { payload: b"hello", consumed: 17 }));
/// assert_eq!(decode(&bytes[..14], 4096), Ok(Decoded::NeedMore(17)));
/// assert_eq!(decode(b"NTHX", 4096), Err(NthdError::BadMagic));
/// ```
pub fn decode(input: &[u8], max_payload: usize) -> Result<Decoded<'_>, NthdError> {
    check(input)?;
    let Some((head, rest)) = input.split_first_chunk::<HEADER_LEN>() else {
        return Ok(Decoded::NeedMore(HEADER_LEN));
    };
    let declared = declared_len(head);
    let len = declared as usize;
    //= spec: tcp-3
    if len > max_payload {
        return Err(NthdError::TooLarge(declared));
    }
    let consumed = HEADER_LEN + len;
    match rest.get(..len) {
        Some(payload) => Ok(Decoded::Message { payload, consumed }),
        None => Ok(Decoded::NeedMore(consumed)),
    }
}

/// Appends a whole message to `out`. The payload of a handshake is far below the four gibibytes that a length can say.
pub fn encode(payload: &[u8], out: &mut Vec<u8>) {
    out.reserve(HEADER_LEN + payload.len());
    out.extend_from_slice(&header(payload.len() as u32));
    out.extend_from_slice(payload);
}

/// The payload length that a header declares.
pub(super) const fn declared_len(head: &[u8; HEADER_LEN]) -> u32 {
    u32::from_be_bytes([head[8], head[9], head[10], head[11]])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 4096;

    /// The draft's own client sends exactly this.
    #[test]
    fn the_hello_of_the_draft() {
        let hello = [0x4e, 0x54, 0x48, 0x44, 0x01, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(header(0), hello);
        assert_eq!(decode(&hello, MAX), Ok(Decoded::Message { payload: &[], consumed: 12 }));
        assert_eq!(decode(&hello, 0), Ok(Decoded::Message { payload: &[], consumed: 12 }));
    }

    proptest! {
        #[test]
        fn round_trip(payload in prop::collection::vec(any::<u8>(), 0..300), tail in any::<[u8; 7]>()) {
            let mut bytes = Vec::new();
            encode(&payload, &mut bytes);
            let len = bytes.len();
            bytes.extend_from_slice(&tail);
            prop_assert_eq!(decode(&bytes, MAX), Ok(Decoded::Message { payload: &payload, consumed: len }));
            for cut in 0..len {
                let Ok(Decoded::NeedMore(need)) = decode(&bytes[..cut], MAX) else { panic!() };
                prop_assert!(need > cut && need <= len);
            }
        }

        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..40), good in 0..=8usize, max in 0..300usize) {
            let bytes = [&FIXED[..good], &bytes].concat();
            let _ = decode(&bytes, max);
        }

        /// However little of it has come, a wrong byte is seen, and seen as the same when more comes.
        //= proof: tcp-2
        #[test]
        fn a_wrong_byte_is_refused_at_once(at in 0..8usize, flip in 1..=255u8, more in prop::collection::vec(any::<u8>(), 0..20)) {
            let mut bytes = header(0).to_vec();
            bytes[at] ^= flip;
            let error = match at {
                0..4 => NthdError::BadMagic,
                4 => NthdError::Version(bytes[4]),
                _ => NthdError::Reserved,
            };
            prop_assert!(decode(&bytes[..at], MAX).is_ok());
            prop_assert_eq!(decode(&bytes[..=at], MAX), Err(error));
            bytes.extend(more);
            prop_assert_eq!(decode(&bytes, MAX), Err(error));
        }
    }

    //= proof: tcp-3
    #[test]
    fn the_length_is_refused_before_the_payload_arrives() {
        assert_eq!(decode(&header(u32::MAX), MAX), Err(NthdError::TooLarge(u32::MAX)));
        assert_eq!(decode(&header(4097), MAX), Err(NthdError::TooLarge(4097)));
        assert_eq!(decode(&header(4096), MAX), Ok(Decoded::NeedMore(12 + 4096)));
    }
}
