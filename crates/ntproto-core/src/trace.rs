//! Trace contexts: which trace a packet belongs to, and what in it caused the packet (specification, "Packets").
//!
//! On the wire a context has [`TRACE_LEN`] bytes; in HTTP it is the text of the header `traceparent` of a W3C trace
//! context. Both are hints from a peer: what can't be read is no context, and never an error.

use core::fmt;

use crate::wire::packet::TRACE_LEN;

/// Bytes of the text of version 00, and the least of any later one.
pub const TEXT_LEN: usize = 55;
/// The flags that have a meaning: sampled, and that the trace id is random. Others are not passed on.
const KNOWN_FLAGS: u8 = 3;
const SAMPLED: u8 = 1;

/// Names a trace, of at least one set bit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId([u8; 16]);

/// Names a span in its trace, of at least one set bit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId([u8; 8]);

macro_rules! id {
    ($($name:ident $len:literal),*) => {$(
        impl $name {
            /// `None` for zero, which names nothing.
            #[must_use]
            pub fn new(bytes: [u8; $len]) -> Option<Self> {
                (bytes != [0; $len]).then_some(Self(bytes))
            }

            /// Of random bytes; one in 2⁶⁴ or fewer would be zero and is 1 instead.
            #[must_use]
            pub fn from_random(bytes: [u8; $len]) -> Self {
                Self::new(bytes).unwrap_or_else(|| {
                    let mut one = [0; $len];
                    one[$len - 1] = 1;
                    Self(one)
                })
            }

            /// Its bytes.
            #[must_use]
            pub const fn to_bytes(self) -> [u8; $len] {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}
id!(TraceId 16, SpanId 8);

/// Which trace something belongs to, and the span that caused it.
///
/// ```
/// use ntproto_core::trace::TraceContext;
///
/// let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let context = TraceContext::parse(text).unwrap();
/// assert!(context.is_sampled());
/// assert_eq!(context.to_string(), text);
/// assert_eq!(TraceContext::from_bytes(&context.to_bytes()), Some(context));
/// assert_eq!(TraceContext::parse("00-nonsense"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The span that caused what carries this.
    pub parent: SpanId,
    flags: u8,
}

impl TraceContext {
    /// A context of one's own.
    #[must_use]
    pub const fn new(trace: TraceId, parent: SpanId, sampled: bool) -> Self {
        Self { trace, parent, flags: sampled as u8 }
    }

    /// Whether whoever began the trace keeps it. Only then it is worth a span, or room in a store.
    #[must_use]
    pub const fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The same trace, caused by another span.
    #[must_use]
    pub const fn caused_by(self, parent: SpanId) -> Self {
        Self { parent, ..self }
    }

    /// As a packet carries it.
    #[must_use]
    pub fn to_bytes(self) -> [u8; TRACE_LEN] {
        let mut bytes = [0; TRACE_LEN];
        bytes[..16].copy_from_slice(&self.trace.0);
        bytes[16..24].copy_from_slice(&self.parent.0);
        bytes[24] = self.flags;
        bytes
    }

    /// Reads what a packet or a record carries: `None` for another length, and for a trace or a span of zeros.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        //= spec: packets-11
        let bytes: &[u8; TRACE_LEN] = bytes.try_into().ok()?;
        let trace = TraceId::new(*bytes.first_chunk()?)?;
        let parent = SpanId::new(*bytes[16..].first_chunk()?)?;
        Some(Self { trace, parent, flags: bytes[24] & KNOWN_FLAGS })
    }

    /// Reads the header `traceparent`: version 00 exactly, and of a later version what has the same form. `None` for
    /// anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        let (head, rest) = text.split_at_checked(TEXT_LEN)?;
        let [b2 @ .., b'-'] = head.first_chunk::<3>()? else { return None };
        let version: [u8; 1] = hex(b2)?;
        match (version, rest) {
            ([0xff], _) => return None,
            ([0], []) => {}
            ([0], _) => return None,
            (_, [] | [b'-', ..]) => {}
            _ => return None,
        }
        if head[35] != b'-' || head[52] != b'-' {
            return None;
        }
        let trace = TraceId::new(hex(&head[3..35])?)?;
        let parent = SpanId::new(hex(&head[36..52])?)?;
        let [flags] = hex(&head[53..])?;
        Some(Self { trace, parent, flags: flags & KNOWN_FLAGS })
    }
}

impl fmt::Display for TraceContext {
    /// As the header `traceparent`, version 00.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.parent, self.flags)
    }
}

