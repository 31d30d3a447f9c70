//! What an application embeds: an endpoint, reconnect, outbox, inbox cursor (specification, "Messages").
//!
//! ```text
//!            commands                       events
//!               │                             ▲
//!        ┌──────▼──────┐  ┌──────────┐  ┌─────┴────┐
//!        │   outbox    │  │ requests │  │  inbox   │──▶ Store(txn) ─▶ host's disk ─▶ StoreDone
//!        └──────┬──────┘  └────┬─────┘  └─────▲────┘
//!               └──────────────▼──────────────┘
//!                      endpoint (one connection at a time)
//!                   Connect ▲   │ Transmit / Bytes
//! ```
//!
//! A message is sent once it is on the local disk, and shown once it is there: [`ClientEvent::Message`]
//! carries a position that only rises, so an application that keeps its last position together with
//! what it did gets every message exactly once, whatever crashes.

mod debug;
mod inbox;
#[cfg(debug_assertions)]
mod journal;
mod machine;
mod outbox;
mod presence;
mod requests;
mod session;
mod snapshot;
#[cfg(test)]
mod tests;
mod txn;

pub use machine::Client;
pub use outbox::{LANE_WINDOW, MAX_OUTBOX_BYTES, MAX_OUTBOX_ENTRIES, SEND_WINDOW};
pub use presence::MAX_RETRIES as MAX_PRESENCE_RETRIES;
pub use requests::{MAX_REQUEST_BYTES, MAX_REQUESTS};
pub use session::{ClientConfig, Credential};
pub use txn::{
    Apply, ClientTxn, Inbound, OutboxEntry, Owed, Saved, SendAction, SendOutcome, Settled, StoreError, Target,
};

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use bytes::Bytes;
use ntproto_proto::v2;

use crate::binding::{Binding, TransportId};
use crate::bootstrap::Bootstrap;
use crate::code::ErrorCode;
use crate::endpoint::{Closed, WaitReason};
use crate::ids::{ClientMsgId, ConversationId, DeviceId, SessionId, Uin};
use crate::presence::State;
use crate::time::Instant;
use crate::trace::TraceContext;
use crate::wire::channel::{Channel, ChannelSet};
use crate::wire::packet::{Packet, PacketId};

/// The largest message body: a message is text and small things; files travel by themselves.
pub const MAX_BODY: usize = 256 * 1024;
/// The deadline of a request that names none.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);

/// Names a store operation between [`Output::Store`] and [`Input::StoreDone`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpId(pub u64);

/// Names a command between its call and its events. A message keeps its number across restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// What the host tells the client.
#[derive(Debug)]
pub enum Input<'a> {
    /// The transport asked for by [`Output::Connect`] is up; with [`Binding::EARLY`], it takes early data. Once more
    /// for the same one, with its own binding: it took none, and its channels begin anew.
    Connected(Binding),
    /// The transport that took early data is up.
    Bound(Binding),
    /// The host has brought up another transport and takes the one before it down: the session moves there. Nothing
    /// that was acknowledged is lost; what was not is sent again. Ignored while there is no connection.
    Moved(Binding),
    /// The host has bootstrapped anew. It comes before [`Connected`](Self::Connected); a host that could not says
    /// nothing, and brings up a transport with what is known.
    Bootstrapped(Bootstrap),
    /// Bytes of a channel, in order.
    Bytes {
        /// The channel.
        channel: Channel,
        /// The bytes.
        data: &'a [u8],
    },
    /// The channels that take bytes now, all others do not.
    Writable(ChannelSet),
    /// The transport is gone, or could not be had.
    Disconnected,
    /// A store operation ended. They end in the order they were asked for.
    StoreDone(OpId, Result<(), StoreError>),
    /// The device has another network, or woke up: try at once.
    NetworkChanged,
    /// The deadline of the last [`Output::Wait`] passed.
    Timeout,
}

