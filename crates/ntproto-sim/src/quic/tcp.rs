//! The network's side of TCP: it dials, carries, holds back, breaks off, and falls silent.

use bytes::Bytes;
use ntproto_net::{Machine as _, StreamId, StreamInput, StreamStep};

use super::Link;
use super::wire::{Dialler, Flight, Host, Stir, Wire};
use crate::draw::Draw;
use crate::fault::Fault;
use crate::ledger::Check;
use crate::net::{End, Way};
use crate::schedule::Time;
use crate::world::{Ev, World};

/// Read at once, as the adapters do.
const READ: usize = 32 * 1024;
/// Bytes in flight before the sender's system takes no more, where nothing is wrong.
const WINDOW: usize = 64 * 1024;
/// Bytes that leave together.
const SEGMENT: usize = 8 * 1024;
/// Of a hundred dials so many fail, in a seed that has it.
const FAILED_DIALS: u64 = 20;
/// Of a hundred segments so many meet with a stall, an altered bit, or a stretch of single bytes, in a seed that
/// has it.
const RARE: u64 = 2;

impl World {
    fn later(&mut self, n: usize, way: Way, what: Stir, at: Time) {
        self.schedule.at(at, Ev::Wire { n, way, what });
    }

    /// An instant one way from now, for whoever uses this connection; later while the way is cut.
    fn wire_arrival(&mut self, n: usize, way: Way) -> Time {
        let now = self.schedule.now();
        let delay = self.delay();
        let cut = self.wire_cut(n, way);
        Time(now.max(cut).0 + delay)
    }

    /// Until when a way is cut.
    fn wire_cut(&self, n: usize, way: Way) -> Time {
        let own = match self.wires.all[n].dialler {
            Dialler::Device(d, _) => self.devices[d].cut_until[way.index()],
            Dialler::Stranger { .. } => Time(0),
        };
        own.max(self.wires.no_tcp)
    }

    /// A machine wants something of a connection.
    pub(crate) fn stream_step(&mut self, host: Host, id: StreamId, step: StreamStep) -> Check {
        if let StreamStep::Dial(remote) = step {
            let Host::Device(d, boot) = host else { return Err("the server dials".into()) };
            let port = self.quic.as_mut().map_or(0, |link| link.address(d).port());
            let n = self.wires.add(Dialler::Device(d, boot), port, Some(id));
            self.trace.add("dial", &[n as u64, d as u64, id.0], &[]);
            self.dial(n, remote == Link::server());
            return Ok(());
        }
        let Some(&n) = self.wires.named.get(&(host, id)) else {
            return Err(format!("{host:?} goes on with {id}, which is over: {step:?}"));
        };
        let way = if host == Host::Server { Way::ToServer } else { Way::ToClient };
        let wire = &mut self.wires.all[n];
        match step {
            StreamStep::Close => {
                self.trace.add("hang up", &[n as u64, way.index() as u64], &[]);
                let wire = &mut self.wires.all[n];
                let pending = std::mem::take(&mut wire.lane(way.back()).out);
                self.wires.let_go(n, way);
                let own = self.wires.all[n].lane(way.back());
                own.out = pending;
                own.closing = true;
                self.push(n, way.back());
            }
            _ if wire.end(way) != End::Up => return Err(format!("{host:?} uses {id} before it is up")),
            StreamStep::Read => {
                if std::mem::replace(&mut wire.lane(way).reading, true) {
                    return Err(format!("{host:?} asks for two reads of {id} at once"));
                }
                let now = self.schedule.now();
                self.later(n, way, Stir::Due, now);
            }
            StreamStep::Write(bytes) => {
                let own = wire.lane(way.back());
                if std::mem::replace(&mut own.writing, true) || bytes.is_empty() {
                    return Err(format!("{host:?} asks for two writes of {id} at once, or for none"));
                }
                self.stats.bytes += bytes.len() as u64;
                own.out.extend(&bytes[..]);
                if way == Way::ToClient && wire.first_words() {
                    self.wires.overhear(bytes.to_vec());
                }
                self.push(n, way.back());
            }
            StreamStep::Dial(_) => {}
        }
        Ok(())
    }

