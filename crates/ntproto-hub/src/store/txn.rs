//! What the hub asks of a store: closed enums of whole transactions and their answers.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;
use ntproto_core::ids::{ClientMsgId, ConversationId, DeviceId, GroupId, Uin};
use ntproto_core::time::UnixMillis;
use ntproto_core::trace::TraceContext;
use ntproto_proto::{Hidden, v2};

use super::act::{Act, Acted, Actor};
pub use super::error::StoreError;
use super::file::{Doomed, FileAnswer, FileAsk, FileWork};

/// Names one transaction between the hub's `Store` output and its completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// One transaction. The store runs it atomically: it answers an [`Outcome`], or refuses and has
/// written nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Txn {
    /// The first transaction after opening. Names the store on its first use, and moves the clock floor
    /// ahead of the time the server may use from now on. Answers [`Outcome::Booted`].
    Boot {
        /// The wall clock.
        wall: UnixMillis,
        /// 16 random bytes: the epoch of a store that has none yet.
        epoch: [u8; 16],
    },
    /// Server time may be used up to `at`. Only [`Txn::Rest`] moves a floor back. Answers [`Outcome::ClockFloor`].
    SetClockFloor {
        /// The new floor.
        at: UnixMillis,
    },
    /// The last transaction of an orderly end: no server time after `at` was used, nor will be before the next boot,
    /// so the floor is moved back to it. Answers [`Outcome::ClockFloor`].
    Rest {
        /// The last server time.
        at: UnixMillis,
    },
    /// The store was put back from a backup: every `conv_seq` and every position given out from now on is above all
    /// that can have been given out since that was made. Running it again raises them again, and harms nothing.
    /// Answers [`Outcome::Restored`].
    Restored {
        /// The wall clock.
        wall: UnixMillis,
    },
    /// What the operator has settled; it holds until it is set again. Answers [`Outcome::Done`].
    SetRules(Rules),
    /// Makes an invitation. Answers [`Outcome::Done`].
    CreateInvitation {
        /// Who invites and must be allowed to; `None` is the operator.
        by: Option<Uin>,
        /// SHA-256 of the code: a stolen store invites nobody.
        code_hash: [u8; 32],
        /// How many accounts it may create.
        uses: u32,
        /// When it ends.
        expires: UnixMillis,
        /// Whether those accounts may invite.
        may_invite: bool,
        /// Whether the device that uses it is an administrator's.
        admin: bool,
        /// The account it adds a device to; `None`: it makes one.
        account: Option<Uin>,
        /// The administrator who makes it, for the audit log. Then `by` need not be allowed to invite.
        audit: Option<Actor>,
    },
    /// Adds a device, with or without a new account. The same keys again answer the device that
    /// exists: an answer that was lost costs no second use. Answers [`Outcome::Enrolled`].
    Enrol {
        /// What entitles it.
        via: EnrolVia,
        /// The device.
        device: NewDevice,
        /// Server time.
        now: UnixMillis,
    },
    /// Reads a device. Answers [`Outcome::Device`].
    LookupDevice {
        /// Which one.
        key: DeviceKey,
    },
    /// Stores a message: log, idempotency key and both inboxes. Answers [`Outcome::Appended`], or
    /// [`Outcome::Cancelled`] to `resolve_only`.
    Append(Append),
    /// Reads an inbox after a cursor. Answers [`Outcome::Page`] or [`Outcome::TooLong`].
    SyncPage {
        /// Whose inbox.
        uin: Uin,
        /// The epoch the cursor belongs to; `None` at the first sync.
        epoch: Option<[u8; 16]>,
        /// The last position the client has.
        cursor: u64,
        /// At most so many deltas; zero counts as one.
        limit: u32,
        /// At most so many bytes, as the page encodes them, though never less than one delta.
        max_bytes: u32,
        /// A cursor further behind than so many entries gets [`Outcome::TooLong`] with the end as `next`.
        max_lag: u64,
        /// First put what is new in large groups into the inbox. Without it, the page only reads. Where there is more than
        /// one transaction takes, `has_more` is set: it is asked with every page until one comes without that.
        place: bool,
    },
    /// Raises a member's watermarks, tells the other members where they are few, and the member's own devices what was
    /// read. A watermark of a group that the account is not in, or not any more, is passed over: nobody is told that late.
    /// Answers [`Outcome::Delivered`].
    Delivered {
        /// The member.
        uin: Uin,
        /// Those beyond the conversation's head count as its head.
        watermarks: Vec<Watermark>,
    },
    /// Lists an account's devices. Answers [`Outcome::Devices`].
    Devices {
        /// The account.
        uin: Uin,
    },
    /// Ends a device for good. Repeating it changes nothing. Answers [`Outcome::Revoked`].
    RevokeDevice {
        /// The account.
        uin: Uin,
        /// Its device.
        device_id: DeviceId,
        /// Server time.
        now: UnixMillis,
    },
    /// A request of an account. Answers [`Outcome::Acted`].
    Act {
        /// Who asks.
        by: Actor,
        /// What.
        act: Act,
    },
    /// The groups an account is in. Answers [`Outcome::Groups`].
    GroupsOf {
        /// The account.
        uin: Uin,
    },
    /// A request of an account about a file. Answers [`Outcome::File`].
    File {
        /// Who asks.
        by: Actor,
        /// What.
        ask: FileAsk,
    },
    /// What the server does with uploads by itself. Answers [`Outcome::File`].
    FileWork(FileWork),
    /// What connections mean for presence. Answers [`Outcome::Acted`] with the accounts that changed.
    Presence {
        /// Devices that are connected still: their leases run on.
        renew: Vec<(Uin, DeviceId)>,
        /// Devices whose connection ended: an Online one is Away.
        left: Vec<(Uin, DeviceId)>,
        /// Accounts whose leases are looked at.
        expire: Vec<Uin>,
        /// Server time.
        now: UnixMillis,
    },
}

