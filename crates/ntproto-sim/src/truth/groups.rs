//! Groups and their members.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ntproto_core::ids::{ConversationId, GroupId, Uin};
use ntproto_core::model::permission::Permissions;
use ntproto_hub::store::act::{Acted, Actor};
use ntproto_hub::store::{Outcome, StoreError};
use ntproto_proto::v2;
use prost::Message as _;

use super::logs::Logs;
use super::people::People;
use super::texts::{self, clean};
use super::{Against, Answer, acted, decode, placed, same};
use crate::ledger::Check;

const MEMBER: i32 = 0;
const ADMIN: i32 = 1;
const OWNER: i32 = 2;

/// A group.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) state: v2::Group,
    pub(crate) members: BTreeMap<Uin, v2::Member>,
    /// It had more members than get a pointer each.
    pub(crate) was_large: bool,
    /// Who left with a mute, and its end.
    mutes: BTreeMap<Uin, u64>,
}

impl Group {
    /// What a member may do.
    fn may(&self, uin: Uin, what: Permissions) -> bool {
        let Some(member) = self.members.get(&uin) else { return false };
        let plain =
            [Permissions::SEND, Permissions::INVITE, Permissions::MENTION_ALL, Permissions::EDIT_PROFILE];
        let owners = [Permissions::SET_ROLE, Permissions::DISSOLVE];
        match member.role {
            OWNER => true,
            ADMIN => !owners.contains(&what),
            _ => plain.contains(&what) && Permissions::from_wire(self.state.permissions).contains(what),
        }
    }

    /// Whether a member may write, but for a mute of their own that has an end.
    pub(crate) fn may_send(&self, uin: Uin) -> bool {
        let hushed = self.state.muted && self.rank(uin) == MEMBER;
        let muted = self.members.get(&uin).is_none_or(|m| m.muted_until_ms > 0);
        self.may(uin, Permissions::SEND) && !hushed && !muted && !self.state.dissolved
    }

    fn rank(&self, uin: Uin) -> i32 {
        self.members.get(&uin).map_or(-1, |m| m.role)
    }

    /// Somebody goes, and keeps their mute.
    fn remove(&mut self, uin: Uin) {
        if let Some(member) = self.members.remove(&uin) {
            self.mutes.insert(uin, member.muted_until_ms);
        }
    }

    /// Somebody comes in.
    fn add(&mut self, newcomer: v2::Member) {
        let uin = Uin(newcomer.uin);
        if !self.members.contains_key(&uin) {
            let kept = self.mutes.remove(&uin).filter(|until| *until > newcomer.joined_ms);
            self.members.insert(uin, v2::Member { muted_until_ms: kept.unwrap_or(0), ..newcomer });
        }
    }

    /// How it stands for an account.
    fn stands(&self, uin: Uin) -> v2::GroupState {
        let me = self.members.get(&uin).cloned();
        let all = self.state.clone();
        if me.is_some() || (all.join == 1 && !all.dissolved) {
            return v2::GroupState { group: Some(all), me };
        }
        let v2::Group { group, name, version, dissolved, .. } = all;
        v2::GroupState {
            group: Some(v2::Group { group, name, version, dissolved, ..Default::default() }),
            me,
        }
    }
}

/// All groups.
pub(crate) struct Groups {
    pub(crate) all: BTreeMap<u64, Group>,
    requests: BTreeMap<(Uin, Bytes), u64>,
    /// From which message to before which each account was a member.
    stays: BTreeMap<(u64, Uin), Vec<(u64, u64)>>,
    pub(crate) fanout: usize,
}

impl Groups {
    pub(super) const fn new(fanout: usize) -> Self {
        Self { all: BTreeMap::new(), requests: BTreeMap::new(), stays: BTreeMap::new(), fanout }
    }

    /// The group of a conversation.
    pub(crate) fn of(&self, conversation: ConversationId) -> Option<&Group> {
        self.all.get(&conversation.group()?.0)
    }

    /// Whether an account was a member when a message was stored.
    pub(crate) fn was_member(&self, group: GroupId, uin: Uin, seq: u64) -> bool {
        self.stays
            .get(&(group.0, uin))
            .is_some_and(|stays| stays.iter().any(|(from, to)| (*from..*to).contains(&seq)))
    }

