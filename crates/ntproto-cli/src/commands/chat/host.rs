//! One account of a chat: its client's events as news, and what the screen wants as calls of its client.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ntproto_core::presence::State as Status;
use ntproto_proto::v2;
use ntproto_sdk::store::{SearchQuery, Stored};
use ntproto_sdk::{
    Client, ClientMsgId, ConnectString, ConversationId, Ended, Event, Events, MessageAction, SendAction,
    SendOptions, SendOutcome, State, Target as About, Uin,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::asks;
use crate::chat::{Change, Deed, Entry, Hit, Link, Msg, News, Said, Target};
use crate::exit::Failure;
use crate::session;

/// Messages of history loaded at a time.
const PAGE: usize = 200;
/// Messages a search shows.
const MAX_HITS: usize = 200;
/// What is sent, changed, read waits here for the disk, in order.
const MAX_DEEDS: usize = 256;
/// How long what was handed over may take to reach the disk when the chat ends.
const FINISH: Duration = Duration::from_secs(5);
/// Profiles remembered as asked for.
const MAX_KNOWN: usize = 10_000;

/// An account's client at work. Dropping it ends its tasks.
pub(super) struct Host {
    voice: Voice,
    /// `None`: the chat ends.
    deeds: Option<mpsc::Sender<Deed>>,
    ear: JoinHandle<()>,
    work: JoinHandle<()>,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.ear.abort();
        self.work.abort();
    }
}

impl Host {
    /// Begins to listen, and to tell.
    pub(super) fn start(
        at: usize,
        me: Uin,
        client: Client,
        connect: ConnectString,
        tell: mpsc::Sender<Msg>,
    ) -> Result<Self, Failure> {
        let events = client.events().map_err(|e| Failure::failed(e.to_string()))?;
        let voice = Voice { at, me, client, connect: Arc::new(connect), tell };
        let (deeds, mut ordered) = mpsc::channel(MAX_DEEDS);
        let ear = Ear { voice: voice.clone(), known: BTreeSet::new(), sent: BTreeMap::new() };
        let hand = voice.clone();
        let work = async move {
            while let Some(deed) = ordered.recv().await {
                hand.do_in_order(deed).await;
            }
        };
        let (ear, work) = (tokio::spawn(ear.listen(events)), tokio::spawn(work));
        Ok(Self { voice, deeds: Some(deeds), ear, work })
    }

    /// Waits until what was sent, changed and read is on the disk: the screen has shown it as that.
    pub(super) async fn finish(&mut self) {
        self.deeds = None;
        // A disk that hangs must not keep the chat.
        let _ = tokio::time::timeout(FINISH, &mut self.work).await;
    }

    /// Does what the screen wants. What goes into the log is done in order, all else beside it.
    pub(super) fn act(&self, deed: Deed) {
        let voice = self.voice.clone();
        match deed {
            Deed::Send(..) | Deed::Edit(..) | Deed::Recall(..) | Deed::Read(..) => {
                let Some(deeds) = &self.deeds else { return };
                if let Err(refused) = deeds.try_send(deed) {
                    let text = "too much waits for the disk; try again".to_owned();
                    let news = match refused.into_inner() {
                        Deed::Send(_, id, _) | Deed::Edit(_, id, ..) | Deed::Recall(_, id, _) => {
                            News::Failed(id, text)
                        }
                        _ => News::Told(text),
                    };
                    tokio::spawn(async move { voice.say(news).await });
                }
            }
            deed => drop(tokio::spawn(async move { voice.do_beside(deed).await })),
        }
    }
}

/// A client, and a way to tell of it.
#[derive(Clone)]
pub(super) struct Voice {
    at: usize,
    pub(super) me: Uin,
    pub(super) client: Client,
    /// Where files are.
    pub(super) connect: Arc<ConnectString>,
    tell: mpsc::Sender<Msg>,
}

impl Voice {
    pub(super) async fn say(&self, news: News) {
        // A screen that is gone hears nothing.
        let _ = self.tell.send(Msg::Of(self.at, news)).await;
    }

