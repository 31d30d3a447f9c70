//! The handshake's messages as TLV3 records, as they travel on TCP (specification, "TLV3").
//!
//! ```text
//! v2::AuthRequest, v2::AuthResponse, Challenge  ◀── read / write ──▶  bytes, bare mode
//! ```
//! A table a message says which records it has; what is written is what can be read. What the values mean is checked
//! where it is for QUIC: in [`handshake`](super::handshake).

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use ntproto_proto::v2::auth_request::Credential;
use ntproto_proto::v2::auth_response::Answer;
use ntproto_proto::v2::{
    AuthRequest, AuthResponse, DeviceLink, Grant, KnownDevice, Limits, OpenRegistration, Refusal,
    ServerCertificate, Ticket,
};

use super::handshake::{MAX_DEVICE_NAME, MAX_OFFER_LEN, MAX_OFFERS};
use super::ticket::MAX_SEALED;
use crate::bootstrap::MAX_BOOTSTRAP;
use crate::endpoint::MAX_DETAIL;
use crate::wire::tlv3::schema::{Field, Fields, RecordError, Schema};
use crate::wire::tlv3::{Budget, Mode, Reader, Writer};

/// The longest body that was signed, of a certificate or a device link: four times what they take, so that fields can be added.
pub const MAX_SIGNED_BODY: usize = 256;

/// What the server of handshake B says first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Challenge {
    /// Random: no two challenges are equal.
    pub token: [u8; 32],
    /// The server's static key, vouched for by the operator.
    pub certificate: ServerCertificate,
    /// The versions the server speaks, best first.
    pub versions: Vec<String>,
    /// The transports it can be reached over, best first.
    pub transports: Vec<String>,
}

/// For values that hold records, whose limits bound them: no message is longer.
const NESTED: usize = super::handshake::MAX_AUTH_PAYLOAD;

const fn exact(kind: u16, name: &'static str, bytes: usize) -> Field {
    Field::new(kind, name, bytes..=bytes).once()
}

const fn offers(kind: u16, name: &'static str) -> Field {
    Field::new(kind, name, 0..=MAX_OFFER_LEN).up_to(MAX_OFFERS)
}

/// Rows of `AuthRequest`.
mod request {
    use super::{Field, MAX_BOOTSTRAP, MAX_DEVICE_NAME, MAX_SEALED, NESTED, exact, offers};

    pub(super) const TICKET: Field = Field::new(1, "ticket", 0..=MAX_SEALED);
    pub(super) const INVITATION: Field = Field::new(2, "invitation", 16..=16);
    pub(super) const LINK: Field = Field::new(3, "link", 0..=NESTED);
    pub(super) const KNOWN_DEVICE: Field = Field::new(4, "known_device", 0..=0);
    pub(super) const OPEN_REGISTRATION: Field = Field::new(5, "open_registration", 0..=0);
    pub(super) const SIGNING_KEY: Field = exact(6, "signing_key", 32);
    pub(super) const FINGERPRINT_HASH: Field = exact(7, "fingerprint_hash", 32);
    pub(super) const TIMESTAMP: Field = exact(8, "timestamp_ms", 8);
    pub(super) const VERSION: Field = offers(9, "version");
    pub(super) const TRANSPORT: Field = offers(10, "transport");
    pub(super) const SIGNATURE: Field = exact(11, "signature", 64);
    pub(super) const APP_ID: Field = exact(12, "app_id", 4);
    pub(super) const DEVICE_NAME: Field = Field::new(13, "device_name", 0..=MAX_DEVICE_NAME).once();
    pub(super) const BOOTSTRAP: Field = Field::new(14, "bootstrap", 1..=MAX_BOOTSTRAP);
}

/// Rows of whatever somebody signed: `DeviceLink` and `ServerCertificate`.
mod signed {
    use super::{Field, MAX_SIGNED_BODY, exact};

    pub(super) const BODY: Field = Field::new(1, "body", 0..=MAX_SIGNED_BODY).once();
    pub(super) const SIGNATURE: Field = exact(2, "signature", 64);
}

/// Rows of `AuthResponse`.
mod response {
    use super::{Field, NESTED};

    pub(super) const GRANT: Field = Field::new(1, "grant", 0..=NESTED);
    pub(super) const REFUSAL: Field = Field::new(2, "refusal", 0..=NESTED);
}

