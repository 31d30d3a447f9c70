//! HTTP/3 on the streams of a QUIC connection: what lies between the two machines.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use ntproto_core::time::{Instant, Now};
use ntproto_h3::{Code, Config, Connection, Event, Input, Output, StreamId};
use ntproto_quic::{Conn, Dir, Read, StreamEvent, StreamNo};

/// Read of a stream at once: a few packets, so that streams take turns.
const READ: usize = 16 * 1024;

/// An HTTP/3 connection, of either side, over a connection of an [`ntproto_quic::Endpoint`] that speaks
/// [`H3`](ntproto_quic::H3). A server's endpoint in this crate has its own; a client of HTTP/3 drives one so:
///
/// ```
/// use ntproto_core::time::Now;
/// use ntproto_h3::{Config, Event};
/// use ntproto_net::web::Carrier;
///
/// /// At `Connected`, at each `Streams` and `Datagram` event, at the deadline, and after every call of the machine.
/// fn pump(now: Now, quic: &mut ntproto_quic::Endpoint, conn: ntproto_quic::ConnId, carrier: &mut Carrier) {
///     quic.with(now, conn, |c| carrier.pump(now, c));
///     while let Some(event) = carrier.next_event() {
///         if let Event::Response { head, .. } = event {
///             println!("{}", head.status());
///         }
///     }
/// }
/// let _carrier = Carrier::client(Config::default());
/// ```
pub struct Carrier {
    machine: Connection,
    /// Streams that may have something to read.
    unread: BTreeSet<StreamId>,
    /// Streams that had something and no room for it.
    full: BTreeSet<StreamId>,
    /// To be opened, in order.
    opens: VecDeque<StreamId>,
    /// What is written there goes only when the peer has everything else.
    last: BTreeSet<StreamId>,
    priorities: VecDeque<(StreamId, i32)>,
    events: VecDeque<Event>,
    at: Option<Instant>,
}

impl Carrier {
    /// The side that answers.
    #[must_use]
    pub fn server(config: Config) -> Self {
        Self::new(Connection::server(config))
    }

    /// The side that asks.
    #[must_use]
    pub fn client(config: Config) -> Self {
        Self::new(Connection::client(config))
    }

    fn new(machine: Connection) -> Self {
        Self {
            machine,
            unread: BTreeSet::new(),
            full: BTreeSet::new(),
            opens: VecDeque::new(),
            last: BTreeSet::new(),
            priorities: VecDeque::new(),
            events: VecDeque::new(),
            at: None,
        }
    }

    /// The machine itself, for its calls. Pump afterwards.
    pub const fn machine(&mut self) -> &mut Connection {
        &mut self.machine
    }

