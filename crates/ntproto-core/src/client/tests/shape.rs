//! The rules of every machine, held against clients on random runs. `World` checks the first four at
//! every poll of every test.

use alloc::vec;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Send(u8, Option<u64>),
    Act(u8, u8, bool),
    Read(u64),
    Presence(u32),
    Request,
    Cancel(u8),
    Confirm(u64),
    Push(u64),
    Change(u64, u32),
    Dirty,
    Skip(u64),
    Answer,
    Refuse(u32),
    Noise(Vec<u8>),
    Cut,
    Drop(u32),
    Refused(u32),
    Unreachable(bool),
    NetworkChanged,
    Early(bool),
    Bound,
    Full(bool),
    Slow(bool),
    Disk(Option<bool>),
    Advance(u64),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let code = || prop_oneof![Just(8u32), Just(39), Just(35), Just(67), Just(72), 0..80u32];
    prop_oneof![
        6 => (any::<u8>(), prop::option::of(0..9_000u64)).prop_map(|(n, ms)| Step::Send(n, ms)),
        3 => (any::<u8>(), any::<u8>(), any::<bool>()).prop_map(|(n, about, edit)| Step::Act(n, about, edit)),
        2 => (0..9u64).prop_map(Step::Read),
        1 => (0..3u32).prop_map(Step::Presence),
        1 => Just(Step::Request),
        2 => any::<u8>().prop_map(Step::Cancel),
        1 => (0..9u64).prop_map(Step::Confirm),
        4 => (1..9u64).prop_map(Step::Push),
        3 => (1..9u64, 0..12u32).prop_map(|(n, kind)| Step::Change(n, kind)),
        1 => Just(Step::Dirty),
        1 => (0..30u64).prop_map(Step::Skip),
        6 => Just(Step::Answer),
        2 => code().prop_map(Step::Refuse),
        1 => prop::collection::vec(any::<u8>(), 0..60).prop_map(Step::Noise),
        2 => Just(Step::Cut),
        1 => code().prop_map(Step::Drop),
        2 => code().prop_map(Step::Refused),
        1 => any::<bool>().prop_map(Step::Unreachable),
        1 => Just(Step::NetworkChanged),
        2 => any::<bool>().prop_map(Step::Early),
        2 => Just(Step::Bound),
        2 => any::<bool>().prop_map(Step::Full),
        2 => any::<bool>().prop_map(Step::Slow),
        2 => prop::option::weighted(0.1, any::<bool>()).prop_map(Step::Disk),
        6 => (0..20_000u64).prop_map(Step::Advance),
        1 => prop::bool::weighted(0.2).prop_map(|c| if c { Step::Close } else { Step::Cut }),
    ]
}

fn apply(w: &mut World, step: Step) {
    let open = w.server.as_ref().is_some_and(|server| server.phase() == Phase::Open);
    match step {
        Step::Send(n, ms) => {
            let body = Bytes::from(alloc::vec![n; usize::from(n) * 300]);
            let client_msg_id = Some(ClientMsgId([n; 16]));
            let deadline = ms.map(Duration::from_millis);
            let _ = w.call(Command::Send {
                trace: None,
                conversation: talk(),
                client_msg_id,
                body,
                deadline,
                action: SendAction::Message,
            });
        }
        Step::Act(n, about, edit) => {
            let target = match about {
                0..=9 => Target::Number(about.into()),
                _ => Target::Id(ClientMsgId([about; 16])),
            };
            let action = if edit { SendAction::Edit(target) } else { SendAction::Recall(target) };
            let client_msg_id = Some(ClientMsgId([n; 16]));
            let body = Bytes::from_static(b"text");
            let _ = w.call(Command::Send {
                trace: None,
                conversation: talk(),
                client_msg_id,
                body,
                deadline: None,
                action,
            });
        }
        Step::Presence(n) => drop(w.call(Command::SetPresence(State::from_wire(n).unwrap()))),
        Step::Read(seq) => drop(w.call(Command::Read { conversation: talk(), seq })),
        Step::Request => {
            let _ = w.call(Command::Request {
                trace: None,
                packet: PacketId(0x8001),
                body: Bytes::new(),
                deadline: None,
            });
        }
        Step::Cancel(n) => drop(w.call(Command::Cancel(ClientMsgId([n; 16])))),
        Step::Confirm(position) => drop(w.call(Command::Confirm(position))),
        Step::Push(n) if open => w.push(n, n - 1, from_friend(n)),
        Step::Change(n, event_type) if open => {
            w.push(n, n - 1, v2::SyncPacket { event_type, ..from_friend(n) });
        }
        Step::Dirty if open => w.tell(Channel::Message, PacketId::DIRTY, Kind::Push, Vec::new()),
        Step::Skip(next) if open => {
            if let Some((channel, Packet { kind: Kind::Request(n), id: PacketId::SYNC, .. })) =
                w.asked.pop_front()
            {
                let epoch = Bytes::copy_from_slice(&EPOCH);
                let page = v2::SyncResponse { epoch, next, too_long: true, ..Default::default() };
                w.tell(channel, PacketId::SYNC, Kind::Response(n), page.encode_to_vec());
            }
        }
        Step::Answer if open => match w.asked.pop_front() {
            Some((Channel::Sync, packet)) if packet.id == PacketId::SYNC => {
                w.asked.push_front((Channel::Sync, packet));
                w.answer_sync(&[], 9, false);
            }
            Some((channel, Packet { id, kind: Kind::Request(n), .. })) => {
                w.tell(channel, id, Kind::Response(n), Vec::new());
            }
            _ => {}
        },
        Step::Refuse(code) if open => {
            if let Some((channel, Packet { id, kind: Kind::Request(n), .. })) = w.asked.pop_front() {
                let body = v2::Error { code, detail: String::new(), retry_after_ms: 500 }.encode_to_vec();
                w.tell(channel, id, Kind::Error(n), body);
            }
        }
        Step::Noise(data) => {
            w.client.handle(w.now(), Input::Bytes { channel: Channel::Sync, data: &data });
            w.run();
        }
        Step::Cut => w.cut(),
        Step::Drop(code) if open => {
            let (now, code) = (w.now(), ErrorCode::from_wire(code).unwrap_or(ErrorCode::Internal));
            let _ = w.server.as_mut().unwrap().call(now, &mut w.rng, server::Command::Close(code));
            w.serve();
            w.run();
        }
        Step::Refused(code) => w.auth.extend(ErrorCode::from_wire(code)),
        Step::Unreachable(unreachable) => w.unreachable = unreachable,
        Step::NetworkChanged => {
            w.client.handle(w.now(), Input::NetworkChanged);
            w.run();
        }
        Step::Early(early) => w.early = early,
        Step::Bound => w.bound(),
        Step::Full(full) => {
            w.full = full;
            w.run();
        }
        Step::Slow(slow) => {
            w.slow_disk = slow;
            w.complete();
            w.run();
        }
        Step::Disk(fails) => {
            if let Some(failed) = fails
                && let Some((op, _)) = w.disk.pop_front()
            {
                let why = if failed { StoreError::Failed } else { StoreError::Full };
                w.client.handle(w.now(), Input::StoreDone(op, Err(why)));
            }
            w.complete();
            w.run();
        }
        Step::Advance(ms) => w.later(ms),
        Step::Close => drop(w.call(Command::Close)),
        Step::Push(_)
        | Step::Change(..)
        | Step::Dirty
        | Step::Skip(_)
        | Step::Answer
        | Step::Refuse(_)
        | Step::Drop(_) => {}
    }
}

