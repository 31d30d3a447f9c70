//! Groups of connected accounts: who is told of what happens in a group and is in nobody's inbox.
//!
//! A message of a large group is announced by DIRTY. A walk visits the group's connected members, so many a round, and
//! one that is on its way begins its circle anew where it is when another message comes: a message costs a note, however
//! many members are connected, and each of them is told once until it syncs.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use ntproto_core::ids::{GroupId, Uin};
use ntproto_core::time::{Instant, Now};
use ntproto_core::wire::event::EventType;
use ntproto_core::wire::packet::{Kind, Packet, PacketId};
use ntproto_proto::v2;
use prost::Message;

use crate::api::ConnId;
use crate::config::{DIRTY_BATCH, DIRTY_PACE, UNAVAILABLE_RETRY};
use crate::hub::{Hub, Op};
use crate::store::execute::MAX_GROUPS_OF;
use crate::store::txn::InboxPlace;
use crate::store::{Outcome, StoreError, Txn};

/// The index, and the walks.
#[derive(Default)]
pub(crate) struct Groups {
    /// The groups of each connected account, once the store has told them.
    of: BTreeMap<Uin, BTreeSet<GroupId>>,
    heard: BTreeMap<GroupId, Heard>,
    /// Accounts whose groups the store is asked for.
    asked: BTreeSet<Uin>,
    /// Accounts whose groups could not be asked for, and when to try again.
    unknown: BTreeSet<Uin>,
    retry_at: Option<Instant>,
    /// Groups with a walk, each once, served in turn.
    walking: VecDeque<GroupId>,
    next_round: Option<Instant>,
    /// Syncs in the store that place something.
    pub(crate) placing: usize,
}

/// A group with connected members.
#[derive(Default)]
struct Heard {
    accounts: BTreeSet<Uin>,
    walk: Option<Walk>,
}

/// Where a walk is.
struct Walk {
    /// The next account is this one or the first after it.
    at: Uin,
    /// Accounts to visit, at most.
    left: usize,
}

impl Groups {
    /// The connected accounts of a group.
    pub(crate) fn members(&self, group: GroupId) -> Vec<Uin> {
        self.heard.get(&group).map_or(Vec::new(), |heard| heard.accounts.iter().copied().collect())
    }

    /// What the store says of a connected account.
    fn loaded(&mut self, uin: Uin, groups: Vec<GroupId>) {
        self.forget(uin);
        self.of.insert(uin, BTreeSet::new());
        groups.into_iter().take(MAX_GROUPS_OF as usize).for_each(|group| self.joined(uin, group));
    }

    fn joined(&mut self, uin: Uin, group: GroupId) {
        // Of others, the store tells when they are here.
        let Some(of) = self.of.get_mut(&uin) else { return };
        if of.len() < MAX_GROUPS_OF as usize && of.insert(group) {
            let heard = self.heard.entry(group).or_default();
            heard.accounts.insert(uin);
            if let Some(walk) = &mut heard.walk {
                walk.left += 1;
            }
        }
    }

    fn left(&mut self, uin: Uin, group: GroupId) {
        if self.of.get_mut(&uin).is_some_and(|of| of.remove(&group)) {
            self.drop_from(uin, group);
        }
    }

    fn drop_from(&mut self, uin: Uin, group: GroupId) {
        if let Some(heard) = self.heard.get_mut(&group) {
            heard.accounts.remove(&uin);
            // A walk of it finds nothing, and ends.
            if heard.accounts.is_empty() {
                self.heard.remove(&group);
            }
        }
    }

    /// The last device of an account is gone.
    pub(crate) fn forget(&mut self, uin: Uin) {
        self.unknown.remove(&uin);
        for group in self.of.remove(&uin).unwrap_or_default() {
            self.drop_from(uin, group);
        }
    }

