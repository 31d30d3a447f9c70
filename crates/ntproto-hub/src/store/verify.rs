//! Every record of a store, and what they say of each other.
//!
//! ```
//! use ntproto_hub::store::memory::MemoryStore;
//! use ntproto_hub::store::verify::verify;
//!
//! let store = MemoryStore::new();
//! let verified = verify(store.tables(), &mut |_| true)?;
//! assert!(verified.faults.is_empty() && verified.complete);
//! # Ok::<(), ntproto_hub::store::StoreError>(())
//! ```

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;
use ntproto_core::ids::{ConversationId, DeviceId, GroupId, Uin};
use ntproto_proto::store as record;
use ntproto_proto::store::inbox_entry::Entry;
use ntproto_proto::v2;
use ntproto_proto::v2::FriendState;
use prost::Message;

use super::execute::{self, FANOUT};
use super::kv::{Kv, Table};
use super::txn::StoreError;
use super::{keys, migrate};

mod files;
mod groups;

/// Faults that are told; where there are more, the first ones say enough.
pub const MAX_FAULTS: usize = 100;
/// Records between two calls of `progress`.
const STEP: u64 = 1_024;

/// A record that can't be, or does not go with another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its table.
    pub table: Table,
    /// Its key.
    pub key: Vec<u8>,
    /// What is wrong.
    pub what: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.table.name())?;
        self.key.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, ": {}", self.what)
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Records that were read.
    pub records: u64,
    /// The first [`MAX_FAULTS`] faults.
    pub faults: Vec<Fault>,
    /// Every record was read: `progress` did not end it.
    pub complete: bool,
}

/// Why a check ends.
enum Wrong {
    Fault(&'static str),
    Store(StoreError),
}

impl From<StoreError> for Wrong {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Corrupt => Self::Fault("can't be read"),
            error => Self::Store(error),
        }
    }
}

type Check = Result<(), Wrong>;

fn ensure(holds: bool, else_what: &'static str) -> Check {
    if holds { Ok(()) } else { Err(Wrong::Fault(else_what)) }
}

/// What is counted on the way.
#[derive(Default)]
struct Tally {
    accounts: u64,
    groups: u64,
    files: files::Files,
}

