#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use ntproto_core::client::{Apply, ClientTxn, Owed, StoreError};
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::crypto::secret::Secret;
use ntproto_core::rng::Rng;
use ntproto_strategies::client::{outbox_entry as entry, txn};
use proptest::prelude::*;

use super::*;

/// A keystore that knows one key.
struct Fixed(u8);

const KEY: Fixed = Fixed(7);

impl Keystore for Fixed {
    fn data_key(&self, store: &StoreId) -> Result<Secret<32>, KeystoreError> {
        let mut key = [self.0; 32];
        key[..16].copy_from_slice(&store.0);
        Ok(Secret::new(key))
    }
}

fn open(path: &std::path::Path) -> RedbStore {
    RedbStore::open(path, &KEY).unwrap()
}

fn over(disk: Disk) -> RedbStore {
    RedbStore::over(disk, &KEY, &RUSTCRYPTO).unwrap()
}

#[test]
fn the_memory_store_conforms() {
    conformance::run(|| {
        let store = MemoryStore::new();
        move || Box::new(store.clone()) as Box<dyn ClientStore>
    });
}

//= proof: messages-20
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
    let error = RedbStore::open(&path, &KEY).err().unwrap();
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
    let error = RedbStore::open(&path, &KEY).err().unwrap();
    assert!(matches!(error, OpenError::Foreign), "{error:?}");
}

#[test]
fn the_second_to_open_hears_why() {
    let (_dir, path) = temp();
    let _first = open(&path);
    let error = RedbStore::open(&path, &KEY).err().unwrap();
    assert!(matches!(error, OpenError::InUse), "{error:?}");
}

#[test]
fn a_missing_directory_is_an_error_that_names_the_cause() {
    let (dir, _) = temp();
    let error = RedbStore::open(&dir.path().join("no/such/store"), &KEY).err().unwrap();
    assert!(matches!(error, OpenError::Io(_)), "{error:?}");
}

fn holds(path: &std::path::Path, what: &[u8]) -> bool {
    std::fs::read(path).unwrap().windows(what.len()).any(|bytes| bytes == what)
}

#[test]
fn nothing_people_wrote_is_in_the_file() {
    let (_dir, path) = temp();
    let mut store = open(&path);
    let to = ConversationId::direct(Uin(1), Uin(2));
    let canary = Bytes::from_static(b"a canary that sings to nobody else");
    let mut queued = entry(1, 0);
    (queued.body, queued.conversation) = (canary.clone(), to);
    let came = Inbound {
        position: 1,
        conversation: to,
        message: v2::StoredMessage { conv_seq: 1, body: canary.clone(), ..Default::default() },
    };
    let ticket = v2::Ticket { sealed: canary.clone(), ..Default::default() };
    let other = v2::SyncPacket { event_type: 99, payload: canary.clone() };
    let apply = Apply { messages: vec![came], others: vec![(2, other)], ..Apply::default() };
    store.commit(&[ClientTxn::SaveIdentity(Uin(1), DeviceId([1; 16]))]).unwrap();
    store.commit(&[ClientTxn::Enqueue(queued), ClientTxn::SaveTicket(Some(ticket))]).unwrap();
    store.commit(&[ClientTxn::Apply(apply)]).unwrap();
    assert!(!holds(&path, &canary));
    drop(store);
    assert!(!holds(&path, &canary));
    let saved = open(&path).load_all().unwrap();
    assert_eq!((&saved.outbox[0].body, &saved.unconfirmed[0].message.body), (&canary, &canary));
    assert_eq!(saved.ticket.unwrap().sealed, canary);
}

#[test]
fn a_wrong_key_and_a_keystore_without_one_are_told() {
    let (_dir, path) = temp();
    open(&path).commit(&[ClientTxn::Enqueue(entry(1, 100))]).unwrap();
    let error = RedbStore::open(&path, &Fixed(8)).err().unwrap();
    assert!(matches!(error, OpenError::WrongKey), "{error:?}");
    struct Locked;
    impl Keystore for Locked {
        fn data_key(&self, _: &StoreId) -> Result<Secret<32>, KeystoreError> {
            Err(KeystoreError("the keychain is locked".into()))
        }
    }
    let error = RedbStore::open(&path, &Locked).err().unwrap();
    assert!(error.to_string().contains("keychain is locked"), "{error}");
    assert_eq!(open(&path).load().unwrap().outbox, [entry(1, 100)]);
}

