//! The operations listener: `/metrics`, `/healthz` and `/readyz` over plain HTTP/1.1, for those who run the server.
//!
//! It is off unless it is asked for, and answers GET and HEAD of three paths, one request a connection. What it reads of a request is
//! its first line.

use std::future::{Future, poll_fn};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Poll;
use std::time::{Duration, Instant};

use async_channel::Sender;
use ntproto_drive::Runtime;
use ntproto_drive::runtime::{Listener as _, Stream, Timer as _};
use ntproto_drive::task::{self, Task};

use super::StartError;
use crate::config::ServerConfig;
use crate::metrics::Metrics;
use crate::metrics::text::MEDIA_TYPE;
use crate::node::Command;

/// Bytes of a request's head: whoever scrapes says little.
const MAX_HEAD: usize = 8 * 1024;
/// Connections at once: a few scrapers, and probes of an orchestrator.
const MAX_CONNECTIONS: usize = 32;
/// How long a client may take to ask, and then to read.
const CLIENT_TIME: Duration = Duration::from_secs(5);
/// How long the loop may take to say how it is; one that takes longer is not well.
const LOOP_TIME: Duration = Duration::from_secs(2);
/// A pause when the system gives no connection.
const PAUSE: Duration = Duration::from_millis(200);

/// The task that answers.
pub(super) type OpsTask = Task<io::Result<()>>;

/// Begins, if the settings ask for it: where it listens, and the task that answers there.
pub(super) fn start<R: Runtime>(
    runtime: &R,
    config: &ServerConfig,
    metrics: &Arc<Metrics>,
    commands: &Sender<Command>,
) -> Result<Option<(SocketAddr, OpsTask)>, StartError> {
    let Some(address) = config.ops_listen else { return Ok(None) };
    let failed = |error| StartError::Bind(address, error);
    let listener = TcpListener::bind(address).map_err(failed)?;
    let local = listener.local_addr().map_err(failed)?;
    let ops = Ops { runtime: runtime.clone(), metrics: Arc::clone(metrics), commands: commands.clone() };
    Ok(Some((local, task::spawn(runtime, ops.serve(listener)))))
}

/// Who answers.
struct Ops<R> {
    runtime: R,
    metrics: Arc<Metrics>,
    commands: Sender<Command>,
}

impl<R: Clone> Clone for Ops<R> {
    fn clone(&self) -> Self {
        let Self { runtime, metrics, commands } = self;
        Self { runtime: runtime.clone(), metrics: Arc::clone(metrics), commands: commands.clone() }
    }
}

struct Answer {
    status: u16,
    kind: &'static str,
    body: String,
}

impl Answer {
    fn plain(status: u16, body: &str) -> Self {
        Self { status, kind: "text/plain; charset=utf-8", body: format!("{body}\n") }
    }

    fn head(&self) -> String {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            _ => "Service Unavailable",
        };
        let allow = if self.status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
        format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n{allow}Connection: close\r\n\r\n",
            self.status,
            self.kind,
            self.body.len(),
        )
    }
}

