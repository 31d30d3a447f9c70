//! What happens, and what it changes.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ntproto_core::client::MAX_BODY;
use ntproto_core::ids::{ClientMsgId, ConversationId, GroupId, Uin};
use ntproto_proto::v2;

use super::account::{Line, Link, Target};
use super::act;
use super::editor::{Step, Way};
use super::layout;
use super::model::{Model, Overlay};
use super::news::{self, News};
use super::said::Draft;

/// How long a notice stands.
const NOTICE_MS: u64 = 4_000;
/// How often the others hear that one is writing still: before they forget it, and as often as the server takes it.
const TYPING_EVERY_MS: u64 = 4_000;
/// Rows a turn of the mouse wheel scrolls.
const WHEEL_ROWS: usize = 3;
/// History is asked for when the top is this near.
const LOAD_AHEAD_ROWS: usize = 20;

/// What happened.
#[derive(Debug)]
pub(crate) enum Msg {
    /// A key.
    Key(KeyEvent),
    /// Text pasted.
    Paste(String),
    /// The wheel turned.
    Wheel {
        /// Towards the past.
        up: bool,
    },
    /// The screen has another size.
    Resize(u16, u16),
    /// The window was entered or left.
    Focus(bool),
    /// Only time went by.
    Tick,
    /// An account's client or disk has something to tell.
    Of(usize, News),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// By an account's client.
    Of(usize, Deed),
    /// Draw everything anew.
    Redraw,
    /// Ring: a message came while the window was left.
    Bell,
    /// End.
    Quit,
}

/// What an account's client is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Send this.
    Send(ConversationId, ClientMsgId, Draft),
    /// Give a message of one's own another body.
    Edit(ConversationId, ClientMsgId, Target, Draft),
    /// Take a message back.
    Recall(ConversationId, ClientMsgId, Target),
    /// Load history before this number, or the newest.
    Load(ConversationId, Option<u64>),
    /// Everything up to this number was read.
    Read(ConversationId, u64),
    /// Count what is unread.
    Count(ConversationId),
    /// One is writing, or has stopped.
    Typing(ConversationId, bool),
    /// Find what was said.
    Search(String),
    /// Try to connect at once.
    Reconnect,
    /// Ask the server for something.
    Ask(Ask),
}

/// What a server is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// To be somebody's friend, with these words.
    Befriend(Uin, String),
    /// Answers who asked.
    Answer(Uin, bool),
    /// Ends a friendship.
    Unfriend(Uin),
    /// Hear nothing of somebody, or hear of them again.
    Block(Uin, bool),
    /// Calls somebody something.
    Remark(Uin, String),
    /// Calls oneself something.
    Nick(String),
    /// Says whether one is there.
    Presence(v2::OnlineStatus),
    /// Makes a group.
    NewGroup(String, Vec<Uin>),
    /// Fetches the files of a message.
    Download(ConversationId, u64),
    /// Joins one.
    Join(GroupId),
    /// Leaves one.
    Leave(GroupId),
    /// Ends one.
    Dissolve(GroupId),
    /// Lists the members, to be looked at or only to be known.
    Members(GroupId, bool),
    /// Brings people in.
    Invite(GroupId, Vec<Uin>),
    /// Takes somebody out.
    Remove(GroupId, Uin),
    /// Gives somebody a role.
    Role(GroupId, Uin, v2::Role),
    /// Keeps somebody from sending until then; 0 lets them again.
    Mute(GroupId, Uin, u64),
    /// Calls a group something.
    Rename(GroupId, String),
    /// Sets a group's notice.
    Notice(GroupId, String),
}

/// Takes over what happened at `now_ms`.
pub(crate) fn update(model: &mut Model, now_ms: u64, msg: Msg) -> Vec<Effect> {
    model.now_ms = now_ms;
    if model.notice.as_ref().is_some_and(|(_, until)| *until <= now_ms) {
        model.notice = None;
    }
    for account in &mut model.accounts {
        for talk in account.talks.values_mut() {
            talk.typing.retain(|_, until| *until > now_ms);
        }
    }
    let mut effects = match msg {
        Msg::Key(key) => on_key(model, key),
        Msg::Paste(text) => insert(model, &text),
        Msg::Wheel { up } => scroll(model, up, WHEEL_ROWS),
        Msg::Resize(width, height) => {
            model.size = (width, height);
            if let Some(at) = model.talk().map(|talk| talk.scroll) {
                let at = layout::rows(model, at, model.log_height()).scroll;
                set_scroll(model, at);
            }
            load_more(model)
        }
        Msg::Focus(focused) => {
            model.focused = focused;
            Vec::new()
        }
        Msg::Tick => Vec::new(),
        Msg::Of(account, news) => news::take(model, account, news),
    };
    effects.extend(read(model));
    effects
}

