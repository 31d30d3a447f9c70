//! The server's host: it starts the process and cuts its power, runs its disk, and does what it wants.

use ntproto_core::client::Down;
use ntproto_core::ids::DeviceId;
use ntproto_core::time::Instant;
use ntproto_core::wire::channel::Channel;
use ntproto_hub::store::txn::Watermark;
use ntproto_hub::store::{OpId, Outcome, Txn};
use ntproto_hub::{self as hub, ConnId, HubEvent};

use crate::draw::Draw;
use crate::fault::Fault;
use crate::ledger::Check;
use crate::net::{End, Owner, Way};
use crate::quic::Dialler;
use crate::schedule::Time;
use crate::server::Job;
use crate::world::{Ev, MAX_OUTPUTS, World};

impl World {
    pub(crate) fn start_server(&mut self) -> Check {
        if self.server.process.is_some() {
            return Ok(());
        }
        let now = self.schedule.now();
        match self.server.start(self.provider, self.hub_config, &mut self.rng, now, self.quic.as_ref())? {
            Some(boot) => {
                self.trace.add("boot", &[u64::from(self.server.boots), boot.clock.0, boot.floor.0], &[]);
                self.drain_server()
            }
            None => {
                self.server.disk.crash(false, &mut self.ledger)?;
                self.schedule.at(now.plus_ms(500), Ev::ServerStart);
                Ok(())
            }
        }
    }

    /// The power of the server fails. `clock`: its wall clock is off by so much when it comes back.
    pub(crate) fn crash_server(&mut self, clock: Option<i64>) -> Check {
        if self.server.process.is_none() {
            return Ok(());
        }
        let now = self.schedule.now();
        self.stats.server_crashes += 1;
        if self.scenario.on(Fault::ServerCrash) {
            self.fired(Fault::ServerCrash);
        }
        let keep = self.rng.chance(50);
        let keep_ticket_keys = self.rng.chance(70);
        self.server.stop(now, keep_ticket_keys);
        self.server.crash_at_sync = false;
        let between = self.server.disk.crash(keep, &mut self.ledger)?;
        self.stats.messages_between += between as u64;
        self.stats.server_crashes_between += u64::from(between > 0);
        for d in 0..self.devices.len() {
            self.revoked[d] |= self.ledger.is_revoked(d);
        }
        self.trace.add("server crash", &[between as u64, u64::from(keep)], &[]);
        self.server.wall_offset_ms += clock.unwrap_or(0);
        self.counted.forget();
        self.let_in.clear();
        if let Some(link) = &mut self.quic {
            link.forget();
        }
        self.orphan_wires();
        for conn in 0..self.conns.len() {
            if self.conns[conn].server == End::Down {
                continue;
            }
            self.conns[conn].server = End::Down;
            self.conns[conn].orphan = true;
            if self.rng.chance(50) {
                let at = now.plus_ms(self.rng.skewed(1, 3_000));
                self.schedule.at(at, Ev::Gone { conn, way: Way::ToClient });
            }
        }
        let restart = now.plus_ms(self.rng.skewed(50, 12_000));
        self.schedule.at(restart, Ev::ServerStart);
        Ok(())
    }

    pub(crate) fn server_timer(&mut self, boot: u32) -> Check {
        let time = self.schedule.now();
        if self.server.boots != boot {
            return Ok(());
        }
        let Some(process) = &mut self.server.process else { return Ok(()) };
        if process.armed.is_none_or(|at| at > time) {
            return Ok(());
        }
        process.armed = None;
        let now = process.clock.now(time);
        process.core.handle(now, hub::Input::Timeout);
        self.drain_server()
    }

