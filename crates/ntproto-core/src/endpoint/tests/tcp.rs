//! Connections over TCP: NTHD messages, then frames of every channel.

use super::*;
use crate::crypto::identity::Certificate;
use crate::wire::nthd::{self, NthdError};
use prost::Message as _;

fn operator() -> DeviceKeys {
    DeviceKeys::generate(&mut Rng::new([77; 32]), &RUSTCRYPTO)
}

fn certified_by(operator: &DeviceKeys, not_after: u64) -> Arc<ServerKeys> {
    let key = ServerKey::generate(&mut Rng::new([1; 32]), &RUSTCRYPTO, 1);
    let certificate = Certificate {
        static_key: *key.public(),
        key_id: 1,
        not_before: UnixMillis(0),
        not_after: UnixMillis(not_after),
        tls_pins: alloc::vec::Vec::new(),
    };
    let certificate = certificate.sign(&RUSTCRYPTO, operator.signing_secret());
    Arc::new(ServerKeys::new(key, None).with_certificate(certificate))
}

fn keys() -> Arc<ServerKeys> {
    certified_by(&operator(), u64::MAX)
}

/// The client knows the server's key.
fn known() -> Pair {
    Pair::over(Binding::TCP, ServerIdentity::Known(*keys().current().public()), keys())
}

/// By the operator's key, and a certificate from this instant on.
fn by_operator(since: u64) -> ServerIdentity {
    ServerIdentity::Certified { operator: *operator().signing_public(), since: UnixMillis(since) }
}

/// The client knows the operator's.
fn certified() -> Pair {
    Pair::over(Binding::TCP, by_operator(0), keys())
}

/// A server, and what it sends when these bytes come.
fn server_hears(bytes: &[u8]) -> (Pair, Vec<u8>) {
    let mut pair = certified();
    pair.server.handle(pair.now, Input::Bytes { channel: Channel::Control, data: bytes });
    let sent = pair.server_sends().into_iter().flat_map(|(_, data)| data).collect();
    (pair, sent)
}

//= proof: tcp-5, tcp-6, tcp-7, tcp-10
#[test]
fn both_handshakes_open_a_session() {
    for mut pair in [known(), certified()] {
        pair.run();
        pair.let_in();
        for channel in [Channel::Message, Channel::Sync] {
            pair.client
                .call(pair.now, client::Command::Send(channel, packet(Kind::Request(1), b"up")))
                .unwrap();
            pair.server
                .call(pair.now, &mut pair.rng, server::Command::Send(channel, packet(Kind::Push, b"down")))
                .unwrap();
        }
        pair.run();
        assert_eq!(pair.confirmed, 1);
        assert!(matches!(pair.server_events[..], [server::Event::Packet(..), server::Event::Packet(..)]));
        assert!(matches!(pair.client_events[..], [client::Event::Packet(..), client::Event::Packet(..)]));
    }
}

#[test]
fn a_client_that_was_shown_a_certificate_tells_its_key() {
    let mut pair = certified();
    pair.run();
    pair.server.call(pair.now, &mut pair.rng, server::Command::Grant(grant())).unwrap();
    pair.run();
    let [client::Event::Certified { server_static: key, .. }, client::Event::Granted(_)] =
        &pair.client_events[..]
    else {
        panic!()
    };
    assert_eq!(key, keys().current().public());
}

/// An answer may be late: who made it may have gone, and come back on another connection that it must not end.
//= proof: tcp-12
#[test]
fn after_a_challenge_too_the_first_frame_confirms() {
    let mut pair = certified();
    pair.run();
    pair.let_in();
    assert_eq!(pair.confirmed, 0, "somebody answered, and nobody has heard the grant yet");
    pair.client.call(pair.now, client::Command::RefreshTicket).unwrap();
    pair.run();
    assert_eq!(pair.confirmed, 1);
}

/// The draft's own client sends these twelve bytes.
#[test]
fn twelve_bytes_get_a_challenge() {
    let (pair, sent) = server_hears(&[0x4e, 0x54, 0x48, 0x44, 1, 0, 0, 0, 0, 0, 0, 0]);
    assert!(pair.server_events.is_empty());
    let Ok(nthd::Decoded::Message { payload, consumed }) = nthd::decode(&sent, 4096) else { panic!() };
    assert_eq!(consumed, sent.len());
    assert_eq!(payload[32..64], *keys().current().public());
}

