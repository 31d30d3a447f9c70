//! Sessions that begin in early data: AUTH_REQ before the transport's handshake is complete.

use super::*;

fn early() -> Pair {
    Pair::over(Binding::EARLY, ServerIdentity::Known(*server_keys().current().public()), server_keys())
}

/// A session was granted; the transport's handshake is under way still.
fn granted() -> Pair {
    let mut pair = early();
    pair.run();
    assert!(matches!(&pair.server_events[..], [server::Event::AuthRequest(c)] if c.request.early.is_some()));
    pair.let_in();
    pair
}

/// Over QUIC the channels are streams of their own: what follows AUTH_RESP may be there before it.
//= proof: handshake-22
#[test]
fn what_overtakes_the_grant_waits_for_it() {
    let mut pair = early();
    pair.run();
    pair.server.call(pair.now, &mut pair.rng, server::Command::Grant(grant())).unwrap();
    push(&mut pair, 1);
    push(&mut pair, 2);
    let mut sent = pair.server_sends();
    sent.sort_by_key(|(channel, _)| *channel == Channel::Control);
    assert_eq!(sent.last().unwrap().0, Channel::Control);
    for (channel, data) in sent {
        pair.client_sends();
        assert!(pair.client_events.is_empty());
        for piece in data.chunks(7) {
            pair.client.handle(pair.now, Input::Bytes { channel, data: piece });
        }
    }
    pair.run();
    let told = &pair.client_events[..];
    let [client::Event::Granted(_), client::Event::Packet(Channel::Sync, one), client::Event::Packet(_, two)] =
        told
    else {
        panic!("{told:?}")
    };
    assert_eq!((one.body[0], two.body[0]), (1, 2));
    bind(&mut pair, BINDING, BINDING);
    pair.run();
    assert_eq!((pair.client.phase(), pair.server.phase()), (Phase::Open, Phase::Open));
}

/// But not without bounds, and not where nothing was asked for early.
#[test]
fn what_overtakes_the_grant_is_bounded() {
    let refused = |mut pair: Pair, len: usize| {
        pair.client.handle(pair.now, Input::Bytes { channel: Channel::Sync, data: &alloc::vec![2; len] });
        pair.run();
        pair.client.phase() == Phase::Ended
    };
    assert!(!refused(early(), client::MAX_OVERTAKING));
    assert!(refused(early(), client::MAX_OVERTAKING + 1));
    let known = ServerIdentity::Known(*server_keys().current().public());
    assert!(refused(Pair::over(BINDING, known, server_keys()), 60));
}

fn bind(pair: &mut Pair, client: Binding, server: Binding) {
    pair.client.handle(pair.now, Input::Bound(client));
    pair.server.handle(pair.now, Input::Bound(server));
}

fn send(n: u8) -> client::Command {
    client::Command::Send(Channel::Message, packet(Kind::Request(1), &[n; 50]))
}

fn push(pair: &mut Pair, n: u8) {
    let push = server::Command::Send(Channel::Sync, packet(Kind::Push, &[n; 50]));
    pair.server.call(pair.now, &mut pair.rng, push).unwrap();
}

//= proof: keys-2, keys-3, quic-7
#[test]
fn the_server_speaks_at_once_and_the_client_when_it_is_bound() {
    let mut pair = granted();
    push(&mut pair, 1);
    pair.client.call(pair.now, send(1)).unwrap();
    pair.run();
    assert!(matches!(pair.client_events[..], [client::Event::Packet(Channel::Sync, _)]));
    assert!(pair.server_events.is_empty() && !pair.client.has_pending());
    assert_eq!(pair.confirmed, 0);
    // What the server sealed before is read after, and the other way round.
    push(&mut pair, 2);
    let under_way = pair.server_sends();
    bind(&mut pair, BINDING, BINDING);
    push(&mut pair, 3);
    for (channel, data) in under_way {
        pair.client.handle(pair.now, Input::Bytes { channel, data: &data });
    }
    pair.run();
    assert_eq!(pair.client_events.len(), 3);
    assert_eq!(pair.confirmed, 1);
    assert!(matches!(pair.server_events[..], [server::Event::Packet(Channel::Message, _)]));
    // From here on it is like any other, key updates included.
    for n in 0..3 {
        pair.client.call(pair.now, client::Command::UpdateKeys).unwrap();
        pair.client.call(pair.now, send(n)).unwrap();
        push(&mut pair, n);
        pair.run();
    }
    assert_eq!((pair.client_events.len(), pair.server_events.len()), (6, 4));
    pair.now = at(INTERVAL.as_millis() as u64);
    pair.run();
    assert_eq!((pair.client.phase(), pair.server.phase()), (Phase::Open, Phase::Open));
}

