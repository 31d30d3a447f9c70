#![allow(clippy::unwrap_used)]

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::tz::TimeZone;
use ntproto_core::ids::{ClientMsgId, Uin};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;

const ME: Uin = Uin(10001);
const PEER: Uin = Uin(10002);
/// Saturday, 22 November 2025, 23:00 UTC.
const T0: u64 = 1_763_852_400_000;

struct Chat {
    model: Model,
    now: u64,
    effects: Vec<Effect>,
}

impl Chat {
    fn new(width: u16, height: u16) -> Self {
        let model = Model::new(ME, PEER, TimeZone::UTC, [1; 32], (width, height));
        let mut chat = Self { model, now: T0, effects: Vec::new() };
        chat.msg(Msg::Resize(width, height));
        chat
    }

    fn online(width: u16, height: u16) -> Self {
        let mut chat = Self::new(width, height);
        chat.msg(Msg::Link(Link::Online { caught_up: true }));
        chat.msg(Msg::History(Vec::new(), true));
        assert_eq!(std::mem::take(&mut chat.effects), [Effect::Load(None)]);
        chat
    }

    fn msg(&mut self, msg: Msg) {
        self.effects.extend(update(&mut self.model, self.now, msg));
    }

    fn key(&mut self, code: KeyCode) {
        self.msg(Msg::Key(KeyEvent::from(code)));
    }

    fn ctrl(&mut self, c: char) {
        self.msg(Msg::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL)));
    }

    fn type_text(&mut self, text: &str) {
        text.chars().for_each(|c| self.key(KeyCode::Char(c)));
    }

    fn send(&mut self, text: &str) -> ClientMsgId {
        self.type_text(text);
        self.key(KeyCode::Enter);
        match self.effects.pop() {
            Some(Effect::Send(id, sent)) if sent == text => id,
            other => panic!("{other:?}"),
        }
    }

    fn receive(&mut self, seq: u64, text: &str) {
        self.msg(Msg::Message(seq, entry(seq, PEER, text, self.now)));
    }

    fn screen(&self) -> String {
        let (width, height) = self.model.size;
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view(&self.model, frame)).unwrap();
        terminal.backend().to_string()
    }
}

fn entry(seq: u64, from: Uin, text: &str, at: u64) -> Entry {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&seq.to_be_bytes());
    Entry::new(ClientMsgId(id), from, text.as_bytes(), at)
}

#[test]
fn an_empty_chat() {
    insta::assert_snapshot!(Chat::online(70, 12).screen());
}

#[test]
fn a_conversation_with_every_tick() {
    let mut chat = Chat::online(70, 18);
    chat.msg(Msg::History(
        vec![
            (1, entry(1, PEER, "good evening", T0 - 86_400_000)),
            (2, entry(2, ME, "from another device of mine", T0 - 86_300_000)),
        ],
        true,
    ));
    chat.receive(3, "a text that is far too long for one row of this narrow screen, so it wraps");
    chat.receive(4, "two\nlines");
    let read = chat.send("read");
    let delivered = chat.send("delivered");
    let stored = chat.send("stored");
    let failed = chat.send("refused");
    chat.now += 60_000;
    chat.send("waiting");
    chat.msg(Msg::Stored(read, 5, T0));
    chat.msg(Msg::Stored(delivered, 6, T0));
    chat.msg(Msg::Stored(stored, 7, T0));
    chat.msg(Msg::Receipt(6, 5));
    chat.msg(Msg::Failed(failed, "refused: FORBIDDEN".into()));
    insta::assert_snapshot!(chat.screen());
}

