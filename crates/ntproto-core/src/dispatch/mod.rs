//! PacketID → handler, with one owner (specification, "Packets").
//!
//! The concurrent table that is swapped while traffic flows is built over this one further up.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use crate::wire::packet::PacketId;

const PAGE: usize = 256;

/// A table of handlers. Looking one up is two array accesses.
pub struct Table<H> {
    pages: Vec<Option<Box<[Option<H>; PAGE]>>>,
}

/// A handler stands there already: replace it on purpose or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupied(pub PacketId);

impl fmt::Display for Occupied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "packet {:#06x} has a handler; use replace()", self.0.0)
    }
}

impl core::error::Error for Occupied {}

impl<H> Default for Table<H> {
    fn default() -> Self {
        Self { pages: Vec::new() }
    }
}

impl<H> Table<H> {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The handler of `id`; none means the request is answered UNKNOWN_PACKET.
    #[must_use]
    pub fn get(&self, id: PacketId) -> Option<&H> {
        let [page, slot] = id.0.to_be_bytes();
        self.pages.get(usize::from(page))?.as_ref()?[usize::from(slot)].as_ref()
    }

    /// Adds a handler.
    ///
    /// # Errors
    /// [`Occupied`] when there is one; the table is unchanged.
    ///
    /// ```
    /// use ntproto_core::{dispatch::Table, wire::packet::PacketId};
    /// let mut table = Table::new();
    /// table.register(PacketId::SEND, "send").unwrap();
    /// assert!(table.register(PacketId::SEND, "again").is_err());
    /// assert_eq!(table.get(PacketId::SEND), Some(&"send"));
    /// assert_eq!(table.get(PacketId(0xffff)), None);
    /// ```
    pub fn register(&mut self, id: PacketId, handler: H) -> Result<(), Occupied> {
        let slot = self.slot(id);
        if slot.is_some() {
            return Err(Occupied(id));
        }
        *slot = Some(handler);
        Ok(())
    }

    /// Sets the handler of `id` and returns the former one.
    pub fn replace(&mut self, id: PacketId, handler: H) -> Option<H> {
        self.slot(id).replace(handler)
    }

    /// Takes the handler of `id` out.
    pub fn remove(&mut self, id: PacketId) -> Option<H> {
        self.get(id)?;
        self.slot(id).take()
    }

    fn slot(&mut self, id: PacketId) -> &mut Option<H> {
        let [page, slot] = id.0.to_be_bytes();
        let page = usize::from(page);
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, || None);
        }
        let page = self.pages[page].get_or_insert_with(|| Box::new([const { None }; PAGE]));
        &mut page[usize::from(slot)]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn behaves_like_a_map(ops in prop::collection::vec((0..3u8, any::<u16>().prop_map(|n| n % 600), any::<u8>()), 0..200)) {
            let mut table = Table::new();
            let mut model = BTreeMap::new();
            for (op, id, value) in ops {
                let key = PacketId(id);
                match op {
                    0 => {
                        let free = !model.contains_key(&id);
                        prop_assert_eq!(table.register(key, value).is_ok(), free);
                        model.entry(id).or_insert(value);
                    }
                    1 => prop_assert_eq!(table.replace(key, value), model.insert(id, value)),
                    _ => prop_assert_eq!(table.remove(key), model.remove(&id)),
                }
                prop_assert_eq!(table.get(key), model.get(&id));
            }
        }
    }
}
