//! Integers and strings of QPACK (RFC 9204, section 4.1).

use super::huffman::{self, HuffmanError};
use crate::varint;

/// Why a section can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionError {
    /// It breaks QPACK's rules: nothing that follows on the connection can be trusted.
    Malformed,
    /// It has more fields, or more bytes, than are taken.
    TooLarge,
}

/// Appends a number whose first byte has `flags` above the `prefix` lowest bits.
pub(crate) fn put(value: u64, prefix: u32, flags: u8, out: &mut Vec<u8>) {
    let most = (1 << prefix) - 1;
    if value < most {
        return out.push(flags | value as u8);
    }
    out.push(flags | most as u8);
    let mut rest = value - most;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends a string: a bit that says whether it is encoded by Huffman, the length in `prefix` bits, the bytes.
pub(crate) fn put_string(text: &[u8], prefix: u32, flags: u8, out: &mut Vec<u8>) {
    let short = huffman::encoded_len(text);
    if short < text.len() {
        put(short as u64, prefix, flags | 1 << prefix, out);
        huffman::encode(text, out);
    } else {
        put(text.len() as u64, prefix, flags, out);
        out.extend_from_slice(text);
    }
}

/// A number whose bytes come one by one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number {
    value: u64,
    shift: u32,
}

impl Number {
    /// Begins with the first byte; `Ok` when that is all of it.
    pub(crate) const fn begin(first: u8, prefix: u32) -> Result<u64, Self> {
        let most = (1 << prefix) - 1;
        let value = first as u64 & most;
        if value < most { Ok(value) } else { Err(Self { value, shift: 0 }) }
    }

    /// The next byte; `Some` when it was the last. Numbers beyond 62 bits are refused.
    pub(crate) fn next(&mut self, byte: u8) -> Result<Option<u64>, SectionError> {
        let bits = u64::from(byte & 0x7f);
        if self.shift > 56 || bits << self.shift > varint::MAX {
            return Err(SectionError::Malformed);
        }
        self.value += bits << self.shift;
        self.shift += 7;
        match (self.value > varint::MAX, byte & 0x80 == 0) {
            (true, _) => Err(SectionError::Malformed),
            (false, true) => Ok(Some(self.value)),
            (false, false) => Ok(None),
        }
    }
}

/// Bytes being read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A number whose first byte was taken already.
    pub(crate) fn number(&mut self, first: u8, prefix: u32) -> Result<u64, SectionError> {
        let mut number = match Number::begin(first, prefix) {
            Ok(value) => return Ok(value),
            Err(number) => number,
        };
        loop {
            let byte = self.byte().ok_or(SectionError::Malformed)?;
            if let Some(value) = number.next(byte)? {
                return Ok(value);
            }
        }
    }

    /// A string whose first byte was taken already: of the input, or decoded into `scratch`; at most `max` bytes.
    pub(crate) fn string<'b>(
        &mut self,
        first: u8,
        prefix: u32,
        max: usize,
        scratch: &'b mut Vec<u8>,
    ) -> Result<&'b [u8], SectionError>
    where
        'a: 'b,
    {
        let len = usize::try_from(self.number(first, prefix)?).map_err(|_| SectionError::Malformed)?;
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(SectionError::Malformed)?;
        self.0 = rest;
        if first & 1 << prefix == 0 {
            return if len <= max { Ok(bytes) } else { Err(SectionError::TooLarge) };
        }
        scratch.clear();
        match huffman::decode(bytes, max, scratch) {
            Ok(()) => Ok(scratch),
            Err(HuffmanError::Invalid) => Err(SectionError::Malformed),
            Err(HuffmanError::TooLong) => Err(SectionError::TooLarge),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_rfc_7541() {
        for (value, prefix, bytes) in
            [(10, 5, &[0x0a][..]), (1337, 5, &[0x1f, 0x9a, 0x0a]), (42, 8, &[0x2a]), (31, 5, &[0x1f, 0])]
        {
            let mut out = Vec::new();
            put(value, prefix, 0, &mut out);
            assert_eq!(out, bytes);
            let mut reader = Reader(&bytes[1..]);
            assert_eq!(reader.number(bytes[0], prefix), Ok(value));
        }
    }

    #[test]
    fn numbers_that_are_too_large() {
        let ones = [0xff; 20];
        assert_eq!(Reader(&ones).number(0xff, 8), Err(SectionError::Malformed));
        // Zeros without end say nothing, and are no number either.
        assert_eq!(Reader(&[0x80; 20]).number(0xff, 8), Err(SectionError::Malformed));
        assert_eq!(Reader(&[0x80; 3]).number(0xff, 8), Err(SectionError::Malformed), "cut");
    }

    proptest! {
        #[test]
        fn numbers_come_back(value in 0..=varint::MAX, prefix in 3_u32..=8, tail: Vec<u8>) {
            let mut out = Vec::new();
            put(value, prefix, 0, &mut out);
            out.extend(&tail);
            let mut reader = Reader(&out[1..]);
            prop_assert_eq!(reader.number(out[0], prefix), Ok(value));
            prop_assert_eq!(reader.0, &tail[..]);
        }

        #[test]
        fn strings_come_back(text: Vec<u8>, prefix in 3_u32..=7) {
            let mut out = Vec::new();
            put_string(&text, prefix, 0, &mut out);
            let mut scratch = Vec::new();
            let mut reader = Reader(&out[1..]);
            prop_assert_eq!(reader.string(out[0], prefix, text.len(), &mut scratch), Ok(&text[..]));
            if !text.is_empty() {
                let mut reader = Reader(&out[1..]);
                let cut = reader.string(out[0], prefix, text.len() - 1, &mut scratch);
                prop_assert_eq!(cut, Err(SectionError::TooLarge));
            }
        }
    }
}
