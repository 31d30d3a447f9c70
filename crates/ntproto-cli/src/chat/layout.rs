//! Messages as rows: when, who, what, and the tick.
//!
//! ```text
//! ──────────── Saturday, 22 November 2025 ────────────
//!  23:00  10002 │ hello                             
//!           you │ a text that is too long for one   
//!               │ row                           ✓✓  
//! ```

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use ntproto_core::ids::Uin;

use super::log::{Entry, Tick};
use super::model::Model;
use super::people::MAX_NAME;
use super::wrap::{clip, columns, wrap};

/// Rows that are neither messages nor input: the title, the status, the rule above the input, the keys.
pub(super) const FRAME_ROWS: usize = 4;
/// Columns of the time.
const TIME: usize = 7;
/// Columns of the tick with the blank before it.
const TICK: usize = 5;
/// The same in a group.
const GROUP_TICK: usize = 9;
/// Names take at most this part of the row.
const NAME_SHARE: usize = 4;
/// What stands behind a message that was changed.
pub(super) const EDITED: &str = " (edited)";
/// What stands between who and what.
const RULE: &str = " │ ";
/// Texts are given at least this, however narrow the screen is.
const MIN_TEXT: usize = 8;
/// Columns before the input.
const PROMPT: usize = 2;

/// A row of the log.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Row {
    /// A new day.
    Day(String),
    /// A row of a message.
    Text(TextRow),
}

/// What a row of a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What was said.
    Said,
    /// What it answers.
    Quote,
    /// What stands about it: that it was taken back, why it was not sent.
    Note,
    /// What others think of it.
    Reactions,
}

/// A row of a message.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TextRow {
    /// When, or its number, on the first row.
    pub(super) time: String,
    /// Who, on the first row of several of theirs.
    pub(super) name: String,
    /// Whether it is one's own.
    pub(super) mine: bool,
    /// What.
    pub(super) text: String,
    pub(super) kind: Kind,
    /// The words that call somebody, and whether that is oneself.
    pub(super) calls: Vec<(String, bool)>,
    /// It said something else before: on the last row of what is said.
    pub(super) edited: bool,
    /// How far it is, on the last row of one's own.
    pub(super) tick: Option<Tick>,
}

/// A part of the log.
pub(super) struct Rows {
    /// At most as many rows as asked for, top first.
    pub(super) rows: Vec<Row>,
    /// Rows the end of the log is below them: what was asked for, or less when the log is shorter.
    pub(super) scroll: usize,
    /// The first row of all that is loaded is among them.
    pub(super) at_top: bool,
}

/// Columns of the input.
pub(super) fn input_width(width: usize) -> usize {
    width.saturating_sub(PROMPT + 1).max(MIN_TEXT)
}

/// The rows that are `scroll` above the end.
pub(super) fn rows(model: &Model, scroll: usize, height: usize) -> Rows {
    let wanted = scroll.saturating_add(height);
    // From the end upwards, bottom row first, no further than needed.
    let mut up: Vec<Row> = Vec::new();
    let whole = walk(model, |_, mut rows| {
        if up.len() >= wanted {
            return false;
        }
        up.append(&mut rows);
        true
    });
    let all = whole && up.len() <= wanted;
    let scroll = if all { up.len().saturating_sub(height).min(scroll) } else { scroll };
    let end = scroll.saturating_add(height).min(up.len());
    let mut rows: Vec<Row> = up.drain(scroll.min(end)..end).collect();
    rows.reverse();
    Rows { rows, scroll, at_top: all }
}

/// Rows from the end of the log to the first of a message, if it is loaded.
pub(super) fn rows_below(model: &Model, number: u64) -> Option<usize> {
    let mut below = 0;
    let mut found = false;
    walk(model, |seq, rows| {
        below += rows.len();
        found = seq == Some(number);
        !found
    });
    found.then_some(below)
}

/// How many rows all that is loaded takes.
pub(super) fn total(model: &Model) -> usize {
    rows(model, 0, usize::MAX).rows.len()
}

/// Goes through the messages from the newest up, as long as it is wanted: the number of each, and its rows, bottom row
/// first. Returns whether it came to the oldest.
fn walk(model: &Model, mut take: impl FnMut(Option<u64>, Vec<Row>) -> bool) -> bool {
    let Some((id, talk)) = model.account().talk() else { return true };
    let (me, others) = (model.account().me, model.account().others(id));
    let mut entries = talk.log.newest_first(me, others).peekable();
    while let Some((seq, entry, tick)) = entries.next() {
        let above = entries.peek().map(|(_, above, _)| *above);
        let new_day = above.is_none_or(|a| day(a.at_ms, &model.zone) != day(entry.at_ms, &model.zone));
        let same_minute =
            above.is_some_and(|a| minute(a.at_ms, &model.zone) == minute(entry.at_ms, &model.zone));
        let same_name = !new_day && above.is_some_and(|a| a.from == entry.from);
        let reactions = seq.map(|seq| talk.log.reactions(seq)).unwrap_or_default();
        let mut rows = text_rows(model, entry, tick, &reactions);
        if let Some(Row::Text(first)) = rows.first_mut() {
            if !same_name {
                first.name = clip(&model.account().name_of(entry.from), name_width(model));
            }
            first.time = match seq {
                Some(seq) if model.numbers => format!("#{seq}"),
                _ if same_name && same_minute => String::new(),
                _ => minute(entry.at_ms, &model.zone),
            };
        }
        rows.reverse();
        if new_day {
            rows.push(Row::Day(day_text(day(entry.at_ms, &model.zone))));
        }
        if !take(seq, rows) {
            return false;
        }
    }
    true
}

