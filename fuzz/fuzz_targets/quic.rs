//! A QUIC client and server over a network that the fuzzer is, with strangers knocking besides.
//!
//! TLS is real and draws its own randomness, so a find may need its input more than once to show again.
#![no_main]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use ntproto_core::time::{Instant, Now, UnixMillis};
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::Channel;
use ntproto_fuzz::tls::tls;
use ntproto_quic::{
    ClientSessions, ClientTls, ConnId, EarlyData, Endpoint, EndpointConfig, Event, Input, Limits, Output,
    Received, SessionMemory, TX_LIMIT,
};

#[derive(Arbitrary, Debug)]
enum Op<'a> {
    Connect,
    /// The next datagrams arrive.
    Deliver(u8),
    Damage(Damage),
    /// Anything, from a stranger.
    Stranger(u8, &'a [u8]),
    /// Something that begins like a client's first packet.
    Knock(u8, [u8; 8], &'a [u8]),
    Later(u16),
    Write(bool, u8, u16),
    Read(bool, u8),
    Datagram(bool, &'a [u8]),
    Close(bool, u32),
}

/// To the next datagram under way.
#[derive(Arbitrary, Debug)]
enum Damage {
    Drop,
    Repeat,
    Postpone,
    Flip(u16),
    Truncate(u16),
    /// The client's address changes.
    Rebind(u8),
}

const SERVER: usize = 0;
const CLIENT: usize = 1;
/// 2026-06-01, inside the validity of the certificate.
const UNIX: u64 = 1_780_272_000_000;

/// One endpoint and what it has said.
struct Host {
    endpoint: Endpoint,
    conns: Vec<ConnId>,
    early: BTreeSet<ConnId>,
    connected: BTreeSet<ConnId>,
    closed: BTreeSet<ConnId>,
    /// Bytes written and read, by connection and channel: the bytes themselves follow from their place.
    written: BTreeMap<(ConnId, usize), usize>,
    read: BTreeMap<(ConnId, usize), usize>,
}

struct World {
    hosts: [Host; 2],
    client: ClientTls,
    micros: u64,
    /// To whom, from where, what.
    under_way: VecDeque<(usize, SocketAddr, Vec<u8>)>,
    client_port: u16,
    tx: TxBuf,
}

fn server_addr() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 4433))
}

fn pattern(channel: usize, at: usize) -> u8 {
    (at as u8).wrapping_mul(31).wrapping_add(channel as u8)
}

impl World {
    fn new() -> Self {
        static BASE: OnceLock<std::time::Instant> = OnceLock::new();
        let base = *BASE.get_or_init(std::time::Instant::now);
        // Who comes a second time sends early data.
        let server = tls().server.with_sessions(Arc::new(SessionMemory::default())).expect("a server");
        let client = tls().client.with_sessions(Arc::new(ClientSessions::default())).expect("a client");
        let limits = Limits { retry_above: 2, max_half_open: 4, max_connections: 8, ..Limits::default() };
        let host = |config: EndpointConfig, seed| Host {
            endpoint: Endpoint::new(config, base, [seed; 32]),
            conns: Vec::new(),
            early: BTreeSet::new(),
            connected: BTreeSet::new(),
            closed: BTreeSet::new(),
            written: BTreeMap::new(),
            read: BTreeMap::new(),
        };
        let server = EndpointConfig { limits, ..EndpointConfig::server(server) };
        Self {
            hosts: [host(server, 1), host(EndpointConfig::client(), 2)],
            client,
            micros: 1_000_000,
            under_way: VecDeque::new(),
            client_port: 1000,
            tx: TxBuf::new(TX_LIMIT),
        }
    }

    fn now(&self) -> Now {
        Now { mono: Instant::from_micros(self.micros), unix: UnixMillis(UNIX + self.micros / 1000) }
    }