    /// Somebody dials.
    fn dial(&mut self, n: usize, to_server: bool) {
        let now = self.schedule.now();
        let there = self.wire_arrival(n, Way::ToServer);
        let back = Time(there.0 + self.delay());
        let cut = [Way::ToServer, Way::ToClient].into_iter().any(|way| self.wire_cut(n, way) > now);
        let fails = !self.healed && self.scenario.on(Fault::DialFails) && self.net_rng.chance(FAILED_DIALS);
        if fails && to_server {
            self.fired(Fault::DialFails);
        }
        if now < self.wires.no_tcp {
            self.fired(Fault::TcpDown);
        }
        let refused = if cut {
            false
        } else if fails || !to_server {
            self.net_rng.chance(50)
        } else if self.server.process.is_none() {
            self.net_rng.chance(60)
        } else {
            self.later(n, Way::ToServer, Stir::Accept, there);
            self.later(n, Way::ToClient, Stir::Connected, back);
            let wire = &mut self.wires.all[n];
            wire.lanes.iter_mut().for_each(|lane| lane.last = there);
            return;
        };
        self.wires.all[n].ends[Way::ToServer.index()] = End::Down;
        if refused {
            self.later(n, Way::ToClient, Stir::Gone, back);
        }
    }

    /// Moves what was written into the network, as far as its window lets it.
    fn push(&mut self, n: usize, way: Way) {
        let now = self.schedule.now();
        loop {
            let window = if self.healed { WINDOW } else { self.scenario.window };
            let cut = self.next_cut(n, way);
            let wire = &mut self.wires.all[n];
            let lane = &mut wire.lanes[way.index()];
            let size = lane.out.len().min(window.saturating_sub(lane.in_flight)).min(cut);
            if lane.out.is_empty() {
                break;
            }
            if size == 0 {
                #[cfg(feature = "planted")]
                if self.plant == Some(crate::plant::Plant::StreamLosesBytes) {
                    lane.out.clear();
                    continue;
                }
                if self.scenario.on(Fault::Backpressure) && !self.healed {
                    self.fired(Fault::Backpressure);
                }
                return;
            }
            let data: Vec<u8> = lane.out.drain(..size).collect();
            lane.in_flight += size;
            self.carry(n, way, data);
        }
        let lane = self.wires.all[n].lane(way);
        if std::mem::take(&mut lane.writing) {
            self.later(n, way.back(), Stir::Written, now);
        }
        let lane = self.wires.all[n].lane(way);
        if lane.closing && lane.end.is_none() && !lane.dead {
            let at = self.wire_arrival(n, way);
            let lane = self.wires.all[n].lane(way);
            let at = at.max(lane.last).max(lane.stalled_until);
            lane.end = Some(at);
            self.later(n, way, Stir::Due, at);
        }
    }

    /// How much leaves together.
    fn next_cut(&mut self, n: usize, way: Way) -> usize {
        if self.healed || !self.scenario.on(Fault::Chunks) {
            return SEGMENT;
        }
        if self.wires.all[n].lane(way).drip > 0 {
            self.wires.all[n].lane(way).drip -= 1;
            return 1;
        }
        if self.net_rng.chance(RARE) {
            self.wires.all[n].lane(way).drip = self.net_rng.between(4, 64);
        }
        1 + self.net_rng.skewed(0, 4_000) as usize
    }

