//! Conversations: what was sent, edited, taken back and read.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ntproto_core::ids::{ClientMsgId, ConversationId, DeviceId, Uin};
use ntproto_hub::store::txn::{Append, Change, Target, Watermark};
use ntproto_hub::store::{Outcome, StoreError};

use super::groups::Groups;
use super::people::People;
use super::{Against, Answer, Inboxes, same};
use crate::ledger::Check;

/// The time in which a message may be edited.
const EDIT_MS: u64 = 48 * 3_600_000;
/// The time in which a message may be taken back.
const RECALL_MS: u64 = 24 * 3_600_000;
/// Members of a group that hear how far each other is.
const RECEIPT_FANOUT: usize = 32;

/// An entry of a log.
pub(crate) struct Entry {
    pub(crate) sender: Uin,
    pub(crate) device: DeviceId,
    pub(crate) id: ClientMsgId,
    pub(crate) body: Bytes,
    pub(crate) stored_ms: u64,
    /// The number of the message it is about, and whether it takes that back.
    pub(crate) about: Option<(u64, bool)>,
    /// The last edit of a message.
    pub(crate) edited: u64,
    /// The recall of a message, or of the message that an edit was of.
    pub(crate) recalled: u64,
    edits: u32,
}

impl Entry {
    pub(crate) const fn is_message(&self) -> bool {
        self.about.is_none()
    }
}

/// What became of an id.
enum Sent {
    Stored { conversation: ConversationId, seq: u64, action: Change },
    Cancelled,
}

/// Every conversation.
#[derive(Default)]
pub(crate) struct Logs {
    all: BTreeMap<ConversationId, Vec<Entry>>,
    sent: BTreeMap<(DeviceId, ClientMsgId), Sent>,
    /// What is delivered, and what is read.
    marks: BTreeMap<(ConversationId, Uin), (u64, u64)>,
    /// Edits and recalls that were stored.
    pub(crate) edits: u64,
    pub(crate) recalls: u64,
}

impl Logs {
    pub(crate) fn head(&self, conversation: ConversationId) -> u64 {
        self.all.get(&conversation).map_or(0, |log| log.len() as u64)
    }

