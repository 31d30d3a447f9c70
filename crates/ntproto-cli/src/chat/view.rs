//! The model on the screen.

use ntproto_proto::v2;
use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::account::Link;
use super::layout::{self, Kind, Row, TextRow};
use super::log::Tick;
use super::model::Model;
use super::wrap::{clip, columns};
use super::{overlay, pane};

/// Below this nothing can be shown that helps.
const MIN_SIZE: (u16, u16) = (24, 7);

/// From here on there is room for what is nice to know.
const WIDE: u16 = 60;
/// Columns of a title.
const TITLE: usize = 30;
/// Names of those who are writing; more are counted.
const MAX_WRITING: usize = 2;

const KEYS: &str = "Enter send · Ctrl-N next · PgUp/PgDn scroll · F1 help · Ctrl-C quit";

/// Styles, all plain where colours are not wanted.
pub(super) struct Theme(bool);

impl Theme {
    pub(super) fn colour(&self, colour: Color) -> Style {
        if self.0 { Style::new().fg(colour) } else { Style::new() }
    }

    pub(super) const fn dim(&self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }
}

/// Draws the model.
pub(crate) fn view(model: &Model, frame: &mut Frame<'_>) {
    let area = frame.area();
    if area.width < MIN_SIZE.0 || area.height < MIN_SIZE.1 {
        frame.render_widget(Paragraph::new("ntp: please enlarge"), area);
        return;
    }
    let theme = Theme(model.colours);
    let input = model.input_rows() as u16;
    let row = |y: u16, height: u16| Rect { x: 0, y, width: area.width, height };
    let log_height = area.height - input - layout::FRAME_ROWS as u16;
    title(model, &theme, frame, row(0, 1));
    let side = model.pane_width().min(area.width);
    if side > 0 {
        pane::draw(model, &theme, frame, Rect { x: 0, y: 1, width: side, height: log_height });
    }
    log(model, &theme, frame, Rect { x: side, y: 1, width: area.width - side, height: log_height });
    status(model, &theme, frame, row(1 + log_height, 1));
    frame.render_widget(
        Paragraph::new("─".repeat(area.width.into())).style(theme.dim()),
        row(2 + log_height, 1),
    );
    editor(model, &theme, frame, row(3 + log_height, input));
    frame.render_widget(Paragraph::new(KEYS).style(theme.dim()), row(3 + log_height + input, 1));
    if let Some(above) = &model.overlay {
        overlay::draw(model, above, &theme, frame, row(1, area.height - 2));
    }
}

fn title(model: &Model, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let account = model.account();
    let mut spans = vec![Span::styled(" ntp  ", theme.colour(Color::Cyan).patch(bold))];
    if let Some(id) = account.open {
        let name = account.title(id);
        let more = match (account.peer(id), account.people.group_of(id).and_then(|g| g.group.as_ref())) {
            (Some(peer), _) if name != peer.to_string() => format!(" ({peer})"),
            (None, Some(group)) => format!(" (#{}, {} members)", group.group, group.members),
            _ => String::new(),
        };
        spans.push(Span::styled(clip(&name, TITLE), bold));
        if area.width >= WIDE {
            spans.push(Span::raw(more));
            spans.extend(presence(model, theme));
        }
    }
    if area.width >= WIDE {
        spans.push(Span::styled(format!("  you are {}", account.me), theme.dim()));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
    let (dot, colour) = pane::link_dot(&account.link);
    let word = match (&account.link, account.status) {
        (Link::Connecting, _) => "connecting",
        (Link::Online { .. }, v2::OnlineStatus::Online) => "online",
        (Link::Online { .. }, v2::OnlineStatus::Away) => "away",
        (Link::Online { .. }, v2::OnlineStatus::Offline) => "hidden",
        (Link::Offline { .. }, _) => "offline",
        (Link::Stopped(_), _) => "ended",
    };
    right(frame, area, Span::styled(format!(" {dot} {word} "), theme.colour(colour)));
}

/// Whether the friend on the screen is there.
fn presence(model: &Model, theme: &Theme) -> Option<Span<'static>> {
    let account = model.account();
    let peer = account.open.and_then(|id| account.peer(id))?;
    let status = account.people.status(peer).filter(|_| account.people.is_friend(peer))?;
    Some(match status {
        v2::OnlineStatus::Online => Span::styled("  ● online", theme.colour(Color::Green)),
        v2::OnlineStatus::Away => Span::styled("  ◐ away", theme.colour(Color::Yellow)),
        v2::OnlineStatus::Offline => Span::styled("  ○ offline", theme.dim()),
    })
}

