//! NIST CAVP for AES-256-GCM with a 96-bit IV and a 128-bit tag.

use ntproto_core::crypto::secret::Secret;

use crate::{PROVIDERS, hex, hex_array};

const VECTORS: &str = include_str!("../vectors/nist-cavp-aes256gcm.txt");

#[test]
fn aes256gcm() {
    for (name, provider) in PROVIDERS {
        let (mut encrypted, mut decrypted, mut refused) = (0, 0, 0);
        for line in VECTORS.lines().filter(|l| !l.starts_with('#')) {
            let fields: Vec<&str> = line.split('|').collect();
            let [kind, key, iv, aad, plaintext, ciphertext, tag] = fields[..] else { panic!("{line}") };
            let key = provider.aes256gcm(&Secret::new(hex_array(key)));
            let (iv, aad, tag) = (hex_array(iv), hex(aad), hex_array(tag));
            let (plaintext, ciphertext) = (hex(plaintext), hex(ciphertext));
            match kind {
                "e" => {
                    let mut data = plaintext;
                    assert_eq!(key.seal_in_place(&iv, &aad, &mut data), tag, "{name}: {line}");
                    assert_eq!(data, ciphertext, "{name}: {line}");
                    encrypted += 1;
                }
                "d" => {
                    let mut data = ciphertext;
                    assert_eq!(key.open_in_place(&iv, &aad, &mut data, &tag), Ok(()), "{name}: {line}");
                    assert_eq!(data, plaintext, "{name}: {line}");
                    decrypted += 1;
                }
                "x" => {
                    let mut data = ciphertext;
                    assert!(key.open_in_place(&iv, &aad, &mut data, &tag).is_err(), "{name}: {line}");
                    refused += 1;
                }
                _ => panic!("{line}"),
            }
        }
        assert_eq!((encrypted, decrypted, refused), (375, 184, 191), "{name}");
    }
}
