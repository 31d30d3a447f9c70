//! The client's side of a connection.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use ntproto_proto::v2;
use prost::Message as _;

use super::base::Base;
use super::link::{Link, Told};
use super::rules::{Phase, Side};
use super::{Closed, Input, Misuse, Output, PeerError, WaitReason};
use crate::binding::Binding;
use crate::code::ErrorCode;
use crate::crypto::CryptoProvider;
use crate::crypto::identity::DeviceKeys;
use crate::crypto::schedule::NoiseSplit;
use crate::crypto::secret::Secret;
use crate::liveness::{Heartbeat, LONGEST_INTERVAL, SHORTEST_INTERVAL};
use crate::rng::Rng;
use crate::session::handshake::{Answer, Answered, Answerer, Carriage, HandshakeError, Initiator};
use crate::time::{Instant, Now, UnixMillis};
use crate::tx::TxBuf;
use crate::wire::channel::Channel;
use crate::wire::frame::FrameType;
use crate::wire::packet::Packet;

/// Bytes kept of what came before the grant that it follows, on other channels: what QUIC lets one channel have
/// under way.
pub const MAX_OVERTAKING: usize = 512 * 1024;

/// What an application of this layer may ask for.
#[derive(Debug)]
pub enum Command {
    /// Send a packet on MESSAGE or SYNC.
    Send(Channel, Packet),
    /// Ask for a new ticket.
    RefreshTicket,
    /// Move the keys of both directions on.
    UpdateKeys,
    /// Say goodbye.
    Close(ErrorCode),
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// The server showed a certificate of a static key that it holds. [`Event::Granted`] or [`Event::Refused`] follows.
    Certified {
        /// The key.
        server_static: [u8; 32],
        /// When the certificate begins.
        since: UnixMillis,
    },
    /// Authenticated; packets may be sent.
    Granted(v2::Grant),
    /// The server refused, authenticated. [`Event::Closed`] follows.
    Refused(v2::Refusal),
    /// A packet arrived.
    Packet(Channel, Packet),
    /// A new ticket arrived.
    Ticket(v2::Ticket),
    /// It is over. Comes once, last.
    Closed(Closed),
}

impl Told for Event {
    /// The server has proven itself in its answer.
    fn confirmed() -> Option<Self> {
        None
    }

    fn packet(channel: Channel, packet: Packet) -> Self {
        Self::Packet(channel, packet)
    }

    fn ticket_refresh() -> Option<Self> {
        None
    }

    fn ticket(ticket: v2::Ticket) -> Option<Self> {
        Some(Self::Ticket(ticket))
    }

    fn closed(why: Closed) -> Self {
        Self::Closed(why)
    }
}

/// How a client knows its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerIdentity {
    /// By its static key, out of a verified certificate: handshake A.
    Known([u8; 32]),
    /// By the operator's key: the server speaks first and shows its certificate. Handshake B, on TCP only.
    Certified {
        /// The operator's key.
        operator: [u8; 32],
        /// When the certificate that is known already begins: one from before it is not believed. 0 if none is.
        since: UnixMillis,
    },
}

/// What a connection needs to know beside the device.
#[derive(Clone, Copy)]
pub struct Config {
    /// The primitives.
    pub provider: &'static dyn CryptoProvider,
    /// Who the server is.
    pub server: ServerIdentity,
    /// What ties the session to the transport.
    pub binding: Binding,
    /// Between two heartbeats, unless the server's grant says otherwise.
    pub heartbeat: Duration,
}

/// The client's side of one connection, from AUTH_REQ on.
pub struct ClientEndpoint {
    base: Base<Event>,
    config: Config,
    /// What the TLS handshake left, when the session began in early data.
    bound: Option<Binding>,
    step: Step,
    /// What came on other channels before the answer to an early request.
    ahead: [Vec<u8>; Channel::STREAMS.len()],
}

/// How far the handshake is.
enum Step {
    /// AUTH_REQ is sent.
    Asked(Box<Initiator>),
    /// The challenge is awaited.
    Hello(Box<Hello>),
    /// It is answered.
    Answered { server_static: [u8; 32], since: UnixMillis, offered: Vec<String> },
    /// Nothing more is awaited of it.
    Over,
}

