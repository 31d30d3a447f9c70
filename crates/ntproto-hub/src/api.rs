//! What goes into the hub and what comes out of it.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;
use ntproto_core::binding::Binding;
use ntproto_core::code::ErrorCode;
use ntproto_core::crypto::CryptoProvider;
use ntproto_core::crypto::identity::ServerKeys;
use ntproto_core::dispatch::Outcome as Answer;
use ntproto_core::endpoint::{Closed, WaitReason};
use ntproto_core::ids::{DeviceId, Uin};
use ntproto_core::session::ticket::TicketSealer;
use ntproto_core::time::Instant;
use ntproto_core::trace::{SpanId, TraceContext};
use ntproto_core::wire::channel::{Channel, ChannelSet};
use ntproto_core::wire::packet::PacketId;
use ntproto_proto::Hidden;

use crate::store::{OpId, Outcome, StoreError, Txn};

/// A connection, as the host numbers them. A number is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whom an HTTP request acts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    /// The account.
    pub uin: Uin,
    /// Its device.
    pub device: DeviceId,
    /// The connection of the session: when that ends, so does the right to act for it.
    pub conn: ConnId,
}

/// A request that the application answers, as the hub numbers them. A number is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);

/// A request with a packet id of the application's.
#[derive(Clone, PartialEq, Eq)]
pub struct Ask {
    /// Its number.
    pub id: AskId,
    /// The connection it came on, whose session has proven that it holds its keys.
    pub conn: ConnId,
    /// The account that asks.
    pub uin: Uin,
    /// The device that asks.
    pub device: DeviceId,
    /// What it asks for.
    pub packet: PacketId,
    /// The request.
    pub body: Bytes,
    /// Nobody waits for an answer after this. [`Output::Abandoned`] says so too.
    pub deadline: Instant,
}

impl fmt::Debug for Ask {
    /// Without the body, which may hold what somebody wrote.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask")
            .field("id", &self.id)
            .field("conn", &self.conn)
            .field("uin", &self.uin)
            .field("device", &self.device)
            .field("packet", &self.packet)
            .field("body", &Hidden(&self.body))
            .field("deadline", &self.deadline)
            .finish()
    }
}

/// What an administrator asks of the host, which the store has authorised and noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAsk {
    /// Its number, of a row of their own.
    pub id: AskId,
    /// What to do.
    pub task: HostTask,
}

/// What a host does with its store, beside the store's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostTask {
    /// Writes a whole copy, as the store is at one moment. Answered with an encoded
    /// [`AdminBackupResponse`](ntproto_proto::v2::AdminBackupResponse).
    Backup {
        /// Its name: letters, digits, `-` and `_`.
        name: String,
    },
    /// Reads every record, and what they say of each other. Answered with an encoded
    /// [`AdminVerifyResponse`](ntproto_proto::v2::AdminVerifyResponse).
    Verify,
}

/// Something the application tells an account.
#[derive(Clone, PartialEq, Eq)]
pub struct Push {
    /// The account.
    pub to: Uin,
    /// What it is about: an id of the application's. Others are the hub's own and are not sent.
    pub packet: PacketId,
    /// What is told.
    pub body: Bytes,
}

impl fmt::Debug for Push {
    /// Without the body, which may hold what somebody wrote.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push")
            .field("to", &self.to)
            .field("packet", &self.packet)
            .field("body", &Hidden(&self.body))
            .finish()
    }
}

/// What the host tells the hub.
#[derive(Debug)]
pub enum Input<'a> {
    /// A transport is up, or takes early data ([`Binding::EARLY`]).
    Opened {
        /// Its number.
        conn: ConnId,
        /// What sessions on it are bound to.
        binding: Binding,
        /// Where it comes from.
        remote: SocketAddr,
    },
    /// A transport that took early data is up.
    Bound {
        /// The connection.
        conn: ConnId,
        /// What its session is bound to.
        binding: Binding,
    },
    /// Bytes of a channel, in order, in pieces of any size.
    Bytes {
        /// The connection.
        conn: ConnId,
        /// The channel.
        channel: Channel,
        /// The bytes.
        data: &'a [u8],
    },
    /// The channels of a connection that take bytes now; all others do not.
    Writable {
        /// The connection.
        conn: ConnId,
        /// Its channels.
        channels: ChannelSet,
    },
    /// A transport is gone. None comes after [`Output::Close`].
    Closed {
        /// The connection.
        conn: ConnId,
    },
    /// A transaction has ended. They end in the order they were asked for, but for those that expired.
    StoreDone {
        /// Its number.
        op: OpId,
        /// How.
        result: Result<Outcome, StoreError>,
    },
    /// The application has answered a request. One that was abandoned is answered in vain.
    Answered {
        /// Its number.
        ask: AskId,
        /// What came of it.
        answer: Answer,
    },
    /// The host is done with what an administrator asked for, or can't do it.
    HostAnswered {
        /// Its number.
        ask: AskId,
        /// What came of it.
        answer: Answer,
    },
    /// The application tells an account something: its devices that are connected and read. It is not kept for
    /// the others.
    Push(Push),
    /// The deadline of the last [`Output::Wait`] passed.
    Timeout,
}

