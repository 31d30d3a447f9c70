//! An open connection: seals what goes out, opens what comes in, keeps the heartbeat.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use ntproto_proto::v2;
use prost::Message as _;

use super::queue::PacketQueue;
use super::rules::{Phase, Side, Verdict, verdict};
use super::{Closed, MAX_DETAIL, MAX_PACKETS_PER_FRAME, Misuse, PeerError};
use crate::binding::Binding;
use crate::channel::{KeyLimit, Opener, PAYLOAD_OVERHEAD, Sealer};
use crate::code::ErrorCode;
use crate::crypto::CryptoProvider;
use crate::crypto::schedule::{self, Direction, KeySchedule, NoiseSplit};
use crate::crypto::secret::Secret;
use crate::liveness::{Heartbeat, Pulse};
use crate::session::handshake::Carriage;
use crate::time::{Instant, whole_millis};
use crate::tx::TxBuf;
use crate::wire::channel::{Channel, ChannelSet};
use crate::wire::frame::{Flags, FrameType, Header, MAX_PAYLOAD};
use crate::wire::packet::{Kind, Packet};

/// Control frames that may wait. Each answers one of the peer's or is one of our few own: a peer
/// that asks faster than its answers drain is cut off.
const MAX_CONTROL: usize = 64;
/// KEY_UPDATE's payload when the peer should move too.
const UPDATE_TOO: u8 = 1;

/// What either side tells of what an open connection receives.
pub(super) trait Told: Sized {
    /// The first frame that opened: the peer holds the keys. `None`: known already.
    fn confirmed() -> Option<Self>;
    fn packet(channel: Channel, packet: Packet) -> Self;
    /// `None`: this side is not asked.
    fn ticket_refresh() -> Option<Self>;
    /// `None`: this side is given none.
    fn ticket(ticket: v2::Ticket) -> Option<Self>;
    fn closed(why: Closed) -> Self;
}

/// What a frame was, beside the events it caused.
pub(super) enum Heard {
    /// Nothing more.
    Nothing,
    /// The server's answer to a device that answered its challenge.
    Answer(Bytes),
    /// The peer ends the connection.
    End(Closed, Option<Duration>),
}

/// An open connection.
pub(super) struct Link {
    side: Side,
    sealers: [Sealer; 3],
    openers: [Opener; 3],
    control: VecDeque<(FrameType, Vec<u8>)>,
    queues: [PacketQueue; 3],
    pub(super) heartbeat: Heartbeat,
    /// Whether a frame opened.
    opened: bool,
    /// A client's session made in early data, until it is bound: nothing is sealed under its first keys.
    held: bool,
    provider: &'static dyn CryptoProvider,
    http_token: Secret<32>,
    /// Whether the token is that of early data still.
    unbound: bool,
}

impl Link {
    pub(super) fn new(
        provider: &'static dyn CryptoProvider,
        side: Side,
        carriage: Carriage,
        split: &NoiseSplit,
        binding: &Binding,
        heartbeat: Heartbeat,
        now: Instant,
    ) -> Self {
        let schedule = KeySchedule::new(provider, split, binding);
        let (out, inn) = match side {
            Side::Client => (Direction::ClientToServer, Direction::ServerToClient),
            Side::Server => (Direction::ServerToClient, Direction::ClientToServer),
        };
        // One handshake frame went each way on CONTROL, unless it was no frame.
        let before = |channel| u64::from(channel == Channel::Control && carriage == Carriage::Frames);
        let early = binding.is_early();
        let sealer = |c| Sealer::new(provider, c, schedule.channel_key(out, c), before(c), now);
        let opener = |c| Opener::new(provider, c, schedule.channel_key(inn, c), before(c));
        //= spec: keys-3
        let client = side == Side::Client;
        Self {
            side,
            sealers: Channel::STREAMS.map(|c| if early { sealer(c).early() } else { sealer(c) }),
            openers: Channel::STREAMS.map(|c| if early { opener(c).early(client) } else { opener(c) }),
            control: VecDeque::new(),
            queues: Default::default(),
            heartbeat,
            opened: false,
            held: early && client,
            provider,
            http_token: schedule.http_token(),
            unbound: early,
        }
    }

    /// The TLS handshake is complete: a session made in early data moves to keys that its exporter is mixed into.
    pub(super) fn bind(&mut self, now: Instant, binding: &Binding) {
        //= spec: keys-2
        self.sealers.iter_mut().for_each(|s| s.bind(now, &binding.exporter));
        self.openers.iter_mut().for_each(|o| o.bind(&binding.exporter));
        self.held = false;
        if core::mem::take(&mut self.unbound) {
            self.http_token = schedule::bind(self.provider, &self.http_token, &binding.exporter);
        }
    }

