//! Text in rows of a width: words stay whole where they can, characters always do.

use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

/// Columns a piece of text takes.
pub(super) fn columns(text: &str) -> usize {
    text.width()
}

/// Columns of a row with more text behind it. Emoji that join are narrower than the sum of their parts, and wider.
pub(super) fn joined(row: &str, used: usize, text: &str) -> usize {
    if text.is_ascii() { used + text.len() } else { columns(&[row, text].concat()) }
}

/// The text, or its beginning and an ellipsis when it takes more columns.
pub(super) fn clip(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    for character in text.graphemes(true) {
        if joined(&out, columns(&out), character) + 1 > width {
            break;
        }
        out.push_str(character);
    }
    if width > 0 {
        out.push('…');
    }
    out
}

/// Breaks one line into rows of at most `width` columns. At least one row, and always progress: a
/// character wider than the row stands alone in it.
pub(super) fn wrap(line: &str, width: usize) -> Vec<String> {
    let mut rows = vec![String::new()];
    let mut used = 0;
    for word in line.split_word_bounds() {
        let with = joined(last(&mut rows), used, word);
        if with <= width {
            last(&mut rows).push_str(word);
            used = with;
            continue;
        }
        if word.trim().is_empty() {
            // Blanks at the end of a row are not carried over.
            rows.push(String::new());
            used = 0;
            continue;
        }
        if columns(word) <= width {
            rows.push(word.to_owned());
            used = columns(word);
            continue;
        }
        for character in word.graphemes(true) {
            let mut with = joined(last(&mut rows), used, character);
            if used > 0 && with > width {
                rows.push(String::new());
                with = columns(character);
            }
            last(&mut rows).push_str(character);
            used = with;
        }
    }
    let full = rows.len() - 1;
    for row in &mut rows[..full] {
        row.truncate(row.trim_end().len());
    }
    rows
}

/// The row being filled.
pub(super) fn last(rows: &mut [String]) -> &mut String {
    rows.last_mut().expect("there is always a row")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_stay_whole() {
        assert_eq!(wrap("the quick brown fox", 10), ["the quick", "brown fox"]);
        assert_eq!(wrap("", 10), [""]);
        assert_eq!(wrap("abcdefghij klm", 4), ["abcd", "efgh", "ij", "klm"]);
    }

    #[test]
    fn wide_characters_are_counted() {
        assert_eq!(wrap("日本語テキスト", 6), ["日本語", "テキス", "ト"]);
        assert_eq!(wrap("👩\u{200d}👩\u{200d}👧👋🏽", 2), ["👩\u{200d}👩\u{200d}👧", "👋🏽"]);
        assert_eq!(wrap("日", 1), ["日"]);
    }

    #[test]
    fn what_is_too_long_is_clipped_at_a_character() {
        assert_eq!(clip("short", 5), "short");
        assert_eq!(clip("longer", 5), "long…");
        assert_eq!(clip("日本語", 5), "日本…");
        assert_eq!((clip("日本", 1).as_str(), clip("日本", 0).as_str()), ("…", ""));
    }

    proptest! {
        #[test]
        fn no_row_is_too_wide_and_no_letter_is_lost(text in "[a-z 日é👍\u{301}-]{0,80}", width in 2..20usize) {
            let rows = wrap(&text, width);
            for row in &rows {
                prop_assert!(columns(row) <= width || row.graphemes(true).count() == 1, "{row:?}");
            }
            let letters = |s: &str| s.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(letters(&rows.concat()), letters(&text));
        }
    }
}
