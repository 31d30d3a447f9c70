//! The TCP connections: a task each, which reads when it is asked to and writes what it is given.
//!
//! A connection holds no buffer while it is idle. What a task brings waits in one bounded queue for all; a peer that
//! sends faster than the loop takes is held back by TCP.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use bytes::Bytes;
use futures_core::Stream as _;
use ntproto_net::{StreamId, StreamInput, StreamStep};

use crate::https;
use crate::runtime::{Listener, Runtime, Stream, Timer};

/// What streams bring that waits for the loop.
const MAX_WAITING: usize = 256;
/// Steps a stream may be given before it does one: a read, a write and a close.
const MAX_STEPS: usize = 4;
/// Read at once.
const READ: usize = 32 * 1024;
/// How long a connection that was closed here is read on: closing it on unread bytes would take back what was
/// written last.
const LINGER: Duration = Duration::from_secs(1);
/// Before the next connection is taken after one could not be: too many open files pass.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What comes to the loop.
pub(crate) enum Came<S> {
    /// Somebody connected.
    Accepted(S, SocketAddr),
    /// A connection that was accepted speaks TLS.
    Tls(StreamId, S, SocketAddr),
    /// Something happened to a stream.
    Input(StreamId, StreamInput),
}

/// The loop's side of all streams.
pub(crate) struct Streams<R: Runtime> {
    runtime: R,
    steps: BTreeMap<StreamId, Sender<StreamStep>>,
    came: Sender<Came<R::Stream>>,
    /// Held by every task: when all are gone, all farewells are out.
    alive: Sender<()>,
    gone: Receiver<()>,
    /// Held by the loop: when it is gone, no more connections are taken.
    running: Sender<()>,
    over: Receiver<()>,
    /// Whether somebody serves connections that speak TLS.
    https: bool,
}

impl<R: Runtime> Streams<R> {
    pub(crate) fn new(runtime: R, https: bool) -> (Self, Receiver<Came<R::Stream>>) {
        let (came, waiting) = async_channel::bounded(MAX_WAITING);
        let (alive, gone) = async_channel::bounded(1);
        let (running, over) = async_channel::bounded(1);
        (Self { runtime, steps: BTreeMap::new(), came, alive, gone, running, over, https }, waiting)
    }

    /// Takes connections in, for as long as the loop runs.
    pub(crate) fn listen(&self, listener: R::Listener) {
        let (came, alive, over) = (self.came.downgrade(), self.alive.clone(), self.over.clone());
        let mut timer = self.runtime.timer();
        self.runtime.spawn(async move {
            let (_alive, mut over) = (alive, pin!(over));
            loop {
                let mut accept = pin!(listener.accept());
                let accepted = poll_fn(|cx| match over.as_mut().poll_next(cx) {
                    Poll::Ready(_) => Poll::Ready(None),
                    Poll::Pending => accept.as_mut().poll(cx).map(Some),
                });
                let (Some(accepted), Some(came)) = (accepted.await, came.upgrade()) else { return };
                match accepted {
                    Ok((stream, remote)) => {
                        if came.send(Came::Accepted(stream, remote)).await.is_err() {
                            return;
                        }
                    }
                    Err(_) => {
                        timer.set(ACCEPT_PAUSE);
                        poll_fn(|cx| timer.poll(cx)).await;
                    }
                }
            }
        });
    }

    /// A connection was accepted under this name.
    pub(crate) fn accepted(&mut self, id: StreamId, stream: R::Stream, remote: SocketAddr) {
        let task = self.task(id);
        let peek = self.https.then_some(remote);
        self.runtime.spawn(task.run(stream, peek));
    }

    /// Does what the machine wants of a stream.
    pub(crate) fn step(&mut self, id: StreamId, step: StreamStep) {
        if let StreamStep::Dial(remote) = step {
            let (task, connect) = (self.task(id), R::connect(remote));
            self.runtime.spawn(task.dial(connect));
            return;
        }
        let close = matches!(step, StreamStep::Close);
        if let Some(steps) = self.steps.get(&id) {
            // A task that has ended has told so.
            let _ = steps.try_send(step);
        }
        if close {
            self.steps.remove(&id);
        }
    }