    /// Something new stands in a group's log: all its connected members are to be visited. Whoever put it there need
    /// not be, but for a walk that is on its way.
    fn walk(&mut self, now: Instant, group: GroupId, by: Uin) {
        let Some(heard) = self.heard.get_mut(&group) else { return };
        let left = heard.accounts.len();
        match &mut heard.walk {
            Some(walk) => walk.left = left,
            none => {
                let left = left - usize::from(heard.accounts.contains(&by));
                if left == 0 {
                    return;
                }
                *none = Some(Walk { at: Uin(by.0.saturating_add(1)), left });
                self.walking.push_back(group);
            }
        }
        self.next_round.get_or_insert(now);
    }

    /// Whether an account is known to be in no group.
    pub(crate) fn is_in_none(&self, uin: Uin) -> bool {
        self.of.get(&uin).is_some_and(BTreeSet::is_empty)
    }

    /// Whether an account that is connected is known to be in a group.
    pub(crate) fn is_in(&self, uin: Uin, group: GroupId) -> bool {
        self.of.get(&uin).is_some_and(|of| of.contains(&group))
    }

    /// Whether a walk has yet to come to an account.
    pub(crate) fn is_due(&self, uin: Uin) -> bool {
        !self.walking.is_empty()
            && self.of.get(&uin).is_some_and(|of| {
                of.iter().any(|group| self.heard.get(group).is_some_and(|heard| heard.walk.is_some()))
            })
    }

    /// The accounts of one round.
    fn round(&mut self, now: Instant) -> Vec<Uin> {
        let mut visited = Vec::new();
        while visited.len() < DIRTY_BATCH
            && let Some(group) = self.walking.pop_front()
        {
            let Some(heard) = self.heard.get_mut(&group) else { continue };
            let Some(walk) = &mut heard.walk else { continue };
            let next = heard.accounts.range(walk.at..).next().or(heard.accounts.first()).copied();
            if let Some(uin) = next.filter(|_| walk.left > 0) {
                visited.push(uin);
                *walk = Walk { at: Uin(uin.0.saturating_add(1)), left: walk.left - 1 };
            }
            if walk.left == 0 {
                heard.walk = None;
            } else {
                self.walking.push_back(group);
            }
        }
        // The next round keeps its distance, whoever asks for it.
        self.next_round = if visited.is_empty() { None } else { Some(now + DIRTY_PACE) };
        visited
    }

    /// When there is something to do.
    pub(crate) fn wait(&self) -> Option<Instant> {
        ntproto_core::time::earliest(self.next_round, self.retry_at)
    }
}

impl Hub {
    /// An account is here: from now on it is told what happens in its groups.
    pub(crate) fn hear_groups(&mut self, now: Now, uin: Uin) {
        if self.groups.of.contains_key(&uin) || self.groups.asked.contains(&uin) {
            return;
        }
        let txn = Txn::GroupsOf { uin };
        if self.store_has_room(txn.weight()) {
            self.groups.unknown.remove(&uin);
            self.groups.asked.insert(uin);
            self.submit(Op::Groups(uin), txn, None);
        } else {
            self.hear_groups_later(now, uin);
        }
    }

    fn hear_groups_later(&mut self, now: Now, uin: Uin) {
        self.groups.unknown.insert(uin);
        self.groups.retry_at.get_or_insert(now.mono + UNAVAILABLE_RETRY);
    }

    /// The store has said which groups an account is in. What changed since it was asked comes after this.
    pub(crate) fn groups_answered(&mut self, now: Now, uin: Uin, result: Result<Outcome, StoreError>) {
        self.groups.asked.remove(&uin);
        if self.online.of(uin).is_empty() {
            return;
        }
        let Ok(Outcome::Groups(groups)) = result else { return self.hear_groups_later(now, uin) };
        let any = !groups.is_empty();
        self.groups.loaded(uin, groups);
        if any {
            let conns: Vec<ConnId> = self.online.of(uin).iter().map(|(_, conn)| *conn).collect();
            conns.into_iter().for_each(|conn| self.page_was_early(now, conn));
        }
    }

