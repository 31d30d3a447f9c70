//! Everything there is in a run, and the loop that moves it.

use std::collections::{BTreeMap, BTreeSet};

use ntproto_core::client::{Credential, Input};
use ntproto_core::crypto::CryptoProvider as _;
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::rng::Rng;
use ntproto_core::time::UnixMillis;
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::Channel;
use ntproto_hub::store::txn::Rules;
use ntproto_hub::{HubConfig, Rate};

use crate::counted::Counted;
use crate::crypto::Watch;
use crate::device::Device;
use crate::draw::{Draw, rng};
use crate::fault::Fault;
use crate::ledger::{Check, Ledger};
use crate::net::{Conn, Owner, Way};
use crate::quic::{Dialler, Link, Stir, Wires};
use crate::raw::Raw;
use crate::scenario::Scenario;
use crate::schedule::{Schedule, Time, WALL_START_MS};
use crate::server::Server;
use crate::stats::Stats;
use crate::trace::Trace;

/// A machine that wants more than this at once will never rest.
pub(crate) const MAX_OUTPUTS: usize = 200_000;
/// A run of more events than this hangs.
const MAX_EVENTS: u64 = 5_000_000;
/// Frames that may be altered in a run.
const MAX_FLIPS: u64 = 8;
/// How often an act is put off because its device can't do it now.
const PATIENCE: u32 = 6;
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
    AppAct { d: usize, left: u32 },
    LastActs { d: usize },
    WatchAgain { d: usize, boot: u32 },
    ListAgain { d: usize },
    ServerStart,
    ServerCrash { boot: u32 },
    ServerTimer { boot: u32 },
    ServerDisk { boot: u32 },
    DiskHasRoom,
    Datagram { n: u64 },
    Wire { n: usize, way: Way, what: Stir },
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
    /// Draws what users do beside sending.
    pub(crate) acts: Rng,
    pub(crate) conns: Vec<Conn>,
    /// The network, where it carries datagrams.
    pub(crate) quic: Option<Link>,
    /// Its TCP connections.
    pub(crate) wires: Wires,
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
    /// Devices that have not done their last acts.
    pub(crate) last_due: usize,
    /// Devices somebody asked to revoke.
    pub(crate) condemned: Vec<bool>,
    /// Devices whose revocation was answered.
    pub(crate) revoked: Vec<bool>,
    pub(crate) hub_config: HubConfig,
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
        let wires = Wires::new(seed, devices.len(), provider);
        let server = Server::new(provider, &mut rng, &wires.operator);
        let mut hub_config = HubConfig {
            open_registration: scenario.open_registration,
            ticket_lifetime: scenario.ticket_lifetime,
            max_lag: scenario.max_lag.unwrap_or(HubConfig::default().max_lag),
            ..HubConfig::default()
        };
        if scenario.slow_buckets {
            hub_config.device_messages = Some(Rate::per_second(20, 4));
            hub_config.device_requests = Some(Rate::per_second(20, 4));
            hub_config.conversation_messages = Some(Rate::per_second(10, 3));
        }
        Self {
            seed,
            provider,
            schedule: Schedule::new(),
            net_rng: crate::draw::rng(seed, "net"),
            acts: crate::draw::rng(seed, "acts"),
            rng,
            conns: Vec::new(),
            quic,
            wires,
            raws: Vec::new(),
            server,
            ledger: Ledger::new(scenario.keeps_order(), scenario.fanout.map_or(500, |n| n as usize)),
            counted: Counted::default(),
            let_in: BTreeSet::new(),
            trace,
            stats: Stats::default(),
            tx: TxBuf::new(scenario.tx_limit),
            healed: false,
            flips_left: MAX_FLIPS,
            unsent: scenario.messages,
            last_due: 0,
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
        let usual = Rules::default();
        self.server.settle(Rules {
            fanout: self.scenario.fanout.unwrap_or(usual.fanout),
            pull_group: self.scenario.pull.unwrap_or(usual.pull_group),
            ..usual
        })?;
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
        for _ in 0..self.scenario.acts {
            let at = Time(self.acts.between(1_000_000, self.scenario.heal.0));
            let d = self.acts.below(self.devices.len() as u64) as usize;
            self.schedule.at(at, Ev::AppAct { d, left: PATIENCE });
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
            Ev::Wire { n, way, .. } => match (way, self.wires.all[n].dialler) {
                (Way::ToServer, _) => Some(self.server.frozen_until),
                (Way::ToClient, Dialler::Device(d, _)) => Some(self.devices[d].frozen_until),
                (Way::ToClient, Dialler::Stranger { .. }) => None,
            },
            Ev::DeviceTimer { d, .. }
            | Ev::DevicePoll { d, .. }
            | Ev::Resolved { d, .. }
            | Ev::DeviceDisk { d, .. }
            | Ev::AppSend { d }
            | Ev::AppAct { d, .. }
            | Ev::LastActs { d }
            | Ev::WatchAgain { d, .. }
            | Ev::ListAgain { d }
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
            Ev::AppAct { d, left } => self.app_act(d, left),
            Ev::LastActs { d } => self.last_acts(d),
            Ev::WatchAgain { d, boot } => self.watch_again(d, boot),
            Ev::ListAgain { d } => self.list(d),
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
            Ev::Wire { n, way, what } => self.wire(n, way, what),
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

    /// The run is over.
    pub(crate) const fn finish(&mut self) {
        self.done = true;
    }
}
