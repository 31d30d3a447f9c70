//! The web loop: one task that owns the web machine and does what it wants.
//!
//! ```text
//!  HTTPS (hyper) ── Came ──┐            ┌── Store ──▶ the group commit of the node
//!  HTTP/3 (the node) ──────┼─▶ loop ────┼── File ───▶ the store of files, on threads
//!  StoreDone, FileDone, ───┘   (Web)    ├── Bearer ─▶ the node
//!  Bearer                               └── answers ▶ the line of the exchange, or the node
//! ```
//!
//! It never waits for anything but its inputs, so those that wait for it do so for a moment only. What is under way is
//! bounded by the exchanges that the machine admits.

mod exchanges;
mod files;
mod traces;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use async_channel::{Receiver, Sender, TryRecvError};
use futures_core::Stream as _;
use ntproto_core::time::{Instant, Now, UnixMillis};
use ntproto_drive::Runtime;
use ntproto_drive::runtime::Timer as _;
use ntproto_http::server::Came;
use ntproto_hub::store::{OpId, Outcome, StoreError};
use ntproto_net::{ExchangeId as NodeExchange, HttpEvent};
use ntproto_tokio::Clock;
use ntproto_web::handshake::Bootstrap;
use ntproto_web::{FileError, FileOutcome, Input, Output, Web, WebEvent, Who};

use crate::files::FileStore;
use crate::node::Command;
use crate::store::group::{Completion, Entrance};

use exchanges::Exchanges;
use files::Files;
use traces::Traces;

/// Inputs of each kind that are taken before the machine is drained again.
const MAX_INPUTS: usize = 64;
/// Marks transactions of the web machine among those of the node, whose numbers never get there.
const WEB: u64 = 1 << 63;

/// What comes to the loop from elsewhere than HTTPS connections.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "heads are few beside parts, and move once")]
pub(crate) enum Post {
    /// Something of an exchange over HTTP/3.
    Node(NodeExchange, HttpEvent),
    /// Whose a bearer token is.
    Bearer(OpId, Option<Who>),
    /// Transactions have ended.
    Stored(Vec<Completion>),
    /// A work on files has ended.
    Filed(OpId, Result<FileOutcome, FileError>),
    /// What clients are told of the server.
    Bootstrap(Box<Bootstrap>),
    /// Whether the server can do its work.
    Ready(bool),
    /// No exchange will come any more: end when the last work is done.
    Finish,
}

/// Whose transaction it is.
pub(crate) const fn is_web(op: OpId) -> bool {
    op.0 & WEB != 0
}

/// The way to the loop. What goes by it is an answer to what the loop asked, or bounded by flow control: it needs no
/// bound of its own.
#[derive(Clone, Debug)]
pub(crate) struct Posts(Sender<Post>);

impl Posts {
    /// A way, and its end.
    pub(crate) fn new() -> (Self, Receiver<Post>) {
        let (sender, receiver) = async_channel::unbounded();
        (Self(sender), receiver)
    }

    /// Tells the loop. If it has ended nobody wants to know.
    pub(crate) fn send(&self, post: Post) {
        let _ = self.0.try_send(post);
    }
}

/// Server time: what the store said at boot and the time since, as the hub has it.
#[derive(Clone, Copy)]
pub(crate) struct ServerTime {
    clock: Clock,
    origin: Instant,
    start: UnixMillis,
}

impl ServerTime {
    /// From a clock, and what server time is now.
    pub(crate) fn new(clock: Clock, start: UnixMillis) -> Self {
        Self { clock, origin: clock.mono(), start }
    }

    fn now(&self) -> Now {
        let mono = self.clock.mono();
        Now { mono, unix: self.start + mono.saturating_since(self.origin) }
    }
}

/// What the loop does its work with.
pub(crate) struct Means<R> {
    pub(crate) runtime: R,
    pub(crate) time: ServerTime,
    /// The group commit's queue.
    pub(crate) store: Entrance,
    pub(crate) files: Arc<dyn FileStore>,
    /// To the node.
    pub(crate) commands: Sender<Command>,
    /// To itself.
    pub(crate) posts: Posts,
    /// For the ids of spans.
    pub(crate) seed: [u8; 32],
    /// Logs and counters.
    pub(crate) tell: Box<dyn FnMut(&WebEvent) + Send>,
}

/// The loop's state.
struct WebLoop<R: Runtime> {
    web: Web,
    exchanges: Exchanges,
    files: Files<R>,
    time: ServerTime,
    store: Entrance,
    /// Transactions in the store.
    in_store: usize,
    commands: Sender<Command>,
    posts: Posts,
    traces: Traces,
    tell: Box<dyn FnMut(&WebEvent) + Send>,
    finishing: bool,
}

/// What woke the loop.
enum Woke {
    Came(Came),
    Post(Post),
    Time,
}

