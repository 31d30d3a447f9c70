#![allow(clippy::unwrap_used)]
//! Both sides against each other, in memory.

mod shape;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use ntproto_proto::v2;
use proptest::prelude::*;

use super::client::{self, ClientEndpoint};
use super::rules::{Phase, Side};
use super::server::{self, ServerEndpoint};
use super::*;
use crate::binding::{Binding, TransportId};
use crate::channel::PAYLOAD_OVERHEAD;
use crate::crypto::CryptoProvider as _;
use crate::crypto::identity::{DeviceKeys, ServerKey, ServerKeys};
use crate::crypto::rustcrypto::RUSTCRYPTO;
use crate::crypto::schedule::{Direction, KeySchedule, NoiseSplit};
use crate::crypto::secret::Secret;
use crate::liveness::{ANSWER_WITHIN, Heartbeat, INTERVAL, LONGEST_INTERVAL, SHORTEST_INTERVAL};
use crate::rng::Rng;
use crate::time::{Now, UnixMillis};
use crate::tx::TxBuf;
use crate::wire::frame::{
    Decoded, Flags, FrameType, Header, MAX_PAYLOAD, TRAILER_LEN, append_checksum, decode, encode,
};
use crate::wire::packet::{Kind, Packet, PacketId};

const BINDING: Binding = Binding { transport: TransportId::Quic, exporter: [5; 32] };
const TICKET_LIFE: Duration = Duration::from_secs(900);

fn at(ms: u64) -> Now {
    Now { mono: Instant::from_micros(1 + ms * 1000), unix: UnixMillis(1_700_000_000_000 + ms) }
}

fn server_keys() -> Arc<ServerKeys> {
    Arc::new(ServerKeys::new(ServerKey::generate(&mut Rng::new([1; 32]), &RUSTCRYPTO, 1), None))
}

fn request() -> v2::AuthRequest {
    v2::AuthRequest {
        credential: Some(v2::auth_request::Credential::KnownDevice(v2::KnownDevice {})),
        fingerprint_hash: Bytes::from_static(&[0; 32]),
        timestamp_ms: at(0).unix.0,
        versions: Vec::from(["2.4.1".into()]),
        transports: Vec::from(["quic".into()]),
        ..Default::default()
    }
}

fn grant() -> v2::Grant {
    v2::Grant {
        session_id: Bytes::from_static(&[1; 16]),
        device_id: Bytes::from_static(&[2; 16]),
        uin: 10001,
        version: "2.4.1".into(),
        server_time_ms: at(0).unix.0,
        ticket: Some(ticket(0)),
        ..Default::default()
    }
}

fn ticket(ms: u64) -> v2::Ticket {
    let issued_ms = at(ms).unix.0;
    let expires_ms = issued_ms + TICKET_LIFE.as_millis() as u64;
    v2::Ticket { sealed: Bytes::from_static(b"sealed"), issued_ms, expires_ms }
}

fn packet(kind: Kind, body: &[u8]) -> Packet {
    Packet { id: PacketId(0x8001), kind, deadline_ms: None, trace: None, body: Bytes::copy_from_slice(body) }
}

/// A client and a server with a wire between them.
struct Pair {
    client: ClientEndpoint,
    server: ServerEndpoint,
    rng: Rng,
    client_events: Vec<client::Event>,
    server_events: Vec<server::Event>,
    /// How often the server said that a sealed frame came.
    confirmed: usize,
    /// Everything ever put on the wire, by direction (true: to the server) and channel.
    wire: BTreeMap<(bool, Channel), Vec<u8>>,
    now: Now,
}

impl Pair {
    fn new() -> Self {
        Self::with_server(server_keys().current().public())
    }

    fn with_server(server_static: &[u8; 32]) -> Self {
        let mut rng = Rng::new([9; 32]);
        let device = DeviceKeys::generate(&mut rng, &RUSTCRYPTO);
        let config = client::Config {
            provider: &RUSTCRYPTO,
            server_static: *server_static,
            binding: BINDING,
            heartbeat: INTERVAL,
        };
        Self {
            client: ClientEndpoint::new(at(0), config, &device, request(), &mut rng).unwrap(),
            server: ServerEndpoint::new(at(0), &RUSTCRYPTO, server_keys(), BINDING, INTERVAL),
            rng,
            client_events: Vec::new(),
            server_events: Vec::new(),
            confirmed: 0,
            wire: BTreeMap::new(),
            now: at(0),
        }
    }

