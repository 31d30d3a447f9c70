//! The world: a store of rows, four devices, somebody who expires leases, and a clock.
//!
//! It is harsher than the server, which swaps inside of a transaction: here everybody works out by themselves, from what they
//! have read, which rows to write, and all that the store does is to compare the version.

use std::fmt;
use std::hash::Hash;

use ntproto_core::ids::DeviceId;
use ntproto_core::presence::{Entry, LEASE, Record, State};
use ntproto_core::time::UnixMillis;
use stateright::{Model, Property};

/// Devices of the account.
pub(crate) const DEVICES: usize = 4;
/// How often the clock ticks, by a lease: so that one runs out to Away, and on to Offline.
const TICKS: u8 = 2;
/// How often a device that lost tries again before it can only degrade.
const RETRIES: u8 = 1;

pub(crate) const ONE_ONLINE: &str = "no two unexpired Online leases";
pub(crate) const LOSERS_LEARN: &str = "every loser learns that it lost";
const ONE_WINNER: &str = "no two devices were told the same version";
const A_RECORD: &str = "what the rows make is a record";
const ENDS: &str = "when no step is left, every device is done";

/// What the store does with a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// Compares the version and writes, in one step; else it answers STALE.
    Swaps,
    /// Writes without comparing.
    DoesNotCompare,
    /// Compares, but tells a loser that it won.
    TellsNobody,
}

/// The model.
#[derive(Clone)]
pub(crate) struct Presence {
    pub store: Store,
}

/// A record as it stands in the store, or in somebody's memory. Arrays, because millions of them are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Rows {
    version: u64,
    rows: [Option<Entry>; DEVICES],
}

impl Rows {
    fn of(record: &Record) -> Self {
        let row = |n| record.devices().find(|(device, _)| *device == id(n)).map(|(_, entry)| entry);
        Self { version: record.version(), rows: std::array::from_fn(row) }
    }

    /// Nothing, when it is no record any more.
    fn record(&self) -> Option<Record> {
        let rows = self.rows.iter().enumerate();
        Record::from_parts(self.version, rows.filter_map(|(n, row)| Some((id(n), (*row)?)))).ok()
    }
}

/// Where a device is in its day: it comes, takes the Online lease, and leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Device {
    /// Wants to be Online, and has not read.
    Coming,
    /// Has read.
    Ready(Rows),
    /// Was told that it is Online: by this record.
    Online(Rows),
    /// Was told STALE, or saw its lease run out, and has not decided yet.
    Lost,
    /// Left by its own write.
    Left,
    /// Lost, and takes what it got.
    Degraded,
}

/// One state of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    ticks: u8,
    store: Rows,
    devices: [Device; DEVICES],
    /// How often each has lost.
    losses: [u8; DEVICES],
    /// What the store's housekeeping has read, when something is to be expired.
    sweep: Option<Rows>,
    /// What nobody in the world sees: who lost and has not heard of it.
    unheard: [bool; DEVICES],
    /// And whether two devices were told that they made the same version.
    two_winners: bool,
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// A lease's time passes.
    Tick,
    /// A device reads the record.
    Read(usize),
    /// A device writes, by what it has read, that it is Online.
    GoOnline(usize),
    /// A device that is Online by what it knows writes that it is not.
    Leave(usize),
    /// A device that lost tries again.
    Retry(usize),
    /// A device that lost takes what it got.
    Degrade(usize),
    /// Housekeeping reads.
    SweepRead,
    /// Housekeeping writes.
    SweepWrite,
}

fn id(n: usize) -> DeviceId {
    DeviceId([n as u8; 16])
}

/// How a device leaves: two look elsewhere, two are switched off.
fn leaves_to(n: usize) -> State {
    if n.is_multiple_of(2) { State::Away } else { State::Offline }
}

impl World {
    fn now(&self) -> UnixMillis {
        UnixMillis(1_000) + LEASE * u32::from(self.ticks)
    }

    /// Swaps the rows that differ, if the version is still the old one's. Says what the writer is told.
    fn swap(&mut self, store: Store, by: Option<usize>, old: &Rows, new: &Rows) -> bool {
        if self.store.version != old.version && store != Store::DoesNotCompare {
            if let Some(by) = by {
                self.unheard[by] = store == Store::TellsNobody;
            }
            return store == Store::TellsNobody;
        }
        self.store.version = new.version;
        for (n, (was, is)) in old.rows.iter().zip(&new.rows).enumerate() {
            if was != is {
                self.store.rows[n] = *is;
                // Whoever believes otherwise has lost, and does not know yet.
                self.unheard[n] |= by != Some(n) && matches!(self.devices[n], Device::Online(_));
            }
        }
        true
    }

