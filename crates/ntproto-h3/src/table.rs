//! Every number of HTTP/3 and WebTransport, in one place: those of WebTransport change from draft to draft.

/// Frame types (RFC 9114, section 7.2).
pub mod frame {
    /// A piece of a body.
    pub const DATA: u64 = 0x00;
    /// A field section: a head or trailers.
    pub const HEADERS: u64 = 0x01;
    /// A push is not wanted.
    pub const CANCEL_PUSH: u64 = 0x03;
    /// What an endpoint can do and takes.
    pub const SETTINGS: u64 = 0x04;
    /// A push begins; never asked for here.
    pub const PUSH_PROMISE: u64 = 0x05;
    /// No more requests are taken.
    pub const GOAWAY: u64 = 0x07;
    /// How many pushes a client takes.
    pub const MAX_PUSH_ID: u64 = 0x0d;
    /// Not a frame: the first bytes of a bidirectional stream of WebTransport (all drafts).
    pub const WEBTRANSPORT_STREAM: u64 = 0x41;
    /// Frames of HTTP/2 that have no meaning here, and are refused.
    pub const OF_HTTP2: [u64; 4] = [0x02, 0x06, 0x08, 0x09];
}

/// Types of unidirectional streams (RFC 9114, section 6.2; RFC 9204, section 4.2).
pub mod stream {
    /// SETTINGS, GOAWAY.
    pub const CONTROL: u64 = 0x00;
    /// A pushed response; never asked for here.
    pub const PUSH: u64 = 0x01;
    /// Instructions of a QPACK encoder.
    pub const QPACK_ENCODER: u64 = 0x02;
    /// Instructions of a QPACK decoder.
    pub const QPACK_DECODER: u64 = 0x03;
    /// A unidirectional stream of WebTransport (all drafts).
    pub const WEBTRANSPORT: u64 = 0x54;
}

/// Settings.
pub mod setting {
    /// The dynamic table of a QPACK decoder (RFC 9204). Ours is 0.
    pub const QPACK_MAX_TABLE_CAPACITY: u64 = 0x01;
    /// The longest field section that is taken (RFC 9114).
    pub const MAX_FIELD_SECTION_SIZE: u64 = 0x06;
    /// Streams that may wait for the dynamic table (RFC 9204). Ours is 0.
    pub const QPACK_BLOCKED_STREAMS: u64 = 0x07;
    /// Extended CONNECT (RFC 9220).
    pub const ENABLE_CONNECT_PROTOCOL: u64 = 0x08;
    /// HTTP datagrams (RFC 9297).
    pub const H3_DATAGRAM: u64 = 0x33;
    /// HTTP datagrams, as draft 04 of them numbered the setting. Chromium looked at it for long.
    pub const H3_DATAGRAM_DRAFT04: u64 = 0xff_d277;
    /// WebTransport is spoken: draft 02. What Chromium and Firefox look at.
    pub const ENABLE_WEBTRANSPORT_DRAFT02: u64 = 0x2b60_3742;
    /// How many sessions of WebTransport are taken: drafts 03 to 06.
    pub const WEBTRANSPORT_MAX_SESSIONS_DRAFT03: u64 = 0x2b60_3743;
    /// How many sessions of WebTransport are taken: drafts 07 to 12.
    pub const WEBTRANSPORT_MAX_SESSIONS_DRAFT07: u64 = 0xc671_706a;
    /// The same since draft 13. Read, never sent: above 1 it promises flow control of sessions, and it asks for
    /// RESET_STREAM_AT, which the QUIC below does not have.
    pub const WT_MAX_SESSIONS_DRAFT13: u64 = 0x14e9_cd29;
    /// Settings of HTTP/2 that have no meaning here, and are refused (RFC 9114, section 11.2.2).
    pub const OF_HTTP2: [u64; 5] = [0x00, 0x02, 0x03, 0x04, 0x05];
    /// Any of these above zero says that a peer speaks WebTransport.
    pub const WEBTRANSPORT: [u64; 4] = [
        ENABLE_WEBTRANSPORT_DRAFT02,
        WEBTRANSPORT_MAX_SESSIONS_DRAFT03,
        WEBTRANSPORT_MAX_SESSIONS_DRAFT07,
        WT_MAX_SESSIONS_DRAFT13,
    ];
}

/// Capsules on the stream of a session (RFC 9297; WebTransport).
pub mod capsule {
    /// A datagram, where QUIC's would not do.
    pub const DATAGRAM: u64 = 0x00;
    /// The session is over, and why.
    pub const CLOSE_WEBTRANSPORT_SESSION: u64 = 0x2843;
    /// The session should come to its end.
    pub const DRAIN_WEBTRANSPORT_SESSION: u64 = 0x78ae;
}

/// `:protocol` of an extended CONNECT that asks for a session. What a client of ours says is the first.
pub const WEBTRANSPORT_PROTOCOLS: [&str; 2] = ["webtransport", "webtransport-h3"];

/// Where the codes of WebTransport's applications lie among those of HTTP/3.
pub const FIRST_APPLICATION_CODE: u64 = 0x52e4_a40f_a8db;
/// The last of them.
pub const LAST_APPLICATION_CODE: u64 = 0x52e5_ac98_3162;
/// Every so many numbers one is reserved, "0x1f × N + 0x21" (RFC 9114, section 8.1), and is passed over.
pub const RESERVED_EVERY: u64 = 0x1f;
/// Where the reserved numbers begin.
pub const RESERVED_FROM: u64 = 0x21;

/// Whether a number (of a frame, a stream, a setting, a code) is one of those that mean nothing, so that receivers
/// stay used to what they do not know.
#[must_use]
pub const fn is_reserved(number: u64) -> bool {
    number >= RESERVED_FROM && (number - RESERVED_FROM).is_multiple_of(RESERVED_EVERY)
}

/// What a client of draft 02 puts into its request.
pub const DRAFT02_REQUEST: &str = "sec-webtransport-http3-draft02";
/// And what it wants to see in the answer.
pub const DRAFT02_ANSWER: (&str, &str) = ("sec-webtransport-http3-draft", "draft02");
