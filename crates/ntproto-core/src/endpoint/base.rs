//! What both sides share: reassembly, the clear frames of the handshake, ending, timers, sending.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::time::Duration;

use super::link::{Heard, Link, Told, read_close, write_close};
use super::reassembly::Reassembler;
use super::rules::{Phase, Side, Verdict, verdict};
use super::{Closed, Input, Output, PeerError, WaitReason};
use crate::binding::Binding;
use crate::code::ErrorCode;
use crate::crypto::secret::Secret;
use crate::session::handshake::{Carriage, MAX_AUTH_PAYLOAD};
use crate::time::Instant;
use crate::tx::TxBuf;
use crate::wire::channel::{Channel, ChannelSet};
use crate::wire::frame::{
    Flags, FrameError, FrameType, Header, MAX_PAYLOAD, MAX_PAYLOAD_CLEAR, VERSION, encode,
};
use crate::wire::nthd::{self, NthdError};

/// What one step of reading did.
enum Taken {
    /// A frame.
    Frame,
    /// All there is; more is needed.
    All,
    /// The peer's handshake message.
    Handshake(Vec<u8>),
    /// The peer ended the connection, and may have said when to come again.
    End(Closed, Option<Duration>),
}

/// The part of an endpoint that does not care which side it is.
pub(super) struct Base<E> {
    side: Side,
    carriage: Carriage,
    phase: Phase,
    rx: [Reassembler; 3],
    writable: ChannelSet,
    /// Frames in the clear that wait on CONTROL, and how many were ever queued.
    clear: Vec<u8>,
    clear_seq: u64,
    clear_received: u64,
    link: Option<Box<Link>>,
    /// Whether the transport's handshake is under way still: what comes is early data.
    early: bool,
    auth_deadline: Option<Instant>,
    pub(super) ticket_deadline: Option<Instant>,
    /// Set when it ended and nobody was told yet.
    closed: Option<Closed>,
    wait_asked: Option<Duration>,
    /// What is to be told, in order.
    pub(super) events: VecDeque<E>,
}

impl<E: Told> Base<E> {
    pub(super) fn new(side: Side, binding: &Binding, now: Instant) -> Self {
        Self {
            side,
            carriage: binding.transport.carriage(),
            early: binding.is_early(),
            phase: Phase::Greeting,
            rx: Default::default(),
            writable: ChannelSet::ALL,
            clear: Vec::new(),
            clear_seq: 0,
            clear_received: 0,
            link: None,
            auth_deadline: Some(now + super::AUTH_TIMEOUT),
            ticket_deadline: None,
            closed: None,
            wait_asked: None,
            events: VecDeque::new(),
        }
    }

    pub(super) const fn phase(&self) -> Phase {
        self.phase
    }

    /// The link, while the connection is open.
    pub(super) fn link(&mut self) -> Option<&mut Link> {
        match self.phase {
            Phase::Open => self.link.as_deref_mut(),
            _ => None,
        }
    }

    /// Bytes waiting on a channel.
    pub(super) fn waiting(&self, channel: Channel) -> usize {
        self.link.as_ref().map_or(0, |l| l.waiting(channel))
    }

    /// How the handshake travels.
    pub(super) const fn carriage(&self) -> Carriage {
        self.carriage
    }

    /// The credential is being weighed.
    pub(super) fn decide(&mut self) {
        self.phase = Phase::Deciding;
    }

    /// There are keys: from here on all is sealed.
    pub(super) fn seal(&mut self, link: Link) {
        self.link = Some(Box::new(link));
    }

    /// The challenge is answered; the server's word is awaited.
    pub(super) fn await_grant(&mut self) {
        self.phase = Phase::Granting;
    }

    /// Authenticated, with the keys of [`seal`](Self::seal).
    pub(super) fn open(&mut self) {
        self.phase = Phase::Open;
        if !self.early {
            self.auth_deadline = None;
        }
    }

    /// Whether what comes is early data.
    pub(super) const fn is_early(&self) -> bool {
        self.early
    }

    /// The transport's handshake is complete.
    pub(super) fn bind(&mut self, now: Instant, binding: &Binding) {
        self.early = false;
        if let Some(link) = &mut self.link {
            link.bind(now, binding);
        }
        if self.phase == Phase::Open {
            self.auth_deadline = None;
        }
    }

    /// What HTTP requests show to act for this session, while it is open and bound.
    pub(super) fn http_token(&self) -> Option<&Secret<32>> {
        self.link.as_ref().filter(|_| self.phase == Phase::Open)?.http_token()
    }

    /// The link, whatever the phase.
    pub(super) fn keys(&mut self) -> Option<&mut Link> {
        self.link.as_deref_mut()
    }

    /// Queues a handshake message: a frame of this type, or an NTHD message.
    pub(super) fn push_handshake(&mut self, kind: FrameType, message: &[u8]) {
        match self.carriage {
            Carriage::Frames => self.push_clear(kind, message),
            Carriage::Nthd => {
                self.clear.extend_from_slice(&nthd::header(message.len() as u32));
                self.clear.extend_from_slice(message);
            }
        }
    }

