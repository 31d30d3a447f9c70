//! A transfer on a device.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Response;
use ntproto_core::ids::{FileId, Uin};
use ntproto_core::rng::Rng;
use ntproto_core::session::bearer::Bearer;
use ntproto_core::time::Instant;
use ntproto_core::transfer::download::{self, Download};
use ntproto_core::transfer::upload::{self, Upload};
use ntproto_core::transfer::{Ask, AskId, Failure, Input, MAX_CHUNK, Output};
use ntproto_proto::store::{DownloadState, UploadState};
use ntproto_web::ExchangeId;

use crate::ledger::Check;
use crate::schedule::Time;

/// What somebody does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Job {
    /// Uploads a source. A copy of a device does what the first one does, until the faults end.
    Upload { plan: upload::Plan, copy: bool },
    /// Downloads it.
    Download(download::Plan),
    /// Tries to get at a file of others.
    Pry(FileId),
}

enum Machine {
    Up(Box<Upload>),
    Down(Box<Download>),
}

enum Saved {
    Up(UploadState),
    Down(DownloadState),
}

/// A request on its way.
pub(super) struct Exchange {
    pub(super) id: ExchangeId,
    pub(super) ask: Ask,
    /// What is still to be sent of the source.
    pub(super) rest: std::ops::Range<usize>,
    /// What may be sent before more is taken.
    pub(super) credit: usize,
    /// The answer, once it began.
    pub(super) head: Option<Response<()>>,
    /// Bytes of a range that were written.
    pub(super) written: usize,
}

/// A device with one thing to do.
pub(super) struct Client {
    pub(super) uin: Uin,
    pub(super) job: Job,
    /// The bytes that are uploaded, or should be downloaded.
    pub(super) source: Bytes,
    machine: Option<Machine>,
    saved: Option<Saved>,
    /// Counts its starts.
    pub(super) life: u32,
    pub(super) conn: Option<usize>,
    pub(super) bearer: Option<Bearer>,
    pub(super) asks: BTreeMap<AskId, Exchange>,
    pub(super) armed: Option<Time>,
    pub(super) ended: Option<Result<(), Failure>>,
    /// It was told to give up.
    pub(super) cancelled: bool,
    /// Bytes of the body that it sent in all its lives, and what went wrong for it.
    pub(super) sent: u64,
    pub(super) breaks: u64,
    /// What it downloaded, and what of it is on its disk.
    pub(super) bytes: Vec<u8>,
    durable: Vec<u8>,
}

impl Client {
    pub(super) fn new(uin: Uin, job: Job, source: Bytes) -> Self {
        Self {
            uin,
            job,
            source,
            machine: None,
            saved: None,
            life: 0,
            conn: None,
            bearer: None,
            asks: BTreeMap::new(),
            armed: None,
            ended: None,
            cancelled: false,
            sent: 0,
            breaks: 0,
            bytes: Vec::new(),
            durable: Vec::new(),
        }
    }

    /// Starts, from what is on its disk.
    pub(super) fn start(&mut self, rng: Rng) -> Check {
        self.life += 1;
        self.bytes.clone_from(&self.durable);
        let machine = match (&self.job, &self.saved) {
            (Job::Upload { .. }, Some(Saved::Up(state))) => {
                Upload::resume(state, rng).map(Box::new).map(Machine::Up)
            }
            (Job::Upload { plan, .. }, _) => Some(Machine::Up(Box::new(Upload::new(*plan, rng)))),
            (Job::Download(_), Some(Saved::Down(state))) => {
                Download::resume(state, rng).map(Box::new).map(Machine::Down)
            }
            (Job::Download(plan), _) => Some(Machine::Down(Box::new(Download::new(*plan, rng)))),
            (Job::Pry(_), _) => return Ok(()),
        };
        self.machine = Some(machine.ok_or("what a transfer saved can't be read")?);
        Ok(())
    }

    /// Its power fails.
    pub(super) fn crash(&mut self) {
        self.machine = None;
        (self.conn, self.bearer, self.armed) = (None, None, None);
        self.asks.clear();
        self.breaks += 1;
    }

    pub(super) const fn is_up(&self) -> bool {
        self.machine.is_some()
    }

    pub(super) const fn is_copy(&self) -> bool {
        matches!(self.job, Job::Upload { copy: true, .. })
    }

    pub(super) fn handle(&mut self, now: Instant, input: Input) {
        match &mut self.machine {
            Some(Machine::Up(upload)) => upload.handle(now, input),
            Some(Machine::Down(download)) => download.handle(now, input),
            None => {}
        }
    }

    pub(super) fn poll(&mut self, now: Instant) -> Option<Output> {
        match &mut self.machine {
            Some(Machine::Up(upload)) => Some(upload.poll_output(now)),
            Some(Machine::Down(download)) => Some(download.poll_output(now)),
            None => None,
        }
    }

    /// What was written is on the disk, and what the machine wants kept.
    pub(super) fn save(&mut self) {
        self.durable.clone_from(&self.bytes);
        self.saved = match &self.machine {
            Some(Machine::Up(upload)) => Some(Saved::Up(upload.state())),
            Some(Machine::Down(download)) => Some(Saved::Down(download.state())),
            None => return,
        };
    }

    /// Gives up.
    pub(super) fn cancel(&mut self) {
        if let Some(Machine::Up(upload)) = &mut self.machine {
            self.cancelled = true;
            upload.cancel();
        }
    }

    /// What the server calls the file.
    pub(super) fn file(&self) -> Option<FileId> {
        match &self.machine {
            Some(Machine::Up(upload)) => upload.file(),
            _ => None,
        }
    }

    /// Bytes of a range came.
    pub(super) fn write(&mut self, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        self.bytes.resize(self.bytes.len().max(end), 0);
        self.bytes[offset..end].copy_from_slice(data);
    }

    /// A break costs no more than a chunk.
    pub(super) fn costs(&self) -> Check {
        let due = self.source.len() as u64 + self.breaks * MAX_CHUNK;
        if self.sent > due {
            return Err(format!(
                "{} bytes were sent of {} with {} breaks",
                self.sent,
                self.source.len(),
                self.breaks
            ));
        }
        Ok(())
    }
}
