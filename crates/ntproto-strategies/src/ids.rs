//! Identifiers and times.

use std::ops::Range;

use ntproto_core::ids::{ClientMsgId, ConversationId, DeviceId, SessionId, Uin};
use ntproto_core::time::UnixMillis;
use proptest::prelude::*;

/// The number of the first account of a server.
pub const FIRST: u64 = 10_001;

/// One of a few accounts: two draws often are the same one.
///
/// ```
/// use ntproto_strategies::ids::{FIRST, uin};
/// use proptest::prelude::*;
/// proptest!(|(uin in uin())| prop_assert!((FIRST..FIRST + 5).contains(&uin.0)));
/// ```
pub fn uin() -> impl Strategy<Value = Uin> {
    (FIRST..FIRST + 5).prop_map(Uin)
}

/// One of a few devices.
pub fn device_id() -> impl Strategy<Value = DeviceId> {
    (0..7_u8).prop_map(|n| DeviceId([n; 16]))
}

/// Any session.
pub fn session_id() -> impl Strategy<Value = SessionId> {
    any::<[u8; 16]>().prop_map(SessionId)
}

/// One of 256 idempotency keys: sometimes one that was used.
pub fn client_msg_id() -> impl Strategy<Value = ClientMsgId> {
    any::<u8>().prop_map(|n| ClientMsgId([n; 16]))
}

/// Mostly a direct conversation of two of the accounts of [`uin`], sometimes of one with itself, sometimes an id that
/// is none.
pub fn conversation() -> impl Strategy<Value = ConversationId> {
    prop_oneof![
        9 => (uin(), uin()).prop_map(|(a, b)| ConversationId::direct(a, b)),
        1 => Just(ConversationId([0; 16])),
    ]
}

/// A conversation of this account with another.
///
/// ```
/// use ntproto_core::ids::Uin;
/// use ntproto_strategies::ids::conversation_of;
/// use proptest::prelude::*;
/// proptest!(|(talk in conversation_of(Uin(7)))| {
///     let (low, high) = talk.members().expect("a direct one");
///     prop_assert!(low == Uin(7) || high == Uin(7));
/// });
/// ```
pub fn conversation_of(member: Uin) -> impl Strategy<Value = ConversationId> {
    uin()
        .prop_filter("talks to somebody else", move |other| *other != member)
        .prop_map(move |other| ConversationId::direct(member, other))
}

/// A time of a clock on the wall, within a range of milliseconds.
pub fn time(range: Range<u64>) -> impl Strategy<Value = UnixMillis> {
    range.prop_map(UnixMillis)
}
