//! A file on its way to the server.
//!
//! ```
//! use ntproto_core::ids::{ConversationId, FileId, Uin, UploadId};
//! use ntproto_core::rng::Rng;
//! use ntproto_core::time::Instant;
//! use ntproto_core::transfer::upload::{Plan, Upload};
//! use ntproto_core::transfer::{Answer, Ask, Event, Input, Output};
//!
//! let conversation = ConversationId::direct(Uin(10001), Uin(10002));
//! let plan = Plan { upload_id: UploadId([1; 16]), conversation, size: 5, sha256: [2; 32] };
//! let (now, file) = (Instant::ORIGIN, FileId([3; 16]));
//! let mut upload = Upload::new(plan, Rng::new([4; 32]));
//!
//! let Output::Ask(id, Ask::Create) = upload.poll_output(now) else { panic!() };
//! upload.handle(now, Input::Answer(id, Answer::Created { file, offset: 0, done: None }));
//! assert_eq!(upload.poll_output(now), Output::Save);
//! let Output::Ask(id, Ask::Chunk { offset: 0, len: 5, .. }) = upload.poll_output(now) else { panic!() };
//! upload.handle(now, Input::Answer(id, Answer::Stored { offset: 5, done: Some([2; 32]) }));
//! assert!(matches!(upload.poll_output(now), Output::Event(Event::Progress(_))));
//! assert_eq!(upload.poll_output(now), Output::Event(Event::Ended(Ok(()))));
//! ```

use alloc::collections::VecDeque;
use bytes::Bytes;
use ntproto_proto::store::UploadState;

use super::pace::Pace;
use super::patience::{Advice, Patience};
use super::{Answer, Ask, AskId, Event, Failure, Fault, Input, Output, Progress, QUIET, SETTLE, WaitReason};
use crate::ids::{ConversationId, FileId, UploadId};
use crate::rng::Rng;
use crate::time::Instant;

/// What is to be uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Random; the same for the same file, however often it is tried.
    pub upload_id: UploadId,
    /// Who will be able to fetch it.
    pub conversation: ConversationId,
    /// Bytes, as they are uploaded: sealed, if it is.
    pub size: u64,
    /// Their SHA-256.
    pub sha256: [u8; 32],
}

/// Where an upload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The server is to be asked: for a place, or how much it has.
    Look,
    /// It is asked.
    Looking(AskId),
    /// Chunks are on their way.
    Moving,
    /// A token is awaited.
    Token,
    /// Until then nothing is asked.
    Pause(Instant),
    /// The server is told to forget it.
    Forget,
    Forgetting(AskId),
    Over,
}

/// A chunk on its way.
#[derive(Clone, Copy, Debug)]
struct Flight {
    id: AskId,
    offset: u64,
    len: u64,
    asked: Instant,
    /// Bytes of it that the transport has taken, and when the last of them were.
    sent: u64,
    gone: Instant,
}

impl Flight {
    const fn end(&self) -> u64 {
        self.offset + self.len
    }
}

/// An upload.
pub struct Upload {
    plan: Plan,
    file: Option<FileId>,
    step: Step,
    flights: VecDeque<Flight>,
    confirmed: u64,
    /// Bytes that were sent at least once, from the beginning on; and those that were sent again.
    reached: u64,
    again: u64,
    /// A break lies behind, of which nobody was told how it ended.
    broken: bool,
    pace: Pace,
    patience: Patience,
    /// Since when nothing came of what was asked.
    quiet_since: Instant,
    next_id: u64,
    out: VecDeque<Output>,
}

impl Upload {
    /// An upload that has not begun.
    #[must_use]
    pub fn new(plan: Plan, rng: Rng) -> Self {
        Self {
            plan,
            file: None,
            step: Step::Look,
            flights: VecDeque::new(),
            confirmed: 0,
            reached: 0,
            again: 0,
            broken: false,
            pace: Pace::new(0),
            patience: Patience::new(rng),
            quiet_since: Instant::ORIGIN,
            next_id: 0,
            out: VecDeque::new(),
        }
    }

    /// Goes on with an upload of an earlier run. `None`: it is not one.
    #[must_use]
    pub fn resume(state: &UploadState, rng: Rng) -> Option<Self> {
        let plan = Plan {
            upload_id: UploadId::from_slice(&state.upload_id)?,
            conversation: ConversationId::from_slice(&state.conversation)?,
            size: state.size,
            sha256: (*state.sha256).try_into().ok()?,
        };
        let mut upload = Self::new(plan, rng);
        upload.file = FileId::from_slice(&state.file);
        upload.confirmed = state.confirmed.min(plan.size);
        upload.reached = upload.confirmed;
        upload.broken = upload.file.is_some();
        upload.pace = Pace::new(state.chunk.into());
        Some(upload)
    }

