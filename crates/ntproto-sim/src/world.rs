//! Everything there is in a run, and the loop that moves it.

use std::collections::{BTreeMap, BTreeSet};

use ntproto_core::client::{Credential, Input};
use ntproto_core::crypto::CryptoProvider as _;
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::ids::DeviceId;
use ntproto_core::rng::Rng;
use ntproto_core::time::{Instant, UnixMillis};
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::Channel;
use ntproto_hub::store::{OpId, Outcome, Txn};
use ntproto_hub::{self as hub, ConnId, HubConfig, HubEvent};

use crate::counted::Counted;
use crate::crypto::Watch;
use crate::device::Device;
use crate::draw::{Draw, rng};
use crate::fault::Fault;
use crate::ledger::{Check, Ledger};
use crate::net::{Conn, End, Owner, Way};
use crate::quic::Link;
use crate::raw::Raw;
use crate::scenario::Scenario;
use crate::schedule::{Schedule, Time, WALL_START_MS};
use crate::server::{Job, Server};
use crate::stats::Stats;
use crate::trace::Trace;

/// A machine that wants more than this at once will never rest.
pub(crate) const MAX_OUTPUTS: usize = 200_000;
/// A run of more events than this hangs.
const MAX_EVENTS: u64 = 5_000_000;
/// Frames that may be altered in a run.
const MAX_FLIPS: u64 = 8;
/// How long an invitation lasts: longer than any run, with clocks a day off.
const INVITATION_MS: u64 = 400 * 24 * 3600 * 1000;

/// What happens at an instant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ev {
    Opened { conn: usize },
    Connected { conn: usize },
    Gone { conn: usize, way: Way },
    Deliver { conn: usize, way: Way, channel: Channel },
    Writable { conn: usize, way: Way },
    MustBeOver { conn: usize, way: Way },
    DeviceStart { d: usize },
    DeviceRestart { d: usize },
    DeviceCrash { d: usize },
    DeviceTimer { d: usize, boot: u32 },
    DevicePoll { d: usize, boot: u32 },
    DeviceDisk { d: usize, boot: u32 },
    DeviceHasRoom { d: usize },
    AppSend { d: usize },
    AppCommit { d: usize, boot: u32 },
    ServerStart,
    ServerCrash { boot: u32 },
    ServerTimer { boot: u32 },
    ServerDisk { boot: u32 },
    DiskHasRoom,
    Datagram { n: u64 },
    Resolved { d: usize, boot: u32, id: u64 },
    RawTimer { r: usize },
    RawLeaves { r: usize },
    Strike { fault: Fault },
    Heal,
    Check,
}

/// A run.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) scenario: Scenario,
    pub(crate) provider: &'static Watch,
    pub(crate) schedule: Schedule<Ev>,
    pub(crate) rng: Rng,
    pub(crate) net_rng: Rng,
    pub(crate) conns: Vec<Conn>,
    /// The network, where it carries datagrams.
    pub(crate) quic: Option<Link>,
    pub(crate) devices: Vec<Device>,
    pub(crate) raws: Vec<Raw>,
    pub(crate) server: Server,
    pub(crate) ledger: Ledger,
    pub(crate) counted: Counted,
    /// Connections this process of the server let in.
    pub(crate) let_in: BTreeSet<usize>,
    pub(crate) trace: Trace,
    pub(crate) stats: Stats,
    pub(crate) tx: TxBuf,
    pub(crate) healed: bool,
    pub(crate) flips_left: u64,
    /// Messages the applications have not handed over.
    pub(crate) unsent: usize,
    /// Devices somebody asked to revoke.
    pub(crate) condemned: Vec<bool>,
    /// Devices whose revocation was answered.
    revoked: Vec<bool>,
    hub_config: HubConfig,
    done: bool,
    #[cfg(feature = "planted")]
    pub(crate) plant: Option<crate::plant::Plant>,
}

