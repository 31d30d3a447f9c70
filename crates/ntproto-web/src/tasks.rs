//! What the machine waits for: transactions, work on files, answers of the hub.

use ntproto_core::ids::{FileId, Uin};
use ntproto_core::session::bearer::Bearer;
use ntproto_core::time::Now;
use ntproto_hub::Who;
use ntproto_hub::store::act::Actor;
use ntproto_hub::store::file::{Doomed, FileAnswer, FileAsk, FileWork};
use ntproto_hub::store::{OpId, Outcome, StoreError, Txn};

use crate::api::{ContentId, ExchangeId, FileError, FileOp, FileOutcome, Output, WebEvent};
use crate::download::Wanted;
use crate::plan::{Append, Plan};
use crate::problem::Code;
use crate::upload::refused;
use crate::web::Web;

/// What is done when it has ended.
pub(crate) enum Task {
    /// Whom a request acts for.
    Who(ExchangeId, Box<Plan>),
    Create(ExchangeId, Who, Option<Box<Append>>),
    Status(ExchangeId, Who, FileId),
    Get(ExchangeId, Box<Wanted>),
    Delete(ExchangeId, FileId),
    /// The claim of an upload that nobody works on.
    First(FileId, Uin),
    Claim(FileId),
    Progress(FileId),
    Seal(FileId, ContentId),
    Complete(FileId, ContentId),
    /// The upload is removed, and this is why.
    Ruined(FileId, Code),
    Write(FileId, u64, usize),
    Sync(FileId, u64),
    Cut(FileId),
    Hash(FileId),
    Keep(FileId, ContentId),
    Read(ExchangeId, usize),
    Sweep,
    Swept,
    Remove(Doomed),
}

impl Web {
    fn op(&mut self, task: Task) -> OpId {
        self.last_op += 1;
        let op = OpId(self.last_op);
        self.tasks.insert(op, task);
        op
    }

    pub(crate) fn ask_who(&mut self, shown: Bearer, id: ExchangeId, plan: Plan) {
        let op = self.op(Task::Who(id, Box::new(plan)));
        self.out.push_back(Output::Bearer { op, shown });
    }

    pub(crate) fn ask_store(&mut self, now: Now, who: Who, ask: FileAsk, task: Task) {
        let op = self.op(task);
        let by = Actor { uin: who.uin, device: who.device, now: now.unix };
        self.out.push_back(Output::Store { op, txn: Txn::File { by, ask } });
    }

    pub(crate) fn work_store(&mut self, work: FileWork, task: Task) {
        let op = self.op(task);
        self.out.push_back(Output::Store { op, txn: Txn::FileWork(work) });
    }

    pub(crate) fn file_op(&mut self, what: FileOp, task: Task) {
        let op = self.op(task);
        self.out.push_back(Output::File { op, what });
    }

    pub(crate) fn store_failed(&mut self, error: StoreError) {
        if !error.is_refusal() || error == StoreError::Corrupt {
            self.out.push_back(Output::Event(WebEvent::StoreFailed(error)));
        }
    }

    pub(crate) fn files_failed(&mut self, error: FileError) {
        self.out.push_back(Output::Event(WebEvent::FilesFailed(error)));
    }

    pub(crate) fn bearer_done(&mut self, now: Now, op: OpId, who: Option<Who>) {
        if let Some(Task::Who(id, plan)) = self.tasks.remove(&op) {
            self.authorized(now, id, who, *plan);
        }
    }

    pub(crate) fn store_done(&mut self, now: Now, op: OpId, result: Result<Outcome, StoreError>) {
        let Some(task) = self.tasks.remove(&op) else { return };
        let result = match result {
            Ok(Outcome::File(answer)) => Ok(answer),
            Ok(_) => Err(StoreError::Corrupt),
            Err(error) => Err(error),
        };
        match task {
            Task::First(file, uin) => self.first_claimed(now, file, uin, result),
            Task::Claim(file) => self.claimed(now, file, result),
            Task::Progress(file) => self.progressed(now, file, result),
            Task::Seal(file, content) => self.sealed(now, file, content, result),
            Task::Complete(file, content) => self.completed(now, file, content, result),
            Task::Ruined(file, code) => self.ruined(now, file, code, result),
            Task::Delete(id, file) => self.deleted(now, id, file, result),
            Task::Sweep => self.swept(now, result),
            Task::Swept => self.sweep_ended(now, result),
            Task::Create(id, ..) | Task::Status(id, ..) | Task::Get(id, ..) => match result {
                Ok(answer) => self.answered(now, task, answer),
                Err(error) => {
                    self.store_failed(error);
                    self.fail(now, id, refused(error).into());
                }
            },
            _ => {}
        }
    }

    fn answered(&mut self, now: Now, task: Task, answer: FileAnswer) {
        match task {
            Task::Create(id, who, body) => self.created(now, id, who, body, answer),
            Task::Status(id, who, file) => self.found(now, id, who, file, &answer),
            Task::Get(id, wanted) => self.download(now, id, &wanted, &answer),
            _ => {}
        }
    }

    pub(crate) fn file_done(&mut self, now: Now, op: OpId, result: Result<FileOutcome, FileError>) {
        let Some(task) = self.tasks.remove(&op) else { return };
        match task {
            Task::Write(file, offset, bytes) => {
                self.in_writes -= bytes;
                self.wrote(now, file, (offset, bytes), result.map(drop));
            }
            Task::Sync(file, upto) => self.synced(now, file, upto, result.map(drop)),
            Task::Cut(file) => self.cut(now, file, result.map(drop)),
            Task::Hash(file) => self.hashed(now, file, result),
            Task::Keep(file, content) => self.kept(now, file, content, result),
            Task::Read(id, length) => self.read(now, id, length, result),
            Task::Remove(doomed) => self.removed(now, doomed, result),
            _ => {}
        }
    }
}
