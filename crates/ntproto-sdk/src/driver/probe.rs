//! Asks whether the server is still there when an answer does not come.
//!
//! QUIC finds out by itself only while bytes of ours are unacknowledged. A server that acknowledged a request and was
//! then killed leaves nothing to send again, and the next heartbeat is up to 30 s away. One ping asks: a server that
//! was started again answers that it does not know the connection, one that is gone leaves the ping to QUIC's own
//! timers.

use core::time::Duration;

use ntproto_core::time::Instant;

/// Silence after which an answer that is owed is asked for. Ten times what a busy disk takes.
const PATIENCE: Duration = Duration::from_secs(1);

/// Silence after which, in spite of that, another transport is looked for beside this one.
const DOUBT: Duration = Duration::from_secs(3);

/// When something was heard last, and whether was asked since.
#[derive(Clone, Copy)]
pub(super) struct Probe {
    heard: Instant,
    asked: bool,
}

impl Probe {
    pub(super) const fn new(now: Instant) -> Self {
        Self { heard: now, asked: false }
    }

    /// The server was heard.
    pub(super) const fn heard(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// When to ask, if an answer is owed.
    pub(super) fn deadline(&self, owed: bool) -> Option<Instant> {
        (owed && !self.asked).then(|| self.heard + PATIENCE)
    }

    /// When to doubt that the server can be heard, if an answer is owed.
    pub(super) fn doubt(&self, owed: bool) -> Option<Instant> {
        (owed && self.asked).then(|| self.heard + DOUBT)
    }

    /// Whether to ask now.
    pub(super) fn due(&mut self, now: Instant, owed: bool) -> bool {
        let due = self.deadline(owed).is_some_and(|at| at <= now);
        self.asked |= due;
        due
    }
}
