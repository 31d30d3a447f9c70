//! Those who connect without being a device of the run: copies of devices, thieves, and who repeats
//! or makes up what others say.

use std::time::Duration;

use bytes::Bytes;
use ntproto_core::binding::Binding;
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::endpoint::client::{ClientEndpoint, Command, Config, Event, ServerIdentity};
use ntproto_core::endpoint::{Input, Output};
use ntproto_core::rng::Rng;
use ntproto_core::session::handshake::VERSIONS;
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::packet::{Kind, Packet, PacketId};
use ntproto_proto::v2::{self, auth_request::Credential};

use crate::draw::Draw;
use crate::fault::Fault;
use crate::ledger::Check;
use crate::net::{Owner, Way};
use crate::schedule::{Clock, Time};
use crate::world::{Ev, MAX_OUTPUTS, World};

/// Heartbeats of a raw client.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// What it says.
enum Speech {
    /// A handshake of its own.
    Handshake(Box<v2::AuthRequest>),
    /// Bytes on CONTROL, and nothing else.
    Bytes(Vec<u8>),
}

/// Somebody.
pub(crate) struct Raw {
    keys: DeviceKeys,
    speech: Speech,
    endpoint: Option<ClientEndpoint>,
    rng: Rng,
    clock: Clock,
    pub(crate) conn: usize,
    /// The device it copies. Everybody else must be kept out.
    pub(crate) copies: Option<usize>,
    /// The connection whose first words it repeats.
    repeats: Option<usize>,
    why: &'static str,
    armed: Option<Time>,
}

impl World {
    fn come(&mut self, keys: DeviceKeys, speech: Speech, copies: Option<usize>, why: &'static str) {
        let r = self.raws.len();
        let clock = Clock::new(self.schedule.now(), 1 + self.rng.below(1 << 30), 0);
        let rng = Rng::new(self.rng.array());
        self.trace.add(why, &[r as u64], &[]);
        self.raws.push(Raw {
            keys,
            speech,
            endpoint: None,
            rng,
            clock,
            conn: 0,
            copies,
            repeats: None,
            why,
            armed: None,
        });
        self.raws[r].conn = self.connect(Owner::Raw(r));
        let leave = self.schedule.now().plus_ms(self.rng.between(1_000, 15_000));
        self.schedule.at(leave, Ev::RawLeaves { r });
    }

    /// A request as a device makes it, with the server's own time on it.
    fn request(&self, credential: Credential) -> Box<v2::AuthRequest> {
        let server = self.server.process.as_ref();
        let time = server.map_or(0, |p| p.core.hub().server_time(p.clock.now(self.schedule.now())).0);
        Box::new(v2::AuthRequest {
            credential: Some(credential),
            signing_key: Bytes::new(),
            fingerprint_hash: Bytes::from_static(&[0; 32]),
            timestamp_ms: time,
            versions: VERSIONS.iter().map(|v| (*v).into()).collect(),
            transports: vec!["quic".into()],
            signature: Bytes::new(),
            app_id: 10001,
            device_name: "copy".into(),
            early: None,
            bootstrap: Bytes::new(),
        })
    }

    /// A copy of a device connects, with its keys and perhaps its ticket.
    pub(crate) fn supersede(&mut self, d: usize) {
        if self.devices[d].identity.is_none() || self.devices[d].dead {
            return;
        }
        let credential = match self.devices[d].tickets.last() {
            Some((ticket, _)) if self.rng.chance(50) => Credential::Ticket(ticket.sealed.clone()),
            _ => Credential::KnownDevice(v2::KnownDevice {}),
        };
        let keys = self.devices[d].keys.duplicate();
        let request = self.request(credential);
        self.devices[d].copied = true;
        self.come(keys, Speech::Handshake(request), Some(d), "a copy");
    }

    /// Somebody comes with what must not let them in.
    pub(crate) fn thief(&mut self) {
        let now = self.schedule.now();
        let uptime = self.server.uptime(now);
        let lifetime = self.scenario.ticket_lifetime.as_micros() as u64;
        let mut ways = Vec::new();
        for (d, device) in self.devices.iter().enumerate() {
            for (ticket, seen) in &device.tickets {
                ways.push((d, Credential::Ticket(ticket.sealed.clone()), "a stolen ticket"));
                if uptime > seen + lifetime {
                    ways.push((d, Credential::Ticket(ticket.sealed.clone()), "an expired ticket"));
                }
                if self.revoked(d) {
                    ways.push((d, Credential::Ticket(ticket.sealed.clone()), "a revoked device's ticket"));
                }
            }
            if self.revoked(d) {
                ways.push((d, Credential::KnownDevice(v2::KnownDevice {}), "a revoked device"));
            }
        }
        // Rare ways first: whatever there is of them is tried as often as the common one.
        let kinds: Vec<&str> =
            ["a stolen ticket", "an expired ticket", "a revoked device's ticket", "a revoked device"]
                .into_iter()
                .filter(|kind| ways.iter().any(|w| w.2 == *kind))
                .collect();
        if kinds.is_empty() {
            return;
        }
        let kind = *self.rng.pick(&kinds);
        ways.retain(|w| w.2 == kind);
        let (d, credential, why) = self.rng.pick(&ways).clone();
        let others: Vec<usize> = (0..self.devices.len()).filter(|o| *o != d).collect();
        let who = if kind == "a stolen ticket" { *self.rng.pick(&others) } else { d };
        let keys = self.devices[who].keys.duplicate();
        let request = self.request(credential);
        self.fired(Fault::Thief);
        self.come(keys, Speech::Handshake(request), None, why);
    }

