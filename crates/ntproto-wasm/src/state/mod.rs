//! What is kept between two runs.
//!
//! A host appends one record after another to a file and hands all of them in at the next start. A record is a TLV3 record in slot
//! mode with its checksum: what was half written when the power went is seen as such and left out. A snapshot is one
//! record that says it all; a host writes one at every start in place of what it found, and whenever the file has grown.
//!
//! Messages that the application has confirmed are not kept: they are the application's.

mod wire;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use ntproto_core::client::{Apply, ClientTxn, Inbound, OutboxEntry, Saved};
use ntproto_core::ids::{ConversationId, Uin};
use ntproto_core::wire::tlv3::{Budget, HEADER_LEN, Mode, Reader, SLOT_LEN, Slot, Tlv3Error, Writer};

use self::wire::{
    ApplyRecord, EntryRecord, IdentityRecord, NumberRecord, PairsRecord, StateRecord, TicketRecord,
};

/// The types of records. Never changed: a new meaning gets a new one.
mod kind {
    pub(super) const ENQUEUE: u16 = 1;
    pub(super) const APPLY: u16 = 2;
    pub(super) const CONFIRM: u16 = 3;
    pub(super) const RECEIPTS_SENT: u16 = 4;
    pub(super) const IDENTITY: u16 = 5;
    pub(super) const TICKET: u16 = 6;
    pub(super) const SNAPSHOT: u16 = 7;
    pub(super) const READ: u16 = 8;
}

/// What is kept, as it is now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// All but the two below.
    rest: Saved,
    /// How often the server's epoch changed.
    generation: u32,
    /// By generation and position.
    unconfirmed: BTreeMap<(u32, u64), Inbound>,
    outbox: BTreeMap<u64, OutboxEntry>,
}

/// Why what was kept can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateError {
    /// A record is damaged that is not the last one.
    Damaged,
    /// A record of a type that this version does not know.
    Newer(u16),
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged => f.write_str("what was kept is damaged"),
            Self::Newer(kind) => write!(f, "a newer version wrote what was kept (record {kind})"),
        }
    }
}

impl std::error::Error for StateError {}

/// The record of a transaction.
#[must_use]
pub fn record(txn: &ClientTxn) -> Vec<u8> {
    match txn {
        ClientTxn::Enqueue(entry) => framed(kind::ENQUEUE, &EntryRecord::from(entry)),
        ClientTxn::Apply(apply) => framed(kind::APPLY, &ApplyRecord::from(apply)),
        ClientTxn::Confirm(position) => framed(kind::CONFIRM, &NumberRecord { number: *position }),
        ClientTxn::ReceiptsSent(sent) => {
            framed(kind::RECEIPTS_SENT, &PairsRecord::owed(sent.iter().copied()))
        }
        ClientTxn::Read(reads) => framed(kind::READ, &PairsRecord::new(reads.iter().copied())),
        ClientTxn::SaveIdentity(uin, device) => framed(kind::IDENTITY, &IdentityRecord::new(*uin, *device)),
        ClientTxn::SaveTicket(ticket) => framed(kind::TICKET, &TicketRecord { ticket: ticket.clone() }),
    }
}

fn framed(kind: u16, value: &impl prost::Message) -> Vec<u8> {
    let mut writer = Writer::new(Mode::Slot);
    writer.slots(Slot::Filled);
    writer.put(kind, &value.encode_to_vec());
    writer.finish().expect("its type has twelve bits, and memory holds no value of four gibibytes")
}

impl State {
    /// Reads records one after another. A last one that was cut off never happened.
    ///
    /// # Errors
    /// [`StateError`].
    ///
    /// ```
    /// use ntproto_core::client::ClientTxn;
    /// use ntproto_wasm::state::{State, record};
    /// let mut kept = record(&ClientTxn::Confirm(7));
    /// kept.extend_from_slice(&record(&ClientTxn::SaveTicket(None))[..5]);
    /// assert_eq!(State::read(&kept), Ok(State::default()));
    /// kept[8] ^= 1;
    /// assert!(State::read(&kept).is_err());
    /// ```
    pub fn read(mut bytes: &[u8]) -> Result<Self, StateError> {
        let mut state = Self::default();
        loop {
            // A file has any number of records: each is a document of its own.
            let budget = Budget::new();
            let record = match Reader::new(Mode::Slot, bytes, &budget).next() {
                None | Some(Err(Tlv3Error::Truncated)) => return Ok(state),
                Some(Err(_)) => return Err(StateError::Damaged),
                Some(Ok(record)) => record,
            };
            state.replay(record.kind, record.value)?;
            bytes = &bytes[HEADER_LEN + record.value.len() + SLOT_LEN..];
        }
    }