/// Lower-case digits only, as the W3C has it.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use alloc::format;
    use alloc::string::{String, ToString};
    use proptest::prelude::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn context() -> impl Strategy<Value = TraceContext> {
        (any::<[u8; 16]>(), any::<[u8; 8]>(), any::<bool>()).prop_map(|(trace, parent, sampled)| {
            TraceContext::new(TraceId::from_random(trace), SpanId::from_random(parent), sampled)
        })
    }

    #[test]
    fn the_w3c_form_is_read_and_nothing_else() {
        let good = TraceContext::parse(GOOD).unwrap();
        assert_eq!(good.trace.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(good.parent.to_string(), "b7ad6b7169203331");
        assert!(good.is_sampled());
        // A later version may say more, behind another hyphen.
        for later in [format!("01{}", &GOOD[2..]), format!("cc{}-what-follows", &GOOD[2..])] {
            assert_eq!(TraceContext::parse(&later), Some(good), "{later}");
        }
        let zero_trace = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        let zero_span = "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01";
        let bad = [
            String::new(),
            "00".into(),
            zero_trace.into(),
            zero_span.into(),
            format!("ff{}", &GOOD[2..]),
            format!("{GOOD}-more"),
            format!("{GOOD} "),
            format!(" {GOOD}"),
            format!("01{}more", &GOOD[2..]),
            GOOD.to_uppercase(),
            GOOD.replace('-', "_"),
            GOOD.replacen("0a", "0g", 1),
            GOOD[..54].into(),
            format!("{}é", &GOOD[..53]),
        ];
        for bad in bad {
            assert_eq!(TraceContext::parse(&bad), None, "{bad:?}");
        }
        // Flags without a meaning are not passed on.
        let flags = format!("{}ff", &GOOD[..53]);
        assert!(TraceContext::parse(&flags).unwrap().to_string().ends_with("-03"));
    }

    //= proof: packets-11
    #[test]
    fn bytes_that_name_nothing_are_no_context() {
        let good = TraceContext::parse(GOOD).unwrap().to_bytes();
        let (mut no_trace, mut no_span) = (good, good);
        no_trace[..16].fill(0);
        no_span[16..24].fill(0);
        for bad in [&no_trace[..], &no_span, &good[..24], &[], &[1; 26]] {
            assert_eq!(TraceContext::from_bytes(bad), None, "{bad:?}");
        }
        assert_eq!(TraceId::from_random([0; 16]).to_bytes()[15], 1);
    }

    proptest! {
        #[test]
        fn bytes_and_text_there_and_back(context in context()) {
            prop_assert_eq!(TraceContext::from_bytes(&context.to_bytes()), Some(context));
            prop_assert_eq!(TraceContext::parse(&context.to_string()), Some(context));
        }

        #[test]
        fn any_text_and_any_bytes(text in "[0-9a-f\\-]{0,60}|\\PC{0,60}", bytes in prop::collection::vec(any::<u8>(), 0..30)) {
            if let Some(context) = TraceContext::parse(&text) {
                prop_assert_eq!(TraceContext::parse(&context.to_string()), Some(context));
            }
            if let Some(context) = TraceContext::from_bytes(&bytes) {
                prop_assert_eq!(&context.to_bytes()[..24], &bytes[..24]);
            }
        }

        #[test]
        fn one_changed_character_changes_the_context_or_ends_it(at in 0..TEXT_LEN, c in "[ -~]") {
            let mut text = String::from(GOOD);
            text.replace_range(at..=at, &c);
            if let Some(context) = TraceContext::parse(&text) {
                prop_assert!(text == GOOD || !(2..=52).contains(&at) || context.to_string() == text);
            }
        }
    }
}