    /// A segment leaves.
    fn carry(&mut self, n: usize, way: Way, mut data: Vec<u8>) {
        let now = self.schedule.now();
        let wire = &self.wires.all[n];
        let dead = wire.lanes[way.index()].dead;
        if dead || wire.end(way) == End::Down {
            // Who is not there does not answer; a network that works says so.
            let there = self.healed || (!dead && self.server.process.is_some());
            if there {
                let at = self.wire_arrival(n, way).max(self.wire_cut(n, way.back()));
                let back = Time(at.0 + self.delay());
                self.later(n, way.back(), Stir::Gone, back);
            }
            return;
        }
        let trouble = |world: &Self, fault| !world.healed && world.scenario.on(fault);
        if self.wire_cut(n, way) > now {
            let device = match wire.dialler {
                Dialler::Device(d, _) => self.devices[d].cut_until.map(|until| until > now),
                Dialler::Stranger { .. } => [false; 2],
            };
            match device {
                [true, true] => self.fired(Fault::Partition),
                [false, false] => self.fired(Fault::TcpDown),
                _ => self.fired(Fault::OneWay),
            }
        }
        if trouble(self, Fault::BitFlip) && self.flips_left > 0 && self.net_rng.chance(RARE) {
            self.fired(Fault::BitFlip);
            self.flips_left -= 1;
            self.stats.flips += 1;
            let at = self.net_rng.below(data.len() as u64) as usize;
            data[at] ^= 1 << self.net_rng.below(8);
            let wire = &mut self.wires.all[n];
            wire.tampered = true;
            if let Dialler::Device(d, _) = wire.dialler {
                self.wires.tampered[d] = true;
            }
        }
        let stalls = trouble(self, Fault::Stall) && self.net_rng.chance(RARE);
        if stalls {
            self.fired(Fault::Stall);
            let until = now.plus_ms(self.net_rng.skewed(100, 20_000)).min(self.scenario.heal);
            self.wires.all[n].lane(way).stalled_until = until;
        }
        let arrival = self.wire_arrival(n, way);
        let took = data.len() as u64 * 1_000_000 / self.wires.rate;
        let lane = self.wires.all[n].lane(way);
        // The line is busy until what went before has left.
        lane.free = Time(lane.free.max(now).0 + took);
        let queued = lane.free.0 - now.0;
        let arrival = Time(arrival.0 + queued).max(lane.last).max(lane.stalled_until);
        lane.last = arrival;
        lane.flights.push_back(Flight { arrival, data });
        self.later(n, way, Stir::Due, arrival);
    }

    /// Something happens at an end of a connection.
    pub(crate) fn wire(&mut self, n: usize, way: Way, what: Stir) -> Check {
        match what {
            Stir::Accept => self.wire_accept(n),
            Stir::Connected if self.wires.all[n].end(way) == End::Pending => {
                self.wires.all[n].ends[way.index()] = End::Up;
                let now = self.schedule.now();
                self.later(n, way, Stir::Due, now);
                self.tell(n, way, StreamInput::Connected)
            }
            Stir::Due => self.wire_due(n, way),
            Stir::Written if self.wires.all[n].end(way) == End::Up => self.tell(n, way, StreamInput::Written),
            Stir::Room => {
                self.push(n, way.back());
                Ok(())
            }
            Stir::Gone if self.wires.all[n].end(way) != End::Down => self.wire_over(n, way),
            Stir::MustBeOver => self.stranger_must_be_over(n),
            Stir::Connected | Stir::Written | Stir::Gone => Ok(()),
        }
    }

    /// The server's end comes up, if it lets it.
    fn wire_accept(&mut self, n: usize) -> Check {
        let time = self.schedule.now();
        let wire = &self.wires.all[n];
        let remote = match wire.dialler {
            Dialler::Device(d, _) => Link::home(d, wire.port),
            Dialler::Stranger { .. } => Link::stranger(wire.port),
        };
        if wire.end(Way::ToServer) != End::Pending {
            return Ok(());
        }
        let accepted = self.server.process.as_mut().and_then(|process| {
            let now = process.clock.now(time);
            process.core.node()?.accept(now, remote)
        });
        let Some(id) = accepted else {
            self.wires.let_go(n, Way::ToServer);
            let back = Time(time.0 + self.delay());
            self.later(n, Way::ToClient, Stir::Gone, back);
            return Ok(());
        };
        let wire = &mut self.wires.all[n];
        wire.ends[Way::ToServer.index()] = End::Up;
        wire.names[Way::ToServer.index()] = Some(id);
        self.wires.named.insert((Host::Server, id), n);
        self.trace.add("accepted", &[n as u64, id.0], &[]);
        self.stats.streams += 1;
        self.later(n, Way::ToServer, Stir::Due, time);
        self.drain_server()
    }