    fn open() -> Self {
        let mut pair = Self::new();
        pair.run();
        assert!(matches!(pair.server_events[..], [server::Event::AuthRequest(_)]));
        pair.server.call(pair.now, &mut pair.rng, server::Command::Grant(grant())).unwrap();
        pair.run();
        assert!(matches!(pair.client_events[..], [client::Event::Granted(_)]));
        pair.client_events.clear();
        pair.server_events.clear();
        pair
    }

    /// What one side has to send, by channel.
    fn client_sends(&mut self) -> Vec<(Channel, Vec<u8>)> {
        let mut out = Vec::new();
        loop {
            let mut tx = TxBuf::new(64 * 1024);
            match self.client.poll_output(self.now, Some(&mut tx)) {
                Output::Event(e) => self.client_events.push(e),
                Output::Transmit { channel } => {
                    self.wire.entry((true, channel)).or_default().extend_from_slice(tx.as_slice());
                    out.push((channel, tx.as_slice().to_vec()));
                }
                Output::Wait { .. } => return out,
            }
        }
    }

    fn server_sends(&mut self) -> Vec<(Channel, Vec<u8>)> {
        let mut out = Vec::new();
        loop {
            let mut tx = TxBuf::new(64 * 1024);
            match self.server.poll_output(self.now, Some(&mut tx)) {
                Output::Event(server::Event::Confirmed) => self.confirmed += 1,
                Output::Event(e) => self.server_events.push(e),
                Output::Transmit { channel } => {
                    self.wire.entry((false, channel)).or_default().extend_from_slice(tx.as_slice());
                    out.push((channel, tx.as_slice().to_vec()));
                }
                Output::Wait { .. } => return out,
            }
        }
    }

    /// Passes bytes until both are quiet.
    fn run(&mut self) {
        loop {
            let (a, b) = (self.client_sends(), self.server_sends());
            if a.is_empty() && b.is_empty() {
                return;
            }
            for (channel, data) in a {
                self.server.handle(self.now, Input::Bytes { channel, data: &data });
            }
            for (channel, data) in b {
                self.client.handle(self.now, Input::Bytes { channel, data: &data });
            }
        }
    }

    fn server_closed(&self) -> Vec<Closed> {
        self.server_events
            .iter()
            .filter_map(|e| if let server::Event::Closed(why) = e { Some(*why) } else { None })
            .collect()
    }

    fn client_closed(&self) -> Vec<Closed> {
        self.client_events
            .iter()
            .filter_map(|e| if let client::Event::Closed(why) = e { Some(*why) } else { None })
            .collect()
    }
}

/// A heartbeat proves that the client holds the keys as well as a packet does.
#[test]
fn the_first_frame_that_opens_is_told_once() {
    let mut pair = Pair::open();
    assert_eq!(pair.confirmed, 0);
    for n in 1..4 {
        pair.now = at(n * INTERVAL.as_millis() as u64);
        pair.run();
        pair.client.call(pair.now, client::Command::UpdateKeys).unwrap();
        pair.run();
        assert_eq!((pair.confirmed, pair.server_events.len()), (1, 0));
    }
}

#[test]
fn packets_travel_both_ways_on_both_channels() {
    let mut pair = Pair::open();
    for (n, channel) in [Channel::Message, Channel::Sync, Channel::Message].into_iter().enumerate() {
        let request = packet(Kind::Request(n as u32 + 1), &[n as u8; 100]);
        pair.client.call(pair.now, client::Command::Send(channel, request.clone())).unwrap();
        let push = packet(Kind::Push, &[n as u8; 50_000]);
        pair.server.call(pair.now, &mut pair.rng, server::Command::Send(channel, push.clone())).unwrap();
        pair.run();
        let got = pair.server_events.pop().unwrap();
        assert!(matches!(got, server::Event::Packet(c, p) if c == channel && p == request));
        let got = pair.client_events.pop().unwrap();
        assert!(matches!(got, client::Event::Packet(c, p) if c == channel && p == push));
    }
}

#[test]
fn packets_that_wait_together_share_frames() {
    let mut pair = Pair::open();
    for n in 0..100 {
        pair.client
            .call(pair.now, client::Command::Send(Channel::Message, packet(Kind::Push, &[n; 64])))
            .unwrap();
    }
    pair.run();
    assert_eq!(pair.server_events.len(), 100);
    let wire = &pair.wire[&(true, Channel::Message)];
    let Ok(Decoded::Frame { consumed, .. }) = decode(wire, MAX_PAYLOAD) else { panic!() };
    assert_eq!(consumed, wire.len(), "one frame for all");
}

