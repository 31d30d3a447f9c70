//! The redb store: conformance, clear errors when it is opened, faults of the disk under it.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use ntproto_core::ids::{ClientMsgId, ConversationId, DeviceId};
use ntproto_core::rng::Rng;
use ntproto_core::time::UnixMillis;
use ntproto_hub::store::conformance::{self, Disk};
use ntproto_hub::store::txn::{Append, Change, DeviceInfo, EnrolVia, NewDevice};
use ntproto_hub::store::{Outcome, Store, StoreError, Txn};
use ntproto_server::store::OpenError;
use ntproto_server::store::beside::BesideError;
use ntproto_server::store::redb::RedbStore;
use redb::{Database, ReadableTable, StorageBackend, TableDefinition};

const CACHE: usize = 4 << 20;

struct Folder(tempfile::TempDir);

impl Disk for Folder {
    fn open(&mut self) -> Box<dyn Store> {
        Box::new(RedbStore::open(&self.0.path().join("store.redb"), CACHE).unwrap())
    }
}

#[test]
fn the_redb_store_conforms() {
    conformance::run(&mut || Box::new(Folder(tempfile::tempdir().unwrap())));
}

fn open(path: &Path) -> Result<RedbStore, OpenError> {
    RedbStore::open(path, CACHE)
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    (folder, path)
}

#[test]
fn a_store_in_use_is_not_opened_twice() {
    let (_folder, path) = folder();
    let first = open(&path).unwrap();
    let error = open(&path).err().unwrap();
    assert!(matches!(error, OpenError::Locked(_)), "{error}");
    drop(first);
    open(&path).unwrap();
}

#[test]
fn what_is_no_store_is_refused_untouched() {
    let (folder, path) = folder();
    std::fs::write(&path, b"dear diary, ".repeat(1_000)).unwrap();
    let error = open(&path).err().unwrap();
    assert!(matches!(error, OpenError::NotADatabase(_)), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"dear diary, ".repeat(1_000));
    assert!(matches!(open(folder.path()), Err(OpenError::NotADatabase(_))));

    let foreign = folder.path().join("foreign.redb");
    let database = Database::create(&foreign).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(TableDefinition::<&[u8], &[u8]>::new("meta"))
        .unwrap()
        .insert(&b"x"[..], &b"y"[..])
        .unwrap();
    txn.commit().unwrap();
    drop(database);
    assert!(matches!(open(&foreign), Err(OpenError::NotADatabase(_))));
}

#[test]
fn a_newer_store_is_refused() {
    let (_folder, path) = folder();
    drop(open(&path).unwrap());
    let database = Database::open(&path).unwrap();
    let txn = database.begin_write().unwrap();
    let newer = 99_u32.to_be_bytes();
    txn.open_table(TableDefinition::<&[u8], &[u8]>::new("meta"))
        .unwrap()
        .insert(&b"format"[..], &newer[..])
        .unwrap();
    txn.commit().unwrap();
    drop(database);
    let error = open(&path).err().unwrap();
    assert!(matches!(error, OpenError::Newer(..)), "{error}");
    assert!(error.to_string().contains("format 99"), "{error}");
}

#[test]
fn a_missing_folder_is_named() {
    let (folder, _) = folder();
    let error = open(&folder.path().join("missing/store.redb")).err().unwrap();
    assert!(matches!(error, OpenError::NoFolder(_)), "{error}");
}

#[test]
fn a_creation_that_a_crash_cut_short_starts_over() {
    let (folder, path) = folder();
    std::fs::write(folder.path().join("store.redb.new"), [0; 5_000]).unwrap();
    drop(open(&path).unwrap());
    assert!(!folder.path().join("store.redb.new").exists());
}

#[test]
#[cfg(unix)]
fn only_the_owner_may_read_a_store() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, path) = folder();
    drop(open(&path).unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_damaged_store_is_an_error() {
    let (_folder, path) = folder();
    drop(open(&path).unwrap());
    let whole = std::fs::read(&path).unwrap();
    for cut in [0, 100, 4_096, whole.len() / 2] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert!(open(&path).is_err(), "{cut} bytes of it");
    }
}

fn floor(at: u64) -> Txn {
    Txn::SetClockFloor { at: UnixMillis(at) }
}

/// A store in which something stands, and the number of its accounts.
fn lived_in(path: &Path, accounts: u8) -> RedbStore {
    let mut store = open(path).unwrap();
    store.commit(&[Txn::Boot { wall: UnixMillis(1), epoch: [1; 16] }]);
    let enrol = |n: u8| {
        let device =
            NewDevice { id: DeviceId([n; 16]), signing_key: [n; 32], static_key: [n; 32], name: "d".into() };
        Txn::Enrol { via: EnrolVia::Open, device, now: UnixMillis(1) }
    };
    let batch: Vec<Txn> = (0..accounts).map(enrol).collect();
    assert!(store.commit(&batch).iter().all(Result::is_ok));
    store
}