    /// What a later run goes on with.
    #[must_use]
    pub fn state(&self) -> UploadState {
        let Plan { upload_id, conversation, size, sha256 } = &self.plan;
        UploadState {
            upload_id: Bytes::copy_from_slice(&upload_id.0),
            conversation: Bytes::copy_from_slice(&conversation.0),
            size: *size,
            sha256: Bytes::copy_from_slice(sha256),
            file: self.file.map_or_else(Bytes::new, |file| Bytes::copy_from_slice(&file.0)),
            confirmed: self.confirmed,
            chunk: u32::try_from(self.pace.chunk()).unwrap_or(u32::MAX),
        }
    }

    /// What is uploaded.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What the server calls it, once that is known.
    #[must_use]
    pub const fn file(&self) -> Option<FileId> {
        self.file
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let moving = self.flights.iter().map(|flight| flight.sent).sum();
        Progress { confirmed: self.confirmed, moving, total: self.plan.size, again: self.again }
    }

    /// Gives up, and lets the server forget what it has.
    pub fn cancel(&mut self) {
        if !matches!(self.step, Step::Forget | Step::Forgetting(_) | Step::Over) {
            self.ground();
            match self.file {
                Some(_) => self.step = Step::Forget,
                None => self.end(Err(Failure::Cancelled)),
            }
        }
    }

