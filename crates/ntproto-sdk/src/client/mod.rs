//! The handle applications hold.
//!
//! ```text
//!  Client (clones) ── Command ─▶ ┌────────┐ ── Effect ─▶ ┌──────┐ ─▶ StoreThread
//!  Events          ◀─────────── │ Driver │              │ Desk │ ─▶ calls, events, state
//!                    an adapter  └────────┘  of the loop └──────┘
//! ```
//!
//! Nothing here needs a runtime: an adapter calls [`assemble`], runs the [`Driver`] with the receiver of its
//! commands, and hands every effect to the [`Desk`].

mod admin;
mod bootstrap;
mod calls;
mod conversations;
mod desk;
mod error;
mod events;
mod groups;
mod members;
mod options;
mod people;
mod presence;
mod requests;
mod status;
mod tracing;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_channel::Sender;
use bytes::Bytes;
use ntproto_core::client::{self as core, DEFAULT_DEADLINE, Failure, SendOutcome};
use ntproto_core::crypto::CryptoProvider;
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::ids::{ClientMsgId, ConversationId, DeviceId, Uin};
use ntproto_core::rng::Rng;
use ntproto_core::session::bearer::Bearer;
use ntproto_net::Closed;

use self::calls::{Calls, Reply, Want};
use self::events::Queue;
use self::status::Status;
use crate::bus::{Limits, Subscriber, Topic};
use crate::driver::Command;
use crate::store::{ClientStore, Mark, SearchPage, SearchQuery, StoreReader, Stored, Unread};
use crate::trace::TraceContext;

pub use self::admin::{Admin, AdminInvitation};
pub use self::bootstrap::{BootstrapSource, Renewal, Whereabouts};
pub use self::conversations::{HistoryPage, Lifecycle};
pub use self::desk::{Desk, Errand, Lookup};
pub use self::error::{Ended, EventsTaken, QueryError, RequestError, SendError};
pub use self::events::{Event, Events, Message, MessageAction};
pub use self::groups::{Group, GroupUpdate, Groups, NewGroup};
pub use self::members::{GroupEvent, GroupWatch, MembersError};
pub use self::options::{Options, Parts, StartError, assemble};
pub use self::people::{Friends, NewProfile};
pub use self::presence::{Appearance, OwnPresence, Presence};
pub use self::status::State;

/// What handles and desk share.
pub(crate) struct Shared {
    calls: Calls,
    events: Arc<Queue>,
    /// Every event, for whoever subscribes.
    topic: Topic<Event>,
    status: Arc<Status>,
    store: StoreReader,
    keys: DeviceKeys,
    /// How often the server would rather have been asked later.
    deferred: AtomicU64,
    /// For what has to be unlike anything before.
    rng: Mutex<Rng>,
    provider: &'static dyn CryptoProvider,
    /// Whether what is sent begins a trace of its own.
    traces: bool,
}

impl Shared {
    /// Tells the event stream and whoever subscribed.
    fn tell(&self, event: Event) {
        self.publish(|| event.clone());
        self.events.push(event);
    }

    fn publish(&self, event: impl FnOnce() -> Event) {
        if self.topic.subscribers() > 0 {
            // After the end nobody hears any more.
            let _ = self.topic.publish(event());
        }
    }

    fn random(&self) -> [u8; 16] {
        // Whoever panics with the lock held leaves it whole.
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).array()
    }

    fn end(&self, why: Ended) {
        if self.status.end(why.clone()) {
            self.calls.end(&why);
            self.publish(|| Event::Ended(why.clone()));
            // Whoever waits for its handlers closes it, too.
            drop(self.topic.close());
            self.events.end(why);
        }
    }
}

/// What all handles are.
pub(crate) struct Inner {
    commands: Sender<Command>,
    shared: Arc<Shared>,
}

/// A device of an account: connects, stays connected, sends, receives. Cheap to clone; the client closes when
/// the last handle and the [`Events`] are dropped, or by [`close`](Self::close).
///
/// ```no_run
/// use ntproto_sdk::{Client, Event, Uin};
///
/// async fn echo(client: Client) -> Result<(), Box<dyn std::error::Error>> {
///     let mut events = client.events()?;
///     while let Some(event) = events.next().await {
///         if let Event::Message(message) = event {
///             client.send(message.conversation, message.stored.body).await?;
///             client.confirm(message.position).await;
///         }
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Client(Arc<Inner>);

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// The direct conversation with this account.
    Account(Uin),
    /// A conversation.
    Conversation(ConversationId),
}

impl From<Uin> for Recipient {
    fn from(uin: Uin) -> Self {
        Self::Account(uin)
    }
}

impl From<ConversationId> for Recipient {
    fn from(conversation: ConversationId) -> Self {
        Self::Conversation(conversation)
    }
}

