//! What is told about it.

use std::fmt::Write as _;

use serde::Serialize;

use super::check::Promise;
use super::state::{Act, Device};
use crate::demo::report::grouped;
use crate::output::Style;

/// What came out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Report {
    /// Whether every promise held.
    pub(crate) held: bool,
    pub(crate) users: usize,
    pub(crate) devices: usize,
    /// Processes the devices lived in.
    pub(crate) processes: usize,
    pub(crate) groups: usize,
    /// Members above which a group was a large one.
    pub(crate) fanout: usize,
    /// Times the server was killed.
    pub(crate) server_kills: usize,
    pub(crate) messages: u64,
    pub(crate) edits: u64,
    pub(crate) recalls: u64,
    /// Entries told to devices.
    pub(crate) told: u64,
    /// Times a device was online, and times one went offline by itself.
    pub(crate) sessions: u64,
    pub(crate) offline: u64,
    /// From the first entry to the last acknowledgement, the outages included.
    pub(crate) seconds: f64,
    /// What was looked at.
    pub(crate) promises: Vec<Promise>,
}

impl Report {
    /// What the devices did, and what was found.
    pub(crate) fn of(devices: &[Device], promises: Vec<Promise>) -> Self {
        let count = |fits: fn(&Act) -> bool| {
            let sent = devices.iter().flat_map(|device| &device.sent);
            sent.filter(|sent| sent.acked.is_some() && fits(&sent.act)).count() as u64
        };
        let times = || devices.iter().flat_map(|device| &device.sent);
        let first = times().map(|sent| sent.started_us).min().unwrap_or(0);
        let last = times().filter_map(|sent| sent.acked).map(|(_, at)| at).max().unwrap_or(first);
        Self {
            // A promise that nothing was looked at for is none that held.
            held: promises.iter().all(|promise| promise.broken == 0 && promise.checked > 0),
            devices: devices.len(),
            messages: count(|act| matches!(act, Act::Say(_))),
            edits: count(|act| matches!(act, Act::Edit(..))),
            recalls: count(|act| matches!(act, Act::Recall(_))),
            told: devices.iter().flat_map(|d| d.talks.values()).map(|talk| talk.told.len() as u64).sum(),
            sessions: devices.iter().map(|device| device.sessions).sum(),
            offline: devices.iter().map(|device| device.spells).sum(),
            seconds: last.saturating_sub(first) as f64 / 1e6,
            promises,
            ..Self::default()
        }
    }

    /// The table.
    pub(crate) fn table(&self, style: Style) -> String {
        let mut out = String::new();
        let mut row = |name: &str, value: &str, note: &str| {
            let _ = writeln!(out, "  {name:<16} {value:>12}  {}", style.dim(note));
        };
        let number = |n: usize| grouped(n as u64);
        let kills = match self.server_kills {
            1 => "killed once, with SIGKILL".to_owned(),
            n => format!("killed {n} times, with SIGKILL"),
        };
        row("server", "1", &kills);
        row(
            "users",
            &number(self.users),
            &format!("on {} devices in {} processes", self.devices, self.processes),
        );
        row(
            "groups",
            &number(self.groups),
            &format!("one of them above {} members, where members pull", self.fanout),
        );
        let sessions = format!("{} times a device went offline by itself", grouped(self.offline));
        row("sessions", &grouped(self.sessions), &sessions);
        let changes = format!("{} edits and {} recalls beside", grouped(self.edits), grouped(self.recalls));
        row("messages", &grouped(self.messages), &changes);
        row("told", &grouped(self.told), &format!("entries to devices, over {:.1} s", self.seconds));
        let _ = writeln!(out, "\n  {:<16} {:>12} {:>8}", "promise", "checked", "broken");
        for promise in &self.promises {
            let broken = format!("{:>8}", grouped(promise.broken));
            let broken = if promise.broken == 0 { style.green(&broken) } else { style.red(&broken) };
            let (name, checked) = (promise.name, grouped(promise.checked));
            let _ = writeln!(out, "  {name:<16} {checked:>12} {broken}  {}", style.dim(promise.what));
        }
        for promise in self.promises.iter().filter(|promise| promise.broken > 0) {
            if let Some(first) = &promise.first {
                let _ = writeln!(out, "  {}: {first}", style.red(promise.name));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_what_was_checked_and_what_broke() {
        let promise = |name, broken, first: Option<&str>| Promise {
            name,
            checked: 12_345,
            broken,
            what: "things that were looked at",
            settles: true,
            first: first.map(str::to_owned),
        };
        let promises =
            vec![promise("delivered", 0, None), promise("unread", 2, Some("user 3 counts 4 of 5"))];
        let report = Report {
            users: 50,
            devices: 120,
            processes: 4,
            groups: 13,
            fanout: 9,
            server_kills: 2,
            messages: 1_200,
            edits: 160,
            recalls: 70,
            told: 22_000,
            sessions: 480,
            offline: 60,
            seconds: 31.4,
            ..Report::of(&[], promises)
        };
        assert!(!report.held);
        insta::assert_snapshot!(report.table(Style::PLAIN));
    }
}
