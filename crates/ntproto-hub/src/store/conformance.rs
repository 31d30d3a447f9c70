//! The suite every [`Store`] must pass: what a transaction answers, what stays after opening again.
//!
//! ```no_run
//! # use ntproto_hub::store::conformance::{self, Disk};
//! # fn my_empty_disk() -> Box<dyn Disk> { unimplemented!() }
//! conformance::run(&mut || my_empty_disk());
//! ```
//!
//! It panics at the first thing that is not as promised; the message names the case.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;
use ntproto_core::ids::{ClientMsgId, ConversationId, DeviceId, Uin};
use ntproto_core::time::UnixMillis;
use ntproto_core::wire::event::EventType;
use ntproto_proto::v2;
use prost::Message;

use super::execute::{CLOCK_LEAD, FIRST_UIN, MAX_LIVE_DEVICES};
use super::txn::{Append, Boot, DeviceInfo, DeviceKey, EnrolVia, InboxPlace, NewDevice};
use super::{Outcome, Store, StoreError, Txn};

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
    ("boot keeps the epoch and moves the clock floor ahead", boot),
    ("the clock floor never goes back", clock_floor),
    ("invitations: uses, expiry, who may", invitations),
    ("enrolling again answers the same device", enrol_again),
    ("open registration numbers accounts one by one", open_registration),
    ("a link adds a device once", links),
    ("an account has so many devices", device_limit),
    ("devices are found by key and id", lookup),
    ("a revoked device stays revoked", revoke),
    ("sequence numbers and positions are dense and ordered", order),
    ("a retry gets the first answer", idempotency),
    ("a resolved key is never stored", resolve_only),
    ("appends that must be refused", append_refusals),
    ("pages of an inbox", pages),
    ("cursors that can't be served", too_long),
    ("delivered watermarks only rise, receipts are coalesced", receipts),
    ("a refusal leaves its batch standing and no trace", batch),
    ("a batch that only reads", read_batch),
    ("everything is there after opening again", reopen),
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
}

