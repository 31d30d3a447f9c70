//! The input line: what a shell's line editor does, over whole characters as a reader sees them.

use unicode_segmentation::UnicodeSegmentation as _;

use super::wrap::{columns, joined, last};

/// Lines one can go back to.
const MAX_HISTORY: usize = 200;

/// Text, a cursor in it, and what was typed before.
#[derive(Default)]
pub(super) struct Editor {
    text: String,
    /// A byte index at the border of a character.
    cursor: usize,
    killed: String,
    history: Vec<String>,
    /// Where in the history one is, and what was typed before going there.
    back: Option<(usize, String)>,
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Left,
    Right,
}

/// How far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Character,
    Word,
    Line,
}

/// The input broken into rows.
pub(super) struct Rows {
    pub(super) rows: Vec<String>,
    /// Row and column of the cursor.
    pub(super) cursor: (usize, usize),
}

impl Editor {
    /// What is typed.
    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether nothing is typed.
    pub(super) const fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Whether it is a line for this program, not for others.
    pub(super) fn is_command(&self) -> bool {
        self.text.starts_with('/') && !self.text.starts_with("//")
    }

    /// Adds text at the cursor, at most up to `limit` bytes in all. Returns whether all of it fitted.
    pub(super) fn insert(&mut self, text: &str, limit: usize) -> bool {
        let clean: String = text
            .replace("\r\n", "\n")
            .replace('\r', "\n")
            .chars()
            .filter(|c| *c == '\n' || *c == '\t' || !c.is_control())
            .collect();
        let room = limit.saturating_sub(self.text.len());
        let mut fits = clean.len().min(room);
        while !clean.is_char_boundary(fits) {
            fits -= 1;
        }
        self.text.insert_str(self.cursor, &clean[..fits]);
        self.cursor += fits;
        fits == clean.len()
    }

    /// Where a step leads.
    fn target(&self, way: Way, step: Step) -> usize {
        let (before, after) = self.text.split_at(self.cursor);
        match (way, step) {
            (Way::Left, Step::Character) => before.grapheme_indices(true).next_back().map_or(0, |(i, _)| i),
            (Way::Right, Step::Character) => self.cursor + after.graphemes(true).next().map_or(0, str::len),
            (Way::Left, Step::Word) => before.unicode_word_indices().next_back().map_or(0, |(i, _)| i),
            (Way::Right, Step::Word) => {
                let word = after.unicode_word_indices().next();
                word.map_or(self.text.len(), |(i, w)| self.cursor + i + w.len())
            }
            (Way::Left, Step::Line) => before.rfind('\n').map_or(0, |i| i + 1),
            (Way::Right, Step::Line) => after.find('\n').map_or(self.text.len(), |i| self.cursor + i),
        }
    }

    /// Moves the cursor.
    pub(super) fn go(&mut self, way: Way, step: Step) {
        self.cursor = self.target(way, step);
    }

    /// Deletes up to where a step leads; more than a character can be put back with [`yank`](Self::yank).
    pub(super) fn delete(&mut self, way: Way, step: Step) {
        let target = self.target(way, step);
        let range = target.min(self.cursor)..target.max(self.cursor);
        let cut: String = self.text.drain(range.clone()).collect();
        self.cursor = range.start;
        if step != Step::Character && !cut.is_empty() {
            self.killed = cut;
        }
    }

    /// Puts back what was deleted last.
    pub(super) fn yank(&mut self, limit: usize) {
        let killed = std::mem::take(&mut self.killed);
        self.insert(&killed, limit);
        self.killed = killed;
    }

    /// Empties the line; it can be put back.
    pub(super) fn clear(&mut self) {
        self.killed = std::mem::take(&mut self.text);
        self.cursor = 0;
        self.back = None;
    }

