//! What a peer may make a server hold, and why so much.

use std::time::Duration;

/// Parts of one answer that may be under way. Whoever answers waits for room after one or two.
pub const MAX_PARTS: usize = 4;
/// A part of a request that is shorter is copied: it would hold a buffer of hyper's that is much larger.
pub(super) const SMALL_PART: usize = 4 * 1024;

/// Requests of an upload that may wait for the one before them.
const WAITING: u32 = 8;
/// Bytes that a stream of HTTP/2 may hold unread: 40 Mbit/s over 100 ms.
const STREAM_WINDOW: u32 = 512 * 1024;

/// Limits of a server's connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once. Each may hold a window of HTTP/2 and, unread, a credit a stream.
    pub connections: usize,
    /// What may wait in the queue of all exchanges. Its reader never waits for anything, so it is short.
    pub waiting: usize,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long a head may take to come, of HTTP/1.1; and how long such a connection may be idle.
    pub head: Duration,
    /// Bytes of a request's head. The longest that is meant is a traceparent, a token and some digests: under 2 KiB;
    /// browsers add cookies.
    pub head_bytes: usize,
    /// Header fields of a request of HTTP/1.1. In HTTP/2 each counts 32 bytes more, so that `head_bytes` bounds them.
    pub fields: usize,
    /// Requests at once on a connection of HTTP/2. An upload has a few chunks under way, a browser some dozen.
    pub streams: u32,
    /// Streams that a peer opened and reset before they were looked at, and streams reset here for its mistakes: above
    /// either the connection is closed (rapid reset, CVE-2023-44487, CVE-2025-8671). A peer that is honest has none
    /// but by chance.
    pub resets: usize,
    /// Bytes a peer may send on one stream of HTTP/2 before they are read.
    pub stream_window: u32,
    /// And on a connection: the windows of eight requests that wait, unread, for the one before them, and one more, so that this
    /// one always gets on.
    pub window: u32,
    /// Bytes of a body that may be told and not consumed, and up to one read of hyper's (16 KiB) beyond: two writes to
    /// a file, so that one may be on its way while the other is written.
    pub credit: usize,
    /// In how many parts they may be: very small ones must not be many.
    pub parts: usize,
    /// Bytes hyper holds of a stream's answer that the peer does not take.
    pub send_buffer: usize,
    /// How often a silent HTTP/2 connection is asked whether it lives.
    pub ping: Duration,
    /// How long it may take to say so.
    pub pong: Duration,
    /// How long a connection may be without requests. One of HTTP/1.1 that waits for a request has only `head`; this is for one
    /// whose peer does not take the end of its answer.
    pub idle: Duration,
    /// How long a peer may take nothing of an answer before its connection is closed. Whoever answers may have less
    /// patience, and resets the exchange.
    pub stall: Duration,
    /// How long a connection that was asked to end may take when no exchange is under way on it: what hyper holds of the last
    /// answers waits for a peer that may never take it.
    pub last: Duration,
    /// How long it may take nothing of an answer that was reset: hyper does not look at a stream that has no room.
    pub cut: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            waiting: 256,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(30),
            head_bytes: 16 * 1024,
            fields: 100,
            streams: 32,
            resets: 32,
            stream_window: STREAM_WINDOW,
            window: (WAITING + 1) * STREAM_WINDOW,
            credit: 480 * 1024,
            parts: 1024,
            send_buffer: 128 * 1024,
            ping: Duration::from_secs(20),
            pong: Duration::from_secs(20),
            idle: Duration::from_secs(120),
            stall: Duration::from_secs(90),
            last: Duration::from_secs(30),
            cut: Duration::from_secs(5),
        }
    }
}