    /// Queues a frame in the clear.
    pub(super) fn push_clear(&mut self, kind: FrameType, payload: &[u8]) {
        self.clear_seq += 1;
        encode(kind as u8, Flags::default(), Channel::Control, self.clear_seq, payload, &mut self.clear);
    }

    /// Takes what the transport brings but for bytes, which [`bytes`](Self::bytes) takes.
    pub(super) fn handle(&mut self, now: Instant, input: &Input<'_>) {
        match input {
            Input::Bytes { .. } => {}
            Input::Bound(binding) => self.bind(now, binding),
            Input::Writable(set) => self.writable = *set,
            Input::TransportClosed => self.end(Closed::Transport, ""),
            Input::Timeout => self.tick(now),
        }
    }

    /// Takes frames out of `data`. `Some`: the peer's handshake message, and `data` is not at its end.
    pub(super) fn bytes(&mut self, now: Instant, channel: Channel, data: &mut &[u8]) -> Option<Vec<u8>> {
        loop {
            let told = self.events.len();
            match self.frame(now, channel, data) {
                Ok(Taken::Frame) => {}
                Ok(Taken::All) => return None,
                Ok(Taken::Handshake(message)) => return Some(message),
                Ok(Taken::End(why, wait)) => {
                    self.wait_asked = wait;
                    self.end(why, "");
                }
                Err(e) => {
                    // A bad frame tells nothing, not even what it held before it turned bad.
                    self.events.truncate(told);
                    self.refuse(e);
                }
            }
        }
    }

    fn frame(&mut self, now: Instant, channel: Channel, data: &mut &[u8]) -> Result<Taken, PeerError> {
        //= spec: frames-1
        let max = if self.link.is_some() { MAX_PAYLOAD } else { MAX_PAYLOAD_CLEAR };
        //= spec: frames-6
        let Some(rx) = self.rx.get_mut(channel.index()).filter(|_| self.phase != Phase::Ended) else {
            *data = &[];
            return Ok(Taken::All);
        };
        //= spec: handshake-15
        let too_early = self.early && self.side == Side::Server;
        if too_early && !data.is_empty() && (channel != Channel::Control || self.phase != Phase::Greeting) {
            return Err(PeerError::TooEarly);
        }
        if let Some(link) = &mut self.link {
            //= spec: frames-5
            let (phase, events) = (self.phase, &mut self.events);
            let seen = rx.next(channel, data, max, |header, payload| {
                link.receive(now, phase, header, payload, events)
            })?;
            return Ok(match seen.transpose()? {
                None => Taken::All,
                Some(Heard::Nothing) => Taken::Frame,
                Some(Heard::Answer(answer)) => Taken::Handshake(answer.into()),
                Some(Heard::End(why, wait)) => Taken::End(why, wait),
            });
        }
        //= spec: tcp-1
        if self.carriage == Carriage::Nthd && rx.first(data).is_some_and(|byte| byte != VERSION) {
            return match rx.next_message(data, MAX_AUTH_PAYLOAD)? {
                None => Ok(Taken::All),
                Some(message) if self.phase == Phase::Greeting => Ok(Taken::Handshake(message)),
                Some(_) => Err(PeerError::Unexpected),
            };
        }
        match rx.next(channel, data, max, |header, payload| (*header, payload.to_vec()))? {
            None => Ok(Taken::All),
            Some((header, payload)) => self.clear_frame(&header, payload),
        }
    }

    fn clear_frame(&mut self, header: &Header, payload: Vec<u8>) -> Result<Taken, PeerError> {
        self.clear_received += 1;
        if header.seq != self.clear_received {
            return Err(PeerError::Unexpected);
        }
        match verdict(self.side, self.phase, header.kind, header.flags, header.channel) {
            Verdict::Take(FrameType::AuthReq | FrameType::AuthResp) if self.carriage == Carriage::Nthd => {
                Err(PeerError::Unexpected)
            }
            Verdict::Take(FrameType::AuthReq | FrameType::AuthResp) => Ok(Taken::Handshake(payload)),
            //= spec: handshake-15
            Verdict::Take(_) | Verdict::Refuse(_) if self.early && self.side == Side::Server => {
                Err(PeerError::TooEarly)
            }
            Verdict::Take(_) => {
                let (why, wait) = read_close(&payload);
                Ok(Taken::End(why, wait))
            }
            Verdict::Skip | Verdict::Drop => Ok(Taken::Frame),
            Verdict::Refuse(_) => Err(PeerError::Unexpected),
        }
    }

    /// Ends the connection, once. The farewell stays to be sent unless the peer is past hearing it.
    pub(super) fn end(&mut self, why: Closed, detail: &str) {
        self.end_for(why, detail, Duration::ZERO);
    }

