//! Messages on their way out: durable first, then sent in order, until the server has answered.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use super::{Misuse, OutboxEntry, SendOutcome, Settled};
use crate::ids::{ClientMsgId, ConversationId};
use crate::time::{Instant, Now};

/// Messages that may wait: a week offline of a talkative user, and a bound on memory.
pub const MAX_OUTBOX_ENTRIES: usize = 10_000;
/// Bytes of bodies that may wait.
pub const MAX_OUTBOX_BYTES: usize = 16 * 1024 * 1024;
/// Messages in flight on one connection: enough to keep a link of 100 ms busy.
pub const SEND_WINDOW: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Being written to the local disk.
    Storing,
    /// To be sent.
    Ready,
    /// Sent on this connection.
    InFlight,
    /// Answered; leaving the local disk.
    Settling,
}

struct Entry {
    saved: OutboxEntry,
    state: State,
    deadline: Option<Instant>,
    /// It may have reached the server, on this connection or an earlier one.
    maybe_sent: bool,
    /// Its time is over: only its outcome is asked for.
    expired: bool,
}

/// What is sent for an entry.
pub(super) struct Sending {
    pub(super) entry: OutboxEntry,
    pub(super) resolve_only: bool,
    pub(super) deadline_ms: Option<u32>,
}

/// A message whose deadline passed.
pub(super) enum Expiry {
    /// It never left: it fails at once.
    Unsent(u64),
    /// It may have been stored: that is found out.
    Unknown(u64, ClientMsgId),
}

/// The outbox.
#[derive(Default)]
pub(super) struct Outbox {
    entries: BTreeMap<u64, Entry>,
    ready: BTreeSet<u64>,
    deadlines: BTreeSet<(Instant, u64)>,
    by_id: BTreeMap<ClientMsgId, u64>,
    bytes: usize,
    in_flight: usize,
}

impl Outbox {
    /// What the disk held.
    pub(super) fn restore(now: Now, saved: Vec<OutboxEntry>) -> Self {
        let mut outbox = Self::default();
        for entry in saved {
            let deadline =
                entry.expires.map(|at| now.mono + Duration::from_millis(at.0.saturating_sub(now.unix.0)));
            let order = entry.order;
            outbox.insert(entry, deadline, State::Ready, true);
            outbox.ready.insert(order);
        }
        outbox
    }

    fn insert(&mut self, saved: OutboxEntry, deadline: Option<Instant>, state: State, maybe_sent: bool) {
        let order = saved.order;
        self.bytes += saved.body.len();
        self.by_id.insert(saved.client_msg_id, order);
        if let Some(at) = deadline {
            self.deadlines.insert((at, order));
        }
        self.entries.insert(order, Entry { saved, state, deadline, maybe_sent, expired: false });
    }

    /// Adds a message that is now being stored.
    pub(super) fn add(&mut self, saved: OutboxEntry, deadline: Option<Instant>) -> Result<(), Misuse> {
        if self.by_id.contains_key(&saved.client_msg_id) {
            return Err(Misuse::DuplicateId);
        }
        if self.entries.len() >= MAX_OUTBOX_ENTRIES || self.bytes + saved.body.len() > MAX_OUTBOX_BYTES {
            return Err(Misuse::OutboxFull);
        }
        self.insert(saved, deadline, State::Storing, false);
        Ok(())
    }

    /// The message is on the local disk.
    pub(super) fn stored(&mut self, order: u64) -> Option<ClientMsgId> {
        let entry = self.entries.get_mut(&order).filter(|e| e.state == State::Storing)?;
        entry.state = State::Ready;
        self.ready.insert(order);
        Some(entry.saved.client_msg_id)
    }

    /// The next message to send, in order, while the window has room.
    pub(super) fn next(&mut self, now: Now) -> Option<Sending> {
        if self.in_flight >= SEND_WINDOW {
            return None;
        }
        //= spec: messages-13
        let order = self.ready.pop_first()?;
        let entry = self.entries.get_mut(&order).expect("what is ready is an entry");
        entry.state = State::InFlight;
        entry.maybe_sent = true;
        self.in_flight += 1;
        let left = entry.deadline.map(|at| at.saturating_since(now.mono).as_millis());
        Some(Sending {
            entry: entry.saved.clone(),
            resolve_only: entry.expired,
            // An expired message is asked about without a deadline.
            deadline_ms: left.filter(|_| !entry.expired).map(|ms| u32::try_from(ms).unwrap_or(u32::MAX)),
        })
    }

    /// It could not go out now, or must go out again.
    pub(super) fn again(&mut self, order: u64) {
        if let Some(entry) = self.entries.get_mut(&order).filter(|e| e.state == State::InFlight) {
            entry.state = State::Ready;
            self.in_flight -= 1;
            self.ready.insert(order);
        }
    }

    /// The server was too late for it: ask only what became of it.
    pub(super) fn expire_now(&mut self, order: u64) {
        if let Some(entry) = self.entries.get_mut(&order) {
            entry.expired = true;
        }
        self.again(order);
    }

    /// The connection is gone: what was in flight goes out again.
    pub(super) fn disconnected(&mut self) {
        //= spec: messages-5
        for (order, entry) in &mut self.entries {
            if entry.state == State::InFlight {
                entry.state = State::Ready;
                self.ready.insert(*order);
            }
        }
        self.in_flight = 0;
    }

    /// The outcome of a message is known. `None` when it was known before.
    pub(super) fn settle(&mut self, order: u64, outcome: SendOutcome) -> Option<Settled> {
        let entry = self.entries.get_mut(&order).filter(|e| e.state != State::Settling)?;
        if entry.state == State::InFlight {
            self.in_flight -= 1;
        }
        entry.state = State::Settling;
        self.ready.remove(&order);
        if let Some(at) = entry.deadline.take() {
            self.deadlines.remove(&(at, order));
        }
        Some(Settled { order, client_msg_id: entry.saved.client_msg_id, outcome })
    }

    /// The settled message left the local disk.
    pub(super) fn remove(&mut self, order: u64) {
        if let Some(entry) = self.entries.remove(&order) {
            self.bytes -= entry.saved.body.len();
            self.by_id.remove(&entry.saved.client_msg_id);
            if let Some(at) = entry.deadline {
                self.deadlines.remove(&(at, order));
            }
            self.ready.remove(&order);
        }
    }

    /// The message with this key.
    pub(super) fn order_of(&self, id: &ClientMsgId) -> Option<u64> {
        self.by_id.get(id).copied()
    }

    /// Where a message goes.
    pub(super) fn conversation(&self, order: u64) -> Option<ConversationId> {
        self.entries.get(&order).map(|e| e.saved.conversation)
    }

    /// The next deadline.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// A message whose deadline passed; each is told once.
    pub(super) fn expired(&mut self, now: Instant) -> Option<Expiry> {
        let &(at, order) = self.deadlines.first()?;
        if at > now {
            return None;
        }
        self.deadlines.remove(&(at, order));
        let entry = self.entries.get_mut(&order).expect("a deadline belongs to an entry");
        entry.deadline = None;
        entry.expired = true;
        Some(if entry.maybe_sent {
            //= spec: packets-5
            Expiry::Unknown(order, entry.saved.client_msg_id)
        } else {
            Expiry::Unsent(order)
        })
    }

    /// Messages that wait.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether a message is to be sent now.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty() && self.in_flight < SEND_WINDOW
    }
}
