//! A body on its way to the disk.

use bytes::Bytes;
use ntproto_core::ids::FileId;
use ntproto_core::time::Now;
use ntproto_hub::store::StoreError;
use ntproto_hub::store::file::{FileAnswer, FileWork};

use super::{Fate, Step, Upload, refused};
use crate::api::{ExchangeId, FileError, FileOp, Output};
use crate::config::{BODY_LEAST, RESERVE_BYTES, SYNC_BYTES, UNSYNCED_BYTES, WRITE_BYTES};
use crate::exchange::State;
use crate::pieces::join;
use crate::problem::Code;
use crate::tasks::Task;
use crate::web::Web;

impl Web {
    /// Takes what came of a writer's body.
    pub(crate) fn body(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        let State::Uploading(file) = exchange.state else { return };
        let Some(upload) = self.uploads.get_mut(&file) else { return };
        let Some(writer) = upload.writer.as_mut().filter(|writer| writer.exchange == id) else { return };
        while writer.fate.is_none()
            && let Some(mut data) = exchange.held.pop_front()
        {
            // What is beyond the end stays behind, for whoever drains it.
            let (limit, code) = match (writer.append.end, upload.length) {
                (Some(end), _) => (end, Code::LengthMismatch),
                (None, Some(length)) => (length, Code::BeyondLength),
                (None, None) => (self.config.max_file, Code::TooLarge),
            };
            let room = usize::try_from(limit.saturating_sub(writer.position)).unwrap_or(usize::MAX);
            if data.len() > room {
                exchange.held.push_front(data.split_off(room));
                writer.fate = Some(Fate::Kept(code));
            }
            exchange.held_bytes -= data.len();
            writer.position += data.len() as u64;
            writer.fresh += data.len() as u64;
            if let Some(check) = &mut writer.check {
                check.update(&data);
            }
            if !data.is_empty() {
                join(&mut writer.queue, data);
            }
        }
        writer.ended = exchange.whole && exchange.held.is_empty();
    }

    /// Moves an upload on, as far as it goes by itself.
    pub(crate) fn pump(&mut self, now: Now, file: FileId) {
        loop {
            let Some(upload) = self.uploads.get_mut(&file) else { return };
            if !matches!(upload.step, Step::Open) {
                return;
            }
            let Some(writer) = &mut upload.writer else {
                if upload.is_quiet() && self.next(now, file) {
                    continue;
                }
                return;
            };
            if writer.fate.is_some_and(|fate| !fate.keeps() || writer.check.is_some()) {
                let dropped = writer.queue.drain(..).map(|data| data.len()).sum();
                let exchange = writer.exchange;
                self.consumed(exchange, dropped);
            }
            let Some(upload) = self.uploads.get_mut(&file) else { return };
            if let Some(reserve) = upload.wants(self.config.max_file) {
                if upload.is_quiet() {
                    upload.syncing = true;
                    let upto = upload.confirmed;
                    return self.progress(now, file, upto, reserve);
                }
                return;
            }
            let Some(writer) = &mut upload.writer else { return };
            let ahead = upload.written - upload.confirmed;
            let room = writer.check.is_some() || ahead < UNSYNCED_BYTES;
            if !upload.writing && !writer.queue.is_empty() && room {
                let (data, offset) = (take(&mut writer.queue), upload.written);
                let bytes = data.iter().map(Bytes::len).sum();
                upload.writing = true;
                upload.reached = upload.reached.max(offset + bytes as u64);
                self.in_writes += bytes;
                self.file_op(FileOp::Write { file, offset, data }, Task::Write(file, offset, bytes));
                continue;
            }
            let over = writer.fate.is_some() || writer.ended;
            let settles = over && writer.queue.is_empty() && !upload.writing;
            if settles {
                self.judge(file);
            }
            let Some(upload) = self.uploads.get_mut(&file) else { return };
            let Some(writer) = &upload.writer else { return };
            if upload.syncing || upload.writing && !due(upload.written - upload.confirmed) {
                return;
            }
            let fresh = upload.written - upload.confirmed;
            let counts = writer.check.is_none();
            if fresh > 0 && counts && (settles || due(fresh)) {
                upload.syncing = true;
                let upto = upload.written;
                return self.file_op(FileOp::Sync { file }, Task::Sync(file, upto));
            }
            if !settles {
                return;
            }
            if upload.reached > upload.confirmed {
                // What does not count lies on the disk, and nobody would be charged for it.
                upload.writing = true;
                let length = upload.confirmed;
                return self.file_op(FileOp::Cut { file, length }, Task::Cut(file));
            }
            if upload.length != upload.stored_length || upload.reserved > 0 {
                upload.syncing = true;
                let upto = upload.confirmed;
                return self.progress(now, file, upto, 0);
            }
            self.conclude(now, file);
        }
    }

