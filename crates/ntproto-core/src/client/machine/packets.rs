//! Packets out and answers in.

use core::time::Duration;

use bytes::Bytes;
use ntproto_proto::v2;
use prost::Message as _;

use super::{Client, Link, Op, UNAVAILABLE_PAUSE};
use crate::client::requests::Waiting;
use crate::client::{ClientEvent, ClientTxn, Failure, SendOutcome};
use crate::code::ErrorCode;
use crate::endpoint::{self, client as conn};
use crate::ids::ClientMsgId;
use crate::time::{Instant, Now};
use crate::wire::channel::Channel;
use crate::wire::packet::{Kind, Packet, PacketId};

/// The longest pause a server can impose.
const MAX_PAUSE: Duration = Duration::from_secs(60);

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
            //= spec: packets-9
            Kind::Push => return self.event(ClientEvent::Push(packet)),
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
            (Waiting::Sync | Waiting::FirstPage, Ok(body)) => {
                let page = v2::SyncResponse::decode(body).ok();
                let caught_up = page.and_then(|page| self.inbox.page(page, first));
                self.collect_own();
                if caught_up.is_none() {
                    self.break_off(now);
                }
            }
            (Waiting::Sync | Waiting::FirstPage, Err(e)) => {
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
                // The server will never take these: nor are they owed after a restart.
                _ => {
                    self.inbox.receipts_sent(&sent);
                    self.store(ClientTxn::ReceiptsSent(sent), Op::Other);
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
        if let Some(settled) = self.outbox.settle(order, outcome) {
            self.inbox.settle(settled);
        }
    }

    pub(super) fn send_refused(&mut self, now: Now, order: u64, e: v2::Error) {
        match ErrorCode::from_wire(e.code) {
            Some(ErrorCode::RetryAfter | ErrorCode::Unavailable) => {
                self.pause(now, &e);
                self.outbox.again(order);
            }
            Some(ErrorCode::DeadlineExceeded) => self.outbox.expire_now(order),
            Some(ErrorCode::Cancelled) => {
                self.resolve(order, SendOutcome::Failed(Failure::DeadlineExceeded));
            }
            //= spec: errors-1
            _ => self.resolve(order, SendOutcome::Failed(refusal(e))),
        }
    }

    pub(super) fn pause(&mut self, now: Now, e: &v2::Error) {
        let asked = Duration::from_millis(e.retry_after_ms.into());
        let pause = if asked.is_zero() { UNAVAILABLE_PAUSE } else { asked.min(MAX_PAUSE) };
        self.paused_until = Some(now.mono + pause);
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
        if !self.online || self.paused_until.is_some() {
            return;
        }
        if self.inbox.is_caught_up() && !self.told_caught_up && !self.applying {
            self.told_caught_up = true;
            self.event(ClientEvent::CaughtUp);
        }
        if let Some(request) = self.inbox.next_sync() {
            self.request(
                now,
                Channel::Sync,
                PacketId::SYNC,
                request.encode_to_vec(),
                Waiting::Sync,
                None,
                None,
            );
        }
        if let Some(owed) = self.inbox.next_receipts() {
            let watermarks = owed
                .iter()
                .map(|(conversation, seq)| v2::Watermark {
                    conversation: Bytes::copy_from_slice(&conversation.0),
                    delivered_seq: *seq,
                    ..Default::default()
                })
                .collect();
            let body = v2::DeliveredRequest { watermarks }.encode_to_vec();
            self.request(
                now,
                Channel::Message,
                PacketId::DELIVERED,
                body,
                Waiting::Delivered(owed),
                None,
                None,
            );
        }
        while self.outbox.has_ready() && self.room(Channel::Message) {
            let Some(sending) = self.outbox.next(now) else { break };
            let entry = sending.entry;
            let body = v2::SendRequest {
                conversation: Bytes::copy_from_slice(&entry.conversation.0),
                client_msg_id: Bytes::copy_from_slice(&entry.client_msg_id.0),
                body: if sending.resolve_only { Bytes::new() } else { entry.body },
                resolve_only: sending.resolve_only,
                ..Default::default()
            };
            let waiting = Waiting::Send(entry.order);
            let body = body.encode_to_vec();
            self.request(now, Channel::Message, PacketId::SEND, body, waiting, None, sending.deadline_ms);
        }
    }

    pub(super) fn room(&self, channel: Channel) -> bool {
        matches!(&self.link, Link::Up(endpoint) if endpoint.waiting(channel) < endpoint::QUEUE_LIMIT)
    }

    /// Sends a request and remembers who awaits its answer; on a full queue it fails as if refused.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn request(
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
        let packet =
            Packet { id, kind: Kind::Request(request_id), deadline_ms, trace: None, body: body.into() };
        if self.endpoint_call(now, conn::Command::Send(channel, packet)).is_err() {
            match self.requests.take(request_id) {
                Some(Waiting::Send(order)) => {
                    self.outbox.again(order);
                    self.paused_until = Some(now.mono + UNAVAILABLE_PAUSE);
                }
                Some(Waiting::Sync | Waiting::FirstPage) => self.inbox.sync_failed(),
                Some(Waiting::Delivered(_)) => self.inbox.receipts_failed(),
                Some(Waiting::App(request)) => {
                    self.event(ClientEvent::Response { request, result: Err(Failure::Disconnected) });
                }
                None => {}
            }
        }
    }
}

fn refusal(e: v2::Error) -> Failure {
    Failure::Refused(ErrorCode::from_wire(e.code), e.detail)
}
