//! Packets to transactions, outcomes to answers.
//!
//! | file | packets |
//! | --- | --- |
//! | `messages` | SEND, DELIVERED, SYNC |
//! | `account` | DEVICES, REVOKE_DEVICE, INVITE |
//! | `acts` | people, groups, presence, history, administration: all that [`Act`](crate::store::Act) is |
//! | `typing` | TYPING |
//! | `checks` | what can be said against an act without the store |

mod account;
mod acts;
mod checks;
mod messages;
mod typing;

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use ntproto_core::code::ErrorCode;
use ntproto_core::dispatch::Table;
use ntproto_core::endpoint::rules::Phase;
use ntproto_core::ids::{DeviceId, Uin};
use ntproto_core::time::{Instant, Now, UnixMillis, whole_millis};
use ntproto_core::trace::{SpanId, TraceContext};
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::event::EventType;
use ntproto_core::wire::packet::{Kind, Packet, PacketId, TRACE_LEN};
use ntproto_proto::v2;
use prost::Message;

use crate::api::{ConnId, HubEvent, Served};
use crate::config::{RETRY_AFTER, UNAVAILABLE_RETRY};
use crate::conn::Session;
use crate::hub::{Hub, Op};
use crate::line::Wait;
use crate::store::txn::Append;
use crate::store::{Act, Outcome, StoreError, Txn};
use acts::Meaning;
use messages::Appended;
use typing::Typing;

/// Why a request is refused before the store is asked, and a word about it.
type Refused = (ErrorCode, &'static str);

/// A request as it was understood.
type Read = Result<(What, Txn), Refused>;

/// What reads a request: the transaction it asks for, and what to remember for the answer.
#[derive(Clone, Copy)]
pub(crate) struct Handler {
    channel: Channel,
    read: fn(&mut Hub, Asked) -> Read,
}

/// A request as it came.
pub(crate) struct Asked {
    to: Asker,
    session: Session,
    /// Server time.
    time: UnixMillis,
    /// Nobody waits for the answer after this.
    deadline: Option<Instant>,
    body: Bytes,
}

/// Every packet that is handled.
pub(crate) fn handlers() -> Table<Handler> {
    let mut table = Table::new();
    let mut add = |id, channel, read| {
        table.replace(id, Handler { channel, read });
    };
    add(PacketId::SEND, Channel::Message, messages::read_send);
    add(PacketId::DELIVERED, Channel::Message, messages::read_delivered);
    add(PacketId::SYNC, Channel::Sync, messages::read_sync);
    add(PacketId::DEVICES, Channel::Message, account::read_devices);
    add(PacketId::REVOKE_DEVICE, Channel::Message, account::read_revoke);
    add(PacketId::INVITE, Channel::Message, account::read_invite);
    add(PacketId::ADMIN_INVITE, Channel::Message, account::read_admin_invite);
    add(PacketId::TYPING, Channel::Message, typing::read_typing);
    for &packet in Act::PACKETS {
        add(packet, packet.channel(), acts::read_act);
    }
    table
}

/// What an answer is made of besides the outcome.
pub(crate) enum What {
    Send(Append),
    Delivered,
    /// Whether what is new in large groups is put into the inbox before.
    Sync(bool),
    Devices(DeviceId),
    Revoke(Uin, DeviceId),
    Invite([u8; 16], UnixMillis),
    Act(Meaning),
    Typing(Typing),
}

/// A request whose transaction is in the store.
pub(crate) struct Request {
    to: Asker,
    weight: usize,
    what: What,
}

impl Request {
    pub(crate) const fn conn(&self) -> ConnId {
        self.to.conn
    }
}

/// Whom an answer goes to.
#[derive(Clone, Copy)]
pub(crate) struct Asker {
    pub(crate) conn: ConnId,
    pub(crate) channel: Channel,
    pub(crate) id: PacketId,
    pub(crate) number: u32,
    pub(crate) traced: Option<Traced>,
}

/// A request whose asker keeps its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traced {
    /// As it came.
    asked: TraceContext,
    /// What the server does for it.
    span: SpanId,
    began: Instant,
    /// Of a message: whether it goes to a group.
    group: Option<bool>,
}

impl Traced {
    /// What comes of it goes on from here.
    fn context(self) -> TraceContext {
        self.asked.caused_by(self.span)
    }
}

