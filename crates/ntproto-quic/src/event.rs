//! What goes into an endpoint and what comes out.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ntproto_core::binding::Binding;
use ntproto_core::time::Instant;
use ntproto_core::wire::channel::Channel;
use quinn_proto::ConnectionError;

use crate::ConnId;

/// Datagrams from one peer, as the kernel may hand them over: several of one size in a row.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Who sent them.
    pub remote: SocketAddr,
    /// Which of our addresses they came to, where the socket says so.
    pub local_ip: Option<IpAddr>,
    /// The two ECN bits of the IP header, where the socket says so.
    pub ecn: Option<u8>,
    /// The size of every datagram but the last; `data.len()` for a single one.
    pub stride: usize,
    /// The datagrams.
    pub data: &'a [u8],
}

impl<'a> Received<'a> {
    /// A single datagram.
    #[must_use]
    pub fn one(remote: SocketAddr, data: &'a [u8]) -> Self {
        Self { remote, local_ip: None, ecn: None, stride: data.len(), data }
    }
}

/// From the network or the clock.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Datagrams came in.
    Datagram(Received<'a>),
    /// The deadline of the last `Wait` has come. Calling early or twice does no harm.
    Timeout,
}

/// A batch of datagrams in the transmit buffer, for one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub remote: SocketAddr,
    /// From which of our addresses, if it matters.
    pub local_ip: Option<IpAddr>,
    /// The two ECN bits of the IP header.
    pub ecn: Option<u8>,
    /// The size of every datagram but the last, when there are several.
    pub segment_size: Option<usize>,
    /// How many bytes in all.
    pub len: usize,
}

/// What an endpoint has to say.
#[derive(Debug)]
#[must_use]
pub enum Output {
    /// Send what is in the transmit buffer, then poll again.
    Transmit(Transmit),
    /// Something happened, poll again.
    Event(Event),
    /// Nothing more until then, or until the next input.
    Wait {
        /// When to call with `Input::Timeout`; never if `None`. It is "now" while datagrams wait for a buffer.
        at: Option<Instant>,
        /// Why.
        reason: WaitReason,
    },
}

/// Why an endpoint waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// Datagrams wait for a transmit buffer.
    Transmit,
    /// A handshake must be done by then.
    Handshake,
    /// A transport timer: loss detection, delayed acknowledgement, pacing, idle or closing time.
    Transport,
    /// There is nothing to wait for but datagrams.
    Idle,
}

/// What became of early data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlyData {
    /// There was none: no [`Event::Early`] came.
    Unused,
    /// It arrived, or will: the channels go on.
    Accepted,
    /// The server took none of it: the channels begin anew, and what was written is lost. Only a client is told.
    Refused,
}

