use super::*;
use alloc::vec;
use proptest::prelude::*;

mod changing;

fn member(uin: u64, nick: &str) -> Member {
    Member { uin, nick: nick.into(), ..Default::default() }
}

fn list() -> impl Strategy<Value = Vec<Member>> {
    prop::collection::btree_map(0..40u64, "[ab]{0,1}", 0..30)
        .prop_map(|all| all.into_iter().map(|(uin, nick)| member(uin, &nick)).collect())
}

#[test]
fn nothing_is_told_where_nothing_differs() {
    let list = vec![member(1, "a"), member(2, "b")];
    assert_eq!(diff(&list, &list), []);
    assert_eq!(diff(&[], &list), [Change::Add(member(1, "a")), Change::Add(member(2, "b"))]);
    assert_eq!(diff(&list, &[]), [Change::Remove(Uin(1)), Change::Remove(Uin(2))]);
}

#[test]
fn the_last_change_counts() {
    let old = [member(1, "a"), member(2, "b")];
    let changes = [
        Change::Remove(Uin(2)),
        Change::Add(member(3, "c")),
        Change::Add(member(2, "back")),
        Change::Remove(Uin(3)),
        Change::Update(member(1, "A")),
    ];
    assert_eq!(apply(&old, changes.clone()), [member(1, "A"), member(2, "back")]);
    // Who has seen some of them already gets to the same.
    assert_eq!(apply(&apply(&old, changes[..2].to_vec()), changes), [member(1, "A"), member(2, "back")]);
}

proptest! {
    #[test]
    fn a_difference_leads_from_one_to_the_other(old in list(), new in list()) {
        let changes = diff(&old, &new);
        prop_assert!(changes.is_sorted_by_key(Change::uin));
        for change in &changes {
            let before = old.iter().find(|m| m.uin == change.uin().0);
            let after = new.iter().find(|m| m.uin == change.uin().0);
            prop_assert_eq!(after, change.now());
            let fits = match change {
                Change::Add(_) => before.is_none(),
                Change::Remove(_) => before.is_some(),
                Change::Update(now) => before.is_some_and(|before| before != now),
            };
            prop_assert!(fits);
        }
        prop_assert_eq!(apply(&old, changes), new);
    }
}
