//! Who is there: one record an account, and what may happen to it (specification, "Presence").
//!
//! A device goes Offline → Online → Away → Offline, in this direction only; each edge raises the record's version by one. At most one
//! device is Online. All of it is pure: whoever holds the record, in a transaction or beside a compare-and-swap, calls
//! [`Record::set`] and stores what comes out.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::code::ErrorCode;
use crate::ids::DeviceId;
use crate::time::UnixMillis;

/// How long a state holds when nobody renews it: three heartbeats, so that one lost in the network changes nothing.
pub const LEASE: Duration = Duration::from_secs(90);
/// Devices of one record that are not Offline: as many as an account may have in use. Every change rewrites all of them.
pub const MAX_DEVICES: usize = 32;
/// The highest version a record is read with: at a change a microsecond it lasts 290,000 years.
const MAX_VERSION: u64 = u64::MAX >> 1;

/// Whether somebody is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum State {
    /// Not there.
    #[default]
    Offline = 0,
    /// There, and where they look.
    Online = 1,
    /// Connected, or was until a moment ago; they look elsewhere.
    Away = 2,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Offline, Self::Online, Self::Away];

    /// The state with this number.
    #[must_use]
    pub const fn from_wire(n: u32) -> Option<Self> {
        match n {
            0 => Some(Self::Offline),
            1 => Some(Self::Online),
            2 => Some(Self::Away),
            _ => None,
        }
    }

    /// Where its only edge leads.
    #[must_use]
    pub const fn next(self) -> Self {
        match self {
            Self::Offline => Self::Online,
            Self::Online => Self::Away,
            Self::Away => Self::Offline,
        }
    }
}

/// A device in a record. One that is Offline is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Its state.
    pub state: State,
    /// Until when the state holds.
    pub lease_until: UnixMillis,
}

impl Entry {
    /// What it is now: a lease that ran out is Away for one more [`LEASE`], then Offline.
    fn settled(self, now: UnixMillis) -> Option<Self> {
        if now < self.lease_until {
            return Some(self);
        }
        let grace = self.lease_until + LEASE;
        (self.state == State::Online && now < grace)
            .then_some(Self { state: State::Away, lease_until: grace })
    }
}

/// One device took one edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Edge {
    /// Which.
    pub device: DeviceId,
    /// It leads to the state [next](State::next) to this one.
    pub from: State,
}

/// What a change came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The edges, in their order; the version rose by their number. None when only a lease was renewed.
    pub edges: Vec<Edge>,
    /// What others see now, if that is another thing than before: the end only, never a state that was passed.
    pub announce: Option<State>,
}

/// The presence of one account.
///
/// ```
/// use ntproto_core::ids::DeviceId;
/// use ntproto_core::presence::{LEASE, Record, Refused, State};
/// use ntproto_core::time::UnixMillis;
///
/// let (phone, desk, now) = (DeviceId([1; 16]), DeviceId([2; 16]), UnixMillis(1_000));
/// let mut record = Record::default();
/// record.set(now, phone, State::Online, 0, LEASE).unwrap();
/// assert_eq!((record.state(phone), record.version()), (State::Online, 1));
///
/// // The desk knows an older record, and is told. It reads again, and takes over: two edges, one swap.
/// assert_eq!(record.set(now, desk, State::Online, 0, LEASE), Err(Refused::Stale));
/// record.set(now, desk, State::Online, 1, LEASE).unwrap();
/// assert_eq!((record.state(phone), record.state(desk), record.version()), (State::Away, State::Online, 3));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    version: u64,
    devices: BTreeMap<DeviceId, Entry>,
}

impl Record {
    /// A record as it was stored or sent.
    ///
    /// # Errors
    /// It is none that [`set`](Self::set) could have made.
    pub fn from_parts(
        version: u64,
        devices: impl IntoIterator<Item = (DeviceId, Entry)>,
    ) -> Result<Self, Malformed> {
        let mut record = Self { version, devices: BTreeMap::new() };
        for (device, entry) in devices {
            if entry.state == State::Offline
                || record.devices.len() == MAX_DEVICES
                || record.devices.insert(device, entry).is_some()
            {
                return Err(Malformed);
            }
        }
        let online = record.devices.values().filter(|entry| entry.state == State::Online).count();
        if online > 1 || version > MAX_VERSION { Err(Malformed) } else { Ok(record) }
    }

