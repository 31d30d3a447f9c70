//! What was written of partial files and is not durable: bounded, for each file and in all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ntproto_web::FileId;
use tokio::sync::{Mutex as Turn, Notify};

/// Bytes of one file that may wait to be made durable; the machine above has it done after each MiB. What comes beyond is made
/// durable unasked.
pub const MAX_WAITING: usize = 4 << 20;
/// Bytes of all files that may wait, those on their way to the bucket with them: sixteen uploads at their most, or a hundred between
/// two syncs. Whoever comes beyond waits until some are out; the file with most goes first.
pub const MAX_WAITING_IN_ALL: usize = 64 << 20;
/// How long whoever finds no room waits for some: what a bucket takes for 64 MiB on a line of 20 Mbit/s.
pub const ROOM_TIME: Duration = Duration::from_secs(30);
/// Files that are known, each a hundred bytes: more than are written at one time. One of which nothing waits, and no loss is to be
/// told, is forgotten for another; its next write lists its parts.
pub const MAX_KNOWN: usize = 4_096;

/// What is known of a partial file since the start, or since it was forgotten. Every part in the bucket begins before `offset`.
#[derive(Default)]
struct Known {
    /// Where what waits begins, behind all parts.
    offset: u64,
    data: BytesMut,
    /// Bytes from here on were taken and are lost: the next sync says so, and so does every write behind it.
    lost: Option<u64>,
    /// Whoever writes knows of the loss: it goes on from what is durable, and what it had written will not be said to be.
    told: bool,
    /// One at a time makes it durable.
    turn: Arc<Turn<()>>,
}

/// Something written, and what is to be done before it counts.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Took {
    /// It waits with the rest.
    Yes,
    /// Parts that begin at the offset or behind it are to be removed first; then it is to be [begun](Waiting::begin).
    Cut,
    /// What waits is to be made durable first.
    Flush,
    /// There is no room in memory: the file with most is to be made durable, or one on its way waited for.
    NoRoom(Option<FileId>),
    /// What was before it is lost.
    Lost,
}

/// What is to become a part. Its bytes count until it is dropped.
pub(super) struct Part<'a> {
    pub(super) offset: u64,
    pub(super) data: Bytes,
    of: &'a Waiting,
    bytes: usize,
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        self.of.lock().in_all -= self.bytes;
        self.of.room.notify_waiters();
    }
}

#[derive(Default)]
struct State {
    files: BTreeMap<FileId, Known>,
    /// Bytes that wait or are on their way.
    in_all: usize,
}

/// All of it.
#[derive(Default)]
pub(super) struct Waiting {
    state: Mutex<State>,
    /// Some is out.
    pub(super) room: Notify,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, State> {
        // It is whole between statements that may panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is written, if it can.
    pub(super) fn take(&self, file: FileId, offset: u64, pieces: &[Bytes]) -> Took {
        let mut state = self.lock();
        let bytes: usize = pieces.iter().map(Bytes::len).sum();
        let Some(known) = state.files.get(&file) else { return Took::Cut };
        if known.lost.is_some_and(|lost| lost < offset) {
            return Took::Lost;
        }
        let end = known.offset + known.data.len() as u64;
        if known.lost.is_none() && end < offset && !known.data.is_empty() {
            return Took::Flush;
        }
        if known.lost.is_some() || end != offset {
            return Took::Cut;
        }
        if !known.data.is_empty() && known.data.len() + bytes > MAX_WAITING {
            return Took::Flush;
        }
        if state.in_all + bytes > MAX_WAITING_IN_ALL {
            return Took::NoRoom(state.largest());
        }
        state.in_all += bytes;
        if let Some(known) = state.files.get_mut(&file) {
            // Copied: small pieces would each hold more than they are.
            pieces.iter().for_each(|piece| known.data.extend_from_slice(piece));
        }
        Took::Yes
    }

    /// A file goes on here: what waited from there on is dropped, and no part is there. `false`: too many files are known.
    pub(super) fn begin(&self, file: FileId, offset: u64) -> bool {
        let mut state = self.lock();
        if !state.files.contains_key(&file) && state.files.len() >= MAX_KNOWN {
            let idle = |known: &Known| {
                let owes = known.lost.is_some() && !known.told;
                known.data.is_empty() && !owes && Arc::strong_count(&known.turn) == 1
            };
            let Some(other) = state.files.iter().find_map(|(other, known)| idle(known).then_some(*other))
            else {
                return false;
            };
            state.files.remove(&other);
        }
        let known = state.files.entry(file).or_default();
        let before = known.data.len();
        match offset.checked_sub(known.offset).and_then(|keep| usize::try_from(keep).ok()) {
            // What is before it waits on.
            Some(keep) if before > 0 && keep <= before => known.data.truncate(keep),
            _ => {
                known.data = BytesMut::new();
                known.offset = offset;
            }
        }
        (known.lost, known.told) = (None, false);
        let dropped = before - known.data.len();
        state.in_all -= dropped;
        drop(state);
        self.room.notify_waiters();
        true
    }

    /// The file that most waits of.
    pub(super) fn largest(&self) -> Option<FileId> {
        self.lock().largest()
    }

    /// Whose turn it is to make a file durable; `None`: nothing is known of it.
    pub(super) fn turn(&self, file: FileId) -> Option<Arc<Turn<()>>> {
        self.lock().files.get(&file).map(|known| Arc::clone(&known.turn))
    }

    /// What waits of a file, to become a part.
    pub(super) fn part(&self, file: FileId) -> Option<Part<'_>> {
        let mut state = self.lock();
        let known = state.files.get_mut(&file).filter(|known| !known.data.is_empty())?;
        let (offset, data) = (known.offset, std::mem::take(&mut known.data).freeze());
        known.offset += data.len() as u64;
        Some(Part { offset, bytes: data.len(), data, of: self })
    }