    async fn do_in_order(&self, deed: Deed) {
        let (id, done) = match deed {
            Deed::Send(to, id, draft) => match draft.body() {
                Ok(body) => {
                    let options = SendOptions { client_msg_id: Some(id), ..SendOptions::default() };
                    (id, self.client.enqueue_with(to, body, options).await)
                }
                Err(why) => return self.say(News::Failed(id, why)).await,
            },
            Deed::Edit(to, id, target, draft) => match draft.body() {
                Ok(body) => (id, self.change(to, id, SendAction::Edit(about(target)), body).await),
                Err(why) => return self.say(News::Failed(id, why)).await,
            },
            Deed::Recall(to, id, target) => {
                (id, self.change(to, id, SendAction::Recall(about(target)), bytes::Bytes::new()).await)
            }
            Deed::Read(conversation, seq) => {
                // What could not be told is told with the next one.
                let _ = self.client.mark_read(conversation, seq).await;
                return;
            }
            _ => return,
        };
        if let Err(e) = done {
            self.say(News::Failed(id, e.to_string())).await;
        }
    }

    async fn change(
        &self,
        to: ConversationId,
        id: ClientMsgId,
        action: SendAction,
        body: bytes::Bytes,
    ) -> Result<ClientMsgId, ntproto_sdk::SendError> {
        let options = SendOptions { client_msg_id: Some(id), ..SendOptions::default() };
        self.client.enqueue_action_with(to, action, body, options).await
    }

    async fn do_beside(&self, deed: Deed) {
        match deed {
            Deed::Load(conversation, before) => self.load(conversation, before).await,
            Deed::Count(conversation) => self.count(conversation).await,
            Deed::Search(words) => self.search(words).await,
            Deed::Reconnect => self.client.network_changed().await,
            Deed::Typing(conversation, active) => {
                // Nobody misses it when it is lost.
                let _ = self.client.typing(conversation, active).await;
            }
            Deed::Ask(ask) => {
                if let Err(e) = asks::ask(self, ask).await {
                    self.say(News::Told(e.to_string())).await;
                }
            }
            Deed::Send(..) | Deed::Edit(..) | Deed::Recall(..) | Deed::Read(..) => {}
        }
    }

    pub(super) async fn load(&self, conversation: ConversationId, before: Option<u64>) {
        let mut page = self.page(conversation, before).await;
        if asks::fetch_missing(self, conversation, before, &page).await {
            page = self.page(conversation, before).await;
        }
        let complete = page.len() < PAGE;
        let page = page.into_iter().map(|stored| (stored.conv_seq, entry(&stored))).collect();
        self.say(News::History(conversation, page, complete)).await;
    }

    async fn page(&self, conversation: ConversationId, before: Option<u64>) -> Vec<Stored> {
        // A disk that can't be read shows no history; what happens now is shown nevertheless.
        self.client.history(conversation, before, PAGE).await.unwrap_or_default()
    }

    pub(super) async fn count(&self, conversation: ConversationId) {
        if let Ok(unread) = self.client.unread(conversation).await {
            self.say(News::Unread(conversation, unread.messages)).await;
        }
    }

    /// Goes through the disk piece by piece until there are enough.
    async fn search(&self, words: String) {
        let mut hits = Vec::new();
        let text = Some(words.clone());
        let mut query = SearchQuery { text, limit: MAX_HITS, ..SearchQuery::default() };
        while hits.len() < MAX_HITS {
            let Ok(page) = self.client.search(query.clone()).await else { break };
            hits.extend(page.found.into_iter().map(|found| Hit {
                conversation: found.conversation,
                seq: found.stored.conv_seq,
                from: found.stored.sender,
                text: Said::read(&found.stored.body).beginning(),
                at_ms: found.stored.stored_ms,
            }));
            match page.next {
                Some(next) => query.before = Some(next),
                None => break,
            }
        }
        hits.sort_by_key(|hit| std::cmp::Reverse(hit.at_ms));
        hits.truncate(MAX_HITS);
        self.say(News::Found(words, hits)).await;
    }
}

