//! The messages of one conversation: what is stored stands by its number, what waits stands after it.

use std::collections::BTreeMap;

use ntproto_core::ids::{ClientMsgId, Uin};

/// Messages kept in memory; older ones are read from the disk again when scrolled to.
pub(super) const MAX_LOADED: usize = 5_000;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its key.
    pub(crate) id: ClientMsgId,
    /// Who wrote it.
    pub(crate) from: Uin,
    /// Its lines, harmless.
    pub(crate) lines: Vec<String>,
    /// When it was stored, or written if it is not yet; milliseconds since 1970.
    pub(crate) at_ms: u64,
}

impl Entry {
    /// A message with a body as it came.
    pub(crate) fn new(id: ClientMsgId, from: Uin, body: &[u8], at_ms: u64) -> Self {
        let lines = match std::str::from_utf8(body) {
            Ok(text) => crate::text::lines(text),
            Err(_) => vec![format!("({} bytes that are no text)", body.len())],
        };
        Self { id, from, lines, at_ms }
    }
}

/// How far a message of one's own is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tick {
    /// On this disk, on its way.
    Queued,
    /// The server has it.
    Stored,
    /// A device of the other has it.
    Delivered,
    /// The other has read it.
    Read,
    /// It will not be sent.
    Failed(String),
}

/// A message that waits for the server.
#[derive(Clone, Debug)]
struct Waiting {
    entry: Entry,
    failed: Option<String>,
}

/// The messages.
#[derive(Default)]
pub(super) struct Log {
    stored: BTreeMap<u64, Entry>,
    waiting: Vec<Waiting>,
    delivered: u64,
    read: u64,
}

impl Log {
    /// A message of one's own that is on its way. One that is known already is left as it is.
    pub(super) fn wait(&mut self, entry: Entry) {
        if !self.waiting.iter().any(|w| w.entry.id == entry.id) {
            self.waiting.push(Waiting { entry, failed: None });
        }
    }

    /// A message with its number. Returns whether it is new.
    pub(super) fn insert(&mut self, seq: u64, entry: Entry) -> bool {
        self.waiting.retain(|w| w.entry.id != entry.id);
        self.stored.insert(seq, entry).is_none()
    }

    /// The server stored a message that waited here.
    pub(super) fn stored(&mut self, id: ClientMsgId, seq: u64, at_ms: u64) {
        if let Some(at) = self.waiting.iter().position(|w| w.entry.id == id) {
            let mut entry = self.waiting.remove(at).entry;
            entry.at_ms = at_ms;
            self.stored.insert(seq, entry);
        }
    }

    /// A message that waited will not be sent.
    pub(super) fn failed(&mut self, id: ClientMsgId, why: &str) {
        if let Some(waiting) = self.waiting.iter_mut().find(|w| w.entry.id == id) {
            waiting.failed = Some(crate::text::harmless(why));
        }
    }

    /// The other's watermarks rose.
    pub(super) fn receipt(&mut self, delivered: u64, read: u64) {
        self.read = self.read.max(read);
        // Read implies delivered.
        self.delivered = self.delivered.max(delivered).max(read);
    }

    /// Forgets the oldest beyond the limit. Returns whether any was forgotten.
    pub(super) fn trim(&mut self) -> bool {
        let before = self.stored.len();
        while self.stored.len() > MAX_LOADED {
            self.stored.pop_first();
        }
        before != self.stored.len()
    }

    /// The number of the oldest message loaded.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.stored.keys().next().copied()
    }

    /// Messages that wait and have not failed.
    pub(super) fn waiting(&self) -> impl Iterator<Item = ClientMsgId> {
        self.waiting.iter().filter(|w| w.failed.is_none()).map(|w| w.entry.id)
    }

    /// Every message, newest first, with its tick if `me` wrote it.
    pub(super) fn newest_first(&self, me: Uin) -> impl Iterator<Item = (&Entry, Option<Tick>)> {
        let waiting = self.waiting.iter().rev().map(|w| {
            let tick = w.failed.clone().map_or(Tick::Queued, Tick::Failed);
            (&w.entry, Some(tick))
        });
        let stored = self.stored.iter().rev().map(move |(seq, entry)| {
            let tick = (entry.from == me).then_some(match *seq {
                seq if seq <= self.read => Tick::Read,
                seq if seq <= self.delivered => Tick::Delivered,
                _ => Tick::Stored,
            });
            (entry, tick)
        });
        waiting.chain(stored)
    }
}
