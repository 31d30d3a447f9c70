//! The client machine: one connection at a time, and everything that outlives it.

mod connection;
mod disk;
mod packets;
mod presence;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::inbox::Inbox;
use super::outbox::{Cancel, Expiry, Outbox};
use super::presence::Presence;
use super::requests::Requests;
use super::session::{ClientConfig, Session};
use super::{
    Apply, ClientEvent, ClientTxn, Command, DEFAULT_DEADLINE, Down, Failure, Input, MAX_BODY, Misuse, OpId,
    OutboxEntry, Output, RequestId, Saved, SendAction, SendOutcome, Stopped,
};
use crate::binding::TransportId;
use crate::code::ErrorCode;
use crate::endpoint::client::{self as conn, ClientEndpoint};
use crate::endpoint::{self, WaitReason};
use crate::ids::{ClientMsgId, ConversationId, DeviceId, SessionId, Uin};
use crate::liveness::Backoff;
use crate::presence::State;
use crate::rng::Rng;
use crate::session::bearer::Bearer;
use crate::time::{Instant, Now, UnixMillis};
use crate::trace::TraceContext;
use crate::tx::TxBuf;
use crate::wire::channel::Channel;
use crate::wire::packet::PacketId;

/// The transport must be up within this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A bootstrap before it may take this long in addition.
const BOOTSTRAP_TIMEOUT: Duration = Duration::from_secs(10);
/// A session that held this long resets the backoff.
const SETTLED_AFTER: Duration = Duration::from_secs(10);
/// The last words of a connection may take this long to leave.
const FAREWELL: Duration = Duration::from_secs(1);
/// What is waited when the server says it can't store now and gives no time.
const UNAVAILABLE_PAUSE: Duration = Duration::from_secs(1);
/// The longest wait a server can impose.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// The connection, as far as there is one.
enum Link {
    /// Not started, or over.
    None,
    /// Waiting to try again.
    Backoff(Instant),
    /// The host brings up a transport.
    Connecting(Instant),
    /// A transport is up.
    Up(Box<ClientEndpoint>),
    /// Over; its last words are leaving, until the first instant at the latest. Then the wait to the
    /// second one, if there is a next time.
    Farewell(Box<ClientEndpoint>, Instant, Option<Instant>),
}

/// A store operation under way.
enum Op {
    Enqueue(u64),
    Apply(Apply),
    Read(Vec<(ConversationId, u64)>),
    Other,
}

/// An account's device: what an application embeds. See the [module](super) for its shape.
pub struct Client {
    session: Session,
    rng: Rng,
    link: Link,
    started: bool,
    stopped: Option<Stopped>,
    told_stopped: bool,
    backoff: Backoff,
    settled_at: Option<Instant>,
    /// The server can't store now: nothing is sent to it.
    paused_until: Option<Instant>,
    /// It told a SYNC to come again then.
    sync_at: Option<Instant>,
    /// It told a DELIVERED to come again then.
    receipts_at: Option<Instant>,
    outbox: Outbox,
    inbox: Inbox,
    presence: Presence,
    requests: Requests,
    last_order: u64,
    last_op: u64,
    ops: BTreeMap<OpId, Op>,
    applying: bool,
    /// Read marks are being written.
    reading: bool,
    identity_saved: bool,
    out: VecDeque<Output>,
    /// `Connect` and `Disconnect` in `out`: until the host has taken them, what it says of the transport is
    /// about one that is over for this machine.
    turning: usize,
    online: bool,
    /// What carries the connection, or carried the last one.
    transport: TransportId,
    told_caught_up: bool,
    /// The session there is, or was last.
    session_id: Option<SessionId>,
}

