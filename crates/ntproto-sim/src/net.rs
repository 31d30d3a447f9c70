//! Reliable ordered byte streams, as unkind as a network over which they run. A connection has three each way. Bytes
//! arrive in order, late, in pieces, or never; both ends learn that a connection is gone each at its own time.

use std::collections::VecDeque;
use std::net::SocketAddr;

use ntproto_core::binding::{Binding, TransportId};
use ntproto_core::client;
use ntproto_core::endpoint;
use ntproto_core::wire::channel::{Channel, ChannelSet};
use ntproto_core::wire::frame::{FrameType, HEADER_LEN, Header, TRAILER_LEN, append_checksum};
use ntproto_hub::{self as hub, ConnId};

use crate::draw::Draw;
use crate::fault::Fault;
use crate::ledger::Check;
use crate::schedule::Time;
use crate::world::{Ev, World};

/// An altered frame must have ended its connection within this: farewells take up to two seconds.
const TO_END_MS: u64 = 5_000;

/// Who holds the client's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A device, in one run of its process.
    Device(usize, u32),
    /// Somebody else.
    Raw(usize),
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Not told yet that it is up.
    Pending,
    Up,
    /// It let go, or was told that it is gone.
    Down,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToServer,
    ToClient,
}

impl Way {
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::ToServer => 0,
            Self::ToClient => 1,
        }
    }

    pub(crate) const fn back(self) -> Self {
        match self {
            Self::ToServer => Self::ToClient,
            Self::ToClient => Self::ToServer,
        }
    }
}

/// What was done to bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flip {
    None,
    /// The receiver must end the connection once it has all of the frame.
    Fatal,
    /// The receiver reads another length.
    Length,
    /// It means nothing.
    Idle,
}

/// Bytes on their way.
struct Segment {
    arrival: Time,
    data: Vec<u8>,
    /// Bytes of it that arrived.
    taken: usize,
    /// A bit of it was flipped so that its receiver must notice.
    flipped: bool,
}

/// One stream in one direction.
#[derive(Default)]
struct Lane {
    segments: VecDeque<Segment>,
    in_flight: usize,
    last_arrival: Time,
    stalled_until: Time,
    closed_window: bool,
    /// A length was altered: its receiver may wait for bytes that never come.
    deaf: bool,
}

/// A connection.
pub(crate) struct Conn {
    pub(crate) owner: Owner,
    remote: SocketAddr,
    binding: Binding,
    pub(crate) client: End,
    pub(crate) server: End,
    lanes: [[Lane; 3]; 2],
    /// The server ran out of power under it.
    pub(crate) orphan: bool,
    /// Somebody altered it.
    pub(crate) tampered: bool,
}

impl Conn {
    fn lane(&mut self, way: Way, channel: Channel) -> &mut Lane {
        &mut self.lanes[way.index()][channel.index()]
    }

    /// The channels whose window is open.
    fn writable(&self, way: Way) -> ChannelSet {
        Channel::STREAMS.into_iter().fold(ChannelSet::ALL, |set, c| {
            if self.lanes[way.index()][c.index()].closed_window { set.without(c) } else { set }
        })
    }

    fn last_arrival(&self, way: Way) -> Time {
        self.lanes[way.index()].iter().map(|l| l.last_arrival).max().unwrap_or_default()
    }

    /// Whether bytes are in flight.
    pub(crate) fn busy(&self) -> bool {
        self.lanes.iter().flatten().any(|lane| lane.in_flight > 1)
    }

    /// Bytes in flight are gone.
    fn drop_bytes(&mut self, way: Way) {
        for lane in &mut self.lanes[way.index()] {
            lane.segments.clear();
            lane.in_flight = 0;
        }
    }
}

impl World {
    /// The device behind an end, if it is one.
    fn device_of(&self, conn: usize) -> Option<usize> {
        match self.conns[conn].owner {
            Owner::Device(d, _) => Some(d),
            Owner::Raw(_) => None,
        }
    }

    /// Until when a way is cut.
    fn cut_until(&self, conn: usize, way: Way) -> Time {
        self.device_of(conn).map_or(Time(0), |d| self.devices[d].cut_until[way.index()])
    }

