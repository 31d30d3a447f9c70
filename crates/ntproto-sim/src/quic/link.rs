//! Datagrams on their way: late, lost, twice, cut, altered, from strangers, or to where nobody is any more.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use ntproto_core::tx::TxBuf;
use ntproto_hub::HubEvent;
use ntproto_net::Machine as _;
use ntproto_quic::{Received, TX_LIMIT, Transmit};

use super::{Sessions, Tls};
use crate::draw::Draw;
use crate::fault::Fault;
use crate::ledger::Check;
use crate::schedule::Time;
use crate::world::{Ev, World};

/// Where the server is.
const SERVER: ([u8; 4], u16) = ([192, 0, 2, 1], 443);
/// Datagrams that listeners keep, to repeat them.
const OVERHEARD: usize = 64;
/// Of a hundred datagrams so many are altered, and so many cut, in a seed that has it.
const ALTERED: u64 = 2;
/// Of a hundred datagrams so many come twice, and so many are overtaken.
const UNORDERLY: u64 = 5;

/// Of a hundred times a socket is full so often, in a seed that has it.
const FULL: u64 = 10;
/// How long a socket stays full.
pub(crate) const FULL_FOR_MS: u64 = 5;

/// Bytes between two addresses.
#[derive(Clone)]
pub(crate) struct Datagram {
    from: SocketAddr,
    to: SocketAddr,
    data: Vec<u8>,
}

/// The network of a run over QUIC.
pub(crate) struct Link {
    pub(crate) tls: Tls,
    pub(crate) sessions: Sessions,
    /// What core instant 0 stands for. Only differences to it count.
    pub(crate) base: std::time::Instant,
    pub(crate) tx: TxBuf,
    flights: BTreeMap<u64, Datagram>,
    count: u64,
    /// Whose each address is or was.
    owners: BTreeMap<SocketAddr, usize>,
    /// The device behind each of the server's connections.
    pub(crate) peers: BTreeMap<u64, usize>,
    /// Devices that were let in by early data and are not known yet.
    pub(crate) early: BTreeMap<u64, HubEvent>,
    /// When the last datagram of each device arrives, each way.
    last: BTreeMap<(usize, usize), Time>,
    overheard: VecDeque<Datagram>,
}

impl Link {
    pub(crate) fn new(tls: Tls, sessions: Sessions, base: std::time::Instant) -> Self {
        Self {
            tls,
            sessions,
            base,
            tx: TxBuf::new(TX_LIMIT),
            flights: BTreeMap::new(),
            count: 0,
            owners: BTreeMap::new(),
            peers: BTreeMap::new(),
            early: BTreeMap::new(),
            last: BTreeMap::new(),
            overheard: VecDeque::new(),
        }
    }

    /// The server is gone, and with it its connections.
    pub(crate) fn forget(&mut self) {
        self.peers.clear();
        self.early.clear();
    }

    /// Where the server is.
    pub(crate) fn server() -> SocketAddr {
        SocketAddr::from(SERVER)
    }

    /// Where nobody ever answers.
    pub(crate) fn nobody() -> SocketAddr {
        SocketAddr::from(([203, 0, 113, 1], SERVER.1))
    }

    /// An address nobody had before, for a device.
    pub(crate) fn address(&mut self, d: usize) -> SocketAddr {
        let port = 1024 + (self.owners.len() % 60_000) as u16;
        let address = Self::home(d, port);
        self.owners.insert(address, d);
        address
    }

    /// An address of a device.
    pub(crate) fn home(d: usize, port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, (d >> 8) as u8, d as u8], port))
    }

    /// An address of nobody known.
    pub(crate) fn stranger(port: u16) -> SocketAddr {
        SocketAddr::from(([198, 51, 100, port as u8], port))
    }

    /// The device that has or had an address.
    pub(crate) fn owner(&self, address: SocketAddr) -> Option<usize> {
        self.owners.get(&address).copied()
    }

    fn device_of(&self, datagram: &Datagram) -> Option<usize> {
        self.owner(if datagram.to == Self::server() { datagram.from } else { datagram.to })
    }

    /// The device that datagram `n` goes to; `None`: to the server, or to nobody.
    pub(crate) fn receiver(&self, n: u64) -> Option<usize> {
        self.owner(self.flights.get(&n)?.to)
    }
}

