//! Connecting, coming in, going away, trying again.

use alloc::boxed::Box;
use core::time::Duration;

use ntproto_proto::v2;

use super::{BOOTSTRAP_TIMEOUT, CONNECT_TIMEOUT, Client, FAREWELL, Link, MAX_PAUSE, Op, SETTLED_AFTER};
use crate::binding::{Binding, TransportId};
use crate::client::requests::Waiting;
use crate::client::session::Mend;
use crate::client::{ClientEvent, ClientTxn, Down, Failure, MAX_BODY, Output, Stopped};
use crate::code::ErrorCode;
use crate::endpoint::client::{self as conn, ClientEndpoint};
use crate::endpoint::{self, Closed};
use crate::ids::{DeviceId, SessionId, Uin};
use crate::presence::State;
use crate::time::Now;

impl Client {
    pub(super) fn connect(&mut self, now: Now) {
        let attempt = self.backoff.retries();
        let bootstrap = self.session.wants_bootstrap(now.unix, attempt);
        let extra = if bootstrap { BOOTSTRAP_TIMEOUT } else { Duration::ZERO };
        self.link = Link::Connecting(now.mono + CONNECT_TIMEOUT + extra);
        self.turn(Output::Connect { attempt, only: self.session.only(), bootstrap });
    }

    pub(super) fn authenticate(&mut self, now: Now, binding: Binding) {
        self.transport = match binding.transport {
            TransportId::QuicEarly => TransportId::Quic,
            transport => transport,
        };
        let early = self.early_start(&binding);
        let endpoint = self.session.request(now.unix).and_then(|mut request| {
            request.early = early;
            let config = &self.session.config;
            ClientEndpoint::new(
                now,
                conn::Config {
                    provider: config.provider,
                    server: self.session.server(binding.transport),
                    heartbeat: config.heartbeat,
                    binding,
                },
                &config.device,
                request,
                &mut self.rng,
            )
            .ok()
        });
        match endpoint {
            Some(endpoint) => self.link = Link::Up(Box::new(endpoint)),
            None => {
                self.turn(Output::Disconnect(ErrorCode::Internal));
                self.link = Link::None;
                self.stop(now, Stopped::Configuration);
            }
        }
    }

    /// What is asked for in early data besides: the first page of the inbox.
    fn early_start(&mut self, binding: &Binding) -> Option<v2::EarlyStart> {
        // Of an attempt before this one, which was not answered.
        self.requests.clear();
        self.inbox.sync_failed();
        if !binding.is_early() {
            return None;
        }
        let sync = self.inbox.next_sync();
        let request_id = sync.as_ref().map_or(0, |_| self.requests.add(Waiting::FirstPage));
        Some(v2::EarlyStart { sync, request_id })
    }

    pub(super) fn endpoint_event(&mut self, now: Now, event: conn::Event) {
        match event {
            conn::Event::Certified { server_static, since } => self.session.certified(server_static, since),
            conn::Event::Granted(grant) => self.granted(now, grant),
            conn::Event::Refused(refusal) => self.refused(now, &refusal),
            conn::Event::Ticket(ticket) => self.keep_ticket(now, ticket),
            conn::Event::Packet(channel, packet) => self.packet(now, channel, packet),
            conn::Event::Closed(why) => self.closed(now, why),
        }
    }

    pub(super) fn granted(&mut self, now: Now, grant: v2::Grant) {
        let (Some(session), Some(device)) =
            (SessionId::from_slice(&grant.session_id), DeviceId::from_slice(&grant.device_id))
        else {
            return; // The handshake checked both lengths.
        };
        let uin = Uin(grant.uin);
        self.session.adopt_clock(now.unix, grant.server_time_ms);
        self.session.granted();
        self.session.max_body = match grant.limits.map_or(0, |limits| limits.max_body) {
            0 => MAX_BODY,
            limit => usize::try_from(limit).map_or(MAX_BODY, |limit| limit.min(MAX_BODY)),
        };
        self.inbox.set_identity(uin, device);
        if !self.identity_saved {
            self.identity_saved = true;
            self.store(ClientTxn::SaveIdentity(uin, device), Op::Other);
        }
        if let Some(ticket) = grant.ticket {
            self.keep_ticket(now, ticket);
        }
        self.online = true;
        self.session_id = Some(session);
        self.told_caught_up = false;
        self.settled_at = Some(now.mono + SETTLED_AFTER);
        //= spec: liveness-4
        self.event(ClientEvent::Online { session, uin, device, transport: self.transport });
        if self.presence.online {
            // With no room for it there is the next connection.
            let _ = self.set_presence(now, State::Online, false);
        }
    }

    pub(super) fn keep_ticket(&mut self, now: Now, ticket: v2::Ticket) {
        self.session.keep_ticket(now.mono, ticket.clone(), &mut self.rng);
        self.store(ClientTxn::SaveTicket(Some(ticket)), Op::Other);
    }

