//! Packets out and answers in.

use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use ntproto_proto::v2;
use prost::Message as _;

use super::{Client, Link, MAX_PAUSE, Op, UNAVAILABLE_PAUSE};
use crate::client::requests::{Asking, Waiting};
use crate::client::{ClientEvent, ClientTxn, Failure, SendOutcome, Target};
use crate::code::ErrorCode;
use crate::endpoint::{self, client as conn};
use crate::ids::ClientMsgId;
use crate::time::Now;
use crate::trace::TraceContext;
use crate::wire::channel::Channel;
use crate::wire::packet::{Kind, Packet, PacketId};

/// What a request says besides what it asks.
#[derive(Clone, Copy, Default)]
pub(super) struct Terms {
    deadline_ms: Option<u32>,
    trace: Option<TraceContext>,
}

impl Client {
    pub(super) fn packet(&mut self, now: Now, channel: Channel, packet: Packet) {
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
            Kind::Push if packet.id == PacketId::DIRTY => return self.inbox.dirty(),
            Kind::Push => return self.event(pushed(packet)),
            Kind::Request(id) => {
                // The server asks nothing in this version.
                //= spec: packets-4
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
        let first = matches!(waiting, Waiting::FirstPage);
        match (waiting, answer.1) {
            (Waiting::App(request), Ok(body)) => {
                self.requests.done(request);
                self.respond(now, request, Ok(body));
            }
            //= spec: packets-10
            (Waiting::App(request), Err(e))
                if code(&e) == Some(ErrorCode::RetryAfter)
                    && self.requests.again_at(request, now.mono + asked_wait(&e)) =>
            {
                self.event(ClientEvent::Deferred { request });
            }
            (Waiting::App(request), Err(e)) => {
                self.requests.done(request);
                self.respond(now, request, Err(refusal(e)));
            }
            (Waiting::Send(order), Ok(body)) => match v2::SendResponse::decode(body) {
                Ok(response) => self.sent(order, &response),
                Err(_) => self.break_off(now),
            },
            (Waiting::Send(order), Err(e)) => self.send_refused(now, order, e),
            (Waiting::Sync | Waiting::FirstPage, Ok(body)) => {
                let page = v2::SyncResponse::decode(body).ok();
                let caught_up = page.and_then(|page| self.inbox.page(page, first));
                self.collect_own();
                if caught_up.is_none() {
                    self.break_off(now);
                }
            }
            (waiting @ (Waiting::Sync | Waiting::FirstPage | Waiting::Snapshot), Err(e)) => {
                match (code(&e), &waiting) {
                    (Some(ErrorCode::RetryAfter), _) => self.sync_at = Some(now.mono + asked_wait(&e)),
                    (Some(ErrorCode::Unavailable), _) | (_, Waiting::Sync | Waiting::FirstPage) => {
                        self.pause(now, &e)
                    }
                    _ => return self.inbox.snapshot_refused(),
                }
                match waiting {
                    Waiting::Snapshot => self.inbox.snapshot_failed(),
                    _ => self.inbox.sync_failed(),
                }
            }
            (Waiting::Snapshot, Ok(body)) => {
                if self.inbox.snapshot_page(body).is_none() {
                    self.break_off(now);
                }
            }
            (Waiting::Delivered(sent), Ok(_)) => {
                self.inbox.receipts_sent(&sent);
                self.store(ClientTxn::ReceiptsSent(sent), Op::Other);
            }
            (Waiting::Delivered(sent), Err(e)) => match code(&e) {
                Some(ErrorCode::RetryAfter) => {
                    self.receipts_at = Some(now.mono + asked_wait(&e));
                    self.inbox.receipts_failed();
                }
                Some(ErrorCode::Unavailable) => {
                    self.pause(now, &e);
                    self.inbox.receipts_failed();
                }
                // The server will never take these: nor are they owed after a restart.
                _ => {
                    if self.inbox.receipts_refused(&sent) {
                        self.store(ClientTxn::ReceiptsSent(sent), Op::Other);
                    }
                }
            },
        }
    }

    /// The server answers nonsense: end the connection and try again.
    pub(super) fn break_off(&mut self, now: Now) {
        let _ = self.endpoint_call(now, conn::Command::Close(ErrorCode::BadRequest));
    }

    pub(super) fn sent(&mut self, order: u64, response: &v2::SendResponse) {
        if !response.duplicate {
            self.inbox.push(response.position, response.previous, None);
        }
        self.stored_at_server(order, response.conv_seq, response.stored_ms);
    }

    pub(super) fn stored_at_server(&mut self, order: u64, conv_seq: u64, stored_ms: u64) {
        if let Some(conversation) = self.outbox.conversation(order) {
            self.resolve(order, SendOutcome::Stored { conversation, conv_seq, stored_ms });
        }
    }

    /// Messages of this device met in the inbox settle the outbox too: their answer was lost.
    pub(super) fn collect_own(&mut self) {
        while let Some(message) = self.inbox.next_own() {
            let id = ClientMsgId::from_slice(&message.client_msg_id);
            if let Some(order) = id.and_then(|id| self.outbox.order_of(&id)) {
                self.stored_at_server(order, message.conv_seq, message.stored_ms);
            }
        }
    }

    pub(super) fn resolve(&mut self, order: u64, outcome: SendOutcome) {
        let mut all = Vec::from([order]);
        while let Some(order) = all.pop() {
            let Some(settled) = self.outbox.settle(order, outcome.clone()) else { continue };
            self.inbox.settle(settled);
            if let SendOutcome::Failed(_) = outcome {
                all.extend(self.outbox.about(order));
            }
        }
    }

    pub(super) fn send_refused(&mut self, now: Now, order: u64, e: v2::Error) {
        match code(&e) {
            //= spec: messages-13
            Some(ErrorCode::RetryAfter) => self.outbox.again_at(order, now.mono + asked_wait(&e)),
            Some(ErrorCode::Unavailable) => {
                self.pause(now, &e);
                self.outbox.again(order);
            }
            Some(ErrorCode::DeadlineExceeded) => self.outbox.expire_now(order),
            Some(ErrorCode::Cancelled) => {
                let why = match self.outbox.is_cancelled(order) {
                    true => Failure::Cancelled,
                    false => Failure::DeadlineExceeded,
                };
                self.resolve(order, SendOutcome::Failed(why));
            }
            //= spec: errors-1
            _ => self.resolve(order, SendOutcome::Failed(refusal(e))),
        }
    }

    /// The server can't store: nothing is asked of it for a while.
    pub(super) fn pause(&mut self, now: Now, e: &v2::Error) {
        self.paused_until = Some(now.mono + asked_wait(e));
    }

    /// Sends what can be sent, writes what can be written.
    pub(super) fn pump(&mut self, now: Now) {
        if !self.applying
            && let Some(apply) = self.inbox.next_apply()
        {
            self.applying = true;
            //= spec: messages-16
            self.store(ClientTxn::Apply(apply.clone()), Op::Apply(apply));
        }
        if !self.reading
            && let Some(reads) = self.inbox.next_reads()
        {
            self.reading = true;
            self.store(ClientTxn::Read(reads.clone()), Op::Read(reads));
        }
        if !self.online {
            return;
        }
        self.ask_all(now);
        if self.paused_until.is_some() {
            return;
        }
        if self.inbox.is_caught_up() && !self.told_caught_up && !self.applying {
            self.told_caught_up = true;
            self.event(ClientEvent::CaughtUp);
        }
        if self.sync_at.is_none()
            && let Some(request) = self.inbox.next_sync()
        {
            let body = request.encode_to_vec().into();
            self.request(now, Channel::Sync, PacketId::SYNC, body, Waiting::Sync, Terms::default());
        }
        if self.sync_at.is_none()
            && let Some((packet, body)) = self.inbox.next_snapshot()
        {
            self.request(now, packet.channel(), packet, body, Waiting::Snapshot, Terms::default());
        }
        if self.receipts_at.is_none()
            && let Some(owed) = self.inbox.next_receipts()
        {
            let watermarks = owed
                .iter()
                .map(|(conversation, owed)| v2::Watermark {
                    conversation: Bytes::copy_from_slice(&conversation.0),
                    delivered_seq: owed.delivered,
                    read_seq: owed.read,
                })
                .collect();
            let body = v2::DeliveredRequest { watermarks }.encode_to_vec().into();
            let waiting = Waiting::Delivered(owed);
            self.request(now, Channel::Message, PacketId::DELIVERED, body, waiting, Terms::default());
        }
        while self.room(Channel::Message)
            && let Some(sending) = self.outbox.next(now)
        {
            let entry = sending.entry;
            let (target_seq, target_id) = match entry.action.target() {
                None => (0, Bytes::new()),
                Some(Target::Number(seq)) => (seq, Bytes::new()),
                Some(Target::Id(id)) => (0, Bytes::copy_from_slice(&id.0)),
            };
            let body = v2::SendRequest {
                conversation: Bytes::copy_from_slice(&entry.conversation.0),
                client_msg_id: Bytes::copy_from_slice(&entry.client_msg_id.0),
                body: if sending.resolve_only { Bytes::new() } else { entry.body },
                resolve_only: sending.resolve_only,
                action: entry.action.to_wire().into(),
                target_seq,
                target_id,
            };
            let waiting = Waiting::Send(entry.order);
            let body = body.encode_to_vec().into();
            let terms = Terms { deadline_ms: sending.deadline_ms, trace: entry.trace };
            self.request(now, Channel::Message, PacketId::SEND, body, waiting, terms);
        }
    }

    /// Sends the application's requests that are to be sent.
    pub(super) fn ask_all(&mut self, now: Now) {
        while self.room(Channel::Message)
            && self.room(Channel::Sync)
            && let Some(asking) = self.requests.next(now.mono)
        {
            let Asking { request, packet, body, deadline_ms, trace } = asking;
            let terms = Terms { deadline_ms: Some(deadline_ms), trace };
            self.request(now, packet.channel(), packet, body, Waiting::App(request), terms);
        }
    }

    pub(super) fn room(&self, channel: Channel) -> bool {
        matches!(&self.link, Link::Up(endpoint) if endpoint.waiting(channel) < endpoint::QUEUE_LIMIT)
    }

    /// Sends a request and remembers who awaits its answer; on a full queue it fails as if refused.
    pub(super) fn request(
        &mut self,
        now: Now,
        channel: Channel,
        id: PacketId,
        body: Bytes,
        waiting: Waiting,
        terms: Terms,
    ) {
        let request_id = self.requests.add(waiting);
        let Terms { deadline_ms, trace } = terms;
        let trace = trace.map(TraceContext::to_bytes);
        let packet = Packet { id, kind: Kind::Request(request_id), deadline_ms, trace, body };
        if self.endpoint_call(now, conn::Command::Send(channel, packet)).is_err() {
            match self.requests.take(request_id) {
                Some(Waiting::Send(order)) => {
                    self.outbox.again(order);
                    self.paused_until = Some(now.mono + UNAVAILABLE_PAUSE);
                }
                Some(Waiting::Sync | Waiting::FirstPage) => self.inbox.sync_failed(),
                Some(Waiting::Snapshot) => self.inbox.snapshot_failed(),
                Some(Waiting::Delivered(_)) => self.inbox.receipts_failed(),
                Some(Waiting::App(request)) => {
                    self.requests.done(request);
                    self.respond(now, request, Err(Failure::Disconnected));
                }
                None => {}
            }
        }
    }
}

/// A push that is no part of the inbox. One that can't be read is passed on as it came.
fn pushed(packet: Packet) -> ClientEvent {
    let body = packet.body.clone();
    let event = match packet.id {
        PacketId::TYPING => v2::TypingPush::decode(body).map(ClientEvent::Typing),
        PacketId::PRESENCE => v2::PresencePush::decode(body).map(|push| ClientEvent::Presence(push.states)),
        PacketId::GROUP_DELTA => v2::GroupDelta::decode(body).map(ClientEvent::GroupDelta),
        //= spec: packets-9
        _ => return ClientEvent::Push(packet),
    };
    event.unwrap_or(ClientEvent::Push(packet))
}

fn refusal(e: v2::Error) -> Failure {
    Failure::Refused(code(&e), e.detail)
}

const fn code(e: &v2::Error) -> Option<ErrorCode> {
    ErrorCode::from_wire(e.code)
}

/// How long the server asks to wait, within reason.
fn asked_wait(e: &v2::Error) -> Duration {
    match Duration::from_millis(e.retry_after_ms.into()) {
        Duration::ZERO => UNAVAILABLE_PAUSE,
        asked => asked.min(MAX_PAUSE),
    }
}
