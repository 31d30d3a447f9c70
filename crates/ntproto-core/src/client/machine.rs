//! The client machine: one connection at a time, and everything that outlives it.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use core::time::Duration;

use bytes::Bytes;
use ntproto_proto::v2;
use prost::Message as _;

use super::inbox::Inbox;
use super::outbox::{Expiry, Outbox};
use super::requests::{Requests, Waiting};
use super::session::{ClientConfig, Session};
use super::{
    Apply, ClientEvent, ClientTxn, Command, DEFAULT_DEADLINE, Down, Failure, Input, MAX_BODY, Misuse, OpId,
    OutboxEntry, Output, RequestId, Saved, SendOutcome, Stopped, StoreError,
};
use crate::code::ErrorCode;
use crate::endpoint::client::{self as conn, ClientEndpoint};
use crate::endpoint::{self, Closed, WaitReason};
use crate::ids::{ClientMsgId, ConversationId, DeviceId, SessionId, Uin};
use crate::liveness::Backoff;
use crate::rng::Rng;
use crate::time::{Instant, Now, UnixMillis};
use crate::tx::TxBuf;
use crate::wire::channel::Channel;
use crate::wire::packet::{Kind, Packet, PacketId};

/// The transport must be up within this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A session that held this long resets the backoff.
const SETTLED_AFTER: Duration = Duration::from_secs(10);
/// The last words of a connection may take this long to leave.
const FAREWELL: Duration = Duration::from_secs(1);
/// What is waited when the server says it can't store now and gives no time.
const UNAVAILABLE_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause a server can impose.
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
    Other,
}

