//! Requests about uploads: who writes next, who waits, who is told.

use http::{StatusCode, header};
use ntproto_core::ids::{FileId, Uin};
use ntproto_core::time::Now;
use ntproto_hub::Who;
use ntproto_hub::store::StoreError;
use ntproto_hub::store::file::{FileAnswer, FileAsk, FileState, NewUpload};

use super::{After, Fate, First, Step, Upload, Writer};
use crate::api::{ExchangeId, Output};
use crate::config::{MAX_WAITING, WAIT_TIME};
use crate::dialect::{Standing, location};
use crate::download::{Part, etag, not_modified};
use crate::exchange::State;
use crate::plan::{Append, Create, Plan};
use crate::problem::{Code, Problem};
use crate::tasks::Task;
use crate::web::Web;

/// What the answer of a store that says no is to a client.
pub(crate) fn refused(error: StoreError) -> Code {
    match error {
        StoreError::NotFound => Code::NotFound,
        StoreError::Forbidden | StoreError::Revoked => Code::Forbidden,
        StoreError::Conflict => Code::UploadIdUsed,
        StoreError::Stale => Code::Superseded,
        StoreError::Gone => Code::Gone,
        StoreError::TooMany => Code::TooManyUploads,
        StoreError::Quota => Code::Quota,
        StoreError::Full => Code::DiskFull,
        StoreError::Expired | StoreError::Unavailable => Code::Unavailable,
        StoreError::BadRequest => Code::BadRequest,
        _ => Code::Internal,
    }
}

impl Web {
    /// POST.
    pub(crate) fn create(&mut self, now: Now, id: ExchangeId, who: Who, create: Create) {
        let upload_id = create.upload_id.unwrap_or_else(|| self.rng.array());
        let new = NewUpload {
            file: FileId(self.rng.array()),
            upload_id,
            conversation: create.conversation,
            length: create.length,
            digest: create.digest,
            expires: now.unix + self.config.upload_lifetime,
            quota: self.config.quota,
            max_uploads: self.config.max_uploads,
        };
        self.ask_store(now, who, FileAsk::Create(new), Task::Create(id, who, create.body.map(Box::new)));
    }

