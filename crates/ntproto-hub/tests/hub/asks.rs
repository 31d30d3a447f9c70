//! Packets of the application's: who may ask, what is bounded, who is told when nobody answers.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ntproto_core::client::MAX_BODY;
use ntproto_core::code::ErrorCode;
use ntproto_core::dispatch::{Outcome, Refusal};
use ntproto_core::endpoint::client::Event;
use ntproto_core::endpoint::{Closed, MAX_DETAIL};
use ntproto_core::wire::channel::{Channel, ChannelSet};
use ntproto_core::wire::packet::{Kind, Packet, PacketId};
use ntproto_hub::{AskId, Command, ConnId, HubConfig, Input, Push};
use proptest::prelude::*;

use crate::bench::{Bench, config, device_id, uin};

const ECHO: PacketId = PacketId(0x8001);

fn ask(bench: &mut Bench, conn: ConnId, body: &'static [u8], ms: Option<u32>) -> u32 {
    let number = bench.ask(conn, Channel::Message, ECHO, Bytes::from_static(body), ms);
    bench.run();
    number
}

fn answer(bench: &mut Bench, ask: AskId, answer: Outcome) {
    bench.hub.handle(bench.now, Input::Answered { ask, answer });
    bench.run();
}

fn code(bench: &mut Bench, conn: ConnId, number: u32) -> Option<ErrorCode> {
    bench.answer(conn, number)?.err().and_then(|error| ErrorCode::from_wire(error.code))
}

#[test]
fn the_application_is_asked_and_its_answer_goes_to_the_asker() {
    let mut bench = Bench::new(config());
    let (_, a, grant) = bench.account();
    let (first, second) = (ask(&mut bench, a, b"one", None), ask(&mut bench, a, b"two", Some(300)));
    let asked = std::mem::take(&mut bench.asked);
    assert_eq!(asked.iter().map(|ask| &ask.body[..]).collect::<Vec<_>>(), [b"one", b"two"]);
    for ask in &asked {
        assert_eq!((ask.conn, ask.uin, ask.device), (a, uin(&grant), device_id(&grant)));
        assert_eq!(ask.packet, ECHO);
    }
    assert_eq!(asked[0].deadline, bench.now.mono + Duration::from_secs(5));
    assert_eq!(asked[1].deadline, bench.now.mono + Duration::from_millis(300));
    assert!(!format!("{:?}", asked[0]).contains("one"), "no log shows a body");

    // In any order.
    answer(&mut bench, asked[1].id, Outcome::Answered(Bytes::from_static(b"2")));
    assert_eq!(bench.answer(a, first), None);
    assert_eq!(bench.answer(a, second), Some(Ok(Bytes::from_static(b"2"))));
    let refusal = Refusal::new(ErrorCode::Forbidden, "ä".repeat(MAX_DETAIL));
    answer(&mut bench, asked[0].id, Outcome::Refused(refusal));
    let error = bench.answer(a, first).unwrap().unwrap_err();
    assert_eq!(error.code, ErrorCode::Forbidden as u32);
    assert_eq!(error.detail, "ä".repeat(MAX_DETAIL / 2));

    // A second answer, and one to nobody, change nothing.
    answer(&mut bench, asked[0].id, Outcome::Answered(Bytes::new()));
    answer(&mut bench, AskId(99), Outcome::Answered(Bytes::new()));
    assert_eq!(bench.abandoned, []);
    assert_eq!(bench.closed(a), None);
}

#[test]
fn a_panic_is_internal_and_so_is_too_large_an_answer() {
    let mut bench = Bench::new(config());
    let (_, a, _) = bench.account();
    let numbers = [(); 3].map(|()| ask(&mut bench, a, b"x", None));
    let asked = std::mem::take(&mut bench.asked);
    answer(&mut bench, asked[0].id, Outcome::Panicked);
    answer(&mut bench, asked[1].id, Outcome::Answered(vec![0; MAX_BODY + 1].into()));
    answer(&mut bench, asked[2].id, Outcome::Answered(vec![7; MAX_BODY].into()));
    assert_eq!(code(&mut bench, a, numbers[0]), Some(ErrorCode::Internal));
    assert_eq!(code(&mut bench, a, numbers[1]), Some(ErrorCode::Internal));
    assert_eq!(bench.answer(a, numbers[2]).unwrap().unwrap().len(), MAX_BODY);
    assert_eq!(bench.closed(a), None, "the session goes on");
}

