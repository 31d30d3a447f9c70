//! What accounts are to each other: two records a pair, kept together, each seen by its owner only.

use alloc::vec;
use alloc::vec::Vec;

use ntproto_core::ids::Uin;
use ntproto_core::model::text::Field;
use ntproto_core::time::UnixMillis;
use ntproto_proto::store as record;
use ntproto_proto::store::inbox_entry::Entry;
use ntproto_proto::v2;
use ntproto_proto::v2::FriendState;

use super::super::act::{Acted, Actor, Placed};
use super::super::keys;
use super::super::kv::{Kv, Table};
use super::super::txn::StoreError;
use super::{accounts, acts, decode, inbox, pages, people, read, restored, write};

/// Records of an account that are not NONE: more people than anybody knows.
pub const MAX_FRIENDS: u32 = 5_000;
/// Of these, people who wait for an answer: strangers must not fill the list.
pub const MAX_WANTED: u32 = 500;
/// Records of an account at all: remarks and blocks of people who are no friends are kept too.
pub const MAX_RECORDS: u32 = 10_000;

const NONE: u32 = FriendState::None as u32;
const ASKED: u32 = FriendState::Asked as u32;
const WANTED: u32 = FriendState::Wanted as u32;
const FRIEND: u32 = FriendState::Friend as u32;

/// Two accounts, and the record of each.
struct Pair {
    me: Uin,
    other: Uin,
    mine: record::Friend,
    theirs: record::Friend,
}

fn record_of(kv: &dyn Kv, owner: Uin, other: Uin) -> Result<record::Friend, StoreError> {
    Ok(read(kv, Table::Friends, &keys::friend(owner, other))?.unwrap_or_default())
}

/// The records of the asker and of the one the request names.
fn pair(kv: &dyn Kv, by: &Actor, other: u64) -> Result<Pair, StoreError> {
    let (me, other) = (by.uin, Uin(other));
    if me == other {
        return Err(StoreError::BadRequest);
    }
    accounts::account(kv, other)?.ok_or(StoreError::NotFound)?;
    Ok(Pair { me, other, mine: record_of(kv, me, other)?, theirs: record_of(kv, other, me)? })
}

pub(super) fn is_blocked_by(kv: &dyn Kv, uin: Uin, by: Uin) -> Result<bool, StoreError> {
    Ok(record_of(kv, by, uin)?.blocked)
}

pub(super) fn are_friends(kv: &dyn Kv, one: Uin, other: Uin) -> Result<bool, StoreError> {
    Ok(record_of(kv, one, other)?.state == FRIEND)
}

/// A record as its owner sees it now, and nobody else. One that is not there has the version of the last that went.
pub(super) fn current(kv: &dyn Kv, owner: Uin, other: Uin) -> Result<v2::Friend, StoreError> {
    //= spec: people-3
    match read(kv, Table::Friends, &keys::friend(owner, other))? {
        Some(friend) => Ok(shown(other, friend)),
        None => {
            let version = accounts::account(kv, owner)?.ok_or(StoreError::Corrupt)?.friend_version;
            Ok(v2::Friend { uin: other.0, version, ..Default::default() })
        }
    }
}

fn shown(other: Uin, friend: record::Friend) -> v2::Friend {
    v2::Friend {
        uin: other.0,
        state: i32::try_from(friend.state).unwrap_or_default(),
        remark: friend.remark,
        blocked: friend.blocked,
        since_ms: friend.since_ms,
        message: friend.message,
        version: friend.version,
        extra: friend.extra,
    }
}

/// Writes a record that changed, with what is counted of it. One that says nothing is not kept.
fn save(kv: &mut dyn Kv, owner: Uin, other: Uin, mut friend: record::Friend) -> Result<(), StoreError> {
    let key = keys::friend(owner, other);
    let before: Option<record::Friend> = read(kv, Table::Friends, &key)?;
    let mut account = accounts::account(kv, owner)?.ok_or(StoreError::Corrupt)?;
    // All records of an account share their versions: one that comes back is newer than when it went.
    account.friend_version = restored::next_version(kv, account.friend_version)?;
    friend.version = account.friend_version;
    let kept =
        friend.state != NONE || friend.blocked || !friend.remark.is_empty() || !friend.extra.is_empty();
    let was = before.as_ref().map_or(NONE, |before| before.state);
    let count = |counter: &mut u32, was: bool, is: bool, most: u32| -> Result<(), StoreError> {
        match (was, is) {
            (false, true) if *counter >= most => return Err(StoreError::TooMany),
            (false, true) => *counter += 1,
            (true, false) => *counter = counter.checked_sub(1).ok_or(StoreError::Corrupt)?,
            _ => {}
        }
        Ok(())
    };
    count(&mut account.related, was != NONE, friend.state != NONE, MAX_FRIENDS)?;
    count(&mut account.wanted, was == WANTED, friend.state == WANTED, MAX_WANTED)?;
    count(&mut account.records, before.is_some(), kept, MAX_RECORDS)?;
    accounts::save(kv, owner, &account)?;
    if kept { write(kv, Table::Friends, &key, &friend) } else { kv.delete(Table::Friends, &key) }
}

