//! From the last byte to a file: its hash, its content under that, and the store's word.

use ntproto_core::ids::FileId;
use ntproto_core::time::Now;
use ntproto_hub::store::StoreError;
use ntproto_hub::store::file::{FileAnswer, FileAsk, FileWork};

use super::write::no_room;
use super::{Step, refused};
use crate::api::{ContentId, ExchangeId, FileError, FileOp, FileOutcome, Output, WebEvent};
use crate::problem::Code;
use crate::tasks::Task;
use crate::web::Web;

impl Web {
    /// An upload is whole.
    pub(crate) fn complete(&mut self, _: Now, file: FileId, exchange: Option<ExchangeId>) {
        let Some(upload) = self.uploads.get_mut(&file) else { return };
        let sealed = upload.sealed.map(ContentId);
        upload.step = Step::Completing { exchange, sealed, kept: false };
        match sealed {
            // It came so far before, and the server ended.
            Some(content) => self.keep(file, content),
            None => {
                let length = upload.confirmed;
                self.file_op(FileOp::Hash { file, length }, Task::Hash(file));
            }
        }
    }

    pub(crate) fn hashed(&mut self, now: Now, file: FileId, result: Result<FileOutcome, FileError>) {
        let Some(upload) = self.uploads.get_mut(&file) else { return };
        let hash = match result {
            Ok(FileOutcome::Hashed(hash)) => hash,
            Ok(_) => return self.completion_failed(now, file, Code::Internal),
            Err(FileError::NotFound) => return self.ruin(now, file, Code::Gone),
            Err(error) => {
                self.files_failed(error);
                return self.completion_failed(now, file, Code::Internal);
            }
        };
        if [upload.digest, upload.whole].into_iter().flatten().any(|expected| expected != hash) {
            // No byte of it can be told from the others: it begins anew.
            return self.ruin(now, file, Code::DigestMismatch);
        }
        let epoch = upload.epoch;
        self.work_store(FileWork::Seal { file, epoch, content: hash }, Task::Seal(file, ContentId(hash)));
    }

    /// A client brought more than it had said, and its dialect wants no more of such an upload.
    pub(crate) fn spoil(&mut self, now: Now, file: FileId, exchange: ExchangeId) {
        let Some(upload) = self.uploads.get_mut(&file) else { return };
        upload.step = Step::Completing { exchange: Some(exchange), sealed: None, kept: false };
        self.ruin(now, file, Code::BeyondLength);
    }

    /// Ends an upload whose bytes are other ones than it said, or are lost: no client could go on with it.
    pub(super) fn ruin(&mut self, now: Now, file: FileId, code: Code) {
        let Some(upload) = self.uploads.get_mut(&file) else { return };
        let who = upload.who;
        if matches!(upload.step, Step::Open) {
            upload.step = Step::Deleting;
        }
        self.ask_store(now, who, FileAsk::Delete { file }, Task::Ruined(file, code));
    }

    /// It is no more.
    pub(crate) fn ruined(
        &mut self,
        now: Now,
        file: FileId,
        code: Code,
        result: Result<FileAnswer, StoreError>,
    ) {
        if let Err(error) = result {
            self.store_failed(error);
        }
        self.sweep_soon(now);
        self.completion_failed(now, file, code);
    }

    pub(crate) fn sealed(
        &mut self,
        now: Now,
        file: FileId,
        content: ContentId,
        result: Result<FileAnswer, StoreError>,
    ) {
        match result {
            Ok(_) => self.keep(file, content),
            Err(error) => {
                self.store_failed(error);
                self.completion_failed(now, file, refused(error));
            }
        }
    }

    /// Makes the bytes a content. One that is just being removed is waited for.
    fn keep(&mut self, file: FileId, content: ContentId) {
        let Some(upload) = self.uploads.get_mut(&file) else { return };
        if let Step::Completing { sealed, .. } = &mut upload.step {
            *sealed = Some(content);
        }
        if self.sweep.is_removing(content) {
            self.sweep.wait(content, file);
            return;
        }
        self.sweep.begin_keeping(content);
        let length = upload.confirmed;
        self.file_op(FileOp::Keep { file, content, length }, Task::Keep(file, content));
    }

    /// A content was removed, and may come again.
    pub(crate) fn keep_now(&mut self, file: FileId, content: ContentId) {
        self.keep(file, content);
    }

    pub(crate) fn kept(
        &mut self,
        now: Now,
        file: FileId,
        content: ContentId,
        result: Result<FileOutcome, FileError>,
    ) {
        let Some(upload) = self.uploads.get_mut(&file) else { return };
        match result {
            Ok(_) => {
                let epoch = upload.epoch;
                if let Step::Completing { kept, .. } = &mut upload.step {
                    *kept = true;
                }
                //= spec: files-11
                let work = FileWork::Complete { file, epoch, now: now.unix };
                self.work_store(work, Task::Complete(file, content));
            }
            Err(error) => {
                self.sweep.end_keeping(content);
                self.files_failed(error);
                self.completion_failed(now, file, no_room(error).unwrap_or(Code::Internal));
            }
        }
    }

    pub(crate) fn completed(
        &mut self,
        now: Now,
        file: FileId,
        content: ContentId,
        result: Result<FileAnswer, StoreError>,
    ) {
        self.sweep.end_keeping(content);
        let state = match result {
            Ok(FileAnswer::File(state)) => state,
            Ok(_) => return self.completion_failed(now, file, Code::Internal),
            Err(error) => {
                self.store_failed(error);
                return self.completion_failed(now, file, refused(error));
            }
        };
        self.out.push_back(Output::Event(WebEvent::Uploaded { file, bytes: state.size }));
        self.sweep_soon(now);
        let Some(upload) = self.uploads.get_mut(&file) else { return };
        upload.became = Some(state);
        let standing = upload.standing();
        if let Step::Completing { exchange: Some(id), .. } = core::mem::replace(&mut upload.step, Step::Open)
            && let Some(exchange) = self.exchanges.get(&id)
        {
            let status = exchange.dialect.taken(true);
            self.tell(now, id, status, &standing);
        }
        self.pump(now, file);
    }

    fn completion_failed(&mut self, now: Now, file: FileId, code: Code) {
        let Some(upload) = self.uploads.get(&file) else { return };
        let problem = upload.problem(code);
        if let Step::Completing { exchange: Some(id), .. } = upload.step {
            self.fail(now, id, problem);
        }
        self.abandon(now, file, code);
    }
}
