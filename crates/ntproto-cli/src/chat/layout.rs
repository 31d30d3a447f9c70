//! Messages as rows: when, who, what, and the tick.
//!
//! ```text
//! ──────────── Saturday, 22 November 2025 ────────────
//!  23:00  10002 │ hello                             
//!           you │ a text that is too long for one   
//!               │ row                             ✓✓
//! ```

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use ntproto_core::ids::Uin;

use super::log::{Entry, Tick};
use super::model::Model;
use super::wrap::{columns, wrap};

/// Rows that are neither messages nor input: the title, the status, the rule above the input, the keys.
pub(super) const FRAME_ROWS: usize = 4;
/// Columns of the time.
const TIME: usize = 7;
/// Columns of the tick with the blank before it.
const TICK: usize = 3;
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

/// A row of a message.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TextRow {
    /// When, on the first row.
    pub(super) time: String,
    /// Who, on the first row of several of theirs.
    pub(super) name: String,
    /// Whether it is one's own.
    pub(super) mine: bool,
    /// What.
    pub(super) text: String,
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
    let mut entries = model.log.newest_first(model.me).peekable();
    while let Some((entry, tick)) = entries.next() {
        if up.len() >= wanted {
            break;
        }
        let above = entries.peek().map(|(above, _)| *above);
        let new_day = above.is_none_or(|a| day(a.at_ms, &model.zone) != day(entry.at_ms, &model.zone));
        let same_minute =
            above.is_some_and(|a| minute(a.at_ms, &model.zone) == minute(entry.at_ms, &model.zone));
        let same_name = !new_day && above.is_some_and(|a| a.from == entry.from);
        up.extend(text_rows(model, entry, tick, same_name, same_name && same_minute).into_iter().rev());
        if new_day {
            up.push(Row::Day(day_text(day(entry.at_ms, &model.zone))));
        }
    }
    let all = entries.next().is_none() && up.len() <= wanted;
    let scroll = if all { up.len().saturating_sub(height).min(scroll) } else { scroll };
    let end = (scroll + height).min(up.len());
    let mut rows: Vec<Row> = up.drain(scroll.min(end)..end).collect();
    rows.reverse();
    Rows { rows, scroll, at_top: all }
}

/// How many rows all that is loaded takes.
pub(super) fn total(model: &Model) -> usize {
    rows(model, 0, usize::MAX).rows.len()
}

fn text_rows(model: &Model, entry: &Entry, tick: Option<Tick>, no_name: bool, no_time: bool) -> Vec<Row> {
    let mine = entry.from == model.me;
    let width = text_width(model);
    let mut texts: Vec<String> = entry.lines.iter().flat_map(|line| wrap(line, width)).collect();
    if let Some(Tick::Failed(why)) = &tick {
        texts.extend(wrap(&format!("(not sent: {why})"), width));
    }
    let last = texts.len() - 1;
    let rows = texts.into_iter().enumerate().map(|(at, text)| {
        let first = at == 0;
        let (time, name) = (minute(entry.at_ms, &model.zone), name(model, entry.from));
        Row::Text(TextRow {
            time: if first && !no_time { time } else { String::new() },
            name: if first && !no_name { name } else { String::new() },
            mine,
            text,
            tick: tick.clone().filter(|_| at == last),
        })
    });
    rows.collect()
}

/// Who, as it is shown.
pub(super) fn name(model: &Model, uin: Uin) -> String {
    if uin == model.me { "you".into() } else { uin.to_string() }
}

/// Columns of the names.
pub(super) fn name_width(model: &Model) -> usize {
    columns(&model.peer.to_string()).max(3)
}

/// Columns of a text.
pub(super) fn text_width(model: &Model) -> usize {
    let taken = TIME + name_width(model) + columns(RULE) + TICK;
    model.width().saturating_sub(taken).max(MIN_TEXT)
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
