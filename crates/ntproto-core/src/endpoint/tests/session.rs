//! An open session: packets, queues, heartbeats, tickets, keys.

use super::*;

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
