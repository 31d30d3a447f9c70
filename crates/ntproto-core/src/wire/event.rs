//! What a `SyncPacket` says (specification, "Sync"). An unknown type is kept as it came.

/// How a `SyncPacket`'s payload is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum EventType {
    /// A `StoredMessage`.
    Message = 1,
    /// A `Receipt`.
    Receipt = 2,
    /// A `Friend`: a record of one's own.
    Friend = 3,
    /// A `GroupState`.
    Group = 4,
    /// A `Gap`.
    Gap = 5,
    /// A `User`: one's own profile.
    Profile = 6,
    /// A `StoredMessage` that edits an earlier one.
    Edit = 7,
    /// A `StoredMessage` that takes an earlier one back.
    Recall = 8,
}

impl EventType {
    /// The type with this number; an unknown one is `None`.
    #[must_use]
    pub const fn from_wire(n: u32) -> Option<Self> {
        match n {
            1 => Some(Self::Message),
            2 => Some(Self::Receipt),
            3 => Some(Self::Friend),
            4 => Some(Self::Group),
            5 => Some(Self::Gap),
            6 => Some(Self::Profile),
            7 => Some(Self::Edit),
            8 => Some(Self::Recall),
            _ => None,
        }
    }
}
