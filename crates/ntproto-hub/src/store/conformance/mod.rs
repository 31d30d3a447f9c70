//! The suite every [`Store`] must pass: what a transaction answers, what stays after opening again.
//!
//! ```
//! use std::sync::{Arc, Mutex};
//! use ntproto_hub::store::conformance::{self, Disk};
//! use ntproto_hub::store::memory::MemoryStore;
//! use ntproto_hub::store::{Outcome, Store, StoreError, Txn};
//!
//! /// A store that outlives its handles.
//! #[derive(Clone, Default)]
//! struct Shared(Arc<Mutex<MemoryStore>>);
//!
//! impl Store for Shared {
//!     fn commit(&mut self, batch: &[Txn]) -> Vec<Result<Outcome, StoreError>> {
//!         self.0.lock().unwrap().commit(batch)
//!     }
//! }
//!
//! impl Disk for Shared {
//!     fn open(&mut self) -> Box<dyn Store> {
//!         Box::new(self.clone())
//!     }
//! }
//!
//! conformance::run(&mut || Box::new(Shared::default()));
//! ```
//!
//! It panics at the first thing that is not as promised; the message names the case.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;
use ntproto_core::ids::{ClientMsgId, ConversationId, DeviceId, Uin};
use ntproto_core::time::UnixMillis;
use ntproto_core::wire::event::EventType;
use ntproto_proto::v2;
use prost::Message;

use super::txn::{Append, Change, DeviceInfo, EnrolVia, InboxPlace, NewDevice, Watermark};
use super::{Act, Acted, Actor, Outcome, Store, StoreError, Txn};

mod accounts;
mod admin;
mod changes;
mod files;
mod groups;
mod history;
mod large;
mod messages;
mod people;
mod presence;

/// Where a store lives: it outlives the stores opened on it.
pub trait Disk {
    /// Opens the store, for the first time or again. The one opened before has been dropped.
    fn open(&mut self) -> Box<dyn Store>;
}

/// Runs every case, each on a disk of its own.
pub fn run(empty_disk: &mut dyn FnMut() -> Box<dyn Disk>) {
    for (name, case) in CASES {
        let mut bench = Bench::new(name, empty_disk());
        case(&mut bench);
    }
}

type Case = fn(&mut Bench);

const CASES: &[(&str, Case)] = &[
    ("boot keeps the epoch and moves the clock floor ahead", accounts::boot),
    ("the clock floor never goes back", accounts::clock_floor),
    ("invitations: uses, expiry, who may", accounts::invitations),
    ("enrolling again answers the same device", accounts::enrol_again),
    ("open registration numbers accounts one by one", accounts::open_registration),
    ("a link adds a device once", accounts::links),
    ("an account has so many devices", accounts::device_limit),
    ("devices are found by key and id", accounts::lookup),
    ("a revoked device stays revoked", accounts::revoke),
    ("sequence numbers and positions are dense and ordered", messages::order),
    ("a retry gets the first answer", messages::idempotency),
    ("a message does not overtake the one before it", messages::overtaking),
    ("a resolved key is never stored", messages::resolve_only),
    ("appends that must be refused", messages::append_refusals),
    ("pages of an inbox", messages::pages),
    ("cursors that can't be served", messages::too_long),
    ("after a restore numbers go on above all that were given", messages::restored),
    ("delivered watermarks only rise, receipts are coalesced", messages::receipts),
    ("a refusal leaves its batch standing and no trace", messages::batch),
    ("a batch that only reads", messages::read_batch),
    ("everything is there after opening again", messages::reopen),
    ("a member reads, and its devices and the others hear of it", messages::read_marks),
    ("a cursor far behind starts anew at the end", messages::behind),
    ("edits: whose, how long, how many", changes::edits),
    ("a recall erases the message and its edits", changes::recalls),
    ("targets that are none", changes::targets),
    ("profiles and the texts in them", people::profiles),
    ("friends: asked, accepted, declined, deleted", people::friends),
    ("whoever is blocked is refused", people::blocks),
    ("an account has so many friends", people::limits),
    ("only friends write where the operator says so", people::friends_only),
    ("a group is made once", groups::create),
    ("who comes into a group", groups::coming),
    ("who goes out of a group", groups::going),
    ("ranks and roles", groups::roles),
    ("what a group's profile and policy say", groups::update),
    ("the muted do not send", groups::mute),
    ("messages of a group", groups::messages),
    ("a dissolved group is gone", groups::dissolve),
    ("members by pages, and every change after them", groups::pages),
    ("changes are kept for a time", groups::changes),
    ("a large group's members pull", large::pull),
    ("what is far back in a large group is a gap", large::gap),
    ("a large group changes and ends", large::changes),
    ("history backwards, by number and by time", history::history),
    ("a snapshot of conversations", history::snapshot),
    ("presence is compared and swapped", presence::swap),
    ("connections keep presence", presence::connections),
    ("presence is for friends", presence::subscribe),
    ("an upload is begun once, by a member", files::create),
    ("offsets rise, by the newest writer", files::progress),
    ("a file is its content, and content stands once", files::complete),
    ("what ends is swept", files::sweep),
    ("files fill a quota", files::quota),
    ("administrators, and what is written of them", admin::admin),
    ("invitations by administrators", admin::invitations),
];

