//! The model on the screen.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::layout::{self, Row, TextRow};
use super::log::Tick;
use super::model::{Link, Model};
use super::wrap::columns;

/// Below this nothing can be shown that helps.
const MIN_SIZE: (u16, u16) = (24, 7);

/// From here on there is room for what is nice to know.
const WIDE: u16 = 60;

const KEYS: &str = "Enter send · Alt-Enter new line · PgUp/PgDn scroll · F1 help · Ctrl-C quit";
const HELP: &[(&str, &str)] = &[
    ("Enter", "send"),
    ("Alt-Enter, Ctrl-J", "new line"),
    ("PgUp, PgDn, wheel", "scroll; Esc: back to the end"),
    ("Ctrl-Home, Ctrl-End", "oldest, newest"),
    ("Up, Down", "what was typed before"),
    ("Ctrl-W, -U, -K, -Y", "delete word, to start, to end; put back"),
    ("Ctrl-R", "reconnect now"),
    ("Ctrl-C", "clear the line, then quit"),
    ("·  ✓  ✓✓", "waiting, stored, delivered"),
];

/// Styles, all plain where colours are not wanted.
struct Theme(bool);

impl Theme {
    fn colour(&self, colour: Color) -> Style {
        if self.0 { Style::new().fg(colour) } else { Style::new() }
    }

    const fn dim(&self) -> Style {
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
    log(model, &theme, frame, row(1, log_height));
    status(model, &theme, frame, row(1 + log_height, 1));
    frame.render_widget(
        Paragraph::new("─".repeat(area.width.into())).style(theme.dim()),
        row(2 + log_height, 1),
    );
    editor(model, &theme, frame, row(3 + log_height, input));
    frame.render_widget(Paragraph::new(KEYS).style(theme.dim()), row(3 + log_height + input, 1));
    if model.help {
        help(&theme, frame, area);
    }
}

fn title(model: &Model, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut spans = vec![
        Span::styled(" ntp  ", theme.colour(Color::Cyan).patch(bold)),
        Span::styled(model.peer.to_string(), bold),
    ];
    if area.width >= WIDE {
        spans.push(Span::styled(format!("  you are {}", model.me), theme.dim()));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
    let (text, colour) = match &model.link {
        Link::Connecting => ("◌ connecting", Color::Yellow),
        Link::Online { .. } => ("● online", Color::Green),
        Link::Offline { .. } => ("○ offline", Color::Red),
        Link::Stopped(_) => ("✗ ended", Color::Red),
    };
    right(frame, area, Span::styled(format!("{text} "), theme.colour(colour)));
}

/// Writes at the right end of a row.
fn right(frame: &mut Frame<'_>, area: Rect, span: Span<'_>) {
    let width = (columns(&span.content) as u16).min(area.width);
    let area = Rect { x: area.x + area.width - width, width, ..area };
    frame.render_widget(Paragraph::new(Line::from(span)), area);
}

fn log(model: &Model, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let shown = layout::rows(model, model.scroll, area.height.into());
    // A short log stands at the bottom, where the input is.
    let top = area.height - (shown.rows.len() as u16).min(area.height);
    for (y, row) in (area.y + top..area.y + area.height).zip(&shown.rows) {
        let line = match row {
            Row::Day(day) => day_line(day, theme, area.width.into()),
            Row::Text(text) => text_line(model, text, theme),
        };
        frame.render_widget(Paragraph::new(line), Rect { y, height: 1, ..area });
    }
    if shown.rows.is_empty() && model.complete {
        let text = format!("Nothing yet. Say hello to {}.", model.peer);
        let middle = Rect { y: area.y + area.height / 2, height: 1, ..area };
        frame.render_widget(Paragraph::new(text).centered().style(theme.dim()), middle);
    }
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
        Span::styled(format!("{:>w$}", row.name, w = layout::name_width(model)), name),
        Span::styled(layout::rule(), theme.dim()),
        Span::raw(row.text.as_str()),
    ];
    if let Some(tick) = &row.tick {
        let (text, style) = match tick {
            Tick::Queued => ("·", theme.dim()),
            Tick::Stored => ("✓", theme.dim()),
            Tick::Delivered => ("✓✓", theme.colour(Color::Green)),
            Tick::Read => ("✓✓", theme.colour(Color::Blue).add_modifier(Modifier::BOLD)),
            Tick::Failed(_) => ("✗", theme.colour(Color::Red)),
        };
        let gap = layout::text_width(model).saturating_sub(columns(&row.text));
        spans.push(Span::raw(" ".repeat(gap + 1)));
        spans.push(Span::styled(text, style));
    }
    Line::from(spans)
}

fn status(model: &Model, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let waiting = match model.log.waiting().count() {
        0 => String::new(),
        1 => " 1 message waits;".into(),
        n => format!(" {n} messages wait;"),
    };
    let (text, style) = match (&model.notice, &model.link) {
        (Some((text, _)), _) => (format!(" {text}"), theme.colour(Color::Yellow)),
        (None, Link::Connecting) => (" connecting …".into(), theme.colour(Color::Yellow)),
        (None, Link::Online { caught_up: false }) => (" reading what came meanwhile …".into(), theme.dim()),
        (None, Link::Online { caught_up: true }) => (waiting.replace(';', "."), theme.dim()),
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
    if let Some((from, _)) = model.elsewhere.first_key_value() {
        let count: usize = model.elsewhere.values().sum();
        let more = if model.elsewhere.len() > 1 { " and others" } else { "" };
        hints.push(format!("✉ {count} from {from}{more}"));
    }
    match (model.scroll, model.unseen) {
        (0, _) => {}
        (_, 0) => hints.push("↓ Esc: to the end".into()),
        (_, n) => hints.push(format!("↓ {n} new")),
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
    if !model.help {
        let x = (area.x + 2 + rows.cursor.1 as u16).min(area.width - 1);
        frame.set_cursor_position(Position::new(x, area.y + (rows.cursor.0 - first) as u16));
    }
}

fn help(theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let lines: Vec<Line<'_>> = HELP
        .iter()
        .map(|(keys, what)| {
            Line::from(vec![
                Span::styled(format!(" {keys:<20}"), theme.colour(Color::Cyan)),
                Span::raw(*what),
            ])
        })
        .collect();
    let width = 62.min(area.width);
    let height = (lines.len() as u16 + 2).min(area.height);
    let area = Rect { x: (area.width - width) / 2, y: (area.height - height) / 2, width, height };
    frame.render_widget(Clear, area);
    let block = Block::bordered().title(" Keys ");
    frame.render_widget(Paragraph::new(lines).block(block), area);
}
