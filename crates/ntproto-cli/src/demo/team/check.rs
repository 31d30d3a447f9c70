//! What all devices hold, compared with what was acknowledged: one count of what was checked and one of what was
//! wrong for each thing that is promised.

use std::collections::{BTreeMap, BTreeSet};

use ntproto_core::ids::{ConversationId, GroupId, Uin};
use serde::Serialize;

use super::plan::{Group, Plan, Presence};
use super::state::{Act, Device, Kept, Sent, Talk};
use crate::output::hex;

/// Members up to which watermarks go into the inboxes of the others.
const RECEIPT_FANOUT: usize = 32;
/// As the schema numbers them.
const ROLE_MEMBER: i32 = 0;
const ROLE_ADMIN: i32 = 1;
const ROLE_OWNER: i32 = 2;

/// Something that is promised.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Promise {
    /// What.
    pub(crate) name: &'static str,
    /// How often it was looked at.
    pub(crate) checked: u64,
    /// How often it was not so.
    pub(crate) broken: u64,
    /// What was counted.
    pub(crate) what: &'static str,
    /// Whether it can still come right when everybody has heard everything.
    #[serde(skip)]
    pub(crate) settles: bool,
    /// The first that was not so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first: Option<String>,
}

impl Promise {
    fn new(name: &'static str, what: &'static str) -> Self {
        Self { name, what, settles: true, ..Self::default() }
    }

    /// What happened once has happened.
    fn at_once(name: &'static str, what: &'static str) -> Self {
        Self { settles: false, ..Self::new(name, what) }
    }

    /// Counts one look at it.
    fn look(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        self.checked += 1;
        if !holds {
            self.broken += 1;
            self.first.get_or_insert_with(otherwise);
        }
    }
}

/// What is known of everybody.
pub(crate) struct World<'a> {
    pub(crate) plan: &'a Plan,
    /// By user.
    pub(crate) uins: &'a [u64],
    /// By their number in the plan.
    pub(crate) groups: &'a [u64],
    pub(crate) devices: &'a [Device],
    /// What was tried that is not allowed, and refused.
    pub(crate) tried: (u64, u64),
    /// Records of the store that were read, and faults found; or why it was not verified.
    pub(crate) store: &'a Result<(u64, u64), String>,
}

/// A message as it must stand.
struct Truth {
    sender: u64,
    id: String,
    started_us: u64,
    acked_us: u64,
    fingerprint: u64,
    edited: bool,
    recalled: bool,
}

/// Entries of one conversation by number; edits and recalls have one too.
#[derive(Default)]
struct Log {
    messages: BTreeMap<u64, Truth>,
    head: u64,
    last_by: BTreeMap<u64, u64>,
}

