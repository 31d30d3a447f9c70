//! Random transactions on the memory store and on a naive model of what they mean: the answers agree,
//! across batches and power cuts.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ntproto_core::ids::{ClientMsgId, ConversationId, DeviceId, Uin};
use ntproto_core::time::UnixMillis;
use ntproto_core::wire::event::EventType;
use ntproto_hub::store::memory::MemoryStore;
use ntproto_hub::store::txn::{
    Append, Boot, Change, DeviceInfo, DeviceKey, EnrolVia, InboxPlace, NewDevice, ReceiptPlaced, Watermark,
};
use ntproto_hub::store::{Outcome, Store, StoreError, Txn};
use ntproto_proto::v2;
use ntproto_strategies::ids::{self, conversation, device_id, uin};
use proptest::prelude::*;
use prost::Message;

/// A line of an inbox, by what it shows.
#[derive(Clone)]
enum Line {
    Message(v2::StoredMessage),
    Receipt(ConversationId, Uin),
}

#[derive(Clone)]
enum Sent {
    Stored { hash: [u8; 32], conversation: ConversationId, seq: u64, at: UnixMillis, place: InboxPlace },
    Cancelled,
}

/// The whole meaning, with lists and loops.
#[derive(Clone, Default)]
struct Model {
    epoch: Option<[u8; 16]>,
    floor: u64,
    may_invite: Vec<bool>,
    devices: Vec<DeviceInfo>,
    invitations: BTreeMap<[u8; 32], (u32, u64, bool)>,
    used_links: BTreeSet<(Uin, [u8; 16], u64)>,
    heads: BTreeMap<ConversationId, u64>,
    sent: BTreeMap<(DeviceId, ClientMsgId), Sent>,
    inboxes: BTreeMap<Uin, (u64, Vec<(u64, Line)>)>,
    marks: BTreeMap<(ConversationId, Uin), (u64, u64)>,
}

const FIRST: u64 = 10_001;

impl Model {
    fn account(&self, uin: Uin) -> Option<bool> {
        let index = uin.0.checked_sub(FIRST)?;
        self.may_invite.get(index as usize).copied()
    }

    fn device(&self, id: DeviceId) -> Option<&DeviceInfo> {
        self.devices.iter().find(|device| device.id == id)
    }

    fn place(&mut self, uin: Uin, line: Line) -> InboxPlace {
        let (last, lines) = self.inboxes.entry(uin).or_default();
        *last += 1;
        lines.push((*last, line));
        InboxPlace { uin, position: *last, previous: *last - 1 }
    }

    fn apply(&mut self, txn: &Txn) -> Result<Outcome, StoreError> {
        match txn {
            Txn::Boot { wall, epoch } => {
                let epoch = *self.epoch.get_or_insert(*epoch);
                let clock = self.floor.max(wall.0);
                self.floor = clock + 100;
                Ok(Outcome::Booted(Boot { epoch, clock: UnixMillis(clock), floor: UnixMillis(self.floor) }))
            }
            Txn::SetClockFloor { at } => {
                self.floor = self.floor.max(at.0);
                Ok(Outcome::ClockFloor { floor: UnixMillis(self.floor) })
            }
            Txn::Rest { at } => {
                self.floor = self.floor.min(at.0);
                Ok(Outcome::ClockFloor { floor: UnixMillis(self.floor) })
            }
            Txn::CreateInvitation { by, code_hash, uses, expires, may_invite, .. } => {
                if by.is_some_and(|uin| self.account(uin) != Some(true)) {
                    return Err(StoreError::Forbidden);
                }
                if self.invitations.contains_key(code_hash) {
                    return Err(StoreError::Conflict);
                }
                self.invitations.insert(*code_hash, (*uses, expires.0, *may_invite));
                Ok(Outcome::Done)
            }
            Txn::Enrol { via, device, now } => self.enrol(via, device, *now),
            Txn::LookupDevice { key } => {
                let found = self.devices.iter().find(|device| match key {
                    DeviceKey::Id(id) => device.id == *id,
                    DeviceKey::Static(key) => device.static_key == *key,
                });
                found.cloned().map(Outcome::Device).ok_or(StoreError::NotFound)
            }
            Txn::Append(append) => self.append(append),
            Txn::SyncPage { uin, epoch, cursor, limit, max_bytes, .. } => {
                Ok(self.page(*uin, *epoch, *cursor, *limit, *max_bytes))
            }
            Txn::Delivered { uin, watermarks } => self.delivered(*uin, watermarks),
            Txn::Devices { uin } => {
                let mut devices: Vec<_> = self.devices.iter().filter(|d| d.uin == *uin).cloned().collect();
                devices.sort_by_key(|device| (device.created, device.id));
                Ok(Outcome::Devices(devices))
            }
            Txn::RevokeDevice { uin, device_id, now } => {
                let device = self.devices.iter_mut().find(|d| d.id == *device_id && d.uin == *uin);
                let device = device.ok_or(StoreError::NotFound)?;
                if device.revoked.is_none() {
                    device.revoked = Some(UnixMillis(now.0.max(1)));
                    device.generation += 1;
                }
                Ok(Outcome::Revoked { generation: device.generation })
            }
            Txn::Restored { .. }
            | Txn::SetRules(_)
            | Txn::Act { .. }
            | Txn::GroupsOf { .. }
            | Txn::File { .. }
            | Txn::FileWork(_)
            | Txn::Presence { .. } => {
                unreachable!("it is not drawn: the conformance suite has its case")
            }
        }
    }

