//! Invitations, by accounts that may invite, by administrators, and by the operator.

use alloc::format;

use ntproto_core::ids::Uin;
use ntproto_core::time::UnixMillis;
use ntproto_core::wire::packet::PacketId;
use ntproto_proto::store as record;

use super::super::act::Actor;
use super::super::kv::{Kv, Table};
use super::super::txn::{Outcome, StoreError};
use super::{accounts, admin, write};

/// What [`Txn::CreateInvitation`](super::super::Txn::CreateInvitation) asks for.
pub(super) struct New<'a> {
    pub(super) by: Option<Uin>,
    pub(super) code_hash: &'a [u8; 32],
    pub(super) uses: u32,
    pub(super) expires: UnixMillis,
    pub(super) may_invite: bool,
    pub(super) admin: bool,
    pub(super) account: Option<Uin>,
    pub(super) audit: Option<&'a Actor>,
}

pub(super) fn create(kv: &mut dyn Kv, new: &New<'_>) -> Result<Outcome, StoreError> {
    let &New { by, code_hash, uses, expires, may_invite, admin, account, audit } = new;
    match (audit, by) {
        (Some(actor), _) => {
            //= spec: admin-1
            admin::guard(kv, actor)?;
            let whom = account.map_or_else(|| "a new account".into(), |uin| format!("{uin}"));
            let what = format!("{whom}, {uses} uses{}", if admin { ", administrator" } else { "" });
            admin::note(kv, actor, PacketId::ADMIN_INVITE, what)?;
        }
        (None, Some(uin)) => {
            let may = accounts::account(kv, uin)?.is_some_and(|account| account.may_invite);
            if !may || admin || account.is_some() {
                return Err(StoreError::Forbidden);
            }
        }
        // The operator.
        (None, None) => {}
    }
    if let Some(uin) = account {
        accounts::account(kv, uin)?.ok_or(StoreError::NotFound)?;
    }
    if kv.get(Table::Invitations, code_hash)?.is_some() {
        return Err(StoreError::Conflict);
    }
    let invitation = record::Invitation {
        uses_left: uses,
        expires_ms: expires.0,
        may_invite,
        admin,
        uin: account.map_or(0, |uin| uin.0),
    };
    write(kv, Table::Invitations, code_hash, &invitation)?;
    Ok(Outcome::Done)
}