    pub(crate) fn created(
        &mut self,
        now: Now,
        id: ExchangeId,
        who: Who,
        body: Option<Box<Append>>,
        answer: FileAnswer,
    ) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        let (carrier, made) = (exchange.carrier, matches!(answer, FileAnswer::Made(_)));
        let (state, file) = match answer {
            FileAnswer::Made(state) | FileAnswer::Upload(state) => (Some(state), state.file),
            FileAnswer::File(state) => {
                exchange.created = Some((state.file, false));
                return self.tell(now, id, StatusCode::OK, &Upload::of_file(&state));
            }
            FileAnswer::Done | FileAnswer::Doomed { .. } => return self.fail(now, id, Code::Internal.into()),
        };
        exchange.created = Some((file, made));
        if let Some(mut append) = body {
            append.file = file;
            return self.arrive(now, id, who, append);
        }
        let Some(state) = state else { return };
        if self.is_worked_on(file, who) || state.length == Some(state.offset) {
            // Nobody tells an offset that moves, and what is whole becomes a file first.
            return self.after(now, file, who, carrier, After::Status(id), Some(&state));
        }
        let mut upload = Upload::new(file, who, carrier, Step::Open);
        upload.learn(&state);
        self.tell(now, id, StatusCode::OK, &upload.standing());
    }

    /// PATCH, or the body of a POST.
    pub(crate) fn arrive(&mut self, now: Now, id: ExchangeId, who: Who, append: Box<Append>) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        let (carrier, file) = (exchange.carrier, append.file);
        exchange.state = State::Waiting(file);
        if let Some(first) = self.firsts.get_mut(&(file, who.uin)) {
            return first.later.push((id, who, Plan::Append(append)));
        }
        // Those that wait for bytes of their connection, whichever upload's.
        let on_carrier = self.uploads.values().filter(|upload| upload.carrier == carrier);
        let waiting = on_carrier.map(|upload| upload.waiting.len()).sum::<usize>();
        let Some(upload) = self.uploads.get_mut(&file) else {
            let first = First { exchange: id, append, who, carrier, later: Vec::new() };
            self.firsts.insert((file, who.uin), first);
            return self.ask_store(now, who, FileAsk::Claim { file }, Task::First(file, who.uin));
        };
        if upload.who.uin != who.uin {
            return self.fail(now, id, Code::NotFound.into());
        }
        //= spec: files-8
        let behind = upload.chain_end().is_some_and(|end| append.start >= end);
        if append.chains && behind && upload.carrier == carrier && upload.after.is_empty() {
            if waiting >= MAX_WAITING {
                let problem =
                    upload.problem(Code::Unavailable).detail("too many requests wait on this connection");
                return self.fail(now, id, problem);
            }
            upload.waiting.push((id, append));
            return self.set_deadline(id, Some(now.mono + WAIT_TIME));
        }
        self.after(now, file, who, carrier, After::Write(id, append), None);
    }

    /// HEAD, DELETE and newer writers: whoever writes is done.
    pub(crate) fn after(
        &mut self,
        now: Now,
        file: FileId,
        who: Who,
        carrier: crate::api::CarrierId,
        after: After,
        state: Option<&ntproto_hub::store::file::UploadState>,
    ) {
        if let Some(exchange) = self.exchanges.get_mut(&after.exchange()) {
            exchange.state = State::Waiting(file);
        }
        if let Some(first) = self.firsts.get_mut(&(file, who.uin)) {
            let later = match after {
                After::Status(id) => {
                    let wanted = self.exchanges.get_mut(&id).and_then(|exchange| exchange.wanted.take());
                    (id, who, Plan::Status(file, wanted.unwrap_or_default()))
                }
                After::Delete(id) => (id, who, Plan::Delete(file)),
                After::Write(id, append) => (id, who, Plan::Append(append)),
            };
            return first.later.push(later);
        }
        let upload = self.uploads.entry(file).or_insert_with(|| {
            let mut upload = Upload::new(file, who, carrier, Step::Open);
            if let Some(state) = state {
                upload.learn(state);
            }
            upload
        });
        // The account's, and maybe another device of it: the one before may be revoked by now.
        upload.who = who;
        //= spec: files-7
        if let Some(writer) = &mut upload.writer {
            writer.fate.get_or_insert(Fate::Dropped(Code::Superseded));
        }
        let mut older: Vec<ExchangeId> = upload.waiting.drain(..).map(|(id, _)| id).collect();
        if matches!(after, After::Write(..)) {
            upload.after.retain(|other| match other {
                After::Write(id, _) => {
                    older.push(*id);
                    false
                }
                After::Status(_) | After::Delete(_) => true,
            });
        }
        upload.after.push_back(after);
        let problem = upload.problem(Code::Superseded);
        for id in older {
            self.fail(now, id, problem.clone());
        }
        self.pump(now, file);
    }

    /// Whether requests of the account are at the upload, or about to be.
    pub(crate) fn is_worked_on(&self, file: FileId, who: Who) -> bool {
        self.uploads.contains_key(&file) || self.firsts.contains_key(&(file, who.uin))
    }

    /// The store has said whether an upload is the account's.
    pub(crate) fn first_claimed(
        &mut self,
        now: Now,
        file: FileId,
        uin: Uin,
        result: Result<FileAnswer, StoreError>,
    ) {
        let Some(First { exchange, append, who, carrier, later }) = self.firsts.remove(&(file, uin)) else {
            return;
        };
        match result {
            Ok(_) => {
                let step = Step::Claiming(exchange, append);
                self.uploads.insert(file, Upload::new(file, who, carrier, step));
                self.claimed(now, file, result);
            }
            Err(error) => {
                self.store_failed(error);
                self.fail(now, exchange, refused(error).into());
            }
        }
        // What was refused may have been so for a reason that has passed: each is asked for itself.
        for (id, who, plan) in later {
            self.act(now, id, who, plan);
        }
    }

    /// The store knows of the writer.
    pub(crate) fn claimed(&mut self, now: Now, file: FileId, result: Result<FileAnswer, StoreError>) {
        let Some(upload) = self.uploads.get_mut(&file) else { return };
        let Step::Claiming(id, append) = core::mem::replace(&mut upload.step, Step::Open) else { return };
        match result {
            Ok(FileAnswer::Upload(state) | FileAnswer::Made(state)) => {
                upload.learn(&state);
                upload.written = state.offset;
                upload.completes = !append.dialect.says_when();
                self.begin(now, file, id, append);
            }
            Ok(FileAnswer::File(state)) => {
                upload.became = Some(state);
                upload.confirmed = state.size;
                let problem = upload.problem(Code::Completed);
                self.fail_complete(now, id, problem, &append);
            }
            Ok(FileAnswer::Done | FileAnswer::Doomed { .. }) => self.fail(now, id, Code::Internal.into()),
            Err(error) => {
                self.store_failed(error);
                self.fail(now, id, refused(error).into());
                return self.abandon(now, file, refused(error));
            }
        }
        self.pump(now, file);
    }

    /// A request's turn has come.
    fn begin(&mut self, now: Now, file: FileId, id: ExchangeId, append: Box<Append>) {
        let max_file = self.config.max_file;
        let Some(upload) = self.uploads.get_mut(&file) else { return };
        if !self.exchanges.contains_key(&id) {
            return;
        }
        if let Err(problem) = fits(upload, &append, max_file) {
            if problem.code == Code::BeyondLength && append.dialect.gives_up() {
                return self.spoil(now, file, id);
            }
            return self.fail(now, id, problem);
        }
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        exchange.state = State::Uploading(file);
        // From here on what is sent is read, whatever comes of it.
        if core::mem::take(&mut exchange.asks_first) && !exchange.whole {
            self.out.push_back(Output::Continue { exchange: id });
        }
        upload.carrier = exchange.carrier;
        upload.completes = append.completes();
        upload.length = upload.length.or(append.length);
        upload.whole = append.whole.or(upload.whole);
        upload.written = upload.confirmed;
        upload.writer = Some(Writer {
            exchange: id,
            queue: Default::default(),
            position: append.start,
            ended: false,
            check: append.expected.clone().check(),
            append,
            fate: None,
            fresh: 0,
        });
        self.set_deadline(id, Some(now.mono + self.config.body_time));
        self.body(id);
    }

    /// What is next for an upload that nobody writes. `false`: nothing is, and it is forgotten.
    pub(super) fn next(&mut self, now: Now, file: FileId) -> bool {
        loop {
            let Some(upload) = self.uploads.get_mut(&file) else { return false };
            if upload.is_whole() && upload.became.is_none() {
                //= spec: files-16
                let says_when = match upload.after.front() {
                    Some(After::Status(id) | After::Delete(id)) => {
                        self.exchanges.get(id).is_some_and(|exchange| exchange.dialect.says_when())
                    }
                    Some(After::Write(_, append)) => append.dialect.says_when(),
                    None => !upload.completes,
                };
                // It was called complete once, if its hash is known.
                if upload.sealed.is_some() || !says_when {
                    self.complete(now, file, None);
                    return false;
                }
            }
            match upload.after.pop_front() {
                Some(After::Status(id)) => {
                    let standing = upload.standing();
                    self.tell_status(now, id, &standing);
                    continue;
                }
                Some(After::Delete(id)) => {
                    let who = upload.who;
                    upload.step = Step::Deleting;
                    self.ask_store(now, who, FileAsk::Delete { file }, Task::Delete(id, file));
                    return false;
                }
                Some(After::Write(id, append)) => {
                    if !self.exchanges.contains_key(&id) {
                        continue;
                    }
                    if upload.became.is_some() {
                        let problem = upload.problem(Code::Completed);
                        self.fail_complete(now, id, problem, &append);
                        continue;
                    }
                    let who = upload.who;
                    upload.step = Step::Claiming(id, append);
                    self.ask_store(now, who, FileAsk::Claim { file }, Task::Claim(file));
                    return false;
                }
                None => {}
            }
            if upload.waiting.is_empty() {
                self.uploads.remove(&file);
                return false;
            }
            // The one whose bytes come next; if none's do, all learn so.
            let confirmed = upload.confirmed;
            let at = upload.waiting.iter().position(|(_, append)| append.start == confirmed);
            let (id, append) = upload.waiting.remove(at.unwrap_or(0));
            self.begin(now, file, id, append);
            if self.uploads.get(&file).is_some_and(|upload| upload.writer.is_some()) {
                return true;
            }
        }
    }

    /// The upload can't be used: everybody is told why, and it is forgotten.
    pub(crate) fn abandon(&mut self, now: Now, file: FileId, code: Code) {
        let Some(upload) = self.uploads.remove(&file) else { return };
        let after = upload.after.iter().map(After::exchange);
        let waiting = upload.waiting.iter().map(|(id, _)| *id);
        let problem = match code {
            Code::NotFound | Code::Forbidden | Code::Gone => Problem::new(code),
            code => upload.problem(code),
        };
        for id in after.chain(waiting).chain(upload.writer.iter().map(|writer| writer.exchange)) {
            self.fail(now, id, problem.clone());
        }
    }

    /// A request that waits has waited too long, or its client is gone.
    pub(crate) fn give_up(&mut self, now: Now, id: ExchangeId, file: FileId, tell: bool) {
        for (_, first) in self.firsts.range_mut((file, Uin(0))..=(file, Uin(u64::MAX))) {
            first.later.retain(|(other, ..)| *other != id);
        }
        let Some(upload) = self.uploads.get_mut(&file) else { return };
        upload.waiting.retain(|(other, _)| *other != id);
        upload.after.retain(|after| after.exchange() != id);
        if tell {
            let problem = upload.problem(Code::OffsetAhead).detail("what comes before it did not come");
            self.fail(now, id, problem);
        }
    }

    /// Tells HEAD, or a creation, where the upload is.
    pub(crate) fn tell_status(&mut self, now: Now, id: ExchangeId, standing: &Standing) {
        if let Some(exchange) = self.exchanges.get(&id) {
            let status = exchange.dialect.told();
            self.tell(now, id, status, standing);
        }
    }

    /// Tells where an upload is; a creation has a status of its own, and says where.
    pub(crate) fn tell(&mut self, now: Now, id: ExchangeId, status: StatusCode, standing: &Standing) {
        let Some(exchange) = self.exchanges.get(&id) else { return };
        let status = match exchange.created {
            Some((_, true)) => StatusCode::CREATED,
            Some((_, false)) => StatusCode::OK,
            None => status,
        };
        let tag = standing.content.as_ref().map(etag);
        let withheld = tag.as_deref().and_then(|tag| exchange.wanted.as_ref()?.withheld(tag));
        if withheld == Some(Part::Failed) {
            return self.fail(now, id, Code::Precondition.into());
        }
        let mut answer = match (withheld, &tag) {
            (Some(_), Some(tag)) => exchange.dialect.dress(not_modified(tag)),
            _ => exchange.dialect.standing(status, standing, now.unix, &self.config),
        };
        if exchange.created.is_some() {
            answer.put(header::LOCATION, &location(standing.file));
        } else if let (true, Some(_), Some(length)) = (exchange.head_only, tag, standing.length)
            && status == StatusCode::OK
        {
            // HEAD of a file says what GET would; where there is no content, it has no length.
            answer.put(header::CONTENT_LENGTH, &length.to_string());
            answer.put(header::ACCEPT_RANGES, "bytes");
        }
        self.finish(now, id, answer);
    }

    /// DELETE has ended.
    pub(crate) fn deleted(
        &mut self,
        now: Now,
        id: ExchangeId,
        file: FileId,
        result: Result<FileAnswer, StoreError>,
    ) {
        let code = match result {
            Ok(_) => {
                self.sweep_soon(now);
                self.done(now, id);
                Code::Gone
            }
            Err(error) => {
                self.store_failed(error);
                self.fail(now, id, refused(error).into());
                refused(error)
            }
        };
        if self.uploads.get(&file).is_some_and(|upload| matches!(upload.step, Step::Deleting)) {
            self.abandon(now, file, code);
        }
    }

    /// A file stands where an upload was looked for.
    pub(crate) fn whole(&mut self, now: Now, id: ExchangeId, file: &FileState) {
        self.tell_status(now, id, &Upload::of_file(file));
    }
}

/// Whether the bytes go where the upload is.
fn fits(upload: &Upload, append: &Append, max_file: u64) -> Result<(), Problem> {
    let at = |code| Problem { provided: Some(append.start), ..upload.problem(code) };
    if let (Some(one), Some(other)) = (append.length, upload.length)
        && one != other
    {
        return Err(at(Code::LengthMismatch));
    }
    if append.start != upload.confirmed {
        let behind = append.start < upload.confirmed;
        return Err(at(if behind { Code::OffsetBehind } else { Code::OffsetAhead }));
    }
    let length = upload.length.or(append.length);
    if length.is_some_and(|length| length > max_file) || append.end.is_some_and(|end| end > max_file) {
        return Err(at(Code::TooLarge));
    }
    if append.length.is_some_and(|length| length < upload.confirmed) {
        return Err(at(Code::LengthMismatch));
    }
    if let (Some(end), Some(length)) = (append.end, length)
        && end > length
    {
        return Err(at(Code::BeyondLength));
    }
    if append.last && append.end.is_some_and(|end| length.is_some_and(|length| length != end)) {
        return Err(at(Code::LengthMismatch));
    }
    Ok(())
}
