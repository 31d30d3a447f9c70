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
    /// Bytes that are safe.
    fn confirmed(&self) -> u64;
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
    /// What was safe when it was made.
    safe: u64,
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
        safe: 0,
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
                if let Event::Waiting { fault: Fault::Lost, .. } = event {
                    this.lost(&work);
                }
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
        if let Input::Answer(id, answer) = &input
            && !matches!(answer, Answer::Range { .. })
        {
            self.tasks.remove(id);
        }
        work.handle(self.now(), input);
        work.progress();
    }

    /// The machine lost what it had asked: told so, or tired of a connection that says nothing. Whatever it was, the next one is new.
    fn lost(&mut self, work: &impl Work) {
        if self.connection.take().is_some() {
            self.host.over(work.confirmed() > self.safe);
        }
    }

    /// Leaves a connection that ended while nothing was asked of it. Of one that ended otherwise the answers tell.
    fn leave_if_idled_out(&mut self, work: &impl Work) {
        if self.tasks.is_empty() && self.connection.take_if(|connection| !connection.is_open()).is_some() {
            let carried = work.confirmed() > self.safe;
            if carried {
                self.host.over(carried);
            }
        }
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
        self.leave_if_idled_out(work);
        if self.connection.is_none() && self.token.is_some() {
            self.safe = work.confirmed();
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::VecDeque;
    use std::future::{pending, ready};
    use std::sync::Mutex;
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering::SeqCst;
    use std::task::{Context, Waker};

    use http::{Request, Response};
    use ntproto_core::ids::FileId;

    use super::super::still::Still;
    use super::*;
    use crate::client::{HttpError, Incoming, Outgoing, Pending};

    /// A connection that answers nothing.
    struct Mute {
        name: &'static str,
        open: Arc<AtomicBool>,
    }

    impl Http for Mute {
        fn exchange(&self, _: Request<Outgoing>) -> Pending<'static, Result<Response<Incoming>, HttpError>> {
            Box::pin(pending())
        }

        fn is_open(&self) -> bool {
            self.open.load(SeqCst)
        }

        fn protocol(&self) -> &'static str {
            self.name
        }
    }

    #[derive(Default)]
    struct Home {
        made: Mutex<Vec<Arc<AtomicBool>>>,
        over: Mutex<Vec<bool>>,
    }

    impl Host for Arc<Home> {
        fn base(&self) -> String {
            "https://localhost".into()
        }

        fn connect(&self) -> Pending<'_, Result<Arc<dyn Http>, HttpError>> {
            let mut made = self.made.lock().unwrap();
            let (name, open) = (["first", "second", "third"][made.len()], Arc::new(AtomicBool::new(true)));
            made.push(Arc::clone(&open));
            Box::pin(ready(Ok(Arc::new(Mute { name, open }) as Arc<dyn Http>)))
        }

        fn over(&self, carried: bool) {
            self.over.lock().unwrap().push(carried);
        }

        fn token(&self) -> Pending<'_, Option<Zeroizing<String>>> {
            Box::pin(ready(Some(Zeroizing::new("token".into()))))
        }
    }

    enum Line {
        Says(Output),
        /// So much is safe.
        Safe(u64),
        /// All connections end.
        End,
    }
    use Line::{End, Safe, Says};

    /// A machine that says what the test says.
    struct Script {
        lines: VecDeque<Line>,
        home: Arc<Home>,
        safe: u64,
        /// What was asked, and by which connection.
        asked: Arc<Mutex<Vec<(u64, &'static str)>>>,
    }

    impl Work for Script {
        fn poll(&mut self, _: Instant) -> Output {
            loop {
                match self.lines.pop_front() {
                    Some(Says(output)) => return output,
                    Some(Safe(safe)) => self.safe = safe,
                    Some(End) => {
                        self.home.made.lock().unwrap().iter().for_each(|open| open.store(false, SeqCst))
                    }
                    None => return Output::Event(Event::Ended(Ok(()))),
                }
            }
        }

        fn handle(&mut self, _: Instant, _: Input) {}

        fn begin(&mut self, with: &With<'_>, id: AskId, _: Ask) -> impl Future<Output = ()> + Send + 'static {
            self.asked.lock().unwrap().push((id.0, with.connection.protocol()));
            pending()
        }

        fn verify(&mut self, _: Notes, _: AskId) -> impl Future<Output = ()> + Send + 'static {
            pending()
        }

        async fn save(&mut self) -> Result<(), TransferError> {
            Ok(())
        }

        fn confirmed(&self) -> u64 {
            self.safe
        }

        fn event(&mut self, _: &Event) {}

        fn progress(&mut self) {}
    }

    /// What was asked by which connection, and what connections had carried when they were over.
    fn play(lines: impl IntoIterator<Item = Line>) -> (Vec<(u64, &'static str)>, Vec<bool>) {
        let (home, asked) = (Arc::new(Home::default()), Arc::new(Mutex::new(Vec::new())));
        let lines = lines.into_iter().collect();
        let script = Script { lines, home: Arc::clone(&home), safe: 7, asked: Arc::clone(&asked) };
        let still = Still::default();
        let ended = pin!(run(&still, &home, |_| script)).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(ended, Poll::Ready(Ok(()))));
        (asked.lock().unwrap().clone(), home.over.lock().unwrap().clone())
    }

    fn ask(id: u64) -> Line {
        Says(Output::Ask(AskId(id), Ask::Offset(FileId([1; 16]))))
    }

    fn give_up(id: u64) -> Line {
        Says(Output::Drop(AskId(id)))
    }

    fn waits(fault: Fault) -> Line {
        Says(Output::Event(Event::Waiting { fault, wait: Duration::from_secs(30) }))
    }

    #[test]
    fn what_the_machine_gave_up_is_not_asked_of_the_same_connection_again() {
        let (asked, over) = play([
            ask(1),
            give_up(1),
            waits(Fault::Lost),
            ask(2),
            Safe(100),
            give_up(2),
            waits(Fault::Lost),
            ask(3),
            // A server that is busy is none the worse to reach.
            give_up(3),
            waits(Fault::Busy(Duration::from_secs(1))),
            ask(4),
        ]);
        assert_eq!(asked, [(1, "first"), (2, "second"), (3, "third"), (4, "third")]);
        assert_eq!(over, [false, true]);
    }

    #[test]
    fn a_connection_that_ended_in_a_pause_is_no_fault() {
        let busy = || waits(Fault::Busy(Duration::from_secs(60)));
        let (asked, over) = play([
            ask(1),
            give_up(1),
            busy(),
            End,
            ask(2),
            Safe(100),
            give_up(2),
            busy(),
            End,
            ask(3),
            End,
            ask(4),
        ]);
        // What is under way on it says by itself what became of it.
        assert_eq!(asked, [(1, "first"), (2, "second"), (3, "third"), (4, "third")]);
        assert_eq!(over, [true]);
    }
}
