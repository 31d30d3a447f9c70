//! The loop of a transfer: what the machine asks becomes tasks, what comes of them its inputs.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_channel::{Receiver, Sender};
use futures_core::Stream as _;
use ntproto_core::time::Instant;
use ntproto_core::transfer::{Answer, Ask, AskId, Event, Fault, Input, Output};
use ntproto_drive::Runtime;
use ntproto_drive::runtime::Timer as _;
use ntproto_drive::task::{Task, spawn};
use zeroize::Zeroizing;

use super::{Host, TransferError};
use crate::client::Http;

/// Notes of tasks that wait to be read: a few of each task there may be.
const NOTES: usize = 64;
/// How often a token that is not there yet is asked for.
const TOKEN_PAUSE: Duration = Duration::from_millis(250);
/// How long it is waited for before the try counts as failed: a reconnect takes less, and the machine has tries left.
const TOKEN_TIME: Duration = Duration::from_secs(30);
/// How long for one that is not the one just refused. A session that has not noticed yet that it ended shows the old one that long.
const OTHER_TIME: Duration = Duration::from_secs(10);

/// What a task tells.
pub(super) enum Note {
    Input(Input),
    /// Nothing here can go on.
    Broken(TransferError),
}

/// Where a task tells it.
#[derive(Clone)]
pub(super) struct Notes(Sender<Note>);

impl Notes {
    /// Notes, and where they are read.
    pub(super) fn pair() -> (Self, Receiver<Note>) {
        let (notes, noted) = async_channel::bounded(NOTES);
        (Self(notes), noted)
    }

    pub(super) async fn tell(&self, note: Note) {
        // A loop that is gone cares no more.
        let _ = self.0.send(note).await;
    }

    pub(super) async fn answer(&self, id: AskId, answer: Answer) {
        self.tell(Note::Input(Input::Answer(id, answer))).await;
    }
}

/// With what an ask is done.
pub(super) struct With<'a> {
    pub(super) connection: &'a dyn Http,
    pub(super) base: &'a str,
    pub(super) token: &'a str,
    pub(super) notes: Notes,
}

/// A machine, and how what it asks is done.
pub(super) trait Work: Send {
    fn poll(&mut self, now: Instant) -> Output;
    fn handle(&mut self, now: Instant, input: Input);
    /// Begins an ask that needs the server. Its request leaves in this call; the rest is a task.
    fn begin(&mut self, with: &With<'_>, id: AskId, ask: Ask) -> impl Future<Output = ()> + Send + 'static;
    /// Begins one that does not.
    fn verify(&mut self, notes: Notes, id: AskId) -> impl Future<Output = ()> + Send + 'static;
    fn save(&mut self) -> impl Future<Output = Result<(), TransferError>> + Send;
    fn event(&mut self, event: &Event);
    fn progress(&mut self);
}

/// A task that ends when nobody waits for it any more.
struct Running(Task<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

struct Loop<'a, R: Runtime, H> {
    runtime: &'a R,
    host: &'a H,
    began: std::time::Instant,
    notes: Notes,
    connection: Option<Arc<dyn Http>>,
    token: Option<Zeroizing<String>>,
    tasks: BTreeMap<AskId, Running>,
}

/// Runs a transfer to its end. `open` is given where tasks tell what they have to, before anything is asked.
pub(super) async fn run<R: Runtime, H: Host, W: Work>(
    runtime: &R,
    host: &H,
    make: impl FnOnce(Notes) -> W,
) -> Result<(), TransferError> {
    let (notes, noted) = Notes::pair();
    let mut work = make(notes.clone());
    let mut this = Loop {
        runtime,
        host,
        began: std::time::Instant::now(),
        notes,
        connection: None,
        token: None,
        tasks: BTreeMap::new(),
    };
    loop {
        match work.poll(this.now()) {
            Output::Ask(id, ask) => this.ask(&mut work, id, ask).await,
            Output::Drop(id) => drop(this.tasks.remove(&id)),
            Output::Token => {
                let refused = this.token.take();
                // Whoever refused it may be another one than the session's server, and is not shown the next.
                this.connection = None;
                this.token = this.find_token(refused).await;
                work.handle(this.now(), Input::Token);
            }
            Output::Save => work.save().await?,
            Output::Event(event) => {
                work.event(&event);
                if let Event::Ended(result) = event {
                    work.progress();
                    return result.map_err(TransferError::Failed);
                }
            }
            Output::Wait(at, _) => match this.wait(&noted, at).await {
                None => work.handle(this.now(), Input::Timeout),
                Some(Note::Broken(error)) => return Err(error),
                Some(Note::Input(input)) => this.tell(&mut work, input),
            },
        }
    }
}

impl<R: Runtime, H: Host> Loop<'_, R, H> {
    fn now(&self) -> Instant {
        let micros = self.began.elapsed().as_micros();
        Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    fn tell(&mut self, work: &mut impl Work, input: Input) {
        if let Input::Answer(id, answer) = &input {
            if *answer == Answer::Fault(Fault::Lost) {
                // Whatever it was, the next one is new.
                self.connection = None;
            }
            if !matches!(answer, Answer::Range { .. }) {
                self.tasks.remove(id);
            }
        }
        work.handle(self.now(), input);
        work.progress();
    }

    async fn ask(&mut self, work: &mut impl Work, id: AskId, ask: Ask) {
        if ask == Ask::Verify {
            let task = work.verify(self.notes.clone(), id);
            self.tasks.insert(id, Running(spawn(self.runtime, task)));
            return;
        }
        if self.token.is_none() {
            self.token = self.find_token(None).await;
        }
        if self.connection.is_none() && self.token.is_some() {
            self.connection = self.host.connect().await.ok();
        }
        let (Some(connection), Some(token)) = (self.connection.clone(), self.token.clone()) else {
            return self.tell(work, Input::Answer(id, Answer::Fault(Fault::Lost)));
        };
        let notes = self.notes.clone();
        let base = self.host.base();
        let with = With { connection: &*connection, base: &base, token: &token, notes };
        let task = work.begin(&with, id, ask);
        self.tasks.insert(id, Running(spawn(self.runtime, task)));
    }

    /// A token, another one than the refused one if such comes.
    async fn find_token(&self, refused: Option<Zeroizing<String>>) -> Option<Zeroizing<String>> {
        let began = std::time::Instant::now();
        if refused.is_some() {
            self.host.refused().await;
        }
        loop {
            let token = self.host.token().await;
            let waited = began.elapsed();
            if token.is_some() && (token != refused || waited >= OTHER_TIME) || waited >= TOKEN_TIME {
                return token;
            }
            let mut timer = self.runtime.timer();
            timer.set(TOKEN_PAUSE);
            poll_fn(|cx| timer.poll(cx)).await;
        }
    }

    /// The next note; `None`: it is time.
    async fn wait(&self, noted: &Receiver<Note>, at: Option<Instant>) -> Option<Note> {
        let mut timer = self.runtime.timer();
        if let Some(at) = at {
            timer.set(at.saturating_since(self.now()));
        }
        let mut noted = pin!(noted.clone());
        poll_fn(|cx| {
            // This loop holds one end itself: it does not end.
            if let Poll::Ready(note) = noted.as_mut().poll_next(cx) {
                return Poll::Ready(note);
            }
            if at.is_some() { timer.poll(cx).map(|()| None) } else { Poll::Pending }
        })
        .await
    }
}