#[test]
fn reconnect_counts_down() {
    let mut chat = Chat::online(76, 9);
    chat.send("hello?");
    let why = "the server can't be reached".to_owned();
    chat.msg(Msg::Link(Link::Offline { why, retry_at_ms: T0 + 3_500 }));
    let mut shown = Vec::new();
    while let Some(tick) = chat.model.next_tick_ms() {
        shown.push(chat.screen().lines().nth(5).unwrap_or_default().to_owned());
        assert!(tick > chat.now);
        chat.now = tick;
        chat.msg(Msg::Tick);
    }
    shown.push(chat.screen().lines().nth(5).unwrap_or_default().to_owned());
    insta::assert_snapshot!(shown.join("\n"));
    chat.ctrl('r');
    assert_eq!(chat.effects.last(), Some(&Effect::Reconnect));
}

#[test]
fn wide_text_and_hostile_text() {
    let mut chat = Chat::online(60, 14);
    chat.receive(1, "日本語のテキストはとても幅が広いので折り返します。");
    chat.receive(2, "👩\u{200d}👩\u{200d}👧\u{200d}👦 family, e\u{301}, שלום");
    chat.receive(3, "\x1b[2J\x1b]0;owned\x07 \u{9b}31m \u{202e}desrever\u{202c}");
    chat.receive(4, &format!("zalgo{}", "\u{301}".repeat(300)));
    chat.msg(Msg::Message(5, Entry::new(ClientMsgId([9; 16]), PEER, &[0xff, 0xfe], T0)));
    insta::assert_snapshot!(chat.screen());
}

#[test]
fn scrolling_keeps_its_place_and_counts_what_is_new() {
    let mut chat = Chat::online(50, 12);
    for seq in 1..=30 {
        chat.receive(seq, &format!("message {seq}"));
    }
    chat.key(KeyCode::PageUp);
    let before = chat.screen();
    chat.receive(31, "new one");
    chat.receive(32, "new two\nwith two lines");
    let after = chat.screen();
    let messages = |screen: &str| screen.lines().skip(1).take(7).collect::<Vec<_>>().join("\n");
    assert_eq!(messages(&before), messages(&after));
    assert_eq!(chat.model.title(), "(2) ntp: 10002");
    insta::assert_snapshot!(after);
    chat.key(KeyCode::Esc);
    assert!(chat.screen().contains("with two lines"));
    assert_eq!(chat.model.title(), "ntp: 10002");
    for _ in 0..20 {
        chat.msg(Msg::Wheel { up: true });
    }
    assert!(chat.screen().contains("message 1 "));
    assert!(chat.screen().contains("Saturday, 22 November 2025"));
}

#[test]
fn history_is_loaded_page_by_page() {
    let mut chat = Chat::new(50, 12);
    assert_eq!(chat.effects, [Effect::Load(None)]);
    let page = |range: std::ops::Range<u64>| {
        range.map(|seq| (seq, entry(seq, PEER, &format!("m{seq}"), T0))).collect::<Vec<_>>()
    };
    chat.msg(Msg::History(page(101..201), false));
    assert_eq!(chat.effects.len(), 1);
    for _ in 0..20 {
        chat.key(KeyCode::PageUp);
    }
    assert_eq!(chat.effects[1..], [Effect::Load(Some(101))]);
    let before = chat.screen();
    chat.msg(Msg::History(page(1..101), true));
    // The day's line moved up with the older ones; the rest stays.
    assert!(chat.screen().contains("m101 ") && before.contains("m101 "));
    chat.msg(Msg::Key(KeyEvent::new(KeyCode::Home, KeyModifiers::CONTROL)));
    assert!(chat.screen().contains("m1 "));
    assert_eq!(chat.effects.len(), 2);
}

#[test]
fn the_input_grows_scrolls_and_keeps_its_cursor() {
    let mut chat = Chat::online(40, 14);
    chat.msg(Msg::Paste("a first line\nsecond\n".into()));
    chat.type_text("a third line that is too long for the row");
    insta::assert_snapshot!(chat.screen());
    chat.msg(Msg::Paste("\n4\n5\n6\n7".into()));
    let screen = chat.screen();
    assert!(screen.contains("  7") && !screen.contains("first line"));
    chat.ctrl('c');
    assert!(chat.model.editor.is_empty() && chat.effects.is_empty());
    chat.ctrl('c');
    assert_eq!(chat.effects, [Effect::Quit]);
}

