//! Reads a group's members by pages, several at once, while the group goes on changing.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::Change;
use crate::time::Instant;
use ntproto_proto::v2::{Group, GroupChangeKind, GroupChangesResponse, GroupMembersResponse, Member};

/// Pages asked for at once, until told otherwise: enough to fill the way there and back, few enough to be served between
/// other people's requests.
pub const MAX_CONCURRENCY: usize = 10;
/// Members of the largest group. A server that sends more is stopped, before it fills the memory.
pub const MAX_MEMBERS: usize = 100_000;
/// Members of the largest page.
pub const MAX_PAGE: u32 = 1_000;
/// Changes asked for at once.
const CHANGES: u32 = 1_000;
/// How often a fetch begins again, because the changes of its time were not kept any more. A group that outruns three is
/// better asked for later.
const MAX_RESTARTS: u32 = 3;

/// What to ask the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ask {
    /// GROUP_MEMBERS.
    Page {
        /// Which.
        page: u32,
        /// Members a page.
        size: u32,
    },
    /// GROUP_CHANGES.
    Changes {
        /// The version after which.
        since: u64,
        /// At most so many.
        limit: u32,
    },
}

/// The members as they were at one version.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Which.
    pub version: u64,
    /// Sorted by `uin`.
    pub members: Vec<Member>,
    /// The group itself, if it changed meanwhile.
    pub group: Option<Group>,
}

/// A fetch of all members.
///
/// It says [what to ask next](Self::poll) until it is waiting for answers, and takes them in any order. Members move between pages
/// while they are read; each move is a change, so that pages of any versions and all changes after the lowest of them make the list
/// of the last version.
///
/// ```
/// use ntproto_core::model::members::{Ask, Fetch};
/// use ntproto_core::time::Instant;
/// use ntproto_proto::v2::{GroupChangesResponse, GroupMembersResponse, Member};
///
/// let now = Instant::ORIGIN;
/// let mut fetch = Fetch::new(100);
/// let Some(Ask::Page { page: 0, size: 100 }) = fetch.poll(now) else { panic!() };
/// assert_eq!(fetch.poll(now), None); // the first answer says how many there are
///
/// let members = vec![Member { uin: 10001, ..Default::default() }];
/// fetch.page(0, GroupMembersResponse { members, version: 7, count: 1 }).unwrap();
/// let Some(Ask::Changes { since: 7, .. }) = fetch.poll(now) else { panic!() };
/// let snapshot = fetch.changes(GroupChangesResponse { version: 7, ..Default::default() }).unwrap().unwrap();
/// assert_eq!((snapshot.version, snapshot.members.len()), (7, 1));
/// ```
#[derive(Clone, Debug)]
pub struct Fetch {
    size: u32,
    /// How many may be asked at once now.
    window: usize,
    asked: BTreeSet<u32>,
    /// Pages that were refused, and are to be asked again.
    again: BTreeSet<u32>,
    next: u32,
    /// Members there are, by the answer that said most; unknown before the first.
    count: Option<u32>,
    lowest: u64,
    highest: u64,
    members: BTreeMap<u64, Member>,
    /// The version up to which changes have been applied, once all pages are there.
    applied: Option<u64>,
    asked_changes: bool,
    group: Option<Group>,
    wait_until: Option<Instant>,
    restarts: u32,
}

impl Fetch {
    /// A fetch by pages of `size` members, at least one and at most [`MAX_PAGE`].
    #[must_use]
    pub fn new(size: u32) -> Self {
        Self {
            size: size.clamp(1, MAX_PAGE),
            window: MAX_CONCURRENCY,
            asked: BTreeSet::new(),
            again: BTreeSet::new(),
            next: 0,
            count: None,
            lowest: u64::MAX,
            highest: 0,
            members: BTreeMap::new(),
            applied: None,
            asked_changes: false,
            group: None,
            wait_until: None,
            restarts: 0,
        }
    }

    /// What to ask next; to be called until it says nothing, after every answer and at [`next_timer`](Self::next_timer).
    pub fn poll(&mut self, now: Instant) -> Option<Ask> {
        if self.wait_until.is_some_and(|at| now < at) {
            return None;
        }
        self.wait_until = None;
        if let Some(since) = self.applied {
            let asks = !core::mem::replace(&mut self.asked_changes, true);
            return asks.then_some(Ask::Changes { since, limit: CHANGES });
        }
        // One page tells how many there are.
        let window = if self.count.is_some() { self.window } else { 1 };
        if self.asked.len() >= window {
            return None;
        }
        let page = match self.again.pop_first() {
            Some(page) => page,
            None if self.next < self.pages() => {
                self.next += 1;
                self.next - 1
            }
            None => return None,
        };
        self.asked.insert(page);
        Some(Ask::Page { page, size: self.size })
    }

    /// When [`poll`](Self::poll) may have something to say without an answer.
    #[must_use]
    pub const fn next_timer(&self) -> Option<Instant> {
        self.wait_until
    }

    /// How many pages may be asked for at once now.
    #[must_use]
    pub const fn window(&self) -> usize {
        self.window
    }

    fn pages(&self) -> u32 {
        self.count.map_or(1, |count| count.div_ceil(self.size).max(1))
    }

