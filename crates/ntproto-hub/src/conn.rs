//! The connections: what is known of each, which have bytes to send, whose timer is next.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::net::SocketAddr;

use ntproto_core::binding::TransportId;
use ntproto_core::code::ErrorCode;
use ntproto_core::endpoint::WaitReason;
use ntproto_core::endpoint::server::ServerEndpoint;
use ntproto_core::ids::{DeviceId, Uin};
use ntproto_core::session::handshake::AuthClaims;
use ntproto_core::time::{Instant, UnixMillis};
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::packet::Packet;
use ntproto_proto::v2;

use crate::api::{ConnId, Stage};
use crate::config::SLOW_CONSUMER;
use crate::line::Line;

/// A device that was let in.
#[derive(Clone, Copy)]
pub(crate) struct Session {
    pub(crate) uin: Uin,
    pub(crate) device: DeviceId,
    pub(crate) may_invite: bool,
    /// It is an administrator's.
    pub(crate) admin: bool,
    /// What its tickets carry on.
    pub(crate) key_hash: [u8; 32],
    pub(crate) generation: u64,
    pub(crate) cap: UnixMillis,
    /// Grants are numbered: a later one supersedes an earlier one, never the other way round.
    pub(crate) serial: u64,
    /// What its grant called it.
    pub(crate) id: [u8; 16],
    /// It has sent a sealed frame, so it holds the keys: this is no replay of its AUTH_REQ.
    pub(crate) confirmed: bool,
}

/// How far a connection is.
pub(crate) enum State {
    /// AUTH_REQ has not come, or the connection has ended.
    Nobody,
    /// Waits for the clock.
    Parked(Box<AuthClaims>),
    /// Came as early data, and waits until the transport is up.
    Early(Box<AuthClaims>),
    /// The store is asked about it.
    Authenticating(Box<AuthClaims>),
    /// Let in.
    In(Session),
}

/// What a device that does not read is told when it does: the newest state of each thing, and no history.
#[derive(Default)]
pub(crate) struct Owed {
    /// It is to sync.
    pub(crate) dirty: bool,
    /// How those it watches appear now. As many as it may watch, and those it lost.
    pub(crate) presence: BTreeMap<Uin, v2::Presence>,
}

/// Pushes that do not fit its queue.
pub(crate) struct Behind {
    pub(crate) since: Instant,
    /// The newest one. When it is sent at last, its `previous` shows the device that it has a gap.
    pub(crate) newest: Packet,
}

/// The farewell of a connection that ended.
pub(crate) struct Leaving {
    pub(crate) code: ErrorCode,
    pub(crate) until: Instant,
}

/// One connection.
pub(crate) struct Conn {
    pub(crate) endpoint: Box<ServerEndpoint>,
    pub(crate) remote: SocketAddr,
    /// What carries it.
    pub(crate) transport: TransportId,
    pub(crate) state: State,
    /// Its transport is up. Until then it may be a replay of early data.
    pub(crate) bound: bool,
    /// It was counted to its address.
    pub(crate) counted: bool,
    /// Its requests in the store, and their bytes.
    pub(crate) requests: usize,
    pub(crate) bytes: usize,
    pub(crate) syncing: bool,
    /// Its next SYNC puts what is new in large groups into the inbox: it has not synced, or was told to. Then it is
    /// not told again.
    pub(crate) place: bool,
    /// Its first page came with early data, and nothing was put there before it.
    pub(crate) early_page: bool,
    pub(crate) owed: Owed,
    /// Whose presence it hears of, and how many more it asked for.
    pub(crate) watches: BTreeSet<Uin>,
    pub(crate) watching: usize,
    /// Its requests before the application, and their bytes.
    pub(crate) asks: usize,
    pub(crate) ask_bytes: usize,
    /// Its messages, each conversation in its order.
    pub(crate) line: Line,
    pub(crate) behind: Option<Behind>,
    /// Answers that wait for room in their queue. As many as its requests, and no more bytes than a queue.
    pub(crate) answers: VecDeque<(Channel, Packet)>,
    pub(crate) answer_bytes: usize,
    pub(crate) leaving: Option<Leaving>,
    /// The host was told not to read it.
    pub(crate) paused: bool,
    /// Bytes that wait for it to read, as counted in the sum.
    waiting: usize,
    timer: Option<Instant>,
    queued: bool,
}

impl Conn {
    pub(crate) fn new(endpoint: ServerEndpoint, transport: TransportId, remote: SocketAddr) -> Self {
        Self {
            endpoint: Box::new(endpoint),
            remote,
            transport,
            state: State::Nobody,
            bound: transport != TransportId::QuicEarly,
            counted: false,
            requests: 0,
            bytes: 0,
            syncing: false,
            place: true,
            early_page: false,
            owed: Owed::default(),
            watches: BTreeSet::new(),
            watching: 0,
            asks: 0,
            ask_bytes: 0,
            line: Line::default(),
            behind: None,
            answers: VecDeque::new(),
            answer_bytes: 0,
            leaving: None,
            paused: false,
            waiting: 0,
            timer: None,
            queued: false,
        }
    }

