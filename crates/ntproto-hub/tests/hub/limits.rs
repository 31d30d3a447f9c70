//! What is bounded, and what happens at the bound.

use std::time::Duration;

use bytes::Bytes;
use ntproto_core::code::ErrorCode;
use ntproto_core::endpoint::Closed;
use ntproto_core::ids::ConversationId;
use ntproto_core::wire::channel::{Channel, ChannelSet};
use ntproto_core::wire::packet::PacketId;
use ntproto_hub::config::{HOLD_ORDER, RETRY_AFTER, SLOW_CONSUMER};
use ntproto_hub::{Command, ConnId, HubConfig, HubEvent, Input, Misuse, Stage};
use ntproto_proto::v2;
use prost::Message;

use crate::bench::{BINDING, Bench, REMOTE, config, message, uin};

fn two(bench: &mut Bench) -> (ConnId, ConnId, ConversationId) {
    let (_, a, grant_a) = bench.account();
    let (_, b, grant_b) = bench.account();
    (a, b, ConversationId::direct(uin(&grant_a), uin(&grant_b)))
}

fn ask(bench: &mut Bench, conn: ConnId, to: ConversationId, id: u8, body: &[u8]) -> u32 {
    let body = message(to, id, body).encode_to_vec().into();
    bench.ask(conn, Channel::Message, PacketId::SEND, body, None)
}

fn code(bench: &mut Bench, conn: ConnId, number: u32) -> Option<ErrorCode> {
    bench.answer(conn, number)?.err().and_then(|error| ErrorCode::from_wire(error.code))
}

#[test]
fn requests_of_one_connection_are_bounded() {
    let mut bench = Bench::new(HubConfig { max_requests: 8, ..config() });
    let (a, b, to) = two(&mut bench);
    bench.hold = true;
    for n in 1..=3 {
        ask(&mut bench, a, to, n, b"x");
    }
    bench.run();
    assert!(bench.accepts(a));
    let numbers: Vec<u32> = (4..=10).map(|n| ask(&mut bench, a, to, n, b"x")).collect();
    bench.run();
    assert!(!bench.accepts(a), "it is not read any more");
    assert!(bench.accepts(b));
    assert_eq!(code(&mut bench, a, numbers[4]), None);
    for number in &numbers[5..] {
        assert_eq!(code(&mut bench, a, *number), Some(ErrorCode::RetryAfter));
    }
    bench.release();
    assert_eq!(bench.resumed, [a]);
    assert!(bench.accepts(a));
    assert_eq!(bench.notified(b).len(), 8);
}

#[test]
fn bytes_of_one_connection_are_bounded() {
    let mut bench = Bench::new(HubConfig { max_request_bytes: 10_000, ..config() });
    let (a, _, to) = two(&mut bench);
    bench.hold = true;
    ask(&mut bench, a, to, 1, &[0; 6_000]);
    let second = ask(&mut bench, a, to, 2, &[0; 6_000]);
    bench.run();
    assert!(!bench.accepts(a));
    assert_eq!(code(&mut bench, a, second), Some(ErrorCode::RetryAfter));
}

#[test]
fn transactions_of_all_together_are_bounded() {
    let mut bench = Bench::new(HubConfig { max_ops: 6, ..config() });
    let (a, b, to) = two(&mut bench);
    let (device, _, _) = bench.account();
    bench.hold = true;
    for n in 1..=3 {
        ask(&mut bench, a, to, n, b"x");
    }
    bench.run();
    assert!(!bench.accepts(b), "nobody's packets are read");
    assert!(bench.hub.accepts(bench.now, b, Channel::Control), "but heartbeats and ends");
    for n in 4..=6 {
        ask(&mut bench, a, to, n, b"x");
    }
    let refused = ask(&mut bench, a, to, 7, b"x");
    bench.run();
    assert_eq!(code(&mut bench, a, refused), Some(ErrorCode::RetryAfter));
    let conn = bench.known(&device);
    assert_eq!(bench.refused(conn), ErrorCode::RetryAfter);
    bench.release();
    assert!(bench.resumed.contains(&b));
}

