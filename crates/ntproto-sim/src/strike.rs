//! Faults as they strike.

use bytes::Bytes;
use ntproto_core::client::{Command, Input};
use ntproto_core::wire::packet::PacketId;
use ntproto_proto::v2;
use prost::Message as _;

use crate::draw::{Draw, rng};
use crate::fault::Fault;
use crate::ledger::Check;
use crate::net::End;
use crate::schedule::Time;
use crate::world::{Ev, World};

/// A day.
const DAY_MS: u64 = 24 * 3600 * 1000;
/// Ten minutes.
const SKEW_MS: u64 = 600 * 1000;

/// How often a class strikes in a seed that has it, at least and at most.
const fn strikes(fault: Fault) -> (u64, u64) {
    match fault {
        Fault::Reset | Fault::Truncate => (2, 8),
        Fault::OneWay | Fault::Partition => (1, 4),
        Fault::ServerCrash => (1, 5),
        Fault::ClientCrash => (1, 8),
        Fault::SyncFails => (1, 2),
        Fault::DiskFull | Fault::SlowDisk | Fault::ClockBack | Fault::Revoke => (1, 2),
        Fault::ClientDisk | Fault::ClockJump | Fault::Freeze | Fault::Supersede => (1, 4),
        Fault::Thief | Fault::Replay | Fault::Rebind => (2, 6),
        Fault::Renewal => (2, 10),
        Fault::Quit => (1, 6),
        Fault::HalfOpen => (2, 6),
        Fault::UdpDown | Fault::TcpDown => (1, 3),
        _ => (0, 0),
    }
}

impl World {
    /// Decides when faults strike. Each class has dice of its own.
    pub(crate) fn plan_strikes(&mut self) {
        for fault in self.scenario.faults.iter() {
            let mut r = rng(self.seed, fault.name());
            let (low, high) = strikes(fault);
            for _ in 0..r.between(low, high) {
                let at = Time(r.between(500_000, self.scenario.heal.0 - 1));
                self.schedule.at(at, Ev::Strike { fault });
            }
        }
        if self.scenario.on(Fault::Skew) {
            let mut r = rng(self.seed, "skew");
            let mut off = || r.between(0, 2 * SKEW_MS) as i64 - SKEW_MS as i64;
            self.server.wall_offset_ms = off();
            self.devices.iter_mut().for_each(|d| d.wall_offset_ms = off());
            self.fired(Fault::Skew);
        }
        if self.scenario.on(Fault::ShortTickets) {
            self.fired(Fault::ShortTickets);
        }
    }

    /// A device that could be struck.
    fn victim(&mut self) -> usize {
        self.rng.below(self.devices.len() as u64) as usize
    }

    /// An instant so far ahead, though not after the faults end.
    fn within(&mut self, low_ms: u64, high_ms: u64) -> Time {
        self.schedule.now().plus_ms(self.rng.skewed(low_ms, high_ms)).min(self.scenario.heal)
    }

    /// A fault strikes.
    pub(crate) fn strike(&mut self, fault: Fault) -> Check {
        if self.healed {
            return Ok(());
        }
        self.trace.add(fault.name(), &[], &[]);
        let now = self.schedule.now();
        let d = self.victim();
        match fault {
            Fault::Reset if self.quic.is_some() => {
                if !self.break_wire() {
                    self.strike_again(fault);
                }
            }
            Fault::HalfOpen => {
                if !self.silence_wire() {
                    self.strike_again(fault);
                }
            }
            Fault::UdpDown => self.wires.no_udp = self.within(3_000, 60_000),
            Fault::TcpDown => self.wires.no_tcp = self.within(1_000, 40_000),
            Fault::Reset => self.strike_reset(false),
            Fault::Truncate => self.strike_reset(true),
            Fault::OneWay => {
                let way = self.rng.below(2) as usize;
                self.devices[d].cut_until[way] = self.within(500, 45_000);
            }
            Fault::Partition => self.devices[d].cut_until = [self.within(500, 45_000); 2],
            Fault::ServerCrash => {
                if self.rng.chance(70) {
                    self.server.crash_at_sync = true;
                } else {
                    return self.crash_server(None);
                }
            }
            Fault::SyncFails => self.server.disk.fail_next_sync = true,
            Fault::DiskFull => {
                let room = self.rng.skewed(0, 4_000) as usize;
                self.server.disk.store.set_capacity(self.server.disk.store.used() + room);
                let until = self.within(500, 20_000);
                self.schedule.at(until, Ev::DiskHasRoom);
            }
            Fault::SlowDisk => {
                self.server.slow_until = self.within(2_000, 30_000);
                self.fired(Fault::SlowDisk);
            }
            Fault::ClientCrash => {
                if self.rng.chance(60) {
                    self.devices[d].crash_at_sync = true;
                } else {
                    return self.crash_device(d);
                }
            }
            Fault::ClientDisk => {
                self.fired(Fault::ClientDisk);
                match self.rng.below(3) {
                    0 => self.devices[d].slow_until = self.within(2_000, 30_000),
                    1 => self.devices[d].disk.fail_next_sync = true,
                    _ => {
                        self.devices[d].disk.full = true;
                        let until = self.within(500, 15_000);
                        self.schedule.at(until, Ev::DeviceHasRoom { d });
                    }
                }
            }
            Fault::ClockJump => {
                let by = self.rng.between(0, 2 * DAY_MS) as i64 - DAY_MS as i64;
                let device = &mut self.devices[d];
                device.wall_offset_ms += by;
                if let Some(process) = &mut device.process {
                    process.clock.wall_offset_ms += by;
                    self.fired(Fault::ClockJump);
                }
            }
            Fault::ClockBack => {
                // Up to two minutes back, an expired ticket could look good again.
                let far = *self.rng.pick(&[120_000, DAY_MS]);
                let by = self.rng.skewed(1_000, far) as i64;
                let by = if self.rng.chance(70) { -by } else { by };
                self.fired(Fault::ClockBack);
                return self.crash_server(Some(by));
            }
            Fault::Freeze => {
                let until = self.within(200, 25_000);
                self.fired(Fault::Freeze);
                if self.rng.chance(30) {
                    self.server.frozen_until = until;
                } else {
                    self.devices[d].frozen_until = until;
                }
            }
            Fault::Revoke => return self.strike_revoke(),
            Fault::Supersede => self.supersede(d),
            Fault::Thief => self.thief(),
            Fault::Replay if self.quic.is_some() => self.strangers(),
            Fault::Replay => self.replay(),
            Fault::Rebind => self.rebind(d),
            Fault::Renewal => return self.strike_renewal(d),
            Fault::Quit => {
                if self.call_device(d, Command::Close).is_ok() {
                    self.fired(Fault::Quit);
                }
                return self.drain_device(d);
            }
            _ => return Err(format!("{fault} does not strike")),
        }
        let _ = now;
        Ok(())
    }