/// How often it said that it stopped; nothing may come after that.
fn ends(w: &World) -> usize {
    let stopped = |e: &ClientEvent| matches!(e, ClientEvent::Stopped(_));
    let ends = w.events.iter().filter(|e| stopped(e)).count();
    assert!(ends == 0 || w.events.last().is_some_and(stopped), "{:?}", w.events);
    ends
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_rules_hold_on_any_run(steps in prop::collection::vec(step(), 1..60)) {
        let mut w = World::with(Saved::default());
        w.call(Command::Start).unwrap();
        for step in steps {
            apply(&mut w, step);
            prop_assert!(ends(&w) <= 1);
        }
        let _ = w.call(Command::Close);
        (w.full, w.slow_disk) = (false, false);
        w.complete();
        w.run();
        w.later(2_000);
        w.complete();
        w.run();
        // Rule 5: it ends once, on every path; rule 12: and then it does nothing more.
        prop_assert_eq!(ends(&w), 1);
        prop_assert_eq!(w.call(Command::RefreshTicket), Err(Misuse::State));
        prop_assert_eq!(w.call(Command::Close), Err(Misuse::State));
        w.client.handle(w.now(), Input::Connected(BINDING));
        w.client.handle(w.now(), Input::Bytes { channel: Channel::Control, data: &[7; 50] });
        w.later(100_000);
        prop_assert_eq!(ends(&w), 1);
        let wait = w.client.poll_output(w.now(), None);
        let idle = matches!(wait, Output::Wait { at: None, .. });
        prop_assert!(idle, "{:?}", wait);
        // Rule 13, for any run.
        let saved = w.saved.clone();
        let again = replay(&w.client.journal(), |now| Client::new(config(), saved, SEED, now));
        prop_assert_eq!(again, Ok(()));
    }
}

/// Rule 9: what an input brings about is there after it, without another poll of anything inside.
#[test]
fn outer_events_follow_the_input_at_once() {
    let mut w = World::online();
    let notify = v2::Notify { position: 1, previous: 0, packet: Some(from_friend(1)) }.encode_to_vec();
    let push = Packet {
        id: PacketId::NOTIFY,
        kind: Kind::Push,
        deadline_ms: None,
        trace: None,
        body: notify.into(),
    };
    let now = w.now();
    let server = w.server.as_mut().unwrap();
    server.call(now, &mut w.rng, server::Command::Send(Channel::Message, push)).unwrap();
    let mut tx = TxBuf::new(64 * 1024);
    let endpoint::Output::Transmit { channel } = server.poll_output(now, Some(&mut tx)) else { panic!() };
    w.client.handle(now, Input::Bytes { channel, data: tx.as_slice() });
    // The socket is full: only what is there already can come out.
    assert!(matches!(w.client.poll_output(now, None), Output::Store(_, ClientTxn::Apply(_))));
}