/// Reads every record of a store and compares what they say of each other. `progress` hears from time to time how many were read, and
/// ends it with `false`. What it holds in memory does not grow with the store.
///
/// # Errors
/// The store failed.
pub fn verify(kv: &dyn Kv, progress: &mut dyn FnMut(u64) -> bool) -> Result<Verified, StoreError> {
    let mut found = Verified { complete: true, ..Verified::default() };
    let mut tally = Tally::default();
    for &table in Table::ALL {
        let mut failed = None;
        kv.scan(table, &[], &[0xff; migrate::LONGEST_KEY], &mut |key, value| {
            found.records += 1;
            match check(kv, &mut tally, table, key, value) {
                Ok(()) => {}
                Err(Wrong::Fault(what)) => note(&mut found.faults, table, key, what),
                Err(Wrong::Store(error)) => failed = Some(error),
            }
            found.complete = !found.records.is_multiple_of(STEP) || progress(found.records);
            found.complete && failed.is_none()
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        if !found.complete {
            return Ok(found);
        }
    }
    for (name, counted) in [(keys::ACCOUNTS, tally.accounts), (keys::GROUPS, tally.groups)] {
        let said = kv.get(Table::Meta, name)?.as_deref().map_or(Some(0), keys::number);
        if said != Some(counted) {
            note(&mut found.faults, Table::Meta, name, "is not as many as there are");
        }
    }
    if !tally.files.agree() {
        note(&mut found.faults, Table::FileUsage, &[], "does not count files right");
    }
    Ok(found)
}

fn note(faults: &mut Vec<Fault>, table: Table, key: &[u8], what: &'static str) {
    if faults.len() < MAX_FAULTS {
        faults.push(Fault { table, key: keys::owned(key), what });
    }
}

fn check(kv: &dyn Kv, tally: &mut Tally, table: Table, key: &[u8], value: &[u8]) -> Check {
    match table {
        Table::Meta => Ok(()),
        Table::Accounts => {
            tally.accounts += 1;
            account(kv, key, value)
        }
        Table::Devices => device(kv, key, value),
        Table::DeviceKeys => {
            ensure(device_of(kv, value)?.static_key == key, "is the key of no device, or of another")
        }
        Table::SigningKeys => {
            ensure(device_of(kv, value)?.signing_key == key, "is the key of no device, or of another")
        }
        Table::AccountDevices => {
            let (uin, id) = (number(key, 0)?, field::<16>(key, 8)?);
            ensure(device_of(kv, &id)?.uin == uin, "is a device of another account")
        }
        Table::Invitations => {
            let invitation: record::Invitation = decode(value)?;
            ensure(
                invitation.uin == 0 || exists(kv, Uin(invitation.uin))?,
                "is for an account that is not there",
            )
        }
        Table::UsedLinks => ensure(exists(kv, Uin(number(key, 8)?))?, "is of an account that is not there"),
        Table::Log => log(kv, key, value),
        Table::Sent => sent(kv, key, value),
        Table::Inbox => inbox(kv, key, value),
        Table::Marks => marks(kv, key, value),
        Table::ReceiptAt => Err(Wrong::Fault("is of an older format")),
        Table::Latest => latest(kv, key, value),
        Table::Conversations => conversation(kv, key),
        Table::Friends => friend(kv, key, value),
        Table::Uploads => files::upload(kv, tally, key, value),
        Table::UploadIds => files::upload_id(kv, key, value),
        Table::UploadEnds => files::upload_end(kv, key),
        Table::Files => files::file(kv, tally, key, value),
        Table::Contents => files::content(kv, tally, key, value),
        Table::FileUsage => files::usage(kv, tally, key, value),
        Table::Doomed => ensure(keys::read_doomed(key).is_some(), "names nothing"),
        Table::Groups => groups::group(kv, tally, key, value),
        Table::Members => groups::member(kv, key, value),
        Table::MemberSlots => groups::slot(kv, key, value),
        Table::MemberOf => groups::member_of(kv, key),
        Table::Mutes => {
            number(value, 0)?;
            ensure(!has(kv, Table::Members, key)?, "is kept for somebody who is a member")
        }
        Table::GroupChanges => groups::change(kv, key, value),
        Table::GroupRequests => {
            ensure(groups::exists(kv, GroupId(number(value, 0)?))?, "made a group that is not there")
        }
        Table::Presence => {
            let uin = Uin(number(key, 0)?);
            for (device, _) in execute::presence::load(kv, uin)?.devices() {
                ensure(device_of(kv, &device.0)?.uin == uin.0, "has a device of another account")?;
            }
            ensure(exists(kv, uin)?, "is of an account that is not there")
        }
        Table::Audit => decode::<record::AuditEntry>(value).map(drop),
    }
}

fn decode<M: Message + Default>(value: &[u8]) -> Result<M, Wrong> {
    M::decode(Bytes::copy_from_slice(value)).map_err(|_| Wrong::Fault("can't be read"))
}

fn read<M: Message + Default>(kv: &dyn Kv, table: Table, key: &[u8]) -> Result<Option<M>, Wrong> {
    kv.get(table, key)?.map(|value| decode(&value)).transpose()
}

fn has(kv: &dyn Kv, table: Table, key: &[u8]) -> Result<bool, Wrong> {
    Ok(kv.get(table, key)?.is_some())
}

/// Bytes of a key or a value.
fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Wrong> {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    field.copied().ok_or(Wrong::Fault("is too short"))
}

fn number(bytes: &[u8], at: usize) -> Result<u64, Wrong> {
    field(bytes, at).map(u64::from_be_bytes)
}

fn exists(kv: &dyn Kv, uin: Uin) -> Result<bool, Wrong> {
    has(kv, Table::Accounts, &keys::account(uin))
}

fn device_of(kv: &dyn Kv, id: &[u8]) -> Result<record::Device, Wrong> {
    read(kv, Table::Devices, id)?.ok_or(Wrong::Fault("names a device that is not there"))
}

fn account(kv: &dyn Kv, key: &[u8], value: &[u8]) -> Check {
    let uin = Uin(number(key, 0)?);
    let account: record::Account = decode(value)?;
    let next = kv.get(Table::Meta, keys::NEXT_UIN)?.as_deref().and_then(keys::number);
    ensure(next.is_some_and(|next| uin.0 < next), "has a number that was not given out")?;
    let (mut records, mut related, mut wanted, mut newest) = (0, 0, 0, 0);
    let all = (keys::friend(uin, Uin(0)), keys::friend(uin, Uin(u64::MAX)));
    kv.scan(Table::Friends, &all.0, &all.1, &mut |_, value| {
        let friend: record::Friend = decode(value).unwrap_or_default();
        records += 1;
        related += u32::from(friend.state != FriendState::None as u32);
        wanted += u32::from(friend.state == FriendState::Wanted as u32);
        newest = friend.version.max(newest);
        true
    })?;
    let counted = (account.records, account.related, account.wanted) == (records, related, wanted);
    ensure(counted, "does not count its friend records right")?;
    ensure(newest <= account.friend_version, "has a friend record of the future")?;
    let mut groups = 0;
    let all = (keys::member_of(uin, GroupId(0)), keys::member_of(uin, GroupId(u64::MAX)));
    kv.scan(Table::MemberOf, &all.0, &all.1, &mut |_, _| {
        groups += 1;
        true
    })?;
    ensure(account.groups == groups, "does not count its groups right")
}

fn device(kv: &dyn Kv, key: &[u8], value: &[u8]) -> Check {
    let (id, device) = (DeviceId(field(key, 0)?), decode::<record::Device>(value)?);
    ensure(exists(kv, Uin(device.uin))?, "is of an account that is not there")?;
    let listed = has(kv, Table::AccountDevices, &keys::account_device(Uin(device.uin), id))?;
    ensure(listed, "is not in its account's list")?;
    for (table, public) in
        [(Table::DeviceKeys, &device.static_key), (Table::SigningKeys, &device.signing_key)]
    {
        ensure(kv.get(table, public)?.is_some_and(|found| found == id.0[..]), "is not found by its keys")?;
    }
    Ok(())
}

fn log_entry(kv: &dyn Kv, conversation: ConversationId, seq: u64) -> Result<Option<record::LogEntry>, Wrong> {
    read(kv, Table::Log, &keys::log(conversation, seq))
}

fn log(kv: &dyn Kv, key: &[u8], value: &[u8]) -> Check {
    let (conversation, seq) = (ConversationId(field(key, 0)?), number(key, 16)?);
    let entry: record::LogEntry = decode(value)?;
    ensure(exists(kv, Uin(entry.sender))?, "was sent by an account that is not there")?;
    match (conversation.group(), conversation.members()) {
        (Some(group), _) => ensure(groups::exists(kv, group)?, "is in a group that is not there")?,
        (None, Some((low, high))) => {
            ensure(entry.sender == low.0 || entry.sender == high.0, "was sent by somebody else")?;
            for uin in [low, high] {
                let listed = has(kv, Table::Conversations, &keys::conversation_of(uin, conversation))?;
                ensure(listed, "is in a conversation that a member's list lacks")?;
            }
        }
        (None, None) => return Err(Wrong::Fault("is in a conversation that can't be")),
    }
    let sent = [&entry.sender_device[..], &entry.client_msg_id[..]].concat();
    let sent: Option<record::Sent> = read(kv, Table::Sent, &sent)?;
    let same = sent.is_some_and(|sent| sent.conv_seq == seq && sent.conversation == conversation.0[..]);
    ensure(same, "is not what its key was answered")?;
    ensure(entry.recalled_seq == 0 || entry.body.is_empty(), "was recalled, and has a body")?;
    match execute::packets::action(&entry)? {
        v2::Action::Message => {
            for (by, action) in
                [(entry.edited_seq, v2::Action::Edit), (entry.recalled_seq, v2::Action::Recall)]
            {
                let change = if by == 0 { None } else { log_entry(kv, conversation, by)? };
                let right = change.is_some_and(|c| c.action == action as u32 && c.target_seq == seq);
                ensure(by == 0 || right, "was changed by what does not change it")?;
            }
            Ok(())
        }
        _ => {
            let target = log_entry(kv, conversation, entry.target_seq)?;
            let message = target.is_some_and(|target| target.action == v2::Action::Message as u32);
            ensure(message && entry.target_seq < seq, "changes what is no message before it")
        }
    }
}

fn sent(kv: &dyn Kv, key: &[u8], value: &[u8]) -> Check {
    let sent: record::Sent = decode(value)?;
    device_of(kv, &field::<16>(key, 0)?)?;
    if sent.cancelled {
        return Ok(());
    }
    let conversation = ConversationId(field(&sent.conversation, 0)?);
    let entry = log_entry(kv, conversation, sent.conv_seq)?;
    let same = entry.is_some_and(|e| [&e.sender_device[..], &e.client_msg_id[..]].concat() == key);
    ensure(same, "was answered what is not in the log")
}

fn inbox(kv: &dyn Kv, key: &[u8], value: &[u8]) -> Check {
    let (uin, position) = (Uin(number(key, 0)?), number(key, 8)?);
    let line: record::InboxEntry = decode(value)?;
    let entry = line.entry.ok_or(Wrong::Fault("can't be read"))?;
    ensure(exists(kv, uin)?, "is of an account that is not there")?;
    if let Some(latest) = execute::inbox::latest(uin, &entry)? {
        let at = kv.get(Table::Latest, &latest)?.as_deref().and_then(keys::number);
        ensure(at == Some(position), "is not the one entry of its kind")?;
    }
    match entry {
        Entry::Message(pointer) => {
            let conversation = ConversationId(field(&pointer.conversation, 0)?);
            ensure(log_entry(kv, conversation, pointer.conv_seq)?.is_some(), "points to no message")?;
            ensure(can_be_of(conversation, uin), "points into somebody else's conversation")
        }
        Entry::Receipt(receipt) => {
            let conversation = ConversationId(field(&receipt.conversation, 0)?);
            ensure(can_be_of(conversation, uin), "is about somebody else's conversation")
        }
        Entry::Friend(other) => ensure(exists(kv, Uin(other))?, "is about an account that is not there"),
        Entry::Group(group) => {
            ensure(groups::exists(kv, GroupId(group))?, "is about a group that is not there")
        }
        Entry::Gap(gap) => ensure(gap.from_seq <= gap.to_seq, "is a gap that ends before it starts"),
        Entry::Profile(_) => Ok(()),
    }
}

/// Whether the account can have to do with the conversation, as far as its id tells.
fn can_be_of(conversation: ConversationId, uin: Uin) -> bool {
    conversation.group().is_some() || conversation.members().is_some_and(|(a, b)| a == uin || b == uin)
}

fn latest(kv: &dyn Kv, key: &[u8], value: &[u8]) -> Check {
    let (uin, position) = (Uin(number(key, 0)?), number(value, 0)?);
    let line: Option<record::InboxEntry> = read(kv, Table::Inbox, &keys::inbox(uin, position))?;
    let entry = line.and_then(|line| line.entry).ok_or(Wrong::Fault("points to no entry"))?;
    let right = execute::inbox::latest(uin, &entry)?.is_some_and(|latest| latest == key);
    ensure(right, "points to an entry of something else")
}

fn marks(kv: &dyn Kv, key: &[u8], value: &[u8]) -> Check {
    let (conversation, uin) = (ConversationId(field(key, 0)?), Uin(number(key, 16)?));
    let marks: record::Marks = decode(value)?;
    let last = kv.last_key(Table::Log, &keys::log(conversation, 0), &keys::log(conversation, u64::MAX))?;
    let head = last.as_deref().and_then(keys::trailing_u64).unwrap_or(0);
    ensure(marks.read_seq <= marks.delivered_seq, "was read before it was delivered")?;
    ensure(marks.delivered_seq <= head, "is beyond the end")?;
    match conversation.group() {
        // Whoever left has read what was read.
        Some(group) => ensure(has(kv, Table::Groups, &keys::group(group))?, "is of no group"),
        None => ensure(can_be_of(conversation, uin), "is of no member"),
    }
}

fn conversation(kv: &dyn Kv, key: &[u8]) -> Check {
    let (uin, conversation) = (Uin(number(key, 0)?), ConversationId(field(key, 8)?));
    ensure(exists(kv, uin)?, "is of an account that is not there")?;
    match conversation.group() {
        Some(group) => ensure(has(kv, Table::Members, &keys::member(group, uin))?, "is of no member"),
        None => {
            let all = (keys::log(conversation, 0), keys::log(conversation, u64::MAX));
            let any = kv.last_key(Table::Log, &all.0, &all.1)?.is_some();
            ensure(any && can_be_of(conversation, uin), "has nothing for this account")
        }
    }
}

fn friend(kv: &dyn Kv, key: &[u8], value: &[u8]) -> Check {
    const ASKED: u32 = FriendState::Asked as u32;
    const WANTED: u32 = FriendState::Wanted as u32;
    let (owner, other) = (Uin(number(key, 0)?), Uin(number(key, 8)?));
    let friend: record::Friend = decode(value)?;
    ensure(exists(kv, owner)? && exists(kv, other)?, "is of an account that is not there")?;
    let theirs: record::Friend = read(kv, Table::Friends, &keys::friend(other, owner))?.unwrap_or_default();
    let expected = match friend.state {
        ASKED => WANTED,
        WANTED => ASKED,
        same => same,
    };
    ensure(theirs.state == expected, "is not what the other side's record says")
}
