//! HTTPS connections of a server. What their peers ask comes by one bounded queue, as [`Came`]; what is answered goes
//! to the [`Line`] of its exchange.
//!
//! ```text
//!  stream ──▶ TLS ──▶ hyper ──▶ a task an exchange ── Came ──▶ one queue
//!                       ◀──        ◀── Answer, by its own line ──
//! ```
//!
//! Backpressure runs both ways. A body is read on only when what came of it was [consumed](Answer::Consumed): HTTP/2's
//! windows and TCP then hold the peer back. [`Came::Room`] says when a piece of an answer has left, so whoever answers
//! decides how much waits.

mod body;
mod connection;
mod exchange;
mod limits;
mod line;

use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use async_channel::{Receiver, Sender};
use bytes::Bytes;
use futures_core::Stream as _;
use http::{Request, Response};
use ntproto_drive::Runtime;
use ntproto_drive::https::Visitor;
use ntproto_drive::runtime::Timer as _;
use rustls::ServerConfig;

pub use limits::{Limits, MAX_PARTS};
pub use line::Line;

/// What ALPN names HTTP/2.
pub const H2: &[u8] = b"h2";
/// What ALPN names HTTP/1.1.
pub const HTTP1: &[u8] = b"http/1.1";

/// An exchange: a request and its answer. Never given out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId(pub u64);

/// The connection an exchange came on. Never given out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CarrierId(pub u64);

/// What comes of connections.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "heads are few beside parts, and move twice")]
pub enum Came {
    /// Somebody asks.
    Head {
        /// The exchange.
        exchange: ExchangeId,
        /// Its connection.
        carrier: CarrierId,
        /// Who.
        remote: SocketAddr,
        /// What.
        request: Request<()>,
        /// Whether no body follows.
        end: bool,
        /// Where the answer goes. Dropped before the answer's end, it resets the exchange.
        line: Line,
    },
    /// A part of a request's body.
    Data {
        /// The exchange.
        exchange: ExchangeId,
        /// The part.
        data: Bytes,
    },
    /// A request's body is all there.
    End {
        /// The exchange.
        exchange: ExchangeId,
    },
    /// A part of the answer has left, one for each [`Answer::Data`].
    Room {
        /// The exchange.
        exchange: ExchangeId,
    },
    /// The peer, or its connection, is gone before the exchange ended.
    Gone {
        /// The exchange.
        exchange: ExchangeId,
    },
}

/// What is answered.
#[derive(Debug)]
pub enum Answer {
    /// The head, once, and whether no body follows.
    Head(Response<()>, bool),
    /// A part of the body, and whether it is the last.
    Data(Bytes, bool),
    /// The request's body is wanted. Of one with `Expect: 100-continue` nothing is read before this, and over HTTP/1.1 its
    /// client is told to send it; to others it says nothing.
    Continue,
    /// So many bytes of the request's body are done with: as many may come.
    Consumed(usize),
    /// There will be no (whole) answer.
    Reset,
}

/// The exchange is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over;

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the exchange is over")
    }
}

impl std::error::Error for Over {}

/// Takes connections. Cheap to clone; dropping the last one drains.
pub struct Server<R> {
    shared: Arc<Shared<R>>,
    gone: Receiver<()>,
    /// Held by servers: closed, connections finish what they are at.
    draining: Sender<()>,
    /// Closed, connections end.
    ending: Sender<()>,
}

impl<R: Clone> Clone for Server<R> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            gone: self.gone.clone(),
            draining: self.draining.clone(),
            ending: self.ending.clone(),
        }
    }
}

impl<R> fmt::Debug for Server<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("connections", &self.connections()).finish_non_exhaustive()
    }
}

/// What connections share.
struct Shared<R> {
    runtime: R,
    tls: Arc<ServerConfig>,
    limits: Limits,
    came: Sender<Came>,
    exchanges: AtomicU64,
    carriers: AtomicU64,
    open: AtomicUsize,
    /// A copy is held by every connection: when this is taken and they are gone, all answers are out.
    alive: Mutex<Option<Sender<()>>>,
    drained: Receiver<()>,
    ended: Receiver<()>,
}

impl<R> Shared<R> {
    fn alive(&self) -> MutexGuard<'_, Option<Sender<()>>> {
        // Every change is a single step.
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> Server<R> {
    /// Connections that are up, or about to be.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.open.load(Relaxed)
    }
}

impl<R: Runtime> Server<R> {
    /// A server, and the queue of what is asked. `tls` offers [`H2`] and [`HTTP1`] by ALPN; a peer that names neither
    /// speaks HTTP/1.1. Certificates that change are its resolver's.
    #[must_use]
    pub fn new(runtime: R, tls: Arc<ServerConfig>, limits: Limits) -> (Self, Receiver<Came>) {
        let (came, waiting) = async_channel::bounded(limits.waiting);
        let (alive, gone) = async_channel::bounded(1);
        let (draining, drained) = async_channel::bounded(1);
        let (ending, ended) = async_channel::bounded(1);
        let shared = Shared {
            runtime,
            tls,
            limits,
            came,
            exchanges: AtomicU64::new(0),
            carriers: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            alive: Mutex::new(Some(alive)),
            drained,
            ended,
        };
        (Self { shared: Arc::new(shared), gone, draining, ending }, waiting)
    }

    /// Serves a connection, unless there are too many: then it is dropped, which closes it. Its place is settled by its first
    /// request, and given back at its end.
    pub fn accept(&self, visitor: Visitor<R::Stream>) {
        let shared = Arc::clone(&self.shared);
        let Some(alive) = shared.alive().clone().filter(|_| !shared.drained.is_closed()) else { return };
        if shared.open.fetch_add(1, Relaxed) >= shared.limits.connections {
            shared.open.fetch_sub(1, Relaxed);
            return;
        }
        self.shared.runtime.spawn(async move {
            let (_alive, open) = (alive, Open(shared));
            connection::serve(&open.0, visitor).await;
        });
    }

    /// Takes no more requests. What is under way is finished.
    pub fn drain(&self) {
        self.draining.close();
    }

    /// Drains, and waits until the last answer is out: at the longest for `patience`, then what is left is cut.
    pub async fn finish(self, patience: Duration) {
        let Self { shared, gone, draining, ending } = self;
        draining.close();
        drop(shared.alive().take());
        let mut timer = shared.runtime.timer();
        timer.set(patience);
        let mut gone = pin!(gone);
        poll_fn(|cx| match gone.as_mut().poll_next(cx) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => timer.poll(cx),
        })
        .await;
        ending.close();
    }
}

/// Counts a connection for as long as it lives.
struct Open<R>(Arc<Shared<R>>);

impl<R> Drop for Open<R> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}