    /// Takes what the host brings. What is of no ask under way is not looked at.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Moved(id, bytes) => {
                if let Some(flight) = self.flights.iter_mut().find(|flight| flight.id == id) {
                    let bytes = bytes.min(flight.len - flight.sent);
                    let from = flight.offset + flight.sent;
                    flight.sent += bytes;
                    flight.gone = now;
                    self.quiet_since = now;
                    self.again += self.reached.saturating_sub(from).min(bytes);
                    self.reached = self.reached.max(from + bytes);
                }
            }
            Input::Answer(id, answer) => self.answered(now, id, answer),
            Input::Token if self.step == Step::Token => self.step = Step::Look,
            Input::Token | Input::Timeout => {}
        }
        self.tick(now);
    }

    fn tick(&mut self, now: Instant) {
        match self.step {
            Step::Pause(until) if now >= until => self.step = Step::Look,
            Step::Looking(_) | Step::Forgetting(_) | Step::Moving if now >= self.quiet_since + QUIET => {
                self.fault(now, Fault::Lost);
            }
            _ => {}
        }
    }

    fn answered(&mut self, now: Instant, id: AskId, answer: Answer) {
        if self.step == Step::Forgetting(id) {
            // Whether the server has heard it or not: it forgets by itself, later.
            return self.end(Err(Failure::Cancelled));
        }
        let flight = self.flights.iter().position(|flight| flight.id == id);
        if flight.is_none() && self.step != Step::Looking(id) {
            return;
        }
        self.quiet_since = now;
        if !matches!(answer, Answer::Fault(_)) {
            self.patience.taken();
        }
        match (answer, flight) {
            (Answer::Fault(fault), _) => self.fault(now, fault),
            (Answer::Created { file, offset, done }, None) => {
                if self.file != Some(file) {
                    self.file = Some(file);
                    self.out.push_back(Output::Save);
                }
                self.found(now, offset, done);
            }
            (Answer::Stored { offset, done }, None) => self.found(now, offset, done),
            (Answer::Stored { offset, done }, Some(at)) => self.stored(now, at, offset, done),
            _ => self.fault(now, Fault::Lost),
        }
    }

    /// The server has said how much it has; nothing is under way.
    fn found(&mut self, now: Instant, offset: u64, done: Option<[u8; 32]>) {
        if offset > self.plan.size {
            return self.fault(now, Fault::Mismatch);
        }
        if offset > self.confirmed {
            self.patience.progress();
        }
        self.confirmed = offset;
        if core::mem::take(&mut self.broken) {
            self.tell(Event::Resumed { offset });
        }
        self.step = Step::Moving;
        // Of an empty file there is a chunk too, of nothing.
        self.settle(now, done, self.plan.size > 0);
    }

    /// A chunk was answered. Those before it are stored too: a server takes them one after the other.
    fn stored(&mut self, now: Instant, at: usize, offset: u64, done: Option<[u8; 32]>) {
        let flight = self.flights[at];
        if offset != flight.end() {
            return self.fault(now, Fault::Conflict);
        }
        for before in self.flights.drain(..=at).take(at) {
            self.out.push_back(Output::Drop(before.id));
        }
        // What the transport did not report has left all the same.
        self.again += self.reached.saturating_sub(flight.offset + flight.sent).min(flight.len - flight.sent);
        self.reached = self.reached.max(offset);
        self.pace.through(now, flight.len, flight.asked, flight.gone);
        if offset > self.confirmed {
            self.patience.progress();
        }
        self.confirmed = offset;
        self.tell(Event::Progress(self.progress()));
        self.settle(now, done, true);
    }

    /// Ends, if all is there. `sent`: nothing is left to be sent when it is.
    fn settle(&mut self, now: Instant, done: Option<[u8; 32]>, sent: bool) {
        match done {
            Some(sha256) if sha256 == self.plan.sha256 && self.confirmed == self.plan.size => {
                self.end(Ok(()))
            }
            Some(_) => self.fault(now, Fault::Mismatch),
            // All is there but not checked yet.
            None if sent && self.confirmed == self.plan.size => self.fault(now, Fault::Busy(SETTLE)),
            None => {}
        }
    }

    fn fault(&mut self, now: Instant, fault: Fault) {
        if matches!(self.step, Step::Forgetting(_)) {
            return self.end(Err(Failure::Cancelled));
        }
        self.ground();
        if fault == Fault::Lost {
            self.pace.broke();
        }
        self.broken |= self.confirmed < self.plan.size;
        self.step = match self.patience.advise(&fault) {
            Advice::Look => Step::Look,
            Advice::Wait(wait) => {
                self.tell(Event::Waiting { fault, wait });
                Step::Pause(now + wait)
            }
            Advice::Token => {
                self.out.push_back(Output::Token);
                Step::Token
            }
            Advice::Anew => {
                (self.file, self.confirmed) = (None, 0);
                Step::Look
            }
            Advice::Fail(failure) => return self.end(Err(failure)),
        };
    }

    /// Nothing is under way any more.
    fn ground(&mut self) {
        if let Step::Looking(id) = self.step {
            self.out.push_back(Output::Drop(id));
        }
        for flight in self.flights.drain(..) {
            self.out.push_back(Output::Drop(flight.id));
        }
    }

    fn end(&mut self, result: Result<(), Failure>) {
        self.step = Step::Over;
        self.tell(Event::Ended(result));
    }

    fn tell(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    fn id(&mut self) -> AskId {
        self.next_id += 1;
        AskId(self.next_id)
    }

    /// What to ask now.
    fn next(&mut self, now: Instant) -> Option<Output> {
        match (self.step, self.file) {
            (Step::Look, file) => {
                let id = self.id();
                (self.step, self.quiet_since) = (Step::Looking(id), now);
                Some(Output::Ask(id, file.map_or(Ask::Create, Ask::Offset)))
            }
            (Step::Forget, Some(file)) => {
                let id = self.id();
                (self.step, self.quiet_since) = (Step::Forgetting(id), now);
                Some(Output::Ask(id, Ask::Delete(file)))
            }
            (Step::Moving, Some(file)) => {
                let offset = self.flights.back().map_or(self.confirmed, Flight::end);
                let len = self.pace.chunk().min(self.plan.size - offset);
                let bytes = self.flights.iter().map(|flight| flight.len).sum();
                let over = len == 0 && (self.plan.size > 0 || !self.flights.is_empty());
                if over || !self.pace.has_room(self.flights.len(), bytes, len) {
                    return None;
                }
                if self.flights.is_empty() {
                    self.quiet_since = now;
                }
                let id = self.id();
                self.flights.push_back(Flight { id, offset, len, asked: now, sent: 0, gone: now });
                Some(Output::Ask(id, Ask::Chunk { file, offset, len }))
            }
            _ => None,
        }
    }

    /// What it wants next.
    pub fn poll_output(&mut self, now: Instant) -> Output {
        if let Some(output) = self.out.pop_front() {
            return output;
        }
        self.tick(now);
        if let Some(output) = self.out.pop_front().or_else(|| self.next(now)) {
            return output;
        }
        match self.step {
            Step::Pause(until) => Output::Wait(Some(until), WaitReason::Pause),
            Step::Token => Output::Wait(None, WaitReason::Token),
            Step::Over => Output::Wait(None, WaitReason::Over),
            _ => Output::Wait(Some(self.quiet_since + QUIET), WaitReason::Answers),
        }
    }
}
