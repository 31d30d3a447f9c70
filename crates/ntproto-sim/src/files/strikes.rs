//! What goes wrong, and what must be so when nothing does any more.

use ntproto_hub::store::verify::verify;
use ntproto_web as web;

use super::client::Job;
use super::world::{Ev, REST, World};
use crate::draw::Draw as _;
use crate::fault::Fault;
use crate::ledger::Check;

impl World {
    pub(super) fn crash(&mut self) -> Check {
        let keep = self.rng.chance(50);
        self.stats.server_crashes += 1;
        self.server.crash(&mut self.rng, keep);
        let at = self.after(100_000, 3_000_000);
        self.schedule.at(at, Ev::ServerStart);
        for conn in 0..self.conns.len() {
            if self.conns[conn].open {
                // Some learn it from the next thing they send.
                if self.rng.chance(70) {
                    let at = self.after(1_000, 500_000);
                    self.schedule.at(at, Ev::Broken { conn });
                }
                self.conns[conn].exchanges.clear();
            }
        }
        Ok(())
    }

    /// A connection breaks: either side learns it by itself.
    pub(super) fn reset(&mut self, conn: usize, client_learns: bool) {
        for exchange in std::mem::take(&mut self.conns[conn].exchanges) {
            // What was on its way to the server before that may still arrive; afterwards the exchange is none.
            let boot = self.conns[conn].boot;
            if let Some((web, now)) = self.process(boot) {
                web.handle(now, web::Input::Gone { exchange });
            }
        }
        if client_learns {
            let at = self.after(1_000, 2_000_000);
            self.schedule.at(at, Ev::Broken { conn });
        }
    }

    pub(super) fn strike(&mut self, fault: Fault) -> Check {
        let open: Vec<usize> = (0..self.conns.len()).filter(|conn| self.conns[*conn].open).collect();
        let up: Vec<usize> = (0..self.clients.len())
            .filter(|c| self.clients[*c].is_up() && self.clients[*c].ended.is_none())
            .collect();
        self.trace.add("strike", &[fault as u64], &[]);
        match fault {
            Fault::Delay | Fault::Chunks | Fault::Partition => self.fired(fault),
            Fault::Supersede => {}
            Fault::Stall if !open.is_empty() => {
                let (conn, now) = (*self.rng.pick(&open), self.now());
                self.conns[conn].stall(now, &mut self.rng);
                self.fired(fault);
            }
            Fault::Reset | Fault::HalfOpen if !open.is_empty() => {
                let conn = *self.rng.pick(&open);
                self.reset(conn, fault == Fault::Reset);
                self.fired(fault);
                self.serve()?;
            }
            Fault::ServerCrash if self.server.process.is_some() => {
                self.fired(fault);
                self.crash()?;
            }
            Fault::SyncFails if self.server.process.is_some() => {
                self.fired(fault);
                match self.rng.chance(50) {
                    true => self.server.files.fail_next_sync = true,
                    false => self.server.store.fail_next_sync(),
                }
            }
            Fault::DiskFull => {
                self.fired(fault);
                self.server.files.full = true;
                let at = self.after(100_000, 5_000_000);
                self.schedule.at(at, Ev::DiskHasRoom);
            }
            Fault::SlowDisk => {
                self.fired(fault);
                self.slow = !self.slow;
            }
            Fault::ShortTickets => {
                self.fired(fault);
                self.server.log_out();
            }
            Fault::ClientCrash if !up.is_empty() => {
                self.fired(fault);
                let c = *self.rng.pick(&up);
                self.stats.client_crashes += 1;
                self.fail(c);
                let at = self.after(50_000, 5_000_000);
                self.schedule.at(at, Ev::ClientStart { c });
            }
            Fault::Quit if !up.is_empty() => {
                let ours = |c: &&usize| matches!(self.clients[**c].job, Job::Upload { copy: false, .. });
                let ours = up.iter().find(ours).copied();
                if let Some(c) = ours.filter(|_| !self.faults.contains(Fault::Supersede)) {
                    self.fired(fault);
                    self.clients[c].cancel();
                    self.step(c)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A client's power fails.
    pub(super) fn fail(&mut self, c: usize) {
        if let Some(conn) = self.clients[c].conn {
            self.conns[conn].open = false;
            let learns = self.rng.chance(70);
            if learns {
                self.reset(conn, false);
            }
        }
        self.clients[c].crash();
    }

    /// The faults end.
    pub(super) fn heal(&mut self) -> Check {
        (self.healed, self.slow) = (true, false);
        self.server.files.full = false;
        self.server.files.fail_next_sync = false;
        for c in 0..self.clients.len() {
            let client = &self.clients[c];
            let pries = matches!(client.job, Job::Pry(_)) && client.life > 0;
            if client.ended.is_none() && (client.is_copy() || pries) {
                self.fail(c);
                self.clients[c].life += 1;
                self.clients[c].ended = Some(Ok(()));
            }
        }
        self.schedule.at(self.now(), Ev::ServerStart);
        let at = self.now().plus_ms(REST);
        self.schedule.at(at, Ev::Rested);
        self.quiet();
        self.serve()
    }

    /// Nothing is left behind.
    pub(super) fn swept(&mut self) -> Check {
        if self.clients.iter().any(|client| client.ended.is_none()) {
            return Err("a transfer began after all were over".into());
        }
        let (parts, contents) = self.server.files.counts();
        if parts > 0 {
            return Err(format!("{parts} partial files were left behind"));
        }
        let whole = self.clients.iter().filter(|client| {
            matches!((&client.job, &client.ended), (Job::Upload { copy: false, .. }, Some(Ok(()))))
        });
        // One that was called off may have been whole.
        let most = whole.count() + self.clients.iter().filter(|client| client.cancelled).count();
        if contents > most {
            return Err(format!("{contents} contents for {most} files"));
        }
        verify(self.server.store.tables(), &mut |_| true).map_err(|e| format!("the store: {e}"))?;
        let open = self.server.process.as_ref().map_or(0, |process| process.web.exchanges());
        if open > 0 {
            return Err(format!("{open} exchanges never ended"));
        }
        self.done = true;
        Ok(())
    }
}