/// What [`Txn::Append`] stores.
#[derive(Clone, PartialEq, Eq)]
pub struct Append {
    /// The account that sends.
    pub sender: Uin,
    /// Its device.
    pub device: DeviceId,
    /// Where to.
    pub conversation: ConversationId,
    /// The device's idempotency key.
    pub client_msg_id: ClientMsgId,
    /// The message this device sent to the conversation before it, when its outcome was not known yet. If that one
    /// was not stored, this one is refused: it must not overtake it.
    pub after: Option<ClientMsgId>,
    /// Whether it is a message, or changes one.
    pub action: Change,
    /// SHA-256 of the action, its target and the body.
    pub body_hash: [u8; 32],
    /// Opaque.
    pub body: Bytes,
    /// Server time.
    pub now: UnixMillis,
    /// Store nothing: say what became of the key, and if nothing did, make sure nothing will.
    pub resolve_only: bool,
    /// What the receiver's trace goes on from, when the sender keeps it. It makes no message another one.
    pub trace: Option<TraceContext>,
}

impl fmt::Debug for Append {
    /// Without the body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Append")
            .field("sender", &self.sender)
            .field("device", &self.device)
            .field("conversation", &self.conversation)
            .field("client_msg_id", &self.client_msg_id)
            .field("after", &self.after)
            .field("action", &self.action)
            .field("body", &Hidden(&self.body))
            .field("now", &self.now)
            .field("resolve_only", &self.resolve_only)
            .field("trace", &self.trace)
            .finish()
    }
}

/// What an entry of a log does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is a message.
    Message,
    /// It gives an earlier message another body.
    Edit(Target),
    /// It takes an earlier message back.
    Recall(Target),
}

/// The message an edit or a recall is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// By its number.
    Seq(u64),
    /// By the key this device sent it with.
    Sent(ClientMsgId),
}

/// How far a member has a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// The conversation.
    pub conversation: ConversationId,
    /// Everything up to here is durable on a device.
    pub delivered: u64,
    /// And was read up to here.
    pub read: u64,
}

/// What the operator has settled for all accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Only friends write to each other.
    pub friends_only: bool,
    /// Members of a group, [`MAX_GROUP_MEMBERS`](super::execute::MAX_GROUP_MEMBERS) at most.
    pub max_group_members: u32,
    /// Members of a group up to which a message gets a pointer in every inbox at once, [`FANOUT`](super::execute::FANOUT) at
    /// most. In larger ones they pull.
    pub fanout: u32,
    /// Messages of a large group that get a pointer when its members pull, [`PULL_GROUP`](super::execute::PULL_GROUP) at
    /// most. Of older ones a gap tells.
    pub pull_group: u64,
}

impl Default for Rules {
    fn default() -> Self {
        use super::execute::{FANOUT, MAX_GROUP_MEMBERS, PULL_GROUP};
        Self {
            friends_only: false,
            max_group_members: MAX_GROUP_MEMBERS,
            fanout: FANOUT,
            pull_group: PULL_GROUP,
        }
    }
}

/// What entitles a device to enrol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnrolVia {
    /// An invitation: a new account.
    Invitation {
        /// SHA-256 of the code.
        code_hash: [u8; 32],
    },
    /// A code signed by a device of the account, whose signature the hub has verified.
    Link {
        /// The account.
        uin: Uin,
        /// The device that signed.
        device_id: DeviceId,
        /// A link works once.
        nonce: [u8; 16],
        /// When it ends.
        expires: UnixMillis,
    },
    /// Open registration, which the hub has checked to be on: a new account.
    Open,
}

/// A device about to be enrolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDevice {
    /// 16 random bytes.
    pub id: DeviceId,
    /// Ed25519 public key.
    pub signing_key: [u8; 32],
    /// X25519 public key.
    pub static_key: [u8; 32],
    /// For the device list.
    pub name: String,
}

/// How [`Txn::LookupDevice`] names a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKey {
    /// By its X25519 public key, as the handshake proved it.
    Static([u8; 32]),
    /// By its id.
    Id(DeviceId),
}