    /// What shows at another door that one holds this session. `None`: it is not bound to its transport yet.
    pub(super) fn http_token(&self) -> Option<&Secret<32>> {
        (!self.unbound).then_some(&self.http_token)
    }

    /// Opens a frame and takes it apart into events.
    pub(super) fn receive<E: Told>(
        &mut self,
        now: Instant,
        phase: Phase,
        header: &Header,
        payload: &[u8],
        events: &mut VecDeque<E>,
    ) -> Result<Heard, PeerError> {
        let opener = self.openers.get_mut(header.channel.index()).ok_or(PeerError::Unexpected)?;
        let mut plain = Bytes::from(opener.open_copy(header, payload)?);
        self.heartbeat.heard();
        //= spec: tcp-12
        if phase == Phase::Open && !core::mem::replace(&mut self.opened, true) {
            events.extend(E::confirmed());
        }
        let kind = match verdict(self.side, phase, header.kind, header.flags, header.channel) {
            Verdict::Take(kind) => kind,
            Verdict::Skip | Verdict::Drop => return Ok(Heard::Nothing),
            Verdict::Refuse(_) => return Err(PeerError::Unexpected),
        };
        match kind {
            FrameType::Heartbeat => {
                //= spec: frames-9
                if plain.len() != 8 {
                    return Err(PeerError::Malformed);
                }
                //= spec: liveness-1
                self.push_control(FrameType::HeartbeatAck, plain.to_vec())?;
            }
            FrameType::HeartbeatAck => {
                //= spec: frames-9
                let number = plain.first_chunk().filter(|_| plain.len() == 8).ok_or(PeerError::Malformed)?;
                self.heartbeat.acked(now, u64::from_be_bytes(*number));
            }
            //= spec: frames-9
            FrameType::TicketRefresh if plain.is_empty() => {
                events.push_back(E::ticket_refresh().ok_or(PeerError::Unexpected)?);
            }
            FrameType::TicketIssue => {
                let ticket = v2::Ticket::decode(plain).map_err(|_| PeerError::Malformed)?;
                events.push_back(E::ticket(ticket).ok_or(PeerError::Unexpected)?);
            }
            //= spec: frames-9, sealed-9
            FrameType::KeyUpdate => match plain[..] {
                [UPDATE_TOO] => self.sealers.iter_mut().for_each(|s| s.update(now)),
                [0] => {}
                _ => return Err(PeerError::Malformed),
            },
            FrameType::MsgEncryptedV2 | FrameType::SyncDelta => {
                //= spec: frames-10
                if plain.is_empty() {
                    return Err(crate::wire::packet::PacketError::Empty.into());
                }
                let mut count = 0;
                while !plain.is_empty() {
                    count += 1;
                    if count > MAX_PACKETS_PER_FRAME {
                        return Err(PeerError::TooManyPackets);
                    }
                    events.push_back(E::packet(header.channel, Packet::decode(&mut plain)?));
                }
            }
            FrameType::AuthResp => return Ok(Heard::Answer(plain)),
            FrameType::Error | FrameType::Close => {
                let (why, wait) = read_close(&plain);
                return Ok(Heard::End(why, wait));
            }
            _ => return Err(PeerError::Malformed),
        }
        Ok(Heard::Nothing)
    }

    /// Uses up the numbers of a channel but one.
    #[cfg(test)]
    pub(super) const fn use_up(&mut self, channel: Channel) {
        self.sealers[channel.index()].jump(u64::MAX - 1, 1);
    }

    /// Queues a packet.
    pub(super) fn push(&mut self, now: Instant, channel: Channel, packet: &Packet) -> Result<(), Misuse> {
        if channel == Channel::Control {
            return Err(Misuse::Channel);
        }
        let queue = self.queues.get_mut(channel.index()).ok_or(Misuse::Channel)?;
        if packet.encoded_len() > MAX_PAYLOAD - PAYLOAD_OVERHEAD {
            return Err(Misuse::TooLarge);
        }
        if !queue.has_room() {
            return Err(Misuse::QueueFull);
        }
        queue.push(packet);
        if matches!(packet.kind, Kind::Request(_)) {
            self.heartbeat.asked(now);
        }
        Ok(())
    }

