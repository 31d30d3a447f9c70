//! From a credential to a session: what AUTH_REQ claims is held against the clock, the memory of
//! replays, the ticket keys and the store.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use ntproto_core::binding::{Binding, TransportId};
use ntproto_core::bootstrap::{BootstrapError, BootstrapKeys, Given};
use ntproto_core::code::ErrorCode;
use ntproto_core::crypto::identity::Link;
use ntproto_core::endpoint::{self, server};
use ntproto_core::ids::DeviceId;
use ntproto_core::session::handshake::{AuthClaims, Credential, VERSIONS};
use ntproto_core::session::ticket;
use ntproto_core::time::{Now, UnixMillis};
use ntproto_proto::v2;

use crate::api::{ConnId, HubEvent};
use crate::conn::{Session, State};
use crate::hub::{Claims, Hub, Op};
use crate::replay::Seen;
use crate::store::txn::{DeviceInfo, DeviceKey, EnrolVia, NewDevice};
use crate::store::{Outcome, StoreError, Txn};

/// What the store was asked about a device at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuthStep {
    /// Whether its static key is known.
    Find,
    /// The device that signed its link.
    Signer,
    /// To take it in.
    Enrol,
}

/// Why a device stays out, and a word about it.
type Refused = (ErrorCode, &'static str);

const BAD: Refused = (ErrorCode::BadCredential, "this credential is not valid for this device");

impl Hub {
    /// Counts a connection to its address, once, before its first bytes cost anything. Early data proves no address:
    /// whoever sent it is counted when its transport is up. `false`: there were too many, and it was told when to
    /// come again.
    pub(crate) fn knock(&mut self, now: Now, id: ConnId) -> bool {
        let Some(conn) = self.conns.get_mut(id) else { return false };
        if !conn.bound || core::mem::replace(&mut conn.counted, true) {
            return true;
        }
        let remote = conn.remote;
        //= spec: limits-1
        let Err(wait) = self.limits.knock(now.mono, remote.ip()) else { return true };
        // One that has ended meanwhile has heard enough.
        if self.endpoint_call(now, id, server::Command::Defer(wait)).is_ok() {
            self.event(HubEvent::Refused { conn: id, remote, code: ErrorCode::RetryAfter });
        }
        false
    }

    /// A device asks to come in. Its signature is verified.
    pub(crate) fn auth_request(&mut self, now: Now, id: ConnId, claims: Claims) {
        if self.clock.is_current(now.mono) {
            self.begin_auth(now, id, claims);
        } else {
            // The server was idle: its clock may be used again when the floor is moved.
            self.set_state(id, State::Parked(claims));
            self.parked.insert(id);
            self.keep_clock(now);
        }
    }

    /// The transport under early data is up: no replay comes so far.
    pub(crate) fn bound(&mut self, now: Now, id: ConnId, binding: Binding) {
        self.inform(now, id, endpoint::Input::Bound(binding));
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.bound = true;
        if !self.knock(now, id) {
            return;
        }
        let Some(conn) = self.conns.get_mut(id) else { return };
        match core::mem::replace(&mut conn.state, State::Nobody) {
            State::Early(claims) => self.auth_request(now, id, claims),
            other => conn.state = other,
        }
    }

    /// The floor was moved, or could not be (`moved`).
    pub(crate) fn unpark(&mut self, now: Now, id: ConnId, moved: bool) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        match core::mem::replace(&mut conn.state, State::Nobody) {
            State::Parked(claims) if moved => self.auth_request(now, id, claims),
            State::Parked(_) => self.refuse(now, id, (ErrorCode::Unavailable, "the store failed")),
            other => conn.state = other,
        }
    }

    /// What can be checked without the store.
    fn begin_auth(&mut self, now: Now, id: ConnId, claims: Claims) {
        let time = self.clock.now(now.mono);
        let key = DeviceKey::Static(claims.static_key);
        if let Err(why) = self.weigh(time, id, &claims) {
            return self.refuse(now, id, why);
        }
        self.set_state(id, State::Authenticating(claims));
        self.ask(now, id, AuthStep::Find, Txn::LookupDevice { key });
    }

    fn weigh(&self, time: UnixMillis, id: ConnId, claims: &Claims) -> Result<(), Refused> {
        if self.draining() {
            return Err((ErrorCode::GoingAway, "the server is going away"));
        }
        //= spec: spec-4
        if claims.version.is_none() {
            return Err((ErrorCode::Version, "none of the offered versions is spoken here"));
        }
        //= spec: handshake-12
        if claims.clock_is_off(time) {
            return Err((ErrorCode::ClockSkew, "the clock is off by more than 120 s"));
        }
        //= spec: handshake-13
        if self.replay.contains(&claims.ephemeral) {
            return Err((ErrorCode::Replay, "this request was seen before"));
        }
        self.check_bootstrap(time, id, claims).map_err(|why| (ErrorCode::Bootstrap, why.text()))?;
        if let Credential::Ticket(sealed) = &claims.credential {
            let body = self.keys.tickets.open(sealed).map_err(ticket_refused)?;
            let generation = body.revocation_generation;
            ticket::check(&body, time, &claims.device_key_hash, generation).map_err(ticket_refused)?;
        }
        Ok(())
    }

    /// A bootstrap ticket that is shown must be good; whether one must be shown is the operator's choice.
    fn check_bootstrap(&self, time: UnixMillis, id: ConnId, claims: &Claims) -> Result<(), BootstrapError> {
        let Some(conn) = self.conns.get(id) else { return Ok(()) };
        let request = &claims.request;
        if request.bootstrap.is_empty() {
            // A session ticket comes from somebody who was let in; on TCP the server challenges by itself.
            let excused =
                matches!(claims.credential, Credential::Ticket(_)) || conn.transport == TransportId::Tcp;
            //= spec: bootstrap-9
            return if excused || !self.config.require_bootstrap {
                Ok(())
            } else {
                Err(BootstrapError::Missing)
            };
        }
        let version = claims.version.unwrap_or_default();
        let by = Given { app_id: request.app_id, version, from: conn.remote.ip() };
        BootstrapKeys::of(self.keys.provider, &self.keys.tickets).check(&request.bootstrap, by, time)
    }

    fn ask(&mut self, now: Now, id: ConnId, step: AuthStep, txn: Txn) {
        if self.store_has_room(txn.weight()) {
            self.submit(Op::Auth(id, step), txn, None);
        } else {
            self.refuse(now, id, (ErrorCode::RetryAfter, "too much at once"));
        }
    }

    /// What the store said.
    pub(crate) fn auth_answered(
        &mut self,
        now: Now,
        id: ConnId,
        step: AuthStep,
        result: Result<Outcome, StoreError>,
    ) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let bound = conn.bound;
        let claims = match core::mem::replace(&mut conn.state, State::Nobody) {
            State::Authenticating(claims) => claims,
            // It ended meanwhile.
            other => return conn.state = other,
        };
        let time = self.clock.now(now.mono);
        let next = match (step, result) {
            (AuthStep::Find, Ok(Outcome::Device(device))) => self
                .check_known(time, &claims, &device)
                .map(|cap| self.let_in(now, id, claims, &device, cap, false)),
            //= spec: handshake-20
            (AuthStep::Find, Err(StoreError::NotFound)) if !bound && enrols(&claims) => {
                self.set_state(id, State::Early(claims));
                Ok(())
            }
            (AuthStep::Find, Err(StoreError::NotFound)) => {
                self.next_for_stranger(time, &claims).map(|(step, txn)| {
                    self.set_state(id, State::Authenticating(claims));
                    self.ask(now, id, step, txn);
                })
            }
            (AuthStep::Signer, Ok(Outcome::Device(signer))) => {
                self.enrol_by_link(time, &claims, &signer).map(|txn| {
                    self.set_state(id, State::Authenticating(claims));
                    self.ask(now, id, AuthStep::Enrol, txn);
                })
            }
            (AuthStep::Enrol, Ok(Outcome::Enrolled(device))) => {
                let cap = time + self.config.ticket_cap;
                self.let_in(now, id, claims, &device, cap, true);
                Ok(())
            }
            (_, Ok(_)) => Err((ErrorCode::Internal, "the store answered something else")),
            (_, Err(error)) => Err(store_refused(error)),
        };
        if let Err(why) = next {
            self.refuse(now, id, why);
        }
    }

    /// A device whose static key is known, with whatever credential: an enrolment by it is a sign-in
    /// whose first answer was lost. Answers the end of its chain of tickets.
    fn check_known(
        &self,
        time: UnixMillis,
        claims: &Claims,
        device: &DeviceInfo,
    ) -> Result<UnixMillis, Refused> {
        //= spec: handshake-10
        if device.signing_key != claims.signing_key {
            return Err(BAD);
        }
        if device.revoked.is_some() {
            return Err((ErrorCode::Revoked, "this device was revoked"));
        }
        match &claims.credential {
            Credential::Ticket(sealed) => {
                let body = self.keys.tickets.open(sealed).map_err(ticket_refused)?;
                ticket::check(&body, time, &claims.device_key_hash, device.generation)
                    .map_err(ticket_refused)?;
                let own = body.uin == device.uin.0 && body.device_id[..] == device.id.0[..];
                if own { Ok(UnixMillis(body.cap_ms)) } else { Err(BAD) }
            }
            Credential::Link(link) => match Link::peek(link) {
                Ok(link) if link.uin == device.uin => Ok(time + self.config.ticket_cap),
                _ => Err(BAD),
            },
            Credential::Invitation(_) | Credential::KnownDevice | Credential::OpenRegistration => {
                Ok(time + self.config.ticket_cap)
            }
        }
    }

    /// A device that is not known: how it may become so.
    fn next_for_stranger(&mut self, time: UnixMillis, claims: &Claims) -> Result<(AuthStep, Txn), Refused> {
        match &claims.credential {
            Credential::Ticket(_) | Credential::KnownDevice => Err(BAD),
            Credential::Invitation(code) => {
                let code_hash = self.keys.provider.sha256(&[code]);
                Ok((AuthStep::Enrol, self.enrol(time, claims, EnrolVia::Invitation { code_hash })))
            }
            Credential::OpenRegistration if self.config.open_registration => {
                Ok((AuthStep::Enrol, self.enrol(time, claims, EnrolVia::Open)))
            }
            Credential::OpenRegistration => {
                Err((ErrorCode::RegistrationClosed, "this server asks for an invitation"))
            }
            Credential::Link(link) => {
                let link = Link::peek(link).map_err(|_| BAD)?;
                Ok((AuthStep::Signer, Txn::LookupDevice { key: DeviceKey::Id(link.device_id) }))
            }
        }
    }

    fn enrol_by_link(
        &mut self,
        time: UnixMillis,
        claims: &Claims,
        signer: &DeviceInfo,
    ) -> Result<Txn, Refused> {
        let Credential::Link(link) = &claims.credential else { return Err(BAD) };
        //= spec: handshake-7
        let link = Link::verify(self.keys.provider, &signer.signing_key, link, time).map_err(|_| BAD)?;
        let Link { uin, device_id, nonce, expires } = link;
        Ok(self.enrol(time, claims, EnrolVia::Link { uin, device_id, nonce, expires }))
    }

    fn enrol(&mut self, now: UnixMillis, claims: &Claims, via: EnrolVia) -> Txn {
        let device = NewDevice {
            id: DeviceId(self.rng.array()),
            signing_key: claims.signing_key,
            static_key: claims.static_key,
            name: claims.request.device_name.clone(),
        };
        Txn::Enrol { via, device, now }
    }

    fn let_in(
        &mut self,
        now: Now,
        id: ConnId,
        claims: Claims,
        device: &DeviceInfo,
        cap: UnixMillis,
        enrolled: bool,
    ) {
        let bound = self.conns.get(id).is_some_and(|conn| conn.bound);
        let time = self.clock.now(now.mono);
        let timestamp = UnixMillis(claims.request.timestamp_ms);
        //= spec: handshake-13
        let refused = match self.replay.remember(time, claims.ephemeral, timestamp) {
            Seen::Before => Some((ErrorCode::Replay, "this request was seen before")),
            _ if self.draining() => Some((ErrorCode::GoingAway, "the server is going away")),
            // Early data that could come again and not be recognized gets no answer. Whoever sent it is let in when
            // the transport is up, which it never is under a replay.
            //= spec: handshake-21
            Seen::Full if !bound => return self.set_state(id, State::Early(claims)),
            // A replay of one that is not remembered gets a session that it can't use: nothing is taken from
            // anybody before the first sealed frame. Whoever fills the memory must not shut others out.
            Seen::New | Seen::Full => None,
        };
        if let Some(why) = refused {
            return self.refuse(now, id, why);
        }
        self.serial += 1;
        let session_id: [u8; 16] = self.rng.array();
        let session = Session {
            id: session_id,
            uin: device.uin,
            device: device.id,
            may_invite: device.may_invite,
            admin: device.admin,
            key_hash: claims.device_key_hash,
            generation: device.generation,
            cap,
            serial: self.serial,
            confirmed: false,
        };
        let grant = v2::Grant {
            session_id: Bytes::copy_from_slice(&session_id),
            ticket: Some(self.ticket(time, &session)),
            version: claims.version.unwrap_or_default().into(),
            limits: Some(self.config.limits()),
            uin: device.uin.0,
            device_id: Bytes::copy_from_slice(&device.id.0),
            server_time_ms: time.0,
        };
        if self.endpoint_call(now, id, server::Command::Grant(grant)).is_ok() {
            self.set_state(id, State::In(session));
            self.bearers.insert(session_id, id);
            self.event(HubEvent::In { conn: id, uin: device.uin, device: device.id, enrolled });
            self.first_page(now, id, &session, claims.request.early.as_ref());
            // Not SUPERSEDED, after which a device stays away: nothing was proven by the newer ones.
            if let Some(oldest) = self.unconfirmed.add(device.id, id, &self.conns) {
                self.close(now, oldest, ErrorCode::RetryAfter);
            }
        }
    }

    /// A new ticket; no chain of tickets reaches beyond its cap.
    fn ticket(&mut self, time: UnixMillis, session: &Session) -> v2::Ticket {
        let expires = (time + self.config.ticket_lifetime).min(session.cap);
        let body = v2::TicketBody {
            uin: session.uin.0,
            device_id: Bytes::copy_from_slice(&session.device.0),
            device_key_hash: Bytes::copy_from_slice(&session.key_hash),
            issued_ms: time.0,
            expires_ms: expires.0,
            cap_ms: session.cap.0,
            revocation_generation: session.generation,
        };
        let sealed = self.keys.tickets.seal(&mut self.rng, &body);
        v2::Ticket { sealed: sealed.into(), issued_ms: time.0, expires_ms: expires.0 }
    }

    /// The client wants a new ticket.
    pub(crate) fn refresh_ticket(&mut self, now: Now, id: ConnId) {
        let Some(session) = self.conns.get(id).and_then(|conn| conn.session().copied()) else { return };
        let time = self.clock.now(now.mono);
        if time >= session.cap {
            return self.close(now, id, ErrorCode::TicketExpired);
        }
        let ticket = self.ticket(time, &session);
        let command = server::Command::IssueTicket { ticket, server_time_ms: time.0 };
        if self.endpoint_call(now, id, command).is_err() {
            // It asks faster than it reads the answers.
            self.close(now, id, ErrorCode::TooLarge);
        }
    }

    fn refuse(&mut self, now: Now, id: ConnId, (code, detail): Refused) {
        let versions = if code == ErrorCode::Version { VERSIONS } else { &[] };
        let refusal = v2::Refusal {
            code: code as u32,
            detail: String::from(detail),
            server_time_ms: self.clock.now(now.mono).0,
            versions: versions.iter().map(|version| String::from(*version)).collect::<Vec<_>>(),
        };
        let Some(remote) = self.conns.get(id).map(|conn| conn.remote) else { return };
        if self.endpoint_call(now, id, server::Command::Refuse(refusal)).is_ok() {
            self.event(HubEvent::Refused { conn: id, remote, code });
        }
    }
}

/// Whether letting these in writes to the store.
const fn enrols(claims: &AuthClaims) -> bool {
    matches!(
        claims.credential,
        Credential::Invitation(_) | Credential::Link(_) | Credential::OpenRegistration
    )
}

fn ticket_refused(error: ticket::TicketError) -> Refused {
    let detail = match error.code() {
        ErrorCode::TicketExpired => "the ticket has expired",
        ErrorCode::Revoked => "this device was revoked",
        _ => BAD.1,
    };
    (error.code(), detail)
}

/// What the door says of a store's refusal. Which part of a credential was wrong stays inside.
fn store_refused(error: StoreError) -> Refused {
    match error {
        StoreError::Revoked => (ErrorCode::Revoked, "this device was revoked"),
        StoreError::TooManyDevices => (ErrorCode::Forbidden, "the account has too many devices"),
        StoreError::Full | StoreError::Unavailable => (ErrorCode::Unavailable, "the store failed"),
        StoreError::Corrupt => (ErrorCode::Internal, "the store failed"),
        _ => BAD,
    }
}
