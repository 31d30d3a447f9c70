//! A session over WebTransport: channels on its streams.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use ntproto_core::code::ErrorCode;
use ntproto_core::time::Instant;
use ntproto_core::wire::channel::{Channel, ChannelSet};
use ntproto_h3::{SessionId, StreamId};
use ntproto_quic::config::DATAGRAM_RECEIVE_BUFFER;

use super::carrier::Carrier;
use super::held::Held;
use crate::ConnId;

/// CONTROL goes out before the others, which share what is left evenly.
const CONTROL_PRIORITY: i32 = 1;
/// How long a session that is closed here may take until the peer has all that was written before: the close takes
/// back what it has not.
pub const CLOSE_TIME: Duration = Duration::from_secs(1);

/// What a datagram without bytes counts as in the bound of those that wait: its place among them.
const LEAST_COST: usize = 64;

const fn cost(datagram: &[u8]) -> usize {
    if datagram.len() > LEAST_COST { datagram.len() } else { LEAST_COST }
}

/// What a session holds of a channel.
#[derive(Default)]
struct Lane {
    /// The stream that carries it, once its first byte has come.
    stream: Option<StreamId>,
    /// Bytes not read yet. The window of HTTP/3 bounds them: they are consumed only as they are read.
    held: Held,
}

/// A session.
pub(crate) struct Session {
    pub(crate) conn: ConnId,
    pub(crate) id: SessionId,
    pub(crate) remote: SocketAddr,
    lanes: [Lane; Channel::STREAMS.len()],
    /// Streams whose first byte has not come.
    unnamed: BTreeSet<StreamId>,
    /// Channels that refused bytes.
    blocked: ChannelSet,
    datagrams: VecDeque<Bytes>,
    datagram_len: usize,
    control_last: bool,
    pub(crate) closed: Option<Closing>,
}

/// A session that was closed here: its end is told, but the peer may not have all of it yet.
pub(crate) struct Closing {
    pub(crate) code: u32,
    pub(crate) reason: String,
    /// It waits no longer. Set when the visit ends.
    pub(crate) until: Option<Instant>,
}

/// What came of bytes on a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// Nothing to tell.
    Nothing,
    /// Bytes on a channel.
    Readable(Channel),
    /// A channel may be written that could not be before.
    Named {
        /// The channel.
        channel: Channel,
        /// Whether bytes came with its name.
        readable: bool,
        /// Whether its writer was refused.
        writable: bool,
    },
    /// The peer broke a rule.
    Fault(&'static str),
}

impl Session {
    pub(crate) fn new(conn: ConnId, id: SessionId, remote: SocketAddr) -> Self {
        Self {
            conn,
            id,
            remote,
            lanes: Default::default(),
            unnamed: BTreeSet::new(),
            blocked: ChannelSet::NONE,
            datagrams: VecDeque::new(),
            datagram_len: 0,
            control_last: false,
            closed: None,
        }
    }

    /// The peer opened a stream. `false`: there are as many as there are channels.
    pub(crate) fn opened(&mut self, stream: StreamId) -> bool {
        let named = self.lanes.iter().filter(|lane| lane.stream.is_some()).count();
        let fits = named + self.unnamed.len() < self.lanes.len();
        if fits {
            self.unnamed.insert(stream);
        }
        fits
    }

    /// Bytes came on a stream.
    pub(crate) fn data(&mut self, carrier: &mut Carrier, stream: StreamId, mut data: Bytes) -> Came {
        if data.is_empty() {
            return Came::Nothing;
        }
        if !self.unnamed.remove(&stream) {
            return match self.channel_of(stream) {
                Some(channel) => {
                    self.lanes[channel.index()].held.push(&data);
                    Came::Readable(channel)
                }
                None => Came::Nothing,
            };
        }
        //= spec: web-3
        let named = Channel::STREAMS.into_iter().find(|channel| channel.index() == usize::from(data[0]));
        let Some(channel) = named else { return Came::Fault("a stream of no channel") };
        let lane = &mut self.lanes[channel.index()];
        if lane.stream.is_some() {
            return Came::Fault("two streams of one channel");
        }
        lane.stream = Some(stream);
        data.advance(1);
        carrier.machine().consume(stream, 1);
        if channel == Channel::Control {
            carrier.prioritise(stream, CONTROL_PRIORITY);
            if self.control_last {
                carrier.goes_last(stream);
            }
        }
        let readable = !data.is_empty();
        if readable {
            lane.held.push(&data);
        }
        let writable = self.blocked.contains(channel);
        self.blocked = self.blocked.without(channel);
        Came::Named { channel, readable, writable }
    }

