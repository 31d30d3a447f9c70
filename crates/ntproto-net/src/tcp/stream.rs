//! One TCP connection: channels in, one buffer at a time out.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;
use ntproto_core::time::Instant;
use ntproto_core::wire::channel::{Channel, ChannelSet};
use ntproto_core::wire::demux::{Demux, Piece};

use crate::StreamStep;

/// Bytes held for all channels before no more are read: what QUIC gives one channel. A channel that nobody reads
/// holds the others back only beyond it.
pub const WINDOW: usize = 512 * 1024;

/// What a held piece costs beside its bytes: its place in the queue and its allocation.
const PIECE_COST: usize = 64;

/// Where a connection came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Somebody connected.
    Accepted,
    /// It was dialled, and must be up by then.
    Dialled {
        /// The deadline.
        until: Instant,
    },
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// To be dialled.
    New,
    Dialling,
    Open,
    /// Somebody else serves it.
    Elsewhere,
    /// Closed here; what was written has yet to leave.
    Closing {
        code: u32,
    },
}

/// A connection, as seen inside [`Endpoint::with`](crate::Endpoint::with).
pub struct Stream {
    remote: SocketAddr,
    direction: Direction,
    phase: Phase,
    /// The host has it, or was asked for it.
    known: bool,
    demux: Demux,
    /// Bytes not read yet, by channel.
    held: [VecDeque<Bytes>; Channel::STREAMS.len()],
    held_len: usize,
    /// The host was asked to read.
    reading: bool,
    /// To be written, once the host has written what it was given before.
    out: Bytes,
    writing: bool,
    /// Channels that were refused.
    blocked: ChannelSet,
    /// The gate counts it.
    half_open: bool,
    told_end: bool,
    queued: bool,
}

impl Stream {
    pub(crate) fn new(remote: SocketAddr, direction: Direction) -> Self {
        let accepted = direction == Direction::Accepted;
        Self {
            remote,
            direction,
            phase: if accepted { Phase::Open } else { Phase::New },
            known: accepted,
            demux: Demux::default(),
            held: Default::default(),
            held_len: 0,
            reading: false,
            out: Bytes::new(),
            writing: false,
            blocked: ChannelSet::NONE,
            half_open: accepted,
            told_end: false,
            queued: false,
        }
    }

    // ── the host's side ─────────────────────────────────────────────────────────────────────────

    pub(crate) fn connected(&mut self) -> Option<Instant> {
        match (self.phase, self.direction) {
            (Phase::Dialling, Direction::Dialled { until }) => {
                self.phase = Phase::Open;
                Some(until)
            }
            _ => None,
        }
    }

    /// Takes bytes apart. Gives the channels that had none before.
    pub(crate) fn receive(&mut self, bytes: &Bytes) -> impl Iterator<Item = Channel> + use<> {
        self.reading = false;
        let mut readable = ChannelSet::NONE;
        if self.phase == Phase::Open {
            let mut data = &bytes[..];
            while let Some((channel, piece)) = self.demux.next(&mut data) {
                // A frame of a channel that TCP does not carry: CONTROL's reader refuses it.
                let channel = if channel == Channel::Media { Channel::Control } else { channel };
                let piece = match piece {
                    // A small part would keep all of a large read alive for as long as nobody reads it.
                    Piece::Borrowed(part) if part.len() >= bytes.len() / 2 => bytes.slice_ref(part),
                    part => Bytes::copy_from_slice(&part),
                };
                self.held_len += piece.len() + PIECE_COST;
                self.held[channel.index()].push_back(piece);
                readable = readable.with(channel);
            }
        }
        Channel::STREAMS.into_iter().filter(move |channel| readable.contains(*channel))
    }

    /// What was given to the host is with the system. Gives the channels that were refused since.
    pub(crate) fn written(&mut self) -> impl Iterator<Item = Channel> + use<> {
        self.writing = false;
        let blocked = if self.phase == Phase::Open {
            std::mem::replace(&mut self.blocked, ChannelSet::NONE)
        } else {
            ChannelSet::NONE
        };
        Channel::STREAMS.into_iter().filter(move |channel| blocked.contains(*channel))
    }

