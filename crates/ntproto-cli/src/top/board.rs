//! What looks at a server say together.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::Sample;

/// Looks that the line of history goes back.
const HISTORY: usize = 120;

/// The last two looks, and how many messages there were in each interval before.
#[derive(Default)]
pub(crate) struct Board {
    before: Option<Sample>,
    now: Sample,
    /// Messages a second.
    history: VecDeque<f64>,
    /// Why the last look failed.
    pub(crate) trouble: Option<String>,
}

/// A figure of the board.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Figure {
    /// So many.
    Count(f64),
    /// So many a second.
    Rate(f64),
    /// Seconds.
    Seconds(f64),
    /// Bytes.
    Bytes(f64),
    /// Bytes a second.
    ByteRate(f64),
}

/// A figure with its name; without one where the server does not say.
pub(crate) type Named = (&'static str, Option<Figure>);

/// Figures that belong together.
pub(crate) struct Row {
    pub(crate) title: &'static str,
    pub(crate) figures: Vec<Named>,
}

const CONNECTIONS: &str = "ntproto_connections";
const MESSAGES: &str = "ntproto_messages_total";
const REQUESTS: &str = "ntproto_requests_total";
const HANDSHAKES: &str = "ntproto_handshakes_total";
const COMMIT: &str = "ntproto_store_commit_seconds";
const HTTP: &str = "http_request_duration_seconds";

impl Board {
    /// Another look.
    pub(crate) fn look(&mut self, sample: Sample) {
        let before = std::mem::replace(&mut self.now, sample);
        // A server that was started anew counts from zero.
        let restarted =
            self.now.sum("process_start_time_seconds", &[]) != before.sum("process_start_time_seconds", &[]);
        self.before = (before.at > 0.0 && self.now.at > before.at && !restarted).then_some(before);
        self.trouble = None;
        if let Some(Figure::Rate(rate)) = self.rate(MESSAGES, &[]) {
            self.history.push_back(rate);
            if self.history.len() > HISTORY {
                self.history.pop_front();
            }
        }
    }

    /// Messages a second, the latest last.
    pub(crate) const fn history(&self) -> &VecDeque<f64> {
        &self.history
    }

    /// The version that runs.
    pub(crate) fn version(&self) -> Option<&str> {
        self.now.label_of("ntproto_build_info", "version")
    }

    /// Seconds since the server started.
    pub(crate) fn up(&self) -> Option<f64> {
        Some((self.now.unix - self.now.sum("process_start_time_seconds", &[])?).max(0.0))
    }

    /// Whether it is ready.
    pub(crate) fn ready(&self) -> Option<bool> {
        Some(self.now.sum("ntproto_ready", &[])? > 0.0)
    }

    /// Its figures.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let count = |metric, labels: &[_]| self.now.sum(metric, labels).map(Figure::Count);
        let row = |title, figures: &[Named]| Row { title, figures: figures.to_vec() };
        let transport = |name| count(CONNECTIONS, &[("transport", name)]);
        vec![
            row(
                "connections",
                &[
                    ("all", count(CONNECTIONS, &[])),
                    ("quic", transport("quic")),
                    ("tcp", transport("tcp")),
                    ("web", transport("web")),
                    ("signed in", count("ntproto_sessions", &[])),
                    ("half open", count("ntproto_quic_half_open", &[])),
                ],
            ),
            row("accounts", &[("accounts", count("accounts", &[])), ("groups", count("groups", &[]))]),
            row(
                "messages",
                &[
                    ("direct", self.rate(MESSAGES, &[("kind", "direct")])),
                    ("group", self.rate(MESSAGES, &[("kind", "group")])),
                    ("again", self.rate(MESSAGES, &[("kind", "duplicate")])),
                    ("pushed", self.rate("ntproto_pushes_total", &[])),
                ],
            ),
            row(
                "requests",
                &[
                    ("answered", self.rate(REQUESTS, &[("outcome", "answered")])),
                    ("deferred", self.rate(REQUESTS, &[("outcome", "deferred")])),
                    ("refused", self.rate(REQUESTS, &[("outcome", "refused")])),
                ],
            ),
            row(
                "handshakes",
                &[
                    ("signed in", self.rate(HANDSHAKES, &[("outcome", "signed_in")])),
                    ("enrolled", self.rate(HANDSHAKES, &[("outcome", "enrolled")])),
                    ("all", self.rate(HANDSHAKES, &[])),
                    ("seal failures", count("ntproto_seal_failures_total", &[])),
                ],
            ),
            row(
                "store",
                &[
                    ("commit 50 %", self.quantile(COMMIT, 0.5)),
                    ("99 %", self.quantile(COMMIT, 0.99)),
                    ("commits", self.rate(&format!("{COMMIT}_count"), &[])),
                    ("queue", count("ntproto_store_queue_transactions", &[])),
                    ("failures", count("ntproto_store_failures_total", &[])),
                ],
            ),
            row(
                "network",
                &[
                    ("rtt 50 %", self.quantile("ntproto_rtt_seconds", 0.5)),
                    ("95 %", self.quantile("ntproto_rtt_seconds", 0.95)),
                    ("retries", self.rate("ntproto_quic_retries_total", &[])),
                    ("refused", self.rate("ntproto_quic_refused_total", &[])),
                ],
            ),
            row(
                "http",
                &[
                    ("requests", self.rate(&format!("{HTTP}_count"), &[])),
                    ("95 %", self.quantile(HTTP, 0.95)),
                    ("in", self.bytes("ntproto_http_body_bytes_total", "received")),
                    ("out", self.bytes("ntproto_http_body_bytes_total", "sent")),
                ],
            ),
            row(
                "memory",
                &[
                    ("resident", self.now.sum("process_resident_memory_bytes", &[]).map(Figure::Bytes)),
                    ("to be read", self.now.sum("ntproto_waiting_bytes", &[]).map(Figure::Bytes)),
                    ("to the disk", self.now.sum("ntproto_store_queue_bytes", &[]).map(Figure::Bytes)),
                    ("not read", count("ntproto_paused_connections", &[])),
                ],
            ),
        ]
    }

    /// The board as JSON: rows by title, figures by name, in their units (a second, seconds, bytes).
    pub(crate) fn json(&self) -> Value {
        let mut board = json!({ "version": self.version(), "up_seconds": self.up(), "ready": self.ready() });
        for Row { title, figures } in self.rows() {
            let figures =
                figures.into_iter().map(|(name, figure)| (name.to_owned(), json!(figure.map(Figure::value))));
            board[title] = Value::Object(figures.collect());
        }
        board
    }

    fn rate(&self, metric: &str, labels: &[(&str, &str)]) -> Option<Figure> {
        let before = self.before.as_ref()?;
        let now = self.now.sum(metric, labels)?;
        // A series that is new began at zero.
        let risen = now - before.sum(metric, labels).unwrap_or(0.0);
        Some(Figure::Rate(risen.max(0.0) / (self.now.at - before.at)))
    }

    fn bytes(&self, metric: &str, direction: &str) -> Option<Figure> {
        self.rate(metric, &[("direction", direction)]).map(|rate| Figure::ByteRate(rate.value()))
    }

    /// The bound that so many of what came since the last look were at or below; of all there ever were, if nothing came.
    fn quantile(&self, metric: &str, q: f64) -> Option<Figure> {
        let now = self.now.buckets(metric);
        let before = self.before.as_ref().map(|before| before.buckets(metric)).unwrap_or_default();
        let since = |(bound, count): &(f64, f64)| {
            let earlier = before.iter().find(|(known, _)| known == bound).map_or(0.0, |(_, count)| *count);
            (*bound, (count - earlier).max(0.0))
        };
        let recent: Vec<_> = now.iter().map(since).collect();
        let buckets = if recent.last()?.1 > 0.0 { recent } else { now };
        let all = buckets.last()?.1;
        let finite = |bound: f64| bound.is_finite().then_some(Figure::Seconds(bound));
        let highest = buckets.iter().rev().find_map(|(bound, _)| finite(*bound));
        let found = buckets.iter().find(|(_, count)| all > 0.0 && *count >= q * all)?;
        finite(found.0).or(highest)
    }
}

impl Figure {
    /// The number alone.
    pub(crate) const fn value(self) -> f64 {
        match self {
            Self::Count(n) | Self::Rate(n) | Self::Seconds(n) | Self::Bytes(n) | Self::ByteRate(n) => n,
        }
    }

    /// As people read it.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Count(n) => format!("{n:.0}"),
            Self::Rate(n) if n >= 100.0 || n == 0.0 => format!("{n:.0}/s"),
            Self::Rate(n) => format!("{n:.1}/s"),
            Self::Seconds(s) if s < 1.0 => format!("≤ {} ms", (s * 1e5).round() / 100.0),
            Self::Seconds(s) => format!("≤ {s} s"),
            Self::Bytes(n) => bytes(n),
            Self::ByteRate(n) => format!("{}/s", bytes(n)),
        }
    }
}

fn bytes(n: f64) -> String {
    let mut n = n;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if n < 1024.0 {
            return if unit == "B" { format!("{n:.0} B") } else { format!("{n:.1} {unit}") };
        }
        n /= 1024.0;
    }
    format!("{n:.1} TiB")
}
