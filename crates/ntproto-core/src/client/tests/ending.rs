//! Every way a client stops, and what it says and keeps then.

use super::*;

#[test]
fn closing_says_goodbye_and_stops_once() {
    let mut w = World::online();
    w.call(Command::Close).unwrap();
    assert!(matches!(w.events[..], [ClientEvent::Stopped(Stopped::Closed)]), "{:?}", w.events);
    assert!(w.server.is_none());
    assert_eq!(w.call(Command::Start), Err(Misuse::State));
    w.later(1_000_000);
    assert_eq!(w.connects, 1);
}

#[test]
fn stopped_comes_last_after_the_disk_has_answered() {
    let mut w = World::online();
    let request = w.send(1, Some(Duration::from_secs(2)));
    w.slow_disk = true;
    w.push(1, 0, from_friend(1));
    w.events.clear();
    w.call(Command::Close).unwrap();
    assert!(w.events.is_empty(), "the disk is at work: {:?}", w.events);
    w.later(5_000);
    assert!(!w.took(|e| matches!(e, ClientEvent::SendExpired { request: r, .. } if *r == request)));
    w.complete();
    w.run();
    assert!(
        matches!(w.events[..], [ClientEvent::Message(_), ClientEvent::Stopped(Stopped::Closed)]),
        "{:?}",
        w.events
    );
    w.later(60_000);
    assert_eq!(w.events.len(), 2);
}

#[test]
fn an_end_by_the_server_takes_the_transport_down() {
    for code in [ErrorCode::Superseded, ErrorCode::Revoked] {
        let mut w = World::online();
        let now = w.now();
        w.server.as_mut().unwrap().call(now, &mut w.rng, server::Command::Close(code)).unwrap();
        w.serve();
        w.run();
        assert!(w.server.is_none(), "{code}");
    }
}

#[test]
fn a_failing_disk_stops_it_and_loses_nothing() {
    let mut w = World::online();
    w.slow_disk = true;
    w.push(1, 0, from_friend(1));
    let (op, _) = w.disk.pop_front().unwrap();
    w.client.handle(w.now(), Input::StoreDone(op, Err(StoreError::Full)));
    w.run();
    assert!(w.messages().is_empty());
    assert!(w.took(|e| matches!(e, ClientEvent::Stopped(Stopped::Store(StoreError::Full)))));

    let mut w = World::online();
    w.slow_disk = true;
    let request = w.send(1, None);
    let (op, _) = w.disk.pop_front().unwrap();
    w.client.handle(w.now(), Input::StoreDone(op, Err(StoreError::Full)));
    w.run();
    assert!(w.took(|e| matches!(e, ClientEvent::SendFailed { request: r, why: Failure::Store(StoreError::Full), .. } if *r == request)));

    // A disk that failed may hold the message all the same: nothing is said of it before a restart.
    let mut w = World::online();
    w.slow_disk = true;
    w.send(1, None);
    let (op, _) = w.disk.pop_front().unwrap();
    w.client.handle(w.now(), Input::StoreDone(op, Err(StoreError::Failed)));
    w.run();
    assert!(
        matches!(w.events[..], [ClientEvent::Stopped(Stopped::Store(StoreError::Failed))]),
        "{:?}",
        w.events
    );
}