    /// The first page of this session came with early data, which writes nothing: what is new in large groups is not
    /// in it.
    pub(crate) fn page_was_early(&mut self, now: Now, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id)
            && core::mem::take(&mut conn.early_page)
        {
            self.tell_dirty(now, id);
        }
    }

    /// Whether an account is known to be in any group.
    pub(crate) fn is_in_groups(&self, uin: Uin) -> bool {
        self.groups.of.get(&uin).is_some_and(|of| !of.is_empty())
    }

    /// An inbox says how its owner stands to a group.
    pub(crate) fn follow_group(&mut self, place: &InboxPlace, packet: &v2::SyncPacket) {
        if packet.event_type != EventType::Group as u32 || self.online.of(place.uin).is_empty() {
            return;
        }
        let Ok(v2::GroupState { group: Some(group), me }) = v2::GroupState::decode(packet.payload.clone())
        else {
            return;
        };
        match me {
            Some(_) if !group.dissolved => self.groups.joined(place.uin, GroupId(group.group)),
            _ => self.groups.left(place.uin, GroupId(group.group)),
        }
    }

    /// Tells the connected members what changed in their group: those that read. A gap shows by the versions.
    pub(crate) fn push_delta(&mut self, now: Now, delta: &v2::GroupDelta) {
        let body = delta.encode_to_vec().into();
        let id = PacketId::GROUP_DELTA;
        let packet = Packet { id, kind: Kind::Push, deadline_ms: None, trace: None, body };
        for uin in self.groups.members(GroupId(delta.group)) {
            self.push_to_readers(now, uin, &packet);
        }
    }

    /// Something of a large group is in the log and in no inbox.
    pub(crate) fn group_is_dirty(&mut self, now: Now, group: GroupId, by: Uin) {
        self.groups.walk(now.mono, group, by);
    }

    /// Does what is due: a round of visits, and accounts whose groups are not known yet.
    pub(crate) fn step_groups(&mut self, now: Now) {
        if self.groups.retry_at.is_some_and(|at| at <= now.mono) {
            self.groups.retry_at = None;
            let unknown = core::mem::take(&mut self.groups.unknown);
            unknown.into_iter().for_each(|uin| self.hear_groups(now, uin));
        }
        if self.groups.next_round.is_some_and(|at| at <= now.mono) && self.groups.placing >= DIRTY_BATCH {
            // The store is at what the last ones brought: whoever else waits for it comes first.
            self.groups.next_round = Some(now.mono + DIRTY_PACE);
        }
        if self.groups.next_round.is_some_and(|at| at <= now.mono) {
            for uin in self.groups.round(now.mono) {
                let conns: Vec<ConnId> = self.online.of(uin).iter().map(|(_, conn)| *conn).collect();
                conns.into_iter().for_each(|conn| self.tell_dirty(now, conn));
            }
        }
    }

    /// Tells a device to sync, once until it does; when it reads.
    //= spec: messages-21
    fn tell_dirty(&mut self, now: Now, id: ConnId) {
        let reads = self.reads(id);
        let Some(conn) = self.conns.get_mut(id) else { return };
        if core::mem::replace(&mut conn.place, true) {
            return;
        }
        if reads {
            let body = v2::Dirty {}.encode_to_vec().into();
            let kind = Kind::Push;
            let packet = Packet { id: PacketId::DIRTY, kind, deadline_ms: None, trace: None, body };
            self.push(now, id, packet);
        } else {
            conn.owed.dirty = true;
        }
    }

    /// A device reads again: it is told what it did not read, unless it synced meanwhile.
    pub(crate) fn tell_owed_dirty(&mut self, now: Now, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if core::mem::take(&mut conn.owed.dirty) && core::mem::take(&mut conn.place) {
            self.tell_dirty(now, id);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::config::DIRTY_BATCH;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(1 + ms * 1_000)
    }

    fn with(members: u64) -> Groups {
        let mut groups = Groups::default();
        (1..=members).for_each(|uin| groups.loaded(Uin(uin), vec![GroupId(7)]));
        groups
    }

    #[test]
    fn every_member_is_visited_once_so_many_a_round() {
        let members = 3 * DIRTY_BATCH as u64 + 1;
        let mut groups = with(members);
        groups.walk(at(0), GroupId(7), Uin(0));
        let mut visited = Vec::new();
        let mut now = at(0);
        while let Some(next) = groups.wait() {
            now = now.max(next);
            let round = groups.round(now);
            assert!(round.len() <= DIRTY_BATCH);
            visited.extend(round);
        }
        assert_eq!(visited, (1..=members).map(Uin).collect::<Vec<_>>());
        assert_eq!(now, at(0) + 4 * DIRTY_PACE, "the last round finds that nothing is left");
        assert!(!groups.is_due(Uin(1)));
    }

    #[test]
    fn a_message_during_a_walk_begins_a_circle_where_it_is() {
        let members = 2 * DIRTY_BATCH as u64;
        let mut groups = with(members);
        groups.walk(at(0), GroupId(7), Uin(0));
        let first = groups.round(at(0));
        assert_eq!(first.len(), DIRTY_BATCH);
        groups.walk(at(1), GroupId(7), Uin(0));
        assert_eq!(groups.wait(), Some(at(0) + DIRTY_PACE), "no round comes sooner for it");
        // Somebody joins, somebody leaves: nobody is left out.
        groups.loaded(Uin(members + 1), vec![GroupId(7)]);
        groups.forget(Uin(1));
        let mut second = [groups.round(at(10)), groups.round(at(20)), groups.round(at(30))].concat();
        second.sort_unstable();
        second.dedup();
        assert_eq!(second, (2..=members + 1).map(Uin).collect::<Vec<_>>());
        assert_eq!((groups.round(at(200)), groups.wait()), (vec![], None));
    }

    #[test]
    fn who_wrote_it_has_it() {
        let mut groups = with(3);
        groups.walk(at(0), GroupId(7), Uin(2));
        assert_eq!(groups.round(at(0)), [Uin(3), Uin(1)]);
        let mut alone = with(1);
        alone.walk(at(0), GroupId(7), Uin(1));
        assert_eq!((alone.wait(), alone.is_due(Uin(1))), (None, false));
    }

    #[test]
    fn a_busy_group_leaves_turns_to_others() {
        let mut groups = with(4 * DIRTY_BATCH as u64);
        groups.loaded(Uin(1_000_000), vec![GroupId(8)]);
        groups.walk(at(0), GroupId(7), Uin(0));
        groups.walk(at(0), GroupId(8), Uin(0));
        assert!(groups.round(at(0)).contains(&Uin(1_000_000)));
    }

    #[test]
    fn it_holds_no_more_than_who_is_connected() {
        let mut groups = with(10);
        groups.joined(Uin(99), GroupId(7));
        assert!(!groups.of.contains_key(&Uin(99)), "of who is not here, nothing is kept");
        let many: Vec<GroupId> = (1..=2 * u64::from(MAX_GROUPS_OF)).map(GroupId).collect();
        groups.loaded(Uin(1), many);
        groups.joined(Uin(1), GroupId(u64::MAX));
        assert_eq!(groups.of[&Uin(1)].len(), MAX_GROUPS_OF as usize);
        groups.walk(at(0), GroupId(7), Uin(3));
        (1..=10).for_each(|uin| groups.forget(Uin(uin)));
        assert!(groups.of.is_empty() && groups.heard.is_empty());
        assert_eq!((groups.round(at(0)), groups.wait(), groups.walking.len()), (vec![], None, 0));
    }
}
