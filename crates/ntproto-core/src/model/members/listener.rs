//! Keeps a list of members up to date, by pushes, by changes asked for, and by a whole new list when nothing else helps.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Ask, Change, Fault, Fetch, Snapshot, apply, diff};
use crate::time::Instant;
use ntproto_proto::v2::{
    Group, GroupChange, GroupChangeKind, GroupChangesResponse, GroupDelta, GroupMembersResponse, Member,
};

/// Changes asked for at once.
const CHANGES: u32 = 1_000;

/// What a listener learnt.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The version that the list has now.
    pub version: u64,
    /// What became of its members, sorted by `uin`.
    pub changes: Vec<Change>,
    /// The group itself, if it changed.
    pub group: Option<Group>,
}

/// What a listener is at.
#[derive(Clone, Debug)]
enum State {
    /// Up to date, for all it knows.
    Following,
    /// Knows that there is more.
    Behind { asked: bool, wait_until: Option<Instant> },
    /// Reads the whole list.
    Fetching(Box<Fetch>),
}

/// The members of one group, followed.
///
/// ```
/// use ntproto_core::model::members::{Ask, Listener};
/// use ntproto_core::time::Instant;
/// use ntproto_proto::v2::{GroupChange, GroupChangeKind, GroupDelta, Member};
///
/// let mut listener = Listener::new(Vec::new(), 7, 100);
/// let came = |version| GroupChange {
///     version,
///     kind: GroupChangeKind::Add.into(),
///     member: Some(Member { uin: 10000 + version, ..Default::default() }),
///     ..Default::default()
/// };
/// let delta = |from, version| GroupDelta { from_version: from, version, changes: vec![came(version)], group: 1 };
/// assert_eq!(listener.delta(delta(7, 8)).unwrap().changes.len(), 1);
///
/// // One got lost: this one applies to what the listener has not, so it asks.
/// assert_eq!(listener.delta(delta(9, 10)), None);
/// assert!(matches!(listener.poll(Instant::ORIGIN), Some(Ask::Changes { since: 8, .. })));
/// ```
#[derive(Clone, Debug)]
pub struct Listener {
    members: Vec<Member>,
    version: u64,
    /// The highest version heard of.
    heard: u64,
    /// Members a page of a fetch.
    size: u32,
    state: State,
}

impl Listener {
    /// Follows from a list and its version on.
    #[must_use]
    pub const fn new(members: Vec<Member>, version: u64, page_size: u32) -> Self {
        Self { members, version, heard: version, size: page_size, state: State::Following }
    }

    /// Begins with nothing, and reads the list.
    #[must_use]
    pub fn fetching(page_size: u32) -> Self {
        let mut listener = Self::new(Vec::new(), 0, page_size);
        listener.state = State::Fetching(Box::new(Fetch::new(page_size)));
        listener
    }

    /// The members at [`version`](Self::version), sorted by `uin`.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Which version they are of.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Whether it knows of nothing newer than it has.
    #[must_use]
    pub const fn is_current(&self) -> bool {
        matches!(self.state, State::Following)
    }

    /// A push came. It is applied if it is for the version there is; if it is for a later one, there is a gap, and [`poll`](Self::poll) asks for
    /// what lies in it.
    pub fn delta(&mut self, delta: GroupDelta) -> Option<Told> {
        self.heard = self.heard.max(delta.version);
        //= spec: groups-3
        let fits =
            delta.from_version == self.version && follow(self.version, &delta.changes) == Some(delta.version);
        if fits && matches!(self.state, State::Following | State::Behind { asked: false, .. }) {
            let told = self.take(delta.changes);
            self.look();
            return Some(told);
        }
        self.look();
        None
    }

    /// There is a group of this version: something else told so, or the connection is a new one and pushes may have been missed.
    pub fn hear(&mut self, version: u64) {
        self.heard = self.heard.max(version);
        self.look();
    }

    /// Something newer is known of: it is to be asked for.
    fn look(&mut self) {
        match &self.state {
            State::Following if self.heard > self.version => {
                self.state = State::Behind { asked: false, wait_until: None };
            }
            State::Behind { asked: false, .. } if self.heard <= self.version => self.state = State::Following,
            _ => {}
        }
    }