/// Rows of `Grant`.
mod grant {
    use super::{Field, MAX_OFFER_LEN, NESTED, exact};

    pub(super) const SESSION_ID: Field = exact(1, "session_id", 16);
    pub(super) const TICKET: Field = Field::new(2, "ticket", 0..=NESTED);
    pub(super) const VERSION: Field = Field::new(3, "version", 0..=MAX_OFFER_LEN).once();
    pub(super) const LIMITS: Field = Field::new(4, "limits", 0..=NESTED);
    pub(super) const UIN: Field = exact(5, "uin", 8);
    pub(super) const DEVICE_ID: Field = exact(6, "device_id", 16);
    pub(super) const SERVER_TIME: Field = exact(7, "server_time_ms", 8);
}

/// Rows of `Ticket`.
mod ticket {
    use super::{Field, MAX_SEALED, exact};

    pub(super) const SEALED: Field = Field::new(1, "sealed", 0..=MAX_SEALED).once();
    pub(super) const ISSUED: Field = exact(2, "issued_ms", 8);
    pub(super) const EXPIRES: Field = exact(3, "expires_ms", 8);
}

/// Rows of `Limits`.
mod limits {
    use super::{Field, exact};

    pub(super) const MAX_PAYLOAD: Field = exact(1, "max_payload", 4);
    pub(super) const MAX_BODY: Field = exact(2, "max_body", 4);
    pub(super) const HEARTBEAT: Field = exact(3, "heartbeat_ms", 4);
    pub(super) const SYNC_PAGE: Field = exact(4, "sync_page", 4);
}

/// Rows of `Refusal`.
mod refusal {
    use super::{Field, MAX_DETAIL, exact, offers};

    pub(super) const CODE: Field = exact(1, "code", 4);
    pub(super) const DETAIL: Field = Field::new(2, "detail", 0..=MAX_DETAIL).once();
    pub(super) const SERVER_TIME: Field = exact(3, "server_time_ms", 8);
    pub(super) const VERSION: Field = offers(4, "version");
}

/// Rows of `Challenge`.
mod challenge {
    use super::{Field, NESTED, exact, offers};

    pub(super) const TOKEN: Field = exact(1, "token", 32);
    pub(super) const CERTIFICATE: Field = Field::new(2, "certificate", 0..=NESTED).once();
    pub(super) const VERSION: Field = offers(3, "version");
    pub(super) const TRANSPORT: Field = offers(4, "transport");
}

/// `AuthRequest`.
pub const AUTH_REQUEST: Schema = {
    use request::*;
    Schema {
        choice: &[TICKET, INVITATION, LINK, KNOWN_DEVICE, OPEN_REGISTRATION],
        fields: &[
            SIGNING_KEY,
            FINGERPRINT_HASH,
            TIMESTAMP,
            VERSION,
            TRANSPORT,
            SIGNATURE,
            APP_ID,
            DEVICE_NAME,
            BOOTSTRAP,
        ],
    }
};
/// `DeviceLink` and `ServerCertificate`.
pub const SIGNED: Schema = Schema { choice: &[], fields: &[signed::BODY, signed::SIGNATURE] };
/// `AuthResponse`.
pub const AUTH_RESPONSE: Schema = Schema { choice: &[response::GRANT, response::REFUSAL], fields: &[] };
/// `Grant`.
pub const GRANT: Schema = {
    use grant::*;
    Schema { choice: &[], fields: &[SESSION_ID, TICKET, VERSION, LIMITS, UIN, DEVICE_ID, SERVER_TIME] }
};
/// `Ticket`.
pub const TICKET: Schema = Schema { choice: &[], fields: &[ticket::SEALED, ticket::ISSUED, ticket::EXPIRES] };
/// `Limits`.
pub const LIMITS: Schema = {
    use limits::*;
    Schema { choice: &[], fields: &[MAX_PAYLOAD, MAX_BODY, HEARTBEAT, SYNC_PAGE] }
};
/// `Refusal`.
pub const REFUSAL: Schema = {
    use refusal::*;
    Schema { choice: &[], fields: &[CODE, DETAIL, SERVER_TIME, VERSION] }
};
/// `Challenge`.
pub const CHALLENGE: Schema = {
    use challenge::*;
    Schema { choice: &[], fields: &[TOKEN, CERTIFICATE, VERSION, TRANSPORT] }
};