    /// A part was not kept: its bytes, and what waits behind them, are lost.
    pub(super) fn lose(&self, file: FileId, from: u64) {
        let mut state = self.lock();
        let Some(known) = state.files.get_mut(&file) else { return };
        known.lost = Some(known.lost.map_or(from, |lost| lost.min(from)));
        known.told = false;
        let dropped = std::mem::take(&mut known.data).len();
        state.in_all -= dropped;
    }

    /// Whether something that was taken is lost; whoever asks knows from then on.
    pub(super) fn tell_lost(&self, file: FileId) -> bool {
        let mut state = self.lock();
        let Some(known) = state.files.get_mut(&file).filter(|known| known.lost.is_some()) else {
            return false;
        };
        known.told = true;
        true
    }

    /// A file is no more.
    pub(super) fn forget(&self, file: FileId) {
        let mut state = self.lock();
        if let Some(known) = state.files.remove(&file) {
            state.in_all -= known.data.len();
        }
    }

    /// Bytes that wait or are on their way.
    #[cfg(test)]
    fn in_all(&self) -> usize {
        self.lock().in_all
    }
}

impl State {
    /// The file that most waits of.
    fn largest(&self) -> Option<FileId> {
        // Known files are few.
        let most = self.files.iter().max_by_key(|(_, known)| known.data.len());
        most.filter(|(_, known)| !known.data.is_empty()).map(|(file, _)| *file)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ntproto_core::rng::Rng;

    use super::*;

    const A: FileId = FileId([1; 16]);

    fn some(bytes: usize) -> [Bytes; 2] {
        [Bytes::from(vec![1; bytes / 2]), Bytes::from(vec![2; bytes - bytes / 2])]
    }

    #[test]
    fn what_comes_behind_waits_and_what_comes_elsewhere_cuts() {
        let waiting = Waiting::default();
        assert_eq!(waiting.take(A, 5, &some(10)), Took::Cut);
        assert!(waiting.begin(A, 5));
        assert_eq!(waiting.take(A, 5, &some(10)), Took::Yes);
        assert_eq!(waiting.take(A, 15, &some(10)), Took::Yes);
        // Back into what waits: what is before it stays.
        assert_eq!(waiting.take(A, 12, &some(3)), Took::Cut);
        assert!(waiting.begin(A, 12));
        assert_eq!(waiting.take(A, 12, &some(3)), Took::Yes);
        let part = waiting.part(A).unwrap();
        assert_eq!((part.offset, part.data.len(), waiting.in_all()), (5, 10, 10));
        assert!(waiting.part(A).is_none());
        drop(part);
        assert_eq!(waiting.in_all(), 0);
        // Back behind parts.
        assert_eq!(waiting.take(A, 15, &some(4)), Took::Yes);
        assert_eq!(waiting.take(A, 9, &some(4)), Took::Cut);
        assert!(waiting.begin(A, 9));
        assert_eq!(waiting.in_all(), 0);
        assert_eq!(waiting.take(A, 9, &some(4)), Took::Yes);
        assert_eq!(waiting.part(A).unwrap().offset, 9);
    }

    #[test]
    fn what_is_lost_is_told_until_it_comes_again() {
        let waiting = Waiting::default();
        assert!(waiting.begin(A, 0));
        assert_eq!(waiting.take(A, 0, &some(10)), Took::Yes);
        drop(waiting.part(A));
        assert_eq!(waiting.take(A, 10, &some(10)), Took::Yes);
        waiting.lose(A, 0);
        assert!(waiting.tell_lost(A) && waiting.in_all() == 0);
        assert_eq!(waiting.take(A, 20, &some(10)), Took::Lost);
        assert_eq!(waiting.take(A, 10, &some(10)), Took::Lost);
        assert_eq!(waiting.take(A, 0, &some(10)), Took::Cut);
        assert!(waiting.begin(A, 0) && !waiting.tell_lost(A));
        assert_eq!(waiting.take(A, 0, &some(10)), Took::Yes);
    }

    /// Whatever comes for whichever files, what waits is bounded, and nothing of it is counted for ever.
    #[test]
    fn memory_is_bounded_whatever_comes() {
        let waiting = Waiting::default();
        let mut rng = Rng::new([7; 32]);
        let id = |n: u64| FileId(std::array::from_fn(|i| n.to_be_bytes()[i % 8]));
        let mut ends: BTreeMap<u64, u64> = BTreeMap::new();
        let mut parts = Vec::new();
        for _ in 0..20_000 {
            let n = rng.below(40);
            let end = ends.entry(n).or_default();
            match rng.below(20) {
                0 => parts.extend(waiting.part(id(n))),
                1 => parts.clear(),
                2 => {
                    waiting.forget(id(n));
                    *end = 0;
                }
                3 => *end = rng.below(*end + 1),
                4 => waiting.lose(id(n), *end / 2),
                _ => {
                    let bytes = 1 + rng.below(1 << 20) as usize;
                    match waiting.take(id(n), *end, &some(bytes)) {
                        Took::Yes => *end += bytes as u64,
                        Took::Cut => assert!(waiting.begin(id(n), *end)),
                        Took::Flush => drop(waiting.part(id(n))),
                        Took::NoRoom(Some(other)) => drop(waiting.part(other)),
                        Took::NoRoom(None) => parts.clear(),
                        Took::Lost => *end = 0,
                    }
                }
            }
            assert!(waiting.in_all() <= MAX_WAITING_IN_ALL);
        }
        parts.clear();
        ends.keys().for_each(|n| waiting.forget(id(*n)));
        assert_eq!(waiting.in_all(), 0);
    }

    #[test]
    fn a_file_that_nothing_waits_of_is_forgotten_for_another() {
        let waiting = Waiting::default();
        let id = |n: usize| FileId(std::array::from_fn(|i| if i < 8 { n.to_be_bytes()[i] } else { 0 }));
        for n in 0..MAX_KNOWN + 10 {
            assert!(waiting.begin(id(n), 0));
        }
        assert_eq!(waiting.lock().files.len(), MAX_KNOWN);
        for n in 0..MAX_KNOWN {
            assert!(waiting.begin(id(n), 0));
            assert_eq!(waiting.take(id(n), 0, &some(1)), Took::Yes);
        }
        assert!(!waiting.begin(A, 0));
        drop(waiting.part(id(5)));
        assert!(waiting.begin(A, 0));
        assert_eq!(waiting.take(id(5), 1, &some(1)), Took::Cut, "it is not known any more");
    }

    /// After an outage: what is lost is remembered until somebody was told, and no longer than there is room for.
    #[test]
    fn files_that_lost_something_keep_nobody_out_once_that_is_told() {
        let waiting = Waiting::default();
        let id = |n: usize| FileId(std::array::from_fn(|i| if i < 8 { n.to_be_bytes()[i] } else { 0 }));
        for n in 0..MAX_KNOWN {
            assert!(waiting.begin(id(n), 0));
            assert_eq!(waiting.take(id(n), 0, &some(1)), Took::Yes);
            drop(waiting.part(id(n)));
            waiting.lose(id(n), 0);
        }
        assert!(!waiting.begin(A, 0), "nobody was told");
        assert!(waiting.tell_lost(id(7)) && waiting.tell_lost(id(9)));
        // One that loses more has more to tell.
        waiting.lose(id(9), 0);
        assert!(waiting.begin(A, 0));
        assert_eq!(waiting.take(A, 0, &some(1)), Took::Yes);
        assert!(!waiting.begin(FileId([2; 16]), 0), "the others were not told");
        assert_eq!(waiting.take(id(7), 0, &some(1)), Took::Cut, "it is not known any more");
        for n in (0..MAX_KNOWN).filter(|n| *n != 7) {
            assert!(waiting.tell_lost(id(n)), "{n} is told of its loss");
        }
        for n in 0..MAX_KNOWN {
            assert!(waiting.begin(id(MAX_KNOWN + n), 0), "{n}: the bucket is back");
        }
    }
}
