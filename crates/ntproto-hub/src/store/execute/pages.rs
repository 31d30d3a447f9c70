//! Pages of a table's rows, bounded in number and in bytes.

use alloc::vec::Vec;

use bytes::Bytes;
use prost::Message;

use super::super::keys;
use super::super::kv::{Kv, Table};
use super::super::txn::StoreError;

/// Items of a page at most.
pub const MAX_ITEMS: u32 = 500;
/// Bytes of a page, though never less than one item: it fits a channel's queue with room to spare.
pub const PAGE_BYTES: usize = 131_072;
/// The tag and the length in front of an item.
const FRAMING: usize = 5;

/// Items that are taken until their page is full.
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    size: usize,
    limit: usize,
}

impl<T: Message> Page<T> {
    pub(super) fn new(limit: u32, most: u32) -> Self {
        Self { items: Vec::new(), size: 0, limit: limit.clamp(1, most) as usize }
    }

    /// Takes one more. `false`: the page is full, and does not have it.
    pub(super) fn push(&mut self, item: T) -> bool {
        let size = self.size + item.encoded_len() + FRAMING;
        if self.items.len() == self.limit || (size > PAGE_BYTES && !self.items.is_empty()) {
            return false;
        }
        self.size = size;
        self.items.push(item);
        true
    }
}

/// A page of what `make` makes of the rows with `after < key ≤ to`, and whether more follow.
pub(super) fn rows<T: Message>(
    kv: &dyn Kv,
    table: Table,
    (after, to): (&[u8], &[u8]),
    limit: u32,
    mut make: impl FnMut(&[u8], Bytes) -> Result<Option<T>, StoreError>,
) -> Result<(Vec<T>, bool), StoreError> {
    let mut page = Page::new(limit, MAX_ITEMS);
    let mut after = keys::owned(after);
    // Rows that make nothing fill no page: it is read on behind them.
    loop {
        let mut rows = Vec::new();
        kv.scan(table, &after, to, &mut |key, value| {
            rows.push((keys::owned(key), Bytes::copy_from_slice(value)));
            rows.len() <= page.limit
        })?;
        let whole = rows.len() <= page.limit;
        for (key, value) in rows {
            if let Some(item) = make(&key, value)?
                && !page.push(item)
            {
                return Ok((page.items, true));
            }
            after = key;
        }
        if whole {
            return Ok((page.items, false));
        }
    }
}