const NOW: UnixMillis = UnixMillis(1_000_000);
const LATER: UnixMillis = UnixMillis(2_000_000);
const EPOCH: [u8; 16] = [0xe1; 16];
const PLENTY: u32 = 1 << 20;

/// An open store and shorthand for what the cases do with it.
struct Bench {
    name: &'static str,
    disk: Box<dyn Disk>,
    store: Option<Box<dyn Store>>,
    now: UnixMillis,
}

impl Bench {
    fn new(name: &'static str, mut disk: Box<dyn Disk>) -> Self {
        let store = Some(disk.open());
        let mut bench = Self { name, disk, store, now: NOW };
        bench.ok(Txn::Boot { wall: NOW, epoch: EPOCH });
        bench
    }

    fn reopen(&mut self) {
        self.store = None;
        self.store = Some(self.disk.open());
    }

    fn batch(&mut self, batch: &[Txn]) -> Vec<Result<Outcome, StoreError>> {
        let store = self.store.as_mut().expect("a store is open between reopenings");
        let answers = store.commit(batch);
        assert_eq!(answers.len(), batch.len(), "{}: one answer a transaction", self.name);
        answers
    }

    fn one(&mut self, txn: Txn) -> Result<Outcome, StoreError> {
        self.batch(&[txn]).pop().expect("one answer a transaction")
    }

    #[track_caller]
    fn ok(&mut self, txn: Txn) -> Outcome {
        match self.one(txn.clone()) {
            Ok(outcome) => outcome,
            Err(error) => panic!("{}: {txn:?} was refused: {error}", self.name),
        }
    }

    #[track_caller]
    fn refused(&mut self, txn: Txn, why: StoreError) {
        assert_eq!(self.one(txn.clone()), Err(why), "{}: {txn:?}", self.name);
    }

    #[track_caller]
    fn act(&mut self, by: &DeviceInfo, act: Act) -> Acted {
        match self.ok(acting(by, self.now, act)) {
            Outcome::Acted(acted) => acted,
            other => panic!("{}: not acted: {other:?}", self.name),
        }
    }

    /// The answer to a request, and what stands in inboxes by it.
    #[track_caller]
    fn ask<M: Message + Default>(&mut self, by: &DeviceInfo, act: Act) -> (M, Vec<(Uin, Packet)>) {
        let acted = self.act(by, act);
        let placed = |placed: super::Placed| {
            let delta = v2::Delta { position: placed.place.position, packet: Some(placed.packet) };
            (placed.place.uin, packet(delta))
        };
        let places = acted.places.into_iter().map(placed).collect();
        (M::decode(acted.answer).expect("an answer of its type"), places)
    }

    #[track_caller]
    fn no(&mut self, by: &DeviceInfo, act: Act, why: StoreError) {
        self.refused(acting(by, self.now, act), why);
    }

    /// So many accounts, each with one device.
    fn crowd(&mut self, count: u32) -> Vec<DeviceInfo> {
        let device = |n: u32| {
            let mut device = new_device(0xcc);
            device.id.0[..4].copy_from_slice(&n.to_be_bytes());
            device.signing_key[..4].copy_from_slice(&n.to_be_bytes());
            device.static_key[..4].copy_from_slice(&n.to_be_bytes());
            device
        };
        let batch: Vec<Txn> =
            (0..count).map(|n| Txn::Enrol { via: EnrolVia::Open, device: device(n), now: NOW }).collect();
        self.batch(&batch).into_iter().map(|answer| enrolled(answer.expect("there is room"))).collect()
    }

    /// A group of these, the first its owner.
    fn group(&mut self, members: &[&DeviceInfo]) -> u64 {
        let act = Act::GroupCreate(v2::GroupCreateRequest {
            name: "together".into(),
            members: members[1..].iter().map(|device| device.uin.0).collect(),
            request: Bytes::from_static(&[7; 16]),
            ..Default::default()
        });
        let (made, _) = self.ask::<v2::GroupResponse>(members[0], act);
        made.state.and_then(|state| state.group).expect("a group").group
    }

    #[track_caller]
    fn sends(&mut self, append: Append) -> (u64, Vec<InboxPlace>) {
        match self.ok(Txn::Append(append)) {
            Outcome::Appended { conv_seq, duplicate: false, entries, .. } => (conv_seq, entries),
            other => panic!("{}: not stored: {other:?}", self.name),
        }
    }

    /// An account with one device whose keys are made of `n`.
    fn account(&mut self, n: u8) -> DeviceInfo {
        enrolled(self.ok(enrol(EnrolVia::Open, n)))
    }

    fn two(&mut self) -> (DeviceInfo, DeviceInfo, ConversationId) {
        let (a, b) = (self.account(1), self.account(2));
        let conversation = ConversationId::direct(a.uin, b.uin);
        (a, b, conversation)
    }

