//! What an endpoint takes, each number with its reason.

use std::time::Duration;

/// Fields of a field section. Browsers send some twenty; 128 leaves room and bounds a hash map.
pub const MAX_FIELDS: usize = 128;

/// Bytes of a field section as RFC 9114 counts them (names, values and 32 a field): what is announced as
/// SETTINGS_MAX_FIELD_SECTION_SIZE. A bearer token and a few cookies take a tenth.
pub const MAX_FIELD_SECTION: usize = 32 * 1024;

/// Requests of a peer at the same time, each with a receive window and a send queue.
pub const MAX_REQUESTS: usize = 100;

/// Sessions of WebTransport at the same time on one connection. A browser makes a connection a session.
pub const MAX_SESSIONS: usize = 4;

/// Streams of one session at the same time, both sides': three channels and room for those that end.
pub const MAX_SESSION_STREAMS: usize = 64;

/// Streams, and datagrams, that came before their session and are held: a first flight has a handful.
pub const MAX_EARLY: usize = 16;

/// Bytes of a stream that are taken before it is known what it is: a first packet or two. It bounds what is held of
/// early streams.
pub const FIRST_BYTES: usize = 16 * 1024;

/// Bytes of early datagrams that are held.
pub const MAX_EARLY_BYTES: usize = 16 * 1024;

/// How long what came early is held: a few round trips.
pub const EARLY_TIME: Duration = Duration::from_secs(5);

/// How long a head may take from its first byte: a slow client, not a stalled one.
pub const HEAD_TIME: Duration = Duration::from_secs(10);

/// Bytes of one stream that were handed to the application and not consumed: a fast path's share of one round trip;
/// what is beyond waits in QUIC's windows.
pub const RECEIVE_WINDOW: usize = 256 * 1024;

/// Bytes of one stream that wait for QUIC to take them.
pub const SEND_QUEUE: usize = 64 * 1024;

/// Datagrams that wait to be sent. The oldest goes first when there are more.
pub const MAX_DATAGRAMS: usize = 64;

/// Bytes of a DATAGRAM capsule: more than any QUIC packet holds.
pub const MAX_DATAGRAM_CAPSULE: usize = 64 * 1024;

/// Bytes of the words in a CLOSE_WEBTRANSPORT_SESSION capsule: the draft's number.
pub const MAX_CLOSE_REASON: usize = 1024;

/// Bytes of a SETTINGS frame: a hundred settings and their reserved companions.
pub const MAX_SETTINGS: usize = 1024;

/// Informational responses before the final one: a server sends one or two.
pub const MAX_INFORMATIONAL: usize = 16;

/// Requests that a peer may reset before they are answered, at once.
pub const RESET_BURST: u32 = 128;

/// How many more each second. A page that is left cancels dozens; an attack cancels thousands.
pub const RESETS_PER_SECOND: u32 = 32;

/// What an endpoint takes. The defaults are the constants of this module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Fields of a field section.
    pub fields: usize,
    /// Bytes of a field section, counted as RFC 9114 does.
    pub field_section: usize,
    /// Requests at the same time.
    pub requests: usize,
    /// Sessions at the same time.
    pub sessions: usize,
    /// Streams of a session at the same time.
    pub session_streams: usize,
    /// Bytes of a stream that are with the application, unconsumed.
    pub receive_window: usize,
    /// Bytes of a stream that wait for QUIC.
    pub send_queue: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fields: MAX_FIELDS,
            field_section: MAX_FIELD_SECTION,
            requests: MAX_REQUESTS,
            sessions: MAX_SESSIONS,
            session_streams: MAX_SESSION_STREAMS,
            receive_window: RECEIVE_WINDOW,
            send_queue: SEND_QUEUE,
        }
    }
}

/// How an endpoint behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether WebTransport is offered (server) or wanted (client).
    pub webtransport: bool,
    /// What is taken.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self { webtransport: true, limits: Limits::default() }
    }
}