impl World<'_> {
    /// Looks at everything.
    pub(crate) fn check(&self) -> Vec<Promise> {
        let logs = self.logs();
        let mut promises = self.messages(&logs);
        promises.extend(self.receipts(&logs));
        promises.push(self.unread(&logs));
        promises.extend(self.people());
        promises.extend(self.presence());
        promises.extend(self.privacy(&logs));
        let mut refused = Promise::at_once("forbidden", "things tried by who may not, and refused");
        (refused.checked, refused.broken) = (self.tried.0, self.tried.0 - self.tried.1);
        promises.push(refused);
        let mut store = Promise::new("store", "records of the server's store read and compared");
        match self.store {
            Ok((records, faults)) => (store.checked, store.broken) = (*records, *faults),
            Err(why) => store.look(false, || why.clone()),
        }
        promises.push(store);
        promises
    }

    /// What was acknowledged, as it must stand in the end.
    fn logs(&self) -> BTreeMap<String, Log> {
        let mut logs: BTreeMap<String, Log> = BTreeMap::new();
        for device in self.devices {
            let sender = self.uins[device.user];
            let by_step: BTreeMap<u64, u64> =
                device.sent.iter().filter_map(|s| Some((s.step, s.acked?.0))).collect();
            let mut changes: Vec<(u64, u64, Act)> = Vec::new();
            for Sent { step, conversation, act, started_us, acked } in &device.sent {
                let Some((seq, acked_us)) = *acked else { continue };
                let log = logs.entry(conversation.clone()).or_default();
                log.head = log.head.max(seq);
                let last = log.last_by.entry(sender).or_default();
                *last = (*last).max(seq);
                match *act {
                    Act::Say(fingerprint) => {
                        let id = hex(&Plan::id(device.user, device.index, *step).0);
                        let (started_us, edited, recalled) = (*started_us, false, false);
                        let truth = Truth { sender, id, started_us, acked_us, fingerprint, edited, recalled };
                        log.messages.insert(seq, truth);
                    }
                    Act::Edit(of, _) | Act::Recall(of) => {
                        if let Some(target) = by_step.get(&of) {
                            changes.push((seq, *target, *act));
                        }
                    }
                }
            }
            // In the order of the log, which is the same for everybody.
            changes.sort_unstable_by_key(|(seq, ..)| *seq);
            let of = |target: u64| device.sent.iter().find(|s| s.acked.is_some_and(|(seq, _)| seq == target));
            for (_, target, act) in changes {
                let (Act::Edit(step, _) | Act::Recall(step)) = act else { continue };
                let Some(sent) = device.sent.iter().find(|s| s.step == step).or_else(|| of(target)) else {
                    continue;
                };
                let message = logs.get_mut(&sent.conversation).and_then(|log| log.messages.get_mut(&target));
                match (message, act) {
                    (Some(message), Act::Edit(_, fingerprint)) if !message.recalled => {
                        (message.fingerprint, message.edited) = (fingerprint, true);
                    }
                    (Some(message), Act::Recall(_)) => (message.fingerprint, message.recalled) = (0, true),
                    _ => {}
                }
            }
        }
        logs
    }

    /// The users of a conversation from its beginning to its end, and the group it is of.
    fn members(&self, conversation: &str) -> (Vec<usize>, Option<(u64, Group)>) {
        let id = |id: ConversationId| hex(&id.0) == conversation;
        let group = self.groups.iter().position(|group| id(ConversationId::of_group(GroupId(*group))));
        if let Some(n) = group {
            let group = self.plan.groups().swap_remove(n);
            return (group.members.clone(), Some((self.groups[n], group)));
        }
        let bytes =
            (0..16).map(|at| u8::from_str_radix(conversation.get(2 * at..2 * at + 2).unwrap_or(""), 16));
        let bytes: Option<Vec<u8>> = bytes.map(Result::ok).collect();
        let members = bytes.and_then(|b| ConversationId::from_slice(&b)).and_then(ConversationId::members);
        let user = |uin: Uin| self.uins.iter().position(|u| *u == uin.0);
        let users = members.into_iter().flat_map(|(a, b)| [user(a), user(b)]).flatten();
        (users.collect(), None)
    }

    fn of_user(&self, user: usize) -> impl Iterator<Item = &Device> {
        self.devices.iter().filter(move |device| device.user == user)
    }

    fn messages(&self, logs: &BTreeMap<String, Log>) -> Vec<Promise> {
        let mut acked = Promise::new("acknowledged", "entries handed over, and durable at the server");
        let mut lost =
            Promise::new("delivered", "acknowledged messages on each device that should have them");
        let mut doubled = Promise::at_once("once", "entries told to devices, and told once");
        let mut order =
            Promise::at_once("in order", "entries told to devices, by their conversation's order");
        let mut alike =
            Promise::new("edits, recalls", "messages on devices, as their last edit or recall leaves them");
        for device in self.devices {
            let name = format!("device {} of user {}", device.index, device.user);
            for sent in &device.sent {
                acked.look(sent.acked.is_some(), || format!("{name}: step {} has no answer", sent.step));
            }
            for failed in &device.failed {
                acked.look(false, || format!("{name}: {failed}"));
            }
            doubled.checked += device.talks.values().map(|talk| talk.told.len() as u64).sum::<u64>();
            doubled.broken += device.doubled;
            for (conversation, talk) in &device.talks {
                let mut head = 0;
                for (seq, _) in &talk.told {
                    order.look(*seq > head, || format!("{name}: {seq} after {head} in {conversation}"));
                    head = head.max(*seq);
                }
                let ids: BTreeSet<&str> = talk.messages.iter().map(|kept| kept.id.as_str()).collect();
                doubled.look(ids.len() == talk.messages.len(), || {
                    format!("{name}: a key twice in {conversation}")
                });
            }
        }
        for (conversation, log) in logs {
            let (members, group) = self.members(conversation);
            let joiner = group.as_ref().and_then(|(id, group)| Some((*id, group.joiner?)));
            for user in members.iter().copied().chain(joiner.map(|(_, joiner)| joiner)) {
                for device in self.of_user(user) {
                    let from = match joiner {
                        Some((id, joiner)) if joiner == user => self.joined(device, id).unwrap_or(u64::MAX),
                        _ => 0,
                    };
                    let empty = Talk::default();
                    let talk = device.talks.get(conversation).unwrap_or(&empty);
                    let kept: BTreeMap<u64, &Kept> =
                        talk.messages.iter().map(|kept| (kept.seq, kept)).collect();
                    for (seq, truth) in log.messages.range(from..) {
                        let name =
                            || format!("device {} of user {user}: {seq} in {conversation}", device.index);
                        let found = kept.get(seq).filter(|k| k.id == truth.id && k.sender == truth.sender);
                        lost.look(found.is_some(), name);
                        let Some(found) = found else { continue };
                        let same = (found.fingerprint, found.recalled, found.edited || found.recalled)
                            == (truth.fingerprint, truth.recalled, truth.edited || truth.recalled);
                        alike.look(same, name);
                    }
                }
            }
        }
        vec![acked, lost, doubled, order, alike]
    }

    /// From where on a device's user sees messages of a group.
    fn joined(&self, device: &Device, group: u64) -> Option<u64> {
        let uin = self.uins[device.user];
        device.groups.get(&group)?.members.get(&uin).map(|(_, joined)| *joined)
    }

    fn receipts(&self, logs: &BTreeMap<String, Log>) -> [Promise; 2] {
        let mut rise = Promise::at_once("receipts rise", "receipts that came, none behind an earlier one");
        let mut end =
            Promise::new("receipts end", "watermarks on devices, as the reader's own devices have them");
        for device in self.devices {
            rise.checked += device.receipts;
            rise.broken += device.fallen.len() as u64;
            if let Some(first) = device.fallen.first() {
                rise.first.get_or_insert_with(|| {
                    format!("device {} of user {}: {first}", device.index, device.user)
                });
            }
        }
        for (conversation, log) in logs {
            let (members, group) = self.members(conversation);
            let gone = group.as_ref().and_then(|(_, group)| group.leaver);
            for reader in members.iter().copied() {
                let uin = self.uins[reader];
                // All of what others wrote is delivered in the end.
                let theirs = log.last_by.iter().filter(|(who, _)| **who != uin).map(|(_, seq)| *seq).max();
                let read = |device: &Device| {
                    device
                        .talks
                        .get(conversation)
                        .and_then(|talk| talk.marks.get(&uin))
                        .map_or(0, |mark| mark.1)
                };
                let own = self.of_user(reader).map(read).max().unwrap_or(0);
                for device in self.of_user(reader) {
                    end.look(read(device) == own, || {
                        format!(
                            "user {reader} has read {own} of {conversation}, device {} says {}",
                            device.index,
                            read(device)
                        )
                    });
                }
                for other in members.iter().copied().filter(|other| *other != reader) {
                    for device in self.of_user(other) {
                        let local = device.talks.get(conversation).and_then(|talk| talk.marks.get(&uin));
                        let asked = group.as_ref().and_then(|(id, _)| device.groups.get(id)?.marks.get(&uin));
                        let large = members.len() + usize::from(gone.is_some()) > RECEIPT_FANOUT;
                        let Some(mark) = (if large { asked } else { local }).copied() else {
                            let silent = large || (theirs.is_none() && own == 0);
                            end.look(silent, || {
                                format!("user {other} knows nothing of user {reader} in {conversation}")
                            });
                            continue;
                        };
                        let right = mark.1 == own && mark.0 >= theirs.unwrap_or(0);
                        end.look(right, || {
                            format!("user {other}: user {reader} has {mark:?} of {conversation}, truly {theirs:?}, {own}")
                        });
                    }
                }
            }
        }
        [rise, end]
    }

    fn unread(&self, logs: &BTreeMap<String, Log>) -> Promise {
        let mut promise =
            Promise::new("unread", "unread counts, alike on all devices and as the messages are");
        for (conversation, log) in logs {
            for user in self.members(conversation).0 {
                let uin = self.uins[user];
                for device in self.of_user(user) {
                    let Some(talk) = device.talks.get(conversation) else { continue };
                    let read = talk.marks.get(&uin).map_or(0, |mark| mark.1);
                    let theirs =
                        log.messages.range(read + 1..).filter(|(_, m)| m.sender != uin && !m.recalled);
                    let truly = theirs.count() as u64;
                    promise.look(talk.unread == truly, || {
                        format!(
                            "device {} of user {user}: {} of {truly} in {conversation}",
                            device.index, talk.unread
                        )
                    });
                }
            }
        }
        promise
    }

    fn people(&self) -> [Promise; 2] {
        let mut friends = Promise::new("friends", "pairs of users, friends on both sides or on none");
        let known = |user: usize| -> BTreeSet<u64> {
            self.of_user(user).flat_map(|device| device.friends.iter().copied()).collect()
        };
        let lists: Vec<BTreeSet<u64>> = (0..self.plan.users).map(known).collect();
        for a in 0..self.plan.users {
            let planned = self.plan.friends_of(a);
            for b in a + 1..self.plan.users {
                let sides = (lists[a].contains(&self.uins[b]), lists[b].contains(&self.uins[a]));
                let wanted = planned.contains(&b);
                friends.look(sides == (wanted, wanted), || {
                    format!("users {a} and {b}: {sides:?}, not {wanted}")
                });
            }
        }
        for device in self.devices {
            let all: BTreeSet<u64> = device.friends.iter().copied().collect();
            friends.look(all == lists[device.user], || {
                format!("device {} of user {} knows other friends than the others", device.index, device.user)
            });
        }
        let mut members =
            Promise::new("group members", "lists of members and roles on devices, equal everywhere");
        for (n, group) in self.plan.groups().iter().enumerate() {
            let role = |user: usize| match user {
                user if user == group.owner => ROLE_OWNER,
                user if user == group.admin => ROLE_ADMIN,
                _ => ROLE_MEMBER,
            };
            let present = group.members.iter().chain(&group.joiner);
            let truth: BTreeMap<u64, i32> = present.map(|user| (self.uins[*user], role(*user))).collect();
            for device in group.members.iter().chain(&group.joiner).flat_map(|user| self.of_user(*user)) {
                let seen = device.groups.get(&self.groups[n]);
                let seen: Option<BTreeMap<u64, i32>> =
                    seen.map(|s| s.members.iter().map(|(uin, (role, _))| (*uin, *role)).collect());
                members.look(seen.as_ref() == Some(&truth), || {
                    format!("device {} of user {} sees group {n} otherwise", device.index, device.user)
                });
            }
            for device in group.leaver.into_iter().flat_map(|user| self.of_user(user)) {
                members.look(!device.groups.contains_key(&self.groups[n]), || {
                    format!("user {} left group {n} and is shown it", device.user)
                });
            }
        }
        [friends, members]
    }

    fn presence(&self) -> [Promise; 2] {
        let mut one = Promise::at_once(
            "one online",
            "records of presence that came, at most one device online in each",
        );
        let mut seen = Promise::new("presence", "friends on devices, shown as they are in the end");
        for device in self.devices {
            one.checked += device.records.0;
            one.broken += device.records.1;
            for friend in self.plan.friends_of(device.user) {
                let wanted = match Plan::presence(friend) {
                    Presence::Offline => 0,
                    Presence::Online => 1,
                    Presence::Away => 2,
                };
                let shown = device.presence.get(&self.uins[friend]).copied();
                // Who never said anything was never told of.
                seen.look(shown.unwrap_or(0) == wanted, || {
                    format!(
                        "device {} of user {} sees user {friend} as {shown:?}, not {wanted}",
                        device.index, device.user
                    )
                });
            }
        }
        [one, seen]
    }

    /// Nobody holds what they were no member for.
    fn privacy(&self, logs: &BTreeMap<String, Log>) -> [Promise; 2] {
        let mut alien =
            Promise::at_once("members only", "messages on devices, none where the user was no member");
        let mut typing =
            Promise::at_once("typing", "times somebody was seen writing, in one's own conversations");
        for device in self.devices {
            typing.checked += device.typing.0;
            typing.broken += device.typing.1;
            for (conversation, talk) in &device.talks {
                let (members, group) = self.members(conversation);
                let log = logs.get(conversation);
                for kept in &talk.messages {
                    let holds = members.contains(&device.user)
                        || group
                            .as_ref()
                            .is_some_and(|(id, group)| self.was_in(device, *id, group, log, kept));
                    alien.look(holds, || {
                        format!(
                            "device {} of user {} has {} of {conversation}",
                            device.index, device.user, kept.seq
                        )
                    });
                }
            }
        }
        [alien, typing]
    }

    /// Whether somebody who was in a group for a part of the time may have a message of it.
    fn was_in(&self, device: &Device, id: u64, group: &Group, log: Option<&Log>, kept: &Kept) -> bool {
        let Some(truth) = log.and_then(|log| log.messages.get(&kept.seq)) else { return false };
        if group.joiner == Some(device.user) {
            let asked = self.devices.iter().flat_map(|d| &d.brought);
            let asked = asked.filter(|(n, _)| self.groups[**n] == id).map(|(_, (asked, _))| *asked).min();
            let from = self.joined(device, id).unwrap_or(u64::MAX);
            // Neither by number nor by the clock from before.
            return kept.seq >= from && asked.is_some_and(|asked| truth.acked_us >= asked);
        }
        if group.leaver == Some(device.user) {
            let left = self.of_user(device.user).flat_map(|d| &d.left);
            let left = left.filter(|(n, _)| self.groups[**n] == id).map(|(_, (_, left))| *left).min();
            return left.is_none_or(|left| truth.started_us <= left);
        }
        false
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