impl Hub {
    /// A packet of a session.
    pub(crate) fn packet(&mut self, now: Now, id: ConnId, channel: Channel, packet: Packet) {
        // A server asks nothing and is told nothing: only requests have a meaning.
        let Kind::Request(number) = packet.kind else { return };
        let Some(conn) = self.conns.get(id).filter(|conn| conn.endpoint.phase() == Phase::Open) else {
            return;
        };
        let Some(session) = conn.session().copied() else { return };
        let busy = conn.requests >= self.config.max_requests
            || conn.bytes + packet.body.len() > self.config.max_request_bytes
            || (conn.syncing && packet.id == PacketId::SYNC);
        let traced = self.traced(now, packet.trace.as_ref());
        let mut to = Asker { conn: id, channel, id: packet.id, number, traced };
        // A message is counted when it is its turn: what waits behind another has drawn nothing.
        //= spec: limits-1
        if packet.id != PacketId::SEND
            && let Err(wait) = self.limits.request(now.mono, session.device)
        {
            return self.defer(now, to, wait, "too many requests");
        }
        if packet.id.is_application() {
            return self.ask_application(now, to, session, packet);
        }

        //= spec: admin-1
        if packet.id.is_admin() && !session.admin {
            return self.fail(now, to, (ErrorCode::Forbidden, "for administrators"));
        }
        //= spec: packets-4
        let Some(handler) = self.handlers.get(packet.id).copied() else {
            return self.fail(now, to, (ErrorCode::UnknownPacket, ""));
        };
        if handler.channel != channel {
            return self.fail(now, to, (ErrorCode::BadRequest, "not on this channel"));
        }
        if packet.deadline_ms == Some(0) {
            return self.fail(now, to, (ErrorCode::DeadlineExceeded, ""));
        }
        if self.draining() {
            return self.fail(now, to, (ErrorCode::Unavailable, "the server is going away"));
        }
        let time = self.clock.now(now.mono);
        let deadline = packet.deadline_ms.map(|ms| now.mono + Duration::from_millis(ms.into()));
        let asked = Asked { to, session, time, deadline, body: packet.body };
        let read = (handler.read)(self, asked);
        // What became of a message, and a message that is none, is a request like any other.
        let counts = match &read {
            Ok((What::Send(append), _)) => append.resolve_only,
            Ok(_) => false,
            Err(_) => packet.id == PacketId::SEND,
        };
        if counts && let Err(wait) = self.limits.request(now.mono, session.device) {
            return self.defer(now, to, wait, "too many requests");
        }
        let (what, mut txn) = match read {
            Ok(read) => read,
            Err(why) => return self.fail(now, to, why),
        };
        if let (Some(traced), What::Send(append)) = (&mut to.traced, &what) {
            traced.group = Some(append.conversation.group().is_some());
        }
        let weight = txn.weight();
        // What became of a message overtakes nothing.
        let sent = match &what {
            What::Send(append) if !append.resolve_only => Some((append.conversation, append.client_msg_id)),
            _ => None,
        };
        let busy = busy || !self.store_has_room(weight);
        if let Some(conn) = self.conns.get_mut(id) {
            match sent {
                //= spec: messages-12
                Some((talk, sent)) if busy => conn.line.again(now.mono, talk, sent, RETRY_AFTER),
                Some((talk, sent)) => match conn.line.enter(now.mono, talk, sent) {
                    Ok(before) => {
                        // Whoever is no member must not use up what the members have.
                        let member = talk.group().is_none_or(|group| self.groups.is_in(session.uin, group));
                        let drawn = member.then_some(talk);
                        if let Err(wait) = self.limits.message(now.mono, session.device, drawn) {
                            conn.line.again(now.mono, talk, sent, wait);
                            return self.defer(now, to, wait, "too many messages");
                        }
                        if let Txn::Append(append) = &mut txn {
                            append.after = before;
                        }
                    }
                    Err(Wait(wait)) => return self.defer(now, to, wait, "an earlier message comes first"),
                },
                None => {}
            }
        }
        if let What::Typing(typing) = &what
            && let Err(wait) = self.limits.typing(now.mono, session.device, typing.to)
        {
            return self.defer(now, to, wait, "typed a moment ago");
        }
        if busy {
            return self.fail(now, to, (ErrorCode::RetryAfter, "too much at once"));
        }
        if let Txn::Act { act, .. } = &txn
            && let Some(group) = act.tells_members()
            && let Err(wait) = self.limits.group(now.mono, session.uin, group)
        {
            return self.defer(now, to, wait, "too many changes of a group");
        }
        if let Some(conn) = self.conns.get_mut(id) {
            conn.requests += 1;
            conn.bytes += weight;
        }
        self.begins(to, &what);
        self.submit(Op::Request(Box::new(Request { to, weight, what })), txn, deadline);
    }

