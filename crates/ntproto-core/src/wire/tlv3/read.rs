//! Reading: an iterator a level, and one budget for all of them.

use core::cell::Cell;
use core::iter::FusedIterator;

use super::{HEADER_LEN, MAX_DEPTH, MAX_KIND, MAX_RECORDS, Mode, Record, SLOT_LEN, Slot, Tlv3Error, VERSION};
use crate::wire::crc::crc32;

/// How many records a document may still have. All readers of one document share it.
pub struct Budget(Cell<usize>);

impl Budget {
    /// For a document of [`MAX_RECORDS`] records.
    #[must_use]
    pub const fn new() -> Self {
        Self(Cell::new(MAX_RECORDS))
    }

    fn take(&self) -> Result<(), Tlv3Error> {
        let left = self.0.get().checked_sub(1).ok_or(Tlv3Error::TooMany)?;
        self.0.set(left);
        Ok(())
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new()
    }
}

/// The records of one level, in order. An error is the last item.
///
/// `'a` is the bytes' lifetime, which the values keep; `'b` the budget's.
#[derive(Clone)]
pub struct Reader<'a, 'b> {
    mode: Mode,
    rest: &'a [u8],
    /// Levels above this one.
    depth: usize,
    budget: &'b Budget,
}

impl<'a, 'b> Reader<'a, 'b> {
    /// The outermost records of `bytes`.
    #[must_use]
    pub const fn new(mode: Mode, bytes: &'a [u8], budget: &'b Budget) -> Self {
        Self { mode, rest: bytes, depth: 0, budget }
    }

    /// The records inside `record`, which came from this reader and whose type says that there are records in it.
    ///
    /// # Errors
    /// [`Tlv3Error::TooDeep`].
    pub const fn nested(&self, record: &Record<'a>) -> Result<Self, Tlv3Error> {
        //= spec: tlv3-6
        if self.depth + 1 >= MAX_DEPTH {
            return Err(Tlv3Error::TooDeep);
        }
        Ok(Self { mode: self.mode, rest: record.value, depth: self.depth + 1, budget: self.budget })
    }

    fn read(&mut self) -> Result<Record<'a>, Tlv3Error> {
        let input = self.rest;
        let Some((head, body)) = input.split_first_chunk::<HEADER_LEN>() else {
            return Err(self.cut_short(input));
        };
        let tag = u16::from_le_bytes([head[0], head[1]]);
        let (version, kind) = ((tag >> 12) as u8, tag & MAX_KIND);
        //= spec: tlv3-1
        if version != VERSION {
            return Err(Tlv3Error::Version(version));
        }
        //= spec: tlv3-7
        self.budget.take()?;
        let len = u32::from_le_bytes([head[2], head[3], head[4], head[5]]) as usize;
        //= spec: tlv3-2, tlv3-5
        let Some((value, after)) = body.split_at_checked(len) else {
            return Err(if self.depth == 0 { Tlv3Error::Truncated } else { Tlv3Error::ChildTooLong(kind) });
        };
        let (slot, rest) = match self.mode {
            Mode::Bare => (None, after),
            Mode::Slot => {
                let Some((slot, rest)) = after.split_first_chunk::<SLOT_LEN>() else {
                    return Err(self.cut_short(input));
                };
                let slot = match u32::from_le_bytes(*slot) {
                    0 => Slot::Zero,
                    //= spec: tlv3-3
                    crc if crc == crc32(&input[..HEADER_LEN + len]) => Slot::Filled,
                    _ => return Err(Tlv3Error::Checksum(kind)),
                };
                (Some(slot), rest)
            }
        };
        self.rest = rest;
        Ok(Record { kind, value, slot })
    }

    /// What it is when `input` is no whole record. The tag is judged as far as it is there.
    fn cut_short(&self, input: &[u8]) -> Tlv3Error {
        match *input {
            [_, high, ..] if high >> 4 != VERSION => Tlv3Error::Version(high >> 4),
            [low, high, ..] if self.depth > 0 => {
                Tlv3Error::ChildTooLong(u16::from_le_bytes([low, high]) & MAX_KIND)
            }
            _ => Tlv3Error::Truncated,
        }
    }
}

impl<'a> Iterator for Reader<'a, '_> {
    type Item = Result<Record<'a>, Tlv3Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = self.read();
        if record.is_err() {
            self.rest = &[];
        }
        Some(record)
    }
}

impl FusedIterator for Reader<'_, '_> {}
