//! A server, its disk, and devices on links of their own, under a virtual clock.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use ntproto_core::binding::{Binding, TransportId};
use ntproto_core::client::{
    self, Client, ClientConfig, ClientEvent, Command, Inbound, OpId, Saved, SendAction,
};
use ntproto_core::crypto::identity::{DeviceKeys, ServerKey, ServerKeys};
use ntproto_core::ids::{ConversationId, DeviceId, GroupId, Uin};
use ntproto_core::rng::Rng;
use ntproto_core::session::ticket::{TicketKey, TicketSealer};
use ntproto_core::time::{Instant, Now, UnixMillis};
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::{Channel, ChannelSet};
use ntproto_hub::store::memory::MemoryStore;
use ntproto_hub::store::txn::{EnrolVia, NewDevice};
use ntproto_hub::store::{self, Act, Actor, Outcome, Store, Txn};
use ntproto_hub::{ConnId, Hub, HubConfig, HubKeys, Input, Output};
use ntproto_proto::v2;
use ntproto_sim::Stub;
use prost::Message as _;

static PROVIDER: Stub = Stub;
const WALL: u64 = 1_780_000_000_000;
/// Transactions of one commit.
pub(crate) const BATCH: usize = 64;
/// What a socket holds, in microseconds of its link.
const SOCKET: u64 = 5_000;

/// What a run is made of. Times are microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances {
    /// One way.
    pub(crate) delay: u64,
    /// Bytes a millisecond, each way of each device.
    pub(crate) bandwidth: u64,
    /// A write to a device's disk.
    pub(crate) device_disk: u64,
    /// A commit of the server's.
    pub(crate) commit: u64,
    /// Bytes of a noisy message.
    pub(crate) body: usize,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ev {
    ToServer(usize, usize, Vec<u8>),
    ToDevice(usize, usize, Vec<u8>),
    /// A link has room again, to the server or to the device.
    Room(usize, bool),
    DeviceDisk(usize, u64),
    Commit,
    DeviceTimer(usize),
    HubTimer,
    /// The application of a device says something.
    Say(usize, u64),
}

struct Device {
    client: Client,
    uin: Uin,
    /// When its link is free: to the server, to the device.
    free_at: [u64; 2],
    armed: Option<u64>,
    /// What the server does not read now.
    unread: VecDeque<(Channel, Vec<u8>)>,
}

/// Everything.
pub(crate) struct Desk {
    at: Circumstances,
    now: u64,
    number: u64,
    events: BinaryHeap<Reverse<(u64, u64, Ev)>>,
    hub: Hub,
    hub_armed: Option<u64>,
    store: MemoryStore,
    waiting: VecDeque<(store::OpId, Txn)>,
    committing: Vec<(store::OpId, Txn)>,
    devices: Vec<Device>,
    /// What is to be said.
    words: BTreeMap<u64, (ConversationId, Bytes)>,
    said: BTreeMap<Bytes, u64>,
    /// How long each word took until each device was told of it.
    pub(crate) heard: Vec<(usize, Bytes, u64)>,
    /// Messages that the server stored.
    pub(crate) stored: usize,
}

impl Desk {
    /// Accounts with so many devices each, all of them connected.
    pub(crate) fn new(at: Circumstances, config: HubConfig, accounts: &[usize]) -> Self {
        let mut rng = Rng::new([1; 32]);
        let mut store = MemoryStore::new();
        let now = moment(1);
        let mut run = |txn| store.commit(&[txn]).pop().unwrap().unwrap();
        let Outcome::Booted(boot) = run(Txn::Boot { wall: now.unix, epoch: [7; 16] }) else { panic!() };
        let mut enrolled = Vec::new();
        for devices in accounts {
            let mut first = None;
            for n in 0..*devices {
                let keys = DeviceKeys::generate(&mut rng, &PROVIDER);
                let via = match first {
                    None => EnrolVia::Open,
                    Some((uin, device_id)) => {
                        EnrolVia::Link { uin, device_id, nonce: rng.array(), expires: UnixMillis(u64::MAX) }
                    }
                };
                let device = NewDevice {
                    id: DeviceId(rng.array()),
                    signing_key: *keys.signing_public(),
                    static_key: *keys.static_public(),
                    name: format!("{n}"),
                };
                let Outcome::Enrolled(info) = run(Txn::Enrol { via, device, now: now.unix }) else {
                    panic!()
                };
                first.get_or_insert((info.uin, info.id));
                enrolled.push((keys, info.uin, info.id));
            }
        }
        let key = ServerKey::generate(&mut rng, &PROVIDER, 1);
        let server = *key.public();
        let keys = HubKeys {
            provider: &PROVIDER,
            server: Arc::new(ServerKeys::new(key, None)),
            tickets: TicketSealer::new(&PROVIDER, TicketKey::generate(&mut rng, 1, now.unix), None),
        };
        let mut desk = Self {
            at,
            now: 1,
            number: 0,
            events: BinaryHeap::new(),
            hub: Hub::new(config, &boot, keys, rng.array(), now),
            hub_armed: None,
            store,
            waiting: VecDeque::new(),
            committing: Vec::new(),
            devices: Vec::new(),
            words: BTreeMap::new(),
            said: BTreeMap::new(),
            heard: Vec::new(),
            stored: 0,
        };
        for (keys, uin, id) in enrolled {
            let saved = Saved { identity: Some((uin, id)), ..Saved::default() };
            let config = ClientConfig::new(&PROVIDER, server, keys);
            let client = Client::new(config, saved, rng.array(), now);
            let d = desk.devices.len();
            desk.devices.push(Device { client, uin, free_at: [0; 2], armed: None, unread: VecDeque::new() });
            desk.call(d, Command::Start);
            desk.drain(d);
        }
        desk
    }