    /// Whether an account was a member at any time.
    pub(crate) fn ever_member(&self, group: GroupId, uin: Uin) -> bool {
        self.stays.contains_key(&(group.0, uin))
    }

    /// From which message on an account has been a member, if it has been since it first came.
    pub(crate) fn only_stay(&self, group: GroupId, uin: Uin) -> Option<u64> {
        match self.stays.get(&(group.0, uin))?[..] {
            [(from, u64::MAX)] => Some(from),
            _ => None,
        }
    }

    /// Groups an account is in.
    pub(crate) fn with(&self, uin: Uin) -> impl Iterator<Item = (&u64, &Group)> {
        self.all.iter().filter(move |(_, g)| g.members.contains_key(&uin))
    }

    /// Exactly one owner, and as many members as it says.
    pub(crate) fn are_whole(&self) -> Check {
        for (id, group) in self.all.iter().filter(|(_, g)| !g.state.dissolved) {
            let owners: Vec<_> = group.members.iter().filter(|(_, m)| m.role == OWNER).collect();
            let owner = match owners[..] {
                [(owner, _)] => owner.0,
                _ => return Err(format!("group {id} has {} owners", owners.len())),
            };
            if owner != group.state.owner || group.members.len() != group.state.members as usize {
                return Err(format!("group {id} does not know its owner, or its members"));
            }
        }
        Ok(())
    }

    /// What speaks against a request about a group by an account.
    fn against(&self, group: u64, by: Uin, needs: Option<Permissions>) -> Against {
        let mut against = Against::default();
        let Some(group) = self.all.get(&group) else {
            against.when(true, StoreError::NotFound);
            return against;
        };
        against.when(group.state.dissolved, StoreError::Gone);
        against.when(!group.members.contains_key(&by), StoreError::Forbidden);
        against.when(needs.is_some_and(|what| !group.may(by, what)), StoreError::Forbidden);
        against
    }

    /// What speaks against sending there: a message, or what changes one.
    pub(super) fn against_send(
        &self,
        conversation: ConversationId,
        by: Uin,
        now: u64,
        message: bool,
    ) -> Against {
        let id = conversation.group().map_or(0, |g| g.0);
        let mut against = self.against(id, by, None);
        if let Some(group) = self.all.get(&id)
            && let Some(me) = group.members.get(&by)
        {
            let hushed = group.state.muted && me.role == MEMBER;
            let muted = hushed || me.muted_until_ms > now;
            let may_not = !group.may(by, Permissions::SEND);
            against.when(message && muted, StoreError::Muted).perhaps(muted, StoreError::Muted);
            against.when(message && may_not, StoreError::Forbidden).perhaps(may_not, StoreError::Forbidden);
        }
        against
    }

    /// Whether an account may recall what another sent there.
    pub(super) fn may_recall(&self, conversation: ConversationId, by: Uin) -> bool {
        self.of(conversation).is_some_and(|g| g.may(by, Permissions::RECALL_OTHERS))
    }

    /// Rank of an account in a conversation's group; -1 for none.
    pub(super) fn rank_in(&self, conversation: ConversationId, uin: Uin) -> i32 {
        self.of(conversation).map_or(-1, |g| g.rank(uin))
    }

    /// A group as it was told to an account is as it is.
    pub(super) fn is(&self, owner: Uin, told: &v2::GroupState) -> Check {
        let group = told.group.as_ref().ok_or("a state without a group")?;
        let Some(truth) = self.all.get(&group.group) else {
            return Err(format!("group {} was told of and never was", group.group));
        };
        if truth.state.dissolved {
            return same("its end", &group.dissolved, &true);
        }
        same("a group", told, &truth.stands(owner))
    }

