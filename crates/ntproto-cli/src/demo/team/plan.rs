//! Who does what. Parent and workers compute it alike, so it is never sent.

use ntproto_core::ids::ClientMsgId;

use super::super::plan::fingerprint;

/// Friends to each side of the ring of users.
const REACH: usize = 3;
/// Members of a small group.
const GROUP: usize = 8;
/// From this many users on, one blocks another.
const MIN_FOR_BLOCK: usize = 8;

/// The whole team.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Users, at least four.
    pub(crate) users: usize,
    /// Devices in all, at least one a user.
    pub(crate) devices: usize,
    /// Messages, edits and recalls in all, about.
    pub(crate) entries: u64,
}

/// Where something is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// To this user.
    Direct(usize),
    /// In this group.
    Group(usize),
}

/// What a device does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Says something.
    Say(Place),
    /// Changes what it said in an earlier step.
    Edit(Place, u64),
    /// Takes back what it said in an earlier step.
    Recall(Place, u64),
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// Who makes it.
    pub(crate) owner: usize,
    /// Who is in it from the beginning to the end, the owner first.
    pub(crate) members: Vec<usize>,
    /// The member who becomes an admin.
    pub(crate) admin: usize,
    /// Who is in it at first, and leaves while the others talk.
    pub(crate) leaver: Option<usize>,
    /// Who is brought in while the others talk.
    pub(crate) joiner: Option<usize>,
}

impl Plan {
    /// How many devices a user has: the first ones have one more.
    pub(crate) const fn devices_of(&self, user: usize) -> usize {
        self.devices / self.users + if user < self.devices % self.users { 1 } else { 0 }
    }

    /// Steps of each device.
    pub(crate) const fn steps(&self) -> u64 {
        self.entries.div_ceil(self.devices as u64)
    }

    /// Who is a friend of whom in the end: the one that asks, and the other.
    pub(crate) fn friends(&self) -> Vec<(usize, usize)> {
        let reach = REACH.min((self.users - 1) / 2).max(1);
        let pairs = (0..self.users).flat_map(|user| (1..=reach).map(move |step| (user, step)));
        pairs.map(|(user, step)| (user, (user + step) % self.users)).collect()
    }

    /// The friends of one user.
    pub(crate) fn friends_of(&self, user: usize) -> Vec<usize> {
        let pairs = self.friends().into_iter();
        let mut all: Vec<usize> = pairs
            .filter_map(|(a, b)| match user {
                user if user == a => Some(b),
                user if user == b => Some(a),
                _ => None,
            })
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Who blocks whom, a stranger that writes all the same.
    pub(crate) fn block(&self) -> Option<(usize, usize)> {
        (self.users >= MIN_FOR_BLOCK).then_some((1, 1 + self.users / 2))
    }

    /// The groups: everybody, and small ones. That of everybody is above the server's limit for a copy in every inbox,
    /// which the demo lowers.
    pub(crate) fn groups(&self) -> Vec<Group> {
        let everybody =
            Group { owner: 0, members: (0..self.users).collect(), admin: 1, leaver: None, joiner: None };
        let size = GROUP.min(self.users.saturating_sub(2)).max(3);
        let small = (0..(self.users / 4).max(1)).map(|n| {
            let at = |k: usize| (n * 4 + k) % self.users;
            let room = self.users > size;
            Group {
                owner: at(0),
                members: (0..size - 1).map(at).collect(),
                admin: at(1),
                leaver: Some(at(size - 1)),
                joiner: room.then(|| at(size)),
            }
        });
        std::iter::once(everybody).chain(small).collect()
    }

    /// Members from which on a group is a large one in this demo: that of everybody is, the small ones are not.
    pub(crate) const fn fanout(&self) -> usize {
        if self.users > GROUP + 1 { GROUP + 1 } else { self.users - 1 }
    }

    /// Where a user talks: those who leave or come later say nothing there.
    fn places(&self, user: usize) -> (Vec<Place>, Vec<Place>) {
        let friends = self.friends_of(user).into_iter().map(Place::Direct).collect();
        let groups = self.groups().into_iter().enumerate();
        let groups = groups.filter(|(_, group)| group.members.contains(&user)).map(|(n, _)| Place::Group(n));
        (friends, groups.collect())
    }

    /// What a device does.
    pub(crate) fn script(&self, user: usize, device: usize) -> Vec<Step> {
        let (friends, groups) = self.places(user);
        let mut steps: Vec<Step> = Vec::new();
        // What was said and still stands, by step.
        let mut said: Vec<(u64, Place)> = Vec::new();
        for number in 0..self.steps() {
            let pick = dice(user, device, number, "kind") % 100;
            let choose = |count: usize| (dice(user, device, number, "which") % count.max(1) as u64) as usize;
            let step = match pick {
                0..13 if !said.is_empty() => {
                    let (of, place) = said[choose(said.len())];
                    Step::Edit(place, of)
                }
                13..19 if !said.is_empty() => {
                    let (of, place) = said.remove(choose(said.len()));
                    Step::Recall(place, of)
                }
                // Everybody hears what is said to everybody: that is much.
                19..24 => Step::Say(groups[0]),
                24..60 if groups.len() > 1 => Step::Say(groups[1 + choose(groups.len() - 1)]),
                _ => Step::Say(friends[choose(friends.len())]),
            };
            if let Step::Say(place) = step {
                said.push((number, place));
            }
            steps.push(step);
        }
        steps
    }

    /// Whether a device goes offline for a while, and before which step.
    pub(crate) fn spell(&self, user: usize, device: usize) -> Option<u64> {
        let when = 1 + dice(user, device, 0, "spell") % self.steps().max(1);
        dice(user, device, 0, "offline").is_multiple_of(2).then_some(when)
    }

    /// Whether a user leaves something unread in a place at the end.
    pub(crate) fn leaves_unread(user: usize, conversation: &[u8]) -> bool {
        let bytes = [&(user as u64).to_be_bytes()[..], conversation].concat();
        fingerprint(&bytes).is_multiple_of(4)
    }

    /// Whether a user is there at the end: present, away, or gone.
    pub(crate) const fn presence(user: usize) -> Presence {
        match user % 3 {
            0 => Presence::Online,
            1 => Presence::Away,
            _ => Presence::Offline,
        }
    }

    /// What is said in a step: another body for every step.
    pub(crate) fn body(user: usize, device: usize, step: u64) -> Vec<u8> {
        format!("team {user} {device} {step} {:016x}", dice(user, device, step, "body")).into_bytes()
    }

    /// The id of a step: the same however often it is sent.
    pub(crate) fn id(user: usize, device: usize, step: u64) -> ClientMsgId {
        let mut id = [0x7e; 16];
        id[..4].copy_from_slice(&(user as u32).to_be_bytes());
        id[4..8].copy_from_slice(&(device as u32).to_be_bytes());
        id[8..].copy_from_slice(&step.to_be_bytes());
        ClientMsgId(id)
    }
}

/// Whether somebody is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// One device is online.
    Online,
    /// One is away, none online.
    Away,
    /// None is there.
    Offline,
}