    /// A stream takes bytes again: the channel whose writer waits for that.
    pub(crate) fn writable(&mut self, stream: StreamId) -> Option<Channel> {
        let channel = self.channel_of(stream).filter(|channel| self.blocked.contains(*channel))?;
        self.blocked = self.blocked.without(channel);
        Some(channel)
    }

    /// `true` if none waited before. The oldest are dropped when too many wait.
    pub(crate) fn datagram(&mut self, data: &[u8]) -> bool {
        let first = self.datagrams.is_empty();
        self.datagram_len += cost(data);
        // A copy: it is a slice of a packet, or of several, as it comes.
        self.datagrams.push_back(Bytes::copy_from_slice(data));
        while self.datagram_len > DATAGRAM_RECEIVE_BUFFER
            && let Some(oldest) = self.datagrams.pop_front()
        {
            self.datagram_len -= cost(&oldest);
        }
        first
    }

    /// Whether the transport has all that was written.
    pub(crate) fn is_written(&self, carrier: &mut Carrier, queue: usize) -> bool {
        let streams = self.lanes.iter().filter_map(|lane| lane.stream);
        streams.into_iter().all(|stream| carrier.machine().send_room(stream) == queue)
    }

    fn channel_of(&self, stream: StreamId) -> Option<Channel> {
        Channel::STREAMS.into_iter().find(|channel| self.lanes[channel.index()].stream == Some(stream))
    }
}

/// A session over WebTransport, as seen inside [`Endpoint::with`](crate::Endpoint::with).
pub struct WebSession<'a> {
    pub(crate) session: &'a mut Session,
    pub(crate) carrier: &'a mut Carrier,
    pub(crate) rtt: Duration,
    pub(crate) ping: bool,
}

impl WebSession<'_> {
    pub(crate) const fn remote(&self) -> SocketAddr {
        self.session.remote
    }

    /// See [`Conn::write`](crate::Conn::write).
    pub(crate) fn write(&mut self, channel: Channel, data: Bytes) -> usize {
        let Some(lane) = self.session.lanes.get(channel.index()) else { return 0 };
        if self.session.closed.is_some() || data.is_empty() {
            return 0;
        }
        let len = data.len();
        let taken = match lane.stream {
            // One that is over says so by an event.
            Some(stream) => self.carrier.machine().send(stream, data, false).unwrap_or(0),
            None => 0,
        };
        if taken < len {
            self.session.blocked = self.session.blocked.with(channel);
        }
        taken
    }

    /// See [`Conn::read_chunks`](crate::Conn::read_chunks).
    pub(crate) fn read_chunks(
        &mut self,
        channel: Channel,
        max: usize,
        mut take: impl FnMut(Bytes) -> bool,
    ) -> usize {
        let Some(lane) = self.session.lanes.get_mut(channel.index()) else { return 0 };
        let Some(stream) = lane.stream.filter(|_| self.session.closed.is_none()) else { return 0 };
        let mut done = 0;
        while done < max
            && let Some(chunk) = lane.held.pop(max - done)
        {
            done += chunk.len();
            if !take(chunk) {
                break;
            }
        }
        self.carrier.machine().consume(stream, done);
        done
    }

    pub(crate) fn recv_datagram(&mut self) -> Option<Bytes> {
        let data = self.session.datagrams.pop_front()?;
        self.session.datagram_len -= cost(&data);
        Some(data)
    }

    pub(crate) fn control_last(&mut self) {
        self.session.control_last = true;
        if let Some(stream) = self.session.lanes[Channel::Control.index()].stream {
            self.carrier.goes_last(stream);
        }
    }

    pub(crate) fn close(&mut self, code: u32, reason: &[u8]) {
        if self.session.closed.is_none() {
            let reason = String::from_utf8_lossy(reason).into_owned();
            self.session.closed = Some(Closing { code, reason, until: None });
        }
    }
}

/// Ends a session for what the peer did.
pub(crate) fn fault(carrier: &mut Carrier, session: &Session, text: &str) {
    if session.closed.is_none() {
        // One that has ended meanwhile says so by its own event.
        let _ = carrier.machine().close_session(session.id, ErrorCode::Protocol as u32, text);
    }
}
