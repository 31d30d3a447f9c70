//! The shapes that are written: what is empty is left out.

use super::*;
use crate::model::people::nick;
use serde::Serializer;

/// What is left out when there is nothing in it.
trait Field {
    fn is_empty(&self) -> bool;
}

macro_rules! plain {
    ($($kind:ty)*) => {$(
        impl Field for $kind {
            fn is_empty(&self) -> bool {
                *self == <$kind>::default()
            }
        }
    )*};
}

plain! { u64 u32 i32 bool &str }

impl<T> Field for Vec<T> {
    fn is_empty(&self) -> bool {
        Self::is_empty(self)
    }
}

impl<T> Field for Option<T> {
    fn is_empty(&self) -> bool {
        self.is_none()
    }
}

fn number64<S: Serializer>(n: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(n)
}

/// By name; a number that has none stays a number.
fn name<E: Named, S: Serializer>(n: &i32, to: S) -> Result<S::Ok, S::Error> {
    match E::try_from(*n) {
        Ok(known) => to.serialize_str(known.name()),
        Err(_) => to.serialize_i32(*n),
    }
}

/// Shapes whose 64-bit numbers, enumerations and other fields are named, in the order of the schema.
macro_rules! shapes {
    ($($name:ident { $($(#[$how:meta])? $field:ident: $kind:ty,)* })*) => {$(
        #[derive(Serialize)]
        pub(super) struct $name<'a> {
            $(
                #[serde(skip_serializing_if = "Field::is_empty")]
                $(#[$how])?
                $field: $kind,
            )*
        }

        impl $name<'_> {
            pub(super) fn text(&self) -> Result<String, JsonError> {
                let text = serde_json::to_string(self)?;
                if text.len() > MAX_JSON { Err(JsonError::TooLarge) } else { Ok(text) }
            }
        }
    )*};
}

shapes! {
    User {
        #[serde(serialize_with = "number64")]
        uin: u64,
        nick: &'a str,
        avatar: &'a str,
        bio: &'a str,
        friends: Vec<Friend<'a>>,
        extra: Option<&'a RawValue>,
        #[serde(serialize_with = "number64")]
        version: u64,
        #[serde(serialize_with = "number64")]
        created_ms: u64,
    }
    Friend {
        #[serde(serialize_with = "number64")]
        uin: u64,
        #[serde(serialize_with = "name::<FriendState, _>")]
        state: i32,
        remark: &'a str,
        blocked: bool,
        #[serde(serialize_with = "number64")]
        since_ms: u64,
        message: &'a str,
        #[serde(serialize_with = "number64")]
        version: u64,
        extra: Option<&'a RawValue>,
    }
    Group {
        #[serde(serialize_with = "number64")]
        group: u64,
        name: &'a str,
        notice: &'a str,
        #[serde(serialize_with = "number64")]
        owner: u64,
        members: u32,
        #[serde(serialize_with = "name::<JoinPolicy, _>")]
        join: i32,
        muted: bool,
        permissions: u32,
        extra: Option<&'a RawValue>,
        #[serde(serialize_with = "number64")]
        created_ms: u64,
        #[serde(serialize_with = "number64")]
        version: u64,
        dissolved: bool,
    }
    Member {
        #[serde(serialize_with = "number64")]
        uin: u64,
        #[serde(serialize_with = "name::<Role, _>")]
        role: i32,
        nick: &'a str,
        #[serde(serialize_with = "number64")]
        joined_ms: u64,
        #[serde(serialize_with = "number64")]
        joined_seq: u64,
        #[serde(serialize_with = "number64")]
        muted_until_ms: u64,
    }
}

impl<'a> User<'a> {
    pub(super) fn of(user: &'a super::User) -> Result<Self, JsonError> {
        if user.friends.len() > MAX_FRIENDS {
            return Err(JsonError::TooManyFriends);
        }
        Ok(Self {
            uin: user.uin,
            nick: nick(user),
            avatar: &user.avatar,
            bio: &user.bio,
            friends: user.friends.iter().map(Friend::of).collect::<Result<_, _>>()?,
            extra: extra(&user.extra)?,
            version: user.version,
            created_ms: user.created_ms,
        })
    }
}

impl<'a> Friend<'a> {
    pub(super) fn of(friend: &'a super::Friend) -> Result<Self, JsonError> {
        Ok(Self {
            uin: friend.uin,
            state: friend.state,
            remark: &friend.remark,
            blocked: friend.blocked,
            since_ms: friend.since_ms,
            message: &friend.message,
            version: friend.version,
            extra: extra(&friend.extra)?,
        })
    }
}

impl<'a> Group<'a> {
    pub(super) fn of(group: &'a super::Group) -> Result<Self, JsonError> {
        Ok(Self {
            group: group.group,
            name: &group.name,
            notice: &group.notice,
            owner: group.owner,
            members: group.members,
            join: group.join,
            muted: group.muted,
            permissions: group.permissions,
            extra: extra(&group.extra)?,
            created_ms: group.created_ms,
            version: group.version,
            dissolved: group.dissolved,
        })
    }
}

impl<'a> Member<'a> {
    pub(super) fn of(member: &'a super::Member) -> Result<Self, JsonError> {
        Ok(Self {
            uin: member.uin,
            role: member.role,
            nick: &member.nick,
            joined_ms: member.joined_ms,
            joined_seq: member.joined_seq,
            muted_until_ms: member.muted_until_ms,
        })
    }
}