/// What the answer to a challenge will be made of.
struct Hello {
    answerer: Answerer,
    device: DeviceKeys,
    request: v2::AuthRequest,
    rng: Rng,
}

impl ClientEndpoint {
    /// Starts the handshake over a transport that is up, or takes early data. `request` is complete but for key
    /// and signature.
    ///
    /// # Errors
    /// [`Misuse::TooLarge`] when the request exceeds what AUTH_REQ may carry, or the server's key is
    /// unusable. [`Misuse::State`] when the server is known by a certificate and the transport is not TCP.
    pub fn new(
        now: Now,
        config: Config,
        device: &DeviceKeys,
        mut request: v2::AuthRequest,
        rng: &mut Rng,
    ) -> Result<Self, Misuse> {
        let carriage = config.binding.transport.carriage();
        let mut base = Base::new(Side::Client, &config.binding, now.mono);
        //= spec: handshake-16
        let early = request.early.take().unwrap_or_default();
        request.early = config.binding.is_early().then_some(early);
        let (step, message) = match config.server {
            ServerIdentity::Known(key) => {
                Initiator::start(config.provider, rng, device, &key, request, carriage)
                    .map(|(initiator, message)| (Step::Asked(Box::new(initiator)), message))
                    .map_err(|_| Misuse::TooLarge)?
            }
            ServerIdentity::Certified { .. } if carriage == Carriage::Frames => return Err(Misuse::State),
            ServerIdentity::Certified { operator, since } => {
                let answerer = Answerer { operator, since, now: now.unix };
                let hello = Hello { answerer, device: device.duplicate(), request, rng: rng.fork() };
                (Step::Hello(Box::new(hello)), Vec::new())
            }
        };
        base.push_handshake(FrameType::AuthReq, &message);
        Ok(Self { base, config, bound: None, step, ahead: Default::default() })
    }

