//! Contacts, groups, requests, accounts: everybody else.

use super::*;

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