#[test]
fn a_backup_is_the_store_at_one_moment_while_it_is_written() {
    let (folder, path) = folder();
    let copy = folder.path().join("copy.redb");
    let mut store = lived_in(&path, 200);
    let beside = store.beside();
    let before = beside.verify(&mut |_| true).unwrap();
    assert_eq!((before.faults.len(), before.complete), (0, true));
    // In the middle of it the store goes on.
    let mut at = 0;
    let backup = beside
        .backup(&copy, &mut |_| {
            at += 1;
            assert!(store.commit(&[floor(1_000_000 + at)]).iter().all(Result::is_ok));
            true
        })
        .unwrap();
    assert!(at > 0 && backup.records == before.records);
    assert_eq!(std::fs::metadata(&copy).unwrap().len(), backup.bytes);
    assert!(matches!(beside.backup(&copy, &mut |_| true), Err(BesideError::Exists(_))));
    drop(store);
    assert!(matches!(beside.verify(&mut |_| true), Err(BesideError::Closed)));

    let mut copied = open(&copy).unwrap();
    assert!(copied.beside().verify(&mut |_| true).unwrap().faults.is_empty());
    match copied.commit(&[floor(0)]).pop() {
        Some(Ok(Outcome::ClockFloor { floor })) => assert!(floor.0 < 1_000_000),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_backup_that_is_ended_leaves_nothing() {
    let (folder, path) = folder();
    let copy = folder.path().join("copy.redb");
    let store = lived_in(&path, 3);
    let beside = store.beside();
    assert!(matches!(beside.backup(&copy, &mut |_| false), Err(BesideError::Ended)));
    let nowhere = folder.path().join("missing/copy.redb");
    assert!(matches!(beside.backup(&nowhere, &mut |_| true), Err(BesideError::Copy(OpenError::NoFolder(_)))));
    let names: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["store.redb"]);
    // A store that is closed meanwhile does not wait for the end of it, however long that is.
    let mut store = Some(store);
    let mut closing = None;
    let ended = loop {
        let ended = beside.backup(&copy, &mut |_| {
            if let Some(store) = store.take() {
                closing = Some(std::thread::spawn(move || drop(store)));
            }
            true
        });
        // The thread that closes it may not have come so far.
        if ended.is_err() {
            break ended;
        }
        std::fs::remove_file(&copy).unwrap();
    };
    assert!(matches!(ended, Err(BesideError::Closed)), "{ended:?}");
    closing.unwrap().join().unwrap();
}

#[test]
fn faults_are_found_and_named() {
    let (_folder, path) = folder();
    drop(lived_in(&path, 2));
    let database = Database::open(&path).unwrap();
    let txn = database.begin_write().unwrap();
    {
        let mut table = txn.open_table(TableDefinition::<&[u8], &[u8]>::new("account_devices")).unwrap();
        let first = table.first().unwrap().unwrap().0.value().to_vec();
        table.remove(&first[..]).unwrap();
        let mut table = txn.open_table(TableDefinition::<&[u8], &[u8]>::new("accounts")).unwrap();
        table.insert(&10_002_u64.to_be_bytes()[..], &[0xff][..]).unwrap();
    }
    txn.commit().unwrap();
    drop(database);
    let verified = open(&path).unwrap().beside().verify(&mut |_| true).unwrap();
    let told: Vec<String> = verified.faults.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0], "accounts 0000000000002712: can't be read");
    assert!(
        told[1].starts_with("devices 0000") && told[1].ends_with("is not in its account's list"),
        "{told:?}"
    );
}

/// A disk that keeps what was synced, and of the rest only what a power cut happens to spare.
#[derive(Clone, Debug, Default)]
struct FaultyDisk(Arc<Mutex<Platter>>);

#[derive(Debug, Default)]
struct Platter {
    /// What a reader sees.
    seen: Vec<u8>,
    /// What survives a power cut for sure.
    synced: Vec<u8>,
    /// Sectors written since the last sync.
    dirty: BTreeMap<usize, ()>,
    capacity: Option<usize>,
    fail_sync: bool,
    /// Writes and syncs until the power is cut.
    fuse: Option<u64>,
    syncs: u64,
}

const SECTOR: usize = 512;

