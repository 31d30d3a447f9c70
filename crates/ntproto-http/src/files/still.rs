//! A runtime for tests of what waits.
#![allow(clippy::unwrap_used)]

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use ntproto_drive::Runtime;
use ntproto_drive::runtime::{Listener, SockRef, Stream, Timer, Watched};

/// A runtime without sockets, whose timers ring when the test says so.
#[derive(Clone, Default)]
pub(super) struct Still {
    pub(super) ring: Arc<AtomicBool>,
    pub(super) set: Arc<Mutex<Vec<Duration>>>,
}

pub(super) enum Never {}

impl Watched for Never {
    fn poll_readable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }
    fn poll_writable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }
    fn try_read<T>(&self, _: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        match *self {}
    }
    fn try_write<T>(&self, _: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        match *self {}
    }
}

impl Stream for Never {
    fn socket(&self) -> SockRef<'_> {
        match *self {}
    }
}

impl Listener for Never {
    type Stream = Self;
    async fn accept(&self) -> io::Result<(Self, SocketAddr)> {
        match *self {}
    }
}

impl Timer for Still {
    fn set(&mut self, after: Duration) {
        self.set.lock().unwrap().push(after);
    }
    fn poll(&mut self, _: &mut Context<'_>) -> Poll<()> {
        if self.ring.swap(false, SeqCst) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Runtime for Still {
    type Udp = Never;
    type Timer = Self;
    type Listener = Never;
    type Stream = Never;
    fn udp(&self, _: std::net::UdpSocket) -> io::Result<Never> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn timer(&self) -> Self {
        self.clone()
    }
    fn listener(&self, _: std::net::TcpListener) -> io::Result<Never> {
        Err(io::ErrorKind::Unsupported.into())
    }
    async fn connect(_: SocketAddr) -> io::Result<Never> {
        Err(io::ErrorKind::Unsupported.into())
    }
    async fn look_up(_: String, _: u16) -> Vec<SocketAddr> {
        Vec::new()
    }
    fn spawn(&self, _: impl Future<Output = ()> + Send + 'static) {}
    async fn unblock<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        Some(work())
    }
}