impl World {
    /// Whether a machine's socket takes nothing now.
    pub(crate) fn socket_is_full(&mut self) -> bool {
        let full = !self.healed && self.scenario.on(Fault::Backpressure) && self.net_rng.chance(FULL);
        if full {
            self.fired(Fault::Backpressure);
        }
        full
    }

    /// A machine wrote datagrams; they lie in the link's buffer.
    pub(crate) fn transmit(&mut self, from: SocketAddr, transmit: &Transmit) {
        let Some(link) = &self.quic else { return };
        let bytes = &link.tx.as_slice()[..transmit.len];
        let size = transmit.segment_size.unwrap_or(bytes.len()).max(1);
        let datagrams: Vec<Vec<u8>> = bytes.chunks(size).map(<[u8]>::to_vec).collect();
        for data in datagrams {
            self.stats.bytes += data.len() as u64;
            self.fly(Datagram { from, to: transmit.remote, data });
        }
    }

    /// A datagram leaves.
    fn fly(&mut self, mut datagram: Datagram) {
        let Some(link) = &mut self.quic else { return };
        let now = self.schedule.now();
        self.stats.datagrams += 1;
        let (device, way) = (link.device_of(&datagram), usize::from(datagram.to != Link::server()));
        if way == 0 {
            link.overheard.truncate(OVERHEARD - 1);
            link.overheard.push_front(datagram.clone());
        }
        let trouble = |world: &Self, fault| !world.healed && world.scenario.on(fault);
        if let Some(d) = device
            && self.devices[d].cut_until[way] > now
        {
            let both = self.devices[d].cut_until.iter().all(|until| *until > now);
            self.fired(if both { Fault::Partition } else { Fault::OneWay });
            self.stats.datagrams_lost += 1;
            return;
        }
        if now < self.wires.no_udp {
            self.fired(Fault::UdpDown);
            self.stats.datagrams_lost += 1;
            return;
        }
        if trouble(self, Fault::Loss) && self.net_rng.chance(self.scenario.loss) {
            self.fired(Fault::Loss);
            self.stats.datagrams_lost += 1;
            return;
        }
        let len = datagram.data.len() as u64;
        if trouble(self, Fault::BitFlip) && self.net_rng.chance(ALTERED) {
            self.fired(Fault::BitFlip);
            self.stats.flips += 1;
            let at = self.net_rng.below(len) as usize;
            datagram.data[at] ^= 1 << self.net_rng.below(8);
        }
        if trouble(self, Fault::ShortDatagram) && self.net_rng.chance(ALTERED) {
            self.fired(Fault::ShortDatagram);
            let keep = self.net_rng.below(len) as usize;
            datagram.data.truncate(keep);
        }
        let mut arrival = Time(now.0 + self.delay());
        let overtaken = trouble(self, Fault::Reorder) && self.net_rng.chance(UNORDERLY);
        if overtaken {
            self.fired(Fault::Reorder);
            arrival = Time(arrival.0 + self.net_rng.skewed(1_000, 400_000));
        } else if let (Some(d), Some(link)) = (device, &mut self.quic) {
            let last = link.last.entry((d, way)).or_default();
            arrival = arrival.max(*last);
            // What is very late does not hold up the rest.
            if arrival < now.plus_ms(500) {
                *last = arrival;
            }
        }
        if trouble(self, Fault::Duplicate) && self.net_rng.chance(UNORDERLY) {
            self.fired(Fault::Duplicate);
            let again = Time(arrival.0 + self.net_rng.skewed(0, 1_000_000));
            self.land(datagram.clone(), again);
        }
        self.land(datagram, arrival);
    }

