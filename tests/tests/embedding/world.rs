//! Two [`Machine`]s, a real hub between them, and everything that can go wrong on the way: the worked example of
//! `docs/property-testing.md` and `docs/fuzzing.md`.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ntproto_core::binding::{Binding, TransportId};
use ntproto_core::client::{ClientConfig, ClientTxn, Credential, Input, OpId};
use ntproto_core::crypto::CryptoProvider;
use ntproto_core::crypto::identity::{DeviceKeys, ServerKey, ServerKeys};
use ntproto_core::ids::{ConversationId, Uin};
use ntproto_core::rng::Rng;
use ntproto_core::session::ticket::{TicketKey, TicketSealer};
use ntproto_core::time::{Instant, Now, UnixMillis};
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::{Channel, ChannelSet};
use ntproto_hub::store::memory::MemoryStore as ServerStore;
use ntproto_hub::store::{Outcome, Store as _, Txn};
use ntproto_hub::{ConnId, Hub, HubConfig, HubKeys, Output as HubOutput};
use ntproto_sdk::store::{ClientStore as _, MemoryStore};

use super::tally::{Machine, Output, Tally};

/// 2026-06-01.
const WALL: u64 = 1_780_272_000_000;
/// The buffer for one transmit.
const TX: usize = 64 * 1024;
/// Milliseconds of a round in which a healed world comes to rest.
const ROUND_MS: u64 = 500;
/// Rounds it may take: the longest backoff, and what was under way before.
const ROUNDS: usize = 400;
/// Outputs one call may set off.
const OUTPUTS: usize = 10_000;

// ANCHOR: ops
/// What may happen. `who` is a machine, taken modulo two.
#[derive(Clone, Debug)]
pub enum Op {
    /// It sends the other one a message of so many bytes.
    Send { who: u8, len: u16 },
    /// So many pieces of at most so many bytes reach it, and the hub from it.
    Deliver { who: u8, pieces: u8, size: u16 },
    /// A byte on its way changes.
    Garble { who: u8, up: bool, at: u16, by: u8 },
    /// Its connection breaks.
    Cut { who: u8 },
    /// Its disk does the next few things it was asked for.
    Disk { who: u8, jobs: u8 },
    /// Its process dies, with what the disk had not done, and starts again.
    Crash { who: u8 },
    /// So many milliseconds pass.
    Later { ms: u16 },
}
// ANCHOR_END: ops

/// Something for a disk.
enum Job {
    Txn(OpId, ClientTxn),
    Save(Tally),
}

/// A process and its disk.
struct Device {
    machine: Machine,
    keys: DeviceKeys,
    seed: u8,
    store: MemoryStore,
    tally: Tally,
    jobs: VecDeque<Job>,
    conn: Option<ConnId>,
    /// What is on its way to it, and to the hub.
    down: VecDeque<(Channel, Vec<u8>)>,
    up: VecDeque<(Channel, Vec<u8>)>,
}

impl Device {
    /// Whether something waits for its disk or is on its way.
    fn is_busy(&self) -> bool {
        !(self.jobs.is_empty() && self.up.is_empty() && self.down.is_empty())
    }

    /// Whether it is there and has nothing left to send.
    fn is_done(&self) -> bool {
        let saved = self.store.clone().load_all().expect("memory does not fail");
        self.machine.is_online() && saved.outbox.is_empty()
    }
}

/// The world.
pub struct World {
    provider: &'static dyn CryptoProvider,
    server_static: [u8; 32],
    hub: Hub,
    store: ServerStore,
    /// What the server stored, by sender and conversation.
    stored: BTreeMap<Uin, BTreeMap<ConversationId, u64>>,
    devices: Vec<Device>,
    micros: u64,
    last_conn: u64,
}

impl World {
    /// Two devices that are enrolled, and a server.
    pub fn new(provider: &'static dyn CryptoProvider) -> Self {
        let now = at(1_000_000);
        let mut store = ServerStore::new();
        let boot = Txn::Boot { wall: now.unix, epoch: [0xe1; 16] };
        let Some(Ok(Outcome::Booted(boot))) = store.commit(&[boot]).pop() else { panic!("no boot") };
        let mut rng = Rng::new([1; 32]);
        let key = ServerKey::generate(&mut rng, provider, 1);
        let server_static = *key.public();
        let keys = HubKeys {
            provider,
            server: Arc::new(ServerKeys::new(key, None)),
            tickets: TicketSealer::new(provider, TicketKey::generate(&mut rng, 1, now.unix), None),
        };
        let config = HubConfig { open_registration: true, ..HubConfig::default() };
        let hub = Hub::new(config, &boot, keys, [2; 32], now);
        let mut world = Self {
            provider,
            server_static,
            hub,
            store,
            stored: BTreeMap::new(),
            devices: Vec::new(),
            micros: 1_000_000,
            last_conn: 0,
        };
        for seed in 0..2 {
            let keys = DeviceKeys::generate(&mut rng, provider);
            let store = MemoryStore::new();
            let machine = world.machine(&keys, &store, Tally::default(), seed);
            let (down, up) = (VecDeque::new(), VecDeque::new());
            let (tally, jobs) = (Tally::default(), VecDeque::new());
            world.devices.push(Device { machine, keys, seed, store, tally, jobs, conn: None, down, up });
        }
        world.rest();
        world
    }

