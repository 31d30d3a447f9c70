//! QUIC's variable-length integers (RFC 9000, section 16).

use bytes::{Buf, Bytes};

/// The largest number there is.
pub const MAX: u64 = (1 << 62) - 1;

/// The longest encoding.
pub const MAX_LEN: usize = 8;

/// How many bytes a number takes. Numbers above [`MAX`] are taken for it.
#[must_use]
pub const fn len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Appends a number in its shortest form. Numbers above [`MAX`] are written as it.
pub fn put(value: u64, out: &mut Vec<u8>) {
    let value = value.min(MAX);
    match len(value) {
        1 => out.push(value as u8),
        2 => out.extend((value as u16 | 0x4000).to_be_bytes()),
        4 => out.extend((value as u32 | 0x8000_0000).to_be_bytes()),
        _ => out.extend((value | 0xc000_0000_0000_0000).to_be_bytes()),
    }
}

/// Takes a number from the front, in any form; `None` when it is not whole, and nothing is taken.
pub fn take(bytes: &mut Bytes) -> Option<u64> {
    let (value, len) = get(bytes)?;
    bytes.advance(len);
    Some(value)
}

/// The number at the front, and its length.
#[must_use]
pub fn get(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let len = 1 << (first >> 6);
    let rest = bytes.get(1..len)?;
    Some((rest.iter().fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte)), len))
}

/// A number whose bytes come one by one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Partial {
    value: u64,
    /// Bytes still missing; meaningful when `begun`.
    left: u8,
    begun: bool,
}

impl Partial {
    /// Takes bytes until the number is whole.
    pub fn read(&mut self, bytes: &mut Bytes) -> Option<u64> {
        while bytes.has_remaining() {
            let byte = bytes.get_u8();
            if self.begun {
                self.value = self.value << 8 | u64::from(byte);
                self.left -= 1;
            } else {
                *self = Self { value: u64::from(byte & 0x3f), left: (1 << (byte >> 6)) - 1, begun: true };
            }
            if self.left == 0 {
                return Some(std::mem::take(self).value);
            }
        }
        None
    }

    /// Whether some of its bytes came, but not all.
    #[must_use]
    pub const fn is_cut(self) -> bool {
        self.begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_rfc_9000() {
        for (bytes, value) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ] {
            assert_eq!(get(bytes), Some((value, bytes.len())));
            assert_eq!(get(&bytes[..bytes.len() - 1]), None);
        }
        assert_eq!(get(&[]), None);
    }

    proptest! {
        #[test]
        fn numbers_come_back(value in 0..=MAX, tail: Vec<u8>) {
            let mut out = Vec::new();
            put(value, &mut out);
            prop_assert_eq!(out.len(), len(value));
            out.extend(&tail);
            let mut bytes = Bytes::from(out.clone());
            prop_assert_eq!(take(&mut bytes), Some(value));
            prop_assert_eq!(&bytes[..], &tail[..]);

            // And byte by byte.
            let mut partial = Partial::default();
            let mut found = None;
            for byte in &out[..len(value)] {
                prop_assert_eq!(found, None);
                found = partial.read(&mut Bytes::copy_from_slice(&[*byte]));
            }
            prop_assert_eq!(found, Some(value));
            prop_assert!(!partial.is_cut());
        }
    }
}
