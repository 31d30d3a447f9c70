//! Frames and capsules of HTTP/3: read the same however they are cut; what is written is read. Settings and numbers.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ntproto_h3::capsule::{Capsule, CapsuleReader, Malformed};
use ntproto_h3::config::MAX_DATAGRAM_CAPSULE;
use ntproto_h3::frame::{FrameReader, Piece, whole};
use ntproto_h3::settings::Settings;
use ntproto_h3::varint;

#[derive(Arbitrary)]
struct Input<'a> {
    cuts: &'a [u8],
    frames: Vec<(u32, &'a [u8])>,
    rest: &'a [u8],
}

/// Whole frames, and whether the stream may end there.
fn frames(bytes: &[u8], cuts: &[u8]) -> (Vec<(u64, Vec<u8>)>, bool) {
    let mut reader = FrameReader::default();
    let mut found: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut whole = 0;
    chunks(bytes, cuts, |mut chunk| {
        while let Some(piece) = reader.next(&mut chunk) {
            match piece {
                Piece::Start { kind, .. } => found.push((kind, Vec::new())),
                Piece::Data(data) => {
                    assert!(!data.is_empty());
                    found.last_mut().expect("begun").1.extend_from_slice(&data);
                }
                Piece::End => whole += 1,
            }
        }
        assert!(chunk.is_empty());
    });
    found.truncate(whole);
    (found, reader.is_between())
}

fn capsules(bytes: &[u8], cuts: &[u8]) -> Result<Vec<Capsule>, Malformed> {
    let mut reader = CapsuleReader::default();
    let (mut found, mut fault) = (Vec::new(), Ok(()));
    chunks(bytes, cuts, |mut chunk| {
        while fault.is_ok() {
            match reader.next(&mut chunk) {
                Ok(Some(capsule)) => {
                    assert!(
                        !matches!(&capsule, Capsule::Datagram(data) if data.len() > MAX_DATAGRAM_CAPSULE)
                    );
                    found.push(capsule);
                }
                Ok(None) => break,
                Err(error) => fault = Err(error),
            }
        }
    });
    fault.map(|()| found)
}

fn chunks(bytes: &[u8], cuts: &[u8], mut take: impl FnMut(Bytes)) {
    let mut rest = Bytes::copy_from_slice(bytes);
    let mut cuts = cuts.iter();
    while !rest.is_empty() {
        let len = cuts.next().map_or(rest.len(), |cut| usize::from(*cut) % 32 + 1);
        take(rest.split_to(len.min(rest.len())));
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let written: Vec<u8> =
        input.frames.iter().flat_map(|(kind, bytes)| whole((*kind).into(), bytes)).collect();
    let expected: Vec<_> =
        input.frames.iter().map(|(kind, bytes)| (u64::from(*kind), bytes.to_vec())).collect();
    assert_eq!(frames(&written, input.cuts), (expected, true));

    assert_eq!(frames(input.rest, input.cuts), frames(input.rest, &[]));
    assert_eq!(capsules(input.rest, input.cuts), capsules(input.rest, &[]));
    assert_eq!(capsules(&written, input.cuts), capsules(&written, &[]));
    let _ = Settings::decode(input.rest);
    if let Some((value, len)) = varint::get(input.rest) {
        let mut out = Vec::new();
        varint::put(value, &mut out);
        assert!(out.len() <= len && out.len() == varint::len(value));
        assert_eq!(varint::get(&out), Some((value, out.len())));
    }
});
