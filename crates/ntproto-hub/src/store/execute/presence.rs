//! Presence: a compare-and-swap on the account's record, and what connections mean for it.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use bytes::Bytes;
use ntproto_core::ids::{DeviceId, Uin};
use ntproto_core::presence::{Entry, LEASE, Record, Refused, State};
use ntproto_core::time::UnixMillis;
use ntproto_proto::store as record;
use ntproto_proto::v2;

use super::super::act::{Acted, Actor};
use super::super::keys;
use super::super::kv::{Kv, Table};
use super::super::txn::StoreError;
use super::{acts, fixed, friends, read, restored, write};

/// Accounts one request subscribes to: as many as a connection may.
pub const MAX_SUBSCRIBED: usize = 500;

/// A record as it stands.
pub(in super::super) fn load(kv: &dyn Kv, uin: Uin) -> Result<Record, StoreError> {
    let stored: record::PresenceRecord = read(kv, Table::Presence, &keys::account(uin))?.unwrap_or_default();
    // Clients may know versions that were lost with the disk.
    let version = stored.version.max(restored::base(kv)?);
    let devices = stored.devices.iter().map(|device| {
        let state = State::from_wire(device.status).ok_or(StoreError::Corrupt)?;
        let lease_until = UnixMillis(device.lease_until_ms);
        Ok((DeviceId(fixed(&device.device_id)?), Entry { state, lease_until }))
    });
    let devices = devices.collect::<Result<Vec<_>, StoreError>>()?;
    Record::from_parts(version, devices).map_err(|_| StoreError::Corrupt)
}

fn save(kv: &mut dyn Kv, uin: Uin, presence: &Record) -> Result<(), StoreError> {
    let devices = presence.devices().map(|(device, entry)| record::DevicePresence {
        device_id: Bytes::copy_from_slice(&device.0),
        status: entry.state as u32,
        lease_until_ms: entry.lease_until.0,
    });
    let stored = record::PresenceRecord { version: presence.version(), devices: devices.collect() };
    write(kv, Table::Presence, &keys::account(uin), &stored)
}

/// One's own record as it travels.
fn shown(presence: &Record) -> v2::PresenceRecord {
    let devices = presence.devices().map(|(device, entry)| v2::DevicePresence {
        device_id: Bytes::copy_from_slice(&device.0),
        status: entry.state as i32,
        lease_until_ms: entry.lease_until.0,
    });
    v2::PresenceRecord { version: presence.version(), devices: devices.collect() }
}

/// How an account appears to others.
fn appearance(uin: Uin, state: State, version: u64) -> v2::Presence {
    v2::Presence { uin: uin.0, status: state as i32, version }
}

/// PRESENCE_SET.
pub(super) fn set(
    kv: &mut dyn Kv,
    by: &Actor,
    request: &v2::PresenceSetRequest,
) -> Result<Acted, StoreError> {
    let want = u32::try_from(request.status).ok().and_then(State::from_wire).ok_or(StoreError::BadRequest)?;
    let mut presence = load(kv, by.uin)?;
    let seemed = presence.overall(by.now);
    let change = match presence.set(by.now, by.device, want, request.version, LEASE) {
        Ok(change) => change,
        //= spec: presence-1
        Err(Refused::Stale) => {
            let answer = v2::PresenceSetResponse { record: Some(shown(&presence)), stale: true };
            return Ok(acts::answered(&answer));
        }
        Err(Refused::Illegal) => return Err(StoreError::BadRequest),
        Err(Refused::TooMany) => return Err(StoreError::TooMany),
    };
    //= spec: presence-2
    save(kv, by.uin, &presence)?;
    // Whoever subscribed meanwhile was told of leases that ran out, which nobody had announced.
    let now = presence.announced();
    let seen =
        (change.announce.is_some() || now != seemed).then(|| appearance(by.uin, now, presence.version()));
    let answer = v2::PresenceSetResponse { record: Some(shown(&presence)), stale: false };
    Ok(Acted { presence: seen.into_iter().collect(), ..acts::answered(&answer) })
}

/// PRESENCE_SUBSCRIBE.
pub(super) fn subscribe(
    kv: &dyn Kv,
    by: &Actor,
    request: &v2::PresenceSubscribeRequest,
) -> Result<Acted, StoreError> {
    if request.add.len() > MAX_SUBSCRIBED {
        return Err(StoreError::TooMany);
    }
    let mut states = Vec::with_capacity(request.add.len());
    for uin in request.add.iter().copied().map(Uin) {
        //= spec: people-4
        if !friends::are_friends(kv, by.uin, uin)? || friends::is_blocked_by(kv, by.uin, uin)? {
            return Err(StoreError::Forbidden);
        }
        let presence = load(kv, uin)?;
        states.push(appearance(uin, presence.overall(by.now), presence.version()));
    }
    Ok(acts::answered(&v2::PresenceSubscribeResponse { states }))
}

/// What connections mean: renewed leases first, so that none of them is taken for one that ran out.
pub(super) fn connections(
    kv: &mut dyn Kv,
    renew: &[(Uin, DeviceId)],
    left: &[(Uin, DeviceId)],
    expire: &[Uin],
    now: UnixMillis,
) -> Result<Acted, StoreError> {
    let accounts: BTreeSet<Uin> =
        renew.iter().chain(left).map(|(uin, _)| *uin).chain(expire.iter().copied()).collect();
    let renew: BTreeSet<_> = renew.iter().copied().collect();
    let left: BTreeSet<_> = left.iter().copied().collect();
    let expire: BTreeSet<_> = expire.iter().copied().collect();
    let of = |set: &BTreeSet<(Uin, DeviceId)>, uin: Uin| -> Vec<DeviceId> {
        let range = (uin, DeviceId([0; 16]))..=(uin, DeviceId([0xff; 16]));
        set.range(range).map(|(_, device)| *device).collect()
    };
    let mut seen = Vec::new();
    for uin in accounts {
        let before = load(kv, uin)?;
        let mut presence = before.clone();
        for device in of(&renew, uin) {
            presence.renew(now, device, LEASE);
        }
        for device in of(&left, uin) {
            if presence.state(device) == State::Online {
                // One whose lease ran out meanwhile is Away by that, or gone.
                let _settled = presence.set(now, device, State::Away, presence.version(), LEASE);
            }
        }
        if expire.contains(&uin) {
            presence.expire(now);
        }
        if presence == before {
            continue;
        }
        save(kv, uin, &presence)?;
        if presence.announced() != before.announced() {
            seen.push(appearance(uin, presence.announced(), presence.version()));
        }
    }
    Ok(Acted { presence: seen, ..Acted::default() })
}
