//! Packets that await an answer on this connection, and requests that are to be asked again.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use bytes::Bytes;

use super::{Owed, RequestId};
use crate::ids::ConversationId;
use crate::time::Instant;
use crate::trace::TraceContext;
use crate::wire::packet::PacketId;

/// Requests of the application that may be under way.
pub const MAX_REQUESTS: usize = 256;
/// Their bytes: they are kept until the answer, because the server may ask for them again. As many as it takes of
/// one connection at once.
pub const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// Who awaits an answer.
#[derive(Debug)]
pub(super) enum Waiting {
    /// A message of the outbox.
    Send(u64),
    /// A page of the inbox.
    Sync,
    /// The page that was asked for in early data.
    FirstPage,
    /// A page of the snapshot.
    Snapshot,
    /// Receipts.
    Delivered(Vec<(ConversationId, Owed)>),
    /// The application.
    App(RequestId),
}

/// A request of the application.
struct Asked {
    packet: PacketId,
    body: Bytes,
    deadline: Instant,
    trace: Option<TraceContext>,
    turn: Turn,
}

/// Where a request of the application is.
enum Turn {
    /// To be sent.
    Ready,
    /// With the server, under this id.
    Asked(u32),
    /// The server told it to come again then.
    Later(Instant),
}

/// What is sent for a request of the application.
pub(super) struct Asking {
    pub(super) request: RequestId,
    pub(super) packet: PacketId,
    pub(super) body: Bytes,
    pub(super) deadline_ms: u32,
    pub(super) trace: Option<TraceContext>,
}

/// The table of awaited answers.
#[derive(Default)]
pub(super) struct Requests {
    last_id: u32,
    waiting: BTreeMap<u32, Waiting>,
    asked: BTreeMap<RequestId, Asked>,
    asked_bytes: usize,
    /// Requests of the application by deadline.
    deadlines: BTreeSet<(Instant, RequestId)>,
    /// Those that the server told to come again, by when.
    later: BTreeSet<(Instant, RequestId)>,
    /// Those that are to be sent.
    ready: VecDeque<RequestId>,
}

impl Requests {
    /// Whether the application may ask something of this size.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.asked.len() < MAX_REQUESTS && self.asked_bytes + bytes <= MAX_REQUEST_BYTES
    }

    /// Whether no answer is awaited.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Gives a request its id. Ids wrap around zero; far fewer than 2³² wait at once.
    pub(super) fn add(&mut self, waiting: Waiting) -> u32 {
        loop {
            self.last_id = self.last_id.wrapping_add(1).max(1);
            if !self.waiting.contains_key(&self.last_id) {
                break;
            }
        }
        if let Waiting::App(request) = &waiting
            && let Some(asked) = self.asked.get_mut(request)
        {
            asked.turn = Turn::Asked(self.last_id);
        }
        self.waiting.insert(self.last_id, waiting);
        self.last_id
    }

    /// An answer came: who awaited it, if anyone still does.
    pub(super) fn take(&mut self, id: u32) -> Option<Waiting> {
        self.waiting.remove(&id)
    }

    /// The application asks something.
    pub(super) fn ask(
        &mut self,
        request: RequestId,
        packet: PacketId,
        body: Bytes,
        deadline: Instant,
        trace: Option<TraceContext>,
    ) {
        self.asked_bytes += body.len();
        self.asked.insert(request, Asked { packet, body, deadline, trace, turn: Turn::Ready });
        self.deadlines.insert((deadline, request));
        self.ready.push_back(request);
    }

    /// The next request of the application to send.
    pub(super) fn next(&mut self, now: Instant) -> Option<Asking> {
        let request = self.ready.pop_front()?;
        let Asked { packet, body, deadline, trace, .. } = self.asked.get(&request)?;
        let deadline_ms = u32::try_from(deadline.saturating_since(now).as_millis()).unwrap_or(u32::MAX);
        Some(Asking { request, packet: *packet, body: body.clone(), deadline_ms, trace: *trace })
    }

    /// The server told it to come again at `at`. Whether it will: not after its deadline.
    pub(super) fn again_at(&mut self, request: RequestId, at: Instant) -> bool {
        let Some(asked) = self.asked.get_mut(&request).filter(|asked| at < asked.deadline) else {
            return false;
        };
        asked.turn = Turn::Later(at);
        self.later.insert((at, request));
        true
    }

    /// Nothing more is done for it: it was answered, or failed.
    pub(super) fn done(&mut self, request: RequestId) {
        let Some(Asked { body, deadline, turn, .. }) = self.asked.remove(&request) else { return };
        self.asked_bytes -= body.len();
        self.deadlines.remove(&(deadline, request));
        match turn {
            Turn::Ready => self.ready.retain(|other| *other != request),
            Turn::Asked(id) => {
                self.waiting.remove(&id);
            }
            Turn::Later(at) => {
                self.later.remove(&(at, request));
            }
        }
    }

    /// The next deadline.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// When the next request is to be asked again.
    pub(super) fn resumes_at(&self) -> Option<Instant> {
        self.later.first().map(|(at, _)| *at)
    }

    /// Those that have waited long enough are sent.
    pub(super) fn resume(&mut self, now: Instant) {
        while let Some(&(at, request)) = self.later.first()
            && at <= now
        {
            self.later.pop_first();
            if let Some(asked) = self.asked.get_mut(&request) {
                asked.turn = Turn::Ready;
                self.ready.push_back(request);
            }
        }
    }

    /// A request of the application whose time is over.
    pub(super) fn expired(&mut self, now: Instant) -> Option<RequestId> {
        let &(at, request) = self.deadlines.first()?;
        if at > now {
            return None;
        }
        self.done(request);
        Some(request)
    }

    /// The connection is gone: the requests of the application that were under way.
    pub(super) fn clear(&mut self) -> Vec<RequestId> {
        self.waiting.clear();
        self.deadlines.clear();
        self.later.clear();
        self.ready.clear();
        self.asked_bytes = 0;
        core::mem::take(&mut self.asked).into_keys().collect()
    }
}
