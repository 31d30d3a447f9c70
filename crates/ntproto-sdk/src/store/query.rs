//! What is read back.

use std::collections::BTreeMap;

use bytes::Bytes;
use ntproto_core::client::{Inbound, OutboxEntry, Saved, SendOutcome, StoreError};
use ntproto_core::ids::{ClientMsgId, ConversationId, Uin};
use ntproto_proto::v2;

use super::execute::{self, CURSOR, EPOCH, LAST_ORDER, OWES_SNAPSHOT, TICKET, number};
use super::kv::{END, Kv, Table};
use super::record::{self, CORRUPT, OutboxRecord, OutcomeRecord};
use super::{Mark, Place, Stored, messages};

pub(super) fn load(kv: &dyn Kv) -> Result<Saved, StoreError> {
    Ok(Saved {
        identity: execute::identity(kv)?,
        ticket: kv.get(Table::Meta, TICKET)?.map(record::decode).transpose()?,
        outbox: outbox(kv)?,
        last_order: number(kv, Table::Meta, LAST_ORDER)?.unwrap_or(0),
        epoch: kv.get(Table::Meta, EPOCH)?.map(|e| e[..].try_into().map_err(|_| CORRUPT)).transpose()?,
        cursor: number(kv, Table::Meta, CURSOR)?.unwrap_or(0),
        unconfirmed: Vec::new(),
        heads: by_conversation(kv, Table::Heads, record::number)?,
        owed: by_conversation(kv, Table::Owed, record::owed)?,
        owes_snapshot: kv.get(Table::Meta, OWES_SNAPSHOT)?.is_some(),
    })
}

fn by_conversation<V>(
    kv: &dyn Kv,
    table: Table,
    read: impl Fn(&[u8]) -> Result<V, StoreError>,
) -> Result<BTreeMap<ConversationId, V>, StoreError> {
    let mut all = BTreeMap::new();
    kv.scan(table, &[], END, false, &mut |key, value| {
        all.insert(ConversationId::from_slice(key).ok_or(CORRUPT)?, read(value)?);
        Ok(true)
    })?;
    Ok(all)
}

pub(super) fn outbox(kv: &dyn Kv) -> Result<Vec<OutboxEntry>, StoreError> {
    let mut all = Vec::new();
    kv.scan(Table::Outbox, &[], END, false, &mut |key, value| {
        let record: OutboxRecord = record::decode(Bytes::copy_from_slice(value))?;
        all.push(record.into_entry(record::number(key)?)?);
        Ok(true)
    })?;
    Ok(all)
}

pub(super) fn unconfirmed(
    kv: &dyn Kv,
    after: Place,
    limit: usize,
) -> Result<Vec<(Place, Inbound)>, StoreError> {
    let from = record::place(after.generation, after.position.saturating_add(1));
    let mut places = Vec::new();
    if limit > 0 {
        kv.scan(Table::Unconfirmed, &from, END, false, &mut |key, value| {
            places.push((split_place(key)?, value.to_vec()));
            Ok(places.len() < limit)
        })?;
    }
    let read = |(place, key): (Place, Vec<u8>)| {
        let message: v2::StoredMessage = record::decode(kv.get(Table::Messages, &key)?.ok_or(CORRUPT)?)?;
        let (conversation, _) = record::split(&key)?;
        Ok((place, Inbound { position: place.position, conversation, message }))
    };
    places.into_iter().map(read).collect()
}

pub(super) fn history(
    kv: &dyn Kv,
    conversation: ConversationId,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<Stored>, StoreError> {
    let mut all = Vec::new();
    if limit == 0 {
        return Ok(all);
    }
    let (from, to) = (
        record::in_conversation(conversation, 0),
        record::in_conversation(conversation, before.unwrap_or(u64::MAX)),
    );
    kv.scan(Table::Messages, &from, &to, true, &mut |_, value| {
        let message: v2::StoredMessage = record::decode(Bytes::copy_from_slice(value))?;
        if message.action() == v2::Action::Message {
            all.push(message.into());
        }
        Ok(all.len() < limit)
    })?;
    Ok(all)
}

pub(super) fn conversations(kv: &dyn Kv) -> Result<Vec<(ConversationId, u64)>, StoreError> {
    // From the newest message of the last conversation to that of the one before it, and so on: one step a
    // conversation, however long it is.
    let mut all = Vec::new();
    let mut to = END.to_vec();
    loop {
        let mut newest = None;
        kv.scan(Table::Messages, &[], &to, true, &mut |key, _| {
            newest = Some(record::split(key)?);
            Ok(false)
        })?;
        let Some((conversation, seq)) = newest else { break };
        all.push((conversation, seq));
        to = conversation.0.to_vec();
    }
    all.reverse();
    Ok(all)
}

pub(super) fn marks(kv: &dyn Kv, conversation: ConversationId) -> Result<Vec<Mark>, StoreError> {
    let mut all = Vec::new();
    let (from, to) =
        (record::in_conversation(conversation, 0), record::in_conversation(conversation, u64::MAX));
    kv.scan(Table::Marks, &from, &to, false, &mut |key, value| {
        let (_, member) = record::split(key)?;
        let (delivered_seq, read_seq) = record::split_pair(value)?;
        all.push(Mark { member: Uin(member), delivered_seq, read_seq });
        Ok(true)
    })?;
    Ok(all)
}

pub(super) fn outcome(kv: &dyn Kv, id: ClientMsgId) -> Result<Option<SendOutcome>, StoreError> {
    let Some(value) = kv.get(Table::Outcomes, &id.0)? else { return Ok(None) };
    record::decode::<OutcomeRecord>(value)?.into_outcome().map(Some)
}

pub(super) fn message(
    kv: &dyn Kv,
    conversation: ConversationId,
    number: u64,
) -> Result<Option<Stored>, StoreError> {
    let found = messages::get(kv, conversation, number)?;
    Ok(found.filter(|message| message.action() == v2::Action::Message).map(Stored::from))
}

/// Changes of types this version does not know, as they came.
pub(super) fn others(
    kv: &dyn Kv,
    after: Place,
    limit: usize,
) -> Result<Vec<(Place, v2::SyncPacket)>, StoreError> {
    let from = record::place(after.generation, after.position.saturating_add(1));
    let mut all = Vec::new();
    if limit > 0 {
        kv.scan(Table::Others, &from, END, false, &mut |key, value| {
            all.push((split_place(key)?, record::decode(Bytes::copy_from_slice(value))?));
            Ok(all.len() < limit)
        })?;
    }
    Ok(all)
}

fn split_place(key: &[u8]) -> Result<Place, StoreError> {
    let (generation, position) = key.split_at_checked(4).ok_or(CORRUPT)?;
    let generation = u32::from_be_bytes(generation.try_into().map_err(|_| CORRUPT)?);
    Ok(Place { generation, position: record::number(position)? })
}
