//! Two people talk: what is shown, typed, scrolled and kept.

use super::*;

#[test]
fn an_empty_chat() {
    insta::assert_snapshot!(Chat::online(70, 12).screen());
}

#[test]
fn a_conversation_with_every_tick() {
    let mut chat = Chat::online(70, 18);
    chat.news(News::History(
        talk(),
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
    chat.news(News::Stored(talk(), read, 5, T0));
    chat.news(News::Stored(talk(), delivered, 6, T0));
    chat.news(News::Stored(talk(), stored, 7, T0));
    chat.news(News::Receipt(talk(), PEER, 6, 5));
    chat.news(News::Failed(failed, "refused: FORBIDDEN".into()));
    insta::assert_snapshot!(chat.screen());
}

#[test]
fn reconnect_counts_down() {
    let mut chat = Chat::online(76, 9);
    chat.send("hello?");
    let why = "the server can't be reached".to_owned();
    chat.news(News::Link(Link::Offline { why, retry_at_ms: T0 + 3_500 }));
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
    assert_eq!(chat.effects.last(), Some(&Effect::Of(0, Deed::Reconnect)));
}

#[test]
fn wide_text_and_hostile_text() {
    let mut chat = Chat::online(60, 14);
    chat.receive(1, "日本語のテキストはとても幅が広いので折り返します。");
    chat.receive(2, "👩\u{200d}👩\u{200d}👧\u{200d}👦 family, e\u{301}, שלום");
    chat.receive(3, "\x1b[2J\x1b]0;owned\x07 \u{9b}31m \u{202e}desrever\u{202c}");
    chat.receive(4, &format!("zalgo{}", "\u{301}".repeat(300)));
    chat.news(News::Message(
        talk(),
        5,
        Entry::new(ClientMsgId([9; 16]), PEER, Said::read(&[0xff, 0xfe]), T0),
    ));
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
    assert_eq!(chat.deeds(), [Deed::Load(talk(), None)]);
    let page = |range: std::ops::Range<u64>| {
        range.map(|seq| (seq, entry(seq, PEER, &format!("m{seq}"), T0))).collect::<Vec<_>>()
    };
    chat.news(News::History(talk(), page(101..201), false));
    assert_eq!(chat.deeds(), [Deed::Read(talk(), 200)]);
    for _ in 0..20 {
        chat.key(KeyCode::PageUp);
    }
    assert_eq!(chat.deeds(), [Deed::Load(talk(), Some(101))]);
    let before = chat.screen();
    chat.news(News::History(talk(), page(1..101), true));
    // The day's line moved up with the older ones; the rest stays.
    assert!(chat.screen().contains("m101 ") && before.contains("m101 "));
    chat.msg(Msg::Key(KeyEvent::new(KeyCode::Home, KeyModifiers::CONTROL)));
    assert!(chat.screen().contains("m1 "));
    assert_eq!(chat.deeds(), []);
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
    chat.effects.clear();
    chat.ctrl('c');
    assert!(chat.model.editor.is_empty());
    assert_eq!(std::mem::take(&mut chat.effects), [Effect::Of(0, Deed::Typing(talk(), false))]);
    chat.ctrl('c');
    assert_eq!(chat.effects, [Effect::Quit]);
}

#[test]
fn help_and_other_conversations() {
    let mut chat = Chat::online(76, 26);
    let other = ConversationId::direct(ME, Uin(10003));
    for seq in 1..3 {
        chat.news(News::Message(other, seq, entry(seq, Uin(10003), "hey", T0)));
    }
    chat.key(KeyCode::F(1));
    insta::assert_snapshot!(chat.screen());
    chat.key(KeyCode::Char('x'));
    assert!(chat.model.overlay.is_none() && chat.model.editor.is_empty());
    assert!(chat.screen().contains("✉ 2 elsewhere"));
}

#[test]
fn an_ended_connection_says_why_and_sends_nothing() {
    let mut chat = Chat::online(76, 9);
    chat.news(News::Link(Link::Stopped("the server refuses this device: REVOKED".into())));
    chat.type_text("x");
    chat.key(KeyCode::Enter);
    assert_eq!(chat.deeds(), []);
    assert!(chat.screen().contains("nothing can be sent"));
    chat.now += 5_000;
    chat.msg(Msg::Tick);
    insta::assert_snapshot!(chat.screen());
}

#[test]
fn a_message_is_shown_once_however_often_it_comes() {
    let mut chat = Chat::online(50, 12);
    let id = chat.send("mine");
    chat.news(News::Waiting(talk(), Entry::new(id, ME, said("mine"), T0)));
    chat.news(News::Stored(talk(), id, 1, T0));
    chat.news(News::Stored(talk(), id, 1, T0));
    chat.news(News::Message(talk(), 1, Entry::new(id, ME, said("mine"), T0)));
    chat.receive(2, "theirs");
    chat.receive(2, "theirs");
    let screen = chat.screen();
    assert_eq!((screen.matches("mine").count(), screen.matches("theirs").count()), (1, 1));
}

#[test]
fn a_bell_rings_only_while_the_window_is_left() {
    let mut chat = Chat::online(50, 12);
    chat.receive(1, "seen");
    assert_eq!(chat.deeds(), [Deed::Read(talk(), 1)]);
    chat.msg(Msg::Focus(false));
    chat.receive(2, "unseen");
    assert_eq!(std::mem::take(&mut chat.effects), [Effect::Bell]);
    assert_eq!(chat.model.title(), "(1) ntp: 10002");
    chat.msg(Msg::Focus(true));
    assert_eq!(chat.deeds(), [Deed::Read(talk(), 2)]);
    assert_eq!(chat.model.title(), "ntp: 10002");
}

#[test]
fn memory_is_bounded() {
    let mut chat = Chat::online(50, 12);
    for seq in 1..=(log::MAX_LOADED as u64 + 10) {
        chat.receive(seq, "x");
    }
    let talk = chat.model.talk().unwrap();
    assert_eq!(talk.log.oldest(), Some(11));
    assert!(!talk.complete);
}