/// How a message is sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct SendOptions {
    /// Give up after this; `None`: keep trying, across restarts.
    pub deadline: Option<Duration>,
    /// The idempotency key; `None`: a random one. Sending again with the key of a message that was stored, and
    /// the same body, gets that message's outcome.
    pub client_msg_id: Option<ClientMsgId>,
    /// The trace it belongs to. A retry is the same message whatever this says. `None`: one of its own, if
    /// [`Options::traces`](super::Options::traces) is on.
    pub trace: Option<TraceContext>,
}

/// A message the server stored durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its key.
    pub client_msg_id: ClientMsgId,
    /// Its conversation.
    pub conversation: ConversationId,
    /// Its place there.
    pub conv_seq: u64,
    /// When, by the server's clock, in milliseconds since 1970.
    pub stored_ms: u64,
}

/// Who this device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The account.
    pub uin: Uin,
    /// The device.
    pub device: DeviceId,
}

impl Client {
    // ── messages ────────────────────────────────────────────────────────────────────────────────

    /// Sends a message and waits until the server has stored it, at most 5 seconds.
    ///
    /// Dropping the future does not take the message back: once polled, it is on its way to the local disk and
    /// then to the server.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send(&self, to: impl Into<Recipient>, body: impl Into<Bytes>) -> Result<Sent, SendError> {
        let options = SendOptions { deadline: Some(DEFAULT_DEADLINE), ..SendOptions::default() };
        self.send_with(to, body, options).await
    }

    /// [`send`](Self::send) with a deadline and a key of one's own.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send_with(
        &self,
        to: impl Into<Recipient>,
        body: impl Into<Bytes>,
        options: SendOptions,
    ) -> Result<Sent, SendError> {
        match self.submit(to.into(), body.into(), options, Want::Settled).await? {
            Reply::Sent(sent) => Ok(sent),
            Reply::Unresolved(id) => Err(SendError::Unresolved(id)),
            other => Err(send_error(other)),
        }
    }

    /// Writes a message to the local disk, from where it is sent however long that takes, and across restarts.
    /// [`Event::Sent`] or [`Event::SendFailed`] tells of its fate.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn enqueue(
        &self,
        to: impl Into<Recipient>,
        body: impl Into<Bytes>,
    ) -> Result<ClientMsgId, SendError> {
        self.enqueue_with(to, body, SendOptions::default()).await
    }

    /// [`enqueue`](Self::enqueue) with a deadline and a key of one's own.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn enqueue_with(
        &self,
        to: impl Into<Recipient>,
        body: impl Into<Bytes>,
        options: SendOptions,
    ) -> Result<ClientMsgId, SendError> {
        match self.submit(to.into(), body.into(), options, Want::Queued).await? {
            Reply::Queued(id) => Ok(id),
            other => Err(send_error(other)),
        }
    }

    async fn submit(
        &self,
        to: Recipient,
        body: Bytes,
        options: SendOptions,
        want: Want,
    ) -> Result<Reply, SendError> {
        self.submit_as(to, body, options, core::SendAction::Message, want).await
    }

    async fn submit_as(
        &self,
        to: Recipient,
        body: Bytes,
        options: SendOptions,
        action: core::SendAction,
        want: Want,
    ) -> Result<Reply, SendError> {
        let conversation = self.conversation_of(to).ok_or(SendError::NotEnrolled)?;
        let SendOptions { deadline, client_msg_id, trace: came } = options;
        let group = conversation.group().is_some();
        let span = self.shared().sending(came, "SEND", Some(group));
        let trace = span.context(came);
        let call = core::Command::Send { conversation, client_msg_id, body, deadline, action, trace };
        let reply = self.call(call, want).await;
        span.end(&reply);
        Ok(reply)
    }

    /// Gives up a message of this device that waits. What comes of it is an event: [`Event::SendFailed`] with
    /// [`Failure::Cancelled`], or [`Event::Sent`] when the server had stored it already; later
    /// [`outcome`](Self::outcome) knows. Never sent, it is over soon; else the server is asked when it is there.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use ntproto_sdk::{Client, Misuse, SendError, Uin};
    ///
    /// async fn send_unless(client: &Client, changed_my_mind: bool) -> Result<(), SendError> {
    ///     let id = client.enqueue(Uin(10002), "one moment").await?;
    ///     if changed_my_mind {
    ///         match client.cancel(id).await {
    ///             // It was faster.
    ///             Err(SendError::Misuse(Misuse::UnknownId)) => {}
    ///             other => other?,
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Misuse::UnknownId`](core::Misuse::UnknownId) when no message with this id waits; else see [`SendError`].
    pub async fn cancel(&self, client_msg_id: ClientMsgId) -> Result<(), SendError> {
        match self.call(core::Command::Cancel(client_msg_id), Want::Taken).await {
            Reply::Taken => Ok(()),
            other => Err(send_error(other)),
        }
    }

    /// `None` for an account before this device has one itself.
    fn conversation_of(&self, to: Recipient) -> Option<ConversationId> {
        match to {
            Recipient::Conversation(conversation) => Some(conversation),
            Recipient::Account(uin) => Some(ConversationId::direct(self.identity()?.uin, uin)),
        }
    }

    /// The application is done with every message up to this position: they are not told again at the next
    /// start. Durable soon, and at the latest when [`close`](Self::close) returns.
    pub async fn confirm(&self, position: u64) {
        // A client that is over tells them again.
        let _ = self.0.commands.send(Command::Confirm(position)).await;
    }

    /// Hears of every event beside the stream of [`events`](Self::events), as many as want to. A subscriber that falls
    /// behind its bound loses events, messages too: what must not be lost is read from the stream, or from the local
    /// disk.
    ///
    /// ```no_run
    /// use std::num::NonZeroUsize;
    /// use ntproto_sdk::{Client, Event, bus::{Delivery, Limits}};
    ///
    /// async fn show_typing(client: &Client) {
    ///     let mut events = client.subscribe(Limits::lossy(NonZeroUsize::MIN.saturating_add(99)));
    ///     while let Some(delivery) = events.recv().await {
    ///         if let Delivery::Event(event) = delivery
    ///             && let Event::Typing { uin, active: true, .. } = &*event
    ///         {
    ///             println!("{uin} is writing");
    ///         }
    ///     }
    /// }
    /// ```
    #[must_use = "dropped, it is unsubscribed"]
    pub fn subscribe(&self, limits: Limits) -> Subscriber<Event> {
        self.shared().topic.subscribe(limits)
    }

    /// The event stream. There is one: it can be taken again once it was dropped.
    ///
    /// # Errors
    /// Somebody has it.
    pub fn events(&self) -> Result<Events, EventsTaken> {
        Events::take(&self.0).ok_or(EventsTaken)
    }

    // ── state ───────────────────────────────────────────────────────────────────────────────────

    /// Who this device is, once enrolled.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        self.shared().status.identity()
    }

    /// How it stands with the connection.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared().status.get()
    }

    /// Whether the server was ever reached: if so, it may have enrolled this device, although no answer came.
    #[must_use]
    pub fn was_reached(&self) -> bool {
        self.shared().status.was_reached()
    }

    /// Why the transport failed last, since it was online: tells a server that is another than the connect string
    /// says from one that does not answer.
    #[must_use]
    pub fn transport_failure(&self) -> Option<Closed> {
        self.shared().status.why_lost()
    }

    /// Where the server is and how to know it, if a bootstrap of this run has told: it counts instead of what the client was started with.
    #[must_use]
    pub fn whereabouts(&self) -> Option<Whereabouts> {
        self.shared().status.whereabouts()
    }

    /// Waits until it is connected.
    ///
    /// # Errors
    /// It is over, and why.
    pub async fn online(&self) -> Result<Identity, Ended> {
        self.shared().status.online().await
    }

    /// What HTTP requests show to act for the present session: files are moved with it. `None`: there is no session
    /// now, or it is a moment too young. It ends with the session; ask again after a reconnect.
    ///
    /// ```no_run
    /// async fn authorization(client: &ntproto_sdk::Client) -> Result<String, ntproto_sdk::Ended> {
    ///     client.online().await?;
    ///     let token = client.http_token().await?;
    ///     Ok(token.map_or_else(String::new, |token| format!("Bearer {}", *token.text())))
    /// }
    /// ```
    ///
    /// # Errors
    /// It is over, and why.
    pub async fn http_token(&self) -> Result<Option<Bearer>, Ended> {
        let waiting = self.shared().calls.open(Want::Answer);
        if self.0.commands.send(Command::HttpToken(waiting.id)).await.is_err() {
            return Err(self.shared().status.ended());
        }
        match waiting.reply().await {
            Reply::Token(token) => Ok(token),
            Reply::Ended(why) => Err(why),
            _ => unreachable!("a call gets the reply it waits for"),
        }
    }

    /// Tells it that the device has another network, or woke up: it tries at once.
    pub async fn network_changed(&self) {
        // One that is over does not care.
        let _ = self.0.commands.send(Command::NetworkChanged).await;
    }

    /// Says goodbye, waits until everything is on the disk and the store is closed. Messages that still wait are
    /// sent at the next start.
    pub async fn close(&self) {
        // One that is over refuses; its store may still be closing.
        let _ = self.call(core::Command::Close, Want::Taken).await;
        self.shared().status.closed().await;
    }

    // ── the local disk ──────────────────────────────────────────────────────────────────────────

    /// Messages of a conversation before `before` (from the end if `None`), newest first; at most `limit`.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn history(
        &self,
        conversation: ConversationId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Stored>, QueryError> {
        self.query(move |store| store.history(conversation, before, limit)).await
    }

    /// Messages still on their way out, oldest first.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn outbox(&self) -> Result<Vec<core::OutboxEntry>, QueryError> {
        self.query(|store| store.outbox()).await
    }

    /// Every conversation with a message, and the number of its newest.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn conversations(&self) -> Result<Vec<(ConversationId, u64)>, QueryError> {
        self.query(|store| store.conversations()).await
    }

    /// How far each member of a conversation has it.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn marks(&self, conversation: ConversationId) -> Result<Vec<Mark>, QueryError> {
        self.query(move |store| store.marks(conversation)).await
    }

    /// Messages on this disk that a query finds, conversation by conversation, newest first in each. One call does a
    /// bounded amount of work: go on with [`SearchPage::next`] until it is `None`.
    ///
    /// ```no_run
    /// use ntproto_sdk::store::{Found, SearchQuery};
    /// use ntproto_sdk::{Client, QueryError};
    ///
    /// async fn all_with(client: &Client, text: &str) -> Result<Vec<Found>, QueryError> {
    ///     let mut query = SearchQuery { text: Some(text.into()), limit: 100, ..SearchQuery::default() };
    ///     let mut all = Vec::new();
    ///     loop {
    ///         let page = client.search(query.clone()).await?;
    ///         all.extend(page.found);
    ///         match page.next {
    ///             Some(next) => query.before = Some(next),
    ///             None => return Ok(all),
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn search(&self, query: SearchQuery) -> Result<SearchPage, QueryError> {
        self.query(move |store| store.search(&query)).await
    }

    /// How many messages of others in a conversation are above this account's own read mark.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn unread(&self, conversation: ConversationId) -> Result<Unread, QueryError> {
        self.query(move |store| store.unread(conversation)).await
    }

    /// What became of a message of this device; `None` while it is on its way, or if it is unknown.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn outcome(&self, id: ClientMsgId) -> Result<Option<SendOutcome>, QueryError> {
        self.query(move |store| store.outcome(id)).await
    }

    async fn query<R: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn ClientStore) -> Result<R, core::StoreError> + Send + 'static,
    ) -> Result<R, QueryError> {
        let (answer, answered) = async_channel::bounded(1);
        self.shared().store.read(move |store| {
            // Whoever asked may be gone.
            let _ = answer.try_send(question(store));
        });
        answered.recv().await.map_err(|_| QueryError::Unavailable)?.map_err(QueryError::Store)
    }

    fn random(&self) -> [u8; 16] {
        self.shared().random()
    }

    fn shared(&self) -> &Shared {
        &self.0.shared
    }

    async fn call(&self, call: core::Command, want: Want) -> Reply {
        let waiting = self.shared().calls.open(want);
        if self.0.commands.send(Command::Call(waiting.id, call)).await.is_err() {
            return Reply::Ended(self.shared().status.ended());
        }
        waiting.reply().await
    }
}

