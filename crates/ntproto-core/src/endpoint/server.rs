//! The server's side of a connection.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;

use ntproto_proto::v2;
use prost::Message as _;

use super::base::Base;
use super::link::{Link, Told};
use super::rules::{Phase, Side};
use super::{Closed, Input, Misuse, Output, PeerError, WaitReason};
use crate::binding::{Binding, TransportId};
use crate::code::ErrorCode;
use crate::crypto::CryptoProvider;
use crate::crypto::identity::ServerKeys;
use crate::crypto::schedule::NoiseSplit;
use crate::crypto::secret::Secret;
use crate::liveness::Heartbeat;
use crate::rng::Rng;
use crate::session::handshake::{
    AuthClaims, Carriage, Challenge, Ephemeral, HandshakeError, Reply, Responder,
};
use crate::time::{Instant, Now};
use crate::tx::TxBuf;
use crate::wire::channel::Channel;
use crate::wire::frame::FrameType;
use crate::wire::packet::Packet;

/// What the layer above decides.
#[derive(Debug)]
pub enum Command {
    /// Answer an [`Event::Hello`].
    Challenge(Ephemeral),
    /// Let the device in. The grant's ticket bounds the session until it is renewed.
    Grant(v2::Grant),
    /// Keep it out; the connection ends.
    Refuse(v2::Refusal),
    /// Send a packet on MESSAGE or SYNC.
    Send(Channel, Packet),
    /// Answer a [`Event::TicketRefresh`]. `server_time_ms` is now.
    IssueTicket {
        /// The new ticket.
        ticket: v2::Ticket,
        /// The server's clock.
        server_time_ms: u64,
    },
    /// Move the keys of both directions on.
    UpdateKeys,
    /// Say goodbye.
    Close(ErrorCode),
    /// Say goodbye with RETRY_AFTER: the client may come again after this time.
    Defer(Duration),
}

/// What happened.
pub enum Event {
    /// A client that does not know the server's key, on TCP: answer with [`Command::Challenge`].
    Hello,
    /// A device asks to come in: answer with [`Command::Grant`] or [`Command::Refuse`]. Its signature
    /// is verified; what its credential is worth is not.
    AuthRequest(Box<AuthClaims>),
    /// The first sealed frame arrived, of whatever type: who sent AUTH_REQ holds the keys, so it was no
    /// replay. Comes once, before whatever the frame held.
    Confirmed,
    /// A packet arrived.
    Packet(Channel, Packet),
    /// The client wants a new ticket.
    TicketRefresh,
    /// It is over. Comes once, last.
    Closed(Closed),
}

impl Told for Event {
    fn confirmed() -> Option<Self> {
        Some(Self::Confirmed)
    }

    fn packet(channel: Channel, packet: Packet) -> Self {
        Self::Packet(channel, packet)
    }

    fn ticket_refresh() -> Option<Self> {
        Some(Self::TicketRefresh)
    }

    fn ticket(_: v2::Ticket) -> Option<Self> {
        None
    }

    fn closed(why: Closed) -> Self {
        Self::Closed(why)
    }
}

/// The server's side of one connection.
pub struct ServerEndpoint {
    base: Base<Event>,
    provider: &'static dyn CryptoProvider,
    keys: Arc<ServerKeys>,
    binding: Binding,
    heartbeat: Duration,
    /// Whether AUTH_REQ says that it was early data.
    early: bool,
    step: Step,
}

/// How far the handshake is.
enum Step {
    /// The client's first message is awaited, or its claims are weighed after a challenge.
    Idle,
    /// It said hello.
    Hello,
    /// The answer to the challenge is awaited.
    Challenged(Box<Challenge>),
    /// AUTH_REQ is weighed.
    Asked(Box<Reply>),
}

impl ServerEndpoint {
    /// Waits for the AUTH_REQ of a transport that is up, or takes early data.
    #[must_use]
    pub fn new(
        now: Now,
        provider: &'static dyn CryptoProvider,
        keys: Arc<ServerKeys>,
        binding: Binding,
        heartbeat: Duration,
    ) -> Self {
        let base = Base::new(Side::Server, &binding, now.mono);
        Self { base, provider, keys, binding, heartbeat, early: false, step: Step::Idle }
    }

