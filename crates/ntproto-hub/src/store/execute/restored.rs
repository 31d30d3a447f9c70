//! Going on from a backup: every number given out from now on is above all that were given out since it was made.
//!
//! Clients know numbers that the restored store does not. A message that got one of them again would be taken for
//! one that is known, and dropped. One number below which nothing is given out any more, for all conversations and
//! inboxes, raises them all at once, however large the store is.

use ntproto_core::time::UnixMillis;

use super::super::keys;
use super::super::kv::{Kv, Table};
use super::super::txn::{Outcome, StoreError};
use super::accounts;

/// How far a restore raises the numbers at the least: more than one conversation or inbox can have been given since
/// the backup, and few enough for the four billion restores that 64 bits hold.
pub const RESTORE_STEP: u64 = 1 << 32;
/// Numbers for each second since 1970, which a restore raises them to if that is more: the same backup restored a
/// second time must not give out again what it gave after the first. More than a conversation is given in a second.
pub const NUMBERS_PER_SECOND: u64 = 1 << 20;
/// A clock raises them no further: beyond it, JSON readers round. Real clocks get there in the year 2242.
const MAX_BY_CLOCK: u64 = 1 << 53;
/// How far account and group numbers are raised: the accounts made since the backup are gone, and theirs must not become
/// another person's. People type them, so they stay short.
pub const RESTORE_ACCOUNTS: u64 = 1_000_000;

/// No conversation and no inbox goes on below this number. Zero in a store that was never restored.
pub(super) fn base(kv: &dyn Kv) -> Result<u64, StoreError> {
    Ok(accounts::meta_number(kv, keys::NUMBER_BASE)?.unwrap_or(0))
}

/// The version after this one: above all that clients can have seen.
pub(super) fn next_version(kv: &dyn Kv, version: u64) -> Result<u64, StoreError> {
    version.max(base(kv)?).checked_add(1).ok_or(StoreError::Corrupt)
}

//= spec: messages-17
pub(super) fn restored(kv: &mut dyn Kv, wall: UnixMillis) -> Result<Outcome, StoreError> {
    let by_clock = (wall.0 / 1_000).saturating_mul(NUMBERS_PER_SECOND).min(MAX_BY_CLOCK);
    let base = base(kv)?.checked_add(RESTORE_STEP).ok_or(StoreError::Corrupt)?.max(by_clock);
    let next_uin = accounts::meta_number(kv, keys::NEXT_UIN)?;
    kv.put(Table::Meta, keys::NUMBER_BASE, &base.to_be_bytes())?;
    // Without one there is no account yet, and the first has a number that is known.
    if let Some(next) = next_uin {
        let next = next.saturating_add(RESTORE_ACCOUNTS);
        kv.put(Table::Meta, keys::NEXT_UIN, &next.to_be_bytes())?;
    }
    let next_group = accounts::meta_number(kv, keys::NEXT_GROUP)?;
    if let Some(next) = next_group {
        let next = next.saturating_add(RESTORE_ACCOUNTS);
        kv.put(Table::Meta, keys::NEXT_GROUP, &next.to_be_bytes())?;
    }
    Ok(Outcome::Restored { above: base })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::super::memory::Tables;
    use super::*;

    fn above(kv: &mut Tables, wall: u64) -> u64 {
        match restored(kv, UnixMillis(wall)).unwrap() {
            Outcome::Restored { above } => above,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_restore_goes_above_the_one_before_it() {
        let backup = Tables::default();
        let now = 1_800_000_000_000;
        let first = above(&mut backup.clone(), now);
        assert!(first >= RESTORE_STEP);
        // The same backup again, later: above all that was given out in between.
        assert_eq!(above(&mut backup.clone(), now + 60_000), first + 60 * NUMBERS_PER_SECOND);
        // A clock that says nothing, and one that says nonsense.
        let mut kv = backup;
        assert_eq!(above(&mut kv, 0), RESTORE_STEP);
        assert_eq!(above(&mut kv, 0), 2 * RESTORE_STEP);
        assert_eq!(above(&mut kv, u64::MAX), MAX_BY_CLOCK);
        assert_eq!(above(&mut kv, 0), MAX_BY_CLOCK + RESTORE_STEP);
    }

    #[test]
    fn numbers_end_with_an_error_and_not_at_the_start() {
        let mut kv = Tables::default();
        kv.put(Table::Meta, keys::NUMBER_BASE, &(u64::MAX - 5).to_be_bytes()).unwrap();
        assert_eq!(restored(&mut kv, UnixMillis(0)), Err(StoreError::Corrupt));
    }
}
