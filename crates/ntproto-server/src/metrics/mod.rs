//! What a server counts, for Prometheus (guide, "Observability", lists every name).
//!
//! | module | is |
//! | --- | --- |
//! | [`label`] | the values labels can have: closed enums, so that nobody can make more series |
//! | [`cell`] | counters and histograms without a lock |
//! | [`text`] | the text that Prometheus reads |
//!
//! Recording costs an atomic addition. There is no global registry: a [`Metrics`] is made with its server and shared by whoever
//! records.

pub mod cell;
pub mod label;
pub mod text;
pub(crate) mod timed;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_channel::{Receiver, Sender};
use ntproto_hub::HubEvent;

use self::cell::{Counter, Counters, Histogram, Histograms};
use self::label::{
    Answer, FileEvent, Handshake, Label as _, Message, Method, Reason, Route, Status, Transport, Way,
};
use self::text::Text;
use crate::node::NodeCounts;

/// Seconds an HTTP request takes: a file may be large.
const HTTP_SECONDS: &[f64] = &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];
/// Seconds a commit takes: from a fast disk to one that hangs.
const COMMIT_SECONDS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// Seconds to a peer and back: from one machine to a bad mobile network.
const RTT_SECONDS: &[f64] = &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2];
/// Transactions of a batch: up to the most that group commit takes.
const BATCH: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// What a server counts. Cheap to record into, from any thread.
///
/// ```
/// use std::time::Duration;
/// use ntproto_server::metrics::Metrics;
///
/// let metrics = Metrics::new();
/// // Whoever serves HTTP says of each request:
/// metrics.http("GET", "/v2/handshake", 200, Duration::from_millis(3));
/// let text = metrics.render();
/// assert!(text.contains(r#"http_request_duration_seconds_count{method="GET",route="/v2/handshake",status="200"} 1"#));
/// ```
pub struct Metrics {
    started: SystemTime,
    http: Histograms<Method, Route, Status>,
    http_bytes: Counters<Way>,
    opened: Counters<Transport>,
    down: Counters<Transport>,
    handshakes: Counters<Handshake>,
    closed: Counters<Reason>,
    rtt: Histogram,
    commit: Histogram,
    batch: Histogram,
    store_failures: Counter,
    files: Counters<FileEvent>,
    uploaded: Counter,
    spans: Counter,
    node: Mutex<NodeCounts>,
    /// Whoever waits for what the node says next.
    waiting: Mutex<Vec<Sender<()>>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            started: SystemTime::now(),
            http: Histograms::new(HTTP_SECONDS),
            http_bytes: Counters::default(),
            opened: Counters::default(),
            down: Counters::default(),
            handshakes: Counters::default(),
            closed: Counters::default(),
            rtt: Histogram::new(RTT_SECONDS),
            commit: Histogram::new(COMMIT_SECONDS),
            batch: Histogram::new(BATCH),
            store_failures: Counter::default(),
            files: Counters::default(),
            uploaded: Counter::default(),
            spans: Counter::default(),
            node: Mutex::default(),
            waiting: Mutex::default(),
        }
    }

    // ── recording ───────────────────────────────────────────────────────────────────────────────

    /// An HTTP request is over. A method, a route or a status that is not known counts as `other`, `none` or `other`.
    pub fn http(&self, method: &str, route: &str, status: u16, took: Duration) {
        self.http.of(method.into(), route.into(), status.into()).time(took);
    }

    /// Bytes of bodies went over HTTP.
    pub fn http_bytes(&self, received: u64, sent: u64) {
        self.http_bytes.add(Way::Received, received);
        self.http_bytes.add(Way::Sent, sent);
    }

    /// An upload is whole.
    pub fn uploaded(&self, bytes: u64) {
        self.files.add(FileEvent::Uploaded, 1);
        self.uploaded.add(bytes);
    }

    /// Something else happened to files.
    pub fn files(&self, event: FileEvent, count: u64) {
        self.files.add(event, count);
    }

    /// A transport is up.
    pub fn opened(&self, transport: impl Into<Transport>) {
        self.opened.add(transport.into(), 1);
    }

    /// A transport is down.
    pub fn down(&self, transport: impl Into<Transport>) {
        self.down.add(transport.into(), 1);
    }

    /// The round-trip time of a connection that has just been let in.
    pub fn rtt(&self, rtt: Duration) {
        self.rtt.time(rtt);
    }

    /// The store has committed a batch, fsync included.
    pub fn committed(&self, transactions: u64, took: Duration) {
        self.batch.number(transactions);
        self.commit.time(took);
    }

    /// What the hub says.
    pub fn hub(&self, event: &HubEvent) {
        match event {
            HubEvent::In { enrolled: true, .. } => self.handshakes.add(Handshake::Enrolled, 1),
            HubEvent::In { enrolled: false, .. } => self.handshakes.add(Handshake::SignedIn, 1),
            HubEvent::Refused { code, .. } => self.handshakes.add((*code).into(), 1),
            HubEvent::Closed { why, .. } => self.closed.add((*why).into(), 1),
            HubEvent::StoreFailed(_) => self.store_failures.add(1),
            HubEvent::Served(_) => self.spans.add(1),
            HubEvent::Drained => {}
        }
    }

    /// What the node says of itself.
    pub fn node(&self, counts: NodeCounts) {
        *self.node.lock().unwrap_or_else(PoisonError::into_inner) = counts;
        // Each waits on a channel of its own, which is closed by this.
        drop(std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner)));
    }

    /// Closed when the node says something of itself the next time.
    pub(crate) fn counted(&self) -> Receiver<()> {
        let (sender, receiver) = async_channel::bounded(1);
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        receiver
    }

    // ── reading ─────────────────────────────────────────────────────────────────────────────────

    /// The last that the node said of itself.
    #[must_use]
    pub fn last_node(&self) -> NodeCounts {
        *self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of it, as Prometheus reads it.
    #[must_use]
    pub fn render(&self) -> String {
        let NodeCounts { hub, load, quic, draining, store_failed } = self.last_node();
        let mut text = Text::default();
        let t = &mut text;
        t.info(
            "ntproto_build_info",
            "The version that runs, as a label.",
            ("version", env!("CARGO_PKG_VERSION")),
        );
        let since = self.started.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        t.gauge("process_start_time_seconds", "When the server started, in seconds since 1970.", since);
        if let Some(bytes) = resident() {
            t.gauge("process_resident_memory_bytes", "Memory the process has.", bytes);
        }
        t.gauge(
            "ntproto_ready",
            "1 when the store works and the server is not draining.",
            u8::from(!draining && !store_failed),
        );

        let labels = [Method::NAME, Route::NAME, Status::NAME];
        let help = "How long HTTP requests took, from the first byte to the last.";
        t.histograms("http_request_duration_seconds", help, labels, self.http.each());
        t.counters("ntproto_http_body_bytes_total", "Bytes of HTTP bodies.", &self.http_bytes);
        t.counters("ntproto_files_total", "What happened to files.", &self.files);
        t.counter("ntproto_uploaded_bytes_total", "Bytes of uploads that became whole.", self.uploaded.get());

        let now = Transport::TEXTS.iter().zip(self.opened.each().zip(self.down.each()));
        let now = now.map(|(text, ((_, opened), (_, down)))| (*text, opened.saturating_sub(down)));
        t.labelled("ntproto_connections", "gauge", "Transports that are up.", Transport::NAME, now);
        t.counters("ntproto_connections_opened_total", "Transports that came up.", &self.opened);
        t.gauge("ntproto_sessions", "Devices that are signed in.", load.sessions);
        t.counters("ntproto_handshakes_total", "Handshakes that ended.", &self.handshakes);
        t.counters(
            "ntproto_connections_closed_total",
            "Connections of the protocol that ended.",
            &self.closed,
        );
        let forged = self.closed.get(Reason::Forged);
        t.counter("ntproto_seal_failures_total", "Sealed frames that were not authentic.", forged);
        t.histogram(
            "ntproto_rtt_seconds",
            "Round-trip times of connections when they were let in.",
            &self.rtt,
        );
        t.gauge("ntproto_quic_half_open", "QUIC handshakes under way.", quic.half_open);
        t.counter(
            "ntproto_quic_retries_total",
            "Addresses that had to prove themselves first.",
            quic.retries,
        );
        t.counter("ntproto_quic_refused_total", "QUIC connections refused.", quic.refused);
        t.counter("ntproto_quic_dropped_total", "Answers dropped because too many waited.", quic.dropped);

        let kinds = [
            (Message::Direct, hub.direct),
            (Message::Group, hub.group),
            (Message::Duplicate, hub.duplicates),
        ];
        let kinds = kinds.map(|(kind, count)| (Message::TEXTS[kind.index()], count)).into_iter();
        t.labelled("ntproto_messages_total", "counter", "Messages that came.", Message::NAME, kinds);
        t.counter("ntproto_pushes_total", "Changes told to connected devices.", hub.pushed);
        let answers = [
            (Answer::Answered, hub.answered),
            (Answer::Deferred, hub.deferred),
            (Answer::Refused, hub.refused),
        ];
        let answers = answers.map(|(answer, count)| (Answer::TEXTS[answer.index()], count)).into_iter();
        t.labelled(
            "ntproto_requests_total",
            "counter",
            "Requests that were answered.",
            Answer::NAME,
            answers,
        );
        t.counter("ntproto_spans_total", "Requests of traces that their askers keep.", self.spans.get());

        t.gauge("ntproto_store_queue_transactions", "Transactions in the store.", load.in_store);
        t.gauge("ntproto_store_queue_bytes", "Bytes of them.", load.in_store_bytes);
        t.gauge(
            "ntproto_paused_connections",
            "Connections that are not read, for want of room.",
            load.paused,
        );
        t.gauge("ntproto_waiting_bytes", "Bytes that wait for devices to read them.", load.waiting_bytes);
        t.histogram("ntproto_store_commit_seconds", "How long commits took, fsync included.", &self.commit);
        t.histogram("ntproto_store_batch_transactions", "Transactions committed together.", &self.batch);
        t.counter("ntproto_store_failures_total", "Times the store failed.", self.store_failures.get());
        text.finish()
    }
}