    /// What has arrived goes to the machine, if it reads.
    fn wire_due(&mut self, n: usize, way: Way) -> Check {
        let now = self.schedule.now();
        let chunks = !self.healed && self.scenario.on(Fault::Chunks);
        let wire = &mut self.wires.all[n];
        let (end, stranger) = (wire.end(way), !matches!(wire.dialler, Dialler::Device(..)));
        let lane = wire.lane(way);
        while let Some(flight) = lane.flights.pop_front_if(|flight| flight.arrival <= now) {
            lane.arrived.extend(flight.data);
        }
        if end == End::Down {
            lane.arrived.clear();
            return Ok(());
        }
        let reads = end == End::Up && (lane.reading || (stranger && way == Way::ToClient));
        if !reads {
            return Ok(());
        }
        if lane.arrived.is_empty() {
            return if lane.end.is_some_and(|at| at <= now) { self.wire_over(n, way) } else { Ok(()) };
        }
        let most = if chunks {
            match self.net_rng.chance(RARE) {
                true => 1,
                false => 1 + self.net_rng.skewed(0, READ as u64 - 1) as usize,
            }
        } else {
            READ
        };
        let lane = self.wires.all[n].lane(way);
        let size = lane.arrived.len().min(most);
        if size < lane.arrived.len() && chunks {
            self.fired(Fault::Chunks);
        }
        let lane = self.wires.all[n].lane(way);
        let piece: Vec<u8> = lane.arrived.drain(..size).collect();
        lane.in_flight -= size;
        lane.reading = false;
        if !lane.out.is_empty() {
            let back = Time(now.0 + self.scenario.delay.0);
            self.later(n, way.back(), Stir::Room, back);
        }
        self.trace.add("stream", &[n as u64, way.index() as u64, size as u64], &piece);
        self.tell(n, way, StreamInput::Bytes(Bytes::from(piece)))
    }

    /// An end learns that the connection is gone.
    fn wire_over(&mut self, n: usize, way: Way) -> Check {
        if (way, self.wires.all[n].end(way)) == (Way::ToServer, End::Pending) {
            self.wires.let_go(n, way);
            return Ok(());
        }
        self.trace.add("over", &[n as u64, way.index() as u64], &[]);
        let told = self.tell(n, way, StreamInput::Closed);
        self.wires.let_go(n, way);
        told?;
        match self.wires.host(n, way) {
            Some(Host::Server) => self.drain_server(),
            Some(Host::Device(d, boot)) if self.devices[d].running(boot).is_some() => self.drain_device(d),
            _ => Ok(()),
        }
    }

    /// Tells a machine something of a connection, and sees to what comes of it; after its end, the caller does.
    fn tell(&mut self, n: usize, way: Way, input: StreamInput) -> Check {
        let time = self.schedule.now();
        let over = input == StreamInput::Closed;
        let (Some(host), name) = (self.wires.host(n, way), self.wires.all[n].names[way.index()]) else {
            return self.tell_stranger(n, way, &input);
        };
        let name = name.ok_or("a connection without a name")?;
        match host {
            Host::Server => {
                let Some(process) = &mut self.server.process else { return Ok(()) };
                let now = process.clock.now(time);
                if let Some(node) = process.core.node() {
                    node.stream(now, name, input);
                }
                if over { Ok(()) } else { self.drain_server() }
            }
            Host::Device(d, boot) => {
                let Some(process) = self.devices[d].running(boot) else { return Ok(()) };
                let now = process.clock.now(time);
                if let Some(host) = process.machine.driver() {
                    host.driver.stream(now, name, input);
                }
                if over { Ok(()) } else { self.drain_device(d) }
            }
        }
    }

    // ── faults ──────────────────────────────────────────────────────────────────────────────────