    /// What to ask next; to be called until it says nothing, after every answer, push, and at [`next_timer`](Self::next_timer).
    pub fn poll(&mut self, now: Instant) -> Option<Ask> {
        match &mut self.state {
            State::Following => None,
            State::Behind { asked, wait_until } => {
                if *asked || wait_until.is_some_and(|at| now < at) {
                    return None;
                }
                (*asked, *wait_until) = (true, None);
                Some(Ask::Changes { since: self.version, limit: CHANGES })
            }
            State::Fetching(fetch) => fetch.poll(now),
        }
    }

    /// When [`poll`](Self::poll) may have something to say without an answer.
    #[must_use]
    pub const fn next_timer(&self) -> Option<Instant> {
        match &self.state {
            State::Following => None,
            State::Behind { wait_until, .. } => *wait_until,
            State::Fetching(fetch) => fetch.next_timer(),
        }
    }

    /// A page came.
    ///
    /// # Errors
    /// The server broke the rules. The list stays as it was, and is no longer followed until something newer is heard of.
    pub fn page(&mut self, page: u32, answer: GroupMembersResponse) -> Result<(), Fault> {
        let State::Fetching(fetch) = &mut self.state else { return Ok(()) };
        fetch.page(page, answer).inspect_err(|_| self.give_up())
    }

    /// Changes came.
    ///
    /// # Errors
    /// As of [`page`](Self::page).
    pub fn changes(&mut self, answer: GroupChangesResponse) -> Result<Option<Told>, Fault> {
        match &mut self.state {
            State::Following | State::Behind { asked: false, .. } => Ok(None),
            State::Behind { .. } if answer.too_old => {
                self.state = State::Fetching(Box::new(Fetch::new(self.size)));
                Ok(None)
            }
            State::Behind { .. } => {
                let end = follow(self.version, &answer.changes);
                let whole =
                    end.is_some_and(|end| end == answer.version || (answer.has_more && end > self.version));
                if !whole || answer.version < self.version {
                    self.give_up();
                    return Err(Fault::Versions);
                }
                self.heard = answer.version.max(if answer.has_more { self.heard } else { 0 });
                let told = self.take(answer.changes);
                self.state = State::Following;
                self.look();
                Ok(Some(told))
            }
            State::Fetching(fetch) => {
                let done = fetch.changes(answer).inspect_err(|_| self.give_up())?;
                Ok(done.map(|snapshot| self.replace(snapshot)))
            }
        }
    }

    /// As [`Fetch::busy`].
    pub fn busy(&mut self) {
        if let State::Fetching(fetch) = &mut self.state {
            fetch.busy();
        }
    }

    /// The server would rather be asked later (RETRY_AFTER).
    pub fn refused(&mut self, now: Instant, ask: Ask, retry_after: Duration) {
        match &mut self.state {
            State::Following => {}
            State::Behind { asked, wait_until } => {
                (*asked, *wait_until) = (false, Some(now + retry_after));
            }
            State::Fetching(fetch) => fetch.refused(now, ask, retry_after),
        }
    }

    /// The connection broke: what was asked is to be asked again.
    pub fn disconnected(&mut self) {
        match &mut self.state {
            State::Following => {}
            State::Behind { asked, .. } => *asked = false,
            State::Fetching(fetch) => fetch.disconnected(),
        }
    }

    fn give_up(&mut self) {
        self.heard = self.version;
        self.state = State::Following;
    }

    /// Applies changes that follow the list's version.
    fn take(&mut self, changes: Vec<GroupChange>) -> Told {
        self.version = changes.last().map_or(self.version, |change| change.version);
        let mut group = None;
        for change in &changes {
            if change.kind() == GroupChangeKind::Group {
                group.clone_from(&change.group);
            }
        }
        let new = apply(&self.members, changes.iter().filter_map(Change::from_wire));
        // Told is what differs: a member that only moved to another page is no news.
        let changes = diff(&self.members, &new);
        self.members = new;
        Told { version: self.version, changes, group }
    }

    fn replace(&mut self, snapshot: Snapshot) -> Told {
        let changes = diff(&self.members, &snapshot.members);
        self.members = snapshot.members;
        self.version = snapshot.version;
        self.state = State::Following;
        self.look();
        Told { version: self.version, changes, group: snapshot.group }
    }
}

/// Where changes lead that begin after a version; `None` when one is missing.
fn follow(from: u64, changes: &[GroupChange]) -> Option<u64> {
    changes.iter().try_fold(from, |at, change| (change.version == at + 1).then_some(change.version))
}
