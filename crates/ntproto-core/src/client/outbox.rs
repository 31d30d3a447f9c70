//! Messages on their way out: durable first, then sent, each conversation in its order, until the server has answered.
//!
//! Every conversation has a lane. Lanes take turns, a message each, and one that the server told to wait holds back
//! nothing but itself.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use super::{Misuse, OutboxEntry, SendOutcome, Settled, Target};
use crate::ids::{ClientMsgId, ConversationId};
use crate::time::{Instant, Now};

/// Messages that may wait: a week offline of a talkative user, and a bound on memory.
pub const MAX_OUTBOX_ENTRIES: usize = 10_000;
/// Bytes of bodies that may wait.
pub const MAX_OUTBOX_BYTES: usize = 16 * 1024 * 1024;
/// Messages in flight on one connection: enough to keep a link of 100 ms busy.
pub const SEND_WINDOW: usize = 256;
/// Of these, messages of one conversation: an eighth is kept for the others, so that one with much to send never
/// makes them wait for its answers.
pub const LANE_WINDOW: usize = SEND_WINDOW / 8 * 7;

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

/// A message that is given up.
pub(super) enum Cancel {
    /// It never left.
    Unsent(u64),
    /// It may have been stored: that is found out. `told`: that it is, was said before.
    Unknown { entry: OutboxEntry, told: bool },
    /// It was given up before.
    Again,
}

/// The messages of one conversation that are to be sent or in flight. There is none without such a message.
struct Lane {
    ready: BTreeSet<u64>,
    in_flight: usize,
    /// How many may be: half of it each time the server tells it to wait, one more with each message that it took.
    /// So a lane finds what is let through, and sends little in vain.
    window: usize,
    /// The server told it to wait.
    paused_until: Option<Instant>,
    /// It waits for its turn.
    queued: bool,
}

impl Default for Lane {
    fn default() -> Self {
        Self { ready: BTreeSet::new(), in_flight: 0, window: LANE_WINDOW, paused_until: None, queued: false }
    }
}

impl Lane {
    fn may_send(&self) -> bool {
        self.paused_until.is_none() && self.in_flight < self.window
    }
}

