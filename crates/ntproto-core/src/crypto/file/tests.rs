use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::crypto::rustcrypto::RUSTCRYPTO;
use crate::rng::Rng;

fn cipher(key: u8, plain: &[u8]) -> FileCipher {
    FileCipher::new(&RUSTCRYPTO, &FileKey(Secret::new([key; 32])), plain.len() as u64).unwrap()
}

fn seal(cipher: &FileCipher, plain: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::new();
    while (sealed.len() as u64) < cipher.sealed() {
        let more = cipher.sealed_from(sealed.len() as u64, |at, out| {
            out.copy_from_slice(&plain[at as usize..][..out.len()]);
            Ok::<_, ()>(())
        });
        sealed.extend(more.unwrap());
    }
    sealed
}

fn open(cipher: &FileCipher, sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let (mut opening, mut plain) = (Opening::new(cipher, 0), Vec::new());
    opening.push(sealed, &mut plain)?;
    // Every byte came, the tag of an empty file too.
    if opening.held() == 0 && sealed.len() as u64 == cipher.sealed() { Ok(plain) } else { Err(CryptoError) }
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 31 % 251) as u8).collect()
}

#[test]
fn lengths() {
    let tag = TAG_LEN as u64;
    for (plain, tags) in [(0, 1), (1, 1), (65_535, 1), (65_536, 1), (65_537, 2), (131_072, 2), (131_073, 3)] {
        assert_eq!(sealed_len(plain), plain + tags * tag);
        assert_eq!(plain_len(sealed_len(plain)), Some(plain));
    }
    for cut in [0, 1, 15, SEALED_SEGMENT as u64 + 1, SEALED_SEGMENT as u64 + tag, u64::MAX] {
        assert_eq!(plain_len(cut), None, "{cut}");
    }
    assert_eq!(plain_len(sealed_len(MAX_FILE)), Some(MAX_FILE));
    assert_eq!(plain_len(sealed_len(MAX_FILE + 1)), None);
    let key = FileKey(Secret::zero());
    assert_eq!(FileCipher::new(&RUSTCRYPTO, &key, MAX_FILE + 1).err(), Some(BadLength::TooLarge));
    assert_eq!(FileCipher::of_sealed(&RUSTCRYPTO, &key, 15).err(), Some(BadLength::Cut));
}

/// What only a file of several segments shows, at their edges.
#[test]
fn no_segment_stands_in_for_another() {
    let plain = bytes(2 * SEGMENT);
    let cipher_ = cipher(1, &plain);
    let sealed = seal(&cipher_, &plain);
    assert_eq!(open(&cipher_, &sealed).unwrap(), plain);
    let (first, second) = sealed.split_at(SEALED_SEGMENT);
    let swapped = [second, first].concat();
    assert!(open(&cipher_, &swapped).is_err());
    // Cut between segments: the first is not the last, and a file of one segment says it is.
    assert!(open(&cipher(1, &plain[..SEGMENT]), first).is_err());
    assert!(open(&cipher_, &[sealed.as_slice(), first].concat()).is_err());
    assert!(cipher_.open(2, &mut first.to_vec()).is_err());
    assert!(cipher_.open(u64::MAX, &mut first.to_vec()).is_err());
    // The same place of another file.
    let other = cipher(2, &plain);
    assert!(cipher_.open(0, &mut seal(&other, &plain)[..SEALED_SEGMENT].to_vec()).is_err());
}

