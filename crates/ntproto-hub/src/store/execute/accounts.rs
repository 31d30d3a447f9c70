//! Boot, the clock floor, invitations, enrolment and devices.

use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use ntproto_core::ids::{DeviceId, Uin};
use ntproto_core::time::UnixMillis;
use ntproto_proto::store as record;

use super::super::keys;
use super::super::kv::{Kv, Table};
use super::super::txn::{Boot, DeviceInfo, DeviceKey, EnrolVia, NewDevice, Outcome, StoreError};
use super::{fixed, read, write};

/// The first account. The draft's smallest number; below it is room for the system's own.
pub const FIRST_UIN: Uin = Uin(10001);
/// How far ahead of use the clock floor is kept. A crash moves server time forward by at most this.
pub const CLOCK_LEAD: Duration = Duration::from_secs(5);
/// How far a boot moves it. The hub moves it on, by no more than it has been up: a server that crashes again and
/// again gets ahead of the clock by the time it ran and this much each time.
pub const BOOT_LEAD: Duration = Duration::from_millis(100);
/// Devices of an account that may be in use at once. A person has fewer; a thief wants more.
pub const MAX_LIVE_DEVICES: usize = 32;
/// Devices of an account over all time, revoked ones included: it bounds the device list.
pub const MAX_DEVICES: usize = 1_024;
/// Expired links forgotten by one enrolment: the table stays small and no enrolment pays for many.
const PRUNE_LINKS: usize = 16;

pub(super) fn boot(kv: &mut dyn Kv, wall: UnixMillis, epoch: &[u8; 16]) -> Result<Outcome, StoreError> {
    let stored = kv.get(Table::Meta, keys::EPOCH)?;
    let clock = clock_floor(kv)?.max(wall);
    let floor = clock + BOOT_LEAD;
    let epoch = match stored {
        Some(stored) => fixed(&stored)?,
        None => {
            kv.put(Table::Meta, keys::EPOCH, epoch)?;
            *epoch
        }
    };
    kv.put(Table::Meta, keys::CLOCK_FLOOR, &floor.0.to_be_bytes())?;
    Ok(Outcome::Booted(Boot { epoch, clock, floor }))
}

pub(super) fn set_clock_floor(kv: &mut dyn Kv, at: UnixMillis) -> Result<Outcome, StoreError> {
    let stored = clock_floor(kv)?;
    if at > stored {
        kv.put(Table::Meta, keys::CLOCK_FLOOR, &at.0.to_be_bytes())?;
    }
    Ok(Outcome::ClockFloor { floor: at.max(stored) })
}

pub(super) fn rest(kv: &mut dyn Kv, at: UnixMillis) -> Result<Outcome, StoreError> {
    let floor = clock_floor(kv)?.min(at);
    kv.put(Table::Meta, keys::CLOCK_FLOOR, &floor.0.to_be_bytes())?;
    Ok(Outcome::ClockFloor { floor })
}

fn clock_floor(kv: &dyn Kv) -> Result<UnixMillis, StoreError> {
    meta_number(kv, keys::CLOCK_FLOOR).map(|floor| UnixMillis(floor.unwrap_or(0)))
}

pub(super) fn meta_number(kv: &dyn Kv, name: &[u8]) -> Result<Option<u64>, StoreError> {
    kv.get(Table::Meta, name)?.map(|value| keys::number(&value).ok_or(StoreError::Corrupt)).transpose()
}

pub(super) fn account(kv: &dyn Kv, uin: Uin) -> Result<Option<record::Account>, StoreError> {
    read(kv, Table::Accounts, &keys::account(uin))
}

/// The device, if it is this account's and in use.
pub(super) fn live_device(kv: &dyn Kv, uin: Uin, id: DeviceId) -> Result<record::Device, StoreError> {
    let device = device(kv, id)?.ok_or(StoreError::NotFound)?;
    match (device.uin == uin.0, device.revoked_ms) {
        (false, _) => Err(StoreError::Forbidden),
        (true, 0) => Ok(device),
        (true, _) => Err(StoreError::Revoked),
    }
}

pub(super) fn save(kv: &mut dyn Kv, uin: Uin, account: &record::Account) -> Result<(), StoreError> {
    write(kv, Table::Accounts, &keys::account(uin), account)
}

/// Moves a counter in `Meta` by `by`.
pub(super) fn count(kv: &mut dyn Kv, name: &[u8], by: i64) -> Result<(), StoreError> {
    let now = meta_number(kv, name)?.unwrap_or(0).checked_add_signed(by).ok_or(StoreError::Corrupt)?;
    kv.put(Table::Meta, name, &now.to_be_bytes())
}

