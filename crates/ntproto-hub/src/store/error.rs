//! Why a store says no, or nothing.

use core::fmt;

use ntproto_core::code::ErrorCode;

/// Why a transaction was refused, or could not be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreError {
    /// No such account, device or conversation.
    NotFound,
    /// The caller has no right to it.
    Forbidden,
    /// The idempotency key holds another message.
    Conflict,
    /// The idempotency key was given up before its message came.
    Cancelled,
    /// An earlier message of the device is not stored: that one comes first.
    OutOfOrder,
    /// The device was revoked.
    Revoked,
    /// No such invitation.
    InvitationUnknown,
    /// The invitation's time is over.
    InvitationExpired,
    /// Every use of the invitation was made.
    InvitationUsedUp,
    /// The link's time is over.
    LinkExpired,
    /// The link was used before.
    LinkUsed,
    /// The device's keys belong to another device.
    KeysInUse,
    /// The account has as many devices as it may.
    TooManyDevices,
    /// The deadline passed before the store came to it.
    Expired,
    /// The disk is full: free some space. Nothing that was acknowledged is lost.
    Full,
    /// The store failed and takes nothing more until it is opened again.
    Unavailable,
    /// A record that this transaction needs can't be read. Restore the store from a backup.
    Corrupt,
    /// The version compared is not the current one.
    Stale,
    /// It was there, and is no more.
    Gone,
    /// The owner of a group can't leave it.
    LastOwner,
    /// May not send in this group now.
    Muted,
    /// As many as there may be.
    TooMany,
    /// The time in which it could be done is over.
    TooLate,
    /// A request that makes no sense.
    BadRequest,
    /// A text that may not be shown as it is.
    BadName,
    /// The account's files fill its quota.
    Quota,
}

impl StoreError {
    /// Whether the store works and said no (the transaction wrote nothing, the rest of its batch
    /// stands). Otherwise the store failed, and nothing of the batch may be relied on.
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        !matches!(self, Self::Full | Self::Unavailable)
    }

    /// What a peer is told.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::NotFound => ErrorCode::NotFound,
            Self::Forbidden | Self::TooManyDevices => ErrorCode::Forbidden,
            Self::Conflict => ErrorCode::Conflict,
            Self::Cancelled => ErrorCode::Cancelled,
            Self::Revoked => ErrorCode::Revoked,
            Self::InvitationUnknown
            | Self::InvitationExpired
            | Self::InvitationUsedUp
            | Self::LinkExpired
            | Self::LinkUsed
            | Self::KeysInUse => ErrorCode::BadCredential,
            Self::Stale => ErrorCode::Stale,
            Self::Gone => ErrorCode::Gone,
            Self::LastOwner => ErrorCode::LastOwner,
            Self::Muted => ErrorCode::Muted,
            Self::TooMany | Self::Quota => ErrorCode::TooMany,
            Self::TooLate => ErrorCode::TooLate,
            Self::BadRequest => ErrorCode::BadRequest,
            Self::BadName => ErrorCode::BadName,
            Self::OutOfOrder => ErrorCode::RetryAfter,
            Self::Expired => ErrorCode::DeadlineExceeded,
            Self::Full | Self::Unavailable => ErrorCode::Unavailable,
            Self::Corrupt => ErrorCode::Internal,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "no such thing",
            Self::Forbidden => "not allowed",
            Self::Conflict => "the idempotency key holds another message",
            Self::Cancelled => "the message was given up before it came",
            Self::OutOfOrder => "an earlier message comes first",
            Self::Revoked => "the device was revoked",
            Self::InvitationUnknown => "no such invitation",
            Self::InvitationExpired => "the invitation has expired",
            Self::InvitationUsedUp => "the invitation is used up",
            Self::LinkExpired => "the device link has expired",
            Self::LinkUsed => "the device link was used before",
            Self::KeysInUse => "the device's keys belong to another device",
            Self::TooManyDevices => "the account has too many devices",
            Self::Stale => "the version is not the current one: read again",
            Self::Gone => "it is no more",
            Self::LastOwner => "the owner can't leave: hand the group over, or dissolve it",
            Self::Muted => "may not send in this group now",
            Self::TooMany => "there are as many as there may be",
            Self::TooLate => "the time for it is over",
            Self::BadRequest => "the request makes no sense",
            Self::BadName => "a text that may not be shown as it is",
            Self::Quota => "the account's files fill its quota",
            Self::Expired => "the deadline passed",
            Self::Full => "the disk is full; free some space (nothing acknowledged is lost)",
            Self::Unavailable => "the store failed and must be opened again",
            Self::Corrupt => "the store holds a record that can't be read; restore a backup",
        })
    }
}

impl core::error::Error for StoreError {}