    /// A stream was told to be over.
    pub(crate) fn over(&mut self, id: StreamId) {
        self.steps.remove(&id);
    }

    /// Lets the farewells leave, and the port go.
    pub(crate) async fn finish(self) {
        let Self { runtime, steps, alive, gone, running, .. } = self;
        drop((steps, alive, running));
        let mut timer = runtime.timer();
        timer.set(LINGER);
        let mut gone = pin!(gone);
        poll_fn(|cx| match gone.as_mut().poll_next(cx) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => timer.poll(cx),
        })
        .await;
    }

    fn task(&mut self, id: StreamId) -> Task<R> {
        let (sender, steps) = async_channel::bounded(MAX_STEPS);
        self.steps.insert(id, sender);
        let (came, alive) = (self.came.clone(), self.alive.clone());
        Task { id, runtime: self.runtime.clone(), steps, came, _alive: alive }
    }
}

/// One connection.
struct Task<R: Runtime> {
    id: StreamId,
    runtime: R,
    steps: Receiver<StreamStep>,
    came: Sender<Came<R::Stream>>,
    _alive: Sender<()>,
}

/// What a stream has to do.
#[derive(Default)]
struct Work {
    reading: bool,
    /// Its first byte decides whose it is.
    peek: bool,
    out: Bytes,
    /// Written, but not told yet.
    written: bool,
    closing: bool,
}

/// What came of waiting.
enum Stirred {
    Tell(StreamInput),
    /// It begins as TLS does.
    Tls,
    /// The loop is gone, or the farewell is out.
    End,
    /// The farewell does not leave.
    Stuck,
}

