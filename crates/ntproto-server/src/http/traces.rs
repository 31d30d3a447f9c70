//! Spans of HTTP requests whose askers keep their traces: what the header `traceparent` says, until the exchange is over.

use std::collections::BTreeMap;

use ntproto_core::rng::Rng;
use ntproto_sdk::trace::{Operation, Span, SpanId, TraceContext};
use ntproto_web::{ExchangeId, Input, WebEvent};

use crate::metrics::label::{Label as _, Status};

/// The header, in lower case.
const HEADER: &str = "traceparent";

/// The traces of exchanges under way: at most one each.
pub(super) struct Traces {
    rng: Rng,
    of: BTreeMap<ExchangeId, (TraceContext, SpanId)>,
}

impl Traces {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self { rng: Rng::new(seed), of: BTreeMap::new() }
    }

    /// A request may begin: remembers its trace, if there is one. What can't be read, or stands there twice, is none.
    pub(super) fn came(&mut self, input: &Input) {
        let Input::Head { exchange, request, .. } = input else { return };
        let mut texts = request.headers().get_all(HEADER).iter();
        let (Some(text), None) = (texts.next(), texts.next()) else { return };
        let came = text.to_str().ok().and_then(TraceContext::parse).filter(|trace| trace.is_sampled());
        if let Some(came) = came {
            self.of.insert(*exchange, (came, SpanId::from_random(self.rng.array())));
        }
    }

    /// An exchange may be over: its span.
    pub(super) fn over(&mut self, event: &WebEvent) -> Option<Span> {
        let WebEvent::Done { exchange, route, status, .. } = event else { return None };
        let (came, id) = self.of.remove(exchange)?;
        let span = Span::new(came, id, Operation::Process, route);
        Some(match *status {
            ..400 => span,
            status => span.failed(Status::TEXTS[Status::from(status).index()]),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn head(exchange: u64, texts: &[&str]) -> Input {
        let mut request = http::Request::builder().uri("/v2/handshake");
        for text in texts {
            request = request.header(HEADER, *text);
        }
        Input::Head {
            exchange: ExchangeId(exchange),
            carrier: ntproto_web::CarrierId(1),
            remote: "127.0.0.1:1".parse().unwrap(),
            request: request.body(()).unwrap(),
            end: true,
        }
    }

    fn done(exchange: u64, status: u16) -> WebEvent {
        WebEvent::Done {
            exchange: ExchangeId(exchange),
            route: "/v2/handshake",
            method: "GET",
            status,
            took: Duration::ZERO,
            received: 0,
            sent: 0,
        }
    }

    #[test]
    fn a_request_goes_on_with_its_askers_trace_until_it_is_over() {
        let mut traces = Traces::new([1; 32]);
        traces.came(&head(1, &[GOOD]));
        traces.came(&head(2, &[GOOD]));
        let span = traces.over(&done(1, 200)).unwrap();
        assert_eq!(span.context().trace, TraceContext::parse(GOOD).unwrap().trace);
        let other = traces.over(&done(2, 404)).unwrap();
        assert_ne!(span.context().parent, other.context().parent);
        assert_eq!(other, other.failed("404"));
        assert!(traces.over(&done(1, 200)).is_none() && traces.of.is_empty(), "each ends once");
    }

    #[test]
    fn garbage_is_no_trace_and_what_nobody_keeps_leaves_nothing() {
        let mut traces = Traces::new([1; 32]);
        let unsampled = format!("{}00", &GOOD[..53]);
        let bad: [&[&str]; 6] = [&[], &[""], &["garbage"], &[&unsampled], &[GOOD, GOOD], &["00-00-00-01"]];
        for (n, texts) in bad.into_iter().enumerate() {
            traces.came(&head(n as u64, texts));
        }
        assert!(traces.of.is_empty());
    }
}