    /// When [`timeout`](Self::timeout) is due.
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        self.at
    }

    /// The deadline has come. Pump afterwards.
    pub fn timeout(&mut self, now: Now) {
        self.machine.handle(now.mono, Input::Timeout);
    }

    /// What the machine has to say, oldest first.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// From now on a stream's bytes go only when the peer has acknowledged everything else.
    pub(crate) fn goes_last(&mut self, stream: StreamId) {
        self.last.insert(stream);
    }

    /// Lets a stream go before others, or after them, when the connection is pumped next.
    pub(crate) fn prioritise(&mut self, stream: StreamId, priority: i32) {
        self.priorities.push_back((stream, priority));
    }

    /// Carries bytes both ways until neither side has more.
    pub fn pump(&mut self, now: Now, conn: &mut Conn<'_>) {
        loop {
            let stopped = self.hear(now, conn);
            self.read(now, conn);
            // After what came with it: a server that answers early stops the request too.
            for (stream, code) in stopped {
                self.machine.handle(now.mono, Input::Stopped { stream, code });
            }
            if !self.carry_out(now, conn) && self.unread.is_empty() {
                break;
            }
        }
        for (stream, priority) in self.priorities.drain(..) {
            conn.prioritise_stream(no(stream), priority);
        }
    }

    /// Takes what happened; gives the streams the peer wants no more of.
    fn hear(&mut self, now: Now, conn: &mut Conn<'_>) -> Vec<(StreamId, Code)> {
        let mut stopped = Vec::new();
        while let Some(event) = conn.next_stream_event() {
            match event {
                StreamEvent::Readable(stream) => {
                    let stream = StreamId(stream.0);
                    if !self.full.contains(&stream) {
                        self.unread.insert(stream);
                    } else if let Some(code) = conn.stream_given_up(no(stream)) {
                        // It is not read until there is room, which whoever waits for its end may never make.
                        self.full.remove(&stream);
                        self.machine.handle(now.mono, Input::Reset { stream, code: Code(code) });
                    }
                }
                StreamEvent::Writable(stream) => {
                    self.machine.handle(now.mono, Input::Writable(StreamId(stream.0)));
                }
                StreamEvent::Stopped { stream, code } => {
                    stopped.push((StreamId(stream.0), Code(code)));
                }
                StreamEvent::Available(_) => self.open(now, conn),
            }
        }
        while let Some(datagram) = conn.recv_datagram() {
            self.machine.handle(now.mono, Input::Datagram(datagram));
        }
        stopped
    }

    /// Hands in what there is and room for. The rest stays in QUIC, whose windows hold the peer back.
    fn read(&mut self, now: Now, conn: &mut Conn<'_>) {
        while let Some(stream) = self.unread.pop_first() {
            // An end goes with the bytes before it: what has no body is known to have none.
            let mut held: Option<Bytes> = None;
            loop {
                let room = self.machine.room(stream).saturating_sub(held.as_ref().map_or(0, Bytes::len));
                let read = match room {
                    0 => None,
                    _ => Some(conn.read_stream(no(stream), room.min(READ))),
                };
                let fin = read == Some(Read::End);
                if held.is_some() || fin {
                    let data = held.take().unwrap_or_default();
                    self.machine.handle(now.mono, Input::Stream { stream, data, fin });
                }
                match read {
                    // What was held is less in the machine: heads of frames don't stay. It tells only of room after none.
                    None if self.machine.room(stream) > 0 => continue,
                    None => drop(self.full.insert(stream)),
                    Some(Read::Data(data)) => {
                        held = Some(data);
                        continue;
                    }
                    Some(Read::Reset(code)) => {
                        self.machine.handle(now.mono, Input::Reset { stream, code: Code(code) });
                    }
                    Some(Read::End | Read::Empty) => {}
                }
                break;
            }
        }
    }

    /// Does what the machine wants. `false`: it wanted nothing.
    fn carry_out(&mut self, now: Now, conn: &mut Conn<'_>) -> bool {
        let mut wanted = false;
        loop {
            match self.machine.poll_output(now.mono) {
                Output::Open(stream) => {
                    self.opens.push_back(stream);
                    self.open(now, conn);
                }
                Output::Write { stream, data, fin } => self.write(now, conn, stream, data, fin),
                Output::Reset { stream, code } => {
                    self.last.remove(&stream);
                    conn.reset_stream(no(stream), code.0);
                }
                Output::Stop { stream, code } => {
                    self.unread.remove(&stream);
                    self.full.remove(&stream);
                    conn.stop_stream(no(stream), code.0);
                }
                Output::Read(stream) => {
                    self.full.remove(&stream);
                    self.unread.insert(stream);
                }
                // Late datagrams are worth nothing: one that can't be sent is dropped.
                Output::Datagram(data) => drop(conn.send_datagram(data)),
                Output::Close { code, reason } => {
                    conn.close(u32::try_from(code.0).unwrap_or(u32::MAX), reason.as_bytes());
                }
                Output::Event(event) => self.events.push_back(event),
                Output::Wait { at } => {
                    self.at = at;
                    return wanted;
                }
            }
            wanted = true;
        }
    }

    fn write(&mut self, now: Now, conn: &mut Conn<'_>, stream: StreamId, mut data: Bytes, fin: bool) {
        let written = match self.last.contains(&stream) {
            true => conn.write_stream_last(no(stream), &mut data),
            false => conn.write_stream(no(stream), &mut data),
        };
        // One that takes nothing any more was stopped or is over, and its event says so.
        if let Ok(len) = written {
            if fin && data.is_empty() {
                conn.finish_stream(no(stream));
                self.last.remove(&stream);
            }
            self.machine.handle(now.mono, Input::Written { stream, len });
        }
    }

    fn open(&mut self, now: Now, conn: &mut Conn<'_>) {
        // Two kinds, each in order of its own.
        let mut waiting = VecDeque::new();
        while let Some(stream) = self.opens.pop_front() {
            let dir = match stream.dir() {
                ntproto_h3::Dir::Bi => Dir::Bi,
                ntproto_h3::Dir::Uni => Dir::Uni,
            };
            match conn.open_stream(dir) {
                Some(opened) => self.machine.handle(now.mono, Input::Opened(StreamId(opened.0))),
                None => waiting.push_back(stream),
            }
        }
        self.opens = waiting;
    }
}

const fn no(stream: StreamId) -> StreamNo {
    StreamNo(stream.0)
}
