//! What comes in: pages of the inbox, pushes, the cursor (specification, "Sync").
//!
//! `tail` is how far this client has taken changes over, `cursor` how far they are on the local
//! disk. Changes are taken over without a gap: a push that does not follow `tail` starts a sync, and
//! pushes that come before a sync has caught up are held and move nothing.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use bytes::Bytes;
use ntproto_proto::v2;

use super::snapshot::Snapshot;
use super::{Apply, Inbound, Owed, Saved, Settled};
use crate::ids::{ConversationId, DeviceId, Uin};
use crate::wire::event::EventType;
use crate::wire::packet::PacketId;

/// Changes asked for in one page.
const PAGE: u32 = 256;
/// Pushes held while a sync is under way; beyond it they are dropped and asked for again.
const MAX_HELD: usize = 1024;
/// Changes that may wait for the local disk; beyond it no page is asked for and pushes are dropped
/// and asked for again.
const MAX_STAGED: usize = 1024;
/// Watermarks in one DELIVERED.
const MAX_WATERMARKS: usize = 64;

/// A push that waits for a sync to catch up. Without a packet it is the place of a message of this
/// very device, which was not pushed.
struct Held {
    position: u64,
    previous: u64,
    packet: Option<v2::SyncPacket>,
}

/// The inbox of this device.
pub(super) struct Inbox {
    identity: Option<(Uin, DeviceId)>,
    epoch: Option<[u8; 16]>,
    tail: u64,
    heads: BTreeMap<ConversationId, u64>,
    caught_up: bool,
    syncing: bool,
    held: Vec<Held>,
    /// Pushes were dropped since the sync began: one more is needed after it.
    dropped: bool,
    staged: Apply,
    /// What was staged before the epoch changed: it is written by itself, under the epoch it belongs to.
    before: Option<Apply>,
    /// The highest position on the disk, of the epoch that the disk knows or is being told of: only up to here
    /// can the application confirm.
    told: u64,
    /// Messages of this device met on the way, to settle the outbox with.
    own: VecDeque<v2::StoredMessage>,
    owed: BTreeMap<ConversationId, Owed>,
    telling: bool,
    /// So many of the owed ones are told one by one: together with others they were refused.
    alone: usize,
    /// How far the user has read, as far as it is known here.
    read: BTreeMap<ConversationId, u64>,
    /// Of these, what is not on the disk yet.
    reading: BTreeMap<ConversationId, u64>,
    /// Changes were skipped: no page is asked for before the snapshot that makes up for them.
    snapshot: Snapshot,
}

impl Inbox {
    /// What the disk held.
    pub(super) fn restore(saved: &mut Saved) -> Self {
        Self {
            identity: saved.identity,
            epoch: saved.epoch,
            tail: saved.cursor,
            heads: core::mem::take(&mut saved.heads),
            caught_up: false,
            syncing: false,
            held: Vec::new(),
            dropped: false,
            staged: Apply::default(),
            before: None,
            told: saved.cursor,
            own: VecDeque::new(),
            owed: core::mem::take(&mut saved.owed),
            telling: false,
            alone: 0,
            read: BTreeMap::new(),
            reading: BTreeMap::new(),
            snapshot: Snapshot::new(saved.owes_snapshot),
        }
    }

    pub(super) const fn set_identity(&mut self, uin: Uin, device: DeviceId) {
        self.identity = Some((uin, device));
    }

    pub(super) const fn identity(&self) -> Option<(Uin, DeviceId)> {
        self.identity
    }

    /// The connection is gone.
    //= spec: messages-14
    pub(super) fn disconnected(&mut self) {
        self.caught_up = false;
        self.syncing = false;
        self.telling = false;
        self.snapshot.failed();
        self.held.clear();
        self.dropped = false;
    }

    /// The next page to ask for, if one is needed and there is room for it.
    pub(super) fn next_sync(&mut self) -> Option<v2::SyncRequest> {
        if self.caught_up || self.syncing || self.snapshot.is_owed() || !self.has_room() {
            return None;
        }
        self.syncing = true;
        let epoch = self.epoch.map_or(Bytes::new(), |e| Bytes::copy_from_slice(&e));
        Some(v2::SyncRequest { epoch, cursor: self.tail, limit: PAGE })
    }

    fn has_room(&self) -> bool {
        self.before.is_none() && self.staged.len() < MAX_STAGED
    }

    /// The page could not be had; it is asked for again.
    pub(super) const fn sync_failed(&mut self) {
        self.syncing = false;
    }

