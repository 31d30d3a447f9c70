//! What an administrator asks of the host: backups and verifications of the store, beside its work, one at a time.
//!
//! The store authorises and notes it first, in one transaction. Then the host is at it for as long as it takes; who asked may
//! be gone by then, and nobody else may ask until it is done.

use ntproto_core::code::ErrorCode;
use ntproto_core::dispatch::{Outcome, Refusal};
use ntproto_core::endpoint::MAX_DETAIL;
use ntproto_core::time::{Instant, Now};

use crate::api::{AskId, ConnId, HostAsk, HostTask, Output};
use crate::config::HOST_TIME;
use crate::hub::Hub;
use crate::requests::Asker;

/// The task there is, if any.
#[derive(Default)]
pub(crate) struct Hosting {
    /// One is claimed: it is on its way through the store.
    claimed: bool,
    running: Option<Running>,
    last: u64,
}

struct Running {
    id: AskId,
    /// Who waits for it, and until when.
    to: Option<(Asker, Instant)>,
}

impl Hosting {
    /// Whether another may be asked for.
    pub(crate) const fn is_free(&self) -> bool {
        !self.claimed && self.running.is_none()
    }

    /// One is on its way through the store.
    pub(crate) const fn claim(&mut self) {
        self.claimed = true;
    }

    /// The store said no.
    pub(crate) const fn release(&mut self) {
        self.claimed = false;
    }

    /// When whoever waits need not wait longer.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.running.as_ref().and_then(|running| running.to).map(|(_, until)| until)
    }
}

impl Hub {
    /// The store has authorised it.
    pub(crate) fn ask_host(&mut self, now: Now, to: Asker, task: HostTask, until: Option<Instant>) {
        self.hosting.claimed = false;
        self.hosting.last += 1;
        let id = AskId(self.hosting.last);
        let until = until.map_or(now.mono + HOST_TIME, |until| until.min(now.mono + HOST_TIME));
        let waits = self.conns.get_mut(to.conn).filter(|conn| conn.session().is_some()).map(|conn| {
            conn.asks += 1;
            (to, until)
        });
        self.hosting.running = Some(Running { id, to: waits });
        self.out.push_back(Output::Host(HostAsk { id, task }));
    }

    /// The host is done with it.
    pub(crate) fn host_answered(&mut self, now: Now, id: AskId, outcome: Outcome) {
        if self.hosting.running.as_ref().is_none_or(|running| running.id != id) {
            return;
        }
        let to = self.nobody_waits();
        self.hosting.running = None;
        let Some(to) = to else { return };
        match outcome.into_answer() {
            Ok(body) => self.answer_application(now, to, body),
            Err(Refusal { code, detail }) => {
                let end = detail.floor_char_boundary(MAX_DETAIL);
                self.fail(now, to, (code, &detail[..end]));
            }
        }
        self.look_again(to.conn);
    }

    /// Answers who has waited for long enough.
    pub(crate) fn expire_host(&mut self, now: Now) {
        if self.hosting.deadline().is_some_and(|until| until <= now.mono)
            && let Some(to) = self.nobody_waits()
        {
            self.fail(now, to, (ErrorCode::DeadlineExceeded, "it goes on without you"));
            self.look_again(to.conn);
        }
    }

    /// A connection has ended.
    pub(crate) fn leave_host(&mut self, conn: ConnId) {
        let waits = self.hosting.running.as_ref().and_then(|running| running.to);
        if waits.is_some_and(|(to, _)| to.conn == conn) {
            self.nobody_waits();
        }
    }

    /// Who waited.
    fn nobody_waits(&mut self) -> Option<Asker> {
        let (to, _) = self.hosting.running.as_mut()?.to.take()?;
        if let Some(conn) = self.conns.get_mut(to.conn) {
            conn.asks -= 1;
        }
        Some(to)
    }
}