//= proof: packets-6
#[test]
fn only_on_message_in_time_and_not_at_a_drain() {
    let mut bench = Bench::new(config());
    let (_, a, _) = bench.account();
    let elsewhere = bench.raw(a, Channel::Sync, ECHO, Bytes::new());
    assert_eq!(elsewhere, Err(ErrorCode::BadRequest));
    let late = ask(&mut bench, a, b"x", Some(0));
    assert_eq!(code(&mut bench, a, late), Some(ErrorCode::DeadlineExceeded));
    assert_eq!(bench.asked, [], "nothing of this reached the application");

    let owed = ask(&mut bench, a, b"owed", None);
    bench.hub.call(bench.now, Command::Drain).unwrap();
    let refused = ask(&mut bench, a, b"new", None);
    assert_eq!(code(&mut bench, a, refused), Some(ErrorCode::Unavailable));
    assert_eq!(bench.closed(a), None, "a drain waits for the answer that is owed");
    let id = bench.asked[0].id;
    answer(&mut bench, id, Outcome::Answered(Bytes::from_static(b"there")));
    assert_eq!(bench.answer(a, owed), Some(Ok(Bytes::from_static(b"there"))));
    assert_eq!(bench.closed(a), Some(Closed::Peer(Some(ErrorCode::GoingAway))));
}

//= proof: packets-7
#[test]
fn a_handler_that_never_answers_is_answered_for() {
    let mut bench = Bench::new(HubConfig { max_ask_time: Duration::from_secs(2), ..config() });
    let (_, a, _) = bench.account();
    let short = ask(&mut bench, a, b"x", Some(500));
    let long = ask(&mut bench, a, b"x", Some(u32::MAX));
    let asked = std::mem::take(&mut bench.asked);
    bench.advance(Duration::from_millis(499));
    assert_eq!(code(&mut bench, a, short), None);
    bench.advance(Duration::from_millis(1));
    assert_eq!(code(&mut bench, a, short), Some(ErrorCode::DeadlineExceeded));
    assert_eq!(bench.abandoned, [asked[0].id]);
    bench.advance(Duration::from_millis(1_500));
    assert_eq!(code(&mut bench, a, long), Some(ErrorCode::DeadlineExceeded), "nobody is waited for for ever");
    // It comes to its senses, too late.
    answer(&mut bench, asked[0].id, Outcome::Answered(Bytes::from_static(b"late")));
    assert_eq!(code(&mut bench, a, short), Some(ErrorCode::DeadlineExceeded));
    assert_eq!(bench.closed(a), None);
}

#[test]
fn what_is_pending_is_bounded_and_holds_up_nothing_else() {
    let limits = HubConfig {
        max_conn_asks: 3,
        max_asks: 5,
        max_conn_ask_bytes: 10_000,
        max_ask_bytes: 12_000,
        ..config()
    };
    let mut bench = Bench::new(limits);
    let (_, a, _) = bench.account();
    let (_, b, _) = bench.account();
    let numbers = [(); 4].map(|()| ask(&mut bench, a, b"x", None));
    assert_eq!(code(&mut bench, a, numbers[3]), Some(ErrorCode::RetryAfter), "of one connection");
    assert!(bench.accepts(a), "its messages are read as before");
    let others = [(); 3].map(|()| ask(&mut bench, b, b"x", None));
    assert_eq!(code(&mut bench, b, others[2]), Some(ErrorCode::RetryAfter), "of all");
    for ask in std::mem::take(&mut bench.asked) {
        answer(&mut bench, ask.id, Outcome::Answered(Bytes::new()));
    }
    let big: &[u8] = &[0; 9_000];
    ask(&mut bench, a, big, None);
    let more = ask(&mut bench, a, b"a kilobyte and some: no".repeat(60).leak(), None);
    assert_eq!(code(&mut bench, a, more), Some(ErrorCode::RetryAfter), "bytes of one connection");
    let more = ask(&mut bench, b, &[0; 5_000], None);
    assert_eq!(code(&mut bench, b, more), Some(ErrorCode::RetryAfter), "bytes of all");
    assert_eq!(bench.asked.len(), 1);
}

