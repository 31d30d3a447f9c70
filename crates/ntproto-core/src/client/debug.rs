//! `Debug` of what carries bodies, which may hold an invitation or what somebody wrote: sizes only.

use core::fmt;

use ntproto_proto::Hidden;

use super::{ClientEvent, Command, Credential, OutboxEntry};

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invitation(code) => f.debug_tuple("Invitation").field(&Hidden(code)).finish(),
            Self::Link(link) => f.debug_tuple("Link").field(link).finish(),
            Self::Open => f.write_str("Open"),
        }
    }
}

impl fmt::Debug for OutboxEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxEntry")
            .field("order", &self.order)
            .field("client_msg_id", &self.client_msg_id)
            .field("conversation", &self.conversation)
            .field("body", &Hidden(&self.body))
            .field("expires", &self.expires)
            .field("action", &self.action)
            .field("trace", &self.trace)
            .finish()
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("Start"),
            Self::Send { conversation, client_msg_id, body, deadline, action, trace } => f
                .debug_struct("Send")
                .field("conversation", conversation)
                .field("client_msg_id", client_msg_id)
                .field("body", &Hidden(body))
                .field("deadline", deadline)
                .field("action", action)
                .field("trace", trace)
                .finish(),
            Self::Read { conversation, seq } => {
                f.debug_struct("Read").field("conversation", conversation).field("seq", seq).finish()
            }
            Self::Request { packet, body, deadline, trace } => f
                .debug_struct("Request")
                .field("packet", packet)
                .field("body", &Hidden(body))
                .field("deadline", deadline)
                .field("trace", trace)
                .finish(),
            Self::SetPresence(state) => f.debug_tuple("SetPresence").field(state).finish(),
            Self::Cancel(id) => f.debug_tuple("Cancel").field(id).finish(),
            Self::Confirm(position) => f.debug_tuple("Confirm").field(position).finish(),
            Self::RefreshTicket => f.write_str("RefreshTicket"),
            Self::UpdateKeys => f.write_str("UpdateKeys"),
            Self::Close => f.write_str("Close"),
        }
    }
}

impl fmt::Debug for ClientEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Online { session, uin, device, transport } => f
                .debug_struct("Online")
                .field("session", session)
                .field("uin", uin)
                .field("device", device)
                .field("transport", transport)
                .finish(),
            Self::CaughtUp => f.write_str("CaughtUp"),
            Self::Offline { why, retry_in } => {
                f.debug_struct("Offline").field("why", why).field("retry_in", retry_in).finish()
            }
            Self::Stopped(why) => f.debug_tuple("Stopped").field(why).finish(),
            Self::Queued { request, client_msg_id } => f
                .debug_struct("Queued")
                .field("request", request)
                .field("client_msg_id", client_msg_id)
                .finish(),
            Self::Sent { request, client_msg_id, conversation, conv_seq, stored_ms } => f
                .debug_struct("Sent")
                .field("request", request)
                .field("client_msg_id", client_msg_id)
                .field("conversation", conversation)
                .field("conv_seq", conv_seq)
                .field("stored_ms", stored_ms)
                .finish(),
            Self::SendExpired { request, client_msg_id } => f
                .debug_struct("SendExpired")
                .field("request", request)
                .field("client_msg_id", client_msg_id)
                .finish(),
            Self::SendFailed { request, client_msg_id, why } => f
                .debug_struct("SendFailed")
                .field("request", request)
                .field("client_msg_id", client_msg_id)
                .field("why", why)
                .finish(),
            Self::Message(inbound) => f.debug_tuple("Message").field(inbound).finish(),
            Self::Receipt(receipt) => f.debug_tuple("Receipt").field(receipt).finish(),
            Self::Friend(friend) => f.debug_tuple("Friend").field(friend).finish(),
            Self::Group(group) => f.debug_tuple("Group").field(group).finish(),
            Self::Profile(profile) => f.debug_tuple("Profile").field(profile).finish(),
            Self::Gap(gap) => f.debug_tuple("Gap").field(gap).finish(),
            Self::Skipped => f.write_str("Skipped"),
            Self::Typing(typing) => f.debug_tuple("Typing").field(typing).finish(),
            Self::Presence(states) => f.debug_tuple("Presence").field(states).finish(),
            Self::GroupDelta(delta) => f.debug_tuple("GroupDelta").field(delta).finish(),
            Self::OwnPresence(record) => f.debug_tuple("OwnPresence").field(record).finish(),
            Self::Other(packet) => f.debug_tuple("Other").field(packet).finish(),
            Self::Response { request, result } => f
                .debug_struct("Response")
                .field("request", request)
                .field("result", &result.as_ref().map(|body| Hidden(body)))
                .finish(),
            Self::Deferred { request } => f.debug_struct("Deferred").field("request", request).finish(),
            Self::Push(packet) => f.debug_tuple("Push").field(packet).finish(),
        }
    }
}