impl Platter {
    fn burn(&mut self) -> io::Result<()> {
        match &mut self.fuse {
            Some(0) => Err(io::Error::other("the power is out")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn touch(&mut self, from: usize, to: usize) {
        self.dirty.extend((from / SECTOR..to.div_ceil(SECTOR)).map(|sector| (sector, ())));
    }

    /// The power is cut and comes back: a random part of the unsynced sectors was written.
    fn power_cut(&mut self, rng: &mut Rng) {
        let mut image = self.synced.clone();
        if self.seen.len() > image.len() && rng.below(2) == 0 {
            image.resize(self.seen.len(), 0);
        }
        for &sector in self.dirty.keys() {
            let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(image.len()).min(self.seen.len()));
            if from < to && rng.below(2) == 0 {
                image[from..to].copy_from_slice(&self.seen[from..to]);
            }
        }
        self.seen.clone_from(&image);
        self.synced = image;
        self.dirty.clear();
        self.fuse = None;
    }
}

impl StorageBackend for FaultyDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.0.lock().unwrap();
        let from = offset as usize;
        let seen = disk.seen.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(seen);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.burn()?;
        if disk.capacity.is_some_and(|capacity| len as usize > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let old = disk.seen.len();
        disk.seen.resize(len as usize, 0);
        disk.touch(old.min(len as usize), len as usize);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.burn()?;
        if disk.fail_sync {
            return Err(io::Error::other("bad sector"));
        }
        disk.synced = disk.seen.clone();
        disk.dirty.clear();
        disk.syncs += 1;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.burn()?;
        let (from, to) = (offset as usize, offset as usize + data.len());
        disk.seen.get_mut(from..to).ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        disk.touch(from, to);
        Ok(())
    }
}

impl FaultyDisk {
    fn store(&self) -> RedbStore {
        let disk = self.clone();
        RedbStore::on_backend(move || disk.clone(), CACHE).unwrap()
    }

    /// Sends until the disk is full; answers the number of the first message that it has no room for.
    fn fill(&self, store: &mut RedbStore, a: &DeviceInfo, b: &DeviceInfo) -> u64 {
        self.with(|disk| disk.capacity = Some(4 * disk.seen.len()));
        let mut full = |n: &u64| match &store.commit(&[append(a, b, *n, 100_000)])[..] {
            [Ok(_)] => false,
            [Err(error)] => {
                assert_eq!(*error, StoreError::Full);
                true
            }
            _ => panic!("one answer"),
        };
        (1..).find(&mut full).unwrap()
    }