/// Rule 8: heartbeats never queue behind data, and the door answers though the store has no room.
#[test]
fn control_is_read_while_the_store_is_busy() {
    let mut bench = Bench::new(HubConfig { max_ops: 6, max_requests: 8, ..config() });
    bench.polite = true;
    let (a, b, to) = two(&mut bench);
    let (device, _, _) = bench.account();
    bench.hold = true;
    for n in 1..=6 {
        ask(&mut bench, a, to, n, b"x");
        bench.run();
    }
    assert!(!bench.accepts(a) && !bench.accepts(b));
    let conn = bench.known(&device);
    bench.run();
    assert_eq!(
        bench.hub.stage(conn),
        Some(Stage::Authenticating),
        "what is left of the store is for the door"
    );
    bench.advance(Duration::from_secs(31));
    bench.advance(Duration::from_secs(31));
    assert_eq!((bench.closed(a), bench.closed(b)), (None, None));
}

#[test]
fn one_page_at_a_time() {
    let mut bench = Bench::new(config());
    let (_, a, _) = bench.account();
    bench.hold = true;
    let body: Bytes = v2::SyncRequest { limit: 10, ..Default::default() }.encode_to_vec().into();
    let first = bench.ask(a, Channel::Sync, PacketId::SYNC, body.clone(), None);
    let second = bench.ask(a, Channel::Sync, PacketId::SYNC, body, None);
    bench.run();
    assert_eq!(code(&mut bench, a, second), Some(ErrorCode::RetryAfter));
    bench.release();
    assert!(bench.answer(a, first).unwrap().is_ok());
    bench.sync(a, 0);
}

//= proof: messages-11
#[test]
fn a_slow_reader_gets_the_newest_push_when_it_reads_again() {
    let mut bench = Bench::new(config());
    let (a, b, to) = two(&mut bench);
    bench.writable(b, ChannelSet::ALL.without(Channel::Message));
    for n in 1..=40 {
        bench.send(a, to, n, &[n; 10_000]);
    }
    assert!(bench.notified(b).is_empty());
    bench.advance(Duration::from_secs(5));
    bench.writable(b, ChannelSet::ALL);
    bench.run();
    let pushes = bench.notified(b);
    let kept = pushes.len();
    assert!(kept < 25, "{kept} pushes of 10 kB were kept");
    for (push, n) in pushes[..kept - 1].iter().zip(1..) {
        assert_eq!(push.position, n);
    }
    assert_eq!((pushes[kept - 1].position, pushes[kept - 1].previous), (40, 39), "the gap shows");
    assert_eq!(bench.closed(b), None);
    let page = bench.sync(b, 0);
    assert!(page.has_more || page.next == 40);
    bench.send(a, to, 41, b"x");
    assert_eq!(bench.notified(b).len(), 1);
}

#[test]
fn who_never_reads_is_sent_away_to_sync() {
    let mut bench = Bench::new(config());
    let (a, b, to) = two(&mut bench);
    bench.writable(b, ChannelSet::NONE.with(Channel::Control));
    for n in 1..=40 {
        bench.send(a, to, n, &[n; 10_000]);
    }
    bench.advance(SLOW_CONSUMER - Duration::from_secs(1));
    assert_eq!(bench.closed(b), None);
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.closed(b), Some(Closed::Peer(Some(ErrorCode::Resync))));
}

