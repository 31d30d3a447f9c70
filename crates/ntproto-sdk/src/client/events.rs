//! The event stream.
//!
//! It holds a bounded number of events. Messages are on the local disk before they are told, so a reader that
//! falls behind is served from there: none is lost, whatever its speed, and nothing else waits for it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::Stream;
use ntproto_core::binding::TransportId;
use ntproto_core::client::{self as core, Down, Failure, Inbound, Stopped};
use ntproto_core::ids::{ClientMsgId, ConversationId, DeviceId, SessionId, Uin};
use ntproto_core::wire::packet::Packet;
use ntproto_proto::v2;

use super::error::Ended;
use super::{Inner, Sent};
use crate::driver::{CallId, Command};
use crate::store::{Gap, Mark, Place, Stored};
use crate::trace::TraceContext;

/// Events held in memory.
const MAX_EVENTS: usize = 1024;
/// Messages read from the disk at a time, when there is that much room.
const PAGE: usize = 256;

/// What happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Authenticated.
    Online {
        /// The session.
        session: SessionId,
        /// The account.
        uin: Uin,
        /// The device.
        device: DeviceId,
        /// What carries it: TCP where QUIC does not get through.
        transport: TransportId,
    },
    /// Everything that was in the inbox at the server is here now; more follows as it comes.
    CaughtUp,
    /// Not connected; the client tries again by itself.
    Offline {
        /// Why.
        why: Down,
        /// When the next attempt is made.
        retry_in: Duration,
    },
    /// Over for good: the last event.
    Ended(Ended),
    /// A message came, or what somebody did to an earlier one: see [`Message::action`]. It is on the local disk.
    Message(Message),
    /// The server stored a message of this device durably.
    Sent(Sent),
    /// A message of this device was not and will not be stored.
    SendFailed {
        /// The message's key.
        client_msg_id: ClientMsgId,
        /// Why.
        why: Failure,
    },
    /// A member has more of a conversation.
    Receipt {
        /// The conversation.
        conversation: ConversationId,
        /// How far who has it.
        mark: Mark,
    },
    /// A record of a friend changed, or somebody asks to be one.
    Friend(v2::Friend),
    /// A group changed, or this account's place in it.
    Group(v2::GroupState),
    /// This account's profile changed.
    Profile(v2::User),
    /// These messages did not come by the inbox and are not on the local disk:
    /// [`Client::history_from_server`](crate::Client::history_from_server) brings them.
    Gap {
        /// The conversation.
        conversation: ConversationId,
        /// Which.
        gap: Gap,
    },
    /// This device was away for so long that what happened meanwhile is not told message by message: a
    /// [`Gap`](Self::Gap) for each conversation follows.
    Skipped,
    /// Somebody is writing, or has stopped.
    Typing {
        /// Where.
        conversation: ConversationId,
        /// Who.
        uin: Uin,
        /// Whether they are.
        active: bool,
    },
    /// How accounts appear that this client subscribed to.
    Presence(Vec<v2::Presence>),
    /// How the devices of this account appear, after a change of this one.
    OwnPresence(v2::PresenceRecord),
    /// The members of a group changed. One may be lost, and its versions show it:
    /// a group's `watch` mends that by itself.
    GroupDelta(v2::GroupDelta),
    /// A change of a type this version does not know.
    Other(v2::SyncPacket),
    /// A push that is no part of the inbox.
    Push(Packet),
    /// The reader was too slow: events other than [`Message`](Self::Message) were left out here. What they said
    /// is in [`Client::state`](crate::Client::state), [`Client::outcome`](crate::Client::outcome) and
    /// [`Client::marks`](crate::Client::marks).
    Lagged,
}

/// A message of the inbox: of another account, or of another device of this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Rises with every message as long as the server has its store, also one that was put back from a backup. An application that keeps the last one together with what it did, and skips
    /// what is not above it, does everything exactly once.
    pub position: u64,
    /// The conversation.
    pub conversation: ConversationId,
    /// What it is: a message, or what is done to an earlier one.
    pub action: MessageAction,
    /// The message; of an edit its new body.
    pub stored: Stored,
    /// The trace it belongs to, if its sender keeps one. What is done because of it goes on from here.
    pub trace: Option<TraceContext>,
}

/// What an entry of a conversation does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MessageAction {
    /// It is a message.
    #[default]
    New,
    /// It gives an earlier message another body. What [`history`](crate::Client::history) shows of that one has
    /// changed already.
    Edit {
        /// The number of that message.
        target: u64,
    },
    /// It takes an earlier message back, whose body is erased.
    Recall {
        /// The number of that message.
        target: u64,
    },
}

impl From<Inbound> for Message {
    fn from(inbound: Inbound) -> Self {
        let trace = inbound.trace();
        let Inbound { position, conversation, message } = inbound;
        let target = message.target_seq;
        let action = match message.action() {
            v2::Action::Message => MessageAction::New,
            v2::Action::Edit => MessageAction::Edit { target },
            v2::Action::Recall => MessageAction::Recall { target },
        };
        Self { position, conversation, action, stored: message.into(), trace }
    }
}

#[derive(Default)]
struct State {
    items: VecDeque<Event>,
    /// Whether somebody has the stream.
    taken: bool,
    /// Counts the streams there were: a page read for an earlier one is not for this one.
    stream: u64,
    /// The last message in `items`, or before them.
    last: Option<Place>,
    /// There are messages on the disk behind `last`.
    behind: bool,
    reading: bool,
    /// To be said once the messages that are still on the disk have been told.
    caught_up: bool,
    lagged: bool,
    ended: bool,
    waker: Option<Waker>,
}

