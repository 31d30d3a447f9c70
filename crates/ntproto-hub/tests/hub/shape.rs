//! The rules of every machine, held against the hub. `Bench` checks the first four at every poll of every
//! test; `hostile` and `states` check ends, `journal` replays.

use ntproto_core::code::ErrorCode;
use ntproto_core::ids::ConversationId;
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::packet::PacketId;
use ntproto_hub::store::Txn;
use ntproto_hub::{Command, HubConfig, HubEvent, Input, Misuse, Output, Stage};
use prost::Message;

use crate::bench::{Bench, config, message, uin};

/// Rule 8: noise of many delays the answer to one by no more than their last words.
#[test]
fn malformed_input_does_not_starve_output() {
    let mut bench = Bench::new(HubConfig { max_connections: 1_000, ..config() });
    let (_, a, first) = bench.account();
    let (_, _, second) = bench.account();
    let to = ConversationId::direct(uin(&first), uin(&second));
    let noisy: Vec<_> = (0..500).map(|_| bench.transport()).collect();
    bench.run();
    let body = message(to, 1, b"x").encode_to_vec().into();
    let number = bench.ask(a, Channel::Message, PacketId::SEND, body, None);
    for conn in noisy {
        bench.hub.handle(bench.now, Input::Bytes { conn, channel: Channel::Control, data: &[7; 4_000] });
        // More of the same is dropped: it costs nothing further.
        bench.hub.handle(bench.now, Input::Bytes { conn, channel: Channel::Control, data: &[7; 4_000] });
    }
    bench.run();
    assert!(bench.answer(a, number).unwrap().is_ok());
    assert_eq!(bench.hub.connections(), 2);
    let ended = bench.events.iter().filter(|event| matches!(event, HubEvent::Closed { .. })).count();
    assert_eq!((ended, bench.closes.len()), (500, 500));
}

/// Rule 9: what an input brings about is there after it, without another poll of anything inside.
#[test]
fn outer_events_follow_the_input_at_once() {
    let mut bench = Bench::new(config());
    let (_, a, first) = bench.account();
    let (_, b, second) = bench.account();
    let to = ConversationId::direct(uin(&first), uin(&second));
    let body = message(to, 1, b"x").encode_to_vec().into();
    bench.ask(a, Channel::Message, PacketId::SEND, body, None);
    let mut tx = TxBuf::new(64 * 1024);
    let peer = bench.peers.get_mut(&a).unwrap();
    let sent = peer.endpoint.poll_output(bench.now, Some(&mut tx));
    assert!(matches!(sent, ntproto_core::endpoint::Output::Transmit { channel: Channel::Message }));
    bench.hub.handle(bench.now, Input::Bytes { conn: a, channel: Channel::Message, data: tx.as_slice() });
    let stored = bench.hub.poll_output(bench.now, None);
    assert!(matches!(stored, Output::Store { txn: Txn::Append(_), .. }), "{stored:?}");
    // A command's too.
    bench.hub.call(bench.now, Command::Close(b, ErrorCode::Normal)).unwrap();
    let closed = bench.hub.poll_output(bench.now, None);
    assert!(matches!(closed, Output::Event(HubEvent::Closed { conn, .. }) if conn == b), "{closed:?}");
}

/// Rules 5 and 12: a connection that ended takes no command and no bytes, and is told of once.
#[test]
fn what_has_ended_only_leaves() {
    let mut bench = Bench::new(config());
    let (_, a, _) = bench.account();
    bench.full = true;
    bench.hub.handle(bench.now, Input::Bytes { conn: a, channel: Channel::Sync, data: &[7; 40] });
    bench.run();
    assert_eq!(bench.hub.stage(a), Some(Stage::Leaving));
    for command in [Command::Close(a, ErrorCode::Normal), Command::UpdateKeys(a)] {
        assert_eq!(bench.hub.call(bench.now, command), Err(Misuse::NoConnection));
    }
    for channel in Channel::ALL {
        bench.hub.handle(bench.now, Input::Bytes { conn: a, channel, data: &[7; 40] });
    }
    bench.full = false;
    bench.run();
    bench.hub.handle(bench.now, Input::Closed { conn: a });
    bench.run();
    assert_eq!(bench.hub.stage(a), None);
    let ends = bench.events.iter().filter(|event| matches!(event, HubEvent::Closed { .. })).count();
    assert_eq!((ends, bench.closes.as_slice()), (1, &[(a, ErrorCode::Version)][..]));
    // One whose transport goes first is not taken down by us.
    let (_, b, _) = bench.account();
    bench.full = true;
    bench.hub.call(bench.now, Command::Close(b, ErrorCode::Normal)).unwrap();
    bench.hub.handle(bench.now, Input::Closed { conn: b });
    assert_eq!(bench.hub.stage(b), None);
    bench.full = false;
    bench.run();
    assert_eq!(bench.closes.len(), 1);
}
