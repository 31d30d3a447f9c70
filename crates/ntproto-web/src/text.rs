//! Bytes as text in headers and paths: base64 of both kinds, hexadecimal, numbers.

use ntproto_core::time::UnixMillis;

const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn encode(letters: &[u8; 64], bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let mut all = [0; 4];
        all[1..=three.len()].copy_from_slice(three);
        let all = u32::from_be_bytes(all);
        for n in 0..=three.len() {
            text.push(char::from(letters[(all >> (18 - 6 * n) & 63) as usize]));
        }
    }
    text
}

/// One text for one value: no padding, and bits that say nothing are zero.
fn decode(letters: &[u8; 64], text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for four in text.chunks(4) {
        let mut all = 0_u32;
        for letter in four {
            let six = letters.iter().position(|other| other == letter)?;
            all = all << 6 | six as u32;
        }
        let unused = match four.len() {
            4 => 0,
            3 => 2,
            2 => 4,
            _ => return None,
        };
        if all & ((1 << unused) - 1) != 0 {
            return None;
        }
        let all = (all >> unused).to_be_bytes();
        bytes.extend_from_slice(&all[4 - four.len() + 1..]);
    }
    Some(bytes)
}

/// Base64 for URLs, without padding.
#[must_use]
pub fn base64url(bytes: &[u8]) -> String {
    encode(URL, bytes)
}

/// Base64 with padding, as headers have it.
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    let mut text = encode(STANDARD, bytes);
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// Base64 as headers have it; the padding may be missing.
#[must_use]
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    let bare = text.trim_end_matches('=');
    (text.len() - bare.len() <= 2).then(|| decode(STANDARD, bare.as_bytes()))?
}

/// 16 bytes as 22 letters of base64 for URLs.
#[must_use]
pub fn id(text: &str) -> Option<[u8; 16]> {
    if text.len() != 22 {
        return None;
    }
    decode(URL, text.as_bytes())?.try_into().ok()
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|n| char::from(b"0123456789abcdef"[usize::from(n)]))
        .collect()
}

/// A number written with digits only. More than 2⁶³ − 1 is none: structured fields and signed offsets end there.
#[must_use]
pub fn number(text: &str) -> Option<u64> {
    if text.is_empty() || text.len() > 19 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|number| *number <= i64::MAX as u64)
}

/// A moment as headers have it (RFC 9110, section 5.6.7).
#[must_use]
pub fn http_date(at: UnixMillis) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = at.0 / 1000;
    let days = seconds / 86_400;
    // Years begin in March here, so that the leap day is the last of its year; eras have 400 years.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let date = day_of_year - (153 * month + 2) / 5 + 1;
    let month = (month + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);
    let (day, month) = (DAYS[(days % 7) as usize], MONTHS[month as usize]);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{day}, {date:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_rfc_4648_has_it() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
            assert_eq!(from_base64(text).unwrap(), bytes.as_bytes());
        }
        for wrong in ["Zh==", "Z", "Zg===", "Z g=", "Zm9v\n", "=Zg", "Zg-_"] {
            assert_eq!(from_base64(wrong), None, "{wrong}");
        }
        for n in 0..=255 {
            assert_eq!(id(&base64url(&[n; 16])), Some([n; 16]));
            assert_eq!(from_base64(&base64(&[n; 32])).unwrap(), [n; 32]);
        }
        assert_eq!(hex(&[0, 0xaf]), "00af");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_700_000_000, "Tue, 14 Nov 2023 22:13:20 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(http_date(UnixMillis(seconds * 1000)), text);
        }
    }

    #[test]
    fn numbers_are_digits_and_bounded() {
        assert_eq!(number("0"), Some(0));
        assert_eq!(number("9223372036854775807"), Some(i64::MAX as u64));
        for wrong in
            ["", "-1", "+1", " 1", "1 ", "0x1", "9223372036854775808", "18446744073709551616", "1e3", "१"]
        {
            assert_eq!(number(wrong), None, "{wrong}");
        }
    }
}
