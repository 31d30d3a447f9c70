//! A file on its way from the server.
//!
//! ```
//! use ntproto_core::ids::FileId;
//! use ntproto_core::rng::Rng;
//! use ntproto_core::time::Instant;
//! use ntproto_core::transfer::download::{Download, Plan};
//! use ntproto_core::transfer::{Answer, Ask, Event, Input, Output};
//!
//! let plan = Plan { file: FileId([1; 16]), size: 5, sha256: [2; 32], unit: 1 };
//! let now = Instant::ORIGIN;
//! let mut download = Download::new(plan, Rng::new([4; 32]));
//!
//! let Output::Ask(id, Ask::Range { offset: 0, len: 5, .. }) = download.poll_output(now) else { panic!() };
//! download.handle(now, Input::Answer(id, Answer::Range { offset: 0, total: 5, etag: "\"a\"".into() }));
//! download.handle(now, Input::Moved(id, 5));
//! assert_eq!(download.poll_output(now), Output::Save);
//! assert!(matches!(download.poll_output(now), Output::Event(Event::Progress(_))));
//! let Output::Ask(id, Ask::Verify) = download.poll_output(now) else { panic!() };
//! download.handle(now, Input::Answer(id, Answer::Hash([2; 32])));
//! assert_eq!(download.poll_output(now), Output::Event(Event::Ended(Ok(()))));
//! ```

use alloc::collections::VecDeque;
use alloc::string::String;
use bytes::Bytes;
use ntproto_proto::store::DownloadState;

use super::pace::Pace;
use super::patience::{Advice, Patience};
use super::{Answer, Ask, AskId, Event, Failure, Fault, Input, Output, Progress, QUIET, WaitReason};
use crate::ids::FileId;
use crate::rng::Rng;
use crate::time::Instant;

/// Bytes written between two saves: what a restart fetches again at most, beside what was under way.
pub const SAVE_EVERY: u64 = 4 << 20;
/// Bytes of the longest etag that is kept.
pub const MAX_ETAG: usize = 128;

/// What is to be fetched: what a message says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What the server calls it.
    pub file: FileId,
    /// Bytes, as the server keeps them.
    pub size: u64,
    /// Their SHA-256.
    pub sha256: [u8; 32],
    /// Ranges begin at multiples of it: a sealed segment, or 1.
    pub unit: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Moving,
    Verifying(AskId),
    Token,
    Pause(Instant),
    Over,
}

/// A range on its way.
#[derive(Clone, Copy, Debug)]
struct Flight {
    id: AskId,
    offset: u64,
    len: u64,
    asked: Instant,
    /// Whether the server said that this is what comes.
    head: bool,
    written: u64,
}

/// A download.
pub struct Download {
    plan: Plan,
    etag: Option<String>,
    step: Step,
    flights: VecDeque<Flight>,
    /// Bytes written from the beginning on, before the first flight; and as a restart will find them.
    written: u64,
    saved: u64,
    again: u64,
    broken: bool,
    pace: Pace,
    patience: Patience,
    quiet_since: Instant,
    next_id: u64,
    out: VecDeque<Output>,
}

impl Download {
    /// A download that has not begun.
    #[must_use]
    pub fn new(plan: Plan, rng: Rng) -> Self {
        Self {
            plan: Plan { unit: plan.unit.max(1), ..plan },
            etag: None,
            step: Step::Moving,
            flights: VecDeque::new(),
            written: 0,
            saved: 0,
            again: 0,
            broken: false,
            pace: Pace::new(0),
            patience: Patience::new(rng),
            quiet_since: Instant::ORIGIN,
            next_id: 0,
            out: VecDeque::new(),
        }
    }

    /// Goes on with a download of an earlier run, whose bytes are still there. `None`: it is not one.
    #[must_use]
    pub fn resume(state: &DownloadState, rng: Rng) -> Option<Self> {
        let sha256 = (*state.sha256).try_into().ok()?;
        let plan =
            Plan { file: FileId::from_slice(&state.file)?, size: state.size, sha256, unit: state.unit };
        let mut download = Self::new(plan, rng);
        download.etag = Some(state.etag.clone()).filter(|etag| !etag.is_empty() && etag.len() <= MAX_ETAG);
        download.written = download.whole(state.written.min(plan.size));
        download.saved = download.written;
        download.broken = true;
        download.pace = Pace::new(state.chunk.into());
        Some(download)
    }

    /// What a later run goes on with.
    #[must_use]
    pub fn state(&self) -> DownloadState {
        let Plan { file, size, sha256, unit } = &self.plan;
        DownloadState {
            file: Bytes::copy_from_slice(&file.0),
            size: *size,
            sha256: Bytes::copy_from_slice(sha256),
            unit: *unit,
            etag: self.etag.clone().unwrap_or_default(),
            written: self.written,
            chunk: u32::try_from(self.pace.chunk()).unwrap_or(u32::MAX),
        }
    }

