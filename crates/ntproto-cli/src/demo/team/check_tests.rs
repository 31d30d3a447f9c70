#![allow(clippy::unwrap_used)]

use super::super::state::GroupSeen;
use super::*;
use crate::demo::plan::fingerprint;

const PLAN: Plan = Plan { users: 8, devices: 10, entries: 60 };

fn uins() -> Vec<u64> {
    (0..8).map(|user| 10_001 + user).collect()
}

fn groups() -> Vec<u64> {
    (1..=PLAN.groups().len() as u64).collect()
}

/// A team in which all went well: each device said one thing to one friend and one to the first small group, changed
/// the first and took the second back where its number is even.
fn clean() -> Vec<Device> {
    let (uins, ids) = (uins(), groups());
    let mut devices: Vec<Device> = (0..PLAN.users)
        .flat_map(|user| {
            (0..PLAN.devices_of(user)).map(move |index| Device { user, index, ..Device::default() })
        })
        .collect();
    // (conversation, users who see it, entries): what everybody gets.
    let mut heads: BTreeMap<String, u64> = BTreeMap::new();
    type Told = (String, Vec<usize>, u64, u64, Option<Kept>);
    let mut told: Vec<Told> = Vec::new();
    for device in &mut devices {
        let (user, index) = (device.user, device.index);
        let friend = PLAN.friends_of(user)[0];
        let direct = ConversationId::direct(Uin(uins[user]), Uin(uins[friend]));
        let group = PLAN.groups().swap_remove(1);
        let mut places = vec![(hex(&direct.0), vec![user, friend])];
        if group.members.contains(&user) {
            places.push((hex(&ConversationId::of_group(GroupId(ids[1])).0), group.members));
        }
        for (step, (conversation, users)) in (0u64..).zip(places) {
            let body = fingerprint(&Plan::body(user, index, step));
            let mut next = || {
                let head = heads.entry(conversation.clone()).or_default();
                *head += 1;
                *head
            };
            let seq = next();
            let mut kept = Kept {
                seq,
                sender: uins[user],
                id: hex(&Plan::id(user, index, step).0),
                fingerprint: body,
                edited: false,
                recalled: false,
            };
            let mut sent = |step, act, seq| {
                let conversation = conversation.clone();
                device.sent.push(Sent {
                    step,
                    conversation,
                    act,
                    started_us: 10 * seq,
                    acked: Some((seq, 10 * seq + 5)),
                });
            };
            sent(step, Act::Say(body), seq);
            if user % 2 == 0 {
                let seq = next();
                let (act, change) = match step {
                    0 => (Act::Edit(step, 77), (77, true, false)),
                    _ => (Act::Recall(step), (0, false, true)),
                };
                (kept.fingerprint, kept.edited, kept.recalled) = change;
                sent(step + 10, act, seq);
                told.push((conversation.clone(), users.clone(), uins[user], seq, None));
            }
            told.push((conversation, users, uins[user], seq, Some(kept)));
        }
    }
    told.sort_by_key(|(_, _, _, seq, _)| *seq);
    for device in &mut devices {
        for (conversation, users, sender, seq, kept) in &told {
            if !users.contains(&device.user) {
                continue;
            }
            let talk = device.talks.entry(conversation.clone()).or_default();
            talk.told.push((*seq, *sender));
            talk.messages.extend(kept.clone());
            let head = heads[conversation];
            talk.marks = users.iter().map(|user| (uins[*user], (head, head))).collect();
        }
        device.friends = PLAN.friends_of(device.user).iter().map(|friend| uins[*friend]).collect();
        for (n, group) in PLAN.groups().iter().enumerate() {
            let all = || group.members.iter().chain(&group.joiner);
            if all().any(|user| *user == device.user) {
                let role = |user| if user == group.owner { 2 } else { i32::from(user == group.admin) };
                let members = all().map(|user| (uins[*user], (role(*user), 1))).collect();
                device.groups.insert(ids[n], GroupSeen { members, ..GroupSeen::default() });
            }
        }
        for friend in PLAN.friends_of(device.user) {
            let status = [1, 2, 0][friend % 3];
            device.presence.insert(uins[friend], status);
        }
        (device.receipts, device.records, device.typing) = (5, (3, 0), (2, 0));
    }
    // The late one of the first small group saw none of it.
    for device in &mut devices {
        let group = PLAN.groups().swap_remove(1);
        if Some(device.user) == group.joiner
            && let Some(member) =
                device.groups.get_mut(&ids[1]).and_then(|g| g.members.get_mut(&uins[device.user]))
        {
            member.1 = 1_000;
        }
    }
    devices
}

fn check(devices: &[Device]) -> Vec<Promise> {
    let (uins, groups) = (uins(), groups());
    let world =
        World { plan: &PLAN, uins: &uins, groups: &groups, devices, tried: (4, 4), store: &Ok((100, 0)) };
    world.check()
}

