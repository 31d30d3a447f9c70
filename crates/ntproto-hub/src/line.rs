//! The messages of one connection, each conversation in the order in which they came first: none may overtake
//! another of its conversation, and no conversation waits for another.
//!
//! A message that is told to come again keeps its place, and those behind it wait for it at the door. What was taken
//! in behind it already names it as the one before, so the store refuses it too.

use alloc::collections::{BTreeMap, VecDeque};
use core::time::Duration;

use ntproto_core::ids::{ClientMsgId, ConversationId};
use ntproto_core::time::Instant;

use crate::config::{HOLD_ORDER, MAX_LINE, RETRY_AFTER};

struct Place {
    id: ClientMsgId,
    /// `None`: it is in the store. Else it was told to come again.
    held: Option<Held>,
}

/// A message that was told to come again.
#[derive(Clone, Copy)]
struct Held {
    /// When it was told to come.
    back: Instant,
    /// Its place is kept so long.
    until: Instant,
}

impl Held {
    fn new(now: Instant, wait: Duration) -> Self {
        let back = now + wait;
        Self { back, until: back + HOLD_ORDER }
    }
}

/// Messages that were neither stored nor refused for good, of every conversation. A lane without one is no lane,
/// so the bound on places bounds lanes too.
#[derive(Default)]
pub(crate) struct Line {
    lanes: BTreeMap<ConversationId, VecDeque<Place>>,
    places: usize,
}

/// An earlier message comes first: when to come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait(pub(crate) Duration);

impl Line {
    /// A message wants into the store. Tells which one of its conversation must be stored before it.
    pub(crate) fn enter(
        &mut self,
        now: Instant,
        to: ConversationId,
        id: ClientMsgId,
    ) -> Result<Option<ClientMsgId>, Wait> {
        self.expire(now, to);
        let lane = self.lanes.get(&to);
        let known = lane.and_then(|lane| place(lane, id));
        let before = known.or(lane.map(VecDeque::len)).unwrap_or_default();
        // Who waits for another comes no earlier than that one.
        let back =
            lane.and_then(|lane| lane.range(..before).filter_map(|p| p.held).map(|held| held.back).max());
        let full = known.is_none() && self.places >= MAX_LINE;
        if full || back.is_some() {
            // One that was to be back by now is on its way.
            let wait = back.map(|back| back.saturating_since(now)).filter(|wait| !wait.is_zero());
            let wait = wait.unwrap_or(RETRY_AFTER);
            self.put(to, id, Some(Held::new(now, wait)));
            return Err(Wait(wait));
        }
        let last = before.checked_sub(1).and_then(|last| lane?.get(last)).map(|place| place.id);
        self.put(to, id, None);
        Ok(last)
    }

    /// It is told to come again after `wait`.
    pub(crate) fn again(&mut self, now: Instant, to: ConversationId, id: ClientMsgId, wait: Duration) {
        self.put(to, id, Some(Held::new(now, wait)));
    }

    /// It is stored, or never will be.
    pub(crate) fn ended(&mut self, to: ConversationId, id: ClientMsgId) {
        let Some(lane) = self.lanes.get_mut(&to) else { return };
        if let Some(place) = place(lane, id) {
            lane.remove(place);
            self.places -= 1;
        }
        if lane.is_empty() {
            self.lanes.remove(&to);
        }
    }

    /// Sets a message's state: at its place, or at the end of its lane if there is room.
    fn put(&mut self, to: ConversationId, id: ClientMsgId, held: Option<Held>) {
        let room = self.places < MAX_LINE;
        let known = self.lanes.get_mut(&to).and_then(|lane| {
            let place = place(lane, id)?;
            lane.get_mut(place)
        });
        match known {
            Some(place) => place.held = held,
            None if room => {
                self.lanes.entry(to).or_default().push_back(Place { id, held });
                self.places += 1;
            }
            None => {}
        }
    }