#[test]
fn whoever_stands_between_two_transports_is_found_out() {
    let mut pair = granted();
    bind(&mut pair, BINDING, Binding { exporter: [6; 32], ..BINDING });
    pair.client.call(pair.now, send(1)).unwrap();
    pair.run();
    assert_eq!(pair.server_closed(), [Closed::PeerError(PeerError::Forged)]);
    assert_eq!(pair.confirmed, 0);
}

/// Early data that was lost is sent again when the handshake is complete.
#[test]
fn an_early_request_may_come_late() {
    for opened in [Binding::EARLY, BINDING] {
        let mut pair = early();
        pair.server = ServerEndpoint::new(at(0), &RUSTCRYPTO, server_keys(), opened, INTERVAL);
        pair.server.handle(pair.now, Input::Bound(BINDING));
        pair.run();
        pair.let_in();
        push(&mut pair, 1);
        pair.client.handle(pair.now, Input::Bound(BINDING));
        pair.client.call(pair.now, send(1)).unwrap();
        pair.run();
        assert_eq!((pair.client_events.len(), pair.server_events.len(), pair.confirmed), (1, 1, 1));
    }
}

/// Until the handshake of its transport is complete a session may be a replay's.
#[test]
fn a_session_that_is_never_bound_ends() {
    let mut pair = granted();
    assert_eq!(pair.server.wait().1, WaitReason::Authentication);
    pair.now = at(AUTH_TIMEOUT.as_millis() as u64);
    pair.server_sends();
    assert_eq!(pair.server_closed(), [Closed::AuthTimeout]);

    let mut pair = granted();
    bind(&mut pair, BINDING, BINDING);
    assert_eq!(pair.server.wait().1, WaitReason::Heartbeat);
}

/// A server, and what it says of these bytes, which come after AUTH_REQ or before.
fn refused(pair: &mut Pair, channel: Channel, data: &[u8]) -> Vec<Closed> {
    pair.server.handle(pair.now, Input::Bytes { channel, data });
    pair.server_sends();
    pair.server_closed()
}

//= proof: handshake-15, handshake-16
#[test]
fn anything_else_is_too_early() {
    let too_early = [Closed::PeerError(PeerError::TooEarly)];
    let frame = |kind: u8, seq| {
        let mut bytes = Vec::new();
        encode(kind, Flags::default(), Channel::Control, seq, b"x", &mut bytes);
        bytes
    };
    // Before AUTH_REQ: any other frame on CONTROL, and a single byte on any other channel.
    for kind in 0..=255 {
        let expect = match FrameType::from_wire(kind) {
            Some(FrameType::AuthReq) => Closed::PeerError(PeerError::Handshake),
            _ => too_early[0],
        };
        assert_eq!(refused(&mut early(), Channel::Control, &frame(kind, 1)), [expect], "{kind}");
    }
    for channel in [Channel::Message, Channel::Sync] {
        assert_eq!(refused(&mut early(), channel, b"x"), too_early);
        assert_eq!(refused(&mut granted(), channel, b"x"), too_early);
    }
    // After it: anything at all, also in the same breath.
    assert_eq!(refused(&mut granted(), Channel::Control, b"x"), too_early);
    let mut pair = early();
    let mut both = pair.client_sends().remove(0).1;
    both.extend_from_slice(&frame(FrameType::Close as u8, 2));
    assert_eq!(refused(&mut pair, Channel::Control, &both), too_early);
    // A request that does not say that it is early: its keys would want an exporter.
    let mut pair = early();
    let key = ServerIdentity::Known(*server_keys().current().public());
    let plain = Pair::over(BINDING, key, server_keys()).client_sends().remove(0).1;
    assert_eq!(refused(&mut pair, Channel::Control, &plain), too_early);
    // No bytes are no data.
    assert_eq!(refused(&mut granted(), Channel::Message, b""), []);
}

//= proof: handshake-17
#[test]
fn an_early_request_has_no_place_where_there_is_no_exporter() {
    let mut pair = early();
    let binding = Binding { transport: TransportId::Web, exporter: [0; 32] };
    pair.server = ServerEndpoint::new(at(0), &RUSTCRYPTO, server_keys(), binding, INTERVAL);
    pair.run();
    assert_eq!(pair.server_closed(), [Closed::PeerError(PeerError::Handshake)]);
}