    fn client_addr(&self) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 2], self.client_port))
    }

    fn op(&mut self, op: &Op<'_>) {
        let now = self.now();
        match op {
            Op::Connect if self.hosts[CLIENT].conns.len() < 4 => {
                let conn = self.hosts[CLIENT]
                    .endpoint
                    .connect(now, &self.client, server_addr(), "fuzz.test")
                    .expect("a legal address and room");
                self.hosts[CLIENT].conns.push(conn);
            }
            Op::Connect => {}
            Op::Deliver(count) => {
                for _ in 0..=*count {
                    let Some((to, from, data)) = self.under_way.pop_front() else { break };
                    self.hosts[to].endpoint.handle(now, Input::Datagram(Received::one(from, &data)));
                    self.drain(to);
                }
            }
            Op::Damage(damage) => self.damage(damage),
            Op::Stranger(from, bytes) => self.stranger(*from, bytes),
            Op::Knock(from, id, rest) => {
                // Long header, Initial, version 1, an 8-byte id, then anything, as long as it must be.
                let mut packet = vec![0xc0, 0, 0, 0, 1, 8];
                packet.extend_from_slice(id);
                packet.extend_from_slice(&[0, 0]);
                packet.extend_from_slice(rest);
                packet.resize(packet.len().max(1200), 0);
                self.stranger(*from, &packet);
            }
            Op::Later(ms) => {
                self.micros += u64::from(*ms) * 1000;
                let now = self.now();
                self.hosts.iter_mut().for_each(|h| h.endpoint.handle(now, Input::Timeout));
            }
            Op::Write(server, channel, len) => self.write(usize::from(!server), *channel, *len),
            Op::Read(server, channel) => self.read(usize::from(!server), *channel),
            Op::Datagram(server, bytes) => {
                let data = bytes::Bytes::copy_from_slice(bytes);
                self.with(usize::from(!server), |c| {
                    // Refused when the peer can't take it; both are fine.
                    let _ = c.send_datagram(data);
                    while c.recv_datagram().is_some() {}
                });
            }
            Op::Close(server, code) => {
                self.with(usize::from(!server), |c| c.close(*code, b"fuzzed"));
            }
        }
        (0..2).for_each(|no| self.drain(no));
    }

    /// Visits the newest connection of a host.
    fn with<R>(&mut self, no: usize, visit: impl FnOnce(&mut ntproto_quic::Conn<'_>) -> R) -> Option<R> {
        let now = self.now();
        let conn = *self.hosts[no].conns.last()?;
        let result = self.hosts[no].endpoint.with(now, conn, visit);
        assert!(result.is_some() || self.hosts[no].closed.contains(&conn));
        result
    }

    fn write(&mut self, no: usize, channel: u8, len: u16) {
        let Some(&conn) = self.hosts[no].conns.last() else { return };
        let index = usize::from(channel % 4);
        let done = self.hosts[no].written.get(&(conn, index)).copied().unwrap_or(0);
        let data: Vec<u8> = (done..done + usize::from(len)).map(|at| pattern(index, at)).collect();
        let taken = self.with(no, |c| c.write(Channel::ALL[index], &data)).unwrap_or(0);
        assert!(taken <= data.len() && (index < 3 || taken == 0));
        *self.hosts[no].written.entry((conn, index)).or_default() += taken;
    }

    fn read(&mut self, no: usize, channel: u8) {
        let Some(&conn) = self.hosts[no].conns.last() else { return };
        let index = usize::from(channel % 4);
        let mut at = self.hosts[no].read.get(&(conn, index)).copied().unwrap_or(0);
        self.with(no, |c| {
            while let Some(bytes) = c.read(Channel::ALL[index], 4096) {
                assert!(!bytes.is_empty() && bytes.len() <= 4096);
                for byte in bytes {
                    assert_eq!(byte, pattern(index, at), "what was written, in order");
                    at += 1;
                }
            }
        });
        self.hosts[no].read.insert((conn, index), at);
    }

    fn stranger(&mut self, from: u8, bytes: &[u8]) {
        let now = self.now();
        let remote = SocketAddr::from(([10, 0, 1, from], 7));
        self.hosts[SERVER].endpoint.handle(now, Input::Datagram(Received::one(remote, bytes)));
    }

    fn damage(&mut self, damage: &Damage) {
        if let Damage::Rebind(port) = damage {
            self.client_port = 1000 + u16::from(*port);
            return;
        }
        let Some((to, from, mut data)) = self.under_way.pop_front() else { return };
        match damage {
            Damage::Drop | Damage::Rebind(_) => return,
            Damage::Repeat => self.under_way.push_back((to, from, data.clone())),
            Damage::Postpone => return self.under_way.push_back((to, from, data)),
            Damage::Flip(bit) => {
                let bit = usize::from(*bit) % (data.len() * 8);
                data[bit / 8] ^= 1 << (bit % 8);
            }
            Damage::Truncate(len) => data.truncate(1 + usize::from(*len) % data.len()),
        }
        self.under_way.push_front((to, from, data));
    }

    fn drain(&mut self, no: usize) {
        let now = self.now();
        let from = if no == SERVER { server_addr() } else { self.client_addr() };
        for _ in 0..10_000 {
            let host = &mut self.hosts[no];
            match host.endpoint.poll_output(now, Some(&mut self.tx)) {
                Output::Transmit(t) => {
                    let bytes = self.tx.as_slice();
                    assert!(bytes.len() == t.len && t.len > 0);
                    let to = if no == SERVER { CLIENT } else { SERVER };
                    // What goes to a stranger or to a former address is lost.
                    if t.remote == server_addr()
                        || t.remote == SocketAddr::from(([10, 0, 0, 2], self.client_port))
                    {
                        for one in bytes.chunks(t.segment_size.unwrap_or(t.len)) {
                            self.under_way.push_back((to, from, one.to_vec()));
                        }
                    }
                }
                Output::Event(Event::Closed { conn, .. }) => {
                    assert!(host.closed.insert(conn), "Closed comes once");
                }
                Output::Event(Event::Early { conn, .. }) => {
                    assert!(host.early.insert(conn));
                    assert!(!host.connected.contains(&conn) && !host.closed.contains(&conn));
                    if no == SERVER {
                        host.conns.push(conn);
                    }
                }
                Output::Event(Event::Connected { conn, early, .. }) => {
                    assert!(host.connected.insert(conn) && !host.closed.contains(&conn));
                    assert_eq!(early == EarlyData::Unused, !host.early.contains(&conn));
                    if no == SERVER && early == EarlyData::Unused {
                        host.conns.push(conn);
                    }
                    if early == EarlyData::Refused {
                        // What was written is lost, and the channels begin anew.
                        assert!(no == CLIENT);
                        host.written.retain(|(written, _), _| *written != conn);
                    }
                }
                Output::Event(
                    Event::Readable { conn, .. }
                    | Event::Writable { conn, .. }
                    | Event::Streams { conn }
                    | Event::Datagram { conn },
                ) => {
                    assert!(host.connected.contains(&conn) || host.early.contains(&conn));
                    assert!(!host.closed.contains(&conn));
                }
                Output::Wait { at, .. } => {
                    assert!(host.endpoint.is_flushed());
                    if at.is_some_and(|at| at <= now.mono) {
                        host.endpoint.handle(now, Input::Timeout);
                        continue;
                    }
                    return;
                }
            }
        }
        panic!("it never waits");
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(ops) = Vec::<Op<'_>>::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let mut world = World::new();
    for op in ops.iter().take(200) {
        world.op(op);
    }
    // The end comes for every connection, whatever went before.
    let now = world.now();
    world.hosts.iter_mut().for_each(|h| h.endpoint.close_all(now, 0, b""));
    (0..2).for_each(|no| world.drain(no));
    world.micros += Duration::from_secs(600).as_micros() as u64;
    let now = world.now();
    world.hosts.iter_mut().for_each(|h| h.endpoint.handle(now, Input::Timeout));
    (0..2).for_each(|no| world.drain(no));
    for host in &world.hosts {
        assert!(host.conns.iter().chain(&host.connected).all(|conn| host.closed.contains(conn)));
        assert_eq!(host.endpoint.stats().connections, 0, "nothing is left behind");
    }
});