    /// Does what the hub wants until it waits.
    pub(crate) fn drain_server(&mut self) -> Check {
        if self.quic.is_some() {
            return self.drain_node();
        }
        let time = self.schedule.now();
        for _ in 0..MAX_OUTPUTS {
            let boot = self.server.boots;
            let Some(process) = &mut self.server.process else { return Ok(()) };
            self.tx.clear();
            let Some(hub) = process.core.bare() else { return Ok(()) };
            match hub.poll_output(process.clock.now(time), Some(&mut self.tx)) {
                hub::Output::Transmit { conn, channel } => {
                    let data = self.tx.as_slice().to_vec();
                    self.send(conn.0 as usize, Way::ToClient, channel, data)?;
                }
                hub::Output::Store { op, txn, deadline } => self.server_store(op, txn, deadline)?,
                hub::Output::Close { conn, code } => {
                    let conn = conn.0 as usize;
                    self.trace.add("close", &[conn as u64, code as u64], &[]);
                    if self.conns[conn].server != End::Up {
                        return Err(format!("connection {conn} was closed twice"));
                    }
                    self.let_go(conn, Way::ToClient, false);
                }
                hub::Output::Resume { conn } => {
                    for channel in Channel::STREAMS {
                        let conn = conn.0 as usize;
                        self.schedule.at(time, Ev::Deliver { conn, way: Way::ToServer, channel });
                    }
                }
                // Nothing here asks for packets of an application.
                hub::Output::Ask(ask) => return Err(format!("a request out of nowhere: {ask:?}")),
                hub::Output::Host(ask) => return Err(format!("an administrator out of nowhere: {ask:?}")),
                hub::Output::Abandoned { ask } => return Err(format!("{ask:?} was never asked")),
                hub::Output::Event(event) => self.hub_event(event)?,
                hub::Output::Wait { at, .. } => {
                    let at = at.map(|at| process.clock.when(at));
                    if at.is_some_and(|at| at <= time) {
                        return Err("the server waits for what has passed".into());
                    }
                    if at.is_some() && at != process.armed {
                        self.schedule.at(at.unwrap_or(time), Ev::ServerTimer { boot });
                    }
                    process.armed = at;
                    return Ok(());
                }
            }
        }
        Err("the server never waits".into())
    }

    /// A transaction for the server's disk.
    pub(crate) fn server_store(&mut self, op: OpId, txn: Txn, deadline: Option<Instant>) -> Check {
        self.receipts_are_true(&txn)?;
        self.trace.add("store", &[op.0], &[]);
        if self.server.disk.submit(Job { op, txn, deadline }) {
            self.schedule_disk(false);
        }
        Ok(())
    }

    /// The device behind a connection of the server, where it is one or a copy of one.
    fn behind(&self, conn: ConnId) -> Check<Option<usize>> {
        match &self.quic {
            Some(link) => Ok(link.peers.get(&conn.0).copied()),
            None => match self.conns[conn.0 as usize].owner {
                Owner::Device(d, _) => Ok(Some(d)),
                Owner::Raw(r) => self.raw_let_in(r),
            },
        }
    }

    pub(crate) fn hub_event(&mut self, event: HubEvent) -> Check {
        self.trace.event(usize::MAX, &event);
        match event {
            HubEvent::In { conn, uin, device, .. } => {
                if let Some(Dialler::Stranger { repeats: false }) = self.wire_of(conn.0).map(|w| w.dialler) {
                    return Err("a stranger was let in".into());
                }
                let behind = self.behind(conn)?.or_else(|| self.early(event));
                let Some(d) = behind else { return Ok(()) };
                if self.revoked[d] {
                    return Err(format!("device {d} was let in after its revocation"));
                }
                if self.ledger.devices.insert(device, (d, uin)).is_some_and(|was| was != (d, uin)) {
                    return Err(format!("device {d} was let in as another one"));
                }
                self.let_in.insert(conn.0 as usize);
                if let Some(process) = &mut self.server.process {
                    #[cfg(feature = "planted")]
                    if process.sessions.values().any(|other| *other == device) {
                        self.server.disk.planted.moved(device);
                    }
                    process.sessions.insert(conn, device);
                }
            }
            HubEvent::Closed { conn, why, .. } => {
                if self.quic.is_none() {
                    self.counted.closed(conn.0 as usize)?;
                } else if let Some(d) = self.behind(conn)? {
                    self.nobody_is_at_fault(d, Down::Closed(why))?;
                }
                if let Some(process) = &mut self.server.process {
                    process.sessions.remove(&conn);
                }
            }
            // A node whose store failed sends everybody away.
            HubEvent::Drained if self.quic.is_some() => {}
            HubEvent::Drained => return Err("the server drained, which nobody asked for".into()),
            HubEvent::Refused { .. } | HubEvent::StoreFailed(_) | HubEvent::Served(_) => {}
        }
        Ok(())
    }

