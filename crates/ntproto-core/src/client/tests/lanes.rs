//! The outbox as lanes: whatever happens, each keeps its order, its bound and its turn.

use alloc::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::client::outbox::Outbox;

fn at(ms: u64) -> Now {
    Now { mono: Instant::from_micros(1 + ms * 1_000), unix: UnixMillis(T0 + ms) }
}

fn lane(n: u64) -> ConversationId {
    ConversationId::direct(ME, Uin(20_000 + n))
}

fn message(order: u64, to: ConversationId) -> OutboxEntry {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&order.to_be_bytes());
    OutboxEntry {
        trace: None,
        order,
        client_msg_id: ClientMsgId(id),
        conversation: to,
        body: Bytes::from_static(b"hi"),
        expires: None,
        action: SendAction::Message,
    }
}

fn add(outbox: &mut Outbox, order: u64, to: ConversationId) {
    outbox.add(message(order, to), None).unwrap();
    outbox.stored(order);
}

fn stored() -> SendOutcome {
    SendOutcome::Stored { conversation: talk(), conv_seq: 1, stored_ms: T0 }
}

/// One that has the outbox full of messages, and another that has one.
#[test]
fn a_noisy_conversation_leaves_room_and_takes_turns() {
    let mut outbox = Outbox::default();
    for order in 1..=1_000 {
        add(&mut outbox, order, lane(0));
    }
    let sent = core::iter::from_fn(|| outbox.next(at(0))).count();
    assert_eq!(sent, LANE_WINDOW);
    // Without an answer from the server: there is room for the other.
    add(&mut outbox, 2_000, lane(1));
    assert_eq!(outbox.next(at(0)).map(|sending| sending.entry.order), Some(2_000));
    // Many of them: each gets its turn, one by one.
    for order in 3_000..4_000 {
        add(&mut outbox, order, lane(order % 4 + 2));
    }
    let sent: Vec<u64> =
        core::iter::from_fn(|| outbox.next(at(0)).map(|sending| sending.entry.order)).collect();
    assert_eq!(sent, (3_000..3_031).collect::<Vec<u64>>());
    // An answer to the noisy one lets one of those go on.
    outbox.settle(1, stored());
    assert_eq!(outbox.next(at(0)).map(|sending| sending.entry.order), Some(3_031));
}

/// A lane that is told to wait again and again sends ever less in vain, and what is taken opens it again.
#[test]
fn a_lane_finds_what_is_let_through() {
    let mut outbox = Outbox::default();
    for order in 1..=1_000 {
        add(&mut outbox, order, lane(0));
    }
    let mut widths = Vec::new();
    for ms in (0..1_200).step_by(100) {
        outbox.resume(at(ms).mono);
        let sent: Vec<u64> = core::iter::from_fn(|| outbox.next(at(ms)).map(|s| s.entry.order)).collect();
        widths.push(sent.len());
        sent.into_iter().for_each(|order| outbox.again_at(order, at(ms + 100).mono));
    }
    assert_eq!(widths, [224, 112, 56, 28, 14, 7, 3, 1, 1, 1, 1, 1]);
    outbox.resume(at(1_200).mono);
    let mut taken = 0;
    while taken < LANE_WINDOW {
        let sent: Vec<u64> = core::iter::from_fn(|| outbox.next(at(1_200)).map(|s| s.entry.order)).collect();
        assert!(sent.len() > taken / 2);
        taken = sent.len();
        for order in sent {
            outbox.settle(order, stored());
        }
    }
}

#[test]
fn what_the_disk_held_goes_by_its_age() {
    let saved = [(3, lane(1)), (1, lane(2)), (2, lane(1))].map(|(order, to)| message(order, to));
    let mut outbox = Outbox::restore(at(0), saved.to_vec());
    let sent: Vec<u64> =
        core::iter::from_fn(|| outbox.next(at(0)).map(|sending| sending.entry.order)).collect();
    assert_eq!(sent, [1, 2, 3]);
}

#[derive(Clone, Debug)]
enum Step {
    Add(u64),
    Send,
    Settle(usize),
    Again(usize),
    Wait(usize, u64),
    Cut,
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4u64).prop_map(Step::Add),
        8 => Just(Step::Send),
        3 => any::<usize>().prop_map(Step::Settle),
        1 => any::<usize>().prop_map(Step::Again),
        2 => (any::<usize>(), 1..500u64).prop_map(|(n, ms)| Step::Wait(n, ms)),
        1 => Just(Step::Cut),
        3 => (0..300u64).prop_map(Step::Advance),
    ]
}