    /// One that is up.
    fn some_wire(&mut self) -> Option<usize> {
        let up: Vec<usize> = (0..self.wires.all.len()).filter(|n| self.wires.all[*n].is_up()).collect();
        if up.is_empty() { None } else { Some(*self.net_rng.pick(&up)) }
    }

    /// The network breaks a connection: what was in flight is cut anywhere, and each end learns of it some time, or
    /// never. `false`: there is none.
    pub(crate) fn break_wire(&mut self) -> bool {
        let Some(n) = self.some_wire() else { return false };
        let now = self.schedule.now();
        self.fired(Fault::Reset);
        for way in [Way::ToServer, Way::ToClient] {
            let told = now.plus_ms(self.net_rng.skewed(0, 3_000));
            let learns = self.net_rng.chance(80);
            let lane = &mut self.wires.all[n].lanes[way.index()];
            let flying: usize = lane.flights.iter().map(|flight| flight.data.len()).sum();
            let mut keep = self.net_rng.below(flying as u64 + 1) as usize;
            for flight in &mut lane.flights {
                flight.data.truncate(keep);
                keep -= flight.data.len();
            }
            lane.flights.retain(|flight| !flight.data.is_empty());
            lane.dead = true;
            let at = lane.flights.back().map_or(told, |flight| flight.arrival.plus_ms(1).max(told));
            if learns {
                self.later(n, way, Stir::Gone, at);
            }
        }
        true
    }

    /// A connection falls silent, both ways or one, and nobody says so. `false`: there is none.
    pub(crate) fn silence_wire(&mut self) -> bool {
        let Some(n) = self.some_wire() else { return false };
        self.fired(Fault::HalfOpen);
        let both = self.net_rng.chance(70);
        let one = self.net_rng.below(2) as usize;
        for (way, lane) in self.wires.all[n].lanes.iter_mut().enumerate() {
            if both || way == one {
                lane.flights.clear();
                lane.dead = true;
            }
        }
        true
    }

    /// The connections of a device after its address has changed: whoever translated the former one has forgotten
    /// them, and says so or not.
    pub(crate) fn forget_wires(&mut self, d: usize) {
        for n in self.wires.of(d) {
            let tells = self.net_rng.chance(30);
            self.cut_off(n, Way::ToClient, tells);
        }
    }

    /// A device's process is gone. `silent`: nobody is told.
    pub(crate) fn drop_wires(&mut self, d: usize, silent: bool) {
        for n in self.wires.of(d) {
            self.wires.let_go(n, Way::ToClient);
            self.cut_off(n, Way::ToServer, !silent);
        }
    }

    /// The server's process is gone: its connections are reset later, some only when somebody asks.
    pub(crate) fn orphan_wires(&mut self) {
        for n in 0..self.wires.all.len() {
            if self.wires.all[n].end(Way::ToServer) != End::Down {
                self.wires.let_go(n, Way::ToServer);
                let told = self.rng.chance(50);
                self.cut_off(n, Way::ToClient, told);
            }
        }
    }

    /// An end will hear nothing more but, if it is told, that the connection is gone.
    fn cut_off(&mut self, n: usize, way: Way, told: bool) {
        if told {
            let at = self.schedule.now().plus_ms(self.net_rng.skewed(1, 3_000)).max(self.wire_cut(n, way));
            self.later(n, way, Stir::Gone, at);
        } else if self.wires.all[n].ends == [End::Up; 2] {
            self.wires.all[n].lanes.iter_mut().for_each(|lane| lane.dead = true);
        }
    }

    /// The faults end: of the connections that go nowhere, some are told so at once, the others when somebody asks.
    pub(crate) fn heal_wires(&mut self) {
        let now = self.schedule.now();
        (self.wires.no_udp, self.wires.no_tcp) = (now, now);
        for n in 0..self.wires.all.len() {
            let wire = &self.wires.all[n];
            let half = (wire.end(Way::ToClient) == End::Up) != (wire.end(Way::ToServer) == End::Up);
            if wire.tampered || ((half || wire.is_dead()) && self.rng.chance(50)) {
                for way in [Way::ToServer, Way::ToClient] {
                    let at = now.plus_ms(self.rng.between(1, 1_000));
                    self.later(n, way, Stir::Gone, at);
                }
            }
            // Those that wait for room find more of it.
            for way in [Way::ToServer, Way::ToClient] {
                self.push(n, way);
            }
        }
    }