/// Something happened to a connection.
#[derive(Debug)]
pub enum Event {
    /// The channels may be used before the handshake is complete. A client has a session to resume: what it writes
    /// now goes out with its first packets. A server reads such bytes: they may be a replay, and what it writes goes
    /// to an address that may be somebody else's. `Connected` follows, or `Closed`.
    Early {
        /// The connection.
        conn: ConnId,
        /// The peer, as it says.
        remote: SocketAddr,
    },
    /// The handshake is complete: keys are proven and channels open.
    Connected {
        /// The connection.
        conn: ConnId,
        /// The protocol both sides agreed on.
        alpn: Vec<u8>,
        /// Ties a session to this connection.
        binding: Binding,
        /// The peer.
        remote: SocketAddr,
        /// What became of early data.
        early: EarlyData,
    },
    /// Bytes came on this channel. Read until it is empty, or remember that it is not: it is said when bytes
    /// come, not again for those that lie there.
    Readable {
        /// The connection.
        conn: ConnId,
        /// The channel.
        channel: Channel,
    },
    /// A channel that refused bytes takes some again.
    Writable {
        /// The connection.
        conn: ConnId,
        /// The channel.
        channel: Channel,
    },
    /// Something happened to the streams of a connection that speaks another protocol: visit it and take what, with
    /// [`Conn::next_stream_event`](crate::Conn::next_stream_event).
    Streams {
        /// The connection.
        conn: ConnId,
    },
    /// Datagrams wait.
    Datagram {
        /// The connection.
        conn: ConnId,
    },
    /// The connection is over: the last event of every connection, exactly once. What its channels still hold is
    /// gone with it: read on `Readable`, before polling on.
    Closed {
        /// The connection.
        conn: ConnId,
        /// Why.
        reason: Closed,
    },
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closed {
    /// The host closed it.
    Local {
        /// The code it gave.
        code: u32,
    },
    /// The peer's application closed it.
    Peer {
        /// The code it gave; a larger one reads as `u32::MAX`.
        code: u32,
        /// What it said, cut to [`MAX_CLOSE_REASON`](crate::config::MAX_CLOSE_REASON) bytes.
        reason: Vec<u8>,
    },
    /// TLS failed: a certificate, a name, a protocol name.
    Tls {
        /// The TLS alert.
        alert: u8,
        /// Whether the peer found the fault.
        by_peer: bool,
        /// In words.
        text: String,
    },
    /// The peer broke the rules, of QUIC or of the channels; or says that we did.
    Transport {
        /// The QUIC error code.
        code: u64,
        /// Whether the peer found the fault.
        by_peer: bool,
        /// In words.
        text: String,
    },
    /// The server takes no connection now.
    Refused,
    /// The handshake took too long.
    HandshakeTimeout,
    /// The peer fell silent.
    TimedOut,
    /// The peer does not know the connection any more; it restarted.
    Reset,
    /// No QUIC version in common.
    Version,
}

/// QUIC's CONNECTION_REFUSED.
const CONNECTION_REFUSED: u64 = 0x2;
/// Where QUIC puts TLS alerts.
const CRYPTO_ERRORS: std::ops::RangeInclusive<u64> = 0x100..=0x1ff;

impl Closed {
    pub(crate) fn from_quic(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::VersionMismatch => Self::Version,
            ConnectionError::TransportError(e) => Self::transport(e.code.into(), false, e.to_string()),
            ConnectionError::ConnectionClosed(c) => {
                Self::transport(c.error_code.into(), true, String::from_utf8_lossy(&c.reason).into_owned())
            }
            ConnectionError::ApplicationClosed(c) => {
                let mut reason = c.reason.to_vec();
                reason.truncate(crate::config::MAX_CLOSE_REASON);
                Self::Peer { code: u32::try_from(c.error_code.into_inner()).unwrap_or(u32::MAX), reason }
            }
            ConnectionError::Reset => Self::Reset,
            ConnectionError::TimedOut => Self::TimedOut,
            ConnectionError::LocallyClosed => Self::Local { code: 0 },
            ConnectionError::CidsExhausted => Self::Refused,
        }
    }

    fn transport(code: u64, by_peer: bool, text: String) -> Self {
        let text = text.chars().take(crate::config::MAX_CLOSE_REASON).collect();
        match code {
            CONNECTION_REFUSED => Self::Refused,
            _ if CRYPTO_ERRORS.contains(&code) => Self::Tls { alert: (code & 0xff) as u8, by_peer, text },
            _ => Self::Transport { code, by_peer, text },
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = |by_peer: &bool| if *by_peer { "the peer" } else { "us" };
        match self {
            Self::Local { code } => write!(f, "closed here with code {code}"),
            Self::Peer { code, .. } => write!(f, "closed by the peer with code {code}"),
            Self::Tls { alert, by_peer, text } => {
                write!(f, "TLS alert {alert} from {}: {text}", by(by_peer))
            }
            Self::Transport { code, by_peer, text } => {
                write!(f, "QUIC error {code:#x} from {}: {text}", by(by_peer))
            }
            Self::Refused => f.write_str("refused: the server takes no connection now"),
            Self::HandshakeTimeout => f.write_str("no answer during the handshake"),
            Self::TimedOut => f.write_str("the peer fell silent"),
            Self::Reset => f.write_str("the peer no longer knows this connection"),
            Self::Version => f.write_str("no QUIC version in common"),
        }
    }
}