/// Runs the machine until [`Post::Finish`] came and nothing is under way.
pub(crate) async fn run<R: Runtime>(web: Web, means: Means<R>, came: Receiver<Came>, posts: Receiver<Post>) {
    let Means { runtime, time, store, files, commands, posts: own, seed, tell } = means;
    let mut timer = runtime.timer();
    let mut this = WebLoop {
        web,
        exchanges: Exchanges::new(commands.clone()),
        files: Files::new(runtime, files, own.clone()),
        time,
        store,
        in_store: 0,
        commands,
        posts: own,
        traces: Traces::new(seed),
        tell,
        finishing: false,
    };
    let (mut came, mut posts) = (pin!(came), pin!(posts));
    let mut https = true;
    loop {
        let at = this.drain();
        if this.is_done() {
            return;
        }
        if let Some(at) = at {
            timer.set(at.saturating_since(this.time.clock.mono()));
        }
        let woke = poll_fn(|cx| {
            if let Poll::Ready(Some(post)) = posts.as_mut().poll_next(cx) {
                return Poll::Ready(Woke::Post(post));
            }
            if https {
                match came.as_mut().poll_next(cx) {
                    Poll::Ready(Some(came)) => return Poll::Ready(Woke::Came(came)),
                    // No connection is left, nor will one come.
                    Poll::Ready(None) => https = false,
                    Poll::Pending => {}
                }
            }
            if at.is_some() { timer.poll(cx).map(|()| Woke::Time) } else { Poll::Pending }
        })
        .await;
        let now = this.time.now();
        match woke {
            Woke::Came(came) => this.came(now, came),
            Woke::Post(post) => this.post(now, post),
            Woke::Time => this.web.handle(now, Input::Timeout),
        }
        // What waits behind it: a bounded batch of each.
        for _ in 0..MAX_INPUTS {
            match posts.try_recv() {
                Ok(post) => this.post(now, post),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        for _ in 0..MAX_INPUTS {
            match came.try_recv() {
                Ok(came) => this.came(now, came),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
    }
}

impl<R: Runtime> WebLoop<R> {
    fn is_done(&self) -> bool {
        self.finishing && self.exchanges.is_empty() && self.in_store == 0 && self.files.is_empty()
    }

    fn came(&mut self, now: Now, came: Came) {
        if let Some(input) = self.exchanges.came(came) {
            self.traces.came(&input);
            self.web.handle(now, input);
        }
    }

    fn post(&mut self, now: Now, post: Post) {
        match post {
            Post::Node(exchange, event) => {
                if let Some(input) = self.exchanges.node(exchange, event) {
                    self.traces.came(&input);
                    self.web.handle(now, input);
                }
            }
            Post::Bearer(op, result) => self.web.handle(now, Input::Bearer { op, result }),
            Post::Stored(done) => {
                for (op, result) in done {
                    self.stored(now, OpId(op.0 & !WEB), result);
                }
            }
            Post::Filed(op, result) => {
                self.files.done();
                self.web.handle(now, Input::FileDone { op, result });
            }
            Post::Bootstrap(bootstrap) => self.web.handle(now, Input::Bootstrap(bootstrap)),
            Post::Ready(ready) => self.web.handle(now, Input::Ready(ready)),
            Post::Finish => self.finishing = true,
        }
    }

    fn stored(&mut self, now: Now, op: OpId, result: Result<Outcome, StoreError>) {
        self.in_store = self.in_store.saturating_sub(1);
        self.web.handle(now, Input::StoreDone { op, result });
    }

    /// Does all that the machine wants; when to look at the clock again.
    fn drain(&mut self) -> Option<Instant> {
        loop {
            let now = self.time.now();
            match self.web.poll_output(now) {
                Output::Respond { exchange, head, end } => self.exchanges.head(exchange, head, end),
                Output::Body { exchange, data, end } => self.exchanges.body(exchange, data, end),
                Output::Continue { exchange } => self.exchanges.go_on(exchange),
                Output::Consumed { exchange, bytes } => self.exchanges.consumed(exchange, bytes),
                Output::Reset { exchange } => self.exchanges.reset(exchange),
                Output::Store { op, txn } => {
                    self.in_store += 1;
                    if let Err(rejected) = self.store.submit(OpId(op.0 | WEB), txn, None) {
                        self.posts.send(Post::Stored(vec![(rejected.op, Err(rejected.why))]));
                    }
                }
                Output::File { op, what } => self.files.start(op, what),
                Output::Bearer { op, shown } => {
                    // A node that has ended knows nobody: the exchange ends with the server.
                    let _ = self.commands.try_send(Command::Bearer { op: op.0, shown });
                }
                Output::Event(event) => {
                    if let WebEvent::Done { exchange, took, .. } = &event {
                        self.exchanges.over(*exchange);
                        if let Some(span) = self.traces.over(&event) {
                            span.tell(*took);
                        }
                    }
                    (self.tell)(&event);
                }
                Output::Wait { at } => return at,
            }
        }
    }
}
