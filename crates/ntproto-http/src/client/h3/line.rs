//! The connection as a machine: HTTP/3 on one QUIC connection, and the exchanges on it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use async_channel::Sender;
use ntproto_core::time::{Instant, Now, earliest};
use ntproto_core::tx::TxBuf;
use ntproto_h3::{Code, Event, StreamId};
use ntproto_net::web::Carrier;
use ntproto_net::{Machine, Step};
use ntproto_quic::{Closed, ConnId, Endpoint, Input, Output, Received};

use super::exchange::{Ask, Command, Exchange, Ticket};
use super::{ConnectError, KEEP_ALIVE};
use crate::client::HttpError;

/// How far the connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// The handshake.
    Shaking,
    Up,
    /// Nothing more comes, for this reason.
    Over(HttpError),
}

/// One connection.
pub(super) struct Line {
    quic: Endpoint,
    conn: ConnId,
    carrier: Carrier,
    phase: Phase,
    /// Who waits for the end of the handshake.
    ready: Option<Sender<Result<(), ConnectError>>>,
    exchanges: BTreeMap<StreamId, Exchange>,
    /// When the server was heard of last, or asked whether it is there.
    heard: Instant,
    /// Nothing more is asked: it closes when what was asked is through.
    leaving: bool,
    /// The clock of the call that is under way.
    now: Instant,
}

impl Line {
    /// A connection of `quic`, which has no other, that was begun.
    pub(super) fn new(
        now: Now,
        quic: Endpoint,
        conn: ConnId,
        ready: Sender<Result<(), ConnectError>>,
    ) -> Self {
        // Sessions are for browsers.
        let config = ntproto_h3::Config { webtransport: false, ..ntproto_h3::Config::default() };
        Self {
            quic,
            conn,
            carrier: Carrier::client(config),
            phase: Phase::Shaking,
            ready: Some(ready),
            exchanges: BTreeMap::new(),
            heard: now.mono,
            leaving: false,
            now: now.mono,
        }
    }

