//! What stands above everything else: the help, what was found, the members of a group.

use jiff::Timestamp;
use ntproto_core::ids::Uin;
use ntproto_proto::v2;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::model::{Hit, Model, Overlay};
use super::view::Theme;
use super::wrap::{clip, columns};
use super::{act, pane};

/// Columns of the help.
const HELP_WIDTH: u16 = 74;
/// Columns of a key or command in it.
const HELP_KEY: usize = 31;

const KEYS: &[(&str, &str)] = &[
    ("Enter; Alt-Enter, Ctrl-J", "send; new line"),
    ("Ctrl-N, Ctrl-P; F2", "next conversation, the one before; all"),
    ("Ctrl-T", "next account"),
    ("PgUp, PgDn, wheel; Esc", "scroll; back to the end"),
    ("Ctrl-R; Ctrl-C", "reconnect now; clear the line, then quit"),
    ("·  ✓  ✓✓  read", "waiting, stored, delivered, read"),
];

/// Draws it.
pub(super) fn draw(model: &Model, overlay: &Overlay, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    match overlay {
        Overlay::Help => help(theme, frame, area),
        Overlay::Found { words, hits, selected } => found(model, words, hits, *selected, theme, frame, area),
        Overlay::Members { title, members, scroll } => {
            members_of(model, title, members, *scroll, theme, frame, area);
        }
        Overlay::Pane => {
            frame.render_widget(Clear, area);
            let block = Block::bordered().title(" Conversations ");
            let inner = block.inner(area);
            frame.render_widget(block, area);
            pane::draw(model, theme, frame, Rect { width: inner.width + 1, ..inner });
        }
    }
}

/// A box in the middle.
fn boxed(title: &str, lines: Vec<Line<'_>>, width: u16, frame: &mut Frame<'_>, area: Rect) {
    let width = width.min(area.width);
    let height = (lines.len() as u16 + 2).min(area.height);
    let area =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(title.to_owned())), area);
}

fn help(theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let line = |(key, what): &(&'static str, &'static str)| {
        Line::from(vec![
            Span::styled(format!(" {key:<HELP_KEY$}"), theme.colour(Color::Cyan)),
            Span::raw(*what),
        ])
    };
    let lines = KEYS.iter().chain(act::help()).map(line).collect();
    boxed(" Keys and commands ", lines, HELP_WIDTH, frame, area);
}

fn found(
    model: &Model,
    words: &str,
    hits: &[Hit],
    selected: usize,
    theme: &Theme,
    frame: &mut Frame<'_>,
    area: Rect,
) {
    let width = usize::from(area.width.saturating_sub(2));
    let room = usize::from(area.height.saturating_sub(2)).max(1);
    let first = (selected + 1).saturating_sub(room);
    let account = model.account();
    let mut lines: Vec<Line<'_>> = Vec::new();
    for (at, hit) in hits.iter().enumerate().skip(first).take(room) {
        let when = i64::try_from(hit.at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let when = when.map(|at| at.to_zoned(model.zone.clone()).strftime("%Y-%m-%d %H:%M").to_string());
        let from = match hit.from == account.me {
            true => "you".into(),
            false => account.people.name(hit.from, hit.conversation.group()),
        };
        let place = clip(&account.title(hit.conversation), 16);
        let head = format!(
            "{} {} {place} · {from}: ",
            if at == selected { "›" } else { " " },
            when.unwrap_or_default()
        );
        let text = clip(&hit.text, width.saturating_sub(columns(&head)));
        let style = if at == selected { Style::new().add_modifier(Modifier::BOLD) } else { Style::new() };
        lines.push(Line::from(vec![Span::styled(head, theme.dim()), Span::styled(text, style)]));
    }
    if hits.is_empty() {
        lines.push(Line::from(Span::styled(" nothing on this disk", theme.dim())));
    }
    let title = format!(" {} · Enter opens, Esc closes ", clip(&crate::text::harmless(words), 30));
    boxed(&title, lines, area.width, frame, area);
}

fn members_of(
    model: &Model,
    title: &str,
    members: &[v2::Member],
    scroll: usize,
    theme: &Theme,
    frame: &mut Frame<'_>,
    area: Rect,
) {
    let room = usize::from(area.height.saturating_sub(2)).max(1);
    let account = model.account();
    let group = account.open.and_then(ntproto_core::ids::ConversationId::group);
    let mut sorted: Vec<&v2::Member> = members.iter().collect();
    sorted.sort_by_key(|m| (std::cmp::Reverse(m.role), m.uin));
    let first = scroll.min(sorted.len().saturating_sub(room));
    let lines = sorted.iter().skip(first).take(room).map(|member| {
        let role = match member.role() {
            v2::Role::Owner => "owner",
            v2::Role::Admin => "admin",
            v2::Role::Member => "",
        };
        let muted = if member.muted_until_ms > model.now_ms { "muted" } else { "" };
        let uin = Uin(member.uin);
        let name = if uin == account.me { "you".into() } else { account.people.name(uin, group) };
        let gap = " ".repeat(18usize.saturating_sub(columns(&name)));
        Line::from(vec![
            Span::raw(format!(" {:>8}  {name}{gap}", member.uin)),
            Span::styled(format!("{role:<7}"), theme.colour(Color::Cyan)),
            Span::styled(muted, theme.colour(Color::Red)),
        ])
    });
    let title = format!(" {title}: {} members ", members.len());
    boxed(&title, lines.collect(), 48, frame, area);
}
