//! Which file gives which request its meaning.

use super::super::act::{Act, Acted, Actor};
use super::super::kv::Kv;
use super::super::txn::StoreError;

pub(super) fn act(_: &mut dyn Kv, _: &Actor, _: &Act) -> Result<Acted, StoreError> {
    Err(StoreError::NotFound)
}
