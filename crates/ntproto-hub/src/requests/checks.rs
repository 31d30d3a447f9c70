//! What can be said against an act without the store: ids of a wrong length, numbers that mean nothing, lists that are
//! too long, texts that may not be shown as they are. Texts go on as they are cleaned. The store checks all of it again:
//! what is refused here costs it nothing.

use alloc::string::String;

use ntproto_core::code::ErrorCode;
use ntproto_core::ids::{ConversationId, DeviceId};
use ntproto_core::model::text::Field;
use ntproto_proto::v2;

use super::Refused;
use super::messages::conversation;
use crate::conn::Session;
use crate::store::Act;
use crate::store::execute::{
    MAX_AVATAR, MAX_BACKUP_NAME, MAX_EXTRA, MAX_GROUPS_GET, MAX_INVITES, MAX_MEMBERS_PAGE, MAX_PROFILES,
    MAX_SUBSCRIBED,
};

pub(super) fn check(session: &Session, act: &mut Act) -> Result<(), Refused> {
    match act {
        Act::ProfileSet(request) => profile(request),
        Act::Profiles(request) => few(request.uins.len(), MAX_PROFILES),
        Act::FriendRequest(request) => clean(Field::Greeting, &mut request.message),
        Act::FriendUpdate(request) => {
            request.remark.as_mut().map_or(Ok(()), |remark| clean(Field::Remark, remark))?;
            request.extra.as_ref().map_or(Ok(()), |it| extra(it))
        }
        Act::GroupCreate(request) => group(request),
        Act::GroupGet(request) => few(request.groups.len(), MAX_GROUPS_GET),
        Act::GroupUpdate(request) => group_update(request),
        Act::GroupInvite(request) => few(request.uins.len(), MAX_INVITES),
        Act::GroupRole(request) => known(v2::Role::try_from(request.role).is_ok(), "no such role"),
        Act::GroupMembers(request) => known(
            (1..=MAX_MEMBERS_PAGE).contains(&request.size),
            "a page has at least one member, and not so many",
        ),
        Act::History(request) => conversation(session, &request.conversation).map(drop),
        Act::Snapshot(request) => known(
            request.after.is_empty() || ConversationId::from_slice(&request.after).is_some(),
            "a conversation has 16 bytes",
        ),
        Act::Marks(request) => conversation(session, &request.conversation).map(drop),
        Act::PresenceSet(request) => {
            known(v2::OnlineStatus::try_from(request.status).is_ok(), "no such status")
        }
        Act::PresenceSubscribe(request) => {
            let longest = request.add.len().max(request.remove.len());
            few(longest, MAX_SUBSCRIBED)
        }
        Act::AdminRevoke(request) => {
            known(DeviceId::from_slice(&request.device_id).is_some(), "a device id has 16 bytes")
        }
        Act::AdminBackup(request) => known(is_file_name(&request.name), "no name for a backup"),
        Act::FriendAnswer(_)
        | Act::FriendDelete(_)
        | Act::GroupJoin(_)
        | Act::GroupLeave(_)
        | Act::GroupRemove(_)
        | Act::GroupDissolve(_)
        | Act::GroupMute(_)
        | Act::GroupChanges(_)
        | Act::Groups(_)
        | Act::Friends(_)
        | Act::AdminAccounts(_)
        | Act::AdminGroups(_)
        | Act::AdminAudit(_)
        | Act::AdminDevices(_)
        | Act::AdminStats(_)
        | Act::AdminVerify(_) => Ok(()),
    }
}

/// An older client writes `nickname`; what is kept is one or the other.
#[allow(deprecated)]
fn profile(request: &mut v2::ProfileSetRequest) -> Result<(), Refused> {
    let older = core::mem::take(&mut request.nickname);
    if request.nick.is_empty() {
        request.nick = older;
    }
    clean(Field::Nick, &mut request.nick)?;
    clean(Field::Bio, &mut request.bio)?;
    let shown = request.avatar.chars().all(|c| !c.is_control());
    known(shown && request.avatar.len() <= MAX_AVATAR, "no name of a picture")?;
    extra(&request.extra)
}

fn group(request: &mut v2::GroupCreateRequest) -> Result<(), Refused> {
    clean(Field::GroupName, &mut request.name)?;
    known(request.request.len() == 16, "the number of a request has 16 bytes")?;
    known(v2::JoinPolicy::try_from(request.join).is_ok(), "no such policy")?;
    few(request.members.len(), MAX_INVITES)?;
    extra(&request.extra)
}

fn group_update(request: &mut v2::GroupUpdateRequest) -> Result<(), Refused> {
    request.name.as_mut().map_or(Ok(()), |name| clean(Field::GroupName, name))?;
    request.notice.as_mut().map_or(Ok(()), |notice| clean(Field::Notice, notice))?;
    // An empty one is none: the profile's counts again.
    match &mut request.nick {
        Some(nick) if !nick.is_empty() => clean(Field::Nick, nick)?,
        _ => {}
    }
    known(request.join.is_none_or(|join| v2::JoinPolicy::try_from(join).is_ok()), "no such policy")?;
    request.extra.as_ref().map_or(Ok(()), |it| extra(it))
}

/// The text as it is kept.
//= spec: people-1
fn clean(field: Field, text: &mut String) -> Result<(), Refused> {
    let refused = (ErrorCode::BadName, "a text that may not be shown as it is");
    let kept = field.clean(text).map_err(|_| refused)?;
    if kept.len() != text.len() {
        *text = kept.into();
    }
    Ok(())
}

//= spec: people-2
fn extra(extra: &str) -> Result<(), Refused> {
    known(extra.len() <= MAX_EXTRA, "extra is too long")
}

fn few(count: usize, most: usize) -> Result<(), Refused> {
    known_or(count <= most, ErrorCode::TooMany, "too many at once")
}

fn known(right: bool, detail: &'static str) -> Result<(), Refused> {
    known_or(right, ErrorCode::BadRequest, detail)
}

fn known_or(right: bool, code: ErrorCode, detail: &'static str) -> Result<(), Refused> {
    if right { Ok(()) } else { Err((code, detail)) }
}

/// Letters, digits, `-` and `_`: it leads to no other folder, on no system.
fn is_file_name(name: &str) -> bool {
    (1..=MAX_BACKUP_NAME).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