    /// The first page of the inbox, which early data asked for beside a session. It is read before anything shows
    /// that this is no replay: reading changes nothing, and only who holds the keys can read the answer.
    pub(crate) fn first_page(
        &mut self,
        now: Now,
        conn: ConnId,
        session: &Session,
        asked: Option<&v2::EarlyStart>,
    ) {
        let Some(v2::EarlyStart { sync: Some(sync), request_id: number }) = asked else { return };
        let to = Asker { conn, channel: Channel::Sync, id: PacketId::SYNC, number: *number, traced: None };
        let (what, txn) = match messages::page(self, session, sync, false) {
            Ok(read) => read,
            Err(why) => return self.fail(now, to, why),
        };
        let weight = txn.weight();
        if !self.store_has_room(weight) {
            return self.fail(now, to, (ErrorCode::RetryAfter, "too much at once"));
        }
        if let Some(conn) = self.conns.get_mut(conn) {
            conn.requests += 1;
            conn.bytes += weight;
            conn.syncing = true;
            conn.early_page = true;
        }
        self.submit(Op::Request(Box::new(Request { to, weight, what })), txn, None);
    }

    /// A span of a trace that the asker keeps. Of others nothing is kept, and no random number drawn.
    fn traced(&mut self, now: Now, trace: Option<&[u8; TRACE_LEN]>) -> Option<Traced> {
        //= spec: packets-11, packets-12
        let asked = TraceContext::from_bytes(trace?).filter(|trace| trace.is_sampled())?;
        let span = SpanId::from_random(self.rng.array());
        Some(Traced { asked, span, began: now.mono, group: None })
    }

    /// A request goes to the store.
    fn begins(&mut self, to: Asker, what: &What) {
        match what {
            What::Sync(place) => {
                self.groups.placing += usize::from(*place);
                if let Some(conn) = self.conns.get_mut(to.conn) {
                    conn.syncing = true;
                    conn.place = false;
                }
            }
            What::Act(meaning) => self.act_begins(to, meaning),
            _ => {}
        }
    }

    /// It comes back, done or refused.
    fn ends(&mut self, to: Asker, what: &What, result: &Result<Outcome, StoreError>) {
        match what {
            What::Sync(place) => {
                self.groups.placing -= usize::from(*place);
                if let Some(conn) = self.conns.get_mut(to.conn) {
                    conn.syncing = false;
                    // What the store did not put there, or not all of it, the next one asks for.
                    let all = matches!(result, Ok(Outcome::Page { has_more: false, .. }));
                    conn.place |= *place && !all;
                }
            }
            What::Act(meaning) => self.act_ends(to, meaning),
            _ => {}
        }
    }

    /// A transaction has ended: the answer goes to the asker, the news to everybody it concerns.
    pub(crate) fn request_answered(
        &mut self,
        now: Now,
        request: Request,
        result: Result<Outcome, StoreError>,
    ) {
        let Request { to, weight, what } = request;
        if let Some(conn) = self.conns.get_mut(to.conn) {
            conn.requests -= 1;
            conn.bytes -= weight;
            if let What::Send(append) = &what {
                match &result {
                    Err(error) if !error.is_refusal() || *error == StoreError::OutOfOrder => {
                        if !append.resolve_only {
                            let wait = store_wait(*error);
                            conn.line.again(now.mono, append.conversation, append.client_msg_id, wait);
                        }
                    }
                    _ => conn.line.ended(append.conversation, append.client_msg_id),
                }
            }
        }
        self.ends(to, &what, &result);
        match (what, result) {
            (What::Typing(typing), result) => self.typing(now, to, typing, &result),
            (_, Err(error)) => self.refused_by_store(now, to, error),
            (_, Ok(Outcome::Cancelled)) => self.refused_by_store(now, to, StoreError::Cancelled),
            //= spec: messages-4
            (
                What::Send(append),
                Ok(Outcome::Appended { conv_seq, stored, duplicate, entries, target_seq, dirty }),
            ) => {
                if let Some(group) = append.conversation.group().filter(|_| dirty && !duplicate) {
                    self.group_is_dirty(now, group, append.sender);
                }
                let appended = Appended { conv_seq, stored, duplicate, entries: &entries, target_seq };
                self.sent(now, to, append, &appended);
            }
            (What::Delivered, Ok(Outcome::Delivered { receipts })) => {
                self.answer(now, to, &v2::DeliveredResponse {});
                self.tell_receipts(now, &receipts);
            }
            (What::Sync(_), Ok(Outcome::Page { epoch, deltas, next, has_more })) => {
                let epoch = Bytes::copy_from_slice(&epoch);
                let page = v2::SyncResponse { epoch, deltas, next, has_more, too_long: false };
                self.answer(now, to, &page);
            }
            (What::Sync(_), Ok(Outcome::TooLong { epoch, next })) => {
                let epoch = Bytes::copy_from_slice(&epoch);
                let page = v2::SyncResponse { epoch, next, too_long: true, ..Default::default() };
                self.answer(now, to, &page);
            }
            (What::Devices(own), Ok(Outcome::Devices(devices))) => {
                let devices = devices.into_iter().map(|device| account::listed(device, own)).collect();
                self.answer(now, to, &v2::DevicesResponse { devices });
            }
            (What::Revoke(uin, device), Ok(Outcome::Revoked { .. })) => {
                self.answer(now, to, &v2::RevokeDeviceResponse {});
                self.end_sessions(now, uin, device);
            }
            (What::Invite(code, expires), Ok(Outcome::Done)) => {
                let code = Bytes::copy_from_slice(&code);
                self.answer(now, to, &v2::InviteResponse { code, expires_ms: expires.0 });
            }
            (What::Act(meaning), Ok(Outcome::Acted(acted))) => self.acted(now, to, meaning, acted),
            (_, Ok(_)) => self.fail(now, to, (ErrorCode::Internal, "the store answered something else")),
        }
    }