/// What the operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Let nobody in, finish what is in the store, send everybody away; then
    /// [`HubEvent::Drained`] comes.
    Drain,
    /// End a connection.
    Close(ConnId, ErrorCode),
    /// Move the keys of a session on.
    UpdateKeys(ConnId),
}

/// What the caller did that can't be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misuse {
    /// It drains already.
    Draining,
    /// No such connection, or not in this state.
    NoConnection,
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Draining => "the hub drains already",
            Self::NoConnection => "no such connection in this state",
        })
    }
}

impl core::error::Error for Misuse {}

/// What the hub wants next.
#[derive(Debug)]
#[must_use]
pub enum Output {
    /// The buffer holds bytes for this channel of this connection.
    Transmit {
        /// The connection.
        conn: ConnId,
        /// The channel.
        channel: Channel,
    },
    /// Run this on the store; answer with [`Input::StoreDone`].
    Store {
        /// Its number.
        op: OpId,
        /// The transaction.
        txn: Txn,
        /// Nobody waits for it after this: a store that comes to it later answers
        /// [`StoreError::Expired`] instead.
        deadline: Option<Instant>,
    },
    /// The application is asked; answer with [`Input::Answered`]. It may never answer: then the asker learns so at
    /// the deadline.
    Ask(Ask),
    /// An administrator asks; answer with [`Input::HostAnswered`]. None other comes before that, however long it
    /// takes. It is not called off when nobody waits any more.
    Host(HostAsk),
    /// Nobody waits for this answer any more: its deadline passed, or its connection is gone.
    Abandoned {
        /// The request.
        ask: AskId,
    },
    /// Take this transport down. It comes once for a connection, and not at all when the host said
    /// [`Input::Closed`] first.
    Close {
        /// The connection.
        conn: ConnId,
        /// Why, for the transport to say.
        code: ErrorCode,
    },
    /// Read this connection again (see [`Hub::accepts`](crate::Hub::accepts)).
    Resume {
        /// The connection.
        conn: ConnId,
    },
    /// Something for the log.
    Event(HubEvent),
    /// Nothing before `at`, unless an input or a command comes.
    Wait {
        /// The instant to call again; `None`: no timer runs.
        at: Option<Instant>,
        /// What the timer is for.
        why: WaitReason,
    },
}

/// How far a connection is, for logs and for whoever draws the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// AUTH_REQ is awaited.
    Greeting,
    /// AUTH_REQ came and waits: for the clock, or as early data for the transport.
    Parked,
    /// The store is asked about the device.
    Authenticating,
    /// Let in; whether its AUTH_REQ was a replay is open until its first sealed frame.
    Granted,
    /// Let in, and the session of its device.
    Confirmed,
    /// Over; its last words are on their way.
    Leaving,
}

/// What happened, for logs and counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HubEvent {
    /// A device was let in.
    In {
        /// The connection.
        conn: ConnId,
        /// The account.
        uin: Uin,
        /// The device.
        device: DeviceId,
        /// It is new.
        enrolled: bool,
    },
    /// A device was kept out.
    Refused {
        /// The connection.
        conn: ConnId,
        /// Where it came from.
        remote: SocketAddr,
        /// Why.
        code: ErrorCode,
    },
    /// A connection ended. Comes once for each that was opened.
    Closed {
        /// The connection.
        conn: ConnId,
        /// Where it came from.
        remote: SocketAddr,
        /// Why.
        why: Closed,
    },
    /// A request whose asker keeps its trace was answered.
    Served(Served),
    /// The store failed.
    StoreFailed(StoreError),
    /// The drain is over: nothing is in the store, nobody is connected.
    Drained,
}

/// A request that was answered, for the trace it belongs to. Nothing in it says who asked, or what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// What was asked.
    pub packet: PacketId,
    /// The asker's trace, and its span.
    pub trace: TraceContext,
    /// The span of what the server did. What a message leads to names it as its cause.
    pub span: SpanId,
    /// From the request's coming until its answer.
    pub lasted: Duration,
    /// Why it was refused, if it was.
    pub refused: Option<ErrorCode>,
    /// Of a message: whether it went to a group.
    pub group: Option<bool>,
}

/// The keys a hub works with.
pub struct HubKeys {
    /// The primitives.
    pub provider: &'static dyn CryptoProvider,
    /// The server's static keys.
    pub server: Arc<ServerKeys>,
    /// The keys of tickets.
    pub tickets: TicketSealer,
}
