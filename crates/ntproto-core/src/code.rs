//! Error and close codes (specification, "Errors"): one table for ERROR, CLOSE and error responses.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        /// Why something was refused or ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        #[repr(u16)]
        pub enum ErrorCode {
            $($(#[$doc])* $name = $value,)*
        }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code with this number; an unknown one is `None`.
            #[must_use]
            pub const fn from_wire(n: u32) -> Option<Self> {
                match n {
                    $($value => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Its name in the specification.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

codes! {
    /// An orderly end.
    Normal = 0, "NORMAL";
    /// Bytes that are no frame, a wrong checksum, a failed tag: all look the same from outside.
    Protocol = 1, "PROTOCOL";
    /// A frame that has no place in this state or on this channel.
    UnexpectedFrame = 2, "UNEXPECTED_FRAME";
    /// None of the offered versions is spoken here.
    Version = 3, "VERSION";
    /// Something exceeds a limit of the specification.
    TooLarge = 4, "TOO_LARGE";
    /// Only AUTH_REQ may travel as early data.
    TooEarly = 5, "TOO_EARLY";
    /// Something of our own failed.
    Internal = 6, "INTERNAL";
    /// The peer fell silent.
    Timeout = 7, "TIMEOUT";
    /// The server is going away; reconnect.
    GoingAway = 8, "GOING_AWAY";
    /// A sequence or key limit was reached; reconnect for fresh keys.
    KeyLimit = 9, "KEY_LIMIT";

    /// The handshake could not be read: wrong server key or broken message.
    Handshake = 32, "HANDSHAKE";
    /// The credential is unknown, used up or not this device's.
    BadCredential = 33, "BAD_CREDENTIAL";
    /// The ticket ran out; authenticate with the device key.
    TicketExpired = 34, "TICKET_EXPIRED";
    /// The device was revoked.
    Revoked = 35, "REVOKED";
    /// The client's clock is off by more than 120 s; the answer carries the server's.
    ClockSkew = 36, "CLOCK_SKEW";
    /// This AUTH_REQ was seen before.
    Replay = 37, "REPLAY";
    /// Registration without an invitation is off.
    RegistrationClosed = 38, "REGISTRATION_CLOSED";
    /// The same device connected again.
    Superseded = 39, "SUPERSEDED";
    /// The bootstrap ticket is missing, ran out, or was given to another: bootstrap again.
    Bootstrap = 40, "BOOTSTRAP";

    /// No handler for this packet id.
    UnknownPacket = 64, "UNKNOWN_PACKET";
    /// The body could not be decoded or breaks a rule of its packet.
    BadRequest = 65, "BAD_REQUEST";
    /// The deadline passed before the work was done.
    DeadlineExceeded = 66, "DEADLINE_EXCEEDED";
    /// Too much at once; try again after the time given.
    RetryAfter = 67, "RETRY_AFTER";
    /// Not allowed.
    Forbidden = 68, "FORBIDDEN";
    /// No such thing.
    NotFound = 69, "NOT_FOUND";
    /// The idempotency key was used with another body.
    Conflict = 70, "CONFLICT";
    /// The queue overflowed; reconnect and sync.
    Resync = 71, "RESYNC";
    /// The server can't store now; nothing was lost that was acknowledged.
    Unavailable = 72, "UNAVAILABLE";
    /// The client gave this id up before it was stored.
    Cancelled = 73, "CANCELLED";
    /// The version compared is not the current one: read again.
    Stale = 74, "STALE";
    /// It was there: dissolved, recalled or deleted.
    Gone = 75, "GONE";
    /// The owner of a group can't leave it: hand it over, or dissolve it.
    LastOwner = 76, "LAST_OWNER";
    /// May not send in this group now.
    Muted = 77, "MUTED";
    /// As many as there may be.
    TooMany = 78, "TOO_MANY";
    /// The time in which it could be done is over.
    TooLate = 79, "TOO_LATE";
    /// A name or text that may not be shown as it is.
    BadName = 80, "BAD_NAME";
}

impl core::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_wire() {
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_wire(code as u32), Some(code));
        }
        assert_eq!(ErrorCode::from_wire(u32::MAX), None);
    }
}
