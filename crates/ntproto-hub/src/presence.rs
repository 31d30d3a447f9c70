//! Presence: leases of connected devices, and who is told how others appear.
//!
//! The store holds the records. What connections mean for them goes there in batches, one at a time: leases that run
//! on, devices that are gone, accounts whose leases may have run out. What comes back is told to subscribers, each account's
//! at most every so often, and the last state only.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use ntproto_core::ids::{DeviceId, Uin};
use ntproto_core::presence::LEASE;
use ntproto_core::time::{Instant, Now, earliest};
use ntproto_core::wire::packet::{Kind, Packet, PacketId};
use ntproto_proto::v2::{self, OnlineStatus};
use prost::Message;

use crate::api::ConnId;
use crate::config::{
    LEASE_MARGIN, MAX_LEASE_CHECKS, PRESENCE_BATCH, PRESENCE_DEBOUNCE, PRESENCE_RENEW, RETRY_AFTER,
    UNAVAILABLE_RETRY,
};
use crate::conn::Conn;
use crate::hub::{Hub, Op};
use crate::store::{Outcome, StoreError, Txn};

/// A device of an account.
type Who = (Uin, DeviceId);

/// What the store is told at once.
#[derive(Default)]
pub(crate) struct Batch {
    renew: Vec<Who>,
    left: Vec<Who>,
    expire: Vec<Uin>,
}

/// An account that somebody watches.
struct Subject {
    conns: BTreeSet<ConnId>,
    /// How it appears.
    last: v2::Presence,
    /// How all of them know it; `None`: not all the same.
    told: Option<i32>,
    /// When they are told of `last`.
    due: Option<Instant>,
}

/// All of it.
#[derive(Default)]
pub(crate) struct Presences {
    /// Connected devices that are not Offline.
    devices: BTreeSet<Who>,
    /// When their leases are renewed next.
    renew_at: Option<Instant>,
    /// Those whose turn it is.
    renewing: BTreeSet<Who>,
    /// Devices whose connection ended.
    left: BTreeSet<Who>,
    /// Accounts whose leases are looked at, each at one time.
    checks: BTreeSet<(Instant, Uin)>,
    check_of: BTreeMap<Uin, Instant>,
    /// The store is at it.
    busy: bool,
    /// The store could not, or had no room: not before this.
    retry_at: Option<Instant>,
    subjects: BTreeMap<Uin, Subject>,
    due: BTreeSet<(Instant, Uin)>,
    ending: Ending,
}

/// Whether the server is about to end: leases run on without it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd)]
enum Ending {
    #[default]
    No,
    /// Who leaves is told to the store still, once.
    Soon,
    /// There is no time left.
    Now,
}

impl Presences {
    /// The server drains: no lease is renewed or looked at any more.
    pub(crate) fn stop(&mut self) {
        self.ending = Ending::Soon;
        self.renew_at = None;
        self.renewing.clear();
        self.checks.clear();
        self.check_of.clear();
    }

    /// The time for it is over.
    pub(crate) fn give_up(&mut self) {
        self.ending = Ending::Now;
        self.left.clear();
    }

    fn leave(&mut self, who: Who) {
        if self.ending < Ending::Now {
            self.left.insert(who);
        }
    }

    /// Bytes of the next batch.
    fn weight(&self) -> usize {
        let some = |n: usize| n.min(PRESENCE_BATCH);
        let devices = some(self.left.len()) + some(self.devices.len().max(self.renewing.len()));
        size_of::<Txn>() + devices * size_of::<Who>() + some(self.checks.len()) * size_of::<Uin>()
    }

    /// Looks at an account's leases when those it has now must have run out.
    fn check(&mut self, now: Instant, uin: Uin) {
        if self.ending > Ending::No {
            return;
        }
        if let Some(old) = self.check_of.remove(&uin) {
            self.checks.remove(&(old, uin));
        }
        // Beyond the bound nobody is told; whoever reads a record sees what ran out in it.
        if self.check_of.len() < MAX_LEASE_CHECKS {
            let at = now + LEASE + LEASE_MARGIN;
            self.check_of.insert(uin, at);
            self.checks.insert((at, uin));
        }
    }

    /// What the store is to be told now.
    fn batch(&mut self, now: Instant) -> Batch {
        let mut batch = Batch::default();
        while batch.expire.len() < PRESENCE_BATCH
            && let Some(&(at, uin)) = self.checks.first().filter(|(at, _)| *at <= now)
        {
            self.checks.remove(&(at, uin));
            self.check_of.remove(&uin);
            batch.expire.push(uin);
        }
        if self.renew_at.is_some_and(|at| at <= now) {
            self.renewing.clone_from(&self.devices);
            self.renew_at = (!self.devices.is_empty()).then_some(now + PRESENCE_RENEW);
        }
        let take = |from: &mut BTreeSet<Who>| -> Vec<Who> {
            core::iter::from_fn(|| from.pop_first()).take(PRESENCE_BATCH).collect()
        };
        batch.left = take(&mut self.left);
        batch.renew = take(&mut self.renewing);
        batch
    }

