//! TLV3 records (specification, "TLV3").
//!
//! ```text
//! u16 tag = version 3 ‖ 12 bits type · u32 length · value · [u32 checksum, in slot mode]    little-endian
//! ```
//!
//! A value is bytes or whole records; which of the two is for whoever knows its type to say, as the format has no mark for
//! it. Nothing here allocates when reading: a record borrows the bytes it came in.
//!
//! | file | is |
//! | --- | --- |
//! | `read` | [`Reader`], an iterator over the records of one level |
//! | `write` | [`Writer`] |
//! | [`schema`] | which records belong into a message, in which order and size |
//!
//! ```
//! use ntproto_core::wire::tlv3::{Budget, Mode, Reader, Writer};
//! let mut writer = Writer::new(Mode::Bare);
//! writer.put(1, &[1, 2, 3, 4, 5, 6, 7, 8]);
//! writer.nest(2, |inner| inner.put(3, b"inside"));
//! let bytes = writer.finish()?;
//! assert_eq!(&bytes[..14], [0x01, 0x30, 8, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
//!
//! let budget = Budget::new();
//! let mut reader = Reader::new(Mode::Bare, &bytes, &budget);
//! let first = reader.next().expect("a record")?;
//! assert_eq!((first.kind, first.value.len()), (1, 8));
//! let second = reader.next().expect("a record")?;
//! let inside = reader.nested(&second)?.next().expect("a record")?;
//! assert_eq!((inside.kind, inside.value), (3, &b"inside"[..]));
//! # Ok::<(), ntproto_core::wire::tlv3::Tlv3Error>(())
//! ```

mod read;
pub mod schema;
#[cfg(test)]
mod tests;
mod write;

use core::fmt;

pub use read::{Budget, Reader};
pub use write::Writer;

/// The version in the upper four bits of every tag.
pub const VERSION: u8 = 3;
/// Bytes of tag and length.
pub const HEADER_LEN: usize = 6;
/// Bytes of the checksum slot.
pub const SLOT_LEN: usize = 4;
/// The highest type: twelve bits.
pub const MAX_KIND: u16 = 0x0fff;
/// How deep records stand in records, the outermost ones being at depth 1: it bounds a reader's recursion.
pub const MAX_DEPTH: usize = 16;
/// How many records a document has, on all levels together: tiny ones must not cost more than their bytes.
pub const MAX_RECORDS: usize = 4096;

/// Whether records have a checksum slot. Where a codec is used fixes its mode; it is never guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Tag, length and value.
    Bare,
    /// A checksum slot follows the value.
    Slot,
}

/// What stands in a record's checksum slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Zero: nobody claims anything. A checksum that happens to be zero looks the same.
    Zero,
    /// The CRC-32/ISO-HDLC of tag, length and value.
    Filled,
}

/// A record, borrowed from the bytes it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its type, at most [`MAX_KIND`].
    pub kind: u16,
    /// Its value: bytes, or whole records.
    pub value: &'a [u8],
    /// Its slot; `None` in bare mode.
    pub slot: Option<Slot>,
}

/// Why bytes are no records, or can't become any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tlv3Error {
    /// The bytes end inside a record.
    Truncated,
    /// A tag of another version than [`VERSION`].
    Version(u8),
    /// A record reaches beyond the one it stands in.
    ChildTooLong(u16),
    /// The slot is neither zero nor the checksum.
    Checksum(u16),
    /// More than [`MAX_DEPTH`] levels.
    TooDeep,
    /// More than [`MAX_RECORDS`] records.
    TooMany,
    /// A value to be written is longer than a length can say.
    TooLarge,
    /// A type to be written is above [`MAX_KIND`].
    Kind(u16),
}

impl fmt::Display for Tlv3Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the bytes end inside a record"),
            Self::Version(v) => write!(f, "record version {v}; this side speaks {VERSION}"),
            Self::ChildTooLong(kind) => {
                write!(f, "a record of type {kind:#05x} reaches beyond the one it stands in")
            }
            Self::Checksum(kind) => write!(f, "checksum mismatch in a record of type {kind:#05x}"),
            Self::TooDeep => write!(f, "records stand deeper than {MAX_DEPTH} levels"),
            Self::TooMany => write!(f, "more than {MAX_RECORDS} records"),
            Self::TooLarge => f.write_str("a value is longer than a length can say"),
            Self::Kind(kind) => write!(f, "type {kind:#x} has more than 12 bits"),
        }
    }
}

impl core::error::Error for Tlv3Error {}