    /// A page. Returns whether the inbox has caught up, or `None` when the page makes no sense. After the `first`
    /// one, asked for in early data, it never has: the server pushes to this session only when it has heard of it.
    pub(super) fn page(&mut self, page: v2::SyncResponse, first: bool) -> Option<bool> {
        self.syncing = false;
        let epoch: [u8; 16] = page.epoch[..].try_into().ok()?;
        let skips = page.too_long && page.next != 0;
        if self.epoch == Some(epoch) {
            if skips && page.next <= self.tail {
                return None;
            }
        } else {
            // Another inbox than the one the cursor belongs to: read it from its start. What was
            // known before is recognised by its place in its conversation.
            if self.epoch.is_some() && !page.too_long {
                return None;
            }
            if !self.staged.is_empty() {
                self.before = Some(core::mem::take(&mut self.staged));
            }
            self.epoch = Some(epoch);
            self.staged.epoch = Some(epoch);
        }
        if page.too_long {
            self.move_tail(page.next);
            if skips {
                //= spec: messages-22
                self.staged.skipped = true;
                // One that just ended is not the one that is owed now.
                self.staged.snapshot = false;
                self.snapshot = Snapshot::new(true);
            }
            return Some(false);
        }
        for delta in page.deltas {
            if delta.position <= self.tail {
                return None;
            }
            self.take(delta.position, delta.packet?);
        }
        if page.next < self.tail || (page.has_more && page.next == 0) {
            return None;
        }
        self.move_tail(page.next);
        //= spec: handshake-19
        if page.has_more || first {
            return Some(false);
        }
        self.caught_up = !core::mem::take(&mut self.dropped);
        for held in core::mem::take(&mut self.held) {
            self.push(held.position, held.previous, held.packet);
        }
        Some(self.caught_up)
    }

    /// The next page of the snapshot, if one is owed and there is room for it.
    pub(super) fn next_snapshot(&mut self) -> Option<(PacketId, Bytes)> {
        if self.has_room() { self.snapshot.next() } else { None }
    }

    /// The snapshot's page could not be had; it is asked for again.
    pub(super) const fn snapshot_failed(&mut self) {
        self.snapshot.failed();
    }

    /// The server will never answer it. A client that waited for it would hear nothing any more.
    pub(super) fn snapshot_refused(&mut self) {
        self.staged.snapshot |= self.snapshot.refused();
    }

    /// A page of the snapshot: what a conversation has above what is known here is a gap. `None` when the page makes
    /// no sense.
    pub(super) fn snapshot_page(&mut self, body: Bytes) -> Option<()> {
        let page = self.snapshot.page(body)?;
        for (conversation, state) in page.conversations {
            let head = self.heads.get(&conversation).copied().unwrap_or(0);
            if state.head_seq > head {
                let (from_seq, to_seq) = (head + 1, state.head_seq);
                self.staged.gaps.push(v2::Gap { conversation: state.conversation.clone(), from_seq, to_seq });
            }
            if let Some((me, _)) = self.identity
                && state.delivered_seq.max(state.read_seq) > 0
            {
                let v2::ConversationState { conversation, delivered_seq, read_seq, .. } = state;
                self.receipt(v2::Receipt { conversation, member: me.0, delivered_seq, read_seq });
            }
        }
        self.staged.friends.extend(page.friends);
        self.staged.groups.extend(page.groups);
        self.staged.snapshot |= page.last;
        Some(())
    }

    /// There is something at the server that is not in this inbox yet: read on.
    pub(super) const fn dirty(&mut self) {
        if self.caught_up {
            self.caught_up = false;
        } else {
            self.dropped = true;
        }
    }

    /// A push, or the place of a message of this device.
    pub(super) fn push(&mut self, position: u64, previous: u64, packet: Option<v2::SyncPacket>) {
        //= spec: messages-10
        if !self.caught_up {
            if self.held.len() < MAX_HELD {
                self.held.push(Held { position, previous, packet });
            } else {
                self.dropped = true;
            }
        } else if position > self.tail {
            //= spec: messages-9
            if previous != self.tail || self.staged.len() >= MAX_STAGED {
                // A gap, or no room: read the inbox from where it is known.
                self.caught_up = false;
                return;
            }
            match packet {
                Some(packet) => self.take(position, packet),
                None => self.move_tail(position),
            }
        }
    }

    fn move_tail(&mut self, position: u64) {
        if position != self.tail || self.staged.epoch.is_some() {
            self.tail = position;
            self.staged.cursor = Some(position);
        }
    }

    /// Takes one change over.
    fn take(&mut self, position: u64, packet: v2::SyncPacket) {
        //= spec: messages-8
        self.move_tail(position);
        if self.decoded(position, &packet).is_none() {
            //= spec: messages-7
            self.staged.others.push((position, packet));
        }
    }

    /// `None` for a type this version does not know, and for a payload that is not of its type.
    fn decoded(&mut self, position: u64, packet: &v2::SyncPacket) -> Option<()> {
        fn read<M: prost::Message + Default>(packet: &v2::SyncPacket) -> Option<M> {
            M::decode(packet.payload.clone()).ok()
        }
        let kind = EventType::from_wire(packet.event_type)?;
        match kind {
            EventType::Message | EventType::Edit | EventType::Recall => {
                let mut message: v2::StoredMessage = read(packet)?;
                let action = match kind {
                    EventType::Edit => v2::Action::Edit,
                    EventType::Recall => v2::Action::Recall,
                    _ => v2::Action::Message,
                };
                message.set_action(action);
                self.message(position, message);
            }
            EventType::Receipt => self.receipt(read(packet)?),
            EventType::Friend => self.staged.friends.push(read(packet)?),
            EventType::Group => self.staged.groups.push(read(packet)?),
            EventType::Gap => self.staged.gaps.push(read(packet)?),
            EventType::Profile => self.staged.profile = Some(Box::new(read(packet)?)),
        }
        Some(())
    }

