//! PacketID → handler, with one owner, and what comes of a request (specification, "Packets").
//!
//! A clone shares its pages with the original until one of them is written to, so a table that is swapped while
//! traffic flows, which is built over this one further up, copies one page a change and not 64 thousand handlers.

mod outcome;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::{array, fmt};

use crate::wire::packet::PacketId;

pub use outcome::{Outcome, Refusal};

/// The upper byte of an id is its page, the lower its place there.
const PAGE: usize = 256;
const PAGES: usize = 256;

type Page<H> = [Option<H>; PAGE];

/// Which page, and where on it.
const fn place(id: PacketId) -> (usize, usize) {
    (id.0 as usize / PAGE, id.0 as usize % PAGE)
}

/// A table of handlers. Looking one up is two array accesses; a clone is one pointer a page.
#[derive(Clone)]
pub struct Table<H> {
    /// Those without a handler are one page, so that nobody need ask whether there is one.
    pages: Box<[Arc<Page<H>>; PAGES]>,
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
        let empty = Arc::new([const { None }; PAGE]);
        Self { pages: Box::new(array::from_fn(|_| Arc::clone(&empty))) }
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
        let (page, slot) = place(id);
        self.pages[page][slot].as_ref()
    }
}

impl<H: Clone> Table<H> {
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
        let (page, slot) = place(id);
        &mut Arc::make_mut(&mut self.pages[page])[slot]
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

        #[test]
        fn a_clone_stays_as_it_was(before in prop::collection::btree_map(0..600u16, any::<u8>(), 0..50),
                                   after in prop::collection::vec((0..600u16, any::<Option<u8>>()), 0..50)) {
            let mut table = Table::new();
            for (id, value) in &before {
                table.register(PacketId(*id), *value).unwrap();
            }
            let clone = table.clone();
            for (id, value) in after {
                match value {
                    Some(value) => drop(table.replace(PacketId(id), value)),
                    None => drop(table.remove(PacketId(id))),
                }
            }
            for id in 0..600 {
                prop_assert_eq!(clone.get(PacketId(id)), before.get(&id));
            }
        }
    }

    #[test]
    fn a_change_copies_one_page() {
        let mut table = Table::new();
        for page in 0..4 {
            table.register(PacketId(page << 8), page).unwrap();
        }
        let clone = table.clone();
        table.replace(PacketId(0x0201), 9);
        let shared = |n: usize| Arc::ptr_eq(&table.pages[n], &clone.pages[n]);
        assert_eq!([shared(0), shared(1), shared(2), shared(3)], [true, true, false, true]);
    }
}
