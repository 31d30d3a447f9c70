//! One connection, as seen inside [`Endpoint::with`](crate::Endpoint::with).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use ntproto_core::code::ErrorCode;
use ntproto_core::wire::channel::Channel;
use quinn_proto::{Connection, ReadError, SendDatagramError, StreamId, WriteError};

use crate::channels::stream_of;
use crate::config::{CONTROL_RESERVE, H3_SEND_WINDOW, MAX_CLOSE_REASON, SEND_WINDOW};
use crate::streams::Streams;
use crate::{Closed, ConnId};

/// A connection's measures.
#[derive(Clone, Copy, Debug)]
pub struct ConnStats {
    /// The smoothed round-trip time.
    pub rtt: Duration,
    /// The congestion window in bytes.
    pub window: u64,
    /// The datagram size in use.
    pub mtu: u16,
    /// Packets sent.
    pub sent: u64,
    /// Packets deemed lost.
    pub lost: u64,
}

/// Why a datagram was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatagramRefused {
    /// The peer takes none, or the connection is over.
    Unsupported,
    /// Larger than the path carries now; see [`Conn::max_datagram`].
    TooLarge,
}

/// How a visit to a connection ends it.
pub(crate) enum End {
    /// The host closes it.
    Close { code: u32, reason: Bytes },
    /// The peer broke the rules of the channels.
    Fault(&'static str),
}

/// A connection. Whatever is done here is noticed when the visit ends; nothing need be polled by hand.
pub struct Conn<'a> {
    pub(crate) id: ConnId,
    pub(crate) quic: &'a mut Connection,
    /// What there is in place of channels, when another protocol is spoken.
    pub(crate) streams: Option<&'a mut Streams>,
    pub(crate) now: std::time::Instant,
    /// Whether channels are open and it is not over.
    pub(crate) open: bool,
    pub(crate) control_last: bool,
    /// Whether there may be something to transmit.
    pub(crate) touched: bool,
    pub(crate) end: Option<End>,
}

