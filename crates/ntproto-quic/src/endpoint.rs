//! The machine: every connection of one socket.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ntproto_core::code::ErrorCode;
use ntproto_core::rng::Rng;
use ntproto_core::time::{Instant, Now, earliest};
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::ChannelSet;
use quinn_proto::{
    ClientConfig, ConnectError, Connection, DatagramEvent, EcnCodepoint, Incoming, NoneTokenStore,
    TransportConfig, VarInt,
};

use crate::channels::channel_event;
use crate::config::{
    EndpointConfig, Limits, MAX_DATAGRAM, MAX_EARLY_BYTES, MAX_RESPONSES, MAX_SEGMENTS, RETRY_TOKEN_LIFETIME,
};
use crate::conn::{Conn, fault};
use crate::hello::{greet, open_channels, prefer_control, protocol};
use crate::ids::{self, ResetKey};
use crate::schedule::{ReadyQueue, Timers};
use crate::slots::{Phase, Slots};
use crate::streams::Streams;
use crate::time::{CallClock, TimeMap};
use crate::{ALPN, ClientTls, Closed, ConnId, Event, Input, Output, Received, Transmit, WaitReason};

/// The caller asked for what can't be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// No UDP peer has this address.
    RemoteAddress(SocketAddr),
    /// Neither a DNS name nor an IP address.
    ServerName(String),
    /// The endpoint holds as many connections as it may.
    TooManyConnections,
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RemoteAddress(address) => write!(f, "{address} is no address to connect to"),
            Self::ServerName(name) => write!(f, "{name:?} is neither a DNS name nor an IP address"),
            Self::TooManyConnections => f.write_str("too many connections"),
        }
    }
}

impl std::error::Error for Misuse {}

/// Counts since the endpoint began, and what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointStats {
    /// Connections held now, closing ones included.
    pub connections: usize,
    /// Of these, accepted ones whose handshake is not complete.
    pub half_open: usize,
    /// Connections accepted.
    pub accepted: u64,
    /// Accepted ones that completed their handshake.
    pub completed: u64,
    /// Retry packets asked for.
    pub retries: u64,
    /// Connections refused.
    pub refused: u64,
    /// Answers dropped because too many waited.
    pub dropped: u64,
}

/// All QUIC connections of one UDP socket.
pub struct Endpoint {
    quic: quinn_proto::Endpoint,
    transport: Arc<TransportConfig>,
    h3_transport: Arc<TransportConfig>,
    initial_cids: Arc<dyn Fn() -> quinn_proto::ConnectionId + Send + Sync>,
    server_clock: Option<CallClock>,
    token_clock: CallClock,
    limits: Limits,
    time: TimeMap,
    /// The latest time seen: a clock that steps back stands still here.
    now: Instant,
    slots: Slots,
    ready: ReadyQueue,
    events: ReadyQueue,
    timers: Timers,
    responses: VecDeque<(Transmit, Vec<u8>)>,
    stats: EndpointStats,
    /// Reused from call to call.
    scratch: Vec<u8>,
    due: Vec<u32>,
}

impl Endpoint {
    /// An endpoint whose core instants count from `base`, and whose ids and keys grow from `seed`.
    #[must_use]
    pub fn new(config: EndpointConfig, base: std::time::Instant, seed: [u8; 32]) -> Self {
        let mut rng = Rng::new(seed);
        let (transport, h3_transport) = (config.transport(), config.h3_transport());
        let reset_key = config.reset_key.unwrap_or_else(|| ResetKey::from_rng(&mut rng));
        let mut endpoint = quinn_proto::EndpointConfig::new(reset_key.into_inner());
        endpoint.cid_generator(ids::local_cids(&mut rng));
        let token_clock = CallClock::default();
        let token_key = ids::token_key(&mut rng);
        let initial_cids = ids::initial_cids(&mut rng);
        let server_clock = config.server.as_ref().map(|tls| tls.clock.clone());
        let server = config.server.map(|tls| {
            let mut server = quinn_proto::ServerConfig::new(tls.crypto, token_key);
            server
                .transport_config(Arc::clone(&transport))
                .retry_token_lifetime(RETRY_TOKEN_LIFETIME)
                .time_source(Arc::new(token_clock.clone()))
                .migration(true);
            Arc::new(server)
        });
        Self {
            quic: quinn_proto::Endpoint::new(
                Arc::new(endpoint),
                server,
                config.mtu_discovery,
                Some(rng.array()),
            ),
            transport,
            h3_transport,
            initial_cids,
            server_clock,
            token_clock,
            limits: config.limits,
            time: TimeMap::new(base),
            now: Instant::ORIGIN,
            slots: Slots::default(),
            ready: ReadyQueue::default(),
            events: ReadyQueue::default(),
            timers: Timers::default(),
            responses: VecDeque::new(),
            stats: EndpointStats::default(),
            scratch: Vec::new(),
            due: Vec::new(),
        }
    }