    /// Takes what the transport brings. Never fails: noise ends the connection, as an event.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        self.base.handle(now.mono, &input);
        if let Input::Bound(binding) = input {
            self.bound = Some(binding);
        }
        let Input::Bytes { channel, data } = input else { return };
        if self.is_ahead(channel, data)
            && let Some(ahead) = self.ahead.get_mut(channel.index())
        {
            return ahead.extend_from_slice(data);
        }
        self.read(now, channel, data);
        if self.base.phase() != Phase::Greeting {
            for (channel, data) in Channel::STREAMS.into_iter().zip(core::mem::take(&mut self.ahead)) {
                self.read(now, channel, &data);
            }
        }
    }

    fn read(&mut self, now: Now, channel: Channel, mut data: &[u8]) {
        while let Some(message) = self.base.bytes(now.mono, channel, &mut data) {
            self.answer(now, &message);
        }
    }

    /// Whether these bytes wait for the grant. Its channel may have lost a packet that others have not.
    fn is_ahead(&self, channel: Channel, data: &[u8]) -> bool {
        //= spec: handshake-22
        let awaited = self.config.binding.is_early() && self.base.phase() == Phase::Greeting;
        let held: usize = self.ahead.iter().map(Vec::len).sum();
        awaited && channel != Channel::Control && held + data.len() <= MAX_OVERTAKING
    }

    /// Between two heartbeats: what the server wants, within reason.
    fn interval(&self, grant: &v2::Grant) -> Duration {
        match grant.limits.map_or(0, |limits| limits.heartbeat_ms) {
            0 => self.config.heartbeat,
            ms => Duration::from_millis(ms.into()).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL),
        }
    }

    /// The server's part of the handshake.
    fn answer(&mut self, now: Now, message: &[u8]) {
        let done = match core::mem::replace(&mut self.step, Step::Over) {
            Step::Asked(initiator) => initiator.finish(message).map(|(answer, split)| {
                if matches!(answer, Answer::Granted(_)) {
                    self.seal(now, &split);
                }
                self.judge(now, answer);
            }),
            Step::Hello(hello) => hello.answer(self.config.provider, message).map(|answered| {
                self.base.push_handshake(FrameType::AuthReq, &answered.message);
                self.seal(now, &answered.split);
                self.base.await_grant();
                let Answered { server_static, since, offered, .. } = answered;
                self.step = Step::Answered { server_static, since, offered };
            }),
            Step::Answered { server_static, since, offered } => v2::AuthResponse::decode(message)
                .map_err(|_| HandshakeError::Malformed("not an AuthResponse"))
                .and_then(|response| Answer::read(response, &offered))
                .map(|answer| {
                    self.base.events.push_back(Event::Certified { server_static, since });
                    self.judge(now, answer);
                }),
            Step::Over => Err(HandshakeError::Malformed("one answer too many")),
        };
        if done.is_err() {
            self.base.end(Closed::PeerError(PeerError::Handshake), "");
        }
    }

    fn seal(&mut self, now: Now, split: &NoiseSplit) {
        let Config { provider, binding, heartbeat, .. } = &self.config;
        let heartbeat = Heartbeat::new(now.mono, *heartbeat);
        let carriage = self.base.carriage();
        self.base.seal(Link::new(*provider, Side::Client, carriage, split, binding, heartbeat, now.mono));
        if let Some(binding) = &self.bound {
            self.base.bind(now.mono, binding);
        }
    }

    fn judge(&mut self, now: Now, answer: Answer) {
        match answer {
            Answer::Granted(grant) => {
                let interval = self.interval(&grant);
                if let Some(link) = self.base.keys() {
                    link.heartbeat = Heartbeat::new(now.mono, interval);
                }
                self.base.open();
                self.base.events.push_back(Event::Granted(grant));
            }
            Answer::Refused(refusal) => {
                self.base.end(Closed::Refused(ErrorCode::from_wire(refusal.code)), "");
                self.base.events.push_back(Event::Refused(refusal));
            }
        }
    }

    /// Does what the application asks.
    ///
    /// # Errors
    /// [`Misuse`]; nothing has changed.
    pub fn call(&mut self, now: Now, command: Command) -> Result<(), Misuse> {
        match command {
            Command::Send(channel, packet) => {
                self.base.link().ok_or(Misuse::State)?.push(now.mono, channel, &packet)
            }
            Command::RefreshTicket => {
                let link = self.base.link().ok_or(Misuse::State)?;
                link.push_control(FrameType::TicketRefresh, alloc::vec![]).map_err(|_| Misuse::QueueFull)
            }
            Command::UpdateKeys => {
                self.base.link().ok_or(Misuse::State)?.update_keys(now.mono).map_err(|_| Misuse::QueueFull)
            }
            Command::Close(code) => {
                if self.base.phase() == Phase::Ended {
                    return Err(Misuse::State);
                }
                self.base.end(Closed::Local(code), "");
                Ok(())
            }
        }
    }

    /// What it wants next. `tx: None`: the transport takes nothing now.
    pub fn poll_output(&mut self, now: Now, tx: Option<&mut TxBuf>) -> Output<Event> {
        self.base.poll_output(now.mono, tx)
    }

    /// The next timer and its reason, without draining anything.
    #[must_use]
    pub fn wait(&self) -> (Option<Instant>, WaitReason) {
        self.base.wait()
    }

    /// Whether it has bytes for a writable channel.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        self.base.has_pending()
    }

    /// Bytes of packets waiting on a channel, for backpressure.
    #[must_use]
    pub fn waiting(&self, channel: Channel) -> usize {
        self.base.waiting(channel)
    }

    /// The token of HTTP requests that act for this session; `None`: there is no session, or it is not bound to its
    /// transport yet.
    #[must_use]
    pub fn http_token(&self) -> Option<&Secret<32>> {
        self.base.http_token()
    }

    /// How far it is.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.base.phase()
    }

    /// What the server that ended the connection asked to wait before another.
    #[must_use]
    pub const fn wait_asked(&self) -> Option<Duration> {
        self.base.wait_asked()
    }

    /// Whether its AUTH_REQ is early data, and may be refused as such still.
    #[must_use]
    pub const fn is_early(&self) -> bool {
        self.base.is_early()
    }
}

impl Hello {
    fn answer(
        mut self: Box<Self>,
        provider: &'static dyn CryptoProvider,
        challenge: &[u8],
    ) -> Result<Answered, HandshakeError> {
        let request = core::mem::take(&mut self.request);
        self.answerer.answer(provider, &mut self.rng, &self.device, challenge, request)
    }
}
