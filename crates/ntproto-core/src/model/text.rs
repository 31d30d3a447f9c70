//! The texts people give to themselves, to each other and to groups: what may stand in them, and how long they may be.
//!
//! Others see them beside text that is not theirs, so nothing in them may change how the rest is shown: no control characters,
//! nothing that turns the direction of writing, and in one line no second one.

use core::fmt;

/// Which text it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// What somebody calls themselves, and what they are called in one group. One line, required.
    Nick,
    /// What a group is called. One line, required.
    GroupName,
    /// What somebody calls another for themselves. One line; empty is none.
    Remark,
    /// What a request says beside itself ("we met on Monday"). One line; empty is none.
    Greeting,
    /// What a group tells its members. Lines; empty is none.
    Notice,
    /// What somebody tells about themselves. Lines; empty is none.
    Bio,
}

/// How a field is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In Unicode scalar values: what people count, roughly.
    pub chars: usize,
    /// In bytes of UTF-8: what is stored and sent. Three a character, so that no script but the rarest gets less of it than another.
    pub bytes: usize,
    /// Whether `\n` may stand in it.
    pub lines: bool,
    /// Whether something must stand in it.
    pub required: bool,
}

/// Characters of a name: longer ones no list shows whole, and lists hold thousands of them.
pub const MAX_NAME_CHARS: usize = 64;
/// Characters of a greeting: a few sentences to somebody who may not want any.
pub const MAX_GREETING_CHARS: usize = 200;
/// Characters of a bio: a paragraph, which comes along with every profile that is asked for.
pub const MAX_BIO_CHARS: usize = 500;
/// Characters of a notice: a page, which comes along with the group.
pub const MAX_NOTICE_CHARS: usize = 2_000;

impl Field {
    /// Every field.
    pub const ALL: [Self; 6] =
        [Self::Nick, Self::GroupName, Self::Remark, Self::Greeting, Self::Notice, Self::Bio];

    /// What bounds it.
    #[must_use]
    pub const fn limits(self) -> Limits {
        let (chars, lines, required) = match self {
            Self::Nick | Self::GroupName => (MAX_NAME_CHARS, false, true),
            Self::Remark => (MAX_NAME_CHARS, false, false),
            Self::Greeting => (MAX_GREETING_CHARS, false, false),
            Self::Notice => (MAX_NOTICE_CHARS, true, false),
            Self::Bio => (MAX_BIO_CHARS, true, false),
        };
        Limits { chars, bytes: chars * 3, lines, required }
    }

    /// The text as it is kept, without the white space around it, or why it is none. What passes once passes again, unchanged.
    ///
    /// ```
    /// use ntproto_core::model::text::{BadName, Field};
    ///
    /// assert_eq!(Field::Nick.clean("  Zoë 🐝 "), Ok("Zoë 🐝"));
    /// assert_eq!(Field::Nick.clean("\u{202E}nimda"), Err(BadName::Direction('\u{202E}')));
    /// assert_eq!(Field::Nick.clean(" \u{200B}"), Err(BadName::Empty));
    /// assert_eq!(Field::Bio.clean("two\nlines"), Ok("two\nlines"));
    /// ```
    ///
    /// # Errors
    /// The first reason against it.
    pub fn clean(self, text: &str) -> Result<&str, BadName> {
        let limits = self.limits();
        // Before anything else, so that ten megabytes cost nothing, were they all spaces.
        if text.len() > limits.bytes {
            return Err(BadName::TooLong(limits));
        }
        let text = text.trim();
        let mut chars = 0;
        let mut visible = false;
        //= spec: people-1
        for c in text.chars() {
            chars += 1;
            check(c, limits.lines)?;
            visible |= !is_invisible(c);
        }
        if chars > limits.chars {
            return Err(BadName::TooLong(limits));
        }
        if visible {
            Ok(text)
        } else if limits.required {
            Err(BadName::Empty)
        } else {
            // What shows nothing is nothing.
            Ok("")
        }
    }
}

/// Whether a character may stand in a text for others.
fn check(c: char, lines: bool) -> Result<(), BadName> {
    match c {
        '\n' if lines => Ok(()),
        '\n' | '\r' | '\u{0B}' | '\u{0C}' | '\u{85}' | '\u{2028}' | '\u{2029}' => Err(BadName::Line(c)),
        '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => {
            Err(BadName::Direction(c))
        }
        // Marks of byte order, of shaping long withdrawn, of annotation; and what Unicode will never assign.
        '\u{FEFF}' | '\u{206A}'..='\u{206F}' | '\u{FFF9}'..='\u{FFFB}' | '\u{FDD0}'..='\u{FDEF}' => {
            Err(BadName::Control(c))
        }
        _ if c.is_control() || u32::from(c) & 0xFFFE == 0xFFFE => Err(BadName::Control(c)),
        _ => Ok(()),
    }
}

/// Whether a character alone shows nothing. Most of these have their use beside others: they join emoji, and letters in Persian.
const fn is_invisible(c: char) -> bool {
    c.is_whitespace()
        || matches!(c,
            '\u{AD}' | '\u{34F}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
            | '\u{200B}'..='\u{200D}' | '\u{2060}'..='\u{2065}' | '\u{2800}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}'
            | '\u{FFA0}' | '\u{FFF0}'..='\u{FFF8}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E0FFF}')
}

/// Why a text is refused: BAD_NAME on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadName {
    /// There must be something to see.
    Empty,
    /// More than there is room for.
    TooLong(Limits),
    /// A control character, or one that never is text.
    Control(char),
    /// A character that turns the direction of the text around it.
    Direction(char),
    /// A line ends where there is only one; where there may be several, they end with `\n`.
    Line(char),
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => f.write_str("there is nothing to see in it"),
            Self::TooLong(Limits { chars, bytes, .. }) => {
                write!(f, "it is longer than {chars} characters or {bytes} bytes")
            }
            Self::Control(c) => write!(f, "the control character U+{:04X} stands in it", u32::from(c)),
            Self::Direction(c) => write!(f, "U+{:04X} in it turns the direction of writing", u32::from(c)),
            Self::Line(c) => write!(f, "a line ends in it (U+{:04X})", u32::from(c)),
        }
    }
}

impl core::error::Error for BadName {}

#[cfg(test)]
mod tests;
