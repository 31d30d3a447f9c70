//! What every transaction means, written once over the key-value view.
//!
//! Each function reads and checks first and writes last: a refusal has written nothing.
//!
//! | file | transactions |
//! | --- | --- |
//! | `accounts` | boot, clock floor, invitations, enrolment, devices |
//! | `messages` | append and delivered |
//! | `inbox` | positions, and pages of what is there |
//! | `restored` | what numbers are above, and raising it after a restore |

use alloc::vec::Vec;

use bytes::Bytes;
use prost::Message;

use super::kv::{Kv, Table};
use super::txn::{Outcome, StoreError, Txn};

mod accounts;
mod acts;
mod groups;
mod inbox;
mod messages;
mod presence;
mod restored;

pub use accounts::{BOOT_LEAD, CLOCK_LEAD, FIRST_UIN, MAX_DEVICES, MAX_LIVE_DEVICES};
pub use inbox::MAX_PAGE;
pub use restored::{NUMBERS_PER_SECOND, RESTORE_ACCOUNTS, RESTORE_STEP};

/// Runs one transaction.
///
/// # Errors
/// A refusal (nothing was written), or a failure of the store (whatever was written must be undone).
pub fn execute(txn: &Txn, kv: &mut dyn Kv) -> Result<Outcome, StoreError> {
    match txn {
        Txn::Boot { wall, epoch } => accounts::boot(kv, *wall, epoch),
        Txn::SetClockFloor { at } => accounts::set_clock_floor(kv, *at),
        Txn::Rest { at } => accounts::rest(kv, *at),
        Txn::Restored { wall } => restored::restored(kv, *wall),
        Txn::CreateInvitation { by, code_hash, uses, expires, may_invite, .. } => {
            accounts::create_invitation(kv, *by, code_hash, *uses, *expires, *may_invite)
        }
        Txn::Enrol { via, device, now } => accounts::enrol(kv, via, device, *now),
        Txn::LookupDevice { key } => accounts::lookup_device(kv, key),
        Txn::Append(append) => messages::append(kv, append),
        Txn::SyncPage { uin, epoch, cursor, limit, max_bytes, .. } => {
            inbox::sync_page(kv, *uin, epoch.as_ref(), *cursor, *limit, *max_bytes)
        }
        Txn::Delivered { uin, watermarks } => messages::delivered(kv, *uin, watermarks),
        Txn::Devices { uin } => accounts::devices(kv, *uin),
        Txn::RevokeDevice { uin, device_id, now } => accounts::revoke_device(kv, *uin, *device_id, *now),
        Txn::Act { by, act } => acts::act(kv, by, act).map(Outcome::Acted),
        Txn::GroupsOf { uin } => groups::groups_of(kv, *uin).map(Outcome::Groups),
        Txn::Presence { renew, left, expire, now } => {
            presence::connections(kv, renew, left, expire, *now).map(Outcome::Acted)
        }
    }
}

/// Runs a batch in one transaction of the store. A refused transaction leaves the others standing.
///
/// # Errors
/// The store failed: nothing of the batch may be kept.
pub fn execute_batch(batch: &[Txn], kv: &mut dyn Kv) -> Result<Vec<Result<Outcome, StoreError>>, StoreError> {
    batch
        .iter()
        .map(|txn| match execute(txn, kv) {
            Err(error) if !error.is_refusal() => Err(error),
            answer => Ok(answer),
        })
        .collect()
}

/// Reads a record.
fn read<M: Message + Default>(kv: &dyn Kv, table: Table, key: &[u8]) -> Result<Option<M>, StoreError> {
    kv.get(table, key)?.map(decode).transpose()
}

/// Decodes a record; bytes fields stay slices of it.
fn decode<M: Message + Default>(value: Bytes) -> Result<M, StoreError> {
    M::decode(value).map_err(|_| StoreError::Corrupt)
}

/// Writes a record.
fn write<M: Message>(kv: &mut dyn Kv, table: Table, key: &[u8], record: &M) -> Result<(), StoreError> {
    kv.put(table, key, &record.encode_to_vec())
}

/// A bytes field of fixed width.
fn fixed<const N: usize>(field: &[u8]) -> Result<[u8; N], StoreError> {
    field.try_into().map_err(|_| StoreError::Corrupt)
}