fn lens() -> impl Strategy<Value = usize> {
    let edge = (0..4usize, -2..3isize).prop_map(|(n, off)| (n * SEGMENT).saturating_add_signed(off));
    prop_oneof![0..200usize, edge, 0..3 * SEGMENT]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_was_sealed_opens_however_it_comes(len in lens(), cuts in prop::collection::vec(any::<usize>(), 0..6)) {
        let plain = bytes(len);
        let cipher = cipher(1, &plain);
        let sealed = seal(&cipher, &plain);
        prop_assert_eq!(sealed.len() as u64, sealed_len(len as u64));
        let mut cuts: Vec<usize> = cuts.into_iter().map(|at| at % (sealed.len() + 1)).collect();
        cuts.extend([0, sealed.len()]);
        cuts.sort_unstable();
        let (mut opening, mut out) = (Opening::new(&cipher, 0), Vec::new());
        for cut in cuts.windows(2) {
            opening.push(&sealed[cut[0]..cut[1]], &mut out).unwrap();
        }
        prop_assert!(opening.held() == 0 && out == plain);
    }

    /// A range is sealed, and opened, without what stands around it; it is the same bytes every time.
    #[test]
    fn any_range_stands_alone(len in lens(), at in any::<usize>()) {
        let plain = bytes(len);
        let cipher = cipher(1, &plain);
        let sealed = seal(&cipher, &plain);
        let at = at % sealed.len();
        let mut reads = 0;
        let alone = cipher.sealed_from(at as u64, |from, out| {
            reads += out.len();
            out.copy_from_slice(&plain[from as usize..][..out.len()]);
            Ok::<_, ()>(())
        }).unwrap();
        prop_assert!(reads <= SEGMENT && !alone.is_empty());
        prop_assert_eq!(&alone[..], &sealed[at..][..alone.len()]);
        let index = at / SEALED_SEGMENT;
        let (mut opening, mut out) = (Opening::new(&cipher, index as u64), vec![]);
        opening.push(&sealed[index * SEALED_SEGMENT..], &mut out).unwrap();
        prop_assert_eq!(&out[..], &plain[index * SEGMENT..]);
    }

    //= proof: file-encryption-2
    //= proof: file-encryption-3
    #[test]
    fn whatever_is_changed_is_refused(len in lens(), at in any::<usize>(), bit in 0..8u32, cut in any::<usize>()) {
        let plain = bytes(len);
        let cipher_ = cipher(1, &plain);
        let mut sealed = seal(&cipher_, &plain);
        let cut = cut % sealed.len();
        prop_assert!(open(&cipher_, &sealed[..cut]).is_err());
        // Who believes the shorter length is not deceived either.
        if let Some(shorter) = plain_len(cut as u64) {
            let believed = FileCipher::new(&RUSTCRYPTO, &FileKey(Secret::new([1; 32])), shorter).unwrap();
            prop_assert!(open(&believed, &sealed[..cut]).is_err());
        }
        let at = at % sealed.len();
        sealed[at] ^= 1 << bit;
        prop_assert!(open(&cipher_, &sealed).is_err());
    }
}

/// Two keys are never equal, and no key is all of one byte: the generator is used.
//= proof: file-encryption-1
#[test]
fn keys_are_random() {
    let mut rng = Rng::new([3; 32]);
    let (a, b) = (FileKey::random(&mut rng), FileKey::random(&mut rng));
    assert!(!a.0.ct_eq(&b.0) && !a.0.ct_eq(&Secret::zero()));
    assert!(FileKey::from_slice(a.expose()).is_some_and(|copy| copy.0.ct_eq(&a.0)));
    assert!(FileKey::from_slice(&[0; 31]).is_none());
}

/// Computed apart from this code, with Python's cryptography; the same stands in `docs/spec/vectors.json`.
#[test]
fn known_answers() {
    let key = core::array::from_fn(|i| 0xA0 + i as u8);
    let seal = |plain: &[u8]| {
        let cipher = FileCipher::new(&RUSTCRYPTO, &FileKey(Secret::new(key)), plain.len() as u64).unwrap();
        let sealed = seal(&cipher, plain);
        sealed.iter().map(|byte| alloc::format!("{byte:02x}")).collect::<alloc::string::String>()
    };
    assert_eq!(seal(b""), "0bdaaa4cd1edc5660e9eda60d2fe4d2a");
    assert_eq!(seal(b"hello"), "8788a38c9ec253d654a376a4b016bee9d8c374e4bd");
    let long: Vec<u8> = (0..=SEGMENT).map(|n| (n % 251) as u8).collect();
    assert!(seal(&long).ends_with("bafcd4187678ef0f487873aed70a1575f9"));
}
