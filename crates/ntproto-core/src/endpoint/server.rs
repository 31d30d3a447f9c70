//! The server's side of a connection.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;

use ntproto_proto::v2;

use super::base::Base;
use super::link::{Link, Told};
use super::rules::{Phase, Side};
use super::{Closed, Input, Misuse, Output, PeerError, WaitReason};
use crate::binding::Binding;
use crate::code::ErrorCode;
use crate::crypto::CryptoProvider;
use crate::crypto::identity::ServerKeys;
use crate::liveness::Heartbeat;
use crate::rng::Rng;
use crate::session::handshake::{AuthClaims, Reply, Responder};
use crate::time::{Instant, Now};
use crate::tx::TxBuf;
use crate::wire::channel::Channel;
use crate::wire::frame::FrameType;
use crate::wire::packet::Packet;

/// What the layer above decides.
#[derive(Debug)]
pub enum Command {
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
}

/// What happened.
pub enum Event {
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
    reply: Option<Box<Reply>>,
}

impl ServerEndpoint {
    /// Waits for the AUTH_REQ of a transport that is up.
    #[must_use]
    pub fn new(
        now: Now,
        provider: &'static dyn CryptoProvider,
        keys: Arc<ServerKeys>,
        binding: Binding,
        heartbeat: Duration,
    ) -> Self {
        Self { base: Base::new(Side::Server, now.mono), provider, keys, binding, heartbeat, reply: None }
    }

    /// Takes what the transport brings. Never fails: noise ends the connection, as an event.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        self.base.handle(now.mono, &input);
        if let Input::Bytes { channel, mut data } = input {
            while let Some(message) = self.base.bytes(now.mono, channel, &mut data) {
                self.asked(&message);
            }
        }
    }

    fn asked(&mut self, message: &[u8]) {
        match Responder::receive(self.provider, &self.keys, message) {
            Ok(pending) => {
                self.base.decide();
                let (claims, reply) = pending.into_parts();
                //= spec: handshake-6
                self.base.events.push_back(Event::AuthRequest(Box::new(claims)));
                self.reply = Some(Box::new(reply));
            }
            //= spec: handshake-5
            Err(_) => self.base.end(Closed::PeerError(PeerError::Handshake), ""),
        }
    }

    /// Does what the layer above decides.
    ///
    /// # Errors
    /// [`Misuse`]; nothing has changed.
    pub fn call(&mut self, now: Now, rng: &mut Rng, command: Command) -> Result<(), Misuse> {
        match command {
            Command::Grant(grant) => {
                let expires = grant.ticket.as_ref().map(|t| lifetime(now.mono, t, grant.server_time_ms));
                let answer = v2::auth_response::Answer::Grant(grant);
                let split = self.answer(rng, answer)?.ok_or(Misuse::TooLarge)?;
                let heartbeat = Heartbeat::new(now.mono, self.heartbeat);
                let link = Link::new(self.provider, Side::Server, &split, &self.binding, heartbeat, now.mono);
                self.base.open(link);
                self.base.ticket_deadline = expires;
                Ok(())
            }
            Command::Refuse(refusal) => {
                let code = ErrorCode::from_wire(refusal.code);
                self.answer(rng, v2::auth_response::Answer::Refusal(refusal))?;
                self.base.end(Closed::Refused(code), "");
                Ok(())
            }
            Command::Send(channel, packet) => {
                self.base.link().ok_or(Misuse::State)?.push(now.mono, channel, &packet)
            }
            Command::IssueTicket { ticket, server_time_ms } => {
                let payload = prost::Message::encode_to_vec(&ticket);
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
        }
    }

    fn answer(
        &mut self,
        rng: &mut Rng,
        answer: v2::auth_response::Answer,
    ) -> Result<Option<crate::crypto::schedule::NoiseSplit>, Misuse> {
        if self.base.phase() != Phase::Deciding {
            return Err(Misuse::State);
        }
        let reply = self.reply.take().ok_or(Misuse::State)?;
        let response = v2::AuthResponse { answer: Some(answer) };
        let (message, split) = reply.answer(rng, response).map_err(|_| Misuse::TooLarge)?;
        self.base.push_clear(FrameType::AuthResp, &message);
        Ok(split)
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