impl<R: Runtime> Task<R> {
    async fn dial(self, connect: impl Future<Output = io::Result<R::Stream>>) {
        let mut connect = pin!(connect);
        let mut steps = pin!(self.steps.clone());
        // Until it is up the only step is to give up.
        let connected = poll_fn(|cx| match steps.as_mut().poll_next(cx) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => connect.as_mut().poll(cx).map(Some),
        })
        .await;
        match connected {
            Some(Ok(stream)) if self.tell(StreamInput::Connected).await => self.run(stream, None).await,
            Some(Err(_)) => drop(self.tell(StreamInput::Closed).await),
            // The loop is gone, or gave up.
            Some(Ok(_)) | None => {}
        }
    }

    /// `peek`: who it is with, if its first byte decides whose it is.
    async fn run(self, stream: R::Stream, peek: Option<SocketAddr>) {
        // Small frames wait for nobody. One that can't be set so is slow, not wrong.
        let _ = stream.socket().set_tcp_nodelay(true);
        let mut work = Work { peek: peek.is_some(), ..Work::default() };
        let mut steps = pin!(self.steps.clone());
        // Set once it is being closed: a peer that does not read is not waited for longer.
        let mut last: Option<R::Timer> = None;
        loop {
            let stirred = poll_fn(|cx| {
                let stirred = work.stir(cx, &stream, steps.as_mut());
                if stirred.is_ready() || !work.closing {
                    return stirred;
                }
                let timer = last.get_or_insert_with(|| {
                    let mut timer = self.runtime.timer();
                    timer.set(LINGER);
                    timer
                });
                timer.poll(cx).map(|()| Stirred::Stuck)
            });
            match stirred.await {
                Stirred::Tell(input) => {
                    let over = input == StreamInput::Closed;
                    if !self.tell(input).await || over {
                        return;
                    }
                }
                Stirred::Tls => {
                    if let Some(remote) = peek {
                        // If the loop is gone, so is the connection.
                        let _ = self.came.send(Came::Tls(self.id, stream, remote)).await;
                    }
                    return;
                }
                Stirred::End if work.closing => return self.linger(stream).await,
                Stirred::End | Stirred::Stuck => return,
            }
        }
    }

    async fn tell(&self, input: StreamInput) -> bool {
        self.came.send(Came::Input(self.id, input)).await.is_ok()
    }

    /// Reads on until the peer has seen the end too.
    async fn linger(self, stream: R::Stream) {
        let _ = stream.socket().shutdown(Shutdown::Write);
        let mut timer = self.runtime.timer();
        timer.set(LINGER);
        poll_fn(|cx| {
            if timer.poll(cx).is_ready() {
                return Poll::Ready(());
            }
            // One read a poll: a peer that goes on sending keeps no thread to itself.
            match poll_read(cx, &stream) {
                Poll::Ready(Ok(bytes)) if !bytes.is_empty() => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Poll::Ready(_) => Poll::Ready(()),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
    }
}

impl Work {
    /// Steps first, then what they ask for. A close waits for what was written before.
    fn stir<S: Stream>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &S,
        mut steps: std::pin::Pin<&mut Receiver<StreamStep>>,
    ) -> Poll<Stirred> {
        while !self.closing {
            match steps.as_mut().poll_next(cx) {
                Poll::Ready(Some(step)) => self.take(step),
                Poll::Ready(None) => return Poll::Ready(Stirred::End),
                Poll::Pending => break,
            }
        }
        while !self.out.is_empty() {
            match poll_write(cx, stream, &self.out) {
                Poll::Ready(Ok(n)) => drop(self.out.split_to(n)),
                Poll::Ready(Err(_)) if self.closing => return Poll::Ready(Stirred::End),
                Poll::Ready(Err(_)) => return Poll::Ready(Stirred::Tell(StreamInput::Closed)),
                Poll::Pending => break,
            }
        }
        if self.closing {
            return if self.out.is_empty() { Poll::Ready(Stirred::End) } else { Poll::Pending };
        }
        if self.out.is_empty() && std::mem::take(&mut self.written) {
            return Poll::Ready(Stirred::Tell(StreamInput::Written));
        }
        if !self.reading {
            return Poll::Pending;
        }
        if self.peek {
            let first = ready!(poll_peek(cx, stream));
            self.peek = false;
            if first.is_ok_and(|first| first == Some(https::TLS)) {
                return Poll::Ready(Stirred::Tls);
            }
        }
        let bytes = ready!(poll_read(cx, stream)).unwrap_or_default();
        self.reading = false;
        Poll::Ready(Stirred::Tell(match bytes.is_empty() {
            true => StreamInput::Closed,
            false => StreamInput::Bytes(bytes),
        }))
    }

    fn take(&mut self, step: StreamStep) {
        match step {
            StreamStep::Read => self.reading = true,
            StreamStep::Write(bytes) => (self.out, self.written) = (bytes, true),
            StreamStep::Close => self.closing = true,
            // It is up.
            StreamStep::Dial(_) => {}
        }
    }
}

/// What there is to read; nothing at the end of the stream.
fn poll_read<S: Stream>(cx: &mut Context<'_>, stream: &S) -> Poll<io::Result<Bytes>> {
    loop {
        ready!(stream.poll_readable(cx))?;
        // Copied out: a few bytes must not hold a large buffer for as long as nobody reads them.
        let mut buffer = [0; READ];
        match stream.try_read(|| (&*stream.socket()).read(&mut buffer)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return Poll::Ready(result.map(|n| Bytes::copy_from_slice(&buffer[..n]))),
        }
    }
}

/// The first byte that waits, which goes on waiting; nothing at the end of the stream.
fn poll_peek<S: Stream>(cx: &mut Context<'_>, stream: &S) -> Poll<io::Result<Option<u8>>> {
    loop {
        ready!(stream.poll_readable(cx))?;
        let mut first = [0];
        let peek = || {
            // The standard library's peek asks for no buffer that is not set. Another descriptor, once a connection.
            let socket = std::net::TcpStream::from(stream.socket().try_clone()?);
            socket.peek(&mut first)
        };
        match stream.try_read(peek) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return Poll::Ready(result.map(|n| (n > 0).then_some(first[0]))),
        }
    }
}

fn poll_write<S: Stream>(cx: &mut Context<'_>, stream: &S, bytes: &[u8]) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_writable(cx))?;
        match stream.try_write(|| (&*stream.socket()).write(bytes)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return Poll::Ready(result),
        }
    }
}
