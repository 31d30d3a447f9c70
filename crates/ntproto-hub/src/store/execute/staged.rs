//! Writes of one transaction, held until it is known that it is not refused.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Bound;

use bytes::Bytes;

use super::super::keys;
use super::super::kv::{Kv, Table, Visit};
use super::super::txn::StoreError;

/// A key that was written, and what; `None`: it was taken out.
type Writes = BTreeMap<Vec<u8>, Option<Bytes>>;

/// The tables as the transaction sees them: what it wrote above what is stored.
pub(super) struct Staged<'k> {
    base: &'k mut dyn Kv,
    writes: [Writes; Table::ALL.len()],
}

impl<'k> Staged<'k> {
    pub(super) fn new(base: &'k mut dyn Kv) -> Self {
        Self { base, writes: Default::default() }
    }

    /// Writes what was staged. Without this, the transaction leaves no trace.
    pub(super) fn keep(self) -> Result<(), StoreError> {
        for (&table, writes) in Table::ALL.iter().zip(self.writes) {
            for (key, value) in writes {
                match value {
                    Some(value) => self.base.put(table, &key, &value)?,
                    None => self.base.delete(table, &key)?,
                }
            }
        }
        Ok(())
    }
}

impl Kv for Staged<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match self.writes[table.index()].get(key) {
            Some(written) => Ok(written.clone()),
            None => self.base.get(table, key),
        }
    }

    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.writes[table.index()].insert(key.to_vec(), Some(Bytes::copy_from_slice(value)));
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.writes[table.index()].insert(key.to_vec(), None);
        Ok(())
    }

    fn scan(&self, table: Table, after: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        if after >= to {
            return Ok(());
        }
        let range = (Bound::Excluded(after), Bound::Included(to));
        let mut written = self.writes[table.index()].range::<[u8], _>(range).peekable();
        let mut more = true;
        self.base.scan(table, after, to, &mut |key, value| {
            while more && let Some((new, what)) = written.next_if(|(new, _)| new.as_slice() < key) {
                more = what.as_ref().is_none_or(|value| visit(new, value));
            }
            if !more {
                return false;
            }
            more = match written.next_if(|(new, _)| new.as_slice() == key) {
                Some((_, what)) => what.as_ref().is_none_or(|value| visit(key, value)),
                None => visit(key, value),
            };
            more
        })?;
        while more && let Some((new, what)) = written.next() {
            more = what.as_ref().is_none_or(|value| visit(new, value));
        }
        Ok(())
    }

    fn last_key(&self, table: Table, from: &[u8], to: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if from > to {
            return Ok(None);
        }
        let writes = &self.writes[table.index()];
        let mut stored = self.base.last_key(table, from, to)?;
        // What was taken out does not count; the one before it may.
        while let Some(key) = &stored
            && writes.get(key).is_some_and(Option::is_none)
        {
            let mut below = key.clone();
            stored =
                if keys::step_down(&mut below) { self.base.last_key(table, from, &below)? } else { None };
        }
        let range = (Bound::Included(from), Bound::Included(to));
        let written = writes.range::<[u8], _>(range).rev().find(|(_, what)| what.is_some());
        Ok(stored.max(written.map(|(key, _)| key.clone())))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::memory::Tables;
    use super::*;

    fn op() -> impl Strategy<Value = (u8, Option<u8>)> {
        (0..16_u8, prop::option::weighted(0.6, any::<u8>()))
    }

    fn apply(kv: &mut dyn Kv, ops: &[(u8, Option<u8>)]) {
        for (key, value) in ops {
            match value {
                Some(value) => kv.put(Table::Meta, &[*key], &[*value]).unwrap(),
                None => kv.delete(Table::Meta, &[*key]).unwrap(),
            }
        }
    }

    fn scanned(kv: &dyn Kv, after: u8, to: u8, most: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut all = Vec::new();
        kv.scan(Table::Meta, &[after], &[to], &mut |key, value| {
            all.push((key.to_vec(), value.to_vec()));
            all.len() < most
        })
        .unwrap();
        all
    }

    proptest! {
        #[test]
        fn staged_writes_look_like_written_ones(
            before in prop::collection::vec(op(), 0..12),
            staged in prop::collection::vec(op(), 0..12),
            (from, to, most) in (0..17_u8, 0..17_u8, 1..20_usize),
        ) {
            let mut base = Tables::default();
            apply(&mut base, &before);
            let untouched = base.clone();
            let mut expected = base.clone();
            apply(&mut expected, &staged);

            let mut kv = Staged::new(&mut base);
            apply(&mut kv, &staged);
            prop_assert_eq!(scanned(&kv, from, to, most), scanned(&expected, from, to, most));
            prop_assert_eq!(
                kv.last_key(Table::Meta, &[from], &[to]).unwrap(),
                expected.last_key(Table::Meta, &[from], &[to]).unwrap()
            );
            for key in 0..16 {
                prop_assert_eq!(kv.get(Table::Meta, &[key]).unwrap(), expected.get(Table::Meta, &[key]).unwrap());
            }
            drop(kv);
            prop_assert!(base == untouched);
            let mut kv = Staged::new(&mut base);
            apply(&mut kv, &staged);
            kv.keep().unwrap();
            prop_assert!(base == expected);
        }
    }
}
