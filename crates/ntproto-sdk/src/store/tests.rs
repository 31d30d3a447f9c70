#![allow(clippy::unwrap_used)]
use std::path::PathBuf;

use bytes::Bytes;
use ntproto_core::client::{Apply, ClientTxn, Inbound, OutboxEntry, SendOutcome, Settled, StoreError};
use ntproto_core::ids::{ClientMsgId, ConversationId, DeviceId, Uin};
use ntproto_proto::v2;
use proptest::prelude::*;

use super::*;

fn open(path: &std::path::Path) -> RedbStore {
    RedbStore::open(path).unwrap()
}

#[test]
fn the_memory_store_conforms() {
    conformance::run(|| {
        let store = MemoryStore::new();
        move || Box::new(store.clone()) as Box<dyn ClientStore>
    });
}

#[test]
fn the_redb_store_conforms() {
    conformance::run(|| {
        let dir = tempfile::tempdir().unwrap();
        move || Box::new(open(&dir.path().join("store.redb"))) as Box<dyn ClientStore>
    });
}

fn temp() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    (dir, path)
}

#[test]
fn a_file_of_another_kind_is_refused() {
    let (_dir, path) = temp();
    std::fs::write(&path, vec![b'x'; 100_000]).unwrap();
    let error = RedbStore::open(&path).err().unwrap();
    assert!(matches!(error, OpenError::Foreign), "{error:?}");
    assert_eq!(std::fs::read(&path).unwrap(), vec![b'x'; 100_000], "it is left as it was");
}

#[test]
fn a_redb_file_of_another_program_is_refused() {
    let (_dir, path) = temp();
    let database = ::redb::Database::create(&path).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(::redb::TableDefinition::<&[u8], &[u8]>::new("outbox"))
        .unwrap()
        .insert(&b"a"[..], &b"b"[..])
        .unwrap();
    txn.commit().unwrap();
    drop(database);
    let error = RedbStore::open(&path).err().unwrap();
    assert!(matches!(error, OpenError::Foreign), "{error:?}");
}

#[test]
fn the_second_to_open_hears_why() {
    let (_dir, path) = temp();
    let _first = open(&path);
    let error = RedbStore::open(&path).err().unwrap();
    assert!(matches!(error, OpenError::InUse), "{error:?}");
}

#[test]
fn a_missing_directory_is_an_error_that_names_the_cause() {
    let (dir, _) = temp();
    let error = RedbStore::open(&dir.path().join("no/such/store")).err().unwrap();
    assert!(matches!(error, OpenError::Io(_)), "{error:?}");
}

/// A copy of the file taken while the store is open is what a power cut leaves.
#[test]
fn what_a_power_cut_leaves_opens() {
    let (dir, path) = temp();
    let mut store = open(&path);
    for order in 1..=50 {
        store.commit(&[ClientTxn::Enqueue(entry(order, 40))]).unwrap();
        let cut = dir.path().join("cut.redb");
        std::fs::copy(&path, &cut).unwrap();
        let saved = open(&cut).load().unwrap();
        assert_eq!(saved.outbox.len(), order as usize);
        std::fs::remove_file(&cut).unwrap();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_and_nothing_is_half_done() {
    // /dev/full takes no bytes: redb's first write fails as a full disk does.
    match RedbStore::open(std::path::Path::new("/dev/full")) {
        Err(OpenError::Io(_) | OpenError::Damaged(_) | OpenError::Foreign) => {}
        Err(other) => panic!("{other:?}"),
        Ok(mut store) => assert!(store.commit(&[ClientTxn::Confirm(1)]).is_err()),
    }
}

#[test]
fn a_failed_memory_store_changes_nothing() {
    let store = MemoryStore::new();
    store.set_failure(Some(StoreError::Full));
    assert_eq!(store.clone().commit(&[ClientTxn::Enqueue(entry(1, 1))]), Err(StoreError::Full));
    store.set_failure(None);
    assert_eq!(store.clone().load().unwrap().outbox, []);
}

fn entry(order: u64, len: usize) -> OutboxEntry {
    OutboxEntry {
        order,
        client_msg_id: ClientMsgId([order as u8; 16]),
        conversation: ConversationId::direct(Uin(1), Uin(2)),
        body: Bytes::from(vec![1; len]),
        expires: None,
    }
}

fn txn() -> impl Strategy<Value = ClientTxn> {
    let talk = |n: u64| ConversationId::direct(Uin(1), Uin(2 + n % 3));
    let inbound = (1..60u64, 0..3u64, 1..40u64, 1..4u64).prop_map(move |(position, n, conv_seq, sender)| {
        let conversation = talk(n);
        let message = v2::StoredMessage {
            conversation: Bytes::copy_from_slice(&conversation.0),
            conv_seq,
            sender,
            ..Default::default()
        };
        Inbound { position, conversation, message }
    });
    let settled = (1..20u64, 1..40u64).prop_map(move |(order, conv_seq)| Settled {
        order,
        client_msg_id: ClientMsgId([order as u8; 16]),
        outcome: SendOutcome::Stored { conversation: talk(0), conv_seq, stored_ms: 5 },
    });
    let apply = (
        proptest::option::weighted(0.1, any::<u8>().prop_map(|e| [e; 16])),
        proptest::option::of(1..60u64),
        prop::collection::vec(inbound, 0..6),
        prop::collection::vec(settled, 0..3),
    );
    prop_oneof![
        (1..20u64, 0..300usize).prop_map(|(order, len)| ClientTxn::Enqueue(entry(order, len))),
        apply.prop_map(|(epoch, cursor, messages, settled)| {
            ClientTxn::Apply(Apply { epoch, cursor, messages, settled, ..Apply::default() })
        }),
        (0..60u64).prop_map(ClientTxn::Confirm),
        (0..3u64, 0..40u64).prop_map(move |(n, seq)| ClientTxn::ReceiptsSent(vec![(talk(n), seq)])),
        Just(ClientTxn::SaveIdentity(Uin(1), DeviceId([4; 16]))),
        Just(ClientTxn::SaveTicket(None)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn both_stores_hold_the_same(batches in prop::collection::vec(prop::collection::vec(txn(), 0..6), 1..10)) {
        let (_dir, path) = temp();
        let mut memory = MemoryStore::new();
        let mut disk = open(&path);
        for batch in batches {
            memory.commit(&batch).unwrap();
            disk.commit(&batch).unwrap();
            drop(disk);
            disk = open(&path);
            prop_assert_eq!(memory.load_all(), disk.load_all());
            prop_assert_eq!(memory.conversations(), disk.conversations());
            for (talk, _) in memory.conversations().unwrap() {
                prop_assert_eq!(memory.history(talk, Some(30), 7), disk.history(talk, Some(30), 7));
            }
        }
    }
}
