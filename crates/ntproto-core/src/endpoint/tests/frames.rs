//! Every frame type, length and flag, as the server takes it.

use super::*;

// ── what the specification asks for, clause by clause ───────────────────────────────────────────────

/// A session's link at the server, and the split its keys come from.
fn server_side() -> (link::Link, NoiseSplit) {
    let split = || NoiseSplit { k1: Secret::new([1; 32]), k2: Secret::new([2; 32]), h: [3; 32] };
    let heartbeat = Heartbeat::new(at(0).mono, INTERVAL);
    (
        link::Link::new(
            &RUSTCRYPTO,
            Side::Server,
            Carriage::Frames,
            &split(),
            &BINDING,
            heartbeat,
            at(0).mono,
        ),
        split(),
    )
}

/// A frame sealed by hand, as the specification says: the first sealed one of the client on its channel.
fn sealed(split: &NoiseSplit, kind: u8, flags: Flags, channel: Channel, plain: &[u8]) -> (Header, Vec<u8>) {
    let schedule = KeySchedule::new(&RUSTCRYPTO, split, &BINDING);
    let (key, mut nonce) = schedule.channel_key(Direction::ClientToServer, channel);
    let msg_seq = 1u64.to_be_bytes();
    nonce[4..].iter_mut().zip(msg_seq).for_each(|(n, s)| *n ^= s);
    let seq = 1 + u64::from(channel == Channel::Control);
    let header = Header { kind, flags, channel, len: (plain.len() + PAYLOAD_OVERHEAD) as u32, seq };
    let mut body = plain.to_vec();
    let aad = [&header.encode()[..], &msg_seq].concat();
    let tag = RUSTCRYPTO.aes256gcm(&key).seal_in_place(&nonce, &aad, &mut body);
    (header, [&msg_seq[..], &nonce, &body, &tag].concat())
}

/// What a server makes of one sealed frame.
fn received(kind: u8, flags: Flags, channel: Channel, plain: &[u8]) -> Result<usize, PeerError> {
    let (mut link, split) = server_side();
    let (header, payload) = sealed(&split, kind, flags, channel, plain);
    let mut events = alloc::collections::VecDeque::new();
    let heard = link.receive(at(1).mono, Phase::Open, &header, &payload, &mut events)?;
    // That a frame opened is told of any.
    assert!(matches!(events.pop_front(), Some(server::Event::Confirmed)));
    Ok(events.len() + usize::from(matches!(heard, link::Heard::End(..))))
}

//= proof: frames-7, frames-8
#[test]
fn every_frame_type_has_an_answer_in_a_session() {
    for kind in 0..=255u8 {
        let flags = [Flags(0), Flags::IGNORABLE];
        for (flags, channel) in flags.into_iter().flat_map(|f| Channel::STREAMS.map(|channel| (f, channel))) {
            let got = received(kind, flags, channel, &[]);
            let code = got.map_err(PeerError::code);
            use FrameType as T;
            let known = FrameType::from_wire(kind);
            let expect = match (channel, known) {
                (_, None) if flags == Flags::IGNORABLE => Ok(0),
                (Channel::Control, Some(T::TicketRefresh | T::Error | T::Close)) => Ok(1),
                // They have a place here, but not with this payload.
                (Channel::Control, Some(T::Heartbeat | T::HeartbeatAck | T::KeyUpdate))
                | (Channel::Message, Some(T::MsgEncryptedV2))
                | (Channel::Sync, Some(T::SyncDelta)) => Err(ErrorCode::BadRequest),
                _ => Err(ErrorCode::UnexpectedFrame),
            };
            assert_eq!(code, expect, "{kind} {flags:?} {channel:?}");
        }
    }
    // The exception is for frames whose tag was verified.
    let (mut link, split) = server_side();
    let (header, mut payload) = sealed(&split, 200, Flags::IGNORABLE, Channel::Message, b"x");
    payload[21] ^= 1;
    let mut events = alloc::collections::VecDeque::<server::Event>::new();
    let refused = link.receive(at(1).mono, Phase::Open, &header, &payload, &mut events).err();
    assert_eq!(refused, Some(PeerError::Forged));
    assert!(events.is_empty());
}