/// What listens to a client.
struct Ear {
    voice: Voice,
    /// Whose profile was asked for.
    known: BTreeSet<Uin>,
    /// What waits: whatever was left out of the events is asked for by these.
    sent: BTreeMap<ClientMsgId, ConversationId>,
}

impl Ear {
    async fn listen(mut self, mut events: Events) {
        self.resume().await;
        while let Some(event) = events.next().await {
            self.event(event).await;
        }
    }

    /// What the local disk knows: who there is, what is unread, what waits, how the connection is.
    async fn resume(&mut self) {
        let client = self.voice.client.clone();
        for friend in client.friends().records().await.unwrap_or_default() {
            self.friend(friend).await;
        }
        for group in client.groups().list().await.unwrap_or_default() {
            self.voice.say(News::Group(group)).await;
        }
        for (conversation, _) in client.conversations().await.unwrap_or_default() {
            for mark in client.marks(conversation).await.unwrap_or_default() {
                let news = News::Receipt(conversation, mark.member, mark.delivered_seq, mark.read_seq);
                self.voice.say(news).await;
            }
            self.voice.count(conversation).await;
            if let Some((low, high)) = conversation.members() {
                self.meet(if low == self.voice.me { high } else { low }).await;
            }
        }
        for waiting in client.outbox().await.unwrap_or_default() {
            let (conversation, id) = (waiting.conversation, waiting.client_msg_id);
            let said = Said::read(&waiting.body);
            let news = match waiting.action {
                SendAction::Message => {
                    News::Waiting(conversation, Entry::new(id, self.voice.me, said, session::now().0))
                }
                SendAction::Edit(of) => News::Pending(conversation, id, target(of), Change::Edit(said)),
                SendAction::Recall(of) => News::Pending(conversation, id, target(of), Change::Recall),
            };
            self.sent.insert(id, conversation);
            self.voice.say(news).await;
        }
        let link = match client.state() {
            State::Online { caught_up, .. } => {
                self.online().await;
                Link::Online { caught_up }
            }
            State::Offline { why, retry_in } => offline(why.to_string(), retry_in),
            State::Ended(why) => Link::Stopped(ended(&why)),
            State::Starting => return,
        };
        self.voice.say(News::Link(link)).await;
    }

    /// Hears of friends again, and is there.
    async fn online(&mut self) {
        let voice = self.voice.clone();
        tokio::spawn(async move {
            // What fails now is done with the next connection.
            let _ = voice.client.presence().set(Status::Online).await;
            let friends = voice.client.friends().list().await.unwrap_or_default();
            let friends: Vec<Uin> = friends.iter().map(|friend| Uin(friend.uin)).collect();
            asks::watch(&voice, &friends).await;
        });
    }

    /// Asks for somebody's profile, once.
    async fn meet(&mut self, uin: Uin) {
        if self.known.len() >= MAX_KNOWN || uin == self.voice.me || !self.known.insert(uin) {
            return;
        }
        if let Ok(Some(user)) = self.voice.client.known_profile(uin).await {
            self.voice.say(News::Profiles(vec![user])).await;
        }
        let voice = self.voice.clone();
        tokio::spawn(async move {
            if let Ok(users) = voice.client.profiles(&[uin]).await {
                voice.say(News::Profiles(users)).await;
            }
        });
    }

    async fn friend(&mut self, friend: v2::Friend) {
        self.meet(Uin(friend.uin)).await;
        if friend.state() == v2::FriendState::Friend
            && let State::Online { .. } = self.voice.client.state()
        {
            let (voice, uin) = (self.voice.clone(), Uin(friend.uin));
            tokio::spawn(async move { asks::watch(&voice, &[uin]).await });
        }
        self.voice.say(News::Friend(friend)).await;
    }