    pub(crate) fn delay(&mut self) -> u64 {
        let (low, high) = self.scenario.delay;
        if !self.healed && self.scenario.on(Fault::Delay) && self.net_rng.chance(4) {
            self.fired(Fault::Delay);
            return self.net_rng.skewed(high, 5_000_000);
        }
        self.net_rng.between(low, high)
    }

    /// Somebody wants a connection. Returns its number; whether it comes up shows later.
    pub(crate) fn connect(&mut self, owner: Owner) -> usize {
        let conn = self.conns.len();
        let host = self.net_rng.below(1 << 24) as u32 | 10 << 24;
        self.conns.push(Conn {
            owner,
            remote: SocketAddr::from((host.to_be_bytes(), 1024 + (conn % 60_000) as u16)),
            binding: Binding { transport: TransportId::Quic, exporter: self.net_rng.array() },
            client: End::Pending,
            server: End::Pending,
            lanes: Default::default(),
            orphan: false,
            tampered: false,
        });
        self.stats.connections += 1;
        let now = self.schedule.now();
        let cut = self.cut_until(conn, Way::ToServer).max(self.cut_until(conn, Way::ToClient)) > now;
        let there = Time(now.0 + self.delay());
        let back = Time(there.0 + self.delay());
        if cut {
            // Silence: whoever asked gives up by itself.
            self.conns[conn].server = End::Down;
        } else if self.server.process.is_none() {
            self.conns[conn].server = End::Down;
            if self.net_rng.chance(60) {
                self.schedule.at(back, Ev::Gone { conn, way: Way::ToClient });
            }
        } else {
            self.schedule.at(there, Ev::Opened { conn });
            self.schedule.at(back, Ev::Connected { conn });
            for lanes in &mut self.conns[conn].lanes {
                lanes.iter_mut().for_each(|lane| lane.last_arrival = there);
            }
        }
        conn
    }

    /// The server's end comes up.
    pub(crate) fn opened(&mut self, conn: usize) -> Check {
        let Some(process) = &mut self.server.process else {
            self.conns[conn].server = End::Down;
            return Ok(());
        };
        let state = &mut self.conns[conn];
        if state.server != End::Pending {
            return Ok(());
        }
        state.server = End::Up;
        let (remote, binding) = (state.remote, state.binding);
        self.counted.opened(conn);
        let now = process.clock.now(self.schedule.now());
        process.core.handle(now, hub::Input::Opened { conn: ConnId(conn as u64), binding, remote });
        self.drain_server()
    }

    /// The client's end comes up.
    pub(crate) fn connected(&mut self, conn: usize) -> Check {
        let state = &mut self.conns[conn];
        if state.client != End::Pending {
            return Ok(());
        }
        state.client = End::Up;
        let binding = state.binding;
        self.client_input(conn, client::Input::Connected(binding))
    }

    /// Tells the client's end of a connection something.
    fn client_input(&mut self, conn: usize, input: client::Input<'_>) -> Check {
        let time = self.schedule.now();
        match self.conns[conn].owner {
            Owner::Device(d, boot) => {
                let Some(process) = self.devices[d].running(boot) else { return Ok(()) };
                if process.conn != Some(conn) {
                    return Ok(());
                }
                if matches!(input, client::Input::Disconnected) {
                    process.conn = None;
                }
                if let Some(client) = process.machine.bare() {
                    client.handle(process.clock.now(time), input);
                }
                if self.is_slow(d) {
                    return Ok(());
                }
                self.drain_device(d)
            }
            Owner::Raw(r) => {
                match input {
                    client::Input::Connected(binding) => self.raw_connected(r, binding),
                    client::Input::Bytes { channel, data } => {
                        self.raw_input(r, endpoint::Input::Bytes { channel, data });
                    }
                    client::Input::Disconnected => self.raw_input(r, endpoint::Input::TransportClosed),
                    _ => {}
                }
                self.drain_raw(r)
            }
        }
    }