    /// There is nobody to strike now.
    fn strike_again(&mut self, fault: Fault) {
        let soon = self.schedule.now().plus_ms(self.rng.between(100, 2_000));
        self.schedule.at(soon, Ev::Strike { fault });
    }

    fn strike_reset(&mut self, truncate: bool) {
        let up: Vec<usize> = (0..self.conns.len())
            .filter(|c| self.conns[*c].client == End::Up && self.conns[*c].server == End::Up)
            .filter(|c| !truncate || self.conns[*c].busy())
            .collect();
        if !up.is_empty() {
            let conn = *self.rng.pick(&up);
            if !truncate {
                self.fired(Fault::Reset);
            }
            self.reset(conn, truncate);
        } else if truncate {
            // Nothing is on its way now.
            let soon = self.schedule.now().plus_ms(self.rng.between(1, 200));
            self.schedule.at(soon, Ev::Strike { fault: Fault::Truncate });
        }
    }

    /// A device of an account with several revokes another one of it, now and then itself.
    fn strike_revoke(&mut self) -> Check {
        let pairs: Vec<(usize, usize)> = (0..self.devices.len())
            .flat_map(|by| (0..self.devices.len()).map(move |of| (by, of)))
            .filter(|(by, of)| {
                let (by, of) = (&self.devices[*by], &self.devices[*of]);
                by.user == of.user && !by.dead && !of.dead && of.identity.is_some()
            })
            // Somebody must be left to see the messages.
            .filter(|(by, of)| {
                let user = self.devices[*by].user;
                let alive = (0..self.devices.len())
                    .filter(|d| {
                        self.devices[*d].user == user && !self.devices[*d].dead && !self.condemned[*d]
                    })
                    .count();
                alive >= 2 && !self.condemned[*of] && by != of
            })
            .collect();
        if pairs.is_empty() {
            return Ok(());
        }
        let (by, of) = *self.rng.pick(&pairs);
        let Some((_, id)) = self.devices[of].identity else { return Ok(()) };
        if !self.devices[by].process.as_ref().is_some_and(|p| p.online) {
            return Ok(());
        }
        self.condemned[of] = true;
        self.fired(Fault::Revoke);
        let body = v2::RevokeDeviceRequest { device_id: Bytes::copy_from_slice(&id.0) }.encode_to_vec();
        self.app_ask(by, PacketId::REVOKE_DEVICE, body.into())
    }

    /// Renews what need not be renewed, or asks for what nobody needs.
    fn strike_renewal(&mut self, d: usize) -> Check {
        let asked = match self.rng.below(5) {
            0 => self.call_device(d, Command::RefreshTicket).is_ok(),
            1 => self.call_device(d, Command::UpdateKeys).is_ok(),
            2 => {
                self.fired(Fault::Renewal);
                return self.app_ask(d, PacketId::DEVICES, Bytes::new());
            }
            3 => {
                self.fired(Fault::Renewal);
                let body =
                    v2::InviteRequest { uses: 1, lifetime_ms: 1_000, may_invite: false }.encode_to_vec();
                return self.app_ask(d, PacketId::INVITE, body.into());
            }
            _ => {
                self.fired(Fault::Renewal);
                return self.device_input(d, Input::NetworkChanged);
            }
        };
        if asked {
            self.fired(Fault::Renewal);
        }
        self.drain_device(d)
    }
}