    /// An act on a group was done: `change` says what it does.
    fn done<'a>(
        &mut self,
        logs: Option<&Logs>,
        by: Uin,
        id: u64,
        outcome: &'a Outcome,
        change: impl FnOnce(&mut Group),
    ) -> Check<Option<&'a Acted>> {
        let acted = acted(outcome)?;
        let told = decode::<v2::GroupResponse>(acted)?.state.ok_or("no state")?;
        let version = told.group.as_ref().map_or(0, |g| g.version);
        let group = self.all.get_mut(&id).ok_or("no such group")?;
        let before = group.clone();
        change(group);
        group.state.members = group.members.len() as u32;
        group.was_large |= group.members.len() > self.fanout;
        let profile = before.state != v2::Group { members: before.state.members, ..group.state.clone() };
        let changed = profile || before.members != group.members;
        if changed != (version > before.state.version) || version < before.state.version {
            return Err(format!("version {version} after {}, changed: {changed}", before.state.version));
        }
        group.state.version = version;
        let after = group.clone();
        if let Some(logs) = logs {
            self.moved(logs, id, &before, &after);
        }
        self.is(by, &told)?;
        delta(&before, &after, acted)?;
        self.heard(&before, &after, profile, acted)?;
        Ok(Some(acted))
    }

    /// Notes who came and who went.
    fn moved(&mut self, logs: &Logs, id: u64, before: &Group, after: &Group) {
        let next = logs.head(ConversationId::of_group(GroupId(id))) + 1;
        for uin in after.members.keys().filter(|u| !before.members.contains_key(u)) {
            self.stays.entry((id, *uin)).or_default().push((next, u64::MAX));
        }
        for uin in before.members.keys().filter(|u| !after.members.contains_key(u)) {
            if let Some(stay) = self.stays.get_mut(&(id, *uin)).and_then(|stays| stays.last_mut()) {
                stay.1 = next;
            }
        }
    }

    /// Those hear of a change whom it concerns, and they hear the truth.
    fn heard(&self, before: &Group, after: &Group, profile: bool, acted: &Acted) -> Check {
        let either: BTreeSet<Uin> = before.members.keys().chain(after.members.keys()).copied().collect();
        let hear = placed(acted);
        if let Some(stranger) = hear.iter().find(|uin| !either.contains(uin)) {
            return Err(format!("{stranger} hears of a group that is none of their business"));
        }
        let standing = |uin: &Uin| before.members.get(uin) != after.members.get(uin);
        let small = after.members.len().max(before.members.len()) <= self.fanout && !after.was_large;
        for uin in either.iter().filter(|uin| small && (profile || standing(uin))) {
            if hear.binary_search(uin).is_err() {
                return Err(format!("{uin} does not hear of a change of their group"));
            }
        }
        for at in &acted.places {
            let told = v2::GroupState::decode(at.packet.payload.clone()).map_err(|e| e.to_string())?;
            self.is(at.place.uin, &told)?;
        }
        Ok(())
    }

    fn newcomer(logs: &Logs, group: u64, uin: Uin, now: u64, role: i32) -> v2::Member {
        v2::Member {
            uin: uin.0,
            role,
            joined_ms: now,
            joined_seq: logs.head(ConversationId::of_group(GroupId(group))) + 1,
            ..Default::default()
        }
    }

    /// Accounts that can't be brought in speak against it.
    fn against_inviting(
        against: &mut Against,
        people: &People,
        by: Uin,
        uins: &[u64],
        already: impl Fn(Uin) -> bool,
    ) {
        for uin in uins.iter().map(|uin| Uin(*uin)).filter(|uin| *uin != by) {
            against.when(!people.exists(uin), StoreError::NotFound);
            let blocks = people.blocks(uin, by);
            against.when(blocks && !already(uin), StoreError::Forbidden);
            against.perhaps(blocks, StoreError::Forbidden);
        }
    }

    pub(super) fn create<'a>(
        &mut self,
        people: &People,
        logs: &Logs,
        by: &Actor,
        r: &v2::GroupCreateRequest,
        answer: &'a Answer,
    ) -> Check<Option<&'a Acted>> {
        let known = self.requests.get(&(by.uin, r.request.clone())).copied();
        let name = clean(&r.name, texts::NAME, false, true);
        let mut against = Against::default();
        if known.is_none() {
            against.when(r.request.len() != 16, StoreError::BadRequest);
            against.when(name.is_none(), StoreError::BadName);
            against.when(r.extra.len() > texts::EXTRA, StoreError::BadRequest);
            Self::against_inviting(&mut against, people, by.uin, &r.members, |_| false);
        }
        let Some(outcome) = against.judge("it", answer)? else { return Ok(None) };
        let acted = acted(outcome)?;
        let told = decode::<v2::GroupResponse>(acted)?.state.ok_or("no state")?;
        let state = told.group.clone().ok_or("no group")?;
        if let Some(known) = known {
            same("the group of a request that came again", &state.group, &known)?;
            self.is(by.uin, &told)?;
            same("who hears of nothing", &placed(acted), &Vec::new())?;
            return Ok(Some(acted));
        }
        let id = state.group;
        if self.all.last_key_value().is_some_and(|(last, _)| *last >= id) || id == 0 || state.version == 0 {
            return Err(format!("group {id} in version {} is new", state.version));
        }
        let mut members = BTreeMap::new();
        members.insert(by.uin, Self::newcomer(logs, id, by.uin, by.now.0, OWNER));
        for uin in r.members.iter().map(|uin| Uin(*uin)).filter(|uin| *uin != by.uin) {
            members.insert(uin, Self::newcomer(logs, id, uin, by.now.0, MEMBER));
        }
        let group = v2::Group {
            group: id,
            name: name.unwrap_or_default(),
            owner: by.uin.0,
            members: members.len() as u32,
            join: r.join,
            permissions: (Permissions::SEND | Permissions::INVITE).to_wire(),
            extra: r.extra.clone(),
            created_ms: by.now.0,
            version: state.version,
            ..Default::default()
        };
        let was_large = members.len() > self.fanout;
        let before = Group {
            state: v2::Group { version: 0, ..group.clone() },
            members: BTreeMap::new(),
            was_large: false,
            mutes: BTreeMap::new(),
        };
        let after = Group { state: group, members, was_large, mutes: BTreeMap::new() };
        self.all.insert(id, after.clone());
        self.requests.insert((by.uin, r.request.clone()), id);
        self.moved(logs, id, &before, &after);
        self.is(by.uin, &told)?;
        self.heard(&before, &after, true, acted)?;
        Ok(Some(acted))
    }

    pub(super) fn update<'a>(
        &mut self,
        by: &Actor,
        r: &v2::GroupUpdateRequest,
        answer: &'a Answer,
    ) -> Check<Option<&'a Acted>> {
        let profile = r.name.is_some() || r.notice.is_some() || r.extra.is_some();
        let policy = r.join.is_some() || r.muted.is_some() || r.permissions.is_some();
        let needs = (profile || policy).then_some(Permissions::EDIT_PROFILE);
        let mut against = self.against(r.group, by.uin, needs);
        if let Some(group) = self.all.get(&r.group) {
            against.perhaps(policy && group.rank(by.uin) == MEMBER, StoreError::Forbidden);
            // Names and notices are ways to speak.
            let me = group.members.get(&by.uin);
            let muted =
                me.is_some_and(|m| m.muted_until_ms > by.now.0 || (group.state.muted && m.role == MEMBER));
            against.perhaps(muted, StoreError::Muted);
        }
        let name = r.name.as_ref().map(|text| clean(text, texts::NAME, false, true));
        let notice = r.notice.as_ref().map(|text| clean(text, texts::NOTICE, true, false));
        let nick = r.nick.as_ref().map(|text| clean(text, texts::NAME, false, false));
        against.when(name == Some(None) || notice == Some(None) || nick == Some(None), StoreError::BadName);
        against.when(r.extra.as_ref().is_some_and(|e| e.len() > texts::EXTRA), StoreError::BadRequest);
        against.perhaps(r.nick.as_deref().is_some_and(|n| n.trim().is_empty()), StoreError::BadName);
        let Some(outcome) = against.judge("it", answer)? else { return Ok(None) };
        let uin = by.uin;
        self.done(None, uin, r.group, outcome, |group| {
            let state = &mut group.state;
            state.name = name.flatten().unwrap_or_else(|| state.name.clone());
            state.notice = notice.flatten().unwrap_or_else(|| state.notice.clone());
            state.join = r.join.unwrap_or(state.join);
            state.muted = r.muted.unwrap_or(state.muted);
            let grantable = Permissions::GRANTABLE.to_wire();
            state.permissions = r.permissions.map_or(state.permissions, |mask| mask & grantable);
            state.extra = r.extra.clone().unwrap_or_else(|| state.extra.clone());
            if let (Some(Some(nick)), Some(me)) = (nick, group.members.get_mut(&uin)) {
                me.nick = nick;
            }
        })
    }

    pub(super) fn invite<'a>(
        &mut self,
        people: &People,
        logs: &Logs,
        by: &Actor,
        r: &v2::GroupInviteRequest,
        answer: &'a Answer,
    ) -> Check<Option<&'a Acted>> {
        let mut against = self.against(r.group, by.uin, Some(Permissions::INVITE));
        let in_it = |uin| self.all.get(&r.group).is_some_and(|g| g.members.contains_key(&uin));
        Self::against_inviting(&mut against, people, by.uin, &r.uins, in_it);
        let Some(outcome) = against.judge("it", answer)? else { return Ok(None) };
        self.done(Some(logs), by.uin, r.group, outcome, |group| {
            for uin in r.uins.iter().map(|uin| Uin(*uin)) {
                group.add(Self::newcomer(logs, r.group, uin, by.now.0, MEMBER));
            }
        })
    }

    pub(super) fn join<'a>(
        &mut self,
        logs: &Logs,
        by: &Actor,
        id: u64,
        answer: &'a Answer,
    ) -> Check<Option<&'a Acted>> {
        let mut against = Against::default();
        match self.all.get(&id) {
            None => {
                against.when(true, StoreError::NotFound);
            }
            Some(group) => {
                let is_in = group.members.contains_key(&by.uin);
                against.when(group.state.dissolved, StoreError::Gone);
                against.when(group.state.join == 0 && !is_in, StoreError::Forbidden);
                against.perhaps(group.state.join == 0, StoreError::Forbidden);
                against.perhaps(is_in, StoreError::Conflict);
            }
        }
        let Some(outcome) = against.judge("it", answer)? else { return Ok(None) };
        self.done(Some(logs), by.uin, id, outcome, |group| {
            group.add(Self::newcomer(logs, id, by.uin, by.now.0, MEMBER));
        })
    }

    pub(super) fn leave<'a>(
        &mut self,
        logs: &Logs,
        by: &Actor,
        id: u64,
        answer: &'a Answer,
    ) -> Check<Option<&'a Acted>> {
        let mut against = self.against(id, by.uin, None);
        let owns = self.all.get(&id).is_some_and(|g| g.rank(by.uin) == OWNER);
        against.when(owns, StoreError::LastOwner);
        let Some(outcome) = against.judge("it", answer)? else { return Ok(None) };
        self.done(Some(logs), by.uin, id, outcome, |group| {
            group.remove(by.uin);
        })
    }

    /// What speaks against doing something to a member.
    fn against_doing(&self, id: u64, by: Uin, to: Uin, needs: Permissions) -> Against {
        let mut against = self.against(id, by, Some(needs));
        if let Some(group) = self.all.get(&id) {
            let is_in = group.members.contains_key(&to);
            against.when(!is_in, StoreError::NotFound);
            against.perhaps(!is_in, StoreError::Forbidden);
            against.when(is_in && group.rank(to) >= group.rank(by), StoreError::Forbidden);
        }
        against
    }

    pub(super) fn remove<'a>(
        &mut self,
        logs: &Logs,
        by: &Actor,
        r: &v2::GroupRemoveRequest,
        answer: &'a Answer,
    ) -> Check<Option<&'a Acted>> {
        let against = self.against_doing(r.group, by.uin, Uin(r.uin), Permissions::REMOVE_MEMBER);
        let Some(outcome) = against.judge("it", answer)? else { return Ok(None) };
        self.done(Some(logs), by.uin, r.group, outcome, |group| {
            group.remove(Uin(r.uin));
        })
    }

    pub(super) fn role<'a>(
        &mut self,
        by: &Actor,
        r: &v2::GroupRoleRequest,
        answer: &'a Answer,
    ) -> Check<Option<&'a Acted>> {
        let mut against = self.against_doing(r.group, by.uin, Uin(r.uin), Permissions::SET_ROLE);
        against.when(!(MEMBER..=OWNER).contains(&r.role), StoreError::BadRequest);
        let Some(outcome) = against.judge("it", answer)? else { return Ok(None) };
        self.done(None, by.uin, r.group, outcome, |group| {
            if r.role == OWNER {
                group.state.owner = r.uin;
                if let Some(former) = group.members.get_mut(&by.uin) {
                    former.role = ADMIN;
                }
            }
            if let Some(member) = group.members.get_mut(&Uin(r.uin)) {
                member.role = r.role;
            }
        })
    }

    pub(super) fn mute<'a>(
        &mut self,
        by: &Actor,
        r: &v2::GroupMuteRequest,
        answer: &'a Answer,
    ) -> Check<Option<&'a Acted>> {
        let against = self.against_doing(r.group, by.uin, Uin(r.uin), Permissions::MUTE);
        let Some(outcome) = against.judge("it", answer)? else { return Ok(None) };
        self.done(None, by.uin, r.group, outcome, |group| {
            if let Some(member) = group.members.get_mut(&Uin(r.uin)) {
                member.muted_until_ms = r.until_ms;
            }
        })
    }

    pub(super) fn dissolve<'a>(
        &mut self,
        logs: &Logs,
        by: &Actor,
        id: u64,
        answer: &'a Answer,
    ) -> Check<Option<&'a Acted>> {
        let against = self.against(id, by.uin, Some(Permissions::DISSOLVE));
        let Some(outcome) = against.judge("it", answer)? else { return Ok(None) };
        let acted = acted(outcome)?;
        let told = decode::<v2::GroupResponse>(acted)?.state.and_then(|s| s.group).ok_or("no state")?;
        same("its end", &told.dissolved, &true)?;
        let group = self.all.get_mut(&id).ok_or("no such group")?;
        let before = group.clone();
        if told.version <= before.state.version {
            return Err("its end is no change".into());
        }
        group.state.dissolved = true;
        group.state.version = told.version;
        group.members.clear();
        let after = group.clone();
        self.moved(logs, id, &before, &after);
        if !after.was_large {
            same("who hears of its end", &placed(acted), &before.members.keys().copied().collect())?;
        }
        Ok(Some(acted))
    }
}

