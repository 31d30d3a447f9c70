//! Any run of operations, beside queues that do the obvious.

use std::collections::VecDeque;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Publish,
    Subscribe(Limits),
    Try(Index),
    Poll(Index),
    Unsubscribe(Index),
    Drop(Index),
    Close,
}

fn op() -> impl Strategy<Value = Op> {
    let limits = (1usize..6, any::<bool>()).prop_map(|(n, keep)| if keep { lossy(n) } else { strict(n) });
    prop_oneof![
        8 => Just(Op::Publish),
        2 => limits.prop_map(Op::Subscribe),
        6 => any::<Index>().prop_map(Op::Try),
        4 => any::<Index>().prop_map(Op::Poll),
        1 => any::<Index>().prop_map(Op::Unsubscribe),
        1 => any::<Index>().prop_map(Op::Drop),
        1 => prop::bool::weighted(0.1).prop_map(|close| if close { Op::Close } else { Op::Publish }),
    ]
}

/// A subscriber with a queue of its own.
struct Queue {
    limits: Limits,
    waiting: VecDeque<u64>,
    missed: u64,
    end: Option<End>,
}

impl Queue {
    fn push(&mut self, n: u64) {
        if self.end.is_some() {
            return;
        }
        self.waiting.push_back(n);
        if self.waiting.len() > self.limits.bound.get() {
            match self.limits.overflow {
                Overflow::DropOldest => {
                    self.waiting.pop_front();
                    self.missed += 1;
                }
                Overflow::Disconnect => {
                    self.waiting.clear();
                    self.end = Some(End::TooSlow);
                }
            }
        }
    }

    fn take(&mut self, closed: bool) -> Result<Delivery<u64>, TryRecvError> {
        if self.end.is_some() {
            return Err(TryRecvError::Ended);
        }
        match std::mem::take(&mut self.missed) {
            0 => {}
            missed => return Ok(Delivery::Lagged(missed)),
        }
        match self.waiting.pop_front() {
            Some(n) => Ok(Delivery::Event(Arc::new(n))),
            None if closed => {
                self.end = Some(End::Closed);
                Err(TryRecvError::Ended)
            }
            None => Err(TryRecvError::Empty),
        }
    }
}

struct Pair {
    queue: Queue,
    real: Subscriber<u64>,
    woken: Arc<Woken>,
    asleep: bool,
    /// How often it should have been woken.
    times: usize,
}

impl Pair {
    /// Whoever slept and has something to look at was woken once; nobody else.
    fn check(&mut self, closed: bool) -> Result<(), TestCaseError> {
        let stirred = closed || self.queue.end.is_some() || !self.queue.waiting.is_empty();
        if self.asleep && stirred {
            self.asleep = false;
            self.times += 1;
        }
        prop_assert_eq!(self.woken.times(), self.times);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn it_is_as_if_each_had_a_queue(ops in prop::collection::vec(op(), 0..120)) {
        let topic = Topic::new();
        let mut pairs: Vec<Pair> = Vec::new();
        let (mut n, mut closed) = (0, false);
        for op in ops {
            match op {
                Op::Publish => {
                    n += 1;
                    let published = topic.publish(n);
                    prop_assert_eq!(published.is_err(), closed);
                    if !closed {
                        pairs.iter_mut().for_each(|pair| pair.queue.push(n));
                    }
                }
                Op::Subscribe(limits) => pairs.push(Pair {
                    queue: Queue { limits, waiting: VecDeque::new(), missed: 0, end: None },
                    real: topic.subscribe(limits),
                    woken: Arc::default(),
                    asleep: false,
                    times: 0,
                }),
                Op::Close => {
                    drop(topic.close());
                    closed = true;
                }
                Op::Try(at) | Op::Poll(at) | Op::Unsubscribe(at) | Op::Drop(at) if !pairs.is_empty() => {
                    let at = at.index(pairs.len());
                    let Pair { queue, real, woken, asleep, .. } = &mut pairs[at];
                    match op {
                        Op::Try(_) => prop_assert_eq!(real.try_recv(), queue.take(closed)),
                        Op::Poll(_) => {
                            let waker = Waker::from(Arc::clone(woken));
                            let polled = real.poll_recv(&mut Context::from_waker(&waker));
                            let expected = match queue.take(closed) {
                                Ok(delivery) => Poll::Ready(Some(delivery)),
                                Err(TryRecvError::Ended) => Poll::Ready(None),
                                Err(TryRecvError::Empty) => Poll::Pending,
                            };
                            *asleep |= polled.is_pending();
                            prop_assert_eq!(polled, expected);
                        }
                        Op::Unsubscribe(_) => {
                            real.subscription().unsubscribe();
                            queue.waiting.clear();
                            queue.end.get_or_insert(End::Unsubscribed);
                        }
                        _ => drop(pairs.swap_remove(at)),
                    }
                }
                _ => {}
            }
            let largest = pairs.iter().filter(|pair| pair.real.why_ended().is_none());
            let largest = largest.map(|pair| pair.queue.limits.bound.get()).max().unwrap_or(0);
            prop_assert!(topic.held() <= largest, "{} events for a bound of {largest}", topic.held());
            for pair in &mut pairs {
                pair.check(closed)?;
            }
        }
        // In the end everybody gets what the model says, and nothing is left.
        drop(topic.close());
        for Pair { queue, real, .. } in &mut pairs {
            loop {
                let expected = queue.take(true);
                prop_assert_eq!(real.try_recv(), expected.clone());
                if expected.is_err() {
                    break;
                }
            }
            prop_assert_eq!(real.why_ended(), queue.end);
        }
        prop_assert_eq!(topic.held(), 0);
    }
}