    /// Who says that messages are delivered has them on a disk.
    fn receipts_are_true(&self, txn: &Txn) -> Check {
        let Txn::Delivered { uin, watermarks } = txn else { return Ok(()) };
        for Watermark { conversation, delivered, read } in watermarks {
            let seq = (*delivered).max(*read);
            let known = self
                .devices
                .iter()
                .filter(|d| d.identity.is_some_and(|(own, _)| own == *uin))
                .any(|d| d.disk.head(*conversation) >= seq);
            if !known {
                return Err(format!("{uin} says it has {seq} of {conversation}, and no disk of it does"));
            }
        }
        Ok(())
    }

    fn schedule_disk(&mut self, sync: bool) {
        let now = self.schedule.now();
        let (write, fsync) = self.scenario.disk;
        let slow = now < self.server.slow_until;
        let micros = match (sync, slow) {
            (true, true) => self.rng.skewed(200_000, 8_000_000),
            (true, false) => self.rng.between(fsync / 2, fsync),
            (false, _) => self.rng.between(1, write),
        };
        let at = Time(now.0 + micros);
        let boot = self.server.boots;
        self.schedule.at(at, Ev::ServerDisk { boot });
        if sync && self.server.crash_at_sync && self.server.disk.holds_messages() {
            let between = Time(now.0 + self.rng.below(micros));
            self.schedule.at(between, Ev::ServerCrash { boot });
        }
    }

    /// The next stage of the server's disk.
    pub(crate) fn server_disk(&mut self, boot: u32) -> Check {
        let time = self.schedule.now();
        if self.server.boots != boot {
            return Ok(());
        }
        let Some(process) = &mut self.server.process else { return Ok(()) };
        let now = process.clock.now(time);
        let progress = self.server.disk.step(now.mono, &mut self.ledger)?;
        if progress.sync || progress.write {
            self.schedule_disk(progress.sync);
        }
        let mut broken = false;
        for (job, result) in progress.answers {
            match &result {
                Err(ntproto_hub::store::StoreError::Unavailable) => {
                    broken = true;
                    self.fired(Fault::SyncFails);
                }
                Err(ntproto_hub::store::StoreError::Full) => self.fired(Fault::DiskFull),
                _ => {}
            }
            let revoked = match (&job.txn, &result) {
                (Txn::RevokeDevice { device_id, .. }, Ok(Outcome::Revoked { .. })) => Some(*device_id),
                _ => None,
            };
            let Some(process) = &mut self.server.process else { return Ok(()) };
            process.core.handle(now, hub::Input::StoreDone { op: job.op, result });
            self.drain_server()?;
            if let Some(device) = revoked {
                self.note_revoked(device)?;
            }
        }
        if broken {
            // A host whose store failed can only start afresh.
            let soon = time.plus_ms(self.rng.skewed(10, 2_000));
            self.schedule.at(soon, Ev::ServerCrash { boot });
        }
        Ok(())
    }

    fn note_revoked(&mut self, device: DeviceId) -> Check {
        let Some((d, _)) = self.ledger.devices.get(&device).copied() else { return Ok(()) };
        self.revoked[d] = true;
        let still =
            self.server.process.as_ref().and_then(|p| p.sessions.iter().find(|(_, in_)| **in_ == device));
        match still {
            Some((ConnId(conn), _)) => {
                Err(format!("device {d} is revoked and still in on connection {conn}"))
            }
            None => Ok(()),
        }
    }
}
