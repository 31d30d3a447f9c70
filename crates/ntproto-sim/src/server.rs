//! The server process: the real hub, a store whose disk can fail, clocks that can be wrong.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ntproto_core::crypto::CryptoProvider;
use ntproto_core::crypto::identity::{Certificate, DeviceKeys, ServerKey, ServerKeys};
use ntproto_core::ids::DeviceId;
use ntproto_core::rng::Rng;
use ntproto_core::session::ticket::{TicketKey, TicketSealer};
use ntproto_core::time::{Instant, Now, UnixMillis};
use ntproto_hub::store::memory::MemoryStore;
use ntproto_hub::store::txn::{Boot, Rules};
use ntproto_hub::store::{OpId, Outcome, Store as _, StoreError, Txn};
use ntproto_hub::{self as hub, ConnId, Hub, HubConfig, HubKeys};
use ntproto_net::Machine as _;
use ntproto_server::node::{Command, Node};

use crate::ledger::{Check, Ledger};
use crate::quic::{Link, NodeHost};
use crate::schedule::{Clock, Time};

/// Transactions in one batch at most.
const BATCH: usize = 256;

/// A transaction of the hub, on its way to the disk.
pub(crate) struct Job {
    pub(crate) op: OpId,
    pub(crate) txn: Txn,
    pub(crate) deadline: Option<Instant>,
}

/// An answer on its way back.
pub(crate) type Answer = (Job, Result<Outcome, StoreError>);

/// Where the disk is.
#[derive(Default)]
enum Stage {
    #[default]
    Idle,
    /// A write is scheduled.
    Writing,
    /// Written; the sync is scheduled, then these answers go out.
    Syncing(Vec<Answer>),
}

/// The server's disk, and the queue before it.
#[derive(Default)]
pub(crate) struct ServerDisk {
    pub(crate) store: MemoryStore,
    waiting: VecDeque<Job>,
    stage: Stage,
    /// The next sync fails.
    pub(crate) fail_next_sync: bool,
    #[cfg(feature = "planted")]
    pub(crate) planted: crate::plant::PlantedStore,
}

/// What a stage of the disk did.
pub(crate) struct Progress {
    /// To be told to the hub, in order.
    pub(crate) answers: Vec<Answer>,
    /// A sync must follow.
    pub(crate) sync: bool,
    /// Another write must follow.
    pub(crate) write: bool,
}

impl ServerDisk {
    /// Takes a transaction. Returns whether a write must be scheduled.
    pub(crate) fn submit(&mut self, job: Job) -> bool {
        self.waiting.push_back(job);
        let idle = matches!(self.stage, Stage::Idle);
        if idle {
            self.stage = Stage::Writing;
        }
        idle
    }

    /// Whether messages were written and not synced.
    pub(crate) fn holds_messages(&self) -> bool {
        matches!(&self.stage, Stage::Syncing(answers)
            if answers.iter().any(|(job, result)| matches!(job.txn, Txn::Append(_)) && result.is_ok()))
    }

    /// The next stage.
    pub(crate) fn step(&mut self, now: Instant, ledger: &mut Ledger) -> Check<Progress> {
        match std::mem::take(&mut self.stage) {
            Stage::Idle => Err("the server's disk moved without a reason".into()),
            Stage::Writing => {
                let batch: Vec<Job> = self.waiting.drain(..self.waiting.len().min(BATCH)).collect();
                let (late, batch): (Vec<_>, Vec<_>) =
                    batch.into_iter().partition(|job| job.deadline.is_some_and(|at| now > at));
                let txns: Vec<Txn> = batch.iter().map(|job| job.txn.clone()).collect();
                let results = self.write(&txns);
                txns.iter().zip(&results).for_each(|(txn, result)| ledger.wrote(txn, result));
                let refused =
                    |result: &Result<Outcome, StoreError>| result.as_ref().is_err_and(|why| why.is_refusal());
                let idle =
                    |(txn, result): (&Txn, &_)| refused(result) || (txn.is_read() && Result::is_ok(result));
                if self.store.is_dirty() && txns.iter().zip(&results).all(idle) {
                    return Err(format!("what was refused changed something: {txns:?}"));
                }
                let mut answers: Vec<Answer> = batch.into_iter().zip(results).collect();
                answers.extend(late.into_iter().map(|job| (job, Err(StoreError::Expired))));
                answers.sort_by_key(|(job, _)| job.op);
                if self.store.is_dirty() {
                    let early = if self.acks_early() { std::mem::take(&mut answers) } else { Vec::new() };
                    self.stage = Stage::Syncing(answers);
                    return Ok(Progress { answers: early, sync: true, write: false });
                }
                // Nothing changed on the disk: what was answered was so before.
                ledger.synced()?;
                self.rest(answers)
            }
            Stage::Syncing(mut answers) => {
                if std::mem::take(&mut self.fail_next_sync) {
                    self.store.fail_next_sync();
                }
                match self.store.sync() {
                    Ok(()) => ledger.synced()?,
                    Err(_) if self.ignores_sync_errors() => {}
                    Err(error) => answers.iter_mut().for_each(|(_, result)| *result = Err(error)),
                }
                self.rest(answers)
            }
        }
    }

