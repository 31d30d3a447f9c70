//! What a client is told.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use ntproto_proto::v2::{Limits, ServerCertificate};

use super::ticket::{BootstrapTicket, MAX_BOOTSTRAP};
use crate::session::handshake::{MAX_OFFER_LEN, MAX_OFFERS};
use crate::text::{MAX_CERTIFICATE, is_host};
use crate::time::UnixMillis;

/// The largest answer that is read: ours has about a kilobyte.
pub const MAX_ANSWER: usize = 16 * 1024;
/// Web certificates told of at once: the present one and the next, and as many again.
pub const MAX_HASHES: usize = 4;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A DNS name or an IP address, without brackets.
    pub host: String,
    /// UDP's port, or TCP's.
    pub port: u16,
}

/// What a server can be reached by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// The protocol over QUIC.
    pub quic: Option<Address>,
    /// The protocol over TCP.
    pub tcp: Option<Address>,
    /// WebTransport.
    pub web: Option<Address>,
}

/// What a client is told: all it needs to sign in.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The version chosen.
    pub version: String,
    /// The versions the server speaks, best first.
    pub versions: Vec<String>,
    /// The bootstrap ticket.
    pub ticket: BootstrapTicket,
    /// The server's static key, signed by the operator.
    pub certificate: ServerCertificate,
    /// The operator's key.
    pub operator_key: [u8; 32],
    /// Where the server listens.
    pub endpoints: Endpoints,
    /// SHA-256 of the SubjectPublicKeyInfo of the TLS certificate that `ntp/2` is spoken under.
    pub tls_pin: [u8; 32],
    /// SHA-256 of the web certificates, as browsers take them; none when the public knows them.
    pub web_certificate_hashes: Vec<[u8; 32]>,
    /// What the server will hold a session to, unless the grant says otherwise.
    pub limits: Limits,
    /// The server's clock.
    pub server_time: UnixMillis,
}

impl Answer {
    /// The rules of an answer: what is written keeps them, and what is read is held against them.
    ///
    /// # Errors
    /// [`AnswerError::Field`], with the field's name.
    pub fn check(&self) -> Result<(), AnswerError> {
        use AnswerError::Field;
        let version = |v: &String| !v.is_empty() && v.len() <= MAX_OFFER_LEN;
        if self.versions.len() > MAX_OFFERS || !self.versions.iter().all(version) {
            return Err(Field("versions"));
        }
        if !self.versions.contains(&self.version) {
            return Err(Field("version"));
        }
        if self.ticket.sealed.is_empty() || self.ticket.sealed.len() > MAX_BOOTSTRAP {
            return Err(Field("ticket"));
        }
        let ServerCertificate { body, signature } = &self.certificate;
        if body.is_empty() || body.len() > MAX_CERTIFICATE || signature.len() != 64 {
            return Err(Field("certificate"));
        }
        let Endpoints { quic, tcp, web } = &self.endpoints;
        let good = |a: &Option<Address>| a.as_ref().is_none_or(|a| is_host(&a.host) && a.port != 0);
        if !good(quic) || !good(tcp) || !good(web) || (quic.is_none() && tcp.is_none() && web.is_none()) {
            return Err(Field("endpoints"));
        }
        if self.web_certificate_hashes.len() > MAX_HASHES {
            return Err(Field("web_certificate_hashes"));
        }
        Ok(())
    }
}

/// Why something is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerError {
    /// More than [`MAX_ANSWER`] bytes.
    TooLarge,
    /// Not JSON, or a field is missing or of another kind.
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// A field breaks a rule; this is its name.
    Field(&'static str),
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("the answer is too large"),
            Self::Syntax { line, column } => {
                write!(f, "the answer is not what a server says (line {line}, column {column})")
            }
            Self::Field(name) => write!(f, "the answer's {name} breaks a rule"),
        }
    }
}

impl core::error::Error for AnswerError {}
