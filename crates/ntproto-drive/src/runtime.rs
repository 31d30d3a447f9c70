//! What a runtime must have.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

pub use socket2::SockRef;

/// An async runtime: sockets it watches, timers, tasks.
pub trait Runtime: Clone + Send + Sync + 'static {
    /// A UDP socket it watches.
    type Udp: Watched + Send + Sync;
    /// A timer.
    type Timer: Timer + Send;
    /// A TCP listener it watches.
    type Listener: Listener<Stream = Self::Stream>;
    /// A TCP connection it watches.
    type Stream: Stream;

    /// Watches a UDP socket, which is non-blocking. Data goes through another descriptor of the same socket.
    ///
    /// # Errors
    /// The runtime can't watch it.
    fn udp(&self, socket: std::net::UdpSocket) -> io::Result<Self::Udp>;

    /// A timer that is not set.
    fn timer(&self) -> Self::Timer;

    /// Watches a TCP listener, which is non-blocking.
    ///
    /// # Errors
    /// The runtime can't watch it.
    fn listener(&self, listener: std::net::TcpListener) -> io::Result<Self::Listener>;

    /// Connects over TCP.
    fn connect(remote: SocketAddr) -> impl Future<Output = io::Result<Self::Stream>> + Send + 'static;

    /// Looks a host up. Nowhere is an answer too.
    fn look_up(host: String, port: u16) -> impl Future<Output = Vec<SocketAddr>> + Send + 'static;

    /// Runs a task to its end, unless the runtime ends first.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);

    /// Runs what blocks on a thread that may. `None`: the runtime shuts down.
    fn unblock<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Option<T>> + Send;
}

/// A socket a runtime watches.
pub trait Watched {
    /// Ready when there may be something to read, and until [`try_read`](Self::try_read) found nothing.
    ///
    /// # Errors
    /// The runtime can't watch it any more.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ready when something may be written, and until [`try_write`](Self::try_write) found no room.
    ///
    /// # Errors
    /// The runtime can't watch it any more.
    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Runs a non-blocking read, unless it is known that there is nothing.
    ///
    /// # Errors
    /// Those of `read`; [`WouldBlock`](io::ErrorKind::WouldBlock) says that there is nothing (more).
    fn try_read<T>(&self, read: impl FnMut() -> io::Result<T>) -> io::Result<T>;

    /// Runs a non-blocking write, unless it is known that there is no room.
    ///
    /// # Errors
    /// Those of `write`; [`WouldBlock`](io::ErrorKind::WouldBlock) says that there is no (more) room.
    fn try_write<T>(&self, write: impl FnMut() -> io::Result<T>) -> io::Result<T>;
}

/// A TCP connection a runtime watches.
pub trait Stream: Watched + Send + Sync + 'static {
    /// The connection itself, for non-blocking reads and writes.
    fn socket(&self) -> SockRef<'_>;
}

/// A TCP listener a runtime watches.
pub trait Listener: Send + 'static {
    /// What it brings.
    type Stream;

    /// The next connection.
    ///
    /// # Errors
    /// Those of the system: too many open files, say. The next call may succeed.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
}

/// A timer.
pub trait Timer {
    /// Rings after this time, and not at any time it was set to before.
    fn set(&mut self, after: Duration);

    /// Ready once it has rung. Not asked again before it is set again.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}