    /// Carries bytes until nothing moves.
    fn pump(&mut self, now: Now) {
        if self.phase != Phase::Up {
            return;
        }
        loop {
            let Self { quic, carrier, conn, .. } = self;
            quic.with(now, *conn, |c| carrier.pump(now, c));
            let mut any = false;
            while let Some(event) = self.carrier.next_event() {
                self.event(event);
                any = true;
            }
            if !any {
                break;
            }
        }
        self.close_if_through(now);
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Response { stream, head, end } => {
                if let Some(exchange) = self.exchanges.get_mut(&stream) {
                    exchange.answered(head, end);
                    self.settle(stream);
                }
            }
            Event::Data { stream, data } => {
                let len = data.len();
                if !self.exchanges.get_mut(&stream).is_some_and(|exchange| exchange.came(data)) {
                    self.carrier.machine().consume(stream, len);
                }
            }
            Event::End { stream } => {
                if let Some(exchange) = self.exchanges.get_mut(&stream) {
                    exchange.ended();
                    self.settle(stream);
                }
            }
            Event::Reset { stream, code, by_peer } => {
                // Nor is there anybody who would read the rest of the request. Halves that are over need no end.
                let _ = self.carrier.machine().cancel(stream, Code::REQUEST_CANCELLED);
                let who = if by_peer { "the server" } else { "this side, for what the server did" };
                self.fail(stream, HttpError(format!("the exchange was reset by {who}: {code}")));
            }
            Event::Stopped { stream, .. } => {
                if let Some(exchange) = self.exchanges.get_mut(&stream) {
                    exchange.enough();
                    self.settle(stream);
                }
            }
            Event::Writable { stream } => self.feed(stream),
            Event::Goaway => self.leaving = true,
            // Sessions are not asked for, and a client is not asked.
            _ => {}
        }
    }

    fn ask(&mut self, ask: Box<Ask>) {
        let fail = |ask: Box<Ask>, error: HttpError| drop(ask.head.try_send(Err(error)));
        match &self.phase {
            Phase::Up => {}
            Phase::Shaking => return fail(ask, HttpError("the connection is not up yet".into())),
            Phase::Over(why) => return fail(ask, why.clone()),
        }
        let mut head = http::Request::new(());
        *head.method_mut() = ask.request.method().clone();
        *head.uri_mut() = ask.request.uri().clone();
        *head.headers_mut() = ask.request.headers().clone();
        match self.carrier.machine().request(&head, ask.request.body().is_empty()) {
            Ok(stream) => {
                if self.exchanges.is_empty() {
                    // Nobody was asked whether it is there for as long as nobody wanted to know.
                    self.heard = self.now;
                }
                // Asked once.
                let _ = ask.ticket.stream.set(stream);
                self.exchanges.insert(stream, Exchange::begun(*ask));
                self.feed(stream);
            }
            Err(misuse) => fail(ask, HttpError::of(&misuse)),
        }
    }

    fn look(&mut self, ticket: &Arc<Ticket>) {
        let (wanted, read) = ticket.look();
        let Some(&stream) = ticket.stream.get() else { return };
        if !self.exchanges.contains_key(&stream) {
            return;
        }
        if !wanted {
            self.exchanges.remove(&stream);
            // Halves that are over need no end.
            let _ = self.carrier.machine().cancel(stream, Code::REQUEST_CANCELLED);
            return;
        }
        self.carrier.machine().consume(stream, read);
        self.feed(stream);
    }

    fn feed(&mut self, stream: StreamId) {
        let Some(exchange) = self.exchanges.get_mut(&stream) else { return };
        match exchange.feed(self.carrier.machine(), stream) {
            Ok(()) => self.settle(stream),
            Err(error) => {
                let _ = self.carrier.machine().cancel(stream, Code::REQUEST_CANCELLED);
                self.fail(stream, error);
            }
        }
    }

    /// An exchange may be over. One whose answer is not read yet has its bytes in the channel: nobody need hold them back.
    fn settle(&mut self, stream: StreamId) {
        if self.exchanges.get(&stream).is_some_and(|exchange| exchange.sent && exchange.heard) {
            self.exchanges.remove(&stream);
        }
    }

    fn fail(&mut self, stream: StreamId, error: HttpError) {
        if let Some(exchange) = self.exchanges.remove(&stream) {
            exchange.fail(error);
        }
    }

    fn close_if_through(&mut self, now: Now) {
        if self.leaving && self.exchanges.is_empty() {
            // A code of HTTP/3, all of which are small.
            let code = u32::try_from(Code::NO_ERROR.0).unwrap_or_default();
            self.quic.with(now, self.conn, |c| c.close(code, b""));
        }
    }

    fn connected(&mut self, alpn: &[u8]) -> Result<(), ConnectError> {
        if alpn == ntproto_quic::H3 { Ok(()) } else { Err(ConnectError::NotSpoken) }
    }

    fn over(&mut self, reason: Closed) {
        let error = match (&self.phase, reason) {
            (Phase::Over(_), _) => return,
            (_, Closed::Local { .. }) => super::gone(),
            (_, reason) => {
                if let Some(ready) = self.ready.take() {
                    let _ = ready.try_send(Err(ConnectError::of(reason.clone())));
                }
                HttpError(reason.to_string())
            }
        };
        for (_, exchange) in std::mem::take(&mut self.exchanges) {
            exchange.fail(error.clone());
        }
        self.phase = Phase::Over(error);
    }

    fn net_event(&mut self, now: Now, event: ntproto_quic::Event) {
        match event {
            ntproto_quic::Event::Connected { alpn, .. } => {
                let connected = self.connected(&alpn);
                match connected {
                    Ok(()) => self.phase = Phase::Up,
                    Err(_) => self.leaving = true,
                }
                if let Some(ready) = self.ready.take() {
                    // Nobody waits any more: then the end of its commands says so.
                    let _ = ready.try_send(connected);
                }
                self.heard = now.mono;
                self.close_if_through(now);
                self.pump(now);
            }
            ntproto_quic::Event::Streams { .. } | ntproto_quic::Event::Datagram { .. } => self.pump(now),
            ntproto_quic::Event::Closed { reason, .. } => self.over(reason),
            // Channels are ntproto's own protocol's.
            _ => {}
        }
    }

    /// When the server is asked whether it is there: while something is expected of it.
    fn asks_at(&self) -> Option<Instant> {
        (self.phase == Phase::Up && !self.exchanges.is_empty()).then(|| self.heard + KEEP_ALIVE)
    }
}

impl Machine for Line {
    type Command = Command;
    type Effect = Infallible;

    fn datagram(&mut self, now: Now, received: Received<'_>) {
        self.now = now.mono;
        self.heard = now.mono;
        self.quic.handle(now, Input::Datagram(received));
    }

    fn timeout(&mut self, now: Now) {
        self.now = now.mono;
        self.quic.handle(now, Input::Timeout);
        if self.phase == Phase::Up && self.carrier.deadline().is_some_and(|at| at <= now.mono) {
            self.carrier.timeout(now);
            self.pump(now);
        }
        if self.asks_at().is_some_and(|at| at <= now.mono) {
            self.heard = now.mono;
            self.quic.with(now, self.conn, |c| c.ping());
        }
    }

    fn command(&mut self, now: Now, command: Command) {
        self.now = now.mono;
        match command {
            Command::Ask(ask) => self.ask(ask),
            Command::Stirred(ticket) => self.look(&ticket),
        }
        self.pump(now);
    }

    fn commands_closed(&mut self, now: Now) {
        self.now = now.mono;
        self.leaving = true;
        self.close_if_through(now);
    }

    fn poll(&mut self, now: Now, mut tx: Option<&mut TxBuf>) -> Step<Infallible> {
        self.now = now.mono;
        loop {
            match self.quic.poll_output(now, tx.as_deref_mut()) {
                Output::Transmit(transmit) => return Step::Transmit(transmit),
                Output::Event(event) => self.net_event(now, event),
                Output::Wait { .. } if matches!(self.phase, Phase::Over(_)) && self.quic.is_flushed() => {
                    return Step::Done;
                }
                Output::Wait { at, .. } => {
                    let machine = self.carrier.deadline().filter(|_| self.phase == Phase::Up);
                    return Step::Wait(earliest(earliest(at, machine), self.asks_at()));
                }
            }
        }
    }
}