    /// Queues a control frame.
    pub(super) fn push_control(&mut self, kind: FrameType, payload: Vec<u8>) -> Result<(), PeerError> {
        if self.control.len() >= MAX_CONTROL {
            return Err(PeerError::Flood);
        }
        self.control.push_back((kind, payload));
        Ok(())
    }

    /// Queues the farewell in place of everything else on CONTROL and forgets what waits: an
    /// acknowledged message is with its receiver already, all else is asked for again.
    pub(super) fn push_close(&mut self, kind: FrameType, code: ErrorCode, detail: &str, wait: Duration) {
        self.control.clear();
        self.queues = Default::default();
        self.control.push_back((kind, write_close(code, detail, wait)));
    }

    /// Moves every sending key on and asks the peer to do the same.
    pub(super) fn update_keys(&mut self, now: Instant) -> Result<(), PeerError> {
        self.sealers.iter_mut().for_each(|s| s.update(now));
        self.push_control(FrameType::KeyUpdate, alloc::vec![UPDATE_TOO])
    }

    /// Bytes waiting on a channel's queue.
    pub(super) fn waiting(&self, channel: Channel) -> usize {
        self.queues.get(channel.index()).map_or(0, PacketQueue::waiting)
    }

    /// Whether a channel of the set has something to send.
    pub(super) fn pending(&self, writable: ChannelSet) -> Option<Channel> {
        //= spec: quic-7
        if self.held {
            return None;
        }
        //= spec: channels-2
        Channel::STREAMS.into_iter().find(|&c| {
            writable.contains(c)
                && if c == Channel::Control {
                    !self.control.is_empty()
                } else {
                    !self.queues[c.index()].is_empty()
                }
        })
    }

    /// Seals what waits on the most urgent writable channel into `tx`, as much as fits; a frame larger
    /// than the buffer is written whole when it comes first.
    pub(super) fn transmit(
        &mut self,
        now: Instant,
        writable: ChannelSet,
        tx: &mut TxBuf,
    ) -> Result<Option<Channel>, KeyLimit> {
        let Some(channel) = self.pending(writable) else { return Ok(None) };
        let sealer = &mut self.sealers[channel.index()];
        while channel == Channel::Control || !self.queues[channel.index()].is_empty() {
            let out = tx.as_mut_vec();
            let start = Sealer::begin(out);
            let kind = if channel == Channel::Control {
                let Some((kind, payload)) = self.control.pop_front() else {
                    out.truncate(start);
                    break;
                };
                out.extend_from_slice(&payload);
                kind
            } else {
                self.queues[channel.index()].take_frame(out);
                if channel == Channel::Message { FrameType::MsgEncryptedV2 } else { FrameType::SyncDelta }
            };
            //= spec: frames-3, frames-5
            sealer.finish(now, kind, Flags::default(), out, start)?;
            if tx.room() < super::FRAME_TARGET {
                break;
            }
        }
        Ok(Some(channel))
    }

    /// Sends or misses a heartbeat that is due. `true`: it sent one, and gave back the memory of empty queues.
    pub(super) fn tick(&mut self, now: Instant) -> Result<bool, Closed> {
        match self.heartbeat.poll(now) {
            Pulse::Quiet => Ok(false),
            Pulse::Send(n) => {
                self.queues.iter_mut().for_each(PacketQueue::rest);
                self.push_control(FrameType::Heartbeat, n.to_be_bytes().to_vec())
                    .map_err(Closed::PeerError)?;
                Ok(true)
            }
            Pulse::Dead => Err(Closed::Silent),
        }
    }
}

/// The payload of ERROR and CLOSE.
pub(super) fn write_close(code: ErrorCode, detail: &str, wait: Duration) -> Vec<u8> {
    let end = (0..=detail.len().min(MAX_DETAIL)).rev().find(|&n| detail.is_char_boundary(n)).unwrap_or(0);
    let retry_after_ms = whole_millis(wait);
    v2::Error { code: code as u32, detail: detail[..end].into(), retry_after_ms }.encode_to_vec()
}

/// Reads one; whatever it holds, the connection is over. It may say how long to wait before the next.
pub(super) fn read_close(payload: &[u8]) -> (Closed, Option<Duration>) {
    let error = v2::Error::decode(payload).ok();
    let wait = error.as_ref().filter(|e| e.retry_after_ms > 0);
    let wait = wait.map(|e| Duration::from_millis(e.retry_after_ms.into()));
    //= spec: errors-1, frames-12
    (Closed::Peer(error.and_then(|e| ErrorCode::from_wire(e.code))), wait)
}
