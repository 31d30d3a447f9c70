//! What really happened, kept by nobody who can crash, and what must follow from it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ntproto_core::client::{ClientTxn, Inbound, SendOutcome};
use ntproto_core::ids::{ClientMsgId, ConversationId, DeviceId, Uin};
use ntproto_hub::store::txn::Append;
use ntproto_hub::store::{Outcome, Txn};

use crate::truth::{Answer, Truth};

/// Nothing is wrong, or what is.
pub(crate) type Check<T = ()> = Result<T, String>;

/// What a message's sender was told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing yet; after a crash it may or may not exist.
    Nothing,
    /// It is on the local disk.
    Queued,
    /// The server has it.
    Sent,
    /// The server does not and will not have it.
    Failed,
}

/// A message an application wanted sent.
pub(crate) struct Message {
    pub(crate) device: usize,
    pub(crate) conversation: ConversationId,
    pub(crate) id: ClientMsgId,
    pub(crate) body: Bytes,
    pub(crate) told: Told,
    /// Its place in the log, when it is durable.
    stored: Option<u64>,
    /// It left its device's outbox as failed; a crash may have kept that from the application.
    given_up: bool,
}

impl Message {
    /// Its number, when it is durable.
    pub(crate) const fn stored(&self) -> Option<u64> {
        self.stored
    }
}

/// The ledger of a run.
pub(crate) struct Ledger {
    /// What the rules make of all that was asked.
    pub(crate) truth: Truth,
    pub(crate) messages: Vec<Message>,
    by_id: BTreeMap<ClientMsgId, usize>,
    /// What a device sent first must be stored first.
    in_order: bool,
    /// But not where something was refused: what was sent behind that is told to come again, and the server keeps its place
    /// for a time only.
    refused: BTreeSet<(DeviceId, ConversationId)>,
    /// Every durable message of a conversation, in order.
    pub(crate) logs: BTreeMap<ConversationId, Vec<usize>>,
    /// Written to the server's disk, not synced.
    written: Vec<(Txn, Answer)>,
    /// Devices whose revocation is durable.
    pub(crate) revoked: BTreeSet<DeviceId>,
    /// The id the server gave to each device, and its account.
    pub(crate) devices: BTreeMap<DeviceId, (usize, Uin)>,
}

impl Ledger {
    /// `fanout`: the largest group whose members all get a pointer.
    pub(crate) fn new(in_order: bool, fanout: usize) -> Self {
        Self {
            truth: Truth::new(fanout),
            messages: Vec::new(),
            by_id: BTreeMap::new(),
            in_order,
            refused: BTreeSet::new(),
            logs: BTreeMap::new(),
            written: Vec::new(),
            revoked: BTreeSet::new(),
            devices: BTreeMap::new(),
        }
    }

    /// Whether a device's revocation is durable; the server may not have been told yet.
    pub(crate) fn is_revoked(&self, d: usize) -> bool {
        self.revoked.iter().any(|id| self.devices.get(id).is_some_and(|(device, _)| *device == d))
    }

    /// An application sends a message.
    pub(crate) fn send(&mut self, device: usize, conversation: ConversationId, id: ClientMsgId, body: Bytes) {
        self.by_id.insert(id, self.messages.len());
        self.messages.push(Message {
            device,
            conversation,
            id,
            body,
            told: Told::Nothing,
            stored: None,
            given_up: false,
        });
    }

    fn find(&mut self, id: &ClientMsgId) -> Check<&mut Message> {
        let index = self.by_id.get(id).ok_or_else(|| format!("message {id} was never sent"))?;
        Ok(&mut self.messages[*index])
    }

    /// The server's disk was written. Nothing of it may be seen before [`synced`](Self::synced).
    pub(crate) fn wrote(&mut self, txn: &Txn, answer: &Answer) {
        if !matches!(txn, Txn::LookupDevice { .. } | Txn::Devices { .. } | Txn::GroupsOf { .. }) {
            self.written.push((txn.clone(), answer.clone()));
        }
    }