impl<R: Runtime> Ops<R> {
    /// Answers for as long as the server runs.
    async fn serve(self, listener: TcpListener) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = self.runtime.listener(listener)?;
        let open = Arc::new(AtomicUsize::new(0));
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                within(&self.runtime, PAUSE, std::future::pending::<()>()).await;
                continue;
            };
            if open.fetch_add(1, SeqCst) >= MAX_CONNECTIONS {
                open.fetch_sub(1, SeqCst);
                continue;
            }
            let (ops, open) = (self.clone(), Arc::clone(&open));
            self.runtime.spawn(async move {
                // A client that is gone needs no answer.
                let _ = ops.answer(stream).await;
                open.fetch_sub(1, SeqCst);
            });
        }
    }

    async fn answer(&self, stream: R::Stream) -> io::Result<()> {
        let began = Instant::now();
        let timed_out = io::Error::from(io::ErrorKind::TimedOut);
        let head = within(&self.runtime, CLIENT_TIME, head(&stream)).await.ok_or(timed_out)??;
        let (method, path) = request_line(&head).unwrap_or(("", ""));
        let answer = self.decide(method, path).await;
        self.metrics.http(method, path, answer.status, began.elapsed());
        let mut bytes = answer.head().into_bytes();
        if method != "HEAD" {
            bytes.extend_from_slice(answer.body.as_bytes());
        }
        within(&self.runtime, CLIENT_TIME, write(&stream, &bytes)).await.unwrap_or(Ok(()))
    }

    async fn decide(&self, method: &str, path: &str) -> Answer {
        let known = matches!(path, "/metrics" | "/healthz" | "/readyz");
        match method {
            "" => return Answer::plain(400, "that is no request of HTTP/1"),
            _ if !known => return Answer::plain(404, "here are /metrics, /healthz and /readyz"),
            "GET" | "HEAD" => {}
            _ => return Answer::plain(405, "only GET and HEAD"),
        }
        let runs = self.count().await;
        let node = self.metrics.last_node();
        match path {
            "/metrics" => Answer { status: 200, kind: MEDIA_TYPE, body: self.metrics.render() },
            _ if !runs => Answer::plain(503, "the server's loop does not answer"),
            "/readyz" if node.store_failed => Answer::plain(503, "the store failed"),
            "/readyz" if node.draining => Answer::plain(503, "the server is going away"),
            _ => Answer::plain(200, "ok"),
        }
    }

    /// Has the node say how it is. Whether it did.
    async fn count(&self) -> bool {
        let told = self.metrics.counted();
        if self.commands.try_send(Command::Count).is_err() {
            return false;
        }
        within(&self.runtime, LOOP_TIME, told.recv()).await.is_some()
    }
}

/// What comes of it within a time.
async fn within<T>(runtime: &impl Runtime, time: Duration, work: impl Future<Output = T>) -> Option<T> {
    let (mut timer, mut work) = (runtime.timer(), pin!(work));
    timer.set(time);
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => timer.poll(cx).map(|()| None),
    })
    .await
}

/// Reads up to the empty line that ends the head.
async fn head(stream: &impl Stream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        poll_fn(|cx| stream.poll_readable(cx)).await?;
        match stream.try_read(|| (&*stream.socket()).read(&mut buffer)) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => head.extend_from_slice(&buffer[..n]),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => continue,
            Err(e) => return Err(e),
        }
        if head.windows(4).any(|end| end == b"\r\n\r\n") {
            return Ok(head);
        }
        if head.len() > MAX_HEAD {
            return Ok(Vec::new());
        }
    }
}

async fn write(stream: &impl Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        poll_fn(|cx| stream.poll_writable(cx)).await?;
        match stream.try_write(|| (&*stream.socket()).write(bytes)) {
            Ok(n) => bytes = &bytes[n..],
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// The method and the path of a request of HTTP/1.
fn request_line(head: &[u8]) -> Option<(&str, &str)> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let path = target.split('?').next()?;
    (words.next().is_none() && !method.is_empty() && version.starts_with("HTTP/1.")).then_some((method, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_line_has_three_words() {
        let line = |text: &'static str| request_line(text.as_bytes());
        assert_eq!(line("GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n"), Some(("GET", "/metrics")));
        assert_eq!(line("HEAD /readyz HTTP/1.0\r\n\r\n"), Some(("HEAD", "/readyz")));
        for bad in ["", "GET", "GET /", "GET / HTTP/2", "GET / HTTP/1.1 x", " / HTTP/1.1", "\u{16}\u{3}\u{1}"]
        {
            assert_eq!(line(bad), None, "{bad:?}");
        }
        assert_eq!(request_line(b"\xff\xfe / HTTP/1.1\r\n"), None);
    }
}
