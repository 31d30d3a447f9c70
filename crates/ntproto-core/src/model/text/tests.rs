use super::*;
use alloc::format;
use alloc::string::{String, ToString};
use proptest::prelude::*;

#[test]
fn names_of_all_kinds_of_people() {
    // Letters of many scripts, right to left ones without any mark, a family joined from four, a flag of a region.
    for nick in ["李雷", "Ольга", "محمد", "می‌خواهم", "דוד", "👨‍👩‍👧‍👦", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "e\u{301}", "a b"]
    {
        assert_eq!(Field::Nick.clean(nick), Ok(nick), "{nick}");
    }
    assert_eq!(Field::Nick.clean("\u{3000}李雷\t\n"), Ok("李雷"));
}

//= proof: people-1
#[test]
fn what_changes_the_text_around_it_is_refused() {
    for c in
        ('\u{202A}'..='\u{202E}').chain('\u{2066}'..='\u{2069}').chain(['\u{200E}', '\u{200F}', '\u{61C}'])
    {
        for field in Field::ALL {
            assert_eq!(field.clean(&format!("a{c}b")), Err(BadName::Direction(c)), "{field:?}");
        }
    }
    for c in
        ('\0'..='\u{1F}').chain('\u{7F}'..='\u{9F}').chain(['\u{FEFF}', '\u{FFFE}', '\u{10FFFF}', '\u{FDD0}'])
    {
        assert!(Field::Nick.clean(&format!("a{c}b")).is_err(), "{c:?}");
        assert_eq!(Field::Notice.clean(&format!("a{c}b")).is_ok(), c == '\n', "{c:?}");
    }
    assert_eq!(Field::GroupName.clean("one\u{2028}two"), Err(BadName::Line('\u{2028}')));
    assert_eq!(Field::Bio.clean("one\r\ntwo"), Err(BadName::Line('\r')));
}

#[test]
fn what_shows_nothing_is_nothing() {
    for nothing in ["", "   ", "\u{200B}", "\u{3164}", "\u{2800} \u{AD}", "\u{FE0F}\u{200D}"] {
        assert_eq!(Field::Nick.clean(nothing), Err(BadName::Empty), "{nothing:?}");
        assert_eq!(Field::Remark.clean(nothing), Ok(""), "{nothing:?}");
    }
}

#[test]
fn as_long_as_it_may_be_and_one_more() {
    for field in Field::ALL {
        let limits = field.limits();
        for c in ["a", "é", "李"] {
            let full = c.repeat(limits.chars);
            assert_eq!(field.clean(&full), Ok(&*full), "{field:?}");
            assert_eq!(field.clean(&(full + c)), Err(BadName::TooLong(limits)), "{field:?}");
        }
        assert_eq!(field.clean(&"🐝".repeat(limits.chars)), Err(BadName::TooLong(limits)));
        assert_eq!(field.clean(&" ".repeat(10_000_000)), Err(BadName::TooLong(limits)));
    }
}

#[test]
fn each_reason_reads_differently() {
    let limits = Field::Nick.limits();
    let all = [
        BadName::Empty,
        BadName::TooLong(limits),
        BadName::Control('\0'),
        BadName::Direction('\u{202E}'),
        BadName::Line('\n'),
    ];
    let texts: alloc::collections::BTreeSet<String> = all.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), all.len());
}

/// Characters that matter, more often than chance would bring them.
fn character() -> impl Strategy<Value = char> {
    prop_oneof![
        4 => any::<char>(),
        2 => prop::char::range(' ', '~'),
        1 => prop::char::range('\0', '\u{A0}'),
        1 => prop::char::range('\u{2000}', '\u{2070}'),
        1 => prop::sample::select(alloc::vec!['\n', '\r', '\u{61C}', '\u{FEFF}', '\u{3164}', '\u{E0001}', '李', '🐝']),
    ]
}

proptest! {
    #[test]
    fn what_passes_can_be_shown(
        field in prop::sample::select(&Field::ALL[..]),
        text in prop::collection::vec(character(), 0..80).prop_map(String::from_iter),
    ) {
        let limits = field.limits();
        let Ok(clean) = field.clean(&text) else { return Ok(()) };
        prop_assert_eq!(field.clean(clean), Ok(clean));
        prop_assert_eq!(clean, clean.trim());
        prop_assert!(clean.is_empty() || text.contains(clean));
        prop_assert!(clean.len() <= limits.bytes && clean.chars().count() <= limits.chars);
        prop_assert!(!limits.required || !clean.is_empty());
        for c in clean.chars() {
            prop_assert!(!c.is_control() || (c == '\n' && limits.lines), "{:?}", c);
            prop_assert!(!matches!(u32::from(c), 0x202A..=0x202E | 0x2066..=0x2069 | 0x200E..=0x200F | 0x61C | 0x2028..=0x2029 | 0xFEFF));
        }
    }
}