    fn rest(&mut self, answers: Vec<Answer>) -> Check<Progress> {
        let write = !self.waiting.is_empty();
        self.stage = if write { Stage::Writing } else { Stage::Idle };
        Ok(Progress { answers, sync: false, write })
    }

    /// Cuts the power. Returns how many messages were written and not synced.
    pub(crate) fn crash(&mut self, keep: bool, ledger: &mut Ledger) -> Check<usize> {
        self.waiting.clear();
        self.stage = Stage::Idle;
        self.fail_next_sync = false;
        let between = if self.store.is_dirty() { ledger.count_written() } else { 0 };
        self.store.crash(keep);
        if keep {
            ledger.synced()?;
        } else {
            ledger.lost();
        }
        Ok(between)
    }

    #[cfg(not(feature = "planted"))]
    fn write(&mut self, txns: &[Txn]) -> Vec<Result<Outcome, StoreError>> {
        self.store.write(txns)
    }

    #[cfg(not(feature = "planted"))]
    #[allow(clippy::unused_self)]
    const fn acks_early(&self) -> bool {
        false
    }

    #[cfg(not(feature = "planted"))]
    #[allow(clippy::unused_self)]
    const fn ignores_sync_errors(&self) -> bool {
        false
    }
}

/// What outlives the process.
pub(crate) struct Server {
    pub(crate) disk: ServerDisk,
    pub(crate) keys: Arc<ServerKeys>,
    ticket_keys: Option<(TicketKey, Option<TicketKey>)>,
    /// Signs QUIC's stateless resets.
    reset_key: [u8; 32],
    pub(crate) wall_offset_ms: i64,
    /// The process, while it runs.
    pub(crate) process: Option<Process>,
    pub(crate) boots: u32,
    /// Server time when the last process ended.
    last_time: UnixMillis,
    /// Time the server was up, over all processes before this one.
    up_before: u64,
    /// Crash when messages lie between write and sync next.
    pub(crate) crash_at_sync: bool,
    /// The disk is slow until then.
    pub(crate) slow_until: Time,
    pub(crate) frozen_until: Time,
}

/// The machine of the server.
pub(crate) enum Core {
    /// Over byte streams.
    Streams(Box<Hub>),
    /// Over datagrams.
    Quic(Box<Node>),
}

impl Core {
    /// The hub, to ask about.
    pub(crate) const fn hub(&self) -> &Hub {
        match self {
            Self::Streams(hub) => hub,
            Self::Quic(node) => node.hub(),
        }
    }

    /// Connections that are not up and known for early data.
    pub(crate) fn early(&self) -> usize {
        match self {
            Self::Streams(_) => 0,
            Self::Quic(node) => node.early(),
        }
    }

    /// The hub itself, where it stands on its own.
    pub(crate) fn bare(&mut self) -> Option<&mut Hub> {
        match self {
            Self::Streams(hub) => Some(hub),
            Self::Quic(_) => None,
        }
    }

    /// The node, if it is one.
    pub(crate) fn node(&mut self) -> Option<&mut Node> {
        match self {
            Self::Streams(_) => None,
            Self::Quic(node) => Some(node),
        }
    }

    /// Tells it something; a node has its transport inside.
    pub(crate) fn handle(&mut self, now: Now, input: hub::Input<'_>) {
        match (self, input) {
            (Self::Streams(hub), input) => hub.handle(now, input),
            (Self::Quic(node), hub::Input::StoreDone { op, result }) => {
                node.command(now, Command::StoreDone(vec![(op, result)]));
            }
            (Self::Quic(node), hub::Input::Timeout) => node.timeout(now),
            (Self::Quic(_), _) => {}
        }
    }
}

/// A running server.
pub(crate) struct Process {
    pub(crate) core: Core,
    pub(crate) clock: Clock,
    pub(crate) armed: Option<Time>,
    started: Time,
    /// Who is in on each connection.
    pub(crate) sessions: BTreeMap<ConnId, DeviceId>,
}

fn copy(key: &TicketKey) -> TicketKey {
    TicketKey::from_parts(key.id(), key.created(), key.secret().duplicate())
}