    /// A machine wrote bytes.
    pub(crate) fn send(&mut self, conn: usize, way: Way, channel: Channel, mut data: Vec<u8>) -> Check {
        let now = self.schedule.now();
        if data.is_empty() {
            return Err(format!("connection {conn}: an empty transmit"));
        }
        let (near, far) = match way {
            Way::ToServer => (self.conns[conn].client, self.conns[conn].server),
            Way::ToClient => (self.conns[conn].server, self.conns[conn].client),
        };
        if near != End::Up {
            return Err(format!("connection {conn}: bytes were written to an end that is {near:?}"));
        }
        if self.conns[conn].lane(way, channel).closed_window {
            return Err(format!("connection {conn}: bytes were written to {channel:?}, which takes none"));
        }
        self.stats.bytes += data.len() as u64;
        if far == End::Down {
            if self.conns[conn].orphan && way == Way::ToServer && self.server.process.is_some() {
                let back = Time(now.0 + self.delay() + self.delay()).max(self.cut_until(conn, Way::ToClient));
                self.schedule.at(back, Ev::Gone { conn, way: Way::ToClient });
            }
            return Ok(());
        }
        let flip = self.flip(&mut data);
        if flip != Flip::None {
            self.conns[conn].tampered = true;
            self.trace.add("flip", &[conn as u64, way.index() as u64, channel as u64, flip as u64], &[]);
        }
        let cut = self.cut_until(conn, way);
        if cut > now {
            self.fired(
                if self.cut_until(conn, Way::ToServer) > now && self.cut_until(conn, Way::ToClient) > now {
                    Fault::Partition
                } else {
                    Fault::OneWay
                },
            );
        }
        let mut arrival = Time(now.0 + self.delay());
        if !self.healed && self.scenario.on(Fault::Stall) && self.net_rng.chance(2) {
            self.fired(Fault::Stall);
            let until = arrival.plus_ms(self.net_rng.skewed(100, 20_000)).min(self.scenario.heal);
            self.conns[conn].lane(way, channel).stalled_until = until;
        }
        let size = data.len();
        let window = self.scenario.window;
        let lane = self.conns[conn].lane(way, channel);
        let flipped = flip == Flip::Fatal && !lane.deaf;
        lane.deaf |= flip == Flip::Length;
        if cut > now {
            arrival = arrival.max(Time(cut.0 + (arrival.0 - now.0)));
        }
        arrival = arrival.max(lane.last_arrival).max(lane.stalled_until);
        lane.last_arrival = arrival;
        lane.in_flight += size;
        lane.segments.push_back(Segment { arrival, data, taken: 0, flipped });
        let shut = lane.in_flight >= window;
        lane.closed_window = shut;
        self.schedule.at(arrival, Ev::Deliver { conn, way, channel });
        if shut {
            if self.scenario.on(Fault::Backpressure) {
                self.fired(Fault::Backpressure);
            }
            self.tell_writable(conn, way);
        }
        Ok(())
    }

    /// Tells a sender which channels take bytes; its drain is under way or follows.
    fn tell_writable(&mut self, conn: usize, way: Way) {
        let set = self.conns[conn].writable(way);
        let time = self.schedule.now();
        match way {
            Way::ToServer => match self.conns[conn].owner {
                Owner::Device(d, boot) => {
                    if let Some(process) = self.devices[d].running(boot).filter(|p| p.conn == Some(conn))
                        && let Some(client) = process.machine.bare()
                    {
                        client.handle(process.clock.now(time), client::Input::Writable(set));
                    }
                }
                Owner::Raw(r) => self.raw_input(r, endpoint::Input::Writable(set)),
            },
            Way::ToClient => {
                if let Some(process) = &mut self.server.process {
                    let now = process.clock.now(time);
                    process
                        .core
                        .handle(now, hub::Input::Writable { conn: ConnId(conn as u64), channels: set });
                }
            }
        }
    }

    /// A window opened again.
    pub(crate) fn writable(&mut self, conn: usize, way: Way) -> Check {
        let near = match way {
            Way::ToServer => self.conns[conn].client,
            Way::ToClient => self.conns[conn].server,
        };
        if near != End::Up {
            return Ok(());
        }
        self.tell_writable(conn, way);
        match (way, self.conns[conn].owner) {
            (Way::ToServer, Owner::Device(d, boot)) if self.devices[d].running(boot).is_some() => {
                self.drain_device(d)
            }
            (Way::ToServer, Owner::Raw(r)) => self.drain_raw(r),
            (Way::ToServer, Owner::Device(..)) => Ok(()),
            (Way::ToClient, _) => self.drain_server(),
        }
    }

