//! The machine: what goes in, what comes out, and in which order it is seen to.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use ntproto_core::binding::Binding;
use ntproto_core::client::MAX_BODY;
use ntproto_core::code::ErrorCode;
use ntproto_core::endpoint::server::{self, ServerEndpoint};
use ntproto_core::endpoint::{self, Closed, QUEUE_LIMIT, WaitReason};
use ntproto_core::ids::Uin;
use ntproto_core::rng::Rng;
use ntproto_core::session::bearer::Bearer;
use ntproto_core::session::ticket::TicketSealer;
use ntproto_core::time::{Instant, Now, UnixMillis, earliest};
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::Channel;

use crate::api::{Command, ConnId, HubEvent, HubKeys, Input, Misuse, Output, Stage, Who};
use crate::asks::Asks;
use crate::auth::AuthStep;
use crate::challenges::Challenges;
use crate::clock::ServerClock;
use crate::config::{CROWDED_ROOM, FAREWELL, HubConfig, SLOW_CONSUMER};
use crate::conn::{Conn, Conns, Leaving, State};
use crate::counts::{Counts, Load};
use crate::drain::Drain;
use crate::groups::Groups;
use crate::host::Hosting;
use crate::limits::Limits;
use crate::presence::{Batch, Presences};
use crate::push::{Online, Unconfirmed};
use crate::replay::ReplayMemory;
use crate::requests::{Handler, Request, handlers};
use crate::store::txn::Boot;
use crate::store::{OpId, Outcome, StoreError, Txn};

/// Whom a transaction is for.
pub(crate) enum Op {
    ClockFloor,
    Rest,
    Auth(ConnId, AuthStep),
    Request(Box<Request>),
    Groups(Uin),
    Presence(Box<Batch>),
}

/// The server's decisions.
pub struct Hub {
    pub(crate) config: HubConfig,
    pub(crate) keys: HubKeys,
    pub(crate) handlers: ntproto_core::dispatch::Table<Handler>,
    pub(crate) rng: Rng,
    pub(crate) clock: ServerClock,
    pub(crate) conns: Conns,
    pub(crate) online: Online,
    pub(crate) unconfirmed: Unconfirmed,
    pub(crate) replay: ReplayMemory,
    pub(crate) asks: Asks,
    pub(crate) limits: Limits,
    pub(crate) groups: Groups,
    pub(crate) presence: Presences,
    pub(crate) hosting: Hosting,
    pub(crate) counts: Counts,
    challenges: Challenges,
    /// Sessions by what their grants called them, for HTTP requests that act for them.
    pub(crate) bearers: BTreeMap<[u8; 16], ConnId>,
    /// Connections whose AUTH_REQ waits for the clock: some of those there are, each once.
    pub(crate) parked: BTreeSet<ConnId>,
    pub(crate) serial: u64,
    ops: BTreeMap<OpId, (Op, usize)>,
    op_bytes: usize,
    last_op: u64,
    /// Connections the host does not read.
    paused: BTreeSet<ConnId>,
    /// Connections that were given a command and may have something to tell.
    unheard: VecDeque<ConnId>,
    /// Connections that may have nothing left to send. They are looked at in the next poll: by then the host has
    /// said what its transport did not take.
    pub(crate) parting: VecDeque<ConnId>,
    pub(crate) out: VecDeque<Output>,
    pub(crate) drain: Option<Drain>,
}

impl Hub {
    /// A hub over a store that answered [`Txn::Boot`] with `boot`. `seed` comes from the operating
    /// system, but in tests.
    #[must_use]
    pub fn new(config: HubConfig, boot: &Boot, keys: HubKeys, seed: [u8; 32], now: Now) -> Self {
        let config = HubConfig { max_body: config.max_body.min(MAX_BODY), ..config };
        Self {
            replay: ReplayMemory::new(config.max_remembered),
            asks: Asks::default(),
            limits: Limits::new(&config),
            groups: Groups::default(),
            presence: Presences::default(),
            hosting: Hosting::default(),
            counts: Counts::default(),
            config,
            keys,
            handlers: handlers(),
            rng: Rng::new(seed),
            challenges: Challenges::default(),
            bearers: BTreeMap::new(),
            clock: ServerClock::new(now.mono, boot),
            conns: Conns::default(),
            online: Online::default(),
            unconfirmed: Unconfirmed::default(),
            parked: BTreeSet::new(),
            serial: 0,
            ops: BTreeMap::new(),
            op_bytes: 0,
            last_op: 0,
            paused: BTreeSet::new(),
            unheard: VecDeque::new(),
            parting: VecDeque::new(),
            out: VecDeque::new(),
            drain: None,
        }
    }