/// Writes at the right end of a row.
fn right(frame: &mut Frame<'_>, area: Rect, span: Span<'_>) {
    let width = (columns(&span.content) as u16).min(area.width);
    let area = Rect { x: area.x + area.width - width, width, ..area };
    frame.render_widget(Paragraph::new(Line::from(span)), area);
}

fn log(model: &Model, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let scroll = model.talk().map_or(0, |talk| talk.scroll);
    let shown = layout::rows(model, scroll, area.height.into());
    // A short log stands at the bottom, where the input is.
    let top = area.height - (shown.rows.len() as u16).min(area.height);
    for (y, row) in (area.y + top..area.y + area.height).zip(&shown.rows) {
        let line = match row {
            Row::Day(day) => day_line(day, theme, area.width.into()),
            Row::Text(text) => text_line(model, text, theme),
        };
        frame.render_widget(Paragraph::new(line), Rect { y, height: 1, ..area });
    }
    let account = model.account();
    let hint = match (account.open, model.talk()) {
        (Some(id), Some(talk)) if talk.complete && shown.rows.is_empty() => {
            format!("Nothing yet. Say hello to {}.", account.title(id))
        }
        (None, _) => "Ctrl-N opens a conversation, /open WHO a new one.".into(),
        _ => return,
    };
    let middle = Rect { y: area.y + area.height / 2, height: 1, ..area };
    frame.render_widget(Paragraph::new(hint).centered().style(theme.dim()), middle);
}

fn day_line<'a>(day: &str, theme: &Theme, width: usize) -> Line<'a> {
    let left = width.saturating_sub(columns(day) + 2);
    let (before, after) = ("─".repeat(left / 2), "─".repeat(left - left / 2));
    Line::from(Span::styled(format!("{before} {day} {after}"), theme.dim()))
}

fn text_line<'a>(model: &Model, row: &'a TextRow, theme: &Theme) -> Line<'a> {
    let name = if row.mine { theme.colour(Color::Green) } else { theme.colour(Color::Cyan) };
    let mut spans = vec![
        Span::styled(format!(" {:<w$}", row.time, w = layout::time_width() - 1), theme.dim()),
        Span::styled(" ".repeat(layout::name_width(model).saturating_sub(columns(&row.name))), name),
        Span::styled(row.name.as_str(), name),
        Span::styled(layout::rule(), theme.dim()),
    ];
    match row.kind {
        Kind::Said => spans.extend(with_calls(&row.text, &row.calls, theme)),
        Kind::Quote | Kind::Note => spans.push(Span::styled(row.text.as_str(), theme.dim())),
        Kind::Reactions => spans.push(Span::styled(row.text.as_str(), theme.colour(Color::Magenta))),
    }
    let mut used = columns(&row.text);
    if row.edited {
        spans.push(Span::styled(layout::EDITED, theme.dim()));
        used += columns(layout::EDITED);
    }
    if let Some(tick) = &row.tick {
        let style = match tick {
            Tick::Queued | Tick::Stored => theme.dim(),
            Tick::Delivered => theme.colour(Color::Green),
            Tick::Read(..) => theme.colour(Color::Blue).add_modifier(Modifier::BOLD),
            Tick::Failed(_) => theme.colour(Color::Red),
        };
        let gap = layout::text_width(model).saturating_sub(used);
        spans.push(Span::raw(" ".repeat(gap + 1)));
        spans.push(Span::styled(layout::tick_text(model, tick), style));
    }
    Line::from(spans)
}

/// A text with the words that call somebody set off.
fn with_calls<'a>(text: &'a str, calls: &[(String, bool)], theme: &Theme) -> Vec<Span<'a>> {
    let mut spans = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let next =
            calls.iter().filter_map(|(word, me)| Some((rest.find(word.as_str())?, word.len(), *me))).min();
        let Some((at, length, me)) = next else { break };
        let (before, from) = rest.split_at(at);
        let (word, after) = from.split_at(length);
        let style = theme.colour(if me { Color::Yellow } else { Color::Cyan });
        spans.push(Span::raw(before));
        spans.push(Span::styled(word, if me { style.add_modifier(Modifier::BOLD) } else { style }));
        rest = after;
    }
    spans.push(Span::raw(rest));
    spans
}

