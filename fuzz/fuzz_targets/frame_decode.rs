//! The frame codec, as bytes and with the checksum repaired so that every header is reached.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use ntproto_core::wire::frame::{
    self, Decoded, FrameError, HEADER_LEN, MAX_PAYLOAD, MAX_PAYLOAD_CLEAR, TRAILER_LEN, append_checksum,
};

#[derive(Arbitrary)]
enum Input<'a> {
    /// Anything, as it is.
    Raw(&'a [u8]),
    /// Frames with these headers and a right checksum, followed by anything.
    Repaired { frames: Vec<(Head, &'a [u8])>, tail: &'a [u8] },
}

#[derive(Arbitrary)]
struct Head {
    version: Option<u8>,
    kind: u8,
    flags: u8,
    channel: u8,
    /// A length that lies.
    len: Option<u32>,
    seq: u64,
}

fuzz_target!(|data: &[u8]| {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let bytes = match input {
        Input::Raw(bytes) => bytes.to_vec(),
        Input::Repaired { frames, tail } => {
            let mut bytes = Vec::new();
            for (head, payload) in frames {
                let start = bytes.len();
                bytes.extend([
                    head.version.unwrap_or(frame::VERSION),
                    head.kind,
                    head.flags,
                    head.channel % 5,
                ]);
                bytes.extend(head.len.unwrap_or(payload.len() as u32).to_be_bytes());
                bytes.extend(head.seq.to_be_bytes());
                bytes.extend(payload);
                append_checksum(&mut bytes, start);
            }
            bytes.extend(tail);
            bytes
        }
    };
    for limit in [MAX_PAYLOAD_CLEAR, MAX_PAYLOAD] {
        walk(&bytes, limit);
    }
});

/// Reads frames until there are no more, and checks what the codec promises of each.
fn walk(bytes: &[u8], limit: usize) {
    let mut rest = bytes;
    loop {
        match frame::decode(rest, limit) {
            Ok(Decoded::Frame { header, payload, consumed }) => {
                assert_eq!(consumed, HEADER_LEN + payload.len() + TRAILER_LEN);
                assert!(payload.len() <= limit && payload.len() == header.len as usize);
                let mut again = Vec::new();
                frame::encode(header.kind, header.flags, header.channel, header.seq, payload, &mut again);
                assert_eq!(again, rest[..consumed], "a frame has one encoding");
                rest = &rest[consumed..];
            }
            Ok(Decoded::NeedMore(total)) => {
                assert!(total > rest.len() && total <= HEADER_LEN + limit + TRAILER_LEN);
                return;
            }
            Err(FrameError::TooLarge(len)) => return assert!(len as usize > limit),
            Err(_) => return,
        }
    }
}