/// What an application asks for.
pub enum Command {
    /// Connect and stay connected.
    Start,
    /// Send a message.
    Send {
        /// Where to.
        conversation: ConversationId,
        /// The idempotency key; `None`: a random one.
        client_msg_id: Option<ClientMsgId>,
        /// Opaque to the server; at most [`MAX_BODY`] bytes, or fewer if the server said so.
        body: Bytes,
        /// Give up after this; `None`: keep trying across restarts.
        deadline: Option<Duration>,
        /// A message, or what it does to an earlier one. The body of a recall is left out.
        action: SendAction,
        /// The trace it belongs to. It is no part of what makes a message the same on a retry.
        trace: Option<TraceContext>,
    },
    /// The user has read a conversation up to this number. Written to the local disk, then told to the server, also
    /// after a restart; several in a row are told once.
    Read {
        /// The conversation.
        conversation: ConversationId,
        /// The last number read. One below what is known already changes nothing.
        seq: u64,
    },
    /// Ask the server something. Told to come again later, it is asked again by itself while its deadline allows.
    /// Lost with the connection.
    Request {
        /// The packet id.
        packet: PacketId,
        /// Its body.
        body: Bytes,
        /// `None`: [`DEFAULT_DEADLINE`].
        deadline: Option<Duration>,
        /// The trace it belongs to.
        trace: Option<TraceContext>,
    },
    /// Change how this device appears. A change that loses against another device's is tried again a few times; the
    /// answer is a [`v2::PresenceSetResponse`], `stale` if it lost every time: then it is as its record says. Lost with
    /// the connection, but for this: an online one is online on the next connection too.
    SetPresence(State),
    /// Give a message up. One that may have reached the server is asked after, as one whose deadline passed is: the
    /// outcome is `Sent`, or `SendFailed` with [`Failure::Cancelled`].
    Cancel(ClientMsgId),
    /// The application is done with everything up to this position. One above what it was told is ignored.
    Confirm(u64),
    /// Renew the ticket now.
    RefreshTicket,
    /// Move the session's keys on now.
    UpdateKeys,
    /// Disconnect for good.
    Close,
}

/// What the client wants next.
#[derive(Debug)]
#[must_use]
pub enum Output {
    /// The buffer holds bytes for this channel.
    Transmit {
        /// The channel.
        channel: Channel,
    },
    /// Bring up a transport; answer with `Connected` or `Disconnected`.
    Connect {
        /// Counts from 0 and starts over when a session held.
        attempt: u32,
        /// The only transport that will do; any if `None`. After a bootstrap that told of the server anew, any.
        only: Option<TransportId>,
        /// Bootstrap before, if possible. Only with [`ClientConfig::can_bootstrap`].
        bootstrap: bool,
    },
    /// Take the transport down.
    Disconnect(ErrorCode),
    /// Run this on the local disk; answer with `StoreDone`.
    Store(OpId, ClientTxn),
    /// Tell the application.
    Event(ClientEvent),
    /// Nothing before `at`, unless an input or a command comes.
    Wait {
        /// The instant to call again; `None`: no timer runs.
        at: Option<Instant>,
        /// What the timer is for.
        why: WaitReason,
    },
}

/// What happened.
pub enum ClientEvent {
    /// Authenticated.
    Online {
        /// The session.
        session: SessionId,
        /// The account.
        uin: Uin,
        /// The device.
        device: DeviceId,
        /// What carries it.
        transport: TransportId,
    },
    /// The inbox has been read to its end; pushes keep it so.
    CaughtUp,
    /// Not connected.
    Offline {
        /// Why.
        why: Down,
        /// When the next attempt is made.
        retry_in: Duration,
    },
    /// Over for good. Comes once, last, when the disk has answered everything.
    Stopped(Stopped),
    /// The message is on the local disk and will be sent.
    Queued {
        /// The command.
        request: RequestId,
        /// The message's key.
        client_msg_id: ClientMsgId,
    },
    /// The server stored the message durably.
    Sent {
        /// The command.
        request: RequestId,
        /// The message's key.
        client_msg_id: ClientMsgId,
        /// Its conversation.
        conversation: ConversationId,
        /// Its place there.
        conv_seq: u64,
        /// The server's time of storing.
        stored_ms: u64,
    },
    /// The message was given up on its way, by its deadline or by the application: whether it was stored is being
    /// found out. Comes once for a message.
    SendExpired {
        /// The command.
        request: RequestId,
        /// The message's key.
        client_msg_id: ClientMsgId,
    },
    /// The message was not and will not be stored.
    SendFailed {
        /// The command.
        request: RequestId,
        /// The message's key.
        client_msg_id: ClientMsgId,
        /// Why.
        why: Failure,
    },
    /// A message of the inbox, on the local disk now, or an edit or recall: its `action` says which.
    Message(Inbound),
    /// A member's watermark rose.
    Receipt(v2::Receipt),
    /// A record of a friend changed.
    Friend(v2::Friend),
    /// A group changed, or this account's place in it.
    Group(v2::GroupState),
    /// This account's profile changed.
    Profile(v2::User),
    /// These messages are not in the inbox: they have to be read by HISTORY.
    Gap(v2::Gap),
    /// The inbox was too far behind: what happened meanwhile is told by gaps, and is read by HISTORY.
    Skipped,
    /// Somebody is writing, or has stopped. Never stored.
    Typing(v2::TypingPush),
    /// How accounts appear that this connection subscribed to. Never stored.
    Presence(Vec<v2::Presence>),
    /// The members of a group changed. Not part of the inbox: one may be lost, and the versions show it.
    GroupDelta(v2::GroupDelta),
    /// How the devices of this account appear, after a change of this one.
    OwnPresence(v2::PresenceRecord),
    /// A change of a type this version does not know.
    Other(v2::SyncPacket),
    /// A request was answered.
    Response {
        /// The command.
        request: RequestId,
        /// The answer's body.
        result: Result<Bytes, Failure>,
    },
    /// The server would rather be asked later: the request is asked again by itself, and whoever asks much asks less.
    Deferred {
        /// The command.
        request: RequestId,
    },
    /// A push that is no part of the inbox.
    Push(Packet),
}