    /// Takes the text away and remembers it.
    pub(super) fn take(&mut self) -> String {
        let text = std::mem::take(&mut self.text);
        self.cursor = 0;
        self.back = None;
        if !text.trim().is_empty() && self.history.last() != Some(&text) {
            self.history.push(text.clone());
            if self.history.len() > MAX_HISTORY {
                self.history.remove(0);
            }
        }
        text
    }

    /// One line up; from the first line to what was typed before.
    pub(super) fn up(&mut self) {
        if let Some(start) = self.text[..self.cursor].rfind('\n') {
            self.cursor = self.same_column(start);
            return;
        }
        let at = self.back.as_ref().map_or(self.history.len(), |(at, _)| *at);
        let Some(at) = at.checked_sub(1) else { return };
        let draft = match self.back.take() {
            Some((_, draft)) => draft,
            None => std::mem::take(&mut self.text),
        };
        self.back = Some((at, draft));
        self.show(self.history[at].clone());
    }

    /// One line down; from the last line to what was typed after.
    pub(super) fn down(&mut self) {
        if let Some(end) = self.text[self.cursor..].find('\n') {
            let next = self.cursor + end + 1;
            let end = self.text[next..].find('\n').map_or(self.text.len(), |i| next + i);
            self.cursor = self.same_column(end);
            return;
        }
        let Some((at, draft)) = self.back.take() else { return };
        match self.history.get(at + 1) {
            Some(line) => {
                let line = line.clone();
                self.back = Some((at + 1, draft));
                self.show(line);
            }
            None => self.show(draft),
        }
    }

    /// The place in the line that ends at `end` below or above the cursor.
    fn same_column(&self, end: usize) -> usize {
        let start = |at: usize| self.text[..at].rfind('\n').map_or(0, |i| i + 1);
        let column = columns(&self.text[start(self.cursor)..self.cursor]);
        let mut used = 0;
        let line = start(end);
        for (at, character) in self.text[line..end].grapheme_indices(true) {
            if used >= column {
                return line + at;
            }
            used += columns(character);
        }
        end
    }

    fn show(&mut self, text: String) {
        self.cursor = text.len();
        self.text = text;
    }