/// A store as versions before sealing wrote it.
fn unsealed(path: &std::path::Path, messages: u64, body: &[u8]) {
    let database = ::redb::Database::create(path).unwrap();
    let txn = database.begin_write().unwrap();
    let talk = ConversationId::direct(Uin(1), Uin(2));
    {
        let open =
            |name: &'static str| txn.open_table(::redb::TableDefinition::<&[u8], &[u8]>::new(name)).unwrap();
        open("meta").insert(&b"format"[..], &1u32.to_be_bytes()[..]).unwrap();
        open("meta").insert(&b"last_order"[..], &9u64.to_be_bytes()[..]).unwrap();
        open("owed").insert(&talk.0[..], &5u64.to_be_bytes()[..]).unwrap();
        let mut table = open("messages");
        for conv_seq in 1..=messages {
            let body = Bytes::copy_from_slice(body);
            let message = v2::StoredMessage { conv_seq, body, ..Default::default() };
            table
                .insert(
                    &record::in_conversation(talk, conv_seq)[..],
                    &prost::Message::encode_to_vec(&message)[..],
                )
                .unwrap();
        }
    }
    txn.commit().unwrap();
}

#[test]
fn a_store_from_before_sealing_is_sealed_and_leaves_nothing_open() {
    let (dir, path) = temp();
    let canary = b"a canary that sings to nobody else";
    unsealed(&path, 700, canary);
    assert!(holds(&path, canary));
    // What a crash in the middle of an earlier attempt left.
    std::fs::write(dir.path().join("store.redb.new"), b"half").unwrap();
    let mut store = open(&path);
    let talk = ConversationId::direct(Uin(1), Uin(2));
    assert_eq!(store.conversations(), Ok(vec![(talk, 700)]));
    assert_eq!(store.load().unwrap().last_order, 9);
    // What was owed then was owed as delivered.
    let owed = Owed { delivered: 5, read: 0 };
    assert_eq!(store.load().unwrap().owed, BTreeMap::from([(talk, owed)]));
    let all = store.history(talk, None, 1000).unwrap();
    assert!(all.len() == 700 && all.iter().all(|m| m.body == canary[..]));
    drop(store);
    assert!(!holds(&path, canary), "nor in pages that are free now");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    assert_eq!(open(&path).conversations(), Ok(vec![(talk, 700)]));
}

