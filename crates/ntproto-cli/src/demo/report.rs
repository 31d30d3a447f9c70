//! The ledgers compared, and what is told about it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::back::Back;
use super::ledger::{Received, Sent};
use super::plan::{Plan, fingerprint};
use crate::output::Style;
use crate::session::LinkArgs;

/// A process that was killed, and when (microseconds since 1970).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kill {
    /// The server.
    Server(u64),
    /// A client.
    Client(usize, u64),
    /// UDP, for a while.
    Udp(u64),
}

/// The ledgers of a client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledgers {
    pub(crate) sent: Vec<Sent>,
    pub(crate) received: Vec<Received>,
}

/// Times from handing a message over to its acknowledgement, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Latency {
    /// How many.
    pub(crate) count: usize,
    /// Half are at most this.
    pub(crate) p50_us: u64,
    /// 99 of 100 are at most this.
    pub(crate) p99_us: u64,
    /// The longest.
    pub(crate) max_us: u64,
}

impl Latency {
    /// Of these times, in any order.
    pub(crate) fn of(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        // The smallest value that this share of all is not above.
        let rank = |percent: usize| times.get((times.len() * percent).div_ceil(100).saturating_sub(1));
        Self {
            count: times.len(),
            p50_us: rank(50).copied().unwrap_or(0),
            p99_us: rank(99).copied().unwrap_or(0),
            max_us: times.last().copied().unwrap_or(0),
        }
    }
}

/// What came out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Report {
    /// Client processes.
    pub(crate) clients: usize,
    /// Times the server was killed.
    pub(crate) server_kills: usize,
    /// Times a client was killed.
    pub(crate) client_kills: usize,
    /// Times UDP was cut.
    pub(crate) udp_cuts: usize,
    /// What the clients were told to use.
    pub(crate) transport: &'static str,
    /// What drove them, and the server.
    pub(crate) runtime: &'static str,
    /// Sessions, by what carried them.
    pub(crate) sessions: BTreeMap<String, u64>,
    /// Messages handed to a client.
    pub(crate) sent: u64,
    /// Of those, acknowledged.
    pub(crate) acknowledged: u64,
    /// Messages that reached their recipient, each counted once.
    pub(crate) delivered: u64,
    /// Times a message reached its recipient again.
    pub(crate) duplicated: u64,
    /// Acknowledged messages that never reached their recipient.
    pub(crate) lost: u64,
    /// Messages whose body was not what was sent.
    pub(crate) altered: u64,
    /// Messages that reached somebody else than their recipient, or were never sent.
    pub(crate) stray: u64,
    /// Messages shown after one with a higher number of their conversation.
    pub(crate) out_of_order: u64,
    /// Without messages that were on their way, or handed over, while their client or the server was down.
    pub(crate) latency_quiet: Latency,
    /// With them.
    pub(crate) latency_all: Latency,
    /// From the first message handed over to the last acknowledgement, the outages included.
    pub(crate) seconds: f64,
    /// Acknowledged messages a second, over that time.
    pub(crate) messages_per_second: f64,
    /// The longest time from a kill of the server to a client's next acknowledgement.
    pub(crate) server_back_ms: Option<u64>,
    /// Round trips from the first packet of a client that comes back to its first message.
    pub(crate) back: Option<Back>,
}

impl Report {
    /// Compares the ledgers.
    pub(crate) fn compare(plan: &Plan, ledgers: &[Ledgers], kills: &[Kill]) -> Self {
        let mut report = Self {
            clients: plan.clients,
            server_kills: kills.iter().filter(|k| matches!(k, Kill::Server(_))).count(),
            client_kills: kills.iter().filter(|k| matches!(k, Kill::Client(..))).count(),
            udp_cuts: kills.iter().filter(|k| matches!(k, Kill::Udp(_))).count(),
            ..Self::default()
        };
        let mut acked = BTreeSet::new();
        let mut started = BTreeSet::new();
        for (client, ledger) in ledgers.iter().enumerate() {
            for line in &ledger.sent {
                match line {
                    Sent::Started(number, _) => started.insert((client, *number)),
                    Sent::Acked(number, _) => acked.insert((client, *number)),
                };
            }
        }
        let delivered = report.receive(plan, ledgers, &started);
        report.sent = started.len() as u64;
        report.acknowledged = acked.len() as u64;
        report.delivered = delivered.len() as u64;
        report.lost = acked.difference(&delivered).count() as u64;
        report.times(ledgers, kills);
        report
    }

