//! Texts that strangers show each other (specification, chapter "People").

/// Characters of a name or a remark.
pub(super) const NAME: usize = 64;
/// Characters of what a request says.
pub(super) const GREETING: usize = 200;
/// Characters of a notice.
pub(super) const NOTICE: usize = 2_000;
/// Characters of what somebody says of themselves.
pub(super) const BIO: usize = 500;
/// Bytes of `extra`.
pub(super) const EXTRA: usize = 4_096;

/// The text as it is kept; `None` if it must be refused.
pub(super) fn clean(text: &str, limit: usize, lines: bool, required: bool) -> Option<String> {
    let text = text.trim();
    let bad = |c: char| {
        (c.is_control() && !(lines && c == '\n'))
            || matches!(u32::from(c), 0x61C | 0x200E | 0x200F | 0x202A..=0x202E | 0x2066..=0x2069 | 0x2028 | 0x2029)
    };
    let refused = text.chars().any(bad) || text.chars().count() > limit || (required && text.is_empty());
    (!refused).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn what_turns_or_breaks_a_line_is_refused() {
        assert_eq!(clean(" Ada ", 4, false, true).as_deref(), Some("Ada"));
        for bad in ["a\u{202E}b", "a\nb", "a\u{2028}b", "\u{7}", "", "12345"] {
            assert_eq!(clean(bad, 4, false, true), None, "{bad:?}");
        }
        assert_eq!(clean("a\nb", 4, true, true).as_deref(), Some("a\nb"));
    }
}