/// What is on the screen of somebody who looks at it has been read.
fn read(model: &mut Model) -> Option<Effect> {
    let looking = model.focused && !matches!(model.overlay, Some(Overlay::Pane | Overlay::Found { .. }));
    let (account, me) = (model.current, model.account().me);
    let (id, talk) = model.account_mut().talk_mut().filter(|(_, talk)| looking && talk.scroll == 0)?;
    (talk.unseen, talk.unread, talk.called) = (0, 0, false);
    let newest = talk.log.newest_of_others(me).filter(|seq| *seq > talk.read)?;
    talk.read = newest;
    Some(Effect::Of(account, Deed::Read(id, newest)))
}

fn on_key(model: &mut Model, key: KeyEvent) -> Vec<Effect> {
    let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
    let alt = key.modifiers.contains(KeyModifiers::ALT);
    let shift = key.modifiers.contains(KeyModifiers::SHIFT);
    let jump = if ctrl || alt { Step::Word } else { Step::Character };
    let page = model.log_height().saturating_sub(1).max(1);
    if model.overlay.is_some() && !matches!(key.code, KeyCode::Char('c' | 'd' | 'n' | 'p' | 't') if ctrl) {
        return in_overlay(model, key);
    }
    let empty = model.editor.is_empty();
    let scrolled = model.talk().is_some_and(|talk| talk.scroll > 0);
    let editor = &mut model.editor;
    match key.code {
        KeyCode::F(1) => model.overlay = Some(Overlay::Help),
        KeyCode::F(2) => model.overlay = Some(Overlay::Pane),
        KeyCode::Esc if scrolled => return to_end(model),
        KeyCode::Enter if alt || shift || ctrl => return insert(model, "\n"),
        KeyCode::Char('j') if ctrl => return insert(model, "\n"),
        KeyCode::Enter => return act::enter(model),
        KeyCode::Char('c') if ctrl && !empty => {
            editor.clear();
            return typing(model, false).into_iter().collect();
        }
        KeyCode::Char('c') if ctrl => return vec![Effect::Quit],
        KeyCode::Char('d') if ctrl && empty => return vec![Effect::Quit],
        KeyCode::Char('d') if ctrl => editor.delete(Way::Right, Step::Character),
        KeyCode::Char('l') if ctrl => return vec![Effect::Redraw],
        KeyCode::Char('r') if ctrl => return vec![Effect::Of(model.current, Deed::Reconnect)],
        KeyCode::Char('n') if ctrl => return step(model, true),
        KeyCode::Char('p') if ctrl => return step(model, false),
        KeyCode::Char('t') if ctrl => return switch(model, (model.current + 1) % model.accounts.len()),
        KeyCode::Char('a') if ctrl => editor.go(Way::Left, Step::Line),
        KeyCode::Char('e') if ctrl => editor.go(Way::Right, Step::Line),
        KeyCode::Char('w') if ctrl => editor.delete(Way::Left, Step::Word),
        KeyCode::Char('u') if ctrl => editor.delete(Way::Left, Step::Line),
        KeyCode::Char('k') if ctrl => editor.delete(Way::Right, Step::Line),
        KeyCode::Char('y') if ctrl => editor.yank(MAX_BODY),
        KeyCode::Char('b') if alt => editor.go(Way::Left, Step::Word),
        KeyCode::Char('f') if alt => editor.go(Way::Right, Step::Word),
        KeyCode::Char(c) if !ctrl && !alt => return insert(model, c.encode_utf8(&mut [0; 4])),
        KeyCode::Left => editor.go(Way::Left, jump),
        KeyCode::Right => editor.go(Way::Right, jump),
        KeyCode::Backspace => editor.delete(Way::Left, jump),
        KeyCode::Delete => editor.delete(Way::Right, jump),
        KeyCode::Home if ctrl => return scroll(model, true, usize::MAX / 2),
        KeyCode::End if ctrl => return to_end(model),
        KeyCode::Home => editor.go(Way::Left, Step::Line),
        KeyCode::End => editor.go(Way::Right, Step::Line),
        KeyCode::Up if shift => return scroll(model, true, 1),
        KeyCode::Down if shift => return scroll(model, false, 1),
        KeyCode::Up => editor.up(),
        KeyCode::Down => editor.down(),
        KeyCode::PageUp => return scroll(model, true, page),
        KeyCode::PageDown => return scroll(model, false, page),
        _ => {}
    }
    Vec::new()
}

/// What stands above everything is left with any key it does not know.
fn in_overlay(model: &mut Model, key: KeyEvent) -> Vec<Effect> {
    match (&mut model.overlay, key.code) {
        (Some(Overlay::Found { hits, selected, .. }), KeyCode::Down) => {
            *selected = (*selected + 1).min(hits.len().saturating_sub(1));
            return Vec::new();
        }
        (Some(Overlay::Found { selected, .. }), KeyCode::Up) => {
            *selected = selected.saturating_sub(1);
            return Vec::new();
        }
        (Some(Overlay::Found { hits, selected, .. }), KeyCode::Enter) => {
            let hit = hits.get(*selected).cloned();
            model.overlay = None;
            return hit.map_or_else(Vec::new, |hit| act::go_to(model, &hit));
        }
        (Some(Overlay::Members { scroll, members, .. }), KeyCode::Down | KeyCode::PageDown) => {
            *scroll = (*scroll + 1).min(members.len().saturating_sub(1));
            return Vec::new();
        }
        (Some(Overlay::Members { scroll, .. }), KeyCode::Up | KeyCode::PageUp) => {
            *scroll = scroll.saturating_sub(1);
            return Vec::new();
        }
        (Some(Overlay::Pane), KeyCode::Down) => return step_within(model, true),
        (Some(Overlay::Pane), KeyCode::Up) => return step_within(model, false),
        _ => {}
    }
    model.overlay = None;
    Vec::new()
}