impl Conn<'_> {
    /// Its name.
    #[must_use]
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// Where the peer is now: it may move.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        self.quic.remote_address()
    }

    /// Which of our addresses it talks to, if the socket said so.
    #[must_use]
    pub fn local_ip(&self) -> Option<IpAddr> {
        self.quic.local_ip()
    }

    fn channel(&self, channel: Channel) -> Option<StreamId> {
        stream_of(channel).filter(|_| self.streams.is_none())
    }

    /// Offers bytes to a channel and says how many were taken. When fewer than offered were, `Writable` follows
    /// once there is room.
    pub fn write(&mut self, channel: Channel, data: &[u8]) -> usize {
        self.write_with(channel, data.len(), |stream, done| stream.write(&data[done..]))
    }

    /// Like [`write`](Self::write), but keeps `data` itself instead of copying it: for large bodies. What was
    /// not taken stays in `data`.
    pub fn write_bytes(&mut self, channel: Channel, data: &mut Bytes) -> usize {
        let len = data.len();
        self.write_with(channel, len, |stream, _| {
            stream.write_chunks(std::slice::from_mut(data)).map(|written| written.bytes)
        })
    }

    fn write_with(
        &mut self,
        channel: Channel,
        len: usize,
        mut write: impl FnMut(&mut quinn_proto::SendStream<'_>, usize) -> Result<usize, WriteError>,
    ) -> usize {
        let Some(stream) = self.channel(channel).filter(|_| self.open) else { return 0 };
        let control = channel == Channel::Control;
        self.quic.set_send_window(match (control, self.control_last) {
            // Taken only if nothing is unacknowledged.
            (true, true) => 1,
            (true, false) => SEND_WINDOW + CONTROL_RESERVE,
            (false, _) => SEND_WINDOW,
        });
        let mut done = 0;
        // Until all is taken or it says that it is blocked: only then does it promise `Writable`.
        while done < len {
            match write(&mut self.quic.send_stream(stream), done) {
                //= spec: quic-5
                Ok(0) | Err(WriteError::Blocked) => break,
                Ok(n) => {
                    done += n;
                    if control {
                        self.quic.set_send_window(SEND_WINDOW + CONTROL_RESERVE);
                    }
                }
                Err(WriteError::Stopped(_) | WriteError::ClosedStream) => {
                    self.fault("the peer stopped reading a channel");
                    break;
                }
            }
        }
        self.rest();
        // Even a refusal has something to send: it tells the peer what it blocks.
        self.touched |= len > 0;
        done
    }

    /// From now on CONTROL takes bytes only when the peer has acknowledged all that was written before, on every
    /// channel: a farewell does not overtake the answers before it.
    pub fn control_last(&mut self) {
        if self.streams.is_none() {
            self.control_last = true;
            self.rest();
        }
    }

    /// The window between writes says when a blocked channel is woken.
    pub(crate) fn rest(&mut self) {
        self.quic.set_send_window(match &self.streams {
            Some(streams) if streams.is_waiting() => 1,
            Some(_) => H3_SEND_WINDOW,
            None if self.control_last => 1,
            None => SEND_WINDOW,
        });
    }

    /// Takes up to `max` bytes from a channel. `None` means that there are none now; `Readable` follows when
    /// there are. The peer may send more only as its bytes are taken.
    pub fn read(&mut self, channel: Channel, max: usize) -> Option<Bytes> {
        let mut got = None;
        self.read_chunks(channel, max, |bytes| {
            got = Some(bytes);
            false
        });
        got
    }

    /// Takes up to `max` bytes from a channel, piece by piece, while `take` asks for more; gives how many. Fewer
    /// than `max` without `take` having stopped it means that the channel is empty.
    pub fn read_chunks(
        &mut self,
        channel: Channel,
        max: usize,
        mut take: impl FnMut(Bytes) -> bool,
    ) -> usize {
        let Some(stream) = self.channel(channel).filter(|_| self.end.is_none()) else { return 0 };
        let mut recv = self.quic.recv_stream(stream);
        // Not open yet, or closed for good: nothing to read.
        let Ok(mut chunks) = recv.read(true) else { return 0 };
        let (mut done, mut ended) = (0, false);
        while done < max {
            match chunks.next(max - done) {
                Ok(Some(chunk)) => {
                    done += chunk.bytes.len();
                    if !take(chunk.bytes) {
                        break;
                    }
                }
                Err(ReadError::Blocked) => break,
                //= spec: quic-2
                Ok(None) | Err(ReadError::Reset(_)) => {
                    ended = true;
                    break;
                }
            }
        }
        self.touched |= chunks.finalize().should_transmit();
        if ended {
            self.fault("the peer ended a channel");
        }
        done
    }

    /// Queues a datagram, dropping the oldest waiting ones if there is no room.
    ///
    /// # Errors
    /// It can never be sent: see [`DatagramRefused`].
    pub fn send_datagram(&mut self, data: Bytes) -> Result<(), DatagramRefused> {
        if !self.open {
            return Err(DatagramRefused::Unsupported);
        }
        self.touched = true;
        self.quic.datagrams().send(data, true).map_err(|error| match error {
            SendDatagramError::TooLarge => DatagramRefused::TooLarge,
            _ => DatagramRefused::Unsupported,
        })
    }

    /// The largest datagram the path and the peer take now.
    #[must_use]
    pub fn max_datagram(&mut self) -> Option<usize> {
        self.quic.datagrams().max_size()
    }

    /// Takes a received datagram.
    pub fn recv_datagram(&mut self) -> Option<Bytes> {
        self.quic.datagrams().recv()
    }

    /// Ends the connection. What was written before goes out once, as far as congestion allows, then the close
    /// with `code` and `reason` (cut to [`MAX_CLOSE_REASON`]). `Closed` follows at once.
    pub fn close(&mut self, code: u32, reason: &[u8]) {
        if self.end.is_none() {
            let reason = &reason[..reason.len().min(MAX_CLOSE_REASON)];
            self.end = Some(End::Close { code, reason: Bytes::copy_from_slice(reason) });
        }
        self.open = false;
    }

    /// Sends a packet that the peer acknowledges: finds out whether the path works, and shows the server a new
    /// address after a change of network.
    pub fn ping(&mut self) {
        self.quic.ping();
        self.touched = true;
    }

    /// The network changed: what was learnt of the path is forgotten and the peer is shown the new address.
    pub fn path_changed(&mut self) {
        self.quic.path_changed(self.now);
        self.ping();
    }

    /// Its measures.
    #[must_use]
    pub fn stats(&self) -> ConnStats {
        let path = self.quic.stats().path;
        ConnStats {
            rtt: path.rtt,
            window: path.cwnd,
            mtu: path.current_mtu,
            sent: path.sent_packets,
            lost: path.lost_packets,
        }
    }

    fn fault(&mut self, text: &'static str) {
        if self.end.is_none() {
            self.end = Some(End::Fault(text));
        }
        self.open = false;
    }
}

impl End {
    /// What the host hears, and what the peer is told.
    pub(crate) fn into_parts(self) -> (Closed, (u32, Bytes)) {
        match self {
            Self::Close { code, reason } => (Closed::Local { code }, (code, reason)),
            Self::Fault(text) => fault(text),
        }
    }
}

/// The peer broke the rules of the channels.
pub(crate) fn fault(text: &'static str) -> (Closed, (u32, Bytes)) {
    let code = ErrorCode::Protocol as u32;
    let closed = Closed::Transport { code: code.into(), by_peer: false, text: text.into() };
    (closed, (code, Bytes::from_static(text.as_bytes())))
}
