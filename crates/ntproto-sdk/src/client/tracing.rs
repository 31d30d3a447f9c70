//! Spans of what a handle asks for, and of messages it takes.

use std::time::{Duration, Instant};

use ntproto_core::client::Failure;
use ntproto_core::code::ErrorCode;

use super::calls::Reply;
use super::{Message, Shared};
use crate::trace::{Operation, Span, SpanId, TraceContext, TraceId};

/// A span until its end. Dropped before, what it stood for was given up.
pub(super) struct Underway {
    span: Option<Span>,
    began: Instant,
}

impl Shared {
    /// Begins a span of something sent, in the trace that was given, or in one of its own if this client keeps traces.
    pub(super) fn sending(
        &self,
        came: Option<TraceContext>,
        what: &'static str,
        group: Option<bool>,
    ) -> Underway {
        let span = match came {
            Some(came) if came.is_sampled() => Some(Span::new(came, self.span_id(), Operation::Send, what)),
            None if self.traces => {
                let trace = TraceId::from_random(self.random());
                Some(Span::root(trace, self.span_id(), Operation::Send, what))
            }
            Some(_) | None => None,
        };
        Underway { span: span.map(|span| span.to_group(group)), began: Instant::now() }
    }

    fn span_id(&self) -> SpanId {
        let [a, b, c, d, e, f, g, h, ..] = self.random();
        SpanId::from_random([a, b, c, d, e, f, g, h])
    }

    /// The application takes a message: what it does with it goes on from here.
    pub(super) fn taken(&self, message: &mut Message) {
        let Some(came) = message.trace.filter(|trace| trace.is_sampled()) else { return };
        let group = message.conversation.group().is_some();
        let span = Span::new(came, self.span_id(), Operation::Receive, "NOTIFY").to_group(Some(group));
        message.trace = Some(span.context());
        span.tell(Duration::ZERO);
    }
}

impl Underway {
    /// What is sent carries this: the span, or what came if no trace is kept.
    pub(super) fn context(&self, came: Option<TraceContext>) -> Option<TraceContext> {
        self.span.as_ref().map(Span::context).or(came)
    }

    /// It is over, with this reply.
    pub(super) fn end(mut self, reply: &Reply) {
        if let Some(span) = self.span.take() {
            let span = status(reply).map_or(span, |status| span.failed(status));
            span.tell(self.began.elapsed());
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        if let Some(span) = self.span.take() {
            span.failed(ErrorCode::Cancelled.name()).tell(self.began.elapsed());
        }
    }
}

/// `rpc.status_code` of a reply that is no success.
const fn status(reply: &Reply) -> Option<&'static str> {
    Some(match reply {
        Reply::Taken | Reply::Queued(_) | Reply::Sent(_) | Reply::Answer(_) | Reply::Token(_) => return None,
        Reply::Failed(Failure::Refused(Some(code), _)) => code.name(),
        Reply::Failed(Failure::DeadlineExceeded) => ErrorCode::DeadlineExceeded.name(),
        Reply::Failed(Failure::Cancelled) | Reply::Ended(_) => ErrorCode::Cancelled.name(),
        Reply::Failed(Failure::Disconnected) => ErrorCode::Unavailable.name(),
        Reply::Failed(Failure::Store(_)) => ErrorCode::Internal.name(),
        Reply::Refused(_) => ErrorCode::BadRequest.name(),
        Reply::Failed(Failure::Refused(None, _)) | Reply::Unresolved(_) => "UNKNOWN",
    })
}
