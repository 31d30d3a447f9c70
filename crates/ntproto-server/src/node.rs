//! The server as one machine that does no I/O: QUIC and TCP below, the hub above.
//!
//! ```text
//!  datagrams, ──▶ net ── Connected, bytes ──▶ hub ── Store(txn) ──▶ host's store
//!    streams       ▲                           │  ▲                      │
//!            ◀──  net ◀── bytes of channels ───┘  └──── StoreDone ◀──────┘
//! ```
//!
//! Backpressure runs both ways. A connection the hub does not accept packets from is left unread but for CONTROL:
//! the transport's flow control then holds its peer back. A channel that takes no more bytes keeps what was left of one buffer here, and
//! the hub is told that it is not writable.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use ntproto_core::binding::Binding;
use ntproto_core::code::ErrorCode;
use ntproto_core::dispatch::Outcome as Answer;
use ntproto_core::session::bearer::Bearer;
use ntproto_core::session::ticket::TicketKey;
use ntproto_core::time::{Instant, Now, earliest};
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::{Channel, ChannelSet};
use ntproto_hub::store::{OpId, Outcome, StoreError, Txn};
use ntproto_hub::{self as hub, Ask, AskId, Counts, HostAsk, Hub, HubEvent, Load, Push, Who};
use ntproto_net::web::CLOSE_TIME;
use ntproto_net::{
    Closed, Conn, ConnId, Endpoint, Event, ExchangeId, HttpAnswer, HttpEvent, Machine, Output, Step,
    StreamId, StreamInput,
};
use ntproto_quic::{ALPN, EndpointStats, Received};

/// What the hub seals into at a time: frames of packets that wait together. It is also the most that is kept of a
/// channel that takes no more bytes, but for a single frame that is larger.
const SCRATCH: usize = 64 * 1024;
/// Bytes read of one connection before the others have their turn.
const READ_TURN: usize = 128 * 1024;
/// How long sessions over WebTransport that were sent away when the drain's time was over may take: until their peers
/// have what was written before, and then the close.
const FAREWELL: Duration = CLOSE_TIME.saturating_mul(2);
/// How long closes may take to leave once the drain is over: one full socket buffer.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What the host asks of the node.
#[derive(Debug)]
pub enum Command {
    /// Transactions have ended. What is told here is durable.
    StoreDone(Vec<(OpId, Result<Outcome, StoreError>)>),
    /// The application has answered requests.
    Answered(Vec<(AskId, Answer)>),
    /// What an administrator asked for is done, or can't be.
    HostAnswered(AskId, Answer),
    /// The application tells an account something.
    Push(Push),
    /// An HTTP request acts for a session. [`Effect::Bearer`] answers.
    Bearer {
        /// Names the question.
        op: u64,
        /// What it showed.
        shown: Bearer,
    },
    /// Tell what was done so far, and how much there is to do: [`Effect::Counted`].
    Count,
    /// What the host says to an HTTP exchange.
    Http(ExchangeId, HttpAnswer),
    /// Let nobody in, finish what is in the store, send everybody away, end.
    Drain,
}

/// What the node asks of the host.
pub enum Effect {
    /// Run this on the store, and answer with [`Command::StoreDone`] once it is durable.
    Store {
        /// Its number.
        op: OpId,
        /// The transaction.
        txn: Txn,
        /// Nobody waits for it after this: a store that comes to it later may answer [`StoreError::Expired`].
        deadline: Option<Instant>,
    },
    /// The application is asked these, which came together; answer each with [`Command::Answered`]. None may ever
    /// be answered: then its asker learns so at its deadline.
    Asks(Vec<Ask>),
    /// An administrator asks for this; answer with [`Command::HostAnswered`], however long it takes.
    Host(HostAsk),
    /// Nobody waits for this answer any more.
    Abandoned(AskId),
    /// The answer to [`Command::Bearer`].
    Bearer {
        /// The question's name.
        op: u64,
        /// Whom the request acts for; `None`: nobody.
        who: Option<Who>,
    },
    /// Tickets are sealed with another key: keep both for the next start.
    TicketKeys {
        /// The key that seals.
        current: TicketKey,
        /// The key before it.
        previous: Option<TicketKey>,
    },
    /// What [`Command::Count`] asked for.
    Counted(NodeCounts),
    /// Something of an HTTP exchange over HTTP/3; answer it with [`Command::Http`].
    Http(ExchangeId, HttpEvent),
    /// Something for logs and counters.
    Event(NodeEvent),
}

