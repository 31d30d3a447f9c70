//! Identifiers. Each is its own type, so that none is taken for another.

use core::fmt;

/// An account, numbered by the server from 10001. Zero is nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uin(pub u64);

impl fmt::Display for Uin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Writes bytes as lower-case hexadecimal.
fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
}

/// A group, numbered by the server from 1. Zero is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u64);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! id16 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// From exactly 16 bytes, as a protobuf field carries them.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

id16! {
    /// A file, from the first byte of its upload on; random, chosen by the server.
    FileId
}

id16! {
    /// A device of an account; random, chosen by the server.
    DeviceId
}
id16! {
    /// A session; random, chosen by the server.
    SessionId
}
id16! {
    /// A message's idempotency key; random, chosen by the sending device.
    ClientMsgId
}
id16! {
    /// An upload's idempotency key, unique in its account; random, chosen by the client.
    UploadId
}
id16! {
    /// A conversation. A direct one is its two members, lower number first, big-endian; a group's is eight zero bytes
    /// and the group's id.
    ConversationId
}

impl ConversationId {
    /// The direct conversation of two accounts, whichever way round they are given.
    ///
    /// ```
    /// use ntproto_core::ids::{ConversationId, Uin};
    /// let id = ConversationId::direct(Uin(10002), Uin(10001));
    /// assert_eq!(id.members(), Some((Uin(10001), Uin(10002))));
    /// ```
    #[must_use]
    pub fn direct(a: Uin, b: Uin) -> Self {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&a.0.min(b.0).to_be_bytes());
        id[8..].copy_from_slice(&a.0.max(b.0).to_be_bytes());
        Self(id)
    }

    /// The two members of a direct conversation, lower number first. `None` when the id is not one:
    /// the first half is zero (a group's), the halves are equal or out of order.
    #[must_use]
    pub fn members(self) -> Option<(Uin, Uin)> {
        let (low, high) = self.0.split_at(8);
        let low = u64::from_be_bytes(low.try_into().ok()?);
        let high = u64::from_be_bytes(high.try_into().ok()?);
        (low != 0 && low < high).then_some((Uin(low), Uin(high)))
    }

    /// The conversation of a group.
    ///
    /// ```
    /// use ntproto_core::ids::{ConversationId, GroupId};
    /// let id = ConversationId::of_group(GroupId(7));
    /// assert_eq!((id.group(), id.members()), (Some(GroupId(7)), None));
    /// ```
    #[must_use]
    pub fn of_group(group: GroupId) -> Self {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&group.0.to_be_bytes());
        Self(id)
    }

    /// The group whose conversation it is; `None` when it is no group's.
    #[must_use]
    pub fn group(self) -> Option<GroupId> {
        let (zero, id) = self.0.split_at(8);
        let id = u64::from_be_bytes(id.try_into().ok()?);
        (zero == [0; 8] && id != 0).then_some(GroupId(id))
    }
}
