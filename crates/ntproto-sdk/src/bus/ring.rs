//! The events of a topic and where each subscriber stands.
//!
//! ```text
//!         first                 head
//!           ▼                     ▼
//!   ring  │ e₄ │ e₅ │ e₆ │ e₇ │ e₈ │          next(a) = 4: five unread
//!           ▲a        ▲b                      next(b) = 6: three unread
//! ```
//!
//! Every event counts how many have yet to take it. At zero it is dropped, and what is at the front and taken leaves
//! the ring. Pure: nothing here waits, wakes or runs what is not ours; events and wakers that are no longer needed
//! are handed out, to be dropped once the lock is released.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use super::{Delivery, End, Limits, Overflow};

/// Names a subscriber: where it is in the table, and which of all that were there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    index: usize,
    id: u64,
}

struct Slot<T> {
    event: Option<Arc<T>>,
    /// Subscribers that have not taken it.
    left: usize,
}

struct Member {
    id: u64,
    /// The number of the next event it takes.
    next: u64,
    limits: Limits,
    end: Option<End>,
    /// It sleeps, and stands in `asleep`.
    waker: Option<Waker>,
}

impl Member {
    fn unread(&self, head: u64) -> u64 {
        head - self.next
    }

    fn is_beyond(&self, head: u64) -> bool {
        self.unread(head) > self.limits.bound.get() as u64
    }
}

/// What is to be dropped or woken without the lock.
pub(super) struct Aside<T> {
    events: Vec<Arc<T>>,
    wakers: Vec<Waker>,
    old: Option<Waker>,
}

impl<T> Default for Aside<T> {
    fn default() -> Self {
        Self { events: Vec::new(), wakers: Vec::new(), old: None }
    }
}

impl<T> Aside<T> {
    /// Wakes who is to be woken; drops the rest.
    pub(super) fn settle(self) {
        self.wakers.into_iter().for_each(Waker::wake);
    }
}

/// What asking for an event brings.
#[derive(Debug)]
pub(super) enum Taken<T> {
    Delivery(Delivery<T>),
    Nothing,
    End,
}

/// A topic's events and members.
pub(super) struct Ring<T> {
    slots: VecDeque<Slot<T>>,
    /// The number of the next event.
    head: u64,
    members: Vec<Option<Member>>,
    free: Vec<usize>,
    asleep: Vec<usize>,
    /// Members that are not over.
    live: usize,
    /// The largest bound of a live member: more events are of no use to anyone.
    capacity: usize,
    last_id: u64,
    closed: bool,
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self {
            slots: VecDeque::new(),
            head: 0,
            members: Vec::new(),
            free: Vec::new(),
            asleep: Vec::new(),
            live: 0,
            capacity: 0,
            last_id: 0,
            closed: false,
        }
    }
}