    // ── strangers ───────────────────────────────────────────────────────────────────────────────

    /// A stranger connects and says what he heard, what he made of it, or something else.
    pub(crate) fn tcp_stranger(&mut self) {
        let heard: Vec<Vec<u8>> = self.wires.overheard.iter().cloned().collect();
        let mut repeats = false;
        let words = match self.rng.below(6) {
            0 | 1 if !heard.is_empty() => {
                repeats = true;
                self.rng.pick(&heard).clone()
            }
            2 if !heard.is_empty() => {
                let mut words = self.rng.pick(&heard).clone();
                let at = self.rng.below(words.len() as u64) as usize;
                words[at] ^= 1 << self.rng.below(8);
                words
            }
            3 => b"GET / HTTP/1.1\r\nHost: sim.test\r\n\r\n".to_vec(),
            // Half a header, and silence.
            4 => b"NTHD\x01\0"[..self.rng.between(1, 6) as usize].to_vec(),
            _ => {
                let mut noise = vec![0; self.rng.between(1, 6_000) as usize];
                self.rng.fill(&mut noise);
                noise
            }
        };
        let port = 1024 + self.rng.below(60_000) as u16;
        let n = self.wires.add(Dialler::Stranger { repeats }, port, None);
        self.wires.all[n].lane(Way::ToServer).out.extend(words);
        self.dial(n, true);
    }

    fn tell_stranger(&mut self, n: usize, way: Way, input: &StreamInput) -> Check {
        match input {
            StreamInput::Connected => {
                self.push(n, Way::ToServer);
                if self.rng.chance(30) {
                    self.wires.all[n].lane(Way::ToServer).closing = true;
                    self.push(n, Way::ToServer);
                }
                self.stranger_must_be_over(n)?;
            }
            StreamInput::Bytes(_) => {
                let now = self.schedule.now();
                self.later(n, way, Stir::Due, now);
            }
            StreamInput::Written | StreamInput::Settled | StreamInput::Closed => {}
        }
        Ok(())
    }

    /// Who has not come in is sent away.
    fn stranger_must_be_over(&mut self, n: usize) -> Check {
        let now = self.schedule.now();
        let wire = &mut self.wires.all[n];
        let within = match wire.dialler {
            // What he repeats may be granted; then nothing but silence follows.
            Dialler::Stranger { repeats: true } => SILENT_ENDS_MS,
            _ => STRANGER_ENDS_MS,
        };
        let began = wire.lane(Way::ToClient).last.max(wire.lane(Way::ToServer).last);
        let due = began.max(self.server.frozen_until).max(self.wires.no_tcp).plus_ms(within);
        if wire.end(Way::ToServer) == End::Down {
            return Ok(());
        }
        if due > now {
            self.later(n, Way::ToServer, Stir::MustBeOver, due);
            return Ok(());
        }
        Err(format!("a stranger on connection {n} was not sent away"))
    }

    /// The connection of which the server speaks.
    pub(crate) fn wire_of(&self, conn: u64) -> Option<&Wire> {
        let (host, id) = (Host::Server, StreamId(conn & !TCP));
        if conn & TCP == 0 { None } else { Some(&self.wires.all[*self.wires.named.get(&(host, id))?]) }
    }
}

/// A stranger must have been sent away within this: a handshake may take ten seconds, farewells two.
const STRANGER_ENDS_MS: u64 = 15_000;
/// Or within this: heartbeats that nobody answers, in a session that was granted.
const SILENT_ENDS_MS: u64 = 45_000;
/// Set in the server's numbers of TCP connections.
const TCP: u64 = 1 << 63;