    /// Goes through what was received. Returns what reached its recipient.
    fn receive(
        &mut self,
        plan: &Plan,
        ledgers: &[Ledgers],
        started: &BTreeSet<(usize, u64)>,
    ) -> BTreeSet<(usize, u64)> {
        let mut delivered = BTreeSet::new();
        for (client, ledger) in ledgers.iter().enumerate() {
            // The conversation of two is named by the other one.
            let mut heads: BTreeMap<usize, u64> = BTreeMap::new();
            for line in &ledger.received {
                let message = (line.sender, line.number);
                if !started.contains(&message) || plan.recipient(line.sender, line.number) != client {
                    self.stray += 1;
                    continue;
                }
                if fingerprint(&plan.body(line.sender, line.number)) != line.fingerprint {
                    self.altered += 1;
                }
                let fresh = delivered.insert(message);
                let head = heads.entry(line.sender).or_default();
                if !fresh {
                    self.duplicated += 1;
                } else if line.conv_seq <= *head {
                    self.out_of_order += 1;
                }
                *head = (*head).max(line.conv_seq);
            }
        }
        delivered
    }

    fn times(&mut self, ledgers: &[Ledgers], kills: &[Kill]) {
        let (mut all, mut quiet) = (Vec::new(), Vec::new());
        let (mut first, mut last) = (u64::MAX, 0);
        for (client, ledger) in ledgers.iter().enumerate() {
            let flights = flights(&ledger.sent);
            let mut outages = Vec::new();
            for kill in kills {
                let (Kill::Server(at) | Kill::Client(_, at) | Kill::Udp(at)) = *kill;
                if matches!(kill, Kill::Client(other, _) if *other != client) {
                    continue;
                }
                // What was on its way when UDP was cut may still be acknowledged.
                let after = if let Kill::Udp(_) = kill { at + 1_000_000 } else { at };
                let back = flights.iter().map(|(_, acked)| *acked).filter(|acked| *acked > after).min();
                if let (Kill::Server(_), Some(back)) = (kill, back) {
                    self.server_back_ms = self.server_back_ms.max(Some((back - at) / 1000));
                }
                outages.push((at, back.unwrap_or(u64::MAX)));
            }
            for (start, acked) in flights {
                first = first.min(start);
                last = last.max(acked);
                let time = acked.saturating_sub(start);
                all.push(time);
                if !outages.iter().any(|(from, to)| start <= *to && acked >= *from) {
                    quiet.push(time);
                }
            }
        }
        self.seconds = Duration::from_micros(last.saturating_sub(first)).as_secs_f64();
        self.messages_per_second = if self.seconds > 0.0 { all.len() as f64 / self.seconds } else { 0.0 };
        self.latency_all = Latency::of(all);
        self.latency_quiet = Latency::of(quiet);
    }

    /// Whether a promise was broken.
    pub(crate) const fn broken(&self) -> bool {
        self.lost + self.duplicated + self.altered + self.stray + self.out_of_order > 0
    }

    /// Whether everything that was planned was sent, acknowledged and delivered.
    pub(crate) fn complete(&self, plan: &Plan) -> bool {
        [self.sent, self.acknowledged, self.delivered].iter().all(|n| *n == plan.total())
    }

    /// Adds what carried the sessions.
    pub(crate) fn link(&mut self, link: LinkArgs, sessions: &BTreeMap<String, u64>) {
        (self.transport, self.runtime) = (link.transport.name(), link.runtime.name());
        self.sessions.clone_from(sessions);
    }

