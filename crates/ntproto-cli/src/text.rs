//! Text from strangers, made harmless for a terminal.
//!
//! What another user wrote, a device's name, a server's words: none of it may move the cursor, ring, hide
//! text or turn it around. What is replaced stays visible.

use unicode_width::UnicodeWidthChar as _;

/// Marks on top of one character; scripts need up to four, floods use hundreds.
const MAX_MARKS: usize = 6;
/// Columns of a tab.
const TAB: &str = "    ";

/// Whether a terminal or a reader could be misled by the character.
pub(crate) const fn is_dangerous(c: char) -> bool {
    matches!(c,
        '\0'..='\x1f' | '\x7f'..='\u{9f}'
        // Directional marks, embeddings, overrides and isolates.
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        // Line and paragraph separators.
        | '\u{2028}' | '\u{2029}'
    ) || is_invisible(c)
}

/// Characters that show nothing and join nothing.
const fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
        // Fillers that stand as blank letters.
        | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}'
    )
}

/// The text on one line.
pub(crate) fn harmless(text: &str) -> String {
    lines(text).join("⏎")
}

/// The lines of a text. At least one.
pub(crate) fn lines(text: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut marks = 0;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let last = out.last_mut().expect("there is always a line");
        match c {
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' | '\u{2028}' | '\u{2029}' => out.push(String::new()),
            '\t' => last.push_str(TAB),
            // The pictures of the control characters.
            '\0'..='\x1f' => last.push(char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}')),
            '\x7f' => last.push('␡'),
            c if is_invisible(c) => {}
            c if is_dangerous(c) => last.push_str(&format!("⟨U+{:04X}⟩", c as u32)),
            c if c.width() == Some(0) => {
                marks += 1;
                if marks <= MAX_MARKS {
                    last.push(c);
                }
                continue;
            }
            c => last.push(c),
        }
        marks = 0;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_for_the_terminal_become_visible() {
        assert_eq!(harmless("\x1b[2J\x07\x7f"), "␛[2J␇␡");
        assert_eq!(harmless("a\u{9b}31mb"), "a⟨U+009B⟩31mb");
        assert_eq!(harmless("abc\u{202e}fed"), "abc⟨U+202E⟩fed");
        assert_eq!(harmless("\u{2067}x\u{2069}"), "⟨U+2067⟩x⟨U+2069⟩");
        assert_eq!(harmless("in\u{200b}vis\u{feff}ible\u{e0041}"), "invisible");
    }

    #[test]
    fn lines_are_kept_and_honest_text_too() {
        assert_eq!(lines("a\r\nb\nc\u{2028}d\re"), ["a", "b", "c", "d␍e"]);
        assert_eq!(lines(""), [""]);
        for text in
            ["héllo", "日本語", "שלום", "می\u{200c}خواهم", "👩\u{200d}👩\u{200d}👧", "नमस्ते", "a\u{301}"]
        {
            assert_eq!(harmless(text), text);
        }
    }

    #[test]
    fn marks_do_not_flood() {
        let flood = format!("a{}b", "\u{301}".repeat(500));
        assert_eq!(harmless(&flood), format!("a{}b", "\u{301}".repeat(MAX_MARKS)));
    }

    #[test]
    fn nothing_dangerous_remains() {
        let all: String = (0..=0x10ffff).filter_map(char::from_u32).collect();
        assert!(!harmless(&all).chars().any(is_dangerous));
    }
}
