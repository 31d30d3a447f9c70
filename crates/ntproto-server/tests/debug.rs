//! No `Debug` of a message, an input, an output or an event gives away a credential or what somebody wrote.
#![allow(clippy::unwrap_used)]

use std::fmt::Debug;

use bytes::Bytes;
use ntproto_core::client::{self, ClientEvent, ClientTxn, Inbound, OutboxEntry};
use ntproto_core::endpoint;
use ntproto_core::ids::{ClientMsgId, ConversationId, DeviceId, Uin};
use ntproto_core::time::UnixMillis;
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::packet::{Kind, Packet, PacketId};
use ntproto_hub::store::txn::{Append, Change, OpId};
use ntproto_hub::store::{Outcome, Txn};
use ntproto_proto::v2::{self, auth_request, auth_response};
use ntproto_proto::{Hidden, store};
use ntproto_sdk::driver::{self, CallId};
use ntproto_sdk::{EnrolCode, Event, Message};
use prost::Message as _;

const CANARY: &[u8; 16] = b"CANARY-SECRET-16";

/// As text, in decimal, in hexadecimal and in base64.
const FORMS: [&str; 6] = ["CANARY", "67, 65, 78", "43414e", "43414E", "43, 41, 4e", "Q0FOQ"];

fn shows(value: &dyn Debug) -> Option<String> {
    let text = format!("{value:?} {value:#?}").split_whitespace().collect::<Vec<_>>().join(" ");
    FORMS.iter().any(|form| text.contains(form)).then_some(text)
}

fn hides(values: &[&dyn Debug]) {
    for (no, value) in values.iter().enumerate() {
        assert_eq!(shows(value), None, "value {no}");
    }
}

fn secret() -> Bytes {
    Bytes::from_static(CANARY)
}

#[test]
fn the_test_sees_what_is_shown() {
    let hex: String = CANARY.iter().map(|b| format!("{b:02x}")).collect();
    let shown: [&dyn Debug; 5] = [&secret(), CANARY, &CANARY.to_vec(), &hex, &"Q0FOQVJZ"];
    assert!(shown.iter().all(|value| shows(value).is_some()));
    assert_eq!(shows(&Hidden(CANARY)), None);
}

#[test]
fn messages_hide_credentials_and_bodies() {
    let ticket = v2::Ticket { sealed: secret(), issued_ms: 1, expires_ms: 2 };
    let link = v2::DeviceLink { body: secret(), signature: secret() };
    let request = |credential| v2::AuthRequest { credential: Some(credential), ..Default::default() };
    let grant = v2::Grant { ticket: Some(ticket.clone()), ..Default::default() };
    let packet = v2::SyncPacket { event_type: 1, payload: secret() };
    let delta = v2::Delta { position: 1, packet: Some(packet.clone()) };
    hides(&[
        &ticket,
        &link,
        &request(auth_request::Credential::Ticket(secret())),
        &request(auth_request::Credential::Invitation(secret())),
        &request(auth_request::Credential::Link(link.clone())),
        &v2::DeviceLinkBody { nonce: secret(), ..Default::default() },
        &grant,
        &v2::AuthResponse { answer: Some(auth_response::Answer::Grant(grant.clone())) },
        &v2::InviteResponse { code: secret(), expires_ms: 1 },
        &v2::SendRequest { body: secret(), ..Default::default() },
        &v2::StoredMessage { body: secret(), ..Default::default() },
        &v2::Notify { position: 1, previous: 0, packet: Some(packet) },
        &v2::SyncResponse { deltas: vec![delta], ..Default::default() },
        &store::LogEntry { body: secret(), ..Default::default() },
    ]);
}

#[test]
fn machines_hide_them_too() {
    let ticket = v2::Ticket { sealed: secret(), issued_ms: 1, expires_ms: 2 };
    let grant = v2::Grant { ticket: Some(ticket.clone()), ..Default::default() };
    let invited = Bytes::from(v2::InviteResponse { code: secret(), expires_ms: 1 }.encode_to_vec());
    let packet = Packet {
        id: PacketId::INVITE,
        kind: Kind::Response(1),
        deadline_ms: None,
        trace: None,
        body: invited.clone(),
    };
    let conversation = ConversationId::direct(Uin(1), Uin(2));
    let client_msg_id = ClientMsgId([1; 16]);
    let entry = OutboxEntry {
        trace: None,
        order: 1,
        client_msg_id,
        conversation,
        body: secret(),
        expires: Some(UnixMillis(1)),
        action: ntproto_core::client::SendAction::Message,
    };
    let stored = v2::StoredMessage { body: secret(), ..Default::default() };
    let inbound = Inbound { position: 1, conversation, message: stored };
    let send = || client::Command::Send {
        trace: None,
        conversation,
        client_msg_id: None,
        body: secret(),
        deadline: None,
        action: ntproto_core::client::SendAction::Message,
    };
    let append = Append {
        trace: None,
        sender: Uin(1),
        device: DeviceId([1; 16]),
        conversation,
        client_msg_id,
        after: None,
        action: Change::Message,
        body_hash: [0; 32],
        body: secret(),
        now: UnixMillis(1),
        resolve_only: false,
    };
    let delta = v2::Delta { position: 1, packet: Some(v2::SyncPacket { event_type: 1, payload: secret() }) };
    let page = Outcome::Page { epoch: [0; 16], deltas: vec![delta], next: 1, has_more: false };
    hides(&[
        &client::Credential::Invitation(*CANARY),
        &client::Credential::Link(v2::DeviceLink { body: secret(), signature: secret() }),
        &send(),
        &client::Command::Request {
            trace: None,
            packet: PacketId::SEND,
            body: invited.clone(),
            deadline: None,
        },
        &client::Output::Store(client::OpId(1), ClientTxn::Enqueue(entry.clone())),
        &ClientTxn::SaveTicket(Some(ticket.clone())),
        &client::Saved { ticket: Some(ticket.clone()), outbox: vec![entry], ..Default::default() },
        &client::Output::Event(ClientEvent::Message(inbound.clone())),
        &ClientEvent::Response { request: client::RequestId(1), result: Ok(invited) },
        &ClientEvent::Push(packet.clone()),
        &endpoint::client::Event::Granted(grant.clone()),
        &endpoint::client::Event::Ticket(ticket.clone()),
        &endpoint::client::Command::Send(Channel::Message, packet.clone()),
        &endpoint::server::Command::Grant(grant),
        &endpoint::server::Command::IssueTicket { ticket, server_time_ms: 1 },
        &ntproto_hub::Output::Store { op: OpId(1), txn: Txn::Append(append), deadline: None },
        &ntproto_hub::Input::StoreDone { op: OpId(1), result: Ok(page) },
        &driver::Command::Call(CallId(1), send()),
        &driver::Effect::Event(ClientEvent::Push(packet.clone())),
        &EnrolCode::Invitation(*CANARY),
        &EnrolCode::Link(v2::DeviceLink { body: secret(), signature: secret() }),
        &Event::Message(Message::from(inbound)),
        &Event::Push(packet),
    ]);
}
