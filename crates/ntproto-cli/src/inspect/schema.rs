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

schema!(TICKET, "Ticket", [1 "sealed" Bytes, 2 "issued_ms" UnixMs, 3 "expires_ms" UnixMs]);
schema!(ERROR, "Error", [1 "code" Code, 2 "detail" Text, 3 "retry_after_ms" Uint]);
schema!(SEND_REQUEST, "SendRequest", [
    1 "conversation" Conversation, 2 "client_msg_id" Bytes, 3 "body" Body, 4 "resolve_only" Bool,
    5 "action" Uint, 6 "target_seq" Uint, 7 "target_id" Bytes,
]);
schema!(SEND_RESPONSE, "SendResponse", [
    1 "conv_seq" Uint, 2 "stored_ms" UnixMs, 3 "position" Uint, 4 "previous" Uint, 5 "duplicate" Bool,
]);
schema!(SYNC_PACKET, "SyncPacket", [1 "event_type" Kind::EventType, 2 "payload" EventPayload]);
schema!(NOTIFY, "Notify", [1 "position" Uint, 2 "previous" Uint, 3 "packet" Kind::Message(&SYNC_PACKET)]);
schema!(MESSAGE, "StoredMessage", [
    1 "conversation" Conversation, 2 "conv_seq" Uint, 3 "sender" Uint, 4 "sender_device" Bytes,
    5 "client_msg_id" Bytes, 6 "stored_ms" UnixMs, 7 "body" Body, 8 "action" Uint, 9 "target_seq" Uint,
    10 "edited_seq" Uint, 11 "recalled_seq" Uint, 12 "trace" Bytes,
]);
schema!(RECEIPT, "Receipt", [
    1 "conversation" Conversation, 2 "member" Uint, 3 "delivered_seq" Uint, 4 "read_seq" Uint,
]);
schema!(DELIVERED_REQUEST, "DeliveredRequest", [1 "watermarks" Kind::Message(&WATERMARK)]);
schema!(WATERMARK, "Watermark", [1 "conversation" Conversation, 2 "delivered_seq" Uint, 3 "read_seq" Uint]);
schema!(DELIVERED_RESPONSE, "DeliveredResponse", []);
schema!(SYNC_REQUEST, "SyncRequest", [1 "epoch" Bytes, 2 "cursor" Uint, 3 "limit" Uint]);
schema!(SYNC_RESPONSE, "SyncResponse", [
    1 "epoch" Bytes, 2 "deltas" Kind::Message(&DELTA), 3 "next" Uint, 4 "has_more" Bool,
    5 "too_long" Bool,
]);
schema!(DELTA, "Delta", [1 "position" Uint, 2 "packet" Kind::Message(&SYNC_PACKET)]);
schema!(GAP, "Gap", [1 "conversation" Conversation, 2 "from_seq" Uint, 3 "to_seq" Uint]);
schema!(DIRTY, "Dirty", []);
schema!(SNAPSHOT_REQUEST, "SnapshotRequest", [1 "after" Bytes, 2 "limit" Uint]);
schema!(SNAPSHOT_RESPONSE, "SnapshotResponse", [
    1 "conversations" Kind::Message(&CONVERSATION_STATE), 2 "has_more" Bool,
]);
schema!(CONVERSATION_STATE, "ConversationState", [
    1 "conversation" Conversation, 2 "head_seq" Uint, 3 "delivered_seq" Uint, 4 "read_seq" Uint,
]);
schema!(HISTORY_REQUEST, "HistoryRequest", [
    1 "conversation" Conversation, 2 "before_seq" Uint, 3 "after_seq" Uint, 4 "since_ms" UnixMs,
    5 "until_ms" UnixMs, 6 "limit" Uint,
]);
schema!(HISTORY_RESPONSE, "HistoryResponse", [
    1 "messages" Kind::Message(&MESSAGE), 2 "has_more" Bool, 3 "head_seq" Uint,
]);
schema!(MARKS_REQUEST, "MarksRequest", [1 "conversation" Conversation, 2 "after" Uint, 3 "limit" Uint]);
schema!(MARKS_RESPONSE, "MarksResponse", [1 "marks" Kind::Message(&RECEIPT), 2 "has_more" Bool]);
schema!(TYPING_REQUEST, "TypingRequest", [1 "conversation" Conversation, 2 "active" Bool]);
schema!(TYPING_RESPONSE, "TypingResponse", []);
schema!(TYPING_PUSH, "TypingPush", [1 "conversation" Conversation, 2 "uin" Uint, 3 "active" Bool]);
schema!(DEVICES_REQUEST, "DevicesRequest", []);
schema!(DEVICES_RESPONSE, "DevicesResponse", [1 "devices" Kind::Message(&DEVICE)]);
schema!(DEVICE, "Device", [
    1 "device_id" Bytes, 2 "name" Text, 3 "created_ms" UnixMs, 4 "revoked" Bool, 5 "current" Bool,
    6 "admin" Bool,
]);
schema!(REVOKE_REQUEST, "RevokeDeviceRequest", [1 "device_id" Bytes]);
schema!(REVOKE_RESPONSE, "RevokeDeviceResponse", []);
schema!(INVITE_REQUEST, "InviteRequest", [1 "uses" Uint, 2 "lifetime_ms" Uint, 3 "may_invite" Bool]);
schema!(INVITE_RESPONSE, "InviteResponse", [1 "code" Bytes, 2 "expires_ms" UnixMs]);
schema!(USER, "User", [
    1 "uin" Uint, 2 "nickname" Text, 3 "nick" Text, 4 "avatar" Text, 5 "bio" Text,
    6 "friends" Kind::Message(&FRIEND), 7 "extra" Text, 8 "version" Uint, 9 "created_ms" UnixMs,
]);
schema!(FRIEND, "Friend", [
    1 "uin" Uint, 2 "state" Uint, 3 "remark" Text, 4 "blocked" Bool, 5 "since_ms" UnixMs,
    6 "message" Text, 7 "version" Uint, 8 "extra" Text,
]);
schema!(PROFILE_SET_REQUEST, "ProfileSetRequest", [
    1 "nickname" Text, 2 "nick" Text, 3 "avatar" Text, 4 "bio" Text, 5 "extra" Text,
]);
schema!(PROFILE_SET_RESPONSE, "ProfileSetResponse", [1 "user" Kind::Message(&USER)]);
schema!(PROFILES_REQUEST, "ProfilesRequest", [1 "uins" Uint]);
schema!(PROFILES_RESPONSE, "ProfilesResponse", [1 "users" Kind::Message(&USER)]);
schema!(FRIEND_REQUEST_REQUEST, "FriendRequestRequest", [1 "uin" Uint, 2 "message" Text]);
schema!(FRIEND_ANSWER_REQUEST, "FriendAnswerRequest", [1 "uin" Uint, 2 "accept" Bool]);
schema!(FRIEND_UPDATE_REQUEST, "FriendUpdateRequest", [
    1 "uin" Uint, 2 "remark" Text, 3 "blocked" Bool, 4 "extra" Text,
]);
schema!(FRIEND_DELETE_REQUEST, "FriendDeleteRequest", [1 "uin" Uint]);
schema!(FRIEND_RESPONSE, "FriendResponse", [1 "friend" Kind::Message(&FRIEND)]);
schema!(FRIENDS_REQUEST, "FriendsRequest", [1 "after" Uint, 2 "limit" Uint]);
schema!(FRIENDS_RESPONSE, "FriendsResponse", [1 "friends" Kind::Message(&FRIEND), 2 "has_more" Bool]);
schema!(GROUP, "Group", [
    1 "group" Uint, 2 "name" Text, 3 "notice" Text, 4 "owner" Uint, 5 "members" Uint, 6 "join" Uint,
    7 "muted" Bool, 8 "permissions" Uint, 9 "extra" Text, 10 "created_ms" UnixMs, 11 "version" Uint,
    12 "dissolved" Bool,
]);
schema!(MEMBER, "Member", [
    1 "uin" Uint, 2 "role" Uint, 3 "nick" Text, 4 "joined_ms" UnixMs, 5 "joined_seq" Uint,
    6 "muted_until_ms" UnixMs,
]);
schema!(GROUP_STATE, "GroupState", [1 "group" Kind::Message(&GROUP), 2 "me" Kind::Message(&MEMBER)]);
schema!(GROUP_CHANGE, "GroupChange", [
    1 "version" Uint, 2 "kind" Uint, 3 "member" Kind::Message(&MEMBER), 4 "group" Kind::Message(&GROUP),
]);
schema!(GROUP_CREATE_REQUEST, "GroupCreateRequest", [
    1 "name" Text, 2 "members" Uint, 3 "join" Uint, 4 "extra" Text, 5 "request" Bytes,
]);
schema!(GROUP_UPDATE_REQUEST, "GroupUpdateRequest", [
    1 "group" Uint, 2 "name" Text, 3 "notice" Text, 4 "join" Uint, 5 "muted" Bool, 6 "permissions" Uint,
    7 "extra" Text, 8 "nick" Text,
]);
schema!(GROUP_INVITE_REQUEST, "GroupInviteRequest", [1 "group" Uint, 2 "uins" Uint]);
schema!(GROUP_REQUEST, "GroupRequest", [1 "group" Uint]);
schema!(GROUP_REMOVE_REQUEST, "GroupRemoveRequest", [1 "group" Uint, 2 "uin" Uint]);
schema!(GROUP_ROLE_REQUEST, "GroupRoleRequest", [1 "group" Uint, 2 "uin" Uint, 3 "role" Uint]);
schema!(GROUP_MUTE_REQUEST, "GroupMuteRequest", [1 "group" Uint, 2 "uin" Uint, 3 "until_ms" UnixMs]);
schema!(GROUP_RESPONSE, "GroupResponse", [1 "state" Kind::Message(&GROUP_STATE)]);
schema!(GROUP_GET_REQUEST, "GroupGetRequest", [1 "groups" Uint]);
schema!(GROUP_GET_RESPONSE, "GroupGetResponse", [1 "groups" Kind::Message(&GROUP_STATE)]);
schema!(GROUPS_REQUEST, "GroupsRequest", [1 "after" Uint, 2 "limit" Uint]);
schema!(GROUPS_RESPONSE, "GroupsResponse", [1 "groups" Kind::Message(&GROUP_STATE), 2 "has_more" Bool]);
schema!(GROUP_MEMBERS_REQUEST, "GroupMembersRequest", [1 "group" Uint, 2 "page" Uint, 3 "size" Uint]);
schema!(GROUP_MEMBERS_RESPONSE, "GroupMembersResponse", [
    1 "members" Kind::Message(&MEMBER), 2 "version" Uint, 3 "count" Uint,
]);
schema!(GROUP_CHANGES_REQUEST, "GroupChangesRequest", [1 "group" Uint, 2 "since" Uint, 3 "limit" Uint]);
schema!(GROUP_CHANGES_RESPONSE, "GroupChangesResponse", [
    1 "changes" Kind::Message(&GROUP_CHANGE), 2 "version" Uint, 3 "has_more" Bool, 4 "too_old" Bool,
]);
schema!(GROUP_DELTA, "GroupDelta", [
    1 "group" Uint, 2 "from_version" Uint, 3 "version" Uint, 4 "changes" Kind::Message(&GROUP_CHANGE),
]);
schema!(PRESENCE_SET_REQUEST, "PresenceSetRequest", [1 "status" Uint, 2 "version" Uint]);
schema!(PRESENCE_SET_RESPONSE, "PresenceSetResponse", [
    1 "record" Kind::Message(&PRESENCE_RECORD), 2 "stale" Bool,
]);
schema!(PRESENCE_RECORD, "PresenceRecord", [1 "version" Uint, 2 "devices" Kind::Message(&DEVICE_PRESENCE)]);
schema!(DEVICE_PRESENCE, "DevicePresence", [1 "device_id" Bytes, 2 "status" Uint, 3 "lease_until_ms" UnixMs]);
schema!(PRESENCE_SUBSCRIBE_REQUEST, "PresenceSubscribeRequest", [1 "add" Uint, 2 "remove" Uint]);
schema!(PRESENCE_SUBSCRIBE_RESPONSE, "PresenceSubscribeResponse", [1 "states" Kind::Message(&PRESENCE)]);
schema!(PRESENCE, "Presence", [1 "uin" Uint, 2 "status" Uint, 3 "version" Uint]);
schema!(PRESENCE_PUSH, "PresencePush", [1 "states" Kind::Message(&PRESENCE)]);
schema!(ADMIN_ACCOUNTS_REQUEST, "AdminAccountsRequest", [1 "after" Uint, 2 "limit" Uint]);
schema!(ADMIN_ACCOUNTS_RESPONSE, "AdminAccountsResponse", [
    1 "accounts" Kind::Message(&ADMIN_ACCOUNT), 2 "has_more" Bool,
]);
schema!(ADMIN_ACCOUNT, "AdminAccount", [
    1 "uin" Uint, 2 "nick" Text, 3 "created_ms" UnixMs, 4 "may_invite" Bool, 5 "devices" Uint,
    6 "revoked" Uint,
]);
schema!(ADMIN_DEVICES_REQUEST, "AdminDevicesRequest", [1 "uin" Uint]);
schema!(ADMIN_INVITE_REQUEST, "AdminInviteRequest", [
    1 "uses" Uint, 2 "lifetime_ms" Uint, 3 "may_invite" Bool, 4 "admin" Bool, 5 "uin" Uint,
]);
schema!(ADMIN_REVOKE_REQUEST, "AdminRevokeRequest", [1 "uin" Uint, 2 "device_id" Bytes]);
schema!(ADMIN_GROUPS_REQUEST, "AdminGroupsRequest", [1 "after" Uint, 2 "limit" Uint]);
schema!(ADMIN_GROUPS_RESPONSE, "AdminGroupsResponse", [1 "groups" Kind::Message(&GROUP), 2 "has_more" Bool]);
schema!(ADMIN_STATS_REQUEST, "AdminStatsRequest", []);
schema!(ADMIN_STATS_RESPONSE, "AdminStatsResponse", [
    1 "accounts" Uint, 2 "groups" Uint, 3 "connections" Uint, 4 "sessions" Uint, 5 "in_store" Uint,
    6 "server_ms" UnixMs,
]);
schema!(ADMIN_BACKUP_REQUEST, "AdminBackupRequest", [1 "name" Text]);
schema!(ADMIN_BACKUP_RESPONSE, "AdminBackupResponse", [1 "file" Text, 2 "bytes" Uint, 3 "sha256" Bytes]);
schema!(ADMIN_VERIFY_REQUEST, "AdminVerifyRequest", []);
schema!(ADMIN_VERIFY_RESPONSE, "AdminVerifyResponse", [1 "records" Uint, 2 "faults" Text]);
schema!(ADMIN_AUDIT_REQUEST, "AdminAuditRequest", [1 "before" Uint, 2 "limit" Uint]);
schema!(ADMIN_AUDIT_RESPONSE, "AdminAuditResponse", [
    1 "entries" Kind::Message(&AUDIT_ENTRY), 2 "has_more" Bool,
]);
schema!(AUDIT_ENTRY, "AuditEntry", [
    1 "number" Uint, 2 "at_ms" UnixMs, 3 "uin" Uint, 4 "device_id" Bytes, 5 "act" Text, 6 "subject" Text,
]);

