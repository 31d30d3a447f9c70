//! Names and events of either transport.

use std::fmt;
use std::net::SocketAddr;

use ntproto_core::binding::{Binding, TransportId};
use ntproto_core::wire::channel::Channel;
use ntproto_quic::EarlyData;

use crate::{ExchangeId, HttpEvent, StreamId};

/// Set in the numbers of TCP connections, and never in those of QUIC.
const TCP: u64 = 1 << 63;
/// Set in the numbers of sessions over WebTransport, and never in those of QUIC.
const WEB: u64 = 1 << 62;

/// A connection's name inside one endpoint. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

impl ConnId {
    /// What carries it.
    #[must_use]
    pub const fn transport(self) -> TransportId {
        match (self.0 & TCP, self.0 & WEB) {
            (0, 0) => TransportId::Quic,
            (0, _) => TransportId::Web,
            _ => TransportId::Tcp,
        }
    }

    /// The name of the session with this number.
    pub(crate) const fn web(number: u64) -> Self {
        Self(number | WEB)
    }

    pub(crate) const fn quic(self) -> Option<ntproto_quic::ConnId> {
        if self.0 & (TCP | WEB) == 0 { Some(ntproto_quic::ConnId(self.0)) } else { None }
    }

    pub(crate) const fn stream(self) -> Option<StreamId> {
        if self.0 & TCP == 0 { None } else { Some(StreamId(self.0 & !TCP)) }
    }
}

impl From<ntproto_quic::ConnId> for ConnId {
    fn from(id: ntproto_quic::ConnId) -> Self {
        Self(id.0)
    }
}

impl From<StreamId> for ConnId {
    fn from(id: StreamId) -> Self {
        Self(id.0 | TCP)
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.stream(), self.quic()) {
            (Some(stream), _) => stream.fmt(f),
            (None, Some(quic)) => quic.fmt(f),
            (None, None) => write!(f, "w#{}", self.0 & !WEB),
        }
    }
}

/// Something happened to a connection.
#[derive(Debug)]
pub enum Event {
    /// Early data flows, over QUIC: see [`ntproto_quic::Event::Early`].
    Early {
        /// The connection.
        conn: ConnId,
        /// The peer, or who claims to be.
        remote: SocketAddr,
    },
    /// The transport is up and channels are open.
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
    /// Datagrams wait.
    Datagram {
        /// The connection.
        conn: ConnId,
    },
    /// Something of an HTTP exchange.
    Http(ExchangeId, HttpEvent),
    /// The connection is over: the last event of every connection, exactly once. What its channels still hold is
    /// gone with it: read on `Readable`, before polling on.
    Closed {
        /// The connection.
        conn: ConnId,
        /// Why.
        reason: Closed,
    },
}

impl Event {
    /// What QUIC says of a connection that has channels.
    pub(crate) fn native(event: ntproto_quic::Event) -> Option<Self> {
        use ntproto_quic::Event as Quic;
        Some(match event {
            Quic::Early { conn, remote } => Self::Early { conn: conn.into(), remote },
            Quic::Connected { conn, alpn, binding, remote, early } => {
                Self::Connected { conn: conn.into(), alpn, binding, remote, early }
            }
            Quic::Readable { conn, channel } => Self::Readable { conn: conn.into(), channel },
            Quic::Writable { conn, channel } => Self::Writable { conn: conn.into(), channel },
            Quic::Streams { .. } => return None,
            Quic::Datagram { conn } => Self::Datagram { conn: conn.into() },
            Quic::Closed { conn, reason } => Self::Closed { conn: conn.into(), reason: Closed::Quic(reason) },
        })
    }
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// A QUIC connection's reason.
    Quic(ntproto_quic::Closed),
    /// A TCP connection's.
    Tcp(TcpClosed),
    /// A session's over WebTransport.
    Web(WebClosed),
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quic(reason) => write!(f, "QUIC: {reason}"),
            Self::Tcp(reason) => write!(f, "TCP: {reason}"),
            Self::Web(reason) => write!(f, "WebTransport: {reason}"),
        }
    }
}

/// Why a TCP connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpClosed {
    /// The host closed it.
    Local {
        /// The code it gave.
        code: u32,
    },
    /// It could not be had: refused, unreachable, or no answer in time.
    Unreachable,
    /// The peer ended it, or it broke.
    Ended,
    /// The peer speaks TLS: it was handed to whoever serves HTTPS.
    Https,
}

impl fmt::Display for TcpClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { code } => write!(f, "closed here with code {code}"),
            Self::Unreachable => f.write_str("no connection could be had"),
            Self::Ended => f.write_str("the peer ended the connection, or it broke"),
            Self::Https => f.write_str("it goes on as HTTPS"),
        }
    }
}

/// Why a session over WebTransport ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebClosed {
    /// The host closed it, or the peer broke a rule of the channels.
    Local {
        /// The code it was closed with.
        code: u32,
    },
    /// The peer closed it.
    Peer {
        /// The code it gave; 0 when it just ended.
        code: u32,
        /// What it said, cut to [`MAX_CLOSE_REASON`](ntproto_quic::config::MAX_CLOSE_REASON) bytes.
        reason: String,
    },
    /// Its stream was reset, with this code of HTTP/3.
    Reset {
        /// The code.
        code: u64,
    },
    /// The connection that carried it is gone.
    Connection(ntproto_quic::Closed),
}

impl fmt::Display for WebClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { code } => write!(f, "closed here with code {code}"),
            Self::Peer { code, .. } => write!(f, "closed by the peer with code {code}"),
            Self::Reset { code } => write!(f, "reset with code {code:#x}"),
            Self::Connection(reason) => write!(f, "its connection is gone: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_carries_it() {
        let quic = ConnId::from(ntproto_quic::ConnId(7 << 24 | 1));
        let (tcp, web) = (ConnId::from(StreamId(7)), ConnId::web(7));
        let all =
            [(quic, TransportId::Quic, "#7"), (tcp, TransportId::Tcp, "t#7"), (web, TransportId::Web, "w#7")];
        for (name, transport, text) in all {
            assert_eq!((name.transport(), name.to_string().as_str()), (transport, text));
            assert_eq!(name.quic().is_some(), transport == TransportId::Quic);
            assert_eq!(name.stream().is_some(), transport == TransportId::Tcp);
        }
    }
}
