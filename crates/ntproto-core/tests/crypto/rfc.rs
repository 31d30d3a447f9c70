//! The vectors printed in the RFCs.

use ntproto_core::crypto::secret::Secret;

use crate::{PROVIDERS, hex, hex_array};

/// RFC 7748, section 5.2.
#[test]
fn rfc7748_x25519() {
    let vectors = [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ];
    for (name, provider) in PROVIDERS {
        for (scalar, u, out) in vectors {
            let shared = provider.x25519(&Secret::new(hex_array(scalar))).agree(&hex_array(u)).unwrap();
            assert_eq!(*shared.expose(), hex_array(out), "{name}");
        }
    }
}

/// RFC 7748, section 5.2: k and u feed on themselves, 1 and 1,000 times.
#[test]
fn rfc7748_iterated() {
    for (name, provider) in PROVIDERS {
        let mut k: [u8; 32] = hex_array("0900000000000000000000000000000000000000000000000000000000000000");
        let mut u = k;
        for round in 1..=1000 {
            let next = *provider.x25519(&Secret::new(k)).agree(&u).unwrap().expose();
            u = k;
            k = next;
            if round == 1 {
                assert_eq!(
                    k,
                    hex_array("422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"),
                    "{name}"
                );
            }
        }
        assert_eq!(
            k,
            hex_array("684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"),
            "{name}"
        );
    }
}

/// RFC 7748, section 6.1.
#[test]
fn rfc7748_diffie_hellman() {
    let (a, a_public) = (
        "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
        "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
    );
    let (b, b_public) = (
        "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
        "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
    );
    let shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
    for (name, provider) in PROVIDERS {
        let a = provider.x25519(&Secret::new(hex_array(a)));
        let b = provider.x25519(&Secret::new(hex_array(b)));
        assert_eq!(a.public(), hex_array(a_public), "{name}");
        assert_eq!(b.public(), hex_array(b_public), "{name}");
        for (secret, public) in [(&a, b_public), (&b, a_public)] {
            let k = secret.agree(&hex_array(public)).unwrap();
            assert_eq!(*k.expose(), hex_array(shared), "{name}");
        }
    }
}

/// Input key material, salt, info, then the expected PRK and output.
type HkdfCase = (Vec<u8>, Vec<u8>, Vec<u8>, &'static str, &'static str);

/// RFC 5869, appendix A, cases 1 to 3 (the ones with SHA-256).
#[test]
fn rfc5869_hkdf() {
    let long = |from: u8, to: u8| (from..=to).collect::<Vec<u8>>();
    let cases: [HkdfCase; 3] = [
        (
            vec![0x0b; 22],
            long(0x00, 0x0c),
            long(0xf0, 0xf9),
            "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            long(0x00, 0x4f),
            long(0x60, 0xaf),
            long(0xb0, 0xff),
            "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09\
             da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        (
            vec![0x0b; 22],
            vec![],
            vec![],
            "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ];
    for (name, provider) in PROVIDERS {
        for (ikm, salt, info, prk, okm) in &cases {
            let extracted = provider.hkdf_extract(salt, ikm);
            assert_eq!(*extracted.expose(), hex_array(prk), "{name}");
            assert!(extracted.ct_eq(&provider.hmac_sha256(salt, &[ikm])), "{name}: extraction is HMAC");
            let expected = hex(okm);
            let mut out = vec![0; expected.len()];
            provider.hkdf_expand(&extracted, &[info], &mut out);
            assert_eq!(out, expected, "{name}");
            // The parts of `info` are concatenated.
            let (a, b) = info.split_at(info.len() / 2);
            out.fill(0);
            provider.hkdf_expand(&extracted, &[a, &[], b], &mut out);
            assert_eq!(out, expected, "{name}");
        }
    }
}

/// RFC 4231, cases 1, 2 and 6; FIPS 180 "abc"; the parts are concatenated.
#[test]
fn rfc4231_hmac_and_sha256() {
    for (name, provider) in PROVIDERS {
        let mac = provider.hmac_sha256(&[0x0b; 20], &[b"Hi ", b"There"]);
        let expected = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        assert_eq!(*mac.expose(), hex_array(expected), "{name}");
        let mac = provider.hmac_sha256(b"Jefe", &[b"what do ya want ", b"", b"for nothing?"]);
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(*mac.expose(), hex_array(expected), "{name}");
        let mac =
            provider.hmac_sha256(&[0xaa; 131], &[b"Test Using Larger Than Block-Size Key - Hash Key First"]);
        let expected = "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54";
        assert_eq!(*mac.expose(), hex_array(expected), "{name}");
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(provider.sha256(&[b"a", b"", b"bc"]), hex_array(expected), "{name}");
    }
}

/// RFC 8032, section 7.1, tests 1 to 3.
#[test]
fn rfc8032_ed25519() {
    let cases = [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b\
             d25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c\
             387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659\
             4a7c15e9716ed28dc027beceea1ec40a",
        ),
    ];
    for (name, provider) in PROVIDERS {
        for (seed, public, message, signature) in cases {
            let seed = Secret::new(hex_array(seed));
            let public = hex_array(public);
            let message = hex(message);
            let signature = hex_array(signature);
            assert_eq!(provider.ed25519_public(&seed), public, "{name}");
            assert_eq!(provider.ed25519_sign(&seed, &message), signature, "{name}");
            assert_eq!(provider.ed25519_verify(&public, &message, &signature), Ok(()), "{name}");
        }
    }
}

/// RFC 3720, appendix B.4: what the frame's checksum must give, and the classic check value.
#[test]
fn rfc3720_crc32c() {
    let ascending: Vec<u8> = (0..32).collect();
    let descending: Vec<u8> = (0..32).rev().collect();
    let read10 = hex("01c00000 00000000 00000000 00000000 14000000 00000400 00000014 00000018
                      28000000 00000000 02000000 00000000");
    // The RFC prints the bytes as they travel, least significant first.
    let cases: [(&[u8], u32); 6] = [
        (b"123456789", 0xE306_9283),
        (&[0; 32], 0x8A91_36AA),
        (&[0xff; 32], 0x62A8_AB43),
        (&ascending, 0x46DD_794E),
        (&descending, 0x113F_DB5C),
        (&read10, 0xD996_3A56),
    ];
    for (data, expected) in cases {
        assert_eq!(crc32c::crc32c(data), expected);
    }
}
