//! Limits and transport settings. Each is lean: a server holds tens of thousands of mostly idle connections.

use std::sync::Arc;
use std::time::Duration;

use quinn_proto::{IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

use crate::{ResetKey, ServerTls};

/// Segments in one batch of datagrams. Uncapped (64), loopback fell from 450 to 26 MiB/s: a batch over
/// 64 KiB is refused by the kernel and lost whole.
pub const MAX_SEGMENTS: usize = 10;
/// The largest datagram sent or received: Ethernet's 1,500 bytes less the IPv4 and UDP headers.
pub const MAX_DATAGRAM: usize = 1472;
/// The transmit buffer that takes any batch: what a host gives [`TxBuf::new`](ntproto_core::tx::TxBuf::new).
pub const TX_LIMIT: usize = MAX_SEGMENTS * MAX_DATAGRAM;

/// The datagram size every QUIC path carries (RFC 9000, section 14).
pub const MTU_SAFE: u16 = 1200;

/// Streams a client opens: CONTROL, MESSAGE, SYNC.
pub const MAX_BIDI_STREAMS: u32 = 3;
/// Streams of one direction that a server announces where it also serves HTTP/3, whose peers may refuse one that
/// allows fewer (RFC 9114, section 6.2): the protocol is known only later. As channels there are none.
pub const MAX_UNI_STREAMS: u32 = 3;
/// Bytes a peer may send on one channel before they are read: 100 ms at 5 MB/s, and the most memory an unread
/// channel costs.
pub const STREAM_WINDOW: u32 = 512 * 1024;
/// All channels together: the sum of their windows, so that a full MESSAGE never holds CONTROL back.
pub const CONNECTION_WINDOW: u32 = MAX_BIDI_STREAMS * STREAM_WINDOW;
/// Bytes held for sending until acknowledged, MESSAGE and SYNC together.
pub const SEND_WINDOW: u64 = 512 * 1024;
/// What CONTROL may hold above that: heartbeats and closes never queue behind messages.
pub const CONTROL_RESERVE: u64 = 16 * 1024;
/// Streams of both directions on a connection of another protocol: requests that a browser has open at once
/// (RFC 9114, section 6.1, asks for 100).
pub const H3_BIDI_STREAMS: u32 = 100;
/// Streams of one direction there: HTTP/3's own three, and as many again that mean nothing (RFC 9114, section 6.2.3)
/// or belong to a session, with some to spare.
pub const H3_UNI_STREAMS: u32 = 16;
/// Requests of an upload that may wait, unread, for the one before them.
pub const H3_WAITING: u32 = 8;
/// Bytes unread there, all streams together: the windows of all requests that wait, and two more, so that the request they wait for
/// always gets on: quinn gives credit back in eighths of this window, and what it still keeps must not be all that is left. It bounds
/// what such a connection costs in QUIC; what HTTP/3 has read and nobody has consumed comes on top.
pub const H3_CONNECTION_WINDOW: u32 = (H3_WAITING + 2) * STREAM_WINDOW;
/// Bytes held there for sending until acknowledged: a download of 5 MB/s over 200 ms.
pub const H3_SEND_WINDOW: u64 = 1024 * 1024;
/// Datagrams received and not read; older ones are dropped first. About 50 ms of video.
pub const DATAGRAM_RECEIVE_BUFFER: usize = 64 * 1024;
/// Datagrams waiting to be sent; older ones are dropped first, late media being worth nothing.
pub const DATAGRAM_SEND_BUFFER: usize = 64 * 1024;
/// A connection without a packet for this long is gone: two heartbeats of 30 s may be lost.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Out-of-order handshake bytes kept; a certificate chain is a quarter of it.
pub const CRYPTO_BUFFER: usize = 16 * 1024;

/// A handshake takes one or two round trips; the slowest path served has 5 s each way.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of datagrams taken from a client with early data before its handshake is complete: its Initial packets and an
/// AUTH_REQ of 4 KiB, each sent again for as long as a handshake may take.
pub const MAX_EARLY_BYTES: u64 = 64 * 1024;
/// Half-open handshakes above which an address must prove itself (Retry): a burst of reconnects after a restart
/// stays below it, a flood does not.
pub const RETRY_ABOVE: usize = 256;
/// Half-open handshakes above which even proven addresses are refused: at about 16 kB each, 64 MB.
pub const MAX_HALF_OPEN: usize = 4096;
/// Connections in all. At the 33 kB an idle one may cost, 3.3 GB.
pub const MAX_CONNECTIONS: usize = 100_000;
/// How long a Retry token is good for.
pub const RETRY_TOKEN_LIFETIME: Duration = Duration::from_secs(15);
/// Answers without a connection (Retry, version negotiation, reset, refusal) that wait for the socket; more are
/// dropped, as a full network would.
pub const MAX_RESPONSES: usize = 256;
/// Bytes of a close reason kept or sent; a code says the rest.
pub const MAX_CLOSE_REASON: usize = 128;

/// What bounds an endpoint.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections in all; beyond it new ones are refused.
    pub max_connections: usize,
    /// Half-open handshakes above which Retry is asked for.
    pub retry_above: usize,
    /// Half-open handshakes above which new ones are refused.
    pub max_half_open: usize,
    /// How long a handshake may take, on either side.
    pub handshake_timeout: Duration,
    /// How long a connection may be silent.
    pub idle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: MAX_CONNECTIONS,
            retry_above: RETRY_ABOVE,
            max_half_open: MAX_HALF_OPEN,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
        }
    }
}

