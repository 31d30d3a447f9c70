//! What the operator has settled.

use super::super::keys;
use super::super::kv::{Kv, Table};
use super::super::txn::{Outcome, Rules, StoreError};
use super::roster::MAX_GROUP_MEMBERS;

pub(super) fn set(kv: &mut dyn Kv, rules: &Rules) -> Result<Outcome, StoreError> {
    let members = rules.max_group_members.min(MAX_GROUP_MEMBERS);
    let [a, b, c, d] = members.to_be_bytes();
    let now = [u8::from(rules.friends_only), a, b, c, d];
    // At every start they are set again, and mostly the same.
    if kv.get(Table::Meta, keys::RULES)?.is_none_or(|before| before != now[..]) {
        kv.put(Table::Meta, keys::RULES, &now)?;
    }
    Ok(Outcome::Done)
}

pub(super) fn current(kv: &dyn Kv) -> Result<Rules, StoreError> {
    let Some(rules) = kv.get(Table::Meta, keys::RULES)? else { return Ok(Rules::default()) };
    match rules[..] {
        [friends_only, a, b, c, d] => {
            Ok(Rules { friends_only: friends_only != 0, max_group_members: u32::from_be_bytes([a, b, c, d]) })
        }
        _ => Err(StoreError::Corrupt),
    }
}