/// An account's device: what an application embeds. See the [module](super) for its shape.
pub struct Client {
    session: Session,
    rng: Rng,
    link: Link,
    started: bool,
    stopped: Option<Stopped>,
    backoff: Backoff,
    settled_at: Option<Instant>,
    paused_until: Option<Instant>,
    outbox: Outbox,
    inbox: Inbox,
    requests: Requests,
    last_order: u64,
    last_op: u64,
    ops: BTreeMap<OpId, Op>,
    applying: bool,
    identity_saved: bool,
    out: VecDeque<Output>,
    online: bool,
    told_caught_up: bool,
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
        Self {
            session: Session::new(config, saved.identity.is_some(), saved.ticket),
            rng: Rng::new(seed),
            link: Link::None,
            started: false,
            stopped: None,
            backoff,
            settled_at: None,
            paused_until: None,
            last_order: saved.outbox.iter().map(|e| e.order).fold(saved.last_order, u64::max),
            outbox: Outbox::restore(now, saved.outbox),
            inbox,
            requests: Requests::default(),
            last_op: 0,
            ops: BTreeMap::new(),
            applying: false,
            identity_saved: saved.identity.is_some(),
            out,
            online: false,
            told_caught_up: false,
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

    /// Messages in the outbox.
    #[must_use]
    pub fn outbox_len(&self) -> usize {
        self.outbox.len()
    }

    /// Takes what the host brings. Never fails: noise ends the connection, as an event.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        match input {
            Input::StoreDone(op, result) => self.store_done(now, op, result),
            Input::Timeout => self.tick(now),
            Input::NetworkChanged => {
                if let Link::Backoff(_) = self.link {
                    self.backoff.reset();
                    self.connect(now);
                }
            }
            Input::Connected(binding) => {
                if let Link::Connecting(_) = self.link {
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
            Command::Send { conversation, client_msg_id, body, deadline } => {
                self.enqueue(now, conversation, client_msg_id, body, deadline)?
            }
            Command::Request { packet, body, deadline } => self.ask(now, packet, body, deadline)?,
            Command::Confirm(position) => {
                self.store(ClientTxn::Confirm(position), Op::Other);
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
        if let Some(output) = self.out.pop_front() {
            return output;
        }
        if let (Some(tx), Link::Up(endpoint) | Link::Farewell(endpoint, ..)) = (tx, &mut self.link) {
            if let endpoint::Output::Transmit { channel } = endpoint.poll_output(now, Some(tx)) {
                self.settle(now);
                return Output::Transmit { channel };
            }
            // An event can't be lost here: settle() drained them all before.
            self.settle(now);
            if let Some(output) = self.out.pop_front() {
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
            (self.outbox.deadline(), WaitReason::Deadline),
            (self.paused_until, WaitReason::RetryAfter),
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
                self.out.push_back(Output::Disconnect(ErrorCode::Timeout));
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
        if passed(self.paused_until) {
            self.paused_until = None;
        }
        if self.online && passed(self.session.refresh_at) {
            // One request; if it goes unanswered the server ends the session with its own code.
            self.session.refresh_at = None;
            let _ = self.endpoint_call(now, conn::Command::RefreshTicket);
        }
        while let Some((request, failure)) = self.requests.expired(now.mono) {
            self.event(ClientEvent::Response { request, result: Err(failure) });
        }
        while let Some(expiry) = self.outbox.expired(now.mono) {
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
        loop {
            let event = match &mut self.link {
                Link::Up(endpoint) => endpoint.poll_output(now, None),
                _ => break,
            };
            match event {
                endpoint::Output::Event(event) => self.endpoint_event(now, event),
                endpoint::Output::Transmit { .. } | endpoint::Output::Wait { .. } => break,
            }
        }
        if matches!(&self.link, Link::Farewell(endpoint, ..) if !endpoint.has_pending()) {
            self.after_farewell(true);
        }
        self.pump(now);
    }

    // ── connection ──────────────────────────────────────────────────────────────────────────────

    fn connect(&mut self, now: Now) {
        self.link = Link::Connecting(now.mono + CONNECT_TIMEOUT);
        self.out.push_back(Output::Connect { attempt: self.backoff.retries() });
    }

    fn authenticate(&mut self, now: Now, binding: crate::binding::Binding) {
        let endpoint = self.session.request(now.unix).and_then(|request| {
            let config = &self.session.config;
            ClientEndpoint::new(
                now,
                conn::Config {
                    provider: config.provider,
                    server_static: config.server_static,
                    heartbeat: config.heartbeat,
                    binding,
                },
                &config.device,
                request,
                &mut self.rng,
            )
            .ok()
        });
        match endpoint {
            Some(endpoint) => self.link = Link::Up(Box::new(endpoint)),
            None => {
                self.out.push_back(Output::Disconnect(ErrorCode::Internal));
                self.link = Link::None;
                self.stop(now, Stopped::Configuration);
            }
        }
    }

    fn endpoint_event(&mut self, now: Now, event: conn::Event) {
        match event {
            conn::Event::Granted(grant) => self.granted(now, grant),
            conn::Event::Refused(refusal) => self.refused(now, &refusal),
            conn::Event::Ticket(ticket) => self.keep_ticket(now, ticket),
            conn::Event::Packet(channel, packet) => self.packet(now, channel, packet),
            conn::Event::Closed(why) => self.closed(now, why),
        }
    }

    fn granted(&mut self, now: Now, grant: v2::Grant) {
        let (Some(session), Some(device)) =
            (SessionId::from_slice(&grant.session_id), DeviceId::from_slice(&grant.device_id))
        else {
            return; // The handshake checked both lengths.
        };
        let uin = Uin(grant.uin);
        self.session.adopt_clock(now.unix, grant.server_time_ms);
        self.session.enrolled = true;
        self.session.retried = false;
        self.inbox.set_identity(uin, device);
        if !self.identity_saved {
            self.identity_saved = true;
            self.store(ClientTxn::SaveIdentity(uin, device), Op::Other);
        }
        if let Some(ticket) = grant.ticket {
            self.keep_ticket(now, ticket);
        }
        self.online = true;
        self.told_caught_up = false;
        self.settled_at = Some(now.mono + SETTLED_AFTER);
        self.event(ClientEvent::Online { session, uin, device });
    }

    fn keep_ticket(&mut self, now: Now, ticket: v2::Ticket) {
        self.session.keep_ticket(now.mono, ticket.clone(), &mut self.rng);
        self.store(ClientTxn::SaveTicket(Some(ticket)), Op::Other);
    }

    /// The server refused. What can be mended is mended and tried at once, one time.
    fn refused(&mut self, now: Now, refusal: &v2::Refusal) {
        let code = ErrorCode::from_wire(refusal.code);
        let mended = match code {
            Some(ErrorCode::ClockSkew) => {
                self.session.adopt_clock(now.unix, refusal.server_time_ms);
                true
            }
            Some(ErrorCode::TicketExpired | ErrorCode::BadCredential) if self.session.used_ticket => {
                self.store(ClientTxn::SaveTicket(None), Op::Other);
                self.session.drop_ticket()
            }
            // The ephemeral key is new with every attempt.
            Some(ErrorCode::Replay) => true,
            Some(
                code @ (ErrorCode::BadCredential
                | ErrorCode::Revoked
                | ErrorCode::RegistrationClosed
                | ErrorCode::Version
                | ErrorCode::Forbidden
                | ErrorCode::BadRequest),
            ) => {
                self.stop(now, Stopped::Refused(code));
                return;
            }
            _ => false,
        };
        if mended && !core::mem::replace(&mut self.session.retried, true) {
            self.out.push_back(Output::Disconnect(ErrorCode::Normal));
            self.connect(now);
        }
    }

    /// The endpoint ended. Its last words leave first.
    fn closed(&mut self, now: Now, why: Closed) {
        self.offline();
        let Link::Up(endpoint) = core::mem::replace(&mut self.link, Link::None) else { return };
        if why == Closed::Peer(Some(ErrorCode::Superseded)) {
            self.stop(now, Stopped::Superseded);
            return;
        }
        if matches!(why, Closed::Peer(Some(ErrorCode::Revoked))) {
            self.stop(now, Stopped::Refused(ErrorCode::Revoked));
            return;
        }
        let retry_in = self.backoff.next(&mut self.rng);
        let retry_at = now.mono + retry_in;
        self.event(ClientEvent::Offline { why: Down::Closed(why), retry_in });
        if endpoint.has_pending() {
            self.link = Link::Farewell(endpoint, now.mono + FAREWELL, Some(retry_at));
        } else {
            self.out.push_back(Output::Disconnect(why.code()));
            self.link = Link::Backoff(retry_at);
        }
    }

    fn after_farewell(&mut self, disconnect: bool) {
        if disconnect {
            self.out.push_back(Output::Disconnect(ErrorCode::Normal));
        }
        let retry_at = match &self.link {
            Link::Farewell(_, _, retry_at) => *retry_at,
            _ => None,
        };
        self.link = match (self.stopped, retry_at) {
            (None, Some(at)) => Link::Backoff(at),
            _ => Link::None,
        };
        if let Some(why) = self.stopped {
            self.event(ClientEvent::Stopped(why));
        }
    }

    fn down(&mut self, now: Now, why: Down) {
        let retry_in = self.backoff.next(&mut self.rng);
        self.link = Link::Backoff(now.mono + retry_in);
        self.event(ClientEvent::Offline { why, retry_in });
    }

    /// What ends with a connection.
    fn offline(&mut self) {
        self.online = false;
        self.settled_at = None;
        self.session.refresh_at = None;
        self.outbox.disconnected();
        self.inbox.disconnected();
        for waiting in self.requests.clear() {
            if let Waiting::App(request) = waiting {
                self.event(ClientEvent::Response { request, result: Err(Failure::Disconnected) });
            }
        }
    }

    /// The end. Told once its last words have left.
    fn stop(&mut self, now: Now, why: Stopped) {
        if self.stopped.is_some() {
            return;
        }
        self.stopped = Some(why);
        self.offline();
        match core::mem::replace(&mut self.link, Link::None) {
            Link::Up(mut endpoint) => {
                // An endpoint that ended by itself refuses; it has said what it had to.
                let _ = endpoint.call(now, conn::Command::Close(ErrorCode::Normal));
                self.link = Link::Farewell(endpoint, now.mono + FAREWELL, None);
            }
            farewell @ Link::Farewell(..) => self.link = farewell,
            Link::Connecting(_) => {
                self.out.push_back(Output::Disconnect(ErrorCode::Normal));
                self.event(ClientEvent::Stopped(why));
            }
            Link::None | Link::Backoff(_) => self.event(ClientEvent::Stopped(why)),
        }
    }

    fn endpoint_call(&mut self, now: Now, command: conn::Command) -> Result<(), endpoint::Misuse> {
        match &mut self.link {
            Link::Up(endpoint) if self.online => endpoint.call(now, command),
            _ => Err(endpoint::Misuse::State),
        }
    }

    // ── packets ─────────────────────────────────────────────────────────────────────────────────

    fn packet(&mut self, now: Now, channel: Channel, packet: Packet) {
        let answer = match packet.kind {
            Kind::Push if packet.id == PacketId::NOTIFY => {
                match v2::Notify::decode(packet.body) {
                    Ok(v2::Notify { position, previous, packet: Some(change) }) => {
                        self.inbox.push(position, previous, Some(change));
                        self.collect_own();
                    }
                    _ => self.break_off(now),
                }
                return;
            }
            Kind::Push => return self.event(ClientEvent::Push(packet)),
            Kind::Request(id) => {
                // The server asks nothing in this version.
                let code = ErrorCode::UnknownPacket;
                let body = v2::Error { code: code as u32, ..Default::default() }.encode_to_vec().into();
                let refusal =
                    Packet { id: packet.id, kind: Kind::Error(id), deadline_ms: None, trace: None, body };
                let _ = self.endpoint_call(now, conn::Command::Send(channel, refusal));
                return;
            }
            Kind::Response(id) => (id, Ok(packet.body)),
            Kind::Error(id) => (id, Err(v2::Error::decode(packet.body).unwrap_or_default())),
        };
        // An answer nobody awaits any more (its deadline passed) is dropped.
        let Some(waiting) = self.requests.take(answer.0) else { return };
        match (waiting, answer.1) {
            (Waiting::App(request), Ok(body)) => {
                self.event(ClientEvent::Response { request, result: Ok(body) });
            }
            (Waiting::App(request), Err(e)) => {
                self.event(ClientEvent::Response { request, result: Err(refusal(e)) });
            }
            (Waiting::Send(order), Ok(body)) => match v2::SendResponse::decode(body) {
                Ok(response) => self.sent(order, &response),
                Err(_) => self.break_off(now),
            },
            (Waiting::Send(order), Err(e)) => self.send_refused(now, order, e),
            (Waiting::Sync, Ok(body)) => {
                let caught_up = v2::SyncResponse::decode(body).ok().and_then(|page| self.inbox.page(page));
                self.collect_own();
                if caught_up.is_none() {
                    self.break_off(now);
                }
            }
            (Waiting::Sync, Err(e)) => {
                self.pause(now, &e);
                self.inbox.sync_failed();
            }
            (Waiting::Delivered(sent), Ok(_)) => {
                self.inbox.receipts_sent(&sent);
                self.store(ClientTxn::ReceiptsSent(sent), Op::Other);
            }
            (Waiting::Delivered(sent), Err(e)) => match ErrorCode::from_wire(e.code) {
                Some(ErrorCode::RetryAfter | ErrorCode::Unavailable) => {
                    self.pause(now, &e);
                    self.inbox.receipts_failed();
                }
                // The server will never take these.
                _ => self.inbox.receipts_sent(&sent),
            },
        }
    }

    /// The server answers nonsense: end the connection and try again.
    fn break_off(&mut self, now: Now) {
        let _ = self.endpoint_call(now, conn::Command::Close(ErrorCode::BadRequest));
    }

    fn sent(&mut self, order: u64, response: &v2::SendResponse) {
        if !response.duplicate {
            self.inbox.push(response.position, response.previous, None);
        }
        self.stored_at_server(order, response.conv_seq, response.stored_ms);
    }

    fn stored_at_server(&mut self, order: u64, conv_seq: u64, stored_ms: u64) {
        if let Some(conversation) = self.outbox.conversation(order) {
            self.resolve(order, SendOutcome::Stored { conversation, conv_seq, stored_ms });
        }
    }

    /// Messages of this device met in the inbox settle the outbox too: their answer was lost.
    fn collect_own(&mut self) {
        while let Some(message) = self.inbox.next_own() {
            let id = ClientMsgId::from_slice(&message.client_msg_id);
            if let Some(order) = id.and_then(|id| self.outbox.order_of(&id)) {
                self.stored_at_server(order, message.conv_seq, message.stored_ms);
            }
        }
    }

    fn resolve(&mut self, order: u64, outcome: SendOutcome) {
        if let Some(settled) = self.outbox.settle(order, outcome) {
            self.inbox.settle(settled);
        }
    }

    fn send_refused(&mut self, now: Now, order: u64, e: v2::Error) {
        match ErrorCode::from_wire(e.code) {
            Some(ErrorCode::RetryAfter | ErrorCode::Unavailable) => {
                self.pause(now, &e);
                self.outbox.again(order);
            }
            Some(ErrorCode::DeadlineExceeded) => self.outbox.expire_now(order),
            Some(ErrorCode::Cancelled) => {
                self.resolve(order, SendOutcome::Failed(Failure::DeadlineExceeded));
            }
            _ => self.resolve(order, SendOutcome::Failed(refusal(e))),
        }
    }

    fn pause(&mut self, now: Now, e: &v2::Error) {
        let asked = Duration::from_millis(e.retry_after_ms.into());
        let pause = if asked.is_zero() { UNAVAILABLE_PAUSE } else { asked.min(MAX_PAUSE) };
        self.paused_until = Some(now.mono + pause);
    }

    /// Sends what can be sent, writes what can be written.
    fn pump(&mut self, now: Now) {
        if !self.applying && let Some(apply) = self.inbox.next_apply() {
            self.applying = true;
            self.store(ClientTxn::Apply(apply.clone()), Op::Apply(apply));
        }
        if !self.online || self.paused_until.is_some() {
            return;
        }
        if self.inbox.is_caught_up() && !self.told_caught_up && !self.applying {
            self.told_caught_up = true;
            self.event(ClientEvent::CaughtUp);
        }
        if let Some(request) = self.inbox.next_sync() {
            self.request(now, Channel::Sync, PacketId::SYNC, request.encode_to_vec(), Waiting::Sync, None, None);
        }
        if let Some(owed) = self.inbox.next_receipts() {
            let watermarks = owed
                .iter()
                .map(|(conversation, seq)| v2::Watermark {
                    conversation: Bytes::copy_from_slice(&conversation.0),
                    delivered_seq: *seq,
                })
                .collect();
            let body = v2::DeliveredRequest { watermarks }.encode_to_vec();
            self.request(now, Channel::Message, PacketId::DELIVERED, body, Waiting::Delivered(owed), None, None);
        }
        while self.outbox.has_ready() && self.room(Channel::Message) {
            let Some(sending) = self.outbox.next(now) else { break };
            let entry = sending.entry;
            let body = v2::SendRequest {
                conversation: Bytes::copy_from_slice(&entry.conversation.0),
                client_msg_id: Bytes::copy_from_slice(&entry.client_msg_id.0),
                body: if sending.resolve_only { Bytes::new() } else { entry.body },
                resolve_only: sending.resolve_only,
            };
            let waiting = Waiting::Send(entry.order);
            let body = body.encode_to_vec();
            self.request(now, Channel::Message, PacketId::SEND, body, waiting, None, sending.deadline_ms);
        }
    }

    fn room(&self, channel: Channel) -> bool {
        matches!(&self.link, Link::Up(endpoint) if endpoint.waiting(channel) < endpoint::QUEUE_LIMIT)
    }

    /// Sends a request and remembers who awaits its answer; on a full queue it fails as if refused.
    #[allow(clippy::too_many_arguments)]
    fn request(
        &mut self,
        now: Now,
        channel: Channel,
        id: PacketId,
        body: alloc::vec::Vec<u8>,
        waiting: Waiting,
        deadline: Option<Instant>,
        deadline_ms: Option<u32>,
    ) {
        let request_id = self.requests.add(waiting, deadline);
        let packet = Packet { id, kind: Kind::Request(request_id), deadline_ms, trace: None, body: body.into() };
        if self.endpoint_call(now, conn::Command::Send(channel, packet)).is_err() {
            match self.requests.take(request_id) {
                Some(Waiting::Send(order)) => {
                    self.outbox.again(order);
                    self.paused_until = Some(now.mono + UNAVAILABLE_PAUSE);
                }
                Some(Waiting::Sync) => self.inbox.sync_failed(),
                Some(Waiting::Delivered(_)) => self.inbox.receipts_failed(),
                Some(Waiting::App(request)) => {
                    self.event(ClientEvent::Response { request, result: Err(Failure::Disconnected) });
                }
                None => {}
            }
        }
    }

    // ── the application's side ──────────────────────────────────────────────────────────────────

    fn next_request(&mut self) -> RequestId {
        self.last_order += 1;
        RequestId(self.last_order)
    }

    fn enqueue(
        &mut self,
        now: Now,
        conversation: ConversationId,
        client_msg_id: Option<ClientMsgId>,
        body: Bytes,
        deadline: Option<Duration>,
    ) -> Result<RequestId, Misuse> {
        if body.len() > MAX_BODY {
            return Err(Misuse::TooLarge);
        }
        if let (Some((me, _)), Some((a, b))) = (self.identity(), conversation.members())
            && me != a
            && me != b
        {
            return Err(Misuse::NotMember);
        }
        let client_msg_id = client_msg_id.unwrap_or_else(|| ClientMsgId(self.rng.array()));
        let entry = OutboxEntry {
            order: self.last_order + 1,
            client_msg_id,
            conversation,
            body,
            expires: deadline.map(|d| UnixMillis(now.unix.0) + d),
        };
        self.outbox.add(entry.clone(), deadline.map(|d| now.mono + d))?;
        self.last_order = entry.order;
        self.store(ClientTxn::Enqueue(entry), Op::Enqueue(self.last_order));
        Ok(RequestId(self.last_order))
    }

    fn ask(
        &mut self,
        now: Now,
        packet: PacketId,
        body: Bytes,
        deadline: Option<Duration>,
    ) -> Result<RequestId, Misuse> {
        if body.len() > MAX_BODY {
            return Err(Misuse::TooLarge);
        }
        if !self.online {
            return Err(Misuse::State);
        }
        if !self.requests.has_room() || !self.room(Channel::Message) {
            return Err(Misuse::TooManyRequests);
        }
        let request = self.next_request();
        let deadline = deadline.unwrap_or(DEFAULT_DEADLINE);
        let ms = u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX);
        let at = Some(now.mono + deadline);
        self.request(now, Channel::Message, packet, body.to_vec(), Waiting::App(request), at, Some(ms));
        Ok(request)
    }

    // ── the local disk ──────────────────────────────────────────────────────────────────────────

    fn store(&mut self, txn: ClientTxn, op: Op) {
        self.last_op += 1;
        let id = OpId(self.last_op);
        self.ops.insert(id, op);
        self.out.push_back(Output::Store(id, txn));
    }

    fn store_done(&mut self, now: Now, id: OpId, result: Result<(), StoreError>) {
        let Some(op) = self.ops.remove(&id) else { return };
        match (op, result) {
            (Op::Enqueue(order), Ok(())) => {
                if let Some(client_msg_id) = self.outbox.stored(order) {
                    self.event(ClientEvent::Queued { request: RequestId(order), client_msg_id });
                }
            }
            (Op::Enqueue(order), Err(e)) => {
                let settled = self.outbox.settle(order, SendOutcome::Failed(Failure::Store(e)));
                self.outbox.remove(order);
                if let Some(settled) = settled {
                    let (request, client_msg_id) = (RequestId(order), settled.client_msg_id);
                    self.event(ClientEvent::SendFailed { request, client_msg_id, why: Failure::Store(e) });
                }
            }
            (Op::Apply(apply), Ok(())) => self.applied(apply),
            // What was taken over is not on the disk: only a restart from the disk is safe.
            (Op::Apply(_) | Op::Other, Err(e)) => self.stop(now, Stopped::Store(e)),
            (Op::Other, Ok(())) => {}
        }
    }

    fn applied(&mut self, apply: Apply) {
        self.applying = false;
        self.inbox.applied(&apply);
        for inbound in apply.messages {
            self.event(ClientEvent::Message(inbound));
        }
        for receipt in apply.receipts {
            self.event(ClientEvent::Receipt(receipt));
        }
        for (_, packet) in apply.others {
            self.event(ClientEvent::Other(packet));
        }
        for settled in apply.settled {
            self.outbox.remove(settled.order);
            let (request, client_msg_id) = (RequestId(settled.order), settled.client_msg_id);
            self.event(match settled.outcome {
                SendOutcome::Stored { conversation, conv_seq, stored_ms } => {
                    ClientEvent::Sent { request, client_msg_id, conversation, conv_seq, stored_ms }
                }
                SendOutcome::Failed(why) => ClientEvent::SendFailed { request, client_msg_id, why },
            });
        }
    }

    fn event(&mut self, event: ClientEvent) {
        self.out.push_back(Output::Event(event));
    }
}

fn refusal(e: v2::Error) -> Failure {
    Failure::Refused(ErrorCode::from_wire(e.code), e.detail)
}
