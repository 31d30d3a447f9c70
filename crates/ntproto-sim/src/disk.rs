//! A device's disk: what it holds survives a power cut, what was only written may not.

use std::collections::VecDeque;

use ntproto_core::client::{ClientTxn, OpId, Saved, StoreError};
use ntproto_core::ids::ConversationId;

use crate::view::View;

/// What became of operations, to be told to the client in order.
pub(crate) type Done = Vec<(OpId, Result<(), StoreError>)>;

/// The device's store. Transactions wait, are written together, and are durable after a sync.
#[derive(Default)]
pub(crate) struct ClientDisk {
    pub(crate) durable: Saved,
    /// What it knows of people, groups and messages.
    pub(crate) view: View,
    /// Written, in order, not synced.
    written: Vec<(OpId, ClientTxn)>,
    refused: Done,
    /// Written before a sync failed: a restart may find them.
    limbo: Vec<ClientTxn>,
    waiting: VecDeque<(OpId, ClientTxn)>,
    failed: bool,
    /// No room.
    pub(crate) full: bool,
    /// The next sync fails.
    pub(crate) fail_next_sync: bool,
    /// Planted: see [`Plant`](crate::plant::Plant).
    #[cfg(feature = "planted")]
    pub(crate) plant: Option<crate::plant::Plant>,
    #[cfg(feature = "planted")]
    pub(crate) late: Option<ClientTxn>,
}

impl ClientDisk {
    /// Takes a transaction. Returns whether the disk was idle: then a write must be scheduled.
    pub(crate) fn submit(&mut self, op: OpId, txn: ClientTxn) -> bool {
        let idle = self.waiting.is_empty() && !self.is_dirty();
        self.waiting.push_back((op, txn));
        idle
    }

    /// Whether something was written and not synced.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.written.is_empty() || !self.refused.is_empty()
    }

    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.is_dirty()
    }

    /// Transactions that wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.written.len()
    }

    /// Answers to what is only written: a planted bug.
    #[cfg(feature = "planted")]
    pub(crate) fn early_answers(&self) -> Done {
        match self.plant {
            Some(crate::plant::Plant::DeviceAcksEarly) => {
                self.written.iter().map(|(op, _)| (*op, Ok(()))).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Writes what waits. A sync must follow.
    pub(crate) fn write(&mut self) {
        // A store may refuse what it was given together as one, too.
        let all = self.full && self.waiting.front().is_some_and(|(op, _)| op.0.is_multiple_of(3));
        for (op, txn) in self.waiting.drain(..) {
            // What only shrinks the store may go through on a full disk, or need room of its own.
            let grows =
                matches!(txn, ClientTxn::Enqueue(_) | ClientTxn::Apply(_) | ClientTxn::SaveIdentity(..));
            if self.failed {
                self.refused.push((op, Err(StoreError::Failed)));
            } else if self.full && (all || grows || op.0.is_multiple_of(2)) {
                self.refused.push((op, Err(StoreError::Full)));
            } else {
                self.written.push((op, txn));
            }
        }
    }

    /// Makes what was written durable. The answers stand in the order of asking. After a failed sync
    /// nothing is taken any more. `told` hears of each transaction that is durable now.
    pub(crate) fn sync(&mut self, mut told: impl FnMut(&ClientTxn)) -> Done {
        let mut done = std::mem::take(&mut self.refused);
        self.failed |= std::mem::take(&mut self.fail_next_sync);
        for (op, txn) in std::mem::take(&mut self.written) {
            if self.failed {
                done.push((op, Err(StoreError::Failed)));
                self.limbo.push(txn);
            } else {
                self.keep(&txn);
                told(&txn);
                done.push((op, Ok(())));
            }
        }
        done.sort_by_key(|(op, _)| *op);
        done
    }

    /// Cuts the power and opens the store again: the first `kept` of what was written and not synced
    /// reached the disk, the rest is gone. `told` hears of each that did.
    pub(crate) fn crash(&mut self, kept: usize, mut told: impl FnMut(&ClientTxn)) {
        let mut written = std::mem::take(&mut self.limbo);
        written.extend(std::mem::take(&mut self.written).into_iter().map(|(_, txn)| txn));
        let lost = written.split_off(kept.min(written.len()));
        for txn in written {
            self.keep(&txn);
            told(&txn);
        }
        #[cfg(feature = "planted")]
        self.planted_crash(&lost);
        drop(lost);
        self.waiting.clear();
        self.refused.clear();
        self.failed = false;
        self.fail_next_sync = false;
    }

    /// How much was written and not synced.
    pub(crate) fn unsynced(&self) -> usize {
        self.limbo.len() + self.written.len()
    }

    /// What the disk holds.
    pub(crate) fn saved(&self) -> Saved {
        self.durable.clone()
    }

    /// The ticket it holds.
    pub(crate) fn ticket(&self) -> Option<&ntproto_proto::v2::Ticket> {
        self.durable.ticket.as_ref()
    }

    /// The highest message it holds of a conversation.
    pub(crate) fn head(&self, conversation: ConversationId) -> u64 {
        self.durable.heads.get(&conversation).copied().unwrap_or(0)
    }

    /// Whether receipts are owed.
    pub(crate) fn owes(&self) -> bool {
        !self.durable.owed.is_empty()
    }

    fn keep(&mut self, txn: &ClientTxn) {
        #[cfg(feature = "planted")]
        let txn = &self.planted_keep(txn);
        if let ClientTxn::Apply(change) = txn {
            let anew = change.epoch.is_some_and(|epoch| Some(epoch) != self.durable.epoch);
            self.view.apply(change, &self.durable.outbox, anew);
        }
        apply(&mut self.durable, txn);
    }
}

/// What a transaction means.
pub(crate) fn apply(saved: &mut Saved, txn: &ClientTxn) {
    match txn {
        ClientTxn::Enqueue(entry) => {
            saved.last_order = saved.last_order.max(entry.order);
            saved.outbox.push(entry.clone());
        }
        ClientTxn::Apply(apply) => {
            saved.epoch = apply.epoch.or(saved.epoch);
            saved.cursor = apply.cursor.unwrap_or(saved.cursor);
            saved.owes_snapshot = (saved.owes_snapshot || apply.skipped) && !apply.snapshot;
            let me = saved.identity.map(|(uin, _)| uin.0);
            for inbound in &apply.messages {
                let seq = inbound.message.conv_seq;
                let head = saved.heads.entry(inbound.conversation).or_default();
                *head = seq.max(*head);
                if Some(inbound.message.sender) != me {
                    let owed = saved.owed.entry(inbound.conversation).or_default();
                    owed.delivered = seq.max(owed.delivered);
                }
                saved.unconfirmed.push(inbound.clone());
            }
            saved.outbox.retain(|entry| !apply.settled.iter().any(|s| s.order == entry.order));
        }
        ClientTxn::Confirm(position) => saved.unconfirmed.retain(|i| i.position > *position),
        ClientTxn::ReceiptsSent(sent) => {
            for (conversation, sent) in sent {
                if let Some(owed) = saved.owed.get_mut(conversation) {
                    owed.settle(*sent);
                }
            }
            saved.owed.retain(|_, owed| !owed.is_nothing());
        }
        ClientTxn::Read(reads) => {
            for (conversation, seq) in reads {
                let owed = saved.owed.entry(*conversation).or_default();
                owed.read = owed.read.max(*seq);
            }
        }
        ClientTxn::SaveIdentity(uin, device) => saved.identity = Some((*uin, *device)),
        ClientTxn::SaveTicket(ticket) => saved.ticket.clone_from(ticket),
    }
}
