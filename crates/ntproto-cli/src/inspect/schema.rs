//! The names of our protobuf fields, as `proto/ntproto/v2` gives them. A test compares them with the
//! generated types.

use ntproto_core::wire::packet::{Kind as PacketKind, PacketId};

/// A message.
#[derive(Debug, PartialEq)]
pub(super) struct Schema {
    pub(super) name: &'static str,
    pub(super) fields: &'static [Field],
}

/// A field.
#[derive(Debug, PartialEq)]
pub(super) struct Field {
    pub(super) number: u64,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

/// How a field is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// A number.
    Uint,
    /// Yes or no.
    Bool,
    /// Text.
    Text,
    /// Bytes, shown in hexadecimal.
    Bytes,
    /// Milliseconds since 1970.
    UnixMs,
    /// An `ErrorCode`.
    Code,
    /// A conversation's id.
    Conversation,
    /// What a user wrote, opaque to the server.
    Body,
    /// Decides how the payload beside it is read.
    EventType,
    /// Read by the type beside it.
    EventPayload,
    /// A message inside.
    Message(&'static Schema),
}

const fn f(number: u64, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind }
}

macro_rules! schema {
    ($konst:ident, $name:literal, [$($number:literal $field:literal $kind:expr),* $(,)?]) => {
        pub(super) static $konst: Schema = Schema { name: $name, fields: &[$(f($number, $field, $kind)),*] };
    };
}

use Kind::{Body, Bool, Bytes, Code, Conversation, EventPayload, Text, Uint, UnixMs};

schema!(ERROR, "Error", [1 "code" Code, 2 "detail" Text, 3 "retry_after_ms" Uint]);
schema!(TICKET, "Ticket", [1 "sealed" Bytes, 2 "issued_ms" UnixMs, 3 "expires_ms" UnixMs]);
schema!(SEND_REQUEST, "SendRequest", [
    1 "conversation" Conversation, 2 "client_msg_id" Bytes, 3 "body" Body, 4 "resolve_only" Bool,
]);
schema!(SEND_RESPONSE, "SendResponse", [
    1 "conv_seq" Uint, 2 "stored_ms" UnixMs, 3 "position" Uint, 4 "previous" Uint, 5 "duplicate" Bool,
]);
schema!(SYNC_PACKET, "SyncPacket", [1 "event_type" Kind::EventType, 2 "payload" EventPayload]);
schema!(NOTIFY, "Notify", [1 "position" Uint, 2 "previous" Uint, 3 "packet" Kind::Message(&SYNC_PACKET)]);
schema!(MESSAGE, "StoredMessage", [
    1 "conversation" Conversation, 2 "conv_seq" Uint, 3 "sender" Uint, 4 "sender_device" Bytes,
    5 "client_msg_id" Bytes, 6 "stored_ms" UnixMs, 7 "body" Body,
]);
schema!(RECEIPT, "Receipt", [
    1 "conversation" Conversation, 2 "member" Uint, 3 "delivered_seq" Uint, 4 "read_seq" Uint,
]);
schema!(DELIVERED_REQUEST, "DeliveredRequest", [1 "watermarks" Kind::Message(&WATERMARK)]);
schema!(WATERMARK, "Watermark", [1 "conversation" Conversation, 2 "delivered_seq" Uint]);
schema!(DELIVERED_RESPONSE, "DeliveredResponse", []);
schema!(SYNC_REQUEST, "SyncRequest", [1 "epoch" Bytes, 2 "cursor" Uint, 3 "limit" Uint]);
schema!(SYNC_RESPONSE, "SyncResponse", [
    1 "epoch" Bytes, 2 "deltas" Kind::Message(&DELTA), 3 "next" Uint, 4 "has_more" Bool, 5 "too_long" Bool,
]);
schema!(DELTA, "Delta", [1 "position" Uint, 2 "packet" Kind::Message(&SYNC_PACKET)]);
schema!(DEVICES_REQUEST, "DevicesRequest", []);
schema!(DEVICES_RESPONSE, "DevicesResponse", [1 "devices" Kind::Message(&DEVICE)]);
schema!(DEVICE, "Device", [
    1 "device_id" Bytes, 2 "name" Text, 3 "created_ms" UnixMs, 4 "revoked" Bool, 5 "current" Bool,
]);
schema!(REVOKE_REQUEST, "RevokeDeviceRequest", [1 "device_id" Bytes]);
schema!(REVOKE_RESPONSE, "RevokeDeviceResponse", []);
schema!(INVITE_REQUEST, "InviteRequest", [1 "uses" Uint, 2 "lifetime_ms" Uint, 3 "may_invite" Bool]);
schema!(INVITE_RESPONSE, "InviteResponse", [1 "code" Bytes, 2 "expires_ms" UnixMs]);

