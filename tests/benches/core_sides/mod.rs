//! What is compared: a message and a handshake in memory, ours and the peers'.

pub mod ours;
pub mod peers;

use bytes::Bytes;
use ntproto_proto::v2;

/// What a sender sends, protobuf included.
pub fn message(size: usize) -> v2::SendRequest {
    v2::SendRequest {
        conversation: Bytes::from_static(&[1; 16]),
        client_msg_id: Bytes::from_static(&[2; 16]),
        body: vec![7; size].into(),
        resolve_only: false,
        ..Default::default()
    }
}
