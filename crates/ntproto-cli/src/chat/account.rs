//! One account of a chat: its people, its conversations, its connection.

use std::collections::BTreeMap;

use ntproto_core::ids::{ClientMsgId, ConversationId, GroupId, Uin};
use ntproto_proto::v2;

use super::log::{Change, Entry, Log};
use super::people::People;

/// How long somebody counts as writing when nothing more is heard.
pub(super) const TYPING_MS: u64 = 6_000;
/// Conversations kept in memory beside those of friends and groups.
pub(super) const MAX_TALKS: usize = 1_000;

/// The connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// The first attempt is under way.
    Connecting,
    /// Authenticated.
    Online {
        /// The inbox has been read to its end.
        caught_up: bool,
    },
    /// Waiting to try again.
    Offline {
        /// Why.
        why: String,
        /// When, in milliseconds since 1970.
        retry_at_ms: u64,
    },
    /// Over for good.
    Stopped(String),
}

/// A conversation.
#[derive(Default)]
pub(super) struct Talk {
    pub(super) log: Log,
    /// Rows the end of the log is below the screen's.
    pub(super) scroll: usize,
    /// Messages that came while scrolled up, or while the window was left.
    pub(super) unseen: usize,
    /// Everything there is on this disk is loaded.
    pub(super) complete: bool,
    /// A page of history is being loaded.
    pub(super) loading: bool,
    /// Messages of others above one's own read mark.
    pub(super) unread: u64,
    /// One of them calls this account.
    pub(super) called: bool,
    /// Who is writing, until when.
    pub(super) typing: BTreeMap<Uin, u64>,
    /// Edits and recalls on their way: what they are about, by number or, while it waits too, by key.
    pub(super) pending: BTreeMap<ClientMsgId, (Target, Change)>,
    /// Read up to here, as the server was told.
    pub(super) read: u64,
}

/// Which message is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The one with this number.
    Number(u64),
    /// The one this device sent with this key.
    Id(ClientMsgId),
}

/// An account.
pub(crate) struct Account {
    /// Its profile's name.
    pub(super) name: String,
    pub(super) me: Uin,
    pub(super) link: Link,
    pub(super) people: People,
    pub(super) talks: BTreeMap<ConversationId, Talk>,
    /// The conversation on the screen.
    pub(super) open: Option<ConversationId>,
    /// What this device says of its user.
    pub(super) status: v2::OnlineStatus,
}

/// A line of the side pane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A heading.
    Heading(&'static str),
    /// Somebody wants to be a friend.
    Wanting(Uin),
    /// A conversation.
    Talk(ConversationId),
}

impl Account {
    /// An account that knows nothing yet.
    pub(crate) fn new(name: &str, me: Uin) -> Self {
        Self {
            name: name.to_owned(),
            me,
            link: Link::Connecting,
            people: People::default(),
            talks: BTreeMap::new(),
            open: None,
            status: v2::OnlineStatus::Online,
        }
    }

    /// With this conversation on the screen.
    pub(crate) fn open(mut self, conversation: ConversationId) -> Self {
        self.talks.entry(conversation).or_default();
        self.open = Some(conversation);
        self
    }

    /// The conversation on the screen.
    pub(super) fn talk(&self) -> Option<(ConversationId, &Talk)> {
        let id = self.open?;
        self.talks.get(&id).map(|talk| (id, talk))
    }

    pub(super) fn talk_mut(&mut self) -> Option<(ConversationId, &mut Talk)> {
        let id = self.open?;
        Some((id, self.talks.entry(id).or_default()))
    }

    /// A conversation that something happened in; none when there are too many.
    pub(super) fn talk_of(&mut self, id: ConversationId) -> Option<&mut Talk> {
        if self.talks.len() >= MAX_TALKS && !self.talks.contains_key(&id) {
            return None;
        }
        Some(self.talks.entry(id).or_default())
    }

    /// The other one of a direct conversation.
    pub(super) fn peer(&self, conversation: ConversationId) -> Option<Uin> {
        let (low, high) = conversation.members()?;
        Some(if low == self.me { high } else { low })
    }

    /// What a conversation is called.
    pub(super) fn title(&self, conversation: ConversationId) -> String {
        match (self.peer(conversation), conversation.group()) {
            (Some(peer), _) => self.people.name(peer, None),
            (_, Some(group)) => self.people.group_name(group),
            (None, None) => conversation.to_string(),
        }
    }

    /// What somebody is called in the conversation on the screen.
    pub(super) fn name_of(&self, uin: Uin) -> String {
        if uin == self.me {
            return "you".into();
        }
        self.people.name(uin, self.open.and_then(ConversationId::group))
    }

    /// How many others are in a conversation.
    pub(super) fn others(&self, conversation: ConversationId) -> usize {
        match self.people.group_of(conversation).and_then(|state| state.group.as_ref()) {
            Some(group) => (group.members as usize).saturating_sub(1),
            None => 1,
        }
    }

    /// Messages of others that were not read.
    pub(super) fn unread(&self) -> u64 {
        self.talks.values().map(|talk| talk.unread).sum()
    }

    /// The side pane: who waits for an answer, friends, groups, and who else there is a conversation with.
    pub(super) fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut section = |heading, part: Vec<Line>| {
            if !part.is_empty() {
                lines.push(Line::Heading(heading));
                lines.extend(part);
            }
        };
        section("Requests", self.people.wanting().map(|(uin, _)| Line::Wanting(uin)).collect());
        let contacts = self.people.contacts();
        let direct = |uin: Uin| Line::Talk(ConversationId::direct(self.me, uin));
        section("Contacts", contacts.iter().map(|(uin, _)| direct(*uin)).collect());
        let groups = self.people.groups();
        let of_group = |id: GroupId| Line::Talk(ConversationId::of_group(id));
        section("Groups", groups.iter().map(|(id, _)| of_group(*id)).collect());
        let listed = |id: ConversationId| match (self.peer(id), id.group()) {
            (Some(peer), _) => contacts.iter().any(|(uin, _)| *uin == peer),
            (_, Some(group)) => groups.iter().any(|(id, _)| *id == group),
            (None, None) => true,
        };
        section("Others", self.talks.keys().filter(|id| !listed(**id)).map(|id| Line::Talk(*id)).collect());
        lines
    }

    /// Who is writing in the conversation on the screen.
    pub(super) fn writing(&self) -> Vec<String> {
        let Some((_, talk)) = self.talk() else { return Vec::new() };
        talk.typing.keys().map(|uin| self.name_of(*uin)).collect()
    }

    /// The message that is meant when no number is given: the newest that waits or stands and `fits`.
    pub(super) fn target(&self, number: Option<u64>, mine: bool) -> Option<(Target, Option<&Entry>)> {
        let (_, talk) = self.talk()?;
        if let Some(number) = number {
            return Some((Target::Number(number), talk.log.get(number)));
        }
        if mine && let Some(entry) = talk.log.last_waiting() {
            return Some((Target::Id(entry.id), Some(entry)));
        }
        let (seq, entry) = talk.log.last(|entry| (entry.from == self.me) == mine)?;
        Some((Target::Number(seq), Some(entry)))
    }
}
