//! Presence.

use ntproto_core::ids::{DeviceId, Uin};
use ntproto_core::time::UnixMillis;

use super::super::act::Acted;
use super::super::kv::Kv;
use super::super::txn::StoreError;

pub(super) fn connections(
    _: &mut dyn Kv,
    _: &[(Uin, DeviceId)],
    _: &[(Uin, DeviceId)],
    _: &[Uin],
    _: UnixMillis,
) -> Result<Acted, StoreError> {
    Ok(Acted::default())
}