/// A number that looks random and follows from these.
pub(super) fn dice(user: usize, device: usize, step: u64, what: &str) -> u64 {
    let mut bytes = what.as_bytes().to_vec();
    for number in [user as u64, device as u64, step] {
        bytes.extend(number.to_be_bytes());
    }
    fingerprint(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEAM: Plan = Plan { users: 50, devices: 120, entries: 1_500 };

    #[test]
    fn devices_friends_and_groups_add_up() {
        for plan in
            [TEAM, Plan { users: 8, devices: 15, entries: 120 }, Plan { users: 4, devices: 4, entries: 8 }]
        {
            assert_eq!((0..plan.users).map(|u| plan.devices_of(u)).sum::<usize>(), plan.devices);
            for (a, b) in plan.friends() {
                assert!(a != b && plan.friends_of(a).contains(&b) && plan.friends_of(b).contains(&a));
            }
            if let Some((by, whom)) = plan.block() {
                assert!(by != whom && !plan.friends_of(by).contains(&whom));
            }
            let groups = plan.groups();
            assert_eq!(groups[0].members.len(), plan.users);
            for (n, group) in groups.iter().enumerate() {
                let all = || group.members.iter().chain(&group.leaver).chain(&group.joiner);
                let different: std::collections::BTreeSet<_> = all().collect();
                assert_eq!(different.len(), all().count(), "{group:?}");
                assert_eq!(group.members[0], group.owner);
                assert!(group.members.contains(&group.admin) && group.admin != group.owner);
                let most = group.members.len() + 1;
                assert!(n == 0 || most <= plan.fanout(), "{plan:?} {group:?}");
            }
            assert!(groups[0].members.len() > plan.fanout());
        }
    }

    #[test]
    fn scripts_change_and_take_back_what_stands() {
        let (mut says, mut edits, mut recalls) = (0, 0, 0);
        for user in 0..TEAM.users {
            for device in 0..TEAM.devices_of(user) {
                let script = TEAM.script(user, device);
                assert_eq!(script.len() as u64, TEAM.steps());
                let mut gone = Vec::new();
                for (at, step) in script.iter().enumerate() {
                    let (Step::Edit(place, of) | Step::Recall(place, of)) = *step else {
                        says += 1;
                        continue;
                    };
                    assert!((of as usize) < at && script[of as usize] == Step::Say(place));
                    assert!(!gone.contains(&of));
                    match step {
                        Step::Recall(..) => {
                            gone.push(of);
                            recalls += 1;
                        }
                        _ => edits += 1,
                    }
                }
            }
        }
        assert!(says > edits && edits > recalls && recalls > 20, "{says} {edits} {recalls}");
    }
}
