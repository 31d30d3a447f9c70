//! The messages of one connection, in the order in which they came first: none may overtake another.
//!
//! A message that is told to come again keeps its place, and those behind it wait for it at the door. What was taken
//! in behind it already names it as the one before, so the store refuses it too.

use alloc::collections::VecDeque;

use ntproto_core::ids::ClientMsgId;
use ntproto_core::time::Instant;

use crate::config::{HOLD_ORDER, MAX_LINE};

struct Place {
    id: ClientMsgId,
    /// `None`: it is in the store. Else it was told to come again, and its place is kept so long.
    until: Option<Instant>,
}

/// Messages that were neither stored nor refused for good.
#[derive(Default)]
pub(crate) struct Line {
    places: VecDeque<Place>,
}

/// An earlier message comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait;

impl Line {
    /// A message wants into the store. Tells which one must be stored before it.
    pub(crate) fn enter(&mut self, now: Instant, id: ClientMsgId) -> Result<Option<ClientMsgId>, Wait> {
        self.places.retain(|place| place.until.is_none_or(|until| now < until));
        let known = self.place(id);
        let end = known.unwrap_or(self.places.len());
        let waits = end >= MAX_LINE || self.places.range(..end).any(|place| place.until.is_some());
        let until = waits.then_some(now + HOLD_ORDER);
        match known.and_then(|place| self.places.get_mut(place)) {
            Some(place) => place.until = until,
            None if end < MAX_LINE => self.places.push_back(Place { id, until }),
            None => {}
        }
        if waits {
            return Err(Wait);
        }
        Ok(end.checked_sub(1).and_then(|before| self.places.get(before)).map(|place| place.id))
    }

    /// It is told to come again.
    pub(crate) fn again(&mut self, now: Instant, id: ClientMsgId) {
        let until = Some(now + HOLD_ORDER);
        let (known, len) = (self.place(id), self.places.len());
        match known.and_then(|place| self.places.get_mut(place)) {
            Some(place) => place.until = until,
            None if len < MAX_LINE => self.places.push_back(Place { id, until }),
            None => {}
        }
    }

    /// It is stored, or never will be.
    pub(crate) fn ended(&mut self, id: ClientMsgId) {
        if let Some(place) = self.place(id) {
            self.places.remove(place);
        }
    }

    fn place(&self, id: ClientMsgId) -> Option<usize> {
        self.places.iter().position(|place| place.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ClientMsgId = ClientMsgId([1; 16]);
    const B: ClientMsgId = ClientMsgId([2; 16]);
    const C: ClientMsgId = ClientMsgId([3; 16]);
    const D: ClientMsgId = ClientMsgId([4; 16]);

    fn at(ms: u64) -> Instant {
        Instant::from_micros(1 + ms * 1000)
    }

    #[test]
    fn what_comes_again_takes_its_place_and_not_the_end() {
        let mut line = Line::default();
        let entered = [A, B, C].map(|id| line.enter(at(0), id));
        assert_eq!(entered, [Ok(None), Ok(Some(A)), Ok(Some(B))]);
        // The store could not take the first, so neither the second; the third is in it still.
        line.again(at(10), A);
        line.again(at(10), B);
        assert_eq!(line.enter(at(20), D), Err(Wait));
        assert_eq!(line.enter(at(30), B), Err(Wait));
        assert_eq!(line.enter(at(30), A), Ok(None));
        assert_eq!(line.enter(at(30), B), Ok(Some(A)));
        // Only now the third is refused, and comes after them all the same.
        line.again(at(40), C);
        assert_eq!(line.enter(at(50), D), Err(Wait));
        line.again(at(60), A);
        assert_eq!(line.enter(at(70), C), Err(Wait));
        assert_eq!(line.enter(at(70), A), Ok(None));
        assert_eq!(line.enter(at(70), C), Ok(Some(B)));
        assert_eq!(line.enter(at(70), D), Ok(Some(C)));
    }

    #[test]
    fn a_place_is_given_up_in_time_or_when_it_ended() {
        let mut line = Line::default();
        line.again(at(0), A);
        assert_eq!(line.enter(at(10), B), Err(Wait));
        line.ended(A);
        assert_eq!(line.enter(at(20), B), Ok(None));
        line.again(at(30), B);
        let hold = HOLD_ORDER.as_millis() as u64;
        assert_eq!(line.enter(at(29 + hold), C), Err(Wait));
        assert_eq!(line.enter(at(30 + hold), C), Ok(None));
    }

    #[test]
    fn it_is_bounded() {
        let mut line = Line::default();
        for n in 0..2 * MAX_LINE {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&(n as u64).to_be_bytes());
            assert_eq!(line.enter(at(0), ClientMsgId(id)).is_ok(), n < MAX_LINE);
        }
        assert_eq!(line.places.len(), MAX_LINE);
    }
}
