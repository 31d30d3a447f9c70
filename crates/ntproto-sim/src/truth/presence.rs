//! Presence: one record an account, and what becomes of it.

use std::collections::{BTreeMap, BTreeSet};

use ntproto_core::ids::{DeviceId, Uin};
use ntproto_core::time::UnixMillis;
use ntproto_hub::store::StoreError;
use ntproto_hub::store::act::{Acted, Actor};
use ntproto_proto::v2::{self, OnlineStatus as Status};

use super::{Against, Answer, acted, decode, same};
use crate::ledger::Check;

/// A lease.
const LEASE_MS: u64 = 90_000;

/// A device that is there.
type There = (Status, u64);

/// A record.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Record {
    pub(crate) version: u64,
    pub(crate) devices: BTreeMap<DeviceId, There>,
}

impl Record {
    /// How the account appears to others, by what stands here.
    pub(crate) fn appears(&self) -> Status {
        let is = |status| self.devices.values().any(|(own, _)| *own == status);
        match (is(Status::Online), is(Status::Away)) {
            (true, _) => Status::Online,
            (false, true) => Status::Away,
            (false, false) => Status::Offline,
        }
    }

    fn status(&self, device: DeviceId) -> Status {
        self.devices.get(&device).map_or(Status::Offline, |(status, _)| *status)
    }

    /// Leases that ran out.
    fn run_out(&mut self, now: u64) {
        for (device, (status, until)) in self.devices.clone() {
            if until > now {
                continue;
            }
            self.version += 1;
            if status == Status::Online && until + LEASE_MS > now {
                self.devices.insert(device, (Status::Away, until + LEASE_MS));
                continue;
            }
            self.version += u64::from(status == Status::Online);
            self.devices.remove(&device);
        }
    }

    /// From one state to another along the edges.
    fn go(&mut self, device: DeviceId, to: Status, until: u64) {
        self.version += match (self.status(device), to) {
            (from, to) if from == to => 0,
            (Status::Away, Status::Online) | (Status::Online, Status::Offline) => 2,
            _ => 1,
        };
        match to {
            Status::Offline => self.devices.remove(&device),
            _ => {
                let until = until.max(self.devices.get(&device).map_or(0, |(_, until)| *until));
                self.devices.insert(device, (to, until))
            }
        };
    }
}

/// Everybody's presence.
#[derive(Default)]
pub(crate) struct Presences {
    records: BTreeMap<Uin, Record>,
    /// Writes that won: who, and the version after it.
    wins: BTreeSet<(DeviceId, u64)>,
    /// Writes that lost.
    pub(crate) lost: u64,
}

impl Presences {
    pub(crate) fn of(&self, uin: Uin) -> Record {
        self.records.get(&uin).cloned().unwrap_or_default()
    }

    /// How an account may appear: by what stands there, or by leases that ran out and were not looked at.
    pub(crate) fn may_appear(&self, uin: Uin, now: u64) -> [Status; 2] {
        let mut record = self.of(uin);
        let stands = record.appears();
        record.run_out(now);
        [stands, record.appears()]
    }

    /// Whether a device that believes so did win.
    pub(crate) fn won(&self, device: DeviceId, version: u64) -> bool {
        self.wins.contains(&(device, version))
    }

    pub(super) fn set<'a>(
        &mut self,
        by: &Actor,
        r: &v2::PresenceSetRequest,
        answer: &'a Answer,
    ) -> Check<Option<&'a Acted>> {
        let mut record = self.of(by.uin);
        let stale = r.version != record.version;
        let before = record.clone();
        let want = Status::try_from(r.status).ok();
        if !stale {
            record.run_out(by.now.0);
        }
        let leap = record.status(by.device) == Status::Offline && want == Some(Status::Away);
        let mut against = Against::default();
        against.when(want.is_none(), StoreError::BadRequest);
        against.when(!stale && leap, StoreError::BadRequest);
        against.perhaps(leap, StoreError::BadRequest);
        let Some(outcome) = against.judge("it", answer)? else { return Ok(None) };
        let acted = acted(outcome)?;
        let told: v2::PresenceSetResponse = decode(acted)?;
        same("whether it lost", &told.stale, &stale)?;
        if stale {
            self.lost += 1;
            is(told.record.as_ref(), &before)?;
            return Ok(Some(acted));
        }
        let want = want.unwrap_or(Status::Offline);
        if want == Status::Online
            && let Some((former, (_, until))) = record
                .devices
                .clone()
                .into_iter()
                .find(|(id, (s, _))| *id != by.device && *s == Status::Online)
        {
            record.go(former, Status::Away, until);
        }
        record.go(by.device, want, by.now.0 + LEASE_MS);
        is(told.record.as_ref(), &record)?;
        if record.devices.values().filter(|(status, _)| *status == Status::Online).count() > 1 {
            return Err("two devices are online".into());
        }
        announced(by.uin, &before, &record, &acted.presence)?;
        self.wins.insert((by.device, record.version));
        self.records.insert(by.uin, record);
        Ok(Some(acted))
    }

    /// What connections mean.
    pub(super) fn connections(
        &mut self,
        renew: &[(Uin, DeviceId)],
        left: &[(Uin, DeviceId)],
        expire: &[Uin],
        now: UnixMillis,
        answer: &Answer,
    ) -> Check {
        let Some(outcome) = Against::default().judge("presence of connections", answer)? else {
            return Ok(());
        };
        let acted = acted(outcome)?;
        let mut before = BTreeMap::new();
        let touched = renew.iter().chain(left).map(|(uin, _)| uin).chain(expire);
        for uin in touched {
            before.insert(*uin, self.of(*uin));
        }
        for (uin, device) in renew {
            let record = self.records.entry(*uin).or_default();
            if let Some((_, until)) = record.devices.get_mut(device).filter(|(_, until)| *until > now.0) {
                *until = (*until).max(now.0 + LEASE_MS);
            }
        }
        for (uin, device) in left {
            let record = self.records.entry(*uin).or_default();
            let mut after = record.clone();
            after.run_out(now.0);
            // Away for a lease from now on, unless its lease ran out long ago.
            if record.status(*device) == Status::Online && after.status(*device) != Status::Offline {
                after.go(*device, Status::Away, now.0 + LEASE_MS);
                *record = after;
            }
        }
        for uin in expire {
            self.records.entry(*uin).or_default().run_out(now.0);
        }
        for (uin, before) in before {
            announced(uin, &before, &self.of(uin), &acted.presence)?;
        }
        Ok(())
    }
}

/// A record as it was told is as it is.
fn is(told: Option<&v2::PresenceRecord>, truth: &Record) -> Check {
    let told = told.ok_or("no record")?;
    let devices = told.devices.iter().map(|d| {
        let id = DeviceId::from_slice(&d.device_id).ok_or("a device without an id")?;
        Ok((id, (d.status(), d.lease_until_ms)))
    });
    let told = Record { version: told.version, devices: devices.collect::<Check<_>>()? };
    same("a presence record", &told, truth)
}

/// A change of how somebody appears is told, and what is told is so.
fn announced(uin: Uin, before: &Record, after: &Record, told: &[v2::Presence]) -> Check {
    let told = told.iter().find(|p| p.uin == uin.0);
    if let Some(told) = told {
        return same(
            "how somebody appears",
            &(told.status(), told.version),
            &(after.appears(), after.version),
        );
    }
    if before.appears() == after.appears() {
        return Ok(());
    }
    Err(format!("{uin} appears as {:?} now, and nobody is told", after.appears()))
}
