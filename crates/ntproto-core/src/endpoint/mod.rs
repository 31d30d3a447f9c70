//! One authenticated connection over any transport (specification, "Connections").
//!
//! ```text
//!  bytes of a channel ─▶ reassembly ─▶ rules ─▶ link (open, packets) ─▶ events
//!  commands ─▶ queues ─▶ link (seal, CONTROL first) ─▶ bytes of a channel
//! ```
//!
//! [`client::ClientEndpoint`] and [`server::ServerEndpoint`] differ in how they authenticate and in
//! which frames they may receive; [`rules`] says which. What the credentials are worth is decided
//! further up: the server side asks by an event and is told by a command.

mod base;
pub mod client;
mod link;
mod queue;
mod reassembly;
pub mod rules;
pub mod server;
#[cfg(test)]
mod tests;

use core::fmt;

use crate::binding::Binding;
use crate::channel::Refused;
use crate::code::ErrorCode;
use crate::time::Instant;
use crate::wire::channel::{Channel, ChannelSet};
use crate::wire::frame::FrameError;
use crate::wire::nthd::NthdError;
use crate::wire::packet::PacketError;

pub use queue::QUEUE_LIMIT;

/// Packets in one frame at most: bounds the events one frame can cause.
pub const MAX_PACKETS_PER_FRAME: usize = 4096;
/// Bytes of an error's detail that are sent: enough for a sentence.
pub const MAX_DETAIL: usize = 200;
/// A frame of packets is closed at this size: large enough to share the cost of sealing, small
/// enough that CONTROL never waits long behind it.
pub const FRAME_TARGET: usize = 16 * 1024;
/// What an emptied buffer keeps for the next frame: two frames of packets. A connection gives it back when its
/// heartbeat comes, so an idle one holds no buffer.
const KEPT_BUFFER: usize = 2 * FRAME_TARGET;
/// The handshake must end within this.
pub const AUTH_TIMEOUT: core::time::Duration = core::time::Duration::from_secs(10);

/// What the transport tells an endpoint.
#[derive(Debug)]
pub enum Input<'a> {
    /// Bytes of a channel, in order, in pieces of any size.
    Bytes {
        /// The channel.
        channel: Channel,
        /// The bytes.
        data: &'a [u8],
    },
    /// The TLS handshake under a session made in early data is complete: this binds it.
    Bound(Binding),
    /// The channels that take bytes now, all others do not.
    Writable(ChannelSet),
    /// The transport is gone.
    TransportClosed,
    /// The deadline of the last [`Output::Wait`] passed.
    Timeout,
}

/// What an endpoint wants next.
#[derive(Debug)]
#[must_use]
pub enum Output<E> {
    /// The buffer holds bytes for this channel.
    Transmit {
        /// The channel.
        channel: Channel,
    },
    /// Something happened.
    Event(E),
    /// Nothing before `at`, unless an input or a command comes.
    Wait {
        /// The instant to call again; `None`: no timer runs.
        at: Option<Instant>,
        /// What the timer is for.
        why: WaitReason,
    },
}

/// What a timer is for, so that a wake-up can be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// No timer runs.
    Idle,
    /// The handshake must end.
    Authentication,
    /// A heartbeat is due, or its answer.
    Heartbeat,
    /// The ticket runs out.
    TicketExpiry,
    /// The ticket should be refreshed.
    TicketRefresh,
    /// The transport must come up.
    Connect,
    /// The wait before the next connection.
    Backoff,
    /// A session that holds this long resets the backoff.
    Settled,
    /// A request's deadline.
    Deadline,
    /// The server asked to wait.
    RetryAfter,
    /// The server clock's floor must be moved.
    ClockFloor,
    /// Leases are renewed or run out, and subscribers are told of it.
    Presence,
    /// Members of large groups are told to sync, some at a time.
    Pace,
}

