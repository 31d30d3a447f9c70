//! What administrators may, and the log of what they did.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use ntproto_core::ids::{DeviceId, GroupId, Uin};
use ntproto_core::wire::packet::PacketId;
use ntproto_proto::store as record;
use ntproto_proto::v2;

use super::super::act::{Acted, Actor};
use super::super::keys;
use super::super::kv::{Kv, Table};
use super::super::txn::StoreError;
use super::pages::{MAX_ITEMS, Page};
use super::{accounts, acts, decode, pages, read, roster, write};

/// Entries of the audit log that are kept: years of a busy administrator.
pub const MAX_AUDIT: u64 = 100_000;
/// The longest name of a backup.
pub const MAX_BACKUP_NAME: usize = 64;

/// Whether the asker's device is an administrator's.
pub(super) fn guard(kv: &dyn Kv, by: &Actor) -> Result<(), StoreError> {
    //= spec: admin-1
    if accounts::live_device(kv, by.uin, by.device)?.admin { Ok(()) } else { Err(StoreError::Forbidden) }
}

/// Writes what is being done into the log.
pub(super) fn note(kv: &mut dyn Kv, by: &Actor, act: PacketId, subject: String) -> Result<(), StoreError> {
    let last = kv.last_key(Table::Audit, &[0; 8], &[0xff; 8])?;
    let last = last.map_or(Ok(0), |key| keys::trailing_u64(&key).ok_or(StoreError::Corrupt))?;
    let number = last.checked_add(1).ok_or(StoreError::Corrupt)?;
    let entry = record::AuditEntry {
        at_ms: by.now.0,
        uin: by.uin.0,
        device_id: Bytes::copy_from_slice(&by.device.0),
        act: act.name().unwrap_or_default().into(),
        subject,
    };
    //= spec: admin-2
    write(kv, Table::Audit, &number.to_be_bytes(), &entry)?;
    match number.checked_sub(MAX_AUDIT) {
        Some(old) => kv.delete(Table::Audit, &old.to_be_bytes()),
        None => Ok(()),
    }
}

/// ADMIN_ACCOUNTS.
pub(super) fn list_accounts(
    kv: &mut dyn Kv,
    by: &Actor,
    request: &v2::AdminAccountsRequest,
) -> Result<Acted, StoreError> {
    note(kv, by, PacketId::ADMIN_ACCOUNTS, format!("after {}", request.after))?;
    let (after, to) = (request.after.to_be_bytes(), [0xff; 8]);
    let kv = &*kv;
    let (accounts, has_more) =
        pages::rows(kv, Table::Accounts, (&after, &to), request.limit, |key, value| {
            let uin = Uin(keys::number(key).ok_or(StoreError::Corrupt)?);
            let account: record::Account = decode(value)?;
            let devices = accounts::list_devices(kv, uin)?;
            let revoked = devices.iter().filter(|device| device.revoked.is_some()).count();
            Ok(Some(v2::AdminAccount {
                uin: uin.0,
                nick: account.profile.unwrap_or_default().nick,
                created_ms: account.created_ms,
                may_invite: account.may_invite,
                devices: devices.len() as u32,
                revoked: revoked as u32,
            }))
        })?;
    Ok(acts::answered(&v2::AdminAccountsResponse { accounts, has_more }))
}

/// ADMIN_DEVICES.
pub(super) fn devices(
    kv: &mut dyn Kv,
    by: &Actor,
    request: &v2::AdminDevicesRequest,
) -> Result<Acted, StoreError> {
    let uin = Uin(request.uin);
    accounts::account(kv, uin)?.ok_or(StoreError::NotFound)?;
    note(kv, by, PacketId::ADMIN_DEVICES, format!("{uin}"))?;
    let mut devices = accounts::list_devices(kv, uin)?;
    devices.sort_by_key(|device| (device.created, device.id));
    let devices = devices
        .into_iter()
        .map(|device| v2::Device {
            device_id: Bytes::copy_from_slice(&device.id.0),
            name: device.name,
            created_ms: device.created.0,
            revoked: device.revoked.is_some(),
            current: device.id == by.device,
            admin: device.admin,
        })
        .collect();
    Ok(acts::answered(&v2::DevicesResponse { devices }))
}

