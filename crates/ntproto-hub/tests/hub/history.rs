//! Edits, recalls, histories and snapshots, as they go through the hub.

use std::time::Duration;

use bytes::Bytes;
use ntproto_core::code::ErrorCode;
use ntproto_core::ids::ConversationId;
use ntproto_core::wire::event::EventType;
use ntproto_core::wire::packet::PacketId;
use ntproto_hub::{ConnId, HubConfig};
use ntproto_proto::v2;

use crate::bench::{Bench, config, message, pushed, uin};
use crate::people::refused;

fn two(bench: &mut Bench) -> (ConnId, ConnId, ConversationId) {
    let (_, a, grant_a) = bench.account();
    let (_, b, grant_b) = bench.account();
    (a, b, ConversationId::direct(uin(&grant_a), uin(&grant_b)))
}

fn edit(to: ConversationId, id: u8, target: u64, body: &[u8]) -> v2::SendRequest {
    v2::SendRequest { action: v2::Action::Edit.into(), target_seq: target, ..message(to, id, body) }
}

fn recall(to: ConversationId, id: u8, target: u64) -> v2::SendRequest {
    v2::SendRequest { action: v2::Action::Recall.into(), target_seq: target, ..message(to, id, b"") }
}

//= proof: messages-18
#[test]
fn an_edit_and_a_recall_are_told_as_what_they_are() {
    let mut bench = Bench::new(config());
    let (a, b, to) = two(&mut bench);
    bench.send(a, to, 1, b"teh");
    let edited: v2::SendResponse = bench.call(a, PacketId::SEND, &edit(to, 2, 1, b"the")).unwrap();
    assert_eq!(edited.conv_seq, 2);
    // By the id it was sent with: the number is found for it.
    let by_id = v2::SendRequest {
        target_seq: 0,
        target_id: Bytes::copy_from_slice(&[1; 16]),
        ..edit(to, 3, 0, b"the end")
    };
    let _: v2::SendResponse = bench.call(a, PacketId::SEND, &by_id).unwrap();
    let _: v2::SendResponse = bench.call(a, PacketId::SEND, &recall(to, 4, 1)).unwrap();
    let pushes = bench.notified(b);
    let told: Vec<_> = pushes
        .iter()
        .map(|push| {
            let it = pushed(push);
            (push.packet.as_ref().unwrap().event_type, it.action(), it.target_seq, it.body.to_vec())
        })
        .collect();
    let events = [EventType::Message, EventType::Edit, EventType::Edit, EventType::Recall].map(|e| e as u32);
    assert_eq!(told.iter().map(|told| told.0).collect::<Vec<_>>(), events);
    assert_eq!(told[1], (7, v2::Action::Edit, 1, b"the".to_vec()));
    assert_eq!(told[2], (7, v2::Action::Edit, 1, b"the end".to_vec()));
    assert_eq!(told[3], (8, v2::Action::Recall, 1, Vec::new()));

    // A retry has its answer, and is equal in action, target and body.
    let again: v2::SendResponse = bench.call(a, PacketId::SEND, &edit(to, 2, 1, b"the")).unwrap();
    assert!(again.duplicate);
    for other in [edit(to, 2, 2, b"the"), recall(to, 2, 1), message(to, 2, b"the"), edit(to, 2, 1, b"teh")] {
        assert_eq!(bench.call::<v2::SendResponse>(a, PacketId::SEND, &other), Err(ErrorCode::Conflict));
    }
    assert_eq!(
        bench.call::<v2::SendResponse>(a, PacketId::SEND, &edit(to, 5, 1, b"x")),
        Err(ErrorCode::Gone)
    );
    assert_eq!(
        bench.call::<v2::SendResponse>(b, PacketId::SEND, &edit(to, 5, 1, b"mine")),
        Err(ErrorCode::Forbidden)
    );
    assert_eq!(
        bench.call::<v2::SendResponse>(a, PacketId::SEND, &edit(to, 6, 99, b"x")),
        Err(ErrorCode::NotFound)
    );
    bench.send(a, to, 7, b"old");
    bench.pass(Duration::from_secs(20));
    assert!(bench.notified(b).iter().all(|push| pushed(push).conv_seq >= 4));
}

