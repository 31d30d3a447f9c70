//! An inbox: positions that only rise, and pages of what stands there.

use alloc::vec::Vec;

use bytes::Bytes;
use ntproto_core::ids::{ConversationId, GroupId, Uin};
use ntproto_proto::store as record;
use ntproto_proto::store::inbox_entry::Entry;
use ntproto_proto::v2;
use prost::Message;

use super::super::act::Placed;
use super::super::keys;
use super::super::kv::{Kv, Table};
use super::super::txn::{InboxPlace, Outcome, StoreError};
use super::{decode, fixed, packets, pull, restored, write};

/// Deltas in one page at most. The pointers of a page are held in memory while its bodies are read.
pub const MAX_PAGE: u32 = 1_000;
/// The tag and the length in front of a delta in its page: a length under 2^28 takes four bytes.
const DELTA_FRAMING: usize = 5;

/// The last position given out, or that must be taken for given out after a restore; zero when there is neither.
fn head(kv: &dyn Kv, uin: Uin) -> Result<u64, StoreError> {
    let last = kv.last_key(Table::Inbox, &keys::inbox(uin, 0), &keys::inbox(uin, u64::MAX))?;
    let last = last.map_or(Ok(0), |key| keys::trailing_u64(&key).ok_or(StoreError::Corrupt))?;
    Ok(last.max(restored::base(kv)?))
}

/// Puts an entry at the end of an inbox. Of what stands once in an inbox the older entry goes.
pub(super) fn put(kv: &mut dyn Kv, uin: Uin, entry: &Entry) -> Result<InboxPlace, StoreError> {
    let previous = head(kv, uin)?;
    let position = previous.checked_add(1).ok_or(StoreError::Corrupt)?;
    let line = record::InboxEntry { entry: Some(entry.clone()) };
    write(kv, Table::Inbox, &keys::inbox(uin, position), &line)?;
    if let Some(key) = latest(uin, entry)? {
        let older = kv.get(Table::Latest, &key)?;
        kv.put(Table::Latest, &key, &position.to_be_bytes())?;
        // The new entry stands: the newest one of an inbox is never deleted.
        if let Some(older) = older {
            let older = keys::number(&older).ok_or(StoreError::Corrupt)?;
            kv.delete(Table::Inbox, &keys::inbox(uin, older))?;
        }
    }
    Ok(InboxPlace { uin, position, previous })
}

/// [`put`], and what a device of the account is told of it.
pub(super) fn stand(kv: &mut dyn Kv, uin: Uin, entry: &Entry) -> Result<Placed, StoreError> {
    let place = put(kv, uin, entry)?;
    Ok(Placed { place, packet: packets::packet(kv, uin, entry)? })
}

/// The key in `Latest` of an entry that stands once in its inbox.
pub(in super::super) fn latest(uin: Uin, entry: &Entry) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(match entry {
        Entry::Message(_) | Entry::Gap(_) => None,
        Entry::Receipt(receipt) => {
            let conversation = ConversationId(fixed(&receipt.conversation)?);
            Some(keys::latest_receipt(uin, conversation, Uin(receipt.member)).to_vec())
        }
        Entry::Friend(other) => Some(keys::latest_friend(uin, Uin(*other)).to_vec()),
        Entry::Group(group) => Some(keys::latest_group(uin, GroupId(*group)).to_vec()),
        Entry::Profile(_) => Some(keys::latest_profile(uin).to_vec()),
    })
}

/// What [`Txn::SyncPage`](super::super::Txn::SyncPage) asks for.
pub(super) struct Asked<'a> {
    pub(super) uin: Uin,
    pub(super) epoch: Option<&'a [u8; 16]>,
    pub(super) cursor: u64,
    pub(super) limit: u32,
    pub(super) max_bytes: u32,
    pub(super) max_lag: u64,
    pub(super) place: bool,
}

pub(super) fn sync_page(kv: &mut dyn Kv, asked: &Asked<'_>) -> Result<Outcome, StoreError> {
    //= spec: messages-21
    let unplaced = asked.place && pull::all(kv, asked.uin)?;
    let mut page = page(kv, asked)?;
    if let Outcome::Page { has_more, .. } = &mut page {
        *has_more |= unplaced;
    }
    Ok(page)
}

fn page(kv: &dyn Kv, asked: &Asked<'_>) -> Result<Outcome, StoreError> {
    let &Asked { uin, cursor, max_bytes, .. } = asked;
    // A store that was never booted has no epoch; no cursor belongs to it.
    let epoch = kv.get(Table::Meta, keys::EPOCH)?.map_or(Ok([0; 16]), |epoch| fixed(&epoch))?;
    let head = head(kv, uin)?;
    let known = asked.epoch.map_or(cursor == 0, |asked| *asked == epoch);
    if !known || cursor > head {
        return Ok(Outcome::TooLong { epoch, next: 0 });
    }
    if is_behind(kv, asked, head)? {
        return Ok(Outcome::TooLong { epoch, next: head });
    }

    let limit = asked.limit.clamp(1, MAX_PAGE) as usize;
    let mut lines = Vec::new();
    kv.scan(Table::Inbox, &keys::inbox(uin, cursor), &keys::inbox(uin, u64::MAX), &mut |key, value| {
        lines.push((keys::trailing_u64(key), Bytes::copy_from_slice(value)));
        lines.len() < limit
    })?;

    let mut whole = lines.len() < limit;
    let mut deltas: Vec<v2::Delta> = Vec::with_capacity(lines.len());
    let mut size = 0;
    for (position, line) in lines {
        let position = position.ok_or(StoreError::Corrupt)?;
        let entry = decode::<record::InboxEntry>(line)?.entry.ok_or(StoreError::Corrupt)?;
        let delta = v2::Delta { position, packet: Some(packets::packet(kv, uin, &entry)?) };
        size += delta.encoded_len() + DELTA_FRAMING;
        if !deltas.is_empty() && size > max_bytes as usize {
            whole = false;
            break;
        }
        deltas.push(delta);
    }
    // After a restore the end is above the last change.
    let next = if whole { head } else { deltas.last().map_or(cursor, |delta| delta.position) };
    Ok(Outcome::Page { epoch, deltas, next, has_more: next < head })
}

/// Whether more entries follow the cursor than are served page by page. They are counted where positions alone don't tell:
/// those of receipts that rose are empty, and after a restore many are.
fn is_behind(kv: &dyn Kv, asked: &Asked<'_>, head: u64) -> Result<bool, StoreError> {
    if head - asked.cursor <= asked.max_lag {
        return Ok(false);
    }
    let mut behind = 0;
    let (after, to) = (keys::inbox(asked.uin, asked.cursor), keys::inbox(asked.uin, u64::MAX));
    kv.scan(Table::Inbox, &after, &to, &mut |_, _| {
        behind += 1;
        behind <= asked.max_lag
    })?;
    Ok(behind > asked.max_lag)
}