/// What the body of a packet is. `None`: an application's packet, or one of a later version.
pub(super) fn of_packet(id: PacketId, kind: PacketKind) -> Option<&'static Schema> {
    let (request, response) = match id {
        PacketId::NOTIFY if kind == PacketKind::Push => return Some(&NOTIFY),
        PacketId::TYPING if kind == PacketKind::Push => return Some(&TYPING_PUSH),
        PacketId::DIRTY if kind == PacketKind::Push => return Some(&DIRTY),
        PacketId::GROUP_DELTA if kind == PacketKind::Push => return Some(&GROUP_DELTA),
        PacketId::PRESENCE if kind == PacketKind::Push => return Some(&PRESENCE_PUSH),
        PacketId::SEND => (&SEND_REQUEST, &SEND_RESPONSE),
        PacketId::DELIVERED => (&DELIVERED_REQUEST, &DELIVERED_RESPONSE),
        PacketId::TYPING => (&TYPING_REQUEST, &TYPING_RESPONSE),
        PacketId::MARKS => (&MARKS_REQUEST, &MARKS_RESPONSE),
        PacketId::SYNC => (&SYNC_REQUEST, &SYNC_RESPONSE),
        PacketId::HISTORY => (&HISTORY_REQUEST, &HISTORY_RESPONSE),
        PacketId::SNAPSHOT => (&SNAPSHOT_REQUEST, &SNAPSHOT_RESPONSE),
        PacketId::DEVICES => (&DEVICES_REQUEST, &DEVICES_RESPONSE),
        PacketId::REVOKE_DEVICE => (&REVOKE_REQUEST, &REVOKE_RESPONSE),
        PacketId::INVITE => (&INVITE_REQUEST, &INVITE_RESPONSE),
        PacketId::ADMIN_ACCOUNTS => (&ADMIN_ACCOUNTS_REQUEST, &ADMIN_ACCOUNTS_RESPONSE),
        PacketId::ADMIN_DEVICES => (&ADMIN_DEVICES_REQUEST, &DEVICES_RESPONSE),
        PacketId::ADMIN_INVITE => (&ADMIN_INVITE_REQUEST, &INVITE_RESPONSE),
        PacketId::ADMIN_REVOKE => (&ADMIN_REVOKE_REQUEST, &REVOKE_RESPONSE),
        PacketId::ADMIN_GROUPS => (&ADMIN_GROUPS_REQUEST, &ADMIN_GROUPS_RESPONSE),
        PacketId::ADMIN_STATS => (&ADMIN_STATS_REQUEST, &ADMIN_STATS_RESPONSE),
        PacketId::ADMIN_BACKUP => (&ADMIN_BACKUP_REQUEST, &ADMIN_BACKUP_RESPONSE),
        PacketId::ADMIN_VERIFY => (&ADMIN_VERIFY_REQUEST, &ADMIN_VERIFY_RESPONSE),
        PacketId::ADMIN_AUDIT => (&ADMIN_AUDIT_REQUEST, &ADMIN_AUDIT_RESPONSE),
        PacketId::PROFILE_SET => (&PROFILE_SET_REQUEST, &PROFILE_SET_RESPONSE),
        PacketId::PROFILES => (&PROFILES_REQUEST, &PROFILES_RESPONSE),
        PacketId::FRIEND_REQUEST => (&FRIEND_REQUEST_REQUEST, &FRIEND_RESPONSE),
        PacketId::FRIEND_ANSWER => (&FRIEND_ANSWER_REQUEST, &FRIEND_RESPONSE),
        PacketId::FRIEND_UPDATE => (&FRIEND_UPDATE_REQUEST, &FRIEND_RESPONSE),
        PacketId::FRIEND_DELETE => (&FRIEND_DELETE_REQUEST, &FRIEND_RESPONSE),
        PacketId::FRIENDS => (&FRIENDS_REQUEST, &FRIENDS_RESPONSE),
        PacketId::GROUP_CREATE => (&GROUP_CREATE_REQUEST, &GROUP_RESPONSE),
        PacketId::GROUP_GET => (&GROUP_GET_REQUEST, &GROUP_GET_RESPONSE),
        PacketId::GROUP_UPDATE => (&GROUP_UPDATE_REQUEST, &GROUP_RESPONSE),
        PacketId::GROUP_INVITE => (&GROUP_INVITE_REQUEST, &GROUP_RESPONSE),
        PacketId::GROUP_JOIN => (&GROUP_REQUEST, &GROUP_RESPONSE),
        PacketId::GROUP_LEAVE => (&GROUP_REQUEST, &GROUP_RESPONSE),
        PacketId::GROUP_REMOVE => (&GROUP_REMOVE_REQUEST, &GROUP_RESPONSE),
        PacketId::GROUP_DISSOLVE => (&GROUP_REQUEST, &GROUP_RESPONSE),
        PacketId::GROUP_ROLE => (&GROUP_ROLE_REQUEST, &GROUP_RESPONSE),
        PacketId::GROUP_MUTE => (&GROUP_MUTE_REQUEST, &GROUP_RESPONSE),
        PacketId::GROUP_MEMBERS => (&GROUP_MEMBERS_REQUEST, &GROUP_MEMBERS_RESPONSE),
        PacketId::GROUP_CHANGES => (&GROUP_CHANGES_REQUEST, &GROUP_CHANGES_RESPONSE),
        PacketId::GROUPS => (&GROUPS_REQUEST, &GROUPS_RESPONSE),
        PacketId::PRESENCE_SET => (&PRESENCE_SET_REQUEST, &PRESENCE_SET_RESPONSE),
        PacketId::PRESENCE_SUBSCRIBE => (&PRESENCE_SUBSCRIBE_REQUEST, &PRESENCE_SUBSCRIBE_RESPONSE),
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

    /// The committed schema files are what the names must agree with.
    const PROTO: &str = concat!(
        include_str!("../../../../proto/ntproto/v2/messages.proto"),
        include_str!("../../../../proto/ntproto/v2/people.proto"),
        include_str!("../../../../proto/ntproto/v2/groups.proto"),
        include_str!("../../../../proto/ntproto/v2/presence.proto"),
        include_str!("../../../../proto/ntproto/v2/admin.proto"),
        include_str!("../../../../proto/ntproto/v2/handshake.proto"),
    );

    #[test]
    fn every_packet_of_ours_is_listed() {
        for id in PacketId::ALL {
            let kinds = [PacketKind::Request(1), PacketKind::Response(1), PacketKind::Push];
            assert!(kinds.iter().any(|kind| of_packet(*id, *kind).is_some()), "{id:?}");
        }
    }

    #[test]
    fn the_names_are_those_of_the_schema() {
        let all = [
            &TICKET,
            &ERROR,
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
            &GAP,
            &DIRTY,
            &SNAPSHOT_REQUEST,
            &SNAPSHOT_RESPONSE,
            &CONVERSATION_STATE,
            &HISTORY_REQUEST,
            &HISTORY_RESPONSE,
            &MARKS_REQUEST,
            &MARKS_RESPONSE,
            &TYPING_REQUEST,
            &TYPING_RESPONSE,
            &TYPING_PUSH,
            &DEVICES_REQUEST,
            &DEVICES_RESPONSE,
            &DEVICE,
            &REVOKE_REQUEST,
            &REVOKE_RESPONSE,
            &INVITE_REQUEST,
            &INVITE_RESPONSE,
            &USER,
            &FRIEND,
            &PROFILE_SET_REQUEST,
            &PROFILE_SET_RESPONSE,
            &PROFILES_REQUEST,
            &PROFILES_RESPONSE,
            &FRIEND_REQUEST_REQUEST,
            &FRIEND_ANSWER_REQUEST,
            &FRIEND_UPDATE_REQUEST,
            &FRIEND_DELETE_REQUEST,
            &FRIEND_RESPONSE,
            &FRIENDS_REQUEST,
            &FRIENDS_RESPONSE,
            &GROUP,
            &MEMBER,
            &GROUP_STATE,
            &GROUP_CHANGE,
            &GROUP_CREATE_REQUEST,
            &GROUP_UPDATE_REQUEST,
            &GROUP_INVITE_REQUEST,
            &GROUP_REQUEST,
            &GROUP_REMOVE_REQUEST,
            &GROUP_ROLE_REQUEST,
            &GROUP_MUTE_REQUEST,
            &GROUP_RESPONSE,
            &GROUP_GET_REQUEST,
            &GROUP_GET_RESPONSE,
            &GROUPS_REQUEST,
            &GROUPS_RESPONSE,
            &GROUP_MEMBERS_REQUEST,
            &GROUP_MEMBERS_RESPONSE,
            &GROUP_CHANGES_REQUEST,
            &GROUP_CHANGES_RESPONSE,
            &GROUP_DELTA,
            &PRESENCE_SET_REQUEST,
            &PRESENCE_SET_RESPONSE,
            &PRESENCE_RECORD,
            &DEVICE_PRESENCE,
            &PRESENCE_SUBSCRIBE_REQUEST,
            &PRESENCE_SUBSCRIBE_RESPONSE,
            &PRESENCE,
            &PRESENCE_PUSH,
            &ADMIN_ACCOUNTS_REQUEST,
            &ADMIN_ACCOUNTS_RESPONSE,
            &ADMIN_ACCOUNT,
            &ADMIN_DEVICES_REQUEST,
            &ADMIN_INVITE_REQUEST,
            &ADMIN_REVOKE_REQUEST,
            &ADMIN_GROUPS_REQUEST,
            &ADMIN_GROUPS_RESPONSE,
            &ADMIN_STATS_REQUEST,
            &ADMIN_STATS_RESPONSE,
            &ADMIN_BACKUP_REQUEST,
            &ADMIN_BACKUP_RESPONSE,
            &ADMIN_VERIFY_REQUEST,
            &ADMIN_VERIFY_RESPONSE,
            &ADMIN_AUDIT_REQUEST,
            &ADMIN_AUDIT_RESPONSE,
            &AUDIT_ENTRY,
        ];
        for schema in all {
            let head = format!("message {} {{", schema.name);
            let (_, body) = PROTO.split_once(&head).unwrap_or_else(|| panic!("no {head}"));
            let body = body.split_once('}').map_or("", |(b, _)| b);
            let lines = body.lines().map(str::trim).filter(|l| !l.starts_with("//") && l.contains('='));
            let mut count = 0;
            for line in lines {
                let (left, number) = line.trim_end_matches(';').split_once(" = ").unwrap_or_default();
                let number = number.split(' ').next().unwrap_or_default();
                let mut words = left.split_whitespace().rev();
                let (name, typ) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                let field = schema.fields.iter().find(|f| f.name == name);
                let field = field.unwrap_or_else(|| panic!("{}.{name} is not listed", schema.name));
                assert_eq!(field.number.to_string(), number, "{}.{name}", schema.name);
                let fits = match field.kind {
                    // An enumeration is a number, too.
                    Uint => matches!(typ, "uint32" | "uint64") || PROTO.contains(&format!("enum {typ} {{")),
                    UnixMs | Code | Kind::EventType => matches!(typ, "uint32" | "uint64"),
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
