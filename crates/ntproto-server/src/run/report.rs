//! Logs and counters. Neither ever sees a key, a code or a body.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ntproto_hub::store::StoreError;
use ntproto_hub::{HubEvent, Served};
use ntproto_sdk::trace::{Operation, Span, packet_name};
use ntproto_tokio::Socket;
use ntproto_web::WebEvent;

use crate::metrics::Metrics;
use crate::metrics::label::FileEvent;
use crate::node::NodeEvent;
use crate::store::group::Completion;

/// A failure of the store that goes on is said again after so long.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// What a server has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Transports that are up now.
    pub connections: u64,
    /// Transports that came up.
    pub opened: u64,
    /// Devices let in.
    pub let_in: u64,
    /// Of these, new ones.
    pub enrolled: u64,
    /// Devices kept out.
    pub refused: u64,
    /// Transactions that ended, whatever their answer.
    pub transactions: u64,
    /// Batches they ended in: what group commit saves.
    pub batches: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    opened: AtomicU64,
    down: AtomicU64,
    let_in: AtomicU64,
    enrolled: AtomicU64,
    refused: AtomicU64,
    transactions: AtomicU64,
    batches: AtomicU64,
    /// For whoever watches from outside.
    pub(super) metrics: Arc<Metrics>,
    /// The last failure of the store that the log was told of.
    failure_said: Mutex<Option<(StoreError, Instant)>>,
}

impl Counters {
    pub(super) fn read(&self) -> Stats {
        let (opened, down) = (self.opened.load(Relaxed), self.down.load(Relaxed));
        Stats {
            connections: opened.saturating_sub(down),
            opened,
            let_in: self.let_in.load(Relaxed),
            enrolled: self.enrolled.load(Relaxed),
            refused: self.refused.load(Relaxed),
            transactions: self.transactions.load(Relaxed),
            batches: self.batches.load(Relaxed),
        }
    }

    pub(super) fn committed(&self, completions: &[Completion]) {
        self.transactions.fetch_add(completions.len() as u64, Relaxed);
        self.batches.fetch_add(1, Relaxed);
    }

    /// The last word of the log.
    pub(super) fn finish(&self, socket: &Socket) {
        let stats = self.read();
        tracing::info!(
            connections = stats.opened,
            devices = stats.let_in,
            transactions = stats.transactions,
            batches = stats.batches,
            datagrams_lost = socket.lost(),
            "in all"
        );
    }

    /// Tells the log of what happened over HTTP, and counts. Never who, nor which file.
    pub(super) fn web(&self, event: &WebEvent) {
        match event {
            WebEvent::Done { route, method, status, took, received, sent, .. } => {
                self.metrics.http(method, route, *status, *took);
                self.metrics.http_bytes(*received, *sent);
                tracing::debug!(method, route, status, ?took, received, sent, "request");
            }
            WebEvent::Uploaded { bytes, .. } => {
                self.metrics.uploaded(*bytes);
                tracing::debug!(bytes, "an upload is whole");
            }
            WebEvent::Removed { count } => {
                self.metrics.files(FileEvent::Removed, *count as u64);
                tracing::debug!(count, "files were removed");
            }
            WebEvent::FilesFailed(error) => {
                self.metrics.files(FileEvent::Failed, 1);
                tracing::error!(%error, "the store of files failed");
            }
            WebEvent::StoreFailed(error) => self.store_failed(*error),
        }
    }

    /// Tells the log, and counts.
    pub(super) fn tell(&self, event: &NodeEvent) {
        let count = |counter: &AtomicU64| {
            counter.fetch_add(1, Relaxed);
        };
        if let NodeEvent::Hub(event) = event {
            self.metrics.hub(event);
        }
        match event {
            NodeEvent::Opened { conn, remote } => {
                count(&self.opened);
                self.metrics.opened(conn.transport());
                tracing::debug!(conn = conn.0, %remote, "transport up");
            }
            NodeEvent::Down { conn, reason } => {
                count(&self.down);
                self.metrics.down(conn.transport());
                // What peers wrote into it is quoted, so that no terminal obeys it.
                tracing::debug!(conn = conn.0, reason = ?reason.to_string(), "transport down");
            }
            NodeEvent::Hub(HubEvent::In { conn, uin, device, enrolled }) => {
                count(&self.let_in);
                if *enrolled {
                    count(&self.enrolled);
                    tracing::info!(conn = conn.0, %uin, %device, "enrolled");
                } else {
                    tracing::info!(conn = conn.0, %uin, %device, "signed in");
                }
            }
            NodeEvent::Hub(HubEvent::Refused { conn, remote, code }) => {
                count(&self.refused);
                tracing::info!(conn = conn.0, %remote, %code, "refused");
            }
            NodeEvent::Hub(HubEvent::Closed { conn, remote, why }) => {
                tracing::info!(conn = conn.0, %remote, %why, "closed");
            }
            NodeEvent::Rtt(rtt) => self.metrics.rtt(*rtt),
            NodeEvent::Hub(HubEvent::Served(served)) => tell_span(served),
            // The store has said so itself.
            NodeEvent::Hub(HubEvent::StoreFailed(StoreError::Full)) => {}
            NodeEvent::Hub(HubEvent::StoreFailed(error)) => self.store_failed(*error),
            NodeEvent::Hub(HubEvent::Drained) => tracing::info!("drained"),
        }
    }

    /// A store that fails may fail every transaction: not a line for each.
    fn store_failed(&self, error: StoreError) {
        let mut said = self.failure_said.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if said.is_none_or(|(last, at)| last != error || now >= at + SAY_AGAIN) {
            *said = Some((error, now));
            tracing::error!(%error, "the store failed");
        }
    }
}

/// The server's part of a trace that the asker keeps.
fn tell_span(served: &Served) {
    let Served { packet, trace, span, lasted, refused, group } = *served;
    Span::new(trace, span, Operation::Process, packet_name(packet))
        .to_group(group)
        .refused(refused)
        .tell(lasted);
}