    /// A page came.
    ///
    /// # Errors
    /// The server broke the rules. The fetch is over then.
    pub fn page(&mut self, page: u32, answer: GroupMembersResponse) -> Result<(), Fault> {
        if !self.asked.remove(&page) {
            // Late, from before a new beginning.
            return Ok(());
        }
        let GroupMembersResponse { members, version, count } = answer;
        if members.len() > self.size as usize || count as usize > MAX_MEMBERS {
            return Err(Fault::TooMany);
        }
        self.window = (self.window + 1).min(MAX_CONCURRENCY);
        self.lowest = self.lowest.min(version);
        self.highest = self.highest.max(version);
        self.count = Some(self.count.unwrap_or(0).max(count));
        // Whoever stands on two pages has moved: a change tells how they are.
        self.members.extend(members.into_iter().map(|member| (member.uin, member)));
        // Members that come and go between pages may be met in greater number than there ever are at once; twice is more than
        // anybody honest gets to.
        if self.members.len() > 2 * MAX_MEMBERS {
            return Err(Fault::TooMany);
        }
        if self.asked.is_empty() && self.again.is_empty() && self.next >= self.pages() {
            //= spec: groups-4
            self.applied = Some(self.lowest);
        }
        Ok(())
    }

    /// Changes came. Gives the members, when these were the last.
    ///
    /// # Errors
    /// The server broke the rules, or the group changes faster than it can be read. The fetch is over then.
    pub fn changes(&mut self, answer: GroupChangesResponse) -> Result<Option<Snapshot>, Fault> {
        let Some(since) = self.applied.filter(|_| self.asked_changes) else { return Ok(None) };
        self.asked_changes = false;
        self.window = (self.window + 1).min(MAX_CONCURRENCY);
        if answer.too_old {
            if self.restarts == MAX_RESTARTS {
                return Err(Fault::Restless);
            }
            let (window, restarts) = (self.window, self.restarts + 1);
            *self = Self { window, restarts, ..Self::new(self.size) };
            return Ok(None);
        }
        let mut applied = since;
        for change in answer.changes {
            if change.version != applied + 1 {
                return Err(Fault::Versions);
            }
            applied = change.version;
            if change.kind() == GroupChangeKind::Group {
                self.group = change.group;
                continue;
            }
            match Change::from_wire(&change) {
                Some(Change::Add(member) | Change::Update(member)) => {
                    self.members.insert(member.uin, member);
                }
                Some(Change::Remove(uin)) => {
                    self.members.remove(&uin.0);
                }
                None => {}
            }
        }
        let stuck = applied == since;
        self.applied = Some(applied);
        if answer.has_more {
            return if stuck { Err(Fault::Versions) } else { Ok(None) };
        }
        if applied != answer.version || applied < self.highest {
            return Err(Fault::Versions);
        }
        if self.members.len() > MAX_MEMBERS {
            return Err(Fault::TooMany);
        }
        let members = core::mem::take(&mut self.members).into_values().collect();
        Ok(Some(Snapshot { version: applied, members, group: self.group.take() }))
    }

    /// The server would rather be asked later (RETRY_AFTER): half as much at once from now on, and nothing before then. Each answer
    /// allows one more.
    pub fn refused(&mut self, now: Instant, ask: Ask, retry_after: Duration) {
        let until = now + retry_after;
        self.wait_until = Some(self.wait_until.map_or(until, |at| at.max(until)));
        match ask {
            Ask::Page { page, .. } if self.asked.remove(&page) => {
                self.again.insert(page);
            }
            Ask::Changes { .. } if self.asked_changes => self.asked_changes = false,
            _ => return,
        }
        self.window = (self.window / 2).max(1);
    }

    /// The server was asked too much, and whoever carries the requests asks again by itself: half as much at once from
    /// now on.
    ///
    /// ```
    /// use ntproto_core::model::members::Fetch;
    /// use ntproto_core::time::Instant;
    /// use ntproto_proto::v2::GroupMembersResponse;
    ///
    /// let mut fetch = Fetch::new(1);
    /// fetch.poll(Instant::ORIGIN).unwrap();
    /// let member = |uin| vec![ntproto_proto::v2::Member { uin, ..Default::default() }];
    /// fetch.page(0, GroupMembersResponse { members: member(1), version: 1, count: 100 }).unwrap();
    /// fetch.busy();
    /// let asked = core::iter::from_fn(|| fetch.poll(Instant::ORIGIN)).count();
    /// assert_eq!(asked, 5); // ten, halved
    /// ```
    pub fn busy(&mut self) {
        self.window = (self.window / 2).max(1);
    }

    /// The connection broke: everything that was asked is to be asked again.
    pub fn disconnected(&mut self) {
        self.again.append(&mut self.asked);
        self.asked_changes = false;
    }
}

/// Why a fetch ended without members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server sent more members than there can be.
    TooMany,
    /// Versions in an answer don't follow each other.
    Versions,
    /// The group changes faster than it can be read.
    Restless,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooMany => "the server sent more members than a group has",
            Self::Versions => "the server's versions don't follow each other",
            Self::Restless => "the group changes faster than its members can be read",
        })
    }
}

impl core::error::Error for Fault {}