    pub(crate) fn next_step(&mut self) -> Option<StreamStep> {
        match self.phase {
            Phase::New => {
                self.phase = Phase::Dialling;
                self.known = true;
                Some(StreamStep::Dial(self.remote))
            }
            Phase::Dialling | Phase::Elsewhere => None,
            _ if !self.out.is_empty() && !self.writing => {
                self.writing = true;
                Some(StreamStep::Write(std::mem::take(&mut self.out)))
            }
            Phase::Closing { .. } if self.out.is_empty() => Some(StreamStep::Close),
            Phase::Open if !self.reading && self.held_len < WINDOW => {
                self.reading = true;
                Some(StreamStep::Read)
            }
            Phase::Open | Phase::Closing { .. } => None,
        }
    }

    /// What it was asked to write is not written: the peer understands none of it.
    pub(crate) fn hand_over(&mut self) -> bool {
        let taken = self.phase == Phase::Open;
        if taken {
            self.phase = Phase::Elsewhere;
            self.out = Bytes::new();
        }
        taken
    }

    // ── the table's side ────────────────────────────────────────────────────────────────────────

    pub(crate) const fn direction(&self) -> Direction {
        self.direction
    }

    pub(crate) fn is_dialling(&self) -> bool {
        matches!(self.phase, Phase::New | Phase::Dialling)
    }

    /// Whether the host has ever heard of it.
    pub(crate) const fn is_known(&self) -> bool {
        self.known
    }

    pub(crate) const fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. })
    }

    /// Whether it may be visited.
    pub(crate) const fn is_ours(&self) -> bool {
        !matches!(self.phase, Phase::Closing { .. } | Phase::Elsewhere)
    }

    pub(crate) const fn close_code(&self) -> Option<u32> {
        match self.phase {
            Phase::Closing { code } => Some(code),
            _ => None,
        }
    }

    pub(crate) const fn is_half_open(&self) -> bool {
        self.half_open
    }

    /// `true` the first time.
    pub(crate) fn tell_end(&mut self) -> bool {
        !std::mem::replace(&mut self.told_end, true)
    }

    /// `true` if it was not queued.
    pub(crate) fn queue(&mut self) -> bool {
        !std::mem::replace(&mut self.queued, true)
    }

    pub(crate) fn unqueue(&mut self) {
        self.queued = false;
    }

    // ── the visitor's side ──────────────────────────────────────────────────────────────────────

    /// Where the peer is.
    #[must_use]
    pub const fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// The peer has proven who it is: it no longer counts as half-open.
    pub const fn settle(&mut self) {
        self.half_open = false;
    }

    /// See [`Conn::write`](crate::Conn::write).
    pub(crate) fn write(&mut self, channel: Channel, data: Bytes) -> usize {
        if self.phase != Phase::Open || channel == Channel::Media || data.is_empty() {
            return 0;
        }
        if self.writing || !self.out.is_empty() {
            self.blocked = self.blocked.with(channel);
            return 0;
        }
        let len = data.len();
        self.out = data;
        len
    }

    /// See [`Conn::read_chunks`](crate::Conn::read_chunks).
    pub(crate) fn read_chunks(
        &mut self,
        channel: Channel,
        max: usize,
        mut take: impl FnMut(Bytes) -> bool,
    ) -> usize {
        let Some(held) = self.held.get_mut(channel.index()) else { return 0 };
        let mut done = 0;
        while done < max
            && let Some(mut chunk) = held.pop_front()
        {
            // What is left of one that is cut goes on costing its place.
            if chunk.len() > max - done {
                held.push_front(chunk.split_off(max - done));
            } else {
                self.held_len -= PIECE_COST;
            }
            done += chunk.len();
            self.held_len -= chunk.len();
            if !take(chunk) {
                break;
            }
        }
        done
    }

    pub(crate) fn close(&mut self, code: u32) {
        if !self.is_closing() {
            // One that is not up has nobody to tell.
            if self.is_dialling() {
                self.out = Bytes::new();
            }
            self.phase = Phase::Closing { code };
            self.held = Default::default();
            self.held_len = 0;
        }
    }
}