    /// The server refused. What can be mended is mended and tried at once, each thing one time.
    pub(super) fn refused(&mut self, now: Now, refusal: &v2::Refusal) {
        let code = ErrorCode::from_wire(refusal.code);
        let mend = match code {
            Some(ErrorCode::ClockSkew) => {
                self.session.adopt_clock(now.unix, refusal.server_time_ms);
                Mend::Clock
            }
            Some(ErrorCode::TicketExpired | ErrorCode::BadCredential) if self.session.used_ticket => {
                self.store(ClientTxn::SaveTicket(None), Op::Other);
                self.session.drop_ticket();
                Mend::Ticket
            }
            Some(code @ ErrorCode::Bootstrap) => {
                if !self.session.pass_refused() {
                    self.stop(now, Stopped::Refused(code));
                    return;
                }
                Mend::Bootstrap
            }
            // It is new with every attempt.
            Some(ErrorCode::Replay) => Mend::Ephemeral,
            Some(
                code @ (ErrorCode::BadCredential
                | ErrorCode::Revoked
                | ErrorCode::RegistrationClosed
                | ErrorCode::Version
                | ErrorCode::Forbidden
                | ErrorCode::BadRequest),
            ) => {
                self.stop(now, Stopped::Refused(code));
                return;
            }
            _ => return,
        };
        if self.session.mend(mend) {
            self.turn(Output::Disconnect(ErrorCode::Normal));
            self.connect(now);
        }
    }

    /// The endpoint ended. Its last words leave first.
    pub(super) fn closed(&mut self, now: Now, why: Closed) {
        // In the clear, CLOSE proves nothing about who sent it: only a session's own ends the client.
        let sealed = self.online;
        self.offline(now);
        let Link::Up(endpoint) = core::mem::replace(&mut self.link, Link::None) else { return };
        if !sealed {
            self.session.failed(why == Closed::Peer(Some(ErrorCode::Handshake)));
        }
        let stopped = match why {
            //= spec: frames-11
            Closed::Peer(Some(ErrorCode::Superseded)) if sealed => Some(Stopped::Superseded),
            Closed::Peer(Some(ErrorCode::Revoked)) if sealed => Some(Stopped::Refused(ErrorCode::Revoked)),
            _ => None,
        };
        if let Some(stopped) = stopped {
            self.turn(Output::Disconnect(why.code()));
            self.stop(now, stopped);
            return;
        }
        //= spec: liveness-6
        let asked = endpoint.wait_asked().unwrap_or_default().min(MAX_PAUSE);
        let retry_in = self.backoff.next(&mut self.rng).max(asked);
        let retry_at = now.mono + retry_in;
        self.event(ClientEvent::Offline { why: Down::Closed(why), retry_in });
        if endpoint.has_pending() {
            self.link = Link::Farewell(endpoint, now.mono + FAREWELL, Some(retry_at));
        } else {
            self.turn(Output::Disconnect(why.code()));
            self.link = Link::Backoff(retry_at);
        }
    }

    pub(super) fn after_farewell(&mut self, disconnect: bool) {
        if disconnect {
            self.turn(Output::Disconnect(ErrorCode::Normal));
        }
        let retry_at = match &self.link {
            Link::Farewell(_, _, retry_at) => *retry_at,
            _ => None,
        };
        self.link = match (self.stopped, retry_at) {
            (None, Some(at)) => Link::Backoff(at),
            _ => Link::None,
        };
    }

    pub(super) fn down(&mut self, now: Now, why: Down) {
        self.session.failed(false);
        let retry_in = self.backoff.next(&mut self.rng);
        self.link = Link::Backoff(now.mono + retry_in);
        self.event(ClientEvent::Offline { why, retry_in });
    }

    /// What ends with a connection.
    pub(super) fn offline(&mut self, now: Now) {
        self.online = false;
        self.settled_at = None;
        self.session.refresh_at = None;
        self.outbox.disconnected();
        self.inbox.disconnected();
        for request in self.requests.clear() {
            self.respond(now, request, Err(Failure::Disconnected));
        }
    }

    /// Tells the end, once: its last words have left and the disk has answered.
    pub(super) fn conclude(&mut self) {
        if let (Some(why), Link::None) = (self.stopped, &self.link)
            && self.ops.is_empty()
            && !core::mem::replace(&mut self.told_stopped, true)
        {
            self.event(ClientEvent::Stopped(why));
        }
    }

    /// The end. Nothing new is begun.
    pub(super) fn stop(&mut self, now: Now, why: Stopped) {
        if self.stopped.is_some() {
            return;
        }
        if why == Stopped::Closed
            && let Some(reads) = self.inbox.next_reads()
        {
            // They were taken: they are on the disk when it is over.
            self.store(ClientTxn::Read(reads.clone()), Op::Read(reads));
        }
        self.stopped = Some(why);
        self.offline(now);
        match core::mem::replace(&mut self.link, Link::None) {
            Link::Up(mut endpoint) => {
                // An endpoint that ended by itself refuses; it has said what it had to.
                let _ = endpoint.call(now, conn::Command::Close(ErrorCode::Normal));
                self.link = Link::Farewell(endpoint, now.mono + FAREWELL, None);
            }
            farewell @ Link::Farewell(..) => self.link = farewell,
            Link::Connecting(_) => {
                self.turn(Output::Disconnect(ErrorCode::Normal));
            }
            Link::None | Link::Backoff(_) => {}
        }
    }

    pub(super) fn endpoint_call(&mut self, now: Now, command: conn::Command) -> Result<(), endpoint::Misuse> {
        match &mut self.link {
            Link::Up(endpoint) if self.online => endpoint.call(now, command),
            _ => Err(endpoint::Misuse::State),
        }
    }
}
