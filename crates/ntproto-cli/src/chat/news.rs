//! What an account's client and disk tell.

use ntproto_core::ids::{ClientMsgId, ConversationId, GroupId, Uin};
use ntproto_proto::v2;

use super::account::{Link, TYPING_MS, Target};
use super::layout;
use super::log::{Change, Entry};
use super::model::{Hit, Model, Overlay};
use super::update::{Deed, Effect, load_more, notice};

/// People who can be writing in one conversation, as far as we count.
const MAX_WRITING: usize = 50;

/// What is told.
#[derive(Debug)]
pub(crate) enum News {
    /// The connection changed.
    Link(Link),
    /// Messages of the local disk, and whether there are no older ones.
    History(ConversationId, Vec<(u64, Entry)>, bool),
    /// A message of one's own that waits on the local disk.
    Waiting(ConversationId, Entry),
    /// An edit or recall of one's own that waits there.
    Pending(ConversationId, ClientMsgId, Target, Change),
    /// A message came.
    Message(ConversationId, u64, Entry),
    /// A message says something else now, or was taken back; and by whom.
    Changed(ConversationId, u64, Uin, Change),
    /// The server stored what waited here: its number there, and when.
    Stored(ConversationId, ClientMsgId, u64, u64),
    /// What waited here was not sent.
    Failed(ClientMsgId, String),
    /// A member's watermarks: delivered, read.
    Receipt(ConversationId, Uin, u64, u64),
    /// So many messages of a conversation are unread.
    Unread(ConversationId, u64),
    /// A record of a friend.
    Friend(v2::Friend),
    /// A group as it stands for this account.
    Group(v2::GroupState),
    /// Profiles of people.
    Profiles(Vec<v2::User>),
    /// Who is there.
    Presence(Vec<v2::Presence>),
    /// Somebody is writing, or has stopped.
    Typing(ConversationId, Uin, bool),
    /// All members of a group, and whether they were asked for to be looked at.
    Members(GroupId, Vec<v2::Member>, bool),
    /// What was found for these words.
    Found(String, Vec<Hit>),
    /// Something to be shown for a while.
    Told(String),
    /// A conversation to be put on the screen.
    Open(ConversationId),
}

/// Takes it over.
pub(super) fn take(model: &mut Model, at: usize, news: News) -> Vec<Effect> {
    let current = at == model.current;
    // Scrolled up: what is on the screen stays where it is, whatever comes below.
    let before = model.talk().is_some_and(|t| t.scroll > 0).then(|| layout::total(model));
    let loaded = matches!(news, News::History(..));
    let mut effects = Vec::new();
    match news {
        News::Told(text) => notice(model, &text),
        News::Found(words, hits) => model.overlay = Some(Overlay::Found { words, hits, selected: 0 }),
        News::Members(group, members, shown) => {
            let account = &mut model.accounts[at];
            account.people.members(group, members.clone());
            if shown && current {
                let title = account.people.group_name(group);
                model.overlay = Some(Overlay::Members { title, members, scroll: 0 });
            }
        }
        News::Open(id) if current => effects.extend(super::update::open(model, id)),
        News::Open(id) => drop(model.accounts[at].talk_of(id)),
        News::Message(id, seq, entry) => effects.extend(message(model, at, id, seq, entry)),
        news => effects.extend(about(model, at, news)),
    }
    if let (Some(before), false) = (before, loaded) {
        let more = layout::total(model).saturating_sub(before);
        if let Some((_, talk)) = model.account_mut().talk_mut() {
            talk.scroll += more;
        }
    } else if !loaded
        && let Some((_, talk)) = model.account_mut().talk_mut()
        && talk.log.trim()
    {
        talk.complete = false;
    }
    if loaded && current {
        // Older messages stand above: what is on the screen does not move.
        effects.extend(load_more(model));
    }
    effects
}