    /// Somebody repeats what a device said, changes it, or makes noise.
    pub(crate) fn replay(&mut self) {
        let d = self.rng.below(self.devices.len() as u64) as usize;
        let (conn, mut bytes) = self.devices[d].overheard.clone();
        let why = match self.rng.below(4) {
            0 | 1 if !bytes.is_empty() => "a repetition",
            2 if !bytes.is_empty() => {
                let at = self.rng.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << self.rng.below(8);
                "a changed repetition"
            }
            _ => {
                bytes = vec![0; self.rng.between(1, 6_000) as usize];
                self.rng.fill(&mut bytes);
                if self.rng.chance(50) {
                    bytes[0] = 2;
                }
                "noise"
            }
        };
        let keys = self.devices[d].keys.duplicate();
        self.fired(Fault::Replay);
        self.come(keys, Speech::Bytes(bytes), None, why);
        if why == "a repetition"
            && let Some(raw) = self.raws.last_mut()
        {
            raw.repeats = Some(conn);
        }
    }

    /// Its connection is up.
    pub(crate) fn raw_connected(&mut self, r: usize, binding: Binding) {
        let now = self.raws[r].clock.now(self.schedule.now());
        let config = Config {
            provider: self.provider,
            server: ServerIdentity::Known(*self.server.keys.current().public()),
            binding,
            heartbeat: HEARTBEAT,
        };
        let raw = &mut self.raws[r];
        match &raw.speech {
            Speech::Handshake(request) => {
                let request = (**request).clone();
                raw.endpoint = ClientEndpoint::new(now, config, &raw.keys, request, &mut raw.rng).ok();
            }
            Speech::Bytes(_) => {}
        }
    }

    /// Its connection brings something.
    pub(crate) fn raw_input(&mut self, r: usize, input: Input<'_>) {
        let raw = &mut self.raws[r];
        let now = raw.clock.now(self.schedule.now());
        if let (Input::TransportClosed, Speech::Bytes(bytes)) = (&input, &mut raw.speech) {
            bytes.clear();
        }
        if let Some(endpoint) = &mut raw.endpoint {
            endpoint.handle(now, input);
        }
    }

    /// Does what it wants until it waits.
    pub(crate) fn drain_raw(&mut self, r: usize) -> Check {
        let time = self.schedule.now();
        let conn = self.raws[r].conn;
        if let Speech::Bytes(bytes) = &mut self.raws[r].speech {
            let bytes = std::mem::take(bytes);
            return if bytes.is_empty() {
                Ok(())
            } else {
                self.send(conn, Way::ToServer, Channel::Control, bytes)
            };
        }
        for _ in 0..MAX_OUTPUTS {
            let raw = &mut self.raws[r];
            let now = raw.clock.now(time);
            let Some(endpoint) = &mut raw.endpoint else { return Ok(()) };
            self.tx.clear();
            match endpoint.poll_output(now, Some(&mut self.tx)) {
                Output::Transmit { channel } => {
                    let data = self.tx.as_slice().to_vec();
                    self.send(conn, Way::ToServer, channel, data)?;
                }
                Output::Event(Event::Granted(_)) => {
                    if raw.copies.is_none() {
                        return Err(format!("{} was let in", raw.why));
                    }
                    let kind = Kind::Request(1);
                    let packet = Packet {
                        id: PacketId::DEVICES,
                        kind,
                        deadline_ms: None,
                        trace: None,
                        body: Bytes::new(),
                    };
                    let _ = endpoint.call(now, Command::Send(Channel::Message, packet));
                }
                Output::Event(Event::Closed(_)) => {
                    raw.endpoint = None;
                    self.let_go(conn, Way::ToServer, false);
                }
                Output::Event(_) => {}
                Output::Wait { at, .. } => {
                    let at = at.map(|at| raw.clock.when(at));
                    if at.is_some() && at != raw.armed {
                        self.schedule.at(at.unwrap_or(time), Ev::RawTimer { r });
                    }
                    raw.armed = at;
                    return Ok(());
                }
            }
        }
        Err(format!("{} never waits", self.raws[r].why))
    }

    /// It goes.
    pub(crate) fn raw_leaves(&mut self, r: usize) {
        self.raws[r].endpoint = None;
        self.let_go(self.raws[r].conn, Way::ToServer, false);
    }

    /// The server let in somebody who is no device. Returns the device it is a copy of.
    ///
    /// A repetition is let in where the original never was by this process: it comes no further,
    /// because whoever repeats does not have the keys.
    pub(crate) fn raw_let_in(&self, r: usize) -> Check<Option<usize>> {
        let raw = &self.raws[r];
        let first = raw.repeats.is_some_and(|conn| !self.let_in.contains(&conn));
        match raw.copies {
            None if !first => Err(format!("the server let in {}", raw.why)),
            copies => Ok(copies),
        }
    }
}
