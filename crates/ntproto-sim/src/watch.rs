//! A client that wants to know a group's members at any time: pages, changes, deltas (specification, "Groups").

use std::collections::BTreeMap;

use bytes::Bytes;
use ntproto_core::ids::Uin;
use ntproto_core::wire::packet::PacketId;
use ntproto_proto::v2;
use prost::Message as _;

use crate::ledger::Check;
use crate::truth;

/// Members a page: few, so that there are several.
const PAGE: u32 = 2;
/// Pages asked for at once.
const AT_ONCE: u32 = 3;

/// How far it is.
#[derive(Clone, Debug, PartialEq)]
enum Stage {
    /// These pages are asked for; so many are asked for already; the lowest version met.
    Pages { open: Vec<u32>, next: u32, lowest: u64, last: u32 },
    /// Asked what changed.
    Changes,
    /// Knows them.
    Known,
}

/// A watched group.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) group: u64,
    stage: Stage,
    pub(crate) members: BTreeMap<Uin, v2::Member>,
    state: v2::Group,
    /// Deltas met and gaps among them.
    pub(crate) deltas: u64,
}

/// What is to be asked.
pub(crate) type Asks = Vec<(PacketId, Bytes)>;

impl Watched {
    /// Begins, with the first pages.
    pub(crate) fn new(group: u64) -> (Self, Asks) {
        let stage = Stage::Pages { open: Vec::new(), next: 0, lowest: u64::MAX, last: AT_ONCE - 1 };
        let state = v2::Group { group, ..Default::default() };
        let mut watched = Self { group, stage, members: BTreeMap::new(), state, deltas: 0 };
        let asks = watched.ask_pages();
        (watched, asks)
    }

    fn ask_pages(&mut self) -> Asks {
        let Stage::Pages { open, next, last, .. } = &mut self.stage else { return Vec::new() };
        let mut asks = Vec::new();
        while open.len() < AT_ONCE as usize && *next <= *last {
            let request = v2::GroupMembersRequest { group: self.group, page: *next, size: PAGE };
            asks.push((PacketId::GROUP_MEMBERS, request.encode_to_vec().into()));
            open.push(*next);
            *next += 1;
        }
        asks
    }

    fn ask_changes(&mut self) -> Asks {
        self.stage = Stage::Changes;
        let request = v2::GroupChangesRequest { group: self.group, since: self.state.version, limit: 5 };
        vec![(PacketId::GROUP_CHANGES, request.encode_to_vec().into())]
    }

    /// A page came.
    pub(crate) fn page(&mut self, page: u32, told: v2::GroupMembersResponse) -> Asks {
        let Stage::Pages { open, lowest, last, .. } = &mut self.stage else { return Vec::new() };
        open.retain(|asked| *asked != page);
        *lowest = (*lowest).min(told.version);
        *last = (*last).max(told.count.div_ceil(PAGE));
        for member in told.members {
            self.members.insert(Uin(member.uin), member);
        }
        let asks = self.ask_pages();
        let Stage::Pages { open, lowest, .. } = &self.stage else { return asks };
        if !open.is_empty() {
            return asks;
        }
        self.state.version = *lowest;
        self.ask_changes()
    }

    /// Changes came.
    pub(crate) fn changes(&mut self, told: &v2::GroupChangesResponse) -> Check<Asks> {
        if self.stage != Stage::Changes {
            return Ok(Vec::new());
        }
        if told.too_old {
            let (anew, asks) = Self::new(self.group);
            *self = anew;
            return Ok(asks);
        }
        self.take(&told.changes)?;
        if told.has_more {
            return Ok(self.ask_changes());
        }
        self.stage = Stage::Known;
        Ok(Vec::new())
    }

    /// A delta was pushed.
    pub(crate) fn delta(&mut self, delta: &v2::GroupDelta) -> Check<Asks> {
        //= spec: groups-3
        if self.stage != Stage::Known || delta.version <= self.state.version {
            return Ok(Vec::new());
        }
        self.deltas += 1;
        if delta.from_version != self.state.version {
            return Ok(self.ask_changes());
        }
        self.take(&delta.changes)?;
        Ok(Vec::new())
    }

    /// A question went unanswered, or the connection is another: what changed meanwhile?
    pub(crate) fn again(&mut self) -> Asks {
        if self.state.version > 0 {
            return self.ask_changes();
        }
        let (anew, asks) = Self::new(self.group);
        *self = anew;
        asks
    }

    fn take(&mut self, changes: &[v2::GroupChange]) -> Check {
        let (state, group) = (&mut self.state, self.group);
        truth::apply(state, &mut self.members, changes).map_err(|e| format!("the members of {group}: {e}"))
    }

    /// Whether it waits for nothing.
    pub(crate) fn is_known(&self) -> bool {
        self.stage == Stage::Known
    }

    /// The version it knows.
    pub(crate) const fn version(&self) -> u64 {
        self.state.version
    }
}
