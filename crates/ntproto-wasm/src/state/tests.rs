#![allow(clippy::unwrap_used)]
use bytes::Bytes;
use ntproto_core::client::{Failure, Owed, SendOutcome, Settled};
use ntproto_core::ids::{ClientMsgId, DeviceId};
use ntproto_core::time::UnixMillis;
use ntproto_proto::v2;
use ntproto_sdk::store::{ClientStore as _, MemoryStore};
use proptest::option;
use proptest::prelude::*;

use super::*;

fn id(n: u8) -> ConversationId {
    ConversationId([n; 16])
}

fn any_entry() -> impl Strategy<Value = OutboxEntry> {
    (0..20u64, 0..3u8, prop::collection::vec(any::<u8>(), 0..20), any::<Option<u64>>()).prop_map(
        |(order, conversation, body, expires)| OutboxEntry {
            trace: ntproto_core::trace::TraceContext::from_bytes(&[order as u8; 25]),
            order,
            client_msg_id: ClientMsgId([order as u8; 16]),
            conversation: id(conversation),
            body: body.into(),
            expires: expires.map(UnixMillis),
            action: ntproto_core::client::SendAction::Message,
        },
    )
}

fn any_message() -> impl Strategy<Value = (u8, u64)> {
    (0..3u8, 1..30u64)
}

/// Few accounts, conversations and numbers, so that transactions meet. Positions rise, as a server's do.
fn any_txn() -> impl Strategy<Value = ClientTxn> {
    let apply = (
        option::weighted(0.2, any::<[u8; 16]>()),
        option::of(0..50u64),
        prop::collection::vec(any_message(), 0..4),
        prop::collection::vec(0..20u64, 0..3),
    )
        .prop_map(|(epoch, cursor, messages, settled)| {
            // A number of a conversation is one message for ever.
            let inbound = |(conversation, seq): (u8, u64)| Inbound {
                position: seq * 4 + u64::from(conversation),
                conversation: id(conversation),
                message: v2::StoredMessage {
                    conversation: Bytes::copy_from_slice(&[conversation; 16]),
                    conv_seq: seq,
                    sender: 1 + seq % 3,
                    body: vec![seq as u8; 3].into(),
                    ..Default::default()
                },
            };
            let leaves = |order: u64| Settled {
                order,
                client_msg_id: ClientMsgId([order as u8; 16]),
                outcome: SendOutcome::Failed(Failure::DeadlineExceeded),
            };
            ClientTxn::Apply(Apply {
                epoch,
                cursor,
                messages: messages.into_iter().map(inbound).collect(),
                settled: settled.into_iter().map(leaves).collect(),
                ..Apply::default()
            })
        });
    let ticket = any::<[u64; 2]>().prop_map(|[issued_ms, expires_ms]| v2::Ticket {
        sealed: vec![7; 9].into(),
        issued_ms,
        expires_ms,
    });
    prop_oneof![
        any_entry().prop_map(ClientTxn::Enqueue),
        apply,
        (0..140u64).prop_map(ClientTxn::Confirm),
        prop::collection::vec((0..3u8, 1..30u64), 0..3)
            .prop_map(|reads| ClientTxn::Read(reads.into_iter().map(|(n, seq)| (id(n), seq)).collect())),
        prop::collection::vec((0..3u8, 0..30u64, 0..30u64), 0..3).prop_map(|sent| {
            let owed = |(n, delivered, read)| (id(n), Owed { delivered, read });
            ClientTxn::ReceiptsSent(sent.into_iter().map(owed).collect())
        }),
        (1..4u64, any::<[u8; 16]>())
            .prop_map(|(uin, device)| ClientTxn::SaveIdentity(Uin(uin), DeviceId(device))),
        option::of(ticket).prop_map(ClientTxn::SaveTicket),
    ]
}

fn kept(txns: &[ClientTxn]) -> Vec<u8> {
    txns.iter().flat_map(record).collect()
}

proptest! {
    /// The SDK's store says what each transaction means: what comes back is what it would give.
    #[test]
    fn it_is_what_a_store_keeps(txns in prop::collection::vec(any_txn(), 0..30)) {
        let mut store = MemoryStore::new();
        store.commit(&txns).unwrap();
        let state = State::read(&kept(&txns)).unwrap();
        prop_assert_eq!(state.saved(), store.load_all().unwrap());
    }

    #[test]
    fn a_snapshot_takes_the_place_of_all_before(before in prop::collection::vec(any_txn(), 0..20), after in prop::collection::vec(any_txn(), 0..5)) {
        let all = State::read(&[kept(&before), kept(&after)].concat()).unwrap();
        let snapshot = State::read(&kept(&before)).unwrap().snapshot();
        prop_assert_eq!(&State::read(&[&snapshot[..], &kept(&after)].concat()).unwrap(), &all);
        // What stands before a snapshot does not matter.
        prop_assert_eq!(State::read(&[kept(&after), snapshot.clone(), kept(&after)].concat()).unwrap(), all);
    }

    /// The power may go at any byte: whole records count, a cut one does not.
    #[test]
    fn a_cut_loses_the_last_record_only(txns in prop::collection::vec(any_txn(), 1..6), cut in any::<prop::sample::Index>()) {
        let bytes = kept(&txns);
        let cut = cut.index(bytes.len());
        let mut whole = 0;
        let mut len = 0;
        while len + record(&txns[whole]).len() <= cut {
            len += record(&txns[whole]).len();
            whole += 1;
        }
        prop_assert_eq!(State::read(&bytes[..cut]), State::read(&kept(&txns[..whole])));
    }

    #[test]
    fn noise_never_panics(txns in prop::collection::vec(any_txn(), 0..3), noise in prop::collection::vec(any::<u8>(), 0..40)) {
        let _ = State::read(&[kept(&txns), noise].concat());
    }
}

#[test]
fn damage_and_newer_records_are_told() {
    let mut bytes = kept(&[ClientTxn::Confirm(5), ClientTxn::Confirm(6)]);
    bytes[7] ^= 1;
    assert_eq!(State::read(&bytes), Err(StateError::Damaged));
    assert_eq!(State::read(&framed(99, &NumberRecord { number: 1 })), Err(StateError::Newer(99)));
}
