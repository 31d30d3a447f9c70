//! The members of a group: read by pages, and followed.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use ntproto_core::ids::{GroupId, Uin};
use ntproto_core::model::members::{Ask, Change, Fault, Fetch, Listener, Snapshot, Told};
use ntproto_core::time::Instant;
use ntproto_core::wire::packet::PacketId;
use ntproto_proto::v2;

use super::groups::Group;
use super::{Client, Event, RequestError};
use crate::bus::{Delivery, Limits, Subscriber};

/// Members on a page: large enough that a hundred thousand take a few hundred requests, small enough to be served between
/// other people's.
const PAGE: u32 = 500;
/// How long one request may take. Told to come again later the client does so by itself, as long as this allows.
const PATIENCE: Duration = Duration::from_secs(120);
/// Connections that may be lost during a fetch.
const MAX_LOST: u32 = 3;
/// Events that may wait for a watch: beyond it, it asks the server what it missed.
const BEHIND: NonZeroUsize = NonZeroUsize::new(256).expect("it is not zero");
/// The machines wait for no time: the client does, before it asks again.
const NO_TIME: Instant = Instant::ORIGIN;

/// Why members could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembersError {
    /// The server was not reached, or refused.
    Request(RequestError),
    /// What it answered makes no sense, or changes faster than it can be read.
    Fault(Fault),
}

impl fmt::Display for MembersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(error) => error.fmt(f),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for MembersError {}

impl From<RequestError> for MembersError {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

impl From<Fault> for MembersError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

enum Answer {
    Page(u32, v2::GroupMembersResponse),
    Changes(v2::GroupChangesResponse),
}

type Asked = Pin<Box<dyn Future<Output = Result<Answer, RequestError>> + Send>>;

fn ask(client: Client, group: GroupId, ask: Ask) -> Asked {
    let group = group.0;
    Box::pin(async move {
        Ok(match ask {
            Ask::Page { page, size } => {
                let request = v2::GroupMembersRequest { group, page, size };
                let answer = client.request_typed_within(PacketId::GROUP_MEMBERS, &request, PATIENCE).await?;
                Answer::Page(page, answer)
            }
            Ask::Changes { since, limit } => {
                let request = v2::GroupChangesRequest { group, since, limit };
                Answer::Changes(
                    client.request_typed_within(PacketId::GROUP_CHANGES, &request, PATIENCE).await?,
                )
            }
        })
    })
}

/// The first of them that is done; pending while none is.
fn poll_any(asked: &mut Vec<Asked>, cx: &mut Context<'_>) -> Poll<Result<Answer, RequestError>> {
    for at in 0..asked.len() {
        if let Poll::Ready(answer) = asked[at].as_mut().poll(cx) {
            drop(asked.swap_remove(at));
            return Poll::Ready(answer);
        }
    }
    Poll::Pending
}

impl Client {
    /// How often the server would rather have been asked later.
    fn deferred(&self) -> u64 {
        self.shared().deferred.load(Ordering::Relaxed)
    }

