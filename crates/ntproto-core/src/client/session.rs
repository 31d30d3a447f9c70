//! With what a client comes in: which credential, whose clock, when to renew the ticket.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use ntproto_proto::v2::{self, auth_request};

use crate::binding::TransportId;
use crate::bootstrap::{Bootstrap, BootstrapTicket};
use crate::crypto::CryptoProvider;
use crate::crypto::identity::DeviceKeys;
use crate::endpoint::client::ServerIdentity;
use crate::liveness::{INTERVAL, Jitter};
use crate::rng::Rng;
use crate::session::handshake::VERSIONS;
use crate::time::{Instant, UnixMillis};

/// After so many attempts in a row that came to nothing, a client that can bootstraps anew: the server may have moved.
const BOOTSTRAP_AFTER: u32 = 3;
/// A ticket this close to its end is not worth a round trip.
const TICKET_MARGIN: Duration = Duration::from_secs(5);

/// What lets a device in that the server does not know yet.
#[derive(Clone, PartialEq)]
pub enum Credential {
    /// The 16 bytes of an invitation: makes an account.
    Invitation([u8; 16]),
    /// A link signed by a device of the account.
    Link(v2::DeviceLink),
    /// Nothing, where the operator allows it.
    Open,
}

/// What a client needs to know.
pub struct ClientConfig {
    /// The primitives.
    pub provider: &'static dyn CryptoProvider,
    /// The server's static key, out of a verified certificate.
    pub server_static: [u8; 32],
    /// When that certificate begins: one from before it is not believed any more. 0: nobody knows.
    pub since: UnixMillis,
    /// The operator's key. With it, a client that the server does not understand over TCP lets the server speak
    /// first the next time, and learns a static key that was changed.
    pub operator: Option<[u8; 32]>,
    /// On TCP, always let the server speak first, although its key is known. Needs `operator`.
    pub server_speaks_first: bool,
    /// The device's keys.
    pub device: DeviceKeys,
    /// How to come in the first time.
    pub enrol: Option<Credential>,
    /// The application, as in the bootstrap.
    pub app_id: u32,
    /// What the device list shows; at most 64 bytes.
    pub device_name: String,
    /// SHA-256 of the client's fingerprint.
    pub fingerprint_hash: [u8; 32],
    /// Between two heartbeats, unless the server's grant says otherwise.
    pub heartbeat: Duration,
    /// The jitter of reconnects.
    pub jitter: Jitter,
    /// The transports the host can bring up, best first: the server is told.
    pub transports: Vec<TransportId>,
    /// Whether the account is to appear online whenever this device is connected.
    pub appear_online: bool,
    /// What a bootstrap has just told; it goes before `server_static`.
    pub bootstrap: Option<Bootstrap>,
    /// Whether the host can bootstrap anew when it is [asked to](super::Output::Connect).
    pub can_bootstrap: bool,
}

impl ClientConfig {
    /// The usual settings.
    #[must_use]
    pub fn new(provider: &'static dyn CryptoProvider, server_static: [u8; 32], device: DeviceKeys) -> Self {
        Self {
            provider,
            server_static,
            since: UnixMillis(0),
            operator: None,
            server_speaks_first: false,
            device,
            enrol: None,
            app_id: 10001,
            device_name: String::new(),
            fingerprint_hash: [0; 32],
            heartbeat: INTERVAL,
            jitter: Jitter::Full,
            transports: Vec::from([TransportId::Quic]),
            appear_online: false,
            bootstrap: None,
            can_bootstrap: false,
        }
    }
}

/// The session's memory between connections.
pub(super) struct Session {
    pub(super) config: ClientConfig,
    pub(super) enrolled: bool,
    ticket: Option<v2::Ticket>,
    /// Server clock minus ours, in milliseconds.
    offset_ms: i64,
    pub(super) refresh_at: Option<Instant>,
    /// The largest body that the server takes, as its last grant said.
    pub(super) max_body: usize,
    /// What the connection under way authenticates with.
    pub(super) used_ticket: bool,
    /// What the last bootstrap gave, until it is of no more use.
    pass: Option<BootstrapTicket>,
    /// Whether the connection under way shows it.
    used_pass: bool,
    /// The server refused to let this device in without one, or with the one it had.
    pass_wanted: bool,
    /// A fresh one was refused, too: the next attempt is made without.
    pass_useless: bool,
    /// The server did not understand what was made for the key we know.
    key_doubted: bool,
    /// What was mended since the last grant: a mend that did not help is not tried again at once.
    mended: [bool; Mend::ALL],
}

