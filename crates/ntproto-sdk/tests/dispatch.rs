//! Handlers by packet id, while they are exchanged.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll, Waker};
use std::thread;

use bytes::Bytes;
use ntproto_core::wire::packet::{Kind, Packet};
use ntproto_sdk::ErrorCode;
use ntproto_sdk::dispatch::{Answering, Context, Occupied, Outcome, PacketId, Refusal, Router, Routes};
use proptest::prelude::*;
use prost::Message;

const ID: PacketId = PacketId(0x8001);

#[derive(Clone, PartialEq, Message)]
struct Text {
    #[prost(string, tag = "1")]
    text: String,
}

fn text(text: &str) -> Text {
    Text { text: text.into() }
}

fn cx() -> Context {
    Context { packet: ID, from: None, time_left: None }
}

fn body(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

fn poll(answering: &mut Answering) -> Poll<Outcome> {
    Pin::new(answering).poll(&mut TaskContext::from_waker(Waker::noop()))
}

/// What comes at the first poll.
fn ask(router: &Router, body: Bytes) -> Outcome {
    match poll(&mut router.snapshot().answer(cx(), body)) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("it waits for something"),
    }
}

#[test]
fn a_handler_is_found_and_the_rest_is_unknown() {
    let router = Router::new();
    let unknown = Outcome::Refused(ErrorCode::UnknownPacket.into());
    assert_eq!(ask(&router, Bytes::new()), unknown);
    router.register::<Text, Text, _>(ID, |_, ask| async move { Ok(text(&ask.text.to_uppercase())) }).unwrap();
    assert_eq!(ask(&router, body(&text("ä"))), Outcome::Answered(body(&text("Ä"))));

    // What is registered twice stays as it was.
    let again = router.register(ID, |_, _: Text| async { Ok(text("another")) });
    assert_eq!(again, Err(Occupied(ID)));
    assert_eq!(ask(&router, body(&text("ä"))), Outcome::Answered(body(&text("Ä"))));

    assert!(router.replace(ID, |_, _: Text| async { Ok(text("another")) }));
    assert_eq!(ask(&router, Bytes::new()), Outcome::Answered(body(&text("another"))));
    assert!(router.remove(ID) && !router.remove(ID));
    assert_eq!(ask(&router, Bytes::new()), unknown);
    assert!(!router.replace(ID, |_, ()| async { Err::<(), _>(Refusal::new(ErrorCode::Forbidden, "never")) }));
    let refused = Outcome::Refused(Refusal::new(ErrorCode::Forbidden, "never"));
    assert_eq!(ask(&router, Bytes::new()), refused);
}

#[test]
fn a_body_that_does_not_decode_never_reaches_the_handler() {
    let router = Router::new();
    router.register(ID, |_, ask: Text| async { Ok(ask) }).unwrap();
    for bad in [&b"\x0a\xff"[..], b"\x0a\x01\xff", b"\xff"] {
        let Outcome::Refused(refusal) = ask(&router, Bytes::from_static(bad)) else { panic!("{bad:?}") };
        assert_eq!(refusal.code, ErrorCode::BadRequest);
    }
}

#[test]
fn a_panic_ends_its_request_and_nothing_else() {
    let router = Router::new();
    let panics = |text: Text| {
        if text.text == "panic" {
            panic!("planted")
        }
    };
    router
        .register(ID, move |_, ask: Text| {
            // Before there is a future,
            panics(ask.clone());
            async move {
                if ask.text == "later" {
                    // and within.
                    panic!("planted");
                }
                Ok(ask)
            }
        })
        .unwrap();
    for bad in ["panic", "later"] {
        assert_eq!(ask(&router, body(&text(bad))), Outcome::Panicked);
        assert_eq!(ask(&router, body(&text("good"))), Outcome::Answered(body(&text("good"))));
    }
}

/// Panics when it is dropped.
struct Sore;

impl Drop for Sore {
    fn drop(&mut self) {
        panic!("planted");
    }
}

