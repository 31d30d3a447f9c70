//! What a device says at the end, and what travels between the processes: a line of JSON each way.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An order to a worker: for all of its users and devices.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Make the accounts and devices.
    Enrol {
        /// The invitation for the worker's users.
        invitation: String,
    },
    /// Ask others to be friends, block, make groups. Brings the numbers of all users.
    Meet {
        /// By user.
        uins: Vec<u64>,
    },
    /// Accept, and give roles. Brings the numbers of all groups.
    Settle {
        /// By group.
        groups: Vec<u64>,
    },
    /// Play the parts.
    Talk,
    /// Read, say whether one is there.
    End,
    /// Try what is not allowed.
    Intrude,
    /// Say what each device holds.
    Show,
}

/// A worker's line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    /// An order is done.
    Done,
    /// Users and their accounts.
    Users(Vec<(usize, u64)>),
    /// Groups by their number in the plan, and their ids.
    Groups(Vec<(usize, u64)>),
    /// Entries acknowledged, and entries told to devices.
    Progress {
        /// Acknowledged.
        acked: u64,
        /// Told.
        told: u64,
    },
    /// What was tried that is not allowed, and how much of it was refused.
    Tried {
        /// Tried.
        tried: u64,
        /// Refused as it should be.
        refused: u64,
    },
    /// The states are in this file.
    Shown(String),
}

/// What a device sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Act {
    /// A message with this fingerprint.
    Say(u64),
    /// Another body, with this fingerprint, for the message of that step.
    Edit(u64, u64),
    /// Takes back the message of that step.
    Recall(u64),
}

/// An entry that a device sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// The step.
    pub(crate) step: u64,
    /// The conversation, in hexadecimal.
    pub(crate) conversation: String,
    pub(crate) act: Act,
    /// When it was handed over, in microseconds since 1970.
    pub(crate) started_us: u64,
    /// Its number in the conversation, and when that was heard.
    pub(crate) acked: Option<(u64, u64)>,
}

/// A message as it stands on a device's disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) seq: u64,
    pub(crate) sender: u64,
    /// The sender's key.
    pub(crate) id: String,
    /// Of the body; 0 when it was taken back.
    pub(crate) fingerprint: u64,
    pub(crate) edited: bool,
    pub(crate) recalled: bool,
}

/// A conversation on a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Talk {
    /// Oldest first.
    pub(crate) messages: Vec<Kept>,
    /// Messages of others that were not read, as the device counts.
    pub(crate) unread: u64,
    /// Watermarks by account: delivered, read.
    pub(crate) marks: BTreeMap<u64, (u64, u64)>,
    /// What was told, in the order it was told in: number, and whose.
    pub(crate) told: Vec<(u64, u64)>,
}

/// A group as a device sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupSeen {
    /// Accounts, their roles, and from where on they see messages.
    pub(crate) members: BTreeMap<u64, (i32, u64)>,
    /// Watermarks as the server has them; in large groups they are nowhere else.
    pub(crate) marks: BTreeMap<u64, (u64, u64)>,
}

/// What a device holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Device {
    pub(crate) user: usize,
    pub(crate) index: usize,
    pub(crate) sent: Vec<Sent>,
    /// Entries that were refused or given up, with the reason.
    pub(crate) failed: Vec<String>,
    /// By conversation, in hexadecimal.
    pub(crate) talks: BTreeMap<String, Talk>,
    /// Accounts that are friends.
    pub(crate) friends: Vec<u64>,
    /// By id.
    pub(crate) groups: BTreeMap<u64, GroupSeen>,
    /// Friends and their presence, as it was told last.
    pub(crate) presence: BTreeMap<u64, i32>,
    /// Entries told a second time.
    pub(crate) doubled: u64,
    /// Receipts that came.
    pub(crate) receipts: u64,
    /// Those of them that fell behind an earlier one: what it was about.
    pub(crate) fallen: Vec<String>,
    /// Records of one's own presence that came, and those with two devices online.
    pub(crate) records: (u64, u64),
    /// Times somebody was seen writing, and those where they were no member.
    pub(crate) typing: (u64, u64),
    /// Times it was online, and times it went offline by itself.
    pub(crate) sessions: u64,
    pub(crate) spells: u64,
    /// When it asked to leave a group, by its number in the plan; microseconds since 1970. It had left at the second.
    pub(crate) left: BTreeMap<usize, (u64, u64)>,
    /// When it asked to bring the late one into a group, and when that was done.
    pub(crate) brought: BTreeMap<usize, (u64, u64)>,
}
