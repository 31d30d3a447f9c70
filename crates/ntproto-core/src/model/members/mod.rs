//! The members of a group: what changed between two lists, how a list is read while it changes, how it is kept up to date.
//!
//! A list of members is sorted by `uin`, each once.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::ids::Uin;
use ntproto_proto::v2::{GroupChange, GroupChangeKind, Member};

mod fetch;
mod listener;

pub use fetch::{Ask, Fault, Fetch, MAX_CONCURRENCY, MAX_MEMBERS, MAX_PAGE, Snapshot};
pub use listener::{Listener, Told};

/// What happened to one member.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Somebody came.
    Add(Member),
    /// Somebody went.
    Remove(Uin),
    /// Something about somebody is different: this is how they are now.
    Update(Member),
}

impl Change {
    /// Whom it is about.
    #[must_use]
    pub const fn uin(&self) -> Uin {
        match self {
            Self::Add(member) | Self::Update(member) => Uin(member.uin),
            Self::Remove(uin) => *uin,
        }
    }

    /// How they are now; `None` when they are gone.
    const fn now(&self) -> Option<&Member> {
        match self {
            Self::Add(member) | Self::Update(member) => Some(member),
            Self::Remove(_) => None,
        }
    }

    /// From the wire: `None` for what is about no member, and for what is incomplete.
    #[must_use]
    pub fn from_wire(change: &GroupChange) -> Option<Self> {
        let member = change.member.as_ref()?;
        match change.kind() {
            GroupChangeKind::Add => Some(Self::Add(member.clone())),
            GroupChangeKind::Update => Some(Self::Update(member.clone())),
            GroupChangeKind::Remove => Some(Self::Remove(Uin(member.uin))),
            GroupChangeKind::Unknown | GroupChangeKind::Group => None,
        }
    }
}

/// What turns one list into the other, sorted by `uin`. Both are walked once, side by side.
///
/// ```
/// use ntproto_core::ids::Uin;
/// use ntproto_core::model::members::{Change, apply, diff};
/// use ntproto_proto::v2::Member;
///
/// let member = |uin, nick: &str| Member { uin, nick: nick.into(), ..Default::default() };
/// let old = [member(1, "Ada"), member(2, "Bob")];
/// let new = [member(1, "Ada L."), member(3, "Eve")];
/// let changes = diff(&old, &new);
/// assert_eq!(
///     changes,
///     [Change::Update(member(1, "Ada L.")), Change::Remove(Uin(2)), Change::Add(member(3, "Eve"))]
/// );
/// assert_eq!(apply(&old, changes), new);
/// ```
#[must_use]
pub fn diff(old: &[Member], new: &[Member]) -> Vec<Change> {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    let mut changes = Vec::new();
    loop {
        let order = match (old.peek(), new.peek()) {
            (Some(old), Some(new)) => old.uin.cmp(&new.uin),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return changes,
        };
        match order {
            Ordering::Less => changes.extend(old.next().map(|gone| Change::Remove(Uin(gone.uin)))),
            Ordering::Greater => changes.extend(new.next().cloned().map(Change::Add)),
            Ordering::Equal => {
                if let (Some(old), Some(new)) = (old.next(), new.next())
                    && old != new
                {
                    changes.push(Change::Update(new.clone()));
                }
            }
        }
    }
}

/// A list after changes, in the order in which they happened. Whom they say to add or update is how they say, and whom they remove is gone,
/// whatever was there before: so changes that a part of the list has seen already do it no harm.
#[must_use]
pub fn apply(old: &[Member], changes: impl IntoIterator<Item = Change>) -> Vec<Member> {
    // Only the last one about somebody counts.
    let mut last: BTreeMap<u64, Change> = BTreeMap::new();
    last.extend(changes.into_iter().map(|change| (change.uin().0, change)));
    let mut new = Vec::with_capacity(old.len() + last.len());
    let mut old = old.iter().peekable();
    for (uin, change) in last {
        new.extend(core::iter::from_fn(|| old.next_if(|member| member.uin < uin)).cloned());
        old.next_if(|member| member.uin == uin);
        new.extend(change.now().cloned());
    }
    new.extend(old.cloned());
    new
}

#[cfg(test)]
mod tests;