#[test]
fn a_clean_run_holds_and_everything_was_looked_at() {
    for promise in check(&clean()) {
        assert_eq!(promise.broken, 0, "{promise:?}");
        assert!(promise.checked > 0, "{promise:?}");
    }
}

#[test]
fn each_broken_promise_is_found_and_no_other() {
    type Break = fn(&mut Vec<Device>);
    fn talk(devices: &mut [Device]) -> &mut Talk {
        devices[1].talks.values_mut().next().unwrap()
    }
    let cases: &[(&[&str], Break)] = &[
        (&["acknowledged", "delivered", "edits, recalls", "members only", "receipts end", "unread"], |d| {
            d[0].failed.push("refused".into());
        }),
        (&["delivered"], |d| drop(talk(d).messages.remove(0))),
        (&["once"], |d| d[3].doubled = 1),
        (&["once"], |d| {
            let again = Kept { seq: 90, ..talk(d).messages[0].clone() };
            talk(d).messages.push(again);
        }),
        (&["in order"], |d| talk(d).told.swap(0, 1)),
        (&["edits, recalls"], |d| talk(d).messages[0].fingerprint ^= 1),
        (&["edits, recalls"], |d| {
            let recalled = d.iter_mut().flat_map(|d| d.talks.values_mut()).flat_map(|t| &mut t.messages);
            recalled.into_iter().find(|m| m.recalled).unwrap().recalled = false;
        }),
        (&["receipts rise"], |d| d[2].fallen.push("something".into())),
        (&["receipts end"], |d| {
            let uin = 10_001 + d[0].user as u64;
            let other = d[1..].iter_mut().flat_map(|d| {
                let own = 10_001 + d.user as u64;
                d.talks.values_mut().map(move |t| (own, t))
            });
            let (_, talk) =
                other.into_iter().find(|(own, t)| *own != uin && t.marks.contains_key(&uin)).unwrap();
            talk.marks.insert(uin, (0, 0));
        }),
        (&["unread"], |d| talk(d).unread += 1),
        (&["friends"], |d| {
            let lonely = d[9].user;
            d.iter_mut().filter(|d| d.user == lonely).for_each(|d| d.friends.truncate(1));
        }),
        (&["group members"], |d| {
            d[4].groups.values_mut().next().unwrap().members.pop_last();
        }),
        (&["one online"], |d| d[5].records.1 = 1),
        (&["presence"], |d| {
            *d[6].presence.values_mut().next().unwrap() = 9;
        }),
        (&["typing"], |d| d[7].typing.1 = 1),
        (&["members only"], |d| {
            let (conversation, talk) =
                d[0].talks.last_key_value().map(|(c, t)| (c.clone(), t.clone())).unwrap();
            let stranger = d.iter_mut().find(|d| !d.talks.contains_key(&conversation)).unwrap();
            stranger.talks.insert(conversation, Talk { messages: talk.messages, ..Talk::default() });
        }),
    ];
    for (at, (names, break_it)) in cases.iter().enumerate() {
        let mut devices = clean();
        break_it(&mut devices);
        let found: Vec<Promise> = check(&devices).into_iter().filter(|p| p.broken > 0).collect();
        assert!(!found.is_empty() && found.iter().all(|p| names.contains(&p.name)), "case {at}: {found:?}");
        assert!(found[0].first.is_some() || found[0].checked > 0, "{found:?}");
    }
}

#[test]
fn who_left_or_came_later_has_only_their_part() {
    let group = PLAN.groups().swap_remove(1);
    let conversation = hex(&ConversationId::of_group(GroupId(groups()[1])).0);
    let broken = |change: &dyn Fn(&mut Vec<Device>)| {
        let mut devices = clean();
        change(&mut devices);
        check(&devices).into_iter().find(|p| p.name == "members only").unwrap().broken
    };
    let first = |devices: &[Device]| {
        let holder = devices.iter().find(|d| d.user == group.owner).unwrap();
        holder.talks[&conversation].messages[0].clone()
    };
    let give = |devices: &mut Vec<Device>, user: usize| {
        let kept = first(devices);
        let device = devices.iter_mut().find(|d| d.user == user).unwrap();
        device.talks.entry(conversation.clone()).or_default().messages.push(kept);
    };
    let leaver = group.leaver.unwrap();
    // It was said at 10: before somebody left at 20, and after somebody left at 5.
    for (left, expect) in [(20, 0), (5, 1)] {
        let broken = broken(&|devices| {
            give(devices, leaver);
            let device = devices.iter_mut().find(|d| d.user == leaver).unwrap();
            device.left.insert(1, (left - 1, left));
        });
        assert_eq!(broken, expect, "left at {left}");
    }
    // With eight users there is nobody left to come later.
    let late = group.joiner.unwrap_or(leaver);
    assert_eq!(broken(&|devices| give(devices, late)), u64::from(group.joiner.is_some()));
}