    /// Takes what the host brings. Never fails: noise ends its connection, as an event.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        match input {
            Input::Opened { conn, binding, remote } => self.opened(now, conn, binding, remote),
            Input::Bound { conn, binding } => self.bound(now, conn, binding),
            Input::Bytes { conn, channel, data } => {
                if self.knock(now, conn) {
                    self.inform(now, conn, endpoint::Input::Bytes { channel, data });
                }
            }
            Input::Writable { conn, channels } => {
                self.inform(now, conn, endpoint::Input::Writable(channels));
                self.look_again(conn);
            }
            Input::Closed { conn } => self.transport_closed(now, conn),
            Input::StoreDone { op, result } => self.store_done(now, op, result),
            Input::Answered { ask, answer } => self.answered(now, ask, answer),
            Input::HostAnswered { ask, answer } => self.host_answered(now, ask, answer),
            Input::Push(push) => self.push_application(now, push),
            Input::Timeout => {
                self.tick(now);
                self.challenges.refill(self.keys.provider, &mut self.rng);
            }
        }
        self.settle(now);
    }

    /// Does what the operator asks for.
    ///
    /// # Errors
    /// [`Misuse`]; nothing has changed.
    pub fn call(&mut self, now: Now, command: Command) -> Result<(), Misuse> {
        match command {
            Command::Drain => {
                if self.drain.is_some() {
                    return Err(Misuse::Draining);
                }
                let until = now.mono + self.config.drain_timeout;
                self.presence.stop();
                self.drain = Some(Drain { until, swept: false, rested: false, told: false });
                let all: Vec<ConnId> = self.conns.iter().map(|(id, _)| id).collect();
                all.into_iter().for_each(|id| self.send_away(now, id));
                self.settle(now);
                Ok(())
            }
            Command::Close(conn, code) => {
                let live = self.conns.get(conn).is_some_and(|conn| conn.leaving.is_none());
                if !live {
                    return Err(Misuse::NoConnection);
                }
                self.close(now, conn, code);
                self.settle(now);
                Ok(())
            }
            Command::UpdateKeys(conn) => {
                self.endpoint_call(now, conn, server::Command::UpdateKeys).map_err(|_| Misuse::NoConnection)
            }
        }
    }

    /// What it wants next. `tx: None`: no transport takes anything now.
    pub fn poll_output(&mut self, now: Now, mut tx: Option<&mut TxBuf>) -> Output {
        loop {
            if self.wait().0.is_some_and(|at| at <= now.mono) {
                self.tick(now);
            }
            if let Some(output) = self.out.pop_front() {
                return output;
            }
            while let Some(id) = self.parting.pop_front() {
                self.part(now, id);
                self.settle(now);
            }
            if let Some(tx) = tx.as_deref_mut()
                && let Some(conn) = self.conns.next_sendable()
            {
                if let Some(channel) = self.transmit(now, conn, tx) {
                    return Output::Transmit { conn, channel };
                }
                continue;
            }
            // Sending may have ended a connection: that is told before the wait.
            if let Some(output) = self.out.pop_front() {
                return output;
            }
            let (at, why) = self.wait();
            return Output::Wait { at, why };
        }
    }

    /// Whether to read more of a connection's channel. After `false`, [`Output::Resume`] says when to go on.
    ///
    /// CONTROL is always read: heartbeats and ends never wait for the store. What it may cost is bounded without
    /// this: by the endpoint's queue of control frames, and an AUTH_REQ that finds no room is told to come again.
    pub fn accepts(&mut self, conn: ConnId, channel: Channel) -> bool {
        let accepts = channel == Channel::Control || self.has_room(conn);
        if let Some(state) = self.conns.get_mut(conn)
            && !accepts
        {
            state.paused = true;
            self.paused.insert(conn);
        }
        accepts
    }

    /// How far a connection is; `None`: there is no such connection (any more).
    #[must_use]
    pub fn stage(&self, conn: ConnId) -> Option<Stage> {
        self.conns.get(conn).map(Conn::stage)
    }

    /// Whom an HTTP request with this token acts for: the session must be there, and proven to hold its keys.
    #[must_use]
    pub fn bearer(&self, shown: &Bearer) -> Option<Who> {
        let conn = *self.bearers.get(&shown.session_id)?;
        let state = self.conns.get(conn)?;
        let session =
            state.session().filter(|session| session.confirmed && session.id == shown.session_id)?;
        //= spec: files-1
        let same = state.endpoint.http_token()?.ct_eq(&shown.token);
        same.then_some(Who { uin: session.uin, device: session.device, conn })
    }

    /// The keys of tickets, for the host to keep.
    #[must_use]
    pub const fn tickets(&self) -> &TicketSealer {
        &self.keys.tickets
    }

    /// Connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    /// Transactions in the store.
    #[must_use]
    pub fn in_store(&self) -> usize {
        self.ops.len()
    }

    /// Server time.
    #[must_use]
    pub fn server_time(&self, now: Now) -> UnixMillis {
        self.clock.now(now.mono)
    }

    // ── connections ─────────────────────────────────────────────────────────────────────────────

    fn opened(&mut self, now: Now, id: ConnId, binding: Binding, remote: SocketAddr) {
        if self.conns.get(id).is_some() {
            return;
        }
        let refused = match self.drain {
            Some(_) => Some(ErrorCode::GoingAway),
            None => (self.conns.len() >= self.config.max_connections).then_some(ErrorCode::RetryAfter),
        };
        if let Some(code) = refused {
            self.out.push_back(Output::Close { conn: id, code });
            let why = Closed::Local(code);
            self.event(HubEvent::Closed { conn: id, remote, why });
            return;
        }
        let keys = Arc::clone(&self.keys.server);
        let endpoint = ServerEndpoint::new(now, self.keys.provider, keys, binding, self.config.heartbeat);
        self.conns.insert(id, Conn::new(endpoint, binding.transport, remote));
        self.keep_clock(now);
    }

    /// Tells a connection's endpoint something, and hears what comes of it.
    pub(crate) fn inform(&mut self, now: Now, id: ConnId, input: endpoint::Input<'_>) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.endpoint.handle(now, input);
            self.hear(now, id);
        }
    }

    fn transport_closed(&mut self, now: Now, id: ConnId) {
        if self.conns.get(id).is_some_and(|conn| conn.leaving.is_some()) {
            self.forget(id);
        } else {
            self.inform(now, id, endpoint::Input::TransportClosed);
        }
    }

    /// Hears the connections that were given a command, and ends the drain when it is over.
    fn settle(&mut self, now: Now) {
        while let Some(id) = self.unheard.pop_front() {
            self.hear(now, id);
        }
        self.step_presence(now);
        self.step_groups(now);
        self.see_to_drain(now);
    }

    /// Takes what an endpoint has to tell, until it has no more.
    pub(crate) fn hear(&mut self, now: Now, id: ConnId) {
        while let Some(conn) = self.conns.get_mut(id) {
            let endpoint::Output::Event(event) = conn.endpoint.poll_output(now, None) else { break };
            self.endpoint_event(now, id, event);
        }
        self.conns.touch(id);
    }

    fn endpoint_event(&mut self, now: Now, id: ConnId, event: server::Event) {
        match event {
            server::Event::Hello => {
                let ephemeral = self.challenges.take(self.keys.provider, &mut self.rng);
                // One that has ended meanwhile needs none.
                let _ = self.endpoint_call(now, id, server::Command::Challenge(ephemeral));
            }
            server::Event::AuthRequest(claims) => self.auth_request(now, id, claims),
            server::Event::Confirmed => self.confirm(now, id),
            server::Event::Packet(channel, packet) => self.packet(now, id, channel, packet),
            server::Event::TicketRefresh => self.refresh_ticket(now, id),
            server::Event::Closed(why) => self.ended(now, id, why),
        }
    }

    /// A connection has ended. It stays until its last words have left.
    fn ended(&mut self, now: Now, id: ConnId, why: Closed) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let remote = conn.remote;
        conn.behind = None;
        conn.answers.clear();
        conn.answer_bytes = 0;
        if let State::In(session) = core::mem::replace(&mut conn.state, State::Nobody) {
            self.bearers.remove(&session.id);
            self.online.remove(session.uin, session.device, id);
            self.unconfirmed.remove(session.device, id);
            if self.online.find(session.uin, session.device).is_none() {
                self.presence_left((session.uin, session.device));
            }
            if self.online.of(session.uin).is_empty() {
                self.groups.forget(session.uin);
            }
        }
        self.unwatch_all(id);
        self.abandon_all(id);
        self.leave_host(id);
        let Some(conn) = self.conns.get_mut(id) else { return };
        if why == Closed::Transport {
            self.forget(id);
        } else if conn.endpoint.has_pending() {
            conn.leaving = Some(Leaving { code: why.code(), until: now.mono + FAREWELL });
        } else {
            self.take_down(id, why.code());
        }
        self.event(HubEvent::Closed { conn: id, remote, why });
    }

    pub(crate) fn take_down(&mut self, id: ConnId, code: ErrorCode) {
        self.forget(id);
        self.out.push_back(Output::Close { conn: id, code });
    }

    fn forget(&mut self, id: ConnId) {
        self.conns.remove(id);
        self.paused.remove(&id);
        self.parked.remove(&id);
    }

    /// Ends a connection from here.
    pub(crate) fn close(&mut self, now: Now, id: ConnId, code: ErrorCode) {
        // One that ended by itself has said what it had to.
        let _ = self.endpoint_call(now, id, server::Command::Close(code));
    }

    /// Gives a connection's endpoint a command. What comes of it is heard when the present input is done
    /// with: a frame of four thousand requests is no stack of four thousand calls.
    pub(crate) fn endpoint_call(
        &mut self,
        now: Now,
        id: ConnId,
        command: server::Command,
    ) -> Result<(), endpoint::Misuse> {
        let conn = self.conns.get_mut(id).ok_or(endpoint::Misuse::State)?;
        // The others tell of nothing by themselves.
        let tells = !matches!(command, server::Command::Send(..) | server::Command::IssueTicket { .. });
        let done = conn.endpoint.call(now, &mut self.rng, command);
        if tells {
            self.unheard.push_back(id);
        }
        self.conns.touch(id);
        done
    }

    fn transmit(&mut self, now: Now, id: ConnId, tx: &mut TxBuf) -> Option<Channel> {
        let conn = self.conns.get_mut(id)?;
        let channel = match conn.endpoint.poll_output(now, Some(tx)) {
            endpoint::Output::Transmit { channel } => Some(channel),
            endpoint::Output::Event(event) => {
                self.endpoint_event(now, id, event);
                None
            }
            endpoint::Output::Wait { .. } => None,
        };
        self.hear(now, id);
        self.catch_up(now, id);
        self.resume(id);
        self.look_again(id);
        self.settle(now);
        channel
    }

    // ── time ────────────────────────────────────────────────────────────────────────────────────

    fn wait(&self) -> (Option<Instant>, WaitReason) {
        let (timer, why) = self.conns.wait().map_or((None, WaitReason::Idle), |(at, why)| (Some(at), why));
        // An idle server writes nothing: the floor is moved while somebody is there.
        let floor = if self.conns.is_empty() { None } else { self.clock.deadline() };
        let drain = self.drain.as_ref().filter(|drain| !drain.swept).map(|drain| drain.until);
        let asks = earliest(self.asks.deadline(), self.hosting.deadline());
        let (presence, groups) = (self.presence.wait(), self.groups.wait());
        let at = [floor, drain, asks, presence, groups].into_iter().fold(timer, earliest);
        let why = match at {
            None => WaitReason::Idle,
            at if at == timer => why,
            at if at == floor => WaitReason::ClockFloor,
            at if at == presence => WaitReason::Presence,
            at if at == groups => WaitReason::Pace,
            _ => WaitReason::Deadline,
        };
        (at, why)
    }

    fn tick(&mut self, now: Now) {
        while let Some(id) = self.conns.expired(now.mono) {
            let Some(conn) = self.conns.get_mut(id) else { break };
            if let Some(leaving) = &conn.leaving {
                let code = leaving.code;
                self.take_down(id, code);
            } else if conn.behind.as_ref().is_some_and(|behind| now.mono >= behind.since + SLOW_CONSUMER) {
                self.close(now, id, ErrorCode::Resync);
            } else {
                self.inform(now, id, endpoint::Input::Timeout);
            }
            // A timer that has done its work is gone before the next one is looked at.
            while let Some(id) = self.unheard.pop_front() {
                self.hear(now, id);
            }
        }
        self.expire_asks(now);
        self.expire_host(now);
        if !self.conns.is_empty() {
            self.keep_clock(now);
        }
        self.settle(now);
    }

    // ── store ───────────────────────────────────────────────────────────────────────────────────

    /// Whether another transaction of this weight may be asked for.
    pub(crate) fn store_has_room(&self, weight: usize) -> bool {
        self.ops.len() < self.config.max_ops && self.op_bytes + weight <= self.config.max_op_bytes
    }

    pub(crate) fn submit(&mut self, op: Op, txn: Txn, deadline: Option<Instant>) {
        self.last_op += 1;
        let id = OpId(self.last_op);
        let weight = txn.weight();
        self.op_bytes += weight;
        self.ops.insert(id, (op, weight));
        self.out.push_back(Output::Store { op: id, txn, deadline });
    }

    fn store_done(&mut self, now: Now, id: OpId, result: Result<Outcome, StoreError>) {
        let Some((op, weight)) = self.ops.remove(&id) else { return };
        let was_busy = self.busy(1);
        self.op_bytes -= weight;
        if let Err(error) = result
            && !error.is_refusal()
        {
            self.event(HubEvent::StoreFailed(error));
        }
        match op {
            Op::ClockFloor => self.floor_moved(now, result),
            // Not on the disk, it costs a few seconds of server time at the next boot.
            Op::Rest => {}
            Op::Auth(conn, step) => self.auth_answered(now, conn, step, result),
            Op::Request(request) => {
                let conn = request.conn();
                self.request_answered(now, *request, result);
                self.resume(conn);
                self.look_again(conn);
            }
            Op::Groups(uin) => self.groups_answered(now, uin, result),
            Op::Presence(batch) => self.presence_answered(now, *batch, result),
        }
        if was_busy && !self.busy(0) {
            self.resume_all();
        }
    }

    // ── backpressure ────────────────────────────────────────────────────────────────────────────

    /// Half of every limit: what is on its way when the host stops reading still finds room.
    fn has_room(&self, id: ConnId) -> bool {
        let Some(conn) = self.conns.get(id) else { return true };
        // Whoever asks reads the answers first, when much waits for all together.
        let unread = if self.is_crowded() { CROWDED_ROOM } else { QUEUE_LIMIT };
        conn.requests < self.config.max_requests / 2
            && conn.bytes < self.config.max_request_bytes / 2
            && !self.busy(0)
            && conn.answers.is_empty()
            && [Channel::Message, Channel::Sync].iter().all(|c| conn.endpoint.waiting(*c) < unread)
    }

    /// Whether the store has so much to do, with `more` transactions, that nothing is read.
    fn busy(&self, more: usize) -> bool {
        self.ops.len() + more >= self.config.max_ops / 2 || self.op_bytes >= self.config.max_op_bytes / 2
    }

    fn resume(&mut self, id: ConnId) {
        if self.conns.get(id).is_some_and(|conn| conn.paused)
            && self.has_room(id)
            && let Some(conn) = self.conns.get_mut(id)
        {
            conn.paused = false;
            self.paused.remove(&id);
            self.out.push_back(Output::Resume { conn: id });
        }
    }

    fn resume_all(&mut self) {
        if !self.paused.is_empty() {
            let paused: Vec<ConnId> = self.paused.iter().copied().collect();
            paused.into_iter().for_each(|id| self.resume(id));
        }
    }

    /// What it has done since it was made.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// How much there is to do.
    #[must_use]
    pub fn load(&self) -> Load {
        Load {
            connections: self.conns.len(),
            sessions: self.online.len(),
            in_store: self.ops.len(),
            in_store_bytes: self.op_bytes,
            paused: self.paused.len(),
            waiting_bytes: self.conns.waiting(),
        }
    }

    pub(crate) fn event(&mut self, event: HubEvent) {
        self.out.push_back(Output::Event(event));
    }

    pub(crate) fn set_state(&mut self, id: ConnId, state: State) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.state = state;
        }
    }
}

