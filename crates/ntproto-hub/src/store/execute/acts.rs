//! Which file gives which request its meaning.

use prost::Message;

use super::super::act::{Act, Acted, Actor};
use super::super::kv::Kv;
use super::super::txn::StoreError;
use super::{accounts, admin, delivered, friends, groups, history, members, people, presence};

/// An answer that changes nothing else.
pub(super) fn answered(answer: &impl Message) -> Acted {
    Acted { answer: answer.encode_to_vec().into(), ..Acted::default() }
}

pub(super) fn act(kv: &mut dyn Kv, by: &Actor, act: &Act) -> Result<Acted, StoreError> {
    // What was asked before the device was revoked, and comes after it, is refused.
    accounts::live_device(kv, by.uin, by.device)?;
    match act {
        Act::ProfileSet(request) => people::set(kv, by, request),
        Act::Profiles(request) => people::profiles(kv, request),
        Act::FriendRequest(request) => friends::request(kv, by, request),
        Act::FriendAnswer(request) => friends::reply(kv, by, request),
        Act::FriendUpdate(request) => friends::update(kv, by, request),
        Act::FriendDelete(request) => friends::delete(kv, by, request),
        Act::Friends(request) => friends::list(kv, by, request),
        Act::GroupCreate(request) => groups::create(kv, by, request),
        Act::GroupGet(request) => groups::get(kv, by, request),
        Act::GroupUpdate(request) => groups::update(kv, by, request),
        Act::GroupInvite(request) => members::invite(kv, by, request),
        Act::GroupJoin(request) => members::join(kv, by, request),
        Act::GroupLeave(request) => members::leave(kv, by, request),
        Act::GroupRemove(request) => members::remove(kv, by, request),
        Act::GroupDissolve(request) => groups::dissolve(kv, by, request),
        Act::GroupRole(request) => groups::role(kv, by, request),
        Act::GroupMute(request) => members::mute(kv, by, request),
        Act::GroupMembers(request) => members::page(kv, by, request),
        Act::GroupChanges(request) => members::changes(kv, by, request),
        Act::Groups(request) => groups::list(kv, by, request),
        Act::History(request) => history::history(kv, by, request),
        Act::Snapshot(request) => history::snapshot(kv, by, request),
        Act::Marks(request) => delivered::marks(kv, by, request),
        Act::PresenceSet(request) => presence::set(kv, by, request),
        Act::PresenceSubscribe(request) => presence::subscribe(kv, by, request),
        Act::AdminAccounts(_)
        | Act::AdminDevices(_)
        | Act::AdminRevoke(_)
        | Act::AdminGroups(_)
        | Act::AdminStats(_)
        | Act::AdminBackup(_)
        | Act::AdminVerify(_)
        | Act::AdminAudit(_) => administer(kv, by, act),
    }
}

fn administer(kv: &mut dyn Kv, by: &Actor, act: &Act) -> Result<Acted, StoreError> {
    admin::guard(kv, by)?;
    match act {
        Act::AdminAccounts(request) => admin::list_accounts(kv, by, request),
        Act::AdminDevices(request) => admin::devices(kv, by, request),
        Act::AdminRevoke(request) => admin::revoke(kv, by, request),
        Act::AdminGroups(request) => admin::list_groups(kv, by, request),
        Act::AdminStats(_) => admin::stats(kv, by),
        Act::AdminBackup(request) => admin::backup(kv, by, request),
        Act::AdminVerify(_) => admin::verify(kv, by),
        Act::AdminAudit(request) => admin::audit(kv, request),
        _ => Err(StoreError::BadRequest),
    }
}