    /// What was written is durable.
    pub(crate) fn synced(&mut self) -> Check {
        for (txn, answer) in std::mem::take(&mut self.written) {
            self.truth.judge(&txn, &answer)?;
            match (txn, answer) {
                (Txn::Append(append), Ok(Outcome::Appended { conv_seq, duplicate: false, .. })) => {
                    self.stored(&append, conv_seq)?;
                }
                (Txn::Append(append), Err(why)) if why.is_refusal() => {
                    self.refused.insert((append.device, append.conversation));
                }
                (Txn::RevokeDevice { device_id, .. }, Ok(Outcome::Revoked { .. })) => {
                    self.revoked.insert(device_id);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What was written is gone.
    pub(crate) fn lost(&mut self) {
        self.written.clear();
    }

    /// Messages that were written and are not durable.
    pub(crate) fn count_written(&self) -> usize {
        self.written
            .iter()
            .filter(|(txn, answer)| {
                matches!((txn, answer), (Txn::Append(_), Ok(Outcome::Appended { duplicate: false, .. })))
            })
            .count()
    }

    fn stored(&mut self, append: &Append, conv_seq: u64) -> Check {
        let index = *self
            .by_id
            .get(&append.client_msg_id)
            .ok_or_else(|| format!("the server stored {}, which nobody sent", append.client_msg_id))?;
        let log = self.logs.entry(append.conversation).or_default();
        if conv_seq != log.len() as u64 + 1 {
            return Err(format!(
                "conv_seq {conv_seq} after {} messages of {}",
                log.len(),
                append.conversation
            ));
        }
        let device = self.messages[index].device;
        if self.in_order
            && !self.refused.contains(&(append.device, append.conversation))
            && let Some(later) = log.iter().find(|m| **m > index && self.messages[**m].device == device)
        {
            return Err(format!("message {index} was stored after {later}, which was sent later"));
        }
        log.push(index);
        let message = &mut self.messages[index];
        if let Some(first) = message.stored.replace(conv_seq) {
            return Err(format!("message {index} was stored twice, at {first} and at {conv_seq}"));
        }
        if message.told == Told::Failed || message.given_up {
            return Err(format!("message {index} was stored after its sender was told it never would be"));
        }
        let sender = self.devices.get(&append.device).map(|(device, _)| *device);
        if message.conversation != append.conversation
            || message.body != append.body
            || sender != Some(message.device)
        {
            return Err(format!("message {index} was stored as something else"));
        }
        Ok(())
    }

    /// A sender was told that its message is on its disk.
    pub(crate) fn queued(&mut self, id: &ClientMsgId) -> Check {
        let message = self.find(id)?;
        if message.told == Told::Nothing {
            message.told = Told::Queued;
            return Ok(());
        }
        Err(format!("message {id} was queued twice"))
    }

    /// A sender was told that the server has its message.
    pub(crate) fn sent(&mut self, id: &ClientMsgId, conversation: ConversationId, conv_seq: u64) -> Check {
        let message = self.find(id)?;
        if message.stored != Some(conv_seq) || message.conversation != conversation {
            return Err(format!(
                "message {id} was acknowledged at {conv_seq} but is {:?} on the disk",
                message.stored
            ));
        }
        match std::mem::replace(&mut message.told, Told::Sent) {
            Told::Nothing | Told::Queued => Ok(()),
            Told::Sent | Told::Failed => Err(format!("message {id} was settled twice")),
        }
    }

    /// A sender was told that the server will never have its message.
    pub(crate) fn failed(&mut self, id: &ClientMsgId) -> Check {
        let message = self.find(id)?;
        if let Some(at) = message.stored {
            return Err(format!("message {id} was called failed but is stored at {at}"));
        }
        match std::mem::replace(&mut message.told, Told::Failed) {
            Told::Nothing | Told::Queued => Ok(()),
            Told::Sent | Told::Failed => Err(format!("message {id} was settled twice")),
        }
    }

    /// A device's disk holds a transaction. What it settles there, the application may never be told
    /// when the device crashes now.
    pub(crate) fn device_disk(&mut self, txn: &ClientTxn) -> Check {
        let ClientTxn::Apply(apply) = txn else { return Ok(()) };
        for settled in &apply.settled {
            let stored = self.find(&settled.client_msg_id)?.stored;
            match &settled.outcome {
                SendOutcome::Stored { conv_seq, .. } if stored != Some(*conv_seq) => {
                    return Err(format!("{} leaves the outbox and is not stored", settled.client_msg_id));
                }
                SendOutcome::Failed(_) if stored.is_some() => {
                    return Err(format!(
                        "{} leaves the outbox as failed and is stored",
                        settled.client_msg_id
                    ));
                }
                SendOutcome::Failed(_) => self.find(&settled.client_msg_id)?.given_up = true,
                SendOutcome::Stored { .. } => {}
            }
        }
        Ok(())
    }

    /// A device of an account was shown a message. Returns its number.
    pub(crate) fn shown(&mut self, to: Uin, inbound: &Inbound) -> Check<usize> {
        let shown = &inbound.message;
        let place = shown.conv_seq.checked_sub(1).ok_or("conv_seq 0")? as usize;
        let index =
            *self.logs.get(&inbound.conversation).and_then(|log| log.get(place)).ok_or_else(|| {
                format!("{} of {} was shown but is not durable", shown.conv_seq, inbound.conversation)
            })?;
        let message = &self.messages[index];
        let sender = DeviceId::from_slice(&shown.sender_device).and_then(|id| self.devices.get(&id));
        if let Some(group) = inbound.conversation.group()
            && !self.truth.groups.was_member(group, to, shown.conv_seq)
        {
            return Err(format!(
                "{to} was shown {} of group {group}, and was no member then",
                shown.conv_seq
            ));
        }
        // What was on its way when it was taken back still has its body.
        let erased = shown.recalled_seq != 0 && shown.body.is_empty();
        let same = message.id.0[..] == shown.client_msg_id[..]
            && (erased || message.body == shown.body)
            && inbound.conversation.0[..] == shown.conversation[..]
            && sender == Some(&(message.device, Uin(shown.sender)));
        if same { Ok(index) } else { Err(format!("message {index} was shown as something else")) }
    }

    /// Messages the server acknowledged to their senders.
    pub(crate) fn acknowledged(&self) -> usize {
        self.messages.iter().filter(|m| m.told == Told::Sent).count()
    }

    /// Messages that are durable at the server.
    pub(crate) fn durable(&self) -> usize {
        self.messages.iter().filter(|m| m.stored.is_some()).count()
    }

    /// After the drain: every message that was queued was stored, or failed. `alive` says whether its
    /// sender still is.
    pub(crate) fn settled(&self, alive: impl Fn(usize) -> bool) -> Check {
        for (index, message) in self.messages.iter().enumerate() {
            let lost = message.stored.is_none()
                && !message.given_up
                && matches!(message.told, Told::Queued | Told::Sent);
            if lost && alive(message.device) {
                return Err(format!("message {index} was {:?} and is lost", message.told));
            }
        }
        Ok(())
    }
}