    /// Takes what the network or the clock brought.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        self.advance(now);
        match input {
            Input::Datagram(received) => self.datagrams(now, received),
            Input::Timeout => self.timeout(),
        }
    }

    /// Begins a connection. `server_name` is what the certificate must carry; a DNS name is also sent.
    ///
    /// # Errors
    /// See [`Misuse`].
    pub fn connect(
        &mut self,
        now: Now,
        tls: &ClientTls,
        remote: SocketAddr,
        server_name: &str,
    ) -> Result<ConnId, Misuse> {
        self.advance(now);
        if self.is_full() {
            return Err(Misuse::TooManyConnections);
        }
        tls.clock.set_unix(now.unix);
        let mut config = ClientConfig::new(Arc::clone(&tls.crypto) as _);
        config
            .transport_config(Arc::clone(if tls.is_native() { &self.transport } else { &self.h3_transport }))
            .token_store(Arc::new(NoneTokenStore))
            .initial_dst_cid_provider(Arc::clone(&self.initial_cids));
        let at = self.time.to_std(self.now);
        let (handle, quic) = self.quic.connect(at, config, remote, server_name).map_err(|e| match e {
            ConnectError::InvalidServerName(name) => Misuse::ServerName(name),
            ConnectError::InvalidRemoteAddress(address) => Misuse::RemoteAddress(address),
            _ => Misuse::TooManyConnections,
        })?;
        let (no, id) = self.slots.insert(handle, quic, false, self.now + self.limits.handshake_timeout);
        self.open_early(no);
        self.settle(no);
        Ok(id)
    }

    /// Visits a connection; `None` if it is over. Whatever the visit changed is taken care of.
    pub fn with<R>(&mut self, now: Now, conn: ConnId, visit: impl FnOnce(&mut Conn<'_>) -> R) -> Option<R> {
        self.advance(now);
        let no = self.slots.find(conn)?;
        let slot = self.slots.get(no)?;
        let open = slot.is_open();
        let quic = slot.quic.as_deref_mut()?;
        let mut conn = Conn {
            id: slot.id,
            quic,
            streams: slot.streams.as_deref_mut(),
            now: self.time.to_std(self.now),
            open,
            control_last: slot.control_last,
            touched: false,
            end: None,
        };
        let result = visit(&mut conn);
        let (touched, control_last, end) = (conn.touched, conn.control_last, conn.end.take());
        slot.control_last = control_last;
        if let Some((closed, farewell)) = end.map(crate::conn::End::into_parts) {
            self.end(no, closed, Some(farewell));
        }
        if touched {
            self.settle(no);
        }
        Some(result)
    }

    /// Closes every connection, as [`Conn::close`] does.
    pub fn close_all(&mut self, now: Now, code: u32, reason: &[u8]) {
        self.advance(now);
        for no in self.slots.numbers() {
            let farewell = (code, Bytes::copy_from_slice(reason));
            self.end(no, Closed::Local { code }, Some(farewell));
        }
    }

    /// What to do next. With `tx: None` (the socket is full) events and timers still flow. The buffer is emptied
    /// before it is filled; it must take [`TX_LIMIT`](crate::TX_LIMIT) bytes to be used well, one datagram to be
    /// used at all.
    pub fn poll_output(&mut self, now: Now, tx: Option<&mut TxBuf>) -> Output {
        self.advance(now);
        if let Some(event) = self.next_event() {
            return Output::Event(event);
        }
        if let Some(tx) = tx.filter(|tx| tx.limit() >= MAX_DATAGRAM)
            && let Some(transmit) = self.next_transmit(tx)
        {
            return Output::Transmit(transmit);
        }
        if !self.is_flushed() {
            return Output::Wait { at: Some(self.now), reason: WaitReason::Transmit };
        }
        let Some((at, no)) = self.timers.next() else {
            return Output::Wait { at: None, reason: WaitReason::Idle };
        };
        let handshake = self.slots.get(no).is_some_and(|slot| slot.phase == Phase::Handshake(at));
        let reason = if handshake { WaitReason::Handshake } else { WaitReason::Transport };
        Output::Wait { at: Some(at), reason }
    }

    /// Whether no datagram waits to be sent: after [`close_all`](Self::close_all), whether the farewells are out.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.ready.is_empty() && self.responses.is_empty()
    }

    /// Its counts.
    #[must_use]
    pub fn stats(&self) -> EndpointStats {
        EndpointStats { connections: self.slots.len(), ..self.stats }
    }

    fn advance(&mut self, now: Now) {
        self.now = self.now.max(now.mono);
    }

    fn is_full(&self) -> bool {
        self.slots.len() >= self.limits.max_connections.min(ConnId::MAX_SLOTS)
    }

    fn datagrams(&mut self, now: Now, received: Received<'_>) {
        if let Some(clock) = &self.server_clock {
            clock.set_unix(now.unix);
        }
        let stride = if received.stride == 0 { received.data.len() } else { received.stride };
        // One copy a batch; quinn-proto slices it.
        let mut data = BytesMut::from(received.data);
        let mut touched = None;
        while !data.is_empty() {
            let one = data.split_to(stride.min(data.len()));
            if let Some(no) = self.datagram(received, one)
                && touched != Some(no)
                && let Some(before) = touched.replace(no)
            {
                self.settle(before);
            }
        }
        if let Some(no) = touched {
            self.settle(no);
        }
    }

    /// Hands over one datagram; gives the connection it changed.
    fn datagram(&mut self, received: Received<'_>, data: BytesMut) -> Option<u32> {
        let at = self.time.to_std(self.now);
        let ecn = received.ecn.and_then(EcnCodepoint::from_bits);
        self.token_clock.set(self.now.as_micros() / 1000);
        self.scratch.clear();
        match self.quic.handle(at, received.remote, received.local_ip, ecn, data, &mut self.scratch)? {
            DatagramEvent::ConnectionEvent(handle, event) => {
                let no = self.slots.by_handle(handle)?;
                self.slots.get(no)?.quic.as_deref_mut()?.handle_event(event);
                Some(no)
            }
            DatagramEvent::NewConnection(incoming) => self.incoming(incoming),
            DatagramEvent::Response(transmit) => {
                self.respond(&transmit);
                None
            }
        }
    }

    /// A client knocks: accept, ask it to prove its address, or refuse.
    fn incoming(&mut self, incoming: Incoming) -> Option<u32> {
        self.scratch.clear();
        let half_open = self.stats.half_open;
        if self.is_full() || half_open >= self.limits.max_half_open {
            self.stats.refused += 1;
            let transmit = self.quic.refuse(incoming, &mut self.scratch);
            self.respond(&transmit);
            return None;
        }
        if half_open >= self.limits.retry_above && !incoming.remote_address_validated() {
            self.stats.retries += 1;
            match self.quic.retry(incoming, &mut self.scratch) {
                Ok(transmit) => self.respond(&transmit),
                // It was asked already; its token was not good.
                Err(error) => self.quic.ignore(error.into_incoming()),
            }
            return None;
        }
        let at = self.time.to_std(self.now);
        match self.quic.accept(incoming, at, &mut self.scratch, None) {
            Ok((handle, quic)) => {
                self.stats.accepted += 1;
                self.stats.half_open += 1;
                let deadline = self.now + self.limits.handshake_timeout;
                Some(self.slots.insert(handle, quic, true, deadline).0)
            }
            Err(error) => {
                if let Some(transmit) = error.response {
                    self.respond(&transmit);
                }
                None
            }
        }
    }

    /// Queues an answer that belongs to no connection; its bytes are in `scratch`.
    fn respond(&mut self, transmit: &quinn_proto::Transmit) {
        if self.responses.len() >= MAX_RESPONSES {
            self.stats.dropped += 1;
            return;
        }
        let bytes = self.scratch[..transmit.size].to_vec();
        self.responses.push_back((from_quic(transmit), bytes));
    }

    fn timeout(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.timers.due(self.now, &mut due);
        let at = self.time.to_std(self.now);
        for no in due.drain(..) {
            let Some(slot) = self.slots.get(no) else { continue };
            if let Some(quic) = slot.quic.as_deref_mut() {
                quic.handle_timeout(at);
            }
            if matches!(slot.phase, Phase::Handshake(deadline) if deadline <= self.now) {
                let farewell = (0, Bytes::from_static(b"handshake timeout"));
                self.end(no, Closed::HandshakeTimeout, Some(farewell));
            }
            self.settle(no);
        }
        self.due = due;
    }

    /// Everything a change to a connection entails: its events, its deadline, its turn to transmit.
    fn settle(&mut self, no: u32) {
        let Some(slot) = self.slots.get(no) else { return };
        let handle = slot.handle;
        let mut drained = false;
        // Borrowed anew each round: an event may end the connection.
        while let Some(quic) = self.slots.get(no).and_then(|slot| slot.quic.as_deref_mut()) {
            while let Some(event) = quic.poll_endpoint_events() {
                drained |= event.is_drained();
                if let Some(event) = self.quic.handle_event(handle, event) {
                    quic.handle_event(event);
                }
            }
            let Some(event) = quic.poll() else { break };
            self.on_event(no, event);
        }
        if drained {
            // It has said why before; the reason here is for a path that does not exist.
            self.end(no, Closed::Reset, None);
            self.slots.unhandle(handle);
        }
        self.open_early(no);
        let Some(slot) = self.slots.get(no) else { return };
        if drained {
            slot.quic = None;
            self.timers.arm(no, &mut slot.armed, None);
            if slot.is_free() {
                self.slots.remove(no);
            }
            return;
        }
        self.ready.push(no, &mut slot.in_ready);
        self.rearm(no);
    }

    /// Lets the host use the channels of a connection whose handshake is not complete, where TLS allows it: a client
    /// at once, a server when something came.
    fn open_early(&mut self, no: u32) {
        let Some(slot) = self.slots.get(no) else { return };
        let Some(quic) = slot.quic.as_deref_mut().filter(|quic| quic.has_0rtt()) else { return };
        if !matches!(slot.phase, Phase::Handshake(_)) {
            return;
        }
        if slot.early || slot.streams.is_some() {
            //= spec: quic-9
            if slot.server && quic.stats().udp_rx.bytes > MAX_EARLY_BYTES {
                let (code, text) = (ErrorCode::TooEarly as u32, "too much early data");
                let closed = Closed::Transport { code: code.into(), by_peer: false, text: text.into() };
                self.end(no, closed, Some((code, Bytes::from_static(text.as_bytes()))));
            }
            return;
        }
        let ready = match slot.server {
            // A client has one protocol in mind; the server's choice comes with the handshake.
            false => open_channels(quic).is_ok(),
            true => !slot.readable.is_empty() && protocol(quic).is_some_and(|alpn| alpn == ALPN),
        };
        if ready {
            prefer_control(quic);
            slot.early = true;
            slot.early_from = Some(quic.remote_address());
            slot.announced = true;
            self.events.push(no, &mut slot.in_events);
        }
    }

    fn rearm(&mut self, no: u32) {
        let Some(slot) = self.slots.get(no) else { return };
        let transport = slot.quic.as_deref_mut().and_then(Connection::poll_timeout);
        let handshake = match slot.phase {
            Phase::Handshake(deadline) => Some(deadline),
            _ => None,
        };
        let at = earliest(transport.map(|at| self.time.to_core(at)), handshake);
        self.timers.arm(no, &mut slot.armed, at);
    }

    fn on_event(&mut self, no: u32, event: quinn_proto::Event) {
        let Some(slot) = self.slots.get(no) else { return };
        match event {
            quinn_proto::Event::Connected => return self.connected(no),
            quinn_proto::Event::ConnectionLost { reason } => {
                return self.end(no, Closed::from_quic(&reason), None);
            }
            // Media that comes while the host is slow is dropped by age; nothing waits for room.
            quinn_proto::Event::DatagramReceived => slot.datagrams = true,
            // Before any of its streams is heard of.
            quinn_proto::Event::HandshakeDataReady => {
                if let Some(quic) = slot.quic.as_deref_mut()
                    && protocol(quic).is_some_and(|alpn| alpn != ALPN)
                {
                    slot.streams = Some(Streams::begin(quic));
                }
                return;
            }
            quinn_proto::Event::DatagramsUnblocked => return,
            quinn_proto::Event::Stream(event) if slot.streams.is_some() => {
                if let (Some(quic), Some(streams)) = (slot.quic.as_deref_mut(), &mut slot.streams) {
                    streams.heard(quic, event);
                }
            }
            quinn_proto::Event::Stream(event) => match channel_event(slot, event) {
                Ok(true) => {}
                Ok(false) => return,
                Err(text) => {
                    let (closed, farewell) = fault(text);
                    return self.end(no, closed, Some(farewell));
                }
            },
        }
        if slot.is_open() {
            self.events.push(no, &mut slot.in_events);
        }
    }

    /// The handshake is complete: open the channels, bind, announce.
    fn connected(&mut self, no: u32) {
        let Some(slot) = self.slots.get(no) else { return };
        if !matches!(slot.phase, Phase::Handshake(_)) {
            return;
        }
        match greet(slot) {
            Ok(hello) => {
                slot.hello = Some(Box::new(hello));
                slot.announced = true;
                slot.phase = Phase::Open;
                if slot.server {
                    self.stats.half_open -= 1;
                    self.stats.completed += 1;
                }
                self.events.push(no, &mut slot.in_events);
            }
            Err(text) => {
                let (closed, farewell) = fault(text);
                self.end(no, closed, Some(farewell));
            }
        }
    }

    /// The one place where a connection ends. The first reason stands.
    fn end(&mut self, no: u32, closed: Closed, farewell: Option<(u32, Bytes)>) {
        let Some(slot) = self.slots.get(no) else { return };
        if slot.phase == Phase::Over {
            return;
        }
        if slot.server && matches!(slot.phase, Phase::Handshake(_)) {
            self.stats.half_open -= 1;
        }
        slot.phase = Phase::Over;
        slot.writable = ChannelSet::NONE;
        slot.farewell = farewell;
        if slot.announced {
            slot.closed = Some(closed);
            self.events.push(no, &mut slot.in_events);
        }
        self.ready.push(no, &mut slot.in_ready);
    }

    fn next_event(&mut self) -> Option<Event> {
        while let Some(no) = self.events.front() {
            if let Some(slot) = self.slots.get(no) {
                if let Some(event) = slot.next_event() {
                    return Some(event);
                }
                slot.in_events = false;
                if slot.is_free() {
                    self.slots.remove(no);
                }
            }
            self.events.pop();
        }
        None
    }

    fn next_transmit(&mut self, tx: &mut TxBuf) -> Option<Transmit> {
        tx.clear();
        if let Some((transmit, bytes)) = self.responses.pop_front() {
            tx.as_mut_vec().extend_from_slice(&bytes);
            return Some(transmit);
        }
        let at = self.time.to_std(self.now);
        let segments = (tx.limit() / MAX_DATAGRAM).clamp(1, MAX_SEGMENTS);
        while let Some(no) = self.ready.front() {
            if let Some(slot) = self.slots.get(no) {
                if let Some(quic) = slot.quic.as_deref_mut() {
                    if let Some(transmit) = quic.poll_transmit(at, segments, tx.as_mut_vec()) {
                        self.ready.rotate();
                        self.rearm(no);
                        return Some(from_quic(&transmit));
                    }
                    if let Some((code, reason)) = slot.farewell.take() {
                        quic.close(at, VarInt::from_u32(code), reason);
                        continue;
                    }
                }
                slot.in_ready = false;
            }
            self.ready.pop();
            self.rearm(no);
        }
        None
    }
}

fn from_quic(transmit: &quinn_proto::Transmit) -> Transmit {
    Transmit {
        remote: transmit.destination,
        local_ip: transmit.src_ip,
        ecn: transmit.ecn.map(|ecn| ecn as u8),
        segment_size: transmit.segment_size,
        len: transmit.size,
    }
}
