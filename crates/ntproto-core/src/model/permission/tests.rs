use super::*;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write as _;
use proptest::prelude::*;

const NOW: UnixMillis = UnixMillis(1_000_000);
const LATER: UnixMillis = UnixMillis(2_000_000);

const ACTIONS: [Action; 19] = [
    Action::Read,
    Action::Send,
    Action::MentionAll,
    Action::EditOwn,
    Action::RecallOwn,
    Action::RecallOther,
    Action::Join,
    Action::Leave,
    Action::Invite,
    Action::Remove,
    Action::Mute(LATER),
    Action::Mute(UnixMillis(0)),
    Action::SetRole(Role::Member),
    Action::SetRole(Role::Admin),
    Action::SetRole(Role::Owner),
    Action::EditCard,
    Action::EditProfile,
    Action::EditPolicy,
    Action::Dissolve,
];

const fn muted(role: Role) -> Standing {
    Standing { role, muted_until: LATER }
}

/// Who may act, and on whom.
const PEOPLE: [(&str, Option<Standing>); 6] = [
    ("stranger", None),
    ("member", Some(Standing::new(Role::Member))),
    ("muted m.", Some(muted(Role::Member))),
    ("admin", Some(Standing::new(Role::Admin))),
    ("muted a.", Some(muted(Role::Admin))),
    ("owner", Some(Standing::new(Role::Owner))),
];

/// An answer in a cell of the table.
fn cell(answer: Result<(), Denied>) -> String {
    match answer {
        Ok(()) => "yes".to_string(),
        Err(Denied::Muted(_)) => "Muted".to_string(),
        Err(why) => format!("{why:?}"),
    }
}

/// Role × action × target's role, whole, under the policy of a new group; and what three others change of it.
#[test]
fn the_table() {
    let base = Policy::default();
    let policies = [
        ("as a group begins", base),
        ("everybody muted, open to all: what differs", Policy { all_muted: true, open: true, ..base }),
        ("members may nothing: what differs", Policy { members: Permissions::NONE, ..base }),
        ("members were given all there is: what differs", Policy { members: Permissions::ALL, ..base }),
    ];
    let mut table = String::new();
    let mut usual = BTreeSet::new();
    for (title, policy) in policies {
        write!(table, "{title}\n{:<28}", "").unwrap();
        PEOPLE.iter().for_each(|(who, _)| write!(table, "{who:<12}").unwrap());
        table = table.trim_end().to_string() + "\n";
        for action in ACTIONS {
            let targets: Vec<_> = if action.is_to_somebody() {
                PEOPLE.iter().filter(|(who, _)| !who.starts_with("muted")).collect()
            } else {
                PEOPLE.iter().take(1).collect()
            };
            for (to, target) in targets {
                let mut row = match action {
                    Action::Mute(LATER) => "Mute".to_string(),
                    Action::Mute(_) => "Unmute".to_string(),
                    _ => format!("{action:?}"),
                };
                if action.is_to_somebody() {
                    row += &format!(" ← {to}");
                }
                row = format!("{row:<28}");
                for (_, actor) in &PEOPLE {
                    let answer = allowed(&policy, actor.as_ref(), action, target.as_ref(), NOW);
                    row += &format!("{:<12}", cell(answer));
                }
                let first = policy == base && usual.insert(row.clone());
                if first || !usual.contains(&row) {
                    writeln!(table, "{}", row.trim_end()).unwrap();
                }
            }
        }
        table.push('\n');
    }
    insta::assert_snapshot!("table", table);
}

#[test]
fn a_mute_ends_by_itself() {
    let (policy, member) = (Policy::default(), muted(Role::Member));
    let may = |now| allowed(&policy, Some(&member), Action::Send, None, now);
    assert_eq!(may(UnixMillis(LATER.0 - 1)), Err(Denied::Muted(Some(LATER))));
    assert_eq!(may(LATER), Ok(()));
}

#[test]
fn a_mute_is_at_most_thirty_days() {
    let (policy, [member, admin, _]) = (Policy::default(), Role::ALL.map(Standing::new));
    let may = |until| allowed(&policy, Some(&admin), Action::Mute(until), Some(&member), NOW);
    assert_eq!(may(NOW + MAX_MUTE), Ok(()));
    assert_eq!(may(UnixMillis((NOW + MAX_MUTE).0 + 1)), Err(Denied::MuteTooLong));
    assert_eq!(may(UnixMillis(u64::MAX)), Err(Denied::MuteTooLong));
}

#[test]
fn names_and_numbers() {
    let bits: u32 = Permissions::NAMES.iter().map(|(p, _)| p.to_wire()).sum();
    assert_eq!(bits, Permissions::ALL.to_wire());
    for role in Role::ALL {
        assert_eq!(Role::from_wire(role as u32), Some(role));
    }
    assert_eq!(Role::from_wire(3), None);
    use Denied as D;
    let all = [
        D::NotMember,
        D::Member,
        D::NotInvited,
        D::Permission,
        D::Rank,
        D::NoTarget,
        D::Muted(None),
        D::Muted(Some(NOW)),
        D::MuteTooLong,
        D::LastOwner,
    ];
    let texts: BTreeSet<String> = all.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), all.len());
}

fn policy() -> impl Strategy<Value = Policy> {
    (any::<u32>(), any::<bool>(), any::<bool>()).prop_map(|(bits, all_muted, open)| Policy {
        members: Permissions(bits),
        all_muted,
        open,
    })
}

fn standing() -> impl Strategy<Value = Standing> {
    let until = prop_oneof![Just(0), Just(u64::MAX), NOW.0 - 2..NOW.0 + 2];
    (prop::sample::select(&Role::ALL[..]), until)
        .prop_map(|(role, until)| Standing { role, muted_until: UnixMillis(until) })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![prop::sample::select(&ACTIONS[..]), any::<u64>().prop_map(|at| Action::Mute(UnixMillis(at)))]
}

proptest! {
    #[test]
    fn nobody_acts_on_equals_or_betters(policy in policy(), a in standing(), t in standing(), action in action()) {
        if action.is_to_somebody() && t.role >= a.role {
            prop_assert!(allowed(&policy, Some(&a), action, Some(&t), NOW).is_err());
        }
    }

    /// Whatever the policy's bits, the target, the clock: nothing that is done to others, nor to the group's order.
    #[test]
    fn a_plain_member_never_gains(policy in policy(), until in any::<u64>(), t in prop::option::of(standing()), action in action(), now in any::<u64>()) {
        let member = Standing { role: Role::Member, muted_until: UnixMillis(until) };
        let answer = allowed(&policy, Some(&member), action, t.as_ref(), UnixMillis(now));
        if action.is_to_somebody() || matches!(action, Action::EditPolicy | Action::Dissolve) {
            prop_assert_eq!(answer, Err(Denied::Permission));
        }
    }

    /// A higher rank never loses what a lower one may, but for leaving and what is between equals.
    #[test]
    fn rank_only_adds(policy in policy(), a in standing(), action in action()) {
        let higher = Standing { role: Role::Owner, ..a };
        if action != Action::Leave && allowed(&policy, Some(&a), action, None, NOW).is_ok() {
            prop_assert_eq!(allowed(&policy, Some(&higher), action, None, NOW), Ok(()));
        }
    }

    /// Who is no member may come in where it is open, and nothing else.
    #[test]
    fn strangers_only_join(policy in policy(), t in prop::option::of(standing()), action in action()) {
        let answer = allowed(&policy, None, action, t.as_ref(), NOW);
        prop_assert_eq!(answer.is_ok(), action == Action::Join && policy.open);
    }
}
