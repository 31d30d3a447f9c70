//! The shapes that are read. Numbers and names are taken as they stand, so that what is wrong with them can be said.

use alloc::borrow::Cow;

use super::*;
use serde::{Deserialize, Deserializer};

/// A value as it stands; `null` is nothing, as protobuf reads it.
type Raw<'a> = Option<&'a RawValue>;
type Text<'a> = Option<Cow<'a, str>>;

fn text(text: Text<'_>) -> String {
    text.map(Cow::into_owned).unwrap_or_default()
}

/// What stands between quotes, or as a number.
fn digits<'a>(raw: &'a RawValue, field: &'static str) -> Result<(Cow<'a, str>, bool), JsonError> {
    let bad = |why| JsonError::Number { field, why };
    let quoted = raw.get().starts_with('"');
    let text = if quoted { serde_json::from_str::<Quoted<'a>>(raw.get())?.0 } else { raw.get().into() };
    match text.strip_prefix('-').unwrap_or(&text) {
        "" => Err(bad(BadNumber::NoNumber)),
        rest if !rest.starts_with(|c: char| c.is_ascii_digit()) => Err(bad(BadNumber::NoNumber)),
        rest if rest.bytes().any(|b| !b.is_ascii_digit()) => {
            let float = rest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
            Err(bad(if float { BadNumber::Fraction } else { BadNumber::NoNumber }))
        }
        rest if rest.len() < text.len() => Err(bad(BadNumber::Negative)),
        _ => Ok((text, quoted)),
    }
}

#[derive(Deserialize)]
struct Quoted<'a>(#[serde(borrow)] Cow<'a, str>);

fn number64(raw: Raw<'_>, field: &'static str) -> Result<u64, JsonError> {
    let Some(raw) = raw else { return Ok(0) };
    let (digits, quoted) = digits(raw, field)?;
    let bad = |why| JsonError::Number { field, why };
    //= spec: people-5
    match digits.parse() {
        Ok(n) if quoted || n <= MAX_EXACT => Ok(n),
        Err(_) if quoted => Err(bad(BadNumber::TooLarge)),
        _ => Err(bad(BadNumber::Inexact)),
    }
}

fn number32(raw: Raw<'_>, field: &'static str) -> Result<u32, JsonError> {
    let Some(raw) = raw else { return Ok(0) };
    let (digits, _) = digits(raw, field)?;
    digits.parse().map_err(|_| JsonError::Number { field, why: BadNumber::TooLarge })
}

/// A name of an enumeration, or its number: one that is not known yet has no name.
fn name<E: Named>(raw: Raw<'_>, field: &'static str) -> Result<i32, JsonError> {
    let Some(raw) = raw else { return Ok(0) };
    if raw.get().starts_with('"') {
        let Quoted(name) = serde_json::from_str(raw.get())?;
        return E::from_name(&name).ok_or(JsonError::Name { field });
    }
    let digits = raw.get().strip_prefix('-').unwrap_or(raw.get());
    let number = digits.bytes().all(|b| b.is_ascii_digit()).then(|| raw.get().parse().ok()).flatten();
    number.ok_or(JsonError::Name { field })
}

fn json(raw: Raw<'_>) -> Result<String, JsonError> {
    let Some(raw) = raw else { return Ok(String::new()) };
    bounded(raw.get())?;
    //= spec: people-6
    Ok(raw.get().to_owned())
}

/// Shapes whose fields are all taken as they stand.
macro_rules! shapes {
    ($($name:ident { raw: $($raw:ident)*; text: $($text:ident)*; flag: $($flag:ident)*; json: $($json:ident)*; all: $($all:ident)* })*) => {$(
        #[derive(Default, Deserialize)]
        #[serde(default)]
        pub(super) struct $name<'a> {
            $(#[serde(borrow)] $raw: Raw<'a>,)*
            $(#[serde(borrow)] $text: Text<'a>,)*
            $($flag: Option<bool>,)*
            $(#[serde(borrow, deserialize_with = "kept")] $json: Raw<'a>,)*
            $(#[serde(borrow)] $all: Option<Vec<&'a RawValue>>,)*
        }

        impl<'a> $name<'a> {
            pub(super) fn parse(text: &'a str) -> Result<Self, JsonError> {
                // What is derived would take an array for its fields in their order.
                if !text.trim_start().starts_with('{') {
                    return Err(JsonError::Syntax { line: 1, column: 1 });
                }
                Ok(serde_json::from_str(text)?)
            }
        }
    )*};
}

shapes! {
    User { raw: uin version created_ms; text: nickname nick avatar bio; flag: ; json: extra; all: friends }
    Friend { raw: uin state since_ms version; text: remark message; flag: blocked; json: extra; all: }
    Group {
        raw: group owner members join permissions created_ms version;
        text: name notice; flag: muted dissolved; json: extra; all:
    }
    Member { raw: uin role joined_ms joined_seq muted_until_ms; text: nick; flag: ; json: ; all: }
}

/// Of `extra`, `null` is something.
fn kept<'de, D: Deserializer<'de>>(from: D) -> Result<Raw<'de>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

impl User<'_> {
    pub(super) fn entity(self) -> Result<super::User, JsonError> {
        let friends = self.friends.unwrap_or_default();
        if friends.len() > MAX_FRIENDS {
            return Err(JsonError::TooManyFriends);
        }
        let nick = self.nick.filter(|nick| !nick.is_empty()).or(self.nickname);
        Ok(super::User {
            uin: number64(self.uin, "uin")?,
            nick: text(nick),
            avatar: text(self.avatar),
            bio: text(self.bio),
            friends: friends
                .into_iter()
                .map(|friend| Friend::parse(friend.get())?.entity())
                .collect::<Result<_, _>>()?,
            extra: json(self.extra)?,
            version: number64(self.version, "version")?,
            created_ms: number64(self.created_ms, "created_ms")?,
            ..Default::default()
        })
    }
}

impl Friend<'_> {
    pub(super) fn entity(self) -> Result<super::Friend, JsonError> {
        Ok(super::Friend {
            uin: number64(self.uin, "uin")?,
            state: name::<FriendState>(self.state, "state")?,
            remark: text(self.remark),
            blocked: self.blocked.unwrap_or_default(),
            since_ms: number64(self.since_ms, "since_ms")?,
            message: text(self.message),
            version: number64(self.version, "version")?,
            extra: json(self.extra)?,
        })
    }
}

impl Group<'_> {
    pub(super) fn entity(self) -> Result<super::Group, JsonError> {
        Ok(super::Group {
            group: number64(self.group, "group")?,
            name: text(self.name),
            notice: text(self.notice),
            owner: number64(self.owner, "owner")?,
            members: number32(self.members, "members")?,
            join: name::<JoinPolicy>(self.join, "join")?,
            muted: self.muted.unwrap_or_default(),
            permissions: number32(self.permissions, "permissions")?,
            extra: json(self.extra)?,
            created_ms: number64(self.created_ms, "created_ms")?,
            version: number64(self.version, "version")?,
            dissolved: self.dissolved.unwrap_or_default(),
        })
    }
}

impl Member<'_> {
    pub(super) fn entity(self) -> Result<super::Member, JsonError> {
        Ok(super::Member {
            uin: number64(self.uin, "uin")?,
            role: name::<Role>(self.role, "role")?,
            nick: text(self.nick),
            joined_ms: number64(self.joined_ms, "joined_ms")?,
            joined_seq: number64(self.joined_seq, "joined_seq")?,
            muted_until_ms: number64(self.muted_until_ms, "muted_until_ms")?,
        })
    }
}
