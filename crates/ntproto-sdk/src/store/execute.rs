//! What each transaction means.

use bytes::Bytes;
use ntproto_core::client::{Apply, ClientTxn, Inbound, OutboxEntry, SendOutcome, Settled, StoreError};
use ntproto_core::ids::{ConversationId, DeviceId, Uin};
use ntproto_proto::v2;
use prost::Message as _;

use super::kv::{Kv, Table};
use super::record::{self, CORRUPT, OutboxRecord, OutcomeRecord};

pub(super) const IDENTITY: &[u8] = b"identity";
pub(super) const TICKET: &[u8] = b"ticket";
pub(super) const EPOCH: &[u8] = b"epoch";
pub(super) const CURSOR: &[u8] = b"cursor";
pub(super) const GENERATION: &[u8] = b"generation";
pub(super) const LAST_ORDER: &[u8] = b"last_order";

/// Runs one transaction.
pub(super) fn execute(kv: &mut dyn Kv, txn: &ClientTxn) -> Result<(), StoreError> {
    match txn {
        ClientTxn::Enqueue(entry) => enqueue(kv, entry),
        ClientTxn::Apply(apply) => apply_all(kv, apply),
        ClientTxn::Confirm(position) => confirm(kv, *position),
        ClientTxn::ReceiptsSent(sent) => {
            for (conversation, seq) in sent {
                if number(kv, Table::Owed, &conversation.0)?.is_some_and(|owed| owed <= *seq) {
                    kv.delete(Table::Owed, &conversation.0)?;
                }
            }
            Ok(())
        }
        ClientTxn::SaveIdentity(uin, device) => {
            kv.put(Table::Meta, IDENTITY, &record::identity(*uin, &device.0))
        }
        ClientTxn::SaveTicket(Some(ticket)) => kv.put(Table::Meta, TICKET, &ticket.encode_to_vec()),
        ClientTxn::SaveTicket(None) => kv.delete(Table::Meta, TICKET),
    }
}

/// A number in a table.
pub(super) fn number(kv: &dyn Kv, table: Table, key: &[u8]) -> Result<Option<u64>, StoreError> {
    kv.get(table, key)?.map(|value| record::number(&value)).transpose()
}

/// How often the epoch changed.
pub(super) fn generation(kv: &dyn Kv) -> Result<u32, StoreError> {
    let generation = number(kv, Table::Meta, GENERATION)?.unwrap_or(0);
    u32::try_from(generation).map_err(|_| CORRUPT)
}

/// Who this device is.
pub(super) fn identity(kv: &dyn Kv) -> Result<Option<(Uin, DeviceId)>, StoreError> {
    let Some(value) = kv.get(Table::Meta, IDENTITY)? else { return Ok(None) };
    let (uin, device) = value.split_at_checked(8).ok_or(CORRUPT)?;
    Ok(Some((Uin(record::number(uin)?), DeviceId::from_slice(device).ok_or(CORRUPT)?)))
}

/// Sets a number unless it is higher already.
fn raise(kv: &mut dyn Kv, table: Table, key: &[u8], to: u64) -> Result<(), StoreError> {
    if number(kv, table, key)?.is_none_or(|now| now < to) {
        kv.put(table, key, &to.to_be_bytes())?;
    }
    Ok(())
}

fn enqueue(kv: &mut dyn Kv, entry: &OutboxEntry) -> Result<(), StoreError> {
    kv.put(Table::Outbox, &entry.order.to_be_bytes(), &OutboxRecord::new(entry).encode_to_vec())?;
    raise(kv, Table::Meta, LAST_ORDER, entry.order)
}

