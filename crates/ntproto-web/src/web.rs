//! The machine: exchanges come, are looked at, answered, and end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use ntproto_core::rng::Rng;
use ntproto_core::time::{Instant, Now};
use ntproto_hub::Networks;

use crate::answer::Answer;
use crate::api::{CarrierId, ExchangeId, Input, Output, WebEvent};
use crate::config::{DRAIN_BYTES, DRAIN_TIME, WINDOW, WebConfig};
use crate::cors::{self, Origins};
use crate::exchange::{Exchange, State};
use crate::handshake::Bootstrap;
use crate::problem::{Code, Problem};
use crate::routes::{Route, method_name};

/// The status noted of an exchange whose client was gone before the answer.
const CLIENT_GONE: u16 = 499;

/// What a server says over HTTP. See the [crate](crate).
pub struct Web {
    config: WebConfig,
    ready: bool,
    bootstrap: Option<Box<Bootstrap>>,
    origins: Origins,
    strangers: Networks,
    exchanges: BTreeMap<ExchangeId, Exchange>,
    timers: BTreeSet<(Instant, ExchangeId)>,
    /// Numbers of files come of it.
    rng: Rng,
    out: VecDeque<Output>,
}

impl Web {
    /// A machine that is not [ready](Input::Ready) yet. `seed` comes from the operating system, but in tests.
    #[must_use]
    pub fn new(config: WebConfig, seed: [u8; 32]) -> Self {
        Self {
            config,
            ready: false,
            bootstrap: None,
            origins: Origins::default(),
            strangers: Networks::new(config.strangers),
            exchanges: BTreeMap::new(),
            timers: BTreeSet::new(),
            rng: Rng::new(seed),
            out: VecDeque::new(),
        }
    }

    /// Pages of these origins may read its answers; of others only those of clients that are no browsers can.
    #[must_use]
    pub fn with_origins(self, origins: Origins) -> Self {
        Self { origins, ..self }
    }

