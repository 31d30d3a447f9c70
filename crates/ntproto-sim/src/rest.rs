//! At rest: what every device knows must be what is so.

use ntproto_core::ids::{ConversationId, Uin};
use ntproto_hub::store::verify::verify;

use crate::ledger::Check;
use crate::truth::State;
use crate::world::World;

/// Bytes of a body that tell it from others.
const TELLING: usize = 16;

impl World {
    /// A message a device should have been shown and was not, or the other way round.
    pub(crate) fn missing(&self, d: usize) -> Option<String> {
        let (uin, _) = self.devices[d].identity?;
        let groups = &self.ledger.truth.groups;
        for (conversation, log) in &self.ledger.logs {
            let shown = self.devices[d].app.shown(*conversation);
            let mine = match conversation.group() {
                Some(group) => groups.ever_member(group, uin),
                None => conversation.members().is_some_and(|(a, b)| a == uin || b == uin),
            };
            if !mine && shown.is_empty() {
                continue;
            }
            let mut shown = shown.iter().copied().peekable();
            for (seq, message) in (1..).zip(log) {
                let has = shown.next_if_eq(&seq).is_some();
                let own = self.ledger.messages[*message].device == d;
                let (may, must) = self.due(d, uin, *conversation, seq);
                if has && (own || !may || !mine) {
                    return Some(format!("has {seq} of {conversation}, which it should not"));
                }
                if !has && must && !own {
                    return Some(format!("has {:?} where {seq} of {conversation} belongs", shown.peek()));
                }
            }
            if let Some(extra) = shown.next() {
                return Some(format!("has {extra} of {conversation}, which is not there"));
            }
        }
        None
    }

    /// Whether a device may have an entry, and whether it must.
    fn due(&self, d: usize, uin: Uin, conversation: ConversationId, seq: u64) -> (bool, bool) {
        let gap = self.devices[d].disk.view.is_gap(conversation, seq);
        let Some(group) = conversation.group() else { return (true, !gap) };
        let groups = &self.ledger.truth.groups;
        let member = groups.of(conversation).and_then(|g| g.members.get(&uin));
        let must = member.is_some_and(|m| m.joined_seq <= seq) && !gap;
        (groups.was_member(group, uin, seq), must)
    }

    /// What a device does not know, or knows wrongly.
    pub(crate) fn unknown(&self, d: usize) -> Option<String> {
        let (me, _) = self.devices[d].identity?;
        self.wrong_bodies(d, me)
            .or_else(|| self.wrong_marks(d, me))
            .or_else(|| self.wrong_people(d, me))
            .or_else(|| self.wrong_groups(d, me))
            .or_else(|| self.wrong_members(d))
            .or_else(|| self.wrong_presence(d, me))
    }

    /// From which message on a device has all of a conversation, if it has.
    fn has_from(&self, d: usize, me: Uin, conversation: ConversationId) -> Option<u64> {
        let view = &self.devices[d].disk.view;
        if view.gaps.iter().any(|(id, ..)| *id == conversation) {
            return None;
        }
        match conversation.group() {
            Some(group) => self.ledger.truth.groups.only_stay(group, me),
            None => conversation.members().is_some_and(|(a, b)| a == me || b == me).then_some(1),
        }
    }

    /// Edits and recalls are everywhere.
    fn wrong_bodies(&self, d: usize, me: Uin) -> Option<String> {
        for (conversation, log) in self.ledger.truth.logs.all() {
            let Some(from) = self.has_from(d, me, conversation) else { continue };
            for (seq, entry) in (1..).zip(log).filter(|(seq, _)| *seq >= from) {
                let changed = entry.is_message() && (entry.edited != 0 || entry.recalled != 0);
                if !changed {
                    continue;
                }
                let body = self.devices[d].disk.view.body(conversation, seq)?;
                let due = match (entry.recalled, entry.edited) {
                    (0, edited) => &log[edited as usize - 1].body[..],
                    _ => &[],
                };
                if body[..] != *due {
                    return Some(format!("has another body of {seq} of {conversation} than the last one"));
                }
            }
        }
        None
    }

    /// Watermarks are the same everywhere.
    fn wrong_marks(&self, d: usize, me: Uin) -> Option<String> {
        let view = &self.devices[d].disk.view;
        let truth = &self.ledger.truth;
        for (conversation, _) in truth.logs.all() {
            let whole = self.has_from(d, me, conversation) == Some(1) && !view.skipped;
            if !whole {
                continue;
            }
            for member in truth.members(conversation) {
                let due = truth.logs.marks(conversation, member);
                let known = view.marks.get(&(conversation, member)).copied().unwrap_or_default();
                let stays = conversation.group().is_none_or(|g| truth.groups.only_stay(g, member).is_some());
                let wrong = if member == me { known.1 != due.1 } else { known != due && stays };
                if wrong {
                    return Some(format!("knows {known:?} of {member} in {conversation}, not {due:?}"));
                }
            }
        }
        None
    }

