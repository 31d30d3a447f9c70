//! What stands above a client: an application that keeps its last position together with what it did.

use std::collections::BTreeMap;

use ntproto_core::client::Inbound;
use ntproto_core::ids::ConversationId;

use crate::ledger::Check;

/// A message it has done something about.
#[derive(Clone, Copy)]
struct Effect {
    position: u64,
    conversation: ConversationId,
    seq: u64,
}

/// The application of a device.
#[derive(Default)]
pub(crate) struct App {
    /// On its own disk: what was shown, in order, per conversation.
    shown: BTreeMap<ConversationId, Vec<u64>>,
    committed: u64,
    /// Not yet on its disk.
    volatile: Vec<Effect>,
    /// The last position of this run of the process.
    last: u64,
}

impl App {
    /// A message event. Returns whether it is new to the application.
    pub(crate) fn message(&mut self, inbound: &Inbound) -> Check<bool> {
        let (position, seq) = (inbound.position, inbound.message.conv_seq);
        if position <= self.last {
            return Err(format!("position {position} was told after {}", self.last));
        }
        self.last = position;
        if position <= self.committed {
            return Ok(false);
        }
        let conversation = inbound.conversation;
        let known = self.shown.get(&conversation).and_then(|seqs| seqs.last()).copied();
        let volatile = self.volatile.iter().rev().find(|e| e.conversation == conversation).map(|e| e.seq);
        if let Some(before) = volatile.or(known)
            && seq <= before
        {
            return Err(format!("{seq} of {conversation} was shown after {before}"));
        }
        self.volatile.push(Effect { position, conversation, seq });
        Ok(true)
    }

    /// Puts what it did on its disk. Returns the position to confirm, if there is a new one.
    pub(crate) fn commit(&mut self) -> Option<u64> {
        let last = self.volatile.last()?.position;
        for effect in self.volatile.drain(..) {
            self.shown.entry(effect.conversation).or_default().push(effect.seq);
        }
        self.committed = last;
        Some(last)
    }

    /// The process died, or starts again.
    pub(crate) fn crash(&mut self) {
        self.volatile.clear();
        self.last = 0;
    }

    /// Whether everything it did is on its disk.
    pub(crate) fn is_idle(&self) -> bool {
        self.volatile.is_empty()
    }

    /// Conversations it has something of.
    pub(crate) fn conversations(&self) -> impl Iterator<Item = ConversationId> {
        self.shown.keys().copied()
    }

    /// What it has of a conversation.
    pub(crate) fn shown(&self, conversation: ConversationId) -> &[u64] {
        self.shown.get(&conversation).map_or(&[], Vec::as_slice)
    }
}
