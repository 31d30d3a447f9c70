//! `PATCH` with `Content-Range: bytes a-b/*`.

use http::HeaderMap;

use crate::plan::{Append, one};
use crate::problem::{Code, Problem};
use crate::text::number;

/// Bytes of a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// The first.
    pub first: u64,
    /// The last, which is one of them.
    pub last: u64,
    /// How many the whole has, if that is said.
    pub total: Option<u64>,
}

/// Reads `bytes FIRST-LAST/TOTAL`, where the total may be `*`.
///
/// ```
/// use ntproto_web::dialect::content_range::{ContentRange, read};
///
/// assert_eq!(read("bytes 0-4/*"), Some(ContentRange { first: 0, last: 4, total: None }));
/// assert_eq!(read("bytes 5-4/*"), None);
/// ```
#[must_use]
pub fn read(value: &str) -> Option<ContentRange> {
    let (unit, rest) = value.split_once(' ')?;
    let (range, total) = rest.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    let total = match total {
        "*" => None,
        total => Some(number(total)?),
    };
    let fits = first <= last && total.is_none_or(|total| last < total);
    (unit.eq_ignore_ascii_case("bytes") && fits).then_some(ContentRange { first, last, total })
}

pub(super) fn append(append: Append, headers: &HeaderMap, length: Option<u64>) -> Result<Append, Problem> {
    let range = one(headers, "content-range").map_err(|()| Code::BadRange)?.ok_or(Code::BadRange)?;
    let ContentRange { first, last, total } = read(range).ok_or(Code::BadRange)?;
    // Numbers end at 2⁶³ − 1: this does not overflow.
    if length.is_some_and(|length| length != last - first + 1) {
        return Err(Code::LengthMismatch.into());
    }
    Ok(Append { start: first, end: Some(last + 1), length: total, chains: true, ..append })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_or_refused() {
        let range = |first, last, total| Some(ContentRange { first, last, total });
        assert_eq!(read("bytes 0-0/1"), range(0, 0, Some(1)));
        assert_eq!(read("Bytes 7-9/*"), range(7, 9, None));
        let most = i64::MAX as u64;
        assert_eq!(read(&format!("bytes 0-{most}/*")), range(0, most, None));
        for wrong in [
            "",
            "bytes",
            "bytes ",
            "bytes */*",
            "bytes */10",
            "bytes 0-/10",
            "bytes -5/10",
            "bytes 0-4",
            "bytes 4-0/*",
            "bytes 0-4/4",
            "bytes 0-4/",
            "bytes 0-4/-1",
            "bytes=0-4/*",
            "items 0-4/*",
            "bytes 0-4/* ",
            "bytes  0-4/*",
            "bytes 0-9223372036854775808/*",
            "bytes 0-18446744073709551616/*",
            "bytes 0-4/*, bytes 5-9/*",
            "bytes 0x0-4/*",
            "bytes +0-4/*",
            "bytes 0-4/4e9",
        ] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
