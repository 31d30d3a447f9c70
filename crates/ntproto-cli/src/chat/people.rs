//! Who others are: profiles, friends, presence, groups; and what each is called.

use std::collections::{BTreeMap, BTreeSet};

use ntproto_core::ids::{ConversationId, GroupId, Uin};
use ntproto_core::model::permission::{Action, Permissions, Policy, Role, Standing, allowed};
use ntproto_core::time::UnixMillis;
use ntproto_proto::v2;

use super::wrap::clip;
use crate::text::harmless;

/// Columns of a name.
pub(super) const MAX_NAME: usize = 14;

/// Everybody this account knows of.
#[derive(Default)]
pub(super) struct People {
    nicks: BTreeMap<Uin, String>,
    friends: BTreeMap<Uin, v2::Friend>,
    presence: BTreeMap<Uin, v2::OnlineStatus>,
    groups: BTreeMap<GroupId, v2::GroupState>,
    members: BTreeMap<GroupId, BTreeMap<Uin, v2::Member>>,
}

impl People {
    pub(super) fn profile(&mut self, user: &v2::User) {
        self.nicks.insert(Uin(user.uin), harmless(&user.nick));
    }

    /// A record of a friend; one that says nothing any more is forgotten.
    pub(super) fn friend(&mut self, friend: v2::Friend) {
        let uin = Uin(friend.uin);
        if self.friends.get(&uin).is_some_and(|known| known.version > friend.version) {
            return;
        }
        let nothing = friend.state() == v2::FriendState::None && !friend.blocked && friend.remark.is_empty();
        if nothing {
            self.friends.remove(&uin);
        } else {
            self.friends.insert(uin, friend);
        }
    }

    pub(super) fn present(&mut self, presence: &v2::Presence) {
        self.presence.insert(Uin(presence.uin), presence.status());
    }

    /// Nobody is heard of while there is no connection.
    pub(super) fn forget_presence(&mut self) {
        self.presence.clear();
    }

    /// A group as it stands for this account; one that was left is forgotten.
    pub(super) fn group(&mut self, state: v2::GroupState) {
        let Some(group) = &state.group else { return };
        let id = GroupId(group.group);
        if self
            .groups
            .get(&id)
            .and_then(|known| known.group.as_ref())
            .is_some_and(|k| k.version > group.version)
        {
            return;
        }
        if state.me.is_none() || group.dissolved {
            self.groups.remove(&id);
            self.members.remove(&id);
        } else {
            self.groups.insert(id, state);
        }
    }

    /// The members of a group, all of them.
    pub(super) fn members(&mut self, group: GroupId, members: Vec<v2::Member>) {
        self.members.insert(group, members.into_iter().map(|m| (Uin(m.uin), m)).collect());
    }

    pub(super) fn members_of(&self, group: GroupId) -> Option<&BTreeMap<Uin, v2::Member>> {
        self.members.get(&group)
    }

    pub(super) fn group_of(&self, conversation: ConversationId) -> Option<&v2::GroupState> {
        self.groups.get(&conversation.group()?)
    }

    pub(super) fn status(&self, uin: Uin) -> Option<v2::OnlineStatus> {
        self.presence.get(&uin).copied()
    }

    pub(super) fn record(&self, uin: Uin) -> Option<&v2::Friend> {
        self.friends.get(&uin)
    }

    fn state(&self, uin: Uin) -> v2::FriendState {
        self.record(uin).map_or(v2::FriendState::None, v2::Friend::state)
    }

    pub(super) fn is_friend(&self, uin: Uin) -> bool {
        self.state(uin) == v2::FriendState::Friend
    }

    /// Who asked to be a friend, with what they said.
    pub(super) fn wanting(&self) -> impl Iterator<Item = (Uin, &str)> {
        let waiting = |f: &&v2::Friend| f.state() == v2::FriendState::Wanted && !f.blocked;
        self.friends.values().filter(waiting).map(|f| (Uin(f.uin), f.message.as_str()))
    }

    /// Friends, and who was asked, by name.
    pub(super) fn contacts(&self) -> Vec<(Uin, String)> {
        let known = self.friends.values().filter(|f| f.state() != v2::FriendState::Wanted || f.blocked);
        let mut all: Vec<_> = known.map(|f| (Uin(f.uin), self.name(Uin(f.uin), None))).collect();
        all.sort_by_key(|(uin, name)| (name.to_lowercase(), *uin));
        all
    }

    /// One's groups, by name.
    pub(super) fn groups(&self) -> Vec<(GroupId, String)> {
        let mut all: Vec<_> = self.groups.keys().map(|id| (*id, self.group_name(*id))).collect();
        all.sort_by_key(|(id, name)| (name.to_lowercase(), *id));
        all
    }