/// What waits for all together is bounded: then the slow make room at once, and those who read go on.
//= proof: messages-26
#[test]
fn when_much_waits_for_all_the_slow_are_sent_away_at_once() {
    let mut bench = Bench::new(HubConfig { max_waiting: 300_000, ..config() });
    let (a, b, to) = two(&mut bench);
    let (_, c, grant) = bench.account();
    let sender = to.members().unwrap().0;
    let other = ConversationId::direct(sender, uin(&grant));
    let (_, d, grant) = bench.account();
    let third = ConversationId::direct(sender, uin(&grant));
    for slow in [b, c] {
        bench.writable(slow, ChannelSet::NONE.with(Channel::Control));
    }
    for n in 1..=14 {
        bench.send(a, to, n, &[n; 10_000]);
        bench.send(a, other, 100 + n, &[n; 10_000]);
    }
    assert_eq!((bench.closed(b), bench.closed(c)), (None, None), "there is memory still");
    for n in 15..=40 {
        bench.send(a, to, n, &[n; 10_000]);
        bench.send(a, other, 100 + n, &[n; 10_000]);
        bench.send(a, third, 200_u8.wrapping_add(n), b"beside them");
    }
    let resync = Some(Closed::Peer(Some(ErrorCode::Resync)));
    let closed = [b, c].map(|slow| bench.closed(slow) == resync);
    assert!(closed.contains(&true), "one of them made room");
    assert_eq!((bench.notified(d).len(), bench.closed(d)), (26, None), "who reads has everything");
    // What is told once in a while is left out for them, and closes nothing.
    assert_eq!(bench.closed(a), None);
}

#[test]
fn who_asks_and_does_not_read_the_answers_is_sent_away() {
    let config = HubConfig { sync_page_bytes: 300_000, sync_page: 1_000, ..config() };
    let mut bench = Bench::new(config);
    let (a, b, to) = two(&mut bench);
    for n in 1..=30 {
        bench.send(a, to, n, &[n; 10_000]);
    }
    bench.writable(b, ChannelSet::NONE.with(Channel::Control));
    let body: Bytes = v2::SyncRequest { limit: 1_000, ..Default::default() }.encode_to_vec().into();
    bench.ask(b, Channel::Sync, PacketId::SYNC, body.clone(), None);
    bench.run();
    assert!(!bench.accepts(b));
    assert_eq!(bench.closed(b), None);
    bench.ask(b, Channel::Sync, PacketId::SYNC, body, None);
    bench.run();
    assert_eq!(bench.closed(b), Some(Closed::Peer(Some(ErrorCode::Resync))));
}

#[test]
fn answers_that_do_not_fit_wait_their_turn() {
    let mut bench = Bench::new(config());
    let (a, b, to) = two(&mut bench);
    bench.writable(b, ChannelSet::NONE.with(Channel::Control));
    bench.send(a, to, 1, &[1; 150_000]);
    bench.send(a, to, 2, &[2; 150_000]);
    let numbers: Vec<u32> = (3..=9).map(|n| ask(&mut bench, b, to, n, b"x")).collect();
    bench.run();
    bench.send(a, to, 3, b"behind the answers");
    bench.writable(b, ChannelSet::ALL);
    bench.run();
    assert_eq!(bench.closed(b), None);
    for number in numbers {
        assert!(bench.answer(b, number).unwrap().is_ok());
    }
    let pushes = bench.notified(b);
    assert_eq!(pushes.last().map(|push| push.position), Some(10));
}

#[test]
fn connections_are_bounded() {
    let mut bench = Bench::new(HubConfig { max_connections: 2, ..config() });
    two(&mut bench);
    let third = bench.transport();
    bench.run();
    assert_eq!(bench.closes, [(third, ErrorCode::RetryAfter)]);
    assert_eq!(bench.hub.connections(), 2);
}

#[test]
fn a_silent_transport_is_closed() {
    let mut bench = Bench::new(config());
    let conn = bench.transport();
    bench.advance(Duration::from_secs(11));
    assert_eq!(bench.closes, [(conn, ErrorCode::Timeout)]);
    assert!(matches!(bench.events[..], [HubEvent::Closed { why: Closed::AuthTimeout, .. }]));
}

#[test]
fn a_farewell_that_nobody_takes_is_not_waited_for() {
    let mut bench = Bench::new(config());
    let (_, a, _) = bench.account();
    bench.writable(a, ChannelSet::NONE);
    bench.hub.call(bench.now, Command::Close(a, ErrorCode::Normal)).unwrap();
    bench.run();
    assert_eq!(bench.hub.connections(), 0, "nothing can be sent: it is taken down at once");
    assert_eq!(bench.hub.call(bench.now, Command::Close(a, ErrorCode::Normal)), Err(Misuse::NoConnection));
}