/// What can be done about a refusal at once.
#[derive(Clone, Copy)]
pub(super) enum Mend {
    /// Take over the server's clock.
    Clock,
    /// Come with the device's keys instead of the ticket.
    Ticket,
    /// Come with a new ephemeral key.
    Ephemeral,
    /// Come with a new bootstrap ticket, or without.
    Bootstrap,
}

impl Mend {
    const ALL: usize = 4;
}

impl Session {
    pub(super) fn new(config: ClientConfig, enrolled: bool, ticket: Option<v2::Ticket>) -> Self {
        let mut config = config;
        let fresh = config.bootstrap.take();
        let mut session = Self {
            config,
            enrolled,
            ticket,
            offset_ms: 0,
            refresh_at: None,
            max_body: super::MAX_BODY,
            used_ticket: false,
            pass: None,
            used_pass: false,
            pass_wanted: false,
            pass_useless: false,
            key_doubted: false,
            mended: [false; Mend::ALL],
        };
        if let Some(fresh) = fresh {
            session.bootstrapped(fresh);
        }
        session
    }

    /// A bootstrap told all this, and the host believes it. The server itself may have shown a newer certificate meanwhile.
    pub(super) fn bootstrapped(&mut self, fresh: Bootstrap) {
        //= spec: bootstrap-14
        if fresh.since < self.config.since {
            return;
        }
        (self.config.server_static, self.config.since) = (fresh.server_static, fresh.since);
        self.offset_ms = fresh.clock_offset_ms.unwrap_or(self.offset_ms);
        self.pass = Some(fresh.ticket);
        self.key_doubted = false;
    }

    /// Whether to ask for a bootstrap before the next attempt, which is made after so many failed ones: the server's
    /// key may have changed, or its place, or it wants a bootstrap ticket and there is none.
    pub(super) fn wants_bootstrap(&self, unix: UnixMillis, failed: u32) -> bool {
        let lost = self.key_doubted || failed >= BOOTSTRAP_AFTER;
        let wanted = self.pass_wanted && !self.pass_useless && self.ticket(unix).is_none();
        self.config.can_bootstrap && (lost || wanted && self.pass(unix).is_none())
    }

    /// The server refused for want of a good bootstrap ticket. `false`: there is nothing to be done about it.
    pub(super) fn pass_refused(&mut self) -> bool {
        let had = self.used_pass;
        self.pass = None;
        // One that was asked for just before was refused, so perhaps none is wanted, but this one is not good.
        self.pass_useless = had && self.pass_wanted;
        self.pass_wanted = true;
        had || self.config.can_bootstrap
    }

    /// The bootstrap ticket, while it is good.
    fn pass(&self, unix: UnixMillis) -> Option<&BootstrapTicket> {
        let now = self.server_time(unix);
        self.pass
            .as_ref()
            .filter(|pass| pass.expires.0 > now.saturating_add(TICKET_MARGIN.as_millis() as u64))
    }

    /// The session ticket, while it is good.
    fn ticket(&self, unix: UnixMillis) -> Option<&v2::Ticket> {
        let now = self.server_time(unix);
        self.ticket.as_ref().filter(|t| t.expires_ms > now.saturating_add(TICKET_MARGIN.as_millis() as u64))
    }

    fn server_time(&self, unix: UnixMillis) -> u64 {
        unix.0.saturating_add_signed(self.offset_ms)
    }

    /// Takes over the server's clock.
    pub(super) fn adopt_clock(&mut self, unix: UnixMillis, server_time_ms: u64) {
        self.offset_ms = i64::try_from(i128::from(server_time_ms) - i128::from(unix.0)).unwrap_or(0);
    }

    /// Whether something is tried for the first time since the last grant.
    pub(super) fn mend(&mut self, mend: Mend) -> bool {
        !core::mem::replace(&mut self.mended[mend as usize], true)
    }

