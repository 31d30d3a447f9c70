#![allow(clippy::unwrap_used)]
use super::*;
use crate::crypto::rustcrypto::RUSTCRYPTO;
use crate::crypto::secret::Secret;
use crate::time::Instant;
use crate::wire::channel::Channel;
use crate::wire::frame::{
    Decoded, Flags, FrameType, Header, MAX_PAYLOAD, TRAILER_LEN, append_checksum, decode,
};
use alloc::vec::Vec;
use proptest::prelude::*;

const T0: Instant = Instant::ORIGIN;

fn keys() -> (Secret<32>, [u8; NONCE_LEN]) {
    (Secret::new([7; 32]), [9; 12])
}

fn pair() -> (Sealer, Opener) {
    (
        Sealer::new(&RUSTCRYPTO, Channel::Message, keys(), 0, T0),
        Opener::new(&RUSTCRYPTO, Channel::Message, keys(), 0),
    )
}

fn seal_at(sealer: &mut Sealer, now: Instant, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let start = Sealer::begin(&mut out);
    out.extend_from_slice(plain);
    sealer.finish(now, FrameType::MsgEncryptedV2, Flags::default(), &mut out, start).unwrap();
    out
}

fn seal(sealer: &mut Sealer, plain: &[u8]) -> Vec<u8> {
    seal_at(sealer, T0, plain)
}

fn parts(frame: &[u8]) -> (Header, Vec<u8>) {
    match decode(frame, MAX_PAYLOAD).unwrap() {
        Decoded::Frame { header, payload, .. } => (header, payload.to_vec()),
        Decoded::NeedMore(_) => panic!("a whole frame"),
    }
}

fn open(opener: &mut Opener, frame: &[u8]) -> Result<Vec<u8>, Refused> {
    let (header, mut payload) = parts(frame);
    if opener.msg_seq().is_multiple_of(2) {
        return opener.open_copy(&header, &payload);
    }
    opener.open(&header, &mut payload).map(|p| p.to_vec())
}

proptest! {
    #[test]
    fn round_trip(plains in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..10)) {
        let (mut s, mut o) = pair();
        for (n, plain) in plains.iter().enumerate() {
            let frame = seal(&mut s, plain);
            prop_assert_eq!(frame.len(), plain.len() + FRAME_OVERHEAD);
            prop_assert_eq!(open(&mut o, &frame), Ok(plain.clone()));
            prop_assert_eq!(o.msg_seq(), n as u64 + 1);
        }
    }

    /// Every bit flipped, with the checksum repaired: one error, and the true frame still opens.
    //= proof: sealed-2, sealed-4
    #[test]
    fn a_forged_frame_changes_nothing(plain in prop::collection::vec(any::<u8>(), 0..40), bit in any::<prop::sample::Index>()) {
        let (mut s, mut o) = pair();
        let frame = seal(&mut s, &plain);
        let mut forged = frame[..frame.len() - TRAILER_LEN].to_vec();
        let bit = bit.index(forged.len() * 8);
        forged[bit / 8] ^= 1 << (bit % 8);
        append_checksum(&mut forged, 0);
        if let Ok(Decoded::Frame { header, payload, .. }) = decode(&forged, MAX_PAYLOAD) {
            let mut payload = payload.to_vec();
            prop_assert_eq!(o.open(&header, &mut payload), Err(Refused));
        }
        prop_assert_eq!(open(&mut o, &frame), Ok(plain));
    }

    //= proof: sealed-5
    #[test]
    fn noise_never_opens(bytes in prop::collection::vec(any::<u8>(), 0..100), seq in any::<u64>(), flags in any::<u8>()) {
        let (_, mut o) = pair();
        let header = Header { kind: 16, flags: Flags(flags), channel: Channel::Message, len: bytes.len() as u32, seq };
        let mut bytes = bytes.clone();
        prop_assert_eq!(o.open(&header, &mut bytes), Err(Refused));
    }

    /// Any arrival order of datagrams, with repetitions and a key update: each opens exactly once.
    #[test]
    fn datagrams_open_once(order in prop::collection::vec(0..60usize, 1..200), update_at in 1..60usize) {
        let mut s = Sealer::new(&RUSTCRYPTO, Channel::Media, keys(), 0, T0);
        let frames: Vec<_> = (0..60).map(|n| {
            if n == update_at { s.update(T0); }
            seal(&mut s, &[n as u8])
        }).collect();
        let mut o = DatagramOpener::new(&RUSTCRYPTO, Channel::Media, keys());
        let mut seen = [false; 60];
        for n in order {
            let (header, mut payload) = parts(&frames[n]);
            let got = o.open(&header, &mut payload).map(|p| p.to_vec());
            if seen[n] { prop_assert_eq!(got, Err(Refused)); } else { prop_assert_eq!(got, Ok(Vec::from([n as u8]))); }
            seen[n] = true;
        }
    }
}

