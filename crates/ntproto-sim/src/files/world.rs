//! What happens, in its order.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use ntproto_core::crypto::CryptoProvider as _;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::ids::{ConversationId, FileId, Uin, UploadId};
use ntproto_core::rng::Rng;
use ntproto_core::time::Instant;
use ntproto_core::transfer::{Answer, AskId, Input, upload};
use ntproto_hub::store::OpId;
use ntproto_web::{self as web, ExchangeId, WebConfig};

use super::client::{Client, Job};
use super::server::{Done, Server};
use super::wire::{Conn, Down, Up};
use crate::draw::{Draw, rng};
use crate::fault::{Fault, FaultSet, Plan};
use crate::ledger::Check;
use crate::schedule::{Schedule, Time};
use crate::stats::Stats;
use crate::trace::Trace;

/// A run of more events than this hangs.
const MAX_EVENTS: u64 = 2_000_000;
/// Outputs of a machine without an input in between.
pub(super) const MAX_OUTPUTS: usize = 10_000;
/// Within so long after the faults every transfer is over: backoffs of a minute, and what was wrong may be found one
/// after the other.
pub(super) const REST: u64 = 600_000;
/// So long after that the server has looked for what is to be removed.
pub(super) const SWEPT: u64 = 200_000;
/// What nobody goes on with is removed after so long: more than any pause of a client, less than [`SWEPT`].
const LIFETIME: Duration = Duration::from_secs(120);
/// Accounts: two who share files, and a stranger.
const ACCOUNTS: usize = 3;

/// Where everybody comes from.
pub(super) const HOME: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// What happens at an instant.
#[derive(Debug)]
pub(super) enum Ev {
    ServerStart,
    ServerTimer { boot: u32 },
    Disk { boot: u32 },
    Done { boot: u32, done: Done },
    FileOp { boot: u32, op: OpId, what: web::FileOp },
    Up { conn: usize, exchange: ExchangeId, what: Up },
    Down { conn: usize, exchange: ExchangeId, what: Down },
    Broken { conn: usize },
    ClientStart { c: usize },
    ClientTimer { c: usize, life: u32 },
    Token { c: usize, life: u32 },
    Answered { c: usize, life: u32, ask: AskId, answer: Answer },
    Strike(Fault),
    Heal,
    DiskHasRoom,
    Rested,
    Swept,
}

/// A run.
pub(crate) struct World {
    pub(super) schedule: Schedule<Ev>,
    pub(super) rng: Rng,
    pub(super) faults: FaultSet,
    pub(super) trace: Trace,
    pub(crate) stats: Stats,
    pub(super) server: Server,
    pub(super) config: WebConfig,
    pub(super) uins: Vec<Uin>,
    pub(super) conns: Vec<Conn>,
    pub(super) clients: Vec<Client>,
    /// Whose exchange it is.
    pub(super) exchanges: BTreeMap<ExchangeId, (usize, usize, AskId)>,
    pub(super) next: u64,
    /// What the server said last of an upload.
    pub(super) said: BTreeMap<FileId, u64>,
    pub(super) sources: BTreeMap<FileId, Bytes>,
    pub(super) slow: bool,
    pub(super) healed: bool,
    pub(super) rested: bool,
    pub(super) done: bool,
}

impl World {
    pub(crate) fn new(seed: u64, without: FaultSet, trace: Trace) -> Check<Self> {
        let mut rng = rng(seed, "files");
        let known = Fault::ALL.iter().copied().filter(|fault| fault.in_plan(Plan::Files));
        let faults = known
            .filter(|_| rng.chance(60))
            .filter(|fault| !without.contains(*fault))
            .fold(FaultSet::NONE, FaultSet::with);
        // Nobody gives up what a copy of the device goes on with.
        let faults = match faults.contains(Fault::Quit) && rng.chance(80) {
            true => faults.without(Fault::Supersede),
            false => faults,
        };
        let (server, uins) = Server::new(&mut rng, ACCOUNTS)?;
        Ok(Self {
            schedule: Schedule::new(),
            faults,
            trace,
            stats: Stats::default(),
            server,
            config: WebConfig { upload_lifetime: LIFETIME, ..WebConfig::default() },
            uins,
            conns: Vec::new(),
            clients: Vec::new(),
            exchanges: BTreeMap::new(),
            next: 0,
            said: BTreeMap::new(),
            sources: BTreeMap::new(),
            slow: false,
            healed: false,
            rested: false,
            done: false,
            rng,
        })
    }

    #[cfg(feature = "planted")]
    pub(crate) fn set_plant(&mut self, plant: Option<crate::plant::Plant>) {
        self.server.files.plant = plant;
    }

    pub(crate) const fn faults(&self) -> FaultSet {
        self.faults
    }

    pub(crate) const fn now(&self) -> Time {
        self.schedule.now()
    }

    pub(crate) fn finish(self) -> u64 {
        self.trace.finish()
    }

    pub(super) fn has(&self, fault: Fault) -> bool {
        !self.healed && self.faults.contains(fault)
    }