    pub(crate) fn session(&self) -> Option<&Session> {
        match &self.state {
            State::In(session) => Some(session),
            _ => None,
        }
    }

    /// Whether it reads what it is pushed: nothing waits that it should have first, and less than `room`.
    pub(crate) fn reads(&self, room: usize) -> bool {
        self.behind.is_none() && self.answers.is_empty() && self.endpoint.waiting(Channel::Message) < room
    }

    /// Bytes that wait for it to read.
    fn count_waiting(&self) -> usize {
        let queues = self.endpoint.waiting(Channel::Message) + self.endpoint.waiting(Channel::Sync);
        queues + self.answer_bytes + self.behind.as_ref().map_or(0, |behind| behind.newest.body.len())
    }

    pub(crate) const fn stage(&self) -> Stage {
        match (&self.leaving, &self.state) {
            (Some(_), _) => Stage::Leaving,
            (None, State::Nobody) => Stage::Greeting,
            (None, State::Parked(_) | State::Early(_)) => Stage::Parked,
            (None, State::Authenticating(_)) => Stage::Authenticating,
            (None, State::In(session)) if session.confirmed => Stage::Confirmed,
            (None, State::In(_)) => Stage::Granted,
        }
    }

    /// The next timer and its reason.
    pub(crate) fn wait(&self) -> (Option<Instant>, WaitReason) {
        if let Some(leaving) = &self.leaving {
            return (Some(leaving.until), WaitReason::Deadline);
        }
        let own = self.endpoint.wait();
        match &self.behind {
            Some(behind) if own.0.is_none_or(|at| at > behind.since + SLOW_CONSUMER) => {
                (Some(behind.since + SLOW_CONSUMER), WaitReason::Deadline)
            }
            _ => own,
        }
    }
}

/// All of them.
#[derive(Default)]
pub(crate) struct Conns {
    table: BTreeMap<ConnId, Conn>,
    timers: BTreeSet<(Instant, ConnId)>,
    /// Those with bytes for their transport, each once, served in turn.
    sendable: VecDeque<ConnId>,
    /// Bytes that wait to be read, of all of them.
    waiting: usize,
}

impl Conns {
    /// Bytes that wait to be read, of all of them.
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub(crate) fn get(&self, id: ConnId) -> Option<&Conn> {
        self.table.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.table.get_mut(&id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnId, &Conn)> {
        self.table.iter().map(|(id, conn)| (*id, conn))
    }

    pub(crate) fn insert(&mut self, id: ConnId, conn: Conn) {
        self.table.insert(id, conn);
        self.touch(id);
    }

    pub(crate) fn remove(&mut self, id: ConnId) -> Option<Conn> {
        let conn = self.table.remove(&id)?;
        self.waiting -= conn.waiting;
        if let Some(at) = conn.timer {
            self.timers.remove(&(at, id));
        }
        Some(conn)
    }

    /// Sees to a connection's timer, its place among the sendable and what waits for it, after anything was done to it.
    pub(crate) fn touch(&mut self, id: ConnId) {
        let Some(conn) = self.table.get_mut(&id) else { return };
        let waiting = conn.count_waiting();
        self.waiting = self.waiting - conn.waiting + waiting;
        conn.waiting = waiting;
        let (at, _) = conn.wait();
        if at != conn.timer {
            if let Some(old) = conn.timer {
                self.timers.remove(&(old, id));
            }
            if let Some(new) = at {
                self.timers.insert((new, id));
            }
            conn.timer = at;
        }
        if !conn.queued && conn.endpoint.has_pending() {
            conn.queued = true;
            self.sendable.push_back(id);
        }
    }

    /// The next connection with bytes to send. It leaves the queue; `touch` puts it back.
    pub(crate) fn next_sendable(&mut self) -> Option<ConnId> {
        while let Some(id) = self.sendable.pop_front() {
            if let Some(conn) = self.table.get_mut(&id) {
                conn.queued = false;
                return Some(id);
            }
        }
        None
    }

    /// The next connection whose timer has run out.
    pub(crate) fn expired(&self, now: Instant) -> Option<ConnId> {
        self.timers.first().filter(|(at, _)| *at <= now).map(|(_, id)| *id)
    }

    /// The next timer of all.
    pub(crate) fn wait(&self) -> Option<(Instant, WaitReason)> {
        let (at, id) = self.timers.first()?;
        Some((*at, self.table.get(id).map_or(WaitReason::Idle, |conn| conn.wait().1)))
    }
}