    /// Whether somebody may call everybody in a group: no server can check it, so every reader does.
    pub(super) fn may_call_all(&self, group: Option<GroupId>, who: Uin) -> bool {
        let Some((id, state)) = group.and_then(|id| Some((id, self.groups.get(&id)?))) else { return false };
        let Some(group) = &state.group else { return false };
        let policy = Policy {
            members: Permissions::from_wire(group.permissions),
            all_muted: group.muted,
            open: group.join() == v2::JoinPolicy::Open,
        };
        let member = self.members.get(&id).and_then(|members| members.get(&who));
        let role =
            member.and_then(|m| u32::try_from(m.role).ok()).and_then(Role::from_wire).unwrap_or_default();
        let role = if group.owner == who.0 { Role::Owner } else { role };
        allowed(&policy, Some(&Standing::new(role)), Action::MentionAll, None, UnixMillis(0)).is_ok()
    }

    /// What a group is called.
    pub(super) fn group_name(&self, id: GroupId) -> String {
        let group = self.groups.get(&id).and_then(|state| state.group.as_ref());
        match group.map(|g| harmless(&g.name)).filter(|name| !name.is_empty()) {
            Some(name) => clip(&name, MAX_NAME + 6),
            None => format!("group {id}"),
        }
    }

    /// What somebody is called: by one's own remark, by what they are called in the group, by their nick, by number. Who
    /// is no friend has a tilde before a name that nobody but themselves vouches for, and no name reads as a number
    /// or as oneself.
    pub(super) fn name(&self, uin: Uin, group: Option<GroupId>) -> String {
        let remark = self.record(uin).map(|f| harmless(&f.remark)).filter(|r| !r.is_empty());
        if let Some(remark) = remark {
            return clip(&remark, MAX_NAME);
        }
        let member = group.and_then(|group| self.members.get(&group)?.get(&uin));
        let in_group = member.map(|m| harmless(&m.nick)).filter(|nick| !nick.is_empty());
        let nick = in_group.or_else(|| self.nicks.get(&uin).filter(|nick| !nick.is_empty()).cloned());
        match nick {
            Some(nick) if self.is_friend(uin) && !misleads(&nick) => clip(&nick, MAX_NAME),
            Some(nick) if !misleads(&nick) => clip(&format!("~{nick}"), MAX_NAME),
            _ => uin.to_string(),
        }
    }

    /// Who is meant by a number, or by a name they are shown with. A name that more than one has means nobody, and one
    /// that only strangers have, who named themselves so, stands behind those of friends.
    pub(super) fn find(&self, who: &str, group: Option<GroupId>) -> Option<Uin> {
        let who = who.strip_prefix('@').unwrap_or(who);
        if let Ok(uin @ 1..) = who.parse() {
            return Some(Uin(uin));
        }
        let members = group.and_then(|group| self.members.get(&group)).into_iter().flat_map(BTreeMap::keys);
        let known: BTreeSet<Uin> =
            self.friends.keys().chain(members).chain(self.nicks.keys()).copied().collect();
        let named = |wanted: String| -> Vec<Uin> {
            known.iter().copied().filter(|uin| self.name(*uin, group).to_lowercase() == wanted).collect()
        };
        let mut found = named(who.to_lowercase());
        if found.is_empty() {
            found = named(format!("~{}", who.to_lowercase()));
        }
        match found[..] {
            [one] => Some(one),
            _ => None,
        }
    }
}

/// Whether a name says that it is an account's number or the reader.
fn misleads(nick: &str) -> bool {
    let plain = nick.trim().to_lowercase();
    plain == "you" || plain.starts_with('~') || plain.chars().all(|c| c.is_numeric() || c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remark_stands_above_a_nick_and_a_stranger_is_marked() {
        let mut people = People::default();
        let named = |uin, nick: &str| v2::User { uin, nick: nick.into(), ..v2::User::default() };
        for (uin, nick) in [(2, "Bo"), (3, "you"), (4, "10002"), (5, "a\u{202e}b\x1b[2J")] {
            people.profile(&named(uin, nick));
        }
        assert_eq!(people.name(Uin(2), None), "~Bo");
        assert_eq!(people.find("bo", None), Some(Uin(2)));
        assert_eq!(people.name(Uin(3), None), "3");
        assert_eq!(people.name(Uin(4), None), "4");
        assert_eq!(people.name(Uin(5), None), "~a⟨U+202E⟩b␛[…");
        assert_eq!(people.name(Uin(6), None), "6");
        let state = v2::FriendState::Friend.into();
        people.friend(v2::Friend { uin: 2, state, version: 1, ..v2::Friend::default() });
        assert_eq!(people.name(Uin(2), None), "Bo");
        people.friend(v2::Friend {
            uin: 2,
            state,
            remark: "Bob".into(),
            version: 2,
            ..v2::Friend::default()
        });
        assert_eq!(people.name(Uin(2), None), "Bob");
        // What is older changes nothing.
        people.friend(v2::Friend { uin: 2, state, version: 1, ..v2::Friend::default() });
        assert_eq!(
            (people.find("@bob", None), people.find("17", None), people.find("x", None)),
            (Some(Uin(2)), Some(Uin(17)), None)
        );
    }
}
