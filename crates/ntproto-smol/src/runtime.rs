//! smol, as the loop sees it.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use ntproto_drive::runtime::{Listener, Runtime, SockRef, Stream, Timer, Watched};
use smol::{Async, Executor};

/// A smol executor, or the global one.
#[derive(Clone, Debug, Default)]
pub struct Smol(Option<Arc<Executor<'static>>>);

impl Smol {
    /// Tasks run on the global executor: [`smol::spawn`].
    #[must_use]
    pub const fn global() -> Self {
        Self(None)
    }

    /// Tasks run on this one, which the host runs.
    #[must_use]
    pub const fn on(executor: Arc<Executor<'static>>) -> Self {
        Self(Some(executor))
    }
}

impl Runtime for Smol {
    type Udp = Watch<UdpSocket>;
    type Timer = Alarm;
    type Listener = Watch<TcpListener>;
    type Stream = Watch<TcpStream>;

    fn udp(&self, socket: UdpSocket) -> io::Result<Self::Udp> {
        Async::new(socket).map(Watch::new)
    }

    fn timer(&self) -> Alarm {
        Alarm(smol::Timer::never())
    }

    fn listener(&self, listener: TcpListener) -> io::Result<Self::Listener> {
        Async::new(listener).map(Watch::new)
    }

    async fn connect(remote: SocketAddr) -> io::Result<Self::Stream> {
        Async::<TcpStream>::connect(remote).await.map(Watch::new)
    }

    async fn look_up(host: String, port: u16) -> Vec<SocketAddr> {
        smol::net::resolve((host, port)).await.unwrap_or_default()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match &self.0 {
            Some(executor) => executor.spawn(task).detach(),
            None => smol::spawn(task).detach(),
        }
    }

    async fn unblock<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        Some(smol::unblock(work).await)
    }
}

/// A socket, and what is known of it: smol tells of events, the loop asks for states.
#[derive(Debug)]
pub struct Watch<T> {
    io: Async<T>,
    readable: AtomicBool,
    writable: AtomicBool,
}

impl<T> Watch<T> {
    fn new(io: Async<T>) -> Self {
        // Nobody has tried yet: the first try finds out.
        Self { io, readable: AtomicBool::new(true), writable: AtomicBool::new(true) }
    }
}

impl<T: Send + Sync> Watched for Watch<T> {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll(&self.readable, || self.io.poll_readable(cx))
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll(&self.writable, || self.io.poll_writable(cx))
    }

    fn try_read<R>(&self, read: impl FnMut() -> io::Result<R>) -> io::Result<R> {
        attempt(&self.readable, read)
    }

    fn try_write<R>(&self, write: impl FnMut() -> io::Result<R>) -> io::Result<R> {
        attempt(&self.writable, write)
    }
}

fn poll(ready: &AtomicBool, ask: impl FnOnce() -> Poll<io::Result<()>>) -> Poll<io::Result<()>> {
    if ready.load(Relaxed) {
        return Poll::Ready(Ok(()));
    }
    let asked = ask();
    ready.store(asked.is_ready(), Relaxed);
    asked
}

fn attempt<R>(ready: &AtomicBool, mut attempt: impl FnMut() -> io::Result<R>) -> io::Result<R> {
    if !ready.load(Relaxed) {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    let result = attempt();
    if matches!(&result, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
        ready.store(false, Relaxed);
    }
    result
}

impl Stream for Watch<TcpStream> {
    fn socket(&self) -> SockRef<'_> {
        SockRef::from(self.io.get_ref())
    }
}

impl Listener for Watch<TcpListener> {
    type Stream = Watch<TcpStream>;

    async fn accept(&self) -> io::Result<(Self::Stream, SocketAddr)> {
        self.io.accept().await.map(|(stream, remote)| (Watch::new(stream), remote))
    }
}

/// A timer.
#[derive(Debug)]
pub struct Alarm(smol::Timer);

impl Timer for Alarm {
    fn set(&mut self, after: Duration) {
        self.0.set_after(after);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        std::pin::Pin::new(&mut self.0).poll(cx).map(drop)
    }
}