/// The outbox.
#[derive(Default)]
pub(super) struct Outbox {
    entries: BTreeMap<u64, Entry>,
    lanes: BTreeMap<ConversationId, Lane>,
    /// The lanes that may send, each once, in turn.
    turns: VecDeque<ConversationId>,
    pauses: BTreeSet<(Instant, ConversationId)>,
    deadlines: BTreeSet<(Instant, u64)>,
    by_id: BTreeMap<ClientMsgId, u64>,
    /// Edits and recalls, by the key of the message they are about.
    about: BTreeSet<(ClientMsgId, u64)>,
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
            let (order, to) = (entry.order, entry.conversation);
            outbox.insert(entry, deadline, State::Ready, true);
            outbox.lanes.entry(to).or_default().ready.insert(order);
        }
        outbox.queue_all();
        outbox
    }

    fn insert(&mut self, saved: OutboxEntry, deadline: Option<Instant>, state: State, maybe_sent: bool) {
        let order = saved.order;
        self.bytes += saved.body.len();
        self.by_id.insert(saved.client_msg_id, order);
        if let Some(Target::Id(id)) = saved.action.target() {
            self.about.insert((id, order));
        }
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
        let (id, to) = (entry.saved.client_msg_id, entry.saved.conversation);
        self.lanes.entry(to).or_default().ready.insert(order);
        self.queue(to);
        Some(id)
    }

    /// The next message to send, while the window has room: lanes in turn, each in its order.
    pub(super) fn next(&mut self, now: Now) -> Option<Sending> {
        if self.in_flight >= SEND_WINDOW {
            return None;
        }
        let to = self.turns.pop_front()?;
        let lane = self.lanes.get_mut(&to).expect("what waits for its turn is a lane");
        //= spec: messages-13
        let order = lane.ready.pop_first().expect("a lane in turn has a message");
        lane.in_flight += 1;
        lane.queued = false;
        self.in_flight += 1;
        self.queue(to);
        let entry = self.entries.get_mut(&order).expect("what is ready is an entry");
        entry.state = State::InFlight;
        entry.maybe_sent = true;
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
            let to = entry.saved.conversation;
            self.in_flight -= 1;
            let lane = self.lanes.entry(to).or_default();
            lane.in_flight -= 1;
            lane.ready.insert(order);
            self.queue(to);
        }
    }

    /// It must go out again at `at`, and its conversation waits so long.
    pub(super) fn again_at(&mut self, order: u64, at: Instant) {
        let Some(to) = self.conversation(order) else { return };
        if let Some(lane) = self.lanes.get_mut(&to) {
            if lane.paused_until.is_none() {
                lane.window = (lane.window / 2).max(1);
            }
            let until = lane.paused_until.map_or(at, |until| until.max(at));
            if let Some(old) = lane.paused_until.replace(until) {
                self.pauses.remove(&(old, to));
            }
            self.pauses.insert((until, to));
            self.unqueue(to);
        }
        self.again(order);
    }

    /// When the next lane has waited long enough.
    pub(super) fn resumes_at(&self) -> Option<Instant> {
        self.pauses.first().map(|(at, _)| *at)
    }

    /// Lets those go on that have.
    pub(super) fn resume(&mut self, now: Instant) {
        while let Some(&(at, to)) = self.pauses.first()
            && at <= now
        {
            self.pauses.pop_first();
            if let Some(lane) = self.lanes.get_mut(&to) {
                lane.paused_until = None;
            }
            self.queue(to);
        }
    }

    /// Whether it is about a message whose fate is not known yet.
    fn waits(&self, order: u64) -> bool {
        let Some(entry) = self.entries.get(&order) else { return false };
        let Some(Target::Id(id)) = entry.saved.action.target() else { return false };
        let target = self.by_id.get(&id).filter(|target| **target < order);
        target.and_then(|target| self.entries.get(target)).is_some_and(|target| {
            target.state != State::Settling && target.saved.conversation == entry.saved.conversation
        })
    }

    /// Edits and recalls of this message, which fail with it.
    pub(super) fn about(&self, order: u64) -> Vec<u64> {
        let Some(id) = self.entries.get(&order).map(|entry| entry.saved.client_msg_id) else {
            return Vec::new();
        };
        self.about.range((id, order + 1)..=(id, u64::MAX)).map(|(_, about)| *about).collect()
    }

    /// Gives a lane its turn if it may send, and drops it when it has nothing left.
    fn queue(&mut self, to: ConversationId) {
        let Some(lane) = self.lanes.get(&to) else { return };
        let waits = lane.ready.first().is_none_or(|order| self.waits(*order));
        let Some(lane) = self.lanes.get_mut(&to) else { return };
        if lane.ready.is_empty() && lane.in_flight == 0 {
            if let Some(at) = lane.paused_until {
                self.pauses.remove(&(at, to));
            }
            self.unqueue(to);
            self.lanes.remove(&to);
        } else if waits || !lane.may_send() {
            self.unqueue(to);
        } else if !lane.queued {
            lane.queued = true;
            self.turns.push_back(to);
        }
    }

    /// Every lane that may send, by its oldest message.
    fn queue_all(&mut self) {
        let mut lanes: Vec<_> =
            self.lanes.iter().filter_map(|(to, lane)| Some((*lane.ready.first()?, *to))).collect();
        lanes.sort_unstable();
        lanes.into_iter().for_each(|(_, to)| self.queue(to));
    }

    fn unqueue(&mut self, to: ConversationId) {
        if let Some(lane) = self.lanes.get_mut(&to).filter(|lane| lane.queued) {
            lane.queued = false;
            self.turns.retain(|other| *other != to);
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
                let lane = self.lanes.entry(entry.saved.conversation).or_default();
                lane.in_flight -= 1;
                lane.ready.insert(*order);
            }
        }
        self.in_flight = 0;
        self.queue_all();
    }

    /// The outcome of a message is known. `None` when it was known before.
    pub(super) fn settle(&mut self, order: u64, outcome: SendOutcome) -> Option<Settled> {
        let entry = self.entries.get_mut(&order).filter(|e| e.state != State::Settling)?;
        let was = core::mem::replace(&mut entry.state, State::Settling);
        let (client_msg_id, to) = (entry.saved.client_msg_id, entry.saved.conversation);
        if let Some(at) = entry.deadline.take() {
            self.deadlines.remove(&(at, order));
        }
        if let Some(lane) = self.lanes.get_mut(&to) {
            if was == State::InFlight {
                self.in_flight -= 1;
                lane.in_flight -= 1;
                lane.window = (lane.window + 1).min(LANE_WINDOW);
            }
            lane.ready.remove(&order);
        }
        self.queue(to);
        Some(Settled { order, client_msg_id, outcome })
    }

    /// The settled message left the local disk.
    pub(super) fn remove(&mut self, order: u64) {
        if let Some(entry) = self.entries.remove(&order) {
            self.bytes -= entry.saved.body.len();
            self.by_id.remove(&entry.saved.client_msg_id);
            if let Some(Target::Id(id)) = entry.saved.action.target() {
                self.about.remove(&(id, order));
            }
            if let Some(at) = entry.deadline {
                self.deadlines.remove(&(at, order));
            }
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

    /// Gives a message up; `None` when none with this key waits for an outcome.
    pub(super) fn cancel(&mut self, id: &ClientMsgId) -> Option<Cancel> {
        let order = self.order_of(id)?;
        let entry = self.entries.get_mut(&order).filter(|e| e.state != State::Settling)?;
        if entry.saved.expires == Some(OutboxEntry::CANCELLED) {
            return Some(Cancel::Again);
        }
        entry.saved.expires = Some(OutboxEntry::CANCELLED);
        let told = core::mem::replace(&mut entry.expired, true);
        if let Some(at) = entry.deadline.take() {
            self.deadlines.remove(&(at, order));
        }
        Some(match entry.maybe_sent {
            true => Cancel::Unknown { entry: entry.saved.clone(), told },
            false => Cancel::Unsent(order),
        })
    }

    /// Whether the application gave it up.
    pub(super) fn is_cancelled(&self, order: u64) -> bool {
        self.entries.get(&order).is_some_and(|e| e.saved.expires == Some(OutboxEntry::CANCELLED))
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
}