/// ADMIN_REVOKE.
pub(super) fn revoke(
    kv: &mut dyn Kv,
    by: &Actor,
    request: &v2::AdminRevokeRequest,
) -> Result<Acted, StoreError> {
    let (uin, device) = (Uin(request.uin), DeviceId::from_slice(&request.device_id));
    let device = device.ok_or(StoreError::BadRequest)?;
    accounts::revoke_device(kv, uin, device, by.now)?;
    note(kv, by, PacketId::ADMIN_REVOKE, format!("{uin}, device {device}"))?;
    Ok(Acted { revoked: Some((uin, device)), ..acts::answered(&v2::RevokeDeviceResponse {}) })
}

/// ADMIN_GROUPS.
pub(super) fn list_groups(
    kv: &mut dyn Kv,
    by: &Actor,
    request: &v2::AdminGroupsRequest,
) -> Result<Acted, StoreError> {
    note(kv, by, PacketId::ADMIN_GROUPS, format!("after {}", request.after))?;
    let (after, to) = (request.after.to_be_bytes(), [0xff; 8]);
    let (groups, has_more) = pages::rows(kv, Table::Groups, (&after, &to), request.limit, |key, value| {
        let id = GroupId(keys::number(key).ok_or(StoreError::Corrupt)?);
        Ok(Some(roster::shown(id, &decode(value)?)))
    })?;
    Ok(acts::answered(&v2::AdminGroupsResponse { groups, has_more }))
}

/// ADMIN_STATS, as far as the store knows.
pub(super) fn stats(kv: &mut dyn Kv, by: &Actor) -> Result<Acted, StoreError> {
    note(kv, by, PacketId::ADMIN_STATS, String::new())?;
    let stats = v2::AdminStatsResponse {
        accounts: accounts::meta_number(kv, keys::ACCOUNTS)?.unwrap_or(0),
        groups: accounts::meta_number(kv, keys::GROUPS)?.unwrap_or(0),
        server_ms: by.now.0,
        ..Default::default()
    };
    Ok(acts::answered(&stats))
}

/// ADMIN_BACKUP: the host makes it.
pub(super) fn backup(
    kv: &mut dyn Kv,
    by: &Actor,
    request: &v2::AdminBackupRequest,
) -> Result<Acted, StoreError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if request.name.is_empty() || request.name.len() > MAX_BACKUP_NAME || !request.name.chars().all(fits) {
        return Err(StoreError::BadRequest);
    }
    note(kv, by, PacketId::ADMIN_BACKUP, request.name.clone())?;
    Ok(acts::answered(&v2::AdminBackupResponse::default()))
}

/// ADMIN_VERIFY: the host makes it.
pub(super) fn verify(kv: &mut dyn Kv, by: &Actor) -> Result<Acted, StoreError> {
    note(kv, by, PacketId::ADMIN_VERIFY, String::new())?;
    Ok(acts::answered(&v2::AdminVerifyResponse::default()))
}

/// ADMIN_AUDIT.
pub(super) fn audit(kv: &dyn Kv, request: &v2::AdminAuditRequest) -> Result<Acted, StoreError> {
    let mut page = Page::new(request.limit, MAX_ITEMS);
    let mut has_more = false;
    let mut last = match request.before {
        0 => u64::MAX,
        before => before - 1,
    };
    while let Some(key) = kv.last_key(Table::Audit, &[0; 8], &last.to_be_bytes())? {
        let number = keys::number(&key).ok_or(StoreError::Corrupt)?;
        let entry: record::AuditEntry = read(kv, Table::Audit, &key)?.ok_or(StoreError::Corrupt)?;
        let entry = v2::AuditEntry {
            number,
            at_ms: entry.at_ms,
            uin: entry.uin,
            device_id: entry.device_id,
            act: entry.act,
            subject: entry.subject,
        };
        if !page.push(entry) {
            has_more = true;
            break;
        }
        // Numbers start at one.
        last = number - 1;
    }
    let entries: Vec<v2::AuditEntry> = page.items;
    Ok(acts::answered(&v2::AdminAuditResponse { entries, has_more }))
}