    /// Ends it: the peer may come again after `wait`.
    pub(super) fn defer(&mut self, wait: Duration) {
        self.end_for(Closed::Local(ErrorCode::RetryAfter), "too many connections", wait);
    }

    /// What the peer that ended the connection asked to wait.
    pub(super) const fn wait_asked(&self) -> Option<Duration> {
        self.wait_asked
    }

    fn end_for(&mut self, why: Closed, detail: &str, wait: Duration) {
        if self.phase == Phase::Ended {
            return;
        }
        let kind = match why {
            Closed::Local(_) | Closed::TicketExpired => Some(FrameType::Close),
            Closed::PeerError(_) | Closed::AuthTimeout => Some(FrameType::Error),
            Closed::Peer(_) | Closed::Refused(_) | Closed::Silent | Closed::KeyLimit | Closed::Transport => {
                None
            }
        };
        // A refusal after a challenge is itself sealed, and has yet to leave.
        let refusal = matches!(why, Closed::Refused(_)) && self.side == Side::Server;
        match (kind, &mut self.link) {
            (Some(kind), Some(link)) => link.push_close(kind, why.code(), detail, wait),
            //= spec: tcp-4
            //= spec: quic-7
            (Some(_), None) if self.early && self.side == Side::Client => {}
            (Some(kind), None) => self.push_clear(kind, &write_close(why.code(), detail, wait)),
            (None, _) if refusal => {}
            (None, _) => self.link = None,
        }
        self.phase = Phase::Ended;
        self.rx = Default::default();
        self.auth_deadline = None;
        self.ticket_deadline = None;
        self.closed = Some(why);
    }

    /// Ends it for what the peer did. One that speaks another version is told which is spoken here.
    fn refuse(&mut self, error: PeerError) {
        let detail = match error {
            PeerError::Frame(version @ FrameError::Version(_)) => version.to_string(),
            PeerError::Nthd(version @ NthdError::Version(_)) => version.to_string(),
            _ => String::new(),
        };
        self.end(Closed::PeerError(error), &detail);
    }

    /// What it wants next.
    pub(super) fn poll_output(&mut self, now: Instant, tx: Option<&mut TxBuf>) -> Output<E> {
        if self.wait().0.is_some_and(|at| now >= at) {
            self.tick(now);
        }
        if let Some(event) = self.events.pop_front() {
            return Output::Event(event);
        }
        if let Some(channel) = tx.and_then(|tx| self.transmit(now, tx)) {
            return Output::Transmit { channel };
        }
        if let Some(why) = self.closed.take() {
            return Output::Event(E::closed(why));
        }
        let (at, why) = self.wait();
        Output::Wait { at, why }
    }

    /// Does what time demands.
    fn tick(&mut self, now: Instant) {
        let passed = |at: Option<Instant>| at.is_some_and(|at| now >= at);
        if passed(self.auth_deadline) {
            self.end(Closed::AuthTimeout, "the handshake took too long");
        } else if passed(self.ticket_deadline) {
            self.end(Closed::TicketExpired, "the ticket ran out");
        } else if let Some(link) = self.link() {
            match link.tick(now) {
                Ok(true) => self.rx.iter_mut().for_each(Reassembler::rest),
                Ok(false) => {}
                Err(why) => self.end(why, ""),
            }
        }
    }

    /// Writes what is most urgent.
    fn transmit(&mut self, now: Instant, tx: &mut TxBuf) -> Option<Channel> {
        if !self.clear.is_empty() && self.writable.contains(Channel::Control) {
            tx.as_mut_vec().append(&mut self.clear);
            self.clear.shrink_to_fit();
            return Some(Channel::Control);
        }
        match self.link.as_mut()?.transmit(now, self.writable, tx) {
            Ok(channel) => channel,
            Err(_) => {
                //= spec: sealed-11
                self.end(Closed::KeyLimit, "");
                None
            }
        }
    }

    /// Whether bytes wait for a writable channel.
    pub(super) fn has_pending(&self) -> bool {
        (!self.clear.is_empty() && self.writable.contains(Channel::Control))
            || self.link.as_ref().is_some_and(|l| l.pending(self.writable).is_some())
    }

    /// Whether nothing waits and the transport holds nothing back.
    pub(super) fn is_handed_over(&self) -> bool {
        Channel::STREAMS.into_iter().all(|c| self.writable.contains(c)) && !self.has_pending()
    }

    /// The next timer.
    pub(super) fn wait(&self) -> (Option<Instant>, WaitReason) {
        let heartbeat = match (&self.link, self.phase) {
            (Some(link), Phase::Open) => Some(link.heartbeat.deadline()),
            _ => None,
        };
        [
            (self.auth_deadline, WaitReason::Authentication),
            (self.ticket_deadline, WaitReason::TicketExpiry),
            (heartbeat, WaitReason::Heartbeat),
        ]
        .into_iter()
        .filter(|(at, _)| at.is_some())
        .min_by_key(|(at, _)| *at)
        .unwrap_or((None, WaitReason::Idle))
    }
}
