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
}

impl EventType {
    /// The type with this number; an unknown one is `None`.
    #[must_use]
    pub const fn from_wire(n: u32) -> Option<Self> {
        match n {
            1 => Some(Self::Message),
            2 => Some(Self::Receipt),
            _ => None,
        }
    }
}