/// Memory of this process, where the system says so in a file.
fn resident() -> Option<u64> {
    /// A page on every Linux this runs on with the default kernel; others are off by their factor.
    const PAGE: u64 = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    statm.split_whitespace().nth(1)?.parse::<u64>().ok().map(|pages| pages * PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_odd_requests_make_no_more_series() {
        let metrics = Metrics::new();
        for n in 0..1_000_000u32 {
            let status = u16::try_from(600 + n % 60_000).unwrap_or(u16::MAX);
            metrics.http(&format!("M{n}"), &format!("/{n}"), status, Duration::from_micros(n.into()));
        }
        let text = metrics.render();
        let series = text.lines().filter(|line| line.starts_with("http_request_duration_seconds_count"));
        let series: Vec<_> = series.collect();
        assert_eq!(
            series,
            [r#"http_request_duration_seconds_count{method="other",route="none",status="other"} 1000000"#]
        );
    }

    #[test]
    fn buckets_are_cumulative_and_end_with_all() {
        let metrics = Metrics::new();
        for ms in [1, 30, 30, 90_000] {
            metrics.http("PATCH", "/v2/files/{id}", 204, Duration::from_millis(ms));
        }
        let text = metrics.render();
        let bucket = |le: &str| {
            let head = "http_request_duration_seconds_bucket{method=\"PATCH\",route=\"/v2/files/{id}\",status=\"204\",le=";
            let line = text.lines().find(|line| line.starts_with(&format!("{head}\"{le}\""))).unwrap_or(le);
            line.rsplit(' ').next().unwrap_or_default().to_owned()
        };
        assert_eq!(
            [bucket("0.001"), bucket("0.025"), bucket("0.05"), bucket("60"), bucket("+Inf")],
            ["1", "1", "3", "3", "4"]
        );
        assert!(text.contains("_sum{method=\"PATCH\",route=\"/v2/files/{id}\",status=\"204\"} 90.061\n"));
    }

    #[test]
    fn every_family_is_described_and_every_line_belongs_to_one() {
        let metrics = Metrics::new();
        metrics.http("GET", "/healthz", 200, Duration::from_millis(1));
        metrics.committed(3, Duration::from_millis(2));
        let text = metrics.render();
        let families: Vec<_> =
            text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let family = families.iter().any(|family| {
                let rest = name.strip_prefix(family);
                rest.is_some_and(|rest| ["", "_bucket", "_sum", "_count"].contains(&rest))
            });
            assert!(family, "{line}");
        }
        let mut once = families.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), families.len());
    }
}
