//! The devices of one's own account, and invitations.

use core::time::Duration;

use bytes::Bytes;
use ntproto_core::code::ErrorCode;
use ntproto_core::ids::DeviceId;
use ntproto_core::time::UnixMillis;
use ntproto_proto::v2;

use super::{Read, What, read};
use crate::config::DEFAULT_INVITATION_LIFETIME;
use crate::conn::Session;
use crate::hub::Hub;
use crate::store::Txn;
use crate::store::txn::DeviceInfo;

pub(super) fn read_devices(_: &mut Hub, _: UnixMillis, session: &Session, body: Bytes) -> Read {
    let _: v2::DevicesRequest = read(body)?;
    Ok((What::Devices(session.device), Txn::Devices { uin: session.uin }))
}

pub(super) fn read_revoke(_: &mut Hub, now: UnixMillis, session: &Session, body: Bytes) -> Read {
    let request: v2::RevokeDeviceRequest = read(body)?;
    let device_id = DeviceId::from_slice(&request.device_id)
        .ok_or((ErrorCode::BadRequest, "a device id has 16 bytes"))?;
    let uin = session.uin;
    Ok((What::Revoke(uin, device_id), Txn::RevokeDevice { uin, device_id, now }))
}

pub(super) fn read_invite(hub: &mut Hub, now: UnixMillis, session: &Session, body: Bytes) -> Read {
    let request: v2::InviteRequest = read(body)?;
    if !session.may_invite {
        return Err((ErrorCode::Forbidden, "this account may not invite"));
    }
    if request.uses == 0 || request.uses > hub.config.max_invitation_uses {
        return Err((ErrorCode::BadRequest, "an invitation has too few or too many uses"));
    }
    let lifetime = match Duration::from_millis(request.lifetime_ms) {
        Duration::ZERO => DEFAULT_INVITATION_LIFETIME,
        lifetime if lifetime > hub.config.max_invitation_lifetime => {
            return Err((ErrorCode::BadRequest, "an invitation does not last so long"));
        }
        lifetime => lifetime,
    };
    let code: [u8; 16] = hub.rng.array();
    let expires = now + lifetime;
    let txn = Txn::CreateInvitation {
        by: Some(session.uin),
        code_hash: hub.keys.provider.sha256(&[&code]),
        uses: request.uses,
        expires,
        may_invite: request.may_invite,
        admin: false,
        account: None,
        audit: None,
    };
    Ok((What::Invite(code, expires), txn))
}

pub(super) fn listed(device: DeviceInfo, own: DeviceId) -> v2::Device {
    v2::Device {
        device_id: Bytes::copy_from_slice(&device.id.0),
        name: device.name,
        created_ms: device.created.0,
        revoked: device.revoked.is_some(),
        current: device.id == own,
        admin: device.admin,
    }
}
