//! Messages that the application gives up, at every step of their way.

use super::*;

fn cancel(w: &mut World, n: u8) -> Result<RequestId, Misuse> {
    w.call(Command::Cancel(ClientMsgId([n; 16])))
}

fn was_cancelled(w: &World) -> bool {
    w.took(|e| matches!(e, ClientEvent::SendFailed { why: Failure::Cancelled, .. }))
}

#[test]
fn nobody_knows_a_message_that_is_not_there() {
    let mut w = World::online();
    assert_eq!(cancel(&mut w, 1), Err(Misuse::UnknownId));
    w.send(1, None);
    w.answer_send(1, 1, 0, false);
    assert_eq!(cancel(&mut w, 1), Err(Misuse::UnknownId), "it is settled");
}

#[test]
fn before_it_left_it_is_over_at_once() {
    // While it is being written, and while it waits.
    for slow_disk in [true, false] {
        let mut w = World::online();
        w.cut();
        w.slow_disk = slow_disk;
        w.send(1, Some(Duration::from_secs(60)));
        cancel(&mut w, 1).unwrap();
        if slow_disk {
            assert!(!was_cancelled(&w), "told when it is on the disk");
            assert_eq!(cancel(&mut w, 1), Err(Misuse::UnknownId), "and decided before");
            while !w.disk.is_empty() {
                w.complete();
                w.run();
            }
        }
        assert!(was_cancelled(&w));
        assert_eq!(w.client.machine().outbox_len(), 0);
        w.slow_disk = false;
        w.later(60_000);
        assert!(w.asked_send().is_none(), "and never sent");
    }
}

//= proof: packets-5
#[test]
fn on_its_way_it_is_found_out() {
    for stored in [false, true] {
        let mut w = World::online();
        w.send(1, Some(Duration::from_secs(60)));
        cancel(&mut w, 1).unwrap();
        cancel(&mut w, 1).unwrap();
        let expired = w.events.iter().filter(|e| matches!(e, ClientEvent::SendExpired { .. })).count();
        assert_eq!(expired, 1);
        if stored {
            // The answer to the message itself was under way.
            w.answer_send(1, 1, 0, false);
            assert!(w.took(|e| matches!(e, ClientEvent::Sent { conv_seq: 1, .. })));
        } else {
            w.cut();
            w.later(1_000);
            let asked = w.asked_send().unwrap();
            assert!(asked.resolve_only && asked.body.is_empty());
            w.refuse(PacketId::SEND, ErrorCode::Cancelled, 0);
            assert!(was_cancelled(&w));
        }
        assert_eq!(w.client.machine().outbox_len(), 0);
        w.later(60_000);
        let outcomes = w
            .events
            .iter()
            .filter(|e| matches!(e, ClientEvent::Sent { .. } | ClientEvent::SendFailed { .. }));
        assert_eq!(outcomes.count(), 1);
    }
}

#[test]
fn one_whose_deadline_passed_can_be_given_up_and_is_told_of_once() {
    let mut w = World::online();
    w.send(1, Some(Duration::from_millis(500)));
    w.later(500);
    cancel(&mut w, 1).unwrap();
    assert_eq!(w.events.iter().filter(|e| matches!(e, ClientEvent::SendExpired { .. })).count(), 1);
    w.refuse(PacketId::SEND, ErrorCode::DeadlineExceeded, 0);
    assert!(w.asked_send().unwrap().resolve_only);
    w.refuse(PacketId::SEND, ErrorCode::Cancelled, 0);
    assert!(was_cancelled(&w));
}

/// What was given up stays given up: the client that comes back only asks.
#[test]
fn given_up_before_a_crash_it_is_only_asked_after() {
    let mut w = World::online();
    w.send(1, None);
    cancel(&mut w, 1).unwrap();
    let kept = w.written.iter().rev().find_map(|txn| match txn {
        ClientTxn::Enqueue(entry) => Some(entry.clone()),
        _ => None,
    });
    let kept = kept.unwrap();
    assert_eq!((kept.order, kept.expires), (kept.order, Some(OutboxEntry::CANCELLED)));
    let saved = Saved {
        identity: Some((ME, DEVICE)),
        last_order: kept.order,
        outbox: alloc::vec![kept],
        ..Saved::default()
    };
    let mut w = World::with(saved);
    w.call(Command::Start).unwrap();
    w.run();
    w.later(10);
    assert!(w.asked_send().is_some_and(|asked| asked.resolve_only), "never sent again");
    w.refuse(PacketId::SEND, ErrorCode::Cancelled, 0);
    assert!(was_cancelled(&w));
    assert_eq!(w.client.machine().outbox_len(), 0);
}
