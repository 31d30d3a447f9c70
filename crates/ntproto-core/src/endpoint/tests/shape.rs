//! The rules of every machine, held against endpoints on random runs.

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Send(bool, Channel, usize),
    Refresh,
    UpdateKeys(bool),
    Writable(bool, u8),
    Noise(bool, Vec<u8>),
    Close(bool),
    Gone(bool),
    Advance(u64),
    Deliver,
}

fn step() -> impl Strategy<Value = Step> {
    let channel = prop_oneof![Just(Channel::Message), Just(Channel::Sync)];
    prop_oneof![
        8 => (any::<bool>(), channel, 0..60_000usize).prop_map(|(s, c, n)| Step::Send(s, c, n)),
        2 => Just(Step::Refresh),
        2 => any::<bool>().prop_map(Step::UpdateKeys),
        3 => any::<(bool, u8)>().prop_map(|(s, set)| Step::Writable(s, set)),
        1 => (any::<bool>(), prop::collection::vec(any::<u8>(), 0..60)).prop_map(|(s, b)| Step::Noise(s, b)),
        1 => any::<bool>().prop_map(Step::Close),
        1 => any::<bool>().prop_map(Step::Gone),
        4 => (0..12_000u64).prop_map(Step::Advance),
        6 => Just(Step::Deliver),
    ]
}

fn apply(pair: &mut Pair, step: Step) {
    let now = pair.now;
    // What is not possible now is refused; either is fine.
    match step {
        Step::Send(true, channel, size) => {
            let packet = packet(Kind::Push, &alloc::vec![1; size]);
            let _ = pair.client.call(now, client::Command::Send(channel, packet));
        }
        Step::Send(false, channel, size) => {
            let packet = packet(Kind::Push, &alloc::vec![1; size]);
            let _ = pair.server.call(now, &mut pair.rng, server::Command::Send(channel, packet));
        }
        Step::Refresh => {
            let _ = pair.client.call(now, client::Command::RefreshTicket);
        }
        Step::UpdateKeys(true) => {
            let _ = pair.client.call(now, client::Command::UpdateKeys);
        }
        Step::UpdateKeys(false) => {
            let _ = pair.server.call(now, &mut pair.rng, server::Command::UpdateKeys);
        }
        Step::Writable(client, bits) => {
            let set = Channel::ALL
                .into_iter()
                .filter(|c| bits & (1 << c.index()) != 0)
                .fold(ChannelSet::NONE, ChannelSet::with);
            if client {
                pair.client.handle(now, Input::Writable(set));
            } else {
                pair.server.handle(now, Input::Writable(set));
            }
        }
        Step::Noise(true, data) => {
            pair.server.handle(now, Input::Bytes { channel: Channel::Message, data: &data });
        }
        Step::Noise(false, data) => {
            pair.client.handle(now, Input::Bytes { channel: Channel::Message, data: &data });
        }
        Step::Close(true) => {
            let _ = pair.client.call(now, client::Command::Close(ErrorCode::Normal));
        }
        Step::Close(false) => {
            let _ = pair.server.call(now, &mut pair.rng, server::Command::Close(ErrorCode::GoingAway));
        }
        Step::Gone(true) => pair.client.handle(now, Input::TransportClosed),
        Step::Gone(false) => pair.server.handle(now, Input::TransportClosed),
        Step::Advance(ms) => pair.now.mono = now.mono + Duration::from_millis(ms),
        Step::Deliver => pair.run(),
    }
}

/// Polls without room until it waits; answers the events.
fn without_room<E>(now: Now, mut poll: impl FnMut() -> Output<E>) -> Vec<E> {
    let mut events = Vec::new();
    loop {
        match poll() {
            Output::Event(event) => events.push(event),
            Output::Transmit { channel } => panic!("bytes for {channel:?} without room"),
            Output::Wait { at, why } => {
                assert_eq!(at.is_none(), why == WaitReason::Idle, "a timer has a reason");
                assert!(at.is_none_or(|at| at > now.mono), "{why:?} is over and was not seen to");
                return events;
            }
        }
    }
}

