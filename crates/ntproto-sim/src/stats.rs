//! What runs amounted to.

use std::fmt;
use std::time::Duration;

use crate::deed::Deeds;
use crate::fault::{Fault, FaultSet, Plan};

/// Numbers of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Classes that struck.
    pub fired: FaultSet,
    /// Events.
    pub events: u64,
    /// Messages that became durable at the server.
    pub messages: u64,
    /// Messages whose sender was told so.
    pub acknowledged: u64,
    /// Messages shown to applications.
    pub shown: u64,
    /// Connections asked for.
    pub connections: u64,
    /// Sessions granted to early data.
    pub early: u64,
    /// TCP connections that the server took.
    pub streams: u64,
    /// Sessions that moved from QUIC to TCP.
    pub moves_to_tcp: u64,
    /// Sessions that moved from TCP to QUIC.
    pub moves_to_quic: u64,
    /// Sessions that began with the server's certificate: handshake B.
    pub certified: u64,
    /// Datagrams sent.
    pub datagrams: u64,
    /// Of these, lost.
    pub datagrams_lost: u64,
    /// Bytes written by the machines.
    pub bytes: u64,
    /// Frames sealed.
    pub seals: u64,
    /// Frames altered on the way.
    pub flips: u64,
    /// Power cuts of the server.
    pub server_crashes: u64,
    /// Those between the write and the fsync of messages.
    pub server_crashes_between: u64,
    /// Messages that were between them.
    pub messages_between: u64,
    /// Power cuts of devices.
    pub client_crashes: u64,
    /// Those between write and fsync.
    pub client_crashes_between: u64,
    /// Messages too old for the inbox of a large group, or for a device that was away: recorded gaps.
    pub gaps: u64,
    /// Uploads that were whole.
    pub uploads: u64,
    /// Downloads that were whole.
    pub downloads: u64,
    /// What users did.
    pub deeds: Deeds,
    /// Virtual time.
    pub virtual_ms: u64,
    /// From the end of the faults until all was at rest.
    pub healed_after_ms: u64,
}

/// Numbers of many runs.
#[derive(Clone, Debug, Default)]
pub struct Table {
    runs: u64,
    /// Runs that a known fault of others ended.
    abandoned: u64,
    sum: Stats,
    fired: Vec<u64>,
    fewest_messages: u64,
    slowest_heal_ms: u64,
}

impl Table {
    /// Adds a run.
    pub fn add(&mut self, stats: &Stats) {
        self.fired.resize(Fault::ALL.len(), 0);
        for fault in stats.fired.iter() {
            self.fired[fault as usize] += 1;
        }
        self.fewest_messages =
            if self.runs == 0 { stats.messages } else { self.fewest_messages.min(stats.messages) };
        self.slowest_heal_ms = self.slowest_heal_ms.max(stats.healed_after_ms);
        self.runs += 1;
        let sum = &mut self.sum;
        sum.events += stats.events;
        sum.messages += stats.messages;
        sum.acknowledged += stats.acknowledged;
        sum.shown += stats.shown;
        sum.connections += stats.connections;
        sum.early += stats.early;
        sum.streams += stats.streams;
        sum.moves_to_tcp += stats.moves_to_tcp;
        sum.moves_to_quic += stats.moves_to_quic;
        sum.certified += stats.certified;
        sum.datagrams += stats.datagrams;
        sum.datagrams_lost += stats.datagrams_lost;
        sum.bytes += stats.bytes;
        sum.seals += stats.seals;
        sum.flips += stats.flips;
        sum.server_crashes += stats.server_crashes;
        sum.server_crashes_between += stats.server_crashes_between;
        sum.messages_between += stats.messages_between;
        sum.client_crashes += stats.client_crashes;
        sum.client_crashes_between += stats.client_crashes_between;
        sum.gaps += stats.gaps;
        sum.uploads += stats.uploads;
        sum.downloads += stats.downloads;
        sum.deeds.merge(&stats.deeds);
        sum.virtual_ms += stats.virtual_ms;
    }

    /// A known fault of others ended a run; it counts for nothing.
    pub const fn abandon(&mut self) {
        self.abandoned += 1;
    }