/// Why something the application asked for failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The server refused; `None` is a code this version does not know.
    Refused(Option<ErrorCode>, alloc::string::String),
    /// The deadline passed and nothing was done.
    DeadlineExceeded,
    /// The application gave the message up, and it was not stored.
    Cancelled,
    /// The connection was lost before an answer.
    Disconnected,
    /// The local disk failed.
    Store(StoreError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(Some(code), detail) if detail.is_empty() => write!(f, "refused: {code}"),
            Self::Refused(Some(code), detail) => write!(f, "refused: {code} ({detail})"),
            Self::Refused(None, detail) => write!(f, "refused: {detail}"),
            Self::DeadlineExceeded => f.write_str("DEADLINE_EXCEEDED"),
            Self::Cancelled => f.write_str("the message was given up"),
            Self::Disconnected => f.write_str("the connection was lost"),
            Self::Store(e) => write!(f, "the local store failed: {e}"),
        }
    }
}

impl core::error::Error for Failure {}

/// Why the client is not connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// No transport could be had.
    Unreachable,
    /// The connection ended.
    Closed(Closed),
}

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("the server can't be reached"),
            Self::Closed(why) => why.fmt(f),
        }
    }
}

/// Why the client stopped for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The application closed it.
    Closed,
    /// The server will not have this device; trying again is of no use.
    Refused(ErrorCode),
    /// The same device connected from elsewhere.
    Superseded,
    /// The local disk failed; what it held is safe.
    Store(StoreError),
    /// The server's key or the request can't be used.
    Configuration,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed"),
            Self::Refused(code) => write!(f, "the server refuses this device: {code}"),
            Self::Superseded => f.write_str("this device is connected from elsewhere"),
            Self::Store(e) => write!(f, "the local store failed: {e}"),
            Self::Configuration => f.write_str("the server's key or the device's request can't be used"),
        }
    }
}

/// What the application did that can't be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misuse {
    /// The client stopped, or was not started.
    State,
    /// The body is over [`MAX_BODY`], or over what the server said it takes.
    TooLarge,
    /// The outbox is full: wait until some of it is sent.
    OutboxFull,
    /// Too many requests at once.
    TooManyRequests,
    /// The key names another message that waits.
    DuplicateId,
    /// No message with this key waits: it is settled, or never was.
    UnknownId,
    /// This account is no member of that conversation.
    NotMember,
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::State => "the client is not running",
            Self::TooLarge => "the body is larger than the server takes (256 KiB at most)",
            Self::OutboxFull => "the outbox is full",
            Self::TooManyRequests => "too many requests at once",
            Self::DuplicateId => "another message with this id waits",
            Self::UnknownId => "no message with this id waits",
            Self::NotMember => "this account is no member of that conversation",
        })
    }
}

impl core::error::Error for Misuse {}
