//! The server: the machine of the HTTP surface over a store and a disk.

use std::collections::{BTreeMap, VecDeque};

use ntproto_core::crypto::secret::Secret;
use ntproto_core::ids::{DeviceId, FileId, Uin};
use ntproto_core::rng::Rng;
use ntproto_core::session::bearer::Bearer;
use ntproto_core::time::UnixMillis;
#[cfg(feature = "planted")]
use ntproto_hub::store::file::{FileAnswer, FileWork, UploadState};
use ntproto_hub::store::kv::{Kv as _, Table};
use ntproto_hub::store::memory::MemoryStore;
use ntproto_hub::store::txn::{EnrolVia, NewDevice};
use ntproto_hub::store::{OpId, Outcome, Store as _, StoreError, Txn};
use ntproto_hub::{ConnId, Who};
use ntproto_proto::store as record;
use ntproto_web::{FileError, FileOutcome, Web, WebConfig};
use prost::Message as _;

use super::disk::FileDisk;
use crate::ledger::Check;
use crate::schedule::{Clock, Time, WALL_START_MS};

/// What was asked of the host, when it is done.
#[derive(Debug)]
pub(super) enum Done {
    Store(Vec<(OpId, Result<Outcome, StoreError>)>),
    File(OpId, Result<FileOutcome, FileError>),
    Bearer(OpId, Option<Who>),
}

/// A running server.
pub(super) struct Process {
    pub(super) web: Web,
    pub(super) clock: Clock,
    pub(super) armed: Option<Time>,
    /// Transactions that wait for the store.
    pub(super) jobs: VecDeque<(OpId, Txn)>,
    /// Written, and not synced.
    pub(super) written: Vec<(OpId, Result<Outcome, StoreError>)>,
    pub(super) committing: bool,
}

/// What outlives it.
pub(super) struct Server {
    pub(super) store: MemoryStore,
    pub(super) files: FileDisk,
    pub(super) process: Option<Process>,
    pub(super) boot: u32,
    /// Its accounts, and a device of each.
    devices: BTreeMap<Uin, DeviceId>,
    /// Sessions there are: whose tokens are good.
    sessions: BTreeMap<[u8; 16], (Secret<32>, Who)>,
}

impl Server {
    /// A server with so many accounts.
    pub(super) fn new(rng: &mut Rng, accounts: usize) -> Check<(Self, Vec<Uin>)> {
        let mut store = MemoryStore::new();
        let now = UnixMillis(WALL_START_MS);
        let mut one = |txn| store.commit(&[txn]).pop().unwrap_or(Err(StoreError::Corrupt));
        one(Txn::Boot { wall: now, epoch: rng.array() }).map_err(|e| e.to_string())?;
        let mut devices = BTreeMap::new();
        for n in 0..accounts {
            let keys = (rng.array(), rng.array());
            let device = NewDevice {
                id: DeviceId(rng.array()),
                signing_key: keys.0,
                static_key: keys.1,
                name: n.to_string(),
            };
            match one(Txn::Enrol { via: EnrolVia::Open, device, now }) {
                Ok(Outcome::Enrolled(device)) => drop(devices.insert(device.uin, device.id)),
                other => return Err(format!("no account: {other:?}")),
            }
        }
        let uins = devices.keys().copied().collect();
        let server = Self {
            store,
            files: FileDisk::default(),
            process: None,
            boot: 0,
            devices,
            sessions: BTreeMap::new(),
        };
        Ok((server, uins))
    }

    /// Starts the process.
    pub(super) fn start(&mut self, rng: &mut Rng, time: Time, config: WebConfig) -> Check {
        let clock = Clock::new(time, 1 + rng.below(1 << 40), 0);
        let wall = clock.now(time).unix;
        match self.store.commit(&[Txn::Boot { wall, epoch: rng.array() }]).pop() {
            Some(Ok(Outcome::Booted(_))) => {}
            other => return Err(format!("the store did not boot: {other:?}")),
        }
        self.boot += 1;
        let mut web = Web::new(config, rng.array());
        web.handle(clock.now(time), ntproto_web::Input::Ready(true));
        self.process = Some(Process {
            web,
            clock,
            armed: None,
            jobs: VecDeque::new(),
            written: Vec::new(),
            committing: false,
        });
        Ok(())
    }

    /// Cuts its power.
    pub(super) fn crash(&mut self, rng: &mut Rng, keep: bool) {
        self.process = None;
        self.store.crash(keep);
        self.files.crash(rng);
        self.sessions.clear();
    }

    /// A session begins: what its client shows.
    pub(super) fn log_in(&mut self, rng: &mut Rng, uin: Uin) -> Bearer {
        let (session_id, token): ([u8; 16], [u8; 32]) = (rng.array(), rng.array());
        if let Some(device) = self.devices.get(&uin) {
            let who = Who { uin, device: *device, conn: ConnId(rng.below(1 << 40)) };
            self.sessions.insert(session_id, (Secret::new(token), who));
        }
        Bearer { session_id, token: Secret::new(token) }
    }

    /// All sessions end.
    pub(super) fn log_out(&mut self) {
        self.sessions.clear();
    }

    /// Of uploads without a length all that lies on the disk is charged to somebody: their clients tell the digests of all chunks, and
    /// none of those counts before it is right.
    pub(super) fn is_charged(&self, file: FileId) -> Check {
        let record = self.store.tables().get(Table::Uploads, &file.0).map_err(|error| error.to_string())?;
        let Some(record) = record else { return Ok(()) };
        let upload = record::Upload::decode(&*record).map_err(|error| error.to_string())?;
        let (lies, charged) = (self.files.len(file), upload.offset.max(upload.reserved));
        match upload.length {
            None if lies > charged => {
                Err(format!("{file}: {lies} bytes lie on the disk, and {charged} are charged"))
            }
            _ => Ok(()),
        }
    }

    /// What the store does instead.
    #[cfg(feature = "planted")]
    pub(super) fn planted(&self, txn: &Txn) -> Txn {
        match txn.clone() {
            Txn::FileWork(FileWork::Progress { file, epoch, offset, length, expires, quota, .. })
                if self.files.plant == Some(crate::plant::Plant::FileNotCharged) =>
            {
                let work = FileWork::Progress { file, epoch, offset, length, reserve: 0, expires, quota };
                Txn::FileWork(work)
            }
            txn => txn,
        }
    }

    /// What it says it has done.
    #[cfg(feature = "planted")]
    pub(super) fn pretended(txn: &Txn, result: Result<Outcome, StoreError>) -> Result<Outcome, StoreError> {
        match (txn, result) {
            (
                Txn::FileWork(FileWork::Progress { reserve, .. }),
                Ok(Outcome::File(FileAnswer::Upload(state))),
            ) => {
                let state = UploadState { reserved: *reserve, ..state };
                Ok(Outcome::File(FileAnswer::Upload(state)))
            }
            (_, result) => result,
        }
    }

    /// Whose session it is.
    pub(super) fn who(&self, shown: &Bearer) -> Option<Who> {
        let (token, who) = self.sessions.get(&shown.session_id)?;
        #[cfg(feature = "planted")]
        if self.files.plant == Some(crate::plant::Plant::StrangerReads) {
            return self.sessions.values().map(|(_, who)| *who).min_by_key(|who| who.uin);
        }
        token.ct_eq(&shown.token).then_some(*who)
    }
}