//= proof: frames-9, frames-10
#[test]
fn payloads_have_their_lengths() {
    let bad = Err(PeerError::Malformed);
    for len in 0..20 {
        let plain = &[0; 20][..len];
        let heartbeat = received(FrameType::Heartbeat as u8, Flags(0), Channel::Control, plain);
        assert_eq!(heartbeat, if len == 8 { Ok(0) } else { bad });
        let ack = received(FrameType::HeartbeatAck as u8, Flags(0), Channel::Control, plain);
        assert_eq!(ack, if len == 8 { Ok(0) } else { bad });
        let update = received(FrameType::KeyUpdate as u8, Flags(0), Channel::Control, plain);
        assert_eq!(update, if len == 1 { Ok(0) } else { bad });
        let refresh = received(FrameType::TicketRefresh as u8, Flags(0), Channel::Control, plain);
        assert_eq!(refresh, if len == 0 { Ok(1) } else { bad });
    }
    for n in 0..=255 {
        let update = received(FrameType::KeyUpdate as u8, Flags(0), Channel::Control, &[n]);
        assert_eq!(update, if n < 2 { Ok(0) } else { bad });
    }
    for (kind, channel) in
        [(FrameType::MsgEncryptedV2, Channel::Message), (FrameType::SyncDelta, Channel::Sync)]
    {
        let empty = received(kind as u8, Flags(0), channel, &[]);
        assert_eq!(empty.map_err(PeerError::code), Err(ErrorCode::BadRequest));
        let mut plain = Vec::new();
        packet(Kind::Push, b"one").encode(&mut plain);
        assert_eq!(received(kind as u8, Flags(0), channel, &plain), Ok(1));
    }
    assert_eq!(PeerError::Malformed.code(), ErrorCode::BadRequest);
}

//= proof: frames-4
#[test]
fn unknown_flags_are_ignored() {
    for bit in 2..8 {
        let flags = Flags(1 << bit);
        let refresh = received(FrameType::TicketRefresh as u8, flags, Channel::Control, &[]);
        assert_eq!(refresh, Ok(1), "sealed");
        let mut pair = Pair::new();
        let (_, mut request) = pair.client_sends().remove(0);
        request[2] |= flags.0;
        request.truncate(request.len() - TRAILER_LEN);
        append_checksum(&mut request, 0);
        pair.server.handle(pair.now, Input::Bytes { channel: Channel::Control, data: &request });
        pair.server_sends();
        assert!(matches!(pair.server_events[..], [server::Event::AuthRequest(_)]), "in the clear");
    }
}

//= proof: frames-5
#[test]
fn a_frame_in_the_clear_ends_a_session() {
    for kind in FrameType::ALL {
        for channel in Channel::STREAMS {
            let mut pair = Pair::open();
            let seq = 1 + u64::from(channel == Channel::Control);
            let mut bytes = Vec::new();
            encode(kind as u8, Flags(0), channel, seq, &[0; 40], &mut bytes);
            pair.server.handle(pair.now, Input::Bytes { channel, data: &bytes });
            pair.client.handle(pair.now, Input::Bytes { channel, data: &bytes });
            pair.server_sends();
            pair.client_sends();
            assert_eq!(pair.server_closed(), [Closed::PeerError(PeerError::Forged)]);
            assert_eq!(pair.client_closed(), [Closed::PeerError(PeerError::Forged)]);
        }
    }
}

//= proof: channels-1, spec-3
#[test]
fn a_frame_says_the_version_and_the_channel_it_comes_on() {
    for open in [false, true] {
        let broken = |change: fn(&mut Vec<u8>)| {
            let mut pair = if open { Pair::open() } else { Pair::new() };
            let mut bytes = Vec::new();
            encode(FrameType::Close as u8, Flags(0), Channel::Control, 1, &[0; 40], &mut bytes);
            bytes.truncate(bytes.len() - TRAILER_LEN);
            change(&mut bytes);
            append_checksum(&mut bytes, 0);
            pair.server.handle(pair.now, Input::Bytes { channel: Channel::Control, data: &bytes });
            let sent = pair.server_sends();
            if !open && bytes[0] != 2 {
                let told = String::from_utf8_lossy(&sent[0].1).into_owned();
                assert!(told.contains("this side speaks 2"), "{told}");
            }
            pair.server_closed()[0].code()
        };
        for version in [0, 1, 3, 255] {
            let code = match version {
                0 => broken(|frame| frame[0] = 0),
                1 => broken(|frame| frame[0] = 1),
                3 => broken(|frame| frame[0] = 3),
                _ => broken(|frame| frame[0] = 255),
            };
            assert_eq!(code, ErrorCode::Version);
        }
        assert_eq!(broken(|frame| frame[3] = Channel::Message as u8), ErrorCode::Protocol);
        assert_eq!(broken(|frame| frame[3] = Channel::Media as u8), ErrorCode::Protocol);
        assert_eq!(broken(|frame| frame[3] = 4), ErrorCode::Protocol);
    }
}
