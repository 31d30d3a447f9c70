//! Packets.

use bytes::Bytes;
use ntproto_core::wire::packet::{Kind, Packet, PacketId, TRACE_LEN};
use proptest::prelude::*;

/// The largest body of [`packet`]: a few packets fit one frame.
pub const MAX_BODY: usize = 300;

/// An id: of this specification, of an application, or of nobody.
///
/// ```
/// use ntproto_strategies::packets::id;
/// use proptest::{strategy::{Strategy, ValueTree}, test_runner::TestRunner};
/// let mut runner = TestRunner::deterministic();
/// let drawn: Vec<_> = (0..100).map(|_| id().new_tree(&mut runner).expect("one").current()).collect();
/// assert!(drawn.iter().any(|id| id.name().is_some()) && drawn.iter().any(|id| id.is_application()));
/// ```
pub fn id() -> impl Strategy<Value = PacketId> {
    let named: Vec<PacketId> = (0..=u16::MAX).map(PacketId).filter(|id| id.name().is_some()).collect();
    prop_oneof![
        3 => prop::sample::select(named),
        2 => (PacketId::APPLICATION.0..=u16::MAX).prop_map(PacketId),
        1 => any::<u16>().prop_map(PacketId),
    ]
}

/// Whether it asks, answers or tells. Request ids are small, so that an answer meets its request.
pub fn kind() -> impl Strategy<Value = Kind> {
    let number = || prop_oneof![9 => 1..8u32, 1 => 1..=u32::MAX];
    prop_oneof![
        Just(Kind::Push),
        number().prop_map(Kind::Request),
        number().prop_map(Kind::Response),
        number().prop_map(Kind::Error),
    ]
}

/// Any legal packet; only requests have deadlines.
pub fn packet() -> impl Strategy<Value = Packet> {
    let body = prop::collection::vec(any::<u8>(), 0..MAX_BODY).prop_map(Bytes::from);
    let trace = prop::option::of(any::<[u8; TRACE_LEN]>());
    (id(), kind(), any::<Option<u32>>(), trace, body).prop_map(|(id, kind, deadline, trace, body)| Packet {
        id,
        kind,
        deadline_ms: deadline.filter(|_| matches!(kind, Kind::Request(_))),
        trace,
        body,
    })
}

/// What a sealed frame holds: a few packets, and their encoding.
///
/// ```
/// use ntproto_core::wire::packet::Packet;
/// use ntproto_strategies::packets::plaintext;
/// use proptest::prelude::*;
/// proptest!(|((packets, mut bytes) in plaintext())| {
///     for packet in packets {
///         prop_assert_eq!(Packet::decode(&mut bytes), Ok(packet));
///     }
///     prop_assert!(bytes.is_empty());
/// });
/// ```
pub fn plaintext() -> impl Strategy<Value = (Vec<Packet>, Bytes)> {
    prop::collection::vec(packet(), 1..8).prop_map(|packets| {
        let mut bytes = Vec::new();
        packets.iter().for_each(|packet| packet.encode(&mut bytes));
        (packets, bytes.into())
    })
}