    /// The table.
    pub(crate) fn table(&self, style: Style) -> String {
        let mut out = String::new();
        let mut row = |name: &str, value: &str, note: &str| {
            let _ = writeln!(out, "  {name:<16} {value:>12}  {}", style.dim(note));
        };
        let times = |n: usize| match n {
            0 => "never killed".to_owned(),
            1 => "killed once, with SIGKILL".to_owned(),
            n => format!("killed {n} times, with SIGKILL"),
        };
        row("server", "1", &times(self.server_kills));
        row("clients", &grouped(self.clients as u64), &times(self.client_kills));
        let carried: Vec<String> =
            self.sessions.iter().map(|(transport, n)| format!("{} over {transport}", grouped(*n))).collect();
        let cuts = match self.udp_cuts {
            0 => String::new(),
            1 => "; UDP cut once".into(),
            n => format!("; UDP cut {n} times"),
        };
        if !carried.is_empty() {
            let all = grouped(self.sessions.values().sum());
            row("sessions", &all, &format!("{} on {}{cuts}", carried.join(", "), self.runtime));
        }
        row("sent", &grouped(self.sent), "handed to a client, which has them on its disk");
        row("acknowledged", &grouped(self.acknowledged), "on the server's disk");
        row("delivered", &grouped(self.delivered), "in the ledger of the recipient");
        for (name, count, note) in [
            ("duplicated", self.duplicated, "in the ledger of the recipient more than once"),
            ("lost", self.lost, "acknowledged, and not delivered"),
            ("altered", self.altered, "with another body"),
            ("stray", self.stray, "at somebody else's, or from nowhere"),
            ("out of order", self.out_of_order, "after a later one of their conversation"),
        ] {
            let shown = format!("{:>12}", grouped(count));
            let shown = if count == 0 { style.green(&shown) } else { style.red(&shown) };
            row(name, &shown, note);
        }
        for (name, latency, note) in [
            ("ack p50", self.latency_quiet.p50_us, "kills excluded: not in flight while a process was down"),
            ("ack p99", self.latency_quiet.p99_us, "likewise"),
            ("ack p99, all", self.latency_all.p99_us, "kills included: until the process was back"),
        ] {
            row(name, &millis(latency), note);
        }
        if let Some(ms) = self.server_back_ms {
            row(
                "server back",
                &format!("{ms} ms"),
                "from its kill to the slowest client's next acknowledgement",
            );
        }
        if let Some(Back { early, full }) = self.back {
            let trips = |n: u32| format!("{n} round trip{}", if n == 1 { "" } else { "s" });
            row("back, 0-RTT", &trips(early), "from its first packet to its first message, with early data");
            row("back, without", &trips(full), "likewise, with a full handshake");
        }
        let note = format!("over {:.1} s, outages included", self.seconds);
        row("messages/s", &grouped(self.messages_per_second as u64), &note);
        out
    }
}

/// From first being handed over to being acknowledged, of each message.
fn flights(sent: &[Sent]) -> Vec<(u64, u64)> {
    let mut starts: BTreeMap<u64, u64> = BTreeMap::new();
    let mut flights = Vec::new();
    for line in sent {
        match line {
            Sent::Started(number, at) => {
                starts.entry(*number).or_insert(*at);
            }
            Sent::Acked(number, at) => {
                if let Some(start) = starts.get(number) {
                    flights.push((*start, *at));
                }
            }
        }
    }
    flights
}

