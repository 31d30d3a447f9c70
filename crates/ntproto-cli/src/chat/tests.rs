#![allow(clippy::unwrap_used)]

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::tz::TimeZone;
use ntproto_core::ids::{ClientMsgId, ConversationId, GroupId, Uin};
use ntproto_proto::v2;
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
        Self::of(vec![Account::new("work", ME).open(talk())], width, height)
    }

    fn of(accounts: Vec<Account>, width: u16, height: u16) -> Self {
        let model = Model::new(accounts, TimeZone::UTC, [1; 32], (width, height));
        let mut chat = Self { model, now: T0, effects: Vec::new() };
        chat.msg(Msg::Resize(width, height));
        chat
    }

    fn online(width: u16, height: u16) -> Self {
        let mut chat = Self::new(width, height);
        chat.news(News::Link(Link::Online { caught_up: true }));
        chat.news(News::History(talk(), Vec::new(), true));
        assert_eq!(chat.deeds(), [Deed::Load(talk(), None)]);
        chat
    }

    fn msg(&mut self, msg: Msg) {
        self.effects.extend(update(&mut self.model, self.now, msg));
    }

    /// Of the first account.
    fn news(&mut self, news: News) {
        self.msg(Msg::Of(0, news));
    }

    /// What the first account's client was told to do, but for typing.
    fn deeds(&mut self) -> Vec<Deed> {
        let effects = std::mem::take(&mut self.effects).into_iter();
        let deeds = effects.filter_map(|effect| match effect {
            Effect::Of(0, Deed::Typing(..)) => None,
            Effect::Of(0, deed) => Some(deed),
            other => panic!("{other:?}"),
        });
        deeds.collect()
    }

    fn enter(&mut self, line: &str) -> Vec<Deed> {
        self.type_text(line);
        self.key(KeyCode::Enter);
        self.deeds()
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
        match self.enter(text).pop() {
            Some(Deed::Send(_, id, sent)) if sent.text == text => id,
            other => panic!("{other:?}"),
        }
    }

    fn receive(&mut self, seq: u64, text: &str) {
        self.news(News::Message(talk(), seq, entry(seq, PEER, text, self.now)));
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
    Entry::new(ClientMsgId(id), from, said(text), at)
}

fn said(text: &str) -> Said {
    Said::draft(&Draft { text: text.into(), ..Draft::default() })
}

/// The conversation with the peer.
fn talk() -> ConversationId {
    ConversationId::direct(ME, PEER)
}

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

// ── people, groups, accounts ──────────────────────────────────────────────────────────────────────

const BO: Uin = PEER;
const CY: Uin = Uin(10003);
const TEA: GroupId = GroupId(7);

fn friend(uin: Uin, state: v2::FriendState) -> v2::Friend {
    v2::Friend { uin: uin.0, state: state.into(), version: 1, ..v2::Friend::default() }
}

fn group(id: GroupId, name: &str, members: u32) -> v2::GroupState {
    let group = v2::Group { group: id.0, name: name.into(), members, version: 1, ..v2::Group::default() };
    let me = v2::Member { uin: ME.0, ..v2::Member::default() };
    v2::GroupState { group: Some(group), me: Some(me) }
}

fn presence(uin: Uin, status: v2::OnlineStatus) -> v2::Presence {
    v2::Presence { uin: uin.0, status: status.into(), version: 1 }
}