/// The next conversation of the pane, or the one before; the pane stays.
fn step_within(model: &mut Model, forward: bool) -> Vec<Effect> {
    let effects = step(model, forward);
    model.overlay = Some(Overlay::Pane);
    effects
}

/// The next conversation of the pane, or the one before.
fn step(model: &mut Model, forward: bool) -> Vec<Effect> {
    let account = model.account();
    let all: Vec<ConversationId> = account
        .lines()
        .into_iter()
        .filter_map(|line| match line {
            Line::Talk(id) => Some(id),
            Line::Wanting(uin) => Some(ConversationId::direct(account.me, uin)),
            Line::Heading(_) => None,
        })
        .collect();
    let at = account.open.and_then(|open| all.iter().position(|id| *id == open));
    let next = match (at, forward) {
        (None, true) => all.first(),
        (None, false) => all.last(),
        (Some(at), true) => all.get((at + 1) % all.len()),
        (Some(at), false) => all.get((at + all.len() - 1) % all.len()),
    };
    match next.copied() {
        Some(id) => open(model, id),
        None => Vec::new(),
    }
}

/// Puts a conversation on the screen.
pub(super) fn open(model: &mut Model, id: ConversationId) -> Vec<Effect> {
    let mut effects: Vec<Effect> = typing(model, false).into_iter().collect();
    model.overlay = None;
    let account = model.current;
    model.account_mut().open = Some(id);
    let _ = model.account_mut().talk_mut();
    effects.extend(load_more(model));
    if let Some(group) = id.group()
        && model.account().people.members_of(group).is_none()
    {
        effects.push(Effect::Of(account, Deed::Ask(Ask::Members(group, false))));
    }
    effects
}

/// Puts another account on the screen.
pub(super) fn switch(model: &mut Model, account: usize) -> Vec<Effect> {
    let mut effects: Vec<Effect> = typing(model, false).into_iter().collect();
    model.overlay = None;
    model.current = account;
    effects.extend(load_more(model));
    effects
}

/// Tells the others that one is writing, now and then, or that one has stopped.
pub(super) fn typing(model: &mut Model, active: bool) -> Option<Effect> {
    let told = model.typing_told_ms;
    let online = matches!(model.account().link, Link::Online { .. });
    let due = told.is_none_or(|at| model.now_ms >= at.saturating_add(TYPING_EVERY_MS));
    let say = if active { due && online } else { told.is_some() && online };
    if !active {
        model.typing_told_ms = None;
    }
    let id = model.account().open.filter(|_| say)?;
    if active {
        model.typing_told_ms = Some(model.now_ms);
    }
    Some(Effect::Of(model.current, Deed::Typing(id, active)))
}

fn insert(model: &mut Model, text: &str) -> Vec<Effect> {
    if !model.editor.insert(text, MAX_BODY) {
        notice(model, "a message has at most 256 KiB");
    }
    // What is typed for this program is nobody's business.
    if model.editor.is_command() { Vec::new() } else { typing(model, true).into_iter().collect() }
}

pub(super) fn notice(model: &mut Model, text: &str) {
    model.notice = Some((crate::text::harmless(text), model.now_ms + NOTICE_MS));
}

pub(super) fn to_end(model: &mut Model) -> Vec<Effect> {
    scroll(model, false, usize::MAX / 2)
}

fn set_scroll(model: &mut Model, rows: usize) {
    if let Some((_, talk)) = model.account_mut().talk_mut() {
        talk.scroll = rows;
    }
}

pub(super) fn scroll(model: &mut Model, up: bool, rows: usize) -> Vec<Effect> {
    let Some(at) = model.talk().map(|talk| talk.scroll) else { return Vec::new() };
    let wanted = if up { at.saturating_add(rows) } else { at.saturating_sub(rows) };
    let at = layout::rows(model, wanted, model.log_height()).scroll;
    set_scroll(model, at);
    load_more(model)
}

/// Asks for older messages before the top is reached.
pub(super) fn load_more(model: &mut Model) -> Vec<Effect> {
    let Some(talk) = model.talk().filter(|talk| !talk.loading && !talk.complete) else { return Vec::new() };
    if !layout::rows(model, talk.scroll, model.log_height() + LOAD_AHEAD_ROWS).at_top {
        return Vec::new();
    }
    let account = model.current;
    let Some((id, talk)) = model.account_mut().talk_mut() else { return Vec::new() };
    talk.loading = true;
    vec![Effect::Of(account, Deed::Load(id, talk.log.oldest()))]
}
