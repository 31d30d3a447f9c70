//! Groups.

use alloc::vec::Vec;

use ntproto_core::ids::{GroupId, Uin};

use super::super::kv::Kv;
use super::super::txn::StoreError;

pub(super) fn groups_of(_: &dyn Kv, _: Uin) -> Result<Vec<GroupId>, StoreError> {
    Ok(Vec::new())
}