/// The records of an `AuthRequest`.
///
/// # Errors
/// [`RecordError`]: what a reader would find.
///
/// ```
/// use ntproto_core::session::records::{read_auth_request, write_auth_request};
/// use ntproto_proto::v2::{AuthRequest, KnownDevice, auth_request::Credential};
/// let request = AuthRequest {
///     credential: Some(Credential::KnownDevice(KnownDevice {})),
///     signing_key: vec![1; 32].into(),
///     fingerprint_hash: vec![2; 32].into(),
///     signature: vec![3; 64].into(),
///     ..AuthRequest::default()
/// };
/// let bytes = write_auth_request(&request)?;
/// assert_eq!(read_auth_request(&bytes)?, request);
/// # Ok::<(), ntproto_core::wire::tlv3::schema::RecordError>(())
/// ```
pub fn write_auth_request(request: &AuthRequest) -> Result<Vec<u8>, RecordError> {
    use request::*;
    let mut w = Writer::new(Mode::Bare);
    match &request.credential {
        Some(Credential::Ticket(sealed)) => w.put(TICKET.kind, sealed),
        Some(Credential::Invitation(code)) => w.put(INVITATION.kind, code),
        Some(Credential::Link(link)) => {
            w.nest(LINK.kind, |w| write_signed(w, &link.body, &link.signature));
        }
        Some(Credential::KnownDevice(_)) => w.put(KNOWN_DEVICE.kind, &[]),
        Some(Credential::OpenRegistration(_)) => w.put(OPEN_REGISTRATION.kind, &[]),
        None => {}
    }
    w.put(SIGNING_KEY.kind, &request.signing_key);
    w.put(FINGERPRINT_HASH.kind, &request.fingerprint_hash);
    w.put(TIMESTAMP.kind, &request.timestamp_ms.to_le_bytes());
    request.versions.iter().for_each(|version| w.put(VERSION.kind, version.as_bytes()));
    request.transports.iter().for_each(|transport| w.put(TRANSPORT.kind, transport.as_bytes()));
    w.put(SIGNATURE.kind, &request.signature);
    w.put(APP_ID.kind, &request.app_id.to_le_bytes());
    w.put(DEVICE_NAME.kind, request.device_name.as_bytes());
    if !request.bootstrap.is_empty() {
        w.put(BOOTSTRAP.kind, &request.bootstrap);
    }
    readable(w, |bytes| read_auth_request(bytes).map(drop))
}

/// Reads an `AuthRequest`.
///
/// # Errors
/// [`RecordError`].
pub fn read_auth_request(bytes: &[u8]) -> Result<AuthRequest, RecordError> {
    use request::*;
    read(bytes, &AUTH_REQUEST, |fields| {
        let chosen = fields.first().ok_or(RecordError::Missing("credential"))?;
        let credential = match chosen.kind {
            kind if kind == TICKET.kind => Credential::Ticket(copy(chosen.value)),
            kind if kind == INVITATION.kind => Credential::Invitation(copy(chosen.value)),
            kind if kind == LINK.kind => {
                let (body, signature) = read_signed(fields, &LINK)?;
                Credential::Link(DeviceLink { body, signature })
            }
            kind if kind == KNOWN_DEVICE.kind => Credential::KnownDevice(KnownDevice {}),
            _ => Credential::OpenRegistration(OpenRegistration {}),
        };
        Ok(AuthRequest {
            credential: Some(credential),
            signing_key: copy(fields.bytes(&SIGNING_KEY)?),
            fingerprint_hash: copy(fields.bytes(&FINGERPRINT_HASH)?),
            timestamp_ms: fields.u64(&TIMESTAMP)?,
            versions: read_texts(fields, &VERSION)?,
            transports: read_texts(fields, &TRANSPORT)?,
            signature: copy(fields.bytes(&SIGNATURE)?),
            app_id: fields.u32(&APP_ID)?,
            device_name: fields.text(&DEVICE_NAME)?.into(),
            // Early data is QUIC's, where these records are not used.
            early: None,
            bootstrap: fields.all(&BOOTSTRAP).next().map(copy).unwrap_or_default(),
        })
    })
}

