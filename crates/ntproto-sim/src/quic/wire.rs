//! TCP connections as the network has them: bytes in order, each way, and what each end still believes.

use std::collections::{BTreeMap, VecDeque};

use ntproto_core::crypto::CryptoProvider;
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_net::StreamId;
use ntproto_sdk::driver::Transports;

use crate::draw::{Draw, rng};
use crate::net::{End, Way};
use crate::schedule::Time;

/// First words that listeners keep, to repeat them.
const OVERHEARD: usize = 32;

/// Who dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialler {
    /// A device, in one run of its process.
    Device(usize, u32),
    /// Somebody else. He may say exactly what a device said before.
    Stranger { repeats: bool },
}

/// Whose machine names a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Host {
    /// A device's, in one run of its process.
    Device(usize, u32),
    /// The server's.
    Server,
}

/// What happens to the machine at one end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stir {
    /// Somebody connects.
    Accept,
    /// The connection that was dialled is up.
    Connected,
    /// Bytes, or the end, may have come.
    Due,
    /// Its last write is with the system.
    Written,
    /// There is room for more of what it wrote.
    Room,
    /// It learns that the connection is gone.
    Gone,
    /// It must have ended the connection by now.
    MustBeOver,
}

/// Bytes in the network.
pub(crate) struct Flight {
    pub(crate) arrival: Time,
    pub(crate) data: Vec<u8>,
}

/// One direction.
#[derive(Default)]
pub(crate) struct Lane {
    /// Given to the system by its sender, not yet in the network.
    pub(crate) out: VecDeque<u8>,
    /// The sender waits for `Written`.
    pub(crate) writing: bool,
    /// The sender has let go: the end follows what it wrote.
    pub(crate) closing: bool,
    pub(crate) flights: VecDeque<Flight>,
    /// Arrived, and not read.
    pub(crate) arrived: VecDeque<u8>,
    /// Bytes in flight and not read: what the window bounds.
    pub(crate) in_flight: usize,
    /// The receiver wants to read.
    pub(crate) reading: bool,
    /// When the end arrives.
    pub(crate) end: Option<Time>,
    /// When the line is free again.
    pub(crate) free: Time,
    pub(crate) last: Time,
    pub(crate) stalled_until: Time,
    /// Nothing passes any more, and nobody says so.
    pub(crate) dead: bool,
    /// So many bytes more go one by one.
    pub(crate) drip: u64,
    spoke: bool,
}

/// A connection. An end, and what belongs to it, has the index of the way that leads there.
pub(crate) struct Wire {
    pub(crate) dialler: Dialler,
    pub(crate) port: u16,
    pub(crate) ends: [End; 2],
    /// What the machines at the ends call it.
    pub(crate) names: [Option<StreamId>; 2],
    pub(crate) lanes: [Lane; 2],
    /// Somebody altered it.
    pub(crate) tampered: bool,
}

impl Wire {
    /// The lane on which an end hears.
    pub(crate) const fn lane(&mut self, way: Way) -> &mut Lane {
        &mut self.lanes[way.index()]
    }

    pub(crate) const fn end(&self, way: Way) -> End {
        self.ends[way.index()]
    }

    pub(crate) fn is_up(&self) -> bool {
        self.ends == [End::Up; 2]
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.lanes.iter().any(|lane| lane.dead)
    }

    /// An end is over: it hears nothing more, and what it wrote and the network has not is lost.
    pub(crate) fn let_go(&mut self, way: Way) {
        self.ends[way.index()] = End::Down;
        let lane = self.lane(way);
        lane.flights.clear();
        lane.arrived.clear();
        (lane.in_flight, lane.reading) = (0, false);
        let own = self.lane(way.back());
        own.out.clear();
        own.writing = false;
    }

    /// Whether these are the first words of the one who dialled.
    pub(crate) const fn first_words(&mut self) -> bool {
        !std::mem::replace(&mut self.lane(Way::ToServer).spoke, true)
    }
}

/// How a device likes to connect.
#[derive(Clone, Copy)]
pub(crate) struct Habit {
    pub(crate) transports: Transports,
    /// Over TCP the server speaks first.
    pub(crate) speaks_first: bool,
}

/// All of them.
pub(crate) struct Wires {
    pub(crate) all: Vec<Wire>,
    pub(crate) named: BTreeMap<(Host, StreamId), usize>,
    pub(crate) habits: Vec<Habit>,
    /// Signs the server's certificate.
    pub(crate) operator: DeviceKeys,
    /// Bytes a second.
    pub(crate) rate: u64,
    /// Until when the network carries no UDP.
    pub(crate) no_udp: Time,
    /// Until when it carries no TCP.
    pub(crate) no_tcp: Time,
    /// Devices that once were on a connection somebody altered.
    pub(crate) tampered: Vec<bool>,
    pub(crate) overheard: VecDeque<Vec<u8>>,
}

impl Wires {
    pub(crate) fn new(seed: u64, devices: usize, provider: &dyn CryptoProvider) -> Self {
        let mut r = rng(seed, "wires");
        let habits = (0..devices).map(|_| Habit {
            transports: *r.pick(&[
                Transports::Any,
                Transports::Any,
                Transports::Any,
                Transports::RequireQuic,
                Transports::RequireTcp,
                Transports::RequireTcp,
            ]),
            speaks_first: r.chance(40),
        });
        Self {
            habits: habits.collect(),
            operator: DeviceKeys::generate(&mut r, provider),
            rate: r.skewed(60_000, 20_000_000),
            all: Vec::new(),
            named: BTreeMap::new(),
            no_udp: Time(0),
            no_tcp: Time(0),
            tampered: vec![false; devices],
            overheard: VecDeque::new(),
        }
    }

    /// A new connection; its number.
    pub(crate) fn add(&mut self, dialler: Dialler, port: u16, name: Option<StreamId>) -> usize {
        let n = self.all.len();
        if let (Dialler::Device(d, boot), Some(name)) = (dialler, name) {
            self.named.insert((Host::Device(d, boot), name), n);
        }
        self.all.push(Wire {
            dialler,
            port,
            ends: [End::Pending; 2],
            names: [None, name],
            lanes: Default::default(),
            tampered: false,
        });
        n
    }

    /// Whose machine is at an end, if one is.
    pub(crate) fn host(&self, n: usize, way: Way) -> Option<Host> {
        match (way, self.all[n].dialler) {
            (Way::ToServer, _) => Some(Host::Server),
            (Way::ToClient, Dialler::Device(d, boot)) => Some(Host::Device(d, boot)),
            (Way::ToClient, Dialler::Stranger { .. }) => None,
        }
    }

    /// An end is over.
    pub(crate) fn let_go(&mut self, n: usize, way: Way) {
        self.all[n].let_go(way);
        if let (Some(host), Some(name)) = (self.host(n, way), self.all[n].names[way.index()]) {
            self.named.remove(&(host, name));
        }
    }

    /// Those that a device has.
    pub(crate) fn of(&self, d: usize) -> Vec<usize> {
        let is_its = |n: &usize| matches!(self.all[*n].dialler, Dialler::Device(other, _) if other == d);
        (0..self.all.len()).filter(is_its).filter(|n| self.all[*n].end(Way::ToClient) != End::Down).collect()
    }

    /// Listeners keep what somebody said first.
    pub(crate) fn overhear(&mut self, words: Vec<u8>) {
        self.overheard.truncate(OVERHEARD - 1);
        self.overheard.push_front(words);
    }
}
