//! The orderly end: nobody is let in, what is in the store is finished, everybody is sent away.

use alloc::vec::Vec;

use ntproto_core::code::ErrorCode;
use ntproto_core::time::{Instant, Now};

use crate::api::{ConnId, HubEvent};
use crate::hub::{Hub, Op};
use crate::store::Txn;

/// How far it is.
pub(crate) struct Drain {
    pub(crate) until: Instant,
    /// Time was up, and everybody was sent away.
    pub(crate) swept: bool,
    /// The store was asked to keep the time at which the clock was stopped.
    pub(crate) rested: bool,
    pub(crate) told: bool,
}

impl Hub {
    /// Whether nothing new is begun.
    pub(crate) const fn draining(&self) -> bool {
        self.drain.is_some()
    }

    /// Until when a drain that has begun waits for what is under way. Whoever carries more than the hub knows of keeps to
    /// it too.
    #[must_use]
    pub fn drain_until(&self) -> Option<Instant> {
        self.drain.as_ref().map(|drain| drain.until)
    }

    pub(crate) fn look_again(&mut self, id: ConnId) {
        if self.draining() || self.conns.get(id).is_some_and(|conn| conn.leaving.is_some()) {
            self.parting.push_back(id);
        }
    }

    /// Takes a connection down whose last words the transport has; at a drain, sends away whom nothing is owed.
    pub(crate) fn part(&mut self, now: Now, id: ConnId) {
        let late = self.drain.as_ref().is_some_and(|drain| drain.swept);
        let Some(conn) = self.conns.get(id) else { return };
        match &conn.leaving {
            Some(leaving) if conn.endpoint.is_handed_over() || late && !conn.endpoint.has_pending() => {
                let code = leaving.code;
                self.take_down(id, code);
            }
            None if self.draining() => self.send_away(now, id),
            _ => {}
        }
    }

    /// Ends a connection whose transport has taken all its answers and pushes: CLOSE is more urgent than they
    /// are, and would overtake them.
    pub(crate) fn send_away(&mut self, now: Now, id: ConnId) {
        let Some(conn) = self.conns.get(id) else { return };
        let owed = conn.requests > 0 || conn.asks > 0 || !conn.answers.is_empty() || conn.behind.is_some();
        if conn.leaving.is_none() && !owed && conn.endpoint.is_handed_over() {
            self.close(now, id, ErrorCode::GoingAway);
        }
    }

    /// Sends everybody away when time is up, and tells when it is over.
    pub(crate) fn see_to_drain(&mut self, now: Now) {
        let Some(drain) = &mut self.drain else { return };
        let late = now.mono >= drain.until;
        if late && !core::mem::replace(&mut drain.swept, true) {
            self.presence.give_up();
            let all: Vec<ConnId> =
                self.conns.iter().filter(|(_, conn)| conn.leaving.is_none()).map(|(id, _)| id).collect();
            for id in all {
                self.close(now, id, ErrorCode::GoingAway);
                self.hear(now, id);
            }
        }
        let done = self.conns.is_empty() && self.in_store() == 0 && self.presence.is_idle();
        if let Some(drain) = &mut self.drain
            && done
            && !late
            && !core::mem::replace(&mut drain.rested, true)
        {
            let at = self.clock.stop(now.mono);
            self.submit(Op::Rest, Txn::Rest { at }, None);
            return;
        }
        if let Some(drain) = &mut self.drain
            && (done || late && self.conns.is_empty())
            && !core::mem::replace(&mut drain.told, true)
        {
            self.event(HubEvent::Drained);
        }
    }
}