/// What a node has done, and how much there is to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeCounts {
    /// What its hub has done.
    pub hub: Counts,
    /// How much there is to do.
    pub load: Load,
    /// Its QUIC endpoint.
    pub quic: EndpointStats,
    /// Whether it lets nobody in any more.
    pub draining: bool,
    /// Whether its store failed.
    pub store_failed: bool,
}

/// What happened.
#[derive(Debug)]
pub enum NodeEvent {
    /// A transport is up.
    Opened {
        /// The connection.
        conn: ConnId,
        /// The peer.
        remote: SocketAddr,
    },
    /// A transport is down.
    Down {
        /// The connection.
        conn: ConnId,
        /// Why.
        reason: Closed,
    },
    /// How long it takes to a device that was let in, and back.
    Rtt(Duration),
    /// What the hub says.
    Hub(HubEvent),
}

/// What the node holds of a connection.
struct Pipe {
    /// Channels with bytes that were not read.
    unread: ChannelSet,
    /// Whether it waits for its turn to be read.
    queued: bool,
    /// What the transport did not take, by channel.
    left: [Bytes; Channel::STREAMS.len()],
}

impl Pipe {
    fn writable(&self) -> ChannelSet {
        let blocked = Channel::STREAMS.into_iter().filter(|c| !self.left[c.index()].is_empty());
        blocked.fold(ChannelSet::ALL, ChannelSet::without)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    Draining,
    /// The hub is done. What is under way over HTTP/3 is finished, until this instant at the latest.
    Finishing(Instant),
    /// Everybody was sent away; the last closes leave until this instant at the latest.
    Leaving(Instant),
}

/// The server machine. See the [module](self).
pub struct Node {
    net: Endpoint,
    hub: Hub,
    pipes: BTreeMap<ConnId, Pipe>,
    /// Connections that brought early data and are not up.
    early: BTreeSet<ConnId>,
    /// Connections with bytes to read, each once.
    ready: VecDeque<ConnId>,
    effects: VecDeque<Effect>,
    /// Requests for the application that came since the last poll.
    asks: Vec<Ask>,
    scratch: TxBuf,
    /// The ticket key the host has kept.
    ticket_key: u32,
    hub_wait: Option<Instant>,
    phase: Phase,
    store_failed: bool,
}

impl Node {
    /// A node over an endpoint that serves, and a hub that was booted.
    #[must_use]
    pub fn new(net: Endpoint, hub: Hub) -> Self {
        let ticket_key = hub.tickets().current().id();
        Self {
            net,
            hub,
            pipes: BTreeMap::new(),
            early: BTreeSet::new(),
            ready: VecDeque::new(),
            effects: VecDeque::new(),
            asks: Vec::new(),
            scratch: TxBuf::new(SCRATCH),
            ticket_key,
            hub_wait: None,
            phase: Phase::Serving,
            store_failed: false,
        }
    }

    /// Whether the store failed: the node drains by itself then, and must be started anew.
    #[must_use]
    pub fn store_failed(&self) -> bool {
        self.store_failed
    }

    /// The transport's counts.
    #[must_use]
    pub fn stats(&self) -> EndpointStats {
        self.net.stats()
    }

    fn counts(&self) -> NodeCounts {
        NodeCounts {
            hub: self.hub.counts(),
            load: self.hub.load(),
            quic: self.net.stats(),
            draining: self.phase != Phase::Serving,
            store_failed: self.store_failed,
        }
    }

    /// The hub, to ask about.
    #[must_use]
    pub const fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Connections that brought early data and whose handshake is not complete: each is up, or gone, within
    /// [`AUTH_TIMEOUT`](ntproto_core::endpoint::AUTH_TIMEOUT) and a little.
    #[must_use]
    pub fn early(&self) -> usize {
        self.early.len()
    }

    /// Transactions in the store.
    #[must_use]
    pub fn in_store(&self) -> usize {
        self.hub.in_store()
    }