/// Friends in every state, two groups, and somebody from nowhere.
fn people(chat: &mut Chat) {
    use v2::FriendState::{Asked, Friend, Wanted};
    let named = |uin: u64, nick: &str| v2::User { uin, nick: nick.into(), ..v2::User::default() };
    chat.news(News::Profiles(vec![
        named(10002, "Bo"),
        named(10003, "Cy"),
        named(10004, "a name that is far too long for the pane"),
        named(10005, "Eve\u{202e}\x1b[31m"),
        named(10006, "Mal"),
    ]));
    chat.news(News::Friend(v2::Friend { remark: "Cy (work)".into(), ..friend(CY, Friend) }));
    for (uin, state) in [(10002, Friend), (10004, Friend), (10007, Asked)] {
        chat.news(News::Friend(friend(Uin(uin), state)));
    }
    chat.news(News::Friend(v2::Friend { blocked: true, ..friend(Uin(10006), v2::FriendState::None) }));
    let words = "hi, \u{1b}]0;it is me\u{7} ".to_owned();
    chat.news(News::Friend(v2::Friend { message: words, ..friend(Uin(10005), Wanted) }));
    chat.news(News::Group(group(TEA, "Tea", 4)));
    chat.news(News::Group(group(GroupId(9), "Lunch \u{2067}club", 3)));
    chat.news(News::Presence(vec![
        presence(BO, v2::OnlineStatus::Online),
        presence(CY, v2::OnlineStatus::Away),
        presence(Uin(10004), v2::OnlineStatus::Offline),
        // No friend: whatever is said of them is not shown.
        presence(Uin(10006), v2::OnlineStatus::Online),
    ]));
}

#[test]
fn contacts_with_presence_remarks_requests_and_unread_counts() {
    let mut chat = Chat::online(96, 22);
    people(&mut chat);
    chat.receive(1, "hello");
    let stranger = ConversationId::direct(ME, Uin(10008));
    chat.news(News::Message(stranger, 1, entry(1, Uin(10008), "buy", T0)));
    let tea = ConversationId::of_group(TEA);
    let calls = Draft { text: "@10001 tea?".into(), mentions: vec![(ME, 0, 6)], ..Draft::default() };
    chat.news(News::Message(tea, 1, Entry::new(ClientMsgId([3; 16]), CY, Said::draft(&calls), T0)));
    chat.news(News::Typing(talk(), BO, true));
    insta::assert_snapshot!(chat.screen());
    // Nobody is heard of without a connection, and nobody writes.
    chat.news(News::Link(Link::Offline { why: "gone".into(), retry_at_ms: T0 }));
    let screen = chat.screen();
    assert!(!screen.contains("● Bo") && !screen.contains("writing"));
}

#[test]
fn a_group_with_receipts_edits_recalls_replies_reactions_and_mentions() {
    let mut chat = Chat::online(90, 24);
    people(&mut chat);
    let tea = ConversationId::of_group(TEA);
    chat.enter("/open tea");
    chat.news(News::History(tea, Vec::new(), true));
    let from = |seq: u64, from: Uin, draft: &Draft| {
        Entry::new(ClientMsgId([seq as u8; 16]), from, Said::draft(draft), T0)
    };
    let plain = |text: &str| Draft { text: text.into(), ..Draft::default() };
    let reply = |seq, text: &str| Some(Quote { seq, from: ME.0, text: text.into() });
    let reaction = |seq, text: &str| Draft {
        reaction: Some(Reaction { seq, text: text.into(), remove: false }),
        ..Draft::default()
    };
    let all = [
        from(1, ME, &plain("green or black?")),
        from(2, BO, &Draft { reply: reply(1, "green or black?"), ..plain("black, @10003 too") }),
        from(3, Uin(10009), &plain("who is in charge of the milk")),
        from(4, CY, &reaction(1, "🍵")),
        from(5, BO, &reaction(1, "🍵")),
        from(6, BO, &reaction(1, "\x1b[2J")),
        from(7, CY, &plain("nobody saw this")),
        from(8, ME, &plain("I am")),
        from(9, ME, &plain("at the kettle")),
    ];
    for (seq, entry) in (1..).zip(all) {
        chat.news(News::Message(tea, seq, entry));
    }
    chat.news(News::Changed(
        tea,
        3,
        Uin(10009),
        Change::Edit(said("who is in charge of the milk and of everything else that is in here")),
    ));
    chat.news(News::Changed(tea, 7, BO, Change::Recall));
    for (who, delivered, read) in [(BO, 9, 8), (CY, 9, 1), (Uin(10009), 9, 1)] {
        chat.news(News::Receipt(tea, who, delivered, read));
    }
    chat.news(News::Typing(tea, BO, true));
    chat.news(News::Typing(tea, CY, true));
    chat.news(News::Typing(tea, Uin(10009), true));
    insta::assert_snapshot!(chat.screen());
    // Who is silent for long enough writes no more.
    let tick = chat.model.next_tick_ms().unwrap();
    chat.now = tick;
    chat.msg(Msg::Tick);
    assert!(!chat.screen().contains("writing"));
}