    pub(super) fn fired(&mut self, fault: Fault) {
        self.stats.fired = self.stats.fired.with(fault);
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The clock of clients.
    pub(super) fn instant(&self) -> Instant {
        Instant::from_micros(1 + self.now().0)
    }

    pub(super) fn after(&mut self, low_us: u64, high_us: u64) -> Time {
        Time(self.now().0 + self.rng.skewed(low_us, high_us))
    }

    /// Runs it to its end.
    pub(crate) fn run(&mut self) -> Check {
        self.begin();
        while !self.done {
            let event = self.schedule.next().ok_or("nothing happens any more")?;
            self.stats.events += 1;
            if self.stats.events > MAX_EVENTS {
                return Err("it does not end".into());
            }
            self.trace.at(self.now());
            self.event(event)?;
        }
        self.stats.virtual_ms = self.now().0 / 1_000;
        Ok(())
    }

    pub(super) fn begin(&mut self) {
        self.schedule.at(Time(0), Ev::ServerStart);
        let talk = ConversationId::direct(self.uins[0], self.uins[1]);
        for _ in 0..self.rng.between(2, 4) {
            let size = match self.rng.below(8) {
                0 => self.rng.below(2),
                1 => self.rng.between(2, 70_000),
                _ => self.rng.between(900_000, 3_600_000),
            };
            let mut source = vec![0; size as usize];
            self.rng.fill(&mut source);
            let source = Bytes::from(source);
            let sha256 = RUSTCRYPTO.sha256(&[&source]);
            let upload_id = UploadId(self.rng.array());
            let plan = upload::Plan { upload_id, conversation: talk, size, sha256 };
            let start = Time(self.rng.between(0, 5_000_000));
            self.client(0, Job::Upload { plan, copy: false }, source.clone(), start);
            if self.has(Fault::Supersede) && self.rng.chance(60) {
                let start = Time(start.0 + self.rng.between(0, 4_000_000));
                self.client(0, Job::Upload { plan, copy: true }, source, start);
                self.fired(Fault::Supersede);
            }
        }
        let end = self.rng.between(15_000_000, 60_000_000);
        for fault in self.faults.iter() {
            for _ in 0..self.rng.between(1, 6) {
                let at = Time(self.rng.between(10_000, end));
                self.schedule.at(at, Ev::Strike(fault));
            }
        }
        self.schedule.at(Time(end), Ev::Heal);
    }

    pub(super) fn client(&mut self, account: usize, job: Job, source: Bytes, at: Time) {
        self.clients.push(Client::new(self.uins[account], job, source));
        self.schedule.at(at, Ev::ClientStart { c: self.clients.len() - 1 });
    }

    pub(super) fn event(&mut self, event: Ev) -> Check {
        match event {
            Ev::ServerStart => {
                if self.server.process.is_none() {
                    let now = self.now();
                    self.server.start(&mut self.rng, now, self.config)?;
                    self.serve()?;
                }
            }
            Ev::ServerTimer { boot } => {
                if let Some((web, now)) = self.process(boot) {
                    web.handle(now, web::Input::Timeout);
                    self.serve()?;
                }
            }
            Ev::Disk { boot } => self.disk(boot)?,
            Ev::FileOp { boot, op, what } if boot == self.server.boot && self.server.process.is_some() => {
                self.trace.add("file", &[op.0], &[]);
                let written = match &what {
                    web::FileOp::Write { file, .. } => Some(*file),
                    _ => None,
                };
                let result = self.server.files.run(&mut self.rng, what);
                written.map_or(Ok(()), |file| self.server.is_charged(file))?;
                let at = self.after(50, 500);
                self.schedule.at(at, Ev::Done { boot, done: Done::File(op, result) });
            }
            Ev::FileOp { .. } => {}
            Ev::Done { boot, done } => {
                let Some((web, now)) = self.process(boot) else { return Ok(()) };
                match done {
                    Done::Store(results) => results
                        .into_iter()
                        .for_each(|(op, result)| web.handle(now, web::Input::StoreDone { op, result })),
                    Done::File(op, result) => web.handle(now, web::Input::FileDone { op, result }),
                    Done::Bearer(op, result) => web.handle(now, web::Input::Bearer { op, result }),
                }
                self.serve()?;
            }
            Ev::Up { conn, exchange, what } => self.up(conn, exchange, what)?,
            Ev::Down { conn, exchange, what } => self.down(conn, exchange, what)?,
            Ev::Broken { conn } => self.broken(conn)?,
            Ev::ClientStart { c } => self.start(c)?,
            Ev::ClientTimer { c, life } if self.clients[c].life == life => {
                self.clients[c].armed = None;
                let now = self.instant();
                self.clients[c].handle(now, Input::Timeout);
                self.step(c)?;
            }
            Ev::Token { c, life } if self.clients[c].life == life => {
                if self.server.process.is_none() {
                    // It signs in once the server is back.
                    let at = self.after(200_000, 2_000_000);
                    self.schedule.at(at, Ev::Token { c, life });
                    return Ok(());
                }
                self.log_in(c);
                let now = self.instant();
                self.clients[c].handle(now, Input::Token);
                self.step(c)?;
            }
            Ev::Answered { c, life, ask, answer } if self.clients[c].life == life => {
                self.answered(c, ask, answer);
                self.step(c)?;
            }
            Ev::ClientTimer { .. } | Ev::Token { .. } | Ev::Answered { .. } => {}
            Ev::Strike(fault) if !self.healed => self.strike(fault)?,
            Ev::Strike(_) => {}
            Ev::DiskHasRoom => self.server.files.full = false,
            Ev::Heal => self.heal()?,
            Ev::Rested if !self.rested => {
                let late = self.clients.iter().position(|client| client.ended.is_none());
                return Err(format!("transfer {late:?} is not over {} s after the faults", REST / 1_000));
            }
            Ev::Rested => {}
            Ev::Swept => self.swept()?,
        }
        Ok(())
    }
}