fn text_rows(model: &Model, entry: &Entry, tick: Option<Tick>, reactions: &[(String, usize)]) -> Vec<Row> {
    let me = model.account().me;
    let width = text_width(model);
    let mut texts: Vec<(Kind, String)> = Vec::new();
    if let Some(quote) = entry.said.reply.as_ref().filter(|_| !entry.recalled) {
        let from = model.account().name_of(Uin(quote.from));
        texts.push((Kind::Quote, clip(&format!("↳ {from}: {}", quote.text), width)));
    }
    if entry.recalled {
        texts.push((Kind::Note, "(taken back)".into()));
    }
    let mut lines = entry.said.lines.iter().flat_map(|line| wrap(line, width)).collect::<Vec<_>>();
    if entry.edited
        && !entry.recalled
        && lines.last().is_some_and(|last| columns(last) + columns(EDITED) > width)
    {
        lines.push(String::new());
    }
    texts.extend(lines.into_iter().filter(|_| !entry.recalled).map(|line| (Kind::Said, line)));
    let said = texts.iter().rposition(|(kind, _)| *kind == Kind::Said);
    if let Some(Tick::Failed(why)) = &tick {
        texts.extend(wrap(&format!("(not sent: {why})"), width).into_iter().map(|line| (Kind::Note, line)));
    }
    if !reactions.is_empty() && !entry.recalled {
        let all: Vec<String> = reactions.iter().map(|(text, n)| format!("{text} {n}")).collect();
        texts.push((Kind::Reactions, clip(&all.join("  "), width)));
    }
    if texts.is_empty() {
        texts.push((Kind::Said, String::new()));
    }
    let last = texts.len() - 1;
    let group = model.account().open.and_then(ntproto_core::ids::ConversationId::group);
    let all = model.account().people.may_call_all(group, entry.from);
    let calls = entry.said.mentions.iter().filter(|(who, _)| *who != Uin(0) || all);
    let calls: Vec<_> = calls.map(|(who, word)| (word.clone(), *who == me || *who == Uin(0))).collect();
    let rows = texts.into_iter().enumerate().map(|(at, (kind, text))| {
        Row::Text(TextRow {
            time: String::new(),
            name: String::new(),
            mine: entry.from == me,
            text,
            kind,
            calls: if kind == Kind::Said { calls.clone() } else { Vec::new() },
            edited: entry.edited && said == Some(at),
            tick: tick.clone().filter(|_| at == last),
        })
    });
    rows.collect()
}

/// Whether a conversation of many is on the screen.
fn is_group(model: &Model) -> bool {
    model.account().open.is_some_and(|id| id.group().is_some())
}

/// Columns of the names.
pub(super) fn name_width(model: &Model) -> usize {
    let account = model.account();
    let peer = account.open.and_then(|id| account.peer(id));
    let widest = peer.map_or(MAX_NAME, |peer| columns(&account.people.name(peer, None)).max(3));
    widest.min(model.log_width() / NAME_SHARE).max(3)
}

/// Columns of the tick, with the blank before it.
fn tick_width(model: &Model) -> usize {
    if is_group(model) { GROUP_TICK } else { TICK }
}

/// Columns of a text.
pub(super) fn text_width(model: &Model) -> usize {
    let taken = TIME + name_width(model) + columns(RULE) + tick_width(model);
    model.log_width().saturating_sub(taken).max(MIN_TEXT)
}

/// A tick as it is shown: in a group it says how many have read it.
pub(super) fn tick_text(model: &Model, tick: &Tick) -> String {
    match tick {
        Tick::Queued => "·".into(),
        Tick::Stored => "✓".into(),
        Tick::Delivered => "✓✓".into(),
        Tick::Read(_, true) if is_group(model) => "read all".into(),
        Tick::Read(n, _) if is_group(model) => format!("read {n}"),
        Tick::Read(..) => "read".into(),
        Tick::Failed(_) => "✗".into(),
    }
}

/// What stands between who and what.
pub(super) const fn rule() -> &'static str {
    RULE
}

/// Columns of the time.
pub(super) const fn time_width() -> usize {
    TIME
}

fn zoned(at_ms: u64, zone: &TimeZone) -> Option<jiff::Zoned> {
    let at = Timestamp::from_millisecond(i64::try_from(at_ms).ok()?).ok()?;
    Some(at.to_zoned(zone.clone()))
}

fn day(at_ms: u64, zone: &TimeZone) -> Option<Date> {
    zoned(at_ms, zone).map(|z| z.date())
}

fn day_text(day: Option<Date>) -> String {
    day.map_or_else(String::new, |d| d.strftime("%A, %-d %B %Y").to_string())
}

fn minute(at_ms: u64, zone: &TimeZone) -> String {
    zoned(at_ms, zone).map_or_else(String::new, |z| z.strftime("%H:%M").to_string())
}