impl Client {
    /// A client with what its disk holds. Messages not yet confirmed are told again, first of all.
    #[must_use]
    pub fn new(config: ClientConfig, mut saved: Saved, seed: [u8; 32], now: Now) -> Self {
        let mut out = VecDeque::new();
        for inbound in core::mem::take(&mut saved.unconfirmed) {
            out.push_back(Output::Event(ClientEvent::Message(inbound)));
        }
        let inbox = Inbox::restore(&mut saved);
        let backoff = Backoff::new(config.jitter);
        let online = config.appear_online;
        Self {
            session: Session::new(config, saved.identity.is_some(), saved.ticket),
            rng: Rng::new(seed),
            link: Link::None,
            started: false,
            stopped: None,
            told_stopped: false,
            backoff,
            settled_at: None,
            paused_until: None,
            sync_at: None,
            receipts_at: None,
            last_order: saved.outbox.iter().map(|e| e.order).fold(saved.last_order, u64::max),
            outbox: Outbox::restore(now, saved.outbox),
            inbox,
            presence: Presence::new(online),
            requests: Requests::default(),
            last_op: 0,
            ops: BTreeMap::new(),
            applying: false,
            reading: false,
            identity_saved: saved.identity.is_some(),
            out,
            turning: 0,
            online: false,
            transport: TransportId::Quic,
            told_caught_up: false,
            session_id: None,
        }
    }

    /// Who this device is, once enrolled.
    #[must_use]
    pub const fn identity(&self) -> Option<(Uin, DeviceId)> {
        self.inbox.identity()
    }

    /// Whether it is authenticated now.
    #[must_use]
    pub const fn is_online(&self) -> bool {
        self.online
    }

    /// What HTTP requests show to act for the present session. `None`: there is none, or it is not bound to its
    /// transport yet. It is good for as long as the session is.
    #[must_use]
    pub fn http_token(&self) -> Option<Bearer> {
        let Link::Up(endpoint) = &self.link else { return None };
        let token = endpoint.http_token().filter(|_| self.online)?.duplicate();
        Some(Bearer { session_id: self.session_id?.0, token })
    }

    /// Messages in the outbox.
    #[must_use]
    pub fn outbox_len(&self) -> usize {
        self.outbox.len()
    }

    /// Whether the server owes it an answer.
    #[must_use]
    pub fn awaits_answer(&self) -> bool {
        self.online && !self.requests.is_empty()
    }

    /// Whether it has a connection that [`Input::Moved`] would move: one that it is leaving stays where it is.
    #[must_use]
    pub const fn can_move(&self) -> bool {
        matches!(self.link, Link::Up(_)) && self.turning == 0
    }