    /// A group of the accounts of these devices.
    pub(crate) fn group(&mut self, devices: &[usize]) -> ConversationId {
        let uins: Vec<Uin> = devices.iter().map(|d| self.devices[*d].uin).collect();
        let (_, device) = self.devices[devices[0]].client.identity().unwrap();
        let by = Actor { uin: uins[0], device, now: moment(self.now).unix };
        let request = v2::GroupCreateRequest {
            name: "noise".into(),
            members: uins.iter().map(|uin| uin.0).collect(),
            request: Bytes::from_static(&[1; 16]),
            ..Default::default()
        };
        let act = Txn::Act { by, act: Act::GroupCreate(request) };
        let Outcome::Acted(made) = self.store.commit(&[act]).pop().unwrap().unwrap() else { panic!() };
        let made = v2::GroupResponse::decode(made.answer).unwrap();
        ConversationId::of_group(GroupId(made.state.unwrap().group.unwrap().group))
    }

    /// The account of a device.
    pub(crate) fn uin(&self, d: usize) -> Uin {
        self.devices[d].uin
    }

    /// A device is to say something at an instant.
    pub(crate) fn say(&mut self, at: u64, d: usize, to: ConversationId, body: Bytes) {
        let word = self.words.len() as u64;
        self.words.insert(word, (to, body));
        self.at(at, Ev::Say(d, word));
    }

    /// Lets time pass.
    pub(crate) fn run_until(&mut self, end: u64) {
        while let Some(Reverse((at, _, _))) = self.events.peek()
            && *at <= end
            && let Some(Reverse((at, _, event))) = self.events.pop()
        {
            self.now = at;
            self.happen(event);
        }
        self.now = end;
    }

    fn at(&mut self, at: u64, event: Ev) {
        self.number += 1;
        self.events.push(Reverse((at, self.number, event)));
    }

    fn happen(&mut self, event: Ev) {
        let now = moment(self.now);
        match event {
            Ev::ToServer(d, channel, data) => {
                self.devices[d].unread.push_back((Channel::STREAMS[channel], data));
                self.read(d);
                self.drain_hub();
            }
            Ev::ToDevice(d, channel, data) => {
                let channel = Channel::STREAMS[channel];
                self.devices[d].client.handle(now, client::Input::Bytes { channel, data: &data });
                self.drain(d);
            }
            Ev::Room(d, true) => self.drain(d),
            Ev::Room(d, false) => {
                let (conn, channels) = (ConnId(d as u64), ChannelSet::ALL);
                self.hub.handle(now, Input::Writable { conn, channels });
                self.drain_hub();
            }
            Ev::DeviceDisk(d, op) => {
                self.devices[d].client.handle(now, client::Input::StoreDone(OpId(op), Ok(())));
                self.drain(d);
            }
            Ev::Commit => self.commit(),
            Ev::DeviceTimer(d) => {
                if self.devices[d].armed == Some(self.now) {
                    self.devices[d].armed = None;
                    self.devices[d].client.handle(now, client::Input::Timeout);
                    self.drain(d);
                }
            }
            Ev::HubTimer => {
                if self.hub_armed == Some(self.now) {
                    self.hub_armed = None;
                    self.hub.handle(now, Input::Timeout);
                    self.drain_hub();
                }
            }
            Ev::Say(d, word) => {
                let (conversation, body) = self.words.remove(&word).unwrap();
                self.said.insert(body.clone(), self.now);
                let action = SendAction::Message;
                self.call(
                    d,
                    Command::Send {
                        trace: None,
                        conversation,
                        client_msg_id: None,
                        body,
                        deadline: None,
                        action,
                    },
                );
                self.drain(d);
            }
        }
    }

    fn call(&mut self, d: usize, command: Command) {
        let now = moment(self.now);
        self.devices[d].client.call(now, command).unwrap();
    }

    /// The server reads what it takes of a device.
    fn read(&mut self, d: usize) {
        let (now, conn) = (moment(self.now), ConnId(d as u64));
        let mut later = VecDeque::new();
        while let Some((channel, data)) = self.devices[d].unread.pop_front() {
            let behind = later.iter().any(|(other, _)| *other == channel);
            if !behind && self.hub.accepts(conn, channel) {
                self.hub.handle(now, Input::Bytes { conn, channel, data: &data });
            } else {
                later.push_back((channel, data));
            }
        }
        self.devices[d].unread = later;
    }

