//! The end of the faults, and what must be so soon after.

use crate::deed::Deed;
use crate::draw::Draw;
use crate::ledger::Check;
use crate::net::{End, Way};
use crate::scenario::HEAL_WITHIN;
use crate::schedule::Time;
use crate::world::{Ev, World};

/// Messages that are durable at the end, at least: a hundred, and some that go with a device that is revoked.
const AT_LEAST: usize = 110;
/// With fewer a run is not over.
const ENOUGH: usize = 100;
/// How often it is looked whether all is at rest.
const LOOK_EVERY_MS: u64 = 250;

impl World {
    /// The faults end.
    pub(crate) fn heal(&mut self) -> Check {
        self.healed = true;
        let now = self.schedule.now();
        self.trace.add("heal", &[], &[]);
        self.server.disk.store.set_capacity(usize::MAX);
        self.server.slow_until = now;
        self.server.disk.fail_next_sync = false;
        self.server.crash_at_sync = false;
        for device in &mut self.devices {
            device.disk.full = false;
            device.disk.fail_next_sync = false;
            device.slow_until = now;
            device.crash_at_sync = false;
        }
        // Deadlines and full disks may have left too few messages.
        let lacking = AT_LEAST.saturating_sub(self.ledger.durable() + self.unsent);
        self.unsent += lacking;
        for _ in 0..lacking {
            let d = self.rng.below(self.devices.len() as u64) as usize;
            let at = now.plus_ms(self.rng.between(1, 2_000));
            self.schedule.at(at, Ev::AppSend { d });
        }
        for d in 0..self.devices.len() {
            let at = now.plus_ms(self.acts.between(3_000, 12_000));
            self.last_due += 1;
            self.schedule.at(at, Ev::LastActs { d });
        }
        self.scenario.delay.1 = self.scenario.delay.1.min(100_000);
        for conn in 0..self.conns.len() {
            let state = &self.conns[conn];
            let half = (state.client == End::Up) != (state.server == End::Up);
            if half || state.tampered {
                // A network that works tells who talks to nobody.
                for way in [Way::ToServer, Way::ToClient] {
                    let at = now.plus_ms(self.rng.between(1, 1_000));
                    self.schedule.at(at, Ev::Gone { conn, way });
                }
            }
        }
        self.heal_wires();
        self.schedule.at(now.plus_ms(LOOK_EVERY_MS), Ev::Check);
        Ok(())
    }

    /// Looks whether all is at rest; if not, again later.
    pub(crate) fn look(&mut self) -> Check {
        let now = self.schedule.now();
        match self.unrest() {
            // What was refused is not stored: a few more.
            None if self.ledger.durable() < ENOUGH => {
                self.unsent += 1;
                let d = self.rng.below(self.devices.len() as u64) as usize;
                self.schedule.at(now, Ev::AppSend { d });
                self.schedule.at(now.plus_ms(LOOK_EVERY_MS), Ev::Check);
                Ok(())
            }
            None => {
                self.stats.healed_after_ms = now.since(self.scenario.heal).as_millis() as u64;
                self.end()
            }
            Some(why) if now > self.scenario.heal.after(HEAL_WITHIN) => {
                Err(format!("not at rest {} s after the faults ended: {why}", HEAL_WITHIN.as_secs()))
            }
            Some(_) => {
                self.schedule.at(now.plus_ms(LOOK_EVERY_MS), Ev::Check);
                Ok(())
            }
        }
    }

    /// Why it is not at rest.
    fn unrest(&self) -> Option<String> {
        let Some(server) = &self.server.process else { return Some("the server is down".into()) };
        if self.unsent > 0 {
            return Some(format!("{} messages are not handed over", self.unsent));
        }
        if self.last_due > 0 {
            return Some(format!("{} devices have not done their last acts", self.last_due));
        }
        for (d, device) in self.devices.iter().enumerate().filter(|(_, d)| !d.dead) {
            let Some(process) = &device.process else { return Some(format!("device {d} is down")) };
            let why = if !process.online || !process.machine.client().is_online() {
                "is offline".into()
            } else if !server.sessions.values().any(|id| device.identity.is_some_and(|(_, own)| own == *id)) {
                "is online, and the server does not know".into()
            } else if process.machine.client().outbox_len() > 0 {
                format!("has {} messages in its outbox", process.machine.client().outbox_len())
            } else if !process.caught_up {
                "has not caught up".into()
            } else if !device.disk.is_idle() {
                "writes".into()
            } else if !device.app.is_idle() {
                "has an application at work".into()
            } else if !process.asked.is_empty() {
                "waits for answers".into()
            } else if let Some(missing) = self.missing(d).or_else(|| self.unknown(d)) {
                missing
            } else if device.disk.owes() {
                "owes receipts".into()
            } else {
                continue;
            };
            return Some(format!("device {d} {why}"));
        }
        self.unmarked()
    }

    /// At rest: what must be true now.
    fn end(&mut self) -> Check {
        self.ledger.settled(|d| !self.devices[d].dead)?;
        self.whole()?;
        let Some(process) = &self.server.process else { return Err("no server at the end".into()) };
        let mut known = 0;
        for conn in self.counted.open() {
            known += 1;
            if self.quic.is_none() && self.conns[conn].server != End::Up {
                return Err(format!("connection {conn} ended and its end was never told"));
            }
        }
        let hub = process.core.hub();
        // Early data that came to nothing is not forgotten at once.
        known += process.core.early();
        if hub.connections() > known {
            return Err(format!("the server holds {} connections of {known}", hub.connections()));
        }
        if hub.in_store() > 64 {
            return Err(format!("{} transactions never ended", hub.in_store()));
        }
        for d in (0..self.devices.len()).filter(|d| !self.devices[*d].dead) {
            let saved = self.saved(d);
            if !saved.outbox.is_empty() {
                return Err(format!("device {d} has {} messages left on its disk", saved.outbox.len()));
            }
        }
        let truth = &self.ledger.truth;
        self.stats.deeds.add(Deed::Refused, truth.refused);
        self.stats.acknowledged = self.ledger.acknowledged() as u64;
        self.stats.messages = self.ledger.durable() as u64;
        self.stats.seals = self.provider.seals() as u64;
        self.stats.virtual_ms = self.schedule.now().since(Time(0)).as_millis() as u64;
        self.finish();
        Ok(())
    }
}