    fn with<R>(&self, f: impl FnOnce(&mut Platter) -> R) -> R {
        f(&mut self.0.lock().unwrap())
    }
}

fn account(store: &mut RedbStore, n: u8) -> DeviceInfo {
    let device =
        NewDevice { id: DeviceId([n; 16]), signing_key: [n; 32], static_key: [n; 32], name: String::new() };
    let enrol = Txn::Enrol { via: EnrolVia::Open, device, now: UnixMillis(1) };
    match store.commit(&[enrol]).pop() {
        Some(Ok(Outcome::Enrolled(device))) => device,
        other => panic!("{other:?}"),
    }
}

fn append(from: &DeviceInfo, to: &DeviceInfo, n: u64, size: usize) -> Txn {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    Txn::Append(Append {
        trace: None,
        sender: from.uin,
        device: from.id,
        conversation: ConversationId::direct(from.uin, to.uin),
        client_msg_id: ClientMsgId(id),
        after: None,
        action: Change::Message,
        body_hash: [n as u8; 32],
        body: Bytes::from(vec![n as u8; size]),
        now: UnixMillis(n),
        resolve_only: false,
    })
}

/// What a key was answered: sequence number and whether it was there before.
fn answer(answer: &Result<Outcome, StoreError>) -> (u64, bool) {
    match answer {
        Ok(Outcome::Appended { conv_seq, duplicate, .. }) => (*conv_seq, *duplicate),
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_power_cut_loses_what_was_acknowledged() {
    const CUTS: u64 = 150;
    let mut cuts_in_commit = 0;
    for seed in 0..CUTS {
        let mut rng = Rng::new([seed as u8; 32]);
        let disk = FaultyDisk::default();
        let mut store = disk.store();
        let (a, b) = (account(&mut store, 1), account(&mut store, 2));
        let mut acknowledged: Vec<(u64, u64)> = Vec::new();
        let mut next = 0;
        for _ in 0..3 {
            disk.with(|disk| disk.fuse = Some(rng.below(120)));
            loop {
                let batch: Vec<Txn> = (0..1 + rng.below(8))
                    .map(|_| {
                        next += 1;
                        append(&a, &b, next, rng.below(3_000) as usize)
                    })
                    .collect();
                let first = next - batch.len() as u64 + 1;
                let answers = store.commit(&batch);
                if answers.iter().all(Result::is_ok) {
                    acknowledged.extend((first..).zip(answers.iter().map(|a| answer(a).0)));
                } else {
                    assert!(answers.iter().all(Result::is_err), "a batch is durable as one");
                    cuts_in_commit += 1;
                    break;
                }
            }
            drop(store);
            disk.with(|disk| disk.power_cut(&mut rng));
            store = disk.store();
            for &(n, seq) in &acknowledged {
                let again = store.commit(&[append(&a, &b, n, 0)]);
                assert_eq!(answer(&again[0]), (seq, true), "seed {seed}: message {n} is lost");
            }
        }
    }
    assert_eq!(cuts_in_commit, CUTS * 3);
}

#[test]
fn after_a_failed_fsync_nothing_is_taken_until_reopened() {
    let disk = FaultyDisk::default();
    let mut store = disk.store();
    let (a, b) = (account(&mut store, 1), account(&mut store, 2));
    disk.with(|disk| disk.fail_sync = true);
    assert_eq!(store.commit(&[append(&a, &b, 1, 10)]), [Err(StoreError::Unavailable)]);
    disk.with(|disk| disk.fail_sync = false);
    assert_eq!(store.commit(&[append(&a, &b, 2, 10)]), [Err(StoreError::Unavailable)]);
    assert_eq!(store.commit(&[Txn::Devices { uin: a.uin }]), [Err(StoreError::Unavailable)]);
    drop(store);
    let mut store = disk.store();
    assert!(store.commit(&[append(&a, &b, 2, 10)])[0].is_ok());
}

#[test]
fn a_full_disk_is_said_so_and_works_again_with_room() {
    let disk = FaultyDisk::default();
    let mut store = disk.store();
    let (a, b) = (account(&mut store, 1), account(&mut store, 2));
    let n = disk.fill(&mut store, &a, &b);
    assert!(n > 1, "some fitted");
    assert!(store.commit(&[Txn::Devices { uin: a.uin }])[0].is_ok(), "reading goes on");
    assert_eq!(store.commit(&[append(&a, &b, n, 1_000_000)]), [Err(StoreError::Full)]);
    disk.with(|disk| disk.capacity = None);
    let again = store.commit(&[append(&a, &b, n, 100_000), append(&a, &b, 1, 100_000)]);
    assert_eq!(answer(&again[0]), (n, false));
    assert_eq!(answer(&again[1]), (1, true));
}

#[test]
fn a_full_disk_that_fails_otherwise_is_not_called_full() {
    let failures: [fn(&mut Platter); 2] = [|disk| disk.fail_sync = true, |disk| disk.seen.fill(7)];
    for fail in failures {
        let disk = FaultyDisk::default();
        let mut store = disk.store();
        let (a, b) = (account(&mut store, 1), account(&mut store, 2));
        let n = disk.fill(&mut store, &a, &b);
        let before = disk.with(|disk| {
            disk.capacity = None;
            let before = disk.seen.clone();
            fail(disk);
            before
        });
        assert_eq!(store.commit(&[append(&a, &b, n, 10)]), [Err(StoreError::Unavailable)]);
        // What came of it is known at the next start, not before.
        disk.with(|disk| (disk.fail_sync, disk.seen) = (false, before));
        assert_eq!(store.commit(&[append(&a, &b, n, 10)]), [Err(StoreError::Unavailable)]);
        assert_eq!(store.commit(&[Txn::Devices { uin: a.uin }]), [Err(StoreError::Unavailable)]);
    }
}

#[test]
fn reads_and_refusals_cost_no_fsync() {
    let disk = FaultyDisk::default();
    let mut store = disk.store();
    let (a, b) = (account(&mut store, 1), account(&mut store, 2));
    assert!(store.commit(&[append(&a, &b, 1, 10)])[0].is_ok());
    let syncs = disk.with(|disk| disk.syncs);
    store.commit(&[Txn::Devices { uin: a.uin }]);
    assert_eq!(answer(&store.commit(&[append(&a, &b, 1, 10)])[0]), (1, true));
    assert_eq!(store.commit(&[append(&a, &a, 2, 10)]), [Err(StoreError::NotFound)]);
    // A page that finds nothing to put into the inbox.
    let page = Txn::SyncPage {
        uin: b.uin,
        epoch: None,
        cursor: 0,
        limit: 10,
        max_bytes: 1 << 16,
        max_lag: 100,
        place: true,
    };
    assert!(matches!(&store.commit(&[page])[0], Ok(Outcome::Page { deltas, .. }) if deltas.len() == 1));
    assert_eq!(disk.with(|disk| disk.syncs), syncs);
}