#[test]
fn requests_wait_and_are_answered() {
    let mut chat = Chat::online(76, 12);
    people(&mut chat);
    insta::assert_snapshot!(chat.screen());
    assert_eq!(chat.enter("/accept 10005"), [Deed::Ask(Ask::Answer(Uin(10005), true))]);
    chat.news(News::Friend(v2::Friend { version: 2, ..friend(Uin(10005), v2::FriendState::Friend) }));
    assert!(!chat.screen().contains("/accept"));
    assert_eq!(chat.enter("/block cy"), []);
    assert!(chat.screen().contains("who is cy?"));
    assert_eq!(chat.enter("/block Cy (work)"), []);
    assert_eq!(chat.enter("/block 10003"), [Deed::Ask(Ask::Block(CY, true))]);
    assert_eq!(chat.enter("/remark bo Bob B."), [Deed::Ask(Ask::Remark(BO, "Bob B.".into()))]);
}

#[test]
fn what_was_found() {
    let mut chat = Chat::online(84, 12);
    people(&mut chat);
    chat.receive(1, "the kettle boils");
    assert_eq!(chat.enter("/search kettle"), [Deed::Read(talk(), 1), Deed::Search("kettle".into())]);
    let hit =
        |conversation, seq, from, text: &str| Hit { conversation, seq, from, text: text.into(), at_ms: T0 };
    let tea = ConversationId::of_group(TEA);
    chat.news(News::Found(
        "kettle\u{202e}".into(),
        vec![
            hit(tea, 9, ME, "at the kettle"),
            hit(talk(), 1, BO, "the kettle boils"),
            hit(
                tea,
                2,
                Uin(10009),
                "a kettle that is so long that it does not fit into one row of this screen",
            ),
        ],
    ));
    chat.key(KeyCode::Down);
    insta::assert_snapshot!(chat.screen());
    chat.key(KeyCode::Enter);
    assert!(chat.model.overlay.is_none() && chat.screen().contains("the kettle boils"));
    chat.news(News::Found("x".into(), Vec::new()));
    assert!(chat.screen().contains("nothing on this disk"));
    chat.key(KeyCode::Esc);
    assert!(chat.model.overlay.is_none());
}

#[test]
fn a_narrow_terminal_shows_one_thing_at_a_time() {
    let mut chat = Chat::online(40, 14);
    people(&mut chat);
    chat.receive(1, "do you have a minute for me?");
    chat.send("always");
    let other = ConversationId::direct(ME, CY);
    chat.news(News::Message(other, 1, entry(1, CY, "psst", T0)));
    insta::assert_snapshot!("narrow_messages", chat.screen());
    chat.key(KeyCode::F(2));
    insta::assert_snapshot!("narrow_pane", chat.screen());
    chat.key(KeyCode::Down);
    chat.key(KeyCode::Enter);
    assert_ne!(chat.model.account().open, Some(talk()));
    chat.msg(Msg::Resize(20, 5));
    assert!(chat.screen().contains("please enlarge"));
}

#[test]
fn what_could_not_be_read_is_asked_for_again_once_online() {
    let mut chat = Chat::of(vec![Account::new("work", ME).open(talk())], 90, 14);
    chat.news(News::History(talk(), vec![(7, entry(7, BO, "later", T0))], true));
    chat.effects.clear();
    chat.key(KeyCode::PageUp);
    assert_eq!(chat.effects, [], "the disk has no more");
    chat.news(News::Link(Link::Online { caught_up: false }));
    chat.key(KeyCode::PageUp);
    assert_eq!(chat.effects, [Effect::Of(0, Deed::Load(talk(), Some(7)))]);
}

