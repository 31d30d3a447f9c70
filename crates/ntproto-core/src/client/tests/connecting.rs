//! Getting in with each credential, refusals, and coming back.

use super::*;

#[test]
fn enrols_once_then_comes_back_with_its_ticket_then_with_its_key() {
    let mut w = World::online();
    assert_eq!(w.client.machine().identity(), Some((ME, DEVICE)));
    assert!(w.written.contains(&ClientTxn::SaveIdentity(ME, DEVICE)));
    w.cut();
    w.later(1_000);
    w.cut();
    w.later(2_000_000);
    assert_eq!(w.credentials, ["invitation", "ticket", "known device"]);
}

//= proof: messages-14
#[test]
fn every_handshake_is_followed_by_a_sync() {
    let mut w = World::online();
    for _ in 0..3 {
        w.cut();
        w.later(60_000);
        assert!(w.client.machine().is_online());
        assert!(w.asked_sync().is_some());
        assert!(!w.took(|e| matches!(e, ClientEvent::CaughtUp)));
        w.answer_sync(&[], 0, false);
        assert!(w.took(|e| matches!(e, ClientEvent::CaughtUp)));
        w.events.clear();
    }
}

#[test]
fn reconnects_on_the_drafts_schedule_and_starts_over_when_a_session_held() {
    let mut w = World::online();
    for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
        w.cut();
        let before = w.connects;
        w.later(wait * 1000 - 1);
        assert_eq!(w.connects, before);
        w.later(1);
        assert_eq!(w.connects, before + 1, "{wait}");
    }
    w.later(10_000);
    w.cut();
    w.later(1_000);
    assert!(w.client.machine().is_online());
    w.cut();
    w.client.handle(w.now(), Input::NetworkChanged);
    w.run();
    assert!(w.client.machine().is_online(), "another network is tried at once");
}

#[test]
fn refusals_are_mended_or_final() {
    let mut w =
        World::with(Saved { identity: Some((ME, DEVICE)), ticket: Some(ticket(T0)), ..Default::default() });
    w.auth = [ErrorCode::TicketExpired].into();
    w.call(Command::Start).unwrap();
    assert!(w.client.machine().is_online());
    assert_eq!(w.credentials, ["ticket", "known device"]);

    let mut w = World::with(Saved::default());
    w.auth = [ErrorCode::ClockSkew].into();
    w.call(Command::Start).unwrap();
    assert_eq!(w.credentials.len(), 2, "the server's clock is adopted and it is tried at once");

    let mut w = World::with(Saved {
        identity: Some((ME, DEVICE)),
        ticket: Some(ticket(T0 + 10_000_000)),
        ..Default::default()
    });
    w.auth = [ErrorCode::ClockSkew, ErrorCode::TicketExpired].into();
    w.call(Command::Start).unwrap();
    assert_eq!(w.credentials, ["ticket", "ticket", "known device"], "one mend does not stand in for another");

    let mut w = World::with(Saved::default());
    w.auth = [ErrorCode::ClockSkew, ErrorCode::ClockSkew].into();
    w.call(Command::Start).unwrap();
    assert_eq!(w.credentials.len(), 2, "what did not help is not tried again at once");

    for code in
        [ErrorCode::Revoked, ErrorCode::BadCredential, ErrorCode::RegistrationClosed, ErrorCode::Version]
    {
        let mut w = World::with(Saved::default());
        w.auth = [code].into();
        w.call(Command::Start).unwrap();
        assert!(
            matches!(w.events[..], [ClientEvent::Stopped(Stopped::Refused(c))] if c == code),
            "{:?}",
            w.events
        );
        assert_eq!(w.call(Command::Confirm(1)), Err(Misuse::State));
    }

    let mut w = World::with(Saved::default());
    w.auth = [ErrorCode::Internal].into();
    w.call(Command::Start).unwrap();
    assert!(w.took(|e| matches!(e, ClientEvent::Offline { .. })));
    w.later(1_000);
    assert!(w.client.machine().is_online());
}

#[test]
fn superseded_stops_and_going_away_comes_back() {
    for (code, stops) in
        [(ErrorCode::Superseded, true), (ErrorCode::Revoked, true), (ErrorCode::GoingAway, false)]
    {
        let mut w = World::online();
        let now = w.now();
        w.server.as_mut().unwrap().call(now, &mut w.rng, server::Command::Close(code)).unwrap();
        w.serve();
        w.run();
        assert_eq!(w.took(|e| matches!(e, ClientEvent::Stopped(_))), stops);
        w.later(60_000);
        assert_eq!(w.client.machine().is_online(), !stops);
    }
}

//= proof: frames-11
#[test]
fn a_close_in_the_clear_says_nothing_of_the_credential() {
    for code in [ErrorCode::Revoked, ErrorCode::Superseded, ErrorCode::BadCredential] {
        let mut w = World::with(Saved::default());
        w.undecided = true;
        w.call(Command::Start).unwrap();
        let now = w.now();
        w.server.as_mut().unwrap().call(now, &mut w.rng, server::Command::Close(code)).unwrap();
        w.serve();
        w.run();
        assert!(!w.took(|e| matches!(e, ClientEvent::Stopped(_))), "{code}");
        w.undecided = false;
        w.later(1_000);
        assert!(w.client.machine().is_online());
    }
}

#[test]
fn the_ticket_is_renewed_at_two_thirds() {
    let mut w = World::online();
    let before = w.written.iter().filter(|t| matches!(t, ClientTxn::SaveTicket(Some(_)))).count();
    for _ in 0..601 {
        w.later(1_000);
        w.serve();
        w.run();
    }
    let after = w.written.iter().filter(|t| matches!(t, ClientTxn::SaveTicket(Some(_)))).count();
    assert_eq!(after, before + 1);
    assert_eq!(w.server.as_ref().unwrap().phase(), Phase::Open);
}

//= proof: liveness-6
#[test]
fn a_server_that_says_when_to_come_again_is_believed_within_reason() {
    for (asked, waits) in [(0, 1_000), (700, 1_000), (7_000, 7_000), (3_600_000, 60_000)] {
        for open in [false, true] {
            let mut w = if open { World::online() } else { World::with(Saved::default()) };
            if !open {
                w.undecided = true;
                w.client.call(w.now(), Command::Start).unwrap();
                w.run();
            }
            let (now, wait) = (w.now(), Duration::from_millis(asked));
            w.server.as_mut().unwrap().call(now, &mut w.rng, server::Command::Defer(wait)).unwrap();
            w.serve();
            w.run();
            let told = Duration::from_millis(waits);
            assert!(w.took(|e| matches!(e, ClientEvent::Offline { retry_in, why: Down::Closed(Closed::Peer(Some(ErrorCode::RetryAfter))) } if *retry_in == told)));
            let connects = w.connects;
            w.later(waits - 1);
            assert_eq!(w.connects, connects);
            w.later(1);
            assert_eq!(w.connects, connects + 1);
        }
    }
    // Another network is another matter.
    let mut w = World::online();
    let (now, wait) = (w.now(), Duration::from_secs(60));
    w.server.as_mut().unwrap().call(now, &mut w.rng, server::Command::Defer(wait)).unwrap();
    w.serve();
    w.run();
    w.client.handle(w.now(), Input::NetworkChanged);
    w.run();
    assert!(w.client.machine().is_online());
}
