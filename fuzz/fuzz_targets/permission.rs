//! Who may do what, held against a table that was written by itself and is slow: they agree on every question.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ntproto_core::model::permission::{Action, Denied, Permissions, Policy, Role, Standing, allowed};
use ntproto_core::time::UnixMillis;

#[derive(Arbitrary, Debug)]
struct Question {
    members: u32,
    all_muted: bool,
    open: bool,
    actor: Option<(u8, u64)>,
    target: Option<(u8, u64)>,
    action: u8,
    until: u64,
    role: u8,
    now: u64,
}

/// The table: what is done, the least role that always may, whether a policy can let plain members, whether the others would
/// read it, whether it is done to somebody.
const TABLE: [(&str, &str, Option<u32>, bool, bool); 16] = [
    ("read", "member", None, false, false),
    ("send", "admin", Some(0x001), true, false),
    ("mention all", "admin", Some(0x001 | 0x004), true, false),
    ("edit own", "admin", Some(0x001), true, false),
    ("recall own", "member", None, false, false),
    ("recall other", "admin", None, false, true),
    ("join", "stranger", None, false, false),
    ("leave", "member", None, false, false),
    ("invite", "admin", Some(0x002), false, false),
    ("remove", "admin", None, false, true),
    ("mute", "admin", None, false, true),
    ("set role", "owner", None, false, true),
    ("edit card", "member", None, true, false),
    ("edit profile", "admin", Some(0x008), true, false),
    ("edit policy", "admin", None, false, false),
    ("dissolve", "owner", None, false, false),
];

fn rank(name: &str) -> u8 {
    match name {
        "stranger" => 0,
        "member" => 1,
        "admin" => 2,
        _ => 3,
    }
}

/// What the table says, one rule after the other. Ranks: 0 is no member.
fn table(q: &Question, action: usize, actor: u8, target: u8, role: u8) -> bool {
    let (what, least, grant, is_read, is_done_to) = TABLE[action];
    if what == "join" {
        return actor == 0 && q.open;
    }
    let mut yes = actor >= rank(least);
    if actor == 1 && grant.is_some_and(|bits| (0..32).all(|n| bits >> n & 1 <= q.members >> n & 1)) {
        yes = true;
    }
    if is_read && q.actor.is_some_and(|(_, until)| until > q.now) {
        yes = false;
    }
    if is_read && q.all_muted && actor == 1 {
        yes = false;
    }
    if is_done_to && target >= actor {
        yes = false;
    }
    if is_done_to && target == 0 && what != "recall other" {
        yes = false;
    }
    if what == "leave" && actor == 3 {
        yes = false;
    }
    if what == "set role" && role > actor {
        yes = false;
    }
    let month = 30 * 24 * 60 * 60 * 1000;
    if what == "mute" && q.until > q.now && q.until - q.now > month {
        yes = false;
    }
    yes
}

fuzz_target!(|q: Question| {
    let standing = |(role, until): (u8, u64)| Standing {
        role: Role::ALL[usize::from(role % 3)],
        muted_until: UnixMillis(until),
    };
    let rank_of = |who: Option<(u8, u64)>| who.map_or(0, |(role, _)| role % 3 + 1);
    let role = Role::ALL[usize::from(q.role % 3)];
    let until = UnixMillis(q.until);
    let actions = [
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
        Action::Mute(until),
        Action::SetRole(role),
        Action::EditCard,
        Action::EditProfile,
        Action::EditPolicy,
        Action::Dissolve,
    ];
    let n = usize::from(q.action) % actions.len();
    let members = Permissions::from_wire(q.members);
    let policy = Policy { members, all_muted: q.all_muted, open: q.open };
    let (actor, target) = (q.actor.map(standing), q.target.map(standing));
    let now = UnixMillis(q.now);
    let answer = allowed(&policy, actor.as_ref(), actions[n], target.as_ref(), now);
    let expected = table(&q, n, rank_of(q.actor), rank_of(q.target), q.role % 3 + 1);
    assert_eq!(answer.is_ok(), expected, "{answer:?} of {:?}: {q:?}", actions[n]);
    // What is refused has a code; a mute that is told has not ended.
    if let Err(why) = answer {
        let _ = why.code();
        if let Denied::Muted(Some(end)) = why {
            assert!(end > now);
        }
    }
});