    /// The body is whole, or will not be: what of it counts?
    fn judge(&mut self, file: FileId) {
        let Some(upload) = self.uploads.get_mut(&file) else { return };
        let Some(writer) = &mut upload.writer else { return };
        if writer.fate.is_none() {
            let short = writer.append.end.is_some_and(|end| writer.position < end);
            let other = writer.append.last && upload.length.is_some_and(|length| length != writer.position);
            if short || other {
                writer.fate = Some(Fate::Kept(Code::LengthMismatch));
            }
        }
        //= spec: files-9
        if let Some(check) = writer.check.take() {
            if writer.fate.is_none() && !check.holds() {
                writer.fate = Some(Fate::Dropped(Code::DigestMismatch));
            }
            if writer.fate.is_some() {
                upload.written = upload.confirmed;
            }
        }
        if writer.fate.is_none() && writer.append.last {
            upload.length = Some(writer.position);
        }
    }

    /// A write has ended.
    pub(crate) fn wrote(
        &mut self,
        now: Now,
        file: FileId,
        (offset, bytes): (u64, usize),
        result: Result<(), FileError>,
    ) {
        let Some(upload) = self.uploads.get_mut(&file) else { return };
        upload.writing = false;
        let Some(writer) = &mut upload.writer else { return };
        let exchange = writer.exchange;
        match result {
            // If a sync failed meanwhile, it is no use without what was before it.
            Ok(()) if upload.written == offset => upload.written += bytes as u64,
            Ok(()) => {}
            // What was confirmed is not there: the disk lost it.
            Err(FileError::NotFound) => {
                self.files_failed(FileError::NotFound);
                self.ruin(now, file, Code::Gone);
            }
            Err(error) => self.writing_failed(file, error),
        }
        self.consumed(exchange, bytes);
        self.pump(now, file);
    }

    /// The disk said no. When it has no room, what is written is good; otherwise only what is durable is.
    fn writing_failed(&mut self, file: FileId, error: FileError) {
        self.files_failed(error);
        let Some(upload) = self.uploads.get_mut(&file) else { return };
        let code = no_room(error).unwrap_or(Code::Internal);
        if no_room(error).is_none() {
            upload.written = upload.confirmed;
        }
        if let Some(writer) = &mut upload.writer
            && writer.fate.is_none_or(Fate::keeps)
        {
            writer.fate = Some(Fate::Dropped(code));
        }
    }

    /// A sync has ended.
    pub(crate) fn synced(&mut self, now: Now, file: FileId, upto: u64, result: Result<(), FileError>) {
        match result {
            //= spec: files-6
            Ok(()) => {
                let Some(upload) = self.uploads.get(&file) else { return };
                let reserve = if upload.reached > upto { upload.reserved } else { 0 };
                self.progress(now, file, upto, reserve);
            }
            Err(error) => {
                self.writing_failed(file, error);
                if let Some(upload) = self.uploads.get_mut(&file) {
                    upload.syncing = false;
                    // What a sync could not make durable may be lost.
                    upload.written = upload.confirmed;
                }
                self.pump(now, file);
            }
        }
    }

    /// What lies behind the confirmed bytes is no more.
    pub(crate) fn cut(&mut self, now: Now, file: FileId, result: Result<(), FileError>) {
        if let Err(error) = result {
            self.files_failed(error);
        }
        let Some(upload) = self.uploads.get_mut(&file) else { return };
        upload.writing = false;
        upload.reached = upload.confirmed;
        if result.is_err() {
            // The account stays charged, until the next writer or the upload's end.
            upload.reserved = 0;
        }
        self.pump(now, file);
    }

    fn progress(&mut self, now: Now, file: FileId, offset: u64, reserve: u64) {
        let Some(upload) = self.uploads.get(&file) else { return };
        let work = FileWork::Progress {
            file,
            epoch: upload.epoch,
            offset,
            length: upload.length,
            reserve,
            expires: now.unix + self.config.upload_lifetime,
            quota: self.config.quota,
        };
        self.work_store(work, Task::Progress(file));
    }