/// The transaction that seals is whole or nothing, and the file is exchanged only after it.
#[test]
fn sealing_that_was_interrupted_goes_on() {
    let (dir, path) = temp();
    let canary = b"a canary that sings to nobody else";
    unsealed(&path, 300, canary);
    let disk = Disk::default();
    let bytes = std::fs::read(&path).unwrap();
    disk.with(|p| (p.bytes, p.synced) = (bytes.clone(), bytes.clone()));
    disk.with(|p| p.fail_sync = Some(io::ErrorKind::Other));
    assert!(RedbStore::over(disk.clone(), &KEY, &RUSTCRYPTO).is_err());
    disk.with(|p| p.fail_sync = None);
    let mut rng = Rng::new([3; 32]);
    for _ in 0..20 {
        let cut = dir.path().join("cut.redb");
        std::fs::write(&cut, disk.cut(&mut rng).with(|p| p.bytes.clone())).unwrap();
        let talk = ConversationId::direct(Uin(1), Uin(2));
        assert_eq!(open(&cut).history(talk, None, 1000).unwrap().len(), 300);
        assert!(!holds(&cut, canary));
    }
    // Sealed, but the old pages are still there: the next to open it moves it.
    drop(over(disk.clone()));
    disk.with(|p| std::fs::write(&path, &p.bytes).unwrap());
    assert!(holds(&path, canary));
    drop(open(&path));
    assert!(!holds(&path, canary));
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

/// A disk in memory that loses what was not synced, and may be full or fail.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<Platter>>);

#[derive(Debug, Default)]
struct Platter {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    /// Since the last sync.
    writes: Vec<(usize, Vec<u8>)>,
    capacity: Option<usize>,
    fail_sync: Option<io::ErrorKind>,
}

impl Disk {
    fn with<R>(&self, f: impl FnOnce(&mut Platter) -> R) -> R {
        f(&mut self.0.lock().unwrap())
    }

    /// The power goes: of what was not synced, each write stays or is lost.
    fn cut(&self, rng: &mut Rng) -> Self {
        self.with(|p| {
            let mut bytes = p.synced.clone();
            bytes.resize(p.bytes.len(), 0);
            for (at, data) in p.writes.iter().filter(|_| rng.below(2) == 0) {
                if at + data.len() <= bytes.len() {
                    bytes[*at..at + data.len()].copy_from_slice(data);
                }
            }
            Self(Arc::new(Mutex::new(Platter { synced: bytes.clone(), bytes, ..Platter::default() })))
        })
    }
}

impl ::redb::StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|p| p.bytes.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(|p| out.copy_from_slice(&p.bytes[offset as usize..][..out.len()]));
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|p| {
            if p.capacity.is_some_and(|capacity| len as usize > capacity) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            p.bytes.resize(len as usize, 0);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|p| {
            if let Some(kind) = p.fail_sync {
                return Err(kind.into());
            }
            p.synced.clone_from(&p.bytes);
            p.writes.clear();
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(|p| {
            p.bytes[offset as usize..][..data.len()].copy_from_slice(data);
            p.writes.push((offset as usize, data.to_vec()));
        });
        Ok(())
    }
}

#[test]
fn a_full_disk_is_told_and_nothing_is_half_done() {
    let disk = Disk::default();
    let mut store = over(disk.clone());
    store.commit(&[ClientTxn::Enqueue(entry(1, 100))]).unwrap();
    disk.with(|p| p.capacity = Some(p.bytes.len()));
    let mut order = 2;
    let error = loop {
        match store.commit(&[ClientTxn::Enqueue(entry(order, 200_000)), ClientTxn::Confirm(1)]) {
            Ok(()) => order += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error, StoreError::Full);
    // Room alone does not help: what the disk took of it is not known before it is opened again.
    disk.with(|p| p.capacity = None);
    assert_eq!(store.commit(&[ClientTxn::Confirm(1)]), Err(StoreError::Full));
    drop(store);
    let mut store = over(disk);
    let saved = store.load().unwrap();
    assert_eq!((saved.outbox.len() as u64, saved.last_order), (order - 1, order - 1));
    store.commit(&[ClientTxn::Enqueue(entry(order, 200_000))]).unwrap();
}

#[test]
fn a_failed_sync_is_the_end_until_opened_again() {
    // For lack of room too: what it wrote may be on the disk, and is not said to be not.
    for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
        let disk = Disk::default();
        let mut store = over(disk.clone());
        disk.with(|p| p.fail_sync = Some(kind));
        assert_eq!(store.commit(&[ClientTxn::Enqueue(entry(1, 10))]), Err(StoreError::Failed), "{kind}");
        disk.with(|p| p.fail_sync = None);
        assert_eq!(store.commit(&[ClientTxn::Enqueue(entry(2, 10))]), Err(StoreError::Failed));
    }
}

#[test]
fn a_power_cut_at_any_moment_keeps_what_was_committed() {
    let mut rng = Rng::new([8; 32]);
    let disk = Disk::default();
    let mut store = over(disk.clone());
    for order in 1..=60 {
        store.commit(&[ClientTxn::Enqueue(entry(order, 3000))]).unwrap();
        // Between two commits, and in the middle of the next.
        let between = over(disk.cut(&mut rng)).load().unwrap();
        assert_eq!(between.last_order, order);
        disk.with(|p| p.fail_sync = Some(io::ErrorKind::Other));
        assert!(store.commit(&[ClientTxn::Enqueue(entry(order + 1, 3000))]).is_err());
        disk.with(|p| p.fail_sync = None);
        let within = over(disk.cut(&mut rng)).load().unwrap();
        assert!([order, order + 1].contains(&within.last_order), "{} at {order}", within.last_order);
        assert_eq!(within.outbox.len() as u64, within.last_order);
        drop(store);
        let cut = disk.cut(&mut rng);
        disk.with(|p| *p = std::mem::take(&mut *cut.0.lock().unwrap()));
        store = over(disk.clone());
        // Whether the interrupted one is there is the disk's to say; from here on it is in both.
        store.commit(&[ClientTxn::Enqueue(entry(order + 1, 3000))]).unwrap();
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
                prop_assert_eq!(memory.unread(talk), disk.unread(talk));
                let query = SearchQuery { conversation: Some(talk), limit: 3, ..SearchQuery::default() };
                prop_assert_eq!(memory.search(&query), disk.search(&query));
            }
        }
    }
}
