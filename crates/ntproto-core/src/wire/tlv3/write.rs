//! Writing: lengths and checksums are filled in behind.

use alloc::vec::Vec;

use super::{HEADER_LEN, MAX_DEPTH, MAX_KIND, MAX_RECORDS, Mode, Slot, Tlv3Error, VERSION};
use crate::wire::crc::crc32;

/// Builds a document. A mistake is kept until [`finish`](Self::finish), so that writing reads as a list.
///
/// ```
/// use ntproto_core::wire::tlv3::{Mode, Slot, Tlv3Error, Writer};
/// let mut writer = Writer::new(Mode::Slot);
/// writer.put(1, b"without a checksum");
/// writer.slots(Slot::Filled);
/// writer.put(2, b"with one");
/// assert!(writer.finish().is_ok());
///
/// let mut writer = Writer::new(Mode::Bare);
/// writer.put(0x1000, b"");
/// assert_eq!(writer.finish(), Err(Tlv3Error::Kind(0x1000)));
/// ```
pub struct Writer {
    mode: Mode,
    slot: Slot,
    out: Vec<u8>,
    depth: usize,
    records: usize,
    wrong: Option<Tlv3Error>,
}

impl Writer {
    /// An empty document. In slot mode slots stay zero until [`slots`](Self::slots) says otherwise.
    #[must_use]
    pub const fn new(mode: Mode) -> Self {
        Self { mode, slot: Slot::Zero, out: Vec::new(), depth: 0, records: 0, wrong: None }
    }

    /// What to do with the slots of the records begun from here on. Nothing changes in bare mode.
    pub const fn slots(&mut self, slot: Slot) {
        self.slot = slot;
    }

    /// Adds a record.
    pub fn put(&mut self, kind: u16, value: &[u8]) {
        self.record(kind, |writer| writer.out.extend_from_slice(value));
    }

    /// Adds a record whose value is whatever `inside` adds.
    pub fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Self)) {
        self.record(kind, |writer| {
            writer.depth += 1;
            inside(writer);
            writer.depth -= 1;
        });
    }

    /// The document's bytes.
    ///
    /// # Errors
    /// [`Tlv3Error`]: the first thing that no reader would accept.
    pub fn finish(self) -> Result<Vec<u8>, Tlv3Error> {
        self.wrong.map_or(Ok(self.out), Err)
    }

    fn record(&mut self, kind: u16, value: impl FnOnce(&mut Self)) {
        if self.wrong.is_none() {
            self.wrong = self.refusal(kind);
        }
        // What is wrong can't be mended: the rest is not written.
        if self.wrong.is_some() {
            return;
        }
        self.records += 1;
        let (start, slot) = (self.out.len(), self.slot);
        self.out.extend_from_slice(&(u16::from(VERSION) << 12 | kind).to_le_bytes());
        self.out.extend_from_slice(&[0; 4]);
        value(self);
        let Ok(len) = u32::try_from(self.out.len() - start - HEADER_LEN) else {
            self.wrong = self.wrong.or(Some(Tlv3Error::TooLarge));
            return;
        };
        //= spec: tlv3-4
        self.out[start + 2..start + HEADER_LEN].copy_from_slice(&len.to_le_bytes());
        if self.mode == Mode::Slot {
            //= spec: tlv3-3
            let crc = if slot == Slot::Filled { crc32(&self.out[start..]) } else { 0 };
            self.out.extend_from_slice(&crc.to_le_bytes());
        }
    }

    const fn refusal(&self, kind: u16) -> Option<Tlv3Error> {
        if kind > MAX_KIND {
            Some(Tlv3Error::Kind(kind))
        } else if self.depth >= MAX_DEPTH {
            Some(Tlv3Error::TooDeep)
        } else if self.records >= MAX_RECORDS {
            Some(Tlv3Error::TooMany)
        } else {
            None
        }
    }
}