    /// A device works out what its wish makes of what it has read, and writes that.
    fn wish(&mut self, store: Store, n: usize, old: &Rows, want: State) -> Option<Rows> {
        let mut record = old.record()?;
        let legal = record.set(self.now(), id(n), want, old.version, LEASE).is_ok();
        let new = Rows::of(&record);
        if legal && self.swap(store, Some(n), old, &new) {
            let told = |d: &Device| matches!(d, Device::Online(rows) if rows.version == new.version);
            self.two_winners |= self.devices.iter().any(told);
            return Some(new);
        }
        // Where no path leads, the lease ran out by its own clock: that is hearing of it too.
        self.unheard[n] = false;
        self.losses[n] += 1;
        None
    }

    /// What this state and others that behave like it have in common, by which the checker knows what it has seen. Not for stores that don't compare.
    ///
    /// Nobody but the compare looks at a version, and it only asks whether it is the current one: so versions are now or
    /// before, and of what was read before nothing matters, as it will be refused whatever it is. And devices that leave the same way
    /// are as good as each other.
    pub(crate) fn canonical(&self) -> Self {
        let seen = |rows: &Rows| {
            if rows.version == self.store.version { Rows { version: 1, ..*rows } } else { Rows::default() }
        };
        let mut w = *self;
        w.store.version = 1;
        w.sweep = self.sweep.as_ref().map(seen);
        for device in &mut w.devices {
            match device {
                Device::Ready(rows) | Device::Online(rows) => *rows = seen(rows),
                _ => {}
            }
        }
        let mut order = [0, 1, 2, 3];
        for (m, n) in [(0, 2), (1, 3)] {
            if w.key(m) > w.key(n) {
                order.swap(m, n);
            }
        }
        w.permuted(order)
    }

    /// All that tells a device from another. What is remembered of the current version is what stands in the store.
    fn key(&self, n: usize) -> (u8, u8, bool, u8, u64) {
        let device = match &self.devices[n] {
            Device::Coming => 0,
            Device::Ready(rows) => 1 + rows.version as u8,
            Device::Online(rows) => 3 + rows.version as u8,
            Device::Lost => 5,
            Device::Left => 6,
            Device::Degraded => 7,
        };
        let row = self.store.rows[n].map_or((0, 0), |row| (row.state as u8, row.lease_until.0));
        (device, self.losses[n], self.unheard[n], row.0, row.1)
    }

    fn permuted(&self, order: [usize; DEVICES]) -> Self {
        let rows = |r: &Rows| Rows { version: r.version, rows: order.map(|n| r.rows[n]) };
        Self {
            ticks: self.ticks,
            store: rows(&self.store),
            devices: order.map(|n| match &self.devices[n] {
                Device::Ready(r) => Device::Ready(rows(r)),
                Device::Online(r) => Device::Online(rows(r)),
                other => *other,
            }),
            losses: order.map(|n| self.losses[n]),
            sweep: self.sweep.as_ref().map(rows),
            unheard: order.map(|n| self.unheard[n]),
            two_winners: self.two_winners,
        }
    }
}