    /// Bytes arrive.
    pub(crate) fn deliver(&mut self, conn: usize, way: Way, channel: Channel) -> Check {
        let now = self.schedule.now();
        let far = match way {
            Way::ToServer => self.conns[conn].server,
            Way::ToClient => self.conns[conn].client,
        };
        if far == End::Down {
            self.conns[conn].drop_bytes(way);
            return Ok(());
        }
        if far == End::Pending {
            // The other end is up before this one: its bytes wait at the door.
            self.schedule.at(now.plus_ms(1), Ev::Deliver { conn, way, channel });
            return Ok(());
        }
        if way == Way::ToServer
            && let Some(hub) = self.server.process.as_mut().and_then(|p| p.core.bare())
            && !hub.accepts(ConnId(conn as u64), channel)
        {
            return Ok(());
        }
        let chunks = !self.healed && self.scenario.on(Fault::Chunks);
        let cut = if chunks { 1 + self.net_rng.skewed(0, 4_000) as usize } else { usize::MAX };
        let window = self.scenario.window;
        let lane = self.conns[conn].lane(way, channel);
        let Some(segment) = lane.segments.front_mut().filter(|s| s.arrival <= now) else { return Ok(()) };
        let rest = segment.data.len() - segment.taken;
        let take = rest.min(cut);
        let piece = segment.data[segment.taken..segment.taken + take].to_vec();
        segment.taken += take;
        lane.in_flight -= take;
        let opens = lane.closed_window && lane.in_flight <= window / 2;
        if opens {
            lane.closed_window = false;
        }
        let mut caught = false;
        if take == rest {
            caught = segment.flipped;
            lane.segments.pop_front();
        } else {
            self.fired(Fault::Chunks);
        }
        if self.conns[conn].lane(way, channel).segments.front().is_some_and(|s| s.arrival <= now) {
            let pause = if chunks { self.net_rng.below(2_000) } else { 0 };
            self.schedule.at(Time(now.0 + pause), Ev::Deliver { conn, way, channel });
        }
        if opens {
            let back = Time(now.0 + self.scenario.delay.0);
            self.schedule.at(back, Ev::Writable { conn, way });
        }
        if caught {
            self.schedule.at(now.plus_ms(TO_END_MS), Ev::MustBeOver { conn, way });
        }
        self.trace.add(
            "bytes",
            &[conn as u64, way.index() as u64, channel as u64, piece.len() as u64],
            &piece,
        );
        self.receive(conn, way, channel, &piece)
    }

    fn receive(&mut self, conn: usize, way: Way, channel: Channel, piece: &[u8]) -> Check {
        match way {
            Way::ToServer => {
                let time = self.schedule.now();
                let Some(process) = &mut self.server.process else { return Ok(()) };
                let now = process.clock.now(time);
                let id = ConnId(conn as u64);
                process.core.handle(now, hub::Input::Bytes { conn: id, channel, data: piece });
                self.drain_server()
            }
            Way::ToClient => self.client_input(conn, client::Input::Bytes { channel, data: piece }),
        }
    }

    /// A frame of it was altered and has arrived whole: its receiver must have ended it.
    pub(crate) fn must_be_over(&mut self, conn: usize, way: Way) -> Check {
        let (far, frozen) = match (way, self.device_of(conn)) {
            (Way::ToServer, _) => (self.conns[conn].server, self.server.frozen_until),
            (Way::ToClient, Some(d)) => (self.conns[conn].client, self.devices[d].frozen_until),
            // A stranger may not even read.
            (Way::ToClient, None) => return Ok(()),
        };
        if far == End::Down {
            return Ok(());
        }
        // Whoever stood still gets its time for last words.
        let due = frozen.plus_ms(TO_END_MS);
        if due > self.schedule.now() {
            self.schedule.at(due, Ev::MustBeOver { conn, way });
            return Ok(());
        }
        Err(format!("connection {conn} lives on after a frame {way:?} was altered"))
    }

    /// An end lets go of a connection. What it wrote arrives before the other end learns of it, if it does.
    pub(crate) fn let_go(&mut self, conn: usize, from: Way, silent: bool) {
        let state = &mut self.conns[conn];
        let end = match from {
            Way::ToServer => &mut state.client,
            Way::ToClient => &mut state.server,
        };
        if *end == End::Down {
            return;
        }
        *end = End::Down;
        state.drop_bytes(from.back());
        let lost = silent || (!self.healed && self.scenario.on(Fault::Reset) && self.net_rng.chance(20));
        if lost && !self.healed {
            if self.scenario.on(Fault::Reset) {
                self.fired(Fault::Reset);
            }
            return;
        }
        let arrival = Time(self.schedule.now().0 + self.delay());
        let at = arrival.max(self.conns[conn].last_arrival(from)).max(self.cut_until(conn, from));
        self.schedule.at(Time(at.0 + 1), Ev::Gone { conn, way: from });
    }

