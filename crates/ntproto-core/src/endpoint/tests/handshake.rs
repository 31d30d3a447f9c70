//! Up to the grant or the refusal.

use super::*;

#[test]
fn a_refusal_is_authenticated() {
    let mut pair = Pair::new();
    pair.run();
    let refusal = v2::Refusal { code: ErrorCode::Revoked as u32, server_time_ms: 7, ..Default::default() };
    pair.server.call(pair.now, &mut pair.rng, server::Command::Refuse(refusal.clone())).unwrap();
    pair.run();
    assert!(matches!(&pair.client_events[0], client::Event::Refused(r) if *r == refusal));
    assert_eq!(pair.client_closed(), [Closed::Refused(Some(ErrorCode::Revoked))]);
    assert_eq!(pair.server_closed(), [Closed::Refused(Some(ErrorCode::Revoked))]);
}

//= proof: handshake-5
#[test]
fn a_wrong_server_key_is_seen_by_the_server() {
    let other = ServerKey::generate(&mut Rng::new([77; 32]), &RUSTCRYPTO, 9);
    let mut pair = Pair::with_server(other.public());
    pair.run();
    assert_eq!(pair.server_closed(), [Closed::PeerError(PeerError::Handshake)]);
    assert_eq!(pair.client_closed(), [Closed::Peer(Some(ErrorCode::Handshake))]);
}

#[test]
fn a_session_is_bound_to_its_transport() {
    let mut pair = Pair::new();
    let other = Binding { exporter: [6; 32], ..BINDING };
    pair.server = ServerEndpoint::new(at(0), &RUSTCRYPTO, server_keys(), other, INTERVAL);
    pair.run();
    pair.server.call(pair.now, &mut pair.rng, server::Command::Grant(grant())).unwrap();
    pair.run();
    pair.client.call(pair.now, client::Command::RefreshTicket).unwrap();
    pair.run();
    assert_eq!(pair.server_closed(), [Closed::PeerError(PeerError::Forged)]);
}

#[test]
fn the_handshake_has_a_deadline() {
    let mut pair = Pair::new();
    pair.now = at(AUTH_TIMEOUT.as_millis() as u64);
    pair.server_sends();
    pair.client_sends();
    assert_eq!(pair.server_closed(), [Closed::AuthTimeout]);
    assert_eq!(pair.client_closed(), [Closed::AuthTimeout]);
}

//= proof: frames-7, handshake-4
#[test]
fn every_frame_type_has_an_answer_before_authentication() {
    for kind in 0..=255u8 {
        for flags in [Flags(0), Flags::IGNORABLE] {
            for channel in Channel::STREAMS {
                let mut server = ServerEndpoint::new(at(0), &RUSTCRYPTO, server_keys(), BINDING, INTERVAL);
                let mut bytes = Vec::new();
                encode(kind, flags, channel, 1, b"x", &mut bytes);
                server.handle(at(0), Input::Bytes { channel, data: &bytes });
                let Output::Event(server::Event::Closed(why)) = server.poll_output(at(0), None) else {
                    panic!("{kind} {channel:?}")
                };
                let expect = match (FrameType::from_wire(kind), channel) {
                    (Some(FrameType::AuthReq), Channel::Control) => Closed::PeerError(PeerError::Handshake),
                    (Some(FrameType::Error | FrameType::Close), Channel::Control) => Closed::Peer(None),
                    _ => Closed::PeerError(PeerError::Unexpected),
                };
                assert_eq!(why, expect);
            }
        }
    }
}

//= proof: frames-3, frames-5
#[test]
fn only_the_handshake_is_in_the_clear_and_unused_flags_are_zero() {
    let mut pair = Pair::open();
    pair.client
        .call(pair.now, client::Command::Send(Channel::Message, packet(Kind::Push, b"secret")))
        .unwrap();
    pair.client.call(pair.now, client::Command::Send(Channel::Sync, packet(Kind::Push, b"secret"))).unwrap();
    pair.client.call(pair.now, client::Command::RefreshTicket).unwrap();
    pair.client.call(pair.now, client::Command::UpdateKeys).unwrap();
    pair.run();
    pair.now = at(31_000);
    pair.run();
    pair.client.call(pair.now, client::Command::Close(ErrorCode::Normal)).unwrap();
    pair.run();
    let mut frames = 0;
    for mut wire in pair.wire.values().map(|bytes| &bytes[..]) {
        while let Ok(Decoded::Frame { header, payload, consumed }) = decode(wire, MAX_PAYLOAD) {
            assert_eq!(header.flags.0 & !3, 0);
            let handshake = [FrameType::AuthReq as u8, FrameType::AuthResp as u8].contains(&header.kind);
            assert_eq!(handshake, header.channel == Channel::Control && header.seq == 1);
            if !handshake {
                let numbered = header.seq - u64::from(header.channel == Channel::Control);
                assert_eq!(payload[..8], numbered.to_be_bytes(), "it begins with msg_seq");
            }
            assert!(!payload.windows(6).any(|bytes| bytes == b"secret"));
            frames += 1;
            wire = &wire[consumed..];
        }
        assert!(wire.is_empty());
    }
    assert!(frames >= 9, "{frames}");
}
