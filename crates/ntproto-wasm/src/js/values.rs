//! Outputs and events as objects, of the types that `types` declares.

use std::time::Duration;

use js_sys::{Object, Reflect, Uint8Array};
use ntproto_core::client::{ClientEvent, Failure, Stopped};
use ntproto_core::code::ErrorCode;
use ntproto_proto::v2;
use prost::Message as _;
use wasm_bindgen::JsValue;

use crate::bridge::Next;

/// An object under construction.
struct Fields(Object);

impl Fields {
    fn new(kind: &str) -> Self {
        Self(Object::new()).with("type", kind)
    }

    fn with(self, name: &str, value: impl Into<JsValue>) -> Self {
        // Setting a property of an object of our own fails only if it was frozen.
        let _ = Reflect::set(&self.0, &name.into(), &value.into());
        self
    }

    fn bytes(self, name: &str, value: &[u8]) -> Self {
        self.with(name, Uint8Array::from(value))
    }

    fn failure(self, failure: &Failure) -> Self {
        let code = match failure {
            Failure::Refused(code, _) => *code,
            _ => None,
        };
        self.with("why", failure.to_string()).code(code)
    }

    fn code(self, code: Option<ErrorCode>) -> Self {
        self.with("code", code.map_or(JsValue::NULL, |code| JsValue::from(code as u32)))
    }

    fn end(self) -> JsValue {
        self.0.into()
    }
}

pub(super) fn output(next: Next) -> JsValue {
    match next {
        Next::Transmit(channel, bytes) => {
            Fields::new("transmit").with("channel", channel.index() as u32).bytes("bytes", &bytes)
        }
        Next::Connect(attempt) => Fields::new("connect").with("attempt", attempt),
        Next::Disconnect(code) => {
            Fields::new("disconnect").with("code", code as u32).with("name", code.name())
        }
        Next::Store(op, record) => Fields::new("store").with("op", op.0).bytes("record", &record),
        Next::Event(happened) => Fields::new("event").with("event", event(happened)),
        Next::Wait(at, why) => {
            let at = at.map_or(JsValue::NULL, |at| JsValue::from(at.as_micros() as f64 / 1000.0));
            Fields::new("wait").with("at", at).with("why", format!("{why:?}"))
        }
    }
    .end()
}

fn event(event: ClientEvent) -> JsValue {
    match event {
        ClientEvent::Online { session, uin, device, .. } => {
            Fields::new("online").bytes("session", &session.0).with("uin", uin.0).bytes("device", &device.0)
        }
        ClientEvent::CaughtUp => Fields::new("caughtUp"),
        ClientEvent::Offline { why, retry_in } => {
            Fields::new("offline").with("why", why.to_string()).with("retryInMs", retry_in.as_millis() as f64)
        }
        ClientEvent::Stopped(why) => stopped(why),
        ClientEvent::Queued { request, client_msg_id } => {
            Fields::new("queued").with("request", request.0).bytes("clientMsgId", &client_msg_id.0)
        }
        ClientEvent::Sent { request, client_msg_id, conversation, conv_seq, stored_ms } => {
            Fields::new("sent")
                .with("request", request.0)
                .bytes("clientMsgId", &client_msg_id.0)
                .bytes("conversation", &conversation.0)
                .with("convSeq", conv_seq)
                .with("storedMs", stored_ms)
        }
        ClientEvent::SendExpired { request, client_msg_id } => {
            Fields::new("sendExpired").with("request", request.0).bytes("clientMsgId", &client_msg_id.0)
        }
        ClientEvent::SendFailed { request, client_msg_id, why } => Fields::new("sendFailed")
            .with("request", request.0)
            .bytes("clientMsgId", &client_msg_id.0)
            .failure(&why),
        ClientEvent::Message(inbound) => Fields::new("message")
            .with("position", inbound.position)
            .bytes("conversation", &inbound.conversation.0)
            .with("convSeq", inbound.message.conv_seq)
            .with("sender", inbound.message.sender)
            .bytes("senderDevice", &inbound.message.sender_device)
            .bytes("clientMsgId", &inbound.message.client_msg_id)
            .with("storedMs", inbound.message.stored_ms)
            .with("action", inbound.message.action)
            .with("targetSeq", inbound.message.target_seq)
            .bytes("body", &inbound.message.body),
        ClientEvent::Receipt(receipt) => Fields::new("receipt")
            .bytes("conversation", &receipt.conversation)
            .with("member", receipt.member)
            .with("deliveredSeq", receipt.delivered_seq)
            .with("readSeq", receipt.read_seq),
        // What these hold is the schema's: a decoder of protobuf in JavaScript reads it.
        ClientEvent::Friend(friend) => Fields::new("friend").bytes("payload", &friend.encode_to_vec()),
        ClientEvent::Group(group) => Fields::new("group").bytes("payload", &group.encode_to_vec()),
        ClientEvent::Profile(profile) => Fields::new("profile").bytes("payload", &profile.encode_to_vec()),
        ClientEvent::Gap(gap) => Fields::new("gap")
            .bytes("conversation", &gap.conversation)
            .with("fromSeq", gap.from_seq)
            .with("toSeq", gap.to_seq),
        ClientEvent::Skipped => Fields::new("skipped"),
        ClientEvent::Typing(typing) => Fields::new("typing")
            .bytes("conversation", &typing.conversation)
            .with("uin", typing.uin)
            .with("active", typing.active),
        ClientEvent::Presence(states) => {
            Fields::new("presence").bytes("payload", &v2::PresencePush { states }.encode_to_vec())
        }
        ClientEvent::OwnPresence(record) => {
            Fields::new("ownPresence").bytes("payload", &record.encode_to_vec())
        }
        ClientEvent::GroupDelta(delta) => Fields::new("groupDelta").bytes("payload", &delta.encode_to_vec()),
        ClientEvent::Other(packet) => {
            Fields::new("other").with("eventType", packet.event_type).bytes("payload", &packet.payload)
        }
        ClientEvent::Response { request, result: Ok(body) } => {
            Fields::new("response").with("request", request.0).bytes("body", &body)
        }
        ClientEvent::Response { request, result: Err(why) } => {
            Fields::new("refused").with("request", request.0).failure(&why)
        }
        ClientEvent::Deferred { request } => Fields::new("deferred").with("request", request.0),
        ClientEvent::Push(packet) => {
            Fields::new("push").with("packet", packet.id.0).bytes("body", &packet.body)
        }
    }
    .end()
}

fn stopped(why: Stopped) -> Fields {
    let (reason, code) = match why {
        Stopped::Closed => ("closed", None),
        Stopped::Refused(code) => ("refused", Some(code)),
        Stopped::Superseded => ("superseded", None),
        Stopped::Store(_) => ("store", None),
        Stopped::Configuration => ("configuration", None),
    };
    Fields::new("stopped").with("reason", reason).with("why", why.to_string()).code(code)
}

/// Milliseconds; what is no time is none.
pub(super) fn duration(ms: Option<f64>) -> Option<Duration> {
    ms.filter(|ms| *ms >= 0.0).map(|ms| Duration::from_millis(ms as u64))
}
