//! Friends, groups, profiles: the last state that is known of each. What the inbox says is the newest; what a request
//! brought may be older than that, which its version shows.

use ntproto_core::client::StoreError;
use ntproto_core::ids::{GroupId, Uin};
use ntproto_proto::v2;
use prost::Message;

use super::kv::{END, Kv, Table};
use super::record;

/// A record that has a key and a version.
pub(super) trait Versioned: Message + Default {
    const TABLE: Table;
    fn key(&self) -> u64;
    fn version(&self) -> u64;
}

impl Versioned for v2::Friend {
    const TABLE: Table = Table::Friends;
    fn key(&self) -> u64 {
        self.uin
    }
    fn version(&self) -> u64 {
        self.version
    }
}

impl Versioned for v2::GroupState {
    const TABLE: Table = Table::Groups;
    fn key(&self) -> u64 {
        self.group.as_ref().map_or(0, |group| group.group)
    }
    fn version(&self) -> u64 {
        self.group.as_ref().map_or(0, |group| group.version)
    }
}

impl Versioned for v2::User {
    const TABLE: Table = Table::Profiles;
    fn key(&self) -> u64 {
        self.uin
    }
    fn version(&self) -> u64 {
        self.version
    }
}

/// Keeps what the inbox says. A record of nobody is none.
pub(super) fn put<R: Versioned>(kv: &mut dyn Kv, state: &R) -> Result<(), StoreError> {
    if state.key() == 0 {
        return Ok(());
    }
    kv.put(R::TABLE, &state.key().to_be_bytes(), &state.encode_to_vec())
}

/// Keeps what a request brought, unless something newer is known.
pub(super) fn put_newer<R: Versioned>(kv: &mut dyn Kv, state: &R) -> Result<(), StoreError> {
    match get::<R>(kv, state.key())? {
        Some(known) if known.version() > state.version() => Ok(()),
        _ => put(kv, state),
    }
}

fn get<R: Versioned>(kv: &dyn Kv, key: u64) -> Result<Option<R>, StoreError> {
    kv.get(R::TABLE, &key.to_be_bytes())?.map(record::decode).transpose()
}

fn all<R: Versioned>(kv: &dyn Kv) -> Result<Vec<R>, StoreError> {
    let mut all = Vec::new();
    kv.scan(R::TABLE, &[], END, false, &mut |_, value| {
        all.push(record::decode(bytes::Bytes::copy_from_slice(value))?);
        Ok(true)
    })?;
    Ok(all)
}

pub(super) fn friends(kv: &dyn Kv) -> Result<Vec<v2::Friend>, StoreError> {
    all(kv)
}

pub(super) fn groups(kv: &dyn Kv) -> Result<Vec<v2::GroupState>, StoreError> {
    all(kv)
}

pub(super) fn group(kv: &dyn Kv, group: GroupId) -> Result<Option<v2::GroupState>, StoreError> {
    get(kv, group.0)
}

pub(super) fn profile(kv: &dyn Kv, uin: Uin) -> Result<Option<v2::User>, StoreError> {
    get(kv, uin.0)
}