pub(super) fn device(kv: &dyn Kv, id: DeviceId) -> Result<Option<record::Device>, StoreError> {
    read(kv, Table::Devices, &id.0)
}

pub(super) fn enrol(
    kv: &mut dyn Kv,
    via: &EnrolVia,
    new: &NewDevice,
    now: UnixMillis,
) -> Result<Outcome, StoreError> {
    if let Some(known) = known_device(kv, via, new)? {
        return Ok(Outcome::Enrolled(known));
    }
    if device(kv, new.id)?.is_some() || kv.get(Table::SigningKeys, &new.signing_key)?.is_some() {
        return Err(StoreError::KeysInUse);
    }
    let mut admin = false;
    let (uin, account) = match via {
        EnrolVia::Invitation { code_hash } => {
            let mut invitation: record::Invitation =
                read(kv, Table::Invitations, code_hash)?.ok_or(StoreError::InvitationUnknown)?;
            if now.0 >= invitation.expires_ms {
                return Err(StoreError::InvitationExpired);
            }
            invitation.uses_left = invitation.uses_left.checked_sub(1).ok_or(StoreError::InvitationUsedUp)?;
            write(kv, Table::Invitations, code_hash, &invitation)?;
            admin = invitation.admin;
            if invitation.uin == 0 {
                let uin = next_uin(kv)?;
                (uin, create_account(kv, uin, invitation.may_invite, now)?)
            } else {
                let uin = Uin(invitation.uin);
                has_room(kv, uin)?;
                (uin, account(kv, uin)?.ok_or(StoreError::Corrupt)?)
            }
        }
        EnrolVia::Open => {
            let uin = next_uin(kv)?;
            (uin, create_account(kv, uin, false, now)?)
        }
        EnrolVia::Link { uin, device_id, nonce, expires } => {
            let account = check_link(kv, *uin, *device_id, nonce, *expires, now)?;
            forget_expired_links(kv, now)?;
            kv.put(Table::UsedLinks, &keys::used_link(*expires, *uin, nonce), &[])?;
            (*uin, account)
        }
    };
    let device = record::Device {
        uin: uin.0,
        signing_key: Bytes::copy_from_slice(&new.signing_key),
        static_key: Bytes::copy_from_slice(&new.static_key),
        name: new.name.clone(),
        created_ms: now.0,
        revoked_ms: 0,
        revocation_generation: 0,
        admin,
    };
    write(kv, Table::Devices, &new.id.0, &device)?;
    kv.put(Table::DeviceKeys, &new.static_key, &new.id.0)?;
    kv.put(Table::SigningKeys, &new.signing_key, &new.id.0)?;
    kv.put(Table::AccountDevices, &keys::account_device(uin, new.id), &[])?;
    Ok(Outcome::Enrolled(info(new.id, device, &account)?))
}

/// The device that already has this static key, if this enrolment is a retry of its own.
fn known_device(kv: &dyn Kv, via: &EnrolVia, new: &NewDevice) -> Result<Option<DeviceInfo>, StoreError> {
    let Some(id) = kv.get(Table::DeviceKeys, &new.static_key)? else { return Ok(None) };
    let known = device_info(kv, DeviceId(fixed(&id)?))?.ok_or(StoreError::Corrupt)?;
    if known.revoked.is_some() {
        return Err(StoreError::Revoked);
    }
    //= spec: handshake-9, handshake-10
    let other_account = matches!(via, EnrolVia::Link { uin, .. } if *uin != known.uin);
    if known.signing_key != new.signing_key || other_account {
        return Err(StoreError::KeysInUse);
    }
    Ok(Some(known))
}

/// The next account number; it is taken by `create_account`.
fn next_uin(kv: &dyn Kv) -> Result<Uin, StoreError> {
    meta_number(kv, keys::NEXT_UIN).map(|next| next.map_or(FIRST_UIN, Uin))
}

fn create_account(
    kv: &mut dyn Kv,
    uin: Uin,
    may_invite: bool,
    now: UnixMillis,
) -> Result<record::Account, StoreError> {
    let account = record::Account { created_ms: now.0, may_invite, ..Default::default() };
    write(kv, Table::Accounts, &keys::account(uin), &account)?;
    kv.put(Table::Meta, keys::NEXT_UIN, &uin.0.saturating_add(1).to_be_bytes())?;
    count(kv, keys::ACCOUNTS, 1)?;
    Ok(account)
}