//= proof: quic-7
#[test]
fn a_client_says_nothing_else_in_early_data() {
    for timeout in [false, true] {
        let mut pair = early();
        assert_eq!(pair.client_sends().len(), 1, "AUTH_REQ");
        if timeout {
            pair.now = at(AUTH_TIMEOUT.as_millis() as u64);
        } else {
            pair.client.call(pair.now, client::Command::Close(ErrorCode::Normal)).unwrap();
        }
        assert!(pair.client_sends().is_empty() && !pair.client.has_pending());
        assert_eq!(pair.client_closed().len(), 1);
    }
    // Nor in a session that was granted.
    let mut pair = granted();
    pair.client.call(pair.now, client::Command::Close(ErrorCode::Normal)).unwrap();
    assert!(pair.client_sends().is_empty() && !pair.client.has_pending());
}

#[test]
fn a_first_page_without_a_number_is_refused() {
    let mut rng = Rng::new([9; 32]);
    let device = DeviceKeys::generate(&mut rng, &RUSTCRYPTO);
    let server = ServerIdentity::Known(*server_keys().current().public());
    let config =
        client::Config { provider: &RUSTCRYPTO, server, binding: Binding::EARLY, heartbeat: INTERVAL };
    let mut ask = |request_id| {
        let early = Some(v2::EarlyStart { sync: Some(v2::SyncRequest::default()), request_id });
        let request = v2::AuthRequest { early, ..request() };
        ClientEndpoint::new(at(0), config, &device, request, &mut rng).is_ok()
    };
    assert_eq!((ask(0), ask(7)), (false, true));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whenever the transport is up at either end, and however the bytes are cut, it is the same session. It is up
    /// at the client first, and what a client sends then is read when it is up at the server: TLS and QUIC see to that.
    #[test]
    fn any_order_gives_the_same_session(client_at in 0..5usize, later in 0..4usize, cut in 1..200usize) {
        let server_at = client_at + later;
        let mut pair = early();
        let mut late: Vec<(Channel, Vec<u8>)> = Vec::new();
        for step in 0..10 {
            if step == client_at {
                pair.client.handle(pair.now, Input::Bound(BINDING));
            }
            if step == server_at {
                pair.server.handle(pair.now, Input::Bound(BINDING));
            }
            late.extend(pair.client_sends());
            // AUTH_REQ comes first, by itself.
            let early = usize::from(pair.server.phase() == Phase::Greeting && !late.is_empty());
            let ready = if step < server_at { early } else { late.len() };
            for (channel, data) in late.drain(..ready).collect::<Vec<_>>() {
                for piece in data.chunks(cut) {
                    pair.server.handle(pair.now, Input::Bytes { channel, data: piece });
                }
            }
            for (channel, data) in pair.server_sends() {
                for piece in data.chunks(cut) {
                    pair.client.handle(pair.now, Input::Bytes { channel, data: piece });
                }
            }
            if pair.server.phase() == Phase::Deciding {
                pair.server.call(pair.now, &mut pair.rng, server::Command::Grant(grant())).unwrap();
                push(&mut pair, 1);
            } else if pair.server.phase() == Phase::Open {
                push(&mut pair, 2);
            }
            if pair.client.phase() == Phase::Open {
                pair.client.call(pair.now, send(3)).unwrap();
            }
        }
        pair.run();
        prop_assert!(pair.server_closed().is_empty() && pair.client_closed().is_empty());
        prop_assert_eq!(pair.confirmed, 1);
        prop_assert!(pair.client_events.len() > 2 && pair.server_events.len() > 2);
    }
}

/// What HTTP requests show is the same at both ends, another for each session, and there only while that is open and bound.
#[test]
fn both_ends_know_the_token_of_a_bound_session() {
    let token = |pair: &Pair| {
        let ends = (pair.client.http_token(), pair.server.http_token());
        assert_eq!(ends.0.is_some(), ends.1.is_some());
        ends.0.zip(ends.1).map(|(a, b)| {
            assert!(a.ct_eq(b));
            a.duplicate()
        })
    };
    let mut pair = granted();
    assert!(token(&pair).is_none());
    bind(&mut pair, BINDING, BINDING);
    pair.run();
    let early = token(&pair).unwrap();
    assert!(token(&Pair::new()).is_none());
    let mut later = Pair::open();
    assert!(!token(&later).unwrap().ct_eq(&early));
    later.client.call(later.now, client::Command::Close(ErrorCode::Normal)).unwrap();
    later.run();
    assert!(token(&later).is_none());
    // Whoever stands between two TLS connections has two tokens.
    let mut between = granted();
    bind(&mut between, BINDING, Binding { exporter: [6; 32], ..BINDING });
    assert!(!between.client.http_token().unwrap().ct_eq(between.server.http_token().unwrap()));
}