#[test]
fn whoever_is_gone_is_not_worked_for() {
    let mut bench = Bench::new(config());
    let (_, a, _) = bench.account();
    let (_, b, _) = bench.account();
    ask(&mut bench, a, b"x", None);
    ask(&mut bench, b, b"x", None);
    ask(&mut bench, a, b"x", None);
    let asked = std::mem::take(&mut bench.asked);
    bench.hub.handle(bench.now, Input::Closed { conn: a });
    bench.run();
    assert_eq!(bench.abandoned, [asked[0].id, asked[2].id]);
    bench.hub.call(bench.now, Command::Close(b, ErrorCode::Normal)).unwrap();
    bench.run();
    assert_eq!(bench.abandoned.last(), Some(&asked[1].id));
    bench.advance(Duration::from_secs(20));
    assert_eq!(bench.abandoned.len(), 3);
}

fn told(bench: &Bench, conn: ConnId) -> Vec<Bytes> {
    let push = |event: &Event| match event {
        Event::Packet(Channel::Message, Packet { id: ECHO, kind: Kind::Push, body, .. }) => {
            Some(body.clone())
        }
        _ => None,
    };
    bench.peers[&conn].events.iter().filter_map(push).collect()
}

//= proof: packets-8
#[test]
fn a_push_goes_to_those_who_read() {
    let mut bench = Bench::new(config());
    let (_, a, grant) = bench.account();
    let (_, b, _) = bench.account();
    let to = uin(&grant);
    let push = |packet, body: Bytes| Input::Push(Push { to, packet, body });
    assert!(!format!("{:?}", push(ECHO, Bytes::from_static(b"secret"))).contains("secret"));
    bench.hub.handle(bench.now, push(ECHO, Bytes::from_static(b"news")));
    bench.hub.handle(bench.now, push(PacketId::NOTIFY, Bytes::from_static(b"the hub's own")));
    bench.run();
    assert_eq!(told(&bench, a), [&b"news"[..]]);
    assert_eq!(told(&bench, b), [] as [Bytes; 0]);

    bench.writable(a, ChannelSet::ALL.without(Channel::Message));
    for _ in 0..100 {
        bench.hub.handle(bench.now, push(ECHO, vec![0; 100_000].into()));
    }
    bench.run();
    bench.writable(a, ChannelSet::ALL);
    bench.run();
    assert!(told(&bench, a).len() < 6, "what does not fit is dropped");
    assert_eq!(bench.closed(a), None);
    bench.hub.handle(bench.now, push(ECHO, Bytes::from_static(b"more")));
    bench.run();
    assert_eq!(told(&bench, a).last(), Some(&Bytes::from_static(b"more")));
}

#[derive(Clone, Debug)]
enum Op {
    Ask(usize, Option<u32>),
    Answer(usize),
    Advance(u64),
    Leave(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..3usize, prop::option::of(0..4_000u32)).prop_map(|(conn, ms)| Op::Ask(conn, ms)),
        3 => (0..40usize).prop_map(Op::Answer),
        2 => (1..2_000u64).prop_map(Op::Advance),
        1 => (0..3usize).prop_map(Op::Leave),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever the application does, and whoever leaves: each request of a session that stays is answered once,
    /// at its deadline at the latest, and nothing is kept of it.
    #[test]
    fn every_request_is_answered_once(ops in prop::collection::vec(op(), 1..60)) {
        let mut bench = Bench::new(HubConfig { max_conn_asks: 5, ..config() });
        let conns = [(); 3].map(|()| bench.account().1);
        let mut gone = [false; 3];
        let mut numbers: BTreeMap<(usize, u32), ()> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Ask(n, ms) if !gone[n] => {
                    let number = ask(&mut bench, conns[n], b"x", ms);
                    numbers.insert((n, number), ());
                }
                Op::Answer(n) if !bench.asked.is_empty() => {
                    let n = n % bench.asked.len();
                    let id = bench.asked.swap_remove(n).id;
                    answer(&mut bench, id, Outcome::Answered(Bytes::new()));
                }
                Op::Advance(ms) => bench.advance(Duration::from_millis(ms)),
                Op::Leave(n) => {
                    gone[n] = true;
                    bench.hub.handle(bench.now, Input::Closed { conn: conns[n] });
                    bench.run();
                }
                _ => {}
            }
        }
        bench.advance(Duration::from_secs(6));
        for ((n, number), ()) in numbers {
            let kinds = bench.peers[&conns[n]].events.iter().filter(|event| matches!(event,
                Event::Packet(_, Packet { kind: Kind::Response(x) | Kind::Error(x), id: ECHO, .. }) if *x == number));
            let count = kinds.count();
            prop_assert!(count == 1 || gone[n] && count == 0, "{count} answers");
        }
    }
}
