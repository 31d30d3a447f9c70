//! How the values of records are written. Fields are only ever added.

use bytes::Bytes;
use ntproto_core::client::{
    Apply, Failure, Inbound, OutboxEntry, Owed, Saved, SendAction, SendOutcome, Settled, Target,
};
use ntproto_core::ids::{ClientMsgId, ConversationId, DeviceId, Uin};
use ntproto_core::time::UnixMillis;
use ntproto_core::trace::TraceContext;
use ntproto_proto::v2;
use prost::Message;

use super::{State, StateError};

#[derive(Clone, PartialEq, Message)]
pub(super) struct NumberRecord {
    #[prost(uint64, tag = "1")]
    pub(super) number: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TicketRecord {
    #[prost(message, optional, tag = "1")]
    pub(super) ticket: Option<v2::Ticket>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct IdentityRecord {
    #[prost(uint64, tag = "1")]
    uin: u64,
    #[prost(bytes = "bytes", tag = "2")]
    device: Bytes,
}

impl IdentityRecord {
    pub(super) fn new(uin: Uin, device: DeviceId) -> Self {
        Self { uin: uin.0, device: Bytes::copy_from_slice(&device.0) }
    }

    pub(super) fn into_identity(self) -> Result<(Uin, DeviceId), StateError> {
        Ok((Uin(self.uin), DeviceId::from_slice(&self.device).ok_or(StateError::Damaged)?))
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct EntryRecord {
    #[prost(uint64, tag = "1")]
    order: u64,
    #[prost(bytes = "bytes", tag = "2")]
    client_msg_id: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    conversation: Bytes,
    #[prost(bytes = "bytes", tag = "4")]
    body: Bytes,
    #[prost(uint64, optional, tag = "5")]
    expires_ms: Option<u64>,
    /// 0 a message, 1 an edit, 2 a recall: as the wire has it.
    #[prost(uint32, tag = "6")]
    action: u32,
    #[prost(uint64, tag = "7")]
    target_seq: u64,
    #[prost(bytes = "bytes", tag = "8")]
    target_id: Bytes,
    #[prost(bytes = "bytes", tag = "9")]
    trace: Bytes,
}

impl From<&OutboxEntry> for EntryRecord {
    fn from(entry: &OutboxEntry) -> Self {
        let (target_seq, target_id) = match entry.action.target() {
            None => (0, Bytes::new()),
            Some(Target::Number(seq)) => (seq, Bytes::new()),
            Some(Target::Id(id)) => (0, Bytes::copy_from_slice(&id.0)),
        };
        Self {
            action: entry.action.to_wire() as u32,
            target_seq,
            target_id,
            trace: entry.trace.map_or_else(Bytes::new, |trace| Bytes::copy_from_slice(&trace.to_bytes())),
            order: entry.order,
            client_msg_id: Bytes::copy_from_slice(&entry.client_msg_id.0),
            conversation: Bytes::copy_from_slice(&entry.conversation.0),
            body: entry.body.clone(),
            expires_ms: entry.expires.map(|at| at.0),
        }
    }
}

impl EntryRecord {
    pub(super) fn into_entry(self) -> Result<OutboxEntry, StateError> {
        let target = match ClientMsgId::from_slice(&self.target_id) {
            Some(id) => Target::Id(id),
            None => Target::Number(self.target_seq),
        };
        let action = match self.action {
            0 => SendAction::Message,
            1 => SendAction::Edit(target),
            2 => SendAction::Recall(target),
            _ => return Err(StateError::Damaged),
        };
        Ok(OutboxEntry {
            trace: TraceContext::from_bytes(&self.trace),
            action,
            order: self.order,
            client_msg_id: ClientMsgId::from_slice(&self.client_msg_id).ok_or(StateError::Damaged)?,
            conversation: conversation(&self.conversation)?,
            body: self.body,
            expires: self.expires_ms.map(UnixMillis),
        })
    }
}

/// Conversations and a number each.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PairsRecord {
    #[prost(message, repeated, tag = "1")]
    pairs: Vec<PairRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct PairRecord {
    #[prost(bytes = "bytes", tag = "1")]
    conversation: Bytes,
    #[prost(uint64, tag = "2")]
    number: u64,
    /// Of what is owed: the read one.
    #[prost(uint64, tag = "3")]
    read: u64,
}

impl PairsRecord {
    pub(super) fn new(pairs: impl Iterator<Item = (ConversationId, u64)>) -> Self {
        let pairs = pairs
            .map(|(id, number)| PairRecord { conversation: Bytes::copy_from_slice(&id.0), number, read: 0 })
            .collect();
        Self { pairs }
    }

    pub(super) fn owed(owed: impl Iterator<Item = (ConversationId, Owed)>) -> Self {
        let pair = |(id, owed): (ConversationId, Owed)| PairRecord {
            conversation: Bytes::copy_from_slice(&id.0),
            number: owed.delivered,
            read: owed.read,
        };
        Self { pairs: owed.map(pair).collect() }
    }

    pub(super) fn into_owed<C: FromIterator<(ConversationId, Owed)>>(self) -> Result<C, StateError> {
        let owed = |pair: PairRecord| {
            let owed = Owed { delivered: pair.number, read: pair.read };
            Ok((conversation(&pair.conversation)?, owed))
        };
        self.pairs.into_iter().map(owed).collect()
    }

    pub(super) fn into_pairs<C: FromIterator<(ConversationId, u64)>>(self) -> Result<C, StateError> {
        self.pairs.into_iter().map(|pair| Ok((conversation(&pair.conversation)?, pair.number))).collect()
    }
}

#[derive(Clone, PartialEq, Message)]
struct InboundRecord {
    /// In a snapshot only: elsewhere it is the present one.
    #[prost(uint32, tag = "1")]
    generation: u32,
    #[prost(uint64, tag = "2")]
    position: u64,
    #[prost(bytes = "bytes", tag = "3")]
    conversation: Bytes,
    #[prost(message, optional, tag = "4")]
    message: Option<v2::StoredMessage>,
}

impl InboundRecord {
    fn new(generation: u32, inbound: &Inbound) -> Self {
        Self {
            generation,
            position: inbound.position,
            conversation: Bytes::copy_from_slice(&inbound.conversation.0),
            message: Some(inbound.message.clone()),
        }
    }

    fn into_inbound(self) -> Result<Inbound, StateError> {
        Ok(Inbound {
            position: self.position,
            conversation: conversation(&self.conversation)?,
            message: self.message.ok_or(StateError::Damaged)?,
        })
    }
}

/// Of a message that was settled only its place is kept: the application was told the rest.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ApplyRecord {
    #[prost(bytes = "bytes", optional, tag = "1")]
    epoch: Option<Bytes>,
    #[prost(uint64, optional, tag = "2")]
    cursor: Option<u64>,
    #[prost(message, repeated, tag = "3")]
    messages: Vec<InboundRecord>,
    #[prost(uint64, repeated, tag = "4")]
    settled: Vec<u64>,
    #[prost(bool, tag = "5")]
    skipped: bool,
    #[prost(bool, tag = "6")]
    snapshot: bool,
}

impl From<&Apply> for ApplyRecord {
    fn from(apply: &Apply) -> Self {
        Self {
            epoch: apply.epoch.map(|epoch| Bytes::copy_from_slice(&epoch)),
            cursor: apply.cursor,
            messages: apply.messages.iter().map(|inbound| InboundRecord::new(0, inbound)).collect(),
            settled: apply.settled.iter().map(|settled| settled.order).collect(),
            skipped: apply.skipped,
            snapshot: apply.snapshot,
        }
    }
}

impl ApplyRecord {
    /// As far as the state is concerned: what became of settled messages is not known any more.
    pub(super) fn into_apply(self) -> Result<Apply, StateError> {
        let settled = |order| Settled {
            order,
            client_msg_id: ClientMsgId([0; 16]),
            outcome: SendOutcome::Failed(Failure::Disconnected),
        };
        Ok(Apply {
            epoch: self.epoch.map(|epoch| array(&epoch)).transpose()?,
            cursor: self.cursor,
            messages: self.messages.into_iter().map(InboundRecord::into_inbound).collect::<Result<_, _>>()?,
            settled: self.settled.into_iter().map(settled).collect(),
            skipped: self.skipped,
            snapshot: self.snapshot,
            ..Apply::default()
        })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StateRecord {
    #[prost(message, optional, tag = "1")]
    identity: Option<IdentityRecord>,
    #[prost(message, optional, tag = "2")]
    ticket: Option<v2::Ticket>,
    #[prost(message, repeated, tag = "3")]
    outbox: Vec<EntryRecord>,
    #[prost(uint64, tag = "4")]
    last_order: u64,
    #[prost(bytes = "bytes", optional, tag = "5")]
    epoch: Option<Bytes>,
    #[prost(uint64, tag = "6")]
    cursor: u64,
    #[prost(message, repeated, tag = "7")]
    unconfirmed: Vec<InboundRecord>,
    #[prost(message, optional, tag = "8")]
    heads: Option<PairsRecord>,
    #[prost(message, optional, tag = "9")]
    owed: Option<PairsRecord>,
    #[prost(uint32, tag = "10")]
    generation: u32,
    #[prost(bool, tag = "11")]
    owes_snapshot: bool,
}

impl From<&State> for StateRecord {
    fn from(state: &State) -> Self {
        let Saved { identity, ticket, last_order, epoch, cursor, heads, owed, owes_snapshot, .. } =
            &state.rest;
        let pairs = |numbers: &std::collections::BTreeMap<ConversationId, u64>| {
            Some(PairsRecord::new(numbers.iter().map(|(id, number)| (*id, *number))))
        };
        Self {
            identity: identity.map(|(uin, device)| IdentityRecord::new(uin, device)),
            ticket: ticket.clone(),
            outbox: state.outbox.values().map(EntryRecord::from).collect(),
            last_order: *last_order,
            epoch: epoch.map(|epoch| Bytes::copy_from_slice(&epoch)),
            cursor: *cursor,
            unconfirmed: state
                .unconfirmed
                .iter()
                .map(|((generation, _), inbound)| InboundRecord::new(*generation, inbound))
                .collect(),
            heads: pairs(heads),
            owed: Some(PairsRecord::owed(owed.iter().map(|(id, owed)| (*id, *owed)))),
            owes_snapshot: *owes_snapshot,
            generation: state.generation,
        }
    }
}

impl StateRecord {
    pub(super) fn into_state(self) -> Result<State, StateError> {
        let rest = Saved {
            identity: self.identity.map(IdentityRecord::into_identity).transpose()?,
            ticket: self.ticket,
            last_order: self.last_order,
            epoch: self.epoch.map(|epoch| array(&epoch)).transpose()?,
            cursor: self.cursor,
            heads: self.heads.unwrap_or_default().into_pairs()?,
            owed: self.owed.unwrap_or_default().into_owed()?,
            owes_snapshot: self.owes_snapshot,
            ..Saved::default()
        };
        let mut state = State { rest, generation: self.generation, ..State::default() };
        for record in self.unconfirmed {
            state.unconfirmed.insert((record.generation, record.position), record.into_inbound()?);
        }
        for record in self.outbox {
            let entry = record.into_entry()?;
            state.outbox.insert(entry.order, entry);
        }
        Ok(state)
    }
}

fn conversation(bytes: &[u8]) -> Result<ConversationId, StateError> {
    ConversationId::from_slice(bytes).ok_or(StateError::Damaged)
}

fn array(bytes: &[u8]) -> Result<[u8; 16], StateError> {
    bytes.try_into().map_err(|_| StateError::Damaged)
}
