//! What an error says: one line, something, and not what another of its kind says.

use std::collections::BTreeSet;
use std::fmt::{Debug, Display};

use ntproto_core::channel::{KeyLimit, Refused};
use ntproto_core::client::{self, Failure, MAX_BODY, Stopped, StoreError};
use ntproto_core::code::ErrorCode;
use ntproto_core::crypto::CryptoError;
use ntproto_core::crypto::identity::{CertificateError, LinkError};
use ntproto_core::endpoint::{self, Closed, PeerError};
use ntproto_core::session::handshake::HandshakeError;
use ntproto_core::session::ticket::TicketError;
use ntproto_core::wire::frame::FrameError;
use ntproto_core::wire::packet::{PacketError, PacketId};

fn told_apart<T: Display + Debug>(all: &[T]) {
    let texts: BTreeSet<String> = all
        .iter()
        .map(|one| {
            let text = one.to_string();
            assert!(!text.is_empty() && !text.contains('\n'), "{one:?}");
            text
        })
        .collect();
    assert_eq!(texts.len(), all.len(), "{texts:?}");
}

#[test]
fn errors_of_the_wire() {
    told_apart(&[
        FrameError::Version(3),
        FrameError::Channel(9),
        FrameError::TooLarge(5_000),
        FrameError::Checksum,
    ]);
    told_apart(&[
        PacketError::Truncated,
        PacketError::Flags(0x40),
        PacketError::RequestId,
        PacketError::Empty,
    ]);
    told_apart(ErrorCode::ALL);
    let names: BTreeSet<_> = (0..=u16::MAX).filter_map(|n| PacketId(n).name()).collect();
    assert_eq!(names.len(), PacketId::ALL.len());
}

#[test]
fn errors_of_cryptography_and_sessions() {
    told_apart(&[CryptoError]);
    told_apart(&[KeyLimit]);
    told_apart(&[Refused]);
    use CertificateError as C;
    told_apart(&[C::Signature, C::Malformed, C::NotYetValid, C::Expired]);
    told_apart(&[LinkError::Signature, LinkError::Malformed, LinkError::Expired]);
    use TicketError as T;
    told_apart(&[T::Invalid, T::UnknownKey, T::WrongDevice, T::Revoked, T::NotYetValid, T::Expired]);
    use HandshakeError as H;
    told_apart(&[H::TooLarge, H::Unreadable, H::Malformed("a name"), H::Signature, H::Version]);
}

#[test]
fn ends_and_misuse() {
    let ends = [
        Closed::Local(ErrorCode::Normal),
        Closed::Peer(Some(ErrorCode::GoingAway)),
        Closed::Peer(None),
        Closed::PeerError(PeerError::Forged),
        Closed::Refused(Some(ErrorCode::Revoked)),
        Closed::Refused(None),
        Closed::AuthTimeout,
        Closed::Silent,
        Closed::TicketExpired,
        Closed::KeyLimit,
        Closed::Transport,
    ];
    told_apart(&ends);
    told_apart(&ends.map(client::Down::Closed));
    told_apart(&[client::Down::Unreachable]);
    use endpoint::Misuse as E;
    told_apart(&[E::State, E::QueueFull, E::TooLarge, E::Channel]);
    use client::Misuse as M;
    let all = [
        M::State,
        M::TooLarge,
        M::OutboxFull,
        M::TooManyRequests,
        M::DuplicateId,
        M::UnknownId,
        M::NotMember,
    ];
    told_apart(&all);
    assert!(M::TooLarge.to_string().contains(&(MAX_BODY / 1024).to_string()));
    told_apart(&[StoreError::Full, StoreError::Failed, StoreError::Damaged]);
    told_apart(&[
        Failure::Refused(Some(ErrorCode::Forbidden), String::new()),
        Failure::Refused(Some(ErrorCode::Forbidden), "why".into()),
        Failure::Refused(None, "why".into()),
        Failure::DeadlineExceeded,
        Failure::Cancelled,
        Failure::Disconnected,
        Failure::Store(StoreError::Full),
    ]);
    told_apart(&[
        Stopped::Closed,
        Stopped::Refused(ErrorCode::Revoked),
        Stopped::Superseded,
        Stopped::Store(StoreError::Failed),
        Stopped::Configuration,
    ]);
}