#[test]
fn two_accounts() {
    let home = Uin(20001);
    let with = ConversationId::direct(home, Uin(20002));
    let accounts = vec![Account::new("work", ME).open(talk()), Account::new("home", home)];
    let mut chat = Chat::of(accounts, 90, 14);
    chat.news(News::Link(Link::Online { caught_up: true }));
    chat.news(News::History(talk(), Vec::new(), true));
    people(&mut chat);
    let hello = |seq| News::Message(with, seq, entry(seq, Uin(20002), "dinner?", T0));
    chat.msg(Msg::Of(1, hello(1)));
    chat.msg(Msg::Of(1, hello(2)));
    chat.receive(1, "budget?");
    assert_eq!(chat.model.title(), "(2) ntp: Bo");
    insta::assert_snapshot!("two_accounts_one", chat.screen());
    chat.effects.clear();
    chat.ctrl('t');
    chat.ctrl('n');
    chat.msg(Msg::Of(1, News::Link(Link::Offline { why: "no route".into(), retry_at_ms: T0 + 2_000 })));
    insta::assert_snapshot!("two_accounts_other", chat.screen());
    assert!(chat.effects.contains(&Effect::Of(1, Deed::Read(with, 2))), "{:?}", chat.effects);
    assert_eq!(chat.model.title(), "ntp: 20002");
    chat.effects.clear();
    chat.type_text("/account work");
    chat.key(KeyCode::Enter);
    assert_eq!(chat.model.account().me, ME);
}

#[test]
fn members_are_shown_by_rank() {
    let mut chat = Chat::online(76, 14);
    people(&mut chat);
    // Who is in it is asked for to name them, and shown only when it is asked for.
    assert_eq!(chat.enter("/open #7")[1..], [Deed::Ask(Ask::Members(TEA, false))]);
    chat.news(News::Members(TEA, Vec::new(), false));
    assert!(chat.model.overlay.is_none());
    assert_eq!(chat.enter("/group members"), [Deed::Ask(Ask::Members(TEA, true))]);
    let member = |uin: Uin, role: v2::Role, muted_until_ms| v2::Member {
        uin: uin.0,
        role: role.into(),
        muted_until_ms,
        ..v2::Member::default()
    };
    let members = vec![
        member(ME, v2::Role::Member, 0),
        member(Uin(10009), v2::Role::Member, T0 + 1),
        member(BO, v2::Role::Owner, 0),
        v2::Member { nick: "teapot".into(), ..member(CY, v2::Role::Admin, 0) },
    ];
    chat.news(News::Members(TEA, members, true));
    insta::assert_snapshot!(chat.screen());
    chat.key(KeyCode::Esc);
    assert_eq!(chat.enter("/group mute @bo 5"), [Deed::Ask(Ask::Mute(TEA, BO, T0 + 300_000))]);
    assert_eq!(chat.enter("/group role 10003 member"), [Deed::Ask(Ask::Role(TEA, CY, v2::Role::Member))]);
    let [Deed::Send(_, _, draft)] = &chat.enter("@bo, @all: tea @nobody @5")[..] else { panic!() };
    assert_eq!(draft.mentions, [(BO, 0, 3), (Uin(0), 5, 4)]);
}

