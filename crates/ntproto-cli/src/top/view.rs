//! The board on a screen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Sparkline};

use super::Board;
use super::board::Row;

/// Columns of a row's title, and of a figure with its name.
const TITLE: usize = 13;
const FIGURE: usize = 22;
/// Rows of the line of history, its border included.
const HISTORY: u16 = 6;

/// Draws it. `where_from` says which server; without `colour` everything is told by words alone.
pub(crate) fn view(board: &Board, where_from: &str, colour: bool, frame: &mut Frame<'_>) {
    let paint = |style: Style| if colour { style } else { Style::default() };
    let dim = paint(Style::default().add_modifier(Modifier::DIM));
    let bold = paint(Style::default().add_modifier(Modifier::BOLD));
    let width = frame.area().width as usize;
    let lines: Vec<Line<'_>> = board.rows().iter().flat_map(|row| figures(row, width, bold, dim)).collect();
    let rows = u16::try_from(lines.len()).unwrap_or(u16::MAX);
    let areas = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(rows),
        Constraint::Length(HISTORY),
        Constraint::Min(0),
        Constraint::Length(1),
    ]);
    let [head, table, history, _, foot] = areas.areas(frame.area());
    frame.render_widget(Paragraph::new(heading(board, where_from, paint)), head);
    frame.render_widget(Paragraph::new(lines), table);
    spark(board, history, paint(Style::default().fg(Color::Cyan)), frame);
    let last = match &board.trouble {
        Some(why) => {
            Line::styled(crate::text::harmless(why).to_string(), paint(Style::default().fg(Color::Red)))
        }
        None => Line::styled("q quits", dim),
    };
    frame.render_widget(Paragraph::new(last), foot);
}

fn heading(board: &Board, where_from: &str, paint: impl Fn(Style) -> Style) -> Line<'static> {
    let version =
        board.version().map_or_else(|| "ntproto".to_owned(), |version| format!("ntproto {version}"));
    let mut spans = vec![
        Span::styled(version, paint(Style::default().add_modifier(Modifier::BOLD))),
        Span::raw(format!("  {where_from}")),
    ];
    if let Some(up) = board.up() {
        spans.push(Span::raw(format!("  up {}", duration(up))));
    }
    match board.ready() {
        Some(true) => spans.push(Span::styled("  ready", paint(Style::default().fg(Color::Green)))),
        Some(false) => spans.push(Span::styled("  not ready", paint(Style::default().fg(Color::Red)))),
        None => {}
    }
    Line::from(spans)
}

/// A row's figures, on as many lines as they need. One that the server says nothing of has none.
fn figures(row: &Row, width: usize, bold: Style, dim: Style) -> Vec<Line<'static>> {
    let told: Vec<_> = row.figures.iter().filter_map(|(name, figure)| Some((*name, (*figure)?))).collect();
    let columns = (width.saturating_sub(TITLE) / FIGURE).max(1);
    let lines = told.chunks(columns).enumerate().map(|(n, chunk)| {
        let title = if n == 0 { row.title } else { "" };
        let mut spans = vec![Span::styled(format!("{title:<TITLE$}"), bold)];
        for (name, figure) in chunk {
            let text = figure.text();
            let room = FIGURE.saturating_sub(name.chars().count() + 1);
            spans.push(Span::styled(format!("{name} "), dim));
            spans.push(Span::raw(format!("{text:<room$}")));
        }
        Line::from(spans)
    });
    lines.collect()
}

fn spark(board: &Board, area: Rect, style: Style, frame: &mut Frame<'_>) {
    let history = board.history();
    let most = history.iter().copied().fold(0.0, f64::max);
    let title = format!(" messages a second, at most {most:.0} ");
    let block = Block::default().borders(Borders::TOP).title(title);
    let shown = history.len().saturating_sub(area.width as usize);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a height, rounded")]
    let data: Vec<u64> = history.iter().skip(shown).map(|rate| (rate * 100.0).round() as u64).collect();
    frame.render_widget(Sparkline::default().block(block).data(&data).style(style), area);
}

fn duration(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is not negative")]
    let seconds = seconds as u64;
    match (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}