    fn enrol(&mut self, via: &EnrolVia, new: &NewDevice, now: UnixMillis) -> Result<Outcome, StoreError> {
        if let Some(known) = self.devices.iter().find(|d| d.static_key == new.static_key) {
            if known.revoked.is_some() {
                return Err(StoreError::Revoked);
            }
            let other = matches!(via, EnrolVia::Link { uin, .. } if *uin != known.uin);
            let same = known.signing_key == new.signing_key && !other;
            return if same { Ok(Outcome::Enrolled(known.clone())) } else { Err(StoreError::KeysInUse) };
        }
        if self.devices.iter().any(|d| d.id == new.id || d.signing_key == new.signing_key) {
            return Err(StoreError::KeysInUse);
        }
        let next = Uin(FIRST + self.may_invite.len() as u64);
        let (uin, may_invite) = match via {
            EnrolVia::Open => (next, false),
            EnrolVia::Invitation { code_hash } => {
                let (uses, expires, may_invite) =
                    self.invitations.get_mut(code_hash).ok_or(StoreError::InvitationUnknown)?;
                if now.0 >= *expires {
                    return Err(StoreError::InvitationExpired);
                }
                *uses = uses.checked_sub(1).ok_or(StoreError::InvitationUsedUp)?;
                (next, *may_invite)
            }
            EnrolVia::Link { uin, device_id, nonce, expires } => {
                if now >= *expires {
                    return Err(StoreError::LinkExpired);
                }
                let signer = self.device(*device_id).ok_or(StoreError::Forbidden)?;
                if signer.uin != *uin || signer.revoked.is_some() {
                    return Err(StoreError::Forbidden);
                }
                if !self.used_links.insert((*uin, *nonce, expires.0)) {
                    return Err(StoreError::LinkUsed);
                }
                (*uin, self.account(*uin).unwrap())
            }
        };
        if uin == next {
            self.may_invite.push(may_invite);
        }
        let device = DeviceInfo {
            uin,
            id: new.id,
            signing_key: new.signing_key,
            static_key: new.static_key,
            name: new.name.clone(),
            created: now,
            revoked: None,
            generation: 0,
            may_invite,
            admin: false,
        };
        self.devices.push(device.clone());
        Ok(Outcome::Enrolled(device))
    }