    /// The network ends a connection. `truncate`: part of what is in flight makes it, cut anywhere.
    pub(crate) fn reset(&mut self, conn: usize, truncate: bool) {
        let now = self.schedule.now();
        for way in [Way::ToServer, Way::ToClient] {
            let lanes = &mut self.conns[conn].lanes[way.index()];
            let mut cut = false;
            for lane in lanes.iter_mut().filter(|_| truncate) {
                if let Some(last) = lane.segments.back_mut().filter(|s| s.data.len() - s.taken > 1) {
                    let keep =
                        last.taken + self.net_rng.below((last.data.len() - last.taken) as u64) as usize;
                    lane.in_flight -= last.data.len() - keep;
                    last.data.truncate(keep);
                    last.flipped = false;
                    cut = true;
                }
            }
            let mut at = now.plus_ms(self.net_rng.skewed(0, 3_000)).max(self.cut_until(conn, way));
            if cut {
                self.fired(Fault::Truncate);
                at = at.max(self.conns[conn].last_arrival(way).plus_ms(1));
            } else if self.net_rng.chance(50) {
                self.conns[conn].drop_bytes(way);
            }
            self.schedule.at(at, Ev::Gone { conn, way });
        }
    }

    /// An end learns that its connection is gone.
    pub(crate) fn gone(&mut self, conn: usize, way: Way) -> Check {
        self.conns[conn].drop_bytes(way);
        match way {
            Way::ToServer => {
                let before = std::mem::replace(&mut self.conns[conn].server, End::Down);
                let time = self.schedule.now();
                match &mut self.server.process {
                    Some(process) if before == End::Up => {
                        let now = process.clock.now(time);
                        process.core.handle(now, hub::Input::Closed { conn: ConnId(conn as u64) });
                        self.drain_server()
                    }
                    _ => Ok(()),
                }
            }
            Way::ToClient => {
                let before = std::mem::replace(&mut self.conns[conn].client, End::Down);
                if before == End::Down {
                    return Ok(());
                }
                self.client_input(conn, client::Input::Disconnected)
            }
        }
    }

    /// Perhaps flips a bit of what was just written.
    fn flip(&mut self, data: &mut [u8]) -> Flip {
        let forge = self.scenario.on(Fault::ForgedCrc);
        let plain = self.scenario.on(Fault::BitFlip);
        if self.healed || !(forge || plain) || self.flips_left == 0 || !self.net_rng.chance(3) {
            return Flip::None;
        }
        // The frame to be altered: any of those written together.
        let mut frames = Vec::new();
        let mut at = 0;
        while let Some(head) = data.get(at..).and_then(<[u8]>::first_chunk::<HEADER_LEN>) {
            let Ok(header) = Header::decode(head) else { break };
            let end = at + HEADER_LEN + header.len as usize + TRAILER_LEN;
            if end > data.len() {
                break;
            }
            frames.push((at, end));
            at = end;
        }
        if frames.is_empty() {
            return Flip::None;
        }
        self.flips_left -= 1;
        self.stats.flips += 1;
        let (start, end) = *self.net_rng.pick(&frames);
        let repair = forge && (!plain || self.net_rng.chance(50));
        let limit = if repair { end - TRAILER_LEN } else { end };
        let byte = start + self.net_rng.below((limit - start) as u64) as usize;
        data[byte] ^= 1 << self.net_rng.below(8);
        if repair {
            let mut frame = data[start..end - TRAILER_LEN].to_vec();
            append_checksum(&mut frame, 0);
            data[start..end].copy_from_slice(&frame);
            self.fired(Fault::ForgedCrc);
        } else {
            self.fired(Fault::BitFlip);
        }
        // A handshake frame travels in the clear: nothing vouches for its flags, and nothing reads them.
        let idle = repair && byte == start + 2 && data[start + 1] <= FrameType::AuthResp as u8;
        match byte - start {
            4..8 => Flip::Length,
            _ if idle => Flip::Idle,
            _ => Flip::Fatal,
        }
    }
}