    /// Whether the store need not be told anything before a timer.
    pub(crate) fn is_idle(&self) -> bool {
        !self.busy && self.left.is_empty()
    }

    /// When there is something to do.
    pub(crate) fn wait(&self) -> Option<Instant> {
        let told = self.due.first().map(|(at, _)| *at);
        if self.busy {
            return told;
        }
        let store = earliest(self.renew_at, self.checks.first().map(|(at, _)| *at));
        // Later than its time when the store could not.
        let store = match self.retry_at {
            Some(retry) if !self.left.is_empty() || !self.renewing.is_empty() => Some(retry),
            Some(retry) => store.map(|at| at.max(retry)),
            None => store,
        };
        earliest(told, store)
    }

    fn unwatch(&mut self, subject: Uin, conn: ConnId) {
        if let Some(watched) = self.subjects.get_mut(&subject) {
            watched.conns.remove(&conn);
            if watched.conns.is_empty() {
                let due = watched.due;
                self.subjects.remove(&subject);
                due.map(|at| self.due.remove(&(at, subject)));
            }
        }
    }
}

impl Hub {
    // ── leases ──────────────────────────────────────────────────────────────────────────────────

    /// A device is about to say how it is: what an earlier connection of it left behind comes not after that.
    pub(crate) fn presence_asked(&mut self, who: Who) {
        self.presence.left.remove(&who);
    }

    /// A device said how it is, and the store took it.
    pub(crate) fn presence_set(&mut self, now: Now, who: Who, status: OnlineStatus) {
        if status == OnlineStatus::Offline {
            self.presence.devices.remove(&who);
        } else if self.online.find(who.0, who.1).is_some() {
            // What a connection before this one left behind is over.
            self.presence.left.remove(&who);
            self.presence.devices.insert(who);
            if self.presence.ending == Ending::No {
                self.presence.renew_at.get_or_insert(now.mono + PRESENCE_RENEW);
            }
        } else {
            // It went meanwhile.
            self.presence.leave(who);
        }
    }

    /// A session ended, and its device has no other.
    pub(crate) fn presence_left(&mut self, who: Who) {
        if self.presence.devices.remove(&who) {
            self.presence.renewing.remove(&who);
            self.presence.leave(who);
        }
    }

    /// Does what is due.
    pub(crate) fn step_presence(&mut self, now: Now) {
        self.tell_subscribers(now);
        let presence = &mut self.presence;
        let timers = [presence.renew_at, presence.checks.first().map(|(at, _)| *at)];
        let due = timers.iter().flatten().any(|at| *at <= now.mono);
        let wanted = due || !presence.left.is_empty() || !presence.renewing.is_empty();
        if !wanted || presence.busy || presence.retry_at.is_some_and(|at| at > now.mono) {
            return;
        }
        let weight = presence.weight();
        if !self.store_has_room(weight) {
            self.presence.retry_at = Some(now.mono + RETRY_AFTER);
            return;
        }
        self.presence.retry_at = None;
        let batch = self.presence.batch(now.mono);
        if batch.renew.is_empty() && batch.left.is_empty() && batch.expire.is_empty() {
            return;
        }
        let txn = Txn::Presence {
            renew: batch.renew.clone(),
            left: batch.left.clone(),
            expire: batch.expire.clone(),
            now: self.clock.now(now.mono),
        };
        self.presence.busy = true;
        self.submit(Op::Presence(Box::new(batch)), txn, None);
    }

    /// The store was told what connections mean for presence.
    pub(crate) fn presence_answered(&mut self, now: Now, batch: Batch, result: Result<Outcome, StoreError>) {
        self.presence.busy = false;
        if let Ok(Outcome::Acted(acted)) = result {
            // An Away one is Offline when its lease has run out; so is whoever is watched and seems to be there.
            let gone = batch.left.iter().map(|(uin, _)| *uin);
            let watched = batch.expire.iter().copied().filter(|uin| {
                let last = |subject: &Subject| subject.last.status != OnlineStatus::Offline as i32;
                self.presence.subjects.get(uin).is_some_and(last)
            });
            let again: BTreeSet<Uin> = gone.chain(watched).collect();
            again.into_iter().for_each(|uin| self.presence.check(now.mono, uin));
            self.tell(now, acted);
        } else if self.presence.ending == Ending::No {
            let presence = &mut self.presence;
            presence.left.extend(batch.left);
            // One that said so again meanwhile is there.
            presence.renewing.extend(batch.renew.iter().filter(|who| presence.devices.contains(who)));
            batch.expire.into_iter().for_each(|uin| presence.check(now.mono, uin));
            presence.retry_at = Some(now.mono + UNAVAILABLE_RETRY);
        }
    }

    // ── subscriptions ───────────────────────────────────────────────────────────────────────────

