//! The side pane: accounts, who wants to be a friend, friends, groups, and who else there is something from.

use ntproto_proto::v2;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Spans, Span};
use ratatui::widgets::Paragraph;

use super::account::{Account, Line, Link};
use super::model::Model;
use super::view::Theme;
use super::wrap::{clip, columns};

/// Columns before a name: where one is, and the dot.
const MARK: usize = 4;

/// Draws it. The conversation on the screen is always among what is shown.
pub(super) fn draw(model: &Model, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let width = usize::from(area.width.saturating_sub(1));
    let mut rows = accounts(model, theme, width);
    let account = model.account();
    let mut at = 0;
    for line in account.lines() {
        match line {
            Line::Heading(text) => rows.push(Spans::from(Span::styled(format!(" {text}"), theme.dim()))),
            Line::Wanting(uin) => {
                let name = account.people.name(uin, None);
                let dot = Span::styled("? ", theme.colour(Color::Yellow));
                rows.push(row(theme, false, dot, &name, "", width));
            }
            Line::Talk(id) => {
                let open = account.open == Some(id);
                if open {
                    at = rows.len();
                }
                let talk = account.talks.get(&id);
                let unread = match talk.map_or((0, false), |talk| (talk.unread, talk.called)) {
                    (0, _) => String::new(),
                    (n, true) => format!("@{n}"),
                    (n, false) => n.to_string(),
                };
                let dot = match account.peer(id) {
                    Some(peer) => dot(account, peer, theme),
                    None => Span::styled("# ", theme.dim()),
                };
                rows.push(row(theme, open, dot, &account.title(id), &unread, width));
            }
        }
    }
    let height = usize::from(area.height);
    let first = (at + 1).saturating_sub(height).min(rows.len().saturating_sub(height));
    let empty = rows.is_empty();
    for (y, row) in (area.y..area.y + area.height).zip(rows.into_iter().skip(first)) {
        frame.render_widget(Paragraph::new(row), Rect { y, height: 1, width: area.width - 1, ..area });
    }
    if empty {
        let hint = " Nobody yet:\n /friend UIN, /open UIN";
        frame.render_widget(Paragraph::new(hint).style(theme.dim()), Rect { width: area.width - 1, ..area });
    }
    for y in area.y..area.y + area.height {
        let border = Rect { x: area.x + area.width - 1, y, width: 1, height: 1 };
        frame.render_widget(Paragraph::new("│").style(theme.dim()), border);
    }
}

/// The accounts, when there are several.
fn accounts(model: &Model, theme: &Theme, width: usize) -> Vec<Spans<'static>> {
    if model.accounts.len() < 2 {
        return Vec::new();
    }
    let rows = model.accounts.iter().enumerate().map(|(at, account)| {
        let (dot, colour) = link_dot(&account.link);
        let unread = match account.unread() {
            0 => String::new(),
            n => n.to_string(),
        };
        let dot = Span::styled(format!("{dot} "), theme.colour(colour));
        let name = format!("{} {}", account.name, account.me);
        row(theme, at == model.current, dot, &name, &unread, width)
    });
    rows.chain([Spans::from("")]).collect()
}

/// How an account's connection is.
pub(super) const fn link_dot(link: &Link) -> (&'static str, Color) {
    match link {
        Link::Connecting => ("◌", Color::Yellow),
        Link::Online { .. } => ("●", Color::Green),
        Link::Offline { .. } => ("○", Color::Red),
        Link::Stopped(_) => ("✗", Color::Red),
    }
}

/// How somebody is.
fn dot(account: &Account, uin: ntproto_core::ids::Uin, theme: &Theme) -> Span<'static> {
    let record = account.people.record(uin);
    if record.is_some_and(|friend| friend.blocked) {
        return Span::styled("⊘ ", theme.colour(Color::Red));
    }
    if record.is_some_and(|friend| friend.state() == v2::FriendState::Asked) {
        return Span::styled("… ", theme.dim());
    }
    match account.people.status(uin).filter(|_| account.people.is_friend(uin)) {
        Some(v2::OnlineStatus::Online) => Span::styled("● ", theme.colour(Color::Green)),
        Some(v2::OnlineStatus::Away) => Span::styled("◐ ", theme.colour(Color::Yellow)),
        Some(v2::OnlineStatus::Offline) => Span::styled("○ ", theme.dim()),
        None => Span::raw("  "),
    }
}

fn row(
    theme: &Theme,
    here: bool,
    dot: Span<'static>,
    name: &str,
    unread: &str,
    width: usize,
) -> Spans<'static> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let room = width.saturating_sub(MARK + columns(unread) + 1);
    let name = clip(name, room);
    let gap = " ".repeat(width.saturating_sub(MARK + columns(&name) + columns(unread)));
    let strong = if here || !unread.is_empty() { bold } else { Style::new() };
    Spans::from(vec![
        Span::styled(if here { "› " } else { "  " }, theme.colour(Color::Cyan)),
        dot,
        Span::styled(name, strong),
        Span::raw(gap),
        Span::styled(unread.to_owned(), theme.colour(Color::Yellow).patch(bold)),
    ])
}
