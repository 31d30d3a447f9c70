//! Packets that await an answer on this connection.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::{Failure, RequestId};
use crate::ids::ConversationId;
use crate::time::Instant;

/// Requests of the application that may be under way.
pub const MAX_REQUESTS: usize = 256;

/// Who awaits an answer.
#[derive(Debug)]
pub(super) enum Waiting {
    /// A message of the outbox.
    Send(u64),
    /// A page of the inbox.
    Sync,
    /// The page that was asked for in early data.
    FirstPage,
    /// Delivered receipts.
    Delivered(Vec<(ConversationId, u64)>),
    /// The application.
    App(RequestId),
}

/// The table of awaited answers.
#[derive(Default)]
pub(super) struct Requests {
    last_id: u32,
    waiting: BTreeMap<u32, Waiting>,
    /// Requests of the application by deadline.
    deadlines: BTreeMap<(Instant, u32), ()>,
    app: usize,
}

impl Requests {
    /// Whether the application may ask more.
    pub(super) fn has_room(&self) -> bool {
        self.app < MAX_REQUESTS
    }

    /// Whether no answer is awaited.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Gives a request its id. Ids wrap around zero; far fewer than 2³² wait at once.
    pub(super) fn add(&mut self, waiting: Waiting, deadline: Option<Instant>) -> u32 {
        loop {
            self.last_id = self.last_id.wrapping_add(1).max(1);
            if !self.waiting.contains_key(&self.last_id) {
                break;
            }
        }
        if matches!(waiting, Waiting::App(_)) {
            self.app += 1;
        }
        if let Some(at) = deadline {
            self.deadlines.insert((at, self.last_id), ());
        }
        self.waiting.insert(self.last_id, waiting);
        self.last_id
    }

    /// An answer came: who awaited it, if anyone still does.
    pub(super) fn take(&mut self, id: u32) -> Option<Waiting> {
        let waiting = self.waiting.remove(&id)?;
        if matches!(waiting, Waiting::App(_)) {
            self.app -= 1;
            self.deadlines.retain(|(_, other), ()| *other != id);
        }
        Some(waiting)
    }

    /// The next deadline.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first_key_value().map(|((at, _), ())| *at)
    }

    /// A request of the application whose time is over.
    pub(super) fn expired(&mut self, now: Instant) -> Option<(RequestId, Failure)> {
        let (&(at, id), ()) = self.deadlines.first_key_value()?;
        if at > now {
            return None;
        }
        self.deadlines.remove(&(at, id));
        match self.take(id) {
            Some(Waiting::App(request)) => Some((request, Failure::DeadlineExceeded)),
            _ => None,
        }
    }

    /// The connection is gone: everything that waited.
    pub(super) fn clear(&mut self) -> Vec<Waiting> {
        self.deadlines.clear();
        self.app = 0;
        core::mem::take(&mut self.waiting).into_values().collect()
    }
}
