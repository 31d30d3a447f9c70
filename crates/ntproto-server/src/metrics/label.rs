//! Label values. Each label is a closed enum: whatever peers do, there are no more series than are listed here.

use ntproto_core::binding::TransportId;
use ntproto_core::code::ErrorCode;
use ntproto_core::endpoint::{Closed, PeerError};

/// A label: its name, and every value it can have.
pub trait Label: Copy + 'static {
    /// Its name.
    const NAME: &'static str;
    /// Its values, in the order of [`index`](Self::index).
    const TEXTS: &'static [&'static str];

    /// Which of [`TEXTS`](Self::TEXTS) it is.
    fn index(self) -> usize;
}

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident $label:literal { $($(#[$value_doc:meta])* $value:ident = $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$value_doc])* $value,)*
        }

        impl Label for $name {
            const NAME: &'static str = $label;
            const TEXTS: &'static [&'static str] = &[$($text,)*];

            fn index(self) -> usize {
                self as usize
            }
        }
    )*};
}

labels! {
    /// What carries a connection.
    Transport "transport" {
        /// ntproto over QUIC.
        Quic = "quic",
        /// ntproto over TCP.
        Tcp = "tcp",
        /// A WebTransport session.
        Web = "web",
    }

    /// How a handshake of ntproto ended.
    Handshake "outcome" {
        /// A device that is known was let in.
        SignedIn = "signed_in",
        /// A new device was let in.
        Enrolled = "enrolled",
        /// The ticket ran out, or its key is gone.
        TicketExpired = "ticket_expired",
        /// Unknown, used up, or not this device's.
        BadCredential = "bad_credential",
        /// The device was revoked.
        Revoked = "revoked",
        /// The client's clock is off.
        ClockSkew = "clock_skew",
        /// Seen before.
        Replay = "replay",
        /// Registration needs an invitation.
        RegistrationClosed = "registration_closed",
        /// Too many from one address.
        Limited = "limited",
        /// Anything else.
        Other = "other",
    }

    /// Why a connection of ntproto ended.
    Reason "reason" {
        /// By this server.
        Local = "local",
        /// By the peer, in order.
        Peer = "peer",
        /// The peer broke the protocol.
        Protocol = "protocol",
        /// A frame was not authentic.
        Forged = "forged",
        /// It was refused.
        Refused = "refused",
        /// The handshake took too long.
        AuthTimeout = "auth_timeout",
        /// Nothing was heard of it.
        Silent = "silent",
        /// The ticket ran out and was not renewed.
        TicketExpired = "ticket_expired",
        /// The keys are used up.
        KeyLimit = "key_limit",
        /// The transport was gone.
        Transport = "transport",
    }

    /// What became of a message that came.
    Message "kind" {
        /// Stored, in a conversation of two.
        Direct = "direct",
        /// Stored, in a group.
        Group = "group",
        /// It was stored before.
        Duplicate = "duplicate",
    }

    /// How a request was answered.
    Answer "outcome" {
        /// Done.
        Answered = "answered",
        /// Come again later.
        Deferred = "deferred",
        /// Refused.
        Refused = "refused",
    }

    /// What happened to files.
    FileEvent "event" {
        /// One is whole.
        Uploaded = "uploaded",
        /// One was removed.
        Removed = "removed",
        /// The store of files failed.
        Failed = "failed",
    }

    /// Which way bytes went.
    Way "direction" {
        /// From a client.
        Received = "received",
        /// To a client.
        Sent = "sent",
    }

    /// An HTTP method.
    Method "method" {
        /// GET.
        Get = "GET",
        /// HEAD.
        Head = "HEAD",
        /// POST.
        Post = "POST",
        /// PUT.
        Put = "PUT",
        /// PATCH.
        Patch = "PATCH",
        /// DELETE.
        Delete = "DELETE",
        /// OPTIONS.
        Options = "OPTIONS",
        /// CONNECT: WebTransport.
        Connect = "CONNECT",
        /// Any other.
        Other = "other",
    }

    /// An HTTP route, as it is written in the specification, not as it was asked for.
    Route "route" {
        /// The bootstrap.
        Handshake = "/v2/handshake",
        /// Uploads are made here.
        Files = "/v2/files",
        /// An upload, or a file.
        File = "/v2/files/{id}",
        /// WebTransport.
        Session = "/v2/session",
        /// Whether the server runs.
        Health = "/healthz",
        /// Whether it can do its work.
        Ready = "/readyz",
        /// The operations listener's.
        Metrics = "/metrics",
        /// Anything else.
        None = "none",
    }
}