/// Who is writing.
fn writing(model: &Model) -> Option<String> {
    let mut names = model.account().writing();
    let more = names.len().saturating_sub(MAX_WRITING);
    names.truncate(MAX_WRITING);
    match (&names[..], more) {
        ([], _) => None,
        ([one], _) => Some(format!(" {one} is writing …")),
        (some, 0) => Some(format!(" {} are writing …", some.join(" and "))),
        (some, n) => Some(format!(" {} and {n} more are writing …", some.join(", "))),
    }
}

fn status(model: &Model, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let waiting = match model.talk().map_or(0, |talk| talk.log.waiting().count() + talk.pending.len()) {
        0 => String::new(),
        1 => " 1 message waits;".into(),
        n => format!(" {n} messages wait;"),
    };
    let (text, style) = match (&model.notice, &model.account().link) {
        (Some((text, _)), _) => (format!(" {text}"), theme.colour(Color::Yellow)),
        (None, Link::Connecting) => (" connecting …".into(), theme.colour(Color::Yellow)),
        (None, Link::Online { caught_up: false }) => (" reading what came meanwhile …".into(), theme.dim()),
        (None, Link::Online { caught_up: true }) => {
            (writing(model).unwrap_or_else(|| waiting.replace(';', ".")), theme.dim())
        }
        (None, Link::Offline { why, retry_at_ms }) => {
            let left = retry_at_ms.saturating_sub(model.now_ms).div_ceil(1000);
            let when = match left {
                0 => "reconnecting now".to_owned(),
                s => format!("reconnecting in {s} s (Ctrl-R: now)"),
            };
            (format!(" {when}:{waiting} {}", crate::text::harmless(why)), theme.colour(Color::Red))
        }
        (None, Link::Stopped(why)) => {
            (format!(" {}. Ctrl-C ends.", crate::text::harmless(why)), theme.colour(Color::Red))
        }
    };
    frame.render_widget(Paragraph::new(text).style(style), area);
    let mut hints = Vec::new();
    let open = model.talk().map_or(0, |talk| talk.unread);
    let elsewhere = model.accounts.iter().map(super::account::Account::unread).sum::<u64>() - open;
    if elsewhere > 0 && model.pane_width() == 0 {
        hints.push(format!("✉ {elsewhere} elsewhere (F2)"));
    }
    match model.talk().map_or((0, 0), |talk| (talk.scroll, talk.unseen)) {
        (0, _) => {}
        (_, 0) => hints.push("↓ Esc: to the end".into()),
        (_, n) => hints.push(format!("↓ {n} new")),
    }
    let wanting = model.account().people.wanting().next();
    if let Some((uin, words)) = wanting {
        let words = crate::text::harmless(words);
        let said = if words.is_empty() { String::new() } else { format!(" “{}”", clip(&words, TITLE)) };
        hints.push(format!("? {uin}{said} /accept"));
    }
    if !hints.is_empty() {
        right(frame, area, Span::styled(format!(" {} ", hints.join("  ")), theme.colour(Color::Yellow)));
    }
}

fn editor(model: &Model, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let rows = model.editor.rows(layout::input_width(area.width.into()));
    // The cursor's row is always among those shown.
    let height = usize::from(area.height);
    let first = (rows.cursor.0 + 1).saturating_sub(height);
    for (y, row) in (area.y..).zip(rows.rows.iter().skip(first).take(height)) {
        let prompt = if y == area.y && first == 0 { "› " } else { "  " };
        let line = Line::from(vec![Span::styled(prompt, theme.colour(Color::Cyan)), Span::raw(row.as_str())]);
        frame.render_widget(Paragraph::new(line), Rect { y, height: 1, ..area });
    }
    if model.overlay.is_none() {
        let x = (area.x + 2 + rows.cursor.1 as u16).min(area.width - 1);
        frame.set_cursor_position(Position::new(x, area.y + (rows.cursor.0 - first) as u16));
    }
}