proptest! {
    /// Against a plain list of messages: each conversation's oldest goes first, none before its time, and among
    /// those that may send each gets its turn before any gets another.
    #[test]
    fn lanes_keep_order_time_and_turn(steps in prop::collection::vec(step(), 1..400)) {
        let mut outbox = Outbox::default();
        let (mut ms, mut order) = (0, 0);
        let mut ready: BTreeMap<ConversationId, BTreeSet<u64>> = BTreeMap::new();
        let mut in_flight: BTreeMap<u64, ConversationId> = BTreeMap::new();
        let mut until: BTreeMap<ConversationId, u64> = BTreeMap::new();
        let mut window: BTreeMap<ConversationId, usize> = BTreeMap::new();
        // How often others had their turn since a lane could have had one.
        let mut passed: BTreeMap<ConversationId, usize> = BTreeMap::new();
        for step in steps {
            let nth = |n: usize, of: &BTreeMap<u64, ConversationId>| {
                of.iter().nth(n % of.len().max(1)).map(|(order, to)| (*order, *to))
            };
            match step {
                Step::Add(n) => {
                    order += 1;
                    add(&mut outbox, order, lane(n));
                    ready.entry(lane(n)).or_default().insert(order);
                }
                Step::Send => {
                    let may: Vec<ConversationId> = ready
                        .iter()
                        .filter(|(to, orders)| {
                            let flying = in_flight.values().filter(|other| other == to).count();
                            let room = flying < window.get(to).copied().unwrap_or(LANE_WINDOW);
                            !orders.is_empty() && !until.contains_key(to) && room
                        })
                        .map(|(to, _)| *to)
                        .collect();
                    let sending = outbox.next(at(ms));
                    prop_assert_eq!(sending.is_some(), !may.is_empty());
                    if let Some(sending) = sending {
                        let (order, to) = (sending.entry.order, sending.entry.conversation);
                        prop_assert!(may.contains(&to), "not before its time");
                        prop_assert_eq!(ready.get_mut(&to).unwrap().pop_first(), Some(order), "the oldest first");
                        in_flight.insert(order, to);
                        passed.remove(&to);
                        for other in may.iter().filter(|other| **other != to) {
                            let turns = passed.entry(*other).or_default();
                            *turns += 1;
                            prop_assert!(*turns < 4, "every lane has its turn");
                        }
                    }
                }
                Step::Settle(n) => if let Some((order, to)) = nth(n, &in_flight) {
                    let window = window.entry(to).or_insert(LANE_WINDOW);
                    *window = (*window + 1).min(LANE_WINDOW);
                    prop_assert!(outbox.settle(order, self::stored()).is_some());
                    outbox.remove(order);
                    in_flight.remove(&order);
                },
                Step::Again(n) => if let Some((order, to)) = nth(n, &in_flight) {
                    outbox.again(order);
                    in_flight.remove(&order);
                    ready.entry(to).or_default().insert(order);
                },
                Step::Wait(n, wait) => if let Some((order, to)) = nth(n, &in_flight) {
                    outbox.again_at(order, at(ms + wait).mono);
                    in_flight.remove(&order);
                    ready.entry(to).or_default().insert(order);
                    if !until.contains_key(&to) {
                        let window = window.entry(to).or_insert(LANE_WINDOW);
                        *window = (*window / 2).max(1);
                    }
                    let at = until.entry(to).or_default();
                    *at = (*at).max(ms + wait);
                    passed.remove(&to);
                },
                Step::Cut => {
                    outbox.disconnected();
                    for (order, to) in core::mem::take(&mut in_flight) {
                        ready.entry(to).or_default().insert(order);
                    }
                }
                Step::Advance(by) => {
                    ms += by;
                    until.retain(|_, at| *at > ms);
                    outbox.resume(at(ms).mono);
                }
            }
            // A lane with nothing to send and nothing in flight is none: what was told of it is over with it.
            let lives = |to: &ConversationId| {
                let waits = ready.get(to).is_some_and(|orders| !orders.is_empty());
                waits || in_flight.values().any(|other| other == to)
            };
            until.retain(|to, _| lives(to));
            window.retain(|to, _| lives(to));
            prop_assert_eq!(outbox.resumes_at(), until.values().min().map(|ms| at(*ms).mono));
        }
    }
}