impl Txn {
    /// Whether it only reads: a batch of such needs no fsync.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        match self {
            Self::LookupDevice { .. } | Self::Devices { .. } | Self::GroupsOf { .. } => true,
            Self::Act { act, .. } => act.is_read(),
            Self::File { ask, .. } => matches!(ask, FileAsk::Find { .. }),
            Self::SyncPage { place, .. } => !*place,
            Self::Boot { .. }
            | Self::SetClockFloor { .. }
            | Self::Rest { .. }
            | Self::Restored { .. }
            | Self::SetRules(_)
            | Self::CreateInvitation { .. }
            | Self::Enrol { .. }
            | Self::Append(_)
            | Self::Presence { .. }
            | Self::FileWork(_)
            | Self::Delivered { .. }
            | Self::RevokeDevice { .. } => false,
        }
    }

    /// Roughly how many bytes it holds, for queues that are bounded by memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Append(append) => append.body.len(),
                Self::Delivered { watermarks, .. } => watermarks.len() * size_of::<Watermark>(),
                Self::Enrol { device, .. } => device.name.len(),
                Self::Act { act, .. } => act.weight(),
                Self::FileWork(FileWork::Swept(doomed)) => doomed.len() * size_of::<Doomed>(),
                Self::Presence { renew, left, expire, .. } => {
                    (renew.len() + left.len()) * size_of::<(Uin, DeviceId)>()
                        + expire.len() * size_of::<Uin>()
                }
                _ => 0,
            }
    }
}

/// The answer to a [`Txn`] that was not refused.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// To [`Txn::Boot`].
    Booted(Boot),
    /// To [`Txn::SetClockFloor`] and [`Txn::Rest`]: the floor that holds now.
    ClockFloor {
        /// The floor.
        floor: UnixMillis,
    },
    /// To [`Txn::Restored`].
    Restored {
        /// What numbers are above now.
        above: u64,
    },
    /// It is so.
    Done,
    /// To [`Txn::Enrol`].
    Enrolled(DeviceInfo),
    /// To [`Txn::LookupDevice`].
    Device(DeviceInfo),
    /// To [`Txn::Append`].
    Appended {
        /// Its place in the conversation.
        conv_seq: u64,
        /// When it was stored.
        stored: UnixMillis,
        /// It was stored before; this is the first answer again.
        duplicate: bool,
        /// Its place in the sender's inbox, and, unless it is a duplicate, in every other member's.
        entries: Vec<InboxPlace>,
        /// The number of the message that an edit or a recall is about; 0 for a message.
        target_seq: u64,
        /// The group is too large for a pointer in every inbox: its members are told to sync. Only the sender has one.
        dirty: bool,
    },
    /// To [`Txn::Append`] with `resolve_only`: the key was never used, and never will be.
    Cancelled,
    /// To [`Txn::SyncPage`].
    Page {
        /// The store's epoch.
        epoch: [u8; 16],
        /// In order of position.
        deltas: Vec<v2::Delta>,
        /// The cursor of the next page.
        next: u64,
        /// Whether more follows.
        has_more: bool,
    },
    /// To [`Txn::SyncPage`]: the cursor can't be served.
    TooLong {
        /// The store's epoch.
        epoch: [u8; 16],
        /// The oldest cursor that can be served.
        next: u64,
    },
    /// To [`Txn::Delivered`].
    Delivered {
        /// The watermarks that rose, in each inbox they now stand in.
        receipts: Vec<ReceiptPlaced>,
    },
    /// To [`Txn::Devices`], oldest first.
    Devices(Vec<DeviceInfo>),
    /// To [`Txn::RevokeDevice`].
    Revoked {
        /// The generation tickets must have from now on.
        generation: u64,
    },
    /// To [`Txn::Act`] and [`Txn::Presence`].
    Acted(Acted),
    /// To [`Txn::File`] and [`Txn::FileWork`].
    File(FileAnswer),
    /// To [`Txn::GroupsOf`], in order.
    Groups(Vec<GroupId>),
}

/// What a store says of itself when it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boot {
    /// Names this history of inbox positions; a client's cursor from another epoch means nothing here.
    pub epoch: [u8; 16],
    /// Server time starts here: no earlier than any time used before, no earlier than the wall clock.
    pub clock: UnixMillis,
    /// Server time may be used up to here before the floor must be moved again.
    pub floor: UnixMillis,
}

/// A device as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its account.
    pub uin: Uin,
    /// Its id.
    pub id: DeviceId,
    /// Ed25519 public key.
    pub signing_key: [u8; 32],
    /// X25519 public key.
    pub static_key: [u8; 32],
    /// For the device list.
    pub name: String,
    /// When it enrolled.
    pub created: UnixMillis,
    /// When it was revoked.
    pub revoked: Option<UnixMillis>,
    /// Tickets of an older generation are void.
    pub generation: u64,
    /// Whether its account may invite.
    pub may_invite: bool,
    /// Whether it is an administrator's.
    pub admin: bool,
}

/// Where something stands in an inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxPlace {
    /// Whose inbox.
    pub uin: Uin,
    /// The position.
    pub position: u64,
    /// The newest position before it: whoever has not seen that one has a gap.
    pub previous: u64,
}

/// A watermark that rose, with its place in an inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptPlaced {
    /// Where.
    pub place: InboxPlace,
    /// What.
    pub receipt: v2::Receipt,
}