/// The records of an `AuthResponse`.
///
/// # Errors
/// [`RecordError`]: what a reader would find.
///
/// ```
/// use ntproto_core::session::records::{read_auth_response, write_auth_response};
/// use ntproto_proto::v2::{AuthResponse, Refusal, auth_response::Answer};
/// let refusal = Refusal { code: 7, detail: "no".into(), ..Refusal::default() };
/// let response = AuthResponse { answer: Some(Answer::Refusal(refusal)) };
/// assert_eq!(read_auth_response(&write_auth_response(&response)?)?, response);
/// # Ok::<(), ntproto_core::wire::tlv3::schema::RecordError>(())
/// ```
pub fn write_auth_response(response: &AuthResponse) -> Result<Vec<u8>, RecordError> {
    let mut w = Writer::new(Mode::Bare);
    match &response.answer {
        Some(Answer::Grant(grant)) => w.nest(response::GRANT.kind, |w| write_grant(w, grant)),
        Some(Answer::Refusal(refusal)) => {
            w.nest(response::REFUSAL.kind, |w| {
                w.put(refusal::CODE.kind, &refusal.code.to_le_bytes());
                w.put(refusal::DETAIL.kind, refusal.detail.as_bytes());
                w.put(refusal::SERVER_TIME.kind, &refusal.server_time_ms.to_le_bytes());
                refusal.versions.iter().for_each(|version| w.put(refusal::VERSION.kind, version.as_bytes()));
            });
        }
        None => {}
    }
    readable(w, |bytes| read_auth_response(bytes).map(drop))
}

/// Reads an `AuthResponse`.
///
/// # Errors
/// [`RecordError`].
pub fn read_auth_response(bytes: &[u8]) -> Result<AuthResponse, RecordError> {
    read(bytes, &AUTH_RESPONSE, |fields| {
        let answer = if let Some(fields) = fields.nested(&response::GRANT, &GRANT)? {
            Answer::Grant(read_grant(&fields)?)
        } else {
            let fields = fields
                .nested(&response::REFUSAL, &REFUSAL)?
                .ok_or(RecordError::Missing(response::REFUSAL.name))?;
            Answer::Refusal(Refusal {
                code: fields.u32(&refusal::CODE)?,
                detail: fields.text(&refusal::DETAIL)?.into(),
                server_time_ms: fields.u64(&refusal::SERVER_TIME)?,
                versions: read_texts(&fields, &refusal::VERSION)?,
            })
        };
        Ok(AuthResponse { answer: Some(answer) })
    })
}

fn write_grant(w: &mut Writer, grant: &Grant) {
    w.put(grant::SESSION_ID.kind, &grant.session_id);
    if let Some(ticket) = &grant.ticket {
        w.nest(grant::TICKET.kind, |w| {
            w.put(ticket::SEALED.kind, &ticket.sealed);
            w.put(ticket::ISSUED.kind, &ticket.issued_ms.to_le_bytes());
            w.put(ticket::EXPIRES.kind, &ticket.expires_ms.to_le_bytes());
        });
    }
    w.put(grant::VERSION.kind, grant.version.as_bytes());
    if let Some(limits) = &grant.limits {
        w.nest(grant::LIMITS.kind, |w| {
            w.put(limits::MAX_PAYLOAD.kind, &limits.max_payload.to_le_bytes());
            w.put(limits::MAX_BODY.kind, &limits.max_body.to_le_bytes());
            w.put(limits::HEARTBEAT.kind, &limits.heartbeat_ms.to_le_bytes());
            w.put(limits::SYNC_PAGE.kind, &limits.sync_page.to_le_bytes());
        });
    }
    w.put(grant::UIN.kind, &grant.uin.to_le_bytes());
    w.put(grant::DEVICE_ID.kind, &grant.device_id);
    w.put(grant::SERVER_TIME.kind, &grant.server_time_ms.to_le_bytes());
}