impl World {
    pub(crate) fn new(
        seed: u64,
        scenario: Scenario,
        provider: &'static Watch,
        trace: Trace,
        quic: Option<Link>,
    ) -> Self {
        provider.reset(scenario.real_crypto);
        let mut rng = rng(seed, "world");
        let mut devices = Vec::new();
        for (user, count) in scenario.users.iter().enumerate() {
            for _ in 0..*count {
                devices.push(Device::new(user, DeviceKeys::generate(&mut rng, provider), rng.array()));
            }
        }
        let server = Server::new(provider, &mut rng);
        let hub_config = HubConfig {
            open_registration: scenario.open_registration,
            ticket_lifetime: scenario.ticket_lifetime,
            ..HubConfig::default()
        };
        Self {
            seed,
            provider,
            schedule: Schedule::new(),
            net_rng: crate::draw::rng(seed, "net"),
            rng,
            conns: Vec::new(),
            quic,
            raws: Vec::new(),
            server,
            ledger: Ledger::new(scenario.keeps_order()),
            counted: Counted::default(),
            let_in: BTreeSet::new(),
            trace,
            stats: Stats::default(),
            tx: TxBuf::new(scenario.tx_limit),
            healed: false,
            flips_left: MAX_FLIPS,
            unsent: scenario.messages,
            condemned: vec![false; devices.len()],
            revoked: vec![false; devices.len()],
            hub_config,
            done: false,
            devices,
            scenario,
            #[cfg(feature = "planted")]
            plant: None,
        }
    }

    /// A class did something.
    pub(crate) fn fired(&mut self, fault: Fault) {
        self.stats.fired = self.stats.fired.with(fault);
    }

    pub(crate) fn revoked(&self, d: usize) -> bool {
        self.revoked[d]
    }

    #[cfg(feature = "planted")]
    pub(crate) fn planted(&self, plant: crate::plant::Plant) -> bool {
        self.plant == Some(plant)
    }

    /// Runs it to its end. Returns how long that took by its own clock.
    pub(crate) fn run(&mut self) -> Check {
        self.begin()?;
        while !self.done {
            let event = self.schedule.next().ok_or("nothing happens any more")?;
            let now = self.schedule.now();
            self.trace.at(now);
            self.stats.events += 1;
            if self.stats.events > MAX_EVENTS {
                return Err("it never ends".into());
            }
            if let Some(until) = self.frozen(event).filter(|until| *until > now) {
                self.schedule.at(until, event);
                continue;
            }
            self.happen(event)?;
            if let Some(wrong) = self.provider.take_wrong() {
                return Err(wrong);
            }
        }
        Ok(())
    }

    /// The time by the run's clock.
    pub(crate) fn now(&self) -> Time {
        self.schedule.now()
    }

    fn begin(&mut self) -> Check {
        let mut first = BTreeMap::new();
        for (d, device) in self.devices.iter().enumerate() {
            first.entry(device.user).or_insert(d);
        }
        for d in first.into_values() {
            let credential = if self.scenario.open_registration {
                Credential::Open
            } else {
                let code: [u8; 16] = self.rng.array();
                let expires = UnixMillis(WALL_START_MS + INVITATION_MS);
                self.server.invite(self.provider.sha256(&[&code]), expires)?;
                Credential::Invitation(code)
            };
            self.devices[d].enrol = Some(credential);
        }
        self.plan_strikes();
        self.start_server()?;
        for d in 0..self.devices.len() {
            let at = Time(self.rng.below(2_000_000));
            self.schedule.at(at, Ev::DeviceStart { d });
        }
        for _ in 0..self.scenario.messages {
            let at = Time(self.rng.between(300_000, self.scenario.heal.0));
            let d = self.rng.below(self.devices.len() as u64) as usize;
            self.schedule.at(at, Ev::AppSend { d });
        }
        self.schedule.at(self.scenario.heal, Ev::Heal);
        Ok(())
    }

    /// Until when the process an event is for stands still.
    fn frozen(&self, event: Ev) -> Option<Time> {
        match event {
            Ev::Opened { .. } | Ev::ServerTimer { .. } | Ev::ServerDisk { .. } => {
                Some(self.server.frozen_until)
            }
            Ev::Gone { conn, way } | Ev::Deliver { conn, way, .. } => match (way, self.conns[conn].owner) {
                (Way::ToServer, _) => Some(self.server.frozen_until),
                (Way::ToClient, Owner::Device(d, _)) => Some(self.devices[d].frozen_until),
                (Way::ToClient, Owner::Raw(_)) => None,
            },
            Ev::Writable { conn, way } => match (way, self.conns[conn].owner) {
                (Way::ToClient, _) => Some(self.server.frozen_until),
                (Way::ToServer, Owner::Device(d, _)) => Some(self.devices[d].frozen_until),
                (Way::ToServer, Owner::Raw(_)) => None,
            },
            Ev::Connected { conn } => match self.conns[conn].owner {
                Owner::Device(d, _) => Some(self.devices[d].frozen_until),
                Owner::Raw(_) => None,
            },
            Ev::MustBeOver { conn, way } => self.frozen(Ev::Gone { conn, way }),
            Ev::Datagram { n } => match self.quic.as_ref().and_then(|link| link.receiver(n)) {
                Some(d) => Some(self.devices[d].frozen_until),
                None => Some(self.server.frozen_until),
            },
            Ev::DeviceTimer { d, .. }
            | Ev::DevicePoll { d, .. }
            | Ev::Resolved { d, .. }
            | Ev::DeviceDisk { d, .. }
            | Ev::AppSend { d }
            | Ev::AppCommit { d, .. } => Some(self.devices[d].frozen_until),
            _ => None,
        }
    }

