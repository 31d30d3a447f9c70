//! Hosts that are late, and disks and servers that answer at a bad time.

use super::*;

#[test]
fn what_is_said_of_the_old_transport_is_not_taken_for_the_new_one() {
    let mut w = World::online();
    let now = w.now();
    w.server.as_mut().unwrap().call(now, &mut w.rng, server::Command::Close(ErrorCode::GoingAway)).unwrap();
    w.serve();
    // The host has not taken `Disconnect` yet, nor the `Connect` that comes of this.
    w.client.handle(now, Input::NetworkChanged);
    w.client.handle(now, Input::Disconnected);
    w.run();
    assert_eq!((w.connects, w.credentials.len()), (2, 2));
    assert!(w.client.machine().is_online());
}

#[test]
fn a_network_that_comes_during_last_words_is_tried_at_once() {
    let mut w = World::online();
    let now = w.now();
    w.client.handle(now, Input::Bytes { channel: Channel::Message, data: &[0; 20] });
    // The host has not sent the ERROR that is the answer to this.
    w.client.handle(now, Input::NetworkChanged);
    w.run();
    assert!(w.took(|e| matches!(e, ClientEvent::Offline { .. })));
    assert_eq!(w.connects, 2);
}

#[test]
fn a_page_of_another_epoch_without_a_word_of_it_is_not_taken() {
    let mut saved =
        Saved { identity: Some((ME, DEVICE)), epoch: Some([1; 16]), cursor: 40, ..Default::default() };
    saved.heads.insert(talk(), 2);
    let mut w = World::with(saved);
    w.call(Command::Start).unwrap();
    // The cursor belongs to the former epoch: under the new one it would skip what stands before it.
    w.answer_sync(&[(41, from_friend(3))], 41, false);
    assert!(w.messages().is_empty());
    w.later(5_000);
    let asked = w.asked_sync().unwrap();
    assert_eq!((asked.cursor, &asked.epoch[..]), (40, &[1; 16][..]));
    assert!(!w.written.iter().any(|txn| matches!(txn, ClientTxn::Apply(_))), "{:?}", w.written);
}