    /// A connection hears of these from now on, and of those no more.
    pub(crate) fn watch(&mut self, now: Now, id: ConnId, add: Vec<v2::Presence>, remove: &[Uin]) {
        let Some(conn) = self.conns.get_mut(id).filter(|conn| conn.session().is_some()) else { return };
        for subject in remove {
            conn.owed.presence.remove(subject);
            if conn.watches.remove(subject) {
                self.presence.unwatch(*subject, id);
            }
        }
        for state in add {
            let uin = Uin(state.uin);
            conn.watches.insert(uin);
            // The answer says how it is now: newer than what was owed.
            conn.owed.presence.remove(&uin);
            if state.status != OnlineStatus::Offline as i32 {
                self.presence.check(now.mono, uin);
            }
            let status = state.status;
            let subject = self.presence.subjects.entry(uin).or_insert_with(|| Subject {
                conns: BTreeSet::new(),
                told: Some(status),
                last: v2::Presence::default(),
                due: None,
            });
            subject.conns.insert(id);
            subject.told = subject.told.filter(|told| *told == status);
            if state.version >= subject.last.version {
                subject.last = state;
            }
        }
    }

    /// A connection has ended, and its subscriptions with it.
    pub(crate) fn unwatch_all(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.owed.presence.clear();
        for subject in core::mem::take(&mut conn.watches) {
            self.presence.unwatch(subject, id);
        }
    }

    /// The presence of one account is none of another's business any more: it looks like nobody's.
    pub(crate) fn hide(&mut self, now: Now, subject: Uin, from: Uin) {
        let Some(watched) = self.presence.subjects.get(&subject) else { return };
        let offline = OnlineStatus::Offline.into();
        let state = v2::Presence { uin: subject.0, status: offline, version: watched.last.version };
        let conns: Vec<ConnId> = self.online.of(from).iter().map(|(_, conn)| *conn).collect();
        for id in conns {
            if let Some(conn) = self.conns.get_mut(id)
                && conn.watches.remove(&subject)
            {
                self.presence.unwatch(subject, id);
                self.push_presence(now, id, [state].into());
            }
        }
    }

    /// An account appears otherwise: whoever watches it is told soon, once for all that changes until then.
    pub(crate) fn appears(&mut self, now: Now, state: v2::Presence) {
        let uin = Uin(state.uin);
        if state.status != OnlineStatus::Offline as i32 {
            self.presence.check(now.mono, uin);
        }
        let Some(subject) = self.presence.subjects.get_mut(&uin) else { return };
        subject.last = state;
        if subject.due.is_none() {
            let at = now.mono + PRESENCE_DEBOUNCE;
            subject.due = Some(at);
            self.presence.due.insert((at, uin));
        }
    }

    fn tell_subscribers(&mut self, now: Now) {
        let mut news: BTreeMap<ConnId, Vec<v2::Presence>> = BTreeMap::new();
        while let Some(&(at, uin)) = self.presence.due.first().filter(|(at, _)| *at <= now.mono) {
            self.presence.due.remove(&(at, uin));
            let Some(subject) = self.presence.subjects.get_mut(&uin) else { continue };
            subject.due = None;
            if subject.told.replace(subject.last.status) != Some(subject.last.status) {
                for conn in &subject.conns {
                    news.entry(*conn).or_default().push(subject.last);
                }
            }
        }
        for (conn, states) in news {
            self.push_presence(now, conn, states);
        }
    }

    /// Tells a connection that reads; one that does not is told the newest of each when it does.
    //= spec: presence-3
    fn push_presence(&mut self, now: Now, id: ConnId, states: Vec<v2::Presence>) {
        let reads = self.reads(id);
        let Some(conn) = self.conns.get_mut(id) else { return };
        if !reads {
            conn.owed.presence.extend(states.into_iter().map(|state| (Uin(state.uin), state)));
            return;
        }
        let body = v2::PresencePush { states }.encode_to_vec().into();
        let id_ = PacketId::PRESENCE;
        let packet = Packet { id: id_, kind: Kind::Push, deadline_ms: None, trace: None, body };
        self.push(now, id, packet);
    }

    /// A connection reads again.
    pub(crate) fn tell_owed_presence(&mut self, now: Now, id: ConnId) {
        if !self.reads(id) {
            return;
        }
        let Some(conn) = self.conns.get_mut(id) else { return };
        let owed = core::mem::take(&mut conn.owed.presence);
        if !owed.is_empty() {
            self.push_presence(now, id, owed.into_values().collect());
        }
    }
}

/// Whether a connection may hear of so many more, and of those no more. Counts what is on its way to the store.
pub(crate) fn fits(conn: &Conn, add: &BTreeSet<Uin>, remove: &BTreeSet<Uin>, most: usize) -> bool {
    let new = add.iter().filter(|uin| !conn.watches.contains(uin)).count();
    let gone = remove.iter().filter(|uin| conn.watches.contains(uin) && !add.contains(uin)).count();
    conn.watches.len() + conn.watching + new <= most + gone
}
