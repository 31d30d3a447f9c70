//! TCP connections as channels (specification, "TCP").
//!
//! ```text
//!   Bytes ──▶ demux ──▶ what each channel holds ──▶ read_chunks      up to a window, then no more is read
//!   Write ◀── one buffer in flight ◀── write                         refused meanwhile, then Writable
//! ```
//!
//! | module | is |
//! | --- | --- |
//! | [`gate`] | who may come in: half-open caps, a bucket for each network |
//! | [`stream`] | one connection |

pub mod gate;
pub mod stream;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use ntproto_core::binding::Binding;
use ntproto_core::time::{Instant, Now};
use ntproto_quic::{ALPN, EarlyData};

use crate::event::{Closed, Event, TcpClosed};
use crate::{ConnId, StreamId, StreamInput, StreamStep};
use gate::{Gate, TcpLimits};
use stream::{Direction, Stream};

/// A connection that was dialled must be up within this.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// All TCP connections of an endpoint.
pub(crate) struct Tcp {
    streams: BTreeMap<StreamId, Stream>,
    gate: Gate,
    last: u64,
    /// Those that may have something for the host, each once.
    stirred: VecDeque<StreamId>,
    dials: BTreeSet<(Instant, StreamId)>,
    pub(crate) events: VecDeque<Event>,
}

impl Tcp {
    pub(crate) fn new(limits: TcpLimits) -> Self {
        Self {
            streams: BTreeMap::new(),
            gate: Gate::new(limits),
            last: 0,
            stirred: VecDeque::new(),
            dials: BTreeSet::new(),
            events: VecDeque::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.streams.len()
    }

    fn next_id(&mut self) -> StreamId {
        self.last += 1;
        StreamId(self.last)
    }

    pub(crate) fn dial(&mut self, now: Now, remote: SocketAddr) -> ConnId {
        let id = self.next_id();
        let until = now.mono + CONNECT_TIMEOUT;
        self.dials.insert((until, id));
        self.streams.insert(id, Stream::new(remote, Direction::Dialled { until }));
        self.stir(id);
        id.into()
    }

    pub(crate) fn accept(&mut self, now: Now, remote: SocketAddr) -> Option<StreamId> {
        //= spec: tcp-11
        if !self.gate.admit(now.mono, remote.ip(), self.streams.len()) {
            return None;
        }
        let id = self.next_id();
        self.streams.insert(id, Stream::new(remote, Direction::Accepted));
        self.opened(id, remote);
        Some(id)
    }

    fn opened(&mut self, id: StreamId, remote: SocketAddr) {
        // TCP speaks nothing else yet.
        let (alpn, binding) = (ALPN.to_vec(), Binding::TCP);
        let early = EarlyData::Unused;
        self.events.push_back(Event::Connected { conn: id.into(), alpn, binding, remote, early });
        self.stir(id);
    }

    pub(crate) fn input(&mut self, id: StreamId, input: StreamInput) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        match input {
            StreamInput::Connected => {
                let remote = stream.remote();
                if let Some(until) = stream.connected() {
                    self.dials.remove(&(until, id));
                    self.opened(id, remote);
                }
            }
            StreamInput::Bytes(bytes) => {
                let readable = stream.receive(&bytes);
                let conn = id.into();
                self.events.extend(readable.map(|channel| Event::Readable { conn, channel }));
            }
            StreamInput::Written => {
                let conn = id.into();
                let writable = stream.written();
                self.events.extend(writable.map(|channel| Event::Writable { conn, channel }));
            }
            StreamInput::Settled => {
                if stream.is_half_open() {
                    stream.settle();
                    self.gate.settled();
                }
            }
            StreamInput::Closed => {
                let reason = if stream.is_dialling() { TcpClosed::Unreachable } else { TcpClosed::Ended };
                self.end(id, reason);
                self.streams.remove(&id);
            }
        }
        self.stir(id);
    }

    //= spec: tcp-13
    /// Somebody else serves a connection from here on. It keeps its place, and counts as half-open until that
    /// somebody says otherwise.
    pub(crate) fn hand_over(&mut self, id: StreamId) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else { return false };
        let taken = stream.hand_over();
        if taken && stream.tell_end() {
            let reason = Closed::Tcp(TcpClosed::Https);
            self.events.push_back(Event::Closed { conn: id.into(), reason });
        }
        taken
    }

    /// Visits a connection that is not over.
    pub(crate) fn with<R>(&mut self, id: StreamId, visit: impl FnOnce(&mut Stream) -> R) -> Option<R> {
        let stream = self.streams.get_mut(&id).filter(|stream| stream.is_ours())?;
        let half_open = stream.is_half_open();
        let result = visit(stream);
        if half_open && !stream.is_half_open() {
            self.gate.settled();
        }
        if let Some(code) = stream.close_code() {
            self.end(id, TcpClosed::Local { code });
        }
        self.stir(id);
        Some(result)
    }

    /// Tells the end, once, and gives back what the gate counted.
    fn end(&mut self, id: StreamId, reason: TcpClosed) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if let Direction::Dialled { until } = stream.direction() {
            self.dials.remove(&(until, id));
        }
        if stream.is_half_open() {
            stream.settle();
            self.gate.settled();
        }
        if stream.tell_end() {
            self.events.push_back(Event::Closed { conn: id.into(), reason: Closed::Tcp(reason) });
        }
    }

    pub(crate) fn close_all(&mut self, code: u32) {
        let all: Vec<StreamId> = self.streams.keys().copied().collect();
        for id in all {
            self.with(id, |stream| stream.close(code));
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.dials.first().map(|(at, _)| *at)
    }

    pub(crate) fn timeout(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.dials.first()
            && at <= now
        {
            self.dials.remove(&(at, id));
            self.end(id, TcpClosed::Unreachable);
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.close(0);
            }
            self.stir(id);
        }
    }

    fn stir(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.queue()
        {
            self.stirred.push_back(id);
        }
    }

    /// What the host should do with a stream.
    pub(crate) fn next_step(&mut self) -> Option<(StreamId, StreamStep)> {
        while let Some(&id) = self.stirred.front() {
            let Some(stream) = self.streams.get_mut(&id) else {
                self.stirred.pop_front();
                continue;
            };
            match stream.next_step() {
                Some(StreamStep::Close) => {
                    self.stirred.pop_front();
                    let known = stream.is_known();
                    self.streams.remove(&id);
                    if known {
                        return Some((id, StreamStep::Close));
                    }
                }
                Some(step) => return Some((id, step)),
                None => {
                    stream.unqueue();
                    self.stirred.pop_front();
                }
            }
        }
        None
    }

    /// Whether nothing waits for the host, and no farewell is on its way to it.
    pub(crate) fn is_flushed(&self) -> bool {
        self.stirred.is_empty() && self.streams.values().all(|stream| !stream.is_closing())
    }
}