    /// Takes what the transport brings. Never fails: noise ends the connection, as an event.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        self.base.handle(now.mono, &input);
        if let Input::Bound(binding) = input {
            self.binding = binding;
        }
        if let Input::Bytes { channel, mut data } = input {
            while let Some(message) = self.base.bytes(now.mono, channel, &mut data) {
                self.asked(now, &message);
            }
        }
    }

    /// The client's part of the handshake.
    fn asked(&mut self, now: Now, message: &[u8]) {
        let carriage = self.base.carriage();
        let done = match core::mem::replace(&mut self.step, Step::Idle) {
            //= spec: tcp-5
            Step::Idle if message.is_empty() && carriage == Carriage::Nthd => {
                self.step = Step::Hello;
                self.base.events.push_back(Event::Hello);
                Ok(())
            }
            Step::Idle => Responder::receive(self.provider, &self.keys, message, carriage).map(|pending| {
                let (claims, reply) = pending.into_parts();
                self.step = Step::Asked(Box::new(reply));
                self.early = claims.request.early.is_some();
                match self.binding.transport {
                    //= spec: handshake-16
                    TransportId::QuicEarly if !self.early => {
                        self.base.end(Closed::PeerError(PeerError::TooEarly), "");
                    }
                    //= spec: handshake-17
                    TransportId::Tcp | TransportId::Web if self.early => {
                        self.base.end(Closed::PeerError(PeerError::Handshake), "");
                    }
                    _ => self.weigh(claims),
                }
            }),
            Step::Challenged(challenge) => {
                challenge.receive(self.provider, &self.keys, message).map(|(claims, split)| {
                    self.seal(now, &split);
                    self.weigh(claims);
                })
            }
            Step::Hello | Step::Asked(_) => Err(HandshakeError::Malformed("one message too many")),
        };
        //= spec: handshake-5
        if done.is_err() {
            self.base.end(Closed::PeerError(PeerError::Handshake), "");
        }
    }

    fn weigh(&mut self, claims: AuthClaims) {
        self.base.decide();
        //= spec: handshake-6
        self.base.events.push_back(Event::AuthRequest(Box::new(claims)));
    }

    fn seal(&mut self, now: Now, split: &NoiseSplit) {
        let heartbeat = Heartbeat::new(now.mono, self.heartbeat);
        let (side, carriage) = (Side::Server, self.base.carriage());
        // Early data that was lost is sent again later: the request says which keys were meant.
        let binding = if self.early { &Binding::EARLY } else { &self.binding };
        self.base.seal(Link::new(self.provider, side, carriage, split, binding, heartbeat, now.mono));
        if self.early && !self.binding.is_early() {
            self.base.bind(now.mono, &self.binding);
        }
    }

    /// Does what the layer above decides.
    ///
    /// # Errors
    /// [`Misuse`]; nothing has changed.
    pub fn call(&mut self, now: Now, rng: &mut Rng, command: Command) -> Result<(), Misuse> {
        match command {
            Command::Challenge(ephemeral) => {
                let (Step::Hello, Phase::Greeting) = (&self.step, self.base.phase()) else {
                    return Err(Misuse::State);
                };
                match Challenge::start(self.provider, &self.keys, ephemeral) {
                    Ok((challenge, message)) => {
                        self.step = Step::Challenged(Box::new(challenge));
                        self.base.push_handshake(FrameType::AuthResp, &message);
                    }
                    Err(_) => self.base.end(Closed::Local(ErrorCode::Handshake), "no certificate to show"),
                }
                Ok(())
            }
            Command::Grant(grant) => {
                let expires = grant.ticket.as_ref().map(|t| lifetime(now.mono, t, grant.server_time_ms));
                self.answer(now, rng, v2::auth_response::Answer::Grant(grant))?;
                self.base.open();
                self.base.ticket_deadline = expires;
                Ok(())
            }
            Command::Refuse(refusal) => {
                let code = ErrorCode::from_wire(refusal.code);
                self.answer(now, rng, v2::auth_response::Answer::Refusal(refusal))?;
                self.base.end(Closed::Refused(code), "");
                Ok(())
            }
            Command::Send(channel, packet) => {
                self.base.link().ok_or(Misuse::State)?.push(now.mono, channel, &packet)
            }
            Command::IssueTicket { ticket, server_time_ms } => {
                let payload = ticket.encode_to_vec();
                let link = self.base.link().ok_or(Misuse::State)?;
                link.push_control(FrameType::TicketIssue, payload).map_err(|_| Misuse::QueueFull)?;
                self.base.ticket_deadline = Some(lifetime(now.mono, &ticket, server_time_ms));
                Ok(())
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
            Command::Defer(wait) => {
                if self.base.phase() == Phase::Ended {
                    return Err(Misuse::State);
                }
                self.base.defer(wait);
                Ok(())
            }
        }
    }

    fn answer(&mut self, now: Now, rng: &mut Rng, answer: v2::auth_response::Answer) -> Result<(), Misuse> {
        if self.base.phase() != Phase::Deciding {
            return Err(Misuse::State);
        }
        let response = v2::AuthResponse { answer: Some(answer) };
        match core::mem::replace(&mut self.step, Step::Idle) {
            Step::Asked(reply) => {
                let (message, split) = reply.answer(rng, response).map_err(|_| Misuse::TooLarge)?;
                self.base.push_handshake(FrameType::AuthResp, &message);
                if let Some(split) = split {
                    self.seal(now, &split);
                }
            }
            // After a challenge both sides have keys.
            _ => {
                //= spec: tcp-10
                let link = self.base.keys().ok_or(Misuse::State)?;
                link.push_control(FrameType::AuthResp, response.encode_to_vec())
                    .map_err(|_| Misuse::QueueFull)?;
            }
        }
        Ok(())
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

    /// Whether the transport has taken everything: nothing waits, and no channel is blocked.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        self.base.is_handed_over()
    }

    /// Bytes of packets waiting on a channel, for backpressure.
    #[must_use]
    pub fn waiting(&self, channel: Channel) -> usize {
        self.base.waiting(channel)
    }

    #[cfg(test)]
    pub(super) const fn base_mut(&mut self) -> &mut Base<Event> {
        &mut self.base
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
}

/// When a ticket runs out, on the monotonic clock.
fn lifetime(now: Instant, ticket: &v2::Ticket, server_time_ms: u64) -> Instant {
    now + Duration::from_millis(ticket.expires_ms.saturating_sub(server_time_ms))
}
