//! What of a conversation is not on this disk: ranges that do not touch each other.

use ntproto_core::client::StoreError;
use ntproto_core::ids::ConversationId;

use super::Gap;
use super::kv::{Kv, Table};
use super::record;

/// The gaps of a conversation, in order.
pub(super) fn list(kv: &dyn Kv, conversation: ConversationId) -> Result<Vec<Gap>, StoreError> {
    let mut all = Vec::new();
    let (from, to) =
        (record::in_conversation(conversation, 0), record::in_conversation(conversation, u64::MAX));
    kv.scan(Table::Gaps, &from, &to, false, &mut |key, value| {
        let (_, from) = record::split(key)?;
        all.push(Gap { from, to: record::number(value)? });
        Ok(true)
    })?;
    Ok(all)
}

/// Adds a gap; what touches it becomes one with it. One that is none changes nothing.
pub(super) fn add(kv: &mut dyn Kv, conversation: ConversationId, mut gap: Gap) -> Result<(), StoreError> {
    if gap.from == 0 || gap.from > gap.to || gap.to == u64::MAX {
        return Ok(());
    }
    for other in list(kv, conversation)? {
        if other.from <= gap.to + 1 && gap.from <= other.to + 1 {
            kv.delete(Table::Gaps, &record::in_conversation(conversation, other.from))?;
            gap = Gap { from: gap.from.min(other.from), to: gap.to.max(other.to) };
        }
    }
    put(kv, conversation, gap)
}

/// Everything of this range is here, as far as it can be had.
pub(super) fn close(kv: &mut dyn Kv, conversation: ConversationId, range: Gap) -> Result<(), StoreError> {
    for gap in list(kv, conversation)? {
        if gap.to < range.from || range.to < gap.from {
            continue;
        }
        kv.delete(Table::Gaps, &record::in_conversation(conversation, gap.from))?;
        if gap.from < range.from {
            put(kv, conversation, Gap { from: gap.from, to: range.from - 1 })?;
        }
        if gap.to > range.to {
            put(kv, conversation, Gap { from: range.to + 1, to: gap.to })?;
        }
    }
    Ok(())
}

fn put(kv: &mut dyn Kv, conversation: ConversationId, gap: Gap) -> Result<(), StoreError> {
    kv.put(Table::Gaps, &record::in_conversation(conversation, gap.from), &gap.to.to_be_bytes())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::memory::Tables;
    use super::*;

    proptest! {
        /// Ranges are what a set of numbers would be.
        #[test]
        fn ranges_are_sets(steps in prop::collection::vec((any::<bool>(), 1..40u64, 0..12u64), 0..30)) {
            let (mut kv, mut model) = (Tables::default(), BTreeSet::new());
            let talk = ConversationId([1; 16]);
            for (adds, from, len) in steps {
                let range = Gap { from, to: from + len };
                if adds {
                    add(&mut kv, talk, range).unwrap();
                    model.extend(from..=from + len);
                } else {
                    close(&mut kv, talk, range).unwrap();
                    model.retain(|n| !(from..=from + len).contains(n));
                }
                let all = list(&kv, talk).unwrap();
                prop_assert!(all.windows(2).all(|two| two[0].to + 1 < two[1].from));
                let numbers: BTreeSet<_> = all.iter().flat_map(|gap| gap.from..=gap.to).collect();
                prop_assert_eq!(&numbers, &model);
            }
        }
    }

    #[test]
    fn what_is_no_range_changes_nothing() {
        let (mut kv, talk) = (Tables::default(), ConversationId([1; 16]));
        for (from, to) in [(0, 5), (7, 6), (1, u64::MAX)] {
            add(&mut kv, talk, Gap { from, to }).unwrap();
        }
        assert_eq!(list(&kv, talk), Ok(vec![]));
    }
}