    async fn event(&mut self, event: Event) {
        let news = match event {
            Event::Online { .. } => {
                self.online().await;
                News::Link(Link::Online { caught_up: false })
            }
            Event::CaughtUp => {
                // What was counted on the disk before, and was told since, counts once.
                let client = self.voice.client.clone();
                for (conversation, _) in client.conversations().await.unwrap_or_default() {
                    self.voice.count(conversation).await;
                }
                News::Link(Link::Online { caught_up: true })
            }
            Event::Offline { why, retry_in } => News::Link(offline(why.to_string(), retry_in)),
            Event::Ended(why) => News::Link(Link::Stopped(ended(&why))),
            Event::Message(message) => {
                let (conversation, stored) = (message.conversation, &message.stored);
                self.meet(stored.sender).await;
                let news = match message.action {
                    MessageAction::New => News::Message(conversation, stored.conv_seq, entry(stored)),
                    MessageAction::Edit { target } => {
                        let change = Change::Edit(Said::read(&stored.body));
                        News::Changed(conversation, target, stored.sender, change)
                    }
                    MessageAction::Recall { target } => {
                        News::Changed(conversation, target, stored.sender, Change::Recall)
                    }
                };
                self.voice.say(news).await;
                // It is in this disk's history, where it is found again.
                self.voice.client.confirm(message.position).await;
                return;
            }
            Event::Sent(sent) => {
                self.sent.remove(&sent.client_msg_id);
                News::Stored(sent.conversation, sent.client_msg_id, sent.conv_seq, sent.stored_ms)
            }
            Event::SendFailed { client_msg_id, why } => {
                self.sent.remove(&client_msg_id);
                News::Failed(client_msg_id, why.to_string())
            }
            Event::Receipt { conversation, mark } => {
                News::Receipt(conversation, mark.member, mark.delivered_seq, mark.read_seq)
            }
            Event::Friend(friend) => return self.friend(friend).await,
            Event::Group(state) => News::Group(state),
            Event::Typing { conversation, uin, active } => {
                self.meet(uin).await;
                News::Typing(conversation, uin, active)
            }
            Event::Presence(states) => News::Presence(states),
            Event::GroupDelta(delta) => {
                let voice = self.voice.clone();
                tokio::spawn(async move { asks::members(&voice, delta.group, false).await });
                return;
            }
            Event::Gap { conversation, .. } => {
                let voice = self.voice.clone();
                tokio::spawn(async move { asks::fill(&voice, conversation).await });
                return;
            }
            Event::Skipped => {
                News::Told("you were away for long: older messages are read as you look".into())
            }
            Event::Lagged => return self.catch_up().await,
            _ => return,
        };
        self.voice.say(news).await;
    }

    /// Events were left out: the disk knows what they said.
    async fn catch_up(&mut self) {
        let client = self.voice.client.clone();
        for (id, conversation) in std::mem::take(&mut self.sent) {
            let news = match client.outcome(id).await {
                Ok(Some(SendOutcome::Stored { conv_seq, stored_ms, .. })) => {
                    News::Stored(conversation, id, conv_seq, stored_ms)
                }
                Ok(Some(SendOutcome::Failed(why))) => News::Failed(id, why.to_string()),
                _ => continue,
            };
            self.voice.say(news).await;
        }
        self.resume().await;
    }
}

fn entry(stored: &Stored) -> Entry {
    let said = if stored.recalled.is_some() { Said::default() } else { Said::read(&stored.body) };
    let entry = Entry::new(stored.client_msg_id, stored.sender, said, stored.stored_ms);
    Entry { edited: stored.edited.is_some(), recalled: stored.recalled.is_some(), ..entry }
}

const fn about(target: Target) -> About {
    match target {
        Target::Number(number) => About::Number(number),
        Target::Id(id) => About::Id(id),
    }
}

const fn target(about: About) -> Target {
    match about {
        About::Number(number) => Target::Number(number),
        About::Id(id) => Target::Id(id),
    }
}

fn offline(why: String, retry_in: Duration) -> Link {
    Link::Offline { why, retry_at_ms: (session::now() + retry_in).0 }
}

fn ended(why: &Ended) -> String {
    Failure::from(why.clone()).to_string()
}