impl Bench {
    fn new(name: &'static str, mut disk: Box<dyn Disk>) -> Self {
        let store = Some(disk.open());
        let mut bench = Self { name, disk, store };
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

#[derive(Debug, PartialEq)]
enum Packet {
    Message(v2::StoredMessage),
    Receipt(v2::Receipt),
}

impl Packet {
    fn seq(&self) -> u64 {
        match self {
            Self::Message(message) => message.conv_seq,
            Self::Receipt(receipt) => receipt.delivered_seq,
        }
    }
}

fn packet(delta: v2::Delta) -> Packet {
    let packet = delta.packet.expect("a delta has a packet");
    match EventType::from_wire(packet.event_type) {
        Some(EventType::Message) => {
            Packet::Message(v2::StoredMessage::decode(packet.payload).expect("a message"))
        }
        Some(EventType::Receipt) => Packet::Receipt(v2::Receipt::decode(packet.payload).expect("a receipt")),
        other => panic!("unexpected event type {other:?}"),
    }
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
    Txn::CreateInvitation { by, code_hash: [n; 32], uses, expires, may_invite }
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
        sender: from.uin,
        device: from.id,
        conversation,
        client_msg_id: ClientMsgId([id; 16]),
        body_hash: [body.first().copied().unwrap_or(0); 32],
        body: Bytes::from_static(body),
        now: NOW,
        resolve_only: false,
    }
}

fn sync(uin: Uin, epoch: Option<[u8; 16]>, cursor: u64, limit: u32, max_bytes: u32) -> Txn {
    Txn::SyncPage { uin, epoch, cursor, limit, max_bytes }
}

fn place(uin: Uin, position: u64) -> InboxPlace {
    InboxPlace { uin, position, previous: position - 1 }
}

fn boot(bench: &mut Bench) {
    bench.reopen();
    let first_floor = NOW + CLOCK_LEAD;
    let again = Boot { epoch: EPOCH, clock: first_floor, floor: first_floor + CLOCK_LEAD };
    let set_back = Txn::Boot { wall: UnixMillis(5), epoch: [9; 16] };
    assert_eq!(bench.ok(set_back), Outcome::Booted(again));
    bench.reopen();
    let ahead = Boot { epoch: EPOCH, clock: LATER, floor: LATER + CLOCK_LEAD };
    assert_eq!(bench.ok(Txn::Boot { wall: LATER, epoch: [9; 16] }), Outcome::Booted(ahead));
}

fn clock_floor(bench: &mut Bench) {
    let at = |at| Txn::SetClockFloor { at };
    assert_eq!(bench.ok(at(LATER)), Outcome::ClockFloor { floor: LATER });
    assert_eq!(bench.ok(at(NOW)), Outcome::ClockFloor { floor: LATER });
    bench.reopen();
    assert_eq!(bench.ok(at(UnixMillis(0))), Outcome::ClockFloor { floor: LATER });
}

fn invitations(bench: &mut Bench) {
    bench.refused(enrol(invited(1), 1), StoreError::InvitationUnknown);
    bench.ok(invitation(None, 1, 2, LATER, true));
    bench.refused(invitation(None, 1, 2, LATER, true), StoreError::Conflict);
    let first = enrolled(bench.ok(enrol(invited(1), 1)));
    let second = enrolled(bench.ok(enrol(invited(1), 2)));
    assert!(first.may_invite && second.may_invite);
    assert_eq!((first.uin, second.uin), (FIRST_UIN, Uin(FIRST_UIN.0 + 1)));
    bench.refused(enrol(invited(1), 3), StoreError::InvitationUsedUp);

    bench.ok(invitation(Some(first.uin), 2, 1, NOW, false));
    bench.refused(enrol(invited(2), 3), StoreError::InvitationExpired);
    bench.ok(invitation(Some(first.uin), 3, 1, LATER, false));
    let third = enrolled(bench.ok(enrol(invited(3), 3)));
    assert!(!third.may_invite);
    bench.refused(invitation(Some(third.uin), 4, 1, LATER, false), StoreError::Forbidden);
    bench.refused(invitation(Some(Uin(1)), 4, 1, LATER, false), StoreError::Forbidden);
}

fn enrol_again(bench: &mut Bench) {
    bench.ok(invitation(None, 1, 1, LATER, false));
    let device = enrolled(bench.ok(enrol(invited(1), 1)));
    bench.reopen();
    // The answer was lost; the hub drew another id for what it took for a new device.
    let mut again = new_device(1);
    again.id = DeviceId([77; 16]);
    let retry = |device| Txn::Enrol { via: invited(1), device, now: LATER };
    assert_eq!(enrolled(bench.ok(retry(again))), device);
    let mut stolen = new_device(1);
    stolen.signing_key = [66; 32];
    bench.refused(retry(stolen), StoreError::KeysInUse);
    let mut half = new_device(1);
    half.static_key = [66; 32];
    half.id = DeviceId([66; 16]);
    bench.refused(Txn::Enrol { via: EnrolVia::Open, device: half, now: NOW }, StoreError::KeysInUse);
    let mut same_id = new_device(5);
    same_id.id = device.id;
    bench.refused(Txn::Enrol { via: EnrolVia::Open, device: same_id, now: NOW }, StoreError::KeysInUse);
}

fn open_registration(bench: &mut Bench) {
    for n in 0..5 {
        let device = bench.account(n + 1);
        assert_eq!(device.uin.0, FIRST_UIN.0 + u64::from(n));
        assert!(!device.may_invite);
    }
}

fn links(bench: &mut Bench) {
    let (a, b, _) = bench.two();
    let second = enrolled(bench.ok(enrol(link(&a, 1, LATER), 3)));
    assert_eq!(second.uin, a.uin);
    assert_eq!(enrolled(bench.ok(enrol(link(&a, 1, LATER), 3))), second);
    bench.refused(enrol(link(&a, 1, LATER), 4), StoreError::LinkUsed);
    bench.refused(enrol(link(&a, 2, NOW), 4), StoreError::LinkExpired);
    bench.refused(enrol(link(&b, 3, LATER), 3), StoreError::KeysInUse);
    let foreign = EnrolVia::Link { uin: a.uin, device_id: b.id, nonce: [4; 16], expires: LATER };
    bench.refused(enrol(foreign, 4), StoreError::Forbidden);
    bench.reopen();
    bench.refused(enrol(link(&a, 1, LATER), 4), StoreError::LinkUsed);
    bench.ok(Txn::RevokeDevice { uin: a.uin, device_id: a.id, now: NOW });
    bench.refused(enrol(link(&a, 5, LATER), 4), StoreError::Forbidden);
    // A link by another device of the account clears out the expired one; a new one works.
    let third = Txn::Enrol {
        via: link(&second, 6, UnixMillis(LATER.0 + 2)),
        device: new_device(6),
        now: UnixMillis(LATER.0 + 1),
    };
    bench.ok(third);
    bench.refused(
        Txn::Enrol { via: link(&second, 1, LATER), device: new_device(7), now: LATER },
        StoreError::LinkExpired,
    );
}

fn device_limit(bench: &mut Bench) {
    let first = bench.account(200);
    for n in 1..MAX_LIVE_DEVICES as u8 {
        bench.ok(enrol(link(&first, n, LATER), n));
    }
    bench.refused(enrol(link(&first, 99, LATER), 99), StoreError::TooManyDevices);
    bench.ok(Txn::RevokeDevice { uin: first.uin, device_id: DeviceId([1; 16]), now: NOW });
    bench.ok(enrol(link(&first, 99, LATER), 99));
    match bench.ok(Txn::Devices { uin: first.uin }) {
        Outcome::Devices(devices) => {
            assert_eq!(devices.len(), MAX_LIVE_DEVICES + 1);
            assert!(devices.is_sorted_by_key(|device| (device.created, device.id)));
        }
        other => panic!("no device list: {other:?}"),
    }
}

fn lookup(bench: &mut Bench) {
    let (a, _, _) = bench.two();
    let by = |key| Txn::LookupDevice { key };
    assert_eq!(a.generation, 0);
    assert_eq!(a.created, NOW);
    assert_eq!(bench.ok(by(DeviceKey::Static(a.static_key))), Outcome::Device(a.clone()));
    assert_eq!(bench.ok(by(DeviceKey::Id(a.id))), Outcome::Device(a));
    bench.refused(by(DeviceKey::Static([0; 32])), StoreError::NotFound);
    bench.refused(by(DeviceKey::Id(DeviceId([0; 16]))), StoreError::NotFound);
    assert_eq!(bench.ok(Txn::Devices { uin: Uin(1) }), Outcome::Devices(vec![]));
}

fn revoke(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    let revoke = |uin, now| Txn::RevokeDevice { uin, device_id: a.id, now };
    bench.refused(revoke(b.uin, NOW), StoreError::NotFound);
    assert_eq!(bench.ok(revoke(a.uin, NOW)), Outcome::Revoked { generation: 1 });
    assert_eq!(bench.ok(revoke(a.uin, LATER)), Outcome::Revoked { generation: 1 });
    bench.reopen();
    match bench.ok(Txn::LookupDevice { key: DeviceKey::Id(a.id) }) {
        Outcome::Device(device) => assert_eq!((device.revoked, device.generation), (Some(NOW), 1)),
        other => panic!("no device: {other:?}"),
    }
    bench.refused(enrol(EnrolVia::Open, 1), StoreError::Revoked);
    bench.refused(Txn::Append(message(&a, conversation, 1, b"x")), StoreError::Revoked);
}

fn order(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    let c = bench.account(3);
    let other = ConversationId::direct(c.uin, b.uin);
    for n in 1..=5_u64 {
        let appended = Outcome::Appended {
            conv_seq: n,
            stored: NOW,
            duplicate: false,
            entries: vec![place(a.uin, n), place(b.uin, 2 * n - 1)],
        };
        assert_eq!(bench.ok(Txn::Append(message(&a, conversation, n as u8, b"from a"))), appended);
        let appended = Outcome::Appended {
            conv_seq: n,
            stored: NOW,
            duplicate: false,
            entries: vec![place(c.uin, n), place(b.uin, 2 * n)],
        };
        assert_eq!(bench.ok(Txn::Append(message(&c, other, n as u8, b"from c"))), appended);
    }
    let inbox = bench.inbox(b.uin, 0);
    let seqs: Vec<(u64, u64)> = inbox.iter().map(|(position, packet)| (*position, packet.seq())).collect();
    let expected: Vec<(u64, u64)> = (1..=10_u64).map(|position| (position, position.div_ceil(2))).collect();
    assert_eq!(seqs, expected);
    let first = v2::StoredMessage {
        conversation: Bytes::copy_from_slice(&conversation.0),
        conv_seq: 1,
        sender: a.uin.0,
        sender_device: Bytes::copy_from_slice(&a.id.0),
        client_msg_id: Bytes::from_static(&[1; 16]),
        stored_ms: NOW.0,
        body: Bytes::from_static(b"from a"),
    };
    assert_eq!(inbox[0].1, Packet::Message(first));
}

fn idempotency(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    let second = enrolled(bench.ok(enrol(link(&a, 1, LATER), 3)));
    bench.ok(Txn::Append(message(&b, conversation, 9, b"before")));
    let send = message(&a, conversation, 1, b"hello");
    bench.ok(Txn::Append(send.clone()));
    bench.ok(Txn::Append(message(&a, conversation, 2, b"after")));
    bench.reopen();
    let again =
        Outcome::Appended { conv_seq: 2, stored: NOW, duplicate: true, entries: vec![place(a.uin, 2)] };
    assert_eq!(bench.ok(Txn::Append(Append { now: LATER, ..send.clone() })), again);
    let resolve = Append { resolve_only: true, body: Bytes::new(), body_hash: [0; 32], ..send.clone() };
    assert_eq!(bench.ok(Txn::Append(resolve)), again);
    bench.refused(Txn::Append(message(&a, conversation, 1, b"another")), StoreError::Conflict);
    let elsewhere = Append { conversation: ConversationId::direct(a.uin, Uin(99)), ..send };
    bench.refused(Txn::Append(elsewhere), StoreError::Conflict);
    match bench.ok(Txn::Append(message(&second, conversation, 1, b"another"))) {
        Outcome::Appended { conv_seq: 4, duplicate: false, .. } => {}
        other => panic!("another device's key is another message: {other:?}"),
    }
    assert_eq!(bench.inbox(b.uin, 0).len(), 4);
}

fn resolve_only(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    let send = message(&a, conversation, 1, b"late");
    let resolve = Append { resolve_only: true, ..send.clone() };
    assert_eq!(bench.ok(Txn::Append(resolve.clone())), Outcome::Cancelled);
    bench.reopen();
    assert_eq!(bench.ok(Txn::Append(resolve)), Outcome::Cancelled);
    bench.refused(Txn::Append(send), StoreError::Cancelled);
    assert_eq!(bench.inbox(b.uin, 0), vec![]);
}

fn append_refusals(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    let c = bench.account(3);
    bench.refused(Txn::Append(message(&c, conversation, 1, b"x")), StoreError::Forbidden);
    let nobody = ConversationId::direct(a.uin, Uin(99));
    bench.refused(Txn::Append(message(&a, nobody, 1, b"x")), StoreError::NotFound);
    let group = ConversationId([0; 16]);
    bench.refused(Txn::Append(message(&a, group, 1, b"x")), StoreError::NotFound);
    let forged = Append { sender: b.uin, ..message(&a, conversation, 1, b"x") };
    bench.refused(Txn::Append(forged), StoreError::Forbidden);
    let unknown = Append { device: DeviceId([0; 16]), ..message(&a, conversation, 1, b"x") };
    bench.refused(Txn::Append(unknown), StoreError::NotFound);
    match bench.ok(Txn::Append(message(&a, conversation, 1, b"x"))) {
        Outcome::Appended { conv_seq: 1, duplicate: false, .. } => {}
        other => panic!("the refusals left a trace: {other:?}"),
    }
}

fn pages(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    for id in 1..=7 {
        bench.ok(Txn::Append(message(&a, conversation, id, b"0123456789")));
    }
    let mut cursor = 0;
    for (count, more) in [(3, true), (3, true), (1, false), (0, false)] {
        let (deltas, next, has_more) = bench.page(b.uin, cursor, 3);
        assert_eq!((deltas.len(), has_more), (count, more));
        assert_eq!(next, cursor + count as u64);
        cursor = next;
    }
    // One delta at least, however small the room; zero deltas asked for is one.
    for (limit, max_bytes, expected) in [(7, 1, 1), (0, PLENTY, 1), (7, PLENTY, 7), (u32::MAX, 200, 2)] {
        match bench.ok(sync(b.uin, Some(EPOCH), 0, limit, max_bytes)) {
            Outcome::Page { deltas, has_more, next, .. } => {
                assert_eq!(deltas.len(), expected, "limit {limit}, {max_bytes} bytes");
                assert_eq!(has_more, expected < 7);
                assert_eq!(next, expected as u64);
            }
            other => panic!("no page: {other:?}"),
        }
    }
}

fn too_long(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    bench.ok(Txn::Append(message(&a, conversation, 1, b"x")));
    let first = Outcome::TooLong { epoch: EPOCH, next: 0 };
    assert_eq!(bench.ok(sync(b.uin, Some([1; 16]), 1, 10, PLENTY)), first);
    assert_eq!(bench.ok(sync(b.uin, Some(EPOCH), 2, 10, PLENTY)), first);
    assert_eq!(bench.ok(sync(b.uin, None, 1, 10, PLENTY)), first);
    assert!(matches!(bench.ok(sync(b.uin, None, 0, 10, PLENTY)), Outcome::Page { .. }));

    // However long a device was away, nothing is skipped.
    let batch: Vec<Txn> = (2..=10_002u64)
        .map(|n| {
            let mut append = message(&a, conversation, 0, b"x");
            append.client_msg_id.0[..8].copy_from_slice(&n.to_be_bytes());
            Txn::Append(append)
        })
        .collect();
    assert!(bench.batch(&batch).iter().all(Result::is_ok));
    assert_eq!(bench.page(b.uin, 0, 1).0.len(), 1);
}

fn receipts(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    let c = bench.account(3);
    for id in 1..=4 {
        bench.ok(Txn::Append(message(&a, conversation, id, b"x")));
    }
    let delivered = |uin, seq| Txn::Delivered { uin, watermarks: vec![(conversation, seq)] };
    let none = Outcome::Delivered { receipts: vec![] };
    let rose = |bench: &mut Bench, seq, at| match bench.ok(delivered(b.uin, seq)) {
        Outcome::Delivered { receipts } => {
            assert_eq!(receipts.len(), 1);
            assert_eq!(receipts[0].place, place(a.uin, at));
            assert_eq!(receipts[0].receipt.delivered_seq, seq.min(4));
            assert_eq!(receipts[0].receipt.member, b.uin.0);
        }
        other => panic!("no receipts: {other:?}"),
    };
    rose(bench, 2, 5);
    assert_eq!(bench.ok(delivered(b.uin, 2)), none);
    assert_eq!(bench.ok(delivered(b.uin, 1)), none);
    rose(bench, 3, 6);
    bench.reopen();
    bench.ok(Txn::Append(message(&b, conversation, 1, b"between")));
    bench.ok(Txn::Append(message(&b, conversation, 2, b"between")));
    rose(bench, 4, 9);
    bench.refused(delivered(c.uin, 1), StoreError::Forbidden);
    let half = vec![(conversation, 6), (ConversationId::direct(a.uin, c.uin), 1)];
    bench.refused(Txn::Delivered { uin: b.uin, watermarks: half }, StoreError::Forbidden);

    let inbox = bench.inbox(a.uin, 4);
    assert_eq!(inbox.iter().map(|(position, _)| *position).collect::<Vec<_>>(), [7, 8, 9]);
    assert_eq!(inbox[2].1.seq(), 4);
    // Beyond the head counts as the head, and named twice counts once.
    let twice = vec![(conversation, 5), (conversation, u64::MAX), (conversation, 3)];
    match bench.ok(Txn::Delivered { uin: b.uin, watermarks: twice }) {
        Outcome::Delivered { receipts } => {
            assert_eq!(receipts.len(), 1);
            assert_eq!(receipts[0].receipt.delivered_seq, 6);
        }
        other => panic!("no receipts: {other:?}"),
    }
    let empty = ConversationId::direct(b.uin, c.uin);
    assert_eq!(bench.ok(Txn::Delivered { uin: b.uin, watermarks: vec![(empty, 1)] }), none);
    assert_eq!(bench.inbox(a.uin, 9).len(), 1);
}

fn batch(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    let answers = bench.batch(&[
        Txn::Append(message(&a, conversation, 1, b"one")),
        Txn::Append(message(&a, conversation, 1, b"another")),
        Txn::Append(message(&a, conversation, 1, b"one")),
        enrol(invited(9), 9),
        sync(b.uin, Some(EPOCH), 0, 10, PLENTY),
        Txn::Append(message(&b, conversation, 1, b"two")),
    ]);
    let flags = |answer: &Result<Outcome, StoreError>| match answer {
        Ok(Outcome::Appended { conv_seq, duplicate, .. }) => (*conv_seq, *duplicate),
        other => panic!("not appended: {other:?}"),
    };
    assert_eq!(flags(&answers[0]), (1, false));
    assert_eq!(answers[1], Err(StoreError::Conflict));
    assert_eq!(flags(&answers[2]), (1, true));
    assert_eq!(answers[3], Err(StoreError::InvitationUnknown));
    assert!(matches!(&answers[4], Ok(Outcome::Page { deltas, .. }) if deltas.len() == 1));
    assert_eq!(flags(&answers[5]), (2, false));
    bench.reopen();
    assert_eq!(bench.inbox(b.uin, 0).len(), 2);
    assert_eq!(bench.account(9).uin.0, b.uin.0 + 1);
    assert_eq!(bench.batch(&[]), vec![]);
}

fn read_batch(bench: &mut Bench) {
    let (a, _, _) = bench.two();
    let answers = bench.batch(&[
        Txn::LookupDevice { key: DeviceKey::Id(a.id) },
        sync(a.uin, Some(EPOCH), 0, 10, PLENTY),
        Txn::Devices { uin: a.uin },
        Txn::LookupDevice { key: DeviceKey::Id(DeviceId([0; 16])) },
    ]);
    assert!(answers[..3].iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(answers[3], Err(StoreError::NotFound));
}

fn reopen(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    for id in 1..=20 {
        bench.ok(Txn::Append(message(&a, conversation, id, b"kept")));
        bench.reopen();
        assert_eq!(bench.inbox(b.uin, 0).len(), usize::from(id));
    }
    match bench.ok(Txn::Append(message(&b, conversation, 1, b"next"))) {
        Outcome::Appended { conv_seq: 21, .. } => {}
        other => panic!("numbers go on where they were: {other:?}"),
    }
    assert_eq!(bench.account(3).uin.0, b.uin.0 + 1);
}