/// What the peer did. Each becomes a close code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerError {
    /// Bytes that are no frame.
    Frame(FrameError),
    /// Bytes that are no NTHD message, where one should stand.
    Nthd(NthdError),
    /// A frame that is not authentic.
    Forged,
    /// A frame without a place here.
    Unexpected,
    /// A known frame whose content can't be read.
    Malformed,
    /// Bad packets.
    Packet(PacketError),
    /// More packets in a frame than [`MAX_PACKETS_PER_FRAME`].
    TooManyPackets,
    /// A handshake message that can't be read.
    Handshake,
    /// Too many frames that ask for an answer.
    Flood,
    /// Something else than one AUTH_REQ before the transport's handshake was complete.
    TooEarly,
}

impl PeerError {
    /// The code the peer is told.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Frame(FrameError::TooLarge(_))
            | Self::Nthd(NthdError::TooLarge(_))
            | Self::TooManyPackets
            | Self::Flood => ErrorCode::TooLarge,
            //= spec: spec-3
            Self::Frame(FrameError::Version(_)) | Self::Nthd(NthdError::Version(_)) => ErrorCode::Version,
            Self::Unexpected => ErrorCode::UnexpectedFrame,
            Self::TooEarly => ErrorCode::TooEarly,
            Self::Handshake => ErrorCode::Handshake,
            Self::Malformed | Self::Packet(_) => ErrorCode::BadRequest,
            // A bad checksum and a bad tag look the same from outside.
            //= spec: sealed-5
            Self::Frame(_) | Self::Nthd(_) | Self::Forged => ErrorCode::Protocol,
        }
    }
}

impl From<FrameError> for PeerError {
    fn from(e: FrameError) -> Self {
        Self::Frame(e)
    }
}

impl From<NthdError> for PeerError {
    fn from(e: NthdError) -> Self {
        Self::Nthd(e)
    }
}

impl From<Refused> for PeerError {
    fn from(_: Refused) -> Self {
        Self::Forged
    }
}

impl From<PacketError> for PeerError {
    fn from(e: PacketError) -> Self {
        Self::Packet(e)
    }
}

/// Why a connection ended. Told exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// This side closed it.
    Local(ErrorCode),
    /// The peer said so; `None` is a code this side does not know.
    Peer(Option<ErrorCode>),
    /// The peer broke the protocol.
    PeerError(PeerError),
    /// The server refused the credential, authenticated.
    Refused(Option<ErrorCode>),
    /// The handshake took too long.
    AuthTimeout,
    /// Heartbeats went unanswered.
    Silent,
    /// The ticket ran out and was not renewed.
    TicketExpired,
    /// The keys are used up.
    KeyLimit,
    /// The transport is gone.
    Transport,
}

impl Closed {
    /// The code that stands for it in a CLOSE frame and on the transport.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Local(code) => code,
            Self::PeerError(e) => e.code(),
            Self::AuthTimeout | Self::Silent => ErrorCode::Timeout,
            Self::TicketExpired => ErrorCode::TicketExpired,
            Self::KeyLimit => ErrorCode::KeyLimit,
            Self::Peer(_) | Self::Refused(_) | Self::Transport => ErrorCode::Normal,
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |code: &Option<ErrorCode>| code.map_or("an unknown code", ErrorCode::name);
        match self {
            Self::Local(code) => write!(f, "closed here: {code}"),
            Self::Peer(code) => write!(f, "closed by the peer: {}", named(code)),
            Self::PeerError(e) => write!(f, "the peer broke the protocol: {e:?}"),
            Self::Refused(code) => write!(f, "refused by the server: {}", named(code)),
            Self::AuthTimeout => f.write_str("the handshake took too long"),
            Self::Silent => f.write_str("the peer fell silent"),
            Self::TicketExpired => f.write_str("the ticket ran out"),
            Self::KeyLimit => f.write_str("the session's keys are used up"),
            Self::Transport => f.write_str("the transport is gone"),
        }
    }
}

/// What the caller did that can't be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misuse {
    /// Not in this state.
    State,
    /// The channel's queue is full: wait until it drains, or close.
    QueueFull,
    /// Over a limit of the specification.
    TooLarge,
    /// This channel carries no packets.
    Channel,
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::State => "not possible in this state",
            Self::QueueFull => "the send queue is full",
            Self::TooLarge => "larger than the protocol allows",
            Self::Channel => "this channel carries no packets",
        })
    }
}

impl core::error::Error for Misuse {}