fn send_error(reply: Reply) -> SendError {
    match reply {
        Reply::Refused(misuse) => SendError::Misuse(misuse),
        Reply::Unresolved(id) => SendError::Unresolved(id),
        Reply::Failed(Failure::Refused(code, detail)) => SendError::Refused(code, detail),
        Reply::Failed(Failure::Store(error)) => SendError::Store(error),
        Reply::Failed(Failure::Cancelled) => SendError::Cancelled,
        Reply::Failed(Failure::DeadlineExceeded | Failure::Disconnected) => SendError::DeadlineExceeded,
        Reply::Ended(why) => SendError::Ended(why),
        Reply::Taken | Reply::Queued(_) | Reply::Sent(_) | Reply::Answer(_) | Reply::Token(_) => {
            unreachable!("a call gets the reply it waits for")
        }
    }
}

fn request_error(reply: Reply) -> RequestError {
    match reply {
        Reply::Refused(core::Misuse::State) => RequestError::Disconnected,
        Reply::Refused(misuse) => RequestError::Misuse(misuse),
        Reply::Failed(Failure::Refused(code, detail)) => RequestError::Refused(code, detail),
        Reply::Failed(Failure::DeadlineExceeded) => RequestError::DeadlineExceeded,
        Reply::Failed(Failure::Disconnected | Failure::Cancelled | Failure::Store(_)) => {
            RequestError::Disconnected
        }
        Reply::Ended(why) => RequestError::Ended(why),
        Reply::Taken
        | Reply::Queued(_)
        | Reply::Sent(_)
        | Reply::Unresolved(_)
        | Reply::Answer(_)
        | Reply::Token(_) => unreachable!("a call gets the reply it waits for"),
    }
}