//= proof: tcp-1
#[test]
fn any_cut_gives_the_same_session() {
    for make in [known, certified] {
        let mut pair = make();
        loop {
            let (up, down) = (pair.client_sends(), pair.server_sends());
            if up.is_empty() && down.is_empty() {
                break;
            }
            for (channel, byte) in up.iter().flat_map(|(c, data)| data.iter().map(|byte| (*c, *byte))) {
                pair.server.handle(pair.now, Input::Bytes { channel, data: &[byte] });
            }
            for (channel, byte) in down.iter().flat_map(|(c, data)| data.iter().map(|byte| (*c, *byte))) {
                pair.client.handle(pair.now, Input::Bytes { channel, data: &[byte] });
            }
        }
        pair.let_in();
    }
}

#[test]
fn a_refusal_is_authenticated_by_both_handshakes() {
    for mut pair in [known(), certified()] {
        pair.run();
        let refusal = v2::Refusal { code: ErrorCode::Revoked as u32, ..Default::default() };
        pair.server.call(pair.now, &mut pair.rng, server::Command::Refuse(refusal)).unwrap();
        pair.run();
        assert_eq!(pair.client_closed(), [Closed::Refused(Some(ErrorCode::Revoked))]);
        assert_eq!(pair.server_closed(), [Closed::Refused(Some(ErrorCode::Revoked))]);
        assert!(pair.client_events.iter().any(|e| matches!(e, client::Event::Refused(_))));
    }
}

/// What a server makes of a stranger: the error it tells, in a frame in the clear, and why it closed.
//= proof: tcp-4
#[test]
fn strangers_get_a_typed_error() {
    let header = |f: fn(&mut [u8; 12])| {
        let mut header = nthd::header(0);
        f(&mut header);
        header.to_vec()
    };
    let large = header(|h| h[8..].fill(0xff));
    let cases: [(Vec<u8>, PeerError, ErrorCode); 7] = [
        (header(|h| h[0] = b'M'), PeerError::Nthd(NthdError::BadMagic), ErrorCode::Protocol),
        (header(|h| h[4] = 2), PeerError::Nthd(NthdError::Version(2)), ErrorCode::Version),
        (header(|h| h[6] = 1), PeerError::Nthd(NthdError::Reserved), ErrorCode::Protocol),
        (large, PeerError::Nthd(NthdError::TooLarge(u32::MAX)), ErrorCode::TooLarge),
        // A TLS ClientHello, and a request of HTTP.
        (alloc::vec![0x16, 3, 1, 2, 0, 1, 0, 1], PeerError::Nthd(NthdError::BadMagic), ErrorCode::Protocol),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), PeerError::Nthd(NthdError::BadMagic), ErrorCode::Protocol),
        // Something of the right shape that no client made.
        ([&nthd::header(200)[..], &[7; 200]].concat(), PeerError::Handshake, ErrorCode::Handshake),
    ];
    for (bytes, error, code) in cases {
        let (pair, sent) = server_hears(&bytes);
        assert_eq!(pair.server_closed(), [Closed::PeerError(error)], "{bytes:02x?}");
        let Ok(Decoded::Frame { header, payload, .. }) = decode(&sent, 4096) else { panic!() };
        assert_eq!(header.kind, FrameType::Error as u8);
        assert_eq!(v2::Error::decode(payload).unwrap().code, code as u32);
    }
}

#[test]
fn half_a_header_and_silence_time_out() {
    let (mut pair, sent) = server_hears(b"NTHD\x01\0");
    assert!(sent.is_empty() && pair.server_events.is_empty());
    pair.now = at(AUTH_TIMEOUT.as_millis() as u64);
    pair.server.handle(pair.now, Input::Timeout);
    assert!(!pair.server_sends().is_empty(), "it is told");
    assert_eq!(pair.server_closed(), [Closed::AuthTimeout]);
}

/// The answer to one challenge is none to another, nor to the same one a second time.
#[test]
fn a_challenge_is_answered_once() {
    let mut first = certified();
    for (channel, data) in first.client_sends() {
        first.server.handle(first.now, Input::Bytes { channel, data: &data });
    }
    for (channel, data) in first.server_sends() {
        first.client.handle(first.now, Input::Bytes { channel, data: &data });
    }
    let answer: Vec<u8> = first.client_sends().into_iter().flat_map(|(_, data)| data).collect();

    let (mut other, _) = server_hears(&nthd::header(0));
    // Another connection's challenge has other keys.
    other.rng = Rng::new([200; 32]);
    let mut second = certified();
    second.rng = Rng::new([201; 32]);
    second.server.handle(second.now, Input::Bytes { channel: Channel::Control, data: &nthd::header(0) });
    second.server_sends();
    second.server.handle(second.now, Input::Bytes { channel: Channel::Control, data: &answer });
    second.server_sends();
    assert_eq!(second.server_closed(), [Closed::PeerError(PeerError::Handshake)]);

    first.server.handle(first.now, Input::Bytes { channel: Channel::Control, data: &answer });
    first.server_sends();
    first.server.handle(first.now, Input::Bytes { channel: Channel::Control, data: &answer });
    first.server_sends();
    assert!(matches!(first.server_closed()[..], [Closed::PeerError(_)]));
}