    /// How far it is, for the drawing of its states.
    #[cfg(test)]
    pub(super) fn stage(&self) -> &'static str {
        use crate::endpoint::rules::Phase;
        match (&self.link, self.stopped.is_some()) {
            (Link::None, false) => "Idle",
            (Link::None, true) if self.told_stopped => "Stopped",
            (Link::None, true) => "Stopping",
            (Link::Backoff(_), _) => "Backoff",
            (Link::Connecting(_), _) => "Connecting",
            (Link::Up(endpoint), _) if endpoint.phase() == Phase::Greeting => "Greeting",
            (Link::Up(_), _) if !self.told_caught_up => "Syncing",
            (Link::Up(_), _) => "Online",
            (Link::Farewell(..), false) => "Farewell",
            (Link::Farewell(..), true) => "Farewell (last)",
        }
    }

    /// Takes what the host brings. Never fails: noise ends the connection, as an event.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        match input {
            Input::Connected(_)
            | Input::Bound(_)
            | Input::Moved(_)
            | Input::Disconnected
            | Input::Bytes { .. }
            | Input::Writable(_)
                if self.turning > 0 => {}
            Input::StoreDone(op, result) => self.store_done(now, op, result),
            Input::Timeout => self.tick(now),
            Input::NetworkChanged => match &mut self.link {
                Link::Backoff(_) => {
                    self.backoff.reset();
                    self.connect(now);
                }
                // The last words come first; the wait after them is over.
                Link::Farewell(_, _, Some(retry_at)) => {
                    self.backoff.reset();
                    *retry_at = now.mono;
                }
                _ => {}
            },
            Input::Connected(binding) => match &self.link {
                Link::Connecting(_) => self.authenticate(now, binding),
                //= spec: handshake-18
                Link::Up(endpoint) if endpoint.is_early() => self.authenticate(now, binding),
                _ => {}
            },
            Input::Bootstrapped(fresh) => self.session.bootstrapped(fresh),
            Input::Bound(binding) => {
                if let Link::Up(endpoint) = &mut self.link {
                    endpoint.handle(now, endpoint::Input::Bound(binding));
                }
            }
            Input::Moved(binding) => {
                //= spec: liveness-3
                if let Link::Up(_) = self.link {
                    self.offline(now);
                    self.authenticate(now, binding);
                }
            }
            Input::Disconnected => match &mut self.link {
                Link::Connecting(_) => self.down(now, Down::Unreachable),
                Link::Up(endpoint) => endpoint.handle(now, endpoint::Input::TransportClosed),
                Link::Farewell(..) => self.after_farewell(false),
                Link::None | Link::Backoff(_) => {}
            },
            Input::Bytes { channel, data } => {
                if let Link::Up(endpoint) = &mut self.link {
                    endpoint.handle(now, endpoint::Input::Bytes { channel, data });
                }
            }
            Input::Writable(set) => {
                if let Link::Up(endpoint) | Link::Farewell(endpoint, ..) = &mut self.link {
                    endpoint.handle(now, endpoint::Input::Writable(set));
                }
            }
        }
        self.settle(now);
    }

    /// Does what the application asks.
    ///
    /// # Errors
    /// [`Misuse`]; nothing has changed.
    pub fn call(&mut self, now: Now, command: Command) -> Result<RequestId, Misuse> {
        if self.stopped.is_some() {
            return Err(Misuse::State);
        }
        let request = match command {
            Command::Start if self.started => return Err(Misuse::State),
            Command::Start => {
                self.started = true;
                self.connect(now);
                self.next_request()
            }
            Command::Send { conversation, client_msg_id, body, deadline, action, trace } => {
                self.enqueue(now, conversation, client_msg_id, body, deadline, action, trace)?
            }
            Command::Read { conversation, seq } => {
                self.member_of(conversation)?;
                self.inbox.reads(conversation, seq);
                self.next_request()
            }
            Command::Request { packet, body, deadline, trace } => {
                self.ask(now, packet, body, deadline, trace)?
            }
            Command::SetPresence(state) => {
                let request = self.set_presence(now, state, true)?;
                self.presence.online = state == State::Online;
                request
            }
            Command::Cancel(id) => {
                self.cancel(&id)?;
                self.next_request()
            }
            Command::Confirm(position) => {
                if self.inbox.is_told(position) {
                    self.store(ClientTxn::Confirm(position), Op::Other);
                }
                self.next_request()
            }
            Command::RefreshTicket => {
                self.endpoint_call(now, conn::Command::RefreshTicket).map_err(|_| Misuse::State)?;
                self.next_request()
            }
            Command::UpdateKeys => {
                self.endpoint_call(now, conn::Command::UpdateKeys).map_err(|_| Misuse::State)?;
                self.next_request()
            }
            Command::Close => {
                self.stop(now, Stopped::Closed);
                self.next_request()
            }
        };
        self.settle(now);
        Ok(request)
    }

    /// What it wants next. `tx: None`: the transport takes nothing now.
    pub fn poll_output(&mut self, now: Now, tx: Option<&mut TxBuf>) -> Output {
        if self.wait().0.is_some_and(|at| now.mono >= at) {
            self.tick(now);
            self.settle(now);
        }
        if let Some(output) = self.next_out() {
            return output;
        }
        if let (Some(tx), Link::Up(endpoint) | Link::Farewell(endpoint, ..)) = (tx, &mut self.link) {
            match endpoint.poll_output(now, Some(tx)) {
                endpoint::Output::Transmit { channel } => {
                    self.settle(now);
                    return Output::Transmit { channel };
                }
                // Sending can end a connection: its keys may be used up.
                endpoint::Output::Event(event) if matches!(self.link, Link::Up(_)) => {
                    self.endpoint_event(now, event);
                }
                endpoint::Output::Event(_) | endpoint::Output::Wait { .. } => {}
            }
            self.settle(now);
            if let Some(output) = self.next_out() {
                return output;
            }
        }
        let (at, why) = self.wait();
        Output::Wait { at, why }
    }

    fn wait(&self) -> (Option<Instant>, WaitReason) {
        let link = match &self.link {
            Link::None => (None, WaitReason::Idle),
            Link::Backoff(at) => (Some(*at), WaitReason::Backoff),
            Link::Connecting(at) | Link::Farewell(_, at, _) => (Some(*at), WaitReason::Connect),
            Link::Up(endpoint) => endpoint.wait(),
        };
        [
            link,
            (self.settled_at, WaitReason::Settled),
            (self.session.refresh_at.filter(|_| self.online), WaitReason::TicketRefresh),
            (self.requests.deadline(), WaitReason::Deadline),
            (self.outbox.deadline().filter(|_| self.stopped.is_none()), WaitReason::Deadline),
            (self.paused_until, WaitReason::RetryAfter),
            (self.sync_at, WaitReason::RetryAfter),
            (self.receipts_at, WaitReason::RetryAfter),
            (self.requests.resumes_at(), WaitReason::RetryAfter),
            (self.outbox.resumes_at().filter(|_| self.stopped.is_none()), WaitReason::RetryAfter),
        ]
        .into_iter()
        .filter(|(at, _)| at.is_some())
        .min_by_key(|(at, _)| *at)
        .unwrap_or((None, WaitReason::Idle))
    }

    fn tick(&mut self, now: Now) {
        let passed = |at: Option<Instant>| at.is_some_and(|at| now.mono >= at);
        match &mut self.link {
            Link::Backoff(at) if passed(Some(*at)) => self.connect(now),
            Link::Connecting(at) if passed(Some(*at)) => {
                self.turn(Output::Disconnect(ErrorCode::Timeout));
                self.down(now, Down::Unreachable);
            }
            Link::Farewell(_, at, _) if passed(Some(*at)) => self.after_farewell(true),
            Link::Up(endpoint) => endpoint.handle(now, endpoint::Input::Timeout),
            _ => {}
        }
        if passed(self.settled_at) {
            self.settled_at = None;
            self.backoff.reset();
        }
        for pause in [&mut self.paused_until, &mut self.sync_at, &mut self.receipts_at] {
            *pause = pause.filter(|at| now.mono < *at);
        }
        self.requests.resume(now.mono);
        self.outbox.resume(now.mono);
        if self.online && passed(self.session.refresh_at) {
            // One request; if it goes unanswered the server ends the session with its own code.
            self.session.refresh_at = None;
            let _ = self.endpoint_call(now, conn::Command::RefreshTicket);
        }
        while let Some(request) = self.requests.expired(now.mono) {
            self.respond(now, request, Err(Failure::DeadlineExceeded));
        }
        while self.stopped.is_none()
            && let Some(expiry) = self.outbox.expired(now.mono)
        {
            match expiry {
                Expiry::Unsent(order) => self.resolve(order, SendOutcome::Failed(Failure::DeadlineExceeded)),
                Expiry::Unknown(order, client_msg_id) => {
                    self.event(ClientEvent::SendExpired { request: RequestId(order), client_msg_id });
                }
            }
        }
    }

    /// Brings everything to rest after a change: endpoint events in, work out.
    fn settle(&mut self, now: Now) {
        while let Link::Up(endpoint) = &mut self.link {
            match endpoint.poll_output(now, None) {
                endpoint::Output::Event(event) => self.endpoint_event(now, event),
                endpoint::Output::Transmit { .. } | endpoint::Output::Wait { .. } => break,
            }
        }
        if matches!(&self.link, Link::Farewell(endpoint, ..) if !endpoint.has_pending()) {
            self.after_farewell(true);
        }
        if self.stopped.is_none() {
            self.pump(now);
        } else {
            self.conclude();
        }
    }

    fn next_request(&mut self) -> RequestId {
        self.last_order += 1;
        RequestId(self.last_order)
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of `Command::Send`")]
    fn enqueue(
        &mut self,
        now: Now,
        conversation: ConversationId,
        client_msg_id: Option<ClientMsgId>,
        body: Bytes,
        deadline: Option<Duration>,
        action: SendAction,
        trace: Option<TraceContext>,
    ) -> Result<RequestId, Misuse> {
        if body.len() > self.session.max_body {
            return Err(Misuse::TooLarge);
        }
        self.member_of(conversation)?;
        let body = if let SendAction::Recall(_) = action { Bytes::new() } else { body };
        let client_msg_id = client_msg_id.unwrap_or_else(|| ClientMsgId(self.rng.array()));
        let entry = OutboxEntry {
            order: self.last_order + 1,
            client_msg_id,
            conversation,
            body,
            expires: deadline.map(|d| UnixMillis(now.unix.0) + d),
            action,
            trace,
        };
        self.outbox.add(entry.clone(), deadline.map(|d| now.mono + d))?;
        self.last_order = entry.order;
        self.store(ClientTxn::Enqueue(entry), Op::Enqueue(self.last_order));
        Ok(RequestId(self.last_order))
    }

    /// Of a group only the server knows.
    fn member_of(&self, conversation: ConversationId) -> Result<(), Misuse> {
        match (self.identity(), conversation.members()) {
            (Some((me, _)), Some((a, b))) if me != a && me != b => Err(Misuse::NotMember),
            _ => Ok(()),
        }
    }

    fn ask(
        &mut self,
        now: Now,
        packet: PacketId,
        body: Bytes,
        deadline: Option<Duration>,
        trace: Option<TraceContext>,
    ) -> Result<RequestId, Misuse> {
        let request = RequestId(self.last_order + 1);
        self.ask_as(now, request, packet, body, deadline, trace)?;
        self.last_order += 1;
        Ok(request)
    }

    fn ask_as(
        &mut self,
        now: Now,
        request: RequestId,
        packet: PacketId,
        body: Bytes,
        deadline: Option<Duration>,
        trace: Option<TraceContext>,
    ) -> Result<(), Misuse> {
        if body.len() > MAX_BODY {
            return Err(Misuse::TooLarge);
        }
        if !self.online {
            return Err(Misuse::State);
        }
        if !self.requests.has_room(body.len()) || !self.room(Channel::Message) {
            return Err(Misuse::TooManyRequests);
        }
        let deadline = now.mono + deadline.unwrap_or(DEFAULT_DEADLINE);
        self.requests.ask(request, packet, body, deadline, trace);
        self.ask_all(now);
        Ok(())
    }

    /// Gives a message up.
    fn cancel(&mut self, id: &ClientMsgId) -> Result<(), Misuse> {
        match self.outbox.cancel(id).ok_or(Misuse::UnknownId)? {
            Cancel::Unsent(order) => self.resolve(order, SendOutcome::Failed(Failure::Cancelled)),
            //= spec: packets-5
            Cancel::Unknown { entry, told } => {
                let (request, client_msg_id) = (RequestId(entry.order), entry.client_msg_id);
                // After a restart, too, it is only asked after.
                self.store(ClientTxn::Enqueue(entry), Op::Other);
                if !told {
                    self.event(ClientEvent::SendExpired { request, client_msg_id });
                }
            }
            Cancel::Again => {}
        }
        Ok(())
    }

    /// Wants another transport, or none.
    fn turn(&mut self, output: Output) {
        self.turning += 1;
        self.out.push_back(output);
    }

    fn next_out(&mut self) -> Option<Output> {
        let output = self.out.pop_front()?;
        self.turning -= usize::from(matches!(output, Output::Connect { .. } | Output::Disconnect(_)));
        Some(output)
    }

    fn event(&mut self, event: ClientEvent) {
        self.out.push_back(Output::Event(event));
    }
}
