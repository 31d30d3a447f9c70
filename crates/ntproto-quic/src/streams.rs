//! Streams of a connection that speaks another protocol than ours: HTTP/3, which owns all of them.
//!
//! [`Event::Streams`](crate::Event::Streams) says that something happened; a visit takes what it was, one
//! [`StreamEvent`] at a time. What happened is kept as sets of stream numbers, so it takes no more room than there
//! are streams.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use quinn_proto::{Connection, ReadError, Side, StreamId, VarInt, WriteError};

use crate::config::{H3_BIDI_STREAMS, H3_CONNECTION_WINDOW, H3_SEND_WINDOW, H3_UNI_STREAMS};
use crate::conn::Conn;

/// QUIC's number of a stream: who opened it and its direction are in its last two bits (RFC 9000, section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamNo(pub u64);

impl StreamNo {
    fn quic(self) -> StreamId {
        let side = if self.0 & 1 == 0 { Side::Client } else { Side::Server };
        let dir = if self.0 & 2 == 0 { Dir::Bi } else { Dir::Uni };
        StreamId::new(side, dir.quic(), self.0 >> 2)
    }
}

impl From<StreamId> for StreamNo {
    fn from(id: StreamId) -> Self {
        Self(VarInt::from(id).into_inner())
    }
}

impl fmt::Display for StreamNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which way a stream goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dir {
    /// Both ways.
    Bi,
    /// From who opened it.
    Uni,
}

impl Dir {
    const fn quic(self) -> quinn_proto::Dir {
        match self {
            Self::Bi => quinn_proto::Dir::Bi,
            Self::Uni => quinn_proto::Dir::Uni,
        }
    }
}

/// Something happened to a stream, or to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// There may be bytes, an end or a reset. It is also how a stream that the peer opened is first heard of. Read it
    /// until it is [`Empty`](Read::Empty), or remember that it is not.
    Readable(StreamNo),
    /// It refused bytes and takes some again.
    Writable(StreamNo),
    /// The peer reads no more of it.
    Stopped {
        /// The stream.
        stream: StreamNo,
        /// Why, as the protocol above says it.
        code: u64,
    },
    /// The peer allows more streams of this kind: of those that could not be opened.
    Available(Dir),
}

/// What reading a stream gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// Bytes.
    Data(Bytes),
    /// It has ended, and all was read.
    End,
    /// The peer gave it up, with this code.
    Reset(u64),
    /// Nothing now. Of a stream that is over: nothing any more.
    Empty,
}

/// Why a stream takes no bytes, ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwritable {
    /// The peer reads no more, and gave this code.
    Stopped(u64),
    /// It was finished or reset, or never was.
    Closed,
}

/// What happened to the streams of a connection and was not taken yet.
#[derive(Default)]
pub(crate) struct Streams {
    readable: BTreeSet<u64>,
    writable: BTreeSet<u64>,
    stopped: BTreeMap<u64, u64>,
    available: (bool, bool),
    /// Somebody waits until the peer has acknowledged everything.
    waiting: bool,
    /// Streams whose end was said, and not acknowledged yet.
    ending: BTreeSet<u64>,
    /// Somebody waits until there are none.
    watching: bool,
    /// Whether the host is to be told.
    pub(crate) stirred: bool,
}

impl Streams {
    /// For a connection whose protocol has just become known.
    pub(crate) fn begin(quic: &mut Connection) -> Box<Self> {
        quic.set_max_concurrent_streams(quinn_proto::Dir::Bi, VarInt::from_u32(H3_BIDI_STREAMS));
        quic.set_max_concurrent_streams(quinn_proto::Dir::Uni, VarInt::from_u32(H3_UNI_STREAMS));
        quic.set_receive_window(VarInt::from_u32(H3_CONNECTION_WINDOW));
        quic.set_send_window(H3_SEND_WINDOW);
        Box::default()
    }

    pub(crate) fn heard(&mut self, quic: &mut Connection, event: quinn_proto::StreamEvent) {
        use quinn_proto::StreamEvent as Quic;
        match event {
            Quic::Opened { dir } => {
                while let Some(stream) = quic.streams().accept(dir) {
                    self.readable.insert(StreamNo::from(stream).0);
                }
            }
            Quic::Readable { id } => drop(self.readable.insert(StreamNo::from(id).0)),
            Quic::Writable { id } => {
                self.writable.insert(StreamNo::from(id).0);
                if std::mem::take(&mut self.waiting) {
                    quic.set_send_window(H3_SEND_WINDOW);
                }
            }
            Quic::Stopped { id, error_code } => {
                self.stopped.insert(StreamNo::from(id).0, error_code.into_inner());
                self.ended(id);
            }
            Quic::Available { dir: quinn_proto::Dir::Bi } => self.available.0 = true,
            Quic::Available { dir: quinn_proto::Dir::Uni } => self.available.1 = true,
            Quic::Finished { id } => {
                self.ended(id);
                if !self.ending.is_empty() || !std::mem::take(&mut self.watching) {
                    return;
                }
            }
        }
        self.stirred = true;
    }