impl<T> Ring<T> {
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Members that are not over.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// Events it holds a place for.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    fn first(&self) -> u64 {
        self.head - self.slots.len() as u64
    }

    /// Adds an event; how many members it is for.
    pub(super) fn push(&mut self, event: Arc<T>, aside: &mut Aside<T>) -> usize {
        self.head += 1;
        if self.live == 0 {
            aside.events.push(event);
            return 0;
        }
        self.slots.push_back(Slot { event: Some(event), left: self.live });
        self.shorten(aside);
        self.wake_all(aside);
        self.live
    }

    /// A member that gets what is published from now on.
    pub(super) fn join(&mut self, limits: Limits) -> Key {
        self.last_id += 1;
        let id = self.last_id;
        let member = Member { id, next: self.head, limits, end: None, waker: None };
        self.live += 1;
        self.capacity = self.capacity.max(limits.bound.get());
        let index = match self.free.pop() {
            Some(index) => {
                self.members[index] = Some(member);
                index
            }
            None => {
                self.members.push(Some(member));
                self.members.len() - 1
            }
        };
        Key { index, id }
    }

    fn member(&mut self, key: Key) -> Option<&mut Member> {
        self.members.get_mut(key.index)?.as_mut().filter(|member| member.id == key.id)
    }

    /// Why a member is over, if it is.
    pub(super) fn end_of(&mut self, key: Key) -> Option<End> {
        self.member(key).and_then(|member| member.end)
    }

    /// The next event of a member.
    pub(super) fn take(&mut self, key: Key, aside: &mut Aside<T>) -> Taken<T> {
        let (head, closed) = (self.head, self.closed);
        let Some(member) = self.member(key).filter(|member| member.end.is_none()) else { return Taken::End };
        let unread = member.unread(head);
        if unread == 0 {
            if !closed {
                return Taken::Nothing;
            }
            self.end(key, End::Closed, aside);
            return Taken::End;
        }
        let from = member.next;
        if member.is_beyond(head) {
            match member.limits.overflow {
                Overflow::Disconnect => {
                    self.end(key, End::TooSlow, aside);
                    return Taken::End;
                }
                Overflow::DropOldest => {
                    let missed = unread - member.limits.bound.get() as u64;
                    member.next += missed;
                    self.pass(from, from + missed, aside);
                    return Taken::Delivery(Delivery::Lagged(missed));
                }
            }
        }
        member.next += 1;
        let at = (from - self.first()) as usize;
        let slot = &mut self.slots[at];
        slot.left -= 1;
        let event = if slot.left == 0 { slot.event.take() } else { slot.event.clone() };
        self.trim();
        Taken::Delivery(Delivery::Event(event.expect("an event somebody has yet to take is there")))
    }

    /// A member sleeps until something comes. `false`: something is there already.
    pub(super) fn sleep(&mut self, key: Key, waker: Waker, aside: &mut Aside<T>) -> bool {
        let (head, closed) = (self.head, self.closed);
        let Some(member) = self.member(key) else { return false };
        if closed || member.end.is_some() || member.unread(head) > 0 {
            aside.old = Some(waker);
            return false;
        }
        aside.old = member.waker.replace(waker);
        if aside.old.is_none() {
            self.asleep.push(key.index);
        }
        true
    }

    /// A member is over; it is told at its next look.
    pub(super) fn unsubscribe(&mut self, key: Key, aside: &mut Aside<T>) {
        let head = self.head;
        let Some(member) = self.member(key).filter(|member| member.end.is_none()) else { return };
        let slow = member.limits.overflow == Overflow::Disconnect && member.is_beyond(head);
        self.end(key, if slow { End::TooSlow } else { End::Unsubscribed }, aside);
    }

    /// Nothing more is published.
    pub(super) fn close(&mut self, aside: &mut Aside<T>) {
        self.closed = true;
        self.wake_all(aside);
    }

    /// A member is gone.
    pub(super) fn leave(&mut self, key: Key, aside: &mut Aside<T>) {
        self.unsubscribe(key, aside);
        if self.member(key).is_some() {
            self.members[key.index] = None;
            self.free.push(key.index);
        }
    }

    fn end(&mut self, key: Key, end: End, aside: &mut Aside<T>) {
        let head = self.head;
        let Some(member) = self.member(key) else { return };
        member.end = Some(end);
        let next = member.next;
        if let Some(waker) = member.waker.take() {
            aside.wakers.push(waker);
            self.asleep.retain(|index| *index != key.index);
        }
        self.live -= 1;
        self.pass(next, head, aside);
        let live = self.members.iter().flatten().filter(|member| member.end.is_none());
        self.capacity = live.map(|member| member.limits.bound.get()).max().unwrap_or(0);
        self.shorten(aside);
    }

    /// One member has no more use for the events from `from` up to `to`.
    fn pass(&mut self, from: u64, to: u64, aside: &mut Aside<T>) {
        let first = self.first();
        // What left the ring already needs no counting.
        for at in from.max(first)..to.max(first) {
            let slot = &mut self.slots[(at - first) as usize];
            slot.left -= 1;
            if slot.left == 0 {
                aside.events.extend(slot.event.take());
            }
        }
        self.trim();
    }

    /// Takes away what everybody has taken.
    fn trim(&mut self) {
        while self.slots.front().is_some_and(|slot| slot.left == 0) {
            self.slots.pop_front();
        }
    }

    /// Takes away what is beyond every bound.
    fn shorten(&mut self, aside: &mut Aside<T>) {
        while self.slots.len() > self.capacity {
            aside.events.extend(self.slots.pop_front().and_then(|slot| slot.event));
        }
        self.trim();
    }

    fn wake_all(&mut self, aside: &mut Aside<T>) {
        let members = &mut self.members;
        let wakers = self.asleep.drain(..).filter_map(|index| members[index].as_mut()?.waker.take());
        aside.wakers.extend(wakers);
    }
}