    /// Edges since the record began.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The devices that are not Offline, by id.
    pub fn devices(&self) -> impl ExactSizeIterator<Item = (DeviceId, Entry)> + '_ {
        self.devices.iter().map(|(&device, &entry)| (device, entry))
    }

    /// A device's state as it stands here, whatever its lease says.
    #[must_use]
    pub fn state(&self, device: DeviceId) -> State {
        self.devices.get(&device).map_or(State::Offline, |entry| entry.state)
    }

    /// How the account appears to others by what stands here: what was announced last.
    #[must_use]
    pub fn announced(&self) -> State {
        overall(self.devices.values().copied())
    }

    /// How the account appears to others now, by leases that ran out too.
    #[must_use]
    pub fn overall(&self, now: UnixMillis) -> State {
        overall(self.devices.values().filter_map(|entry| entry.settled(now)))
    }

    /// When [`expire`](Self::expire) next has something to do.
    #[must_use]
    pub fn next_expiry(&self) -> Option<UnixMillis> {
        self.devices.values().map(|entry| entry.lease_until).min()
    }

    /// Brings a device to a state, for `lease`, if `expect` is the record's version: the swap of a compare-and-swap. Whoever
    /// holds the record itself passes its version.
    ///
    /// What ran out is expired first. Who comes back from Away, or leaves from Online, takes two edges. Who goes Online moves the
    /// former Online one to Away before. The state it has already is renewed, without an edge.
    ///
    /// # Errors
    /// Nothing changes then. [`Refused::Stale`] tells a loser that it lost: it reads again, and decides anew.
    pub fn set(
        &mut self,
        now: UnixMillis,
        device: DeviceId,
        want: State,
        expect: u64,
        lease: Duration,
    ) -> Result<Change, Refused> {
        //= spec: presence-1
        if expect != self.version {
            return Err(Refused::Stale);
        }
        // Legal or not is decided on the record as it will be when what ran out is out of it.
        let settled = |entry: &Entry| entry.settled(now);
        let from = self.devices.get(&device).and_then(settled).map_or(State::Offline, |entry| entry.state);
        if (from, want) == (State::Offline, State::Away) {
            return Err(Refused::Illegal);
        }
        if (from, want) == (State::Offline, State::Online)
            && self.devices.values().filter_map(settled).count() >= MAX_DEVICES
        {
            return Err(Refused::TooMany);
        }
        let before = self.announced();
        let mut edges = Vec::new();
        self.settle(now, &mut edges);
        //= spec: presence-2
        if want == State::Online {
            let former = self.devices.iter().find(|(id, e)| **id != device && e.state == State::Online);
            if let Some((&former, &Entry { lease_until, .. })) = former {
                self.step(former, lease_until, &mut edges);
            }
        }
        let until = now + lease;
        while self.state(device) != want {
            self.step(device, until, &mut edges);
        }
        self.extend(device, until);
        Ok(self.change(before, edges))
    }

    /// Renews a device's lease, whatever its state, without an edge. `false` when it has none: it ran out, or was never set, and
    /// is not brought back.
    pub fn renew(&mut self, now: UnixMillis, device: DeviceId, lease: Duration) -> bool {
        let alive = self.devices.get(&device).is_some_and(|entry| now < entry.lease_until);
        if alive {
            self.extend(device, now + lease);
        }
        alive
    }

    /// Takes the edges of leases that ran out: Online to Away, for one more [`LEASE`], then to Offline.
    pub fn expire(&mut self, now: UnixMillis) -> Change {
        let before = self.announced();
        let mut edges = Vec::new();
        self.settle(now, &mut edges);
        self.change(before, edges)
    }

    fn settle(&mut self, now: UnixMillis, edges: &mut Vec<Edge>) {
        let due: Vec<_> = self.devices().filter(|(_, entry)| entry.lease_until <= now).collect();
        for (device, entry) in due {
            let to = entry.settled(now);
            let lease = to.map_or(now, |entry| entry.lease_until);
            while self.state(device) != to.map_or(State::Offline, |entry| entry.state) {
                self.step(device, lease, edges);
            }
        }
    }

    /// One edge.
    fn step(&mut self, device: DeviceId, lease_until: UnixMillis, edges: &mut Vec<Edge>) {
        let from = self.state(device);
        match from.next() {
            State::Offline => self.devices.remove(&device),
            state => self.devices.insert(device, Entry { state, lease_until }),
        };
        self.version += 1;
        edges.push(Edge { device, from });
    }

    /// A lease is never made shorter: renewals may arrive out of order.
    fn extend(&mut self, device: DeviceId, until: UnixMillis) {
        if let Some(entry) = self.devices.get_mut(&device) {
            entry.lease_until = entry.lease_until.max(until);
        }
    }

    fn change(&self, before: State, edges: Vec<Edge>) -> Change {
        let after = self.announced();
        Change { edges, announce: (before != after).then_some(after) }
    }
}

/// Online if any device is, else Away if any is.
fn overall(mut entries: impl Iterator<Item = Entry>) -> State {
    let Some(first) = entries.next() else { return State::Offline };
    if first.state == State::Online || entries.any(|entry| entry.state == State::Online) {
        State::Online
    } else {
        State::Away
    }
}

/// Why a device's state was not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The record has another version than the one expected.
    Stale,
    /// No path leads there: who is Offline goes Online first.
    Illegal,
    /// [`MAX_DEVICES`] are there already.
    TooMany,
}

impl Refused {
    /// What the server answers.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Stale => ErrorCode::Stale,
            Self::Illegal => ErrorCode::BadRequest,
            Self::TooMany => ErrorCode::TooMany,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stale => "the record has changed since it was read",
            Self::Illegal => "a device that is offline goes online first",
            Self::TooMany => "more devices are online or away than a record holds",
        })
    }
}

impl core::error::Error for Refused {}

/// A record that can't be: two devices Online, one twice, more than [`MAX_DEVICES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a presence record")
    }
}

impl core::error::Error for Malformed {}

#[cfg(test)]
mod tests;
