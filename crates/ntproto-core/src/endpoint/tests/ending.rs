//! How a connection ends, and what is told of it.

use super::*;

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
        assert_eq!(link::read_close(&payload), (Closed::Peer(Some(ErrorCode::GoingAway)), None));
    }
    let ours = link::write_close(ErrorCode::Normal, &"ä".repeat(500), Duration::ZERO);
    let ours: v2::Error = prost::Message::decode(&ours[..]).unwrap();
    assert_eq!(ours.detail, "ä".repeat(100), "200 bytes, and no half of a letter");
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
    assert_eq!(closed, (Closed::Peer(None), None));
    assert_eq!(link::read_close(b"\xff"), closed, "as one that can't be read");
}