/// Boxed claims travel from the endpoint to the connection's state unchanged.
pub(crate) type Claims = Box<ntproto_core::session::handshake::AuthClaims>;

#[cfg(test)]
mod tests {
    use ntproto_core::binding::TransportId;
    use ntproto_core::crypto::identity::{ServerKey, ServerKeys};
    use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
    use ntproto_core::session::ticket::TicketKey;

    use super::*;

    /// While the floor can't be moved, devices come, wait, and give up, for as long as the disk hangs.
    #[test]
    fn whoever_gave_up_is_not_parked_any_more() {
        let now = Now { mono: Instant::from_micros(1), unix: UnixMillis(1) };
        let mut rng = Rng::new([1; 32]);
        let server = ServerKeys::new(ServerKey::generate(&mut rng, &RUSTCRYPTO, 1), None);
        let key = TicketKey::generate(&mut rng, 1, now.unix);
        let tickets = TicketSealer::new(&RUSTCRYPTO, key, None);
        let keys = HubKeys { provider: &RUSTCRYPTO, server: Arc::new(server), tickets };
        let boot = Boot { epoch: [0; 16], clock: now.unix, floor: now.unix };
        let mut hub = Hub::new(HubConfig::default(), &boot, keys, [2; 32], now);
        for n in 0..100 {
            let conn = ConnId(n);
            let binding = Binding { transport: TransportId::Quic, exporter: [0; 32] };
            let remote = SocketAddr::from(([10, 0, 0, 1], 1));
            hub.handle(now, Input::Opened { conn, binding, remote });
            hub.parked.insert(conn);
            hub.handle(now, Input::Closed { conn });
        }
        assert!(hub.parked.is_empty());
    }
}