    fn ended(&mut self, stream: StreamId) {
        self.ending.remove(&StreamNo::from(stream).0);
    }

    pub(crate) const fn is_waiting(&self) -> bool {
        self.waiting
    }

    fn next(&mut self) -> Option<StreamEvent> {
        if let Some((stream, code)) = self.stopped.pop_first() {
            return Some(StreamEvent::Stopped { stream: StreamNo(stream), code });
        }
        if let Some(stream) = self.readable.pop_first() {
            return Some(StreamEvent::Readable(StreamNo(stream)));
        }
        if let Some(stream) = self.writable.pop_first() {
            return Some(StreamEvent::Writable(StreamNo(stream)));
        }
        if std::mem::take(&mut self.available.0) {
            return Some(StreamEvent::Available(Dir::Bi));
        }
        std::mem::take(&mut self.available.1).then_some(StreamEvent::Available(Dir::Uni))
    }
}

/// A code as QUIC writes it; a larger one is the largest there is.
fn code_of(code: u64) -> VarInt {
    VarInt::from_u64(code).unwrap_or(VarInt::MAX)
}

/// Raw streams: of a connection that speaks another protocol. One that has channels has none of these: nothing is
/// opened, read or written.
impl Conn<'_> {
    /// What happened to its streams, one by one, until there is nothing more.
    pub fn next_stream_event(&mut self) -> Option<StreamEvent> {
        self.streams.as_deref_mut()?.next()
    }

    /// Opens a stream. `None`: the peer allows no more now, [`Available`](StreamEvent::Available) follows when it does.
    pub fn open_stream(&mut self, dir: Dir) -> Option<StreamNo> {
        if self.streams.is_none() || !self.open {
            return None;
        }
        self.quic.streams().open(dir.quic()).map(StreamNo::from)
    }

    /// Offers bytes to a stream. What was not taken stays in `data`, and [`Writable`](StreamEvent::Writable) follows.
    ///
    /// # Errors
    /// It takes no bytes, ever: see [`Unwritable`].
    pub fn write_stream(&mut self, stream: StreamNo, data: &mut Bytes) -> Result<usize, Unwritable> {
        if self.streams.is_none() || !self.open {
            return Err(Unwritable::Closed);
        }
        self.quic.set_send_window(H3_SEND_WINDOW);
        let written = self.offer(stream, data);
        self.rest();
        self.touched = true;
        written
    }

    fn offer(&mut self, stream: StreamNo, data: &mut Bytes) -> Result<usize, Unwritable> {
        let mut done = 0;
        // Until all is taken or it says that it is blocked: only then is `Writable` promised.
        while !data.is_empty() {
            match self.quic.send_stream(stream.quic()).write_chunks(std::slice::from_mut(data)) {
                Ok(written) if written.bytes > 0 => done += written.bytes,
                Ok(_) | Err(WriteError::Blocked) => break,
                Err(WriteError::Stopped(code)) => return Err(Unwritable::Stopped(code.into_inner())),
                Err(WriteError::ClosedStream) => return Err(Unwritable::Closed),
            }
        }
        Ok(done)
    }

    /// Like [`write_stream`](Self::write_stream), but takes bytes only when the peer has acknowledged all that was
    /// written before, on every stream: a farewell does not overtake the answers before it.
    ///
    /// # Errors
    /// As [`write_stream`](Self::write_stream).
    pub fn write_stream_last(&mut self, stream: StreamNo, data: &mut Bytes) -> Result<usize, Unwritable> {
        if self.open && !data.is_empty() && !self.all_arrived(stream) {
            return Ok(0);
        }
        self.write_stream(stream, data)
    }

    /// Whether the peer has acknowledged all that was written, on every stream. `false`:
    /// [`Writable`](StreamEvent::Writable) follows for `stream` when there is reason to ask again.
    pub fn all_arrived(&mut self, stream: StreamNo) -> bool {
        // Nothing fits into this window but what is written after all else has arrived. While somebody waits it stays:
        // it says when who was blocked is woken.
        self.quic.set_send_window(1);
        let arrived = self.quic.send_stream(stream.quic()).write(&[]) != Err(WriteError::Blocked);
        if let Some(streams) = self.streams.as_deref_mut() {
            streams.waiting = !arrived;
        }
        self.rest();
        self.touched = true;
        arrived
    }

    /// Like [`all_arrived`](Self::all_arrived), and the peer has the ends of streams too: it loses nothing by a close.
    /// `false`: [`Event::Streams`](crate::Event::Streams) follows when there is reason to ask again.
    pub fn all_delivered(&mut self, stream: StreamNo) -> bool {
        let ended = match self.streams.as_deref_mut() {
            Some(streams) => {
                streams.watching = !streams.ending.is_empty();
                !streams.watching
            }
            None => true,
        };
        self.all_arrived(stream) && ended
    }

    /// How many bytes that were written the peer has not acknowledged, on all streams. Those that QUIC still holds count as long as
    /// it holds them: it lets go of what was written at once as one.
    ///
    /// Asked on `stream`, which must take bytes. While the peer lets nothing more be sent at all, it is as much as
    /// may be.
    pub fn unacknowledged(&mut self, stream: StreamNo) -> u64 {
        // QUIC does not tell it, but whether it is less than its window.
        let (mut least, mut most) = (0, H3_SEND_WINDOW);
        while least < most {
            let middle = least.midpoint(most);
            self.quic.set_send_window(middle + 1);
            match self.quic.send_stream(stream.quic()).write(&[]) {
                Err(WriteError::Blocked) => least = middle + 1,
                _ => most = middle,
            }
        }
        self.rest();
        self.touched = true;
        least
    }

    /// Says that nothing more comes on a stream. One that can't be finished is over already.
    pub fn finish_stream(&mut self, stream: StreamNo) {
        if let Some(streams) = self.streams.as_deref_mut() {
            if self.quic.send_stream(stream.quic()).finish().is_ok() {
                streams.ending.insert(stream.0);
            }
            self.touched = true;
        }
    }

    /// Gives up what was written on a stream and did not arrive.
    pub fn reset_stream(&mut self, stream: StreamNo, code: u64) {
        if let Some(streams) = self.streams.as_deref_mut() {
            streams.ending.remove(&stream.0);
            // One that is over needs none.
            let _ = self.quic.send_stream(stream.quic()).reset(code_of(code));
            self.touched = true;
        }
    }

    /// Reads no more of a stream and tells the peer so.
    pub fn stop_stream(&mut self, stream: StreamNo, code: u64) {
        if self.streams.is_some() {
            let _ = self.quic.recv_stream(stream.quic()).stop(code_of(code));
            self.touched = true;
        }
    }

    /// Lets a stream go before others (or after, below 0) when there is more to send than the path takes.
    pub fn prioritise_stream(&mut self, stream: StreamNo, priority: i32) {
        if self.streams.is_some() {
            let _ = self.quic.send_stream(stream.quic()).set_priority(priority);
        }
    }

    /// Whether the peer gave a stream up, with which code: for one that is not read now, and would not hear of it by
    /// reading. Said once; nothing comes of the stream any more.
    pub fn stream_given_up(&mut self, stream: StreamNo) -> Option<u64> {
        if self.streams.is_none() || self.end.is_some() {
            return None;
        }
        let code = self.quic.recv_stream(stream.quic()).received_reset().ok().flatten()?;
        // It makes room for another one, which the peer is to hear of.
        self.touched = true;
        Some(code.into_inner())
    }

    /// Takes up to `max` bytes from a stream. The peer may send more only as its bytes are taken.
    pub fn read_stream(&mut self, stream: StreamNo, max: usize) -> Read {
        if self.streams.is_none() || self.end.is_some() {
            return Read::Empty;
        }
        let mut recv = self.quic.recv_stream(stream.quic());
        let Ok(mut chunks) = recv.read(true) else { return Read::Empty };
        let read = match chunks.next(max) {
            Ok(Some(chunk)) => Read::Data(chunk.bytes),
            Ok(None) => Read::End,
            Err(ReadError::Blocked) => Read::Empty,
            Err(ReadError::Reset(code)) => Read::Reset(code.into_inner()),
        };
        self.touched |= chunks.finalize().should_transmit();
        // A stream that is over makes room for another one, which the peer is to hear of.
        self.touched |= matches!(read, Read::End | Read::Reset(_));
        read
    }
}