    /// Who the server is, over this transport.
    pub(super) fn server(&self, transport: TransportId) -> ServerIdentity {
        match self.config.operator {
            Some(operator)
                if transport == TransportId::Tcp && (self.config.server_speaks_first || self.key_doubted) =>
            {
                ServerIdentity::Certified { operator, since: self.config.since }
            }
            _ => ServerIdentity::Known(self.config.server_static),
        }
    }

    /// The only transport that will do: over TCP the server can be asked for its key.
    pub(super) fn only(&self) -> Option<TransportId> {
        let can_ask = self.config.operator.is_some() && self.config.transports.contains(&TransportId::Tcp);
        (self.key_doubted && can_ask).then_some(TransportId::Tcp)
    }

    /// An attempt ended without a session. `misunderstood`: the server did not understand the handshake, so its key
    /// may be another, and it is asked for it. That it said so is not authenticated: when asking comes to nothing too,
    /// the key we know is used again.
    pub(super) const fn failed(&mut self, misunderstood: bool) {
        self.key_doubted = misunderstood && !self.key_doubted;
    }

    /// The server showed a certificate of this key, from this instant on.
    pub(super) const fn certified(&mut self, server_static: [u8; 32], since: UnixMillis) {
        (self.config.server_static, self.config.since) = (server_static, since);
    }

    /// It is in.
    pub(super) const fn granted(&mut self) {
        self.enrolled = true;
        self.key_doubted = false;
        self.pass_wanted &= self.used_pass;
        self.pass_useless = false;
        self.mended = [false; Mend::ALL];
    }

    /// Forgets the ticket.
    pub(super) fn drop_ticket(&mut self) {
        self.ticket = None;
    }

    /// Keeps a ticket and sets the time to renew it: two thirds of its lifetime, a little earlier at
    /// random so that a restarted server is not asked by all at once.
    pub(super) fn keep_ticket(&mut self, now: Instant, ticket: v2::Ticket, rng: &mut Rng) {
        let life = Duration::from_millis(ticket.expires_ms.saturating_sub(ticket.issued_ms));
        let due = life * 2 / 3;
        let jitter = Duration::from_millis(rng.below(due.as_millis() as u64 / 10 + 1));
        self.refresh_at = Some(now + due.saturating_sub(jitter));
        self.ticket = Some(ticket);
    }

    /// The next AUTH_REQ's content. `None`: there is nothing to come in with.
    pub(super) fn request(&mut self, unix: UnixMillis) -> Option<v2::AuthRequest> {
        let now = self.server_time(unix);
        let ticket = self.ticket(unix).map(|t| t.sealed.clone());
        self.used_ticket = ticket.is_some();
        //= spec: bootstrap-10
        let show = !self.used_ticket && !self.pass_useless;
        let pass = self.pass(unix).filter(|_| show).map(|pass| pass.sealed.clone());
        self.used_pass = pass.is_some();
        let credential = match (ticket, self.enrolled, &self.config.enrol) {
            (Some(ticket), _, _) => auth_request::Credential::Ticket(ticket),
            (None, true, _) => auth_request::Credential::KnownDevice(v2::KnownDevice {}),
            (None, false, Some(Credential::Invitation(code))) => {
                auth_request::Credential::Invitation(Bytes::copy_from_slice(code))
            }
            (None, false, Some(Credential::Link(link))) => auth_request::Credential::Link(link.clone()),
            (None, false, Some(Credential::Open)) => {
                auth_request::Credential::OpenRegistration(v2::OpenRegistration {})
            }
            (None, false, None) => return None,
        };
        Some(v2::AuthRequest {
            credential: Some(credential),
            // The handshake fills in key and signature.
            signing_key: Bytes::new(),
            fingerprint_hash: Bytes::copy_from_slice(&self.config.fingerprint_hash),
            timestamp_ms: now,
            versions: VERSIONS.iter().map(|v| (*v).into()).collect(),
            transports: self.config.transports.iter().map(|t| t.name().into()).collect(),
            signature: Bytes::new(),
            app_id: self.config.app_id,
            device_name: self.config.device_name.clone(),
            early: None,
            bootstrap: pass.unwrap_or_default(),
        })
    }
}