    /// The text in rows of at most `width` columns, made harmless.
    pub(super) fn rows(&self, width: usize) -> Rows {
        let width = width.max(2);
        let mut rows = vec![String::new()];
        let mut used = 0;
        let mut cursor = (0, 0);
        for (at, character) in self.text.grapheme_indices(true) {
            if at == self.cursor {
                cursor = (rows.len() - 1, used);
            }
            if character == "\n" {
                rows.push(String::new());
                used = 0;
                continue;
            }
            let shown = crate::text::harmless(character);
            let mut with = joined(last(&mut rows), used, &shown);
            if with > width {
                rows.push(String::new());
                with = columns(&shown);
                if at == self.cursor {
                    cursor = (rows.len() - 1, 0);
                }
            }
            last(&mut rows).push_str(&shown);
            used = with;
        }
        if self.cursor == self.text.len() {
            if used >= width {
                rows.push(String::new());
                used = 0;
            }
            cursor = (rows.len() - 1, used);
        }
        Rows { rows, cursor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 1000;

    fn editor(text: &str) -> Editor {
        let mut e = Editor::default();
        assert!(e.insert(text, LIMIT));
        e
    }

    #[test]
    fn whole_characters_are_deleted() {
        let mut e = editor("a👩\u{200d}👧e\u{301}");
        e.delete(Way::Left, Step::Character);
        assert_eq!(e.text(), "a👩\u{200d}👧");
        e.delete(Way::Left, Step::Character);
        assert_eq!(e.text(), "a");
        e.delete(Way::Left, Step::Character);
        e.delete(Way::Left, Step::Character);
        e.delete(Way::Right, Step::Character);
        assert!(e.is_empty());
    }

    #[test]
    fn words_and_lines() {
        let mut e = editor("one two, three");
        e.go(Way::Left, Step::Word);
        e.delete(Way::Left, Step::Word);
        assert_eq!(e.text(), "one three");
        e.go(Way::Right, Step::Line);
        e.yank(LIMIT);
        assert_eq!(e.text(), "one threetwo, ");
        e.go(Way::Left, Step::Line);
        e.delete(Way::Right, Step::Line);
        assert!(e.is_empty());
        e.yank(LIMIT);
        assert_eq!(e.text(), "one threetwo, ");
    }

    #[test]
    fn history_keeps_the_draft() {
        let mut e = Editor::default();
        for line in ["first", "second", "second"] {
            e.insert(line, LIMIT);
            assert_eq!(e.take(), line);
        }
        e.insert("draft", LIMIT);
        let mut seen = Vec::new();
        for _ in 0..3 {
            e.up();
            seen.push(e.text().to_owned());
        }
        assert_eq!(seen, ["second", "first", "first"]);
        e.down();
        assert_eq!(e.text(), "second");
        e.down();
        assert_eq!(e.text(), "draft");
        e.down();
        assert_eq!(e.text(), "draft");
    }

    #[test]
    fn up_and_down_in_several_lines_keep_the_column() {
        let mut e = editor("long line\nab\nanother line");
        e.up();
        e.insert("|", LIMIT);
        assert_eq!(e.text(), "long line\nab|\nanother line");
        e.up();
        e.insert("|", LIMIT);
        assert_eq!(e.text(), "lon|g line\nab|\nanother line");
        e.down();
        e.down();
        e.insert("|", LIMIT);
        assert_eq!(e.text(), "lon|g line\nab|\nano|ther line");
    }

    #[test]
    fn what_is_pasted_is_cleaned_and_bounded() {
        let mut e = Editor::default();
        assert!(e.insert("a\r\nb\rc\x1b[31m\x07", LIMIT));
        assert_eq!(e.text(), "a\nb\nc[31m");
        let mut e = Editor::default();
        assert!(!e.insert("日本", 4));
        assert_eq!(e.text(), "日");
    }

    #[test]
    fn rows_show_the_cursor_where_the_next_letter_goes() {
        let e = editor("abcd");
        let rows = e.rows(4);
        assert_eq!((rows.rows, rows.cursor), (vec!["abcd".to_owned(), String::new()], (1, 0)));
        let mut e = editor("日本語");
        e.go(Way::Left, Step::Character);
        let rows = e.rows(4);
        assert_eq!((rows.rows, rows.cursor), (vec!["日本".to_owned(), "語".to_owned()], (1, 0)));
        assert_eq!(editor("a\n").rows(9).cursor, (1, 0));
    }

    proptest! {
        #[test]
        fn the_cursor_is_always_at_a_border(
            steps in prop::collection::vec(0..14u8, 0..60),
            text in "[a日\u{301}👍🏽 \n-]{0,20}",
        ) {
            let mut e = Editor::default();
            for step in steps {
                match step {
                    0 => { e.insert(&text, 60); }
                    1 => e.go(Way::Left, Step::Character),
                    2 => e.go(Way::Right, Step::Character),
                    3 => e.go(Way::Left, Step::Word),
                    4 => e.go(Way::Right, Step::Word),
                    5 => e.go(Way::Left, Step::Line),
                    6 => e.delete(Way::Left, Step::Character),
                    7 => e.delete(Way::Right, Step::Character),
                    8 => e.delete(Way::Left, Step::Word),
                    9 => e.delete(Way::Right, Step::Line),
                    10 => e.up(),
                    11 => e.down(),
                    12 => e.yank(60),
                    _ => { e.take(); }
                }
                prop_assert!(e.text().is_char_boundary(e.cursor) && e.text().len() <= 60);
                let rows = e.rows(7);
                prop_assert!(rows.cursor.0 < rows.rows.len());
                prop_assert!(rows.rows.iter().all(|r| columns(r) <= 7 || r.graphemes(true).count() == 1));
            }
        }
    }
}