    fn append(&mut self, append: &Append) -> Result<Outcome, StoreError> {
        let device = self.device(append.device).ok_or(StoreError::NotFound)?;
        if device.uin != append.sender {
            return Err(StoreError::Forbidden);
        }
        if device.revoked.is_some() {
            return Err(StoreError::Revoked);
        }
        let key = (append.device, append.client_msg_id);
        match (self.sent.get(&key), append.resolve_only) {
            (Some(Sent::Cancelled), true) => return Ok(Outcome::Cancelled),
            (Some(Sent::Cancelled), false) => return Err(StoreError::Cancelled),
            (Some(Sent::Stored { hash, conversation, seq, at, place }), resolve) => {
                let same = *hash == append.body_hash && *conversation == append.conversation;
                if !same && !resolve {
                    return Err(StoreError::Conflict);
                }
                let (conv_seq, stored) = (*seq, *at);
                return Ok(Outcome::Appended {
                    conv_seq,
                    stored,
                    duplicate: true,
                    entries: vec![*place],
                    target_seq: 0,
                    dirty: false,
                });
            }
            (None, true) => {
                self.sent.insert(key, Sent::Cancelled);
                return Ok(Outcome::Cancelled);
            }
            (None, false) => {}
        }
        if append.after.is_some_and(|before| !self.sent.contains_key(&(append.device, before))) {
            return Err(StoreError::OutOfOrder);
        }
        let (a, b) = append.conversation.members().ok_or(StoreError::NotFound)?;
        if append.sender != a && append.sender != b {
            return Err(StoreError::Forbidden);
        }
        if self.account(a).is_none() || self.account(b).is_none() {
            return Err(StoreError::NotFound);
        }
        let head = self.heads.entry(append.conversation).or_default();
        *head += 1;
        let conv_seq = *head;
        let line = Line::Message(v2::StoredMessage {
            conversation: Bytes::copy_from_slice(&append.conversation.0),
            conv_seq,
            sender: append.sender.0,
            sender_device: Bytes::copy_from_slice(&append.device.0),
            client_msg_id: Bytes::copy_from_slice(&append.client_msg_id.0),
            stored_ms: append.now.0,
            body: append.body.clone(),
            ..Default::default()
        });
        let other = if append.sender == a { b } else { a };
        let place = self.place(append.sender, line.clone());
        let entries = vec![place, self.place(other, line)];
        let (hash, conversation) = (append.body_hash, append.conversation);
        self.sent.insert(key, Sent::Stored { hash, conversation, seq: conv_seq, at: append.now, place });
        Ok(Outcome::Appended {
            conv_seq,
            stored: append.now,
            duplicate: false,
            entries,
            target_seq: 0,
            dirty: false,
        })
    }

    fn receipt(&self, conversation: ConversationId, member: Uin) -> v2::Receipt {
        let (delivered_seq, read_seq) = self.marks[&(conversation, member)];
        v2::Receipt {
            conversation: Bytes::copy_from_slice(&conversation.0),
            member: member.0,
            delivered_seq,
            read_seq,
        }
    }

    fn delivered(&mut self, uin: Uin, watermarks: &[Watermark]) -> Result<Outcome, StoreError> {
        let mut highest: BTreeMap<ConversationId, (u64, u64)> = BTreeMap::new();
        for mark in watermarks {
            let (delivered, read) = highest.entry(mark.conversation).or_default();
            *read = (*read).max(mark.read);
            *delivered = (*delivered).max(mark.delivered).max(*read);
        }
        for conversation in highest.keys() {
            let (a, b) = conversation.members().ok_or(StoreError::NotFound)?;
            if uin != a && uin != b {
                return Err(StoreError::Forbidden);
            }
        }
        let mut receipts = Vec::new();
        for (conversation, (delivered, read)) in highest {
            let head = self.heads.get(&conversation).copied().unwrap_or(0);
            let mark = self.marks.entry((conversation, uin)).or_default();
            let before = *mark;
            *mark = (mark.0.max(delivered.min(head)), mark.1.max(read.min(head)));
            let now = *mark;
            if now == before {
                continue;
            }
            let (a, b) = conversation.members().unwrap();
            let other = if uin == a { b } else { a };
            let own = (now.1 > before.1).then_some(uin);
            for owner in [other].into_iter().chain(own) {
                let (_, lines) = self.inboxes.entry(owner).or_default();
                lines.retain(
                    |(_, line)| !matches!(line, Line::Receipt(c, m) if *c == conversation && *m == uin),
                );
                let place = self.place(owner, Line::Receipt(conversation, uin));
                receipts.push(ReceiptPlaced { place, receipt: self.receipt(conversation, uin) });
            }
        }
        Ok(Outcome::Delivered { receipts })
    }