/// Unlocks, then wakes: whatever a waker runs or drops may want the lock too.
fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// What the driver's side puts events into.
#[derive(Default)]
pub(super) struct Queue(Mutex<State>);

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panics with the lock held leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message, on the disk at this place.
    pub(super) fn message(&self, place: Place, inbound: Inbound) {
        let mut state = self.lock();
        if state.ended || state.last.is_some_and(|last| place <= last) {
            return; // It was read from the disk before it was told.
        }
        if !state.taken || state.behind || state.reading || state.items.len() >= MAX_EVENTS {
            state.behind = true;
        } else {
            state.last = Some(place);
            state.items.push_back(Event::Message(inbound.into()));
        }
        wake(state);
    }

    /// Anything else.
    pub(super) fn push(&self, event: Event) {
        let mut state = self.lock();
        if !state.taken || state.ended {
            return;
        }
        match event {
            Event::CaughtUp if state.behind || state.reading => {
                state.caught_up = true;
                return;
            }
            Event::Offline { .. } => state.caught_up = false,
            _ => {}
        }
        if state.items.len() < MAX_EVENTS {
            state.items.push_back(event);
        } else {
            state.lagged = true;
        }
        wake(state);
    }

    /// The end.
    pub(super) fn end(&self, why: Ended) {
        let mut state = self.lock();
        if !state.ended {
            state.ended = true;
            state.items.push_back(Event::Ended(why));
        }
        wake(state);
    }

    /// A page that was read for this stream.
    fn page(&self, stream: u64, page: Vec<(Place, Inbound)>) {
        let mut state = self.lock();
        if state.stream != stream {
            return;
        }
        state.reading = false;
        if page.len() >= PAGE {
            state.behind = true;
        }
        // Before the end, if that came meanwhile.
        let end = if state.ended { state.items.pop_back() } else { None };
        for (place, inbound) in page {
            state.last = Some(place);
            state.items.push_back(Event::Message(inbound.into()));
        }
        if !state.behind && std::mem::take(&mut state.caught_up) {
            state.items.push_back(Event::CaughtUp);
        }
        state.items.extend(end);
        wake(state);
    }

    fn poll(self: &Arc<Self>, cx: &mut Context<'_>, inner: &Inner) -> Poll<Option<Event>> {
        let waker = cx.waker().clone();
        let mut state = self.lock();
        // Room for a page, even if everything else goes on.
        let read = state.behind && !state.reading && !state.ended && state.items.len() + PAGE <= MAX_EVENTS;
        if read {
            state.behind = false;
            state.reading = true;
            let after = state.last.unwrap_or(Place::START);
            let reading = Reading { queue: Some(Arc::clone(self)), stream: state.stream };
            // The guard of an unrun question takes the lock.
            drop(state);
            let (shared, commands) = (Arc::downgrade(&inner.shared), inner.commands.downgrade());
            inner.shared.store.read_always(move |store| match store.unconfirmed(after, PAGE) {
                Ok(page) => reading.done(page),
                // No message is left out: without these it is over.
                Err(error) => {
                    if let Some(shared) = shared.upgrade() {
                        shared.end(Ended::Stopped(Stopped::Store(error)));
                    }
                    if let Some(commands) = commands.upgrade() {
                        // A driver that is gone is closed.
                        let _ = commands.send_blocking(Command::Call(CallId(0), core::Command::Close));
                    }
                }
            });
            state = self.lock();
        }
        if let Some(mut event) = state.items.pop_front() {
            drop(state);
            if let Event::Message(message) = &mut event {
                inner.shared.taken(message);
            }
            return Poll::Ready(Some(event));
        }
        if std::mem::take(&mut state.lagged) {
            return Poll::Ready(Some(Event::Lagged));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        let old = state.waker.replace(waker);
        drop(state);
        drop(old);
        Poll::Pending
    }
}

/// A page being read; one that is never run, because the store is closed, counts as read.
struct Reading {
    queue: Option<Arc<Queue>>,
    stream: u64,
}

impl Reading {
    fn done(mut self, page: Vec<(Place, Inbound)>) {
        if let Some(queue) = self.queue.take() {
            queue.page(self.stream, page);
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            queue.page(self.stream, Vec::new());
        }
    }
}

/// The events of a client, as a [`Stream`].
///
/// First come the messages that were not confirmed, then what happens. [`Event::Message`] is never left out: a
/// reader that falls behind gets messages from the disk. Other events are left out when it is far behind, which
/// [`Event::Lagged`] says. While it exists the client goes on, even if every [`Client`](crate::Client) is
/// dropped.
pub struct Events {
    inner: Arc<Inner>,
}

impl Events {
    pub(super) fn take(inner: &Arc<Inner>) -> Option<Self> {
        let mut state = inner.shared.events.lock();
        if std::mem::replace(&mut state.taken, true) {
            return None;
        }
        state.behind = true;
        drop(state);
        Some(Self { inner: Arc::clone(inner) })
    }

    /// The next event; `None` after [`Event::Ended`].
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.inner.shared.events.poll(cx, &self.inner)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let mut state = self.inner.shared.events.lock();
        let end = state.items.pop_back().filter(|event| matches!(event, Event::Ended(_)));
        // The next stream begins anew: with what is on the disk.
        let fresh = State {
            stream: state.stream + 1,
            ended: state.ended,
            items: end.into_iter().collect(),
            ..State::default()
        };
        let old = std::mem::replace(&mut *state, fresh);
        drop(state);
        drop(old);
    }
}
