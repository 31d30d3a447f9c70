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
fn a_body_that_the_server_would_refuse_is_not_queued() {
    let send = |size: usize| Command::Send {
        trace: None,
        conversation: talk(),
        client_msg_id: None,
        body: Bytes::from(alloc::vec![0; size]),
        deadline: None,
        action: SendAction::Message,
    };
    let mut w = World::with(Saved::default());
    // Not known yet, so it is the server's to say.
    assert!(w.call(send(1_001)).is_ok());
    w.limits = Some(v2::Limits { max_body: 1_000, ..Default::default() });
    w.call(Command::Start).unwrap();
    assert_eq!(w.call(send(1_001)), Err(Misuse::TooLarge));
    assert!(w.call(send(1_000)).is_ok());
    // It is remembered while there is no connection, and the next grant's holds from then on.
    w.cut();
    assert_eq!(w.call(send(1_001)), Err(Misuse::TooLarge));
    w.limits = Some(v2::Limits { max_body: u32::MAX, ..Default::default() });
    w.later(2_000);
    assert!(w.call(send(MAX_BODY)).is_ok());
    assert_eq!(w.call(send(MAX_BODY + 1)), Err(Misuse::TooLarge));
}

/// A client that knows up to 2 of epoch 1, whose server answers with another epoch.
fn switched(slow_disk: bool) -> World {
    let saved = Saved { identity: Some((ME, DEVICE)), epoch: Some([1; 16]), ..Default::default() };
    let mut w = World::with(saved);
    w.call(Command::Start).unwrap();
    let page = |deltas: &[(u64, v2::SyncPacket)], next, has_more, too_long, epoch: [u8; 16]| {
        let deltas =
            deltas.iter().map(|(position, p)| v2::Delta { position: *position, packet: Some(p.clone()) });
        let epoch = Bytes::copy_from_slice(&epoch);
        v2::SyncResponse { epoch, deltas: deltas.collect(), next, has_more, too_long }.encode_to_vec()
    };
    w.slow_disk = slow_disk;
    w.answer(PacketId::SYNC, page(&[(50, from_friend(1))], 50, true, false, [1; 16]));
    w.answer(PacketId::SYNC, page(&[(60, from_friend(2))], 60, true, false, [1; 16]));
    w.answer(PacketId::SYNC, page(&[], 0, false, true, EPOCH));
    w
}

#[test]
fn what_waits_for_the_disk_keeps_its_epoch() {
    let mut w = switched(true);
    while let Some((op, txn)) = w.disk.pop_front() {
        w.written.push(txn);
        let now = w.now();
        w.client.handle(now, Input::StoreDone(op, Ok(())));
        w.run();
    }
    let applies: Vec<_> = w
        .written
        .iter()
        .filter_map(|txn| match txn {
            ClientTxn::Apply(apply) => Some((apply.epoch, apply.messages.len(), apply.cursor)),
            _ => None,
        })
        .collect();
    assert_eq!(applies, [(None, 1, Some(50)), (None, 1, Some(60)), (Some(EPOCH), 0, Some(0))]);
}

#[test]
fn a_confirmation_of_another_epoch_confirms_nothing() {
    let mut w = switched(false);
    w.answer_sync(&[(1, from_friend(3)), (2, from_friend(4))], 2, false);
    assert_eq!(w.messages(), [1, 2, 3, 4]);
    for (position, stored) in [(60, false), (3, false), (2, true), (1, true)] {
        w.written.clear();
        w.call(Command::Confirm(position)).unwrap();
        assert_eq!(w.written.contains(&ClientTxn::Confirm(position)), stored, "{position}");
    }
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
