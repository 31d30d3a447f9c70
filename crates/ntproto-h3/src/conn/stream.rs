//! What is known of one stream: who reads it, and what waits to be written to it.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};
use ntproto_core::time::Instant;

use super::control::ControlReader;
use super::exchange::Exchange;
use crate::qpack::streams::{DecoderStream, EncoderStream};
use crate::varint::Partial;
use crate::{Output, SessionId};

/// What a stream is for.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A unidirectional stream of the peer whose type is not whole yet.
    Uni(Partial),
    /// A bidirectional stream of the peer whose first number is not whole yet: a frame's type, or WebTransport's.
    Fresh(Partial),
    /// A stream of WebTransport whose session is not whole yet.
    Unnamed(Partial),
    /// A stream of WebTransport that came before its session.
    Early {
        session: SessionId,
        /// Copied: what came are slices of packets.
        data: Vec<u8>,
        fin: bool,
    },
    /// A stream of a session.
    Web(SessionId),
    /// A request and its answer; the stream of a session begins as one.
    Exchange(Box<Exchange>),
    /// The peer's control stream.
    Control(ControlReader),
    /// The peer's QPACK streams.
    Encoder(EncoderStream),
    Decoder(DecoderStream),
    /// Our control stream.
    Own,
    /// What comes is of no interest.
    Ignored,
}

impl Kind {
    /// Streams that the connection can't do without.
    pub(crate) const fn is_critical(&self) -> bool {
        matches!(self, Self::Control(_) | Self::Encoder(_) | Self::Decoder(_) | Self::Own)
    }
}

/// What waits to be written.
#[derive(Debug, Default)]
pub(crate) struct SendHalf {
    queue: VecDeque<Bytes>,
    queued: usize,
    /// Whether the end follows what is queued.
    ending: bool,
    /// What was offered and not answered yet.
    offered: Option<(usize, bool)>,
    /// QUIC took less than was offered.
    blocked: bool,
    /// Nothing more can be written: the end was, or a reset.
    done: bool,
    /// The application was told that there is no room.
    wanted: bool,
}

impl SendHalf {
    pub(crate) fn none() -> Self {
        Self { done: true, ..Self::default() }
    }

    pub(crate) const fn is_done(&self) -> bool {
        self.done
    }

    /// Whether more may be queued.
    pub(crate) const fn is_open(&self) -> bool {
        !self.done && !self.ending
    }

    pub(crate) const fn queued(&self) -> usize {
        self.queued
    }

    pub(crate) fn push(&mut self, data: Bytes) {
        if self.is_open() && !data.is_empty() {
            self.queued += data.len();
            self.queue.push_back(data);
        }
    }

    pub(crate) fn end(&mut self) {
        self.ending = true;
    }

    pub(crate) fn want_room(&mut self) {
        self.wanted = true;
    }

    /// Nothing more is written; what waits is forgotten.
    pub(crate) fn drop_all(&mut self) {
        *self = Self::none();
    }

    /// Whether there is something that QUIC may take.
    pub(crate) fn is_ready(&self) -> bool {
        !self.done && !self.blocked && self.offered.is_none() && (self.ending || !self.queue.is_empty())
    }

    /// What QUIC shall take next.
    pub(crate) fn offer(&mut self) -> (Bytes, bool) {
        let data = self.queue.front().cloned().unwrap_or_default();
        let fin = self.ending && self.queue.len() <= 1;
        self.offered = Some((data.len(), fin));
        (data, fin)
    }

    /// QUIC took so much of it. Whether there is room for which the application waits.
    pub(crate) fn written(&mut self, len: usize, limit: usize) -> bool {
        let Some((offered, fin)) = self.offered.take() else { return false };
        let len = len.min(offered);
        self.queued -= len;
        if len < offered {
            self.blocked = true;
        }
        if let Some(front) = self.queue.front_mut() {
            front.advance(len);
            if front.is_empty() {
                self.queue.pop_front();
            }
        }
        if fin && len == offered {
            self.done = true;
        }
        self.is_open() && self.queued < limit && std::mem::take(&mut self.wanted)
    }

    /// QUIC takes some again.
    pub(crate) fn unblock(&mut self) {
        self.blocked = false;
    }
}

/// A stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) kind: Kind,
    /// Whether the peer's half is still read.
    pub(crate) reading: bool,
    pub(crate) send: SendHalf,
    /// Whether QUIC has yet to open it; what is to be done to it then.
    pub(crate) unopened: bool,
    pub(crate) held: Vec<Output>,
    /// Bytes that are with the application.
    pub(crate) unread: usize,
    /// Until when it must have become something.
    pub(crate) deadline: Option<Instant>,
    /// Whether it waits in the line of writers.
    pub(crate) in_line: bool,
}

impl Stream {
    pub(crate) fn new(kind: Kind, reading: bool, sending: bool, unopened: bool) -> Self {
        let send = if sending { SendHalf::default() } else { SendHalf::none() };
        Self { kind, reading, send, unopened, held: Vec::new(), unread: 0, deadline: None, in_line: false }
    }

    /// Whether nothing can happen on it any more.
    pub(crate) const fn is_over(&self) -> bool {
        // One that waits for its session may have come whole.
        let waits = matches!(self.kind, Kind::Early { .. });
        !self.reading && self.send.is_done() && !self.unopened && !waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_not_offered_again() {
        let mut send = SendHalf::default();
        assert!(!send.is_ready());
        send.push(Bytes::from_static(b"hello"));
        send.push(Bytes::from_static(b"world"));
        send.end();
        send.push(Bytes::from_static(b"too late"));
        assert_eq!(send.queued(), 10);
        assert_eq!(send.offer(), (Bytes::from_static(b"hello"), false));
        assert!(!send.is_ready(), "one offer at a time");
        send.written(2, 100);
        assert!(!send.is_ready(), "QUIC is full");
        send.unblock();
        assert_eq!(send.offer(), (Bytes::from_static(b"llo"), false));
        send.written(3, 100);
        assert_eq!(send.offer(), (Bytes::from_static(b"world"), true));
        send.written(5, 100);
        assert!(send.is_done() && !send.is_ready());
    }

    #[test]
    fn an_end_alone() {
        let mut send = SendHalf::default();
        send.end();
        assert_eq!(send.offer(), (Bytes::new(), true));
        send.written(0, 100);
        assert!(send.is_done());
    }

    #[test]
    fn room_is_told_to_those_who_asked() {
        let mut send = SendHalf::default();
        send.push(Bytes::from_static(b"hello"));
        send.offer();
        assert!(!send.written(1, 5), "nobody asked");
        send.want_room();
        send.unblock();
        send.offer();
        assert!(!send.written(0, 4), "there is none");
        send.unblock();
        send.offer();
        assert!(send.written(4, 4));
        assert!(!send.written(4, 4), "nothing was offered");
    }
}
