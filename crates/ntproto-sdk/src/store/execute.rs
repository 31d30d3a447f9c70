//! What each transaction means.

use ntproto_core::client::{Apply, ClientTxn, Inbound, OutboxEntry, Owed, SendOutcome, Settled, StoreError};
use ntproto_core::ids::{ConversationId, DeviceId, Uin};
use ntproto_proto::v2;
use prost::Message as _;

use super::kv::{END, Kv, Table};
use super::record::{self, CORRUPT, OutboxRecord, OutcomeRecord};
use super::{Fetched, Gap, gaps, messages, people};

pub(super) const IDENTITY: &[u8] = b"identity";
pub(super) const TICKET: &[u8] = b"ticket";
pub(super) const EPOCH: &[u8] = b"epoch";
pub(super) const CURSOR: &[u8] = b"cursor";
pub(super) const GENERATION: &[u8] = b"generation";
pub(super) const LAST_ORDER: &[u8] = b"last_order";
pub(super) const OWES_SNAPSHOT: &[u8] = b"owes_snapshot";

/// Runs one transaction.
pub(super) fn execute(kv: &mut dyn Kv, txn: &ClientTxn) -> Result<(), StoreError> {
    match txn {
        ClientTxn::Enqueue(entry) => enqueue(kv, entry),
        ClientTxn::Apply(apply) => apply_all(kv, apply),
        ClientTxn::Confirm(position) => confirm(kv, *position),
        ClientTxn::ReceiptsSent(sent) => {
            sent.iter().try_for_each(|(conversation, sent)| owe(kv, *conversation, |owed| owed.settle(*sent)))
        }
        ClientTxn::Read(reads) => {
            reads.iter().try_for_each(|(conversation, seq)| read(kv, *conversation, *seq))
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

/// Changes what is owed of a conversation.
fn owe(
    kv: &mut dyn Kv,
    conversation: ConversationId,
    change: impl FnOnce(&mut Owed),
) -> Result<(), StoreError> {
    let known = kv.get(Table::Owed, &conversation.0)?;
    let mut owed = known.as_deref().map(record::owed).transpose()?.unwrap_or_default();
    change(&mut owed);
    match (owed.is_nothing(), known) {
        (true, None) => Ok(()),
        (true, Some(_)) => kv.delete(Table::Owed, &conversation.0),
        (false, _) => kv.put(Table::Owed, &conversation.0, &record::pair(owed.delivered, owed.read)),
    }
}

/// The user has read a conversation up to here: an own mark, and owed to the server.
fn read(kv: &mut dyn Kv, conversation: ConversationId, seq: u64) -> Result<(), StoreError> {
    if let Some((me, _)) = identity(kv)? {
        raise_mark(kv, conversation, me.0, 0, seq)?;
    }
    owe(kv, conversation, |owed| owed.read = owed.read.max(seq))
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
    if apply.epoch.is_some() || apply.skipped {
        // Who or what is gone since is not told one by one: all that is there is told again.
        clear(kv, Table::Friends)?;
        clear(kv, Table::Groups)?;
    }
    let generation = generation(kv)?;
    let me = identity(kv)?;
    for inbound in &apply.messages {
        message(kv, generation, me.map(|(uin, _)| uin), inbound)?;
    }
    if apply.skipped {
        kv.put(Table::Meta, OWES_SNAPSHOT, &[])?;
    }
    if apply.snapshot {
        kv.delete(Table::Meta, OWES_SNAPSHOT)?;
    }
    for receipt in &apply.receipts {
        mark(kv, receipt)?;
    }
    apply.friends.iter().try_for_each(|friend| people::put(kv, friend))?;
    apply.groups.iter().try_for_each(|group| people::put(kv, group))?;
    apply.profile.iter().try_for_each(|profile| people::put(kv, &**profile))?;
    for gap in &apply.gaps {
        // A gap of a conversation that is none says nothing.
        if let Some(conversation) = ConversationId::from_slice(&gap.conversation) {
            gaps::add(kv, conversation, Gap { from: gap.from_seq, to: gap.to_seq })?;
        }
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

fn clear(kv: &mut dyn Kv, table: Table) -> Result<(), StoreError> {
    let mut keys = Vec::new();
    kv.scan(table, &[], END, false, &mut |key, _| {
        keys.push(key.to_vec());
        Ok(true)
    })?;
    keys.iter().try_for_each(|key| kv.delete(table, key))
}

fn message(kv: &mut dyn Kv, generation: u32, me: Option<Uin>, inbound: &Inbound) -> Result<(), StoreError> {
    let (conversation, seq) = (inbound.conversation, inbound.message.conv_seq);
    let key = record::in_conversation(conversation, seq);
    messages::put(kv, conversation, inbound.message.clone())?;
    kv.put(Table::Unconfirmed, &record::place(generation, inbound.position), &key)?;
    raise(kv, Table::Heads, &conversation.0, seq)?;
    if me != Some(Uin(inbound.message.sender)) {
        owe(kv, conversation, |owed| owed.delivered = owed.delivered.max(seq))?;
    }
    Ok(())
}

fn mark(kv: &mut dyn Kv, receipt: &v2::Receipt) -> Result<(), StoreError> {
    // A receipt of a conversation that is none says nothing.
    let Some(conversation) = ConversationId::from_slice(&receipt.conversation) else { return Ok(()) };
    raise_mark(kv, conversation, receipt.member, receipt.delivered_seq, receipt.read_seq)
}

/// Marks only rise, and what was read was delivered.
fn raise_mark(
    kv: &mut dyn Kv,
    conversation: ConversationId,
    member: u64,
    delivered: u64,
    read: u64,
) -> Result<(), StoreError> {
    let key = record::in_conversation(conversation, member);
    let known = kv.get(Table::Marks, &key)?;
    let (known_delivered, known_read) =
        known.as_deref().map(record::split_pair).transpose()?.unwrap_or_default();
    let value = record::pair(delivered.max(read).max(known_delivered), read.max(known_read));
    kv.put(Table::Marks, &key, &value)
}

/// A message leaves the outbox; stored ones become history.
fn settle(kv: &mut dyn Kv, me: Option<(Uin, DeviceId)>, settled: &Settled) -> Result<(), StoreError> {
    let order = settled.order.to_be_bytes();
    let Some(value) = kv.get(Table::Outbox, &order)? else { return Ok(()) };
    kv.delete(Table::Outbox, &order)?;
    let id = &settled.client_msg_id.0;
    kv.put(Table::Outcomes, id, &OutcomeRecord::from(&settled.outcome).encode_to_vec())?;
    let (SendOutcome::Stored { conversation, conv_seq, stored_ms }, Some(me)) = (&settled.outcome, me) else {
        return Ok(());
    };
    let entry = record::decode::<OutboxRecord>(value)?.into_entry(settled.order)?;
    let message = messages::sent(kv, me, entry, *conversation, *conv_seq, *stored_ms)?;
    messages::put(kv, *conversation, message)
}

/// Keeps what a request brought.
pub(super) fn keep(kv: &mut dyn Kv, fetched: &Fetched) -> Result<(), StoreError> {
    for message in &fetched.messages {
        // What names no conversation is in none.
        if let Some(conversation) = ConversationId::from_slice(&message.conversation) {
            messages::put(kv, conversation, message.clone())?;
        }
    }
    if let Some((conversation, range)) = fetched.complete {
        gaps::close(kv, conversation, range)?;
    }
    fetched.friends.iter().try_for_each(|friend| people::put_newer(kv, friend))?;
    fetched.groups.iter().try_for_each(|group| people::put_newer(kv, group))?;
    fetched.profiles.iter().try_for_each(|profile| people::put_newer(kv, profile))?;
    fetched.marks.iter().try_for_each(|receipt| mark(kv, receipt))
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
