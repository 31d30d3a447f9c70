//! The client's side of a connection.

use core::time::Duration;

use ntproto_proto::v2;

use super::base::Base;
use super::link::{Link, Told};
use super::rules::{Phase, Side};
use super::{Closed, Input, Misuse, Output, PeerError, WaitReason};
use crate::binding::Binding;
use crate::code::ErrorCode;
use crate::crypto::CryptoProvider;
use crate::crypto::identity::DeviceKeys;
use crate::liveness::{Heartbeat, LONGEST_INTERVAL, SHORTEST_INTERVAL};
use crate::rng::Rng;
use crate::session::handshake::{Answer, Initiator};
use crate::time::{Instant, Now};
use crate::tx::TxBuf;
use crate::wire::channel::Channel;
use crate::wire::frame::FrameType;
use crate::wire::packet::Packet;

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

/// What a connection needs to know beside the device.
#[derive(Clone, Copy)]
pub struct Config {
    /// The primitives.
    pub provider: &'static dyn CryptoProvider,
    /// The server's static key, out of a verified certificate.
    pub server_static: [u8; 32],
    /// What ties the session to the transport.
    pub binding: Binding,
    /// Between two heartbeats, unless the server's grant says otherwise.
    pub heartbeat: Duration,
}

/// The client's side of one connection, from AUTH_REQ on.
pub struct ClientEndpoint {
    base: Base<Event>,
    config: Config,
    initiator: Option<Initiator>,
}

impl ClientEndpoint {
    /// Starts the handshake over a transport that is up. `request` is complete but for key and
    /// signature.
    ///
    /// # Errors
    /// [`Misuse::TooLarge`] when the request exceeds what AUTH_REQ may carry, or the server's key is
    /// unusable.
    pub fn new(
        now: Now,
        config: Config,
        device: &DeviceKeys,
        request: v2::AuthRequest,
        rng: &mut Rng,
    ) -> Result<Self, Misuse> {
        let (initiator, message) =
            Initiator::start(config.provider, rng, device, &config.server_static, request)
                .map_err(|_| Misuse::TooLarge)?;
        let mut base = Base::new(Side::Client, now.mono);
        base.push_clear(FrameType::AuthReq, &message);
        Ok(Self { base, config, initiator: Some(initiator) })
    }

    /// Takes what the transport brings. Never fails: noise ends the connection, as an event.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        self.base.handle(now.mono, &input);
        if let Input::Bytes { channel, mut data } = input {
            while let Some(message) = self.base.bytes(now.mono, channel, &mut data) {
                self.answer(now, &message);
            }
        }
    }

    /// Between two heartbeats: what the server wants, within reason.
    fn interval(&self, grant: &v2::Grant) -> Duration {
        match grant.limits.map_or(0, |limits| limits.heartbeat_ms) {
            0 => self.config.heartbeat,
            ms => Duration::from_millis(ms.into()).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL),
        }
    }

    fn answer(&mut self, now: Now, message: &[u8]) {
        match self.initiator.take().map(|i| i.finish(message)) {
            Some(Ok(Answer::Granted(grant, split))) => {
                let heartbeat = Heartbeat::new(now.mono, self.interval(&grant));
                let link = Link::new(
                    self.config.provider,
                    Side::Client,
                    &split,
                    &self.config.binding,
                    heartbeat,
                    now.mono,
                );
                self.base.open(link);
                self.base.events.push_back(Event::Granted(grant));
            }
            Some(Ok(Answer::Refused(refusal))) => {
                self.base.end(Closed::Refused(ErrorCode::from_wire(refusal.code)), "");
                self.base.events.push_back(Event::Refused(refusal));
            }
            Some(Err(_)) | None => self.base.end(Closed::PeerError(PeerError::Handshake), ""),
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

    /// How far it is.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.base.phase()
    }
}