    fn land(&mut self, datagram: Datagram, at: Time) {
        let Some(link) = &mut self.quic else { return };
        link.count += 1;
        let n = link.count;
        link.flights.insert(n, datagram);
        self.schedule.at(at, Ev::Datagram { n });
    }

    /// A datagram arrives.
    pub(crate) fn datagram(&mut self, n: u64) -> Check {
        let time = self.schedule.now();
        let Some(link) = &mut self.quic else { return Ok(()) };
        let Some(Datagram { from, to, data }) = link.flights.remove(&n) else { return Ok(()) };
        let receiver = link.owner(to);
        self.trace.add("datagram", &[u64::from(from.port()), u64::from(to.port()), data.len() as u64], &data);
        if to == Link::server() {
            let Some(process) = &mut self.server.process else { return Ok(()) };
            let now = process.clock.now(time);
            if let Some(node) = process.core.node() {
                node.datagram(now, Received::one(from, &data));
            }
            return self.drain_server();
        }
        let Some(d) = receiver else { return Ok(()) };
        let Some(process) = &mut self.devices[d].process else { return Ok(()) };
        let now = process.clock.now(time);
        match process.machine.driver() {
            // Whoever moved is not at home any more.
            Some(host) if host.address == to => host.driver.datagram(now, Received::one(from, &data)),
            _ => return Ok(()),
        }
        self.drain_device(d)
    }

    /// Strangers send what they heard, what they made of it, or noise, to whoever listens.
    pub(crate) fn strangers(&mut self) {
        let Some(link) = &self.quic else { return };
        let heard: Vec<Datagram> = link.overheard.iter().cloned().collect();
        let devices: Vec<SocketAddr> = self
            .devices
            .iter_mut()
            .filter_map(|d| Some(d.process.as_mut()?.machine.driver()?.address))
            .collect();
        self.fired(Fault::Replay);
        if self.rng.chance(30) && !heard.is_empty() {
            // All that was heard of somebody, in order: early data among it.
            let victim = self.rng.pick(&heard).from;
            let stranger = SocketAddr::from(([198, 51, 100, self.rng.below(250) as u8], 4_445));
            for datagram in heard.iter().rev().filter(|datagram| datagram.from == victim) {
                let at = self.schedule.now().plus_ms(1).min(self.scenario.heal);
                self.land(Datagram { from: stranger, to: Link::server(), data: datagram.data.clone() }, at);
            }
        }
        for _ in 0..self.rng.between(0, 3) {
            self.tcp_stranger();
        }
        for _ in 0..self.rng.between(1, 30) {
            let mut data = match heard.is_empty() {
                false if self.rng.chance(70) => self.rng.pick(&heard).data.clone(),
                _ => {
                    let mut noise = vec![0; self.rng.between(1, 1_472) as usize];
                    self.rng.fill(&mut noise);
                    noise
                }
            };
            if self.rng.chance(50) && !data.is_empty() {
                let at = self.rng.below(data.len() as u64) as usize;
                data[at] ^= 1 << self.rng.below(8);
            }
            // From an address of their own, or in the name of somebody else.
            let stranger = SocketAddr::from(([198, 51, 100, self.rng.below(250) as u8], 4_444));
            let (from, to) = match self.rng.below(3) {
                0 => (stranger, Link::server()),
                1 if !heard.is_empty() => (self.rng.pick(&heard).from, Link::server()),
                _ if !devices.is_empty() => (Link::server(), *self.rng.pick(&devices)),
                _ => (stranger, Link::server()),
            };
            let at = self.schedule.now().plus_ms(self.rng.skewed(1, 5_000)).min(self.scenario.heal);
            self.land(Datagram { from, to, data }, at);
        }
    }

    /// A device's address changes: what is under way to the former one is lost.
    pub(crate) fn rebind(&mut self, d: usize) {
        let Some(link) = &mut self.quic else { return };
        let Some(host) = self.devices[d].process.as_mut().and_then(|p| p.machine.driver()) else { return };
        host.address = link.address(d);
        self.forget_wires(d);
        self.fired(Fault::Rebind);
    }
}