#[test]
fn help_and_other_conversations() {
    let mut chat = Chat::online(76, 16);
    chat.msg(Msg::Elsewhere(Uin(10003)));
    chat.msg(Msg::Elsewhere(Uin(10003)));
    chat.key(KeyCode::F(1));
    insta::assert_snapshot!(chat.screen());
    chat.key(KeyCode::Char('x'));
    assert!(!chat.model.help && chat.model.editor.is_empty());
    assert!(chat.screen().contains("✉ 2 from 10003"));
}

#[test]
fn an_ended_connection_says_why_and_sends_nothing() {
    let mut chat = Chat::online(76, 9);
    chat.msg(Msg::Link(Link::Stopped("the server refuses this device: REVOKED".into())));
    chat.type_text("x");
    chat.key(KeyCode::Enter);
    assert!(chat.effects.is_empty());
    assert!(chat.screen().contains("nothing can be sent"));
    chat.now += 5_000;
    chat.msg(Msg::Tick);
    insta::assert_snapshot!(chat.screen());
}

#[test]
fn a_message_is_shown_once_however_often_it_comes() {
    let mut chat = Chat::online(50, 12);
    let id = chat.send("mine");
    chat.msg(Msg::Waiting(Entry::new(id, ME, b"mine", T0)));
    chat.msg(Msg::Stored(id, 1, T0));
    chat.msg(Msg::Stored(id, 1, T0));
    chat.msg(Msg::Message(1, Entry::new(id, ME, b"mine", T0)));
    chat.receive(2, "theirs");
    chat.receive(2, "theirs");
    let screen = chat.screen();
    assert_eq!((screen.matches("mine").count(), screen.matches("theirs").count()), (1, 1));
}

#[test]
fn a_bell_rings_only_while_the_window_is_left() {
    let mut chat = Chat::online(50, 12);
    chat.receive(1, "seen");
    chat.msg(Msg::Focus(false));
    chat.receive(2, "unseen");
    assert_eq!(chat.effects, [Effect::Bell]);
    assert_eq!(chat.model.title(), "(1) ntp: 10002");
    chat.msg(Msg::Focus(true));
    assert_eq!(chat.model.title(), "ntp: 10002");
}

#[test]
fn memory_is_bounded() {
    let mut chat = Chat::online(50, 12);
    for seq in 1..=(log::MAX_LOADED as u64 + 10) {
        chat.receive(seq, "x");
    }
    assert_eq!(chat.model.log.oldest(), Some(11));
    assert!(!chat.model.complete);
}

mod any_size {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_panics(
            sizes in prop::collection::vec((1..90u16, 1..30u16), 1..5),
            texts in prop::collection::vec("\\PC{0,60}", 0..8),
            keys in prop::collection::vec(0..8u8, 0..20),
        ) {
            let mut chat = Chat::online(40, 10);
            for (seq, text) in texts.iter().enumerate() {
                chat.receive(seq as u64 + 1, text);
                chat.msg(Msg::Paste(text.clone()));
            }
            for (width, height) in sizes {
                chat.msg(Msg::Resize(width, height));
                for key in &keys {
                    match key {
                        0 => chat.key(KeyCode::PageUp),
                        1 => chat.key(KeyCode::PageDown),
                        2 => chat.key(KeyCode::Left),
                        3 => chat.key(KeyCode::Up),
                        4 => chat.key(KeyCode::F(1)),
                        5 => chat.key(KeyCode::Enter),
                        6 => chat.msg(Msg::Link(Link::Offline { why: "x".repeat(200), retry_at_ms: T0 + 10 })),
                        _ => chat.msg(Msg::Wheel { up: true }),
                    }
                }
                let _ = chat.screen();
            }
        }
    }
}