fn read_grant(fields: &Fields<'_, '_>) -> Result<Grant, RecordError> {
    let ticket = match fields.nested(&grant::TICKET, &TICKET)? {
        None => None,
        Some(fields) => Some(Ticket {
            sealed: copy(fields.bytes(&ticket::SEALED)?),
            issued_ms: fields.u64(&ticket::ISSUED)?,
            expires_ms: fields.u64(&ticket::EXPIRES)?,
        }),
    };
    let limits = match fields.nested(&grant::LIMITS, &LIMITS)? {
        None => None,
        Some(fields) => Some(Limits {
            max_payload: fields.u32(&limits::MAX_PAYLOAD)?,
            max_body: fields.u32(&limits::MAX_BODY)?,
            heartbeat_ms: fields.u32(&limits::HEARTBEAT)?,
            sync_page: fields.u32(&limits::SYNC_PAGE)?,
        }),
    };
    Ok(Grant {
        session_id: copy(fields.bytes(&grant::SESSION_ID)?),
        ticket,
        version: fields.text(&grant::VERSION)?.into(),
        limits,
        uin: fields.u64(&grant::UIN)?,
        device_id: copy(fields.bytes(&grant::DEVICE_ID)?),
        server_time_ms: fields.u64(&grant::SERVER_TIME)?,
    })
}

/// The records of a challenge.
///
/// # Errors
/// [`RecordError`]: what a reader would find.
///
/// ```
/// use ntproto_core::session::records::{Challenge, read_challenge, write_challenge};
/// use ntproto_proto::v2::ServerCertificate;
/// let certificate = ServerCertificate { body: vec![1; 48].into(), signature: vec![2; 64].into() };
/// let versions = vec!["2.4.1".to_owned()];
/// let challenge = Challenge { token: [7; 32], certificate, versions, transports: vec![] };
/// assert_eq!(read_challenge(&write_challenge(&challenge)?)?, challenge);
/// # Ok::<(), ntproto_core::wire::tlv3::schema::RecordError>(())
/// ```
pub fn write_challenge(challenge: &Challenge) -> Result<Vec<u8>, RecordError> {
    use challenge::*;
    let mut w = Writer::new(Mode::Bare);
    w.put(TOKEN.kind, &challenge.token);
    let ServerCertificate { body, signature } = &challenge.certificate;
    w.nest(CERTIFICATE.kind, |w| write_signed(w, body, signature));
    challenge.versions.iter().for_each(|version| w.put(VERSION.kind, version.as_bytes()));
    challenge.transports.iter().for_each(|transport| w.put(TRANSPORT.kind, transport.as_bytes()));
    readable(w, |bytes| read_challenge(bytes).map(drop))
}

/// Reads a challenge.
///
/// # Errors
/// [`RecordError`].
pub fn read_challenge(bytes: &[u8]) -> Result<Challenge, RecordError> {
    use challenge::*;
    read(bytes, &CHALLENGE, |fields| {
        let (body, signature) = read_signed(fields, &CERTIFICATE)?;
        Ok(Challenge {
            token: fields.array(&TOKEN)?,
            certificate: ServerCertificate { body, signature },
            versions: read_texts(fields, &VERSION)?,
            transports: read_texts(fields, &TRANSPORT)?,
        })
    })
}

fn write_signed(w: &mut Writer, body: &[u8], signature: &[u8]) {
    w.put(signed::BODY.kind, body);
    w.put(signed::SIGNATURE.kind, signature);
}

fn read_signed(fields: &Fields<'_, '_>, field: &Field) -> Result<(Bytes, Bytes), RecordError> {
    let fields = fields.nested(field, &SIGNED)?.ok_or(RecordError::Missing(field.name))?;
    Ok((copy(fields.bytes(&signed::BODY)?), copy(fields.bytes(&signed::SIGNATURE)?)))
}

fn read_texts(fields: &Fields<'_, '_>, field: &Field) -> Result<Vec<String>, RecordError> {
    fields.texts(field).map(|text| text.map(String::from)).collect()
}

fn copy(value: &[u8]) -> Bytes {
    Bytes::copy_from_slice(value)
}

fn read<T>(
    bytes: &[u8],
    schema: &Schema,
    convert: impl FnOnce(&Fields<'_, '_>) -> Result<T, RecordError>,
) -> Result<T, RecordError> {
    let budget = Budget::new();
    convert(&schema.read(Reader::new(Mode::Bare, bytes, &budget))?)
}

/// The document, when `read` takes it: the reader's rules are the writer's, so a caller learns of its mistake before sending.
fn readable(w: Writer, read: impl FnOnce(&[u8]) -> Result<(), RecordError>) -> Result<Vec<u8>, RecordError> {
    let bytes = w.finish()?;
    read(&bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
