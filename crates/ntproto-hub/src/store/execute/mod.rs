//! What every transaction means, written once over the key-value view.
//!
//! The writes of a transaction are staged, and kept once it is not refused: a refusal leaves no trace.
//!
//! | file | transactions |
//! | --- | --- |
//! | `accounts`, `invitations` | boot, clock floor, enrolment, devices; invitations |
//! | `messages`, `changes` | append; edits and recalls |
//! | `delivered` | watermarks |
//! | `inbox`, `packets`, `pull` | positions and pages; what stands there; what members of large groups find when they ask |
//! | `history` | conversations read backwards, and listed |
//! | `people`, `friends` | profiles; what accounts are to each other |
//! | `groups`, `members`, `roster` | groups; their members; the records of both |
//! | `presence` | who is there |
//! | `files` | uploads, files, and what they hold |
//! | `admin` | what administrators may, and the log of it |
//! | `rules` | what the operator has settled |
//! | `restored` | what numbers are above, and raising it after a restore |

use alloc::vec::Vec;

use bytes::Bytes;
use prost::Message;

use super::kv::{Kv, Table};
use super::txn::{Outcome, StoreError, Txn};

mod accounts;
mod acts;
mod admin;
mod changes;
mod delivered;
mod files;
mod friends;
mod groups;
mod history;
pub(super) mod inbox;
mod invitations;
mod members;
mod messages;
pub(crate) mod packets;
mod pages;
mod people;
pub(super) mod presence;
mod pull;
mod restored;
mod roster;
mod rules;
mod staged;

pub use accounts::{BOOT_LEAD, CLOCK_LEAD, FIRST_UIN, MAX_DEVICES, MAX_LIVE_DEVICES};
pub use admin::{MAX_AUDIT, MAX_BACKUP_NAME};
pub use changes::{EDIT_WINDOW, MAX_EDITS, RECALL_WINDOW};
pub use delivered::RECEIPT_FANOUT;
pub(super) use files::charge;
pub use friends::{MAX_FRIENDS, MAX_RECORDS, MAX_WANTED};
pub use groups::MAX_GROUPS_GET;
pub use history::MAX_HISTORY;
pub use inbox::MAX_PAGE;
pub use members::{MAX_INVITES, MAX_MEMBERS_PAGE};
pub use messages::FANOUT;
pub use pages::{MAX_ITEMS, PAGE_BYTES};
pub use people::{MAX_AVATAR, MAX_EXTRA, MAX_PROFILES};
pub use presence::MAX_SUBSCRIBED;
pub use pull::{PULL_GROUP, PULL_PAGE};
pub use restored::{NUMBERS_PER_SECOND, RESTORE_ACCOUNTS, RESTORE_STEP};
pub use roster::{KEPT_CHANGES, MAX_GROUP_MEMBERS, MAX_GROUPS_OF};

/// Runs one transaction.
///
/// # Errors
/// A refusal (nothing was written), or a failure of the store (whatever was written must be undone).
pub fn execute(txn: &Txn, kv: &mut dyn Kv) -> Result<Outcome, StoreError> {
    let mut staged = staged::Staged::new(kv);
    let outcome = run(txn, &mut staged)?;
    staged.keep()?;
    Ok(outcome)
}

fn run(txn: &Txn, kv: &mut dyn Kv) -> Result<Outcome, StoreError> {
    match txn {
        Txn::Boot { wall, epoch } => accounts::boot(kv, *wall, epoch),
        Txn::SetClockFloor { at } => accounts::set_clock_floor(kv, *at),
        Txn::Rest { at } => accounts::rest(kv, *at),
        Txn::Restored { wall } => restored::restored(kv, *wall),
        Txn::SetRules(rules) => rules::set(kv, rules),
        Txn::CreateInvitation { by, code_hash, uses, expires, may_invite, admin, account, audit } => {
            let new = invitations::New {
                by: *by,
                code_hash,
                uses: *uses,
                expires: *expires,
                may_invite: *may_invite,
                admin: *admin,
                account: *account,
                audit: audit.as_ref(),
            };
            invitations::create(kv, &new)
        }
        Txn::Enrol { via, device, now } => accounts::enrol(kv, via, device, *now),
        Txn::LookupDevice { key } => accounts::lookup_device(kv, key),
        Txn::Append(append) => messages::append(kv, append),
        Txn::SyncPage { uin, epoch, cursor, limit, max_bytes, max_lag, place } => {
            let asked = inbox::Asked {
                uin: *uin,
                epoch: epoch.as_ref(),
                cursor: *cursor,
                limit: *limit,
                max_bytes: *max_bytes,
                max_lag: *max_lag,
                place: *place,
            };
            inbox::sync_page(kv, &asked)
        }
        Txn::Delivered { uin, watermarks } => delivered::delivered(kv, *uin, watermarks),
        Txn::Devices { uin } => accounts::devices(kv, *uin),
        Txn::RevokeDevice { uin, device_id, now } => accounts::revoke_device(kv, *uin, *device_id, *now),
        Txn::Act { by, act } => acts::act(kv, by, act).map(Outcome::Acted),
        Txn::File { by, ask } => files::ask(kv, by, ask).map(Outcome::File),
        Txn::FileWork(work) => files::work(kv, work).map(Outcome::File),
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
