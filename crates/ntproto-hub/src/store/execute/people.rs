//! Profiles, and the rules for texts.

use alloc::string::String;
use alloc::vec::Vec;

use ntproto_core::ids::Uin;
use ntproto_core::model::text::Field;
use ntproto_proto::store as record;
use ntproto_proto::store::inbox_entry::Entry;
use ntproto_proto::v2;

use super::super::act::{Acted, Actor};
use super::super::kv::Kv;
use super::super::txn::StoreError;
use super::{accounts, acts, inbox, restored};

/// Profiles read at once: as many as one answer holds, were they all of full length.
pub const MAX_PROFILES: usize = 100;
/// Bytes of an `extra`: some settings of the application's, which come along with every record.
pub const MAX_EXTRA: usize = 4_096;
/// Bytes of what names a picture: an address, a hash.
pub const MAX_AVATAR: usize = 512;

/// A text that others will see, as it is kept.
pub(super) fn text(field: Field, text: &str) -> Result<String, StoreError> {
    //= spec: people-1
    field.clean(text).map(Into::into).map_err(|_| StoreError::BadName)
}

/// An `extra`, which is not looked into.
pub(super) fn extra(extra: &str) -> Result<String, StoreError> {
    //= spec: people-2
    if extra.len() > MAX_EXTRA { Err(StoreError::BadRequest) } else { Ok(extra.into()) }
}

/// An account as others see it.
pub(super) fn user(uin: Uin, account: record::Account) -> v2::User {
    let profile = account.profile.unwrap_or_default();
    v2::User {
        uin: uin.0,
        nick: profile.nick,
        avatar: profile.avatar,
        bio: profile.bio,
        extra: profile.extra,
        version: profile.version,
        created_ms: account.created_ms,
        ..Default::default()
    }
}

/// PROFILE_SET.
pub(super) fn set(kv: &mut dyn Kv, by: &Actor, request: &v2::ProfileSetRequest) -> Result<Acted, StoreError> {
    #[expect(deprecated, reason = "older clients write it")]
    let nick = if request.nick.is_empty() { &request.nickname } else { &request.nick };
    if request.avatar.len() > MAX_AVATAR || request.avatar.chars().any(char::is_control) {
        return Err(StoreError::BadRequest);
    }
    let mut account = accounts::account(kv, by.uin)?.ok_or(StoreError::Corrupt)?;
    let before = account.profile.clone().unwrap_or_default();
    let now = record::Profile {
        nick: text(Field::Nick, nick)?,
        avatar: request.avatar.clone(),
        bio: text(Field::Bio, &request.bio)?,
        extra: extra(&request.extra)?,
        version: before.version,
    };
    let mut places = Vec::new();
    if now != before {
        let version = restored::next_version(kv, before.version)?;
        account.profile = Some(record::Profile { version, ..now });
        accounts::save(kv, by.uin, &account)?;
        places.push(inbox::stand(kv, by.uin, &Entry::Profile(true))?);
    }
    let user = Some(user(by.uin, account));
    Ok(Acted { places, ..acts::answered(&v2::ProfileSetResponse { user }) })
}

/// PROFILES.
pub(super) fn profiles(kv: &dyn Kv, request: &v2::ProfilesRequest) -> Result<Acted, StoreError> {
    if request.uins.len() > MAX_PROFILES {
        return Err(StoreError::TooMany);
    }
    let mut users = Vec::new();
    for uin in request.uins.iter().copied().map(Uin) {
        users.extend(accounts::account(kv, uin)?.map(|account| user(uin, account)));
    }
    Ok(acts::answered(&v2::ProfilesResponse { users }))
}