/// A server's side of a handshake, recorded and played to another client.
#[test]
fn a_recorded_server_gets_no_session() {
    let mut first = certified();
    first.run();
    first.let_in();
    let recorded = first.wire[&(false, Channel::Control)].clone();
    let mut second = certified();
    second.rng = Rng::new([99; 32]);
    let device = DeviceKeys::generate(&mut second.rng, &RUSTCRYPTO);
    let config = client::Config {
        provider: &RUSTCRYPTO,
        server: by_operator(0),
        binding: Binding::TCP,
        heartbeat: INTERVAL,
    };
    second.client = ClientEndpoint::new(at(0), config, &device, request(), &mut second.rng).unwrap();
    second.client_sends();
    second.client.handle(second.now, Input::Bytes { channel: Channel::Control, data: &recorded });
    second.client_sends();
    assert_eq!(second.client_closed().len(), 1);
    assert!(matches!(second.client_events[..], [client::Event::Closed(Closed::PeerError(_))]));
}

/// Records as deep, and as many, as a message has room for: in a challenge, and in what claims to be a first message.
#[test]
fn bombs_inside_messages_are_refused() {
    let nested = |depth: usize| {
        let mut bytes: Vec<u8> = Vec::new();
        for _ in 0..depth {
            let len = bytes.len() as u32;
            bytes = [&[3, 0x30][..], &len.to_le_bytes(), &bytes].concat();
        }
        bytes
    };
    let siblings: Vec<u8> = [1, 0x30, 0, 0, 0, 0].repeat(600);
    for bomb in [nested(600), siblings] {
        let mut pair = certified();
        pair.client_sends();
        let message = [&[9; 64][..], &bomb].concat();
        let data = [&nthd::header(message.len() as u32)[..], &message].concat();
        pair.client.handle(pair.now, Input::Bytes { channel: Channel::Control, data: &data });
        pair.client_sends();
        assert_eq!(pair.client_closed(), [Closed::PeerError(PeerError::Handshake)]);
        let (pair, _) = server_hears(&data);
        assert_eq!(pair.server_closed(), [Closed::PeerError(PeerError::Handshake)]);
    }
}

#[test]
fn a_wrong_checksum_ends_a_session() {
    let mut pair = certified();
    pair.run();
    pair.let_in();
    pair.client.call(pair.now, client::Command::RefreshTicket).unwrap();
    for (channel, mut data) in pair.client_sends() {
        *data.last_mut().unwrap() ^= 1;
        pair.server.handle(pair.now, Input::Bytes { channel, data: &data });
    }
    pair.server_sends();
    assert_eq!(pair.server_closed(), [Closed::PeerError(PeerError::Frame(FrameError::Checksum))]);
}

#[test]
fn a_second_hello_and_frames_of_quics_handshake_are_refused() {
    let (pair, _) = server_hears(&[nthd::header(0), nthd::header(0)].concat());
    assert_eq!(pair.server_closed(), [Closed::PeerError(PeerError::Handshake)]);
    let mut auth_req = Vec::new();
    encode(FrameType::AuthReq as u8, Flags(0), Channel::Control, 1, &[0; 200], &mut auth_req);
    let (pair, _) = server_hears(&auth_req);
    assert_eq!(pair.server_closed(), [Closed::PeerError(PeerError::Unexpected)]);
    // While the server decides, the client waits.
    let mut pair = known();
    pair.run();
    pair.server.handle(pair.now, Input::Bytes { channel: Channel::Control, data: &nthd::header(0) });
    pair.server_sends();
    assert_eq!(pair.server_closed(), [Closed::PeerError(PeerError::Unexpected)]);
}