    fn machine(&self, keys: &DeviceKeys, store: &MemoryStore, tally: Tally, life: u8) -> Machine {
        let config = ClientConfig {
            enrol: Some(Credential::Open),
            ..ClientConfig::new(self.provider, self.server_static, keys.duplicate())
        };
        let saved = store.clone().load_all().expect("memory does not fail");
        // No seed of the server's: both would draw the same keys.
        let mut seed = [0x80; 32];
        seed[0] = life;
        Machine::new(config, saved, tally, seed, at(self.micros))
    }

    /// One thing happens, and everybody reacts.
    pub fn op(&mut self, op: &Op) {
        let now = at(self.micros);
        match *op {
            Op::Send { who, len } => {
                let (me, other) = (usize::from(who % 2), usize::from((who + 1) % 2));
                if let Some(to) = self.devices[other].machine.uin() {
                    // An outbox that is full refuses, and says so.
                    let _ = self.devices[me].machine.send(now, to, vec![7; usize::from(len)]);
                }
            }
            Op::Deliver { who, pieces, size } => {
                for _ in 0..pieces {
                    self.deliver(usize::from(who % 2), usize::from(size).max(1));
                }
            }
            Op::Garble { who, up, at, by } => {
                let device = &mut self.devices[usize::from(who % 2)];
                let way = if up { &mut device.up } else { &mut device.down };
                if let Some((_, data)) = way.front_mut() {
                    let at = usize::from(at) % data.len();
                    data[at] ^= by;
                }
            }
            Op::Cut { who } => self.cut(usize::from(who % 2)),
            Op::Disk { who, jobs } => (0..jobs).for_each(|_| self.disk(usize::from(who % 2))),
            Op::Crash { who } => self.crash(usize::from(who % 2)),
            Op::Later { ms } => {
                self.micros += u64::from(ms) * 1_000;
                self.tick();
            }
        }
        self.settle();
    }

    /// Whatever went wrong has an end. Then everything that was stored was counted, once, by the one it was for.
    ///
    /// # Panics
    /// It does not come to rest, or something was lost or counted twice.
    pub fn finish(mut self) {
        // A byte that changed may have left somebody waiting for the rest of a frame. Transports that notice break.
        (0..self.devices.len()).for_each(|n| self.cut(n));
        self.rest();
        for (device, other) in self.devices.iter().zip(self.devices.iter().rev()) {
            let sender = other.machine.uin().expect("it was enrolled at the start");
            let stored = self.stored.remove(&sender).unwrap_or_default();
            assert_eq!(device.tally.counts, stored, "what was counted, and what the server stored for it");
        }
    }

    // ── what goes on ────────────────────────────────────────────────────────────────────────────

    /// Delivers, stores and waits until nobody has anything to do but heartbeats.
    fn rest(&mut self) {
        for _ in 0..ROUNDS {
            self.settle();
            while let Some(n) = self.devices.iter().position(Device::is_busy) {
                self.disk(n);
                self.deliver(n, usize::MAX);
                self.settle();
            }
            if self.devices.iter().all(Device::is_done) {
                return;
            }
            self.micros += ROUND_MS * 1_000;
            self.tick();
        }
        panic!("it never comes to rest");
    }

    fn tick(&mut self) {
        let now = at(self.micros);
        self.devices.iter_mut().for_each(|device| device.machine.handle(now, Input::Timeout));
        self.hub.handle(now, ntproto_hub::Input::Timeout);
    }

    /// The next piece each way.
    fn deliver(&mut self, n: usize, size: usize) {
        let now = at(self.micros);
        let device = &mut self.devices[n];
        let Some(conn) = device.conn else { return };
        if let Some((channel, data)) = take(&mut device.up, size) {
            self.hub.handle(now, ntproto_hub::Input::Bytes { conn, channel, data: &data });
        }
        if let Some((channel, data)) = take(&mut device.down, size) {
            device.machine.handle(now, Input::Bytes { channel, data: &data });
        }
        self.settle();
    }

    fn disk(&mut self, n: usize) {
        let now = at(self.micros);
        let device = &mut self.devices[n];
        match device.jobs.pop_front() {
            Some(Job::Txn(op, txn)) => {
                let result = device.store.commit(&[txn]);
                device.machine.handle(now, Input::StoreDone(op, result));
            }
            Some(Job::Save(tally)) => {
                device.machine.saved(now, &tally);
                device.tally = tally;
            }
            None => {}
        }
    }

    fn crash(&mut self, n: usize) {
        self.cut(n);
        let device = &mut self.devices[n];
        device.jobs.clear();
        device.seed = device.seed.wrapping_add(2);
        let device = &self.devices[n];
        let machine = self.machine(&device.keys, &device.store, device.tally.clone(), device.seed);
        self.devices[n].machine = machine;
    }