fn message(model: &mut Model, at: usize, id: ConversationId, seq: u64, entry: Entry) -> Vec<Effect> {
    let (on_screen, focused) = (at == model.current && model.account().open == Some(id), model.focused);
    let account = &mut model.accounts[at];
    let me = account.me;
    let (from, shown) = (entry.from, entry.is_shown());
    let called = entry.said.mentions(me, account.people.may_call_all(id.group(), from));
    let theirs = from != me;
    let Some(talk) = account.talk_of(id) else { return Vec::new() };
    talk.typing.remove(&from);
    if !talk.log.insert(seq, entry) || !theirs || seq <= talk.read {
        return Vec::new();
    }
    talk.unread += u64::from(shown);
    talk.called |= called;
    if !on_screen {
        talk.log.trim();
    } else if talk.scroll > 0 || !focused {
        talk.unseen += usize::from(shown);
    }
    if focused || !shown { Vec::new() } else { vec![Effect::Bell] }
}

/// What concerns one account, and is shown when it is drawn.
fn about(model: &mut Model, at: usize, news: News) -> Option<Effect> {
    let now = model.now_ms;
    let account = &mut model.accounts[at];
    match news {
        News::Link(link) => {
            if matches!(link, Link::Online { .. }) {
                // What lies in a gap of the disk can be had again.
                account.talks.values_mut().for_each(|talk| talk.complete = false);
            } else {
                account.people.forget_presence();
                account.talks.values_mut().for_each(|talk| talk.typing.clear());
            }
            account.link = link;
        }
        News::History(id, entries, complete) => {
            let talk = account.talk_of(id)?;
            (talk.loading, talk.complete) = (false, complete);
            for (seq, entry) in entries {
                talk.log.insert(seq, entry);
            }
        }
        News::Waiting(id, entry) => account.talk_of(id)?.log.wait(entry),
        News::Pending(id, key, target, change) => {
            account.talk_of(id)?.pending.insert(key, (target, change));
        }
        News::Changed(id, seq, by, change) => account.talk_of(id)?.log.change(seq, by, &change),
        News::Stored(id, key, seq, at_ms) => {
            let me = account.me;
            let talk = account.talk_of(id)?;
            match talk.pending.remove(&key) {
                Some((target, change)) => {
                    let number = match target {
                        Target::Number(number) => Some(number),
                        Target::Id(id) => talk.log.number(id),
                    };
                    talk.log.change(number?, me, &change);
                }
                None => talk.log.stored(key, seq, at_ms),
            }
        }
        News::Failed(key, why) => {
            let mut change = None;
            for talk in account.talks.values_mut() {
                if !talk.log.failed(key, &why) {
                    change = change.or(talk.pending.remove(&key));
                }
            }
            let what = match change? {
                (_, Change::Edit(_)) => "not changed",
                (_, Change::Recall) => "not taken back",
            };
            notice(model, &format!("{what}: {why}"));
        }
        News::Receipt(id, member, _, read) if member == account.me => {
            let talk = account.talk_of(id)?;
            if read > talk.read {
                talk.read = read;
                return Some(Effect::Of(at, Deed::Count(id)));
            }
        }
        News::Receipt(id, member, delivered, read) => {
            account.talk_of(id)?.log.receipt(member, delivered, read);
        }
        News::Unread(id, count) => {
            let talk = account.talk_of(id)?;
            talk.unread = count;
            talk.called &= count > 0;
        }
        News::Friend(friend) => account.people.friend(friend),
        News::Group(state) => account.people.group(state),
        News::Profiles(users) => users.iter().for_each(|user| account.people.profile(user)),
        News::Presence(states) => states.iter().for_each(|state| account.people.present(state)),
        News::Typing(id, who, active) => {
            let me = account.me;
            let talk = account.talk_of(id)?;
            if !active {
                talk.typing.remove(&who);
            } else if who != me && talk.typing.len() < MAX_WRITING {
                talk.typing.insert(who, now + TYPING_MS);
            }
        }
        News::Told(_) | News::Found(..) | News::Members(..) | News::Open(_) | News::Message(..) => {}
    }
    None
}