/// Milliseconds with as many digits as help.
pub(crate) fn millis(us: u64) -> String {
    match us {
        0..10_000 => format!("{:.2} ms", us as f64 / 1e3),
        10_000..1_000_000 => format!("{:.0} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

/// A number with a comma every three digits.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { clients: 3, each: 4, size: 50 };

    /// Everything sent at 1,000 µs a message, acknowledged 500 µs later, received in order.
    fn clean() -> Vec<Ledgers> {
        let mut all = vec![Ledgers::default(); 3];
        for sender in 0..3 {
            for n in 0..PLAN.each {
                let start = (n + 1) * 1_000_000;
                all[sender].sent.push(Sent::Started(n, start));
                all[sender].sent.push(Sent::Acked(n, start + 500));
                let to = PLAN.recipient(sender, n);
                let position = all[to].received.len() as u64 + 1;
                all[to].received.push(Received {
                    position,
                    sender,
                    number: n,
                    conv_seq: n + 1,
                    fingerprint: fingerprint(&PLAN.body(sender, n)),
                });
            }
        }
        all
    }

    #[test]
    fn a_clean_run() {
        let report = Report::compare(&PLAN, &clean(), &[]);
        assert!(!report.broken() && report.complete(&PLAN));
        assert_eq!((report.sent, report.acknowledged, report.delivered), (12, 12, 12));
        assert_eq!(report.latency_all, Latency { count: 12, p50_us: 500, p99_us: 500, max_us: 500 });
        assert_eq!(report.latency_quiet, report.latency_all);
        insta::assert_snapshot!(report.table(Style::PLAIN));
    }

    #[test]
    fn each_broken_promise_is_found() {
        let broken = |change: fn(&mut Vec<Ledgers>)| {
            let mut all = clean();
            change(&mut all);
            Report::compare(&PLAN, &all, &[])
        };
        let lost = broken(|all| {
            all[1].received.remove(0);
        });
        assert_eq!((lost.lost, lost.delivered, lost.broken()), (1, 11, true));
        let doubled = broken(|all| {
            let again = Received { position: 99, ..all[1].received[0] };
            all[1].received.push(again);
        });
        assert_eq!((doubled.duplicated, doubled.delivered, doubled.broken()), (1, 12, true));
        let altered = broken(|all| all[2].received[0].fingerprint ^= 1);
        assert_eq!((altered.altered, altered.broken()), (1, true));
        let swapped = broken(|all| {
            let sender = all[1].received[0].sender;
            let theirs: Vec<usize> = (0..4).filter(|i| all[1].received[*i].sender == sender).collect();
            all[1].received.swap(theirs[0], theirs[1]);
        });
        assert_eq!((swapped.out_of_order, swapped.broken()), (1, true));
        let stray = broken(|all| {
            let other = all[1].received.remove(0);
            all[0].received.push(other);
        });
        assert_eq!((stray.stray, stray.lost, stray.broken()), (1, 1, true));
        // Not acknowledged is not lost: nothing was promised. But the run is not complete.
        let unfinished = broken(|all| {
            all[0].sent.retain(|l| !matches!(l, Sent::Acked(0, _)));
            let to = PLAN.recipient(0, 0);
            all[to].received.retain(|r| (r.sender, r.number) != (0, 0));
        });
        assert!(!unfinished.broken() && !unfinished.complete(&PLAN));
    }

    #[test]
    fn kills_are_told_apart_from_quiet_times() {
        let mut all = clean();
        // The last message of each waits out a kill of the server; client 0 was killed around its second.
        for ledger in &mut all {
            ledger.sent.pop();
            ledger.sent.push(Sent::Acked(3, 5_200_000));
        }
        all[0].sent[3] = Sent::Acked(1, 2_900_000);
        let kills = [Kill::Server(4_000_100), Kill::Client(0, 2_000_100)];
        let report = Report::compare(&PLAN, &all, &kills);
        assert_eq!((report.latency_quiet.count, report.latency_quiet.max_us), (8, 500));
        assert_eq!((report.latency_all.count, report.latency_all.max_us), (12, 1_200_000));
        assert_eq!(report.server_back_ms, Some(1_199));
        assert_eq!((report.server_kills, report.client_kills), (1, 1));
        insta::assert_snapshot!(report.table(Style::PLAIN));
    }

    #[test]
    fn ranks_and_numbers() {
        assert_eq!(Latency::of(vec![]), Latency::default());
        assert_eq!(Latency::of(vec![7]), Latency { count: 1, p50_us: 7, p99_us: 7, max_us: 7 });
        let hundred = Latency::of((1..=100).rev().collect());
        assert_eq!((hundred.p50_us, hundred.p99_us, hundred.max_us), (50, 99, 100));
        assert_eq!(
            ["0", "999", "1,000", "1,234,567"].map(String::from),
            [0, 999, 1000, 1_234_567].map(grouped)
        );
        assert_eq!([9_990, 12_345, 1_500_000].map(millis), ["9.99 ms", "12 ms", "1.50 s"]);
    }
}
