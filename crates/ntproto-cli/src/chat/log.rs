//! The messages of one conversation: what is stored stands by its number, what waits stands after it.

use std::collections::BTreeMap;

use ntproto_core::ids::{ClientMsgId, Uin};

use super::said::Said;

/// Messages kept in memory; older ones are read from the disk again when scrolled to.
pub(super) const MAX_LOADED: usize = 5_000;
/// Different reactions shown with a message.
const MAX_REACTIONS: usize = 8;
/// Who reacted is remembered for so many at a message.
const MAX_REACTED: usize = 1_000;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its key.
    pub(crate) id: ClientMsgId,
    /// Who wrote it.
    pub(crate) from: Uin,
    /// What it says, harmless.
    pub(crate) said: Said,
    /// When it was stored, or written if it is not yet; milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// It said something else before.
    pub(crate) edited: bool,
    /// It was taken back.
    pub(crate) recalled: bool,
}

impl Entry {
    /// A message.
    pub(crate) const fn new(id: ClientMsgId, from: Uin, said: Said, at_ms: u64) -> Self {
        Self { id, from, said, at_ms, edited: false, recalled: false }
    }

    /// Whether it is a message of its own, and not about another one.
    pub(super) const fn is_shown(&self) -> bool {
        self.said.reaction.is_none()
    }
}

/// What happens to a message that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It says this now.
    Edit(Said),
    /// It is taken back.
    Recall,
}

/// How far a message of one's own is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tick {
    /// On this disk, on its way.
    Queued,
    /// The server has it.
    Stored,
    /// The others have it.
    Delivered,
    /// So many have read it, and whether that is all.
    Read(usize, bool),
    /// It will not be sent.
    Failed(String),
}

/// A message that waits for the server.
#[derive(Clone, Debug)]
struct Waiting {
    entry: Entry,
    failed: Option<String>,
}

/// Who reacted with what; the number of the latest word on it, and whether it stands.
type Reactions = BTreeMap<(String, Uin), (u64, bool)>;

/// The messages.
#[derive(Default)]
pub(super) struct Log {
    stored: BTreeMap<u64, Entry>,
    waiting: Vec<Waiting>,
    /// How far the others have it: delivered, read.
    marks: BTreeMap<Uin, (u64, u64)>,
    reactions: BTreeMap<u64, Reactions>,
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
        if let Some(reaction) = &entry.said.reaction {
            let all = self.reactions.entry(reaction.seq).or_default();
            let key = (reaction.text.clone(), entry.from);
            if all.len() < MAX_REACTED || all.contains_key(&key) {
                let latest = all.entry(key).or_default();
                *latest = (*latest).max((seq, !reaction.remove));
            }
        }
        self.stored.insert(seq, entry).is_none()
    }

    /// The server stored a message that waited here.
    pub(super) fn stored(&mut self, id: ClientMsgId, seq: u64, at_ms: u64) {
        if let Some(at) = self.waiting.iter().position(|w| w.entry.id == id) {
            let entry = Entry { at_ms, ..self.waiting.remove(at).entry };
            self.insert(seq, entry);
        }
    }

    /// A message that waited will not be sent. Returns whether it was one.
    pub(super) fn failed(&mut self, id: ClientMsgId, why: &str) -> bool {
        let waiting = self.waiting.iter_mut().find(|w| w.entry.id == id);
        waiting.map(|w| w.failed = Some(crate::text::harmless(why))).is_some()
    }

    /// Somebody did something to a message. One that is not loaded has it on the disk.
    pub(super) fn change(&mut self, seq: u64, by: Uin, change: &Change) {
        let Some(entry) = self.stored.get_mut(&seq) else { return };
        match change {
            Change::Edit(said) if !entry.recalled && entry.from == by => {
                (entry.said, entry.edited) = (said.clone(), true);
            }
            Change::Edit(_) => {}
            Change::Recall => (entry.said, entry.recalled) = (Said::default(), true),
        }
    }

    /// A member's watermarks rose.
    pub(super) fn receipt(&mut self, member: Uin, delivered: u64, read: u64) {
        let mark = self.marks.entry(member).or_default();
        // Read implies delivered.
        *mark = (mark.0.max(delivered).max(read), mark.1.max(read));
    }

    /// Forgets the oldest beyond the limit. Returns whether any was forgotten.
    pub(super) fn trim(&mut self) -> bool {
        let before = self.stored.len();
        while self.stored.len() > MAX_LOADED {
            self.stored.pop_first();
        }
        if let Some(oldest) = self.oldest() {
            self.reactions = self.reactions.split_off(&oldest);
        }
        before != self.stored.len()
    }

    /// The number of the oldest message loaded.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.stored.keys().next().copied()
    }

    /// The number of the newest that others wrote.
    pub(super) fn newest_of_others(&self, me: Uin) -> Option<u64> {
        self.stored.iter().rev().find(|(_, entry)| entry.from != me).map(|(seq, _)| *seq)
    }

    /// The number of a message of this device by its key.
    pub(super) fn number(&self, id: ClientMsgId) -> Option<u64> {
        self.stored.iter().rev().find(|(_, entry)| entry.id == id).map(|(seq, _)| *seq)
    }

    /// A message by its number.
    pub(super) fn get(&self, seq: u64) -> Option<&Entry> {
        self.stored.get(&seq)
    }

    /// The newest message that can be referred to and that `fits`, with its number.
    pub(super) fn last(&self, fits: impl Fn(&Entry) -> bool) -> Option<(u64, &Entry)> {
        let mut back = self.stored.iter().rev().filter(|(_, e)| e.is_shown() && !e.recalled);
        back.find(|(_, entry)| fits(entry)).map(|(seq, entry)| (*seq, entry))
    }

    /// The newest message of one's own that waits for the server.
    pub(super) fn last_waiting(&self) -> Option<&Entry> {
        let mut back = self.waiting.iter().rev().filter(|w| w.failed.is_none() && w.entry.is_shown());
        back.next().map(|w| &w.entry)
    }

    /// Messages that wait and have not failed.
    pub(super) fn waiting(&self) -> impl Iterator<Item = ClientMsgId> {
        self.waiting.iter().filter(|w| w.failed.is_none()).map(|w| w.entry.id)
    }

    /// What stands at a message, and how often.
    pub(super) fn reactions(&self, seq: u64) -> Vec<(String, usize)> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for ((text, _), (_, stands)) in self.reactions.get(&seq).into_iter().flatten() {
            *counts.entry(text).or_default() += usize::from(*stands);
        }
        let mut counts: Vec<_> = counts.into_iter().filter(|(_, n)| *n > 0).collect();
        counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        counts.into_iter().take(MAX_REACTIONS).map(|(text, n)| (text.to_owned(), n)).collect()
    }

    /// How far a message of one's own is, of a conversation with so many others.
    fn tick(&self, seq: u64, others: usize) -> Tick {
        let delivered = self.marks.values().filter(|mark| mark.0 >= seq).count();
        match self.marks.values().filter(|mark| mark.1 >= seq).count() {
            0 if delivered >= others.max(1) => Tick::Delivered,
            0 => Tick::Stored,
            read => Tick::Read(read, read >= others),
        }
    }

    /// Every message that is shown, newest first, with its number and, if `me` wrote it, its tick.
    pub(super) fn newest_first(
        &self,
        me: Uin,
        others: usize,
    ) -> impl Iterator<Item = (Option<u64>, &Entry, Option<Tick>)> {
        let waiting = self.waiting.iter().rev().map(|w| {
            let tick = w.failed.clone().map_or(Tick::Queued, Tick::Failed);
            (None, &w.entry, Some(tick))
        });
        let stored = self.stored.iter().rev().map(move |(seq, entry)| {
            (Some(*seq), entry, (entry.from == me).then(|| self.tick(*seq, others)))
        });
        waiting.chain(stored).filter(|(_, entry, _)| entry.is_shown())
    }
}