/// An HTTP status: those a server of ntproto answers with, and `other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(usize);

const STATUSES: &[u16] = &[
    101, 104, 200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 406, 408, 409,
    410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 423, 425, 426, 428, 429, 431, 460, 499, 500, 501, 502,
    503, 504, 505, 507,
];

impl Label for Status {
    const NAME: &'static str = "status";
    const TEXTS: &'static [&'static str] = &[
        "101", "104", "200", "201", "202", "204", "206", "301", "302", "303", "304", "307", "308", "400",
        "401", "403", "404", "405", "406", "408", "409", "410", "411", "412", "413", "414", "415", "416",
        "417", "421", "422", "423", "425", "426", "428", "429", "431", "460", "499", "500", "501", "502",
        "503", "504", "505", "507", "other",
    ];

    fn index(self) -> usize {
        self.0
    }
}

impl From<u16> for Status {
    fn from(status: u16) -> Self {
        Self(STATUSES.binary_search(&status).unwrap_or(STATUSES.len()))
    }
}

/// The value with this text, or the last, which stands for all others.
fn named<L: Label>(text: &str, all: &[L], other: L) -> L {
    L::TEXTS.iter().position(|known| *known == text).and_then(|at| all.get(at)).copied().unwrap_or(other)
}

impl From<&str> for Method {
    fn from(text: &str) -> Self {
        use Method::{Connect, Delete, Get, Head, Options, Other, Patch, Post, Put};
        named(text, &[Get, Head, Post, Put, Patch, Delete, Options, Connect], Other)
    }
}

impl From<&str> for Route {
    fn from(text: &str) -> Self {
        use Route::{File, Files, Handshake, Health, Metrics, None, Ready, Session};
        named(text, &[Handshake, Files, File, Session, Health, Ready, Metrics], None)
    }
}

impl From<TransportId> for Transport {
    fn from(transport: TransportId) -> Self {
        match transport {
            TransportId::Tcp => Self::Tcp,
            TransportId::Quic | TransportId::QuicEarly => Self::Quic,
            TransportId::Web => Self::Web,
        }
    }
}

impl From<ErrorCode> for Handshake {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::TicketExpired => Self::TicketExpired,
            ErrorCode::BadCredential => Self::BadCredential,
            ErrorCode::Revoked => Self::Revoked,
            ErrorCode::ClockSkew => Self::ClockSkew,
            ErrorCode::Replay => Self::Replay,
            ErrorCode::RegistrationClosed => Self::RegistrationClosed,
            ErrorCode::RetryAfter => Self::Limited,
            _ => Self::Other,
        }
    }
}

impl From<Closed> for Reason {
    fn from(why: Closed) -> Self {
        match why {
            Closed::Local(_) => Self::Local,
            Closed::Peer(_) => Self::Peer,
            Closed::PeerError(PeerError::Forged) => Self::Forged,
            Closed::PeerError(_) => Self::Protocol,
            Closed::Refused(_) => Self::Refused,
            Closed::AuthTimeout => Self::AuthTimeout,
            Closed::Silent => Self::Silent,
            Closed::TicketExpired => Self::TicketExpired,
            Closed::KeyLimit => Self::KeyLimit,
            Closed::Transport => Self::Transport,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_values_belong_together() {
        for text in Method::TEXTS {
            assert_eq!(Method::TEXTS[Method::from(*text).index()], *text);
        }
        for text in Route::TEXTS {
            assert_eq!(Route::TEXTS[Route::from(*text).index()], *text);
        }
        for (status, text) in STATUSES.iter().zip(Status::TEXTS) {
            assert_eq!(status.to_string(), *text);
            assert_eq!(Status::TEXTS[Status::from(*status).index()], *text);
        }
        assert_eq!(STATUSES.len() + 1, Status::TEXTS.len());
        assert!(STATUSES.is_sorted());
        assert_eq!(Status::TEXTS[Status::from(999).index()], "other");
    }
}
