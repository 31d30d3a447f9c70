//! The devices of one's own account, and invitations.

use core::time::Duration;

use bytes::Bytes;
use ntproto_core::code::ErrorCode;
use ntproto_core::ids::{DeviceId, Uin};
use ntproto_core::time::UnixMillis;
use ntproto_proto::v2;

use super::{Asked, Read, What, read};
use crate::config::DEFAULT_INVITATION_LIFETIME;
use crate::conn::Session;
use crate::hub::Hub;
use crate::store::txn::DeviceInfo;
use crate::store::{Actor, Txn};

pub(super) fn read_devices(_: &mut Hub, asked: Asked) -> Read {
    let _: v2::DevicesRequest = read(asked.body)?;
    Ok((What::Devices(asked.session.device), Txn::Devices { uin: asked.session.uin }))
}

pub(super) fn read_revoke(_: &mut Hub, asked: Asked) -> Read {
    let request: v2::RevokeDeviceRequest = read(asked.body)?;
    let device_id = DeviceId::from_slice(&request.device_id)
        .ok_or((ErrorCode::BadRequest, "a device id has 16 bytes"))?;
    let uin = asked.session.uin;
    Ok((What::Revoke(uin, device_id), Txn::RevokeDevice { uin, device_id, now: asked.time }))
}

pub(super) fn read_invite(hub: &mut Hub, asked: Asked) -> Read {
    let v2::InviteRequest { uses, lifetime_ms, may_invite } = read(asked.body)?;
    if !asked.session.may_invite {
        return Err((ErrorCode::Forbidden, "this account may not invite"));
    }
    let invitation = Invitation { uses, lifetime_ms, may_invite, admin: false, account: None, audit: None };
    invite(hub, asked.session.uin, asked.time, invitation)
}

/// An administrator's: for other administrators too, and for accounts whose keys are lost.
pub(super) fn read_admin_invite(hub: &mut Hub, asked: Asked) -> Read {
    let v2::AdminInviteRequest { uses, lifetime_ms, may_invite, admin, uin } = read(asked.body)?;
    let account = (uin != 0).then_some(Uin(uin));
    if account.is_some() && uses != 1 {
        return Err((ErrorCode::BadRequest, "an invitation to an account is for one device"));
    }
    let Session { uin, device, .. } = asked.session;
    let audit = Some(Actor { uin, device, now: asked.time });
    invite(hub, uin, asked.time, Invitation { uses, lifetime_ms, may_invite, admin, account, audit })
}

struct Invitation {
    uses: u32,
    lifetime_ms: u64,
    may_invite: bool,
    admin: bool,
    account: Option<Uin>,
    audit: Option<Actor>,
}

fn invite(hub: &mut Hub, by: Uin, now: UnixMillis, invitation: Invitation) -> Read {
    let Invitation { uses, lifetime_ms, may_invite, admin, account, audit } = invitation;
    if uses == 0 || uses > hub.config.max_invitation_uses {
        return Err((ErrorCode::BadRequest, "an invitation has too few or too many uses"));
    }
    let lifetime = match Duration::from_millis(lifetime_ms) {
        Duration::ZERO => DEFAULT_INVITATION_LIFETIME,
        lifetime if lifetime > hub.config.max_invitation_lifetime => {
            return Err((ErrorCode::BadRequest, "an invitation does not last so long"));
        }
        lifetime => lifetime,
    };
    let code: [u8; 16] = hub.rng.array();
    let expires = now + lifetime;
    let code_hash = hub.keys.provider.sha256(&[&code]);
    let by = Some(by);
    let txn = Txn::CreateInvitation { by, code_hash, uses, expires, may_invite, admin, account, audit };
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