    pub(crate) fn entry(&self, conversation: ConversationId, seq: u64) -> Option<&Entry> {
        self.all.get(&conversation)?.get(seq.checked_sub(1)? as usize)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (ConversationId, &[Entry])> {
        self.all.iter().map(|(id, log)| (*id, log.as_slice()))
    }

    pub(crate) fn of(&self, conversation: ConversationId) -> &[Entry] {
        self.all.get(&conversation).map_or(&[], Vec::as_slice)
    }

    /// How far a member has a conversation, and how far it was read.
    pub(crate) fn marks(&self, conversation: ConversationId, uin: Uin) -> (u64, u64) {
        self.marks.get(&(conversation, uin)).copied().unwrap_or_default()
    }

    /// Those who hear of what happens in a conversation.
    pub(crate) fn members(groups: &Groups, conversation: ConversationId) -> BTreeSet<Uin> {
        match conversation.members() {
            Some((a, b)) => BTreeSet::from([a, b]),
            None => groups.of(conversation).map(|g| g.members.keys().copied().collect()).unwrap_or_default(),
        }
    }

    fn target(&self, append: &Append) -> Option<u64> {
        let (Change::Edit(target) | Change::Recall(target)) = append.action else { return None };
        match target {
            Target::Seq(seq) => Some(seq),
            Target::Sent(id) => match self.sent.get(&(append.device, id)) {
                Some(Sent::Stored { conversation, seq, .. }) if *conversation == append.conversation => {
                    Some(*seq)
                }
                _ => None,
            },
        }
    }

    /// What speaks against an edit or a recall.
    fn against_change(&self, groups: &Groups, append: &Append, against: &mut Against) {
        let recall = match append.action {
            Change::Message => return,
            Change::Edit(_) => false,
            Change::Recall(_) => true,
        };
        let target = self.target(append).and_then(|seq| self.entry(append.conversation, seq));
        let Some(target) = target.filter(|entry| entry.is_message()) else {
            against.when(true, StoreError::NotFound);
            return;
        };
        let others = recall && groups.may_recall(append.conversation, append.sender);
        let rank = |uin| groups.rank_in(append.conversation, uin);
        against.when(target.sender != append.sender && !others, StoreError::Forbidden);
        against.perhaps(
            target.sender != append.sender && rank(target.sender) >= rank(append.sender),
            StoreError::Forbidden,
        );
        against.when(target.recalled != 0, StoreError::Gone);
        let window = if recall { RECALL_MS } else { EDIT_MS };
        against.when(append.now.0.saturating_sub(target.stored_ms) > window, StoreError::TooLate);
        against.perhaps(append.now.0.saturating_sub(target.stored_ms) == window, StoreError::TooLate);
        against.when(!recall && target.edits >= 64, StoreError::TooMany);
        against.when(recall && !append.body.is_empty(), StoreError::BadRequest);
        if let Some(group) = groups.of(append.conversation) {
            let from = group.members.get(&append.sender).map_or(0, |m| m.joined_seq);
            let seq = self.target(append).unwrap_or(0);
            against.perhaps(seq < from, StoreError::NotFound).perhaps(seq < from, StoreError::Forbidden);
        }
    }

    pub(super) fn append(
        &mut self,
        people: &People,
        groups: &mut Groups,
        inboxes: &mut Inboxes,
        append: &Append,
        answer: &Answer,
    ) -> Check {
        let key = (append.device, append.client_msg_id);
        let what = format!("message {} to {}", append.client_msg_id, append.conversation);
        let mut against = Against::default();
        match self.sent.get(&key) {
            Some(Sent::Cancelled) if append.resolve_only => {
                return match answer {
                    Ok(Outcome::Cancelled) | Err(StoreError::Cancelled) => Ok(()),
                    other => against.judge(&what, other).map(|_| ()),
                };
            }
            Some(Sent::Cancelled) => {
                against.when(true, StoreError::Cancelled);
                return against.judge(&what, answer).map(|_| ());
            }
            Some(Sent::Stored { conversation, seq, action }) => {
                let body = &self.all[conversation][*seq as usize - 1].body;
                let again = append.resolve_only
                    || (*conversation == append.conversation
                        && *action == append.action
                        && *body == append.body);
                against.when(!again, StoreError::Conflict);
                return match against.judge(&what, answer)? {
                    Some(Outcome::Appended { conv_seq, duplicate: true, .. }) if conv_seq == seq => Ok(()),
                    Some(other) => Err(format!("{what} came again and was answered {other:?}")),
                    None => Ok(()),
                };
            }
            None => {}
        }
        // One that was given up is no reason to wait.
        let early = append.after.is_some_and(|id| !self.sent.contains_key(&(append.device, id)));
        if append.resolve_only {
            against.perhaps(early, StoreError::OutOfOrder);
            return match against.judge(&what, answer)? {
                Some(Outcome::Cancelled) => {
                    self.sent.insert(key, Sent::Cancelled);
                    Ok(())
                }
                Some(other) => Err(format!("{what} was given up and answered {other:?}")),
                None => Ok(()),
            };
        }
        if let Some((a, b)) = append.conversation.members() {
            let other = if a == append.sender { b } else { a };
            against.when(a != append.sender && b != append.sender, StoreError::Forbidden);
            against.when(!people.exists(other), StoreError::NotFound);
            against.when(people.blocks(other, append.sender), StoreError::Forbidden);
        } else {
            against = groups.against_send(
                append.conversation,
                append.sender,
                append.now.0,
                append.action == Change::Message,
            );
        }
        against.when(early, StoreError::OutOfOrder);
        self.against_change(groups, append, &mut against);
        match against.judge(&what, answer)? {
            Some(Outcome::Appended { conv_seq, duplicate: false, entries, target_seq, dirty, .. }) => {
                let log = self.head(append.conversation);
                same("its number", conv_seq, &(log + 1))?;
                same("what it is about", target_seq, &self.target(append).unwrap_or(0))?;
                Self::placed(groups, append, entries, *dirty)?;
                if *dirty {
                    inboxes.open(append.sender);
                }
                entries.iter().try_for_each(|place| inboxes.place(place))?;
                self.store(append, *conv_seq);
                Ok(())
            }
            Some(other) => Err(format!("{what} was answered {other:?}")),
            None => Ok(()),
        }
    }

    /// Every member has it in its inbox, unless the group is large: then only its sender does.
    fn placed(
        groups: &Groups,
        append: &Append,
        entries: &[ntproto_hub::store::txn::InboxPlace],
        dirty: bool,
    ) -> Check {
        let told: BTreeSet<Uin> = entries.iter().map(|place| place.uin).collect();
        let members = Self::members(groups, append.conversation);
        same("whether they must pull", &dirty, &groups.of(append.conversation).is_some_and(|g| g.was_large))?;
        let due = if dirty { BTreeSet::from([append.sender]) } else { members };
        same("who has it in the inbox", &told, &due)?;
        same("how many places it has", &entries.len(), &due.len())
    }

    fn store(&mut self, append: &Append, seq: u64) {
        let about = self.target(append).map(|target| (target, matches!(append.action, Change::Recall(_))));
        let log = self.all.entry(append.conversation).or_default();
        match about {
            Some((target, false)) => {
                self.edits += 1;
                let target = &mut log[target as usize - 1];
                target.edited = seq;
                target.edits += 1;
            }
            Some((target, true)) => {
                self.recalls += 1;
                log[target as usize - 1].recalled = seq;
                for edit in log.iter_mut().filter(|e| e.about == Some((target, false))) {
                    edit.recalled = seq;
                }
            }
            None => {}
        }
        log.push(Entry {
            sender: append.sender,
            device: append.device,
            id: append.client_msg_id,
            body: append.body.clone(),
            stored_ms: append.now.0,
            about,
            edited: 0,
            recalled: 0,
            edits: 0,
        });
        let (conversation, action) = (append.conversation, append.action);
        self.sent.insert((append.device, append.client_msg_id), Sent::Stored { conversation, seq, action });
    }

    pub(super) fn delivered(
        &mut self,
        groups: &Groups,
        inboxes: &mut Inboxes,
        uin: Uin,
        watermarks: &[Watermark],
        answer: &Answer,
    ) -> Check {
        let Some(outcome) = Against::default().judge("a watermark", answer)? else { return Ok(()) };
        let Outcome::Delivered { receipts } = outcome else {
            return Err(format!("a watermark was answered {outcome:?}"));
        };
        let mut rose: BTreeMap<ConversationId, bool> = BTreeMap::new();
        for Watermark { conversation, delivered, read } in watermarks {
            if !Self::members(groups, *conversation).contains(&uin) {
                continue;
            }
            let head = self.head(*conversation);
            let before = self.marks(*conversation, uin);
            let read = before.1.max((*read).min(head));
            let delivered = before.0.max((*delivered).min(head)).max(read);
            if (delivered, read) != before {
                *rose.entry(*conversation).or_default() |= read > before.1;
                self.marks.insert((*conversation, uin), (delivered, read));
            }
        }
        let mut due = BTreeSet::new();
        for (conversation, was_read) in rose {
            let members = Self::members(groups, conversation);
            let few = members.len() <= RECEIPT_FANOUT;
            due.extend(
                members
                    .into_iter()
                    .filter(|m| if *m == uin { was_read } else { few })
                    .map(|m| (conversation, m)),
            );
        }
        let mut told = BTreeSet::new();
        for placed in receipts {
            let receipt = &placed.receipt;
            let conversation =
                ConversationId::from_slice(&receipt.conversation).ok_or("a receipt for nothing")?;
            same("whose receipt it is", &receipt.member, &uin.0)?;
            let marks = (receipt.delivered_seq, receipt.read_seq);
            same("a watermark", &marks, &self.marks(conversation, uin))?;
            told.insert((conversation, placed.place.uin));
            inboxes.place(&placed.place)?;
        }
        same("who hears of watermarks", &told, &due)
    }
}
