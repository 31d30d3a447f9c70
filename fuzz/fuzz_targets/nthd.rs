//! What comes on a TCP stream: NTHD messages, and the split into channels. Where the stream is cut makes no difference.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::demux::Demux;
use ntproto_core::wire::frame::{self, Flags, MAX_PAYLOAD_CLEAR};
use ntproto_core::wire::nthd::{self, Decoded, HEADER_LEN, NthdError};

#[derive(Arbitrary)]
struct Input<'a> {
    units: Vec<Unit<'a>>,
    tail: &'a [u8],
    /// How far it is to each cut.
    cuts: Vec<u8>,
}

#[derive(Arbitrary)]
enum Unit<'a> {
    Nthd(&'a [u8]),
    /// A header with some bytes changed.
    Header {
        len: u32,
        at: u8,
        flip: u8,
    },
    Frame {
        channel: u8,
        kind: u8,
        seq: u64,
        payload: &'a [u8],
    },
    /// A frame's header with any length.
    Lie {
        channel: u8,
        len: u32,
    },
}

fuzz_target!(|data: &[u8]| {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let mut bytes = Vec::new();
    for unit in input.units {
        match unit {
            Unit::Nthd(payload) => nthd::encode(payload, &mut bytes),
            Unit::Header { len, at, flip } => {
                let mut header = nthd::header(len);
                header[usize::from(at) % HEADER_LEN] ^= flip;
                bytes.extend(header);
            }
            Unit::Frame { channel, kind, seq, payload } => {
                let channel = Channel::ALL[usize::from(channel) % Channel::ALL.len()];
                frame::encode(kind, Flags(0), channel, seq, payload, &mut bytes);
            }
            Unit::Lie { channel, len } => {
                bytes.extend([frame::VERSION, 1, 0, channel % 5]);
                bytes.extend(len.to_be_bytes());
            }
        }
    }
    bytes.extend(input.tail);
    walk(&bytes);
    let whole = split(&bytes, &[]);
    assert_eq!(whole, split(&bytes, &input.cuts), "cuts make no difference");
    assert_eq!(whole, split(&bytes, &vec![1; bytes.len()]));
    assert!(whole.iter().map(|(_, byte)| byte).eq(&bytes[..whole.len()]), "in order, as they came");
    assert!(bytes.len() - whole.len() < 8, "only a header's start is held");
});

/// Reads messages until there are no more, and checks what the codec promises of each.
fn walk(bytes: &[u8]) {
    let mut rest = bytes;
    loop {
        match nthd::decode(rest, MAX_PAYLOAD_CLEAR) {
            Ok(Decoded::Message { payload, consumed }) => {
                assert!(payload.len() <= MAX_PAYLOAD_CLEAR && consumed == HEADER_LEN + payload.len());
                let mut again = Vec::new();
                nthd::encode(payload, &mut again);
                assert_eq!(again, rest[..consumed], "a message has one encoding");
                rest = &rest[consumed..];
            }
            Ok(Decoded::NeedMore(total)) => {
                assert!(total > rest.len() && total <= HEADER_LEN + MAX_PAYLOAD_CLEAR);
                return;
            }
            Err(NthdError::TooLarge(len)) => return assert!(len as usize > MAX_PAYLOAD_CLEAR),
            Err(_) => return,
        }
    }
}

/// Every byte with its channel.
fn split(bytes: &[u8], cuts: &[u8]) -> Vec<(Channel, u8)> {
    let mut demux = Demux::new();
    let mut out = Vec::new();
    let mut rest = bytes;
    for n in cuts.iter().map(|&n| usize::from(n)).chain([bytes.len()]) {
        let (mut now, later) = rest.split_at(n.min(rest.len()));
        rest = later;
        while let Some((channel, piece)) = demux.next(&mut now) {
            assert!(!piece.is_empty());
            out.extend(piece.iter().map(|&byte| (channel, byte)));
        }
        assert!(now.is_empty());
    }
    out
}
