//! What an HTTP request shows to act for a session: `base64url(session id[16] ‖ token[32])`.
//!
//! ```
//! use ntproto_core::crypto::secret::Secret;
//! use ntproto_core::session::bearer::Bearer;
//!
//! let bearer = Bearer { session_id: [1; 16], token: Secret::new([2; 32]) };
//! let read = Bearer::read(bearer.text().as_bytes()).expect("what was written is read");
//! assert!(read.token.ct_eq(&bearer.token) && read.session_id == bearer.session_id);
//! assert!(Bearer::read(b"not one").is_none());
//! ```

use alloc::string::String;
use core::fmt;

use zeroize::Zeroizing;

use crate::crypto::secret::Secret;

/// Bytes of the text: 48 bytes fill base64 without padding.
pub const TEXT_LEN: usize = 64;
/// Bytes before they are text.
const BYTES: usize = 48;

/// A session's number, and the token that only its two ends can derive. It is worth as much as the session, and no longer than that.
pub struct Bearer {
    /// What the server's grant calls the session.
    pub session_id: [u8; 16],
    /// [`KeySchedule::http_token`](crate::crypto::schedule::KeySchedule::http_token).
    pub token: Secret<32>,
}

impl fmt::Debug for Bearer {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(..)")
    }
}

impl Bearer {
    /// As it stands behind `Authorization: Bearer `.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; BYTES]);
        bytes[..16].copy_from_slice(&self.session_id);
        bytes[16..].copy_from_slice(self.token.expose());
        let mut text = Zeroizing::new(String::with_capacity(TEXT_LEN));
        for three in bytes.chunks_exact(3) {
            let all = u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
            text.extend([18, 12, 6, 0].map(|shift| char::from(letter((all >> shift & 63) as i32))));
        }
        text
    }

    /// Reads what [`text`](Self::text) wrote. Which letters they are changes nothing of how long it takes.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<Self> {
        let text: &[u8; TEXT_LEN] = text.try_into().ok()?;
        let mut bytes = Zeroizing::new([0; BYTES]);
        let mut wrong = 0;
        for (four, three) in text.chunks_exact(4).zip(bytes.chunks_exact_mut(3)) {
            let mut all = 0;
            for &byte in four {
                let value = value(byte);
                wrong |= value;
                all = all << 6 | (value & 63);
            }
            three.copy_from_slice(&all.to_be_bytes()[1..]);
        }
        if wrong < 0 {
            return None;
        }
        let (session_id, token) = bytes.split_first_chunk()?;
        Some(Self { session_id: *session_id, token: Secret::from_slice(token)? })
    }
}

/// All ones if `low <= x <= high`, without a branch.
const fn within(x: i32, low: i32, high: i32) -> i32 {
    ((low - 1 - x) & (x - high - 1)) >> 31
}

/// The letter of six bits.
const fn letter(six: i32) -> u8 {
    let all = within(six, 0, 25) & (six + 65)
        | within(six, 26, 51) & (six - 26 + 97)
        | within(six, 52, 61) & (six - 52 + 48)
        | within(six, 62, 62) & 45
        | within(six, 63, 63) & 95;
    all as u8
}

/// The six bits of a letter; negative: it is none.
const fn value(letter: u8) -> i32 {
    let x = letter as i32;
    -1 + (within(x, 65, 90) & (x - 64)
        | within(x, 97, 122) & (x - 70)
        | within(x, 48, 57) & (x + 5)
        | within(x, 45, 45) & 63
        | within(x, 95, 95) & 64)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    #[test]
    fn every_letter_stands_for_its_number_and_nothing_else_does() {
        for byte in 0..=u8::MAX {
            let at = LETTERS.iter().position(|letter| *letter == byte);
            assert_eq!(value(byte), at.map_or(-1, |at| at as i32), "{byte}");
        }
        for (n, byte) in LETTERS.iter().enumerate() {
            assert_eq!(letter(n as i32), *byte);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(session_id: [u8; 16], token: [u8; 32], at in 0..TEXT_LEN, other: u8) {
            let text = Bearer { session_id, token: Secret::new(token) }.text();
            let read = Bearer::read(text.as_bytes()).unwrap();
            prop_assert_eq!((read.session_id, read.token.expose()), (session_id, &token));
            prop_assert_eq!(text.len(), TEXT_LEN);
            let mut changed = text.as_bytes().to_vec();
            changed[at] = other;
            prop_assert_eq!(Bearer::read(&changed).is_some(), LETTERS.contains(&other));
            prop_assert!(Bearer::read(&changed[1..]).is_none());
        }
    }
}
