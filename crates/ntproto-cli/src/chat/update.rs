//! What happens, and what it changes.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ntproto_core::client::MAX_BODY;
use ntproto_core::ids::{ClientMsgId, Uin};

use super::editor::{Step, Way};
use super::layout;
use super::log::Entry;
use super::model::{Link, Model};

/// How long a notice stands.
const NOTICE_MS: u64 = 4_000;
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
    /// The connection changed.
    Link(Link),
    /// Messages of the local disk, and whether there are no older ones.
    History(Vec<(u64, Entry)>, bool),
    /// A message of one's own that waits on the local disk.
    Waiting(Entry),
    /// A message of this conversation came.
    Message(u64, Entry),
    /// A message of another conversation came.
    Elsewhere(Uin),
    /// The server stored a message of one's own.
    Stored(ClientMsgId, u64, u64),
    /// A message of one's own was not sent.
    Failed(ClientMsgId, String),
    /// The other's watermarks: delivered, read.
    Receipt(u64, u64),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Send this.
    Send(ClientMsgId, String),
    /// Load history before this number, or the newest.
    Load(Option<u64>),
    /// Try to connect at once.
    Reconnect,
    /// Draw everything anew.
    Redraw,
    /// Ring: a message came while the window was left.
    Bell,
    /// End.
    Quit,
}

/// Takes over what happened at `now_ms`.
pub(crate) fn update(model: &mut Model, now_ms: u64, msg: Msg) -> Vec<Effect> {
    model.now_ms = now_ms;
    if model.notice.as_ref().is_some_and(|(_, until)| *until <= now_ms) {
        model.notice = None;
    }
    let before = scrolled_rows(model);
    let mut effects = Vec::new();
    match msg {
        Msg::Key(key) => return on_key(model, key),
        Msg::Paste(text) => insert(model, &text),
        Msg::Wheel { up } => return scroll(model, up, WHEEL_ROWS),
        Msg::Resize(width, height) => {
            model.size = (width, height);
            model.scroll = layout::rows(model, model.scroll, model.log_height()).scroll;
            return load_more(model);
        }
        Msg::Focus(focused) => model.focused = focused,
        Msg::Tick => {}
        Msg::Link(link) => model.link = link,
        Msg::History(entries, complete) => {
            model.loading = false;
            model.complete = complete;
            for (seq, entry) in entries {
                model.log.insert(seq, entry);
            }
            // Older messages stand above: what is on the screen does not move.
            return load_more(model);
        }
        Msg::Waiting(entry) => model.log.wait(entry),
        Msg::Message(seq, entry) => {
            let theirs = entry.from != model.me;
            if model.log.insert(seq, entry) && theirs {
                if model.scroll > 0 || !model.focused {
                    model.unseen += 1;
                }
                if !model.focused {
                    effects.push(Effect::Bell);
                }
            }
        }
        Msg::Elsewhere(from) => *model.elsewhere.entry(from).or_default() += 1,
        Msg::Stored(id, seq, at_ms) => model.log.stored(id, seq, at_ms),
        Msg::Failed(id, why) => model.log.failed(id, &why),
        Msg::Receipt(delivered, read) => model.log.receipt(delivered, read),
    }
    if let Some(before) = before {
        // Scrolled up: what is on the screen stays where it is.
        model.scroll += layout::total(model).saturating_sub(before);
    } else if model.log.trim() {
        model.complete = false;
    }
    if model.focused && model.scroll == 0 {
        model.unseen = 0;
    }
    effects
}

/// The rows of the log, when they matter.
fn scrolled_rows(model: &Model) -> Option<usize> {
    (model.scroll > 0).then(|| layout::total(model))
}

fn on_key(model: &mut Model, key: KeyEvent) -> Vec<Effect> {
    let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
    let alt = key.modifiers.contains(KeyModifiers::ALT);
    let shift = key.modifiers.contains(KeyModifiers::SHIFT);
    let jump = if ctrl || alt { Step::Word } else { Step::Character };
    let page = model.log_height().saturating_sub(1).max(1);
    let editor = &mut model.editor;
    if model.help && !matches!(key.code, KeyCode::Char('c' | 'd') if ctrl) {
        model.help = false;
        return Vec::new();
    }
    match key.code {
        KeyCode::F(1) => model.help = true,
        KeyCode::Esc if model.scroll > 0 => return to_end(model),
        KeyCode::Enter if alt || shift || ctrl => insert(model, "\n"),
        KeyCode::Char('j') if ctrl => insert(model, "\n"),
        KeyCode::Enter => return send(model),
        KeyCode::Char('c') if ctrl && !editor.is_empty() => editor.clear(),
        KeyCode::Char('c') if ctrl => return vec![Effect::Quit],
        KeyCode::Char('d') if ctrl && editor.is_empty() => return vec![Effect::Quit],
        KeyCode::Char('d') if ctrl => editor.delete(Way::Right, Step::Character),
        KeyCode::Char('l') if ctrl => return vec![Effect::Redraw],
        KeyCode::Char('r') if ctrl => return vec![Effect::Reconnect],
        KeyCode::Char('a') if ctrl => editor.go(Way::Left, Step::Line),
        KeyCode::Char('e') if ctrl => editor.go(Way::Right, Step::Line),
        KeyCode::Char('w') if ctrl => editor.delete(Way::Left, Step::Word),
        KeyCode::Char('u') if ctrl => editor.delete(Way::Left, Step::Line),
        KeyCode::Char('k') if ctrl => editor.delete(Way::Right, Step::Line),
        KeyCode::Char('y') if ctrl => editor.yank(MAX_BODY),
        KeyCode::Char('b') if alt => editor.go(Way::Left, Step::Word),
        KeyCode::Char('f') if alt => editor.go(Way::Right, Step::Word),
        KeyCode::Char(c) if !ctrl && !alt => insert(model, c.encode_utf8(&mut [0; 4])),
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

fn insert(model: &mut Model, text: &str) {
    if !model.editor.insert(text, MAX_BODY) {
        notice(model, "a message has at most 256 KiB");
    }
}

fn notice(model: &mut Model, text: &str) {
    model.notice = Some((text.to_owned(), model.now_ms + NOTICE_MS));
}

fn send(model: &mut Model) -> Vec<Effect> {
    if let Link::Stopped(_) = model.link {
        notice(model, "the connection is over; nothing can be sent");
        return Vec::new();
    }
    let text = model.editor.take();
    if text.trim().is_empty() {
        return Vec::new();
    }
    let id = ClientMsgId(model.ids.array());
    model.log.wait(Entry::new(id, model.me, text.as_bytes(), model.now_ms));
    let mut effects = to_end(model);
    effects.push(Effect::Send(id, text));
    effects
}

fn to_end(model: &mut Model) -> Vec<Effect> {
    scroll(model, false, usize::MAX / 2)
}

fn scroll(model: &mut Model, up: bool, rows: usize) -> Vec<Effect> {
    let wanted = if up { model.scroll.saturating_add(rows) } else { model.scroll.saturating_sub(rows) };
    model.scroll = layout::rows(model, wanted, model.log_height()).scroll;
    if model.scroll == 0 {
        model.unseen = 0;
    }
    load_more(model)
}

/// Asks for older messages before the top is reached.
fn load_more(model: &mut Model) -> Vec<Effect> {
    if model.loading || model.complete {
        return Vec::new();
    }
    let near = layout::rows(model, model.scroll, model.log_height() + LOAD_AHEAD_ROWS).at_top;
    if !near {
        return Vec::new();
    }
    model.loading = true;
    vec![Effect::Load(model.log.oldest())]
}
