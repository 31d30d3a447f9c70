//! tokio, as the loop sees it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ntproto_drive::runtime::{Listener, Runtime, SockRef, Stream, Timer, Watched};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::{Instant, Sleep, sleep};

/// The tokio runtime that the calling task runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tokio;

impl Runtime for Tokio {
    type Udp = Udp;
    type Timer = Alarm;
    type Listener = Tcp<TcpListener>;
    type Stream = Tcp<TcpStream>;

    fn udp(&self, socket: std::net::UdpSocket) -> io::Result<Udp> {
        UdpSocket::from_std(socket).map(Udp)
    }

    fn timer(&self) -> Alarm {
        Alarm(Box::pin(sleep(Duration::ZERO)))
    }

    fn listener(&self, listener: std::net::TcpListener) -> io::Result<Self::Listener> {
        TcpListener::from_std(listener).map(Tcp)
    }

    async fn connect(remote: SocketAddr) -> io::Result<Self::Stream> {
        TcpStream::connect(remote).await.map(Tcp)
    }

    async fn look_up(host: String, port: u16) -> Vec<SocketAddr> {
        let found = tokio::net::lookup_host((host.as_str(), port)).await;
        found.map(Iterator::collect).unwrap_or_default()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }

    async fn unblock<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        tokio::task::spawn_blocking(work).await.ok()
    }
}

/// A UDP socket.
#[derive(Debug)]
pub struct Udp(UdpSocket);

impl Watched for Udp {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_recv_ready(cx)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_send_ready(cx)
    }

    fn try_read<T>(&self, read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        self.0.try_io(Interest::READABLE, read)
    }

    fn try_write<T>(&self, write: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        self.0.try_io(Interest::WRITABLE, write)
    }
}

/// A TCP connection, or a listener for them.
#[derive(Debug)]
pub struct Tcp<T>(T);

impl Watched for Tcp<TcpStream> {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read_ready(cx)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_write_ready(cx)
    }

    fn try_read<T>(&self, read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        self.0.try_io(Interest::READABLE, read)
    }

    fn try_write<T>(&self, write: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        self.0.try_io(Interest::WRITABLE, write)
    }
}

impl Stream for Tcp<TcpStream> {
    fn socket(&self) -> SockRef<'_> {
        SockRef::from(&self.0)
    }
}

impl Listener for Tcp<TcpListener> {
    type Stream = Tcp<TcpStream>;

    async fn accept(&self) -> io::Result<(Self::Stream, SocketAddr)> {
        self.0.accept().await.map(|(stream, remote)| (Tcp(stream), remote))
    }
}

/// A timer.
#[derive(Debug)]
pub struct Alarm(Pin<Box<Sleep>>);

impl Timer for Alarm {
    fn set(&mut self, after: Duration) {
        self.0.as_mut().reset(Instant::now() + after);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}
