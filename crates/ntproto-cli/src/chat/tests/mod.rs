//! A chat without a terminal or a server: keys and news in, a screen and deeds out.
//!
//! | file | tells of |
//! | --- | --- |
//! | this one | the chat that the others drive |
//! | `talk` | two people: what is shown, typed, scrolled and kept |
//! | `people` | contacts, groups, requests, accounts |
//! | `any_size` | every size of a terminal, whatever is typed |
#![allow(clippy::unwrap_used)]

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::tz::TimeZone;
use ntproto_core::ids::{ClientMsgId, ConversationId, GroupId, Uin};
use ntproto_proto::v2;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;

mod any_size;
mod people;
mod talk;

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