    /// Moves everything that can move without the host: until transports and hub have nothing to say. When nothing
    /// happened since the last call, it costs one look at each.
    fn pump(&mut self, now: Now) {
        loop {
            let mut moved = false;
            while let Some(event) = self.net.next_event(now) {
                self.transport(now, event);
                moved = true;
            }
            // One turn each; whoever has more stands in line again.
            for _ in 0..self.ready.len() {
                let Some(conn) = self.ready.pop_front() else { break };
                self.read(now, conn);
                moved = true;
            }
            self.hub_wait = loop {
                self.scratch.clear();
                match self.hub.poll_output(now, Some(&mut self.scratch)) {
                    hub::Output::Wait { at, .. } => break at,
                    output => self.decided(now, output),
                }
                moved = true;
            };
            if !moved {
                break;
            }
        }
        if !self.asks.is_empty() {
            self.effects.push_back(Effect::Asks(std::mem::take(&mut self.asks)));
        }
        let sealer = self.hub.tickets();
        if sealer.current().id() != self.ticket_key {
            self.ticket_key = sealer.current().id();
            let (current, previous) = (duplicate(sealer.current()), sealer.previous().map(duplicate));
            self.effects.push_back(Effect::TicketKeys { current, previous });
        }
    }

    /// What a transport says.
    fn transport(&mut self, now: Now, event: Event) {
        match event {
            Event::Early { conn, remote } => {
                self.early.insert(conn);
                self.open(now, conn, Binding::EARLY, remote);
            }
            Event::Connected { conn, alpn, binding, remote, .. } => {
                self.event(NodeEvent::Opened { conn, remote });
                if self.early.remove(&conn) {
                    return self.hub.handle(now, hub::Input::Bound { conn: hub::ConnId(conn.0), binding });
                }
                if alpn != ALPN {
                    self.net.with(now, conn, |c| c.close(ErrorCode::Version as u32, b""));
                    return;
                }
                self.open(now, conn, binding, remote);
            }
            Event::Readable { conn, channel } => {
                if let Some(pipe) = self.pipes.get_mut(&conn) {
                    pipe.unread = pipe.unread.with(channel);
                    // At once: a `Closed` that follows takes with it what was not read.
                    if !pipe.queued {
                        self.read(now, conn);
                    }
                }
            }
            Event::Writable { conn, channel } => self.flush(now, conn, channel),
            // MEDIA is not served yet: what comes is dropped.
            Event::Datagram { conn } => {
                self.net.with(now, conn, |c| while c.recv_datagram().is_some() {});
            }
            Event::Http(exchange, event) => self.effects.push_back(Effect::Http(exchange, event)),
            Event::Closed { conn, reason } => {
                if self.pipes.remove(&conn).is_some() {
                    self.hub.handle(now, hub::Input::Closed { conn: hub::ConnId(conn.0) });
                }
                // One that never was up is not said to be down.
                if !self.early.remove(&conn) {
                    self.event(NodeEvent::Down { conn, reason });
                }
            }
        }
    }

    /// A connection may be used.
    fn open(&mut self, now: Now, conn: ConnId, binding: Binding, remote: SocketAddr) {
        let pipe = Pipe { unread: ChannelSet::NONE, queued: false, left: Default::default() };
        self.pipes.insert(conn, pipe);
        self.hub.handle(now, hub::Input::Opened { conn: hub::ConnId(conn.0), binding, remote });
    }

    /// Gives the hub what came on a connection, as far as it takes it.
    fn read(&mut self, now: Now, conn: ConnId) {
        let Some(pipe) = self.pipes.get_mut(&conn) else { return };
        pipe.queued = false;
        let (hub, id) = (&mut self.hub, hub::ConnId(conn.0));
        let mut turn = READ_TURN;
        for channel in Channel::STREAMS {
            if !pipe.unread.contains(channel) {
                continue;
            }
            if turn == 0 {
                break;
            }
            // Refused now, it stays unread until the hub says `Resume`. CONTROL comes first and never is.
            if !hub.accepts(id, channel) {
                return;
            }
            let mut refused = false;
            let visit = |c: &mut Conn<'_, '_>| {
                c.read_chunks(channel, turn, |data| {
                    hub.handle(now, hub::Input::Bytes { conn: id, channel, data: &data });
                    refused = !hub.accepts(id, channel);
                    !refused
                })
            };
            let read = self.net.with(now, conn, visit).unwrap_or(0);
            if refused {
                return;
            }
            if read < turn {
                pipe.unread = pipe.unread.without(channel);
            }
            turn -= read;
        }
        if !pipe.unread.is_empty() {
            pipe.queued = true;
            self.ready.push_back(conn);
        }
    }

