//! Spans of traces that somebody keeps, as `tracing` spans.
//!
//! A span is told when it is over, with everything in its fields: [`Span::tell`] opens and closes a `tracing` span of the
//! target [`TARGET`]. So nothing is held while something lasts, no state is global, and any subscriber can take them; the
//! server crate has a layer that exports them as OTLP. Without a sampled [`TraceContext`] there is no span at all.
//!
//! A span never says what was said, to whom, or who asked.
//!
//! ```
//! use std::time::Duration;
//! use ntproto_sdk::trace::{Operation, Span, SpanId, TraceContext};
//!
//! // What came with a request: `traceparent` of HTTP, or a message's own.
//! let came = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
//! let span = Span::new(came, SpanId::from_random([7; 8]), Operation::Process, "thumbnails");
//! // What it causes in turn carries this:
//! assert_eq!(span.context().trace, came.trace);
//! span.tell(Duration::from_millis(3));
//! ```

use std::time::Duration;

use ntproto_core::code::ErrorCode;
pub use ntproto_core::trace::{SpanId, TraceContext, TraceId};
use ntproto_core::wire::packet::PacketId;

/// The target of every span told here.
pub const TARGET: &str = "ntproto::trace";
/// `messaging.system` of every span.
pub const SYSTEM: &str = "ntproto";

/// `messaging.operation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A client sends, and waits for the answer.
    Send,
    /// A message is taken by its receiver.
    Receive,
    /// Something is done because of it: by a server, or an application.
    Process,
}

impl Operation {
    /// As the attribute has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Receive => "receive",
            Self::Process => "process",
        }
    }
}

/// A span that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    came: Option<SpanId>,
    context: TraceContext,
    operation: Operation,
    what: &'static str,
    group: Option<bool>,
    status: &'static str,
    failed: bool,
}

impl Span {
    /// A span within a trace, caused by what `came`. `what` is the name of a packet, a route or a task: one of few.
    #[must_use]
    pub const fn new(came: TraceContext, id: SpanId, operation: Operation, what: &'static str) -> Self {
        let context = came.caused_by(id);
        Self { came: Some(came.parent), context, operation, what, group: None, status: "OK", failed: false }
    }

    /// The first span of a trace of its own.
    #[must_use]
    pub const fn root(trace: TraceId, id: SpanId, operation: Operation, what: &'static str) -> Self {
        let context = TraceContext::new(trace, id, true);
        Self { came: None, context, operation, what, group: None, status: "OK", failed: false }
    }

    /// What this span causes carries it.
    #[must_use]
    pub const fn context(&self) -> TraceContext {
        self.context
    }

    /// Whether it is about a message to a group, or to one other.
    #[must_use]
    pub const fn to_group(mut self, group: Option<bool>) -> Self {
        self.group = group;
        self
    }

    /// It failed, with this `rpc.status_code`.
    #[must_use]
    pub const fn failed(mut self, status: &'static str) -> Self {
        self.status = status;
        self.failed = true;
        self
    }

    /// [`failed`](Self::failed), if it was refused.
    #[must_use]
    pub const fn refused(self, code: Option<ErrorCode>) -> Self {
        match code {
            Some(code) => self.failed(code.name()),
            None => self,
        }
    }

    /// It is over now, and `lasted` so long. Nothing is told of a trace that nobody keeps.
    pub fn tell(self, lasted: Duration) {
        if !self.context.is_sampled() {
            return;
        }
        let conversation = self.group.map(|group| if group { "group" } else { "direct" });
        let span = tracing::info_span!(
            target: TARGET,
            "ntproto",
            trace_id = %self.context.trace,
            span_id = %self.context.parent,
            parent_span_id = self.came.map(tracing::field::display),
            messaging.system = SYSTEM,
            messaging.operation = self.operation.name(),
            rpc.method = self.what,
            rpc.status_code = self.status,
            ntproto.conversation.kind = conversation,
            failed = self.failed,
            lasted_us = u64::try_from(lasted.as_micros()).unwrap_or(u64::MAX),
        );
        // A line of the log has the span's trace id beside it.
        span.in_scope(|| tracing::debug!("{} {}", self.operation.name(), self.what));
    }
}

/// The name of a packet, for [`Span::new`].
#[must_use]
pub const fn packet_name(id: PacketId) -> &'static str {
    match id.name() {
        Some(name) => name,
        None if id.is_application() => "APPLICATION",
        None => "UNKNOWN",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_of_spans_is_one_trace() {
        let root =
            Span::root(TraceId::from_random([1; 16]), SpanId::from_random([2; 8]), Operation::Send, "SEND");
        let server = Span::new(root.context(), SpanId::from_random([3; 8]), Operation::Process, "SEND");
        assert_eq!(server.came, Some(root.context().parent));
        assert_eq!(server.context().trace, root.context().trace);
        assert!(root.came.is_none() && server.context().is_sampled());
    }

    #[test]
    fn packets_have_one_of_few_names() {
        assert_eq!(packet_name(PacketId::SEND), "SEND");
        assert_eq!(packet_name(PacketId(0x8001)), "APPLICATION");
        assert_eq!(packet_name(PacketId(0x7fff)), "UNKNOWN");
    }
}