fn check_link(
    kv: &dyn Kv,
    uin: Uin,
    signer: DeviceId,
    nonce: &[u8; 16],
    expires: UnixMillis,
    now: UnixMillis,
) -> Result<record::Account, StoreError> {
    //= spec: handshake-8
    if now >= expires {
        return Err(StoreError::LinkExpired);
    }
    let signer = device(kv, signer)?.ok_or(StoreError::Forbidden)?;
    //= spec: handshake-8
    if signer.uin != uin.0 || signer.revoked_ms != 0 {
        return Err(StoreError::Forbidden);
    }
    //= spec: handshake-8
    if kv.get(Table::UsedLinks, &keys::used_link(expires, uin, nonce))?.is_some() {
        return Err(StoreError::LinkUsed);
    }
    has_room(kv, uin)?;
    account(kv, uin)?.ok_or(StoreError::Corrupt)
}

/// Whether the account may have one more device.
fn has_room(kv: &dyn Kv, uin: Uin) -> Result<(), StoreError> {
    let devices = list_devices(kv, uin)?;
    let live = devices.iter().filter(|device| device.revoked.is_none()).count();
    if live >= MAX_LIVE_DEVICES || devices.len() >= MAX_DEVICES {
        return Err(StoreError::TooManyDevices);
    }
    Ok(())
}

/// Expired links are refused by their expiry: that they were used need not be known.
fn forget_expired_links(kv: &mut dyn Kv, now: UnixMillis) -> Result<(), StoreError> {
    let mut expired = Vec::new();
    let to = keys::used_link(now, Uin(0), &[0; 16]);
    kv.scan(Table::UsedLinks, &[], &to, &mut |key, _| {
        expired.push(keys::owned(key));
        expired.len() < PRUNE_LINKS
    })?;
    expired.iter().try_for_each(|key| kv.delete(Table::UsedLinks, key))
}

fn info(id: DeviceId, device: record::Device, account: &record::Account) -> Result<DeviceInfo, StoreError> {
    Ok(DeviceInfo {
        uin: Uin(device.uin),
        id,
        signing_key: fixed(&device.signing_key)?,
        static_key: fixed(&device.static_key)?,
        name: device.name,
        created: UnixMillis(device.created_ms),
        revoked: (device.revoked_ms != 0).then_some(UnixMillis(device.revoked_ms)),
        generation: device.revocation_generation,
        may_invite: account.may_invite,
        admin: device.admin,
    })
}

fn device_info(kv: &dyn Kv, id: DeviceId) -> Result<Option<DeviceInfo>, StoreError> {
    let Some(device) = device(kv, id)? else { return Ok(None) };
    let account = account(kv, Uin(device.uin))?.ok_or(StoreError::Corrupt)?;
    info(id, device, &account).map(Some)
}

pub(super) fn lookup_device(kv: &dyn Kv, key: &DeviceKey) -> Result<Outcome, StoreError> {
    let id = match key {
        DeviceKey::Id(id) => *id,
        DeviceKey::Static(key) => {
            let id = kv.get(Table::DeviceKeys, key)?.ok_or(StoreError::NotFound)?;
            DeviceId(fixed(&id)?)
        }
    };
    device_info(kv, id)?.map(Outcome::Device).ok_or(StoreError::NotFound)
}

pub(super) fn list_devices(kv: &dyn Kv, uin: Uin) -> Result<Vec<DeviceInfo>, StoreError> {
    let mut ids = Vec::new();
    let to = keys::account_device(uin, DeviceId([0xff; 16]));
    kv.scan(Table::AccountDevices, &keys::account(uin), &to, &mut |key, _| {
        ids.push(keys::trailing_device(key));
        ids.len() < MAX_DEVICES
    })?;
    ids.into_iter()
        .map(|id| device_info(kv, id.ok_or(StoreError::Corrupt)?)?.ok_or(StoreError::Corrupt))
        .collect()
}

pub(super) fn devices(kv: &dyn Kv, uin: Uin) -> Result<Outcome, StoreError> {
    let mut devices = list_devices(kv, uin)?;
    devices.sort_by_key(|device| (device.created, device.id));
    Ok(Outcome::Devices(devices))
}

pub(super) fn revoke_device(
    kv: &mut dyn Kv,
    uin: Uin,
    id: DeviceId,
    now: UnixMillis,
) -> Result<Outcome, StoreError> {
    let mut device = device(kv, id)?.filter(|device| device.uin == uin.0).ok_or(StoreError::NotFound)?;
    if device.revoked_ms == 0 {
        // Zero means "not revoked", so a clock at zero counts as one.
        device.revoked_ms = now.0.max(1);
        device.revocation_generation += 1;
        write(kv, Table::Devices, &id.0, &device)?;
    }
    Ok(Outcome::Revoked { generation: device.revocation_generation })
}