impl Server {
    pub(crate) fn new(provider: &'static dyn CryptoProvider, rng: &mut Rng, operator: &DeviceKeys) -> Self {
        let key = ServerKey::generate(rng, provider, 1);
        let certificate = Certificate {
            static_key: *key.public(),
            key_id: key.id(),
            not_before: UnixMillis(0),
            not_after: UnixMillis(u64::MAX),
            tls_pins: vec![],
        };
        let certificate = certificate.sign(provider, operator.signing_secret());
        Self {
            disk: ServerDisk::default(),
            keys: Arc::new(ServerKeys::new(key, None).with_certificate(certificate)),
            ticket_keys: None,
            reset_key: rng.array(),
            wall_offset_ms: 0,
            process: None,
            boots: 0,
            last_time: UnixMillis(0),
            up_before: 0,
            crash_at_sync: false,
            slow_until: Time(0),
            frozen_until: Time(0),
        }
    }

    /// Starts the process. `None`: the disk did not let it.
    pub(crate) fn start(
        &mut self,
        provider: &'static dyn CryptoProvider,
        config: HubConfig,
        rng: &mut Rng,
        time: Time,
        link: Option<&Link>,
    ) -> Check<Option<Boot>> {
        let clock = Clock::new(time, 1 + rng.below(1 << 40), self.wall_offset_ms);
        let now = clock.now(time);
        let txn = Txn::Boot { wall: now.unix, epoch: rng.array() };
        let boot = match self.disk.store.commit(&[txn]).pop() {
            #[cfg(feature = "planted")]
            Some(Ok(Outcome::Booted(boot)))
                if self.disk.planted.plant == Some(crate::plant::Plant::FloorForgotten) =>
            {
                Boot { clock: now.unix, floor: now.unix + std::time::Duration::from_secs(5), ..boot }
            }
            Some(Ok(Outcome::Booted(boot))) => boot,
            Some(Err(StoreError::Full | StoreError::Unavailable)) => return Ok(None),
            other => return Err(format!("the store did not boot: {other:?}")),
        };
        if boot.clock < self.last_time {
            return Err(format!("server time went back from {} to {}", self.last_time.0, boot.clock.0));
        }
        let (current, previous) = match &self.ticket_keys {
            Some((current, previous)) => (copy(current), previous.as_ref().map(copy)),
            None => {
                let id = 1 + rng.below(1 << 30) as u32;
                (TicketKey::generate(rng, id, boot.clock), None)
            }
        };
        let tickets = TicketSealer::new(provider, current, previous);
        let keys = HubKeys { provider, server: Arc::clone(&self.keys), tickets };
        self.boots += 1;
        let hub = Hub::new(config, &boot, keys, rng.array(), now);
        let core = match link {
            None => Core::Streams(Box::new(hub)),
            Some(link) => {
                let host = NodeHost { link, reset_key: &self.reset_key, seed: rng.array() };
                Core::Quic(Box::new(host.node(hub)))
            }
        };
        self.process = Some(Process { core, clock, armed: None, started: time, sessions: BTreeMap::new() });
        Ok(Some(boot))
    }

    /// Ends the process. `keep_ticket_keys`: the host had stored them.
    pub(crate) fn stop(&mut self, time: Time, keep_ticket_keys: bool) {
        if let Some(process) = self.process.take() {
            self.up_before += time.0 - process.started.0;
            let hub = process.core.hub();
            self.last_time = hub.server_time(process.clock.now(time));
            let tickets = hub.tickets();
            self.ticket_keys =
                keep_ticket_keys.then(|| (copy(tickets.current()), tickets.previous().map(copy)));
        }
    }

    /// How long the server was up in all.
    pub(crate) fn uptime(&self, time: Time) -> u64 {
        self.up_before + self.process.as_ref().map_or(0, |p| time.0 - p.started.0)
    }

    /// Settles what an operator settles before the server starts.
    pub(crate) fn settle(&mut self, rules: Rules) -> Check {
        match self.disk.store.commit(&[Txn::SetRules(rules)]).pop() {
            Some(Ok(Outcome::Done)) => Ok(()),
            other => Err(format!("no rules: {other:?}")),
        }
    }

    /// Makes an invitation, as an operator does before the server starts.
    pub(crate) fn invite(&mut self, code_hash: [u8; 32], expires: UnixMillis) -> Check {
        let txn = Txn::CreateInvitation {
            by: None,
            code_hash,
            uses: 1,
            expires,
            may_invite: true,
            admin: false,
            account: None,
            audit: None,
        };
        match self.disk.store.commit(&[txn]).pop() {
            Some(Ok(Outcome::Done)) => Ok(()),
            other => Err(format!("no invitation: {other:?}")),
        }
    }
}