    fn page(&self, uin: Uin, asked: Option<[u8; 16]>, cursor: u64, limit: u32, max_bytes: u32) -> Outcome {
        let epoch = self.epoch.unwrap_or_default();
        let (last, lines) = self.inboxes.get(&uin).cloned().unwrap_or_default();
        let known = asked.map_or(cursor == 0, |asked| asked == epoch);
        if !known || cursor > last {
            return Outcome::TooLong { epoch, next: 0 };
        }
        let mut deltas = Vec::new();
        let mut bytes = 0;
        for (position, line) in lines.into_iter().filter(|(position, _)| *position > cursor) {
            let packet = match line {
                Line::Message(message) => packet(EventType::Message, &message),
                Line::Receipt(conversation, member) => {
                    packet(EventType::Receipt, &self.receipt(conversation, member))
                }
            };
            let delta = v2::Delta { position, packet: Some(packet) };
            bytes += delta.encoded_len() + 5;
            let full = deltas.len() >= limit.max(1) as usize || bytes > max_bytes as usize;
            if full && !deltas.is_empty() {
                break;
            }
            deltas.push(delta);
        }
        let next = deltas.last().map_or(cursor, |delta| delta.position);
        Outcome::Page { epoch, deltas, next, has_more: next < last }
    }
}

fn packet(event: EventType, body: &impl Message) -> v2::SyncPacket {
    v2::SyncPacket { event_type: event as u32, payload: body.encode_to_vec().into() }
}

fn time() -> impl Strategy<Value = UnixMillis> {
    ids::time(0..20_000)
}

fn via() -> impl Strategy<Value = EnrolVia> {
    prop_oneof![
        3 => Just(EnrolVia::Open),
        2 => (0..3_u8).prop_map(|n| EnrolVia::Invitation { code_hash: [n; 32] }),
        2 => (uin(), device_id(), 0..2_u8, time()).prop_map(|(uin, device_id, nonce, expires)| {
            EnrolVia::Link { uin, device_id, nonce: [nonce; 16], expires }
        }),
    ]
}

fn new_device() -> impl Strategy<Value = NewDevice> {
    // Mostly one number for all, so that retries happen; sometimes keys that do not belong together.
    (0..7_u8, 0..7_u8, 0..7_u8, prop::bool::weighted(0.85)).prop_map(|(a, b, c, one)| {
        let (b, c) = if one { (a, a) } else { (b, c) };
        NewDevice { id: DeviceId([a; 16]), signing_key: [b; 32], static_key: [c; 32], name: "d".into() }
    })
}

fn watermark() -> impl Strategy<Value = Watermark> {
    (conversation(), 0..8_u64, prop_oneof![Just(0), 0..8_u64])
        .prop_map(|(conversation, delivered, read)| Watermark { conversation, delivered, read })
}