impl Model for Presence {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            ticks: 0,
            store: Rows::default(),
            devices: [const { Device::Coming }; DEVICES],
            losses: [0; DEVICES],
            sweep: None,
            unheard: [false; DEVICES],
            two_winners: false,
        }]
    }

    fn actions(&self, w: &World, steps: &mut Vec<Step>) {
        for (n, device) in w.devices.iter().enumerate() {
            match device {
                Device::Coming => steps.push(Step::Read(n)),
                Device::Ready(_) => steps.push(Step::GoOnline(n)),
                Device::Online(_) => steps.push(Step::Leave(n)),
                Device::Lost => {
                    steps.push(Step::Degrade(n));
                    if w.losses[n] <= RETRIES {
                        steps.push(Step::Retry(n));
                    }
                }
                Device::Left | Device::Degraded => {}
            }
        }
        if w.ticks < TICKS {
            steps.push(Step::Tick);
        }
        if w.sweep.is_some() {
            steps.push(Step::SweepWrite);
        } else if w.store.rows.iter().flatten().any(|row| row.lease_until <= w.now()) {
            steps.push(Step::SweepRead);
        }
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut w = *last;
        match step {
            Step::Tick => w.ticks += 1,
            Step::Read(n) => w.devices[n] = Device::Ready(w.store),
            Step::GoOnline(n) => {
                let Device::Ready(record) = &last.devices[n] else { return None };
                let done = w.wish(self.store, n, record, State::Online);
                w.devices[n] = done.map_or(Device::Lost, Device::Online);
            }
            Step::Leave(n) => {
                let Device::Online(record) = &last.devices[n] else { return None };
                let done = w.wish(self.store, n, record, leaves_to(n));
                w.devices[n] = done.map_or(Device::Lost, |_| Device::Left);
            }
            Step::Retry(n) => w.devices[n] = Device::Coming,
            Step::Degrade(n) => w.devices[n] = Device::Degraded,
            Step::SweepRead => w.sweep = Some(w.store),
            Step::SweepWrite => {
                let old = w.sweep.take()?;
                let mut record = old.record()?;
                record.expire(w.now());
                w.swap(self.store, None, &old, &Rows::of(&record));
            }
        }
        Some(w)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_ONLINE, |_, w: &World| {
                let online = |row: &&Entry| row.state == State::Online && w.now() < row.lease_until;
                w.store.rows.iter().flatten().filter(online).count() <= 1
            }),
            // All ways lead to an end, so that this, at any end, is "eventually".
            Property::always(LOSERS_LEARN, |_, w: &World| {
                let done = |n: usize| matches!(w.devices[n], Device::Left | Device::Degraded);
                (0..DEVICES).all(|n| !(done(n) && w.unheard[n]))
            }),
            Property::always(ENDS, |model: &Self, w: &World| {
                let mut steps = Vec::new();
                model.actions(w, &mut steps);
                !steps.is_empty() || w.devices.iter().all(|d| matches!(d, Device::Left | Device::Degraded))
            }),
            Property::always(ONE_WINNER, |_, w: &World| !w.two_winners),
            Property::always(A_RECORD, |_, w: &World| w.store.record().is_some()),
            Property::sometimes("all four are in the record", |_, w: &World| {
                w.store.rows.iter().all(Option::is_some)
            }),
            Property::sometimes("all four have lost, one twice", |_, w: &World| {
                w.losses.iter().all(|&n| n > 0) && w.losses.contains(&2)
            }),
            Property::sometimes("one that lost is Online", |_, w: &World| {
                (0..DEVICES)
                    .any(|n| w.losses[n] > 0 && matches!(w.devices[n], Device::Online(_)) && !w.unheard[n])
            }),
            Property::sometimes("one believes in a lease that ran out to Offline", |_, w: &World| {
                (0..DEVICES).any(|n| w.store.rows[n].is_none() && matches!(w.devices[n], Device::Online(_)))
            }),
            Property::sometimes("one left by its own write, all others degraded", |_, w: &World| {
                w.devices.iter().filter(|d| **d == Device::Degraded).count() == DEVICES - 1
                    && w.devices.contains(&Device::Left)
            }),
        ]
    }
}

fn name(n: usize) -> char {
    char::from(b'A' + n as u8)
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version {}", self.store.version)?;
        for (n, row) in self.store.rows.iter().enumerate() {
            if let Some(row) = row {
                let left = row.lease_until.0.saturating_sub(self.now().0) / 1_000;
                write!(f, ", {} {:?} for {left} s", name(n), row.state)?;
            }
        }
        for (n, device) in self.devices.iter().enumerate() {
            match device {
                Device::Coming => continue,
                Device::Ready(record) => write!(f, "; {} has read version {}", name(n), record.version)?,
                Device::Online(record) => write!(f, "; {} is Online by version {}", name(n), record.version)?,
                Device::Lost => write!(f, "; {} knows that it lost", name(n))?,
                Device::Left => write!(f, "; {} has left", name(n))?,
                Device::Degraded => write!(f, "; {} has degraded", name(n))?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Tick => f.write_str("90 s pass"),
            Self::Read(n) => write!(f, "{} reads", name(n)),
            Self::GoOnline(n) => write!(f, "{} writes that it is Online", name(n)),
            Self::Leave(n) => write!(f, "{} writes that it is {:?}", name(n), leaves_to(n)),
            Self::Retry(n) => write!(f, "{} tries again", name(n)),
            Self::Degrade(n) => write!(f, "{} degrades", name(n)),
            Self::SweepRead => f.write_str("housekeeping reads"),
            Self::SweepWrite => f.write_str("housekeeping writes"),
        }
    }
}
