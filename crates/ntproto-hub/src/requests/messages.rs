//! Messages, watermarks and pages of an inbox.

use alloc::vec::Vec;

use bytes::Bytes;
use ntproto_core::code::ErrorCode;
use ntproto_core::ids::{ClientMsgId, ConversationId};
use ntproto_core::time::{Now, UnixMillis};
use ntproto_core::wire::event::EventType;
use ntproto_proto::v2;

use super::{Asker, Read, Refused, What, change, read};
use crate::conn::Session;
use crate::hub::Hub;
use crate::store::Txn;
use crate::store::txn::{Append, Change, InboxPlace, ReceiptPlaced, Watermark};

impl Hub {
    pub(super) fn sent(
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

    pub(super) fn tell_receipts(&mut self, now: Now, receipts: &[ReceiptPlaced]) {
        for ReceiptPlaced { place, receipt } in receipts {
            if !self.online.of(place.uin).is_empty() {
                self.notify(now, place, &change(EventType::Receipt, receipt), None);
            }
        }
    }
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

pub(super) fn read_send(hub: &mut Hub, now: UnixMillis, session: &Session, body: Bytes) -> Read {
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

pub(super) fn read_delivered(hub: &mut Hub, _: UnixMillis, session: &Session, body: Bytes) -> Read {
    let request: v2::DeliveredRequest = read(body)?;
    if request.watermarks.len() > hub.config.max_watermarks {
        return Err((ErrorCode::TooLarge, "too many watermarks"));
    }
    let watermarks = request
        .watermarks
        .iter()
        .map(|mark| {
            let conversation = conversation(session, &mark.conversation)?;
            Ok(Watermark { conversation, delivered: mark.delivered_seq, read: mark.read_seq })
        })
        .collect::<Result<Vec<_>, Refused>>()?;
    Ok((What::Delivered, Txn::Delivered { uin: session.uin, watermarks }))
}

pub(super) fn read_sync(hub: &mut Hub, _: UnixMillis, session: &Session, body: Bytes) -> Read {
    page(hub, session, &read(body)?)
}

pub(super) fn page(hub: &Hub, session: &Session, request: &v2::SyncRequest) -> Read {
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