    fn cut(&mut self, n: usize) {
        let now = at(self.micros);
        let device = &mut self.devices[n];
        device.up.clear();
        device.down.clear();
        if let Some(conn) = device.conn.take() {
            device.machine.handle(now, Input::Disconnected);
            self.hub.handle(now, ntproto_hub::Input::Closed { conn });
        }
    }

    fn connect(&mut self, n: usize) {
        let now = at(self.micros);
        self.last_conn += 1;
        let conn = ConnId(self.last_conn);
        let binding = Binding { transport: TransportId::Quic, exporter: [self.last_conn as u8; 32] };
        let remote = SocketAddr::from(([192, 0, 2, 1], 7));
        self.hub.handle(now, ntproto_hub::Input::Opened { conn, binding, remote });
        let device = &mut self.devices[n];
        device.conn = Some(conn);
        device.machine.handle(now, Input::Connected(binding));
        device.machine.handle(now, Input::Writable(ChannelSet::ALL));
    }

    /// Asks everybody what they want, until all of them wait.
    fn settle(&mut self) {
        let mut tx = TxBuf::new(TX);
        for _ in 0..OUTPUTS {
            let mut quiet = true;
            for n in 0..self.devices.len() {
                quiet &= !self.device(n, &mut tx);
            }
            if !self.server(&mut tx) && quiet {
                return;
            }
        }
        panic!("they never wait");
    }

    /// Does one thing that a device wants; whether there was one.
    fn device(&mut self, n: usize, tx: &mut TxBuf) -> bool {
        let now = at(self.micros);
        let device = &mut self.devices[n];
        tx.clear();
        match device.machine.poll_output(now, Some(tx)) {
            Output::Transmit(channel) => device.up.push_back((channel, tx.as_slice().to_vec())),
            Output::Store(op, txn) => device.jobs.push_back(Job::Txn(op, txn)),
            Output::Save(tally) => device.jobs.push_back(Job::Save(tally)),
            Output::Connect => {
                self.hang_up(n);
                self.connect(n);
            }
            Output::Disconnect => self.hang_up(n),
            Output::Wait(at) => {
                assert!(at.is_none_or(|at| at > now.mono), "a timer that never ends");
                return false;
            }
        }
        true
    }

    fn hang_up(&mut self, n: usize) {
        let now = at(self.micros);
        let device = &mut self.devices[n];
        device.up.clear();
        device.down.clear();
        if let Some(conn) = device.conn.take() {
            self.hub.handle(now, ntproto_hub::Input::Closed { conn });
        }
    }

    /// Does one thing that the hub wants; whether there was one.
    fn server(&mut self, tx: &mut TxBuf) -> bool {
        let now = at(self.micros);
        tx.clear();
        match self.hub.poll_output(now, Some(tx)) {
            HubOutput::Transmit { conn, channel } => {
                let device = self.devices.iter_mut().find(|device| device.conn == Some(conn));
                if let Some(device) = device {
                    device.down.push_back((channel, tx.as_slice().to_vec()));
                }
            }
            HubOutput::Store { op, txn, .. } => {
                let sent = if let Txn::Append(append) = &txn {
                    Some((append.sender, append.conversation))
                } else {
                    None
                };
                let result = self.store.commit(&[txn]).remove(0);
                if let (Some((sender, talk)), Ok(Outcome::Appended { duplicate: false, .. })) =
                    (sent, &result)
                {
                    *self.stored.entry(sender).or_default().entry(talk).or_default() += 1;
                }
                self.hub.handle(now, ntproto_hub::Input::StoreDone { op, result });
            }
            HubOutput::Close { conn, .. } => {
                let device = self.devices.iter_mut().find(|device| device.conn == Some(conn));
                if let Some(device) = device {
                    device.conn = None;
                    device.up.clear();
                    device.down.clear();
                    device.machine.handle(now, Input::Disconnected);
                }
            }
            HubOutput::Wait { at, .. } => {
                assert!(at.is_none_or(|at| at > now.mono), "a timer that never ends");
                return false;
            }
            // Reads everything at once, asks for nothing of an application's or a host's, keeps no log.
            HubOutput::Resume { .. }
            | HubOutput::Ask(_)
            | HubOutput::Host(_)
            | HubOutput::Abandoned { .. }
            | HubOutput::Event(_) => {}
        }
        true
    }
}

/// The next piece of what is on its way, of at most `size` bytes.
fn take(way: &mut VecDeque<(Channel, Vec<u8>)>, size: usize) -> Option<(Channel, Vec<u8>)> {
    let (channel, mut data) = way.pop_front()?;
    if data.len() > size {
        way.push_front((channel, data.split_off(size)));
    }
    Some((channel, data))
}

fn at(micros: u64) -> Now {
    Now { mono: Instant::from_micros(micros), unix: UnixMillis(WALL) + Duration::from_micros(micros) }
}
