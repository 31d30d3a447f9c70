//! Packets to transactions, outcomes to answers.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use ntproto_core::code::ErrorCode;
use ntproto_core::dispatch::Table;
use ntproto_core::endpoint::rules::Phase;
use ntproto_core::ids::{ClientMsgId, ConversationId, DeviceId, Uin};
use ntproto_core::time::{Now, UnixMillis};
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::event::EventType;
use ntproto_core::wire::packet::{Kind, Packet, PacketId};
use ntproto_proto::v2;
use prost::Message;

use crate::api::ConnId;
use crate::config::{DEFAULT_INVITATION_LIFETIME, RETRY_AFTER, UNAVAILABLE_RETRY};
use crate::conn::Session;
use crate::hub::{Hub, Op};
use crate::line::Wait;
use crate::store::txn::{Append, Change, DeviceInfo, InboxPlace, ReceiptPlaced};
use crate::store::{Outcome, StoreError, Txn};

/// Why a request is refused before the store is asked, and a word about it.
type Refused = (ErrorCode, &'static str);

/// A request as it was understood.
type Read = Result<(What, Txn), Refused>;

/// What reads a request: the transaction it asks for, and what to remember for the answer.
#[derive(Clone, Copy)]
pub(crate) struct Handler {
    channel: Channel,
    read: fn(&mut Hub, UnixMillis, &Session, Bytes) -> Read,
}

/// Every packet that is handled.
pub(crate) fn handlers() -> Table<Handler> {
    let mut table = Table::new();
    let mut add = |id, channel, read| {
        table.replace(id, Handler { channel, read });
    };
    add(PacketId::SEND, Channel::Message, read_send);
    add(PacketId::DELIVERED, Channel::Message, read_delivered);
    add(PacketId::SYNC, Channel::Sync, read_sync);
    add(PacketId::DEVICES, Channel::Message, read_devices);
    add(PacketId::REVOKE_DEVICE, Channel::Message, read_revoke);
    add(PacketId::INVITE, Channel::Message, read_invite);
    table
}

/// What an answer is made of besides the outcome.
pub(crate) enum What {
    Send(Append),
    Delivered,
    Sync,
    Devices(DeviceId),
    Revoke(Uin, DeviceId),
    Invite([u8; 16], UnixMillis),
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
        let to = Asker { conn: id, channel, id: packet.id, number };
        if packet.id.is_application() {
            return self.ask_application(now, to, session, packet);
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
        let (what, mut txn) = match (handler.read)(self, time, &session, packet.body) {
            Ok(read) => read,
            Err(why) => return self.fail(now, to, why),
        };
        let weight = txn.weight();
        // What became of a message overtakes nothing.
        let sent = match &what {
            What::Send(append) if !append.resolve_only => Some(append.client_msg_id),
            _ => None,
        };
        let busy = busy || !self.store_has_room(weight);
        if let Some(conn) = self.conns.get_mut(id) {
            match sent {
                Some(sent) if busy => conn.line.again(now.mono, sent),
                Some(sent) => match conn.line.enter(now.mono, sent) {
                    Ok(before) => {
                        if let Txn::Append(append) = &mut txn {
                            append.after = before;
                        }
                    }
                    Err(Wait) => {
                        return self.fail(now, to, (ErrorCode::RetryAfter, "an earlier message comes first"));
                    }
                },
                None => {}
            }
        }
        if busy {
            return self.fail(now, to, (ErrorCode::RetryAfter, "too much at once"));
        }
        if let Some(conn) = self.conns.get_mut(id) {
            conn.requests += 1;
            conn.bytes += weight;
            conn.syncing |= matches!(what, What::Sync);
        }
        let deadline = packet.deadline_ms.map(|ms| now.mono + Duration::from_millis(ms.into()));
        self.submit(Op::Request(Request { to, weight, what }), txn, deadline);
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
        let to = Asker { conn, channel: Channel::Sync, id: PacketId::SYNC, number: *number };
        let (what, txn) = match page(self, session, sync) {
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
        }
        self.submit(Op::Request(Request { to, weight, what }), txn, None);
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
            conn.syncing &= !matches!(what, What::Sync);
            if let What::Send(append) = &what {
                match &result {
                    Err(error) if !error.is_refusal() || *error == StoreError::OutOfOrder => {
                        if !append.resolve_only {
                            conn.line.again(now.mono, append.client_msg_id);
                        }
                    }
                    _ => conn.line.ended(append.client_msg_id),
                }
            }
        }
        match (what, result) {
            (_, Err(error)) => self.refused_by_store(now, to, error),
            (_, Ok(Outcome::Cancelled)) => self.refused_by_store(now, to, StoreError::Cancelled),
            //= spec: messages-4
            (What::Send(append), Ok(Outcome::Appended { conv_seq, stored, duplicate, entries, .. })) => {
                self.sent(now, to, append, (conv_seq, stored, duplicate), &entries);
            }
            (What::Delivered, Ok(Outcome::Delivered { receipts })) => {
                self.answer(now, to, &v2::DeliveredResponse {});
                self.tell_receipts(now, &receipts);
            }
            (What::Sync, Ok(Outcome::Page { epoch, deltas, next, has_more })) => {
                let epoch = Bytes::copy_from_slice(&epoch);
                let page = v2::SyncResponse { epoch, deltas, next, has_more, too_long: false };
                self.answer(now, to, &page);
            }
            (What::Sync, Ok(Outcome::TooLong { epoch, next })) => {
                let epoch = Bytes::copy_from_slice(&epoch);
                let page = v2::SyncResponse { epoch, next, too_long: true, ..Default::default() };
                self.answer(now, to, &page);
            }
            (What::Devices(own), Ok(Outcome::Devices(devices))) => {
                let devices = devices.into_iter().map(|device| listed(device, own)).collect();
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
            (_, Ok(_)) => self.fail(now, to, (ErrorCode::Internal, "the store answered something else")),
        }
    }

    fn sent(
        &mut self,
        now: Now,
        to: Asker,
        append: Append,
        (conv_seq, stored, duplicate): (u64, UnixMillis, bool),
        entries: &[InboxPlace],
    ) {
        let own = entries.iter().find(|place| place.uin == append.sender);
        let answer = v2::SendResponse {
            conv_seq,
            stored_ms: stored.0,
            position: own.map_or(0, |place| place.position),
            previous: own.map_or(0, |place| place.previous),
            duplicate,
        };
        self.answer(now, to, &answer);
        if duplicate || entries.iter().all(|place| self.online.of(place.uin).is_empty()) {
            return;
        }
        let message = v2::StoredMessage {
            conversation: Bytes::copy_from_slice(&append.conversation.0),
            conv_seq,
            sender: append.sender.0,
            sender_device: Bytes::copy_from_slice(&append.device.0),
            client_msg_id: Bytes::copy_from_slice(&append.client_msg_id.0),
            stored_ms: stored.0,
            body: append.body,
            ..Default::default()
        };
        let change = change(EventType::Message, &message);
        for place in entries {
            // The asker has its place by the answer. Another connection of its device, made since,
            // has it by nothing else.
            self.notify(now, place, &change, Some(to.conn));
        }
    }

    fn tell_receipts(&mut self, now: Now, receipts: &[ReceiptPlaced]) {
        for ReceiptPlaced { place, receipt } in receipts {
            if !self.online.of(place.uin).is_empty() {
                self.notify(now, place, &change(EventType::Receipt, receipt), None);
            }
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

    fn answer(&mut self, now: Now, to: Asker, body: &impl Message) {
        self.reply(now, to, Kind::Response(to.number), body.encode_to_vec().into());
    }

    pub(crate) fn fail(&mut self, now: Now, to: Asker, (code, detail): (ErrorCode, &str)) {
        let wait = match code {
            ErrorCode::RetryAfter => RETRY_AFTER,
            ErrorCode::Unavailable => UNAVAILABLE_RETRY,
            _ => Duration::ZERO,
        };
        let retry_after_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        let error = v2::Error { code: code as u32, detail: detail.into(), retry_after_ms };
        self.reply(now, to, Kind::Error(to.number), error.encode_to_vec().into());
    }

    fn refused_by_store(&mut self, now: Now, to: Asker, error: StoreError) {
        // What happened to the disk is the operator's business.
        let detail = if error.is_refusal() { error.to_string() } else { "the store failed".into() };
        let wait = match error {
            StoreError::OutOfOrder => RETRY_AFTER,
            error if error.is_refusal() => Duration::ZERO,
            _ => UNAVAILABLE_RETRY,
        };
        let retry_after_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        let error = v2::Error { code: error.code() as u32, detail, retry_after_ms };
        self.reply(now, to, Kind::Error(to.number), error.encode_to_vec().into());
    }

    pub(crate) fn reply(&mut self, now: Now, to: Asker, kind: Kind, body: Bytes) {
        let packet = Packet { id: to.id, kind, deadline_ms: None, trace: None, body };
        self.send_answer(now, to.conn, to.channel, packet);
    }
}

fn read<M: Message + Default>(body: Bytes) -> Result<M, Refused> {
    //= spec: spec-1, spec-2
    M::decode(body).map_err(|_| (ErrorCode::BadRequest, "the body can't be decoded"))
}

/// A conversation that the session's account is a member of.
fn conversation(session: &Session, id: &[u8]) -> Result<ConversationId, Refused> {
    let id = ConversationId::from_slice(id).ok_or((ErrorCode::BadRequest, "a conversation has 16 bytes"))?;
    match id.members() {
        Some((a, b)) if a == session.uin || b == session.uin => Ok(id),
        //= spec: messages-2
        Some(_) => Err((ErrorCode::Forbidden, "not a member of this conversation")),
        None => Err((ErrorCode::NotFound, "no such conversation")),
    }
}

fn read_send(hub: &mut Hub, now: UnixMillis, session: &Session, body: Bytes) -> Read {
    let request: v2::SendRequest = read(body)?;
    let conversation = conversation(session, &request.conversation)?;
    let client_msg_id = ClientMsgId::from_slice(&request.client_msg_id)
        .ok_or((ErrorCode::BadRequest, "a client_msg_id has 16 bytes"))?;
    if request.body.len() > hub.config.max_body {
        return Err((ErrorCode::TooLarge, "the body is too large"));
    }
    let append = Append {
        //= spec: messages-1
        sender: session.uin,
        device: session.device,
        conversation,
        client_msg_id,
        after: None,
        action: Change::Message,
        body_hash: hub.keys.provider.sha256(&[&request.body]),
        //= spec: messages-3
        body: request.body,
        now,
        resolve_only: request.resolve_only,
    };
    Ok((What::Send(append.clone()), Txn::Append(append)))
}

fn read_delivered(hub: &mut Hub, _: UnixMillis, session: &Session, body: Bytes) -> Read {
    let request: v2::DeliveredRequest = read(body)?;
    if request.watermarks.len() > hub.config.max_watermarks {
        return Err((ErrorCode::TooLarge, "too many watermarks"));
    }
    let watermarks = request
        .watermarks
        .iter()
        .map(|mark| Ok((conversation(session, &mark.conversation)?, mark.delivered_seq)))
        .collect::<Result<Vec<_>, Refused>>()?;
    Ok((What::Delivered, Txn::Delivered { uin: session.uin, watermarks }))
}

fn read_sync(hub: &mut Hub, _: UnixMillis, session: &Session, body: Bytes) -> Read {
    page(hub, session, &read(body)?)
}

fn page(hub: &Hub, session: &Session, request: &v2::SyncRequest) -> Read {
    let epoch = match &request.epoch[..] {
        [] => None,
        epoch => Some(epoch.try_into().map_err(|_| (ErrorCode::BadRequest, "an epoch has 16 bytes"))?),
    };
    let txn = Txn::SyncPage {
        uin: session.uin,
        epoch,
        cursor: request.cursor,
        limit: request.limit.clamp(1, hub.config.sync_page),
        max_bytes: hub.config.sync_page_bytes,
        max_lag: hub.config.max_lag,
        place: false,
    };
    Ok((What::Sync, txn))
}

fn read_devices(_: &mut Hub, _: UnixMillis, session: &Session, body: Bytes) -> Read {
    let _: v2::DevicesRequest = read(body)?;
    Ok((What::Devices(session.device), Txn::Devices { uin: session.uin }))
}

fn read_revoke(_: &mut Hub, now: UnixMillis, session: &Session, body: Bytes) -> Read {
    let request: v2::RevokeDeviceRequest = read(body)?;
    let device_id = DeviceId::from_slice(&request.device_id)
        .ok_or((ErrorCode::BadRequest, "a device id has 16 bytes"))?;
    let uin = session.uin;
    Ok((What::Revoke(uin, device_id), Txn::RevokeDevice { uin, device_id, now }))
}

fn read_invite(hub: &mut Hub, now: UnixMillis, session: &Session, body: Bytes) -> Read {
    let request: v2::InviteRequest = read(body)?;
    if !session.may_invite {
        return Err((ErrorCode::Forbidden, "this account may not invite"));
    }
    if request.uses == 0 || request.uses > hub.config.max_invitation_uses {
        return Err((ErrorCode::BadRequest, "an invitation has too few or too many uses"));
    }
    let lifetime = match Duration::from_millis(request.lifetime_ms) {
        Duration::ZERO => DEFAULT_INVITATION_LIFETIME,
        lifetime if lifetime > hub.config.max_invitation_lifetime => {
            return Err((ErrorCode::BadRequest, "an invitation does not last so long"));
        }
        lifetime => lifetime,
    };
    let code: [u8; 16] = hub.rng.array();
    let expires = now + lifetime;
    let txn = Txn::CreateInvitation {
        by: Some(session.uin),
        code_hash: hub.keys.provider.sha256(&[&code]),
        uses: request.uses,
        expires,
        may_invite: request.may_invite,
        admin: false,
        account: None,
        audit: None,
    };
    Ok((What::Invite(code, expires), txn))
}

fn change(event: EventType, body: &impl Message) -> v2::SyncPacket {
    v2::SyncPacket { event_type: event as u32, payload: body.encode_to_vec().into() }
}

fn listed(device: DeviceInfo, own: DeviceId) -> v2::Device {
    v2::Device {
        device_id: Bytes::copy_from_slice(&device.id.0),
        name: device.name,
        created_ms: device.created.0,
        revoked: device.revoked.is_some(),
        current: device.id == own,
        admin: device.admin,
    }
}
