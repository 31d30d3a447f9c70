//! What the operator has settled.

use alloc::vec::Vec;

use super::super::keys;
use super::super::kv::{Kv, Table};
use super::super::txn::{Outcome, Rules, StoreError};
use super::messages::FANOUT;
use super::pull::PULL_GROUP;
use super::roster::MAX_GROUP_MEMBERS;

pub(super) fn set(kv: &mut dyn Kv, rules: &Rules) -> Result<Outcome, StoreError> {
    let mut now = Vec::with_capacity(17);
    now.push(u8::from(rules.friends_only));
    now.extend(rules.max_group_members.min(MAX_GROUP_MEMBERS).to_be_bytes());
    now.extend(rules.fanout.min(FANOUT).to_be_bytes());
    now.extend(rules.pull_group.clamp(1, PULL_GROUP).to_be_bytes());
    // At every start they are set again, and mostly the same.
    if kv.get(Table::Meta, keys::RULES)?.is_none_or(|before| before != now[..]) {
        kv.put(Table::Meta, keys::RULES, &now)?;
    }
    Ok(Outcome::Done)
}

pub(super) fn current(kv: &dyn Kv) -> Result<Rules, StoreError> {
    let Some(rules) = kv.get(Table::Meta, keys::RULES)? else { return Ok(Rules::default()) };
    let [friends_only, a, b, c, d, e, f, g, h, ref pull @ ..] = rules[..] else {
        return Err(StoreError::Corrupt);
    };
    Ok(Rules {
        friends_only: friends_only != 0,
        max_group_members: u32::from_be_bytes([a, b, c, d]),
        fanout: u32::from_be_bytes([e, f, g, h]),
        pull_group: u64::from_be_bytes(pull.try_into().map_err(|_| StoreError::Corrupt)?),
    })
}
