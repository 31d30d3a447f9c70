//! What a seed decides before anything happens.

use std::time::Duration;

use ntproto_core::rng::Rng;

use crate::draw::{Draw, rng};
use crate::fault::{Fault, FaultSet, Plan};
use crate::schedule::Time;

/// Chance in percent that a class is on in a seed. Twice the fifth that is asked for.
const ON: u64 = 40;
/// Chance in percent that a seed uses the real primitives.
const REAL_CRYPTO: u64 = 10;
/// Messages of a seed at least.
pub(crate) const MIN_MESSAGES: u64 = 120;
/// Messages of a seed at most.
const MAX_MESSAGES: u64 = 200;
/// Acts of a seed at least.
const MIN_ACTS: u64 = 70;
/// Acts of a seed at most.
const MAX_ACTS: u64 = 130;
/// Chance in percent that groups of a few are large already.
const LARGE_GROUPS: u64 = 30;
/// Chance in percent that limits are so low that they are met.
const SLOW_BUCKETS: u64 = 15;
/// Chance in percent that a device is soon too far behind.
const SHORT_LAG: u64 = 12;
/// How long everything must be at rest after the faults end.
pub(crate) const HEAL_WITHIN: Duration = Duration::from_secs(90);

/// The circumstances of a run.
pub(crate) struct Scenario {
    /// Devices of each user.
    pub(crate) users: Vec<usize>,
    /// Messages that are sent.
    pub(crate) messages: usize,
    /// Classes that may strike.
    pub(crate) faults: FaultSet,
    /// When they end.
    pub(crate) heal: Time,
    pub(crate) real_crypto: bool,
    pub(crate) open_registration: bool,
    pub(crate) ticket_lifetime: Duration,
    /// Delay of the link, in microseconds.
    pub(crate) delay: (u64, u64),
    /// Bytes of a stream in flight before its sender must wait.
    pub(crate) window: usize,
    /// What a machine may write at once.
    pub(crate) tx_limit: usize,
    /// Delays of the server's disk, in microseconds: write and sync.
    pub(crate) disk: (u64, u64),
    /// The largest body.
    pub(crate) max_body: u64,
    /// Of a hundred datagrams so many are lost.
    pub(crate) loss: u64,
    /// What users do beside sending messages.
    pub(crate) acts: usize,
    /// The largest group whose members all get a pointer, where it is not the usual one.
    pub(crate) fanout: Option<u32>,
    /// Messages of a large group that get a pointer when they are asked for, where they are not the usual ones.
    pub(crate) pull: Option<u64>,
    /// Whoever sends or asks much is told to wait.
    pub(crate) slow_buckets: bool,
    /// A cursor further behind starts anew, where it is not the usual distance.
    pub(crate) max_lag: Option<u64>,
}

impl Scenario {
    pub(crate) fn draw(seed: u64, plan: Plan, without: FaultSet) -> Self {
        let mut r = rng(seed, "scenario");
        // Every class is drawn, known or not: leaving one out does not disturb the others. Those of TCP came later and
        // have dice of their own: they did not change what a seed meant before.
        let mut t = rng(seed, "tcp");
        let faults = Fault::ALL.iter().fold(FaultSet::NONE, |set, fault| {
            let dice = if *fault >= Fault::HalfOpen { &mut t } else { &mut r };
            let on = dice.chance(ON) && fault.in_plan(plan) && !without.contains(*fault);
            if on { set.with(*fault) } else { set }
        });
        let on = |fault| faults.contains(fault);
        // What came with people and groups has dice of its own, too.
        let mut p = rng(seed, "people");
        let users = match r.below(10) {
            0..=3 => 2,
            4..=7 => r.between(3, 5),
            _ => r.between(6, 10),
        };
        let users = (0..users).map(|_| devices(&mut r)).collect();
        let near = r.between(200, 40_000);
        Self {
            users,
            messages: r.between(MIN_MESSAGES, MAX_MESSAGES) as usize,
            heal: Time(r.between(40_000_000, 120_000_000)),
            real_crypto: r.chance(REAL_CRYPTO),
            open_registration: r.chance(50),
            ticket_lifetime: if on(Fault::ShortTickets) {
                Duration::from_millis(r.between(8_000, 40_000))
            } else {
                Duration::from_secs(900)
            },
            delay: (near, near + r.skewed(100, 150_000)),
            window: if on(Fault::Backpressure) { r.between(512, 8_192) as usize } else { 64 * 1024 },
            tx_limit: *r.pick(&[1_200, 4_096, 16_384, 65_536]),
            disk: (r.between(20, 500), r.skewed(100, 30_000)),
            max_body: *r.pick(&[16, 64, 256, 1_024, 4_096]),
            loss: r.between(1, 30),
            acts: p.between(MIN_ACTS, MAX_ACTS) as usize,
            fanout: p.chance(LARGE_GROUPS).then(|| p.between(1, 3) as u32),
            pull: p.chance(50).then(|| p.between(1, 12)),
            slow_buckets: p.chance(SLOW_BUCKETS),
            max_lag: p.chance(SHORT_LAG).then(|| p.between(5, 60)),
            faults,
        }
    }

    /// Whether what a device sends first must be stored first. The server keeps the place of a message that it told
    /// to come again for 5 s; where that word takes longer, later ones may pass.
    pub(crate) fn keeps_order(&self) -> bool {
        let again = self.slow_buckets
            || self.on(Fault::DiskFull)
            || (self.on(Fault::SlowDisk) && self.on(Fault::Deadlines));
        let late = [
            Fault::Delay,
            Fault::Stall,
            Fault::Chunks,
            Fault::Backpressure,
            Fault::OneWay,
            Fault::Partition,
            Fault::Freeze,
            Fault::SlowHost,
            Fault::Loss,
            Fault::HalfOpen,
            Fault::UdpDown,
            Fault::TcpDown,
        ];
        !(again && late.into_iter().any(|fault| self.on(fault)))
    }

    pub(crate) fn on(&self, fault: Fault) -> bool {
        self.faults.contains(fault)
    }
}

fn devices(r: &mut Rng) -> usize {
    match r.below(10) {
        0..=4 => 1,
        5..=7 => 2,
        8 => 3,
        _ => 4,
    }
}