    fn wrong_people(&self, d: usize, me: Uin) -> Option<String> {
        let view = &self.devices[d].disk.view;
        let people = &self.ledger.truth.people;
        for (other, record) in people.records(me).filter(|(_, r)| r.version > 0) {
            let known = view.friends.get(&other).cloned().unwrap_or_default();
            let same = (known.version == record.version || record.says_nothing())
                && known.state == record.state as i32
                && known.blocked == record.blocked
                && known.remark == record.remark;
            let passed_over = view.skipped && record.state == State::Nothing;
            if !same && !passed_over {
                return Some(format!("knows {other} as {known:?}, not as {record:?}"));
            }
        }
        let known = view.profile.as_ref().map_or(0, |p| p.version);
        let due = people.profile_version(me);
        (known != due && !view.skipped).then(|| format!("knows version {known} of its profile, not {due}"))
    }

    fn wrong_groups(&self, d: usize, me: Uin) -> Option<String> {
        let view = &self.devices[d].disk.view;
        let groups = &self.ledger.truth.groups;
        for (id, group) in groups.with(me) {
            let Some(known) = view.groups.get(id) else { return Some(format!("does not know group {id}")) };
            if known.me.as_ref() != group.members.get(&me) {
                return Some(format!("knows itself as {:?} in group {id}", known.me));
            }
            let (Some(known), due) = (&known.group, &group.state) else {
                return Some("knows nothing".into());
            };
            let same = (&known.name, &known.notice, known.join, known.muted, known.permissions)
                == (&due.name, &due.notice, due.join, due.muted, due.permissions);
            if !same && !group.was_large {
                return Some(format!("knows group {id} as {known:?}, not as {due:?}"));
            }
        }
        for (id, known) in &view.groups {
            let group = groups.all.get(id);
            let still = group.is_some_and(|g| g.members.contains_key(&me));
            let over = group.is_some_and(|g| g.state.dissolved);
            if !still && !over && known.me.is_some() && !view.skipped {
                return Some(format!("believes that it is in group {id}"));
            }
            if over
                && !known.group.as_ref().is_some_and(|g| g.dissolved)
                && known.me.is_some()
                && !view.skipped
            {
                return Some(format!("does not know of the end of group {id}"));
            }
        }
        None
    }

    /// Who watches a group knows its members.
    fn wrong_members(&self, d: usize) -> Option<String> {
        let watched = self.devices[d].process.as_ref()?.watched.as_ref()?;
        let (me, _) = self.devices[d].identity?;
        let group = self.ledger.truth.groups.all.get(&watched.group)?;
        if group.was_large || !group.members.contains_key(&me) {
            return None;
        }
        let same = watched.version() == group.state.version && watched.members == group.members;
        (!watched.is_known() || !same).then(|| {
            let (known, due) = (watched.version(), group.state.version);
            format!("knows version {known} of the members of group {}, not {due}", watched.group)
        })
    }

    /// Who subscribed sees how others appear.
    fn wrong_presence(&self, d: usize, me: Uin) -> Option<String> {
        let process = self.devices[d].process.as_ref()?;
        let truth = &self.ledger.truth;
        for (other, lost) in &process.watching {
            let sees = truth.people.sees(me, *other) && truth.people.sights_lost(me, *other) == *lost;
            let due = truth.presence.may_appear(*other, self.server_ms());
            let known = process.appear.get(other).map_or(0, |(status, _)| *status);
            if sees && !due.iter().any(|due| *due as i32 == known) {
                return Some(format!("sees {other} as {known}, not as one of {due:?}"));
            }
        }
        None
    }

    /// A receipt that is missing.
    pub(crate) fn unmarked(&self) -> Option<String> {
        let truth = &self.ledger.truth;
        for (conversation, log) in &self.ledger.logs {
            for member in truth.members(*conversation) {
                let theirs: Vec<usize> = (0..self.devices.len())
                    .filter(|d| self.devices[*d].identity.is_some_and(|(uin, _)| uin == member))
                    .collect();
                let due = |seq| {
                    theirs
                        .iter()
                        .any(|d| !self.devices[*d].dead && self.due(*d, member, *conversation, seq).1)
                };
                let last = (1..)
                    .zip(log)
                    .filter(|(seq, m)| !theirs.contains(&self.ledger.messages[**m].device) && due(*seq))
                    .last();
                let (mark, _) = truth.logs.marks(*conversation, member);
                if let Some((last, _)) = last
                    && mark < last
                {
                    return Some(format!("{member} has {last} of {conversation} and said {mark}"));
                }
            }
        }
        None
    }

    /// What must be so of all together.
    pub(crate) fn whole(&self) -> Check {
        let truth = &self.ledger.truth;
        truth.people.pairs_agree()?;
        truth.groups.are_whole()?;
        let verified = verify(self.server.disk.store.tables(), &mut |_| true);
        let verified = verified.map_err(|e| format!("the server's disk can't be read: {e}"))?;
        if let Some(fault) = verified.faults.first() {
            return Err(format!("{} faults on the server's disk: {fault:?}", verified.faults.len()));
        }
        for (conversation, log) in truth.logs.all() {
            for entry in log.iter().filter(|e| e.recalled != 0 && e.body.len() >= TELLING) {
                let body = &entry.body[..TELLING];
                let kept = log.iter().any(|e| e.recalled == 0 && e.body.starts_with(body));
                if !kept && self.server.disk.store.holds(body) {
                    return Err(format!(
                        "a body that was taken back in {conversation} is on the server's disk"
                    ));
                }
            }
        }
        Ok(())
    }
}
