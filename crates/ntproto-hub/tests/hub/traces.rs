//! A trace goes through the hub: from the sender's request to what the receivers are told, live or later.

use ntproto_core::code::ErrorCode;
use ntproto_core::ids::ConversationId;
use ntproto_core::trace::{SpanId, TraceContext, TraceId};
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::packet::{PacketId, TRACE_LEN};
use ntproto_hub::{ConnId, HubEvent, Served};
use ntproto_proto::v2;
use prost::Message;

use crate::bench::{Bench, config, message, pushed, uin};

fn two(bench: &mut Bench) -> (ConnId, ConnId, ConversationId) {
    let (_, a, grant_a) = bench.account();
    let (_, b, grant_b) = bench.account();
    (a, b, ConversationId::direct(uin(&grant_a), uin(&grant_b)))
}

fn context(n: u8, sampled: bool) -> TraceContext {
    TraceContext::new(TraceId::from_random([n; 16]), SpanId::from_random([n; 8]), sampled)
}

/// Sends a message within a trace.
fn send(
    bench: &mut Bench,
    from: ConnId,
    request: &v2::SendRequest,
    trace: [u8; TRACE_LEN],
) -> Result<v2::SendResponse, ErrorCode> {
    let body = request.encode_to_vec().into();
    let number = bench.ask_traced(from, Channel::Message, PacketId::SEND, body, None, Some(trace));
    bench.run();
    let answer = bench.answer(from, number).unwrap();
    answer
        .map(|body| v2::SendResponse::decode(body).unwrap())
        .map_err(|e| ErrorCode::from_wire(e.code).unwrap())
}

fn served(bench: &Bench) -> Vec<Served> {
    let served = bench.events.iter();
    served
        .filter_map(|event| if let HubEvent::Served(served) = event { Some(*served) } else { None })
        .collect()
}

//= proof: packets-12, packets-13
#[test]
fn push_and_page_carry_the_trace_with_the_servers_span_as_the_cause() {
    let mut bench = Bench::new(config());
    let (a, b, to) = two(&mut bench);
    let came = context(7, true);
    send(&mut bench, a, &message(to, 1, b"hello"), came.to_bytes()).unwrap();
    let [span] = served(&bench)[..] else { panic!("one span") };
    assert_eq!(
        (span.trace, span.packet, span.refused, span.group),
        (came, PacketId::SEND, None, Some(false))
    );
    let notify = bench.notified(b).remove(0);
    let told = TraceContext::from_bytes(&pushed(&notify).trace).unwrap();
    assert_eq!(told, came.caused_by(span.span));
    assert_ne!(span.span, came.parent);
    let page = bench.sync(b, 0);
    assert_eq!(page.deltas[0].packet, notify.packet, "whoever syncs later is told the same");
}

//= proof: packets-13
#[test]
fn a_retry_within_another_trace_is_the_same_message() {
    let mut bench = Bench::new(config());
    let (a, b, to) = two(&mut bench);
    let first = send(&mut bench, a, &message(to, 1, b"x"), context(1, true).to_bytes()).unwrap();
    let told = pushed(&bench.notified(b)[0]).trace;
    let again = send(&mut bench, a, &message(to, 1, b"x"), context(2, true).to_bytes()).unwrap();
    assert!(!first.duplicate && again.duplicate && again.conv_seq == first.conv_seq);
    let page = bench.sync(b, 0);
    let stored = v2::StoredMessage::decode(page.deltas[0].packet.clone().unwrap().payload).unwrap();
    assert_eq!(stored.trace, told, "the first one stands");
    assert_eq!(served(&bench).len(), 2, "the retry was served, too");
    assert!(send(&mut bench, a, &message(to, 1, b"y"), context(3, true).to_bytes()).is_err());
    assert_eq!(served(&bench)[2].refused, Some(ErrorCode::Conflict));
}

//= proof: packets-11, packets-12
#[test]
fn what_nobody_keeps_and_what_names_nothing_leaves_nothing() {
    let mut bench = Bench::new(config());
    let (a, b, to) = two(&mut bench);
    let zeros = [0; TRACE_LEN];
    let mut no_span = context(1, true).to_bytes();
    no_span[16..24].fill(0);
    for (n, trace) in [context(1, false).to_bytes(), zeros, no_span].into_iter().enumerate() {
        send(&mut bench, a, &message(to, n as u8, b"x"), trace).unwrap();
    }
    assert!(served(&bench).is_empty());
    assert!(bench.notified(b).iter().all(|notify| pushed(notify).trace.is_empty()));
    let counts = bench.hub.counts();
    assert_eq!((counts.direct, counts.group, counts.duplicates, counts.pushed), (3, 0, 0, 3));
}