//= proof: sealed-3
#[test]
fn replay_reorder_and_gaps_are_refused() {
    let (mut s, mut o) = pair();
    let frames: Vec<_> = (0..3).map(|n| seal(&mut s, &[n])).collect();
    assert_eq!(open(&mut o, &frames[1]), Err(Refused), "a gap");
    assert!(open(&mut o, &frames[0]).is_ok());
    assert_eq!(open(&mut o, &frames[0]), Err(Refused), "a replay");
    assert_eq!(open(&mut o, &frames[2]), Err(Refused), "a gap");
    assert!(open(&mut o, &frames[1]).is_ok());
    assert!(open(&mut o, &frames[2]).is_ok());
}

//= proof: sealed-8
#[test]
fn a_forged_update_moves_no_key() {
    let (mut s, mut o) = pair();
    for plain in [b"one", b"two"] {
        let frame = seal(&mut s, plain);
        // The flag alone, under the old key, with the checksum repaired.
        let mut forged = frame[..frame.len() - TRAILER_LEN].to_vec();
        forged[2] ^= Flags::KEY_EPOCH.0;
        append_checksum(&mut forged, 0);
        assert_eq!(open(&mut o, &forged), Err(Refused));
        assert_eq!(open(&mut o, &frame), Ok(plain.to_vec()), "the old key opens still");
        s.update(T0);
    }
}

#[test]
fn a_frame_of_another_channel_is_refused() {
    let (mut s, _) = pair();
    let mut o = Opener::new(&RUSTCRYPTO, Channel::Sync, keys(), 0);
    assert_eq!(open(&mut o, &seal(&mut s, b"x")), Err(Refused));
}

//= proof: sealed-6, sealed-7
#[test]
fn keys_change_by_frames_and_by_age() {
    let (mut s, mut o) = pair();
    assert!(open(&mut o, &seal(&mut s, b"a")).is_ok());
    let epoch = |frame: &[u8]| parts(frame).0.flags.contains(Flags::KEY_EPOCH);
    s.jump(1, MAX_FRAMES_PER_KEY);
    let b = seal(&mut s, b"b");
    assert!(epoch(&b));
    assert!(open(&mut o, &b).is_ok());
    let c = seal_at(&mut s, T0 + MAX_KEY_AGE, b"c");
    assert!(!epoch(&c), "the parity of epoch 2");
    assert!(open(&mut o, &c).is_ok());
    s.update(T0);
    s.update(T0);
    let d = seal(&mut s, b"d");
    assert!(epoch(&d), "two updates without a frame between are one");
    assert!(open(&mut o, &d).is_ok());
}

//= proof: sealed-6
#[test]
fn a_key_seals_so_many_blocks_and_no_more() {
    let epoch = |frame: &[u8]| parts(frame).0.flags.contains(Flags::KEY_EPOCH);
    let cost = |bytes: u64| (bytes + 24).div_ceil(16) + 1;
    let (mut s, _) = pair();
    s.use_up(MAX_BLOCKS_PER_KEY - cost(1000));
    assert!(!epoch(&seal(&mut s, &[0; 1000])), "exactly so many");
    assert!(epoch(&seal(&mut s, b"")));
    let (mut s, _) = pair();
    s.use_up(MAX_BLOCKS_PER_KEY - cost(1000) + 1);
    assert!(epoch(&seal(&mut s, &[0; 1000])), "one more would be too many");
}

//= proof: sealed-10
#[test]
fn a_key_that_did_twice_as_much_opens_nothing() {
    for (frames, blocks, opens) in [
        (2 * MAX_FRAMES_PER_KEY - 1, 0, true),
        (2 * MAX_FRAMES_PER_KEY, 0, false),
        (0, 2 * MAX_BLOCKS_PER_KEY - 1, true),
        (0, 2 * MAX_BLOCKS_PER_KEY, false),
    ] {
        let (mut s, mut o) = pair();
        o.use_up(frames, blocks);
        assert_eq!(open(&mut o, &seal(&mut s, b"x")).is_ok(), opens, "{frames} {blocks}");
    }
}