/// What the body of a packet is. `None`: an application's packet, or one of a later version.
pub(super) fn of_packet(id: PacketId, kind: PacketKind) -> Option<&'static Schema> {
    let (request, response) = match id {
        PacketId::SEND => (&SEND_REQUEST, &SEND_RESPONSE),
        PacketId::NOTIFY if kind == PacketKind::Push => return Some(&NOTIFY),
        PacketId::DELIVERED => (&DELIVERED_REQUEST, &DELIVERED_RESPONSE),
        PacketId::SYNC => (&SYNC_REQUEST, &SYNC_RESPONSE),
        PacketId::DEVICES => (&DEVICES_REQUEST, &DEVICES_RESPONSE),
        PacketId::REVOKE_DEVICE => (&REVOKE_REQUEST, &REVOKE_RESPONSE),
        PacketId::INVITE => (&INVITE_REQUEST, &INVITE_RESPONSE),
        _ if !matches!(kind, PacketKind::Error(_)) => return None,
        _ => (&ERROR, &ERROR),
    };
    match kind {
        PacketKind::Request(_) => Some(request),
        PacketKind::Response(_) => Some(response),
        PacketKind::Error(_) => Some(&ERROR),
        PacketKind::Push => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The committed schema file is what the names must agree with.
    const PROTO: &str = include_str!("../../../../proto/ntproto/v2/messages.proto");

    #[test]
    fn the_names_are_those_of_the_schema() {
        let auth = include_str!("../../../../proto/ntproto/v2/handshake.proto");
        let all = [
            &ERROR,
            &TICKET,
            &SEND_REQUEST,
            &SEND_RESPONSE,
            &SYNC_PACKET,
            &NOTIFY,
            &MESSAGE,
            &RECEIPT,
            &DELIVERED_REQUEST,
            &WATERMARK,
            &DELIVERED_RESPONSE,
            &SYNC_REQUEST,
            &SYNC_RESPONSE,
            &DELTA,
            &DEVICES_REQUEST,
            &DEVICES_RESPONSE,
            &DEVICE,
            &REVOKE_REQUEST,
            &REVOKE_RESPONSE,
            &INVITE_REQUEST,
            &INVITE_RESPONSE,
        ];
        for schema in all {
            let head = format!("message {} {{", schema.name);
            let source = if PROTO.contains(&head) { PROTO } else { auth };
            let (_, body) = source.split_once(&head).unwrap_or_else(|| panic!("no {head}"));
            let body = body.split_once('}').map_or("", |(b, _)| b);
            let lines = body.lines().map(str::trim).filter(|l| !l.starts_with("//") && l.contains('='));
            let mut count = 0;
            for line in lines {
                let (left, number) = line.trim_end_matches(';').split_once(" = ").unwrap_or_default();
                let mut words = left.split_whitespace().rev();
                let (name, typ) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                let field = schema.fields.iter().find(|f| f.name == name);
                let field = field.unwrap_or_else(|| panic!("{}.{name} is not listed", schema.name));
                assert_eq!(field.number.to_string(), number, "{}.{name}", schema.name);
                let fits = match field.kind {
                    Uint | UnixMs | Code | Kind::EventType => matches!(typ, "uint32" | "uint64"),
                    Bool => typ == "bool",
                    Text => typ == "string",
                    Bytes | Conversation | Body | EventPayload => typ == "bytes",
                    Kind::Message(inner) => typ == inner.name,
                };
                assert!(fits, "{}.{name} is {typ}", schema.name);
                count += 1;
            }
            assert_eq!(count, schema.fields.len(), "{}", schema.name);
        }
    }
}