    /// Whether that happened since.
    fn was_deferred(&self, since: &mut u64) -> bool {
        let now = self.deferred();
        std::mem::replace(since, now) != now
    }
}

impl Group {
    /// All members as they are at one version, from the server: pages of them, up to ten at once, and then what changed
    /// meanwhile.
    ///
    /// ```no_run
    /// use ntproto_sdk::{Client, GroupId, MembersError};
    ///
    /// async fn admins(client: &Client, group: GroupId) -> Result<usize, MembersError> {
    ///     let list = client.group(group).members().await?;
    ///     Ok(list.members.iter().filter(|member| member.role != 0).count())
    /// }
    /// ```
    ///
    /// # Errors
    /// See [`MembersError`].
    pub async fn members(&self) -> Result<Snapshot, MembersError> {
        let mut fetch = Fetch::new(PAGE);
        let mut asked = Vec::new();
        let mut lost = 0;
        let mut deferred = self.client.deferred();
        loop {
            if self.client.was_deferred(&mut deferred) {
                fetch.busy();
            }
            while let Some(next) = fetch.poll(NO_TIME) {
                asked.push(ask(self.client.clone(), self.id, next));
            }
            match poll_fn(|cx| poll_any(&mut asked, cx)).await {
                Ok(Answer::Page(page, answer)) => fetch.page(page, answer)?,
                Ok(Answer::Changes(answer)) => {
                    if let Some(snapshot) = fetch.changes(answer)? {
                        return Ok(snapshot);
                    }
                }
                Err(RequestError::Disconnected) if lost < MAX_LOST => {
                    lost += 1;
                    asked.clear();
                    fetch.disconnected();
                    self.client.online().await.map_err(RequestError::Ended)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Follows the members: first each of them is told as added, then what changes. What is lost on the way is asked for,
    /// and when that is too much all of them are read again; either way only differences are told.
    ///
    /// ```no_run
    /// use ntproto_sdk::{Client, GroupEvent, GroupId, MembersError};
    ///
    /// async fn follow(client: &Client, group: GroupId) -> Result<(), MembersError> {
    ///     let mut watch = client.group(group).watch();
    ///     while let Some(event) = watch.next().await {
    ///         match event? {
    ///             GroupEvent::Add(member) => println!("{} is here", member.uin),
    ///             GroupEvent::Update(member) => println!("{} is another now", member.uin),
    ///             GroupEvent::Remove(uin) => println!("{uin} is gone"),
    ///             GroupEvent::Group(group) => println!("it is called {} now", group.name),
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn watch(&self) -> GroupWatch {
        self.follow(Listener::fetching(PAGE))
    }

    /// [`watch`](Self::watch) from a list that was read before: what is in it is not told.
    #[must_use]
    pub fn watch_from(&self, list: Snapshot) -> GroupWatch {
        let mut listener = Listener::new(list.members, list.version, PAGE);
        // It may have changed between the two.
        listener.hear(list.version.saturating_add(1));
        self.follow(listener)
    }

    fn follow(&self, listener: Listener) -> GroupWatch {
        let feed = self.client.subscribe(Limits::lossy(BEHIND));
        GroupWatch {
            group: self.clone(),
            feed,
            listener,
            asked: Vec::new(),
            ready: VecDeque::new(),
            deferred: self.client.deferred(),
            connected: true,
            ended: false,
        }
    }
}

/// What became of a group.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupEvent {
    /// Somebody came.
    Add(v2::Member),
    /// Somebody went.
    Remove(Uin),
    /// Something about somebody is different: this is how they are now.
    Update(v2::Member),
    /// The group itself is different: its name, its policy, its end.
    Group(v2::Group),
}

/// The changes of a group, as a [`Stream`]: see [`Group::watch`]. It ends when the client does, or when this account is
/// not in the group any more; an error does not end it.
pub struct GroupWatch {
    group: Group,
    feed: Subscriber<Event>,
    listener: Listener,
    asked: Vec<Asked>,
    ready: VecDeque<GroupEvent>,
    deferred: u64,
    connected: bool,
    ended: bool,
}

impl GroupWatch {
    /// The next change; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<GroupEvent, MembersError>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// The members as they are told so far, by uin.
    #[must_use]
    pub fn members(&self) -> &[v2::Member] {
        self.listener.members()
    }

    /// Asks the server whether there is something new. Needed in groups of more than 500 members only, of which
    /// nothing is pushed.
    pub fn look(&mut self) {
        self.connected = true;
        self.listener.hear(self.listener.version().saturating_add(1));
    }

    fn heard(&mut self, event: &Event) {
        let id = self.group.id.0;
        match event {
            Event::GroupDelta(delta) if delta.group == id => {
                self.connected = true;
                let told = self.listener.delta(delta.clone());
                self.tell(told);
            }
            Event::Group(v2::GroupState { group: Some(group), me }) if group.group == id => {
                if me.is_none() || group.dissolved {
                    self.ready.push_back(GroupEvent::Group(group.clone()));
                    self.ended = true;
                }
                self.connected = true;
                self.listener.hear(group.version);
            }
            // Pushes may have been missed.
            Event::Online { .. } => {
                // What the connection before it did not answer it never will.
                self.disconnected();
                self.look();
            }
            Event::Offline { .. } => self.disconnected(),
            _ => {}
        }
    }

    fn disconnected(&mut self) {
        self.connected = false;
        self.asked.clear();
        self.listener.disconnected();
    }

    fn tell(&mut self, told: Option<Told>) {
        let Some(told) = told else { return };
        self.ready.extend(told.changes.into_iter().map(|change| match change {
            Change::Add(member) => GroupEvent::Add(member),
            Change::Remove(uin) => GroupEvent::Remove(uin),
            Change::Update(member) => GroupEvent::Update(member),
        }));
        self.ready.extend(told.group.map(GroupEvent::Group));
    }

    fn answered(&mut self, answer: Result<Answer, RequestError>) -> Result<(), MembersError> {
        match answer {
            Ok(Answer::Page(page, answer)) => self.listener.page(page, answer)?,
            Ok(Answer::Changes(answer)) => {
                let told = self.listener.changes(answer)?;
                self.tell(told);
            }
            Err(RequestError::Disconnected) => self.disconnected(),
            Err(error) => {
                // What was asked is asked again with the next thing that is heard.
                self.asked.clear();
                self.listener.disconnected();
                self.connected = false;
                return Err(error.into());
            }
        }
        Ok(())
    }
}

impl Stream for GroupWatch {
    type Item = Result<GroupEvent, MembersError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if this.group.client.was_deferred(&mut this.deferred) {
                this.listener.busy();
            }
            if let Some(event) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            if this.ended {
                return Poll::Ready(None);
            }
            match Pin::new(&mut this.feed).poll_next(cx) {
                Poll::Ready(Some(Delivery::Event(event))) => {
                    this.heard(&event);
                    continue;
                }
                Poll::Ready(Some(Delivery::Lagged(_))) => {
                    // Which events those were is not known: an Online may have been among them.
                    this.disconnected();
                    this.look();
                    continue;
                }
                Poll::Ready(None) => {
                    this.ended = true;
                    continue;
                }
                Poll::Pending => {}
            }
            while this.connected
                && let Some(next) = this.listener.poll(NO_TIME)
            {
                this.asked.push(ask(this.group.client.clone(), this.group.id, next));
            }
            match poll_any(&mut this.asked, cx) {
                Poll::Ready(answer) => {
                    if let Err(error) = this.answered(answer) {
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
