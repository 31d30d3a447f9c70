//! Base64 for URLs (RFC 4648, section 5), without padding, one text for one value; and the usual one (section 4), with
//! padding, for JSON. For public values: it takes no care of time.

use alloc::string::String;
use alloc::vec::Vec;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Writes `bytes` as text.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let n = chunk.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(n >> (18 - 6 * i)) as usize & 63]));
        }
    }
    text
}

/// Reads what [`encode`] wrote. `None` for anything else: a foreign character, a length that can't be, bits
/// left over.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for chunk in text.as_bytes().chunks(4) {
        let mut n = 0u32;
        for c in chunk {
            n = n << 6 | value(*c)?;
        }
        let len = match chunk.len() {
            1 => return None,
            len => len - 1,
        };
        n <<= 6 * (4 - chunk.len());
        let all = n.to_be_bytes();
        if all[1 + len..].iter().any(|b| *b != 0) {
            return None;
        }
        bytes.extend_from_slice(&all[1..1 + len]);
    }
    Some(bytes)
}

/// Reads exactly `N` bytes.
pub(super) fn decode_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    decode(text)?.try_into().ok()
}

/// Writes `bytes` in the usual alphabet, with padding.
#[cfg(feature = "json")]
pub(crate) fn encode_padded(bytes: &[u8]) -> String {
    let text = encode(bytes);
    let usual = text.chars().map(|c| match c {
        '-' => '+',
        '_' => '/',
        c => c,
    });
    let padding = (3 - bytes.len() % 3) % 3;
    usual.chain(core::iter::repeat_n('=', padding)).collect()
}

/// Reads what [`encode_padded`] wrote, and nothing else.
#[cfg(feature = "json")]
pub(crate) fn decode_padded(text: &str) -> Option<Vec<u8>> {
    let bare = text.trim_end_matches('=');
    let padding = (4 - bare.len() % 4) % 4;
    if text.len() - bare.len() != padding || bare.contains(['-', '_']) {
        return None;
    }
    decode(&bare.replace('+', "-").replace('/', "_"))
}

fn value(c: u8) -> Option<u32> {
    Some(u32::from(match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_rfc_examples() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("fooba", "Zm9vYmE"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(plain.as_bytes()), text);
            assert_eq!(decode(text).as_deref(), Some(plain.as_bytes()));
        }
        assert_eq!(encode(&[0xfb, 0xff]), "-_8");
    }

    #[test]
    fn one_text_for_one_value() {
        for wrong in ["A", "Zh", "Zm9", "Zm9vYg==", "Zm 9", "Zm+v", "Zm/v", "äöü"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }

    #[cfg(feature = "json")]
    #[test]
    fn with_padding() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
        ] {
            assert_eq!(encode_padded(plain.as_bytes()), text);
            assert_eq!(decode_padded(text).as_deref(), Some(plain.as_bytes()));
        }
        assert_eq!(encode_padded(&[0xfb, 0xff]), "+/8=");
        for wrong in ["Zg", "Zg=", "Zg===", "Zm9v=", "Zm9v====", "=", "Zh==", "-_8=", "Zg==Zg=="] {
            assert_eq!(decode_padded(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[cfg(feature = "json")]
        #[test]
        fn round_trip_with_padding(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(decode_padded(&encode_padded(&bytes)), Some(bytes));
        }

        #[test]
        fn round_trip(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }

        #[test]
        fn what_is_read_is_written_the_same(text in "[A-Za-z0-9_-]{0,40}") {
            if let Some(bytes) = decode(&text) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }
    }
}