fn txn() -> impl Strategy<Value = Txn> {
    prop_oneof![
        1 => (time(), any::<[u8; 16]>()).prop_map(|(wall, epoch)| Txn::Boot { wall, epoch }),
        1 => time().prop_map(|at| Txn::SetClockFloor { at }),
        1 => time().prop_map(|at| Txn::Rest { at }),
        1 => (prop::option::of(uin()), 0..3_u8, 0..3_u32, time(), any::<bool>()).prop_map(
            |(by, code, uses, expires, may_invite)| {
                Txn::CreateInvitation { by, code_hash: [code; 32], uses, expires, may_invite, admin: false, account: None, audit: None }
            }
        ),
        4 => (via(), new_device(), time()).prop_map(|(via, device, now)| Txn::Enrol { via, device, now }),
        1 => device_id().prop_map(|id| Txn::LookupDevice { key: DeviceKey::Id(id) }),
        1 => (0..7_u8).prop_map(|n| Txn::LookupDevice { key: DeviceKey::Static([n; 32]) }),
        16 => (
            uin(),
            device_id(),
            conversation(),
            (0..12_u8, prop::option::weighted(0.3, 0..12_u8)),
            0..2_u8,
            time(),
            prop::bool::weighted(0.1),
        )
            .prop_map(|(sender, device, conversation, (id, after), body, now, resolve_only)| {
                Txn::Append(Append { trace: None,
                    sender,
                    device,
                    conversation,
                    client_msg_id: ClientMsgId([id; 16]),
                    after: after.map(|n| ClientMsgId([n; 16])),
                    action: Change::Message,
                    body_hash: [body; 32],
                    body: Bytes::from(vec![body; 10]),
                    now,
                    resolve_only,
                })
            }),
        6 => (uin(), prop::option::weighted(0.9, Just(())), 0..12_u64, 0..6_u32, 0..600_u32).prop_map(
            |(uin, epoch, cursor, limit, max_bytes)| {
                // The epoch is filled in when it is known.
                Txn::SyncPage { uin, epoch: epoch.map(|()| [0; 16]), cursor, limit, max_bytes, max_lag: u64::MAX, place: true }
            }
        ),
        6 => (uin(), prop::collection::vec(watermark(), 0..4))
            .prop_map(|(uin, watermarks)| Txn::Delivered { uin, watermarks }),
        1 => uin().prop_map(|uin| Txn::Devices { uin }),
        1 => (uin(), device_id(), time())
            .prop_map(|(uin, device_id, now)| Txn::RevokeDevice { uin, device_id, now }),
    ]
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Committed,
    /// The power is cut before the sync, and nothing of the batch stays.
    Lost,
    /// The power is cut before the sync, and all of the batch stays.
    Kept,
    /// The disk is full.
    Full,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![7 => Just(Fate::Committed), 1 => Just(Fate::Lost), 1 => Just(Fate::Kept), 1 => Just(Fate::Full)]
}

/// Everybody's device and account, so that most transactions have something to work on.
fn people() -> Vec<Txn> {
    (0..4_u8)
        .map(|n| Txn::Enrol {
            via: EnrolVia::Open,
            device: NewDevice {
                id: DeviceId([n; 16]),
                signing_key: [n; 32],
                static_key: [n; 32],
                name: String::new(),
            },
            now: UnixMillis(1),
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn store_and_model_agree(
        batches in prop::collection::vec((prop::collection::vec(txn(), 0..12), fate()), 1..25),
        empty in prop::bool::weighted(0.2),
    ) {
        let mut store = MemoryStore::new();
        let mut model = Model::default();
        if !empty {
            for txn in people() {
                prop_assert_eq!(store.commit(std::slice::from_ref(&txn)), vec![model.apply(&txn)]);
            }
        }
        for (mut batch, fate) in batches {
            for txn in &mut batch {
                if let Txn::SyncPage { epoch: Some(epoch), .. } = txn {
                    *epoch = model.epoch.unwrap_or_default();
                }
                if let Txn::Append(append) = txn
                    && let Some(device) = model.device(append.device)
                    && append.body_hash[0] == 0
                {
                    // Half of the messages come from the account their device belongs to.
                    append.sender = device.uin;
                    if let Some((a, b)) = append.conversation.members() && a != append.sender && b != append.sender {
                        append.conversation = ConversationId::direct(append.sender, a);
                    }
                }
            }
            let mut after = model.clone();
            let expected: Vec<_> = batch.iter().map(|txn| after.apply(txn)).collect();
            match fate {
                Fate::Committed => {
                    prop_assert_eq!(store.commit(&batch), expected);
                    model = after;
                }
                Fate::Lost => {
                    prop_assert_eq!(store.write(&batch), expected);
                    store.crash(false);
                }
                Fate::Kept => {
                    prop_assert_eq!(store.write(&batch), expected);
                    store.crash(true);
                    model = after;
                }
                Fate::Full => {
                    store.set_capacity(store.used());
                    let answers = store.commit(&batch);
                    if answers.contains(&Err(StoreError::Full)) {
                        prop_assert!(answers.iter().all(|answer| *answer == Err(StoreError::Full)));
                    } else {
                        prop_assert_eq!(answers, expected);
                        model = after;
                    }
                    store.set_capacity(usize::MAX);
                }
            }
        }
    }
}