    /// Gives up places that were kept for long enough: of one lane, or of all when there is no room.
    fn expire(&mut self, now: Instant, to: ConversationId) {
        if self.places < MAX_LINE {
            if let Some(lane) = self.lanes.get_mut(&to) {
                self.places -= lane.len();
                keep(lane, now);
                self.places += lane.len();
                if lane.is_empty() {
                    self.lanes.remove(&to);
                }
            }
            return;
        }
        self.lanes.retain(|_, lane| {
            keep(lane, now);
            !lane.is_empty()
        });
        self.places = self.lanes.values().map(VecDeque::len).sum();
    }
}

fn place(lane: &VecDeque<Place>, id: ClientMsgId) -> Option<usize> {
    lane.iter().position(|place| place.id == id)
}

fn keep(lane: &mut VecDeque<Place>, now: Instant) {
    lane.retain(|place| place.held.is_none_or(|held| now < held.until));
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const A: ClientMsgId = ClientMsgId([1; 16]);
    const B: ClientMsgId = ClientMsgId([2; 16]);
    const C: ClientMsgId = ClientMsgId([3; 16]);
    const D: ClientMsgId = ClientMsgId([4; 16]);
    const HERE: ConversationId = ConversationId([1; 16]);
    const THERE: ConversationId = ConversationId([2; 16]);

    fn at(ms: u64) -> Instant {
        Instant::from_micros(1 + ms * 1000)
    }

    fn ms(ms: u64) -> Wait {
        Wait(Duration::from_millis(ms))
    }

    /// One conversation of a line.
    struct Lane(Line);

    impl Lane {
        fn enter(&mut self, now: Instant, id: ClientMsgId) -> Result<Option<ClientMsgId>, Wait> {
            self.0.enter(now, HERE, id)
        }

        fn again(&mut self, now: Instant, id: ClientMsgId) {
            self.0.again(now, HERE, id, RETRY_AFTER);
        }
    }

    fn numbered(n: usize) -> ClientMsgId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(n as u64).to_be_bytes());
        ClientMsgId(id)
    }

    #[test]
    fn what_comes_again_takes_its_place_and_not_the_end() {
        let mut lane = Lane(Line::default());
        let entered = [A, B, C].map(|id| lane.enter(at(0), id));
        assert_eq!(entered, [Ok(None), Ok(Some(A)), Ok(Some(B))]);
        // The store could not take the first, so neither the second; the third is in it still.
        lane.again(at(10), A);
        lane.again(at(10), B);
        assert_eq!(lane.enter(at(20), D), Err(ms(190)), "with them");
        assert_eq!(lane.enter(at(30), B), Err(ms(180)));
        assert_eq!(lane.enter(at(30), A), Ok(None));
        assert_eq!(lane.enter(at(30), B), Ok(Some(A)));
        // Only now the third is refused, and comes after them all the same.
        lane.again(at(40), C);
        assert_eq!(lane.enter(at(50), D), Err(ms(190)));
        lane.again(at(60), A);
        assert_eq!(lane.enter(at(70), C), Err(ms(190)));
        assert_eq!(lane.enter(at(70), A), Ok(None));
        assert_eq!(lane.enter(at(70), C), Ok(Some(B)));
        assert_eq!(lane.enter(at(70), D), Ok(Some(C)));
    }

    //= proof: messages-12
    #[test]
    fn one_conversation_waits_and_the_others_do_not() {
        let mut line = Line::default();
        line.again(at(0), HERE, A, Duration::from_secs(60));
        assert_eq!(line.enter(at(0), THERE, B), Ok(None));
        assert_eq!(line.enter(at(0), THERE, C), Ok(Some(B)));
        assert_eq!(line.enter(at(20_000), HERE, D), Err(Wait(Duration::from_secs(40))), "no earlier than A");
        assert_eq!(line.enter(at(60_000), HERE, A), Ok(None));
        assert_eq!(line.enter(at(60_000), HERE, D), Ok(Some(A)));
    }

    #[test]
    fn a_place_is_given_up_in_time_or_when_it_ended() {
        let mut lane = Lane(Line::default());
        lane.again(at(0), A);
        assert_eq!(lane.enter(at(10), B), Err(ms(190)));
        lane.0.ended(HERE, A);
        assert_eq!(lane.enter(at(20), B), Ok(None));
        lane.again(at(30), B);
        let hold = (RETRY_AFTER + HOLD_ORDER).as_millis() as u64;
        assert_eq!(lane.enter(at(230), C), Err(Wait(RETRY_AFTER)), "B should be here and is not");
        assert_eq!(lane.enter(at(29 + hold), C), Err(Wait(RETRY_AFTER)));
        assert_eq!(lane.enter(at(30 + hold), C), Ok(None));
    }

    #[test]
    fn it_is_bounded_however_many_conversations_there_are() {
        for lanes in [1, 7, 2 * MAX_LINE] {
            let mut line = Line::default();
            let to = |n: usize| ConversationId(numbered(n % lanes).0);
            for n in 0..2 * MAX_LINE {
                assert_eq!(line.enter(at(0), to(n), numbered(n)).is_ok(), n < MAX_LINE);
            }
            assert_eq!((line.places, line.lanes.len()), (MAX_LINE, lanes.min(MAX_LINE)));
            for n in 0..MAX_LINE {
                line.again(at(0), to(n), numbered(n), RETRY_AFTER);
            }
            let later = at(0) + RETRY_AFTER + HOLD_ORDER;
            assert_eq!(line.enter(later, to(0), numbered(0)), Ok(None), "the others were given up");
            assert_eq!((line.places, line.lanes.len()), (1, 1));
        }
    }

    proptest! {
        /// Whatever is refused, stored and repeated in whichever order: a conversation's messages enter the store
        /// one behind the other, none is lost, and a conversation that nothing was refused in never waits.
        #[test]
        fn no_message_overtakes_another_of_its_conversation(
            steps in prop::collection::vec((0..3usize, 0..4u8, 0..3u8), 1..200),
        ) {
            let mut line = Line::default();
            // What the client has not heard the end of, by conversation, in the order it was sent first; what is stored.
            let mut sent: [Vec<ClientMsgId>; 3] = Default::default();
            let mut stored: [Vec<ClientMsgId>; 3] = Default::default();
            let mut all: [usize; 3] = [0; 3];
            let mut calm = [true; 3];
            for (step, (lane, which, end)) in steps.into_iter().enumerate() {
                let (now, to) = (at(step as u64), ConversationId([lane as u8; 16]));
                // A message that waits comes again, or a new one comes.
                let id = sent[lane].get(usize::from(which)).copied().unwrap_or_else(|| {
                    all[lane] += 1;
                    let id = numbered(all[lane]);
                    sent[lane].push(id);
                    id
                });
                match line.enter(now, to, id) {
                    Err(Wait(wait)) => {
                        prop_assert!(!calm[lane], "nothing of this conversation was refused");
                        prop_assert!(!wait.is_zero() && wait <= RETRY_AFTER);
                    }
                    Ok(before) => {
                        // The store takes it if the one before it is there.
                        let place = sent[lane].iter().position(|other| *other == id);
                        let in_order = before.is_none_or(|before| stored[lane].contains(&before));
                        if end == 0 || !in_order {
                            calm[lane] = false;
                            line.again(now, to, id, RETRY_AFTER);
                        } else {
                            prop_assert_eq!(place, Some(0), "it overtook another");
                            line.ended(to, id);
                            sent[lane].remove(0);
                            stored[lane].push(id);
                            calm[lane] |= sent[lane].is_empty();
                        }
                    }
                }
            }
            prop_assert!(stored.iter().all(|lane| lane.is_sorted()));
        }
    }
}
