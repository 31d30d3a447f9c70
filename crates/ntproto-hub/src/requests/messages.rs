//! Messages, watermarks and pages of an inbox.

use alloc::vec::Vec;

use bytes::Bytes;
use ntproto_core::code::ErrorCode;
use ntproto_core::crypto::CryptoProvider;
use ntproto_core::ids::{ClientMsgId, ConversationId};
use ntproto_core::time::{Now, UnixMillis};
use ntproto_core::wire::event::EventType;
use ntproto_proto::v2;

use super::{Asked, Asker, Read, Refused, Traced, What, change, read};
use crate::conn::Session;
use crate::hub::Hub;
use crate::store::Txn;
use crate::store::execute::packets::trace_bytes;
use crate::store::txn::{Append, Change, InboxPlace, ReceiptPlaced, Target, Watermark};

/// What an append came to.
pub(super) struct Appended<'a> {
    pub(super) conv_seq: u64,
    pub(super) stored: UnixMillis,
    pub(super) duplicate: bool,
    pub(super) entries: &'a [InboxPlace],
    pub(super) target_seq: u64,
}

impl Hub {
    pub(super) fn sent(&mut self, now: Now, to: Asker, append: Append, appended: &Appended<'_>) {
        let Appended { conv_seq, stored, duplicate, entries, .. } = *appended;
        let own = entries.iter().find(|place| place.uin == append.sender);
        let answer = v2::SendResponse {
            conv_seq,
            stored_ms: stored.0,
            position: own.map_or(0, |place| place.position),
            previous: own.map_or(0, |place| place.previous),
            duplicate,
        };
        self.answer(now, to, &answer);
        self.counts.message(append.conversation, duplicate);
        if duplicate || entries.iter().all(|place| self.online.of(place.uin).is_empty()) {
            return;
        }
        let (event, kind) = match append.action {
            Change::Message => (EventType::Message, v2::Action::Message),
            Change::Edit(_) => (EventType::Edit, v2::Action::Edit),
            Change::Recall(_) => (EventType::Recall, v2::Action::Recall),
        };
        let message = v2::StoredMessage {
            conversation: Bytes::copy_from_slice(&append.conversation.0),
            conv_seq: appended.conv_seq,
            sender: append.sender.0,
            sender_device: Bytes::copy_from_slice(&append.device.0),
            client_msg_id: Bytes::copy_from_slice(&append.client_msg_id.0),
            stored_ms: appended.stored.0,
            body: append.body,
            action: kind.into(),
            target_seq: appended.target_seq,
            trace: trace_bytes(append.trace),
            ..Default::default()
        };
        let change = change(event, &message);
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

/// A conversation that the session's account may be in. Whether it is in a group, the store knows.
pub(super) fn conversation(session: &Session, id: &[u8]) -> Result<ConversationId, Refused> {
    let id = ConversationId::from_slice(id).ok_or((ErrorCode::BadRequest, "a conversation has 16 bytes"))?;
    match (id.members(), id.group()) {
        (Some((a, b)), _) if a == session.uin || b == session.uin => Ok(id),
        //= spec: messages-2
        (Some(_), _) => Err((ErrorCode::Forbidden, "not a member of this conversation")),
        (None, Some(_)) => Ok(id),
        (None, None) => Err((ErrorCode::NotFound, "no such conversation")),
    }
}

pub(super) fn read_send(hub: &mut Hub, asked: Asked) -> Read {
    let request: v2::SendRequest = read(asked.body)?;
    let conversation = conversation(&asked.session, &request.conversation)?;
    let client_msg_id = ClientMsgId::from_slice(&request.client_msg_id)
        .ok_or((ErrorCode::BadRequest, "a client_msg_id has 16 bytes"))?;
    if request.body.len() > hub.config.max_body {
        return Err((ErrorCode::TooLarge, "the body is too large"));
    }
    // What became of an id is asked whatever it was for.
    let action = if request.resolve_only { Change::Message } else { action(&request)? };
    let append = Append {
        //= spec: messages-1
        sender: asked.session.uin,
        device: asked.session.device,
        conversation,
        client_msg_id,
        after: None,
        action,
        body_hash: body_hash(hub.keys.provider, action, &request.body),
        //= spec: messages-3
        body: request.body,
        now: asked.time,
        resolve_only: request.resolve_only,
        trace: asked.to.traced.map(Traced::context),
    };
    Ok((What::Send(append.clone()), Txn::Append(append)))
}

/// What a SEND does, and to which message.
fn action(request: &v2::SendRequest) -> Result<Change, Refused> {
    let target = match (request.target_seq, &request.target_id[..]) {
        (0, []) => None,
        (0, id) => {
            let id =
                ClientMsgId::from_slice(id).ok_or((ErrorCode::BadRequest, "a target_id has 16 bytes"))?;
            Some(Target::Sent(id))
        }
        (seq, _) => Some(Target::Seq(seq)),
    };
    match (v2::Action::try_from(request.action), target) {
        (Ok(v2::Action::Message), None) => Ok(Change::Message),
        (Ok(v2::Action::Edit), Some(target)) => Ok(Change::Edit(target)),
        (Ok(v2::Action::Recall), Some(_)) if !request.body.is_empty() => {
            Err((ErrorCode::BadRequest, "a recall has no body"))
        }
        (Ok(v2::Action::Recall), Some(target)) => Ok(Change::Recall(target)),
        (Ok(v2::Action::Message), Some(_)) => Err((ErrorCode::BadRequest, "a message is about no other")),
        (Ok(_), None) => Err((ErrorCode::BadRequest, "what is it about?")),
        (Err(_), _) => Err((ErrorCode::BadRequest, "no such action")),
    }
}

/// What a retry must be equal in. A message's is the hash of its body alone, as it was before there was anything else.
fn body_hash(provider: &dyn CryptoProvider, action: Change, body: &[u8]) -> [u8; 32] {
    let body = provider.sha256(&[body]);
    match action {
        Change::Message => body,
        Change::Edit(target) | Change::Recall(target) => {
            let kind = [matches!(action, Change::Recall(_)).into()];
            match target {
                Target::Seq(seq) => provider.sha256(&[&body, &kind, &seq.to_be_bytes()]),
                Target::Sent(id) => provider.sha256(&[&body, &kind, &id.0]),
            }
        }
    }
}

pub(super) fn read_delivered(hub: &mut Hub, asked: Asked) -> Read {
    let request: v2::DeliveredRequest = read(asked.body)?;
    if request.watermarks.len() > hub.config.max_watermarks {
        return Err((ErrorCode::TooLarge, "too many watermarks"));
    }
    let session = &asked.session;
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

pub(super) fn read_sync(hub: &mut Hub, asked: Asked) -> Read {
    // A first SYNC, one that follows a DIRTY, and one that comes before its DIRTY does.
    let conn = hub.conns.get(asked.to.conn);
    let uin = asked.session.uin;
    let wanted = conn.is_some_and(|conn| conn.place) || hub.groups.is_due(uin);
    // Placing waits for the disk: nobody who is in no group does.
    let place = wanted && !hub.groups.is_in_none(uin);
    page(hub, &asked.session, &read(asked.body)?, place)
}

//= spec: messages-21
pub(super) fn page(hub: &Hub, session: &Session, request: &v2::SyncRequest, place: bool) -> Read {
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
        place,
    };
    Ok((What::Sync(place), txn))
}