    /// The store knows the offset.
    pub(crate) fn progressed(&mut self, now: Now, file: FileId, result: Result<FileAnswer, StoreError>) {
        let Some(upload) = self.uploads.get_mut(&file) else { return };
        upload.syncing = false;
        match result {
            Ok(FileAnswer::Upload(state)) => {
                upload.learn(&state);
                upload.written = upload.written.max(upload.confirmed);
            }
            Ok(_) => {}
            Err(error) => {
                // Where nothing lies behind what counts and no length was told, this was to give back what is reserved: it stays
                // charged until the next writer or the upload's end. Otherwise it is given back when the writer settles.
                if upload.reached <= upload.confirmed && upload.length == upload.stored_length {
                    upload.reserved = 0;
                }
                upload.length = upload.stored_length;
                upload.written = upload.confirmed;
                if let Some(writer) = &mut upload.writer {
                    writer.fate = Some(Fate::Dropped(refused(error)));
                }
                self.store_failed(error);
            }
        }
        self.pump(now, file);
    }

    /// A writer is done, and all that counts of what it brought is durable.
    fn conclude(&mut self, now: Now, file: FileId) {
        let Some(upload) = self.uploads.get_mut(&file) else { return };
        let Some(writer) = upload.writer.take() else { return };
        let standing = upload.standing();
        let whole = upload.is_whole();
        match writer.fate {
            None if whole && upload.completes => self.complete(now, file, Some(writer.exchange)),
            None => {
                let status = writer.append.dialect.taken(false);
                self.tell(now, writer.exchange, status, &standing);
            }
            Some(Fate::Gone) => {}
            Some(Fate::Kept(Code::BeyondLength)) if writer.append.dialect.gives_up() => {
                self.spoil(now, file, writer.exchange);
            }
            Some(Fate::Kept(code) | Fate::Dropped(code)) => {
                let problem = upload.problem(code);
                let lost = matches!(code, Code::NotFound | Code::Gone);
                self.fail(now, writer.exchange, problem);
                if lost {
                    // It was ended meanwhile.
                    self.abandon(now, file, Code::Gone);
                }
            }
        }
    }

    /// A writer's time is over: did enough of its body come?
    pub(crate) fn look_at_pace(&mut self, now: Now, id: ExchangeId, file: FileId) {
        let Some(upload) = self.uploads.get_mut(&file) else { return };
        let busy = !upload.is_quiet();
        let Some(writer) = upload.writer.as_mut().filter(|writer| writer.exchange == id) else { return };
        // While the disk is what is slow, the client is not to blame.
        if core::mem::take(&mut writer.fresh) >= BODY_LEAST || busy || writer.ended {
            return self.set_deadline(id, Some(now.mono + self.config.body_time));
        }
        writer.fate.get_or_insert(Fate::Kept(Code::Slow));
        self.pump(now, file);
    }

    /// Bytes of a body are done with.
    pub(crate) fn consumed(&mut self, exchange: ExchangeId, bytes: usize) {
        if bytes > 0
            && let Some(known) = self.exchanges.get_mut(&exchange)
        {
            known.owed = known.owed.saturating_sub(bytes);
            self.out.push_back(Output::Consumed { exchange, bytes });
        }
    }
}

/// What is told where nothing but room is missing.
pub(super) const fn no_room(error: FileError) -> Option<Code> {
    match error {
        FileError::Full => Some(Code::DiskFull),
        FileError::Busy => Some(Code::Unavailable),
        FileError::NotFound | FileError::Io => None,
    }
}

impl Upload {
    /// Up to where the account is to be charged before more is written: as long as a body may turn out wrong it does not count, and
    /// where no length was declared nothing else is charged for it.
    //= spec: files-13
    fn wants(&self, max_file: u64) -> Option<u64> {
        let writer =
            self.writer.as_ref().filter(|writer| writer.check.is_some() && self.stored_length.is_none())?;
        let next = writer.queue.front()?.len().max(WRITE_BYTES) as u64;
        let (least, most) = match writer.append.end {
            Some(end) => (end, end),
            None => (self.written + next, self.written + next.max(RESERVE_BYTES)),
        };
        (self.reserved < least.min(max_file)).then_some(most.min(max_file))
    }
}

const fn due(fresh: u64) -> bool {
    fresh >= SYNC_BYTES
}

/// As much as is written at once, and no less than one piece.
fn take(queue: &mut std::collections::VecDeque<Bytes>) -> Vec<Bytes> {
    let (mut data, mut bytes) = (Vec::new(), 0);
    while let Some(piece) = queue.pop_front_if(|piece| bytes == 0 || bytes + piece.len() <= WRITE_BYTES) {
        bytes += piece.len();
        data.push(piece);
    }
    data
}