    /// Puts bytes on a link. Answers when they are there, and when the socket has room again if it is full.
    fn carry(&mut self, d: usize, way: usize, len: usize) -> (u64, Option<u64>) {
        let free_at = &mut self.devices[d].free_at[way];
        *free_at = self.now.max(*free_at) + (len as u64 * 1_000).div_ceil(self.at.bandwidth);
        let room = free_at.saturating_sub(SOCKET);
        (*free_at + self.at.delay, (room > self.now).then_some(room))
    }

    fn drain(&mut self, d: usize) {
        let now = moment(self.now);
        let mut tx = TxBuf::new(16 * 1_024);
        loop {
            tx.clear();
            let room = self.devices[d].free_at[0] <= self.now + SOCKET;
            match self.devices[d].client.poll_output(now, room.then_some(&mut tx)) {
                client::Output::Transmit { channel } => {
                    let (there, full) = self.carry(d, 0, tx.as_slice().len());
                    self.at(there, Ev::ToServer(d, channel.index(), tx.as_slice().to_vec()));
                    if let Some(room) = full {
                        self.at(room, Ev::Room(d, true));
                    }
                }
                client::Output::Connect { .. } => {
                    let exporter = [d as u8; 32];
                    let binding = Binding { transport: TransportId::Quic, exporter };
                    let remote = ([10, 0, 0, d as u8], 1).into();
                    self.hub.handle(now, Input::Opened { conn: ConnId(d as u64), binding, remote });
                    self.devices[d].client.handle(now, client::Input::Connected(binding));
                }
                client::Output::Store(op, _) => {
                    self.at(self.now + self.at.device_disk, Ev::DeviceDisk(d, op.0))
                }
                client::Output::Event(event) => self.told(d, event),
                client::Output::Disconnect(code) => panic!("device {d} lost its connection: {code}"),
                client::Output::Wait { at, .. } => {
                    let at = at.map(Instant::as_micros);
                    if let Some(at) = at.filter(|at| self.devices[d].armed != Some(*at)) {
                        self.at(at, Ev::DeviceTimer(d));
                    }
                    self.devices[d].armed = at;
                    return;
                }
            }
        }
    }

    fn told(&mut self, d: usize, event: ClientEvent) {
        match event {
            ClientEvent::Message(Inbound { message, position, .. }) => {
                if let Some(said) = self.said.get(&message.body) {
                    self.heard.push((d, message.body, self.now - said));
                }
                self.call(d, Command::Confirm(position));
            }
            ClientEvent::SendFailed { why, .. } => panic!("device {d}: {why}"),
            _ => {}
        }
    }

    fn drain_hub(&mut self) {
        let now = moment(self.now);
        let mut tx = TxBuf::new(16 * 1_024);
        loop {
            tx.clear();
            match self.hub.poll_output(now, Some(&mut tx)) {
                Output::Transmit { conn, channel } => {
                    let d = conn.0 as usize;
                    let (there, full) = self.carry(d, 1, tx.as_slice().len());
                    self.at(there, Ev::ToDevice(d, channel.index(), tx.as_slice().to_vec()));
                    if let Some(room) = full {
                        self.hub.handle(now, Input::Writable { conn, channels: ChannelSet::NONE });
                        self.at(room, Ev::Room(d, false));
                    }
                }
                Output::Store { op, txn, .. } => {
                    self.waiting.push_back((op, txn));
                    self.begin();
                }
                Output::Resume { conn } => self.read(conn.0 as usize),
                Output::Close { conn, code } => panic!("the server closed {conn:?}: {code}"),
                Output::Ask(_) | Output::Abandoned { .. } | Output::Host(_) | Output::Event(_) => {}
                Output::Wait { at, .. } => {
                    let at = at.map(Instant::as_micros);
                    if let Some(at) = at.filter(|at| self.hub_armed != Some(*at)) {
                        self.at(at, Ev::HubTimer);
                    }
                    self.hub_armed = at;
                    return;
                }
            }
        }
    }

    /// Begins a commit, if none runs and something waits.
    fn begin(&mut self) {
        if self.committing.is_empty() && !self.waiting.is_empty() {
            let batch = self.waiting.len().min(BATCH);
            self.committing = self.waiting.drain(..batch).collect();
            self.at(self.now + self.at.commit, Ev::Commit);
        }
    }

    fn commit(&mut self) {
        let batch = std::mem::take(&mut self.committing);
        let txns: Vec<Txn> = batch.iter().map(|(_, txn)| txn.clone()).collect();
        let results = self.store.commit(&txns);
        self.begin();
        for ((op, _), result) in batch.into_iter().zip(results) {
            self.stored += usize::from(matches!(result, Ok(Outcome::Appended { duplicate: false, .. })));
            self.hub.handle(moment(self.now), Input::StoreDone { op, result });
        }
        self.drain_hub();
    }
}

fn moment(us: u64) -> Now {
    Now { mono: Instant::from_micros(us), unix: UnixMillis(WALL + us / 1_000) }
}