/// Brings both records into a state.
fn settle(
    kv: &mut dyn Kv,
    pair: &Pair,
    (mine, theirs): (u32, u32),
    message: &str,
    now: UnixMillis,
) -> Result<Vec<Placed>, StoreError> {
    let mut places = Vec::new();
    let sides = [(pair.me, pair.other, &pair.mine, mine), (pair.other, pair.me, &pair.theirs, theirs)];
    for (owner, other, before, state) in sides {
        if before.state == state {
            continue;
        }
        let since_ms = if state == NONE { 0 } else { now.0 };
        save(
            kv,
            owner,
            other,
            record::Friend { state, since_ms, message: message.into(), ..before.clone() },
        )?;
        places.push(inbox::stand(kv, owner, &Entry::Friend(other.0))?);
    }
    Ok(places)
}

/// The answer to a request about a record.
fn answer(kv: &dyn Kv, pair: &Pair, places: Vec<Placed>) -> Result<Acted, StoreError> {
    let friend = Some(current(kv, pair.me, pair.other)?);
    Ok(Acted { places, ..acts::answered(&v2::FriendResponse { friend }) })
}

/// FRIEND_REQUEST.
pub(super) fn request(
    kv: &mut dyn Kv,
    by: &Actor,
    request: &v2::FriendRequestRequest,
) -> Result<Acted, StoreError> {
    let message = people::text(Field::Greeting, &request.message)?;
    let pair = pair(kv, by, request.uin)?;
    //= spec: people-4
    if pair.theirs.blocked || pair.mine.blocked {
        return Err(StoreError::Forbidden);
    }
    let places = match pair.mine.state {
        // Whoever asks somebody who has asked says yes.
        WANTED => settle(kv, &pair, (FRIEND, FRIEND), "", by.now)?,
        NONE => settle(kv, &pair, (ASKED, WANTED), &message, by.now)?,
        _ => Vec::new(),
    };
    answer(kv, &pair, places)
}

/// FRIEND_ANSWER.
pub(super) fn reply(
    kv: &mut dyn Kv,
    by: &Actor,
    request: &v2::FriendAnswerRequest,
) -> Result<Acted, StoreError> {
    let pair = pair(kv, by, request.uin)?;
    if pair.mine.state != WANTED {
        return Err(StoreError::NotFound);
    }
    let state = if request.accept { FRIEND } else { NONE };
    let places = settle(kv, &pair, (state, state), "", by.now)?;
    answer(kv, &pair, places)
}

/// FRIEND_UPDATE.
pub(super) fn update(
    kv: &mut dyn Kv,
    by: &Actor,
    request: &v2::FriendUpdateRequest,
) -> Result<Acted, StoreError> {
    let mut pair = pair(kv, by, request.uin)?;
    let mut now = pair.mine.clone();
    if let Some(remark) = &request.remark {
        now.remark = people::text(Field::Remark, remark)?;
    }
    if let Some(extra) = &request.extra {
        now.extra = people::extra(extra)?;
    }
    now.blocked = request.blocked.unwrap_or(now.blocked);
    let blocks = now.blocked && !pair.mine.blocked;
    let mut places = Vec::new();
    if now != pair.mine {
        save(kv, pair.me, pair.other, now.clone())?;
        pair.mine = now;
        let pending = matches!(pair.mine.state, ASKED | WANTED);
        if blocks && pending {
            // Nothing is asked across a block.
            places = settle(kv, &pair, (NONE, NONE), "", by.now)?;
        } else {
            places.push(inbox::stand(kv, pair.me, &Entry::Friend(pair.other.0))?);
        }
    }
    let hidden = if blocks { vec![(pair.me, pair.other)] } else { Vec::new() };
    Ok(Acted { hidden, ..answer(kv, &pair, places)? })
}

/// FRIEND_DELETE.
pub(super) fn delete(
    kv: &mut dyn Kv,
    by: &Actor,
    request: &v2::FriendDeleteRequest,
) -> Result<Acted, StoreError> {
    let pair = pair(kv, by, request.uin)?;
    let places = settle(kv, &pair, (NONE, NONE), "", by.now)?;
    let hidden = vec![(pair.me, pair.other), (pair.other, pair.me)];
    Ok(Acted { hidden, ..answer(kv, &pair, places)? })
}

/// FRIENDS.
pub(super) fn list(kv: &dyn Kv, by: &Actor, request: &v2::FriendsRequest) -> Result<Acted, StoreError> {
    let after = keys::friend(by.uin, Uin(request.after));
    let to = keys::friend(by.uin, Uin(u64::MAX));
    let (friends, has_more) = pages::rows(kv, Table::Friends, (&after, &to), request.limit, |key, value| {
        let other = Uin(keys::trailing_u64(key).ok_or(StoreError::Corrupt)?);
        Ok(Some(shown(other, decode(value)?)))
    })?;
    Ok(acts::answered(&v2::FriendsResponse { friends, has_more }))
}