    fn page(&mut self, uin: Uin, cursor: u64, limit: u32) -> (Vec<v2::Delta>, u64, bool) {
        match self.ok(sync(uin, Some(EPOCH), cursor, limit, PLENTY)) {
            Outcome::Page { epoch, deltas, next, has_more } => {
                assert_eq!(epoch, EPOCH, "{}", self.name);
                (deltas, next, has_more)
            }
            other => panic!("{}: no page: {other:?}", self.name),
        }
    }

    /// Everything in an inbox after `cursor`: position and packet.
    fn inbox(&mut self, uin: Uin, cursor: u64) -> Vec<(u64, Packet)> {
        let (deltas, _, has_more) = self.page(uin, cursor, 1_000);
        assert!(!has_more, "{}: the inboxes of this suite are short", self.name);
        deltas.into_iter().map(|delta| (delta.position, packet(delta))).collect()
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Packet {
    Message(v2::StoredMessage),
    Receipt(v2::Receipt),
    Friend(v2::Friend),
    Group(v2::GroupState),
    Gap(v2::Gap),
    Profile(v2::User),
}

impl Packet {
    fn seq(&self) -> u64 {
        match self {
            Self::Message(message) => message.conv_seq,
            Self::Receipt(receipt) => receipt.delivered_seq,
            other => panic!("it has no number: {other:?}"),
        }
    }
}

fn packet(delta: v2::Delta) -> Packet {
    let packet = delta.packet.expect("a delta has a packet");
    match EventType::from_wire(packet.event_type) {
        Some(event @ (EventType::Message | EventType::Edit | EventType::Recall)) => {
            let message = v2::StoredMessage::decode(packet.payload).expect("a message");
            let expected = match message.action() {
                v2::Action::Message => EventType::Message,
                v2::Action::Edit => EventType::Edit,
                v2::Action::Recall => EventType::Recall,
            };
            assert_eq!(event, expected);
            Packet::Message(message)
        }
        Some(EventType::Friend) => Packet::Friend(v2::Friend::decode(packet.payload).expect("a friend")),
        Some(EventType::Group) => Packet::Group(v2::GroupState::decode(packet.payload).expect("a group")),
        Some(EventType::Gap) => Packet::Gap(v2::Gap::decode(packet.payload).expect("a gap")),
        Some(EventType::Profile) => Packet::Profile(v2::User::decode(packet.payload).expect("a profile")),
        Some(EventType::Receipt) => Packet::Receipt(v2::Receipt::decode(packet.payload).expect("a receipt")),
        other => panic!("unexpected event type {other:?}"),
    }
}

fn acting(by: &DeviceInfo, now: UnixMillis, act: Act) -> Txn {
    Txn::Act { by: Actor { uin: by.uin, device: by.id, now }, act }
}

fn new_device(n: u8) -> NewDevice {
    NewDevice {
        id: DeviceId([n; 16]),
        signing_key: [n; 32],
        static_key: [n ^ 0xff; 32],
        name: "device".into(),
    }
}

fn enrol(via: EnrolVia, n: u8) -> Txn {
    Txn::Enrol { via, device: new_device(n), now: NOW }
}

fn invitation(by: Option<Uin>, n: u8, uses: u32, expires: UnixMillis, may_invite: bool) -> Txn {
    Txn::CreateInvitation {
        by,
        code_hash: [n; 32],
        uses,
        expires,
        may_invite,
        admin: false,
        account: None,
        audit: None,
    }
}

fn invited(n: u8) -> EnrolVia {
    EnrolVia::Invitation { code_hash: [n; 32] }
}

fn link(signer: &DeviceInfo, nonce: u8, expires: UnixMillis) -> EnrolVia {
    EnrolVia::Link { uin: signer.uin, device_id: signer.id, nonce: [nonce; 16], expires }
}

fn enrolled(outcome: Outcome) -> DeviceInfo {
    match outcome {
        Outcome::Enrolled(device) => device,
        other => panic!("not enrolled: {other:?}"),
    }
}

fn message(from: &DeviceInfo, conversation: ConversationId, id: u8, body: &'static [u8]) -> Append {
    Append {
        trace: None,
        sender: from.uin,
        device: from.id,
        conversation,
        client_msg_id: ClientMsgId([id; 16]),
        after: None,
        action: Change::Message,
        body_hash: [body.first().copied().unwrap_or(0); 32],
        body: Bytes::from_static(body),
        now: NOW,
        resolve_only: false,
    }
}

fn sync(uin: Uin, epoch: Option<[u8; 16]>, cursor: u64, limit: u32, max_bytes: u32) -> Txn {
    Txn::SyncPage { uin, epoch, cursor, limit, max_bytes, max_lag: u64::MAX, place: true }
}

fn mark(conversation: ConversationId, delivered: u64) -> Watermark {
    Watermark { conversation, delivered, read: 0 }
}

fn place(uin: Uin, position: u64) -> InboxPlace {
    InboxPlace { uin, position, previous: position - 1 }
}
