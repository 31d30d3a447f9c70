//! One exchange between the connection's task and whoever asked: what both hold, and what of it has yet to leave.

use std::fmt;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};

use async_channel::{Receiver, Sender};
use bytes::{Buf as _, Bytes};
use http::{Request, Response};
use ntproto_h3::{Connection, Misuse, StreamId};

use crate::client::{HttpError, Outgoing};

/// What the connection's task is told. Of each exchange that somebody holds, at most one of either waits.
pub(super) enum Command {
    /// Ask this.
    Ask(Box<Ask>),
    /// Something about an exchange is to be looked at.
    Stirred(Arc<Ticket>),
}

/// A request, and where its answer goes.
pub(super) struct Ask {
    pub(super) request: Request<Outgoing>,
    pub(super) ticket: Arc<Ticket>,
    pub(super) head: Sender<Result<Response<()>, HttpError>>,
    /// Its bound is the window of HTTP/3: bytes are consumed only as they are read.
    pub(super) parts: Sender<Part>,
}

/// A piece of an answer; `None` is its end.
pub(super) type Part = Result<Option<Bytes>, HttpError>;

/// What both sides of an exchange hold. As a waker it wakes the connection's task.
pub(super) struct Ticket {
    commands: Sender<Command>,
    /// The stream, once it has one.
    pub(super) stream: OnceLock<StreamId>,
    /// The task was told to look, and has not looked yet.
    told: AtomicBool,
    /// Bytes of the answer that were read, and that the connection was not told of.
    read: AtomicUsize,
    /// Nobody waits for the answer any more.
    dropped: AtomicBool,
}

impl Ticket {
    pub(super) fn new(commands: Sender<Command>) -> Arc<Self> {
        Arc::new(Self {
            commands,
            stream: OnceLock::new(),
            told: AtomicBool::new(false),
            read: AtomicUsize::new(0),
            dropped: AtomicBool::new(false),
        })
    }

    fn stir(self: &Arc<Self>) {
        if !self.told.swap(true, SeqCst) {
            // A connection that is over looks at nothing any more.
            let _ = self.commands.try_send(Command::Stirred(Arc::clone(self)));
        }
    }

    /// The task looks: whether anybody still waits, and how many bytes were read since it looked last.
    pub(super) fn look(&self) -> (bool, usize) {
        // First: whatever happens from here on tells anew.
        self.told.store(false, SeqCst);
        (!self.dropped.load(SeqCst), self.read.swap(0, SeqCst))
    }
}

impl Wake for Ticket {
    fn wake(self: Arc<Self>) {
        self.stir();
    }
}

/// Whoever waits for an answer. Dropped, the exchange is taken back, unless it is over.
pub(super) struct Guard(pub(super) Arc<Ticket>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.dropped.store(true, SeqCst);
        self.0.stir();
    }
}

/// The body of an answer. It comes only as it is read.
pub struct Body {
    pub(super) parts: Receiver<Part>,
    pub(super) guard: Guard,
    pub(super) ended: bool,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Body {
    /// The next bytes; `None` after the last.
    ///
    /// # Errors
    /// It broke off.
    pub async fn next(&mut self) -> Option<Result<Bytes, HttpError>> {
        if self.ended {
            return None;
        }
        let part = self.parts.recv().await.unwrap_or_else(|_| Err(super::gone()));
        self.ended = !matches!(part, Ok(Some(_)));
        match part {
            Ok(Some(data)) => {
                self.guard.0.read.fetch_add(data.len(), SeqCst);
                self.guard.0.stir();
                Some(Ok(data))
            }
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

/// An exchange, as the connection's task has it.
pub(super) struct Exchange {
    ticket: Arc<Ticket>,
    head: Sender<Result<Response<()>, HttpError>>,
    parts: Sender<Part>,
    /// What is sent beside the head, and of that the piece that is on its way.
    body: Outgoing,
    piece: Bytes,
    /// All of the request was handed on, or the server wants no more of it.
    pub(super) sent: bool,
    /// All of the answer has come.
    pub(super) heard: bool,
}

impl Exchange {
    pub(super) fn begun(ask: Ask) -> Self {
        let Ask { request, ticket, head, parts } = ask;
        let body = request.into_body();
        let sent = body.is_empty();
        Self { ticket, head, parts, body, piece: Bytes::new(), sent, heard: false }
    }

    /// Sends what there is and room for.
    ///
    /// # Errors
    /// The body does not come as it was announced.
    pub(super) fn feed(&mut self, machine: &mut Connection, stream: StreamId) -> Result<(), HttpError> {
        let waker = Waker::from(Arc::clone(&self.ticket));
        let mut cx = Context::from_waker(&waker);
        while !self.sent {
            if self.piece.is_empty() {
                match self.body.poll_next(&mut cx) {
                    Poll::Pending => break,
                    Poll::Ready(Some(piece)) => self.piece = piece?,
                    Poll::Ready(None) => {}
                }
            }
            let last = self.body.is_empty();
            match machine.send(stream, self.piece.clone(), last) {
                Ok(taken) => self.piece.advance(taken),
                // The server stopped it: what it has to say is on its way.
                Err(Misuse::Gone) => self.enough(),
                Err(misuse) => return Err(HttpError::of(&misuse)),
            }
            if !self.piece.is_empty() {
                // It says when there is room.
                break;
            }
            self.sent |= last;
        }
        Ok(())
    }

    /// The server wants no more of the request.
    pub(super) fn enough(&mut self) {
        (self.sent, self.body, self.piece) = (true, Outgoing::Empty, Bytes::new());
    }

    /// The head has come.
    pub(super) fn answered(&mut self, head: Response<()>, end: bool) {
        // Whoever is gone has said so.
        let _ = self.head.try_send(Ok(head));
        if end {
            self.ended();
        }
    }

    /// More of the answer has come. `false`: for nobody.
    pub(super) fn came(&mut self, data: Bytes) -> bool {
        self.parts.try_send(Ok(Some(data))).is_ok()
    }

    /// All of it has come.
    pub(super) fn ended(&mut self) {
        self.heard = true;
        let _ = self.parts.try_send(Ok(None));
    }

    /// Nothing more comes. Of what is heard already, it is too late to say so.
    pub(super) fn fail(self, error: HttpError) {
        if !self.heard {
            // One of them is listened to.
            let _ = self.head.try_send(Err(error.clone()));
            let _ = self.parts.try_send(Err(error));
        }
    }
}