    /// What the hub decided; what it transmits lies in `scratch`.
    fn decided(&mut self, now: Now, output: hub::Output) {
        match output {
            hub::Output::Transmit { conn, channel } => self.write(now, ConnId(conn.0), channel),
            hub::Output::Store { op, txn, deadline } => {
                self.effects.push_back(Effect::Store { op, txn, deadline });
            }
            hub::Output::Close { conn, code } => {
                // What the transport holds goes out before the close; the hub has waited, for a while, until it took all.
                let conn = ConnId(conn.0);
                self.pipes.remove(&conn);
                self.net.with(now, conn, |c| c.close(code as u32, code.name().as_bytes()));
            }
            hub::Output::Resume { conn } => {
                let conn = ConnId(conn.0);
                if let Some(pipe) = self.pipes.get_mut(&conn)
                    && !pipe.unread.is_empty()
                    && !std::mem::replace(&mut pipe.queued, true)
                {
                    self.ready.push_back(conn);
                }
            }
            hub::Output::Ask(ask) => self.asks.push(ask),
            hub::Output::Abandoned { ask } => match self.asks.iter().position(|other| other.id == ask) {
                // The host need not hear of it at all.
                Some(n) => drop(self.asks.remove(n)),
                None => self.effects.push_back(Effect::Abandoned(ask)),
            },
            hub::Output::Host(ask) => self.effects.push_back(Effect::Host(ask)),
            hub::Output::Event(event) => self.heard(now, event),
            hub::Output::Wait { .. } => {}
        }
    }

    fn heard(&mut self, now: Now, event: HubEvent) {
        match event {
            // Nothing can be promised any more; whoever starts the server again knows what the disk holds.
            HubEvent::StoreFailed(StoreError::Unavailable) => {
                self.store_failed = true;
                self.drain(now);
            }
            HubEvent::In { conn, .. } => {
                let rtt = self.net.with(now, ConnId(conn.0), |c| {
                    c.settle();
                    c.rtt()
                });
                if let Some(rtt) = rtt.flatten() {
                    self.event(NodeEvent::Rtt(rtt));
                }
            }
            HubEvent::Drained => {
                let farewell = now.mono + FAREWELL;
                let until = self.hub.drain_until().map_or(farewell, |until| until.max(farewell));
                self.phase = Phase::Finishing(until);
            }
            _ => {}
        }
        self.event(NodeEvent::Hub(event));
    }

    fn drain(&mut self, now: Now) {
        if self.phase == Phase::Serving && self.hub.call(now, hub::Command::Drain).is_ok() {
            self.phase = Phase::Draining;
            self.net.goaway(now);
            for conn in self.pipes.keys() {
                self.net.with(now, *conn, |c| c.control_last());
            }
        }
    }

    /// Whether the hub is done and nothing is under way over HTTP/3 any more, or its time is over.
    fn is_finished(&self, now: Now) -> bool {
        matches!(self.phase, Phase::Finishing(until) if self.net.is_web_over() || now.mono >= until)
    }

    /// Hands `scratch` to the transport and keeps what it does not take.
    fn write(&mut self, now: Now, conn: ConnId, channel: Channel) {
        let bytes = self.scratch.as_slice();
        let taken = self.net.with(now, conn, |c| c.write(channel, bytes));
        if let (Some(taken), Some(pipe)) = (taken, self.pipes.get_mut(&conn))
            && taken < bytes.len()
            && let Some(left) = pipe.left.get_mut(channel.index())
        {
            *left = Bytes::copy_from_slice(&bytes[taken..]);
            let channels = pipe.writable();
            self.hub.handle(now, hub::Input::Writable { conn: hub::ConnId(conn.0), channels });
        }
    }