#[test]
fn an_edit_waits_for_its_message_and_is_shown_when_it_is_stored() {
    let mut chat = Chat::online(60, 12);
    let id = chat.send("helo");
    let deeds = chat.enter("/edit hello");
    let [Deed::Edit(_, edit, Target::Id(about), draft)] = &deeds[..] else { panic!("{deeds:?}") };
    assert_eq!((*about, draft.text.as_str()), (id, "hello"));
    chat.news(News::Stored(talk(), id, 1, T0));
    assert!(chat.screen().contains("helo"));
    chat.news(News::Stored(talk(), *edit, 2, T0));
    let screen = chat.screen();
    assert!(screen.contains("hello (edited)") && !screen.contains("helo "), "{screen}");
    let deeds = chat.enter("/recall #1");
    let [Deed::Recall(_, recall, Target::Number(1))] = deeds[..] else { panic!("{deeds:?}") };
    chat.news(News::Failed(recall, "TOO_LATE".into()));
    assert!(chat.screen().contains("not taken back: TOO_LATE") && chat.screen().contains("hello"));
    let deeds = chat.enter("/recall");
    let [Deed::Recall(_, recall, Target::Number(1))] = deeds[..] else { panic!("{deeds:?}") };
    chat.news(News::Stored(talk(), recall, 3, T0));
    assert!(chat.screen().contains("(taken back)") && !chat.screen().contains("hello"));
    // Nothing is left that could be changed, and nothing of theirs that could be answered.
    for line in ["/edit x", "/recall", "/reply x", "/react x", "/react #1 x", "/edit #77 x"] {
        let deeds = chat.enter(line);
        assert!(deeds.is_empty() || line.contains("77"), "{line}: {deeds:?}");
    }
    chat.receive(4, "theirs");
    chat.deeds();
    assert_eq!(chat.enter("/edit #4 mine"), []);
    assert!(chat.screen().contains("only one's own"));
    let deeds = chat.enter("/react 👍");
    let [Deed::Send(_, _, draft)] = &deeds[..] else { panic!("{deeds:?}") };
    assert_eq!(draft.reaction, Some(Reaction { seq: 4, text: "👍".into(), remove: false }));
}

#[test]
fn the_others_hear_now_and_then_that_one_writes() {
    let mut chat = Chat::online(60, 12);
    let said = |chat: &mut Chat| {
        std::mem::take(&mut chat.effects)
            .into_iter()
            .filter_map(|e| if let Effect::Of(0, Deed::Typing(_, active)) = e { Some(active) } else { None })
            .collect::<Vec<_>>()
    };
    chat.type_text("/nick secret");
    chat.ctrl('c');
    assert!(said(&mut chat).is_empty());
    chat.type_text("hello");
    chat.now += 4_000;
    chat.type_text(" you");
    assert_eq!(said(&mut chat), [true, true]);
    chat.key(KeyCode::Enter);
    assert_eq!(said(&mut chat), [false]);
    chat.news(News::Link(Link::Connecting));
    chat.type_text("nobody hears it");
    assert!(said(&mut chat).is_empty());
}

#[test]
fn another_device_reads_and_the_counts_follow() {
    let mut chat = Chat::online(90, 12);
    people(&mut chat);
    let other = ConversationId::direct(ME, CY);
    for seq in 1..=3 {
        chat.news(News::Message(other, seq, entry(seq, CY, "x", T0)));
    }
    assert_eq!(chat.model.account().unread(), 3);
    chat.news(News::Receipt(other, ME, 3, 2));
    assert_eq!(chat.deeds(), [Deed::Count(other)]);
    chat.news(News::Unread(other, 1));
    assert_eq!(chat.model.account().unread(), 1);
    // What was read elsewhere is not unread when it comes.
    chat.news(News::Receipt(other, ME, 5, 5));
    chat.news(News::Message(other, 4, entry(4, CY, "x", T0)));
    assert_eq!(chat.model.account().unread(), 1);
}

mod any_size {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_panics(
            sizes in prop::collection::vec((1..90u16, 1..30u16), 1..5),
            texts in prop::collection::vec("\\PC{0,60}", 0..8),
            keys in prop::collection::vec(0..10u8, 0..20),
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
                        6 => chat.news(News::Link(Link::Offline { why: "x".repeat(200), retry_at_ms: T0 + 10 })),
                        7 => chat.key(KeyCode::F(2)),
                        8 => chat.ctrl('n'),
                        _ => chat.msg(Msg::Wheel { up: true }),
                    }
                }
                let _ = chat.screen();
            }
        }
    }
}