#[test]
fn a_drain_finishes_what_is_in_the_store() {
    let mut bench = Bench::new(config());
    let (a, b, to) = two(&mut bench);
    bench.hold = true;
    let number = ask(&mut bench, a, to, 1, b"last words");
    bench.run();
    bench.hub.call(bench.now, Command::Drain).unwrap();
    assert_eq!(bench.hub.call(bench.now, Command::Drain), Err(Misuse::Draining));
    bench.run();
    assert_eq!(bench.closed(b), Some(Closed::Peer(Some(ErrorCode::GoingAway))));
    assert_eq!(bench.closed(a), None);
    let too_late = ask(&mut bench, a, to, 2, b"too late");
    let stranger = bench.transport();
    bench.run();
    assert_eq!(bench.closes.last(), Some(&(stranger, ErrorCode::GoingAway)));
    assert!(!bench.events.contains(&HubEvent::Drained));
    bench.release();
    assert!(bench.answer(a, number).unwrap().is_ok());
    assert_eq!(code(&mut bench, a, too_late), Some(ErrorCode::Unavailable));
    assert_eq!(bench.closed(a), Some(Closed::Peer(Some(ErrorCode::GoingAway))));
    assert_eq!(bench.events.last(), Some(&HubEvent::Drained));
    assert_eq!(bench.events.iter().filter(|event| **event == HubEvent::Drained).count(), 1);
}

#[test]
fn a_drain_does_not_wait_for_ever() {
    let mut bench = Bench::new(config());
    let (a, _, to) = two(&mut bench);
    bench.hold = true;
    ask(&mut bench, a, to, 1, b"stuck");
    bench.run();
    bench.hub.call(bench.now, Command::Drain).unwrap();
    bench.run();
    bench.advance(Duration::from_secs(5));
    assert_eq!(bench.closed(a), Some(Closed::Peer(Some(ErrorCode::GoingAway))));
    assert!(bench.events.contains(&HubEvent::Drained));
}

#[test]
fn at_a_drain_close_does_not_overtake_what_is_owed() {
    // MESSAGE takes nothing; or it takes the answer and says afterwards that it holds some of it back.
    for sticky in [false, true] {
        for patient in [true, false] {
            let mut bench = Bench::new(config());
            let (a, b, to) = two(&mut bench);
            if sticky {
                bench.hold = true;
                bench.sticky = true;
            } else {
                bench.writable(a, ChannelSet::ALL.without(Channel::Message));
            }
            let number = ask(&mut bench, a, to, 1, b"last words");
            bench.run();
            bench.hub.call(bench.now, Command::Drain).unwrap();
            bench.run();
            bench.release();
            assert_eq!(bench.answer(a, number).is_some(), sticky);
            assert_eq!(bench.closed(b), Some(Closed::Peer(Some(ErrorCode::GoingAway))), "it is owed nothing");
            assert_eq!(bench.closed(a), None);
            if patient {
                bench.writable(a, ChannelSet::ALL);
                bench.run();
                assert!(bench.answer(a, number).unwrap().is_ok());
            } else {
                bench.advance(config().drain_timeout);
            }
            assert_eq!(bench.closed(a), Some(Closed::Peer(Some(ErrorCode::GoingAway))));
            assert_eq!(bench.events.last(), Some(&HubEvent::Drained));
        }
    }
}

#[test]
fn an_idle_hub_sleeps() {
    let mut bench = Bench::new(config());
    let (_, a, _) = bench.account();
    bench.hub.handle(bench.now, Input::Closed { conn: a });
    bench.peers.clear();
    bench.run();
    let wait = bench.hub.poll_output(bench.now, None);
    assert!(matches!(wait, ntproto_hub::Output::Wait { at: None, .. }), "{wait:?}");
    let remote = REMOTE.parse().unwrap();
    bench.hub.handle(bench.now, Input::Opened { conn: ConnId(99), binding: BINDING, remote });
    bench.run();
    assert!(matches!(bench.hub.poll_output(bench.now, None), ntproto_hub::Output::Wait { at: Some(_), .. }));
}