    fn receipt(&mut self, receipt: v2::Receipt) {
        if let Some(conversation) = ConversationId::from_slice(&receipt.conversation)
            && self.identity.is_some_and(|(me, _)| me.0 == receipt.member)
        {
            self.know_read(conversation, receipt.read_seq);
        }
        self.staged.receipts.push(receipt);
    }

    fn know_read(&mut self, conversation: ConversationId, seq: u64) {
        let read = self.read.entry(conversation).or_default();
        *read = seq.max(*read);
    }

    /// The user has read up to here. What is known already is not written again.
    pub(super) fn reads(&mut self, conversation: ConversationId, seq: u64) {
        if self.read.get(&conversation).copied().unwrap_or(0) < seq {
            self.know_read(conversation, seq);
            self.reading.insert(conversation, seq);
        }
    }

    /// Read marks to be written.
    pub(super) fn next_reads(&mut self) -> Option<Vec<(ConversationId, u64)>> {
        let reads = core::mem::take(&mut self.reading);
        (!reads.is_empty()).then(|| reads.into_iter().collect())
    }

    /// They are durable: the server is owed them.
    pub(super) fn reads_stored(&mut self, reads: &[(ConversationId, u64)]) {
        for (conversation, seq) in reads {
            let owed = self.owed.entry(*conversation).or_default();
            owed.read = owed.read.max(*seq);
        }
    }

    fn message(&mut self, position: u64, message: v2::StoredMessage) {
        let Some(conversation) = ConversationId::from_slice(&message.conversation) else { return };
        let head = self.heads.entry(conversation).or_default();
        //= spec: messages-15
        if message.conv_seq <= *head {
            return;
        }
        *head = message.conv_seq;
        let own = self.identity.is_some_and(|(_, device)| device.0[..] == message.sender_device[..]);
        if own {
            self.own.push_back(message);
        } else {
            self.staged.messages.push(Inbound { position, conversation, message });
        }
    }

    /// A message of this device met in the inbox.
    pub(super) fn next_own(&mut self) -> Option<v2::StoredMessage> {
        self.own.pop_front()
    }

    /// Adds a settled message to the next transaction.
    pub(super) fn settle(&mut self, settled: Settled) {
        self.staged.settled.push(settled);
    }

    /// What is to be written next.
    pub(super) fn next_apply(&mut self) -> Option<Apply> {
        if self.before.is_some() {
            return self.before.take();
        }
        if self.staged.epoch.is_some() {
            // A confirmation that follows it would be one of the new epoch.
            self.told = 0;
        }
        (!self.staged.is_empty()).then(|| core::mem::take(&mut self.staged))
    }

    /// Whether the application can mean it: nothing was told it above [`told`](Self::told) in this epoch.
    pub(super) const fn is_told(&self, position: u64) -> bool {
        position <= self.told
    }

    /// The transaction is durable: receipts are owed for its messages.
    pub(super) fn applied(&mut self, apply: &Apply) {
        self.told = apply.cursor.unwrap_or(self.told);
        let me = self.identity.map(|(uin, _)| uin.0);
        for inbound in apply.messages.iter().filter(|m| Some(m.message.sender) != me) {
            let owed = self.owed.entry(inbound.conversation).or_default();
            owed.delivered = owed.delivered.max(inbound.message.conv_seq);
        }
    }

    /// Receipts to send, if none are on their way.
    pub(super) fn next_receipts(&mut self) -> Option<Vec<(ConversationId, Owed)>> {
        if self.telling || self.owed.is_empty() {
            return None;
        }
        self.telling = true;
        let limit = if self.alone > 0 { 1 } else { MAX_WATERMARKS };
        self.alone = self.alone.saturating_sub(1);
        Some(self.owed.iter().take(limit).map(|(conversation, owed)| (*conversation, *owed)).collect())
    }

    /// The server has them.
    pub(super) fn receipts_sent(&mut self, sent: &[(ConversationId, Owed)]) {
        self.telling = false;
        for (conversation, sent) in sent {
            if let Some(owed) = self.owed.get_mut(conversation) {
                owed.settle(*sent);
                if owed.is_nothing() {
                    self.owed.remove(conversation);
                }
            }
        }
    }

    /// The server will never take them. Whether that goes for all of them shows when each is told alone. Returns
    /// whether they are owed no more.
    pub(super) fn receipts_refused(&mut self, sent: &[(ConversationId, Owed)]) -> bool {
        if sent.len() > 1 {
            self.telling = false;
            self.alone = sent.len();
            return false;
        }
        self.receipts_sent(sent);
        true
    }

    /// They could not be told; they are owed still.
    pub(super) const fn receipts_failed(&mut self) {
        self.telling = false;
    }

    /// Whether the inbox has been read to its end.
    pub(super) const fn is_caught_up(&self) -> bool {
        self.caught_up
    }
}