/// What is pushed of a change leads from what was to what is, one version a change.
fn delta(before: &Group, after: &Group, acted: &Acted) -> Check {
    let Some(delta) = &acted.delta else {
        if before.state.version == after.state.version || after.was_large {
            return Ok(());
        }
        return Err("a change of a group that nobody is told".into());
    };
    same("where a delta begins", &delta.from_version, &before.state.version)?;
    same("where a delta ends", &delta.version, &after.state.version)?;
    let mut members = before.members.clone();
    let mut state = before.state.clone();
    apply(&mut state, &mut members, &delta.changes)?;
    same("what a delta leads to", &members, &after.members)?;
    same("the group a delta leads to", &v2::Group { members: after.state.members, ..state }, &after.state)
}

/// Takes changes over: each is of the version after the one before.
pub(crate) fn apply(
    state: &mut v2::Group,
    members: &mut BTreeMap<Uin, v2::Member>,
    changes: &[v2::GroupChange],
) -> Check {
    for change in changes {
        same("the version of a change", &change.version, &(state.version + 1))?;
        match (change.kind(), &change.member, &change.group) {
            (v2::GroupChangeKind::Add | v2::GroupChangeKind::Update, Some(member), _) => {
                members.insert(Uin(member.uin), member.clone());
            }
            (v2::GroupChangeKind::Remove, Some(member), _) => {
                members.remove(&Uin(member.uin));
            }
            (v2::GroupChangeKind::Group, _, Some(group)) => *state = group.clone(),
            _ => return Err(format!("a change that says nothing: {change:?}")),
        }
        state.version = change.version;
    }
    Ok(())
}