    /// A channel takes bytes again: first those that were left.
    fn flush(&mut self, now: Now, conn: ConnId, channel: Channel) {
        let Some(pipe) = self.pipes.get_mut(&conn) else { return };
        let Some(left) = pipe.left.get_mut(channel.index()) else { return };
        if left.is_empty() {
            return;
        }
        self.net.with(now, conn, |c| c.write_bytes(channel, left));
        if left.is_empty() {
            // An empty slice of a buffer would keep all of it.
            *left = Bytes::new();
            let channels = pipe.writable();
            self.hub.handle(now, hub::Input::Writable { conn: hub::ConnId(conn.0), channels });
        }
    }

    fn event(&mut self, event: NodeEvent) {
        self.effects.push_back(Effect::Event(event));
    }
}

fn duplicate(key: &TicketKey) -> TicketKey {
    TicketKey::from_parts(key.id(), key.created(), key.secret().duplicate())
}

impl Machine for Node {
    type Command = Command;
    type Effect = Effect;

    fn datagram(&mut self, now: Now, received: Received<'_>) {
        self.net.datagram(now, received);
    }

    fn accept(&mut self, now: Now, remote: SocketAddr) -> Option<StreamId> {
        if self.phase == Phase::Serving { self.net.accept(now, remote) } else { None }
    }

    fn stream(&mut self, _: Now, stream: StreamId, input: StreamInput) {
        self.net.stream(stream, input);
    }

    fn hand_over(&mut self, _: Now, stream: StreamId) -> bool {
        self.phase == Phase::Serving && self.net.hand_over(stream)
    }

    fn timeout(&mut self, now: Now) {
        self.net.timeout(now);
        self.hub.handle(now, hub::Input::Timeout);
    }

    fn command(&mut self, now: Now, command: Command) {
        match command {
            Command::StoreDone(done) => {
                for (op, result) in done {
                    //= spec: messages-4
                    self.hub.handle(now, hub::Input::StoreDone { op, result });
                }
            }
            Command::HostAnswered(ask, answer) => {
                self.hub.handle(now, hub::Input::HostAnswered { ask, answer });
            }
            Command::Answered(answers) => {
                for (ask, answer) in answers {
                    self.hub.handle(now, hub::Input::Answered { ask, answer });
                }
            }
            Command::Bearer { op, shown } => {
                let who = self.hub.bearer(&shown);
                self.effects.push_back(Effect::Bearer { op, who });
            }
            Command::Push(push) => self.hub.handle(now, hub::Input::Push(push)),
            Command::Count => {
                let counts = self.counts();
                self.effects.push_back(Effect::Counted(counts));
            }
            Command::Http(exchange, answer) => self.net.http(now, exchange, answer),
            Command::Drain => self.drain(now),
        }
    }

    /// Without anybody who could tell what became of transactions, there is nothing to serve with.
    fn commands_closed(&mut self, now: Now) {
        self.drain(now);
    }

    fn poll(&mut self, now: Now, tx: Option<&mut TxBuf>) -> Step<Effect> {
        self.pump(now);
        if self.is_finished(now) {
            self.net.close_all(now, ErrorCode::GoingAway as u32, ErrorCode::GoingAway.name().as_bytes());
            self.phase = Phase::Leaving(now.mono + LAST_WORDS);
            self.pump(now);
        }
        if let Some(effect) = self.effects.pop_front() {
            return Step::Effect(effect);
        }
        match self.net.poll_output(now, tx) {
            Output::Transmit(transmit) => Step::Transmit(transmit),
            Output::Stream(stream, step) => Step::Stream(stream, step),
            Output::Event(event) => {
                // The pump took all there were; one that comes of sending is work for the next poll.
                self.transport(now, event);
                Step::Wait(Some(now.mono))
            }
            Output::Wait(at) => match self.phase {
                Phase::Leaving(until) if self.net.is_flushed() || now.mono >= until => Step::Done,
                Phase::Leaving(until) => Step::Wait(earliest(at, Some(until))),
                // The last connection ended just now.
                Phase::Finishing(_) if self.is_finished(now) => Step::Wait(Some(now.mono)),
                Phase::Finishing(until) => Step::Wait(earliest(earliest(at, self.hub_wait), Some(until))),
                Phase::Serving | Phase::Draining => Step::Wait(earliest(at, self.hub_wait)),
            },
        }
    }
}