    /// Ends every session of a device that was revoked, whether it is confirmed or not.
    fn end_sessions(&mut self, now: Now, uin: Uin, device: DeviceId) {
        let of_device = |session: &Session| session.uin == uin && session.device == device;
        let sessions: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.session().is_some_and(of_device))
            .map(|(id, _)| id)
            .collect();
        for id in sessions {
            self.close(now, id, ErrorCode::Revoked);
        }
    }

    pub(crate) fn answer(&mut self, now: Now, to: Asker, body: &impl Message) {
        self.answer_bytes(now, to, body.encode_to_vec().into());
    }

    fn answer_bytes(&mut self, now: Now, to: Asker, body: Bytes) {
        self.reply(now, to, None, body);
    }

    pub(crate) fn fail(&mut self, now: Now, to: Asker, (code, detail): (ErrorCode, &str)) {
        let wait = match code {
            ErrorCode::RetryAfter => RETRY_AFTER,
            ErrorCode::Unavailable => UNAVAILABLE_RETRY,
            _ => Duration::ZERO,
        };
        self.refusal(now, to, code, detail, wait);
    }

    /// Asks for it again after `wait`.
    pub(crate) fn defer(&mut self, now: Now, to: Asker, wait: Duration, detail: &str) {
        self.refusal(now, to, ErrorCode::RetryAfter, detail, wait);
    }

    fn refusal(&mut self, now: Now, to: Asker, code: ErrorCode, detail: &str, wait: Duration) {
        let error =
            v2::Error { code: code as u32, detail: detail.into(), retry_after_ms: whole_millis(wait) };
        self.reply(now, to, Some(code), error.encode_to_vec().into());
    }

    fn refused_by_store(&mut self, now: Now, to: Asker, error: StoreError) {
        // What happened to the disk is the operator's business.
        let detail = if error.is_refusal() { error.to_string() } else { "the store failed".into() };
        self.refusal(now, to, error.code(), &detail, store_wait(error));
    }

    pub(crate) fn reply(&mut self, now: Now, to: Asker, refused: Option<ErrorCode>, body: Bytes) {
        let kind = match refused {
            None => Kind::Response(to.number),
            Some(_) => Kind::Error(to.number),
        };
        self.counts.answer(refused);
        if let Some(Traced { asked, span, began, group }) = to.traced {
            let lasted = now.mono.saturating_since(began);
            let served = Served { packet: to.id, trace: asked, span, lasted, refused, group };
            self.event(HubEvent::Served(served));
        }
        let packet = Packet { id: to.id, kind, deadline_ms: None, trace: None, body };
        self.send_answer(now, to.conn, to.channel, packet);
    }
}

/// After how long to ask the store again.
const fn store_wait(error: StoreError) -> Duration {
    match error {
        StoreError::OutOfOrder => RETRY_AFTER,
        error if error.is_refusal() => Duration::ZERO,
        _ => UNAVAILABLE_RETRY,
    }
}

fn read<M: Message + Default>(body: Bytes) -> Result<M, Refused> {
    //= spec: spec-1, spec-2
    M::decode(body).map_err(|_| (ErrorCode::BadRequest, "the body can't be decoded"))
}

/// A change as it travels.
fn change(event: EventType, body: &impl Message) -> v2::SyncPacket {
    v2::SyncPacket { event_type: event as u32, payload: body.encode_to_vec().into() }
}
