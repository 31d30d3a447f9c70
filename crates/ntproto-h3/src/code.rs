//! Error codes: of HTTP/3, of QPACK, of datagrams, of WebTransport and of its applications.

use std::fmt;

use crate::table::{FIRST_APPLICATION_CODE, LAST_APPLICATION_CODE, RESERVED_EVERY, is_reserved};

/// The code of a reset, a stop or a close, as it stands on the wire.
///
/// ```
/// use ntproto_h3::Code;
/// assert_eq!(Code::NO_ERROR.to_string(), "H3_NO_ERROR");
/// let mine = Code::application(7);
/// assert_eq!(mine.as_application(), Some(7));
/// assert_eq!(Code::NO_ERROR.as_application(), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u64);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        impl Code {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// Its name, if it has one.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// A datagram or its setting is malformed, or nobody knows what it means (RFC 9297).
    DATAGRAM_ERROR = 0x33, "H3_DATAGRAM_ERROR";
    /// Nothing is wrong.
    NO_ERROR = 0x100, "H3_NO_ERROR";
    /// The peer broke a rule that has no code of its own.
    GENERAL_PROTOCOL_ERROR = 0x101, "H3_GENERAL_PROTOCOL_ERROR";
    /// Something went wrong on this side.
    INTERNAL_ERROR = 0x102, "H3_INTERNAL_ERROR";
    /// A stream that may not be, or not twice.
    STREAM_CREATION_ERROR = 0x103, "H3_STREAM_CREATION_ERROR";
    /// A stream that the connection needs ended.
    CLOSED_CRITICAL_STREAM = 0x104, "H3_CLOSED_CRITICAL_STREAM";
    /// A frame that may not stand where it stands.
    FRAME_UNEXPECTED = 0x105, "H3_FRAME_UNEXPECTED";
    /// A frame whose length or layout is wrong.
    FRAME_ERROR = 0x106, "H3_FRAME_ERROR";
    /// The peer does too much of something.
    EXCESSIVE_LOAD = 0x107, "H3_EXCESSIVE_LOAD";
    /// A number that can't be.
    ID_ERROR = 0x108, "H3_ID_ERROR";
    /// A setting that may not be.
    SETTINGS_ERROR = 0x109, "H3_SETTINGS_ERROR";
    /// The control stream began with something else than SETTINGS.
    MISSING_SETTINGS = 0x10a, "H3_MISSING_SETTINGS";
    /// The request was not processed at all: it may be sent again.
    REQUEST_REJECTED = 0x10b, "H3_REQUEST_REJECTED";
    /// The request or its answer is not wanted any more.
    REQUEST_CANCELLED = 0x10c, "H3_REQUEST_CANCELLED";
    /// The request ended before it was whole.
    REQUEST_INCOMPLETE = 0x10d, "H3_REQUEST_INCOMPLETE";
    /// A message that is malformed.
    MESSAGE_ERROR = 0x10e, "H3_MESSAGE_ERROR";
    /// A tunnel broke.
    CONNECT_ERROR = 0x10f, "H3_CONNECT_ERROR";
    /// Only another version of HTTP will do.
    VERSION_FALLBACK = 0x110, "H3_VERSION_FALLBACK";
    /// A field section can't be read (RFC 9204).
    QPACK_DECOMPRESSION_FAILED = 0x200, "QPACK_DECOMPRESSION_FAILED";
    /// The encoder's stream breaks a rule (RFC 9204).
    QPACK_ENCODER_STREAM_ERROR = 0x201, "QPACK_ENCODER_STREAM_ERROR";
    /// The decoder's stream breaks a rule (RFC 9204).
    QPACK_DECODER_STREAM_ERROR = 0x202, "QPACK_DECODER_STREAM_ERROR";
    /// A stream came before its session, and too many of these are held already.
    WEBTRANSPORT_BUFFERED_STREAM_REJECTED = 0x3994_bd84, "WEBTRANSPORT_BUFFERED_STREAM_REJECTED";
    /// The session of this stream is over.
    WEBTRANSPORT_SESSION_GONE = 0x170d_7b68, "WEBTRANSPORT_SESSION_GONE";
}

impl Code {
    /// The code of an application of WebTransport, as it travels. Reserved numbers are passed over.
    //= spec: http3-23
    #[must_use]
    pub const fn application(code: u32) -> Self {
        let code = code as u64;
        Self(FIRST_APPLICATION_CODE + code + code / (RESERVED_EVERY - 1))
    }

    /// The application's code behind it, if it is one.
    #[must_use]
    pub const fn as_application(self) -> Option<u32> {
        if self.0 < FIRST_APPLICATION_CODE || self.0 > LAST_APPLICATION_CODE || is_reserved(self.0) {
            return None;
        }
        let shifted = self.0 - FIRST_APPLICATION_CODE;
        Some((shifted - shifted / RESERVED_EVERY) as u32)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name(), self.as_application()) {
            (Some(name), _) => f.write_str(name),
            (None, Some(code)) => write!(f, "application code {code}"),
            (None, None) => write!(f, "code {:#x}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    //= proof: http3-23
    #[test]
    fn the_ends_of_the_applications_codes() {
        assert_eq!(Code::application(0).0, FIRST_APPLICATION_CODE);
        assert_eq!(Code::application(u32::MAX).0, LAST_APPLICATION_CODE);
        assert_eq!(Code(FIRST_APPLICATION_CODE - 1).as_application(), None);
        assert_eq!(Code(LAST_APPLICATION_CODE + 1).as_application(), None);
        // The draft's own example: what stands beside a reserved number is beside it in the application's count.
        assert_eq!(
            (Code::application(0x1d).0, Code::application(0x1e).0),
            (0x52e4_a40f_a8f8, 0x52e4_a40f_a8fa)
        );
        assert!(is_reserved(0x52e4_a40f_a8f9));
        assert_eq!(Code(0x52e4_a40f_a8f9).as_application(), None);
    }

    #[test]
    fn names() {
        assert_eq!(Code::SETTINGS_ERROR.to_string(), "H3_SETTINGS_ERROR");
        assert_eq!(Code::application(3).to_string(), "application code 3");
        assert_eq!(Code(0x7fff).to_string(), "code 0x7fff");
    }

    proptest! {
        //= proof: http3-23
        #[test]
        fn application_codes_come_back(code: u32) {
            prop_assert!(!is_reserved(Code::application(code).0));
            prop_assert_eq!(Code::application(code).as_application(), Some(code));
        }
    }
}