#[cfg(test)]
mod tests {
    use super::super::said::{Draft, Reaction};
    use super::*;

    fn reaction(seq: u64, text: &str, remove: bool) -> Said {
        let reaction = Some(Reaction { seq, text: text.into(), remove });
        Said::draft(&Draft { reaction, ..Draft::default() })
    }

    #[test]
    fn the_latest_word_on_a_reaction_counts_whatever_came_first() {
        let mut log = Log::default();
        let entry = |n: u8, from: u64, said| Entry::new(ClientMsgId([n; 16]), Uin(from), said, 0);
        log.insert(5, entry(5, 1, reaction(1, "+", true)));
        log.insert(3, entry(3, 1, reaction(1, "+", false)));
        log.insert(4, entry(4, 2, reaction(1, "+", false)));
        log.insert(6, entry(6, 2, reaction(1, "-", false)));
        assert_eq!(log.reactions(1), [("+".to_owned(), 1), ("-".to_owned(), 1)]);
        log.insert(7, entry(7, 1, reaction(1, "+", false)));
        assert_eq!(log.reactions(1), [("+".to_owned(), 2), ("-".to_owned(), 1)]);
        assert_eq!(log.newest_first(Uin(1), 1).count(), 0);
    }

    #[test]
    fn an_edit_after_the_recall_changes_nothing() {
        let mut log = Log::default();
        let said = |text: &str| Said::draft(&Draft { text: text.into(), ..Draft::default() });
        log.insert(1, Entry::new(ClientMsgId([1; 16]), Uin(1), said("one"), 0));
        log.change(1, Uin(1), &Change::Edit(said("two")));
        assert_eq!(
            log.get(1).map(|e| (e.said.lines.clone(), e.edited)),
            Some((vec!["two".to_owned()], true))
        );
        log.change(1, Uin(1), &Change::Recall);
        log.change(1, Uin(1), &Change::Edit(said("three")));
        assert_eq!(log.get(1).map(|e| (e.said.lines.is_empty(), e.recalled)), Some((true, true)));
        assert!(log.last(|_| true).is_none());
    }
}