//= proof: channels-2
#[test]
fn control_goes_first_and_full_channels_wait() {
    let mut pair = Pair::open();
    pair.client.call(pair.now, client::Command::Send(Channel::Message, packet(Kind::Push, b"m"))).unwrap();
    pair.client.call(pair.now, client::Command::RefreshTicket).unwrap();
    pair.client
        .handle(pair.now, Input::Writable(ChannelSet::NONE.with(Channel::Message).with(Channel::Control)));
    let order: Vec<_> = pair.client_sends().into_iter().map(|(c, _)| c).collect();
    assert_eq!(order, [Channel::Control, Channel::Message]);
    pair.client.call(pair.now, client::Command::Send(Channel::Message, packet(Kind::Push, b"m"))).unwrap();
    pair.client.handle(pair.now, Input::Writable(ChannelSet::NONE.with(Channel::Control)));
    assert!(pair.client_sends().is_empty());
    pair.client.handle(pair.now, Input::Writable(ChannelSet::ALL));
    assert_eq!(pair.client_sends().len(), 1);
}

#[test]
fn a_full_queue_refuses_and_recovers() {
    let mut pair = Pair::open();
    let big = packet(Kind::Push, &[0; 100_000]);
    let mut accepted = 0;
    while pair.client.call(pair.now, client::Command::Send(Channel::Message, big.clone())).is_ok() {
        accepted += 1;
    }
    assert_eq!(accepted, 3, "the queue takes packets until it holds {QUEUE_LIMIT} bytes");
    pair.run();
    assert_eq!(pair.server_events.len(), 3);
    pair.client.call(pair.now, client::Command::Send(Channel::Message, big)).unwrap();
    let huge = packet(Kind::Push, &alloc::vec![0; MAX_PAYLOAD]);
    let refused = pair.client.call(pair.now, client::Command::Send(Channel::Message, huge));
    assert_eq!(refused, Err(Misuse::TooLarge));
    let control =
        pair.client.call(pair.now, client::Command::Send(Channel::Control, packet(Kind::Push, b"")));
    assert_eq!(control, Err(Misuse::Channel));
}

//= proof: liveness-1
#[test]
fn heartbeats_keep_it_alive_and_silence_ends_it() {
    let mut pair = Pair::open();
    for n in 1..=20 {
        pair.now = at(n * 15_000);
        pair.run();
        assert_eq!((pair.client.phase(), pair.server.phase()), (Phase::Open, Phase::Open));
    }
    // The client is cut off: each side notices by itself.
    let mut now = pair.now;
    while pair.server_closed().is_empty() || pair.client_closed().is_empty() {
        now = Now { mono: now.mono + Duration::from_secs(1), ..now };
        pair.now = now;
        pair.client_sends();
        pair.server_sends();
        assert!(now.mono < at(300_000).mono + INTERVAL + ANSWER_WITHIN + Duration::from_secs(2));
    }
    assert_eq!(pair.server_closed(), [Closed::Silent]);
    assert_eq!(pair.client_closed(), [Closed::Silent]);
}

#[test]
fn a_grant_may_set_the_interval_within_bounds() {
    let asked = |heartbeat_ms: Option<u32>| {
        let mut pair = Pair::new();
        pair.run();
        let limits = heartbeat_ms.map(|heartbeat_ms| v2::Limits { heartbeat_ms, ..Default::default() });
        let grant = v2::Grant { limits, ..grant() };
        pair.server.call(pair.now, &mut pair.rng, server::Command::Grant(grant)).unwrap();
        pair.run();
        assert_eq!(pair.client.wait().1, WaitReason::Heartbeat);
        pair.client.wait().0.unwrap().saturating_since(pair.now.mono)
    };
    assert_eq!(asked(None), INTERVAL);
    assert_eq!(asked(Some(0)), INTERVAL);
    assert_eq!(asked(Some(10_000)), Duration::from_secs(10));
    assert_eq!(asked(Some(1)), SHORTEST_INTERVAL);
    assert_eq!(asked(Some(u32::MAX)), LONGEST_INTERVAL);
}