    /// What is fetched.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let moving = self.flights.iter().map(|flight| flight.written).sum();
        Progress { confirmed: self.written, moving, total: self.plan.size, again: self.again }
    }

    /// Gives up. What was written is the host's.
    pub fn cancel(&mut self) {
        if self.step != Step::Over {
            self.ground();
            self.end(Err(Failure::Cancelled));
        }
    }

    /// Takes what the host brings. What is of no ask under way is not looked at.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Moved(id, bytes) => self.moved(now, id, bytes),
            Input::Answer(id, answer) => self.answered(now, id, answer),
            Input::Token if self.step == Step::Token => self.step = Step::Moving,
            Input::Token | Input::Timeout => {}
        }
        self.tick(now);
    }

    fn tick(&mut self, now: Instant) {
        match self.step {
            Step::Pause(until) if now >= until => self.step = Step::Moving,
            Step::Moving if !self.flights.is_empty() && now >= self.quiet_since + QUIET => {
                self.fault(now, Fault::Lost);
            }
            _ => {}
        }
    }

    fn moved(&mut self, now: Instant, id: AskId, bytes: u64) {
        let Some(flight) = self.flights.iter_mut().find(|flight| flight.id == id && flight.head) else {
            return;
        };
        flight.written += bytes.min(flight.len - flight.written);
        self.quiet_since = now;
        let mut through = false;
        while let Some(first) = self.flights.front().filter(|first| first.written == first.len).copied() {
            self.flights.pop_front();
            self.written = first.offset + first.len;
            self.pace.through(now, first.len, first.asked, now);
            through = true;
        }
        if !through {
            return;
        }
        self.patience.progress();
        if self.written - self.saved >= SAVE_EVERY || self.written == self.plan.size {
            self.saved = self.written;
            self.out.push_back(Output::Save);
        }
        self.tell(Event::Progress(self.progress()));
    }

    fn answered(&mut self, now: Instant, id: AskId, answer: Answer) {
        if self.step == Step::Verifying(id) {
            return match answer {
                //= spec: content-2
                Answer::Hash(sha256) if sha256 == self.plan.sha256 => self.end(Ok(())),
                Answer::Hash(_) => self.fault(now, Fault::Mismatch),
                Answer::Fault(fault) => self.fault(now, fault),
                _ => self.fault(now, Fault::Lost),
            };
        }
        let Some(flight) = self.flights.iter_mut().find(|flight| flight.id == id) else { return };
        self.quiet_since = now;
        match answer {
            Answer::Range { offset, total, etag } => {
                self.patience.taken();
                let same = self.etag.as_ref().is_none_or(|known| *known == etag);
                if total != self.plan.size || !same || etag.len() > MAX_ETAG {
                    return self.fault(now, Fault::Mismatch);
                }
                if offset != flight.offset {
                    return self.fault(now, Fault::Lost);
                }
                flight.head = true;
                self.etag = Some(etag);
                if core::mem::take(&mut self.broken) {
                    self.tell(Event::Resumed { offset: self.written });
                }
            }
            Answer::Fault(fault) => self.fault(now, fault),
            _ => self.fault(now, Fault::Lost),
        }
    }

    fn fault(&mut self, now: Instant, fault: Fault) {
        // What was written of the first range counts, as far as it can be gone on with.
        let reached: u64 = self.flights.iter().map(|flight| flight.written).sum();
        if let Some(first) = self.flights.front().copied() {
            let whole = self.whole(first.offset + first.written);
            if whole > self.written {
                self.patience.progress();
            }
            self.again += reached - whole.saturating_sub(first.offset).min(reached);
            self.written = self.written.max(whole);
        }
        self.ground();
        if fault == Fault::Lost {
            self.pace.broke();
        }
        self.broken = true;
        self.step = match self.patience.advise(&fault) {
            Advice::Look => Step::Moving,
            Advice::Wait(wait) => {
                self.tell(Event::Waiting { fault, wait });
                Step::Pause(now + wait)
            }
            Advice::Token => {
                self.out.push_back(Output::Token);
                Step::Token
            }
            // A file that is gone does not come back by asking anew; another one under its name is fetched from the start.
            Advice::Anew if fault == Fault::Gone => return self.end(Err(Failure::Gone)),
            Advice::Anew => {
                self.again += self.written;
                (self.etag, self.written, self.saved) = (None, 0, 0);
                self.out.push_back(Output::Save);
                Step::Moving
            }
            Advice::Fail(failure) => return self.end(Err(failure)),
        };
    }

    /// The end of the last whole unit at or before this byte. The file's own end is one.
    fn whole(&self, at: u64) -> u64 {
        if at == self.plan.size { at } else { at - at % u64::from(self.plan.unit) }
    }

    /// Nothing is under way any more.
    fn ground(&mut self) {
        if let Step::Verifying(id) = self.step {
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

    /// What to ask now.
    fn next(&mut self, now: Instant) -> Option<Output> {
        if self.step != Step::Moving {
            return None;
        }
        let (size, unit) = (self.plan.size, u64::from(self.plan.unit));
        let offset = self.flights.back().map_or(self.written, |flight| flight.offset + flight.len);
        if offset == size {
            let all = self.flights.is_empty();
            return all.then(|| {
                let id = self.id();
                self.step = Step::Verifying(id);
                Output::Ask(id, Ask::Verify)
            });
        }
        let len = (self.pace.chunk() / unit).max(1).saturating_mul(unit).min(size - offset);
        let bytes = self.flights.iter().map(|flight| flight.len).sum();
        if !self.pace.has_room(self.flights.len(), bytes, len) {
            return None;
        }
        // The first answer says what the bytes belong to; the others want the same.
        if self.etag.is_none() && !self.flights.is_empty() {
            return None;
        }
        if self.flights.is_empty() {
            self.quiet_since = now;
        }
        let id = self.id();
        self.flights.push_back(Flight { id, offset, len, asked: now, head: false, written: 0 });
        Some(Output::Ask(id, Ask::Range { file: self.plan.file, offset, len, etag: self.etag.clone() }))
    }

    fn id(&mut self) -> AskId {
        self.next_id += 1;
        AskId(self.next_id)
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
            Step::Verifying(_) => Output::Wait(None, WaitReason::Answers),
            Step::Moving => Output::Wait(Some(self.quiet_since + QUIET), WaitReason::Answers),
        }
    }
}
