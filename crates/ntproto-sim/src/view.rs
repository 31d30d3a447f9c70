//! What a device's disk knows of the world: what its user would see.

use std::collections::BTreeMap;

use bytes::Bytes;
use ntproto_core::client::{Apply, OutboxEntry, SendAction, SendOutcome, Target};
use ntproto_core::ids::{ClientMsgId, ConversationId, Uin};
use ntproto_proto::v2;

/// An entry of a conversation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) body: Bytes,
    /// The number of the message it is about, and whether it takes that back; `None` for a message.
    pub(crate) about: Option<(u64, bool)>,
}

/// What is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) entries: BTreeMap<ConversationId, BTreeMap<u64, Seen>>,
    pub(crate) marks: BTreeMap<(ConversationId, Uin), (u64, u64)>,
    pub(crate) friends: BTreeMap<Uin, v2::Friend>,
    pub(crate) groups: BTreeMap<u64, v2::GroupState>,
    pub(crate) profile: Option<v2::User>,
    /// Messages that are not in the inbox: conversation, first and last.
    pub(crate) gaps: Vec<(ConversationId, u64, u64)>,
    /// Part of the inbox was skipped: friends and groups must be listed.
    pub(crate) must_list: bool,
    /// It was so once: watermarks of others may have been in that part.
    pub(crate) skipped: bool,
    sent: BTreeMap<ClientMsgId, (ConversationId, u64)>,
    /// What could not be.
    pub(crate) wrong: Option<String>,
}

impl View {
    /// A transaction is durable. `outbox` is what waited before it.
    pub(crate) fn apply(&mut self, apply: &Apply, outbox: &[OutboxEntry], epoch_changed: bool) {
        if apply.skipped {
            (self.skipped, self.must_list) = (true, true);
        }
        for inbound in &apply.messages {
            let message = &inbound.message;
            let about = match message.action() {
                v2::Action::Message => None,
                v2::Action::Edit => Some((message.target_seq, false)),
                v2::Action::Recall => Some((message.target_seq, true)),
            };
            let body = if message.recalled_seq == 0 { message.body.clone() } else { Bytes::new() };
            self.entry(inbound.conversation, message.conv_seq, Seen { body, about });
        }
        for settled in &apply.settled {
            let SendOutcome::Stored { conversation, conv_seq, .. } = settled.outcome else { continue };
            self.sent.insert(settled.client_msg_id, (conversation, conv_seq));
            let Some(entry) = outbox.iter().find(|e| e.order == settled.order) else { continue };
            let about = match entry.action {
                SendAction::Message => None,
                SendAction::Edit(target) => self.number(target).map(|seq| (seq, false)),
                SendAction::Recall(target) => self.number(target).map(|seq| (seq, true)),
            };
            if about.is_some() || entry.action == SendAction::Message {
                self.entry(conversation, conv_seq, Seen { body: entry.body.clone(), about });
            }
        }
        for receipt in &apply.receipts {
            let Some(conversation) = ConversationId::from_slice(&receipt.conversation) else { continue };
            let mark = self.marks.entry((conversation, Uin(receipt.member))).or_default();
            let falls = receipt.delivered_seq < mark.0 || receipt.read_seq < mark.1;
            if falls && !epoch_changed {
                self.wrong =
                    Some(format!("a watermark of {} fell from {mark:?}: {receipt:?}", receipt.member));
            }
            *mark = (receipt.delivered_seq, receipt.read_seq);
        }
        for friend in &apply.friends {
            let version = self.friends.get(&Uin(friend.uin)).map_or(0, |f| f.version);
            // What a snapshot brought is newer than pushes that waited for it.
            if friend.version < version && self.skipped {
                continue;
            }
            if friend.version < version {
                self.wrong =
                    Some(format!("a friend's record went from version {version} to {}", friend.version));
            }
            self.friends.insert(Uin(friend.uin), friend.clone());
        }
        for state in &apply.groups {
            let Some(group) = &state.group else {
                self.wrong = Some("a group that is none".into());
                continue;
            };
            let before =
                self.groups.get(&group.group).and_then(|s| s.group.as_ref()).map_or(0, |g| g.version);
            if group.version < before && self.skipped {
                continue;
            }
            if group.version < before {
                self.wrong =
                    Some(format!("group {} went from version {before} to {}", group.group, group.version));
            }
            self.groups.insert(group.group, state.clone());
        }
        if let Some(profile) = &apply.profile {
            self.profile = Some((**profile).clone());
        }
        for gap in &apply.gaps {
            if let Some(conversation) = ConversationId::from_slice(&gap.conversation) {
                self.gaps.push((conversation, gap.from_seq, gap.to_seq));
            }
        }
    }

    /// All friends, as they are.
    pub(crate) fn listed_friends(&mut self, friends: Vec<v2::Friend>) {
        for friend in friends {
            let known = self.friends.entry(Uin(friend.uin)).or_default();
            if friend.version >= known.version {
                *known = friend;
            }
        }
    }

    /// All groups, as they are: the end of the list.
    pub(crate) fn listed_groups(&mut self, groups: Vec<v2::GroupState>) {
        self.must_list = false;
        let version = |state: &v2::GroupState| state.group.as_ref().map_or(0, |g| g.version);
        for state in groups {
            let id = state.group.as_ref().map_or(0, |g| g.group);
            let known = self.groups.entry(id).or_default();
            if version(&state) >= version(known) {
                *known = state;
            }
        }
    }

    /// The number of what this device sent or knows.
    fn number(&self, target: Target) -> Option<u64> {
        match target {
            Target::Number(seq) => Some(seq),
            Target::Id(id) => self.sent.get(&id).map(|(_, seq)| *seq),
        }
    }

    /// Takes an entry in, and what is known to be taken back out.
    fn entry(&mut self, conversation: ConversationId, seq: u64, seen: Seen) {
        let entries = self.entries.entry(conversation).or_default();
        entries.entry(seq).or_insert(seen);
        let gone: Vec<u64> = entries.values().filter_map(|e| e.about).filter(|a| a.1).map(|a| a.0).collect();
        for (seq, entry) in entries.iter_mut() {
            let is = entry.about.map_or(*seq, |(target, _)| target);
            if gone.contains(&is) {
                entry.body = Bytes::new();
            }
        }
    }

    /// The body that a message has for its reader now; empty when it was taken back.
    pub(crate) fn body(&self, conversation: ConversationId, seq: u64) -> Option<&Bytes> {
        let entries = self.entries.get(&conversation)?;
        let last = entries.values().rfind(|e| e.about == Some((seq, false)));
        Some(&last.or_else(|| entries.get(&seq))?.body)
    }

    /// Whether a recorded gap covers it.
    pub(crate) fn is_gap(&self, conversation: ConversationId, seq: u64) -> bool {
        self.gaps.iter().any(|(id, from, to)| *id == conversation && (*from..=*to).contains(&seq))
    }
}