/// What holds for both ends at every moment.
fn check(pair: &mut Pair) {
    let Pair { client, server, rng, now, .. } = pair;
    // Rule 1: a full socket holds back bytes, not events and timers.
    let events = without_room(*now, || client.poll_output(*now, None));
    pair.client_events.extend(events);
    let events = without_room(*now, || server.poll_output(*now, None));
    pair.server_events.extend(events);
    // Rule 12: a machine that ended only reports that it did.
    if pair.client_events.iter().any(|e| matches!(e, client::Event::Closed(_))) {
        assert_eq!(client.phase(), Phase::Ended);
        for command in [client::Command::RefreshTicket, client::Command::UpdateKeys] {
            assert_eq!(client.call(*now, command), Err(Misuse::State));
        }
        assert_eq!(client.call(*now, client::Command::Close(ErrorCode::Normal)), Err(Misuse::State));
        assert!(matches!(client.poll_output(*now, None), Output::Wait { at: None, why: WaitReason::Idle }));
        assert!(
            matches!(pair.client_events.last(), Some(client::Event::Closed(_))),
            "nothing comes after it"
        );
    }
    if pair.server_events.iter().any(|e| matches!(e, server::Event::Closed(_))) {
        assert_eq!(server.phase(), Phase::Ended);
        assert_eq!(server.call(*now, rng, server::Command::UpdateKeys), Err(Misuse::State));
        assert_eq!(server.call(*now, rng, server::Command::Grant(grant())), Err(Misuse::State));
        assert!(matches!(server.poll_output(*now, None), Output::Wait { at: None, why: WaitReason::Idle }));
        assert!(
            matches!(pair.server_events.last(), Some(server::Event::Closed(_))),
            "nothing comes after it"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_rules_hold_on_any_run(steps in prop::collection::vec(step(), 1..60)) {
        let mut pair = Pair::open();
        for step in steps {
            apply(&mut pair, step);
            check(&mut pair);
        }
        // Rule 2: it waits only when nothing is left to do.
        pair.client_sends();
        pair.server_sends();
        prop_assert!(!pair.client.has_pending() && !pair.server.has_pending());
        // Rule 5: one end on every path.
        pair.client.handle(pair.now, Input::TransportClosed);
        pair.server.handle(pair.now, Input::TransportClosed);
        check(&mut pair);
        prop_assert_eq!((pair.client_closed().len(), pair.server_closed().len()), (1, 1));
    }
}

/// Rule 1: what came is told though nothing can be sent.
#[test]
fn events_come_though_the_socket_is_full() {
    let mut pair = Pair::open();
    pair.client.call(pair.now, client::Command::Send(Channel::Message, packet(Kind::Push, b"up"))).unwrap();
    let push = server::Command::Send(Channel::Sync, packet(Kind::Push, b"down"));
    pair.server.call(pair.now, &mut pair.rng, push).unwrap();
    let (up, down) = (pair.client_sends(), pair.server_sends());
    pair.server.handle(pair.now, Input::Bytes { channel: up[0].0, data: &up[0].1 });
    pair.client.handle(pair.now, Input::Bytes { channel: down[0].0, data: &down[0].1 });
    let told = pair.server.poll_output(pair.now, None);
    assert!(matches!(told, Output::Event(server::Event::Confirmed)));
    let told = pair.server.poll_output(pair.now, None);
    assert!(matches!(told, Output::Event(server::Event::Packet(Channel::Message, _))));
    let told = pair.client.poll_output(pair.now, None);
    assert!(matches!(told, Output::Event(client::Event::Packet(Channel::Sync, _))));
}

/// Rule 5: the end is told though the socket is full, and the last words leave after it.
#[test]
fn last_words_leave_after_the_end_was_told() {
    let mut pair = Pair::open();
    pair.client.call(pair.now, client::Command::Close(ErrorCode::Normal)).unwrap();
    let told = pair.client.poll_output(pair.now, None);
    assert!(matches!(told, Output::Event(client::Event::Closed(Closed::Local(ErrorCode::Normal)))));
    let words = pair.client_sends();
    assert_eq!(words.len(), 1);
    pair.server.handle(pair.now, Input::Bytes { channel: words[0].0, data: &words[0].1 });
    pair.server_sends();
    assert_eq!(pair.server_closed(), [Closed::Peer(Some(ErrorCode::Normal))]);
}

/// Rule 8: heartbeats, their answers and the end pass whatever waits on other channels.
#[test]
fn heartbeats_and_the_end_pass_full_queues() {
    let mut pair = Pair::open();
    for channel in [Channel::Message, Channel::Sync] {
        let big = packet(Kind::Push, &[0; 100_000]);
        while pair.client.call(pair.now, client::Command::Send(channel, big.clone())).is_ok() {}
    }
    // The data does not move at all: heartbeats keep the session up.
    pair.client.handle(pair.now, Input::Writable(ChannelSet::NONE.with(Channel::Control)));
    for n in 1..=10 {
        pair.now = at(n * 20_000);
        pair.run();
        assert_eq!((pair.client.phase(), pair.server.phase()), (Phase::Open, Phase::Open));
    }
    // It may move, and a heartbeat is due: that one is first.
    pair.client.handle(pair.now, Input::Writable(ChannelSet::ALL));
    pair.now = at(300_000);
    let order: Vec<_> = pair.client_sends().into_iter().map(|(channel, _)| channel).collect();
    assert_eq!(order[0], Channel::Control);
    assert!(order.len() > 2);
    // Malformed input: the answer to it is all that leaves, at once.
    let big = packet(Kind::Push, &[0; 100_000]);
    while pair.server.call(pair.now, &mut pair.rng, server::Command::Send(Channel::Sync, big.clone())).is_ok()
    {
    }
    pair.server.handle(pair.now, Input::Bytes { channel: Channel::Message, data: &[7; 100_000] });
    let words = pair.server_sends();
    assert_eq!(words.len(), 1);
    assert_eq!(words[0].0, Channel::Control);
}