//= proof: sealed-1
#[test]
fn nonces_are_the_iv_and_the_number() {
    let (mut s, _) = pair();
    for msg_seq in 1..300u64 {
        let (_, payload) = parts(&seal(&mut s, b"x"));
        let mut nonce = [9; 12];
        nonce[4..].iter_mut().zip(msg_seq.to_be_bytes()).for_each(|(n, s)| *n ^= s);
        assert_eq!((&payload[..8], &payload[8..20]), (&msg_seq.to_be_bytes()[..], &nonce[..]));
    }
}

//= proof: sealed-11
#[test]
fn sequence_numbers_end_and_never_wrap() {
    let (mut s, mut o) = pair();
    s.jump(u64::MAX - 1, 0);
    o.jump(u64::MAX - 1);
    // Frame and message numbers part here; only the latter is at its end.
    assert!(open(&mut o, &seal(&mut s, b"last")).is_ok());
    let mut out = Vec::from(*b"before");
    let start = Sealer::begin(&mut out);
    assert_eq!(s.finish(T0, FrameType::MsgEncryptedV2, Flags::default(), &mut out, start), Err(KeyLimit));
    assert_eq!(out, b"before");
}

/// A pair of a session made in early data. `first_opens`: whether the opener takes frames under the first key.
fn early_pair(first_opens: bool) -> (Sealer, Opener) {
    let (sealer, opener) = pair();
    (sealer.early(), opener.early(first_opens))
}

//= proof: keys-2, keys-4
#[test]
fn the_first_update_of_an_early_session_mixes_the_exporter_in() {
    for frames in 0..3 {
        let (mut s, mut o) = early_pair(true);
        for n in 0..frames {
            let frame = seal(&mut s, &[n]);
            assert_eq!(open(&mut o, &frame), Ok(alloc::vec![n]));
            // No other update comes first.
            s.update(T0);
        }
        s.bind(T0, &[5; 32]);
        let frame = seal(&mut s, b"bound");
        assert_eq!(open(&mut o, &frame), Err(Refused), "the exporter is not known yet");
        o.bind(&[5; 32]);
        assert_eq!(open(&mut o, &frame), Ok(b"bound".to_vec()));
        // After it they go on as ever.
        for n in 0..4 {
            s.bind(T0, &[6; 32]);
            s.update(T0);
            let frame = seal(&mut s, &[n]);
            assert_eq!(open(&mut o, &frame), Ok(alloc::vec![n]));
        }
    }
}

#[test]
fn another_exporter_opens_nothing() {
    let (mut s, mut o) = early_pair(true);
    s.bind(T0, &[5; 32]);
    o.bind(&[6; 32]);
    let frame = seal(&mut s, b"x");
    assert_eq!(open(&mut o, &frame), Err(Refused));
    // Nor does the update that an ordinary session makes.
    let (mut plain, _) = pair();
    let _ = seal(&mut plain, b"first");
    plain.update(T0);
    let frame = seal(&mut plain, b"x");
    let (_, mut o) = early_pair(true);
    o.bind(&[5; 32]);
    assert_eq!(open(&mut o, &frame), Err(Refused));
}

//= proof: keys-3
#[test]
fn a_client_never_uses_its_first_key() {
    let (mut s, mut o) = early_pair(false);
    let frame = seal(&mut s, b"x");
    o.bind(&[5; 32]);
    assert_eq!(open(&mut o, &frame), Err(Refused));
    let (mut s, _) = early_pair(false);
    s.bind(T0, &[5; 32]);
    let frame = seal(&mut s, b"x");
    assert_eq!(open(&mut o, &frame), Ok(b"x".to_vec()));
}

#[test]
fn the_first_key_of_an_early_session_is_not_used_up() {
    let (mut s, _) = early_pair(true);
    let mut out = Vec::new();
    let start = Sealer::begin(&mut out);
    let late = T0 + MAX_KEY_AGE;
    assert!(s.finish(late, FrameType::MsgEncryptedV2, Flags::default(), &mut out, start).is_err());
    assert!(out.is_empty());
}
