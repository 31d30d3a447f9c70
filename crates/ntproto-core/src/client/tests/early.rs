//! Coming back in early data: the first page is asked for with the session.

use super::*;

/// A client that was online and has the inbox up to 2, and comes back in early data.
fn coming_back() -> World {
    let mut w = World::online();
    w.push(1, 0, from_friend(1));
    w.push(2, 1, from_friend(2));
    w.asked.clear();
    w.cut();
    w.early = true;
    w.later(60_000);
    assert_eq!(w.connects, 2);
    w.events.clear();
    w
}

//= proof: handshake-19
#[test]
fn the_first_page_comes_with_the_grant_and_is_never_the_last() {
    let mut w = coming_back();
    assert_eq!(w.asked_sync().map(|sync| sync.cursor), Some(2));
    w.answer_sync(&[(3, from_friend(3))], 3, false);
    assert_eq!(w.messages(), [3], "told before the transport is up");
    // Nothing goes back before that: no receipt, no sync.
    assert!(w.asked.is_empty() && !w.took(|e| matches!(e, ClientEvent::CaughtUp)));
    w.bound();
    assert_eq!(w.asked_sync().map(|sync| sync.cursor), Some(3));
    w.answer_sync(&[(4, from_friend(4))], 4, false);
    assert_eq!(w.messages(), [3, 4]);
    assert!(w.took(|e| matches!(e, ClientEvent::CaughtUp)));
    w.take(PacketId::DELIVERED);
}

#[test]
fn an_empty_inbox_is_asked_for_again_too() {
    let mut w = World::online();
    w.cut();
    w.early = true;
    w.later(60_000);
    w.events.clear();
    w.answer_sync(&[], 0, false);
    w.bound();
    w.answer_sync(&[], 0, false);
    assert!(w.took(|e| matches!(e, ClientEvent::CaughtUp)));
}

//= proof: handshake-18
#[test]
fn early_data_that_is_refused_is_asked_anew() {
    let mut w = coming_back();
    let former = w.asked.len();
    w.asked.clear();
    w.early = false;
    // The server never saw it: its channels begin anew.
    w.connected();
    w.run();
    assert_eq!((w.connects, former), (2, 1));
    assert_eq!(w.asked_sync().map(|sync| sync.cursor), Some(2));
    w.answer_sync(&[(3, from_friend(3))], 3, false);
    assert_eq!(w.messages(), [3]);
    assert!(w.took(|e| matches!(e, ClientEvent::CaughtUp)));
    // A transport is up once: saying so again changes nothing.
    w.client.handle(w.now(), Input::Connected(BINDING));
    w.run();
    assert!(w.client.machine().is_online());
}

#[test]
fn a_first_page_that_can_not_be_had_is_asked_for_when_bound() {
    let mut w = coming_back();
    w.refuse(PacketId::SYNC, ErrorCode::RetryAfter, 50);
    w.bound();
    assert!(w.asked_sync().is_none());
    w.later(50);
    assert_eq!(w.asked_sync().map(|sync| sync.cursor), Some(2));
}

#[test]
fn a_connection_lost_in_early_data_leaves_nothing_behind() {
    let mut w = coming_back();
    w.cut();
    w.early = false;
    w.later(60_000);
    assert_eq!(w.connects, 3);
    assert_eq!(w.asked_sync().map(|sync| sync.cursor), Some(2));
    w.answer_sync(&[(3, from_friend(3))], 3, false);
    assert_eq!(w.messages(), [3]);
}

#[test]
fn a_refusal_in_early_data_is_mended_like_any_other() {
    let mut w = World::online();
    w.cut();
    w.early = true;
    w.auth.push_back(ErrorCode::Replay);
    w.later(60_000);
    // Once refused, once let in.
    assert_eq!(w.connects, 3);
    w.take(PacketId::SYNC);
    assert_eq!(w.asked_sync().map(|sync| sync.cursor), Some(0));
}