    /// Takes what the host brings. Never fails. `now.unix` is server time, as the hub tells it.
    pub fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Head { exchange, carrier, remote, request, end } => {
                self.head(now, exchange, carrier, remote, &request, end);
            }
            Input::Data { exchange, data } => self.data(now, exchange, data),
            Input::End { exchange } => self.end(now, exchange),
            Input::Gone { exchange } => self.gone(now, exchange),
            Input::Bootstrap(bootstrap) => self.bootstrap = Some(bootstrap),
            Input::Ready(ready) => self.ready = ready,
            Input::Timeout => self.tick(now),
            Input::Room { .. } | Input::StoreDone { .. } | Input::FileDone { .. } | Input::Bearer { .. } => {}
        }
    }

    /// What it wants next.
    pub fn poll_output(&mut self, now: Now) -> Output {
        if self.timers.first().is_some_and(|(at, _)| *at <= now.mono) {
            self.tick(now);
        }
        match self.out.pop_front() {
            Some(output) => output,
            None => Output::Wait { at: self.timers.first().map(|(at, _)| *at) },
        }
    }

    /// Exchanges there are.
    #[must_use]
    pub fn exchanges(&self) -> usize {
        self.exchanges.len()
    }

    fn head(
        &mut self,
        now: Now,
        id: ExchangeId,
        carrier: CarrierId,
        remote: SocketAddr,
        request: &Request<()>,
        end: bool,
    ) {
        if self.exchanges.contains_key(&id) {
            return;
        }
        let crowded = self.exchanges.len() >= self.config.max_exchanges;
        let route = Route::of(request);
        let known = route.unwrap_or(Route::None);
        let mut exchange = Exchange::new(now, carrier, known, request, end);
        exchange.origin = self.origins.of(request);
        let preflight = cors::preflight(request).filter(|_| exchange.origin.is_some());
        self.exchanges.insert(id, exchange);
        let token = request.headers().contains_key(header::AUTHORIZATION);
        let probe = matches!(known, Route::Health | Route::Ready);
        let late = if token || probe { Ok(()) } else { self.strangers.take(now.mono, remote.ip()) };
        if let Err(wait) = late {
            //= spec: bootstrap-12
            let seconds = (wait.as_secs() + 1).to_string();
            let answer = Answer::from(Problem::new(Code::TooManyRequests)).set(header::RETRY_AFTER, &seconds);
            // Its body is not read: that would cost more than the answer.
            return self.respond(now, id, answer);
        }
        if let Some(answer) = preflight {
            return self.finish(now, id, answer);
        }
        let answer = match route {
            _ if crowded => {
                // It is not read: that would take room too.
                return self.respond(now, id, Problem::new(Code::Unavailable).into());
            }
            Err(code) => Problem::new(code).into(),
            Ok(route) => self.simple(now, route, remote, request),
        };
        self.finish(now, id, answer);
    }

    /// What needs nobody's answer.
    fn simple(&mut self, now: Now, route: Route, remote: SocketAddr, request: &Request<()>) -> Answer {
        let plain = "text/plain; charset=utf-8";
        match (route, method_name(request.method())) {
            (Route::Health, "GET" | "HEAD") => Answer::new(StatusCode::OK).text(plain, "ok\n"),
            (Route::Ready, "GET" | "HEAD") if self.ready => {
                Answer::new(StatusCode::OK).text(plain, "ready\n")
            }
            (Route::Ready, "GET" | "HEAD") => Problem::new(Code::Unavailable).into(),
            (Route::Handshake, "GET" | "HEAD") => match &self.bootstrap {
                Some(bootstrap) => bootstrap.respond(&mut self.rng, now.unix, remote.ip(), request),
                None => Problem::new(Code::Unavailable).into(),
            },
            (Route::Health | Route::Ready | Route::Handshake, _) => {
                Answer::from(Problem::new(Code::Method)).set(header::ALLOW, route.allow())
            }
            _ => Problem::new(Code::NotFound).into(),
        }
    }

    fn data(&mut self, now: Now, id: ExchangeId, data: Bytes) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        exchange.received += data.len() as u64;
        exchange.asks_first = false;
        exchange.held_bytes += data.len();
        exchange.held.push_back(data);
        if exchange.held_bytes > 2 * WINDOW {
            // The host brings more than it may.
            return self.gone(now, id);
        }
        self.drain(now, id);
    }

    fn end(&mut self, now: Now, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        exchange.whole = true;
        self.drain(now, id);
    }

    fn gone(&mut self, now: Now, id: ExchangeId) {
        self.out.push_back(Output::Reset { exchange: id });
        self.forget(now, id, CLIENT_GONE);
    }

    /// Answers, once the body is out of the way.
    fn finish(&mut self, now: Now, id: ExchangeId, answer: Answer) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        if exchange.whole || exchange.asks_first {
            return self.respond(now, id, answer);
        }
        exchange.state = State::Draining { answer: Box::new(answer), drained: 0 };
        self.set_deadline(id, Some(now.mono + DRAIN_TIME));
        self.drain(now, id);
    }

    /// Reads what nobody wants, as long as that is not too much.
    fn drain(&mut self, now: Now, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        let State::Draining { drained, .. } = &mut exchange.state else { return };
        *drained += exchange.held_bytes as u64;
        let enough = *drained >= DRAIN_BYTES || exchange.whole;
        let bytes = exchange.drop_held();
        if bytes > 0 {
            self.out.push_back(Output::Consumed { exchange: id, bytes });
        }
        if enough {
            self.drained(now, id);
        }
    }

    fn drained(&mut self, now: Now, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        if let State::Draining { answer, .. } = core::mem::replace(&mut exchange.state, State::New) {
            self.respond(now, id, *answer);
        }
    }

    /// Answers at once.
    fn respond(&mut self, now: Now, id: ExchangeId, answer: Answer) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        let body = if exchange.head_only { Bytes::new() } else { answer.body.clone() };
        exchange.sent += body.len() as u64;
        let whole = exchange.whole;
        let mut head = answer.head();
        if let Some(origin) = &exchange.origin {
            cors::grant(&mut head, origin);
        }
        self.out.push_back(Output::Respond { exchange: id, head, end: body.is_empty() });
        if !body.is_empty() {
            self.out.push_back(Output::Body { exchange: id, data: body, end: true });
        }
        if !whole {
            self.out.push_back(Output::Reset { exchange: id });
        }
        self.forget(now, id, answer.status.as_u16());
    }

    /// An exchange is over.
    fn forget(&mut self, now: Now, id: ExchangeId, status: u16) {
        self.set_deadline(id, None);
        let Some(exchange) = self.exchanges.remove(&id) else { return };
        self.out.push_back(Output::Event(WebEvent::Done {
            exchange: id,
            route: exchange.route.name(),
            method: exchange.method,
            status,
            took: now.mono.saturating_since(exchange.started),
            received: exchange.received,
            sent: exchange.sent,
        }));
    }

    fn set_deadline(&mut self, id: ExchangeId, at: Option<Instant>) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        if let Some(old) = core::mem::replace(&mut exchange.deadline, at) {
            self.timers.remove(&(old, id));
        }
        if let Some(new) = at {
            self.timers.insert((new, id));
        }
    }

    fn tick(&mut self, now: Now) {
        while let Some((at, id)) = self.timers.first().copied()
            && at <= now.mono
        {
            self.set_deadline(id, None);
            self.drained(now, id);
        }
    }
}