    fn replay(&mut self, kind: u16, value: &[u8]) -> Result<(), StateError> {
        fn decode<M: prost::Message + Default>(value: &[u8]) -> Result<M, StateError> {
            M::decode(value).map_err(|_| StateError::Damaged)
        }
        let txn = match kind {
            kind::ENQUEUE => ClientTxn::Enqueue(decode::<EntryRecord>(value)?.into_entry()?),
            kind::APPLY => ClientTxn::Apply(decode::<ApplyRecord>(value)?.into_apply()?),
            kind::CONFIRM => ClientTxn::Confirm(decode::<NumberRecord>(value)?.number),
            kind::RECEIPTS_SENT => ClientTxn::ReceiptsSent(decode::<PairsRecord>(value)?.into_owed()?),
            kind::READ => ClientTxn::Read(decode::<PairsRecord>(value)?.into_pairs()?),
            kind::IDENTITY => {
                let (uin, device) = decode::<IdentityRecord>(value)?.into_identity()?;
                ClientTxn::SaveIdentity(uin, device)
            }
            kind::TICKET => ClientTxn::SaveTicket(decode::<TicketRecord>(value)?.ticket),
            kind::SNAPSHOT => {
                *self = decode::<StateRecord>(value)?.into_state()?;
                return Ok(());
            }
            other => return Err(StateError::Newer(other)),
        };
        self.apply(&txn);
        Ok(())
    }

    /// All of it as one record.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        framed(kind::SNAPSHOT, &StateRecord::from(self))
    }

    /// What the core starts from.
    #[must_use]
    pub fn saved(&self) -> Saved {
        Saved {
            outbox: self.outbox.values().cloned().collect(),
            unconfirmed: self.unconfirmed.values().cloned().collect(),
            ..self.rest.clone()
        }
    }

    /// Runs one transaction.
    pub fn apply(&mut self, txn: &ClientTxn) {
        match txn {
            ClientTxn::Enqueue(entry) => {
                self.rest.last_order = self.rest.last_order.max(entry.order);
                self.outbox.insert(entry.order, entry.clone());
            }
            ClientTxn::Apply(apply) => self.apply_changes(apply),
            ClientTxn::Confirm(position) => {
                let done = (self.generation, position.saturating_add(1));
                self.unconfirmed = self.unconfirmed.split_off(&done);
            }
            ClientTxn::ReceiptsSent(sent) => {
                for (conversation, sent) in sent {
                    self.rest.owed.entry(*conversation).or_default().settle(*sent);
                }
                self.rest.owed.retain(|_, owed| !owed.is_nothing());
            }
            ClientTxn::Read(reads) => {
                for (conversation, seq) in reads {
                    let owed = self.rest.owed.entry(*conversation).or_default();
                    owed.read = owed.read.max(*seq);
                }
                self.rest.owed.retain(|_, owed| !owed.is_nothing());
            }
            ClientTxn::SaveIdentity(uin, device) => self.rest.identity = Some((*uin, *device)),
            ClientTxn::SaveTicket(ticket) => self.rest.ticket.clone_from(ticket),
        }
    }

    fn apply_changes(&mut self, apply: &Apply) {
        if let Some(epoch) = apply.epoch {
            self.generation = self.generation.saturating_add(1);
            self.rest.epoch = Some(epoch);
        }
        self.rest.owes_snapshot = (self.rest.owes_snapshot || apply.skipped) && !apply.snapshot;
        let me = self.rest.identity.map(|(uin, _)| uin);
        for inbound in &apply.messages {
            let (conversation, seq) = (inbound.conversation, inbound.message.conv_seq);
            self.unconfirmed.insert((self.generation, inbound.position), inbound.clone());
            raise(&mut self.rest.heads, conversation, seq);
            if me != Some(Uin(inbound.message.sender)) {
                let owed = self.rest.owed.entry(conversation).or_default();
                owed.delivered = owed.delivered.max(seq);
            }
        }
        for settled in &apply.settled {
            self.outbox.remove(&settled.order);
        }
        if let Some(cursor) = apply.cursor {
            self.rest.cursor = cursor;
        }
    }
}

fn raise(numbers: &mut BTreeMap<ConversationId, u64>, conversation: ConversationId, seq: u64) {
    let number = numbers.entry(conversation).or_default();
    *number = seq.max(*number);
}