//= proof: messages-12
#[test]
fn a_message_told_to_come_again_is_not_overtaken() {
    let mut bench = Bench::new(HubConfig { max_request_bytes: 10_000, ..config() });
    let (a, b, to) = two(&mut bench);
    bench.hold = true;
    ask(&mut bench, a, to, 1, &[0; 6_000]);
    let large = ask(&mut bench, a, to, 2, &[0; 6_000]);
    bench.run();
    bench.release();
    // There is room again, but the second one was told to come again.
    let third = ask(&mut bench, a, to, 3, b"small");
    bench.run();
    bench.release();
    assert_eq!(code(&mut bench, a, large), Some(ErrorCode::RetryAfter));
    assert_eq!(code(&mut bench, a, third), Some(ErrorCode::RetryAfter));
    for id in [2, 3] {
        ask(&mut bench, a, to, id, b"again");
        bench.run();
        bench.release();
    }
    let order: Vec<u8> = bench.notified(b).iter().map(|n| crate::bench::pushed(n).client_msg_id[0]).collect();
    assert_eq!(order, [1, 2, 3]);
    // A client that gave the refused one up is not held for ever.
    ask(&mut bench, a, to, 4, &[0; 9_999]);
    let fifth = ask(&mut bench, a, to, 5, &[0; 6_000]);
    bench.run();
    bench.release();
    assert_eq!(code(&mut bench, a, fifth), Some(ErrorCode::RetryAfter));
    bench.advance(RETRY_AFTER + HOLD_ORDER);
    let sixth = ask(&mut bench, a, to, 6, b"small");
    bench.run();
    bench.release();
    assert!(matches!(bench.answer(a, sixth), Some(Ok(_))));
}

/// Order is promised in each conversation, and none waits for another.
//= proof: messages-12
#[test]
fn a_conversation_that_waits_holds_no_other() {
    let mut bench = Bench::new(HubConfig { max_request_bytes: 10_000, ..config() });
    let (a, b, to) = two(&mut bench);
    let (_, c, grant) = bench.account();
    let sender = to.members().unwrap().0;
    let other = ConversationId::direct(sender, uin(&grant));
    bench.hold = true;
    ask(&mut bench, a, to, 1, &[0; 6_000]);
    let large = ask(&mut bench, a, to, 2, &[0; 6_000]);
    bench.run();
    bench.release();
    let third = ask(&mut bench, a, to, 3, b"small");
    let beside = ask(&mut bench, a, other, 4, b"small");
    bench.run();
    bench.release();
    for number in [large, third] {
        assert_eq!(code(&mut bench, a, number), Some(ErrorCode::RetryAfter));
    }
    assert!(matches!(bench.answer(a, beside), Some(Ok(_))));
    assert_eq!((bench.notified(b).len(), bench.notified(c).len()), (1, 1));
}

/// The clock that a server starts with after `lives` of this length, and an end in order or by a crash.
fn clock_after(lives: u64, length: Duration, orderly: bool) -> u64 {
    let mut bench = Bench::new(config());
    let (wall, mono) = (bench.now.unix.0, bench.now.mono);
    let (device, _, _) = bench.account();
    for _ in 0..lives {
        let a = bench.known(&device);
        bench.granted(a);
        bench.advance(length);
        if orderly {
            bench.hub.call(bench.now, Command::Drain).unwrap();
            bench.run();
            assert_eq!(bench.events.last(), Some(&HubEvent::Drained));
            assert_eq!(bench.closed(a), Some(Closed::Peer(Some(ErrorCode::GoingAway))));
        }
        bench.restart(config());
    }
    let real = bench.now.mono.saturating_since(mono);
    bench.hub.server_time(bench.now).0 - wall - real.as_millis() as u64
}

#[test]
fn orderly_restarts_add_nothing_to_server_time_and_crashes_little() {
    for length in [1, 400, 30_000].map(Duration::from_millis) {
        assert_eq!(clock_after(50, length, true), 0, "{length:?}");
        let by_crashes = clock_after(50, length, false);
        let most = length.clamp(Duration::from_millis(100), Duration::from_secs(5));
        assert!(by_crashes <= 50 * most.as_millis() as u64, "{by_crashes} ms after lives of {length:?}");
    }
}