    /// Adds what others counted.
    pub fn merge(&mut self, other: &Self) {
        self.abandoned += other.abandoned;
        if other.runs == 0 {
            return;
        }
        self.fired.resize(Fault::ALL.len(), 0);
        for (mine, theirs) in self.fired.iter_mut().zip(&other.fired) {
            *mine += theirs;
        }
        self.fewest_messages = if self.runs == 0 {
            other.fewest_messages
        } else {
            self.fewest_messages.min(other.fewest_messages)
        };
        self.slowest_heal_ms = self.slowest_heal_ms.max(other.slowest_heal_ms);
        self.runs += other.runs;
        let (sum, other) = (&mut self.sum, &other.sum);
        sum.events += other.events;
        sum.messages += other.messages;
        sum.acknowledged += other.acknowledged;
        sum.shown += other.shown;
        sum.connections += other.connections;
        sum.early += other.early;
        sum.streams += other.streams;
        sum.moves_to_tcp += other.moves_to_tcp;
        sum.moves_to_quic += other.moves_to_quic;
        sum.certified += other.certified;
        sum.datagrams += other.datagrams;
        sum.datagrams_lost += other.datagrams_lost;
        sum.bytes += other.bytes;
        sum.seals += other.seals;
        sum.flips += other.flips;
        sum.server_crashes += other.server_crashes;
        sum.server_crashes_between += other.server_crashes_between;
        sum.messages_between += other.messages_between;
        sum.client_crashes += other.client_crashes;
        sum.client_crashes_between += other.client_crashes_between;
        sum.gaps += other.gaps;
        sum.uploads += other.uploads;
        sum.downloads += other.downloads;
        sum.deeds.merge(&other.deeds);
        sum.virtual_ms += other.virtual_ms;
    }

    /// Runs so far.
    #[must_use]
    pub const fn runs(&self) -> u64 {
        self.runs
    }

    /// The fewest messages a run stored.
    #[must_use]
    pub const fn fewest_messages(&self) -> u64 {
        self.fewest_messages
    }

    /// Classes of a plan that struck in fewer runs than a fifth.
    #[must_use]
    pub fn too_rare(&self, plan: Plan, without: FaultSet) -> Vec<Fault> {
        let due = |f: &Fault| f.in_plan(plan) && !without.contains(*f);
        let rare = |f: &Fault| self.fired.get(*f as usize).is_none_or(|n| n * 5 < self.runs);
        Fault::ALL.iter().copied().filter(|f| due(f) && rare(f)).collect()
    }

    /// The table, with how long the runs took by the real clock.
    #[must_use]
    pub fn show(&self, plan: Plan, took: Duration) -> String {
        let mut text = String::from("class            seeds   share\n");
        for fault in Fault::ALL.iter().filter(|f| f.in_plan(plan)) {
            let n = self.fired.get(*fault as usize).copied().unwrap_or(0);
            text += &format!("{fault:<15} {n:>6} {:>6.1}%\n", n as f64 * 100.0 / self.runs.max(1) as f64);
        }
        if plan == Plan::Files {
            return text + &self.summary_of_files(took);
        }
        text += "\nwhat users did        in all  a seed\n";
        text + &self.sum.deeds.show(self.runs) + &self.summary(took)
    }

    fn summary_of_files(&self, took: Duration) -> String {
        let sum = &self.sum;
        format!(
            "\n{} seeds, {:.1} a second\n\
             whole: {} uploads, {} downloads; {:.1} GB sent over {} connections\n\
             power cuts: {} of the server, {} of clients\n\
             virtual time: {:.1} h; {:.0} events a seed\n",
            self.runs,
            self.runs as f64 / took.as_secs_f64().max(1e-9),
            sum.uploads,
            sum.downloads,
            sum.bytes as f64 / 1e9,
            sum.connections,
            sum.server_crashes,
            sum.client_crashes,
            sum.virtual_ms as f64 / 3_600_000.0,
            sum.events as f64 / self.runs.max(1) as f64,
        )
    }

    fn summary(&self, took: Duration) -> String {
        let sum = &self.sum;
        let each = |n: u64| n as f64 / self.runs.max(1) as f64;
        format!(
            "\n{} seeds, {:.1} a second; {} more ended early by a known fault of others\n\
             messages: {} durable, {} acknowledged, {} shown; {:.0} a seed, at least {}\n\
             server power cuts: {}, of them {} between write and fsync, of {} messages\n\
             device power cuts: {}, of them {} between write and fsync\n\
             connections: {}, granted to early data: {}, frames sealed: {}, altered: {}; datagrams: {}, lost: {}\n\
             over TCP: {} connections, {} sessions by handshake B; moved to TCP: {}, to QUIC: {}\n\
             gaps recorded: {}\n\
             virtual time: {:.1} h; slowest rest after the faults: {:.1} s; {:.0} events a seed\n",
            self.runs,
            self.runs as f64 / took.as_secs_f64().max(1e-9),
            self.abandoned,
            sum.messages,
            sum.acknowledged,
            sum.shown,
            each(sum.messages),
            self.fewest_messages,
            sum.server_crashes,
            sum.server_crashes_between,
            sum.messages_between,
            sum.client_crashes,
            sum.client_crashes_between,
            sum.connections,
            sum.early,
            sum.seals,
            sum.flips,
            sum.datagrams,
            sum.datagrams_lost,
            sum.streams,
            sum.certified,
            sum.moves_to_tcp,
            sum.moves_to_quic,
            sum.gaps,
            sum.virtual_ms as f64 / 3_600_000.0,
            self.slowest_heal_ms as f64 / 1000.0,
            each(sum.events),
        )
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} runs", self.runs)
    }
}