//= proof: tcp-8
#[test]
fn a_certificate_must_be_the_operators_and_in_force() {
    let stranger = DeviceKeys::generate(&mut Rng::new([78; 32]), &RUSTCRYPTO);
    for keys in [certified_by(&stranger, u64::MAX), certified_by(&operator(), at(0).unix.0)] {
        let server = by_operator(0);
        let mut pair = Pair::over(Binding::TCP, server, keys);
        pair.run();
        assert_eq!(pair.client_closed(), [Closed::PeerError(PeerError::Handshake)]);
        assert_eq!(pair.server_closed(), [Closed::Peer(Some(ErrorCode::Handshake))]);
    }
    // One that is good, for another key than the one that speaks.
    let other = ServerKey::generate(&mut Rng::new([5; 32]), &RUSTCRYPTO, 1);
    let certificate = keys().certificate().unwrap().clone();
    let keys = Arc::new(ServerKeys::new(other, None).with_certificate(certificate));
    let mut pair = Pair::over(Binding::TCP, by_operator(0), keys);
    pair.run();
    assert_eq!(pair.client_closed(), [Closed::PeerError(PeerError::Handshake)]);
}

/// Somebody on the path who has an old key of the server's, and the certificate that it had then.
//= proof: tcp-14
#[test]
fn a_certificate_from_before_the_one_that_is_known_is_not_believed() {
    // What the server shows begins at 0.
    let mut pair = Pair::over(Binding::TCP, by_operator(1), keys());
    pair.run();
    assert_eq!(pair.client_closed(), [Closed::PeerError(PeerError::Handshake)]);
    assert_eq!(pair.server_closed(), [Closed::Peer(Some(ErrorCode::Handshake))]);
}

#[test]
fn a_server_without_a_certificate_says_so() {
    let server = by_operator(0);
    let mut pair = Pair::over(Binding::TCP, server, server_keys());
    pair.run();
    assert_eq!(pair.client_closed(), [Closed::Peer(Some(ErrorCode::Handshake))]);
    assert_eq!(pair.server_closed(), [Closed::Local(ErrorCode::Handshake)]);
}

/// A man in the middle alters one byte of one message: version, length, token, offers, keys, whatever it is.
/// No session comes of it.
//= proof: tcp-6, tcp-7, tcp-9
#[test]
fn an_altered_byte_of_any_handshake_message_is_fatal() {
    for (make, messages) in [(known as fn() -> Pair, 2), (certified, 3)] {
        for message in 0..messages {
            let mut at_byte = 0;
            loop {
                let mut pair = make();
                let (mut seen, mut altered) = (0, false);
                let mut alter = |data: &mut Vec<u8>| {
                    if seen == message && !altered {
                        let Some(byte) = data.get_mut(at_byte) else { return };
                        *byte ^= 1;
                        altered = true;
                    }
                    seen += 1;
                };
                let mut asked = false;
                loop {
                    let (up, down) = (pair.client_sends(), pair.server_sends());
                    if up.is_empty() && down.is_empty() {
                        let weighs = pair.server.phase() == Phase::Deciding;
                        if asked || !weighs {
                            break;
                        }
                        asked = true;
                        pair.server.call(pair.now, &mut pair.rng, server::Command::Grant(grant())).unwrap();
                        continue;
                    }
                    for (channel, mut data) in up {
                        alter(&mut data);
                        pair.server.handle(pair.now, Input::Bytes { channel, data: &data });
                    }
                    for (channel, mut data) in down {
                        alter(&mut data);
                        pair.client.handle(pair.now, Input::Bytes { channel, data: &data });
                    }
                }
                if !altered {
                    assert!(at_byte > 12 || message == 0, "the message was seen");
                    break;
                }
                let granted = pair.client_events.iter().any(|e| matches!(e, client::Event::Granted(_)));
                assert!(!granted, "message {message}, byte {at_byte}");
                at_byte += 1;
            }
            assert!(at_byte >= 12);
        }
    }
}

proptest! {
    #[test]
    fn noise_never_panics_and_is_bounded(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20), good in any::<bool>()) {
        let mut pair = certified();
        if good {
            pair.server.handle(pair.now, Input::Bytes { channel: Channel::Control, data: b"NTHD\x01\0\0\0" });
        }
        for piece in &pieces {
            pair.server.handle(pair.now, Input::Bytes { channel: Channel::Control, data: piece });
            let sent: usize = pair.server_sends().iter().map(|(_, data)| data.len()).sum();
            prop_assert!(sent <= 4096 + 12);
        }
        prop_assert!(pair.server_closed().len() <= 1);
    }
}