#[test]
fn an_action_without_a_meaning_is_refused_before_the_store() {
    let mut bench = Bench::new(HubConfig { max_body: 100, ..config() });
    let (a, _, to) = two(&mut bench);
    bench.send(a, to, 1, b"x");
    let of = |request: v2::SendRequest| request;
    let bad = [
        of(v2::SendRequest { action: 9, ..message(to, 2, b"x") }),
        of(v2::SendRequest { target_seq: 1, ..message(to, 2, b"x") }),
        edit(to, 2, 0, b"x"),
        v2::SendRequest { body: Bytes::from_static(b"why?"), ..recall(to, 2, 1) },
        v2::SendRequest { target_id: Bytes::from_static(b"short"), ..edit(to, 2, 0, b"x") },
    ];
    for request in bad {
        assert_eq!(refused(&mut bench, a, PacketId::SEND, &request), ErrorCode::BadRequest, "{request:?}");
    }
    assert_eq!(refused(&mut bench, a, PacketId::SEND, &edit(to, 2, 1, &[0; 101])), ErrorCode::TooLarge);
}

//= proof: messages-23
#[test]
fn histories_and_snapshots_go_on_the_sync_channel() {
    let mut bench = Bench::new(config());
    let (a, b, to) = two(&mut bench);
    let (_, c, _) = bench.account();
    for id in 1..=5 {
        bench.send(a, to, id, &[id]);
    }
    let newest =
        v2::HistoryRequest { conversation: Bytes::copy_from_slice(&to.0), limit: 2, ..Default::default() };
    let page: v2::HistoryResponse = bench.call(b, PacketId::HISTORY, &newest).unwrap();
    let seqs: Vec<_> = page.messages.iter().map(|message| message.conv_seq).collect();
    assert_eq!((seqs, page.has_more, page.head_seq), (vec![5, 4], true, 5));
    assert_eq!(refused(&mut bench, c, PacketId::HISTORY, &newest), ErrorCode::Forbidden);
    let short = v2::HistoryRequest { conversation: Bytes::from_static(b"x"), ..newest.clone() };
    assert_eq!(refused(&mut bench, b, PacketId::HISTORY, &short), ErrorCode::BadRequest);
    let marks = v2::MarksRequest { conversation: newest.conversation.clone(), ..Default::default() };
    assert_eq!(refused(&mut bench, c, PacketId::MARKS, &marks), ErrorCode::Forbidden);
    let all: v2::SnapshotResponse =
        bench.call(b, PacketId::SNAPSHOT, &v2::SnapshotRequest::default()).unwrap();
    assert_eq!((all.conversations.len(), all.conversations[0].head_seq), (1, 5));
    let odd = v2::SnapshotRequest { after: Bytes::from_static(b"odd"), ..Default::default() };
    assert_eq!(refused(&mut bench, b, PacketId::SNAPSHOT, &odd), ErrorCode::BadRequest);
}

//= proof: messages-24
#[test]
fn what_was_read_is_told_to_the_other_and_to_ones_own_devices() {
    let mut bench = Bench::new(config());
    let (a, b, to) = two(&mut bench);
    for id in 1..=3 {
        bench.send(a, to, id, &[id]);
    }
    bench.notified(b);
    let mark = v2::Watermark { conversation: Bytes::copy_from_slice(&to.0), delivered_seq: 1, read_seq: 2 };
    let _: v2::DeliveredResponse =
        bench.call(b, PacketId::DELIVERED, &v2::DeliveredRequest { watermarks: vec![mark] }).unwrap();
    for conn in [a, b] {
        let push = bench.notified(conn).pop().unwrap().packet.unwrap();
        assert_eq!(push.event_type, EventType::Receipt as u32);
        let receipt = <v2::Receipt as prost::Message>::decode(push.payload).unwrap();
        assert_eq!((receipt.delivered_seq, receipt.read_seq), (2, 2), "what is read is delivered");
    }
}

//= proof: messages-22
#[test]
fn who_is_too_far_behind_is_told_to_start_from_the_end() {
    let mut bench = Bench::new(HubConfig { max_lag: 3, ..config() });
    let (a, b, to) = two(&mut bench);
    for id in 1..=5 {
        bench.send(a, to, id, &[id]);
    }
    let epoch = bench.sync(b, 0).epoch;
    let far: v2::SyncResponse = bench
        .call(b, PacketId::SYNC, &v2::SyncRequest { epoch: epoch.clone(), cursor: 1, limit: 9 })
        .unwrap();
    assert_eq!((far.too_long, far.next), (true, 5));
    let near: v2::SyncResponse =
        bench.call(b, PacketId::SYNC, &v2::SyncRequest { epoch, cursor: 2, limit: 9 }).unwrap();
    assert_eq!((near.too_long, near.deltas.len()), (false, 3));
}
