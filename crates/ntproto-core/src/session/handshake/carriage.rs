//! How handshake messages travel, and how their payloads are written.

use alloc::vec::Vec;

use bytes::Bytes;
use ntproto_proto::v2::{AuthRequest, AuthResponse};
use prost::Message as _;

use super::{HandshakeError, PROLOGUE};
use crate::session::records;
use crate::wire::nthd;

/// What carries a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carriage {
    /// Frames on CONTROL, payloads in protobuf: over QUIC and on the web.
    Frames,
    /// NTHD messages, payloads in TLV3 records: over TCP.
    Nthd,
}

impl Carriage {
    /// The prologue of a handshake A whose first message has `len` bytes. On TCP the header that announces it
    /// is part of it: an altered one is fatal.
    pub(super) fn prologue(self, len: usize) -> Vec<u8> {
        let mut prologue = PROLOGUE.to_vec();
        if self == Self::Nthd {
            //= spec: tcp-6
            prologue.extend_from_slice(&nthd::header(len as u32));
        }
        prologue
    }

    pub(super) fn write_request(self, request: &AuthRequest) -> Result<Vec<u8>, HandshakeError> {
        match self {
            Self::Frames => Ok(request.encode_to_vec()),
            Self::Nthd => Ok(records::write_auth_request(request)?),
        }
    }

    pub(super) fn read_request(self, payload: Vec<u8>) -> Result<AuthRequest, HandshakeError> {
        match self {
            //= spec: spec-1, spec-2
            Self::Frames => AuthRequest::decode(Bytes::from(payload))
                .map_err(|_| HandshakeError::Malformed("not an AuthRequest")),
            Self::Nthd => Ok(records::read_auth_request(&payload)?),
        }
    }

    pub(super) fn write_response(self, response: &AuthResponse) -> Result<Vec<u8>, HandshakeError> {
        match self {
            Self::Frames => Ok(response.encode_to_vec()),
            Self::Nthd => Ok(records::write_auth_response(response)?),
        }
    }

    pub(super) fn read_response(self, payload: Vec<u8>) -> Result<AuthResponse, HandshakeError> {
        match self {
            Self::Frames => AuthResponse::decode(Bytes::from(payload))
                .map_err(|_| HandshakeError::Malformed("not an AuthResponse")),
            Self::Nthd => Ok(records::read_auth_response(&payload)?),
        }
    }
}
