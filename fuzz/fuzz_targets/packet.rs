//! The packets inside a sealed frame: what decodes encodes to the same bytes, and reading always ends.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ntproto_core::wire::packet::{DEADLINE_LEN, HEADER_LEN, Packet, TRACE_LEN};

#[derive(Arbitrary)]
enum Input<'a> {
    Raw(&'a [u8]),
    /// Packets with honest lengths.
    Packets(Vec<(u16, u16, u32, &'a [u8])>),
}

const DEADLINE: u16 = 4;
const TRACE: u16 = 8;

fuzz_target!(|data: &[u8]| {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let mut plain = Bytes::from(match input {
        Input::Raw(bytes) => bytes.to_vec(),
        Input::Packets(packets) => {
            let mut bytes = Vec::new();
            for (id, flags, request, body) in packets {
                bytes.extend(id.to_be_bytes());
                bytes.extend((flags & 0xff0f).to_be_bytes());
                bytes.extend(request.to_be_bytes());
                bytes.extend((body.len() as u32).to_be_bytes());
                bytes.extend(vec![7; if flags & DEADLINE == 0 { 0 } else { DEADLINE_LEN }]);
                bytes.extend(vec![9; if flags & TRACE == 0 { 0 } else { TRACE_LEN }]);
                bytes.extend(body);
            }
            bytes
        }
    });
    while !plain.is_empty() {
        let before = plain.clone();
        let Ok(packet) = Packet::decode(&mut plain) else { return };
        let used = before.len() - plain.len();
        assert!(used >= HEADER_LEN && used == packet.encoded_len());
        let mut again = Vec::new();
        packet.encode(&mut again);
        // The upper byte of the flags is for later versions; this one reads past it.
        assert_eq!(again[..2], before[..2]);
        assert_eq!(again[3..], before[3..used]);
    }
});
