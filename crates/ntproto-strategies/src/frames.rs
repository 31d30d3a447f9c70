//! Frames.

use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::frame::{Flags, FrameType, Header, encode};
use proptest::prelude::*;

/// The largest payload of [`frame`].
pub const MAX_PAYLOAD: usize = 600;

/// A frame, taken apart and in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What its header says.
    pub header: Header,
    /// What it carries.
    pub payload: Vec<u8>,
    /// What is on the wire, with its checksum.
    pub bytes: Vec<u8>,
}

impl Frame {
    /// A frame with a right checksum.
    #[must_use]
    pub fn new(kind: u8, flags: Flags, channel: Channel, seq: u64, payload: Vec<u8>) -> Self {
        let mut bytes = Vec::new();
        encode(kind, flags, channel, seq, &payload, &mut bytes);
        let header = Header { kind, flags, channel, len: payload.len() as u32, seq };
        Self { header, payload, bytes }
    }
}

/// One of the channels.
pub fn channel() -> impl Strategy<Value = Channel> {
    prop::sample::select(&Channel::ALL[..])
}

/// A frame's type as it is on the wire: mostly a known one.
pub fn kind() -> impl Strategy<Value = u8> {
    prop_oneof![4 => prop::sample::select(&FrameType::ALL[..]).prop_map(|kind| kind as u8), 1 => any::<u8>()]
}

/// A well-formed frame: right lengths, right checksum, anything else.
///
/// ```
/// use ntproto_core::wire::frame::{Decoded, decode};
/// use ntproto_strategies::frames::{MAX_PAYLOAD, frame};
/// use proptest::prelude::*;
/// proptest!(|(frame in frame())| {
///     let Ok(Decoded::Frame { header, payload, consumed }) = decode(&frame.bytes, MAX_PAYLOAD) else {
///         return Err(TestCaseError::fail("it is whole"));
///     };
///     prop_assert_eq!((header, payload, consumed), (frame.header, &frame.payload[..], frame.bytes.len()));
/// });
/// ```
pub fn frame() -> impl Strategy<Value = Frame> {
    let payload = prop::collection::vec(any::<u8>(), 0..MAX_PAYLOAD);
    let seq = prop_oneof![9 => 1..20u64, 1 => any::<u64>()];
    (kind(), any::<u8>().prop_map(Flags), channel(), seq, payload)
        .prop_map(|(kind, flags, channel, seq, payload)| Frame::new(kind, flags, channel, seq, payload))
}

/// A frame to which one thing was done on its way: a byte changed, its end cut off, or bytes put in. Its `bytes` are
/// damaged; its header and payload say what it was.
///
/// ```
/// use ntproto_core::wire::frame::{Decoded, decode};
/// use ntproto_strategies::frames::{MAX_PAYLOAD, damaged};
/// use proptest::prelude::*;
/// proptest!(|(frame in damaged())| {
///     // It is refused, or more is awaited; what is taken for a frame is never the one that was sent.
///     if let Ok(Decoded::Frame { header, payload, .. }) = decode(&frame.bytes, MAX_PAYLOAD) {
///         prop_assert!(header != frame.header || payload != frame.payload);
///     }
/// });
/// ```
pub fn damaged() -> impl Strategy<Value = Frame> {
    let damage = (0..3u8, any::<prop::sample::Index>(), 1..=u8::MAX);
    (frame(), damage).prop_map(|(mut frame, (how, at, by))| {
        let at = at.index(frame.bytes.len());
        match how {
            0 => frame.bytes[at] ^= by,
            1 => frame.bytes.truncate(at),
            // Behind the first byte: before it would be another frame's affair.
            _ => drop(frame.bytes.splice(at.max(1)..at.max(1), [by, by])),
        }
        frame
    })
}