/// How an endpoint behaves.
#[derive(Clone)]
pub struct EndpointConfig {
    /// The certificate it serves with; without one it only connects.
    pub server: Option<ServerTls>,
    /// Its bounds.
    pub limits: Limits,
    /// The first datagram size: [`MTU_SAFE`] unless the path is known.
    pub initial_mtu: u16,
    /// Whether to probe for larger datagrams. Needs a socket that does not fragment.
    pub mtu_discovery: bool,
    /// Signs stateless resets. A server that keeps it across restarts tells its former clients at once that
    /// their connection is gone; without one it grows from the seed.
    pub reset_key: Option<ResetKey>,
    /// Where what all connections do is written, as qlog.
    #[cfg(feature = "qlog")]
    pub qlog: Option<quinn_proto::QlogStream>,
}

impl EndpointConfig {
    /// An endpoint that only connects.
    #[must_use]
    pub fn client() -> Self {
        Self {
            server: None,
            limits: Limits::default(),
            initial_mtu: MTU_SAFE,
            mtu_discovery: true,
            reset_key: None,
            #[cfg(feature = "qlog")]
            qlog: None,
        }
    }

    /// An endpoint that accepts connections too.
    #[must_use]
    pub fn server(tls: ServerTls) -> Self {
        Self { server: Some(tls), ..Self::client() }
    }

    /// How connections behave whose protocol is not known yet, or is ours.
    pub(crate) fn transport(&self) -> Arc<TransportConfig> {
        let web = self.server.as_ref().is_some_and(|tls| tls.is_web());
        Arc::new(self.lean(if web { MAX_UNI_STREAMS } else { 0 }))
    }

    /// How connections behave that are made for another protocol.
    pub(crate) fn h3_transport(&self) -> Arc<TransportConfig> {
        let mut transport = self.lean(H3_UNI_STREAMS);
        transport
            .max_concurrent_bidi_streams(VarInt::from_u32(H3_BIDI_STREAMS))
            .receive_window(VarInt::from_u32(H3_CONNECTION_WINDOW))
            .send_window(H3_SEND_WINDOW);
        Arc::new(transport)
    }

    fn lean(&self, uni_streams: u32) -> TransportConfig {
        let idle = u32::try_from(self.limits.idle_timeout.as_millis()).unwrap_or(u32::MAX);
        let mut transport = TransportConfig::default();
        transport
            .max_concurrent_bidi_streams(VarInt::from_u32(MAX_BIDI_STREAMS))
            .max_concurrent_uni_streams(VarInt::from_u32(uni_streams))
            .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(idle))))
            .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
            .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
            .send_window(SEND_WINDOW)
            .initial_mtu(self.initial_mtu)
            .mtu_discovery_config(self.mtu_discovery.then(MtuDiscoveryConfig::default))
            // Liveness is ntproto's own heartbeat, which proves more than a QUIC ping does.
            .keep_alive_interval(None)
            .crypto_buffer_size(CRYPTO_BUFFER)
            // The spin bit tells observers the round-trip time and us nothing.
            .allow_spin(false)
            .datagram_receive_buffer_size(Some(DATAGRAM_RECEIVE_BUFFER))
            .datagram_send_buffer_size(DATAGRAM_SEND_BUFFER);
        #[cfg(feature = "qlog")]
        transport.qlog_stream(self.qlog.clone());
        transport
    }
}