#[test]
fn a_request_that_is_dropped_is_over_even_if_it_panics() {
    let router = Router::new();
    let begun = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&begun);
    router
        .register(ID, move |_, ()| {
            counts.fetch_add(1, Ordering::SeqCst);
            async {
                let _sore = Sore;
                std::future::pending::<Result<(), Refusal>>().await
            }
        })
        .unwrap();
    // Never polled, never begun.
    drop(router.snapshot().answer(cx(), Bytes::new()));
    assert_eq!(begun.load(Ordering::SeqCst), 0);
    let mut answering = router.snapshot().answer(cx(), Bytes::new());
    assert_eq!(poll(&mut answering), Poll::Pending);
    assert_eq!(begun.load(Ordering::SeqCst), 1);
    drop(answering);
}

#[test]
fn what_was_begun_is_finished_by_whom_it_was_begun() {
    let router = Router::new();
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    router
        .register(ID, move |_, ()| {
            let gate = Arc::clone(&gate);
            async move {
                std::future::poll_fn(|_| {
                    if gate.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                Ok(text("old"))
            }
        })
        .unwrap();
    let mut answering = router.snapshot().answer(cx(), Bytes::new());
    assert_eq!(poll(&mut answering), Poll::Pending);
    router.replace(ID, |_, ()| async { Ok(text("new")) });
    open.store(true, Ordering::SeqCst);
    assert_eq!(poll(&mut answering), Poll::Ready(Outcome::Answered(body(&text("old")))));
    assert_eq!(ask(&router, Bytes::new()), Outcome::Answered(body(&text("new"))));
}

#[test]
fn a_batch_sees_one_table_and_the_next_one_the_change() {
    let routes = Arc::new(Routes::new());
    let mut reader = Routes::reader(&routes);
    let before = reader.snapshot().clone();
    routes.register(ID, 1).unwrap();
    assert_eq!((before.get(ID), reader.snapshot().get(ID)), (None, Some(&1)));
    let between = reader.snapshot().clone();
    assert_eq!(routes.replace(ID, 2), Some(1));
    assert_eq!((between.get(ID), reader.snapshot().get(ID)), (Some(&1), Some(&2)));
    assert_eq!(routes.remove(ID), Some(2));
    assert_eq!((reader.snapshot().get(ID), routes.snapshot().get(ID)), (None, None));
}

/// Uses the table it is in when it is dropped.
#[derive(Clone)]
struct Nosy(#[expect(dead_code, reason = "held to be dropped")] Arc<Drops>);

struct Drops(Arc<Routes<Nosy>>, PacketId);

impl Drop for Drops {
    fn drop(&mut self) {
        self.0.remove(self.1);
        let _ = self.0.snapshot();
    }
}

#[test]
fn a_handler_may_use_the_table_when_it_is_dropped() {
    let routes = Arc::new(Routes::new());
    let nosy = |other: u16| Nosy(Arc::new(Drops(Arc::clone(&routes), PacketId(other))));
    routes.register(PacketId(1), nosy(2)).unwrap();
    routes.register(PacketId(2), nosy(1)).unwrap();
    // Refused, replaced, removed: each is dropped where no lock is held.
    assert!(routes.register(PacketId(1), nosy(7)).is_err());
    drop(routes.replace(PacketId(1), nosy(9)));
    assert!(routes.snapshot().get(PacketId(2)).is_none(), "the one replaced took it out");
    drop(routes.remove(PacketId(1)));
    assert!(routes.snapshot().get(PacketId(1)).is_none());
}

//= proof: packets-9
#[test]
fn a_push_goes_to_its_handler_and_an_unknown_one_nowhere() {
    let router = Router::new();
    let heard = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&heard);
    router
        .register(ID, move |cx, said: Text| {
            assert_eq!((cx.packet, cx.from, said.text.as_str()), (ID, None, "news"));
            counts.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        })
        .unwrap();
    let push =
        |id| Packet { id, kind: Kind::Push, deadline_ms: None, trace: None, body: body(&text("news")) };
    let told = |id| match pin!(router.push(push(id))).poll(&mut TaskContext::from_waker(Waker::noop())) {
        Poll::Ready(told) => told,
        Poll::Pending => panic!("it waits for something"),
    };
    assert_eq!(told(PacketId(0x8002)), None);
    assert_eq!(told(ID), Some(Outcome::Answered(Bytes::new())));
    assert_eq!(heard.load(Ordering::SeqCst), 1);
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Register,
    Replace,
    Remove,
}

/// One writer's operations, each on one of its own ids.
fn script() -> impl Strategy<Value = Vec<(Op, u8)>> {
    let op = prop_oneof![Just(Op::Register), Just(Op::Replace), Just(Op::Remove)];
    prop::collection::vec((op, 0..12u8), 1..120)
}

const WRITERS: u16 = 3;

/// Ids that share pages between writers and lie on several.
fn id(writer: u16, n: u8) -> PacketId {
    PacketId(0x7f00 + u16::from(n) * 67 * WRITERS + writer)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Writers on threads, each held against a map of its own ids; readers meanwhile. Every id belongs to one
    /// writer, so whatever the order between them, each operation has one right answer, and so has the end.
    #[test]
    fn concurrent_writers_agree_with_a_map(scripts in prop::collection::vec(script(), WRITERS as usize)) {
        // A handler is its id, and the number of the operation that set it.
        let routes: Arc<Routes<(PacketId, usize)>> = Arc::new(Routes::new());
        let done = AtomicBool::new(false);
        let models = thread::scope(|scope| {
            for _ in 0..2 {
                let (mut reader, done) = (Routes::reader(&routes), &done);
                scope.spawn(move || {
                    let mut newest: BTreeMap<PacketId, usize> = BTreeMap::new();
                    while !done.load(Ordering::Relaxed) {
                        let snapshot = reader.snapshot().clone();
                        for (writer, n) in (0..WRITERS).flat_map(|w| (0..12).map(move |n| (w, n))) {
                            let id = id(writer, n);
                            let first = snapshot.get(id).copied();
                            assert_eq!(first, snapshot.get(id).copied(), "a snapshot never changes");
                            if let Some((whose, op)) = first {
                                assert_eq!(whose, id, "a handler stands where it was put");
                                let newest = newest.entry(id).or_default();
                                assert!(op >= *newest, "time does not go back");
                                *newest = op;
                            }
                        }
                    }
                });
            }
            let writers: Vec<_> = (0..WRITERS).zip(scripts).map(|(writer, script)| {
                let mut reader = Routes::reader(&routes);
                let routes = &routes;
                scope.spawn(move || {
                    let mut model = BTreeMap::new();
                    for (number, (op, n)) in script.into_iter().enumerate() {
                        let id = id(writer, n);
                        let value = (id, number + 1);
                        match op {
                            Op::Register => {
                                let free = !model.contains_key(&id);
                                assert_eq!(routes.register(id, value), if free { Ok(()) } else { Err(Occupied(id)) });
                                model.entry(id).or_insert(value);
                            }
                            Op::Replace => assert_eq!(routes.replace(id, value), model.insert(id, value)),
                            Op::Remove => assert_eq!(routes.remove(id), model.remove(&id)),
                        }
                        // Whoever changed it sees the change at once.
                        assert_eq!(reader.snapshot().get(id), model.get(&id));
                        assert_eq!(routes.snapshot().get(id), model.get(&id));
                    }
                    model
                })
            }).collect();
            let models: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
            done.store(true, Ordering::Relaxed);
            models
        });
        let model: BTreeMap<_, _> = models.into_iter().flatten().collect();
        let end = routes.snapshot();
        for n in 0..=u16::MAX {
            prop_assert_eq!(end.get(PacketId(n)), model.get(&PacketId(n)));
        }
    }
}