fn apply_all(kv: &mut dyn Kv, apply: &Apply) -> Result<(), StoreError> {
    if let Some(epoch) = &apply.epoch {
        let next = u64::from(generation(kv)?) + 1;
        kv.put(Table::Meta, GENERATION, &next.to_be_bytes())?;
        kv.put(Table::Meta, EPOCH, epoch)?;
    }
    let generation = generation(kv)?;
    let me = identity(kv)?;
    for inbound in &apply.messages {
        message(kv, generation, me.map(|(uin, _)| uin), inbound)?;
    }
    for receipt in &apply.receipts {
        mark(kv, receipt)?;
    }
    //= spec: messages-7
    for (position, packet) in &apply.others {
        kv.put(Table::Others, &record::place(generation, *position), &packet.encode_to_vec())?;
    }
    for settled in &apply.settled {
        settle(kv, me, settled)?;
    }
    if let Some(cursor) = apply.cursor {
        kv.put(Table::Meta, CURSOR, &cursor.to_be_bytes())?;
    }
    Ok(())
}

fn message(kv: &mut dyn Kv, generation: u32, me: Option<Uin>, inbound: &Inbound) -> Result<(), StoreError> {
    let (conversation, seq) = (inbound.conversation, inbound.message.conv_seq);
    let key = record::in_conversation(conversation, seq);
    kv.put(Table::Messages, &key, &inbound.message.encode_to_vec())?;
    kv.put(Table::Unconfirmed, &record::place(generation, inbound.position), &key)?;
    raise(kv, Table::Heads, &conversation.0, seq)?;
    if me != Some(Uin(inbound.message.sender)) {
        raise(kv, Table::Owed, &conversation.0, seq)?;
    }
    Ok(())
}

fn mark(kv: &mut dyn Kv, receipt: &v2::Receipt) -> Result<(), StoreError> {
    // A receipt of a conversation that is none says nothing.
    let Some(conversation) = ConversationId::from_slice(&receipt.conversation) else { return Ok(()) };
    let key = record::in_conversation(conversation, receipt.member);
    let (delivered, read) = match kv.get(Table::Marks, &key)? {
        Some(value) => split_mark(&value)?,
        None => (0, 0),
    };
    let mut value = [0; 16];
    value[..8].copy_from_slice(&receipt.delivered_seq.max(receipt.read_seq).max(delivered).to_be_bytes());
    value[8..].copy_from_slice(&receipt.read_seq.max(read).to_be_bytes());
    kv.put(Table::Marks, &key, &value)
}

/// Delivered and read numbers.
pub(super) fn split_mark(value: &[u8]) -> Result<(u64, u64), StoreError> {
    let (delivered, read) = value.split_at_checked(8).ok_or(CORRUPT)?;
    Ok((record::number(delivered)?, record::number(read)?))
}

/// A message leaves the outbox; stored ones become history.
fn settle(kv: &mut dyn Kv, me: Option<(Uin, DeviceId)>, settled: &Settled) -> Result<(), StoreError> {
    let order = settled.order.to_be_bytes();
    let Some(value) = kv.get(Table::Outbox, &order)? else { return Ok(()) };
    kv.delete(Table::Outbox, &order)?;
    let id = &settled.client_msg_id.0;
    kv.put(Table::Outcomes, id, &OutcomeRecord::from(&settled.outcome).encode_to_vec())?;
    let (SendOutcome::Stored { conversation, conv_seq, stored_ms }, Some((uin, device))) =
        (&settled.outcome, me)
    else {
        return Ok(());
    };
    let entry = record::decode::<OutboxRecord>(value)?.into_entry(settled.order)?;
    let message = v2::StoredMessage {
        conversation: Bytes::copy_from_slice(&conversation.0),
        conv_seq: *conv_seq,
        sender: uin.0,
        sender_device: Bytes::copy_from_slice(&device.0),
        client_msg_id: Bytes::copy_from_slice(id),
        stored_ms: *stored_ms,
        body: entry.body,
        ..Default::default()
    };
    kv.put(Table::Messages, &record::in_conversation(*conversation, *conv_seq), &message.encode_to_vec())
}

/// The application is done with everything up to here; all of an earlier epoch came before.
fn confirm(kv: &mut dyn Kv, position: u64) -> Result<(), StoreError> {
    let end = record::place(generation(kv)?, position.saturating_add(1));
    let mut done = Vec::new();
    kv.scan(Table::Unconfirmed, &[], &end, false, &mut |key, _| {
        done.push(key.to_vec());
        Ok(true)
    })?;
    done.iter().try_for_each(|key| kv.delete(Table::Unconfirmed, key))
}