#[test]
fn a_ticket_is_renewed_or_the_session_ends() {
    let mut pair = Pair::open();
    pair.now = at(600_000);
    pair.client.call(pair.now, client::Command::RefreshTicket).unwrap();
    // Only CONTROL matters here: heartbeats are answered by run().
    pair.run();
    assert!(matches!(pair.server_events[..], [server::Event::TicketRefresh]));
    let issue = server::Command::IssueTicket { ticket: ticket(600_000), server_time_ms: at(600_000).unix.0 };
    pair.server.call(pair.now, &mut pair.rng, issue).unwrap();
    pair.run();
    assert!(matches!(&pair.client_events[..], [client::Event::Ticket(t)] if *t == ticket(600_000)));
    for s in 601..1500 {
        pair.now = at(s * 1000);
        pair.run();
    }
    assert_eq!(pair.server.phase(), Phase::Open);
    pair.now = at(1_500_000);
    pair.run();
    assert_eq!(pair.server_closed(), [Closed::TicketExpired]);
    assert_eq!(pair.client_closed(), [Closed::Peer(Some(ErrorCode::TicketExpired))]);
}

#[test]
fn keys_move_on_in_both_directions() {
    let mut pair = Pair::open();
    for round in 0..6u8 {
        pair.client
            .call(pair.now, client::Command::Send(Channel::Message, packet(Kind::Push, &[round])))
            .unwrap();
        pair.server
            .call(pair.now, &mut pair.rng, server::Command::Send(Channel::Sync, packet(Kind::Push, &[round])))
            .unwrap();
        match round % 2 {
            0 => pair.client.call(pair.now, client::Command::UpdateKeys).unwrap(),
            _ => pair.server.call(pair.now, &mut pair.rng, server::Command::UpdateKeys).unwrap(),
        }
        pair.run();
    }
    assert_eq!(pair.server_events.len(), 6);
    assert_eq!(pair.client_events.len(), 6);
    let epochs: Vec<bool> = frames(&pair.wire[&(true, Channel::Message)]);
    assert!(epochs.contains(&true) && epochs.contains(&false), "{epochs:?}");
}

/// The epoch bit of each frame.
fn frames(mut wire: &[u8]) -> Vec<bool> {
    let mut out = Vec::new();
    while let Ok(Decoded::Frame { header, consumed, .. }) = decode(wire, MAX_PAYLOAD) {
        out.push(header.flags.contains(Flags::KEY_EPOCH));
        wire = &wire[consumed..];
    }
    out
}

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

