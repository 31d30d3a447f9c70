//! The client's side of a connection.

use alloc::collections::VecDeque;
use core::time::Duration;

use ntproto_proto::v2;

use super::base::{Base, Incoming};
use super::link::{Link, Received};
use super::rules::{Phase, Side};
use super::{Closed, Input, Misuse, Output, PeerError, WaitReason};
use crate::binding::Binding;
use crate::code::ErrorCode;
use crate::crypto::CryptoProvider;
use crate::crypto::identity::DeviceKeys;
use crate::liveness::Heartbeat;
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

/// What a connection needs to know beside the device.
#[derive(Clone, Copy)]
pub struct Config {
    /// The primitives.
    pub provider: &'static dyn CryptoProvider,
    /// The server's static key, out of a verified certificate.
    pub server_static: [u8; 32],
    /// What ties the session to the transport.
    pub binding: Binding,
    /// Between two heartbeats.
    pub heartbeat: Duration,
}

/// The client's side of one connection, from AUTH_REQ on.
pub struct ClientEndpoint {
    base: Base,
    config: Config,
    initiator: Option<Initiator>,
    received: VecDeque<Received>,
    events: VecDeque<Event>,
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
        Ok(Self {
            base,
            config,
            initiator: Some(initiator),
            received: VecDeque::new(),
            events: VecDeque::new(),
        })
    }

    /// Takes what the transport brings. Never fails: noise ends the connection, as an event.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        match input {
            Input::Bytes { channel, mut data } => loop {
                match self.base.receive(now.mono, channel, &mut data, &mut self.received) {
                    Ok(None) => break,
                    Ok(Some(incoming)) => self.incoming(now, incoming),
                    Err(e) => {
                        self.received.clear();
                        self.base.refuse(e);
                        break;
                    }
                }
            },
            Input::Writable(set) => self.base.set_writable(set),
            Input::TransportClosed => self.base.end(Closed::Transport, ""),
            Input::Timeout => self.base.tick(now.mono),
        }
    }

    fn incoming(&mut self, now: Now, incoming: Incoming) {
        match incoming {
            Incoming::Handshake(message) => self.answer(now, &message),
            // The server has proven itself in its answer.
            Incoming::Received(Received::First) => {}
            Incoming::Received(Received::Packet(channel, packet)) => {
                self.events.push_back(Event::Packet(channel, packet));
            }
            Incoming::Received(Received::TicketIssue(ticket)) => self.events.push_back(Event::Ticket(ticket)),
            Incoming::Received(Received::TicketRefresh) => {
                self.base.end(Closed::PeerError(PeerError::Unexpected), "");
            }
            Incoming::Received(Received::Closed(why)) => self.base.end(why, ""),
        }
    }

    fn answer(&mut self, now: Now, message: &[u8]) {
        match self.initiator.take().map(|i| i.finish(message)) {
            Some(Ok(Answer::Granted(grant, split))) => {
                let heartbeat = Heartbeat::new(now.mono, self.config.heartbeat);
                let link = Link::new(
                    self.config.provider,
                    Side::Client,
                    &split,
                    &self.config.binding,
                    heartbeat,
                    now.mono,
                );
                self.base.open(link);
                self.events.push_back(Event::Granted(grant));
            }
            Some(Ok(Answer::Refused(refusal))) => {
                self.base.end(Closed::Refused(ErrorCode::from_wire(refusal.code)), "");
                self.events.push_back(Event::Refused(refusal));
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
        if self.base.wait().0.is_some_and(|at| now.mono >= at) {
            self.base.tick(now.mono);
        }
        if let Some(event) = self.events.pop_front() {
            return Output::Event(event);
        }
        if let Some(channel) = tx.and_then(|tx| self.base.transmit(now.mono, tx)) {
            return Output::Transmit { channel };
        }
        if let Some(why) = self.base.take_closed() {
            return Output::Event(Event::Closed(why));
        }
        let (at, why) = self.base.wait();
        Output::Wait { at, why }
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