    fn happen(&mut self, event: Ev) -> Check {
        let now = self.schedule.now();
        match event {
            Ev::Opened { conn } => self.opened(conn),
            Ev::Connected { conn } => self.connected(conn),
            Ev::Gone { conn, way } => self.gone(conn, way),
            Ev::Deliver { conn, way, channel } => self.deliver(conn, way, channel),
            Ev::Writable { conn, way } => self.writable(conn, way),
            Ev::MustBeOver { conn, way } => self.must_be_over(conn, way),
            Ev::DeviceStart { d } => self.start_device(d),
            Ev::DeviceRestart { d } => self.restart_device(d),
            Ev::DeviceCrash { d } => self.crash_device(d),
            Ev::DeviceTimer { d, boot } => match self.devices[d].running(boot) {
                Some(process) if process.armed == Some(now) || process.armed.is_some_and(|at| at < now) => {
                    process.armed = None;
                    self.device_input(d, Input::Timeout)
                }
                _ => Ok(()),
            },
            Ev::DevicePoll { d, boot } => match self.devices[d].running(boot) {
                Some(_) => self.drain_device(d),
                None => Ok(()),
            },
            Ev::DeviceDisk { d, boot } => self.device_disk(d, boot),
            Ev::DeviceHasRoom { d } => {
                self.devices[d].disk.full = false;
                Ok(())
            }
            Ev::AppSend { d } => self.app_send(d),
            Ev::AppCommit { d, boot } => self.app_commit(d, boot),
            Ev::ServerStart => self.start_server(),
            Ev::ServerCrash { boot } if self.server.boots == boot => self.crash_server(None),
            Ev::ServerCrash { .. } => Ok(()),
            Ev::ServerTimer { boot } => self.server_timer(boot),
            Ev::ServerDisk { boot } => self.server_disk(boot),
            Ev::DiskHasRoom => {
                self.server.disk.store.set_capacity(usize::MAX);
                Ok(())
            }
            Ev::Datagram { n } => self.datagram(n),
            Ev::Resolved { d, boot, id } => self.resolved(d, boot, id),
            Ev::RawTimer { r } => {
                self.raw_input(r, ntproto_core::endpoint::Input::Timeout);
                self.drain_raw(r)
            }
            Ev::RawLeaves { r } => {
                self.raw_leaves(r);
                Ok(())
            }
            Ev::Strike { fault } => self.strike(fault),
            Ev::Heal => self.heal(),
            Ev::Check => self.look(),
        }
    }

    // ── the server ──────────────────────────────────────────────────────────────────────────────

    fn start_server(&mut self) -> Check {
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

    fn server_timer(&mut self, boot: u32) -> Check {
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
                    process.sessions.insert(conn, device);
                }
            }
            HubEvent::Closed { conn, .. } => {
                if self.quic.is_none() {
                    self.counted.closed(conn.0 as usize)?;
                }
                if let Some(process) = &mut self.server.process {
                    process.sessions.remove(&conn);
                }
            }
            // A node whose store failed sends everybody away.
            HubEvent::Drained if self.quic.is_some() => {}
            HubEvent::Drained => return Err("the server drained, which nobody asked for".into()),
            HubEvent::Refused { .. } | HubEvent::StoreFailed(_) => {}
        }
        Ok(())
    }

    /// Who says that messages are delivered has them on a disk.
    fn receipts_are_true(&self, txn: &Txn) -> Check {
        let Txn::Delivered { uin, watermarks } = txn else { return Ok(()) };
        for (conversation, seq) in watermarks {
            let known = self
                .devices
                .iter()
                .filter(|d| d.identity.is_some_and(|(own, _)| own == *uin))
                .any(|d| d.disk.head(*conversation) >= *seq);
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
    fn server_disk(&mut self, boot: u32) -> Check {
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

    /// The run is over.
    pub(crate) const fn finish(&mut self) {
        self.done = true;
    }
}