#[test]
fn closing_is_told_once_on_each_side_and_nothing_works_after() {
    let mut pair = Pair::open();
    pair.client.call(pair.now, client::Command::Close(ErrorCode::Normal)).unwrap();
    assert_eq!(pair.client.call(pair.now, client::Command::Close(ErrorCode::Normal)), Err(Misuse::State));
    assert_eq!(pair.client.call(pair.now, client::Command::RefreshTicket), Err(Misuse::State));
    pair.run();
    pair.client.handle(pair.now, Input::TransportClosed);
    pair.server.handle(pair.now, Input::TransportClosed);
    pair.run();
    assert_eq!(pair.client_closed(), [Closed::Local(ErrorCode::Normal)]);
    assert_eq!(pair.server_closed(), [Closed::Peer(Some(ErrorCode::Normal))]);
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

#[test]
fn a_flood_of_heartbeats_is_cut_off() {
    // The client's answers can't leave: a server that asks on is no honest one.
    let mut pair = Pair::open();
    pair.client.handle(pair.now, Input::Writable(ChannelSet::NONE));
    for n in 1..200u64 {
        pair.now = at(n);
        let Some(link) = server_link(&mut pair.server) else { break };
        link.push_control(FrameType::Heartbeat, n.to_be_bytes().to_vec()).unwrap();
        for (channel, data) in pair.server_sends() {
            pair.client.handle(pair.now, Input::Bytes { channel, data: &data });
        }
        pair.client_sends();
        if !pair.client_closed().is_empty() {
            break;
        }
    }
    assert!(matches!(pair.client_closed()[..], [Closed::PeerError(PeerError::Flood)]));
}

fn server_link(server: &mut ServerEndpoint) -> Option<&mut link::Link> {
    server.base_mut().link()
}

// ── what the specification asks for, clause by clause ───────────────────────────────────────────────

/// A session's link at the server, and the split its keys come from.
fn server_side() -> (link::Link, NoiseSplit) {
    let split = || NoiseSplit { k1: Secret::new([1; 32]), k2: Secret::new([2; 32]), h: [3; 32] };
    let heartbeat = Heartbeat::new(at(0).mono, INTERVAL);
    (link::Link::new(&RUSTCRYPTO, Side::Server, &split(), &BINDING, heartbeat, at(0).mono), split())
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
    let closed = link.receive(at(1).mono, &header, &payload, &mut events)?;
    // That a frame opened is told of any.
    assert!(matches!(events.pop_front(), Some(server::Event::Confirmed)));
    Ok(events.len() + usize::from(closed.is_some()))
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
    assert_eq!(link.receive(at(1).mono, &header, &payload, &mut events), Err(PeerError::Forged));
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

//= proof: frames-6
#[test]
fn after_the_end_whatever_comes_is_dropped() {
    let mut pair = Pair::open();
    pair.client.call(pair.now, client::Command::Send(Channel::Message, packet(Kind::Push, b"late"))).unwrap();
    let late = pair.client_sends();
    pair.server.call(pair.now, &mut pair.rng, server::Command::Close(ErrorCode::GoingAway)).unwrap();
    assert_eq!(pair.server_sends().len(), 1, "its last words");
    pair.server_events.clear();
    for (channel, data) in late {
        pair.server.handle(pair.now, Input::Bytes { channel, data: &data });
    }
    for channel in Channel::ALL {
        pair.server.handle(pair.now, Input::Bytes { channel, data: &[7; 500] });
    }
    pair.now = at(100_000);
    assert!(pair.server_sends().is_empty());
    assert!(pair.server_events.is_empty());
    assert!(matches!(pair.server.poll_output(pair.now, None), Output::Wait { at: None, .. }));
}

//= proof: frames-12
#[test]
fn details_are_for_people() {
    let long = "x".repeat(100_000);
    for detail in ["", "revoked", "REVOKED 35", long.as_str(), "\u{1b}[2J\r\n"] {
        let error = v2::Error { code: ErrorCode::GoingAway as u32, detail: detail.into(), retry_after_ms: 0 };
        let payload = prost::Message::encode_to_vec(&error);
        assert_eq!(link::read_close(&payload), Closed::Peer(Some(ErrorCode::GoingAway)));
    }
    let ours = link::write_close(ErrorCode::Normal, &"ä".repeat(500));
    let ours: v2::Error = prost::Message::decode(&ours[..]).unwrap();
    assert_eq!(ours.detail, "ä".repeat(100), "200 bytes, and no half of a letter");
}

//= proof: sealed-9
#[test]
fn a_key_update_is_not_answered_with_another() {
    let mut pair = Pair::open();
    pair.client.call(pair.now, client::Command::UpdateKeys).unwrap();
    // Not until both are quiet: if each answered the other, they never would be.
    for _ in 0..4 {
        for (channel, data) in pair.client_sends() {
            pair.server.handle(pair.now, Input::Bytes { channel, data: &data });
        }
        for (channel, data) in pair.server_sends() {
            pair.client.handle(pair.now, Input::Bytes { channel, data: &data });
        }
    }
    let updates = |wire: &[u8]| {
        let (mut wire, mut count) = (wire, 0);
        while let Ok(Decoded::Frame { header, consumed, .. }) = decode(wire, MAX_PAYLOAD) {
            count += usize::from(header.kind == FrameType::KeyUpdate as u8);
            wire = &wire[consumed..];
        }
        count
    };
    assert_eq!(updates(&pair.wire[&(true, Channel::Control)]), 1);
    assert_eq!(updates(&pair.wire[&(false, Channel::Control)]), 0);
}

//= proof: sealed-11
#[test]
fn used_up_numbers_end_the_session() {
    let mut pair = Pair::open();
    server_link(&mut pair.server).unwrap().use_up(Channel::Sync);
    for n in 0..2 {
        let command = server::Command::Send(Channel::Sync, packet(Kind::Push, &[n]));
        pair.server.call(pair.now, &mut pair.rng, command).unwrap();
        assert_eq!(
            pair.server_sends().len(),
            usize::from(n == 0),
            "the last number is used, and none after it"
        );
    }
    assert_eq!(pair.server_closed(), [Closed::KeyLimit]);
    assert_eq!(Closed::KeyLimit.code(), ErrorCode::KeyLimit);
}

//= proof: errors-1
#[test]
fn an_unknown_code_is_a_failure_without_further_meaning() {
    let error = v2::Error { code: 9_999, ..Default::default() };
    let closed = link::read_close(&prost::Message::encode_to_vec(&error));
    assert_eq!(closed, Closed::Peer(None));
    assert_eq!(link::read_close(b"\xff"), closed, "as one that can't be read");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Cut anywhere, the stream means the same.
    #[test]
    fn pieces_of_any_size(cuts in prop::collection::vec(1..40usize, 1..50)) {
        let mut pair = Pair::new();
        let mut cuts = cuts.into_iter().cycle();
        let mut deliver = |server: &mut ServerEndpoint, now, channel, mut data: &[u8]| {
            while !data.is_empty() {
                let (piece, rest) = data.split_at(cuts.next().unwrap().min(data.len()));
                server.handle(now, Input::Bytes { channel, data: piece });
                data = rest;
            }
        };
        for (channel, data) in pair.client_sends() {
            deliver(&mut pair.server, pair.now, channel, &data);
        }
        pair.server_sends();
        pair.server.call(pair.now, &mut pair.rng, server::Command::Grant(grant())).unwrap();
        for (channel, data) in pair.server_sends() {
            pair.client.handle(pair.now, Input::Bytes { channel, data: &data });
        }
        for n in 0..5u8 {
            pair.client.call(pair.now, client::Command::Send(Channel::Message, packet(Kind::Push, &[n; 300]))).unwrap();
        }
        pair.server_events.clear();
        for (channel, data) in pair.client_sends() {
            deliver(&mut pair.server, pair.now, channel, &data);
        }
        pair.server_sends();
        prop_assert_eq!(pair.server_events.len(), 5);
    }

    /// One damaged bit anywhere in an open connection, checksum repaired: the connection ends with the
    /// one error, nothing of the frame is seen, the end is told once.
    //= proof: sealed-5
    #[test]
    fn damage_ends_it(bit in any::<prop::sample::Index>(), body in prop::collection::vec(any::<u8>(), 0..50)) {
        let mut pair = Pair::open();
        pair.client.call(pair.now, client::Command::Send(Channel::Message, packet(Kind::Push, &body))).unwrap();
        let (channel, mut data) = pair.client_sends().remove(0);
        data.truncate(data.len() - TRAILER_LEN);
        let bit = bit.index(data.len() * 8);
        data[bit / 8] ^= 1 << (bit % 8);
        append_checksum(&mut data, 0);
        pair.server.handle(pair.now, Input::Bytes { channel, data: &data });
        pair.server.handle(pair.now, Input::Bytes { channel, data: &data });
        pair.server_sends();
        // A damaged length may leave the server waiting for the rest of a longer frame.
        if (4..8).contains(&(bit / 8)) && pair.server_closed().is_empty() {
            prop_assert!(pair.server_events.is_empty());
        } else {
            let closed = pair.server_closed();
            prop_assert_eq!(closed.len(), 1);
            let told = matches!(closed[0], Closed::PeerError(PeerError::Forged | PeerError::Frame(_)));
            prop_assert!(told, "{:?}", closed);
            prop_assert_eq!(pair.server_events.len(), 1);
            let known = bit / 8 == 0 || (4..8).contains(&(bit / 8)) || bit / 8 == 3;
            prop_assert!(known || closed[0].code() == ErrorCode::Protocol);
        }
    }

    /// Whatever arrives, on either side, in any phase: no panic, at most one end, bounded memory.
    #[test]
    fn noise(inputs in prop::collection::vec((0..4u8, prop::collection::vec(any::<u8>(), 0..100), any::<bool>()), 0..20), open in any::<bool>()) {
        let mut pair = if open { Pair::open() } else { Pair::new() };
        for (n, (kind, data, to_server)) in inputs.into_iter().enumerate() {
            let channel = Channel::ALL[usize::from(kind)];
            let mut framed = Vec::new();
            encode(data.first().copied().unwrap_or(1) % 40, Flags(0), channel, n as u64, &data, &mut framed);
            let data = if n % 2 == 0 { &data } else { &framed };
            if to_server {
                pair.server.handle(pair.now, Input::Bytes { channel, data });
            } else {
                pair.client.handle(pair.now, Input::Bytes { channel, data });
            }
            pair.client_sends();
            pair.server_sends();
        }
        prop_assert!(pair.client_closed().len() <= 1);
        prop_assert!(pair.server_closed().len() <= 1);
    }
}
